"""The plot of `docs/selection.md`: what each policy fetched, and whom the bandit asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from market_data_tests.simulation.run import Result
from market_data_tests.simulation.scenario import PROVIDERS, Scenario

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import PercentFormatter

__all__ = ["draw"]

# Okabe and Ito's colours, which stay apart for the colour-blind.
LINES = {
    "bandit": ("#0072B2", "-", 2.6),
    "fixed, plenty first": ("#E69F00", "--", 1.6),
    "round-robin": ("#009E73", "-.", 1.6),
    "epsilon-greedy": ("#CC79A7", (0, (1, 1)), 2.0),
    "fixed priority": ("#555555", "-", 1.6),
}
AREAS = {"polygon": "#D55E00", "alpha_vantage": "#F0E442", "stooq": "#56B4E9", "yahoo": "#BBBBBB"}


def draw(results: Sequence[Result], scenario: Scenario, file: Path) -> None:
    """Draw the runs of one scenario into a PNG."""
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(9, 7.2), sharex=True, height_ratios=[3, 2], layout="constrained"
    )
    _shares(above, results, scenario)
    _calls(below, [result for result in results if result.policy == "bandit"], scenario)
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlim(0, scenario.days)
    file.parent.mkdir(parents=True, exist_ok=True)
    # Without the version of the library in it, the same run gives the same bytes.
    figure.savefig(file, dpi=130, metadata={"Software": None})
    plt.close(figure)


def _shares(axes: Any, results: Sequence[Result], scenario: Scenario) -> None:
    days = np.arange(1, scenario.days + 1)
    ends: list[tuple[float, str]] = []
    for policy, (colour, style, width) in LINES.items():
        runs = [result for result in results if result.policy == policy]
        if runs:
            share = np.mean([np.cumsum(run.accepted) / np.cumsum(run.due) for run in runs], axis=0)
            axes.plot(days, share, color=colour, linestyle=style, linewidth=width)
            ends.append((float(share[-1]), policy))
    low = axes.get_ylim()[0]
    top = 1 + 0.16 * (1 - low)
    axes.set_ylim(low, top)
    _label_ends(axes, ends, gap=(top - low) / 16)
    for first, after, name in _spells(scenario):
        axes.axvspan(first, after, color="#000000", alpha=0.07, linewidth=0)
        place, side = (after - 0.5, "right") if after - first > 10 else ((first + after) / 2, "center")
        axes.text(place, top, name, ha=side, va="top", fontsize=8.5, color="#444444")
    for day, count in scenario.backfills.items():
        axes.text(day + 0.5, low, f"+{count}", ha="center", va="bottom", fontsize=8.5, color="#444444")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_yticks([tick for tick in axes.get_yticks() if tick <= 1])
    axes.set_title("Due symbol-windows accepted up to the day (the axis does not begin at 0)", loc="left", fontsize=11)
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.7)


def _label_ends(axes: Any, ends: list[tuple[float, str]], *, gap: float) -> None:
    """Names at the ends of the lines, moved apart where they would overlap."""
    above = float("inf")
    for share, policy in sorted(ends, reverse=True):
        above = min(share, above - gap)
        colour, _, width = LINES[policy]
        weight = "bold" if width > 2.5 else "normal"
        axes.annotate(
            f"{policy} {share:.1%}", (1, above), (6, 0), xycoords=("axes fraction", "data"), va="center",
            textcoords="offset points", color=colour, fontsize=9.5, fontweight=weight, annotation_clip=False,
        )  # fmt: skip


def _calls(axes: Any, runs: Sequence[Result], scenario: Scenario) -> None:
    calls = np.array([[run.calls[name] for name in PROVIDERS] for run in runs]).mean(axis=0)
    shares = calls / calls.sum(axis=0)
    left = np.zeros(scenario.days)
    for name, share in zip(PROVIDERS, shares, strict=True):
        axes.bar(np.arange(scenario.days) + 0.5, share, 1.0, bottom=left, color=AREAS[name], label=name)
        left += share
    for first, after, _ in _spells(scenario):
        for day in (first, after):
            axes.axvline(day, color="#000000", linewidth=0.8, linestyle=":")
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_title(
        "Calls the bandit sent that day, by vendor (dotted: the spans shaded above)", loc="left", fontsize=11
    )
    axes.set_xlabel("day")
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9.5)


def _spells(scenario: Scenario) -> list[tuple[int, int, str]]:
    """First day, first day after, and name of each bad spell."""
    spells = []
    for name, behaviour in scenario.behaviours.items():
        spells += [(first, after, f"{name}\nis down") for first, after in behaviour.outages]
        if behaviour.degradation is not None:
            start, days = behaviour.degradation.start, behaviour.degradation.days
            spells.append((start, start + days, f"{name}\ndegrades"))
    return spells
