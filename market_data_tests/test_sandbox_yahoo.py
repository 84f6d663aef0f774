"""What Yahoo's chart endpoint takes, refuses and tells, over real HTTP."""

from datetime import date

import httpx
import numpy as np
import pandas as pd
import pytest

from market_data.instruments import Instrument, Universe
from market_data.records import Basis
from market_data.sandbox.market import PRICES
from market_data.sandbox.server import Sandbox

START, END, SEED = date(2021, 1, 19), date(2025, 12, 31), 7
UNIVERSE = Universe([
    Instrument("AAPL", "Apple Inc.", "XNAS"),
    Instrument("NEW", listed_from=date(2024, 6, 3)),
    Instrument("LATER", listed_from=date(2026, 6, 1)),
    *(Instrument(f"S{a}{b}") for a in "ABCD" for b in "KLMNOPQRST"),
])  # fmt: skip


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(UNIVERSE, start=START, end=END, seed=SEED) as running:
        yield running


@pytest.fixture(scope="module")
def client(sandbox):
    with httpx.Client(base_url=sandbox.url, trust_env=False) as opened:
        yield opened


def yahoo(client: httpx.Client, ticker: str = "AAPL", **query: str) -> httpx.Response:
    return client.get(f"/yahoo/v8/finance/chart/{ticker}", params=query)


def epoch(text: str) -> str:
    return str(int(pd.Timestamp(text, tz="America/New_York").timestamp()))


def test_yahoo_serves_the_sessions_whose_open_lies_in_the_window(sandbox, client):
    served = yahoo(client, period1=epoch("2025-03-07 09:30"), period2=epoch("2025-03-11 09:30"), interval="1d").json()
    result = served["chart"]["result"][0]
    assert result["timestamp"] == [int(epoch("2025-03-07 09:30")), int(epoch("2025-03-10 09:30"))]
    bars = sandbox.market.adjusted_bars("AAPL", Basis.SPLIT)
    before = bars[bars["date"] < "2025-03-07"].iloc[-1]
    assert result["meta"]["chartPreviousClose"] == pytest.approx(before["close"], abs=1e-3)
    assert result["meta"]["firstTradeDate"] == int(epoch("2021-01-19 09:30"))
    assert (result["meta"]["longName"], result["meta"]["fullExchangeName"]) == ("Apple Inc.", "NasdaqGS")


def test_yahoos_meta_tells_of_the_markets_end(client):
    meta = yahoo(client, period1="0", period2="9999999999").json()["chart"]["result"][0]["meta"]
    regular = meta["currentTradingPeriod"]["regular"]
    assert regular == {
        "timezone": "EST", "start": int(epoch("2025-12-31 09:30")), "end": int(epoch("2025-12-31 16:00")),
        "gmtoffset": -18000,
    }  # fmt: skip
    assert meta["regularMarketTime"] == regular["end"] + 1
    assert (meta["gmtoffset"], meta["exchangeTimezoneName"], meta["dataGranularity"]) == (
        -18000,
        "America/New_York",
        "1d",
    )


def test_yahoo_sends_only_the_events_asked_for(sandbox, client):
    symbol = next(s for s in UNIVERSE if {"split", "dividend"} <= set(sandbox.market.actions(s)["kind"]))
    window = {"period1": "0", "period2": "9999999999"}
    for asked, expected in (
        ("", None),
        ("div", {"dividends"}),
        ("split", {"splits"}),
        ("div|split|earn", {"dividends", "splits"}),
    ):
        result = yahoo(client, symbol, events=asked, **window).json()["chart"]["result"][0]
        assert set(result.get("events", {})) == (expected or set())
    stamps = [pd.Timestamp(int(key), unit="s", tz="America/New_York") for key in result["events"]["dividends"]]
    assert [stamp.tz_localize(None).normalize() for stamp in stamps] == sandbox.market.actions(symbol).query(
        "kind == 'dividend'"
    )["date"].tolist()
    assert {(stamp.hour, stamp.minute) for stamp in stamps} == {(9, 30)}


def test_yahoo_noise_vanishes_with_rounding(sandbox, client):
    result = yahoo(client, period1="0", period2="9999999999").json()["chart"]["result"][0]
    bars = sandbox.market.adjusted_bars("AAPL", Basis.SPLIT)
    quote = pd.DataFrame(result["indicators"]["quote"][0])
    assert not (quote[PRICES] == bars[PRICES]).all(axis=None)
    np.testing.assert_array_equal(quote[PRICES].round(2), bars[PRICES].round(2))
    assert quote["volume"].tolist() == bars["volume"].astype(int).tolist()


@pytest.mark.parametrize(
    ("ticker", "query", "status", "told"),
    [
        ("ZZZ", {"period1": "0", "period2": "9999999999"}, 404, "Not Found"),
        ("AAPL", {"period1": "2", "period2": "1"}, 400, "start date cannot be after end date"),
        ("AAPL", {"period1": "0", "period2": "1"}, 400, "Data doesn't exist for startDate = 0, endDate = 1"),
        ("NEW", {"period1": epoch("2024-01-02"), "period2": epoch("2024-02-02")}, 400, "Data doesn't exist"),
        ("LATER", {"period1": "0", "period2": "9999999999"}, 400, "Data doesn't exist"),
        (
            "LATER",
            {"period1": epoch("2025-12-29"), "period2": epoch("2025-12-31"), "interval": "1m"},
            400,
            "Data doesn't",
        ),
        ("AAPL", {"period1": "soon", "period2": "1"}, 400, "Bad Request"),
        ("AAPL", {"period1": "0", "period2": "1", "interval": "7d"}, 400, "interval 7d"),
        (
            "AAPL",
            {"period1": epoch("2025-12-20"), "period2": epoch("2025-12-29"), "interval": "1m"},
            422,
            "Only 8 days",
        ),
        (
            "AAPL",
            {"period1": epoch("2025-11-20"), "period2": epoch("2025-11-22"), "interval": "1m"},
            422,
            "last 30 days",
        ),
    ],
)
def test_yahoo_refuses_with_a_status_and_a_code(client, ticker, query, status, told):
    answer = yahoo(client, ticker, **query)
    assert answer.status_code == status
    assert answer.json()["chart"]["result"] is None
    assert told in answer.text


@pytest.mark.parametrize(
    ("interval", "indicators"), [("1d", {"quote": [{}], "adjclose": [{}]}), ("1m", {"quote": [{}]})]
)
def test_yahoo_has_no_stamps_where_nothing_traded(client, interval, indicators):
    answer = yahoo(client, period1=epoch("2025-12-27"), period2=epoch("2025-12-28"), interval=interval)
    result = answer.json()["chart"]["result"][0]
    assert (answer.status_code, result["indicators"], "timestamp" in result) == (200, indicators, False)
