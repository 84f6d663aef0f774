"""Intraday bars turned to raw, session by session, by the corporate actions that are known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pandas as pd

from market_data.adjustments import to_tick
from market_data.ingest.convert import as_stored
from market_data.records import Basis, ParsedBars, StoredPayload

__all__ = ["MinutesAsStored", "minutes_as_stored"]

_PRICES = ("open", "high", "low", "close", "vwap")
_DIGITS = 6  # that a vendor surely sends of an adjusted price: Stooq's, and Yahoo's 32-bit floats have one more

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MinutesAsStored:
    """Intraday bars as they go into the store.

    Attributes:
        bars: as given, prices and volumes raw where they could be turned.
        basis, adjusted_as_of: of these prices.
        why_not: why they are not raw; None when they are.
    """

    bars: pd.DataFrame
    basis: Basis
    adjusted_as_of: datetime | None
    why_not: str | None = None


def minutes_as_stored(
    bars: pd.DataFrame, parsed: ParsedBars, stored: StoredPayload, actions: pd.DataFrame, told: pd.DataFrame
) -> MinutesAsStored:
    """Bars as they are to be stored: raw where they can be, else as they were sent, with the reason.

    A session's factor is that of its bar of the whole day, put together from its intraday bars.

    Args:
        bars: accepted bars of the payload with their `session_date`, ascending.
        actions, told: what is known of the symbol, as `read_actions` and `read_told` give it.
    """
    if parsed.basis is Basis.RAW or not len(bars):
        return MinutesAsStored(bars, parsed.basis, parsed.adjusted_as_of)
    sessions = _by_session(bars)
    stays = as_stored(sessions, replace(parsed, bars=sessions), stored, actions, told)
    if stays.factors is None:
        return MinutesAsStored(bars, parsed.basis, parsed.adjusted_as_of, stays.why_not)
    place = np.searchsorted(sessions["date"].to_numpy(), bars["session_date"].to_numpy())
    raw = _turned(bars, stays.factors.price[place], stays.factors.volume[place])
    return MinutesAsStored(raw, Basis.RAW, None)


def _by_session(bars: pd.DataFrame) -> pd.DataFrame:
    """A `DailyPrices` frame of the sessions, each from its intraday bars."""
    whole = bars.groupby("session_date", sort=True).agg(
        open=("open", "first"),
        high=("high", "max"),
        low=("low", "min"),
        close=("close", "last"),
        volume=("volume", "sum"),
    )
    whole = whole.rename_axis("date").reset_index()
    return whole.assign(vwap=np.nan, trade_count=np.nan)


def _turned(bars: pd.DataFrame, price: Floats, volume: Floats) -> pd.DataFrame:
    """The bars times the factors, prices to the tick and volumes to whole shares; those of factor 1 stay as sent."""
    columns = {}
    for name in _PRICES:
        sent = bars[name].to_numpy(dtype=float)
        with np.errstate(divide="ignore"):
            error = 0.5 * 10.0 ** (np.floor(np.log10(np.abs(sent))) + 1 - _DIGITS) * price
        columns[name] = np.where(price == 1, sent, to_tick(sent * price, error=error))
    shares = bars["volume"].to_numpy(dtype=float)
    columns["volume"] = np.where(volume == 1, shares, np.rint(shares * volume))
    return bars.assign(**columns)
