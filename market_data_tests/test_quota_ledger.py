from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from market_data.errors import MarketDataError, QuotaExhausted
from market_data.providers.config import ProviderConfig, Quota
from market_data.records import Basis
from market_data.selection.quota import Closure, QuotaLedger, Standing, period_of
from market_data.selection.shared_file import opened, transaction
from market_data_tests.fake_vendors import NOW, SettableClock

FILE = Path("runtime/calls.sqlite")


def vendor(*, day: int | None = None, month: int | None = None, zone: str = "UTC", name: str = "acme"):
    limits = [Quota("day", day)] if day else []
    limits += [Quota("month", month)] if month else []
    return ProviderConfig(
        name=name, priority=1, tier="free", base_url="", basis=Basis.RAW, quotas=tuple(limits), reset_zone=zone
    )


def used(ledger: QuotaLedger, config: ProviderConfig) -> list[int]:
    return [state.used for state in ledger.standing(config)[config.name].quotas]


def granted(ledger: QuotaLedger, config: ProviderConfig, tries: int) -> int:
    count = 0
    for _ in range(tries):
        try:
            ledger.take(config)
        except QuotaExhausted:
            continue
        count += 1
    return count


def in_memory() -> TemporaryDirectory[str]:
    """A folder where syncing to the disk costs nothing, where the system has one."""
    return TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)


CODE = """
import sys, threading
from datetime import UTC, datetime
from pathlib import Path
from market_data.errors import QuotaExhausted
from market_data.providers.config import ProviderConfig, Quota
from market_data.selection.quota import QuotaLedger

ledger = QuotaLedger(Path("runtime/calls.sqlite"), clock=lambda: datetime(2026, 1, 15, 12, tzinfo=UTC))
quotas = (Quota("day", 120), Quota("month", 5000))
config = ProviderConfig(name="acme", priority=1, tier="free", base_url="", basis="raw", quotas=quotas)
"""


def started(code: str, folder: str | Path = ".") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CODE + code],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[1])},
    )


def test_every_quota_of_a_vendor_counts_a_call_and_each_vendor_has_its_own():
    ledger, acme, other = QuotaLedger(FILE), vendor(day=5, month=9), vendor(day=5, name="other")
    ledger.take(acme)
    ledger.take(acme)
    ledger.take(other)
    ledger.take(vendor(name="unlimited"))
    assert (used(ledger, acme), used(ledger, other)) == ([2, 2], [1])
    assert [state.left for state in ledger.standing(acme)["acme"].quotas] == [3, 7]


def test_a_call_is_counted_although_the_process_is_killed_right_after():
    with started("ledger.take(config)\nprint(1, flush=True)\nsys.stdin.read()") as process:
        assert process.stdout.readline() == "1\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert used(QuotaLedger(FILE, clock=SettableClock()), vendor(day=120, month=5000)) == [1, 1]


@pytest.mark.long
def test_processes_and_threads_together_never_exceed_a_limit_and_lose_no_count():
    code = """
taken = []
def take():
    for _ in range(25):
        try:
            ledger.take(config)
        except QuotaExhausted:
            continue
        taken.append(1)
threads = [threading.Thread(target=take) for _ in range(2)]
print("ready", flush=True)
sys.stdin.readline()
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(taken))
"""
    with in_memory() as folder:
        processes = [started(code, folder) for _ in range(4)]
        assert [process.stdout.readline() for process in processes] == ["ready\n"] * 4
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        counts = [int(process.communicate()[0]) for process in processes]
        assert sum(counts) == 120
        assert used(QuotaLedger(Path(folder) / FILE, clock=SettableClock()), vendor(day=120, month=5000)) == [120, 120]


def test_nothing_is_counted_where_any_quota_is_spent():
    clock = SettableClock()
    ledger, config = QuotaLedger(FILE, clock=clock), vendor(day=2, month=3)
    assert granted(ledger, config, 5) == 2
    assert used(ledger, config) == [2, 2]
    clock.now += timedelta(days=1)
    assert granted(ledger, config, 5) == 1
    assert used(ledger, config) == [1, 3]


