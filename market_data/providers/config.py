"""What each vendor allows, as `providers.yaml` tells: priority, tier, limits, reach, basis, base URL, key variable."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from market_data.records import Basis
from market_data.sessions import sessions_between

__all__ = ["ProviderConfig", "Quota", "Rate"]


@dataclass(frozen=True, slots=True)
class Quota:
    """At most `limit` calls in each calendar `period` of the vendor's zone."""

    period: Literal["day", "month"]
    limit: int


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `limit` calls within any `seconds`."""

    limit: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderConfig:
    """One vendor, for the tier in use.

    Attributes:
        name: one of the registry's.
        priority: 1 is preferred.
        tier: the plan in use, for people and for reports.
        base_url: scheme, host and path prefix.
        basis: what the vendor's daily prices are adjusted for.
        key_variable: environment variable that holds the key; None where the vendor has none.
        needs_key: whether nothing is served without a key.
        quotas: calls a calendar day or month, counted in `reset_zone`.
        rates: calls within a sliding time.
        concurrency: calls under way at once.
        reset_zone: IANA zone in which the vendor's days and months begin.
        reach_days: how many calendar days back daily bars are served; None for all of them.
        reach_sessions: how many sessions back daily bars are served; None for all of them.
        intraday_reach_days: how many calendar days back 1-minute bars are served; 0 for none.
        cooldown: seconds the vendor is left alone after it said "too many requests" without naming a time.
        grouped: whether one call can answer for all symbols of a session, in this tier.
        point_in_time_tickers: whether the bars of a date are served under the ticker of that date, and today's ticker
            may be another security's then; otherwise the whole history is served under today's ticker.
        user_agent: as sent; empty for the project's own.
    """

    name: str
    priority: int
    tier: str
    base_url: str
    basis: Basis
    key_variable: str | None = None
    needs_key: bool = False
    quotas: tuple[Quota, ...] = ()
    rates: tuple[Rate, ...] = ()
    concurrency: int = 4
    reset_zone: str = "UTC"
    reach_days: int | None = None
    reach_sessions: int | None = None
    intraday_reach_days: int | None = None
    cooldown: float = 60.0
    grouped: bool = False
    point_in_time_tickers: bool = False
    user_agent: str = ""

    def first_reachable(self, last: date) -> date | None:
        """The earliest date whose daily bar is served, `last` being the last completed session; None for any."""
        firsts = []
        if self.reach_days is not None:
            firsts.append(last - timedelta(days=self.reach_days))
        if self.reach_sessions is not None:
            sessions = sessions_between(last - timedelta(days=2 * self.reach_sessions + 10), last)
            firsts.append(sessions[-self.reach_sessions :][0].date())
        return max(firsts, default=None)
