"""Executions: taken from the drop folder by a sensor, and measured beside the stored prices whenever these change.

Annotations are not postponed here: Dagster reads those of an asset when it defines it.
"""

from collections.abc import Mapping, Sequence

import dagster as dg
from pydantic import Field

from market_data.defs import lineage, show
from market_data.defs.assets import ASKS_NOBODY, OWNERS, POOL
from market_data.defs.checks import checks_in_one_step
from market_data.defs.failing import told_plainly
from market_data.defs.resources import MarketDataResource
from market_data.defs.slippage_schema import slippage_schema
from market_data.ingest.executions.folder import next_batch, take_folder
from market_data.ingest.executions.taking import FeedbackTaken
from market_data.report.checks import CheckResult
from market_data.report.execution_checks import EXECUTION_CHECKS, SLIPPAGE_CHECKS, ExecutionCheck
from market_data.report.slippage import Slippage, by_session, update_slippage
from market_data.schemas import Executions
from market_data.settings import Settings

__all__ = ["FeedbackConfig", "parts", "slippage_condition"]

GROUP = "executions"
FEEDBACK, SLIPPAGE = dg.AssetKey("execution_feedback"), dg.AssetKey("execution_slippage")
JOB = "execution_feedback_job"
BATCH_TAG = "market_data/feedback_batch"
TRIES = 3
_Row = Mapping[str, str | int | float | None]
_COUNTS = {
    "lines": "lines",
    "new": "inserted",
    "changed": "updated",
    "same": "unchanged",
    "outdated": "superseded",
    "repeated": "duplicates",
    "quarantined": "rejected",
}


class FeedbackConfig(dg.Config):
    """Which files are taken."""

    files: list[str] = Field(
        default=[],
        description="names of files in the drop folder, as in [fills.csv]; none: all that are whole",
    )


def parts(settings: Settings, sessions: dg.DailyPartitionsDefinition) -> dg.Definitions:
    """The assets of executions, their checks, and the sensor that looks at the drop folder."""
    job = dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.assets(FEEDBACK),
        description="Takes the files of executions in the drop folder, with the checks on them.",
        tags={"market_data/kind": "executions"},
    )
    return dg.Definitions(
        assets=[_feedback_asset(), _slippage_asset()],
        asset_checks=[
            _checks("execution_feedback_checks", FEEDBACK, EXECUTION_CHECKS),
            _checks("execution_slippage_checks", SLIPPAGE, SLIPPAGE_CHECKS),
        ],
        jobs=[job],
        sensors=[_sensor()],
    )


def slippage_condition() -> dg.AutomationCondition[dg.AssetKey | dg.AssetCheckKey]:
    """Measure anew once an asset above was updated and none of their blocking checks failed.

    It is `eager() & all_deps_blocking_checks_passed()` but for `~any_deps_missing()`: the prices are partitioned, and a
    session that is not there, as each one to come, must not hold back the orders of the others. And it holds as well
    while nothing was ever measured: what was updated before the first look is seen by nobody else.
    """
    condition = dg.AutomationCondition
    return (
        (condition.any_deps_updated().since_last_handled() | (condition.missing() & ~condition.execution_failed()))
        & ~condition.any_deps_in_progress()
        & ~condition.in_progress()
        & condition.all_deps_blocking_checks_passed()
    ).with_label("prices or executions updated, and sound")


def _feedback_asset() -> dg.AssetsDefinition:
    @dg.asset(
        pool=POOL,
        group_name=GROUP,
        owners=OWNERS,
        tags=ASKS_NOBODY,
        kinds={"python", "duckdb", "pandera"},
        metadata={
            "dagster/table_name": "execution_feedback",
            "dagster/column_schema": show.column_schema(Executions),
        },
    )
    @told_plainly
    def execution_feedback(config: FeedbackConfig, market_data: MarketDataResource) -> dg.MaterializeResult[None]:
        """Executions reported back, a row an order.

        `execution_feedback`, upserted by order. A line that cannot be used is quarantined, in `execution_rejects` and
        in `<file>.rejected.jsonl`; a file of which nothing can be used goes to `rejected/`. A correction replaces a
        row, which is kept in `execution_revisions`. The same content changes nothing the second time.

        **From** files of CSV or JSON lines in the drop folder (`MARKET_DATA_FEEDBACK`): those that are whole are taken,
        each in one transaction, and moved to `taken/`. The sensor `execution_files` looks twice a minute.

        **When it fails**, the folder or the database could not be used, and the files are where they were. After three
        runs in vain the sensor waits until they are dropped again. Lines that were refused fail no run: the check
        `executions_quarantine` names them, with what to correct.
        """
        taken = take_folder(
            market_data.settings(),
            market_data.universe(),
            synthetic=market_data.is_synthetic(),
            names=config.files,
            clock=market_data.clock(),
        )
        with market_data.reading() as connection:
            orders = connection.execute("SELECT count(*) FROM execution_feedback").fetchall()[0][0]
        metadata = {"dagster/row_count": orders} | _taken(taken)
        return dg.MaterializeResult(metadata=metadata | show.source(market_data))

    return execution_feedback


