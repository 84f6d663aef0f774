"""A report for the terminal: the figures, where to look first, and what fails, within 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from market_data.report.validation.document import ReportDocument, SymbolRow
from market_data.report.validation.findings import rules_of

__all__ = ["SHOWN", "print_report", "printable", "render"]

SHOWN = 10
"""Rows of each list that are shown."""

_NOTHING_DUE = "no session lies in this span, or none of it is due yet"
_NOTHING_EXPECTED = (
    "nothing is expected of this span: no symbol was asked for yet, or none is listed in it; `market-data backfill` "
    "loads it"
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def print_report(console: Console, document: ReportDocument) -> None:
    """Print the report."""
    console.print(render(document))


def render(document: ReportDocument) -> RenderableType:
    """What is printed, a section after the other; those with nothing to tell are left out."""
    return Group(*_sections(document))


def printable(text: str) -> str:
    """Text that came with data without what a terminal would act upon."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _sections(document: ReportDocument) -> Iterator[RenderableType]:
    yield _title(document)
    if not document.headline.expected:
        yield Text(_NOTHING_DUE if not document.sessions else _NOTHING_EXPECTED)
        return
    yield _headline(document)
    yield _coverage(document)
    worst = [row for row in document.symbols if row.mean_score is not None and row.mean_score < 1]
    if worst:
        yield _worst(document, worst)
    if document.rules:
        yield _rules(document)
    if document.providers:
        yield _providers(document)
    if document.gaps:
        yield _gaps(document)
    yield from _events(document)
    yield _checks(document)


def _title(document: ReportDocument) -> Text:
    title = Text(f"Validation report, {document.start} to {document.end}", style="bold")
    if document.synthetic:
        title.append("  SYNTHETIC data", style="bold yellow")
    return title.append(f"\n{document.database}, {_instant(document.generated_at)}", style="dim not bold")


def _headline(document: ReportDocument) -> Table:
    head = document.headline
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    table.add_row("coverage", f"{_share(head.coverage)}: {head.rows:,} bars of {head.expected:,} expected")
    table.add_row("mean score", _score(head.mean_score))
    table.add_row("symbols", f"{head.symbols:,}, {head.rejected_symbols:,} of them rejected")
    table.add_row("sessions", f"{head.sessions:,}, the last with a bar {head.last_session or '-'}")
    counts = ("flagged", "missing", "rejected", "unanswered")
    table.add_row("not plain", ", ".join(f"{getattr(head, name):,} {name}" for name in counts))
    table.add_row("gaps", f"{head.open_gaps:,} sessions open, {head.known_gaps:,} known to be nowhere")
    table.add_row("last sync", _instant(head.last_sync) if head.last_sync else "-")
    return table


def _coverage(document: ReportDocument) -> Table:
    """Bars of those expected, a row a year and a column a month."""
    counted: dict[tuple[int, int], tuple[int, int]] = {}
    for row in document.sessions:
        key = (row.session.year, row.session.month)
        expected, held = counted.get(key, (0, 0))
        counted[key] = (expected + row.expected, held + row.rows)
    table = _table("Coverage by month, percent", gap=1)
    table.add_column("year")
    for month in _MONTHS:
        table.add_column(month, justify="right")
    for year in dict.fromkeys(year for year, _ in counted):
        table.add_row(str(year), *(_percent(*counted.get((year, month), (0, 0))) for month in range(1, 13)))
    return table


def _percent(expected: int, held: int) -> Text:
    if not expected:
        return Text("")
    share = held / expected
    # Rounding must not make 100 of what is not whole.
    text = "100" if held == expected else f"{min(99.9, 100 * share):.1f}"
    return Text(text, style="" if share >= 0.99 else "yellow" if share >= 0.9 else "red")


def _worst(document: ReportDocument, rows: Sequence[SymbolRow]) -> Table:
    rows = sorted(rows, key=lambda row: (row.mean_score or 0, row.coverage or 0, row.symbol))
    table = _table(f"Lowest scores, {min(SHOWN, len(rows))} of {len(rows):,} symbols below 1")
    for name in ("symbol", "score", "coverage", "flagged", "missing", "rejected", "why"):
        table.add_column(name, justify="left" if name in ("symbol", "why") else "right", no_wrap=name != "why")
    for row in rows[:SHOWN]:
        table.add_row(
            row.symbol,
            _score(row.mean_score),
            _share(row.coverage),
            *(f"{number:,}" for number in (row.flagged, row.missing + row.unanswered, row.rejected)),
            Text(printable(row.reason or rules_of(document.findings, row.symbol))),
        )
    return table


