from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_data.errors import BadPayload, UnknownSymbol
from market_data.providers.bodies import Answer
from market_data.providers.yahoo import parse
from market_data.records import Basis, ParsedBars
from market_data.schemas import CorporateActions, RawBars, RawIntradayBars

FIELDS = ("open", "high", "low", "close", "volume")
ROW = (10.5, 12.25, 10.0, 11.75, 1000)


def epoch(wall: str, zone: str = "America/New_York") -> int:
    """Seconds of a wall time such as 2021-01-19T09:30."""
    return int(datetime.fromisoformat(wall).replace(tzinfo=ZoneInfo(zone)).timestamp())


def chart(bars: dict[int, tuple[Any, ...]], events: Any = None, **meta: Any) -> dict[str, Any]:
    """A document with the bars by epoch, long after their sessions; `meta` overrides what it says of the market."""
    told = {
        "symbol": "AAPL",
        "exchangeTimezoneName": "America/New_York",
        "dataGranularity": "1d",
        "regularMarketTime": epoch("2024-09-13T16:00:01"),
        "currentTradingPeriod": {"regular": period("2024-09-13")},
    }
    quotes = {name: [row[place] for row in bars.values()] for place, name in enumerate(FIELDS)}
    result = {"meta": {**told, **meta}, "timestamp": list(bars), "indicators": {"quote": [quotes]}}
    if events is not None:
        result["events"] = events
    return {"chart": {"result": [result], "error": None}}


def period(day: str, start: str = "09:30", end: str = "16:00", zone: str = "America/New_York") -> dict[str, int]:
    return {"start": epoch(f"{day}T{start}", zone), "end": epoch(f"{day}T{end}", zone)}


def answer(interval: str = "1d", **told: Any) -> Answer:
    return Answer("AAPL", told.pop("ticker", "AAPL"), interval=interval, **told)


def read(document: dict[str, Any], **told: Any) -> ParsedBars:
    return parse(json.dumps(document).encode(), answer(**told))


def dates(parsed: ParsedBars) -> list[str]:
    return [str(day.date()) for day in parsed.bars["date"]]


def refused(document: dict[str, Any], **told: Any) -> str:
    with pytest.raises(BadPayload) as caught:
        read(document, **told)
    return str(caught.value)


def test_a_chart_becomes_daily_bars_that_are_adjusted_for_splits_as_of_the_download():
    fetched = datetime(2024, 9, 14, 3, tzinfo=UTC)
    document = chart({epoch("2021-01-19T09:30"): ROW, epoch("2021-01-20T09:30"): (11.75, 13, 11, 12.5, 2000.5)})
    parsed = read(document, fetched_at=fetched)
    RawBars.validate(parsed.bars)
    assert parsed.bars.iloc[:, :6].to_numpy().tolist() == [
        [pd.Timestamp(2021, 1, 19), 10.5, 12.25, 10.0, 11.75, 1000.0],
        [pd.Timestamp(2021, 1, 20), 11.75, 13.0, 11.0, 12.5, 2000.5],
    ]
    assert parsed.bars[["vwap", "trade_count"]].isna().all(axis=None)
    assert (parsed.basis, parsed.adjusted_as_of, len(parsed.actions)) == (Basis.SPLIT, fetched, 0)


def test_dates_are_those_of_the_opening_in_the_exchanges_zone_on_both_sides_of_a_change_of_clocks():
    days = ["2021-03-12", "2021-03-15", "2021-11-05", "2021-11-08"]
    assert dates(read(chart({epoch(f"{day}T09:30"): ROW for day in days}))) == days


@pytest.mark.parametrize(
    ("zone", "opening"),
    [("Australia/Sydney", "10:00"), ("Asia/Tokyo", "09:00"), ("Europe/London", "00:00"), ("UTC", "00:00")],
)
def test_an_opening_that_is_still_yesterday_in_utc_or_at_midnight_keeps_its_own_date(zone, opening):
    days = ["2021-03-26", "2021-03-29", "2021-10-29", "2021-11-01"]
    bars = {epoch(f"{day}T{opening}", zone): ROW for day in days}
    current = {"regular": period("2024-09-13", opening, "23:59", zone)}
    late = epoch("2024-09-14T03:00", zone)
    parsed = read(chart(bars, exchangeTimezoneName=zone, currentTradingPeriod=current, regularMarketTime=late))
    assert dates(parsed) == days


