"""The asset `validation_report`: its files, what it shows, and when it is run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from market_data.defs.partitions import session_partitions
from market_data.defs.report import parts
from market_data.defs.resources import (
    AlphaVantageResource,
    MarketDataResource,
    PolygonResource,
    StooqResource,
    YahooResource,
)
from market_data.settings import Settings
from market_data_tests.reported import FIRST, LAST, known_store, new_store

REPORT = dg.AssetKey("validation_report")


def market_data() -> MarketDataResource:
    """The resource, for the sandbox."""
    vendors = {
        "polygon": PolygonResource(key=""),
        "alpha_vantage": AlphaVantageResource(key=""),
        "stooq": StooqResource(key=""),
        "yahoo": YahooResource(key=""),
    }
    return MarketDataResource(source="sandbox", **vendors)


def definitions() -> dg.Definitions:
    """The parts, with their resource."""
    resources = {"market_data": market_data()}
    sessions = session_partitions(FIRST, LAST)
    return dg.Definitions.merge(parts(Settings(), sessions), dg.Definitions(resources=resources))


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral(str(tmp_path / "dagster")) as instance:
        yield instance


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The environment of the known store, without reports."""
    filled = known_store()
    shutil.rmtree(filled.reports_folder, ignore_errors=True)
    monkeypatch.setenv("MARKET_DATA_RUNTIME", str(filled.runtime))
    monkeypatch.setenv("MARKET_DATA_UNIVERSE", str(filled.universe))
    return filled


def materialized(instance: dg.DagsterInstance, **config: str) -> dg.ExecuteInProcessResult:
    job = definitions().resolve_job_def("validation_report_job")
    run_config = {"ops": {"validation_report": {"config": config}}} if config else {}
    return job.execute_in_process(instance=instance, run_config=run_config, raise_on_error=False)


def test_it_writes_both_files_in_place_of_the_last_ones_and_shows_the_figures(store, instance):
    for _ in range(2):
        result = materialized(instance)
        assert result.success
    names = sorted(path.name for path in store.reports_folder.iterdir())
    assert names == ["validation_report.html", "validation_report.json"]
    document = json.loads((store.reports_folder / "validation_report.json").read_text("utf-8"))
    assert (document["headline"]["rows"], document["end"], "series" in document) == (9, "2021-01-25", False)
    [event] = result.asset_materializations_for_node("validation_report")
    shown = event.metadata
    assert Path(shown["report"].value).read_text("utf-8").lower().startswith("<!doctype html>")
    figures = {name: shown[name].value for name in ("rows", "rejected", "open gaps", "failing checks", "findings")}
    assert figures == {"rows": 9, "rejected": 5, "open gaps": 13, "failing checks": 3, "findings": 6}
    assert shown["coverage"].value == pytest.approx(9 / 23)
    assert shown["mean score"].value == pytest.approx(8.7 / 23)
    assert "| coverage | 39.13%: 9 bars of 23 |" in shown["summary"].value
    assert shown["look at"].value.startswith("the mean score is 0.3783, under 0.6")
    assert "SYNTHETIC" in shown


def test_a_span_of_its_own_has_files_of_its_own(store, instance):
    assert materialized(instance, start="2021-01-20", end="2021-01-21", symbols="aapl").success
    names = sorted(path.name for path in store.reports_folder.iterdir())
    assert names == ["validation_2021-01-20_2021-01-21.html", "validation_2021-01-20_2021-01-21.json"]
    document = json.loads((store.reports_folder / names[1]).read_text("utf-8"))
    assert [row["symbol"] for row in document["symbols"]] == ["AAPL"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"start": "yesterday"}, "start: 'yesterday' is not a date as in 2024-01-02"),
        ({"symbols": "NOBOD"}, "NOBOD is not in the universe"),
    ],
)
def test_a_config_that_cannot_be_fails_with_what_to_mend_and_writes_nothing(store, instance, config, message):
    result = materialized(instance, **config)
    assert not result.success
    [failure] = [event for event in result.all_events if event.is_step_failure]
    assert message in failure.step_failure_data.error_display_string
    assert not store.reports_folder.exists()


def test_an_empty_store_gives_an_empty_report(tmp_path, monkeypatch, instance):
    settings = new_store(tmp_path)
    monkeypatch.setenv("MARKET_DATA_RUNTIME", str(settings.runtime))
    result = materialized(instance)
    assert result.success
    [event] = result.asset_materializations_for_node("validation_report")
    assert event.metadata["summary"].value == "Nothing is expected from 2021-01-19 to 2021-01-25 yet."
    assert "coverage" not in event.metadata


def test_it_is_made_each_night_once_there_is_a_store(store, instance, monkeypatch, tmp_path):
    defs = definitions()
    schedule = defs.resolve_schedule_def("validation_report_schedule")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("45 0 * * *", "UTC")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    resources = {"market_data": market_data()}
    with dg.build_schedule_context(instance=instance, resources=resources) as context:
        assert len(schedule.evaluate_tick(context).run_requests) == 1
    monkeypatch.setenv("MARKET_DATA_RUNTIME", str(tmp_path / "nowhere"))
    with dg.build_schedule_context(instance=instance, resources=resources) as context:
        tick = schedule.evaluate_tick(context)
    assert not tick.run_requests
    assert "no database yet" in tick.skip_message


def test_it_reads_prices_verdicts_and_providers_and_says_so():
    graph = definitions().resolve_asset_graph()
    node = graph.get(REPORT)
    assert (node.group_name, node.owners, node.partitions_def) == ("reports", ["team:market-data"], None)
    assert {key.to_user_string() for key in node.parent_keys} == {"daily_prices", "quality_log", "provider_health"}
    assert node.description.startswith("What the store holds and how good it is: ")
