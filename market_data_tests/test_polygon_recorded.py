from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from market_data.errors import (
    BadPayload,
    NotEntitled,
    OutOfWindow,
    ProviderError,
    RateLimited,
    UnknownSymbol,
)
from market_data.providers.bodies import Answer
from market_data.providers.polygon import actions_by_ticker, parse
from market_data.records import Basis
from market_data.schemas import CorporateActions, RawBars, RawIntradayBars

KEYS = {"open": "o", "high": "h", "low": "l", "close": "c", "volume": "v", "vwap": "vw", "trade_count": "n"}
AGGREGATES = [  # file, ticker, rows, first and last date, first open, last close
    ("AAPL_aggs_1day_2005-04_mock.json", "AAPL", 2, "2005-04-01", "2005-04-04", 1.5032, 1.4675),
    ("AAPL_aggs_1day_2019-01.json", "AAPL", 21, "2019-01-02", "2019-01-31", 154.89, 166.44),
    ("AAPL_aggs_1day_2023-01_asc.json", "AAPL", 6, "2023-01-03", "2023-01-10", 130.28, 130.73),
    ("AAPL_prev_2020-04-30.json", "AAPL", 1, "2020-04-30", "2020-04-30", 289.96, 293.8),
    ("AAPL_prev_2022-04-26_mock.json", "AAPL", 1, "2022-04-26", "2022-04-26", 162.25, 156.8),
    ("C_EURUSD_aggs_1day_2023-01.json", "C:EURUSD", 10, "2023-01-01", "2023-01-10", 1.06849, 1.07383),
    ("official_example_aggs.json", "AAPL", 2, "2020-01-02", "2020-01-03", 74.06, 74.3575),
]
GROUPED = [  # file, ticker, tickers, date, open, close
    ("grouped_daily_2019-02-01_8374-tickers.json", "AAPL", 8374, "2019-02-01", 166.96, 166.52),
    ("grouped_daily_2019-02-01_8374-tickers.json", "BRK.B", 8374, "2019-02-01", 206.52, 209.19),
    ("grouped_daily_mock.json", "GIK", 1, "2020-10-14", 9.99, 10.02),
    ("official_example_grouped.json", "KIMpL", 3, "2020-10-14", 26.07, 25.9102),
]
OPEN_CLOSE = [  # file, ticker, date, open, high, low, close, volume
    ("AAPL_open-close_2005-04-01_mock.json", "AAPL", "2021-04-01", 123.66, 124.18, 122.49, 123, 75089134),
    ("AAPL_open-close_2018-03-02.json", "AAPL", "2018-03-02", 174.37, 175.25, 172.2, 174.62, 28738984),
    ("AAPL_open-close_PolygonioSwift.json", "AAPL", "2020-09-11", 114.57, 115.23, 110, 112, 182360007),
    ("AMZN_open-close_2025-recorded.json", "AMZN", "2025-01-21", 228.9, 231.78, 226.94, 230.71, 38546635),
    ("BKNG_open-close_2025-recorded.json", "BKNG", "2025-01-21", 4925.45, 4934.62, 4615, 4686.41, 394670),
    ("GOOGL_open-close_2025-recorded.json", "GOOGL", "2024-12-02", 168.765, 172.075, 168.57, 171.49, 22636065),
    ("IBM_open-close_2025-recorded.json", "IBM", "2024-11-29", 227.75, 230.36, 227.19, 227.41, 2272114),
    ("MSFT_open-close_2025-recorded.json", "MSFT", "2025-01-21", 430.2, 430.8999, 425.595, 428.5, 23647173),
    ("NFLX_open-close_2025-recorded.json", "NFLX", "2024-12-02", 887.51, 902.34, 884.12, 897.74, 2256697),
    ("TSLA_open-close_2025-recorded.json", "TSLA", "2025-01-21", 432.64, 433.2, 406.31, 424.07, 86135522),
    ("WDAY_open-close_2025-recorded.json", "WDAY", "2025-01-21", 250.46, 252.08, 247.46, 250.72, 1513674),
    ("official_example_open-close.json", "AAPL", "2023-01-09", 324.66, 326.2, 322.3, 325.12, 26122646),
]
ACTIONS = [  # file, ticker, rows, first and last date
    ("splits_v2.json", "AAPL", 3, "2000-06-21", "2014-06-09"),
    ("official_example_splits.json", "AAPL", 2, "2005-02-28", "2020-08-31"),
    ("dividends_v2.json", "AAPL", 60, "1988-11-21", "2020-02-07"),
    ("dividends_v3_next_url.json", "CSSEN", 8, "2023-09-14", "2025-06-12"),
    ("dividends_v3_next_url.json", "AIRTP", 2, "2023-08-11", "2023-11-13"),
    ("dividends_v3_next_url.json", "AAPL", 0, None, None),
]
ERRORS = [  # file, status it came with, error, words of it
    ("error_400_bad_ticker.json", 400, UnknownSymbol, "Ticker was incorrectly formatted"),
    ("error_401_missing_key.json", 401, NotEntitled, "API Key was not provided"),
    ("error_401_unknown_key.json", 401, NotEntitled, "Unknown API Key"),
    ("error_403_not_entitled_massive.json", 403, OutOfWindow, "You are not entitled to this data"),
    ("error_404_not_found.json", 404, UnknownSymbol, "Data not found"),
    ("error_429_rate_limit.json", 429, RateLimited, "exceeded the maximum requests per minute"),
    ("market_holidays.json", 200, BadPayload, "a JSON object was due"),
    ("market_status.json", 200, BadPayload, "an answer without a status"),
    ("AAPL_prev_PolygonioSwift.json", 200, BadPayload, "trailing comma"),  # written by hand, not recorded
]
OTHERS = ["AAPL_aggs_1minute_2023-07-31_page1_next_url.json", "official_example_aggs.csv"]


