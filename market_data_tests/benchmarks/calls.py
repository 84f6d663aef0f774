"""Calls at the wire, at full size: 249 symbols of 1,256 sessions, as one range and session by session in random order.

`python -m market_data_tests.benchmarks.calls [--faults]` runs the first step of the asset graph over the four vendors
that the sandbox plays, and prints what was sent to each. It takes some minutes: 1,256 runs are made.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from market_data.ingest.partitions import fetch
from market_data.ingest.sources import Source, open_source
from market_data.instruments import Universe, load_universe
from market_data.sandbox.faults import Fault
from market_data.sandbox.server import Sandbox
from market_data.sessions import sessions_between
from market_data.settings import Settings

WINDOW = date(2021, 1, 19), date(2026, 1, 19)
SYMBOLS = 249
FAULTS = (
    Fault("polygon", "server_error", share=0.05),
    Fault("polygon", "rate_limit", first=30, last=45, value=1),
    Fault("alpha_vantage", "quota", value=25),
    Fault("stooq", "html", share=0.05),
    Fault("yahoo", "outage", first=20, last=60),
)


def universe_of_whole_window() -> Universe:
    """249 instruments that trade through the whole window."""
    universe = load_universe()
    whole = [item for item in universe.values() if len(item.expected_sessions(*WINDOW)) == 1256]
    return Universe(whole[:SYMBOLS])


@contextmanager
def opened(sandbox: Sandbox, universe: Universe, folder: Path) -> Iterator[tuple[Settings, Source]]:
    """The four vendors over a store of its own."""
    settings = Settings(runtime=folder, sandbox_url=sandbox.url, retry_wait=0.01)
    with open_source("sandbox", settings, universe) as source:
        yield settings, source


def by_vendor(calls: Counter[tuple[str, str]]) -> str:
    """`polygon 80, yahoo 60`."""
    total: Counter[str] = Counter()
    for (vendor, _), count in calls.items():
        total[vendor] += count
    return ", ".join(f"{vendor} {count}" for vendor, count in sorted(total.items()))


def run(name: str, spans: list[tuple[date, date]], sandbox: Sandbox, universe: Universe) -> int:
    """Fetch each span in turn; returns and prints the calls."""
    sandbox.reset()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, opened(sandbox, universe, Path(folder)) as (settings, source):
        for number, (first, last) in enumerate(spans):
            fetch(settings, universe, source, symbols=list(universe), start=first, end=last, job_id=f"run{number}")
    calls = sandbox.calls
    seconds = time.perf_counter() - started
    print(f"{name:<42}{calls.total():>6} calls  {seconds:>7.1f} s  ({by_vendor(calls)})", flush=True)
    return calls.total()


def main() -> None:
    """Count and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", action="store_true", help="let the vendors fail now and then")
    faults = FAULTS if parser.parse_args().faults else ()
    universe = universe_of_whole_window()
    days = [day.date() for day in sessions_between(*WINDOW)]
    random.Random(0).shuffle(days)
    with Sandbox(universe, start=WINDOW[0], end=WINDOW[1], seed=1, faults=faults) as sandbox:
        refused = {
            item.symbol
            for item in sandbox.manifest.defects
            if item.kind in ("negative_price", "negative_volume", "null_flood")
        }
        print(
            f"{len(universe)} symbols, {len(days)} sessions; {len(refused)} symbols are to be refused whoever answers"
        )
        ranged = run("one range", [WINDOW], sandbox, universe)
        sandbox.replace_faults(faults)
        single = run(f"{len(days)} single sessions in random order", [(day, day) for day in days], sandbox, universe)
    if not faults and ranged != single:
        raise SystemExit(f"{ranged} calls as one range, {single} session by session")


if __name__ == "__main__":
    main()
