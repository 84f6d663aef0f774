"""The asset checks, as part of a run: what they say of clean and of altered data, and what they stop.

`Project`, which the other tests of the Dagster layer run, is here as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import dagster as dg
import duckdb
import pandas as pd
import pytest

from market_data.definitions import build_definitions
from market_data.sessions import sessions_between
from market_data.warehouse.connection import Database
from market_data_tests.archives import bars, put_file, write_archive

pytestmark = pytest.mark.filterwarnings("ignore:Parameter .backfill_policy.:dagster.BetaWarning")

ASSETS = ("raw_bars", "daily_prices", "quality_log")
CHECKS = {
    "schema": True,
    "completeness": False,
    "nulls": True,
    "positivity": True,
    "ohlc": False,
    "continuity": False,
    "freshness": False,
    "basis": False,
    "provenance": True,
    "restatement": False,
    "reconciliation": False,
}
"""The checks in their order, and whether they are blocking."""

SYMBOLS = ("AAA", "BBB", "CCC")
FIRST, LAST = date(2024, 1, 2), date(2024, 1, 12)
DAYS = tuple(f"{day:%Y-%m-%d}" for day in sessions_between(FIRST, LAST))


class Project:
    """A store over a small archive of nine sessions, with definitions and an instance of its own.

    It is known that no split or dividend happened (unless `told` is false), so that the archive's bars become raw.
    """

    def __init__(
        self, folder: Path, *, instance: dg.DagsterInstance | None = None, told: bool = True, **more: str
    ) -> None:
        self.archive = write_archive(folder / "archive", SYMBOLS)
        self.runtime = folder / "runtime"
        universe = folder / "universe.csv"
        universe.write_text("symbol,listed_by\n" + "".join(f"{symbol},2020-01-02\n" for symbol in SYMBOLS))
        given = {"archive": self.archive, "universe": universe, "runtime": self.runtime}
        given |= {"window_start": FIRST, "window_end": LAST, "keep_current": "false"} | more
        self.variables = {f"MARKET_DATA_{name.upper()}": str(value) for name, value in given.items()}
        with self.surroundings():
            self.definitions = build_definitions()
        self.instance = instance or dg.DagsterInstance.ephemeral(str(folder / "dagster"))
        if told:
            self.tell_of_no_actions()

    def tell_of_no_actions(self) -> None:
        """Note that a vendor told every split and dividend of every symbol, and that there were none."""
        database = Database(self.runtime / "market_data.duckdb")
        database.prepare()
        with database.writing() as connection:
            for kind in ("split", "dividend"):
                told = ["*", kind, "polygon", "2023-01-01", "2024-12-31", "0" * 64, "2024-12-31"]
                connection.execute("INSERT INTO actions_told VALUES (?, ?, ?, ?, ?, ?, ?)", told)

    def __enter__(self) -> Project:
        return self

    def __exit__(self, *_: object) -> None:
        self.instance.dispose()

    @contextmanager
    def surroundings(self) -> Iterator[None]:
        """The environment of its runs."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.archive.parent)
            for name, value in self.variables.items():
                patch.setenv(name, value)
            yield

    def put(self, symbol: str, frame: pd.DataFrame) -> None:
        """Put a symbol's file in the archive in place of the one it has."""
        put_file(self.archive, symbol, frame)

    def run(self, *span: str, assets: Iterable[str] = ASSETS, checks: bool = False, **config: object):
        """Materialize assets for one session, or from the first to the second, as the UI does; `config` of raw_bars."""
        selection = dg.AssetSelection.assets(*assets).without_checks()
        if checks:
            prices = dg.AssetKey("daily_prices")
            selection |= dg.AssetSelection.checks_for_assets(prices) - dg.AssetSelection.checks(
                dg.AssetCheckKey(prices, "current")
            )
        with self.surroundings():
            return dg.materialize(
                [*self.definitions.assets, *self.definitions.asset_checks],
                selection=selection,
                resources=self.definitions.resources,
                instance=self.instance,
                raise_on_error=False,
                run_config={"ops": {"raw_bars": {"config": config}}} if config else None,
                **of_span(*span),
            )

    def rows(self, query: str, values: Iterable[object] = ()) -> list[tuple]:
        """What a query of the database gives."""
        with duckdb.connect(str(self.runtime / "market_data.duckdb"), read_only=True) as connection:
            return connection.execute(query, list(values)).fetchall()

    def change(self, statement: str) -> None:
        """Alter the database behind the project's back."""
        with duckdb.connect(str(self.runtime / "market_data.duckdb")) as connection:
            connection.execute(statement)


