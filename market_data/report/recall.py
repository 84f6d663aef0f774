"""How well validation finds faults whose places are known: planted against found, rule by rule."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import duckdb
import pandas as pd

__all__ = ["Recall", "compare", "read_findings", "read_providers", "shown_by"]

_BESIDE = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Recall:
    """Planted faults against findings.

    Attributes:
        by_rule: rule, planted, found, recall, extra (findings nothing was planted for), beside (those of the extra
            that lie within a week of a fault planted in the same symbol, and so follow from it), alarms (the rest).
        missed: the planted faults that were not found.
        alarms: the findings that nothing planted explains.
    """

    by_rule: pd.DataFrame
    missed: pd.DataFrame
    alarms: pd.DataFrame

    @property
    def value(self) -> float:
        """Share of planted faults that were found; 1 when none was planted."""
        planted = int(self.by_rule["planted"].sum())
        return float(self.by_rule["found"].sum() / planted) if planted else 1.0


def read_findings(connection: duckdb.DuckDBPyConnection, symbols: Iterable[str]) -> pd.DataFrame:
    """Findings of the symbols: symbol, date (None for a whole batch), rule, severity, message."""
    return connection.execute(
        "SELECT DISTINCT symbol, date, rule, severity, message FROM quality_findings "
        "WHERE symbol IN (SELECT unnest(?)) ORDER BY symbol, date, rule",
        [list(symbols)],
    ).df()


def read_providers(connection: duckdb.DuckDBPyConnection) -> dict[str, set[str]]:
    """The providers whose answers each symbol was judged by."""
    rows = connection.execute(
        "SELECT symbol, list(DISTINCT provider) FROM coverage "
        "WHERE verdict IS NOT NULL AND feed = 'bars' GROUP BY symbol"
    ).fetchall()
    return {symbol: set(providers) for symbol, providers in rows}


def shown_by(planted: Iterable[Mapping[str, Any]], providers: Mapping[str, Collection[str]]) -> list[Mapping[str, Any]]:
    """The planted faults that the answers of a symbol's providers can show: not every wire format can say every one.

    Args:
        planted: each with `vendors`, those that show it.
        providers: by symbol, who answered for it.
    """
    return [fault for fault in planted if set(fault["vendors"]) & set(providers.get(fault["symbol"], ()))]


def compare(planted: Iterable[Mapping[str, Any]], findings: pd.DataFrame) -> Recall:
    """Match planted faults (symbol, ISO date or None, rule) with findings by symbol, date and rule."""
    faults = pd.DataFrame(
        [(fault["symbol"], _day(fault["date"]), fault["rule"]) for fault in planted],
        columns=["symbol", "date", "rule"],
    ).drop_duplicates()
    found = findings.copy()
    found["date"] = pd.Series([_day(value) for value in findings["date"]], index=findings.index, dtype=object)
    due = set(faults.itertuples(index=False, name=None))
    seen = set(found[["symbol", "date", "rule"]].itertuples(index=False, name=None))
    faults["found"] = pd.Series(
        [key in seen for key in faults.itertuples(index=False, name=None)], index=faults.index, dtype=bool
    )
    keys = found[["symbol", "date", "rule"]].itertuples(index=False, name=None)
    extra = found.loc[pd.Series([key not in due for key in keys], index=found.index, dtype=bool)]
    beside = _beside(extra, faults)
    return Recall(_by_rule(faults, extra, beside), faults[~faults["found"]].drop(columns="found"), extra[~beside])


def _by_rule(faults: pd.DataFrame, extra: pd.DataFrame, beside: pd.Series) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "planted": faults.groupby("rule").size(),
            "found": faults.groupby("rule")["found"].sum(),
            "extra": extra.groupby("rule").size(),
            "beside": extra[beside].groupby("rule").size(),
        }
    )
    table = table.fillna(0).astype(int)
    table["alarms"] = table["extra"] - table["beside"]
    table.insert(2, "recall", (table["found"] / table["planted"]).where(table["planted"] > 0))
    return table.rename_axis("rule").reset_index()


def _beside(extra: pd.DataFrame, faults: pd.DataFrame) -> pd.Series:
    days: dict[str, list[date | None]] = {}
    for symbol, day in zip(faults["symbol"], faults["date"], strict=True):
        days.setdefault(symbol, []).append(day)

    def near(symbol: str, day: date | None) -> bool:
        return any(day is None or planted is None or abs(planted - day) <= _BESIDE for planted in days.get(symbol, []))

    return pd.Series(
        [near(symbol, day) for symbol, day in zip(extra["symbol"], extra["date"], strict=True)],
        index=extra.index,
        dtype=bool,
    )


def _day(value: Any) -> date | None:
    if value is None or value is pd.NaT:
        return None
    return date.fromisoformat(value) if isinstance(value, str) else pd.Timestamp(value).date()
