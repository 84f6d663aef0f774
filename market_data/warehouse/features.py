"""Statements about features: what they are made from, and the tables `features_daily` and `feature_partitions`.

Only canonical tables are read. The names of columns are those of the catalogue; every value is bound or comes in as an
Arrow table.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import duckdb
import pyarrow as pa

from market_data.errors import WarehouseError

__all__ = [
    "READ_TABLES",
    "FeatureRows",
    "SessionNumbers",
    "StoredPartition",
    "read_actions",
    "read_bars",
    "read_features",
    "read_foreign",
    "read_last",
    "read_numbers",
    "read_partitions",
    "read_row_counts",
    "read_sessions",
    "read_span",
    "read_told",
    "remove_features",
    "store_identity",
    "write_features",
]

READ_TABLES = ("price_history_daily", "data_quality_log", "corporate_actions", "actions_told", "sessions")
"""The canonical tables that features are made from; nothing else is read."""

_BARS = """
SELECT
    coalesce(q.symbol, p.symbol) AS symbol, coalesce(q.date, p.date) AS date,
    p.open, p.high, p.low, p.close, p.volume, q.verdict, coalesce(q.rules, '') AS rules,
    CASE WHEN p.basis = 'raw' OR exchange_date(p.adjusted_as_of) <= p.date THEN 'raw' ELSE p.basis END AS basis
FROM (SELECT symbol, date, verdict, rules FROM data_quality_log WHERE date BETWEEN $first AND $last) AS q
FULL JOIN (SELECT * FROM price_history_daily WHERE date BETWEEN $first AND $last) AS p
    ON p.symbol = q.symbol AND p.date = q.date
"""
_SPAN = (
    "SELECT min(first), max(last) FROM (SELECT min(date) AS first, max(date) AS last FROM data_quality_log "
    "UNION ALL SELECT min(date), max(date) FROM price_history_daily)"
)


@dataclass(frozen=True, slots=True)
class StoredPartition:
    """What is on record of a session of `features_daily`; the columns of `feature_partitions`."""

    inputs_hash: str
    rows: int
    nulls: int
    formula_version: int
    schema_version: int
    store: str


@dataclass(frozen=True, slots=True)
class FeatureRows:
    """Rows of `features_daily` by what a write did with them."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0

    def __add__(self, other: FeatureRows) -> FeatureRows:
        return FeatureRows(
            self.inserted + other.inserted,
            self.updated + other.updated,
            self.unchanged + other.unchanged,
            self.removed + other.removed,
        )


def read_span(connection: duckdb.DuckDBPyConnection) -> tuple[date, date] | None:
    """First and last session with a verdict or a bar; None where there is none."""
    [(first, last)] = connection.execute(_SPAN).fetchall()
    return None if first is None else (first, last)


def read_sessions(connection: duckdb.DuckDBPyConnection, first: date, last: date) -> pa.Table:
    """The XNYS sessions of the span, ascending, from the store's own list: one column `session`."""
    values = {"first": first, "last": last}
    statement = "SELECT session FROM sessions WHERE session BETWEEN $first AND $last ORDER BY session"
    return _arrow(connection, statement, values)


def read_bars(connection: duckdb.DuckDBPyConnection, first: date, last: date) -> pa.Table:
    """Every expected or stored (symbol, session) of the span, in no order.

    Returns:
        symbol; date; open, high, low, close (dollars a share) and volume, null where there is no bar; verdict, null
        where a bar has none; rules, comma-separated; basis of a bar, "raw" as well for one that is adjusted up to its
        own session, which is as traded.
    """
    return _arrow(connection, _BARS, {"first": first, "last": last})


def read_actions(connection: duckdb.DuckDBPyConnection, first: date, last: date) -> list[tuple[str, date, str, float]]:
    """Corporate actions with an ex-date after `first`, up to `last`: symbol, ex-date, kind, value; in this order."""
    return connection.execute(
        "SELECT symbol, date, kind, value FROM corporate_actions WHERE date > ? AND date <= ? ORDER BY ALL",
        [first, last],
    ).fetchall()


