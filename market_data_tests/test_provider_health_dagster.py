"""The asset `provider_health`: what it shows, what its checks say, and when it is run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from market_data.defs.health import parts
from market_data.defs.partitions import session_partitions
from market_data.defs.resources import (
    AlphaVantageResource,
    MarketDataResource,
    PolygonResource,
    StooqResource,
    YahooResource,
)
from market_data.ingest.sources import vendor_catalogue
from market_data.selection.quota import QuotaLedger
from market_data.settings import Settings
from market_data.warehouse.connection import Database
from market_data_tests.bars import at, naive, new_database, rows
from market_data_tests.test_provider_health import ask, poll

HEALTH = dg.AssetKey("provider_health")
LIMITS = """
stooq:
  priority: 1
  tier: sandbox
  base_url: "{sandbox}/stooq"
  basis: split_dividend
  monthly_limit: 10
  reset_zone: UTC
  tiers:
    sandbox: {}
"""
SESSIONS = session_partitions(date(2026, 1, 12), date(2026, 1, 19))


@dg.asset(partitions_def=SESSIONS)
def raw_bars() -> None:
    """Stands for the asset that asks."""


def definitions(settings: Settings) -> dg.Definitions:
    """The parts, with what they follow."""
    vendors = {
        "polygon": PolygonResource(key=""),
        "alpha_vantage": AlphaVantageResource(key=""),
        "stooq": StooqResource(key=""),
        "yahoo": YahooResource(key=""),
    }
    market_data = MarketDataResource(source=settings.default_source, **vendors)
    others = dg.Definitions(assets=[raw_bars], resources={"market_data": market_data})
    return dg.Definitions.merge(parts(settings, SESSIONS), others)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral(str(tmp_path / "dagster")) as instance:
        yield instance


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A synthetic store at the end of a day on which one vendor failed often and another's quota ended."""
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    with new_database(runtime / "synthetic.duckdb").writing() as connection:
        connection.execute("INSERT INTO store_kind VALUES (TRUE)")
        ask(connection, times=11, latency=120.0)
        ask(connection, error="RateLimited", times=4)
        ask(connection, "stooq", came=naive(day="2026-01-12"), times=2, latency=80.0)
        poll(connection, answered=2)
    clock = {"instant": at(23).isoformat(), "set_at": at(23).isoformat(), "rate": 0}
    (runtime / "sandbox_clock.json").write_text(json.dumps(clock))
    monkeypatch.setenv("MARKET_DATA_RUNTIME", str(runtime))
    limits = tmp_path / "limits.yaml"
    limits.write_text(LIMITS)
    monkeypatch.setenv("MARKET_DATA_SANDBOX_PROVIDERS", str(limits))
    settings = Settings()
    config = vendor_catalogue(settings, sandbox_url="http://127.0.0.1")["stooq"]
    ledger = QuotaLedger(settings.calls_file(synthetic=True), clock=lambda: at(20))
    for _ in range(10):
        ledger.take(config)
    return runtime


