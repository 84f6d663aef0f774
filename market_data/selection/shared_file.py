"""What an SQLite file needs that several threads and processes write: short transactions, and errors that name it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from market_data.errors import MarketDataError

__all__ = ["PATIENCE", "named_in_errors", "opened", "transaction"]

PATIENCE = 30.0
"""Seconds to wait for others that use a file."""


def opened(file: Path, schema: str, *, synchronous: str, wal: bool = False, patience: float) -> sqlite3.Connection:
    """A connection in autocommit, for any thread; the file, its folder and its tables are made where absent.

    Args:
        schema: `CREATE ... IF NOT EXISTS` statements.
        synchronous: SQLite's: FULL to survive a power cut.
        wal: whether to write ahead, which spares synchronous NORMAL its waits while the connection stays open.
        patience: seconds to wait for others.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(file, timeout=patience, isolation_level=None, check_same_thread=False)
    try:
        if wal:
            _write_ahead(connection, patience)
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.executescript(schema)
    except BaseException:
        connection.close()
        raise
    return connection


def _write_ahead(connection: sqlite3.Connection, patience: float) -> None:
    """Sets the mode; SQLite itself does not wait where another connection is about to set it as well."""
    end = time.monotonic() + patience
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= end:
                raise
            time.sleep(0.005)
        else:
            return


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Everything inside is committed together, or not at all; other processes wait."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite rolls back by itself where the disk is full
            connection.execute("ROLLBACK")
        raise


@contextmanager
def named_in_errors(file: Path, purpose: str) -> Iterator[None]:
    """Turns an error of the file inside into a `MarketDataError` that names the file and the mend."""
    try:
        yield
    # A ValueError is a stored value that is none of ours.
    except (sqlite3.Error, OSError, ValueError) as error:
        raise MarketDataError(
            f"{file}: the {purpose} cannot be used: {error}; no vendor is asked without it. "
            "Free it, or move it away to begin a new one"
        ) from None
