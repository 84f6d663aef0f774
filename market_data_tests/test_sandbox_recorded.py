"""What the sandbox writes, against what the vendors were recorded to write: bytes where they can be, else structure."""

import codecs
import csv
import io
import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from market_data.instruments import Instrument, Universe
from market_data.sandbox.endpoints.yahoo import _split
from market_data.sandbox.faults import Fault
from market_data.sandbox.server import Sandbox
from market_data.sandbox.wire import alpha_vantage, stooq_csv
from market_data.sandbox.wire.numbers import float32_cells, go_cells

UNIVERSE = Universe([Instrument(name, exchange="XNAS") for name in ("AAPL", "MSFT")])
PRICES = ["open", "high", "low", "close"]


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(UNIVERSE, start=date(2021, 1, 19), end=date(2024, 12, 31), seed=7) as running:
        yield running


@pytest.fixture(scope="module")
def client(sandbox):
    with httpx.Client(base_url=sandbox.url, trust_env=False, headers={"Authorization": "Bearer any"}) as opened:
        yield opened


def body_of(payloads: Path, name: str) -> bytes:
    return (payloads / name).read_bytes().removeprefix(codecs.BOM_UTF8)


def shape(value: Any) -> Any:
    """Keys in order and kinds of values; a list has the shape of its first item."""
    if isinstance(value, dict):
        return [(key, shape(item)) for key, item in value.items()]
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def without(document: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in names}


def frame_of(rows: list[list[str]], stamp: str) -> pd.DataFrame:
    """Ascending bars from rows of stamp, open, high, low, close, volume."""
    frame = pd.DataFrame(rows, columns=[stamp, *PRICES, "volume"]).iloc[::-1].reset_index(drop=True)
    frame = frame.astype(dict.fromkeys([*PRICES, "volume"], float))
    if stamp == "date":
        return frame.assign(date=frame["date"].astype("datetime64[s]"))
    return frame.assign(datetime=pd.to_datetime(frame["datetime"]).dt.tz_localize("America/New_York"))


def series_of(document: dict[str, Any]) -> list[list[str]]:
    _, series = document.values()
    return [[stamp, *row.values()] for stamp, row in series.items()]


@pytest.mark.parametrize(
    ("name", "ticker", "compact"),
    [
        ("MSFT_TIME_SERIES_DAILY_full_1999-2019.json", "MSFT", False),
        ("TSLA_TIME_SERIES_DAILY_compact_2025-01-21.json", "TSLA", True),
    ],
)
def test_alpha_vantage_days_come_out_byte_for_byte(payloads, name, ticker, compact):
    recorded = body_of(payloads, f"alphavantage/{name}")
    frame = frame_of(series_of(json.loads(recorded)), "date")
    assert alpha_vantage.daily_json(ticker, frame, compact=compact) == recorded.rstrip()


def test_alpha_vantage_minutes_come_out_byte_for_byte(payloads):
    recorded = body_of(payloads, "alphavantage/MSFT_TIME_SERIES_INTRADAY_1min_2017-12-18.json")
    frame = frame_of(series_of(json.loads(recorded)), "datetime")
    assert alpha_vantage.minutes_json("MSFT", frame, compact=True) == recorded.rstrip()


@pytest.mark.parametrize(
    ("name", "stamp"),
    [("IBM_TIME_SERIES_DAILY_compact.csv", "date"), ("MSFT_TIME_SERIES_INTRADAY_1min_2019-09-05.csv", "datetime")],
)
def test_alpha_vantage_csv_comes_out_byte_for_byte(payloads, name, stamp):
    recorded = body_of(payloads, f"alphavantage/{name}").replace(b"\r\n", b"\n")
    rows = list(csv.reader(io.StringIO(recorded.decode())))[1:]
    assert alpha_vantage.series_csv(frame_of(rows, stamp)) == recorded


@pytest.mark.parametrize("name", ["SPLITS", "DIVIDENDS"])
def test_alpha_vantage_actions_have_the_recorded_columns(payloads, client, name):
    recorded = body_of(payloads, f"alphavantage/IBM_{name}.csv").splitlines()[0]
    query = {"function": name, "symbol": "MSFT", "datatype": "csv", "apikey": "any"}
    assert client.get("/alpha_vantage/query", params=query).content.splitlines()[0] == recorded


