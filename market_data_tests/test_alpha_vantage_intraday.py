from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from market_data.records import Basis, ParsedBars
from market_data.schemas import RawIntradayBars
from market_data_tests.test_alpha_vantage_bodies import HEADER, META, ROW, daily, read, refused

URL = "https://vendor.test/query?function=TIME_SERIES_INTRADAY&symbol=AAPL&interval=1min&apikey=REDACTED"


def body(*stamps: str, interval: str = "1min", **meta: Any) -> bytes:
    named = {"2. Symbol": "AAPL", "4. Interval": interval, "6. Time Zone": "US/Eastern", **meta}
    return json.dumps({"Meta Data": named, f"Time Series ({interval})": dict.fromkeys(stamps, ROW)}).encode()


def csv(*stamps: str) -> bytes:
    return HEADER + b"".join(f"{stamp},1.5,2.5,1,2,1000\r\n".encode() for stamp in stamps)


def instants(parsed: ParsedBars) -> list[str]:
    return RawIntradayBars.validate(parsed.bars)["datetime"].dt.strftime("%Y-%m-%dT%H:%MZ").tolist()


@pytest.mark.parametrize("write", [body, csv])
@pytest.mark.parametrize(
    ("local", "utc"),
    [
        ("2021-01-19 09:30:00", "2021-01-19T14:30Z"),
        ("2021-03-12 15:59:00", "2021-03-12T20:59Z"),
        ("2021-03-14 01:59:00", "2021-03-14T06:59Z"),
        ("2021-03-14 03:00:00", "2021-03-14T07:00Z"),
        ("2021-03-15 09:30:00", "2021-03-15T13:30Z"),
        ("2021-07-01 19:59:00", "2021-07-01T23:59Z"),
        ("2021-11-05 15:59:00", "2021-11-05T19:59Z"),
        ("2021-11-07 00:59:00", "2021-11-07T04:59Z"),
        ("2021-11-07 02:00:00", "2021-11-07T07:00Z"),
        ("2021-11-08 09:30:00", "2021-11-08T14:30Z"),
        ("2006-04-03 09:30:00", "2006-04-03T13:30Z"),
        ("2006-03-15 09:30:00", "2006-03-15T14:30Z"),
    ],
)
def test_local_times_are_turned_to_utc_by_the_clock_of_their_day(write, local, utc):
    parsed = read(write(local), interval="1m")
    assert instants(parsed) == [utc]
    assert parsed.bars[["open", "high", "low", "close", "volume"]].values.tolist() == [[1.5, 2.5, 1.0, 2.0, 1000.0]]


@pytest.mark.parametrize("write", [body, csv])
@pytest.mark.parametrize(
    "local", ["2021-03-14 02:00:00", "2021-03-14 02:59:00", "2021-11-07 01:00:00", "2021-11-07 01:59:00"]
)
def test_a_local_time_that_came_twice_or_never_is_refused(write, local):
    stamp = local.replace(" ", "T")
    words = f"AAPL: the local time {stamp} is ambiguous or does not exist in New York"
    assert refused(write("2021-03-12 10:00:00", local), interval="1m") == words


@pytest.mark.parametrize(("interval", "wire"), [("1m", 1), ("5m", 5), ("15m", 15), ("30m", 30), ("1h", 60)])
def test_each_interval_is_read_from_json_and_csv(interval, wire):
    minutes = [f"2021-01-19 {9 + m // 60:02}:{m % 60:02}:00" for m in range(30, 390, wire)]
    parsed = read(body(*reversed(minutes), interval=f"{wire}min"), interval=interval)
    assert instants(parsed) == [f"2021-01-19T{int(text[11:13]) + 5:02}:{text[14:16]}Z" for text in minutes]
    assert instants(read(csv(*reversed(minutes)), interval=interval)) == instants(parsed)


def test_bars_of_another_interval_are_refused():
    two = ("2021-01-19 09:31:00", "2021-01-19 09:30:00")
    assert "are of '1min', not of '5min'" in refused(body(*two), interval="5m")
    assert "are of '5min', not of '1min'" in refused(body(*two, **{"4. Interval": "5min"}), interval="1m")
    assert "bars 60 seconds apart came where bars of 5m were due" in refused(csv(*two), interval="5m")
    assert "are of '5min', not of '1min'" in refused(csv(*two), interval="1m", url=URL.replace("1min", "5min"))
    assert "intraday bars came where bars of 1d" in refused(body(*two))
    assert "is not a date" in refused(csv(*two))
    assert "daily bars came where bars of 1m" in refused(daily({"2021-01-19": ROW}), interval="1m")
    assert "is not a time" in refused(csv("2021-01-19"), interval="1m")
    assert "of 2m were due" in refused(csv(*two), interval="2m")


def test_a_body_for_another_symbol_or_zone_is_refused():
    one = "2021-01-19 09:30:00"
    assert "for 'MSFT', not for 'AAPL'" in refused(body(one, **{"2. Symbol": "MSFT"}), interval="1m")
    assert "'UTC', not US/Eastern" in refused(body(one, **{"6. Time Zone": "UTC"}), interval="1m")
    meta = {**META, "4. Interval": "1min"}
    del meta["5. Time Zone"]
    without = json.dumps({"Meta Data": meta, "Time Series (1min)": {one: ROW}}).encode()
    assert "Time Zone is None" in refused(without, interval="1m")


def test_currencies_are_refused_since_their_times_are_of_another_zone():
    assert "of currencies" in refused(b"timestamp,open,high,low,close\n2021-01-19 09:30:00,1,2,1,2\n", interval="1m")
    assert "not a body" in refused(body("2021-01-19 09:30:00").replace(b"Series (", b"Series FX ("), interval="1m")


@pytest.mark.parametrize(
    "stamp",
    ["2021-01-19 24:00:00", "2021-01-19T09:30:00", "2021-01-19 09:30", "9999-12-31 23:59:59", "0000-01-01 00:00:00"],
)
def test_what_is_no_time_a_bar_can_have_is_refused(stamp):
    assert "not a time as in" in refused(csv(stamp), interval="1m")


def test_a_bar_whose_interval_is_not_over_is_live_and_dropped():
    text = body("2021-01-19 09:35:00", "2021-01-19 09:30:00", interval="5min")
    for minute, left in ((34, 0), (35, 1), (39, 1), (40, 2)):
        fetched_at = datetime(2021, 1, 19, 14, minute, tzinfo=UTC)
        assert len(read(text, interval="5m", fetched_at=fetched_at).bars) == left


def test_prices_are_raw_only_where_they_were_asked_for_unadjusted():
    text, known = body("2021-01-19 09:30:00"), datetime(2021, 2, 1, tzinfo=UTC)
    raw = read(text, interval="1m", fetched_at=known, url=URL + "&adjusted=false")
    assert (raw.basis, raw.adjusted_as_of) == (Basis.RAW, None)
    for url in (None, URL, URL + "&adjusted=true", URL + "&unadjusted=false"):
        other = read(text, interval="1m", fetched_at=known, url=url)
        assert (other.basis, other.adjusted_as_of) == (Basis.SPLIT_DIVIDEND, known)


def test_a_body_without_rows_has_no_bars():
    assert instants(read(body(), interval="1m")) == []
    assert instants(read(HEADER, interval="1m")) == []
