"""Amending a stored bar, and undoing it: checked first, then kept in the raw store, then written with its audit record.

Nothing is written before everything is known to be right. A process that dies after the amendment reached the raw
store, and before it reached the database, leaves one that `adopt_amendments` applies.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

import duckdb

from market_data.errors import MarketDataError, WarehouseError
from market_data.ingest.amendment_rules import (
    after,
    checked_amendment,
    checked_author,
    checked_reason,
    checked_undo,
    held_bar,
    proposed_values,
)
from market_data.ingest.audit_file import AuditFile
from market_data.ingest.lock import sole_ingest
from market_data.ingest.raw_store import RawStore
from market_data.instruments import Universe
from market_data.providers.base import Clock, sha256_hex, utc_now
from market_data.records import AuditRecord, FetchRequest, Outcome, RawPayload, StoredPayload
from market_data.settings import Settings
from market_data.warehouse.amendments import (
    FEED,
    PROVIDER,
    Amendment,
    AmendmentError,
    Change,
    apply_amendment,
    parse_amendment,
)
from market_data.warehouse.connection import Database
from market_data.warehouse.holdings import audit_lines
from market_data.warehouse.store import finish_job, record_audit, start_job, transaction

__all__ = [
    "JOB_KIND",
    "Amended",
    "adopt_amendments",
    "amend",
    "amend_as_proposed",
    "apply_amendment",
    "parse_amendment",
    "require_kind",
    "undo",
]

JOB_KIND = "amend"

_Plan = Callable[[duckdb.DuckDBPyConnection, datetime], Amendment]


@dataclass(frozen=True, slots=True)
class Amended:
    """What was done, or in a dry run would be: the amendment, the bar's values before and after, and its id.

    Attributes:
        amendment_id: request id of the amendment, of the undo for an undo; None in a dry run.
    """

    amendment: Amendment
    before: dict[str, float | None]
    after: dict[str, float | None]
    amendment_id: str | None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        amendment = self.amendment
        return {
            "amendment_id": self.amendment_id,
            "symbol": amendment.symbol,
            "date": amendment.date.isoformat(),
            "changes": _plain(amendment.changes),
            "reason": amendment.reason,
            "author": amendment.author,
            "at": amendment.at.isoformat(),
            "undo_of": amendment.undo_of,
            "before": self.before,
            "after": self.after,
        }


def amend(
    settings: Settings,
    universe: Universe,
    *,
    symbol: str,
    day: date,
    values: Mapping[str, float | None],
    reason: str,
    synthetic: bool,
    author: str | None = None,
    dry_run: bool = False,
    clock: Clock = utc_now,
) -> Amended:
    """Change fields of a stored bar.

    Args:
        values: new value by field, in the basis the bar is stored in; None is null.
        author: by default the user of the operating system.
        dry_run: check everything and change nothing.

    Raises:
        AmendmentError: says what is not allowed, and why.
        SymbolError: the symbol is not in the universe.
        WarehouseError: there is no database, or it holds the other kind of data.
    """
    name, by, why = universe.resolve(symbol), checked_author(author), checked_reason(reason)

    def plan(connection: duckdb.DuckDBPyConnection, now: datetime) -> Amendment:
        return checked_amendment(connection, name, day, values, reason=why, author=by, at=now)

    return _carried_out(settings, plan, synthetic=synthetic, dry_run=dry_run, clock=clock)


def amend_as_proposed(
    settings: Settings,
    universe: Universe,
    *,
    symbol: str,
    day: date,
    synthetic: bool,
    fields: Collection[str] = (),
    reason: str = "",
    author: str | None = None,
    dry_run: bool = False,
    clock: Clock = utc_now,
) -> Amended:
    """Change prices of a stored bar to what the findings about it propose; arguments and errors as `amend`.

    Args:
        fields: prices to change; by default each that has a proposal.
        reason: by default what the findings say.
    """
    name, by = universe.resolve(symbol), checked_author(author)

    def plan(connection: duckdb.DuckDBPyConnection, now: datetime) -> Amendment:
        values, messages = proposed_values(connection, name, day, fields)
        why = checked_reason(reason or "; ".join(messages))
        return checked_amendment(connection, name, day, values, reason=why, author=by, at=now)

    return _carried_out(settings, plan, synthetic=synthetic, dry_run=dry_run, clock=clock)


def undo(
    settings: Settings,
    *,
    amendment_id: str,
    reason: str,
    synthetic: bool,
    author: str | None = None,
    dry_run: bool = False,
    clock: Clock = utc_now,
) -> Amended:
    """Give a bar back the values it had before an amendment; errors as `amend`.

    Args:
        amendment_id: of the whole amendment, or of one of its fields, as in 0123456789abcdef.close.
    """
    by, why = checked_author(author), checked_reason(reason)

    def plan(connection: duckdb.DuckDBPyConnection, now: datetime) -> Amendment:
        return checked_undo(connection, amendment_id, reason=why, author=by, at=now)

    return _carried_out(settings, plan, synthetic=synthetic, dry_run=dry_run, clock=clock)


def adopt_amendments(connection: duckdb.DuckDBPyConnection, settings: Settings, *, synthetic: bool) -> int:
    """Apply amendments that a process kept and died before it wrote; returns how many.

    One that does not fit the bar any more is left, for `market-data verify` to tell of. Lines that are not yet in
    their audit file are written as well. Call it under the ingest's lock, before anything else is written.
    """
    raw_store = RawStore(settings.raw_folder(synthetic=synthetic))
    ids = {row[0] for row in connection.execute("SELECT request_id FROM coverage").fetchall()}
    applied = {
        row[0]
        for row in connection.execute(
            "SELECT raw_hash FROM amendments UNION SELECT replaced_by FROM revisions "
            "WHERE reason IN ('amendment', 'undo')"
        ).fetchall()
    }
    due = [item for item in raw_store.stored(skip=ids) if item.provider == PROVIDER and item.sha256 not in applied]
    adopted = 0
    for stored in sorted(due, key=lambda item: item.fetched_at):
        with suppress(MarketDataError):
            amendment = parse_amendment(raw_store.get(stored.sha256))
            _write(connection, stored, amendment, synthetic=synthetic)
            adopted += 1
    _complete_audit(connection, settings)
    return adopted


def require_kind(connection: duckdb.DuckDBPyConnection, path: object, *, synthetic: bool) -> None:
    """Refuse a database of the other kind.

    Raises:
        AmendmentError: it holds synthetic data and real was meant, or the other way round.
    """
    row = connection.execute("SELECT synthetic FROM store_kind").fetchone()
    if row is not None and bool(row[0]) != synthetic:
        held, asked = ("synthetic", "real") if row[0] else ("real", "synthetic")
        raise AmendmentError(f"{path} holds {held} data, and {asked} was meant; give --{held}")


def _carried_out(settings: Settings, plan: _Plan, *, synthetic: bool, dry_run: bool, clock: Clock) -> Amended:
    database = Database(settings.database_for(synthetic=synthetic), patience=settings.lock_patience)
    if dry_run:
        with database.reading() as connection:
            require_kind(connection, database.path, synthetic=synthetic)
            return _told(connection, plan(connection, clock()))
    if not database.exists():
        raise WarehouseError(f"{database.path}: no database yet, so there is no bar to amend")
    with sole_ingest(settings):
        database.prepare()
        with database.writing() as connection:
            require_kind(connection, database.path, synthetic=synthetic)
            adopt_amendments(connection, settings, synthetic=synthetic)
            done = _told(connection, plan(connection, clock()))
            stored = RawStore(settings.raw_folder(synthetic=synthetic)).put(_payload(done.amendment))
            record = _write(connection, stored, done.amendment, synthetic=synthetic)
        AuditFile(settings.audit_folder, JOB_KIND, record.job_id).append([record])
    return replace(done, amendment_id=stored.request_id)


def _told(connection: duckdb.DuckDBPyConnection, amendment: Amendment) -> Amended:
    bar = held_bar(connection, amendment.symbol, amendment.date)
    return Amended(amendment, bar.values, after(bar, amendment), None)


def _write(
    connection: duckdb.DuckDBPyConnection, stored: StoredPayload, amendment: Amendment, *, synthetic: bool
) -> AuditRecord:
    record = _audit_record(stored, amendment, synthetic=synthetic)
    with transaction(connection):
        apply_amendment(connection, stored, amendment)
        start_job(
            connection,
            job_id=record.job_id,
            kind=JOB_KIND,
            start=amendment.date,
            end=amendment.date,
            symbols=[amendment.symbol],
            provider=PROVIDER,
            synthetic=synthetic,
            now=amendment.at,
        )
        record_audit(connection, [record])
        finish_job(connection, record.job_id, amendment.at)
    return record


def _audit_record(stored: StoredPayload, amendment: Amendment, *, synthetic: bool) -> AuditRecord:
    told = {
        "provider": "",
        "calls": 0,
        "answer": str(amendment),
        "amendment_id": stored.request_id,
        "changes": _plain(amendment.changes),
        "author": amendment.author,
        "undo_of": amendment.undo_of,
    }
    return AuditRecord(
        job_id=f"{amendment.at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{stored.request_id}",
        symbol=amendment.symbol,
        kind=JOB_KIND,
        outcome=Outcome.ACCEPTED,
        provider=PROVIDER,
        start_date=amendment.date,
        end_date=amendment.date,
        reason=amendment.reason,
        sessions_expected=1,
        rows_received=1,
        rows_updated=1,
        raw_hash=stored.sha256,
        url=stored.url,
        http_status=stored.status,
        bytes=stored.size,
        synthetic=synthetic,
        decision=[told],
        started_at=amendment.at,
        finished_at=amendment.at,
    )


def _complete_audit(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    jobs = connection.execute("SELECT job_id FROM ingestion_jobs WHERE kind = ?", [JOB_KIND]).fetchall()
    for (job_id,) in jobs:
        file = AuditFile(settings.audit_folder, JOB_KIND, job_id)
        if not file.path.exists():
            file.reconcile(audit_lines(connection, job_id))


def _payload(amendment: Amendment) -> RawPayload:
    body = amendment.body
    return RawPayload(
        provider=PROVIDER,
        request=FetchRequest(amendment.symbol, amendment.date, amendment.date, feed=FEED),
        body=body,
        sha256=sha256_hex(body),
        url=f"amendment:{amendment.symbol}/{amendment.date}",
        status=200,
        content_type="application/json",
        fetched_at=amendment.at,
        attempts=0,
    )


def _plain(changes: tuple[Change, ...]) -> list[dict[str, Any]]:
    return [{"field": change.field, "old": change.old, "new": change.new} for change in changes]
