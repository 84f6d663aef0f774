"""The ledger of intraday polls, and what is held of a session's minutes.

Every function takes an open connection and binds its values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import duckdb
import pandas as pd

from market_data.warehouse.batch import naive_utc

__all__ = [
    "PollRow",
    "SessionTotals",
    "applied_packs",
    "hashes_let_go",
    "held_minutes",
    "record_polls",
    "session_totals",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PollRow:
    """A row of `intraday_polls`: what one provider answered in one poll; the columns' comments say what they mean."""

    session_date: date
    polled_at: datetime
    provider: str
    job_id: str
    pack: str = ""
    calls: int = 0
    answered: int = 0
    empty: int = 0
    failed: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    bytes: int = 0
    latencies: Sequence[float] = ()
    rows_inserted: int = 0
    rows_updated: int = 0
    refused_rows: int = 0
    refused: Sequence[Mapping[str, Any]] = ()
    skipped: int = 0
    own_ms: float = 0.0


_COLUMNS = tuple(PollRow.__dataclass_fields__)


def record_polls(connection: duckdb.DuckDBPyConnection, rows: Sequence[PollRow]) -> None:
    """Note what polls came to; one that is noted already stays as it is."""
    marks = ", ".join("?" for _ in _COLUMNS)
    for row in rows:
        values = {name: getattr(row, name) for name in _COLUMNS} | {
            "polled_at": naive_utc(row.polled_at),
            "errors": json.dumps(dict(row.errors), sort_keys=True),
            "refused": json.dumps([dict(item) for item in row.refused]),
            "latencies": list(row.latencies),
        }
        connection.execute(
            f"INSERT INTO intraday_polls ({', '.join(values)}) VALUES ({marks}) ON CONFLICT DO NOTHING",
            list(values.values()),
        )


def applied_packs(connection: duckdb.DuckDBPyConnection, session: date) -> set[str]:
    """Names of the packs whose answers are stored."""
    rows = connection.execute("SELECT DISTINCT pack FROM intraday_polls WHERE session_date = ?", [session]).fetchall()
    return {name for (name,) in rows if name}


def hashes_let_go(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """SHA-256 that bars name, of sessions whose packs were removed once their minutes were final."""
    rows = connection.execute(
        "SELECT DISTINCT raw_hash FROM (SELECT raw_hash, session_date FROM price_history_intraday "
        "UNION ALL SELECT raw_hash, session_date FROM intraday_revisions "
        "UNION ALL SELECT replaced_by, session_date FROM intraday_revisions) "
        "WHERE session_date IN (SELECT session_date FROM intraday_polls WHERE pack = '' AND answered > 0)"
    ).fetchall()
    return {sha256 for (sha256,) in rows}


def held_minutes(connection: duckdb.DuckDBPyConnection, session: date) -> pd.DataFrame:
    """The 1-minute bars stored of a session, by symbol and instant.

    Returns:
        Columns symbol, datetime (naive UTC, `datetime64[us]`), provisional (bool).
    """
    return connection.execute(
        "SELECT symbol, datetime, provisional FROM price_history_intraday "
        "WHERE session_date = ? AND interval = '1m' ORDER BY symbol, datetime",
        [session],
    ).df()


@dataclass(frozen=True, slots=True)
class SessionTotals:
    """What the polls of a session came to, all jobs together.

    Attributes:
        polls: polls in which somebody was asked.
        skipped: polls left out, since the one before took too long.
        failed: symbols not answered, summed over the polls.
        p95_ms: 95% of the answers came within this time; None without an answer.
        own_p95_ms: the same of the polls' own time.
        bars: stored bars, of them `provisional` ones, of `symbols` symbols.
    """

    polls: int
    skipped: int
    calls: int
    answered: int
    failed: int
    refused: int
    p95_ms: float | None
    own_p95_ms: float | None
    bars: int
    provisional: int
    symbols: int


def session_totals(connection: duckdb.DuckDBPyConnection, session: date) -> SessionTotals:
    """The totals of a session; zeros where nothing is known of it."""
    polls = connection.execute(
        "SELECT count(DISTINCT (polled_at, job_id)) FILTER (calls > 0), coalesce(sum(calls), 0), "
        "coalesce(sum(answered), 0), coalesce(sum(failed), 0), coalesce(sum(refused_rows), 0), "
        "quantile_cont(own_ms, 0.95) FILTER (own_ms > 0) FROM intraday_polls WHERE session_date = ?",
        [session],
    ).fetchall()[0]
    skipped = connection.execute(
        "SELECT coalesce(sum(skipped), 0) FROM (SELECT max(skipped) AS skipped FROM intraday_polls "
        "WHERE session_date = ? GROUP BY polled_at, job_id)",
        [session],
    ).fetchall()[0][0]
    p95 = connection.execute(
        "SELECT quantile_cont(latency, 0.95) FROM (SELECT unnest(latencies) AS latency FROM intraday_polls "
        "WHERE session_date = ?)",
        [session],
    ).fetchall()[0][0]
    bars = connection.execute(
        "SELECT count(*), count(*) FILTER (provisional), count(DISTINCT symbol) FROM price_history_intraday "
        "WHERE session_date = ?",
        [session],
    ).fetchall()[0]
    count, calls, answered, failed, refused, own = polls
    return SessionTotals(
        polls=int(count),
        skipped=int(skipped),
        calls=int(calls),
        answered=int(answered),
        failed=int(failed),
        refused=int(refused),
        p95_ms=p95,
        own_p95_ms=own,
        bars=int(bars[0]),
        provisional=int(bars[1]),
        symbols=int(bars[2]),
    )
