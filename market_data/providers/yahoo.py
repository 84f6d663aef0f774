"""Yahoo: the JSON of `GET /v8/finance/chart/{SYM}?period1=&period2=&interval=1d&events=div,splits`.

Wire format, from recorded bodies: `chart.result[0]` holds `meta`, `timestamp` (epoch seconds, for a day's bar those of
the session's opening), `indicators.quote[0]` with an array a field beside it, null where there was no trade, and
`events.dividends` and `events.splits` by epoch. An answer without bars has no `timestamp`. Errors come as
`chart.error` (or `finance.error`) with a code and a description, or as text. No key is needed.

Prices and volumes are adjusted for splits up to the download, not for dividends. Prices are 32-bit floats written with
the digits of 64-bit ones (188.3 as 188.3000030517578); the shortest decimal that is the same 32-bit float is taken, so
that nothing but this noise is removed, at any size of tick.

The last bar may be live: stamped with the latest trade, or a session's or minute's that is not over. It is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd

from market_data.errors import BadPayload, NotEntitled, OutOfWindow, ProviderError, RateLimited, UnknownSymbol
from market_data.instruments import Instrument
from market_data.providers.bodies import Answer, error_of_status, json_object, shown
from market_data.providers.client import VendorClient
from market_data.providers.frames import Column, actions_frame, bars_frame, intraday_frame, number_column
from market_data.providers.minutes import MinuteColumns
from market_data.records import Basis, FetchRequest, ParsedBars, RawPayload
from market_data.schemas import BAR_FIELDS

__all__ = ["YahooClient", "parse", "parse_minutes"]

_NEW_YORK = ZoneInfo("America/New_York")
_MOST_DAYS_OF_MINUTES = 8
_SETTLED = 3600
"""Seconds after its end by which a bar is complete in the feed too: some exchanges' are delayed by 15 to 30 minutes."""
_LAST_EPOCH = 10**10
_SPELLINGS = {"60m": "1h"}
_STATUSES = {status.phrase.lower(): int(status) for status in HTTPStatus}

_MEANINGS: tuple[tuple[str, type[ProviderError]], ...] = (
    ("too many requests", RateLimited),
    ("invalid crumb", NotEntitled),
    ("invalid cookie", NotEntitled),
    ("unauthorized", NotEntitled),
    ("no data found", UnknownSymbol),
    ("may be delisted", UnknownSymbol),
    ("exist for startdate", OutOfWindow),
    ("data not available for starttime", OutOfWindow),
)

_Kind = TypeVar("_Kind")
_Epochs = npt.NDArray[np.int64]
_Mask = npt.NDArray[np.bool_]


class YahooClient(VendorClient):
    """Yahoo's chart endpoint. Corporate actions come with the bars, so that every feed is the same request."""

    asks_since = True

    def fetch(self, instrument: Instrument, request: FetchRequest) -> RawPayload:
        """One answer, whatever its status, for as much of the window as is in reach.

        The payload's request tells what was asked for: daily bars from the first date in reach, up to the day before
        a bar that is not final; 1-minute bars of at most 8 days, the earliest ones. What is sent of days goes on to
        the day of the call, whatever the request's end: prices are adjusted for every split until then, and only so
        are all of these told.

        Raises:
            OutOfWindow: nothing of the window is in reach (no call is made then), or final yet.
            RateLimited, Transient: still failing after every retry.
        """
        asked = self._within_reach(request)
        last = asked.end
        if asked.interval == "1d":
            last = max(last, self._clock().astimezone(_NEW_YORK).date())
        begin, end = _midnight(asked.start), _midnight(last + timedelta(days=1))
        if asked.interval != "1d":
            # In autumn, when clocks go back, 8 days are an hour longer than the 8 times 24 hours that are allowed.
            end = min(end, begin + _MOST_DAYS_OF_MINUTES * 86400)
            if asked.since is not None:
                begin = max(begin, int(asked.since.timestamp()))
        ticker = instrument.ticker("yahoo")
        payload = self._http.fetch(
            self.name,
            asked,
            f"/v8/finance/chart/{quote(ticker, safe='')}",
            {
                "period1": str(begin),
                "period2": str(end),
                "interval": asked.interval,
                "events": "div,splits",
                "includePrePost": "false",
            },
            clock=self._clock,
        )
        is_daily = asked.interval == "1d" and asked.feed == "bars"
        return _as_far_as_final(payload, ticker) if is_daily else payload

    def _within_reach(self, request: FetchRequest) -> FetchRequest:
        now = self._clock()
        reach = self._config.intraday_reach_days
        start, end = request.start, request.end
        if request.interval == "1d":
            start = self._first_daily(request)
        else:
            if reach is not None:
                # The day that begins within the reach; one that began before would be refused as a whole.
                start = max(start, (now - timedelta(days=reach)).astimezone(_NEW_YORK).date() + timedelta(days=1))
            end = min(end, now.astimezone(_NEW_YORK).date(), start + timedelta(days=_MOST_DAYS_OF_MINUTES - 1))
        if start > end:
            raise OutOfWindow(
                f"{request.symbol}: on {now:%Y-%m-%d} {self.name} reaches no {request.interval} bars of "
                f"{request.start}..{request.end}; ask for another window, or another provider"
            )
        return replace(request, start=start, end=end)


