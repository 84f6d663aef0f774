"""A report's summary in Markdown, for places that show no more than that."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from market_data.report.validation.document import ReportDocument
from market_data.report.validation.findings import rules_of

__all__ = ["plain_text", "summary"]

_WORST = 5
_SPECIAL = re.compile(r"([\\`*_\[\]!|~<>&$])")


def plain_text(text: str) -> str:
    """Text that came with data, as Markdown that shows it as it is in a cell of a table, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def summary(document: ReportDocument) -> str:
    """The headline as a table, the symbols with the lowest scores, and the checks that fail."""
    if not document.headline.expected:
        return f"Nothing is expected from {document.start} to {document.end} yet."
    parts = [_headline(document)]
    worst = sorted(
        (row for row in document.symbols if row.mean_score is not None and row.mean_score < 1),
        key=lambda row: (row.mean_score or 0, row.symbol),
    )
    if worst:
        rows = [
            (
                row.symbol,
                _score(row.mean_score),
                _share(row.coverage),
                row.reason or rules_of(document.findings, row.symbol),
            )
            for row in worst[:_WORST]
        ]
        parts.append(_table(("lowest scores", "score", "coverage", "why"), rows))
    failing = [check for check in document.checks if not check.passed]
    if failing:
        checks = [(check.name, "yes" if check.blocking else "no", check.summary) for check in failing]
        parts.append(_table(("failing check", "blocks", "found"), checks))
    return "\n\n".join(parts)


def _headline(document: ReportDocument) -> str:
    head = document.headline
    rows = [
        ("coverage", f"{_share(head.coverage)}: {head.rows:,} bars of {head.expected:,}"),
        ("mean score", _score(head.mean_score)),
        ("symbols", f"{head.symbols:,}, {head.rejected_symbols:,} of them rejected"),
        ("sessions", f"{head.sessions:,}, the last with a bar {head.last_session or 'none'}"),
        ("gaps", f"{head.open_gaps:,} sessions open, {head.known_gaps:,} known to be nowhere"),
        ("last sync", f"{head.last_sync:%Y-%m-%d %H:%M} UTC" if head.last_sync else "none"),
    ]
    return _table((f"{document.start} to {document.end}", ""), rows)


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *([plain_text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _share(share: float | None) -> str:
    return "unknown" if share is None else "100%" if share == 1 else f"{min(0.9999, share):.2%}"


def _score(score: float | None) -> str:
    return "unknown" if score is None else "1" if score == 1 else f"{min(0.9999, score):.4f}"
