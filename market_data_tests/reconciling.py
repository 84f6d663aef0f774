"""Stores to reconcile: filled by one vendor of the sandbox, with its corporate actions known."""

from __future__ import annotations

from typing import Any

from market_data.ingest.backfill import Backfill, BackfillRequest
from market_data.ingest.reconcile import Reconciled, reconcile
from market_data.ingest.sources import Source
from market_data.selection.choice import GivenOrder
from market_data.warehouse.connection import Database
from market_data_tests.vendors import END, START, Vendors

_TOLD = "INSERT INTO actions_told VALUES ('*', ?, 'polygon', DATE '2024-01-01', DATE '2024-04-30', 'sha', ?)"


def filled(vendors: Vendors, provider: str = "polygon") -> None:
    """Fill the store from one vendor alone."""
    with vendors.source() as source:
        chosen = next(arm.provider for arm in source.arms if arm.config.name == provider)
        assert chosen is not None
        work = Backfill(
            settings=vendors.settings,
            universe=vendors.universe,
            selector=GivenOrder([chosen]),
            synthetic=True,
            provider_label=provider,
            clock=lambda: vendors.now,
        )
        work.run(BackfillRequest(vendors.names, START, END, job_id="fill"))


def know_actions(vendors: Vendors) -> None:
    """Tell the store every split and dividend of the sandbox's market."""
    now = vendors.now.replace(tzinfo=None)
    known = now.replace(month=1)
    with Database(vendors.settings.database_for(synthetic=True)).writing() as connection:
        for kind in ("split", "dividend"):
            connection.execute(_TOLD, [kind, now])
        for symbol in vendors.names:
            for action in vendors.sandbox.market.actions(symbol).to_dict("records"):
                connection.execute(
                    "INSERT INTO corporate_actions VALUES (?, ?, ?, ?, 'polygon', '', 'sha', ?)",
                    [symbol, action["date"].date(), action["kind"], action["value"], known],
                )


def reconciled(vendors: Vendors, source: Source | None = None, **more: Any) -> Reconciled:
    """One reconciliation over the window."""
    given: dict[str, Any] = {"symbols": vendors.names, "start": START, "end": END, "job_id": "rec"} | more
    if source is not None:
        return reconcile(vendors.settings, vendors.universe, source, clock=lambda: vendors.now, **given)
    with vendors.source() as opened:
        return reconcile(vendors.settings, vendors.universe, opened, clock=lambda: vendors.now, **given)
