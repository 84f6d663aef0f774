"""Returns, momentum and drawdown, from ratios of total-return closes."""

from __future__ import annotations

import numpy as np

from market_data.features.panel import Floats
from market_data.features.windows import earlier, window_max

__all__ = ["drawdown", "log_return", "momentum", "simple_return"]


def log_return(close: Floats, sessions: int) -> Floats:
    """ln(C[t] / C[t - sessions]): shape (T, N), additive over time.

    Source: Campbell, Lo & MacKinlay 1997, "The Econometrics of Financial Markets", section 1.4.
    """
    return np.log(close / earlier(close, sessions))


def simple_return(close: Floats, sessions: int) -> Floats:
    """C[t] / C[t - sessions] - 1: shape (T, N), additive over instruments.

    Source: Campbell, Lo & MacKinlay 1997, section 1.4.
    """
    return close / earlier(close, sessions) - 1


def momentum(close: Floats, *, start: int = 252, end: int = 21) -> Floats:
    """C[t - end] / C[t - start] - 1: the return of a year without its last month, which tends to reverse.

    Source: Jegadeesh & Titman 1993, "Returns to Buying Winners and Selling Losers", Journal of Finance 48(1); the month
    left out as in Asness 1994 and Fama & French's monthly momentum factor.
    """
    return earlier(close, end) / earlier(close, start) - 1


def drawdown(close: Floats, sessions: int) -> Floats:
    """C[t] / max(C[t - sessions + 1 .. t]) - 1: 0 at the highest close of the window, else negative.

    Source: Magdon-Ismail & Atiya 2004, "Maximum drawdown", Risk 17(10), from the running peak of a fixed window.
    """
    return close / window_max(close, sessions) - 1
