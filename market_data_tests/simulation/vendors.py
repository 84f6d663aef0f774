"""Vendors that answer at once in simulated time; their permits and the ledger of calls are the real ones."""

from __future__ import annotations

import sqlite3
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from market_data.errors import ProviderError, Transient, UnknownSymbol
from market_data.instruments import Instrument
from market_data.providers.base import Permit
from market_data.providers.config import ProviderConfig, Rate
from market_data.providers.http import MAX_ATTEMPTS
from market_data.selection.quota import QuotaLedger, period_of
from market_data_tests.simulation.scenario import Behaviour, Scenario, Window

__all__ = ["Answer", "SimulatedClock", "SimulatedLimiter", "SimulatedVendor", "SwiftLedger"]

TIMEOUT = 10.0
"""Seconds until a call to a vendor that is down fails, as long as the HTTP layer waits to connect."""
FIRST_WAIT = 0.5
"""Seconds before the second attempt, doubled for each further one, as in the HTTP layer."""


class SimulatedClock:
    """A clock that only moves when told to."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        """The time as a number that only grows."""
        return self.now.timestamp()

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)


class SimulatedLimiter:
    """Sliding windows on the simulated clock, in the place of the limiter that goes by wall time."""

    def __init__(self, rates: tuple[Rate, ...], clock: SimulatedClock) -> None:
        self._clock = clock
        self._taken = [(rate, deque(maxlen=rate.limit)) for rate in rates]

    def ready_in(self) -> float:
        """Seconds until a permit can be had."""
        now = self._clock.now
        full = [(rate, taken[0]) for rate, taken in self._taken if len(taken) == rate.limit]
        return max((rate.seconds - (now - oldest).total_seconds() for rate, oldest in full), default=0.0)

    def try_take(self) -> bool:
        """Take a permit if one is to be had now."""
        if self.ready_in() > 0:
            return False
        for _, taken in self._taken:
            taken.append(self._clock.now)
        return True

    def wait(self) -> None:
        """Take a permit, letting time pass until it is to be had."""
        while not self.try_take():
            self._clock.pass_by(self.ready_in())


class SwiftLedger(QuotaLedger):
    """The real ledger over one connection that stays open and is not synced to the disk.

    A run asks it some 150,000 times. What it does and stores is the same; what it would survive is not simulated.
    """

    def __init__(self, file: Path, *, clock: SimulatedClock) -> None:
        super().__init__(file, clock=clock)
        with super()._connection():
            pass
        self._open = sqlite3.connect(file, isolation_level=None)
        self._open.execute("PRAGMA synchronous = OFF")
        self._open.execute("PRAGMA journal_mode = MEMORY")

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        yield self._open

    def close_file(self) -> None:
        """Close the connection."""
        self._open.close()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of asking a vendor for a window: the calls sent, whether its bars pass, or an error; seconds taken."""

    calls: int
    accepted: bool
    error: ProviderError | None = None
    latency_ms: float | None = None


class SimulatedVendor:
    """A vendor of the scenario. What it says to a window on a day is the same whoever asks, and however often.

    Attributes:
        received: calls by period that began, counted by the vendor itself.
        calls_by_day: calls by day of the simulation.
    """

    synthetic = True

    def __init__(
        self, config: ProviderConfig, behaviour: Behaviour, permit: Permit, clock: SimulatedClock, seed: int
    ) -> None:
        self.name = config.name
        self.received: Counter[tuple[str, str]] = Counter()
        self.calls_by_day: Counter[int] = Counter()
        self._config = config
        self._behaviour = behaviour
        self._permit = permit
        self._clock = clock
        self._seed = [seed, 3, *self.name.encode()]
        self._only: dict[str, str] = {}
        self._day = -1
        self._luck = np.empty((0, 2))
        self._unknown: set[str] = set()

    def begin(self, scenario: Scenario, day: int, only: dict[str, str], symbols: list[str]) -> None:
        """A day begins.

        Args:
            only: the one vendor of each symbol that others do not serve.
            symbols: all that can be asked for.
        """
        self._day, self._only = day, only
        windows = scenario.symbols + max(scenario.backfills.values(), default=0)
        self._luck = np.random.default_rng([*self._seed, day]).random((windows, 2))
        draws = np.random.default_rng(self._seed).random(len(symbols))
        self._unknown = {s for s, draw in zip(symbols, draws, strict=True) if draw < self._behaviour.unknown}

    def serves(self, instrument: Instrument) -> bool:
        """Whether it is known to have the instrument."""
        return self._only.get(instrument.symbol, self.name) == self.name

    def answer(self, window: Window) -> Answer:
        """Ask for a window, with the retries of the HTTP layer."""
        failing, quality = self._failing(window), self._luck[window.number, 1]
        began, calls = self._clock.now, 0
        try:
            while True:
                self._permit()
                calls += 1
                self._count()
                if calls > failing:
                    break
                self._clock.pass_by(TIMEOUT if self._behaviour.is_out(self._day) else self._behaviour.latency)
                if calls == MAX_ATTEMPTS:
                    raise Transient(f"{self.name} fails")
                self._clock.pass_by(FIRST_WAIT * 2 ** (calls - 1))
            self._clock.pass_by(self._behaviour.latency)
            if window.instrument.symbol in self._unknown:
                raise UnknownSymbol(f"{self.name} has no {window.instrument.symbol}")
        except ProviderError as error:
            return Answer(calls, accepted=False, error=error)
        latency = (self._clock.now - began).total_seconds() * 1000
        return Answer(calls, accepted=bool(quality < self._behaviour.share(self._day)), latency_ms=latency)

    def exceeded(self) -> int:
        """Calls received beyond a quota."""
        limits = {quota.period: quota.limit for quota in self._config.quotas}
        return sum(max(0, count - limits[period]) for (period, _), count in self.received.items())

    def _failing(self, window: Window) -> int:
        """How many attempts in a row fail."""
        if self._behaviour.is_out(self._day):
            return MAX_ATTEMPTS
        luck, chance = self._luck[window.number, 0], self._behaviour.transient
        return next((n for n in range(MAX_ATTEMPTS) if luck >= chance ** (n + 1)), MAX_ATTEMPTS)

    def _count(self) -> None:
        self.calls_by_day[self._day] += 1
        for quota in self._config.quotas:
            first, _ = period_of(quota, self._config.reset_zone, self._clock.now.astimezone(UTC))
            self.received[quota.period, first.isoformat()] += 1
