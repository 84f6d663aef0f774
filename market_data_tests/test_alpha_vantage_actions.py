from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from market_data.records import Basis, ParsedBars
from market_data.schemas import CorporateActions, RawBars
from market_data_tests.test_alpha_vantage_bodies import ADJUSTED_ROW, HEADER, daily, dates, read, refused

ADJUSTED_HEADER = b"timestamp,open,high,low,close,adjusted_close,volume,dividend_amount,split_coefficient\n"


def adjusted(**changed: Any) -> dict[str, Any]:
    return {key: changed.get(key.split(". ")[1].replace(" ", "_"), value) for key, value in ADJUSTED_ROW.items()}


def listed(parsed: ParsedBars) -> list[tuple[str, str, float]]:
    actions = CorporateActions.validate(parsed.actions)
    return [(str(day.date()), kind, value) for day, kind, value in actions.itertuples(index=False)]


def feed(*rows: Any, symbol: object = "AAPL") -> bytes:
    return json.dumps({"symbol": symbol, "data": rows}).encode()


def test_dividends_and_splits_of_adjusted_rows_become_actions_of_their_dates():
    rows = {
        "2021-01-21": adjusted(split_coefficient="4.0", dividend_amount="0.205"),
        "2021-01-20": adjusted(),
        "2021-01-19": adjusted(split_coefficient="0.125"),
    }
    parsed = read(daily(rows))
    assert listed(parsed) == [
        ("2021-01-19", "split", 0.125),
        ("2021-01-21", "dividend", 0.205),
        ("2021-01-21", "split", 4.0),
    ]
    assert parsed.bars["close"].tolist() == [2.0, 2.0, 2.0]
    assert parsed.basis is Basis.RAW


def test_the_adjusted_csv_is_read_as_the_adjusted_json():
    body = ADJUSTED_HEADER + b"2021-01-20,1.5,2.5,1,2,1.9,1000,0.22,1.0\n2021-01-19,1,2,1,2,1.8,500,0.0000,2.0\n"
    parsed = read(body)
    assert listed(parsed) == [("2021-01-19", "split", 2.0), ("2021-01-20", "dividend", 0.22)]
    assert parsed.bars["volume"].tolist() == [500.0, 1000.0]


def test_the_action_of_a_live_bar_is_kept():
    body = daily({"2021-01-20": adjusted(split_coefficient="2"), "2021-01-19": adjusted()})
    parsed = read(body, fetched_at=datetime(2021, 1, 20, 15, tzinfo=UTC))
    assert dates(parsed) == ["2021-01-19"]
    assert listed(parsed) == [("2021-01-20", "split", 2.0)]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"dividend_amount": "-0.5"}, "a dividend of -0.5 cannot be"),
        ({"split_coefficient": "0"}, "a split of 0.0 cannot be"),
        ({"split_coefficient": ""}, "'split coefficient' of 2021-01-19T00:00:00 is null"),
        ({"dividend_amount": None}, "'dividend amount' of 2021-01-19T00:00:00 is null"),
        ({"dividend_amount": "None"}, "dividend amount is 'None', not a decimal number"),
        ({"adjusted_close": "soon"}, "adjusted close is 'soon', not a decimal number"),
    ],
)
def test_an_adjusted_row_that_says_nothing_usable_of_actions_is_refused(changed, words):
    assert words in refused(daily({"2021-01-19": adjusted(**changed)}))


@pytest.mark.parametrize("missing", ["7. dividend amount", "8. split coefficient", "5. adjusted close"])
def test_adjusted_rows_without_one_of_their_fields_are_refused(missing):
    rows = {"2021-01-19": {key: value for key, value in ADJUSTED_ROW.items() if key != missing}}
    assert f"the adjusted rows have no {missing[3:]!r}" in refused(daily(rows))


def test_a_feed_of_splits_is_read_from_json_and_csv():
    due = [("2014-06-09", "split", 7.0), ("2020-08-31", "split", 4.0)]
    parsed = read(
        feed(
            {"effective_date": "2020-08-31", "split_factor": "4.0000"},
            {"effective_date": "2014-06-09", "split_factor": "7.0000"},
        )
    )
    assert listed(parsed) == due
    assert (len(RawBars.validate(parsed.bars)), parsed.basis, parsed.adjusted_as_of) == (0, Basis.RAW, None)
    assert listed(read(b"effective_date,split_factor\r\n2020-08-31,4.0\r\n2014-06-09,7.0\r\n")) == due


