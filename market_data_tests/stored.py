"""A small store in the working directory that is whole: bars, their payloads, the ledger, the audit and its file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb

from market_data.ingest.audit_file import AuditFile
from market_data.ingest.raw_store import RawStore
from market_data.instruments import Instrument, Universe
from market_data.providers.base import sha256_hex
from market_data.records import FetchRequest, RawPayload, StoredPayload
from market_data.settings import Settings
from market_data.warehouse.connection import Database
from market_data.warehouse.store import record_audit, record_coverage
from market_data_tests.bars import DAYS, at, audit, new_database, rows

FIRST, LAST = date.fromisoformat(DAYS[0]), date.fromisoformat(DAYS[-1])
UNIVERSE = Universe([Instrument("AAPL"), Instrument("MSFT")])
BAR = {"open": 10.0, "high": 11.0, "low": 9.0, "close": 10.5, "volume": 1000.0, "vwap": None, "trade_count": None}
PULLED = at(day="2026-01-20")
NOW = at(12, day="2026-02-01")

_BUILT: dict[tuple[tuple[str, ...], bool], tuple[dict[Path, bytes], dict[str, StoredPayload]]] = {}


def put_bar(
    connection: duckdb.DuckDBPyConnection, symbol: str, day: str, stored: StoredPayload, **changed: Any
) -> None:
    """Store `BAR`, but for the columns given; nothing is kept of a bar it replaces."""
    row = {
        "symbol": symbol,
        "date": day,
        **BAR,
        "basis": "raw",
        "source_provider": stored.provider,
        "raw_hash": stored.sha256,
        "pulled_at": stored.fetched_at.replace(tzinfo=None),
        "known_at": stored.fetched_at.replace(tzinfo=None),
    } | changed
    marks = ", ".join("?" for _ in row)
    connection.execute(
        f"INSERT OR REPLACE INTO price_history_daily ({', '.join(row)}) VALUES ({marks})", list(row.values())
    )


class Store:
    """A store whose symbols have `BAR` on each of `DAYS`, from one payload each, by one job."""

    def __init__(self, *symbols: str, synthetic: bool = True) -> None:
        self.synthetic = synthetic
        self._connection: duckdb.DuckDBPyConnection | None = None
        self.settings = Settings(runtime=Path("runtime"), lock_patience=0.05)
        self.database = Database(self.settings.database_for(synthetic=synthetic), patience=5)
        self.raw_store = RawStore(self.settings.raw_folder(synthetic=synthetic))
        self.audit_file = AuditFile(self.settings.audit_folder, "backfill", "job")
        key = (symbols or ("AAPL",), synthetic)
        if key not in _BUILT:
            self.settings.runtime.mkdir()
            payloads = {symbol: self.keep(symbol, f"bars of {symbol}".encode()) for symbol in key[0]}
            self._fill(payloads)
            files = [path for path in self.settings.runtime.rglob("*") if path.is_file()]
            _BUILT[key] = {path: path.read_bytes() for path in files}, payloads
        files, self.payloads = _BUILT[key]
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def _fill(self, payloads: dict[str, StoredPayload]) -> None:
        new_database(self.database.path)
        with self.database.writing() as connection:
            connection.execute("INSERT INTO store_kind VALUES (?)", [self.synthetic])
            for symbol, stored in payloads.items():
                record_coverage(connection, stored, job_id="job", verdict="accepted")
                for day in DAYS:
                    put_bar(connection, symbol, day, stored)
            records = [
                audit(symbol, raw_hash=kept.sha256, synthetic=self.synthetic) for symbol, kept in payloads.items()
            ]
            record_audit(connection, records)
        self.audit_file.append(records)

    def keep(self, symbol: str, body: bytes, *, fetched: datetime = PULLED, **fields: Any) -> StoredPayload:
        """A payload in the raw store, of which no table knows."""
        given: dict[str, Any] = {"provider": "sandbox", "request": FetchRequest(symbol, FIRST, LAST), "status": 200}
        return self.raw_store.put(
            RawPayload(
                body=body,
                sha256=sha256_hex(body),
                url=f"https://example.test/{symbol}",
                content_type=None,
                fetched_at=fetched,
                **given | fields,
            )
        )

    def bytes_file(self, symbol: str) -> Path:
        """Where a symbol's bytes lie."""
        sha256 = self.payloads[symbol].sha256
        return self.raw_store.folder / sha256[:2] / f"{sha256}.zst"

    def request_file(self, symbol: str) -> Path:
        """The request file beside them."""
        stored = self.payloads[symbol]
        return self.bytes_file(symbol).with_name(f"{stored.sha256}.{stored.request_id}.json")

    @contextmanager
    def held_open(self) -> Iterator[Store]:
        """Every `writing` meanwhile is by one connection, which is quicker; nobody else gets one then."""
        with self.database.writing() as self._connection:
            yield self
        self._connection = None

    @contextmanager
    def writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection that writes."""
        if self._connection is not None:
            yield self._connection
        else:
            with self.database.writing() as connection:
                yield connection

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """What a query gives."""
        with self.writing() as connection:
            return rows(connection, query, *values)

    def execute(self, statement: str, *values: Any) -> None:
        """Change the database."""
        with self.writing() as connection:
            connection.execute(statement, list(values))

    def files(self) -> dict[str, bytes]:
        """Every file below the runtime folder but for the database's own and the lock."""
        paths = [path for path in self.settings.runtime.rglob("*") if path.is_file()]
        return {str(path): path.read_bytes() for path in paths if path.suffix not in (".duckdb", ".wal", ".lock")}
