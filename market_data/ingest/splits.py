"""The splits of every symbol, from a vendor that tells them all in a few calls: what raw prices are judged beside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

import duckdb
import pandas as pd

from market_data.errors import MarketDataError, ProviderError, RawStoreError
from market_data.ingest.commit import record_answer_for_all
from market_data.ingest.raw_store import RawStore
from market_data.ingest.sources import Source
from market_data.ingest.unit import Attempt
from market_data.ingest.writer import Writer
from market_data.instruments import Instrument, Universe
from market_data.providers.base import Clock, Provider, utc_now
from market_data.providers.bodies import Answer
from market_data.providers.polygon import actions_by_ticker
from market_data.records import EVERY, FetchRequest, StoredPayload
from market_data.settings import Settings
from market_data.warehouse.batch import write_actions
from market_data.warehouse.connection import Database
from market_data.warehouse.store import claim_kind, refresh_provider_metrics, transaction

__all__ = ["SplitsFetched", "fetch_splits"]

_FEED = "splits"
_VENDOR = "polygon"


@dataclass(frozen=True, slots=True)
class SplitsFetched:
    """What came of it: calls sent now, splits of the universe the answers tell of, and the symbols they are of."""

    calls: int
    splits: int
    symbols: list[str]


def fetch_splits(
    settings: Settings, universe: Universe, source: Source, *, job_id: str, clock: Clock = utc_now
) -> SplitsFetched:
    """Ask for the splits of all symbols in the window that no stored answer tells of yet, and keep the universe's.

    Raises:
        MarketDataError: the vendor that tells them is not in use, or has no key.
        ProviderError: it did not answer; what came before is kept.
    """
    provider = _provider(source)
    last = min(settings.window_end, clock().date())
    raw_store = RawStore(settings.raw_folder(synthetic=source.synthetic))
    database = Database(settings.database_for(synthetic=source.synthetic), patience=settings.lock_patience)
    database.prepare()
    tickers = {instrument.ticker(_VENDOR).upper(): symbol for symbol, instrument in universe.items()}
    calls, found = 0, Counter[str]()
    with Writer(database) as writer:
        claim_kind(writer.connection, synthetic=source.synthetic)
        start = settings.window_start
        # Read again from the store each time: a process may have died before it wrote what an answer told.
        for stored, actions in _told(raw_store):
            found += _keep(writer.connection, stored, actions, tickers)
            if stored.request.start <= start <= stored.request.end:
                start = stored.request.end + timedelta(days=1)
        while start <= last:
            writer.release()
            request = FetchRequest(EVERY, start, last, feed=_FEED)
            attempt = _asked(provider, raw_store, request)
            calls += attempt.calls
            record_answer_for_all(writer.connection, attempt, request, job_id=job_id, now=clock())
            if attempt.error is not None or attempt.stored is None:
                raise attempt.error or MarketDataError(f"{_VENDOR} gave no splits")
            found += _keep(writer.connection, attempt.stored, _read(raw_store, attempt.stored), tickers)
            start = attempt.stored.request.end + timedelta(days=1)
        refresh_provider_metrics(writer.connection, clock().date())
    return SplitsFetched(calls, found.total(), sorted(found))


def _keep(
    connection: duckdb.DuckDBPyConnection,
    stored: StoredPayload,
    told: Mapping[str, pd.DataFrame],
    tickers: Mapping[str, str],
) -> Counter[str]:
    """Write the splits of the universe's symbols; returns how many there were of each."""
    found = Counter[str]()
    with transaction(connection):
        for ticker, actions in told.items():
            symbol = tickers.get(ticker)
            if symbol is not None:
                write_actions(connection, symbol, stored, actions)
                found[symbol] += len(actions)
    return found


def _provider(source: Source) -> Provider:
    arm = next((arm for arm in source.arms if arm.config.name == _VENDOR), None)
    if arm is None:
        raise MarketDataError(f"{source.name}: only {_VENDOR} tells the splits of all symbols, and it is not in use")
    if arm.provider is None:
        raise MarketDataError(f"only {_VENDOR} tells the splits of all symbols: {arm.unusable}")
    return arm.provider


def _told(raw_store: RawStore) -> list[tuple[StoredPayload, Mapping[str, pd.DataFrame]]]:
    """Stored answers of the feed with what they tell, by the beginning of their span."""
    told = []
    for stored in raw_store.stored():
        if stored.request.symbol == EVERY and stored.request.feed == _FEED:
            with suppress(ProviderError, RawStoreError):  # an error's body, or one that is damaged: asked for again
                told.append((stored, _read(raw_store, stored)))
    return sorted(told, key=lambda item: item[0].request.start)


def _asked(provider: Provider, raw_store: RawStore, request: FetchRequest) -> Attempt:
    attempt = Attempt(provider.name, provider.synthetic, is_fetched=True)
    try:
        payload = provider.fetch(Instrument(EVERY), request)
        stored = raw_store.put(payload)
        attempt = replace(attempt, stored=stored, calls=payload.attempts, is_new=True)
        _read(raw_store, stored)
    except ProviderError as error:
        kept = raw_store.put(error.payload) if error.payload else attempt.stored
        calls = attempt.calls or error.attempts
        return replace(attempt, error=error, calls=calls, stored=kept, is_new=kept is not None)
    return attempt


def _read(raw_store: RawStore, stored: StoredPayload) -> Mapping[str, pd.DataFrame]:
    answer = Answer(
        symbol=EVERY,
        ticker=EVERY,
        status=stored.status,
        content_type=stored.content_type,
        url=stored.url,
        fetched_at=stored.fetched_at,
    )
    return actions_by_ticker(raw_store.get(stored.sha256), answer)
