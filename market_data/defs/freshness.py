"""The checks `current` of freshness by the trading calendar, and the backstop where no check runs any more.

A freshness policy of Dagster's counts hours or follows a cron; to both a long weekend looks stale, and any old
partition that is materialized looks fresh. So the truth is in the checks. What a policy can tell as well is that
nothing was materialized for longer than XNYS closes in a row, which the daemon sees by itself.

Annotations are not postponed here: Dagster reads those of checks and schedules when it defines them.
"""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg

from market_data.defs import show
from market_data.defs.checks import check_result, check_spec
from market_data.defs.failing import plainly
from market_data.defs.resources import MarketDataResource
from market_data.ingest.sources import is_synthetic
from market_data.report.current import CURRENT
from market_data.settings import Settings
from market_data.warehouse.connection import Database

__all__ = ["CURRENT_CHECKS", "backstop", "freshness_checks", "parts"]

CURRENT_CHECKS = tuple(dg.AssetCheckKey(dg.AssetKey(check.asset), "current") for check in CURRENT)


def backstop(settings: Settings) -> dg.FreshnessPolicy | None:
    """The policy of the daily assets: from Saturday 00:15 UTC to Wednesday 00:15 is the longest planned closure.

    None for a store that is not kept current, and for a synthetic one, whose time is not the daemon's.
    """
    if not settings.keep_current or is_synthetic(settings.default_source):
        return None
    return dg.FreshnessPolicy.time_window(fail_window=timedelta(days=5), warn_window=timedelta(days=4, hours=6))


def parts(settings: Settings, sessions: dg.DailyPartitionsDefinition) -> dg.Definitions:
    """The checks, a job of them alone, and the schedule that runs it."""
    checks = freshness_checks()
    job = dg.define_asset_job(
        "freshness_job",
        selection=dg.AssetSelection.checks(checks),
        description="Whether the store is as new as it should be by now: the checks `current`, and nothing else.",
        tags={"market_data/kind": "checks"},
    )
    return dg.Definitions(asset_checks=[checks], jobs=[job], schedules=[_each_third_hour()])


def freshness_checks() -> dg.AssetChecksDefinition:
    """All of them in one step. They read briefly and wait for no pool: they must tell when a run holds it too long."""

    @dg.multi_asset_check(
        name="freshness_checks",
        specs=[check_spec(check.asset, "current", check.description, severe=check.severe) for check in CURRENT],
        can_subset=True,  # a job of some of the assets takes their checks along
    )
    def checks(
        context: dg.AssetCheckExecutionContext, market_data: MarketDataResource
    ) -> Iterator[dg.AssetCheckResult]:
        settings, clock = market_data.settings(), market_data.clock()
        selected = {key.asset_key.to_user_string() for key in context.selected_asset_check_keys}
        with plainly(), market_data.reading() as connection:
            found = [(one, one.function(connection, settings, clock)) for one in CURRENT if one.asset in selected]
        for check, current in found:
            more = dict(current.numbers) | show.source(market_data)
            yield check_result(check.asset, "current", current.result, severe=check.severe, more=more)

    return checks


def _each_third_hour() -> dg.ScheduleDefinition:
    @dg.schedule(
        name="freshness_schedule",
        job_name="freshness_job",
        cron_schedule="5 */3 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Five past each third hour, since a run takes 144 kB of the event log: whether the store is as new "
        "as it should be. Skips while there is none.",
    )
    def freshness_schedule(market_data: MarketDataResource) -> dg.RunRequest | dg.SkipReason:
        path = market_data.settings().database_for(synthetic=market_data.is_synthetic())
        if not Database(path).exists():
            return dg.SkipReason(f"{path}: no database yet")
        return dg.RunRequest()

    return freshness_schedule
