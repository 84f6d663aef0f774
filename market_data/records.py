"""Immutable records that travel between the parts: requests, payloads, parsed bars, verdicts, audit lines."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any

import pandas as pd

__all__ = [
    "EVERY",
    "AuditRecord",
    "Basis",
    "FetchRequest",
    "Outcome",
    "ParsedBars",
    "RawPayload",
    "Rejection",
    "StoredPayload",
]


class Basis(StrEnum):
    """What a price has been adjusted for.

    RAW is the canonical basis, as traded. SPLIT is adjusted for splits, SPLIT_DIVIDEND for splits and cash
    dividends, both as of an instant that travels with the bar.
    """

    RAW = "raw"
    SPLIT = "split"
    SPLIT_DIVIDEND = "split_dividend"


class Outcome(StrEnum):
    """How a symbol's unit of work ended."""

    ACCEPTED = "accepted"
    HELD = "held"
    NOT_LISTED = "not_listed"
    REJECTED = "rejected"
    NO_DATA = "no_data"
    FAILED = "failed"

    @property
    def is_good(self) -> bool:
        """Whether nothing is left to do: accepted, already held, or not listed in the span."""
        return self in (Outcome.ACCEPTED, Outcome.HELD, Outcome.NOT_LISTED)


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """What is asked of a provider: one symbol, `start` to `end` inclusive.

    Attributes:
        symbol: canonical symbol; `EVERY` where one answer is for all of them.
        interval: of bars, "1d" or "1m".
        feed: "bars", or corporate actions where a vendor has a feed of their own: "splits", "dividends".
        since: earliest instant of `start` that intraday bars are asked from, where a vendor can be asked so narrowly;
            None for the whole of it.
    """

    symbol: str
    start: date
    end: date
    interval: str = "1d"
    feed: str = "bars"
    since: datetime | None = None


EVERY = "*"
"""Stands for the symbol in a request that is answered for every symbol at once."""


@dataclass(frozen=True, slots=True)
class RawPayload:
    """A provider's answer as it came.

    Attributes:
        body: the decoded response body (no content encoding), never changed.
        sha256: hex digest of `body`.
        url: where it came from, without secrets; for an archive the member's path inside it.
        fetched_at: UTC instant the body was complete.
        attempts: calls it took, retries included; 0 when no call was needed.
        elapsed_ms: time from first call to complete body.
    """

    provider: str
    request: FetchRequest
    body: bytes
    sha256: str
    url: str
    status: int
    content_type: str | None
    fetched_at: datetime
    attempts: int = 1
    elapsed_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class StoredPayload:
    """What the raw store knows of an answered request, without the bytes.

    Attributes:
        request_id: 16 hex digits, the same for the same answer to the same request.
        size: bytes of the body.
    """

    request_id: str
    provider: str
    request: FetchRequest
    sha256: str
    url: str
    status: int
    content_type: str | None
    fetched_at: datetime
    attempts: int
    elapsed_ms: float
    size: int


@dataclass(frozen=True, slots=True)
class ParsedBars:
    """What a parser makes of a body.

    Attributes:
        bars: a `RawBars` frame (see `market_data.schemas`), ascending; for an interval shorter than a day a
            `RawIntradayBars` frame.
        actions: a `CorporateActions` frame; empty where the vendor sends none.
        basis: what the prices were adjusted for.
        adjusted_as_of: instant (UTC) the adjustment is complete up to; None for raw prices.
    """

    bars: pd.DataFrame
    actions: pd.DataFrame
    basis: Basis
    adjusted_as_of: datetime | None = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a whole batch was refused: the rule, the value found and the limit it broke."""

    rule: str
    reason: str
    value: float
    limit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """The one record of what became of a symbol in a job; the columns of `ingestion_audit`, a line of JSONL.

    `calls` are requests sent to a provider in this job, `attempts` the tries behind the stored payload.
    `decision` tells which providers were tried in which order and what each answered.
    """

    job_id: str
    symbol: str
    kind: str
    outcome: Outcome
    provider: str | None = None
    start_date: date
    end_date: date
    reason: str | None = None
    rule: str | None = None
    calls: int = 0
    attempts: int = 0
    sessions_expected: int = 0
    sessions_missing: int = 0
    rows_received: int = 0
    rows_inserted: int = 0
    rows_updated: int = 0
    rows_unchanged: int = 0
    null_share: float | None = None
    score: float | None = None
    findings: int = 0
    raw_hash: str | None = None
    url: str | None = None
    http_status: int | None = None
    bytes: int = 0
    latency_ms: float | None = None
    synthetic: bool = False
    decision: list[dict[str, Any]] = field(default_factory=list)
    started_at: datetime
    finished_at: datetime

    def as_dict(self) -> dict[str, Any]:
        """The record with plain JSON types: dates and instants in ISO 8601."""
        return {name: value.isoformat() if isinstance(value, date) else value for name, value in asdict(self).items()}
