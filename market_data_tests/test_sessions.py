from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_data.errors import SettingsError
from market_data.sessions import FIRST_DATE, closes, holidays, is_session, last_completed_session, sessions_between

WINDOW = (date(2021, 1, 19), date(2026, 1, 19))
HALF_DAYS = [
    date(2021, 11, 26),
    date(2022, 11, 25),
    date(2023, 7, 3),
    date(2023, 11, 24),
    date(2024, 7, 3),
    date(2024, 11, 29),
    date(2024, 12, 24),
    date(2025, 7, 3),
    date(2025, 11, 28),
    date(2025, 12, 24),
]


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def test_the_window_has_exactly_1256_sessions_the_last_on_2026_01_16():
    sessions = sessions_between(*WINDOW)
    assert len(sessions) == 1256
    assert (sessions[0].date(), sessions[-1].date()) == (date(2021, 1, 19), date(2026, 1, 16))


def test_sessions_are_ascending_naive_midnights_in_seconds():
    sessions = sessions_between(*WINDOW)
    assert sessions.dtype == np.dtype("datetime64[s]")
    assert sessions.tz is None
    assert sessions.is_monotonic_increasing
    assert sessions.is_unique
    assert (sessions == sessions.normalize()).all()
    assert (sessions.day_of_week < 5).all()


@pytest.mark.parametrize(("year", "count"), [(2021, 252), (2022, 251), (2023, 250), (2024, 252), (2025, 250)])
def test_a_year_has_as_many_sessions_as_the_exchange_held(year, count):
    assert len(sessions_between(date(year, 1, 1), date(year, 12, 31))) == count


@pytest.mark.parametrize(
    "day",
    [
        date(2025, 1, 9),  # national day of mourning
        date(2026, 1, 19),
        date(2022, 6, 20),  # the first Juneteenth, observed on Monday
        date(2021, 12, 24),  # Christmas, observed on Friday
        date(2024, 3, 29),  # Good Friday
        date(2025, 1, 11),
        date(2025, 1, 12),
    ],
)
def test_a_day_without_trading_is_no_session(day):
    assert not is_session(day)
    assert len(sessions_between(day, day)) == 0


@pytest.mark.parametrize("day", [date(2025, 1, 8), date(2025, 1, 10), date(2021, 12, 31), date(2020, 6, 19)])
def test_a_day_of_trading_is_a_session(day):
    assert is_session(day)
    assert [session.date() for session in sessions_between(day, day)] == [day]


def test_both_ends_of_a_span_belong_to_it():
    found = [session.date() for session in sessions_between(date(2025, 1, 8), date(2025, 1, 13))]
    assert found == [date(2025, 1, 8), date(2025, 1, 10), date(2025, 1, 13)]


def test_a_span_that_ends_before_it_starts_has_no_sessions():
    assert len(sessions_between(date(2025, 2, 3), date(2025, 1, 3))) == 0


def test_dates_before_the_calendar_are_refused():
    with pytest.raises(SettingsError, match=r"^start 1990-01-01 is outside the known XNYS calendar, 1990-01-02 to 2"):
        sessions_between(FIRST_DATE - timedelta(days=1), date(2020, 1, 1))


def test_dates_after_the_calendar_are_refused():
    with pytest.raises(SettingsError, match=r"^end 2150-01-01 is outside the known XNYS calendar, 1990-01-02 to 2"):
        sessions_between(date(2020, 1, 1), date(2150, 1, 1))
    with pytest.raises(SettingsError, match="2150-01-01 is outside"):
        is_session(date(2150, 1, 1))


def test_exactly_the_half_days_of_the_window_close_at_one_in_new_york():
    sessions = sessions_between(*WINDOW)
    instants = closes(sessions)
    assert str(instants.dtype) == "datetime64[ns, UTC]"
    local = instants.tz_convert("America/New_York")
    assert [day.date() for day in sessions[local.hour == 13]] == HALF_DAYS
    assert (local[local.hour != 13].hour == 16).all()
    assert (local.minute == 0).all()
    assert [moment.date() for moment in local] == [session.date() for session in sessions]


