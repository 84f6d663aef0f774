"""A provider's bars beside what a person amended: an amended value stays while the provider sends the old one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import duckdb
import numpy as np

from market_data.records import Basis
from market_data.warehouse.amendments import end_amendments, kept, standing
from market_data.warehouse.batch import CENT, VOLUME_SHARE, BatchWrite, RowCounts, naive_utc, write_batch

__all__ = ["upsert"]


def upsert(connection: duckdb.DuckDBPyConnection, batch: BatchWrite) -> RowCounts:
    """`write_batch`, with the amendments that stand kept or, where the provider sends another value, ended."""
    stands = {} if batch.is_first or not len(batch.bars) else standing(connection, batch.symbol)
    if stands:
        held = connection.execute(
            "SELECT date FROM price_history_daily WHERE symbol = ? AND amendment_id IS NOT NULL AND pulled_at <= ? "
            "AND (basis <> 'raw' OR ?)",
            [batch.symbol, naive_utc(batch.stored.fetched_at), batch.basis is Basis.RAW or batch.factors is not None],
        ).fetchall()
        replaceable = {row[0] for row in held}
        stands = {place: amended for place, amended in stands.items() if place[0] in replaceable}
    if not stands:
        return write_batch(connection, batch)
    bars, ended = kept(batch.bars, stands, **_rounding(batch))
    amended = replace(batch, bars=bars.drop(columns="amendment_id"), amendment_ids=list(bars["amendment_id"]))
    counts = write_batch(connection, amended)
    if ended:
        end_amendments(connection, ended, batch.stored.sha256, batch.known_at or batch.stored.fetched_at)
    return counts


def _rounding(batch: BatchWrite) -> dict[str, Any]:
    """How far values turned to raw may be off, as `kept` takes it; nothing for values as sent."""
    if batch.basis is Basis.RAW or batch.factors is None:
        return {}
    return {"price_within": CENT * np.maximum(1, batch.factors.price / 100), "volume_within": VOLUME_SHARE}
