"""How far a long command is: a bar on a terminal, a line now and then in a log; always on standard error.

The bar tells the count, the rate and the time left, where the total is known. Time here is that of the person who
waits, by the monotonic clock.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

__all__ = ["LINE_EVERY", "LogLines", "Tell", "bar", "working"]

LINE_EVERY = 30.0
"""Seconds from one line of a log to the next."""

Tell = Callable[[int, "int | None"], None]
"""Takes how many are done, and of how many, where that is known."""


class _Count(ProgressColumn):
    """How many are done, and of how many; nothing where nothing is counted."""

    def render(self, task: Task) -> Text:
        done = f"{task.completed:,.0f}"
        return Text(f"{done}/{task.total:,.0f}" if task.total is not None else done if task.completed else "")


class _Rate(ProgressColumn):
    """Pieces a second since the start."""

    def render(self, task: Task) -> Text:
        if not task.completed or not task.elapsed:
            return Text("")
        return Text(f"{task.completed / task.elapsed:,.1f}/s")


class LogLines:
    """Lines of a log that say how far the work is, one every `every` seconds; the first comes after as long.

    Args:
        what: the work and what is counted, as in `backfill, symbols`.
    """

    def __init__(self, what: str, *, every: float = LINE_EVERY, clock: Callable[[], float] = time.monotonic) -> None:
        self._what, self._every, self._clock = what, every, clock
        self._started = self._told = clock()

    def tell(self, done: int, total: int | None) -> None:
        """Print a line, if it is time for one."""
        now = self._clock()
        if now - self._told < self._every:
            return
        self._told = now
        rate = done / (now - self._started)
        left = f", about {(total - done) / rate:,.0f} s left" if total and done else ""
        of = f" of {total:,}" if total else ""
        print(f"{self._what}: {done:,}{of}, {rate:,.1f} a second{left}", file=sys.stderr, flush=True)


def bar(*middle: ProgressColumn, what: str) -> Progress:
    """A bar with the count, what `middle` says, and the time left.

    Shown on a terminal alone, FORCE_COLOR or not: a bar that moves is of no use in a file.
    """
    return Progress(
        SpinnerColumn(),
        TextColumn(f"[bold]{what}"),
        BarColumn(),
        _Count(),
        *middle,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True, highlight=False),
        transient=True,
        disable=not sys.stderr.isatty(),
    )


@contextmanager
def working(what: str, *, quiet: bool = False) -> Iterator[Tell]:
    """Show that work is under way; what is yielded takes how far it is, and need not be called.

    Args:
        quiet: show nothing at all.
    """
    if quiet or not sys.stderr.isatty():
        lines = LogLines(what)
        yield (lambda done, total: None) if quiet else lines.tell
        return
    with bar(_Rate(), what=what) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
