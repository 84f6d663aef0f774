"""Partitions of daily assets: the XNYS sessions of the window.

They are UTC days, so that the partition of session D closes at D+1 00:00 UTC, before the nightly sync.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import dagster as dg
import pandas as pd

from market_data.errors import SettingsError
from market_data.sessions import last_known_date, sessions_between

__all__ = ["session_partitions", "span_of"]


def session_partitions(start: date, end: date, *, goes_on: bool = False) -> dg.DailyPartitionsDefinition:
    """One partition for each session from `start` to `end`, both inclusive.

    Args:
        goes_on: whether there is one for each session after `end` as well, as soon as its day is over.

    Raises:
        SettingsError: there is none.
    """
    sessions = sessions_between(start, end)
    if not len(sessions):
        raise SettingsError(f"the window {start} to {end} holds no XNYS session; widen it")
    last = max(end, last_known_date()) if goes_on else end
    days = pd.date_range(start, last, freq="D").astype("datetime64[s]")
    traded = sessions_between(start, last)
    return dg.DailyPartitionsDefinition(
        start_date=sessions[0].date().isoformat(),
        # The calendar is known for about a year ahead, which each start of the code takes anew.
        end_date=(last + timedelta(days=1)).isoformat(),
        timezone="UTC",
        exclusions=[datetime.combine(day.date(), datetime.min.time()) for day in days.difference(traded)],
    )


def span_of(keys: Sequence[str]) -> tuple[date, date]:
    """First and last session of partition keys, which ascend."""
    return date.fromisoformat(keys[0]), date.fromisoformat(keys[-1])
