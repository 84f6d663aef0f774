"""Where an instrument stands among the others of its session.

Two values that differ by less than 1e-12 differ by rounding: they tie, and a deviation below that counts as 0.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from market_data.features.panel import Floats

__all__ = ["mean_across", "rank", "z_score"]

DECIMALS = 12


def mean_across(values: Floats) -> Floats:
    """Mean of the row's values that are not null, NaN without one: shape (T, 1).

    Summed one after the other, so that a column without a value, as of an instrument that is gone, changes no bit.
    """
    held = np.isfinite(values)
    count = held.sum(axis=1, keepdims=True)
    total = np.zeros((len(values), 1))
    if values.shape[1]:
        total = np.add.accumulate(np.where(held, values, 0.0), axis=1)[:, -1:]
    mean: Floats = np.where(count > 0, total, np.nan) / np.maximum(count, 1)
    return mean


def rank(values: Floats) -> Floats:
    """Rank in the row from 0, the lowest, to 1; ties get the mean of their ranks.

    Null where the value is, and in a row of fewer than two values. Shape (T, N).
    """
    count = np.isfinite(values).sum(axis=1, keepdims=True)
    ranks: Floats = pd.DataFrame(np.round(values, DECIMALS)).rank(axis=1, method="average").to_numpy(dtype=np.float64)
    standing: Floats = np.where(count > 1, ranks - 1, np.nan) / np.maximum(count - 1, 1)
    return standing


def z_score(values: Floats) -> Floats:
    """Value less the row's mean, in the row's standard deviations (with n).

    Null where the value is, in a row of fewer than two values, and where the deviation is 0. Shape (T, N).
    """
    away = values - mean_across(values)
    deviation = np.sqrt(mean_across(away**2))
    spread = deviation >= 10.0**-DECIMALS
    return np.where(spread, away, np.nan) / np.where(spread, deviation, 1)
