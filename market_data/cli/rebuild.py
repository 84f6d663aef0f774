"""`market-data rebuild`: a database made from the raw store, compared with the live one, and put in its place."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from market_data.cli import show
from market_data.cli.progress import working
from market_data.errors import MarketDataError, SettingsError, WarehouseError, WarehouseLocked
from market_data.ingest.lock import sole_ingest
from market_data.ingest.rebuild import Rebuilt, rebuild_database
from market_data.ingest.sources import is_synthetic
from market_data.instruments import load_universe
from market_data.providers.base import utc_now
from market_data.settings import Settings, load_settings
from market_data.warehouse.comparison import Difference, compare_databases
from market_data.warehouse.connection import Database
from market_data.warehouse.swap import carry_over, restore_audit, swap

__all__ = ["rebuild"]


def rebuild(
    *,
    from_raw: Annotated[
        bool, typer.Option("--from-raw", help="Make it from the raw store alone; the one way there is.")
    ] = False,
    synthetic: Annotated[
        bool | None, typer.Option("--synthetic/--real", help="Which store; by default that of the configured source.")
    ] = None,
    put: Annotated[
        bool, typer.Option("--swap", help="Put it in the live database's place, which is kept beside it.")
    ] = False,
    keep: Annotated[Path | None, typer.Option(help="Keep the new database as this file, which must not exist.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")] = False,
) -> None:
    """Make a new database from the raw store alone, and say whether the live one is identical or how it differs.

    Every payload is parsed, judged and written again, in the order they came; no provider is asked. Jobs, the audit and
    failed requests, which no payload tells of, are carried over when the new database is put in place. Exit codes: 0
    identical, or put in place; 1 it differs; 2 bad input.

    Example: market-data rebuild --from-raw
    """
    if not from_raw:
        raise SettingsError("say what to rebuild from: market-data rebuild --from-raw")
    settings = load_settings()
    synthetic = is_synthetic(settings.default_source) if synthetic is None else synthetic
    live = settings.database_for(synthetic=synthetic)
    now = utc_now()
    path = keep or live.with_name(f"{live.stem}.rebuilt-{now:%Y%m%dT%H%M%SZ}{live.suffix}")
    if keep is not None and put:
        raise SettingsError("--keep and --swap exclude each other: the new database is kept, or put in place")
    with sole_ingest(settings):
        if path.exists():
            raise MarketDataError(f"{path}: exists already; move it away, a rebuild never overwrites")
        try:
            rebuilt = _rebuilt(settings, path, synthetic=synthetic, quiet=as_json)
            differences = _compared(live, path, patience=settings.lock_patience)
            kept, carried = _put(settings, live, path, differences, synthetic=synthetic, now=now) if put else (None, {})
        finally:
            if keep is None:
                path.unlink(missing_ok=True)
                path.with_name(f"{path.name}.wal").unlink(missing_ok=True)
    document = _document(rebuilt, differences, synthetic=synthetic) | {
        "swapped": put,
        "kept": str(kept) if kept else None,
        "carried_over": carried,
    }
    print(json.dumps(document, default=str)) if as_json else _show(document)
    identical = differences is not None and all(difference.is_none for difference in differences)
    raise typer.Exit(0 if identical or put else 1)


def _rebuilt(settings: Settings, path: Path, *, synthetic: bool, quiet: bool) -> Rebuilt:
    universe = load_universe(settings.universe)
    with working("rebuild, payloads", quiet=quiet) as tell:
        return rebuild_database(settings, universe, path, synthetic=synthetic, on_payload=tell)


def _put(
    settings: Settings,
    live: Path,
    path: Path,
    differences: list[Difference] | None,
    *,
    synthetic: bool,
    now: datetime,
) -> tuple[Path | None, dict[str, int]]:
    """Put the new database in place; returns where the old one is, and the rows carried over by table."""
    if differences is None:
        carried = {"ingestion_audit": restore_audit(settings.audit_folder, path, synthetic=synthetic)}
    else:
        carried = carry_over(live, path)
    return swap(live, path, patience=settings.lock_patience, now=now), carried


def _compared(live: Path, path: Path, *, patience: float) -> list[Difference] | None:
    """How the live database differs; None where there is none that can be read."""
    database = Database(live, patience=patience)
    if not database.exists():
        return None
    try:
        database.prepare()
        return compare_databases(database, path)
    except WarehouseLocked:
        raise
    except WarehouseError as error:
        show.aside().print(f"the live database cannot be compared: {error}", markup=False)
        return None


def _document(rebuilt: Rebuilt, differences: list[Difference] | None, *, synthetic: bool) -> dict[str, Any]:
    return {
        "synthetic": synthetic,
        "payloads": rebuilt.payloads,
        "left_out": rebuilt.left_out,
        "identical": None if differences is None else all(difference.is_none for difference in differences),
        "tables": [asdict(difference) for difference in differences or []],
    }


def _show(document: dict[str, Any]) -> None:
    console = show.out()
    if document["tables"]:
        title = "Live database beside the rebuilt one" + (" - SYNTHETIC data" if document["synthetic"] else "")
        table = Table(title=title)
        for name in ("table", "rows", "only live", "only rebuilt"):
            table.add_column(name, justify="left" if name == "table" else "right")
        for item in document["tables"]:
            table.add_row(item["table"], *(f"{item[name]:,}" for name in ("rows", "only_live", "only_other")))
        console.print(table)
    for item in document["tables"]:
        for example in item["examples"]:
            shown = ", ".join(f"{name} {value}" for name, value in example.items() if name != "in")
            console.print(f"{item['table']}, only {example['in']}: {shown}", markup=False, soft_wrap=True)
    verdict = {True: "identical", False: "DIFFERENT", None: "nothing to compare with"}[document["identical"]]
    console.print(
        f"{document['payloads']:,} payloads read, {len(document['left_out']):,} without bars or actions: {verdict}"
    )
    if document["swapped"]:
        console.print(f"put in place; the one before: {document['kept'] or 'there was none'}", markup=False)
