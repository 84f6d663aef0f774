from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data.errors import WarehouseError
from market_data.warehouse.batch import RowCounts
from market_data.warehouse.intraday import IntradayWrite, refusals, write_minutes
from market_data_tests.bars import in_memory

FIRST = pd.Timestamp("2026-01-20 14:30", tz="UTC")


def bars(*minutes, symbol="AAA", close=10.0, pulled="15:00", provisional=False, **changed):
    count = len(minutes)
    frame = pd.DataFrame(
        {
            "symbol": [symbol] * count,
            "datetime": pd.Series([FIRST + pd.Timedelta(minutes=m) for m in minutes], dtype="datetime64[us, UTC]"),
            "open": 10.0,
            "high": 12.0,
            "low": 9.0,
            "close": close,
            "volume": 100.0,
            "vwap": np.nan,
            "trade_count": np.nan,
            "session_date": np.full(count, np.datetime64("2026-01-20", "s")),
            "provisional": provisional,
            "basis": "raw",
            "adjusted_as_of": np.full(count, np.datetime64("NaT", "us")),
            "source_provider": "polygon",
            "raw_hash": f"sha of {pulled}",
            "pulled_at": np.full(count, np.datetime64(f"2026-01-20T{pulled}", "us")),
        }
    )
    return frame.assign(**changed)


@pytest.fixture(scope="module")
def shared():
    with in_memory() as connection:
        yield connection


@pytest.fixture
def connection(shared):
    """The tables, empty again."""
    for table in ("price_history_intraday", "intraday_revisions"):
        shared.execute(f"DELETE FROM {table}")
    return shared


def write(connection, frame, interval="1m"):
    return write_minutes(connection, IntradayWrite(frame, interval))


def rows(connection, query="SELECT minute(datetime), close, provisional FROM price_history_intraday ORDER BY datetime"):
    return connection.execute(query).fetchall()


REVISIONS = "SELECT minute(datetime), interval, close, reason, replaced_by FROM intraday_revisions ORDER BY ALL"


def test_an_identical_bar_changes_nothing_not_even_when_it_was_pulled(connection):
    assert write(connection, bars(0, 1)) == RowCounts(inserted=2)
    assert write(connection, bars(0, 1, pulled="16:00")) == RowCounts(unchanged=2)
    assert rows(connection, "SELECT DISTINCT hour(pulled_at) FROM price_history_intraday") == [(15,)]


def test_a_provisional_bar_becomes_final_though_nothing_else_changes_and_leaves_no_trace(connection):
    write(connection, bars(0, provisional=True))
    assert write(connection, bars(0, pulled="15:01")) == RowCounts(updated=1)
    assert rows(connection) == [(30, 10.0, False)]
    assert rows(connection, REVISIONS) == []


def test_a_final_bar_that_changes_is_kept_as_it_was(connection):
    write(connection, bars(0, 1))
    assert write(connection, bars(0, close=11.0, pulled="15:01")) == RowCounts(updated=1)
    assert rows(connection) == [(30, 11.0, False), (31, 10.0, False)]
    assert rows(connection, REVISIONS) == [(30, "1m", 10.0, "payload", "sha of 15:01")]


@pytest.mark.parametrize(
    "late",
    [
        bars(0, close=11.0, pulled="14:59"),
        bars(0, close=11.0, pulled="15:01", provisional=True),
        bars(0, close=11.0, pulled="15:01", basis="split"),
    ],
    ids=["older", "provisional", "adjusted"],
)
def test_a_final_raw_bar_is_not_replaced_by_an_older_a_provisional_or_an_adjusted_one(connection, late):
    write(connection, bars(0))
    assert write(connection, late) == RowCounts(unchanged=1)
    assert rows(connection) == [(30, 10.0, False)]


