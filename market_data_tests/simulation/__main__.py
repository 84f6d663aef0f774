"""The comparison of `docs/selection.md`: the bandit beside plainer policies over 90 simulated days.

python -m market_data_tests.simulation [--seed 0] [--seeds 10] [--scenario hard] [--json FILE] [--plot FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from market_data_tests.simulation.policies import ABLATIONS, POLICIES
from market_data_tests.simulation.run import Result, simulate
from market_data_tests.simulation.scenario import SCENARIOS
from market_data_tests.simulation.table import lines, rows

PROJECT = Path(__file__).resolve().parents[2]
Job = tuple[str, str, int]


def _jobs(scenarios: Sequence[str], seeds: Sequence[int]) -> list[Job]:
    """Every policy, scenario and seed; parts of the bandit are left out in the main scenario alone."""
    return [
        (scenario, policy, seed)
        for scenario in scenarios
        for policy in (*POLICIES, *(ABLATIONS if scenario == "hard" else ()))
        for seed in seeds
    ]


def _result(job: Job) -> Result:
    scenario, policy, seed = job
    return simulate(SCENARIOS[scenario](seed), policy, seed)


def _results(jobs: Sequence[Job]) -> list[Result]:
    results: list[Result] = []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for result in pool.map(_result, jobs):
            results.append(result)
            if sys.stderr.isatty():
                sys.stderr.write(f"\r{len(results)} of {len(jobs)} runs ")
                sys.stderr.flush()
    return results


def main() -> None:
    """Simulate, print the table, draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=10, help="how many")
    parser.add_argument("--scenario", choices=SCENARIOS, action="append", help="all unless given; may be repeated")
    parser.add_argument("--json", type=Path, help="write the table there as JSON too")
    parser.add_argument("--plot", type=Path, default=PROJECT / "docs" / "images" / "selection.png")
    options = parser.parse_args()
    scenarios = options.scenario or list(SCENARIOS)
    results = _results(_jobs(scenarios, range(options.seed, options.seed + options.seeds)))
    table = rows(results)
    sys.stdout.write("\n".join(lines(table)) + "\n")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps([row.told() for row in table], indent=1) + "\n", encoding="utf-8")
    if "hard" in scenarios:
        from market_data_tests.simulation.plot import draw

        draw([result for result in results if result.scenario == "hard"], SCENARIOS["hard"](0), options.plot)


if __name__ == "__main__":
    main()
