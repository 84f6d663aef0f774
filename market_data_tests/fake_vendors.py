"""Vendors that are never really asked, with real permits and a real ledger in the working directory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from market_data.instruments import Instrument
from market_data.providers.config import ProviderConfig
from market_data.records import Basis, FetchRequest, RawPayload
from market_data.selection.bandit import DayOfAnswers
from market_data.selection.choice import Choice
from market_data.selection.meter import Meter, RateLimiter
from market_data.selection.quota import QuotaLedger
from market_data.selection.vendors import Arm, QuotaAwareSelector

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
"""A Thursday before the market opens: the last completed session is 2026-01-14."""


class SettableClock:
    """Tells the time it was set to."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


class FakeVendor:
    """Serves every instrument but some; a choice must not ask it."""

    synthetic = False

    def __init__(self, name: str, unserved: Sequence[str]) -> None:
        self.name = name
        self._unserved = unserved

    def serves(self, instrument: Instrument) -> bool:
        return instrument.symbol not in self._unserved

    def fetch(self, instrument: Instrument, request: FetchRequest) -> RawPayload:
        raise AssertionError("a choice sends nothing")

    def close(self) -> None:
        """Nothing is open."""


class Market:
    """Vendors in order of priority, and selectors over them."""

    def __init__(self) -> None:
        self.clock = SettableClock()
        self.ledger = QuotaLedger(Path("calls.sqlite"), clock=self.clock)
        self.arms: list[Arm] = []

    def add(self, name: str, *, unusable: str | None = None, unserved: Sequence[str] = (), **limits) -> Market:
        """One more vendor; `limits` are fields of its configuration."""
        config = ProviderConfig(
            name=name, priority=len(self.arms) + 1, tier="free", base_url="", basis=Basis.RAW, **limits
        )
        limiter = RateLimiter(name, config.rates, Path("rates.sqlite"))
        meter = Meter(config, self.ledger, limiter, clock=lambda: 0.0)  # however slow the machine, permits stay fresh
        self.arms.append(Arm(config, None if unusable else FakeVendor(name, unserved), meter, unusable))
        return self

    def selector(
        self, *, symbols: int = 1, history: Sequence[DayOfAnswers] = (), seed: int = 0, job_id: str = "job"
    ) -> QuotaAwareSelector:
        """A selector that begins a job."""
        selector = QuotaAwareSelector(self.arms, self.ledger, seed=seed, clock=self.clock)
        selector.begin(job_id, symbols, history)
        return selector

    def spend(self, name: str, calls: int) -> None:
        """Count calls of a vendor."""
        for _ in range(calls):
            self.ledger.take(self.arm(name).config)

    def arm(self, name: str) -> Arm:
        """A vendor."""
        return next(arm for arm in self.arms if arm.config.name == name)

    def close(self) -> None:
        """Close the files."""
        for arm in self.arms:
            arm.meter.close()


def chosen(choice: Choice) -> str | None:
    """Name of the vendor to ask."""
    return choice.provider.name if choice.provider else None


def masks(choice: Choice) -> dict[str, str | None]:
    """Why vendors were passed over, by name."""
    return {item.provider: item.masked for item in choice.considered}
