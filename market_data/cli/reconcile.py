"""`market-data reconcile`: compare stored bars with what other vendors tell, where they have calls to spare."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from market_data.cli import complete, show
from market_data.cli.backfill import new_job_id
from market_data.cli.progress import working
from market_data.settings import load_settings

if TYPE_CHECKING:
    from market_data.ingest.reconcile import Reconciled

__all__ = ["reconcile"]

_DATE = ["%Y-%m-%d"]
SHOWN = 10


def reconcile(
    *,
    symbols: Annotated[
        str | None,
        typer.Option(
            "--symbols",
            "--symbol",
            help="all, one, a list as in AAPL,MSFT, or @FILE; by default a sample of the day.",
            autocompletion=complete.symbols,
        ),
    ] = None,
    sample: Annotated[
        float | None, typer.Option(help="Share of the stored symbols to compare; by default RECONCILE_SHARE.")
    ] = None,
    provider: Annotated[
        str | None, typer.Option(help="vendors or sandbox; by default the real ones unless the source is the sandbox.")
    ] = None,
    start: Annotated[
        datetime | None, typer.Option(formats=_DATE, help="First date; by default the window's start.")
    ] = None,
    end: Annotated[datetime | None, typer.Option(formats=_DATE, help="Last date; by default the window's end.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
) -> None:
    """Compare stored bars of some symbols with other vendors' and tell who differs, and who stands alone.

    A vendor is asked only while more than half of its quotas is left; nothing stored is changed. Exit code 1 where
    anything differs.

    Example: market-data reconcile --symbols AAPL,MSFT --provider vendors
    """
    from market_data.ingest.reconcile import reconcile as run_reconcile
    from market_data.ingest.sources import open_source
    from market_data.instruments import load_universe

    settings = load_settings(reconcile_share=sample)
    universe = load_universe(settings.universe)
    name = provider or ("sandbox" if settings.default_source == "sandbox" else "vendors")
    chosen = universe.select(symbols) if symbols is not None else None
    with open_source(name, settings, universe) as source, working("reconcile", quiet=as_json):
        done = run_reconcile(
            settings,
            universe,
            source,
            symbols=chosen,
            start=start.date() if start else settings.window_start,
            end=end.date() if end else settings.window_end,
            job_id=new_job_id(),
            clock=source.clock,
        )
        synthetic = source.synthetic
    if as_json:
        print(json.dumps(_document(done, synthetic=synthetic)))
    else:
        _show(done, synthetic=synthetic)
    raise typer.Exit(0 if done.is_good else 1)


def _document(done: Reconciled, *, synthetic: bool) -> dict[str, Any]:
    from market_data.report.reconciliation import differing_rows, odd_counts, pair_counts

    rows = differing_rows(done.rows).head(SHOWN)
    told = json.loads(rows.assign(date=rows["date"].astype(str).str[:10]).to_json(orient="records"))
    return {
        "job_id": done.job_id,
        "synthetic": synthetic,
        "good": done.is_good,
        "symbols": done.symbols,
        "calls": done.calls,
        "pairs": [pair.as_dict() for pair in pair_counts(done.rows)],
        "odd": {name: {"compared": met, "odd": alone} for name, (met, alone) in odd_counts(done.rows).items()},
        "differing": [{key: value for key, value in row.items() if key != "raw_hash"} for row in told],
        "skipped": [{"symbol": s.symbol, "provider": s.provider, "reason": s.reason} for s in done.skipped],
    }


def _show(done: Reconciled, *, synthetic: bool) -> None:
    from market_data.report.reconciliation import differing_rows, odd_counts

    console = show.out()
    note = f"  {show.SYNTHETIC}" if synthetic else ""
    console.print(f"{len(done.symbols)} symbols compared, by {done.calls} calls{note}", markup=False)
    if len(done.rows):
        console.print(_pairs_table(done))
    for name, (met, alone) in odd_counts(done.rows).items():
        if alone:
            console.print(f"{name} stands alone in {alone:,} of {met:,} sessions", markup=False)
    differing = differing_rows(done.rows)
    if len(differing):
        console.print(_differing_table(differing, synthetic=synthetic))
    reasons: dict[tuple[str, str], list[str]] = {}
    for skipped in done.skipped:
        reasons.setdefault((skipped.provider, skipped.reason), []).append(skipped.symbol)
    for (vendor, reason), names in reasons.items():
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        told = f"{vendor}: {reason}" if vendor else reason
        console.print(f"{', '.join(names[:SHOWN])}{more}: {told}", markup=False)


def _pairs_table(done: Reconciled) -> Table:
    from market_data.report.reconciliation import pair_counts

    table = Table(title="Providers compared")
    for name in ("stored / other", "sessions", "agree", "price", "volume", "missing", "not raw", "largest"):
        table.add_column(name, justify="left" if name == "stored / other" else "right")
    for pair in pair_counts(done.rows):
        counts = (pair.compared, pair.agree, pair.price_differs, pair.volume_differs, pair.one_missing)
        numbers = [f"{number:,}" for number in (*counts, pair.not_comparable)]
        table.add_row(f"{pair.provider} / {pair.other_provider}", *numbers, f"{pair.largest:.3%}")
    return table


def _differing_table(differing: Any, *, synthetic: bool) -> Table:
    title = f"The largest {min(SHOWN, len(differing))} of {len(differing):,} differences"
    table = Table(title=title + (" - SYNTHETIC data" if synthetic else ""))
    for name in ("symbol", "date", "field", "stored", "value", "other", "value of it", "alone"):
        table.add_column(name, justify="right" if "value" in name else "left", no_wrap=name == "date")
    for row in differing.head(SHOWN).itertuples():
        values = ("-" if value != value else f"{value:,.10g}" for value in (row.value, row.other_value))  # noqa: PLR0124
        alone = row.odd_one if isinstance(row.odd_one, str) else ""
        stored, other = values
        place = (row.symbol, f"{row.date:%Y-%m-%d}", row.field)
        table.add_row(*place, row.provider, stored, row.other_provider, other, alone)
    return table
