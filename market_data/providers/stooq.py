"""Stooq: the CSV of `GET /q/d/l/?s=aapl.us&d1=YYYYMMDD&d2=YYYYMMDD&i=d` and the bulk ASCII layout.

Wire format, from recorded bodies: `Date,Open,High,Low,Close,Volume` (or Polish names, or no volume column), ISO dates,
LF or CRLF, a byte order mark at times, rows that lack the last field. Errors come with HTTP status 200 as text or HTML.
The bulk files hold `<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>` with dates as YYYYMMDD.
Both faces send prices adjusted for splits and dividends as of the download, and no corporate actions.
"""

from __future__ import annotations

import codecs
import io
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from market_data.errors import BadPayload, NotEntitled, QuotaExhausted, UnknownSymbol
from market_data.instruments import Instrument
from market_data.providers.base import Clock, sha256_hex, utc_now
from market_data.providers.http import HttpSource
from market_data.records import Basis, FetchRequest, ParsedBars, RawPayload
from market_data.schemas import empty_actions

__all__ = ["ASCII_HEADER", "StooqClient", "parse_ascii", "parse_csv"]

ASCII_HEADER = b"<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>"
_ASCII_NAMES = ["ticker", "per", "date", "time", "open", "high", "low", "close", "volume", "open_interest"]
_CSV_NAMES = ["date", "open", "high", "low", "close", "volume"]
_CSV_HEADERS = (b"Date,Open,High,Low,Close", b"Data,Otwarcie,Najwyzszy,Najnizszy,Zamkniecie")
_VOLUME_HEADERS = (b"Volume", b"Wolumen")
_DAILY = "D"

_ERROR_TEXTS = (
    (b"no data", UnknownSymbol, "stooq has no data for it"),
    (b"brak danych", UnknownSymbol, "stooq has no data for it"),
    (b"exceeded the daily hits limit", QuotaExhausted, "stooq's daily hits limit is reached; it resets the next day"),
    (b"przekroczony dzienny limit", QuotaExhausted, "stooq's daily hits limit is reached; it resets the next day"),
    (b"get your apikey", NotEntitled, "stooq asks for an API key; get one on stooq.com, or use its bulk archive"),
    (b"access denied", NotEntitled, "stooq denies access; use its bulk archive"),
)


class StooqClient:
    """Stooq's daily CSV over HTTP, or anything that speaks it, such as the sandbox.

    Args:
        name: what is recorded as the provider.
        http: the HTTP source, its base URL ending before `/q/d/l/`.
        synthetic: whether the server makes its data up.
    """

    def __init__(self, name: str, http: HttpSource, *, synthetic: bool, clock: Clock = utc_now) -> None:
        self.name = name
        self.synthetic = synthetic
        self._http = http
        self._clock = clock

    def serves(self, instrument: Instrument) -> bool:
        """Every US instrument may be asked for."""
        return True

    def fetch(self, instrument: Instrument, request: FetchRequest) -> RawPayload:
        """One CSV for the request's window."""
        query = {
            "s": instrument.ticker("stooq"),
            "d1": f"{request.start:%Y%m%d}",
            "d2": f"{request.end:%Y%m%d}",
            "i": "d",
        }
        answer = self._http.get("/q/d/l/", query)
        return RawPayload(
            provider=self.name,
            request=request,
            body=answer.body,
            sha256=sha256_hex(answer.body),
            url=answer.url,
            status=answer.status,
            content_type=answer.content_type,
            fetched_at=self._clock(),
            attempts=answer.attempts,
            elapsed_ms=answer.elapsed_ms,
        )

    def close(self) -> None:
        """Close the connection pool."""
        self._http.close()


def parse_csv(body: bytes, *, symbol: str, fetched_at: datetime | None = None) -> ParsedBars:
    """Bars of a `/q/d/l/` body.

    Args:
        fetched_at: instant of the download, up to which the prices are adjusted.

    Raises:
        UnknownSymbol, QuotaExhausted, NotEntitled: the body is one of Stooq's messages.
        BadPayload: the body is neither that nor this CSV, wholly.
    """
    text = body.removeprefix(codecs.BOM_UTF8)
    _refuse_messages(text, symbol)
    lines = text.splitlines()
    header = lines[0].strip() if lines else b""
    columns = _csv_columns(header, symbol)
    _require_whole(text, lines, len(columns), symbol)
    table = _read(lines, columns, symbol, date_type=pa.date32())
    dates = table["date"].to_numpy().astype("datetime64[s]")
    wrong = (dates < np.datetime64("1800-01-01")) | (dates > np.datetime64("2200-12-31"))
    if wrong.any():
        raise BadPayload(f"{symbol}: {dates[wrong][0].astype('datetime64[D]')} is not a date a bar can have")
    return ParsedBars(_frame(table, dates, symbol), empty_actions(), Basis.SPLIT_DIVIDEND, fetched_at)


