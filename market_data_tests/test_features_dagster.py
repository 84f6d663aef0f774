"""The asset `features_daily`: what a run computes and shows, what its checks say, and when it is run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest

from market_data.defs.features import parts
from market_data.defs.partitions import session_partitions
from market_data.defs.resources import (
    AlphaVantageResource,
    MarketDataResource,
    PolygonResource,
    StooqResource,
    YahooResource,
)
from market_data.features.catalogue import FEATURES
from market_data.schemas import DailyPrices
from market_data.settings import Settings
from market_data_tests.featured import NOW, FeatureStore

pytestmark = pytest.mark.filterwarnings("ignore:Parameter .backfill_policy.:dagster.BetaWarning")

FEATURES_DAILY = dg.AssetKey("features_daily")
SESSIONS = session_partitions(date(2021, 1, 19), date(2022, 3, 25))
RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


@dg.asset
def corporate_actions() -> None:
    """Stands for the asset of that name."""


@dg.asset(partitions_def=SESSIONS, deps=[corporate_actions])
def daily_prices() -> None:
    """Stands for the asset of that name."""


@dg.asset(partitions_def=SESSIONS, deps=[daily_prices])
def quality_log() -> None:
    """Stands for the asset of that name."""


def definitions() -> dg.Definitions:
    """The part, with what it follows."""
    vendors = {
        "polygon": PolygonResource(key=""),
        "alpha_vantage": AlphaVantageResource(key=""),
        "stooq": StooqResource(key=""),
        "yahoo": YahooResource(key=""),
    }
    others = dg.Definitions(
        assets=[corporate_actions, daily_prices, quality_log],
        resources={"market_data": MarketDataResource(source="sandbox", **vendors)},
    )
    return dg.Definitions.merge(parts(Settings(), SESSIONS), others)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral(str(tmp_path / "dagster")) as instance:
        yield instance


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> FeatureStore:
    """A store whose features are made, at its clock's time."""
    store = FeatureStore()
    clock = {"instant": NOW.isoformat(), "set_at": NOW.isoformat(), "rate": 0}
    store.settings.sandbox_clock_file.write_text(json.dumps(clock))
    monkeypatch.setenv("MARKET_DATA_RUNTIME", str(store.settings.runtime.absolute()))
    return store


def run(instance: dg.DagsterInstance, first: date, last: date, **config: object) -> dg.ExecuteInProcessResult:
    job = definitions().resolve_job_def("features_job")
    return job.execute_in_process(
        instance=instance,
        tags=dict(zip(RANGE, (str(first), str(last)), strict=True)),
        run_config={"ops": {"features_daily": {"config": config}}},
        raise_on_error=False,
    )


def test_a_run_makes_its_sessions_and_what_is_stale_elsewhere_and_tells_both(store, instance):
    store.revise("MSFT", store.days[290], close=90.0)
    store.execute("DELETE FROM feature_partitions WHERE date >= ?", store.days[298])
    store.execute("DELETE FROM features_daily WHERE date >= ?", store.days[298])
    result = run(instance, store.days[298], store.days[299])
    assert result.success
    events = {event.partition: event.metadata for event in result.asset_materializations_for_node("features_daily")}
    assert list(events) == [str(day) for day in store.days[298:]]
    first, last = events.values()
    assert (first["dagster/partition_row_count"].value, "sessions made" in first) == (3, False)
    assert first["share null"].value == first["nulls"].value / (3 * len(FEATURES))
    assert first["market return"].value == store.feature("AAPL", store.days[298], "market_return_1")
    assert {"median volatility", "SYNTHETIC"} <= first.keys()
    assert (last["sessions made"].value, last["rows_inserted"].value) == (2, 6)
    assert last["made elsewhere"].value == (
        f"8 stale sessions outside of the run, {store.days[290]} to {store.days[297]}"
    )
    assert [row.data["cause"] for row in last["rows with a null"].records] == [
        "open, high, low and close contradict each other"
    ]
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert {name: check.passed for name, check in checks.items()} == {
        "features_from_canonical": True, "features_schema": True,
    }  # fmt: skip
    assert checks["features_from_canonical"].description.startswith("2 sessions looked at, 0 stale, 0 foreign")


def test_a_run_over_what_is_up_to_date_writes_nothing_unless_it_is_forced(store, instance):
    day = store.days[30]
    before = store.rows("SELECT made_at FROM feature_partitions WHERE date = ?", day)
    [event] = run(instance, day, day).asset_materializations_for_node("features_daily")
    assert (event.metadata["sessions made"].value, event.metadata["sessions up to date"].value) == (0, 1)
    assert event.metadata["nulls"].value > 0
    [event] = run(instance, day, day, force=True).asset_materializations_for_node("features_daily")
    assert (event.metadata["sessions made"].value, event.metadata["rows_unchanged"].value) == (1, 3)
    assert store.rows("SELECT made_at FROM feature_partitions WHERE date = ?", day) == before


