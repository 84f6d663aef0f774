from __future__ import annotations

from datetime import date

import pandas as pd
import pytest

from market_data.report.intraday import INTRADAY_CHECKS
from market_data.sessions import session_hours
from market_data.settings import Settings
from market_data.warehouse.intraday import IntradayWrite, write_minutes
from market_data_tests.bars import in_memory
from market_data_tests.live_minutes import HALF_DAY, SESSION
from market_data_tests.test_intraday_upsert import bars as some_bars

CHECKS = {check.name: check.function for check in INTRADAY_CHECKS}


@pytest.fixture(scope="module")
def shared():
    with in_memory() as connection:
        yield connection


@pytest.fixture
def connection(shared):
    for table in ("price_history_intraday", "price_history_daily", "ingestion_audit"):
        shared.execute(f"DELETE FROM {table}")
    return shared


def put(connection, symbol="AAA", session=SESSION, *, leave_out=(), **changed):
    opens, closes = session_hours(session)
    count = int((closes - opens).total_seconds() // 60)
    frame = some_bars(*(m for m in range(count) if m not in leave_out), symbol=symbol).assign(
        session_date=pd.Timestamp(session).as_unit("s"), **changed
    )
    frame["datetime"] += opens - pd.Timestamp("2026-01-20 14:30", tz="UTC")
    write_minutes(connection, IntradayWrite(frame, "1m"))
    return count


def put_daily(connection, symbol="AAA", **changed):
    bar = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 10.0, "volume": 45_000.0} | changed
    connection.execute(
        "INSERT INTO price_history_daily (symbol, date, open, high, low, close, volume, basis, source_provider, "
        "raw_hash, pulled_at) VALUES (?, ?, ?, ?, ?, ?, ?, 'raw', 'polygon', 'sha', '2026-01-21')",
        [symbol, SESSION, *bar.values()],
    )


def result(connection, name, start=SESSION, end=SESSION):
    return CHECKS[name](connection, start, end, Settings())


def test_a_whole_session_has_no_gaps_nor_a_whole_half_day(connection):
    assert (put(connection), put(connection, session=HALF_DAY)) == (390, 210)
    found = result(connection, "intraday_gaps", HALF_DAY, SESSION)
    assert (found.passed, found.measured) == (True, 0.0)
    assert found.summary == "0 of 600 bars are absent (0.00%); 0 of 2 symbols lack more than 5%"


def test_gaps_above_the_share_warn_and_say_which_minutes(connection):
    put(connection, leave_out={7})
    put(connection, "BBB", leave_out={0, *range(10, 40)})
    found = result(connection, "intraday_gaps")
    assert (found.passed, found.failing) == (False, 1)
    row = found.rows.iloc[0]
    assert (row["symbol"], row["missing"], row["which"]) == ("BBB", 31, "14:30, 14:40-15:09")
    assert found.summary == "32 of 780 bars are absent (4.10%); 1 of 2 symbols lack more than 5%"


def test_a_symbol_that_was_polled_in_vain_is_all_gaps(connection):
    put(connection)
    connection.execute(
        "INSERT INTO ingestion_audit (job_id, symbol, kind, outcome, start_date, end_date, calls, attempts, "
        "sessions_expected, sessions_missing, rows_received, rows_inserted, rows_updated, rows_unchanged, findings, "
        "bytes, synthetic, decision, started_at, finished_at) VALUES ('job', 'CCC', 'intraday', 'failed', ?, ?, "
        "0, 0, 1, 1, 0, 0, 0, 0, 0, 0, false, '[]', '2026-01-20', '2026-01-20')",
        [SESSION, SESSION],
    )
    found = result(connection, "intraday_gaps")
    assert (found.passed, found.rows.iloc[0]["symbol"], found.rows.iloc[0]["which"]) == (False, "CCC", "14:30-20:59")


def test_where_no_minute_is_held_the_check_of_gaps_does_not_pass(connection):
    assert result(connection, "intraday_gaps").summary == "no minutes are held of 2026-01-20 to 2026-01-20"
    assert not result(connection, "intraday_gaps").passed


def test_minutes_that_may_still_change_are_told(connection):
    put(connection)
    assert result(connection, "intraday_provisional").passed
    put(connection, "BBB", provisional=True)
    found = result(connection, "intraday_provisional")
    assert (found.passed, found.failing, found.rows["symbol"].tolist()) == (False, 390, ["BBB"])


def test_minutes_that_add_up_to_the_daily_bar_agree(connection):
    put(connection)
    put_daily(connection)
    found = result(connection, "intraday_agreement")
    assert (found.passed, found.summary) == (True, "0 of 1 sessions of symbols differ")


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"close": 10.06}, "close"),
        ({"open": 20.0, "high": 24.0, "low": 18.0, "close": 20.0}, "open"),
        ({"high": 12.2}, "high"),
        ({"volume": 30_000.0}, "volume"),
        ({"volume": 400_000.0}, "volume"),
    ],
)
def test_a_field_that_differs_by_more_than_it_may_is_named(connection, changed, field):
    put(connection)
    put_daily(connection, **changed)
    found = result(connection, "intraday_agreement")
    assert not found.passed
    assert found.rows.iloc[0]["field"] == field


def test_a_daily_bar_that_is_not_held_yet_is_said_and_passes(connection):
    put(connection)
    put(connection, "BBB", leave_out=set(range(60)))
    put_daily(connection, "BBB", high=99.0)
    found = result(connection, "intraday_agreement")
    assert (found.passed, found.summary) == (
        True,
        "0 of 0 sessions of symbols differ; 1 have no raw daily bar yet; 1 lack too many minutes to be compared",
    )


def test_a_span_without_minutes_has_nothing_to_compare(connection):
    day = date(2026, 1, 16)
    assert result(connection, "intraday_agreement", day, day).passed
    assert result(connection, "intraday_provisional", day, day).passed
