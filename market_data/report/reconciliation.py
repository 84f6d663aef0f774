"""What comparisons of vendors found in a span of sessions, as a check and by pair of providers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import duckdb
import pandas as pd

from market_data.report.checks import CheckResult
from market_data.settings import Settings
from market_data.validation.reconcile import COMPARED, DIFFERING

__all__ = ["PairCounts", "differing_rows", "odd_counts", "pair_counts", "reconciliation"]

SHOWN = 20


@dataclass(frozen=True, slots=True)
class PairCounts:
    """Sessions of two providers by verdict, and the largest price difference relative to the stored price."""

    provider: str
    other_provider: str
    compared: int
    agree: int
    price_differs: int
    volume_differs: int
    one_missing: int
    not_comparable: int
    largest: float

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def pair_counts(rows: pd.DataFrame) -> list[PairCounts]:
    """Counts of each pair, by name.

    Args:
        rows: provider, other_provider, verdict, field, value, other_value, as in `reconciliations`.
    """
    pairs = []
    for (provider, other), part in rows.groupby(["provider", "other_provider"]):
        counts = part["verdict"].value_counts()
        differing = part[part["verdict"] == "price_differs"]
        largest = _relative(differing).max() if len(differing) else 0.0
        found = {name: int(counts.get(name, 0)) for name in (*COMPARED, "one_missing", "not_comparable")}
        both = sum(found[name] for name in COMPARED)
        pairs.append(PairCounts(str(provider), str(other), compared=both, **found, largest=float(largest)))
    return pairs


def odd_counts(rows: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """By provider: sessions in which it met two or more others, and those of them in which it stood alone.

    Args:
        rows: as for `pair_counts`, with symbol, date and odd_one.
    """
    both = rows[rows["verdict"].isin(COMPARED)]
    sessions = both.groupby(["symbol", "date", "provider"])
    found: dict[str, tuple[int, int]] = {}
    for (_, _, provider), part in sessions:
        if len(part) < 2:
            continue
        odd = part["odd_one"].iloc[0]
        for name in (str(provider), *part["other_provider"]):
            met, alone = found.get(name, (0, 0))
            found[name] = (met + 1, alone + (odd == name))
    return dict(sorted(found.items()))


def differing_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that differ, the largest relative differences first; a missing bar before all others."""
    differing = rows[rows["verdict"].isin(DIFFERING)]
    size = _relative(differing).fillna(float("inf"))
    order = size.sort_values(ascending=False, kind="stable").index
    return differing.loc[order].reset_index(drop=True)


def reconciliation(connection: duckdb.DuckDBPyConnection, start: date, end: date, settings: Settings) -> CheckResult:
    """No compared session differs between providers; the share that does is measured."""
    rows = connection.execute(
        "SELECT symbol, date, provider, other_provider, verdict, field, value, other_value, tolerance, odd_one "
        "FROM reconciliations WHERE date BETWEEN ? AND ? ORDER BY symbol, date, provider, other_provider",
        [start, end],
    ).df()
    compared = rows["verdict"] != "not_comparable"
    if not compared.any():
        return CheckResult(True, 0, rows.head(0), 0.0, f"nothing compared{_not_comparable(rows)}")
    differing = differing_rows(rows)
    share = len(differing) / int(compared.sum())
    text = "; ".join([*map(_pair_text, pair_counts(rows)), *_odd_texts(rows)])
    return CheckResult(not len(differing), len(differing), differing.head(SHOWN), share, text)


def _relative(rows: pd.DataFrame) -> pd.Series:
    """|value - other_value| as a share of the value; NaN where one is missing."""
    return (rows["value"] - rows["other_value"]).abs() / rows["value"].abs()


def _not_comparable(rows: pd.DataFrame) -> str:
    return f"; {len(rows):,} sessions are not comparable, as actions are not known" if len(rows) else ""


def _pair_text(pair: PairCounts) -> str:
    told = f"{pair.provider} and {pair.other_provider}: {pair.agree:,} of {pair.compared:,} sessions agree"
    if pair.price_differs:
        told += f", {pair.price_differs:,} differ in price (by {pair.largest:.3%} at most)"
    if pair.volume_differs:
        told += f", {pair.volume_differs:,} in volume"
    if pair.one_missing:
        told += f", {pair.one_missing:,} are missing from one"
    return told + (f", {pair.not_comparable:,} are not comparable" if pair.not_comparable else "")


def _odd_texts(rows: pd.DataFrame) -> list[str]:
    return [
        f"{name} stands alone in {alone:,} of {met:,} ({alone / met:.1%})"
        for name, (met, alone) in odd_counts(rows).items()
        if alone
    ]
