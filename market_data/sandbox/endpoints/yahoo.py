"""Yahoo: `GET /v8/finance/chart/{SYM}?period1=&period2=&interval=1d|1m&events=div,splits`.

Prices are adjusted for splits as of now, `adjclose` for dividends too, and the reach of minutes (8 days a request, the
last 30 days) is counted from now. The bar of a session that is open, and that of the minute under way, come last and
are stamped with the latest trade.
"""

from __future__ import annotations

import math
import re
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from market_data.instruments import Instrument
from market_data.records import Basis
from market_data.sandbox.adjusting import significant
from market_data.sandbox.altering import altered
from market_data.sandbox.call import Answer, Call
from market_data.sandbox.endpoints.base import Endpoint
from market_data.sandbox.served import Figures, ServedMarket
from market_data.sandbox.wire import stamps, yahoo

__all__ = ["ENDPOINTS"]

_DAY = 24 * 3600
_AFTER_HOURS = 4 * 3600
_MINUTES_A_REQUEST, _MINUTES_REACH = 8 * _DAY, 30 * _DAY
_LATEST = 4102444800  # the year 2100; later means "no end"
_PERIOD = re.compile(r"-?\d{1,12}", re.ASCII)
_EXCHANGES = {"XNAS": ("NMS", "NasdaqGS"), "BATS": ("BTS", "Cboe US")}
_NYSE = ("NYQ", "NYSE")


def _chart(served: ServedMarket, call: Call) -> Answer:
    if call.symbol is None:
        return Answer(yahoo.NOT_FOUND, 404, is_error=True)
    texts = [call.query.get(name, "") for name in ("period1", "period2")]
    interval = call.query.get("interval", "1d")
    if not all(map(_PERIOD.fullmatch, texts)) or interval not in ("1d", "1m"):
        return _refused(400, "Bad Request", f"Invalid input - period1, period2 and interval {interval} are due")
    first, last = (max(min(int(text), _LATEST), -_LATEST) for text in texts)
    if first > last:
        told = f"start date cannot be after end date. startDate = {first}, endDate = {last}"
        return _refused(400, "Bad Request", f"Invalid input - {told}")
    listed = served.traded(call.symbol, call.now)
    if not listed or last < served.market.opened(listed[0]):
        return _refused(400, "Bad Request", f"Data doesn't exist for startDate = {first}, endDate = {last}")
    answer = _minutes if interval == "1m" else _daily
    return answer(served, call, call.symbol, first, last)


def _daily(served: ServedMarket, call: Call, symbol: str, first: int, last: int) -> Answer:
    whole, adjusted = (
        served.with_running(served.bars(symbol, basis), symbol, call.now)
        for basis in (Basis.SPLIT, Basis.SPLIT_DIVIDEND)
    )
    times = _opens(whole)
    inside = (times >= first) & (times < last)
    frame, adjclose = (altered(bars[inside], call.faults, served, symbol) for bars in (whole, adjusted))
    meta = _meta(served, call, symbol, "1d")
    meta["chartPreviousClose"] = _close_before(whole, times, first)
    body = yahoo.chart(
        _in_order(meta),
        _stamped(served, call, frame),
        frame,
        events=_events(served, call, symbol, first, last),
        adjclose=adjclose["close"].to_numpy(),
    )
    return Answer(body)


def _minutes(served: ServedMarket, call: Call, symbol: str, first: int, last: int) -> Answer:
    told = f"1m data not available for startTime={first} and endTime={last}."
    if last - first > _MINUTES_A_REQUEST:
        told += " Only 8 days worth of 1m granularity data are allowed to be fetched per request."
        return _refused(422, "Unprocessable Entity", told)
    if first < served.quoted_at(call.now) - _MINUTES_REACH:
        told += " The requested range must be within the last 30 days."
        return _refused(422, "Unprocessable Entity", told)
    begin, end = (stamps.eastern_date(second) for second in (first, last))
    sessions = [session for session in served.traded(symbol, call.now) if begin <= session <= end]
    # A day without trade gives an empty frame.
    frames = [served.minutes(symbol, session, Basis.SPLIT, call.now) for session in sessions or [date.min]]
    frame = pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]
    times = _starts(frame)
    frame = altered(frame[(times >= first) & (times < last)], call.faults, served, symbol)
    meta = _meta(served, call, symbol, "1m")
    daily = served.bars(symbol, Basis.SPLIT)
    if daily.empty:  # on its first day
        daily = served.with_running(daily, symbol, call.now)
    before = _close_before(daily, _opens(daily), first)
    meta |= {"chartPreviousClose": before, "previousClose": before, "scale": 3}
    meta["tradingPeriods"] = [[_period(served, day.date())] for day in frame["date"].unique().tolist()]
    return Answer(yahoo.chart(_in_order(meta), _stamped_minutes(frame, call), frame, events={}, adjclose=None))


def _opens(frame: pd.DataFrame) -> npt.NDArray[np.int64]:
    return stamps.epoch_seconds(frame["date"].to_numpy(), stamps.OPEN)


