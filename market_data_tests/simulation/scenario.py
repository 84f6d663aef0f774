"""What is simulated: vendors with their limits and bad spells, and the work that falls due day by day."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import numpy as np

from market_data.instruments import Instrument
from market_data.providers.config import ProviderConfig, Quota, Rate
from market_data.records import Basis

__all__ = [
    "PROVIDERS",
    "SCENARIOS",
    "Behaviour",
    "Degradation",
    "Scenario",
    "Window",
    "calm",
    "hard",
    "rush",
    "shuffled",
]

PROVIDERS = ("polygon", "alpha_vantage", "stooq", "yahoo")
"""By priority."""


@dataclass(frozen=True, slots=True)
class Degradation:
    """The accepted share falls evenly to `worst` over `days` days from day `start`, then is as usual again."""

    start: int
    days: int
    worst: float

    def share(self, usual: float, day: int) -> float:
        """The accepted share on a day of the simulation."""
        done = (day - self.start) / self.days
        return usual + (self.worst - usual) * done if 0 <= done < 1 else usual


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a vendor answers.

    Attributes:
        accepted: share of its answers that pass validation.
        latency: seconds to an answer.
        transient: share of calls that fail for a moment.
        unknown: share of the symbols it has no bars for, which only a call can tell.
        outages: days of the simulation (first, first one after) on which each call times out.
    """

    accepted: float
    latency: float
    transient: float = 0.01
    unknown: float = 0.0
    outages: tuple[tuple[int, int], ...] = ()
    degradation: Degradation | None = None

    def is_out(self, day: int) -> bool:
        """Whether each call of the day times out."""
        return any(first <= day < after for first, after in self.outages)

    def share(self, day: int) -> float:
        """Share of a day's answers that pass validation."""
        return self.degradation.share(self.accepted, day) if self.degradation else self.accepted


@dataclass(frozen=True, slots=True)
class Window:
    """A piece of work: an instrument's sessions from `first` to `last`.

    Attributes:
        number: its place in the vendors' random numbers.
        only: the one vendor that serves the instrument; None for all.
        due: day of the simulation it fell due.
    """

    number: int
    instrument: Instrument
    only: str | None
    due: int
    first: date
    last: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Vendors and work. The first day begins at `start`, each sync at 00:15 UTC, and has `minutes` of time.

    Attributes:
        symbols: how many are synced each day.
        backfills: windows that fall due besides, by day.
    """

    name: str
    configs: tuple[ProviderConfig, ...]
    behaviours: dict[str, Behaviour]
    days: int = 90
    symbols: int = 250
    backfills: dict[int, int] = field(default_factory=dict)
    minutes: float = 30.0
    start: date = date(2025, 9, 1)

    def date_of(self, day: int) -> date:
        """The UTC date of a day of the simulation."""
        return self.start + timedelta(days=day)

    def synced(self, seed: int) -> list[tuple[Instrument, str | None]]:
        """Each symbol of the daily sync, and the one vendor that serves it where the others do not; in random order."""
        only = ["polygon"] * round(0.03 * self.symbols) + ["alpha_vantage"] * round(0.02 * self.symbols)
        pairs = [(Instrument(f"S{i:03}"), only[i] if i < len(only) else None) for i in range(self.symbols)]
        order = np.random.default_rng([seed, 0]).permutation(self.symbols)
        return [pairs[i] for i in order]

    def backfilled(self, day: int, seed: int) -> list[Window]:
        """Windows of a year that fall due on a day; 5 % of them are polygon's alone."""
        count = self.backfills.get(day, 0)
        single = set(np.random.default_rng([seed, 1, day]).permutation(count)[: round(0.05 * count)].tolist())
        last = self.date_of(day)
        return [
            Window(
                number=self.symbols + i,
                instrument=Instrument(f"B{day:02}.{i:03}"),
                only="polygon" if i in single else None,
                due=day,
                first=last - timedelta(days=365),
                last=last,
            )
            for i in range(count)
        ]


def _config(name: str, priority: int, zone: str, quotas: dict[str, int], rates: tuple[Rate, ...], **more: int):
    limits = tuple(Quota(period, limit) for period, limit in quotas.items())
    return ProviderConfig(
        name=name,
        priority=priority,
        tier="simulated",
        base_url="http://127.0.0.1",
        basis=Basis.RAW,
        quotas=limits,
        rates=rates,
        reset_zone=zone,
        **more,
    )


def _vendors(*, tight: bool) -> tuple[ProviderConfig, ...]:
    """The limits of `providers.yaml`, but for polygon's month, which is 1,000 calls where quotas are tight."""
    new_york = "America/New_York"
    minute, second = Rate(5, 60), Rate(1, 1)
    if not tight:
        plenty, fast = {"month": 200_000}, (Rate(20, 1),)
        return tuple(_config(name, i, "UTC", plenty, fast) for i, name in enumerate(PROVIDERS, start=1))
    return (
        _config("polygon", 1, new_york, {"month": 1_000}, (minute,), reach_days=730),
        _config("alpha_vantage", 2, new_york, {"month": 25_000, "day": 25}, (second,), reach_sessions=100),
        _config("stooq", 3, "Europe/Warsaw", {"month": 100_000, "day": 200}, (second,)),
        _config("yahoo", 4, "UTC", {"month": 200_000}, (second, Rate(30, 60))),
    )


def hard(seed: int = 0) -> Scenario:
    """Tight quotas, an outage of yahoo (5 days) and one of polygon (2), and stooq's decay over 30 days."""
    return _hard("hard", yahoo_out=24, polygon_out=70, decay=15)


def shuffled(seed: int = 0) -> Scenario:
    """The same with the bad spells at times that the seed draws."""
    random = np.random.default_rng([seed, 2])
    yahoo_out, polygon_out, decay = (int(random.integers(5, last)) for last in (80, 84, 58))
    return _hard("shuffled", yahoo_out=yahoo_out, polygon_out=polygon_out, decay=decay)


def calm(seed: int = 0) -> Scenario:
    """Nothing fails, each vendor serves everything and has calls to spare."""
    sound = {name: Behaviour(1.0, 0.5, transient=0.0) for name in PROVIDERS}
    return Scenario(name="calm", configs=_vendors(tight=False), behaviours=sound)


def rush(seed: int = 0) -> Scenario:
    """The hard scenario with 4 minutes a day, less than the vendors' rates need for the work."""
    return replace(hard(), name="rush", minutes=4.0)


def _hard(name: str, *, yahoo_out: int, polygon_out: int, decay: int) -> Scenario:
    return Scenario(
        name=name,
        configs=_vendors(tight=True),
        behaviours={
            "polygon": Behaviour(0.995, 0.3, outages=((polygon_out, polygon_out + 2),)),
            "alpha_vantage": Behaviour(0.99, 0.8),
            "stooq": Behaviour(0.97, 0.6, unknown=0.02, degradation=Degradation(decay, 30, 0.4)),
            "yahoo": Behaviour(0.97, 0.5, outages=((yahoo_out, yahoo_out + 5),)),
        },
        backfills={10: 600, 40: 600, 62: 600},
    )


SCENARIOS = {"hard": hard, "shuffled": shuffled, "calm": calm, "rush": rush}
