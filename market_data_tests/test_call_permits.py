from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from market_data.errors import QuotaExhausted
from market_data.providers.config import ProviderConfig, Quota, Rate
from market_data.records import Basis
from market_data.selection.closing import LeftAlone
from market_data.selection.meter import Meter, RateLimiter
from market_data.selection.quota import Closure, QuotaLedger

MINUTE = 60.0
NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)


class SettableSeconds:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def age() -> SettableSeconds:
    """What the meters go by to tell how old a reserved permit is."""
    return SettableSeconds()


@pytest.fixture
def meter(age):
    """Makes meters of one vendor with a quota of 3 a day, at the rates given, and closes them."""
    made: list[Meter] = []

    def make(*rates: Rate) -> Meter:
        config = ProviderConfig(
            name="acme", priority=1, tier="", base_url="", basis=Basis.RAW, quotas=(Quota("day", 3),), rates=rates
        )
        limiter = RateLimiter("acme", rates, Path("rates.sqlite"))
        made.append(Meter(config, QuotaLedger(Path("calls.sqlite"), clock=lambda: NOW), limiter, clock=age))
        return made[-1]

    yield make
    for each in made:
        each.close()


def used(meter: Meter) -> int:
    return meter.ledger.standing(meter.config)["acme"].quotas[0].used


def leave_alone(meter: Meter) -> None:
    meter.ledger.close("acme", Closure(NOW + timedelta(hours=1), "NotEntitled", "the key is refused"))


def test_a_reserved_permit_is_the_one_that_is_used_and_only_the_call_is_counted(meter):
    acme = meter(Rate(2, MINUTE))
    assert [acme.reserve(), acme.reserve()] == [True, True]
    assert used(acme) == 0
    acme.permit()
    assert used(acme) == 1
    assert acme.limiter.try_take()
    assert [acme.reserve(), acme.limiter.try_take()] == [False, False]


def test_a_permit_that_was_not_reserved_waits_for_the_rate(meter):
    acme = meter(Rate(1, 0.15))
    started = time.time()
    acme.permit()
    acme.permit()
    assert time.time() - started >= 0.149
    assert used(acme) == 2


def test_a_reserved_permit_belongs_to_its_thread(meter):
    acme, other = meter(Rate(2, MINUTE)), []
    assert acme.reserve()
    thread = threading.Thread(target=lambda: other.extend([acme.reserve(), acme.reserve()]))
    thread.start()
    thread.join()
    assert other == [True, True]
    assert acme.limiter.ready_in() > 0
    acme.permit()
    assert used(acme) == 1


@pytest.mark.parametrize(("seconds", "taken"), [(0.05, 1), (0.15, 2)])
def test_a_reserved_permit_that_was_not_used_at_once_is_not_used_later(meter, age, seconds, taken):
    acme = meter(Rate(taken, MINUTE))
    assert acme.reserve()
    age.now += seconds
    acme.permit()
    assert used(acme) == 1
    assert acme.limiter.ready_in() > 30


def test_a_reserved_permit_that_grew_old_is_followed_by_a_new_one(meter, age):
    acme = meter(Rate(2, MINUTE))
    assert acme.reserve()
    age.now += 1
    assert [acme.reserve(), acme.reserve()] == [True, True]
    age.now += 1
    assert not acme.reserve()


def test_a_vendor_that_is_left_alone_gets_no_call_no_count_and_no_permit_is_spent(meter):
    acme = meter(Rate(1, MINUTE))
    leave_alone(acme)
    with pytest.raises(LeftAlone, match=r"acme is left alone until 2026-01-15 13:00:00 UTC: the key is") as caught:
        acme.permit()
    assert caught.value.attempts == 0
    assert not caught.value.retryable
    assert used(acme) == 0
    assert acme.limiter.try_take()


def test_a_vendor_closed_while_a_permit_is_waited_for_gets_no_call(meter):
    acme, raised = meter(Rate(1, 0.2)), []

    def ask() -> None:
        with pytest.raises(LeftAlone) as caught:
            acme.permit()
        raised.append(caught.value)

    acme.permit()
    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(0.05)
    leave_alone(acme)
    thread.join()
    assert len(raised) == 1
    assert used(acme) == 1


def test_a_spent_quota_is_told_without_a_wait_for_the_rate(meter):
    acme = meter(Rate(3, MINUTE))
    for _ in range(3):
        acme.permit()
    started = time.monotonic()
    with pytest.raises(QuotaExhausted, match="acme: the 3 calls of the day are spent until 2026-01-16 00:") as caught:
        acme.permit()
    assert time.monotonic() - started < 1
    assert caught.value.attempts == 0
    assert used(acme) == 3


def test_a_quota_spent_by_others_while_a_permit_is_waited_for_is_told_and_not_exceeded(meter):
    acme, told = meter(Rate(4, 0.2)), []

    def ask() -> None:
        try:
            acme.permit()
        except QuotaExhausted as error:
            told.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 5
    assert used(acme) == 3
