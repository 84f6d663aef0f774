"""An answer as a payload, those that came before a failure included, and what a server says of its data."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import httpx
import pytest

from market_data.errors import BadPayload, Transient
from market_data.providers.base import sha256_hex
from market_data.providers.http import HttpAnswer
from market_data.records import FetchRequest
from market_data_tests.test_http_source import QUERY, Vendor, status

REQUEST = FetchRequest("AAPL", date(2021, 1, 19), date(2026, 1, 16))
NOW = datetime(2026, 2, 3, 22, tzinfo=UTC)
SYNTHETIC = {"x_market_data": "Synthetic"}


def test_an_answer_becomes_the_payload_of_its_request():
    answer = Vendor(status(500), status(404, b"No data", content_type="text/plain")).source().get("/q", QUERY)
    payload = answer.as_payload("stooq", REQUEST, NOW)
    assert (payload.provider, payload.request, payload.fetched_at) == ("stooq", REQUEST, NOW)
    assert (payload.body, payload.sha256) == (b"No data", sha256_hex(b"No data"))
    assert (payload.status, payload.content_type, payload.attempts) == (404, "text/plain", 2)
    assert payload.url == "http://vendor.test/stooq/q?s=aapl.us&apikey=REDACTED"
    assert payload.elapsed_ms == answer.elapsed_ms > 0


def test_fetch_gives_the_payload_received_when_the_clock_says():
    payload = Vendor(status(200, b"fine")).source().fetch("stooq", REQUEST, "/q", QUERY, clock=lambda: NOW)
    assert (payload.body, payload.fetched_at, payload.request) == (b"fine", NOW, REQUEST)


def test_fetch_that_fails_keeps_the_last_answer_that_came():
    vendor = Vendor(status(500, b"one"), status(429, b"two"), httpx.ReadTimeout("slow"))
    instants = iter([NOW, NOW + timedelta(seconds=2)])
    with pytest.raises(Transient, match=r"^slow at /q$") as caught:
        vendor.source().fetch("stooq", REQUEST, "/q", QUERY, {}, clock=lambda: next(instants))
    payload = caught.value.payload
    assert (payload.status, payload.body, payload.sha256) == (429, b"two", sha256_hex(b"two"))
    assert (payload.attempts, caught.value.attempts) == (2, 5)
    assert payload.fetched_at == NOW + timedelta(seconds=2)


def test_fetch_keeps_no_answer_where_none_came():
    with pytest.raises(Transient) as caught:
        Vendor(httpx.ReadTimeout("slow")).source().fetch("stooq", REQUEST, "/q", QUERY)
    assert caught.value.payload is None


def test_whether_the_server_makes_its_data_up_is_told_with_the_answer():
    assert Vendor(status(200, **SYNTHETIC)).source().get("/", {}).synthetic is True
    assert Vendor(status(200, x_market_data="real")).source().get("/", {}).synthetic is False
    answer = Vendor(status(200, **SYNTHETIC)).source(synthetic=True).get("/", {})
    assert (answer.synthetic, type(answer)) == (True, HttpAnswer)
    assert Vendor(status(200)).source(synthetic=False).get("/", {}).status == 200


@pytest.mark.parametrize("code", [200, 404, 429, 500])
def test_real_and_synthetic_never_mix(code):
    for declared, headers, said in [
        (False, SYNTHETIC, "says its data is synthetic"),
        (True, {}, "does not say that its data is synthetic"),
    ]:
        vendor = Vendor(status(code, b"x", **headers))
        with pytest.raises(BadPayload) as caught:
            vendor.source(synthetic=declared).fetch("stooq", REQUEST, "/q", {})
        assert str(caught.value) == f"HTTP {code} at /q: the server {said}; real and synthetic never mix"
        assert (len(vendor.asked), caught.value.attempts, caught.value.payload) == (1, 1, None)
