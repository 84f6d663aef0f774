from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from market_data.errors import (
    BadPayload,
    NotEntitled,
    ProviderError,
    QuotaExhausted,
    RateLimited,
    UnknownSymbol,
)
from market_data.providers.alpha_vantage import parse
from market_data.providers.bodies import Answer
from market_data.records import Basis, ParsedBars
from market_data.schemas import CorporateActions, RawBars, RawIntradayBars

FIELDS = ["open", "high", "low", "close", "volume"]
FULL = "MSFT_TIME_SERIES_DAILY_full_1999-2019.json"
ADJUSTED = "MSFT_TIME_SERIES_DAILY_ADJUSTED_full_1999-2019.json"
DAILY = [
    ("AMZN_TIME_SERIES_DAILY_compact_2025-01-21.json", "AMZN", 100, "2024-08-27", "2025-01-21", 230.71),
    ("MSFT_TIME_SERIES_DAILY_compact_2025-01-21.json", "MSFT", 100, "2024-08-27", "2025-01-21", 428.5),
    ("TSLA_TIME_SERIES_DAILY_compact_2025-01-21.json", "TSLA", 100, "2024-08-27", "2025-01-21", 424.07),
    ("TIME_SERIES_DAILY_compact_KevWK314.json", "msft", 100, "2018-03-27", "2018-08-16", 107.64),
    ("TIME_SERIES_DAILY_ADJUSTED_compact_KevWK314.json", "MSFT", 100, "2018-03-29", "2018-08-20", 106.87),
    ("IBM_TIME_SERIES_DAILY_2021-01_partial.json", "IBM", 7, "2020-12-31", "2021-01-11", 128.58),
    ("IBM_TIME_SERIES_DAILY_ADJUSTED_2021-01_partial.json", "IBM", 7, "2020-12-31", "2021-01-11", 128.58),
    ("IBM_TIME_SERIES_DAILY_compact.csv", "IBM", 100, "2025-12-22", "2026-05-15", 219.3),
    ("EURAUD_FX_DAILY_partial.json", "EUR/AUD", 8, "2020-12-31", "2021-01-11", 1.57823),
    ("FX_DAILY.csv", "EURUSD", 100, "2025-12-29", "2026-05-15", 1.1625),
    ("GLOBAL_QUOTE.json", "MSFT", 1, "2018-10-05", "2018-10-05", 112.13),
    ("GLOBAL_QUOTE_recorded_2025.json", "NFLX", 1, "2025-01-21", "2025-01-21", 869.68),
    (FULL, "MSFT", 5034, "1999-11-29", "2019-11-29", 151.38),
    (ADJUSTED, "MSFT", 5034, "1999-11-29", "2019-11-29", 151.38),
]
INTRADAY = [
    ("MSFT_TIME_SERIES_INTRADAY_1min_2017-12-18.json", "MSFT", "1m", 100, "2017-12-18T18:17", "2017-12-18T19:56"),
    ("MSFT_TIME_SERIES_INTRADAY_1min_2019-09-05.csv", "MSFT", "1m", 100, "2019-09-05T13:38", "2019-09-05T15:17"),
    ("BAC_TIME_SERIES_INTRADAY_1min_2019-09-05.csv", "BAC", "1m", 100, "2019-09-05T17:52", "2019-09-05T19:33"),
    ("IBM_TIME_SERIES_INTRADAY_compact.csv", "IBM", "5m", 100, "2026-05-15T15:40", "2026-05-15T23:55"),
    ("TIME_SERIES_INTRADAY_KevWK314.json", "MSFT", "15m", 39, "2018-04-10T16:45", "2018-04-11T19:30"),
]
REFUSED = [
    ("IBM_TIME_SERIES_WEEKLY_ADJUSTED.csv", BadPayload, "bars of 1d were due, not weekly or monthly adjusted ones"),
    ("MARKET_STATUS.json", BadPayload, "a history was due, not 'Global Market Open & Close Status'"),
    ("REALTIME_BULK_QUOTES_demo.json", BadPayload, "a history was due, not 'Realtime Bulk Quotes'"),
    ("error_200_information_25_per_day.json", QuotaExhausted, "requests of the day are spent"),
    ("error_200_information_burst_pattern.json", RateLimited, "more slowly"),
    ("error_200_information_premium_endpoint.json", NotEntitled, "needs a premium plan"),
    ("error_200_invalid_api_call.json", UnknownSymbol, "calls the request invalid"),
    ("error_200_missing_apikey.json", NotEntitled, "does not take the API key"),
]
ACTIONS = ["IBM_SPLITS.csv", "IBM_DIVIDENDS.csv"]


