"""Small archives and runs for tests of the backfill: real files on disk, a small universe, a fixed clock."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pandas as pd

from market_data.ingest.backfill import Backfill, BackfillRequest, Summary
from market_data.instruments import Instrument, Universe
from market_data.providers.base import Provider
from market_data.providers.stooq_bulk import StooqArchive, StooqBulk
from market_data.sandbox.market import SyntheticMarket
from market_data.sandbox.wire import stooq_ascii
from market_data.selection.choice import GivenOrder
from market_data.settings import Settings

START, END = date(2024, 1, 2), date(2024, 6, 28)
SESSIONS = 124
NOW = datetime(2024, 7, 1, 12, tzinfo=UTC)
SYMBOLS = ("AAA", "BBB", "CCC", "DDD", "EEE", "BRK.B")


def universe(symbols: Iterable[str] = SYMBOLS) -> Universe:
    """Instruments that were surely listed before the window."""
    return Universe(Instrument(symbol, listed_by=date(2020, 1, 2)) for symbol in symbols)


def bars(symbol: str, *, end: date = END, seed: int = 7) -> pd.DataFrame:
    """Clean bars of a made-up instrument."""
    return SyntheticMarket(universe(), start=START, end=end, seed=seed).adjusted_bars(symbol)


def write_archive(folder: Path, symbols: Iterable[str] = SYMBOLS, *, end: date = END, seed: int = 7) -> Path:
    """A folder of Stooq ASCII files, as the real archive nests them."""
    market = SyntheticMarket(universe(), start=START, end=end, seed=seed)
    for symbol in symbols:
        put_file(folder, symbol, market.adjusted_bars(symbol))
    return folder


def put_file(folder: Path, symbol: str, frame: pd.DataFrame) -> Path:
    """One instrument's file in an archive."""
    ticker = Instrument(symbol).ticker("stooq")
    file = folder / "data" / "daily" / "us" / "nyse stocks" / "1" / f"{ticker}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(stooq_ascii(ticker.upper(), frame))
    return file


def settings(runtime: Path, **more: object) -> Settings:
    """Settings of a run over the small window."""
    return Settings(runtime=runtime, window_start=START, window_end=END, lock_patience=10, **more)


class Run:
    """A store in a folder, and backfills over it from an archive that counts its reads."""

    def __init__(self, runtime: Path, archive: Path, *, providers: list[Provider] | None = None) -> None:
        self.settings = settings(runtime)
        self.archive = StooqArchive(archive, index_folder=runtime / "archives")
        self.providers = providers or [StooqBulk(self.archive, clock=lambda: NOW)]
        self.stop = threading.Event()
        self.universe = universe()

    def backfill(self) -> Backfill:
        """A fresh backfill over the store."""
        return Backfill(
            settings=self.settings,
            universe=self.universe,
            selector=GivenOrder(self.providers),
            synthetic=False,
            provider_label=self.providers[0].name,
            clock=lambda: NOW,
            stop=self.stop,
        )

    def run(self, job_id: str = "job", symbols: Iterable[str] = SYMBOLS, **more: object) -> Summary:
        """One backfill of the symbols over the window."""
        given = {"start": START, "end": END} | more
        return self.backfill().run(BackfillRequest(list(symbols), job_id=job_id, **given))

    def rows(self, query: str, values: list[object] | None = None) -> list[tuple[object, ...]]:
        """What a query of the database gives."""
        path = self.settings.database_for(synthetic=False)
        with duckdb.connect(str(path), read_only=True) as connection:
            return connection.execute(query, values or []).fetchall()

    def fingerprint(self) -> list[tuple[object, ...]]:
        """Everything in the price table."""
        return self.rows("SELECT * FROM price_history_daily ORDER BY symbol, date")
