"""Two providers' bars of one symbol compared, session by session, and the one that stands alone against the others.

Bars are raw on both sides. What may differ: prices by some ticks, or by what is left of them when a provider sends
adjusted prices of few digits; volumes by a share of the larger one, since providers count odd lots, late reports and
the venues of the tape differently.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd

from market_data.schemas import BAR_FIELDS

__all__ = ["COMPARED", "DIFFERING", "TICK", "Tolerance", "compare", "odd_one", "odd_ones", "price_error"]

TICK = 0.01
"""Dollars; the tick of quotes at a dollar or more (SEC rule 612)."""
ROUND_LOT = 100.0
"""Shares; volumes that differ by no more than this agree, whatever share of a thin session that is."""
DIGITS = 6
"""Significant digits of adjusted prices as sent: Stooq's of 1984 have as many, its newer ones no fewer decimals."""
COMPARED = ("agree", "price_differs", "volume_differs")
"""Verdicts on a session of which both have a bar."""
DIFFERING = ("price_differs", "volume_differs", "one_missing")
"""Verdicts that say two providers do not tell the same."""

_SLACK = 1 + 1e-6  # a difference of a tick is one to the last bit of two doubles only
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What two providers may differ by.

    Attributes:
        ticks: prices, in ticks of a cent; see `price_error` for what is allowed beyond.
        volume_share: volumes, as a share of the larger one; a round lot is always allowed.
    """

    ticks: float = 1.0
    volume_share: float = 0.05


def price_error(bars: pd.DataFrame, price_factor: Floats) -> Floats:
    """The error of raw prices got from adjusted ones: half the last digit sent, times the factor. Dollars, shape (n,).

    Args:
        bars: raw bars with a column high.
        price_factor: shape (n,), raw = sent * price_factor; where it is 1 nothing was converted, and the error is 0.
    """
    sent = np.abs(bars["high"].to_numpy(dtype=float)) / price_factor
    known = np.isfinite(sent) & (sent > 0)
    last = np.floor(np.log10(np.where(known, sent, 1.0))) - (DIGITS - 1)
    return np.asarray(np.where(known & (price_factor != 1), 0.5 * 10.0**last * price_factor, 0.0), dtype=np.float64)


def compare(held: pd.DataFrame, other: pd.DataFrame, tolerance: Tolerance) -> pd.DataFrame:
    """A row for each session of either frame, ascending.

    The tolerance of a price is the larger of the ticks and both sides' errors together. A field that one side lacks is
    not compared; a side without any price lacks the bar.

    Args:
        held, other: `date` (one row a session), open to volume, and perhaps `price_error`, dollars a bar.

    Returns:
        date; verdict: agree, price_differs, volume_differs (prices agree) or one_missing; field: the one that differs
        most for its tolerance, "close" where a bar is missing, "" where they agree; value, other_value, tolerance: of
        that field, NaN where there is none.
    """
    left, right = held.set_index("date"), other.set_index("date")
    dates = left.index.union(right.index).sort_values()
    left, right = left.reindex(dates), right.reindex(dates)
    ours, theirs = (side[list(BAR_FIELDS)].to_numpy(dtype=float) for side in (left, right))
    limits = _limits(ours, theirs, _error(left) + _error(right), tolerance)
    excess = np.nan_to_num(np.abs(ours - theirs) / limits, nan=0.0)
    lacks = np.isnan(ours[:, :4]).all(axis=1) != np.isnan(theirs[:, :4]).all(axis=1)
    prices_differ, volumes_differ = (excess[:, :4] > _SLACK).any(axis=1), excess[:, 4] > _SLACK
    verdict = np.select([lacks, prices_differ, volumes_differ], ["one_missing", *DIFFERING[:2]], "agree")
    column = np.select([lacks, prices_differ], [3, excess[:, :4].argmax(axis=1)], 4)
    rows, shown = np.arange(len(dates)), verdict != "agree"
    return pd.DataFrame(
        {
            "date": dates.astype("datetime64[s]"),
            "verdict": pd.Series(verdict, dtype="str"),
            "field": pd.Series(np.where(shown, np.array(BAR_FIELDS)[column], ""), dtype="str"),
            "value": np.where(shown, ours[rows, column], np.nan),
            "other_value": np.where(shown, theirs[rows, column], np.nan),
            "tolerance": np.where(shown & ~lacks, limits[rows, column], np.nan),
        }
    )


def odd_one(providers: Collection[str], differing: Collection[frozenset[str]]) -> str | None:
    """The provider whose prices of a session differ from all others' while those agree among themselves.

    Args:
        providers: those that have a bar of the session.
        differing: pairs of them whose prices differ.

    Returns:
        None with fewer than three providers, and where no one stands alone.
    """
    if len(providers) < 3:
        return None
    pairs = {pair for pair in differing if pair <= frozenset(providers)}
    for provider in sorted(providers):
        if pairs == {frozenset((provider, other)) for other in providers if other != provider}:
            return provider
    return None


def odd_ones(frames: Mapping[str, pd.DataFrame], tolerance: Tolerance) -> dict[pd.Timestamp, str]:
    """The provider whose prices stand alone, by session; only prices tell, as every vendor counts volume its own way.

    Args:
        frames: bars by provider, one a session.
    """
    differing: dict[pd.Timestamp, set[frozenset[str]]] = {}
    for one, other in combinations(sorted(frames), 2):
        ours, theirs = frames[one], frames[other]
        both = ours["date"][ours["date"].isin(theirs["date"])]
        rows = compare(ours[ours["date"].isin(both)], theirs[theirs["date"].isin(both)], tolerance)
        for day in rows.loc[rows["verdict"] == "price_differs", "date"]:
            differing.setdefault(day, set()).add(frozenset((one, other)))
    present = {name: set(frame["date"]) for name, frame in frames.items()}
    found = {}
    for day, pairs in differing.items():
        alone = odd_one([name for name, days in present.items() if day in days], pairs)
        if alone is not None:
            found[day] = alone
    return found


def _error(side: pd.DataFrame) -> Floats:
    if "price_error" not in side:
        return np.zeros(len(side))
    return np.asarray(np.nan_to_num(side["price_error"].to_numpy(dtype=float), nan=0.0), dtype=np.float64)


def _limits(ours: Floats, theirs: Floats, errors: Floats, tolerance: Tolerance) -> Floats:
    limits = np.empty_like(ours)
    limits[:, :4] = np.maximum(tolerance.ticks * TICK, errors)[:, None]
    volumes = np.fmax(np.nan_to_num(ours[:, 4]), np.nan_to_num(theirs[:, 4]))
    limits[:, 4] = np.maximum(tolerance.volume_share * volumes, ROUND_LOT)
    return limits
