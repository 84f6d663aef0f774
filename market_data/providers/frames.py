"""Frames of bars and of corporate actions, made from a parser's columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from market_data.errors import BadPayload
from market_data.schemas import BAR_FIELDS, empty_actions

__all__ = ["Column", "actions_frame", "bars_frame", "intraday_frame", "number_column"]

Column = npt.NDArray[np.float64]

_NUMBERS = (*BAR_FIELDS, "vwap", "trade_count")
_FIRST, _LAST = np.datetime64("1800-01-01", "s"), np.datetime64("2200-12-31", "s")


def number_column(values: Sequence[object], name: str, symbol: str) -> Column:
    """Numbers of a JSON array, null becoming NaN.

    Raises:
        BadPayload: a value is neither null nor a finite number (a bool is none).
    """
    for place, value in enumerate(values):
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise BadPayload(f"{symbol}: {name}[{place}] is {value!r:.60}, not a number")
    try:
        column = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    except OverflowError:
        raise BadPayload(f"{symbol}: {name} holds a number that no price or volume can be") from None
    finite = np.isfinite(column)
    if int(np.count_nonzero(~finite)) != sum(value is None for value in values):
        raise BadPayload(f"{symbol}: {name} holds a value that is not a finite number")
    return column


def bars_frame(dates: npt.NDArray[np.datetime64], columns: Mapping[str, Column], symbol: str) -> pd.DataFrame:
    """A `RawBars` frame; sorted by date (stable) where the vendor did not.

    Args:
        dates: naive dates in the exchange's zone.
        columns: by field name; absent ones become null.

    Raises:
        BadPayload: a date no bar can have.
    """
    dates = _checked(dates.astype("datetime64[s]"), symbol)
    return _sorted("date", pd.Series(dates), columns)


def intraday_frame(instants: npt.NDArray[np.datetime64], columns: Mapping[str, Column], symbol: str) -> pd.DataFrame:
    """A `RawIntradayBars` frame, sorted (stable) by instant.

    Args:
        instants: UTC, naive numpy, the start of each interval.
    """
    _checked(instants.astype("datetime64[s]"), symbol)
    return _sorted("datetime", pd.Series(instants.astype("datetime64[us]")).dt.tz_localize("UTC"), columns)


def actions_frame(rows: Sequence[tuple[np.datetime64, str, float]], symbol: str) -> pd.DataFrame:
    """A `CorporateActions` frame, ascending by date and kind.

    Args:
        rows: ex-date, "split" or "dividend", and new shares for an old one or dollars a share.

    Raises:
        BadPayload: a value that is not positive and finite, or a date no action can have.
    """
    if not rows:
        return empty_actions()
    dates = _checked(np.array([row[0] for row in rows], dtype="datetime64[s]"), symbol)
    values = np.array([row[2] for row in rows], dtype=np.float64)
    wrong = ~(np.isfinite(values) & (values > 0))
    if wrong.any():
        raise BadPayload(f"{symbol}: a {rows[int(np.flatnonzero(wrong)[0])][1]} of {values[wrong][0]} cannot be")
    frame = pd.DataFrame({"date": dates, "kind": pd.Series([row[1] for row in rows], dtype="str"), "value": values})
    return frame.sort_values(["date", "kind"], kind="stable", ignore_index=True)


def _checked(dates: npt.NDArray[np.datetime64], symbol: str) -> npt.NDArray[np.datetime64]:
    wrong = np.isnat(dates) | (dates < _FIRST) | (dates > _LAST)
    if wrong.any():
        raise BadPayload(f"{symbol}: {dates[wrong][0]} is not a date a bar can have")
    return dates


def _sorted(key: str, index: pd.Series, columns: Mapping[str, Column]) -> pd.DataFrame:
    nothing = np.full(len(index), np.nan)
    frame = pd.DataFrame({key: index, **{name: columns.get(name, nothing) for name in _NUMBERS}}, copy=True)
    return frame if frame[key].is_monotonic_increasing else frame.sort_values(key, kind="stable", ignore_index=True)
