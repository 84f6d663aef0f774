"""The columns of `execution_slippage` as the UI shows them: six benchmarks by five figures, and the order itself."""

from __future__ import annotations

import dagster as dg

from market_data.warehouse.slippage import BENCHMARKS, FIGURES, SLIPPAGE_COLUMNS

__all__ = ["slippage_schema"]

_BENCHMARKS = {
    "decision": "the price when the order was decided, splits since divided out",
    "arrival": "the close of the last minute before the order reached the market",
    "previous_close": "the close of the session before",
    "close": "the close of the session",
    "interval_vwap": "the volume-weighted price from arrival to execution",
    "day_vwap": "the volume-weighted price of the session",
}
_FIGURES = {
    "price": "Dollars a share: {}",
    "bp": "Cost in basis points of {}; above 0 is a cost",
    "dollars": "The same in dollars for the order, beside {}",
    "all_in_bp": "Cost with fees in basis points of {}",
    "all_in_dollars": "The same with fees in dollars, beside {}",
}
_OTHERS = {
    "order_id": ("str", "Key of the order"),
    "symbol": ("str", "Canonical symbol"),
    "session_date": ("date", "XNYS session of the execution"),
    "side": ("str", "buy or sell"),
    "quantity": ("float", "Shares executed"),
    "price": ("float", "Average price of the execution, dollars a share, as traded"),
    "notional": ("float", "Price times quantity, dollars"),
    "fees": ("float", "Dollars for the order; below 0 for a rebate"),
    "fees_bp": ("float", "Fees in basis points of the notional"),
    "arrival_minute": ("datetime", "Start (UTC) of the bar that arrival_price is of"),
    "interval_minutes": ("int", "Intraday bars that interval_vwap_price is of"),
    "day_vwap_kind": ("str", "vwap: as the provider sends it; typical: (high + low + close) / 3 for want of one"),
    "benchmarks": ("int", "How many of the six benchmarks are known"),
    "reason": ("str", "Why the others are not, by benchmark; empty where all are"),
}
_OF_BENCHMARKS = {
    f"{benchmark}_{figure}": ("float", _FIGURES[figure].format(_BENCHMARKS[benchmark]))
    for benchmark in BENCHMARKS
    for figure in FIGURES
}


def slippage_schema() -> dg.TableSchema:
    """Every column with its type and meaning, in the order of the table."""
    columns = _OTHERS | _OF_BENCHMARKS
    return dg.TableSchema(
        [dg.TableColumn(name, columns[name][0], description=columns[name][1]) for name in SLIPPAGE_COLUMNS]
    )
