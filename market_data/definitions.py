"""What workspace.yaml points at: the project's Dagster definitions."""

from __future__ import annotations

import warnings

import dagster as dg

from market_data.defs.assets import daily_assets
from market_data.defs.checks import daily_price_checks
from market_data.defs.partitions import session_partitions
from market_data.defs.resources import MarketDataResource
from market_data.settings import Settings, load_settings

# Backfill policies are in beta in the pinned Dagster, and what exchange_calendars is warned of is not ours to mend.
warnings.filterwarnings("ignore", r"Parameter `(backfill_policy|include_sources)`", dg.BetaWarning)
warnings.filterwarnings("ignore", "Series.values returning")

__all__ = ["build_definitions", "defs"]


def build_definitions(settings: Settings | None = None) -> dg.Definitions:
    """Fresh definitions; they touch neither network nor database."""
    settings = settings or load_settings()
    sessions = session_partitions(settings.window_start, settings.window_end)
    assets = daily_assets(sessions)
    checks = daily_price_checks()
    job = dg.define_asset_job(
        "daily_prices_job",
        selection=dg.AssetSelection.assets(*assets),
        description="Raw bars, validated prices and the quality log of a session, with every check.",
    )
    return dg.Definitions(
        assets=assets,
        asset_checks=[checks],
        jobs=[job],
        resources={"market_data": MarketDataResource()},
        executor=dg.in_process_executor,
    )


defs = build_definitions()
