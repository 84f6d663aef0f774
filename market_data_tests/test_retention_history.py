"""Dagster's own history, purged: no partition turns missing and no check forgets its latest result for it."""

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

from market_data.defs.history import purge
from market_data.keeping.retention import Freed

pytestmark = pytest.mark.long

SETTINGS = Path(__file__).resolve().parents[1] / "dagster.yaml"
DAYS = dg.StaticPartitionsDefinition(["a", "b", "c", "d"])


class Outcome(dg.Config):
    """Whether the asset fails."""

    fails: bool


@dg.asset(partitions_def=DAYS)
def prices(context: dg.AssetExecutionContext, config: Outcome) -> None:
    """Prices."""
    context.log.info("a line of the log")
    if config.fails:
        raise ValueError("no bars")


@dg.asset
def upkeep() -> None:
    """An asset without partitions."""


@dg.asset_check(asset="prices")
def whole() -> dg.AssetCheckResult:
    """A check."""
    return dg.AssetCheckResult(passed=True)


WHOLE = dg.AssetCheckKey(prices.key, "whole")
BALLAST = 400_000


@pytest.fixture
def instance(tmp_path: Path):
    """One with the project's dagster.yaml."""
    shutil.copy(SETTINGS, tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


def run(instance: dg.DagsterInstance, partition: str | None, *, fails: bool = False, checked: bool = True) -> str:
    result = dg.materialize(
        ([prices, whole] if checked else [prices]) if partition else [upkeep],
        partition_key=partition,
        instance=instance,
        run_config={"ops": {"prices": {"config": {"fails": fails}}}} if partition else None,
        raise_on_error=False,
    )
    assert result.success is not fails
    return result.run_id


def after(instance: dg.DagsterInstance, days: int, **more) -> dict[str, Freed]:
    """Purge so many days from now, with 30 days for logs and 90 for runs."""
    now = datetime.now(UTC) + timedelta(days=days)
    done = purge(instance, runs_before=now - timedelta(days=90), logs_before=now - timedelta(days=30), **more)
    return {item.kind: item for item in done}


def shard(instance: dg.DagsterInstance, run_id: str) -> Path:
    return Path(instance.event_log_storage.path_for_shard(run_id))


def runs(instance: dg.DagsterInstance) -> set[str]:
    return {record.dagster_run.run_id for record in instance.get_run_records()}


def ballast(file: Path) -> None:
    """Leave free pages in a SQLite file."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute(f"CREATE TABLE ballast AS SELECT randomblob({BALLAST}) AS held")
        connection.execute("DROP TABLE ballast")


def statuses(instance: dg.DagsterInstance) -> tuple[set[str], set[str]]:
    """Partitions of the prices that are shown as materialized and as failed."""
    status = get_and_update_asset_status_cache_value(instance, prices.key, DAYS)
    assert status is not None
    materialized = status.deserialize_materialized_partition_subsets(DAYS).get_partition_keys()
    return set(materialized), set(status.deserialize_failed_partition_subsets(DAYS).get_partition_keys())


def kinds(file: Path) -> set[str | None]:
    with closing(sqlite3.connect(file)) as connection:
        return {row[0] for row in connection.execute("SELECT DISTINCT dagster_event_type FROM event_logs")}


def test_deleting_a_run_takes_the_materialization_of_its_partition_with_it_which_is_why_some_stay(instance):
    run_id = run(instance, "a")
    assert instance.get_materialized_partitions(prices.key) == {"a"}
    instance.delete_run(run_id)
    assert instance.get_materialized_partitions(prices.key) == set()


def test_runs_that_something_newer_stands_in_for_go_and_no_partition_turns_missing(instance):
    job = dg.Definitions(assets=[upkeep], jobs=[dg.define_asset_job("job", selection=[upkeep])])
    waiting = instance.create_run_for_job(job.resolve_job_def("job")).run_id
    old = [run(instance, "a"), run(instance, None)]
    checked = run(instance, "b")  # the last whose check was evaluated; another run made the partition anew
    kept = [run(instance, day, checked=False) for day in ("a", "b")]
    kept += [checked, waiting, run(instance, "d", fails=True), run(instance, None)]
    ballast(shard(instance, "index"))
    shown = statuses(instance)
    assert shown == ({"a", "b"}, {"d"})
    size = sum(shard(instance, run_id).stat().st_size for run_id in old)

    told = after(instance, 91, dry_run=True)
    assert runs(instance) == {*old, *kept}
    done = after(instance, 91)

    assert told["runs"] == done["runs"] == Freed("runs", 2, size)
    assert done["history"].bytes >= BALLAST
    assert runs(instance) == set(kept)
    assert instance.get_run_by_id(waiting).status is dg.DagsterRunStatus.NOT_STARTED
    assert statuses(instance) == shown
    assert instance.get_latest_materialization_event(upkeep.key).run_id == kept[-1]
    [passed] = instance.event_log_storage.get_asset_check_execution_history(WHOLE, limit=5)[1:]
    assert (passed.run_id, passed.evaluation.passed) == (checked, True)
    assert not any(shard(instance, run_id).exists() for run_id in old)
    index = shard(instance, "index")
    named = [(index, "event_logs"), (index, "asset_check_executions"), (index.parents[1] / "runs.db", "run_tags")]
    for file, table in named:
        with closing(sqlite3.connect(file)) as connection:
            assert {row[0] for row in connection.execute(f"SELECT run_id FROM {table}")} <= set(kept), table
    again = after(instance, 91)
    assert (again["runs"].files, again["run_logs"].files) == (0, 0)


def test_the_chatter_of_runs_goes_first_and_what_they_did_is_still_shown(instance):
    good, bad = run(instance, "a"), run(instance, "b", fails=True)
    sizes = {run_id: shard(instance, run_id).stat().st_size for run_id in (good, bad)}
    assert {None, "ENGINE_EVENT", "STEP_OUTPUT"} <= kinds(shard(instance, good))

    assert after(instance, 29)["run_logs"].files == 0
    done = after(instance, 31)["run_logs"]

    assert kinds(shard(instance, good)) == {
        "PIPELINE_START", "PIPELINE_SUCCESS", "STEP_START", "STEP_SUCCESS", "ASSET_MATERIALIZATION",
        "ASSET_MATERIALIZATION_PLANNED", "ASSET_CHECK_EVALUATION",
    }  # fmt: skip
    left = {run_id: shard(instance, run_id).stat().st_size for run_id in (good, bad)}
    assert done == Freed("run_logs", 2, sum(sizes.values()) - sum(left.values()))
    [failure] = [log.dagster_event for log in instance.all_logs(bad) if log.dagster_event.is_step_failure]
    assert "no bars" in str(failure.event_specific_data.error)
    assert "ASSET_CHECK_EVALUATION_PLANNED" not in kinds(shard(instance, "index"))
    assert statuses(instance) == ({"a"}, {"b"})
    assert after(instance, 31)["run_logs"] == Freed("run_logs")
