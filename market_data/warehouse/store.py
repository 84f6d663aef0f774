"""The ledgers of the canonical database: jobs, coverage, audit.

Every function takes an open connection and binds its values. A symbol's batch (`market_data.warehouse.batch`), its
coverage and its audit record are written inside one `transaction`, so that they stand or fall together.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np

from market_data.errors import ProviderError, WarehouseError
from market_data.records import AuditRecord, FetchRequest, StoredPayload
from market_data.warehouse.batch import naive_utc

if TYPE_CHECKING:
    from market_data.selection.choice import Considered

__all__ = [
    "claim_kind",
    "finish_job",
    "forget_audit",
    "record_audit",
    "record_coverage",
    "record_failure",
    "record_verdict",
    "start_job",
    "transaction",
]


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Everything inside is committed together, or not at all."""
    connection.execute("BEGIN TRANSACTION")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(duckdb.Error):  # a commit that failed has rolled back already
            connection.execute("ROLLBACK")
        raise


def claim_kind(connection: duckdb.DuckDBPyConnection, *, synthetic: bool) -> None:
    """Mark a new store as real or synthetic.

    Raises:
        WarehouseError: it already is the other kind.
    """
    row = connection.execute("SELECT synthetic FROM store_kind").fetchone()
    if row is None:
        connection.execute("INSERT INTO store_kind VALUES (?)", [synthetic])
    elif row[0] != synthetic:
        held, asked = ("synthetic", "real") if row[0] else ("real", "synthetic")
        raise WarehouseError(
            f"the database holds {held} data and does not take {asked} data; name another file in MARKET_DATA_DATABASE"
        )


def start_job(
    connection: duckdb.DuckDBPyConnection,
    *,
    job_id: str,
    kind: str,
    start: date,
    end: date,
    symbols: Sequence[str],
    provider: str,
    synthetic: bool,
    now: datetime,
) -> None:
    """Note what a job sets out to do; a job taken up again keeps its start and takes the wider list of symbols.

    Raises:
        WarehouseError: the id belongs to a job over another span.
    """
    row = connection.execute(
        "SELECT kind, start_date, end_date, symbols FROM ingestion_jobs WHERE job_id = ?", [job_id]
    ).fetchone()
    if row is None:
        connection.execute(
            "INSERT INTO ingestion_jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            [job_id, kind, start, end, json.dumps(list(symbols)), provider, synthetic, naive_utc(now)],
        )
        return
    if row[:3] != (kind, start, end):
        raise WarehouseError(
            f"job {job_id} is a {row[0]} of {row[1]} to {row[2]}, not a {kind} of {start} to {end}; "
            "take it up with the same span, or give another job id"
        )
    every = list(dict.fromkeys([*json.loads(row[3]), *symbols]))
    connection.execute(
        "UPDATE ingestion_jobs SET symbols = ?, finished_at = NULL WHERE job_id = ?", [json.dumps(every), job_id]
    )


def finish_job(connection: duckdb.DuckDBPyConnection, job_id: str, now: datetime) -> None:
    """Note that a job came to its end."""
    connection.execute("UPDATE ingestion_jobs SET finished_at = ? WHERE job_id = ?", [naive_utc(now), job_id])


def record_coverage(
    connection: duckdb.DuckDBPyConnection,
    stored: StoredPayload,
    *,
    job_id: str | None,
    verdict: str | None = None,
    considered: Sequence[Considered] = (),
) -> None:
    """Note that a stored payload, not noted yet, answers its request.

    Args:
        job_id: the job that asked; None when it is not known, as for a payload found after a crash.
        verdict: accepted, rejected or no_data; None when it was not judged.
        considered: what the choice of the provider was made from.
    """
    _insert_coverage(
        connection,
        _coverage_row(stored.request, stored.provider, stored, considered)
        | {"outcome": "answered", "fetched_at": naive_utc(stored.fetched_at), "verdict": verdict, "job_id": job_id},
    )


def record_verdict(connection: duckdb.DuckDBPyConnection, request_id: str, verdict: str) -> None:
    """Note what validation made of an answer that is in the ledger, where that was not known."""
    connection.execute(
        "UPDATE coverage SET verdict = ? WHERE request_id = ? AND verdict IS NULL AND outcome = 'answered'",
        [verdict, request_id],
    )


def record_failure(
    connection: duckdb.DuckDBPyConnection,
    *,
    request_id: str,
    request: FetchRequest,
    provider: str,
    error: ProviderError,
    stored: StoredPayload | None,
    job_id: str | None,
    now: datetime,
    considered: Sequence[Considered] = (),
) -> None:
    """Note a request that was not answered with data; it covers nothing.

    Args:
        stored: the error body, where one came and was kept.
        considered: what the choice of the provider was made from.
    """
    row = _coverage_row(request, provider, stored, considered) | {
        "outcome": "failed",
        "fetched_at": naive_utc(now),
        "error": type(error).__name__,
        "message": str(error),
        "job_id": job_id,
    }
    if stored is None:
        row |= {"request_id": request_id, "attempts": error.attempts}
    _insert_coverage(connection, row)


def _coverage_row(
    request: FetchRequest, provider: str, stored: StoredPayload | None, considered: Sequence[Considered]
) -> dict[str, Any]:
    return {
        "request_id": stored.request_id if stored else "",
        "symbol": request.symbol,
        "interval": request.interval,
        "feed": request.feed,
        "provider": provider,
        "first_date": request.start,
        "last_date": request.end,
        "raw_hash": stored.sha256 if stored else None,
        "url": stored.url if stored else None,
        "http_status": stored.status if stored else None,
        "content_type": stored.content_type if stored else None,
        "bytes": stored.size if stored else 0,
        "attempts": stored.attempts if stored else 0,
        "latency_ms": stored.elapsed_ms if stored else None,
        "considered": json.dumps([item.told() for item in considered]) if considered else None,
    }


def _insert_coverage(connection: duckdb.DuckDBPyConnection, row: dict[str, Any]) -> None:
    # The columns' names are this module's own; a failure found twice is noted once, an answer never twice.
    conflict = " ON CONFLICT DO NOTHING" if row["outcome"] == "failed" else ""
    marks = ", ".join("?" for _ in row)
    connection.execute(f"INSERT INTO coverage ({', '.join(row)}) VALUES ({marks}){conflict}", list(row.values()))


def record_audit(connection: duckdb.DuckDBPyConnection, records: Sequence[AuditRecord]) -> None:
    """Write audit records; each symbol of a job has one, see `forget_audit`."""
    for record in records:
        values = {name: _sql_value(value) for name, value in record_items(record)}
        columns = ", ".join(values)
        marks = ", ".join("?" for _ in values)
        connection.execute(f"INSERT INTO ingestion_audit ({columns}) VALUES ({marks})", list(values.values()))


def forget_audit(connection: duckdb.DuckDBPyConnection, job_id: str, symbols: Sequence[str]) -> None:
    """Drop the records of symbols that a job is about to try again, so that each ends with one record."""
    if symbols:
        connection.execute(
            "DELETE FROM ingestion_audit WHERE job_id = ? AND symbol IN (SELECT unnest(?))", [job_id, list(symbols)]
        )


def record_items(record: AuditRecord) -> list[tuple[str, Any]]:
    """Column names and values of an audit record."""
    return [(name, getattr(record, name)) for name in AuditRecord.__dataclass_fields__]


def _sql_value(value: Any) -> Any:
    if isinstance(value, list):
        return json.dumps(value)
    if isinstance(value, datetime):
        return naive_utc(value)
    return value.item() if isinstance(value, np.generic) else value
