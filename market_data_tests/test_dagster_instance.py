"""Dagster's own state: where it lies, its settings, and that an event log of batches says what Dagster's own does."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.definitions.data_version import DATA_VERSION_TAG as VERSION
from dagster._core.events import DagsterEvent, StepMaterializationData
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

from market_data.defs.event_storage import BatchedSqliteEventLogStorage
from market_data.defs.instance import ProjectInstance
from market_data_tests.archives import bars
from market_data_tests.test_dagster_checks import ASSETS, CHECKS, DAYS, Project, materialized

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore:Parameter .backfill_policy.:dagster.BetaWarning")]

SETTINGS = Path(__file__).resolve().parents[1] / "dagster.yaml"
FIRST_RUN, SECOND_RUN = DAYS[:5], DAYS[4:6]
EVENTS = "SELECT id, dagster_event_type, asset_key, partition, step_key, run_id FROM event_logs ORDER BY id"


@dataclass(frozen=True)
class Home:
    """A DAGSTER_HOME after a run over five sessions, and one over the fifth and sixth whose checks stop it.

    Attributes:
        state: folder of Dagster's SQLite files.
        runs: the ids of the two runs, in order.
    """

    folder: Path
    state: Path
    instance: dg.DagsterInstance
    project: Project
    runs: tuple[str, str]

    def index(self, query: str) -> list[tuple]:
        """Rows of the index of all runs, with the runs' ids as first and second."""
        return self.rows("index", query)

    def rows(self, database: str, query: str) -> list[tuple]:
        names = dict(zip(self.runs, ("first", "second"), strict=True))
        file = self.state / "history" / "runs" / f"{database}.db"
        with closing(sqlite3.connect(file)) as connection:
            return [tuple(names.get(value, value) for value in row) for row in connection.execute(query)]


