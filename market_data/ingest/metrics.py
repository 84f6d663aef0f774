"""The metrics of providers brought up to date, once something was asked of them."""

from __future__ import annotations

from datetime import datetime, timedelta

import duckdb

from market_data.clock import Clock
from market_data.ingest.sources import ledger_of, vendor_catalogue
from market_data.selection.quota import Standing
from market_data.settings import Settings
from market_data.warehouse.provider_metrics import note_quotas, refresh_provider_metrics

__all__ = ["HISTORY", "refresh_metrics", "standings_of"]

HISTORY = timedelta(days=30)
"""How far back metrics are derived anew; of a process that died, calls are in the ledger that they do not tell of."""


def refresh_metrics(
    connection: duckdb.DuckDBPyConnection, settings: Settings, *, synthetic: bool, clock: Clock
) -> None:
    """Derive the last days' metrics of all providers anew, and note how their quotas stand.

    Call it inside a transaction.

    Args:
        clock: the store's own.

    Raises:
        SettingsError: the providers file is wrong.
    """
    now = clock()
    refresh_provider_metrics(connection, (now - HISTORY).date(), now.date())
    note_quotas(connection, standings_of(settings, synthetic=synthetic, now=now), now)


def standings_of(settings: Settings, *, synthetic: bool, now: datetime) -> dict[str, Standing]:
    """How each vendor stands, by priority; nothing where no vendor was ever asked, as with an archive alone.

    Raises:
        SettingsError: the providers file is wrong.
    """
    if not settings.calls_file(synthetic=synthetic).exists():
        return {}
    # Nothing is sent: the address of the sandbox is not needed, only its limits.
    catalogue = vendor_catalogue(settings, sandbox_url="http://127.0.0.1" if synthetic else None)
    return ledger_of(settings, synthetic=synthetic, clock=lambda: now).standing(*catalogue.values())
