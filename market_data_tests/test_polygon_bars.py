from __future__ import annotations

import json
import time
from datetime import UTC, datetime

import numpy as np
import pytest

from market_data.errors import BadPayload, UnknownSymbol
from market_data.providers.bodies import Answer
from market_data.providers.polygon import parse
from market_data.records import Basis, ParsedBars
from market_data.schemas import RawBars, RawIntradayBars

FIELDS = ["open", "high", "low", "close", "volume", "vwap", "trade_count"]
RANGE = "https://api.polygon.io/v2/aggs/ticker/AAPL/range"
NOON = datetime(2024, 11, 20, 17, tzinfo=UTC)
NIGHT = datetime(2024, 11, 21, 2, tzinfo=UTC)


def ms(text: str) -> int:
    """Epoch milliseconds of a time with its offset, as in 2024-03-11T00:00-04:00."""
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def row(t: object, price: float = 10.0, **other: object) -> dict[str, object]:
    return {"t": t, "o": price, "h": price + 2, "l": price - 1, "c": price + 1, "v": 1000, "vw": price, "n": 7} | other


def body(*rows: dict[str, object], **other: object) -> bytes:
    document = {"ticker": "AAPL", "status": "OK", "resultsCount": len(rows), "adjusted": False, "results": list(rows)}
    return json.dumps({name: value for name, value in (document | other).items() if value is not ...}).encode()


def read(content: bytes, interval: str = "1d", *, ticker: str = "AAPL", **other: object) -> ParsedBars:
    parsed = parse(content, Answer("AAPL", ticker, interval, **other))
    (RawBars if interval == "1d" else RawIntradayBars).validate(parsed.bars)
    return parsed


def days(parsed: ParsedBars) -> list[str]:
    return [str(day.date()) for day in parsed.bars["date"]]


def refused(content: bytes, interval: str = "1d", **other: object) -> str:
    with pytest.raises(BadPayload, match=r"^AAPL: ") as caught:
        read(content, interval, **other)
    return str(caught.value).removeprefix("AAPL: ")


MIDNIGHTS = [
    ("2024-03-08", "2024-03-08T00:00-05:00"),
    ("2024-03-10", "2024-03-10T00:00-05:00"),  # clocks go forward at 2 o'clock of this Sunday
    ("2024-03-11", "2024-03-11T00:00-04:00"),
    ("2024-11-01", "2024-11-01T00:00-04:00"),
    ("2024-11-03", "2024-11-03T00:00-04:00"),  # and back
    ("2024-11-04", "2024-11-04T00:00-05:00"),
]


def test_a_daily_bar_is_dated_in_new_york_on_either_side_of_both_clock_changes():
    assert days(read(body(*(row(ms(moment)) for _, moment in MIDNIGHTS)))) == [day for day, _ in MIDNIGHTS]
    close = [
        row(ms(moment.replace("T00", "T16")), T="AAPL") for day, moment in MIDNIGHTS if day[-2:] not in ("10", "03")
    ]
    assert days(read(body(*close))) == ["2024-03-08", "2024-03-11", "2024-11-01", "2024-11-04"]


def test_late_evenings_and_midnights_of_new_york_are_another_day_in_utc():
    evening = [row(ms("2024-03-08T20:30-05:00"), T="AAPL"), row(ms("2024-07-01T23:59-04:00"), T="AAPL")]
    assert days(read(body(*evening))) == ["2024-03-08", "2024-07-01"]


@pytest.mark.parametrize("moment", ["2024-03-11T00:00-05:00", "2024-11-04T00:00-04:00", "2024-03-11T00:00+00:00"])
def test_a_midnight_of_a_fixed_offset_or_of_utc_is_no_daily_bar(moment):
    assert refused(body(row(ms(moment)))).startswith("a daily bar starts at ")


@pytest.mark.parametrize("ticker", ["C:EURUSD", "X:BTCUSD"])
def test_days_of_currencies_are_days_of_utc_and_are_never_held_to_sessions(ticker):
    content = body(row(ms("2024-11-17T00:00+00:00")), row(ms("2024-11-20T00:00+00:00")), ticker=ticker)
    assert days(read(content, ticker=ticker, fetched_at=NOON)) == ["2024-11-17", "2024-11-20"]
    assert "not at midnight" in refused(body(row(ms("2024-11-18T00:00-05:00")), ticker=ticker), ticker=ticker)


def test_intraday_bars_keep_their_instants_across_a_clock_change():
    moments = ["2024-03-08T09:30-05:00", "2024-03-11T09:30-04:00", "2024-11-01T09:30-04:00", "2024-11-04T09:30-05:00"]
    frame = read(body(*(row(ms(moment)) for moment in moments)), "1m").bars
    assert [f"{moment:%m-%d %H:%M %Z}" for moment in frame["datetime"]] == [
        "03-08 14:30 UTC",
        "03-11 13:30 UTC",
        "11-01 13:30 UTC",
        "11-04 14:30 UTC",
    ]


