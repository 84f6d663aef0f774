"""Polygon (now Massive): aggregates, grouped and previous daily bars, open-close, splits and dividends.

Wire format, from recorded bodies and the vendor's OpenAPI description. An aggregate row is `{"t","o","h","l","c","v",
"vw","n"}` with `t` in epoch milliseconds; `vw` and `n` may be missing, `v` fractional or written with an exponent.

* `/v2/aggs/ticker/{T}/range/...` names its `ticker` and starts each bar at its `t`. A daily bar starts at midnight in
  New York, so its date is that of `t` there, in summer and in winter. Currency and crypto tickers (`C:EURUSD`,
  `X:BTCUSD`) have days of UTC: the recorded daily bars of C:EURUSD begin at 00:00 UTC, Sundays included.
* `/v2/aggs/grouped/...` has rows of all tickers, each naming its own as `T`; `/prev` names it twice. Both stamp a day
  at 16:00 in New York.
* `/v1/open-close/...` is one day, dated by `from` as written: an old recorded one has a time behind the date that is
  no instant of the session.
* `/v2` and `/v3/reference/splits` and `/dividends`. A `ratio` of version 2 is old shares for a new one: the recorded
  7-for-1 split of AAPL has 0.142857. Version 3 lists stock dividends as splits of 1 for 1, which the vendor says to
  ignore (polygon-io/issues#189), and rows are repeated at times (#162).
* With `Accept: text/csv` an aggregates answer is a table with the same names as header.

Tickers are upper-case but for marks of their kind: `CpS` is a preferred share of Citigroup, `CPS` is Cooper-Standard,
and a grouped answer has both. So the case of letters counts where a ticker mixes it, and not where all are small.
"""

from __future__ import annotations

import csv
import logging
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

import numpy as np
import numpy.typing as npt
import pandas as pd

from market_data.errors import (
    BadPayload,
    NotEntitled,
    OutOfWindow,
    ProviderError,
    RateLimited,
    Transient,
    UnknownSymbol,
)
from market_data.instruments import Instrument
from market_data.providers.bodies import Answer, error_of_status, json_object, shown
from market_data.providers.client import VendorClient
from market_data.providers.frames import Column, actions_frame, bars_frame, intraday_frame, number_column
from market_data.providers.http import redact
from market_data.providers.minutes import MinuteColumns
from market_data.records import EVERY, Basis, FetchRequest, ParsedBars, RawPayload
from market_data.schemas import BAR_FIELDS, empty_actions, empty_bars
from market_data.sessions import last_completed_session

__all__ = ["INTRADAY_DAYS", "MINUTES", "PolygonClient", "actions_by_ticker", "parse", "parse_minutes"]

MINUTES: Mapping[str, int] = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "1d": 1440}
"""Intervals that are served, by the minutes they span."""

INTRADAY_DAYS = 50
"""Calendar days asked for at once: at most 36 sessions of 960 minutes, which fit into one page of 50,000 bars."""

_SPANS = {"minute": 1, "hour": 60, "day": 1440}
_FEEDS = {
    "splits": ("/v3/reference/splits", "execution_date"),
    "dividends": ("/v3/reference/dividends", "ex_dividend_date"),
}
_FIELDS = {"open": "o", "high": "h", "low": "l", "close": "c", "volume": "v", "vwap": "vw", "trade_count": "n"}
_PRICES = BAR_FIELDS[:4]
_ACTION_KEYS = frozenset({"execution_date", "ex_dividend_date", "exDate"})
_AGGREGATE_KEYS = frozenset({"ticker", "queryCount", "resultsCount", "adjusted"})
_HOSTS = frozenset({"api.polygon.io", "api.massive.com"})
_TICKER = re.compile(r"([A-Z]:)?[A-Za-z0-9]+([.-][A-Za-z0-9]+)*")
_WRITTEN_DATE = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(T[0-9:.]+Z?)?")
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_HOUR = 3_600_000
_FIRST_MS, _LAST_MS = -5_364_662_400_000, 7_289_654_399_999  # 1800-01-01 to 2200-12-31, UTC

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Bars:
    """Aggregate rows as columns; `places` has the rows of each ticker where rows name theirs."""

    ticker: str | None
    adjusted: bool | None
    next_url: str | None
    stamps: npt.NDArray[np.int64]
    columns: Mapping[str, Column]
    places: Mapping[str, list[int]] | None


