"""`market-data amend`: what a person gives and is told."""

from __future__ import annotations

import json
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from market_data.cli.amend import amend
from market_data.warehouse.amendments import AmendmentError
from market_data_tests.stored import Store

APP = typer.Typer()
APP.command()(amend)
BAR = ("AAPL", "2021-01-20")
WHY = ("--reason", "a typing [error]", "--by", "ann")


@pytest.fixture
def store() -> Store:
    return Store()


def ran(*arguments: str) -> Result:
    return CliRunner().invoke(APP, list(arguments), catch_exceptions=True, env={"COLUMNS": "200"})


def told(*arguments: str) -> dict[str, Any]:
    done = ran(*arguments, "--json")
    assert done.exit_code == 0, done.exception
    document = json.loads(done.stdout)
    assert isinstance(document, dict)
    return document


def refused(*arguments: str) -> str:
    done = ran(*arguments)
    assert isinstance(done.exception, AmendmentError), done.output
    return str(done.exception)


def test_amended_listed_and_taken_back(store: Store):
    document = told(*BAR, "--field", "high", "--value", "12", "--field", "close", "--value", "11.5", *WHY)
    assert (document["symbol"], document["date"], document["synthetic"]) == ("AAPL", "2021-01-20", True)
    assert (document["before"]["close"], document["after"]["close"]) == (10.5, 11.5)
    assert document["changes"] == [
        {"field": "high", "old": 11, "new": 12}, {"field": "close", "old": 10.5, "new": 11.5},
    ]  # fmt: skip
    key = document["amendment_id"]
    assert [row["amendment_id"] for row in told("--list")["amendments"]] == [f"{key}.close", f"{key}.high"]
    assert told("--list", "--symbol", "MSFT")["amendments"] == []
    shown = ran("--list", "--symbol", "aapl").stdout
    assert f"{key}.close  AAPL 2021-01-20 close 10.5 to 11.5" in shown
    assert "by ann, stands: a typing [error]" in shown
    assert "SYNTHETIC" in shown
    undone = told("--undo", key, "--reason", "it was right")
    assert (undone["undo_of"], undone["after"]["close"]) == (key, 10.5)
    assert "undone: a typing [error]" in ran("--list").stdout
    assert store.rows("SELECT count(*) FROM price_history_daily WHERE close <> 10.5 OR high <> 11") == [(0,)]


def test_before_and_after_are_shown_and_a_dry_run_says_that_it_is_one(store: Store):
    done = ran(*BAR, "--field", "volume", "--value", "NULL", *WHY, "--dry-run")
    assert done.exit_code == 0
    [volume] = [line for line in done.stdout.splitlines() if "│ volume" in line]
    assert [cell.strip() for cell in volume.strip("│").split("│")] == ["volume", "1,000", "null"]
    assert "volume 1000 to null, by ann: a typing [error]" in done.stdout
    assert "dry run, nothing is changed" in done.stdout
    assert store.rows("SELECT count(*) FROM amendments") == [(0,)]
    written = ran(*BAR, "--field", "volume", "--value", "null", *WHY)
    [(key,)] = store.rows("SELECT amendment_id FROM price_history_daily WHERE amendment_id IS NOT NULL")
    assert f"amendment {key}; take it back with --undo {key}" in written.stdout


def test_a_proposal_is_taken(store: Store):
    store.execute(
        "INSERT INTO quality_findings (symbol, date, rule, severity, field, value, message, source_provider, raw_hash, "
        "job_id, found_at, proposed) SELECT symbol, date, 'unit_error', 'warning', 'close', close, 'looks odd', "
        "source_provider, raw_hash, 'job', pulled_at, 9.5 FROM price_history_daily WHERE date = '2021-01-20'"
    )
    document = told(*BAR, "--proposal", "--by", "ann")
    assert (document["changes"], document["reason"]) == ([{"field": "close", "old": 10.5, "new": 9.5}], "looks odd")


def test_what_is_given_wrongly_is_refused_with_its_mend(store: Store):
    assert "give SYMBOL and DATE" in refused("AAPL", *WHY)
    assert "0 --field and 1 --value were given" in refused(*BAR, "--value", "1", *WHY)
    assert "1 --field and 2 --value" in refused(*BAR, "--field", "close", "--value", "1", "--value", "2", *WHY)
    twice = ("--field", "close", "--value", "10", "--field", "close", "--value", "11")
    assert "--field close was given twice" in refused(*BAR, *twice, *WHY)
    assert "--value '12,3' is not a number" in refused(*BAR, "--field", "close", "--value", "12,3", *WHY)
    assert "give either it or --value" in refused(*BAR, "--proposal", "--value", "3", *WHY)
    assert "--undo takes an id" in refused(*BAR, "--undo", "0123", *WHY)
    assert "needs a reason" in refused(*BAR, "--field", "close", "--value", "10.6")
    assert ran("AAPL", "20.1.2021").exit_code == 2
    assert "no database yet" in str(ran(*BAR, "--real", "--field", "close", "--value", "10.6", *WHY).exception)
