"""`market-data amend`: change a stored bar on record, take it back, or tell what was changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import typer
from rich.table import Table

from market_data.cli import complete, show
from market_data.ingest.amend import Amended, amend_as_proposed, require_kind, undo
from market_data.ingest.amend import amend as amend_bar
from market_data.ingest.sources import is_synthetic
from market_data.instruments import load_universe
from market_data.settings import Settings, load_settings
from market_data.warehouse.amendments import AMENDABLE, AmendedField, AmendmentError, read_amendments
from market_data.warehouse.connection import Database

__all__ = ["amend"]


def amend(
    symbol: Annotated[
        str | None,
        typer.Argument(help="A symbol of the universe.", show_default=False, autocompletion=complete.symbol),
    ] = None,
    date: Annotated[
        datetime | None, typer.Argument(formats=["%Y-%m-%d"], help="A session with a stored bar.", show_default=False)
    ] = None,
    *,
    field: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(AMENDABLE)}; may be given again, each with a --value.")
    ] = None,
    value: Annotated[list[str] | None, typer.Option(help="Its new value, in the stored basis, or null.")] = None,
    proposal: Annotated[
        bool, typer.Option("--proposal", help="Take the prices that the findings about the bar propose.")
    ] = False,
    undo_id: Annotated[
        str | None, typer.Option("--undo", help="Take back this amendment; with .FIELD after the id, one field of it.")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="Tell what was amended, and do nothing else.")] = False,
    only: Annotated[str | None, typer.Option("--symbol", help="With --list: of this symbol only.")] = None,
    reason: Annotated[str, typer.Option(help="What is wrong and how that is known.")] = "",
    by: Annotated[str | None, typer.Option(help="Who amends; by default the user of the operating system.")] = None,
    synthetic: Annotated[
        bool | None, typer.Option("--synthetic/--real", help="Which store; by default that of the configured source.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be done, and change nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
) -> None:
    """Change fields of a stored bar, on record; each amendment can be taken back.

    An amended value stands until it is undone, or a provider sends another value than the one amended.

    Example: market-data amend AAPL 2024-05-01 --field close --value 169.3 --reason "100 times too large"
    """
    settings = load_settings()
    kind = is_synthetic(settings.default_source) if synthetic is None else synthetic
    if listed:
        _list(settings, only or symbol, synthetic=kind, as_json=as_json)
        return
    if undo_id is not None:
        _refuse(bool(symbol or date or field or value or proposal), "--undo takes an id, and no bar, field or value")
        done = undo(settings, amendment_id=undo_id, reason=reason, author=by, synthetic=kind, dry_run=dry_run)
    else:
        _refuse(symbol is None or date is None, "give SYMBOL and DATE of the bar, or --undo ID, or --list")
        assert symbol is not None
        assert date is not None
        universe, day = load_universe(settings.universe), date.date()
        if proposal:
            _refuse(bool(value), "--proposal takes the proposed values; give either it or --value")
            done = amend_as_proposed(
                settings, universe, symbol=symbol, day=day, fields=field or (), reason=reason, author=by,
                synthetic=kind, dry_run=dry_run,
            )  # fmt: skip
        else:
            values = _values(field or [], value or [])
            done = amend_bar(
                settings, universe, symbol=symbol, day=day, values=values, reason=reason, author=by,
                synthetic=kind, dry_run=dry_run,
            )  # fmt: skip
    if as_json:
        print(json.dumps(done.as_dict() | {"synthetic": kind, "dry_run": dry_run}))
    else:
        _show(done, synthetic=kind)


def _refuse(wrong: bool, message: str) -> None:
    if wrong:
        raise AmendmentError(message)


def _values(fields: Sequence[str], values: Sequence[str]) -> dict[str, float | None]:
    if len(fields) != len(values) or not fields:
        raise AmendmentError(
            f"{len(fields)} --field and {len(values)} --value were given; give one value for each field"
        )
    twice = [name for name in dict.fromkeys(fields) if fields.count(name) > 1]
    if twice:
        raise AmendmentError(f"--field {twice[0]} was given twice; give each field once")
    return {name: _number(text) for name, text in zip(fields, values, strict=True)}


def _number(text: str) -> float | None:
    if text.strip().lower() == "null":
        return None
    try:
        return float(text)
    except ValueError:
        raise AmendmentError(f"--value {text!r} is not a number; give one, or null") from None


def _list(settings: Settings, symbol: str | None, *, synthetic: bool, as_json: bool) -> None:
    name = None if symbol is None else load_universe(settings.universe).resolve(symbol)
    database = Database(settings.database_for(synthetic=synthetic), patience=settings.lock_patience)
    with database.reading() as connection:
        require_kind(connection, database.path, synthetic=synthetic)
        rows = read_amendments(connection, symbol=name)
    if as_json:
        print(json.dumps({"synthetic": synthetic, "amendments": [row.as_dict() for row in rows]}))
    else:
        _show_list(rows, synthetic=synthetic)


def _show(done: Amended, *, synthetic: bool) -> None:
    amendment, console = done.amendment, show.out()
    table = Table(title=f"{amendment.symbol} {amendment.date}" + (" - SYNTHETIC data" if synthetic else ""))
    for name in ("field", "before", "after"):
        table.add_column(name, justify="left" if name == "field" else "right")
    changed = {change.field for change in amendment.changes}
    for name in AMENDABLE:
        style = "bold" if name in changed else "dim"
        table.add_row(name, _shown(done.before[name]), _shown(done.after[name]), style=style)
    console.print(table)
    console.print(f"{amendment}: {amendment.reason}", markup=False)
    if done.amendment_id is None:
        console.print("dry run, nothing is changed")
    elif amendment.undo_of is None:
        console.print(f"amendment {done.amendment_id}; take it back with --undo {done.amendment_id}", markup=False)
    else:
        console.print(f"amendment {amendment.undo_of} is taken back", markup=False)


def _show_list(rows: Sequence[AmendedField], *, synthetic: bool) -> None:
    console = show.out()
    if synthetic:
        console.print(f"[bold yellow]{show.SYNTHETIC}[/]")
    for row in rows:
        until = "stands" if row.ended_at is None else f"until {row.ended_at:%Y-%m-%d %H:%M} UTC, {_ended_by(row)}"
        console.print(
            f"{row.amendment_id}  {row.symbol} {row.date} {row.field} {_shown(row.old_value)} to "
            f"{_shown(row.new_value)}\n  {row.amended_at:%Y-%m-%d %H:%M} UTC by {row.author}, {until}: {row.reason}",
            markup=False,
        )
    if not rows:
        console.print("nothing was amended")


def _ended_by(row: AmendedField) -> str:
    return "undone" if row.ended_by == "undo" else f"the provider sent another value (payload {row.ended_by})"


def _shown(value: float | None) -> str:
    return "null" if value is None else f"{value:,.10g}"
