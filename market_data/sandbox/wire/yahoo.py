"""Yahoo's chart JSON (`/v8/finance/chart/{SYM}`): parallel arrays, float32 noise in prices, `null` for a null.

A day is stamped at the session's open, a minute at its start, in epoch seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from market_data.sandbox.wire.numbers import float32_cells, whole_cells

__all__ = ["NOT_FOUND", "TOO_MANY_REQUESTS", "UNAUTHORIZED", "VALID_RANGES", "chart", "chart_error"]

VALID_RANGES = ("1d", "5d", "1mo", "3mo", "6mo", "1y", "2y", "5y", "10y", "ytd", "max")
"""`validRanges` of a stock."""

TOO_MANY_REQUESTS = b"Edge: Too Many Requests"
"""The body of status 429, which is text."""


def chart_error(code: str, description: str) -> bytes:
    """The body of a refusal."""
    return _compact({"chart": {"result": None, "error": {"code": code, "description": description}}})


def chart(
    meta: Mapping[str, Any],
    stamps: npt.NDArray[np.int64],
    frame: pd.DataFrame,
    *,
    events: Mapping[str, Any],
    adjclose: npt.NDArray[np.float64] | None,
) -> bytes:
    """The body of an answer.

    Args:
        stamps: `timestamp` of each bar, epoch seconds.
        frame: open, high, low, close, volume.
        events: `dividends` and `splits` by stamp; left out when empty.
        adjclose: one for each bar; None for an interval that has none.
    """
    body = [f'"meta":{_compact(meta).decode()}']
    if len(frame):
        body.append(f'"timestamp":[{",".join(map(str, stamps.tolist()))}]')
        body += [f'"events":{_compact(events).decode()}'] if events else []
        body.append(f'"indicators":{{{_indicators(frame, adjclose)}}}')
    else:
        body.append('"indicators":{"quote":[{}]' + ("}" if adjclose is None else ',"adjclose":[{}]}'))
    return ('{"chart":{"result":[{' + ",".join(body) + '}],"error":null}}').encode()


def _indicators(frame: pd.DataFrame, adjclose: npt.NDArray[np.float64] | None) -> str:
    columns = {name: float32_cells(frame[name].to_numpy()) for name in ("open", "low", "close")}
    columns |= {"volume": whole_cells(frame["volume"].to_numpy()), "high": float32_cells(frame["high"].to_numpy())}
    quote = ",".join(f'"{name}":[{",".join(cells)}]' for name, cells in columns.items())
    text = f'"quote":[{{{quote}}}]'
    if adjclose is not None:
        text += f',"adjclose":[{{"adjclose":[{",".join(float32_cells(adjclose))}]}}]'
    return text


def _compact(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


NOT_FOUND = chart_error("Not Found", "No data found, symbol may be delisted")
"""The body of status 404."""

UNAUTHORIZED = _compact(
    {"finance": {"result": None, "error": {"code": "Unauthorized", "description": "Invalid Crumb"}}}
)
"""The body of status 401."""
