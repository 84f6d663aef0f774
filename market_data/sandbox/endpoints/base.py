"""What an endpoint is: a path below a vendor's base URL, whom a call is about, and how it is answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from market_data.sandbox.call import Answer, Call
from market_data.sandbox.served import ServedMarket

__all__ = ["Endpoint"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One of a vendor's paths.

    Attributes:
        path: below `/{vendor}`, with names in braces.
        ticker: the instrument asked for, from the parts of the path and the query; None for all of them.
        answer: what is sent back where no fault, limit or key stands in the way.
    """

    vendor: str
    path: str
    ticker: Callable[[Mapping[str, str], Mapping[str, str]], str | None]
    answer: Callable[[ServedMarket, Call], Answer]
