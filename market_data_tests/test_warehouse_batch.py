from __future__ import annotations

import itertools
import math
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data.records import Basis, StoredPayload
from market_data.schemas import CorporateActions, DailyPrices, QualityLog
from market_data.warehouse.actions import record_actions
from market_data.warehouse.batch import Factors, RowCounts, naive_utc, write_batch
from market_data.warehouse.store import record_coverage, transaction
from market_data_tests.bars import (
    DAYS,
    actions,
    at,
    batch,
    counts,
    in_memory,
    naive,
    new_database,
    payload,
    prices,
    rows,
    verdicts,
)

FIELDS = ("open", "high", "low", "close", "volume", "vwap", "trade_count")
STORED = (
    f"SELECT symbol, date::VARCHAR, {', '.join(FIELDS)}, basis, adjusted_as_of, source_provider, raw_hash, pulled_at "
    "FROM {} ORDER BY symbol, date, pulled_at"
)
DAY_1, DAY_2, DAY_3 = (payload(fetched=at(day=day)) for day in ("2026-01-21", "2026-01-22", "2026-01-23"))
"""The same request, answered on three days."""


def held(connection: duckdb.DuckDBPyConnection, table: str = "price_history_daily") -> list[tuple]:
    return rows(connection, STORED.format(table))


def closes(connection: duckdb.DuckDBPyConnection) -> list[float | None]:
    return [close for (close,) in rows(connection, "SELECT close FROM price_history_daily ORDER BY symbol, date")]


def test_the_builders_give_what_the_models_ask_for():
    DailyPrices.validate(prices(volume=None))
    QualityLog.validate(verdicts((DAYS[0], "accepted", 1.0, "")))
    CorporateActions.validate(actions((DAYS[0], "split", 4.0)))


def test_bars_of_a_new_symbol_are_stored_field_by_field_with_their_source():
    frame = prices(DAYS[:2], volume=[1234.5678, None], vwap=[10.25, None], trade_count=[7, None], open=[10.1, None])
    as_of = at(9, 30, "2026-01-19")
    for is_first in (True, False):
        with new_database().writing() as connection:
            written = write_batch(
                connection, batch(frame, stored=DAY_1, basis=Basis.SPLIT, as_of=as_of, is_first=is_first)
            )
            assert written == RowCounts(inserted=2)
            source = ("split", naive(9, 30, "2026-01-19"), "sandbox", DAY_1.sha256, naive(day="2026-01-21"))
            assert held(connection) == [
                ("AAPL", DAYS[0], 10.1, 11.0, 9.0, 10.5, 1234.5678, 10.25, 7.0, *source),
                ("AAPL", DAYS[1], None, 11.0, 9.0, 10.5, None, None, None, *source),
            ]
            assert counts(connection) == {"price_history_daily": 2}


def test_nan_is_stored_as_null_and_never_as_a_number():
    with new_database().writing() as connection:
        write_batch(connection, batch(prices(DAYS[:1], close=[math.nan], volume=[math.nan])))
        assert rows(connection, "SELECT close IS NULL, volume IS NULL, isnan(open) FROM price_history_daily") == [
            (True, True, False)
        ]
        assert write_batch(connection, batch(prices(DAYS[:1], close=[None], volume=[None]))) == RowCounts(unchanged=1)


def test_an_identical_row_changes_nothing_even_when_a_newer_payload_says_it():
    with new_database().writing() as connection:
        write_batch(connection, batch(prices(volume=None), stored=DAY_1))
        before = held(connection)
        for stored in (DAY_1, DAY_2):
            written = write_batch(connection, batch(prices(volume=None), stored=stored, as_of=at(day="2026-01-22")))
            assert written == RowCounts(unchanged=5)
            assert held(connection) == before
        assert counts(connection) == {"price_history_daily": 5}


def test_a_changed_price_leaves_exactly_the_old_row_and_who_replaced_it_when():
    with new_database().writing() as connection:
        write_batch(connection, batch(prices(volume=[1, 2, 3, 4, 5.5]), stored=DAY_1))
        old = held(connection)[1]
        changed = prices(volume=[1, 2, 3, 4, 5.5], close=[10.5, 10.51, 10.5, 10.5, 10.5])
        written = write_batch(connection, batch(changed, stored=DAY_2, now=at(7, 45, "2026-01-24")))
        assert written == RowCounts(updated=1, unchanged=4)
        assert held(connection, "revisions") == [old]
        assert rows(connection, "SELECT replaced_at, replaced_by, reason FROM revisions") == [
            (naive(day="2026-01-22"), DAY_2.sha256, "payload")
        ]
        assert rows(connection, "SELECT DISTINCT known_at = pulled_at FROM price_history_daily") == [(True,)]
        assert held(connection)[1] == (
            *("AAPL", DAYS[1], 10.0, 11.0, 9.0, 10.51, 2.0, None, None),
            *("raw", None, "sandbox", DAY_2.sha256, naive(day="2026-01-22")),
        )


