"""The nightly sync: yesterday's session, what is missing of the days before, and a second look at the latest ones.

A session is *settled* once an answer for it came two UTC dates after it or later: vendors restate volume after the
close, so what the first night brought is pulled once more. What an answer of today covers is not asked for again, so
that a second sync of a day sends nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from market_data.clock import Clock, SandboxClock, market_end, utc_now
from market_data.errors import MarketDataError
from market_data.ingest.sync.known import changed_instruments
from market_data.ingest.unit import expected_sessions, not_covered
from market_data.instruments import Universe
from market_data.records import EVERY
from market_data.sessions import sessions_between
from market_data.settings import Settings
from market_data.warehouse.connection import Database
from market_data.warehouse.current import held_sessions, known_gaps, last_session_held
from market_data.warehouse.holdings import HeldAnswer, Holdings, read_holdings

__all__ = ["SyncPlan", "SyncSpan", "latest_session", "plan_sync", "plan_unseen", "span_to_sync"]

_NONE_OVER = "no session of the window is over yet"

SETTLED_AFTER = timedelta(days=2)
"""From a session's date to the UTC date from which on an answer for it is taken for final."""

Sessions = dict[str, pd.DatetimeIndex]


@dataclass(frozen=True, slots=True)
class SyncSpan:
    """The sessions a sync looks at, both inclusive, and the instant from which on answers count."""

    start: date
    end: date
    since: datetime


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """What a sync would do.

    Attributes:
        start, end: the sessions it looks at, both inclusive.
        since: answers received before this instant do not count.
        missing: sessions without an accepted bar, by symbol.
        unsettled: sessions that are held and pulled once more, by symbol.
        renamed: symbols whose listing, names or tickers are not as the last sync saw them; vendors alone are asked
            for these again.
        idle: why there is nothing to do; None when there is.
    """

    start: date
    end: date
    since: datetime
    missing: Sessions = field(default_factory=dict)
    unsettled: Sessions = field(default_factory=dict)
    renamed: tuple[str, ...] = ()
    idle: str | None = None

    @property
    def span(self) -> SyncSpan:
        """What the steps of the sync are about."""
        return SyncSpan(self.start, self.end, self.since)

    @property
    def due(self) -> Sessions:
        """Every session to ask for, by symbol, ascending."""
        found = dict(self.missing)
        for symbol, sessions in self.unsettled.items():
            found[symbol] = found[symbol].union(sessions) if symbol in found else sessions
        return found

    def told(self) -> str:
        """The plan in a sentence."""
        if self.idle is not None:
            return self.idle
        missing, again = (sum(map(len, each.values())) for each in (self.missing, self.unsettled))
        told = (
            f"{self.start} to {self.end}: {missing} bars of {len(self.missing)} symbols are missing, "
            f"{again} of {len(self.unsettled)} symbols are pulled once more"
        )
        return f"{told}; renamed: {', '.join(self.renamed)}" if self.renamed else told


def latest_session(settings: Settings, clock: Clock) -> date | None:
    """The last session whose UTC date is over, within what the store is to hold; None before the first one."""
    last = _yesterday(clock)
    if isinstance(clock, SandboxClock):
        last = min(last, market_end(settings, clock))
    if not settings.keep_current:
        last = min(last, settings.window_end)
    if last < settings.window_start:
        return None
    sessions = sessions_between(max(settings.window_start, last - timedelta(days=14)), last)
    return sessions[-1].date() if len(sessions) else None


def span_to_sync(settings: Settings, latest: date, held_until: date | None) -> tuple[date, date]:
    """First and last session to look at: some days back, and as far as the store was left behind.

    Args:
        held_until: the last session of which anything is held; None for an empty store.
    """
    start = latest - timedelta(days=settings.sync_days - 1)
    if held_until is not None and held_until < latest:
        start = min(start, held_until + timedelta(days=1))
    sessions = sessions_between(max(settings.window_start, start), latest)
    return (sessions[0].date() if len(sessions) else latest), latest


