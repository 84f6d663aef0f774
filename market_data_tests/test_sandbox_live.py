"""The sandbox under a clock: what of its market exists at an instant, as each vendor tells it, over real HTTP."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data.clock import SandboxClock
from market_data.ingest.sources import open_source
from market_data.instruments import Instrument, Universe
from market_data.providers import alpha_vantage, polygon, stooq, yahoo
from market_data.providers.bodies import Answer
from market_data.records import Basis, ParsedBars
from market_data.sandbox.market import PRICES, SyntheticMarket
from market_data.sandbox.minutes import Bar, day_so_far, minute_so_far, minutes_of
from market_data.sandbox.server import Sandbox
from market_data.sandbox.timeline import first_market
from market_data.settings import Settings

START, END, SEED = date(2025, 1, 2), date(2025, 6, 30), 7
LATER = date(2026, 1, 30)
UNIVERSE = Universe([
    Instrument("AAPL", listed_by=START),
    Instrument("META", "Meta Platforms", "XNAS", listed_by=START, previous_symbols=(("FB", date(2025, 3, 3)),)),
    Instrument("FRESH", listed_from=date(2025, 7, 22)),
    Instrument("QIP", listed_by=START),  # splits in October 2025
    *(Instrument(f"S{a}{b}", listed_by=START) for a in "AB" for b in "KLMNOPQR"),
])  # fmt: skip
COLUMNS = [*PRICES, "volume"]
EVENING, NOON = "2025-07-21 20:00", "2025-07-22 12:03:27"
"""Wall times in New York after the window: after a close, and within the next session."""


class Live:
    """A running sandbox whose clock shows what it is told, and what its vendors answer."""

    def __init__(self) -> None:
        self.now = eastern(EVENING)
        self.sandbox = Sandbox(UNIVERSE, start=START, end=END, seed=SEED, clock=lambda: self.now)
        # The same market, further on: its numbers do not depend on its end.
        self.market = SyntheticMarket(UNIVERSE, start=START, end=LATER, seed=SEED)
        self.http = httpx.Client(trust_env=False, headers={"Authorization": "Bearer k"})

    def __enter__(self) -> Live:
        self.sandbox.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.http.close()
        self.sandbox.__exit__(*error)

    def shows(self, text: str) -> None:
        self.now = eastern(text)

    def get(self, path: str) -> httpx.Response:
        return self.http.get(self.sandbox.url + path)

    def json(self, path: str) -> Any:
        return self.get(path).json()

    def parsed(self, vendor: str, path: str, symbol: str = "AAPL", interval: str = "1d") -> ParsedBars:
        ticker = UNIVERSE[symbol].ticker(vendor)
        sent = self.get(path.format(ticker))
        answer = Answer(
            symbol, ticker, interval, sent.status_code, sent.headers["content-type"], str(sent.url), self.now
        )
        return PARSERS[vendor](sent.content, answer)

    def daily(self, vendor: str, symbol: str = "AAPL") -> pd.DataFrame:
        """Days as the project's own parser reads them."""
        return self.parsed(vendor, DAILY[vendor], symbol).bars

    def sent_days(self, vendor: str, symbol: str = "AAPL") -> list[tuple[str, float, float]]:
        """Day, close and volume of each bar as sent, a live one included."""
        sent = self.get(DAILY[vendor].format(UNIVERSE[symbol].ticker(vendor)))
        return _DAYS[vendor](sent)

    def bar(self, symbol: str, day: str) -> pd.Series:
        bars = self.market.raw_bars(symbol)
        return bars[bars["date"] == day].iloc[0]


def eastern(text: str) -> datetime:
    return pd.Timestamp(text, tz="America/New_York").tz_convert("UTC").to_pydatetime()


def epoch(text: str) -> int:
    return int(eastern(text).timestamp())