def body_of(payloads: Path, name: str) -> bytes:
    return (payloads / "polygon" / name).read_bytes()


def rows_as_python_reads_them(rows: list[dict], zone: str) -> list[list[object]]:
    def day(row: dict) -> str:
        return datetime.fromtimestamp(row["t"] / 1000, tz=ZoneInfo(zone)).date().isoformat()

    return [[day(row), *(float(row.get(key, "nan")) for key in KEYS.values())] for row in rows]


def assert_rows(frame, rows: list[list[object]]) -> None:
    assert np.datetime_as_string(frame["date"].to_numpy(), unit="D").tolist() == [row[0] for row in rows]
    np.testing.assert_array_equal(frame[list(KEYS)].to_numpy(), np.array([row[1:] for row in rows], dtype=float))


def test_every_recorded_body_is_among_those_of_this_file(payloads):
    tables = [AGGREGATES, GROUPED, OPEN_CLOSE, ACTIONS, ERRORS]
    named = {row[0] for table in tables for row in table} | set(OTHERS)
    assert named == {path.name for path in (payloads / "polygon").iterdir()}


@pytest.mark.parametrize("recorded", AGGREGATES, ids=lambda recorded: Path(recorded[0]).stem)
def test_recorded_aggregates_are_read_number_for_number(payloads, recorded):
    name, ticker, count, first, last, opened, closed = recorded
    body = body_of(payloads, name)
    parsed = parse(body, Answer("AAPL", ticker))
    frame = RawBars.validate(parsed.bars)
    assert [len(frame), str(frame["date"].iloc[0].date()), str(frame["date"].iloc[-1].date())] == [count, first, last]
    assert (frame["open"].iloc[0], frame["close"].iloc[-1]) == (opened, closed)
    zone = "UTC" if ticker.startswith("C:") else "America/New_York"
    assert_rows(frame, rows_as_python_reads_them(json.loads(body)["results"], zone))
    assert (parsed.basis, len(parsed.actions)) == (Basis.SPLIT, 0)


@pytest.mark.parametrize("recorded", GROUPED, ids=lambda recorded: f"{Path(recorded[0]).stem}-{recorded[1]}")
def test_a_recorded_grouped_body_gives_the_row_of_the_ticker_alone(payloads, recorded):
    name, ticker, tickers, day, opened, closed = recorded
    body = body_of(payloads, name)
    frame = RawBars.validate(parse(body, Answer("X", ticker)).bars)
    assert len(json.loads(body)["results"]) == tickers
    own = [row for row in json.loads(body)["results"] if row["T"] == ticker]
    assert_rows(frame, rows_as_python_reads_them(own, "America/New_York"))
    assert (len(frame), str(frame["date"].iloc[0].date())) == (1, day)
    assert (frame["open"].iloc[0], frame["close"].iloc[0]) == (opened, closed)


@pytest.mark.parametrize(("ticker", "closed"), [("CPS", 77.2), ("CpS", 25.61), ("CPK", 88.54), ("CpK", 26.32)])
def test_tickers_of_a_grouped_body_that_differ_by_case_alone_are_different_securities(payloads, ticker, closed):
    body = body_of(payloads, "grouped_daily_2019-02-01_8374-tickers.json")
    assert parse(body, Answer("X", ticker)).bars["close"].tolist() == [closed]


