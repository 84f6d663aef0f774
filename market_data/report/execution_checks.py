"""What must hold of executions and of what they cost, as stored: one function a check, each with its failing rows.

They run in Dagster's asset checks, and without Dagster as well. Every function takes an open connection and the
instant it is (timezone-aware).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import duckdb
import pandas as pd

from market_data.report.checks import SHOWN, CheckResult
from market_data.schemas import Executions
from market_data.sessions import last_completed_session
from market_data.warehouse.batch import naive_utc
from market_data.warehouse.executions import FEEDBACK_COLUMNS, prices_out_of_range
from market_data.warehouse.slippage import BENCHMARKS

__all__ = ["EXECUTION_CHECKS", "OUTLIER_BP", "SLIPPAGE_CHECKS", "ExecutionCheck"]

RECENT = timedelta(days=7)
"""How long a line that could not be used is told of, unless its order came right since."""

OUTLIER_BP = 500.0
"""Basis points beyond which a cost is more likely a wrong price, side or symbol than a cost."""

STORED_WITHIN = timedelta(hours=12)
"""After the close of a session, by when its bars are in the store."""

_INSTANTS = ("decided_at", "arrived_at", "executed_at", "reported_at")


@dataclass(frozen=True, slots=True)
class ExecutionCheck:
    """A named check: what it says, whether it stops what is downstream, and its function."""

    name: str
    description: str
    blocking: bool
    function: Callable[[duckdb.DuckDBPyConnection, datetime], CheckResult]


def quarantine(connection: duckdb.DuckDBPyConnection, now: datetime) -> CheckResult:
    """No line and no file of the last days was unusable, but for orders that came right since."""
    rows = connection.execute(
        "SELECT source_file, line, order_id, reason, rejected_at::VARCHAR AS rejected_at FROM execution_rejects AS r "
        "WHERE rejected_at >= $since AND NOT EXISTS (SELECT 1 FROM execution_feedback AS e "
        "WHERE e.order_id = r.order_id AND e.received_at > r.rejected_at) UNION ALL "
        "SELECT name, NULL, NULL, refused, taken_at::VARCHAR FROM execution_files "
        "WHERE refused IS NOT NULL AND taken_at >= $since ORDER BY rejected_at DESC, source_file, line",
        {"since": naive_utc(now - RECENT)},
    ).df()
    text = f"{len(rows):,} lines or files of the last {RECENT.days} days could not be used" if len(rows) else "none"
    return CheckResult(not len(rows), len(rows), rows.head(SHOWN), float(len(rows)), text)


def schema(connection: duckdb.DuckDBPyConnection, now: datetime) -> CheckResult:
    """Stored executions satisfy the pandera model `Executions`."""
    from pandera.errors import SchemaErrors

    frame = connection.execute(f"SELECT {', '.join(FEEDBACK_COLUMNS)} FROM execution_feedback ORDER BY order_id").df()
    texts = dict.fromkeys(("order_id", "symbol", "side", "venue"), "str")
    frame = frame.astype(texts | {"session_date": "datetime64[s]", "version": "Int64"})
    for name in _INSTANTS:
        frame[name] = frame[name].astype("datetime64[us]").dt.tz_localize("UTC")
    try:
        Executions.validate(frame, lazy=True)
    except SchemaErrors as error:
        cases = error.failure_cases.head(SHOWN)
        rows = cases[["column", "check", "failure_case"]].astype(str).reset_index(drop=True)
        places = frame["order_id"].reindex(cases["index"]).reset_index(drop=True)
        failing = len(error.failure_cases)
        return CheckResult(False, failing, pd.concat([places, rows], axis=1), float(failing), "values break the model")
    return CheckResult(True, 0, frame.head(0), 0.0, f"{len(frame):,} executions satisfy Executions")


def price_range(connection: duckdb.DuckDBPyConnection, now: datetime) -> CheckResult:
    """No execution is priced beyond what its session traded at."""
    rows = prices_out_of_range(connection)
    text = f"{len(rows):,} executions are priced beyond the range of their session" if len(rows) else "none"
    return CheckResult(not len(rows), len(rows), rows.head(SHOWN), float(len(rows)), text)


def complete(connection: duckdb.DuckDBPyConnection, now: datetime) -> CheckResult:
    """Every order whose session should be stored by now has a benchmark besides its own decision price."""
    due = last_completed_session(now - STORED_WITHIN)
    market = " AND ".join(f"{name}_price IS NULL" for name in BENCHMARKS if name != "decision")
    rows = connection.execute(
        "SELECT order_id, e.symbol, e.session_date, coalesce(s.reason, 'it is not measured yet') AS reason "
        "FROM execution_feedback AS e LEFT JOIN execution_slippage AS s USING (order_id) "
        f"WHERE e.session_date <= ? AND (s.order_id IS NULL OR ({market})) ORDER BY e.session_date DESC, order_id",
        [due],
    ).df()
    counts = connection.execute(
        "SELECT count(*), count(*) FILTER (session_date > ?) FROM execution_feedback", [due]
    ).fetchall()[0]
    total, waiting = int(counts[0]), int(counts[1])
    share = 1 - len(rows) / (total - waiting) if total > waiting else 1.0
    text = f"{total - waiting - len(rows):,} of {total - waiting:,} orders have a benchmark"
    text += f"; {waiting:,} are of sessions not due yet" if waiting else ""
    return CheckResult(not len(rows), len(rows), rows.head(SHOWN), share, text)


def outliers(connection: duckdb.DuckDBPyConnection, now: datetime) -> CheckResult:
    """No order costs, or gains, more than is plausible beside any benchmark of its own session or decision."""
    near = [name for name in BENCHMARKS if name != "previous_close"]
    largest = f"greatest({', '.join(f'abs({name}_bp)' for name in near)})"
    rows = connection.execute(
        f"SELECT order_id, symbol, session_date, side, price, {', '.join(f'{name}_bp' for name in near)} "
        f"FROM execution_slippage WHERE {largest} > ? ORDER BY {largest} DESC, order_id",
        [OUTLIER_BP],
    ).df()
    text = f"{len(rows):,} orders lie more than {OUTLIER_BP:g} bp off a benchmark" if len(rows) else "none"
    return CheckResult(not len(rows), len(rows), rows.head(SHOWN), float(len(rows)), text)


EXECUTION_CHECKS = (
    ExecutionCheck("executions_schema", "Executions satisfy the pandera model Executions.", True, schema),
    ExecutionCheck(
        "executions_quarantine", f"No unusable line or file in the last {RECENT.days} days.", False, quarantine
    ),
    ExecutionCheck("executions_price_range", "No price beyond what the session traded at.", False, price_range),
)
"""The checks on `execution_feedback`."""

SLIPPAGE_CHECKS = (
    ExecutionCheck("slippage_complete", "Every order has a benchmark once its session is stored.", False, complete),
    ExecutionCheck("slippage_outliers", f"No cost beyond {OUTLIER_BP:g} basis points.", False, outliers),
)
"""The checks on `execution_slippage`."""
