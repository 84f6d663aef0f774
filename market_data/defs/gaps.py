"""Filling of gaps as Dagster runs it: an asset that asks for what is due, a check, and the sensor that starts them.

Annotations are not postponed here: Dagster reads those of an asset and a sensor when it defines it.
"""

from datetime import timedelta
from typing import Any

import dagster as dg
from pydantic import Field

from market_data.defs import lineage, show
from market_data.defs.advice import described
from market_data.defs.assets import ASKS_VENDORS, OWNERS, POOL
from market_data.defs.checks import check_result
from market_data.defs.failing import told_plainly
from market_data.defs.resources import MarketDataResource
from market_data.errors import WarehouseLocked
from market_data.ingest.gaps.run import GapsFilled, fill_due_gaps, open_again
from market_data.ingest.gaps.watch import look_for_gaps
from market_data.report.checks import CheckResult
from market_data.settings import Settings
from market_data.warehouse.gaps import read_gaps

__all__ = ["GapFillingConfig", "parts"]

JOB = "gap_filling_job"
TAGS = {"market_data/kind": "gaps"}
PRICES = dg.AssetKey("daily_prices")
OLD = timedelta(days=7)
"""How long a gap may be open before the check warns of it."""
SHOWN = 50
"""Rows of a table, and sessions that are told of at the asset of the prices."""
NOT_ENDED = [
    status
    for status in dg.DagsterRunStatus
    if status not in (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
]

_COLUMNS = {
    "symbol": ("str", "Canonical symbol"),
    "date": ("date", "XNYS session"),
    "kind": ("str", "missing, rejected, unanswered, or low_score"),
    "state": ("str", "open: asked for again; known: nobody can fill it; closed: filled"),
    "reason": ("str", "Why it is so"),
    "tries": ("int", "Times it was asked for in vain"),
    "next_try_at": ("timestamp", "From when it is asked for again, UTC"),
}


class GapFillingConfig(dg.Config):
    """Whose gaps are asked for."""

    symbols: str = Field(default="all", description="whose: all, a list as in AAPL,MSFT, or @FILE with one a line")
    retry: bool = Field(
        default=False, description="true: ask at once, and for gaps that are known to be nowhere as well"
    )


def parts(settings: Settings, sessions: dg.DailyPartitionsDefinition) -> dg.Definitions:
    """The asset `gap_filling`, its check, job and sensor."""
    asset = _gap_filling()
    job = dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.assets(asset),
        description="Asks for older sessions that lack a good bar, as far as the day's budget goes.",
        tags=TAGS,
    )
    return dg.Definitions(
        assets=[asset], asset_checks=[_open_gaps(asset)], jobs=[job], sensors=[_gap_filler(settings.gap_calls)]
    )


def _gap_filling() -> dg.AssetsDefinition:
    @dg.asset(
        deps=["quality_log"],
        pool=POOL,
        group_name="operations",
        owners=OWNERS,
        tags=ASKS_VENDORS,
        kinds={"python", "duckdb"},
        metadata={
            "dagster/table_name": "gaps",
            "dagster/column_lineage": lineage.GAPS,
            "dagster/column_schema": dg.TableSchema(
                [dg.TableColumn(name, kind, description=told) for name, (kind, told) in _COLUMNS.items()]
            ),
        },
    )
    @told_plainly
    def gap_filling(
        context: dg.AssetExecutionContext, config: GapFillingConfig, market_data: MarketDataResource
    ) -> dg.MaterializeResult[None]:
        """Sessions that lack a good bar, and what was done about it.

        `gaps`: found, asked for again, and known once nobody can fill them. Looks at everything older than the days of
        the nightly sync, instruments added to the universe included. One request a symbol, to vendors that did not
        answer for it yet, at most `MARKET_DATA_GAP_CALLS` calls a UTC day. What is asked for in vain is asked for again
        after 1, 6, 24 and 72 hours. Known gaps come back when the instrument, the vendors in use or the archive change.

        **From** `quality_log`. What was filled is told at `daily_prices`, as an observation of its session.

        **When it fails**, no vendor may be asked, or the database could not be used; the sensor `gap_filler` starts it
        again when something is due. To try everything now, launch it with `retry: true`.
        """
        filled = _filled(context.run.run_id, config, market_data)
        for observation in _observations(filled):
            context.log_event(observation)
        with market_data.reading() as connection:
            known = read_gaps(connection, state="known", limit=SHOWN)
            still_open = read_gaps(connection, state="open", limit=SHOWN)
        tables = {"known gaps": known, "open gaps": still_open}
        return dg.MaterializeResult(
            metadata=_metadata(filled)
            | {name: show.table(rows.to_dict("records")) for name, rows in tables.items() if len(rows)}
            | show.source(market_data)
        )

    return gap_filling


