"""`market-data sandbox clock`, and how far a step leads."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from market_data.cli import app
from market_data.clock import SandboxClock
from market_data.errors import SettingsError
from market_data.sandbox.pace import moved_on, open_session, start_of_clock

FILE = Path("runtime/sandbox_clock.json")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def run(*arguments: str):
    return CliRunner().invoke(app, ["sandbox", "clock", *arguments])


def told(*arguments: str) -> dict:
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.exception
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("now", "step", "due"),
    [
        ("2026-01-20 00:00", "30m", "2026-01-20 00:30"),
        ("2026-01-20 00:00", "90s", "2026-01-20 00:01:30"),
        ("2026-01-20 00:00", "1.5h", "2026-01-20 01:30"),
        ("2026-01-20 00:00", " 2 D ", "2026-01-22 00:00"),
        ("2026-01-20 00:00", "1w", "2026-01-27 00:00"),
        ("2026-01-20 00:00", "1 session", "2026-01-21 00:10"),
        ("2026-01-21 00:10", "1session", "2026-01-22 00:10"),
        ("2026-01-21 20:59:59", "1 session", "2026-01-22 00:10"),
        ("2026-01-21 21:00", "1 session", "2026-01-23 00:10"),
        ("2026-01-16 22:00", "1 session", "2026-01-21 00:10"),  # a weekend and a holiday lie between
        ("2026-01-21 00:10", "3 sessions", "2026-01-24 00:10"),
        ("2025-11-28 17:59", "1 session", "2025-11-29 00:10"),
        ("2025-11-28 18:00", "1 session", "2025-12-02 00:10"),  # a half day closes at 13:00
        ("2025-07-01 00:00", "1 session", "2025-07-02 00:10"),
        ("2025-01-08 22:00", "1 session", "2025-01-11 00:10"),  # closed on the 9th
    ],
)
def test_a_step_leads_there(now, step, due):
    assert moved_on(utc(now), step) == utc(due)


@pytest.mark.parametrize(
    "step", ["", "1", "d", "-1d", "1 month", "0 sessions", "1.5 sessions", "999999 sessions", "999999w", "1d 2h"]
)
def test_what_is_no_step_is_refused(step):
    with pytest.raises(SettingsError, match=re.escape(repr(step))):
        moved_on(utc("2026-01-20 00:00"), step)


def test_a_session_is_open_from_its_opening_until_its_close():
    for moment, session in (
        ("2026-01-21 14:29:59", None),
        ("2026-01-21 14:30", date(2026, 1, 21)),
        ("2026-01-21 20:59:59", date(2026, 1, 21)),
        ("2026-01-21 21:00", None),
        ("2026-01-24 16:00", None),
    ):
        assert open_session(utc(moment)) == session


def test_the_clock_begins_after_the_window():
    assert start_of_clock(date(2026, 1, 19)) == utc("2026-01-20 00:00")


def test_a_clock_that_is_not_set_is_told_to_be_so():
    document = told()
    assert (document["synthetic"], document["set"], document["rate"]) == (True, False, 1.0)
    done = run()
    assert done.exit_code == 0
    assert "is not set: its market stands at its end, 2026-01-19" in done.stdout
    assert not FILE.exists()


def test_the_first_session_follows_the_window():
    document = told("--advance", "1 session", "--stand")
    assert document["instant"] == "2026-01-21T00:10:00+00:00"
    assert (document["last_completed_session"], document["open_session"], document["rate"]) == ("2026-01-20", None, 0.0)
    assert told("--advance", "15h")["open_session"] == "2026-01-21"
    assert SandboxClock(FILE)() == utc("2026-01-21 15:10")


def test_it_is_set_with_a_rate_and_reset():
    document = told("--set", "2026-01-21T10:00-05:00", "--rate", "60")
    assert (document["rate"], document["open_session"]) == (60.0, "2026-01-21")
    assert document["instant"].startswith("2026-01-21T15:0")
    done = run()
    assert "runs 60 times as fast as the wall clock" in done.stdout
    assert "the session of 2026-01-21 is open; the last completed one is 2026-01-20" in done.stdout
    assert told("--stand")["rate"] == 0.0
    assert "and stands" in run().stdout
    assert told("--reset")["set"] is False
    assert not FILE.exists()


def test_a_rate_alone_lets_a_clock_that_is_not_set_begin_after_the_window(monkeypatch):
    monkeypatch.setenv("MARKET_DATA_WINDOW_END", "2025-06-30")
    assert told("--rate", "1")["instant"].startswith("2025-07-01T00:00:0")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "2026-01-21"], "has no time zone"),
        (["--set", "soon"], "'soon' is not an instant"),
        (["--set", "2099-01-01T00:00Z"], "the sandbox has no future"),
        (["--set", "2021-01-18T23:59Z"], "the market begins on 2021-01-19"),
        (["--advance", "a while"], "'a while' is not a step"),
        (["--advance", "9999w"], "the sandbox has no future"),
        (["--set", "2026-01-21T00:00Z", "--advance", "1d"], "--set and --advance"),
        (["--rate", "2", "--stand"], "--rate and --stand"),
        (["--rate", "-2"], "rate -2"),
        (["--reset", "--stand"], "--reset is given alone"),
    ],
)
def test_what_cannot_be_is_refused_and_sets_nothing(arguments, message):
    done = run(*arguments)
    assert isinstance(done.exception, SettingsError)
    assert message in str(done.exception)
    assert not FILE.exists()


def test_a_damaged_file_is_mended_by_setting_it_anew():
    FILE.parent.mkdir()
    FILE.write_text("{", encoding="utf-8")
    assert "delete it or set it anew" in str(run().exception)
    document = told("--set", "2026-01-21T00:10Z")
    assert (document["instant"][:16], document["rate"]) == ("2026-01-21T00:10", 1.0)