@pytest.mark.parametrize("name", ["qqq_us_d_2025.csv", "spy_us_d_2026.csv"])
def test_stooq_rows_come_out_byte_for_byte(payloads, name):
    recorded = body_of(payloads, f"stooq/{name}").replace(b"\r\n", b"\n").strip()
    rows = list(csv.reader(io.StringIO(recorded.decode())))[:0:-1]
    assert stooq_csv(frame_of(rows, "date")).replace(b"\r\n", b"\n").strip() == recorded


def test_polygon_writes_every_number_as_recorded(payloads):
    recorded = body_of(payloads, "polygon/grouped_daily_2019-02-01_8374-tickers.json").decode()
    for key in ("v", "vw", "o", "c", "h", "l"):
        texts = re.findall(rf'"{key}":([^,}}]+)', recorded)
        assert len(texts) > 8000
        assert go_cells(np.array([float(text) for text in texts]), 15) == texts


@pytest.mark.parametrize(
    ("name", "path", "clock"),
    [
        ("AAPL_aggs_1day_2023-01_asc.json", "/ticker/AAPL/range/1/day/2023-01-01/2023-01-10", {0}),
        ("AAPL_aggs_1day_2023-01_asc.json", "/ticker/AAPL/range/1/day/2023-06-01/2023-06-10", {0}),
        ("grouped_daily_mock.json", "/grouped/locale/us/market/stocks/2023-11-22", {16}),
        ("grouped_daily_mock.json", "/grouped/locale/us/market/stocks/2024-07-03", {16}),
    ],
)
def test_polygon_bars_have_the_recorded_shape_and_stamps(payloads, client, name, path, clock):
    recorded = json.loads(body_of(payloads, f"polygon/{name}"))
    served = client.get(f"/polygon/v2/aggs{path}").json()
    assert shape(served) == shape(recorded)
    for document in (recorded, served):
        stamps = pd.to_datetime([row["t"] for row in document["results"]], unit="ms", utc=True)
        assert set(stamps.tz_convert("America/New_York").hour) == clock


def test_polygon_pages_are_found_the_recorded_way(payloads, client):
    recorded = json.loads(body_of(payloads, "polygon/AAPL_aggs_1minute_2023-07-31_page1_next_url.json"))
    path = "/v2/aggs/ticker/AAPL/range/1/minute/2023-07-31/2023-07-31?limit=10&sort=asc"
    served = client.get(f"/polygon{path}").json()
    assert shape(served) == shape(recorded)
    (own, theirs) = (httpx.URL(document["next_url"]) for document in (served, recorded))
    assert own.params["cursor"] == theirs.params["cursor"]
    assert re.sub(r"\d{13}", "T", own.path) == "/polygon" + re.sub(r"\d{13}", "T", theirs.path)


@pytest.mark.parametrize(
    ("name", "path"),
    [("official_example_splits.json", "splits"), ("dividends_v3_next_url.json", "dividends?ticker=MSFT")],
)
def test_polygon_actions_have_the_recorded_keys(payloads, name, path):
    universe = Universe([Instrument(f"S{a}{b}") for a in "ABC" for b in "KLMNOPQRST"] + [Instrument("MSFT")])
    recorded = json.loads(body_of(payloads, f"polygon/{name}"))
    with Sandbox(universe, start=date(2021, 1, 19), end=date(2024, 12, 31), seed=7) as sandbox:
        path = path.replace(
            "MSFT", next(s for s in universe if (sandbox.market.actions(s)["kind"] == "dividend").any())
        )
        served = httpx.get(f"{sandbox.url}/polygon/v3/reference/{path}", headers={"Authorization": "Bearer x"}).json()
    assert shape(served["results"]) == shape(recorded["results"])


def test_yahoo_days_have_the_recorded_keys_in_order(payloads, client):
    recorded = json.loads(body_of(payloads, "yahoo/MSFT_1d_2021-02-01_200.json"))
    query = {"period1": "1612137600", "period2": "1643587200", "interval": "1d", "events": "div,splits"}
    served = client.get("/yahoo/v8/finance/chart/MSFT", params=query).json()
    own, theirs = (document["chart"]["result"][0] for document in (served, recorded))
    assert shape(own["meta"]) == shape(theirs["meta"])
    assert own["timestamp"] == theirs["timestamp"]
    for name in ("quote", "adjclose"):
        assert sorted(shape(own["indicators"][name])[0]) == sorted(shape(theirs["indicators"][name])[0])


