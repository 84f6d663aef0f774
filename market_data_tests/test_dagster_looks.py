"""What people read in the UI: every asset, check, job, schedule, sensor, resource and config says what it is for."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from dagster._config.field_utils import Shape

from market_data.definitions import build_definitions
from market_data.defs import lineage, show
from market_data.defs.advice import ADVICE
from market_data.defs.assets import OWNERS
from market_data.defs.failing import NEXT_STEP, failure, plainly, told_plainly
from market_data.errors import MarketDataError, QuotaExhausted, SymbolError, WarehouseLocked
from market_data.schemas import BAR_FIELDS
from market_data.settings import Settings
from market_data_tests.bars import held_elsewhere
from market_data_tests.test_dagster_checks import DAYS, Project, metadata_of

pytestmark = pytest.mark.filterwarnings("ignore:Parameter .backfill_policy.:dagster.BetaWarning")

with warnings.catch_warnings():
    warnings.simplefilter("ignore", dg.BetaWarning)
    DEFINITIONS = build_definitions(Settings())
GRAPH = DEFINITIONS.resolve_asset_graph()
SPECS = {
    key.to_user_string(): GRAPH.get(key).assets_def.get_asset_spec(key) for key in sorted(GRAPH.get_all_asset_keys())
}
CHECKS = {key: GRAPH.get_check_spec(key) for key in sorted(GRAPH.asset_check_keys, key=str)}
REPOSITORY = DEFINITIONS.get_repository_def()
JOBS = sorted((job for job in REPOSITORY.get_all_jobs() if not job.name.startswith("__")), key=lambda job: job.name)
NOT_TABLES = {
    "backup": "a folder of copies",
    "housekeeping": "it removes files",
    "provider_health": "its columns are read from the database at each run, and stand at its materializations",
    "validation_report": "files for people",
}
"""Assets without a column schema, and why."""


@pytest.mark.parametrize("name", SPECS)
def test_an_asset_says_what_it_is_from_what_and_what_to_do_when_it_fails(name: str) -> None:
    told = SPECS[name].description or ""

    first, *more = told.split("\n\n")
    assert re.fullmatch(r"[^*`]{20,99}\.", first.replace("\n", " ")), "the catalog shows the first line as it is"
    assert len(told) > 300
    assert "**From** " in told
    assert "**When it fails**" in told
    assert more


@pytest.mark.parametrize("name", SPECS)
def test_an_asset_has_an_owner_a_group_kinds_and_says_whether_it_costs_calls(name: str) -> None:
    spec = SPECS[name]

    assert spec.owners == OWNERS
    assert spec.group_name != "default"
    assert "python" in spec.kinds
    assert spec.tags["market_data/asks"] in ("vendors", "nobody")


@pytest.mark.parametrize("name", SPECS)
def test_an_asset_that_is_a_table_describes_every_column(name: str) -> None:
    schema = SPECS[name].metadata.get("dagster/column_schema")

    if name in NOT_TABLES:
        assert schema is None
        return
    assert isinstance(schema, dg.TableSchema)
    assert len({column.name for column in schema.columns}) == len(schema.columns) > 2
    assert all(column.type for column in schema.columns)
    undescribed = {column.name for column in schema.columns if not column.description}
    assert undescribed <= ({*BAR_FIELDS, "vwap", "trade_count", "datetime"} if name == "intraday_prices" else set())


def columns(asset: str) -> set[str]:
    schema = SPECS[asset].metadata["dagster/column_schema"]
    assert isinstance(schema, dg.TableSchema)
    return {column.name for column in schema.columns}


@pytest.mark.parametrize(
    ("asset", "sources"),
    [
        ("daily_prices", {"raw_bars", "corporate_actions"}),
        ("quality_log", {"daily_prices"}),
        ("gap_filling", {"quality_log"}),
        ("execution_slippage", {"execution_feedback", "daily_prices", "intraday_prices"}),
    ],
)
def test_the_lineage_of_columns_names_columns_that_are_there_of_assets_it_depends_on(
    asset: str, sources: set[str]
) -> None:
    told = SPECS[asset].metadata["dagster/column_lineage"]
    assert isinstance(told, dg.TableColumnLineage)
    depended = {key.to_user_string() for key in GRAPH.get(dg.AssetKey(asset)).parent_keys}

    pairs = {(dep.asset_key.to_user_string(), dep.column_name) for deps in told.deps_by_column.values() for dep in deps}

    assert set(told.deps_by_column) <= columns(asset)
    assert {name for name, _ in pairs} == sources <= depended
    assert {(name, column) for name, column in pairs if column not in columns(name)} == set()


def test_a_price_is_told_to_come_from_the_bar_and_the_actions_it_is_turned_by() -> None:
    deps = lineage.DAILY_PRICES.deps_by_column["close"]

    assert {(dep.asset_key.to_user_string(), dep.column_name) for dep in deps} == {
        ("raw_bars", "close"),
        ("corporate_actions", "date"),
        ("corporate_actions", "kind"),
        ("corporate_actions", "value"),
    }


@pytest.mark.parametrize("key", CHECKS, ids=lambda key: f"{key.asset_key.to_user_string()}-{key.name}")
def test_a_check_says_why_it_is_there_and_what_to_do_when_it_does_not_pass(key: dg.AssetCheckKey) -> None:
    told = CHECKS[key].description or ""

    assert "\n\n**Why:** " in told
    assert "\n\n**If it does not pass:** " in told
    assert ".." not in told


def test_no_advice_is_left_over_from_a_check_that_is_gone() -> None:
    checks = {(key.asset_key.to_user_string(), key.name) for key in CHECKS}

    assert {key for key in ADVICE if key[0] in SPECS} == checks


def test_the_way_of_the_data_is_the_order_of_the_groups() -> None:
    def depth(key: dg.AssetKey) -> int:
        return 1 + max((depth(parent) for parent in GRAPH.get(key).parent_keys), default=-1)

    depths: dict[str, list[int]] = {}
    for name, spec in SPECS.items():
        depths.setdefault(str(spec.group_name), []).append(depth(dg.AssetKey(name)))
    assert {"reference", "daily_prices", "intraday", "executions", "operations"} <= set(depths)
    assert max(depths["reference"]) == 0
    assert max(depths["executions"]) > max(depths["intraday"])
    assert max(depths["operations"]) > max(depths["daily_prices"])


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_a_job_is_described(job: dg.JobDefinition) -> None:
    assert len(job.description or "") > 30


@pytest.mark.parametrize(
    "one",
    sorted([*REPOSITORY.schedule_defs, *REPOSITORY.sensor_defs], key=lambda one: one.name),
    ids=lambda one: one.name,
)
def test_a_schedule_or_sensor_is_described_and_is_on(one: dg.ScheduleDefinition | dg.SensorDefinition) -> None:
    assert len(one.description or "") > 60
    assert one.default_status.value == "RUNNING"


def fields_of(shape: object) -> Iterator[tuple[str, object]]:
    assert isinstance(shape, Shape)
    yield from shape.fields.items()


CONFIGS = {
    assets.op.name: assets.op.config_field
    for assets in {GRAPH.get(key).assets_def for key in GRAPH.get_all_asset_keys()}
    if assets.op.config_field is not None and isinstance(assets.op.config_field.config_type, Shape)
}


def test_the_assets_that_take_a_config_are_these() -> None:
    assert set(CONFIGS) >= {
        "raw_bars", "daily_prices", "corporate_actions", "gap_filling", "intraday_prices", "execution_feedback",
        "backup", "housekeeping",
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_each_field_of_a_config_has_a_default_and_says_what_it_means(name: str) -> None:
    for field, found in fields_of(CONFIGS[name].config_type):
        assert found.default_provided, field
        assert len(found.description or "") > 25, field
        if isinstance(found.default_value, bool):
            assert found.description.startswith("true: " if found.default_value is False else "false: "), field


def test_the_job_that_asks_again_comes_with_its_config_filled_in() -> None:
    job = DEFINITIONS.resolve_job_def("ask_again_job")

    assert job.partitioned_config is not None
    given = job.partitioned_config.get_run_config_for_partition_key("2024-02-14")
    assert given == {"ops": {"raw_bars": {"config": {"ask_again": True, "symbols": "all"}}}}
    assert {key.to_user_string() for key in job.asset_layer.executable_asset_keys} == {
        "raw_bars", "daily_prices", "quality_log"
    }  # fmt: skip
    assert job.partitions_def is not None


def test_a_resource_and_each_of_its_fields_is_described() -> None:
    for name in ("market_data", "polygon", "alpha_vantage", "stooq", "yahoo"):
        definition = DEFINITIONS.resources[name].get_resource_definition()
        assert len(type(DEFINITIONS.resources[name]).__doc__ or "") > 60
        for field, found in fields_of(definition.config_schema.config_type):
            if field not in ("polygon", "alpha_vantage", "stooq", "yahoo"):
                assert len(found.description or "") > 40, (name, field)


def test_each_session_has_numbers_whose_plots_say_something(tmp_path: Path) -> None:
    with Project(tmp_path) as project:
        result = project.run(DAYS[0], DAYS[2], assets=["raw_bars", "daily_prices"])
        raw, prices = (metadata_of(result, name) for name in ("raw_bars", "daily_prices"))

    for day in DAYS[:3]:
        assert (raw[day]["payloads"], raw[day]["providers"]) == (3, 1)
        told = ("dagster/partition_row_count", "symbols", "coverage", "flagged", "rejected", "missing", "score")
        assert [prices[day][name] for name in told] == [3, 3, 1.0, 0, 0, 0, 1.0]


def test_an_unknown_symbol_ends_a_run_with_the_reason_and_the_next_step_instead_of_a_traceback(tmp_path: Path) -> None:
    with Project(tmp_path, told=False) as project:
        result = project.run(DAYS[0], assets=["raw_bars"], symbols="ZZZ")

    [failed] = [event for event in result.all_events if event.is_step_failure]
    told = failed.step_failure_data.user_failure_data
    assert told.description.startswith("SymbolError: ZZZ is not in the universe")
    assert "; next: correct `symbols` in the Launchpad" in told.description
    assert str(told.metadata[NEXT_STEP].value).startswith("correct `symbols`")


def test_a_locked_database_ends_a_run_with_who_holds_it_and_the_next_step(tmp_path: Path) -> None:
    with Project(tmp_path, lock_patience="0") as project, held_elsewhere(project.runtime / "market_data.duckdb"):
        result = project.run(DAYS[0], assets=["raw_bars"])

    [failed] = [event for event in result.all_events if event.is_step_failure]
    told = failed.step_failure_data.user_failure_data
    assert told.description.startswith("WarehouseLocked: ")
    assert "close the program that holds the database" in told.metadata[NEXT_STEP].value


@pytest.mark.parametrize(
    ("error", "step"),
    [
        (WarehouseLocked("locked"), "close the program"),
        (SymbolError("ZZ is not in the universe"), "correct `symbols`"),
        (QuotaExhausted("spent"), "wait until the quota"),
        (MarketDataError("something"), "mend what the reason names"),
    ],
)
def test_an_error_of_the_project_becomes_a_failure_with_its_own_step(error: MarketDataError, step: str) -> None:
    with pytest.raises(dg.Failure) as raised, plainly():
        raise error

    assert raised.value.__cause__ is error
    assert raised.value.description.startswith(f"{type(error).__name__}: {error}; next: {step}")
    assert not raised.value.allow_retries


def test_errors_that_are_not_of_the_project_and_failures_pass_as_they_are() -> None:
    @told_plainly
    def body(error: Exception) -> None:
        raise error

    own = failure("no", "do this")
    with pytest.raises(dg.Failure) as raised:
        body(own)
    assert raised.value is own
    with pytest.raises(ZeroDivisionError):
        body(ZeroDivisionError())


def test_a_table_tells_numbers_as_numbers_and_dates_as_text() -> None:
    rows = pd.DataFrame(
        {
            "symbol": ["A", "B"],
            "date": pd.to_datetime(["2024-01-02", None]),
            "at": pd.to_datetime(["2024-01-02 14:30:05", "2024-01-03 00:00:00"]),
            "bars": [1, 2],
            "score": [None, 1 / 3],
            "raw": [True, False],
        }
    )

    told = show.table(rows.to_dict("records"))

    assert [(column.name, column.type) for column in told.schema.columns] == [
        ("symbol", "string"), ("date", "string"), ("at", "string"), ("bars", "int"), ("score", "float"), ("raw", "bool")
    ]  # fmt: skip
    assert [record.data for record in told.records] == [
        {"symbol": "A", "date": "2024-01-02", "at": "2024-01-02 14:30", "bars": 1, "score": None, "raw": True},
        {"symbol": "B", "date": None, "at": "2024-01-03", "bars": 2, "score": 0.3333333333, "raw": False},
    ]
    assert show.table([]).records == []
