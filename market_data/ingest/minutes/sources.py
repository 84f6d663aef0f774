"""An archive's intraday files as a source, beside the vendors, and what may be asked of either."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date

from market_data.clock import Clock, utc_now
from market_data.errors import SettingsError
from market_data.ingest.backfill import check_span
from market_data.ingest.sources import Source
from market_data.instruments import Universe
from market_data.providers.stooq_bulk import StooqArchive, StooqBulk
from market_data.providers.stooq_clock import MINUTES as ARCHIVED
from market_data.selection.choice import GivenOrder
from market_data.sessions import sessions_between
from market_data.settings import Settings
from market_data.warehouse.intraday import INTERVALS

__all__ = ["check_request", "intraday_archive"]

_READERS = 4


def check_request(start: date, end: date, interval: str, source: Source) -> None:
    """Refuse a span or an interval that cannot be.

    Raises:
        SettingsError: names the value and what would do; dates outside the known calendar among them.
    """
    check_span(start, end)
    sessions_between(start, end)
    known = list(INTERVALS) if source.arms else list(ARCHIVED)
    if source.arms:
        # By the clock, their first hour would hold the half hour before the opening.
        known.remove("1h")
    if interval not in known:
        raise SettingsError(f"interval {interval!r} is not to be had from {source.name}; {', '.join(known)} are")


@contextmanager
def intraday_archive(
    settings: Settings, universe: Universe, interval: str, *, keep_index: bool = True, clock: Clock = utc_now
) -> Iterator[Source]:
    """The configured bulk archive as a source of its intraday files; it needs no daily ones.

    Raises:
        SettingsError: no archive is configured, or it has no files of the interval.
        ArchiveError: it cannot be used, or holds no file of the interval.
    """
    if settings.archive is None:
        raise SettingsError("stooq_bulk needs an archive; give --archive PATH or set MARKET_DATA_ARCHIVE")
    if interval not in ARCHIVED:
        raise SettingsError(f"interval {interval!r} is not to be had from stooq_bulk; {', '.join(ARCHIVED)} are")
    folder = settings.runtime / "archives" if keep_index else None
    with ExitStack() as stack:
        provider = StooqBulk(StooqArchive(settings.archive, index_folder=folder, interval=interval), clock=clock)
        stack.callback(provider.close)
        served = [symbol for symbol, instrument in universe.items() if provider.serves(instrument)]
        yield Source(
            name=provider.name,
            label=f"stooq_bulk ({settings.archive.name})",
            selector=GivenOrder([provider]),
            synthetic=False,
            served=served,
            lacking=[symbol for symbol in universe if symbol not in set(served)],
            concurrency=min(settings.concurrency, _READERS),
            clock=clock,
        )
