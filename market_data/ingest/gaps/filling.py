"""Filling of gaps: which are due, what is asked of whom for them, and how many calls that may take."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time

import duckdb
import numpy as np
import pandas as pd

from market_data.ingest.backfill import Backfill, BackfillRequest, Summary
from market_data.ingest.gaps.answers import HELD, Askable, may_answer
from market_data.ingest.sources import Source
from market_data.instruments import Universe
from market_data.providers.base import Clock, utc_now
from market_data.records import AuditRecord
from market_data.selection.bandit import DayOfAnswers
from market_data.selection.choice import Choice, Considered, Outcome, Selector, Wanted
from market_data.settings import Settings
from market_data.warehouse.batch import naive_utc
from market_data.warehouse.gap_tries import answers_for_gaps, calls_for_gaps

__all__ = ["KIND", "GapBatch", "calls_left", "due_gaps", "fill_gaps"]

KIND = "gaps"
"""Kind of the jobs that fill gaps."""


@dataclass(frozen=True, slots=True)
class GapBatch:
    """Gaps of one symbol that one request may fill.

    Attributes:
        sessions: ascending, `datetime64[s]`.
        is_new: whether nothing of the symbol was ever judged.
        again: whether answers that are stored are of no use, since they lack these bars.
        is_stored: whether stored answers that were not read for them yet cover them, so that no call is needed.
        passed_over: providers that are of no use for them.
    """

    symbol: str
    sessions: pd.DatetimeIndex
    is_new: bool
    again: bool
    is_stored: bool = False
    passed_over: tuple[str, ...] = ()

    @property
    def days(self) -> list[date]:
        """The sessions as dates."""
        return [session.date() for session in self.sessions]


def calls_left(connection: duckdb.DuckDBPyConnection, settings: Settings, now: datetime) -> int:
    """Calls that may still be sent for gaps on this UTC day."""
    midnight = datetime.combine(now.astimezone(UTC).date(), time(), UTC)
    return max(0, settings.gap_calls - calls_for_gaps(connection, midnight))


def due_gaps(
    connection: duckdb.DuckDBPyConnection,
    symbols: Sequence[str],
    providers: Sequence[Askable],
    *,
    now: datetime,
) -> list[GapBatch]:
    """What may be asked for now, one batch a symbol: symbols nothing is known of first, then the newest gaps.

    Args:
        symbols: those of the universe; others are never asked for.
    """
    answers = answers_for_gaps(connection, symbols, [provider.name for provider in providers])
    able = may_answer(answers, providers)
    due = (able != 0) & (answers["next_try_at"] <= pd.Timestamp(naive_utc(now))).to_numpy()
    answers = answers.assign(able=able)[due]
    batches = [_batch(str(symbol), rows, providers) for symbol, rows in answers.groupby("symbol", sort=False)]
    batches.sort(key=lambda batch: (batch.is_new, batch.sessions[-1]), reverse=True)
    return batches


def _batch(symbol: str, rows: pd.DataFrame, providers: Sequence[Askable]) -> GapBatch:
    """The gaps that were never judged, if there are; else those that most providers' answers can fill together."""
    unjudged = rows["kind"] == "unanswered"
    is_new = not bool(rows["is_held"].iloc[0])
    if unjudged.any():
        stored = bool((rows.loc[unjudged, "able"].to_numpy(dtype=np.int64) & HELD != 0).all())
        return GapBatch(symbol, _sessions(rows[unjudged]), is_new, again=False, is_stored=stored)
    able = rows["able"].to_numpy(dtype=np.int64) & ~np.int64(HELD)
    common = int(np.bitwise_and.reduce(able))
    if not common:
        shares = [int(((able >> bit) & 1).sum()) for bit in range(len(providers))]
        chosen = ((able >> int(np.argmax(shares))) & 1).astype(bool)
        rows, common = rows[chosen], int(np.bitwise_and.reduce(able[chosen]))
    passed_over = tuple(provider.name for bit, provider in enumerate(providers) if not common >> bit & 1)
    return GapBatch(symbol, _sessions(rows), is_new, again=True, passed_over=passed_over)