def materialized(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    job = definitions(Settings()).resolve_implicit_global_asset_job_def()
    return job.execute_in_process(instance=instance, asset_selection=[HEALTH], raise_on_error=False)


def test_it_shows_a_table_a_picture_and_numbers_of_the_last_day_and_its_checks_warn(store, instance):
    result = materialized(instance)
    assert result.success
    [event] = result.asset_materializations_for_node("provider_health")
    shown = event.metadata
    table = [dict(record.data) for record in shown["providers"].records]
    assert [(row["provider"], row["calls"], row["failed"], row["p95 ms"]) for row in table] == [
        ("stooq", 2, 0, 80.0),
        ("polygon", 16, 4, 120.0),
    ]
    assert shown["polygon calls"].value == 16
    assert shown["polygon accepted share"].value == 13 / 17
    assert shown["stooq calls"].value == 0
    assert "stooq p95 ms" not in shown
    assert shown["picture"].value.startswith("![")
    assert len(shown["picture"].value) < 60_000
    assert "SYNTHETIC" in shown
    columns = {column.name: column.description for column in shown["dagster/column_schema"].schema.columns}
    assert columns["not_served"] == "Requests beyond the reach or the quota of the provider"
    assert {"provider_name", "date", "errors", "intraday_calls"} <= set(columns)
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert set(checks) == {"provider_errors", "provider_quota"}
    errors = checks["provider_errors"]
    assert (errors.passed, errors.severity) == (False, dg.AssetCheckSeverity.WARN)
    [row] = [dict(record.data) for record in errors.metadata["rows"].records]
    assert (row["provider"], row["failed"], row["kinds"]) == ("polygon", 4, "RateLimited 4")
    quota = checks["provider_quota"]
    assert (quota.passed, quota.description) == (False, "calls left: stooq has 0 of 10 a month")
    assert shown["stooq quota left"].value == 0
    assert "polygon quota left" not in shown
    with new_connection(store) as connection:
        query = "SELECT provider_name, date::VARCHAR, calls, intraday_answered FROM provider_metrics ORDER BY 1"
        assert rows(connection, query) == [("polygon", "2026-01-20", 15, 2), ("stooq", "2026-01-12", 2, 0)]
        query = "SELECT provider_name, date::VARCHAR, calls_left FROM provider_quotas"
        assert rows(connection, query) == [("stooq", "2026-01-20", 0)]


def new_connection(store: Path) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
    return Database(store / "synthetic.duckdb").reading()


def test_without_a_store_it_fails_with_what_to_do(instance, monkeypatch, tmp_path):
    monkeypatch.setenv("MARKET_DATA_RUNTIME", str(tmp_path / "nowhere"))
    result = materialized(instance)
    assert not result.success
    [failure] = [event for event in result.all_events if event.is_step_failure]
    assert "no database yet; run `market-data backfill` first" in failure.step_failure_data.error_display_string
    assert not (tmp_path / "nowhere").exists()


def evaluations(defs: dg.Definitions, instance: dg.DagsterInstance) -> Callable[..., int]:
    """Gives how many runs each following evaluation asks for, by hour, minute and day."""
    cursor = None

    def requested(hour: int, minute: int, day: int = 20) -> int:
        nonlocal cursor
        now = datetime(2026, 1, day, hour, minute, tzinfo=UTC)
        only = dg.AssetSelection.assets(HEALTH)
        result = dg.evaluate_automation_conditions(defs, instance, only, evaluation_time=now, cursor=cursor)
        cursor = result.cursor
        return result.total_requested

    return requested


def test_it_follows_the_assets_that_ask_once_an_hour_at_most_and_once_a_day_at_least(instance):
    requested = evaluations(definitions(Settings(source="vendors")), instance)

    def report(key: str, partition: str | None = None) -> None:
        instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=partition))

    assert requested(2, 0) == 0
    assert requested(2, 46) == 0
    report("raw_bars", "2026-01-16")
    assert requested(3, 0) == 0
    report("raw_bars", "2026-01-15")
    assert requested(3, 46) == 1
    report("provider_health")
    assert requested(3, 47) == 0
    assert requested(4, 46) == 0
    report("intraday_prices")
    assert requested(5, 46) == 1
    report("provider_health")
    assert requested(1, 44, day=21) == 0
    assert requested(1, 46, day=21) == 1
    report("provider_health")
    assert requested(1, 47, day=21) == 0


def test_in_the_sandbox_where_days_pass_in_minutes_it_follows_within_five_of_them(instance):
    requested = evaluations(definitions(Settings()), instance)
    assert requested(3, 1) == 0
    instance.report_runless_asset_event(dg.AssetMaterialization("corporate_actions"))
    assert requested(3, 5) == 1


def test_it_is_an_unpartitioned_asset_of_the_operations_with_checks_that_block_nothing():
    graph = definitions(Settings()).resolve_asset_graph()
    node = graph.get(HEALTH)
    assert (node.group_name, node.owners, node.partitions_def) == ("operations", ["team:market-data"], None)
    assert node.description.startswith("What each provider was asked, and how it answered.")
    checks = [graph.get_check_spec(key) for key in graph.get_check_keys_for_assets([HEALTH])]
    assert [check.blocking for check in checks] == [False, False]
    assert {check.name: str(check.description).partition("\n\n")[0] for check in checks} == {
        "provider_errors": "No provider failed at more than 20% of at least 10 requests of the last 24 hours.",
        "provider_quota": "No provider's tightest quota is used to more than 90%.",
    }
