"""Parts of the graph run by themselves: checks without their asset, a session nothing stored speaks of."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from market_data_tests.archives import bars
from market_data_tests.test_dagster_checks import CHECKS, DAYS, FIRST, LAST, SYMBOLS, Project

pytestmark = pytest.mark.filterwarnings("ignore:Parameter .backfill_policy.:dagster.BetaWarning")


def test_checks_run_without_their_asset_speak_of_the_whole_window(tmp_path: Path) -> None:
    with Project(tmp_path) as project:
        project.run(DAYS[0], DAYS[-1])
        with project.surroundings():
            result = dg.materialize(
                [*project.definitions.assets, *project.definitions.asset_checks],
                selection=dg.AssetSelection.checks_for_assets(dg.AssetKey("daily_prices")),
                resources=project.definitions.resources,
                instance=project.instance,
                raise_on_error=False,
            )

    assert result.success
    evaluations = [one for one in result.get_asset_check_evaluations() if one.check_name != "current"]
    assert {item.check_name: item.passed for item in evaluations} == dict.fromkeys(CHECKS, True)
    assert {item.metadata["span"].value for item in evaluations} == {f"{FIRST} to {LAST}"}


def test_a_session_beyond_what_is_stored_says_up_to_where_it_answers(tmp_path: Path) -> None:
    with Project(tmp_path) as project:
        for symbol in SYMBOLS:
            frame = bars(symbol)
            project.put(symbol, frame[frame["date"] <= DAYS[-3]])
        result = project.run(DAYS[-1])
        reasons = project.rows("SELECT symbol, outcome, reason FROM ingestion_audit ORDER BY symbol")

    assert not result.success
    assert reasons == [
        (
            symbol,
            "failed",
            f"ProviderError: {symbol}: what is stored answers up to {DAYS[-3]}, nothing of {DAYS[-1]} to {DAYS[-1]}",
        )
        for symbol in SYMBOLS
    ]
