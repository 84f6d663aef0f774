"""`market-data splits`: learn the splits of every symbol, beside which raw prices are judged."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from market_data.cli import show
from market_data.cli.backfill import new_job_id
from market_data.ingest.sources import open_source
from market_data.ingest.splits import fetch_splits
from market_data.instruments import load_universe
from market_data.settings import load_settings

__all__ = ["splits"]


def splits(
    *,
    provider: Annotated[str | None, typer.Option(help="vendors, polygon or sandbox; by default as backfill.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a sentence.")] = False,
) -> None:
    """Ask Polygon for the splits of all symbols in the window: a few calls, and none for what is known already.

    Raw prices step at each split; validation flags the step where it does not know the split.

    Example: market-data splits --provider vendors
    """
    settings = load_settings()
    universe = load_universe(settings.universe)
    with open_source(provider or settings.default_source, settings, universe) as source:
        fetched = fetch_splits(settings, universe, source, job_id=new_job_id())
        synthetic = source.synthetic
    if as_json:
        print(
            json.dumps(
                {
                    "synthetic": synthetic,
                    "calls": fetched.calls,
                    "splits": fetched.splits,
                    "symbols": fetched.symbols,
                }
            )
        )
    else:
        note = f"  {show.SYNTHETIC}" if synthetic else ""
        show.out().print(
            f"{fetched.splits} splits of {len(fetched.symbols)} symbols, by {fetched.calls} calls{note}", markup=False
        )
