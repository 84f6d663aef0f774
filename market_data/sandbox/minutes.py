"""A session's bar, taken apart into minutes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Bar", "minutes_of"]

Floats = npt.NDArray[np.float64]

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
