"""Upserting a symbol's batch: prices with their revisions, quality rows, findings, corporate actions.

Every identifier in the statements is a constant of this module; every value is bound or comes in as an Arrow table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from market_data.records import Basis, StoredPayload

__all__ = ["CENT", "PRICE_COLUMNS", "VOLUME_SHARE", "BatchWrite", "Factors", "RowCounts", "naive_utc", "write_batch"]

_FIELDS = ("open", "high", "low", "close", "volume", "vwap", "trade_count")
PRICE_COLUMNS = (
    "symbol",
    "date",
    *_FIELDS,
    "basis",
    "adjusted_as_of",
    "source_provider",
    "raw_hash",
    "pulled_at",
    "sent_basis",
    "sent_as_of",
    "price_factor",
    "volume_factor",
    "known_at",
    "amendment_id",
)
"""Columns of `price_history_daily`; `revisions` has them too."""

CENT = 0.01
"""Dollars within which a price turned to raw is taken for the one that is held: rounding moves it by less."""

VOLUME_SHARE = 1e-3
"""The same for a volume, relative."""


def _within(name: str, tolerance: str) -> str:
    return (
        f"coalesce(abs(held.{name} - incoming.{name}) <= {tolerance}, held.{name} IS NULL = (incoming.{name} IS NULL))"
    )


def _incoming(name: str) -> str:
    """A field as it comes; one that another provider just does not have is no news."""
    if name not in ("vwap", "trade_count"):
        return f"incoming.{name}"
    known = f"coalesce(incoming.{name}, held.{name})"
    return f"CASE WHEN held.source_provider = incoming.source_provider THEN incoming.{name} ELSE {known} END"


_ABOUT_THE_SAME = " AND ".join(
    (
        "held.basis = 'raw' AND incoming.basis = 'raw' AND incoming.sent_basis <> 'raw'",
        "held.raw_hash <> incoming.raw_hash",
        *(_within(name, f"{CENT} * greatest(1, incoming.price_factor / 100)") for name in _FIELDS[:4]),
        _within("volume", f"{VOLUME_SHARE} * held.volume"),
    )
)
_CHANGED = (
    "held.pulled_at <= incoming.pulled_at AND ({}) IS DISTINCT FROM ({}) "
    "AND NOT (held.basis = 'raw' AND incoming.basis <> 'raw') AND NOT ({})"
).format(
    ", ".join(f"held.{name}" for name in (*_FIELDS, "basis")),
    ", ".join(_incoming(name) for name in (*_FIELDS, "basis")),
    _ABOUT_THE_SAME,
)


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Rows of a batch by what an upsert did with them."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0

    def __add__(self, other: RowCounts) -> RowCounts:
        return RowCounts(self.inserted + other.inserted, self.updated + other.updated, self.unchanged + other.unchanged)


@dataclass(frozen=True, slots=True)
class Factors:
    """By what bars as they were sent were multiplied to become raw, before rounding; shape (bars,) each."""

    price: npt.NDArray[np.float64]
    volume: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BatchWrite:
    """What one payload brings to the store.

    Attributes:
        basis, adjusted_as_of: of the prices as they were sent.
        bars: a `DailyPrices` frame; empty when the batch was rejected.
        quality: a `QualityLog` frame.
        findings: the findings of validation.
        is_first: whether nothing of the symbol is stored yet, so that there is nothing to compare with.
        factors: how the bars became raw; None where they are stored as sent.
        known_at: since when the bars are known as they are; None: since the payload was received.
        reason, replaced_by: why a stored bar changes, and the payload that says so; None: this payload.
        amendment_ids: the amendment that stands on each bar, None for none; None where none stands on any.
    """

    symbol: str
    job_id: str
    stored: StoredPayload
    basis: Basis
    adjusted_as_of: datetime | None
    bars: pd.DataFrame
    quality: pd.DataFrame
    findings: pd.DataFrame
    now: datetime
    is_first: bool = False
    factors: Factors | None = None
    known_at: datetime | None = None
    reason: str = "payload"
    replaced_by: str | None = None
    amendment_ids: Sequence[str | None] | None = None


def write_batch(connection: duckdb.DuckDBPyConnection, batch: BatchWrite) -> RowCounts:
    """Upsert a batch's prices, quality rows and findings; call it inside `transaction`.

    A price that changes leaves its predecessor in `revisions`; an identical one changes nothing. A `missing` or
    `rejected` verdict never replaces the verdict on a stored bar.
    """
    counts = _write_prices(connection, batch) if len(batch.bars) else RowCounts()
    if len(batch.quality):
        _write_quality(connection, batch)
    if len(batch.findings):
        _write_findings(connection, batch)
    return counts


def _write_prices(connection: duckdb.DuckDBPyConnection, batch: BatchWrite) -> RowCounts:
    incoming = _not_superseded(connection, batch, _price_table(batch))
    _present(connection, incoming)
    if batch.is_first:
        columns = ", ".join(PRICE_COLUMNS)
        connection.execute(f"INSERT INTO price_history_daily ({columns}) SELECT {columns} FROM incoming")
        return RowCounts(inserted=len(batch.bars))
    updated = _one(
        connection,
        f"INSERT INTO revisions ({', '.join(PRICE_COLUMNS)}, replaced_at, replaced_by, reason) "
        f"SELECT {', '.join(f'held.{name}' for name in PRICE_COLUMNS)}, incoming.known_at, ?, ? "
        "FROM price_history_daily AS held JOIN incoming ON held.symbol = incoming.symbol "
        f"AND held.date = incoming.date WHERE {_CHANGED}",
        [batch.replaced_by or batch.stored.sha256, batch.reason],
    )
    written = _one(connection, _MERGE_PRICES, [])
    inserted = written - updated
    return RowCounts(inserted=inserted, updated=updated, unchanged=len(batch.bars) - written)


_MERGE_PRICES = (
    "MERGE INTO price_history_daily AS held USING incoming "
    "ON held.symbol = incoming.symbol AND held.date = incoming.date "
    f"WHEN MATCHED AND {_CHANGED} THEN UPDATE SET "
    + ", ".join(f"{name} = incoming.{name}" for name in PRICE_COLUMNS[2:])
    + f" WHEN NOT MATCHED THEN INSERT ({', '.join(PRICE_COLUMNS)}) "
    + f"VALUES ({', '.join(f'incoming.{name}' for name in PRICE_COLUMNS)})"
)
_QUALITY_COLUMNS = (
    "symbol",
    "date",
    "verdict",
    "score",
    "rules",
    "source_provider",
    "checked_at",
)
_MERGE_QUALITY = (
    "MERGE INTO data_quality_log AS held USING incoming "
    "ON held.symbol = incoming.symbol AND held.date = incoming.date "
    "WHEN MATCHED AND (held.verdict, held.score, held.rules) IS DISTINCT FROM "
    "(incoming.verdict, incoming.score, incoming.rules) "
    "AND NOT (held.verdict IN ('accepted', 'flagged') AND incoming.verdict IN ('missing', 'rejected')) "
    "THEN UPDATE SET "
    + ", ".join(f"{name} = incoming.{name}" for name in _QUALITY_COLUMNS[2:])
    + f" WHEN NOT MATCHED THEN INSERT ({', '.join(_QUALITY_COLUMNS)}) "
    + f"VALUES ({', '.join(f'incoming.{name}' for name in _QUALITY_COLUMNS)})"
)


def _write_quality(connection: duckdb.DuckDBPyConnection, batch: BatchWrite) -> None:
    quality = batch.quality
    size = len(quality)
    incoming = pa.table(
        {
            "symbol": _same(batch.symbol, size),
            "date": _days(quality["date"]),
            "verdict": pa.array(quality["verdict"]),
            "score": pa.array(quality["score"].to_numpy()),
            "rules": pa.array(quality["rules"]),
            "source_provider": _same(batch.stored.provider, size),
            "checked_at": _same(naive_utc(batch.now), size),
        }
    )
    incoming = _not_superseded(connection, batch, incoming)
    _present(connection, incoming)
    connection.execute("INSERT INTO data_quality_log SELECT * FROM incoming" if batch.is_first else _MERGE_QUALITY)


def _not_superseded(connection: duckdb.DuckDBPyConnection, batch: BatchWrite, incoming: pa.Table) -> pa.Table:
    """Rows but for those of sessions that hold another payload's bar and that a newer answer speaks of."""
    if batch.is_first:
        return incoming
    spans = connection.execute(
        "SELECT first_date, last_date FROM coverage WHERE symbol = ? AND interval = '1d' AND feed = 'bars' "
        "AND outcome = 'answered' AND fetched_at > ?",
        [batch.symbol, naive_utc(batch.stored.fetched_at)],
    ).fetchall()
    if not spans:
        return incoming
    held = {
        row[0]
        for row in connection.execute(
            "SELECT date FROM price_history_daily WHERE symbol = ? AND raw_hash <> ?",
            [batch.symbol, batch.stored.sha256],
        ).fetchall()
    }
    days = incoming["date"].to_pylist()
    return incoming.filter(
        pa.array([day not in held or not any(first <= day <= last for first, last in spans) for day in days])
    )


