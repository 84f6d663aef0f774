"""There and back: what the sandbox writes is what each vendor's parser reads, planted defects included."""

from collections.abc import Callable
from datetime import UTC, date, datetime

import httpx
import numpy as np
import pandas as pd
import pytest

from market_data.instruments import Instrument, Universe
from market_data.providers import alpha_vantage, polygon, stooq, yahoo
from market_data.providers.bodies import Answer
from market_data.records import Basis, ParsedBars
from market_data.sandbox.defects import PROTECTED, apply
from market_data.sandbox.market import PRICES
from market_data.sandbox.server import Sandbox

START, END, SEED = date(2021, 1, 19), date(2026, 1, 19), 7
INVENTED = [Instrument(f"S{a}{b}", listed_by=START) for a in "ABCDEF" for b in "KLMNOPQRST"]
UNIVERSE = Universe(
    [*(Instrument(name, listed_by=START) for name in sorted(PROTECTED)), *INVENTED, Instrument("BRK.B")]
)
NOW = datetime(2026, 1, 20, 12, tzinfo=UTC)
COLUMNS = [*PRICES, "volume"]

DAILY: dict[str, tuple[str, Basis, Callable[[bytes, Answer], ParsedBars]]] = {
    "polygon": (
        "/polygon/v2/aggs/ticker/{}/range/1/day/2021-01-19/2026-01-19?adjusted=false&sort=asc&limit=50000",
        Basis.RAW,
        polygon.parse,
    ),
    "polygon adjusted": (
        "/polygon/v2/aggs/ticker/{}/range/1/day/2021-01-19/2026-01-19?adjusted=true&limit=50000",
        Basis.SPLIT,
        polygon.parse,
    ),
    "alpha_vantage": (
        "/alpha_vantage/query?function=TIME_SERIES_DAILY&symbol={}&outputsize=full&apikey=k",
        Basis.RAW,
        alpha_vantage.parse,
    ),
    "alpha_vantage csv": (
        "/alpha_vantage/query?function=TIME_SERIES_DAILY&symbol={}&outputsize=full&datatype=csv&apikey=k",
        Basis.RAW,
        alpha_vantage.parse,
    ),
    "yahoo": (
        "/yahoo/v8/finance/chart/{}?period1=1611014400&period2=1768953600&interval=1d&events=div,splits",
        Basis.SPLIT,
        yahoo.parse,
    ),
    "stooq": (
        "/stooq/q/d/l/?s={}&i=d",
        Basis.SPLIT_DIVIDEND,
        stooq.parse,
    ),
}


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(UNIVERSE, start=START, end=END, seed=SEED) as running:
        yield running


@pytest.fixture(scope="module")
def client(sandbox):
    with httpx.Client(base_url=sandbox.url, trust_env=False, headers={"Authorization": "Bearer k"}) as opened:
        yield opened


def asked(client: httpx.Client, path: str, symbol: str, interval: str = "1d") -> tuple[bytes, Answer]:
    ticker = UNIVERSE[symbol].ticker(path.split("/")[1])
    answer = client.get(path.format(ticker))
    assert answer.status_code == 200
    return answer.content, Answer(
        symbol, ticker, interval, 200, answer.headers["content-type"], str(answer.url), fetched_at=NOW
    )


def one_of_each(sandbox: Sandbox) -> list[str]:
    """A symbol for each kind of defect, and some without."""
    kinds = {defect.kind: defect.symbol for defect in sandbox.manifest.defects}
    return [*kinds.values(), "AAPL", "BRK.B"]


@pytest.mark.parametrize("vendor", DAILY)
def test_daily_bars_come_back_as_the_market_has_them_with_their_defects(sandbox, client, vendor):
    path, basis, parse = DAILY[vendor]
    for symbol in one_of_each(sandbox):
        parsed = parse(*asked(client, path, symbol))
        expected = apply(sandbox.market.adjusted_bars(symbol, basis), sandbox.manifest.of(symbol))
        if vendor == "alpha_vantage":
            expected = expected.drop_duplicates("date", keep="last", ignore_index=True)
        # Which of two bars of a date comes first is not said by a vendor that sends the newest first.
        found, expected = (frame.sort_values(["date", "close"], ignore_index=True) for frame in (parsed.bars, expected))
        assert parsed.basis is basis
        assert found["date"].tolist() == expected["date"].tolist(), symbol
        tolerance = {"rtol": 2e-7} if vendor == "yahoo" else {"rtol": 1e-12, "atol": 6e-5 * vendor.startswith("alpha")}
        np.testing.assert_allclose(found[COLUMNS], expected[COLUMNS], err_msg=symbol, **tolerance)