def opened(folder: Path, settings: str) -> dg.DagsterInstance:
    folder.mkdir()
    (folder / "dagster.yaml").write_text(settings, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:  # settings of whoever runs the tests are none of its
        patch.chdir(folder)
        patch.delenv("MARKET_DATA_RUNTIME", raising=False)
        return dg.DagsterInstance.from_config(str(folder))


def after_two_runs(base: Path, settings: str, state: str) -> Home:
    folder = base / "home"
    instance = opened(folder, settings)
    project = Project(base, instance=instance, null_threshold="0.12")
    frame = bars("BBB")
    frame.loc[frame["date"] == DAYS[4], "volume"] = float("nan")  # 1 of 15 bars of the first run, 1 of 6 of the second
    project.put("BBB", frame)
    first = project.run(FIRST_RUN[0], FIRST_RUN[-1], checks=True)
    second = project.run(SECOND_RUN[0], SECOND_RUN[-1], checks=True)
    assert (first.success, second.success) == (True, False)
    assert materialized(second) == {"raw_bars", "daily_prices"}
    return Home(folder, folder / state, instance, project, (first.run_id, second.run_id))


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home with the project's dagster.yaml."""
    home = after_two_runs(tmp_path_factory.mktemp("ours"), SETTINGS.read_text(encoding="utf-8"), "runtime/dagster")
    with home.project:
        yield home


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home with Dagster's own SQLite storage."""
    home = after_two_runs(tmp_path_factory.mktemp("default"), "telemetry: {enabled: false}\n", ".")
    with home.project:
        yield home


def test_the_instance_keeps_its_state_under_runtime_dagster_and_nothing_beside_it(ours: Home) -> None:
    assert type(ours.instance) is ProjectInstance
    assert sorted(path.name for path in ours.folder.iterdir()) == ["dagster.yaml", "runtime"]
    assert [path.name for path in (ours.folder / "runtime").iterdir()] == ["dagster"]
    assert {path.name for path in ours.state.iterdir()} == {"history", "schedules", "storage"}
    assert {path.stem for path in (ours.state / "history" / "runs").iterdir()} == {"index", *ours.runs}
    assert {path.name for path in (ours.state / "storage").iterdir()} == set(ours.runs)  # what the runs printed


def test_the_state_is_found_again_from_another_folder(
    ours: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(ours.folder))
    monkeypatch.chdir(tmp_path)

    with dg.DagsterInstance.get() as instance:
        statuses = {run.run_id: run.status for run in instance.get_runs()}

    assert statuses == {ours.runs[0]: dg.DagsterRunStatus.SUCCESS, ours.runs[1]: dg.DagsterRunStatus.FAILURE}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_absolute", [True, False], ids=["absolute", "relative"])
def test_the_state_follows_the_runtime_folder_of_the_settings(
    is_absolute: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    for folder in (home, elsewhere):
        folder.mkdir()
    shutil.copy(SETTINGS, home)
    monkeypatch.chdir(elsewhere)
    runtime = tmp_path / "kept" if is_absolute else Path("kept")
    monkeypatch.setenv("MARKET_DATA_RUNTIME", str(runtime))

    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.get_runs()

    state = home / runtime / "dagster"
    assert (state / "history" / "runs.db").is_file()
    assert instance.root_directory == str(state)
    assert {path.name for path in home.iterdir()} == {"dagster.yaml", *([] if is_absolute else ["kept"])}
    assert list(elsewhere.iterdir()) == []


def test_one_run_at_a_time_holds_the_pool_while_others_go_on_and_only_a_crash_is_tried_again(ours: Home) -> None:
    instance = ours.instance
    config = instance.get_concurrency_config()

    assert config.pool_config.default_pool_limit == 1
    assert config.pool_config.pool_granularity.value == "run"
    assert config.run_queue_config.max_concurrent_runs == 4
    assert instance.run_retries_enabled
    assert instance.run_retries_max_retries == 2
    assert not instance.run_retries_retry_on_asset_or_op_failure
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_max_runtime_seconds == 4 * 3600
    assert not instance.telemetry_enabled
    assert not instance.nux_enabled


def test_the_events_of_both_runs_are_those_of_dagsters_own_storage_in_the_same_order(ours: Home, default: Home) -> None:
    assert type(ours.instance.event_log_storage) is BatchedSqliteEventLogStorage
    assert type(default.instance.event_log_storage) is SqliteEventLogStorage

    events = ours.index(EVENTS)

    assert events == default.index(EVENTS)
    for own, other in zip(ours.runs, default.runs, strict=True):
        assert ours.rows(own, EVENTS) == default.rows(other, EVENTS)
    kinds = [(kind, asset, partition) for _, kind, asset, partition, _, run in events if run == "first"]
    for asset in ASSETS:
        for kind in ("ASSET_MATERIALIZATION_PLANNED", "ASSET_MATERIALIZATION"):
            partitions = [partition for found, key, partition in kinds if (found, key) == (kind, f'["{asset}"]')]
            assert partitions == list(FIRST_RUN)


def test_what_the_index_says_of_each_asset_is_what_dagsters_own_storage_says(ours: Home, default: Home) -> None:
    entry = "json_extract(last_materialization, '$.event_log_entry.dagster_event.event_specific_data"
    query = (
        f"SELECT asset_key, last_run_id, wipe_timestamp, asset_details, tags, {entry}.materialization.partition'), "
        "json_extract(last_materialization, '$.storage_id'), last_materialization_timestamp > create_timestamp "
        "FROM asset_keys ORDER BY asset_key"
    )

    rows = ours.index(query)

    assert [row[0] for row in rows] == [f'["{asset}"]' for asset in sorted(ASSETS)]
    assert rows == default.index(query)


def test_each_event_of_a_batch_is_filed_with_its_own_tags(tmp_path: Path) -> None:
    storage = BatchedSqliteEventLogStorage(str(tmp_path))
    data = [StepMaterializationData(dg.AssetMaterialization("a", partition=day, tags={VERSION: day})) for day in DAYS]
    kind = dg.DagsterEventType.ASSET_MATERIALIZATION.value
    events = [DagsterEvent(kind, "job", event_specific_data=item) for item in data]

    storage.store_event_batch([EventLogEntry(None, "debug", "", "run", 1.0, dagster_event=event) for event in events])

    tags = storage.get_event_tags_for_asset(dg.AssetKey("a"))
    storage.dispose()
    assert tags == [{VERSION: day} for day in DAYS]
    with closing(sqlite3.connect(tmp_path / "index.db")) as connection:
        filed = "SELECT partition, value FROM event_logs AS log JOIN asset_event_tags ON event_id = log.id ORDER BY 1"
        assert connection.execute(filed).fetchall() == [(day, day) for day in DAYS]


def test_the_tags_of_both_runs_are_those_of_dagsters_own_storage(ours: Home, default: Home) -> None:
    query = "SELECT event_id, asset_key, key FROM asset_event_tags ORDER BY event_id, key"

    tags = ours.index(query)

    assert len(tags) > len(DAYS)
    assert tags == default.index(query)


def test_each_check_of_a_run_has_one_row_that_is_completed(ours: Home) -> None:
    rows = ours.index("SELECT run_id, check_name, execution_status, partition FROM asset_check_executions ORDER BY id")

    passed = [("first", name, "SUCCEEDED", None) for name in CHECKS]
    stopped = [("second", name, "FAILED" if name == "nulls" else "SUCCEEDED", None) for name in CHECKS]
    assert sorted(rows) == sorted(passed + stopped)


def test_the_latest_evaluation_of_a_check_is_the_one_of_the_last_run(ours: Home) -> None:
    keys = [dg.AssetCheckKey(dg.AssetKey("daily_prices"), name) for name in CHECKS]

    latest = ours.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)

    assert {key.name: record.run_id for key, record in latest.items()} == dict.fromkeys(CHECKS, ours.runs[1])
    [nulls] = [record.evaluation for key, record in latest.items() if key.name == "nulls"]
    assert not nulls.passed
    assert nulls.metadata["failing_rows"].value == 1


@pytest.mark.parametrize(
    ("asset", "done", "failed"),
    [
        ("raw_bars", DAYS[:6], ()),
        ("daily_prices", DAYS[:6], ()),
        ("quality_log", DAYS[:5], SECOND_RUN),
    ],
)
def test_partitions_are_shown_as_materialized_and_as_failed_as_they_ended(
    ours: Home, asset: str, done: tuple[str, ...], failed: tuple[str, ...]
) -> None:
    key = dg.AssetKey(asset)
    sessions = ours.project.definitions.assets[0].partitions_def

    status = get_and_update_asset_status_cache_value(ours.instance, key, sessions)

    assert tuple(status.deserialize_materialized_partition_subsets(sessions).get_partition_keys()) == done
    assert tuple(status.deserialize_failed_partition_subsets(sessions).get_partition_keys()) == failed
    assert list(status.deserialize_in_progress_partition_subsets(sessions).get_partition_keys()) == []
    assert ours.instance.get_materialized_partitions(key) == set(done)


def test_the_latest_materialization_of_a_partition_is_of_the_run_that_made_it_last(ours: Home) -> None:
    storage = ours.instance.event_log_storage
    for asset in ASSETS:
        latest = storage.get_latest_storage_id_by_partition(
            dg.AssetKey(asset), dg.DagsterEventType.ASSET_MATERIALIZATION
        )
        runs = {event_id: (run, partition) for event_id, _, _, partition, _, run in ours.index(EVENTS)}
        made = {partition: runs[event_id] for partition, event_id in latest.items()}
        again = () if asset == "quality_log" else SECOND_RUN
        first = {day: ("first", day) for day in FIRST_RUN}
        assert made == first | {day: ("second", day) for day in again}


def test_a_session_more_costs_the_event_log_no_transaction_more(tmp_path: Path) -> None:
    instance = opened(tmp_path / "home", SETTINGS.read_text(encoding="utf-8"))
    with Project(tmp_path, instance=instance) as project:
        project.run(DAYS[0], assets=["raw_bars"])
        commits = []

        def note(_: object) -> None:
            commits[-1] += 1

        sa.event.listen(sa.Engine, "commit", note)
        try:
            for last in (2, 9):
                commits.append(0)
                assert project.run(DAYS[0], DAYS[last - 1], assets=["raw_bars"]).success
        finally:
            sa.event.remove(sa.Engine, "commit", note)

    assert commits[0] > 0
    assert commits[0] == commits[1]
