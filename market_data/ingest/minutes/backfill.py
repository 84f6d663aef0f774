"""Intraday bars of past sessions, as far as vendors still serve them or an archive holds them.

One symbol at a time, in the widest windows each vendor takes: a window's payload, then its bars, its findings and its
line of the ledger in one transaction. What is held or was answered is not asked for again, so a run that was cut off
goes on where it was, without a call for anything it has.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import duckdb

from market_data.clock import Clock
from market_data.ingest.audit_file import AuditFile
from market_data.ingest.backfill import Summary
from market_data.ingest.lock import sole_ingest
from market_data.ingest.metrics import HISTORY, refresh_metrics
from market_data.ingest.minutes.commit import KIND, audit_of, write_minute_attempt
from market_data.ingest.minutes.due import minute_tasks
from market_data.ingest.minutes.reconvert import reconvert_minutes
from market_data.ingest.minutes.sources import check_request
from market_data.ingest.minutes.unit import MinuteAttempt, MinuteTask, MinuteWork, MinuteWorker
from market_data.ingest.orphans import adopt_orphans
from market_data.ingest.raw_store import RawStore
from market_data.ingest.sources import Source
from market_data.ingest.writer import Writer
from market_data.instruments import Universe
from market_data.records import AuditRecord, Outcome
from market_data.sessions import last_completed_session
from market_data.settings import Settings
from market_data.validation import Thresholds
from market_data.warehouse.batch import RowCounts
from market_data.warehouse.connection import Database
from market_data.warehouse.holdings import audit_lines
from market_data.warehouse.provider_metrics import provider_history
from market_data.warehouse.store import (
    claim_kind,
    finish_job,
    forget_audit,
    record_audit,
    start_job,
    transaction,
)

__all__ = ["IntradayBackfill", "IntradayRequest"]

_IDLE = 0.2
_HOLD = 3.0  # seconds: a poll of the session under way must not wait for long


@dataclass(frozen=True, slots=True)
class IntradayRequest:
    """What is asked for: symbols and a span (inclusive), bars of an interval, under a job id.

    Attributes:
        retry_rejected: ask anew of providers whose batch was rejected before.
    """

    symbols: Sequence[str]
    start: date
    end: date
    job_id: str
    interval: str = "1m"
    retry_rejected: bool = False


@dataclass(slots=True)
class _Written:
    """A task under way, with what of it is written."""

    work: MinuteWork
    counts: RowCounts = field(default_factory=RowCounts)


OnRecord = Callable[[AuditRecord], None]


def _ignore(record: AuditRecord) -> None:
    """No one watches."""


class IntradayBackfill:
    """Brings intraday bars of past sessions into one store.

    Args:
        source: the vendors, or an archive opened for the interval (`intraday_archive`).
        clock: by default the source's.
        stop: set it to end cleanly after the windows in flight.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        universe: Universe,
        source: Source,
        clock: Clock | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self.database = Database(settings.database_for(synthetic=source.synthetic), patience=settings.lock_patience)
        self.raw_store = RawStore(settings.raw_folder(synthetic=source.synthetic))
        self._settings = settings
        self._universe = universe
        self._source = source
        self._clock = clock or source.clock
        self._stop = stop or threading.Event()

    def plan(self, request: IntradayRequest) -> list[MinuteTask]:
        """A task for each symbol, with nothing due where nothing is to be done; changes nothing."""
        check_request(request.start, request.end, request.interval, self._source)
        if not self.database.exists():
            return self._tasks(None, request)
        with self.database.reading() as connection:
            return self._tasks(connection, request)

    def run(self, request: IntradayRequest, on_record: OnRecord = _ignore) -> Summary:
        """Bring the span of every symbol in, or find out why not.

        Raises:
            WarehouseError: the database can't be used; nothing was changed.
            SettingsError: a span or an interval that cannot be; the span lies outside the known calendar.
        """
        check_request(request.start, request.end, request.interval, self._source)
        audit_file = AuditFile(self._settings.audit_folder, KIND, request.job_id)
        summary = Summary(request.job_id)
        with sole_ingest(self._settings), Writer(self.database, hold=_HOLD) as writer:
            self._open_store(writer, request, audit_file)
            for record in self._records(writer, request):
                audit_file.append([record])
                summary.records.append(record)
                on_record(record)
            summary.interrupted = self._stop.is_set()
            with writer.transaction():
                self._refresh_metrics(writer.connection)
                if not summary.interrupted:
                    finish_job(writer.connection, request.job_id, self._clock())
            audit_file.reconcile(audit_lines(writer.connection, request.job_id))
        return summary

    def _open_store(self, writer: Writer, request: IntradayRequest, audit_file: AuditFile) -> None:
        self.database.prepare()
        claim_kind(writer.connection, synthetic=self._source.synthetic)
        adopt_orphans(writer.connection, self.raw_store, self._universe, now=self._clock())
        with writer.transaction():
            reconvert_minutes(writer.connection, self.raw_store, self._universe, request.symbols)
            start_job(
                writer.connection,
                job_id=request.job_id,
                kind=KIND,
                start=request.start,
                end=request.end,
                symbols=request.symbols,
                provider=self._source.name,
                synthetic=self._source.synthetic,
                now=self._clock(),
            )
        audit_file.reconcile(audit_lines(writer.connection, request.job_id))

    def _records(self, writer: Writer, request: IntradayRequest) -> Iterator[AuditRecord]:
        """The audit records as they are written, symbols that need nothing first."""
        tasks = self._open_tasks(writer, request)
        idle = [task for task in tasks if not len(task.due)]
        settled = [_settled_record(task, request, self._source, self._clock) for task in idle]
        with writer.transaction():
            record_audit(writer.connection, settled)
            self._refresh_metrics(writer.connection)
        yield from settled
        busy = [task for task in tasks if len(task.due)]
        history = provider_history(writer.connection, self._clock().date() - HISTORY)
        self._source.selector.begin(request.job_id, len(busy), history)
        yield from self._carried_out(writer, busy, request)

    def _open_tasks(self, writer: Writer, request: IntradayRequest) -> list[MinuteTask]:
        """The tasks but for those of symbols that the job has recorded for good; records of failures are dropped."""
        rows = writer.connection.execute(
            "SELECT symbol, outcome FROM ingestion_audit WHERE job_id = ?", [request.job_id]
        ).fetchall()
        again = [symbol for symbol, outcome in rows if outcome == Outcome.FAILED and symbol in request.symbols]
        done = {symbol for symbol, _ in rows}.difference(again)
        with writer.transaction():
            forget_audit(writer.connection, request.job_id, again)
        symbols = [symbol for symbol in request.symbols if symbol not in done]
        return self._tasks(writer.connection, replace(request, symbols=symbols))

    def _tasks(self, connection: duckdb.DuckDBPyConnection | None, request: IntradayRequest) -> list[MinuteTask]:
        return minute_tasks(
            connection,
            self._universe,
            request.symbols,
            (request.start, request.end),
            request.interval,
            now=self._clock(),
            retry_rejected=request.retry_rejected,
        )

    def _carried_out(
        self, writer: Writer, tasks: Sequence[MinuteTask], request: IntradayRequest
    ) -> Iterator[AuditRecord]:
        """Tasks side by side: payloads are fetched and judged in threads, and written here, a window at a time."""
        worker, waiting = self._worker(request), iter(tasks)
        with ThreadPoolExecutor(self._source.concurrency, "minutes") as pool:
            flying: dict[Future[MinuteAttempt | None], _Written] = {}
            while True:
                while len(flying) < self._source.concurrency and not self._stop.is_set():
                    task = next(waiting, None)
                    if task is None:
                        break
                    begun = _Written(MinuteWork.begin(task, self._clock()))
                    flying[pool.submit(worker.step, begun.work)] = begun
                if not flying:
                    return
                finished, _ = wait(flying, timeout=_IDLE, return_when=FIRST_COMPLETED)
                if not finished:
                    writer.release()
                for future in finished:
                    written = flying.pop(future)
                    record = self._written(writer, written, future.result(), request)
                    if record is not None:
                        yield record
                    elif not self._stop.is_set():
                        flying[pool.submit(worker.step, written.work)] = written

    def _written(
        self, writer: Writer, written: _Written, attempt: MinuteAttempt | None, request: IntradayRequest
    ) -> AuditRecord | None:
        """Write an attempt; and, where it was the last of its symbol, the audit record with it."""
        work, connection, now = written.work, writer.connection, self._clock()
        if attempt is not None:
            work.add(attempt)
        ended = attempt is None or not (len(work.left) or work.waiting)
        record = None
        with transaction(connection):
            if attempt is not None:
                written.counts += write_minute_attempt(connection, work.task, attempt, job_id=request.job_id, now=now)
            if ended:
                record = audit_of(work, written.counts, job_id=request.job_id, now=now)
                record_audit(connection, [record])
        if attempt is not None:
            work.attempts[-1] = attempt.without_bars()
        return record

    def _worker(self, request: IntradayRequest) -> MinuteWorker:
        last = last_completed_session(self._clock())
        days = [arm.config.intraday_reach_days for arm in self._source.arms]
        return MinuteWorker(
            selector=self._source.selector,
            raw_store=self.raw_store,
            thresholds=Thresholds.of(self._settings),
            reaches=[last - timedelta(days=reach) for reach in days if reach],
            synthetic=self._source.synthetic,
            clock=self._clock,
        )

    def _refresh_metrics(self, connection: duckdb.DuckDBPyConnection) -> None:
        refresh_metrics(connection, self._settings, synthetic=self._source.synthetic, clock=self._clock)


def _settled_record(task: MinuteTask, request: IntradayRequest, source: Source, clock: Clock) -> AuditRecord:
    now, is_listed = clock(), len(task.expected) > 0
    reason = "every session is held or answered already"
    if not is_listed:
        reason = "no session of the span that has settled lies within the instrument's listing"
    held = {day.date() for day in task.expected} & task.held
    return AuditRecord(
        job_id=request.job_id,
        symbol=task.instrument.symbol,
        kind=KIND,
        outcome=Outcome.HELD if is_listed else Outcome.NOT_LISTED,
        start_date=request.start,
        end_date=request.end,
        reason=reason,
        sessions_expected=len(task.expected),
        sessions_missing=len(task.expected) - len(held),
        synthetic=source.synthetic,
        started_at=now,
        finished_at=now,
    )
