"""The bars of a panel that may be used: the rest is NaN in every matrix, with a reason."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from market_data.errors import MarketDataError
from market_data.features.panel import Floats, Panel

__all__ = ["Bars", "PanelError", "usable_bars"]

PRICES = ("open", "high", "low", "close", "raw_close")
ROUNDING = 1e-9


class PanelError(MarketDataError):
    """A panel cannot be used: its matrices do not fit together."""


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars as formulas take them, NaN where not usable; shapes and units as in `Panel`.

    Attributes:
        open, high, low, close: total-return prices.
        raw_close: close as traded.
        volume: shares as traded; NaN as well where the bar is usable and its volume is not.
        usable: bool (T, N).
        reasons: object (T, N): a text exactly where not usable.
    """

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    raw_close: Floats
    volume: Floats
    usable: npt.NDArray[np.bool_]
    reasons: npt.NDArray[np.object_]


def usable_bars(panel: Panel) -> Bars:
    """The panel's usable bars; one said to be usable that has no positive prices, or contradicts itself, is not.

    Raises:
        PanelError: shapes differ, or sessions are not ascending.
    """
    _check(panel)
    prices = {name: np.ascontiguousarray(getattr(panel, name), dtype=np.float64) for name in PRICES}
    priced = np.logical_and.reduce([np.isfinite(price) & (price > 0) for price in prices.values()])
    top, bottom = np.maximum(prices["open"], prices["close"]), np.minimum(prices["open"], prices["close"])
    ordered = (prices["high"] >= top * (1 - ROUNDING)) & (prices["low"] <= bottom * (1 + ROUNDING))
    usable = panel.usable & priced & ordered
    reasons = np.where(panel.reasons == None, "not usable", panel.reasons)  # noqa: E711 - elementwise
    reasons[panel.usable & ~priced] = "no price"
    reasons[panel.usable & priced & ~ordered] = "open, high, low and close contradict each other"
    reasons[usable] = None
    raw_volume = np.asarray(panel.raw_volume, dtype=np.float64)
    counted = usable & np.isfinite(raw_volume) & (raw_volume >= 0)
    return Bars(
        **{name: np.where(usable, price, np.nan) for name, price in prices.items()},
        volume=np.where(counted, raw_volume, np.nan),
        usable=usable,
        reasons=reasons,
    )


def _check(panel: Panel) -> None:
    shape = (len(panel.sessions), len(panel.symbols))
    for name in (*PRICES, "raw_volume", "usable", "reasons"):
        if getattr(panel, name).shape != shape:
            raise PanelError(
                f"panel.{name} has shape {getattr(panel, name).shape}, sessions and symbols make {shape}: "
                "a row a session and a column a symbol is needed"
            )
    late = np.flatnonzero(np.diff(panel.sessions) <= np.timedelta64(0, "D"))
    if late.size:
        raise PanelError(
            f"panel.sessions is not ascending at {panel.sessions[late[0] + 1]}: sort the sessions, each once"
        )
