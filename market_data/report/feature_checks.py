"""Checks of the stored features: whether they are of the prices as they stand, and whether their values can be."""

from __future__ import annotations

from datetime import date

import duckdb
import pandas as pd

from market_data.features.catalogue import FEATURES
from market_data.features.lineage import read_standing
from market_data.report.checks import Check, CheckResult
from market_data.settings import Settings

__all__ = ["FEATURE_CHECKS", "RANGES", "from_canonical", "within_ranges"]

_SHOWN = 20

_EVER = float("inf")
_FROM_ZERO = ("volatility_", "atr_", "dollar_", "amihud_")

RANGES: dict[str, tuple[float, float]] = {
    **{one.name: (-1.0, _EVER) for one in FEATURES if one.unit == "simple return" and not one.base},
    **{one.name: (0.0, _EVER) for one in FEATURES if one.name.startswith(_FROM_ZERO) and not one.base},
    **{one.name: (0.0, 1.0) for one in FEATURES if one.unit == "rank 0 to 1"},
    "rsi_14": (0.0, 100.0),
    "drawdown_252": (-1.0, 0.0),
}
"""What values of a feature may be, both ends included; the others may be any finite number."""


def from_canonical(connection: duckdb.DuckDBPyConnection, start: date, end: date, settings: Settings) -> CheckResult:
    """Whether the features of the span were made from the canonical bars and actions as they stand now.

    Stale sessions after the span are told as well: what changed in the span reaches them.
    """
    standing = read_standing(connection)
    own = standing.within(start, end)
    later = {day: why for day, why in standing.stale.items() if day > end}
    rows = [
        *({"session": day, "state": "stale", "why": why} for day, why in own.stale.items()),
        *({"session": day, "state": "foreign", "why": why} for day, why in own.gone.items()),
        *({"session": day, "state": "absent", "why": "never made"} for day in own.absent),
        *({"session": day, "state": "stale, after the span", "why": why} for day, why in later.items()),
    ]
    told = f"{len(own.hashes):,} sessions looked at, {len(own.stale)} stale, {len(own.gone)} foreign"
    told += f", {len(own.absent)} absent, {len(later)} stale after the span"
    return CheckResult(not rows, len(rows), _frame(rows, ("session", "state", "why")), float(len(rows)), told)


def within_ranges(connection: duckdb.DuckDBPyConnection, start: date, end: date, settings: Settings) -> CheckResult:
    """Whether every value of the span is finite and within what its feature can be."""
    wrong_ones = {
        one.name: "NOT (isfinite({0}) AND {0} BETWEEN {1} AND {2})".format(one.name, *_bounds(one.name))
        for one in FEATURES
    }
    aggregates = ", ".join(
        f"count(*) FILTER ({wrong}), arg_min(symbol || ' ' || date, date) FILTER ({wrong})"
        for wrong in wrong_ones.values()
    )
    [(measured, *found)] = connection.execute(
        f"SELECT count(*), {aggregates} FROM features_daily WHERE date BETWEEN ? AND ?", [start, end]
    ).fetchall()
    rows = [
        {"feature": name, "rows": found[2 * place], "first": found[2 * place + 1]}
        for place, name in enumerate(wrong_ones)
        if found[2 * place]
    ]
    wrong = sum(row["rows"] for row in rows)
    told = f"{measured:,} rows looked at, {wrong:,} values out of range"
    return CheckResult(not rows, wrong, _frame(rows, ("feature", "rows", "first")), float(wrong), told)


FEATURE_CHECKS = (
    Check(
        "features_from_canonical",
        "The features are of the canonical bars and actions as they stand now, and of nothing else.",
        False,
        from_canonical,
    ),
    Check(
        "features_schema",
        "Every value is finite and one that its feature can have: ranks 0 to 1, rsi_14 0 to 100.",
        False,
        within_ranges,
    ),
)
"""The checks on `features_daily`."""


def _bounds(name: str) -> tuple[str, str]:
    low, high = RANGES.get(name, (-_EVER, _EVER))
    return f"'{low}'::DOUBLE", f"'{high}'::DOUBLE"


def _frame(rows: list[dict[str, object]], names: tuple[str, ...]) -> pd.DataFrame:
    return pd.DataFrame(rows[:_SHOWN], columns=list(names))
