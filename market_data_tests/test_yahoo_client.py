from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any

import httpx
import pytest

from market_data.errors import OutOfWindow, RateLimited
from market_data.instruments import Instrument
from market_data.providers.base import Provider, sha256_hex
from market_data.providers.config import ProviderConfig
from market_data.providers.http import HttpSource
from market_data.providers.yahoo import YahooClient
from market_data.records import Basis, FetchRequest
from market_data_tests.test_yahoo_chart import ROW, chart, epoch, period

NOW = datetime(2026, 2, 3, 22, tzinfo=UTC)
AAPL = Instrument("AAPL")
YEAR = FetchRequest("AAPL", date(2025, 1, 2), date(2025, 12, 31))
BODY = json.dumps(chart({epoch("2025-12-31T09:30"): ROW})).encode()


class Vendor:
    """Answers each request with the same response; keeps what it was asked."""

    def __init__(self, body: bytes = BODY, status: int = 200) -> None:
        self.body, self.status = body, status
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return httpx.Response(self.status, content=self.body, headers={"content-type": "application/json"})

    def client(self, now: datetime = NOW, **allowed: Any) -> YahooClient:
        config = ProviderConfig(
            name="yahoo", priority=1, tier="free", base_url="http://vendor.test", basis=Basis.SPLIT, **allowed
        )
        source = HttpSource(config.base_url, transport=httpx.MockTransport(self), wait=0.001)
        return YahooClient(config, source, clock=lambda: now)

    def query(self) -> dict[str, str]:
        return dict(self.asked[-1].url.params)


def minutes(start: date, end: date) -> FetchRequest:
    return FetchRequest("AAPL", start, end, interval="1m")


def test_a_request_asks_for_the_days_of_new_york_up_to_now_with_their_actions():
    vendor = Vendor()
    payload = vendor.client(datetime(2021, 3, 16, 3, tzinfo=UTC)).fetch(
        AAPL, FetchRequest("AAPL", date(2021, 3, 12), date(2021, 3, 15))
    )
    url = vendor.asked[-1].url
    assert (url.path, url.host) == ("/v8/finance/chart/AAPL", "vendor.test")
    assert vendor.query() == {
        "period1": str(epoch("2021-03-12T00:00")),
        "period2": str(epoch("2021-03-16T00:00")),
        "interval": "1d",
        "events": "div,splits",
        "includePrePost": "false",
    }
    assert int(vendor.query()["period2"]) - int(vendor.query()["period1"]) == 4 * 86400 - 3600
    assert (payload.provider, payload.status, payload.attempts, payload.fetched_at) == (
        "yahoo",
        200,
        1,
        datetime(2021, 3, 16, 3, tzinfo=UTC),
    )
    assert (payload.body, payload.sha256, payload.url) == (BODY, sha256_hex(BODY), str(url))


@pytest.mark.parametrize(
    ("instrument", "path"),
    [
        (Instrument("BRK.B"), b"/v8/finance/chart/BRK-B?"),
        (Instrument("GSPC", tickers={"yahoo": "^GSPC"}), b"/v8/finance/chart/%5EGSPC?"),
        (Instrument("X", tickers={"yahoo": "a/b?c=d"}), b"/v8/finance/chart/a%2Fb%3Fc%3Dd?"),
    ],
)
def test_the_vendors_spelling_stands_quoted_in_the_path(instrument, path):
    vendor = Vendor()
    vendor.client().fetch(instrument, YEAR)
    assert vendor.asked[-1].url.raw_path.startswith(path)


@pytest.mark.parametrize("feed", ["splits", "dividends"])
def test_actions_come_with_the_bars_of_the_same_request(feed):
    vendor = Vendor()
    request = FetchRequest("AAPL", YEAR.start, YEAR.end, feed=feed)
    assert vendor.client().fetch(AAPL, request).request == request
    vendor.client().fetch(AAPL, YEAR)
    assert vendor.asked[0].url == vendor.asked[1].url


@pytest.mark.parametrize("status", [400, 404, 422])
def test_a_final_refusal_is_a_payload_for_the_parser(status):
    payload = Vendor(b'{"chart": {}}', status).client().fetch(AAPL, YEAR)
    assert (payload.status, payload.body, payload.request) == (status, b'{"chart": {}}', YEAR)


def test_what_is_sent_reaches_the_fetch_while_the_payload_answers_what_was_asked():
    vendor = Vendor()
    assert vendor.client().fetch(AAPL, YEAR).request == YEAR
    assert vendor.query()["period2"] == str(epoch(f"{NOW:%Y-%m-%d}T00:00") + 86400)
    vendor.client(datetime(2025, 12, 31, 22, tzinfo=UTC)).fetch(AAPL, YEAR)
    assert vendor.query()["period2"] == str(epoch("2026-01-01T00:00"))


def test_too_many_requests_raise_after_every_attempt_and_give_the_last_answer():
    vendor = Vendor(b"Edge: Too Many Requests", 429)
    with pytest.raises(RateLimited) as caught:
        vendor.client().fetch(AAPL, YEAR)
    assert (len(vendor.asked), caught.value.attempts) == (5, 5)
    assert caught.value.payload is not None
    assert (caught.value.payload.body, caught.value.payload.request) == (b"Edge: Too Many Requests", YEAR)


def test_days_out_of_reach_are_not_asked_for_and_the_payload_says_so():
    vendor = Vendor()
    payload = vendor.client(reach_days=100).fetch(AAPL, YEAR)
    assert payload.request == FetchRequest("AAPL", date(2025, 10, 26), YEAR.end)
    assert vendor.query()["period1"] == str(epoch("2025-10-26T00:00"))