@dataclass(frozen=True, slots=True)
class _Day:
    """An open-close answer."""

    ticker: str | None
    adjusted: bool | None
    day: np.datetime64
    columns: Mapping[str, Column]
    next_url: None = None


@dataclass(frozen=True, slots=True)
class _Action:
    """A split or a dividend; `mark` is the vendor's dividend type."""

    ticker: str | None
    day: np.datetime64
    kind: str
    value: float
    currency: str = "USD"
    mark: str = ""


@dataclass(frozen=True, slots=True)
class _Actions:
    """Rows of a splits or dividends answer, in the vendor's order."""

    rows: tuple[_Action, ...]
    next_url: str | None


class PolygonClient(VendorClient):
    """Polygon over HTTP, or a server that speaks its wire format.

    The further page of an answer is not followed: the payload's request then ends at the last date that is surely
    whole, so what is left is asked for by a request of its own, with its own place in the ledger and the quota.
    """

    asks_since = True

    def fetch(self, instrument: Instrument, request: FetchRequest) -> RawPayload:
        """One answer, whatever its status; its request is narrowed to the dates that are answered.

        Daily bars, bars of any interval in `MINUTES`, the daily bars of `EVERY` symbol on one date, and the feeds
        "splits" and "dividends", of a symbol or of `EVERY`.

        Raises:
            OutOfWindow: the plan reaches none of it; no call was made.
            UnknownSymbol: the ticker cannot stand in an address; no call was made.
            BadPayload: a page that has a further one and holds a single date, or is not ascending.
            Transient, RateLimited: still failing after every attempt.
            ValueError: a feed, an interval or a window that is not served in one call; one of bars across a rename.
        """
        asked = self._within_reach(request)
        path, query = _address(asked, self._ticker(instrument, asked))
        # The key never stands in a URL.
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        return _narrowed(self._http.fetch(self.name, asked, path, query, headers, clock=self._clock))

    def _ticker(self, instrument: Instrument, asked: FetchRequest) -> str:
        """The ticker to ask with: bars are under that of their dates, splits and dividends under that of now."""
        if asked.symbol == EVERY:
            return EVERY
        if not self._config.point_in_time_tickers or asked.feed != "bars":
            return _path_ticker(instrument, instrument.ticker("polygon"))
        names = instrument.names_between(asked.start, asked.end)
        if len(names) > 1:
            told = ", then ".join(f"{name} to {last}" for name, _, last in names)
            raise ValueError(
                f"{instrument.symbol}: {asked.start} to {asked.end} spans a rename ({told}), and polygon has another "
                "security's bars under a name out of its time; ask for the span of one name (Instrument.span_of_name)"
            )
        return _path_ticker(instrument, instrument.ticker("polygon", asked.start, point_in_time=True))

    def _within_reach(self, request: FetchRequest) -> FetchRequest:
        """The part of the request that the plan serves: the vendor cuts what is beyond it without a word."""
        _require_served(request)
        if request.feed != "bars":
            return request
        last = last_completed_session(self._clock())
        first = self._config.first_reachable(last)
        if request.interval != "1d":
            days = self._config.intraday_reach_days
            if days == 0:
                raise OutOfWindow(f"{request.symbol}: {self.name} serves no intraday bars in tier {self._config.tier}")
            first = None if days is None else last - timedelta(days=days)
        start = request.start if first is None else max(request.start, first)
        if start > request.end:
            raise OutOfWindow(
                f"{request.symbol}: {self.name} in tier {self._config.tier} reaches back to {first}, "
                f"and {request.start} to {request.end} lies before that"
            )
        if request.interval == "1d":
            return replace(request, start=start)
        return replace(request, start=start, end=min(request.end, start + timedelta(days=INTRADAY_DAYS - 1)))


def _require_served(request: FetchRequest) -> None:
    if request.feed in _FEEDS:
        return
    if request.feed != "bars":
        raise ValueError(f"feed {request.feed!r} is not served by polygon; it serves bars, {', '.join(_FEEDS)}")
    if request.interval not in MINUTES:
        raise ValueError(f"interval {request.interval!r} is not served by polygon; it serves {', '.join(MINUTES)}")
    if request.symbol == EVERY and (request.start != request.end or request.interval != "1d"):
        raise ValueError(
            f"the bars of every symbol are served for one date at a time, interval 1d, "
            f"not {request.start} to {request.end}, interval {request.interval}"
        )


