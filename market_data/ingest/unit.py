"""The unit of work: one symbol over one window, from a stored or fetched payload to rows in one transaction.

`prepare` does everything that needs no database (fetch, raw store, parse, validate) and may run in many threads;
`commit` writes what it prepared. Between the two nothing is lost by a crash: the payload is in the raw store.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from market_data.errors import ProviderError, RawStoreError, UnknownSymbol
from market_data.ingest.raw_store import RawStore
from market_data.instruments import Instrument
from market_data.providers import parse
from market_data.providers.base import Clock, Provider
from market_data.records import AuditRecord, FetchRequest, Outcome, ParsedBars, Rejection, StoredPayload
from market_data.schemas import DailyPrices
from market_data.selection.order import Selector
from market_data.sessions import last_completed_session
from market_data.validation import BatchContext, BatchVerdict, Thresholds, validate
from market_data.warehouse.batch import BatchWrite, RowCounts, write_batch
from market_data.warehouse.holdings import Holdings, restatable_dates
from market_data.warehouse.store import record_audit, record_coverage, record_failure, transaction

__all__ = ["Attempt", "Prepared", "Task", "Worker", "commit", "expected_sessions", "record_answers"]


@dataclass(frozen=True, slots=True)
class Task:
    """What is due for one symbol.

    Attributes:
        expected: sessions asked for that the instrument should have, ascending.
        window: the widest span worth asking for, which contains the asked one.
        may_fetch: whether providers may be called; otherwise only stored payloads are read.
        again: whether payloads that were rejected before are passed over and asked for anew.
    """

    instrument: Instrument
    start: date
    end: date
    expected: pd.DatetimeIndex
    window: tuple[date, date]
    holdings: Holdings
    may_fetch: bool = True
    again: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of trying one provider: a payload (stored before, or fetched now), its verdict, or an error."""

    provider: str
    synthetic: bool
    calls: int = 0
    stored: StoredPayload | None = None
    parsed: ParsedBars | None = None
    verdict: BatchVerdict | None = None
    error: ProviderError | None = None
    masked: str | None = None

    @property
    def accepted(self) -> bool:
        """Whether its bars may be stored."""
        return self.verdict is not None and self.verdict.rejection is None and len(self.verdict.bars) > 0

    def told(self) -> dict[str, Any]:
        """The attempt as an entry of the audit's `decision`."""
        if self.masked:
            return {"provider": self.provider, "masked": self.masked}
        answer = "accepted" if self.accepted else "no bars"
        if self.error is not None:
            answer = f"{type(self.error).__name__}: {self.error}"
        elif self.verdict is not None and self.verdict.rejection is not None:
            answer = f"rejected: {self.verdict.rejection.reason}"
        return {"provider": self.provider, "calls": self.calls, "answer": answer}


@dataclass(frozen=True, slots=True)
class Prepared:
    """A task with the attempts made for it, the decisive one last."""

    task: Task
    started_at: datetime
    attempts: list[Attempt] = field(default_factory=list)


