"""`market-data plot`: a symbol's closes raw, split-adjusted and total-return, in one picture."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from market_data.cli import show
from market_data.errors import SettingsError
from market_data.ingest.sources import is_synthetic
from market_data.instruments import load_universe
from market_data.settings import load_settings
from market_data.warehouse.actions import read_actions
from market_data.warehouse.connection import Database

__all__ = ["plot"]


def plot(
    symbol: Annotated[str, typer.Argument(help="A symbol of the universe.")],
    *,
    out: Annotated[Path, typer.Option(help="The picture to write, .png or .svg.")],
    start: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="First date.")] = None,
    end: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last date.")] = None,
    synthetic: Annotated[
        bool | None, typer.Option("--synthetic/--real", help="Which store; by default that of the configured source.")
    ] = None,
) -> None:
    """Draw a symbol's closes raw, split-adjusted and total-return, with its splits and dividends.

    Example: market-data plot AAPL --out aapl.png --start 2024-01-02 --end 2024-12-31
    """
    from market_data.reading import BasisName, load
    from market_data.report.price_plot import Series, draw

    if out.suffix not in (".png", ".svg"):
        raise SettingsError(f"--out {out}: give a file that ends in .png or .svg")
    settings = load_settings()
    synthetic = is_synthetic(settings.default_source) if synthetic is None else synthetic
    path = settings.database_for(synthetic=synthetic)
    first, last = start.date() if start else settings.window_start, end.date() if end else settings.window_end
    name = load_universe(settings.universe).resolve(symbol)
    bases: tuple[BasisName, ...] = ("raw", "split", "total_return")
    closes = pd.DataFrame({basis: load([name], first, last, basis, database=path)[name] for basis in bases})
    with Database(path, patience=settings.lock_patience).reading() as connection:
        actions = read_actions(connection, [name])[name]
    within = actions["date"].between(pd.Timestamp(first), pd.Timestamp(last))
    draw(Series(name, closes, actions[within], synthetic), out)
    show.out().print(f"{out}: {name}, {first} to {last}, {int(closes['raw'].notna().sum()):,} sessions", markup=False)