def _address(request: FetchRequest, ticker: str) -> tuple[str, dict[str, str]]:
    every = request.symbol == EVERY
    if request.feed in _FEEDS:
        path, day = _FEEDS[request.feed]
        query = {} if every else {"ticker": ticker}
        window = {f"{day}.gte": request.start.isoformat(), f"{day}.lte": request.end.isoformat()}
        return path, query | window | {"limit": "1000", "sort": day, "order": "asc"}
    if every:
        return f"/v2/aggs/grouped/locale/us/market/stocks/{request.start}", {"adjusted": "false"}
    minutes = MINUTES[request.interval]
    span = next(name for name in reversed(_SPANS) if minutes % _SPANS[name] == 0)
    path = f"/v2/aggs/ticker/{ticker}/range/{minutes // _SPANS[span]}/{span}"
    # A bound is a date or an instant in milliseconds.
    begin = request.start if request.since is None or span == "day" else round(request.since.timestamp() * 1000)
    return f"{path}/{begin}/{request.end}", {"adjusted": "false", "sort": "asc", "limit": "50000"}


def _path_ticker(instrument: Instrument, ticker: str) -> str:
    if not _TICKER.fullmatch(ticker):
        raise UnknownSymbol(
            f"{instrument.symbol}: {ticker!r:.60} is no ticker of Polygon's; mend it in the universe's tickers"
        )
    return ticker


def _narrowed(payload: RawPayload) -> RawPayload:
    """The payload, its request ending before the last date of a page that has a further one."""
    if payload.status != 200 or b'"next_url"' not in payload.body:
        return payload
    symbol = payload.request.symbol
    try:
        contents = _read(payload.body, symbol)
    except ProviderError:
        return payload  # the parser says what it is
    if contents.next_url is None or isinstance(contents, _Day):
        return payload
    if isinstance(contents, _Actions):
        days = np.array([row.day for row in contents.rows], dtype="datetime64[D]")
    else:
        days = _local(contents.stamps, contents.ticker or symbol).astype("datetime64[D]")
    try:
        end: date = _last_whole(days, symbol).astype(object)
    except BadPayload as error:
        error.attempts, error.payload = payload.attempts, payload
        raise
    return replace(payload, request=replace(payload.request, end=min(payload.request.end, end)))


def _last_whole(days: npt.NDArray[np.datetime64], symbol: str) -> np.datetime64:
    """The last date that a further page cannot add to."""
    if (days[1:] < days[:-1]).any():
        raise BadPayload(f"{symbol}: a page that has a further one is not ascending, so what is left is not known")
    if days[0] == days[-1]:
        raise BadPayload(
            f"{symbol}: a whole page of {len(days)} rows holds {days[0]} alone and has a further one, so no date is "
            "surely whole; ask for less at once"
        )
    last: np.datetime64 = days[-1] - np.timedelta64(1, "D")
    return last


def parse(body: bytes, answer: Answer) -> ParsedBars:
    """Bars or corporate actions of any body of Polygon's; what it is, its shape tells.

    Rows of splits and dividends become `actions`, with empty `bars`: only those of `answer.ticker` where the body
    has several tickers, and no dividend in another currency than US dollars, of which the log tells. A daily bar of a
    session still open at `answer.fetched_at` is left out.

    Returns:
        Prices as traded where the body or the URL says `adjusted` is false; else adjusted for splits as of
        `answer.fetched_at`, which is the vendor's default.

    Raises:
        UnknownSymbol: no such ticker, not among a grouped answer's, or an answer without bars.
        OutOfWindow: the plan does not include the window.
        NotEntitled, RateLimited, Transient: as the status or the message says.
        BadPayload: anything else, rows of another ticker or interval, and a body that was cut.
        ValueError: an interval that is not in `MINUTES`.
    """
    if answer.interval not in MINUTES:
        raise ValueError(f"interval {answer.interval!r} is not served by polygon; it serves {', '.join(MINUTES)}")
    contents = _contents(body, answer)
    if isinstance(contents, _Actions):
        return _parsed_actions(contents, answer)
    _require_ticker(contents.ticker, answer)
    if isinstance(contents, _Day):
        return _parsed_day(contents, answer)
    if not len(contents.stamps):
        if _is_reference(answer.url):
            return _without_bars(empty_actions(), answer)
        raise UnknownSymbol(f"{answer.symbol}: polygon has no bars for {answer.ticker} in the window")
    return _parsed_bars(contents, answer)


