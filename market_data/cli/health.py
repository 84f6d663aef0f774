"""`market-data health`: how the providers do: answers, errors, latency, and what is left of their quotas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from market_data.cli import complete, show
from market_data.clock import clock_of
from market_data.errors import SettingsError
from market_data.ingest.sources import is_synthetic
from market_data.report.health import Health, ProviderHealth
from market_data.report.health_checks import errors_check, quota_check
from market_data.report.health_store import DAYS, stored_health
from market_data.selection.quota import shown
from market_data.settings import load_settings

__all__ = ["health"]

_COLUMNS = ("provider", "calls", "accepted", "failed", "p95 ms", "quota left")


def health(
    *,
    days: Annotated[int, typer.Option(help="UTC dates to tell of, today included.")] = DAYS,
    provider: Annotated[
        str | None, typer.Option(help="Of this provider only.", show_default=False, autocompletion=complete.vendors)
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Write a picture, .png or .svg, as well.", show_default=False)
    ] = None,
    synthetic: Annotated[
        bool | None, typer.Option("--synthetic/--real", help="Which store; by default that of the configured source.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document, by day as well, instead of a table.")
    ] = False,
) -> None:
    """Tell what each provider was asked and answered, its errors and latency, and what is left of its quotas.

    Ends with exit code 1 where a provider failed at much over the last 24 hours, or its quota is near its end.

    Example: market-data health --days 7 --plot health.png
    """
    if plot is not None and plot.suffix not in (".png", ".svg"):
        raise SettingsError(f"--plot {plot}: give a file that ends in .png or .svg")
    settings = load_settings()
    kind = is_synthetic(settings.default_source) if synthetic is None else synthetic
    told = stored_health(settings, synthetic=kind, clock=clock_of(settings, synthetic=kind), days=days)
    if provider is not None:
        told = told.only(provider)
    if plot is not None:
        from market_data.report.health_plot import draw

        draw(told, plot)
        show.aside().print(f"{plot}: {told.first} to {told.last}", markup=False)
    warnings = [check.summary for check in (errors_check(told), quota_check(told)) if not check.passed]
    if as_json:
        print(json.dumps(told.as_dict() | {"warnings": warnings}))
    else:
        _show(told, warnings)
    if warnings:
        raise typer.Exit(1)


def _show(told: Health, warnings: list[str]) -> None:
    console = show.out()
    if told.providers:
        note = " - the SYNTHETIC sandbox's" if told.synthetic else ""
        table = Table(title=f"Providers, {told.first} to {told.last} (UTC){note}", box=SIMPLE_HEAD, pad_edge=False)
        for name in _COLUMNS:
            table.add_column(name, justify="left" if name == "provider" else "right", no_wrap=True)
        for item in told.providers:
            table.add_row(*_row(item))
        console.print(table)
    else:
        console.print(f"no provider was asked from {told.first} to {told.last}")
    for item in told.providers:
        if lost := _lost(item):
            console.print(f"{item.provider}: {lost}", markup=False)
        if item.closure is not None:
            why = f"{item.closure.error}: {item.closure.reason}"
            console.print(f"{item.provider} is left alone until {shown(item.closure.until)}: {why}", markup=False)
    for warning in warnings:
        console.print(f"[bold yellow]look at[/] {escape(warning)}")


def _row(item: ProviderHealth) -> tuple[str, ...]:
    span, quota = item.span, item.quota
    return (
        item.provider,
        f"{span.calls:,}",
        "-" if span.accepted_share is None else f"{span.accepted_share:.1%}",
        f"{span.failed:,}",
        "-" if span.latency_p95_ms is None else f"{span.latency_p95_ms:,.0f}",
        "no quota" if quota is None else f"{quota.left:,} of {quota.limit:,}/{quota.period}",
    )


def _lost(item: ProviderHealth) -> str:
    """Requests that brought no bars, by what became of them."""
    counts = {"no data": item.span.no_data, "rejected": item.span.rejected} | dict(item.span.errors)
    return ", ".join(f"{name} {count:,}" for name, count in counts.items() if count)
