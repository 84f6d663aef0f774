"""The ledgers of the canonical database: jobs, coverage, audit, provider metrics.

Every function takes an open connection and binds its values. A symbol's batch (`market_data.warehouse.batch`), its
coverage and its audit record are written inside one `transaction`, so that they stand or fall together.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date, datetime
from typing import Any

import duckdb
import numpy as np

from market_data.errors import ProviderError, WarehouseError
from market_data.records import AuditRecord, FetchRequest, StoredPayload
from market_data.warehouse.batch import naive_utc

__all__ = [
    "claim_kind",
    "finish_job",
    "forget_audit",
    "record_audit",
    "record_coverage",
    "record_failure",
    "refresh_provider_metrics",
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


def record_coverage(connection: duckdb.DuckDBPyConnection, stored: StoredPayload, *, job_id: str | None) -> None:
    """Note that a stored payload, not noted yet, answers its request.

    Args:
        job_id: the job that asked; None when it is not known, as for a payload found after a crash.
    """
    request = stored.request
    connection.execute(
        "INSERT INTO coverage VALUES (?, ?, ?, ?, ?, ?, 'answered', ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, ?)",
        [
            stored.request_id,
            request.symbol,
            request.interval,
            stored.provider,
            request.start,
            request.end,
            stored.sha256,
            naive_utc(stored.fetched_at),
            stored.url,
            stored.status,
            stored.content_type,
            stored.size,
            stored.attempts,
            stored.elapsed_ms,
            job_id,
        ],
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
) -> None:
    """Note a request that was not answered with data; it covers nothing.

    Args:
        stored: the error body, where one came and was kept.
    """
    connection.execute(
        "INSERT INTO coverage VALUES (?, ?, ?, ?, ?, ?, 'failed', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT DO NOTHING",
        [
            stored.request_id if stored else request_id,
            request.symbol,
            request.interval,
            provider,
            request.start,
            request.end,
            stored.sha256 if stored else None,
            naive_utc(now),
            stored.url if stored else None,
            stored.status if stored else None,
            stored.content_type if stored else None,
            stored.size if stored else 0,
            stored.attempts if stored else error.attempts,
            stored.elapsed_ms if stored else None,
            type(error).__name__,
            str(error),
            job_id,
        ],
    )


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


def refresh_provider_metrics(connection: duckdb.DuckDBPyConnection, day: date) -> None:
    """Derive the providers' metrics of a UTC date from the audit anew."""
    connection.execute(
        "INSERT OR REPLACE INTO provider_metrics "
        "SELECT provider, ?, sum(attempts), count(*) FILTER (outcome = 'accepted'), "
        "count(*) FILTER (outcome = 'rejected'), count(*) FILTER (outcome = 'no_data'), "
        "count(*) FILTER (outcome = 'failed'), sum(bytes), "
        "quantile_cont(latency_ms, 0.5), quantile_cont(latency_ms, 0.95) "
        "FROM ingestion_audit WHERE calls > 0 AND provider IS NOT NULL AND finished_at::DATE = ? GROUP BY provider",
        [day, day],
    )


def _sql_value(value: Any) -> Any:
    if isinstance(value, list):
        return json.dumps(value)
    if isinstance(value, datetime):
        return naive_utc(value)
    return value.item() if isinstance(value, np.generic) else value
