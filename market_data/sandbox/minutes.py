"""A session's bar, taken apart into minutes, and what of them there is within the session."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from market_data.sandbox.adjusting import PRICES, Floats, significant

__all__ = ["Bar", "day_so_far", "minute_frame", "minute_so_far", "minutes_of", "scaled_minutes"]

_SWING = 0.45  # of the bar's range: how far the path strays from the straight line between open and close
_REACH = 0.03  # of the bar's range: how far a minute reaches beyond its own open and close


@dataclass(frozen=True, slots=True)
class Bar:
    """One session: prices in whole cents, volume in whole shares."""

    open: float
    high: float
    low: float
    close: float
    volume: float


def minutes_of(bar: Bar, count: int, random: np.random.Generator) -> Floats:
    """`count` minutes that add up to `bar` exactly.

    Returns:
        A row a minute: open, high, low, close in whole cents, volume in whole shares. Each opens where the one before
        closed.
    """
    close = _path(bar, count, random)
    opened = np.concatenate([[bar.open], close[:-1]])
    reach = _REACH * (bar.high - bar.low) * np.abs(random.standard_normal((count, 2)))
    high = np.minimum(np.round(np.maximum(opened, close) + reach[:, 0], 2), bar.high)
    low = np.maximum(np.round(np.minimum(opened, close) - reach[:, 1], 2), bar.low)
    high[np.argmax(high)] = bar.high
    low[np.argmin(low)] = bar.low
    return np.column_stack([opened, high, low, close, _volumes(bar.volume, count, random)])


def minute_so_far(minute: Floats, seconds: int, random: np.random.Generator) -> Floats | None:
    """A minute within itself: it opens, reaches its high and its low at drawn times, and ends at its close.

    Args:
        minute: the whole of it, a row of `minutes_of`.
        seconds: passed of it, 0 to 59.
        random: belongs to this minute, so that the same second always gives the same.

    Returns:
        The row so far; as seconds pass, high and volume never fall and low never rises. None before the first share.
    """
    opened, high, low, close, volume = minute.tolist()
    first, second = np.sort(0.05 + 0.9 * random.random(2)).tolist()
    extremes = [high, low] if random.random() < 0.5 else [low, high]
    passed = seconds / 60
    shares = float(np.floor(volume * passed ** (0.7 + 0.7 * random.random())))
    if seconds < 1 or shares < 1:
        return None
    last = round(float(np.interp(passed, [0, first, second, 1], [opened, *extremes, close])), 2)
    reached = [price for at, price in zip((first, second), extremes, strict=True) if at <= passed]
    return np.array([opened, max(opened, last, *reached), min(opened, last, *reached), last, shares])


def day_so_far(table: Floats) -> Bar:
    """The session's bar from its first minutes, of which there is at least one."""
    return Bar(
        float(table[0, 0]),
        float(table[:, 1].max()),
        float(table[:, 2].min()),
        float(table[-1, 3]),
        float(table[:, 4].sum()),
    )


def scaled_minutes(table: Floats, price: float, volume: float) -> Floats:
    """Minutes on another basis, by the factors of their session."""
    prices = significant(table[:, :4] * price)
    return np.column_stack([prices, np.round(table[:, 4] * volume)])


def minute_frame(table: Floats, opened: int, session: date | None = None) -> pd.DataFrame:
    """Minutes as a frame, the first of them from the epoch second `opened` on; with a session also in a column date."""
    starts = (opened + np.arange(len(table)) * 60).astype("datetime64[s]").astype("datetime64[us]")
    columns = {name: table[:, at] for at, name in enumerate((*PRICES, "volume"))}
    dates = {} if session is None else {"date": np.full(len(table), np.datetime64(session, "s"))}
    return pd.DataFrame({"datetime": pd.DatetimeIndex(starts).tz_localize("UTC"), **columns, **dates})


def _path(bar: Bar, count: int, random: np.random.Generator) -> Floats:
    """The minutes' closes: a random bridge from open to close, inside the bar."""
    passed = np.arange(1, count + 1) / count
    walk = np.cumsum(random.standard_normal(count))
    bridge = walk - walk[-1] * passed
    farthest = max(float(np.abs(bridge).max()), 1e-9)
    line = bar.open + (bar.close - bar.open) * passed
    close = np.clip(np.round(line + bridge * _SWING * (bar.high - bar.low) / farthest, 2), bar.low, bar.high)
    close[-1] = bar.close
    return np.asarray(close, dtype=np.float64)


def _volumes(volume: float, count: int, random: np.random.Generator) -> Floats:
    """Whole shares a minute, more of them near the open and the close."""
    passed = np.linspace(-1, 1, count)
    weights = (1 + 1.5 * passed**2) * np.exp(0.4 * random.standard_normal(count))
    shares = np.floor(volume * weights / weights.sum())
    left = int(volume - shares.sum())
    shares[np.argsort(weights)[count - left :]] += 1
    return np.asarray(shares, dtype=np.float64)
