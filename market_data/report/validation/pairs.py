"""The expected (symbol, session) pairs of a span with their verdicts: what every figure of the report counts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import duckdb
import pyarrow as pa

from market_data.errors import SettingsError
from market_data.instruments import Universe
from market_data.settings import Settings
from market_data.warehouse.gaps import find_gaps, registered
from market_data.warehouse.holdings import asked_symbols

__all__ = ["expected_symbols", "lay_out", "report_sessions", "report_symbols", "require_known_span"]

_NEVER = date.min


def report_symbols(connection: duckdb.DuckDBPyConnection, start: date, end: date, universe: Universe) -> list[str]:
    """Symbols with a verdict in the span, and those of the universe that the store was to hold at all."""
    judged = connection.execute(
        "SELECT symbol, bool_or(date BETWEEN ? AND ?) FROM data_quality_log GROUP BY symbol", [start, end]
    ).fetchall()
    asked = [symbol for symbol in asked_symbols(connection) if symbol in universe]
    return sorted({*(symbol for symbol, is_within in judged if is_within or symbol in universe), *asked})


def lay_out(
    connection: duckdb.DuckDBPyConnection,
    universe: Universe,
    settings: Settings,
    *,
    symbols: Sequence[str],
    start: date,
    end: date,
    until: date | None,
) -> None:
    """Make the temporary table `report_pairs` of this connection: symbol, date, verdict, score, provider, is_held.

    One row for each verdict of the symbols in the span, and one, `unanswered` with score 0, for each session within the
    listing that is due and has none. `provider` is that of the stored bar, `is_held` whether there is one.

    Args:
        until: the last session that is due; None where none is.
    """
    chosen = Universe(universe[symbol] for symbol in symbols if symbol in universe)
    scope = pa.table({"symbol": pa.array(list(symbols), pa.string())})
    lacking = find_gaps(connection, chosen, settings, until=min(until, end) if until else _NEVER)
    with registered(connection, scope=scope, due=lacking.select(["symbol", "date"])):
        connection.execute(_PAIRS, {"start": start, "end": end})


_PAIRS = """
CREATE OR REPLACE TEMP TABLE report_pairs AS
WITH judged AS (
    SELECT symbol, date, verdict, score FROM data_quality_log SEMI JOIN scope USING (symbol)
    WHERE date BETWEEN $start AND $end
), expected AS (
    SELECT * FROM judged
    UNION ALL
    SELECT symbol, date, 'unanswered', 0 FROM due ANTI JOIN judged USING (symbol, date)
    WHERE date BETWEEN $start AND $end
)
SELECT e.*, b.source_provider AS provider, b.symbol IS NOT NULL AS is_held
FROM expected AS e LEFT JOIN price_history_daily AS b USING (symbol, date)
"""


def expected_symbols(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Symbols of `report_pairs`, ascending."""
    rows = connection.execute("SELECT DISTINCT symbol FROM report_pairs ORDER BY symbol").fetchall()
    return [row[0] for row in rows]


def require_known_span(connection: duckdb.DuckDBPyConnection, start: date, end: date) -> None:
    """Refuse a span that the store's calendar does not hold.

    Raises:
        SettingsError: it ends before it starts, or lies outside the sessions the store knows.
    """
    if start > end:
        raise SettingsError(f"start {start} is after end {end}; start must not be later")
    [(first, last)] = connection.execute("SELECT min(session), max(session) FROM sessions").fetchall()
    if first is None or not first <= start <= end <= last:
        raise SettingsError(f"{start} to {end} is outside the sessions the store knows, {first} to {last}")


def report_sessions(
    connection: duckdb.DuckDBPyConnection, start: date, end: date, *, until: date | None
) -> tuple[date, ...]:
    """Sessions of the span up to `until`, or up to the last one of `report_pairs`, if that is later."""
    rows = connection.execute(
        "SELECT session FROM sessions WHERE session BETWEEN $start AND $end "
        "AND session <= greatest($until::DATE, (SELECT max(date) FROM report_pairs)) ORDER BY session",
        {"start": start, "end": end, "until": until},
    ).fetchall()
    return tuple(row[0] for row in rows)
