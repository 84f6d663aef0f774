from __future__ import annotations

import json
from typing import Any

import pytest

from market_data.errors import (
    BadPayload,
    NotEntitled,
    OutOfWindow,
    ProviderError,
    RateLimited,
    Transient,
    UnknownSymbol,
)
from market_data.providers.yahoo import parse
from market_data_tests.test_yahoo_chart import ROW, answer, chart, epoch


def envelope(code: Any, description: Any, name: str = "chart") -> bytes:
    return json.dumps({name: {"result": None, "error": {"code": code, "description": description}}}).encode()


def assert_refused(body: bytes, status: int, error: type[ProviderError], words: str = "") -> None:
    with pytest.raises(ProviderError, match=r"^AAPL: ") as caught:
        parse(body, answer(status=status))
    assert type(caught.value) is error
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("status", "code", "description", "error"),
    [
        (404, "Not Found", "No data found, symbol may be delisted", UnknownSymbol),
        (200, "Not Found", "No data found, symbol may be delisted", UnknownSymbol),
        (200, "Not Found", "another wording", UnknownSymbol),
        (400, "Bad Request", "Data doesn't exist for startDate = 1577836800, endDate = 1578009600", OutOfWindow),
        (200, "Bad Request", "Data doesn't exist for startDate = 1577836800, endDate = 1578009600", OutOfWindow),
        (400, "Bad Request", "Invalid input - interval=7d is not supported", BadPayload),
        (422, "Unprocessable Entity", "1m data not available for startTime=1 and endTime=2. Only 8 days", OutOfWindow),
        (422, "Unprocessable Entity", "15m data not available for startTime=1 and endTime=2. The req", OutOfWindow),
        (422, "Unprocessable Entity", "another wording", BadPayload),
        (401, "Unauthorized", "Invalid Crumb", NotEntitled),
        (200, "Unauthorized", "Invalid Crumb", NotEntitled),
        (403, "Forbidden", "", NotEntitled),
        (429, "Too Many Requests", "Rate limited", RateLimited),
        (200, "Too Many Requests", "Rate limited", RateLimited),
        (500, "Internal Server Error", "No data found, symbol may be delisted", Transient),
        (200, "Internal Server Error", "x", Transient),
        (200, None, None, BadPayload),
        (200, ["Not Found"], {"a": 1}, BadPayload),
    ],
)
def test_an_error_inside_the_chart_becomes_what_it_says(status, code, description, error):
    assert_refused(envelope(code, description), status, error, f"yahoo answers {code}: {description}")


def test_an_error_of_the_gateway_becomes_what_it_says():
    assert_refused(envelope("Unauthorized", "Invalid Crumb", "finance"), 401, NotEntitled, "Invalid Crumb")
    assert_refused(b'{"finance":{"result":null,"error":null}}', 403, NotEntitled, "status 403")


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (429, b"Edge: Too Many Requests", RateLimited),
        (429, b"", RateLimited),
        (200, b"Too Many Requests\r\n", RateLimited),
        (400, b"400 Bad Request: Data doesn't exist for startDate = 1, endDate = 2", OutOfWindow),
        (404, b"404 Not Found: No data found, symbol may be delisted", UnknownSymbol),
        (401, b"Invalid Cookie", NotEntitled),
        (403, b"", NotEntitled),
        (408, b"", Transient),
        (502, b"Bad Gateway", Transient),
        (503, b"<html><body>No data found</body></html>", Transient),
        (200, b"", BadPayload),
        (200, b"Will be right back", BadPayload),
        (302, b"", BadPayload),
        (200, b"[]", BadPayload),
        (200, b"null", BadPayload),
        (200, b"{}", BadPayload),
        (404, b"{}", UnknownSymbol),
        (200, b"Date,Open,High,Low,Close,Adj Close,Volume\n2021-01-19,1,2,1,2,2,9\n", BadPayload),
        (200, b"[" * 100_000, BadPayload),
        (200, b'{"chart": NaN}', BadPayload),
        (200, b'{"chart": {"result": [' + b"9" * 5000 + b"]}}", BadPayload),
    ],
)
def test_what_is_no_chart_becomes_what_its_text_or_its_status_says(status, body, error):
    assert_refused(body, status, error)


@pytest.mark.parametrize("status", [200, 302, 400, 404])
@pytest.mark.parametrize("start", [b"<!DOCTYPE html><html>", b"\xef\xbb\xbf\n <html>", b"<head>"])
def test_a_page_says_nothing_of_the_symbol(status, start):
    body = start + b"<title>Yahoo is part of the Yahoo family of brands</title> no data found, consent"
    assert_refused(body, status, BadPayload, f"a web page (status {status}) came where JSON was due")


def test_a_page_may_still_refuse_access_or_ask_to_wait():
    assert_refused(b"<html>Forbidden</html>", 403, NotEntitled)
    assert_refused(b"<html>Slow down</html>", 429, RateLimited)


def test_only_status_200_carries_bars():
    body = json.dumps(chart({epoch("2021-01-19T09:30"): ROW})).encode()
    assert len(parse(body, answer()).bars) == 1
    assert_refused(body, 400, BadPayload, "yahoo answers with status 400")
    assert_refused(body, 503, Transient)


def test_a_chart_with_an_error_beside_its_bars_is_an_error():
    document = chart({epoch("2021-01-19T09:30"): ROW})
    document["chart"]["error"] = {"code": "Not Found", "description": "No data found"}
    assert_refused(json.dumps(document).encode(), 200, UnknownSymbol)
    document["chart"]["error"] = "out of order"
    assert_refused(json.dumps(document).encode(), 200, BadPayload)


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (None, "result is None where a JSON array was due"),
        ([], "chart.result holds 0 items where one object was due"),
        ([None], "chart.result holds 1 items where one object was due"),
        ([{}, {}], "chart.result holds 2 items where one object was due"),
        ([{}], "meta is None where a JSON object was due"),
        ([{"meta": {"symbol": "AAPL"}}], "dataGranularity is None where a JSON string was due"),
        ([{"meta": {"dataGranularity": "1d"}}], "symbol is None where a JSON string was due"),
    ],
)
def test_a_chart_without_its_parts_is_refused_with_the_one_that_lacks(result, words):
    assert_refused(json.dumps({"chart": {"result": result, "error": None}}).encode(), 200, BadPayload, words)


@pytest.mark.parametrize(
    "meta",
    [
        {"regularMarketTime": "now"},
        {"regularMarketTime": 1e300},
        {"currentTradingPeriod": [1]},
        {"currentTradingPeriod": {"regular": 5}},
        {"currentTradingPeriod": {"regular": {"start": 1}}},
        {"currentTradingPeriod": {"regular": {"start": None, "end": True}}},
        {"tradingPeriods": [[5]]},
        {"tradingPeriods": [{"start": 1}]},
    ],
)
def test_times_of_the_market_that_cannot_be_are_refused(meta):
    assert_refused(json.dumps(chart({epoch("2021-01-19T09:30"): ROW}, **meta)).encode(), 200, BadPayload)
