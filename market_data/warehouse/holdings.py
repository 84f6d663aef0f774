"""What the canonical database already holds, read in a few statements for many symbols at once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from market_data.records import EVERY, FetchRequest, StoredPayload
from market_data.schemas import empty_actions
from market_data.warehouse.actions import read_actions, read_told
from market_data.warehouse.batch import naive_utc

__all__ = [
    "HeldAnswer",
    "Holdings",
    "JobProgress",
    "adjusted_payloads",
    "asked_symbols",
    "audit_lines",
    "job_progress",
    "last_word_on_actions",
    "read_holdings",
    "restatable_dates",
    "settled_dates",
    "unread_answers",
]


@dataclass(frozen=True, slots=True)
class HeldAnswer:
    """A stored answer in the ledger: its payload, the job that asked (None: not known), and what validation made of it.

    Attributes:
        verdict: accepted, rejected or no_data; None when it was not judged.
    """

    stored: StoredPayload
    job_id: str | None = None
    verdict: str | None = None


@dataclass(frozen=True, slots=True)
class Holdings:
    """What is known of one symbol.

    Attributes:
        answered: sessions with a verdict that needs no further call (accepted, flagged or missing).
        rejected: sessions whose batch was rejected.
        is_new: whether nothing of it is stored, for any session.
        first_bar: where the span of an instrument without a known listing date begins.
        answers: stored answers of the bars feed, oldest first, those for every symbol at once included.
        actions: the corporate actions known, as `read_actions` gives them.
        told: the spans of which they were told, as `read_told` gives them; None where it was not read.
        failure: why the last request that failed did, if it came after every answer.
    """

    answered: int = 0
    rejected: int = 0
    is_new: bool = True
    first_bar: date | None = None
    answers: tuple[HeldAnswer, ...] = ()
    actions: pd.DataFrame = field(default_factory=empty_actions)
    told: pd.DataFrame | None = None
    failure: tuple[str, str, int, str | None] | None = None


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a job is, from the audit: symbols by outcome, those left, and when it was started and finished."""

    job_id: str
    kind: str
    provider: str
    synthetic: bool
    start: date
    end: date
    started_at: datetime
    finished_at: datetime | None
    planned: list[str] = field(default_factory=list)
    outcomes: dict[str, list[str]] = field(default_factory=dict)

    @property
    def left(self) -> list[str]:
        """Planned symbols that have no record yet."""
        done = {symbol for symbols in self.outcomes.values() for symbol in symbols}
        return [symbol for symbol in self.planned if symbol not in done]


def read_holdings(
    connection: duckdb.DuckDBPyConnection, symbols: Iterable[str], start: date, end: date
) -> dict[str, Holdings]:
    """Holdings of each symbol for the sessions of `start..end`."""
    connection.register("asked", pa.table({"symbol": pa.array(list(symbols), pa.string())}))
    try:
        verdicts = connection.execute(
            "SELECT symbol, count(*) FILTER (verdict IN ('accepted', 'flagged', 'missing')), "
            "count(*) FILTER (verdict = 'rejected') FROM data_quality_log SEMI JOIN asked USING (symbol) "
            "WHERE date BETWEEN ? AND ? GROUP BY symbol",
            [start, end],
        ).fetchall()
        stored = connection.execute(
            "SELECT DISTINCT symbol FROM data_quality_log SEMI JOIN asked USING (symbol)"
        ).fetchall()
        first_bars = connection.execute(
            "SELECT symbol, min(date) FROM quality_findings SEMI JOIN asked USING (symbol) "
            "WHERE rule = 'span_from_first_bar' GROUP BY symbol"
        ).fetchall()
        own = _answers(connection)
        failures = _failures(connection)
        names = [row[0] for row in connection.execute("SELECT symbol FROM asked").fetchall()]
    finally:
        connection.unregister("asked")
    actions, told = read_actions(connection, names), read_told(connection, names)
    for_all = own.pop(EVERY, [])
    counts = {row[0]: (int(row[1]), int(row[2])) for row in verdicts}
    first = dict(first_bars)
    known = {row[0] for row in stored}
    return {
        symbol: Holdings(
            answered=counts.get(symbol, (0, 0))[0],
            rejected=counts.get(symbol, (0, 0))[1],
            is_new=symbol not in known,
            first_bar=first.get(symbol),
            answers=tuple(sorted((*own.get(symbol, ()), *for_all), key=_when)),
            actions=actions[symbol],
            told=told[symbol],
            failure=failures.get(symbol),
        )
        for symbol in names
    }