def parse_ascii(body: bytes, *, symbol: str, ticker: str | None = None) -> ParsedBars:
    """Daily bars of a bulk ASCII file. The last bar's date is taken as what the adjustment is complete up to.

    Args:
        ticker: spelling the rows must carry, such as `brk-b.us`; by default the regular one of `symbol`.

    Raises:
        UnknownSymbol: the file is empty, as Stooq's are for some instruments.
        BadPayload: not this layout, rows of another ticker or period, a value that is no number.
    """
    text = body.removeprefix(codecs.BOM_UTF8)
    lines = text.splitlines()
    if not text.strip() or text.strip() == ASCII_HEADER:
        raise UnknownSymbol(f"{symbol}: the archive's file is empty")
    if lines[0].strip() != ASCII_HEADER:
        raise BadPayload(f"{symbol}: not a Stooq ASCII file: its first line is {_shown(lines[0])}")
    _require_whole(text, lines, len(_ASCII_NAMES), symbol)
    table = _read(lines, _ASCII_NAMES, symbol, date_type=pa.string())
    _require_single(table["ticker"], (ticker or Instrument(symbol).ticker("stooq")).upper(), "<TICKER>", symbol)
    _require_single(table["per"], _DAILY, "<PER>", symbol)
    shaped = pc.match_substring_regex(table["date"], r"^-?[0-9]{1,19}$")
    if not pc.all(shaped).as_py():
        other = table["date"].filter(pc.invert(shaped))[0].as_py()
        raise BadPayload(f"{symbol}: <DATE> {_shown(other.encode())} is not a date as in 20210119")
    try:
        numbers = table["date"].cast(pa.int64()).to_numpy()
    except pa.ArrowException as error:
        raise BadPayload(f"{symbol}: <DATE> {_shown(str(error).encode())}") from None
    dates = _dates(numbers, symbol)
    as_of = datetime.fromtimestamp(int(dates.max().astype("datetime64[s]").astype(np.int64)), tz=UTC)
    return ParsedBars(_frame(table, dates, symbol), empty_actions(), Basis.SPLIT_DIVIDEND, as_of)


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
        raise BadPayload(f"{symbol}: HTML came where CSV was due: {_shown(text)}")


def _csv_columns(header: bytes, symbol: str) -> list[str]:
    for known in _CSV_HEADERS:
        if header == known:
            return _CSV_NAMES[:-1]
        if header in [known + b"," + volume for volume in _VOLUME_HEADERS]:
            return _CSV_NAMES
    raise BadPayload(f"{symbol}: not Stooq's CSV: its first line is {_shown(header)}")


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
        raise BadPayload(f"{symbol}: {_shown(str(error).encode())}") from None


def _require_whole(text: bytes, lines: list[bytes], width: int, symbol: str) -> None:
    if not text.endswith((b"\n", b"\r")) and lines[-1].count(b",") < width - 1 and len(lines) > 1:
        raise BadPayload(f"{symbol}: the last line is cut: {_shown(lines[-1])}")


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
            f"{symbol}: line {first + 2} has {commas[first] + 1} fields, not {width}: {_shown(rows[first])}"
        )
    for line in np.flatnonzero(commas == width - 2):
        rows[line] += b","
    return rows


def _dates(numbers: npt.NDArray[np.int64], symbol: str) -> npt.NDArray[np.datetime64]:
    year, month, day = numbers // 10000, numbers // 100 % 100, numbers % 100
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    dates = months.astype("datetime64[D]") + (day - 1).astype("timedelta64[D]")
    wrong = (year < 1800) | (year > 2200) | (month < 1) | (month > 12) | (dates.astype("datetime64[M]") != months)
    wrong |= day < 1
    if wrong.any():
        raise BadPayload(f"{symbol}: <DATE> {numbers[wrong][0]} is not a date as in 20210119")
    seconds: npt.NDArray[np.datetime64] = dates.astype("datetime64[s]")
    return seconds


def _frame(table: pa.Table, dates: npt.NDArray[np.datetime64], symbol: str) -> pd.DataFrame:
    """A `RawBars` frame: what the model asks for holds by construction, and tests hold every parser to it."""
    if table["date"].null_count:
        raise BadPayload(f"{symbol}: a row has no date")
    nothing = np.full(len(dates), np.nan)
    values = {name: table[name].to_numpy() if name in table.column_names else nothing for name in _CSV_NAMES[1:]}
    for name, column in values.items():
        if name in table.column_names and np.count_nonzero(~np.isfinite(column)) != table[name].null_count:
            raise BadPayload(f"{symbol}: {name} holds a value that is not a finite number")
    frame = pd.DataFrame({"date": dates, **values, "vwap": nothing, "trade_count": nothing}, copy=True)
    if not frame["date"].is_monotonic_increasing:
        frame = frame.sort_values("date", kind="stable", ignore_index=True)
    return frame


def _require_single(column: pa.ChunkedArray, value: str, label: str, symbol: str) -> None:
    found = {item.upper() for item in column.unique().to_pylist()}
    if found != {value}:
        other = sorted(found - {value})[0]
        raise BadPayload(f"{symbol}: {label} is {_shown(other.encode())} where {value} was due")


def _shown(text: bytes) -> str:
    line = text[:160].decode("utf-8", "replace").splitlines()
    return repr(line[0][:120] if line else "")
