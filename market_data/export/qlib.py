"""qlib's CSV files, a symbol each in `csv/`, which its `scripts/dump_bin.py` makes into its own store.

As qlib 0.9.7 reads them: `dump_bin.py dump_all` takes every column but the date as a field, the file's name as the
instrument, and the dates of all files together as the calendar. By its convention (`docs/component/data.rst`) prices
are adjusted, `factor` is adjusted price / price as traded, and volume is shares traded / factor, so that
`$close / $factor` is what was traded. Its stores keep 32-bit floats.

An instrument whose name is that of a device on Windows has a file with the prefix `_qlib_`, which qlib knows.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from market_data.export.batch import Batch, by_symbol
from market_data.export.file_names import is_device
from market_data.export.request import BARS
from market_data.export.sheet import Sheet

__all__ = ["qlib_name", "qlib_sheets"]

_PRICES = BARS[:-1]


def qlib_name(symbol: str) -> str:
    """The name of an instrument's file, without its ending."""
    return f"_qlib_{symbol}" if is_device(symbol) else symbol


def qlib_sheets(batch: Batch, number: int) -> Iterator[Sheet]:
    """A sheet a symbol: date, open, high, low, close, volume, factor; a row for each bar."""
    (traded,) = batch.beside
    for (symbol, bars), (_, raw) in zip(by_symbol(batch.prices), by_symbol(traded), strict=True):
        factor = pc.coalesce(*(pc.divide(bars[name], raw[name]) for name in ("close", "open", "high", "low")))
        columns = {name: bars[name] for name in _PRICES}
        table = pa.table(
            {"date": bars["date"], **columns, "volume": pc.divide(raw["volume"], factor), "factor": factor}
        )
        yield Sheet(f"csv/{qlib_name(symbol)}.csv", symbol, table)
