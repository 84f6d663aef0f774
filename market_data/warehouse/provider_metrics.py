"""What providers answered on each UTC date, `provider_metrics`, and how their quotas stood, `provider_quotas`.

The metrics are derived from two ledgers: `coverage`, one row a request, and `intraday_polls`, one row a provider and
poll. They can be derived anew at any time. Quotas are counted outside the database
(`market_data.selection.quota`), so what is noted of them here is what was last known on a date.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta

import duckdb
import pandas as pd
import pyarrow as pa

from market_data.selection.bandit import DayOfAnswers
from market_data.selection.quota import Standing
from market_data.warehouse.batch import naive_utc

__all__ = [
    "days_of_calls",
    "metrics_columns",
    "note_quotas",
    "provider_days",
    "provider_history",
    "provider_totals",
    "quota_days",
    "refresh_provider_metrics",
]

_NOT_SERVED = "('OutOfWindow', 'UnknownSymbol', 'QuotaExhausted', 'LeftAlone')"

_INTRADAY = ("calls", "answered", "empty", "rejected", "failed", "not_served")
_DAILY = ("calls", "accepted", "rejected", "no_data", "failed", "not_served", "answered")
_COUNTS = (*_DAILY, "bytes", *(f"intraday_{name}" for name in _INTRADAY))
_SUMS = ", ".join(f"coalesce(sum({name}), 0)::BIGINT AS {name}" for name in _COUNTS)

# $by_day: a row a provider and UTC date; else one a provider, under the date $stamp.
_COUNTED = f"""
WITH asked AS (
    SELECT *, CASE WHEN $by_day THEN fetched_at::DATE ELSE $stamp::DATE END AS date, outcome = 'failed' AS is_failed,
        is_failed AND error IN {_NOT_SERVED} AS is_not_served
    FROM coverage WHERE attempts > 0 AND fetched_at >= $since AND fetched_at < $until
), polled AS (
    SELECT *, CASE WHEN $by_day THEN polled_at::DATE ELSE $stamp::DATE END AS date,
        map_entries(errors::JSON::MAP(VARCHAR, BIGINT)) AS kinds
    FROM intraday_polls WHERE provider <> '' AND polled_at >= $since AND polled_at < $until
), counted AS (
    SELECT
        provider, date, attempts AS calls, (NOT is_failed)::BIGINT AS answered,
        (verdict = 'accepted' AND feed = 'bars')::BIGINT AS accepted, (verdict = 'rejected')::BIGINT AS rejected,
        (verdict = 'no_data')::BIGINT AS no_data, (is_failed AND NOT is_not_served)::BIGINT AS failed,
        is_not_served::BIGINT AS not_served, bytes
    FROM asked WHERE interval = '1d'
    UNION ALL BY NAME
    SELECT
        provider, date, attempts AS intraday_calls,
        (NOT is_failed AND coalesce(verdict, '') NOT IN ('rejected', 'no_data'))::BIGINT AS intraday_answered,
        (verdict = 'no_data')::BIGINT AS intraday_empty, (verdict = 'rejected')::BIGINT AS intraday_rejected,
        (is_failed AND NOT is_not_served)::BIGINT AS intraday_failed, is_not_served::BIGINT AS intraday_not_served,
        bytes
    FROM asked WHERE interval <> '1d'
    UNION ALL BY NAME
    SELECT
        provider, date, calls AS intraday_calls, answered AS intraday_answered, empty AS intraday_empty,
        coalesce(list_sum([kind.value FOR kind IN kinds IF kind.key IN {_NOT_SERVED}]), 0) AS intraday_not_served,
        failed - intraday_not_served AS intraday_failed, bytes
    FROM polled
)"""

# Percentiles are exact, over every single answer: those of days cannot be put together to one of a span.
_DERIVED = f"""
{_COUNTED}, errors AS (
    SELECT provider, date, map_from_entries(list({{'k': kind, 'v': n}} ORDER BY kind))::JSON::VARCHAR AS errors
    FROM (
        SELECT provider, date, kind, sum(n)::BIGINT AS n
        FROM (
            SELECT provider, date, error AS kind, 1 AS n FROM asked WHERE is_failed
            UNION ALL
            SELECT provider, date, kind.key, kind.value FROM (SELECT provider, date, unnest(kinds) AS kind FROM polled)
        )
        WHERE n > 0 AND kind IS NOT NULL
        GROUP BY provider, date, kind
    )
    GROUP BY provider, date
), latencies AS (
    SELECT
        provider, date, quantile_cont(latency_ms, 0.5) AS latency_p50_ms,
        quantile_cont(latency_ms, 0.95) AS latency_p95_ms
    FROM (
        SELECT provider, date, latency_ms FROM asked
        UNION ALL SELECT provider, date, unnest(latencies) FROM polled
    )
    GROUP BY provider, date
)
SELECT
    provider AS provider_name, date, coalesce(any_value(errors), '{{}}') AS errors,
    any_value(latency_p50_ms) AS latency_p50_ms, any_value(latency_p95_ms) AS latency_p95_ms, {_SUMS}
FROM counted LEFT JOIN errors USING (provider, date) LEFT JOIN latencies USING (provider, date)
GROUP BY provider, date
"""


_CHANGED = f"""
{_COUNTED}, derived AS (
    SELECT provider AS provider_name, date, {_SUMS} FROM counted GROUP BY provider, date
)
SELECT DISTINCT date FROM derived LEFT JOIN provider_metrics AS held USING (provider_name, date)
WHERE ({", ".join(f"derived.{name}" for name in _COUNTS)})
    IS DISTINCT FROM ({", ".join(f"held.{name}" for name in _COUNTS)})