def test_actions_come_back_from_every_feed(sandbox, client):
    feeds = {
        "polygon": (
            "/polygon/v3/reference/splits?ticker={}&limit=1000",
            "/polygon/v3/reference/dividends?ticker={}&limit=1000",
        ),
        "alpha_vantage": ("/alpha_vantage/query?function=SPLITS&symbol={}&apikey=k",
                          "/alpha_vantage/query?function=DIVIDENDS&symbol={}&apikey=k"),
    }  # fmt: skip
    parsers = {"polygon": polygon.parse, "alpha_vantage": alpha_vantage.parse}
    for symbol in list(UNIVERSE)[::3]:
        expected = sandbox.market.actions(symbol)
        for vendor, paths in feeds.items():
            found = pd.concat([parsers[vendor](*asked(client, path, symbol)).actions for path in paths])
            found = found.sort_values(["date", "kind"], ignore_index=True)
            pd.testing.assert_frame_equal(found, expected.sort_values(["date", "kind"], ignore_index=True))


def test_yahoos_dividends_are_adjusted_for_later_splits(sandbox, client):
    path, _, parse = DAILY["yahoo"]
    splitting = [s for s in UNIVERSE if {"split", "dividend"} <= set(sandbox.market.actions(s)["kind"])]
    assert splitting
    for symbol in splitting:
        expected = sandbox.market.actions(symbol)
        split = expected.query("kind == 'split'").iloc[0]
        earlier = (expected["kind"] == "dividend") & (expected["date"] < split["date"])
        expected["value"] = expected["value"].where(~earlier, expected["value"] / split["value"])
        found = parse(*asked(client, path, symbol)).actions
        pd.testing.assert_frame_equal(found, expected.sort_values(["date", "kind"], ignore_index=True), rtol=1e-5)


MINUTES = {
    "polygon": (
        "/polygon/v2/aggs/ticker/{}/range/1/minute/2026-01-14/2026-01-16?adjusted=false&limit=50000",
        polygon.parse,
        Basis.RAW,
    ),
    "alpha_vantage": (
        "/alpha_vantage/query?function=TIME_SERIES_INTRADAY&symbol={}&interval=1min&month=2025-11&outputsize=full"
        "&adjusted=false&apikey=k",
        alpha_vantage.parse,
        Basis.RAW,
    ),
    "yahoo": (
        "/yahoo/v8/finance/chart/{}?period1=1768366800&period2=1768626000&interval=1m",
        yahoo.parse,
        Basis.SPLIT,
    ),
}


@pytest.mark.parametrize("vendor", MINUTES)
def test_minutes_come_back_as_the_market_has_them(sandbox, client, vendor):
    path, parse, basis = MINUTES[vendor]
    for symbol in ("AAPL", "BRK.B"):
        parsed = parse(*asked(client, path, symbol, "1m"))
        days = sorted(set(parsed.bars["datetime"].dt.tz_convert("America/New_York").dt.date))
        assert len(days) == (19 if vendor == "alpha_vantage" else 3)
        expected = pd.concat([sandbox.market.minute_bars(symbol, day, basis) for day in days], ignore_index=True)
        assert parsed.bars["datetime"].tolist() == expected["datetime"].tolist()
        np.testing.assert_allclose(parsed.bars[COLUMNS], expected[COLUMNS], rtol=2e-7)


def test_a_grouped_answer_serves_every_symbol(sandbox, client):
    answer = client.get("/polygon/v2/aggs/grouped/locale/us/market/stocks/2025-11-28?adjusted=false")
    closes = {row["T"]: row.get("c") for row in answer.json()["results"]}
    due: dict[str, float | None] = {}
    for symbol in UNIVERSE:
        bars = apply(sandbox.market.raw_bars(symbol), sandbox.manifest.of(symbol))
        bars = bars[bars["date"] == pd.Timestamp("2025-11-28")]
        for close in bars["close"]:
            due[symbol] = None if pd.isna(close) else close
    assert closes == due
    assert len(closes) > 60
