"""Looking after gaps: found, kept, asked for again with growing patience, and known once nobody can fill them.

The nightly sync asks for the latest days itself, so a session is a gap only once it is older than `sync_days`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

import duckdb
import pandas as pd

from market_data.clock import SandboxClock, market_end
from market_data.ingest.backfill import Summary
from market_data.ingest.gaps.answers import Askable, askables, fingerprints, may_answer, why_nobody
from market_data.ingest.gaps.filling import GapBatch, calls_left, due_gaps, fill_gaps
from market_data.ingest.sources import Source
from market_data.instruments import Universe
from market_data.providers.base import Clock, utc_now
from market_data.records import AuditRecord, Outcome
from market_data.sessions import last_completed_session
from market_data.settings import Settings
from market_data.warehouse.connection import Database
from market_data.warehouse.gap_tries import (
    answers_for_gaps,
    calls_of_jobs,
    give_up,
    note_tries,
    postpone,
    take_for_known,
    try_again,
)
from market_data.warehouse.gaps import GapChanges, count_gaps, filled_gaps, find_gaps, keep_gaps
from market_data.warehouse.store import claim_kind, transaction

__all__ = ["GapsFilled", "fill_due_gaps", "last_day_of_gaps", "open_again", "refresh_gaps"]

POSTPONED = timedelta(hours=1)
"""How long a gap is left alone for which nobody could be asked just now."""

OnRecord = Callable[[AuditRecord], None]


@dataclass(frozen=True, slots=True)
class GapsFilled:
    """What came of looking after the gaps.

    Attributes:
        opened, closed: gaps opened and closed by it, filled ones included.
        filled: symbol, date, provider of those that were filled, newest first.
        became_known: gaps that it found nobody can fill.
        counts: gaps by state, afterwards.
        asked: symbols that were due and within the day's budget.
        left_for_budget: symbols that were due and beyond it.
        calls: requests sent.
        summaries: of the jobs it ran.
    """

    job_id: str
    opened: int = 0
    closed: int = 0
    filled: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["symbol", "date", "provider"]))
    became_known: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    asked: int = 0
    left_for_budget: int = 0
    calls: int = 0
    summaries: Sequence[Summary] = ()

    @property
    def interrupted(self) -> bool:
        """Whether it was stopped before its end."""
        return any(summary.interrupted for summary in self.summaries)

    @property
    def is_good(self) -> bool:
        """Whether everything that was asked for came, and nothing was given up."""
        return not self.became_known and all(summary.is_good for summary in self.summaries)

    def as_dict(self) -> dict[str, Any]:
        """With plain JSON types."""
        rows = zip(self.filled["symbol"], self.filled["date"], self.filled["provider"], strict=True)
        return {
            "job_id": self.job_id,
            "opened": self.opened,
            "closed": self.closed,
            "filled": [{"symbol": symbol, "date": f"{day:%Y-%m-%d}", "provider": name} for symbol, day, name in rows],
            "became_known": self.became_known,
            "asked": self.asked,
            "left_for_budget": self.left_for_budget,
            "calls": self.calls,
            "interrupted": self.interrupted,
            "symbols": [record.as_dict() for summary in self.summaries for record in summary.records],
        }


def last_day_of_gaps(settings: Settings, clock: Clock) -> date:
    """Up to which date gaps are looked for: the sync asks for what is newer; the synthetic market may end before."""
    last = last_completed_session(clock()) - timedelta(days=settings.sync_days)
    if isinstance(clock, SandboxClock):
        last = min(last, market_end(settings, clock))
    return last if settings.keep_current else min(last, settings.window_end)


def refresh_gaps(
    connection: duckdb.DuckDBPyConnection,
    universe: Universe,
    settings: Settings,
    prints: dict[str, str],
    *,
    until: date,
    now: datetime,
    providers: Sequence[Askable] | None = None,
) -> tuple[GapChanges, int]:
    """Bring the table up to the quality log; call it inside `transaction`.

    Args:
        prints: see `fingerprints`.
        until: see `last_day_of_gaps`.
        providers: who may be asked; None where that is not known, and no gap is taken for one nobody can fill.

    Returns:
        What was opened and closed, and how many became known.
    """
    if until < settings.window_start:
        return GapChanges(), 0
    found = find_gaps(connection, universe, settings, until=until)
    changes = keep_gaps(connection, found, prints, start=settings.window_start, until=until, now=now)
    return changes, 0 if providers is None else _settle(connection, list(universe), providers, settings)


def _settle(
    connection: duckdb.DuckDBPyConnection, symbols: Sequence[str], providers: Sequence[Askable], settings: Settings
) -> int:
    """Take for known what nobody is left to be asked for, and what was asked for often enough; returns how many."""
    answers = answers_for_gaps(connection, symbols, [provider.name for provider in providers])
    hopeless = answers[may_answer(answers, providers) == 0]
    reasons = why_nobody(hopeless, providers)
    known = take_for_known(connection, hopeless[["symbol", "date"]].assign(reason=reasons))
    return known + give_up(connection, settings.gap_tries)


def open_again(settings: Settings, symbols: Sequence[str], *, synthetic: bool, clock: Clock = utc_now) -> int:
    """Have known gaps of the symbols asked for again, of everybody, and open ones at once; returns how many.

    Raises:
        WarehouseError: there is no database, or it can't be used.
    """
    database = _prepared(settings, synthetic=synthetic)
    with database.writing() as connection, transaction(connection):
        return try_again(connection, symbols, now=clock())


def fill_due_gaps(
    settings: Settings,
    universe: Universe,
    source: Source,
    *,
    job_id: str,
    symbols: Collection[str] | None = None,
    with_key: Collection[str] | None = None,
    clock: Clock = utc_now,
    stop: threading.Event | None = None,
    on_record: OnRecord | None = None,
) -> GapsFilled:
    """Find gaps, ask for those that are due within the budget of the day, and keep what came of it.

    An archive costs no calls, so reading it knows no budget.

    Args:
        symbols: ask for gaps of these alone; None for all of the universe.
        with_key: see `fingerprints`.
        stop: set it to end cleanly after the symbols in flight.

    Raises:
        WarehouseError: there is no database, or it can't be used.
        SettingsError: the providers file can't be used.
    """
    prints = fingerprints(settings, universe, source.name, with_key=with_key)
    providers = askables(source, universe, clock())
    database, until = _prepared(settings, synthetic=source.synthetic), last_day_of_gaps(settings, clock)
    with database.writing() as connection:
        claim_kind(connection, synthetic=source.synthetic)
        now = clock()
        with transaction(connection):
            changes, known = refresh_gaps(
                connection, universe, settings, prints, until=until, now=now, providers=providers
            )
        wanted = [symbol for symbol in universe if symbols is None or symbol in symbols]
        batches = due_gaps(connection, wanted, providers, now=now)
        left = calls_left(connection, settings, now) if source.arms else None
        counts = count_gaps(connection)
    chosen = _affordable(batches, left)
    done = GapsFilled(
        job_id,
        opened=changes.opened,
        closed=changes.closed,
        became_known=known,
        counts=counts,
        asked=len(chosen),
        left_for_budget=len(batches) - len(chosen),
    )
    if not chosen:
        return done
    summaries = fill_gaps(
        settings, universe, source, chosen, job_id=job_id, calls=left, clock=clock, stop=stop, on_record=on_record
    )
    with database.writing() as connection:
        now = clock()
        with transaction(connection):
            changes, _ = refresh_gaps(connection, universe, settings, prints, until=until, now=now)
            _note(connection, chosen, summaries, now=now)
            known += _settle(connection, list(universe), providers, settings)
        return replace(
            done,
            opened=done.opened + changes.opened,
            closed=done.closed + changes.closed,
            filled=filled_gaps(connection, now) if changes.closed else done.filled,
            became_known=known,
            counts=count_gaps(connection),
            calls=calls_of_jobs(connection, [summary.job_id for summary in summaries]),
            summaries=summaries,
        )


def _affordable(batches: Sequence[GapBatch], calls: int | None) -> list[GapBatch]:
    """The batches that need no call, and as many of the others as there are calls, a call each."""
    stored = [batch for batch in batches if batch.is_stored]
    others = [batch for batch in batches if not batch.is_stored]
    return stored + others[:calls]


def _note(
    connection: duckdb.DuckDBPyConnection, batches: Sequence[GapBatch], summaries: Sequence[Summary], *, now: datetime
) -> None:
    """Keep what came of each batch; one that was not reached is left as it was."""
    records = {record.symbol: record for summary in summaries for record in summary.records}
    reached = [batch for batch in batches if batch.symbol in records]
    reasons = {batch.symbol: _what_came(records[batch.symbol]) for batch in reached}
    tried = {batch.symbol: batch.days for batch in reached if _was_tried(batch, records[batch.symbol])}
    first = [batch.symbol for batch in reached if not batch.again and records[batch.symbol].outcome is Outcome.ACCEPTED]
    note_tries(connection, tried, reasons, now=now, answered_first=first)
    spared = {batch.symbol: batch.days for batch in reached if batch.symbol not in tried}
    postpone(connection, spared, reasons, until=now + POSTPONED)


def _was_tried(batch: GapBatch, record: AuditRecord) -> bool:
    """Whether somebody was asked, or a stored answer was read for the first time; a spent quota is no try."""
    return record.calls > 0 or (record.outcome is not Outcome.FAILED and not batch.again)


def _what_came(record: AuditRecord) -> str:
    if record.outcome is Outcome.ACCEPTED:
        return f"{record.provider} answered without a usable bar"
    return f"{record.outcome}: {record.reason}"


def _prepared(settings: Settings, *, synthetic: bool) -> Database:
    """The database, brought forward; one that is not there is not made."""
    database = Database(settings.database_for(synthetic=synthetic), patience=settings.lock_patience)
    if database.exists():
        database.prepare()
    return database
