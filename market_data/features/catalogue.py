"""Every feature by name: what it is, its unit, and how many sessions it looks back."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FEATURES", "MAX_LOOKBACK", "Feature"]


@dataclass(frozen=True, slots=True)
class Feature:
    """A column of `features_daily`.

    Attributes:
        name: the column.
        meaning: what it is, in a sentence.
        unit: as in "log return", "1 a year", "dollars", "rank 0 to 1".
        lookback: number of sessions it is made from, the session itself included: it depends on these and on no other.
        cross_sectional: whether it depends on the other instruments of its session as well.
    """

    name: str
    meaning: str
    unit: str
    lookback: int
    cross_sectional: bool = False


FEATURES: tuple[Feature, ...] = ()

MAX_LOOKBACK = 253
"""The longest lookback of all."""
