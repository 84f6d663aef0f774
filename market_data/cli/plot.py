"""`market-data plot`: a symbol's closes raw, split-adjusted and total-return, in one picture."""

from __future__ import annotations

import json
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from market_data.cli import complete, show
from market_data.errors import MarketDataError, SettingsError

if TYPE_CHECKING:
    from market_data.report.price_plot import Series
    from market_data.settings import Settings

__all__ = ["plot"]

_DAY = ["%Y-%m-%d"]


def plot(
    symbol: Annotated[str, typer.Argument(help="A symbol of the universe.", autocompletion=complete.symbol)],
    *,
    out: Annotated[
        Path | None,
        typer.Option(help="The picture to write, .png or .svg; by default SYMBOL.png in the reports folder."),
    ] = None,
    start: Annotated[datetime | None, typer.Option(formats=_DAY, help="First date.")] = None,
    end: Annotated[datetime | None, typer.Option(formats=_DAY, help="Last date.")] = None,
    synthetic: Annotated[
        bool | None, typer.Option("--synthetic/--real", help="Which store; by default that of the configured source.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")] = False,
) -> None:
    """Draw a symbol's closes raw, split-adjusted and total-return, with its splits and dividends.

    Example: market-data plot AAPL --out aapl.png --start 2024-01-02 --end 2024-12-31
    """
    from market_data.ingest.sources import is_synthetic
    from market_data.instruments import load_universe
    from market_data.report.price_plot import draw
    from market_data.settings import load_settings

    if out is not None and out.suffix not in (".png", ".svg"):
        raise SettingsError(f"--out {out}: give a file that ends in .png or .svg")
    settings = load_settings()
    kind = is_synthetic(settings.default_source) if synthetic is None else synthetic
    first, last = start.date() if start else settings.window_start, end.date() if end else settings.window_end
    if first > last:
        raise SettingsError(f"--start {first} is after --end {last}; start must not be later")
    name = load_universe(settings.universe).resolve(symbol)
    file = out or settings.reports_folder / f"{name}.png"
    series = _series(settings, name, first, last, synthetic=kind)
    sessions = int(series.closes["raw"].notna().sum())
    if not sessions:
        raise MarketDataError(
            f"no bar of {name} from {first} to {last} is stored; `market-data explain {name} DATE` tells why, "
            "`market-data backfill` asks for it"
        )
    if out is None:
        file.parent.mkdir(parents=True, exist_ok=True)
    draw(series, file)
    if as_json:
        span = {"start": first.isoformat(), "end": last.isoformat(), "sessions": sessions}
        print(json.dumps({"file": str(file), "symbol": name, "synthetic": kind, **span}))
        return
    note = f"  {show.SYNTHETIC}" if kind else ""
    show.out().print(f"{file}: {name}, {first} to {last}, {sessions:,} sessions{note}", markup=False, soft_wrap=True)


def _series(settings: Settings, symbol: str, first: date, last: date, *, synthetic: bool) -> Series:
    """What is drawn: closes in the three bases, and the actions of the span."""
    import pandas as pd

    from market_data.reading import BasisName, load
    from market_data.report.price_plot import Series
    from market_data.warehouse.actions import read_actions
    from market_data.warehouse.connection import Database

    path = settings.database_for(synthetic=synthetic)
    bases: tuple[BasisName, ...] = ("raw", "split", "total_return")
    closes = pd.DataFrame({basis: load([symbol], first, last, basis, database=path)[symbol] for basis in bases})
    with Database(path, patience=settings.lock_patience).reading() as connection:
        actions = read_actions(connection, [symbol])[symbol]
    within = actions["date"].between(pd.Timestamp(first), pd.Timestamp(last))
    return Series(symbol, closes, actions[within], synthetic)
