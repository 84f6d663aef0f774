"""zipline's csvdir bundle: a CSV a symbol in `daily/`, prices as traded beside the actions zipline adjusts them by.

As zipline-reloaded 3.2.1 reads it (`zipline/data/bundles/csvdir.py`, `zipline/data/bcolz_daily_bars.py`):

* The symbol is the file's name up to `.csv`, but the file is then looked up by its name up to the first dot. A symbol
  with a dot therefore fails the whole ingest: classes are written with a hyphen, BRK-B, which zipline's lookup takes
  for BRK.B as well.
* Every session of the calendar between a file's first and last row has to be there, or the whole ingest fails. A
  session without a bar is a row without prices and without volume, which zipline stores as zeros and gives back as NaN.
* `split` is shares after for one before, and 1 where there is none: zipline multiplies earlier prices by 1 / split.
  A spin-off, which its own files have no column for, goes the same way, and so moves earlier volumes too.
* `dividend` is dollars a share, and 0 where there is none; zipline divides it by the close of the session before.
* Prices are kept as thousandths of a dollar and volumes as whole shares, both in 32 bits without sign; what is beyond
  becomes 0.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from market_data.export.batch import Batch, by_symbol
from market_data.export.file_names import file_name
from market_data.export.manifest import ExportError
from market_data.export.request import BARS
from market_data.export.sheet import Sheet

__all__ = ["zipline_name", "zipline_sheets"]

_MOST_SHARES = 2**32 - 1
_MOST_DOLLARS = (2**32 - 1) / 1000
_PRICES = BARS[:-1]

_Days = npt.NDArray[np.datetime64]


def zipline_name(symbol: str) -> str:
    """The symbol as zipline's file and asset bear it."""
    return file_name(symbol).replace(".", "-")


def zipline_sheets(batch: Batch, number: int) -> Iterator[Sheet]:
    """A sheet a symbol: date, open, high, low, close, volume, dividend, split; a row for each session of its span."""
    assert batch.actions is not None
    assert batch.sessions is not None
    for symbol, bars in by_symbol(batch.prices):
        dates = np.asarray(bars["date"].cast(pa.int32())).astype("datetime64[D]")
        sessions = batch.sessions[(batch.sessions >= dates[0]) & (batch.sessions <= dates[-1])]
        places = np.searchsorted(dates, sessions)
        is_empty = dates[places] != sessions
        if len(sessions) - is_empty.sum() != len(dates):
            raise ExportError(f"{symbol}: the store holds a bar on a date that is no session; restore a backup")
        rows = pa.array(places, mask=is_empty)
        columns = {name: bars[name].take(rows) for name in BARS}
        split, dividend = np.ones(len(sessions)), np.zeros(len(sessions))
        if batch.plan.basis == "raw":
            split, dividend = _by_session(batch.actions[symbol], sessions, batch.pinned.as_of.date())
        table = pa.table({"date": pa.array(sessions), **columns, "dividend": dividend, "split": split})
        has_no_close = np.asarray(table["close"].is_null())
        cautions = [*_beyond(table), *_around(sessions, is_empty, has_no_close, split, dividend)]
        yield Sheet(f"daily/{zipline_name(symbol)}.csv", symbol, table, tuple(f"{symbol}: {told}" for told in cautions))


def _by_session(
    actions: pd.DataFrame, sessions: _Days, until: object
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The product of splits and spin-offs, and the sum of dividends, of each session after the first.

    Both are those of the ex-date, or of the next session where it is none. What took effect by the first session
    changes no price of the file.
    """
    split, dividend = np.ones(len(sessions)), np.zeros(len(sessions))
    days = actions["date"].to_numpy().astype("datetime64[D]")
    places = np.searchsorted(sessions, days)
    counts = (places > 0) & (places < len(sessions)) & (days <= np.datetime64(str(until), "D"))
    kinds, values = actions["kind"].to_numpy(dtype=object), actions["value"].to_numpy(dtype=np.float64)
    for place, kind, value in zip(places[counts], kinds[counts], values[counts], strict=True):
        if kind == "dividend":
            dividend[place] += value
        else:
            split[place] *= value
    return split, dividend


def _beyond(table: pa.Table) -> Iterator[str]:
    """What zipline cannot keep."""
    shares = pc.max(table["volume"]).as_py()
    if shares is not None and shares > _MOST_SHARES:
        yield f"volumes above {_MOST_SHARES:,} become 0 in zipline"
    highs = [pc.max(table[name]).as_py() for name in _PRICES]
    if any(high is not None and high > _MOST_DOLLARS for high in highs):
        yield f"prices above {_MOST_DOLLARS:,.3f} are wrong in zipline"


def _around(
    sessions: _Days,
    is_empty: npt.NDArray[np.bool_],
    has_no_close: npt.NDArray[np.bool_],
    split: npt.NDArray[np.float64],
    dividend: npt.NDArray[np.float64],
) -> Iterator[str]:
    """Sessions without a bar, and dividends whose ratio zipline gets wrong or not at all."""
    if is_empty.any():
        yield f"{int(is_empty.sum())} sessions without a bar are rows without prices, first {sessions[is_empty][0]}"
    is_paid = dividend != 0
    lost = sessions[1:][is_paid[1:] & has_no_close[:-1]]
    if len(lost):
        yield f"the dividend of {lost[0]} follows a session without a close, and lowers no earlier price in zipline"
    both = sessions[is_paid & (split != 1)]
    if len(both):
        yield f"the dividend of {both[0]} is of the same day as a split, and zipline takes it as of before the split"
