"""Writing what polls brought: the minutes, and a row a provider about each poll; those a died process left as well."""

from __future__ import annotations

import logging
import time
from collections import Counter
from datetime import date
from typing import Any

import duckdb

from market_data.errors import RawStoreError
from market_data.ingest.intraday.packs import Poll, PollPacks
from market_data.ingest.intraday.reading import ANSWERED, EMPTY, INTERVAL, ReadPoll, read_poll
from market_data.instruments import Universe
from market_data.settings import Settings
from market_data.warehouse.batch import RowCounts
from market_data.warehouse.connection import Database
from market_data.warehouse.intraday import IntradayWrite, write_minutes
from market_data.warehouse.intraday_polls import PollRow, applied_packs, record_polls
from market_data.warehouse.store import claim_kind, transaction

__all__ = ["apply_left_packs", "apply_polls", "replay_packs"]

_LOG = logging.getLogger(__name__)
_SHOWN = 20


def apply_polls(
    connection: duckdb.DuckDBPyConnection, read: ReadPoll, *, pack: str, own_ms: float = 0.0
) -> list[PollRow]:
    """Upsert a poll's minutes and note the poll; call it inside `transaction`.

    Args:
        pack: the name of the poll's pack; empty where it has none.
        own_ms: time the poll took so far but for the wait for answers; 0 where it is not known.

    Returns:
        The rows of `intraday_polls`, one a provider; one of provider "" for symbols nobody was asked for.
    """
    started = time.perf_counter()
    counts = {
        str(name): write_minutes(connection, IntradayWrite(bars, INTERVAL))
        for name, bars in read.bars.groupby("source_provider", sort=True)
    }
    spent = own_ms + (time.perf_counter() - started) * 1000 if own_ms else 0.0
    names = dict.fromkeys(asked.provider for asked in read.poll.asked)
    rows = [_row(read, name, counts.get(name, RowCounts()), pack, spent) for name in names]
    if read.poll.left_out:
        rows.append(_left_out(read, pack, spent))
    record_polls(connection, rows)
    return rows


def apply_left_packs(
    settings: Settings, universe: Universe, session: date, *, synthetic: bool
) -> list[tuple[Poll, list[PollRow]]]:
    """Apply the packs of a session that a died process left, oldest first; asks nobody.

    A pack that cannot be read is passed over, and the log says so.
    """
    database = Database(settings.database_for(synthetic=synthetic), patience=settings.lock_patience)
    packs = PollPacks(settings.raw_folder(synthetic=synthetic))
    names = packs.names(session)
    if not names:
        return []
    database.prepare()
    with database.reading() as connection:
        left = [name for name in names if name not in applied_packs(connection, session)]
    reads = []
    for name in left:
        try:
            reads.append((read_poll(packs.get(name), universe, settle=settings.intraday_settle), name))
        except RawStoreError as error:
            _LOG.error("%s; the pack is passed over", error)
    if not reads:
        return []
    with database.writing() as connection, transaction(connection):
        claim_kind(connection, synthetic=synthetic)
        return [(read.poll, apply_polls(connection, read, pack=name)) for read, name in reads]


def replay_packs(
    connection: duckdb.DuckDBPyConnection, settings: Settings, universe: Universe, *, synthetic: bool
) -> dict[str, str]:
    """Apply every pack there is, oldest first, each in a transaction of its own, as a rebuild does.

    Returns:
        By the name of a pack that cannot be read, why.
    """
    packs, left_out = PollPacks(settings.raw_folder(synthetic=synthetic)), {}
    for session in packs.sessions():
        for name in packs.names(session):
            try:
                read = read_poll(packs.get(name), universe, settle=settings.intraday_settle)
            except RawStoreError as error:
                left_out[name] = str(error)
                continue
            with transaction(connection):
                apply_polls(connection, read, pack=name)
    return left_out


def _row(read: ReadPoll, name: str, counts: RowCounts, pack: str, own_ms: float) -> PollRow:
    own = [asked for asked in read.poll.asked if asked.provider == name]
    found = read.by_outcome(name)
    errors = {kind: count for kind, count in found.items() if kind not in (ANSWERED, EMPTY)}
    payloads = [asked.payload for asked in own if asked.payload is not None]
    refused = read.refused[read.refused["source_provider"] == name]
    return PollRow(
        **_of_poll(read, pack, own_ms),
        provider=name,
        calls=sum(asked.calls for asked in own),
        answered=found[ANSWERED],
        empty=found[EMPTY],
        failed=sum(errors.values()),
        errors=errors,
        bytes=sum(len(payload.body) for payload in payloads),
        latencies=[round(payload.elapsed_ms, 3) for payload in payloads],
        rows_inserted=counts.inserted,
        rows_updated=counts.updated,
        refused_rows=len(refused),
        refused=[
            {"symbol": str(symbol), "datetime": str(moment), "why": str(why)}
            for symbol, moment, why in refused[["symbol", "datetime", "why"]].head(_SHOWN).to_numpy()
        ],
    )


def _left_out(read: ReadPoll, pack: str, own_ms: float) -> PollRow:
    reasons = Counter(read.poll.left_out.values())
    return PollRow(**_of_poll(read, pack, own_ms), provider="", failed=sum(reasons.values()), errors=reasons)


def _of_poll(read: ReadPoll, pack: str, own_ms: float) -> dict[str, Any]:
    poll = read.poll
    return {
        "session_date": poll.session,
        "polled_at": poll.polled_at,
        "job_id": poll.job_id,
        "pack": pack,
        "skipped": poll.skipped,
        "own_ms": round(own_ms, 3),
    }
