from __future__ import annotations

import json
import logging
import traceback
from dataclasses import replace
from datetime import UTC, date, datetime

import httpx
import pytest

from market_data.errors import NotEntitled, OutOfWindow, ProviderError, QuotaExhausted, Transient
from market_data.instruments import Instrument
from market_data.providers.alpha_vantage import AlphaVantageClient, parse
from market_data.providers.base import Provider, sha256_hex
from market_data.providers.bodies import Answer
from market_data.providers.config import ProviderConfig
from market_data.providers.http import HttpSource
from market_data.records import Basis, FetchRequest, RawPayload
from market_data_tests.test_alpha_vantage_bodies import ROW, daily

EVENING = datetime(2026, 1, 16, 22, tzinfo=UTC)
FREE = ProviderConfig(
    name="alpha_vantage",
    priority=2,
    tier="free",
    base_url="http://vendor.test",
    basis=Basis.RAW,
    key_variable="KEY",
    needs_key=True,
    reach_sessions=100,
    intraday_reach_days=0,
)
PREMIUM = replace(FREE, tier="premium", reach_sessions=None, intraday_reach_days=None)
KEY = "S3CRETS3CRET"


class Vendor:
    """Answers everything with one body; keeps what it was asked."""

    def __init__(self, body: bytes = b"{}", status: int = 200) -> None:
        self.body = body
        self.status = status
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return httpx.Response(self.status, content=self.body, headers={"content-type": "application/json"})

    def client(self, config: ProviderConfig = FREE, *, now: datetime = EVENING, **options) -> AlphaVantageClient:
        transport = httpx.MockTransport(self)
        source = HttpSource("http://vendor.test", secrets=[KEY], transport=transport, wait=0)
        return AlphaVantageClient(config, source, clock=lambda: now, **options)

    def query(self) -> dict[str, str]:
        assert len(self.asked) == 1
        assert self.asked[0].url.path == "/query"
        return dict(self.asked[0].url.params)


def asked(request: FetchRequest, config: ProviderConfig = FREE, **options) -> tuple[dict[str, str], RawPayload]:
    vendor = Vendor()
    payload = vendor.client(config, **options).fetch(Instrument(request.symbol), request)
    return vendor.query(), payload


def window(start: str, end: str, **more: str) -> FetchRequest:
    return FetchRequest("BRK.B", date.fromisoformat(start), date.fromisoformat(end), **more)


def span(payload: RawPayload) -> tuple[str, str]:
    return str(payload.request.start), str(payload.request.end)


def test_the_client_is_a_provider_that_serves_every_instrument():
    provider: Provider = Vendor().client(synthetic=True)
    assert (provider.name, provider.synthetic, provider.serves(Instrument("ZZZZ"))) == ("alpha_vantage", True, True)
    provider.close()


def test_a_daily_request_names_the_vendors_spelling_the_size_and_the_key():
    query, payload = asked(window("2026-01-05", "2026-01-16"), key=KEY)
    assert query == {
        "function": "TIME_SERIES_DAILY",
        "symbol": "BRK-B",
        "outputsize": "compact",
        "datatype": "json",
        "apikey": KEY,
    }
    assert span(payload) == ("2026-01-05", "2026-01-16")
    assert "apikey" not in asked(window("2026-01-05", "2026-01-16"))[0]


def test_the_payload_holds_the_answer_as_it_came():
    body = daily({"2026-01-16": ROW}, **{"2. Symbol": "BRK-B"})
    payload = Vendor(body).client(key=KEY).fetch(Instrument("BRK.B"), window("2026-01-05", "2026-01-16"))
    assert (payload.provider, payload.status, payload.attempts) == ("alpha_vantage", 200, 1)
    assert (payload.body, payload.sha256, payload.fetched_at) == (body, sha256_hex(body), EVENING)
    assert payload.content_type == "application/json"
    parsed = parse(payload.body, Answer("BRK.B", "BRK-B", fetched_at=payload.fetched_at, url=payload.url))
    assert parsed.bars["close"].tolist() == [2.0]


