"""What a store holds of its latest sessions, and which instruments it knows: what the nightly sync goes by."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from market_data.warehouse.batch import naive_utc

__all__ = [
    "KnownInstrument",
    "held_sessions",
    "known_gaps",
    "known_instruments",
    "last_session_held",
    "note_instruments",
    "splits_of",
]

KnownInstrument = tuple[str, datetime | None]
"""Fingerprint, and when it was dropped from the universe."""


def last_session_held(connection: duckdb.DuckDBPyConnection) -> date | None:
    """The latest session of which any bar is held; None for an empty store."""
    row = connection.execute("SELECT max(date) FROM price_history_daily").fetchone()
    return row[0] if row else None


def held_sessions(connection: duckdb.DuckDBPyConnection, start: date, end: date) -> dict[str, pd.DatetimeIndex]:
    """Sessions of `start..end` with an accepted or flagged bar, by symbol, ascending `datetime64[s]`."""
    return _by_symbol(
        connection.execute(
            "SELECT symbol, list(date ORDER BY date) FROM data_quality_log "
            "WHERE date BETWEEN ? AND ? AND verdict IN ('accepted', 'flagged') GROUP BY symbol",
            [start, end],
        )
    )


def known_gaps(connection: duckdb.DuckDBPyConnection, start: date, end: date) -> dict[str, pd.DatetimeIndex]:
    """Sessions of `start..end` that nobody can fill, by symbol, ascending `datetime64[s]`."""
    return _by_symbol(
        connection.execute(
            "SELECT symbol, list(date ORDER BY date) FROM gaps "
            "WHERE date BETWEEN ? AND ? AND state = 'known' GROUP BY symbol",
            [start, end],
        )
    )


def _by_symbol(found: duckdb.DuckDBPyConnection) -> dict[str, pd.DatetimeIndex]:
    return {symbol: pd.DatetimeIndex(np.array(dates, dtype="datetime64[s]")) for symbol, dates in found.fetchall()}


def known_instruments(connection: duckdb.DuckDBPyConnection) -> dict[str, KnownInstrument]:
    """The instruments the last sync saw."""
    rows = connection.execute("SELECT symbol, fingerprint, dropped_at FROM known_instruments").fetchall()
    return {symbol: (mark, dropped and dropped.replace(tzinfo=UTC)) for symbol, mark, dropped in rows}


def note_instruments(
    connection: duckdb.DuckDBPyConnection, fingerprints: Mapping[str, str], *, dropped: Iterable[str], now: datetime
) -> None:
    """Note instruments as they are now, and those that are gone from the universe; call it inside `transaction`."""
    seen = pa.table(
        {
            "symbol": pa.array(list(fingerprints), pa.string()),
            "fingerprint": pa.array(list(fingerprints.values()), pa.string()),
            "known_since": pa.array([naive_utc(now)] * len(fingerprints), pa.timestamp("us")),
        }
    )
    connection.register("seen", seen)
    try:
        connection.execute(
            "MERGE INTO known_instruments AS held USING seen ON held.symbol = seen.symbol "
            "WHEN MATCHED AND (held.fingerprint <> seen.fingerprint OR held.dropped_at IS NOT NULL) THEN UPDATE SET "
            "fingerprint = seen.fingerprint, dropped_at = NULL "
            "WHEN NOT MATCHED THEN INSERT (symbol, fingerprint, known_since) "
            "VALUES (seen.symbol, seen.fingerprint, seen.known_since)"
        )
    finally:
        connection.unregister("seen")
    connection.execute(
        "UPDATE known_instruments SET dropped_at = ? WHERE dropped_at IS NULL AND symbol IN (SELECT unnest(?))",
        [naive_utc(now), list(dropped)],
    )


def splits_of(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """The splits and spin-offs known of each symbol that has any, as one text."""
    rows = connection.execute(
        "SELECT symbol, list([date::VARCHAR, kind, value::VARCHAR] ORDER BY date, kind) FROM corporate_actions "
        "WHERE kind <> 'dividend' GROUP BY symbol"
    ).fetchall()
    return {symbol: json.dumps(actions) for symbol, actions in rows}
