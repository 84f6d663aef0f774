"""`market-data report`: what the store holds of a span, how good it is, and where to look."""

from __future__ import annotations

import io
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from market_data.cli import complete, show
from market_data.clock import clock_of
from market_data.errors import SettingsError
from market_data.ingest.sources import is_synthetic
from market_data.instruments import load_universe
from market_data.report.validation.document import ReportDocument
from market_data.settings import Settings, load_settings

__all__ = ["Format", "report"]

_DATE = ["%Y-%m-%d"]
_WIDTH = 100
"""Columns of a report for the terminal that is written to a file."""


class Format(StrEnum):
    """What a report is written as."""

    TERMINAL = "terminal"
    HTML = "html"
    JSON = "json"
    CSV = "csv"


def report(
    *,
    start: Annotated[
        datetime | None, typer.Option(formats=_DATE, help="First date; by default the window's start.")
    ] = None,
    end: Annotated[
        datetime | None, typer.Option(formats=_DATE, help="Last date; by default the last session that is due.")
    ] = None,
    symbols: Annotated[
        str,
        typer.Option(
            "--symbols",
            "--symbol",
            help="all, one, a list as in AAPL,MSFT, or @FILE.",
            autocompletion=complete.symbols,
        ),
    ] = "all",
    kind: Annotated[
        Format,
        typer.Option("--format", help="terminal; html: one file that needs no network; json; csv: a row a symbol."),
    ] = Format.TERMINAL,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File to write, of csv also a folder, which gets every table; by default html goes to the folder of "
            "reports, the others to standard output.",
            show_default=False,
        ),
    ] = None,
    series: Annotated[
        bool, typer.Option("--series", help="With json: the daily closes of each symbol as well.")
    ] = False,
    synthetic: Annotated[
        bool | None, typer.Option("--synthetic/--real", help="Which store; by default that of the configured source.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Report what the store holds of a span, how good it is, and where to look.

    Coverage, scores, findings, gaps, providers, restatements and checks. Reads
    the store, changes nothing, asks no provider. Exit code 1 where a blocking
    check fails, or the mean score is under MARKET_DATA_MIN_DATA_QUALITY; the
    report is written all the same.

    Example: market-data report --start 2024-01-02 --symbols AAPL --format html
    """
    from market_data.report.validation.collect import collect, default_span
    from market_data.report.validation.concerns import concerns

    kind = _kind(kind, as_json=as_json)
    _require_place(kind, out)
    settings = load_settings()
    is_made_up = is_synthetic(settings.default_source) if synthetic is None else synthetic
    clock = clock_of(settings, synthetic=is_made_up)
    first, last = default_span(settings, clock)
    chosen = None if symbols.strip() == "all" else load_universe(settings.universe).select(symbols)
    with show.aside().status("reading the store"):
        document = collect(
            settings,
            synthetic=is_made_up,
            start=start.date() if start else first,
            end=end.date() if end else last,
            symbols=chosen,
            series=kind is Format.HTML or (series and kind is Format.JSON),
            clock=clock,
        )
    found = concerns(document, least_score=settings.min_data_quality)
    _put(document, kind, out, settings, found)
    for concern in found:
        show.aside().print(f"[bold yellow]look at[/] {escape(concern)}")
    if found:
        raise typer.Exit(1)


def _kind(kind: Format, *, as_json: bool) -> Format:
    if as_json and kind not in (Format.TERMINAL, Format.JSON):
        raise SettingsError(f"--json and --format {kind} are two formats; give one of them")
    return Format.JSON if as_json else kind


def _require_place(kind: Format, out: Path | None) -> None:
    """Refuse a place that the report cannot go to, before it is made."""
    if out is None or not out.exists():
        return
    if kind is Format.CSV and out.suffix != ".csv":
        if not out.is_dir():
            raise SettingsError(
                f"--out {out} is a file; give one that ends in .csv for the symbols alone, or a folder for every table"
            )
    elif out.is_dir():
        raise SettingsError(f"--out {out} is a folder; give a file")


def _put(document: ReportDocument, kind: Format, out: Path | None, settings: Settings, found: tuple[str, ...]) -> None:
    if kind is Format.HTML:
        from market_data.report.validation.publish import html_file
        from market_data.report.validation.written import write_page

        with show.aside().status("drawing the pages"):
            file = write_page(document, out or html_file(settings, document))
        _told(file, document)
    elif kind is Format.JSON:
        from market_data.report.validation.plain import as_json

        _text(as_json(document, concerns=list(found)), out, document)
    elif kind is Format.CSV:
        _csv(document, out)
    else:
        _terminal(document, out)


def _csv(document: ReportDocument, out: Path | None) -> None:
    from market_data.report.validation.tables import symbols_csv, write_tables

    if out is None or out.suffix == ".csv":
        _text(symbols_csv(document).rstrip("\n"), out, document)
        return
    for file in write_tables(document, out):
        _told(file, document)


def _terminal(document: ReportDocument, out: Path | None) -> None:
    from market_data.report.validation.terminal import print_report

    if out is None:
        print_report(show.out(), document)
        return
    written = io.StringIO()
    print_report(Console(file=written, width=_WIDTH, highlight=False, no_color=True), document)
    _text("\n".join(line.rstrip() for line in written.getvalue().splitlines()), out, document)


def _text(text: str, out: Path | None, document: ReportDocument) -> None:
    if out is None:
        print(text)
        return
    from market_data.report.validation.written import write_text

    _told(write_text(out, f"{text}\n"), document)


def _told(file: Path, document: ReportDocument) -> None:
    head = document.headline
    show.out().print(
        f"{file}: {document.start} to {document.end}, {head.symbols:,} symbols, {head.rows:,} bars",
        markup=False,
        soft_wrap=True,
    )