def test_a_window_wholly_out_of_reach_costs_no_call():
    vendor = Vendor()
    with pytest.raises(OutOfWindow, match=r"^AAPL: on 2026-02-03 yahoo reaches no 1d bars of 2025-01-02\.\.") as caught:
        vendor.client(reach_sessions=5).fetch(AAPL, YEAR)
    assert (vendor.asked, caught.value.attempts) == ([], 0)


@pytest.mark.parametrize(
    ("start", "end", "asked"),
    [
        (date(2026, 1, 2), date(2026, 2, 3), (date(2026, 1, 5), date(2026, 1, 12))),
        (date(2026, 1, 20), date(2026, 1, 22), (date(2026, 1, 20), date(2026, 1, 22))),
        (date(2026, 1, 20), date(2026, 1, 28), (date(2026, 1, 20), date(2026, 1, 27))),
        (date(2026, 2, 2), date(2026, 2, 20), (date(2026, 2, 2), date(2026, 2, 3))),
    ],
)
def test_minutes_are_asked_for_within_reach_8_days_a_request_and_not_ahead(start, end, asked):
    vendor = Vendor(b"{}")
    assert vendor.client(intraday_reach_days=30).fetch(AAPL, minutes(start, end)).request == minutes(*asked)
    begin, until = (int(vendor.query()[name]) for name in ("period1", "period2"))
    assert (vendor.query()["interval"], begin) == ("1m", epoch(f"{asked[0]}T00:00"))
    assert until == epoch(f"{asked[1]}T00:00") + 86400
    assert begin >= NOW.timestamp() - 30 * 86400
    assert until - begin <= 8 * 86400


def test_8_days_of_minutes_stay_8_days_when_clocks_go_back():
    vendor = Vendor(b"{}")
    vendor.client(datetime(2025, 11, 7, 22, tzinfo=UTC)).fetch(AAPL, minutes(date(2025, 10, 29), date(2025, 11, 5)))
    assert int(vendor.query()["period2"]) - int(vendor.query()["period1"]) == 8 * 86400
    assert int(vendor.query()["period2"]) == epoch("2025-11-05T23:00")


@pytest.mark.parametrize(
    ("reach", "start", "end"),
    [
        (30, date(2025, 12, 1), date(2026, 1, 4)),
        (0, date(2026, 2, 3), date(2026, 2, 20)),
        (None, date(2026, 2, 4), date(2026, 2, 20)),
    ],
)
def test_minutes_out_of_reach_or_ahead_cost_no_call(reach, start, end):
    vendor = Vendor()
    with pytest.raises(OutOfWindow, match="reaches no 1m bars of") as caught:
        vendor.client(intraday_reach_days=reach).fetch(AAPL, minutes(start, end))
    assert (vendor.asked, caught.value.attempts) == ([], 0)


def live_body(*stamps: str) -> bytes:
    """Bars of an evening on which Yahoo still stamps the last one with the latest trade."""
    quoted_at = epoch("2026-02-03T16:00:01")
    current = {"regular": period("2026-02-03")}
    bars = {epoch(stamp): ROW for stamp in stamps}
    return json.dumps(chart(bars, regularMarketTime=quoted_at, currentTradingPeriod=current)).encode()


@pytest.mark.parametrize(
    ("start", "end", "answered"),
    [
        (date(2026, 1, 5), date(2026, 2, 3), date(2026, 2, 2)),
        (date(2026, 2, 2), date(2026, 2, 3), date(2026, 2, 2)),
        (date(2026, 1, 5), date(2026, 1, 30), date(2026, 1, 30)),
    ],
)
def test_a_payload_answers_for_the_days_before_its_live_bar(start, end, answered):
    body = live_body("2026-02-02T09:30", "2026-02-03T16:00:01")
    request = FetchRequest("AAPL", start, end)
    payload = Vendor(body).client(datetime(2026, 2, 4, 0, 15, tzinfo=UTC)).fetch(AAPL, request)
    assert payload.request == FetchRequest("AAPL", start, answered)
    assert payload.body == body


def test_a_live_bar_beside_the_final_one_of_its_day_takes_nothing_from_the_answer():
    body = live_body("2026-02-02T09:30", "2026-02-03T09:30", "2026-02-03T16:00:01")
    request = FetchRequest("AAPL", date(2026, 1, 5), date(2026, 2, 3))
    payload = Vendor(body).client(datetime(2026, 2, 4, 0, 15, tzinfo=UTC)).fetch(AAPL, request)
    assert payload.request == request


def test_an_answer_with_nothing_but_a_live_bar_is_kept_and_answers_for_no_day():
    request = FetchRequest("AAPL", date(2026, 2, 3), date(2026, 2, 3))
    with pytest.raises(OutOfWindow, match=r"^AAPL: yahoo's bar of 2026-02-03 is not final yet") as caught:
        Vendor(live_body("2026-02-03T16:00:01")).client().fetch(AAPL, request)
    assert caught.value.attempts == 1
    assert caught.value.payload is not None
    assert caught.value.payload.body == live_body("2026-02-03T16:00:01")


def test_a_body_that_cannot_be_read_is_a_payload_for_the_parser():
    payload = Vendor(b"<html>consent</html>").client().fetch(AAPL, YEAR)
    assert (payload.body, payload.request) == (b"<html>consent</html>", YEAR)


def test_the_client_is_a_provider_that_may_be_asked_for_anything_and_can_be_closed():
    vendor = Vendor()
    provider: Provider = vendor.client()
    assert (provider.name, provider.synthetic, provider.serves(Instrument("ZZZZ"))) == ("yahoo", False, True)
    provider.close()
    with pytest.raises(RuntimeError, match="closed"):
        provider.fetch(AAPL, YEAR)
    assert vendor.asked == []
