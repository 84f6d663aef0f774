"""Resources: each only builds or opens one of the project's plain objects."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import duckdb
from pydantic import Field

from market_data.ingest.sources import Source, open_source
from market_data.instruments import Universe, load_universe
from market_data.settings import Settings, load_settings
from market_data.warehouse.connection import Database

__all__ = ["MarketDataResource"]


class MarketDataResource(dg.ConfigurableResource[None]):
    """The store and where its bars come from, as the MARKET_DATA_* settings say.

    Bars come from the Stooq bulk archive of MARKET_DATA_ARCHIVE; until one is configured, from the synthetic sandbox.
    """

    provider: str = Field(
        default="",
        description="stooq_bulk or sandbox; empty: stooq_bulk once MARKET_DATA_ARCHIVE is set, else the sandbox",
    )

    def settings(self) -> Settings:
        """The settings, read from environment and file."""
        return load_settings()

    def universe(self) -> Universe:
        """The instruments."""
        return load_universe(self.settings().universe)

    def provider_name(self) -> str:
        """The provider in use."""
        return self.provider or self.settings().default_provider

    def is_synthetic(self) -> bool:
        """Whether the provider makes its data up."""
        return self.provider_name() == "sandbox"

    @contextmanager
    def source(self) -> Iterator[Source]:
        """The provider, opened."""
        with open_source(self.provider_name(), self.settings(), self.universe()) as source:
            yield source

    @contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A short read-only connection to the canonical database."""
        settings = self.settings()
        database = Database(settings.database_for(synthetic=self.is_synthetic()), patience=settings.lock_patience)
        with database.reading() as connection:
            yield connection
