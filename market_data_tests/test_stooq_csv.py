from __future__ import annotations

import csv
import re
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data.errors import BadPayload, NotEntitled, ProviderError, QuotaExhausted, UnknownSymbol
from market_data.providers.bodies import Answer
from market_data.providers.stooq import parse
from market_data.records import Basis
from market_data.schemas import RawBars

HEADER = b"Date,Open,High,Low,Close,Volume"
FIELDS = ["open", "high", "low", "close", "volume"]
RECORDED = [
    ("stooq/aapl_us_d_asof-2026-02-03.csv", 10432, "1984-09-07", "2026-02-03"),
    ("stooq/aapl_us_d_asof-2026-06-26.csv", 10531, "1984-09-07", "2026-06-26"),
    ("stooq/eurusd_d_no-volume-column.csv", 4125, "2010-01-04", "2025-12-05"),
    ("stooq/nkx_d_asof-2025-12.csv", 2636, "2015-03-02", "2025-12-10"),
    ("stooq/polish_aapl_us_d_2020-2024.csv", 1026, "2020-02-14", "2024-03-13"),
    ("stooq/polish_amzn_us_d_asof-2022-01_before-split.csv", 6209, "1997-05-16", "2022-01-24"),
    ("stooq/polish_cdr_d_warsaw.csv", 6822, "1994-08-02", "2022-01-24"),
    ("stooq/polish_eth_v_d_ragged-volume.csv", 1855, "2019-02-14", "2024-03-13"),
    ("stooq/qqq_us_d_2025.csv", 207, "2025-01-02", "2025-10-29"),
    ("stooq/spy_us_d_2026.csv", 100, "2026-01-27", "2026-06-18"),
    ("stooq/wig20_d_asof-2023-03.csv", 7531, "1991-04-16", "2023-03-10"),
    ("history/MSFT_stooq_asof-2026-02-06.csv", 1785, "2019-01-02", "2026-02-06"),
    ("history/NDX_stooq_2019-2026.csv", 1785, "2019-01-02", "2026-02-06"),
    ("history/NVDA_stooq_2019-2026.csv", 1780, "2019-01-02", "2026-01-30"),
]


def answer(**told: object) -> Answer:
    return Answer("AAPL", "aapl.us", **told)


def bars(body: bytes) -> pd.DataFrame:
    return parse(body, answer()).bars


def refused(*rows: bytes) -> str:
    with pytest.raises(BadPayload) as caught:
        bars(b"\n".join([HEADER, *rows, b""]))
    return str(caught.value)


def table(frame: pd.DataFrame) -> list[list[object]]:
    return [[day.date().isoformat(), *row] for day, *row in frame[["date", *FIELDS]].itertuples(index=False)]


def as_python_reads_it(body: bytes) -> tuple[list[str], np.ndarray]:
    rows = list(csv.reader(body.decode("utf-8-sig").splitlines()))[1:]
    while rows and not "".join(rows[-1]).strip():
        rows.pop()
    numbers = [[float(text) if text.strip() else np.nan for text in [*row[1:], "", ""][:5]] for row in rows]
    dates = [row[0].strip() for row in rows]
    order = sorted(range(len(rows)), key=dates.__getitem__)
    return [dates[place] for place in order], np.array([numbers[place] for place in order]).reshape(-1, 5)


def assert_same(frame: pd.DataFrame, body: bytes) -> None:
    dates, numbers = as_python_reads_it(body)
    assert np.datetime_as_string(frame["date"].to_numpy(), unit="D").tolist() == dates
    np.testing.assert_array_equal(frame[FIELDS].to_numpy(), numbers, strict=True)


@pytest.mark.parametrize(("name", "count", "first", "last"), RECORDED, ids=[Path(row[0]).stem for row in RECORDED])
def test_a_recorded_body_is_read_number_for_number(payloads, name, count, first, last):
    body = (payloads / name).read_bytes()
    frame = bars(body)
    assert (len(frame), str(frame["date"].iloc[0].date()), str(frame["date"].iloc[-1].date())) == (count, first, last)
    assert_same(frame, body)
    assert frame[["vwap", "trade_count"]].isna().all(axis=None)


