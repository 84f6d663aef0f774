"""Intraday minutes as Dagster runs them: one run a session that polls, and a sensor that keeps it alive.

Annotations are not postponed here: Dagster reads those of an asset and a sensor when it defines it.
"""

from collections.abc import Sequence
from datetime import date

import dagster as dg
from pydantic import Field

from market_data.defs import show
from market_data.defs.assets import ASKS_VENDORS, OWNERS
from market_data.defs.checks import span_checks
from market_data.defs.failing import failure, told_plainly
from market_data.defs.resources import MarketDataResource
from market_data.errors import WarehouseError, WarehouseLocked
from market_data.ingest.intraday.poller import SessionPolled, apply_left_packs, poll_session, poller_is_alive
from market_data.ingest.intraday.span import can_be_polled
from market_data.ingest.intraday.watch import decide, is_polled_to_its_end
from market_data.report.intraday import INTRADAY_CHECKS, intraday_gaps
from market_data.schemas import IntradayBars
from market_data.settings import Settings
from market_data.warehouse.intraday_polls import SessionTotals, session_totals

__all__ = ["IntradayConfig", "parts"]

GROUP = "intraday"
JOB = "intraday_job"
_BEGINNING = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING]


class IntradayConfig(dg.Config):
    """Whose minutes are polled."""

    symbols: str = Field(
        default="",
        description="whose: all, a list as in AAPL,MSFT, or @FILE with one a line; empty: MARKET_DATA_INTRADAY_SYMBOLS",
    )


def parts(settings: Settings, sessions: dg.DailyPartitionsDefinition) -> dg.Definitions:
    """The asset, its checks, its job and the sensor."""
    with_today = dg.DailyPartitionsDefinition(
        start_date=sessions.start,
        end_date=sessions.end,
        timezone="UTC",
        exclusions=sessions.exclusions,
        # A session is polled on its own day, before its partition would be there otherwise.
        end_offset=1 if settings.keep_current else 0,
    )
    asset = _intraday_prices(with_today)
    job = dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.assets(asset),
        description="Polls the minutes of a session until it is over, and checks them. One run a session.",
        # A session takes seven hours. A run that died is started again by the sensor, which knows for what.
        tags={"dagster/max_retries": "0", "dagster/max_runtime": "30000", "market_data/kind": "intraday"},
    )
    return dg.Definitions(
        assets=[asset],
        asset_checks=[
            span_checks("intraday_checks", "intraday_prices", INTRADAY_CHECKS, pool=None, last=date(9999, 12, 31))
        ],
        jobs=[job],
        sensors=[_intraday_session()],
    )


def _intraday_prices(sessions: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        partitions_def=sessions,
        group_name=GROUP,
        owners=OWNERS,
        tags=ASKS_VENDORS,
        kinds={"python", "duckdb"},
        metadata={
            "dagster/column_schema": show.column_schema(IntradayBars, symbol=True),
            "dagster/table_name": "price_history_intraday",
        },
    )
    @told_plainly
    def intraday_prices(
        context: dg.AssetExecutionContext, config: IntradayConfig, market_data: MarketDataResource
    ) -> dg.MaterializeResult[None]:
        """Minutes of a session, while it is under way.

        `price_history_intraday`, upserted by (symbol, datetime). The run of today's session polls until some minutes
        after the close, each answer kept in a pack before anything is made of it; a minute is provisional until it has
        settled. A session of before is not polled: what is stored of it is shown.

        **From** a vendor that serves minutes live, for the symbols of `MARKET_DATA_INTRADAY_SYMBOLS`.

        **When it fails**, no minute of the session is stored. On its day the sensor `intraday_session` starts another
        run; later `market-data intraday backfill` asks for it. A run killed in the midst loses no answer that was kept.
        """
        session = date.fromisoformat(context.partition_key)
        polled = _polled(context, config, market_data, session)
        with market_data.reading() as connection:
            totals = session_totals(connection, session)
            gaps = intraday_gaps(connection, session, session, market_data.settings())
        metadata = _metadata(totals, polled) | {"gaps": gaps.measured, "gaps told": gaps.summary}
        if not totals.bars:
            raise failure(
                f"no minutes of {session} are stored; poll it on its day, or run `market-data intraday backfill`",
                f"market-data intraday backfill --start {session} --end {session}",
                metadata,
            )
        return dg.MaterializeResult(metadata=metadata | show.source(market_data))

    return intraday_prices


def _polled(
    context: dg.AssetExecutionContext, config: IntradayConfig, market_data: MarketDataResource, session: date
) -> SessionPolled | None:
    """Poll a session of today; of one before, apply what a died poller left."""
    settings, universe, clock = market_data.settings(), market_data.universe(), market_data.clock()
    if not can_be_polled(session, clock()):
        apply_left_packs(settings, universe, session, synthetic=market_data.is_synthetic())
        return None
    symbols = universe.select(config.symbols or settings.intraday_symbols)
    with market_data.opened() as source:
        return poll_session(settings, universe, source, session, symbols, job_id=context.run.run_id, clock=clock)


def _metadata(totals: SessionTotals, polled: SessionPolled | None) -> show.Metadata:
    metadata: show.Metadata = {
        "dagster/partition_row_count": totals.bars,
        "bars": totals.bars,
        "symbols": totals.symbols,
        "provisional": totals.provisional,
        "polls": totals.polls,
        "skipped": totals.skipped,
        "calls": totals.calls,
        "unanswered": totals.failed,
        "refused": totals.refused,
    }
    for name, value in (("p95_latency_ms", totals.p95_ms), ("p95_own_ms", totals.own_p95_ms)):
        if value is not None:
            metadata[name] = round(value, 1)
    if polled is not None:
        metadata["missing"] = polled.missing
    return metadata


def _intraday_session() -> dg.SensorDefinition:
    @dg.sensor(
        name="intraday_session",
        job_name=JOB,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Keeps one run alive that polls the session under way: starts it at the open, again within a "
        "minute where it died, and once after the close where it had not come to its end. Skips, with its reason, "
        "when nothing is to be done.",
    )
    def intraday_session(
        context: dg.SensorEvaluationContext, market_data: MarketDataResource
    ) -> dg.RunRequest | dg.SkipReason:
        settings, now = market_data.settings(), market_data.clock()()
        decision = decide(
            settings,
            now,
            cursor=context.cursor,
            alive=poller_is_alive(settings) or _is_beginning(context.instance),
            has_ended=lambda session: _has_ended(market_data, session),
        )
        if decision.session is None or decision.starts is None:
            return dg.SkipReason(decision.reason)
        context.update_cursor(decision.starts.cursor())
        key = decision.session.isoformat()
        return dg.RunRequest(run_key=f"intraday {key} start {decision.starts.count}", partition_key=key)

    return intraday_session


def _is_beginning(instance: dg.DagsterInstance) -> bool:
    """Whether a run of the job waits for its turn, or for its process."""
    found: Sequence[dg.DagsterRun] = instance.get_runs(dg.RunsFilter(job_name=JOB, statuses=_BEGINNING), limit=1)
    return bool(found)


def _has_ended(market_data: MarketDataResource, session: date) -> bool:
    """Whether a session was polled to its end; a database that is in use is looked at the next time."""
    try:
        with market_data.reading() as connection:
            return is_polled_to_its_end(connection, session)
    except WarehouseError as error:
        return isinstance(error, WarehouseLocked)
