"""Dollar volume and illiquidity, from closes and volumes as traded.

Turnover in the strict sense, volume over shares outstanding, cannot be told: shares outstanding are not in the store.
"""

from __future__ import annotations

import numpy as np

from market_data.features.panel import Floats
from market_data.features.returns import simple_return
from market_data.features.usable import Bars
from market_data.features.windows import window_mean

__all__ = ["amihud", "dollar_volume"]

MILLION = 1e6


def dollar_volume(bars: Bars) -> Floats:
    """Close times volume, both as traded: about the dollars that changed hands, which a split leaves as they are."""
    return bars.raw_close * bars.volume


def amihud(bars: Bars, sessions: int) -> Floats:
    """Mean of |daily simple return| / dollar volume, for a million dollars; null where a session had no volume.

    Source: Amihud 2002, "Illiquidity and stock returns: cross-section and time-series effects", Journal of Financial
    Markets 5(1), equation 1, in his scale of 10^6.
    """
    dollars = dollar_volume(bars)
    traded = np.where(dollars > 0, dollars, np.nan)
    return window_mean(np.abs(simple_return(bars.close, 1)) / traded * MILLION, sessions)