@pytest.mark.parametrize(
    ("day", "close"),
    [
        (date(2025, 3, 7), at(2025, 3, 7, 21)),  # the last session of standard time
        (date(2025, 3, 10), at(2025, 3, 10, 20)),
        (date(2025, 10, 31), at(2025, 10, 31, 20)),
        (date(2025, 11, 3), at(2025, 11, 3, 21)),
        (date(2025, 7, 3), at(2025, 7, 3, 17)),
        (date(2025, 11, 28), at(2025, 11, 28, 18)),
    ],
)
def test_a_session_is_complete_from_its_close_on_and_not_a_second_before(day, close):
    assert closes(sessions_between(day, day))[0] == pd.Timestamp(close)
    assert last_completed_session(close) == day
    assert last_completed_session(close - timedelta(seconds=1)) < day


@pytest.mark.parametrize(
    ("now", "session"),
    [
        (at(2025, 1, 9, 23), date(2025, 1, 8)),  # a closure on a weekday
        (at(2025, 1, 11, 12), date(2025, 1, 10)),  # Saturday
        (at(2025, 1, 12, 23, 59), date(2025, 1, 10)),  # Sunday
        (at(2025, 1, 13, 12), date(2025, 1, 10)),  # Monday before the opening
        (at(2025, 11, 28, 17, 59), date(2025, 11, 26)),  # before a half day's close, after Thanksgiving
        (at(2025, 3, 9, 20, 30), date(2025, 3, 7)),  # the Sunday the clocks change
        (at(2026, 1, 19, 23), date(2026, 1, 16)),
    ],
)
def test_the_last_completed_session_on_days_without_a_close(now, session):
    assert last_completed_session(now) == session


def test_the_last_completed_session_is_the_same_whatever_zone_the_instant_is_told_in():
    now = at(2025, 1, 8, 21)
    for hours in (-12, -5, 0, 9, 14):
        assert last_completed_session(now.astimezone(timezone(timedelta(hours=hours)))) == date(2025, 1, 8)


def test_an_instant_without_a_zone_is_refused():
    with pytest.raises(ValueError, match="now must be timezone-aware"):
        last_completed_session(datetime(2025, 1, 8, 21))  # noqa: DTZ001 - the very thing refused


def test_the_holidays_of_2025_are_those_the_exchange_announced():
    assert holidays(date(2025, 1, 1), date(2025, 12, 31)) == [
        date(2025, 1, 1),
        date(2025, 1, 9),
        date(2025, 1, 20),
        date(2025, 2, 17),
        date(2025, 4, 18),
        date(2025, 5, 26),
        date(2025, 6, 19),
        date(2025, 7, 4),
        date(2025, 9, 1),
        date(2025, 11, 27),
        date(2025, 12, 25),
    ]


def test_a_weekend_holds_no_holiday():
    assert holidays(date(2025, 1, 4), date(2025, 1, 5)) == []


def test_sessions_and_holidays_together_are_the_weekdays_of_the_window():
    weekdays = pd.date_range(*WINDOW, freq="B")
    assert len(sessions_between(*WINDOW)) + len(holidays(*WINDOW)) == len(weekdays)


DAYS = st.dates(min_value=date(2018, 1, 1), max_value=date(2026, 1, 19))


@given(DAYS, DAYS)
def test_a_span_holds_the_same_sessions_as_asking_day_by_day(start, end):
    end = min(end, start + timedelta(days=40))
    days = [start + timedelta(days=count) for count in range((end - start).days + 1)]
    assert [day.date() for day in sessions_between(start, end)] == [day for day in days if is_session(day)]


@given(st.datetimes(datetime(2018, 1, 1), datetime(2026, 1, 16), timezones=st.just(UTC)))  # noqa: DTZ001 - bounds
def test_no_later_session_than_the_last_completed_one_has_closed(now):
    last = last_completed_session(now)
    later = sessions_between(last, last + timedelta(days=10))
    instants = closes(later)
    assert instants[0] <= pd.Timestamp(now) < instants[1]
