"""Filling of gaps as Dagster runs it: what the asset says, what its check warns of, when the sensor starts a run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from market_data.defs import gaps
from market_data.defs.partitions import session_partitions
from market_data.ingest.backfill import Backfill, BackfillRequest
from market_data.ingest.sources import open_source
from market_data.instruments import load_universe
from market_data.settings import Settings, load_settings
from market_data_tests.archives import bars
from market_data_tests.test_dagster_checks import FIRST, LAST, SYMBOLS, Project, plain, without

pytestmark = pytest.mark.filterwarnings("ignore:Parameter .backfill_policy.:dagster.BetaWarning")

DAY = "2024-01-05"


@pytest.fixture(scope="module")
def parts() -> dg.Definitions:
    return gaps.parts(Settings(), session_partitions(FIRST, LAST))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project whose archive lacks one session of BBB, with what it has in the store."""
    with Project(tmp_path_factory.mktemp("loaded"), keep_current="false") as project:
        project.put("BBB", without("BBB", DAY))
        with project.surroundings():
            settings, universe = load_settings(), load_universe(project.archive.parent / "universe.csv")
            with open_source("stooq_bulk", settings, universe) as source:
                work = Backfill(
                    settings=settings,
                    universe=universe,
                    selector=source.selector,
                    synthetic=False,
                    provider_label="stooq_bulk",
                )
                work.run(BackfillRequest(SYMBOLS, FIRST, LAST, "job"))
        shutil.copytree(project.runtime, project.runtime.with_name("kept"))
        yield project


@pytest.fixture
def project(loaded: Project) -> Project:
    """The project as it was loaded."""
    shutil.rmtree(loaded.runtime)
    shutil.copytree(loaded.runtime.with_name("kept"), loaded.runtime)
    loaded.put("BBB", without("BBB", DAY))
    return loaded


def fill(project: Project, parts: dg.Definitions, **config: object) -> dg.ExecuteInProcessResult:
    with project.surroundings():
        return dg.materialize(
            [*parts.assets, *parts.asset_checks],
            resources=project.definitions.resources,
            instance=project.instance,
            run_config={"ops": {"gap_filling": {"config": config}}} if config else None,
        )


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    [event] = result.asset_materializations_for_node("gap_filling")
    return {name: plain(value) for name, value in event.metadata.items()}


def tick(project: Project, parts: dg.Definitions, cursor: str | None = None) -> dg.SensorResult | dg.SkipReason:
    [sensor] = parts.sensors
    with project.surroundings():
        context = dg.build_sensor_context(
            instance=project.instance,
            cursor=cursor,
            resources={"market_data": project.definitions.resources["market_data"]},
        )
        with context:
            return sensor(context)


def test_the_asset_tells_what_it_filled_and_what_is_known_and_each_filled_session_is_told_at_the_prices(
    project: Project, parts: dg.Definitions
) -> None:
    first = metadata(fill(project, parts))
    assert (first["open"], first["known"], first["became known"], first["calls"]) == (0, 1, 1, 0)
    [row] = first["known gaps"]
    assert (row["symbol"], row["first_date"], row["sessions"]) == ("BBB", DAY, 1)
    assert row["reason"] == "stooq_bulk answered without a usable bar"

    project.put("BBB", bars("BBB"))
    result = fill(project, parts)

    second = metadata(result)
    assert (second["known"], second["closed"], second["filled now"], second["calls"]) == (0, 1, 1, 1)
    assert "known gaps" not in second
    told = [event.event_specific_data.asset_observation for event in result.all_events if event.is_asset_observation]
    assert [(one.asset_key.to_user_string(), one.partition) for one in told] == [("daily_prices", DAY)]
    assert plain(told[0].metadata["symbols filled"]) == "BBB"
    assert project.rows("SELECT verdict FROM data_quality_log WHERE symbol = 'BBB' AND date = ?", [DAY]) != [
        ("missing",)
    ]
    [check] = result.get_asset_check_evaluations()
    assert (check.check_name, check.passed) == ("open_gaps", True)
    assert project.rows("SELECT kind, count(*) FROM ingestion_jobs WHERE kind = 'gaps' GROUP BY ALL") == [("gaps", 1)]


def test_the_check_warns_of_what_has_been_open_for_more_than_a_week(project: Project, parts: dg.Definitions) -> None:
    fill(project, parts)
    now = datetime.now(UTC)
    later, ago = (now + timedelta(days=1)).isoformat(), (now - timedelta(days=8)).isoformat()
    project.change(
        f"UPDATE gaps SET state = 'open', asked_since = '{later}', next_try_at = '{later}', found_at = '{ago}'"
    )

    [check] = fill(project, parts).get_asset_check_evaluations()

    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.description == "1 gaps of 1 symbols have been open for more than 7 days"
    assert plain(check.metadata["gaps"]) == 1
    assert [row["symbol"] for row in plain(check.metadata["rows"])] == ["BBB"]


def test_the_sensor_starts_a_run_when_there_is_something_to_do_and_says_why_not_otherwise(
    project: Project, parts: dg.Definitions
) -> None:
    first = tick(project, parts)
    assert [request.tags for request in first.run_requests] == [gaps.TAGS]
    assert json.loads(first.cursor)["number"] == 1

    fill(project, parts)
    second = tick(project, parts, first.cursor)
    assert not second.run_requests
    assert second.skip_reason.skip_message == "nothing is due: 0 open and 1 known gaps; no gap is open"

    project.put("BBB", bars("BBB"))
    third = tick(project, parts, second.cursor)
    assert len(third.run_requests) == 1

    [job] = parts.jobs
    run = project.instance.create_run_for_job(
        parts_with(project, parts).resolve_job_def(job.name), status=dg.DagsterRunStatus.STARTED, tags=gaps.TAGS
    )
    busy = tick(project, parts, third.cursor)
    assert busy.skip_message == f"run {run.run_id[:8]} is filling gaps"


def parts_with(project: Project, parts: dg.Definitions) -> dg.Definitions:
    return dg.Definitions.merge(parts, dg.Definitions(resources=project.definitions.resources))


def test_the_sensor_waits_while_there_is_no_database(tmp_path: Path, parts: dg.Definitions) -> None:
    with Project(tmp_path, told=False, keep_current="false", lock_patience="0") as project:
        skipped = tick(project, parts)
        assert skipped.skip_reason.skip_message == "there is no database yet, so nothing is missing of it"


def test_the_definitions_are_loadable_and_their_sensor_runs_from_the_start(
    project: Project, parts: dg.Definitions
) -> None:
    definitions = parts_with(project, parts)
    dg.Definitions.validate_loadable(definitions)

    [sensor] = definitions.sensors
    assert (sensor.name, sensor.minimum_interval_seconds, sensor.default_status) == (
        "gap_filler",
        300,
        dg.DefaultSensorStatus.RUNNING,
    )
    spec = (
        definitions.resolve_asset_graph()
        .get(dg.AssetKey("gap_filling"))
        .assets_def.get_asset_spec(dg.AssetKey("gap_filling"))
    )
    assert (spec.group_name, spec.owners) == ("operations", ["team:market-data"])
    assert "Known gaps come back" in spec.description
