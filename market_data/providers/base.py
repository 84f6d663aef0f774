"""What every provider is: a client that gives payloads. Its parser is a pure function beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol

from market_data.clock import Clock, utc_now
from market_data.instruments import Instrument
from market_data.records import FetchRequest, RawPayload

__all__ = ["Clock", "Permit", "Provider", "sha256_hex", "utc_now"]

Permit = Callable[[], None]
"""Called before each request that is sent, retries included: waits for the rate, counts the call against the quotas,
and raises `QuotaExhausted` (nothing is sent then) where none is left."""


def sha256_hex(body: bytes) -> str:
    """Hex SHA-256 of a body, the address of a payload."""
    return hashlib.sha256(body).hexdigest()


class Provider(Protocol):
    """A source of raw payloads; safe to call from several threads.

    Attributes:
        name: what is stored as `source_provider`.
        synthetic: whether its data is made up and must never meet real data.
    """

    @property
    def name(self) -> str: ...

    @property
    def synthetic(self) -> bool: ...

    def serves(self, instrument: Instrument) -> bool:
        """Whether it is worth asking for the instrument at all; costs no call."""
        ...

    def fetch(self, instrument: Instrument, request: FetchRequest) -> RawPayload:
        """One answer for the request, retries included.

        Raises:
            ProviderError: no usable answer; its class says why.
        """
        ...

    def close(self) -> None:
        """Release connections and files."""
        ...