@pytest.mark.parametrize(("interval", "minutes"), [("1m", 1), ("5m", 5), ("15m", 15), ("30m", 30), ("1h", 60)])
def test_bars_of_each_interval_start_on_its_multiples(interval, minutes):
    first = ms("2024-11-20T10:00-05:00")
    assert len(read(body(row(first), row(first + minutes * 60_000)), interval).bars) == 2
    assert interval in refused(body(row(first), row(first + 30_000)), interval)


@pytest.mark.parametrize(
    ("path", "interval"), [("1/minute", "5m"), ("1/minute", "1d"), ("1/day", "1h"), ("1/week", "1d"), ("2/day", "1d")]
)
def test_a_url_of_another_interval_is_refused(path, interval):
    content = body(row(ms("2024-11-18T00:00-05:00")), row(ms("2024-11-18T09:30-05:00")))
    assert "where " + interval in refused(content, interval, url=f"{RANGE}/{path}/2024-11-18/2024-11-18")


def test_a_url_of_the_same_interval_in_other_words_is_fine():
    url = f"{RANGE}/60/minute/2024-11-18/2024-11-18"
    assert len(read(body(row(ms("2024-11-18T10:00-05:00"))), "1h", url=url).bars) == 1


def test_daily_bars_are_not_taken_for_intraday_ones_nor_the_reverse():
    daily = [row(ms("2024-11-18T00:00-05:00")), row(ms("2024-11-19T00:00-05:00"))]
    assert "daily bars where intraday were due" in refused(body(*daily), "1m")
    assert "not at midnight" in refused(body(row(ms("2024-11-18T09:30-05:00"))))
    assert "not those of bars of 1m" in refused(body(row(ms("2024-11-18T16:00-05:00"), T="AAPL"), ticker=...), "1m")
    day = json.dumps({"status": "OK", "from": "2024-11-18", "symbol": "AAPL", "open": 1}).encode()
    assert "a daily open-close answer" in refused(day, "1m")


def test_missing_keys_become_nulls_and_never_shift_a_row():
    rows = [row(ms(f"2024-11-{18 + place}T00:00-05:00"), 10.0 * (place + 1)) for place in range(3)]
    del rows[0]["o"], rows[0]["vw"], rows[1]["c"], rows[1]["n"], rows[2]["v"]
    rows[2]["h"] = None
    frame = read(body(*rows)).bars
    np.testing.assert_array_equal(
        frame[FIELDS].to_numpy(),
        [
            [np.nan, 12, 9, 11, 1000, np.nan, 7],
            [20, 22, 19, np.nan, 1000, 20, np.nan],
            [30, np.nan, 29, 31, np.nan, 30, 7],
        ],
    )


def test_rows_without_any_price_are_no_bars():
    assert "none has a price" in refused(body({"t": ms("2024-11-18T00:00-05:00"), "v": 5, "p": 1.5}))


def test_fractions_and_exponents_are_numbers():
    content = body(row(ms("2024-11-18T00:00-05:00"))).replace(b'"v": 1000', b'"v": 1.12117471e+08')
    assert read(content).bars["volume"].tolist() == [112117471.0]
    assert read(content.replace(b"1.12117471e+08", b"25933.6")).bars["volume"].tolist() == [25933.6]


