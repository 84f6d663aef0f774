"""Stooq's daily CSV of `GET /q/d/l/`, its bulk ASCII layout, and its messages (HTTP 200, plain text or HTML)."""

from __future__ import annotations

import pandas as pd

from market_data.sandbox.wire.numbers import PRICE_DIGITS, VOLUME_DIGITS, plain_cells
from market_data.sandbox.wire.stamps import day_texts

__all__ = ["ACCESS_CHECK", "APIKEY_GATE", "DAILY_LIMIT", "NO_DATA", "stooq_ascii", "stooq_csv"]

NO_DATA = b"No data"
"""Stooq's whole answer where it has nothing."""

DAILY_LIMIT = b"Exceeded the daily hits limit"
"""Its whole answer once the day's calls are spent."""

APIKEY_GATE = (
    b"Get your apikey:\n\n"
    b"1. Open https://stooq.com/q/d/?s=aapl.us&get_apikey\n"
    b"2. Enter the captcha code.\n"
    b"3. Copy the CSV download link at the bottom of the page - it will contain the <apikey> variable.\n"
    b"4. Append the <apikey> variable with its value to your requests, e.g.\n"
    b"   https://stooq.com/q/d/l/?s=aapl.us&i=d&d1=20200818&d2=20200912&apikey=XXXXXXXX\n"
)
"""What it answers where it wants a key."""

ACCESS_CHECK = (
    b'<!DOCTYPE html><html><head><meta name="robots" content="noindex,nofollow"></head><body><noscript>This site '
    b"requires JavaScript to verify your browser. Please enable JavaScript and reload.</noscript>"
    b'<script>fetch("/__verify",{method:"POST"})</script></body></html>'
)
"""The shape of its browser check; the work it asks of a browser is left out."""

_CSV_HEADER = "Date,Open,High,Low,Close,Volume"
_ASCII_HEADER = "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>"


def stooq_csv(frame: pd.DataFrame) -> bytes:
    """The body of Stooq's daily download: ISO dates, CRLF, an empty cell for a null, `No data` for no rows."""
    if frame.empty:
        return NO_DATA
    rows = map(",".join, zip(day_texts(frame["date"].to_numpy()), *_number_columns(frame), strict=True))
    return _lines(_CSV_HEADER, rows)


def stooq_ascii(symbol_ticker: str, frame: pd.DataFrame) -> bytes:
    """One daily file of Stooq's bulk archive.

    Args:
        symbol_ticker: Stooq's spelling, such as `brk-b.us`; the file has it in capitals.

    Returns:
        Header and rows with CRLF; the header alone for no rows.
    """
    ticker = symbol_ticker.upper()
    keys = [f"{ticker},D,{day.replace('-', '')},000000" for day in day_texts(frame["date"].to_numpy())]
    rows = map(",".join, zip(keys, *_number_columns(frame), ["0"] * len(keys), strict=True))
    return _lines(_ASCII_HEADER, rows)


def _lines(header: str, rows: map[str]) -> bytes:
    return "\r\n".join([header, *rows, ""]).encode("ascii")


def _number_columns(frame: pd.DataFrame) -> list[list[str]]:
    prices = [plain_cells(frame[name].to_numpy(), PRICE_DIGITS) for name in ("open", "high", "low", "close")]
    return [*prices, plain_cells(frame["volume"].to_numpy(), VOLUME_DIGITS)]
