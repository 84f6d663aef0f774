"""Freshness by the trading calendar: what is due at an instant, and whether the store has it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pytest

from market_data.clock import Clock, SandboxClock
from market_data.report.current import (
    CURRENT,
    Current,
    actions_current,
    daily_current,
    due_session,
    intraday_current,
    providers_current,
)
from market_data.settings import Settings
from market_data_tests.bars import in_memory
from market_data_tests.stored_prices import put_bars, put_told

UNIVERSE = "symbol,listed_by,delisted_on\n" + "".join(f"S{letter},2020-01-02,\n" for letter in "ABCDEFGHIJ")


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    Path("universe.csv").write_text(UNIVERSE + "GONE,2020-01-02,2026-01-21\n")
    with in_memory() as connection:
        yield connection


def settings_of(**more: object) -> Settings:
    given: dict = {"universe": Path("universe.csv"), "window_end": date(2026, 1, 16)}
    return Settings(**given | more)


def at(text: str) -> Clock:
    """A clock that stands."""
    return lambda: datetime.fromisoformat(text).replace(tzinfo=UTC)


def put(connection: duckdb.DuckDBPyConnection, symbols: str, *days: str) -> None:
    """Bars of the symbols SA, SB ... on the days; all ten for ""."""
    for letter in symbols or "ABCDEFGHIJ":
        put_bars(connection, f"S{letter}", dict.fromkeys(days, 10.0))


def put_minutes(connection: duckdb.DuckDBPyConnection, symbol: str, start: str, *, interval: str = "1m") -> None:
    instant = datetime.fromisoformat(start)
    connection.execute(
        "INSERT INTO price_history_intraday (symbol, datetime, session_date, interval, close, basis, source_provider, "
        "raw_hash, pulled_at) VALUES (?, ?, ?, ?, 10, 'raw', 'yahoo', 'x', ?)",
        [symbol, instant, instant.date(), interval, instant],
    )


def put_answer(connection: duckdb.DuckDBPyConnection, provider: str, outcome: str, when: str, why: str = "") -> None:
    connection.execute(
        "INSERT INTO coverage (request_id, symbol, interval, provider, first_date, last_date, outcome, fetched_at, "
        "bytes, attempts, message) VALUES (?, 'SA', '1d', ?, '2026-01-20', '2026-01-20', ?, ?, 1, 1, ?)",
        [f"{provider}{when}", provider, outcome, when, why],
    )


def told(found: Current) -> tuple[bool, float, str]:
    return found.result.passed, found.result.measured, found.result.summary


@pytest.mark.parametrize(
    ("now", "due"),
    [
        ("2026-01-21T02:59", "2026-01-16"),  # Tuesday's session closed, its sync may be under way
        ("2026-01-21T03:00", "2026-01-20"),
        ("2026-01-20T12:00", "2026-01-16"),  # the day after Martin Luther King Day
        ("2026-01-19T12:00", "2026-01-16"),  # the holiday
        ("2026-01-18T12:00", "2026-01-16"),  # a Sunday
        ("2026-01-17T03:00", "2026-01-16"),  # a Saturday, once Friday's is due
        ("2026-01-17T02:59", "2026-01-15"),
        ("2025-01-10T12:00", "2025-01-08"),  # after the one-off closure of 2025-01-09
        ("2025-11-29T03:00", "2025-11-28"),  # a half day
    ],
)
def test_a_session_is_due_three_hours_after_its_date_and_no_closed_day_ever_is(now: str, due: str) -> None:
    assert due_session(settings_of(), at(now)) == date.fromisoformat(due)


def test_nothing_is_due_before_the_window_nor_after_it_in_a_store_that_is_not_kept_current() -> None:
    assert due_session(settings_of(), at("2021-01-19T12:00")) is None
    assert due_session(settings_of(), at("2021-01-20T01:00")) is None
    assert due_session(settings_of(keep_current=False), at("2026-03-03T12:00")) == date(2026, 1, 16)


def test_the_sandbox_owes_nothing_beyond_its_market(tmp_path: Path) -> None:
    clock = SandboxClock(tmp_path / "clock.json", wall=at("2026-06-01T12:00"))
    assert due_session(settings_of(), clock) == date(2026, 1, 16)
    clock.set(datetime(2026, 1, 23, 4, tzinfo=UTC), rate=0)
    assert due_session(settings_of(), clock) == date(2026, 1, 22)


def test_a_store_with_the_session_due_is_current_over_a_long_weekend(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    put(connection, "", "2026-01-15", "2026-01-16")
    for now in ("2026-01-17T03:00", "2026-01-18T12:00", "2026-01-19T23:00", "2026-01-20T23:59", "2026-01-21T02:59"):
        found = daily_current(connection, settings_of(), at(now))
        assert told(found)[:2] == (True, 0.0)

    assert found.result.summary == (
        "2026-01-16 is the last session due, 2026-01-16 the newest in the store; "
        "10 of 10 active symbols have it (100.00%)"
    )
    assert found.numbers == {"session": "2026-01-16", "newest": "2026-01-16", "sessions_behind": 0, "share": 1.0}


def test_a_store_left_behind_tells_by_how_much_and_which_symbols(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    put(connection, "", "2026-01-16")
    put(connection, "A", "2026-01-15")

    found = daily_current(connection, settings_of(), at("2026-01-23T03:00"))

    assert told(found)[:2] == (False, 3.0)
    assert "2026-01-22 is the last session due, 2026-01-16 the newest in the store, 3 sessions behind" in told(found)[2]
    assert (found.result.failing, len(found.result.rows)) == (10, 10)
    assert found.result.rows.iloc[0].to_dict() == {
        "symbol": "SA",
        "last_bar": date(2026, 1, 16),
        "sessions_behind": 3,
    }


@pytest.mark.parametrize(("lacking", "passed"), [("A", True), ("AB", False)])
def test_one_symbol_of_ten_may_lack_and_is_named_but_not_two(
    connection: duckdb.DuckDBPyConnection, lacking: str, passed: bool
) -> None:
    put(connection, "", "2026-01-16")
    put(connection, "ABCDEFGHIJ"[len(lacking) :], "2026-01-20")

    found = daily_current(connection, settings_of(), at("2026-01-21T03:00"))

    assert found.result.passed is passed
    assert list(found.result.rows["symbol"]) == [f"S{letter}" for letter in lacking]
    assert found.numbers["sessions_behind"] == 0


def test_symbols_delisted_gone_from_the_universe_or_long_without_bars_are_not_waited_for(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    put(connection, "A", "2026-01-20", "2026-01-21")
    put(connection, "B", "2026-01-05")
    put_bars(connection, "GONE", {"2026-01-20": 1.0})
    put_bars(connection, "OTHER", {"2026-01-20": 1.0})

    found = daily_current(connection, settings_of(), at("2026-01-22T03:00"))

    assert told(found)[:2] == (True, 0.0)
    assert "1 of 1 active symbols" in told(found)[2]


def test_an_empty_store_is_not_current(connection: duckdb.DuckDBPyConnection) -> None:
    found = daily_current(connection, settings_of(), at("2026-01-21T03:00"))
    assert told(found) == (False, -1.0, "no accepted bar at all; 2026-01-20 is due")


def test_actions_may_be_told_eight_days_ago_of_the_symbol_or_of_all(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    put(connection, "AB", "2026-01-20")
    put_told(connection, "*", "2021-01-19", "2026-01-20", ["split"])
    put_told(connection, "SA", "2021-01-19", "2026-01-12", ["dividend"])
    put_told(connection, "SB", "2021-01-19", "2026-01-11", ["dividend"])

    found = actions_current(connection, settings_of(), at("2026-01-21T03:00"))

    assert told(found) == (
        False,
        9.0,
        "told up to 2026-01-12 or later of 1 of 2 active symbols; `market-data actions fetch` asks for the rest",
    )
    assert found.result.rows.to_dict("records") == [
        {"symbol": "SB", "splits_until": date(2026, 1, 20), "dividends_until": date(2026, 1, 11)}
    ]
    put_told(connection, "SB", "2026-01-11", "2026-01-20", ["dividend"], raw_hash="later")
    assert told(actions_current(connection, settings_of(), at("2026-01-21T03:00")))[:2] == (True, 8.0)


def test_actions_nobody_ever_told_of_are_not_current(connection: duckdb.DuckDBPyConnection) -> None:
    put(connection, "A", "2026-01-20")
    assert told(actions_current(connection, settings_of(), at("2026-01-21T03:00")))[:2] == (False, -1.0)


POLLED = {"intraday_symbols": "SA,SB", "intraday_poll": 30.0, "intraday_settle": 60.0, "intraday_grace": 15.0}


@pytest.mark.parametrize(
    ("newest", "now", "passed", "age"),
    [
        ("2026-01-20T15:27", "2026-01-20T15:30:30", True, 2.5),
        ("2026-01-20T15:26", "2026-01-20T15:30:30", False, 3.5),
        ("2026-01-20T20:59", "2026-01-20T21:14", True, 0.0),  # after the close, its last minute is what there is
        ("2026-01-20T20:56", "2026-01-20T21:14", False, 3.0),
    ],
)
def test_minutes_are_as_new_as_three_polls_and_their_settling_allow(
    connection: duckdb.DuckDBPyConnection, newest: str, now: str, passed: bool, age: float
) -> None:
    put_minutes(connection, "SA", newest)
    put_minutes(connection, "SB", "2026-01-20T15:00")

    assert told(intraday_current(connection, settings_of(**POLLED), at(now)))[:2] == (passed, age)


def test_a_longer_bar_is_as_new_as_its_end(connection: duckdb.DuckDBPyConnection) -> None:
    put_minutes(connection, "SA", "2026-01-20T15:25", interval="5m")
    assert told(intraday_current(connection, settings_of(**POLLED), at("2026-01-20T15:31")))[:2] == (True, 1.0)


@pytest.mark.parametrize(
    "now", ["2026-01-19T15:30", "2026-01-20T14:32", "2026-01-20T21:16", "2025-11-28T18:30", "2026-01-18T15:30"]
)
def test_outside_of_a_session_no_minute_is_missed(connection: duckdb.DuckDBPyConnection, now: str) -> None:
    assert told(intraday_current(connection, settings_of(**POLLED), at(now))) == (True, 0.0, "no session is open")


def test_minutes_are_missed_where_there_is_none_of_an_open_session_and_never_where_nobody_polls(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    found = intraday_current(connection, settings_of(**POLLED), at("2026-01-20T15:00"))
    assert told(found) == (False, -1.0, "no minute of 2026-01-20, open since 14:30 UTC")
    assert intraday_current(connection, settings_of(), at("2026-01-20T15:00")).result.passed


def test_providers_are_current_once_one_answered_since_the_close_and_those_that_only_fail_are_named(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    now = at("2026-01-21T03:00")
    put_answer(connection, "yahoo", "answered", "2026-01-17 00:15")
    assert told(providers_current(connection, settings_of(), now)) == (
        False,
        pytest.approx(3.8646, abs=1e-4),
        "no provider answered since the close of 2026-01-20; the newest answer is of 2026-01-17 00:15 UTC",
    )
    put_answer(connection, "polygon", "failed", "2026-01-21 00:15", "HTTP 403")
    put_answer(connection, "yahoo", "answered", "2026-01-21 00:16")
    found = providers_current(connection, settings_of(), now)
    assert told(found) == (True, 0.0, "yahoo answered since the close of 2026-01-20; polygon only failed")
    assert [(row["provider"], row["why"]) for row in found.result.rows.to_dict("records")] == [("polygon", "HTTP 403")]


def test_before_the_first_session_nothing_is_behind(connection: duckdb.DuckDBPyConnection) -> None:
    clock = at("2021-01-19T12:00")
    assert all(check.function(connection, settings_of(), clock).result.passed for check in CURRENT)
