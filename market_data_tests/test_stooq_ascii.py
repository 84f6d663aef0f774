from __future__ import annotations

import csv
import re
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data.errors import BadPayload, ProviderError, UnknownSymbol
from market_data.instruments import Instrument
from market_data.providers.bodies import Answer
from market_data.providers.stooq import ASCII_HEADER, parse_bulk
from market_data.records import Basis, ParsedBars
from market_data.schemas import RawBars
from market_data.sessions import sessions_between

FIELDS = ["open", "high", "low", "close", "volume"]
SYMBOLS = ["AAPL", "ADBE", "AMZN", "BAC", "CRM", "CSCO", "DIS", "GOOGL", "HD", "JNJ", "JPM", "MA", "META", "MSFT"]
SYMBOLS += ["NVDA", "PG", "TSLA"]


def parsed_as(body: bytes, symbol: str = "AAPL", ticker: str | None = None) -> ParsedBars:
    return parse_bulk(body, Answer(symbol, ticker or Instrument(symbol).ticker("stooq")))


def bars(body: bytes, symbol: str = "AAPL", ticker: str | None = None) -> pd.DataFrame:
    return parsed_as(body, symbol, ticker).bars


def row(day: str = "20210119", *, numbers: str = "1,2,0.5,1.5,1000", ticker: str = "AAPL.US", per: str = "D") -> bytes:
    return f"{ticker},{per},{day},000000,{numbers},0".encode()


def body_of(*rows: bytes, line_end: bytes = b"\r\n") -> bytes:
    return line_end.join([ASCII_HEADER, *rows, b""])


def refused(*rows: bytes) -> str:
    with pytest.raises(BadPayload) as caught:
        bars(body_of(*rows))
    return str(caught.value)


def as_python_reads_it(body: bytes) -> tuple[list[str], np.ndarray]:
    lines = [line for line in re.split(r"\r\n|\r|\n", body.decode("utf-8-sig"))[1:] if line.strip()]
    rows = sorted(csv.reader(lines), key=lambda fields: int(fields[2]))
    numbers = [[float(text) if text.strip() else np.nan for text in fields[4:9]] for fields in rows]
    return [fields[2].strip() for fields in rows], np.array(numbers).reshape(-1, 5)


def assert_same(frame: pd.DataFrame, body: bytes) -> None:
    dates, numbers = as_python_reads_it(body)
    assert frame["date"].dt.strftime("%Y%m%d").tolist() == dates
    np.testing.assert_array_equal(frame[FIELDS].to_numpy(), numbers, strict=True)


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_a_recorded_history_is_read_number_for_number(payloads, symbol):
    body = (payloads / "history" / f"{symbol}_stooq-ascii_2019-2026.csv").read_bytes()
    parsed = parsed_as(body, symbol)
    assert len(parsed.bars) == 1794
    assert (parsed.bars["date"].iloc[0], parsed.bars["date"].iloc[-1]) == (
        pd.Timestamp(2019, 1, 2),
        pd.Timestamp(2026, 2, 20),
    )
    assert (parsed.basis, parsed.adjusted_as_of) == (Basis.SPLIT_DIVIDEND, datetime(2026, 2, 20, tzinfo=UTC))
    assert len(parsed.actions) == 0
    assert_same(parsed.bars, body)


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_a_recorded_history_holds_every_session_of_the_window(payloads, symbol):
    frame = bars((payloads / "history" / f"{symbol}_stooq-ascii_2019-2026.csv").read_bytes(), symbol)
    window = sessions_between(date(2021, 1, 19), date(2026, 1, 19))
    assert len(window.difference(pd.DatetimeIndex(frame["date"]))) == 0


def test_every_recorded_history_is_among_those_above(payloads):
    found = {path.name.split("_")[0] for path in (payloads / "history").glob("*_stooq-ascii_*.csv")}
    assert found == set(SYMBOLS)


