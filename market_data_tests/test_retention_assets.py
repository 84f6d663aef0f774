"""The assets `backup` and `housekeeping`: what they do, what they show, and when they run."""

import os
import shutil
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from market_data.cli.housekeeping import tidy as tidy_command
from market_data.defs.assets import POOL
from market_data.defs.housekeeping import parts
from market_data.defs.partitions import session_partitions
from market_data.defs.resources import (
    AlphaVantageResource,
    MarketDataResource,
    PolygonResource,
    StooqResource,
    YahooResource,
)
from market_data.keeping.backup import list_backups
from market_data.settings import load_settings
from market_data_tests.stored import Store
from market_data_tests.test_retention_history import SETTINGS

SESSIONS = session_partitions(date(2026, 1, 5), date(2026, 1, 16))


@pytest.fixture
def store() -> Store:
    return Store("AAPL")


def resource() -> MarketDataResource:
    return MarketDataResource(
        polygon=PolygonResource(), alpha_vantage=AlphaVantageResource(), stooq=StooqResource(), yahoo=YahooResource()
    )


def definitions() -> dg.Definitions:
    own = dg.Definitions(resources={"market_data": resource()}, executor=dg.in_process_executor)
    return dg.Definitions.merge(parts(load_settings(), SESSIONS), own)


def materialized(instance: dg.DagsterInstance, name: str, **config) -> dict[str, object]:
    job = definitions().resolve_job_def(f"{name}_job")
    result = job.execute_in_process(instance=instance, run_config={"ops": {name: {"config": config}}})
    [event] = result.asset_materializations_for_node(name)
    return {key: value.value for key, value in event.metadata.items()}


def test_a_backup_shows_its_size_and_rows_and_housekeeping_what_it_freed(store: Store):
    part = store.raw_store.folder / "x.part"
    part.write_bytes(b"12345")
    os.utime(part, (0, 0))
    with dg.DagsterInstance.ephemeral() as instance:
        shown = materialized(instance, "backup", raw=True)
        told = materialized(instance, "housekeeping", dry_run=True)
        assert part.exists()
        done = materialized(instance, "housekeeping")
    [backup] = list_backups(store.settings)
    assert shown["folder"] == str(backup.folder.absolute())
    assert (shown["raw_files"], shown["raw_included"], shown["backups_kept"], shown["removed"]) == (2, True, 1, "none")
    assert shown["rows"] == sum(backup.manifest.rows.values())
    assert (told["bytes_freed"], told["dry_run"]) == (5, True)
    assert (done["bytes_freed"], done["bytes_of_part_files"], done["databases_set_aside"]) == (5, 5, "none")
    assert done["database_bytes"] == store.database.path.stat().st_size
    assert {record.data["kind"] for record in done["freed"].records} == {
        "error_bodies", "poll_packs", "part_files", "ledgers", "runs", "run_logs", "history", "compute_logs",
    }  # fmt: skip
    assert not part.exists()


def test_both_are_scheduled_from_the_start_and_write_one_after_the_other():
    repository = definitions().get_repository_def()
    plans = {schedule.name: schedule for schedule in repository.schedule_defs}
    crons = {name: (plan.cron_schedule, plan.execution_timezone) for name, plan in plans.items()}
    assert crons == {"backup_schedule": ("0 4 * * *", "UTC"), "housekeeping_schedule": ("0 5 * * 0", "UTC")}
    assert {plan.default_status for plan in plans.values()} == {dg.DefaultScheduleStatus.RUNNING}
    assert {asset.op.pool for asset in definitions().assets} == {POOL}


def test_no_backup_is_asked_for_while_there_is_nothing_to_back_up():
    schedule = definitions().get_repository_def().get_schedule_def("backup_schedule")
    with dg.build_schedule_context(resources={"market_data": resource()}) as context:
        nothing = schedule.evaluate_tick(context)
        Store("AAPL")
        something = schedule.evaluate_tick(context)
    assert nothing.run_requests == []
    assert "synthetic.duckdb: no database yet" in nothing.skip_message
    assert len(something.run_requests) == 1


def test_the_command_tidies_the_history_of_dagster_home_as_well(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    shutil.copy(SETTINGS, tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    log = tmp_path / "runtime" / "dagster" / "storage" / "run" / "compute_logs" / "x.out"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"printed")
    os.utime(log, (0, 0))
    tidy_command(dry_run=False, synthetic=True, as_json=True)
    assert '{"kind": "compute_logs", "files": 1, "bytes": 7}' in capsys.readouterr().out
    assert not log.exists()
