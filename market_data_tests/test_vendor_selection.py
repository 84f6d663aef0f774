from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import pytest

from market_data.errors import BadPayload, OutOfWindow
from market_data.instruments import Instrument
from market_data.providers.config import Quota, Rate
from market_data.selection.bandit import DayOfAnswers, random_of
from market_data.selection.choice import Choice, Considered, Outcome, Wanted
from market_data.selection.closing import FAILURES
from market_data.selection.quota import Closure, Standing
from market_data.selection.vendors import QuotaAwareSelector
from market_data_tests.fake_vendors import NOW, Market, chosen, masks

MINUTE = 60.0
SYMBOLS = [f"A{chr(65 + first)}{chr(65 + second)}" for first in range(10) for second in range(25)]


@pytest.fixture
def market():
    made = Market()
    yield made
    made.close()


def wanted(symbol: str = "AAPL", first: str = "2026-01-14", *tried: str) -> Wanted:
    return Wanted(Instrument(symbol), date.fromisoformat(first), date(2026, 1, 14), tried)


def month(limit: int) -> tuple[Quota, ...]:
    return (Quota("month", limit),)


def test_a_budget_is_what_a_day_has_left_or_an_even_share_of_the_month(market):
    market.add("acme", quotas=(Quota("day", 50), Quota("month", 100)))
    market.clock.now = datetime(2026, 1, 22, tzinfo=UTC)
    standing = market.ledger.standing(market.arms[0].config)["acme"]
    assert standing.budget(market.clock.now) == pytest.approx(100 / 10)
    market.clock.now = datetime(2026, 1, 31, 18, tzinfo=UTC)
    assert market.ledger.standing(market.arms[0].config)["acme"].budget(market.clock.now) == 50
    assert Standing().budget(market.clock.now) == float("inf")


def test_every_vendor_that_must_not_be_asked_is_told_with_its_reason(market):
    market.add("keyless", unusable="keyless has no key: set KEYLESS_API_KEY").add("tried").add("closed")
    market.add("daily", quotas=(Quota("day", 1), Quota("month", 9)), reset_zone="America/New_York")
    market.add("monthly", quotas=(Quota("day", 9), Quota("month", 1)))
    market.add("near", reach_sessions=3).add("recent", reach_days=10).add("other", unserved=("AAPL",))
    market.ledger.close("closed", Closure(NOW + timedelta(hours=6), "NotEntitled", "the key is refused"))
    market.spend("daily", 1)
    market.spend("monthly", 1)
    choice = market.selector().choose(wanted("AAPL", "2026-01-02", "tried"))
    assert choice.provider is None
    assert masks(choice) == {
        "keyless": "keyless has no key: set KEYLESS_API_KEY",
        "tried": "tried before",
        "closed": "left alone until 2026-01-15 18:00:00 UTC: the key is refused",
        "daily": "daily: the 1 calls of the day are spent until 2026-01-16 05:00:00 UTC",
        "monthly": "monthly: the 1 calls of the month are spent until 2026-02-01 00:00:00 UTC",
        "near": "reaches back to 2026-01-12; 2026-01-02 is wanted",
        "recent": "reaches back to 2026-01-04; 2026-01-02 is wanted",
        "other": "does not serve this instrument",
    }
    assert choice.considered[1].told() == {"provider": "tried", "masked": "tried before"}


def test_a_mask_falls_when_its_reason_does(market):
    market.add("acme", quotas=(Quota("day", 1),), reach_sessions=3)
    selector = market.selector()
    assert chosen(selector.choose(wanted("AAPL", "2026-01-12"))) == "acme"
    market.spend("acme", 1)
    assert chosen(selector.choose(wanted())) is None
    market.clock.now = datetime(2026, 1, 16, tzinfo=UTC)
    assert chosen(selector.choose(wanted())) == "acme"
    market.ledger.close("acme", Closure(market.clock.now + timedelta(minutes=5), "Transient", "reset"))
    assert chosen(selector.choose(wanted())) is None
    assert market.ledger.reopen("acme")
    assert chosen(selector.choose(wanted())) == "acme"


