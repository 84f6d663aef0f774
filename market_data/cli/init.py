"""`market-data init`: write a settings file, and say what is missing and what to do next."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from market_data.cli import show
from market_data.cli.complete import sources
from market_data.errors import SettingsError
from market_data.settings_file import file_to_write, settings_text, write_settings

__all__ = ["init"]


def init(
    *,
    archive: Annotated[
        Path | None, typer.Option(help="A Stooq bulk ASCII folder or zip that bars come from.", show_default=False)
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            help="Where bars come from: stooq_bulk, vendors, sandbox, or one vendor.",
            autocompletion=sources,
            show_default=False,
        ),
    ] = None,
    runtime: Annotated[
        Path | None, typer.Option(help="Folder of everything that is written; by default runtime.", show_default=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document; ask nothing.")] = False,
) -> None:
    """Write market_data.toml with every setting, its meaning and its default, and tell what is missing.

    On a terminal it asks for the archive and the source, unless one is given. Keys are not written: they stay in the
    environment. Nothing is overwritten without --force.

    Example: market-data init --archive d_us_txt.zip
    """
    file = file_to_write()
    if file.exists() and not force:
        # Refused before anybody answers questions in vain.
        write_settings(file, "")
    if archive is None and source is None and not as_json and sys.stdin.isatty() and sys.stdout.isatty():
        archive, source = _asked()
    given = {"archive": archive, "source": source, "runtime": runtime}
    write_settings(
        file, settings_text({name: value for name, value in given.items() if value is not None}), replace=force
    )
    document = {"file": str(file), **_standing()}
    print(json.dumps(document)) if as_json else _show(document)


def _asked() -> tuple[Path | None, str | None]:
    """What a person says; an empty answer leaves the default."""
    archive = typer.prompt("Stooq bulk archive, folder or zip (empty: none)", default="", show_default=False).strip()
    if archive:
        return Path(archive), None
    told = "Bars from sandbox (synthetic, for a try), vendors, or one of polygon, alpha_vantage, stooq, yahoo"
    source = typer.prompt(told, default="sandbox").strip()
    return None, source if source != "sandbox" else None


def _standing() -> dict[str, Any]:
    """What the new settings lack, and the commands to go on with."""
    from market_data.keeping.doctor.examine import setup_checks
    from market_data.settings import load_settings

    try:
        source = load_settings().default_source
    except SettingsError as error:  # a variable of the environment: the file is as it should be
        told = {"name": "settings", "told": str(error), "mend": "mend the variable; it wins over the file"}
        return {"source": None, "missing": [told], "next": ["market-data doctor"]}
    missing = [{"name": c.name, "told": c.told, "mend": c.mend} for c in setup_checks() if c.status != "ok"]
    commands = {"sandbox": ["market-data demo"], "stooq_bulk": ["market-data backfill"]}.get(
        source, ["market-data quota", "market-data actions fetch", "market-data backfill"]
    )
    return {"source": source, "missing": missing, "next": ["market-data doctor", *commands]}


def _show(document: dict[str, Any]) -> None:
    console = show.out()
    come = f"; bars come from {document['source']}" if document["source"] else ""
    console.print(f"{document['file']}: written{come}", markup=False, soft_wrap=True)
    for item in document["missing"]:
        console.print(f"missing: {item['name']}: {item['told']}", markup=False, soft_wrap=True)
        console.print(f"  -> {item['mend']}", markup=False, soft_wrap=True)
    console.print(f"next: {', then '.join(document['next'])}", markup=False, soft_wrap=True)
