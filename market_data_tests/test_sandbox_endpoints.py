"""What the endpoints of Polygon and Alpha Vantage take and refuse, over real HTTP."""

from datetime import date

import httpx
import pandas as pd
import pytest

from market_data.instruments import Instrument, Universe
from market_data.records import Basis
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
    with httpx.Client(base_url=sandbox.url, trust_env=False, headers={"Authorization": "Bearer k"}) as opened:
        yield opened


def polygon(client: httpx.Client, path: str) -> httpx.Response:
    return client.get(f"/polygon{path}")


def alpha_vantage(client: httpx.Client, **query: str) -> httpx.Response:
    return client.get("/alpha_vantage/query", params={"symbol": "AAPL", "apikey": "k"} | query)


@pytest.mark.parametrize("sort", ["asc", "desc"])
@pytest.mark.parametrize(("span", "limit"), [("day/2025-01-02/2025-12-31", 40), ("minute/2025-07-02/2025-07-07", 250)])
def test_polygon_pages_hold_every_bar_once(sandbox, client, sort, span, limit):
    whole = f"/v2/aggs/ticker/AAPL/range/1/{span}?adjusted=false&sort={sort}"
    expected = polygon(client, f"{whole}&limit=50000").json()
    assert "next_url" not in expected
    rows, following = [], f"{sandbox.url}/polygon{whole}&limit={limit}"
    pages = 0
    while following:
        assert following.startswith(f"{sandbox.url}/polygon/v2/aggs/ticker/AAPL/range/1/{span.split('/')[0]}/")
        page = client.get(following).json()
        assert page["adjusted"] is False
        assert page["resultsCount"] == page["queryCount"] == page["count"] == len(page["results"]) <= limit
        rows += page["results"]
        following, pages = page.get("next_url", ""), pages + 1
    assert rows == expected["results"]
    assert pages == -(-len(rows) // limit) > 3


def test_polygon_bars_are_adjusted_unless_told_otherwise(sandbox, client):
    symbol = next(
        s for s in UNIVERSE if "split" in set(sandbox.market.actions(s)["kind"]) and not sandbox.manifest.of(s)
    )
    for flag, basis in (("", Basis.SPLIT), ("&adjusted=true", Basis.SPLIT), ("&adjusted=False", Basis.RAW)):
        body = polygon(client, f"/v2/aggs/ticker/{symbol}/range/1/day/2021-01-19/2025-12-31?limit=9999{flag}").json()
        bars = sandbox.market.adjusted_bars(symbol, basis)
        assert body["adjusted"] is (basis is Basis.SPLIT)
        assert [row["c"] for row in body["results"]] == bars["close"].tolist()
        assert all(row["l"] <= row["vw"] <= row["h"] and row["n"] >= 1 for row in body["results"])


def test_polygon_takes_stamps_for_dates(client):
    by_date = polygon(client, "/v2/aggs/ticker/AAPL/range/1/minute/2025-07-03/2025-07-03").json()["results"]
    assert len(by_date) == 210
    first, last = by_date[10]["t"], by_date[19]["t"]
    assert polygon(client, f"/v2/aggs/ticker/AAPL/range/1/minute/{first}/{last}").json()["results"] == by_date[10:20]


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("/v2/aggs/ticker/AAPL/range/1/day/2025-13-01/2025-12-31", 400, "time parameter: 'from'"),
        ("/v2/aggs/ticker/AAPL/range/1/day/2025-01-02/now", 400, "time parameter: 'to'"),
        ("/v2/aggs/ticker/AAPL/range/1/day/2025-01-02/9999-12-31", 400, "time parameter: 'to'"),
        ("/v2/aggs/ticker/AAPL/range/1/day/2025-02-01/2025-01-01", 400, "before 'from'"),
        ("/v2/aggs/ticker/AAPL/range/1/day/2025-01-01/2025-02-01?limit=many", 400, ""),
        ("/v2/aggs/ticker/AAPL/range/1/week/2025-01-01/2025-02-01", 404, "Data not found."),
        ("/v2/aggs/grouped/locale/us/market/stocks/yesterday", 400, "'date'"),
        ("/v3/reference/splits?limit=many", 400, "limit"),
    ],
)
def test_polygon_refuses_what_it_cannot_read(client, path, status, told):
    answer = polygon(client, path)
    assert answer.status_code == status
    assert told in answer.text
    assert len(answer.json()["request_id"]) == 32


@pytest.mark.parametrize(
    "path",
    [
        "ticker/ZZZ/range/1/day/2025-01-02/2025-01-31",
        "ticker/ZZZ/range/1/minute/2025-01-02/2025-01-31",
        "ticker/LATER/range/1/day/2025-01-02/2025-01-31",
        "ticker/AAPL/range/1/day/2025-01-04/2025-01-05",
        "ticker/AAPL/range/1/minute/2025-01-04/2025-01-05",
        "grouped/locale/us/market/stocks/2025-12-25",
    ],
)
def test_polygon_has_no_results_for_what_it_does_not_know(client, path):
    answer = polygon(client, f"/v2/aggs/{path}")
    assert answer.status_code == 200
    assert (answer.json()["resultsCount"], "results" in answer.json()) == (0, False)


