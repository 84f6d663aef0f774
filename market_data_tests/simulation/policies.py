"""The selectors compared: the quota-aware bandit, parts of it, and plainer ones with the same masks and fallback."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime

import numpy as np

from market_data.providers.base import Clock
from market_data.selection import bandit
from market_data.selection.bandit import DayOfAnswers
from market_data.selection.choice import Choice, Outcome, Selector, Wanted
from market_data.selection.closing import is_of_the_request, note_error
from market_data.selection.quota import QuotaLedger, Standing
from market_data.selection.vendors import Arm, QuotaAwareSelector
from market_data.sessions import last_completed_session

__all__ = ["ABLATIONS", "POLICIES", "EpsilonGreedy", "FixedPriority", "PlentyFirst", "RoundRobin", "opened"]


class FixedPriority:
    """The first vendor, by priority, that may be asked and whose rate allows a call.

    What is hard is as with the bandit: what was tried, closures and circuits, quotas, reach and symbols served. Where
    no rate allows a call at once, the vendor whose rate does so soonest is waited for.
    """

    def __init__(self, arms: Sequence[Arm], ledger: QuotaLedger, *, seed: int, clock: Clock) -> None:
        self.arms = tuple(arms)
        self.random = np.random.default_rng([seed, 4])
        self._ledger = ledger
        self._clock = clock

    def begin(self, job_id: str, symbols: int, history: Sequence[DayOfAnswers]) -> None:
        """Nothing is learned from the days before."""

    def choose(self, wanted: Wanted) -> Choice:
        """The vendor to ask next."""
        now, standings = self._clock(), self._ledger.standing(*(arm.config for arm in self.arms))
        free = [arm for arm in self.arms if _may_be_asked(arm, wanted, standings[arm.config.name], now)]
        ordered = self.ordered(free)
        chosen = next((arm for arm in ordered if arm.meter.reserve()), None)
        if chosen is None:
            chosen = min(ordered, key=lambda arm: arm.meter.limiter.ready_in(), default=None)
        if chosen is None:
            return Choice(None)
        self.note_choice(chosen)
        return Choice(chosen.provider)

    def choose_for_all(self, sessions: Sequence[date], symbols: int) -> Choice:
        """None; each symbol is asked for by itself."""
        return Choice(None)

    def tell(self, outcome: Outcome) -> None:
        """Close and reopen vendors as with the bandit."""
        arm = next(arm for arm in self.arms if arm.config.name == outcome.provider)
        if outcome.error is None:
            self._ledger.forget_failures(outcome.provider)
        else:
            note_error(self._ledger, arm.config, outcome.error, self._clock())
        if outcome.error is None or not is_of_the_request(outcome.error):
            self.learn(outcome)

    def ordered(self, free: list[Arm]) -> list[Arm]:
        """Those that may be asked, the best first."""
        return free

    def note_choice(self, arm: Arm) -> None:
        """A vendor was chosen."""

    def learn(self, outcome: Outcome) -> None:
        """A vendor answered."""


class PlentyFirst(FixedPriority):
    """Fixed too, but by the calls a month allows, the most first: what an operator would set who knows the quotas."""

    def ordered(self, free: list[Arm]) -> list[Arm]:
        """By the calls of a month, as they are configured."""
        return sorted(free, key=_calls_a_month, reverse=True)


class RoundRobin(FixedPriority):
    """The vendors in turn."""

    _next = 0

    def ordered(self, free: list[Arm]) -> list[Arm]:
        """From the one whose turn it is."""
        turn = [*self.arms[self._next :], *self.arms[: self._next]]
        return [arm for arm in turn if arm in free]

    def note_choice(self, arm: Arm) -> None:
        """The next one's turn."""
        self._next = (self.arms.index(arm) + 1) % len(self.arms)


class EpsilonGreedy(FixedPriority):
    """The vendor with the best share of accepted answers so far; one of any, each tenth time."""

    epsilon = 0.1

    def __init__(self, arms: Sequence[Arm], ledger: QuotaLedger, *, seed: int, clock: Clock) -> None:
        super().__init__(arms, ledger, seed=seed, clock=clock)
        self._answers = {arm.config.name: [0, 0] for arm in arms}

    def ordered(self, free: list[Arm]) -> list[Arm]:
        """By running mean, or at random."""
        if self.random.random() < self.epsilon:
            return [free[i] for i in self.random.permutation(len(free))]
        return sorted(free, key=self._mean, reverse=True)

    def learn(self, outcome: Outcome) -> None:
        """Count the answer."""
        counts = self._answers[outcome.provider]
        counts[0] += outcome.accepted
        counts[1] += 1

    def _mean(self, arm: Arm) -> float:
        accepted, told = self._answers[arm.config.name]
        return accepted / told if told else 1.0


def _calls_a_month(arm: Arm) -> float:
    days = {"day": 30, "month": 1}
    return min((quota.limit * days[quota.period] for quota in arm.config.quotas), default=float("inf"))


def _may_be_asked(arm: Arm, wanted: Wanted, standing: Standing, now: datetime) -> bool:
    reach = arm.config.first_reachable(last_completed_session(now))
    return (
        arm.provider is not None
        and arm.config.name not in wanted.tried
        and standing.closure is None
        and standing.spent() is None
        and (reach is None or wanted.first >= reach)
        and arm.provider.serves(wanted.instrument)
    )


POLICIES: dict[str, Callable[..., Selector]] = {
    "fixed priority": FixedPriority,
    "fixed, plenty first": PlentyFirst,
    "round-robin": RoundRobin,
    "epsilon-greedy": EpsilonGreedy,
    "bandit": QuotaAwareSelector,
}
ABLATIONS: dict[str, dict[str, float]] = {
    "bandit, no thrift": {"THRIFT": 0.0},
    "bandit, no decay": {"HALF_LIFE": float("inf"), "MEMORY": float("inf")},
}
"""Parts of the bandit that are left out, by the constants that do so."""


@contextmanager
def opened(policy: str, arms: Sequence[Arm], ledger: QuotaLedger, *, seed: int, clock: Clock) -> Iterator[Selector]:
    """The selector of a policy, or the bandit with constants of another value."""
    changed = ABLATIONS.get(policy, {})
    kept = {name: getattr(bandit, name) for name in changed}
    try:
        for name, value in changed.items():
            setattr(bandit, name, value)
        yield POLICIES.get(policy, QuotaAwareSelector)(arms, ledger, seed=seed, clock=clock)
    finally:
        for name, value in kept.items():
            setattr(bandit, name, value)
