"""XNYS sessions: the unit of time of daily data.

A *session* is a trading day of the New York Stock Exchange as `exchange_calendars` knows it (holidays, half
days and one-off closures such as 2025-01-09 included). Dates of sessions are timezone-naive midnights.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from market_data.errors import SettingsError

__all__ = [
    "FIRST_DATE",
    "closes",
    "holidays",
    "is_session",
    "last_completed_session",
    "last_known_date",
    "session_hours",
    "sessions_between",
]

FIRST_DATE = date(1990, 1, 2)
"""The earliest date the calendar is built for."""


@cache
def _calendar() -> Any:
    import exchange_calendars

    return exchange_calendars.get_calendar("XNYS", start=FIRST_DATE.isoformat())


@cache
def _sessions() -> pd.DatetimeIndex:
    return pd.DatetimeIndex(_calendar().sessions.to_numpy().astype("datetime64[s]"), name="date")


@cache
def _last_date() -> date:
    return _sessions()[-1].date()


def sessions_between(start: date, end: date) -> pd.DatetimeIndex:
    """Sessions from `start` to `end`, both inclusive.

    Returns:
        Ascending naive midnights, `datetime64[s]`; empty when there are none.

    Raises:
        SettingsError: either date lies outside what the calendar is known for.
    """
    known, last = _sessions(), _last_date()
    for name, value in (("start", start), ("end", end)):
        if not FIRST_DATE <= value <= last:
            raise SettingsError(f"{name} {value} is outside the known XNYS calendar, {FIRST_DATE} to {last}")
    days = known.to_numpy()
    low = days.searchsorted(np.datetime64(start), side="left")
    high = days.searchsorted(np.datetime64(end), side="right")
    return known[low:high]


def last_known_date() -> date:
    """The last session the calendar knows, about a year ahead."""
    return _last_date()


def is_session(day: date) -> bool:
    """Whether XNYS trades on `day`."""
    return len(sessions_between(day, day)) == 1


def closes(sessions: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """Closing instants of the sessions, UTC, `datetime64[ns, UTC]`; half days close early."""
    schedule: pd.Series = _calendar().closes
    return pd.DatetimeIndex(schedule.reindex(sessions.astype("datetime64[ns]")))


def session_hours(session: date) -> tuple[datetime, datetime]:
    """Opening and closing instant of a session, UTC; the close of a half day is early.

    Raises:
        ValueError: XNYS does not trade on the date.
    """
    if not is_session(session):
        raise ValueError(f"{session} is not an XNYS session")
    row = _calendar().schedule.loc[pd.Timestamp(session)]
    return row["open"].to_pydatetime(), row["close"].to_pydatetime()


def last_completed_session(now: datetime) -> date:
    """The latest session that had closed at `now` (timezone-aware)."""
    if now.tzinfo is None:
        raise ValueError(f"now must be timezone-aware, got {now!r}")
    sessions, instants = _recent_closes(now.astimezone(UTC).date())
    return sessions[bisect_right(instants, now) - 1]


@cache
def _recent_closes(today: date) -> tuple[list[date], list[datetime]]:
    recent = sessions_between(today - timedelta(days=14), today + timedelta(days=1))
    return [day.date() for day in recent], [close.to_pydatetime() for close in closes(recent)]


def holidays(start: date, end: date) -> list[date]:
    """Weekdays from `start` to `end` (inclusive) on which XNYS does not trade."""
    weekdays = pd.date_range(start, end, freq="B").astype("datetime64[s]")
    return [day.date() for day in weekdays.difference(sessions_between(start, end))]
