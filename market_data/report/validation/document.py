"""What a validation report says, as frozen records; every format is made from these alone.

Times are aware instants in UTC, dates XNYS sessions, shares numbers from 0 to 1, prices dollars a share,
volumes shares. None stands for what is not known, never for zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import numpy.typing as npt

__all__ = [
    "ActionRow",
    "CheckRow",
    "Finding",
    "GapRow",
    "Headline",
    "PairRow",
    "PriceSeries",
    "ProviderRow",
    "ReportDocument",
    "RestatementRow",
    "RuleRow",
    "ScoreBin",
    "SessionRow",
    "SymbolRow",
]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Headline:
    """The figures on top.

    Attributes:
        symbols: instruments with an expected session in the span.
        sessions: XNYS sessions of the span.
        expected, rows: expected (symbol, session) pairs, and those that have a bar.
        coverage: rows / expected.
        mean_score: over all expected pairs.
        flagged, missing, rejected, unanswered: pairs by verdict.
        rejected_symbols: instruments with a rejected session.
        open_gaps, known_gaps: sessions that are still asked for, and those that nobody can fill.
        last_session: newest session with a bar.
        last_sync: when the newest job that fetched or loaded ended.
    """

    symbols: int
    sessions: int
    expected: int
    rows: int
    coverage: float | None
    mean_score: float | None
    flagged: int
    missing: int
    rejected: int
    unanswered: int
    rejected_symbols: int
    open_gaps: int
    known_gaps: int
    last_session: date | None
    last_sync: datetime | None


@dataclass(frozen=True, slots=True)
class SymbolRow:
    """One instrument over the span.

    Attributes:
        months: coverage of each month of `ReportDocument.months`; None where no session is expected.
        providers: bars by provider.
        reason: why its newest batch was refused; None where it was not.
    """

    symbol: str
    name: str
    exchange: str
    first: date | None
    last: date | None
    expected: int
    rows: int
    coverage: float | None
    mean_score: float | None
    least_score: float | None
    flagged: int
    missing: int
    rejected: int
    unanswered: int
    findings: int
    months: tuple[float | None, ...]
    providers: dict[str, int]
    reason: str | None


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One session over all instruments."""

    session: date
    expected: int
    rows: int
    flagged: int
    missing: int
    rejected: int
    unanswered: int
    mean_score: float | None


@dataclass(frozen=True, slots=True)
class ScoreBin:
    """Expected pairs whose score is at least `low` and below `high` (the last bin includes 1)."""

    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing validation found; `date` is None when it is about a whole batch."""

    symbol: str
    date: date | None
    rule: str
    severity: str
    field: str
    value: float | None
    limit: float | None
    message: str
    provider: str


@dataclass(frozen=True, slots=True)
class RuleRow:
    """What a rule found: how many findings, in how many instruments, and some of them, the newest first."""

    rule: str
    severity: str
    meaning: str
    findings: int
    symbols: int
    examples: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """A provider: bars that stand in the span, and what it was asked since `start` of the report.

    Attributes:
        share: of all bars of the span.
        errors: failed requests by kind.
        quota_left, quota_limit, quota_period: of the quota that is nearest its end; None without one.
        resets: when that quota begins anew.
    """

    provider: str
    bars: int
    share: float | None
    calls: int
    accepted: int
    rejected: int
    no_data: int
    failed: int
    errors: dict[str, int]
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    quota_left: int | None
    quota_limit: int | None
    quota_period: str | None
    resets: datetime | None


@dataclass(frozen=True, slots=True)
class RestatementRow:
    """A stored bar that was replaced by another close or volume."""

    symbol: str
    date: date
    old_close: float | None
    new_close: float | None
    relative_change: float | None
    old_provider: str
    new_provider: str | None
    replaced_at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class ActionRow:
    """A corporate action with its ex-date: split ratio (new for one old share), or dollars a share."""

    symbol: str
    date: date
    kind: str
    value: float
    provider: str
    also_told_by: str


@dataclass(frozen=True, slots=True)
class PairRow:
    """Two providers compared: sessions compared and those that differ, and the largest difference (relative)."""

    provider: str
    other: str
    sessions: int
    differing: int
    largest: float | None
    symbols: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GapRow:
    """Sessions without a good bar that lie together: open (asked for again), or known with a reason."""

    symbol: str
    first: date
    last: date
    sessions: int
    state: str
    reason: str
    tries: int
    next_try: datetime | None


@dataclass(frozen=True, slots=True)
class CheckRow:
    """A check of the stored tables over the span."""

    name: str
    meaning: str
    passed: bool
    blocking: bool
    failing: int
    summary: str


@dataclass(frozen=True, slots=True)
class PriceSeries:
    """The daily bars of one instrument over the span, for its page.

    Attributes:
        sessions: int32 positions among `ReportDocument.sessions`, ascending; one for each stored bar.
        raw, adjusted: closes as traded and as total return; adjusted is all NaN where it is refused.
        volume: shares as traded; NaN where none was sent.
        refusal: why there is no adjusted series; None where there is one.
        findings: of this instrument in the span, by date.
    """

    symbol: str
    sessions: npt.NDArray[np.int32]
    raw: Floats
    adjusted: Floats
    volume: Floats
    refusal: str | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class ReportDocument:
    """A whole report.

    Attributes:
        months: "2021-01" and so on, the months of the span.
        sessions: one row for each session of the span, in order.
        symbols: one row for each instrument, by symbol.
        rules: those with a finding, most findings first.
        series: one for each of `symbols`, in the same order; empty where no page of them is asked for.
        truncated: what lists were cut short: name of the list and how many rows there are in all.
        findings: all of the span, by symbol and date; `rules` and `series` have them too.
    """

    generated_at: datetime
    start: date
    end: date
    synthetic: bool
    database: str
    version: str
    headline: Headline
    months: tuple[str, ...]
    sessions: tuple[SessionRow, ...]
    symbols: tuple[SymbolRow, ...]
    scores: tuple[ScoreBin, ...]
    rules: tuple[RuleRow, ...]
    providers: tuple[ProviderRow, ...]
    restatements: tuple[RestatementRow, ...]
    actions: tuple[ActionRow, ...]
    pairs: tuple[PairRow, ...]
    gaps: tuple[GapRow, ...]
    checks: tuple[CheckRow, ...]
    series: tuple[PriceSeries, ...]
    truncated: dict[str, int]
    findings: tuple[Finding, ...] = ()