def test_a_feed_of_dividends_is_read_and_unknown_other_dates_do_not_matter():
    rows = {"declaration_date": "None", "record_date": None, "payment_date": "None"}
    assert listed(read(feed({"ex_dividend_date": "2021-02-05", "amount": "0.205", **rows}))) == [
        ("2021-02-05", "dividend", 0.205)
    ]
    header = b"ex_dividend_date,declaration_date,record_date,payment_date,amount\n"
    body = header + b"2021-02-05,None,,None,0.205\n2021-02-05,None,None,None,1\n"
    assert listed(read(body)) == [("2021-02-05", "dividend", 0.205), ("2021-02-05", "dividend", 1.0)]


def test_a_feed_without_rows_says_that_there_are_no_actions():
    for body in (feed(), b"effective_date,split_factor\n"):
        assert listed(read(body)) == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (feed({"effective_date": "2020-08-31", "split_factor": "None"}), "the split is 'None'"),
        (feed({"effective_date": "2020-08-31", "split_factor": "0"}), "a split of 0.0 cannot be"),
        (feed({"effective_date": "2020-08-31", "split_factor": None}), "a split of nan cannot be"),
        (feed({"effective_date": "2020-08-31", "split_factor": 4}), "the split is 4, not a string"),
        (feed({"effective_date": "None", "split_factor": "4"}), "'None' is not a date"),
        (feed({"effective_date": None, "split_factor": "4"}), "None is not a date"),
        (feed({"ex_dividend_date": "2021-02-05", "amount": ""}), "a dividend of nan cannot be"),
        (feed({"ex_dividend_date": "2021-02-05"}), "neither splits nor dividends"),
        (feed({"effective_date": "2020-08-31", "amount": "1"}), "neither splits nor dividends"),
        (feed(5), "no array of objects"),
        (feed(symbol="MSFT"), "the body is for 'MSFT', not for 'AAPL'"),
        (feed(symbol=None), "the body is for None, not for 'AAPL'"),
        (b'{"symbol": "AAPL", "data": {}}', "no array of objects"),
    ],
)
def test_a_feed_with_anything_that_is_no_action_is_refused(body, words):
    assert words in refused(body)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (HEADER[:-2], "the last line is cut"),
        (HEADER + b"2021-01-19,1,2,1,2,5", "the last line is cut"),
        (HEADER + b"2021-01-19,1,2,1,2\r\n", "line 2 has 5 fields, not 6"),
        (HEADER + b"\r\n2021-01-19,1,2,1,2,5\r\n", "line 2 has 1 fields, not 6"),
        (HEADER + b'"2021-01-19",1,2,1,2,5\r\n', "is not a date"),
        (HEADER + b"19/01/2021,1,2,1,2,5\r\n", "is not a date"),
        (HEADER + b"2021-01-19,1,2,1,2,5\r\r\n", "volume is '5\\r'"),
        (HEADER.replace(b"open,high", b"high,open"), "not Alpha Vantage's CSV"),
        (HEADER.replace(b"timestamp", b"time"), "not Alpha Vantage's CSV"),
        (b"2021-01-19,1,2,1,2,5\n", "not Alpha Vantage's CSV"),
    ],
)
def test_a_damaged_csv_is_refused(body, words):
    assert words in refused(body)


def test_a_weekly_csv_looks_like_a_daily_one_and_is_told_by_its_url():
    body = HEADER + b"2021-01-22,1,2,1,2,5\r\n2021-01-15,1,2,1,2,5\r\n"
    url = "https://vendor.test/query?function=TIME_SERIES_WEEKLY&symbol=AAPL&datatype=csv&apikey=REDACTED"
    assert "not an answer to TIME_SERIES_WEEKLY" in refused(body, url=url)
    assert len(read(body, url=url.replace("WEEKLY", "DAILY")).bars) == 2


def test_a_csv_is_held_against_the_symbol_its_url_asked_for():
    body, url = HEADER + b"2021-01-22,1,2,1,2,5\r\n", "https://vendor.test/query?function=TIME_SERIES_DAILY&symbol="
    assert refused(body, url=url + "MSFT") == "AAPL: the body is for 'MSFT', not for 'AAPL'"
    assert len(read(body, url=url + "aapl").bars) == 1


def test_a_csv_of_the_header_alone_has_no_bars():
    assert len(RawBars.validate(read(HEADER).bars)) == 0
    assert len(RawBars.validate(read(daily({})).bars)) == 0
