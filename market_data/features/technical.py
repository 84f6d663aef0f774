"""Average true range, RSI, MACD and Bollinger's z: smoothed over a window of fixed length.

Wilder's and exponential averages remember for ever. Here they see the last 150 sessions as if nothing had been before,
seeded at their start as TA-Lib seeds a series. What a longer history would have put there weighs (13/14)^135 = 4.5e-5
in RSI and ATR, and (25/27)^124 = 7.2e-5 in the slower average of MACD.
"""

from __future__ import annotations

import numpy as np

from market_data.features.catalogue import SMOOTHING_WINDOW
from market_data.features.panel import Floats
from market_data.features.smoothing import line_weights, signal_weights, wilder_weights
from market_data.features.usable import Bars
from market_data.features.windows import comoment, earlier, weighted_sum

__all__ = ["average_true_range", "bollinger_z", "macd", "relative_strength", "true_range"]

FLAT = 1e-12


def true_range(bars: Bars) -> Floats:
    """max(H - L, |H - C[t - 1]|, |L - C[t - 1]|) in total-return dollars.

    Source: Wilder 1978, "New Concepts in Technical Trading Systems".
    """
    before = earlier(bars.close, 1)
    return np.maximum(bars.high, before) - np.minimum(bars.low, before)


def average_true_range(bars: Bars, period: int = 14) -> Floats:
    """Wilder's average of the true range in dollars as traded at the session: made in total-return ones, then scaled.

    Source: Wilder 1978. TA-Lib's ATR of the window's bars alone.
    """
    return weighted_sum(true_range(bars), wilder_weights(SMOOTHING_WINDOW - 1, period)) * as_traded(bars)


def relative_strength(close: Floats, period: int = 14) -> Floats:
    """100 * up / (up + down), Wilder's averages of rises and falls: 100 without a fall, 0 without any move at all.

    Source: Wilder 1978. TA-Lib's RSI of the window's closes alone, which also gives 0 where nothing moved.
    """
    change = close - earlier(close, 1)
    weights = wilder_weights(SMOOTHING_WINDOW - 1, period)
    up = weighted_sum(np.maximum(change, 0), weights)
    both = weighted_sum(np.abs(change), weights)
    return 100 * (up / np.where(both == 0, 1, both))


def macd(bars: Bars, fast: int = 12, slow: int = 26, signal: int = 9) -> tuple[Floats, Floats, Floats]:
    """Line, signal and histogram in dollars as traded at the session.

    The line is the exponential average of `fast` closes less that of `slow`; the signal is the exponential average of
    `signal` lines; the histogram is the line less the signal.
    Source: Appel 2005, "Technical Analysis: Power Tools for Active Investors". TA-Lib's MACD of the window's closes
    alone.
    """
    line = _balanced(bars.close, line_weights(SMOOTHING_WINDOW, fast, slow)) * as_traded(bars)
    average = _balanced(bars.close, signal_weights(SMOOTHING_WINDOW, fast, slow, signal)) * as_traded(bars)
    return line, average, line - average


def bollinger_z(close: Floats, sessions: int = 20) -> Floats:
    """(C - mean) / deviation of the last n closes, the deviation with n: null where they did not move.

    Source: Bollinger 2001, "Bollinger on Bollinger Bands"; at 2 the close lies on the upper band of TA-Lib's BBANDS.
    """
    squares, mean = comoment(close, close, sessions)
    deviation = np.sqrt(squares / sessions)
    moved = deviation > FLAT * mean
    return np.where(moved, close - mean, np.nan) / np.where(moved, deviation, 1)


def as_traded(bars: Bars) -> Floats:
    """Dollars as traded at the session for a total-return dollar."""
    return bars.raw_close / bars.close


def _balanced(values: Floats, weights: Floats) -> Floats:
    """Weighted sum by weights that cancel out, from differences: exactly 0 where nothing moved."""
    return weighted_sum(values - earlier(values, 1), np.cumsum(weights)[:-1])
