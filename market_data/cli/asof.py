"""`market-data asof`: what was known of a symbol at the end of a date, and what became of it since."""

from __future__ import annotations

import json
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from market_data.cli import complete, show
from market_data.errors import MarketDataError, SettingsError
from market_data.settings import Settings, load_settings

if TYPE_CHECKING:
    from market_data.warehouse.prices import BasisName

__all__ = ["asof"]

_DAY = ["%Y-%m-%d"]
_BASES: dict[str, BasisName] = {"raw": "raw", "split": "split", "total_return": "total_return"}
_PRICES = ("open", "high", "low", "close")


def asof(
    day: Annotated[datetime, typer.Argument(metavar="DATE", formats=_DAY, help="The end of this date, UTC.")],
    *,
    symbol: Annotated[str, typer.Option(help="A symbol of the universe.", autocompletion=complete.symbol)],
    start: Annotated[datetime | None, typer.Option(formats=_DAY, help="First session; by default ten of them.")] = None,
    end: Annotated[datetime | None, typer.Option(formats=_DAY, help="Last session; by default DATE.")] = None,
    basis: Annotated[str, typer.Option(help="raw, split or total_return, by the actions known then.")] = "raw",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """Tell what was known of a symbol at the end of a date (UTC), and which of it was changed later, to what.

    Looks into the real database, or into the synthetic one where there is no real one.

    Example: market-data asof 2024-06-28 --symbol AAPL --basis total_return
    """
    from market_data.instruments import load_universe
    from market_data.reading import open_store
    from market_data.warehouse.prices import Knowledge, read_known

    settings, known = load_settings(), Knowledge.at(day.date())
    if basis not in _BASES:
        raise SettingsError(f"--basis {basis!r} is not known; give raw, split or total_return")
    first, last = start.date() if start else None, end.date() if end else day.date()
    if first is not None and first > last:
        raise SettingsError(f"--start {first} is after {last}, the last session asked for; start must not be later")
    name = load_universe(settings.universe).resolve(symbol)
    with open_store(settings, _store(settings)) as (connection, store):
        rows = read_known(connection, name, start=first, end=last, basis=_BASES[basis], knowledge=known)
        kind = connection.execute("SELECT synthetic FROM store_kind").fetchone()
    if not any(row["known_at"] or row["now_known_at"] for row in rows):
        raise MarketDataError(f"nothing is known of {name} up to {last} in {store.path}; `market-data backfill` asks")
    synthetic = bool(kind and kind[0])
    if as_json:
        print(json.dumps(_document(rows, name, day.date(), basis, synthetic=synthetic)))
    else:
        _show(rows, f"{name} as known at the end of {day:%Y-%m-%d} UTC, {basis}", synthetic=synthetic)


def _store(settings: Settings) -> Path:
    from market_data.warehouse.connection import Database

    real, synthetic = (settings.database_for(synthetic=kind) for kind in (False, True))
    return synthetic if Database(synthetic).exists() and not Database(real).exists() else real


def _is_changed(row: dict[str, Any]) -> bool:
    return bool(row["now_known_at"]) and row["now_known_at"] != row["known_at"]


def _now(row: dict[str, Any]) -> dict[str, Any] | None:
    """What is stored of a session now, where that is not what was known then."""
    if not _is_changed(row):
        return None
    stored = {name.removeprefix("now_"): value for name, value in row.items() if name.startswith("now_")}
    return stored | {"reason": row["reason"] or ("added" if row["known_at"] is None else None)}


def _document(rows: list[dict[str, Any]], symbol: str, day: date, basis: str, *, synthetic: bool) -> dict[str, Any]:
    then = [name for name in rows[0] if not name.startswith("now_") and name not in ("replaced_at", "reason", "basis")]
    sessions = [
        {name: row[name] for name in then} | {"stored_basis": row["basis"], "stored_now": _now(row)} for row in rows
    ]
    head = {"symbol": symbol, "as_of": day, "basis": basis, "synthetic": synthetic, "sessions": sessions}
    document: dict[str, Any] = json.loads(json.dumps(head, default=_iso))
    return document


def _iso(value: date | datetime) -> str:
    return f"{value.isoformat()}+00:00" if isinstance(value, datetime) else value.isoformat()


def _show(rows: list[dict[str, Any]], title: str, *, synthetic: bool) -> None:
    console = show.out()
    if synthetic:
        console.print(f"[bold yellow]{show.SYNTHETIC}[/]")
    table = Table(title=title)
    for name in ("session", *_PRICES, "volume", "since then"):
        table.add_column(name, justify="right" if name in (*_PRICES, "volume") else "left", no_wrap=True)
    for row in rows:
        numbers = [_price(row[name]) for name in _PRICES]
        shares = "" if row["volume"] is None else f"{row['volume']:,.0f}"
        table.add_row(str(row["date"]), *numbers, shares, _fate(row))
    console.print(table)
    for refusal in dict.fromkeys(row["refusal"] for row in rows if row["refusal"]):
        console.print(f"empty where {refusal}", markup=False)
    for row in filter(_is_changed, rows):
        console.print(f"{row['date']}: {_change(row)}", markup=False, soft_wrap=True)
    known = [row["known_at"] for row in rows if row["known_at"]]
    if known:
        first, last = f"{min(known):%Y-%m-%d %H:%M}", f"{max(known):%Y-%m-%d %H:%M}"
        sources = ", ".join(sorted({row["source_provider"] for row in rows if row["source_provider"]}))
        console.print(f"from {sources}, known since {first}{'' if first == last else f' to {last}'} UTC", markup=False)


def _fate(row: dict[str, Any]) -> str:
    """What became of a session's bar after the date asked about."""
    if _now(row) is None:
        return "" if row["known_at"] is None else "unchanged"
    return "not known, added" if row["known_at"] is None else "changed"


def _change(row: dict[str, Any]) -> str:
    now = _now(row)
    assert now is not None
    moved = [name for name in (*_PRICES, "volume") if row["basis"] == "raw" and row[name] != now[name]] or ["close"]
    values = ", ".join(f"{name} {_price(now[name])}" for name in moved)
    was = "" if row["basis"] in (None, "raw") else f"was {row['basis']}, "
    return f"{was}now {values} ({now['basis']}) since {now['known_at']:%Y-%m-%d %H:%M}, {now['reason'] or 'replaced'}"


def _price(value: float | None) -> str:
    return "" if value is None else f"{value:,.6f}".rstrip("0").rstrip(".")
