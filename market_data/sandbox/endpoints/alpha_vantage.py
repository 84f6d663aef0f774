"""Alpha Vantage: `GET /query?function=...&symbol=&outputsize=compact|full&datatype=json|csv&month=&apikey=`.

`TIME_SERIES_DAILY` is raw. `TIME_SERIES_INTRADAY` serves `interval=1min` in regular hours, adjusted for splits and
dividends unless `adjusted=false`, as the vendor documents. `SPLITS` and `DIVIDENDS` are told from their ex-dates on.
While a session is open the series end with its bar so far, which takes up one of the 100 rows of a compact answer.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Mapping
from datetime import date, timedelta

import pandas as pd

from market_data.records import Basis
from market_data.sandbox.altering import altered
from market_data.sandbox.call import Answer, Call
from market_data.sandbox.endpoints.base import Endpoint
from market_data.sandbox.served import Action, ServedMarket
from market_data.sandbox.wire import alpha_vantage as wire

__all__ = ["ENDPOINTS"]

_COMPACT = 100
_TRAILING_DAYS = 30
_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])", re.ASCII)
_SPLIT_COLUMNS = ("effective_date", "split_factor")
_DIVIDEND_COLUMNS = ("ex_dividend_date", "declaration_date", "record_date", "payment_date", "amount")


def _query(served: ServedMarket, call: Call) -> Answer:
    function = call.query.get("function", "")
    if function == "TIME_SERIES_DAILY_ADJUSTED":
        return _told(wire.PREMIUM)
    if function not in _FUNCTIONS:
        return _told(wire.unknown_function(function))
    size, kind = call.query.get("outputsize", "compact"), call.query.get("datatype", "json")
    if call.symbol is None or size not in ("compact", "full") or kind not in ("json", "csv"):
        return _told(wire.invalid_call(function))
    return _FUNCTIONS[function](served, call, call.symbol)


def _daily(served: ServedMarket, call: Call, symbol: str) -> Answer:
    bars = served.with_running(served.bars(symbol, Basis.RAW), symbol, call.now)
    frame, compact = _sized(bars, call)
    return _series(altered(frame, call.faults, served, symbol), call, wire.daily_json, compact=compact)


def _intraday(served: ServedMarket, call: Call, symbol: str) -> Answer:
    month = call.query.get("month", "")
    if call.query.get("interval") != "1min" or (month and not _MONTH.fullmatch(month)):
        return _told(wire.invalid_call("TIME_SERIES_INTRADAY"))
    basis = Basis.RAW if call.query.get("adjusted", "true") == "false" else Basis.SPLIT_DIVIDEND
    first, last = _span(served, month)
    sessions = [session for session in served.traded(symbol, call.now) if first <= session <= last]
    if call.query.get("outputsize", "compact") == "compact":
        sessions = sessions[-1:]
    frames = [served.minutes(symbol, session, basis, call.now) for session in sessions]
    if not frames:
        return _told(wire.invalid_call("TIME_SERIES_INTRADAY"))
    frame, compact = _sized(pd.concat(frames, ignore_index=True), call)
    return _series(altered(frame, call.faults, served, symbol), call, wire.minutes_json, compact=compact)


def _span(served: ServedMarket, month: str) -> tuple[date, date]:
    """The days of a month; without one the last 30 days."""
    if not month:
        last = served.extent.today
        return last - timedelta(days=_TRAILING_DAYS - 1), last
    first = date.fromisoformat(f"{month}-01")
    return first, first.replace(day=monthrange(first.year, first.month)[1])


def _sized(frame: pd.DataFrame, call: Call) -> tuple[pd.DataFrame, bool]:
    compact = call.query.get("outputsize", "compact") == "compact"
    return (frame.iloc[-_COMPACT:] if compact else frame), compact


def _series(frame: pd.DataFrame, call: Call, as_json: wire.SeriesWriter, *, compact: bool) -> Answer:
    if frame.empty:
        return _told(wire.invalid_call(call.query["function"]))
    if call.query.get("datatype") == "csv":
        return _csv(wire.series_csv(frame))
    return Answer(as_json(call.ticker or "", frame, compact=compact))


def _splits(served: ServedMarket, call: Call, symbol: str) -> Answer:
    rows = [
        {"effective_date": action.day.isoformat(), "split_factor": f"{action.value:.4f}"}
        for action in _newest_first(served, symbol, "split")
    ]
    return _actions(call, rows, _SPLIT_COLUMNS)


def _dividends(served: ServedMarket, call: Call, symbol: str) -> Answer:
    rows = [_dividend(action) for action in _newest_first(served, symbol, "dividend")]
    return _actions(call, rows, _DIVIDEND_COLUMNS)


def _dividend(action: Action) -> dict[str, str]:
    day = action.day
    return {
        "ex_dividend_date": day.isoformat(),
        "declaration_date": (day - timedelta(days=21)).isoformat(),
        "record_date": (day + timedelta(days=1)).isoformat(),
        "payment_date": (day + timedelta(days=14)).isoformat(),
        "amount": f"{action.value:g}",
    }


def _newest_first(served: ServedMarket, symbol: str, kind: str) -> list[Action]:
    return [action for action in reversed(served.actions(symbol)) if action.kind == kind]


def _actions(call: Call, rows: list[dict[str, str]], columns: tuple[str, ...]) -> Answer:
    if call.query.get("datatype") == "csv":
        return _csv(wire.actions_csv(columns, rows))
    return Answer(wire.actions_json(call.ticker or "", rows))


def _csv(body: bytes) -> Answer:
    return Answer(body, content_type="application/x-download")


def _told(body: bytes) -> Answer:
    return Answer(body, is_error=True)


_FUNCTIONS = {
    "TIME_SERIES_DAILY": _daily,
    "TIME_SERIES_INTRADAY": _intraday,
    "SPLITS": _splits,
    "DIVIDENDS": _dividends,
}


def _ticker(parts: Mapping[str, str], query: Mapping[str, str]) -> str:
    return query.get("symbol", "").strip()


ENDPOINTS = (Endpoint("alpha_vantage", "/query", _ticker, _query),)
"""The endpoints of the vendor."""
