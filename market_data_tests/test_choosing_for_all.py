from __future__ import annotations

from datetime import date, timedelta

import pytest

from market_data.providers.config import Quota
from market_data.records import EVERY
from market_data.selection.choice import Choice
from market_data.selection.quota import Closure
from market_data_tests.fake_vendors import NOW, Market, chosen

LAST_NIGHT = [date(2026, 1, 14)]
SYMBOLS = 249


@pytest.fixture
def market():
    made = Market()
    yield made
    made.close()


def daily(limit: int) -> tuple[Quota, ...]:
    return (Quota("day", limit),)


def sessions(count: int) -> list[date]:
    return [date(2026, 1, 14) - timedelta(days=day) for day in range(count)]


def grouped(market: Market, quotas: tuple[Quota, ...] = (), **more) -> Market:
    return market.add("grouped", grouped=True, quotas=quotas, **more)


def answer(market: Market, count: int = 1, symbols: int = SYMBOLS) -> str | None:
    return chosen(market.selector(symbols=symbols).choose_for_all(sessions(count), symbols))


def test_one_session_of_many_symbols_is_asked_for_at_once_and_years_of_them_are_not(market):
    grouped(market, daily(1000)).add("other", quotas=daily(1000))
    choice = market.selector(symbols=SYMBOLS).choose_for_all(LAST_NIGHT, SYMBOLS)
    assert chosen(choice) == "grouped"
    assert [item.told() for item in choice.considered] == [{"provider": "grouped"}]
    assert answer(market, 300) is None


def test_a_vendor_that_is_not_grouped_is_never_asked_for_all(market):
    market.add("acme").add("other")
    assert answer(market) is None


def test_a_grouped_vendor_is_found_behind_preferred_ones(market):
    grouped(market.add("acme"))
    assert answer(market) == "grouped"


def test_without_limits_calls_are_compared_by_their_number(market):
    grouped(market).add("other")
    assert answer(market, SYMBOLS - 1) == "grouped"
    assert answer(market, SYMBOLS) is None
    assert answer(market, 1, 1) is None
    assert answer(market, 1, 2) == "grouped"


def test_a_scarce_call_for_all_weighs_more_than_plentiful_calls_for_each(market):
    grouped(market, daily(100)).add("other", quotas=daily(100_000))
    assert answer(market, 1, SYMBOLS) is None
    assert answer(market, 1, 1002) == "grouped"
    market.add("unlimited")
    assert answer(market, 1, 1002) is None


def test_calls_for_each_weigh_by_what_the_vendors_that_may_be_asked_can_spare(market):
    grouped(market, daily(100)).add("other", quotas=daily(100_000))
    market.ledger.close("other", Closure(NOW + timedelta(hours=1), "Transient", "reset"))
    assert answer(market) == "grouped"


def test_a_quota_that_cannot_spare_the_sessions_is_left_alone(market):
    grouped(market, daily(3))
    assert answer(market, 3) == "grouped"
    market.spend("grouped", 1)
    assert answer(market, 3) is None
    assert answer(market, 2) == "grouped"
    market.spend("grouped", 2)
    assert answer(market, 1) is None


def test_of_a_month_only_the_share_of_a_day_can_be_spared(market):
    grouped(market, (Quota("month", 50),))  # 17 days, less 12 hours, are left of January
    assert answer(market, 3) == "grouped"
    assert answer(market, 4) is None


@pytest.mark.parametrize(
    "limits",
    [
        {"unusable": "grouped has no key: set GROUPED_API_KEY"},
        {"unserved": (EVERY,)},
        {"reach_sessions": 5},
        {"reach_days": 5},
    ],
)
def test_a_vendor_that_must_not_be_asked_is_not_asked_for_all_either(market, limits):
    grouped(market, **limits).add("other")
    assert answer(market, 9) is None


def test_a_vendor_that_is_left_alone_is_not_asked_for_all_until_it_opens(market):
    grouped(market).add("other")
    market.ledger.close("grouped", Closure(NOW + timedelta(hours=1), "NotEntitled", "refused"))
    assert answer(market) is None
    market.clock.now += timedelta(hours=1)
    assert answer(market) == "grouped"


def test_no_sessions_need_no_vendor(market):
    grouped(market)
    assert market.selector().choose_for_all([], SYMBOLS) == Choice(None)
