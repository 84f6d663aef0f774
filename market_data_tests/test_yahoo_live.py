from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd
import pytest

from market_data_tests.test_yahoo_chart import ROW, chart, dates, epoch, period, read

CLOSED, TODAY = epoch("2025-10-28T09:30"), epoch("2025-10-29T09:30")
QUOTE = epoch("2025-10-29T16:00:01")


def session(day: str = "2025-10-29") -> dict[str, object]:
    return {"currentTradingPeriod": {"regular": period(day)}}


def new_york(wall: str) -> datetime:
    return datetime.fromtimestamp(epoch(wall), tz=UTC)


def days_of(*stamps: int, quoted_at: int | None = QUOTE, fetched: str | None = None, **meta: object) -> list[str]:
    document = chart(dict.fromkeys(stamps, ROW), regularMarketTime=quoted_at, **(session() | meta))
    return dates(read(document, fetched_at=new_york(fetched) if fetched else None))


@pytest.mark.parametrize("current", ["2025-10-29", "2025-10-30"])
@pytest.mark.parametrize("fetched", [None, "2025-10-29T16:05", "2025-10-29T20:15", "2025-11-20T10:00"])
def test_a_bar_stamped_with_the_latest_trade_is_live_even_after_the_close(current, fetched):
    assert days_of(CLOSED, QUOTE, fetched=fetched, **session(current)) == ["2025-10-28"]


def test_a_live_bar_beside_the_closed_one_of_its_day_is_dropped_and_the_closed_one_kept():
    bars = {CLOSED: ROW, TODAY: (1, 2, 1, 2, 9), QUOTE: (1, 3, 1, 3, 8)}
    document = chart(bars, regularMarketTime=QUOTE, **session())
    parsed = read(document, fetched_at=new_york("2025-10-29T22:00"))
    assert dates(parsed) == ["2025-10-28", "2025-10-29"]
    assert parsed.bars["close"].tolist() == [11.75, 2.0]


def test_the_later_of_two_bars_of_the_last_day_is_live_whatever_the_latest_trade():
    late = epoch("2025-10-29T15:59:58")
    assert days_of(CLOSED, TODAY, late, fetched="2025-10-29T22:00") == ["2025-10-28", "2025-10-29"]


def test_two_bars_with_the_same_stamp_are_both_kept_for_validation_to_find():
    document = chart({CLOSED: ROW}, regularMarketTime=QUOTE, **session())
    result = document["chart"]["result"][0]
    result["timestamp"] = [CLOSED, CLOSED]
    result["indicators"]["quote"] = [{"close": [1.0, 2.0]}]
    assert read(document).bars["close"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("quoted_at", "fetched", "is_kept"),
    [
        ("2025-10-29T16:00:00", None, True),
        ("2025-10-29T15:59:59", None, False),
        ("2025-10-29T12:00:00", None, False),
        ("2025-10-29T16:00:02", "2025-10-29T16:00:03", True),
        ("2025-10-29T15:59:59", "2025-10-29T16:00:03", False),
        ("2025-10-29T15:45:00", "2025-10-29T16:59:59", False),
        ("2025-10-29T15:45:00", "2025-10-29T17:00:00", True),
        ("2025-10-28T16:00:00", "2025-10-29T17:00:00", True),
        ("2025-10-29T16:00:02", "2025-10-29T15:59:59", False),
    ],
)
def test_a_session_is_over_when_clock_and_feed_agree_or_an_hour_after_its_close(quoted_at, fetched, is_kept):
    days = days_of(CLOSED, TODAY, quoted_at=epoch(quoted_at), fetched=fetched)
    assert days == (["2025-10-28", "2025-10-29"] if is_kept else ["2025-10-28"])


def test_without_the_latest_trade_the_download_decides():
    assert days_of(CLOSED, TODAY, quoted_at=None, fetched="2025-10-29T15:59") == ["2025-10-28"]
    assert days_of(CLOSED, TODAY, quoted_at=None, fetched="2025-10-29T16:00") == ["2025-10-28", "2025-10-29"]
    assert days_of(CLOSED, TODAY, quoted_at=None) == ["2025-10-28", "2025-10-29"]


