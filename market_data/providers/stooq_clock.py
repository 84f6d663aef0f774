"""When the bars of Stooq's intraday files begin.

The files name no zone. Public programs that read them take the times for Europe/Warsaw's, and their figures bear it
out: a session's first 5-minute bar stands at 15:30, but at 14:30 in the weeks in which clocks were changed in New York
and not yet in Europe. A 5-minute bar is stamped with its **start** (15:30 to 21:55). An hourly one is stamped with its
**end**, by hours of the clock: 16:00 has the half hour from the opening on, 22:00 the last hour. On half days a bar
after the close holds the closing auction.

No document of Stooq's says so. Hence the times are not trusted but tried: that zone and that end of the interval, then
the others, and the reading counts under which the bars lie in regular hours and begin with the opening.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from market_data.errors import BadPayload
from market_data.sessions import FIRST_DATE, closes, last_known_date, sessions_between

__all__ = ["MINUTES", "ZONES", "bar_starts"]

MINUTES: Mapping[str, int] = {"5m": 5, "1h": 60}
"""Intervals of Stooq's intraday files, by the minutes they span."""

ZONES = ("Europe/Warsaw", "America/New_York", "UTC")
"""Zones the times may be of, the likeliest first."""

_STAMPED_AT_END = {"5m": False, "1h": True}
_LEAST_INSIDE = 0.9
_BUSY = 0.9  # of the bars a session can have: one that has as many surely begins at the opening
_OPENS_AFTER = np.timedelta64(9 * 60 + 30, "m")  # XNYS has opened at 09:30 since 1985
_REGULAR = np.timedelta64(390, "m")

Instants = npt.NDArray[np.datetime64]
_Fit = tuple[float, float]


def bar_starts(stamps: Instants, interval: str, symbol: str) -> Instants:
    """The instants at which bars begin, UTC, `datetime64[s]`, shape (bars,).

    Args:
        stamps: the file's dates and times, naive, in any order.
        interval: one of `MINUTES`.

    Raises:
        BadPayload: under no reading do they lie in the regular hours of XNYS.
    """
    length = np.timedelta64(MINUTES[interval], "m")
    best, most = stamps, (-1.0, -1.0)
    for zone in ZONES:
        instants = _in_utc(stamps, zone)
        for at_end in (_STAMPED_AT_END[interval], not _STAMPED_AT_END[interval]):
            starts = instants - length if at_end else instants
            fit = _fit(starts, length)
            if fit > most:
                best, most = starts, fit
            if most == (1.0, 1.0):
                return best
    if most[0] < _LEAST_INSIDE:
        raise BadPayload(
            f"{symbol}: the times of its {interval} bars fit neither {', '.join(ZONES[:-1])} nor {ZONES[-1]}: at best "
            f"{most[0]:.1%} lie in the regular hours of XNYS; the file is not of a US share, or stamped otherwise"
        )
    return best


def _in_utc(stamps: Instants, zone: str) -> Instants:
    """The instants of wall times of a zone; NaT for those that a change of clocks makes ambiguous or impossible."""
    local = pd.DatetimeIndex(stamps.astype("datetime64[s]")).tz_localize(zone, ambiguous="NaT", nonexistent="NaT")
    return local.tz_convert("UTC").tz_localize(None).to_numpy().astype("datetime64[s]")


def _fit(starts: Instants, length: np.timedelta64) -> _Fit:
    """Share of the bars that lie in regular hours, and of the busy sessions that begin with the opening.

    Half days do not count where there are others, for the closing auction's bar after their close.
    """
    opened, closed = _hours(starts)
    is_full = closed - opened == _REGULAR
    is_counted = is_full | np.isnat(opened) if is_full.any() else np.ones(len(starts), dtype=bool)
    inside = (starts < closed) & (starts + length > opened)
    share = float(inside[is_counted].mean()) if is_counted.any() else 0.0
    chosen = inside & is_counted
    sessions = pd.Series(starts[chosen]).groupby(opened[chosen]).agg(["min", "size"])
    first = sessions[sessions["size"] >= _BUSY * (_REGULAR / length)]["min"]
    if not len(first):
        return share, 1.0
    opening = first.index.to_numpy()
    begins = (first.to_numpy() <= opening) & (first.to_numpy() + length > opening)
    return share, float(begins.mean())


def _hours(starts: Instants) -> tuple[Instants, Instants]:
    """Opening and close of the session on whose date each bar begins, UTC; NaT where there is none."""
    eastern = pd.DatetimeIndex(starts).tz_localize("UTC").tz_convert("America/New_York").tz_localize(None)
    days = eastern.to_numpy().astype("datetime64[D]").astype("datetime64[s]")
    known = days[~np.isnat(days)]
    low, high = np.datetime64(FIRST_DATE), np.datetime64(last_known_date())
    if not len(known) or known.min() < low or known.max() > high:
        nothing = np.full(len(starts), np.datetime64("NaT", "s"))
        return nothing, nothing
    sessions = sessions_between(known.min().astype("datetime64[D]").item(), known.max().astype("datetime64[D]").item())
    opens = pd.DatetimeIndex(sessions.to_numpy() + _OPENS_AFTER).tz_localize("America/New_York").tz_convert("UTC")
    place = np.searchsorted(sessions.to_numpy(), days)
    ends = np.append(_naive(closes(sessions)), np.datetime64("NaT", "s"))
    begins = np.append(_naive(opens), np.datetime64("NaT", "s"))
    is_session = np.append(sessions.to_numpy(), np.datetime64("NaT", "s"))[place] == days
    nowhere = np.datetime64("NaT", "s")
    return np.where(is_session, begins[place], nowhere), np.where(is_session, ends[place], nowhere)


def _naive(instants: pd.DatetimeIndex) -> Instants:
    return instants.tz_localize(None).to_numpy().astype("datetime64[s]")
