from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from market_data.errors import (
    BadPayload,
    NotEntitled,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    Transient,
    UnknownSymbol,
)
from market_data.providers.alpha_vantage import parse
from market_data.providers.bodies import Answer
from market_data.records import ParsedBars

HEADER = b"timestamp,open,high,low,close,volume\r\n"
META = {
    "1. Information": "Daily Prices (open, high, low, close) and Volumes",
    "2. Symbol": "AAPL",
    "3. Last Refreshed": "2021-01-20",
    "4. Output Size": "Compact",
    "5. Time Zone": "US/Eastern",
}
ROW = {"1. open": "1.5", "2. high": "2.5", "3. low": "1", "4. close": "2", "5. volume": "1000"}
ADJUSTED_ROW = {
    **{key: ROW[key] for key in list(ROW)[:4]},
    "5. adjusted close": "1.9",
    "6. volume": "1000",
    "7. dividend amount": "0.0000",
    "8. split coefficient": "1.0000",
}
KEY = "S3CRETS3CRET"


def daily(rows: dict[str, Any], **meta: Any) -> bytes:
    return json.dumps({"Meta Data": {**META, **meta}, "Time Series (Daily)": rows}).encode()


def row(**changed: Any) -> dict[str, Any]:
    return {key: changed.get(key.split(". ")[1], value) for key, value in ROW.items()}


def read(body: bytes, **known: Any) -> ParsedBars:
    return parse(body, Answer("AAPL", "AAPL", **known))


def refused(body: bytes, error: type[ProviderError] = BadPayload, **known: Any) -> str:
    with pytest.raises(ProviderError, match=r"^AAPL: ") as caught:
        read(body, **known)
    assert type(caught.value) is error
    return str(caught.value)


def dates(parsed: ParsedBars) -> list[str]:
    return parsed.bars["date"].dt.strftime("%Y-%m-%d").tolist()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("Our standard API rate limit is 25 requests per day. Please subscribe to any premium plan", QuotaExhausted),
        (
            f"We have detected your API key as {KEY} and our standard API rate limit is 25 requests per day.",
            QuotaExhausted,
        ),
        ("Burst pattern detected. Please consider spreading out your requests (1 request per second).", RateLimited),
        ("rate limit is 25 requests per day. Burst pattern detected: 5 requests per second allowed.", RateLimited),
        ("Our standard API call frequency is 5 calls per minute and 500 calls per day.", RateLimited),
        ("consider spreading out your free API requests more sparingly (25 requests per day)", RateLimited),
        ("if you would like to have a higher API call volume, visit premium", RateLimited),
        ("This is a premium endpoint. You may subscribe to any of the premium plans", NotEntitled),
        ("The outputsize=full parameter value is a premium feature for the endpoint", NotEntitled),
        ("Please subscribe to a premium plan to unlock it", NotEntitled),
        ("the parameter apikey is invalid or missing. Please claim your free API key", NotEntitled),
        ("The **demo** API key is for demo purposes only.", NotEntitled),
        (f"Invalid API call (apikey={KEY}). Please retry or visit the documentation", UnknownSymbol),
        (f"Something new about the API key {KEY}", BadPayload),
    ],
)
@pytest.mark.parametrize("name", ["Note", "Information", "Error Message"])
def test_a_message_becomes_its_error_and_is_not_quoted(name, text, error):
    message = refused(json.dumps({name: text}).encode(), error)
    assert KEY not in message
    assert text[:30] not in message


def test_a_message_counts_even_beside_a_series_and_where_csv_was_asked_for():
    body = json.loads(daily({"2021-01-19": ROW})) | {"Information": "25 requests per day"}
    refused(json.dumps(body).encode(), QuotaExhausted, content_type="application/x-download")
    refused(b'\xef\xbb\xbf\n{"Note": 5}', BadPayload)