def parse(body: bytes, answer: Answer) -> ParsedBars:
    """Bars and corporate actions of a chart body; an interval other than "1d" gives `RawIntradayBars`.

    Fields that were not asked for are null. Live bars are left out.

    Raises:
        UnknownSymbol: Yahoo knows no such symbol, or has no bars at all.
        OutOfWindow, RateLimited, NotEntitled, Transient: as the body or the status says.
        BadPayload: not this layout, or bars of another symbol or interval than asked for.
    """
    chart = _chart(body, answer)
    final = ~chart.live
    columns = {name: column[final] for name, column in chart.columns.items()}
    if answer.interval == "1d":
        bars = bars_frame(chart.market.dates(chart.epochs[final]), columns, answer.symbol)
    else:
        bars = intraday_frame(chart.epochs[final].astype("datetime64[s]"), columns, answer.symbol)
    return ParsedBars(bars, _actions(chart, answer.symbol), Basis.SPLIT, answer.fetched_at)


def parse_minutes(body: bytes, answer: Answer) -> MinuteColumns:
    """Bars of an intraday body as columns, live ones left out; errors as `parse`."""
    chart = _chart(body, answer)
    final = ~chart.live
    columns = {name: column[final] for name, column in chart.columns.items()}
    return MinuteColumns(chart.epochs[final].astype("datetime64[s]"), columns, Basis.SPLIT, answer.fetched_at)


@dataclass(frozen=True, slots=True)
class _Market:
    """What `meta` tells of the exchange, epochs in seconds; None where it does not.

    Attributes:
        quoted_at: the latest trade.
        session: opening and close of the current regular session, or of the next one.
        periods: the same for each session that an intraday body covers.
    """

    zone: ZoneInfo
    quoted_at: int | None
    session: tuple[int, int] | None
    periods: tuple[tuple[int, int], ...]

    def wall_times(self, epochs: _Epochs) -> npt.NDArray[np.datetime64]:
        """The zone's wall times, `datetime64[s]`."""
        instants = pd.DatetimeIndex(epochs.astype("datetime64[s]")).tz_localize("UTC")
        return instants.tz_convert(self.zone).tz_localize(None).to_numpy()

    def dates(self, epochs: _Epochs) -> npt.NDArray[np.datetime64]:
        """The zone's dates, `datetime64[D]`."""
        return self.wall_times(epochs).astype("datetime64[D]")


@dataclass(frozen=True, slots=True)
class _Chart:
    """A body taken apart: parallel arrays in the vendor's order, `live` telling which bars are not final."""

    market: _Market
    epochs: _Epochs
    columns: Mapping[str, Column]
    live: _Mask
    events: Mapping[str, Any]


