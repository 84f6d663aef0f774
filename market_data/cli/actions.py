"""`market-data actions`: fetch, import and show splits, dividends and spin-offs; and `splits`, its older name."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from market_data.cli import complete, show
from market_data.cli.backfill import chosen_symbols, new_job_id
from market_data.cli.progress import working
from market_data.errors import MarketDataError
from market_data.settings import Settings, load_settings

if TYPE_CHECKING:
    from market_data.ingest.actions import ActionsFetched

__all__ = ["actions", "splits"]

actions = typer.Typer(
    help="Corporate actions: splits, cash dividends, spin-offs, which prices are adjusted by.", no_args_is_help=True
)

_Provider = Annotated[
    str | None,
    typer.Option(
        help="vendors, polygon, alpha_vantage, yahoo or sandbox; by default as backfill, or vendors.",
        autocompletion=complete.sources,
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
_Synthetic = Annotated[
    bool | None, typer.Option("--synthetic/--real", help="Which store; by default that of the configured source.")
]


@actions.command()
def fetch(
    *,
    provider: _Provider = None,
    symbols: Annotated[
        str,
        typer.Option(
            "--symbols",
            "--symbol",
            help="all, one, a list as in AAPL,MSFT, or @FILE.",
            autocompletion=complete.symbols,
        ),
    ] = "all",
    no_dividends: Annotated[
        bool, typer.Option("--no-dividends", help="Splits only: a few calls, where dividends take one a symbol.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Ask the vendors for the actions of the window that are not known yet, and turn the bars that depend on them.

    Exit code 1 where something could not be had.

    Example: market-data actions fetch --provider vendors --symbols AAPL,MSFT
    """
    _fetch(provider, symbols, dividends=not no_dividends, as_json=as_json)


def splits(*, provider: _Provider = None, as_json: _Json = False) -> None:
    """The older name of `actions fetch --no-dividends`."""
    _fetch(provider, "all", dividends=False, as_json=as_json)


def _fetch(provider: str | None, symbols: str, *, dividends: bool, as_json: bool) -> None:
    from market_data.ingest.actions import fetch_actions
    from market_data.ingest.sources import open_source
    from market_data.instruments import load_universe

    settings = load_settings()
    universe = load_universe(settings.universe)
    default = "vendors" if settings.default_source == "stooq_bulk" else settings.default_source
    with open_source(provider or default, settings, universe) as source:
        chosen = chosen_symbols(symbols, universe, source)
        with working("actions", quiet=as_json):
            fetched = fetch_actions(
                settings, universe, source, symbols=chosen, job_id=new_job_id(), dividends=dividends, clock=source.clock
            )
        synthetic = source.synthetic
    _tell(fetched, synthetic=synthetic, as_json=as_json)


@actions.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV with the header symbol,date,kind,value[,note], or JSON lines.")],
    *,
    synthetic: _Synthetic = None,
    as_json: _Json = False,
) -> None:
    """Take a file of actions, which is believed before every vendor; all of it is taken, or nothing.

    An empty value withdraws what was imported before. A first line "# complete: split,dividend FIRST..LAST" claims
    that the file has every action of these kinds and dates for its symbols.

    Example: market-data actions import spinoffs.csv
    """
    from market_data.ingest.actions import import_actions as run_import
    from market_data.ingest.sources import is_synthetic
    from market_data.instruments import load_universe

    settings = load_settings()
    kind = is_synthetic(settings.default_source) if synthetic is None else synthetic
    universe = load_universe(settings.universe)
    fetched = run_import(settings, universe, file, synthetic=kind, job_id=new_job_id())
    _tell(fetched, synthetic=kind, as_json=as_json)


def _tell(fetched: ActionsFetched, *, synthetic: bool, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"synthetic": synthetic} | asdict(fetched)))
    else:
        console = show.out()
        note = f"  {show.SYNTHETIC}" if synthetic else ""
        console.print(
            f"{fetched.splits} splits, {fetched.dividends} dividends and {fetched.spinoffs} spin-offs are known, "
            f"with {fetched.conflicts} conflicts; {len(fetched.symbols)} symbols have news, "
            f"by {fetched.calls} calls{note}",
            markup=False,
        )
        for symbol, reason in sorted(fetched.failed.items()):
            console.print(f"[bold]{escape(symbol)}[/] {escape(reason)}")
    if fetched.failed:
        raise typer.Exit(1)


@actions.command("show")
def show_symbol(
    symbol: Annotated[str, typer.Argument(help="A symbol of the universe.", autocompletion=complete.symbol)],
    *,
    synthetic: _Synthetic = None,
    as_json: _Json = False,
) -> None:
    """Show the actions known of a symbol, who tells of each, and where providers differ.

    Example: market-data actions show AAPL
    """
    from market_data.ingest.sources import is_synthetic
    from market_data.instruments import load_universe

    settings = load_settings()
    kind = is_synthetic(settings.default_source) if synthetic is None else synthetic
    name = load_universe(settings.universe).resolve(symbol)
    document = _known(settings, name, synthetic=kind)
    if as_json:
        print(json.dumps(document))
    else:
        _show(document)


_LISTED = ("date", "kind", "value", "source_provider", "also_told_by", "known_at")


def _known(settings: Settings, symbol: str, *, synthetic: bool) -> dict[str, Any]:
    from market_data.warehouse.connection import Database

    database = Database(settings.database_for(synthetic=synthetic), patience=settings.lock_patience)
    if not database.exists():
        raise MarketDataError(
            f"{database.path}: no database yet; run `market-data actions fetch` first, or give --real or --synthetic"
        )
    with database.reading() as connection:
        rows = connection.execute(
            "SELECT date::VARCHAR, kind, value, source_provider, also_told_by, strftime(known_at, '%Y-%m-%d %H:%M') "
            "FROM corporate_actions WHERE symbol = ? ORDER BY date, kind",
            [symbol],
        ).fetchall()
        conflicts = connection.execute(
            "SELECT message FROM action_conflicts WHERE symbol = ? ORDER BY date, message", [symbol]
        ).fetchall()
    return {
        "symbol": symbol,
        "synthetic": synthetic,
        "actions": [dict(zip(_LISTED, row, strict=True)) for row in rows],
        "conflicts": [row[0] for row in conflicts],
    }


def _show(document: dict[str, Any]) -> None:
    console = show.out()
    title = f"Corporate actions of {document['symbol']}"
    table = Table(title=title + (" - SYNTHETIC data" if document["synthetic"] else ""))
    for name in ("ex-date", "kind", "value", "told by", "and by", "known since (UTC)"):
        table.add_column(name, justify="right" if name == "value" else "left")
    for row in document["actions"]:
        cells = [f"{row[name]:.10g}" if name == "value" else escape(row[name]) for name in _LISTED]
        table.add_row(*cells)
    console.print(table)
    for message in document["conflicts"]:
        console.print(f"conflict: {message}", markup=False)