def _rules(document: ReportDocument) -> Table:
    table = _table("Findings by rule")
    for name in ("rule", "severity", "findings", "symbols", "newest"):
        table.add_column(name, justify="right" if name in ("findings", "symbols") else "left", no_wrap=name != "newest")
    for row in document.rules:
        newest = row.examples[0]
        place = newest.symbol if newest.date is None else f"{newest.symbol} {newest.date}"
        told = Text(printable(f"{place}: {newest.message}"), overflow="ellipsis", no_wrap=True)
        table.add_row(Text(printable(row.rule)), row.severity, f"{row.findings:,}", f"{row.symbols:,}", told)
    return table


def _providers(document: ReportDocument) -> Table:
    table = _table("Providers")
    names = ("provider", "bars", "share", "calls", "failed", "p95 ms", "quota left")
    for name in names:
        table.add_column(name, justify="left" if name == "provider" else "right", no_wrap=True)
    for row in document.providers:
        quota = "-" if row.quota_left is None else f"{row.quota_left:,} of {row.quota_limit:,}/{row.quota_period}"
        latency = "-" if row.latency_p95_ms is None else f"{row.latency_p95_ms:,.0f}"
        counts = (f"{row.bars:,}", _share(row.share), f"{row.calls:,}", f"{row.failed:,}")
        table.add_row(Text(printable(row.provider)), *counts, latency, quota)
    return table


def _gaps(document: ReportDocument) -> Table:
    total = document.truncated.get("gaps", len(document.gaps))
    table = _table(f"Gaps, the newest {min(SHOWN, total)} of {total:,}")
    for name in ("symbol", "from", "to", "sessions", "state", "why"):
        table.add_column(name, justify="right" if name == "sessions" else "left", no_wrap=name != "why")
    for row in document.gaps[:SHOWN]:
        span = (str(row.first), str(row.last))
        table.add_row(row.symbol, *span, f"{row.sessions:,}", row.state, Text(printable(row.reason)))
    return table


def _events(document: ReportDocument) -> Iterator[Text]:
    lines = []
    restated, actions = (
        document.truncated.get(name, len(getattr(document, name))) for name in ("restatements", "actions")
    )
    if restated:
        newest = document.restatements[0]
        lines.append(f"{restated:,} bars were replaced, the last {newest.symbol} {newest.date} ({newest.reason})")
    if actions:
        kinds = ", ".join(
            f"{sum(row.kind == kind for row in document.actions):,} {kind}s"
            for kind in dict.fromkeys(row.kind for row in document.actions)
        )
        lines.append(f"{actions:,} corporate actions: {kinds}")
    lines += [
        f"{pair.provider} and {pair.other}: {pair.differing:,} of {pair.sessions:,} compared sessions differ"
        for pair in document.pairs
    ]
    if lines:
        yield Text("\n" + "\n".join(printable(line) for line in lines))


def _checks(document: ReportDocument) -> RenderableType:
    failing = [check for check in document.checks if not check.passed]
    if not failing:
        return Text(f"\nevery one of {len(document.checks)} checks passes", style="green")
    table = _table(f"Checks of all symbols that fail, {len(failing)} of {len(document.checks)}")
    for name in ("check", "blocks", "what was found"):
        table.add_column(name, no_wrap=name != "what was found")
    for check in failing:
        table.add_row(check.name, "yes" if check.blocking else "no", Text(printable(check.summary)))
    return table


def _table(title: str, *, gap: int = 2) -> Table:
    padding = (0, gap, 0, 0)
    return Table(
        title=f"\n{title}",
        title_justify="left",
        title_style="bold",
        box=None,
        padding=padding,
        pad_edge=False,
        header_style="dim",
    )


def _share(share: float | None) -> str:
    if share is None:
        return "-"
    return "100%" if share == 1 else f"{min(0.9999, share):.2%}"


def _score(score: float | None) -> str:
    return "-" if score is None else "1" if score == 1 else f"{min(0.9999, score):.4f}"


def _instant(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC"
