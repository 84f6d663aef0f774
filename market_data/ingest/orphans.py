"""Payloads stored by a process that died before it noted them: answers paid for, which are not asked for again."""

from __future__ import annotations

from datetime import datetime

import duckdb

from market_data.errors import ProviderError, RawStoreError, UnknownSymbol
from market_data.ingest.raw_store import RawStore
from market_data.ingest.unit import parse_payload
from market_data.instruments import Instrument, Universe
from market_data.records import EVERY, StoredPayload
from market_data.warehouse.reconciliations import OVERLAP
from market_data.warehouse.store import record_coverage, record_failure, transaction

__all__ = ["adopt_orphans"]

_FEEDS = ("bars", OVERLAP)


def adopt_orphans(
    connection: duckdb.DuckDBPyConnection,
    raw_store: RawStore,
    universe: Universe,
    *,
    now: datetime,
) -> int:
    """Note the coverage of stored payloads the database does not know of; returns how many there were."""
    known = {row[0] for row in connection.execute("SELECT request_id FROM coverage").fetchall()}
    if raw_store.request_ids() <= known:
        return 0
    # Amendments and imports are noted when they are applied, corporate actions each time they are looked for.
    held = (stored for stored in raw_store.stored(skip=known) if stored.request.feed in _FEEDS)
    orphans = [stored for stored in held if _instrument(stored, universe)]
    with transaction(connection):
        for stored in orphans:
            _adopt(connection, raw_store, stored, _instrument(stored, universe), now)
    return len(orphans)


def _instrument(stored: StoredPayload, universe: Universe) -> Instrument | None:
    symbol = stored.request.symbol
    return Instrument(EVERY) if symbol == EVERY else universe.get(symbol)


def _adopt(
    connection: duckdb.DuckDBPyConnection,
    raw_store: RawStore,
    stored: StoredPayload,
    instrument: Instrument | None,
    now: datetime,
) -> None:
    assert instrument is not None
    try:
        parse_payload(stored, raw_store.get(stored.sha256), instrument)
    except UnknownSymbol:
        pass
    except (ProviderError, RawStoreError) as error:
        record_failure(
            connection,
            request_id=stored.request_id,
            request=stored.request,
            provider=stored.provider,
            error=error if isinstance(error, ProviderError) else ProviderError(str(error)),
            stored=stored,
            job_id=None,
            now=now,
        )
        return
    record_coverage(connection, stored, job_id=None)
