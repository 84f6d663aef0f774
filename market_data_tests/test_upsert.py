"""A provider's bars written beside an amendment: what stands, what ends it, and since when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime

import duckdb
import pytest

from market_data.records import StoredPayload
from market_data.warehouse.amendments import Amendment, Change, apply_amendment
from market_data.warehouse.batch import RowCounts, write_batch
from market_data.warehouse.store import record_coverage
from market_data.warehouse.upsert import upsert
from market_data_tests.bars import DAYS, at, batch, in_memory, naive, payload, prices, rows

DAY = date.fromisoformat(DAYS[1])
OLDER, HELD, NEWER, NEWEST = (
    payload(fetched=at(day=day)) for day in ("2026-01-20", "2026-01-21", "2026-01-23", "2026-01-24")
)
AMENDED_AT = at(day="2026-01-22")


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """A store with five bars, the second close of which was amended from 10.5 to 10.75."""
    with in_memory() as opened:
        record_coverage(opened, HELD, job_id="job")
        write_batch(opened, batch(prices(), stored=HELD))
        amend(opened, Change("close", 10.5, 10.75), AMENDED_AT)
        yield opened


def amend(connection: duckdb.DuckDBPyConnection, change: Change, moment: datetime) -> str:
    made = Amendment("AAPL", DAY, (change,), "a typing error", "ann", moment)
    stored = payload(provider="amendment", feed="amendments", fetched=moment)
    apply_amendment(connection, stored, made)
    return stored.request_id


def sent(connection: duckdb.DuckDBPyConnection, stored: StoredPayload, close: float = 10.5, **fields) -> RowCounts:
    bars = prices(close=[10.5, close, 10.5, 10.5, 10.5], **fields)
    return upsert(connection, batch(bars, stored=stored))


def bar(connection: duckdb.DuckDBPyConnection) -> tuple:
    query = "SELECT close, volume, raw_hash, known_at, amendment_id IS NOT NULL FROM price_history_daily"
    [row] = rows(connection, f"{query} WHERE symbol = 'AAPL' AND date = ?", DAY)
    return row


def endings(connection: duckdb.DuckDBPyConnection) -> list[tuple]:
    return rows(connection, "SELECT field, ended_at, ended_by FROM amendments ORDER BY amended_at")


AMENDED = (10.75, 1000.0, HELD.sha256, naive(day="2026-01-22"), True)


def test_an_amended_bar_survives_the_same_payload_read_again_and_a_newer_one_with_the_old_value(connection):
    for stored in (HELD, NEWER, NEWER, NEWEST):
        assert sent(connection, stored) == RowCounts(unchanged=5)
        assert bar(connection) == AMENDED
    assert endings(connection) == [("close", None, None)]
    assert rows(connection, "SELECT close, reason FROM revisions") == [(10.5, "amendment")]


def test_another_value_of_a_newer_payload_ends_the_amendment(connection):
    assert sent(connection, NEWER, 10.6) == RowCounts(updated=1, unchanged=4)
    assert bar(connection) == (10.6, 1000.0, NEWER.sha256, naive(day="2026-01-23"), False)
    assert endings(connection) == [("close", naive(day="2026-01-23"), NEWER.sha256)]
    assert rows(
        connection,
        "SELECT close, known_at, replaced_at, replaced_by, reason, amendment_id IS NOT NULL FROM revisions "
        "ORDER BY replaced_at",
    )[1:] == [(10.75, naive(day="2026-01-22"), naive(day="2026-01-23"), NEWER.sha256, "payload", True)]
    assert sent(connection, NEWEST) == RowCounts(updated=1, unchanged=4)
    assert bar(connection)[0] == 10.5


def test_the_amended_value_itself_from_the_provider_ends_the_amendment_and_the_bar_is_its_own(connection):
    sent(connection, NEWER, 10.75)
    assert endings(connection) == [("close", naive(day="2026-01-23"), NEWER.sha256)]
    assert bar(connection)[0] == 10.75


def test_an_older_payload_ends_nothing_and_changes_nothing(connection):
    assert sent(connection, OLDER, 10.6) == RowCounts(unchanged=5)
    assert bar(connection) == AMENDED
    assert endings(connection) == [("close", None, None)]


def test_another_field_that_changes_keeps_the_amended_one(connection):
    assert sent(connection, NEWER, volume=[1000.0, 1100.0, 1000.0, 1000.0, 1000.0]) == RowCounts(updated=1, unchanged=4)
    assert bar(connection) == (10.75, 1100.0, NEWER.sha256, naive(day="2026-01-23"), True)
    assert endings(connection) == [("close", None, None)]


def test_of_two_amended_fields_only_the_one_that_is_sent_anew_ends(connection):
    amend(connection, Change("volume", 1000.0, 900.0), at(8, day="2026-01-22"))
    sent(connection, NEWER, 10.6)
    assert bar(connection)[:2] == (10.6, 900.0)
    assert bar(connection)[4] is True
    assert endings(connection) == [("close", naive(day="2026-01-23"), NEWER.sha256), ("volume", None, None)]


def test_a_payload_that_does_not_speak_of_the_session_leaves_the_amendment(connection):
    others = batch(prices(DAYS[2:], close=10.6), stored=NEWER)
    assert upsert(connection, others) == RowCounts(updated=3)
    assert bar(connection) == AMENDED
    assert endings(connection) == [("close", None, None)]


def test_another_symbol_is_written_as_if_there_were_no_amendment(connection):
    other = replace(batch(prices(close=10.6), stored=payload("MSFT", fetched=at(day="2026-01-23"))), is_first=True)
    assert upsert(connection, other) == RowCounts(inserted=5)
    assert rows(connection, "SELECT DISTINCT close, amendment_id FROM price_history_daily WHERE symbol = 'MSFT'") == [
        (10.6, None)
    ]
    assert bar(connection) == AMENDED
