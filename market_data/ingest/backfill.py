"""The backfill: many units of work, fetched and judged side by side, written one transaction a symbol.

The same code serves a range, one session, a re-run and a run taken up after a kill: what is held is not asked for
again, and every symbol ends with exactly one audit record.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

import duckdb
import pandas as pd

from market_data.errors import SettingsError
from market_data.ingest.amend import adopt_amendments
from market_data.ingest.audit_file import AuditFile
from market_data.ingest.commit import commit, record_answers, why_failed
from market_data.ingest.for_all import fetched_for_all
from market_data.ingest.lock import sole_ingest
from market_data.ingest.metrics import HISTORY, refresh_metrics
from market_data.ingest.orphans import adopt_orphans
from market_data.ingest.pipeline import carried_out
from market_data.ingest.raw_store import RawStore
from market_data.ingest.unit import Prepared, Task, Worker, expected_sessions, not_covered
from market_data.ingest.writer import Writer
from market_data.instruments import Instrument, Universe
from market_data.providers.base import Clock, utc_now
from market_data.records import EVERY, AuditRecord, Outcome
from market_data.selection.choice import Selector
from market_data.sessions import FIRST_DATE, last_completed_session, sessions_between
from market_data.settings import Settings
from market_data.validation import Thresholds
from market_data.warehouse.connection import Database
from market_data.warehouse.holdings import HeldAnswer, Holdings, audit_lines, read_holdings, settled_dates
from market_data.warehouse.provider_metrics import provider_history
from market_data.warehouse.store import (
    claim_kind,
    finish_job,
    forget_audit,
    record_audit,
    start_job,
    transaction,
)

__all__ = ["Acquired", "Backfill", "BackfillRequest", "Plan", "Summary", "check_span", "context_of"]


@dataclass(frozen=True, slots=True)
class BackfillRequest:
    """What is asked of a backfill: symbols and a span (inclusive), under a job id.

    Attributes:
        retry_rejected: ask anew for symbols whose batch was rejected before.
        reread: read stored payloads again even where everything is held already.
        may_fetch: whether providers may be called at all.
        due: by symbol, the sessions (ascending) that need an answer; symbols it lacks need nothing. None: whatever
            is not held.
        since: answers received before this instant do not count, but are read where no later one covers a session and
            none may be asked for.
        narrow: ask for what is due and some sessions before it rather than for the whole window, where the symbol
            was answered before.
    """

    symbols: Sequence[str]
    start: date
    end: date
    job_id: str
    kind: str = "backfill"
    retry_rejected: bool = False
    reread: bool = False
    may_fetch: bool = True
    due: Mapping[str, pd.DatetimeIndex] | None = None
    since: datetime | None = None
    narrow: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What a backfill would do: records that need no work, and the tasks that are left.

    Attributes:
        settled: records of symbols that need no call, by outcome held, not_listed or rejected.
        done: symbols the job has recorded already, for good.
        again: symbols the job has recorded already and tries again.
    """

    settled: list[AuditRecord] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Summary:
    """What became of a run.

    Attributes:
        records: one for each symbol of this run.
        interrupted: whether it was stopped before its end.
    """

    job_id: str
    records: list[AuditRecord] = field(default_factory=list)
    interrupted: bool = False

    def count(self, outcome: Outcome) -> int:
        """Number of symbols that ended so."""
        return sum(record.outcome is outcome for record in self.records)

    @property
    def rows(self) -> int:
        """Rows inserted or changed."""
        return sum(record.rows_inserted + record.rows_updated for record in self.records)

    @property
    def is_good(self) -> bool:
        """Whether nothing is left to do and nothing needs a person."""
        return not self.interrupted and all(record.outcome.is_good for record in self.records)


@dataclass(frozen=True, slots=True)
class Acquired:
    """What came of fetching for one symbol.

    Attributes:
        failed: why nothing could be had, though it might be another time; None when an answer is stored.
        calls: requests sent now.
        size: bytes received now.
        asked: providers asked now.
    """

    symbol: str
    failed: str | None
    calls: int
    size: int
    asked: tuple[str, ...]

    @classmethod
    def of(cls, prepared: Prepared) -> Acquired:
        """What a prepared task came to, without its bars."""
        fetched = [attempt for attempt in prepared.attempts if attempt.is_fetched]
        return cls(
            symbol=prepared.task.instrument.symbol,
            failed=why_failed(prepared),
            calls=sum(attempt.calls for attempt in fetched),
            size=sum(attempt.stored.size for attempt in fetched if attempt.stored),
            asked=tuple(attempt.provider for attempt in fetched),
        )


