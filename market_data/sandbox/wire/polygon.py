"""Polygon's JSON (now Massive): aggregates, grouped daily bars, reference splits and dividends, errors.

Written as recorded: no spaces, volumes of a million and more with an exponent (`1.12117471e+08`), a null as an absent
key. A day's bar is stamped 00:00 New York in milliseconds, 16:00 in the grouped answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from market_data.sandbox.market import PRICES, significant
from market_data.sandbox.wire.numbers import PRICE_DIGITS, VOLUME_DIGITS, go_cells, whole_cells

__all__ = ["ERRORS", "aggregates", "error", "grouped", "listing", "refusal"]

ERRORS = {
    "missing_key": (401, {"status": "ERROR", "error": "API Key was not provided"}),
    "unknown_key": (401, {"status": "ERROR", "error": "Unknown API Key"}),
    "not_entitled": (
        403,
        {
            "status": "NOT_AUTHORIZED",
            "message": "You are not entitled to this data. Please upgrade your plan at https://massive.com/pricing",
        },
    ),
    "rate_limit": (
        429,
        {
            "status": "ERROR",
            "error": "You've exceeded the maximum requests per minute, please wait or upgrade your subscription to "
            "continue. https://polygon.io/pricing",
        },
    ),
    "not_found": (404, {"status": "NOT_FOUND", "message": "Data not found."}),
    "server_error": (503, {"status": "ERROR", "error": "Service Unavailable"}),
}
"""Status and body of its refusals, by name; `error` adds the request's id."""

_SHARES_A_TRADE = 110
_ABSENT = re.compile(r'"\w+":null,|,"\w+":null(?=})')


def aggregates(
    ticker: str,
    frame: pd.DataFrame,
    stamps: npt.NDArray[np.int64],
    *,
    adjusted: bool,
    request_id: str,
    next_url: str | None = None,
) -> bytes:
    """The body of `/v2/aggs/ticker/{T}/range/...`.

    Args:
        frame: bars in the order to be sent.
        stamps: `t` of each bar, epoch milliseconds.
        next_url: where the next page is, when there is one.
    """
    count = len(frame)
    parts = [f'"ticker":{json.dumps(ticker)},"queryCount":{count},"resultsCount":{count},{_adjusted(adjusted)}']
    parts += [f'"results":[{_rows(frame, stamps)}]'] if count else []
    parts += [f'"status":"OK","request_id":"{request_id}","count":{count}']
    parts += [f'"next_url":{json.dumps(next_url)}'] if next_url else []
    return _object(parts)


def grouped(
    tickers: Sequence[str], frame: pd.DataFrame, stamps: npt.NDArray[np.int64], *, adjusted: bool, request_id: str
) -> bytes:
    """The body of `/v2/aggs/grouped/locale/us/market/stocks/{date}`: one bar a ticker, its name under `T`."""
    count = len(frame)
    parts = [f'"queryCount":{count},"resultsCount":{count},{_adjusted(adjusted)}']
    parts += [f'"results":[{_rows(frame, stamps, tickers)}]'] if count else []
    parts += [f'"status":"OK","request_id":"{request_id}","count":{count}']
    return _object(parts)


def listing(rows: Sequence[Mapping[str, Any]], *, request_id: str, next_url: str | None = None) -> bytes:
    """The body of `/v3/reference/splits` and `/dividends`."""
    document = {"results": list(rows), "status": "OK", "request_id": request_id}
    return _compact(document | ({"next_url": next_url} if next_url else {}))


def error(name: str, request_id: str) -> tuple[int, bytes]:
    """Status and body of one of `ERRORS`."""
    status, told = ERRORS[name]
    return status, refusal(told, request_id)


def refusal(told: Mapping[str, str], request_id: str) -> bytes:
    """An error body of `status` and `error` or `message`, with the request's id between them."""
    first, *others = told.items()
    return _compact(dict([first, ("request_id", request_id), *others]))


def _compact(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def _object(parts: Sequence[str]) -> bytes:
    return ("{" + ",".join(parts) + "}").encode()


def _adjusted(adjusted: bool) -> str:
    return f'"adjusted":{"true" if adjusted else "false"}'


def _rows(frame: pd.DataFrame, stamps: npt.NDArray[np.int64], tickers: Sequence[str] | None = None) -> str:
    # Column by column: several times faster than all of them at once for the few rows of a poll.
    prices = np.column_stack([frame[name].to_numpy() for name in PRICES])
    opened, high, low, close = (go_cells(prices[:, at], PRICE_DIGITS) for at in range(4))
    volume = frame["volume"].to_numpy()
    average = go_cells(significant(prices.mean(axis=1)), PRICE_DIGITS)
    trades = whole_cells(np.maximum(np.rint(np.abs(volume) / _SHARES_A_TRADE), 1))
    columns = [go_cells(volume, VOLUME_DIGITS), average, opened, close, high, low, stamps.tolist(), trades]
    row = '"v":%s,"vw":%s,"o":%s,"c":%s,"h":%s,"l":%s,"t":%d,"n":%s}'
    row, keys = ('{"T":"%s",' + row, [tickers]) if tickers is not None else ("{" + row, [])
    text = ",".join([row % values for values in zip(*keys, *columns, strict=True)])
    return _ABSENT.sub("", text) if np.isnan(prices).any() or np.isnan(volume).any() else text