def test_a_field_that_appears_vanishes_or_moves_is_a_change():
    moves = [(None, 10.0), (10.0, None), (10.0, 10.000001)]
    with new_database().writing() as connection:
        for field, (before, after) in itertools.product(FIELDS, moves):
            old, new = (
                payload(f"{field} {before} {after}", fetched=at(day=day)) for day in ("2026-01-21", "2026-01-22")
            )
            write_batch(connection, batch(prices(DAYS[:1], **{field: before}), stored=old))
            written = write_batch(connection, batch(prices(DAYS[:1], **{field: after}), stored=new))
            assert written == RowCounts(updated=1)
            replaced = f"SELECT {field} FROM revisions WHERE symbol = ? AND replaced_by = ?"
            assert rows(connection, replaced, new.request.symbol, new.sha256) == [(before,)]
            kept = f"SELECT {field} FROM price_history_daily WHERE symbol = ? AND raw_hash = ?"
            assert rows(connection, kept, new.request.symbol, new.sha256) == [(after,)]


def test_a_provider_that_does_not_have_a_field_takes_none_away_from_another():
    other = payload(provider="other", fetched=at(day="2026-01-22"))
    with new_database().writing() as connection:
        write_batch(connection, batch(prices(DAYS[:1], vwap=10.25, trade_count=7.0), stored=DAY_1))
        before = held(connection)
        without = prices(DAYS[:1], vwap=None, trade_count=None)
        assert write_batch(connection, batch(without, stored=other)) == RowCounts(unchanged=1)
        assert held(connection) == before
        moved = prices(DAYS[:1], vwap=None, trade_count=None, close=10.6)
        assert write_batch(connection, batch(moved, stored=other)) == RowCounts(updated=1)
        assert rows(connection, "SELECT close, vwap, source_provider FROM price_history_daily") == [
            (10.6, None, "other")
        ]


def test_another_basis_is_a_change_and_takes_its_instant_along():
    with new_database().writing() as connection:
        write_batch(connection, batch(prices(DAYS[:1]), stored=DAY_1, basis=Basis.SPLIT, as_of=at(day="2026-01-21")))
        assert write_batch(connection, batch(prices(DAYS[:1]), stored=DAY_2)) == RowCounts(updated=1)
        assert rows(connection, "SELECT basis, adjusted_as_of FROM price_history_daily") == [("raw", None)]
        assert rows(connection, "SELECT basis, adjusted_as_of FROM revisions") == [("split", naive(day="2026-01-21"))]


def turned(close: float, stored: StoredPayload, *, factor: float = 4.0, volume: float = 1000.0, **more):
    """A bar sent split-adjusted and turned to raw."""
    factors = Factors(np.array([factor]), np.array([1 / factor]))
    bars = prices(DAYS[:1], close=close, high=close + 10, volume=volume)
    return batch(bars, stored=stored, basis=Basis.SPLIT, as_of=stored.fetched_at, factors=factors, **more)


def test_a_bar_turned_to_raw_tells_how_it_was_sent_by_what_it_was_turned_and_since_when():
    with new_database().writing() as connection:
        write_batch(connection, turned(10.5, DAY_1, known_at=at(5, day="2026-01-22")))
        assert rows(
            connection,
            "SELECT basis, adjusted_as_of, sent_basis, sent_as_of, price_factor, volume_factor, known_at, pulled_at "
            "FROM price_history_daily",
        ) == [
            ("raw", None, "split", naive(day="2026-01-21"), 4.0, 0.25, naive(5, day="2026-01-22"),
             naive(day="2026-01-21")),
        ]  # fmt: skip


def test_a_raw_bar_is_never_replaced_by_an_adjusted_one():
    with new_database().writing() as connection:
        write_batch(connection, batch(prices(DAYS[:1]), stored=DAY_1))
        for basis in (Basis.SPLIT, Basis.SPLIT_DIVIDEND):
            sent = batch(prices(DAYS[:1], close=9.5), stored=DAY_2, basis=basis, as_of=at())
            assert write_batch(connection, sent) == RowCounts(unchanged=1)
        assert counts(connection) == {"price_history_daily": 1}
        assert closes(connection) == [10.5]


