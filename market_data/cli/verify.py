"""`market-data verify`: whether the raw payloads, the database and the audit files are whole."""

from __future__ import annotations

import json
from typing import Annotated, NoReturn

import typer
from rich.table import Table

from market_data.cli import show
from market_data.cli.progress import working
from market_data.ingest.sources import is_synthetic
from market_data.ingest.verify import Finding, Verified
from market_data.ingest.verify import verify as verify_store
from market_data.settings import Settings, load_settings

__all__ = ["verify"]

_SHOWN = 10


def verify(
    *,
    synthetic: Annotated[
        bool | None, typer.Option("--synthetic/--real", help="Which store; by default that of the configured source.")
    ] = None,
    downstream: Annotated[
        bool,
        typer.Option("--downstream", help="Instead, look whether features and slippage are of the store as it stands."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """Hash every raw payload again, and tell of what does not fit: bytes, requests, rows and audit lines.

    With --downstream: what features and slippage hold that is stale or foreign.

    Changes nothing and asks no provider. Exit code 1 where anything is wrong.

    Example: market-data verify --downstream --json
    """
    settings = load_settings()
    kind = is_synthetic(settings.default_source) if synthetic is None else synthetic
    if downstream:
        _verify_downstream(settings, synthetic=kind, as_json=as_json)
    with working("verify", quiet=as_json):
        verified = verify_store(settings, synthetic=kind)
    if as_json:
        print(json.dumps(verified.as_dict() | {"synthetic": kind}))
    else:
        _show(verified, synthetic=kind)
    raise typer.Exit(0 if verified.is_sound else 1)


def _verify_downstream(settings: Settings, *, synthetic: bool, as_json: bool) -> NoReturn:
    from market_data.report.downstream import check_downstream

    report = check_downstream(settings, synthetic=synthetic)
    if as_json:
        print(json.dumps(report.as_dict() | {"synthetic": synthetic}))
        raise typer.Exit(0 if report.is_sound else 1)
    console = show.out()
    for item in report.tables:
        rows = f"{item.rows:,} rows" if item.rows else "nothing kept"
        console.print(f"[bold]{item.name}[/]: {rows}; made from {', '.join(item.reads)}", soft_wrap=True)
    for found in report.findings:
        line = f"{found.kind}: {found.table} {found.place}: {found.message}"
        console.print(line, markup=False, soft_wrap=True)
    if report.is_sound:
        console.print("all of it is of the store as it stands" + (" - SYNTHETIC data" if synthetic else ""))
    else:
        console.print(f"{len(report.findings):,} findings; `market-data features update` makes features anew")
    raise typer.Exit(0 if report.is_sound else 1)


def _show(verified: Verified, *, synthetic: bool) -> None:
    console = show.out()
    table = Table(title="Verified" + (" - SYNTHETIC data" if synthetic else ""))
    for name in ("payloads", "bytes", "requests", "audit records", "findings"):
        table.add_column(name, justify="right")
    numbers = (
        verified.payloads,
        verified.bytes,
        verified.requests,
        verified.audit_records,
        len(verified.findings),
    )
    table.add_row(*(f"{number:,}" for number in numbers))
    console.print(table)
    by_kind: dict[str, list[Finding]] = {}
    for finding in verified.findings:
        by_kind.setdefault(finding.kind, []).append(finding)
    for kind, findings in by_kind.items():
        console.print(f"[bold]{kind}[/]: {len(findings):,}")
        for finding in findings[:_SHOWN]:
            console.print(f"  {finding.place}: {finding.message}", markup=False, soft_wrap=True)
        if len(findings) > _SHOWN:
            console.print(f"  and {len(findings) - _SHOWN:,} more; --json tells them all")
