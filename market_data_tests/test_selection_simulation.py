from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from market_data.instruments import Instrument
from market_data.providers.config import Quota
from market_data.selection.quota import QuotaLedger
from market_data_tests.simulation.plot import draw
from market_data_tests.simulation.policies import POLICIES
from market_data_tests.simulation.run import Result, simulate
from market_data_tests.simulation.scenario import Degradation, Scenario, Window, calm, hard
from market_data_tests.simulation.table import lines, rows
from market_data_tests.simulation.vendors import SimulatedClock, SimulatedVendor, SwiftLedger

pytestmark = pytest.mark.long

SEEDS = (0, 1)
TIGHT = {
    "polygon": (Quota("month", 130),),
    "alpha_vantage": (Quota("day", 10),),
    "stooq": (Quota("day", 80),),
    "yahoo": (Quota("month", 100_000),),
}


def short(days: int = 12, symbols: int = 100) -> Scenario:
    """The hard scenario on a smaller scale: both outages and the decay within days."""
    long = hard()
    behaviours = dict(long.behaviours)
    behaviours["yahoo"] = replace(behaviours["yahoo"], outages=((5, 7),))
    behaviours["polygon"] = replace(behaviours["polygon"], outages=((10, 11),))
    behaviours["stooq"] = replace(behaviours["stooq"], degradation=Degradation(2, 6, 0.4))
    configs = tuple(replace(config, quotas=TIGHT[config.name]) for config in long.configs)
    return replace(
        long, configs=configs, behaviours=behaviours, days=days, symbols=symbols, backfills={3: 150}, minutes=15.0
    )


@pytest.fixture(scope="module")
def results() -> dict[str, list[Result]]:
    return {policy: [simulate(short(), policy, seed) for seed in SEEDS] for policy in POLICIES}


def accepted(runs: list[Result]) -> int:
    return sum(sum(run.accepted) for run in runs)


def test_the_bandit_fetches_more_accepted_windows_than_each_other_policy(results):
    due = sum(sum(run.due) for run in results["bandit"])
    missed = {policy: due - accepted(runs) for policy, runs in results.items()}
    best_other = min(count for policy, count in missed.items() if policy != "bandit")
    assert 0 < missed["bandit"] < 0.7 * best_other, missed


def test_the_bandit_keeps_scarce_calls_for_the_symbols_nobody_else_serves(results):
    single = {policy: sum(run.single_accepted for run in runs) for policy, runs in results.items()}
    assert max(single, key=single.get) == "bandit", single


def test_no_policy_exceeds_a_quota_although_they_are_spent(results):
    for policy, runs in results.items():
        assert [run.exceeded for run in runs] == [0, 0], policy
        assert max(runs[0].calls["alpha_vantage"]) == 10, policy
    assert sum(results["fixed priority"][0].calls["polygon"]) >= 130


def test_a_vendor_notices_calls_beyond_its_quota():
    scenario = short(days=1, symbols=20)
    clock = SimulatedClock(datetime(2025, 9, 1, tzinfo=UTC))
    config = next(config for config in scenario.configs if config.name == "alpha_vantage")
    vendor = SimulatedVendor(config, scenario.behaviours["alpha_vantage"], lambda: None, clock, seed=0)
    vendor.begin(scenario, 0, {}, [])
    for i in range(12):
        day = scenario.date_of(0)
        assert vendor.answer(Window(i, Instrument(f"S{i:03}"), None, 0, day, day)).calls == 1
    assert vendor.exceeded() == 2


def test_all_policies_tie_where_nothing_fails_and_calls_are_plenty():
    scenario = replace(calm(), days=2)
    runs = [simulate(scenario, policy, 0) for policy in POLICIES]
    assert {sum(run.accepted) for run in runs} == {500}
    assert {run.wasted for run in runs} == {0}


def test_a_seed_gives_the_same_run_each_time():
    scenario = short(days=3, symbols=40)
    first, again, other = (simulate(scenario, "bandit", seed) for seed in (3, 3, 4))
    assert first == again
    assert first.calls != other.calls


def test_the_ledger_of_the_simulation_comes_to_what_the_real_one_does():
    scenario = replace(short(days=1, symbols=40), backfills={})
    assert simulate(scenario, "bandit", 0, ledger_of=QuotaLedger) == simulate(
        scenario, "bandit", 0, ledger_of=SwiftLedger
    )


def test_the_table_has_a_row_for_each_policy_and_the_plot_is_drawn(results, tmp_path):
    table = rows([run for runs in results.values() for run in runs])
    text = lines(table)
    assert text[0] == "hard: 1,350 symbol-windows due, means of 2 seeds"
    assert [line[:20].strip() for line in text[2:]] == list(POLICIES)
    bandit = next(row for row in table if row.policy == "bandit")
    assert bandit.accepted == accepted(results["bandit"]) / 2
    assert bandit.told()["exceeded"] == 0
    draw([run for runs in results.values() for run in runs], short(), tmp_path / "selection.png")
    assert (tmp_path / "selection.png").read_bytes().startswith(b"\x89PNG")
