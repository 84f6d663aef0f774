"""A sync carried out, in the steps of the asset graph: ask for what is due, store what came, check again what changed.

`sync` does all of them at once, for the command line; the assets do them one by one. Each finds out for itself what
is due, so that a run that is taken up again goes on where the last one died.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime

import pandas as pd

from market_data.clock import Clock, utc_now
from market_data.errors import MarketDataError
from market_data.ingest.actions import fetch_actions
from market_data.ingest.backfill import Acquired, Backfill, BackfillRequest, Summary, context_of
from market_data.ingest.partitions import Fetched, asking, complete
from market_data.ingest.sources import Source
from market_data.ingest.sync.known import changed_instruments, note_known
from market_data.ingest.sync.plan import SyncPlan, SyncSpan, plan_sync
from market_data.ingest.unit import expected_sessions
from market_data.instruments import Instrument, Universe
from market_data.records import EVERY
from market_data.selection.choice import GivenOrder
from market_data.settings import Settings
from market_data.warehouse.connection import Database
from market_data.warehouse.holdings import HeldAnswer, Holdings, asked_symbols, read_holdings, unread_answers

__all__ = ["Synced", "fetch_due", "load_received", "recheck", "sync"]


@dataclass(frozen=True, slots=True)
class Synced:
    """What came of a sync.

    Attributes:
        plan: what was due.
        fetched: what asking came to; None where nothing was due.
        summary: what was stored; None where nothing was received.
        rechecked: symbols judged anew over the whole window, since a split or a rename of theirs was found.
    """

    plan: SyncPlan
    fetched: Fetched | None = None
    summary: Summary | None = None
    rechecked: list[str] = field(default_factory=list)


def sync(
    settings: Settings,
    universe: Universe,
    source: Source,
    *,
    symbols: Sequence[str],
    job_id: str,
    start: date | None = None,
    end: date | None = None,
    clock: Clock = utc_now,
) -> Synced:
    """Bring the latest sessions in, whole.

    Raises:
        MarketDataError: as `plan_sync`; nothing was asked then.
    """
    plan = plan_sync(
        settings,
        universe,
        symbols,
        synthetic=source.synthetic,
        asks_vendors=bool(source.arms),
        start=start,
        end=end,
        clock=clock,
    )
    if plan.idle is not None:
        return Synced(plan)
    span, label, synthetic = plan.span, source.name, source.synthetic
    fetched = fetch_due(settings, universe, source, span, symbols=symbols, job_id=job_id, clock=clock)
    summary = load_received(
        settings, universe, span, label=label, synthetic=synthetic, job_id=job_id, kind="sync", clock=clock
    )
    rechecked = recheck(settings, universe, span, label=label, synthetic=synthetic, job_id=job_id, clock=clock)
    complete(
        settings,
        universe,
        symbols=[symbol for symbol in symbols if symbol in plan.due],
        synthetic=source.synthetic,
        start=plan.start,
        end=plan.end,
        clock=clock,
    )
    return Synced(plan, fetched, summary, rechecked)


def fetch_due(
    settings: Settings,
    universe: Universe,
    source: Source,
    span: SyncSpan,
    *,
    symbols: Sequence[str],
    job_id: str,
    clock: Clock = utc_now,
) -> Fetched:
    """Ask for new actions, for what is due of the span, and for the whole window of instruments that were renamed."""
    failed = _fetch_new_actions(settings, universe, source, job_id=job_id, clock=clock)
    plan = plan_sync(
        settings,
        universe,
        symbols,
        synthetic=source.synthetic,
        asks_vendors=bool(source.arms),
        start=span.start,
        end=span.end,
        since=span.since,
        clock=clock,
    )
    work = asking(settings, universe, source, clock)
    request = BackfillRequest(
        list(plan.due), span.start, span.end, job_id, kind="sync", due=plan.due, since=span.since, narrow=True
    )
    acquired = work.acquire(request) if plan.due else []
    if plan.renamed:
        acquired += _asked_by_new_name(work, universe, plan.renamed, replace(request, start=settings.window_start))
    return Fetched.of(symbols, acquired, source, failed)


def _fetch_new_actions(
    settings: Settings, universe: Universe, source: Source, *, job_id: str, clock: Clock
) -> dict[str, str]:
    """Ask for new splits and dividends of all symbols where one vendor tells them at once; why that failed, by `*`."""
    if not any(arm.config.name == "polygon" and arm.provider is not None for arm in source.arms):
        return {}
    try:
        told = fetch_actions(
            settings,
            universe,
            source,
            symbols=[],
            job_id=job_id,
            dividends=False,
            recent_dividends=True,
            clock=clock,
        )
    except MarketDataError as error:
        return {EVERY: f"corporate actions: {error}"}
    return {name: f"corporate actions: {reason}" for name, reason in told.failed.items()}


def _asked_by_new_name(
    work: Backfill, universe: Universe, renamed: Sequence[str], request: BackfillRequest
) -> list[Acquired]:
    """Answers by the names the instruments have now: those under the old ones may be of other securities."""
    due = {symbol: expected_sessions(universe[symbol], Holdings(), request.start, request.end) for symbol in renamed}
    return work.acquire(replace(request, symbols=list(renamed), due=due, narrow=False))


def load_received(
    settings: Settings,
    universe: Universe,
    span: SyncSpan,
    *,
    label: str,
    synthetic: bool,
    job_id: str,
    kind: str = "materialize",
    clock: Clock = utc_now,
) -> Summary:
    """Judge and store what was received since an instant of the span, or left unread by a run that died.

    Sessions before the span that came along are stored as well.

    Asks no provider.
    """
    first = context_of(span.start, settings.window_start)
    database = Database(settings.database_for(synthetic=synthetic), patience=settings.lock_patience)
    if not database.exists():
        return Summary(job_id)
    with database.reading() as connection:
        symbols = [symbol for symbol in asked_symbols(connection) if symbol in universe]
        holdings = read_holdings(connection, symbols, first, span.end)
        unread = unread_answers(connection, symbols, span.start, span.end)
    recent = {symbol: _recent(holdings[symbol], span.since, unread.get(symbol, ())) for symbol in symbols}
    due = {symbol: _received(universe[symbol], holdings[symbol], recent[symbol], span, first) for symbol in symbols}
    due = {symbol: sessions for symbol, sessions in due.items() if len(sessions)}
    if not due:
        return Summary(job_id)
    judged = [each for symbol in due for each in recent[symbol] if each.verdict is not None]
    since = min([span.since, *(each.stored.fetched_at for each in judged)])
    work = _reader(settings, universe, label, synthetic, clock)
    return work.run(
        BackfillRequest(list(due), first, span.end, job_id, kind, reread=True, may_fetch=False, due=due, since=since)
    )


def _recent(held: Holdings, since: datetime, unread: Collection[str]) -> list[HeldAnswer]:
    """Answers of daily bars since the instant, and those that were never judged, or not read."""
    answers = [each for each in held.answers if each.stored.request.interval == "1d"]
    return [
        each
        for each in answers
        if each.stored.fetched_at >= since or each.verdict is None or each.stored.request_id in unread
    ]


def _received(
    instrument: Instrument, held: Holdings, recent: Sequence[HeldAnswer], span: SyncSpan, first: date
) -> pd.DatetimeIndex:
    """Expected sessions that one of the recent answers covers.

    Those from `first` on where the symbol was answered before, and so was asked for no more than these; of an answer
    for the whole window those of the span.
    """
    answers = [each for each in held.answers if each.stored.request.interval == "1d"]
    is_first = all(each.stored.fetched_at >= span.since for each in answers)
    sessions = expected_sessions(instrument, held, span.start if is_first else first, span.end)
    keep = pd.Series(False, index=sessions)
    for request in (each.stored.request for each in recent):
        keep |= (sessions >= pd.Timestamp(request.start)) & (sessions <= pd.Timestamp(request.end))
    return sessions[keep.to_numpy()]


def _reader(settings: Settings, universe: Universe, label: str, synthetic: bool, clock: Clock) -> Backfill:
    return Backfill(
        settings=settings,
        universe=universe,
        selector=GivenOrder([]),
        synthetic=synthetic,
        provider_label=label,
        clock=clock,
    )


def recheck(
    settings: Settings,
    universe: Universe,
    span: SyncSpan,
    *,
    label: str,
    synthetic: bool,
    job_id: str,
    clock: Clock = utc_now,
) -> list[str]:
    """Judge anew, over the whole window, symbols of which a split or a rename was found since the last time.

    What bars are turned to raw by is applied as soon as it is told; this is about verdicts and findings, which may
    have called the split an error, or bars another security's. Instruments are noted as known afterwards, so that a
    process that dies before does it again.

    Returns:
        The symbols, ascending.
    """
    database = Database(settings.database_for(synthetic=synthetic), patience=settings.lock_patience)
    if not database.exists():
        return []
    with database.reading() as connection:
        changed = changed_instruments(connection, universe)
        asked = set(asked_symbols(connection))
    symbols = sorted((changed.renamed | changed.split) & asked)
    if symbols:
        work = _reader(settings, universe, label, synthetic, clock)
        first = min(span.start, settings.window_start)
        request = BackfillRequest(symbols, first, span.end, f"{job_id}-recheck", "recheck", since=span.since)
        work.run(replace(request, reread=True, may_fetch=False))
    if not changed.is_nothing:
        with database.writing() as connection:
            note_known(connection, universe, now=clock())
    return symbols