ORDER BY date
"""


def _span(first: date, last: date) -> dict[str, object]:
    """The UTC dates from `first` to `last`, a row each."""
    midnight = datetime.min.time()
    since, until = datetime.combine(first, midnight), datetime.combine(last + timedelta(days=1), midnight)
    return {"by_day": True, "stamp": last, "since": since, "until": until}


def refresh_provider_metrics(connection: duckdb.DuckDBPyConnection, first: date, last: date | None = None) -> None:
    """Derive the providers' metrics of the UTC dates from `first` to `last` (that date alone, if None) anew.

    Dates whose counts are those of the ledgers already are left as they are: percentiles over a month of polls take
    seconds.
    """
    changed = connection.execute(_CHANGED, _span(first, last or first)).fetchall()
    for (day,) in changed:
        connection.execute(
            f"MERGE INTO provider_metrics USING ({_DERIVED}) AS derived USING (provider_name, date) "
            "WHEN MATCHED THEN UPDATE BY NAME WHEN NOT MATCHED THEN INSERT BY NAME",
            _span(day, day),
        )


def provider_totals(connection: duckdb.DuckDBPyConnection, since: datetime, until: datetime) -> pd.DataFrame:
    """What each provider answered from one instant up to, not including, another; straight from the ledgers.

    Returns:
        One row a provider that was asked, by name: the columns of `provider_metrics` but for compared and odd; `date`
        is that of `until`.
    """
    values = {"by_day": False, "stamp": until.date(), "since": naive_utc(since), "until": naive_utc(until)}
    return connection.execute(f"{_DERIVED} ORDER BY provider_name", values).df()


def provider_days(connection: duckdb.DuckDBPyConnection, first: date, last: date) -> pd.DataFrame:
    """Rows of `provider_metrics` of the UTC dates from `first` to `last`, by provider and date."""
    return connection.execute(
        "SELECT * FROM provider_metrics WHERE date BETWEEN ? AND ? ORDER BY provider_name, date", [first, last]
    ).df()


def quota_days(connection: duckdb.DuckDBPyConnection, first: date, last: date) -> pd.DataFrame:
    """The tightest quota of each provider and UTC date from `first` to `last`: that with the least share left.

    Returns:
        Columns provider_name, date, period, calls_limit, calls_left, resets_at, noted_at.
    """
    return connection.execute(
        "SELECT provider_name, date, period, calls_limit, calls_left, resets_at, noted_at FROM provider_quotas "
        "WHERE date BETWEEN ? AND ? QUALIFY row_number() OVER (PARTITION BY provider_name, date "
        "ORDER BY calls_left / greatest(calls_limit, 1), calls_left, period) = 1 ORDER BY provider_name, date",
        [first, last],
    ).df()


def metrics_columns(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str, str | None]]:
    """Name, type and meaning of each column of `provider_metrics`."""
    return connection.execute(
        "SELECT column_name, data_type, comment FROM duckdb_columns() WHERE table_name = 'provider_metrics' "
        "ORDER BY column_index"
    ).fetchall()


def note_quotas(connection: duckdb.DuckDBPyConnection, standings: Mapping[str, Standing], now: datetime) -> None:
    """Note how quotas stand, under the UTC date of `now`; a later note of the same date takes the place of an earlier.

    A quota of which nothing is used is not noted.

    Args:
        standings: by provider, as `QuotaLedger.standing` gives them.
    """
    instant = naive_utc(now)
    rows = [
        {
            "provider_name": provider,
            "date": instant.date(),
            "period": state.quota.period,
            "calls_limit": state.quota.limit,
            "calls_used": state.used,
            "calls_left": state.left,
            "resets_at": naive_utc(state.resets_at),
            "noted_at": instant,
        }
        for provider, standing in standings.items()
        for state in standing.quotas
        if state.used
    ]
    if not rows:
        return
    connection.register("standing_quotas", pa.Table.from_pylist(rows))
    try:
        connection.execute(
            "MERGE INTO provider_quotas AS held USING standing_quotas AS seen USING (provider_name, date, period) "
            "WHEN MATCHED AND held.noted_at <= seen.noted_at THEN UPDATE BY NAME WHEN NOT MATCHED THEN INSERT BY NAME"
        )
    finally:
        connection.unregister("standing_quotas")


def days_of_calls(connection: duckdb.DuckDBPyConnection, since: date) -> list[date]:
    """UTC dates from `since` on, on which providers were asked, ascending."""
    rows = connection.execute(
        "SELECT fetched_at::DATE FROM coverage WHERE fetched_at >= $since "
        "UNION SELECT polled_at::DATE FROM intraday_polls WHERE polled_at >= $since ORDER BY 1",
        {"since": since},
    )
    return [row[0] for row in rows.fetchall()]


def provider_history(connection: duckdb.DuckDBPyConnection, since: date) -> list[DayOfAnswers]:
    """What providers answered on each UTC date from `since` on; failed answers count as rejected ones."""
    rows = connection.execute(
        "SELECT provider_name, date, accepted, rejected + failed, latency_p50_ms, coalesce(compared, 0), "
        "coalesce(odd, 0) FROM provider_metrics "
        "WHERE date >= ? ORDER BY ALL",
        [since],
    ).fetchall()
    return [DayOfAnswers(*row) for row in rows]
