"""Comparisons of providers in the database: what there is to compare, what came of it, and who stood alone."""

from __future__ import annotations

from datetime import UTC, date, datetime

import duckdb
import pandas as pd
import pyarrow as pa

from market_data.records import EVERY, FetchRequest, StoredPayload
from market_data.warehouse.batch import naive_utc

__all__ = [
    "ODD_SHARE",
    "OVERLAP",
    "overlap_symbols",
    "overlaps_of",
    "raw_symbols",
    "read_held",
    "refresh_odd_answers",
    "write_reconciliations",
]

OVERLAP = "overlap"
"""The feed of an answer that is only compared with, and never serves as one for bars."""
ODD_SHARE = 0.05
"""An answer is odd when it stands alone in more than this share of the sessions it was compared in: a single price that
providers tell differently, such as one of an auction, says nothing of the answer."""


def raw_symbols(connection: duckdb.DuckDBPyConnection, start: date, end: date) -> list[str]:
    """Symbols with stored raw bars in `start..end`, ascending."""
    rows = connection.execute(
        "SELECT DISTINCT symbol FROM price_history_daily WHERE basis = 'raw' AND date BETWEEN ? AND ? ORDER BY symbol",
        [start, end],
    )
    return [row[0] for row in rows.fetchall()]


def read_held(connection: duckdb.DuckDBPyConnection, symbol: str, start: date, end: date) -> pd.DataFrame:
    """What the store holds of a symbol, to be compared: raw bars, and sessions answered without one.

    Returns:
        date `datetime64[s]`, ascending; open to volume, raw, NaN where a bar is missing; price_factor; provider, of the
        bar or of the answer without it; raw_hash, None where there is no bar.
    """
    frame = connection.execute(
        "SELECT date, open, high, low, close, volume, coalesce(price_factor, 1) AS price_factor, "
        "source_provider AS provider, raw_hash FROM price_history_daily "
        "WHERE symbol = ? AND basis = 'raw' AND date BETWEEN ? AND ? "
        "UNION ALL SELECT date, NULL, NULL, NULL, NULL, NULL, 1, source_provider, NULL FROM data_quality_log AS log "
        "WHERE symbol = ? AND date BETWEEN ? AND ? AND verdict = 'missing' AND source_provider IS NOT NULL "
        "AND NOT EXISTS (SELECT 1 FROM price_history_daily AS bar WHERE bar.symbol = log.symbol "
        "AND bar.date = log.date) ORDER BY date",
        [symbol, start, end, symbol, start, end],
    ).df()
    return frame.assign(date=frame["date"].astype("datetime64[s]"))