def parse_minutes(body: bytes, answer: Answer) -> MinuteColumns:
    """Bars of an intraday body as columns, `answer.interval` being shorter than a day; errors as `parse`."""
    contents = _contents(body, answer)
    _require_ticker(contents.ticker if isinstance(contents, _Bars) else None, answer)
    if not isinstance(contents, _Bars):
        raise BadPayload(f"{answer.symbol}: no aggregates, where bars of {answer.interval} were due: {shown(body)}")
    if not len(contents.stamps):
        raise UnknownSymbol(f"{answer.symbol}: polygon has no bars for {answer.ticker} in the window")
    stamps, columns = _own(contents, answer)
    return MinuteColumns(stamps.astype("datetime64[ms]"), columns, *_basis(contents.adjusted, answer))


def actions_by_ticker(body: bytes, answer: Answer) -> dict[str, pd.DataFrame]:
    """Splits or dividends of all tickers in a body, one `CorporateActions` frame each.

    A dividend that is not paid in US dollars is left out, with a warning in the log.

    Args:
        answer: how the body came; its ticker is not looked at.

    Returns:
        By ticker in upper case; one that mixes cases (`CpS`) is another security and keeps its spelling.

    Raises:
        ProviderError: as `parse`; BadPayload also where the body has no such rows, or one does not name its ticker.
    """
    contents = _contents(body, answer)
    if isinstance(contents, _Bars) and not len(contents.stamps) and _is_reference(answer.url):
        return {}
    if not isinstance(contents, _Actions):
        raise BadPayload(f"{answer.symbol}: a splits or dividends answer was due: {shown(body)}")
    found: dict[str, list[_Action]] = {}
    for row in contents.rows:
        if row.ticker is None:
            raise BadPayload(f"{answer.symbol}: a {row.kind} of {row.day} does not name its ticker")
        found.setdefault(_spelling(row.ticker), []).append(row)
    kept = {ticker: _in_dollars(rows, ticker) for ticker, rows in found.items()}
    return {ticker: _actions(rows, ticker) for ticker, rows in kept.items() if rows}


def _own(bars: _Bars, answer: Answer) -> tuple[npt.NDArray[np.int64], dict[str, Column]]:
    """Stamps and columns of the ticker that was asked for, of bars of the interval that was."""
    places = _places(bars, answer)
    stamps = bars.stamps[places]
    _require_interval(stamps, answer, grouped=bars.places is not None)
    return stamps, {name: column[places] for name, column in bars.columns.items()}


def _parsed_bars(bars: _Bars, answer: Answer) -> ParsedBars:
    stamps, columns = _own(bars, answer)
    if answer.interval == "1d":
        days = _local(stamps, answer.ticker).astype("datetime64[D]")
        frame = _completed(bars_frame(days, columns, answer.symbol), answer)
    else:
        frame = intraday_frame(stamps.astype("datetime64[ms]"), columns, answer.symbol)
    return ParsedBars(frame, empty_actions(), *_basis(bars.adjusted, answer))


def _parsed_day(day: _Day, answer: Answer) -> ParsedBars:
    if answer.interval != "1d":
        raise BadPayload(f"{answer.symbol}: a daily open-close answer where bars of {answer.interval} were due")
    frame = bars_frame(np.array([day.day]), day.columns, answer.symbol)
    return ParsedBars(_completed(frame, answer), empty_actions(), *_basis(day.adjusted, answer))


