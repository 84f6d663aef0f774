"""Whether a session's poller is to be started: what the sensor looks at, as plain values."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta

import duckdb

from market_data.ingest.intraday.span import polling_span, session_of_today
from market_data.sessions import session_hours, sessions_between
from market_data.settings import Settings

__all__ = ["Decision", "Starts", "decide", "is_polled_to_its_end"]

_AT_ONCE = 3  # starts of a session that follow each other without a pause
_SHORTEST, _LONGEST = timedelta(seconds=45), timedelta(minutes=15)
"""Pauses: a run takes seconds until its poller holds the lock; one that cannot live is not started each time."""


@dataclass(frozen=True, slots=True)
class Starts:
    """The starts of one session's poller so far; kept as the sensor's cursor.

    Attributes:
        last: instant of the last one, ISO 8601; empty before the first.
        after_the_end: starts after the session's polling was to end.
    """

    session: str = ""
    count: int = 0
    last: str = ""
    after_the_end: int = 0

    @classmethod
    def of(cls, cursor: str | None, session: date) -> Starts:
        """Those a cursor tells of, none where it is of another session or cannot be read."""
        try:
            starts = cls(**json.loads(cursor or "{}"))
        except (ValueError, TypeError):
            starts = cls()
        return starts if starts.session == session.isoformat() else cls(session.isoformat())

    def cursor(self) -> str:
        """As text."""
        return json.dumps(asdict(self))

    def again(self, now: datetime, *, is_over: bool) -> Starts:
        """With one more."""
        return Starts(self.session, self.count + 1, now.isoformat(), self.after_the_end + is_over)

    def next_at(self) -> datetime | None:
        """From when on another start is due; None for at once."""
        if not self.last:
            return None
        doublings = min(max(0, self.count - _AT_ONCE), 10)
        pause: timedelta = min(_SHORTEST * 2**doublings, _LONGEST)
        return datetime.fromisoformat(self.last) + pause


@dataclass(frozen=True, slots=True)
class Decision:
    """The session to start a poller for, with its starts then; or why none is."""

    session: date | None
    reason: str
    starts: Starts | None = None


def decide(
    settings: Settings, now: datetime, *, cursor: str | None, alive: bool, has_ended: Callable[[date], bool]
) -> Decision:
    """Whether to start a poller.

    From the open until polling is to end one is started whenever none is alive, after it once more where it had not
    come to its end. Starts that follow each other fast are slowed down.

    Args:
        cursor: `Starts.cursor` of before.
        alive: whether a poller is running, or about to.
        has_ended: whether a session was polled to its end; asked for after that alone.
    """
    if not settings.intraday_symbols.strip():
        return Decision(None, "no symbols are configured; set MARKET_DATA_INTRADAY_SYMBOLS to all or a list")
    session = session_of_today(now)
    if session is None:
        return Decision(None, f"today is no session; {_next_open(now)}")
    span, starts = polling_span(settings, session), Starts.of(cursor, session)
    if now < span.opens:
        return Decision(None, f"{session} opens at {span.opens:%H:%M} UTC")
    is_over = now >= span.ends
    why_not = _why_not(starts, now, alive=alive, is_over=is_over, has_ended=has_ended)
    if why_not is not None:
        return Decision(None, why_not)
    return Decision(session, "no poller is alive", starts.again(now, is_over=is_over))


def _why_not(
    starts: Starts, now: datetime, *, alive: bool, is_over: bool, has_ended: Callable[[date], bool]
) -> str | None:
    """Why no poller is to be started for a session that has opened; None where one is."""
    if alive:
        return f"a poller of {starts.session} is running"
    if is_over and has_ended(date.fromisoformat(starts.session)):
        return f"{starts.session} is polled to its end; {_next_open(now)}"
    if is_over and starts.after_the_end:
        return f"{starts.session} was not polled to its end, and a start after it did not help; see that run"
    due = starts.next_at()
    if due is not None and now < due:
        return f"start {starts.count} of {starts.session} was just now; the next is due at {due:%H:%M:%S} UTC"
    return None


def is_polled_to_its_end(connection: duckdb.DuckDBPyConnection, session: date) -> bool:
    """Whether a poller of the session came to its end."""
    rows = connection.execute(
        "SELECT count(*) FROM ingestion_jobs WHERE kind = 'intraday' AND start_date = ? AND finished_at IS NOT NULL",
        [session],
    ).fetchall()
    return bool(rows[0][0])


def _next_open(now: datetime) -> str:
    today = now.date()
    for day in sessions_between(today, today + timedelta(days=14)):
        opens, _ = session_hours(day.date())
        if opens > now:
            return f"the next one opens at {opens:%Y-%m-%d %H:%M} UTC"
    return "the calendar knows no next one"
