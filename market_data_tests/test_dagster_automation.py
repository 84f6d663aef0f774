"""Declarative automation: what follows what, and what a failed blocking check holds up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from market_data_tests.test_dagster_checks import DAYS, Project

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore:Parameter .(backfill_policy|include_sources).:dagster.BetaWarning"),
]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project(tmp_path) as project:
        yield project


def requested(project: Project, cursor: object = None) -> tuple[dict[str, set[str]], object]:
    """Partitions that the conditions of the daily assets ask for now, by asset, and the cursor for the next look."""
    with project.surroundings():
        result = dg.evaluate_automation_conditions(project.definitions, project.instance, cursor=cursor)
    assets = ("raw_bars", "daily_prices", "quality_log", "corporate_actions")
    asked = {name: result.get_requested_partitions(dg.AssetKey(name)) for name in assets}
    return {name: partitions for name, partitions in asked.items() if partitions}, result.cursor


def test_what_was_materialized_alone_is_followed_session_by_session(project: Project) -> None:
    _, cursor = requested(project)
    assert project.run(*DAYS[:2], assets=["raw_bars"]).success

    asked, cursor = requested(project, cursor)
    assert asked == {"daily_prices": set(DAYS[:2])}
    assert requested(project, cursor)[0] == {}  # once

    assert project.run(*DAYS[:2], assets=["daily_prices"], checks=True).success
    assert requested(project, cursor)[0] == {"quality_log": set(DAYS[:2])}


def test_what_was_materialized_together_needs_no_second_run(project: Project) -> None:
    _, cursor = requested(project)
    assert project.run(DAYS[0], DAYS[2], checks=True).success

    assert requested(project, cursor)[0] == {}


def test_a_blocking_check_that_failed_holds_up_what_follows(project: Project) -> None:
    assert project.run(DAYS[0], DAYS[2], checks=True).success
    _, cursor = requested(project)
    project.change("UPDATE price_history_daily SET raw_hash = 'lost' WHERE symbol = 'AAA'")
    run = project.run(DAYS[1], assets=["daily_prices"], checks=True)
    failed = [check.check_name for check in run.get_asset_check_evaluations() if not check.passed]

    asked, _ = requested(project, cursor)

    assert "provenance" in failed
    assert asked == {}
