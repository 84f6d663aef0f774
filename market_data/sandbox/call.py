"""A request to a vendor as the sandbox understands it, and the answer to it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

from market_data.records import EVERY
from market_data.sandbox.faults import Fault

__all__ = ["Answer", "Call"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back.

    Attributes:
        is_error: whether it tells of an error, whatever its status.
        outcome: what it is counted as; empty to be told from the faults of the call and `is_error`.
        promised: content length to announce; None for that of the body. A greater one closes the connection early.
    """

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    is_error: bool = False
    outcome: str = ""
    promised: int | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    Attributes:
        vendor: who is asked.
        base_url: the vendor's base URL here.
        path: below the base URL.
        parts: what stands in the path, by name.
        query: parameters, without the key.
        key: as received, empty for none; it is shown nowhere.
        ticker: the instrument as it was asked for; None for all of them.
        symbol: its canonical symbol; None for one the vendor does not know, and for all of them.
        faults: those that fall on this call.
        now: epoch second at which it is answered, by the market's clock.
    """

    vendor: str
    base_url: str
    path: str
    parts: Mapping[str, str]
    query: Mapping[str, str]
    key: str = field(default="", repr=False)
    ticker: str | None = None
    symbol: str | None = None
    faults: tuple[Fault, ...] = ()
    now: int = 0

    @property
    def counted_as(self) -> str:
        """The symbol, for an unknown instrument the ticker (20 characters of it), `*` for all."""
        return EVERY if self.ticker is None else self.symbol or self.ticker[:20]

    @property
    def request_id(self) -> str:
        """32 hex digits, the same for the same request."""
        told = f"{self.vendor}{self.path}?{urlencode(sorted(self.query.items()))}"
        return hashlib.md5(told.encode(), usedforsecurity=False).hexdigest()