def test_a_bar_turned_to_raw_within_its_rounding_of_the_held_one_is_no_change():
    for factor, volume, close, updated in (
        (4.0, 1000.0, 10.51, 0),
        (4.0, 1000.0, 10.515, 1),
        (200.0, 1000.0, 10.515, 0),
        (200.0, 1000.0, 10.53, 1),
        (4.0, 1000.9, 10.5, 0),
        (4.0, 1002.0, 10.5, 1),
    ):
        with new_database().writing() as connection:
            write_batch(connection, batch(prices(DAYS[:1], high=20.5), stored=DAY_1))
            news = turned(close, DAY_2, factor=factor, volume=volume)
            news = replace(news, bars=news.bars.assign(high=20.5))
            assert write_batch(connection, news) == RowCounts(updated=updated, unchanged=1 - updated)


def test_an_older_payload_adds_the_sessions_that_are_missing_and_replaces_none():
    with new_database().writing() as connection:
        write_batch(connection, batch(prices(DAYS[2:4], close=20.0, high=21.0), stored=DAY_2))
        written = write_batch(connection, batch(prices(DAYS[1:3]), stored=DAY_1))
        assert written == RowCounts(inserted=1, unchanged=1)
        assert closes(connection) == [10.5, 20.0, 20.0]
        assert counts(connection) == {"price_history_daily": 3}


def test_a_value_that_a_newer_payload_confirmed_is_not_replaced_by_one_in_between():
    with new_database().writing() as connection:
        for stored, close in ((DAY_1, 10.5), (DAY_3, 10.5), (DAY_2, 10.75)):
            record_coverage(connection, stored, job_id="job")
            write_batch(connection, batch(prices(DAYS[:1], close=close), stored=stored))
        assert closes(connection) == [10.5]


def test_a_payload_read_again_with_another_result_replaces_its_own_bars():
    with new_database().writing() as connection:
        write_batch(connection, batch(prices(DAYS[:1]), stored=DAY_1))
        assert write_batch(connection, batch(prices(DAYS[:1], close=10.75), stored=DAY_1)) == RowCounts(updated=1)
        assert closes(connection) == [10.75]


def test_a_mixed_batch_counts_what_it_did_and_leaves_other_symbols_alone():
    other = payload("MSFT", fetched=at(day="2026-01-20"))
    with new_database().writing() as connection:
        write_batch(connection, batch(prices(), stored=other))
        write_batch(connection, batch(prices(DAYS[:3]), stored=DAY_1))
        untouched = held(connection)[3:]
        written = write_batch(connection, batch(prices(close=[10.5, 10.75, None, 10.5, 10.5]), stored=DAY_2))
        assert written == RowCounts(inserted=2, updated=2, unchanged=1)
        assert closes(connection)[:5] == [10.5, 10.75, None, 10.5, 10.5]
        assert held(connection)[5:] == untouched
        assert rows(connection, "SELECT DISTINCT symbol FROM revisions") == [("AAPL",)]


def test_a_batch_may_come_in_any_order_of_dates():
    with new_database().writing() as connection:
        write_batch(connection, batch(prices(DAYS[1:4]), stored=DAY_1))
        quality = verdicts(*((day, "flagged", 0.9, "r") for day in DAYS[::-1]))
        shuffled = batch(prices(DAYS[::-1], close=10.75), stored=DAY_2, quality=quality)
        assert write_batch(connection, shuffled) == RowCounts(inserted=2, updated=3)
        assert closes(connection) == [10.75] * 5


def test_a_commit_that_fails_is_told_as_what_it_is():
    with new_database().writing() as connection, connection.cursor() as other:

        def both() -> None:
            with transaction(connection):
                record_coverage(connection, DAY_1, job_id="mine")
                record_coverage(other, DAY_1, job_id="theirs")

        with pytest.raises(duckdb.Error, match=r"(?i)conflict|constraint|duplicate"):
            both()
        assert rows(connection, "SELECT job_id FROM coverage") == [("theirs",)]


def told_by(connection: duckdb.DuckDBPyConnection, stored: StoredPayload, *acts: tuple[str, str, float]) -> None:
    record_actions(connection, "AAPL", stored, actions(*acts), [], adjusted_as_of=None)


def test_actions_are_stored_once_for_each_provider_and_corrected_by_a_newer_payload():
    select = (
        "SELECT date::VARCHAR, kind, value, source_provider, raw_hash, pulled_at FROM reported_actions ORDER BY 1, 2, 4"
    )
    both = ((DAYS[1], "dividend", 0.22), (DAYS[1], "split", 4.0))
    with new_database().writing() as connection:
        told_by(connection, DAY_1, *both)
        first = rows(connection, select)
        assert first == [
            (DAYS[1], "dividend", 0.22, "sandbox", DAY_1.sha256, naive(day="2026-01-21")),
            (DAYS[1], "split", 4.0, "sandbox", DAY_1.sha256, naive(day="2026-01-21")),
        ]
        told_by(connection, DAY_2, *both)
        assert rows(connection, select) == first
        told_by(connection, DAY_2, (DAYS[1], "dividend", 0.205))
        corrected = (DAYS[1], "dividend", 0.205, "sandbox", DAY_2.sha256, naive(day="2026-01-22"))
        assert rows(connection, select) == [corrected, first[1]]
        told_by(connection, payload(provider="polygon"), *both)
        assert counts(connection)["reported_actions"] == 4
        listed = "SELECT kind, value, source_provider FROM corporate_actions ORDER BY kind"
        assert rows(connection, listed) == [("dividend", 0.22, "polygon"), ("split", 4.0, "polygon")]


