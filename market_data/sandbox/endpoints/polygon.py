"""Polygon: aggregates by day and minute, grouped daily bars, reference splits and dividends.

A page that leaves rows out has a `next_url` below the sandbox's own base URL, without the key: for aggregates the same
path from the next stamp on, with a cursor that is the base64 of the other parameters, as recorded; for the reference
endpoints a cursor alone.

Bars of a date are under the ticker of that date: `FB` for Meta Platforms until 2022-06-08, when `META` was another
security (client-python issue 846). Splits and dividends are under today's ticker (polygon-io/issues#253).

While a session is open the aggregates end with its bar so far, and the minute's under way; the grouped answer has
sessions that closed alone.
"""

from __future__ import annotations

import base64
import binascii
import operator
import re
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from fractions import Fraction
from typing import Any
from urllib.parse import parse_qsl, urlencode

import numpy as np
import numpy.typing as npt
import pandas as pd

from market_data.records import Basis
from market_data.sandbox.altering import altered
from market_data.sandbox.call import Answer, Call
from market_data.sandbox.endpoints.base import Endpoint
from market_data.sandbox.refusals import ELSEWHERE, polygon_error
from market_data.sandbox.served import Action, ServedMarket, between
from market_data.sandbox.wire import polygon, stamps

__all__ = ["ENDPOINTS"]

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_MILLISECONDS = re.compile(r"\d{11,13}", re.ASCII)
_WHOLE = re.compile(r"\d{1,9}", re.ASCII)
_DEFAULT_LIMIT, _LARGEST_LIMIT = 5000, 50000
_DEFAULT_ROWS, _MOST_ROWS = 10, 1000


def _aggregates(served: ServedMarket, call: Call) -> Answer:
    query = _with_cursor(call.query)
    try:
        first, last = _instant(call.parts["first"], 0), _instant(call.parts["last"], 1)
        limit = _number(query, "limit", _DEFAULT_LIMIT, _LARGEST_LIMIT)
    except ValueError as error:
        return _bad(call, str(error))
    if first > last:
        return _bad(call, "The parameter 'to' cannot be a time that occurs before 'from'")
    if call.parts["multiplier"] != "1" or call.parts["timespan"] not in ("day", "minute"):
        return polygon_error(call, "not_found")
    basis = Basis.RAW if query.get("adjusted", "true").lower() == "false" else Basis.SPLIT
    newest_first = query.get("sort", "asc") == "desc"
    stamped = _days if call.parts["timespan"] == "day" else _minutes
    frame, times = stamped(served, call, (first, last), basis, limit=limit, newest_first=newest_first)
    following = int(times[limit]) if len(times) > limit else None
    body = polygon.aggregates(
        call.ticker or "",
        frame.iloc[:limit],
        times[:limit],
        adjusted=basis is Basis.SPLIT,
        request_id=call.request_id,
        next_url=_next_page(call, query, following, newest_first=newest_first),
    )
    return Answer(body)


