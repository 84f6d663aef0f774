"""What executions cost beside benchmarks: implementation shortfall, and slippage to arrival, closes and averages.

Above 0 is a cost: a buy above the benchmark, a sale below it. Only what was executed is measured; what an order did
not get done, its opportunity cost, is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd

from market_data.clock import Clock, utc_now
from market_data.settings import Settings
from market_data.warehouse.batch import RowCounts
from market_data.warehouse.connection import Database
from market_data.warehouse.slippage import BENCHMARKS, SLIPPAGE_COLUMNS, read_benchmarks, write_slippage
from market_data.warehouse.store import transaction

__all__ = [
    "Slippage",
    "by_session",
    "measured",
    "refresh_slippage",
    "slippage_bp",
    "slippage_dollars",
    "summary",
    "update_slippage",
]

Floats = npt.NDArray[np.float64]

BASIS_POINTS = 1e4
_DIGITS = 6


def slippage_bp(sign: Floats, price: Floats, benchmark: Floats) -> Floats:
    """`sign * (price - benchmark) / benchmark`, in basis points.

    With the decision price as benchmark this is the execution cost of Perold's implementation shortfall (A. F. Perold,
    "The Implementation Shortfall: Paper versus Reality", Journal of Portfolio Management 14(3), 1988); with the others
    the trading cost of R. Kissell, "The Science of Algorithmic Trading and Portfolio Management", 2013, chapter 3.

    Args:
        sign: 1 for a buy, -1 for a sale; shape (n,), as the others.
        price, benchmark: dollars a share; NaN where not known.
    """
    return np.asarray(sign * (price - benchmark) / benchmark * BASIS_POINTS, dtype=np.float64)


def slippage_dollars(sign: Floats, price: Floats, benchmark: Floats, quantity: Floats) -> Floats:
    """`sign * (price - benchmark) * quantity`, dollars for the order; sources as `slippage_bp`."""
    return np.asarray(sign * (price - benchmark) * quantity, dtype=np.float64)


def measured(benchmarks: pd.DataFrame) -> pd.DataFrame:
    """What each execution cost beside each benchmark that is known.

    All-in figures have the fees in them: `dollars + fees`, and that in basis points of benchmark times quantity
    (Kissell's total cost with explicit costs).

    Args:
        benchmarks: a frame of `read_benchmarks`.

    Returns:
        The columns `SLIPPAGE_COLUMNS`, one row an order.
    """
    table = benchmarks[["order_id", "symbol", "session_date", "side", "quantity", "price", "fees"]].copy()
    sign = np.where(benchmarks["side"] == "buy", 1.0, -1.0)
    price, quantity, fees = (_numbers(benchmarks[name]) for name in ("price", "quantity", "fees"))
    table["notional"] = _rounded(price * quantity)
    table["fees_bp"] = _rounded(fees / (price * quantity) * BASIS_POINTS)
    known = np.zeros(len(table), dtype=np.int64)
    for name in BENCHMARKS:
        benchmark = np.where(_refused(benchmarks, name), np.nan, _rounded(_numbers(benchmarks[name])))
        dollars = slippage_dollars(sign, price, benchmark, quantity)
        table[f"{name}_price"] = benchmark
        table[f"{name}_bp"] = _rounded(slippage_bp(sign, price, benchmark))
        table[f"{name}_dollars"] = _rounded(dollars)
        table[f"{name}_all_in_bp"] = _rounded((dollars + fees) / (benchmark * quantity) * BASIS_POINTS)
        table[f"{name}_all_in_dollars"] = _rounded(dollars + fees)
        known += ~np.isnan(benchmark)
    for name in ("arrival_minute", "interval_minutes", "day_vwap_kind"):
        table[name] = benchmarks[name]
    table["benchmarks"] = known
    table["reason"] = [_reason(row) for row in benchmarks.itertuples(index=False)]
    return table[list(SLIPPAGE_COLUMNS)]


def _numbers(column: pd.Series) -> Floats:
    return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))


def _rounded(values: Floats) -> Floats:
    """Far beyond what prices are worth, so that the order of a sum is no change."""
    return np.asarray(np.round(values, _DIGITS))


def _refused(benchmarks: pd.DataFrame, name: str) -> npt.NDArray[np.bool_]:
    """Where a benchmark cannot be used though there is a number."""
    if name != "decision":
        return np.zeros(len(benchmarks), dtype=bool)
    return np.asarray(benchmarks["decided_on"].isna() & benchmarks["split_on_session"], dtype=bool)


def _reason(row: Any) -> str:
    """Why benchmarks of an order are not known, each with its name."""
    why = {
        "decision": _no_decision(row),
        "arrival": _no_arrival(row),
        "previous_close": _no_bar(row.previous_close, row.previous_basis, row.previous_session),
        "close": _no_bar(row.close, row.day_basis, row.session_date),
        "interval_vwap": _no_interval(row),
        "day_vwap": _no_bar(row.day_vwap, row.day_basis, row.session_date),
    }
    return "; ".join(f"{name}: {reason}" for name, reason in why.items() if reason)


def _no_decision(row: Any) -> str:
    if not row.decision_told:
        return "decision_price is not told"
    if pd.isna(row.decided_on) and row.split_on_session:
        return f"a split on {_day(row.session_date)} lies before or after it; tell decided_at"
    return ""


def _no_arrival(row: Any) -> str:
    if pd.isna(row.arrived_on):
        return "arrived_at is not told"
    if not row.arrival_bars:
        return f"no final minutes of {_day(row.arrived_on)} are held"
    return "no final minute was over when it arrived" if pd.isna(row.arrival) else ""


def _no_interval(row: Any) -> str:
    if pd.isna(row.arrived_on):
        return "arrived_at is not told"
    if row.arrived_on != row.session_date:
        return f"it arrived on {_day(row.arrived_on)}, not on the session of the execution"
    if not row.interval_minutes:
        return "no final minutes from arrival to execution are held"
    return "the minutes from arrival to execution have no volume" if pd.isna(row.interval_vwap) else ""


def _no_bar(value: float, basis: Any, day: Any) -> str:
    if not pd.isna(value):
        return ""
    if pd.isna(basis):
        return f"session {_day(day)} is not stored"
    return f"the bar of {_day(day)} has no such price" if basis == "raw" else f"the bar of {_day(day)} is not raw"


def _day(value: Any) -> str:
    return f"{value:%Y-%m-%d}"


@dataclass(frozen=True, slots=True)
class Slippage:
    """What a refresh came to: rows written, and the means over all orders weighted by notional.

    Attributes:
        rows: rows of the table by what became of them.
        orders: number of orders.
        without: orders without any benchmark of the stored prices.
        means: by benchmark, basis points without fees; those of benchmarks nobody has are left out.
        notional: dollars executed.
        fees_bp: fees in basis points of the notional of the orders whose fees are told; None where none are.
    """

    rows: RowCounts
    orders: int
    without: int
    means: dict[str, float]
    notional: float
    fees_bp: float | None


def update_slippage(settings: Settings, *, synthetic: bool, clock: Clock = utc_now) -> Slippage:
    """Measure every order of a store anew, and write what changed.

    Raises:
        WarehouseError: there is no database, or it cannot be used.
    """
    database = Database(settings.database_for(synthetic=synthetic), patience=settings.lock_patience)
    if database.exists():
        database.prepare()
    with database.writing() as connection, transaction(connection):
        return refresh_slippage(connection, now=clock())


def refresh_slippage(connection: duckdb.DuckDBPyConnection, *, now: datetime) -> Slippage:
    """As `update_slippage`, over an open connection and inside `transaction`."""
    table = measured(read_benchmarks(connection))
    rows = write_slippage(connection, table, now=now)
    return summary(table, rows)


def summary(table: pd.DataFrame, rows: RowCounts) -> Slippage:
    """What a table of slippage comes to as a whole."""
    weights = _numbers(table["notional"])
    means = {name: _mean(_numbers(table[f"{name}_bp"]), weights) for name in BENCHMARKS}
    return Slippage(
        rows,
        len(table),
        int((table["benchmarks"] - table["decision_price"].notna() == 0).sum()),
        {name: mean for name, mean in means.items() if mean is not None},
        float(weights.sum()),
        _mean(_numbers(table["fees_bp"]), weights),
    )


def _mean(values: Floats, weights: Floats) -> float | None:
    known = ~np.isnan(values)
    return float(np.average(values[known], weights=weights[known])) if known.any() else None


def by_session(connection: duckdb.DuckDBPyConnection, *, last: int = 20) -> Iterable[dict[str, Any]]:
    """Orders, dollars and notional-weighted means of the last sessions with an execution, newest first."""
    weighted = ", ".join(
        f"round(sum({name}_bp * notional) / sum(notional) FILTER ({name}_bp IS NOT NULL), 2) AS {name}_bp"
        for name in BENCHMARKS
    )
    rows = connection.execute(
        f"SELECT session_date::VARCHAR AS session, count(*) AS orders, round(sum(notional), 2) AS notional, {weighted} "
        "FROM execution_slippage GROUP BY session_date ORDER BY session_date DESC LIMIT ?",
        [last],
    )
    names = [column[0] for column in rows.description or []]
    return [dict(zip(names, row, strict=True)) for row in rows.fetchall()]
