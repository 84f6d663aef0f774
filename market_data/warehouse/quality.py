"""The quality log as a whole: completed for sessions nobody answered, and summed up."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from market_data.warehouse.batch import naive_utc

__all__ = ["complete_quality_log", "quality_by_session", "worst_symbols"]


def complete_quality_log(
    connection: duckdb.DuckDBPyConnection,
    expected: Mapping[str, pd.DatetimeIndex],
    *,
    now: datetime,
) -> int:
    """Give every expected session without a verdict the verdict `unanswered`, score 0; returns how many there were."""
    symbols = [symbol for symbol, sessions in expected.items() if len(sessions)]
    if not symbols:
        return 0
    sizes = [len(expected[symbol]) for symbol in symbols]
    due = pa.table(
        {
            "symbol": pa.array(np.repeat(symbols, sizes)),
            "date": pa.array(np.concatenate([expected[symbol].to_numpy() for symbol in symbols]).astype("M8[D]")),
        }
    )
    connection.register("due", due)
    try:
        row = connection.execute(
            "INSERT INTO data_quality_log SELECT symbol, date, 'unanswered', 0, 'unanswered', NULL, ? "
            "FROM due ANTI JOIN data_quality_log USING (symbol, date)",
            [naive_utc(now)],
        ).fetchone()
    finally:
        connection.unregister("due")
    return int(row[0]) if row else 0


def quality_by_session(connection: duckdb.DuckDBPyConnection, start: date, end: date) -> pd.DataFrame:
    """One row a session: date, expected, held, flagged, missing, rejected, unanswered, mean_score, least_score."""
    return connection.execute(
        "SELECT * FROM quality_by_session WHERE date BETWEEN ? AND ? ORDER BY date", [start, end]
    ).df()


def worst_symbols(connection: duckdb.DuckDBPyConnection, start: date, end: date, limit: int = 10) -> pd.DataFrame:
    """Symbols with the lowest mean score: symbol, sessions, not_held, mean_score, rules."""
    return connection.execute(
        "SELECT symbol, count(*) AS sessions, count(*) FILTER (verdict NOT IN ('accepted', 'flagged')) AS not_held, "
        "avg(score) AS mean_score, "
        "coalesce(string_agg(DISTINCT nullif(rules, ''), '; ' ORDER BY nullif(rules, '')), '') AS rules "
        "FROM data_quality_log WHERE date BETWEEN ? AND ? GROUP BY symbol "
        "HAVING mean_score < 1 ORDER BY mean_score, symbol LIMIT ?",
        [start, end, limit],
    ).df()
