"""A report as CSV: one table of the symbols, and one for each other list.

Text that came with data and that a spreadsheet would take for a formula gets an apostrophe in front, see
https://owasp.org/www-community/attacks/CSV_Injection. What is not known is an empty cell.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from datetime import date
from pathlib import Path
from typing import Any

from market_data.report.validation import document as records
from market_data.report.validation.document import ReportDocument
from market_data.report.validation.written import write_text

__all__ = ["TABLES", "symbols_csv", "table_csv", "write_tables"]

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")

_Rows = Iterable[Sequence[Any]]


def symbols_csv(document: ReportDocument) -> str:
    """The table of the symbols, a row each."""
    return table_csv(document, "symbols")


def table_csv(document: ReportDocument, name: str) -> str:
    """One of `TABLES` as text, with a line of headings; lines end with a line feed."""
    headings, rows = TABLES[name]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(headings)
    writer.writerows([_cell(value) for value in row] for row in rows(document))
    return text.getvalue()


def write_tables(document: ReportDocument, folder: Path) -> list[Path]:
    """Write every table into a folder, which is made, as `<name>.csv`; files of these names are replaced.

    Raises:
        SettingsError: the folder cannot be written to.
    """
    return [write_text(folder / f"{name}.csv", table_csv(document, name)) for name in TABLES]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float):
        return f"{value:.10g}" if value == value else ""  # noqa: PLR0124 - NaN is not itself
    return str(value)


def _names(record: type, *without: str) -> tuple[str, ...]:
    return tuple(field.name for field in fields(record) if field.name not in without)


def _of(record: type, listed: Callable[[ReportDocument], Iterable[Any]]) -> tuple[tuple[str, ...], Any]:
    """Headings and rows of a list of flat records."""
    names = _names(record)
    return names, lambda document: ([_flat(getattr(row, name)) for name in names] for row in listed(document))


def _flat(value: Any) -> Any:
    """Counts by name, and lists of names, as text."""
    if isinstance(value, dict):
        return "; ".join(f"{name} {count}" for name, count in value.items())
    return "; ".join(value) if isinstance(value, tuple) else value


_SYMBOL = _names(records.SymbolRow, "months")
_RULE = _names(records.RuleRow, "examples")


def _symbols(document: ReportDocument) -> _Rows:
    return ([_flat(getattr(row, name)) for name in _SYMBOL] for row in document.symbols)


def _rules(document: ReportDocument) -> _Rows:
    return ([getattr(row, name) for name in _RULE] for row in document.rules)


def _months(document: ReportDocument) -> _Rows:
    return (
        (row.symbol, month, share)
        for row in document.symbols
        for month, share in zip(document.months, row.months, strict=True)
        if share is not None
    )


TABLES: dict[str, tuple[tuple[str, ...], Callable[[ReportDocument], _Rows]]] = {
    "symbols": (_SYMBOL, _symbols),
    "months": (("symbol", "month", "coverage"), _months),
    "sessions": _of(records.SessionRow, lambda document: document.sessions),
    "findings": _of(records.Finding, lambda document: document.findings),
    "rules": (_RULE, _rules),
    "gaps": _of(records.GapRow, lambda document: document.gaps),
    "providers": _of(records.ProviderRow, lambda document: document.providers),
    "restatements": _of(records.RestatementRow, lambda document: document.restatements),
    "actions": _of(records.ActionRow, lambda document: document.actions),
    "reconciliation": _of(records.PairRow, lambda document: document.pairs),
    "checks": _of(records.CheckRow, lambda document: document.checks),
}
"""Headings and rows of each table, by name."""
