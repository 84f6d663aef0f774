"""A small real store whose symbols have what exports stumble over, in the working directory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path

import duckdb
import numpy as np

from market_data.sessions import sessions_between
from market_data.settings import Settings
from market_data_tests.bars import new_database
from market_data_tests.stored_prices import put_action, put_bar, put_told

SESSIONS = [f"{day:%Y-%m-%d}" for day in sessions_between(date(2023, 11, 1), date(2024, 1, 31))]
"""62 of them, in two years."""

SYMBOLS = ("A", "AAPL", "BRK.B", "CON", "GAP", "LATE", "NIL", "RUMOR")
"""A has a dividend after a null close; BRK.B a dot; CON the name of a device, and a spin-off; GAP lacks three
sessions, one of them before a dividend; NIL has no bars; of RUMOR nobody told the actions."""

NOW = datetime(2024, 2, 1, 12, tzinfo=UTC)
KNOWN = NOW.replace(tzinfo=None, hour=0)
MISSING = (SESSIONS[9], SESSIONS[19], SESSIONS[20])


def clock() -> datetime:
    return NOW


def later(seconds: int) -> Callable[[], datetime]:
    return lambda: NOW.replace(second=seconds)


def build(folder: Path, *, synthetic: bool = False) -> Settings:
    """Make the store below a folder; prices are whole cents, and volumes whole shares."""
    folder.mkdir(parents=True, exist_ok=True)
    universe = folder / "universe.csv"
    universe.write_text("symbol\n" + "\n".join(SYMBOLS) + "\n", encoding="utf-8")
    settings = Settings(runtime=folder, universe=universe, window_start=date(2023, 11, 1), window_end=date(2024, 1, 31))
    settings.database_for(synthetic=synthetic).write_bytes(_filled(synthetic=synthetic))
    return settings


@cache
def _filled(*, synthetic: bool) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        database = new_database(Path(folder) / "store.duckdb")
        if synthetic:
            database.path.write_bytes(_filled(synthetic=False))
        with database.writing() as connection:
            if not synthetic:
                _fill(connection)
            connection.execute("DELETE FROM store_kind")
            connection.execute("INSERT INTO store_kind VALUES (?)", [synthetic])
        return database.path.read_bytes()


def _fill(connection: duckdb.DuckDBPyConnection) -> None:
    random = np.random.default_rng(7)
    connection.execute("BEGIN TRANSACTION")
    for symbol in SYMBOLS:
        days = SESSIONS[15:] if symbol == "LATE" else [] if symbol == "NIL" else SESSIONS
        closes = 100 * np.exp(np.cumsum(random.normal(0, 0.01, len(days))))
        for number, day in enumerate(days):
            if symbol != "GAP" or day not in MISSING:
                put_session(connection, symbol, day, _traded(symbol, day, closes[number]), random)
        if symbol != "RUMOR":
            put_told(connection, symbol, "2023-01-01", "2024-12-31", pulled_at=KNOWN)
    for symbol, day, kind, value in ACTIONS:
        put_action(connection, symbol, day, kind, value, known_at=KNOWN)
    connection.execute("COMMIT")


ACTIONS = (
    ("A", SESSIONS[4], "dividend", 0.3),
    ("AAPL", SESSIONS[5], "dividend", 0.24),
    ("AAPL", SESSIONS[30], "split", 4.0),
    ("AAPL", SESSIONS[50], "dividend", 0.07),
    ("AAPL", "2024-03-01", "dividend", 0.08),
    ("BRK.B", SESSIONS[40], "split", 0.5),
    ("CON", SESSIONS[12], "spinoff", 1.25),
    ("GAP", SESSIONS[10], "dividend", 0.5),
    ("GAP", SESSIONS[19], "split", 2.0),
    ("RUMOR", SESSIONS[12], "dividend", 0.1),
)
"""One of them after what is known; one on a session without a bar, whose bar before is another two sessions back."""


def _traded(symbol: str, day: str, price: float) -> float:
    """A price as traded, of one as adjusted for the ratios to come."""
    later = [value for name, ex, kind, value in ACTIONS if name == symbol and kind != "dividend" and ex > day]
    return float(price * np.prod(later))


def put_session(connection, symbol: str, day: str, price: float, random: np.random.Generator) -> None:
    """A bar around a price."""
    low, high = round(price * 0.98, 2), round(price * 1.02, 2)
    prices = {"open": round(price * 1.01, 2), "high": high, "low": low, "close": round(price, 2), "vwap": price}
    volume = float(random.integers(1_000, 1_000_000))
    if symbol == "A" and day == SESSIONS[3]:
        prices["close"] = None
    put_bar(connection, symbol, day, price, **prices, volume=volume, known_at=KNOWN)