def plan_unseen(settings: Settings, clock: Clock = utc_now) -> SyncPlan:
    """The span to sync and nothing more, for when the database cannot be read; who carries it out plans anew."""
    latest, since = latest_session(settings, clock), _counted_from(settings, clock(), asks_vendors=True)
    if latest is None:
        return SyncPlan(settings.window_start, settings.window_start, since, idle=_NONE_OVER)
    return SyncPlan(*span_to_sync(settings, latest, None), since)


def plan_sync(
    settings: Settings,
    universe: Universe,
    symbols: Sequence[str],
    *,
    synthetic: bool,
    asks_vendors: bool = True,
    start: date | None = None,
    end: date | None = None,
    since: datetime | None = None,
    clock: Clock = utc_now,
) -> SyncPlan:
    """What is due; reads the database, shortly, and changes nothing.

    Args:
        asks_vendors: whether bars come from vendors; an archive is not read a second time while it is the same.
        start, end: another span than the latest days, both inclusive.
        since: see `SyncPlan`; by default the start of the UTC day, for an archive when it was written.

    Raises:
        MarketDataError: the span is not over yet, ends before it starts, or lies outside of the store.
    """
    now, is_nightly = clock(), start is None and end is None
    since = since or _counted_from(settings, now, asks_vendors=asks_vendors)
    latest = latest_session(settings, clock)
    if latest is None:
        return SyncPlan(settings.window_start, settings.window_start, since, idle=_NONE_OVER)
    database = Database(settings.database_for(synthetic=synthetic), patience=settings.lock_patience)
    if not database.exists():
        first, last = _given(settings, latest, start, end) or span_to_sync(settings, latest, None)
        missing = _expected(universe, symbols, {}, first, last)
        return _planned(SyncPlan(first, last, since, missing), settings, clock, is_nightly=is_nightly)
    with database.reading() as connection:
        first, last = _given(settings, latest, start, end) or span_to_sync(
            settings, latest, last_session_held(connection)
        )
        holdings = read_holdings(connection, symbols, first, last)
        expected = _without(_expected(universe, symbols, holdings, first, last), known_gaps(connection, first, last))
        held = held_sessions(connection, first, last)
        changed = changed_instruments(connection, universe)
    plan = SyncPlan(first, last, since, _unanswered(_without(expected, held), holdings, since))
    if not asks_vendors:
        plan = SyncPlan(first, last, since, _beyond_what_it_ended_with(plan.missing, holdings, since))
    else:
        unsettled = _unsettled(plan, expected, holdings, settings, now.astimezone(UTC).date())
        renamed = tuple(symbol for symbol in symbols if symbol in changed.renamed)
        plan = SyncPlan(first, last, since, plan.missing, unsettled, renamed)
    return _planned(plan, settings, clock, is_nightly=is_nightly)


def _counted_from(settings: Settings, now: datetime, *, asks_vendors: bool) -> datetime:
    if asks_vendors or settings.archive is None:
        return datetime.combine(now.astimezone(UTC).date(), time(), UTC)
    return datetime.fromtimestamp(_written_at(settings.archive), UTC)


def _written_at(archive: Path) -> float:
    """When the archive, or the newest file of it, was last written, seconds since 1970."""
    if not archive.is_dir():
        return archive.stat().st_mtime if archive.exists() else 0.0
    return max((file.stat().st_mtime for file in archive.rglob("*") if file.is_file()), default=0.0)


def _given(settings: Settings, latest: date, start: date | None, end: date | None) -> tuple[date, date] | None:
    if start is None and end is None:
        return None
    first, last = start or settings.window_start, end or latest
    if last > latest:
        raise MarketDataError(f"--end {last}: the last session that is over is {latest}; name that or an earlier date")
    if first > last:
        raise MarketDataError(f"--start {first} is after the end {last}; it must not be later")
    if first < settings.window_start:
        raise MarketDataError(
            f"--start {first} is before the store's window, which begins on {settings.window_start}; "
            "set MARKET_DATA_WINDOW_START earlier"
        )
    return first, last


def _planned(plan: SyncPlan, settings: Settings, clock: Clock, *, is_nightly: bool) -> SyncPlan:
    """The plan, idle where nothing is missing; in a night without a session nothing is pulled once more."""
    if plan.missing or plan.renamed or (plan.unsettled and not (is_nightly and _yesterday(clock) != plan.end)):
        return plan
    return SyncPlan(plan.start, plan.end, plan.since, idle=_why_idle(plan.end, settings, clock))


