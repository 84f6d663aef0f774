"""The ledger of calls: what each vendor's quotas still allow, and which vendors are left alone for a while.

It is one SQLite file, shared by every process that asks vendors. A call is counted in it, durably, before it is sent,
so that a crash can lose a call's answer but never its count.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from market_data.errors import QuotaExhausted
from market_data.providers.base import Clock, utc_now
from market_data.providers.config import ProviderConfig, Quota
from market_data.selection.shared_file import PATIENCE, named_in_errors, opened, transaction

__all__ = ["Closure", "QuotaLedger", "QuotaState", "Standing", "period_of", "shown", "spent_text"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS usage (
    provider TEXT NOT NULL, period TEXT NOT NULL, starts_on TEXT NOT NULL, used INTEGER NOT NULL,
    PRIMARY KEY (provider, period, starts_on)
);
CREATE TABLE IF NOT EXISTS closures (
    provider TEXT PRIMARY KEY, closed_until TEXT NOT NULL, error TEXT NOT NULL, reason TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS failures (provider TEXT PRIMARY KEY, in_a_row INTEGER NOT NULL);
"""
_PURPOSE = "ledger of calls"
_WRITING = threading.Lock()
"""Lets the threads of this process write in turn: left to SQLite, which has them sleep and try again, some starve."""


@dataclass(frozen=True, slots=True)
class QuotaState:
    """One quota of a vendor: calls allowed and used in the current period, and when (UTC) the next one begins."""

    quota: Quota
    used: int
    resets_at: datetime

    @property
    def left(self) -> int:
        """Calls that may still be sent in the period."""
        return max(0, self.quota.limit - self.used)


@dataclass(frozen=True, slots=True)
class Closure:
    """A vendor that is left alone until an instant (UTC), because of an error of it."""

    until: datetime
    error: str
    reason: str


@dataclass(frozen=True, slots=True)
class Standing:
    """How a vendor stands: its quotas in the current periods, and its closure, if it is left alone."""

    quotas: tuple[QuotaState, ...] = ()
    closure: Closure | None = None

    def spent(self) -> QuotaState | None:
        """The spent quota that resets last; None when calls are left."""
        return max((state for state in self.quotas if not state.left), key=lambda s: s.resets_at, default=None)

    def budget(self, now: datetime) -> float:
        """Calls that can be spared today: what is left of a day, or of a month spread over the days it has left."""
        return min((state.left / max(1.0, _days(now, state)) for state in self.quotas), default=float("inf"))


def _days(now: datetime, state: QuotaState) -> float:
    return 1.0 if state.quota.period == "day" else (state.resets_at - now) / timedelta(days=1)


