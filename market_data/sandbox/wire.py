"""Vendors' bytes from frames of bars: pure functions, one a wire format.

A frame has the columns date (`datetime64[s]`), open, high, low, close and volume (`float64`), as
`market_data.sandbox.market` makes them.
"""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import numpy.typing as npt
import pandas as pd

__all__ = ["NO_DATA", "stooq_ascii", "stooq_csv"]

NO_DATA = b"No data"
"""Stooq's whole answer where it has nothing."""

_CSV_HEADER = "Date,Open,High,Low,Close,Volume"
_ASCII_HEADER = "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>"

# Digits beyond what a price or a volume means, and short of those where binary noise shows.
_PRICE_DIGITS = 10
_VOLUME_DIGITS = 15


def stooq_csv(frame: pd.DataFrame) -> bytes:
    """The body of Stooq's daily download: ISO dates, CRLF, an empty cell for a null, `No data` for no rows."""
    if frame.empty:
        return NO_DATA
    days = np.datetime_as_string(frame["date"].to_numpy(), unit="D").tolist()
    rows = map(",".join, zip(days, *_number_columns(frame), strict=True))
    return _lines(_CSV_HEADER, rows)


def stooq_ascii(symbol_ticker: str, frame: pd.DataFrame) -> bytes:
    """One daily file of Stooq's bulk archive.

    Args:
        symbol_ticker: Stooq's spelling, such as `brk-b.us`; the file has it in capitals.

    Returns:
        Header and rows with CRLF; the header alone for no rows.
    """
    days = np.datetime_as_string(frame["date"].to_numpy(), unit="D").tolist()
    ticker = symbol_ticker.upper()
    keys = [f"{ticker},D,{day.replace('-', '')},000000" for day in days]
    rows = map(",".join, zip(keys, *_number_columns(frame), ["0"] * len(keys), strict=True))
    return _lines(_ASCII_HEADER, rows)


def _lines(header: str, rows: map[str]) -> bytes:
    return "\r\n".join([header, *rows, ""]).encode("ascii")


def _number_columns(frame: pd.DataFrame) -> list[list[str]]:
    prices = [_cells(frame[name].to_numpy(), _PRICE_DIGITS) for name in ("open", "high", "low", "close")]
    return [*prices, _cells(frame["volume"].to_numpy(), _VOLUME_DIGITS)]


def _cells(values: npt.NDArray[np.float64], digits: int) -> list[str]:
    """Shortest plain decimal text of each value, never in exponent form; empty for a null."""
    pattern = f"%.{digits}g"
    texts = [pattern % value for value in (values + 0.0).tolist()]
    size = np.abs(values)
    # `%g` is several times faster than Decimal and right for all but the sizes where it turns to exponents.
    usual = (size == 0) | ((size >= 1e-4) & (size < 10.0 ** (digits - 1)))
    for place in np.flatnonzero(~usual).tolist():
        texts[place] = "" if np.isnan(values[place]) else format(Decimal(texts[place]), "f")
    return texts
