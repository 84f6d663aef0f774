"""Two databases compared table by table: what a rebuild made, beside the live one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from market_data.warehouse.batch import PRICE_COLUMNS
from market_data.warehouse.connection import Database
from market_data.warehouse.executions import FEEDBACK_COLUMNS

__all__ = ["COMPARED", "Difference", "compare_databases"]

_EXAMPLES = 5

COMPARED: dict[str, tuple[tuple[str, ...], str]] = {
    "price_history_daily": (PRICE_COLUMNS, ""),
    "revisions": ((*PRICE_COLUMNS, "replaced_at", "replaced_by", "reason"), ""),
    "data_quality_log": (
        ("symbol", "date", "verdict", "score", "rules", "source_provider"),
        "verdict <> 'unanswered'",
    ),
    "quality_findings": (
        (
            "symbol",
            "date",
            "rule",
            "severity",
            "field",
            "value",
            "limit_value",
            "proposed",
            "message",
            "source_provider",
            "raw_hash",
        ),
        "",
    ),
    "reported_actions": (
        ("symbol", "date", "kind", "value", "adjusted_as_of", "source_provider", "raw_hash", "pulled_at"),
        "",
    ),
    "corporate_actions": (
        ("symbol", "date", "kind", "value", "source_provider", "also_told_by", "raw_hash", "known_at"),
        "",
    ),
    "corporate_action_revisions": (("symbol", "date", "kind", "value", "source_provider", "replaced_at"), ""),
    "action_conflicts": (("symbol", "date", "kind", "value", "source_provider", "other_provider", "message"), ""),
    "actions_told": (
        ("symbol", "kind", "source_provider", "first_date", "last_date", "raw_hash", "pulled_at"),
        "",
    ),
    "amendments": (
        ("symbol", "date", "field", "old_value", "new_value", "reason", "author", "raw_hash", "amended_at", "ended_by"),
        "",
    ),
    "reconciliations": (
        ("symbol", "date", "provider", "other_provider", "verdict", "field", "value", "other_value", "odd_one"),
        "",
    ),
    "execution_feedback": ((*FEEDBACK_COLUMNS, "source_file", "line", "raw_hash"), ""),
    "execution_revisions": ((*FEEDBACK_COLUMNS, "source_file", "line", "raw_hash", "replaced_by"), ""),
    "execution_rejects": (("raw_hash", "line", "order_id", "text", "reason"), ""),
    "coverage": (
        (
            "request_id",
            "symbol",
            "interval",
            "feed",
            "provider",
            "first_date",
            "last_date",
            "raw_hash",
            "fetched_at",
            "url",
            "http_status",
            "content_type",
            "bytes",
            "attempts",
            "latency_ms",
            "verdict",
        ),
        "outcome = 'answered'",
    ),
    "price_history_intraday": (
        ("symbol", "datetime", "open", "high", "low", "close", "volume", "basis", "source_provider", "raw_hash"),
        "session_date NOT IN (SELECT session_date FROM intraday_polls WHERE pack = '' AND calls > 0)",
    ),
}
"""Tables that follow from the raw store, their columns but for instants of processing and job ids, and which rows."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How a table differs.

    Attributes:
        rows: in the live database.
        only_live, only_other: rows that only one of the two has; a row that changed counts in both.
        examples: the first of them, as dicts with `in`: "live" or "rebuilt".
    """

    table: str
    rows: int
    only_live: int
    only_other: int
    examples: list[dict[str, Any]]

    @property
    def is_none(self) -> bool:
        """Whether the tables are identical."""
        return not self.only_live and not self.only_other


def compare_databases(live: Database, other: Path) -> list[Difference]:
    """Compare every table of `COMPARED`; both are only read.

    Raises:
        WarehouseError, WarehouseLocked: one of them cannot be read.
    """
    with live.reading() as connection, _attached(connection, other):
        return [_difference(connection, table) for table in COMPARED]


@contextmanager
def _attached(connection: duckdb.DuckDBPyConnection, other: Path) -> Iterator[None]:
    path = str(other.absolute()).replace("'", "''")  # ATTACH takes no parameter
    connection.execute(f"ATTACH '{path}' AS other (READ_ONLY)")
    try:
        yield
    finally:
        connection.execute("DETACH other")


def _difference(connection: duckdb.DuckDBPyConnection, table: str) -> Difference:
    names, condition = COMPARED[table]
    columns = ", ".join(f'"{name}"' for name in names)
    where = f" WHERE {condition}" if condition else ""
    live, rebuilt = (f"SELECT {columns} FROM {place}{table}{where}" for place in ("", "other."))
    only_live = _rows(connection, f"{live} EXCEPT ALL {rebuilt}")
    only_rebuilt = _rows(connection, f"{rebuilt} EXCEPT ALL {live}")
    examples = [
        {"in": place} | dict(zip(names, row, strict=True))
        for place, found in (("live", only_live), ("rebuilt", only_rebuilt))
        for row in found[:_EXAMPLES]
    ]
    count = connection.execute(f"SELECT count(*) FROM {table}{where}").fetchone()
    return Difference(table, int(count[0]) if count else 0, len(only_live), len(only_rebuilt), examples)


def _rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[tuple[Any, ...]]:
    return connection.execute(f"{query} ORDER BY ALL").fetchall()
