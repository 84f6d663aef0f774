from __future__ import annotations

import json
import logging

import pytest

from market_data.errors import BadPayload, UnknownSymbol
from market_data.providers.bodies import Answer
from market_data.providers.polygon import actions_by_ticker, parse
from market_data.records import Basis
from market_data.schemas import CorporateActions, RawBars, RawIntradayBars

SPLITS = "https://api.massive.com/v3/reference/splits?execution_date.gte=2024-06-01&limit=1000"
OF_AAPL = SPLITS + "&ticker=AAPL"


def split(day: object = "2020-08-31", to: object = 4, old: object = 1, **other: object) -> dict[str, object]:
    return {"execution_date": day, "split_from": old, "split_to": to, "ticker": "AAPL"} | other


def dividend(day: object = "2024-08-12", amount: object = 0.25, **other: object) -> dict[str, object]:
    row = {"cash_amount": amount, "currency": "USD", "dividend_type": "CD", "ex_dividend_date": day, "ticker": "AAPL"}
    return row | other


def body(*rows: dict[str, object], **other: object) -> bytes:
    return json.dumps({"status": "OK", "request_id": "1", "results": list(rows)} | other).encode()


def without(row: dict[str, object], *keys: str) -> dict[str, object]:
    return {key: value for key, value in row.items() if key not in keys}


def table(frame) -> list[tuple[str, str, float]]:
    CorporateActions.validate(frame)
    return [(str(day.date()), kind, value) for day, kind, value in frame.itertuples(index=False)]


def read(content: bytes, ticker: str = "AAPL", **other: object) -> list[tuple[str, str, float]]:
    parsed = parse(content, Answer(ticker, ticker, **other))
    assert (RawBars.validate(parsed.bars).empty, parsed.basis, parsed.adjusted_as_of) == (True, Basis.RAW, None)
    return table(parsed.actions)


def refused(content: bytes, **other: object) -> str:
    with pytest.raises(BadPayload, match=r"^AAPL: ") as caught:
        read(content, **other)
    return str(caught.value).removeprefix("AAPL: ")


def test_a_split_is_told_in_new_shares_for_an_old_one_and_a_reverse_one_is_below_one():
    rows = [split("2020-08-31", 4, 1), split("2005-02-28", 2, 1), split("2024-10-22", 1, 10), split("2023-01-02", 3, 2)]
    assert read(body(*rows)) == [
        ("2005-02-28", "split", 2.0),
        ("2020-08-31", "split", 4.0),
        ("2023-01-02", "split", 1.5),
        ("2024-10-22", "split", 0.1),
    ]


def test_a_ratio_of_version_2_is_old_shares_for_a_new_one_and_its_factors_are_exact():
    old = {"ticker": "AAPL", "exDate": "2014-06-09", "ratio": 0.142857}
    assert read(body(old | {"ratio": 8})) == [("2014-06-09", "split", 0.125)]
    assert read(body(old))[0][2] == pytest.approx(7, rel=1e-5)
    assert read(body(old | {"tofactor": 7, "forfactor": 1})) == [("2014-06-09", "split", 7.0)]
    assert "7.00001 for 1 by its ratio" in refused(body(old | {"tofactor": 1, "forfactor": 7}))


def test_dividends_of_both_versions_are_dollars_a_share():
    rows = [dividend(), {"ticker": "AAPL", "exDate": "2019-05-10T04:00:00.000Z", "amount": 0.77}]
    assert read(body(*rows)) == [("2019-05-10", "dividend", 0.77), ("2024-08-12", "dividend", 0.25)]


def test_what_the_vendor_repeats_or_lists_without_effect_is_taken_once_or_not_at_all():
    rows = [split(id="a"), split(id="b"), split("2018-03-16", 1, 1), dividend(), dividend(), dividend("2024-02-01", 0)]
    assert read(body(*rows)) == [("2020-08-31", "split", 4.0), ("2024-08-12", "dividend", 0.25)]


def test_two_dividends_of_a_day_are_both_kept_where_they_differ():
    rows = [dividend(), dividend(dividend_type="SC"), dividend(amount=1.5)]
    assert [row[2] for row in read(body(*rows))] == [0.25, 0.25, 1.5]


def test_only_the_rows_of_the_ticker_are_taken_from_a_body_of_several():
    content = body(split(), split("2024-06-10", 10, 1, ticker="NVDA"), dividend(ticker="NVDA"))
    assert read(content, "NVDA") == [("2024-06-10", "split", 10.0), ("2024-08-12", "dividend", 0.25)]
    assert read(content) == [("2020-08-31", "split", 4.0)]
    assert read(content, "MSFT") == []


def test_the_rows_of_one_other_ticker_are_refused_unless_all_tickers_were_asked_for():
    content = body(split(ticker="NVDA"))
    assert refused(content) == "the answer is of 'NVDA' where 'AAPL' was due"
    for url in (OF_AAPL, "https://api.polygon.io/v2/reference/splits/AAPL"):
        assert refused(content, url=url) == "the answer is of 'NVDA' where 'AAPL' was due"
    assert read(content, url=SPLITS) == []