def test_every_recorded_body_is_among_those_above(payloads):
    found = {f"stooq/{path.name}" for path in (payloads / "stooq").glob("*.csv")}
    found |= {f"history/{path.name}" for path in (payloads / "history").glob("*_stooq_*.csv")}
    assert found == {name for name, *_ in RECORDED}


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("error_200_no_data.txt", UnknownSymbol, "AAPL: stooq has no data for it"),
        ("error_200_exceeded_daily_hits_limit.txt", QuotaExhausted, "daily hits limit is reached"),
        ("error_200_get_your_apikey.txt", NotEntitled, "asks for an API key"),
        ("error_200_proof_of_work_excerpt.html", NotEntitled, "a browser check, an access control"),
    ],
)
def test_a_recorded_message_becomes_its_error(payloads, name, error, words):
    with pytest.raises(error, match=words) as caught:
        bars((payloads / "stooq" / name).read_bytes())
    assert type(caught.value) is error
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"No data", UnknownSymbol),
        (b"\xef\xbb\xbf\r\n no data\r\n", UnknownSymbol),
        (b"Brak danych", UnknownSymbol),
        (b"Exceeded the daily hits limit", QuotaExhausted),
        (b"Przekroczony dzienny limit wywolan", QuotaExhausted),
        (b"Get your apikey:\n\n1. Open https://", NotEntitled),
        (b"Access denied", NotEntitled),
        (b"<html><noscript>This site requires JavaScript", NotEntitled),
        (b"\n<script>fetch('/__verify')", NotEntitled),
        (b"<!DOCTYPE html><html><body>Maintenance", BadPayload),
        (b"<head></head>", BadPayload),
        (b"", BadPayload),
        (b"\xef\xbb\xbf", BadPayload),
        (b"\r\n", BadPayload),
        (b"{}", BadPayload),
        (b"Service unavailable", BadPayload),
        (b"\xff\xfeD\0a\0t\0e\0", BadPayload),
        (b"Date,Open,High,Low\n2021-01-19,1,2,3\n", BadPayload),
        (b"Date,Close,High,Low,Open,Volume\n2021-01-19,1,2,3,4,5\n", BadPayload),
        (b"2021-01-19,1,2,3,4,5\n", BadPayload),
    ],
)
def test_what_is_not_bars_becomes_the_error_that_says_so(body, error):
    with pytest.raises(ProviderError, match=r"^AAPL: ") as caught:
        bars(body)
    assert type(caught.value) is error


def test_an_unknown_first_line_is_shown_shortened():
    with pytest.raises(BadPayload, match=r"^AAPL: not Stooq's CSV: its first line is 'x{120}'$"):
        bars(b"x" * 5000)


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("header", [HEADER, b"Data,Otwarcie,Najwyzszy,Najnizszy,Zamkniecie,Wolumen"])
def test_either_language_line_end_and_a_byte_order_mark_make_no_difference(start, line_end, header):
    rows = [header, b"2021-01-19,1.5,2,1,1.75,1000", b"2021-01-20,1.75,2.5,1.5,2,1200.5", b"", b""]
    assert table(bars(start + line_end.join(rows))) == [
        ["2021-01-19", 1.5, 2.0, 1.0, 1.75, 1000.0],
        ["2021-01-20", 1.75, 2.5, 1.5, 2.0, 1200.5],
    ]


def test_a_row_without_volume_has_a_null_one():
    frame = bars(HEADER + b"\n2021-01-19,1,2,3,4\n2021-01-20,1,2,3,4,5\n2021-01-21,1,2,3,4,\n")
    assert frame["close"].tolist() == [4.0, 4.0, 4.0]
    np.testing.assert_array_equal(frame["volume"], [np.nan, 5.0, np.nan])


def test_a_table_without_a_volume_column_has_null_volumes():
    frame = bars(b"Date,Open,High,Low,Close\n2021-01-19,1,2,3,4\n")
    assert frame[FIELDS[:4]].iloc[0].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert frame["volume"].isna().all()


def test_empty_cells_are_nulls():
    frame = bars(HEADER + b"\n2021-01-19,,2,,4,5\n")
    np.testing.assert_array_equal(frame[FIELDS].to_numpy(), [[np.nan, 2.0, np.nan, 4.0, 5.0]])


def test_a_header_alone_is_a_table_without_rows():
    parsed = parse(HEADER + b"\r\n", answer())
    assert (len(parsed.bars), list(parsed.bars.columns)) == (0, ["date", *FIELDS, "vwap", "trade_count"])


def test_descending_rows_come_out_ascending():
    frame = bars(HEADER + b"\n2021-01-21,3,3,3,3,3\n2021-01-20,2,2,2,2,2\n2021-01-19,1,1,1,1,1\n")
    assert [row[:2] for row in table(frame)] == [["2021-01-19", 1.0], ["2021-01-20", 2.0], ["2021-01-21", 3.0]]
    assert frame.index.tolist() == [0, 1, 2]


def test_rows_of_the_same_date_are_all_kept_in_their_order():
    frame = bars(HEADER + b"\n2021-01-20,9,9,9,9,9\n2021-01-19,1,1,1,1,1\n2021-01-19,2,2,2,2,2\n")
    assert frame["open"].tolist() == [1.0, 2.0, 9.0]


def test_exponents_fractions_and_signs_are_numbers():
    frame = bars(HEADER + b"\n2021-01-19,1.5e2,-2E-3,.5,+4,155561889.14211\n")
    assert frame[FIELDS].iloc[0].tolist() == [150.0, -0.002, 0.5, 4.0, 155561889.14211]