def test_intraday_bars_are_stamped_with_the_start_of_their_interval_in_utc():
    document = chart({epoch("2021-11-05T09:30"): ROW, epoch("2021-11-08T09:30"): ROW}, dataGranularity="1m")
    bars = read(document, interval="1m").bars
    RawIntradayBars.validate(bars)
    assert bars["datetime"].tolist() == [
        pd.Timestamp("2021-11-05 13:30", tz="UTC"),
        pd.Timestamp("2021-11-08 14:30", tz="UTC"),
    ]


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (188.3000030517578, 188.3),
        (0.7400000095367432, 0.74),
        (226.96009826660156, 226.9601),
        (7.0929999351501465, 7.093),
        (0.00011999999696854502, 0.00012),
        (269.2749938964844, 269.275),
        (285.3333435058594, 285.33334),
        (188.3, 188.3),
        (10.123456789, 10.123456789),
        (3341, 3341.0),
        (16777219, 16777219.0),
        (123456792.0, 123456792.0),
        (1e300, 1e300),
        (-0.7400000095367432, -0.74),
        (0, 0.0),
    ],
)
def test_a_price_loses_the_noise_of_32_bits_and_nothing_else(sent, meant):
    bars = read(chart({epoch("2021-01-19T09:30"): (sent, sent, sent, sent, 188.3000030517578)})).bars
    assert bars.iloc[0, 1:6].tolist() == [meant, meant, meant, meant, 188.3000030517578]


@given(st.integers(1, 9_999_999).flatmap(lambda ticks: st.sampled_from([ticks / 100, ticks / 10_000])))
def test_a_price_sent_as_a_32_bit_float_comes_back_as_the_decimal_it_was(price):
    sent = float(np.float32(price))
    got = read(chart({epoch("2021-01-19T09:30"): (sent, sent, sent, sent, 0)})).bars["close"].iloc[0]
    assert got == price


def test_nulls_stay_nulls_and_a_row_of_nulls_stays_a_row():
    bars = read(chart({epoch("2021-01-19T09:30"): (None,) * 5, epoch("2021-01-20T09:30"): (1, None, 1, 1, None)})).bars
    expected = [[np.nan] * 5, [1.0, np.nan, 1.0, 1.0, np.nan]]
    np.testing.assert_array_equal(bars[list(FIELDS)].to_numpy(), expected)


def test_fields_that_were_not_asked_for_are_null():
    document = chart({epoch("2021-01-19T09:30"): ROW})
    document["chart"]["result"][0]["indicators"]["quote"] = [{"close": [11.75]}]
    np.testing.assert_array_equal(
        read(document).bars[list(FIELDS)].to_numpy(), [[np.nan, np.nan, np.nan, 11.75, np.nan]]
    )


def test_bars_sent_in_another_order_come_out_ascending():
    bars = {epoch(f"2021-01-{day}T09:30"): (day,) * 5 for day in (21, 19, 20)}
    assert read(chart(bars)).bars["close"].tolist() == [19.0, 20.0, 21.0]


def test_splits_and_dividends_are_actions_on_their_ex_dates():
    events = {
        "dividends": {"1604673000": {"amount": 0.205, "date": epoch("2020-11-06T09:30")}},
        "splits": {
            "1596254400": {"date": epoch("2020-08-31T09:30"), "numerator": 4, "denominator": 1, "splitRatio": "4:1"},
            "1": {"date": epoch("2021-05-03T09:30"), "numerator": 1.0, "denominator": 8.0, "splitRatio": "1:8"},
        },
        "capitalGains": {"2": {"amount": 3.0, "date": 2}},
    }
    actions = read(chart({epoch("2021-01-19T09:30"): ROW}, events)).actions
    CorporateActions.validate(actions)
    assert actions.to_numpy().tolist() == [
        [pd.Timestamp(2020, 8, 31), "split", 4.0],
        [pd.Timestamp(2020, 11, 6), "dividend", 0.205],
        [pd.Timestamp(2021, 5, 3), "split", 0.125],
    ]


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"numerator": 4, "denominator": 0}, "a split of 4 for 0 cannot be"),
        ({"numerator": -4, "denominator": 1}, "a split of -4 for 1 cannot be"),
        ({"numerator": 0, "denominator": 3}, "a split of 0 for 3 cannot be"),
        ({"numerator": -2, "denominator": -1}, "a split of -2 for -1 cannot be"),
        ({"numerator": 1e300, "denominator": 1e-300}, "a split of inf cannot be"),
        ({"numerator": None, "denominator": 1}, "an event of splits has no numerator"),
        ({"denominator": "1", "numerator": 4}, "is '1', not a number"),
        ({"numerator": 4}, "an event of splits has no denominator"),
    ],
)
def test_a_split_that_cannot_be_is_refused_with_its_numbers(event, words):
    events = {"splits": {"1": {"date": epoch("2021-01-19T09:30"), **event}}}
    assert words in refused(chart({epoch("2021-01-19T09:30"): ROW}, events))


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ({"dividends": {"1": {"amount": 0, "date": 1}}}, "a dividend of 0.0 cannot be"),
        ({"dividends": {"1": {"amount": -0.2, "date": 1}}}, "a dividend of -0.2 cannot be"),
        ({"dividends": {"1": {"amount": 0.2}}}, "an event of dividends has no date"),
        ({"dividends": {"1": {"amount": 0.2, "date": 1e30}}}, "the date of an event holds 1e+30"),
        ({"dividends": {"1": None}}, "an event of dividends is None, not an object"),
        ({"dividends": [1]}, r"dividends is [1] where a JSON object was due"),
        ("none", "events is 'none' where a JSON object was due"),
    ],
)
def test_an_event_that_cannot_be_is_refused(events, words):
    assert words in refused(chart({epoch("2021-01-19T09:30"): ROW}, events))


