"""`market-data intraday backfill`: bring in minutes of past sessions that vendors still serve, or an archive holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from market_data.cli import complete, show
from market_data.cli.backfill import chosen_symbols, new_job_id
from market_data.cli.interrupt import stop_on_interrupt
from market_data.cli.intraday import intraday
from market_data.errors import SettingsError
from market_data.settings import Settings, load_settings

if TYPE_CHECKING:
    from market_data.ingest.backfill import Summary
    from market_data.ingest.minutes.backfill import IntradayBackfill, IntradayRequest
    from market_data.ingest.sources import Source
    from market_data.instruments import Universe

__all__ = ["intraday", "intraday_backfill"]

_DATE = ["%Y-%m-%d"]


@intraday.command("backfill")
def intraday_backfill(
    *,
    start: Annotated[datetime, typer.Option(formats=_DATE, help="First date.")],
    end: Annotated[
        datetime, typer.Option(formats=_DATE, help="Last date; sessions not over for an hour are left out.")
    ],
    symbols: Annotated[
        str | None,
        typer.Option(
            "--symbols",
            "--symbol",
            help="all, one, a list as in AAPL,MSFT, or @FILE; by default MARKET_DATA_INTRADAY_SYMBOLS.",
            autocompletion=complete.symbols,
        ),
    ] = None,
    interval: Annotated[str, typer.Option(help="1m, 5m, 15m or 30m of vendors; 5m or 1h of an archive.")] = "1m",
    provider: Annotated[
        str | None,
        typer.Option(
            help="stooq_bulk, vendors (all of them), sandbox, or one of polygon, alpha_vantage, yahoo; "
            "by default MARKET_DATA_SOURCE, else vendors, else sandbox while nothing is configured.",
            autocompletion=complete.sources,
        ),
    ] = None,
    archive: Annotated[
        Path | None, typer.Option(help="Stooq bulk ASCII folder or zip; implies --provider stooq_bulk.")
    ] = None,
    job_id: Annotated[
        str | None, typer.Option("--job-id", "--job_id", help="Name of the job, to take it up again.")
    ] = None,
    retry_rejected: Annotated[
        bool, typer.Option("--retry-rejected", help="Ask anew of vendors whose batch was rejected before.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be done, and change nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
) -> None:
    """Load intraday bars of past sessions into the canonical database, regular hours only.

    What is held, or was answered, is not asked for again; a run that was cut off is taken up where it was.

    Example: market-data intraday backfill --start 2026-01-05 --end 2026-01-16 --symbols AAPL,MSFT
    """
    from market_data.ingest.minutes.backfill import IntradayBackfill, IntradayRequest
    from market_data.ingest.minutes.sources import check_request
    from market_data.instruments import load_universe

    settings = load_settings(archive=archive)
    universe = load_universe(settings.universe)
    name = provider or ("stooq_bulk" if archive else _default(settings))
    with _opened(name, settings, universe, interval, keep_index=not dry_run) as source:
        check_request(start.date(), end.date(), interval, source)
        request = IntradayRequest(
            symbols=_chosen(symbols, settings, universe, source),
            start=start.date(),
            end=end.date(),
            job_id=job_id or new_job_id(),
            interval=interval,
            retry_rejected=retry_rejected,
        )
        if dry_run:
            _tell_plan(IntradayBackfill(settings=settings, universe=universe, source=source), request, source, as_json)
            return
        summary = _run(settings, universe, source, request, quiet=as_json)
    if as_json:
        print(json.dumps(show.summary_document(summary, source) | {"interval": interval}))
    raise typer.Exit(130 if summary.interrupted else 0 if summary.is_good else 1)


def _default(settings: Settings) -> str:
    """The source of daily bars, but for the archive: vendors have minutes, it may have none."""
    return "vendors" if settings.default_source == "stooq_bulk" else settings.default_source


@contextmanager
def _opened(name: str, settings: Settings, universe: Universe, interval: str, *, keep_index: bool) -> Iterator[Source]:
    from market_data.ingest.minutes.sources import intraday_archive
    from market_data.ingest.sources import open_source

    if name == "stooq_bulk":
        with intraday_archive(settings, universe, interval, keep_index=keep_index) as source:
            yield source
    else:
        with open_source(name, settings, universe) as source:
            yield source


def _chosen(text: str | None, settings: Settings, universe: Universe, source: Source) -> list[str]:
    chosen = (settings.intraday_symbols if text is None else text).strip()
    if not chosen:
        raise SettingsError("no symbols; give --symbols all, a list as in AAPL,MSFT, or @FILE")
    return chosen_symbols(chosen, universe, source)


def _run(settings: Settings, universe: Universe, source: Source, request: IntradayRequest, *, quiet: bool) -> Summary:
    from market_data.ingest.minutes.backfill import IntradayBackfill

    with stop_on_interrupt() as stop:
        work = IntradayBackfill(settings=settings, universe=universe, source=source, stop=stop)
        if quiet:
            return work.run(request)
        _announce(source, request)
        with show.BackfillProgress(len(request.symbols)) as progress:
            summary = work.run(request, on_record=progress.advance)
    show.summary(summary, source, work.database.path)
    return summary


def _announce(source: Source, request: IntradayRequest) -> None:
    console = show.aside()
    if source.synthetic:
        console.print(f"[bold yellow]{show.SYNTHETIC}[/]")
    console.print(
        f"job {request.job_id}: {request.interval} bars of {len(request.symbols)} symbols, {request.start} to "
        f"{request.end}, from {source.label}",
        markup=False,
    )


def _tell_plan(work: IntradayBackfill, request: IntradayRequest, source: Source, as_json: bool) -> None:
    tasks = [task for task in work.plan(request) if len(task.due)]
    document = {
        "job_id": request.job_id,
        "dry_run": True,
        "provider": source.name,
        "synthetic": source.synthetic,
        "interval": request.interval,
        "start": request.start.isoformat(),
        "end": request.end.isoformat(),
        "to_do": {task.instrument.symbol: len(task.due) for task in tasks},
        "sessions": sum(len(task.due) for task in tasks),
    }
    if as_json:
        print(json.dumps(document))
    else:
        show.out().print(
            f"dry run, nothing is changed: {request.interval} bars of {len(tasks)} symbols to get from {source.name}, "
            f"{document['sessions']:,} sessions together",
            markup=False,
        )