PARSERS: dict[str, Callable[[bytes, Answer], ParsedBars]] = {
    "polygon": polygon.parse,
    "alpha_vantage": alpha_vantage.parse,
    "yahoo": yahoo.parse,
    "stooq": stooq.parse,
}
DAILY = {
    "polygon": "/polygon/v2/aggs/ticker/{}/range/1/day/2025-01-02/2026-01-30?adjusted=false&limit=50000",
    "alpha_vantage": "/alpha_vantage/query?function=TIME_SERIES_DAILY&symbol={}&outputsize=full&apikey=k",
    "yahoo": "/yahoo/v8/finance/chart/{}?period1=0&period2=9999999999&interval=1d&events=div,splits",
    "stooq": "/stooq/q/d/l/?s={}&i=d",
}
MINUTES = {
    "polygon": "/polygon/v2/aggs/ticker/{}/range/1/minute/2025-07-21/2025-07-22?adjusted=false&limit=50000",
    "alpha_vantage": "/alpha_vantage/query?function=TIME_SERIES_INTRADAY&symbol={}&interval=1min&month=2025-07"
    "&outputsize=full&adjusted=false&apikey=k",
    "yahoo": f"/yahoo/v8/finance/chart/{{}}?period1={epoch('2025-07-21')}&period2={epoch('2025-07-23')}&interval=1m",
}


def _polygon_days(sent: httpx.Response) -> list[tuple[str, float, float]]:
    return [(_day(row["t"] / 1000), row["c"], row["v"]) for row in sent.json()["results"]]


def _alpha_days(sent: httpx.Response) -> list[tuple[str, float, float]]:
    rows = sorted(sent.json()["Time Series (Daily)"].items())
    return [(day, float(row["4. close"]), float(row["5. volume"])) for day, row in rows]


def _yahoo_days(sent: httpx.Response) -> list[tuple[str, float, float]]:
    result = sent.json()["chart"]["result"][0]
    quote = result["indicators"]["quote"][0]
    closes = [round(close, 4) for close in quote["close"]]
    return list(zip(map(_day, result["timestamp"]), closes, quote["volume"], strict=True))


def _stooq_days(sent: httpx.Response) -> list[tuple[str, float, float]]:
    table = pd.read_csv(io.BytesIO(sent.content))
    return list(zip(table["Date"], table["Close"], table["Volume"], strict=True))


def _day(seconds: float) -> str:
    return str(pd.Timestamp(seconds, unit="s", tz="America/New_York").date())


_DAYS = {"polygon": _polygon_days, "alpha_vantage": _alpha_days, "yahoo": _yahoo_days, "stooq": _stooq_days}


@pytest.fixture(scope="module")
def running() -> Iterator[Live]:
    with Live() as live:
        yield live


@pytest.fixture
def live(running: Live) -> Live:
    running.shows(EVENING)
    return running


@pytest.mark.parametrize("vendor", DAILY)
def test_days_end_with_the_last_session_that_closed(live, vendor):
    for moment, last in (
        (EVENING, "2025-07-21"),
        ("2025-07-22 00:30", "2025-07-21"),
        ("2025-07-22 15:59:59", "2025-07-21"),
        ("2025-07-22 16:00", "2025-07-22"),
        ("2025-07-27 12:00", "2025-07-25"),
        ("2025-11-28 12:59", "2025-11-26"),
        ("2025-11-28 13:00", "2025-11-28"),  # a half day
        ("2026-01-28 12:00", "2026-01-27"),  # half a year beyond what it was begun with
        ("2025-03-20 09:00", "2025-03-19"),  # and back into the window
    ):
        live.shows(moment)
        days = live.daily(vendor)["date"]
        assert days.iloc[-1] == pd.Timestamp(last), moment
        assert days.tolist() == live.market.raw_bars("AAPL").query("date <= @last")["date"].tolist()


@pytest.mark.parametrize("vendor", DAILY)
def test_while_a_session_is_open_its_bar_so_far_comes_last(live, vendor):
    live.shows(NOON)
    last = live.sent_days(vendor)[-1]
    if vendor == "stooq":
        assert last[0] == "2025-07-21"
        return
    so_far = live.json("/polygon/v2/aggs/ticker/AAPL/range/1/minute/2025-07-22/2025-07-22?limit=50000")["results"]
    assert last[:2] == ("2025-07-22", pytest.approx(so_far[-1]["c"], abs=1e-4))
    assert last[2] == sum(row["v"] for row in so_far) < live.bar("AAPL", "2025-07-22")["volume"]
    live.shows("2025-07-22 09:30")
    assert live.sent_days(vendor)[-1][0] == "2025-07-21"