def _chart(body: bytes, answer: Answer) -> _Chart:
    symbol = answer.symbol
    result = _result(body, answer)
    meta = _member(result, "meta", dict, symbol)
    _require_what_was_asked(meta, answer)
    market = _market(meta, symbol)
    epochs = _epochs(_optional(result, "timestamp", list, symbol) or [], "timestamp", symbol)
    columns = _columns(_member(result, "indicators", dict, symbol), len(epochs), symbol)
    if not len(epochs):
        raise UnknownSymbol(f"{symbol}: yahoo has no bars for it in the window")
    live = _live(epochs, market, answer)
    return _Chart(market, epochs, columns, live, _optional(result, "events", dict, symbol) or {})


def _result(body: bytes, answer: Answer) -> dict[str, Any]:
    symbol = answer.symbol
    if body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        # A page's 404 says that the address is wrong, nothing about the symbol.
        status = 400 if answer.status == 404 else answer.status
        raise error_of_status(status, f"{symbol}: a web page (status {answer.status}) came where JSON was due")
    try:
        document = json_object(body, symbol)
    except BadPayload as error:
        raise _refusal(answer.status, str(error)) from None
    envelope = document.get("chart", document.get("finance"))
    refused = envelope.get("error") if isinstance(envelope, dict) else None
    if isinstance(refused, dict):
        code, text = (str(refused.get(name))[:200] for name in ("code", "description"))
        status = _STATUSES.get(code.lower(), 200) if answer.status == 200 else answer.status
        raise _refusal(status, f"{symbol}: yahoo answers {code}: {text}")
    if refused is not None or answer.status != 200:
        raise _refusal(answer.status, f"{symbol}: yahoo answers with status {answer.status}: {shown(body)}")
    results = _member(_member(document, "chart", dict, symbol), "result", list, symbol)
    if len(results) != 1 or not isinstance(results[0], dict):
        raise BadPayload(f"{symbol}: chart.result holds {len(results)} items where one object was due")
    return results[0]


def _refusal(status: int, message: str) -> ProviderError:
    """The error an answer means: what it says, unless its status calls for another try."""
    error = error_of_status(status, message)
    if not error.retryable:
        for words, kind in _MEANINGS:
            if words in message.lower():
                return kind(message)
    return error


def _require_what_was_asked(meta: dict[str, Any], answer: Answer) -> None:
    symbol, granularity = (_member(meta, name, str, answer.symbol) for name in ("symbol", "dataGranularity"))
    if answer.ticker and symbol.upper() != answer.ticker.upper():
        raise BadPayload(f"{answer.symbol}: the bars are of {symbol[:40]!r} where {answer.ticker} was asked for")
    if _SPELLINGS.get(granularity, granularity) != _SPELLINGS.get(answer.interval, answer.interval):
        raise BadPayload(
            f"{answer.symbol}: the bars are of {granularity[:40]!r} each where {answer.interval} was asked for"
        )


def _market(meta: dict[str, Any], symbol: str) -> _Market:
    name = _member(meta, "exchangeTimezoneName", str, symbol)
    try:
        zone = ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise BadPayload(f"{symbol}: exchangeTimezoneName is {name[:60]!r}, which is no known zone") from None
    quoted_at = meta.get("regularMarketTime")
    current = _optional(meta, "currentTradingPeriod", dict, symbol) or {}
    session = _optional(current, "regular", dict, symbol)
    return _Market(
        zone=zone,
        quoted_at=None if quoted_at is None else int(_epochs([quoted_at], "regularMarketTime", symbol)[0]),
        session=_period(session, symbol) if session else None,
        periods=_periods(meta.get("tradingPeriods"), symbol),
    )


def _periods(sent: object, symbol: str) -> tuple[tuple[int, int], ...]:
    """Regular sessions of an intraday body: a list for each day. With hours before and after they are an object."""
    if not isinstance(sent, list):
        return ()
    return tuple(_period(item, symbol) for day in sent for item in (day if isinstance(day, list) else [day]))