def _write_findings(connection: duckdb.DuckDBPyConnection, batch: BatchWrite) -> None:
    findings = batch.findings
    size = len(findings)
    incoming = pa.table(
        {
            "symbol": _same(batch.symbol, size),
            "date": _days(findings["date"]),
            "rule": pa.array(findings["rule"]),
            "severity": pa.array(findings["severity"]),
            "field": pa.array(findings["field"]),
            "value": pa.array(findings["value"].to_numpy(dtype=float), from_pandas=True),
            "limit_value": pa.array(findings["limit"].to_numpy(dtype=float), from_pandas=True),
            "message": pa.array(findings["message"]),
            "source_provider": _same(batch.stored.provider, size),
            "raw_hash": _same(batch.stored.sha256, size),
            "job_id": _same(batch.job_id, size),
            "found_at": _same(naive_utc(batch.now), size),
            "proposed": pa.array(findings["proposed"].to_numpy(dtype=float), from_pandas=True),
        }
    )
    _present(connection, incoming)
    if batch.is_first:
        connection.execute("INSERT INTO quality_findings BY NAME SELECT * FROM incoming")
        return
    connection.execute(
        "INSERT INTO quality_findings BY NAME SELECT * FROM incoming WHERE NOT EXISTS ("
        "SELECT 1 FROM quality_findings AS held WHERE held.symbol = incoming.symbol "
        "AND held.raw_hash = incoming.raw_hash AND held.rule = incoming.rule AND held.field = incoming.field "
        "AND held.date IS NOT DISTINCT FROM incoming.date)"
    )


