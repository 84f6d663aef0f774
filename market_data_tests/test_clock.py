"""The injected clock, and the sandbox's own, which a file keeps for every process."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data.clock import SandboxClock, clock_of, market_end, utc_now
from market_data.errors import SettingsError
from market_data.settings import Settings

WALL = datetime(2026, 3, 2, 12, tzinfo=UTC)
SET = datetime(2026, 1, 21, 0, 10, tzinfo=UTC)


class Wall:
    """A wall clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = WALL

    def __call__(self) -> datetime:
        return self.now

    def passes(self, **by: float) -> None:
        self.now += timedelta(**by)


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def clock(tmp_path: Path, wall: Wall) -> SandboxClock:
    return SandboxClock(tmp_path / "runtime" / "clock.json", wall=wall)


def test_until_it_is_set_it_is_the_wall_clock(clock, wall):
    wall.passes(hours=1)
    assert (clock(), clock.is_set, clock.rate) == (WALL + timedelta(hours=1), False, 1.0)
    assert not clock.file.exists()


@pytest.mark.parametrize(("rate", "passed"), [(1.0, 10), (60.0, 600), (0.0, 0), (0.5, 5)])
def test_once_set_it_goes_on_at_its_rate(clock, wall, rate, passed):
    clock.set(SET, rate=rate)
    wall.passes(seconds=10)
    assert (clock(), clock.is_set, clock.rate) == (SET + timedelta(seconds=passed), True, rate)


def test_it_never_passes_the_wall_clock(clock, wall):
    clock.set(WALL - timedelta(minutes=1), rate=3600)
    wall.passes(minutes=5)
    assert clock() == WALL + timedelta(minutes=5)
    clock.set(SET, rate=1e300)
    wall.passes(hours=1)
    assert clock() == wall.now


def test_moving_it_on_keeps_its_rate(clock, wall):
    clock.set(SET, rate=60)
    wall.passes(minutes=1)
    assert clock.advance(timedelta(days=1)) == SET + timedelta(days=1, hours=1)
    assert (clock(), clock.rate) == (SET + timedelta(days=1, hours=1), 60)


def test_after_a_reset_it_is_the_wall_clock_again(clock, wall):
    clock.set(SET, rate=0)
    clock.reset()
    assert (clock(), clock.is_set) == (WALL, False)
    clock.reset()


def test_an_instant_of_another_zone_is_kept_as_utc(clock):
    clock.set(SET.astimezone(timezone(timedelta(hours=-5))), rate=0)
    assert clock() == SET
    assert clock().tzinfo is UTC


@pytest.mark.parametrize(
    ("instant", "rate", "told"),
    [
        (WALL + timedelta(seconds=1), 1.0, "2026-03-02 12:00 UTC is later than now"),
        (SET.replace(tzinfo=None), 1.0, "has no time zone; write it as in 2026-01-21T00:10Z"),
        (SET, -1.0, "rate -1 is not a number from 0 on"),
        (SET, float("nan"), "rate nan"),
        (SET, float("inf"), "rate inf"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(clock, instant, rate, told):
    clock.set(SET, rate=0)
    before = clock.file.read_bytes()
    with pytest.raises(SettingsError, match=told):
        clock.set(instant, rate=rate)
    assert clock.file.read_bytes() == before


def test_every_change_is_seen_by_another_instance_at_once(clock, wall):
    other = SandboxClock(clock.file, wall=wall)
    assert not other.is_set
    # More changes than a file system's clock tells apart.
    for step in range(200):
        clock.set(SET + timedelta(seconds=step), rate=0)
        assert other() == SET + timedelta(seconds=step)
    other.reset()
    assert not clock.is_set


def test_another_process_sees_it(tmp_path):
    file = tmp_path / "clock.json"
    SandboxClock(file).set(SET, rate=0)
    code = (
        "import pathlib, sys\n"
        "from market_data.clock import SandboxClock\n"
        "print(SandboxClock(pathlib.Path(sys.argv[1]))().isoformat())"
    )
    command = [sys.executable, "-c", code, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "2026-01-21T00:10:00+00:00"


GOOD = {"instant": "2026-01-21T00:10:00+00:00", "set_at": "2026-03-02T12:00:00+00:00", "rate": 1.0}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "7",
        json.dumps(GOOD | {"instant": "2026-01-21T00:10:00"}),
        json.dumps(GOOD | {"set_at": "2026-03-02T12:00:00"}),
        json.dumps(GOOD | {"instant": "soon"}),
        json.dumps(GOOD | {"instant": 7}),
        json.dumps(GOOD | {"rate": -1}),
        json.dumps(GOOD | {"rate": "fast"}),
        json.dumps(GOOD | {"rate": float("nan")}),
        json.dumps({"instant": GOOD["instant"]}),
    ],
)
def test_a_damaged_file_is_named_with_the_mend(clock, text):
    clock.file.parent.mkdir()
    clock.file.write_text(text, encoding="utf-8")
    for use in (clock, lambda: clock.is_set, lambda: clock.rate):
        with pytest.raises(SettingsError, match=r"clock\.json: not a setting of .*; delete it or set it anew"):
            use()
    clock.set(SET, rate=0)
    assert clock() == SET


def test_a_file_that_is_no_text_or_cannot_be_read_is_named_too(clock):
    clock.file.parent.mkdir()
    clock.file.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"clock\.json: not a setting"):
        clock()
    clock.file.unlink()
    clock.file.mkdir()
    with pytest.raises(SettingsError, match=r"clock\.json: not a setting"):
        clock()


@given(
    st.integers(0, 36 * 365 * 86400),
    st.floats(0, 1e9),
    st.integers(0, 10**8),
)
@settings(max_examples=40)
def test_it_never_goes_back_and_never_passes_the_wall_clock(tmp_path_factory, ago, rate, seconds):
    wall = Wall()
    clock = SandboxClock(tmp_path_factory.getbasetemp() / "clock.json", wall=wall)
    clock.set(WALL - timedelta(seconds=ago), rate=rate)
    before = clock()
    wall.passes(seconds=seconds)
    assert before <= clock() <= wall.now


def test_only_a_synthetic_store_has_a_time_of_its_own(tmp_path):
    given = Settings(runtime=tmp_path)
    assert clock_of(given, synthetic=False) is utc_now
    clock = clock_of(given, synthetic=True)
    assert isinstance(clock, SandboxClock)
    assert clock.file == tmp_path / "sandbox_clock.json"


def test_the_market_ends_with_the_window_or_with_the_day_its_clock_shows(tmp_path):
    given = Settings(runtime=tmp_path)
    clock = SandboxClock(given.sandbox_clock_file)
    assert market_end(given, clock) == market_end(given, utc_now) == date(2026, 1, 19)
    clock.set(SET, rate=0)
    assert market_end(given, clock) == date(2026, 1, 21)
    clock.set(datetime(2024, 1, 2, tzinfo=UTC), rate=0)
    assert market_end(given, clock) == date(2026, 1, 19)
