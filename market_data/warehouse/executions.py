"""Executions in the canonical database: one row an order, what was reported of it before, files and bad lines.

Of two reports of an order the one with the higher `version` stands, else that with the later `reported_at`, else that
of the later file. What a report replaces goes to `execution_revisions`, and so does one that comes after its
correction; hence the order in which files with versions come does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

import duckdb
import pandas as pd
import pyarrow as pa

from market_data.warehouse.batch import naive_utc

__all__ = [
    "EXECUTION_COLUMNS",
    "FEEDBACK_COLUMNS",
    "Conflict",
    "ExecutionCounts",
    "FileTaken",
    "Reject",
    "known_file",
    "prices_out_of_range",
    "record_file",
    "record_rejects",
    "rejected_lines",
    "write_executions",
]

FEEDBACK_COLUMNS = (
    "order_id", "symbol", "side", "quantity", "price", "decision_price", "decided_at", "arrived_at", "executed_at",
    "session_date", "venue", "fees", "reported_at", "version",
)  # fmt: skip
"""What a report says; the columns of an `Executions` frame."""

EXECUTION_COLUMNS = (*FEEDBACK_COLUMNS, "received_at", "source_file", "line", "raw_hash")
"""Columns of `execution_feedback`; `execution_revisions` has them too."""

_SAME = "({}) IS NOT DISTINCT FROM ({})".format(
    ", ".join(f"held.{name}" for name in FEEDBACK_COLUMNS), ", ".join(f"report.{name}" for name in FEEDBACK_COLUMNS)
)
_FATE = f"""CASE
    WHEN held.order_id IS NULL THEN 'inserted'
    WHEN {_SAME} THEN 'unchanged'
    WHEN held.version <> report.version THEN if(report.version > held.version, 'updated', 'superseded')
    WHEN held.reported_at <> report.reported_at THEN if(report.reported_at > held.reported_at, 'updated', 'superseded')
    WHEN held.version = report.version OR held.reported_at = report.reported_at THEN 'conflict'
    ELSE if(report.received_at >= held.received_at, 'updated', 'superseded')
END"""
_JUDGE = (
    f"CREATE OR REPLACE TEMP TABLE judged AS SELECT report.*, {_FATE} AS fate, held.raw_hash AS held_hash, "
    "held.price AS held_price, held.quantity AS held_quantity, held.source_file AS held_file, held.line AS held_line "
    "FROM reports AS report LEFT JOIN execution_feedback AS held USING (order_id)"
)
_KEEP_REPLACED = (
    f"INSERT INTO execution_revisions ({', '.join(EXECUTION_COLUMNS)}, replaced_at, replaced_by) "
    f"SELECT {', '.join(f'held.{name}' for name in EXECUTION_COLUMNS)}, judged.received_at, judged.raw_hash "
    "FROM execution_feedback AS held JOIN judged USING (order_id) WHERE judged.fate = 'updated'"
)
# A report that comes after its correction never stood; one that comes a second time is kept once.
_KEEP_SUPERSEDED = (
    f"INSERT INTO execution_revisions ({', '.join(EXECUTION_COLUMNS)}, replaced_at, replaced_by) "
    f"SELECT {', '.join(f'report.{name}' for name in EXECUTION_COLUMNS)}, report.received_at, report.held_hash "
    "FROM judged AS report WHERE fate = 'superseded' "
    f"AND NOT EXISTS (SELECT 1 FROM execution_revisions AS held WHERE {_SAME})"
)
_MERGE = (
    "MERGE INTO execution_feedback AS held USING (FROM judged WHERE fate IN ('inserted', 'updated')) AS report "
    "ON held.order_id = report.order_id WHEN MATCHED THEN UPDATE SET "
    + ", ".join(f"{name} = report.{name}" for name in EXECUTION_COLUMNS[1:])
    + f" WHEN NOT MATCHED THEN INSERT ({', '.join(EXECUTION_COLUMNS)}) "
    f"VALUES ({', '.join(f'report.{name}' for name in EXECUTION_COLUMNS)})"
)
_WRITES = {
    _KEEP_REPLACED: {"updated"},
    _KEEP_SUPERSEDED: {"superseded"},
    _MERGE: {"inserted", "updated"},
}
"""What is to be done, and for which fates, in this order: what is replaced is kept before it is."""

PRICE_RANGE_SHARE = 0.02
"""How far beyond the session's low and high an execution may lie: trades outside of regular hours are not in them."""

