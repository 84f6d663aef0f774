"""Alerts of schedules and sensors whose evaluation failed: what is told, once, and what is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._utils.error import SerializableErrorInfo

from market_data.defs.alert_ticks import failed_ticks
from market_data.defs.alerts import failing_ticks
from market_data_tests.test_alerts_dagster import resource

REPOSITORY = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("market_data"), "__repository__")


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        yield instance


def known(instance: dg.DagsterInstance, name: str, *, schedule: bool = False) -> InstigatorState:
    """A schedule or sensor that the daemon has begun to evaluate."""
    kind = InstigatorType.SCHEDULE if schedule else InstigatorType.SENSOR
    data = ScheduleInstigatorData("* * * * *", 0.0) if schedule else SensorInstigatorData()
    state = InstigatorState(RemoteInstigatorOrigin(REPOSITORY, name), kind, InstigatorStatus.DECLARED_IN_CODE, data)
    return instance.add_instigator_state(state)


def ticks(instance: dg.DagsterInstance, state: InstigatorState, at: float, error: str | None) -> None:
    """A tick that failed with an error within Dagster's own, or went well."""
    told = error and SerializableErrorInfo(
        "SensorExecutionError: Error occurred during the execution of evaluation_fn\n", [], "SensorExecutionError",
        cause=SerializableErrorInfo(f"{error}\nmore of it", [], "Error"),
    )  # fmt: skip
    instance.create_tick(
        TickData(
            state.instigator_origin_id, state.instigator_name, state.instigator_type,
            TickStatus.FAILURE if error else TickStatus.SKIPPED, at, error=told or None, selector_id=state.selector_id,
        )
    )  # fmt: skip


def evaluated(instance: dg.DagsterInstance, cursor: str | None) -> tuple[str | None, str]:
    """The cursor the sensor leaves, and what it says."""
    context = dg.build_sensor_context(instance=instance, cursor=cursor, resources={"market_data": resource()})
    with context:
        skipped = failing_ticks()(context)
    return context.cursor, str(skipped.skip_message)


def lines() -> list[dict]:
    file = Path("runtime/alerts.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_each_schedule_and_sensor_that_fails_is_told_once_with_its_innermost_reason_and_its_page(
    instance: dg.DagsterInstance,
) -> None:
    sync, filler = known(instance, "daily_sync", schedule=True), known(instance, "gap_filler")
    cursor, _ = evaluated(instance, None)
    ticks(instance, sync, 100.0, "SettingsError: MARKET_DATA_RUNTIME is no folder")
    ticks(instance, sync, 160.0, "SettingsError: MARKET_DATA_RUNTIME is no folder")
    ticks(instance, filler, 130.0, None)

    cursor, said = evaluated(instance, cursor)

    [alert] = lines()
    assert said == "1 alerts"
    assert alert["assets"] == ["schedule daily_sync"]
    assert alert["severity"] == "error"
    assert "failed 2 times, the last time: SettingsError: MARKET_DATA_RUNTIME is no folder; next: " in alert["message"]
    assert alert["link"] == "http://127.0.0.1:3000/locations/market_data/schedules/daily_sync"
    assert (cursor, evaluated(instance, cursor)) == ("160.0", ("160.0", "every evaluation went well"))
    assert len(lines()) == 1

    ticks(instance, filler, 200.0, "WarehouseError: not a usable DuckDB database")
    evaluated(instance, cursor)
    assert lines()[-1]["assets"] == ["sensor gap_filler"]


def test_what_failed_before_the_first_look_is_not_told(instance: dg.DagsterInstance) -> None:
    ticks(instance, known(instance, "gap_filler"), 100.0, "SettingsError: old")

    cursor, said = evaluated(instance, None)

    assert (cursor, said) == ("100.0", "begins here, and tells nothing of the past")
    assert evaluated(instance, cursor)[1] == "every evaluation went well"
    assert lines() == []


def test_its_own_failures_are_left_out(instance: dg.DagsterInstance) -> None:
    ticks(instance, known(instance, "failing_ticks"), 100.0, "OSError: disk full")

    assert failed_ticks(instance, since=0, but=["failing_ticks"]) == []
    assert [one.name for one in failed_ticks(instance, since=0)] == ["failing_ticks"]
