"""Reading at full size: `market_data.load` of 249 symbols of 1,256 sessions, each with 25 corporate actions.

`python -m market_data_tests.benchmarks.reading [--repeats N]` makes a synthetic store in a temporary
folder and prints the median seconds by basis and layout. The target: closes, total return, wide, under 0.5 s.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from market_data import load
from market_data.instruments import Universe, load_universe
from market_data.sessions import sessions_between
from market_data.warehouse.connection import Database

START, END = date(2021, 1, 19), date(2026, 1, 19)
SYMBOLS = 249
KNOWN = np.datetime64("2026-01-20T00:00:00", "us")
_ACTIONS = (("dividend", 22, 0.25), ("split", 2, 2.0), ("spinoff", 1, 1.046))


def whole_window(universe: Universe) -> list[str]:
    """249 symbols that trade through the whole window."""
    sessions = len(sessions_between(START, END))
    return [name for name, item in universe.items() if len(item.expected_sessions(START, END)) == sessions][:SYMBOLS]


def write_bars(connection: duckdb.DuckDBPyConnection, symbols: list[str], random: np.random.Generator) -> None:
    """Raw bars of every session, a random walk about 100 dollars."""
    days = sessions_between(START, END).to_numpy().astype("datetime64[D]")
    rows = len(symbols) * len(days)
    walk = np.exp(np.cumsum(random.normal(0, 0.01, (len(symbols), len(days))), axis=1))
    close = np.round(100 * walk, 2).ravel()
    bars = pa.table(
        {
            "symbol": np.repeat(symbols, len(days)),
            "date": np.tile(days, len(symbols)),
            "open": close,
            "high": close * 1.01,
            "low": close * 0.99,
            "close": close,
            "volume": random.integers(100_000, 10_000_000, rows).astype(float),
            "vwap": close,
            "trade_count": np.full(rows, 5000.0),
            "known_at": np.full(rows, KNOWN),
        }
    )
    connection.register("bars", bars)
    connection.execute(
        "INSERT INTO price_history_daily BY NAME SELECT *, 'raw' AS basis, 'sandbox' AS source_provider, "
        "sha256(symbol) AS raw_hash, known_at AS pulled_at, 'raw' AS sent_basis FROM bars"
    )
    connection.unregister("bars")


def write_actions(connection: duckdb.DuckDBPyConnection, symbols: list[str], random: np.random.Generator) -> None:
    """25 actions a symbol, on sessions drawn for each."""
    days = sessions_between(START, END).to_numpy().astype("datetime64[D]")
    kinds = [(kind, value) for kind, number, value in _ACTIONS for _ in range(number)]
    drawn = np.concatenate([random.choice(days[1:], len(kinds), replace=False) for _ in symbols])
    table = pa.table(
        {
            "symbol": np.repeat(symbols, len(kinds)),
            "date": drawn,
            "kind": [kind for kind, _ in kinds] * len(symbols),
            "value": [value for _, value in kinds] * len(symbols),
            "known_at": np.full(len(drawn), KNOWN),
        }
    )
    connection.register("actions", table)
    connection.execute(
        "INSERT INTO corporate_actions BY NAME SELECT *, 'sandbox' AS source_provider, '' AS also_told_by, "
        "sha256(symbol) AS raw_hash FROM actions"
    )
    connection.unregister("actions")
    told = [("*", "split"), *((symbol, "dividend") for symbol in symbols)]
    connection.executemany(
        "INSERT INTO actions_told VALUES (?, ?, 'polygon', ?, ?, sha256(?), ?)",
        [(symbol, kind, START, END, symbol, KNOWN.item()) for symbol, kind in told],
    )


def write_store(path: Path, symbols: list[str]) -> None:
    """A store of bars and actions, marked as synthetic."""
    database, random = Database(path), np.random.default_rng(1)
    database.prepare()
    with database.writing() as connection:
        connection.execute("INSERT INTO store_kind VALUES (TRUE)")
        write_bars(connection, symbols, random)
        write_actions(connection, symbols, random)


def cases(symbols: list[str], path: Path) -> dict[str, Callable[[], Any]]:
    """What is timed, by name."""
    known = datetime(2026, 1, 25, tzinfo=UTC)
    six = ("open", "high", "low", "close", "volume", "vwap")
    every: dict[str, dict[str, Any]] = {
        f"{basis} {layout}": {"basis": basis, "layout": layout}
        for basis in ("raw", "split", "total_return")
        for layout in ("wide", "long", "arrow")
    }
    every["total_return wide, as of a date"] = {"basis": "total_return", "as_of": known}
    every["total_return wide, six fields"] = {"basis": "total_return", "fields": six}
    found: dict[str, Callable[[], Any]] = {
        name: lambda options=options: load(symbols, START, END, database=path, **options)
        for name, options in every.items()
    }
    found["total_return wide, one symbol"] = lambda: load(symbols[:1], START, END, database=path)
    return found


def main() -> None:
    """Measure each case in turn and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    symbols = whole_window(load_universe())
    with tempfile.TemporaryDirectory(prefix="market-data-reading-") as folder:
        path = Path(folder) / "store.duckdb"
        write_store(path, symbols)
        print(f"{len(symbols)} symbols x {len(sessions_between(START, END)):,} sessions; {path.stat().st_size:,} bytes")
        timed = cases(symbols, path)
        seconds: dict[str, list[float]] = {name: [] for name in timed}
        for _ in range(repeats + 1):
            for name, work in timed.items():
                started = time.perf_counter()
                work()
                seconds[name].append(time.perf_counter() - started)
    print(f"{'':<36}{'median s':>10}{'least':>9}{'most':>9}")
    for name, taken in seconds.items():
        warm = taken[1:]
        print(f"{name:<36}{statistics.median(warm):>10.3f}{min(warm):>9.3f}{max(warm):>9.3f}")


if __name__ == "__main__":
    main()
