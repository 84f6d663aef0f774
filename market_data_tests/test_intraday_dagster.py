"""The intraday asset, its checks and its sensor through Dagster, over the sandbox's vendors by its clock."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from market_data.clock import SandboxClock
from market_data.definitions import build_definitions
from market_data.defs import intraday
from market_data.defs.partitions import session_partitions
from market_data.ingest.intraday.lock import sole_poller
from market_data.settings import load_settings
from market_data.warehouse.connection import Database

pytestmark = pytest.mark.filterwarnings("ignore:Parameter .backfill_policy.:dagster.BetaWarning")

SESSION = "2024-03-19"
SYMBOLS = ("AAPL", "MSFT")


class Store:
    """A synthetic store whose clock is set."""

    def __init__(self, folder: Path, **settings: str) -> None:
        universe = folder / "universe.csv"
        universe.write_text("symbol,listed_by\n" + "".join(f"{symbol},2020-01-02\n" for symbol in SYMBOLS))
        runtime = folder / "runtime"
        self.clock = SandboxClock(runtime / "sandbox_clock.json")
        self.variables = {
            "RUNTIME": str(runtime), "UNIVERSE": str(universe), "SOURCE": "sandbox", "WINDOW_START": "2024-03-01",
            "WINDOW_END": SESSION, "RETRY_WAIT": "0.01", "INTRADAY_SYMBOLS": "all", "INTRADAY_POLL": "240",
            "INTRADAY_GRACE": "2",
        } | settings  # fmt: skip
        self.instance = dg.DagsterInstance.ephemeral(str(folder / "dagster"))
        with self.surroundings():
            self.settings = load_settings()
            sessions = session_partitions(self.settings.window_start, self.settings.window_end, goes_on=True)
            self.parts = intraday.parts(self.settings, sessions)
            self.resources = {"market_data": build_definitions().resources["market_data"]}

    @contextmanager
    def surroundings(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.variables.items():
                patch.setenv(f"MARKET_DATA_{name}", value)
            yield

    def at(self, hour: int, minute: int = 0, *, day: int = 19, rate: float = 0) -> None:
        """Let it be that time, UTC."""
        self.clock.set(datetime(2024, 3, day, hour, minute, tzinfo=UTC), rate=rate)

    def tick(self, cursor: str | None = None) -> tuple[dg.RunRequest | dg.SkipReason, str | None]:
        """What the sensor answers, and its cursor afterwards."""
        [sensor] = self.parts.sensors
        with (
            self.surroundings(),
            dg.build_sensor_context(instance=self.instance, cursor=cursor, resources=self.resources) as context,
        ):
            answer = sensor(context)
            return answer, context.cursor

    def run(self, *, raises: bool = True) -> dg.ExecuteInProcessResult:
        """Materialize the session, with its checks."""
        with self.surroundings():
            return dg.materialize(
                [*self.parts.assets, *self.parts.asset_checks],
                partition_key=SESSION,
                resources=self.resources,
                instance=self.instance,
                raise_on_error=raises,
            )


@pytest.fixture(scope="module")
def polled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dg.ExecuteInProcessResult]:
    """A session polled from ten minutes before its close on, fifteen minutes of the market in a second."""
    store = Store(tmp_path_factory.mktemp("polled"))
    store.at(19, 50, rate=900)
    result = store.run()
    store.at(20, 30)
    return store, result


def test_a_run_polls_the_session_of_today_to_its_end_and_tells_what_came(polled):
    _, result = polled
    [event] = result.asset_materializations_for_node("intraday_prices")
    told = {name: value.value for name, value in event.metadata.items()}
    assert (event.partition, told["bars"], told["symbols"], told["provisional"]) == (SESSION, 780, 2, 0)
    assert (told["gaps"], told["missing"], told["unanswered"]) == (0.0, 0, 0)
    assert told["calls"] >= 2
    assert told["p95_latency_ms"] > 0
    assert told["p95_own_ms"] > 0
    assert "SYNTHETIC" in told


def test_the_checks_are_evaluated_and_warn_at_most(polled):
    _, result = polled
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert {name: check.passed for name, check in checks.items()} == {
        "intraday_gaps": True,
        "intraday_provisional": True,
        "intraday_agreement": True,
    }
    assert {check.severity for check in checks.values()} == {dg.AssetCheckSeverity.WARN}
    assert "2 have no raw daily bar yet" in checks["intraday_agreement"].description


def test_a_session_of_before_is_shown_as_it_is_stored_and_nobody_is_asked(polled):
    store, _ = polled
    store.at(12, day=20)
    [event] = store.run().asset_materializations_for_node("intraday_prices")
    assert event.metadata["bars"].value == 780
    assert "missing" not in event.metadata
    store.at(20, 30)


def test_the_sensor_rests_once_the_session_is_polled_to_its_end(polled):
    store, _ = polled
    answer, _ = store.tick()
    assert answer.skip_message == "2024-03-19 is polled to its end; the next one opens at 2024-03-20 13:30 UTC"


def test_a_session_of_which_nothing_is_stored_fails_and_says_what_to_do(tmp_path):
    store = Store(tmp_path)
    store.at(12, day=20)
    with store.surroundings():
        Database(store.settings.database_for(synthetic=True)).prepare()
    result = store.run(raises=False)
    [failure] = result.get_step_failure_events()
    message = failure.event_specific_data.error.message
    assert "no minutes of 2024-03-19 are stored; poll it on its day, or run `market-data intraday backfill`" in message


def test_the_sensor_asks_for_one_run_a_start_and_keeps_count_in_its_cursor(tmp_path):
    store = Store(tmp_path)
    store.at(13)
    assert store.tick()[0].skip_message == "2024-03-19 opens at 13:30 UTC"
    store.at(13, 30)
    first, cursor = store.tick()
    assert (first.run_key, first.partition_key) == ("intraday 2024-03-19 start 1", SESSION)
    assert json.loads(cursor)["count"] == 1
    with store.surroundings(), sole_poller(store.settings):
        assert store.tick(cursor)[0].skip_message == "a poller of 2024-03-19 is running"
    store.at(13, 31)
    assert store.tick(cursor)[0].run_key == "intraday 2024-03-19 start 2"


def test_the_sensor_waits_for_a_run_that_is_about_to_begin(tmp_path):
    store = Store(tmp_path)
    store.at(15)
    store.instance.add_run(
        dg.DagsterRun(job_name="intraday_job", run_id="a" * 32, status=dg.DagsterRunStatus.NOT_STARTED)
    )
    assert store.tick()[0].skip_message == "a poller of 2024-03-19 is running"


def test_without_symbols_the_sensor_says_how_to_name_some(tmp_path):
    store = Store(tmp_path, INTRADAY_SYMBOLS="")
    store.at(15)
    assert store.tick()[0].skip_message.startswith("no symbols are configured; set MARKET_DATA_INTRADAY_SYMBOLS")


def test_the_job_is_given_the_time_of_a_session_and_is_not_retried_by_dagster(tmp_path):
    [job] = Store(tmp_path).parts.jobs
    assert job.tags["dagster/max_runtime"] == "30000"
    assert job.tags["dagster/max_retries"] == "0"
