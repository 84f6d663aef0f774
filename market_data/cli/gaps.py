"""`market-data gaps`: which sessions lack a good bar, why, and asking for them."""

from __future__ import annotations

import itertools
import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from market_data.cli import complete, show
from market_data.cli.backfill import new_job_id
from market_data.cli.interrupt import stop_on_interrupt
from market_data.cli.progress import working
from market_data.clock import clock_of
from market_data.errors import SettingsError
from market_data.settings import Settings, load_settings

if TYPE_CHECKING:
    import pandas as pd

    from market_data.ingest.gaps.run import GapsFilled
    from market_data.instruments import Universe

__all__ = ["gaps"]

_SHOWN = 40


def gaps(
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
    state: Annotated[
        str | None, typer.Option(help="Tell of these alone: open, known or closed; by default open and known.")
    ] = None,
    fill: Annotated[
        bool, typer.Option("--fill", help="Ask for what is due, within MARKET_DATA_GAP_CALLS calls a UTC day.")
    ] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="Have known gaps asked for again, and open ones at once.")
    ] = False,
    provider: Annotated[
        str | None,
        typer.Option(
            help="As of `backfill`; by default MARKET_DATA_SOURCE, an archive, or the sandbox.",
            autocompletion=complete.sources,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
) -> None:
    """Tell which sessions lack a good bar and why, and have them asked for.

    Open gaps are asked for again by themselves, after 1, 6, 24 and 72 hours; known ones nobody can fill.

    Example: market-data gaps --symbol AAPL --retry --fill
    """
    from market_data.ingest.sources import SOURCES, is_synthetic
    from market_data.instruments import load_universe
    from market_data.warehouse.gaps import STATES

    settings = load_settings()
    universe = load_universe(settings.universe)
    chosen = universe.select(symbols)
    name = provider or settings.default_source
    if state is not None and state not in STATES:
        raise SettingsError(f"--state {state!r} is not one of {', '.join(STATES)}")
    if name not in SOURCES:
        raise SettingsError(f"--provider {name!r} is unknown; known are {', '.join(SOURCES)}")
    again = _keep(settings, universe, name, chosen, retry=retry)
    done = _fill(settings, universe, name, chosen, quiet=as_json) if fill else None
    states = [state] if state else ["open", "known"]
    # Of all, what is kept of instruments that left the universe is told as well.
    only = None if symbols.strip() == "all" else chosen
    rows, counts = _read(settings, states, only, synthetic=is_synthetic(name))
    if as_json:
        print(json.dumps(_document(rows, counts, done, again, synthetic=is_synthetic(name))))
    else:
        _tell(rows, counts, done, again, synthetic=is_synthetic(name))
    raise typer.Exit(0 if done is None else 130 if done.interrupted else 0 if done.is_good else 1)


def _keep(settings: Settings, universe: Universe, name: str, symbols: list[str], *, retry: bool) -> int | None:
    """Bring the table up to the store, and open gaps again where that is asked for; returns how many."""
    from market_data.ingest.gaps.answers import fingerprints
    from market_data.ingest.gaps.run import last_day_of_gaps, open_again, refresh_gaps
    from market_data.ingest.sources import is_synthetic
    from market_data.warehouse.connection import Database
    from market_data.warehouse.store import transaction

    synthetic = is_synthetic(name)
    clock = clock_of(settings, synthetic=synthetic)
    database = Database(settings.database_for(synthetic=synthetic), patience=settings.lock_patience)
    if database.exists():
        database.prepare()
    prints, until = fingerprints(settings, universe, name), last_day_of_gaps(settings, clock)
    with database.writing() as connection, transaction(connection):
        refresh_gaps(connection, universe, settings, prints, until=until, now=clock())
    return open_again(settings, symbols, synthetic=synthetic, clock=clock) if retry else None


def _fill(settings: Settings, universe: Universe, name: str, symbols: list[str], *, quiet: bool) -> GapsFilled:
    from market_data.ingest.gaps.run import fill_due_gaps
    from market_data.ingest.sources import open_source

    ended = itertools.count(1)
    with ExitStack() as stack:
        tell = stack.enter_context(working("gaps, symbols", quiet=quiet))
        stop = stack.enter_context(stop_on_interrupt())
        source = stack.enter_context(open_source(name, settings, universe))
        return fill_due_gaps(
            settings,
            universe,
            source,
            job_id=new_job_id(),
            symbols=symbols,
            clock=source.clock,
            stop=stop,
            on_record=lambda record: tell(next(ended), None),
        )


def _read(
    settings: Settings, states: list[str], symbols: list[str] | None, *, synthetic: bool
) -> tuple[pd.DataFrame, dict[str, int]]:
    import pandas as pd

    from market_data.warehouse.connection import Database
    from market_data.warehouse.gaps import count_gaps, read_gaps

    database = Database(settings.database_for(synthetic=synthetic), patience=settings.lock_patience)
    with database.reading() as connection:
        frames = [read_gaps(connection, state=state, symbols=symbols) for state in states]
        return pd.concat(frames, ignore_index=True), count_gaps(connection)


def _document(
    rows: pd.DataFrame, counts: dict[str, int], done: GapsFilled | None, again: int | None, *, synthetic: bool
) -> dict[str, Any]:
    told = [{str(name): _plain(str(name), value) for name, value in row.items()} for row in rows.to_dict("records")]
    return {
        "synthetic": synthetic,
        **counts,
        "opened_again": again,
        "gaps": told,
        "run": done.as_dict() if done else None,
    }


def _plain(name: str, value: Any) -> Any:
    import pandas as pd

    if value is pd.NaT or value is None:
        return None
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d}" if name.endswith("_date") else f"{value:%Y-%m-%dT%H:%M:%SZ}"
    return value