def restatable_dates(
    connection: duckdb.DuckDBPyConnection, symbol: str, basis: str, fetched_at: datetime, sha256: str
) -> pd.DatetimeIndex:
    """Stored sessions of a symbol whose adjusted prices come from an older payload of the same basis.

    A vendor that sends adjusted prices restates its whole history with each action, so a newer payload replaces these
    as well; otherwise the series would mix adjustments.
    """
    rows = connection.execute(
        "SELECT date FROM price_history_daily WHERE symbol = ? AND basis = ? AND basis <> 'raw' "
        "AND raw_hash <> ? AND pulled_at < ? ORDER BY date",
        [symbol, basis, sha256, naive_utc(fetched_at)],
    ).fetchnumpy()["date"]
    return pd.DatetimeIndex(rows.astype("datetime64[s]"))


def adjusted_payloads(
    connection: duckdb.DuckDBPyConnection, symbol: str, since: date | None = None
) -> list[tuple[StoredPayload, pd.DatetimeIndex]]:
    """Payloads of adjusted prices that a symbol's stored bars come from, oldest first, with the sessions of these.

    Args:
        since: only those that were adjusted up to this date or later, or whose bars are not raw; None for all.
    """
    rows = connection.execute(
        "SELECT raw_hash, list(date ORDER BY date) FROM price_history_daily WHERE symbol = $symbol "
        "AND sent_basis <> 'raw' GROUP BY raw_hash "
        "HAVING $since::DATE IS NULL OR max(sent_as_of) >= $since::DATE OR bool_or(basis <> 'raw')",
        {"symbol": symbol, "since": since},
    ).fetchall()
    sessions = {row[0]: pd.DatetimeIndex(np.array(row[1], dtype="datetime64[s]")) for row in rows}
    found = connection.execute(
        f"SELECT {_STORED_COLUMNS} FROM coverage WHERE outcome = 'answered' AND feed = 'bars' "
        "AND symbol IN (?, ?) AND raw_hash IN (SELECT unnest(?)) ORDER BY fetched_at DESC, request_id",
        [symbol, EVERY, list(sessions)],
    ).fetchall()
    latest = {row[6]: _stored(row) for row in reversed(found)}
    return [(stored, sessions[sha256]) for sha256, stored in latest.items()]


def last_word_on_actions(connection: duckdb.DuckDBPyConnection, symbol: str) -> tuple[datetime, str] | None:
    """When the newest payload that tells of a symbol's actions came, and its SHA-256; None where none does."""
    row = connection.execute(
        "SELECT pulled_at, raw_hash FROM actions_told WHERE symbol IN ($symbol, $every) UNION ALL "
        "SELECT pulled_at, raw_hash FROM reported_actions WHERE symbol = $symbol ORDER BY ALL DESC LIMIT 1",
        {"symbol": symbol, "every": EVERY},
    ).fetchone()
    return None if row is None else (row[0].replace(tzinfo=UTC), row[1])


def settled_dates(
    connection: duckdb.DuckDBPyConnection, symbols: Iterable[str], start: date, end: date, *, rejected: bool
) -> dict[str, pd.DatetimeIndex]:
    """Sessions of each symbol that have a verdict which needs no further call.

    Args:
        rejected: whether a rejected session counts as settled.
    """
    verdicts = ["accepted", "flagged", "missing", *(["rejected"] if rejected else [])]
    rows = connection.execute(
        "SELECT symbol, list(date ORDER BY date) FROM data_quality_log "
        "WHERE symbol IN (SELECT unnest(?)) AND date BETWEEN ? AND ? AND verdict IN (SELECT unnest(?)) GROUP BY symbol",
        [list(symbols), start, end, verdicts],
    ).fetchall()
    return {symbol: pd.DatetimeIndex(np.array(dates, dtype="datetime64[s]")) for symbol, dates in rows}


def unread_answers(
    connection: duckdb.DuckDBPyConnection, symbols: Iterable[str], start: date, end: date
) -> dict[str, list[str]]:
    """Answers for all symbols at once, about sessions of `start..end`, that no run read for the symbol since they came.

    Their place in the ledger does not tell, since they are noted before any symbol's bars are made of them.

    Returns:
        Their request ids by symbol; symbols without one are left out.
    """
    rows = connection.execute(
        "SELECT s.symbol, list(c.request_id) FROM coverage AS c, (SELECT unnest(?) AS symbol) AS s "
        "WHERE c.symbol = ? AND c.feed = 'bars' AND c.interval = '1d' AND c.outcome = 'answered' "
        "AND c.first_date <= ? AND c.last_date >= ? AND NOT EXISTS (SELECT 1 FROM ingestion_audit AS a "
        "WHERE a.symbol = s.symbol AND a.kind IN ('materialize', 'sync') AND a.start_date <= c.first_date "
        "AND a.end_date >= c.last_date AND a.finished_at >= c.fetched_at) GROUP BY s.symbol",
        [list(symbols), EVERY, end, start],
    ).fetchall()
    return dict(rows)