def test_a_recorded_history_under_another_symbol_is_refused(payloads):
    body = (payloads / "history" / "GOOGL_stooq-ascii_2019-2026.csv").read_bytes()
    with pytest.raises(BadPayload, match=r"^MSFT: <TICKER> is 'GOOGL\.US' where MSFT\.US was due$"):
        bars(body, "MSFT")


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_line_ends_and_a_byte_order_mark_make_no_difference(start, line_end):
    frame = bars(start + body_of(row("20210119"), row("20210120", numbers="3,4,2.5,3.5,2000.25"), line_end=line_end))
    assert frame["date"].tolist() == [pd.Timestamp(2021, 1, 19), pd.Timestamp(2021, 1, 20)]
    assert frame[FIELDS].to_numpy().tolist() == [[1.0, 2.0, 0.5, 1.5, 1000.0], [3.0, 4.0, 2.5, 3.5, 2000.25]]
    assert frame[["vwap", "trade_count"]].isna().all(axis=None)


def test_the_ticker_of_a_share_class_has_a_dash():
    body = body_of(row(ticker="BRK-B.US"))
    assert len(bars(body, "BRK.B")) == 1
    assert len(bars(body_of(row(ticker="brk-b.us")), "BRK.B")) == 1


def test_a_ticker_out_of_the_rule_is_the_one_that_is_due():
    body = body_of(row(ticker="BRK_B.US"))
    assert len(bars(body, "BRK.B", ticker="brk_b.us")) == 1
    with pytest.raises(BadPayload, match=r"^BRK\.B: <TICKER> is 'BRK_B\.US' where BRK-B\.US was due$"):
        bars(body, "BRK.B")


@pytest.mark.parametrize("ticker", ["MSFT.US", "AAPL", "AAPL.DE", "", " AAPL.US"])
def test_one_row_of_another_ticker_spoils_the_file(ticker):
    assert refused(row(), row("20210120", ticker=ticker)) == (
        f"AAPL: <TICKER> is {ticker.upper()!r} where AAPL.US was due"
    )


@pytest.mark.parametrize("per", ["60", "5", "W", ""])
def test_one_row_of_another_period_spoils_the_file(per):
    assert refused(row(), row("20210120", per=per)) == f"AAPL: <PER> is {per!r} where D was due"


@pytest.mark.parametrize(
    "body", [b"", b"\n", b" \r\n\r\n", b"\xef\xbb\xbf", ASCII_HEADER, ASCII_HEADER + b"\r\n", body_of(b"", b"")]
)
def test_a_file_without_rows_knows_no_such_instrument(body):
    with pytest.raises(UnknownSymbol, match=r"^AAPL: the archive's file is empty$"):
        bars(body)


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"Date,Open,High,Low,Close,Volume\n2021-01-19,1,2,3,4,5\n", "'Date,Open,High,Low,Close,Volume'"),
        (b"No data", "'No data'"),
        (b"<html>\n", "'<html>'"),
        (row() + b"\n", "'AAPL.US,D,20210119,000000,1,2,0.5,1.5,1000,0'"),
        (b"\n" + body_of(row()), "''"),
        (b"\xff\xfe<\0", "'\ufffd\ufffd<\\x00'"),
    ],
)
def test_what_is_not_stooqs_layout_is_refused_with_its_first_line(body, shown):
    with pytest.raises(BadPayload) as caught:
        bars(body)
    assert str(caught.value) == f"AAPL: not a Stooq ASCII file: its first line is {shown}"


def test_descending_rows_come_out_ascending_and_the_adjustment_is_as_of_the_latest():
    parsed = parsed_as(body_of(row("20210121"), row("20210120"), row("20210119")))
    assert parsed.bars["date"].dt.day.tolist() == [19, 20, 21]
    assert parsed.adjusted_as_of == datetime(2021, 1, 21, tzinfo=UTC)


def test_another_interval_than_a_day_is_refused():
    with pytest.raises(ValueError, match=r"^interval '1m' is not in stooq's bulk archive; it has 1d, 5m, 1h$"):
        parse_bulk(body_of(row()), Answer("AAPL", "aapl.us", interval="1m"))


def test_a_row_without_open_interest_is_whole():
    frame = bars(body_of(row()[:-2], row("20210120")))
    assert frame["volume"].tolist() == [1000.0, 1000.0]


def test_empty_cells_are_nulls_and_exponents_and_fractions_are_numbers():
    frame = bars(body_of(row(numbers=",2.5E2,,-1e-3,155561889.14211")))
    np.testing.assert_array_equal(frame[FIELDS].to_numpy(), [[np.nan, 250.0, np.nan, -0.001, 155561889.14211]])


