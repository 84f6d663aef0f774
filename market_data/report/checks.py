"""What must hold of the stored tables for a span of sessions: one function a check, each with its failing rows.

These are the bodies of the Dagster asset checks, and run without Dagster as well. Every function takes an open
connection and the span (both ends inclusive) and gives a `CheckResult`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import duckdb
import pandas as pd
from pandera.errors import SchemaErrors

from market_data.ingest.raw_store import RawStore
from market_data.records import EVERY
from market_data.schemas import DailyPrices
from market_data.settings import Settings

__all__ = ["CHECKS", "Check", "CheckResult"]

SHOWN = 20


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Whether a check passed, how many rows failed, the first of them, and one number to watch over time."""

    passed: bool
    failing: int
    rows: pd.DataFrame
    measured: float
    summary: str


CheckFunction = Callable[[duckdb.DuckDBPyConnection, date, date, Settings], CheckResult]


@dataclass(frozen=True, slots=True)
class Check:
    """A named check: what it says, whether it stops what is downstream, and its function."""

    name: str
    description: str
    blocking: bool
    function: CheckFunction


def _of_rows(connection: duckdb.DuckDBPyConnection, query: str, values: list[object], what: str) -> CheckResult:
    rows = connection.execute(query, values).df()
    failing = len(rows)
    text = f"{failing:,} {what}" if failing else f"no {what}"
    return CheckResult(not failing, failing, rows.head(SHOWN), float(failing), text)


def schema(connection: duckdb.DuckDBPyConnection, start: date, end: date, settings: Settings) -> CheckResult:
    """Stored bars satisfy the pandera model `DailyPrices`, the date's uniqueness being the table's key."""
    names = list(DailyPrices.to_schema().columns)
    bars = connection.execute(
        f"SELECT {', '.join(names)}, symbol FROM price_history_daily WHERE date BETWEEN ? AND ?", [start, end]
    ).df()
    bars["date"] = bars["date"].astype("datetime64[s]")
    model = DailyPrices.to_schema().update_column("date", unique=False)
    try:
        model.validate(bars[names], lazy=True)
    except SchemaErrors as error:
        cases = error.failure_cases.head(SHOWN)
        rows = cases[["column", "check", "failure_case"]].astype(str)
        places = bars[["symbol", "date"]].reindex(cases["index"]).reset_index(drop=True)
        rows = pd.concat([places, rows.reset_index(drop=True)], axis=1)
        failing = len(error.failure_cases)
        return CheckResult(False, failing, rows, float(failing), "values break the model")
    return CheckResult(True, 0, bars.head(0), 0.0, f"{len(bars):,} bars satisfy DailyPrices")


def completeness(connection: duckdb.DuckDBPyConnection, start: date, end: date, settings: Settings) -> CheckResult:
    """Every expected session of an accepted instrument has a bar; the share that has is measured."""
    row = connection.execute(
        "SELECT count(*) FROM data_quality_log WHERE date BETWEEN ? AND ?", [start, end]
    ).fetchone()
    expected = int(row[0]) if row else 0
    rows = connection.execute(
        "WITH refused AS (SELECT symbol, arg_max(message, found_at) AS reason FROM quality_findings "
        "WHERE date IS NULL AND severity = 'error' GROUP BY symbol) "
        "SELECT symbol, date, verdict, rules, CASE verdict WHEN 'rejected' THEN coalesce(reason, '') ELSE '' END "
        "AS reason FROM data_quality_log ANTI JOIN price_history_daily USING (symbol, date) "
        "LEFT JOIN refused USING (symbol) WHERE date BETWEEN ? AND ? ORDER BY date, symbol",
        [start, end],
    ).df()
    held = expected - len(rows)
    share = held / expected if expected else 0.0
    text = f"{held:,} of {expected:,} expected bars ({share:.2%})"
    return CheckResult(expected > 0 and not len(rows), len(rows), rows.head(SHOWN), share, text)


