"""`market-data backfill`: load a span of daily bars, or tell how far a job is."""

from __future__ import annotations

import json
import secrets
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from market_data.cli import complete, show
from market_data.cli.interrupt import stop_on_interrupt
from market_data.clock import utc_now
from market_data.errors import MarketDataError, SettingsError
from market_data.settings import Settings, load_settings

if TYPE_CHECKING:
    from market_data.ingest.backfill import Backfill, BackfillRequest, Summary
    from market_data.ingest.sources import Source
    from market_data.instruments import Universe
    from market_data.warehouse.holdings import JobProgress

__all__ = ["backfill", "new_job_id", "run_backfill"]

_DATE = ["%Y-%m-%d"]


def backfill(
    *,
    start: Annotated[
        datetime | None, typer.Option(formats=_DATE, help="First date; by default the window's start.")
    ] = None,
    end: Annotated[datetime | None, typer.Option(formats=_DATE, help="Last date; by default the window's end.")] = None,
    symbols: Annotated[
        str,
        typer.Option(
            "--symbols",
            "--symbol",
            help="all, one, a list as in AAPL,MSFT, or @FILE.",
            autocompletion=complete.symbols,
        ),
    ] = "all",
    provider: Annotated[
        str | None,
        typer.Option(
            help="stooq_bulk, vendors (all of them), sandbox, or one of polygon, alpha_vantage, stooq, yahoo; "
            "by default MARKET_DATA_SOURCE, else stooq_bulk once an archive is configured, else sandbox.",
            autocompletion=complete.sources,
        ),
    ] = None,
    archive: Annotated[
        Path | None, typer.Option(help="Stooq bulk ASCII folder or zip; implies --provider stooq_bulk.")
    ] = None,
    job_id: Annotated[
        str | None, typer.Option("--job-id", "--job_id", help="Name of the job, to take it up again or ask for it.")
    ] = None,
    status: Annotated[bool, typer.Option("--status", help="Tell how far the job is, and do nothing else.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be done, and change nothing.")] = False,
    retry_rejected: Annotated[
        bool, typer.Option("--retry-rejected", help="Ask anew for symbols whose batch was rejected before.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
) -> None:
    """Load daily bars of a span into the canonical database.

    What is held already is not asked for again; a run that was cut off is taken up where it was.

    Example: market-data backfill --archive d_us_txt.zip --symbols AAPL,MSFT
    """
    from market_data.ingest.backfill import BackfillRequest, check_span
    from market_data.ingest.sources import open_source
    from market_data.instruments import load_universe

    settings = load_settings(archive=archive)
    universe = load_universe(settings.universe)
    if status:
        _tell_status(settings, job_id, as_json=as_json)
        return
    name = provider or ("stooq_bulk" if archive else settings.default_source)
    span = (start.date() if start else settings.window_start, end.date() if end else settings.window_end)
    check_span(*span)
    with ExitStack() as stack:
        source = stack.enter_context(open_source(name, settings, universe, keep_index=not dry_run))
        if symbols.strip() != "all":
            source = replace(source, lacking=[])
        request = BackfillRequest(
            symbols=chosen_symbols(symbols, universe, source),
            start=span[0],
            end=span[1],
            job_id=job_id or new_job_id(),
            retry_rejected=retry_rejected,
        )
        if dry_run:
            _tell_plan(_backfill(settings, universe, source), request, source, as_json=as_json)
            return
        summary = run_backfill(settings, universe, source, request, quiet=as_json)
    if as_json:
        print(json.dumps(show.summary_document(summary, source)))
    raise typer.Exit(130 if summary.interrupted else 0 if summary.is_good else 1)


def run_backfill(
    settings: Settings, universe: Universe, source: Source, request: BackfillRequest, *, quiet: bool
) -> Summary:
    """Run a backfill with a progress bar and a summary table, or silently."""
    with stop_on_interrupt() as stop:
        work = _backfill(settings, universe, source, stop=stop)
        if quiet:
            return work.run(request)
        show.announce(source, request, work.database.path)
        with show.BackfillProgress(len(request.symbols)) as progress:
            summary = work.run(request, on_record=progress.advance)
    show.summary(summary, source, work.database.path)
    return summary


def chosen_symbols(text: str, universe: Universe, source: Source) -> list[str]:
    """The symbols meant; `all` are those the source serves."""
    return source.served if text.strip() == "all" else universe.select(text)


def new_job_id() -> str:
    """A job id that sorts by time, as in 20260120T001500Z-3f9a."""
    return f"{utc_now():%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def _backfill(settings: Settings, universe: Universe, source: Source, **more: Any) -> Backfill:
    from market_data.ingest.backfill import Backfill

    return Backfill(
        settings=settings,
        universe=universe,
        selector=source.selector,
        synthetic=source.synthetic,
        provider_label=source.name,
        concurrency=source.concurrency,
        clock=source.clock,
        **more,
    )


def _tell_plan(work: Backfill, request: BackfillRequest, source: Source, *, as_json: bool) -> None:
    plan = work.plan(request)
    document = {
        "job_id": request.job_id,
        "dry_run": True,
        "provider": source.name,
        "synthetic": source.synthetic,
        "start": request.start.isoformat(),
        "end": request.end.isoformat(),
        "to_do": [task.instrument.symbol for task in plan.tasks],
        "sessions": sum(len(task.expected) for task in plan.tasks),
        "settled": {record.symbol: record.outcome for record in plan.settled},
        "done": plan.done,
        "lacking": source.lacking,
    }
    if as_json:
        print(json.dumps(document))
    else:
        show.plan(document)


def _tell_status(settings: Settings, job_id: str | None, *, as_json: bool) -> None:
    if job_id is None:
        raise SettingsError("--status needs --job-id ID, as the run printed it")
    progress = _find_job(settings, job_id)
    document = {
        "job_id": progress.job_id,
        "kind": progress.kind,
        "provider": progress.provider,
        "synthetic": progress.synthetic,
        "start": progress.start.isoformat(),
        "end": progress.end.isoformat(),
        "started_at": progress.started_at.isoformat(),
        "finished_at": progress.finished_at.isoformat() if progress.finished_at else None,
        "planned": len(progress.planned),
        "done": sum(len(progress.outcomes.get(name, [])) for name in ("accepted", "held", "not_listed")),
        "rejected": progress.outcomes.get("rejected", []),
        "no_data": progress.outcomes.get("no_data", []),
        "failed": progress.outcomes.get("failed", []),
        "left": progress.left,
    }
    if as_json:
        print(json.dumps(document))
    else:
        show.status(document)


def _find_job(settings: Settings, job_id: str) -> JobProgress:
    from market_data.warehouse.connection import Database
    from market_data.warehouse.holdings import job_progress

    paths = list(dict.fromkeys(settings.database_for(synthetic=synthetic) for synthetic in (False, True)))
    for path in paths:
        database = Database(path, patience=settings.lock_patience)
        if database.exists():
            with database.reading() as connection:
                progress = job_progress(connection, job_id)
            if progress is not None:
                return progress
    raise MarketDataError(
        f"no job {job_id} in {' or '.join(map(str, paths))}; files in {settings.audit_folder} are named by their jobs"
    )