def _price_table(batch: BatchWrite) -> pa.Table:
    bars, size = batch.bars, len(batch.bars)
    basis, as_of = (Basis.RAW, None) if batch.factors else (batch.basis, batch.adjusted_as_of)
    factors = batch.factors or Factors(np.ones(size), np.ones(size))
    pulled_at = naive_utc(batch.stored.fetched_at)
    return pa.table(
        {
            "symbol": _same(batch.symbol, size),
            "date": _days(bars["date"]),
            **{name: pa.array(bars[name].to_numpy(), from_pandas=True) for name in _FIELDS},
            "basis": _same(str(basis), size),
            "adjusted_as_of": _instants(as_of, size),
            "source_provider": _same(batch.stored.provider, size),
            "raw_hash": _same(batch.stored.sha256, size),
            "pulled_at": _same(pulled_at, size),
            "sent_basis": _same(str(batch.basis), size),
            "sent_as_of": _instants(batch.adjusted_as_of, size),
            "price_factor": pa.array(factors.price),
            "volume_factor": pa.array(factors.volume),
            "known_at": _same(naive_utc(batch.known_at) if batch.known_at else pulled_at, size),
            "amendment_id": pa.array(batch.amendment_ids or [None] * size, pa.string()),
        }
    )


def _instants(moment: datetime | None, size: int) -> pa.Array:
    return _same(naive_utc(moment), size) if moment else pa.nulls(size, pa.timestamp("us"))


def _present(connection: duckdb.DuckDBPyConnection, table: pa.Table) -> None:
    """Make the table readable as `incoming`, in place of the one before."""
    connection.register("incoming", table)


def _one(connection: duckdb.DuckDBPyConnection, query: str, values: list[Any]) -> int:
    row = connection.execute(query, values).fetchone()
    return int(row[0]) if row else 0


def _same(value: Any, size: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, pa.timestamp("us")) if isinstance(value, datetime) else value, size)


def _days(dates: pd.Series) -> pa.Array:
    return pa.array(dates.to_numpy().astype("datetime64[D]"), pa.date32(), from_pandas=True)


def naive_utc(moment: datetime) -> datetime:
    """A UTC instant as the TIMESTAMP columns hold it: without its zone."""
    return moment.astimezone(UTC).replace(tzinfo=None)
