from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from market_data.errors import (
    BadPayload,
    LeftAlone,
    NotEntitled,
    OutOfWindow,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    Transient,
    UnknownSymbol,
)
from market_data.ingest.raw_store import RawStore
from market_data.ingest.unit import Task, Worker
from market_data.instruments import Instrument
from market_data.providers.config import ProviderConfig
from market_data.records import Basis
from market_data.selection.choice import Outcome
from market_data.selection.closing import FAILURES, note_error
from market_data.selection.meter import Meter, RateLimiter
from market_data.selection.quota import Closure, QuotaLedger
from market_data.selection.vendors import Arm, QuotaAwareSelector
from market_data.validation import Thresholds
from market_data.warehouse.holdings import Holdings
from market_data_tests.fake_vendors import SettableClock

FILE = Path("calls.sqlite")
NOW = datetime(2026, 1, 15, 22, tzinfo=UTC)
WARSAW_MIDNIGHT = datetime(2026, 1, 15, 23, tzinfo=UTC)
ACME = ProviderConfig(
    name="acme", priority=1, tier="free", base_url="", basis=Basis.RAW, reset_zone="Europe/Warsaw", cooldown=900.0
)


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock(NOW)


@pytest.fixture
def ledger(clock) -> QuotaLedger:
    return QuotaLedger(FILE, clock=clock)


def closure_of(ledger: QuotaLedger, name: str = "acme") -> Closure | None:
    config = ProviderConfig(name=name, priority=1, tier="", base_url="", basis=Basis.RAW)
    return ledger.standing(config)[name].closure


@pytest.mark.parametrize(
    ("error", "until"),
    [
        (QuotaExhausted("spent"), WARSAW_MIDNIGHT),
        (RateLimited("slower"), NOW + timedelta(minutes=15)),
        (RateLimited("slower", retry_after=2.5), NOW + timedelta(seconds=2.5)),
        (RateLimited("slower", retry_after=1e300), NOW + timedelta(days=1)),
        (RateLimited("slower", retry_after=float("inf")), NOW + timedelta(days=1)),
        (NotEntitled("refused"), NOW + timedelta(hours=6)),
    ],
)
def test_an_error_closes_its_vendor_for_as_long_as_it_calls_for(ledger, error, until):
    closure = note_error(ledger, ACME, error, NOW)
    assert closure == Closure(until, type(error).__name__, str(error))
    assert closure_of(ledger) == closure
    assert closure_of(ledger, "other") is None


@pytest.mark.parametrize("retry_after", [0.0, -5.0])
def test_a_vendor_that_has_no_time_to_wait_but_was_too_busy_five_times_is_given_its_cooldown(ledger, retry_after):
    note_error(ledger, ACME, RateLimited("slower", retry_after=retry_after), NOW)
    closure = closure_of(ledger)
    assert closure is not None
    assert closure.until == NOW + timedelta(seconds=ACME.cooldown)


@pytest.mark.parametrize("error", [Transient("reset"), BadPayload("HTML"), ProviderError("something else")])
def test_failures_in_a_row_open_the_circuit_for_five_minutes_and_the_next_one_opens_it_again(ledger, clock, error):
    closures = [note_error(ledger, ACME, error, NOW) for _ in range(FAILURES)]
    assert closures[:-1] == [None] * (FAILURES - 1)
    assert closures[-1] == Closure(NOW + timedelta(minutes=5), type(error).__name__, str(error))
    clock.now += timedelta(minutes=5)
    assert closure_of(ledger) is None
    assert note_error(ledger, ACME, error, clock.now).until == NOW + timedelta(minutes=10)


@pytest.mark.parametrize("error", [UnknownSymbol("no ZZZ"), OutOfWindow("two years"), LeftAlone("closed")])
def test_an_error_of_the_request_or_of_a_closure_is_no_failure(ledger, error):
    for _ in range(FAILURES + 1):
        assert note_error(ledger, ACME, error, NOW) is None
    assert ledger.count_failure("acme") == 1


def test_failures_are_counted_over_processes_and_for_each_vendor(ledger):
    code = (
        "from pathlib import Path\nfrom market_data.selection.quota import QuotaLedger\n"
        "print(QuotaLedger(Path('calls.sqlite')).count_failure('acme'))"
    )
    assert [ledger.count_failure("acme"), ledger.count_failure("other")] == [1, 1]
    path = str(Path(__file__).resolve().parents[1])
    run = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, check=True)
    assert run.stdout == b"2\n"
    assert ledger.count_failure("acme") == 3
    ledger.forget_failures("acme")
    assert [ledger.count_failure("acme"), ledger.count_failure("other")] == [1, 2]


@pytest.mark.parametrize("order", [(1, 6), (6, 1)])
def test_of_two_closures_the_one_that_ends_later_counts(ledger, order):
    for hours in order:
        ledger.close("acme", Closure(NOW + timedelta(hours=hours), "NotEntitled", f"for {hours} hours"))
    assert closure_of(ledger) == Closure(NOW + timedelta(hours=6), "NotEntitled", "for 6 hours")


