"""Stooq: the CSV of `GET /q/d/l/?s=aapl.us&d1=YYYYMMDD&d2=YYYYMMDD&i=d` and the bulk ASCII layout.

Wire format, from recorded bodies: `Date,Open,High,Low,Close,Volume` (or Polish names, or no volume column), ISO dates,
LF or CRLF, a byte order mark at times, rows that lack the last field. Errors come with HTTP status 200 as text or HTML.
The bulk files hold `<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>` with dates as YYYYMMDD,
times as hhmmss (`market_data.providers.stooq_clock` says of which zone), and D, 60 or 5 (minutes) for PER.
Both faces send prices adjusted for splits and dividends as of the download, and no corporate actions.
"""

from __future__ import annotations

import codecs
import io
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from market_data.errors import BadPayload, NotEntitled, OutOfWindow, QuotaExhausted, UnknownSymbol
from market_data.instruments import Instrument
from market_data.providers.bodies import Answer, error_of_status, shown
from market_data.providers.client import VendorClient
from market_data.providers.frames import Column, bars_frame, intraday_frame
from market_data.providers.stooq_clock import bar_starts
from market_data.records import Basis, FetchRequest, ParsedBars, RawPayload
from market_data.schemas import BAR_FIELDS, empty_actions
from market_data.sessions import last_completed_session

__all__ = ["ASCII_HEADER", "StooqClient", "parse", "parse_bulk"]

ASCII_HEADER = b"<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>"
_ASCII_NAMES = ["ticker", "per", "date", "time", "open", "high", "low", "close", "volume", "open_interest"]
_CSV_NAMES = ["date", "open", "high", "low", "close", "volume"]
_CSV_HEADERS = (b"Date,Open,High,Low,Close", b"Data,Otwarcie,Najwyzszy,Najnizszy,Zamkniecie")
_VOLUME_HEADERS = (b"Volume", b"Wolumen")
_PERIODS = {"1d": "D", "5m": "5", "1h": "60"}

_ERROR_TEXTS = (
    (b"no data", UnknownSymbol, "stooq has no data for it"),
    (b"brak danych", UnknownSymbol, "stooq has no data for it"),
    (b"exceeded the daily hits limit", QuotaExhausted, "stooq's daily hits limit is reached; it resets the next day"),
    (b"przekroczony dzienny limit", QuotaExhausted, "stooq's daily hits limit is reached; it resets the next day"),
    (b"get your apikey", NotEntitled, "stooq asks for an API key; get one on stooq.com, or use its bulk archive"),
    (b"access denied", NotEntitled, "stooq denies access; use its bulk archive"),
)


class StooqClient(VendorClient):
    """Stooq's daily CSV over HTTP, or anything that speaks it, such as the sandbox."""

    def fetch(self, instrument: Instrument, request: FetchRequest) -> RawPayload:
        """One answer, whatever its status, for as much of the window as is in reach, which its request tells.

        Raises:
            OutOfWindow: nothing of the window is in reach, or bars shorter than a day are wanted; no call is made.
            RateLimited, Transient: still failing after every retry.
        """
        asked = self._within_reach(request)
        query = {
            "s": instrument.ticker("stooq"),
            "d1": f"{asked.start:%Y%m%d}",
            # Up to now, whatever the window's end: prices are adjusted up to now, and without the bars around the
            # dividends since they could not be turned back.
            "d2": f"{max(asked.end, self._clock().date()):%Y%m%d}",
            "i": "d",
        }
        if self._key:
            query["apikey"] = self._key
        return self._http.fetch(self.name, asked, "/q/d/l/", query, clock=self._clock)

    def _within_reach(self, request: FetchRequest) -> FetchRequest:
        first = self._config.first_reachable(last_completed_session(self._clock()))
        start = max(request.start, first or request.start)
        if request.interval != "1d" or start > request.end:
            raise OutOfWindow(
                f"{request.symbol}: {self.name} serves daily bars{f' from {first} on' if first else ''}, not "
                f"{request.interval} bars of {request.start}..{request.end}; ask another provider for them"
            )
        return replace(request, start=start)


