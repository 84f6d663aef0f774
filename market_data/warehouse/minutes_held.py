"""What is held of intraday bars: stored answers, and how many final bars each session has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import duckdb
import numpy as np
import pandas as pd

from market_data.records import StoredPayload
from market_data.warehouse.holdings import _STORED_COLUMNS, HeldAnswer, _stored
from market_data.warehouse.intraday import INTERVALS

__all__ = ["MinutesHeld", "adjusted_minute_payloads", "forget_adjusted", "read_minutes_held"]


@dataclass(frozen=True, slots=True)
class MinutesHeld:
    """What is known of one symbol's intraday bars of an interval.

    Attributes:
        answers: stored answers of that very interval, oldest first.
        minutes: by session, the minutes that its final bars of that interval or a shorter one span together.
    """

    answers: tuple[HeldAnswer, ...] = ()
    minutes: Mapping[date, int] = field(default_factory=dict)


def read_minutes_held(
    connection: duckdb.DuckDBPyConnection, symbols: Sequence[str], start: date, end: date, interval: str
) -> dict[str, MinutesHeld]:
    """What is held of each symbol for the sessions of `start..end`."""
    names = list(symbols)
    answers: dict[str, list[HeldAnswer]] = {symbol: [] for symbol in names}
    rows = connection.execute(
        f"SELECT {_STORED_COLUMNS}, job_id, verdict FROM coverage WHERE outcome = 'answered' AND feed = 'bars' "
        "AND interval = ? AND symbol IN (SELECT unnest(?)) AND first_date <= ? AND last_date >= ? "
        "ORDER BY fetched_at, request_id",
        [interval, names, end, start],
    ).fetchall()
    for row in rows:
        answers[row[1]].append(HeldAnswer(_stored(row), row[14], row[15]))
    minutes: dict[str, dict[date, int]] = {symbol: {} for symbol in names}
    shorter = [name for name, size in INTERVALS.items() if size <= INTERVALS[interval]]
    for symbol, session, name, count in connection.execute(
        "SELECT symbol, session_date, interval, count(*) FROM price_history_intraday "
        "WHERE NOT provisional AND symbol IN (SELECT unnest(?)) AND session_date BETWEEN ? AND ? "
        "AND interval IN (SELECT unnest(?)) GROUP BY symbol, session_date, interval",
        [names, start, end, shorter],
    ).fetchall():
        minutes[symbol][session] = minutes[symbol].get(session, 0) + count * INTERVALS[name]
    return {symbol: MinutesHeld(tuple(answers[symbol]), minutes[symbol]) for symbol in names}


def adjusted_minute_payloads(
    connection: duckdb.DuckDBPyConnection, symbols: Sequence[str]
) -> list[tuple[StoredPayload, pd.DatetimeIndex]]:
    """Stored payloads that intraday bars which are not raw come from, oldest first, with the sessions of these."""
    rows = connection.execute(
        "SELECT symbol, interval, raw_hash, list(DISTINCT session_date ORDER BY session_date) "
        "FROM price_history_intraday WHERE basis <> 'raw' AND symbol IN (SELECT unnest(?)) GROUP BY ALL",
        [list(symbols)],
    ).fetchall()
    sessions = {row[:3]: pd.DatetimeIndex(np.array(row[3], dtype="datetime64[s]")) for row in rows}
    found = connection.execute(
        f"SELECT {_STORED_COLUMNS} FROM coverage WHERE outcome = 'answered' AND feed = 'bars' AND interval <> '1d' "
        "AND symbol IN (SELECT unnest(?)) AND raw_hash IN (SELECT unnest(?)) ORDER BY fetched_at, request_id",
        [list(symbols), [row[2] for row in rows]],
    ).fetchall()
    latest = {(row[1], row[2], row[6]): _stored(row) for row in found}
    return [(stored, sessions[key]) for key, stored in latest.items() if key in sessions]


def forget_adjusted(connection: duckdb.DuckDBPyConnection, symbol: str, sha256: str) -> None:
    """Drop the finding that a payload's intraday bars are not raw."""
    connection.execute(
        "DELETE FROM quality_findings WHERE symbol = ? AND raw_hash = ? AND rule = 'intraday_adjusted_basis'",
        [symbol, sha256],
    )
