from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from market_data.cli.intraday import intraday
from market_data.clock import SandboxClock
from market_data.errors import SettingsError, SymbolError, WarehouseError
from market_data.ingest.intraday.lock import sole_poller
from market_data.settings import load_settings

SESSION = "2024-03-19"


@pytest.fixture
def clock(monkeypatch):
    """A synthetic store of one symbol in the working directory, and its clock, which stands before the close."""
    Path("universe.csv").write_text("symbol,listed_by\nAAPL,2020-01-02\n")
    given = {"UNIVERSE": "universe.csv", "SOURCE": "sandbox", "WINDOW_START": "2024-03-01", "WINDOW_END": SESSION}
    for name, value in (given | {"INTRADAY_GRACE": "1", "INTRADAY_POLL": "240"}).items():
        monkeypatch.setenv(f"MARKET_DATA_{name}", value)
    clock = SandboxClock(Path("runtime/sandbox_clock.json"))
    clock.set(datetime(2024, 3, 19, 19, 50, tzinfo=UTC), rate=0)
    return clock


def run(*arguments):
    return CliRunner().invoke(intraday, list(arguments))


def test_polling_to_the_end_and_asking_how_it_went(clock):
    clock.set(datetime(2024, 3, 19, 19, 58, tzinfo=UTC), rate=900)
    polled = run("poll", "--symbols", "AAPL", "--job-id", "today", "--json")
    assert polled.exit_code == 0, polled.output
    document = json.loads(polled.stdout)
    assert (document["session"], document["minutes_missing"], document["interrupted"]) == (SESSION, 0, False)
    assert (document["outcomes"], document["synthetic"]) == ({"AAPL": "accepted"}, True)

    told = run("status", "--json")
    assert told.exit_code == 0
    status = json.loads(told.stdout)
    assert (status["session"], status["totals"]["bars"], status["poller_is_alive"]) == (SESSION, 390, False)
    assert all(check["passed"] for check in status["checks"].values())
    assert "Minutes of 2024-03-19 - SYNTHETIC" in run("status", "--session", SESSION).stdout

    other = run("status", "--session", "2024-03-18", "--json")
    assert (other.exit_code, json.loads(other.stdout)["totals"]["bars"]) == (1, 0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("poll",), SettingsError, "no symbols to poll; give --symbols, or set MARKET_DATA_INTRADAY_SYMBOLS"),
        (("poll", "--symbols", "AAPLE"), SymbolError, "AAPLE is not in the universe"),
        (("poll", "--symbols", "all", "--session", "2024-03-18"), SettingsError, "can be polled on its day alone"),
        (("poll", "--symbols", "all", "--session", "2024-03-17"), SettingsError, "2024-03-17 is not an XNYS session"),
        (("poll", "--symbols", "all", "--provider", "stooq_bulk"), SettingsError, "stooq_bulk needs an archive"),
        (("status",), WarehouseError, "no database yet"),
    ],
)
def test_bad_input_is_told_with_its_mend_and_nothing_is_written(clock, arguments, error, message):
    result = run(*arguments)
    assert isinstance(result.exception, error)
    assert message in str(result.exception)
    assert not list(Path("runtime").glob("*.duckdb"))


def test_a_second_poller_is_refused(clock):
    with sole_poller(load_settings()):
        result = run("poll", "--symbols", "all")
    assert "a poller of intraday minutes is running already" in str(result.exception)
