"""The backfill in the three steps of the asset graph, each for one session or a range of them.

`fetch` writes the raw store and the coverage; `load` reads stored payloads and writes prices, without any provider;
`complete` sees to it that every expected session has a verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import pandas as pd

from market_data.errors import MarketDataError, UnknownSymbol
from market_data.ingest.backfill import Backfill, BackfillRequest, Summary
from market_data.ingest.sources import Source
from market_data.ingest.unit import expected_sessions
from market_data.instruments import Universe
from market_data.providers.base import Clock, utc_now
from market_data.providers.stored import StoredProvider
from market_data.selection.order import GivenOrder
from market_data.sessions import last_completed_session
from market_data.settings import Settings
from market_data.warehouse.connection import Database
from market_data.warehouse.holdings import asked_symbols, read_holdings
from market_data.warehouse.quality import complete_quality_log
from market_data.warehouse.store import transaction

__all__ = ["Fetched", "complete", "fetch", "load"]


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came of fetching.

    Attributes:
        answered: symbols with a stored payload for the span, from now or before.
        calls: requests sent now.
        size: bytes of the payloads received now.
        failed: reason by symbol.
        lacking: symbols of the universe the source does not have.
    """

    answered: list[str]
    calls: int
    size: int
    failed: dict[str, str]
    lacking: list[str]


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
    work = Backfill(
        settings=settings,
        universe=universe,
        selector=GivenOrder([source.provider]),
        synthetic=source.synthetic,
        provider_label=source.provider.name,
        clock=clock,
    )
    prepared = work.acquire(BackfillRequest(symbols, start, end, job_id, retry_rejected=retry_rejected))
    last = {item.task.instrument.symbol: item.attempts[-1] for item in prepared}
    failed = {
        symbol: str(attempt.error)
        for symbol, attempt in last.items()
        if attempt.error is not None and not isinstance(attempt.error, UnknownSymbol)
    }
    return Fetched(
        answered=[symbol for symbol in last if symbol not in failed],
        calls=sum(attempt.calls for item in prepared for attempt in item.attempts),
        size=sum(attempt.stored.size for attempt in last.values() if attempt.stored and attempt.calls),
        failed=failed,
        lacking=source.lacking,
    )


def load(
    settings: Settings,
    universe: Universe,
    *,
    provider: str,
    synthetic: bool,
    start: date,
    end: date,
    job_id: str,
    clock: Clock = utc_now,
) -> Summary:
    """Judge and store what the stored payloads of a provider say of the span; asks no provider.

    Raises:
        MarketDataError: no payload was ever asked for.
    """
    database = Database(settings.database_for(synthetic=synthetic), patience=settings.lock_patience)
    symbols: list[str] = []
    if database.exists():
        with database.reading() as connection:
            symbols = [symbol for symbol in asked_symbols(connection, provider) if symbol in universe]
    if not symbols:
        raise MarketDataError(
            f"{provider} was never asked for anything; materialize raw_bars for these partitions first"
        )
    work = Backfill(
        settings=settings,
        universe=universe,
        selector=GivenOrder([StoredProvider(provider, synthetic)]),
        synthetic=synthetic,
        provider_label=provider,
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
