"""The nightly schedule and the run it asks for, through Dagster, over the sandbox's vendors by a clock that is set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from market_data.clock import SandboxClock
from market_data.definitions import build_definitions
from market_data.defs.assets import instant
from market_data.errors import SettingsError
from market_data.warehouse.connection import Database
from market_data_tests.bars import held_elsewhere

pytestmark = [
    pytest.mark.filterwarnings("ignore:Parameter .backfill_policy.:dagster.BetaWarning"),
]
SYMBOLS = ("AAPL", "MSFT")


class Store:
    """A synthetic store whose clock is set, with definitions and an instance of its own."""

    def __init__(self, folder: Path) -> None:
        universe = folder / "universe.csv"
        universe.write_text("symbol,listed_by\n" + "".join(f"{symbol},2020-01-02\n" for symbol in SYMBOLS))
        self.runtime = folder / "runtime"
        self.clock = SandboxClock(self.runtime / "sandbox_clock.json")
        self.variables = {
            "RUNTIME": str(self.runtime), "UNIVERSE": str(universe), "SOURCE": "sandbox",
            "WINDOW_START": "2024-02-01", "WINDOW_END": "2024-03-19", "RETRY_WAIT": "0.01",
        }  # fmt: skip
        self.instance = dg.DagsterInstance.ephemeral(str(folder / "dagster"))
        with self.surroundings():
            self.definitions = build_definitions()

    @contextmanager
    def surroundings(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.variables.items():
                patch.setenv(f"MARKET_DATA_{name}", value)
            yield

    def at(self, *moment: int) -> None:
        """Let it be that time, UTC, and stay so."""
        self.clock.set(datetime(*moment, tzinfo=UTC), rate=0)

    def tick(self) -> dg.RunRequest | dg.SkipReason:
        """What the schedule answers now."""
        schedule = self.definitions.resolve_schedule_def("daily_sync")
        given = {"market_data": self.definitions.resources["market_data"]}
        with self.surroundings(), dg.build_schedule_context(self.instance, resources=given) as context:
            answer = schedule.evaluate_tick(context)
        return answer.run_requests[0] if answer.run_requests else dg.SkipReason(answer.skip_message)

    def run(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        """Carry a run out as the daemon would."""
        job = self.definitions.resolve_job_def("daily_sync_job")
        with self.surroundings():
            return job.execute_in_process(
                run_config=request.run_config, tags=request.tags, instance=self.instance, raise_on_error=False
            )

    def rows(self, query: str) -> list[tuple]:
        with duckdb.connect(str(self.runtime / "synthetic.duckdb"), read_only=True) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.instance.dispose()


@pytest.mark.long
def test_the_schedule_makes_the_days_partitions_appear_and_then_skips_with_its_reason(store: Store) -> None:
    store.at(2024, 3, 21, 0, 15)
    request = store.tick()
    assert isinstance(request, dg.RunRequest)
    assert request.tags["dagster/asset_partition_range_start"] == "2024-03-14"
    assert request.tags["dagster/asset_partition_range_end"] == "2024-03-20"

    result = store.run(request)

    assert result.success
    days = ["2024-03-14", "2024-03-15", "2024-03-18", "2024-03-19", "2024-03-20"]
    for asset in ("raw_bars", "daily_prices", "quality_log"):
        assert sorted(store.instance.get_materialized_partitions(dg.AssetKey(asset))) == days
    assert store.rows("SELECT date::VARCHAR, count(*) FROM price_history_daily GROUP BY 1 ORDER BY 1") == [
        (day, 2) for day in days
    ]
    skipped = store.tick()
    assert isinstance(skipped, dg.SkipReason)
    assert "every bar up to 2024-03-20 is held" in str(skipped.skip_message)

    store.at(2024, 3, 22, 0, 15)
    following = store.tick()
    assert isinstance(following, dg.RunRequest)
    assert following.run_key != request.run_key
    assert store.run(following).success
    assert store.rows("SELECT count(*) FROM price_history_daily WHERE date = '2024-03-21'") == [(2,)]


def test_the_same_night_asks_for_the_same_run_once(store: Store) -> None:
    store.at(2024, 3, 21, 0, 15)
    first = store.tick()
    store.at(2024, 3, 21, 0, 16)
    second = store.tick()

    assert isinstance(first, dg.RunRequest)
    assert isinstance(second, dg.RunRequest)
    assert first.run_key == second.run_key == "sync 2024-03-20 of 2024-03-21"


def test_while_another_process_holds_the_database_the_run_is_asked_for_all_the_same(store: Store) -> None:
    store.variables["LOCK_PATIENCE"] = "0"
    store.at(2024, 3, 21, 0, 15)
    path = store.runtime / "synthetic.duckdb"
    Database(path).prepare()
    with held_elsewhere(path):
        request = store.tick()

    assert isinstance(request, dg.RunRequest)
    assert request.tags["dagster/asset_partition_range_end"] == "2024-03-20"


def test_schedules_are_on_and_the_nightly_one_ticks_at_a_quarter_past_midnight_utc_for_real_data(
    monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    monkeypatch.setenv("MARKET_DATA_SOURCE", "vendors")
    schedule = build_definitions().resolve_schedule_def("daily_sync")

    assert (schedule.cron_schedule, schedule.execution_timezone) == ("15 0 * * *", "UTC")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert store.definitions.resolve_schedule_def("daily_sync").cron_schedule == "* * * * *"


@pytest.mark.parametrize("text", ["yesterday", "2026-01-21T00:00:00", ""])
def test_a_config_whose_instant_is_none_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="is no instant with a time zone"):
        instant(text)