def test_ends_are_compared_as_instants_whatever_their_zone_and_precision(ledger):
    early = datetime.fromisoformat("2026-01-16T01:30:00+02:00")
    ledger.close("acme", Closure(early, "RateLimited", "early"))
    ledger.close("acme", Closure(early.astimezone(UTC) + timedelta(microseconds=1), "RateLimited", "late"))
    assert closure_of(ledger).reason == "late"
    ledger.close("acme", Closure(early, "RateLimited", "early"))
    assert closure_of(ledger).reason == "late"


def test_a_closure_ends_at_its_instant_and_a_later_one_may_follow(ledger, clock):
    ledger.close("acme", Closure(NOW + timedelta(hours=1), "NotEntitled", "first"))
    clock.now += timedelta(hours=1)
    assert closure_of(ledger) is None
    assert ledger.reopen("acme")
    ledger.close("acme", Closure(clock.now + timedelta(hours=1), "NotEntitled", "second"))
    assert closure_of(ledger).reason == "second"


def test_a_vendor_can_be_opened_again_with_its_failures_forgotten(ledger):
    for _ in range(FAILURES):
        note_error(ledger, ACME, Transient("reset"), NOW)
    assert [ledger.reopen("acme"), ledger.reopen("acme")] == [True, False]
    assert closure_of(ledger) is None
    assert note_error(ledger, ACME, Transient("reset"), NOW) is None


class Vendor:
    """Raises what it is given, in turn, as if so many calls had been sent."""

    name, synthetic = "acme", False

    def __init__(self, *errors: ProviderError) -> None:
        self.errors = list(errors)

    def serves(self, instrument):
        return True

    def fetch(self, instrument, request):
        raise self.errors.pop(0)

    def close(self):
        """Nothing is open."""


def sent(error: ProviderError, calls: int = 1) -> ProviderError:
    error.attempts = calls
    return error


def selector(ledger: QuotaLedger, clock: SettableClock, vendor: Vendor) -> QuotaAwareSelector:
    return QuotaAwareSelector(
        [Arm(ACME, vendor, Meter(ACME, ledger, RateLimiter("acme", (), FILE)))], ledger, clock=clock
    )


def test_an_answer_forgets_failures_even_where_its_bars_are_rejected(ledger, clock):
    acme = selector(ledger, clock, Vendor())
    for accepted in (True, False):
        for _ in range(FAILURES - 1):
            acme.tell(Outcome("acme", accepted=False, error=Transient("reset")))
        acme.tell(Outcome("acme", accepted=accepted))
    acme.tell(Outcome("acme", accepted=False, error=Transient("reset")))
    assert closure_of(ledger) is None
    acme.tell(Outcome("of an archive", accepted=True))


def carried_out(ledger: QuotaLedger, clock: SettableClock, *errors: ProviderError) -> list[ProviderError]:
    """What a worker met with, one symbol an error."""
    vendor = Vendor(*errors)
    worker = Worker(
        selector=selector(ledger, clock, vendor),
        raw_store=RawStore(Path("raw")),
        thresholds=Thresholds(),
        job_id="job",
        synthetic=False,
        clock=clock,
    )
    due = pd.DatetimeIndex(["2026-01-14"], dtype="datetime64[s]")
    day = date(2026, 1, 14)
    met = []
    for number in range(len(errors)):
        instrument = Instrument(f"AA{chr(65 + number)}", listed_by=date(2020, 1, 2))
        prepared = worker.begin(Task(instrument, day, day, due, due, (day, day), Holdings()))
        attempt = worker.fetch(prepared)
        assert attempt is not None
        met.append(worker.judge(prepared, attempt).error)
    return met


@pytest.mark.parametrize("make", [Transient, NotEntitled, RateLimited, QuotaExhausted])
def test_an_error_before_any_call_was_sent_neither_closes_nor_counts(ledger, clock, make):
    errors = [sent(make("unknown beforehand"), calls=0) for _ in range(FAILURES + 1)]
    assert carried_out(ledger, clock, *errors) == errors
    assert closure_of(ledger) is None
    assert ledger.count_failure("acme") == 1


def test_errors_of_calls_that_were_sent_close_their_vendor(ledger, clock):
    errors = [sent(Transient("reset"), calls=5) for _ in range(FAILURES)]
    assert carried_out(ledger, clock, *errors) == errors
    assert closure_of(ledger) == Closure(NOW + timedelta(minutes=5), "Transient", "reset")


def test_what_speaks_of_a_closure_or_a_spent_quota_says_nothing_of_the_answers_of_a_vendor(ledger, clock):
    vendor = Vendor()
    arm = Arm(ACME, vendor, Meter(ACME, ledger, RateLimiter("acme", (), FILE)))
    acme, before = QuotaAwareSelector([arm], ledger, clock=clock), arm.belief
    for error in (LeftAlone("closed"), QuotaExhausted("spent"), UnknownSymbol("no ZZZ"), OutOfWindow("two years")):
        acme.tell(Outcome("acme", accepted=False, error=error, latency_ms=9000.0))
    assert arm.belief == before
    acme.tell(Outcome("acme", accepted=False, error=BadPayload("HTML"), latency_ms=9000.0))
    assert arm.belief.mean < before.mean
