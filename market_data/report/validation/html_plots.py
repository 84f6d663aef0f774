"""The overview's plots as plotly figures without colours of the theme, each with what it shows in words."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from market_data.report.validation.document import ProviderRow, ReportDocument, SessionRow
from market_data.report.validation.html_text import count, duration, known, percent, plural, score

__all__ = ["Month", "Plot", "months_of", "plots"]

# Okabe and Ito's colours, which stay apart for the colour-blind and are seen on white as on near-black.
BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"

_VERDICTS = (("flagged", SKY), ("missing", ORANGE), ("rejected", VERMILION), ("unanswered", PURPLE))


@dataclass(frozen=True, slots=True)
class Plot:
    """Its id, title and summary in words, and `figure`, plotly's data and layout; None with nothing to plot."""

    name: str
    title: str
    summary: str
    height: int
    figure: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Month:
    """The sessions of a month together, as the numbers beside the plot."""

    month: str
    sessions: int
    expected: int
    rows: int
    coverage: float | None
    flagged: int
    missing: int
    rejected: int
    unanswered: int
    mean_score: float | None


def plots(document: ReportDocument) -> dict[str, Plot]:
    """Every plot of the overview, by name."""
    made = (_sessions(document), _scores(document), _providers(document))
    return {plot.name: plot for plot in made}


def months_of(document: ReportDocument) -> list[Month]:
    """The sessions by month, the newest first."""
    by_month = groupby(document.sessions, key=lambda row: f"{row.session:%Y-%m}")
    return [_month(month, list(rows)) for month, rows in by_month][::-1]


def _month(month: str, rows: list[SessionRow]) -> Month:
    expected, held = sum(row.expected for row in rows), sum(row.rows for row in rows)
    scored = [(value, row.expected) for row in rows if (value := known(row.mean_score)) is not None]
    weight = sum(number for _, number in scored)
    return Month(
        month=month,
        sessions=len(rows),
        expected=expected,
        rows=held,
        coverage=held / expected if expected else None,
        flagged=sum(row.flagged for row in rows),
        missing=sum(row.missing for row in rows),
        rejected=sum(row.rejected for row in rows),
        unanswered=sum(row.unanswered for row in rows),
        mean_score=sum(value * number for value, number in scored) / weight if weight else None,
    )


def _sessions(document: ReportDocument) -> Plot:
    rows = document.sessions
    title = "Bars held, verdicts that are not good, and mean score, by session"
    if not rows:
        return Plot("sessions", title, "No sessions in the span.", 0, None)
    days = [row.session.isoformat() for row in rows]
    data = [
        _line(days, (row.expected for row in rows), "bars expected", ORANGE, "y", dash="dot"),
        _line(days, (row.rows for row in rows), "bars held", BLUE, "y"),
        *(_stacked(days, [getattr(row, name) for row in rows], name, colour) for name, colour in _VERDICTS),
        _line(days, (row.mean_score for row in rows), "mean score", GREEN, "y3"),
    ]
    layout = {
        "xaxis": {"anchor": "y3", "type": "date", "hoverformat": "%Y-%m-%d"},
        "yaxis": {"domain": [0.71, 1], "title": {"text": "bars"}},
        "yaxis2": {"domain": [0.36, 0.65], "title": {"text": "not good"}, "rangemode": "tozero"},
        "yaxis3": {"domain": [0, 0.3], "title": {"text": "score"}},
        "hovermode": "x unified",
        "hoversubplots": "axis",
        "legend": {"traceorder": "normal"},
    }
    return Plot("sessions", title, _sessions_summary(rows), 520, {"data": data, "layout": layout})


def _sessions_summary(rows: tuple[SessionRow, ...]) -> str:
    least = min(rows, key=lambda row: row.rows / row.expected if row.expected else 1.0)
    text = f"{plural(len(rows), 'session')}."
    if least.expected:
        held = f"{count(least.rows)} of {count(least.expected)}"
        text += f" The fewest of the bars expected are held of {least.session}: {held}."
    scored = [(value, row.session) for row in rows if (value := known(row.mean_score)) is not None]
    if scored:
        low, when = min(scored)
        text += f" The mean score is lowest on {when}, {score(low)}, and highest {score(max(scored)[0])}."
    return text


def _line(
    days: list[str], values: Iterable[float | None], name: str, colour: str, axis: str, **more: Any
) -> dict[str, Any]:
    line = {"color": colour, "width": 1.4, "shape": "hv", "dash": more.pop("dash", "solid")}
    return {
        "type": "scatter",
        "mode": "lines",
        "x": days,
        "y": [known(value) for value in values],
        "name": name,
        "line": line,
        "yaxis": axis,
    } | more


def _stacked(days: list[str], values: list[int], name: str, colour: str) -> dict[str, Any]:
    fill = {"stackgroup": "verdicts", "fillcolor": colour, "visible": True if any(values) else "legendonly"}
    line = {"color": colour, "width": 0, "shape": "hv"}
    return {
        "type": "scatter",
        "mode": "lines",
        "x": days,
        "y": values,
        "name": name,
        "line": line,
        "yaxis": "y2",
    } | fill