def test_without_a_session_the_day_of_the_download_is_not_over():
    meta = {"currentTradingPeriod": None}
    assert days_of(CLOSED, TODAY, fetched="2025-10-29T23:59", **meta) == ["2025-10-28"]
    assert days_of(CLOSED, TODAY, fetched="2025-10-30T00:00", **meta) == ["2025-10-28", "2025-10-29"]
    assert days_of(CLOSED, TODAY, **meta) == ["2025-10-28", "2025-10-29"]


def test_a_half_days_close_is_the_one_that_counts():
    friday = epoch("2025-11-28T09:30")
    half = {"currentTradingPeriod": {"regular": period("2025-11-28", end="13:00")}}
    at_one = epoch("2025-11-28T13:00:01")
    assert days_of(friday, quoted_at=at_one, fetched="2025-11-28T13:00:05", **half) == ["2025-11-28"]
    assert days_of(friday, quoted_at=at_one - 2, fetched="2025-11-28T13:00:05", **half) == []


def test_an_opening_that_is_also_the_latest_trade_is_no_mark_of_a_live_bar_once_its_session_is_over():
    assert days_of(CLOSED, TODAY, quoted_at=TODAY, fetched="2025-10-29T18:00") == ["2025-10-28", "2025-10-29"]
    assert days_of(CLOSED, TODAY, quoted_at=TODAY, fetched="2025-10-29T12:00") == ["2025-10-28"]


def test_only_a_live_bar_leaves_an_empty_frame_and_the_actions():
    events = {"dividends": {"1": {"amount": 0.26, "date": TODAY}}}
    parsed = read(chart({TODAY: ROW}, events, regularMarketTime=TODAY + 60, **session()))
    assert (len(parsed.bars), parsed.bars["date"].dtype) == (0, "datetime64[s]")
    assert parsed.actions["date"].tolist() == [pd.Timestamp(2025, 10, 29)]


def minutes_of(*walls: str, quoted_at: str, fetched: str | None = None, periods: object = None) -> list[str]:
    bars = {epoch(f"2025-10-29T{wall}"): ROW for wall in walls}
    meta = {"dataGranularity": "1m", "regularMarketTime": epoch(f"2025-10-29T{quoted_at}"), "tradingPeriods": periods}
    moment = new_york(f"2025-10-29T{fetched}") if fetched else None
    frame = read(chart(bars, **meta, **session()), interval="1m", fetched_at=moment).bars
    return frame["datetime"].dt.tz_convert("America/New_York").dt.strftime("%H:%M").tolist()


@pytest.mark.parametrize(
    ("quoted_at", "fetched", "is_kept"),
    [
        ("15:59:59", None, False),
        ("16:00:00", None, True),
        ("16:00:01", "16:00:02", True),
        ("15:59:30", "16:00:02", False),
        ("15:59:30", "17:00:00", True),
    ],
)
def test_the_last_minute_is_kept_once_it_is_over(quoted_at, fetched, is_kept):
    kept = minutes_of("15:58", "15:59", quoted_at=quoted_at, fetched=fetched)
    assert kept == (["15:58", "15:59"] if is_kept else ["15:58"])


def test_a_minute_stamped_with_the_latest_trade_is_live():
    assert minutes_of("15:58", "15:59:31", quoted_at="15:59:31", fetched="23:00") == ["15:58"]


@pytest.mark.parametrize("wrap", [lambda day: [[day]], lambda day: [day]])
def test_a_last_minute_outside_the_sessions_is_the_quote_at_the_close(wrap):
    periods = wrap(period("2025-10-29"))
    assert minutes_of("15:59", "16:00", quoted_at="16:00:01", fetched="23:00", periods=periods) == ["15:59"]
    assert minutes_of("15:58", "15:59", quoted_at="16:00:01", fetched="23:00", periods=periods) == ["15:58", "15:59"]


def test_hours_before_and_after_the_session_are_no_sign_of_a_quote():
    periods = {"pre": [], "post": []}
    assert minutes_of("15:59", "16:00", quoted_at="16:05:00", fetched="23:00", periods=periods) == ["15:59", "16:00"]
