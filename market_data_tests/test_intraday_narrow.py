"""Requests for the newest minutes alone: what leaves, who is chosen for them, and how their answers are read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import numpy as np
import pytest

from market_data.errors import BadPayload, UnknownSymbol
from market_data.instruments import Instrument
from market_data.providers import PARSERS, polygon, yahoo
from market_data.providers.bodies import Answer
from market_data.providers.config import ProviderConfig
from market_data.providers.http import HttpSource
from market_data.records import Basis, FetchRequest
from market_data.selection.choice import Wanted
from market_data_tests.fake_vendors import Market, chosen, masks
from market_data_tests.live_minutes import CLIENTS, SESSION, bar, polygon_body, yahoo_body

SINCE = datetime(2026, 1, 20, 15, 7, tzinfo=UTC)
NOW = datetime(2026, 1, 20, 15, 10, 30, tzinfo=UTC)
REQUEST = FetchRequest("BRK.B", SESSION, SESSION, "1m", since=SINCE)


def sent(vendor: str, request: FetchRequest) -> httpx.URL:
    seen = []

    def answer(asked: httpx.Request) -> httpx.Response:
        seen.append(asked.url)
        return httpx.Response(200, content=b"{}")

    config = ProviderConfig(name=vendor, priority=1, tier="live", base_url="https://live.test", basis=Basis.RAW)
    http = HttpSource(config.base_url, transport=httpx.MockTransport(answer))
    payload = CLIENTS[vendor](config, http, clock=lambda: NOW).fetch(Instrument("BRK.B"), request)
    assert payload.request.since == request.since
    return seen[0]


def test_polygon_is_asked_from_the_instant_in_milliseconds_for_bars_as_traded():
    url = sent("polygon", REQUEST)
    assert url.path == f"/v2/aggs/ticker/BRK.B/range/1/minute/{int(SINCE.timestamp() * 1000)}/2026-01-20"
    assert url.params["adjusted"] == "false"


def test_yahoo_is_asked_from_the_instant_to_the_end_of_the_day():
    url = sent("yahoo", REQUEST)
    assert url.params["period1"] == str(int(SINCE.timestamp()))
    assert url.params["period2"] == str(int(datetime(2026, 1, 21, 5, tzinfo=UTC).timestamp()))


@pytest.mark.parametrize("vendor", CLIENTS)
def test_without_an_instant_the_whole_day_is_asked_for(vendor):
    url = sent(vendor, FetchRequest("BRK.B", SESSION, SESSION, "1m"))
    assert "/range/1/minute/2026-01-20/2026-01-20" in url.path or url.params["period1"] == "1768885200"


ROWS = [bar("AAA", SINCE + minute * timedelta(minutes=1)) for minute in range(3)]
BODIES = {
    "polygon": (polygon.parse_minutes, lambda rows: polygon_body("AAA", rows)),
    "yahoo": (
        yahoo.parse_minutes,
        lambda rows: yahoo_body("AAA", rows, SINCE - timedelta(hours=1), SINCE + timedelta(hours=6), NOW),
    ),
}
ANSWER = Answer("AAA", "AAA", "1m", fetched_at=NOW)


@pytest.mark.parametrize("vendor", BODIES)
def test_the_columns_are_those_of_the_frame_the_parser_makes(vendor):
    read, body = BODIES[vendor]
    columns, frame = read(body(ROWS), ANSWER), PARSERS[vendor](body(ROWS), ANSWER)
    instants = columns.instants.astype("datetime64[us]")
    assert (instants == frame.bars["datetime"].dt.tz_localize(None).to_numpy()).all()
    for name in ("open", "high", "low", "close", "volume"):
        np.testing.assert_array_equal(columns.columns[name], frame.bars[name].to_numpy())
    assert (columns.basis, columns.adjusted_as_of) == (frame.basis, frame.adjusted_as_of)


@pytest.mark.parametrize("vendor", BODIES)
def test_an_answer_without_bars_is_told_apart_from_one_that_is_broken(vendor):
    read, body = BODIES[vendor]
    with pytest.raises(UnknownSymbol):
        read(body([]), ANSWER)
    with pytest.raises(BadPayload):
        read(body(ROWS)[:-40], ANSWER)


def test_polygons_daily_bars_are_no_minutes_though_they_start_at_full_ones():
    midnight = datetime(2026, 1, 20, 5, tzinfo=UTC)
    with pytest.raises(BadPayload, match="midnight in New York"):
        polygon.parse_minutes(polygon_body("AAA", [bar("AAA", midnight)]), ANSWER)


LIVE = Wanted(Instrument("AAA"), SESSION, SESSION, interval="1m", is_live=True)


def test_for_live_minutes_only_a_vendor_is_chosen_that_has_them_and_can_be_asked_for_the_newest():
    market = Market().add("polygon", intraday_reach_days=0).add("stooq").add("yahoo")
    market.arm("yahoo").provider.asks_since = True
    [choice] = market.selector().choose_each([LIVE])
    assert chosen(choice) == "yahoo"
    assert masks(choice) == {
        "polygon": "serves no minutes in tier free",
        "stooq": "cannot be asked for the newest minutes alone",
        "yahoo": None,
    }
    market.close()


def test_minutes_of_the_past_have_a_reach_of_their_own():
    market = Market().add("polygon", intraday_reach_days=10, reach_days=700).add("yahoo", intraday_reach_days=30)
    past = Wanted(Instrument("AAA"), SESSION - timedelta(days=25), SESSION, interval="1m")
    choice = market.selector().choose(past)
    assert chosen(choice) == "yahoo"
    assert masks(choice)["polygon"] == "reaches back to 2026-01-04; 2025-12-26 is wanted"
    market.close()


def test_choosing_for_many_at_once_chooses_as_one_by_one():
    market = Market().add("polygon").add("yahoo").add("stooq")
    wanted = [Wanted(Instrument(f"A{letter}"), SESSION, SESSION) for letter in "ABCDEFGHIJ"]
    one_by_one = [chosen(market.selector(symbols=10).choose(one)) for one in wanted]
    assert [chosen(choice) for choice in market.selector(symbols=10).choose_each(wanted)] == one_by_one
    assert len(set(one_by_one)) > 1
    market.close()