class Worker:
    """Prepares tasks; one serves many threads.

    Args:
        job_id: the job the calls are made for.
        thresholds: limits of validation.
    """

    def __init__(
        self, *, selector: Selector, raw_store: RawStore, thresholds: Thresholds, job_id: str, clock: Clock
    ) -> None:
        self._selector = selector
        self._raw_store = raw_store
        self._thresholds = thresholds
        self._job_id = job_id
        self.clock = clock

    def prepare(self, task: Task) -> Prepared:
        """Try providers until one gives bars that may be stored."""
        prepared = Prepared(task, self.clock())
        for attempt in self._attempts(task):
            prepared.attempts.append(attempt)
            if attempt.accepted:
                break
        return prepared

    def acquire(self, task: Task) -> Prepared:
        """Have a stored payload that answers the task, without judging it."""
        prepared = Prepared(task, self.clock())
        for candidate in self._selector.candidates(task.instrument, self._widest(task)):
            if candidate.masked:
                prepared.attempts.append(_masked(candidate.provider, candidate.masked))
                continue
            attempt = self._read(task, self._payload(task, candidate.provider))
            prepared.attempts.append(attempt)
            if attempt.error is None:
                break
        return prepared

    def _attempts(self, task: Task) -> Iterator[Attempt]:
        for candidate in self._selector.candidates(task.instrument, self._widest(task)):
            if candidate.masked:
                yield _masked(candidate.provider, candidate.masked)
            else:
                yield self._judge(task, self._read(task, self._payload(task, candidate.provider)))

    def _widest(self, task: Task) -> FetchRequest:
        last = min(max(task.window[1], task.end), last_completed_session(self.clock()))
        return FetchRequest(task.instrument.symbol, start=min(task.window[0], task.start), end=last)

    def _payload(self, task: Task, provider: Provider) -> Attempt:
        attempt = Attempt(provider.name, provider.synthetic)
        known = _newest_that_answers(task, provider.name)
        if known is not None:
            stored, job_id = known
            return replace(attempt, stored=stored, calls=stored.attempts if job_id == self._job_id else 0)
        if not task.may_fetch:
            return replace(attempt, error=_why_not_stored(task), calls=_calls_that_failed(task, self._job_id))
        try:
            payload = provider.fetch(task.instrument, self._widest(task))
        except ProviderError as error:
            return replace(attempt, error=error, calls=error.attempts)
        return replace(attempt, stored=self._raw_store.put(payload), calls=payload.attempts)

    def _read(self, task: Task, attempt: Attempt) -> Attempt:
        stored = attempt.stored
        if stored is None or attempt.error is not None:
            return attempt
        try:
            parsed = read_payload(self._raw_store, stored, task.instrument)
        except (ProviderError, RawStoreError) as error:
            return replace(attempt, error=error if isinstance(error, ProviderError) else ProviderError(str(error)))
        return replace(attempt, parsed=parsed)

    def _judge(self, task: Task, attempt: Attempt) -> Attempt:
        if attempt.stored is None or attempt.parsed is None:
            return attempt
        request = attempt.stored.request
        complete_until = last_completed_session(attempt.stored.fetched_at)
        context = BatchContext(
            symbol=task.instrument.symbol,
            expected=task.instrument.expected_sessions(request.start, min(request.end, complete_until)),
            start=request.start,
            end=request.end,
            start_is_known=task.instrument.start_is_known(request.start),
            listed_from=task.instrument.listed_from,
            complete_until=complete_until,
            thresholds=self._thresholds,
        )
        return replace(attempt, verdict=validate(attempt.parsed, context))


def read_payload(raw_store: RawStore, stored: StoredPayload, instrument: Instrument) -> ParsedBars:
    """Parse a stored payload; what it says depends on nothing but its bytes and its request.

    Raises:
        ProviderError: it carries no bars.
        RawStoreError: it is missing or altered.
    """
    return parse(
        stored.provider,
        raw_store.get(stored.sha256),
        symbol=stored.request.symbol,
        interval=stored.request.interval,
        status=stored.status,
        content_type=stored.content_type,
        url=stored.url,
        fetched_at=stored.fetched_at,
        ticker=instrument.ticker("stooq"),
    )


def commit(
    connection: duckdb.DuckDBPyConnection, prepared: Prepared, *, job_id: str, kind: str, now: datetime
) -> AuditRecord:
    """Write everything of a prepared task in one transaction; returns its audit record as written."""
    with transaction(connection):
        counts = RowCounts()
        for attempt in prepared.attempts:
            counts = _write_attempt(connection, prepared.task, attempt, job_id=job_id, now=now)
        record = _audit_record(prepared, counts, job_id=job_id, kind=kind, now=now)
        record_audit(connection, [record])
    return record


def record_answers(connection: duckdb.DuckDBPyConnection, prepared: Prepared, *, job_id: str, now: datetime) -> None:
    """Write only the coverage of what was acquired."""
    for attempt in prepared.attempts:
        _write_coverage(connection, prepared.task, attempt, job_id=job_id, now=now)