def overlap_symbols(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Symbols with stored answers to compare with, ascending."""
    rows = connection.execute(
        "SELECT DISTINCT symbol FROM coverage WHERE outcome = 'answered' AND feed = ? ORDER BY symbol", [OVERLAP]
    )
    return [row[0] for row in rows.fetchall()]


def overlaps_of(connection: duckdb.DuckDBPyConnection, symbol: str) -> list[StoredPayload]:
    """Stored answers of all providers to compare a symbol with, the newest first."""
    rows = connection.execute(
        "SELECT request_id, provider, first_date, last_date, raw_hash, url, http_status, content_type, fetched_at, "
        "attempts, latency_ms, bytes FROM coverage WHERE outcome = 'answered' AND interval = '1d' "
        "AND feed = ? AND symbol = ? ORDER BY fetched_at DESC, request_id",
        [OVERLAP, symbol],
    ).fetchall()
    return [
        StoredPayload(
            request_id=row[0],
            provider=row[1],
            request=FetchRequest(symbol, row[2], row[3], feed=OVERLAP),
            sha256=row[4],
            url=row[5],
            status=row[6],
            content_type=row[7],
            fetched_at=row[8].replace(tzinfo=UTC),
            attempts=row[9],
            elapsed_ms=row[10],
            size=row[11],
        )
        for row in rows
    ]


def write_reconciliations(
    connection: duckdb.DuckDBPyConnection,
    symbol: str,
    other: StoredPayload,
    span: tuple[date, date],
    rows: pd.DataFrame,
    *,
    now: datetime,
) -> None:
    """Put what came of comparing with another provider's answer in place of what did before; inside `transaction`.

    Args:
        span: the dates compared, both inclusive.
        rows: date, provider, verdict, field, value, other_value, tolerance, odd_one (None for none), raw_hash.
    """
    connection.execute(
        "DELETE FROM reconciliations WHERE symbol = ? AND date BETWEEN ? AND ? AND (other_provider = ? "
        "OR EXISTS (SELECT 1 FROM price_history_daily AS bar WHERE bar.symbol = reconciliations.symbol "
        "AND bar.date = reconciliations.date AND bar.source_provider <> reconciliations.provider))",
        [symbol, *span, other.provider],
    )
    if not len(rows):
        return
    size = len(rows)
    compared = pa.table(
        {
            "symbol": pa.repeat(symbol, size),
            "date": pa.array(rows["date"].to_numpy().astype("datetime64[D]"), pa.date32()),
            "provider": pa.array(rows["provider"], pa.string()),
            "other_provider": pa.repeat(other.provider, size),
            "verdict": pa.array(rows["verdict"], pa.string()),
            "field": pa.array(rows["field"], pa.string()),
            **{name: pa.array(rows[name].to_numpy(dtype=float), from_pandas=True) for name in _NUMBERS},
            "odd_one": pa.array(rows["odd_one"], pa.string(), from_pandas=True),
            "raw_hash": pa.array(rows["raw_hash"], pa.string(), from_pandas=True),
            "other_raw_hash": pa.repeat(other.sha256, size),
            "compared_at": pa.repeat(pa.scalar(naive_utc(now), pa.timestamp("us")), size),
        }
    )
    connection.register("compared", compared)
    try:
        connection.execute(f"INSERT INTO reconciliations ({', '.join(compared.column_names)}) SELECT * FROM compared")
    finally:
        connection.unregister("compared")


_NUMBERS = ("value", "other_value", "tolerance")

_HAVE_BOTH = "verdict IN ('agree', 'price_differs', 'volume_differs')"
_ODD_ANSWERS = f"""
WITH met AS (
    SELECT symbol, date, provider, any_value(raw_hash) AS raw_hash, any_value(odd_one) AS odd_one
    FROM reconciliations WHERE {_HAVE_BOTH} GROUP BY symbol, date, provider HAVING count(*) >= 2
), sessions_met AS (
    SELECT symbol, provider, raw_hash, odd_one IS NOT DISTINCT FROM provider AS is_odd FROM met
    UNION ALL
    SELECT symbol, other_provider, other_raw_hash, met.odd_one IS NOT DISTINCT FROM other_provider
    FROM (SELECT * FROM reconciliations WHERE {_HAVE_BOTH}) AS pair JOIN met USING (symbol, date, provider)
), answers AS (
    SELECT symbol, provider, raw_hash, avg(is_odd::INTEGER) > {ODD_SHARE} AS is_odd
    FROM sessions_met GROUP BY symbol, provider, raw_hash
), dated AS (
    SELECT answers.provider, answers.symbol, answers.raw_hash, any_value(is_odd) AS is_odd,
        min(coverage.fetched_at)::DATE AS day
    FROM answers JOIN coverage ON coverage.raw_hash = answers.raw_hash AND coverage.provider = answers.provider
        AND coverage.outcome = 'answered' AND coverage.symbol IN (answers.symbol, '{EVERY}')
    GROUP BY ALL
)
SELECT provider, count(*) AS compared, count(*) FILTER (is_odd) AS odd FROM dated WHERE day = ? GROUP BY provider
"""


def refresh_odd_answers(connection: duckdb.DuckDBPyConnection, day: date) -> None:
    """Derive `compared` and `odd` of a UTC date's provider metrics from the comparisons anew.

    An answer counts on the date it came, whenever it was compared, once it met two others in a session.
    """
    connection.execute("UPDATE provider_metrics SET compared = 0, odd = 0 WHERE date = ?", [day])
    connection.execute(
        f"UPDATE provider_metrics SET compared = found.compared, odd = found.odd FROM ({_ODD_ANSWERS}) AS found "
        "WHERE provider_metrics.provider_name = found.provider AND provider_metrics.date = ?",
        [day, day],
    )
