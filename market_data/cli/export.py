"""`market-data export`: daily prices as files for other programs, or a check of files exported before."""

from __future__ import annotations

import json
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from market_data.cli import complete, show
from market_data.cli.interrupt import stop_on_interrupt
from market_data.cli.progress import working
from market_data.clock import clock_of
from market_data.errors import SettingsError
from market_data.export import FORMATS, Exported, ExportRequest, Format, verify_export
from market_data.export import export as write_export
from market_data.export.manifest import Part
from market_data.ingest.sources import is_synthetic
from market_data.instruments import load_universe
from market_data.reading import BasisName
from market_data.settings import load_settings

__all__ = ["export"]

_DATE = ["%Y-%m-%d"]
_NAMED = 5
_INSTANT = "2024-06-28T20:00Z"


def _formats(incomplete: str) -> list[str]:
    return [name for name in FORMATS if name.startswith(incomplete)]


def export(
    *,
    form: Annotated[
        str | None, typer.Option("--format", help="parquet, csv, zipline or qlib.", autocompletion=_formats)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the export; made, or empty.", show_default=False)] = None,
    symbols: Annotated[
        str, typer.Option(help="all, a list as in AAPL,MSFT, or @FILE.", autocompletion=complete.symbols)
    ] = "all",
    start: Annotated[
        datetime | None, typer.Option(formats=_DATE, help="First date; by default the window's start.")
    ] = None,
    end: Annotated[datetime | None, typer.Option(formats=_DATE, help="Last date; by default all there is.")] = None,
    basis: Annotated[
        str | None, typer.Option(help="raw, split or total_return; by default raw for zipline, else total_return.")
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", "--as_of", help="As known at the end of this date, UTC, or at a zoned instant."),
    ] = None,
    fields: Annotated[
        str | None, typer.Option(help="Columns of parquet and csv; by default open,high,low,close,volume.")
    ] = None,
    synthetic: Annotated[
        bool | None, typer.Option("--synthetic/--real", help="Which store; by default that of the configured source.")
    ] = None,
    allow_untold: Annotated[
        bool,
        typer.Option(
            "--allow-untold", "--allow_untold", help="Export series too of which an action may lack that nobody told."
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an export of another request in the folder.")
    ] = False,
    verify: Annotated[
        Path | None, typer.Option(help="Hash the files of this export again, and do nothing else.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")] = False,
) -> None:
    """Write daily prices as Parquet, CSV, zipline's csvdir bundle or qlib's CSV, in one basis, with hashes.

    What was interrupted is taken up by the same command. Exit code 1 where a symbol cannot be had in the basis, which
    is left out and named, or where --verify finds a file that is not as it was written.

    Example: market-data export --format zipline --out bundle --symbols AAPL,MSFT
    """
    if verify is not None:
        _verify(verify, as_json=as_json)
        return
    if form is None or out is None:
        raise SettingsError("give --format and --out FOLDER, or --verify FOLDER")
    settings = load_settings()
    kind = is_synthetic(settings.default_source) if synthetic is None else synthetic
    request = ExportRequest(
        format=cast(Format, form),
        out=out,
        symbols=symbols,
        start=start.date() if start else None,
        end=end.date() if end else None,
        basis=cast(BasisName | None, basis),
        as_of=_as_of(as_of),
        fields=None if fields is None else [name.strip() for name in fields.split(",") if name.strip()],
        synthetic=kind,
        allow_untold=allow_untold,
        overwrite=overwrite,
    )
    count, finished = len(load_universe(settings.universe).select(symbols)), 0
    with stop_on_interrupt() as stop, working("export, symbols", quiet=as_json) as tell:

        def advance(part: Part) -> None:
            nonlocal finished
            finished += len(part.symbols)
            tell(finished, count)

        done = write_export(settings, request, clock_of(settings, synthetic=kind), stop=stop, advance=advance)
    print(json.dumps(done.as_dict())) if as_json else _show(done)
    raise typer.Exit(130 if done.interrupted else 0 if done.is_good else 1)


def _as_of(text: str | None) -> date | datetime | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text) if len(text) == len("2021-01-19") else datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(
            f"--as-of {text}: give a date as in 2024-06-28, or an instant as 2024-06-28T20:00Z"
        ) from None


def _show(done: Exported) -> None:
    console, told = show.out(), done.as_dict()
    if told["synthetic"]:
        console.print(f"[bold yellow]{show.SYNTHETIC}[/]")
    lines = [
        f"{done.folder}: {told['symbols']:,} symbols, {told['rows']:,} rows in {told['files']:,} files",
        f"{told['basis']} prices from {told['start']} to {told['end']}",
        f"as known at {told['as_of']}; {told['written']:,} files written, {told['reused']:,} found as they should be",
    ]
    lines += [f"without a bar: {', '.join(told['missing'])}"] if told["missing"] else []
    lines += [f"an action may lack of {', '.join(told['untold'])}"] if told["untold"] else []
    lines += [f"look at {caution}" for caution in told["cautions"][:_NAMED]]
    more = len(told["cautions"]) - _NAMED
    lines += [f"and {more} more in {done.folder / 'manifest.json'}, cautions"] if more > 0 else []
    lines += [f"left out {symbol}: {why}" for symbol, why in told["refused"].items()]
    lines += ["interrupted; the same command takes it up"] if done.interrupted else []
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _verify(folder: Path, *, as_json: bool) -> None:
    manifest, problems = verify_export(folder)
    if as_json:
        told: dict[str, Any] = {"folder": str(folder), "whole": not problems, "problems": problems}
        print(json.dumps(told | {"files": len(manifest.files), "rows": manifest.rows}))
    else:
        whole = f"{folder} is whole: {len(manifest.files):,} files, {manifest.rows:,} rows"
        for line in problems or [whole]:
            show.out().print(line, markup=False, soft_wrap=True)
    raise typer.Exit(1 if problems else 0)
