"""Answers that look right and are not: cut windows, prices times a hundred, splits applied where they must not be."""

from datetime import date

import httpx
import pytest

from market_data.instruments import Instrument, Universe
from market_data.sandbox.faults import Fault
from market_data.sandbox.server import Sandbox
from market_data.sandbox.vendors import VENDORS

START, END, SEED = date(2021, 1, 19), date(2023, 12, 29), 7
UNIVERSE = Universe([*(Instrument(f"S{a}{b}") for a in "ABCDEFGH" for b in "KLMNOPQRST"), Instrument("AAPL")])
PATHS = {
    "polygon": "/polygon/v2/aggs/ticker/AAPL/range/1/day/2021-01-19/2023-12-29?adjusted=false&apiKey=k",
    "alpha_vantage": "/alpha_vantage/query?function=TIME_SERIES_DAILY&symbol=AAPL&outputsize=full&apikey=k",
    "yahoo": "/yahoo/v8/finance/chart/AAPL?period1=1611014400&period2=1703912400&interval=1d",
    "stooq": "/stooq/q/d/l/?s=aapl.us&i=d",
}


@pytest.fixture(scope="module")
def running():
    with Sandbox(UNIVERSE, start=START, end=END, seed=SEED) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running):
    running.replace_faults(())
    return running


@pytest.fixture
def client(sandbox):
    with httpx.Client(base_url=sandbox.url, trust_env=False) as opened:
        yield opened


def closes(vendor: str, answer: httpx.Response) -> list[float]:
    """The closes of a daily answer, oldest first."""
    if vendor == "stooq":
        return [float(line.split(",")[4]) for line in answer.text.splitlines()[1:]]
    document = answer.json()
    if vendor == "polygon":
        return [row["c"] for row in document["results"]]
    if vendor == "yahoo":
        return document["chart"]["result"][0]["indicators"]["quote"][0]["close"]
    return [float(row["4. close"]) for row in reversed(document["Time Series (Daily)"].values())]


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_window_is_cut_silently(sandbox, client, vendor):
    whole = closes(vendor, client.get(PATHS[vendor]))
    assert len(whole) == 743
    sandbox.replace_faults([Fault(vendor, "cut_window", value=10)])
    answer = client.get(PATHS[vendor])
    assert answer.status_code == 200
    assert closes(vendor, answer) == whole[-10:]


@pytest.mark.parametrize("vendor", VENDORS)
def test_prices_are_a_hundredfold_in_all_or_in_some_sessions(sandbox, client, vendor):
    whole = closes(vendor, client.get(PATHS[vendor]))
    sandbox.replace_faults([Fault(vendor, "hundredfold")])
    assert closes(vendor, client.get(PATHS[vendor])) == pytest.approx([price * 100 for price in whole], rel=1e-5)
    sandbox.replace_faults([Fault(vendor, "hundredfold", value=7)])
    ratios = [round(new / old) for new, old in zip(closes(vendor, client.get(PATHS[vendor])), whole, strict=True)]
    assert set(ratios) == {1, 100}
    assert len(whole) / 10 < ratios.count(100) < len(whole) / 5


def test_the_same_sessions_are_a_hundredfold_whatever_the_window(sandbox, client):
    whole = closes("stooq", client.get(PATHS["stooq"]))
    sandbox.replace_faults([Fault("stooq", "hundredfold", value=7)])
    wrong = closes("stooq", client.get(PATHS["stooq"]))
    days = [f"{day:%Y%m%d}" for day in sandbox.market.raw_bars("AAPL")["date"].iloc[100:120]]
    alone = [closes("stooq", client.get(f"{PATHS['stooq']}&d1={day}&d2={day}"))[0] for day in days]
    assert alone == wrong[100:120] != whole[100:120]


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_split_that_never_was_is_applied_where_there_is_none(sandbox, client, vendor):
    assert "split" not in set(sandbox.market.actions("AAPL")["kind"])
    whole = closes(vendor, client.get(PATHS[vendor]))
    sandbox.replace_faults([Fault(vendor, "wrong_split", value=4)])
    ratios = [round(old / new) for new, old in zip(closes(vendor, client.get(PATHS[vendor])), whole, strict=True)]
    assert ratios == [4] * 371 + [1] * 372


def test_a_real_split_is_applied_twice_to_adjusted_prices_and_once_to_raw_ones(sandbox, client):
    market = sandbox.market
    symbol = next(s for s in UNIVERSE if "split" in set(market.actions(s)["kind"]) and not sandbox.manifest.of(s))
    split = market.actions(symbol).query("kind == 'split'").iloc[0]
    before = int((market.raw_bars(symbol)["date"] < split["date"]).sum())
    path = f"/polygon/v2/aggs/ticker/{symbol}/range/1/day/2021-01-19/2023-12-29?apiKey=k&adjusted="
    clean = {flag: client.get(path + flag).json()["results"] for flag in ("true", "false")}
    sandbox.replace_faults([Fault("polygon", "wrong_split")])
    wrong = {flag: client.get(path + flag).json()["results"] for flag in ("true", "false")}
    for flag in ("true", "false"):
        assert wrong[flag][before:] == clean[flag][before:]
        assert wrong[flag][0]["c"] * split["value"] == pytest.approx(clean[flag][0]["c"], rel=1e-5)
        assert wrong[flag][0]["v"] == pytest.approx(clean[flag][0]["v"] * split["value"], rel=1e-5)
    assert [row["c"] for row in wrong["false"]] == [row["c"] for row in clean["true"]]


def test_a_grouped_answer_may_be_wrong_too(sandbox, client):
    path = "/polygon/v2/aggs/grouped/locale/us/market/stocks/2021-03-01?adjusted=true&apiKey=k"
    clean = {row["T"]: row["c"] for row in client.get(path).json()["results"]}
    sandbox.replace_faults([Fault("polygon", "wrong_split", value=2), Fault("polygon", "hundredfold")])
    wrong = {row["T"]: row["c"] for row in client.get(path).json()["results"]}
    assert wrong["AAPL"] == pytest.approx(clean["AAPL"] * 50, rel=1e-5)
    assert wrong.keys() == clean.keys()
    assert {round(clean[symbol] * 100 / wrong[symbol], 1) for symbol in clean} > {2.0}