def test_a_vendor_without_a_key_whose_stored_answer_was_read_counts_as_tried(market):
    market.add("keyless", unusable="keyless has no key: set KEYLESS_API_KEY")
    assert masks(market.selector().choose(wanted("AAPL", "2026-01-14", "keyless"))) == {"keyless": "tried before"}


def test_while_the_rate_of_one_vendor_cools_another_is_asked(market):
    market.add("acme", rates=(Rate(2, MINUTE),)).add("other", rates=(Rate(1, 30.0),))
    selector = market.selector(history=[DayOfAnswers("other", date(2026, 1, 15), 0, 60, None)])
    assert [chosen(selector.choose(wanted()))] == ["acme"]
    market.arms[0].meter.permit()
    assert market.arms[0].meter.limiter.try_take()
    choice = selector.choose(wanted())
    assert chosen(choice) == "other"
    assert "its rate allows the next call in" in masks(choice)["acme"]
    assert masks(choice)["other"] is None
    market.arms[1].meter.permit()
    choice = selector.choose(wanted())  # both cool; `other` is ready sooner
    assert chosen(choice) == "other"
    assert "its rate allows the next call in" in masks(choice)["acme"]
    assert masks(choice)["other"] is None
    assert all(item.draw is not None for item in choice.considered)


def test_a_vendor_that_says_again_and_again_that_a_window_is_out_of_its_reach_is_believed_for_the_job(market):
    market.add("acme")
    selector = market.selector()
    said = Outcome("acme", accepted=False, error=OutOfWindow("two years"), first=date(2021, 1, 19))
    for _ in range(FAILURES - 1):
        selector.tell(said)
    assert chosen(selector.choose(wanted("AAA", "2021-01-19"))) == "acme"
    selector.tell(said)
    masked = masks(selector.choose(wanted("AAA", "2021-01-19")))["acme"]
    assert masked == "said 3 times in a row that 2021-01-19 is out of its reach"
    assert chosen(selector.choose(wanted("AAA", "2025-01-02"))) == "acme"
    selector.tell(Outcome("acme", accepted=True))
    assert chosen(selector.choose(wanted("AAA", "2021-01-19"))) == "acme"


def shares(market: Market, selector: QuotaAwareSelector) -> dict[str, int]:
    """How often each vendor is chosen, once for a symbol; nothing is sent."""
    names = [chosen(selector.choose(wanted(symbol))) for symbol in SYMBOLS]
    return {arm.config.name: names.count(arm.config.name) for arm in market.arms}


def test_scarce_calls_are_kept_while_others_can_serve_and_used_where_no_other_can(market):
    market.add("scarce", quotas=(Quota("day", 25),)).add("plenty", quotas=month(100_000), unserved=("ONLY",))
    good = [DayOfAnswers(name, date(2026, 1, 14), 60, 0, 300.0) for name in ("scarce", "plenty")]
    assert shares(market, market.selector(symbols=1, history=good))["scarce"] > 20
    assert shares(market, market.selector(symbols=249, history=good))["scarce"] == 0
    assert chosen(market.selector(symbols=249, history=good).choose(wanted("ONLY"))) == "scarce"


def test_scarce_calls_are_spent_rather_than_asking_a_vendor_that_fails(market):
    market.add("scarce", quotas=(Quota("day", 25),)).add("failing")
    history = [DayOfAnswers("scarce", date(2026, 1, 14), 60, 0, 300.0)]
    history += [DayOfAnswers("failing", date(2026, 1, 14), 6, 60, 300.0)]
    assert shares(market, market.selector(symbols=249, history=history))["scarce"] == len(SYMBOLS)


def test_a_job_that_nears_its_end_no_longer_finds_calls_scarce(market):
    market.add("acme", quotas=(Quota("day", 100),))
    selector = market.selector(symbols=200)
    drawn = [selector.choose(wanted()).considered[0].draw.scarcity]
    for _ in range(150):
        selector.tell(Outcome("acme", accepted=True, latency_ms=100.0))
    selector.tell(Outcome("acme", accepted=False, latency_ms=100.0))
    drawn.append(selector.choose(wanted()).considered[0].draw.scarcity)
    assert drawn == [1.0, 0.5]


