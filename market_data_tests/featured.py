"""A store of some made-up bars whose features are made: three instruments over 300 sessions, actions told."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from market_data.features.update import FeaturesUpdated, update
from market_data.settings import Settings
from market_data.warehouse.connection import Database
from market_data_tests.bars import at, hashed, naive, new_database, rows
from market_data_tests.stored_prices import put_action, put_told

SYMBOLS = ("AAPL", "MSFT", "NKE")
SESSIONS = 300
NOW = at(12, day="2022-06-01")
FILE = Path("runtime/synthetic.duckdb")


def fill(
    connection: duckdb.DuckDBPyConnection, *, sessions: int = SESSIONS, symbols: tuple[str, ...] = SYMBOLS
) -> None:
    """Accepted raw bars of random walks from the window's first session on, and a dividend and a split."""
    connection.execute("INSERT INTO store_kind VALUES (TRUE)")
    days = days_of(connection, sessions)
    draws = np.random.default_rng(8)
    for symbol in symbols:
        close = 100 * np.exp(np.cumsum(draws.normal(0, 0.02, sessions)))
        opening = close * np.exp(draws.normal(0, 0.005, sessions))
        bars = pa.table(
            {
                "symbol": [symbol] * sessions,
                "date": pa.array(days, pa.date32()),
                "open": opening,
                "high": np.maximum(opening, close) * 1.01,
                "low": np.minimum(opening, close) * 0.99,
                "close": close,
                "volume": draws.integers(1e6, 9e6, sessions).astype(float),
                "basis": ["raw"] * sessions,
                "source_provider": ["sandbox"] * sessions,
                "raw_hash": [hashed(symbol)] * sessions,
                "pulled_at": pa.array([naive(day="2022-05-01")] * sessions, pa.timestamp("us")),
            }
        )
        connection.register("bars", bars)
        connection.execute("INSERT INTO price_history_daily BY NAME SELECT *, pulled_at AS known_at FROM bars")
        connection.unregister("bars")
        put_told(connection, symbol, "2021-01-01", "2024-12-31")
    connection.execute(
        "INSERT INTO data_quality_log SELECT symbol, date, 'accepted', 1, '', source_provider, pulled_at "
        "FROM price_history_daily"
    )
    put_action(connection, symbols[0], str(days[40]), "dividend", 0.5)
    put_action(connection, symbols[0], str(days[60]), "split", 4.0)


def days_of(connection: duckdb.DuckDBPyConnection, sessions: int = SESSIONS) -> list[date]:
    """The first sessions of the window."""
    query = "SELECT session FROM sessions WHERE session >= DATE '2021-01-19' ORDER BY session LIMIT ?"
    return [row[0] for row in rows(connection, query, sessions)]


_OPEN = ExitStack()


class FeatureStore:
    """Such a store in the working directory, in place of the one before.

    Args:
        made: whether its features are made already.
        kept_open: whether this process opens it once, which is quicker; its file is then not as whole as without.
    """

    def __init__(self, *, made: bool = True, kept_open: bool = True) -> None:
        _OPEN.close()
        self.settings = Settings(runtime=Path("runtime"), lock_patience=0.05)
        self.database = Database(FILE.absolute(), patience=5)
        FILE.parent.mkdir(exist_ok=True)
        FILE.with_name(f"{FILE.name}.wal").unlink(missing_ok=True)
        FILE.write_bytes(_content(made))
        if kept_open:
            _OPEN.enter_context(self.database.kept_open())
        with self.database.reading() as connection:
            self.days = days_of(connection)

    def execute(self, statement: str, *values: Any) -> None:
        """Change the database."""
        with self.database.writing() as connection:
            connection.execute(statement, list(values))

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """What a query gives."""
        with self.database.reading() as connection:
            return rows(connection, query, *values)

    def update(self, **how: Any) -> FeaturesUpdated:
        """Bring the features up to date."""
        return update(self.settings, synthetic=True, **({"clock": lambda: NOW} | how))

    def revise(self, symbol: str, day: date, **fields: Any) -> None:
        """Change fields of a bar."""
        given = ", ".join(f"{name} = ?" for name in fields)
        statement = f"UPDATE price_history_daily SET {given} WHERE symbol = ? AND date = ?"
        self.execute(statement, *fields.values(), symbol, day)

    def judge(self, symbol: str, day: date, verdict: str, rules: str = "") -> None:
        """Change a verdict."""
        statement = "UPDATE data_quality_log SET verdict = ?, rules = ? WHERE symbol = ? AND date = ?"
        self.execute(statement, verdict, rules, symbol, day)

    def feature(self, symbol: str, day: date, name: str) -> Any:
        """A stored value."""
        [(value,)] = self.rows(f"SELECT {name} FROM features_daily WHERE symbol = ? AND date = ?", symbol, day)
        return value


@cache
def _content(made: bool) -> bytes:
    here = Path(f"prepared-{made}.duckdb")
    if made:
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_bytes(_content(False))
        update(Settings(runtime=Path("runtime")), synthetic=True, clock=lambda: NOW)
        return FILE.read_bytes()
    with new_database(here).writing() as connection:
        fill(connection)
    return here.read_bytes()