@pytest.mark.parametrize(
    "value", ["nan", "NaN", "inf", "-inf", "1e999", '"1"', "0x10", "1_0", "1 0", "N/A", "null", "1.2.3"]
)
@pytest.mark.parametrize("place", [0, 4])
def test_a_value_that_is_no_finite_number_is_refused(value, place):
    numbers = ["1", "2", "0.5", "1.5", "1000"]
    numbers[place] = value
    assert refused(row(), row("20210120", numbers=",".join(numbers))).startswith("AAPL: ")


@pytest.mark.parametrize(
    "day",
    ["20210230", "20211301", "20210100", "0", "-20210119", "17991231", "22010101", "2021011", "9223372036854775807"],
)
def test_a_number_that_is_no_date_is_refused(day):
    assert refused(row(), row(day)) == f"AAPL: <DATE> {day} is not a date as in 20210119"


@pytest.mark.parametrize("day", ["2021-01-19", "20210119.0", hex(20210119), '"20210119"', "99999999999999999999"])
def test_a_date_that_is_not_eight_digits_is_refused(day):
    assert refused(row(), row(day)).startswith("AAPL: ")


def test_a_row_without_a_date_is_refused():
    assert "date" in refused(row(), row("")).lower()


@pytest.mark.parametrize(("damaged", "count"), [(row()[:-9], 8), (row() + b",0", 11), (b"x", 1)])
def test_a_row_of_another_width_is_refused_with_its_line(damaged, count):
    message = refused(row(), damaged, row("20210121"))
    assert message == f"AAPL: line 3 has {count} fields, not 10: {damaged.decode()!r}"


def test_a_file_cut_inside_the_volume_of_its_last_row_is_refused():
    with pytest.raises(BadPayload):
        bars(body_of(row("20210119"), row("20210120"))[: -len(b"00,0\r\n")])


NUMBERS = st.none() | st.floats(allow_nan=False, allow_infinity=False)
ROWS = st.lists(st.tuples(st.dates(date(1900, 1, 1), date(2100, 1, 1)), *[NUMBERS] * 5), min_size=1, max_size=12)


@settings(max_examples=60)
@given(ROWS, st.sampled_from([b"\n", b"\r\n"]))
def test_a_table_written_as_stooqs_ascii_is_read_back_exactly(rows, line_end):
    texts = [",".join("" if number is None else repr(number) for number in numbers) for _, *numbers in rows]
    lines = [row(f"{fields[0]:%Y%m%d}", numbers=text) for fields, text in zip(rows, texts, strict=True)]
    parsed = parsed_as(body_of(*lines, line_end=line_end))
    kept = sorted(rows, key=lambda fields: fields[0])
    assert parsed.bars["date"].dt.date.tolist() == [fields[0] for fields in kept]
    expected = np.array([fields[1:] for fields in kept], dtype=float).reshape(-1, 5)
    np.testing.assert_array_equal(parsed.bars[FIELDS].to_numpy(), expected)
    assert parsed.adjusted_as_of.date() == kept[-1][0]


TEXTS = st.text('0123456789,.-+eE \r\n\0"nainfAPL.USD', max_size=80).map(str.encode)


@given(st.binary(max_size=80) | st.tuples(TEXTS, TEXTS).map(lambda parts: body_of(row(), *parts)) | TEXTS.map(body_of))
def test_any_bytes_give_raw_bars_or_a_provider_error(body):
    try:
        parsed = parsed_as(body)
    except ProviderError:
        return
    assert len(RawBars.validate(parsed.bars)) > 0
    assert parsed.adjusted_as_of == parsed.bars["date"].iloc[-1].tz_localize(UTC)


VALID = body_of(*(row(f"202102{day:02d}", numbers=f"1.5,2.25,1.125,2,{day}000") for day in range(1, 13)))
PIECES = st.sampled_from([b"", b",", b"\n", b"\r\n", b"\r", b".", b"-", b"7", b"e1", b"nan", b'"', b" ", b"\0", b",,"])


@given(st.integers(len(ASCII_HEADER) + 2, len(VALID)), st.integers(0, 60), PIECES)
def test_a_damaged_file_is_refused_or_read_as_what_it_says(place, removed, inserted):
    body = VALID[:place] + inserted + VALID[place + removed :]
    try:
        frame = bars(body)
    except ProviderError:
        return
    assert_same(frame, body)