@pytest.mark.parametrize("name", [*FIELDS, "adjclose", "timestamp"])
def test_parallel_arrays_of_unequal_length_are_refused(name):
    document = chart({epoch("2021-01-19T09:30"): ROW, epoch("2021-01-20T09:30"): ROW})
    result = document["chart"]["result"][0]
    result["indicators"]["adjclose"] = [{"adjclose": [1.0, 2.0]}]
    holder = {"adjclose": result["indicators"]["adjclose"][0], "timestamp": result}
    holder.get(name, result["indicators"]["quote"][0])[name].pop()
    shown = "open holds 2 values beside 1" if name == "timestamp" else f"{name} holds 1 values beside 2"
    assert refused(document) == f"AAPL: {shown} timestamps"


def test_bars_of_another_symbol_are_refused_with_both_names():
    document = chart({epoch("2021-01-19T09:30"): ROW}, symbol="MSFT")
    assert refused(document) == "AAPL: the bars are of 'MSFT' where AAPL was asked for"
    assert len(read(document, ticker="msft").bars) == len(read(document, ticker="").bars) == 1


@pytest.mark.parametrize(("sent", "asked"), [("3mo", "1d"), ("1m", "1d"), ("1d", "1m"), ("5m", "1m"), ("1h", "30m")])
def test_bars_of_another_length_than_asked_for_are_refused(sent, asked):
    document = chart({epoch("2021-01-19T09:30"): ROW}, dataGranularity=sent)
    assert refused(document, interval=asked) == f"AAPL: the bars are of {sent!r} each where {asked} was asked for"


def test_60_minutes_are_an_hour():
    document = chart({epoch("2021-01-19T09:30"): ROW}, dataGranularity="1h")
    assert len(read(document, interval="60m").bars) == len(read(document, interval="1h").bars) == 1


@pytest.mark.parametrize(
    "zone",
    [
        "America/Gotham",
        "",
        "../etc/passwd",
        "/etc/passwd",
        "America",
        "a\0b",
        None,
        5,
    ],
)
def test_an_unknown_zone_is_refused(zone):
    assert "exchangeTimezoneName is" in refused(chart({epoch("2021-01-19T09:30"): ROW}, exchangeTimezoneName=zone))


@pytest.mark.parametrize("stamp", [1e30, -1e11, 10**10, 0.5, "1611066600", True, None, [1]])
def test_a_timestamp_that_is_no_epoch_is_refused(stamp):
    document = chart({epoch("2021-01-19T09:30"): ROW})
    document["chart"]["result"][0]["timestamp"] = [stamp]
    assert refused(document).startswith("AAPL: timestamp")


@pytest.mark.parametrize("nothing", [{}, {"timestamp": None}, {"timestamp": []}])
def test_an_answer_without_timestamps_has_no_bars(nothing):
    document = chart({})
    document["chart"]["result"][0] |= {"timestamp": None, "indicators": {"quote": [{}], "adjclose": [{}]}} | nothing
    with pytest.raises(UnknownSymbol, match=r"^AAPL: yahoo has no bars for it in the window$"):
        read(document)


def test_prices_without_timestamps_are_a_broken_body_and_no_empty_one():
    document = chart({epoch("2021-01-19T09:30"): ROW})
    del document["chart"]["result"][0]["timestamp"]
    assert refused(document) == "AAPL: open holds 1 values beside 0 timestamps"


def test_timestamps_without_closes_are_refused():
    document = chart({epoch("2021-01-19T09:30"): ROW})
    document["chart"]["result"][0]["indicators"]["quote"] = [{}]
    assert refused(document) == "AAPL: indicators.quote has no close beside 1 timestamps"
