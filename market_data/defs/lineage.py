"""Which columns of which assets each column is made from; raw_bars and what is reported from outside have no such."""

from __future__ import annotations

from market_data.defs.show import lineage
from market_data.schemas import BAR_FIELDS
from market_data.warehouse.slippage import BENCHMARKS, FIGURES

__all__ = ["DAILY_PRICES", "GAPS", "QUALITY_LOG", "SLIPPAGE"]

_PRICES = ("open", "high", "low", "close", "vwap")
_ACTIONS = ("corporate_actions.date", "corporate_actions.kind", "corporate_actions.value")

DAILY_PRICES = lineage(
    {"date": ["raw_bars.date"], "trade_count": ["raw_bars.trade_count"]}
    # What came adjusted is turned to raw by the actions known, volume as well.
    | {name: [f"raw_bars.{name}", *_ACTIONS] for name in (*_PRICES, "volume")}
)

_JUDGED = [f"daily_prices.{name}" for name in ("date", *BAR_FIELDS)]
QUALITY_LOG = lineage(
    {"symbol": ["daily_prices.symbol"], "date": ["daily_prices.date"]}
    | dict.fromkeys(("verdict", "score", "rules"), _JUDGED)
)

GAPS = lineage(
    {name: [f"quality_log.{name}"] for name in ("symbol", "date")}
    | {"kind": ["quality_log.verdict", "quality_log.score"], "reason": ["quality_log.rules"]}
)

_BENCHMARK = {
    "decision": ["execution_feedback.decision_price"],
    "arrival": ["execution_feedback.arrived_at", "intraday_prices.datetime", "intraday_prices.close"],
    "previous_close": ["daily_prices.close"],
    "close": ["daily_prices.close"],
    "interval_vwap": [
        *("execution_feedback.arrived_at", "execution_feedback.executed_at"),
        *(f"intraday_prices.{name}" for name in ("datetime", "high", "low", "close", "vwap", "volume")),
    ],
    "day_vwap": [f"daily_prices.{name}" for name in ("vwap", "high", "low", "close")],
}
_ORDER = ("order_id", "symbol", "session_date", "side", "quantity", "price", "fees")
_COST = [f"execution_feedback.{name}" for name in ("side", "quantity", "price")]

SLIPPAGE = lineage(
    {name: [f"execution_feedback.{name}"] for name in _ORDER}
    | {"notional": ["execution_feedback.quantity", "execution_feedback.price"]}
    | {"fees_bp": [f"execution_feedback.{name}" for name in ("fees", "quantity", "price")]}
    | {
        f"{benchmark}_{figure}": [
            *_BENCHMARK[benchmark],
            *([] if figure == "price" else _COST),
            *(["execution_feedback.fees"] if figure.startswith("all_in") else []),
        ]
        for benchmark in BENCHMARKS
        for figure in FIGURES
    }
    | {"arrival_minute": ["intraday_prices.datetime"], "interval_minutes": ["intraday_prices.datetime"]}
    | {"day_vwap_kind": ["daily_prices.vwap"]}
)