def _scores(document: ReportDocument) -> Plot:
    title = "Expected pairs of symbol and session, by score"
    bins, total = document.scores, sum(item.count for item in document.scores)
    if not total:
        return Plot("scores", title, "No pair of symbol and session has a score.", 0, None)
    shares = [percent(item.count / total) for item in bins]
    heights = [-0.2, 1.12 * math.log10(max(10, *(item.count for item in bins)))]
    bars = {
        "type": "bar",
        "x": [(item.low + item.high) / 2 for item in bins],
        "width": [0.94 * (item.high - item.low) for item in bins],
        "y": [item.count for item in bins],
        "marker": {"color": BLUE},
        "text": [count(item.count) if item.count else "" for item in bins],
        "textposition": "outside",
        "constraintext": "none",
        "cliponaxis": False,
        "customdata": [[f"{item.low:g} to {item.high:g}", share] for item, share in zip(bins, shares, strict=True)],
        "hovertemplate": "score %{customdata[0]}<br>%{y:,} pairs, %{customdata[1]}<extra></extra>",
    }
    layout = {
        "xaxis": {"title": {"text": "score"}, "range": [-0.04, 1.04], "dtick": 0.1, "tickangle": 0},
        "yaxis": {
            "type": "log",
            "title": {"text": "pairs (log)"},
            "dtick": 1,
            "exponentformat": "SI",
            "range": heights,
        },
        "showlegend": False,
    }
    below = sum(item.count for item in bins if item.high <= 0.5)
    top = bins[-1]
    summary = (
        f"{count(total)} pairs. {percent(top.count / total)} of them score {top.low:g} or more; "
        f"{count(below)} score below 0.5. Heights are logarithmic, so that few bad ones are seen."
    )
    return Plot("scores", title, summary, 340, {"data": [bars], "layout": layout})


def _providers(document: ReportDocument) -> Plot:
    title = "Share of the bars, and latency (circle: median; diamond: 95th percentile)"
    rows = [row for row in document.providers if row.bars or known(row.latency_p50_ms) is not None][::-1]
    if not rows:
        return Plot("providers", title, "No provider has bars in the span, and none was asked.", 0, None)
    names = [row.provider for row in rows]
    shares = {
        "type": "bar",
        "orientation": "h",
        "y": names,
        "x": [100 * (known(row.share) or 0.0) for row in rows],
        "text": [percent(row.share) for row in rows],
        "textposition": "auto",
        "marker": {"color": BLUE},
        "hovertemplate": "%{y}: %{text}<extra></extra>",
        "name": "share",
    }
    layout = {
        "xaxis": {"domain": [0, 0.46], "title": {"text": "share of bars, %"}, "range": [0, 100]},
        "xaxis2": {
            "domain": [0.54, 1],
            "title": {"text": "latency, ms (log)"},
            "type": "log",
            "tickmode": "array",
            "tickvals": _latency_ticks(rows),
        },
        "yaxis": {"type": "category", "categoryorder": "array", "categoryarray": names, "automargin": True},
        "showlegend": False,
    }
    data = [shares, *(_latency(row) for row in rows if known(row.latency_p50_ms) is not None)]
    return Plot(
        "providers", title, _providers_summary(document), 120 + 46 * len(rows), {"data": data, "layout": layout}
    )


def _latency_ticks(rows: list[ProviderRow]) -> list[float]:
    """Round latencies from below the least to above the largest: 1, 2 and 5 of a decade, or 1 alone over many."""
    values = [value for row in rows for value in (known(row.latency_p50_ms), known(row.latency_p95_ms)) if value]
    if not values:
        return []
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    steps = (1, 2, 5) if high - low <= 2 else (1,)
    return [step * 10.0**decade for decade in range(low, high + 1) for step in steps]


def _latency(row: ProviderRow) -> dict[str, Any]:
    median, high = known(row.latency_p50_ms), known(row.latency_p95_ms)
    told = (median, median if high is None else high)
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": list(told),
        "y": [row.provider] * 2,
        "xaxis": "x2",
        "marker": {"color": [BLUE, PURPLE], "symbol": ["circle", "diamond"], "size": 10},
        "line": {"color": "#888888", "width": 2},
        "text": [f"median {duration(told[0])}", f"95th percentile {duration(told[1])}"],
        "hovertemplate": "%{y}: %{text}<extra></extra>",
    }


def _providers_summary(document: ReportDocument) -> str:
    served = sorted((row for row in document.providers if row.bars), key=lambda row: -row.bars)
    parts = [f"{row.provider} {percent(row.share)}" for row in served]
    text = f"Bars by provider: {', '.join(parts)}." if parts else "No provider has bars in the span."
    timed = [row for row in document.providers if known(row.latency_p95_ms) is not None]
    if timed:
        slow = max(timed, key=lambda row: row.latency_p95_ms or 0.0)
        text += f" The slowest is {slow.provider}: 95 % of its calls took {duration(slow.latency_p95_ms)} or less."
    return text
