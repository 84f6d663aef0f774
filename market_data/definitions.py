"""What workspace.yaml points at: the project's Dagster definitions."""

from __future__ import annotations

import os
import warnings

import dagster as dg

from market_data.defs import (
    alerts,
    automation,
    executions,
    features,
    freshness,
    gaps,
    health,
    housekeeping,
    intraday,
    report,
    sync,
)
from market_data.defs.actions import corporate_actions_asset
from market_data.defs.assets import daily_assets
from market_data.defs.checks import daily_price_checks
from market_data.defs.partitions import session_partitions
from market_data.defs.resources import (
    AlphaVantageResource,
    MarketDataResource,
    PolygonResource,
    StooqResource,
    YahooResource,
)
from market_data.ingest.sources import vendor_catalogue
from market_data.providers.config import ProviderConfig
from market_data.settings import Settings, load_settings

# Backfill policies are in beta in the pinned Dagster; what exchange_calendars is warned of, and Dagster itself about
# resources within resources, is not ours to mend.
warnings.filterwarnings("ignore", r"Parameter `(backfill_policy|include_sources)`", dg.BetaWarning)
warnings.filterwarnings("ignore", "Series.values returning")
warnings.filterwarnings("ignore", "InitResourceContext.dagster_run is deprecated", DeprecationWarning)

__all__ = ["build_definitions", "defs"]

PARTS = (
    sync.parts,
    gaps.parts,
    automation.parts,
    alerts.parts,
    freshness.parts,
    health.parts,
    housekeeping.parts,
    executions.parts,
    intraday.parts,
    features.parts,
    report.parts,
)
"""What keeps the store current and what follows from it, each with its assets, checks, jobs, schedules and sensors."""


def build_definitions(settings: Settings | None = None) -> dg.Definitions:
    """Fresh definitions; they touch neither network nor database."""
    settings = settings or load_settings()
    sessions = session_partitions(settings.window_start, settings.window_end, goes_on=settings.keep_current)
    assets = daily_assets(sessions, freshness=freshness.backstop(settings))
    checks = daily_price_checks()
    job = dg.define_asset_job(
        "daily_prices_job",
        selection=dg.AssetSelection.assets(*assets) - dg.AssetSelection.checks(*freshness.CURRENT_CHECKS),
        description="Raw bars, validated prices and the quality log of a session, with every check. What is held is "
        "not asked for again; `ask_again_job` does.",
        tags={"market_data/kind": "backfill"},
    )
    own = dg.Definitions(
        assets=[*assets, corporate_actions_asset()],
        asset_checks=[checks],
        jobs=[job],
        resources=_resources(settings),
        executor=dg.in_process_executor,
    )
    return dg.Definitions.merge(own, *(part(settings, sessions) for part in PARTS))


def _resources(settings: Settings) -> dict[str, object]:
    catalogue = vendor_catalogue(settings)
    polygon = PolygonResource(key=_key(catalogue.get("polygon")))
    alpha_vantage = AlphaVantageResource(key=_key(catalogue.get("alpha_vantage")))
    stooq = StooqResource(key=_key(catalogue.get("stooq")))
    yahoo = YahooResource(key=_key(catalogue.get("yahoo")))
    market_data = MarketDataResource(polygon=polygon, alpha_vantage=alpha_vantage, stooq=stooq, yahoo=yahoo)
    return {
        "market_data": market_data,
        "polygon": polygon,
        "alpha_vantage": alpha_vantage,
        "stooq": stooq,
        "yahoo": yahoo,
    }


def _key(config: ProviderConfig | None) -> str:
    """The vendor's key as a reference to its variable: no value of it is in what Dagster stores or shows."""
    if config is None or config.key_variable is None:
        return ""
    # Dagster refuses to start a run over a variable that is not set; a vendor without its key is just not asked.
    os.environ.setdefault(config.key_variable, "")
    return dg.EnvVar(config.key_variable)


defs = build_definitions()