def test_yahoos_live_bar_bears_the_stamp_of_the_latest_trade(live):
    live.shows(NOON)
    for interval, first in (("1d", "2025-07-18"), ("1m", "2025-07-22")):
        path = f"/yahoo/v8/finance/chart/AAPL?period1={epoch(first)}&period2={epoch('2025-07-23')}&interval={interval}"
        result = live.json(path)["chart"]["result"][0]
        meta, quote = result["meta"], result["indicators"]["quote"][0]
        assert result["timestamp"][-1] == meta["regularMarketTime"] == epoch(NOON)
        assert round(quote["close"][-1], 4) == pytest.approx(meta["regularMarketPrice"])
        assert meta["currentTradingPeriod"]["regular"]["end"] == epoch("2025-07-22 16:00")
    assert result["timestamp"][-2] == epoch("2025-07-22 12:02")
    live.shows("2025-07-26 12:00")
    meta = live.json(path)["chart"]["result"][0]["meta"]
    assert meta["regularMarketTime"] == epoch("2025-07-25 16:00") + 1
    assert meta["currentTradingPeriod"]["regular"]["start"] == epoch("2025-07-28 09:30")


def test_yahoos_reach_of_minutes_moves_with_the_clock(live):
    def status(first: str) -> int:
        path = f"/yahoo/v8/finance/chart/AAPL?period1={epoch(first)}&period2={epoch(first) + 86400}&interval=1m"
        return live.get(path).status_code

    live.shows("2025-07-22 12:00")
    assert (status("2025-06-23"), status("2025-06-20")) == (200, 422)
    live.shows("2025-09-22 12:00")
    assert (status("2025-08-25"), status("2025-07-22")) == (200, 422)


@pytest.mark.parametrize("vendor", MINUTES)
def test_minutes_reach_up_to_now_and_the_one_under_way_is_not_whole(live, vendor):
    basis = Basis.SPLIT if vendor == "yahoo" else Basis.RAW
    live.shows(NOON)
    bars = live.parsed(vendor, MINUTES[vendor], interval="1m").bars
    assert bars["datetime"].iloc[-1] <= eastern("2025-07-22 12:03")
    bars = bars[bars["datetime"] < eastern("2025-07-22 12:03")]
    assert bars["datetime"].iloc[-1] == eastern("2025-07-22 12:02")
    days = [day.date() for day in live.market.sessions if date(2025, 7, 1) <= day.date() <= date(2025, 7, 22)]
    whole = pd.concat([live.market.minute_bars("AAPL", day, basis) for day in days])
    due = whole[whole["datetime"].isin(bars["datetime"])]
    assert len(due) == len(bars)
    np.testing.assert_allclose(bars[COLUMNS], due[COLUMNS], rtol=2e-7)
    # A reader that knows no better takes the minute under way for a whole one.
    live.now = eastern("2025-07-22 12:05")
    assert len(live.parsed(vendor, MINUTES[vendor], interval="1m").bars) == len(bars) + 2
    live.shows("2025-07-23 09:00")
    settled = live.parsed(vendor, MINUTES[vendor], interval="1m").bars
    assert settled["datetime"].iloc[-1] >= eastern("2025-07-22 15:59")
    np.testing.assert_allclose(settled.iloc[: len(bars)][COLUMNS], bars[COLUMNS])


def test_a_minute_grows_second_by_second_until_it_is_whole(live):
    start = epoch("2025-07-22 12:03")
    path = f"/polygon/v2/aggs/ticker/AAPL/range/1/minute/{start * 1000}/{start * 1000}?adjusted=false"
    seen = []
    for second in range(0, 61, 4):
        live.now = datetime.fromtimestamp(start + second, UTC)
        answer = live.json(path)
        assert answer == live.json(path)
        seen += answer.get("results", [])
    assert len(seen) >= 10
    for earlier, later in pairwise(seen):
        assert (earlier["v"], earlier["h"], later["l"]) <= (later["v"], later["h"], earlier["l"])
        assert (later["o"], later["t"]) == (earlier["o"], start * 1000)
        assert later["l"] <= later["c"] <= later["h"]
    whole = live.market.minute_bars("AAPL", date(2025, 7, 22)).iloc[153]
    assert [seen[-1][name] for name in "ohlcv"] == whole[COLUMNS].tolist()
    assert seen[0]["v"] < whole["volume"] / 4


