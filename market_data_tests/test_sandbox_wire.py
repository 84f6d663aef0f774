"""Vendors' bytes from frames: small bodies written by hand, byte for byte."""

import numpy as np
import pandas as pd

from market_data.sandbox.wire import alpha_vantage, polygon, yahoo
from market_data.sandbox.wire.numbers import fixed_cells, float32_cells, go_cells, plain_cells, whole_cells
from market_data.sandbox.wire.stamps import MIDNIGHT, OPEN, eastern_day, epoch_seconds, utc_offset

NULL = np.nan
ID = "0" * 32


def bars_of(*rows: tuple[str, float, float, float, float, float]) -> pd.DataFrame:
    bars = pd.DataFrame(rows, columns=["date", "open", "high", "low", "close", "volume"])
    return bars.assign(date=bars["date"].astype("datetime64[s]")).astype(dict.fromkeys(bars.columns[1:], float))


TWO = bars_of(("2024-03-08", 100.5, 101.25, 99.75, 100.5, 1432032), ("2024-03-11", 100.5, 102.5, 100.5, 102.5, 739867))
HOLED = bars_of(("2024-03-08", 100, NULL, 99.75, NULL, NULL))


def test_numbers_are_written_as_go_does():
    values = np.array([739867, 1432032, 112117471, 30000000, -2500000, 0, 130.465, 142, 0.0001, NULL])
    assert go_cells(values, 15) == [
        *("739867", "1.432032e+06", "1.12117471e+08", "3e+07", "-2.5e+06", "0", "130.465", "142", "0.0001", "null"),
    ]  # fmt: skip


def test_single_precision_shows_its_noise():
    assert float32_cells(np.array([230.04, 233.0, NULL, 22.1])) == [
        *("230.0399932861328", "233.0", "null", "22.100000381469727")
    ]  # fmt: skip


def test_other_vendors_numbers():
    assert fixed_cells(np.array([421.5, 0, -1.25, NULL])) == ["421.5000", "0.0000", "-1.2500", ""]
    assert whole_cells(np.array([1e15, 0, -5, NULL])) == ["1000000000000000", "0", "-5", "null"]
    assert plain_cells(np.array([0.00001, 1e11, NULL, 0.5]), 10) == ["0.00001", "100000000000", "", "0.5"]


def test_stamps_follow_new_yorks_clock_over_the_change_of_the_hour():
    days = TWO["date"].to_numpy()
    assert epoch_seconds(days, MIDNIGHT).tolist() == [1709874000, 1710129600]  # 05:00 and 04:00 UTC
    assert epoch_seconds(days, OPEN).tolist() == [1709908200, 1710163800]  # 14:30 and 13:30 UTC
    assert eastern_day(1709873999) == np.datetime64("2024-03-07")
    assert (utc_offset(1709908200), utc_offset(1710163800)) == ((-18000, "EST"), (-14400, "EDT"))


def test_polygon_aggregates():
    stamps = epoch_seconds(TWO["date"].to_numpy(), MIDNIGHT) * 1000
    assert polygon.aggregates("BRK.B", TWO, stamps, adjusted=False, request_id=ID, next_url="http://h/p?cursor=x") == (
        b'{"ticker":"BRK.B","queryCount":2,"resultsCount":2,"adjusted":false,"results":['
        b'{"v":1.432032e+06,"vw":100.5,"o":100.5,"c":100.5,"h":101.25,"l":99.75,"t":1709874000000,"n":13018},'
        b'{"v":739867,"vw":101.5,"o":100.5,"c":102.5,"h":102.5,"l":100.5,"t":1710129600000,"n":6726}],'
        b'"status":"OK","request_id":"00000000000000000000000000000000","count":2,"next_url":"http://h/p?cursor=x"}'
    )


def test_polygon_leaves_out_the_key_of_a_null():
    stamps = np.array([1709874000000])
    body = polygon.aggregates("X", HOLED, stamps, adjusted=True, request_id=ID)
    assert b'"results":[{"o":100,"l":99.75,"t":1709874000000}],' in body


def test_polygon_of_nothing_has_no_results():
    body = polygon.aggregates("X", TWO.iloc[:0], np.array([], dtype=np.int64), adjusted=True, request_id=ID)
    assert body == (
        b'{"ticker":"X","queryCount":0,"resultsCount":0,"adjusted":true,"status":"OK",'
        b'"request_id":"00000000000000000000000000000000","count":0}'
    )


def test_polygon_grouped_names_each_ticker():
    body = polygon.grouped(["A", "BRK.B"], TWO, np.array([1, 2]), adjusted=True, request_id=ID)
    assert body.startswith(b'{"queryCount":2,"resultsCount":2,"adjusted":true,"results":[{"T":"A","v":1.432032e+06,')
    assert b',{"T":"BRK.B","v":739867,' in body
    assert body.endswith(b'"status":"OK","request_id":"00000000000000000000000000000000","count":2}')


