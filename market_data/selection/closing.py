"""When a vendor is left alone: what its errors mean for the requests to come."""

from __future__ import annotations

from datetime import datetime, timedelta

from market_data.errors import (
    LeftAlone,
    NotEntitled,
    OutOfWindow,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    UnknownSymbol,
)
from market_data.providers.config import ProviderConfig, Quota
from market_data.selection.quota import Closure, QuotaLedger, period_of

__all__ = ["FAILURES", "is_of_the_request", "note_error"]

FAILURES = 3
"""Failures in a row after which a vendor's circuit opens."""
_OPEN = timedelta(minutes=5)
_REFUSED = timedelta(hours=6)
_LONGEST_WAIT = timedelta(days=1)
_DAY = Quota("day", 1)


def is_of_the_request(error: ProviderError) -> bool:
    """Whether an error says something about the symbol or window asked for, nothing about the vendor."""
    return isinstance(error, UnknownSymbol | OutOfWindow)


def note_error(ledger: QuotaLedger, config: ProviderConfig, error: ProviderError, now: datetime) -> Closure | None:
    """Note an error a vendor answered with, and close the vendor where it calls for that; returns the closure.

    A spent quota closes it until its next day begins, "too many requests" for the time it names (a day at most) or its
    cooldown, a refused key or an access control for 6 hours, `FAILURES` failures in a row of any other kind for 5
    minutes. What speaks of the request alone, or comes of a closure, is no failure.
    """
    if is_of_the_request(error) or isinstance(error, LeftAlone):
        return None
    until = _until(ledger, config, error, now)
    if until is None:
        return None
    closure = Closure(until, type(error).__name__, str(error))
    ledger.close(config.name, closure)
    return closure


def _until(ledger: QuotaLedger, config: ProviderConfig, error: ProviderError, now: datetime) -> datetime | None:
    if isinstance(error, QuotaExhausted):
        return period_of(_DAY, config.reset_zone, now)[1]
    if isinstance(error, RateLimited):
        # A vendor that names no time to wait, after every attempt, is given its cooldown as well.
        seconds = max(error.retry_after or 0.0, 0.0) or config.cooldown
        return now + timedelta(seconds=min(seconds, _LONGEST_WAIT.total_seconds()))
    if isinstance(error, NotEntitled):
        return now + _REFUSED
    return now + _OPEN if ledger.count_failure(config.name) >= FAILURES else None
