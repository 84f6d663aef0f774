"""Bars that a provider lately sent otherwise than before: which count, by how much they moved, and what is told."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest

from market_data.report.checks import CheckResult
from market_data.report.restatements import restatement
from market_data.settings import load_settings
from market_data.warehouse.amendments import AMENDABLE
from market_data_tests.bars import DAYS, at
from market_data_tests.stored import FIRST, LAST, Store, put_bar

THEN = at(day="2026-01-20")


@pytest.fixture
def store() -> Iterator[Store]:
    with Store("AAPL", "MSFT").held_open() as store:
        yield store


def revised(store: Store, symbol: str, day: str, days_later: float = 1, reason: str = "payload", **new: Any) -> None:
    """Give a stored bar other values, its predecessor going to `revisions`."""
    when = (THEN + timedelta(days=days_later)).replace(tzinfo=None)
    names = ", ".join(("symbol", "date", *AMENDABLE, "basis", "adjusted_as_of", "source_provider", "raw_hash"))
    with store.writing() as connection:
        connection.execute(
            f"INSERT INTO revisions ({names}, pulled_at, known_at, replaced_at, replaced_by, reason) "
            f"SELECT {names}, pulled_at, known_at, ?, 'x', ? FROM price_history_daily WHERE symbol = ? AND date = ?",
            [when, reason, symbol, day],
        )
        row = connection.execute(
            "SELECT open, high, low, close, volume, source_provider FROM price_history_daily WHERE symbol = ? "
            "AND date = ?",
            [symbol, day],
        ).fetchone()
        held = dict(zip(("open", "high", "low", "close", "volume", "source_provider"), row or (), strict=True))
        put_bar(connection, symbol, day, store.payloads[symbol], **held | {"pulled_at": when, "known_at": when} | new)


def checked(store: Store, start: date = FIRST, end: date = LAST) -> CheckResult:
    with store.writing() as connection:
        return restatement(connection, start, end, load_settings())


def told(result: CheckResult) -> list[tuple[Any, ...]]:
    rows = result.rows.drop(columns="replaced_at").assign(date=result.rows["date"].dt.strftime("%Y-%m-%d"))
    return [tuple(row) for row in rows.round(6).astype(object).itertuples(index=False)]


def test_a_store_without_restatements_passes(store: Store):
    result = checked(store)
    assert (result.passed, result.failing, result.measured) == (True, 0, 0)
    assert result.summary == "no bar was restated within 30 days"


def test_restated_bars_are_counted_by_provider_and_the_largest_moves_come_first(store: Store):
    revised(store, "AAPL", DAYS[1], close=10.605)
    revised(store, "MSFT", DAYS[2], close=10.0, volume=1500.0)
    revised(store, "MSFT", DAYS[3], source_provider="sandbox", volume=500.0)
    result = checked(store)
    assert (result.passed, result.failing, result.measured) == (False, 3, 3)
    assert told(result) == [
        ("MSFT", DAYS[2], "sandbox", 10.5, 10.0, -0.047619, 1000, 1500, 0.5),
        ("AAPL", DAYS[1], "sandbox", 10.5, 10.605, 0.01, 1000, 1000, 0),
        ("MSFT", DAYS[3], "sandbox", 10.5, 10.5, 0, 1000, 500, -0.5),
    ]
    assert result.summary == (
        "3 bars restated within 30 days (sandbox 3); largest move of a close -4.76% (MSFT 2021-01-21); "
        "largest move of a volume +50.00% (MSFT 2021-01-21)"
    )
    assert [checked(store, day, day).failing for day in (FIRST, date.fromisoformat(DAYS[1]))] == [0, 1]


def test_each_step_of_a_bar_restated_twice_is_compared_with_the_next(store: Store):
    store.execute("UPDATE price_history_daily SET source_provider = 'yahoo' WHERE symbol = 'MSFT'")
    revised(store, "MSFT", DAYS[1], close=21.0)
    revised(store, "MSFT", DAYS[1], 2, close=10.5)
    assert [row[2:6] for row in told(checked(store))] == [
        ("yahoo", 10.5, 21.0, 1.0),
        ("yahoo", 21.0, 10.5, -0.5),
    ]


def test_a_restatement_between_amendments_is_compared_with_its_own_successor(store: Store):
    revised(store, "AAPL", DAYS[1], 1, "amendment", close=20.0)
    revised(store, "AAPL", DAYS[1], 2, "payload", close=10.0)
    revised(store, "AAPL", DAYS[1], 3, "amendment", close=40.0)
    assert [row[2:5] for row in told(checked(store))] == [("sandbox", 20.0, 10.0)]


def test_what_is_no_restatement_does_not_count(store: Store):
    revised(store, "AAPL", DAYS[0], 31, close=10.1, source_provider="other")
    revised(store, "AAPL", DAYS[1], 31, close=10.1, basis="split")
    revised(store, "AAPL", DAYS[2], 31, "actions", close=10.1)
    revised(store, "AAPL", DAYS[3], 31, "undo", close=10.1)
    revised(store, "AAPL", DAYS[4], 31, trade_count=5.0)
    assert checked(store).passed


def test_a_restatement_is_told_of_for_thirty_days_of_newer_knowledge(store: Store):
    revised(store, "AAPL", DAYS[1], close=10.6)
    revised(store, "MSFT", DAYS[1], 31, source_provider="other")
    assert checked(store).failing == 1
    revised(store, "MSFT", DAYS[2], 31.1, source_provider="other")
    assert checked(store).passed


def test_values_that_were_or_became_null_are_restated_without_a_move(store: Store):
    revised(store, "AAPL", DAYS[1], close=None)
    revised(store, "AAPL", DAYS[1], 2, close=10.5)
    result = checked(store)
    assert (result.failing, result.rows["close_move"].isna().all()) == (2, True)
    assert result.summary == "2 bars restated within 30 days (sandbox 2)"


def test_only_the_largest_moves_are_shown_of_many(store: Store):
    with store.writing() as connection:
        for number in range(25):
            put_bar(connection, f"S{number}", DAYS[1], store.payloads["AAPL"], close=10.0)
        connection.execute(
            "INSERT INTO revisions (symbol, date, open, high, low, close, volume, basis, source_provider, raw_hash, "
            "pulled_at, known_at, replaced_at, replaced_by, reason) SELECT symbol, date, open, high, low, "
            "close - CAST(symbol[2:] AS INTEGER) * 0.01 - 0.01, volume, basis, source_provider, raw_hash, pulled_at, "
            "known_at - INTERVAL 1 DAY, known_at, 'x', 'payload' FROM price_history_daily WHERE symbol LIKE 'S%'"
        )
    result = checked(store)
    assert (result.failing, result.measured, len(result.rows)) == (25, 25, 20)
    assert result.rows["symbol"].tolist() == [f"S{number}" for number in range(24, 4, -1)]
