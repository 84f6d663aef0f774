"""`market-data backup`: make a backup of the store, list those there are, verify one, put one back."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from market_data.cli import show
from market_data.cli.progress import working
from market_data.errors import SettingsError
from market_data.ingest.sources import is_synthetic
from market_data.keeping.backup import Backup, create_backup, find_backup, list_backups
from market_data.keeping.backup_check import verify_backup
from market_data.keeping.restore import Restored, restore_backup
from market_data.settings import load_settings

__all__ = ["backup"]

backup = typer.Typer(help="Backups of the store: make one, list them, verify one, put one back.", no_args_is_help=True)

_JSON = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
_NAME = Annotated[str, typer.Argument(help="A backup's name, as `market-data backup list` tells it.")]


@backup.command("create")
def create(
    *,
    raw: Annotated[
        bool, typer.Option("--raw", help="Take the raw payloads too: links, or copies where it is another disk.")
    ] = False,
    synthetic: Annotated[
        bool | None, typer.Option("--synthetic/--real", help="Which store; by default that of the configured source.")
    ] = None,
    as_json: _JSON = False,
) -> None:
    """Back the store up: database, ledgers of calls, audit files, and the list of its raw payloads.

    It is read back whole before it bears its name; then the oldest beyond MARKET_DATA_KEEP_BACKUPS are removed.

    Example: market-data backup create --raw
    """
    settings = load_settings()
    kind = is_synthetic(settings.default_source) if synthetic is None else synthetic
    with working("backup", quiet=as_json):
        made = create_backup(settings, synthetic=kind, raw=raw)
    if as_json:
        print(json.dumps(_told(made.backup) | {"removed": made.removed}))
        return
    manifest, console = made.manifest, show.out()
    payloads = "links or copies of them" if manifest.raw_included else "listed, not taken"
    console.print(f"{made.backup.folder}: {_size(made.backup.size)}, read back whole", markup=False, soft_wrap=True)
    console.print(
        f"{sum(manifest.rows.values()):,} rows of {len(manifest.rows)} tables; {manifest.raw_files:,} raw files "
        f"({_size(manifest.raw_bytes)}): {payloads}"
    )
    for name in made.removed:
        console.print(f"removed {name}", markup=False)


@backup.command("list")
def list_all(*, as_json: _JSON = False) -> None:
    """List the backups, newest first; nothing is hashed.

    Example: market-data backup list
    """
    backups = list_backups(load_settings())
    if as_json:
        print(json.dumps([_told(item) for item in backups]))
        return
    table = Table(title="Backups")
    table.add_column("name", no_wrap=True)
    for name in ("size", "rows", "raw files", "schema"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("remark")
    for item in backups:
        held = item.manifest
        if held is None:
            table.add_row(item.name, _size(item.size), "", "", "", item.problem)
            continue
        raw = f"{held.raw_files:,}" + (" taken" if held.raw_included else " listed")
        remark = "SYNTHETIC" if held.synthetic else ""
        table.add_row(
            item.name, _size(item.size), f"{sum(held.rows.values()):,}", raw, f"{held.schema_version}", remark
        )
    console = show.out()
    console.print(table if backups else "no backups yet")


@backup.command("verify")
def verify(name: _NAME, *, as_json: _JSON = False) -> None:
    """Hash every file of a backup, and read every row of its database and every payload it holds.

    Exit code 1 where it is not whole.

    Example: market-data backup verify 20260201T040000Z_real
    """
    found = find_backup(load_settings(), name)
    with working("verify", quiet=as_json):
        problems = verify_backup(found.folder)
    if as_json:
        print(json.dumps({"name": name, "whole": not problems, "problems": problems}))
    else:
        for problem in problems or [f"{name} is whole"]:
            show.out().print(problem, markup=False, soft_wrap=True)
    raise typer.Exit(1 if problems else 0)


@backup.command("restore")
def restore(
    name: _NAME,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: _JSON = False,
) -> None:
    """Put a backup in the store's place; the database there now is set aside, and never deleted.

    Verifies it first. What the raw store received since stays; the next backfill or sync notes it without a call. Exit
    code 1 where the raw store lacks payloads that the database names.

    Example: market-data backup restore 20260201T040000Z_real
    """
    settings = load_settings()
    found = find_backup(settings, name)
    live = settings.database_for(synthetic=found.synthetic)
    if not yes:
        if as_json:
            raise SettingsError("--json asks nothing; give --yes as well")
        typer.confirm(f"Put {name} in the place of {live}, which is set aside?", abort=True, err=True)
    with working("restore", quiet=as_json):
        done = restore_backup(settings, name)
    print(json.dumps(done.as_dict())) if as_json else _show(done)
    raise typer.Exit(1 if done.missing else 0)


def _show(done: Restored) -> None:
    console = show.out()
    console.print(f"{done.database}: restored from {done.backup}", markup=False, soft_wrap=True)
    console.print(f"the one before: {done.kept or 'there was none'}", markup=False, soft_wrap=True)
    console.print(
        f"{sum(done.rows.values()):,} rows; put back: {done.audit} audit files, {done.payloads:,} raw files, "
        f"ledgers: {', '.join(done.ledgers) or 'none, those there are were kept'}",
        soft_wrap=True,
    )
    if done.newer:
        console.print(
            f"the raw store has {done.newer:,} requests of after the backup; run `market-data backfill`, which asks "
            "for none of them again",
            soft_wrap=True,
        )
    if done.newer_packs:
        console.print(
            f"the raw store has {done.newer_packs:,} polls of after the backup; materialize intraday_prices for their "
            "sessions, which asks for nothing",
            soft_wrap=True,
        )
    if done.missing:
        console.print(
            f"the raw store lacks {len(done.missing):,} payloads that the database names, as {done.missing[0]}; "
            "`market-data verify` lists them",
            soft_wrap=True,
        )


def _told(item: Backup) -> dict[str, Any]:
    manifest = item.manifest.as_dict() if item.manifest else {}
    return manifest | {
        "name": item.name,
        "folder": str(item.folder),
        "synthetic": item.synthetic,
        "bytes": item.size,
        "problem": item.problem,
    }


def _size(count: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:,.1f} {unit}"
    return f"{count} bytes"
