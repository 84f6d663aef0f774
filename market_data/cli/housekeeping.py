"""`market-data tidy`: remove what is not kept for ever, or tell what would be removed."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer
from rich.table import Table

from market_data.cli import show
from market_data.ingest.sources import is_synthetic
from market_data.keeping.retention import Tidied
from market_data.keeping.retention import tidy as tidy_store
from market_data.settings import Settings, load_settings

__all__ = ["tidy"]


def tidy(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be removed, and change nothing.")] = False,
    synthetic: Annotated[
        bool | None, typer.Option("--synthetic/--real", help="Which store; by default that of the configured source.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """Remove old error bodies, answers of polls and temporary files; with DAGSTER_HOME set, old runs and logs as well.

    Nothing goes that a stored row, an answered request or a rebuild needs. How long things are kept:
    MARKET_DATA_KEEP_EVENTS, MARKET_DATA_KEEP_LOGS, MARKET_DATA_KEEP_POLLS, in days.

    Example: market-data tidy --dry-run
    """
    settings = load_settings()
    kind = is_synthetic(settings.default_source) if synthetic is None else synthetic
    has_history = bool(os.environ.get("DAGSTER_HOME", "").strip())
    done = (_with_history if has_history else tidy_store)(settings, synthetic=kind, dry_run=dry_run)
    if as_json:
        print(json.dumps(done.as_dict() | {"synthetic": kind, "history": has_history}, default=str))
    else:
        _show(done, synthetic=kind, has_history=has_history)


def _with_history(settings: Settings, *, synthetic: bool, dry_run: bool) -> Tidied:
    # Dagster takes seconds to import, and is asked for by whoever has a home for it.
    from market_data.defs.housekeeping import tidy_here

    return tidy_here(settings, synthetic=synthetic, dry_run=dry_run)


def _show(done: Tidied, *, synthetic: bool, has_history: bool) -> None:
    console = show.out()
    title = "To be removed" if done.dry_run else "Removed"
    table = Table(title=title + (" - SYNTHETIC data" if synthetic else ""))
    for name in ("kind", "files", "bytes"):
        table.add_column(name, justify="left" if name == "kind" else "right")
    for item in done.freed:
        table.add_row(item.kind, f"{item.files:,}", f"{item.bytes:,}", style="" if item.files else "dim")
    table.add_section()
    table.add_row("all", f"{sum(item.files for item in done.freed):,}", f"{done.bytes:,}", style="bold")
    console.print(table)
    for path in done.set_aside:
        console.print(
            f"set aside, yours to remove: {path} ({path.stat().st_size:,} bytes)", markup=False, soft_wrap=True
        )
    if not has_history:
        console.print("Dagster's runs and logs were left alone: DAGSTER_HOME is not set")
    if done.dry_run:
        console.print("dry run, nothing is changed")