@pytest.mark.parametrize(
    ("day", "month", "until"),
    [(1, 9, "2026-01-16 05:00:00 UTC"), (9, 1, "2026-02-01 05:00:00 UTC"), (1, 1, "2026-02-01 05:00:00 UTC")],
)
def test_a_refusal_names_the_reset_after_which_a_call_is_possible_again(day, month, until):
    ledger, config = QuotaLedger(FILE, clock=SettableClock()), vendor(day=day, month=month, zone="America/New_York")
    ledger.take(config)
    with pytest.raises(QuotaExhausted, match=f"acme: the 1 calls of the (day|month) are spent until {until}"):
        ledger.take(config)
    assert f"{ledger.standing(config)['acme'].spent().resets_at:%Y-%m-%d %H:%M:%S} UTC" == until


@pytest.mark.parametrize(
    ("period", "zone", "now", "first", "resets_at"),
    [
        ("day", "UTC", "2026-01-15 23:59:59.999999", "2026-01-15", "2026-01-16 00:00"),
        ("day", "America/New_York", "2026-01-15 04:59", "2026-01-14", "2026-01-15 05:00"),
        ("day", "America/New_York", "2026-03-08 05:00", "2026-03-08", "2026-03-09 04:00"),  # 23 hours
        ("day", "America/New_York", "2026-11-01 04:00", "2026-11-01", "2026-11-02 05:00"),  # 25 hours
        ("day", "Europe/Warsaw", "2026-07-31 22:00", "2026-08-01", "2026-08-01 22:00"),
        ("month", "Europe/Warsaw", "2026-07-31 21:59", "2026-07-01", "2026-07-31 22:00"),
        ("month", "UTC", "2026-07-31 22:00", "2026-07-01", "2026-08-01 00:00"),
        ("month", "America/New_York", "2026-03-01 04:59", "2026-02-01", "2026-03-01 05:00"),
        ("month", "America/New_York", "2026-03-01 05:00", "2026-03-01", "2026-04-01 04:00"),
        ("month", "UTC", "2028-02-29 12:00", "2028-02-01", "2028-03-01 00:00"),
        ("month", "Asia/Tokyo", "2026-12-31 15:00", "2027-01-01", "2027-01-31 15:00"),
        ("day", "America/Havana", "2026-03-08 05:00", "2026-03-08", "2026-03-09 04:00"),  # has no midnight
        ("day", "America/Havana", "2026-11-01 04:00", "2026-11-01", "2026-11-02 05:00"),  # has two
    ],
)
def test_days_and_months_are_those_of_the_vendors_zone(period, zone, now, first, resets_at):
    instant = datetime.fromisoformat(f"{now}+00:00")
    expected = (date.fromisoformat(first), datetime.fromisoformat(f"{resets_at}+00:00"))
    assert period_of(Quota(period, 1), zone, instant) == expected


def test_a_new_day_and_a_new_month_begin_at_nought_in_the_vendors_zone():
    clock = SettableClock(datetime(2026, 4, 1, 3, 59, 59, tzinfo=UTC))  # 2026-03-31 in New York
    ledger, config = QuotaLedger(FILE, clock=clock), vendor(day=2, month=2, zone="America/New_York")
    assert granted(ledger, config, 3) == 2
    clock.now += timedelta(seconds=1)
    assert used(ledger, config) == [0, 0]
    assert granted(ledger, config, 3) == 2


def test_the_day_a_call_counts_for_is_the_one_in_which_it_leaves_after_a_wait_for_others():
    ledger, config = QuotaLedger(FILE), vendor(day=1)
    ledger.take(vendor(day=1, name="other"))
    other = opened(FILE, "", synchronous="OFF", patience=1)
    clock = SettableClock(datetime(2026, 1, 15, 23, 59, tzinfo=UTC))
    waiting = threading.Thread(target=QuotaLedger(FILE, clock=clock).take, args=[config])
    with transaction(other):
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive()
        clock.now = datetime(2026, 1, 16, tzinfo=UTC)
    waiting.join()
    other.close()
    assert used(QuotaLedger(FILE, clock=clock), config) == [1]