def _write_attempt(
    connection: duckdb.DuckDBPyConnection, task: Task, attempt: Attempt, *, job_id: str, now: datetime
) -> RowCounts:
    if not attempt.masked:
        _write_coverage(connection, task, attempt, job_id=job_id, now=now)
    stored, parsed, verdict = attempt.stored, attempt.parsed, attempt.verdict
    if stored is None or parsed is None or verdict is None:
        return RowCounts()
    symbol, is_first = task.instrument.symbol, task.holdings.is_new
    restated = _NO_DATES
    if attempt.accepted and not is_first:
        restated = restatable_dates(connection, symbol, str(parsed.basis), stored.fetched_at, stored.sha256)
    batch = BatchWrite(
        symbol=symbol,
        job_id=job_id,
        stored=stored,
        basis=parsed.basis,
        adjusted_as_of=parsed.adjusted_as_of,
        bars=DailyPrices.validate(_asked(verdict.bars, task, restated)),
        quality=_asked(verdict.quality, task, restated),
        findings=_asked_findings(verdict.findings, task, restated),
        actions=parsed.actions,
        now=now,
        is_first=is_first,
    )
    return write_batch(connection, batch)


_NO_DATES = pd.DatetimeIndex([], dtype="datetime64[s]")
_ABOUT_BATCH = ("span_from_first_bar", "late_first_bar", "cut_window")


def _asked(frame: pd.DataFrame, task: Task, restated: pd.DatetimeIndex) -> pd.DataFrame:
    """Rows of the asked span, and of the restated dates; `frame` ascends by date."""
    dates = frame["date"].to_numpy()
    low = int(dates.searchsorted(np.datetime64(task.start), side="left"))
    high = int(dates.searchsorted(np.datetime64(task.end), side="right"))
    if low == 0 and high == len(frame):
        return frame
    keep = np.isin(dates, restated.to_numpy())
    keep[low:high] = True
    return frame[keep]


def _asked_findings(findings: pd.DataFrame, task: Task, restated: pd.DatetimeIndex) -> pd.DataFrame:
    """Findings of the asked span and the restated dates, and those about the batch as a whole."""
    if not len(findings):
        return findings
    dates = findings["date"]
    about_batch = dates.isna() | findings["rule"].isin(_ABOUT_BATCH)
    asked = dates.between(pd.Timestamp(task.start), pd.Timestamp(task.end)) | dates.isin(restated)
    return findings[about_batch | asked]


def _write_coverage(
    connection: duckdb.DuckDBPyConnection, task: Task, attempt: Attempt, *, job_id: str, now: datetime
) -> None:
    if attempt.error is None or isinstance(attempt.error, UnknownSymbol):
        if attempt.stored is not None:
            record_coverage(connection, attempt.stored, job_id=job_id)
            return
        if attempt.error is None:
            return
    if not task.may_fetch:
        return
    request = attempt.stored.request if attempt.stored else FetchRequest(task.instrument.symbol, task.start, task.end)
    record_failure(
        connection,
        request_id=uuid.uuid4().hex[:16],
        request=request,
        provider=attempt.provider,
        error=attempt.error,
        stored=attempt.stored,
        job_id=job_id,
        now=now,
    )


def _masked(provider: Provider, reason: str) -> Attempt:
    return Attempt(provider.name, provider.synthetic, masked=reason)


def _newest_that_answers(task: Task, provider: str) -> tuple[StoredPayload, str | None] | None:
    if task.again or not len(task.expected):
        return None
    first, last = task.expected[0].date(), task.expected[-1].date()
    for stored, job_id in reversed(task.holdings.payloads):
        covers = stored.request.start <= first and last <= stored.request.end
        if stored.provider == provider and stored.request.interval == "1d" and covers:
            return stored, job_id
    return None


def _why_not_stored(task: Task) -> ProviderError:
    if task.holdings.failure is not None:
        error, message = task.holdings.failure[:2]
        return ProviderError(f"{error}: {message}")
    return ProviderError(f"{task.instrument.symbol}: no stored payload answers {task.start} to {task.end}; fetch first")