OnRecord = Callable[[AuditRecord], None]


def _ignore(record: AuditRecord) -> None:
    """No one watches."""


class Backfill:
    """Runs backfills over one store.

    Args:
        selector: which providers are tried; every one is either real or synthetic, as `synthetic` says.
        concurrency: fetches under way at once.
        stop: set it to end cleanly after the symbols in flight.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        universe: Universe,
        selector: Selector,
        synthetic: bool,
        provider_label: str,
        concurrency: int = 4,
        clock: Clock = utc_now,
        stop: threading.Event | None = None,
    ) -> None:
        self.settings = settings
        self.universe = universe
        self.synthetic = synthetic
        self.database = Database(settings.database_for(synthetic=synthetic), patience=settings.lock_patience)
        self.raw_store = RawStore(settings.raw_folder(synthetic=synthetic))
        self._selector = selector
        self._label = provider_label
        self._concurrency = concurrency
        self._clock = clock
        self._stop = stop or threading.Event()

    def plan(self, request: BackfillRequest) -> Plan:
        """What would be done; changes nothing, and works before there is a database."""
        if not self.database.exists():
            holdings = {symbol: Holdings() for symbol in request.symbols}
            return self._planned(request, holdings, {})
        with self.database.reading() as connection:
            return self._plan(connection, request)

    def run(self, request: BackfillRequest, on_record: OnRecord = _ignore) -> Summary:
        """Bring the span of every symbol in, or find out why not.

        Raises:
            WarehouseError: the database can't be used; nothing was changed.
            SettingsError: the span lies outside the known calendar.
        """
        check_span(request.start, request.end)
        audit_file = AuditFile(self.settings.audit_folder, request.kind, request.job_id)
        with sole_ingest(self.settings), Writer(self.database) as writer:
            self._begin(writer, request, audit_file)
            plan = self._plan(writer.connection, request)
            summary = Summary(request.job_id, list(plan.settled))
            if plan.again:
                with writer.transaction():
                    forget_audit(writer.connection, request.job_id, plan.again)
                audit_file.reconcile(audit_lines(writer.connection, request.job_id))
            self._settle(writer, plan.settled, audit_file, on_record)
            for prepared in self._carried_out(plan.tasks, request.job_id, writer):
                record = commit(
                    writer.connection,
                    self.raw_store,
                    prepared,
                    job_id=request.job_id,
                    kind=request.kind,
                    now=self._clock(),
                )
                audit_file.append([record])
                summary.records.append(record)
                on_record(record)
            summary.interrupted = self._stop.is_set()
            self._end(writer, request, audit_file, summary)
        return summary

    def acquire(self, request: BackfillRequest) -> list[Acquired]:
        """Have stored payloads that answer the span, and note the ledger; writes no price.

        Returns:
            The symbols for which something had to be done.
        """
        check_span(request.start, request.end)
        acquired = []
        with sole_ingest(self.settings), Writer(self.database) as writer:
            self._open_store(writer, request)
            for prepared in self._carried_out(self._unacquired(writer.connection, request), request.job_id, writer):
                with writer.transaction():
                    record_answers(writer.connection, prepared, job_id=request.job_id, now=self._clock())
                acquired.append(Acquired.of(prepared))
            with writer.transaction():
                self._refresh_metrics(writer.connection)
        return acquired

    def _unacquired(self, connection: duckdb.DuckDBPyConnection, request: BackfillRequest) -> list[Task]:
        """Tasks for the sessions no judged and stored answer covers; a rejected one counts unless asked anew."""
        tasks = self._plan(connection, replace(request, reread=True)).tasks
        verdicts = ("accepted",) if request.retry_rejected else ("accepted", "rejected")
        left = []
        for task in tasks:
            answers = [held for held in task.holdings.answers if held.verdict in verdicts and self._is_kept(held)]
            due = not_covered(task.due, [held.stored.request for held in answers])
            if len(due):
                left.append(replace(task, due=due))
        return left

    def _is_kept(self, held: HeldAnswer) -> bool:
        """Whether the answer is of the symbol itself (one for all may lack it) and its bytes are there."""
        if held.stored.request.symbol == EVERY:
            return False
        return held.stored.request.interval == "1d" and self.raw_store.has(held.stored.sha256)

    def _begin(self, writer: Writer, request: BackfillRequest, audit_file: AuditFile) -> None:
        self._open_store(writer, request)
        with writer.transaction():
            start_job(
                writer.connection,
                job_id=request.job_id,
                kind=request.kind,
                start=request.start,
                end=request.end,
                symbols=request.symbols,
                provider=self._label,
                synthetic=self.synthetic,
                now=self._clock(),
            )
        audit_file.reconcile(audit_lines(writer.connection, request.job_id))

    def _open_store(self, writer: Writer, request: BackfillRequest) -> None:
        self.database.prepare()
        claim_kind(writer.connection, synthetic=self.synthetic)
        adopt_amendments(writer.connection, self.settings, synthetic=self.synthetic)
        adopt_orphans(writer.connection, self.raw_store, self.universe, now=self._clock())

    def _end(self, writer: Writer, request: BackfillRequest, audit_file: AuditFile, summary: Summary) -> None:
        connection = writer.connection
        with transaction(connection):
            self._refresh_metrics(connection)
            if not summary.interrupted:
                finish_job(connection, request.job_id, self._clock())
        audit_file.reconcile(audit_lines(connection, request.job_id))

    def _refresh_metrics(self, connection: duckdb.DuckDBPyConnection) -> None:
        refresh_metrics(connection, self.settings, synthetic=self.synthetic, clock=self._clock)

    def _worker(self, job_id: str) -> Worker:
        return Worker(
            selector=self._selector,
            raw_store=self.raw_store,
            thresholds=Thresholds.of(self.settings),
            job_id=job_id,
            synthetic=self.synthetic,
            clock=self._clock,
        )

    def _settle(self, writer: Writer, records: list[AuditRecord], audit_file: AuditFile, on_record: OnRecord) -> None:
        if not records:
            return
        with writer.transaction():
            record_audit(writer.connection, records)
        audit_file.append(records)
        for record in records:
            on_record(record)

    def _plan(self, connection: duckdb.DuckDBPyConnection, request: BackfillRequest) -> Plan:
        holdings = read_holdings(connection, request.symbols, request.start, request.end)
        rows = connection.execute(
            "SELECT symbol, outcome FROM ingestion_audit WHERE job_id = ?", [request.job_id]
        ).fetchall()
        plan = self._planned(request, holdings, dict(rows))
        if request.reread or request.due is not None:
            return plan
        return replace(plan, tasks=_without_settled(connection, plan.tasks, request))

    def _planned(self, request: BackfillRequest, holdings: dict[str, Holdings], recorded: dict[str, str]) -> Plan:
        plan = Plan()
        last = last_completed_session(self._clock())
        for symbol in (
            request.symbols if request.due is None else [name for name in request.symbols if name in request.due]
        ):
            if symbol in recorded and recorded[symbol] != Outcome.FAILED and not request.reread:
                plan.done.append(symbol)
                continue
            if symbol in recorded:
                plan.again.append(symbol)
            instrument, held = self.universe[symbol], holdings[symbol]
            expected = expected_sessions(instrument, held, request.start, min(request.end, last))
            outcome = _settled(expected, held, request)
            if outcome is not None:
                plan.settled.append(self._settled_record(request, symbol, outcome, len(expected)))
                continue
            task = self._task(request, instrument, expected, held)
            if len(task.due):
                plan.tasks.append(task)
        return plan

    def _task(
        self, request: BackfillRequest, instrument: Instrument, expected: pd.DatetimeIndex, held: Holdings
    ) -> Task:
        due = expected if request.due is None else expected.intersection(request.due[instrument.symbol])
        span, window = (request.start, request.end), (self.settings.window_start, self.settings.window_end)
        if request.narrow and len(due) and any(each.stored.request.interval == "1d" for each in held.answers):
            # What is asked for is written, all of it, as a rebuild from the answer would.
            span = window = (context_of(due[0].date(), window[0]), due[-1].date())
        elif request.due is not None and len(due) and not request.may_fetch:
            span = (due[0].date(), due[-1].date())
        if request.since is not None and request.may_fetch:
            held = replace(held, answers=tuple(each for each in held.answers if _counts(each, request.since)))
        return Task(
            instrument=instrument,
            start=span[0],
            end=span[1],
            expected=expected,
            due=due,
            window=window,
            holdings=held,
            may_fetch=request.may_fetch,
            again=request.retry_rejected and held.rejected > 0,
            since=request.since,
            narrow=request.narrow,
        )

    def _settled_record(
        self, request: BackfillRequest, symbol: str, outcome: tuple[Outcome, str], expected: int
    ) -> AuditRecord:
        now = self._clock()
        return AuditRecord(
            job_id=request.job_id,
            symbol=symbol,
            kind=request.kind,
            outcome=outcome[0],
            start_date=request.start,
            end_date=request.end,
            reason=outcome[1],
            sessions_expected=expected,
            synthetic=self.synthetic,
            started_at=now,
            finished_at=now,
        )

    def _carried_out(self, tasks: Sequence[Task], job_id: str, writer: Writer) -> Iterator[Prepared]:
        """Tasks as they end; what one call can answer for all of them is asked for first."""
        if tasks:
            # A process that died has left calls in the ledger that the metrics do not tell of.
            with writer.transaction():
                self._refresh_metrics(writer.connection)
        history = provider_history(writer.connection, self._clock().date() - HISTORY)
        self._selector.begin(job_id, len(tasks), history)
        worker = self._worker(job_id)
        tasks = fetched_for_all(
            tasks, self._selector, worker, writer, job_id=job_id, now=self._clock(), stop=self._stop
        )
        return carried_out(tasks, worker, concurrency=self._concurrency, stop=self._stop, on_idle=writer.release)


CONTEXT = 10
"""Sessions before the first one due that a narrow request asks for as well: a return needs the close before it."""


def context_of(first: date, earliest: date) -> date:
    """The session that many before `first`, as far as `earliest`: where a narrow request begins."""
    before = sessions_between(max(FIRST_DATE, first - timedelta(days=2 * CONTEXT)), first)[-CONTEXT - 1 :]
    return max(earliest, before[0].date()) if len(before) else first


def _counts(held: HeldAnswer, since: datetime) -> bool:
    """Whether a stored answer is new enough; one that was never judged is to be looked at in any case."""
    return held.verdict is None or held.stored.fetched_at >= since


def check_span(start: date, end: date) -> None:
    """Refuse a span that ends before it starts.

    Raises:
        SettingsError: names both dates.
    """
    if start > end:
        raise SettingsError(f"start {start} is after end {end}; start must not be later")


def _without_settled(
    connection: duckdb.DuckDBPyConnection, tasks: Sequence[Task], request: BackfillRequest
) -> list[Task]:
    """The tasks, with nothing due that has a verdict which needs no further call."""
    partly = [task.instrument.symbol for task in tasks if task.holdings.answered or task.holdings.rejected]
    if not partly:
        return list(tasks)
    settled = settled_dates(connection, partly, request.start, request.end, rejected=not request.retry_rejected)
    return [
        replace(task, due=task.due.difference(settled[task.instrument.symbol]))
        if task.instrument.symbol in settled
        else task
        for task in tasks
    ]


def _settled(expected: pd.DatetimeIndex, held: Holdings, request: BackfillRequest) -> tuple[Outcome, str] | None:
    if not len(expected):
        return Outcome.NOT_LISTED, "no completed session of the span lies within the instrument's listing"
    if request.reread or request.due is not None:
        return None
    if held.answered >= len(expected):
        return Outcome.HELD, "every session is held already"
    if held.rejected and held.answered + held.rejected >= len(expected) and not request.retry_rejected:
        return Outcome.REJECTED, "rejected before; --retry-rejected asks for it anew"
    return None
