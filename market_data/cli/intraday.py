"""`market-data intraday`: poll a session's minutes, or tell what is held of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.table import Table

from market_data.cli import complete, show
from market_data.cli.backfill import new_job_id
from market_data.cli.interrupt import stop_on_interrupt
from market_data.clock import clock_of
from market_data.errors import SettingsError
from market_data.settings import Settings, load_settings

if TYPE_CHECKING:
    import duckdb

    from market_data.ingest.intraday.packs import Poll
    from market_data.ingest.intraday.poller import SessionPolled
    from market_data.warehouse.intraday_polls import PollRow

__all__ = ["intraday"]

_DATE = ["%Y-%m-%d"]
_NEW_YORK = ZoneInfo("America/New_York")

intraday = typer.Typer(help="Minutes of sessions: poll the session under way, tell what is held.", no_args_is_help=True)

Symbols = Annotated[
    str | None,
    typer.Option(
        "--symbols",
        "--symbol",
        help="all, one, a list as in AAPL,MSFT, or @FILE; by default MARKET_DATA_INTRADAY_SYMBOLS.",
        autocompletion=complete.symbols,
    ),
]
Provider = Annotated[
    str | None,
    typer.Option(
        help="vendors, sandbox, or one of polygon, yahoo; by default MARKET_DATA_SOURCE, else the sandbox.",
        autocompletion=complete.sources,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]


@intraday.command("poll")
def poll(
    *,
    symbols: Symbols = None,
    session: Annotated[
        datetime | None, typer.Option(formats=_DATE, help="The session, today's in New York, which is the default.")
    ] = None,
    provider: Provider = None,
    job_id: Annotated[str | None, typer.Option(help="Name of the job.")] = None,
    as_json: AsJson = False,
) -> None:
    """Poll the minutes of today's session until it is over; Ctrl-C ends it after the poll under way.

    Started before the open it waits; started again it goes on where it was.

    Example: market-data intraday poll --symbols AAPL,MSFT
    """
    from market_data.ingest.intraday.poller import poll_session
    from market_data.ingest.sources import is_synthetic, open_source
    from market_data.instruments import load_universe

    settings = load_settings()
    universe = load_universe(settings.universe)
    name = provider or settings.default_source
    clock = clock_of(settings, synthetic=is_synthetic(name))
    day = session.date() if session else clock().astimezone(_NEW_YORK).date()
    chosen = universe.select(_named(symbols, settings))
    console = show.out()
    console.quiet = as_json
    with open_source(name, settings, universe, clock=clock) as source, stop_on_interrupt() as stop:
        console.print(
            f"polling {len(chosen)} symbols on {day} every {settings.intraday_poll:g} s, from {source.label}",
            markup=False,
        )
        result = poll_session(
            settings,
            universe,
            source,
            day,
            chosen,
            job_id=job_id or new_job_id(),
            clock=clock,
            stop=stop,
            on_poll=lambda done, rows: _tell_poll(console, done, rows),
        )
    if as_json:
        print(json.dumps(_document(result, synthetic=source.synthetic)))
    else:
        _tell(console, result)
    raise typer.Exit(130 if result.interrupted else 0 if result.is_good else 1)


@intraday.command("status")
def status(
    *,
    session: Annotated[
        datetime | None, typer.Option(formats=_DATE, help="The session; by default the latest with minutes.")
    ] = None,
    provider: Provider = None,
    as_json: AsJson = False,
) -> None:
    """Tell what is held of a session's minutes, what its polls came to, and whether a poller runs.

    Example: market-data intraday status --session 2026-01-20
    """
    from market_data.ingest.intraday.lock import poller_is_alive
    from market_data.ingest.sources import is_synthetic
    from market_data.report.intraday import INTRADAY_CHECKS
    from market_data.warehouse.connection import Database
    from market_data.warehouse.intraday_polls import session_totals

    settings = load_settings()
    synthetic = is_synthetic(provider or settings.default_source)
    database = Database(settings.database_for(synthetic=synthetic), patience=settings.lock_patience)
    with database.reading() as connection:
        day = session.date() if session else _latest(connection)
        totals = session_totals(connection, day) if day else None
        checks = [(c.name, c.function(connection, day, day, settings)) for c in INTRADAY_CHECKS] if day else []
    document: dict[str, Any] = {
        "synthetic": synthetic,
        "poller_is_alive": poller_is_alive(settings),
        "session": day.isoformat() if day else None,
        "totals": asdict(totals) if totals else None,
        "checks": {name: {"passed": result.passed, "summary": result.summary} for name, result in checks},
    }
    if as_json:
        print(json.dumps(document))
    else:
        _tell_status(show.out(), document)
    # While a session is under way its minutes are never whole.
    is_well = document["poller_is_alive"] or all(result.passed for _, result in checks)
    raise typer.Exit(0 if is_well else 1)


def _named(symbols: str | None, settings: Settings) -> str:
    text = symbols or settings.intraday_symbols
    if not text.strip():
        raise SettingsError("no symbols to poll; give --symbols, or set MARKET_DATA_INTRADAY_SYMBOLS to all or a list")
    return text


def _latest(connection: duckdb.DuckDBPyConnection) -> date | None:
    rows = connection.execute("SELECT max(session_date) FROM price_history_intraday").fetchall()
    latest: date | None = rows[0][0]
    return latest


def _tell_poll(console: Console, poll: Poll, rows: Sequence[PollRow]) -> None:
    parts = [
        f"{row.provider}: {row.answered} answered, {row.empty} empty, {row.failed} failed, "
        f"{row.rows_inserted} new, {row.rows_updated} changed"
        if row.provider
        else f"{row.failed} left out"
        for row in rows
    ]
    console.print(f"{poll.polled_at:%H:%M:%S}  {'; '.join(parts)}", markup=False, soft_wrap=True)


def _document(result: SessionPolled, *, synthetic: bool) -> dict[str, Any]:
    return {
        "job_id": result.job_id,
        "session": result.session.isoformat(),
        "synthetic": synthetic,
        "polls": result.polls,
        "skipped": result.skipped,
        "calls": result.calls,
        "minutes_missing": result.missing,
        "interrupted": result.interrupted,
        "outcomes": {record.symbol: str(record.outcome) for record in result.records},
    }


def _tell(console: Console, result: SessionPolled) -> None:
    ended = "interrupted" if result.interrupted else "done"
    console.print(
        f"{ended}: {result.polls} polls, {result.skipped} left out, {result.calls} calls, "
        f"{result.missing} minutes without a bar",
        markup=False,
    )
    for record in result.records:
        if not record.outcome.is_good:
            console.print(f"{record.symbol}: {record.outcome}: {record.reason or ''}", markup=False)


def _tell_status(console: Console, document: dict[str, Any]) -> None:
    kind = " - SYNTHETIC" if document["synthetic"] else ""
    console.print("a poller is running" if document["poller_is_alive"] else "no poller is running")
    if document["totals"] is None:
        console.print("no minutes are held")
        return
    table = Table(title=f"Minutes of {document['session']}{kind}", show_header=False)
    for name, value in document["totals"].items():
        table.add_row(name, "" if value is None else f"{value:,.0f}")
    for name, found in document["checks"].items():
        table.add_row(name, f"{'passed' if found['passed'] else 'FAILED'}: {found['summary']}")
    console.print(table)