def asked_symbols(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Symbols any provider was ever asked for by themselves, answered or not."""
    rows = connection.execute(
        "SELECT DISTINCT symbol FROM coverage WHERE symbol <> ? AND feed = 'bars' AND interval = '1d' ORDER BY symbol",
        [EVERY],
    )
    return [row[0] for row in rows.fetchall()]


def job_progress(connection: duckdb.DuckDBPyConnection, job_id: str) -> JobProgress | None:
    """How far a job is; None when there is no such job."""
    row = connection.execute(
        "SELECT kind, provider, synthetic, start_date, end_date, started_at, finished_at, symbols "
        "FROM ingestion_jobs WHERE job_id = ?",
        [job_id],
    ).fetchone()
    if row is None:
        return None
    outcomes: dict[str, list[str]] = {}
    for symbol, outcome in connection.execute(
        "SELECT symbol, outcome FROM ingestion_audit WHERE job_id = ? ORDER BY symbol", [job_id]
    ).fetchall():
        outcomes.setdefault(outcome, []).append(symbol)
    kind, provider, synthetic, start, end, started_at, finished_at, symbols = row
    return JobProgress(
        job_id=job_id,
        kind=kind,
        provider=provider,
        synthetic=synthetic,
        start=start,
        end=end,
        started_at=started_at.replace(tzinfo=UTC),
        finished_at=finished_at.replace(tzinfo=UTC) if finished_at else None,
        planned=json.loads(symbols),
        outcomes=outcomes,
    )


def audit_lines(connection: duckdb.DuckDBPyConnection, job_id: str) -> list[dict[str, Any]]:
    """The audit records of a job as JSON-ready dicts, in the order they were finished."""
    cursor = connection.execute("SELECT * FROM ingestion_audit WHERE job_id = ? ORDER BY finished_at, symbol", [job_id])
    names = [item[0] for item in cursor.description or ()]
    return [_line(dict(zip(names, row, strict=True))) for row in cursor.fetchall()]


def _line(row: dict[str, Any]) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, datetime):
            return value.replace(tzinfo=UTC).isoformat()
        return value.isoformat() if isinstance(value, date) else value

    return {name: json.loads(value) if name == "decision" else plain(value) for name, value in row.items()}


def _answers(connection: duckdb.DuckDBPyConnection) -> dict[str, list[HeldAnswer]]:
    rows = connection.execute(
        f"SELECT {_STORED_COLUMNS}, job_id, verdict FROM coverage "
        "WHERE outcome = 'answered' AND feed = 'bars' AND (symbol = ? OR symbol IN (SELECT symbol FROM asked)) "
        "ORDER BY fetched_at, request_id",
        [EVERY],
    ).fetchall()
    found: dict[str, list[HeldAnswer]] = {}
    for row in rows:
        found.setdefault(row[1], []).append(HeldAnswer(_stored(row), row[14], row[15]))
    return found


_STORED_COLUMNS = (
    "request_id, symbol, interval, provider, first_date, last_date, raw_hash, fetched_at, url, http_status, "
    "content_type, bytes, attempts, latency_ms"
)


def _stored(row: Sequence[Any]) -> StoredPayload:
    """An answer of the bars feed, from its row of `_STORED_COLUMNS`."""
    return StoredPayload(
        request_id=row[0],
        provider=row[3],
        request=FetchRequest(symbol=row[1], start=row[4], end=row[5], interval=row[2]),
        sha256=row[6],
        url=row[8],
        status=row[9],
        content_type=row[10],
        fetched_at=row[7].replace(tzinfo=UTC),
        attempts=row[12],
        elapsed_ms=row[13],
        size=row[11],
    )


def _when(answer: HeldAnswer) -> datetime:
    return answer.stored.fetched_at


def _failures(connection: duckdb.DuckDBPyConnection) -> dict[str, tuple[str, str, int, str | None]]:
    rows = connection.execute(
        "SELECT symbol, arg_max(outcome, fetched_at), arg_max(error, fetched_at), arg_max(message, fetched_at), "
        "arg_max(attempts, fetched_at), arg_max_null(job_id, fetched_at) "
        "FROM coverage SEMI JOIN asked USING (symbol) WHERE feed = 'bars' AND interval = '1d' GROUP BY symbol"
    ).fetchall()
    return {row[0]: (row[2], row[3], int(row[4]), row[5]) for row in rows if row[1] == "failed"}
