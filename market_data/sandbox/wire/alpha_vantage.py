"""Alpha Vantage's JSON and CSV: daily and 1-minute series, splits, dividends, and its messages.

Numbers are strings, newest first. JSON has numbered keys and an indent of four; CSV has LF. A null is an empty string.
A message comes with HTTP status 200 and as JSON, whatever was asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Protocol

import pandas as pd

from market_data.sandbox.market import PRICES
from market_data.sandbox.wire.numbers import VOLUME_DIGITS, fixed_cells, plain_cells
from market_data.sandbox.wire.stamps import day_texts

__all__ = [
    "BURST_LIMIT",
    "DAILY_LIMIT",
    "MISSING_KEY",
    "PREMIUM",
    "SeriesWriter",
    "actions_csv",
    "actions_json",
    "daily_json",
    "invalid_call",
    "key_limit",
    "message",
    "minutes_json",
    "series_csv",
    "unknown_function",
]

_LIMIT = (
    "standard API rate limit is 25 requests per day. Please subscribe to any of the premium plans at "
    "https://www.alphavantage.co/premium/ to instantly remove all daily rate limits."
)
_DAILY_LIMIT = f"Thank you for using Alpha Vantage! Our {_LIMIT}"

_ROW = (
    '        "%s": {\n            "1. open": "%s",\n            "2. high": "%s",\n            "3. low": "%s",\n'
    '            "4. close": "%s",\n            "5. volume": "%s"\n        }'
)


class SeriesWriter(Protocol):
    """Writes the JSON of a series of bars, ascending and not empty."""

    def __call__(self, ticker: str, frame: pd.DataFrame, *, compact: bool) -> bytes: ...


def _indented(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, indent=4, ensure_ascii=False).encode()


def message(key: str, text: str) -> bytes:
    """A body that holds a message alone, under `Information`, `Note` or `Error Message`."""
    return _indented({key: text})


DAILY_LIMIT = message("Information", _DAILY_LIMIT)
BURST_LIMIT = message("Information", f"{_DAILY_LIMIT} Burst pattern detected: 5 requests per second allowed.")
PREMIUM = message(
    "Information",
    "Thank you for using Alpha Vantage! This is a premium endpoint. You may subscribe to any of the premium plans at "
    "https://www.alphavantage.co/premium/ to instantly unlock all premium endpoints",
)
MISSING_KEY = message(
    "Error Message",
    "the parameter apikey is invalid or missing. Please claim your free API key on "
    "(https://www.alphavantage.co/support/#api-key). It should take less than 20 seconds.",
)


def key_limit(key: str) -> bytes:
    """The day's limit is reached; the vendor echoes the caller's key."""
    return message("Information", f"We have detected your API key as {key} and our {_LIMIT}") if key else DAILY_LIMIT


def invalid_call(function: str) -> bytes:
    """What an unknown symbol, or a parameter it does not take, is answered with."""
    return message(
        "Error Message",
        f"Invalid API call. Please retry or visit the documentation (https://www.alphavantage.co/documentation/) "
        f"for {function}.",
    )


def unknown_function(function: str) -> bytes:
    """What a function that does not exist is answered with."""
    return message("Error Message", f"This API function ({function}) does not exist.")


def daily_json(ticker: str, frame: pd.DataFrame, *, compact: bool) -> bytes:
    """`TIME_SERIES_DAILY`; of a date that stands twice the last bar is sent, as an object holds a key once."""
    days = day_texts(frame["date"].to_numpy())
    meta = {
        "1. Information": "Daily Prices (open, high, low, close) and Volumes",
        "2. Symbol": ticker,
        "3. Last Refreshed": days[-1],
        "4. Output Size": "Compact" if compact else "Full size",
        "5. Time Zone": "US/Eastern",
    }
    return _series_json(meta, "Time Series (Daily)", days, frame)


def minutes_json(ticker: str, frame: pd.DataFrame, *, compact: bool) -> bytes:
    """`TIME_SERIES_INTRADAY` of 1 minute; the stamps are New York's time at the start of the minute."""
    stamps = _minute_texts(frame)
    meta = {
        "1. Information": "Intraday (1min) prices and volumes",
        "2. Symbol": ticker,
        "3. Last Refreshed": stamps[-1],
        "4. Interval": "1min",
        "5. Output Size": "Compact" if compact else "Full size",
        "6. Time Zone": "US/Eastern",
    }
    return _series_json(meta, "Time Series (1min)", stamps, frame)


def series_csv(frame: pd.DataFrame) -> bytes:
    """The same as CSV, for days, or for minutes where the frame has a column datetime."""
    stamps = _minute_texts(frame) if "datetime" in frame else day_texts(frame["date"].to_numpy())
    rows = [",".join(row) for row in zip(stamps, *_number_columns(frame), strict=True)]
    return "\n".join(["timestamp,open,high,low,close,volume", *reversed(rows), ""]).encode()


def actions_json(ticker: str, rows: Sequence[Mapping[str, str]]) -> bytes:
    """`SPLITS` or `DIVIDENDS`."""
    return _indented({"symbol": ticker, "data": list(rows)})


def actions_csv(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> bytes:
    """The same as CSV; the header alone for no rows."""
    lines = [",".join(row[name] for name in columns) for row in rows]
    return "\n".join([",".join(columns), *lines, ""]).encode()


def _series_json(meta: Mapping[str, str], name: str, stamps: Sequence[str], frame: pd.DataFrame) -> bytes:
    last_of = dict(zip(stamps, zip(stamps, *_number_columns(frame), strict=True), strict=True))
    rows = ",\n".join([_ROW % row for row in reversed(last_of.values())])
    heading = json.dumps({"Meta Data": meta}, indent=4).removesuffix("\n}")
    return f'{heading},\n    "{name}": {{\n{rows}\n    }}\n}}'.encode()


def _number_columns(frame: pd.DataFrame) -> list[list[str]]:
    prices = [fixed_cells(frame[name].to_numpy()) for name in PRICES]
    return [*prices, plain_cells(frame["volume"].to_numpy(), VOLUME_DIGITS)]


def _minute_texts(frame: pd.DataFrame) -> list[str]:
    local = frame["datetime"].dt.tz_convert("America/New_York").dt.tz_localize(None)
    texts = local.to_numpy().astype("datetime64[s]").astype(str)
    return [text.replace("T", " ") for text in texts.tolist()]