@pytest.mark.parametrize(
    "body",
    [
        f'{{"Information": "We have detected your API key as {KEY}'.encode(),
        f"We have detected your API key as {KEY}\n".encode(),
        f"<html>apikey={KEY}</html>".encode(),
        f"apikey={KEY}\n\xff".encode("latin-1"),
    ],
)
def test_a_damaged_message_does_not_give_the_key_away_either(body):
    assert KEY not in refused(body)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, RateLimited),
        (503, Transient),
        (401, NotEntitled),
        (403, NotEntitled),
        (404, UnknownSymbol),
        (400, BadPayload),
    ],
)
def test_a_status_decides_where_the_body_says_nothing(status, error):
    for body in (b"", b"<html>", b"\xff", b"{}", b'{"Note": "?"}', daily({"2021-01-19": ROW})):
        assert f"HTTP status {status}" in refused(body, error, status=status)
    assert "spent" in refused(b'{"Note": "25 requests per day"}', QuotaExhausted, status=status)


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        (b"{}", UnknownSymbol, "it has no bars"),
        (b'{"Global Quote": {}}', UnknownSymbol, "no quote"),
        (b"", BadPayload, "its header is ''"),
        (b"[]", BadPayload, "no CSV"),
        (b"<!DOCTYPE html><html>Maintenance", BadPayload, "HTML came"),
        (b"\xff\xfe{\0", BadPayload, "not UTF-8"),
        (b'{"a":' * 50_000, BadPayload, "recursion"),
        (b'{"a": ' + b"9" * 5000 + b"}", BadPayload, "not JSON"),
        (b'{"a": NaN}', BadPayload, "NaN is no JSON number"),
        (b'{"Meta Data": {}}', BadPayload, "not a body of Alpha Vantage's"),
        (b'{"Time Series (Daily)": {}}', BadPayload, "Meta Data is no object"),
        (b'{"Weekly Time Series": {}, "Meta Data": {}}', BadPayload, "not 'Weekly Time Series'"),
        (b'{"Monthly Adjusted Time Series": {}}', BadPayload, "not 'Monthly Adjusted Time Series'"),
        (daily([]), BadPayload, "no object of rows"),  # type: ignore[arg-type]
        (daily({"2021-01-19": 5}), BadPayload, "'2021-01-19' is no object"),
        (daily({"2021-01-19": {}}), BadPayload, "the rows have no open"),
        (daily({"2021-01-20": ROW, "2021-01-19": ADJUSTED_ROW}), BadPayload, "'2021-01-19' has other fields"),
        (daily({"2021-01-19": {**ROW, "6. volume": "9"}}), BadPayload, "has 'volume' twice"),
        (daily({"2021-02-30": ROW}), BadPayload, "2021-02-30"),
        (daily({"2021-01-19 16:00:00": ROW}), BadPayload, "is not a date as in 2021-01-19"),
        (daily({"2021-01-19": ROW}, **{"5. Time Zone": "Asia/Tokyo"}), BadPayload, "'Asia/Tokyo', not US/Eastern"),
        (daily({"2021-01-19": ROW}, **{"6. Symbol": "AAPL"}), BadPayload, "has 'Symbol' twice"),
    ],
)
def test_what_is_not_a_history_becomes_the_error_that_says_so(body, error, words):
    assert words in refused(body, error)


@pytest.mark.parametrize("symbol", ["MSFT", "AAPLX", "", None, 5])
def test_a_body_for_another_symbol_is_refused_and_both_are_named(symbol):
    assert refused(daily({"2021-01-19": ROW}, **{"2. Symbol": symbol})) == (
        f"AAPL: the body is for {symbol!r}, not for 'AAPL'"
    )
    assert len(read(daily({"2021-01-19": ROW}, **{"2. Symbol": "aapl"})).bars) == 1


def test_a_key_given_twice_loses_no_row_without_a_word():
    text = daily({"2021-01-20": ROW, "2021-01-19": ROW}).decode()
    twice = text.replace("2021-01-20", "2021-01-19")
    assert "'2021-01-19' is there more than once" in refused(twice.encode())
    assert "more than once" in refused(twice.replace("2021", "\\u0032021", 1).encode())
    assert "'2. high' is there more than once" in refused(text.replace("1. open", "2. high").encode())