@pytest.mark.parametrize(
    "value",
    [b"nan", b"NaN", b"inf", b"-Infinity", b"1e999", b'"1"', b"0x10", b"1_0", b"1 0", b"N/A", b"null", b"-", b"1.2.3"],
)
@pytest.mark.parametrize("place", [1, 5])
def test_a_value_that_is_no_finite_number_is_refused(value, place):
    fields = [b"2021-01-19", b"1", b"2", b"3", b"4", b"5"]
    fields[place] = value
    assert refused(b",".join(fields)).startswith("AAPL: ")


@pytest.mark.parametrize(
    "day",
    [b"20210119", b"2021/01/19", b"19.01.2021", b"2021-02-30", b"2021-1-9", b'"2021-01-19"', b"2021-01-19 16:00", b"x"],
)
def test_a_date_that_is_not_an_iso_date_is_refused(day):
    assert "date32" in refused(day + b",1,2,3,4,5")


@pytest.mark.parametrize("day", [b"0000-01-01", b"1799-12-31", b"9999-12-31"])
def test_a_date_no_bar_can_have_is_refused(day):
    assert day.decode() in refused(day + b",1,2,3,4,5")


def test_a_row_without_a_date_is_refused():
    assert refused(b"2021-01-19,1,2,3,4,5", b",1,2,3,4,5") == "AAPL: a row has no date"


@pytest.mark.parametrize(
    ("row", "count"), [(b"2021-01-20,1,2,3", 4), (b"2021-01-20,1,2,3,4,5,6", 7), (b"2021-01-20;1;2", 1), (b"", 1)]
)
def test_a_row_of_another_width_is_refused_with_its_line(row, count):
    message = refused(b"2021-01-19,1,2,3,4,5", row, b"2021-01-21,1,2,3,4,5")
    assert message == f"AAPL: line 3 has {count} fields, not 6: {row.decode()!r}"


def test_a_body_cut_inside_a_price_of_its_last_row_is_refused():
    with pytest.raises(BadPayload):
        bars(HEADER + b"\r\n2021-01-19,127.78,128.71,126.94,127.83,90757329\r\n2021-01-20,128.66,132.49,128.55,13")


def test_prices_are_adjusted_as_of_the_download_and_carry_no_actions():
    fetched = datetime(2026, 2, 3, 22, 15, tzinfo=UTC)
    parsed = parse(HEADER + b"\n2021-01-19,1,2,3,4,5\n", answer(fetched_at=fetched))
    assert (parsed.basis, parsed.adjusted_as_of) == (Basis.SPLIT_DIVIDEND, fetched)
    assert (len(parsed.actions), list(parsed.actions.columns)) == (0, ["date", "kind", "value"])


def test_another_interval_than_a_day_is_refused():
    with pytest.raises(ValueError, match=r"^interval '1m' is not served by stooq; it serves 1d$"):
        parse(HEADER + b"\n", answer(interval="1m"))


NUMBERS = st.none() | st.floats(allow_nan=False, allow_infinity=False)
ROWS = st.lists(st.tuples(st.dates(date(1900, 1, 1), date(2100, 1, 1)), *[NUMBERS] * 5), max_size=12)


@settings(max_examples=60)
@given(ROWS, st.sampled_from([b"\n", b"\r\n"]), st.booleans())
def test_a_table_written_as_stooqs_csv_is_read_back_exactly(rows, line_end, ragged):
    lines = [",".join([str(day), *("" if x is None else repr(x) for x in numbers)]) for day, *numbers in rows]
    lines = [line[:-1] if ragged and line.endswith(",") else line for line in lines]
    frame = bars(line_end.join([HEADER, *(line.encode() for line in lines), b""]))
    kept = sorted(rows, key=lambda row: row[0])
    assert frame["date"].dt.date.tolist() == [row[0] for row in kept]
    expected = np.array([row[1:] for row in kept], dtype=float).reshape(-1, 5)
    np.testing.assert_array_equal(frame[FIELDS].to_numpy(), expected)


TEXTS = st.text('0123456789,.-+eE \r\n\0"nainfNoDt\u0130', max_size=60).map(str.encode)


@given(st.binary(max_size=80) | TEXTS | TEXTS.map((HEADER + b"\n").__add__))
def test_any_bytes_give_raw_bars_or_a_provider_error(body):
    try:
        frame = bars(body)
    except ProviderError:
        return
    RawBars.validate(frame)


VALID = b"\r\n".join([HEADER, *(b"2021-02-%02d,1.5,2.25,1.125,2,%d" % (day, day * 1000) for day in range(1, 13)), b""])
PIECES = st.sampled_from([b"", b",", b"\n", b"\r\n", b"\r", b".", b"-", b"7", b"e1", b"nan", b'"', b" ", b"\0", b",,"])


@given(st.integers(len(HEADER) + 2, len(VALID)), st.integers(0, 40), PIECES)
def test_a_damaged_body_is_refused_or_read_as_what_it_says(place, removed, inserted):
    body = VALID[:place] + inserted + VALID[place + removed :]
    try:
        frame = bars(body)
    except ProviderError:
        return
    assert len(frame) == len([line for line in re.split(rb"\r\n|\r|\n", body)[1:] if line.strip()])
    assert_same(frame, body)