def _slippage_asset() -> dg.AssetsDefinition:
    @dg.asset(
        deps=[FEEDBACK, dg.AssetKey("daily_prices"), dg.AssetKey("intraday_prices")],
        automation_condition=slippage_condition(),
        pool=POOL,
        group_name=GROUP,
        owners=OWNERS,
        tags=ASKS_NOBODY,
        kinds={"python", "duckdb"},
        metadata={
            "dagster/table_name": "execution_slippage",
            "dagster/column_lineage": lineage.SLIPPAGE,
            "dagster/column_schema": slippage_schema(),
        },
    )
    @told_plainly
    def execution_slippage(market_data: MarketDataResource) -> dg.MaterializeResult[None]:
        """What each order cost beside the canonical prices.

        `execution_slippage`, a row an order. Benchmarks are the decision price (implementation shortfall), the price at
        arrival, the close before, the close and the volume-weighted price of the session, and that from arrival to
        execution. In basis points and dollars, with and without fees; above 0 is a cost. What is not known yet is null
        with its reason, and is filled when the prices come. Rows that do not change are not written.

        **From** `execution_feedback`, `daily_prices` and `intraday_prices`, measured anew by itself when these change.

        **When it fails**, the database could not be used: the error says who holds it. An order without a benchmark
        fails no run: the check `slippage_complete` names it, with what is missing.
        """
        settings, synthetic = market_data.settings(), market_data.is_synthetic()
        done = update_slippage(settings, synthetic=synthetic, clock=market_data.clock())
        with market_data.reading() as connection:
            rows = list(by_session(connection))
        metadata = _measured(done)
        if rows:
            metadata["last sessions"] = show.table(rows)
        return dg.MaterializeResult(metadata=metadata | show.source(market_data))

    return execution_slippage


def _sensor() -> dg.SensorDefinition:
    @dg.sensor(
        job_name=JOB,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Looks at the drop folder of executions, and has the files taken that are whole.",
    )
    def execution_files(
        context: dg.SensorEvaluationContext, market_data: MarketDataResource
    ) -> dg.RunRequest | dg.SkipReason:
        batch = next_batch(market_data.settings().feedback_folder, context.cursor)
        context.update_cursor(batch.cursor)
        if not batch.names:
            return dg.SkipReason(batch.reason)
        runs = context.instance.get_runs(dg.RunsFilter(job_name=JOB), limit=20)
        if under_way := [run for run in runs if not run.is_finished]:
            return dg.SkipReason(f"run {under_way[0].run_id} is taking files")
        tried = context.instance.get_runs_count(dg.RunsFilter(job_name=JOB, tags={BATCH_TAG: batch.key}))
        if tried >= TRIES:
            names = ", ".join(batch.names)
            return dg.SkipReason(f"{TRIES} runs could not take {names}; mend what they tell and drop them again")
        return dg.RunRequest(
            run_key=f"{batch.key}:{tried}",
            run_config={"ops": {"execution_feedback": {"config": {"files": list(batch.names)}}}},
            tags={BATCH_TAG: batch.key},
        )

    return execution_files


def _checks(name: str, asset: dg.AssetKey, checks: Sequence[ExecutionCheck]) -> dg.AssetChecksDefinition:
    def evaluate(
        context: dg.AssetCheckExecutionContext, market_data: MarketDataResource, wanted: Sequence[ExecutionCheck]
    ) -> tuple[list[CheckResult], show.Metadata]:
        now = market_data.clock()()
        with market_data.reading() as connection:
            return [check.function(connection, now) for check in wanted], {}

    return checks_in_one_step(name, asset.to_user_string(), checks, evaluate)


def _taken(taken: FeedbackTaken) -> show.Metadata:
    metadata: show.Metadata = {"files": len(taken.files)}
    metadata |= {label: taken.total(name) for label, name in _COUNTS.items()}
    metadata["refused files"] = sum(one.file.refused is not None for one in taken.files)
    if taken.files:
        rows: list[_Row] = [
            {"file": one.file.name}
            | {label: getattr(one.file, name) for label, name in _COUNTS.items()}
            | {"refused": one.file.refused or "", "ignored columns": ", ".join(one.ignored)}
            for one in taken.files[: show.SHOWN]
        ]
        metadata["taken"] = show.table(rows)
    rejects: list[_Row] = [
        {"file": one.file.name, "line": reject.line, "reason": reject.reason}
        for one in taken.files
        for reject in one.rejects
    ]
    if rejects:
        metadata["rejected lines"] = show.table(rejects[: show.SHOWN])
    findings: list[_Row] = [{"finding": finding} for one in taken.files for finding in one.findings]
    if findings:
        metadata["findings"] = show.table(findings[: show.SHOWN])
    return metadata


def _measured(done: Slippage) -> show.Metadata:
    metadata: show.Metadata = {
        "dagster/row_count": done.orders,
        "new": done.rows.inserted,
        "changed": done.rows.updated,
        "same": done.rows.unchanged,
        "without a benchmark": done.without,
        "notional": done.notional,
    }
    metadata |= {f"{name} bp": mean for name, mean in done.means.items()}
    return metadata if done.fees_bp is None else metadata | {"fees bp": done.fees_bp}