def test_yahoo_minutes_have_the_recorded_keys_and_stamps(payloads, client):
    recorded = json.loads(body_of(payloads, "yahoo/AAPL_1m_2024-10-02T0930_200.json"))["chart"]["result"][0]
    query = {"period1": "1733148000", "period2": "1733350000", "interval": "1m"}
    served = client.get("/yahoo/v8/finance/chart/AAPL", params=query).json()["chart"]["result"][0]
    assert [name for name, _ in shape(served["meta"])] == [name for name, _ in shape(recorded["meta"])]
    assert sorted(served["indicators"]["quote"][0]) == sorted(recorded["indicators"]["quote"][0])
    assert set(served["indicators"]) == set(recorded["indicators"]) == {"quote"}
    assert served["timestamp"][1] - served["timestamp"][0] == recorded["timestamp"][1] - recorded["timestamp"][0] == 60
    assert len(served["meta"]["tradingPeriods"]) == 3


def test_yahoo_prices_carry_the_recorded_noise(payloads):
    quote = json.loads(body_of(payloads, "yahoo/MSFT_1d_2021-02-01_200.json"))["chart"]["result"][0]["indicators"][
        "quote"
    ]
    prices = [value for name in PRICES for value in quote[0][name]]
    assert float32_cells(np.round(prices, 4)) == [repr(value) for value in prices]


def test_yahoo_splits_have_the_recorded_keys(payloads):
    recorded = json.loads(body_of(payloads, "yahoo/AAPL_1d_2020-08-31_reserialised_200.json"))["chart"]["result"][0][
        "events"
    ]
    ((_, split),) = recorded["splits"].items()
    assert shape(_split(split["date"], 4.0)) == shape(split)
    assert _split(split["date"], 4.0)["splitRatio"] == split["splitRatio"]
    assert (_split(1, 0.1)["splitRatio"], _split(1, 1.5)["splitRatio"]) == ("1:10", "1.5:1")


REFUSALS = {
    "polygon/error_401_missing_key.json": ("/polygon/v3/reference/splits", None, False),
    "polygon/error_429_rate_limit.json": ("/polygon/v3/reference/splits", "rate_limit", True),
    "polygon/error_403_not_entitled_massive.json": ("/polygon/v3/reference/splits", "unauthorized", True),
    "polygon/error_404_not_found.json": ("/polygon/v2/aggs/ticker/AAPL/range/5/day/2023-01-03/2023-01-04", None, True),
    "alphavantage/error_200_missing_apikey.json": ("/alpha_vantage/query?function=SPLITS&symbol=AAPL", None, True),
    "alphavantage/error_200_invalid_api_call.json": (
        "/alpha_vantage/query?function=SPLITS&symbol=ZZ&apikey=x", None, True,
    ),
    "alphavantage/error_200_information_25_per_day.json": ("/alpha_vantage/query?symbol=AAPL", "quota", True),
    "alphavantage/error_200_information_burst_pattern.json": ("/alpha_vantage/query?symbol=AAPL", "rate_limit", True),
    "yahoo/SI_1d_2020-01-01_404.json": ("/yahoo/v8/finance/chart/ZZZ", None, True),
    "yahoo/error_1m_range_422.json": (
        "/yahoo/v8/finance/chart/AAPL?period1=1787219117&period2=1789897517&interval=1m", None, True,
    ),
    "yahoo/BEKE_1d_2020-01-01_reserialised_400.json": (
        "/yahoo/v8/finance/chart/AAPL?period1=1577836800&period2=1578009600&interval=1d", None, True,
    ),
    "yahoo/error_429_edge_too_many_requests.txt": ("/yahoo/v8/finance/chart/AAPL", "rate_limit", True),
    "stooq/error_200_no_data.txt": ("/stooq/q/d/l/?s=zzz.us", None, True),
    "stooq/error_200_exceeded_daily_hits_limit.txt": ("/stooq/q/d/l/?s=aapl.us", "rate_limit", True),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_are_the_recorded_ones(payloads, sandbox, client, name):
    path, kind, with_key = REFUSALS[name]
    sandbox.replace_faults([Fault(path.split("/")[1], kind)] if kind else [])
    answer = client.get(path, headers={} if with_key else {"Authorization": ""})
    sandbox.replace_faults(())
    told = re.search(r"_(\d{3})[_.]", name)
    assert told is not None
    assert answer.status_code == int(told.group(1))
    served, recorded = answer.content, body_of(payloads, name)
    if name.endswith("json"):
        own, theirs = json.loads(served), json.loads(recorded)
        assert list(own) == list(theirs)
        assert without(own, "request_id") == json.loads(
            json.dumps(without(theirs, "request_id")).replace("CMO", "SPLITS")
        )
    else:
        assert served == recorded
