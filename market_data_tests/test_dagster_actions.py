"""The asset of corporate actions: asked of the sandbox's vendors, not asked for twice, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from market_data.definitions import build_definitions
from market_data_tests.test_dagster_checks import DAYS, Project, plain

pytestmark = pytest.mark.filterwarnings("ignore:Parameter .backfill_policy.:dagster.BetaWarning")

KEY = dg.AssetKey("corporate_actions")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with Project(tmp_path_factory.mktemp("actions"), archive="", told=False, window_start="2023-01-03") as project:
        yield project


def materialized(project: Project) -> dg.ExecuteInProcessResult:
    with project.surroundings():
        definitions = build_definitions()
        return dg.materialize(
            [*definitions.assets, *definitions.asset_checks],
            selection=dg.AssetSelection.assets(KEY),
            resources=definitions.resources,
            instance=project.instance,
            raise_on_error=False,
        )


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    [event] = result.asset_materializations_for_node("corporate_actions")
    return {name: plain(value) for name, value in event.metadata.items()}


def synthetic_rows(project: Project, query: str) -> list[tuple]:
    with duckdb.connect(str(project.runtime / "synthetic.duckdb"), read_only=True) as connection:
        return connection.execute(query).fetchall()


def test_the_actions_are_stored_and_counted_and_a_second_run_asks_nobody(project: Project) -> None:
    first, again = metadata(materialized(project)), metadata(materialized(project))

    stored = dict(synthetic_rows(project, "SELECT kind, count(*) FROM corporate_actions GROUP BY kind"))
    assert first["dagster/row_count"] == sum(stored.values()) > 0
    assert first["dividends"] == stored["dividend"]
    assert (first["calls"], again["calls"]) == (4, 0)  # all splits at once, and the dividends of three symbols
    assert "made up" in first["SYNTHETIC"]
    told = synthetic_rows(project, "SELECT DISTINCT kind FROM actions_told ORDER BY kind")
    assert told == [("dividend",), ("split",)]


def test_bars_that_come_adjusted_are_raw_in_the_store_once_the_actions_are_known(project: Project) -> None:
    result = project.run(DAYS[0], DAYS[-1], checks=True)

    assert result.success
    passed = {one.check_name: one.passed for one in result.get_asset_check_evaluations()}
    assert passed["basis"]
    assert synthetic_rows(project, "SELECT DISTINCT basis FROM price_history_daily") == [("raw",)]


def test_an_archive_feeds_no_actions_and_the_run_says_what_to_do(tmp_path: Path) -> None:
    with Project(tmp_path, told=False) as project:
        result = materialized(project)

    assert not result.success
    [failed] = [event for event in result.all_events if event.is_step_failure]
    assert "of which none is in use: stooq_bulk feeds none" in failed.step_failure_data.error_display_string
    assert "market-data actions import" in failed.step_failure_data.error_display_string