def nulls(connection: duckdb.DuckDBPyConnection, start: date, end: date, settings: Settings) -> CheckResult:
    """The share of bars with a null field is within the threshold."""
    rows = connection.execute(
        "SELECT symbol, date, open, high, low, close, volume FROM price_history_daily WHERE date BETWEEN ? AND ? "
        "AND (open IS NULL OR high IS NULL OR low IS NULL OR close IS NULL OR volume IS NULL) ORDER BY date, symbol",
        [start, end],
    ).df()
    row = connection.execute(
        "SELECT count(*) FROM price_history_daily WHERE date BETWEEN ? AND ?", [start, end]
    ).fetchone()
    total = row[0] if row else 0
    share = len(rows) / total if total else 0.0
    text = (
        f"{len(rows):,} of {total:,} bars have a null field ({share:.3%}, limit {100 * settings.null_threshold:.3g}%)"
    )
    return CheckResult(share <= settings.null_threshold, len(rows), rows.head(SHOWN), share, text)


def positivity(connection: duckdb.DuckDBPyConnection, start: date, end: date, settings: Settings) -> CheckResult:
    """No stored price is zero or negative, no volume negative."""
    return _of_rows(
        connection,
        "SELECT symbol, date, open, high, low, close, volume FROM price_history_daily WHERE date BETWEEN ? AND ? "
        "AND (least(open, high, low, close) <= 0 OR volume < 0) ORDER BY date, symbol",
        [start, end],
        "bars with a price of zero or less, or a negative volume",
    )


def ohlc(connection: duckdb.DuckDBPyConnection, start: date, end: date, settings: Settings) -> CheckResult:
    """High is the largest and low the smallest price of its bar, but for the rounding of adjusted prices."""
    return _of_rows(
        connection,
        "SELECT symbol, date, open, high, low, close FROM price_history_daily WHERE date BETWEEN ? AND ? "
        "AND (high < greatest(open, low, close) * (1 - 1e-5) OR low > least(open, high, close) * (1 + 1e-5)) "
        "ORDER BY date, symbol",
        [start, end],
        "bars whose high or low is not the extreme",
    )


def continuity(connection: duckdb.DuckDBPyConnection, start: date, end: date, settings: Settings) -> CheckResult:
    """No close moves more than the log-return limit from the one before, stored splits divided out."""
    return _of_rows(
        connection,
        """
        WITH moved AS (
            SELECT symbol, date, close, basis,
                lag(close) OVER bars AS previous_close, lag(date) OVER bars AS previous_date
            FROM price_history_daily
            WHERE close IS NOT NULL AND date BETWEEN CAST(? AS DATE) - INTERVAL 400 DAY AND ?
            WINDOW bars AS (PARTITION BY symbol ORDER BY date)
        ), ratios AS (
            SELECT symbol, date, product(value) AS ratio FROM corporate_actions
            WHERE kind IN ('split', 'spinoff') GROUP BY symbol, date
        )
        SELECT symbol, date, previous_date, previous_close, close,
            ln(close / previous_close) + CASE basis WHEN 'raw' THEN ln(coalesce(ratio, 1)) ELSE 0 END AS log_return
        FROM moved LEFT JOIN ratios USING (symbol, date)
        WHERE date BETWEEN ? AND ? AND abs(log_return) > ?
        ORDER BY date, symbol
        """,
        [start, end, start, end, settings.log_return_limit],
        f"closes that move more than {settings.log_return_limit:g} in log",
    )