@pytest.mark.parametrize(
    ("config", "start", "size", "from_"),
    [
        (FREE, "2021-01-19", "compact", "2025-08-26"),
        (FREE, "2025-08-26", "compact", "2025-08-26"),
        (PREMIUM, "2021-01-19", "full", "2021-01-19"),
        (PREMIUM, "2025-08-25", "full", "2025-08-25"),
        (PREMIUM, "2025-08-26", "compact", "2025-08-26"),
        (PREMIUM, "2026-01-16", "compact", "2026-01-16"),
        (replace(PREMIUM, reach_days=3650), "1999-01-04", "full", "2016-01-19"),
        (replace(PREMIUM, reach_days=10), "2021-01-19", "compact", "2026-01-06"),
        (replace(PREMIUM, reach_sessions=101), "2021-01-19", "full", "2025-08-25"),
        (replace(PREMIUM, reach_sessions=5), "2021-01-19", "compact", "2026-01-12"),
    ],
)
def test_full_is_asked_for_only_where_it_is_needed_and_allowed(config, start, size, from_):
    query, payload = asked(window(start, "2026-01-16"), config)
    assert (query["outputsize"], span(payload)) == (size, (from_, "2026-01-16"))


@pytest.mark.parametrize(
    ("now", "first"),
    [
        (datetime(2026, 1, 16, 15, tzinfo=UTC), "2025-08-26"),
        (datetime(2026, 1, 16, 21, 0, tzinfo=UTC), "2025-08-26"),
        (datetime(2026, 1, 16, 2, tzinfo=UTC), "2025-08-25"),
        (datetime(2026, 1, 17, 15, tzinfo=UTC), "2025-08-26"),
    ],
)
def test_a_live_bar_takes_up_a_row_of_the_hundred(now, first):
    assert span(asked(window("2021-01-19", "2026-01-16"), now=now)[1])[0] == first


@pytest.mark.parametrize(
    ("request_", "config", "words"),
    [
        (window("2021-01-19", "2025-08-25"), FREE, "the plan serves bars from 2025-08-26 on"),
        (window("2021-01-19", "2021-02-01"), replace(PREMIUM, reach_days=730), "serves bars from 2024-01-17 on"),
        (window("2026-01-05", "2026-01-16", interval="1m"), FREE, "the plan serves no intraday bars"),
        (window("2026-01-05", "2026-01-16", interval="2m"), PREMIUM, "interval '2m' is not one of 1d, 1m, 5m"),
        (
            window("2025-01-02", "2025-01-31", interval="1m"),
            replace(PREMIUM, intraday_reach_days=30),
            "from 2025-12-17",
        ),
        (window("1999-11-01", "1999-12-31", interval="1m"), PREMIUM, "from 2000-01-01"),
        (window("2026-01-05", "2026-01-16", feed="news"), PREMIUM, "feed 'news' is not one of bars, splits, dividends"),
    ],
)
def test_what_the_plan_does_not_reach_costs_no_call(request_, config, words):
    vendor = Vendor()
    with pytest.raises(OutOfWindow, match=words) as caught:
        vendor.client(config).fetch(Instrument("BRK.B"), request_)
    assert (caught.value.attempts, vendor.asked) == (0, [])
    assert str(caught.value).startswith(f"BRK.B: {request_.start} to {request_.end} cannot be had from Alpha Vantage")


@pytest.mark.parametrize(
    ("config", "start", "end", "month", "due"),
    [
        (PREMIUM, "2021-01-19", "2026-01-16", "2021-01", ("2021-01-19", "2021-01-31")),
        (PREMIUM, "2024-02-01", "2024-03-05", "2024-02", ("2024-02-01", "2024-02-29")),
        (PREMIUM, "2026-01-05", "2026-01-09", "2026-01", ("2026-01-05", "2026-01-09")),
        (PREMIUM, "1998-01-05", "2026-01-09", "2000-01", ("2000-01-01", "2000-01-31")),
        (replace(PREMIUM, intraday_reach_days=30), "2025-01-02", "2026-01-16", "2025-12", ("2025-12-17", "2025-12-31")),
    ],
)
def test_intraday_bars_are_asked_for_by_the_month(config, start, end, month, due):
    query, payload = asked(window(start, end, interval="1m"), config, key=KEY)
    assert query == {
        "function": "TIME_SERIES_INTRADAY",
        "symbol": "BRK-B",
        "interval": "1min",
        "month": month,
        "outputsize": "full",
        "adjusted": "false",
        "extended_hours": "false",
        "datatype": "json",
        "apikey": KEY,
    }
    assert span(payload) == due
    assert payload.request.interval == "1m"


