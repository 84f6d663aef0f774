from __future__ import annotations

import json
import logging
from datetime import UTC, date, datetime, timedelta

import httpx
import pytest

from market_data.errors import BadPayload, OutOfWindow, ProviderError, RateLimited, Transient, UnknownSymbol
from market_data.instruments import Instrument
from market_data.providers.base import Provider, sha256_hex
from market_data.providers.bodies import Answer
from market_data.providers.config import ProviderConfig
from market_data.providers.http import HttpSource
from market_data.providers.polygon import PolygonClient, parse
from market_data.records import EVERY, Basis, FetchRequest, RawPayload

NOW = datetime(2026, 1, 20, 3, tzinfo=UTC)  # the last completed session is 2026-01-16, before a holiday
HOST = "https://api.massive.com"
DAY = timedelta(days=1)
OK = json.dumps({"status": "OK", "ticker": "AAPL", "resultsCount": 0}).encode()


class Vendor:
    """Answers with the given responses in turn, the last one for good; keeps what it was asked."""

    def __init__(self, *answers: tuple[int, bytes]) -> None:
        self.answers = list(answers or [(200, OK)])
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        status, content = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return httpx.Response(status, content=content, headers={"content-type": "application/json"})

    @property
    def url(self) -> str:
        assert len(self.asked) == 1
        return str(self.asked[0].url)

    def client(self, key: str | None = "S3CRET", **limits: object) -> PolygonClient:
        config = ProviderConfig(name="polygon", priority=1, tier="free", base_url=HOST, basis=Basis.RAW, **limits)
        http = HttpSource(HOST, transport=httpx.MockTransport(self), wait=0)
        return PolygonClient(config, http, key=key, clock=lambda: NOW)


def asked(start: str, end: str, symbol: str = "AAPL", **other: str) -> FetchRequest:
    return FetchRequest(symbol, date.fromisoformat(start), date.fromisoformat(end), **other)


def fetch(vendor: Vendor, request: FetchRequest, ticker: str | None = None, **limits: object) -> RawPayload:
    instrument = Instrument("AAPL", tickers={"polygon": ticker} if ticker else {})
    return vendor.client(**limits).fetch(instrument, request)


def page(*moments: str, **other: object) -> bytes:
    rows = [{"t": int(datetime.fromisoformat(moment).timestamp() * 1000), "o": 1, "c": 2} for moment in moments]
    document = {
        "status": "OK",
        "ticker": "AAPL",
        "resultsCount": len(rows),
        "results": rows,
        "next_url": f"{HOST}/next",
    }
    return json.dumps(document | other).encode()


def test_daily_bars_are_asked_for_as_traded_in_one_page():
    vendor = Vendor()
    payload = fetch(vendor, asked("2021-01-19", "2026-01-16"))
    path = "/v2/aggs/ticker/AAPL/range/1/day/2021-01-19/2026-01-16"
    assert vendor.url == f"{HOST}{path}?adjusted=false&sort=asc&limit=50000"
    assert (payload.request, payload.fetched_at, payload.provider) == (
        asked("2021-01-19", "2026-01-16"),
        NOW,
        "polygon",
    )
    assert (payload.body, payload.sha256, payload.status, payload.attempts) == (OK, sha256_hex(OK), 200, 1)
    assert (payload.url, payload.content_type) == (vendor.url, "application/json")


@pytest.mark.parametrize(
    ("interval", "span"), [("1m", "1/minute"), ("5m", "5/minute"), ("30m", "30/minute"), ("1h", "1/hour")]
)
def test_intraday_bars_are_asked_for_at_most_fifty_days_at_once(interval, span):
    vendor = Vendor()
    payload = fetch(vendor, asked("2025-10-01", "2026-01-16", interval=interval))
    assert f"/v2/aggs/ticker/AAPL/range/{span}/2025-10-01/2025-11-19?" in vendor.url
    assert payload.request == asked("2025-10-01", "2025-11-19", interval=interval)


def test_the_bars_of_every_symbol_are_one_call_for_a_date_whatever_the_instrument():
    vendor = Vendor()
    payload = vendor.client().fetch(Instrument("ZZZZ"), asked("2026-01-16", "2026-01-16", EVERY))
    assert vendor.url == f"{HOST}/v2/aggs/grouped/locale/us/market/stocks/2026-01-16?adjusted=false"
    assert payload.request == asked("2026-01-16", "2026-01-16", EVERY)


