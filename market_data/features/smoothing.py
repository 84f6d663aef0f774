"""Wilder's and exponential averages as weights over a window: seeded at its start, as if it were the whole series."""

from __future__ import annotations

import numpy as np

from market_data.features.panel import Floats

__all__ = ["exponential_weights", "line_weights", "signal_weights", "wilder_weights"]


def wilder_weights(window: int, period: int) -> Floats:
    """Weights, newest first, of Wilder's average of `window` values: the mean of the first `period`, then smoothed.

    Each step is average += (value - average) / period. What a longer history would have put in place of the seed weighs
    (1 - 1 / period) ** (window - period).
    Source: Wilder 1978, "New Concepts in Technical Trading Systems".
    """
    return _smoothed(window - period, 1 / period, period)


def exponential_weights(window: int, period: int) -> Floats:
    """Weights, newest first, of an exponential average of `window` values, seeded by the mean of the first `period`.

    Each step is average += (value - average) * 2 / (period + 1).
    """
    return _smoothed(window - period, 2 / (period + 1), period)


def line_weights(window: int, fast: int, slow: int) -> Floats:
    """Weights, newest first, of fast less slow exponential average, both seeded at the session that `slow` allows."""
    steps = window - slow
    weights = -exponential_weights(window, slow)
    weights[: steps + fast] += _smoothed(steps, 2 / (fast + 1), fast)
    return weights


def signal_weights(window: int, fast: int, slow: int, signal: int) -> Floats:
    """Weights, newest first, of the exponential average of the lines that `window` values give."""
    lines = window - slow + 1
    weights = np.zeros(window)
    for back, weight in enumerate(exponential_weights(lines, signal)):
        weights[back:] += weight * line_weights(window - back, fast, slow)
    return weights


def _smoothed(steps: int, share: float, seed: int) -> Floats:
    recent = share * (1 - share) ** np.arange(steps, dtype=np.float64)
    return np.concatenate([recent, np.full(seed, (1 - share) ** steps / seed)])
