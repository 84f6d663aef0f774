"""The coverage heatmap: a strip of months for each instrument, in steps that differ in lightness first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from market_data.report.validation.document import ReportDocument, SymbolRow
from market_data.report.validation.html_text import known, percent

__all__ = ["STEPS", "Mark", "Run", "Strip", "step_of", "strips", "year_marks"]

STEPS = (
    ("full", "100 %"),
    ("near", "99 % to below 100 %"),
    ("some", "95 % to below 99 %"),
    ("part", "50 % to below 95 %"),
    ("few", "above 0 % to below 50 %"),
    ("none", "0 %"),
)
"""Steps of the scale, each with the class of its colour; months in which no session is expected have no step."""

_FLOORS = ((1.0, "full"), (0.99, "near"), (0.95, "some"), (0.5, "part"))
_NAMED = 6
_LABELS = 8


@dataclass(frozen=True, slots=True)
class Run:
    """Months side by side of one step: where they begin, how many they are, and what is said of them."""

    start: int
    length: int
    step: str
    title: str


@dataclass(frozen=True, slots=True)
class Strip:
    """The row of an instrument, or of all of them together where `symbol` is None."""

    symbol: str | None
    coverage: float | None
    lacking: int
    runs: tuple[Run, ...]
    summary: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A label of the axis, and where it stands, in per cent of the width."""

    label: str
    left: float


def step_of(coverage: float | None) -> str | None:
    """The step a month's coverage falls into; None where no session is expected."""
    share = known(coverage)
    if share is None:
        return None
    for floor, name in _FLOORS:
        if share >= floor:
            return name
    return "few" if share > 0 else "none"


def strips(document: ReportDocument) -> list[Strip]:
    """The strip of all instruments together, then one of each, lowest coverage first."""
    months = document.months
    if not months or not document.symbols:
        return []
    rows = sorted(document.symbols, key=_lowest_first)
    headline = document.headline
    together = _strip(None, headline.coverage, headline.expected - headline.rows, _all_months(document), months)
    return [together, *(_of_symbol(row, months) for row in rows)]


def _lowest_first(row: SymbolRow) -> tuple[float, str]:
    share = known(row.coverage)
    return 1.0 if share is None else share, row.symbol


def _of_symbol(row: SymbolRow, months: tuple[str, ...]) -> Strip:
    return _strip(row.symbol, row.coverage, row.expected - row.rows, row.months, months)


def _strip(
    symbol: str | None, coverage: float | None, lacking: int, values: Sequence[float | None], months: tuple[str, ...]
) -> Strip:
    return Strip(symbol, known(coverage), lacking, tuple(_runs(values, months)), _summary(values, months))


def _all_months(document: ReportDocument) -> list[float | None]:
    """Coverage of each month over all instruments."""
    expected = dict.fromkeys(document.months, 0)
    rows = dict.fromkeys(document.months, 0)
    for session in document.sessions:
        month = f"{session.session:%Y-%m}"
        if month in expected:
            expected[month] += session.expected
            rows[month] += session.rows
    return [rows[month] / expected[month] if expected[month] else None for month in document.months]


def _runs(values: Sequence[float | None], months: tuple[str, ...]) -> Iterator[Run]:
    for step, group in groupby(enumerate(values), key=lambda item: step_of(item[1])):
        members = list(group)
        if step is None:
            continue
        start, length = members[0][0], len(members)
        shares = [value for _, value in members if value is not None]
        span = months[start] if length == 1 else f"{months[start]} to {months[start + length - 1]}"
        low, high = percent(min(shares)), percent(max(shares))
        yield Run(start, length, step, f"{span}: {low if low == high else f'{low} to {high}'}")


def _summary(values: Sequence[float | None], months: tuple[str, ...]) -> str:
    """The strip in words."""
    told = [(month, value) for month, share in zip(months, values, strict=True) if (value := known(share)) is not None]
    short = [(month, value) for month, value in told if value < 1]
    if not told:
        return "no session expected"
    if not short:
        return f"all {len(told):,} months full"
    named = ", ".join(f"{month} {percent(value)}" for month, value in sorted(short, key=lambda item: item[1])[:_NAMED])
    more = f" and {len(short) - _NAMED:,} more" if len(short) > _NAMED else ""
    return f"{len(told) - len(short):,} of {len(told):,} months full; {named}{more}"


def year_marks(months: tuple[str, ...]) -> list[Mark]:
    """Labels of the months' axis: years, or months where the span has no more than a year and a half."""
    if len(months) <= 18:
        places = list(range(0, len(months), 3))
        return [Mark(months[place], 100 * place / len(months)) for place in places]
    places = [place for place, month in enumerate(months) if month.endswith("-01")]
    every = -(-len(places) // _LABELS)
    return [
        Mark(months[place][:4], 100 * place / len(months)) for place in places[::every] if place <= 0.94 * len(months)
    ]
