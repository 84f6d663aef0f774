"""Plain builders of the frames and records the warehouse takes, and a prepared database in one file copy."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from market_data.records import AuditRecord, Basis, FetchRequest, Outcome, StoredPayload
from market_data.validation.frames import FINDING_COLUMNS
from market_data.warehouse.batch import BatchWrite
from market_data.warehouse.connection import Database

DAYS = ("2021-01-19", "2021-01-20", "2021-01-21", "2021-01-22", "2021-01-25")
"""The first five sessions of the window."""

TABLES = (
    "price_history_daily",
    "price_history_intraday",
    "execution_feedback",
    "provider_metrics",
    "provider_quotas",
    "gaps",
    "known_instruments",
    "intraday_polls",
    "intraday_revisions",
    "data_quality_log",
    "quality_findings",
    "ingestion_jobs",
    "ingestion_audit",
    "corporate_actions",
    "coverage",
    "revisions",
    "store_kind",
    "reported_actions",
    "corporate_action_revisions",
    "action_conflicts",
    "actions_told",
    "amendments",
    "reconciliations",
    "execution_revisions",
    "execution_files",
    "execution_rejects",
    "execution_slippage",
    "features_daily",
    "feature_partitions",
)
"""The tables that hold data, in the order of the migrations."""

_HOLD = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "reading")
print("held", flush=True)
sys.stdin.read()
"""


def at(hour: int = 0, minute: int = 0, day: str = "2026-01-20") -> datetime:
    """An instant, UTC."""
    return datetime.fromisoformat(day).replace(hour=hour, minute=minute, tzinfo=UTC)


def naive(hour: int = 0, minute: int = 0, day: str = "2026-01-20") -> datetime:
    """The same instant as DuckDB gives it back."""
    return at(hour, minute, day).replace(tzinfo=None)


def hashed(text: str) -> str:
    """A SHA-256 that stands for a payload."""
    return hashlib.sha256(text.encode()).hexdigest()


def prices(days: Sequence[str] = DAYS, **columns: float | Sequence[float | None] | None) -> pd.DataFrame:
    """A `DailyPrices` frame: 10, 11, 9, 10.5 and 1,000 shares, but for the fields given."""
    fields = {
        "open": 10.0,
        "high": 11.0,
        "low": 9.0,
        "close": 10.5,
        "volume": 1000.0,
        "vwap": None,
        "trade_count": None,
    }
    columns = {
        name: np.full(len(days), np.nan if value is None else value, dtype=float)
        if value is None or isinstance(value, float | int)
        else np.array(value, dtype=float)
        for name, value in (fields | columns).items()
    }
    return pd.DataFrame({"date": np.array(days, dtype="datetime64[s]"), **columns})


def verdicts(*rows: tuple[str, str, float, str]) -> pd.DataFrame:
    """A `QualityLog` frame of (date, verdict, score, rules)."""
    frame = pd.DataFrame(rows, columns=["date", "verdict", "score", "rules"])
    return frame.astype({"date": "datetime64[s]", "verdict": "str", "score": "float64", "rules": "str"})


def findings(*rows: tuple[str | None, str, str, str, float | None, float | None, str]) -> pd.DataFrame:
    """Findings of (date, rule, severity, field, value, limit, message), which propose nothing."""
    frame = pd.DataFrame(rows, columns=[name for name in FINDING_COLUMNS if name != "proposed"])
    frame = frame.assign(proposed=np.nan)[list(FINDING_COLUMNS)]
    texts = dict.fromkeys(("rule", "severity", "field", "message"), "str")
    return frame.astype({"date": "datetime64[s]", "value": "float64", "limit": "float64"} | texts)


def actions(*rows: tuple[str, str, float]) -> pd.DataFrame:
    """A `CorporateActions` frame of (date, kind, value)."""
    frame = pd.DataFrame(rows, columns=["date", "kind", "value"])
    return frame.astype({"date": "datetime64[s]", "kind": "str", "value": "float64"})


