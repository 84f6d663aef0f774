"""A poller that is killed: what was answered is not lost, and is not asked for again."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from market_data.ingest.intraday.applying import replay_packs
from market_data.ingest.intraday.packs import PollPacks
from market_data.ingest.intraday.poller import apply_left_packs, poller_is_alive
from market_data.ingest.intraday.reading import read_poll
from market_data.warehouse.connection import Database
from market_data.warehouse.intraday_polls import hashes_let_go
from market_data_tests.bars import new_database
from market_data_tests.live_minutes import SESSION, LiveClock, LiveStore, bar

pytestmark = pytest.mark.long

NAMES = ["AAA", "BBB"]
BEGUN = datetime(2026, 1, 20, 14, 31, tzinfo=UTC)
RATE = 600
BARS = "SELECT * FROM price_history_intraday ORDER BY symbol, datetime"


class FastClock(LiveClock):
    """Ten minutes of the session in a second, in every process from the same moment."""

    def __init__(self, started: float) -> None:
        self.started = started

    @property
    def now(self) -> datetime:
        return BEGUN + timedelta(seconds=(time.time() - self.started) * RATE)

    @now.setter
    def now(self, moment: datetime) -> None:
        """It is not set."""

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / RATE)


def poll(folder: Path, started: float) -> None:
    """What the killed process does."""
    os.chdir(folder)
    store = LiveStore(NAMES, intraday_poll=30)
    store.clock = store.market.clock = FastClock(started)
    store.polled(job_id=f"job-{os.getpid()}")


def packs_of(store: LiveStore) -> PollPacks:
    return PollPacks(store.settings.raw_folder(synthetic=False))


def test_a_process_killed_in_the_midst_loses_no_bar_that_was_answered(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[1]))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["market_data_tests.test_intraday_resume"])
    store, started = LiveStore(NAMES, intraday_poll=600), time.time()
    packs = packs_of(store)
    for kill in range(2):
        process, before = context.Process(target=poll, args=(tmp_path, started)), len(packs.names(SESSION))
        process.start()
        deadline = time.monotonic() + 30
        while len(packs.names(SESSION)) < before + 2 and process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.005)
        assert poller_is_alive(store.settings)
        time.sleep(0.013 * kill)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not poller_is_alive(store.settings)
    answered = {}
    for name in packs.names(SESSION):
        read = read_poll(packs.get(name), store.universe, settle=store.settings.intraday_settle)
        final = read.bars[~read.bars["provisional"]]
        answered |= dict(zip(zip(final["symbol"], final["datetime"], strict=True), final["close"], strict=True))
    assert answered

    apply_left_packs(store.settings, store.universe, SESSION, synthetic=False)
    held = store.bars()
    assert {key: held[key[0], key[1].to_pydatetime()] for key in answered} == {
        key: (close, False) for key, close in answered.items()
    }
    applied = {name for (name,) in store.rows("SELECT DISTINCT pack FROM intraday_polls")}
    assert applied == set(packs.names(SESSION))

    store.clock.now = datetime(2026, 1, 20, 20, 50, tzinfo=UTC)
    result = store.polled(job_id="last")
    assert (result.missing, result.is_good) == (0, True)
    assert {key: close for key, (close, _) in store.bars().items()} == {key: bar(*key)["c"] for key in store.bars()}
    assert min(moment for symbol in NAMES for moment in store.market.asked_from[symbol]) > BEGUN + timedelta(minutes=1)


def test_the_packs_alone_give_the_same_minutes_and_polls_again():
    store = LiveStore(["AAA", "BBB"], start=BEGUN)
    store.polled_until(14, 34)
    polls = "SELECT * EXCLUDE (own_ms) FROM intraday_polls ORDER BY polled_at"
    before, told = store.rows(BARS), store.rows(polls)
    path = store.settings.database_for(synthetic=False)
    path.unlink()
    new_database(path)
    asked = store.market.seen.total()
    with Database(path).writing() as connection:
        assert replay_packs(connection, store.settings, store.universe, synthetic=False) == {}
    assert store.market.seen.total() == asked
    assert (store.rows(BARS), store.rows(polls)) == (before, told)
    assert apply_left_packs(store.settings, store.universe, SESSION, synthetic=False) == []
    with Database(path).writing() as connection:
        assert hashes_let_go(connection) == set()
        connection.execute("UPDATE intraday_polls SET pack = ''")  # as housekeeping does with packs it removes
        let_go = hashes_let_go(connection)
    assert let_go == {sha256 for (sha256,) in store.rows("SELECT raw_hash FROM price_history_intraday")}


def test_a_pack_that_a_died_process_left_is_applied_before_anything_is_asked():
    store = LiveStore(["AAA"], start=BEGUN)
    store.polled_until(14, 36)
    path = store.settings.database_for(synthetic=False)
    path.unlink()
    asked = len(store.market.asked_from["AAA"])
    store.polled_until(14, 37, job_id="again")
    assert store.market.asked_from["AAA"][asked] == BEGUN + timedelta(minutes=3)


def test_a_pack_that_is_damaged_is_passed_over_and_said_in_the_log(caplog):
    store = LiveStore(["AAA"], start=BEGUN)
    store.polled_until(14, 33)
    store.settings.database_for(synthetic=False).unlink()
    first = packs_of(store).folder / packs_of(store).names(SESSION)[0]
    first.write_bytes(b"no zip")
    applied = apply_left_packs(store.settings, store.universe, SESSION, synthetic=False)
    assert len(applied) == len(packs_of(store).names(SESSION)) - 1
    [message] = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert str(first) in message
    assert message.endswith("the pack is passed over")
