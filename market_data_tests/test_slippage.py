"""What executions cost beside the canonical prices: the figures, which bars they come from, and when they change."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data.report.slippage import by_session, measured, slippage_bp, slippage_dollars
from market_data.warehouse.slippage import BENCHMARKS, read_benchmarks
from market_data_tests.bars import naive
from market_data_tests.executions import DAY, Books, as_jsonl, execution, opened_books
from market_data_tests.stored_prices import put_action, put_bar

BEFORE = "2026-01-16"
"""The session before `DAY`, over a weekend and a holiday."""


@pytest.fixture
def desk() -> Iterator[Books]:
    with opened_books() as books:
        yield books


def put_minutes(desk: Books, day: str, start: str, *closes: float, **fields: Any) -> None:
    """Minutes from `start` (UTC) on: each close 100 shares more than the one before, high and low a dollar off."""
    for number, close in enumerate(closes):
        row = {
            "symbol": "AAPL",
            "datetime": datetime.fromisoformat(f"{day}T{start}:00") + timedelta(minutes=number),
            "session_date": day,
            "interval": "1m",
            "open": close,
            "high": close + 1,
            "low": close - 1,
            "close": close,
            "volume": 100.0 * (number + 1),
            "basis": "raw",
            "source_provider": "polygon",
            "raw_hash": "0" * 64,
            "pulled_at": datetime.fromisoformat(f"{day}T23:00:00"),
        } | fields
        marks = ", ".join("?" for _ in row)
        desk.connection.execute(
            f"INSERT OR REPLACE INTO price_history_intraday ({', '.join(row)}) VALUES ({marks})",
            list(row.values()),
        )


def put_day(desk: Books, day: str, **fields: Any) -> None:
    desk.connection.execute("DELETE FROM price_history_daily WHERE date = ?", [day])
    put_bar(desk.connection, "AAPL", day, 10.0, **fields)


def slippage(desk: Books, order_id: str = "o1") -> dict[str, Any]:
    desk.measure()
    frame = desk.connection.execute("FROM execution_slippage WHERE order_id = ?", [order_id]).df()
    [row] = frame.to_dict("records")
    return row


ORDER = execution(
    price=10.2,
    quantity=200,
    fees=4.08,
    decision_price=10.0,
    decided_at=f"{DAY}T14:50:00Z",
    arrived_at=f"{DAY}T15:00:30Z",
    executed_at=f"{DAY}T15:02:10Z",
)


def test_a_buy_is_measured_beside_all_six_benchmarks(desk: Books) -> None:
    put_day(desk, BEFORE, close=9.9)
    put_day(desk, DAY, close=10.4, high=10.6, low=9.8, vwap=10.1)
    put_minutes(desk, DAY, "14:59", 10.05, 10.1, 10.2, 10.3, 11.0)
    desk.take("a.jsonl", as_jsonl(ORDER))

    row = slippage(desk)

    assert row["reason"] == ""
    assert row["benchmarks"] == 6
    assert {name: row[f"{name}_price"] for name in BENCHMARKS} == pytest.approx(
        {
            "decision": 10.0,
            "arrival": 10.05,  # the minute 14:59, the last that was over at 15:00:30
            "previous_close": 9.9,
            "close": 10.4,
            "interval_vwap": (10.1 * 200 + 10.2 * 300 + 10.3 * 400) / 900,  # minutes 15:00, 15:01 and 15:02
            "day_vwap": 10.1,
        },
        abs=1e-6,
    )
    assert str(row["arrival_minute"]) == f"{DAY} 14:59:00"
    assert (row["interval_minutes"], row["day_vwap_kind"]) == (3, "vwap")
    assert row["decision_bp"] == pytest.approx(200.0)
    assert row["decision_dollars"] == pytest.approx(40.0)
    assert row["decision_all_in_dollars"] == pytest.approx(44.08)
    assert row["decision_all_in_bp"] == pytest.approx(44.08 / 2000 * 1e4)
    assert row["close_bp"] == pytest.approx((10.2 - 10.4) / 10.4 * 1e4, abs=1e-5)
    assert (row["notional"], row["fees_bp"]) == pytest.approx((2040.0, 20.0))


def test_a_sale_below_the_benchmark_costs_and_one_above_gains(desk: Books) -> None:
    put_day(desk, DAY, close=10.0)
    desk.take("a.jsonl", as_jsonl(execution(side="sell", price=9.9), execution("o2", side="S", price=10.1)))

    assert slippage(desk)["close_bp"] == pytest.approx(100.0)
    assert slippage(desk, "o2")["close_dollars"] == pytest.approx(-10.0)


def test_without_fees_the_all_in_figures_are_not_known(desk: Books) -> None:
    put_day(desk, DAY, close=10.0)
    desk.take("a.jsonl", as_jsonl(execution()))

    row = slippage(desk)

    assert row["close_bp"] == pytest.approx(500.0)
    assert np.isnan(row["close_all_in_bp"])
    assert np.isnan(row["fees_bp"])


def test_an_order_of_a_session_that_is_not_stored_says_so_and_is_filled_once_it_is(desk: Books) -> None:
    desk.take("a.jsonl", as_jsonl(execution(arrived_at=f"{DAY}T14:59:00Z")))
    row = slippage(desk)
    assert row["benchmarks"] == 0
    assert row["reason"] == (
        "decision: decision_price is not told; arrival: no final minutes of 2026-01-20 are held; "
        "previous_close: session 2026-01-16 is not stored; close: session 2026-01-20 is not stored; "
        "interval_vwap: no final minutes from arrival to execution are held; "
        "day_vwap: session 2026-01-20 is not stored"
    )

    put_day(desk, DAY, close=10.0, vwap=None, high=12.0, low=9.0)
    desk.now += timedelta(hours=1)
    row = slippage(desk)

    assert row["close_price"] == 10.0
    assert row["day_vwap_price"] == pytest.approx((12 + 9 + 10) / 3)
    assert (row["day_vwap_kind"], row["benchmarks"]) == ("typical", 2)
    assert str(row["computed_at"]) == "2026-01-21 02:00:00"


def test_what_did_not_change_is_not_written(desk: Books) -> None:
    put_day(desk, DAY, close=10.0)
    desk.take("a.jsonl", as_jsonl(execution(), execution("o2", symbol="MSFT")))
    first = desk.measure()
    desk.now += timedelta(hours=1)
    again = desk.measure()
    put_day(desk, DAY, close=10.1)
    changed = desk.measure()

    assert [(one.rows.inserted, one.rows.updated, one.rows.unchanged) for one in (first, again, changed)] == [
        (2, 0, 0),
        (0, 0, 2),
        (0, 1, 1),
    ]
    assert desk.rows("SELECT order_id, hour(computed_at) FROM execution_slippage ORDER BY 1") == [("o1", 2), ("o2", 1)]
    assert (first.orders, first.without, first.means["close"]) == (2, 1, pytest.approx(500.0))


def test_provisional_minutes_and_minutes_still_running_are_no_benchmark(desk: Books) -> None:
    put_minutes(desk, DAY, "14:58", 10.0)
    put_minutes(desk, DAY, "14:59", 11.0, provisional=True)
    put_minutes(desk, DAY, "15:00", 12.0)
    desk.take("a.jsonl", as_jsonl(ORDER))

    row = slippage(desk)

    assert row["arrival_price"] == 10.0
    assert (row["interval_vwap_price"], row["interval_minutes"]) == (12.0, 1)


def test_an_order_that_arrives_before_the_first_minute_has_no_arrival_price(desk: Books) -> None:
    put_minutes(desk, DAY, "15:01", 10.0)
    desk.take("a.jsonl", as_jsonl(ORDER))

    row = slippage(desk)

    assert np.isnan(row["arrival_price"])
    assert "arrival: no final minute was over when it arrived;" in row["reason"]


@pytest.mark.parametrize(("interval", "price"), [("5m", 10.0), ("1h", 9.0)])
def test_a_coarser_bar_counts_once_it_is_over(desk: Books, interval: str, price: float) -> None:
    put_minutes(desk, DAY, "13:55", 9.0, interval=interval)
    put_minutes(desk, DAY, "14:55", 10.0, interval=interval)
    desk.take("a.jsonl", as_jsonl(ORDER))

    assert slippage(desk)["arrival_price"] == price


def test_an_order_that_is_filled_at_the_instant_of_arrival_has_the_minute_of_that_instant(desk: Books) -> None:
    put_minutes(desk, DAY, "14:59", 10.0, 11.0, 12.0)
    instant = {"arrived_at": f"{DAY}T15:00:00Z", "executed_at": f"{DAY}T15:00:00Z"}
    desk.take("a.jsonl", as_jsonl(execution(**instant)))

    row = slippage(desk)

    assert (row["arrival_price"], row["interval_vwap_price"], row["interval_minutes"]) == (10.0, 11.0, 1)


def test_a_split_since_the_decision_is_divided_out_of_what_is_from_before(desk: Books) -> None:
    put_day(desk, BEFORE, close=40.0)
    put_day(desk, DAY, close=10.4)
    put_minutes(desk, BEFORE, "20:58", 40.4)
    put_action(desk.connection, "AAPL", DAY, "split", 4.0)
    put_action(desk.connection, "AAPL", DAY, "dividend", 0.5)
    decided = {"decided_at": f"{BEFORE}T20:00:00Z", "arrived_at": f"{BEFORE}T20:59:30Z", "decision_price": 41.0}
    desk.take("a.jsonl", as_jsonl(execution(**decided)))

    row = slippage(desk)

    assert (row["decision_price"], row["previous_close_price"], row["arrival_price"]) == (10.25, 10.0, 10.1)
    assert row["close_price"] == 10.4
    assert row["reason"] == ("interval_vwap: it arrived on 2026-01-16, not on the session of the execution")


def test_a_decision_of_unknown_time_is_refused_where_a_split_falls_on_the_session(desk: Books) -> None:
    put_action(desk.connection, "AAPL", DAY, "split", 4.0)
    orders = [execution(decision_price=40.0), execution("o2", decision_price=10.4, decided_at=f"{DAY}T14:40:00Z")]
    desk.take("a.jsonl", as_jsonl(*orders))

    row = slippage(desk)

    assert np.isnan(row["decision_bp"])
    assert row["reason"].startswith("decision: a split on 2026-01-20 lies before or after it; tell decided_at;")
    assert slippage(desk, "o2")["decision_price"] == 10.4


def test_a_bar_that_is_not_raw_is_no_benchmark_unless_it_is_adjusted_up_to_its_own_session(desk: Books) -> None:
    put_day(desk, BEFORE, basis="split", adjusted_as_of=naive(day="2026-01-30"), close=9.0)
    put_day(desk, DAY, basis="split", adjusted_as_of=naive(23, day=DAY), close=10.0)
    desk.take("a.jsonl", as_jsonl(execution()))

    row = slippage(desk)

    assert row["close_price"] == 10.0
    assert "previous_close: the bar of 2026-01-16 is not raw" in row["reason"]


def test_the_sessions_are_told_newest_first_with_means_weighted_by_dollars(desk: Books) -> None:
    put_day(desk, DAY, close=10.0)
    orders = [execution(price=10.1, quantity=300), execution("o2", price=10.2), execution("o3", symbol="MSFT")]
    desk.take("a.jsonl", as_jsonl(*orders, execution("o4", executed_at=f"{BEFORE}T15:00:00Z")))
    desk.measure()

    newest, oldest = by_session(desk.connection)

    assert (newest["session"], newest["orders"], oldest["session"]) == (DAY, 3, BEFORE)
    weighted = (100 * 3030 + 200 * 1020) / (3030 + 1020)
    assert newest["close_bp"] == pytest.approx(weighted, abs=0.01)
    assert newest["decision_bp"] is None


PRICES = st.floats(0.01, 10_000)


@settings(max_examples=50)
@given(PRICES, PRICES, st.floats(1, 1e6), st.sampled_from([1.0, -1.0]))
def test_a_buy_and_a_sale_at_the_same_price_cost_the_opposite_and_dollars_agree_with_basis_points(
    price: float, benchmark: float, quantity: float, sign: float
) -> None:
    given_ = (np.array([sign]), np.array([price]), np.array([benchmark]))
    bp = slippage_bp(*given_)
    dollars = slippage_dollars(*given_, np.array([quantity]))

    assert slippage_bp(-given_[0], *given_[1:]) == pytest.approx(-bp)
    assert dollars == pytest.approx(bp / 1e4 * benchmark * quantity, rel=1e-9, abs=1e-6)
    assert (bp[0] > 0) == (sign * (price - benchmark) > 0)


def test_an_empty_table_of_executions_measures_nothing(desk: Books) -> None:
    done = desk.measure()

    assert (done.orders, done.means, done.fees_bp) == (0, {}, None)
    assert measured(read_benchmarks(desk.connection)).empty
