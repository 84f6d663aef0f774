"""Partitions of daily assets: the XNYS sessions of the window.

They are UTC days, so that the partition of session D closes at D+1 00:00 UTC, before the nightly sync.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import dagster as dg
import pandas as pd

from market_data.errors import SettingsError
from market_data.sessions import sessions_between

__all__ = ["session_partitions", "span_of"]


def session_partitions(start: date, end: date) -> dg.DailyPartitionsDefinition:
    """One partition for each session from `start` to `end`, both inclusive.

    Raises:
        SettingsError: there is none.
    """
    sessions = sessions_between(start, end)
    if not len(sessions):
        raise SettingsError(f"the window {start} to {end} holds no XNYS session; widen it")
    days = pd.date_range(start, end, freq="D").astype("datetime64[s]")
    return dg.DailyPartitionsDefinition(
        start_date=sessions[0].date().isoformat(),
        end_date=(end + timedelta(days=1)).isoformat(),
        timezone="UTC",
        exclusions=[datetime.combine(day.date(), datetime.min.time()) for day in days.difference(sessions)],
    )


def span_of(keys: Sequence[str]) -> tuple[date, date]:
    """First and last session of partition keys, which ascend."""
    return date.fromisoformat(keys[0]), date.fromisoformat(keys[-1])
