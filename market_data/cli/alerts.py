"""`market-data alerts`: what was alerted of lately, and a test of the way alerts go."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from market_data.cli import show
from market_data.clock import clock_of
from market_data.ingest.sources import is_synthetic
from market_data.keeping.alert_record import named_symbols
from market_data.keeping.alerts import AlertBook, trial
from market_data.settings import load_settings

__all__ = ["alerts"]

alerts = typer.Typer(invoke_without_command=True)

_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


@alerts.callback()
def recent(
    context: typer.Context,
    *,
    number: Annotated[int, typer.Option("--last", min=1, max=1000, help="How many, the newest.")] = 20,
    as_json: _Json = False,
) -> None:
    """List the latest alerts, of failed runs and failing checks, oldest first, with what became of each.

    Example: market-data alerts --last 5
    """
    if context.invoked_subcommand is not None:
        return
    book = AlertBook(load_settings())
    lines = book.recent(number)
    if as_json:
        print(json.dumps({"file": str(book.file), "alerts": lines}))
        return
    console = show.out()
    if not lines:
        console.print(f"no alert so far in {escape(str(book.file))}")
        return
    console.print(_table(lines))


@alerts.command("test")
def send_test(*, as_json: _Json = False) -> None:
    """Send one alert that says it is a test, as any other goes: to alerts.jsonl and the webhook, within the limit.

    Exit code 1 where the webhook did not take it or none is set.

    Example: market-data alerts test
    """
    settings = load_settings()
    synthetic = is_synthetic(settings.default_source)
    book = AlertBook(settings)
    delivery = book.send(trial(clock_of(settings, synthetic=synthetic), link=settings.ui_url, synthetic=synthetic))
    if as_json:
        print(json.dumps({"webhook": delivery.webhook, "sent": delivery.is_sent, "file": str(book.file)}))
    else:
        mend = ": set MARKET_DATA_ALERT_WEBHOOK" if settings.alert_webhook is None else ""
        show.out().print(f"webhook {delivery.webhook}{mend}; noted in {book.file}", markup=False)
    if not delivery.is_sent:
        raise typer.Exit(1)


def _table(lines: list[dict[str, Any]]) -> Table:
    table = Table(title="Alerts")
    for name in ("at (UTC)", "what", "asset and check", "sessions", "symbols", "why", "webhook"):
        table.add_column(name, overflow="fold")
    for line in lines:
        what = ("SYNTHETIC " if line.get("synthetic") else "") + f"{line.get('severity')} {line.get('kind')}"
        cells = (
            str(line.get("at", ""))[:16].replace("T", " "),
            what,
            " ".join((*_texts(line, "assets"), *_texts(line, "checks"))),
            ", ".join(_texts(line, "sessions")),
            named_symbols(_texts(line, "symbols")),
            str(line.get("message", ""))[:300],
            str(line.get("webhook", "")),
        )
        table.add_row(*map(escape, cells))
    return table


def _texts(line: dict[str, Any], name: str) -> list[str]:
    values = line.get(name)
    return [str(value) for value in values] if isinstance(values, list) else []