def _yesterday(clock: Clock) -> date:
    return clock().astimezone(UTC).date() - timedelta(days=1)


def _why_idle(last: date, settings: Settings, clock: Clock) -> str:
    yesterday = _yesterday(clock)
    why = f"every bar up to {last} is held, or known to be nowhere"
    if not settings.keep_current and yesterday > settings.window_end:
        return f"{why}; the store ends with its window, MARKET_DATA_KEEP_CURRENT being off"
    if isinstance(clock, SandboxClock) and not clock.is_set:
        return f"{why}; the synthetic market ends there: `market-data sandbox clock --advance 1d` moves it on"
    return why if yesterday == last else f"{yesterday} ({yesterday:%A}) was no session; {why}"


def _without(sessions: Sessions, others: Sessions) -> Sessions:
    """The sessions of each symbol that are not among its others; symbols of which none is left are left out."""
    left = {symbol: each.difference(others[symbol]) if symbol in others else each for symbol, each in sessions.items()}
    return {symbol: each for symbol, each in left.items() if len(each)}


def _unanswered(sessions: Sessions, holdings: Mapping[str, Holdings], since: datetime) -> Sessions:
    """The sessions that no answer since an instant covers."""
    asked = {
        symbol: [each.stored.request for each in _of_days(holdings[symbol], since) if _is_own(each)]
        for symbol in sessions
    }
    left = {symbol: not_covered(each, asked[symbol]) for symbol, each in sessions.items()}
    return {symbol: each for symbol, each in left.items() if len(each)}


def _expected(
    universe: Universe, symbols: Sequence[str], holdings: Mapping[str, Holdings], start: date, end: date
) -> Sessions:
    found = {
        symbol: expected_sessions(universe[symbol], holdings.get(symbol, Holdings()), start, end) for symbol in symbols
    }
    return {symbol: sessions for symbol, sessions in found.items() if len(sessions)}


def _unsettled(
    plan: SyncPlan, expected: Sessions, holdings: Mapping[str, Holdings], settings: Settings, today: date
) -> Sessions:
    """Sessions of the latest days that are not missing and have no answer that came late enough."""
    if not settings.settle_sessions:
        return {}
    latest = sessions_between(plan.start, plan.end)
    latest = latest[latest <= pd.Timestamp(today - SETTLED_AFTER)][-settings.settle_sessions :]
    found = {}
    for symbol, sessions in expected.items():
        held = holdings[symbol]
        if not held.answers:
            continue
        due = latest.intersection(sessions).difference(plan.missing.get(symbol, latest[:0]))
        late = [_settled_part(each) for each in held.answers if each.stored.request.interval == "1d"]
        keep = np.ones(len(due), dtype=bool)
        for first, last in late:
            keep &= ~((due >= pd.Timestamp(first)) & (due <= pd.Timestamp(last)))
        if keep.any():
            found[symbol] = due[keep]
    return found


def _settled_part(held: HeldAnswer) -> tuple[date, date]:
    """The span of an answer that it settles."""
    request = held.stored.request
    return request.start, min(request.end, held.stored.fetched_at.astimezone(UTC).date() - SETTLED_AFTER)


def _beyond_what_it_ended_with(missing: Sessions, holdings: Mapping[str, Holdings], since: datetime) -> Sessions:
    """Without the sessions after the last bar that an unchanged archive has of a symbol."""
    found = {}
    for symbol, sessions in missing.items():
        ends = [each.stored.request.end for each in _of_days(holdings.get(symbol, Holdings()), since)]
        left = sessions if not ends else sessions[sessions <= pd.Timestamp(max(ends))]
        if len(left):
            found[symbol] = left
    return found


def _of_days(held: Holdings, since: datetime) -> list[HeldAnswer]:
    """Answers of daily bars since an instant."""
    return [each for each in held.answers if each.stored.request.interval == "1d" and each.stored.fetched_at >= since]


def _is_own(held: HeldAnswer) -> bool:
    """Whether an answer is about the symbol alone; one for all may lack it."""
    return held.stored.request.symbol != EVERY
