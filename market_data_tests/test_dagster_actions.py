"""The asset of corporate actions: asked of the sandbox's vendors, not asked for twice, and what follows from it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from market_data.definitions import build_definitions
from market_data.schemas import CorporateActions
from market_data_tests.test_dagster_checks import ASSETS, CHECKS, DAYS, SYMBOLS, Project, of_span, plain

pytestmark = pytest.mark.filterwarnings("ignore:Parameter .backfill_policy.:dagster.BetaWarning")

KEY = dg.AssetKey("corporate_actions")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with Project(tmp_path_factory.mktemp("actions"), archive="", told=False, window_start="2023-01-03") as project:
        yield project


def materialized(
    project: Project, selection: dg.AssetSelection | None = None, *span: str, **config: object
) -> dg.ExecuteInProcessResult:
    """A run of the actions, with their `config`, or of what else is selected, over a span of sessions if given."""
    with project.surroundings():
        definitions = build_definitions()
        return dg.materialize(
            [*definitions.assets, *definitions.asset_checks],
            selection=selection or dg.AssetSelection.assets(KEY),
            resources=definitions.resources,
            instance=project.instance,
            raise_on_error=False,
            run_config={"ops": {"corporate_actions": {"config": config}}} if config else None,
            **(of_span(*span) if span else {}),
        )


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    [event] = result.asset_materializations_for_node("corporate_actions")
    return {name: plain(value) for name, value in event.metadata.items()}


def synthetic_rows(project: Project, query: str) -> list[tuple]:
    with duckdb.connect(str(project.runtime / "synthetic.duckdb"), read_only=True) as connection:
        return connection.execute(query).fetchall()


def test_the_asset_says_what_it_is_whose_it_is_and_which_columns_it_has(project: Project) -> None:
    definition = project.definitions.resolve_asset_graph().get(KEY).assets_def
    spec = definition.get_asset_spec(KEY)

    assert (spec.group_name, spec.owners, spec.kinds) == ("reference", ["team:market-data"], {"python", "duckdb"})
    assert definition.op.pool == "duckdb"
    assert "market-data actions import" in spec.description
    columns = {column.name: column for column in spec.metadata["dagster/column_schema"].columns}
    assert list(columns) == ["symbol", *CorporateActions.to_schema().columns]
    assert not columns["symbol"].constraints.nullable


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
    group = dg.AssetSelection.groups("daily_prices")  # leaves the actions, which have no partitions, out of the range

    result = materialized(project, group, DAYS[0], DAYS[-1])

    assert result.success
    done = {(event.asset_key.to_user_string(), event.partition) for event in result.get_asset_materialization_events()}
    assert done == {(asset, day) for asset in ASSETS for day in DAYS}
    passed = {one.check_name: one.passed for one in result.get_asset_check_evaluations()}
    assert [name for name in passed if name != "current"] == list(CHECKS)
    assert passed["basis"]
    assert synthetic_rows(project, "SELECT DISTINCT basis FROM price_history_daily") == [("raw",)]


def test_an_archive_feeds_no_actions_and_the_run_says_what_to_do(tmp_path: Path) -> None:
    with Project(tmp_path, told=False) as project:
        result = materialized(project)

    assert not result.success
    [failed] = [event for event in result.all_events if event.is_step_failure]
    assert "of which none is in use: stooq_bulk feeds none" in failed.step_failure_data.error_display_string
    assert "market-data actions import" in failed.step_failure_data.error_display_string


@pytest.mark.parametrize(
    ("dividends", "unanswered"), [(True, {"*", *SYMBOLS}), (False, {"*"})], ids=["splits and dividends", "splits alone"]
)
def test_a_run_that_no_vendor_answers_fails_with_each_reason(
    tmp_path: Path, dividends: bool, unanswered: set[str]
) -> None:
    with refusing() as url, Project(tmp_path, archive="", told=False, sandbox_url=url) as project:
        result = materialized(project, dividends=dividends)

    assert not result.success
    assert result.asset_materializations_for_node("corporate_actions") == []
    [failed] = [event for event in result.all_events if event.is_step_failure]
    told = failed.step_failure_data.user_failure_data
    assert told.description.startswith("no corporate actions could be had; next: ")
    reasons = {row["symbol"]: row["reason"] for row in plain(told.metadata["failures"])}
    assert set(reasons) == unanswered
    assert all("polygon: " in reason for reason in reasons.values())
    assert synthetic_rows(project, "FROM actions_told") == []


class Refusal(BaseHTTPRequestHandler):
    """Knows no path."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@contextmanager
def refusing() -> Iterator[str]:
    """The address of a server that stands where the sandbox should and refuses everything."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusal) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