def _calls_that_failed(task: Task, job_id: str) -> int:
    failure = task.holdings.failure
    return failure[2] if failure is not None and failure[3] == job_id else 0


def _outcome(attempts: list[Attempt]) -> tuple[Outcome, str | None, Rejection | None]:
    tried = [attempt for attempt in attempts if not attempt.masked]
    if not tried:
        reasons = "; ".join(f"{attempt.provider} {attempt.masked}" for attempt in attempts)
        return Outcome.NO_DATA, reasons or "no provider is configured", None
    last = tried[-1]
    if last.accepted:
        return Outcome.ACCEPTED, None, None
    for attempt in reversed(tried):
        if attempt.verdict is not None and attempt.verdict.rejection is not None:
            return Outcome.REJECTED, attempt.verdict.rejection.reason, attempt.verdict.rejection
    failures = [attempt.error for attempt in tried if attempt.error and not isinstance(attempt.error, UnknownSymbol)]
    if failures:
        return Outcome.FAILED, f"{type(failures[-1]).__name__}: {failures[-1]}", None
    return Outcome.NO_DATA, str(last.error) if last.error else f"{last.provider} gave no bars in the span", None


def _audit_record(prepared: Prepared, counts: RowCounts, *, job_id: str, kind: str, now: datetime) -> AuditRecord:
    task, attempts = prepared.task, prepared.attempts
    outcome, reason, rejection = _outcome(attempts)
    last = next((attempt for attempt in reversed(attempts) if not attempt.masked), None)
    stored = last.stored if last else None
    verdict = last.verdict if last else None
    expected, held = _sessions(task, verdict)
    return AuditRecord(
        job_id=job_id,
        symbol=task.instrument.symbol,
        kind=kind,
        outcome=outcome,
        provider=last.provider if last else None,
        start_date=task.start,
        end_date=task.end,
        reason=reason,
        rule=rejection.rule if rejection else None,
        calls=sum(attempt.calls for attempt in attempts),
        attempts=stored.attempts if stored else (last.calls if last else 0),
        sessions_expected=expected,
        sessions_missing=expected - held,
        rows_received=verdict.rows_received if verdict else 0,
        rows_inserted=counts.inserted,
        rows_updated=counts.updated,
        rows_unchanged=counts.unchanged,
        null_share=verdict.null_share if verdict else None,
        score=verdict.score if verdict else None,
        findings=len(verdict.findings) if verdict else 0,
        raw_hash=stored.sha256 if stored else None,
        url=stored.url if stored else None,
        http_status=stored.status if stored else None,
        bytes=stored.size if stored else 0,
        latency_ms=stored.elapsed_ms if stored else None,
        synthetic=any(attempt.synthetic for attempt in attempts),
        decision=[attempt.told() for attempt in attempts],
        started_at=prepared.started_at,
        finished_at=now,
    )


def _sessions(task: Task, verdict: BatchVerdict | None) -> tuple[int, int]:
    """Sessions of the asked span that were due, and those of them that have a bar."""
    if verdict is None:
        return len(task.expected), 0
    due = task.expected
    starts = verdict.findings.loc[verdict.findings["rule"] == "span_from_first_bar", "date"]
    if len(starts):
        due = due[due >= starts.iloc[0]]
    quality = verdict.quality
    held = quality["date"].isin(due) & quality["verdict"].isin(["accepted", "flagged"])
    return len(due), int(held.sum())


def expected_sessions(instrument: Instrument, held: Holdings, start: date, end: date) -> pd.DatetimeIndex:
    """Sessions of `start..end` the instrument should have; its first bar bounds them where the listing is not known."""
    if end < start:
        return pd.DatetimeIndex([], dtype="datetime64[s]")
    sessions = instrument.expected_sessions(start, end)
    if held.first_bar and not instrument.start_is_known(start):
        sessions = sessions[sessions >= pd.Timestamp(held.first_bar)]
    return sessions
