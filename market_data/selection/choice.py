"""Which provider is asked for a symbol's sessions: what a selector is told, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

from market_data.errors import ProviderError
from market_data.instruments import Instrument
from market_data.providers.base import Provider
from market_data.selection.bandit import DayOfAnswers, Draw

__all__ = ["Choice", "Considered", "GivenOrder", "Outcome", "Selector", "Wanted"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Sessions of an instrument to be fetched, from `first` to `last`, and the providers tried for them before.

    Attributes:
        interval: of the bars, "1d" or shorter.
        is_live: whether minutes of the session under way are wanted, again and again: only a provider that can be
            asked for the newest ones alone will do, one whose client has `asks_since`.
    """

    instrument: Instrument
    first: date
    last: date
    tried: tuple[str, ...] = ()
    interval: str = "1d"
    is_live: bool = False


@dataclass(frozen=True, slots=True)
class Considered:
    """A provider at the moment of a choice: why it was passed over, or what was drawn for it."""

    provider: str
    masked: str | None = None
    draw: Draw | None = None

    def told(self) -> dict[str, Any]:
        """The provider as part of the audit's `decision`."""
        if self.draw is None:
            return {"provider": self.provider} | ({"masked": self.masked} if self.masked else {})
        draw = self.draw
        numbers = {"draw": draw.draw, "speed": draw.speed, "scarcity": draw.scarcity, "value": draw.value}
        told: dict[str, Any] = {"provider": self.provider}
        # In full: what is drawn from a distribution can differ much with the last digit of its parameters.
        told |= {"alpha": draw.alpha, "beta": draw.beta}
        told |= {name: round(value, 4) for name, value in numbers.items()}
        return told | ({"masked": self.masked} if self.masked else {})


@dataclass(frozen=True, slots=True)
class Choice:
    """The provider to ask (None when none may be asked), and everything that was considered.

    Attributes:
        point_in_time_tickers: whether it knows an instrument by its name of the time, so that a request must not span
            a rename.
    """

    provider: Provider | None
    considered: tuple[Considered, ...] = ()
    point_in_time_tickers: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a provider's answer came to.

    Attributes:
        accepted: whether its bars passed validation; False for a rejected batch too.
        error: why it gave no bars to judge.
        latency_ms: time to the complete answer.
        first: the earliest date that was asked for.
    """

    provider: str
    accepted: bool
    error: ProviderError | None = None
    latency_ms: float | None = None
    first: date | None = None


class Selector(Protocol):
    """Chooses providers; safe to share between threads."""

    def begin(self, job_id: str, symbols: int, history: Sequence[DayOfAnswers]) -> None:
        """A job over some symbols begins; what providers answered on the days before is told."""
        ...

    def choose(self, wanted: Wanted) -> Choice:
        """The provider to ask next; the caller asks it at once, in the same thread."""
        ...

    def choose_each(self, wanted: Sequence[Wanted]) -> list[Choice]:
        """The provider to ask for each of many; no permit is taken, so each call waits for its provider's rate."""
        ...

    def choose_for_all(self, sessions: Sequence[date], symbols: int) -> Choice:
        """The provider to ask for all symbols at once, a call a session, where that costs less than a call a symbol."""
        ...

    def tell(self, outcome: Outcome) -> None:
        """An answer was judged."""
        ...


class GivenOrder:
    """Tries the providers in the order given, leaving out those that do not serve the instrument."""

    def __init__(self, providers: Sequence[Provider]) -> None:
        self._providers = tuple(providers)

    def begin(self, job_id: str, symbols: int, history: Sequence[DayOfAnswers]) -> None:
        """Nothing is learned."""

    def choose(self, wanted: Wanted) -> Choice:
        """The first provider that serves the instrument and was not tried."""
        refused = []
        for provider in self._providers:
            if provider.name in wanted.tried:
                refused.append(Considered(provider.name, "tried before"))
            elif not provider.serves(wanted.instrument):
                refused.append(Considered(provider.name, "does not serve this instrument"))
            else:
                return Choice(provider)
        return Choice(None, tuple(refused))

    def choose_each(self, wanted: Sequence[Wanted]) -> list[Choice]:
        """As `choose`, for each."""
        return [self.choose(one) for one in wanted]

    def choose_for_all(self, sessions: Sequence[date], symbols: int) -> Choice:
        """None; each symbol is asked for by itself."""
        return Choice(None)

    def tell(self, outcome: Outcome) -> None:
        """Nothing is learned."""
