"""A picture of one series in its three bases, with its splits and dividends marked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import pandas as pd

mpl.use("Agg")
from matplotlib import pyplot as plt

__all__ = ["Series", "draw"]

# Okabe and Ito's colours, which stay apart for the colour-blind.
_STYLES = {
    "raw": ("#D55E00", "-", 2.2, "raw, as traded"),
    "split": ("#0072B2", "--", 1.8, "split-adjusted"),
    "total_return": ("#009E73", "-", 1.4, "total return"),
}
_MARKED = {"split": "#000000", "spinoff": "#CC79A7", "dividend": "#999999"}


@dataclass(frozen=True, slots=True)
class Series:
    """Closes of a symbol by session, a column for each basis, and its corporate actions (date, kind, value)."""

    symbol: str
    closes: pd.DataFrame
    actions: pd.DataFrame
    synthetic: bool


def draw(series: Series, file: Path) -> None:
    """Write the picture as PNG or SVG, by the file's suffix."""
    figure, axes = plt.subplots(figsize=(10, 5), layout="constrained")
    for basis, (colour, line, width, label) in _STYLES.items():
        axes.plot(series.closes.index, series.closes[basis], line, color=colour, linewidth=width, label=label)
    actions = series.actions
    for day, kind, value in zip(actions["date"], actions["kind"], actions["value"], strict=True):
        width = 0.7 if kind == "dividend" else 1.4
        axes.axvline(day, color=_MARKED[kind], linewidth=width, linestyle=":")
        if kind != "dividend":
            text = f" {kind} {value:g} : 1, {day:%Y-%m-%d}"
            axes.annotate(text, (day, 0.985), xycoords=("data", "axes fraction"), va="top", fontsize=9)
    axes.set_ylabel("dollars a share")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.legend(loc="best", frameon=False)
    note = " - SYNTHETIC data" if series.synthetic else ""
    axes.set_title(f"{series.symbol}: closes in three bases; dotted: splits (black), dividends (grey){note}")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)
    plt.close(figure)
