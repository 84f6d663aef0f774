"""Where a run's bars come from, opened from its settings: the archive, or the synthetic market."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from market_data.errors import SettingsError
from market_data.instruments import Universe
from market_data.providers.base import Provider
from market_data.providers.http import HttpSource
from market_data.providers.stooq import StooqClient
from market_data.providers.stooq_bulk import StooqArchive, StooqBulk
from market_data.settings import Settings

__all__ = ["PROVIDERS", "Source", "open_source"]

PROVIDERS = ("stooq_bulk", "sandbox")
"""Providers a run can be told to use."""


@dataclass(frozen=True, slots=True)
class Source:
    """An opened provider.

    Attributes:
        label: what to call it in logs and reports.
        served: symbols of the universe it can serve at all; `all` means these.
        lacking: symbols of the universe it cannot serve.
        url: where it is served from, for a sandbox.
    """

    provider: Provider
    label: str
    served: list[str]
    lacking: list[str]
    url: str = ""

    @property
    def synthetic(self) -> bool:
        """Whether its data is made up."""
        return self.provider.synthetic


@contextmanager
def open_source(name: str, settings: Settings, universe: Universe, *, keep_index: bool = True) -> Iterator[Source]:
    """The provider `name`, ready to be asked, closed afterwards.

    Args:
        keep_index: whether what is learned of an archive's files is kept for the next run.

    Raises:
        SettingsError: an unknown provider, or one that lacks its setting.
        ArchiveError: the archive can't be used.
    """
    if name == "stooq_bulk":
        yield from _archive(settings, universe, settings.runtime / "archives" if keep_index else None)
    elif name == "sandbox":
        yield from _sandbox(settings, universe)
    else:
        raise SettingsError(f"provider {name!r} is unknown; known are {', '.join(PROVIDERS)}")


def _archive(settings: Settings, universe: Universe, index_folder: Path | None) -> Iterator[Source]:
    if settings.archive is None:
        raise SettingsError("stooq_bulk needs an archive; give --archive PATH or set MARKET_DATA_ARCHIVE")
    archive = StooqArchive(settings.archive, index_folder=index_folder)
    provider = StooqBulk(archive)
    served = [symbol for symbol, instrument in universe.items() if provider.serves(instrument)]
    lacking = [symbol for symbol in universe if symbol not in set(served)]
    try:
        yield Source(provider, f"stooq_bulk ({settings.archive.name})", served, lacking)
    finally:
        provider.close()


def _sandbox(settings: Settings, universe: Universe) -> Iterator[Source]:
    if settings.sandbox_url is not None:
        yield from _sandbox_at(settings.sandbox_url, universe)
        return
    from market_data.sandbox.server import Sandbox

    with Sandbox(universe, start=settings.window_start, end=settings.window_end, seed=settings.sandbox_seed) as sandbox:
        yield from _sandbox_at(sandbox.url, universe)


def _sandbox_at(url: str, universe: Universe) -> Iterator[Source]:
    provider = StooqClient("sandbox", HttpSource(f"{url.rstrip('/')}/stooq"), synthetic=True)
    try:
        yield Source(provider, "sandbox (synthetic)", list(universe), [], url.rstrip("/"))
    finally:
        provider.close()