def test_an_intraday_payload_is_known_to_be_raw_by_its_url():
    rows = {"2026-01-16 09:30:00": ROW}
    meta = {"2. Symbol": "BRK-B", "4. Interval": "60min", "6. Time Zone": "US/Eastern"}
    vendor = Vendor(json.dumps({"Meta Data": meta, "Time Series (60min)": rows}).encode())
    payload = vendor.client(PREMIUM, key=KEY).fetch(
        Instrument("BRK.B"), window("2026-01-05", "2026-01-16", interval="1h")
    )
    assert vendor.query()["interval"] == "60min"
    answer = Answer("BRK.B", "BRK-B", "1h", url=payload.url, fetched_at=payload.fetched_at)
    parsed = parse(payload.body, answer)
    assert (parsed.basis, str(parsed.bars["datetime"][0])) == (Basis.RAW, "2026-01-16 14:30:00+00:00")


@pytest.mark.parametrize(("feed", "function"), [("splits", "SPLITS"), ("dividends", "DIVIDENDS")])
def test_a_feed_of_actions_is_asked_for_whole_whatever_the_plan_reaches(feed, function):
    request = window("2001-01-19", "2002-01-16", feed=feed)
    query, payload = asked(request, key=KEY)
    assert query == {"function": function, "symbol": "BRK-B", "datatype": "json", "apikey": KEY}
    assert payload.request == request


def test_an_error_at_status_200_is_a_payload_and_the_parser_tells_what_it_is():
    vendor = Vendor(b'{"Information": "our standard API rate limit is 25 requests per day"}')
    payload = vendor.client(key=KEY).fetch(Instrument("BRK.B"), window("2026-01-05", "2026-01-16"))
    with pytest.raises(QuotaExhausted):
        parse(payload.body, Answer("BRK.B", "BRK-B"))
    assert len(vendor.asked) == 1


def test_a_final_status_is_a_payload_too_and_a_passing_one_is_tried_five_times():
    payload = Vendor(b"no", 403).client().fetch(Instrument("BRK.B"), window("2026-01-05", "2026-01-16"))
    with pytest.raises(NotEntitled):
        parse(payload.body, Answer("BRK.B", "BRK-B", status=payload.status))
    vendor = Vendor(b"no", 503)
    with pytest.raises(Transient) as caught:
        vendor.client().fetch(Instrument("BRK.B"), window("2026-01-05", "2026-01-16"))
    assert (caught.value.attempts, len(vendor.asked)) == (5, 5)
    assert caught.value.payload is not None
    assert (caught.value.payload.status, caught.value.payload.body) == (503, b"no")


def test_the_key_is_in_no_payload_log_error_or_representation(caplog):
    caplog.set_level(logging.DEBUG)
    vendor = Vendor(f'{{"Information": "We have detected your API key as {KEY} and 25 requests per day"}}'.encode())
    client = vendor.client(key=KEY)
    payload = client.fetch(Instrument("BRK.B"), window("2026-01-05", "2026-01-16"))
    assert vendor.query()["apikey"] == KEY
    assert KEY not in repr(payload)
    assert KEY not in repr(client)
    assert KEY not in caplog.text
    with pytest.raises(ProviderError) as caught:
        parse(payload.body, Answer("BRK.B", "BRK-B", url=payload.url))
    vendor.status = 503
    with pytest.raises(Transient) as failed:
        client.fetch(Instrument("BRK.B"), window("2026-01-05", "2026-01-16"))
    assert KEY not in "".join([*traceback.format_exception(caught.value), *traceback.format_exception(failed.value)])
