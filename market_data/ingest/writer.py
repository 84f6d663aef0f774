"""The writing connection of a long job: open while there is something to write, given up often."""

from __future__ import annotations

import time
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import duckdb

from market_data.warehouse.connection import POLL, Database

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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The connection, opened when it is not; never ask for it inside a transaction."""
        if self._connection is not None and time.monotonic() - self._opened > self._hold:
            self.release()
            time.sleep(2 * POLL)
        if self._connection is None:
            self._connection = self._stack.enter_context(self._database.writing())
            self._opened = time.monotonic()
        return self._connection

    def release(self) -> None:
        """Close the connection until it is needed again."""
        self._connection = None
        self._stack.close()
