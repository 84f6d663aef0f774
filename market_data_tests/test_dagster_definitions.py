"""The definitions: what they hold, how they are partitioned and configured; building them touches nothing."""

from __future__ import annotations

import importlib
import os
import socket
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.remote_representation.external_data import RepositorySnap, ResourceConfigEnvVarSnap

from market_data.definitions import build_definitions
from market_data.errors import SettingsError
from market_data.schemas import DailyPrices, QualityLog, RawBars
from market_data.sessions import sessions_between
from market_data.settings import Settings
from market_data_tests.test_dagster_checks import ASSETS, CHECKS, DAYS, SYMBOLS, Project, metadata_of

pytestmark = pytest.mark.filterwarnings("ignore:Parameter .backfill_policy.:dagster.BetaWarning")

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_definitions(Settings())


def spec_of(definitions: dg.Definitions, name: str) -> dg.AssetSpec:
    return definitions.resolve_asset_graph().get(dg.AssetKey(name)).assets_def.get_asset_spec(dg.AssetKey(name))


def keys_of(definitions: dg.Definitions, name: str = "raw_bars") -> list[str]:
    return list(spec_of(definitions, name).partitions_def.get_partition_keys())


def test_the_definitions_can_be_loaded_and_hold_the_assets_in_the_order_of_the_data(
    definitions: dg.Definitions,
) -> None:
    dg.Definitions.validate_loadable(definitions)

    graph = definitions.resolve_asset_graph()
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} >= {*ASSETS, "corporate_actions"}
    assert graph.get(dg.AssetKey("raw_bars")).parent_keys == set()
    assert graph.get(dg.AssetKey("daily_prices")).parent_keys == {
        dg.AssetKey("raw_bars"),
        dg.AssetKey("corporate_actions"),
    }
    assert graph.get(dg.AssetKey("corporate_actions")).parent_keys == set()
    assert not graph.get(dg.AssetKey("corporate_actions")).is_partitioned
    assert graph.get(dg.AssetKey("quality_log")).parent_keys == {dg.AssetKey("daily_prices")}


def test_the_workspace_names_the_module_whose_defs_are_loadable() -> None:
    [entry] = yaml.safe_load((PROJECT / "workspace.yaml").read_text(encoding="utf-8"))["load_from"]

    module = importlib.import_module(entry["python_module"]["module_name"])

    dg.Definitions.validate_loadable(module.defs)


@pytest.mark.parametrize("asset", ASSETS)
def test_by_default_the_partitions_go_on_after_the_window_up_to_the_day_before(
    definitions: dg.Definitions, asset: str
) -> None:
    partitions = spec_of(definitions, asset).partitions_def

    keys = list(partitions.get_partition_keys(current_time=datetime(2026, 7, 7, 0, 15, tzinfo=UTC)))

    assert keys == [f"{day:%Y-%m-%d}" for day in sessions_between(date(2021, 1, 19), date(2026, 7, 6))]
    assert keys[-3:] == ["2026-07-01", "2026-07-02", "2026-07-06"]  # the 3rd is a holiday, the 4th a Saturday
    early = partitions.get_partition_keys(current_time=datetime(2026, 7, 6, 23, 59, tzinfo=UTC))
    assert early[-1] == "2026-07-02"


@pytest.mark.parametrize("asset", ASSETS)
def test_a_store_that_is_not_kept_current_has_the_sessions_of_its_five_years(asset: str) -> None:
    keys = keys_of(build_definitions(Settings(keep_current=False)), asset)

    assert keys == [f"{day:%Y-%m-%d}" for day in sessions_between(date(2021, 1, 19), date(2026, 1, 19))]
    assert len(keys) == 1256
    assert (keys[0], keys[-1]) == ("2021-01-19", "2026-01-16")
    assert "2025-01-09" not in keys  # a one-off closure
    assert "2024-11-29" in keys  # a half day


def test_a_session_closes_its_partition_when_its_utc_day_ends(definitions: dg.Definitions) -> None:
    window = spec_of(definitions, "raw_bars").partitions_def.time_window_for_partition_key("2024-07-03")

    assert window.start.isoformat() == "2024-07-03T00:00:00+00:00"
    assert window.end.isoformat() == "2024-07-04T00:00:00+00:00"


@pytest.mark.parametrize(
    ("start", "end", "keys"),
    [
        (date(2024, 1, 6), date(2024, 1, 9), ["2024-01-08", "2024-01-09"]),
        (date(2024, 1, 4), date(2024, 1, 7), ["2024-01-04", "2024-01-05"]),
        (date(2024, 1, 5), date(2024, 1, 5), ["2024-01-05"]),
    ],
    ids=["begins on a weekend", "ends on a weekend", "one session"],
)
def test_the_partitions_follow_the_window_of_the_settings(start: date, end: date, keys: list[str]) -> None:
    assert keys_of(build_definitions(Settings(window_start=start, window_end=end, keep_current=False))) == keys


