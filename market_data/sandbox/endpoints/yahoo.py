"""Yahoo: `GET /v8/finance/chart/{SYM}?period1=&period2=&interval=1d|1m&events=div,splits`.

The market's end is what "now" is: prices are adjusted for splits as of then, `adjclose` for dividends too, and the
reach of minutes (8 days a request, the last 30 days) is counted from there.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from market_data.instruments import Instrument
from market_data.records import Basis
from market_data.sandbox.call import Answer, Call
from market_data.sandbox.endpoints.base import Endpoint
from market_data.sandbox.market import significant
from market_data.sandbox.served import ServedMarket, altered, between
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
    whole = served.bars(call.symbol, Basis.SPLIT)
    if whole.empty or last < _opens(whole.iloc[:1])[0]:
        return _refused(400, "Bad Request", f"Data doesn't exist for startDate = {first}, endDate = {last}")
    answer = _minutes if interval == "1m" else _daily
    return answer(served, call, call.symbol, first, last)


def _daily(served: ServedMarket, call: Call, symbol: str, first: int, last: int) -> Answer:
    whole, adjusted = served.bars(symbol, Basis.SPLIT), served.bars(symbol, Basis.SPLIT_DIVIDEND)
    times = _opens(whole)
    inside = (times >= first) & (times < last)
    frame, adjclose = (altered(bars[inside], call.faults, served.market, symbol) for bars in (whole, adjusted))
    meta = _meta(served, symbol, call.ticker or "", "1d")
    meta["chartPreviousClose"] = _close_before(whole, times, first)
    body = yahoo.chart(
        _in_order(meta),
        _opens(frame),
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
    if first < _now(served) - _MINUTES_REACH:
        told += " The requested range must be within the last 30 days."
        return _refused(422, "Unprocessable Entity", told)
    daily = served.bars(symbol, Basis.SPLIT)
    traded = between(served.market.raw_bars(symbol)[["date"]], *map(stamps.eastern_day, (first, last)))
    frames = [served.minutes(symbol, day.date(), Basis.SPLIT) for day in traded["date"]]
    frame = pd.concat(frames, ignore_index=True) if frames else served.minutes(symbol, served.market.end, Basis.SPLIT)
    times = _starts(frame)
    frame = altered(frame[(times >= first) & (times < last)], call.faults, served.market, symbol)
    meta = _meta(served, symbol, call.ticker or "", "1m")
    before = _close_before(daily, _opens(daily), first)
    meta |= {"chartPreviousClose": before, "previousClose": before, "scale": 3}
    meta["tradingPeriods"] = [[_period(served, day)] for day in np.unique(frame["date"].to_numpy())]
    return Answer(yahoo.chart(_in_order(meta), _starts(frame), frame, events={}, adjclose=None))


def _opens(frame: pd.DataFrame) -> npt.NDArray[np.int64]:
    return stamps.epoch_seconds(frame["date"].to_numpy(), stamps.OPEN)


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


def _now(served: ServedMarket) -> int:
    """The second after the market's last close."""
    return int(served.market.closes[-1].timestamp()) + 1


def _meta(served: ServedMarket, symbol: str, ticker: str, interval: str) -> dict[str, Any]:
    instrument = served.market.universe[symbol]
    name, full_name = _EXCHANGES.get(instrument.exchange, _NYSE)
    now, traded = _now(served), served.market.raw_bars(symbol)
    offset, zone = stamps.utc_offset(now)
    return {
        "currency": "USD",
        "symbol": ticker,
        "exchangeName": name,
        "fullExchangeName": full_name,
        "instrumentType": "EQUITY",
        "firstTradeDate": int(_opens(traded.iloc[:1])[0]),
        "regularMarketTime": now,
        "hasPrePostMarketData": True,
        "gmtoffset": offset,
        "timezone": zone,
        "exchangeTimezoneName": "America/New_York",
        **_market_figures(traded.iloc[-252:], instrument),
        "priceHint": 2,
        "currentTradingPeriod": _trading_period(served),
        "dataGranularity": interval,
        "range": "",
        "validRanges": yahoo.VALID_RANGES,
    }


def _market_figures(year: pd.DataFrame, instrument: Instrument) -> dict[str, Any]:
    """The last session's figures and the year's range, from the clean raw series."""
    last = year.iloc[-1]
    return {
        "regularMarketPrice": last["close"],
        "fiftyTwoWeekHigh": float(year["high"].max()),
        "fiftyTwoWeekLow": float(year["low"].min()),
        "regularMarketDayHigh": last["high"],
        "regularMarketDayLow": last["low"],
        "regularMarketVolume": int(last["volume"]),
        "longName": instrument.name or instrument.symbol,
        "shortName": instrument.name or instrument.symbol,
    }


def _trading_period(served: ServedMarket) -> dict[str, Any]:
    day = served.market.sessions[-1:].to_numpy()
    pre, opened = (int(stamps.epoch_seconds(day, clock)[0]) for clock in (stamps.PRE_OPEN, stamps.OPEN))
    regular = _period(served, day[0])
    closed = regular["end"]
    return {
        "pre": regular | {"start": pre, "end": opened},
        "regular": regular,
        "post": regular | {"start": closed, "end": closed + _AFTER_HOURS},
    }


def _period(served: ServedMarket, day: np.datetime64) -> dict[str, Any]:
    """Regular trading of a session."""
    opened = int(stamps.epoch_seconds(np.array([day]), stamps.OPEN)[0])
    place = int(np.searchsorted(served.market.sessions.to_numpy(), day))
    offset, zone = stamps.utc_offset(opened)
    closed = int(served.market.closes[place].timestamp())
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
