"""Writing what a unit of work prepared: its coverage, rows, findings and audit record, in one transaction."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from market_data.corporate_actions import spans_told
from market_data.errors import UnknownSymbol
from market_data.ingest.convert import AsStored, as_stored, earliest_change, reconvert
from market_data.ingest.minutes.reconvert import reconvert_minutes
from market_data.ingest.raw_store import RawStore
from market_data.ingest.unit import Attempt, Prepared, Task
from market_data.records import (
    EVERY,
    AuditRecord,
    Basis,
    FetchRequest,
    Outcome,
    ParsedBars,
    Rejection,
    StoredPayload,
)
from market_data.selection.choice import Considered
from market_data.validation.frames import FINDING_COLUMNS, counted
from market_data.warehouse.actions import read_actions, read_told, record_actions
from market_data.warehouse.batch import BatchWrite, RowCounts
from market_data.warehouse.holdings import restatable_dates
from market_data.warehouse.store import record_audit, record_coverage, record_failure, record_verdict, transaction
from market_data.warehouse.upsert import upsert

__all__ = ["commit", "record_answer_for_all", "record_answers", "why_failed", "write_attempt"]


def commit(
    connection: duckdb.DuckDBPyConnection,
    raw_store: RawStore,
    prepared: Prepared,
    *,
    job_id: str,
    kind: str,
    now: datetime,
) -> AuditRecord:
    """Write everything of a prepared task in one transaction; returns its audit record as written."""
    with transaction(connection):
        counts, task, is_first = RowCounts(), prepared.task, prepared.task.holdings.is_new
        for attempt in prepared.attempts:
            counts += write_attempt(connection, raw_store, task, attempt, job_id=job_id, now=now, is_first=is_first)
            is_first = is_first and attempt.verdict is None
            if _tells(attempt):
                task = replace(task, holdings=replace(task.holdings, told=None))
        record = _audit_record(prepared, counts, job_id=job_id, kind=kind, now=now)
        record_audit(connection, [record])
    return record


def write_attempt(
    connection: duckdb.DuckDBPyConnection,
    raw_store: RawStore,
    task: Task,
    attempt: Attempt,
    *,
    job_id: str,
    now: datetime,
    is_first: bool,
) -> RowCounts:
    """Write what one attempt brought but for an audit record; call it inside `transaction`.

    Args:
        is_first: whether nothing of the symbol is stored yet.
    """
    if _tells(attempt):
        task = replace(task, holdings=replace(task.holdings, told=None))
        _write_actions(connection, raw_store, task, attempt, now=now, is_first=is_first)
    return _write_attempt(connection, task, attempt, job_id=job_id, now=now, is_first=is_first)


def record_answers(connection: duckdb.DuckDBPyConnection, prepared: Prepared, *, job_id: str, now: datetime) -> None:
    """Write the ledger of what was acquired, and why answers were refused; no price."""
    is_first = prepared.task.holdings.is_new
    for attempt in prepared.attempts:
        if attempt.verdict is not None and attempt.verdict.rejection is not None:
            _write_attempt(connection, prepared.task, attempt, job_id=job_id, now=now, is_first=is_first)
            is_first = False
        else:
            _write_coverage(connection, prepared.task, attempt, job_id=job_id, now=now)


def record_answer_for_all(
    connection: duckdb.DuckDBPyConnection, attempt: Attempt, request: FetchRequest, *, job_id: str, now: datetime
) -> None:
    """Write the ledger of one call that answers for every symbol, or failed to."""
    with transaction(connection):
        if attempt.error is None and attempt.stored is not None:
            record_coverage(connection, attempt.stored, job_id=job_id, verdict="accepted")
        elif attempt.error is not None:
            _record_failure(connection, attempt, request, job_id=job_id, now=now)


def _write_attempt(
    connection: duckdb.DuckDBPyConnection,
    task: Task,
    attempt: Attempt,
    *,
    job_id: str,
    now: datetime,
    is_first: bool,
) -> RowCounts:
    _write_coverage(connection, task, attempt, job_id=job_id, now=now)
    stored, parsed, verdict = attempt.stored, attempt.parsed, attempt.verdict
    if stored is None or parsed is None or verdict is None:
        return RowCounts()
    symbol = task.instrument.symbol
    restated = _NO_DATES
    if attempt.accepted and not is_first:
        restated = restatable_dates(connection, symbol, str(parsed.basis), stored.fetched_at, stored.sha256)
    stays = _as_stored(connection, task, _asked(verdict.bars, task, restated), parsed, stored)
    findings = _with_rejection(_asked_findings(verdict.findings, task, restated), verdict.rejection)
    batch = BatchWrite(
        symbol=symbol,
        job_id=job_id,
        stored=stored,
        basis=parsed.basis,
        adjusted_as_of=parsed.adjusted_as_of,
        bars=stays.bars,
        quality=_asked(verdict.quality, task, restated),
        findings=_with_reason(findings, stays, stored),
        now=now,
        is_first=is_first,
        factors=stays.factors,
        known_at=stays.known_at,
    )
    return upsert(connection, batch)


def _as_stored(
    connection: duckdb.DuckDBPyConnection, task: Task, bars: pd.DataFrame, parsed: ParsedBars, stored: StoredPayload
) -> AsStored:
    actions, told = task.holdings.actions, task.holdings.told
    if parsed.basis is Basis.RAW or not len(bars):
        return as_stored(bars, parsed, stored, actions, actions)
    symbol = task.instrument.symbol
    # What the task began with is still so, unless an answer of its own told of actions.
    if told is None:
        actions, told = read_actions(connection, [symbol])[symbol], read_told(connection, [symbol])[symbol]
    return as_stored(bars, parsed, stored, actions, told)


def _tells(attempt: Attempt) -> bool:
    """Whether a payload of bars tells of corporate actions too."""
    stored, parsed = attempt.stored, attempt.parsed
    if stored is None or parsed is None or stored.request.symbol == EVERY:
        return False
    return bool(spans_told(stored)) or len(parsed.actions) > 0


def _write_actions(
    connection: duckdb.DuckDBPyConnection,
    raw_store: RawStore,
    task: Task,
    attempt: Attempt,
    *,
    now: datetime,
    is_first: bool,
) -> None:
    """Note what a payload of bars tells of corporate actions, and turn older bars by it where it is new."""
    stored, parsed = attempt.stored, attempt.parsed
    assert stored is not None
    assert parsed is not None
    told, symbol = spans_told(stored), task.instrument.symbol
    before = None if is_first else read_actions(connection, [symbol])[symbol]
    changed = record_actions(connection, symbol, stored, parsed.actions, told, adjusted_as_of=parsed.adjusted_as_of)
    if changed and before is not None:
        since = earliest_change(before, read_actions(connection, [symbol])[symbol])
        instruments = {symbol: task.instrument}
        reconvert(connection, raw_store, instruments, symbol, now=now, since=since or now.date())
        reconvert_minutes(connection, raw_store, instruments, [symbol])


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


@cache
def _blank() -> pd.DataFrame:
    texts = dict.fromkeys(("rule", "severity", "field", "message"), pd.Series([""], dtype="str"))
    numbers = dict.fromkeys(("value", "limit", "proposed"), pd.Series([np.nan]))
    date = pd.Series([pd.NaT], dtype="datetime64[s]")
    return pd.DataFrame({"date": date, **texts, **numbers})[list(FINDING_COLUMNS)]


def _with_reason(findings: pd.DataFrame, stays: AsStored, stored: StoredPayload) -> pd.DataFrame:
    """The findings and, for bars that are not raw, one that says why."""
    if stays.why_not is None or not len(stays.bars):
        return findings
    message = f"{stored.provider} sent prices {stays.why_not}: stored as sent; `market-data actions fetch` may help"
    return _with_one(findings, "info", Rejection("adjusted_basis", message, np.nan, np.nan))


def _with_rejection(findings: pd.DataFrame, rejection: Rejection | None) -> pd.DataFrame:
    """The findings and, for a batch that is refused, one about it as a whole."""
    if rejection is None:
        return findings
    return _with_one(findings, "error", rejection)


def _with_one(findings: pd.DataFrame, severity: str, about: Rejection) -> pd.DataFrame:
    """The findings and one about the batch as a whole."""
    whole = _blank().assign(
        rule=about.rule, severity=severity, value=about.value, limit=about.limit, message=about.reason
    )
    return pd.concat([findings, whole], ignore_index=True) if len(findings) else whole


def _write_coverage(
    connection: duckdb.DuckDBPyConnection, task: Task, attempt: Attempt, *, job_id: str, now: datetime
) -> None:
    error, stored = attempt.error, attempt.stored
    if stored is not None and (error is None or isinstance(error, UnknownSymbol)):
        if attempt.is_new:
            record_coverage(connection, stored, job_id=job_id, verdict=attempt.answer, considered=attempt.considered)
        elif attempt.answer is not None and not attempt.is_judged:
            record_verdict(connection, stored.request_id, attempt.answer)
        return
    if error is None or not task.may_fetch:
        return
    request = FetchRequest(task.instrument.symbol, task.start, task.end)
    _record_failure(connection, attempt, request, job_id=job_id, now=now)


def _record_failure(
    connection: duckdb.DuckDBPyConnection, attempt: Attempt, request: FetchRequest, *, job_id: str, now: datetime
) -> None:
    assert attempt.error is not None
    record_failure(
        connection,
        request_id=uuid.uuid4().hex[:16],
        request=attempt.stored.request if attempt.stored else request,
        provider=attempt.provider,
        error=attempt.error,
        stored=attempt.stored,
        job_id=job_id,
        now=now,
        considered=attempt.considered,
    )


def why_failed(prepared: Prepared) -> str | None:
    """Why nothing could be had for a symbol, though it might be another time; None when an answer is stored."""
    outcome, reason, _ = _outcome(prepared)
    return reason if outcome is Outcome.FAILED else None


def _outcome(prepared: Prepared) -> tuple[Outcome, str | None, Rejection | None]:
    attempts = prepared.attempts
    if any(attempt.accepted for attempt in attempts):
        return Outcome.ACCEPTED, _left_text(prepared), None
    for attempt in reversed(attempts):
        if attempt.verdict is not None and attempt.verdict.rejection is not None:
            return Outcome.REJECTED, attempt.verdict.rejection.reason, attempt.verdict.rejection
    failures = [item.error for item in attempts if item.error and not isinstance(item.error, UnknownSymbol)]
    if failures:
        return Outcome.FAILED, f"{type(failures[-1]).__name__}: {failures[-1]}", None
    may_come = [item for item in prepared.refused if item.masked and item.masked not in _FOR_GOOD]
    if may_come:
        return Outcome.FAILED, f"no provider may be asked: {_masks_text(may_come)}", None
    if not attempts:
        return Outcome.NO_DATA, _masks_text(prepared.refused) or "no provider is configured", None
    last = attempts[-1]
    return Outcome.NO_DATA, str(last.error) if last.error else f"{last.provider} gave no bars in the span", None


_FOR_GOOD = ("tried before", "does not serve this instrument")


def _left_text(prepared: Prepared) -> str | None:
    """What to say of an accepted symbol for some sessions of which no provider could be asked."""
    masked = [item for item in prepared.refused if item.masked and item.masked not in _FOR_GOOD]
    if not len(prepared.left) or not masked:
        return None
    span = f"{prepared.left[0].date()} to {prepared.left[-1].date()}"
    return f"{counted(len(prepared.left), 'session')} ({span}) not answered: {_masks_text(masked)}"


def _masks_text(considered: Iterable[Considered]) -> str:
    return "; ".join(f"{item.provider} {item.masked}" for item in considered if item.masked)


def _decision(prepared: Prepared) -> list[dict[str, Any]]:
    told = [attempt.told() for attempt in prepared.attempts]
    if prepared.refused:
        told.append({"provider": None, "considered": [item.told() for item in prepared.refused]})
    return told


def _audit_record(prepared: Prepared, counts: RowCounts, *, job_id: str, kind: str, now: datetime) -> AuditRecord:
    task, attempts = prepared.task, prepared.attempts
    outcome, reason, rejection = _outcome(prepared)
    last = next((attempt for attempt in reversed(attempts) if attempt.accepted), attempts[-1] if attempts else None)
    stored = last.stored if last else None
    verdict = last.verdict if last else None
    verdicts = [attempt.verdict for attempt in attempts if attempt.verdict is not None]
    expected, held = _sessions(prepared)
    return AuditRecord(
        job_id=job_id,
        symbol=task.instrument.symbol,
        kind=kind,
        outcome=outcome,
        provider=(last.provider or None) if last else None,
        start_date=task.start,
        end_date=task.end,
        reason=reason,
        rule=rejection.rule if rejection else None,
        calls=sum(attempt.calls for attempt in attempts),
        attempts=stored.attempts if stored else (last.calls if last else 0),
        sessions_expected=expected,
        sessions_missing=expected - held,
        rows_received=sum(verdict.rows_received for verdict in verdicts),
        rows_inserted=counts.inserted,
        rows_updated=counts.updated,
        rows_unchanged=counts.unchanged,
        null_share=verdict.null_share if verdict else None,
        score=verdict.score if verdict else None,
        findings=sum(len(verdict.findings) for verdict in verdicts),
        raw_hash=stored.sha256 if stored else None,
        url=stored.url if stored else None,
        http_status=stored.status if stored else None,
        bytes=stored.size if stored else 0,
        latency_ms=stored.elapsed_ms if stored else None,
        synthetic=any(attempt.synthetic for attempt in attempts),
        decision=_decision(prepared),
        started_at=prepared.started_at,
        finished_at=now,
    )


def _sessions(prepared: Prepared) -> tuple[int, int]:
    """Sessions of the asked span that were due, and those of them that have a bar."""
    task, due = prepared.task, prepared.task.expected
    verdicts = [attempt.verdict for attempt in prepared.attempts if attempt.verdict is not None]
    if len(verdicts) == 1 and len(verdicts[0].bars) == len(verdicts[0].quality) == len(due):
        return len(due), len(due)
    had = due.difference(task.due)
    for verdict in verdicts:
        starts = verdict.findings.loc[verdict.findings["rule"] == "span_from_first_bar", "date"]
        if len(starts):
            due = due[due >= starts.iloc[0]]
        quality = verdict.quality
        had = had.union(pd.DatetimeIndex(quality.loc[quality["verdict"].isin(["accepted", "flagged"]), "date"]))
    return len(due), int(due.isin(had).sum())