def test_a_window_without_a_session_is_refused_instead_of_given_a_partition_outside_of_it() -> None:
    with pytest.raises(SettingsError, match=r"2024-01-06.*2024-01-07.*session"):
        build_definitions(Settings(window_start=date(2024, 1, 6), window_end=date(2024, 1, 7)))


def test_the_window_comes_from_the_environment_when_no_settings_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKET_DATA_WINDOW_START", "2024-03-27")
    monkeypatch.setenv("MARKET_DATA_WINDOW_END", "2024-04-01")
    monkeypatch.setenv("MARKET_DATA_KEEP_CURRENT", "false")

    assert keys_of(build_definitions()) == ["2024-03-27", "2024-03-28", "2024-04-01"]


@pytest.mark.parametrize(
    ("asset", "kinds", "model", "key"),
    [
        ("raw_bars", {"python"}, RawBars, []),
        ("daily_prices", {"python", "duckdb", "pandera"}, DailyPrices, ["symbol"]),
        ("quality_log", {"python", "duckdb"}, QualityLog, ["symbol"]),
    ],
)
def test_an_asset_says_what_it_is_whose_it_is_and_which_columns_it_has(
    definitions: dg.Definitions, asset: str, kinds: set[str], model, key: list[str]
) -> None:
    spec = spec_of(definitions, asset)
    definition = definitions.resolve_asset_graph().get(spec.key).assets_def

    assert (spec.group_name, spec.owners, spec.kinds) == ("daily_prices", ["team:market-data"], kinds)
    assert len(spec.description) > 100
    assert definition.op.pool == "duckdb"
    assert definition.backfill_policy == dg.BackfillPolicy.single_run()
    columns = {column.name: column for column in spec.metadata["dagster/column_schema"].columns}
    expected = model.to_schema().columns
    assert list(columns) == key + list(expected)
    for name, column in expected.items():
        assert columns[name].description == column.description
        assert columns[name].constraints.nullable == column.nullable
        assert len(columns[name].constraints.other) == len(column.checks)
    if key:
        assert not columns["symbol"].constraints.nullable
        assert not columns["date"].constraints.unique  # (symbol, date) is


def test_the_columns_of_the_quality_log_allow_every_verdict_of_the_table(definitions: dg.Definitions) -> None:
    schema = spec_of(definitions, "quality_log").metadata["dagster/column_schema"]

    [verdict] = [column for column in schema.columns if column.name == "verdict"]

    for name in ("accepted", "flagged", "missing", "rejected", "unanswered"):
        assert f"'{name}'" in str(verdict.constraints.other)


def test_the_checks_of_the_prices_are_one_step_in_the_pool_and_say_what_they_block(
    definitions: dg.Definitions,
) -> None:
    [checks] = [each for each in definitions.asset_checks if each.op.name == "daily_price_checks"]

    assert {spec.name: spec.blocking for spec in checks.check_specs} == CHECKS
    assert [spec.name for spec in checks.check_specs] == list(CHECKS)
    assert {spec.asset_key for spec in checks.check_specs} == {dg.AssetKey("daily_prices")}
    assert len({spec.description for spec in checks.check_specs}) == len(CHECKS)
    assert {spec.name: spec.metadata["severity"] for spec in checks.check_specs} == {
        name: "ERROR" if blocking else "WARN" for name, blocking in CHECKS.items()
    }
    assert checks.op.pool == "duckdb"


def test_the_job_takes_the_three_assets_with_every_check_in_one_process(definitions: dg.Definitions) -> None:
    job = definitions.resolve_job_def("daily_prices_job")

    assert {key.to_user_string() for key in job.asset_layer.executable_asset_keys} == set(ASSETS)
    assert {key.name for key in job.asset_layer.asset_graph.asset_check_keys} == set(CHECKS)
    assert job.partitions_def.get_partition_keys() == keys_of(definitions)
    assert job.executor_def.name == "in_process"
    assert job.description


def test_the_job_run_in_process_for_one_session_stores_it_and_evaluates_every_check(tmp_path: Path) -> None:
    with Project(tmp_path) as project, project.surroundings():
        job = project.definitions.resolve_job_def("daily_prices_job")

        result = job.execute_in_process(partition_key="2024-01-08", instance=project.instance)

        assert result.success
        assert [event.step_key for event in result.all_events if event.is_step_success] == [
            "raw_bars", "daily_prices", "daily_price_checks", "quality_log"
        ]  # fmt: skip
        assert {one.check_name: one.passed for one in result.get_asset_check_evaluations()} == dict.fromkeys(
            CHECKS, True
        )
        for asset in ASSETS:
            assert project.instance.get_materialized_partitions(dg.AssetKey(asset)) == {"2024-01-08"}
        assert project.rows("SELECT symbol, date::VARCHAR FROM price_history_daily ORDER BY symbol") == [
            (symbol, "2024-01-08") for symbol in SYMBOLS
        ]


