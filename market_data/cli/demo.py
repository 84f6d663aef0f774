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
from market_data.clock import SandboxClock, utc_now
from market_data.errors import MarketDataError
from market_data.ingest.actions import fetch_actions
from market_data.ingest.backfill import BackfillRequest
from market_data.ingest.sources import Source, open_source
from market_data.instruments import Universe, load_universe
from market_data.report.recall import Recall, compare, read_findings, read_providers, shown_by
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
) -> None:
    """Load the whole window for the whole universe, and say where to look.

    Without an archive the bars are synthetic, from four vendors that a server on loopback plays, with planted faults;
    how many of them were found is told.
    """
    settings = load_settings(archive=archive)
    universe = load_universe(settings.universe)
    if not settings.archive:
        _start_clock(settings)
    with open_source("stooq_bulk" if settings.archive else "sandbox", settings, universe) as source:
        if source.arms:
            _fetch_actions(settings, universe, source)
        request = BackfillRequest(source.served, settings.window_start, settings.window_end, new_job_id(), kind="demo")
        summary = run_backfill(settings, universe, source, request, quiet=False)
        good = summary.is_good
        if source.synthetic and not summary.interrupted:
            good = _tell_recall(settings, source, {r.symbol for r in summary.records if not r.outcome.is_good})
    _tell_where_to_look(settings, source, request)
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


def _fetch_actions(settings: Settings, universe: Universe, source: Source) -> None:
    fetched = fetch_actions(settings, universe, source, symbols=source.served, job_id=new_job_id(), clock=source.clock)
    show.out().print(
        f"corporate actions, by {fetched.calls:,} calls: {fetched.splits:,} splits, {fetched.dividends:,} dividends, "
        f"{fetched.spinoffs:,} spin-offs, {fetched.conflicts:,} conflicts"
    )


def _tell_recall(settings: Settings, source: Source, not_good: set[str]) -> bool:
    planted: list[Mapping[str, Any]] = _manifest(source)
    database = Database(settings.database_for(synthetic=True), patience=settings.lock_patience)
    with database.reading() as connection:
        planted = shown_by(planted, read_providers(connection))
        recall = compare(planted, read_findings(connection, source.served))
    _show_recall(recall)
    _keep_recall(settings, recall)
    refused: set[str] = {fault["symbol"] for fault in planted if fault["kind"] in REFUSED_KINDS}
    if not_good != refused:
        show.out().print(f"refused {sorted(not_good)}, where {sorted(refused)} were planted to be")
    return recall.value == 1.0 and not_good == refused


def _manifest(source: Source) -> list[Mapping[str, Any]]:
    try:
        answer = httpx.get(f"{source.url}/manifest", timeout=30, trust_env=False).raise_for_status()
    except httpx.HTTPError as error:
        raise MarketDataError(f"{source.url}/manifest: {error}") from None
    planted: list[Mapping[str, Any]] = answer.json()["defects"]
    return planted


def _show_recall(recall: Recall) -> None:
    table = Table(title="Planted faults found - SYNTHETIC data")
    for name in recall.by_rule.columns:
        table.add_column(name, justify="left" if name == "rule" else "right")
    for row in recall.by_rule.itertuples(index=False):
        table.add_row(*(_cell(value) for value in row))
    console = show.out()
    console.print(table)
    console.print(
        f"recall {recall.value:.3f} of {int(recall.by_rule['planted'].sum())} planted; "
        f"{len(recall.alarms)} false alarms, "
        f"{int(recall.by_rule['beside'].sum())} further findings follow from a fault beside them"
    )
    for fault in recall.missed.itertuples(index=False):
        console.print(f"missed: {fault.symbol} {fault.date} {fault.rule}")
    for alarm in recall.alarms.head(show.SHOWN).itertuples(index=False):
        console.print(f"false alarm: {alarm.symbol} {alarm.date} {alarm.rule}: {alarm.message}", markup=False)


def _keep_recall(settings: Settings, recall: Recall) -> None:
    settings.reports_folder.mkdir(parents=True, exist_ok=True)
    document = {
        "synthetic": True,
        "recall": recall.value,
        "by_rule": json.loads(recall.by_rule.to_json(orient="records")),
        "missed": recall.missed.astype(str).to_dict("records"),
        "false_alarms": recall.alarms.astype(str).to_dict("records"),
    }
    file = settings.reports_folder / "recall_synthetic.json"
    file.write_text(json.dumps(document, indent=1), encoding="utf-8")


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.2f}"  # noqa: PLR0124 - NaN is the one value unlike itself
    return str(value)


def _tell_where_to_look(settings: Settings, source: Source, request: BackfillRequest) -> None:
    console = show.out()
    database = settings.database_for(synthetic=source.synthetic)
    with Database(database, patience=settings.lock_patience).reading() as connection:
        row = connection.execute(
            "SELECT count(*), count(DISTINCT symbol), count(DISTINCT date) FROM price_history_daily"
        ).fetchone()
    rows, symbols, sessions = row or (0, 0, 0)
    console.print(f"\nheld now: {rows:,} bars, {symbols:,} symbols, {sessions:,} sessions")
    console.print("where to look", style="bold")
    for what, where in {
        "prices, quality, audit": f"{database} (DuckDB; tables price_history_daily, data_quality_log, ...)",
        "audit as JSONL": settings.audit_folder / f"{request.kind}_{request.job_id}.jsonl",
        "reports": settings.reports_folder,
        "raw payloads": settings.raw_folder(synthetic=source.synthetic),
        "Dagster UI": "make ui, then http://127.0.0.1:3000",
    }.items():
        console.print(f"  {what:<24}{where}", markup=False, soft_wrap=True)
    if source.synthetic:
        console.print(f"[bold yellow]{show.SYNTHETIC}[/]; for real prices: make demo ARCHIVE=path (see README)")
