from __future__ import annotations

import json

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
from market_data.providers.bodies import Answer
from market_data.providers.polygon import actions_by_ticker, parse

PLAN = "Your plan doesn't include this data timeframe. Please upgrade your plan at https://polygon.io/pricing"
URL = "https://api.polygon.io/v2/aggs/ticker/AAPL/range/1/day/2024-11-18/2024-11-18?adjusted=false"
BAR = {"t": 1731906000000, "o": 1, "h": 2, "l": 1, "c": 2, "v": 5}
SPLIT = {"execution_date": "2020-08-31", "split_from": 1, "split_to": 4, "ticker": "AAPL"}


def page(next_url: object, row: dict = BAR) -> bytes:
    return json.dumps({"status": "OK", "results": [row], "next_url": next_url}).encode()


def failure(body: bytes, status: int = 200, **other: object) -> ProviderError:
    with pytest.raises(ProviderError, match=r"^AAPL: ") as caught:
        parse(body, Answer("AAPL", "AAPL", status=status, **other))
    return caught.value


@pytest.mark.parametrize(
    ("status", "verdict", "message", "error"),
    [
        (400, "ERROR", "Ticker was incorrectly formatted", UnknownSymbol),
        (400, "ERROR", "Invalid date format. Expected format is 'yyyy-mm-dd'", BadPayload),
        (401, "ERROR", "Unknown API Key", NotEntitled),
        (401, "ERROR", PLAN, NotEntitled),
        (403, "NOT_AUTHORIZED", PLAN, OutOfWindow),
        (403, "NOT_AUTHORIZED", "You are not entitled to this data.", OutOfWindow),
        (403, "NOT_AUTHORIZED", "Forbidden", NotEntitled),
        (403, "ERROR", "Forbidden", NotEntitled),
        (404, "NOT_FOUND", "Data not found.", UnknownSymbol),
        (408, "ERROR", "", Transient),
        (418, "ERROR", "", BadPayload),
        (429, "ERROR", "Too many", RateLimited),
        (429, "ERROR", PLAN, RateLimited),
        (500, "ERROR", "An internal error", Transient),
        (503, "NOT_FOUND", "Data not found.", Transient),
        (200, "ERROR", "You've exceeded the maximum requests per minute", RateLimited),
        (200, "ERROR", "API Key was not provided", NotEntitled),
        (200, "NOT_AUTHORIZED", PLAN, OutOfWindow),
        (200, "NOT_AUTHORIZED", "No", NotEntitled),
        (200, "NOT_FOUND", "Data not found.", UnknownSymbol),
        (200, "ERROR", "Ticker was incorrectly formatted", UnknownSymbol),
        (200, "ERROR", "something new", BadPayload),
        (200, "PENDING", "", BadPayload),
    ],
)
@pytest.mark.parametrize("key", ["error", "message"])
def test_an_error_body_is_told_by_its_status_and_its_message(status, verdict, message, error, key):
    caught = failure(json.dumps({"status": verdict, "request_id": "1", key: message}).encode(), status)
    assert type(caught) is error
    assert str(caught) == f"AAPL: HTTP {status} {verdict!r}: {message}"
    assert caught.retryable is (error in (RateLimited, Transient))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (200, BadPayload),
        (302, BadPayload),
        (400, BadPayload),
        (403, NotEntitled),
        (404, BadPayload),
        (429, RateLimited),
        (502, Transient),
    ],
)
@pytest.mark.parametrize(
    "body", [b"<html><body>Bad gateway</body></html>", b"", b"upstream error", b"\xff\xfe", b"[1]"]
)
def test_a_body_that_is_no_json_object_never_becomes_bars(status, error, body):
    assert type(failure(body, status)) is error


def test_the_class_of_an_error_with_bars_in_its_body_is_that_of_its_status():
    assert type(failure(json.dumps({"status": "OK", "results": [BAR]}).encode(), 500)) is Transient
    assert type(failure(json.dumps({"status": "OK", "results": [BAR]}).encode(), 206)) is BadPayload


def test_a_key_that_the_vendor_sends_back_does_not_get_into_the_message():
    caught = failure(b'{"status":"ERROR","error":"bad request: /v2/aggs?apiKey=S3CRET&x=1"}', 400)
    assert "apiKey=REDACTED&x=1" in str(caught)
    assert "S3CRET" not in str(caught)


