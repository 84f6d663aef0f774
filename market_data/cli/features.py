"""`market-data features`: make the features of daily prices, and look at them."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from market_data.cli import complete, show
from market_data.cli.progress import working
from market_data.errors import SettingsError
from market_data.ingest.sources import is_synthetic
from market_data.settings import load_settings

if TYPE_CHECKING:
    from market_data.features.update import FeaturesUpdated

__all__ = ["features"]

features = typer.Typer(help="Make the features of daily prices, and look at them.", no_args_is_help=True)

Synthetic = Annotated[
    bool | None, typer.Option("--synthetic/--real", help="Which store; by default that of the configured source.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]
_CAUSES = 8
_WIDE = 120
"""Columns from which there is room for what a feature means."""


@features.command()
def update(
    *,
    start: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="First session; by default the store's first.")
    ] = None,
    end: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last session; by default the store's last.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Compute what is up to date as well.")] = False,
    synthetic: Synthetic = None,
    as_json: AsJson = False,
) -> None:
    """Compute the sessions whose features are absent, or were made from bars or actions that have changed since.

    Reads the canonical database alone and asks no provider. Exit code 1 where sessions outside of the span are stale.

    Example: market-data features update --start 2025-01-02
    """
    from market_data.clock import clock_of
    from market_data.features.update import update as bring_up_to_date

    settings = load_settings()
    kind = is_synthetic(settings.default_source) if synthetic is None else synthetic
    with working("features, sessions", quiet=as_json) as tell:
        updated = bring_up_to_date(
            settings,
            synthetic=kind,
            start=None if start is None else start.date(),
            end=None if end is None else end.date(),
            clock=clock_of(settings, synthetic=kind),
            force=force,
            tell=tell,
        )
    if as_json:
        print(json.dumps(updated.as_dict() | {"synthetic": kind}))
    else:
        _show(updated, synthetic=kind)
    raise typer.Exit(1 if updated.stale else 0)


def _show(updated: FeaturesUpdated, *, synthetic: bool) -> None:
    console = show.out()
    note = " - SYNTHETIC data" if synthetic else ""
    rows = updated.rows
    console.print(
        f"{len(updated.made):,} sessions made, {updated.unchanged:,} up to date{note}\n"
        f"rows: {rows.inserted:,} new, {rows.updated:,} changed, {rows.unchanged:,} the same, {rows.removed:,} removed"
    )
    if updated.by_cause:
        table = Table(title="Rows with a null, by cause", box=SIMPLE_HEAD, pad_edge=False)
        table.add_column("cause")
        table.add_column("rows", justify="right")
        for cause, count in list(updated.by_cause.items())[:_CAUSES]:
            table.add_row(cause, f"{count:,}")
        console.print(table)
        if len(updated.by_cause) > _CAUSES:
            console.print(f"and {len(updated.by_cause) - _CAUSES} more causes; --json tells them all")
    if updated.stale:
        console.print(
            f"{len(updated.stale):,} other sessions are stale, {updated.stale[0]} to {updated.stale[-1]}; "
            "`market-data features update` makes them all"
        )


@features.command(name="show")
def show_features(
    symbol: Annotated[str, typer.Argument(help="A symbol of the universe.", autocompletion=complete.symbol)],
    *,
    session: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="By default the last one that was made.")
    ] = None,
    synthetic: Synthetic = None,
    as_json: AsJson = False,
) -> None:
    """Tell a symbol's features of a session, what they are, and why those are null that are.

    Example: market-data features show NKE --session 2025-06-02
    """
    from market_data.features.catalogue import FEATURES
    from market_data.features.one_row import read_row
    from market_data.instruments import load_universe

    settings = load_settings()
    kind = is_synthetic(settings.default_source) if synthetic is None else synthetic
    name, *others = load_universe(settings.universe).select(symbol)
    if others:
        raise SettingsError(f"{symbol!r} names {len(others) + 1} symbols; give one")
    day = None if session is None else session.date()
    row = read_row(settings, name, day, synthetic=kind)
    if as_json:
        values = {
            one.name: {
                "value": row.values[one.name],
                "reason": row.reason(one.name),
                "unit": one.unit,
                "meaning": one.meaning,
            }
            for one in FEATURES
        }
        document = {"symbol": name, "session": row.session.isoformat(), "stale": row.stale, "features": values}
        print(json.dumps(document | {"synthetic": kind}))
        return
    console = show.out()
    with_meaning = console.width >= _WIDE
    made_up = " - SYNTHETIC data" if kind else ""
    table = Table(title=f"{name}, {row.session}{made_up}", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("feature", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("unit, or why it is null")
    if with_meaning:
        table.add_column("meaning")
    for one in FEATURES:
        value = row.values[one.name]
        shown, note = ("-", row.reason(one.name) or "") if value is None else (number(value), one.unit)
        table.add_row(one.name, shown, note, *([one.meaning] if with_meaning else []))
    console.print(table)
    if row.stale:
        console.print(f"not up to date: {row.stale}; `market-data features update` makes it anew", markup=False)


def number(value: float) -> str:
    """A value in five digits, thousands parted."""
    if not math.isfinite(value):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:.5g}"


@features.command(name="list")
def list_features(*, as_json: AsJson = False) -> None:
    """List every feature: its meaning, its unit, and how many sessions it looks back.

    Example: market-data features list
    """
    from market_data.features.catalogue import FEATURES

    if as_json:
        print(json.dumps([asdict(one) for one in FEATURES]))
        return
    table = Table(title=f"{len(FEATURES)} features", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("feature", no_wrap=True)
    table.add_column("sessions", justify="right")
    table.add_column("meaning")
    table.add_column("unit")
    for one in FEATURES:
        table.add_row(one.name, str(one.lookback), one.meaning, one.unit)
    show.out().print(table)