def test_shorter_intervals_take_the_place_of_longer_ones_of_their_session(connection):
    write(connection, bars(0, 5, 10), "5m")
    write(connection, bars(0, 5, symbol="BBB"), "5m")
    assert write(connection, bars(0, 1, close=11.0, pulled="15:01")) == RowCounts(inserted=1, updated=1)
    held = rows(connection, "SELECT symbol, minute(datetime), interval FROM price_history_intraday ORDER BY ALL")
    assert held == [("AAA", 30, "1m"), ("AAA", 31, "1m"), ("BBB", 30, "5m"), ("BBB", 35, "5m")]
    assert rows(connection, REVISIONS) == [(m, "5m", 10.0, "finer", "sha of 15:01") for m in (30, 35, 40)]


def test_longer_intervals_are_not_written_where_shorter_ones_are_held(connection):
    write(connection, bars(0, 1))
    assert write(connection, bars(0, 5, close=99.0, pulled="16:00"), "5m") == RowCounts(unchanged=2)
    assert rows(connection) == [(30, 10.0, False), (31, 10.0, False)]


def test_bars_that_cannot_be_are_left_out_and_named_and_the_others_written(connection):
    frame = bars(0, 1, 2, 3, 4)
    frame.loc[1, "close"], frame.loc[2, "low"], frame.loc[3, "volume"], frame.loc[4, "vwap"] = np.nan, 0.0, -1.0, -2.0
    assert refusals(frame).tolist() == ["", "close is null", "low cannot be", "volume cannot be", ""]
    assert write(connection, frame) == RowCounts(inserted=2)
    assert rows(connection, "SELECT minute(datetime), vwap FROM price_history_intraday ORDER BY 1") == [
        (30, None),
        (34, None),
    ]


def test_what_another_vendor_just_does_not_have_is_no_news(connection):
    write(connection, bars(0, vwap=10.25, trade_count=7.0))
    assert write(connection, bars(0, pulled="16:00", source_provider="yahoo")) == RowCounts(unchanged=1)
    write(connection, bars(0, pulled="16:00", source_provider="yahoo", close=11.0))
    assert rows(connection, "SELECT close, vwap, trade_count FROM price_history_intraday") == [(11.0, 10.25, 7.0)]


def test_an_interval_that_is_not_stored_is_refused(connection):
    with pytest.raises(WarehouseError, match="interval '2m' is not stored; known are 1m, 5m, 15m, 30m, 1h"):
        write(connection, bars(0), "2m")


ANSWERS = st.lists(
    st.tuples(
        st.integers(0, 3), st.sampled_from([10.0, 10.5, 11.0]), st.booleans(), st.integers(0, 5), st.sampled_from("AB")
    ),
    max_size=8,
)


@settings(max_examples=25)
@given(polls=st.lists(ANSWERS, min_size=1, max_size=3))
def test_whatever_comes_in_whatever_order_the_newest_final_bar_stands(shared, polls):
    """Beside a model of the rules that takes one bar at a time."""
    connection, model = shared, {}
    connection.execute("DELETE FROM price_history_intraday")
    for poll in polls:
        frames = [
            bars(m, symbol=symbol, close=close, provisional=live, pulled=f"15:0{at}", raw_hash=f"{close} {live} {at}")
            for m, close, live, at, symbol in poll
        ]
        if frames:
            write(connection, pd.concat(frames, ignore_index=True))
        best = {}
        for m, close, live, at, symbol in poll:
            key, bar = (symbol, m), (not live, at, f"{close} {live} {at}", close)
            if (
                key not in best
                or (bar[0], bar[1]) > best[key][:2]
                or (bar[:2] == best[key][:2] and bar[2] < best[key][2])
            ):
                best[key] = bar
        for key, bar in best.items():
            held = model.get(key)
            same = held is not None and (held[0], held[3]) == (bar[0], bar[3])
            if held is None or (bar[1] >= held[1] and bar[0] >= held[0] and not same):
                model[key] = bar
    found = rows(connection, "SELECT symbol, datetime, close, provisional FROM price_history_intraday")
    first: datetime = FIRST.tz_localize(None).to_pydatetime()
    assert {
        (symbol, int((moment - first).total_seconds()) // 60): (close, live) for symbol, moment, close, live in found
    } == {key: (bar[3], not bar[0]) for key, bar in model.items()}
