"""Bars and corporate actions put straight into a database, each with the instant since when it is known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import duckdb

from market_data_tests.bars import hashed, naive

KNOWN = naive(12, day="2021-03-01")
"""When a bar or an action is known, where nothing else is said; naive UTC."""


def put_bar(connection: duckdb.DuckDBPyConnection, symbol: str, day: str, price: float | None, **fields: Any) -> None:
    """A bar with every price at `price` and 1,000 shares; with `replaced_at` it goes to the revisions."""
    row: dict[str, Any] = {
        "symbol": symbol,
        "date": day,
        **dict.fromkeys(("open", "high", "low", "close", "vwap"), price),
        "volume": 1000.0,
        "trade_count": 7.0,
        "basis": "raw",
        "source_provider": "sandbox",
        "raw_hash": hashed(symbol),
        "known_at": KNOWN,
    } | fields
    row |= {"sent_basis": row["basis"], "sent_as_of": row.get("adjusted_as_of"), "pulled_at": row["known_at"]}
    table = "price_history_daily"
    if "replaced_at" in row:
        table = "revisions"
        row = {"replaced_by": hashed("later"), "reason": "payload"} | row
    _insert(connection, table, row)


def put_bars(
    connection: duckdb.DuckDBPyConnection, symbol: str, closes: dict[str, float | None], **fields: Any
) -> None:
    """Bars of several sessions."""
    for day, close in closes.items():
        put_bar(connection, symbol, day, close, **fields)


def put_action(
    connection: duckdb.DuckDBPyConnection, symbol: str, day: str, kind: str, value: float, **fields: Any
) -> None:
    """An action; with `replaced_at` it goes to the revisions."""
    row: dict[str, Any] = {
        "symbol": symbol,
        "date": day,
        "kind": kind,
        "value": value,
        "source_provider": "sandbox",
        "also_told_by": "",
        "raw_hash": hashed(symbol),
        "known_at": KNOWN,
    } | fields
    _insert(connection, "corporate_action_revisions" if "replaced_at" in row else "corporate_actions", row)


def put_told(
    connection: duckdb.DuckDBPyConnection,
    symbol: str,
    first: str,
    last: str,
    kinds: Iterable[str] = ("split", "dividend"),
    **fields: Any,
) -> None:
    """That a provider told every action of a span."""
    for kind in kinds:
        row: dict[str, Any] = {
            "symbol": symbol,
            "kind": kind,
            "source_provider": "polygon",
            "first_date": first,
            "last_date": last,
            "raw_hash": hashed(f"{symbol}{first}{last}"),
            "pulled_at": KNOWN,
        }
        _insert(connection, "actions_told", row | fields)


def _insert(connection: duckdb.DuckDBPyConnection, table: str, row: dict[str, Any]) -> None:
    marks = ", ".join("?" for _ in row)
    connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values()))
