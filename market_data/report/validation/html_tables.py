"""The lists of a report as tables of text, formatted once for the page as written and for its script."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from market_data.report.validation.document import ActionRow, GapRow, ReportDocument, RestatementRow, SymbolRow
from market_data.report.validation.html_text import (
    change,
    count,
    day,
    instant,
    known,
    percent,
    plain,
    plural,
    price,
    score,
)

__all__ = [
    "SHOWN",
    "Cell",
    "Column",
    "Table",
    "actions_table",
    "gaps_table",
    "json_of",
    "restatements_table",
    "symbols_table",
    "worst_symbols",
]

SHOWN = 200
"""Rows of a long list that the page shows at once; the filter looks through all that the document holds."""

WORST = 20


@dataclass(frozen=True, slots=True)
class Cell:
    """What a cell reads, and what it is sorted by: a number, or None where nothing is known."""

    text: str
    key: float | str | None


@dataclass(frozen=True, slots=True)
class Column:
    """A column: `kind` is symbol (the row's head, a link to its page), number, date or text."""

    title: str
    kind: str


@dataclass(frozen=True, slots=True)
class Table:
    """A list that can be filtered and sorted.

    Attributes:
        name: its id on the page.
        noun: of one row and of several.
        rows: all that the document holds.
        total: how many there are in all, those left out of the document included.
        shown: rows that the page shows at once.
        empty: the sentence that stands in place of an empty list.
    """

    name: str
    caption: str
    noun: tuple[str, str]
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    total: int
    shown: int
    empty: str

    def told(self) -> str:
        """How many of how many are shown."""
        first = min(self.shown, len(self.rows))
        if first == self.total:
            return f"{plural(self.total, *self.noun)}."
        return f"Showing {first:,} of {plural(self.total, *self.noun)}."


def _text(value: str | None) -> Cell:
    return Cell(value or "", (value or "").lower() or None)


def _number(value: float | None, written: Callable[[float | None], str] = count) -> Cell:
    return Cell(written(value), known(value))


def symbols_table(document: ReportDocument) -> Table:
    """One row an instrument, with all that is known of it."""
    columns = (
        ("symbol", "symbol"), ("name", "text"), ("exchange", "text"), ("first session", "date"),
        ("last session", "date"), ("expected", "number"), ("bars held", "number"), ("coverage", "number"),
        ("mean score", "number"), ("least score", "number"), ("flagged", "number"), ("missing", "number"),
        ("rejected", "number"), ("unanswered", "number"), ("findings", "number"), ("bars by provider", "text"),
        ("refused because", "text"),
    )  # fmt: skip
    return _table(
        document,
        "symbols",
        caption="Every instrument with an expected session in the span",
        noun=("symbol", "symbols"),
        columns=columns,
        rows=(_symbol_cells(row) for row in document.symbols),
        empty="No instrument has an expected session in the span.",
        shown=1000,
    )


def _symbol_cells(row: SymbolRow) -> tuple[Cell, ...]:
    shares = sorted(row.providers.items(), key=lambda item: (-item[1], item[0]))
    return (
        _text(row.symbol),
        _text(row.name),
        _text(row.exchange),
        Cell(day(row.first), day(row.first) if row.first else None),
        Cell(day(row.last), day(row.last) if row.last else None),
        _number(row.expected),
        _number(row.rows),
        _number(row.coverage, percent),
        _number(row.mean_score, score),
        _number(row.least_score, score),
        *map(_number, (row.flagged, row.missing, row.rejected, row.unanswered, row.findings)),
        _text(", ".join(f"{provider} {bars:,}" for provider, bars in shares)),
        _text(row.reason),
    )


def worst_symbols(document: ReportDocument) -> list[SymbolRow]:
    """The instruments with the lowest mean score, worst first; none with a full one."""

    def badness(row: SymbolRow) -> tuple[float, int, str]:
        return (1.0 if row.mean_score is None else row.mean_score, -row.missing - row.rejected, row.symbol)

    return sorted((row for row in document.symbols if badness(row)[0] < 1), key=badness)[:WORST]


def restatements_table(document: ReportDocument) -> Table:
    """Stored bars that were replaced."""

    def cells(row: RestatementRow) -> tuple[Cell, ...]:
        return (
            _text(row.symbol),
            Cell(day(row.date), day(row.date)),
            _number(row.old_close, price),
            _number(row.new_close, price),
            _number(row.relative_change, change),
            _text(row.old_provider),
            _text(row.new_provider),
            Cell(instant(row.replaced_at), row.replaced_at.timestamp()),
            _text(row.reason),
        )

    columns = (
        ("symbol", "symbol"), ("session", "date"), ("close before", "number"), ("close now", "number"),
        ("change", "number"), ("provider before", "text"), ("provider now", "text"), ("replaced at", "date"),
        ("reason", "text"),
    )  # fmt: skip
    return _table(
        document,
        "restatements",
        caption="Stored bars that were replaced by another close or volume, in dollars a share",
        noun=("restatement", "restatements"),
        columns=columns,
        rows=map(cells, document.restatements),
        empty="No restatements in the span.",
    )


def actions_table(document: ReportDocument) -> Table:
    """Corporate actions."""

    def cells(row: ActionRow) -> tuple[Cell, ...]:
        value = f"{plain(row.value)} for 1" if row.kind == "split" else f"{price(row.value)} dollars"
        return (
            _text(row.symbol),
            Cell(day(row.date), day(row.date)),
            _text(row.kind),
            Cell(value, row.value),
            _text(row.provider),
            _text(row.also_told_by),
        )

    columns = (
        ("symbol", "symbol"), ("ex-date", "date"), ("kind", "text"), ("value a share", "number"),
        ("told by", "text"), ("also told by", "text"),
    )  # fmt: skip
    return _table(
        document,
        "actions",
        caption="Splits, dividends and spin-offs with an ex-date in the span",
        noun=("corporate action", "corporate actions"),
        columns=columns,
        rows=map(cells, document.actions),
        empty="No corporate actions in the span.",
    )


def gaps_table(document: ReportDocument) -> Table:
    """Sessions without a good bar."""

    def cells(row: GapRow) -> tuple[Cell, ...]:
        return (
            _text(row.symbol),
            Cell(day(row.first), day(row.first)),
            Cell(day(row.last), day(row.last)),
            _number(row.sessions),
            _text(row.state),
            _text(row.reason),
            _number(row.tries),
            Cell(instant(row.next_try), row.next_try.timestamp() if row.next_try else None),
        )

    columns = (
        ("symbol", "symbol"), ("first session", "date"), ("last session", "date"), ("sessions", "number"),
        ("state", "text"), ("reason", "text"), ("tries", "number"), ("next try", "date"),
    )  # fmt: skip
    return _table(
        document,
        "gaps",
        caption="Sessions without a good bar, those side by side as one: open ones are asked for again, known ones",
        noun=("gap", "gaps"),
        columns=columns,
        rows=map(cells, document.gaps),
        empty="No gaps in the span: every expected session has a good bar.",
    )


def _table(
    document: ReportDocument,
    name: str,
    *,
    caption: str,
    noun: tuple[str, str],
    columns: tuple[tuple[str, str], ...],
    rows: Iterable[tuple[Cell, ...]],
    empty: str,
    shown: int = SHOWN,
) -> Table:
    told = tuple(rows)
    total = max(len(told), document.truncated.get(name, 0))
    return Table(name, caption, noun, tuple(Column(*column) for column in columns), told, total, shown, empty)


def json_of(table: Table) -> dict[str, Any]:
    """A table for the page's script: a cell is its text, or text and key where it is not sorted by its text."""

    def cell(value: Cell, kind: str) -> str | list[Any]:
        if (kind in ("symbol", "text") and value.key == value.text.lower()) or value.key == value.text:
            return value.text
        return [value.text, value.key]

    return {
        "columns": [[column.title, column.kind] for column in table.columns],
        "noun": list(table.noun),
        "rows": [
            [cell(value, column.kind) for value, column in zip(row, table.columns, strict=True)] for row in table.rows
        ],
        "total": table.total,
        "shown": table.shown,
    }