def _parsed_actions(actions: _Actions, answer: Answer) -> ParsedBars:
    url = _split(answer.url)
    if not actions.rows and url is not None and not _is_reference(answer.url):
        raise UnknownSymbol(f"{answer.symbol}: polygon has no bars for {answer.ticker} in the window")
    of_all = url is not None and _is_reference(answer.url) and "/v2/" not in url.path and "ticker=" not in url.query
    named = {row.ticker and _spelling(row.ticker) for row in actions.rows}
    if None in named and (of_all or len(named) > 1):
        raise BadPayload(f"{answer.symbol}: a split or dividend does not name its ticker")
    if len(named) == 1 and not of_all:
        _require_ticker(actions.rows[0].ticker, answer)
    own = [row for row in actions.rows if row.ticker is None or _spelling(row.ticker) == _spelling(answer.ticker)]
    return _without_bars(_actions(_in_dollars(own, answer.symbol), answer.symbol), answer)


def _in_dollars(rows: Iterable[_Action], symbol: str) -> list[_Action]:
    """The rows, without dividends in another currency: nothing here knows what one is worth in US dollars."""
    kept = []
    for row in rows:
        if row.currency == "USD":
            kept.append(row)
        else:
            _log.warning("%s: a dividend of %s is paid in %s and left out", symbol, row.day, row.currency)
    return kept


def _without_bars(actions: pd.DataFrame, answer: Answer) -> ParsedBars:
    return ParsedBars(empty_bars(answer.interval), actions, Basis.RAW)


def _actions(rows: Iterable[_Action], symbol: str) -> pd.DataFrame:
    """The rows that say something, once each: the vendor repeats some, and lists splits of 1 for 1."""
    idle = {("split", 1.0), ("dividend", 0.0)}
    distinct = {(row.day, row.kind, row.value, row.mark): None for row in rows if (row.kind, row.value) not in idle}
    return actions_frame([key[:3] for key in distinct], symbol)


def _places(bars: _Bars, answer: Answer) -> npt.NDArray[np.int64]:
    """Rows of the ticker that was asked for."""
    if bars.places is None:
        return np.arange(len(bars.stamps))
    own = bars.places.get(_spelling(answer.ticker))
    if bars.ticker is not None:
        for ticker in bars.places:
            _require_ticker(ticker, answer)
    if own is None:
        raise UnknownSymbol(
            f"{answer.symbol}: no bars: {answer.ticker} is not among the {len(bars.places):,} tickers of the answer"
        )
    return np.array(own)


def _require_interval(stamps: npt.NDArray[np.int64], answer: Answer, *, grouped: bool) -> None:
    """Bars of another interval would become wrong rows without a word: their URL or their times tell."""
    symbol, minutes = answer.symbol, MINUTES[answer.interval]
    url = _split(answer.url)
    asked = re.search(r"/range/([0-9]{1,4})/([a-z]+)/", url.path) if url else None
    if asked and int(asked[1]) * _SPANS.get(asked[2], 0) != minutes:
        raise BadPayload(f"{symbol}: the answer has bars of {asked[1]} {asked[2]} where {answer.interval} was due")
    if answer.interval != "1d" and not grouped and not (stamps % (minutes * 60_000)).any() and (stamps % _HOUR).any():
        return  # no midnight of any zone of ours; to work out local times takes longer than to read the rest
    local = _local(stamps, answer.ticker)
    midnight = local == local.astype("datetime64[D]")
    if answer.interval == "1d":
        if not grouped and not midnight.all():
            raise BadPayload(f"{symbol}: a daily bar starts at {local[~midnight][0]} of its zone, not at midnight")
    elif grouped or (stamps % (minutes * 60_000)).any():
        raise BadPayload(f"{symbol}: times that are not those of bars of {answer.interval}, such as {local[0]}")
    elif midnight.all() and ":" not in answer.ticker:
        raise BadPayload(f"{symbol}: every bar starts at midnight in New York: daily bars where intraday were due")


def _completed(frame: pd.DataFrame, answer: Answer) -> pd.DataFrame:
    """The bars whose session had closed; only shares have XNYS sessions."""
    if answer.fetched_at is None or ":" in answer.ticker:
        return frame
    last = np.datetime64(last_completed_session(answer.fetched_at), "s")
    open_still = frame["date"].to_numpy() > last
    return frame[~open_still].reset_index(drop=True) if open_still.any() else frame