_INSTANTS = ("decided_at", "arrived_at", "executed_at", "reported_at")


@dataclass(frozen=True, slots=True)
class ExecutionCounts:
    """Reports by what became of them."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    superseded: int = 0

    def __add__(self, other: ExecutionCounts) -> ExecutionCounts:
        return ExecutionCounts(*(getattr(self, name) + getattr(other, name) for name in asdict(self)))


@dataclass(frozen=True, slots=True)
class Conflict:
    """A report that differs from the one that stands and cannot be told to be newer or older."""

    line: int
    order_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Reject:
    """A line that could not be used, as it came."""

    line: int
    text: str
    reason: str
    order_id: str | None = None


@dataclass(frozen=True, slots=True)
class FileTaken:
    """What became of a file's lines; `refused` is why nothing of it could be used, None for one that was taken."""

    raw_hash: str
    name: str
    bytes: int
    taken_at: datetime
    refused: str | None = None
    lines: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    superseded: int = 0
    duplicates: int = 0
    rejected: int = 0


def write_executions(
    connection: duckdb.DuckDBPyConnection,
    executions: pd.DataFrame,
    *,
    source_file: str,
    raw_hash: str,
    received_at: datetime,
) -> tuple[ExecutionCounts, list[Conflict]]:
    """Upsert the reports of a file by order, several of one order one after the other; call it inside `transaction`.

    An identical report changes nothing, not even when it was received.

    Args:
        executions: an `Executions` frame, its index the lines.
        raw_hash: SHA-256 of the file.
        received_at: instant it was taken (timezone-aware).

    Returns:
        What became of them, and those that are in conflict with what stands, of which nothing was written.
    """
    counts, conflicts = ExecutionCounts(), []
    turns = executions.groupby("order_id").cumcount()
    for turn in range(int(turns.max()) + 1 if len(turns) else 0):
        reports = executions[turns == turn]
        connection.register("reports", _table(reports, source_file, raw_hash, naive_utc(received_at)))
        connection.execute(_JUDGE)
        connection.unregister("reports")
        fates = dict(connection.execute("SELECT fate, count(*) FROM judged GROUP BY fate").fetchall())
        if fates.pop("conflict", 0):
            conflicts += _conflicts(connection)
        for statement, concerned in _WRITES.items():
            if concerned & fates.keys():
                connection.execute(statement)
        counts += ExecutionCounts(**fates)
    return counts, conflicts


def prices_out_of_range(connection: duckdb.DuckDBPyConnection, raw_hash: str | None = None) -> pd.DataFrame:
    """Executions whose price is beyond the canonical low and high of their session by more than `PRICE_RANGE_SHARE`.

    Those whose raw bar is not held are not among them.

    Args:
        raw_hash: look at those of this file alone.

    Returns:
        Columns order_id, symbol, session_date, price, low, high, ascending by session and order.
    """
    return connection.execute(
        "SELECT order_id, e.symbol, session_date, price, low, high FROM execution_feedback AS e "
        "JOIN price_history_daily AS p ON p.symbol = e.symbol AND p.date = e.session_date AND p.basis = 'raw' "
        "WHERE (price < low * (1 - $share) OR price > high * (1 + $share)) "
        "AND ($raw_hash IS NULL OR e.raw_hash = $raw_hash) ORDER BY session_date, order_id",
        {"share": PRICE_RANGE_SHARE, "raw_hash": raw_hash},
    ).df()


def known_file(connection: duckdb.DuckDBPyConnection, raw_hash: str) -> FileTaken | None:
    """What became of a file of this content before; None where it is new."""
    columns = ", ".join(FileTaken.__dataclass_fields__)
    rows = connection.execute(f"SELECT {columns} FROM execution_files WHERE raw_hash = ?", [raw_hash]).fetchall()
    return FileTaken(*rows[0]) if rows else None


