from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import httpx
import pytest

from market_data.errors import (
    BadPayload,
    NotEntitled,
    OutOfWindow,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    Transient,
    UnknownSymbol,
)
from market_data.instruments import Instrument
from market_data.providers.base import Provider, sha256_hex
from market_data.providers.bodies import Answer
from market_data.providers.config import ProviderConfig
from market_data.providers.http import HttpSource
from market_data.providers.stooq import StooqClient, parse
from market_data.records import Basis, FetchRequest

HEADER = b"Date,Open,High,Low,Close,Volume"
NOW = datetime(2026, 2, 3, 22, tzinfo=UTC)
WINDOW = FetchRequest("BRK.B", date(2021, 1, 19), date(2026, 1, 16))


class Vendor:
    """Answers each request with the same response; keeps what it was asked."""

    def __init__(self, body: bytes = b"No data", status: int = 200) -> None:
        self.body, self.status = body, status
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return httpx.Response(self.status, content=self.body, headers={"content-type": "text/plain"})

    def client(
        self, *, name: str = "stooq", key: str | None = None, synthetic: bool = False, **allowed: Any
    ) -> Provider:
        config = ProviderConfig(
            name=name, priority=1, tier="free", base_url="http://vendor.test", basis=Basis.SPLIT_DIVIDEND, **allowed
        )
        secrets = [key] if key else []
        source = HttpSource(config.base_url, secrets=secrets, transport=httpx.MockTransport(self), wait=0.001)
        return StooqClient(config, source, key=key, synthetic=synthetic, clock=lambda: NOW)

    def fetch(self, request: FetchRequest = WINDOW, **allowed: Any) -> Any:
        return self.client(**allowed).fetch(Instrument(request.symbol), request)


def test_a_wantedasks_for_the_vendors_spelling_and_the_window():
    vendor = Vendor()
    payload = vendor.fetch()
    assert str(vendor.asked[0].url) == "http://vendor.test/q/d/l/?s=brk-b.us&d1=20210119&d2=20260203&i=d"
    assert (payload.provider, payload.request, payload.fetched_at) == ("stooq", WINDOW, NOW)
    assert (payload.body, payload.sha256) == (b"No data", sha256_hex(b"No data"))
    assert (payload.status, payload.content_type, payload.attempts) == (200, "text/plain", 1)


def test_a_key_is_sent_where_there_is_one_and_never_kept():
    vendor = Vendor(b"the key S3CRET-K3Y is unknown")
    payload = vendor.fetch(key="S3CRET-K3Y")
    assert vendor.asked[0].url.params["apikey"] == "S3CRET-K3Y"
    assert payload.url.endswith("&i=d&apikey=REDACTED")
    assert b"S3CRET" not in payload.body


def test_the_name_is_the_configurations_and_made_up_data_says_so():
    vendor = Vendor()
    client = vendor.client(name="sandbox", synthetic=True)
    assert (client.name, client.synthetic, client.serves(Instrument("ZZZZ"))) == ("sandbox", True, True)
    assert client.fetch(Instrument("BRK.B"), WINDOW).provider == "sandbox"


def test_days_out_of_reach_are_not_asked_for_and_the_payload_says_so():
    vendor = Vendor()
    payload = vendor.fetch(reach_days=365)
    assert payload.request == FetchRequest("BRK.B", date(2025, 2, 3), WINDOW.end)
    assert vendor.asked[0].url.params["d1"] == "20250203"


@pytest.mark.parametrize(
    ("wanted", "allowed", "words"),
    [
        (WINDOW, {"reach_sessions": 3}, "stooq serves daily bars from 2026-01-30 on, not 1d bars of 2021-01-19.."),
        (FetchRequest("BRK.B", WINDOW.start, WINDOW.end, interval="1m"), {}, "stooq serves daily bars, not 1m bars of"),
    ],
)
def test_what_is_out_of_reach_costs_no_call(wanted, allowed, words):
    vendor = Vendor()
    with pytest.raises(OutOfWindow) as caught:
        vendor.fetch(wanted, **allowed)
    assert words in str(caught.value)
    assert (vendor.asked, caught.value.attempts) == ([], 0)


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_final_refusal_is_a_payload_for_the_parser(status):
    payload = Vendor(b"Access denied", status).fetch()
    assert (payload.status, payload.body) == (status, b"Access denied")


def test_a_vendor_that_keeps_failing_gives_its_last_answer_with_the_error():
    vendor = Vendor(b"down", 503)
    with pytest.raises(Transient) as caught:
        vendor.fetch()
    assert (len(vendor.asked), caught.value.attempts) == (5, 5)
    assert caught.value.payload is not None
    assert (caught.value.payload.body, caught.value.payload.status) == (b"down", 503)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (302, BadPayload), (400, BadPayload), (401, NotEntitled), (403, NotEntitled), (404, UnknownSymbol),
        (408, Transient), (429, RateLimited), (500, Transient), (503, Transient),
    ],
)  # fmt: skip
def test_only_status_200_carries_bars(status, error):
    with pytest.raises(ProviderError, match=rf"^AAPL: HTTP status {status} carries no bars: 'Date,Open,") as caught:
        parse(HEADER + b"\n2021-01-19,1,2,3,4,5\n", Answer("AAPL", "aapl.us", status=status))
    assert type(caught.value) is error


def test_a_message_says_more_than_its_status():
    with pytest.raises(QuotaExhausted):
        parse(b"Exceeded the daily hits limit", Answer("AAPL", "aapl.us", status=403))
