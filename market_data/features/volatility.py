"""Realised volatility: log return a year, from closes, from ranges, and from nights and sessions together."""

from __future__ import annotations

import math

import numpy as np

from market_data.features.catalogue import ANNUAL
from market_data.features.panel import Floats
from market_data.features.returns import log_return
from market_data.features.usable import Bars
from market_data.features.windows import comoment, earlier, window_mean

__all__ = ["close_to_close", "garman_klass", "parkinson", "yang_zhang"]


def close_to_close(close: Floats, sessions: int) -> Floats:
    """sqrt(252 * s2), where s2 is the sample variance (n - 1) of the last n daily log returns.

    Source: Hull, "Options, Futures, and Other Derivatives", chapter on volatility estimated from historical data.
    """
    return _annual(_variance(log_return(close, 1), sessions))


def parkinson(bars: Bars, sessions: int) -> Floats:
    """sqrt(252 * mean(ln(H / L)^2) / (4 ln 2)); nights are not in it.

    Source: Parkinson 1980, "The Extreme Value Method for Estimating the Variance of the Rate of Return", Journal of
    Business 53(1).
    """
    return _annual(window_mean(np.log(bars.high / bars.low) ** 2, sessions) / (4 * math.log(2)))


def garman_klass(bars: Bars, sessions: int) -> Floats:
    """sqrt(252 * mean(ln(H / L)^2 / 2 - (2 ln 2 - 1) * ln(C / O)^2)); nights are not in it.

    Never negative, since open and close lie between low and high; a rounding below 0 counts as 0.
    Source: Garman & Klass 1980, "On the Estimation of Security Price Volatilities from Historical Data", Journal of
    Business 53(1), the practical estimator.
    """
    each = np.log(bars.high / bars.low) ** 2 / 2 - (2 * math.log(2) - 1) * np.log(bars.close / bars.open) ** 2
    return _annual(np.maximum(window_mean(each, sessions), 0))


def yang_zhang(bars: Bars, sessions: int) -> Floats:
    """sqrt(252 * (night + k * day + (1 - k) * rs)): nights count, and neither drift nor gaps disturb it.

    night and day are the sample variances (n - 1) of ln(O[t] / C[t - 1]) and ln(C / O); rs is the mean of
    ln(H / C) ln(H / O) + ln(L / C) ln(L / O); k = 0.34 / (1.34 + (n + 1) / (n - 1)).
    Source: Yang & Zhang 2000, "Drift-Independent Volatility Estimation Based on High, Low, Open, and Close Prices",
    Journal of Business 73(3); rs: Rogers & Satchell 1991.
    """
    night = _variance(np.log(bars.open / earlier(bars.close, 1)), sessions)
    day = _variance(np.log(bars.close / bars.open), sessions)
    each = np.log(bars.high / bars.close) * np.log(bars.high / bars.open)
    each = each + np.log(bars.low / bars.close) * np.log(bars.low / bars.open)
    k = 0.34 / (1.34 + (sessions + 1) / (sessions - 1))
    return _annual(night + k * day + (1 - k) * np.maximum(window_mean(each, sessions), 0))


def _variance(values: Floats, sessions: int) -> Floats:
    return comoment(values, values, sessions)[0] / (sessions - 1)


def _annual(variance: Floats) -> Floats:
    return np.sqrt(ANNUAL * variance)
