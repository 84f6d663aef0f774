"""The one public door to the parsers: what every provider's body is held to, whatever it holds."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data.errors import BadPayload, ProviderError
from market_data.providers import PARSERS, parse
from market_data.providers.bodies import MAX_BODY
from market_data.records import Basis, ParsedBars
from market_data.schemas import CorporateActions, RawBars, RawIntradayBars

VENDORS = tuple(PARSERS)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def holds(parsed: ParsedBars, interval: str = "1d") -> bool:
    (RawBars if interval == "1d" else RawIntradayBars).validate(parsed.bars)
    CorporateActions.validate(parsed.actions)
    return isinstance(parsed.basis, Basis)


def test_every_vendor_and_the_bulk_archive_have_a_parser():
    assert set(PARSERS) == {"polygon", "alpha_vantage", "stooq", "yahoo", "stooq_bulk"}


def test_an_unknown_provider_or_interval_is_named_with_those_there_are():
    with pytest.raises(ValueError, match="'bloomberg' is unknown; known are polygon, alpha_vantage, stooq, yahoo"):
        parse("bloomberg", b"", symbol="AAPL")
    with pytest.raises(ValueError, match="interval '1w' is unknown; known are 1d, 1m"):
        parse("polygon", b"", symbol="AAPL", interval="1w")


@pytest.mark.parametrize("provider", VENDORS)
def test_a_body_of_100_mb_is_refused_with_its_size(provider):
    with pytest.raises(BadPayload, match=r"AAPL: the body has 104,857,600 bytes, more than 67,108,864"):
        parse(provider, bytes(100 * 1024 * 1024), symbol="AAPL")
    assert MAX_BODY == 67_108_864


@pytest.mark.parametrize("provider", ["polygon", "alpha_vantage", "yahoo"])
@pytest.mark.parametrize("nest", ['{"a":', "[", '{"results":[', '{"chart":{"result":['])
def test_json_nested_without_end_is_refused(provider, nest):
    with pytest.raises(BadPayload):
        parse(provider, (nest * 200_000).encode(), symbol="AAPL")
    closed = nest.replace("{", "}").replace("[", "]")[::-1]
    closing = "".join(sign for sign in closed if sign in "]}")
    with pytest.raises(ProviderError):
        parse(provider, (nest * 5_000 + "1" + closing * 5_000).encode(), symbol="AAPL")


@pytest.mark.parametrize("provider", VENDORS)
def test_a_compressed_body_that_nobody_inflated_is_no_data(provider):
    with pytest.raises(BadPayload):
        parse(provider, gzip.compress(b"Date,Open,High,Low,Close,Volume\n2024-01-02,1,2,1,2,3\n"), symbol="AAPL")


@pytest.mark.parametrize("provider", VENDORS)
@pytest.mark.parametrize(
    "page", [b"<!DOCTYPE html><html><body>Sorry</body></html>", b"<html><head><title>502</title></head></html>"]
)
def test_a_web_page_with_a_good_status_is_no_data_of_any_vendor(provider, page):
    with pytest.raises(ProviderError) as caught:
        parse(provider, page, symbol="AAPL", content_type="text/html")
    assert isinstance(caught.value, BadPayload)


@settings(max_examples=120)
@given(provider=st.sampled_from(VENDORS), body=st.binary(max_size=200), status=st.sampled_from([200, 404, 429, 503]))
def test_any_bytes_are_bars_or_an_error_of_ours(provider, body, status):
    try:
        assert holds(parse(provider, body, symbol="AAPL", status=status))
    except ProviderError:
        return


@settings(max_examples=200)
@given(
    provider=st.sampled_from(["polygon", "alpha_vantage", "yahoo"]),
    document=VALUES,
    interval=st.sampled_from(["1d", "1m"]),
)
def test_any_json_is_bars_or_an_error_of_ours(provider, document, interval):
    body = json.dumps(document).encode()
    try:
        fetched_at = datetime(2024, 3, 1, tzinfo=UTC)
        assert holds(parse(provider, body, symbol="AAPL", interval=interval, fetched_at=fetched_at), interval)
    except ProviderError:
        return


@pytest.mark.parametrize(("provider", "ticker"), [("polygon", "BRK.B"), ("alpha_vantage", "BRK-B"), ("yahoo", "BRK-B")])
def test_the_ticker_is_the_vendors_regular_spelling_unless_given(provider, ticker):
    bodies = {
        "polygon": {"ticker": "BRK.B", "adjusted": False, "resultsCount": 1, "status": "OK",
                    "results": [{"t": 1704171600000, "o": 1, "h": 2, "l": 1, "c": 2, "v": 3}]},
        "alpha_vantage": {"Meta Data": {"2. Symbol": "BRK-B", "5. Time Zone": "US/Eastern"}, "Time Series (Daily)": {
            "2024-01-02": {"1. open": "1", "2. high": "2", "3. low": "1", "4. close": "2", "5. volume": "3"}}},
        "yahoo": {"chart": {"error": None, "result": [{
            "meta": {"symbol": "BRK-B", "exchangeTimezoneName": "America/New_York", "dataGranularity": "1d"},
            "timestamp": [1704205800], "indicators": {"quote": [
                {"open": [1], "high": [2], "low": [1], "close": [2], "volume": [3]}]}}]}},
    }  # fmt: skip
    body = json.dumps(bodies[provider]).encode()
    bars = parse(provider, body, symbol="BRK.B").bars
    assert [(str(day.date()), close) for day, close in zip(bars["date"], bars["close"], strict=True)] == [
        ("2024-01-02", 2.0)
    ]
    with pytest.raises(BadPayload, match=rf"(?i){ticker}"):
        parse(provider, body, symbol="MSFT")