@pytest.mark.parametrize(("feed", "day"), [("splits", "execution_date"), ("dividends", "ex_dividend_date")])
def test_feeds_of_actions_are_asked_for_by_date_of_one_ticker_or_of_all_and_beyond_the_reach_of_bars(feed, day):
    window = {f"{day}.gte": "2021-01-19", f"{day}.lte": "2026-01-16", "limit": "1000", "sort": day, "order": "asc"}
    for symbol, query in (("AAPL", {"ticker": "AAPL"}), (EVERY, {})):
        vendor = Vendor()
        request = asked("2021-01-19", "2026-01-16", symbol, feed=feed)
        assert fetch(vendor, request, reach_days=730).request == request
        assert vendor.asked[0].url.path == f"/v3/reference/{feed}"
        assert dict(vendor.asked[0].url.params) == query | window


def test_the_key_is_sent_as_a_bearer_token_and_stands_nowhere_else(caplog):
    caplog.set_level(logging.DEBUG)
    vendor = Vendor()
    payload = fetch(vendor, asked("2026-01-12", "2026-01-16"))
    assert vendor.asked[0].headers["authorization"] == "Bearer S3CRET"
    assert "S3CRET" not in f"{payload}{caplog.text}{vendor.url}"
    vendor = Vendor()
    vendor.client(key=None).fetch(Instrument("AAPL"), asked("2026-01-12", "2026-01-16"))
    assert "authorization" not in vendor.asked[0].headers


@pytest.mark.parametrize(
    "ticker", ["../../v1/secret", "A/B", "..", ".", "", "A%2FB", "A?x=1", "A B", "A#", "\u0130", "-A"]
)
def test_a_ticker_that_could_change_the_address_is_refused_without_a_call(ticker):
    vendor = Vendor()
    instrument = Instrument("AAPL", tickers={"polygon": ticker or " "})
    for feed in ("bars", "splits"):
        with pytest.raises(UnknownSymbol, match="no ticker of Polygon's; mend it") as caught:
            vendor.client().fetch(instrument, asked("2026-01-12", "2026-01-16", feed=feed))
        assert (caught.value.attempts, vendor.asked) == (0, [])


@pytest.mark.parametrize("ticker", ["BRK.B", "C:EURUSD", "CpS", "BC-T"])
def test_tickers_of_every_kind_stand_in_the_address_as_they_are(ticker):
    vendor = Vendor()
    fetch(vendor, asked("2026-01-12", "2026-01-16"), ticker)
    assert f"/ticker/{ticker}/range/" in vendor.url


def test_what_the_plan_does_not_reach_is_not_asked_for():
    vendor = Vendor()
    payload = fetch(vendor, asked("2021-01-19", "2026-01-16"), reach_days=730)
    assert payload.request == asked("2024-01-17", "2026-01-16")
    assert "/range/1/day/2024-01-17/2026-01-16" in vendor.url
    assert fetch(Vendor(), asked("2025-01-02", "2026-01-16"), reach_days=730).request.start == date(2025, 1, 2)
    minutes = asked("2021-01-19", "2026-01-16", interval="1m")
    assert fetch(Vendor(), minutes, reach_days=10, intraday_reach_days=30).request == asked(
        "2025-12-17", "2026-01-16", interval="1m"
    )


@pytest.mark.parametrize(
    ("request_", "limits"),
    [
        (asked("2021-01-19", "2024-01-16"), {"reach_days": 730}),
        (asked("2024-01-16", "2024-01-16", EVERY), {"reach_days": 730}),
        (asked("2021-01-19", "2025-12-16", interval="1m"), {"intraday_reach_days": 30}),
        (asked("2026-01-16", "2026-01-16", interval="1m"), {"intraday_reach_days": 0}),
    ],
)
def test_a_window_beyond_the_plan_costs_no_call(request_, limits):
    vendor = Vendor()
    with pytest.raises(OutOfWindow, match=r"polygon .* tier free") as caught:
        fetch(vendor, request_, **limits)
    assert (caught.value.attempts, vendor.asked) == (0, [])


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (asked("2026-01-15", "2026-01-16", EVERY), "one date at a time"),
        (asked("2026-01-16", "2026-01-16", EVERY, interval="1m"), "one date at a time"),
        (asked("2026-01-16", "2026-01-16", interval="2m"), "interval '2m' is not served"),
        (asked("2026-01-16", "2026-01-16", feed="news"), "feed 'news' is not served"),
    ],
)
def test_a_request_that_no_call_answers_is_an_error_of_the_caller(request_, words):
    vendor = Vendor()
    with pytest.raises(ValueError, match=words):
        fetch(vendor, request_)
    assert vendor.asked == []