def test_the_standing_is_told_before_there_is_a_file_and_none_is_made():
    ledger = QuotaLedger(FILE, clock=SettableClock())
    standing = ledger.standing(vendor(day=5, month=9), vendor(name="unlimited"))
    assert [state.left for state in standing["acme"].quotas] == [5, 9]
    assert standing["unlimited"] == Standing((), None)
    assert list(Path().iterdir()) == []


def test_a_file_moved_away_is_begun_anew_by_a_ledger_in_use():
    ledger, config = QuotaLedger(FILE, clock=SettableClock()), vendor(day=5)
    ledger.take(config)
    FILE.rename("calls.before")
    ledger.take(config)
    assert used(ledger, config) == [1]


def not_sqlite() -> None:
    FILE.write_bytes(b"not a database, " * 200)


def of_another_program() -> None:
    with sqlite3.connect(FILE) as connection:
        connection.executescript("CREATE TABLE usage (host TEXT); CREATE TABLE closures (host TEXT)")
    connection.close()


def cut_short() -> None:
    ledger = QuotaLedger(FILE)
    for number in range(3):
        ledger.take(vendor(day=5, name=f"acme{number}"))
    FILE.write_bytes(FILE.read_bytes()[:5000])


def with_an_instant_that_is_none() -> None:
    QuotaLedger(FILE).close("acme", Closure(NOW + timedelta(days=1), "NotEntitled", "refused"))
    with sqlite3.connect(FILE) as connection:
        connection.execute("UPDATE closures SET closed_until = 'tomorrow'")
    connection.close()


@pytest.mark.parametrize("spoil", [not_sqlite, of_another_program, cut_short, with_an_instant_that_is_none])
def test_a_file_that_cannot_be_read_is_named_with_its_mend(spoil):
    FILE.parent.mkdir()
    spoil()
    ledger = QuotaLedger(FILE, clock=SettableClock())
    with pytest.raises(MarketDataError, match=r"runtime/calls.sqlite: the ledger of calls .* move it away to begin a"):
        ledger.standing(vendor(day=5))


def test_a_folder_that_cannot_be_made_or_a_file_held_by_others_is_named_and_nothing_is_granted():
    Path("runtime").write_text("a file where a folder is due")
    with pytest.raises(MarketDataError, match=r"runtime/calls.sqlite: the ledger of calls cannot be used"):
        QuotaLedger(FILE).take(vendor(day=5))
    held = Path("held.sqlite")
    ledger, config = QuotaLedger(held, clock=SettableClock(), patience=0.05), vendor(day=5)
    ledger.take(config)
    other = opened(held, "", synchronous="OFF", patience=1)
    with (
        transaction(other),
        pytest.raises(MarketDataError, match=r"held.sqlite: the ledger of calls cannot be used: .* locked; no vendor"),
    ):
        ledger.take(config)
    other.close()
    assert used(ledger, config) == [1]


instants = st.integers(0, 13 * 24 * 60).map(
    lambda minutes: datetime(2026, 2, 25, tzinfo=UTC) + timedelta(minutes=minutes)
)


@settings(max_examples=25)
@given(
    st.lists(instants, max_size=40),
    st.integers(1, 4),
    st.integers(1, 9),
    st.sampled_from(["UTC", "America/New_York", "Europe/Warsaw", "Asia/Tokyo"]),
)
@example([datetime(2026, 3, 8, hour, tzinfo=UTC) for hour in range(24)], 3, 9, "America/New_York")
def test_no_calendar_period_ever_has_more_calls_than_its_limit(moments, day, month, zone):
    taken = []
    with in_memory() as folder:
        clock = SettableClock()
        ledger, config = (
            QuotaLedger(Path(folder) / "calls.sqlite", clock=clock),
            vendor(day=day, month=month, zone=zone),
        )
        for clock.now in sorted(moments):
            taken += [clock.now.astimezone(ZoneInfo(zone))] * granted(ledger, config, 1)
    days = Counter(moment.date() for moment in taken)
    months = Counter((moment.year, moment.month) for moment in taken)
    assert max(days.values(), default=0) <= day
    assert max(months.values(), default=0) <= month
    assert bool(taken) == bool(moments)
