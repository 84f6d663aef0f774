"""How the providers do: what they were asked and answered, how fast, which errors, and what is left of their quotas.

`market_data.report.health_store` reads it from the store. Dates are UTC dates of the store's own clock.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import pandas as pd

from market_data.errors import SettingsError
from market_data.selection.quota import Closure

__all__ = ["OUTCOMES", "Asked", "Health", "ProviderHealth", "TightestQuota"]

OUTCOMES = ("accepted", "other", "minutes", "no_data", "not_served", "rejected", "failed")
"""What becomes of a request, from the best to the worst; each request is one of these."""

_COUNTS = (
    "calls", "answered", "accepted", "rejected", "no_data", "failed", "not_served", "bytes", "intraday_calls",
    "intraday_answered", "intraday_empty", "intraday_rejected", "intraday_failed", "intraday_not_served",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """What a provider was asked over a span of time, and what came of it.

    A request is for one symbol's bars or actions, or for every symbol at once; of an intraday poll each symbol counts
    as one.

    Attributes:
        calls: requests sent over the wire, retries included; one call may answer a poll's every symbol.
        accepted: answers with daily bars that validation accepted.
        other: usable answers of other feeds, and those kept to compare with.
        minutes: answers with minutes, of a past session or of a poll.
        rejected, no_data: answers that validation rejected, and those without data.
        failed: requests without a usable answer.
        not_served: requests beyond the reach or the quota of the provider.
        errors: failed and not_served by kind of error.
        size: bytes received.
        latency_p50_ms, latency_p95_ms: milliseconds to a complete answer; None where nothing was answered.
    """

    calls: int = 0
    accepted: int = 0
    other: int = 0
    minutes: int = 0
    rejected: int = 0
    no_data: int = 0
    failed: int = 0
    not_served: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    size: int = 0
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None

    @classmethod
    def of(cls, row: Mapping[Any, Any]) -> Asked:
        """From a row with the columns of `provider_metrics`."""
        number = {name: _count(row[name]) for name in _COUNTS}
        return cls(
            calls=number["calls"] + number["intraday_calls"],
            accepted=number["accepted"],
            other=max(0, number["answered"] - number["accepted"] - number["rejected"] - number["no_data"]),
            minutes=number["intraday_answered"],
            rejected=number["rejected"] + number["intraday_rejected"],
            no_data=number["no_data"] + number["intraday_empty"],
            failed=number["failed"] + number["intraday_failed"],
            not_served=number["not_served"] + number["intraday_not_served"],
            errors=json.loads(row["errors"]),
            size=number["bytes"],
            latency_p50_ms=_known(row["latency_p50_ms"]),
            latency_p95_ms=_known(row["latency_p95_ms"]),
        )

    @property
    def requests(self) -> int:
        """Requests, whatever became of them."""
        return sum(getattr(self, name) for name in OUTCOMES)

    @property
    def accepted_share(self) -> float | None:
        """Usable answers, as a share of them and those rejected or failed, as the choice of a vendor counts them."""
        usable = self.accepted + self.other + self.minutes
        return _share(usable, usable + self.rejected + self.failed)

    @property
    def failed_share(self) -> float | None:
        """Failed requests, as a share of all."""
        return _share(self.failed, self.requests)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "calls": self.calls,
            "requests": self.requests,
            **{name: getattr(self, name) for name in OUTCOMES},
            "errors": dict(self.errors),
            "bytes": self.size,
            "latency_p50_ms": self.latency_p50_ms,
            "latency_p95_ms": self.latency_p95_ms,
            "accepted_share": self.accepted_share,
            "failed_share": self.failed_share,
        }


@dataclass(frozen=True, slots=True)
class TightestQuota:
    """The quota of a provider with the least share left.

    Attributes:
        period: day or month, in the provider's own zone.
        left, limit: calls that may still be sent in it, and all it allows.
        resets_at: when (UTC) the next period begins.
    """

    period: str
    left: int
    limit: int
    resets_at: datetime

    @property
    def used_share(self) -> float:
        """How much of it is used, 0 to 1."""
        return 1.0 if not self.limit else 1 - self.left / self.limit

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        resets_at = self.resets_at.isoformat()
        return {"period": self.period, "left": self.left, "limit": self.limit, "resets_at": resets_at}


@dataclass(frozen=True, slots=True)
class ProviderHealth:
    """One provider.

    Attributes:
        span: what it was asked over the whole span.
        last_day: the same over the last 24 hours.
        quota: its tightest quota now; None where it has none.
        closure: why it is left alone, if it is.
    """

    provider: str
    span: Asked
    last_day: Asked
    quota: TightestQuota | None = None
    closure: Closure | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types; instants in ISO 8601."""
        closure = self.closure
        return {
            "provider": self.provider,
            **self.span.as_dict(),
            "last_day": self.last_day.as_dict(),
            "quota": self.quota.as_dict() if self.quota else None,
            "closed_until": closure.until.isoformat() if closure else None,
            "closed_because": f"{closure.error}: {closure.reason}" if closure else None,
        }


@dataclass(frozen=True, slots=True)
class Health:
    """How the providers did from `first` to `last`, both inclusive, UTC dates.

    Attributes:
        synthetic: whether the vendors are those the sandbox plays.
        providers: those that were asked, by priority where it is known, then by name.
        days: columns provider, date (datetime64), the names of `OUTCOMES`, accepted_share, latency_p50_ms,
            latency_p95_ms, quota_left and quota_limit; one row a provider and date on which it was asked or its quota
            noted; NaN where a number is not known.
    """

    synthetic: bool
    first: date
    last: date
    providers: tuple[ProviderHealth, ...]
    days: pd.DataFrame

    def only(self, provider: str) -> Health:
        """That of one provider.

        Raises:
            SettingsError: it was not asked in the span.
        """
        names = [item.provider for item in self.providers]
        if provider not in names:
            known = f"those that were are {', '.join(names)}" if names else "nobody was"
            raise SettingsError(
                f"provider {provider!r} was not asked from {self.first} to {self.last}; {known}; "
                "name another, or look further back with --days"
            )
        kept = tuple(item for item in self.providers if item.provider == provider)
        days = self.days[self.days["provider"] == provider].reset_index(drop=True)
        return Health(self.synthetic, self.first, self.last, kept, days)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        days = self.days.assign(date=self.days["date"].dt.strftime("%Y-%m-%d"))
        return {
            "synthetic": self.synthetic,
            "first": self.first.isoformat(),
            "last": self.last.isoformat(),
            "providers": [item.as_dict() for item in self.providers],
            "days": json.loads(days.to_json(orient="records")),
        }


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def _count(value: float | None) -> int:
    return int(_known(value) or 0)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