def of_span(first: str, last: str | None = None) -> dict[str, object]:
    """What tells a run of its one partition, or of its range."""
    if last is None:
        return {"partition_key": first}
    return {"tags": {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}}


def metadata_of(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, dict]:
    """Metadata of an asset's materializations by partition, each of which must have one; tables as lists of rows."""
    events = result.asset_materializations_for_node(asset)
    assert len({event.partition for event in events}) == len(events)
    return {str(event.partition): {name: plain(value) for name, value in event.metadata.items()} for event in events}


def plain(value: dg.MetadataValue) -> object:
    if isinstance(value, dg.TableMetadataValue):
        return [dict(record.data) for record in value.records]
    return value.value


def without(symbol: str, *days: str) -> pd.DataFrame:
    """The symbol's bars but for some days."""
    frame = bars(symbol)
    return frame[~frame["date"].isin(pd.to_datetime(list(days)))]


def checked(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    """The evaluations by name, which must be those of every check, each once and in order."""
    evaluations = result.get_asset_check_evaluations()
    assert [evaluation.check_name for evaluation in evaluations] == list(CHECKS)
    assert {evaluation.asset_key for evaluation in evaluations} == {dg.AssetKey("daily_prices")}
    return {evaluation.check_name: evaluation for evaluation in evaluations}


def failing(result: dg.ExecuteInProcessResult) -> dict[str, list[dict]]:
    """The rows of the checks that did not pass."""
    return {name: plain(one.metadata["rows"]) for name, one in checked(result).items() if not one.passed}


def materialized(result: dg.ExecuteInProcessResult) -> set[str]:
    return {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with Project(tmp_path_factory.mktemp("clean")) as project:
        yield project


@pytest.fixture(scope="module")
def spans(clean: Project) -> dict[tuple[str, ...], dg.ExecuteInProcessResult]:
    """A run over a range and then one over a single session, with checks."""
    return {span: clean.run(*span, checks=True) for span in ((DAYS[0], DAYS[-1]), ("2024-01-08",))}


@pytest.fixture
def altered(clean: Project, spans: dict[tuple[str, ...], dg.ExecuteInProcessResult]) -> Iterator[Project]:
    """The clean project for a test that alters what it stores; it is put back afterwards."""
    kept = "CREATE OR REPLACE TABLE kept AS FROM price_history_daily"
    clean.change(f"{kept}; CREATE OR REPLACE TABLE price_history_daily AS FROM kept")  # without its constraints
    yield clean
    clean.change("CREATE OR REPLACE TABLE price_history_daily AS FROM kept; DROP TABLE kept")


@pytest.mark.parametrize("span", [(DAYS[0], DAYS[-1]), ("2024-01-08",)], ids=["range", "single session"])
def test_on_clean_data_every_check_is_evaluated_once_and_passes(spans, span: tuple[str, ...]) -> None:
    result = spans[span]

    assert result.success
    evaluations = checked(result)
    assert {name: (one.passed, one.blocking) for name, one in evaluations.items()} == {
        name: (True, blocking) for name, blocking in CHECKS.items()
    }
    assert {name: one.severity for name, one in evaluations.items()} == {
        name: dg.AssetCheckSeverity.ERROR if blocking else dg.AssetCheckSeverity.WARN
        for name, blocking in CHECKS.items()
    }
    told = {name: {key: plain(value) for key, value in one.metadata.items()} for name, one in evaluations.items()}
    for name, metadata in told.items():
        assert (metadata["failing_rows"], metadata["source"]) == (0, "stooq_bulk")
        assert metadata["span"] == f"{span[0]} to {span[-1]}"
        assert metadata["summary"] == evaluations[name].description
        assert "rows" not in metadata
    number = 3 * (len(DAYS) if len(span) > 1 else 1)
    assert told["schema"]["summary"] == f"{number} bars satisfy DailyPrices"
    assert told["completeness"]["summary"] == f"{number} of {number} expected bars (100.00%)"
    assert (told["completeness"]["measured"], told["freshness"]["measured"]) == (1.0, 3.0)
    assert materialized(result) == set(ASSETS)


@pytest.mark.parametrize(
    ("assignment", "names"),
    [
        ("volume = -1", ["schema", "positivity"]),
        ("volume = NULL", ["nulls"]),
        ("raw_hash = repeat('0', 64)", ["provenance"]),
        ("high = low * 0.9", ["ohlc"]),
        ("open = 2 * open, high = 2 * high, low = 2 * low, close = 2 * close", ["continuity"]),
    ],
)
def test_an_altered_bar_fails_its_checks_and_only_blocking_ones_stop_the_quality_log(
    altered: Project, assignment: str, names: list[str]
) -> None:
    altered.change(f"UPDATE price_history_daily SET {assignment} WHERE symbol = 'BBB' AND date = '2024-01-08'")

    result = altered.run("2024-01-08", assets=["quality_log"], checks=True)

    found = failing(result)
    assert list(found) == names
    assert {len(rows) for rows in found.values()} == {1}
    told = " ".join(str(row) for rows in found.values() for row in rows)
    assert "BBB" in told
    for name in names:
        evaluation = checked(result)[name]
        assert plain(evaluation.metadata["failing_rows"]) == 1
        assert evaluation.severity == (dg.AssetCheckSeverity.ERROR if CHECKS[name] else dg.AssetCheckSeverity.WARN)
    is_stopped = any(CHECKS[name] for name in names)
    assert result.success is not is_stopped
    assert materialized(result) == (set() if is_stopped else {"quality_log"})


def test_a_check_looks_at_the_sessions_of_its_run_alone_and_shows_the_first_failing_rows(altered: Project) -> None:
    altered.change("UPDATE price_history_daily SET high = low * 0.9 WHERE date <> '2024-01-09'")

    other = altered.run("2024-01-09", assets=["quality_log"], checks=True)
    every = altered.run(DAYS[0], DAYS[-1], assets=["quality_log"], checks=True)

    assert failing(other) == {}
    assert [(row["date"], row["symbol"]) for row in failing(every)["ohlc"]] == [
        (day, symbol) for day in DAYS if day != "2024-01-09" for symbol in SYMBOLS
    ][:20]
    assert plain(checked(every)["ohlc"].metadata["failing_rows"]) == 24


def test_failing_rows_are_json_that_a_browser_can_read_also_where_a_field_is_null(altered: Project) -> None:
    altered.change("UPDATE price_history_daily SET volume = NULL WHERE date = '2024-01-08'")

    rows = failing(altered.run("2024-01-08", assets=["quality_log"], checks=True))["nulls"]

    assert [row["symbol"] for row in rows] == list(SYMBOLS)
    assert {json.dumps(row["volume"]) for row in rows} == {"null"}


@pytest.mark.long
def test_bars_whose_payload_is_gone_stop_the_quality_log_until_it_is_back(tmp_path: Path) -> None:
    with Project(tmp_path) as project:
        project.run("2024-01-08", assets=["raw_bars", "daily_prices"])
        [(sha256,)] = project.rows("SELECT DISTINCT raw_hash FROM price_history_daily WHERE symbol = 'CCC'")
        [payload] = (project.runtime / "raw").rglob(f"{sha256}.zst")
        payload = payload.rename(tmp_path / "lost")

        result = project.run("2024-01-08", assets=["daily_prices", "quality_log"], checks=True)

        assert not result.success
        [row] = failing(result)["provenance"]
        assert (row["symbol"], row["raw_hash"], row["bars"]) == ("CCC", sha256, 1)
        assert (row["in_ledger"], row["in_store"]) == (True, False)
        assert row["first_date"] == row["last_date"] == "2024-01-08"
        assert list(failing(result)) == ["provenance"]
        assert materialized(result) == {"daily_prices"}
        step = [event.step_key for event in result.all_events if event.is_step_failure]
        assert step == ["daily_price_checks"]

        payload.rename(project.runtime / "raw" / sha256[:2] / f"{sha256}.zst")
        again = project.run("2024-01-08", assets=["daily_prices", "quality_log"], checks=True)

        assert failing(again) == {}
        assert materialized(again) == {"daily_prices", "quality_log"}


def test_a_missing_session_warns_of_completeness_and_freshness_and_stops_nothing(tmp_path: Path) -> None:
    with Project(tmp_path) as project:
        project.put("BBB", without("BBB", "2024-01-05"))

        result = project.run("2024-01-03", "2024-01-05", checks=True)

        assert result.success
        assert materialized(result) == set(ASSETS)
        found = failing(result)
        assert list(found) == ["completeness", "freshness"]
        [row] = found["completeness"]
        assert (row["symbol"], row["date"], row["verdict"]) == ("BBB", "2024-01-05", "missing")
        assert found["freshness"] == [{"symbol": "BBB", "last_bar": "2024-01-04"}]
        evaluation = checked(result)["completeness"]
        assert plain(evaluation.metadata["measured"]) == pytest.approx(8 / 9)
        assert evaluation.description == "8 of 9 expected bars (88.89%)"
        assert {evaluation.severity, checked(result)["freshness"].severity} == {dg.AssetCheckSeverity.WARN}
