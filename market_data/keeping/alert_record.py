"""What an alert says: of which asset and check, for which sessions and symbols, why, and where to look."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from market_data.providers.redaction import redact

__all__ = ["SHOWN_SYMBOLS", "Alert", "Finding", "Kind", "Severity", "checks_link", "named_symbols", "run_link"]

SHOWN_SYMBOLS = 10
"""Symbols an alert names; of further ones it tells the number."""

_LONGEST_REASON = 2000


class Kind(StrEnum):
    """What an alert is about."""

    RUN_FAILURE = "run_failure"
    CHECK_FAILURE = "check_failure"
    TICK_FAILURE = "tick_failure"
    TEST = "test"


class Severity(StrEnum):
    """How bad it is; members are in ascending order."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that went wrong.

    Attributes:
        asset: key of the asset as in `daily_prices`; the job or step where no asset is concerned.
        check: name of the check; None for what failed without one.
        sessions: the partition, or the first and the last as in `2024-01-02 to 2024-01-12`; empty where there is none.
        severity: of this finding alone.
        reason: one or a few lines.
        symbols: every symbol known to be concerned.
        rows: failing rows in all, where counted; the symbols may come from the first of them alone.
        link: page of the asset's checks; empty for what the run's page tells.
    """

    asset: str
    reason: str
    severity: Severity = Severity.ERROR
    check: str | None = None
    sessions: str = ""
    symbols: tuple[str, ...] = ()
    rows: int | None = None
    link: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For a line of JSON."""
        return {
            "asset": self.asset,
            "check": self.check,
            "sessions": self.sessions,
            "severity": str(self.severity),
            "reason": redact(self.reason)[:_LONGEST_REASON],
            "symbols": list(self.symbols),
            "rows": self.rows,
            "link": self.link,
        }


@dataclass(frozen=True, slots=True)
class Alert:
    """What is told at once: everything that went wrong in one run.

    Attributes:
        kind: what it is about.
        at: instant it is told, timezone-aware.
        findings: at least one.
        run_id: run it comes from; None where there is none.
        link: page to look at first.
        synthetic: whether it is about data that the sandbox made up.
    """

    kind: Kind
    at: datetime
    findings: tuple[Finding, ...]
    run_id: str | None = None
    link: str = ""
    synthetic: bool = False

    @property
    def severity(self) -> Severity:
        """The worst of its findings."""
        order = list(Severity)
        return max((finding.severity for finding in self.findings), key=order.index)

    @property
    def title(self) -> str:
        """One line without the details."""
        mark = "SYNTHETIC data: " if self.synthetic else ""
        assets = ", ".join(_distinct(finding.asset for finding in self.findings))
        if self.kind is Kind.TEST:
            return f"{mark}test alert"
        if self.kind is Kind.RUN_FAILURE:
            return f"{mark}run failed: {assets}"
        if self.kind is Kind.TICK_FAILURE:
            return f"{mark}evaluation failed: {assets}"
        number = len(self.findings)
        return f"{mark}{f'{number} checks' if number > 1 else 'check'} failed: {assets}"

    def key(self, finding: Finding) -> str:
        """What makes a finding the same as one told before: kind, asset, check and sessions."""
        return "|".join((self.kind, finding.asset, finding.check or "", finding.sessions))

    def as_dict(self) -> dict[str, Any]:
        """For a line of JSON: what its findings have in common first, then each of them."""
        found = self.findings
        return {
            "at": self.at.astimezone(UTC).isoformat(timespec="seconds"),
            "kind": str(self.kind),
            "severity": str(self.severity),
            "assets": _distinct(finding.asset for finding in found),
            "checks": _distinct(finding.check for finding in found if finding.check),
            "sessions": _distinct(finding.sessions for finding in found if finding.sessions),
            "symbols": _distinct(symbol for finding in found for symbol in finding.symbols),
            "message": redact("; ".join(finding.reason for finding in found))[:_LONGEST_REASON],
            "link": self.link,
            "run_id": self.run_id,
            "synthetic": self.synthetic,
            "findings": [finding.as_dict() for finding in found],
        }


def named_symbols(symbols: Sequence[str]) -> str:
    """`AAPL, MSFT and 3 more`: the first of them, and how many more there are."""
    shown = ", ".join(symbols[:SHOWN_SYMBOLS])
    return shown + (f" and {len(symbols) - SHOWN_SYMBOLS} more" if len(symbols) > SHOWN_SYMBOLS else "")


def run_link(ui_url: str, run_id: str) -> str:
    """The page of a run in Dagster's UI, `/runs/<id>`."""
    return f"{ui_url.rstrip('/')}/runs/{quote(run_id, safe='')}"


def checks_link(ui_url: str, path: Sequence[str], check: str | None = None) -> str:
    """The page of an asset's checks in Dagster's UI, `/assets/<key>?view=checks&checkDetail=<check>`.

    Args:
        path: parts of the asset's key.
        check: the check whose history is opened.
    """
    asset = "/".join(quote(part, safe="") for part in path)
    detail = f"&checkDetail={quote(check, safe='')}" if check else ""
    return f"{ui_url.rstrip('/')}/assets/{asset}?view=checks{detail}"


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
