"""The input of every feature: daily bars of all instruments as matrices, a row a session, a column an instrument."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Floats", "Panel"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars of T consecutive XNYS sessions and N instruments.

    A bar that may not be used (none stored, rejected, flagged, in another basis) is NaN in every matrix, and `reasons`
    says why. The total-return prices are those of the *whole* factor chain known; only their ratios are used, or ratios
    times the raw price of the session itself, so that an action after a session changes nothing of that session.

    Attributes:
        sessions: datetime64[D], shape (T,), ascending, without a session left out.
        symbols: N canonical symbols, sorted.
        open, high, low, close: total-return prices, dollars a share, float64 (T, N).
        raw_close: close as traded, dollars a share, (T, N).
        raw_volume: shares as traded, (T, N).
        usable: bool (T, N).
        reasons: object (T, N): None where usable, else a short text such as "no bar", "flagged: log_return",
            "rejected", "adjusted: split_dividend", "not listed".
    """

    sessions: npt.NDArray[np.datetime64]
    symbols: tuple[str, ...]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    raw_close: Floats
    raw_volume: Floats
    usable: npt.NDArray[np.bool_]
    reasons: npt.NDArray[np.object_]
