"""When a session is polled."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from market_data.errors import SettingsError
from market_data.sessions import is_session, session_hours
from market_data.settings import Settings

__all__ = ["PollingSpan", "can_be_polled", "polling_span", "session_of_today"]

_NEW_YORK = ZoneInfo("America/New_York")


@dataclass(frozen=True, slots=True)
class PollingSpan:
    """When a session is polled: every `interval` from `opens` on, at the latest at `ends`; instants in UTC."""

    opens: datetime
    closes: datetime
    ends: datetime
    interval: timedelta

    def place(self, now: datetime) -> int:
        """The first poll of the grid that is not before `now`."""
        return max(0, -((self.opens - now) // self.interval))

    def at(self, place: int) -> datetime:
        """When a poll of the grid is due."""
        return self.opens + place * self.interval


def polling_span(settings: Settings, session: date) -> PollingSpan:
    """The span of a session; it ends once the last minute has settled, or the grace is over.

    Raises:
        SettingsError: XNYS does not trade on the date.
    """
    if not is_session(session):
        raise SettingsError(f"{session} is not an XNYS session; give the date of one")
    opens, closes = session_hours(session)
    grace = max(timedelta(minutes=settings.intraday_grace), timedelta(seconds=settings.intraday_settle))
    return PollingSpan(opens, closes, closes + grace, timedelta(seconds=settings.intraday_poll))


def session_of_today(now: datetime) -> date | None:
    """The session whose day it is in New York; None on another day."""
    day = now.astimezone(_NEW_YORK).date()
    return day if is_session(day) else None


def can_be_polled(session: date, now: datetime) -> bool:
    """Whether the session is that of today: vendors serve minutes of before otherwise, and backfills ask for them."""
    return session_of_today(now) == session
