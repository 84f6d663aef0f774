"""How the vendors stand: what is used and left of each quota, when it resets, and when the next call is possible."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from market_data.providers.config import ProviderConfig
from market_data.selection.meter import RateLimiter
from market_data.selection.quota import QuotaLedger, Standing

__all__ = ["VendorStatus", "vendor_statuses"]


@dataclass(frozen=True, slots=True)
class VendorStatus:
    """One vendor at an instant.

    Attributes:
        has_key: whether a key is at hand; None where the vendor needs none.
        ready_in: seconds until its rate allows the next call.
        now: the instant (UTC).
    """

    config: ProviderConfig
    standing: Standing
    has_key: bool | None
    ready_in: float
    now: datetime

    @property
    def next_call_at(self) -> datetime | None:
        """When a call is possible, as things stand; None when never, for want of a key."""
        if self.has_key is False:
            return None
        spent = self.standing.spent()
        instants = [self.now + timedelta(seconds=self.ready_in)]
        if spent is not None:
            instants.append(spent.resets_at)
        if self.standing.closure is not None:
            instants.append(self.standing.closure.until)
        return max(instants)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types; instants in ISO 8601."""
        closure, following = self.standing.closure, self.next_call_at
        return {
            "provider": self.config.name,
            "priority": self.config.priority,
            "tier": self.config.tier,
            "key": {None: "not needed", True: "set", False: "missing"}[self.has_key],
            "key_variable": self.config.key_variable,
            "quotas": [
                {
                    "period": state.quota.period,
                    "limit": state.quota.limit,
                    "used": state.used,
                    "left": state.left,
                    "resets_at": state.resets_at.isoformat(),
                }
                for state in self.standing.quotas
            ],
            "closed_until": closure.until.isoformat() if closure else None,
            "closed_because": f"{closure.error}: {closure.reason}" if closure else None,
            "next_call_at": following.isoformat() if following else None,
        }


def vendor_statuses(
    catalogue: Mapping[str, ProviderConfig],
    ledger: QuotaLedger,
    rates_file: Path,
    *,
    with_key: Iterable[str],
    now: datetime,
) -> list[VendorStatus]:
    """Every vendor, by priority; nothing is counted or written.

    Args:
        with_key: vendors whose key is at hand.
    """
    keyed, standings = set(with_key), ledger.standing(*catalogue.values())
    statuses = []
    for name, config in catalogue.items():
        ready_in = 0.0
        if rates_file.exists():
            limiter = RateLimiter(name, config.rates, rates_file)
            ready_in = limiter.ready_in()
            limiter.close()
        has_key = name in keyed if config.needs_key else None
        statuses.append(VendorStatus(config, standings[name], has_key, ready_in, now))
    return statuses