def record_file(connection: duckdb.DuckDBPyConnection, taken: FileTaken) -> None:
    """Note what became of a file, in place of what was noted of the same content before."""
    values = asdict(taken) | {"taken_at": naive_utc(taken.taken_at)}
    marks = ", ".join("?" for _ in values)
    connection.execute(
        f"INSERT OR REPLACE INTO execution_files ({', '.join(values)}) VALUES ({marks})", list(values.values())
    )


def rejected_lines(connection: duckdb.DuckDBPyConnection, raw_hash: str) -> set[int]:
    """Lines of a file that could not be used so far."""
    rows = connection.execute("SELECT line FROM execution_rejects WHERE raw_hash = ?", [raw_hash]).fetchall()
    return {row[0] for row in rows}


def record_rejects(
    connection: duckdb.DuckDBPyConnection,
    rejects: Sequence[Reject],
    *,
    source_file: str,
    raw_hash: str,
    rejected_at: datetime,
) -> None:
    """Note the lines of a file that could not be used; one noted before keeps the instant it was."""
    kept = {reject.line for reject in rejects}
    gone = rejected_lines(connection, raw_hash) - kept
    connection.execute(
        "DELETE FROM execution_rejects WHERE raw_hash = ? AND line IN (SELECT unnest(?))", [raw_hash, list(gone)]
    )
    if not rejects:
        return
    size = len(rejects)
    table = pa.table(
        {
            "raw_hash": pa.array([raw_hash] * size, pa.string()),
            "line": pa.array([reject.line for reject in rejects], pa.int32()),
            "order_id": pa.array([reject.order_id for reject in rejects], pa.string()),
            "source_file": pa.array([source_file] * size, pa.string()),
            "text": pa.array([reject.text for reject in rejects], pa.string()),
            "reason": pa.array([reject.reason for reject in rejects], pa.string()),
            "rejected_at": pa.array([naive_utc(rejected_at)] * size, pa.timestamp("us")),
        }
    )
    connection.register("rejects", table)
    connection.execute(
        "MERGE INTO execution_rejects AS held USING rejects ON held.raw_hash = rejects.raw_hash "
        "AND held.line = rejects.line WHEN MATCHED AND held.reason <> rejects.reason "
        "THEN UPDATE SET reason = rejects.reason WHEN NOT MATCHED THEN INSERT BY NAME"
    )
    connection.unregister("rejects")


def _conflicts(connection: duckdb.DuckDBPyConnection) -> list[Conflict]:
    rows = connection.execute(
        "SELECT line, order_id, held_quantity, held_price, held_file, held_line FROM judged WHERE fate = 'conflict' "
        "ORDER BY line"
    ).fetchall()
    return [
        Conflict(
            line,
            order_id,
            f"order {order_id} is held with other values under the same version or reported_at ({quantity:g} at "
            f"{price:g}, line {held_line} of {file}); give a higher version or a later reported_at to correct it",
        )
        for line, order_id, quantity, price, file, held_line in rows
    ]


def _table(executions: pd.DataFrame, source_file: str, raw_hash: str, received_at: datetime) -> pa.Table:
    size = len(executions)
    columns = {
        name: pa.array(executions[name], pa.string(), from_pandas=True)
        for name in ("order_id", "symbol", "side", "venue")
    } | {
        name: pa.array(executions[name].to_numpy(dtype=float), from_pandas=True)
        for name in ("quantity", "price", "decision_price", "fees")
    }
    for name in _INSTANTS:
        instants = executions[name].dt.tz_localize(None).to_numpy().astype("datetime64[us]")
        columns[name] = pa.array(instants, pa.timestamp("us"), from_pandas=True)
    columns["session_date"] = pa.array(executions["session_date"].to_numpy().astype("datetime64[D]"), pa.date32())
    columns["version"] = pa.array(executions["version"], pa.int64(), from_pandas=True)
    columns |= {
        "received_at": pa.array([received_at] * size, pa.timestamp("us")),
        "source_file": pa.array([source_file] * size, pa.string()),
        "line": pa.array(executions.index.to_numpy(), pa.int32()),
        "raw_hash": pa.array([raw_hash] * size, pa.string()),
    }
    return pa.table(columns)