def _local(stamps: npt.NDArray[np.int64], ticker: str) -> npt.NDArray[np.datetime64]:
    """Wall-clock times, naive, of epoch milliseconds: in New York, or UTC for currencies and crypto."""
    times = pd.DatetimeIndex(stamps.astype("datetime64[ms]"), tz="UTC")
    zone = "UTC" if ticker.upper().startswith(("C:", "X:")) else "America/New_York"
    return times.tz_convert(zone).tz_localize(None).to_numpy().astype("datetime64[ms]")


def _basis(adjusted: bool | None, answer: Answer) -> tuple[Basis, datetime | None]:
    url = _split(answer.url)
    if adjusted is None and url is not None:
        adjusted = parse_qs(url.query).get("adjusted", ["true"])[-1].lower() != "false"
    return (Basis.RAW, None) if adjusted is False else (Basis.SPLIT, answer.fetched_at)


def _spelling(ticker: str) -> str:
    return ticker.upper() if ticker.islower() else ticker


def _require_ticker(found: str | None, answer: Answer) -> None:
    if found is not None and _spelling(found) != _spelling(answer.ticker):
        raise BadPayload(f"{answer.symbol}: the answer is of {found!r:.40} where {answer.ticker!r} was due")


def _contents(body: bytes, answer: Answer) -> _Bars | _Day | _Actions:
    if answer.status != 200:
        raise _refusal(body, answer)
    contents = _decoded(body, answer)
    if contents.next_url is not None:
        _require_same_host(contents.next_url, answer)
    return contents


def _decoded(body: bytes, answer: Answer) -> _Bars | _Day | _Actions:
    if _is_csv(body, answer.content_type):
        return _csv_bars(body, answer.symbol)
    if b'"T"' in body:
        try:
            return _shared(body)
        except ProviderError:
            pass  # read again, for an error that names the symbol
    return _read(body, answer.symbol)


@lru_cache(maxsize=4)
def _shared(body: bytes) -> _Bars | _Day | _Actions:
    """A body that answers for many tickers, decoded once for all of them."""
    return _read(body, EVERY)


def _read(body: bytes, symbol: str) -> _Bars | _Day | _Actions:
    document = json_object(body, symbol)
    status = document.get("status")
    if not isinstance(status, str):
        raise BadPayload(f"{symbol}: an answer without a status carries no bars: {shown(body)}")
    if status not in ("OK", "DELAYED"):
        raise _meaning(document, symbol, 200)
    ticker = _text(document, "ticker", symbol)
    next_url = _text(document, "next_url", symbol)
    if document.get("results") is None and ("from" in document or any(name in document for name in _PRICES)):
        return _open_close(document, symbol)
    rows = _rows(document, symbol)
    if not rows and next_url is not None:
        raise BadPayload(f"{symbol}: an empty page that has a further one")
    if any(_ACTION_KEYS & row.keys() for row in rows):
        return _Actions(tuple(_action(row, symbol) for row in rows), next_url)
    if not rows and document.get("results") is not None and not _AGGREGATE_KEYS & document.keys():
        return _Actions((), next_url)
    return _aggregates(rows, symbol, ticker=ticker, adjusted=_adjusted(document, symbol), next_url=next_url)


def _rows(document: Mapping[str, Any], symbol: str) -> list[dict[str, Any]]:
    rows = document.get("results")
    rows = [] if rows is None else rows
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadPayload(f"{symbol}: results is not a list of rows")
    for name in ("resultsCount", "count"):
        count = document.get(name)
        if count is not None and (isinstance(count, bool) or count != len(rows)):
            raise BadPayload(f"{symbol}: {len(rows):,} rows came where {name} says {count!r:.40}: the body is cut")
    return rows


def _aggregates(
    rows: Sequence[Mapping[str, Any]], symbol: str, *, ticker: str | None, adjusted: bool | None, next_url: str | None
) -> _Bars:
    stamps = _stamps([row.get("t") for row in rows], symbol)
    columns = {name: number_column([row.get(key) for row in rows], key, symbol) for name, key in _FIELDS.items()}
    if rows and all(np.isnan(columns[name]).all() for name in _PRICES):
        raise BadPayload(f"{symbol}: {len(rows):,} rows came and none has a price: not bars")
    places: dict[str, list[int]] | None = None
    if any("T" in row for row in rows):
        places = {}
        for place, row in enumerate(rows):
            if not (name := _text(row, "T", symbol)):
                raise BadPayload(f"{symbol}: row {place} does not name its ticker as T")
            places.setdefault(_spelling(name), []).append(place)
    return _Bars(ticker, adjusted, next_url, stamps, columns, places)


def _stamps(values: Sequence[Any], symbol: str) -> npt.NDArray[np.int64]:
    for place, value in enumerate(values):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or value % 1 or not _FIRST_MS <= value <= _LAST_MS:
            raise BadPayload(f"{symbol}: t[{place}] is {value!r:.60}, not an epoch in milliseconds a bar can have")
    return np.array(values, dtype=np.int64)


def _open_close(document: Mapping[str, Any], symbol: str) -> _Day:
    columns = {name: number_column([document.get(name)], name, symbol) for name in BAR_FIELDS}
    if all(np.isnan(columns[name]).all() for name in _PRICES):
        raise BadPayload(f"{symbol}: an open-close answer without a price")
    day = _written_date(document.get("from"), "from", symbol)
    return _Day(_text(document, "symbol", symbol), _adjusted(document, symbol), day, columns)


def _action(row: Mapping[str, Any], symbol: str) -> _Action:
    ticker = _text(row, "ticker", symbol)
    if "execution_date" in row:
        value = _positive(row, "split_to", symbol) / _positive(row, "split_from", symbol)
        return _Action(ticker, _written_date(row["execution_date"], "execution_date", symbol), "split", value)
    if "exDate" in row and "ratio" in row:
        return _Action(ticker, _written_date(row["exDate"], "exDate", symbol), "split", _of_ratio(row, symbol))
    day, amount = ("exDate", "amount") if "exDate" in row else ("ex_dividend_date", "cash_amount")
    return _Action(
        ticker,
        _written_date(row.get(day), day, symbol),
        "dividend",
        _number(row, amount, symbol),
        (_text(row, "currency", symbol) or "USD").upper(),
        _text(row, "dividend_type", symbol) or "",
    )


def _of_ratio(row: Mapping[str, Any], symbol: str) -> float:
    """New shares for an old one of a version 2 row, whose factors, where sent, are exact and its ratio is rounded."""
    value = 1 / _positive(row, "ratio", symbol)
    if row.get("tofactor") is None or row.get("forfactor") is None:
        return value
    exact = _positive(row, "tofactor", symbol) / _positive(row, "forfactor", symbol)
    if not math.isclose(exact, value, rel_tol=1e-3):
        raise BadPayload(f"{symbol}: a split of {exact:g} for 1 by its factors is {value:g} for 1 by its ratio")
    return exact


def _number(row: Mapping[str, Any], key: str, symbol: str) -> float:
    value = float(number_column([row.get(key)], key, symbol)[0])
    if math.isnan(value):
        raise BadPayload(f"{symbol}: a split or dividend has no {key}")
    return value


def _positive(row: Mapping[str, Any], key: str, symbol: str) -> float:
    value = _number(row, key, symbol)
    if value < 1e-9:
        raise BadPayload(f"{symbol}: a split with {key} {value} cannot be")
    return value


def _written_date(value: object, key: str, symbol: str) -> np.datetime64:
    written = _WRITTEN_DATE.fullmatch(value) if isinstance(value, str) else None
    try:
        if written is not None:
            return np.datetime64(date.fromisoformat(written[1]), "D")
    except ValueError:
        pass
    raise BadPayload(f"{symbol}: {key} is {value!r:.60}, not a date as in 2021-01-19")


def _text(mapping: Mapping[str, Any], key: str, symbol: str) -> str | None:
    value = mapping.get(key)
    if value is not None and not isinstance(value, str):
        raise BadPayload(f"{symbol}: {key} is {value!r:.60}, not text")
    return value


def _adjusted(document: Mapping[str, Any], symbol: str) -> bool | None:
    value = document.get("adjusted")
    if value is not None and not isinstance(value, bool):
        raise BadPayload(f"{symbol}: adjusted is {value!r:.60}, neither true nor false")
    return value


def _is_csv(body: bytes, content_type: str | None) -> bool:
    start = body[:200].removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith((b"{", b"[", b"<")):
        return False
    names = start.split(b"\n")[0].strip().split(b",")
    return (content_type or "").lower().startswith("text/csv") or {b"t", b"o", b"c"} <= set(names)


