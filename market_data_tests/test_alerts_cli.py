"""`market-data alerts`, as it is typed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from market_data.cli.alerts import alerts
from market_data.keeping.alert_record import Alert, Finding, Kind
from market_data.keeping.alerts import AlertBook
from market_data.settings import load_settings
from market_data_tests.webhooks import running

APP = typer.Typer()
APP.add_typer(alerts, name="alerts")


def run(*arguments: str):
    return CliRunner().invoke(APP, ["alerts", *arguments])


def put(number: int) -> None:
    book = AlertBook(load_settings())
    for minute in range(number):
        found = Finding("daily_prices", "2 bars lack [b]", check=f"check{minute}", sessions="2026-01-20")
        book.send(Alert(Kind.CHECK_FAILURE, datetime(2026, 1, 21, 12, minute, tzinfo=UTC), (found,)))


def test_the_latest_alerts_are_listed_with_what_became_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    assert run().output == "no alert so far in runtime/alerts.jsonl\n"
    put(3)

    listed = run("--last", "2").output

    assert "check0" not in listed
    for part in ("2026-01-21 12:02", "error check_failure", "daily_prices check2", "2 bars lack [b]", "not set"):
        assert part in listed


def test_as_json_the_list_is_one_document() -> None:
    put(2)
    document = json.loads(run("--json").output)
    assert document["file"] == "runtime/alerts.jsonl"
    assert [line["checks"] for line in document["alerts"]] == [["check0"], ["check1"]]


def test_a_test_is_sent_to_the_webhook(monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as hook:
        monkeypatch.setenv("MARKET_DATA_ALERT_WEBHOOK", hook.url)
        sent = run("test", "--json")
        hook.status = 404
        failed = run("test")

    assert sent.exit_code == 0
    assert json.loads(sent.output) == {"webhook": "sent", "sent": True, "file": "runtime/alerts.jsonl"}
    assert hook.bodies[0]["text"].startswith("[info] SYNTHETIC data: test alert\n")
    assert (failed.exit_code, failed.output) == (1, "webhook failed: HTTP 404; noted in runtime/alerts.jsonl\n")


def test_a_test_without_a_webhook_says_what_to_set() -> None:
    result = run("test")
    assert result.exit_code == 1
    assert result.output == "webhook not set: set MARKET_DATA_ALERT_WEBHOOK; noted in runtime/alerts.jsonl\n"
    assert json.loads(Path("runtime/alerts.jsonl").read_text())["kind"] == "test"