def parse(body: bytes, answer: Answer) -> ParsedBars:
    """Bars of a `/q/d/l/` body, adjusted up to its download.

    Raises:
        UnknownSymbol, QuotaExhausted, NotEntitled: the body is one of Stooq's messages.
        RateLimited, Transient, NotEntitled, UnknownSymbol: as the status says, where it is not 200.
        BadPayload: the body is neither that nor this CSV, wholly.
        ValueError: an interval other than "1d".
    """
    _require_daily(answer)
    symbol = answer.symbol
    text = body.removeprefix(codecs.BOM_UTF8)
    _refuse_messages(text, symbol)
    if answer.status != 200:
        raise error_of_status(answer.status, f"{symbol}: HTTP status {answer.status} carries no bars: {shown(text)}")
    lines = text.splitlines()
    header = lines[0].strip() if lines else b""
    columns = _csv_columns(header, symbol)
    _require_whole(text, lines, len(columns), symbol)
    table = _read(lines, columns, symbol, date_type=pa.date32())
    dates = table["date"].to_numpy()
    return ParsedBars(_frame(table, dates, symbol), empty_actions(), Basis.SPLIT_DIVIDEND, answer.fetched_at)


def parse_bulk(body: bytes, answer: Answer) -> ParsedBars:
    """Bars of a bulk ASCII file. The last bar's date is taken as what the adjustment is complete up to.

    Args:
        answer: its ticker is the spelling the rows must carry, such as `brk-b.us`; its interval is 1d, 5m or 1h.

    Raises:
        UnknownSymbol: the file is empty, as Stooq's are for some instruments.
        BadPayload: not this layout, rows of another ticker or period, a value that is no number, intraday times that
            fit no zone.
        ValueError: another interval.
    """
    if answer.interval not in _PERIODS:
        raise ValueError(f"interval {answer.interval!r} is not in stooq's bulk archive; it has {', '.join(_PERIODS)}")
    symbol = answer.symbol
    text = body.removeprefix(codecs.BOM_UTF8)
    lines = text.splitlines()
    if not text.strip() or text.strip() == ASCII_HEADER:
        raise UnknownSymbol(f"{symbol}: the archive's file is empty")
    if lines[0].strip() != ASCII_HEADER:
        raise BadPayload(f"{symbol}: not a Stooq ASCII file: its first line is {shown(lines[0])}")
    _require_whole(text, lines, len(_ASCII_NAMES), symbol)
    table = _read(lines, _ASCII_NAMES, symbol, date_type=pa.string())
    _require_single(table["ticker"], answer.ticker.upper(), "<TICKER>", symbol)
    _require_single(table["per"], _PERIODS[answer.interval], "<PER>", symbol)
    dates = _dates(table["date"], symbol)
    as_of = datetime.fromtimestamp(int(dates.max().astype("datetime64[s]").astype(np.int64)), tz=UTC)
    if answer.interval == "1d":
        frame = _frame(table, dates, symbol)
    else:
        stamps: npt.NDArray[np.datetime64] = np.add(dates.astype("datetime64[s]"), _times(table["time"], symbol))
        frame = intraday_frame(bar_starts(stamps, answer.interval, symbol), _columns(table, symbol), symbol)
    return ParsedBars(frame, empty_actions(), Basis.SPLIT_DIVIDEND, as_of)


def _require_daily(answer: Answer) -> None:
    if answer.interval != "1d":
        raise ValueError(f"interval {answer.interval!r} is not served by stooq; it serves 1d")


def _refuse_messages(text: bytes, symbol: str) -> None:
    start = text[:2048].lstrip().lower()
    for message, error, meaning in _ERROR_TEXTS:
        if start.startswith(message):
            raise error(f"{symbol}: {meaning}")
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<script")):
        if b"javascript" in start or b"__verify" in start:
            raise NotEntitled(
                f"{symbol}: stooq answers with a browser check, an access control that is not got around; "
                "use its bulk archive"
            )
        raise BadPayload(f"{symbol}: HTML came where CSV was due: {shown(text)}")


def _csv_columns(header: bytes, symbol: str) -> list[str]:
    for known in _CSV_HEADERS:
        if header == known:
            return _CSV_NAMES[:-1]
        if header in [known + b"," + volume for volume in _VOLUME_HEADERS]:
            return _CSV_NAMES
    raise BadPayload(f"{symbol}: not Stooq's CSV: its first line is {shown(header)}")


def _read(lines: list[bytes], columns: list[str], symbol: str, *, date_type: pa.DataType) -> pa.Table:
    types = {name: pa.float64() for name in columns}
    types |= {name: pa.string() for name in ("ticker", "per", "time") if name in columns}
    rows = _even_rows(lines, len(columns), symbol)
    if not rows:
        return pa.table({name: pa.array([], date_type if name == "date" else types[name]) for name in columns})
    try:
        return pyarrow.csv.read_csv(
            io.BytesIO(b"\n".join(rows)),
            read_options=pyarrow.csv.ReadOptions(column_names=columns, use_threads=False, block_size=1 << 27),
            parse_options=pyarrow.csv.ParseOptions(quote_char=False),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={**types, "date": date_type}, null_values=[""], strings_can_be_null=False
            ),
        )
    except pa.ArrowException as error:
        raise BadPayload(f"{symbol}: {shown(str(error).encode())}") from None