def test_an_older_payload_does_not_take_back_a_corrected_action():
    with new_database().writing() as connection:
        told_by(connection, DAY_2, (DAYS[1], "split", 4.0))
        told_by(connection, DAY_1, (DAYS[1], "split", 2.0))
        assert rows(connection, "SELECT value, raw_hash FROM corporate_actions") == [(4.0, DAY_2.sha256)]


Price = st.sampled_from([None, 10.0, 10.5, 11.0])
Answer = st.tuples(
    st.dictionaries(st.sampled_from(DAYS), st.tuples(Price, Price, st.sampled_from([None, 0.0, 0.5])), min_size=1),
    st.sampled_from(list(Basis)),
)


def answered(symbol: str, number: int, answer: tuple[dict, Basis]):
    bars, basis = answer
    frame = prices(
        sorted(bars),
        **{name: [bars[day][n] for day in sorted(bars)] for n, name in enumerate(("open", "close", "volume"))},
    )
    return batch(frame, stored=payload(symbol, fetched=at() + timedelta(days=number)), basis=basis)


def held_of(connection: duckdb.DuckDBPyConnection, symbol: str, table: str = "price_history_daily") -> list[tuple]:
    return rows(
        connection,
        f"SELECT date::VARCHAR, open, close, volume, basis, pulled_at FROM {table} WHERE symbol = ? ORDER BY 1, 6",
        symbol,
    )


def test_any_sequence_of_newer_payloads_ends_as_a_plain_dict_does_and_keeps_every_row_it_replaced():
    symbols = (f"S{number}" for number in itertools.count())
    with in_memory() as connection:

        @settings(max_examples=20)
        @given(st.lists(Answer, min_size=1, max_size=6))
        def holds(answers: list) -> None:
            symbol = next(symbols)
            model: dict[str, tuple] = {}
            replaced: list[tuple] = []
            for number, answer in enumerate(answers):
                pulled_at = naive() + timedelta(days=number)
                tally = {"inserted": 0, "updated": 0, "unchanged": 0}
                for day, values in answer[0].items():
                    row = (day, *values, str(answer[1]))
                    old = model.get(day)
                    adjusts = old is not None and old[4] == "raw" and row[4] != "raw"
                    did = "inserted" if old is None else "unchanged" if old[:-1] == row or adjusts else "updated"
                    tally[did] += 1
                    if did == "updated":
                        replaced.append(old)
                    if did != "unchanged":
                        model[day] = (*row, pulled_at)
                with transaction(connection):
                    assert write_batch(connection, answered(symbol, number, answer)) == RowCounts(**tally)
            assert held_of(connection, symbol) == sorted(model.values(), key=lambda row: row[0])
            assert sorted(held_of(connection, symbol, "revisions"), key=str) == sorted(replaced, key=str)

        holds()


def test_payloads_in_any_order_of_arrival_end_with_what_the_newest_of_each_session_says():
    symbols = (f"S{number}" for number in itertools.count())
    with in_memory() as connection:

        @settings(max_examples=20)
        @given(st.lists(st.sets(st.sampled_from(DAYS), min_size=1), min_size=1, max_size=5), st.randoms())
        def holds(spans: list[set[str]], random) -> None:
            symbol = next(symbols)
            arrivals = list(enumerate(spans, start=1))
            newest = {day: number for number, days in arrivals for day in days}
            random.shuffle(arrivals)
            for number, days in arrivals:
                bars = dict.fromkeys(days, (10.0, 10.0 + number / 10, 0.5))
                write_batch(connection, answered(symbol, number, (bars, Basis.RAW)))
            assert held_of(connection, symbol) == [
                (day, 10.0, 10.0 + number / 10, 0.5, "raw", naive() + timedelta(days=number))
                for day, number in sorted(newest.items())
            ]

        holds()


def test_an_instant_of_another_zone_is_stored_in_utc():
    moment = datetime(2026, 1, 16, 16, tzinfo=timezone(timedelta(hours=-5)))
    assert naive_utc(moment).isoformat() == "2026-01-16T21:00:00"
