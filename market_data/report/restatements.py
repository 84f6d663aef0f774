"""Restatements: bars for which a provider lately sent other values than it had sent before."""

from __future__ import annotations

from datetime import date, timedelta

import duckdb
import pandas as pd

from market_data.report.checks import SHOWN, CheckResult
from market_data.settings import Settings

__all__ = ["RECENT", "restatement"]

RECENT = timedelta(days=30)
"""How long before the newest knowledge in the store a restatement is told of."""

# The successor of a revision is the next one by when it was known, or the row that stands now. A bar of another
# provider, or in another basis or adjustment, is not the same thing stated anew.
_RESTATED = """
WITH newest AS (
    SELECT max(greatest(pulled_at, coalesce(known_at, pulled_at))) AS instant FROM price_history_daily
), replaced AS (
    SELECT DISTINCT symbol, date FROM revisions, newest
    WHERE reason = 'payload' AND date BETWEEN ? AND ? AND replaced_at >= newest.instant - ?
), states AS (
    SELECT symbol, date, source_provider, basis, adjusted_as_of, open, high, low, close, volume, vwap,
        coalesce(known_at, pulled_at) AS known_at, replaced_at, reason
    FROM revisions SEMI JOIN replaced USING (symbol, date)
    UNION ALL
    SELECT symbol, date, source_provider, basis, adjusted_as_of, open, high, low, close, volume, vwap,
        coalesce(known_at, pulled_at), NULL, NULL
    FROM price_history_daily SEMI JOIN replaced USING (symbol, date)
), compared AS (
    SELECT *, (open, high, low, close, volume, vwap) AS held, (source_provider, basis, adjusted_as_of) AS kind,
        lead((open, high, low, close, volume, vwap)) OVER bars AS successor,
        lead((source_provider, basis, adjusted_as_of)) OVER bars AS successor_kind,
        lead(close) OVER bars AS successor_close, lead(volume) OVER bars AS successor_volume
    FROM states
    WINDOW bars AS (PARTITION BY symbol, date ORDER BY known_at, replaced_at NULLS LAST)
)
SELECT symbol, date, source_provider AS provider, close AS close_before, successor_close AS close,
    successor_close / close - 1 AS close_move, volume AS volume_before, successor_volume AS volume,
    CASE WHEN volume > 0 THEN successor_volume / volume - 1 END AS volume_move, replaced_at
FROM compared, newest
WHERE reason = 'payload' AND replaced_at >= newest.instant - ?
    AND kind IS NOT DISTINCT FROM successor_kind AND held IS DISTINCT FROM successor
ORDER BY abs(close_move) DESC NULLS LAST, abs(volume_move) DESC NULLS LAST, symbol, date, replaced_at
"""


def restatement(connection: duckdb.DuckDBPyConnection, start: date, end: date, settings: Settings) -> CheckResult:
    """No provider restated a bar within the last 30 days; those that were are shown, the largest moves first.

    The rows have symbol, date, provider, close_before, close, close_move, volume_before, volume, volume_move (moves
    relative to the value before; null where that is null or zero) and replaced_at (UTC).
    """
    rows = connection.execute(_RESTATED, [start, end, RECENT, RECENT]).df()
    failing = len(rows)
    return CheckResult(not failing, failing, rows.head(SHOWN), float(failing), _summary(rows))


def _summary(rows: pd.DataFrame) -> str:
    if rows.empty:
        return f"no bar was restated within {RECENT.days} days"
    counts = ", ".join(f"{name} {count:,}" for name, count in rows["provider"].value_counts().sort_index().items())
    told = f"{len(rows):,} bars restated within {RECENT.days} days ({counts})"
    moves = [_largest(rows, name) for name in ("close", "volume")]
    return "; ".join([told, *filter(None, moves)])


def _largest(rows: pd.DataFrame, name: str) -> str:
    moves = rows[f"{name}_move"].abs()
    if not (moves > 0).any():
        return ""
    row = rows.iloc[int(moves.argmax())]
    return f"largest move of a {name} {row[f'{name}_move']:+.2%} ({row['symbol']} {row['date']:%Y-%m-%d})"