def _stamped(served: ServedMarket, call: Call, frame: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Stamps of daily bars, that of an open session the latest trade's."""
    times, session = _opens(frame), served.open_session(call.now)
    if session is not None:
        times[frame["date"].to_numpy() == np.datetime64(session, "s")] = call.now
    return times


def _stamped_minutes(frame: pd.DataFrame, call: Call) -> npt.NDArray[np.int64]:
    """Stamps of minutes, that of one under way the latest trade's."""
    times = _starts(frame)
    return np.where(times + 60 > call.now, call.now, times)


def _starts(frame: pd.DataFrame) -> npt.NDArray[np.int64]:
    return stamps.epoch_milliseconds(frame["datetime"]) // 1000


def _close_before(bars: pd.DataFrame, times: npt.NDArray[np.int64], first: int) -> float | None:
    """The close of the session before `first`; the first open where there is none."""
    place = int(np.searchsorted(times, first))
    value = float(bars["close"].iloc[place - 1]) if place else float(bars["open"].iloc[0])
    return None if math.isnan(value) else round(value, 3)


def _events(served: ServedMarket, call: Call, symbol: str, first: int, last: int) -> dict[str, Any]:
    """Dividends, adjusted for later splits as the prices are, and splits, by the open of the ex-date."""
    actions = served.actions(symbol)
    times = stamps.epoch_seconds(np.array([action.day for action in actions], dtype="datetime64[s]"), stamps.OPEN)
    asked = call.query.get("events", "")
    splits: dict[str, Any] = {}
    dividends: dict[str, Any] = {}
    later = 1.0
    for time, action in reversed(list(zip(times.tolist(), actions, strict=True))):
        inside = first <= time < last
        if action.kind == "split":
            later *= action.value
            if inside and "split" in asked:
                splits[str(time)] = _split(time, action.value)
        elif inside and "div" in asked:
            amount = float(significant(np.array([action.value / later]))[0])
            dividends[str(time)] = {"amount": amount, "date": time}
    found = {"dividends": dividends, "splits": splits}
    return {name: dict(reversed(events.items())) for name, events in found.items() if events}


def _split(time: int, ratio: float) -> dict[str, Any]:
    numerator, denominator = (ratio, 1.0) if ratio >= 1 else (1.0, round(1 / ratio, 6))
    told = f"{numerator:g}:{denominator:g}"
    return {"date": time, "numerator": numerator, "denominator": denominator, "splitRatio": told}


def _meta(served: ServedMarket, call: Call, symbol: str, interval: str) -> dict[str, Any]:
    instrument = served.market.universe[symbol]
    name, full_name = _EXCHANGES.get(instrument.exchange, _NYSE)
    now = served.quoted_at(call.now)
    offset, zone = stamps.utc_offset(now)
    return {
        "currency": "USD",
        "symbol": call.ticker or "",
        "exchangeName": name,
        "fullExchangeName": full_name,
        "instrumentType": "EQUITY",
        "firstTradeDate": served.market.opened(served.traded(symbol, call.now)[0]),
        "regularMarketTime": now,
        "hasPrePostMarketData": True,
        "gmtoffset": offset,
        "timezone": zone,
        "exchangeTimezoneName": "America/New_York",
        **_market_figures(served.figures(symbol, call.now), instrument),
        "priceHint": 2,
        "currentTradingPeriod": _trading_period(served),
        "dataGranularity": interval,
        "range": "",
        "validRanges": yahoo.VALID_RANGES,
    }


def _market_figures(figures: Figures, instrument: Instrument) -> dict[str, Any]:
    last = figures.last
    return {
        "regularMarketPrice": last.close,
        "fiftyTwoWeekHigh": figures.high,
        "fiftyTwoWeekLow": figures.low,
        "regularMarketDayHigh": last.high,
        "regularMarketDayLow": last.low,
        "regularMarketVolume": int(last.volume),
        "longName": instrument.name or instrument.symbol,
        "shortName": instrument.name or instrument.symbol,
    }


def _trading_period(served: ServedMarket) -> dict[str, Any]:
    """Of today's session; where there is none, of the next one."""
    days = served.market.sessions.to_numpy()
    place = min(int(days.searchsorted(np.datetime64(served.extent.today, "s"))), len(days) - 1)
    regular = _period(served, served.market.sessions[place].date())
    opened, closed = regular["start"], regular["end"]
    return {
        "pre": regular | {"start": opened - stamps.OPEN + stamps.PRE_OPEN, "end": opened},
        "regular": regular,
        "post": regular | {"start": closed, "end": closed + _AFTER_HOURS},
    }


def _period(served: ServedMarket, session: date) -> dict[str, Any]:
    """Regular trading of a session."""
    opened, closed = served.market.opened(session), served.market.closed(session)
    offset, zone = stamps.utc_offset(opened)
    return {"timezone": zone, "start": opened, "end": closed, "gmtoffset": offset}


_META_TAIL = ("priceHint", "currentTradingPeriod", "tradingPeriods", "dataGranularity", "range", "validRanges")


def _in_order(meta: dict[str, Any]) -> dict[str, Any]:
    """The keys in the order recorded."""
    head = {name: value for name, value in meta.items() if name not in _META_TAIL}
    return head | {name: meta[name] for name in _META_TAIL if name in meta}


def _refused(status: int, code: str, description: str) -> Answer:
    return Answer(yahoo.chart_error(code, description), status, is_error=True)


ENDPOINTS = (Endpoint("yahoo", "/v8/finance/chart/{ticker}", lambda parts, query: parts["ticker"], _chart),)
"""The endpoint of the vendor."""
