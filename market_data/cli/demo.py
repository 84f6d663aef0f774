"""`market-data demo`: the main job, on the synthetic market or on a real archive, and where to look afterwards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.table import Table

from market_data.cli import show
from market_data.cli.backfill import new_job_id, run_backfill
from market_data.cli.progress import working
from market_data.clock import SandboxClock, utc_now
from market_data.errors import MarketDataError
from market_data.ingest.actions import fetch_actions
from market_data.ingest.backfill import BackfillRequest
from market_data.ingest.sources import Source, open_source
from market_data.instruments import Universe, load_universe
from market_data.report.recall import compare, read_findings, read_providers, shown_by
from market_data.sandbox.pace import start_of_clock
from market_data.settings import Settings, load_settings
from market_data.warehouse.connection import Database

__all__ = ["demo"]

REFUSED_KINDS = frozenset({"negative_price", "negative_volume", "null_flood"})
"""Kinds of planted faults for which the whole batch must be refused."""


def demo(
    *,
    archive: Annotated[
        Path | None, typer.Option(help="A real Stooq bulk archive instead of the synthetic market.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
) -> None:
    """Load the whole window for the whole universe, and say where to look.

    Without an archive the bars are synthetic, from four vendors that a server on loopback plays, with planted faults;
    how many of them were found is told.

    Example: market-data demo, then market-data plot NKE
    """
    settings = load_settings(archive=archive)
    universe = load_universe(settings.universe)
    if not settings.archive:
        _start_clock(settings)
    document: dict[str, Any] = {}
    with open_source("stooq_bulk" if settings.archive else "sandbox", settings, universe) as source:
        if source.arms:
            document["actions"] = _fetch_actions(settings, universe, source, quiet=as_json)
        request = BackfillRequest(source.served, settings.window_start, settings.window_end, new_job_id(), kind="demo")
        summary = run_backfill(settings, universe, source, request, quiet=as_json)
        document = show.summary_document(summary, source) | document
        good = summary.is_good
        if source.synthetic and not summary.interrupted:
            recall, good = _judged(settings, source, {r.symbol for r in summary.records if not r.outcome.is_good})
            document["recall"] = recall
    held, places = _held(settings, source), _places(settings, source, request)
    if as_json:
        print(json.dumps(document | {"good": good, "held": held, "places": places}, default=str))
    else:
        if "recall" in document:
            _show_recall(document["recall"])
        _tell_where_to_look(held, places, synthetic=source.synthetic)
    raise typer.Exit(130 if summary.interrupted else 0 if good else 1)


def _start_clock(settings: Settings) -> None:
    """Let a new synthetic store live from the day after the window on, at the pace of the wall clock.

    Otherwise its answers would be of today, and what the sandbox's clock brings later on would count as older.
    """
    clock = SandboxClock(settings.sandbox_clock_file)
    begins = start_of_clock(settings.window_end)
    if settings.sandbox_url or clock.is_set or settings.database_for(synthetic=True).exists() or begins > utc_now():
        return
    clock.set(begins)
    show.aside().print(f"the sandbox's clock begins at {begins:%Y-%m-%d %H:%M} UTC; market-data sandbox clock moves it")


def _fetch_actions(settings: Settings, universe: Universe, source: Source, *, quiet: bool) -> dict[str, int]:
    with working("corporate actions", quiet=quiet):
        fetched = fetch_actions(
            settings, universe, source, symbols=source.served, job_id=new_job_id(), clock=source.clock
        )
    names = ("calls", "splits", "dividends", "spinoffs", "conflicts")
    counts: dict[str, int] = {name: getattr(fetched, name) for name in names}
    if not quiet:
        told = ", ".join(f"{counts[name]:,} {name}" for name in names[1:])
        show.out().print(f"corporate actions, by {counts['calls']:,} calls: {told}".replace("spinoffs", "spin-offs"))
    return counts


def _judged(settings: Settings, source: Source, not_good: set[str]) -> tuple[dict[str, Any], bool]:
    """How many of the planted faults were found, kept as a report too; and whether all is as planted."""
    planted: list[Mapping[str, Any]] = _manifest(source)
    database = Database(settings.database_for(synthetic=True), patience=settings.lock_patience)
    with database.reading() as connection:
        planted = shown_by(planted, read_providers(connection))
        recall = compare(planted, read_findings(connection, source.served))
    refused: set[str] = {fault["symbol"] for fault in planted if fault["kind"] in REFUSED_KINDS}
    document = {
        "synthetic": True,
        "recall": recall.value,
        "by_rule": json.loads(recall.by_rule.to_json(orient="records")),
        "missed": recall.missed.astype(str).to_dict("records"),
        "false_alarms": recall.alarms.astype(str).to_dict("records"),
    }
    _keep_recall(settings, document)
    document |= {"refused": sorted(not_good), "planted_to_be_refused": sorted(refused)}
    return document, recall.value == 1.0 and not_good == refused


def _manifest(source: Source) -> list[Mapping[str, Any]]:
    try:
        answer = httpx.get(f"{source.url}/manifest", timeout=30, trust_env=False).raise_for_status()
    except httpx.HTTPError as error:
        raise MarketDataError(f"{source.url}/manifest: {error}; see whether the sandbox still runs") from None
    planted: list[Mapping[str, Any]] = answer.json()["defects"]
    return planted


def _show_recall(document: dict[str, Any]) -> None:
    rows = document["by_rule"]
    table = Table(title="Planted faults found - SYNTHETIC data")
    for name in rows[0] if rows else ():
        table.add_column(name, justify="left" if name == "rule" else "right")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    console = show.out()
    console.print(table)
    console.print(
        f"recall {document['recall']:.3f} of {sum(row['planted'] for row in rows)} planted; "
        f"{len(document['false_alarms'])} false alarms, "
        f"{sum(row['beside'] for row in rows)} further findings follow from a fault beside them"
    )
    for fault in document["missed"]:
        console.print(f"missed: {fault['symbol']} {fault['date']} {fault['rule']}")
    for alarm in document["false_alarms"][: show.SHOWN]:
        console.print(
            f"false alarm: {alarm['symbol']} {alarm['date']} {alarm['rule']}: {alarm['message']}", markup=False
        )
    if document["refused"] != document["planted_to_be_refused"]:
        console.print(f"refused {document['refused']}, where {document['planted_to_be_refused']} were planted to be")


def _keep_recall(settings: Settings, document: dict[str, Any]) -> None:
    settings.reports_folder.mkdir(parents=True, exist_ok=True)
    file = settings.reports_folder / "recall_synthetic.json"
    file.write_text(json.dumps(document, indent=1), encoding="utf-8")


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}"
    return "" if value is None else str(value)


def _held(settings: Settings, source: Source) -> dict[str, int]:
    database = Database(settings.database_for(synthetic=source.synthetic), patience=settings.lock_patience)
    with database.reading() as connection:
        [counts] = connection.execute(
            "SELECT count(*), count(DISTINCT symbol), count(DISTINCT date) FROM price_history_daily"
        ).fetchall()
    return dict(zip(("bars", "symbols", "sessions"), counts, strict=True))


def _places(settings: Settings, source: Source, request: BackfillRequest) -> dict[str, Path]:
    return {
        "database": settings.database_for(synthetic=source.synthetic),
        "audit": settings.audit_folder / f"{request.kind}_{request.job_id}.jsonl",
        "reports": settings.reports_folder,
        "raw": settings.raw_folder(synthetic=source.synthetic),
    }


def _tell_where_to_look(held: dict[str, int], places: dict[str, Path], *, synthetic: bool) -> None:
    console = show.out()
    console.print("\nheld now: " + ", ".join(f"{count:,} {name}" for name, count in held.items()))
    console.print("where to look", style="bold")
    for what, where in {
        "prices, quality, audit": f"{places['database']} (DuckDB; tables price_history_daily, data_quality_log, ...)",
        "audit as JSONL": places["audit"],
        "reports": places["reports"],
        "raw payloads": places["raw"],
        "a picture of prices": "market-data plot NKE",
        "Dagster UI": "make ui, then http://127.0.0.1:3000",
    }.items():
        console.print(f"  {what:<24}{where}", markup=False, soft_wrap=True)
    if synthetic:
        console.print(f"[bold yellow]{show.SYNTHETIC}[/]; for real prices: make demo ARCHIVE=path (see README)")
