"""What commands print: progress to standard error, results to standard output."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import TaskID, TextColumn
from rich.table import Table

from market_data.cli.progress import LogLines, bar

if TYPE_CHECKING:
    from market_data.ingest.backfill import BackfillRequest, Summary
    from market_data.ingest.sources import Source
    from market_data.records import AuditRecord

__all__ = ["BackfillProgress", "announce", "aside", "out", "plan", "status", "summary", "summary_document"]

SHOWN = 12
SYNTHETIC = "SYNTHETIC data: made up by the sandbox, of no use for any decision"


_WIDE = 1000


def out() -> Console:
    """Console of results."""
    return _console(stderr=False)


def aside() -> Console:
    """Console of progress and remarks, standard error."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    """A console as wide as the terminal; in a pipe or file as wide as need be, for nobody can make that wider.

    Colours go by rich: none in a pipe or with NO_COLOR, always with FORCE_COLOR.
    """
    is_seen = (sys.stderr if stderr else sys.stdout).isatty()
    width = None if is_seen or os.environ.get("COLUMNS", "").isdigit() else _WIDE
    return Console(stderr=stderr, highlight=False, width=width)


class BackfillProgress:
    """A bar with symbols, rows, rows a second, rejected symbols and the time left; in a log a line now and then."""

    def __init__(self, symbols: int) -> None:
        self._progress = bar(
            TextColumn("symbols  {task.fields[rows]:,} rows  {task.fields[rate]:,.0f} rows/s"),
            TextColumn("{task.fields[rejected]} rejected"),
            what="backfill",
        )
        self._lines = None if sys.stderr.isatty() else LogLines("backfill, symbols")
        self._symbols = symbols
        self._task: TaskID | None = None
        self._done = self._rows = self._rejected = 0
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        self._progress.start()
        self._task = self._progress.add_task("", total=self._symbols, rows=0, rate=0.0, rejected=0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def advance(self, record: AuditRecord) -> None:
        """Count a symbol that ended."""
        from market_data.records import Outcome

        assert self._task is not None
        self._done += 1
        self._rows += record.rows_inserted + record.rows_updated
        self._rejected += record.outcome is Outcome.REJECTED
        rate = self._rows / max(time.monotonic() - self._started, 1e-9)
        self._progress.update(self._task, advance=1, rows=self._rows, rate=rate, rejected=self._rejected)
        if self._lines is not None:
            self._lines.tell(self._done, self._symbols)


def announce(source: Source, request: BackfillRequest, database: Path) -> None:
    """Say what is about to be done, and name once what the source lacks."""
    console = aside()
    if source.synthetic:
        console.print(f"[bold yellow]{SYNTHETIC}[/]")
    console.print(
        f"job {request.job_id}: {len(request.symbols)} symbols, {request.start} to {request.end}, "
        f"from {escape(source.label)} into {escape(str(database))}"
    )
    if source.lacking:
        console.print(f"not in the archive, left out: {', '.join(source.lacking)}")


def summary(result: Summary, source: Source, database: Path) -> None:
    """The table at the end of a run, and each symbol that needs a person."""
    from market_data.records import Outcome

    console = out()
    table = Table(title=f"Backfill {result.job_id}" + (" - SYNTHETIC data" if source.synthetic else ""))
    for name in ("outcome", "symbols", "new rows", "changed", "same", "missing", "findings", "calls"):
        table.add_column(name, justify="left" if name == "outcome" else "right")
    for outcome in Outcome:
        records = [record for record in result.records if record.outcome is outcome]
        if records:
            table.add_row(outcome, *(f"{number:,}" for number in _totals(records)))
    table.add_section()
    table.add_row("all", *(f"{number:,}" for number in _totals(result.records)))
    console.print(table)
    asked = _asked(result.records)
    if len(asked) > 1:
        console.print(_asked_table(asked))
    for record in result.records:
        if not record.outcome.is_good:
            console.print(f"[bold]{record.symbol}[/] {record.outcome}: {escape(record.reason or '')}")
    if result.interrupted:
        console.print(f"interrupted; take it up with --job-id {result.job_id}")
    console.print(f"database {escape(str(database))}")


def _asked(records: list[AuditRecord]) -> dict[str, Counter[str]]:
    """By provider: symbols it was asked for now, accepted and other answers, calls sent."""
    asked: dict[str, Counter[str]] = {}
    for record in records:
        for step in record.decision:
            if step.get("provider") and "stored" not in step:
                accepted = step["answer"] == "accepted"
                told = {"symbols": 1, "accepted": accepted, "not accepted": not accepted, "calls": step["calls"]}
                asked.setdefault(step["provider"], Counter()).update(told)
    return asked


def _asked_table(asked: dict[str, Counter[str]]) -> Table:
    """Who was asked, and what came of it."""
    table = Table(title="Providers asked")
    names = ("symbols", "accepted", "not accepted", "calls")
    table.add_column("provider")
    for name in names:
        table.add_column(name, justify="right")
    for provider, counts in sorted(asked.items()):
        table.add_row(provider, *(f"{counts[name]:,}" for name in names))
    return table


def summary_document(result: Summary, source: Source) -> dict[str, Any]:
    """A run for machines."""
    return {
        "job_id": result.job_id,
        "provider": source.name,
        "synthetic": source.synthetic,
        "interrupted": result.interrupted,
        "good": result.is_good,
        "outcomes": dict(Counter(record.outcome for record in result.records)),
        "rows": result.rows,
        "lacking": source.lacking,
        "symbols": [record.as_dict() for record in result.records],
    }


def plan(document: dict[str, Any]) -> None:
    """What a dry run found."""
    console = out()
    settled = Counter(document["settled"].values())
    console.print(
        f"dry run, nothing is changed: {len(document['to_do'])} symbols to fetch from {document['provider']} "
        f"({document['sessions']:,} sessions, {document['start']} to {document['end']})"
    )
    for outcome, count in settled.items():
        console.print(f"{outcome}: {count} symbols")
    if document["to_do"]:
        console.print(f"to fetch: {_listed(document['to_do'])}")
    if document["lacking"]:
        console.print(f"not in the archive, left out: {_listed(document['lacking'])}")


def status(document: dict[str, Any]) -> None:
    """How far a job is."""
    title = f"Job {document['job_id']}" + (" - SYNTHETIC data" if document["synthetic"] else "")
    table = Table(title=title, min_width=len(title))
    table.add_column("")
    table.add_column("symbols", justify="right")
    table.add_column("which")
    table.add_row("planned", str(document["planned"]), "")
    table.add_row("done", str(document["done"]), "")
    for name in ("rejected", "no_data", "failed", "left"):
        table.add_row(name, str(len(document[name])), _listed(document[name]))
    out().print(table)
    ended = document["finished_at"]
    out().print(f"started {document['started_at']}, " + (f"finished {ended}" if ended else "not finished"))


def _totals(records: list[AuditRecord]) -> tuple[int, ...]:
    return (
        len(records),
        sum(record.rows_inserted for record in records),
        sum(record.rows_updated for record in records),
        sum(record.rows_unchanged for record in records),
        sum(record.sessions_missing for record in records),
        sum(record.findings for record in records),
        sum(record.calls for record in records),
    )


def _listed(symbols: list[str]) -> str:
    shown = ", ".join(symbols[:SHOWN])
    return shown + (f" and {len(symbols) - SHOWN} more" if len(symbols) > SHOWN else "")
