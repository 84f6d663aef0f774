"""How long a poll of 249 symbols takes by itself: `.venv/bin/python -m market_data_tests.benchmarks.polling`.

Each poll asks for the newest minutes of all symbols and upserts one new minute for each. The vendor answers at once, or
after a latency that is given, so that what is measured is all the rest: choosing, permits and quotas, HTTP client,
pack, parsing, and the write. The time spent in the vendor's place is counted apart.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from datetime import timedelta
from pathlib import Path
from statistics import median

import httpx

from market_data.ingest.intraday.poller import poll_session
from market_data.sessions import session_hours
from market_data_tests.live_minutes import HALF_DAY, LiveStore
from market_data_tests.vendors import symbols

SYMBOLS = 249


class Wire:
    """Stands between the client and the vendor, and counts the time in which a request waits for its answer."""

    def __init__(self, store: LiveStore, latency: float) -> None:
        self.seconds = 0.0
        self.calls = 0
        self._answer = store.market.answer
        self._latency = latency
        self._lock = threading.Lock()

    def __call__(self, vendor: str, request: httpx.Request) -> httpx.Response:
        started = time.perf_counter()
        with self._lock:  # in turn, so that what the vendor computes is not counted twice
            waited = time.perf_counter()
            response = self._answer(vendor, request)
            self.seconds += time.perf_counter() - waited
            self.calls += 1
        time.sleep(max(0.0, self._latency - (time.perf_counter() - started)))
        return response


def measured(vendor: str, polls: int, latency: float, concurrency: int) -> None:
    """Poll, and print what it took."""
    opens, _ = session_hours(HALF_DAY)
    store = LiveStore(symbols(SYMBOLS), session=HALF_DAY, start=opens + timedelta(minutes=5), intraday_poll=60)
    wire = Wire(store, latency)
    store.market.answer = wire  # type: ignore[method-assign]
    walls: list[float] = []
    servers: list[float] = []
    cpu: list[float] = []
    own: list[float] = []
    rows: list[int] = []
    stop = threading.Event()
    begun = [time.perf_counter(), 0.0, time.process_time()]

    def note(poll, written) -> None:
        walls.append(time.perf_counter() - begun[0])
        servers.append(wire.seconds - begun[1])
        cpu.append(time.process_time() - begun[2])
        own.append(max(row.own_ms for row in written))
        rows.append(sum(row.rows_inserted for row in written))
        if len(walls) > polls:
            stop.set()
        begun[:] = [time.perf_counter(), wire.seconds, time.process_time()]

    def sleep(seconds: float) -> None:
        store.clock.sleep(seconds)
        begun[0] = time.perf_counter()

    with store.source(vendor, concurrency=concurrency) as source:
        poll_session(
            store.settings, store.universe, source, HALF_DAY, store.names,
            job_id="bench", clock=store.clock, sleep=sleep, stop=stop, on_poll=note,
        )  # fmt: skip
    # The first poll brings every minute since the open, and is not counted.
    print(f"{vendor}, {SYMBOLS} symbols, {polls} polls, latency {latency * 1000:g} ms, {concurrency} at once; medians:")
    print(f"  a poll                     {median(walls[1:]) * 1000:7.0f} ms, {median(rows[1:]):.0f} minutes inserted")
    print(f"  in the vendor's place      {median(servers[1:]) * 1000:7.0f} ms, {wire.calls} calls in all")
    rest = [wall - server for wall, server in zip(walls[1:], servers[1:], strict=True)]
    print(f"  all the rest               {median(rest) * 1000:7.0f} ms, longest {max(rest) * 1000:.0f} ms")
    print(f"  CPU of this process        {median(cpu[1:]) * 1000:7.0f} ms, both cores together")
    print(f"  of it outside of asking    {median(own[1:]):7.0f} ms (own_ms: choosing, pack, parsing, write)")


def main() -> None:
    """Run in a folder that is gone afterwards."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--polls", type=int, default=15)
    arguments.add_argument("--latency", type=float, default=0.0, help="seconds an answer takes")
    arguments.add_argument("--concurrency", type=int, default=4)
    given = arguments.parse_args()
    for vendor in ("polygon", "yahoo"):
        with tempfile.TemporaryDirectory() as folder:
            before = Path.cwd()
            os.chdir(folder)
            try:
                measured(vendor, given.polls, given.latency, given.concurrency)
            finally:
                os.chdir(before)


if __name__ == "__main__":
    main()