def test_a_narrow_request_gets_the_last_minutes_alone(live):
    live.shows(NOON)
    since = epoch("2025-07-22 12:01")
    for until in (str(epoch(NOON) * 1000), "2025-07-22"):
        path = f"/polygon/v2/aggs/ticker/AAPL/range/1/minute/{since * 1000}/{until}?adjusted=false&sort=asc"
        rows = live.json(path)["results"]
        assert [row["t"] // 1000 - since for row in rows] == [0, 60, 120]
    path = f"/yahoo/v8/finance/chart/AAPL?period1={since}&period2={epoch(NOON) + 60}&interval=1m"
    result = live.json(path)["chart"]["result"][0]
    assert [stamp - since for stamp in result["timestamp"]] == [0, 60, 147]
    assert result["indicators"]["quote"][0]["volume"] == [row["v"] for row in rows]
    later = epoch("2025-07-22 15:00")
    assert "results" not in live.json(
        f"/polygon/v2/aggs/ticker/AAPL/range/1/minute/{later * 1000}/{later * 1000 + 60_000}"
    )


def test_volume_is_short_after_the_close_and_whole_a_day_later_at_every_vendor_alike(live):
    whole = live.bar("AAPL", "2025-07-21")
    live.shows(EVENING)
    first = {vendor: live.daily(vendor).iloc[-1] for vendor in DAILY}
    live.shows("2025-07-22 12:01")
    second = {vendor: live.daily(vendor).iloc[-1] for vendor in DAILY}
    volumes = {bar["volume"] for bar in first.values()}
    assert len(volumes) == 1
    assert 0.97 <= volumes.pop() / whole["volume"] <= 0.99
    for vendor in DAILY:
        assert second[vendor]["volume"] == whole["volume"]
        assert (first[vendor][PRICES] == second[vendor][PRICES]).all()
    grouped = "/polygon/v2/aggs/grouped/locale/us/market/stocks/2025-07-21"
    assert {row["T"]: row["v"] for row in live.json(grouped)["results"]}["AAPL"] == whole["volume"]


def test_the_grouped_answer_has_sessions_that_closed_alone(live):
    grouped = "/polygon/v2/aggs/grouped/locale/us/market/stocks/2025-07-22"
    live.shows("2025-07-22 15:59:59")
    assert live.json(grouped)["resultsCount"] == 0
    live.shows("2025-07-22 16:00")
    assert live.json(grouped)["resultsCount"] == len(UNIVERSE)


def first_action(live: Live, kind: str) -> tuple[str, pd.Timestamp, float]:
    """The first of its kind after the evening: symbol, ex-date and value."""
    found = []
    for symbol in UNIVERSE:
        actions = live.market.actions(symbol)
        actions = actions[(actions["kind"] == kind) & (actions["date"] > "2025-07-22")]
        found += [(row.date, symbol, row.value) for row in actions.itertuples()]
    day, symbol, value = min(found)
    return symbol, day, value


def test_a_split_is_told_and_applied_from_its_ex_date_on(live):
    symbol, day, ratio = first_action(live, "split")
    before = live.market.raw_bars(symbol).query("date < @day").iloc[-1]
    feeds = {
        "polygon": f"/polygon/v3/reference/splits?ticker={symbol}",
        "alpha_vantage": f"/alpha_vantage/query?function=SPLITS&symbol={symbol}&apikey=k",
    }
    for moment, applied in (
        (f"{before['date'].date()} 20:10", False),
        (f"{day.date()} 09:00", True),
        (f"{day.date()} 12:00", True),
        (f"{day.date()} 20:10", True),
    ):
        live.shows(moment)
        for vendor, path in feeds.items():
            assert (len(live.parsed(vendor, path, symbol).actions) > 0) is applied, (vendor, moment)
        told = live.parsed("yahoo", DAILY["yahoo"], symbol)
        assert (told.actions["kind"] == "split").any() == applied, moment
        for vendor in ("yahoo", "stooq"):
            bars = told.bars if vendor == "yahoo" else live.daily(vendor, symbol)
            close = bars.loc[bars["date"] == before["date"], "close"].iloc[0]
            assert close * (ratio if applied else 1) == pytest.approx(before["close"], rel=1e-4), (vendor, moment)
        raw = live.daily("polygon", symbol)
        assert raw.loc[raw["date"] == before["date"], "close"].iloc[0] == before["close"]


def test_a_dividend_moves_stooqs_history_and_yahoos_adjclose_from_its_ex_date_on(live):
    symbol, day, amount = first_action(live, "dividend")
    before = live.market.raw_bars(symbol).query("date < @day").iloc[-1]
    due = before["close"] * (1 - amount / before["close"])
    for moment, close in ((f"{before['date'].date()} 20:10", before["close"]), (f"{day.date()} 20:10", due)):
        live.shows(moment)
        bars = live.daily("stooq", symbol)
        assert bars.loc[bars["date"] == before["date"], "close"].iloc[0] == pytest.approx(close, rel=1e-5)
        result = live.json(DAILY["yahoo"].format(symbol))["chart"]["result"][0]
        place = result["timestamp"].index(epoch(f"{before['date'].date()} 09:30"))
        assert result["indicators"]["adjclose"][0]["adjclose"][place] == pytest.approx(close, rel=1e-5)
        told = live.json(f"/polygon/v3/reference/dividends?ticker={symbol}&ex_dividend_date={day.date()}")["results"]
        assert [row["cash_amount"] for row in told] == ([] if close != due else [amount])


def test_what_is_planted_stands_within_the_window_and_sessions_after_it_are_clean(live):
    live.shows("2025-12-19 20:00")
    with Sandbox(UNIVERSE, start=START, end=END, seed=SEED) as standing:
        assert live.sandbox.manifest == standing.manifest
        for symbol in {defect.symbol for defect in standing.manifest.defects}:
            path = DAILY["polygon"].format(symbol)
            planted = live.http.get(standing.url + path).json()["results"]
            served = live.get(path).json()["results"]
            assert served[: len(planted)] == planted
            later = pd.DataFrame(served[len(planted) :])
            clean = live.market.raw_bars(symbol).query("date > '2025-06-30' and date <= '2025-12-19'")
            unsplit = any(defect.kind == "missed_split" for defect in standing.manifest.of(symbol))
            prices = clean[PRICES] / (4 if unsplit else 1)
            np.testing.assert_allclose(later[["o", "h", "l", "c"]], prices, rtol=1e-5)
            np.testing.assert_array_equal(later["v"][:-1], clean["volume"][:-1])


def test_a_market_cut_from_a_longer_one_is_the_same():
    given: dict[str, Any] = {"start": START, "end": END, "seed": SEED}
    alone = SyntheticMarket(UNIVERSE, **given)
    cut = first_market(UNIVERSE, **given, clock=lambda: eastern(NOON))
    assert cut.longer is not None
    assert cut.longer.end > date(2025, 12, 31)
    for symbol in UNIVERSE:
        for basis in Basis:
            pd.testing.assert_frame_equal(cut.adjusted_bars(symbol, basis), alone.adjusted_bars(symbol, basis))
        pd.testing.assert_frame_equal(cut.actions(symbol), alone.actions(symbol))
    pd.testing.assert_frame_equal(cut.minute_bars("AAPL", END), alone.minute_bars("AAPL", END))
    for moment in (None, "2025-06-02 12:00"):
        clock = None if moment is None else partial(eastern, moment)
        assert first_market(UNIVERSE, **given, clock=clock).longer is None


def test_a_clock_within_the_window_hides_what_is_planted_later(live):
    defect = max(
        (each for each in live.sandbox.manifest.defects if each.kind == "off_session"), key=lambda each: each.date
    )
    for days, is_seen in ((-1, False), (4, True)):
        live.shows(f"{defect.date + timedelta(days=days)} 23:00")
        assert (defect.date.isoformat() in {day for day, *_ in live.sent_days("stooq", defect.symbol)}) is is_seen


def test_an_instrument_appears_on_its_first_day(live):
    live.shows("2025-07-21 20:00")
    assert live.get(DAILY["yahoo"].format("FRESH")).status_code == 400
    assert live.get(DAILY["stooq"].format("fresh.us")).text == "No data"
    for moment in ("2025-07-22 09:30", "2025-07-22 09:30:01"):
        live.shows(moment)
        assert live.get(DAILY["yahoo"].format("FRESH")).status_code in (200, 400)
    live.shows("2025-07-22 09:33")
    assert [day for day, *_ in live.sent_days("yahoo", "FRESH")] == ["2025-07-22"]
    assert len(live.json(MINUTES["yahoo"].format("FRESH"))["chart"]["result"][0]["timestamp"]) == 3
    live.shows("2025-07-22 18:00")
    assert len(live.daily("stooq", "FRESH")) == 1


def test_a_ticker_of_the_past_has_no_bar_of_today(live):
    live.shows(NOON)
    days = {ticker: _polygon_days(live.get(DAILY["polygon"].format(ticker)))[-1][0] for ticker in ("FB", "META")}
    assert days == {"FB": "2025-02-28", "META": "2025-07-22"}
    assert "results" not in live.json(MINUTES["polygon"].format("FB"))


def test_before_its_first_session_the_market_has_nothing_to_tell(live):
    for moment in ("2024-12-20 12:00", "2025-01-02 09:30"):
        live.shows(moment)
        assert live.json(DAILY["polygon"].format("AAPL"))["resultsCount"] == 0
        assert "Error Message" in live.json(DAILY["alpha_vantage"].format("AAPL"))
        assert live.get(DAILY["yahoo"].format("AAPL")).status_code == 400
        assert live.get(DAILY["stooq"].format("aapl.us")).text == "No data"
        assert live.json("/clock")["last_completed_session"] is None


def test_the_clock_is_told(live):
    live.shows(NOON)
    assert live.json("/clock") == {
        "synthetic": True,
        "set": True,
        "instant": "2025-07-22T16:03:27+00:00",
        "rate": None,
        "open_session": "2025-07-22",
        "last_completed_session": "2025-07-21",
    }
    assert live.json("/manifest")["clock"]["instant"] == "2025-07-22T16:03:27+00:00"
    assert "clock: 2025-07-22 16:03:27 UTC" in live.get("/").text


def test_a_clock_of_a_file_counts_once_it_is_set_and_until_it_is_reset(tmp_path):
    clock = SandboxClock(tmp_path / "clock.json")
    paths = [path.format("aapl.us" if name == "stooq" else "AAPL") for name, path in DAILY.items()]
    paths += ["/manifest", "/polygon/v3/reference/dividends?limit=1000"]
    given: dict[str, Any] = {"start": START, "end": END, "seed": SEED}
    with (
        Sandbox(UNIVERSE, **given) as standing,
        Sandbox(UNIVERSE, **given, clock=clock) as sandbox,
        httpx.Client(trust_env=False, headers={"Authorization": "Bearer k"}) as http,
    ):

        def told(of: Sandbox) -> list[bytes]:
            return [http.get(of.url + path).content.replace(of.url.encode(), b"") for path in paths]

        before = told(sandbox)
        assert before == told(standing)
        assert http.get(f"{sandbox.url}/clock").json()["set"] is False
        clock.set(eastern(EVENING), rate=0)
        assert all(now != then for now, then in zip(told(sandbox), before, strict=True))
        clock.reset()
        assert told(sandbox) == before
        clock.file.write_text("{", encoding="utf-8")
        answer = http.get(f"{sandbox.url}/clock")
        assert (answer.status_code, "delete it or set it anew" in answer.json()["error"]) == (500, True)


@pytest.mark.parametrize("is_set", [True, False])
def test_an_embedded_sandbox_goes_by_the_clock_of_its_store(tmp_path: Path, is_set: bool) -> None:
    given = Settings(runtime=tmp_path, window_start=START, window_end=END, sandbox_seed=SEED)
    clock = SandboxClock(given.sandbox_clock_file)
    if is_set:
        clock.set(eastern(EVENING), rate=60)
    with open_source("sandbox", given, UNIVERSE, clock=clock) as source:
        told = httpx.get(f"{source.url}/clock", trust_env=False).json()
    assert (told["set"], told["rate"]) == ((True, 60.0) if is_set else (False, None))
    assert told["last_completed_session"] == ("2025-07-21" if is_set else "2025-06-30")


@given(
    st.floats(5, 500), st.floats(0, 0.05), st.floats(-1, 1), st.integers(0, 10**6), st.integers(0, 2**32 - 1)
)  # fmt: skip
@settings(max_examples=25)
def test_any_minute_grows_towards_what_it_ends_as(price, width, tilt, volume, seed):
    opened, high = round(price, 2), round(price * (1 + width), 2)
    low, close = round(price * (1 - width), 2), round(price * (1 + width * tilt * 0.99), 2)
    high, low = max(high, opened, close), min(low, opened, close)
    whole = np.array([opened, high, low, close, float(volume)])
    before = np.array([opened, opened, opened, opened, 0.0])
    for second in range(60):
        row = minute_so_far(whole, second, np.random.default_rng(seed))
        if row is None:
            assert before[4] == 0
            continue
        assert row[0] == opened
        assert low <= row[2] <= min(row[0], row[3]) <= max(row[0], row[3]) <= row[1] <= high
        assert (row[1] >= before[1], row[2] <= before[2], before[4] <= row[4] <= volume) == (True, True, True)
        before = row


def test_a_day_so_far_is_what_its_minutes_add_up_to():
    bar = Bar(100.0, 103.0, 98.5, 101.25, 1_234_567.0)
    table = minutes_of(bar, 390, np.random.default_rng(1))
    assert day_so_far(table) == bar
    assert day_so_far(table[:1]) == Bar(*table[0].tolist())