def payload(
    symbol: str = "AAPL",
    *,
    fetched: datetime | None = None,
    provider: str = "sandbox",
    start: str = DAYS[0],
    end: str = "2026-01-19",
    feed: str = "bars",
    **fields: Any,
) -> StoredPayload:
    """A stored answer whose id and hash follow from who was asked, for what and when."""
    fetched = fetched or at()
    identity = hashed(f"{provider}|{symbol}|{start}|{end}|{fetched}|{feed}")
    request = FetchRequest(symbol, date.fromisoformat(start), date.fromisoformat(end), feed=feed)
    given: dict[str, Any] = {
        "request_id": identity[:16],
        "sha256": identity,
        "url": f"https://example.test/{symbol}",
        "status": 200,
        "content_type": "text/csv",
        "attempts": 1,
        "elapsed_ms": 12.5,
        "size": 4096,
    }
    return StoredPayload(provider=provider, request=request, fetched_at=fetched, **(given | fields))


def batch(
    bars: pd.DataFrame | None = None,
    *,
    stored: StoredPayload | None = None,
    quality: pd.DataFrame | None = None,
    found: pd.DataFrame | None = None,
    job_id: str = "job",
    basis: Basis = Basis.RAW,
    as_of: datetime | None = None,
    now: datetime | None = None,
    is_first: bool = False,
    **fields: Any,
) -> BatchWrite:
    """What one payload brings; what is not given is empty."""
    stored = stored or payload()
    return BatchWrite(
        symbol=stored.request.symbol,
        job_id=job_id,
        stored=stored,
        basis=basis,
        adjusted_as_of=as_of,
        bars=prices(()) if bars is None else bars,
        quality=verdicts() if quality is None else quality,
        findings=findings() if found is None else found,
        now=now or at(1),
        is_first=is_first,
        **fields,
    )


def audit(symbol: str = "AAPL", **fields: Any) -> AuditRecord:
    """An audit record with every field set, but for the fields given."""
    given: dict[str, Any] = {
        "job_id": "job",
        "kind": "backfill",
        "outcome": Outcome.ACCEPTED,
        "provider": "sandbox",
        "start_date": date(2021, 1, 19),
        "end_date": date(2026, 1, 19),
        "reason": "a reason",
        "rule": "a_rule",
        "calls": 2,
        "attempts": 3,
        "sessions_expected": 1256,
        "sessions_missing": 4,
        "rows_received": 1255,
        "rows_inserted": 1200,
        "rows_updated": 50,
        "rows_unchanged": 2,
        "null_share": 0.0125,
        "score": 0.975,
        "findings": 7,
        "raw_hash": hashed(symbol),
        "url": "https://example.test/a?b=c",
        "http_status": 200,
        "bytes": 61234,
        "latency_ms": 81.25,
        "synthetic": True,
        "decision": [{"provider": "sandbox", "calls": 2, "answer": "accepted"}],
        "started_at": at(2),
        "finished_at": at(2, 1).replace(second=3, microsecond=456789),
    }
    return AuditRecord(symbol=symbol, **(given | fields))


@cache
def _prepared() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "empty.duckdb")
        database.prepare()
        return database.path.read_bytes()


def new_database(path: str | Path = "store.duckdb", *, patience: float = 5.0) -> Database:
    """A prepared database without data, in the working directory."""
    Path(path).write_bytes(_prepared())
    return Database(Path(path), patience=patience)


def in_memory() -> duckdb.DuckDBPyConnection:
    """The tables of an empty database in memory, for what needs many transactions and no file."""
    connection = duckdb.connect(config={"threads": 1})
    scripts = files("market_data.warehouse").joinpath("migrations").iterdir()
    for script in sorted(scripts, key=lambda script: script.name):
        connection.execute(script.read_text("utf-8"))
    return connection


def rows(connection: duckdb.DuckDBPyConnection, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """All rows of a query."""
    return connection.execute(query, list(values)).fetchall()


def counts(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Rows of each table that has some."""
    sizes = {table: rows(connection, f"SELECT count(*) FROM {table}")[0][0] for table in TABLES}
    return {table: size for table, size in sizes.items() if size}


@contextmanager
def held_elsewhere(path: Path, how: str = "writing") -> Iterator[int]:
    """Another process holds the database, `reading` or `writing`; gives its process id."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process.pid
    finally:
        process.communicate("", timeout=30)


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, in the same working directory."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