def read(payloads: Path, name: str, ticker: str, interval: str = "1d") -> ParsedBars:
    return parse((payloads / "alphavantage" / name).read_bytes(), Answer(ticker, ticker, interval))


def as_python_reads_it(path: Path) -> tuple[list[str], np.ndarray]:
    """Times and OHLCV, ascending, by the standard library and another way through the body."""
    text = path.read_text("utf-8-sig")
    if path.suffix == ".csv":
        rows = {row.pop("timestamp"): row for row in csv.DictReader(io.StringIO(text))}
    else:
        rows = next(value for key, value in json.loads(text).items() if key.startswith("Time Series"))
    named = {stamp: {key.split(". ")[-1]: value for key, value in rows[stamp].items()} for stamp in sorted(rows)}
    numbers = [[float(row.get(name, "nan")) for name in FIELDS] for row in named.values()]
    return list(named), np.array(numbers)


@pytest.mark.parametrize("recorded", DAILY, ids=[row[0] for row in DAILY])
def test_a_recorded_daily_body_is_read_number_for_number(payloads, recorded):
    name, ticker, count, first, last, close = recorded
    parsed = read(payloads, name, ticker)
    bars = RawBars.validate(parsed.bars)
    assert (len(bars), str(bars["date"].iloc[0].date()), str(bars["date"].iloc[-1].date())) == (count, first, last)
    assert bars["close"].iloc[-1] == close
    assert (parsed.basis, parsed.adjusted_as_of) == (Basis.RAW, None)
    assert bars[["vwap", "trade_count"]].isna().all(axis=None)
    if not name.startswith("GLOBAL"):
        dates, numbers = as_python_reads_it(payloads / "alphavantage" / name)
        assert np.datetime_as_string(bars["date"].to_numpy(), unit="D").tolist() == dates
        np.testing.assert_array_equal(bars[FIELDS].to_numpy(), numbers, strict=True)


@pytest.mark.parametrize("recorded", INTRADAY, ids=[row[0] for row in INTRADAY])
def test_a_recorded_intraday_body_is_read_number_for_number(payloads, recorded):
    name, ticker, interval, count, first, last = recorded
    parsed = read(payloads, name, ticker, interval)
    bars = RawIntradayBars.validate(parsed.bars)
    stamps = bars["datetime"].dt.strftime("%Y-%m-%dT%H:%M")
    assert (len(bars), stamps.iloc[0], stamps.iloc[-1]) == (count, first, last)
    local, numbers = as_python_reads_it(payloads / "alphavantage" / name)
    in_new_york = bars["datetime"].dt.tz_convert("America/New_York").dt.strftime("%Y-%m-%d %H:%M:%S")
    assert in_new_york.tolist() == local
    np.testing.assert_array_equal(bars[FIELDS].to_numpy(), numbers, strict=True)
    assert parsed.basis is Basis.SPLIT_DIVIDEND
    assert parsed.actions.empty


@pytest.mark.parametrize(("name", "error", "words"), REFUSED, ids=[row[0] for row in REFUSED])
def test_a_recorded_body_without_daily_bars_becomes_the_error_that_says_so(payloads, name, error, words):
    with pytest.raises(ProviderError, match=words) as caught:
        read(payloads, name, "IBM")
    assert type(caught.value) is error
    assert "premium/" not in str(caught.value)


