"""How far the sandbox's clock is moved on: a time, or sessions of the market."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta

from market_data.errors import SettingsError
from market_data.sessions import last_known_date, session_hours, sessions_between

__all__ = ["moved_on", "open_session", "start_of_clock"]

_STEP = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)\s*(s|m|h|d|w|sessions?)", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AFTER_MIDNIGHT = time(0, 10)  # UTC; every vendor sends the bar of the session before by then


def start_of_clock(window_end: date) -> datetime:
    """The instant a clock that was never set begins at: midnight, UTC, after the window."""
    return datetime.combine(window_end + timedelta(days=1), time(0), UTC)


def moved_on(now: datetime, step: str) -> datetime:
    """The instant that lies a step after `now`.

    Args:
        step: a number and `s`, `m`, `h`, `d` or `w`, as in 30m; or `1 session`, which leads to 00:10 UTC after the
            next close.

    Raises:
        SettingsError: no such step, or beyond what the calendar knows.
    """
    found = _STEP.fullmatch(step.strip().lower())
    if not found:
        raise SettingsError(f"{step!r} is not a step; write it as in 30m, 6h, 1d, or 1 session")
    number, unit = found[1], found[2]
    if unit in _UNITS:
        return _later(now, timedelta(**{_UNITS[unit]: float(number)}), step)
    if "." in number or int(number) < 1:
        raise SettingsError(f"{step!r}: sessions are counted in whole numbers from 1 on")
    today = now.astimezone(UTC).date()
    coming = [day.date() for day in sessions_between(today - timedelta(days=4), last_known_date())]
    closes = [close for close in (session_hours(day)[1] for day in coming[: int(number) + 5]) if close > now]
    if len(closes) < int(number):
        raise SettingsError(f"{step!r} leads beyond {last_known_date()}, the last session that the calendar knows")
    close = closes[int(number) - 1]
    return datetime.combine(close.date() + timedelta(days=1), _AFTER_MIDNIGHT, UTC)


def open_session(now: datetime) -> date | None:
    """The session that is open; None between them."""
    today = now.astimezone(UTC).date()
    for day in sessions_between(today, today):
        opens, closes = session_hours(day.date())
        if opens <= now < closes:
            return day.date()
    return None


def _later(now: datetime, by: timedelta, step: str) -> datetime:
    try:
        return now + by
    except OverflowError:
        raise SettingsError(f"{step!r} leads beyond any date") from None
