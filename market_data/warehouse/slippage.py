"""Benchmarks of executions out of the canonical prices, and the table of what the executions cost beside them."""

from __future__ import annotations

from datetime import datetime

import duckdb
import pandas as pd
import pyarrow as pa

from market_data.warehouse.batch import RowCounts, naive_utc

__all__ = ["BENCHMARKS", "FIGURES", "SLIPPAGE_COLUMNS", "read_benchmarks", "write_slippage"]

BENCHMARKS = ("decision", "arrival", "previous_close", "close", "interval_vwap", "day_vwap")
"""What an execution is compared with; the first part of column names of `execution_slippage`."""

FIGURES = ("price", "bp", "dollars", "all_in_bp", "all_in_dollars")
"""What is told of each benchmark; the last part of column names."""

_OF_ORDER = ("order_id", "symbol", "session_date", "side", "quantity", "price", "notional", "fees", "fees_bp")
SLIPPAGE_COLUMNS = (
    *_OF_ORDER,
    *(f"{benchmark}_{figure}" for benchmark in BENCHMARKS for figure in FIGURES),
    *("arrival_minute", "interval_minutes", "day_vwap_kind", "benchmarks", "reason"),
)
"""Columns of `execution_slippage` but for `computed_at`."""

# A bar adjusted up to its own session is as traded: nothing can lie between.
_AS_TRADED = "(basis = 'raw' OR exchange_date(adjusted_as_of) <= {})"


def _split_factor(since: str) -> str:
    """New shares for an old one by the splits and spin-offs after a date, up to the session of the execution."""
    return (
        "(SELECT coalesce(product(value), 1) FROM corporate_actions AS a WHERE a.symbol = e.symbol "
        f"AND a.kind IN ('split', 'spinoff') AND a.date > {since} AND a.date <= e.session_date)"
    )


_BENCHMARKS = f"""
WITH orders AS (
    SELECT *, exchange_date(arrived_at) AS arrived_on, exchange_date(coalesce(decided_at, arrived_at)) AS decided_on
    FROM execution_feedback
),
days AS (
    SELECT symbol, date, basis, close, vwap, (high + low + close) / 3 AS typical,
        {_AS_TRADED.format("date")} AS as_traded
    FROM price_history_daily
),
asked AS (
    SELECT symbol, session_date FROM orders WHERE arrived_at IS NOT NULL
    UNION SELECT symbol, arrived_on FROM orders WHERE arrived_at IS NOT NULL
),
minutes AS (
    SELECT symbol, session_date, datetime, close, volume, coalesce(vwap, (high + low + close) / 3) AS traded_at,
        datetime + CASE right(interval, 1) WHEN 'h' THEN to_hours(CAST(left(interval, -1) AS INTEGER))
            ELSE to_minutes(CAST(left(interval, -1) AS INTEGER)) END AS ends_at
    FROM price_history_intraday SEMI JOIN asked USING (symbol, session_date)
    WHERE NOT provisional AND close IS NOT NULL AND {_AS_TRADED.format("session_date")}
),
intervals AS (
    SELECT e.order_id, count(*) AS bars, sum(m.volume) AS shares, sum(m.traded_at * m.volume) AS dollars
    FROM orders AS e JOIN minutes AS m ON m.symbol = e.symbol AND m.session_date = e.session_date
        AND m.ends_at > e.arrived_at
        AND m.datetime < greatest(e.executed_at, e.arrived_at + INTERVAL 1 MICROSECOND)
    WHERE e.arrived_on = e.session_date AND m.traded_at IS NOT NULL AND m.volume IS NOT NULL
    GROUP BY e.order_id
),
held AS (SELECT symbol, session_date, count(*) AS bars FROM minutes GROUP BY symbol, session_date)
SELECT
    e.order_id, e.symbol, e.session_date, e.side, e.quantity, e.price, e.fees,
    e.decision_price / {_split_factor("e.decided_on")} AS decision,
    e.decision_price IS NOT NULL AS decision_told, e.decided_on,
    EXISTS (
        SELECT 1 FROM corporate_actions AS a WHERE a.symbol = e.symbol AND a.kind IN ('split', 'spinoff')
        AND a.date = e.session_date
    ) AS split_on_session,
    e.arrived_on, coalesce(h.bars, 0) AS arrival_bars, m.datetime AS arrival_minute,
    m.close / {_split_factor("e.arrived_on")} AS arrival,
    before.session AS previous_session, b.basis AS previous_basis,
    CASE WHEN b.as_traded THEN b.close / {_split_factor("before.session")} END AS previous_close,
    d.basis AS day_basis, coalesce(d.as_traded, FALSE) AS day_as_traded,
    CASE WHEN d.as_traded THEN d.close END AS close,
    CASE WHEN d.as_traded THEN coalesce(d.vwap, d.typical) END AS day_vwap,
    CASE WHEN d.as_traded AND d.vwap IS NOT NULL THEN 'vwap'
        WHEN d.as_traded AND d.typical IS NOT NULL THEN 'typical' END AS day_vwap_kind,
    coalesce(i.bars, 0) AS interval_minutes, i.dollars / nullif(i.shares, 0) AS interval_vwap
FROM orders AS e
ASOF LEFT JOIN sessions AS before ON e.session_date > before.session
LEFT JOIN days AS b ON b.symbol = e.symbol AND b.date = before.session
LEFT JOIN days AS d ON d.symbol = e.symbol AND d.date = e.session_date
LEFT JOIN held AS h ON h.symbol = e.symbol AND h.session_date = e.arrived_on
ASOF LEFT JOIN minutes AS m
    ON m.symbol = e.symbol AND m.session_date = e.arrived_on AND e.arrived_at >= m.ends_at
LEFT JOIN intervals AS i ON i.order_id = e.order_id
ORDER BY e.order_id
"""

