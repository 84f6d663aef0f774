"""Reading files of executions: what each column may hold, and that a bad line costs no other."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data.ingest.executions.file import FeedbackFileError, ParsedExecutions, parse_executions
from market_data.schemas import Executions
from market_data_tests.bars import naive
from market_data_tests.executions import DAY, NOW, UNIVERSE, as_csv, as_jsonl, execution


def parsed(body: bytes) -> ParsedExecutions:
    return parse_executions(body, universe=UNIVERSE, now=NOW)


def reason(**fields: Any) -> str:
    """Why a line with these fields is refused; the good line beside it is taken."""
    found = parsed(as_jsonl(execution("good"), execution(**{"order_id": "bad"} | fields)))
    assert list(found.executions["order_id"]) == ["good"]
    [reject] = found.bad
    assert reject.line == 2
    assert json.loads(reject.text)["executed_at"] == execution(**fields)["executed_at"]
    return reject.reason


FULL = execution(
    symbol="brk-b",
    side="S",
    decision_price="10.25",
    decided_at="2026-01-20T09:45:00-05:00",
    arrived_at="2026-01-20T14:50:00.250000+00:00",
    venue="XNAS",
    fees="-0.35",
    currency="usd",
    reported_at="2026-01-20T23:00:00Z",
    version="3",
)


@pytest.mark.parametrize("write", [as_csv, as_jsonl])
def test_every_column_is_read_alike_from_csv_and_json_lines(write: Any) -> None:
    found = parsed(write(FULL, execution("o2", side="BUY")))

    assert (found.bad, found.lines, found.ignored) == ((), 2, ())
    Executions.validate(found.executions)
    first, second = found.executions.to_dict("records")
    assert first == {
        "order_id": "o1",
        "symbol": "BRK.B",
        "side": "sell",
        "quantity": 100.0,
        "price": 10.5,
        "decision_price": 10.25,
        "decided_at": pd.Timestamp("2026-01-20T14:45Z"),
        "arrived_at": pd.Timestamp("2026-01-20T14:50:00.25Z"),
        "executed_at": pd.Timestamp("2026-01-20T15:00Z"),
        "session_date": pd.Timestamp(DAY),
        "venue": "XNAS",
        "fees": -0.35,
        "reported_at": pd.Timestamp("2026-01-20T23:00Z"),
        "version": 3,
    }
    assert (second["side"], second["symbol"]) == ("buy", "AAPL")
    assert all(pd.isna(second[name]) for name in ("decision_price", "decided_at", "venue", "fees", "version"))
    assert list(found.executions.index) == ([2, 3] if write is as_csv else [1, 2])


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"executed_at": f"{DAY}T15:00:00"}, "has no time zone; write it as in 2026-01-20T14:30:05Z"),
        ({"executed_at": f"{DAY}"}, "has no time zone"),
        ({"executed_at": 1768921200}, "executed_at: 1768921200 is no instant; write it as in"),
        ({"executed_at": "2026-01-21T01:00:01Z"}, "is later than now, 2026-01-21T01:00:00Z"),
        ({"reported_at": "2062-01-21T01:00:01Z"}, "reported_at: 2062-01-21T01:00:01Z is later than now"),
        ({"executed_at": "2026-01-19T15:00:00Z"}, "2026-01-19, a Monday in New York, is no XNYS session"),
        ({"executed_at": "0001-01-01T00:00:00+14:00"}, "is out of range"),
        ({"executed_at": "1950-01-03T15:00:00Z"}, "1950-01-03 is outside of the known calendar"),
        ({"arrived_at": f"{DAY}T15:00:00.000001Z"}, "executed_at is before arrived_at"),
        ({"decided_at": f"{DAY}T15:01:00Z"}, "executed_at is before decided_at"),
        ({"quantity": -100}, "quantity: -100 is not allowed; give shares above 0; the side tells which way"),
        ({"quantity": 0}, "quantity: 0 is not allowed"),
        ({"quantity": "1,000"}, "quantity: 1,000 is no plain number; write it as in 1234.5"),
        ({"price": float("nan")}, "price: NaN is no plain number"),
        ({"price": 0.0}, "price: 0 is not allowed; give dollars a share above 0"),
        ({"price": None}, "price: is missing"),
        ({"price": "1e400"}, "price: inf is not allowed"),
        ({"price": True}, "price: True is neither text nor a number"),
        ({"price": [10]}, "price: ['10'] is neither text nor a number"),
        ({"decision_price": "ten"}, "decision_price: ten is no plain number"),
        ({"side": "short"}, "side: short is not buy or sell"),
        ({"symbol": "AAPLE"}, "symbol: AAPLE is not in the universe (universe); close: AAPL"),
        ({"symbol": "$$"}, "symbol: '$$' is not a US ticker"),
        ({"currency": "EUR"}, "currency: EUR is not USD; prices of the store are dollars"),
        ({"version": "1.5"}, "version: 1.5 is no whole number from 0 on"),
        ({"order_id": "a\nb"}, "order_id: 'a\\nb' holds characters that cannot be shown"),
        ({"order_id": "x" * 129}, "is longer than 128 characters"),
        ({"venue": "\ud800"}, "venue: '\\ud800' holds characters that cannot be shown"),
    ],
)
def test_a_line_that_cannot_be_used_is_left_out_with_its_reason(fields: dict[str, Any], told: str) -> None:
    assert told in reason(**fields)


def test_everything_that_is_wrong_with_a_line_is_told_at_once() -> None:
    told = reason(side="x", quantity="many", price=-1, arrived_at=f"{DAY}T16:00:00Z")

    assert told.split("; ")[:2] == ["side: x is not buy or sell", "quantity: many is no plain number"]
    assert "price: -1 is not allowed" in told
    assert "executed_at is before arrived_at" in told
    assert told.count("quantity") == 1


def test_a_session_is_that_of_new_york_on_a_half_day_and_late_in_the_evening() -> None:
    body = as_jsonl(execution(executed_at="2026-01-21T00:59:00Z"), execution("o2", executed_at="2025-11-28T17:59:00Z"))

    days = parsed(body).executions["session_date"]

    assert [f"{day:%Y-%m-%d}" for day in days] == [DAY, "2025-11-28"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "is empty"),
        (b" \n\r\n", "is empty"),
        (b"\xff\xfe\x00", "is not UTF-8"),
        (b"[{}]\n", "is a JSON list; write one object a line"),
        (b"{oops\n", "no line is a JSON object"),
        (b"order_id,symbol,side\no1,AAPL,buy\n", "has no column quantity, price, executed_at; its columns are"),
        (b'{"order_id": "o1"}\n', "has no column symbol, side, quantity, price, executed_at"),
        (b"price,Price\n", "column price stands twice"),
        (b'order_id,"symbol\n', "the header cannot be read"),
    ],
)
def test_a_file_of_which_nothing_can_be_used_is_refused_as_a_whole(body: bytes, told: str) -> None:
    with pytest.raises(FeedbackFileError, match=r"fills\.csv") as caught:
        parse_executions(body, universe=UNIVERSE, now=NOW, name="fills.csv")

    assert told in str(caught.value)


def test_a_header_alone_is_a_day_without_executions() -> None:
    found = parsed(as_csv(execution()).splitlines(keepends=True)[0])

    assert (len(found.executions), found.bad, found.lines) == (0, (), 0)


def test_broken_lines_of_csv_cost_no_other_line() -> None:
    good = as_csv(execution(), execution("o2"), execution("o3"), execution("o4")).decode().splitlines()
    body = "\n".join([good[0], good[1], good[2] + ",x", '"' + good[3], "", good[4][:20]]) + "\n"

    found = parsed(body.encode())

    assert list(found.executions["order_id"]) == ["o1"]
    assert [(reject.line, reject.reason.split(";")[0].split(":")[0]) for reject in found.bad] == [
        (3, "has 7 fields beside 6 columns"),
        (4, "not a line of CSV"),
        (6, "has 5 fields beside 6 columns"),
    ]


def test_other_columns_are_ignored_and_named_once_and_their_case_and_a_mark_of_order_do_not_matter() -> None:
    body = b"\xef\xbb\xbf" + as_csv(execution(Trader="ann", algo="vwap")).replace(b"price", b" PRICE ")

    found = parsed(body)

    assert found.ignored == ("trader", "algo")
    assert list(found.executions["price"]) == [10.5]


def test_a_key_that_stands_twice_in_a_json_line_is_refused() -> None:
    line = json.dumps(execution())[:-1] + ', "Price": 11}'

    [reject] = parsed(as_jsonl(execution("o2")) + line.encode()).bad

    assert reject.reason == "key Price stands twice; keep one"


def test_a_line_said_again_is_told_and_two_that_differ_are_both_refused() -> None:
    fills = [execution("o2", quantity=60), execution("o2", quantity=40)]

    found = parsed(as_jsonl(execution(), *fills, execution(), execution("o3", version=1), execution("o3", version=2)))

    assert found.duplicates == {4: 1}
    assert [reject.line for reject in found.bad] == [2, 3]
    assert found.bad[0].reason == (
        "order o2 has other values in line 3; give one line an order, with its whole quantity and average price, "
        "or a version"
    )
    assert list(found.executions["version"].dropna()) == [1, 2]


MOMENTS = st.datetimes(naive(5), naive(23), timezones=st.just(UTC))
ORDERS = st.fixed_dictionaries(
    {
        "order_id": st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1, max_size=20),
        "symbol": st.sampled_from(["AAPL", "MSFT", "BRK.B"]),
        "side": st.sampled_from(["buy", "sell"]),
        "quantity": st.floats(0.001, 1e9),
        "price": st.floats(0.0001, 1e6),
        "executed_at": MOMENTS.map(datetime.isoformat),
        "decision_price": st.none() | st.floats(0.0001, 1e6),
        "arrived_at": st.none() | st.just("2026-01-20T04:59:59+00:00"),
        "fees": st.none() | st.floats(-1e6, 1e6),
        "version": st.none() | st.integers(0, 10**17),
    }
)


@settings(max_examples=25)
@given(st.lists(ORDERS, min_size=1, max_size=6, unique_by=lambda order: order["order_id"]), st.booleans())
def test_what_is_written_is_read_back_to_the_last_digit(orders: list[dict[str, Any]], csv: bool) -> None:
    found = parsed(as_csv(*orders) if csv else as_jsonl(*orders))

    assert found.bad == ()
    for order, row in zip(orders, found.executions.to_dict("records"), strict=True):
        read = {name: None if pd.isna(row[name]) else row[name] for name in order}
        read |= {name: read[name] and read[name].isoformat() for name in ("executed_at", "arrived_at")}
        assert read == order


@settings(max_examples=25)
@given(st.binary(max_size=300), st.integers(0, 400), st.integers(0, 60))
def test_damage_anywhere_is_a_bad_line_or_a_refused_file_and_never_another_error(
    damage: bytes, start: int, length: int
) -> None:
    body = as_jsonl(execution(), execution("o2"), execution("o3"))
    body = body[:start] + damage + body[start + length :]

    try:
        found = parsed(body)
    except FeedbackFileError:
        return
    Executions.validate(found.executions)
    assert len(found.executions) + len(found.bad) + len(found.duplicates) == found.lines


def test_now_itself_is_not_the_future() -> None:
    found = parse_executions(as_jsonl(execution()), universe=UNIVERSE, now=NOW - timedelta(hours=10))

    assert len(found.executions) == 1
