"""The nightly sync as Dagster runs it: a schedule that asks for one run over the sessions that are due.

Annotations are not postponed here: Dagster reads those of a schedule when it defines it.
"""

import dagster as dg

from market_data.defs.assets import GROUP
from market_data.defs.freshness import CURRENT_CHECKS
from market_data.defs.resources import MarketDataResource
from market_data.errors import WarehouseLocked
from market_data.ingest.sources import is_synthetic
from market_data.ingest.sync.plan import SyncPlan, plan_sync, plan_unseen
from market_data.settings import Settings

__all__ = ["parts"]

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def parts(settings: Settings, sessions: dg.DailyPartitionsDefinition) -> dg.Definitions:
    """The job and its schedule, the job that asks again, and the weekly one of the corporate actions."""
    daily = dg.AssetSelection.groups(GROUP) - dg.AssetSelection.checks(*CURRENT_CHECKS)
    job = dg.define_asset_job(
        "daily_sync_job",
        selection=daily,
        description="The latest sessions: what is missing of them, and what vendors may have restated. The schedule "
        "`daily_sync` starts it; to fill in sessions by hand, materialize the group `daily_prices`.",
        tags={"market_data/kind": "sync"},
    )
    again = dg.define_asset_job(
        "ask_again_job",
        selection=daily,
        config={"ops": {"raw_bars": {"config": {"ask_again": True, "symbols": "all"}}}},
        description="Mends a session whose stored bars are in doubt: asks the vendors for it although it is held, "
        "stores the newer answer, and checks it. Costs a call a symbol, so name the symbols in the Launchpad. What it "
        "replaces stays in `revisions`.",
        tags={"market_data/kind": "again"},
    )
    actions = dg.define_asset_job(
        "corporate_actions_job",
        selection=dg.AssetSelection.assets("corporate_actions"),
        description="Splits and dividends that no stored payload tells of.",
        tags={"market_data/kind": "actions"},
    )
    return dg.Definitions(
        jobs=[job, again, actions],
        schedules=[_daily_sync(synthetic=is_synthetic(settings.default_source)), _weekly_actions()],
    )


def _daily_sync(*, synthetic: bool) -> dg.ScheduleDefinition:
    @dg.schedule(
        name="daily_sync",
        job_name="daily_sync_job",
        # The sandbox's time is moved by hand, and may pass its 00:15 at any minute of ours.
        cron_schedule="* * * * *" if synthetic else "15 0 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="00:15 UTC: yesterday's session and what is missing of the last days, as one range run; skips, "
        "with its reason, when nothing is. In the synthetic store it looks each minute whether the sandbox's clock has "
        "passed a session.",
    )
    def daily_sync(
        context: dg.ScheduleEvaluationContext, market_data: MarketDataResource
    ) -> dg.RunRequest | dg.SkipReason:
        plan = _plan(context, market_data)
        if plan.idle is not None:
            return dg.SkipReason(plan.idle)
        context.log.info(plan.told())
        return sync_request(plan)

    return daily_sync


def _plan(context: dg.ScheduleEvaluationContext, market_data: MarketDataResource) -> SyncPlan:
    """What is due; where the database is busy, the run finds that out by itself."""
    settings, universe, clock = market_data.settings(), market_data.universe(), market_data.clock()
    try:
        return plan_sync(
            settings,
            universe,
            list(universe),
            synthetic=market_data.is_synthetic(),
            asks_vendors=market_data.source_name() != "stooq_bulk",
            clock=clock,
        )
    except WarehouseLocked as error:
        context.log.warning(f"{error}; the run finds out what is due by itself")
        return plan_unseen(settings, clock)


def sync_request(plan: SyncPlan) -> dg.RunRequest:
    """One run over the plan's sessions; the same night's plan gives the same run."""
    since = plan.since.isoformat()
    return dg.RunRequest(
        run_key=f"sync {plan.end} of {since[:10]}",
        run_config={
            "ops": {"raw_bars": {"config": {"since": since}}, "daily_prices": {"config": {"since": since}}},
        },
        tags={RANGE_START: plan.start.isoformat(), RANGE_END: plan.end.isoformat()},
    )


def _weekly_actions() -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(
        name="weekly_actions",
        job_name="corporate_actions_job",
        cron_schedule="0 6 * * 0",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Sundays 06:00 UTC: dividends take a call a symbol; splits of all come with each nightly sync.",
    )
