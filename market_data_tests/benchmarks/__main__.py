"""`make bench`: speed and memory of the main job, each figure beside its yardstick, taken in the same run."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from market_data.instruments import load_universe
from market_data.sandbox.market import SyntheticMarket
from market_data.sandbox.wire import stooq_ascii

PROJECT = Path(__file__).resolve().parents[2]
SYMBOLS = 249
WINDOW = date(2021, 1, 19), date(2026, 1, 19)


def write_archive(folder: Path) -> None:
    """An archive of 249 instruments that trade through the whole window, 1,256 sessions each."""
    universe = load_universe()
    market = SyntheticMarket(universe, start=WINDOW[0], end=WINDOW[1], seed=1)
    target = folder / "data" / "daily" / "us" / "nyse stocks" / "1"
    target.mkdir(parents=True)
    whole = [symbol for symbol, item in universe.items() if len(item.expected_sessions(*WINDOW)) == 1256][:SYMBOLS]
    for symbol in whole:
        ticker = universe[symbol].ticker("stooq")
        (target / f"{ticker}.txt").write_bytes(stooq_ascii(ticker.upper(), market.adjusted_bars(symbol)))


def run_task(name: str, archive: Path, folder: Path) -> dict[str, Any]:
    """One task in a fresh process."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "market_data_tests.benchmarks.tasks", name, str(archive), str(folder)],
        capture_output=True,
        text=True,
        check=True,
        cwd=PROJECT,
        env=_environment(),
    )
    return json.loads(done.stdout.splitlines()[-1]) | {"process": time.perf_counter() - started}


def run_dagster(archive: Path, home: Path, *partitions: str) -> dict[str, Any]:
    """One `dagster asset materialize` over all assets and checks, the whole process."""
    shutil.copy(PROJECT / "dagster.yaml", home)
    settings = {"DAGSTER_HOME": str(home), "MARKET_DATA_ARCHIVE": str(archive)}
    settings["MARKET_DATA_RUNTIME"] = str(home / "runtime")
    command = ["-m", "dagster", "asset", "materialize", "--select", "group:daily_prices", *partitions]
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, *command, "-m", "market_data.definitions"],
        capture_output=True,
        check=True,
        cwd=PROJECT,
        env=_environment() | settings,
    )
    return {"seconds": time.perf_counter() - started}


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("MARKET_DATA_")}


def measure(archive: Path, scratch: Path, repeats: int) -> dict[str, list[dict[str, Any]]]:
    """Every task `repeats` times, taking turns so that all see the same machine."""
    figures: dict[str, list[dict[str, Any]]] = {}
    for turn in range(repeats):
        folder = scratch / f"turn-{turn}"
        home = folder / "home"
        home.mkdir(parents=True)
        for name in ("bulk", "backfill", "again"):
            figures.setdefault(name, []).append(run_task(name, archive, folder))
        whole = ("--partition-range", "2021-01-19...2026-01-16")
        figures.setdefault("dagster range", []).append(run_dagster(archive, home, *whole))
        figures.setdefault("dagster session", []).append(run_dagster(archive, home, "--partition", "2025-03-03"))
        shutil.rmtree(folder)
    return figures


def table(figures: dict[str, list[dict[str, Any]]]) -> list[str]:
    """The figures as lines: median, least and most seconds, beside the bulk load and the target."""
    bulk = statistics.median(run["seconds"] for run in figures["bulk"])
    targets = {"backfill": "at most 8 x", "dagster range": "under 30 s"}
    lines = [f"{'':<18}{'median s':>10}{'least':>9}{'most':>9}{'x bulk':>9}{'peak MiB':>10}  target"]
    for name, runs in figures.items():
        seconds = [run["seconds"] for run in runs]
        median = statistics.median(seconds)
        peak = max(run.get("peak_mib", 0.0) for run in runs)
        lines.append(
            f"{name:<18}{median:>10.2f}{min(seconds):>9.2f}{max(seconds):>9.2f}{median / bulk:>9.1f}"
            + (f"{peak:>10.0f}" if peak else f"{'':>10}")
            + f"  {targets.get(name, '')}"
        )
    return lines


def main() -> None:
    """Measure, print the table, and keep it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, default=PROJECT / "runtime" / "reports" / "bench.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="market-data-bench-") as name:
        archive = Path(name) / "archive"
        write_archive(archive)
        figures = measure(archive, Path(name), options.repeats)
    machine = {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        **{package: version(package) for package in ("duckdb", "pandas", "pandera", "dagster")},
    }
    print(f"{SYMBOLS} symbols x 1,256 sessions = {figures['bulk'][0]['rows']:,} rows; {machine}")
    print("\n".join(table(figures)))
    print("bulk: one DuckDB INSERT of the same files into a keyed table; again: the same backfill once more;")
    print("bulk, backfill and again are the work alone, dagster the whole process with all assets and checks")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"machine": machine, "figures": figures}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
