"""Amendments in the database: read from their bodies, applied as they are, and beside what a provider sends later."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data.errors import BadPayload
from market_data.records import FetchRequest
from market_data.warehouse.amendments import (
    AMENDABLE,
    Amendment,
    AmendmentError,
    Change,
    Standing,
    apply_amendment,
    end_amendments,
    kept,
    parse_amendment,
    standing,
)
from market_data.warehouse.store import transaction
from market_data_tests.bars import DAYS, hashed, naive, prices
from market_data_tests.stored import NOW, Store

DAY = date.fromisoformat(DAYS[1])
NUMBERS = st.none() | st.floats(1e-4, 1e12)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@pytest.fixture
def store() -> Iterator[Store]:
    with Store("AAPL", "MSFT").held_open() as store:
        yield store


def amendment(*changes: Change, symbol: str = "AAPL", hours: int = 0, undo_of: str | None = None) -> Amendment:
    return Amendment(symbol, DAY, changes, "why", "ann", NOW + timedelta(hours=hours), undo_of)


def applied(store: Store, item: Amendment) -> str:
    request = FetchRequest(item.symbol, item.date, item.date, feed="amendments")
    stored = store.keep(item.symbol, item.body, fetched=item.at, provider="amendment", request=request)
    with store.writing() as connection, transaction(connection):
        apply_amendment(connection, stored, parse_amendment(store.raw_store.get(stored.sha256)))
    return stored.request_id


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(AMENDABLE), NUMBERS, NUMBERS), min_size=1, max_size=7), TEXTS, TEXTS)
def test_a_body_is_read_back_as_it_was_written(changes: list[tuple[str, Any, Any]], reason: str, author: str):
    item = Amendment("BRK.B", DAY, tuple(Change(*change) for change in changes), reason, author, NOW, "0123")
    assert parse_amendment(item.body) == item


@pytest.mark.parametrize(
    "changed",
    [
        {"date": "yesterday"}, {"at": "2026-02-01T12:00:00"}, {"changes": []}, {"changes": [{"field": "close"}]},
        {"changes": [{"field": "symbol", "old": 1, "new": 2}]}, {"changes": [{"field": "close", "old": "x", "new": 2}]},
    ],
    ids=str,
)  # fmt: skip
def test_a_body_that_is_no_amendment_is_refused(changed: dict[str, Any]):
    document = json.loads(amendment(Change("close", 10.5, 10.6)).body)
    assert parse_amendment(json.dumps(document).encode())
    with pytest.raises(BadPayload, match="not the body of an amendment"):
        parse_amendment(json.dumps(document | changed).encode())
    for body in (b"", b"[]", b"\xff"):
        with pytest.raises(BadPayload):
            parse_amendment(body)


def test_an_amendment_of_another_value_than_the_stored_one_changes_nothing(store: Store):
    first = applied(store, amendment(Change("close", 10.5, 10.6)))
    for item, message in (
        (amendment(Change("vwap", None, 10.0), Change("close", 10.5, 10.7), hours=1), "close is 10.6 by now"),
        (amendment(Change("close", 10.6, 10.5), hours=1, undo_of="0123"), "amendment 0123 does not stand"),
        (amendment(Change("close", 10.5, 10.6), symbol="ZZZZ"), "ZZZZ 2021-01-20: no bar is stored"),
    ):
        with pytest.raises(AmendmentError, match=message):
            applied(store, item)
    assert store.rows("SELECT close, vwap, amendment_id FROM price_history_daily WHERE close <> 10.5") == [
        (10.6, None, first)
    ]
    assert store.rows("SELECT count(*), (SELECT count(*) FROM revisions) FROM amendments") == [(1, 1)]


def test_a_rebuild_that_applies_the_kept_bodies_in_their_order_gives_the_same_tables():
    built = []
    for _ in range(2):
        with Store("AAPL", "MSFT").held_open() as store:
            first = applied(store, amendment(Change("close", 10.5, 10.6), Change("volume", 1000.0, None)))
            applied(store, amendment(Change("vwap", None, 10.1), hours=1))
            applied(store, amendment(Change("close", 10.6, 10.5), hours=2, undo_of=first))
            tables = ("price_history_daily", "revisions", "amendments")
            built.append([sorted(store.rows(f"SELECT * FROM {table}"), key=str) for table in tables])
    assert built[0] == built[1]
    assert [len(table) for table in built[0]] == [10, 3, 3]


def test_what_stands_is_told_by_session_and_field_until_a_provider_sends_another_value(store: Store):
    first = applied(store, amendment(Change("close", 10.5, 10.6), Change("volume", 1000.0, None)))
    second = applied(store, amendment(Change("vwap", None, 10.1), hours=1))
    applied(store, amendment(Change("close", 10.5, 10.7), symbol="MSFT"))
    applied(store, amendment(Change("volume", None, 1000.0), hours=2, undo_of=first))
    with store.writing() as connection:
        stands = standing(connection, "AAPL")
        assert stands == {
            (DAY, "close"): Standing(10.5, 10.6, f"{first}.close"),
            (DAY, "vwap"): Standing(None, 10.1, f"{second}.vwap"),
        }
        sent = prices(close=[10.5, 10.55, 10.5, 10.5, 10.5])
        bars, ended = kept(sent, stands)
        assert ended == [f"{first}.close"]
        assert bars["close"].tolist() == sent["close"].tolist()
        assert [None if math.isnan(value) else value for value in bars["vwap"]] == [None, 10.1, None, None, None]
        assert bars["amendment_id"].tolist() == [None, second, None, None, None]
        end_amendments(connection, ended, hashed("new"), NOW + timedelta(hours=3))
        end_amendments(connection, [*ended, f"{first}.volume"], hashed("later"), NOW + timedelta(hours=4))
        assert list(standing(connection, "AAPL")) == [(DAY, "vwap")]
        assert len(standing(connection, "MSFT")) == 1
    assert store.rows("SELECT field, ended_at, ended_by FROM amendments WHERE ended_at IS NOT NULL ORDER BY field") == [
        ("close", naive(15, day="2026-02-01"), hashed("new")),
        ("volume", naive(14, day="2026-02-01"), "undo"),
    ]


@settings(max_examples=40)
@given(
    st.dictionaries(st.tuples(st.sampled_from(DAYS), st.sampled_from(AMENDABLE)), st.tuples(NUMBERS, NUMBERS)),
    st.sets(st.sampled_from(DAYS)),
    st.floats(-5e-10, 5e-10),
)
def test_an_amended_value_stays_exactly_where_the_old_one_is_sent(
    amended: dict[tuple[str, str], tuple[float | None, float | None]], other: set[str], noise: float
):
    sent = prices(**dict.fromkeys(AMENDABLE, 50.0))
    stands, due = {}, {}
    for (day, field), (old, new) in amended.items():
        place = DAYS.index(day)
        sends = old if day not in other else 7.0 if old is None else old * 1.001
        sent.loc[place, field] = math.nan if sends is None else sends * (1 + noise)
        stands[date.fromisoformat(day), field] = Standing(old, new, f"{day}.{field}")
        due[place, field] = new if day not in other else sent.loc[place, field]
    given = sent.copy()
    bars, ended = kept(sent, stands)
    assert sent.equals(given)
    assert set(ended) == {f"{day}.{field}" for day, field in amended if day in other}
    standing_days = {day for day, _ in amended if day not in other}
    assert bars["amendment_id"].tolist() == [day if day in standing_days else None for day in DAYS]
    for place, field in ((place, field) for place in range(len(DAYS)) for field in AMENDABLE):
        value = due.get((place, field), given.loc[place, field])
        assert bars.loc[place, field] == value or (
            math.isnan(bars.loc[place, field]) and (value is None or math.isnan(value))
        )
    assert list(bars.columns) == [*given.columns, "amendment_id"]


def test_a_price_that_was_only_rounded_otherwise_counts_as_the_old_one_where_that_is_allowed():
    stands = {(date.fromisoformat(day), "close"): Standing(10.5, 10.6, f"{day}.close") for day in DAYS}
    stands |= {(date.fromisoformat(day), "volume"): Standing(1000.0, 900.0, f"{day}.volume") for day in DAYS}
    sent = prices(close=[10.5, 10.509, 10.511, 10.53, 10.5], volume=[1000, 1000.9, 1001.1, 1000, 1000])
    bars, ended = kept(sent, stands, price_within=[0.01, 0.01, 0.01, 0.04, 0.01], volume_within=1e-3)
    assert ended == [f"{DAYS[2]}.close", f"{DAYS[2]}.volume"]
    assert bars["close"].tolist() == [10.6, 10.6, 10.511, 10.6, 10.6]
    assert bars["volume"].tolist() == [900, 900, 1001.1, 900, 900]
    assert len(kept(sent, stands)[1]) == 5


def test_amendments_of_sessions_a_provider_says_nothing_of_stay_as_they_are():
    stands = {(DAY, "close"): Standing(10.5, 10.6, "a.close")}
    for days in ((), DAYS[2:]):
        bars, ended = kept(prices(days), stands)
        assert (ended, len(bars), bars["amendment_id"].notna().any()) == ([], len(days), False)
    bars, ended = kept(prices(), {})
    assert (ended, bars["amendment_id"].tolist()) == ([], [None] * 5)