@pytest.mark.parametrize(
    ("next_url", "url"),
    [
        ("https://api.polygon.io/v2/next?cursor=a", None),
        ("https://api.massive.com/v2/next?cursor=a", None),
        ("https://api.massive.com/v2/next?cursor=a", URL),
        ("https://api.polygon.io:443/v2/next", URL.replace("polygon.io", "massive.com")),
        ("https://API.polygon.io/v2/next", URL),
        ("https://vendor.test/v2/next", "https://vendor.test/v2/range/1/day/"),
        ("https://vendor.test:8443/v2/next", "https://vendor.test:8443/v2/range/1/day/"),
        ("http://127.0.0.1:9000/v2/next", "http://127.0.0.1:9000/v2/range/1/day/"),
        ("https://api.polygon.io/v2/next", "archive/part.json"),
    ],
)
def test_a_further_page_may_lie_where_this_one_came_from(next_url, url):
    assert len(parse(page(next_url), Answer("AAPL", "AAPL", url=url)).bars) == 1


@pytest.mark.parametrize(
    ("next_url", "url", "host"),
    [
        ("https://evil.test/v2/next", None, "evil.test"),
        ("https://evil.test/v2/next", URL, "evil.test"),
        ("https://api.polygon.io.evil.test/", URL, "api.polygon.io.evil.test"),
        ("https://api.polygon.io@evil.test/", URL, "evil.test"),
        ("https://evil.test\\@api.polygon.io/", URL, "evil.test"),
        ("https://api.polygon.io:8443/v2/next", URL, "api.polygon.io"),
        ("https://api.polygon.io:99999999/v2/next", URL, "api.polygon.io"),
        ("http://api.polygon.io/v2/next", URL, "api.polygon.io"),
        ("http://api.polygon.io/v2/next", None, "api.polygon.io"),
        ("file://api.polygon.io/etc/passwd", None, "api.polygon.io"),
        ("//api.polygon.io/v2/next", URL, "api.polygon.io"),
        ("/v2/next", URL, "/v2/next"),
        ("", URL, "''"),
        ("https://api.polygon.io/v2/next", "http://127.0.0.1:9000/v2/range/1/day/", "api.polygon.io"),
        ("http://127.0.0.1:9001/v2/next", "http://127.0.0.1:9000/v2/range/1/day/", "127.0.0.1"),
        ("http://vendor.test/v2/next", "https://vendor.test/v2/range/1/day/", "vendor.test"),
    ],
)
def test_a_further_page_that_lies_elsewhere_is_refused_and_its_host_named(next_url, url, host):
    caught = failure(page(next_url), url=url)
    assert type(caught) is BadPayload
    assert "the further page lies on" in str(caught)
    assert host in str(caught)


def test_a_further_page_of_actions_is_held_to_the_same():
    assert "evil.test" in str(failure(page("https://evil.test/", SPLIT)))
    with pytest.raises(BadPayload, match=r"evil\.test"):
        actions_by_ticker(page("https://evil.test/", SPLIT), Answer("*", "*"))
    assert len(actions_by_ticker(page("https://api.polygon.io/", SPLIT), Answer("*", "*"))) == 1


def test_a_further_page_that_is_no_text_or_follows_an_empty_one_is_refused():
    assert str(failure(page(7))) == "AAPL: next_url is 7, not text"
    empty = b'{"status":"OK","resultsCount":0,"results":[],"next_url":"https://api.polygon.io/"}'
    assert str(failure(empty)) == "AAPL: an empty page that has a further one"


@pytest.mark.parametrize("end", [b"", b"1577941200000,1", b'1577941200000,"74.06'])
def test_a_csv_cut_inside_a_line_is_refused(end):
    caught = failure(b"t,o,h,l,c,v,vw,n\n1577941200000,74.06,75,73,75,1,74,1\n" + end if end else b"t,o,c")
    assert type(caught) is BadPayload


@pytest.mark.parametrize(
    "line",
    [
        b"1577941200000,x,2,1,2,5",
        b"1577941200000,1,2,1,2",
        b"1577941200000,nan,2,1,2,5",
        b",1,2,1,2,5",
        b"1,1e999,2,1,2,5",
    ],
)
def test_a_csv_line_that_is_no_bar_is_refused(line):
    assert type(failure(b"t,o,h,l,c,v\n" + line + b"\n")) is BadPayload


def test_a_csv_of_other_columns_is_refused_and_empty_cells_are_nulls():
    assert "not Polygon's CSV" in str(failure(b"date,open\n2020-01-02,1\n", content_type="text/csv; charset=utf-8"))
    frame = parse(b"c,o,t,v\r\n,74.06,1577941200000,1.5e3\r\n", Answer("AAPL", "AAPL")).bars
    assert (frame["open"].tolist(), frame["volume"].tolist()) == ([74.06], [1500.0])
    assert frame[["high", "low", "close", "vwap"]].isna().all(axis=None)