def test_every_recorded_body_is_among_those_above(payloads):
    found = {path.name for path in (payloads / "alphavantage").iterdir()}
    assert found == {row[0] for row in [*DAILY, *INTRADAY, *REFUSED]} | set(ACTIONS)


def test_the_adjusted_series_has_the_same_raw_bars_as_the_daily_one(payloads):
    plain, adjusted = read(payloads, FULL, "MSFT").bars, read(payloads, ADJUSTED, "MSFT").bars
    pd.testing.assert_frame_equal(plain, adjusted, check_exact=True)
    first, last = plain.iloc[0], plain.iloc[-1]
    assert first[FIELDS].tolist() == [90.12, 92.06, 89.5, 90.19, 25730100.0]
    assert last[FIELDS].tolist() == [152.1, 152.3, 151.28, 151.38, 11977300.0]


def test_the_adjusted_series_tells_of_the_split_and_every_dividend(payloads):
    actions = CorporateActions.validate(read(payloads, ADJUSTED, "MSFT").actions)
    splits, dividends = actions[actions["kind"] == "split"], actions[actions["kind"] == "dividend"]
    assert [(str(day.date()), value) for day, _, value in splits.itertuples(index=False)] == [("2003-02-18", 2.0)]
    listed = [(str(day.date()), value) for day, _, value in dividends.itertuples(index=False)]
    assert (len(listed), listed[0], listed[-1]) == (64, ("2003-02-19", 0.08), ("2019-11-20", 0.51))
    assert ("2004-11-15", 3.08) in listed
    assert actions["date"].is_monotonic_increasing
    assert read(payloads, FULL, "MSFT").actions.empty


def test_volume_is_found_under_either_number_and_is_null_where_no_row_has_it(payloads):
    assert read(payloads, "IBM_TIME_SERIES_DAILY_2021-01_partial.json", "IBM").bars["volume"].isna().all()
    adjusted = read(payloads, "IBM_TIME_SERIES_DAILY_ADJUSTED_2021-01_partial.json", "IBM").bars
    assert adjusted["volume"].iloc[-1] == 5602466.0
    assert read(payloads, "FX_DAILY.csv", "EURUSD").bars["volume"].isna().all()


@pytest.mark.parametrize(
    ("name", "count", "first", "last"),
    [
        ("IBM_SPLITS.csv", 2, ("1999-05-27", "split", 2.0), ("2021-11-04", "split", 1.046)),
        ("IBM_DIVIDENDS.csv", 110, ("1999-02-08", "dividend", 0.22), ("2026-05-08", "dividend", 1.69)),
    ],
)
def test_a_recorded_feed_of_actions_is_read_whole_and_has_no_bars(payloads, name, count, first, last):
    parsed = read(payloads, name, "IBM")
    actions = CorporateActions.validate(parsed.actions)
    listed = [(str(day.date()), kind, value) for day, kind, value in actions.itertuples(index=False)]
    assert (len(listed), listed[0], listed[-1]) == (count, first, last)
    assert len(RawBars.validate(parsed.bars)) == 0


def test_the_closing_auction_is_in_the_bar_that_starts_at_the_close(payloads):
    bars = read(payloads, "IBM_TIME_SERIES_INTRADAY_compact.csv", "IBM", "5m").bars.set_index("datetime")
    daily = read(payloads, "IBM_TIME_SERIES_DAILY_compact.csv", "IBM").bars.set_index("date")
    close = daily.loc["2026-05-15", "close"]
    assert bars.loc["2026-05-15 19:55:00+00:00", "close"] == close == 219.3
    assert bars.loc["2026-05-15 20:00:00+00:00", "open"] == close
    assert bars["volume"].idxmax().isoformat() == "2026-05-15T20:00:00+00:00"


def test_five_thousand_rows_are_read_quickly(payloads):
    body = (payloads / "alphavantage" / FULL).read_bytes()
    taken = []
    for _ in range(5):
        started = time.perf_counter()
        parse(body, Answer("MSFT", "MSFT"))
        taken.append(time.perf_counter() - started)
    assert min(taken) < 0.1
