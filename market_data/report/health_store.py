"""Reading how the providers do from the store and the ledger of calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import duckdb
import pandas as pd

from market_data.clock import Clock
from market_data.errors import SettingsError
from market_data.ingest.amend import require_kind
from market_data.ingest.metrics import refresh_metrics, standings_of
from market_data.report.health import OUTCOMES, Asked, Health, ProviderHealth, TightestQuota
from market_data.selection.quota import Standing
from market_data.settings import Settings
from market_data.warehouse.connection import Database
from market_data.warehouse.provider_metrics import provider_days, provider_totals, quota_days
from market_data.warehouse.store import transaction

__all__ = ["DAYS", "MOST_DAYS", "read_health", "refreshed_health", "stored_health"]

DAYS = 30
"""UTC dates that are told of, today included, unless another number is asked for."""

MOST_DAYS = 3660


def refreshed_health(settings: Settings, *, synthetic: bool, clock: Clock, days: int = DAYS) -> Health:
    """Bring the metrics up to date, then read them. Errors as `stored_health`."""
    database = _database(settings, synthetic=synthetic)
    with database.writing() as connection:
        require_kind(connection, database.path, synthetic=synthetic)
        with transaction(connection):
            refresh_metrics(connection, settings, synthetic=synthetic, clock=clock)
    return stored_health(settings, synthetic=synthetic, clock=clock, days=days)


def stored_health(settings: Settings, *, synthetic: bool, clock: Clock, days: int = DAYS) -> Health:
    """How the providers did on the last `days` UTC dates, today included, as the store and the ledger of calls tell.

    Raises:
        SettingsError: a number of days that is not possible.
        WarehouseError: there is no store, or it cannot be used.
    """
    if not 1 <= days <= MOST_DAYS:
        raise SettingsError(f"days {days} is not possible; give 1 to {MOST_DAYS:,}")
    database, now = _database(settings, synthetic=synthetic), clock()
    standings = standings_of(settings, synthetic=synthetic, now=now)
    with database.reading() as connection:
        require_kind(connection, database.path, synthetic=synthetic)
        return read_health(connection, standings, synthetic=synthetic, now=now, days=days)


def _database(settings: Settings, *, synthetic: bool) -> Database:
    database = Database(settings.database_for(synthetic=synthetic), patience=settings.lock_patience)
    if database.exists():
        database.prepare()  # one of an older version lacks the columns
    return database


def read_health(
    connection: duckdb.DuckDBPyConnection,
    standings: Mapping[str, Standing],
    *,
    synthetic: bool,
    now: datetime,
    days: int = DAYS,
) -> Health:
    """How the providers did on the last `days` UTC dates; see `Health`.

    Args:
        standings: how they stand now, by priority.
    """
    last = now.astimezone(UTC).date()
    first = last - timedelta(days=days - 1)
    since, after = datetime.combine(first, datetime.min.time(), tzinfo=UTC), now + timedelta(microseconds=1)
    span = _asked(provider_totals(connection, since, after))
    last_day = _asked(provider_totals(connection, now - timedelta(days=1), after))
    told = _days(provider_days(connection, first, last), quota_days(connection, first, last))
    used = {name for name, standing in standings.items() if any(state.used for state in standing.quotas)}
    names = {*span, *last_day, *told["provider"], *used}
    return Health(
        synthetic=synthetic,
        first=first,
        last=last,
        providers=tuple(
            ProviderHealth(
                name,
                span.get(name, Asked()),
                last_day.get(name, Asked()),
                _tightest(standings[name]) if name in standings else None,
                standings[name].closure if name in standings else None,
            )
            for name in _ordered(names, standings)
        ),
        days=told,
    )


def _ordered(names: Iterable[str], standings: Mapping[str, Standing]) -> list[str]:
    known, left = [name for name in standings if name in set(names)], set(names) - set(standings)
    return [*known, *sorted(left)]


def _asked(rows: pd.DataFrame) -> dict[str, Asked]:
    return {str(row["provider_name"]): Asked.of(row) for row in rows.to_dict("records")}


def _tightest(standing: Standing) -> TightestQuota | None:
    quotas = [
        TightestQuota(state.quota.period, state.left, state.quota.limit, state.resets_at) for state in standing.quotas
    ]
    return max(quotas, key=lambda quota: (quota.used_share, -quota.left), default=None)


_OF_A_DAY = (*OUTCOMES, "accepted_share", "latency_p50_ms", "latency_p95_ms")


def _days(metrics: pd.DataFrame, quotas: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for row in metrics.to_dict("records"):
        asked = Asked.of(row)
        values = {name: getattr(asked, name) for name in _OF_A_DAY}
        rows.append({"provider": row["provider_name"], "date": row["date"], **values})
    asked_days = pd.DataFrame(rows, columns=["provider", "date", *_OF_A_DAY])
    noted = quotas.rename(
        columns={"provider_name": "provider", "calls_left": "quota_left", "calls_limit": "quota_limit"}
    )[["provider", "date", "quota_left", "quota_limit"]]
    dtypes = {"provider": "str", "date": "datetime64[s]"}
    both = asked_days.astype(dtypes).merge(noted.astype(dtypes), on=["provider", "date"], how="outer")
    numbers = [name for name in both if name not in dtypes]
    return both.astype(dict.fromkeys(numbers, "float64")).sort_values(["provider", "date"], ignore_index=True)
