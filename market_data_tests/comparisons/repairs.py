"""Proposals on recorded histories: what is proposed for each file, against what is known to be wrong in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from market_data.records import Basis
from market_data.schemas import empty_actions
from market_data.validation.dividend_repairs import dividend_adjustments, dividend_units, misdated_dividends
from market_data.validation.frames import Bars, Floats, Found
from market_data.validation.repairs import moves, splits, unit_errors

__all__ = ["KNOWN", "main", "on_ascii", "on_export"]

Proposal = tuple[str, str, str, float]

KNOWN: dict[str, dict[str, list[tuple[str, float]]]] = {
    "AET-L-1d-100x-error": {"unit_error": [("2022-05-09", 0.1455)]},
    "SSW-JO-1d-100x-error": {"unit_error": [("2023-05-02", 40.37)]},
    "CNE-L-1d-bad-stock-split": {"missed_split": [("2023-05-09", 0.4714286)]},
    "1398-HK-1d-bad-div": {"dividend_adjustment": [("2024-07-08", 0.335715)]},
    "4063-T-1d-bad-div": {
        "dividend_adjustment": [("2023-03-30", 275.0)],
        "dividend_unit": [("2023-03-30", 55.0)],
    },
    "KEN-TA-1d-bad-div": {
        "dividend_adjustment": [("2024-04-08", 3.8)],
        "misdated_dividend": [("2022-01-18", 3.5)],
    },
    "JENYX-1d-cg-double-count": {
        "dividend_adjustment": [
            ("2021-12-15", 4.177),
            ("2022-12-15", 1.383),
            ("2023-12-14", 4.313),
            ("2024-11-13", 6.927),
            ("2025-11-13", 16.88),
        ]
    },
}
"""The first date and proposal of each error known of a file, by rule. Those of AET-L, SSW-JO, CNE-L and KEN-TA are what
yfinance's corrected copies hold (tests/data/*-fixed.csv of ranaroussi/yfinance); those of the others follow from the
file's own numbers. Files that are not named here are clean."""


def on_export(file: Path) -> list[Proposal]:
    """Proposals (date, rule, field, proposed) for an export of yfinance, prices adjusted for splits."""
    table = pd.read_csv(file).rename(columns={"Datetime": "Date"})
    table.insert(0, "date", pd.to_datetime(table["Date"].str[:10]).astype("datetime64[s]"))
    table = table.sort_values("date", ignore_index=True)
    bars = _bars(table)
    told = [_actions(table, "Stock Splits", "split"), _actions(table, "Dividends", "dividend")]
    actions = pd.concat([frame for frame in told if len(frame)]) if any(map(len, told)) else empty_actions()
    adjusted: Floats = table["Adj Close"].to_numpy(dtype=np.float64)
    return _listed([*_found(bars, actions, Basis.SPLIT), dividend_adjustments(bars, actions, adjusted)])


def on_ascii(file: Path) -> list[Proposal]:
    """Proposals for a file of Stooq's bulk layout, prices adjusted for splits and dividends."""
    table = pd.read_csv(file).rename(columns=lambda name: name.strip("<>").title()).rename(columns={"Vol": "Volume"})
    table.insert(0, "date", pd.to_datetime(table["Date"].astype(str)).astype("datetime64[s]"))
    return _listed(_found(_bars(table), empty_actions(), Basis.SPLIT_DIVIDEND))


def main(payloads: Path) -> int:
    """Print what is proposed for each recorded history; 0 when that is what is known of it."""
    folder = payloads / "history"
    files = sorted(folder.glob("yfinance_*-1d-*.csv")) + sorted(folder.glob("*_stooq-ascii_*.csv"))
    if not files:
        print(f"no histories in {folder}")
        return 1
    return max(_report(file, on_export if file.name.startswith("yfinance_") else on_ascii) for file in files)


def _report(file: Path, read: Callable[[Path], list[Proposal]]) -> int:
    name = file.stem.removeprefix("yfinance_")
    proposals = read(file)
    rules = sorted({rule for _, rule, _, _ in proposals})
    counts = ", ".join(f"{rule} {sum(item[1] == rule for item in proposals)}" for rule in rules) or "none"
    good = _agrees(proposals, KNOWN.get(name, {}))
    sessions = file.read_text(encoding="utf-8").count("\n") - 1
    print(f"{'PASS' if good else 'FAIL'} {name}: {sessions:,} sessions, proposals: {counts}")
    if proposals:
        day, rule, field, value = proposals[0]
        print(f"     first: {day} {rule} {field} {value:g}")
    return 0 if good else 1


def _agrees(proposals: list[Proposal], known: dict[str, list[tuple[str, float]]]) -> bool:
    """Whether just the known rules are found, with the known dates and values (of a unit error the first of them)."""
    if {rule for _, rule, _, _ in proposals} != set(known):
        return False
    for rule, expected in known.items():
        mine = [
            (day, value)
            for day, name, field, value in proposals
            if name == rule and (rule != "unit_error" or field == "open")
        ]
        mine = mine[:1] if rule == "unit_error" else mine
        if [day for day, _ in mine] != [day for day, _ in expected]:
            return False
        if not np.allclose([value for _, value in mine], [value for _, value in expected], rtol=1e-4):
            return False
    return True


def _found(bars: Bars, actions: pd.DataFrame, basis: Basis) -> list[Found]:
    found = moves(bars, actions, basis)
    return [unit_errors(found), *splits(found), misdated_dividends(found), dividend_units(found)]


def _listed(blocks: list[Found]) -> list[Proposal]:
    rows = [
        (str(day), block.rule, field, float(proposed))
        for block in blocks
        for day, field, proposed in zip(block.date.astype("datetime64[D]"), block.field, block.proposed, strict=True)
    ]
    return sorted(rows)


def _bars(table: pd.DataFrame) -> Bars:
    frame = table.rename(columns=str.lower)[["open", "high", "low", "close", "volume"]].astype(float)
    frame = frame.assign(vwap=np.nan, trade_count=np.nan)
    frame.insert(0, "date", table["date"])
    return Bars.of(frame)


def _actions(table: pd.DataFrame, column: str, kind: str) -> pd.DataFrame:
    there = table[table[column] > 0]
    return pd.DataFrame({"date": there["date"], "kind": kind, "value": there[column].astype(float)})