def test_polygon_errors_have_the_requests_id_within():
    assert polygon.error("missing_key", ID) == (
        401,
        b'{"status":"ERROR","request_id":"00000000000000000000000000000000","error":"API Key was not provided"}',
    )


def test_alpha_vantage_daily():
    assert alpha_vantage.daily_json("BRK-B", TWO, compact=True) == (
        b"""{
    "Meta Data": {
        "1. Information": "Daily Prices (open, high, low, close) and Volumes",
        "2. Symbol": "BRK-B",
        "3. Last Refreshed": "2024-03-11",
        "4. Output Size": "Compact",
        "5. Time Zone": "US/Eastern"
    },
    "Time Series (Daily)": {
        "2024-03-11": {
            "1. open": "100.5000",
            "2. high": "102.5000",
            "3. low": "100.5000",
            "4. close": "102.5000",
            "5. volume": "739867"
        },
        "2024-03-08": {
            "1. open": "100.5000",
            "2. high": "101.2500",
            "3. low": "99.7500",
            "4. close": "100.5000",
            "5. volume": "1432032"
        }
    }
}"""
    )


def test_alpha_vantage_csv_is_newest_first_with_empty_cells_for_nulls():
    assert alpha_vantage.series_csv(TWO) == (
        b"timestamp,open,high,low,close,volume\n"
        b"2024-03-11,100.5000,102.5000,100.5000,102.5000,739867\n"
        b"2024-03-08,100.5000,101.2500,99.7500,100.5000,1432032\n"
    )
    assert alpha_vantage.series_csv(HOLED).splitlines()[1] == b"2024-03-08,100.0000,,99.7500,,"
    assert b'"4. close": "",' in alpha_vantage.daily_json("X", HOLED, compact=False)


def test_alpha_vantage_sends_the_last_of_two_bars_of_a_date():
    twice = pd.concat([TWO.iloc[:1], TWO.iloc[:1].assign(close=101.0)], ignore_index=True)
    body = alpha_vantage.daily_json("X", twice, compact=False)
    assert body.count(b'"2024-03-08": {') == 1
    assert b'"4. close": "101.0000"' in body


def test_alpha_vantage_minutes_stand_in_new_yorks_time():
    minutes = TWO.assign(datetime=pd.to_datetime(["2024-03-08T14:30Z", "2024-03-11T13:31Z"]))
    body = alpha_vantage.minutes_json("X", minutes, compact=False)
    assert b'"3. Last Refreshed": "2024-03-11 09:31:00",' in body
    assert b'"4. Interval": "1min",' in body
    assert b'    "Time Series (1min)": {\n        "2024-03-11 09:31:00": {\n' in body
    assert b'        "2024-03-08 09:30:00": {\n' in body


def test_alpha_vantage_actions():
    rows = [{"effective_date": "2024-06-10", "split_factor": "10.0000"}]
    assert alpha_vantage.actions_csv(("effective_date", "split_factor"), rows) == (
        b"effective_date,split_factor\n2024-06-10,10.0000\n"
    )
    assert alpha_vantage.actions_json("X", rows) == (
        b'{\n    "symbol": "X",\n    "data": [\n        {\n            "effective_date": "2024-06-10",\n'
        b'            "split_factor": "10.0000"\n        }\n    ]\n}'
    )


def test_alpha_vantage_echoes_the_callers_key_when_the_day_is_spent():
    assert alpha_vantage.key_limit("ABC123").startswith(
        b'{\n    "Information": "We have detected your API key as ABC123 and our standard API rate limit is 25 requests'
    )
    assert b"detected" not in alpha_vantage.key_limit("")


def test_yahoo_chart():
    stamps = epoch_seconds(TWO["date"].to_numpy(), OPEN)
    body = yahoo.chart({"symbol": "X"}, stamps, TWO, events={}, adjclose=np.array([100.25, NULL]))
    assert body == (
        b'{"chart":{"result":[{"meta":{"symbol":"X"},"timestamp":[1709908200,1710163800],"indicators":{"quote":[{'
        b'"open":[100.5,100.5],"low":[99.75,100.5],"close":[100.5,102.5],"volume":[1432032,739867],'
        b'"high":[101.25,102.5]}],"adjclose":[{"adjclose":[100.25,null]}]}}],"error":null}}'
    )


def test_yahoo_has_null_for_a_null_and_no_stamps_for_nothing():
    body = yahoo.chart({}, np.array([1]), HOLED, events={"splits": {}}, adjclose=None)
    assert b'"events":{"splits":{}},' in body
    assert b'"close":[null],"volume":[null],"high":[null]}]}}]' in body
    nothing = yahoo.chart({}, np.array([], dtype=np.int64), HOLED.iloc[:0], events={}, adjclose=np.array([]))
    assert nothing == (b'{"chart":{"result":[{"meta":{},"indicators":{"quote":[{}],"adjclose":[{}]}}],"error":null}}')
