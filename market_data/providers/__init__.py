"""Where bars come from: clients that fetch payloads, pure parsers that read them, one registry of both."""

from __future__ import annotations

from datetime import datetime

from market_data.errors import BadPayload
from market_data.providers.base import Provider
from market_data.providers.stooq import parse_ascii, parse_csv
from market_data.records import ParsedBars

__all__ = ["PARSERS", "Provider", "parse"]

PARSERS = ("sandbox", "stooq", "stooq_bulk")
"""Names `parse` knows; the sandbox speaks Stooq's CSV."""


def parse(
    provider: str,
    body: bytes,
    *,
    symbol: str,
    interval: str = "1d",
    status: int = 200,
    content_type: str | None = None,
    url: str | None = None,
    fetched_at: datetime | None = None,
    ticker: str | None = None,
) -> ParsedBars:
    """Read a provider's body; pure: no clock, no network, nothing kept.

    Args:
        provider: one of `PARSERS`.
        symbol: canonical symbol the body is for.
        interval: "1d"; the providers here serve no other.
        status: HTTP status; only 200 carries bars.
        content_type, url: as received; not needed by these formats.
        fetched_at: instant of the download (UTC).
        ticker: the provider's spelling of the symbol, where it is not the regular one.

    Raises:
        ProviderError: the subclass tells an empty answer, a limit, an access control or a broken body apart.
        ValueError: an unknown provider or interval.
    """
    if provider not in PARSERS:
        raise ValueError(f"provider {provider!r} is unknown; known are {', '.join(PARSERS)}")
    if interval != "1d":
        raise ValueError(f"interval {interval!r} is not served by {provider}; it serves 1d")
    if status != 200:
        raise BadPayload(f"{symbol}: HTTP status {status} carries no bars")
    if provider == "stooq_bulk":
        return parse_ascii(body, symbol=symbol, ticker=ticker)
    return parse_csv(body, symbol=symbol, fetched_at=fetched_at)