def test_a_ticker_that_a_grouped_body_lacks_is_unknown(payloads):
    body = body_of(payloads, "grouped_daily_2019-02-01_8374-tickers.json")
    with pytest.raises(UnknownSymbol, match=r"^ABNB: no bars: ABNB is not among the 8,374 tickers of the answer$"):
        parse(body, Answer("ABNB", "ABNB"))


@pytest.mark.parametrize(("name", "ticker", "day", "numbers"), [(*row[:3], row[3:]) for row in OPEN_CLOSE])
def test_a_recorded_open_close_body_is_one_daily_bar(payloads, name, ticker, day, numbers):
    parsed = parse(body_of(payloads, name), Answer(ticker, ticker))
    frame = RawBars.validate(parsed.bars)
    assert_rows(frame, [[day, *numbers, np.nan, np.nan]])
    assert parsed.basis is Basis.SPLIT


def test_recorded_minutes_are_instants_of_utc(payloads):
    frame = parse(body_of(payloads, OTHERS[0]), Answer("AAPL", "AAPL", "1m")).bars
    RawIntradayBars.validate(frame)
    times = [f"{moment:%Y-%m-%d %H:%M}" for moment in frame["datetime"]]
    assert (len(frame), times[0], times[4], times[-1]) == (
        10,
        "2023-07-31 08:00",
        "2023-07-31 08:05",
        "2023-07-31 08:17",
    )
    assert frame.iloc[0, 1:].tolist() == [195.89, 195.9, 195.53, 195.53, 4428.0, 195.7709, 121.0]
    assert frame["close"].iloc[-1] == 195.61


def test_the_recorded_csv_holds_the_same_bars_as_its_json(payloads):
    answer = Answer("AAPL", "AAPL", content_type="text/csv")
    frame = RawBars.validate(parse(body_of(payloads, OTHERS[1]), answer).bars)
    rows = [row for row in csv.DictReader(body_of(payloads, OTHERS[1]).decode().splitlines()) if row["t"]]
    assert_rows(frame, rows_as_python_reads_them([row | {"t": int(row["t"])} for row in rows], "America/New_York"))
    assert frame.equals(parse(body_of(payloads, "official_example_aggs.json"), Answer("AAPL", "AAPL")).bars)


@pytest.mark.parametrize("recorded", ACTIONS, ids=lambda recorded: f"{Path(recorded[0]).stem}-{recorded[1]}")
def test_recorded_actions_come_with_empty_bars(payloads, recorded):
    name, ticker, count, first, last = recorded
    parsed = parse(body_of(payloads, name), Answer(ticker, ticker))
    actions = CorporateActions.validate(parsed.actions)
    days = [str(day.date()) for day in actions["date"]]
    assert (len(days), days[:1], days[-1:]) == (count, [first] * bool(count), [last] * bool(count))
    assert RawBars.validate(parsed.bars).empty


def test_recorded_splits_are_new_shares_for_an_old_one_in_both_versions(payloads):
    old = parse(body_of(payloads, "splits_v2.json"), Answer("AAPL", "AAPL")).actions
    assert old["value"].tolist() == [2.0, 2.0, 7.0]  # June 2000, February 2005, June 2014
    new = parse(body_of(payloads, "official_example_splits.json"), Answer("AAPL", "AAPL")).actions
    assert new["value"].tolist() == [2.0, 4.0]
    assert set(old["kind"]) | set(new["kind"]) == {"split"}


def test_recorded_dividends_are_dollars_a_share(payloads):
    frame = parse(body_of(payloads, "dividends_v2.json"), Answer("AAPL", "AAPL")).actions.set_index("date")["value"]
    assert (frame["2014-05-08"], frame["2014-08-07"], frame["2020-02-07"]) == (3.29, 0.47, 0.77)
    by_ticker = actions_by_ticker(body_of(payloads, "dividends_v3_next_url.json"), Answer("*", "*"))
    assert {ticker: actions["value"].tolist() for ticker, actions in by_ticker.items()} == {
        "CSSEN": [0.59375] * 8,
        "AIRTP": [0.5, 0.5],
    }


@pytest.mark.parametrize(("name", "status", "error", "words"), ERRORS)
def test_a_recorded_error_is_told_by_its_class(payloads, name, status, error, words):
    fetched_at = datetime(2026, 2, 3, 22, tzinfo=UTC)
    with pytest.raises(ProviderError, match=words) as caught:
        parse(body_of(payloads, name), Answer("AAPL", "AAPL", status=status, fetched_at=fetched_at))
    assert type(caught.value) is error
    assert str(caught.value).startswith("AAPL: ")
