"""Why a bar is what it is: the decisions about a symbol and session, from the audit, and what is stored now."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import duckdb

from market_data.records import EVERY

__all__ = ["Explanation", "read_explanation"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is known of a symbol and session.

    Attributes:
        bar: the stored bar with its basis, provider and payload; None when there is none.
        verdict: the row of the quality log; None when there is none.
        decisions: audit records of jobs over the session, the latest first, each with its `decision`.
        requests: rows of the ledger whose span holds the session, the latest first, each with what was `considered`
            when its provider was chosen.
    """

    symbol: str
    date: date
    bar: dict[str, Any] | None
    verdict: dict[str, Any] | None
    decisions: list[dict[str, Any]]
    requests: list[dict[str, Any]]

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all is known."""
        return not (self.bar or self.verdict or self.decisions or self.requests)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "symbol": self.symbol,
            "date": self.date.isoformat(),
            "bar": self.bar,
            "verdict": self.verdict,
            "decisions": self.decisions,
            "requests": self.requests,
        }


def read_explanation(connection: duckdb.DuckDBPyConnection, symbol: str, day: date) -> Explanation:
    """Everything the database knows of how a symbol's session came to be as it is."""
    bars = _rows(
        connection,
        "SELECT open, high, low, close, volume, basis, adjusted_as_of, source_provider, raw_hash, pulled_at "
        "FROM price_history_daily WHERE symbol = ? AND date = ?",
        [symbol, day],
    )
    verdicts = _rows(
        connection,
        "SELECT verdict, score, rules, source_provider, checked_at FROM data_quality_log WHERE symbol = ? AND date = ?",
        [symbol, day],
    )
    decisions = _rows(
        connection,
        "SELECT job_id, kind, outcome, provider, reason, calls, finished_at, decision FROM ingestion_audit "
        "WHERE symbol = ? AND ? BETWEEN start_date AND end_date ORDER BY finished_at DESC",
        [symbol, day],
    )
    requests = _rows(
        connection,
        "SELECT request_id, symbol, provider, first_date, last_date, outcome, verdict, error, message, http_status, "
        "attempts, latency_ms, bytes, raw_hash, fetched_at, url, job_id, considered FROM coverage "
        "WHERE symbol IN (?, ?) AND interval = '1d' AND feed = 'bars' AND ? BETWEEN first_date AND last_date "
        "ORDER BY fetched_at DESC, request_id",
        [symbol, EVERY, day],
    )
    return Explanation(
        symbol=symbol,
        date=day,
        bar=bars[0] if bars else None,
        verdict=verdicts[0] if verdicts else None,
        decisions=[row | {"decision": json.loads(row["decision"])} for row in decisions],
        requests=[row | {"considered": json.loads(row["considered"] or "[]")} for row in requests],
    )


def _rows(connection: duckdb.DuckDBPyConnection, query: str, values: list[Any]) -> list[dict[str, Any]]:
    cursor = connection.execute(query, values)
    names = [item[0] for item in cursor.description or ()]
    return [{name: _plain(value) for name, value in zip(names, row, strict=True)} for row in cursor.fetchall()]


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC).isoformat()
    return value.isoformat() if isinstance(value, date) else value
