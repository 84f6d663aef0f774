"""The sensors of alerts and the checks of freshness, as Dagster runs them on an instance of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from market_data.clock import SandboxClock
from market_data.defs import alert_events
from market_data.defs.alerts import AlertNotKept, failing_checks, run_failures
from market_data.defs.alerts import parts as alert_parts
from market_data.defs.event_storage import BatchedSqliteEventLogStorage
from market_data.defs.freshness import CURRENT_CHECKS, backstop
from market_data.defs.freshness import parts as freshness_parts
from market_data.defs.partitions import session_partitions
from market_data.defs.resources import (
    AlphaVantageResource,
    MarketDataResource,
    PolygonResource,
    StooqResource,
    YahooResource,
)
from market_data.errors import MarketDataError, WarehouseError
from market_data.settings import Settings, load_settings
from market_data_tests.bars import new_database
from market_data_tests.stored_prices import put_bars, put_told

pytestmark = pytest.mark.filterwarnings("ignore:Parameter .backfill_policy.:dagster.BetaWarning")

DAY = "2024-01-08"
SESSIONS = session_partitions(date(2024, 1, 2), date(2024, 1, 12))


def resource() -> MarketDataResource:
    """That of the sandbox, as nothing is set."""
    return MarketDataResource(
        polygon=PolygonResource(),
        alpha_vantage=AlphaVantageResource(),
        stooq=StooqResource(),
        yahoo=YahooResource(),
    )


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@dg.asset(partitions_def=SESSIONS)
def daily_prices() -> None:
    """Prices."""


def failing_asset(error: Exception) -> dg.AssetsDefinition:
    @dg.asset(name="raw_bars", partitions_def=SESSIONS)
    def raw_bars() -> None:
        raise error

    return raw_bars


def check(name: str, *symbols: str, warns: bool = False, passed: bool = False, **metadata: object):
    """A check of daily_prices that tells of the symbols."""

    @dg.asset_check(asset=daily_prices, name=name)
    def checked() -> dg.AssetCheckResult:
        records = [dg.TableRecord({"symbol": symbol, "date": DAY}) for symbol in symbols]
        return dg.AssetCheckResult(
            passed=passed,
            severity=dg.AssetCheckSeverity.WARN if warns else dg.AssetCheckSeverity.ERROR,
            description=f"{name} fails",
            metadata={"rows": dg.MetadataValue.table(records), "failing_rows": 40, **metadata} if symbols else metadata,
        )

    return checked


def materialize(instance: dg.DagsterInstance, *definitions, tags: dict[str, str] | None = None):
    return dg.materialize(
        list(definitions), instance=instance, raise_on_error=False, tags=tags, partition_key=None if tags else DAY
    )


def tick(instance: dg.DagsterInstance, cursor: str | None) -> dg.SensorEvaluationContext:
    """Evaluate the sensor of checks once; the context has the cursor it left."""
    context = dg.build_sensor_context(instance=instance, cursor=cursor, resources={"market_data": resource()})
    with context:
        failing_checks()(context)
    return context


def tell_of(result, instance: dg.DagsterInstance) -> None:
    """Evaluate the sensor of failed runs for a run."""
    context = dg.build_run_status_sensor_context(
        sensor_name="run_failures",
        dagster_event=result.get_run_failure_event(),
        dagster_instance=instance,
        dagster_run=result.dagster_run,
        resources={"market_data": resource()},
    ).for_run_failure()
    with context:
        run_failures()(context)


def lines() -> list[dict]:
    file = Path("runtime/alerts.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_a_failed_run_is_told_with_asset_session_symbols_reason_and_its_page(instance: dg.DagsterInstance) -> None:
    rows = [dg.TableRecord({"symbol": "AAPL", "reason": "HTTP 500"}), dg.TableRecord({"symbol": "MSFT", "reason": ""})]
    metadata = {"failures": dg.MetadataValue.table(rows)}
    result = materialize(instance, failing_asset(dg.Failure("no symbol was answered", metadata=metadata)))

    tell_of(result, instance)

    [line] = lines()
    found = {name: line[name] for name in ("kind", "severity", "assets", "sessions", "symbols", "message", "run_id")}
    assert found == {
        "kind": "run_failure",
        "severity": "error",
        "assets": ["raw_bars"],
        "sessions": [DAY],
        "symbols": ["AAPL", "MSFT"],
        "message": "no symbol was answered",
        "run_id": result.run_id,
    }
    assert line["link"] == f"http://127.0.0.1:3000/runs/{result.run_id}"
    assert line["synthetic"] is True


def test_an_error_is_told_by_its_own_words_and_a_range_by_its_ends(instance: dg.DagsterInstance) -> None:
    tags = dict(zip(alert_events.RANGE, ("2024-01-03", "2024-01-09"), strict=True))

    @dg.asset(partitions_def=SESSIONS, backfill_policy=dg.BackfillPolicy.single_run(), name="raw_bars")
    def over_a_range() -> None:
        raise WarehouseError("store.duckdb: locked by process 7")

    tell_of(materialize(instance, over_a_range, tags=tags), instance)

    assert (lines()[0]["message"], lines()[0]["sessions"]) == (
        "WarehouseError: store.duckdb: locked by process 7",
        ["2024-01-03 to 2024-01-09"],
    )


def test_a_run_that_ended_without_a_failed_step_is_told_by_its_assets(instance: dg.DagsterInstance) -> None:
    result = materialize(instance, failing_asset(ValueError("x")))
    alert = alert_events.alert_of_run(
        result.dagster_run,
        result.get_run_failure_event(),
        [],
        ui_url="http://ui",
        at=datetime.now(UTC),
        synthetic=False,
    )
    assert alert.findings[0].asset in ("raw_bars", result.dagster_run.job_name)
    assert alert.findings[0].reason


def test_a_failure_nobody_could_write_of_fails_the_tick_with_an_error_that_dagster_tries_again(
    instance: dg.DagsterInstance,
) -> None:
    result = materialize(instance, failing_asset(ValueError("x")))
    Path("runtime/alerts.jsonl").mkdir(parents=True)

    with pytest.raises(AlertNotKept, match=r"alerts.jsonl: alerts cannot be kept"):
        tell_of(result, instance)


def test_the_daemon_keeps_its_cursor_until_the_failed_run_is_written_of(instance: dg.DagsterInstance) -> None:
    sensor = run_failures()
    resources = {"market_data": resource()}

    def evaluate(cursor: str | None) -> dg.SensorEvaluationContext:
        context = dg.build_sensor_context(instance=instance, cursor=cursor, resources=resources)
        with context:
            sensor.evaluate_tick(context)
        return context

    first = evaluate(None).cursor
    materialize(instance, failing_asset(ValueError("the reason")))
    Path("runtime/alerts.jsonl").mkdir(parents=True)
    with pytest.raises(AlertNotKept):
        evaluate(first)
    Path("runtime/alerts.jsonl").rmdir()
    evaluate(first)

    assert [line["message"] for line in lines()] == ["ValueError: the reason"]


def test_the_first_tick_tells_nothing_of_the_past_and_the_next_of_all_since(instance: dg.DagsterInstance) -> None:
    materialize(instance, daily_prices, check("nulls", "AAPL"))
    first = tick(instance, None)
    assert lines() == []

    run = materialize(
        instance, daily_prices, check("nulls", "AAPL", "MSFT"), check("ohlc", warns=True), check("fine", passed=True)
    )
    second = tick(instance, first.cursor)
    third = tick(instance, second.cursor)

    [line] = lines()
    assert (line["kind"], line["severity"], line["run_id"]) == ("check_failure", "error", run.run_id)
    assert (line["assets"], sorted(line["checks"])) == (["daily_prices"], ["nulls", "ohlc"])
    by_name = {found["check"]: found for found in line["findings"]}
    assert by_name["nulls"] == {
        "asset": "daily_prices",
        "check": "nulls",
        "sessions": DAY,
        "severity": "error",
        "reason": "nulls fails",
        "symbols": ["AAPL", "MSFT"],
        "rows": 40,
        "link": "http://127.0.0.1:3000/assets/daily_prices?view=checks&checkDetail=nulls",
    }
    assert (by_name["ohlc"]["severity"], by_name["ohlc"]["symbols"]) == ("warning", [])
    assert third.cursor == second.cursor


def test_the_sessions_a_check_names_itself_go_before_those_of_its_run(instance: dg.DagsterInstance) -> None:
    first = tick(instance, None)
    materialize(instance, daily_prices, check("a", session="2024-01-05"), check("b", span="2024-01-02 to 2024-01-12"))
    tick(instance, first.cursor)

    assert sorted(lines()[0]["sessions"]) == ["2024-01-02 to 2024-01-12", "2024-01-05"]


def test_a_tick_alerts_of_four_runs_and_the_next_goes_on(instance: dg.DagsterInstance) -> None:
    context = tick(instance, None)
    runs = [materialize(instance, daily_prices, check(f"check{number}")).run_id for number in range(6)]
    told = []
    for _ in range(3):
        context = tick(instance, context.cursor)
        told.append([line["run_id"] for line in lines()])

    assert told == [runs[:4], runs, runs]


def test_a_tick_that_fails_leaves_its_cursor_and_loses_no_check(instance: dg.DagsterInstance) -> None:
    first = tick(instance, None)
    materialize(instance, daily_prices, check("nulls"))
    Path("runtime/alerts.jsonl").mkdir(parents=True)
    context = dg.build_sensor_context(instance=instance, cursor=first.cursor, resources={"market_data": resource()})
    with context, pytest.raises(MarketDataError, match="alerts cannot be kept"):
        failing_checks()(context)
    assert context.cursor == first.cursor

    Path("runtime/alerts.jsonl").rmdir()
    tick(instance, context.cursor)
    assert len(lines()) == 1


def test_a_cursor_ahead_of_a_log_that_was_wiped_begins_anew(instance: dg.DagsterInstance) -> None:
    assert tick(instance, "999999").cursor == "0"


def test_the_event_log_of_this_project_finds_evaluations_without_opening_those_of_runs(tmp_path: Path) -> None:
    storage = BatchedSqliteEventLogStorage(str(tmp_path / "log"))
    instance = dg.DagsterInstance.ephemeral()
    with instance:
        run = materialize(instance, daily_prices, check("nulls"), check("fine", passed=True))
        for record in instance.event_log_storage.get_records_for_run(run.run_id).records:
            storage.store_event(record.event_log_entry)
    for file in tmp_path.rglob(f"{run.run_id}.db*"):
        file.unlink()

    class Kept:
        event_log_storage = storage

    cursor, failing = alert_events.failing_since(Kept(), 0)

    assert [entry.dagster_event.event_specific_data.check_name for entry in failing] == ["nulls"]
    assert 0 < cursor <= alert_events.newest_event(Kept())
    assert list(tmp_path.rglob(f"{run.run_id}.db")) == []


def whole(settings: Settings) -> dg.Definitions:
    return dg.Definitions.merge(
        dg.Definitions(
            assets=[daily_prices],
            resources={"market_data": resource()},
            executor=dg.in_process_executor,
        ),
        alert_parts(settings, SESSIONS),
        freshness_parts(settings, SESSIONS),
    )


def test_the_parts_fit_into_definitions_and_all_that_runs_by_itself_is_on() -> None:
    definitions = whole(load_settings())
    dg.Definitions.validate_loadable(definitions)
    repository = definitions.get_repository_def()

    assert {sensor.name: sensor.default_status.value for sensor in repository.sensor_defs} == {
        "run_failures": "RUNNING",
        "failing_checks": "RUNNING",
        "failing_ticks": "RUNNING",
    }
    [schedule] = repository.schedule_defs
    assert (schedule.cron_schedule, schedule.default_status.value, schedule.job_name) == (
        "5 */3 * * *",
        "RUNNING",
        "freshness_job",
    )
    assert {key.asset_key.to_user_string() for key in CURRENT_CHECKS} == {
        "raw_bars",
        "daily_prices",
        "corporate_actions",
        "intraday_prices",
    }


def test_the_policy_is_a_backstop_and_none_where_nothing_is_owed_by_the_wall_clock() -> None:
    policy = backstop(load_settings(source="vendors"))
    assert policy == dg.FreshnessPolicy.time_window(timedelta(days=5), warn_window=timedelta(days=4, hours=6))
    assert backstop(load_settings(source="vendors", keep_current=False)) is None
    assert backstop(load_settings(source="sandbox")) is None


def test_the_schedule_waits_for_a_store() -> None:
    repository = whole(load_settings()).get_repository_def()
    schedule = repository.get_schedule_def("freshness_schedule")

    def evaluated():
        with dg.build_schedule_context(
            resources={"market_data": resource()},
            scheduled_execution_time=datetime(2026, 1, 21, 3, 5, tzinfo=UTC),
            repository_def=repository,
        ) as context:
            return schedule.evaluate_tick(context)

    assert evaluated().skip_message.endswith("synthetic.duckdb: no database yet")
    Path("runtime").mkdir()
    new_database("runtime/synthetic.duckdb")
    assert len(evaluated().run_requests) == 1


def test_a_run_of_one_asset_takes_its_own_check_of_freshness_along_and_no_other(instance: dg.DagsterInstance) -> None:
    Path("runtime").mkdir()
    new_database("runtime/synthetic.duckdb")
    job = dg.define_asset_job("prices", selection=["daily_prices"])
    definitions = dg.Definitions.merge(whole(load_settings()), dg.Definitions(jobs=[job]))

    result = definitions.resolve_job_def("prices").execute_in_process(instance=instance, partition_key=DAY)

    assert result.success
    assert [one.asset_key.to_user_string() for one in result.get_asset_check_evaluations()] == ["daily_prices"]


def test_the_job_of_the_checks_runs_without_a_partition_and_a_stale_store_is_alerted_of(
    instance: dg.DagsterInstance,
) -> None:
    Path("runtime").mkdir()
    with new_database("runtime/synthetic.duckdb").writing() as connection:
        put_bars(connection, "AAPL", {"2026-01-20": 10.0})
        put_told(connection, "*", "2021-01-19", "2026-01-21")
    SandboxClock(Path("runtime/sandbox_clock.json")).set(datetime(2026, 1, 22, 4, tzinfo=UTC), rate=0)
    first = tick(instance, None)
    job = whole(load_settings()).resolve_job_def("freshness_job")

    result = job.execute_in_process(instance=instance)
    tick(instance, first.cursor)

    assert result.success
    evaluations = {one.asset_key.to_user_string(): one for one in result.get_asset_check_evaluations()}
    assert {name: one.passed for name, one in evaluations.items()} == {
        "raw_bars": False,
        "daily_prices": False,
        "corporate_actions": True,
        "intraday_prices": True,
    }
    metadata = {name: value.value for name, value in evaluations["daily_prices"].metadata.items() if name != "rows"}
    assert (metadata["sessions_behind"], metadata["share"], metadata["session"]) == (1, 0.0, "2026-01-21")
    assert metadata["SYNTHETIC"]
    [line] = lines()
    assert (sorted(line["assets"]), line["checks"], line["sessions"], line["symbols"]) == (
        ["daily_prices", "raw_bars"],
        ["current"],
        ["2026-01-21"],
        ["AAPL"],
    )
    assert line["at"] == "2026-01-22T04:00:00+00:00"
