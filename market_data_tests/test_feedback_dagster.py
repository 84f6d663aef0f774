"""Executions in Dagster: the sensor over the drop folder, both assets with their checks, and what sets them off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from market_data.defs.executions import BATCH_TAG, JOB, parts, slippage_condition
from market_data.defs.partitions import session_partitions
from market_data.defs.resources import (
    AlphaVantageResource,
    MarketDataResource,
    PolygonResource,
    StooqResource,
    YahooResource,
)
from market_data.settings import load_settings
from market_data.warehouse.connection import Database
from market_data_tests.bars import new_database
from market_data_tests.executions import DAY, as_csv, as_jsonl, execution
from market_data_tests.stored_prices import put_bar

pytestmark = pytest.mark.filterwarnings("ignore:Parameter .backfill_policy.:dagster.BetaWarning")

FEEDBACK, SLIPPAGE = dg.AssetKey("execution_feedback"), dg.AssetKey("execution_slippage")


def store() -> MarketDataResource:
    return MarketDataResource(
        polygon=PolygonResource(),
        alpha_vantage=AlphaVantageResource(),
        stooq=StooqResource(),
        yahoo=YahooResource(),
    )


class Floor:
    """A real store without bars, its drop folder, and the definitions over it."""

    def __init__(self, folder: Path) -> None:
        settings = load_settings()
        sessions = session_partitions(settings.window_start, settings.window_end)
        self.own = parts(settings, sessions)
        upstream = [dg.AssetSpec("daily_prices", partitions_def=sessions), dg.AssetSpec("intraday_prices")]
        resources = {"market_data": store()}
        rest = dg.Definitions(assets=upstream, resources=resources, executor=dg.in_process_executor)
        self.definitions = dg.Definitions.merge(self.own, rest)
        self.instance = dg.DagsterInstance.ephemeral(str(folder))
        self.drop_folder = settings.feedback_folder
        self.drop_folder.mkdir(parents=True)
        self.database = Database(settings.database_for(synthetic=False), patience=5)
        self.cursor: str | None = None

    def tick(self) -> Any:
        """What the sensor gives now."""
        [sensor] = self.own.sensors or []
        resources = {"market_data": store()}
        with dg.build_sensor_context(self.instance, cursor=self.cursor, resources=resources) as context:
            given = sensor(context)
            self.cursor = context.cursor
        return given

    def run(self, **options: Any) -> dg.ExecuteInProcessResult:
        """A run of the job."""
        job = self.definitions.resolve_job_def(JOB)
        return job.execute_in_process(instance=self.instance, raise_on_error=False, **options)

    def materialize(self, *keys: dg.AssetKey) -> dg.ExecuteInProcessResult:
        """A run of assets with their checks."""
        return dg.materialize(
            [*(self.own.assets or []), *(self.own.asset_checks or [])],
            selection=dg.AssetSelection.assets(*keys),
            instance=self.instance,
            resources={"market_data": store()},
            raise_on_error=False,
        )

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.database.reading() as connection:
            return connection.execute(query).fetchall()


@pytest.fixture
def floor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Floor]:
    universe = tmp_path / "universe.csv"
    universe.write_text("symbol\nAAPL\nMSFT\n")
    for name, value in {"RUNTIME": tmp_path / "runtime", "UNIVERSE": universe, "SOURCE": "stooq_bulk"}.items():
        monkeypatch.setenv(f"MARKET_DATA_{name}", str(value))
    floor = Floor(tmp_path / "dagster")
    new_database(floor.database.path)
    yield floor
    floor.instance.dispose()


def plain(metadata: Any) -> dict[str, Any]:
    return {
        name: [dict(record.data) for record in value.records]
        if isinstance(value, dg.TableMetadataValue)
        else value.value
        for name, value in metadata.items()
    }


def metadata_of(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    [event] = result.asset_materializations_for_node(asset)
    return plain(event.metadata)


def checks_of(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    return {one.check_name: one for one in result.get_asset_check_evaluations()}


def test_a_dropped_file_is_asked_for_once_it_is_whole_and_the_run_takes_it(floor: Floor) -> None:
    assert floor.tick().skip_message == "no file was dropped"
    body = as_csv(execution(algo="vwap"), execution("o2", price=-1)) + b"o3,AAPL\n"
    (floor.drop_folder / "fills.csv").write_bytes(body)
    assert floor.tick().skip_message == "fills.csv: is new or still changes"
    request = floor.tick()
    assert request.run_config == {"ops": {"execution_feedback": {"config": {"files": ["fills.csv"]}}}}

    result = floor.run(run_config=request.run_config, tags=request.tags)

    assert result.success
    told = metadata_of(result, "execution_feedback")
    names = ("dagster/row_count", "files", "lines", "new", "changed", "same", "quarantined", "refused files")
    assert {name: told[name] for name in names} == dict(zip(names, (1, 1, 3, 1, 0, 0, 2, 0), strict=True))
    assert [(row["file"], row["line"]) for row in told["rejected lines"]] == [("fills.csv", 3), ("fills.csv", 4)]
    assert told["taken"][0]["ignored columns"] == "algo"
    assert floor.rows("SELECT order_id, source_file, line FROM execution_feedback") == [("o1", "fills.csv", 2)]
    assert (floor.drop_folder / "taken" / "fills.csv").read_bytes() == body
    assert floor.tick().skip_message == "no file was dropped"


def test_the_checks_of_a_run_name_quarantined_lines_and_pass_once_they_came_right(floor: Floor) -> None:
    (floor.drop_folder / "a.jsonl").write_bytes(as_jsonl(execution(), execution("o2", side="hold")))
    (floor.drop_folder / "b.csv").write_bytes(b"nothing\n")
    first = checks_of(floor.run())
    (floor.drop_folder / "c.jsonl").write_bytes(as_jsonl(execution("o2")))
    second = checks_of(floor.run())

    quarantine = first["executions_quarantine"]
    assert (quarantine.passed, quarantine.severity) == (False, dg.AssetCheckSeverity.WARN)
    rows = {row["source_file"]: row for row in plain(quarantine.metadata)["rows"]}
    assert rows["a.jsonl"]["order_id"] == "o2"
    assert "side: hold is not buy or sell" in rows["a.jsonl"]["reason"]
    assert "has no column" in rows["b.csv"]["reason"]
    assert (first["executions_schema"].passed, first["executions_schema"].blocking) == (True, True)
    assert plain(second["executions_quarantine"].metadata)["failing_rows"] == 1, "the file alone is left"


def test_a_batch_is_not_asked_for_beside_a_run_under_way_nor_a_fourth_time(floor: Floor) -> None:
    (floor.drop_folder / "a.csv").write_bytes(as_csv(execution()))
    floor.tick()
    request = floor.tick()
    job = floor.definitions.resolve_job_def(JOB)

    def a_run(status: dg.DagsterRunStatus) -> dg.DagsterRun:
        return floor.instance.create_run_for_job(job, tags=request.tags, status=status)

    run = a_run(dg.DagsterRunStatus.STARTED)
    assert floor.tick().skip_message == f"run {run.run_id} is taking files"
    floor.instance.delete_run(run.run_id)

    keys = []
    for _ in range(3):
        keys.append(floor.tick().run_key)
        a_run(dg.DagsterRunStatus.FAILURE)
    assert len(set(keys)) == 3
    assert floor.tick().skip_message.startswith("3 runs could not take a.csv; mend")

    (floor.drop_folder / "b.csv").write_bytes(as_csv(execution("o2")))
    floor.tick()
    again = floor.tick()
    assert again.run_config["ops"]["execution_feedback"]["config"]["files"] == ["a.csv", "b.csv"]
    assert again.tags[BATCH_TAG] != request.tags[BATCH_TAG]


def test_the_slippage_is_measured_and_its_checks_tell_of_orders_without_prices_and_of_outliers(floor: Floor) -> None:
    with floor.database.writing() as connection:
        put_bar(connection, "AAPL", DAY, 10.0)
    orders = [execution(price=10.1, fees=1.0), execution("o2", price=12.0), execution("o3", symbol="MSFT")]
    (floor.drop_folder / "a.csv").write_bytes(as_csv(*orders))
    floor.run()

    result = floor.materialize(SLIPPAGE)

    assert result.success
    told = metadata_of(result, "execution_slippage")
    assert (told["dagster/row_count"], told["new"], told["without a benchmark"]) == (3, 3, 1)
    assert told["close bp"] == pytest.approx((100 * 1010 + 2000 * 1200) / 2210)
    assert told["last sessions"][0]["session"] == DAY
    evaluations = checks_of(result)
    assert {name: one.passed for name, one in evaluations.items()} == {
        "slippage_complete": False,
        "slippage_outliers": False,
    }
    [lacking] = plain(evaluations["slippage_complete"].metadata)["rows"]
    assert (lacking["order_id"], "session 2026-01-20 is not stored" in lacking["reason"]) == ("o3", True)
    [outlier] = plain(evaluations["slippage_outliers"].metadata)["rows"]
    assert (outlier["order_id"], outlier["close_bp"]) == ("o2", 2000.0)
    assert checks_of(floor.materialize(FEEDBACK))["executions_price_range"].passed is False


def test_the_assets_say_what_they_are_and_where_they_stand(floor: Floor) -> None:
    graph = floor.definitions.resolve_asset_graph()
    for key, above in ((FEEDBACK, set()), (SLIPPAGE, {"execution_feedback", "daily_prices", "intraday_prices"})):
        node = graph.get(key)
        assert (node.group_name, node.owners, node.pools) == ("executions", ["team:market-data"], {"duckdb"})
        assert {parent.to_user_string() for parent in node.parent_keys} == above
        assert not node.is_partitioned
        columns = [column.name for column in node.metadata["dagster/column_schema"].columns]
        assert columns[:3] == ["order_id", "symbol", "side" if key == FEEDBACK else "session_date"]
    [sensor] = floor.own.sensors or []
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING


class Upstream:
    """The slippage asset's condition below assets that do nothing, whose blocking check passes or not."""

    def __init__(self) -> None:
        self.sound = True
        self.instance = dg.DagsterInstance.ephemeral()
        self.cursor: Any = None
        days = dg.DailyPartitionsDefinition("2026-01-05", end_date="2026-01-24")

        @dg.asset(partitions_def=days)
        def daily_prices() -> None: ...

        @dg.asset(partitions_def=days)
        def intraday_prices() -> None: ...

        @dg.asset
        def execution_feedback() -> None: ...

        @dg.asset(deps=[execution_feedback, daily_prices, intraday_prices], automation_condition=slippage_condition())
        def execution_slippage() -> None: ...

        @dg.asset_check(asset=daily_prices, blocking=True)
        def positivity() -> dg.AssetCheckResult:
            return dg.AssetCheckResult(passed=self.sound)

        @dg.asset_check(asset=daily_prices)
        def ohlc() -> dg.AssetCheckResult:
            return dg.AssetCheckResult(passed=False)

        self.assets = [daily_prices, intraday_prices, execution_feedback, execution_slippage]
        self.checks = [positivity, ohlc]

    def update(self, asset: str, day: str | None = None) -> None:
        dg.materialize(
            [*self.assets, *self.checks],
            selection=dg.AssetSelection.assets(asset),
            partition_key=day,
            instance=self.instance,
            raise_on_error=False,
        )

    def requested(self) -> int:
        result = dg.evaluate_automation_conditions(
            dg.Definitions(assets=self.assets, asset_checks=self.checks), self.instance, cursor=self.cursor
        )
        self.cursor = result.cursor
        return result.total_requested


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning")
def test_an_update_above_sets_the_slippage_off_and_a_failed_blocking_check_holds_it_back() -> None:
    upstream = Upstream()
    upstream.update("execution_feedback")
    upstream.update("daily_prices", "2026-01-20")
    assert upstream.requested() == 1, "though nearly every session is missing"
    upstream.update("execution_slippage")
    assert upstream.requested() == 0
    for asset, day in (("daily_prices", "2026-01-21"), ("intraday_prices", "2026-01-21"), ("execution_feedback", None)):
        upstream.update(asset, day)
        assert (asset, upstream.requested()) == (asset, 1)
        upstream.update("execution_slippage")
        assert upstream.requested() == 0

    upstream.sound = False
    upstream.update("daily_prices", "2026-01-22")
    upstream.update("execution_feedback")
    assert upstream.requested() == 0
    upstream.sound = True
    upstream.update("daily_prices", "2026-01-22")
    assert upstream.requested() == 1
    upstream.instance.dispose()