def _sessions(rows: pd.DataFrame) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(rows["date"].to_numpy().astype("datetime64[s]"))


def fill_gaps(
    settings: Settings,
    universe: Universe,
    source: Source,
    batches: Iterable[GapBatch],
    *,
    job_id: str,
    calls: int | None = None,
    clock: Clock = utc_now,
    stop: threading.Event | None = None,
    on_record: Callable[[AuditRecord], None] | None = None,
) -> list[Summary]:
    """Ask for the gaps of the batches, each symbol for its own; prices, quality log and audit are written as always.

    Args:
        job_id: of the job; what is asked for although an answer is stored goes under the same id with `-again`.
        calls: how many requests to begin at most; None for no limit.
        stop: set it to end cleanly after the symbols in flight.

    Returns:
        A summary for each of the two jobs that had something to do.
    """
    summaries: list[Summary] = []
    budget = _Budget(calls)
    stop = stop or threading.Event()
    for again in (False, True):
        chosen = [batch for batch in batches if batch.again is again]
        if not chosen or stop.is_set():
            continue
        work = Backfill(
            settings=settings,
            universe=universe,
            selector=_WithinBudget(source.selector, budget, {batch.symbol: batch.passed_over for batch in chosen}),
            synthetic=source.synthetic,
            provider_label=source.name,
            concurrency=source.concurrency,
            clock=clock,
            stop=stop,
        )
        request = BackfillRequest(
            [batch.symbol for batch in chosen],
            start=min(batch.days[0] for batch in chosen),
            end=max(batch.days[-1] for batch in chosen),
            job_id=f"{job_id}-again" if again else job_id,
            kind=KIND,
            due={batch.symbol: batch.sessions for batch in chosen},
            since=clock() if again else None,
            narrow=True,
        )
        summaries.append(work.run(request, on_record) if on_record else work.run(request))
    return summaries


class _Budget:
    """How many requests may still be begun; safe to share between threads."""

    def __init__(self, calls: int | None) -> None:
        self._left = calls
        self._lock = threading.Lock()

    def has(self, calls: int = 1) -> bool:
        """Whether so many may be begun."""
        return self._left is None or self._left >= calls

    def take(self, calls: int = 1) -> None:
        """Count some."""
        with self._lock:
            if self._left is not None:
                self._left -= calls


class _WithinBudget:
    """A selector that asks no provider which is of no use for a symbol, and nobody once the budget is spent."""

    def __init__(self, selector: Selector, budget: _Budget, passed_over: Mapping[str, tuple[str, ...]]) -> None:
        self._selector = selector
        self._budget = budget
        self._passed_over = passed_over

    def begin(self, job_id: str, symbols: int, history: Sequence[DayOfAnswers]) -> None:
        """A job begins."""
        self._selector.begin(job_id, symbols, history)

    def choose(self, wanted: Wanted) -> Choice:
        """As the selector does, among those that may fill the gaps."""
        if not self._budget.has():
            return Choice(None, (Considered("any provider", "is not asked: the calls for gaps are spent for today"),))
        passed_over = self._passed_over.get(wanted.instrument.symbol, ())
        choice = self._selector.choose(replace(wanted, tried=tuple(dict.fromkeys((*wanted.tried, *passed_over)))))
        if choice.provider is not None:
            self._budget.take()
        return choice

    def choose_each(self, wanted: Sequence[Wanted]) -> list[Choice]:
        """As `choose`, for each."""
        return [self.choose(one) for one in wanted]

    def choose_for_all(self, sessions: Sequence[date], symbols: int) -> Choice:
        """As the selector does, where nobody is of no use."""
        if not self._budget.has(len(sessions)) or any(self._passed_over.values()):
            return Choice(None)
        choice = self._selector.choose_for_all(sessions, symbols)
        if choice.provider is not None:
            self._budget.take(len(sessions))
        return choice

    def tell(self, outcome: Outcome) -> None:
        """An answer was judged."""
        self._selector.tell(outcome)