def checked(instance: dg.DagsterInstance) -> dict[str, dg.AssetCheckEvaluation]:
    alone = dg.define_asset_job("alone", selection=dg.AssetSelection.checks_for_assets(FEATURES_DAILY))
    job = dg.Definitions.merge(definitions(), dg.Definitions(jobs=[alone])).resolve_job_def("alone")
    result = job.execute_in_process(instance=instance)
    return {check.check_name: check for check in result.get_asset_check_evaluations()}


def test_the_checks_by_themselves_name_what_is_stale_and_what_cannot_be(store, instance):
    day = store.days[280]
    store.revise("MSFT", store.days[290], close=90.0)
    store.execute("UPDATE features_daily SET rsi_14 = 101, log_return_1_rank = -0.1 WHERE date = ?", day)
    store.execute("UPDATE features_daily SET macd = 'inf' WHERE date = ? AND symbol = 'NKE'", day)
    found = checked(instance)
    canonical, schema = found["features_from_canonical"], found["features_schema"]
    assert (canonical.passed, canonical.severity) == (False, dg.AssetCheckSeverity.WARN)
    rows = [dict(record.data) for record in canonical.metadata["rows"].records]
    assert [row["session"] for row in rows] == [str(day) for day in store.days[290:]]
    assert {row["why"] for row in rows} == {"bars, verdicts or actions that it was made from have changed"}
    assert not schema.passed
    assert [dict(record.data) for record in schema.metadata["rows"].records] == [
        {"feature": "rsi_14", "rows": 3, "first": f"AAPL {day}"},
        {"feature": "macd", "rows": 1, "first": f"NKE {day}"},
        {"feature": "log_return_1_rank", "rows": 3, "first": f"AAPL {day}"},
    ]


def test_without_a_store_it_fails_with_what_to_do(instance, monkeypatch, tmp_path):
    monkeypatch.setenv("MARKET_DATA_RUNTIME", str(tmp_path / "nowhere"))
    result = run(instance, date(2021, 1, 19), date(2021, 1, 19))
    assert not result.success
    failures = [event for event in result.all_events if event.is_step_failure]
    assert "no database yet" in failures[0].step_failure_data.error_display_string
    assert not (tmp_path / "nowhere").exists()


def test_it_follows_prices_and_verdicts_but_not_actions_which_reach_sessions_nobody_can_name(instance):
    defs, only = definitions(), dg.AssetSelection.assets(FEATURES_DAILY)
    cursor, now = None, NOW

    def requested() -> int:
        nonlocal cursor, now
        now += timedelta(minutes=1)
        result = dg.evaluate_automation_conditions(defs, instance, only, evaluation_time=now, cursor=cursor)
        cursor = result.cursor
        return result.total_requested

    def report(key: str, partition: str | None = None) -> None:
        instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=partition))

    report("corporate_actions")
    assert requested() == 0
    report("daily_prices", "2021-01-20")
    assert requested() == 0
    report("quality_log", "2021-01-20")
    assert requested() == 1
    report("features_daily", "2021-01-20")
    assert requested() == 0
    report("corporate_actions")
    assert requested() == 0
    report("quality_log", "2021-01-20")
    assert requested() == 1


def test_it_is_described_with_its_columns_and_what_each_is_made_from():
    graph = definitions().resolve_asset_graph()
    node = graph.get(FEATURES_DAILY)
    assert (node.group_name, node.owners, node.kinds) == (
        "features",
        ["team:market-data"],
        {"python", "duckdb", "numpy"},
    )
    assert node.description.startswith("Returns, volatility, trend, liquidity")
    schema = node.metadata["dagster/column_schema"]
    names = ["symbol", "date", *(one.name for one in FEATURES), "reason", "made_at"]
    assert [column.name for column in schema.columns] == names
    assert all(column.description for column in schema.columns)
    told = {column.name: column for column in schema.columns}
    assert told["beta_252"].description.endswith("Unit: 1. Made from 253 sessions.")
    assert told["rsi_14"].constraints.other == ["0 to 100"]
    lineage = node.metadata["dagster/column_lineage"].deps_by_column
    assert {one.name for one in FEATURES} <= lineage.keys()
    sources = {
        name: {f"{dep.asset_key.to_user_string()}.{dep.column_name}" for dep in deps} for name, deps in lineage.items()
    }
    assert {"daily_prices.high", "daily_prices.low", "corporate_actions.value"} <= sources["volatility_parkinson_21"]
    assert sources["dollar_volume"] == {
        "daily_prices.close", "daily_prices.volume", "quality_log.verdict", "quality_log.rules",
    }  # fmt: skip
    of_prices = {"symbol", *DailyPrices.to_schema().columns}
    assert {
        source.removeprefix("daily_prices.")
        for deps in sources.values()
        for source in deps
        if source.startswith("daily_prices.")
    } <= of_prices
    checks = [graph.get_check_spec(key) for key in graph.get_check_keys_for_assets([FEATURES_DAILY])]
    assert {check.name: check.blocking for check in checks} == {
        "features_from_canonical": False, "features_schema": False,
    }  # fmt: skip
