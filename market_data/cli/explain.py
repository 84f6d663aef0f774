"""`market-data explain`: which providers were masked and why, which was drawn, and what it answered."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from market_data.cli import complete, show
from market_data.errors import MarketDataError
from market_data.settings import Settings, load_settings

if TYPE_CHECKING:
    from market_data.report.decisions import Explanation

__all__ = ["explain"]


def explain(
    symbol: Annotated[str, typer.Argument(help="A symbol of the universe.", autocompletion=complete.symbol)],
    date: Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"], help="A session.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
) -> None:
    """Tell how a symbol's session came to be as it is: providers masked and why, the one drawn, what it answered.

    Looks into the real database first, then into the synthetic one.

    Example: market-data explain AAPL 2024-05-01
    """
    from market_data.instruments import load_universe

    settings, day = load_settings(), date.date()
    name = load_universe(settings.universe).resolve(symbol)
    found, synthetic = _find(settings, name, day)
    if as_json:
        print(json.dumps(found.as_dict() | {"synthetic": synthetic}))
    else:
        _show(found, synthetic=synthetic)


def _find(settings: Settings, symbol: str, day: Any) -> tuple[Explanation, bool]:
    from market_data.report.decisions import read_explanation
    from market_data.sessions import is_session
    from market_data.warehouse.connection import Database

    looked_in = []
    for synthetic in (False, True):
        database = Database(settings.database_for(synthetic=synthetic), patience=settings.lock_patience)
        if not database.exists() or database.path in looked_in:
            continue
        looked_in.append(database.path)
        with database.reading() as connection:
            found = read_explanation(connection, symbol, day)
            row = connection.execute("SELECT synthetic FROM store_kind").fetchone()
        if not found.is_empty:
            return found, bool(row and row[0])
    where = " or ".join(map(str, looked_in)) or "any database, for there is none yet"
    off = "" if is_session(day) else f"; {day} is no session"
    ask = "" if off else f"; `market-data backfill --symbols {symbol} --start {day} --end {day}` asks for it"
    raise MarketDataError(f"nothing is known of {symbol} on {day} in {where}{off}{ask}")


def _show(found: Explanation, *, synthetic: bool) -> None:
    console = show.out()
    console.print(
        f"[bold]{found.symbol} {found.date}[/]" + (f"  [bold yellow]{show.SYNTHETIC}[/]" if synthetic else "")
    )
    bar, verdict = found.bar, found.verdict
    if bar is None:
        console.print("no bar is stored")
    else:
        prices = "  ".join(f"{name} {bar[name]}" for name in ("open", "high", "low", "close", "volume"))
        console.print(f"bar: {prices}")
        as_of = f" as of {bar['adjusted_as_of']}" if bar["adjusted_as_of"] else ""
        console.print(f"     basis {bar['basis']}{as_of}, from {bar['source_provider']}, payload {bar['raw_hash']}")
    if verdict is not None:
        rules = f", rules {verdict['rules']}" if verdict["rules"] else ""
        console.print(f"verdict: {verdict['verdict']}, score {verdict['score']:.3f}{rules}")
    for record in found.decisions:
        _show_decision(console, record)
    told = {record["job_id"] for record in found.decisions if any("considered" in s for s in record["decision"])}
    _show_requests(console, found.requests, told)


def _show_decision(console: Console, record: dict[str, Any]) -> None:
    console.print(
        f"\n[bold]{record['kind']} {record['job_id']}: {record['outcome']}[/], {record['finished_at'][:19]} UTC"
    )
    if record["reason"]:
        console.print(f"  {record['reason']}", markup=False)
    if not record["decision"]:
        console.print("  no provider had to be asked")
    for number, step in enumerate(record["decision"], start=1):
        _show_considered(console, step.get("considered", []), step.get("provider"))
        console.print(f"  {number}. {_answer(step)}", markup=False)


def _show_considered(console: Console, considered: list[dict[str, Any]], chosen: str | None) -> None:
    drawn = [item for item in considered if "draw" in item]
    if drawn:
        console.print(_draws(drawn, chosen))
    for item in considered:
        if item.get("masked"):
            console.print(f"     masked: {item['provider']}: {item['masked']}", markup=False)


def _answer(step: dict[str, Any]) -> str:
    if not step.get("provider"):
        return step.get("answer") or "no further provider may be asked"
    if "stored" in step:
        origin = f"stored answer {step['stored']}" + (" for all symbols" if "for_all" in step else "")
    else:
        origin = "1 call" if step["calls"] == 1 else f"{step['calls']} calls"
    return f"{step['provider']}, {origin}: {step['answer']}"


def _draws(drawn: list[dict[str, Any]], chosen: str | None) -> Table:
    table = Table(box=None, padding=(0, 1), show_edge=True)
    for name in ("", "provider", "draw", "Beta(a, b)", "speed", "scarcity", "value"):
        table.add_column(name, justify="left" if name in ("", "provider") else "right", no_wrap=True)
    for item in sorted(drawn, key=lambda item: float(item["value"]), reverse=True):
        numbers = [f"{item[name]:.3f}" for name in ("draw", "speed", "scarcity", "value")]
        belief = f"({item['alpha']:.1f}, {item['beta']:.1f})"
        table.add_row("  >" if item["provider"] == chosen else "", item["provider"], numbers[0], belief, *numbers[1:])
    return table


def _show_requests(console: Console, requests: list[dict[str, Any]], told: set[str]) -> None:
    """The requests; the choice of each as well, but for jobs whose decisions were told already."""
    from market_data.records import EVERY

    if requests:
        console.print("\n[bold]requests over this session[/]")
    for row in requests:
        if row["job_id"] not in told:
            _show_considered(console, row["considered"], row["provider"])
        came_to = f"{row['error']}: {row['message']}" if row["error"] else row["verdict"] or row["outcome"]
        took = "" if row["latency_ms"] is None else f", {row['latency_ms']:.0f} ms, {row['bytes']:,} bytes"
        status = f", HTTP {row['http_status']}" if row["http_status"] else ""
        whom = f"{row['provider']} for all symbols" if row["symbol"] == EVERY else row["provider"]
        tries = "1 try" if row["attempts"] == 1 else f"{row['attempts']} tries"
        console.print(
            f"  {row['fetched_at'][:19]} UTC {whom} {row['first_date']} to {row['last_date']}: {came_to} "
            f"({tries}{status}{took})",
            markup=False,
        )
        if row["raw_hash"]:
            console.print(f"     payload {row['raw_hash']}", markup=False)
