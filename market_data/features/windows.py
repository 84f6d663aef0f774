"""Sums over the last sessions of a matrix, each with a memory of exactly its length.

Running sums carry what left the window on in their last bits; these do not. A result is made from the values of its
window alone, in an order that depends on the length alone. So a matrix that holds just the window gives the same bits
as one of five years, and a NaN makes null the windows it is in and no other.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from market_data.features.panel import Floats

__all__ = ["comoment", "earlier", "weighted_sum", "window_max", "window_mean", "window_sum"]

_Fold = tuple[Floats, ...]


def earlier(values: Floats, sessions: int) -> Floats:
    """The value of so many sessions before, NaN where there is none: shape (T, N) as given."""
    moved = np.full_like(values, np.nan)
    moved[sessions:] = values[: max(len(values) - sessions, 0)]
    return moved


def window_sum(values: Floats, length: int) -> Floats:
    """Sum of the last `length` rows, NaN where one is missing or NaN."""
    return _fold((values,), length, lambda newer, older, _n, _m: (newer[0] + older[0],))[0]


def window_mean(values: Floats, length: int) -> Floats:
    """Mean of the last `length` rows, NaN where one is missing or NaN."""
    return window_sum(values, length) / length


def window_max(values: Floats, length: int) -> Floats:
    """Greatest of the last `length` rows, NaN where one is missing or NaN."""
    return _fold((values,), length, lambda newer, older, _n, _m: (np.maximum(newer[0], older[0]),))[0]


def comoment(left: Floats, right: Floats, length: int) -> tuple[Floats, Floats]:
    """Sum of the products of deviations from the means over the last `length` rows, and the mean of `left`.

    Means and products of two neighbouring stretches are merged pairwise, which loses no digits where the mean is large
    beside the deviations; equal values give exactly 0.
    Source: Chan, Golub & LeVeque 1983, "Algorithms for computing the sample variance".

    Args:
        left: shape (T, N).
        right: shape (T, N) or (T, 1); `left` itself for the sum of squared deviations.
        length: rows.
    """
    mean, _, product = _fold((left, right, np.zeros_like(left * right)), length, _merged)
    return product, mean


def weighted_sum(values: Floats, weights: Floats) -> Floats:
    """Weighted sum of the last rows, NaN where one is missing or NaN.

    Args:
        values: shape (T, N).
        weights: of the newest row first.
    """
    length = len(weights)
    total = np.full_like(values, np.nan)
    rows = len(values) - length + 1
    if rows <= 0:
        return total
    sums = np.zeros_like(values[:rows])
    part = np.empty_like(sums)
    for back, weight in enumerate(weights):
        start = length - 1 - back
        np.multiply(values[start : start + rows], weight, out=part)
        sums += part
    total[length - 1 :] = sums
    return total


def _merged(newer: _Fold, older: _Fold, n: int, m: int) -> _Fold:
    mean_left, mean_right, product = newer
    left, right = older[0] - mean_left, older[1] - mean_right
    share = m / (n + m)
    return mean_left + left * share, mean_right + right * share, product + older[2] + left * right * (n * share)


def _fold(unit: _Fold, length: int, merge: Callable[[_Fold, _Fold, int, int], _Fold]) -> _Fold:
    """`length` sessions merged from stretches of 1, 2, 4, ... sessions: 2 log2(length) steps, in a fixed order."""
    stretch, size = unit, 1
    whole: _Fold | None = None
    covered = 0
    while True:
        if length & size:
            whole = stretch if whole is None else merge(whole, _earlier(stretch, covered), covered, size)
            covered += size
        if covered == length:
            assert whole is not None
            return whole
        stretch = merge(stretch, _earlier(stretch, size), size, size)
        size *= 2


def _earlier(stretch: _Fold, sessions: int) -> _Fold:
    return tuple(earlier(values, sessions) for values in stretch)