def _require_whole(text: bytes, lines: list[bytes], width: int, symbol: str) -> None:
    if not text.endswith((b"\n", b"\r")) and lines[-1].count(b",") < width - 1 and len(lines) > 1:
        raise BadPayload(f"{symbol}: the last line is cut: {shown(lines[-1])}")


def _even_rows(lines: list[bytes], width: int, symbol: str) -> list[bytes]:
    """The rows below the header, those that lack only their last field padded with an empty one."""
    rows = lines[1:]
    while rows and not rows[-1].strip():
        rows.pop()
    commas = np.array([row.count(b",") for row in rows], dtype=np.int64)
    wrong = np.flatnonzero((commas != width - 1) & (commas != width - 2))
    if wrong.size:
        first = int(wrong[0])
        raise BadPayload(
            f"{symbol}: line {first + 2} has {commas[first] + 1} fields, not {width}: {shown(rows[first])}"
        )
    for line in np.flatnonzero(commas == width - 2):
        rows[line] += b","
    return rows


def _dates(column: pa.ChunkedArray, symbol: str) -> npt.NDArray[np.datetime64]:
    shaped = pc.match_substring_regex(column, r"^-?[0-9]{1,19}$")
    if not pc.all(shaped).as_py():
        other = column.filter(pc.invert(shaped))[0].as_py()
        raise BadPayload(f"{symbol}: <DATE> {shown(other.encode())} is not a date as in 20210119")
    try:
        numbers = column.cast(pa.int64()).to_numpy()
    except pa.ArrowException as error:
        raise BadPayload(f"{symbol}: <DATE> {shown(str(error).encode())}") from None
    year, month, day = numbers // 10000, numbers // 100 % 100, numbers % 100
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    dates: npt.NDArray[np.datetime64] = months.astype("datetime64[D]") + (day - 1).astype("timedelta64[D]")
    wrong = (year < 1800) | (year > 2200) | (month < 1) | (month > 12) | (dates.astype("datetime64[M]") != months)
    wrong |= day < 1
    if wrong.any():
        raise BadPayload(f"{symbol}: <DATE> {numbers[wrong][0]} is not a date as in 20210119")
    return dates


def _times(column: pa.ChunkedArray, symbol: str) -> npt.NDArray[np.timedelta64]:
    """Times of day as hhmmss; the zeros in front may be missing."""
    shaped = pc.match_substring_regex(column, r"^[0-9]{1,6}$")
    numbers = column.filter(shaped).cast(pa.int64()).to_numpy()
    hour, minute, second = numbers // 10000, numbers // 100 % 100, numbers % 100
    wrong = (hour > 23) | (minute > 59) | (second > 59)
    if len(numbers) < len(column) or wrong.any():
        other = column.filter(pc.invert(shaped))[0].as_py() if len(numbers) < len(column) else str(numbers[wrong][0])
        raise BadPayload(f"{symbol}: <TIME> {shown(other.encode())} is not a time as in 153000")
    times: npt.NDArray[np.timedelta64] = (hour * 3600 + minute * 60 + second).astype("timedelta64[s]")
    return times


def _frame(table: pa.Table, dates: npt.NDArray[np.datetime64], symbol: str) -> pd.DataFrame:
    if table["date"].null_count:
        raise BadPayload(f"{symbol}: a row has no date")
    return bars_frame(dates, _columns(table, symbol), symbol)


def _columns(table: pa.Table, symbol: str) -> dict[str, Column]:
    columns = {name: table[name].to_numpy() for name in BAR_FIELDS if name in table.column_names}
    for name, column in columns.items():
        if np.count_nonzero(~np.isfinite(column)) != table[name].null_count:
            raise BadPayload(f"{symbol}: {name} holds a value that is not a finite number")
    return columns


def _require_single(column: pa.ChunkedArray, value: str, label: str, symbol: str) -> None:
    found = {item.upper() for item in column.unique().to_pylist()}
    if found != {value}:
        other = sorted(found - {value})[0]
        raise BadPayload(f"{symbol}: {label} is {shown(other.encode())} where {value} was due")
