"""How providers stand and which checks fail, for the span of a report."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta

import duckdb

from market_data.report.catalogue import CHECKS
from market_data.report.health import Asked
from market_data.report.validation.document import CheckRow, ProviderRow
from market_data.selection.quota import QuotaState, Standing
from market_data.settings import Settings
from market_data.warehouse.provider_metrics import provider_totals

__all__ = ["check_rows", "provider_rows"]


def provider_rows(
    connection: duckdb.DuckDBPyConnection, standings: Mapping[str, Standing], *, start: date, now: datetime
) -> tuple[ProviderRow, ...]:
    """Providers with a bar in `report_pairs`, and those that were asked since `start`, by priority, then by name.

    Requests are those for all symbols, of daily bars, actions and minutes; what was not served counts as failed.

    Args:
        standings: how they stand now, by priority.
    """
    bars: dict[str, int] = dict(
        connection.execute("SELECT provider, count(*) FROM report_pairs WHERE is_held GROUP BY provider").fetchall()
    )
    since = datetime.combine(start, time(), UTC)
    totals = provider_totals(connection, since, max(since, now) + timedelta(microseconds=1))
    asked = {str(row["provider_name"]): Asked.of(row) for row in totals.to_dict("records")}
    used = {name for name, standing in standings.items() if any(state.used for state in standing.quotas)}
    names = {*asked, *bars, *used}
    ordered = [*(name for name in standings if name in names), *sorted(names - set(standings))]
    total = sum(bars.values())
    return tuple(
        _row(name, bars.get(name, 0), total, asked.get(name, Asked()), _tightest(standings.get(name)))
        for name in ordered
    )


def _tightest(standing: Standing | None) -> QuotaState | None:
    """The quota with the least share left; None where there is none."""
    states = standing.quotas if standing else ()
    return min(states, key=lambda state: (state.left / max(1, state.quota.limit), state.left), default=None)


def _row(name: str, bars: int, total: int, asked: Asked, state: QuotaState | None) -> ProviderRow:
    return ProviderRow(
        provider=name,
        bars=bars,
        share=bars / total if total else None,
        calls=asked.calls,
        accepted=asked.accepted,
        rejected=asked.rejected,
        no_data=asked.no_data,
        failed=asked.failed + asked.not_served,
        errors=dict(asked.errors),
        latency_p50_ms=asked.latency_p50_ms,
        latency_p95_ms=asked.latency_p95_ms,
        quota_left=state.left if state else None,
        quota_limit=state.quota.limit if state else None,
        quota_period=state.quota.period if state else None,
        resets=state.resets_at if state else None,
    )


def check_rows(
    connection: duckdb.DuckDBPyConnection, start: date, end: date, settings: Settings
) -> tuple[CheckRow, ...]:
    """Every check of the stored tables over all symbols of a span, in the order of the catalogue."""
    rows = []
    for check in CHECKS:
        result = check.function(connection, start, end, settings)
        rows.append(
            CheckRow(check.name, check.description, result.passed, check.blocking, result.failing, result.summary)
        )
    return tuple(rows)
