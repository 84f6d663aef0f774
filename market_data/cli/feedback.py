"""`market-data feedback`: take files of executions, and tell what orders cost."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from market_data.cli import show
from market_data.clock import clock_of
from market_data.ingest.executions.rejects import rejects_file
from market_data.ingest.executions.taking import FeedbackTaken, take_feedback
from market_data.ingest.executions.trial import try_feedback
from market_data.ingest.sources import is_synthetic
from market_data.instruments import load_universe
from market_data.report.slippage import by_session, update_slippage
from market_data.settings import load_settings
from market_data.warehouse.connection import Database

__all__ = ["feedback", "slippage"]

_Synthetic = Annotated[
    bool | None, typer.Option("--synthetic/--real", help="Which store; by default that of the configured source.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]
_COUNTS = ("lines", "inserted", "updated", "unchanged", "superseded", "duplicates", "rejected")


_HEADINGS = {
    "orders": "orders",
    "notional": "dollars",
    "decision_bp": "decision",
    "arrival_bp": "arrival",
    "previous_close_bp": "before",
    "close_bp": "close",
    "interval_vwap_bp": "interval",
    "day_vwap_bp": "day",
}


def feedback(
    files: Annotated[list[Path], typer.Argument(help="CSV or JSON lines with a line an execution.")],
    *,
    synthetic: _Synthetic = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be done, and change nothing.")] = False,
    as_json: _Json = False,
) -> None:
    """Take executions: order_id, symbol, side, quantity, price, executed_at, and more where it is known.

    A line that cannot be used is put into FILE.rejected.jsonl with its reason; the others are taken. A file that was
    taken before changes nothing. Exit code 1 where a line or a file could not be used.

    Example: market-data feedback fills-2026-01-20.csv --dry-run
    """
    settings = load_settings()
    kind = is_synthetic(settings.default_source) if synthetic is None else synthetic
    work = try_feedback if dry_run else take_feedback
    universe = load_universe(settings.universe)
    taken = work(settings, universe, files, synthetic=kind, clock=clock_of(settings, synthetic=kind))
    if as_json:
        documents = [one.as_dict() for one in taken.files]
        print(json.dumps({"synthetic": kind, "dry_run": dry_run, "files": documents}))
    else:
        _show(taken, files, synthetic=kind, dry_run=dry_run)
    if not taken.is_good:
        raise typer.Exit(1)


def _show(taken: FeedbackTaken, files: list[Path], *, synthetic: bool, dry_run: bool) -> None:
    console = show.out()
    title = "Executions" + (" - dry run, nothing is changed" if dry_run else "")
    table = Table(title=title + (" - SYNTHETIC data" if synthetic else ""))
    table.add_column("file")
    for name in ("lines", "new", "changed", "same", "outdated", "repeated", "rejected"):
        table.add_column(name, justify="right")
    for path, one in zip(files, taken.files, strict=True):
        table.add_row(path.name, *(f"{getattr(one.file, name):,}" for name in _COUNTS))
    console.print(table)
    for path, one in zip(files, taken.files, strict=True):
        if one.is_known and not one.rejects and one.file.refused is None and not one.file.lines:
            console.print(f"{path.name}: was taken before; nothing is new", markup=False)
        if one.file.refused:
            console.print(one.file.refused, markup=False)
        if one.ignored:
            console.print(f"{path.name}: ignored columns: {', '.join(one.ignored)}", markup=False)
        for line, first in list(one.duplicates.items())[: show.SHOWN]:
            console.print(f"{path.name}: line {line}: says again what line {first} says", markup=False)
        for reject in one.rejects[: show.SHOWN]:
            console.print(f"{path.name}: line {reject.line}: {reject.reason}", markup=False)
        if one.rejects and not dry_run:
            console.print(f"rejected lines are in {rejects_file(path)}", markup=False)
        for finding in one.findings[: show.SHOWN]:
            console.print(f"{path.name}: {finding}", markup=False)


def slippage(
    *,
    sessions: Annotated[int, typer.Option(min=1, max=1000, help="How many sessions to show, newest first.")] = 10,
    synthetic: _Synthetic = None,
    as_json: _Json = False,
) -> None:
    """Measure what orders cost beside the stored prices, and tell it by session; above 0 is a cost.

    Columns are the benchmarks: the decision's price, the price at arrival, the close before, the close, and the
    volume-weighted price from arrival to execution and of the whole session.

    Example: market-data slippage --sessions 20
    """
    settings = load_settings()
    kind = is_synthetic(settings.default_source) if synthetic is None else synthetic
    done = update_slippage(settings, synthetic=kind, clock=clock_of(settings, synthetic=kind))
    with Database(settings.database_for(synthetic=kind), patience=settings.lock_patience).reading() as connection:
        rows = list(by_session(connection, last=sessions))
    if as_json:
        print(json.dumps({"synthetic": kind} | asdict(done) | {"sessions": rows}))
        return
    console = show.out()
    console.print(_sessions_table(rows, synthetic=kind))
    console.print(f"{done.orders:,} orders, {done.without:,} without a benchmark of the store", markup=False)


def _sessions_table(rows: list[dict[str, Any]], *, synthetic: bool) -> Table:
    title = "Cost in basis points of the benchmark, weighted by dollars"
    title += " - SYNTHETIC data" if synthetic else ""
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("session", no_wrap=True, min_width=10)
    for heading in _HEADINGS.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(row["session"], *(_cell(name, row[name]) for name in _HEADINGS))
    return table


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.1f}" if name.endswith("_bp") else f"{value:,.0f}"
