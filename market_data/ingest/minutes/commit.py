"""Writing what an attempt at intraday bars came to: ledger, bars and findings, and at the end the audit record."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime

import duckdb
import numpy as np
import pandas as pd

from market_data.errors import UnknownSymbol
from market_data.ingest.minutes.basis import MinutesAsStored, minutes_as_stored
from market_data.ingest.minutes.unit import SETTLED, MinuteAttempt, MinuteTask, MinuteWork
from market_data.records import AuditRecord, Outcome, StoredPayload
from market_data.selection.choice import Considered
from market_data.sessions import closes
from market_data.validation.frames import counted
from market_data.warehouse.batch import BatchWrite, RowCounts, naive_utc, write_batch
from market_data.warehouse.intraday import IntradayWrite, write_minutes
from market_data.warehouse.store import record_coverage, record_failure, record_verdict

__all__ = ["KIND", "audit_of", "stored_rows", "upsert_minutes", "write_minute_attempt"]

KIND = "intraday"
"""Kind of the jobs, and of their audit records."""

_FOR_GOOD = ("tried before", "does not serve this instrument")


def write_minute_attempt(
    connection: duckdb.DuckDBPyConnection, task: MinuteTask, attempt: MinuteAttempt, *, job_id: str, now: datetime
) -> RowCounts:
    """Write what one attempt brought but for an audit record; call it inside `transaction`."""
    _write_ledger(connection, attempt, job_id=job_id, now=now)
    stored, parsed, verdict = attempt.stored, attempt.parsed, attempt.verdict
    if stored is None or parsed is None or verdict is None:
        return RowCounts()
    stays = minutes_as_stored(verdict.bars, parsed, stored, task.actions, task.told)
    counts = RowCounts()
    if len(stays.bars):
        counts = upsert_minutes(connection, stored_rows(stays, stored), task.interval)
    findings = _with_basis(verdict.findings, stays, stored)
    if len(findings):
        nothing = pd.DataFrame()
        batch = BatchWrite(
            symbol=stored.request.symbol,
            job_id=job_id,
            stored=stored,
            basis=parsed.basis,
            adjusted_as_of=parsed.adjusted_as_of,
            bars=nothing,
            quality=nothing,
            findings=findings,
            now=now,
        )
        write_batch(connection, batch)
    return counts


def upsert_minutes(connection: duckdb.DuckDBPyConnection, rows: pd.DataFrame, interval: str) -> RowCounts:
    """Upsert bars as `stored_rows` gives them; call it inside `transaction`."""
    return write_minutes(connection, IntradayWrite(rows, interval))


def audit_of(work: MinuteWork, counts: RowCounts, *, job_id: str, now: datetime) -> AuditRecord:
    """The audit record of a symbol whose work has ended."""
    task, attempts = work.task, work.attempts
    last = next((item for item in reversed(attempts) if item.accepted), attempts[-1] if attempts else None)
    stored = last.stored if last else None
    outcome, reason, rule = _outcome(work)
    verdicts = [item.verdict for item in attempts if item.verdict is not None]
    held = {day.date() for day in task.expected} & (task.held | work.with_bars)
    return AuditRecord(
        job_id=job_id,
        symbol=task.instrument.symbol,
        kind=KIND,
        outcome=outcome,
        provider=last.provider if last else None,
        start_date=task.start,
        end_date=max(task.start, task.end),
        reason=reason,
        rule=rule,
        calls=sum(item.calls for item in attempts),
        attempts=stored.attempts if stored else (last.calls if last else 0),
        sessions_expected=len(task.expected),
        sessions_missing=len(task.expected) - len(held),
        rows_received=sum(verdict.rows_received for verdict in verdicts),
        rows_inserted=counts.inserted,
        rows_updated=counts.updated,
        rows_unchanged=counts.unchanged,
        null_share=max((verdict.null_share for verdict in verdicts), default=None),
        findings=sum(len(verdict.findings) for verdict in verdicts),
        raw_hash=stored.sha256 if stored else None,
        url=stored.url if stored else None,
        http_status=stored.status if stored else None,
        bytes=sum(item.stored.size for item in attempts if item.stored and item.calls),
        latency_ms=stored.elapsed_ms if stored else None,
        synthetic=any(item.synthetic for item in attempts),
        decision=_decision(work),
        started_at=work.started_at,
        finished_at=now,
    )


def _write_ledger(connection: duckdb.DuckDBPyConnection, attempt: MinuteAttempt, *, job_id: str, now: datetime) -> None:
    stored, error = attempt.stored, attempt.error
    if stored is not None and (error is None or isinstance(error, UnknownSymbol)):
        if attempt.is_new:
            record_coverage(connection, stored, job_id=job_id, verdict=attempt.answer, considered=attempt.considered)
        elif attempt.answer is not None:
            record_verdict(connection, stored.request_id, attempt.answer)
    elif error is not None and (attempt.is_new or stored is None):
        record_failure(
            connection,
            request_id=uuid.uuid4().hex[:16],
            request=stored.request if stored else attempt.asked,
            provider=attempt.provider,
            error=error,
            stored=stored,
            job_id=job_id,
            now=now,
            considered=attempt.considered,
        )


def stored_rows(stays: MinutesAsStored, stored: StoredPayload) -> pd.DataFrame:
    """Bars of a payload as `IntradayWrite` takes them."""
    bars = stays.bars
    sessions = pd.DatetimeIndex(bars["session_date"].unique())
    open_still = sessions[(closes(sessions) + SETTLED) > pd.Timestamp(stored.fetched_at)]
    as_of = naive_utc(stays.adjusted_as_of) if stays.adjusted_as_of else pd.NaT
    return bars.assign(
        symbol=stored.request.symbol,
        provisional=bars["session_date"].isin(open_still),
        basis=str(stays.basis),
        adjusted_as_of=pd.Series(as_of, index=bars.index, dtype="datetime64[us]"),
        source_provider=stored.provider,
        raw_hash=stored.sha256,
        pulled_at=pd.Series(naive_utc(stored.fetched_at), index=bars.index, dtype="datetime64[us]"),
    )


def _with_basis(findings: pd.DataFrame, stays: MinutesAsStored, stored: StoredPayload) -> pd.DataFrame:
    """The findings and, for bars that are not raw, one that says why."""
    if stays.why_not is None or not len(stays.bars):
        return findings
    message = f"{stored.provider} sent prices {stays.why_not}: stored as sent; `market-data actions fetch` may help"
    told = {"rule": "intraday_adjusted_basis", "severity": "info", "field": "", "message": message}
    row = pd.DataFrame({"date": stays.bars["session_date"].iloc[:1].to_numpy(), **{k: [v] for k, v in told.items()}})
    row = row.assign(value=np.nan, limit=np.nan, proposed=np.nan)[list(findings.columns)]
    return pd.concat([findings, row], ignore_index=True) if len(findings) else row


def _outcome(work: MinuteWork) -> tuple[Outcome, str | None, str | None]:
    """How it ended, why, and the rule that refused it."""
    attempts, masks = work.attempts, _masks(work.refused)
    if any(item.accepted for item in attempts):
        return Outcome.ACCEPTED, _given_up(work, masks or "no provider has them"), None
    for item in reversed(attempts):
        if item.verdict is not None and item.verdict.rejection is not None:
            return Outcome.REJECTED, item.verdict.rejection.reason, item.verdict.rejection.rule
    failures = [item.error for item in attempts if item.error and not isinstance(item.error, UnknownSymbol)]
    if failures:
        return Outcome.FAILED, f"{type(failures[-1]).__name__}: {failures[-1]}", None
    if masks and work.given_up:
        return Outcome.FAILED, f"no provider may be asked: {_given_up(work, masks)}", None
    if work.task.rejected:
        return Outcome.REJECTED, "rejected before; --retry-rejected asks for it anew", None
    last = attempts[-1] if attempts else None
    told = str(last.error) if last and last.error else _masks(work.refused, but=()) or "no provider is configured"
    return Outcome.NO_DATA, told, None


def _given_up(work: MinuteWork, why: str) -> str | None:
    """Which sessions nobody may be asked for, and why; None where there are none."""
    days = sorted(work.given_up)
    return (
        f"{counted(len(days), 'session')} ({days[0].date()} to {days[-1].date()}) not answered: {why}" if days else None
    )


def _masks(considered: Iterable[Considered], *, but: tuple[str, ...] = _FOR_GOOD) -> str:
    return "; ".join(f"{item.provider} {item.masked}" for item in considered if item.masked and item.masked not in but)


def _decision(work: MinuteWork) -> list[dict[str, object]]:
    told = [item.told() for item in work.attempts]
    if work.refused:
        told.append({"provider": None, "considered": [item.told() for item in work.refused]})
    return told
