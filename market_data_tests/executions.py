"""Executions as files, and the small universe and store they are taken into."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from market_data.ingest.executions.taking import PROVIDER, FeedbackTaken, apply_feedback, request_at, take_feedback
from market_data.ingest.executions.trial import try_feedback
from market_data.instruments import Instrument, Universe
from market_data.providers.base import sha256_hex
from market_data.records import StoredPayload
from market_data.report.slippage import Slippage, refresh_slippage
from market_data.settings import Settings
from market_data.warehouse.connection import Database
from market_data.warehouse.store import transaction
from market_data_tests.bars import new_database

UNIVERSE = Universe([Instrument("AAPL"), Instrument("MSFT"), Instrument("BRK.B")])
NOW = datetime(2026, 1, 21, 1, 0, tzinfo=UTC)
DAY = "2026-01-20"


def execution(order_id: str = "o1", **fields: Any) -> dict[str, Any]:
    """An execution as a file has it: 100 shares of AAPL bought at 10.5, but for the fields given."""
    return {
        "order_id": order_id,
        "symbol": "AAPL",
        "side": "buy",
        "quantity": 100,
        "price": 10.5,
        "executed_at": f"{DAY}T15:00:00Z",
    } | fields


def as_jsonl(*records: dict[str, Any]) -> bytes:
    """The records as JSON lines."""
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def as_csv(*records: dict[str, Any]) -> bytes:
    """The records as CSV, with every column that one of them has."""
    columns = list(dict.fromkeys(name for record in records for name in record))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().encode()


class Desk:
    """Files of executions and the store they go to, in the working directory."""

    def __init__(self, folder: Path = Path()) -> None:
        self.settings = Settings(runtime=folder / "runtime", lock_patience=0.5)
        self.settings.runtime.mkdir(parents=True, exist_ok=True)
        self.database = Database(self.settings.database_for(synthetic=False), patience=5)
        if not self.database.exists():
            new_database(self.database.path)
        self.now = NOW
        self.folder = folder

    def put(self, name: str, body: bytes) -> Path:
        """A file beside the store."""
        path = self.folder / name
        path.write_bytes(body)
        return path

    def take(self, name: str, body: bytes, *, dry_run: bool = False) -> FeedbackTaken:
        """Take one file, or only try."""
        work = try_feedback if dry_run else take_feedback
        return work(self.settings, UNIVERSE, [self.put(name, body)], synthetic=False, clock=lambda: self.now)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a query gives."""
        with self.database.reading() as connection:
            return connection.execute(query).fetchall()

    def change(self, statement: str, *values: Any) -> None:
        """Alter the database."""
        with self.database.writing() as connection:
            connection.execute(statement, list(values))

    def writing(self) -> Any:
        """A connection that writes."""
        return self.database.writing()


class Books:
    """The same store with one connection held open, for what needs no files: quicker by a lot."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        self.now = NOW

    def take(self, name: str, body: bytes) -> FeedbackTaken:
        """Write what a file says."""
        sha256, request = sha256_hex(body), request_at(self.now)
        stored = StoredPayload(sha256[:16], PROVIDER, request, sha256, name, 200, None, self.now, 0, 0.0, len(body))
        with transaction(self.connection):
            return FeedbackTaken((apply_feedback(self.connection, UNIVERSE, stored, body, now=self.now),))

    def measure(self) -> Slippage:
        """Measure every order anew."""
        with transaction(self.connection):
            return refresh_slippage(self.connection, now=self.now)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a query gives."""
        return self.connection.execute(query).fetchall()

    def change(self, statement: str, *values: Any) -> None:
        """Alter the database."""
        self.connection.execute(statement, list(values))


@contextmanager
def opened_books() -> Iterator[Books]:
    """Books over an empty store in the working directory."""
    with new_database(Path("books.duckdb")).writing() as connection:
        yield Books(connection)
