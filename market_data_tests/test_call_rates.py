from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data.errors import MarketDataError
from market_data.providers.config import Rate
from market_data.selection.meter import RateLimiter
from market_data.selection.shared_file import opened, transaction

FILE = Path("rates.sqlite")


class SettableSeconds:
    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def limiter():
    """Makes limiters over one file, and closes them."""
    made: list[RateLimiter] = []

    def make(*rates: Rate, name: str = "acme", **more) -> RateLimiter:
        made.append(RateLimiter(name, rates, FILE, **more))
        return made[-1]

    yield make
    for each in made:
        each.close()


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """Wall times before and after; the call's moment lies between."""
    before = time.time()
    assert call() is not False
    return before, time.time()


def assert_at_most(limit: int, seconds: float, permits: list[tuple[float, float]]) -> None:
    """No window has more than `limit`: the one after them came later, however the moments lie within their times."""
    befores, afters = sorted(before for before, _ in permits), sorted(after for _, after in permits)
    for earlier, later in zip(befores, afters[limit:], strict=False):
        assert later - earlier >= seconds - 0.001


@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 3000), max_size=40),
    st.integers(2, 3),
    st.integers(4, 8),
)
def test_permits_are_given_exactly_when_every_window_has_room(steps, few, many):
    clock = SettableSeconds()
    rates, taken = (Rate(few, 1.0), Rate(many, 4.0)), []
    FILE.unlink(missing_ok=True)
    limiter = RateLimiter("acme", rates, FILE, clock=clock)
    for step in steps:
        clock.now += step / 1000
        # To the millisecond, the last of a window included.
        room = all(
            sum(round((clock.now - at) * 1000) <= rate.seconds * 1000 for at in taken) < rate.limit for rate in rates
        )
        assert limiter.try_take() is room
        taken += [clock.now] if room else []
    limiter.close()


def test_the_time_until_the_next_permit_is_told_and_then_one_is_given(limiter):
    clock = SettableSeconds()
    acme = limiter(Rate(2, 1.0), Rate(3, 10.0), clock=clock)
    assert acme.ready_in() == 0.0
    assert acme.try_take()
    clock.now += 0.25
    assert acme.try_take()
    assert acme.ready_in() == pytest.approx(0.751)
    assert not acme.try_take()
    clock.now += 0.751
    assert acme.ready_in() == 0.0
    assert acme.try_take()
    assert acme.ready_in() == pytest.approx(9.0)
    clock.now += 8.9
    assert not acme.try_take()


def test_two_vendors_in_one_file_do_not_disturb_each_other(limiter):
    acme, other = limiter(Rate(1, 60.0)), limiter(Rate(2, 60.0), name="other")
    assert [acme.try_take(), acme.try_take()] == [True, False]
    assert [other.try_take(), other.try_take(), other.try_take()] == [True, True, False]


def test_without_rates_nothing_waits_and_no_file_is_made(limiter):
    free = limiter()
    assert all(free.try_take() for _ in range(100))
    free.wait()
    assert free.ready_in() == 0.0
    assert not FILE.exists()


def test_a_refusal_comes_at_once_and_a_wait_ends_when_there_is_room(limiter):
    acme = limiter(Rate(3, 0.2))
    permits = [timed(acme.try_take) for _ in range(3)]
    started = time.monotonic()
    assert not acme.try_take()
    assert time.monotonic() - started < 0.15
    permits += [timed(lambda: acme.wait() is None) for _ in range(3)]
    assert_at_most(3, 0.2, permits)
    assert permits[-1][1] - permits[0][0] < 2.0


def test_threads_together_keep_to_the_rate(limiter):
    acme = limiter(Rate(5, 0.2))
    with ThreadPoolExecutor(8) as threads:
        permits = list(threads.map(lambda _: timed(lambda: acme.wait() is None), range(24)))
    assert_at_most(5, 0.2, permits)
    assert len(permits) == 24


CODE = """
import sys, time
from pathlib import Path
from market_data.providers.config import Rate
from market_data.selection.meter import RateLimiter
"""


def started(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CODE + code],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[1])},
    )


