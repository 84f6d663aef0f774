"""The writing connection of a long job: open while there is something to write, given up often."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self

import duckdb

from market_data.warehouse.connection import POLL, Database
from market_data.warehouse.store import transaction

__all__ = ["Writer"]


class Writer:
    """Hands out a writing connection, and closes it now and then so that readers get their turn.

    Args:
        hold: seconds a connection is kept at most before it is closed for a moment.
    """

    def __init__(self, database: Database, *, hold: float = 10.0) -> None:
        self._database = database
        self._hold = hold
        self._stack = ExitStack()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._opened = 0.0
        self._is_in_transaction = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The connection, opened when it is not; another one now and then, but for within `transaction`."""
        is_renewable = self._connection is not None and not self._is_in_transaction
        if is_renewable and time.monotonic() - self._opened > self._hold:
            self.release()
            time.sleep(2 * POLL)
        if self._connection is None:
            self._connection = self._stack.enter_context(self._database.writing())
            self._opened = time.monotonic()
        return self._connection

    @contextmanager
    def transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Everything inside is committed together, or not at all, over one connection."""
        connection = self.connection
        self._is_in_transaction = True
        try:
            with transaction(connection):
                yield connection
        finally:
            self._is_in_transaction = False

    def release(self) -> None:
        """Close the connection until it is needed again."""
        self._connection = None
        self._stack.close()
