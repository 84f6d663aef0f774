"""Every check of `price_history_daily`, in the order they are shown."""

from __future__ import annotations

from market_data.report import checks
from market_data.report.checks import Check
from market_data.report.reconciliation import reconciliation
from market_data.report.restatements import restatement

__all__ = ["CHECKS"]

CHECKS = (
    *checks.CHECKS,
    Check(
        "restatement",
        "No provider changed bars that were stored; if one did: how many, and the largest moves.",
        False,
        restatement,
    ),
    Check(
        "reconciliation",
        "Where two providers were compared, their raw bars agree.",
        False,
        reconciliation,
    ),
)
"""The checks of `market_data.report.checks`, and those with a module of their own."""
