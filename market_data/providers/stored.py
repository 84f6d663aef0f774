"""A provider that is not asked: it stands for payloads that are stored already."""

from __future__ import annotations

from dataclasses import dataclass

from market_data.errors import UnknownSymbol
from market_data.instruments import Instrument
from market_data.records import FetchRequest, RawPayload

__all__ = ["StoredProvider"]


@dataclass(frozen=True, slots=True)
class StoredProvider:
    """Payloads of the provider `name`, from the raw store alone."""

    name: str
    synthetic: bool

    def serves(self, instrument: Instrument) -> bool:
        """Whatever is stored can be read."""
        return True

    def fetch(self, instrument: Instrument, request: FetchRequest) -> RawPayload:
        """Always refused; only stored payloads are read."""
        raise UnknownSymbol(f"{request.symbol}: {self.name} is not asked, and nothing of it is stored")

    def close(self) -> None:
        """Nothing is open."""