def read_told(connection: duckdb.DuckDBPyConnection, first: date, last: date) -> list[tuple[str, str, date, date]]:
    """Spans of which every action was told: symbol or *, kind (split or dividend), first and last date."""
    return connection.execute(
        "SELECT DISTINCT symbol, kind, greatest(first_date, $first), least(last_date, $last) FROM actions_told "
        "WHERE last_date >= $first AND first_date <= $last",
        {"first": first, "last": last},
    ).fetchall()


def store_identity(connection: duckdb.DuckDBPyConnection) -> str:
    """What tells this database from any other: its kind, and the instant its first table was made.

    A backup that is restored keeps it; a rebuild makes another one.
    """
    kinds = connection.execute("SELECT synthetic FROM store_kind").fetchall()
    [(made_at,)] = connection.execute("SELECT min(applied_at) FROM schema_version").fetchall()
    kind = ("synthetic" if kinds[0][0] else "real") if kinds else "empty"
    return f"{kind} store of {made_at.isoformat()}"


def read_partitions(connection: duckdb.DuckDBPyConnection) -> dict[date, StoredPartition]:
    """What is on record of each session, ascending."""
    rows = connection.execute(
        "SELECT date, inputs_hash, rows, nulls, formula_version, schema_version, store "
        "FROM feature_partitions ORDER BY date"
    ).fetchall()
    return {row[0]: StoredPartition(*row[1:]) for row in rows}


def read_row_counts(connection: duckdb.DuckDBPyConnection) -> dict[date, int]:
    """Rows of `features_daily` by session."""
    return dict(connection.execute("SELECT date, count(*) FROM features_daily GROUP BY date").fetchall())


def read_foreign(connection: duckdb.DuckDBPyConnection) -> list[tuple[date, int, str]]:
    """Rows of `features_daily` whose (symbol, session) is neither expected nor stored: session, rows, first symbol."""
    return connection.execute(
        "SELECT date, count(*), min(symbol) FROM features_daily AS f "
        "ANTI JOIN data_quality_log AS q USING (symbol, date) "
        "WHERE NOT EXISTS (SELECT 1 FROM price_history_daily AS p WHERE p.symbol = f.symbol AND p.date = f.date) "
        "GROUP BY date ORDER BY date"
    ).fetchall()


def read_features(
    connection: duckdb.DuckDBPyConnection, symbols: Sequence[str], start: date, end: date, names: Sequence[str]
) -> pa.Table:
    """Rows of `symbols` from `start` to `end` by position of the symbol and date: position, date, the columns, reason.

    Args:
        names: columns of `features_daily`.

    Raises:
        WarehouseError: the table has no such column.
    """
    columns = "".join(f"f.{name}, " for name in _require_known(connection, names))
    return _arrow(
        connection,
        f"SELECT position, f.date, {columns}f.reason FROM features_daily AS f "
        "JOIN (SELECT unnest($symbols) AS symbol, generate_subscripts($symbols, 1) - 1 AS position) AS a USING (symbol)"
        " WHERE f.date BETWEEN $start AND $end ORDER BY position, f.date",
        {"symbols": list(symbols), "start": start, "end": end},
    )


@dataclass(frozen=True, slots=True)
class SessionNumbers:
    """What a session of `features_daily` comes to.

    Attributes:
        rows: instruments.
        nulls: values of them that are null.
        market_return: equal-weight mean simple return of the day; None where not known.
        volatility: median of the 21-session close-to-close volatility, annualised; None where not known.
    """

    rows: int
    nulls: int
    market_return: float | None
    volatility: float | None


def read_numbers(connection: duckdb.DuckDBPyConnection, start: date, end: date) -> dict[date, SessionNumbers]:
    """The sessions from `start` to `end` that were made, ascending."""
    rows = connection.execute(
        "SELECT date, any_value(p.rows), any_value(p.nulls), any_value(f.market_return_1), "
        "median(f.volatility_close_21) FROM feature_partitions AS p LEFT JOIN features_daily AS f USING (date) "
        "WHERE date BETWEEN ? AND ? GROUP BY date ORDER BY date",
        [start, end],
    ).fetchall()
    return {row[0]: SessionNumbers(*row[1:]) for row in rows}