def test_polygon_actions_are_filtered_ordered_and_paged(sandbox, client):
    path = "/v3/reference/dividends?ex_dividend_date.gte=2024-01-01&ex_dividend_date.lte=2024-06-30"
    rows, following = [], f"{sandbox.url}/polygon{path}&limit=7&order=asc"
    while following:
        page = client.get(following).json()
        rows += page["results"]
        following = page.get("next_url")
        assert len(page["results"]) == 7 or not following
    days = [row["ex_dividend_date"] for row in rows]
    assert days == sorted(days)
    expected = sum(
        sandbox.market.actions(symbol).query("kind == 'dividend' and '2024-01-01' <= date <= '2024-06-30'").shape[0]
        for symbol in UNIVERSE
    )
    assert len(rows) == expected > 20
    newest_first = polygon(client, f"{path}&limit=1000").json()["results"]
    assert [row["ex_dividend_date"] for row in newest_first] == days[::-1]
    one = polygon(client, f"/v3/reference/dividends?ticker={rows[0]['ticker']}&ex_dividend_date={days[0]}").json()
    assert one["results"] == rows[:1]
    assert polygon(client, "/v3/reference/splits?ticker=ZZZ").json()["results"] == []


def test_a_split_ratio_is_told_in_whole_shares(sandbox, client):
    rows = polygon(client, "/v3/reference/splits?limit=1000").json()["results"]
    assert rows
    for row in rows:
        (split,) = sandbox.market.actions(row["ticker"]).query("kind == 'split'").itertuples()
        assert row["split_to"] / row["split_from"] == pytest.approx(split.value)
        assert isinstance(row["split_from"], int)


def test_alpha_vantage_sizes_and_forms(sandbox, client):
    compact = alpha_vantage(client, function="TIME_SERIES_DAILY")
    full = alpha_vantage(client, function="TIME_SERIES_DAILY", outputsize="full", symbol="aapl").json()
    days = list(compact.json()["Time Series (Daily)"])
    assert days == [str(day.date()) for day in sandbox.market.raw_bars("AAPL")["date"]][:-101:-1]
    assert len(full["Time Series (Daily)"]) == len(sandbox.market.raw_bars("AAPL"))
    text = alpha_vantage(client, function="TIME_SERIES_DAILY", datatype="csv")
    assert (compact.headers["content-type"], text.headers["content-type"]) == (
        "application/json",
        "application/x-download",
    )
    assert [line.split(",")[0] for line in text.text.splitlines()[1:]] == days


def test_alpha_vantage_minutes_are_adjusted_unless_told_otherwise(sandbox, client):
    symbol = next(s for s in UNIVERSE if "split" in set(sandbox.market.actions(s)["kind"]))
    split = sandbox.market.actions(symbol).query("kind == 'split'").iloc[0]
    month = (split["date"] - pd.DateOffset(months=1)).strftime("%Y-%m")
    query = {
        "function": "TIME_SERIES_INTRADAY",
        "interval": "1min",
        "symbol": symbol,
        "month": month,
        "outputsize": "full",
    }
    raw, adjusted = (
        alpha_vantage(client, adjusted=flag, **query).json()["Time Series (1min)"] for flag in ("false", "true")
    )
    assert list(raw) == list(adjusted)
    assert all(stamp.startswith(month) for stamp in raw)
    ratio = float(next(iter(raw.values()))["4. close"]) / float(next(iter(adjusted.values()))["4. close"])
    assert ratio == pytest.approx(split["value"], rel=0.05)


def test_alpha_vantage_minutes_without_a_month_are_the_latest(client):
    latest = alpha_vantage(client, function="TIME_SERIES_INTRADAY", interval="1min").json()
    assert latest["Meta Data"]["3. Last Refreshed"] == "2025-12-31 15:59:00"
    assert len(latest["Time Series (1min)"]) == 100
    full = alpha_vantage(client, function="TIME_SERIES_INTRADAY", interval="1min", outputsize="full").json()
    assert len({stamp[:10] for stamp in full["Time Series (1min)"]}) == 21


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"function": "TIME_SERIES_DAILY", "symbol": "ZZZ"}, "for TIME_SERIES_DAILY."),
        ({"function": "TIME_SERIES_DAILY", "symbol": "LATER"}, "for TIME_SERIES_DAILY."),
        ({"function": "TIME_SERIES_DAILY", "outputsize": "huge"}, "Invalid API call"),
        ({"function": "TIME_SERIES_DAILY", "datatype": "xml"}, "Invalid API call"),
        ({"function": "TIME_SERIES_INTRADAY"}, "for TIME_SERIES_INTRADAY."),
        ({"function": "TIME_SERIES_INTRADAY", "interval": "1min", "month": "2025-13"}, "Invalid API call"),
        ({"function": "TIME_SERIES_INTRADAY", "interval": "1min", "month": "2020-01"}, "Invalid API call"),
        ({"function": "TIME_SERIES_HOURLY"}, "This API function (TIME_SERIES_HOURLY) does not exist."),
        ({"function": "TIME_SERIES_DAILY_ADJUSTED"}, "premium endpoint"),
        ({}, "This API function () does not exist."),
    ],
)
def test_alpha_vantage_tells_errors_with_status_200_and_as_json(client, query, told):
    answer = alpha_vantage(client, **{"datatype": "csv"} | query)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    (message,) = answer.json().values()
    assert told in message