def _period(sent: object, symbol: str) -> tuple[int, int]:
    if not isinstance(sent, dict):
        raise BadPayload(f"{symbol}: a trading period is {sent!r:.60}, not an object")
    start, end = _epochs([sent.get("start"), sent.get("end")], "trading period", symbol).tolist()
    return start, end


def _columns(indicators: dict[str, Any], count: int, symbol: str) -> dict[str, Column]:
    quotes = _only(indicators, "quote", symbol)
    adjusted = _only(indicators, "adjclose", symbol) if "adjclose" in indicators else {}
    arrays = {name: _member(quotes, name, list, symbol) for name in BAR_FIELDS if name in quotes}
    if count and "close" not in arrays:
        raise BadPayload(f"{symbol}: indicators.quote has no close beside {count} timestamps")
    for name, values in {**arrays, **{name: _member(adjusted, name, list, symbol) for name in adjusted}}.items():
        if len(values) != count:
            raise BadPayload(f"{symbol}: {name} holds {len(values)} values beside {count} timestamps")
    numbers = {name: number_column(values, name, symbol) for name, values in arrays.items()}
    return {name: column if name == "volume" else _without_noise(column) for name, column in numbers.items()}


def _without_noise(prices: Column) -> Column:
    """The shortest decimals that are the same 32-bit floats; what is no such float, or is whole, stays as sent."""
    with np.errstate(over="ignore"):
        narrow = prices.astype(np.float32)
    noisy = (narrow == prices) & (prices != np.trunc(prices))
    cleaned = prices.copy()
    cleaned[noisy] = narrow[noisy].astype(str).astype(np.float64)
    return cleaned


def _live(epochs: _Epochs, market: _Market, answer: Answer) -> _Mask:
    fetched_at = None if answer.fetched_at is None else answer.fetched_at.timestamp()
    if answer.interval == "1d":
        return _live_days(epochs, market, fetched_at)
    return _live_intervals(epochs, market, _seconds(answer.interval), fetched_at)


def _live_days(epochs: _Epochs, market: _Market, fetched_at: float | None) -> _Mask:
    walls = market.wall_times(epochs)
    dates = walls.astype("datetime64[D]")
    last = dates == dates.max()
    live: _Mask = last & (epochs > epochs[last].min())
    if market.quoted_at is not None:
        live |= (epochs == market.quoted_at) & ~_at_the_opening(walls, market)
    if market.session is not None:
        opening, close = market.session
        if not _is_over(close, market, fetched_at):
            live |= dates >= market.dates(np.array([opening]))[0]
    elif fetched_at is not None:
        live |= dates >= market.dates(np.array([int(fetched_at)]))[0]
    return live


def _at_the_opening(walls: npt.NDArray[np.datetime64], market: _Market) -> _Mask:
    """Whether the times of day are that of the regular opening, which no trade's need be."""
    if market.session is None:
        return np.zeros(len(walls), dtype=np.bool_)
    opening = market.wall_times(np.array([market.session[0]]))
    mask: _Mask = walls - walls.astype("datetime64[D]") == opening - opening.astype("datetime64[D]")
    return mask


def _live_intervals(epochs: _Epochs, market: _Market, seconds: int | None, fetched_at: float | None) -> _Mask:
    """An interval longer than a day is live only where stamped with the latest trade."""
    live: _Mask = np.zeros(len(epochs), dtype=np.bool_)
    if market.quoted_at is not None:
        live |= epochs == market.quoted_at
    if seconds is not None:
        last = int(epochs.max())
        is_outside = bool(market.periods) and not any(start <= last < end for start, end in market.periods)
        if is_outside or not _is_over(last + seconds, market, fetched_at):
            live |= epochs == last
    return live


def _is_over(end: int, market: _Market, fetched_at: float | None) -> bool:
    """Whether what ended at `end` is complete in the feed; without a download's instant the latest trade decides."""
    if fetched_at is not None and fetched_at < end + _SETTLED:
        return fetched_at >= end and (market.quoted_at is None or market.quoted_at >= end)
    return fetched_at is not None or market.quoted_at is None or market.quoted_at >= end


