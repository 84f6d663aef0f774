"""Prices and volumes on each basis: the factors of corporate actions, and the digits vendors send."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from market_data.records import Basis

__all__ = ["PRICES", "Floats", "adjusted", "backward_factors", "significant"]

PRICES = ["open", "high", "low", "close"]
"""Price columns of a frame of bars, in order."""

Floats = npt.NDArray[np.float64]

_ADJUSTED_FOR = {
    Basis.RAW: (),
    Basis.SPLIT: ("split",),
    Basis.SPLIT_DIVIDEND: ("split", "dividend"),
}
"""Kinds of corporate actions a basis is adjusted for."""


def adjusted(raw: pd.DataFrame, actions: pd.DataFrame, basis: Basis) -> pd.DataFrame:
    """A copy of raw bars on a basis: prices of 6 significant digits, whole shares."""
    bars = raw.copy()
    if basis is Basis.RAW:
        return bars
    prices, volumes = backward_factors(raw, actions, basis)
    bars[PRICES] = significant(bars[PRICES].to_numpy() * prices[:, None])
    bars["volume"] = np.round(bars["volume"].to_numpy() * volumes)
    return bars


def backward_factors(raw: pd.DataFrame, actions: pd.DataFrame, basis: Basis) -> tuple[Floats, Floats]:
    """What the raw prices and volumes of each session are multiplied by, for the actions a basis is adjusted for."""
    actions = actions[actions["kind"].isin(_ADJUSTED_FOR[basis])]
    prices, volumes = np.ones(len(raw)), np.ones(len(raw))
    before = raw["close"].to_numpy()
    places = np.searchsorted(raw["date"].to_numpy(), actions["date"].to_numpy())
    for place, kind, value in zip(places, actions["kind"], actions["value"], strict=True):
        if kind == "split":
            prices[:place] /= value
            volumes[:place] *= value
        else:
            # Stooq's files adjust volumes by the dividend factor as well, so that price * volume stays as it was.
            prices[:place] *= 1 - value / before[place - 1]
            volumes[:place] /= 1 - value / before[place - 1]
    return prices, volumes


def significant(values: Floats) -> Floats:
    """`values` (of any shape) rounded to 6 significant digits; zeros and nulls stay."""
    size = np.abs(values)
    known = np.isfinite(size) & (size > 0)
    exponent = np.floor(np.log10(np.where(known, size, 1.0)))
    # Multiplying and dividing by an exact power of ten leaves the double nearest to the decimal number.
    up, down = 10.0 ** np.maximum(5 - exponent, 0), 10.0 ** np.maximum(exponent - 5, 0)
    return np.asarray(np.rint(values * up / down) * down / up, dtype=np.float64)