_CHANGED = "({}) IS DISTINCT FROM ({})".format(
    *(", ".join(f"{table}.{name}" for name in SLIPPAGE_COLUMNS[1:]) for table in ("held", "told"))
)
_MERGE = (
    "MERGE INTO execution_slippage AS held USING told ON held.order_id = told.order_id "
    f"WHEN MATCHED AND {_CHANGED} THEN UPDATE SET "
    + ", ".join(f"{name} = told.{name}" for name in (*SLIPPAGE_COLUMNS[1:], "computed_at"))
    + " WHEN NOT MATCHED THEN INSERT BY NAME"
)


def read_benchmarks(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Every execution with the prices it is compared with, and what tells why one of them is not known.

    Only final bars count, as traded. An arrival has the close of the last bar that was over by then, never of one that
    was still to end.

    Returns:
        One row an order, ascending. `decision`, `arrival`, `previous_close`, `close`, `interval_vwap` and `day_vwap`
        are dollars a share in shares of the execution: prices from before a split are divided by it.
    """
    return connection.execute(_BENCHMARKS).df()


def write_slippage(connection: duckdb.DuckDBPyConnection, slippage: pd.DataFrame, *, now: datetime) -> RowCounts:
    """Write the rows that are new or changed; call it inside `transaction`.

    Args:
        slippage: columns `SLIPPAGE_COLUMNS`, one row an order.
        now: what `computed_at` of a written row is (timezone-aware).
    """
    if not len(slippage):
        return RowCounts()
    told = pa.Table.from_pandas(slippage[list(SLIPPAGE_COLUMNS)], preserve_index=False)
    computed_at = pa.array([naive_utc(now)] * len(slippage), pa.timestamp("us"))
    connection.register("told", told.append_column("computed_at", computed_at))
    held = _count(connection, "SELECT count(*) FROM execution_slippage")
    written = _count(connection, _MERGE)
    connection.unregister("told")
    inserted = _count(connection, "SELECT count(*) FROM execution_slippage") - held
    return RowCounts(inserted, written - inserted, len(slippage) - written)


def _count(connection: duckdb.DuckDBPyConnection, statement: str) -> int:
    return int(connection.execute(statement).fetchall()[0][0])