def _actions(chart: _Chart, symbol: str) -> pd.DataFrame:
    """Events by ex-date in the exchange's zone; their own `date` counts, not the key, which may be a month's."""
    dividends = _events(chart.events, "dividends", ("date", "amount"), symbol)
    splits = _events(chart.events, "splits", ("date", "numerator", "denominator"), symbol)
    values = [("dividend", amount) for _, amount in dividends]
    for _, new, old in splits:
        if new <= 0 or old <= 0:
            raise BadPayload(f"{symbol}: a split of {new:g} for {old:g} cannot be")
        values.append(("split", new / old))
    epochs = _epochs([row[0] for row in (*dividends, *splits)], "the date of an event", symbol)
    dates = chart.market.dates(epochs)
    return actions_frame([(day, *value) for day, value in zip(dates, values, strict=True)], symbol)


def _events(events: Mapping[str, Any], kind: str, names: Sequence[str], symbol: str) -> list[list[float]]:
    rows = []
    for event in (_optional(events, kind, dict, symbol) or {}).values():
        if not isinstance(event, dict):
            raise BadPayload(f"{symbol}: an event of {kind} is {event!r:.60}, not an object")
        row = number_column([event.get(name) for name in names], f"an event of {kind}", symbol)
        if np.isnan(row).any():
            missing = names[int(np.flatnonzero(np.isnan(row))[0])]
            raise BadPayload(f"{symbol}: an event of {kind} has no {missing}")
        rows.append(row.tolist())
    return rows


def _epochs(values: Sequence[object], name: str, symbol: str) -> _Epochs:
    numbers = number_column(values, name, symbol)
    wrong = ~(np.abs(numbers) < _LAST_EPOCH) | (numbers != np.trunc(numbers))
    if wrong.any():
        raise BadPayload(f"{symbol}: {name} holds {numbers[wrong][0]:g}, which is no epoch in whole seconds")
    return numbers.astype(np.int64)


def _seconds(interval: str) -> int | None:
    found = re.fullmatch(r"([0-9]{1,3})([mh])", interval)
    return int(found[1]) * {"m": 60, "h": 3600}[found[2]] if found else None


def _member(parent: Mapping[str, Any], name: str, kind: type[_Kind], symbol: str) -> _Kind:
    value = parent.get(name)
    if not isinstance(value, kind):
        raise BadPayload(f"{symbol}: {name} is {value!r:.60} where a JSON {_NAMES[kind]} was due")
    return value


_NAMES: dict[type, str] = {dict: "object", list: "array", str: "string"}


def _optional(parent: Mapping[str, Any], name: str, kind: type[_Kind], symbol: str) -> _Kind | None:
    return None if parent.get(name) is None else _member(parent, name, kind, symbol)


def _only(indicators: dict[str, Any], name: str, symbol: str) -> dict[str, Any]:
    items = _member(indicators, name, list, symbol)
    if len(items) != 1 or not isinstance(items[0], dict):
        raise BadPayload(f"{symbol}: indicators.{name} holds {len(items)} items where one object was due")
    return items[0]


def _midnight(day: date) -> int:
    return int(datetime.combine(day, time(0), _NEW_YORK).timestamp())


def _as_far_as_final(payload: RawPayload, ticker: str) -> RawPayload:
    """The payload, answering for the days before its first live bar only: that one is to be asked for again."""
    request = payload.request
    answer = Answer(request.symbol, ticker, status=payload.status, fetched_at=payload.fetched_at)
    try:
        chart = _chart(payload.body, answer)
    except ProviderError:
        return payload
    dates = chart.market.dates(chart.epochs)
    missing = np.setdiff1d(dates[chart.live], dates[~chart.live])
    if not len(missing):
        return payload
    end = missing[0].item() - timedelta(days=1)
    if end < request.start:
        error = OutOfWindow(f"{request.symbol}: yahoo's bar of {request.start} is not final yet; ask again later")
        error.attempts, error.payload = payload.attempts, payload
        raise error
    return replace(payload, request=replace(request, end=min(request.end, end)))
