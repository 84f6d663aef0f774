"""Intraday bars of one answer as columns: what a parser makes before it makes a frame.

A poll has hundreds of small answers, and making a frame of each takes longer than all the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from market_data.providers.frames import Column
from market_data.records import Basis

__all__ = ["MinuteColumns"]


@dataclass(frozen=True, slots=True)
class MinuteColumns:
    """Bars in the vendor's order.

    Attributes:
        instants: starts of the intervals, UTC, naive numpy, shape (bars,).
        columns: by field name, shape (bars,) each; absent ones were not sent.
        basis, adjusted_as_of: as of `ParsedBars`.
    """

    instants: npt.NDArray[np.datetime64]
    columns: Mapping[str, Column]
    basis: Basis
    adjusted_as_of: datetime | None = None
