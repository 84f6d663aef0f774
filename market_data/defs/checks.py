"""Asset checks: the checks of `market_data.report.checks`, over the partitions of the run."""

from collections.abc import Iterator
from datetime import date

import dagster as dg

from market_data.defs import show
from market_data.defs.assets import POOL
from market_data.defs.partitions import span_of
from market_data.defs.resources import MarketDataResource
from market_data.report.catalogue import CHECKS
from market_data.report.checks import Check
from market_data.settings import Settings

__all__ = ["daily_price_checks"]

ASSET = dg.AssetKey("daily_prices")


def daily_price_checks() -> dg.AssetChecksDefinition:
    """All checks of daily_prices in one step, since a step costs more than a check."""

    @dg.multi_asset_check(
        name="daily_price_checks",
        specs=[
            dg.AssetCheckSpec(
                check.name,
                asset=ASSET,
                description=check.description,
                blocking=check.blocking,
                metadata={"severity": _severity(check).value},
            )
            for check in CHECKS
        ],
        pool=POOL,
    )
    def checks(
        context: dg.AssetCheckExecutionContext, market_data: MarketDataResource
    ) -> Iterator[dg.AssetCheckResult]:
        settings = market_data.settings()
        first, last = _span(context, settings)
        with market_data.reading() as connection:
            results = [(check, check.function(connection, first, last, settings)) for check in CHECKS]
        for check, result in results:
            yield dg.AssetCheckResult(
                check_name=check.name,
                passed=result.passed,
                severity=_severity(check),
                description=result.summary,
                metadata=show.check_metadata(result) | {"span": f"{first} to {last}"} | show.source(market_data),
            )

    return checks


def _span(context: dg.AssetCheckExecutionContext, settings: Settings) -> tuple[date, date]:
    """The run's sessions; the whole window for a run of checks alone, to which Dagster gives no partitions."""
    if context.has_partition_key or context.has_partition_key_range:
        return span_of(context.partition_keys)
    return settings.window_start, settings.window_end


def _severity(check: Check) -> dg.AssetCheckSeverity:
    return dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN
