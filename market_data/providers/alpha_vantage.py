"""Alpha Vantage: `GET /query?function=...`, its JSON and CSV bodies, and a client that asks for the JSON.

Wire format (https://www.alphavantage.co/documentation/ and recorded bodies, 2017 to 2026):

* A series is an object of rows by date, newest first: `{"Meta Data": {"2. Symbol": ...}, "Time Series (Daily)":
  {"2025-01-21": {"1. open": "228.9000", ..., "5. volume": "39951456"}}}`. Every value is a decimal string. The numbers
  before the names vary with the function (volume is `6.` in the adjusted series), so only the names are read.
* CSV has the header `timestamp,open,high,low,close,volume` (no volume for FX), `\\n` or `\\r\\n` after every line, the
  last one included, so a body without it was cut. It names no symbol and no interval. Some bodies begin with a BOM.
* `TIME_SERIES_DAILY` and the OHLC of `TIME_SERIES_DAILY_ADJUSTED` are as traded; the latter brings dividends and split
  coefficients in rows of their ex-dates. `SPLITS` lists some spin-offs as splits (IBM 2021-11-04, 1.0460).
* Intraday times are local to `Time Zone` (US/Eastern; CSV says nothing and means the same) and **start** the interval:
  with extended hours the last 5-minute bar is 19:55, and the closing auction is in the bar of 16:00. Bodies downloaded
  until early 2023 stamped the end (20:00 last) and cannot be told apart by their content; they read one interval late.
  A local time that a change of clocks makes ambiguous or impossible is refused: no US session reaches those hours.
* Errors come with HTTP status 200, as JSON also where CSV was asked for, under `Note`, `Information` or
  `Error Message`. They may repeat the API key, so no error raised here quotes them.

A bar whose session had not closed at the download (for FX: whose UTC day, for intraday: whose interval) is live and
dropped; where the time of the download is not known, nothing can be told to be live. Null and the empty string are
the only nulls.
"""

from __future__ import annotations

import json
import re
from calendar import monthrange
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from operator import itemgetter
from typing import Any, NoReturn
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from market_data.errors import (
    BadPayload,
    NotEntitled,
    OutOfWindow,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    UnknownSymbol,
)
from market_data.instruments import Instrument
from market_data.providers.bodies import Answer, error_of_status, shown
from market_data.providers.client import VendorClient
from market_data.providers.frames import Column, actions_frame, bars_frame, intraday_frame
from market_data.records import Basis, FetchRequest, ParsedBars, RawPayload
from market_data.schemas import empty_actions, empty_bars
from market_data.sessions import is_session, last_completed_session, sessions_between

__all__ = ["COMPACT_ROWS", "AlphaVantageClient", "parse"]

COMPACT_ROWS = 100
"""Rows of an answer with `outputsize=compact`, a live one included."""

_FIRST_MONTH = date(2000, 1, 1)
"""The first month `TIME_SERIES_INTRADAY` is documented to serve."""

_MINUTES = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60}
_FEEDS = {"splits": "SPLITS", "dividends": "DIVIDENDS"}
_NEW_YORK = ZoneInfo("America/New_York")
_EASTERN = ("US/Eastern", "America/New_York")

_PRICES = ("open", "high", "low", "close")
_ADJUSTED = ("adjusted close", "dividend amount", "split coefficient")
_CSV_SERIES = (
    ("timestamp", *_PRICES, "volume"),
    ("timestamp", *_PRICES),
    ("timestamp", *_PRICES, "adjusted close", "volume", "dividend amount", "split coefficient"),
)
_CSV_ACTIONS = {
    ("effective_date", "split_factor"): "split",
    ("ex_dividend_date", "declaration_date", "record_date", "payment_date", "amount"): "dividend",
}
_ACTION_FIELDS = {"split": ("effective_date", "split_factor"), "dividend": ("ex_dividend_date", "amount")}

_NUMBER = r"\A-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?\z"
_DATE = r"\A(1[89]|2[01])[0-9]{2}-[0-9]{2}-[0-9]{2}\z"
_STAMP = r"\A(1[89]|2[01])[0-9]{2}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\z"
_NUMBERED = re.compile(r"[0-9]{1,2}\. (.+)")
_SERIES = re.compile(r"Time Series (?:\((?P<interval>Daily|[0-9]+min)\)|FX \((?P<fx>Daily)\))")
_LONGER = re.compile(r"(?i)\b(weekly|monthly)\b")

# The first that matches counts: messages about speed and about the day's quota also advertise premium plans, and those
# about speed name the day's quota too.
_MESSAGES: tuple[tuple[re.Pattern[str], type[ProviderError], str], ...] = (
    (
        re.compile(r"is a premium (endpoint|feature)"),
        NotEntitled,
        "the function or a parameter, such as outputsize=full, needs a premium plan of Alpha Vantage",
    ),
    (
        re.compile(r"burst pattern|per second|per minute|more sparingly|call frequency|call volume"),
        RateLimited,
        "Alpha Vantage wants requests more slowly",
    ),
    (
        re.compile(r"(requests|calls) per day|daily rate limit|rate limit is [0-9]+"),
        QuotaExhausted,
        "the key's requests of the day are spent at Alpha Vantage; they are given anew the next day",
    ),
    (
        re.compile(r"apikey is invalid|apikey parameter is invalid|\bdemo\b.{0,8}api key"),
        NotEntitled,
        "Alpha Vantage does not take the API key; claim one at its support page and set it",
    ),
    (
        re.compile(r"invalid api call"),
        UnknownSymbol,
        "Alpha Vantage calls the request invalid, its answer to symbols it does not know",
    ),
    (re.compile(r"\bpremium\b"), NotEntitled, "Alpha Vantage asks for a premium plan"),
)


class AlphaVantageClient(VendorClient):
    """Alpha Vantage over HTTP, or anything that speaks its JSON, such as the sandbox.

    JSON is asked for rather than CSV, three times its size, since it names the symbol, the interval and the zone.
    """

    def fetch(self, instrument: Instrument, request: FetchRequest) -> RawPayload:
        """One JSON body; the payload's request is narrowed to what one answer can hold.

        Daily bars come without a window: `outputsize=compact` where its sessions are enough or the plan reaches no
        further, else `full`. Intraday bars come by the month, so the request ends with its first month. The feeds
        `splits` and `dividends` always come whole.

        Raises:
            OutOfWindow: nothing of the request is served by the plan; no call was made.
            ProviderError: no final answer came; its `payload` is the last answer, where there was one.
        """
        narrowed, query = self._question(request)
        query["symbol"] = instrument.ticker("alpha_vantage")
        if self._key is not None:
            query["apikey"] = self._key
        return self._http.fetch(self.name, narrowed, "/query", query, clock=self._clock)

    def _question(self, request: FetchRequest) -> tuple[FetchRequest, dict[str, str]]:
        if request.feed in _FEEDS:
            return request, {"function": _FEEDS[request.feed], "datatype": "json"}
        if request.feed != "bars":
            _out_of_window(request, f"feed {request.feed!r} is not one of bars, {', '.join(_FEEDS)}")
        return self._daily(request) if request.interval == "1d" else self._intraday(request)

    def _daily(self, request: FetchRequest) -> tuple[FetchRequest, dict[str, str]]:
        now = self._clock()
        last = last_completed_session(now)
        start = self._first_daily(request)
        compact = _first_of_compact(last, now)
        reach = self._config.reach_sessions
        full = start < compact and (reach is None or reach > COMPACT_ROWS)
        narrowed = _from(request, start if full else max(start, compact))
        size = "full" if full else "compact"
        return narrowed, {"function": "TIME_SERIES_DAILY", "outputsize": size, "datatype": "json"}

    def _intraday(self, request: FetchRequest) -> tuple[FetchRequest, dict[str, str]]:
        if request.interval not in _MINUTES:
            _out_of_window(request, f"interval {request.interval!r} is not one of 1d, {', '.join(_MINUTES)}")
        reach = self._config.intraday_reach_days
        if reach == 0:
            _out_of_window(request, "the plan serves no intraday bars")
        first = _FIRST_MONTH
        if reach is not None:
            first = max(first, self._clock().astimezone(_NEW_YORK).date() - timedelta(days=reach))
        narrowed = _from(request, max(request.start, first))
        month_end = narrowed.start.replace(day=monthrange(narrowed.start.year, narrowed.start.month)[1])
        return replace(narrowed, end=min(narrowed.end, month_end)), {
            "function": "TIME_SERIES_INTRADAY",
            "interval": f"{_MINUTES[request.interval]}min",
            "month": f"{narrowed.start:%Y-%m}",
            "outputsize": "full",
            "adjusted": "false",
            "extended_hours": "false",
            "datatype": "json",
        }


def _first_of_compact(last: date, now: datetime) -> date:
    """The first session a compact answer surely holds: while a session is open, its live bar takes up one row."""
    today = now.astimezone(_NEW_YORK).date()
    rows = COMPACT_ROWS - 1 if today > last and is_session(today) else COMPACT_ROWS
    first: date = sessions_between(last - timedelta(days=2 * COMPACT_ROWS), last)[-rows].date()
    return first


def _from(request: FetchRequest, start: date) -> FetchRequest:
    if start > request.end:
        _out_of_window(request, f"the plan serves bars from {start} on")
    return replace(request, start=start)


def _out_of_window(request: FetchRequest, why: str) -> NoReturn:
    window = f"{request.start} to {request.end}"
    raise OutOfWindow(f"{request.symbol}: {window} cannot be had from Alpha Vantage: {why}")


def parse(body: bytes, answer: Answer) -> ParsedBars:
    """Bars or corporate actions of an Alpha Vantage body, JSON or CSV.

    Reads TIME_SERIES_DAILY, TIME_SERIES_DAILY_ADJUSTED, TIME_SERIES_INTRADAY, FX_DAILY, GLOBAL_QUOTE (JSON only),
    SPLITS and DIVIDENDS. Daily prices are raw; intraday ones are where `answer.url` says `adjusted=false`, and
    otherwise adjusted for splits and dividends as of the download. An adjusted row's actions are given even where its
    bar is live.

    Args:
        answer: `ticker` is held against the symbol of a JSON body, `interval` against the body's own, and `url`, where
            known, against what a CSV does not say: symbol, function and interval.

    Raises:
        RateLimited, QuotaExhausted, NotEntitled, UnknownSymbol: the body is one of Alpha Vantage's messages.
        BadPayload: the body is of another kind than asked for, damaged, or for another symbol.
        ProviderError: the status says so.
    """
    if answer.status != 200:
        raise _error_of_status(body, answer)
    text = _text(body, answer)
    if text.lstrip().startswith("{"):
        document = _document(text, answer)
        if (error := _message_error(document, answer)) is not None:
            raise error
        return _read_json(document, answer)
    return _read_csv(text, answer)


def _error_of_status(body: bytes, answer: Answer) -> ProviderError:
    try:
        error = _message_error(_document(_text(body, answer), answer), answer)
    except BadPayload:
        error = None
    known = error is not None and type(error) is not BadPayload
    message = f"{answer.symbol}: Alpha Vantage answered with HTTP status {answer.status}"
    return error if error is not None and known else error_of_status(answer.status, message)


def _text(body: bytes, answer: Answer) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadPayload(f"{answer.symbol}: the body is not UTF-8 text: {_shown(body)}") from None


def _shown(body: bytes) -> str:
    """How a body begins, unless that may be a message with an API key in it."""
    return "(it speaks of a key and is not shown)" if b"key" in body[:200].lower() else shown(body)


def _document(text: str, answer: Answer) -> dict[str, Any]:
    try:
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadPayload(f"{answer.symbol}: not JSON as Alpha Vantage sends it: {str(error)[:120]}") from None
    if not isinstance(document, dict):
        raise BadPayload(f"{answer.symbol}: a JSON object was due")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of the pairs; a key given twice would lose a row without a word."""
    found = dict(pairs)
    if len(found) != len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key {twice!r:.40} is there more than once")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _message_error(document: Mapping[str, Any], answer: Answer) -> ProviderError | None:
    key = next((key for key in ("Error Message", "Information", "Note") if key in document), None)
    if key is None:
        return None
    text = document[key].lower() if isinstance(document[key], str) else ""
    for pattern, error, meaning in _MESSAGES:
        if pattern.search(text):
            return error(f"{answer.symbol}: {meaning}")
    return BadPayload(
        f"{answer.symbol}: Alpha Vantage answered with {key!r} and a text that is not known; "
        "see the stored payload (it may repeat the API key, so it is not shown)"
    )


def _read_json(document: Mapping[str, Any], answer: Answer) -> ParsedBars:
    if not document:
        raise UnknownSymbol(f"{answer.symbol}: Alpha Vantage answered with an empty object: it has no bars for it")
    if "endpoint" in document:
        raise BadPayload(f"{answer.symbol}: a history was due, not {document['endpoint']!r:.60}")
    if "Global Quote" in document:
        return _quote(document["Global Quote"], answer)
    if "data" in document:
        return _listed_actions(document, answer)
    keys = [key for key in document if key != "Meta Data"]
    if len(keys) == 1 and _LONGER.search(keys[0]):
        raise BadPayload(f"{answer.symbol}: bars of {answer.interval} were due, not {keys[0]!r:.60}")
    matched = _SERIES.fullmatch(keys[0]) if len(keys) == 1 else None
    if matched is None:
        raise BadPayload(f"{answer.symbol}: not a body of Alpha Vantage's that is known; its keys are {keys!r:.120}")
    meta, series = _named(document.get("Meta Data"), "Meta Data", answer), document[keys[0]]
    if not isinstance(series, dict):
        raise BadPayload(f"{answer.symbol}: {keys[0]!r} is no object of rows")
    stamps, columns = list(series), _columns_of(series, answer)
    if matched["fx"]:
        _require_symbol(f"{meta.get('From Symbol')}{meta.get('To Symbol')}", re.sub(r"\W", "", answer.ticker), answer)
        _require_zone(meta, ("UTC",), answer)
        return _daily_bars(stamps, columns, answer, utc=True)
    _require_symbol(meta.get("Symbol"), answer.ticker, answer)
    _require_zone(meta, _EASTERN, answer)
    if matched["interval"] == "Daily":
        return _daily_bars(stamps, columns, answer, utc=False)
    _require_interval(matched["interval"], answer)
    _require_interval(meta.get("Interval"), answer)
    return _intraday_bars(stamps, columns, answer)


def _named(numbered: object, where: str, answer: Answer) -> dict[str, Any]:
    """An object's values by the names behind its numbered keys (`"2. Symbol"`)."""
    if not isinstance(numbered, dict):
        raise BadPayload(f"{answer.symbol}: {where} is no object")
    named = {}
    for key, value in numbered.items():
        matched = _NUMBERED.fullmatch(key)
        name = matched[1] if matched else key
        if name in named:
            raise BadPayload(f"{answer.symbol}: {where} has {name!r:.40} twice")
        named[name] = value
    return named


def _columns_of(series: Mapping[str, Any], answer: Answer) -> dict[str, Sequence[Any]]:
    """Values by name, in the order of the rows."""
    rows = list(series.values())
    if not rows:
        return dict.fromkeys(_PRICES, ())
    wrong = next((stamp for stamp, row in series.items() if not isinstance(row, dict)), None)
    if wrong is not None:
        raise BadPayload(f"{answer.symbol}: {wrong!r:.40} is no object")
    first = rows[0].keys()
    wrong = next((stamp for stamp, row in series.items() if row.keys() != first), None)
    if wrong is not None:
        raise BadPayload(f"{answer.symbol}: {wrong!r:.40} has other fields than the first row")
    names = _named(rows[0], "a row", answer)
    missing = [name for name in _PRICES if name not in names]
    if missing:
        raise BadPayload(f"{answer.symbol}: the rows have no {missing[0]}; their fields are {list(first)!r:.120}")
    return dict(zip(names, zip(*map(itemgetter(*first), rows), strict=True), strict=True))


def _require_symbol(found: object, due: str, answer: Answer) -> None:
    if not isinstance(found, str) or found.upper() != due.upper():
        raise BadPayload(f"{answer.symbol}: the body is for {found!r:.40}, not for {answer.ticker!r}")


def _require_zone(meta: Mapping[str, Any], zones: tuple[str, ...], answer: Answer) -> None:
    zone = meta.get("Time Zone")
    if zone not in zones:
        raise BadPayload(f"{answer.symbol}: the body's Time Zone is {zone!r:.40}, not {zones[0]}")


def _require_interval(found: object, answer: Answer) -> None:
    due = f"{_minutes(answer)}min"
    if found != due:
        raise BadPayload(f"{answer.symbol}: the body's bars are of {found!r:.20}, not of {due!r}")


def _minutes(answer: Answer) -> int:
    minutes = _MINUTES.get(answer.interval)
    if minutes is None:
        raise BadPayload(f"{answer.symbol}: intraday bars came where bars of {answer.interval} were due")
    return minutes


def _daily_bars(
    stamps: Sequence[object], columns: Mapping[str, Sequence[Any]], answer: Answer, *, utc: bool
) -> ParsedBars:
    if answer.interval != "1d":
        raise BadPayload(f"{answer.symbol}: daily bars came where bars of {answer.interval} were due")
    dates = _times(stamps, _DATE, "a date as in 2021-01-19", answer)
    numbers = _numbers(columns, (*_PRICES, "volume"), answer)
    actions = _row_actions(dates, columns, answer)
    bars = bars_frame(dates, numbers, answer.symbol)
    return ParsedBars(_without_live(bars, answer, utc=utc), actions, Basis.RAW)


def _row_actions(
    dates: npt.NDArray[np.datetime64], columns: Mapping[str, Sequence[Any]], answer: Answer
) -> pd.DataFrame:
    """What the rows of an adjusted series say of dividends and splits."""
    if not any(name in columns for name in _ADJUSTED):
        return empty_actions()
    missing = [name for name in _ADJUSTED if name not in columns]
    if missing:
        raise BadPayload(f"{answer.symbol}: the adjusted rows have no {missing[0]!r}")
    numbers = _numbers(columns, _ADJUSTED, answer)
    rows: list[tuple[np.datetime64, str, float]] = []
    for kind, name, nothing in (("dividend", "dividend amount", 0.0), ("split", "split coefficient", 1.0)):
        values = numbers[name]
        if np.isnan(values).any():
            raise BadPayload(f"{answer.symbol}: {name!r} of {dates[np.isnan(values)][0]} is null")
        at = values != nothing
        rows += [(day, kind, float(value)) for day, value in zip(dates[at], values[at], strict=True)]
    return actions_frame(rows, answer.symbol)


def _without_live(bars: pd.DataFrame, answer: Answer, *, utc: bool) -> pd.DataFrame:
    if answer.fetched_at is None:
        return bars
    if utc:
        last = answer.fetched_at.astimezone(UTC).date() - timedelta(days=1)
    else:
        last = last_completed_session(answer.fetched_at)
    return _kept(bars, bars["date"] <= pd.Timestamp(last))


def _kept(bars: pd.DataFrame, keep: pd.Series) -> pd.DataFrame:
    return bars if keep.all() else bars[keep].reset_index(drop=True)


def _intraday_bars(stamps: Sequence[object], columns: Mapping[str, Sequence[Any]], answer: Answer) -> ParsedBars:
    length = np.timedelta64(_minutes(answer), "m")
    local = _times(stamps, _STAMP, "a time as in 2021-01-19 09:30:00", answer)
    steps = np.diff(np.unique(local))
    if steps.size and steps.min() < length:
        raise BadPayload(f"{answer.symbol}: bars {steps.min()} apart came where bars of {answer.interval} were due")
    bars = intraday_frame(_utc(local, answer), _numbers(columns, (*_PRICES, "volume"), answer), answer.symbol)
    if answer.fetched_at is not None:
        bars = _kept(bars, bars["datetime"] + length <= pd.Timestamp(answer.fetched_at))
    if _asked(answer).get("adjusted") == "false":
        return ParsedBars(bars, empty_actions(), Basis.RAW)
    return ParsedBars(bars, empty_actions(), Basis.SPLIT_DIVIDEND, answer.fetched_at)


def _utc(local: npt.NDArray[np.datetime64], answer: Answer) -> npt.NDArray[np.datetime64]:
    zoned = pd.DatetimeIndex(local).tz_localize(_NEW_YORK, ambiguous="NaT", nonexistent="NaT")
    wrong = zoned.isna()
    if wrong.any():
        raise BadPayload(
            f"{answer.symbol}: the local time {local[wrong][0]} is ambiguous or does not exist in New York"
        )
    instants: npt.NDArray[np.datetime64] = zoned.tz_convert("UTC").tz_localize(None).to_numpy()
    return instants


def _times(values: Sequence[object], pattern: str, due: str, answer: Answer) -> npt.NDArray[np.datetime64]:
    texts = _texts(values, "a row's time", answer)
    wrong = np.flatnonzero(~_matches(texts, pattern))
    if wrong.size:
        raise BadPayload(f"{answer.symbol}: {values[int(wrong[0])]!r:.40} is not {due}")
    try:
        return np.array(values, dtype="datetime64[s]")
    except ValueError as error:
        raise BadPayload(f"{answer.symbol}: {str(error)[:80]}: not {due}") from None


def _numbers(columns: Mapping[str, Sequence[Any]], names: Sequence[str], answer: Answer) -> dict[str, Column]:
    return {name: _number_column(columns[name], name, answer) for name in names if name in columns}


def _number_column(values: Sequence[Any], name: str, answer: Answer) -> Column:
    """Decimal strings as numbers; null and the empty string become NaN, anything else is refused."""
    texts = _texts(values, name, answer)
    texts = pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)
    null = pc.is_null(texts).to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero(~null & ~_matches(texts, _NUMBER))
    if wrong.size:
        raise BadPayload(f"{answer.symbol}: {name} is {values[int(wrong[0])]!r:.40}, not a decimal number")
    try:
        column: Column = pc.cast(texts, pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowException:
        raise BadPayload(f"{answer.symbol}: {name} holds a number that no price or volume can be") from None
    if not np.isfinite(column[~null]).all():
        raise BadPayload(f"{answer.symbol}: {name} holds a number that no price or volume can be")
    return column


def _texts(values: Sequence[object], name: str, answer: Answer) -> Any:
    try:
        return pa.array(values, pa.string())
    except (pa.ArrowException, UnicodeEncodeError):
        wrong = next((value for value in values if value is not None and not _is_text(value)), None)
        raise BadPayload(f"{answer.symbol}: {name} is {wrong!r:.40}, not a string") from None


def _is_text(value: object) -> bool:
    """Whether it is a string of characters; JSON can escape halves of one."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def _matches(texts: Any, pattern: str) -> npt.NDArray[np.bool_]:
    found = pc.fill_null(pc.match_substring_regex(texts, pattern), False)
    matched: npt.NDArray[np.bool_] = found.to_numpy(zero_copy_only=False)
    return matched


def _quote(quote: object, answer: Answer) -> ParsedBars:
    """The bar of the latest trading day; none where its session had not closed at the download."""
    fields = _named(quote, "Global Quote", answer)
    if not fields:
        raise UnknownSymbol(f"{answer.symbol}: Alpha Vantage has no quote for it")
    _require_symbol(fields.get("symbol"), answer.ticker, answer)
    wire = {"open": "open", "high": "high", "low": "low", "close": "price", "volume": "volume"}
    missing = [key for key in (*wire.values(), "latest trading day") if key not in fields]
    if missing:
        raise BadPayload(f"{answer.symbol}: the quote has no {missing[0]!r}")
    columns = {name: (fields[key],) for name, key in wire.items()}
    return _daily_bars((fields["latest trading day"],), columns, answer, utc=False)


def _listed_actions(document: Mapping[str, Any], answer: Answer) -> ParsedBars:
    _require_symbol(document.get("symbol"), answer.ticker, answer)
    data = document["data"]
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise BadPayload(f"{answer.symbol}: 'data' is no array of objects")
    for kind, (day, value) in _ACTION_FIELDS.items():
        if all(day in row and value in row for row in data):
            return _actions([row[day] for row in data], kind, [row[value] for row in data], answer)
    raise BadPayload(f"{answer.symbol}: 'data' lists neither splits nor dividends: {data[0]!r:.80}")


def _actions(days: Sequence[Any], kind: str, values: Sequence[Any], answer: Answer) -> ParsedBars:
    dates = _times(days, _DATE, "a date as in 2021-01-19", answer)
    numbers = _number_column(values, f"the {kind}", answer)
    rows = [(day, kind, float(value)) for day, value in zip(dates, numbers, strict=True)]
    return ParsedBars(empty_bars(answer.interval), actions_frame(rows, answer.symbol), Basis.RAW)


def _read_csv(text: str, answer: Answer) -> ParsedBars:
    if text.lstrip().startswith("<"):
        raise BadPayload(f"{answer.symbol}: HTML came where JSON or CSV was due: {_shown(text.encode())}")
    header, rows = _lines(text, answer)
    _require_symbol(_asked(answer).get("symbol", answer.ticker), answer.ticker, answer)
    kind = _CSV_ACTIONS.get(header)
    if kind is not None:
        columns = dict(zip(header, rows, strict=True))
        day, value = _ACTION_FIELDS[kind]
        return _actions(columns[day], kind, columns[value], answer)
    names = tuple(name.replace("_", " ") for name in header)
    if names not in _CSV_SERIES:
        _refuse_header(header, answer)
    columns = dict(zip(names, rows, strict=True))
    function = _asked(answer).get("function", "")
    if _LONGER.search(function.replace("_", " ")):
        raise BadPayload(f"{answer.symbol}: bars of {answer.interval} were due, not an answer to {function}")
    if answer.interval == "1d":
        return _daily_bars(columns["timestamp"], columns, answer, utc="volume" not in names)
    if "volume" not in names:
        raise BadPayload(f"{answer.symbol}: intraday bars without volume are of currencies, whose times are not known")
    _require_interval(_asked(answer).get("interval", f"{_minutes(answer)}min"), answer)
    return _intraday_bars(columns["timestamp"], columns, answer)


def _refuse_header(header: tuple[str, ...], answer: Answer) -> NoReturn:
    if header[:5] == ("timestamp", *_PRICES) and "adjusted close" in header:
        raise BadPayload(f"{answer.symbol}: bars of {answer.interval} were due, not weekly or monthly adjusted ones")
    raise BadPayload(f"{answer.symbol}: not Alpha Vantage's CSV: its header is {_shown(','.join(header).encode())}")


def _lines(text: str, answer: Answer) -> tuple[tuple[str, ...], list[Sequence[str]]]:
    """The header's names, and the values below each."""
    lines = text.replace("\r\n", "\n").split("\n")
    header = tuple(lines[0].split(","))
    if lines[-1]:
        raise BadPayload(f"{answer.symbol}: the last line is cut, or this is no CSV: {_shown(lines[0].encode())}")
    while lines and not lines[-1]:
        lines.pop()
    rows = [line.split(",") for line in lines[1:]]
    wrong = next((place for place, row in enumerate(rows) if len(row) != len(header)), None)
    if wrong is not None:
        raise BadPayload(f"{answer.symbol}: line {wrong + 2} has {len(rows[wrong])} fields, not {len(header)}")
    return header, list(zip(*rows, strict=True)) if rows else [() for _ in header]


def _asked(answer: Answer) -> dict[str, str]:
    """The query parameters of the URL the body came from."""
    query = parse_qs(urlsplit(answer.url).query) if answer.url else {}
    return {name: values[-1] for name, values in query.items()}
