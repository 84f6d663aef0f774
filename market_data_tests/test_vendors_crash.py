"""A process that is killed, again and again: what is held is not asked for a second time."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from market_data.ingest.actions import fetch_actions
from market_data.ingest.rebuild import rebuild_database
from market_data.sandbox.faults import Fault
from market_data.sessions import sessions_between
from market_data.warehouse.comparison import compare_databases
from market_data.warehouse.connection import Database
from market_data_tests.forked import fork_server
from market_data_tests.vendors import END, NOW, START, VENDORS, Vendors, symbols

KILLS = 20
NAMES = symbols(50)
CALENDAR = sessions_between(START, END)
"""Read when the module is imported, so that the process which the killed ones are forked from has it at hand."""
SLOW = [Fault(vendor, "slow", value=0.05) for vendor in VENDORS]


class Running(Vendors):
    """Vendors whose clock goes on, in every process from the same moment, so that answers have an order."""

    started: float

    @property
    def now(self) -> datetime:
        return NOW + timedelta(seconds=time.time() - self.started)

    @now.setter
    def now(self, moment: datetime) -> None:
        """Its clock is not set."""


def backfill(runtime: Path, url: str, started: float) -> None:
    """What the killed process does: the same job, taken up again."""
    os.chdir(runtime.parent)
    vendors = Running(runtime, NAMES, url=url, concurrency=4)
    vendors.started = started
    vendors.run()


def held(runtime: Path) -> Counter[tuple[str, str]]:
    """Answers in the raw store by vendor and symbol."""
    files = (json.loads(file.read_text()) for file in (runtime / "raw").rglob("*.json"))
    return Counter((item["provider"], item["symbol"]) for item in files)


def assert_rebuilt_identically(vendors: Vendors, path: Path) -> None:
    """Learn the corporate actions, which turns the bars that came adjusted, and make the database anew."""
    with vendors.source() as source:
        fetch_actions(
            vendors.settings, vendors.universe, source, symbols=NAMES, job_id="act", clock=lambda: vendors.now
        )
    assert vendors.rows("SELECT DISTINCT basis FROM price_history_daily") == [("raw",)]
    assert vendors.rows("SELECT DISTINCT reason FROM revisions") == [("actions",)]
    rebuild_database(vendors.settings, vendors.universe, path, synthetic=True, clock=lambda: vendors.now)
    live = Database(vendors.settings.database_for(synthetic=True))
    assert [difference for difference in compare_databases(live, path) if not difference.is_none] == []


@pytest.mark.long
def test_killing_the_process_20_times_costs_no_second_call_for_anything_held_and_a_rebuild_is_identical(
    tmp_path: Path,
) -> None:
    runtime, chance = tmp_path / "runtime", random.Random(5)
    context = fork_server()
    with Running(runtime, NAMES, faults=SLOW) as vendors:
        vendors.started = time.time()
        kills = 0
        seen: list[tuple[Counter[tuple[str, str]], Counter[tuple[str, str]]]] = []
        while kills < KILLS:
            process = context.Process(target=backfill, args=(runtime, vendors.sandbox.url, vendors.started))
            before = vendors.calls
            process.start()
            deadline = time.monotonic() + 20
            while vendors.calls == before and process.is_alive() and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(chance.uniform(0.0, 0.12))
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            assert process.exitcode == -signal.SIGKILL
            kills += 1
            time.sleep(0.15)  # a call of the dead process may still be under way in the sandbox
            seen.append((held(runtime), vendors.sandbox.calls))
        vendors.sandbox.replace_faults([])
        summary = vendors.run()

        assert {record.symbol for record in summary.records} | {
            name for (name,) in vendors.rows("SELECT symbol FROM ingestion_audit")
        } == set(NAMES)
        last = vendors.sandbox.calls
        for held_then, calls_then in seen:
            for key in held_then:
                assert last[key] == calls_then[key], f"{key} was held, and asked for again"
        ((lost,),) = vendors.rows("SELECT count(*) FROM coverage WHERE outcome = 'failed'")
        answered = sum(held(runtime).values())
        # A call whose answer the killed process had not stored yet is the one thing that is lost: 4 at most a kill.
        assert answered <= vendors.calls <= answered + lost + 4 * KILLS
        assert vendors.rows("SELECT symbol FROM ingestion_audit GROUP BY symbol HAVING count(*) <> 1") == []
        assert len(vendors.rows("SELECT DISTINCT symbol FROM price_history_daily")) == len(NAMES) - len(vendors.refused)
        assert_rebuilt_identically(vendors, tmp_path / "anew.duckdb")
