"""`market-data doctor`: whether this machine and folder are fit to run the system, and what to do where not."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from market_data.cli import show

if TYPE_CHECKING:
    from market_data.keeping.doctor.check import Check

__all__ = ["doctor"]

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(
    *, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of lines.")] = False
) -> None:
    """Check versions, settings, keys, quotas, clock, disk, locks, the database, and Dagster's home and daemon.

    Changes nothing and asks no provider; a key is told of by the name of its variable, never by its value. Exit code 1
    where a check fails; a warning is no failure.

    Example: market-data doctor --json
    """
    from market_data.keeping.doctor.examine import examine

    checks = examine()
    has_failed = any(check.status == "fail" for check in checks)
    if as_json:
        print(json.dumps({"good": not has_failed, "checks": [asdict(check) for check in checks]}))
    else:
        _show(checks)
    raise typer.Exit(1 if has_failed else 0)


def _show(checks: list[Check]) -> None:
    console = show.out()
    width = max(len(check.name) for check in checks)
    for check in checks:
        status = f"[{_STYLES[check.status]}]{check.status:<4}[/]"
        console.print(f"{status}  {escape(check.name):<{width}}  {escape(check.told)}", soft_wrap=True)
        if check.mend:
            console.print(f"{'':<{width + 6}}  -> {check.mend}", markup=False, soft_wrap=True)
    counts = {status: sum(check.status == status for check in checks) for status in _STYLES}
    console.print(f"{counts['ok']} ok, {counts['warn']} to know of, {counts['fail']} failed", style="bold")