def read_last(connection: duckdb.DuckDBPyConnection, symbol: str) -> date | None:
    """Last session with features of a symbol; None without any."""
    [(last,)] = connection.execute("SELECT max(date) FROM features_daily WHERE symbol = ?", [symbol]).fetchall()
    return None if last is None else date.fromordinal(last.toordinal())


def write_features(connection: duckdb.DuckDBPyConnection, rows: pa.Table, partitions: pa.Table) -> FeatureRows:
    """Make `features_daily` of some sessions be `rows`, and note what they were made from; inside `transaction`.

    A row that is the same is not written; rows of the sessions that are no longer among `rows` are removed.

    Args:
        rows: all columns of `features_daily`.
        partitions: all columns of `feature_partitions`, one row for each session of `rows`.
    """
    names = _require_known(connection, rows.column_names)
    connection.register("incoming", rows)
    connection.register("made", partitions)
    try:
        held = _count(connection, "SELECT count(*) FROM features_daily SEMI JOIN made USING (date)")
        removed = written = 0
        if not held:
            connection.execute("INSERT INTO features_daily BY NAME SELECT * FROM incoming")
        else:
            removed = _count(connection, _REMOVE)
            written = _count(connection, _merge(names))
        connection.execute("INSERT OR REPLACE INTO feature_partitions BY NAME SELECT * FROM made")
    finally:
        connection.unregister("incoming")
        connection.unregister("made")
    if not held:
        return FeatureRows(inserted=rows.num_rows)
    inserted = rows.num_rows - (held - removed)
    return FeatureRows(inserted, written - inserted, rows.num_rows - written, removed)


def remove_features(connection: duckdb.DuckDBPyConnection, days: Sequence[date]) -> FeatureRows:
    """Remove all rows of some sessions, and what is on record of them; inside `transaction`."""
    removed = connection.execute("DELETE FROM features_daily WHERE date IN (SELECT unnest(?))", [list(days)]).fetchall()
    connection.execute("DELETE FROM feature_partitions WHERE date IN (SELECT unnest(?))", [list(days)])
    return FeatureRows(removed=int(removed[0][0]))


_REMOVE = (
    "DELETE FROM features_daily WHERE date IN (SELECT date FROM made) "
    "AND (symbol, date) NOT IN (SELECT (symbol, date) FROM incoming)"
)


def _merge(names: Sequence[str]) -> str:
    values = [name for name in names if name not in ("symbol", "date", "made_at")]
    held, told = (", ".join(f"{table}.{name}" for name in values) for table in ("held", "told"))
    return (
        "MERGE INTO features_daily AS held USING incoming AS told "
        "ON held.symbol = told.symbol AND held.date = told.date "
        f"WHEN MATCHED AND ({held}) IS DISTINCT FROM ({told}) THEN UPDATE SET "
        + ", ".join(f"{name} = told.{name}" for name in (*values, "made_at"))
        + " WHEN NOT MATCHED THEN INSERT BY NAME"
    )


def _require_known(connection: duckdb.DuckDBPyConnection, names: Sequence[str]) -> list[str]:
    rows = connection.execute("SELECT column_name FROM duckdb_columns() WHERE table_name = 'features_daily'")
    known = {row[0] for row in rows.fetchall()}
    unknown = [repr(name) for name in names if name not in known]
    if unknown:
        raise WarehouseError(
            f"features_daily has no column {', '.join(unknown)}; `market-data features list` tells what there is"
        )
    return list(names)


def _count(connection: duckdb.DuckDBPyConnection, statement: str) -> int:
    return int(connection.execute(statement).fetchall()[0][0])


def _arrow(connection: duckdb.DuckDBPyConnection, statement: str, values: dict[str, Any]) -> pa.Table:
    with warnings.catch_warnings():
        # DuckDB 2 recommends con.sql(), which copies row by row in 1.5 when values are bound: ten times as slow.
        warnings.filterwarnings("ignore", "Arrow output on a DB-API result", UserWarning)
        return connection.execute(statement, values).to_arrow_reader().read_all()
