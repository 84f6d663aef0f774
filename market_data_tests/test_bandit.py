from __future__ import annotations

import math
import subprocess
import sys
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_data.selection.bandit import (
    HALF_LIFE,
    MEMORY,
    PATIENCE_MS,
    THRIFT,
    Belief,
    DayOfAnswers,
    Draw,
    learned,
    prior_of,
    random_of,
    sampled,
)

TODAY = date(2026, 1, 15)


def days_ago(
    days: int, accepted: int, rejected: int, latency_ms: float | None = None, compared: int = 0
) -> DayOfAnswers:
    day = TODAY - timedelta(days=days)
    return DayOfAnswers("acme", day, accepted, rejected, latency_ms, compared, odd=compared // 3)


def evidence(belief: Belief) -> float:
    return belief.alpha - belief.prior_alpha + belief.beta - belief.prior_beta


def test_vendors_that_never_answered_are_believed_in_by_priority():
    means = [prior_of(priority).mean for priority in range(1, 30)]
    assert all(earlier >= later for earlier, later in pairwise(means))
    assert all(earlier > later for earlier, later in pairwise(means[:5]))
    assert min(means) >= 0.5
    assert evidence(prior_of(1)) == 0


def test_a_day_counts_half_as_much_as_one_that_is_a_half_life_younger():
    for age in (0, 1, 2, 4, 9):
        belief = learned(prior_of(1), [days_ago(age, 8, 4)], TODAY)
        halves = 0.5 ** (age / HALF_LIFE)
        assert belief.alpha - belief.prior_alpha == pytest.approx(8 * halves)
        assert belief.beta - belief.prior_beta == pytest.approx(4 * halves)


def test_days_add_up_in_whatever_order_they_come():
    days = [days_ago(1, 5, 2, 300.0), days_ago(2, 0, 7), days_ago(9, 3, 1, 900.0)]
    one, other = learned(prior_of(2), days, TODAY), learned(prior_of(2), days[::-1], TODAY)
    assert (one.alpha, one.beta, one.latency_ms) == pytest.approx((other.alpha, other.beta, other.latency_ms))
    assert evidence(one) == pytest.approx(sum((d.accepted + d.rejected) * 0.5 ** (age / HALF_LIFE)
                                              for d, age in zip(days, (1, 2, 9), strict=True)))  # fmt: skip


def test_no_more_than_the_memory_is_believed_and_the_shares_are_kept():
    belief = learned(prior_of(1), [days_ago(0, 30_000, 10_000)], TODAY)
    assert evidence(belief) == pytest.approx(MEMORY)
    assert belief.alpha - belief.prior_alpha == pytest.approx(0.75 * MEMORY)


@pytest.mark.parametrize("answers", [20, 250])
@pytest.mark.parametrize("outage", [2, 5, 10])
def test_an_outage_of_days_is_forgotten_after_a_week_of_good_answers(answers, outage):
    def mean(good_days: int) -> float:
        bad = [days_ago(good_days + day, 0, answers) for day in range(1, outage + 1)]
        good = [days_ago(day, answers, 0) for day in range(1, good_days + 1)]
        return learned(prior_of(2), good + bad, TODAY).mean

    means = [mean(good_days) for good_days in range(8)]
    assert means[0] < 0.2
    assert all(earlier < later for earlier, later in pairwise(means))
    assert means[2] > 0.45
    assert means[7] > 0.85


def test_an_outage_is_forgotten_even_where_nobody_asks_meanwhile():
    outage = [days_ago(20 + day, 0, 100) for day in range(5)]
    assert learned(prior_of(2), outage, TODAY).mean > 0.8
    assert learned(prior_of(2), [], TODAY) == prior_of(2)


def compared(accepted: int, compared: int, odd: int) -> DayOfAnswers:
    return DayOfAnswers("acme", TODAY, accepted, 0, None, compared, odd)


def test_an_answer_that_was_compared_counts_once_more_as_rejected_where_it_stood_alone():
    assert evidence(learned(prior_of(1), [compared(10, 5, 0)], TODAY)) == pytest.approx(15)
    belief = learned(prior_of(1), [compared(0, 5, 2)], TODAY)
    assert belief.alpha - belief.prior_alpha == pytest.approx(3)
    assert belief.beta - belief.prior_beta == pytest.approx(2)


def test_what_was_compared_speaks_for_the_accepted_answers_of_its_day():
    belief = learned(prior_of(1), [compared(20, 3, 3)], TODAY)
    assert belief.beta - belief.prior_beta == pytest.approx(20 * 3 / 5 + 3)
    means = [learned(prior_of(1), [compared(100, 4, odd)], TODAY).mean for odd in range(5)]
    assert all(earlier > later for earlier, later in pairwise(means))
    assert means[0] > 0.9
    assert means[4] < 0.5
    assert learned(prior_of(1), [compared(100, 1, 1)], TODAY).mean > 0.5  # one odd answer does not speak for a day


def test_a_vendor_that_is_often_odd_is_chosen_less():
    def share_chosen(odd: int) -> float:
        beliefs = [
            learned(prior_of(1), [compared(40, 5, odd)], TODAY),
            learned(prior_of(2), [compared(40, 5, 0)], TODAY),
        ]
        draws = [
            [sampled(belief, random_of("job", number, arm), scarcity=0.0).value for arm, belief in enumerate(beliefs)]
            for number in range(200)
        ]
        return sum(first > second for first, second in draws) / len(draws)

    shares = [share_chosen(odd) for odd in (0, 1, 2, 5)]
    assert all(earlier >= later for earlier, later in pairwise(shares))
    assert shares[0] > 0.4
    assert shares[-1] < 0.05


def test_latency_is_the_weighted_mean_of_the_days_and_the_prior():
    prior = prior_of(1)
    assert learned(prior, [days_ago(0, 9, 0, 100.0)], TODAY).latency_ms == pytest.approx((prior.latency_ms + 900) / 10)
    assert learned(prior, [days_ago(0, 9, 0)], TODAY).latency_ms == prior.latency_ms
    assert learned(prior, [days_ago(0, 0, 0, 100.0)], TODAY).latency_ms == prior.latency_ms
    old, young = days_ago(9, 100, 0, 9000.0), days_ago(0, 100, 0, 100.0)
    assert learned(prior, [old, young], TODAY).latency_ms < (9000 + 100) / 2


def test_an_answer_moves_the_belief_and_a_failure_moves_it_the_other_way():
    belief = prior_of(3)
    assert belief.told(accepted=True).mean > belief.mean > belief.told(accepted=False).mean
    assert belief.told(accepted=True).alpha == belief.alpha + 1
    assert belief.told(accepted=True, weight=3.0).alpha == belief.alpha + 3
    slower = belief.told(accepted=True, latency_ms=belief.latency_ms + 1000)
    assert belief.latency_ms < slower.latency_ms < belief.latency_ms + 1000
    assert belief.told(accepted=True).latency_ms == belief.latency_ms


def test_older_answers_are_discounted_so_that_the_memory_bounds_them():
    belief = prior_of(1)
    for _ in range(2000):
        belief = belief.told(accepted=True)
    assert evidence(belief) == pytest.approx(MEMORY)
    turned = belief
    for _ in range(round(MEMORY)):
        turned = turned.told(accepted=False)
    assert evidence(turned) == pytest.approx(MEMORY)
    assert turned.mean < 0.5 < belief.mean


def test_a_draw_depends_on_the_names_alone():
    belief = learned(prior_of(1), [days_ago(0, 20, 3)], TODAY)
    draws = [sampled(belief, random_of(7, "job", "AAPL", 0, "acme"), scarcity=0.0) for _ in range(2)]
    assert draws[0] == draws[1]
    others = [(8, "job", "AAPL", 0, "acme"), (7, "jobs", "AAPL", 0, "acme"), (7, "job", "MSFT", 0, "acme"),
              (7, "job", "AAPL", 1, "acme"), (7, "job", "AAPL", 0, "other")]  # fmt: skip
    assert len({sampled(belief, random_of(*names), scarcity=0.0).draw for names in others} | {draws[0].draw}) == 6


def test_the_numbers_of_a_name_are_the_same_in_another_process():
    code = "from market_data.selection.bandit import *\nprint(random_of(7, 'job', 'AAPL').beta(20.5, 3.25).hex())"
    environment = {"PYTHONPATH": str(Path(__file__).resolve().parents[1]), "PYTHONHASHSEED": "4"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert float.fromhex(run.stdout) == random_of(7, "job", "AAPL").beta(20.5, 3.25)


def test_the_value_is_the_draw_slowed_by_latency_less_what_scarcity_costs():
    belief = prior_of(1).told(accepted=True, latency_ms=4000.0, weight=10.0)
    draw = sampled(belief, random_of("any"), scarcity=0.25)
    assert (draw.alpha, draw.beta, draw.scarcity) == (belief.alpha, belief.beta, 0.25)
    assert draw.speed == pytest.approx(1 / (1 + 4000 / PATIENCE_MS))
    assert draw.value == pytest.approx(draw.draw * draw.speed - THRIFT * 0.25)
    assert Draw(1, 1, draw=0.5, speed=0.5, scarcity=1.0).value == pytest.approx(0.25 - THRIFT)


def test_draws_follow_the_belief():
    belief = Belief(alpha=18.0, beta=6.0, prior_alpha=2.0, prior_beta=2.0, latency_ms=0.0)
    draws = np.array([sampled(belief, random_of(number), scarcity=0.0).draw for number in range(2000)])
    assert draws.mean() == pytest.approx(0.75, abs=0.01)
    assert draws.var() == pytest.approx(18 * 6 / (24**2 * 25), rel=0.1)


histories = st.lists(
    st.builds(
        days_ago,
        st.integers(0, 4000),
        st.integers(0, 10**7),
        st.integers(0, 10**7),
        st.none() | st.floats(0, 1e9),
        st.integers(0, 1000),
    ),
    max_size=40,
)
answers = st.lists(st.tuples(st.booleans(), st.none() | st.floats(0, 1e9), st.floats(0, 50)), max_size=60)


@given(st.integers(1, 100), histories, answers)
def test_a_belief_is_always_a_distribution_of_bounded_evidence(priority, days, later):
    belief = learned(prior_of(priority), days, TODAY)
    for accepted, latency_ms, weight in later:
        belief = belief.told(accepted=accepted, latency_ms=latency_ms, weight=weight)
    assert belief.alpha >= belief.prior_alpha > 0
    assert belief.beta >= belief.prior_beta > 0
    assert 0 < belief.mean < 1
    assert evidence(belief) <= MEMORY + 1e-6
    assert belief.latency_ms >= 0
    draw = sampled(belief, random_of(priority), scarcity=1.0)
    assert 0 <= draw.draw <= 1
    assert 0 < draw.speed <= 1
    assert math.isfinite(draw.value)
