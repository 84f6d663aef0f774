"""Which providers may answer for an instrument, and in which order they are tried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from market_data.instruments import Instrument
from market_data.providers.base import Provider
from market_data.records import FetchRequest

__all__ = ["Candidate", "GivenOrder", "Selector"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A provider, and why it is passed over (None: it may be asked)."""

    provider: Provider
    masked: str | None = None


class Selector(Protocol):
    """Chooses providers for a request, best first, masked ones included so that a decision can be explained."""

    def candidates(self, instrument: Instrument, request: FetchRequest) -> Iterator[Candidate]:
        """Candidates in the order they are to be tried."""
        ...


class GivenOrder:
    """Tries the providers in the order given, leaving out those that do not serve the instrument."""

    def __init__(self, providers: Sequence[Provider]) -> None:
        self._providers = tuple(providers)

    def candidates(self, instrument: Instrument, request: FetchRequest) -> Iterator[Candidate]:
        """Every provider, masked where it does not serve the instrument."""
        for provider in self._providers:
            masked = None if provider.serves(instrument) else "does not serve this instrument"
            yield Candidate(provider, masked)
