"""The backfill in the three steps of the asset graph, each for one session or a range of them.

`fetch` writes the raw store and the coverage; `load` reads stored payloads and writes prices, without any provider;
`complete` sees to it that every expected session has a verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import pandas as pd

from market_data.errors import MarketDataError
from market_data.ingest.backfill import Acquired, Backfill, BackfillRequest, Summary
from market_data.ingest.sources import Source
from market_data.ingest.unit import expected_sessions
from market_data.instruments import Universe
from market_data.providers.base import Clock, utc_now
from market_data.selection.choice import GivenOrder
from market_data.sessions import last_completed_session
from market_data.settings import Settings
from market_data.warehouse.connection import Database
from market_data.warehouse.holdings import asked_symbols, read_holdings
from market_data.warehouse.quality import complete_quality_log
from market_data.warehouse.store import transaction

__all__ = ["Fetched", "asking", "complete", "fetch", "load"]


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came of fetching.

    Attributes:
        answered: symbols with a stored payload for the span, from now or before.
        calls: requests sent now.
        size: bytes of the payloads received now.
        failed: reason by symbol.
        lacking: symbols of the universe the source does not have.
        by_provider: number of symbols each provider was asked for now.
    """

    answered: list[str]
    calls: int
    size: int
    failed: dict[str, str]
    lacking: list[str]
    by_provider: dict[str, int]

    @classmethod
    def of(
        cls,
        symbols: Sequence[str],
        acquired: Sequence[Acquired],
        source: Source,
        failed: Mapping[str, str] | None = None,
    ) -> Fetched:
        """What asking `source` for `symbols` came to.

        Args:
            failed: further reasons, of what was asked for besides.
        """
        reasons = dict(failed or {}) | {item.symbol: item.failed for item in acquired if item.failed is not None}
        return cls(
            answered=[symbol for symbol in symbols if symbol not in reasons],
            calls=sum(item.calls for item in acquired),
            size=sum(item.size for item in acquired),
            failed=reasons,
            lacking=[symbol for symbol in source.lacking if symbol in symbols],
            by_provider=dict(Counter(provider for item in acquired for provider in item.asked)),
        )


def asking(settings: Settings, universe: Universe, source: Source, clock: Clock) -> Backfill:
    """A backfill that asks `source`."""
    return Backfill(
        settings=settings,
        universe=universe,
        selector=source.selector,
        synthetic=source.synthetic,
        provider_label=source.name,
        concurrency=source.concurrency,
        clock=clock,
    )


def fetch(
    settings: Settings,
    universe: Universe,
    source: Source,
    *,
    symbols: Sequence[str],
    start: date,
    end: date,
    job_id: str,
    retry_rejected: bool = False,
    clock: Clock = utc_now,
) -> Fetched:
    """Have a stored payload for every symbol; what is stored already is not asked for again."""
    work = asking(settings, universe, source, clock)
    acquired = work.acquire(BackfillRequest(symbols, start, end, job_id, retry_rejected=retry_rejected))
    return replace(Fetched.of(symbols, acquired, source), lacking=source.lacking)


def load(
    settings: Settings,
    universe: Universe,
    *,
    label: str,
    synthetic: bool,
    start: date,
    end: date,
    job_id: str,
    clock: Clock = utc_now,
) -> Summary:
    """Judge and store what the stored payloads say of the span; asks no provider.

    Args:
        label: what the job is said to have its bars from.

    Raises:
        MarketDataError: no payload was ever asked for.
    """
    database = Database(settings.database_for(synthetic=synthetic), patience=settings.lock_patience)
    symbols: list[str] = []
    if database.exists():
        with database.reading() as connection:
            symbols = [symbol for symbol in asked_symbols(connection) if symbol in universe]
    if not symbols:
        raise MarketDataError(f"{label} was never asked for anything; materialize raw_bars for these partitions first")
    work = Backfill(
        settings=settings,
        universe=universe,
        selector=GivenOrder([]),
        synthetic=synthetic,
        provider_label=label,
        clock=clock,
    )
    return work.run(BackfillRequest(symbols, start, end, job_id, kind="materialize", reread=True, may_fetch=False))


def complete(
    settings: Settings,
    universe: Universe,
    *,
    symbols: Sequence[str],
    synthetic: bool,
    start: date,
    end: date,
    clock: Clock = utc_now,
) -> int:
    """Give every expected session of the span a verdict; returns how many had none."""
    database = Database(settings.database_for(synthetic=synthetic), patience=settings.lock_patience)
    now = clock()
    last = min(end, last_completed_session(now))
    with database.writing() as connection, transaction(connection):
        holdings = read_holdings(connection, symbols, start, end)
        expected: dict[str, pd.DatetimeIndex] = {
            symbol: expected_sessions(universe[symbol], holdings[symbol], start, last) for symbol in symbols
        }
        return complete_quality_log(connection, expected, now=now)