def test_a_page_with_a_further_one_answers_up_to_the_day_before_its_last():
    body = page("2026-01-12T04:00-05:00", "2026-01-13T19:59-05:00", "2026-01-14T04:00-05:00", "2026-01-14T20:30-05:00")
    vendor = Vendor((200, body))
    payload = fetch(vendor, asked("2026-01-10", "2026-01-16", interval="1m"))
    assert payload.request == asked("2026-01-10", "2026-01-13", interval="1m")
    assert (payload.body, len(vendor.asked)) == (body, 1)
    whole = Vendor((200, page("2026-01-12T04:00-05:00", next_url=None)))
    assert fetch(whole, asked("2026-01-10", "2026-01-16", interval="1m")).request.end == date(2026, 1, 16)


def test_what_is_left_of_a_page_is_a_request_of_its_own():
    days = [date(2026, 1, 12) + DAY * place for place in range(4)]
    split = {"split_from": 1, "split_to": 2, "ticker": "AAPL"}
    rows = [split | {"execution_date": str(day)} for day in days]
    body = json.dumps({"status": "OK", "results": rows, "next_url": f"{HOST}/next"}).encode()
    payload = fetch(Vendor((200, body)), asked("2026-01-01", "2026-12-31", EVERY, feed="splits"))
    assert payload.request.end == date(2026, 1, 14)
    parsed = parse(payload.body, Answer("AAPL", "AAPL", url=payload.url))
    assert len(parsed.actions) == 4


@pytest.mark.parametrize(
    ("moments", "words"),
    [
        (["2026-01-12T04:00-05:00", "2026-01-12T19:59-05:00"], "2 rows holds 2026-01-12 alone"),
        (["2026-01-13T04:00-05:00", "2026-01-12T19:59-05:00"], "not ascending"),
    ],
)
def test_a_page_of_which_no_date_is_surely_whole_is_refused_with_what_came(moments, words):
    with pytest.raises(BadPayload, match=words) as caught:
        fetch(Vendor((200, page(*moments))), asked("2026-01-10", "2026-01-16", interval="1m"))
    assert (caught.value.attempts, caught.value.payload.body) == (1, page(*moments))


@pytest.mark.parametrize("body", [b'{"next_url": ', b'{"status":"OK","results":[],"next_url":"https://evil.test"}'])
def test_a_body_that_cannot_be_read_is_left_to_the_parser(body):
    request = asked("2026-01-12", "2026-01-16")
    payload = fetch(Vendor((200, body)), request)
    assert (payload.body, payload.request) == (body, request)
    with pytest.raises(BadPayload):
        parse(payload.body, Answer("AAPL", "AAPL", url=payload.url))


@pytest.mark.parametrize(("status", "error"), [(400, UnknownSymbol), (403, OutOfWindow), (404, UnknownSymbol)])
def test_a_final_answer_of_another_status_is_a_payload_that_the_parser_explains(status, error):
    body = b'{"status":"NOT_AUTHORIZED","message":"Your plan does not include this ticker"}'
    body = body if status == 403 else b'{"status":"ERROR","error":"Ticker was incorrectly formatted"}'
    vendor = Vendor((status, body))
    payload = fetch(vendor, asked("2026-01-12", "2026-01-16"))
    assert (payload.status, payload.body, payload.attempts, len(vendor.asked)) == (status, body, 1, 1)
    with pytest.raises(ProviderError) as caught:
        parse(payload.body, Answer("AAPL", "AAPL", status=payload.status))
    assert type(caught.value) is error


@pytest.mark.parametrize(("status", "error"), [(429, RateLimited), (503, Transient)])
def test_what_can_pass_is_tried_again_by_the_http_layer(status, error):
    vendor = Vendor((status, b"{}"))
    with pytest.raises(error) as caught:
        fetch(vendor, asked("2026-01-12", "2026-01-16"))
    assert (caught.value.attempts, len(vendor.asked)) == (5, 5)
    assert {request.headers["authorization"] for request in vendor.asked} == {"Bearer S3CRET"}


def test_the_client_is_a_provider_that_serves_every_instrument():
    client: Provider = Vendor().client()
    assert (client.name, client.synthetic, client.serves(Instrument("ZZZZ"))) == ("polygon", False, True)
    client.close()
