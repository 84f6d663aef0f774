"""Resources: each only holds a setting, or opens one of the project's plain objects."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import duckdb
from pydantic import Field

from market_data.clock import Clock, clock_of
from market_data.ingest.sources import Source, is_synthetic, open_source, vendor_catalogue
from market_data.instruments import Universe, load_universe
from market_data.providers.catalogue import keys_from_environment
from market_data.settings import Settings, load_settings
from market_data.warehouse.connection import Database

__all__ = [
    "AlphaVantageResource",
    "MarketDataResource",
    "PolygonResource",
    "StooqResource",
    "YahooResource",
]

_LIMITS = "Its tier, quotas, rates and reach stand in providers.yaml (MARKET_DATA_PROVIDERS names another file)."


class PolygonResource(dg.ConfigurableResource[None]):
    """Polygon (now Massive): raw bars, splits, dividends, and one call for all symbols of a session. Needs a key."""

    key: str = Field(default="", description=f"API key, sent as a bearer token; never stored or shown. {_LIMITS}")


class AlphaVantageResource(dg.ConfigurableResource[None]):
    """Alpha Vantage: raw bars; with a free key the last 100 sessions, 25 calls a day. Needs a key."""

    key: str = Field(default="", description=f"API key; redacted from every URL and body. {_LIMITS}")


class StooqResource(dg.ConfigurableResource[None]):
    """Stooq: bars adjusted for splits and dividends as of the fetch, by CSV. A key is asked for at times."""

    key: str = Field(default="", description=f"API key, optional; redacted from every URL. {_LIMITS}")


class YahooResource(dg.ConfigurableResource[None]):
    """Yahoo: bars adjusted for splits as of the fetch, with splits and dividends. It has no keys."""

    key: str = Field(default="", description=f"Unused: Yahoo has no keys. {_LIMITS}")


class MarketDataResource(dg.ConfigurableResource[None]):
    """The store and where its bars come from, as the MARKET_DATA_* settings say: the Stooq bulk archive of
    MARKET_DATA_ARCHIVE, the vendors with MARKET_DATA_SOURCE=vendors, or, until either is configured, the synthetic
    sandbox."""

    source: str = Field(
        default="",
        description="stooq_bulk, vendors, sandbox, or one of polygon, alpha_vantage, stooq, yahoo; "
        "empty: as MARKET_DATA_SOURCE says, else stooq_bulk once MARKET_DATA_ARCHIVE is set, else the sandbox",
    )
    polygon: PolygonResource = PolygonResource()
    alpha_vantage: AlphaVantageResource = AlphaVantageResource()
    stooq: StooqResource = StooqResource()
    yahoo: YahooResource = YahooResource()

    def settings(self) -> Settings:
        """The settings, read from environment and file."""
        return load_settings()

    def universe(self) -> Universe:
        """The instruments."""
        return load_universe(self.settings().universe)

    def source_name(self) -> str:
        """The source in use."""
        return self.source or self.settings().default_source

    def is_synthetic(self) -> bool:
        """Whether the source makes its data up."""
        return is_synthetic(self.source_name())

    def clock(self) -> Clock:
        """What time it is for the store in use."""
        return clock_of(self.settings(), synthetic=self.is_synthetic())

    def vendor_keys(self) -> dict[str, str]:
        """By vendor: the keys that resources hold; of vendors without a resource those of the environment."""
        held = {
            "polygon": self.polygon.key,
            "alpha_vantage": self.alpha_vantage.key,
            "stooq": self.stooq.key,
            "yahoo": self.yahoo.key,
        }
        catalogue = vendor_catalogue(self.settings())
        others = {name: config for name, config in catalogue.items() if name not in held}
        return {name: key.strip() for name, key in held.items() if key.strip()} | keys_from_environment(
            others, os.environ
        )

    @contextmanager
    def opened(self) -> Iterator[Source]:
        """The source, ready to be asked."""
        settings, clock = self.settings(), self.clock()
        with open_source(self.source_name(), settings, self.universe(), keys=self.vendor_keys(), clock=clock) as source:
            yield source

    @contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A short read-only connection to the canonical database."""
        settings = self.settings()
        database = Database(settings.database_for(synthetic=self.is_synthetic()), patience=settings.lock_patience)
        with database.reading() as connection:
            yield connection