def _filled(run_id: str, config: GapFillingConfig, market_data: MarketDataResource) -> GapsFilled:
    settings, universe, clock = market_data.settings(), market_data.universe(), market_data.clock()
    symbols = universe.select(config.symbols)
    if config.retry:
        open_again(settings, symbols, synthetic=market_data.is_synthetic(), clock=clock)
    with market_data.opened() as source:
        return fill_due_gaps(
            settings, universe, source, job_id=run_id, symbols=symbols, with_key=_with_key(market_data), clock=clock
        )


def _with_key(market_data: MarketDataResource) -> list[str] | None:
    """The vendors whose keys the resources hold; None for the sandbox, whose vendors take any."""
    if market_data.is_synthetic():
        return None
    return list(market_data.vendor_keys())


def _observations(filled: GapsFilled) -> list[dg.AssetObservation]:
    """What was filled, by session, the newest first; a partition is not materialized by one bar of it."""
    return [
        dg.AssetObservation(
            PRICES,
            partition=f"{day:%Y-%m-%d}",
            description=f"{len(rows)} bars filled in",
            metadata={
                "symbols filled": ", ".join(rows["symbol"][:SHOWN]),
                "bars filled": len(rows),
                "from": ", ".join(sorted(set(rows["provider"]))),
                "job": filled.job_id,
            },
        )
        for day, rows in list(filled.filled.groupby("date", sort=False))[:SHOWN]
    ]


def _metadata(filled: GapsFilled) -> dict[str, Any]:
    records = [record for summary in filled.summaries for record in summary.records]
    not_good = [record for record in records if not record.outcome.is_good]
    metadata: dict[str, Any] = {
        "open": filled.counts["open"],
        "known": filled.counts["known"],
        "closed": filled.counts["closed"],
        "opened now": filled.opened,
        "closed now": filled.closed,
        "filled now": len(filled.filled),
        "became known": filled.became_known,
        "symbols asked for": filled.asked,
        "symbols left for another day": filled.left_for_budget,
        "calls": filled.calls,
    }
    if not_good:
        metadata["not accepted"] = show.table(
            [
                {"symbol": record.symbol, "outcome": str(record.outcome), "reason": record.reason or ""}
                for record in not_good[:SHOWN]
            ]
        )
    return metadata


def _open_gaps(asset: dg.AssetsDefinition) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset,
        name="open_gaps",
        description=described(
            "gap_filling",
            "open_gaps",
            f"No gap has been open for more than {OLD.days} days: neither filled nor known to be nowhere.",
        ),
        metadata={"severity": "WARN"},
        pool=POOL,
    )
    def open_gaps(market_data: MarketDataResource) -> dg.AssetCheckResult:
        with market_data.reading() as connection:
            old = read_gaps(connection, state="open", found_before=market_data.clock()() - OLD)
        number = int(old["sessions"].sum()) if len(old) else 0
        told = f"{number:,} gaps of {old['symbol'].nunique()} symbols have been open for more than {OLD.days} days"
        told = told if number else f"no gap has been open for more than {OLD.days} days"
        result = CheckResult(not number, number, old.head(SHOWN), float(number), told)
        return check_result("gap_filling", "open_gaps", result, severe=False, more={"gaps": number})

    return open_gaps


def _gap_filler(calls: int) -> dg.SensorDefinition:
    @dg.sensor(
        name="gap_filler",
        job_name=JOB,
        minimum_interval_seconds=300,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts gap_filling when a gap is due, or the store, the universe, the vendors in use or the "
        f"archive changed. Skips, with its reason, while a run is under way and when the {calls} calls of the day are "
        "spent.",
    )
    def gap_filler(
        context: dg.SensorEvaluationContext, market_data: MarketDataResource
    ) -> dg.SensorResult | dg.SkipReason:
        under_way = context.instance.get_run_records(dg.RunsFilter(tags=TAGS, statuses=NOT_ENDED), limit=1)
        if under_way:
            return dg.SkipReason(f"run {under_way[0].dagster_run.run_id[:8]} is filling gaps")
        try:
            look = look_for_gaps(
                market_data.settings(),
                market_data.universe(),
                market_data.source_name(),
                cursor=context.cursor,
                with_key=_with_key(market_data),
                clock=market_data.clock(),
            )
        except WarehouseLocked as error:
            return dg.SkipReason(f"another process is writing: {error}")
        if not look.is_due:
            return dg.SensorResult(skip_reason=look.reason, cursor=look.cursor)
        context.log.info(look.reason)
        return dg.SensorResult(run_requests=[dg.RunRequest(tags=TAGS)], cursor=look.cursor)

    return gap_filler