def _csv_bars(body: bytes, symbol: str) -> _Bars:
    try:
        text = body.decode("utf-8-sig")
        table = list(csv.reader(text.splitlines(), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadPayload(f"{symbol}: not CSV ({str(error)[:80]}): {shown(body)}") from None
    if not text.endswith("\n"):
        raise BadPayload(f"{symbol}: the last line of the CSV is cut: {shown(body[-40:])}")
    while table and not table[-1]:
        table.pop()
    header = table[0] if table else []
    if "t" not in header or len(set(header)) != len(header):
        raise BadPayload(f"{symbol}: not Polygon's CSV of bars: {shown(body)}")
    known = {*_FIELDS.values(), "t"}
    rows = []
    for line, cells in enumerate(table[1:], start=2):
        if len(cells) != len(header):
            raise BadPayload(f"{symbol}: line {line} has {len(cells)} fields, not {len(header)}")
        row = dict(zip(header, cells, strict=True))
        rows.append({key: _cell(cell, key, line, symbol) if key in known else cell for key, cell in row.items()})
    return _aggregates(rows, symbol, ticker=None, adjusted=None, next_url=None)


def _cell(text: str, key: str, line: int, symbol: str) -> float | int | None:
    if not text:
        return None
    if not _NUMBER.fullmatch(text) or len(text) > 40:
        raise BadPayload(f"{symbol}: {key} in line {line} is {text!r:.60}, not a number")
    return float(text) if re.search(r"[.eE]", text) else int(text)


def _require_same_host(next_url: str, answer: Answer) -> None:
    """A further page lies where this one came from, or the key would be carried elsewhere."""
    there, here = _split(next_url), _split(answer.url)
    allowed = set(_HOSTS) if here is None or here.hostname in _HOSTS else set()
    if here is not None:
        allowed.add(here.hostname or "")
        if there is not None and _origin(there) == _origin(here):
            return
    if there is None or there.hostname not in allowed or there.scheme != "https" or there.port not in (None, 443):
        host = (there.hostname if there else None) or next_url
        scheme = there.scheme if there else None
        raise BadPayload(
            f"{answer.symbol}: the further page lies on {host!r:.80} by {scheme!r:.20}, not on https "
            f"of {' or '.join(sorted(allowed))}"
        )


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or {"http": 80, "https": 443}.get(url.scheme)


def _split(text: str | None) -> SplitResult | None:
    """The parts of a URL; None where it names no host, holds credentials, or is none."""
    try:
        url = urlsplit(text or "")
        usable = url.hostname and "@" not in url.netloc and "\\" not in url.netloc and url.port != 0
    except ValueError:
        return None
    return url if usable else None


def _is_reference(url: str | None) -> bool:
    parts = _split(url)
    return parts is not None and re.search(r"/reference/|/stocks/v1/(splits|dividends)", parts.path) is not None


def _refusal(body: bytes, answer: Answer) -> ProviderError:
    """The error of a status that is not 200; the body says more where it is JSON."""
    try:
        document = json_object(body, answer.symbol)
    except BadPayload:
        message = f"{answer.symbol}: HTTP {answer.status}: {shown(body)}"
        return BadPayload(message) if answer.status == 404 else error_of_status(answer.status, message)
    return _meaning(document, answer.symbol, answer.status)


def _meaning(document: Mapping[str, Any], symbol: str, status: int) -> ProviderError:
    """What an error body means, its message before the status where they can differ."""
    verdict = document.get("status")
    said = document.get("error") or document.get("message")
    said = said if isinstance(said, str) else ""
    message = f"{symbol}: HTTP {status} {verdict!r:.40}: {redact(said)[:200]}"
    words = said.lower()
    if status == 429 or "exceeded the maximum requests" in words:
        return RateLimited(message)
    if status == 408 or status >= 500:
        return Transient(message)
    if status == 401 or "api key" in words:
        return NotEntitled(message)
    if verdict == "NOT_AUTHORIZED" and any(word in words for word in ("plan", "timeframe", "entitled")):
        return OutOfWindow(message)
    if status == 404 or verdict == "NOT_FOUND" or (status in (200, 400) and "ticker" in words):
        return UnknownSymbol(message)
    return NotEntitled(message) if status == 403 or verdict == "NOT_AUTHORIZED" else BadPayload(message)
