"""The vendors by name, each with its client; their parsers stand in `market_data.providers.PARSERS`."""

from __future__ import annotations

from collections.abc import Callable

from market_data.errors import SettingsError
from market_data.providers.alpha_vantage import AlphaVantageClient
from market_data.providers.base import Clock, Permit, Provider, utc_now
from market_data.providers.config import ProviderConfig
from market_data.providers.http import HttpSource
from market_data.providers.polygon import PolygonClient
from market_data.providers.stooq import StooqClient
from market_data.providers.yahoo import YahooClient

__all__ = ["CLIENTS", "open_client"]

CLIENTS: dict[str, Callable[..., Provider]] = {
    "polygon": PolygonClient,
    "alpha_vantage": AlphaVantageClient,
    "stooq": StooqClient,
    "yahoo": YahooClient,
}


def open_client(
    config: ProviderConfig,
    *,
    key: str | None = None,
    permit: Permit | None = None,
    synthetic: bool = False,
    wait: float = 0.5,
    clock: Clock = utc_now,
) -> Provider:
    """A vendor's client over an HTTP source of its own.

    Args:
        permit: called before each request that is sent.
        synthetic: whether the server makes its data up; what it says of itself must agree.
        wait: seconds before the second attempt of a request.

    Raises:
        SettingsError: the vendor is not in the registry.
    """
    if config.name not in CLIENTS:
        raise SettingsError(f"provider {config.name!r} is unknown; known are {', '.join(CLIENTS)}")
    http = HttpSource(
        config.base_url,
        user_agent=config.user_agent or "market-data",
        secrets=[key] if key else [],
        concurrency=config.concurrency,
        permit=permit,
        synthetic=synthetic,
        wait=wait,
    )
    return CLIENTS[config.name](config, http, key=key, synthetic=synthetic, clock=clock)
