"""Instants of dates in New York, the way vendors stamp their bars."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = [
    "CLOSE",
    "MIDNIGHT",
    "OPEN",
    "PRE_OPEN",
    "day_texts",
    "eastern_date",
    "eastern_day",
    "epoch_milliseconds",
    "epoch_seconds",
    "utc_offset",
]

Days = npt.NDArray[np.datetime64]
Seconds = npt.NDArray[np.int64]

MIDNIGHT, PRE_OPEN, OPEN, CLOSE = 0, 4 * 3600, 9 * 3600 + 1800, 16 * 3600
"""Seconds after midnight, by the clock on the wall."""

_ZONE = "America/New_York"


def epoch_seconds(days: Days, clock: int) -> Seconds:
    """Epoch seconds at which New York's clock shows `clock` seconds after midnight on each day."""
    local = pd.DatetimeIndex(days.astype("datetime64[s]") + np.timedelta64(clock, "s"))
    instants = local.tz_localize(_ZONE).tz_convert("UTC").tz_localize(None).to_numpy()
    return np.asarray(instants.astype("datetime64[s]").astype(np.int64))


def eastern_date(seconds: int) -> date:
    """The date in New York at an instant."""
    return datetime.fromtimestamp(seconds, ZoneInfo(_ZONE)).date()


def eastern_day(seconds: int) -> np.datetime64:
    """The same as `datetime64[s]`."""
    return np.datetime64(eastern_date(seconds), "s")


def epoch_milliseconds(instants: pd.Series) -> Seconds:
    """Epoch milliseconds of a column of zoned instants."""
    return np.asarray(instants.to_numpy("datetime64[ms]").astype(np.int64))


def utc_offset(seconds: int) -> tuple[int, str]:
    """New York's offset from UTC in seconds, and the abbreviation of its zone, at an instant."""
    local = datetime.fromtimestamp(seconds, ZoneInfo(_ZONE))
    offset = local.utcoffset()
    assert offset is not None
    return int(offset.total_seconds()), local.tzname() or ""


def day_texts(days: Days) -> list[str]:
    """Dates as `2021-01-19`."""
    texts: list[str] = np.datetime_as_string(days.astype("datetime64[D]")).tolist()
    return texts
