"""A picture of how the providers do: a row a provider, by UTC date; days on which nothing was asked are gaps."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from PIL import Image

from market_data.report.health import OUTCOMES, Health

__all__ = ["draw", "health_figure", "png"]

# Okabe and Ito's colours, which stay apart for the colour-blind.
_STYLES = {
    "accepted": ("#0072B2", "daily bars accepted"),
    "other": ("#009E73", "actions, comparisons"),
    "minutes": ("#56B4E9", "intraday, a symbol and poll"),
    "no_data": ("#BBBBBB", "no data"),
    "not_served": ("#F0E442", "beyond reach or quota"),
    "rejected": ("#E69F00", "rejected"),
    "failed": ("#D55E00", "failed"),
}
_INK = "#333333"
_LATENCIES = {"latency_p95_ms": ("#CC79A7", "95th percentile"), "latency_p50_ms": ("#0072B2", "median")}
_TITLES = ("requests a day, by outcome", "accepted share", "latency, milliseconds", "quota left")
_DPI = 80
_YEAR = 300


def health_figure(health: Health) -> Figure:
    """Requests by outcome, accepted share, latency and quota left of each provider, by UTC date."""
    providers = [item.provider for item in health.providers]
    rows = max(1, len(providers))
    figure = Figure(figsize=(12, 1.2 + 1.65 * rows), layout="constrained")
    note = " - SYNTHETIC vendors of the sandbox" if health.synthetic else ""
    figure.suptitle(f"Providers, {health.first} to {health.last} (UTC dates){note}", fontsize=12, color=_INK)
    if not providers:
        figure.text(0.5, 0.5, "no provider was asked", ha="center", va="center", color=_INK)
        return figure
    grid = figure.subplots(rows, len(_TITLES), sharex=True, squeeze=False, width_ratios=(1.25, 1, 1, 1))
    days = pd.DatetimeIndex(pd.date_range(health.first, health.last, freq="D"), dtype="datetime64[s]")
    panels: tuple[Callable[[Axes, pd.DataFrame], None], ...] = (_requests, _accepted, _latency, _quota)
    for row, provider in zip(grid, providers, strict=True):
        told = health.days[health.days["provider"] == provider].set_index("date").reindex(days)
        for axes, panel in zip(row, panels, strict=True):
            panel(axes, told)
            _dress(axes, days)
        row[0].set_ylabel(provider, fontsize=11, fontweight="bold", color=_INK)
    for axes, title in zip(grid[0], _TITLES, strict=True):
        axes.set_title(title, fontsize=10, color=_INK)
    _share_latencies(list(grid[:, 2]))
    grid[0, 2].legend(loc="upper left", ncols=2, frameon=False, fontsize=8, handlelength=1.2)
    _legend(figure, health)
    return figure


def _requests(axes: Axes, days: pd.DataFrame) -> None:
    place, below = np.arange(len(days)), np.zeros(len(days))
    left, right = place - 0.42, place + 0.42
    for name in OUTCOMES:
        above = below + days[name].fillna(0.0).to_numpy()
        corners = np.array([[left, below], [left, above], [right, above], [right, below]]).transpose(2, 0, 1)
        axes.add_collection(PolyCollection(corners[above > below], facecolors=_STYLES[name][0], linewidths=0))
        below = above
    axes.set_ylim(0, max(1.0, 1.08 * float(below.max())))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))


def _accepted(axes: Axes, days: pd.DataFrame) -> None:
    _line(axes, 100 * days["accepted_share"], "#0072B2")
    _in_percent(axes)


def _latency(axes: Axes, days: pd.DataFrame) -> None:
    for name, (colour, label) in _LATENCIES.items():
        _line(axes, days[name], colour, label)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.yaxis.set_minor_locator(NullLocator())


def _quota(axes: Axes, days: pd.DataFrame) -> None:
    noted = days.dropna(subset=["quota_limit"])
    if noted.empty:
        axes.text(0.5, 0.5, "none noted", transform=axes.transAxes, ha="center", va="center", color="#777777")
    else:
        _line(axes, 100 * days["quota_left"] / days["quota_limit"], "#009E73")
        last = noted.iloc[-1]
        text = f"{last['quota_left']:,.0f} of {last['quota_limit']:,.0f} calls"
        height = 0.08 if last["quota_left"] > last["quota_limit"] / 2 else 0.78  # away from the line's end
        box = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1.5}
        axes.text(0.97, height, text, transform=axes.transAxes, fontsize=8, color=_INK, ha="right", bbox=box)
    _in_percent(axes)


def _line(axes: Axes, values: pd.Series[float], colour: str, label: str = "") -> None:
    """A line with a mark for each day, so that a day between two gaps is seen as well."""
    axes.plot(np.arange(len(values)), values, color=colour, linewidth=1.3, marker="o", markersize=2.6, label=label)


def _in_percent(axes: Axes) -> None:
    axes.set_ylim(-4, 108)
    axes.set_yticks([0, 50, 100], labels=["0 %", "50 %", "100 %"])


def _dress(axes: Axes, days: pd.DatetimeIndex) -> None:
    axes.set_xlim(-0.5, len(days) - 0.5)
    step = math.ceil(len(days) / 4)
    labels = days[::step].strftime("%d %b" if len(days) < _YEAR else "%b %Y")
    axes.set_xticks(np.arange(0, len(days), step), labels=list(labels))
    axes.tick_params(labelsize=8, colors=_INK)
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _share_latencies(column: Sequence[Axes]) -> None:
    """One scale for all, so that a slow provider is seen to be slow."""
    told = [axes.dataLim for axes in column if axes.dataLim.y1 > 0]
    if told:
        low, high = min(limits.minposy for limits in told), max(limits.y1 for limits in told)
        for axes in column:
            axes.set_ylim(low / 1.5, high * 4)  # the topmost has a legend above its lines


def _legend(figure: Figure, health: Health) -> None:
    from matplotlib.patches import Patch

    shown = [name for name in OUTCOMES if health.days[name].sum() > 0] or ["accepted"]
    handles = [Patch(color=_STYLES[name][0], label=_STYLES[name][1]) for name in shown]
    figure.legend(handles=handles, loc="outside lower left", ncols=len(handles), frameon=False, fontsize=8)


def _short(value: float) -> str:
    if value >= 1_000_000:
        return f"{value / 1_000_000:g}M"
    return f"{value / 1_000:g}k" if value >= 1_000 else f"{value:g}"


def png(health: Health) -> bytes:
    """The picture as PNG, about 960 pixels wide."""
    drawn, image = io.BytesIO(), io.BytesIO()
    health_figure(health).savefig(drawn, format="png", dpi=_DPI)
    # A palette makes it a quarter of the size; the event log keeps every one of them.
    few = Image.open(drawn).convert("RGB").quantize(128, method=Image.Quantize.FASTOCTREE)
    few.save(image, format="png", optimize=True)
    return image.getvalue()


def draw(health: Health, file: Path) -> None:
    """Write the picture as PNG or SVG, by the file's suffix."""
    file.parent.mkdir(parents=True, exist_ok=True)
    health_figure(health).savefig(file, dpi=2 * _DPI)