@pytest.mark.long
def test_processes_that_drop_old_permits_at_once_drop_no_new_ones():
    code = """
print("ready", flush=True)
sys.stdin.readline()
limiter, end = RateLimiter("acme", (Rate(5, 0.03),), Path("rates.sqlite")), time.time() + 1.0
while (before := time.time()) < end:
    if limiter.try_take():
        print(before, time.time())
limiter.close()
"""
    processes = [started(code) for _ in range(3)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 3
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    lines = [line for process in processes for line in process.communicate()[0].splitlines()]
    permits = [tuple(map(float, line.split())) for line in lines]
    assert len(permits) >= 20
    assert_at_most(5, 0.03, permits)


@pytest.mark.long
def test_processes_together_keep_to_the_rate():
    code = """
print("ready", flush=True)
sys.stdin.readline()
limiter, end = RateLimiter("acme", (Rate(5, 0.4),), Path("rates.sqlite")), time.time() + 1.3
while (before := time.time()) < end:
    if limiter.try_take():
        print(before, time.time())
    time.sleep(0.002)
limiter.close()
"""
    processes = [started(code) for _ in range(2)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 2
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    lines = [line for process in processes for line in process.communicate()[0].splitlines()]
    permits = [tuple(map(float, line.split())) for line in lines]
    assert_at_most(5, 0.4, permits)
    assert 10 <= len(permits) <= 20
    assert [process.returncode for process in processes] == [0, 0]


def test_the_permits_of_a_killed_process_count(limiter):
    code = (
        "limiter = RateLimiter('acme', (Rate(2, 60),), Path('rates.sqlite'))\nprint(limiter.try_take(), flush=True)\n"
    )
    with started(code + "sys.stdin.read()") as process:
        assert process.stdout.readline() == "True\n"
        process.send_signal(signal.SIGKILL)
    acme = limiter(Rate(2, 60.0))
    assert [acme.try_take(), acme.try_take()] == [True, False]


def test_a_permit_that_had_to_wait_for_others_is_of_the_moment_it_is_given(limiter):
    clock = SettableSeconds()
    acme, other = limiter(Rate(1, 10.0), clock=clock), opened(FILE, "", synchronous="OFF", patience=1)
    taking = threading.Thread(target=acme.try_take)
    with transaction(other):
        taking.start()
        taking.join(0.05)
        assert taking.is_alive()
        clock.now += 8
    taking.join()
    other.close()
    assert acme.ready_in() == pytest.approx(10.0, abs=0.002)


def test_a_clock_that_is_set_back_makes_nobody_wait_longer_than_the_window(limiter):
    clock = SettableSeconds()
    acme = limiter(Rate(1, 10.0), clock=clock)
    assert acme.try_take()
    clock.now -= 3600
    assert acme.ready_in() == pytest.approx(10.0, abs=0.002)
    assert not acme.try_take()
    assert acme.ready_in() == pytest.approx(10.0, abs=0.002)
    clock.now += 10.002
    assert acme.try_take()


def test_many_may_open_the_file_at_the_same_moment_and_leave_no_thread_and_no_open_file(limiter):
    threads = threading.enumerate()
    for name in ("first", "second", "third"):
        together = threading.Barrier(8)

        def take(number: int, together=together, name=name) -> bool:
            together.wait()
            own = RateLimiter(f"acme{number % 2}", (Rate(3, 60.0),), Path(name))
            taken = own.try_take()
            own.close()
            return taken

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(take, range(8))) == 6
    assert threading.enumerate() == threads
    descriptors = Path("/proc/self/fd")
    if descriptors.is_dir():
        opened_files = [entry.readlink() for entry in descriptors.iterdir() if entry.is_symlink()]
        assert not [file for file in opened_files if file.is_relative_to(Path.cwd())]


def test_who_makes_the_file_while_another_is_at_it_waits(limiter):
    other, made = sqlite3.connect(FILE, isolation_level=None), []
    for statement in ("CREATE TABLE any (any)", "BEGIN IMMEDIATE"):
        other.execute(statement)
    making = threading.Thread(target=lambda: made.append(limiter(Rate(1, 60.0))))
    making.start()
    making.join(0.1)
    assert making.is_alive()
    other.close()
    making.join()
    assert made[0].try_take()


def not_sqlite() -> None:
    FILE.write_bytes(b"not a database, " * 200)


def of_another_program() -> None:
    connection = sqlite3.connect(FILE)
    connection.execute("CREATE TABLE rate_acme (host TEXT)")
    connection.close()


def a_folder() -> None:
    FILE.mkdir()


@pytest.mark.parametrize("spoil", [not_sqlite, of_another_program, a_folder])
def test_a_file_that_cannot_be_used_is_named_with_its_mend(spoil, limiter):
    spoil()
    with pytest.raises(MarketDataError, match=r"rates.sqlite: the record of call rates .* move it away to begin a new"):
        limiter(Rate(1, 60.0))


def test_a_file_that_others_hold_for_too_long_is_named_and_no_permit_is_given(limiter):
    acme, other = limiter(Rate(1, 60.0), patience=0.05), opened(FILE, "", synchronous="OFF", patience=1)
    with transaction(other), pytest.raises(MarketDataError, match=r"rates.sqlite: .* cannot be used: database is lock"):
        acme.try_take()
    other.close()
    assert acme.try_take()