def _days(
    served: ServedMarket, call: Call, span: tuple[int, int], basis: Basis, *, limit: int, newest_first: bool
) -> tuple[pd.DataFrame, npt.NDArray[np.int64]]:
    """Bars whose stamps lie in the span, in the order asked for, with the stamps."""
    symbol = _symbol(served, call)
    if symbol is None:
        return pd.DataFrame(), np.empty(0, dtype=np.int64)
    frame = served.bars_under(call.ticker or "", basis)
    session = served.open_session(call.now)
    if session is not None and _bears(served, call, session):
        frame = served.with_running(frame, symbol, call.now)
    frame = between(frame, *(stamps.eastern_day(stamp // 1000) for stamp in span))
    frame = altered(frame, call.faults, served, symbol)
    times = stamps.epoch_seconds(frame["date"].to_numpy(), stamps.MIDNIGHT) * 1000
    return _ordered(frame, times, span, newest_first=newest_first)


def _minutes(
    served: ServedMarket, call: Call, span: tuple[int, int], basis: Basis, *, limit: int, newest_first: bool
) -> tuple[pd.DataFrame, npt.NDArray[np.int64]]:
    """The same for minutes; no more sessions are made than the page, and the stamp after it, need."""
    symbol = _symbol(served, call)
    if symbol is None:
        return pd.DataFrame(), np.empty(0, dtype=np.int64)
    first, last = (stamps.eastern_date(stamp // 1000) for stamp in span)
    sessions = [
        session
        for session in served.traded(symbol, call.now)
        if first <= session <= last and _bears(served, call, session)
    ]
    frames: list[pd.DataFrame] = []
    for session in reversed(sessions) if newest_first else sessions:
        frames.append(served.minutes(symbol, session, basis, call.now))
        # The first session may begin before the span.
        if sum(map(len, frames[1:])) > limit:
            break
    if not frames:
        return pd.DataFrame(), np.empty(0, dtype=np.int64)
    in_order = frames[::-1] if newest_first else frames
    frame = pd.concat(in_order, ignore_index=True) if len(frames) > 1 else frames[0]
    frame = altered(frame, call.faults, served, symbol)
    times = stamps.epoch_milliseconds(frame["datetime"])
    return _ordered(frame, times, span, newest_first=newest_first)


def _symbol(served: ServedMarket, call: Call) -> str | None:
    """The symbol of the instrument a call is about, by the ticker it has or had; None for an unknown one."""
    bearers = served.bearers(call.ticker or "")
    return bearers[-1].symbol if bearers else call.symbol


def _bears(served: ServedMarket, call: Call, day: date) -> bool:
    """Whether an instrument has the ticker that a call names on a day."""
    return any(each.first <= day <= each.last for each in served.bearers(call.ticker or ""))


def _ordered(
    frame: pd.DataFrame, times: npt.NDArray[np.int64], span: tuple[int, int], *, newest_first: bool
) -> tuple[pd.DataFrame, npt.NDArray[np.int64]]:
    places = np.flatnonzero((times >= span[0]) & (times <= span[1]))
    places = places[::-1] if newest_first else places
    return frame.iloc[places], times[places]


def _grouped(served: ServedMarket, call: Call) -> Answer:
    asked = _date(call.parts["day"])
    if asked is None:
        return _bad(call, "Could not parse the time parameter: 'date'. Use YYYY-MM-DD")
    day = np.datetime64(asked, "s")
    basis = Basis.RAW if call.query.get("adjusted", "true").lower() == "false" else Basis.SPLIT
    frame = altered(between(served.every(basis), day, day), call.faults, served)
    universe = served.market.universe
    tickers = [universe[symbol].ticker("polygon", asked, point_in_time=True) for symbol in frame["symbol"]]
    strangers = served.strangers_on(asked, basis)
    if len(strangers):
        frame = pd.concat([frame, strangers], ignore_index=True)
        tickers += strangers["ticker"].tolist()
    times = stamps.epoch_seconds(frame["date"].to_numpy(), stamps.CLOSE) * 1000
    adjusted = basis is Basis.SPLIT
    return Answer(polygon.grouped(tickers, frame, times, adjusted=adjusted, request_id=call.request_id))


def _splits(served: ServedMarket, call: Call) -> Answer:
    return _listing(served, call, "split", "execution_date", "/v3/reference/splits")


def _dividends(served: ServedMarket, call: Call) -> Answer:
    return _listing(served, call, "dividend", "ex_dividend_date", "/v3/reference/dividends")


def _listing(served: ServedMarket, call: Call, kind: str, day: str, path: str) -> Answer:
    """A page of corporate actions, newest first unless told otherwise."""
    query = _with_cursor(call.query)
    try:
        limit = _number(query, "limit", _DEFAULT_ROWS, _MOST_ROWS)
        offset = _number(query, "offset", 0)
    except ValueError as error:
        return _bad(call, str(error))
    rows = [row for row in _action_rows(served, kind, query.get("ticker")) if _matches(row, query, ("ticker", day))]
    sort = query.get("sort", day)
    rows.sort(key=lambda row: (str(row.get(sort, "")), row["ticker"]), reverse=query.get("order", "desc") == "desc")
    following = urlencode(query | {"offset": str(offset + limit)}) if offset + limit < len(rows) else None
    next_url = f"{call.base_url}{path}?cursor={_encoded(following)}" if following else None
    if _goes_elsewhere(call):
        next_url = f"{ELSEWHERE}{path}?cursor={_encoded('offset=0')}"
    page = rows[offset : offset + limit]
    return Answer(polygon.listing(page, request_id=call.request_id, next_url=next_url))


def _action_rows(served: ServedMarket, kind: str, ticker: str | None) -> Iterator[dict[str, Any]]:
    for symbol, instrument in served.market.universe.items():
        own = instrument.ticker("polygon")
        if ticker is None or ticker == own:
            for action in served.actions(symbol):
                if action.kind == kind:
                    yield (_split_row if kind == "split" else _dividend_row)(own, action)


def _split_row(ticker: str, action: Action) -> dict[str, Any]:
    ratio = Fraction(action.value).limit_denominator(1000)
    return {
        "execution_date": action.day.isoformat(),
        "split_from": ratio.denominator,
        "split_to": ratio.numerator,
        "ticker": ticker,
    }


def _dividend_row(ticker: str, action: Action) -> dict[str, Any]:
    day = action.day
    return {
        "cash_amount": action.value,
        "declaration_date": (day - timedelta(days=21)).isoformat(),
        "dividend_type": "CD",
        "ex_dividend_date": day.isoformat(),
        "frequency": 4,
        "pay_date": (day + timedelta(days=14)).isoformat(),
        "record_date": (day + timedelta(days=1)).isoformat(),
        "ticker": ticker,
    }


_COMPARISONS = {
    "": operator.eq,
    ".gte": operator.ge,
    ".gt": operator.gt,
    ".lte": operator.le,
    ".lt": operator.lt,
}


def _matches(row: Mapping[str, Any], query: Mapping[str, str], names: tuple[str, ...]) -> bool:
    """Whether a row fits `name`, `name.gte` and the like; ISO dates compare as texts do."""
    return all(
        compare(row[name], query[name + suffix])
        for name in names
        for suffix, compare in _COMPARISONS.items()
        if name + suffix in query
    )


def _number(query: Mapping[str, str], name: str, default: int, most: int | None = None) -> int:
    """A whole number of the query; where there is a greatest one, between 1 and that."""
    text = query.get(name, str(default))
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"The parameter '{name}' is not a number")
    return int(text) if most is None else min(max(int(text), 1), most)


def _instant(text: str, days_later: int) -> int:
    """Epoch milliseconds of a bound: a stamp as it is, a date its first moment in New York, or its last one."""
    if _MILLISECONDS.fullmatch(text):
        return int(text)
    day = _date(text)
    if day is None:
        name = ("from", "to")[days_later]
        raise ValueError(f"Could not parse the time parameter: '{name}'. Use YYYY-MM-DD or Unix MS Timestamps")
    moment = np.array([day + timedelta(days=days_later)], dtype="datetime64[s]")
    return int(stamps.epoch_seconds(moment, stamps.MIDNIGHT)[0]) * 1000 - days_later


def _date(text: str) -> date | None:
    """The date a text is, of the 20th or 21st century."""
    try:
        day = date.fromisoformat(text) if _DATE.fullmatch(text) else None
    except ValueError:
        return None
    return day if day is not None and 1900 <= day.year < 2100 else None


def _next_page(call: Call, query: Mapping[str, str], following: int | None, *, newest_first: bool) -> str | None:
    parts = dict(call.parts)
    if following is not None:
        parts["last" if newest_first else "first"] = str(following)
    path = "/v2/aggs/ticker/{ticker}/range/{multiplier}/{timespan}/{first}/{last}".format(**parts)
    kept = {name: query[name] for name in ("adjusted", "limit", "sort") if name in query}
    path += f"?cursor={_encoded(urlencode(kept))}"
    if _goes_elsewhere(call):
        return ELSEWHERE + path
    return call.base_url + path if following is not None else None


def _goes_elsewhere(call: Call) -> bool:
    return any(fault.kind == "next_url_elsewhere" for fault in call.faults)


def _encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _with_cursor(query: Mapping[str, str]) -> dict[str, str]:
    """The parameters with those of the cursor; one that cannot be read stands for none."""
    cursor = query.get("cursor", "")
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, ValueError):
        text = ""
    return {name: value for name, value in query.items() if name != "cursor"} | dict(parse_qsl(text))


def _bad(call: Call, message: str) -> Answer:
    return Answer(polygon.refusal({"status": "ERROR", "error": message}, call.request_id), 400, is_error=True)


ENDPOINTS = (
    Endpoint(
        "polygon",
        "/v2/aggs/ticker/{ticker}/range/{multiplier}/{timespan}/{first}/{last}",
        lambda parts, query: parts["ticker"],
        _aggregates,
    ),
    Endpoint("polygon", "/v2/aggs/grouped/locale/us/market/stocks/{day}", lambda parts, query: None, _grouped),
    Endpoint("polygon", "/v3/reference/splits", lambda parts, query: query.get("ticker"), _splits),
    Endpoint("polygon", "/v3/reference/dividends", lambda parts, query: query.get("ticker"), _dividends),
)
"""The endpoints of the vendor."""
