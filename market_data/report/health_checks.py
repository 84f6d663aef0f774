"""What should have somebody look at a provider: requests that fail, and a quota near its end."""

from __future__ import annotations

import pandas as pd

from market_data.report.checks import CheckResult
from market_data.report.health import Health

__all__ = ["FAILED_SHARE", "LEAST_REQUESTS", "USED_SHARE", "errors_check", "quota_check"]

FAILED_SHARE = 0.20
"""Share of a day's requests that may fail before somebody should look."""

LEAST_REQUESTS = 10
"""Requests below which that share says nothing."""

USED_SHARE = 0.90
"""Share of a quota that may be used before somebody should look."""


def errors_check(health: Health) -> CheckResult:
    """Providers that failed at more than `FAILED_SHARE` of at least `LEAST_REQUESTS` requests of the last 24 hours."""
    asked = [(item.provider, item.last_day) for item in health.providers if item.last_day.requests >= LEAST_REQUESTS]
    rows = [
        {
            "provider": provider,
            "failed": day.failed,
            "requests": day.requests,
            "share": day.failed_share,
            "kinds": ", ".join(f"{kind} {count:,}" for kind, count in day.errors.items()),
        }
        for provider, day in asked
        if (day.failed_share or 0.0) > FAILED_SHARE
    ]
    worst = max((day.failed_share or 0.0 for _, day in asked), default=0.0)
    told = "; ".join(f"{row['provider']} {row['failed']:,} of {row['requests']:,} ({row['kinds']})" for row in rows)
    often = f"no provider failed at more than {FAILED_SHARE:.0%} of its requests over the last 24 hours"
    summary = f"requests that failed over the last 24 hours: {told}" if rows else often
    return CheckResult(not rows, len(rows), pd.DataFrame(rows), worst, summary)


def quota_check(health: Health) -> CheckResult:
    """Providers whose tightest quota is used to more than `USED_SHARE`."""
    tight = [(item.provider, item.quota) for item in health.providers if item.quota is not None]
    rows = [
        {
            "provider": provider,
            "period": quota.period,
            "left": quota.left,
            "limit": quota.limit,
            "resets_at": f"{quota.resets_at:%Y-%m-%d %H:%M} UTC",
        }
        for provider, quota in tight
        if quota.used_share > USED_SHARE
    ]
    told = "; ".join(f"{row['provider']} has {row['left']:,} of {row['limit']:,} a {row['period']}" for row in rows)
    summary = f"calls left: {told}" if rows else f"no quota is used to more than {USED_SHARE:.0%}"
    used = max((quota.used_share for _, quota in tight), default=0.0)
    return CheckResult(not rows, len(rows), pd.DataFrame(rows), used, summary)
