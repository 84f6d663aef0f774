"""`market-data asof`: what was known at the end of a date, and what became of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from market_data.cli.asof import asof
from market_data.errors import MarketDataError
from market_data_tests.bars import naive, new_database
from market_data_tests.stored_prices import put_action, put_bar, put_bars

CHANGED = naive(6, 30, day="2021-04-01")
DAYS = ["2021-01-19", "2021-01-20", "2021-01-21", "2021-01-22"]


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> None:
    """AAPL: the 20th was restated and the 21st added on the first of April, and a split known from then on."""
    monkeypatch.setenv("MARKET_DATA_RUNTIME", ".")
    monkeypatch.setenv("COLUMNS", "200")
    with new_database("synthetic.duckdb").writing() as connection:
        connection.execute("INSERT INTO store_kind VALUES (TRUE)")
        put_bars(connection, "AAPL", {"2021-01-15": 9.0, "2021-01-19": 10.0, "2021-01-22": 13.0})
        put_bar(connection, "AAPL", "2021-01-20", 11.5, replaced_at=CHANGED, basis="split", adjusted_as_of=naive())
        put_bar(connection, "AAPL", "2021-01-20", 11.0, known_at=CHANGED, source_provider="yahoo")
        put_bar(connection, "AAPL", "2021-01-21", 12.0, known_at=CHANGED)
        put_action(connection, "AAPL", "2021-01-21", "split", 2.0, known_at=CHANGED)


def run(*arguments: str) -> str:
    app = typer.Typer()
    app.command()(asof)
    done = CliRunner().invoke(app, list(arguments))
    if isinstance(done.exception, MarketDataError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def document(*arguments: str) -> dict:
    return json.loads(run(*arguments, "--json"))


def test_the_document_tells_what_was_known_and_what_is_stored_now():
    found = document("2021-03-31", "--symbol", "aapl", "--start", "2021-01-19", "--end", "2021-01-22")

    head = {name: found[name] for name in ("symbol", "as_of", "basis", "synthetic")}
    assert head == {"symbol": "AAPL", "as_of": "2021-03-31", "basis": "raw", "synthetic": True}
    assert [row["date"] for row in found["sessions"]] == DAYS
    assert [row["close"] for row in found["sessions"]] == [10.0, 11.5, None, 13.0]
    assert [row["stored_basis"] for row in found["sessions"]] == ["raw", "split", None, "raw"]
    assert found["sessions"][0]["known_at"] == "2021-03-01T12:00:00+00:00"
    now = [row["stored_now"] for row in found["sessions"]]
    assert (now[0], now[3]) == (None, None)
    told = ("close", "basis", "source_provider", "known_at", "reason")
    assert [now[1][name] for name in told] == [11.0, "raw", "yahoo", "2021-04-01T06:30:00+00:00", "payload"]
    assert [now[2][name] for name in told] == [12.0, "raw", "sandbox", "2021-04-01T06:30:00+00:00", "added"]


def test_after_the_change_everything_is_as_it_is_now_and_prices_follow_the_actions_known_then():
    found = document(
        "2021-04-01", "--symbol", "AAPL", "--start", "2021-01-19", "--end", "2021-01-22", "--basis", "split"
    )
    assert [row["close"] for row in found["sessions"]] == [5.0, 5.5, 12.0, 13.0]
    assert [row["stored_now"] for row in found["sessions"]] == [None] * 4
    before = document(
        "2021-03-31", "--symbol", "AAPL", "--start", "2021-01-19", "--end", "2021-01-19", "--basis", "split"
    )
    assert [row["close"] for row in before["sessions"]] == [10.0]


def test_by_default_the_last_ten_sessions_up_to_the_date_are_told():
    assert [row["date"] for row in document("2021-03-31", "--symbol", "AAPL", "--end", "2021-01-22")["sessions"]] == [
        "2021-01-08", "2021-01-11", "2021-01-12", "2021-01-13", "2021-01-14", "2021-01-15", *DAYS
    ]  # fmt: skip


def test_the_table_says_which_rows_changed_to_what_and_that_all_is_made_up():
    text = run("2021-03-31", "--symbol", "AAPL", "--end", "2021-01-22")
    lines = {line[2:12]: line for line in text.splitlines() if line.startswith("│ 2021")}
    assert "SYNTHETIC" in text
    assert "AAPL as known at the end of 2021-03-31 UTC, raw" in text
    assert "unchanged" in lines["2021-01-19"]
    assert all(part in lines["2021-01-20"] for part in ("11.5", "changed"))
    assert "2021-01-20: was split, now close 11 (raw) since 2021-04-01 06:30, payload" in text
    assert "not known, added" in lines["2021-01-21"]
    assert "2021-01-21: now close 12 (raw) since 2021-04-01 06:30, added" in text


def test_bars_that_cannot_be_had_in_the_basis_are_empty_and_the_reason_is_told():
    with new_database("market_data.duckdb").writing() as connection:
        connection.execute("INSERT INTO store_kind VALUES (FALSE)")
        adjusted = {"basis": "split_dividend", "adjusted_as_of": naive(day="2021-02-01")}
        put_bar(connection, "AAPL", "2021-01-19", 77.0, **adjusted)
    text = run("2021-03-31", "--symbol", "AAPL", "--end", "2021-01-19", "--basis", "split")
    assert "77" not in text
    assert "empty where its prices are adjusted for dividends too, as of 2021-01-31" in text
    assert "SYNTHETIC" not in text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--symbol", "AAPL", "--basis", "log"], "--basis 'log' is not known; give raw, split or total_return"),
        (["--symbol", "AAPL", "--start", "2021-04-01"], "--start 2021-04-01 is after 2021-03-31"),
        (["--symbol", "FB"], "FB is now META"),
        (["--symbol", "MSFT"], "nothing is known of MSFT up to 2021-03-31 in synthetic.duckdb"),
    ],
)
def test_what_cannot_be_told_is_refused_with_the_mend(arguments, told):
    with pytest.raises(MarketDataError) as caught:
        run("2021-03-31", *arguments)
    assert told in str(caught.value)
    assert sorted(path.name for path in Path().iterdir()) == ["synthetic.duckdb"]