def test_without_an_archive_made_up_bars_are_stored_apart_and_every_materialization_says_so(tmp_path: Path) -> None:
    with Project(tmp_path, archive="", told=False) as project:
        result = project.run("2024-01-08", checks=True)

        assert result.success
        for asset in ASSETS:
            metadata = metadata_of(result, asset)["2024-01-08"]
            assert metadata["source"] == "sandbox"
            assert "made up" in metadata["SYNTHETIC"]
            assert metadata["database"] == str(project.runtime / "synthetic.duckdb")
        checked = result.get_asset_check_evaluations()
        assert len(checked) == len(CHECKS)
        assert all("made up" in str(item.metadata["SYNTHETIC"].value) for item in checked)
        assert {file.name for file in project.runtime.glob("*.duckdb")} == {"synthetic.duckdb"}
        assert metadata_of(result, "daily_prices")["2024-01-08"]["dagster/row_count"] == len(SYMBOLS)


def test_symbols_select_what_is_asked_for_and_an_unknown_one_asks_for_nothing(tmp_path: Path) -> None:
    with Project(tmp_path, told=False) as project:
        unknown = project.run(DAYS[0], DAYS[-1], symbols="AAA,ZZZ")

        [failed] = [event for event in unknown.all_events if event.is_step_failure]
        assert "ZZZ is not in the universe" in failed.step_failure_data.error_display_string
        assert not (project.runtime / "market_data.duckdb").exists()

        result = project.run(DAYS[0], DAYS[-1], symbols="ccc, AAA")

        assert metadata_of(result, "raw_bars")[DAYS[-1]]["symbols"] == 2
        for table in ("price_history_daily", "data_quality_log"):
            counts = project.rows(f"SELECT symbol, count(*) FROM {table} GROUP BY symbol ORDER BY symbol")
            assert counts == [("AAA", 9), ("CCC", 9)]


def test_a_symbol_that_the_archive_lacks_is_named_and_not_asked_for(tmp_path: Path) -> None:
    with Project(tmp_path) as project:
        next(project.archive.rglob("bbb.us.txt")).unlink()

        told = metadata_of(project.run("2024-01-08"), "raw_bars")["2024-01-08"]

        assert (told["symbols"], told["calls"], told["lacking"], told["lacking symbols"]) == (2, 2, 1, "BBB")
        assert project.rows("SELECT symbol FROM coverage ORDER BY symbol") == [("AAA",), ("CCC",)]


def test_the_resource_and_its_field_and_the_config_are_described(definitions: dg.Definitions) -> None:
    resource = definitions.resources["market_data"]

    assert "MARKET_DATA_ARCHIVE" in str(type(resource).__doc__)
    assert "stooq_bulk" in str(
        resource.get_resource_definition().config_schema.config_type.fields["source"].description
    )
    fields = (
        definitions.resolve_asset_graph().get(dg.AssetKey("raw_bars")).assets_def.op.config_field.config_type.fields
    )
    assert {name: bool(field.description) for name, field in fields.items()} == {
        "symbols": True,
        "retry_rejected": True,
        "ask_again": True,
        "since": True,
    }
    assert (fields["symbols"].default_value, fields["retry_rejected"].default_value) == ("all", False)


@pytest.mark.parametrize(
    ("vendor", "variable"),
    [("polygon", "POLYGON_API_KEY"), ("alpha_vantage", "ALPHA_VANTAGE_API_KEY"), ("stooq", "STOOQ_API_KEY")],
)
def test_a_vendor_is_a_resource_with_its_key_as_a_variable_whose_value_is_nowhere_in_the_definitions(
    monkeypatch: pytest.MonkeyPatch, vendor: str, variable: str
) -> None:
    monkeypatch.setenv(variable, "k3y-of-the-test")

    snap = RepositorySnap.from_def(build_definitions().get_repository_def())
    shown = {resource.name: resource for resource in snap.resources}

    assert {"market_data", "polygon", "alpha_vantage", "stooq", "yahoo"} <= set(shown)
    assert all(shown[name].resource_snapshot.description for name in ("polygon", "alpha_vantage", "stooq", "yahoo"))
    assert shown[vendor].configured_values["key"] == ResourceConfigEnvVarSnap(name=variable)
    assert shown[vendor].parent_resources == {"market_data": vendor}
    assert "k3y-of-the-test" not in dg.serialize_value(snap)


def test_a_vendor_without_a_key_leaves_the_definitions_loadable_and_the_variable_blank(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("POLYGON_API_KEY", raising=False)
    build_definitions()
    assert os.environ["POLYGON_API_KEY"] == ""


def test_building_the_definitions_touches_neither_disk_nor_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        monkeypatch.setenv("MARKET_DATA_SANDBOX_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("MARKET_DATA_RUNTIME", str(tmp_path / "runtime"))
        monkeypatch.setenv("MARKET_DATA_UNIVERSE", str(tmp_path / "not-there.csv"))

        dg.Definitions.validate_loadable(build_definitions())

        with pytest.raises(BlockingIOError):
            server.accept()
    assert list(tmp_path.iterdir()) == []