def _tell(
    rows: pd.DataFrame, counts: dict[str, int], done: GapsFilled | None, again: int | None, *, synthetic: bool
) -> None:
    import pandas as pd

    from market_data.warehouse.gaps import STATES

    console = show.out()
    if again is not None:
        console.print(f"{again} gaps are asked for again")
    if done is not None:
        _tell_run(done)
    table = Table(title="Gaps" + (" - SYNTHETIC data" if synthetic else ""))
    for name in ("symbol", "sessions", "from", "to", "state", "tries", "next try (UTC)", "why"):
        table.add_column(name, justify="right" if name in ("sessions", "tries") else "left", no_wrap=name != "why")
    for row in rows.head(_SHOWN).to_dict("records"):
        tried = "" if row["next_try_at"] is pd.NaT else f"{row['next_try_at']:%Y-%m-%d %H:%M}"
        span = f"{row['first_date']:%Y-%m-%d}", f"{row['last_date']:%Y-%m-%d}"
        table.add_row(
            row["symbol"], f"{row['sessions']:,}", *span, row["state"], str(row["tries"]), tried, escape(row["reason"])
        )
    if len(rows):
        console.print(table)
    if len(rows) > _SHOWN:
        console.print(f"and {len(rows) - _SHOWN} more; --json tells all of them")
    console.print(", ".join(f"{counts[state]:,} {state}" for state in STATES))


def _tell_run(done: GapsFilled) -> None:
    console = show.out()
    console.print(
        f"asked for {done.asked} symbols with {done.calls} calls: {len(done.filled)} gaps filled, "
        f"{done.became_known} known to be nowhere now"
    )
    if done.left_for_budget:
        console.print(f"{done.left_for_budget} symbols are left for another day (MARKET_DATA_GAP_CALLS)")
    for record in (record for summary in done.summaries for record in summary.records):
        if not record.outcome.is_good:
            console.print(f"[bold]{record.symbol}[/] {record.outcome}: {escape(record.reason or '')}")
    if done.interrupted:
        console.print("interrupted; what was not reached is asked for the next time")
