"""Where bars come from: clients that fetch payloads, pure parsers that read them, one registry of each."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime

from market_data.errors import BadPayload
from market_data.instruments import Instrument
from market_data.providers import stooq
from market_data.providers.base import Provider
from market_data.providers.bodies import MAX_BODY, Answer
from market_data.providers.registry import VENDORS
from market_data.records import ParsedBars

__all__ = ["PARSERS", "POINT_IN_TIME_TICKERS", "Provider", "parse"]

PARSERS: dict[str, Callable[[bytes, Answer], ParsedBars]] = {
    **{name: vendor.parse for name, vendor in VENDORS.items()},
    "stooq_bulk": stooq.parse_bulk,
}
"""The parser of each provider's bodies."""

POINT_IN_TIME_TICKERS = frozenset({"polygon"})
"""Providers whose bars of a date are under the ticker of that date, as `providers.yaml` says of them too."""

_INTERVAL = re.compile(r"1d|(1|5|15|30|60)m|1h")


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
        interval: "1d", or the length of intraday bars: "1m", "5m", "15m", "30m", "60m", "1h".
        status: HTTP status.
        content_type, url: as received, where known; they help to tell what the bytes mean.
        fetched_at: instant of the download (UTC); a bar of a session that was open then is dropped.
        ticker: the provider's spelling of the symbol; by default the regular one.

    Raises:
        ProviderError: the subclass tells an empty answer, a limit, an access control or a broken body apart.
        ValueError: an unknown provider or interval.
    """
    if provider not in PARSERS:
        raise ValueError(f"provider {provider!r} is unknown; known are {', '.join(PARSERS)}")
    if not _INTERVAL.fullmatch(interval):
        raise ValueError(f"interval {interval!r} is unknown; known are 1d, 1m, 5m, 15m, 30m, 60m, 1h")
    if len(body) > MAX_BODY:
        raise BadPayload(f"{symbol}: the body has {len(body):,} bytes, more than {MAX_BODY:,}")
    answer = Answer(
        symbol=symbol,
        ticker=ticker or Instrument(symbol).ticker(provider),
        interval="1h" if interval == "60m" else interval,
        status=status,
        content_type=content_type,
        url=url,
        fetched_at=fetched_at,
    )
    return PARSERS[provider](body, answer)
