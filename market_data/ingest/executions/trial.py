"""What would become of files of executions, told without changing anything."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from market_data.clock import Clock, utc_now
from market_data.ingest.executions.taking import (
    PROVIDER,
    FeedbackTaken,
    TakenFile,
    apply_feedback,
    read_file,
    request_at,
)
from market_data.instruments import Universe
from market_data.providers.base import sha256_hex
from market_data.records import StoredPayload
from market_data.settings import Settings
from market_data.warehouse.connection import Database
from market_data.warehouse.store import claim_kind, transaction

__all__ = ["try_feedback"]


class _NothingIsKept(Exception):
    """Ends a transaction without a commit."""


def try_feedback(
    settings: Settings, universe: Universe, paths: Sequence[Path], *, synthetic: bool, clock: Clock = utc_now
) -> FeedbackTaken:
    """As `take_feedback`, in a transaction that is not committed; no file is written.

    Raises:
        FeedbackFileError: one of them cannot be read.
        WarehouseError: the database holds the other kind of data, or cannot be used.
    """
    done: list[TakenFile] = []
    database = Database(settings.database_for(synthetic=synthetic), patience=settings.lock_patience)
    with (
        _database_to_try(database) as tried,
        tried.writing() as connection,
        suppress(_NothingIsKept),
        transaction(connection),
    ):
        claim_kind(connection, synthetic=synthetic)
        for path in paths:
            body, now = read_file(path), clock()
            done.append(apply_feedback(connection, universe, _as_stored(path.name, body, now), body, now=now))
        raise _NothingIsKept
    return FeedbackTaken(tuple(done))


def _as_stored(name: str, body: bytes, now: datetime) -> StoredPayload:
    sha256, size = sha256_hex(body), len(body)
    return StoredPayload(f"trial {sha256}", PROVIDER, request_at(now), sha256, name, 200, None, now, 0, 0.0, size)


@contextmanager
def _database_to_try(database: Database) -> Iterator[Database]:
    """The database, brought forward, or an empty one for want of it."""
    if database.exists():
        database.prepare()
        yield database
        return
    with tempfile.TemporaryDirectory() as folder:
        empty = Database(Path(folder) / "empty.duckdb")
        empty.prepare()
        yield empty