def freshness(connection: duckdb.DuckDBPyConnection, start: date, end: date, settings: Settings) -> CheckResult:
    """The last session of the span has a bar for every instrument that had one on the session before."""
    sessions = connection.execute(
        "SELECT session FROM sessions WHERE session <= ? ORDER BY session DESC LIMIT 2", [end]
    ).fetchall()
    last, before = sessions[0][0], sessions[-1][0]
    rows = connection.execute(
        "SELECT symbol, max(date) AS last_bar FROM price_history_daily WHERE date <= ? GROUP BY symbol "
        "HAVING last_bar = ? ORDER BY symbol",
        [last, before],
    ).df()
    row = connection.execute("SELECT count(*) FROM price_history_daily WHERE date = ?", [last]).fetchone()
    held = int(row[0]) if row else 0
    text = f"{held:,} bars on {last}, the last session; {len(rows):,} instruments stop at {before}"
    return CheckResult(held > 0 and not len(rows), len(rows), rows.head(SHOWN), float(held), text)


def basis(connection: duckdb.DuckDBPyConnection, start: date, end: date, settings: Settings) -> CheckResult:
    """Every stored bar is raw, as traded; those that are not are named by symbol and span."""
    rows = connection.execute(
        "SELECT symbol, basis, CAST(adjusted_as_of AS VARCHAR) AS adjusted_as_of, count(*) AS bars, "
        "min(date) AS first_date, max(date) AS last_date FROM price_history_daily "
        "WHERE basis <> 'raw' AND date BETWEEN ? AND ? GROUP BY ALL ORDER BY ALL",
        [start, end],
    ).df()
    failing = int(rows["bars"].sum())
    text = (
        f"{failing:,} bars of {rows['symbol'].nunique():,} symbols are adjusted as sent, since not every corporate "
        "action up to their download is known; `market-data actions fetch` or `actions import` may help"
        if failing
        else "every bar is raw"
    )
    return CheckResult(not failing, failing, rows.head(SHOWN), float(failing), text)


def provenance(connection: duckdb.DuckDBPyConnection, start: date, end: date, settings: Settings) -> CheckResult:
    """Every stored bar's payload is in the ledger, and its bytes are in the raw store."""
    payloads = connection.execute(
        "SELECT symbol, source_provider, raw_hash, count(*) AS bars, min(date) AS first_date, max(date) AS last_date, "
        "EXISTS (SELECT 1 FROM coverage WHERE coverage.outcome = 'answered' AND coverage.feed = 'bars' "
        "AND coverage.symbol IN (bar.symbol, ?) "
        "AND coverage.raw_hash = bar.raw_hash) AS in_ledger FROM price_history_daily AS bar "
        "WHERE date BETWEEN ? AND ? GROUP BY symbol, source_provider, raw_hash ORDER BY symbol, raw_hash",
        [EVERY, start, end],
    ).df()
    row = connection.execute("SELECT synthetic FROM store_kind").fetchone()
    raw_store = RawStore(settings.raw_folder(synthetic=bool(row and row[0])))
    payloads["in_store"] = [raw_store.has(sha256) for sha256 in payloads["raw_hash"]]
    without = payloads[~(payloads["in_ledger"] & payloads["in_store"])]
    failing = int(without["bars"].sum())
    text = f"{failing:,} bars without a raw payload" if failing else f"{len(payloads):,} payloads hold every bar"
    return CheckResult(not failing, failing, without.head(SHOWN), float(failing), text)


CHECKS = (
    Check("schema", "Bars satisfy the pandera model DailyPrices: columns, dtypes, ranges.", True, schema),
    Check("completeness", "Every expected (instrument, session) has a bar.", False, completeness),
    Check("nulls", "The share of bars with a null field is within NULL_THRESHOLD.", True, nulls),
    Check("positivity", "No price of zero or less, no negative volume.", True, positivity),
    Check("ohlc", "High is the largest, low the smallest price of its bar.", False, ohlc),
    Check("continuity", "No close jumps beyond the log-return limit, splits divided out.", False, continuity),
    Check("freshness", "The last session of the span has its bars.", False, freshness),
    Check("basis", "Every bar is raw, as traded.", False, basis),
    Check("provenance", "No bar without a raw payload.", True, provenance),
)
"""The checks on `price_history_daily`, in the order they are shown."""
