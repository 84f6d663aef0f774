"""`market-data sync`: what the nightly schedule does, now."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from market_data.cli import complete, show
from market_data.cli.backfill import chosen_symbols, new_job_id
from market_data.cli.progress import working
from market_data.settings import load_settings

if TYPE_CHECKING:
    from market_data.ingest.sync.steps import Synced

__all__ = ["sync"]

_DATE = ["%Y-%m-%d"]


def sync(
    *,
    symbols: Annotated[
        str,
        typer.Option(
            "--symbols",
            "--symbol",
            help="all, one, a list as in AAPL,MSFT, or @FILE.",
            autocompletion=complete.symbols,
        ),
    ] = "all",
    start: Annotated[
        datetime | None, typer.Option(formats=_DATE, help="First date; by default a week back, or where it was left.")
    ] = None,
    end: Annotated[
        datetime | None, typer.Option(formats=_DATE, help="Last date; by default the last session that is over.")
    ] = None,
    provider: Annotated[
        str | None,
        typer.Option(
            help="As of `backfill`; by default MARKET_DATA_SOURCE, an archive, or the sandbox.",
            autocompletion=complete.sources,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
) -> None:
    """Bring the store up to date: yesterday's session, what is missing of the week, a second look at the latest ones.

    What is held and settled is not asked for; running it again on the same UTC day sends nothing.

    Example: market-data sync --symbol AAPL --start 2026-01-12
    """
    from market_data.ingest.sources import open_source
    from market_data.ingest.sync.steps import sync as run_sync
    from market_data.instruments import load_universe

    settings = load_settings()
    universe = load_universe(settings.universe)
    name = provider or settings.default_source
    with ExitStack() as stack:
        source = stack.enter_context(open_source(name, settings, universe))
        if symbols.strip() != "all":
            source = replace(source, lacking=[])
        with working(f"sync from {source.name}", quiet=as_json):
            done = run_sync(
                settings,
                universe,
                source,
                symbols=chosen_symbols(symbols, universe, source),
                job_id=new_job_id(),
                start=start.date() if start else None,
                end=end.date() if end else None,
                clock=source.clock,
            )
        if as_json:
            print(json.dumps(_document(done, synthetic=source.synthetic)))
        else:
            _tell(done, synthetic=source.synthetic)
            if done.summary is not None:
                show.summary(done.summary, source, settings.database_for(synthetic=source.synthetic))
    raise typer.Exit(0 if _is_good(done) else 1)


def _is_good(done: Synced) -> bool:
    return (done.summary is None or done.summary.is_good) and not (done.fetched and done.fetched.failed)


def _document(done: Synced, *, synthetic: bool) -> dict[str, Any]:
    plan, fetched, summary = done.plan, done.fetched, done.summary
    return {
        "synthetic": synthetic,
        "good": _is_good(done),
        "start": plan.start.isoformat(),
        "end": plan.end.isoformat(),
        "idle": plan.idle,
        "missing": sum(map(len, plan.missing.values())),
        "pulled_once_more": sum(map(len, plan.unsettled.values())),
        "calls": fetched.calls if fetched else 0,
        "failed": fetched.failed if fetched else {},
        "rechecked": done.rechecked,
        "job_id": summary.job_id if summary else None,
        "symbols": [record.as_dict() for record in summary.records] if summary else [],
    }


def _tell(done: Synced, *, synthetic: bool) -> None:
    console = show.out()
    if synthetic:
        console.print(f"[bold yellow]{show.SYNTHETIC}[/]")
    console.print(done.plan.told(), markup=False, soft_wrap=True)
    if done.fetched is not None:
        asked = ", ".join(f"{name} {count}" for name, count in sorted(done.fetched.by_provider.items()))
        console.print(f"{done.fetched.calls} calls by symbol{f' ({asked})' if asked else ''}", markup=False)
        for symbol, reason in done.fetched.failed.items():
            console.print(f"[bold]{symbol}[/] failed: {escape(reason)}")
    if done.rechecked:
        console.print(f"split or renamed, judged anew: {', '.join(done.rechecked)}")
