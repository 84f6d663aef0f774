"""Thompson sampling over the vendors that may be asked, aware of what their quotas can spare.

Each vendor's chance of an accepted answer is a Beta distribution. It begins at a prior from the vendor's priority,
takes in the days of `provider_metrics`, each counting half as much as one `HALF_LIFE` later, so that an outage is
forgotten, and then this run's own answers. An answer that was compared with two other vendors' counts once more, as
rejected where it stood alone; and since only a sample is compared, so does that share of the day's accepted ones.
Older evidence is discounted at every answer, as in discounted Thompson sampling (Raj and Kalyani, "Taming
Non-stationary Bandits: A Bayesian Approach", 2017, arXiv:1707.09727), so that never more than `MEMORY` answers' worth
is believed.

The vendor with the largest *value* is asked:

    value = draw * speed - THRIFT * scarcity

`draw` is a sample of the distribution; `speed` is 1 / (1 + latency / PATIENCE_MS); `scarcity` is the share of the calls
it can spare until its reset that the symbols still open would take, 1 at most.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import numpy as np

__all__ = ["Belief", "DayOfAnswers", "Draw", "learned", "prior_of", "random_of", "sampled"]

HALF_LIFE = 2.0
"""Days after which an answer counts half."""
MEMORY = 60.0
"""The most answers, in weight, that a belief rests on besides its prior."""
PRIOR_WEIGHT = 4.0
NOT_ODD = 2.0
"""Comparisons without a difference that are taken for granted, so that one odd answer does not speak for a day."""
PATIENCE_MS = 10_000.0
THRIFT = 0.3


@dataclass(frozen=True, slots=True)
class DayOfAnswers:
    """What a vendor answered on a UTC date, from `provider_metrics`; rejected counts failed ones as well.

    Attributes:
        compared, odd: answers that were compared with two or more other vendors', and those of them that stood alone.
    """

    provider: str
    day: date
    accepted: int
    rejected: int
    latency_ms: float | None
    compared: int = 0
    odd: int = 0


@dataclass(frozen=True, slots=True)
class Belief:
    """A Beta(alpha, beta) of the chance that an answer is accepted, its prior, and the usual latency."""

    alpha: float
    beta: float
    prior_alpha: float
    prior_beta: float
    latency_ms: float

    @property
    def mean(self) -> float:
        """Expected share of accepted answers."""
        return self.alpha / (self.alpha + self.beta)

    def told(self, *, accepted: bool, latency_ms: float | None = None, weight: float = 1.0) -> Belief:
        """The belief after answers of some weight, older ones being discounted so that `MEMORY` bounds them."""
        kept = max(0.0, 1 - weight / MEMORY)
        good = (self.alpha - self.prior_alpha) * kept + (weight if accepted else 0.0)
        bad = (self.beta - self.prior_beta) * kept + (0.0 if accepted else weight)
        share = min(1.0, weight / 10)
        latency = self.latency_ms if latency_ms is None else (1 - share) * self.latency_ms + share * latency_ms
        return Belief(self.prior_alpha + good, self.prior_beta + bad, self.prior_alpha, self.prior_beta, latency)


@dataclass(frozen=True, slots=True)
class Draw:
    """One sample of a belief and what was made of it; kept in the audit, so that a decision can be told and redone."""

    alpha: float
    beta: float
    draw: float
    speed: float
    scarcity: float

    @property
    def value(self) -> float:
        """What vendors are compared by."""
        return self.draw * self.speed - THRIFT * self.scarcity


def prior_of(priority: int) -> Belief:
    """What is believed of a vendor that never answered: the better its priority, the more."""
    mean = max(0.5, 1 - 0.05 * priority)
    alpha, beta = PRIOR_WEIGHT * mean, PRIOR_WEIGHT * (1 - mean)
    return Belief(alpha, beta, alpha, beta, latency_ms=500.0)


def learned(prior: Belief, days: Iterable[DayOfAnswers], today: date) -> Belief:
    """The prior and the days before, each discounted by its age; at most `MEMORY` answers are believed.

    Args:
        days: of one vendor, in any order; none after `today`.
    """
    good = bad = 0.0
    weights, latencies = [0.0], [0.0]
    for day in days:
        weight = 0.5 ** (max(0, (today - day.day).days) / HALF_LIFE)
        doubted = _doubted(day)
        good += weight * (day.accepted - doubted + day.compared - day.odd)
        bad += weight * (day.rejected + doubted + day.odd)
        if day.latency_ms is not None:
            weights.append(weight * (day.accepted + day.rejected))
            latencies.append(weights[-1] * day.latency_ms)
    bound = min(1.0, MEMORY / (good + bad)) if good + bad else 1.0
    seen = sum(weights)
    latency = (prior.latency_ms + sum(latencies)) / (1 + seen)
    alpha, beta = prior.prior_alpha, prior.prior_beta
    return Belief(alpha + good * bound, beta + bad * bound, alpha, beta, latency)


def _doubted(day: DayOfAnswers) -> float:
    """Accepted answers that may be as wrong as the odd ones: what was compared stands for all of a day."""
    return day.accepted * day.odd / (day.compared + NOT_ODD)


def random_of(*names: object) -> np.random.Generator:
    """The random numbers that belong to names, such as seed, job and symbol: the same on every machine."""
    digest = hashlib.sha256("|".join(map(str, names)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16]))


def sampled(belief: Belief, random: np.random.Generator, *, scarcity: float) -> Draw:
    """A sample of a belief.

    Args:
        scarcity: 0 (calls to spare) to 1 (none).
    """
    return Draw(
        alpha=belief.alpha,
        beta=belief.beta,
        draw=float(random.beta(belief.alpha, belief.beta)),
        speed=1 / (1 + belief.latency_ms / PATIENCE_MS),
        scarcity=scarcity,
    )