def test_a_vendor_that_turns_bad_within_a_job_is_left_for_another(market):
    market.add("acme").add("other")
    selector = market.selector()
    assert shares(market, selector)["acme"] > 0.4 * len(SYMBOLS)
    for _ in range(30):
        selector.tell(Outcome("acme", accepted=False, latency_ms=300.0))
    assert shares(market, selector)["acme"] < 0.05 * len(SYMBOLS)
    assert market.ledger.standing(market.arms[0].config)["acme"].closure is None


def test_the_same_seed_job_symbol_and_belief_give_the_same_choice_in_another_selector(market):
    market.add("acme").add("other").add("third")
    history = [DayOfAnswers(name, date(2026, 1, 13), 9, 3, 400.0) for name in ("acme", "other", "third")]

    def choices(**given) -> list[Choice]:
        selector = market.selector(history=history, **given)
        return [selector.choose(wanted(symbol)) for symbol in SYMBOLS[:40]]

    assert [each.considered for each in choices()] == [each.considered for each in choices()]
    names = [chosen(each) for each in choices()]
    assert set(names) == {"acme", "other", "third"}
    assert names != [chosen(each) for each in choices(seed=1)]
    assert names != [chosen(each) for each in choices(job_id="another")]


def test_a_decision_can_be_redone_from_its_audit_record_and_the_seed(market):
    market.add("acme").add("other").add("third", unusable="no key").add("fourth", rates=(Rate(1, MINUTE),))
    selector = market.selector(seed=11, history=[DayOfAnswers("other", date(2026, 1, 14), 7, 3, 123.4)])
    selector.tell(Outcome("acme", accepted=True, latency_ms=777.7))
    for tried in ((), ("stooq_bulk",), ("stooq_bulk", "acme")):
        choice = selector.choose(wanted("AAPL", "2026-01-14", *tried))
        told = json.loads(json.dumps([item.told() for item in choice.considered]))
        before = sum(item.get("masked") == "tried before" for item in told)
        drawn = [item for item in told if "draw" in item]
        assert len(drawn) == 3 - before
        for item in drawn:
            random = random_of(11, "job", "AAPL", before, item["provider"])
            assert item["draw"] == round(random.beta(item["alpha"], item["beta"]), 4)
        assert max(drawn, key=lambda item: item["value"])["provider"] == chosen(choice)


def test_sixteen_threads_may_choose_and_tell_at_once_and_nothing_is_lost(market):
    market.add("acme", rates=(Rate(20, 0.1),), quotas=(Quota("day", 10_000),)).add("other", quotas=(Quota("day", 500),))
    selector = market.selector(symbols=200)

    def work(symbol: str) -> str:
        choice = selector.choose(wanted(symbol))
        market.arm(chosen(choice)).meter.permit()
        selector.tell(Outcome(chosen(choice), accepted=symbol[2] != "B", latency_ms=50.0))
        return chosen(choice)

    with ThreadPoolExecutor(16) as threads:
        names = list(threads.map(work, SYMBOLS[:100]))
    standings = market.ledger.standing(*(arm.config for arm in market.arms))
    assert {name: names.count(name) for name in standings} == {
        name: standing.quotas[0].used for name, standing in standings.items()
    }
    acme = selector.choose(wanted()).considered[0].draw
    assert acme.scarcity == (200 - 96) / (10_000 - names.count("acme"))


def test_failures_told_by_threads_close_the_vendor_for_all_selectors(market):
    market.add("acme").add("other")
    one, another = market.selector(), market.selector()
    for _ in range(FAILURES):
        one.tell(Outcome("acme", accepted=False, error=BadPayload("HTML")))
    choice = another.choose(wanted())
    assert chosen(choice) == "other"
    assert masks(choice)["acme"] == "left alone until 2026-01-15 12:05:00 UTC: HTML"


def test_a_vendor_of_which_nothing_is_to_be_said_is_told_by_its_name():
    assert Considered("acme").told() == {"provider": "acme"}
