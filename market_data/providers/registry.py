"""The vendors by name, each with its client and its parser: the one place that names them all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from market_data.errors import SettingsError
from market_data.providers import alpha_vantage, polygon, stooq, yahoo
from market_data.providers.base import Clock, Permit, Provider, utc_now
from market_data.providers.bodies import Answer
from market_data.providers.config import ProviderConfig
from market_data.providers.http import HttpSource
from market_data.records import ParsedBars

__all__ = ["CLIENTS", "VENDORS", "Vendor", "open_client"]


@dataclass(frozen=True, slots=True)
class Vendor:
    """What asks a vendor, and what reads its answers."""

    client: Callable[..., Provider]
    parse: Callable[[bytes, Answer], ParsedBars]


VENDORS: dict[str, Vendor] = {
    "polygon": Vendor(polygon.PolygonClient, polygon.parse),
    "alpha_vantage": Vendor(alpha_vantage.AlphaVantageClient, alpha_vantage.parse),
    "stooq": Vendor(stooq.StooqClient, stooq.parse),
    "yahoo": Vendor(yahoo.YahooClient, yahoo.parse),
}
"""Every vendor there is a client for."""

CLIENTS = {name: vendor.client for name, vendor in VENDORS.items()}
"""The client of each."""


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