def test_rows_of_the_same_time_are_all_kept_and_descending_ones_come_out_ascending():
    later, earlier = ms("2024-11-19T00:00-05:00"), ms("2024-11-18T00:00-05:00")
    parsed = read(body(row(later, 3), row(earlier, 1), row(earlier, 2)))
    assert (days(parsed), parsed.bars["open"].tolist()) == (["2024-11-18", "2024-11-18", "2024-11-19"], [1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    "t", [None, "1731906000000", True, 1731906000000.5, 1e300, 10**40, -(10**30), 1731906000000000, [], -1e14]
)
def test_a_time_no_bar_can_have_is_refused(t):
    assert refused(body(row(ms("2024-11-18T00:00-05:00")), row(t))).startswith("t[1] is ")


@pytest.mark.parametrize("value", ["10", True, [1], {"a": 1}, 10**400])
@pytest.mark.parametrize("key", ["o", "v", "n"])
def test_a_value_that_is_no_number_is_refused(key, value):
    assert refused(body(row(ms("2024-11-18T00:00-05:00"), **{key: value}))).startswith(key)


@pytest.mark.parametrize("count", [0, 1, 3, "2", True, 2.5])
def test_a_count_that_disagrees_with_the_rows_means_a_cut_body(count):
    rows = [row(ms("2024-11-18T00:00-05:00")), row(ms("2024-11-19T00:00-05:00"))]
    assert refused(body(*rows, resultsCount=count)).endswith(f"says {count!r}: the body is cut")
    assert len(read(body(*rows, queryCount=9)).bars) == 2


def test_rows_of_another_ticker_are_refused_and_both_are_named():
    content = row(ms("2024-11-18T00:00-05:00"))
    assert refused(body(content, ticker="MSFT")) == "the answer is of 'MSFT' where 'AAPL' was due"
    assert "'MSFT' where 'AAPL'" in refused(body(content | {"T": "MSFT"}))
    day = json.dumps({"status": "OK", "from": "2024-11-18", "symbol": "MSFT", "open": 1}).encode()
    assert "'MSFT' where 'AAPL'" in refused(day)
    assert len(read(body(content, ticker="aapl")).bars) == 1
    assert len(read(body(content, ticker=...)).bars) == 1
    assert "'AApL' where 'AAPL'" in refused(body(content, ticker="AApL"))


@pytest.mark.parametrize(
    ("field", "query", "basis"),
    [
        (False, "", Basis.RAW),
        (True, "", Basis.SPLIT),
        (False, "?adjusted=true", Basis.RAW),
        (True, "?adjusted=false", Basis.SPLIT),
        (..., "?sort=asc&adjusted=false", Basis.RAW),
        (..., "?adjusted=true", Basis.SPLIT),
        (..., "", Basis.SPLIT),
    ],
)
def test_the_basis_is_what_the_body_says_then_the_url_then_the_vendors_default(field, query, basis):
    content = body(row(ms("2024-11-18T00:00-05:00")), adjusted=field)
    parsed = read(content, fetched_at=NIGHT, url=f"{RANGE}/1/day/2024-11-18/2024-11-18{query}")
    assert (parsed.basis, parsed.adjusted_as_of) == (basis, None if basis is Basis.RAW else NIGHT)
    assert "adjusted is 'no'" in refused(body(row(ms("2024-11-18T00:00-05:00")), adjusted="no"))


def test_an_answer_without_bars_is_an_unknown_symbol_and_delayed_ones_are_bars():
    for empty in (body(), body(results=...), body(results=None, resultsCount=..., status="DELAYED")):
        with pytest.raises(UnknownSymbol, match="AAPL: polygon has no bars for AAPL in the window"):
            read(empty)
    assert len(read(body(row(ms("2024-11-18T00:00-05:00")), status="DELAYED")).bars) == 1


def test_the_bar_of_a_session_still_open_is_left_out_until_it_has_closed():
    content = body(row(ms("2024-11-19T00:00-05:00")), row(ms("2024-11-20T00:00-05:00")))
    assert days(read(content)) == ["2024-11-19", "2024-11-20"]
    assert days(read(content, fetched_at=NOON)) == ["2024-11-19"]
    assert days(read(content, fetched_at=NIGHT)) == ["2024-11-19", "2024-11-20"]
    assert days(read(body(row(ms("2024-11-20T16:00-05:00"), T="AAPL"), ticker=...), fetched_at=NOON)) == []
    day = json.dumps({"status": "OK", "from": "2024-11-20", "symbol": "AAPL", "open": 1}).encode()
    assert (days(read(day, fetched_at=NOON)), days(read(day, fetched_at=NIGHT))) == ([], ["2024-11-20"])


def test_a_row_of_a_grouped_body_that_names_no_ticker_spoils_it():
    named, unnamed = row(ms("2024-11-18T16:00-05:00"), T="AAPL"), row(ms("2024-11-18T16:00-05:00"))
    assert refused(body(named, unnamed, ticker=...)) == "row 1 does not name its ticker as T"


def test_a_grouped_body_is_decoded_once_for_all_its_tickers():
    close = ms("2024-11-18T16:00-05:00")
    content = body(*(row(close, float(place), T=f"S{place}") for place in range(4000)), ticker=...)
    started = time.perf_counter()
    read(content, ticker="S0")
    once = time.perf_counter() - started
    started = time.perf_counter()
    parsed = [parse(bytes(bytearray(content)), Answer("AAPL", f"S{place}")) for place in range(100)]
    assert time.perf_counter() - started < 25 * once
    assert [item.bars["open"].item() for item in parsed] == [float(place) for place in range(100)]


@pytest.mark.parametrize(("written", "day"), [("2024-11-18", "2024-11-18"), ("2024-11-18T03:30:00Z", "2024-11-18")])
def test_an_open_close_body_is_dated_as_written(written, day):
    content = json.dumps({"status": "OK", "from": written, "symbol": "AAPL", "open": 1, "close": 2, "volume": 1e3})
    parsed = read(content.encode())
    assert (days(parsed), parsed.bars["volume"].tolist()) == ([day], [1000.0])
    assert "not a date" in refused(content.replace("2024", "24").encode())
    assert "without a price" in refused(json.dumps({"status": "OK", "from": written}).encode())


def test_an_interval_that_is_not_served_is_an_error_of_the_caller():
    with pytest.raises(ValueError, match=r"^interval '2m' is not served by polygon; it serves 1m, 5m, 15m"):
        read(b"{}", "2m")
