"""The equal-weight market of the instruments in the panel, and their slope on it."""

from __future__ import annotations

import numpy as np

from market_data.features.cross_section import mean_across
from market_data.features.panel import Floats
from market_data.features.windows import comoment

__all__ = ["beta", "market_return"]

STILL = 1e-24


def market_return(returns: Floats) -> Floats:
    """Mean over the instruments that have a simple return of the session: shape (T, 1), NaN where none has.

    It is the return of a market that is brought back to equal weights each session; the instrument itself is in it.
    """
    return mean_across(returns)


def beta(returns: Floats, market: Floats, sessions: int) -> Floats:
    """Covariance with the market over the market's variance, of daily simple returns: null if the market stood still.

    Source: Sharpe 1964, "Capital Asset Prices", Journal of Finance 19(3), estimated by least squares.

    Args:
        returns: daily simple returns, shape (T, N).
        market: of the market, shape (T, 1).
        sessions: number of returns.
    """
    variance = comoment(market, market, sessions)[0]
    moved = variance > STILL * sessions
    return np.where(moved, comoment(returns, market, sessions)[0], np.nan) / np.where(moved, variance, 1)
