"""The scores: the one place that turns the rules found into numbers between 0 and 1, and into verdicts."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

from market_data.validation.frames import Dates, Floats, Mask
from market_data.validation.rules import RULES

__all__ = ["Tally", "batch_score", "session_score"]

_BIT = {name: np.int64(1 << place) for place, name in enumerate(sorted(RULES))}


def session_score(rules: Iterable[str]) -> float:
    """Score of a session with a stored bar: max(0, 1 - sum of the weights of the distinct `rules` found there)."""
    return round(max(0.0, 1.0 - math.fsum(RULES[name].weight for name in set(rules))), 9)


def batch_score(scores: Floats, stored: Mask) -> float:
    """Mean of the session scores from the first to the last session with a stored bar; 0 without any.

    Args:
        scores: score of each expected session in order, shape (n,).
        stored: whether it has a bar that can be stored, shape (n,).
    """
    at = np.flatnonzero(stored)
    return float(scores[at[0] : at[-1] + 1].mean()) if len(at) else 0.0


class Tally:
    """The rules found at each of `size` expected sessions, and what follows from them."""

    def __init__(self, size: int) -> None:
        self._codes = np.zeros(size, dtype=np.int64)

    def mark(self, rule: str, sessions: Mask | npt.NDArray[np.int64]) -> None:
        """Note `rule` at the sessions a mask or distinct positions choose."""
        self._codes[sessions] |= _BIT[rule]

    def scores(self, stored: Mask) -> Floats:
        """`session_score` of each session with a stored bar, 0 of the others; shape (size,)."""
        known, which = np.unique(self._codes, return_inverse=True)
        each = np.array([session_score(_rules(code)) for code in known], dtype=np.float64)
        return np.where(stored, each[which], 0.0)

    def quality(self, dates: Dates, scores: Floats, stored: Mask, rejected: Mask) -> pd.DataFrame:
        """A `QualityLog` frame of all sessions.

        Args:
            dates: the sessions.
            scores: what `scores` gave for them.
            stored: those with a bar that can be stored; the others are "missing".
            rejected: those whose bar is refused with the whole batch, which goes before all else.
        """
        known, which = np.unique(self._codes, return_inverse=True)
        weighs = np.array([any(RULES[name].weight > 0 for name in _rules(code)) for code in known], dtype=bool)
        verdict = np.select([rejected, ~stored, weighs[which]], [3, 2, 1], 0)
        return pd.DataFrame(
            {
                "date": dates,
                "verdict": _labels(["accepted", "flagged", "missing", "rejected"], verdict),
                "score": scores,
                "rules": _labels([",".join(_rules(code)) for code in known], which),
            }
        )


def _rules(code: np.int64) -> list[str]:
    return [name for name, bit in _BIT.items() if code & bit]


def _labels(names: list[str], which: npt.NDArray[np.intp]) -> object:
    return pd.array(names, dtype="str").take(which)
