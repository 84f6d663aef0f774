"""`market-data quota`: what is used and left of each vendor's quotas, and when it may be asked next."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer
from rich.table import Table

from market_data.cli import complete, show
from market_data.errors import SettingsError
from market_data.ingest.sources import is_synthetic, ledger_of, vendor_catalogue
from market_data.providers.base import utc_now
from market_data.providers.catalogue import keys_from_environment
from market_data.selection.quota import shown
from market_data.selection.status import VendorStatus, vendor_statuses
from market_data.settings import load_settings

__all__ = ["quota"]


def quota(
    *,
    provider: Annotated[
        str, typer.Option(help="vendors: the real ones; sandbox: those the sandbox plays, counted apart.")
    ] = "vendors",
    reopen: Annotated[
        str | None,
        typer.Option(
            help="Ask this vendor again from now on, once what closed it is mended.", autocompletion=complete.vendors
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """Tell what is used and left of each vendor's quotas, when they reset, and when the next call is possible.

    Example: market-data quota --reopen stooq
    """
    if provider not in ("vendors", "sandbox"):
        raise SettingsError(f"--provider {provider!r} has no quotas; give vendors or sandbox")
    settings, synthetic = load_settings(), is_synthetic(provider)
    catalogue = vendor_catalogue(settings, sandbox_url="http://127.0.0.1" if synthetic else None)
    ledger = ledger_of(settings, synthetic=synthetic)
    if reopen is not None:
        if reopen not in catalogue:
            raise SettingsError(f"--reopen {reopen!r} is not a vendor in use; they are {', '.join(catalogue)}")
        was_closed = ledger.reopen(reopen)
        show.aside().print(f"{reopen} {'may be asked again' if was_closed else 'was not closed'}")
    statuses = vendor_statuses(
        catalogue,
        ledger,
        settings.rates_file(synthetic=synthetic),
        with_key=keys_from_environment(catalogue, os.environ),
        now=utc_now(),
    )
    if as_json:
        print(json.dumps({"synthetic": synthetic, "vendors": [status.as_dict() for status in statuses]}))
    else:
        _show(statuses, synthetic=synthetic)


def _show(statuses: list[VendorStatus], *, synthetic: bool) -> None:
    table = Table(title="Calls to vendors" + (" - the SYNTHETIC sandbox's" if synthetic else ""))
    for name in ("vendor", "tier", "per", "used", "left", "resets (UTC)", "next call"):
        table.add_column(name, justify="right" if name in ("used", "left") else "left", no_wrap=name != "next call")
    for status in statuses:
        head, following = (status.config.name, status.config.tier), _next_call(status)
        for state in status.standing.quotas:
            numbers = (f"{state.used:,}", f"{state.left:,}", f"{state.resets_at:%Y-%m-%d %H:%M}")
            table.add_row(*head, state.quota.period, *numbers, following)
            head, following = ("", ""), ""
        if not status.standing.quotas:
            table.add_row(*head, "", "no quota", "", "", following)
    console = show.out()
    console.print(table)
    for status in statuses:
        if status.has_key is False:
            console.print(f"{status.config.name} has no key: set {status.config.key_variable}", markup=False)
        closure = status.standing.closure
        if closure is not None:
            why = f"{closure.error}: {closure.reason}"
            console.print(f"{status.config.name} is left alone until {shown(closure.until)}: {why}", markup=False)


def _next_call(status: VendorStatus) -> str:
    instant = status.next_call_at
    if instant is None:
        return "no key"
    return "now" if instant <= status.now else shown(instant)
