"""Executions: taken from the drop folder by a sensor, and measured beside the stored prices whenever these change.

Annotations are not postponed here: Dagster reads those of an asset when it defines it.
"""

from collections.abc import Iterator, Mapping, Sequence

import dagster as dg
from pydantic import Field

from market_data.defs import show
from market_data.defs.assets import OWNERS, POOL
from market_data.defs.resources import MarketDataResource
from market_data.ingest.executions.folder import next_batch, take_folder
from market_data.ingest.executions.taking import FeedbackTaken
from market_data.report.execution_checks import EXECUTION_CHECKS, SLIPPAGE_CHECKS, ExecutionCheck
from market_data.report.slippage import Slippage, by_session, update_slippage
from market_data.schemas import Executions
from market_data.settings import Settings
from market_data.warehouse.slippage import SLIPPAGE_COLUMNS

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
        default_factory=list, description="names of files in the drop folder; none: all that are whole"
    )


def parts(settings: Settings, sessions: dg.DailyPartitionsDefinition) -> dg.Definitions:
    """The assets of executions, their checks, and the sensor that looks at the drop folder."""
    job = dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.assets(FEEDBACK),
        description="Take the files of executions in the drop folder, with the checks on them.",
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
        kinds={"python", "duckdb", "pandera"},
        metadata={
            "dagster/table_name": "execution_feedback",
            "dagster/column_schema": show.column_schema(Executions),
        },
    )
    def execution_feedback(config: FeedbackConfig, market_data: MarketDataResource) -> dg.MaterializeResult[None]:
        """**Executions reported back**, `execution_feedback`, upserted by order from files of CSV or JSON lines.

        Takes the files of the drop folder (`MARKET_DATA_FEEDBACK`) that are whole, each in one transaction, and moves
        them to `taken/`. A line that cannot be used is quarantined, in `execution_rejects` and in
        `<file>.rejected.jsonl`; a file of which nothing can be used goes to `rejected/`. A correction replaces a row,
        which is kept in `execution_revisions`. The same content changes nothing the second time.
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
        kinds={"python", "duckdb"},
        metadata={
            "dagster/table_name": "execution_slippage",
            "dagster/column_schema": _slippage_schema(),
        },
    )
    def execution_slippage(market_data: MarketDataResource) -> dg.MaterializeResult[None]:
        """**What each order cost**, `execution_slippage`, a row an order, beside the canonical prices alone.

        Benchmarks are the decision price (implementation shortfall), the price at arrival, the close before, the close
        and the volume-weighted price of the session, and that from arrival to execution. In basis points and dollars,
        with and without fees; above 0 is a cost. What is not known yet is null with its reason, and is filled when the
        prices come. Rows that do not change are not written.
        """
        settings, synthetic = market_data.settings(), market_data.is_synthetic()
        done = update_slippage(settings, synthetic=synthetic, clock=market_data.clock())
        with market_data.reading() as connection:
            rows = list(by_session(connection))
        metadata = _measured(done)
        if rows:
            metadata["last sessions"] = _table(rows)
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
    """All checks of an asset in one step, since a step costs more than a check."""

    @dg.multi_asset_check(
        name=name,
        specs=[
            dg.AssetCheckSpec(
                check.name,
                asset=asset,
                description=check.description,
                blocking=check.blocking,
                metadata={"severity": _severity(check).value},
            )
            for check in checks
        ],
        pool=POOL,
    )
    def evaluated(market_data: MarketDataResource) -> Iterator[dg.AssetCheckResult]:
        now = market_data.clock()()
        with market_data.reading() as connection:
            results = [(check, check.function(connection, now)) for check in checks]
        for check, result in results:
            yield dg.AssetCheckResult(
                check_name=check.name,
                asset_key=asset,
                passed=result.passed,
                severity=_severity(check),
                description=result.summary,
                metadata=show.check_metadata(result) | show.source(market_data),
            )

    return evaluated


def _severity(check: ExecutionCheck) -> dg.AssetCheckSeverity:
    return dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN


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
        metadata["taken"] = _table(rows)
    rejects: list[_Row] = [
        {"file": one.file.name, "line": reject.line, "reason": reject.reason}
        for one in taken.files
        for reject in one.rejects
    ]
    if rejects:
        metadata["rejected lines"] = _table(rejects[: show.SHOWN])
    findings: list[_Row] = [{"finding": finding} for one in taken.files for finding in one.findings]
    if findings:
        metadata["findings"] = _table(findings[: show.SHOWN])
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


def _table(rows: Sequence[_Row]) -> dg.TableMetadataValue:
    """Rows of plain values; a column is a number where one of them is."""
    kinds = {name: {type(row[name]) for row in rows} - {type(None)} for name in rows[0]}
    columns = [
        dg.TableColumn(name, _KINDS.get(kind.pop(), "string") if len(kind) == 1 else "string")
        for name, kind in kinds.items()
    ]
    return dg.MetadataValue.table([dg.TableRecord(dict(row)) for row in rows], schema=dg.TableSchema(columns))


_KINDS = {int: "int", float: "float"}


def _slippage_schema() -> dg.TableSchema:
    texts = {"order_id", "symbol", "side", "day_vwap_kind", "reason"}
    kinds = dict.fromkeys(texts, "str") | {"session_date": "date", "arrival_minute": "datetime"}
    kinds |= dict.fromkeys(("interval_minutes", "benchmarks"), "int")
    return dg.TableSchema([dg.TableColumn(name, kinds.get(name, "float")) for name in SLIPPAGE_COLUMNS])