def test_rows_are_ascending_whatever_their_order():
    parsed = read(daily({"2021-01-20": row(close="3"), "2021-01-22": row(close="5"), "2021-01-19": row(close="2")}))
    assert dates(parsed) == ["2021-01-19", "2021-01-20", "2021-01-22"]
    assert parsed.bars["close"].tolist() == [2.0, 3.0, 5.0]


def test_a_row_may_have_its_fields_in_another_order():
    turned = dict(reversed(row(open="1.25").items()))
    bars = read(daily({"2021-01-20": ROW, "2021-01-19": turned})).bars
    assert bars[["open", "volume"]].values.tolist() == [[1.25, 1000.0], [1.5, 1000.0]]


@pytest.mark.parametrize("text", ["", None])
def test_null_and_the_empty_string_are_nulls(text):
    bars = read(daily({"2021-01-19": row(open=text, volume=text)})).bars
    np.testing.assert_array_equal(bars[["open", "close", "volume"]].to_numpy(), [[np.nan, 2.0, np.nan]])


@pytest.mark.parametrize(
    "text", ["None", ".", "-", "nan", "inf", "1,5", "1 ", " 1", "0x1", "1_0", "1.", ".5", "+1", "\u0661", "1e999"]
)
def test_anything_else_that_is_no_decimal_number_is_refused(text):
    assert "open" in refused(daily({"2021-01-19": row(open=text)}))
    assert "open" in refused(HEADER + f"2021-01-19,{text},2,1,2,5\r\n".encode()) or "," in text


@pytest.mark.parametrize("value", [1.5, True, [], {}, 10**400])
def test_a_value_that_is_no_string_is_refused(value):
    assert "open is" in refused(daily({"2021-01-19": row(open=value)}))


@pytest.mark.parametrize(("text", "number"), [("1.2117e+08", 1.2117e8), ("-3", -3.0), ("0.1", 0.1), ("1E2", 100.0)])
def test_decimal_numbers_with_signs_and_exponents_are_taken(text, number):
    assert read(daily({"2021-01-19": row(volume=text)})).bars["volume"].tolist() == [number]


def test_a_live_bar_is_dropped_and_one_that_has_closed_is_kept():
    body = daily({"2021-01-20": ROW, "2021-01-19": ROW})
    assert dates(read(body, fetched_at=datetime(2021, 1, 20, 20, 59, tzinfo=UTC))) == ["2021-01-19"]
    assert dates(read(body, fetched_at=datetime(2021, 1, 20, 21, 0, tzinfo=UTC))) == ["2021-01-19", "2021-01-20"]
    assert dates(read(body)) == ["2021-01-19", "2021-01-20"]


def test_the_bar_of_a_currency_is_live_until_its_day_ends_in_utc():
    rows = {"2021-01-20": {key: ROW[key] for key in list(ROW)[:4]}}
    meta = {"2. From Symbol": "EUR", "3. To Symbol": "USD", "6. Time Zone": "UTC"}
    body = json.dumps({"Meta Data": meta, "Time Series FX (Daily)": rows}).encode()
    for known, left in ((datetime(2021, 1, 20, 23, 59, tzinfo=UTC), 0), (datetime(2021, 1, 21, tzinfo=UTC), 1)):
        assert len(parse(body, Answer("EURUSD", "EUR/USD", fetched_at=known)).bars) == left
    csv = b"timestamp,open,high,low,close\n2021-01-20,1.5,2,1,2\n"
    assert len(parse(csv, Answer("EURUSD", "EURUSD", fetched_at=datetime(2021, 1, 20, 23, tzinfo=UTC))).bars) == 0
    with pytest.raises(BadPayload, match=r"the body is for 'EURUSD', not for 'EURAUD'"):
        parse(body, Answer("EURAUD", "EURAUD"))