def test_rows_that_name_no_ticker_belong_to_the_one_asked_for_only_where_it_was():
    unnamed = without(split(), "ticker")
    assert read(body(unnamed), url=OF_AAPL) == read(body(unnamed)) == [("2020-08-31", "split", 4.0)]
    assert refused(body(unnamed), url=SPLITS) == "a split or dividend does not name its ticker"
    assert refused(body(unnamed, split())) == "a split or dividend does not name its ticker"


def test_an_empty_reference_answer_says_that_nothing_happened():
    empty = body()
    assert read(empty) == read(empty, url=SPLITS) == read(empty, url=OF_AAPL) == []
    assert read(b'{"status":"OK","count":0}', url="https://api.polygon.io/v2/reference/splits/AAPL") == []
    with pytest.raises(UnknownSymbol, match="no bars"):
        read(empty, url="https://api.polygon.io/v2/aggs/ticker/AAPL/range/1/day/2024-01-02/2024-01-03")


def test_the_shape_tells_what_it_is_and_not_the_interval():
    parsed = parse(body(split()), Answer("AAPL", "AAPL", "1m"))
    assert RawIntradayBars.validate(parsed.bars).empty
    assert table(parsed.actions) == [("2020-08-31", "split", 4.0)]


def test_a_dividend_in_another_currency_is_left_out_and_the_log_tells_of_it(caplog):
    canadian = dividend(ticker="ENB", currency="CAD")
    caplog.set_level(logging.WARNING)
    parsed = parse(body(dividend(currency="cad"), dividend("2024-11-08", 0.26)), Answer("AAPL", "AAPL"))
    assert table(parsed.actions) == [("2024-11-08", "dividend", 0.26)]
    assert caplog.messages == ["AAPL: a dividend of 2024-08-12 is paid in CAD and left out"]
    caplog.clear()
    found = actions_by_ticker(body(dividend(), canadian), Answer("*", "*"))
    assert {ticker: table(frame) for ticker, frame in found.items()} == {"AAPL": [("2024-08-12", "dividend", 0.25)]}
    assert caplog.messages == ["ENB: a dividend of 2024-08-12 is paid in CAD and left out"]


@pytest.mark.parametrize("day", [None, 20200831, "2020-02-30", "31.08.2020", "2020-8-31", "1799-12-31", "", True])
def test_a_date_that_is_none_is_refused(day):
    assert refused(body(split(day)))
    assert refused(body(dividend(day)))


@pytest.mark.parametrize("value", [None, 0, -1, "4", True, 1e-300, 10**400, []])
def test_a_split_of_a_number_that_cannot_be_is_refused(value):
    assert refused(body(split(to=value)))
    assert refused(body(split(old=value)))
    assert refused(body({"ticker": "AAPL", "exDate": "2014-06-09", "ratio": value}))


@pytest.mark.parametrize("amount", [None, -0.25, "0.25", True, 10**400])
def test_a_dividend_of_an_amount_that_cannot_be_is_refused(amount):
    assert refused(body(dividend(amount=amount)))


def test_a_row_of_another_kind_among_actions_is_refused():
    assert refused(body(split(), {"t": 1731906000000, "o": 1}))
    assert refused(body(without(split(), "execution_date"), dividend()))
    assert refused(body(without(split(), "execution_date")))
    assert refused(body(split(ticker=7))) == "ticker is 7, not text"


def test_a_count_of_version_2_that_disagrees_means_a_cut_body():
    assert refused(body(split(), count=2)) == "1 rows came where count says 2: the body is cut"
    assert len(read(body(split(), count=1))) == 1


def test_actions_of_all_tickers_are_told_apart_and_each_is_ascending():
    rows = [split("2024-06-10", 10, ticker="NVDA"), split(), split("2005-02-28", 2), split(ticker="brk.b")]
    found = actions_by_ticker(body(*rows, split(ticker="CpS"), split(ticker="CPS", to=3)), Answer("*", "*", url=SPLITS))
    assert {ticker: table(frame) for ticker, frame in found.items()} == {
        "NVDA": [("2024-06-10", "split", 10.0)],
        "AAPL": [("2005-02-28", "split", 2.0), ("2020-08-31", "split", 4.0)],
        "BRK.B": [("2020-08-31", "split", 4.0)],
        "CpS": [("2020-08-31", "split", 4.0)],
        "CPS": [("2020-08-31", "split", 3.0)],
    }


def test_actions_of_all_tickers_want_a_feed_of_actions_whose_rows_name_their_tickers():
    answer = Answer("*", "*")
    assert actions_by_ticker(body(), answer) == {}
    with pytest.raises(BadPayload, match="does not name its ticker"):
        actions_by_ticker(body(without(split(), "ticker")), answer)
    with pytest.raises(BadPayload, match="a splits or dividends answer was due"):
        actions_by_ticker(body({"t": 1731906000000, "o": 1}), answer)
    with pytest.raises(UnknownSymbol, match="HTTP 404"):
        actions_by_ticker(b'{"status":"NOT_FOUND","message":"Data not found."}', Answer("*", "*", status=404))