class QuotaLedger:
    """Usage and closures in the file; safe to share between threads and processes.

    Args:
        file: made at the first write.
        patience: seconds to wait for others that use it.

    Raises:
        MarketDataError: the file cannot be used; its path is named.
    """

    def __init__(self, file: Path, *, clock: Clock = utc_now, patience: float = PATIENCE) -> None:
        self.file = file
        self._clock = clock
        self._patience = patience

    def take(self, config: ProviderConfig) -> None:
        """Count one call that is about to be sent.

        Raises:
            QuotaExhausted: a quota is spent; nothing is counted.
        """
        with self._transaction() as connection:
            now = self._clock()  # after the wait for others, in which a day may have ended
            spent = Standing(_states(connection, config, now)).spent()
            if spent is not None:
                raise QuotaExhausted(spent_text(config.name, spent))
            for quota in config.quotas:
                connection.execute(
                    "INSERT INTO usage VALUES (?, ?, ?, 1) "
                    "ON CONFLICT (provider, period, starts_on) DO UPDATE SET used = used + 1",
                    [config.name, quota.period, period_of(quota, config.reset_zone, now)[0].isoformat()],
                )

    def standing(self, *configs: ProviderConfig) -> dict[str, Standing]:
        """How vendors stand now, by name."""
        now = self._clock()
        with self._reading() as connection:
            return {c.name: Standing(_states(connection, c, now), _closure(connection, c.name, now)) for c in configs}

    def close(self, provider: str, closure: Closure) -> None:
        """Leave a vendor alone for a while; the later of two ends counts."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO closures VALUES (?, ?, ?, ?) ON CONFLICT (provider) DO UPDATE SET "
                "closed_until = excluded.closed_until, error = excluded.error, reason = excluded.reason "
                "WHERE excluded.closed_until > closed_until",
                [provider, _text(closure.until), closure.error, closure.reason],
            )

    def reopen(self, provider: str) -> bool:
        """Ask a vendor again from now on; returns whether it was closed."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM failures WHERE provider = ?", [provider])
            return connection.execute("DELETE FROM closures WHERE provider = ?", [provider]).rowcount > 0

    def count_failure(self, provider: str) -> int:
        """Note one more failure; returns how many there were in a row, in whatever process."""
        with self._transaction() as connection:
            row = connection.execute(
                "INSERT INTO failures VALUES (?, 1) "
                "ON CONFLICT (provider) DO UPDATE SET in_a_row = in_a_row + 1 RETURNING in_a_row",
                [provider],
            ).fetchone()
        return int(row[0])

    def forget_failures(self, provider: str) -> None:
        """Note that the vendor answered."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM failures WHERE provider = ?", [provider])

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with _WRITING, self._connection() as connection, transaction(connection):
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """A connection; None, and no file made, where there is none yet."""
        with named_in_errors(self.file, _PURPOSE):
            is_made = self.file.exists()
        with self._connection() if is_made else nullcontext() as connection:
            yield connection

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with (
            named_in_errors(self.file, _PURPOSE),
            closing(opened(self.file, _SCHEMA, synchronous="FULL", patience=self._patience)) as connection,
        ):
            yield connection


def period_of(quota: Quota, zone: str, now: datetime) -> tuple[date, datetime]:
    """First date of the current period in the vendor's zone, and the instant (UTC) the next one begins."""
    place = ZoneInfo(zone)
    today = now.astimezone(place).date()
    if quota.period == "day":
        first, following = today, today + timedelta(days=1)
    else:
        first = today.replace(day=1)
        following = (first + timedelta(days=32)).replace(day=1)
    return first, datetime.combine(following, time(), tzinfo=place).astimezone(UTC)


def spent_text(provider: str, state: QuotaState) -> str:
    """What to say of a spent quota."""
    quota = state.quota
    return f"{provider}: the {quota.limit:,} calls of the {quota.period} are spent until {shown(state.resets_at)}"


def shown(instant: datetime) -> str:
    """An instant for people, to the second, UTC."""
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _states(connection: sqlite3.Connection | None, config: ProviderConfig, now: datetime) -> tuple[QuotaState, ...]:
    states = []
    for quota in config.quotas:
        first, resets_at = period_of(quota, config.reset_zone, now)
        used = 0 if connection is None else _used(connection, config.name, quota.period, first)
        states.append(QuotaState(quota, used, resets_at))
    return tuple(states)


def _used(connection: sqlite3.Connection, provider: str, period: str, first: date) -> int:
    row = connection.execute(
        "SELECT used FROM usage WHERE provider = ? AND period = ? AND starts_on = ?",
        [provider, period, first.isoformat()],
    ).fetchone()
    return int(row[0]) if row else 0


def _closure(connection: sqlite3.Connection | None, provider: str, now: datetime) -> Closure | None:
    if connection is None:
        return None
    row = connection.execute(
        "SELECT closed_until, error, reason FROM closures WHERE provider = ? AND closed_until > ?",
        [provider, _text(now)],
    ).fetchone()
    return Closure(datetime.fromisoformat(row[0]), row[1], row[2]) if row else None


def _text(instant: datetime) -> str:
    """ISO 8601 in UTC with microseconds, so that texts order as instants do."""
    return instant.astimezone(UTC).isoformat(timespec="microseconds")
