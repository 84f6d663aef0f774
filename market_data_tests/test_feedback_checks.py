"""The checks on executions and on what they cost: what passes, what is told, and with which rows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from market_data.report.checks import CheckResult
from market_data.report.execution_checks import EXECUTION_CHECKS, SLIPPAGE_CHECKS
from market_data_tests.executions import DAY, Books, as_jsonl, execution, opened_books
from market_data_tests.stored_prices import put_bar

CHECKS = {check.name: check for check in (*EXECUTION_CHECKS, *SLIPPAGE_CHECKS)}


@pytest.fixture
def desk() -> Iterator[Books]:
    with opened_books() as books:
        yield books


def checked(desk: Books, name: str) -> CheckResult:
    return CHECKS[name].function(desk.connection, desk.now)


def test_an_empty_store_passes_every_check_and_only_the_schema_is_blocking(desk: Books) -> None:
    assert {name: checked(desk, name).passed for name in CHECKS} == dict.fromkeys(CHECKS, True)
    assert [name for name, check in CHECKS.items() if check.blocking] == ["executions_schema"]


def test_rows_that_break_the_model_are_named_by_their_order(desk: Books) -> None:
    desk.take("a.jsonl", as_jsonl(execution(version=1), execution("o2", venue="XNAS", arrived_at=f"{DAY}T14:00:00Z")))
    assert checked(desk, "executions_schema").summary == "2 executions satisfy Executions"

    desk.change("UPDATE execution_feedback SET arrived_at = '2026-01-20 16:00', symbol = 'aapl' WHERE order_id = 'o2'")
    result = checked(desk, "executions_schema")

    assert not result.passed
    assert set(result.rows["order_id"]) == {"o2"}
    assert {"executed_at is before arrived_at"} <= set(result.rows["check"])


def test_a_bad_line_is_told_for_a_week_and_no_longer_than_its_order_is_wrong(desk: Books) -> None:
    desk.take("a.jsonl", as_jsonl(execution(), execution("o2", side="x"), execution("o3", side="x")))
    desk.now += timedelta(hours=1)
    desk.take("b.jsonl", as_jsonl(execution("o2"), execution(price=-1)))

    result = checked(desk, "executions_quarantine")

    assert [(row.source_file, row.line, row.order_id) for row in result.rows.itertuples()] == [
        ("b.jsonl", 2, "o1"),  # a correction that is bad is told though the order is held
        ("a.jsonl", 3, "o3"),
    ]
    assert result.summary == "2 lines or files of the last 7 days could not be used"
    desk.now += timedelta(days=7, minutes=1)
    assert checked(desk, "executions_quarantine").passed


def test_orders_wait_for_their_session_half_a_day_before_they_are_told(desk: Books) -> None:
    desk.take("a.jsonl", as_jsonl(execution(decision_price=10.0), execution("o2", symbol="MSFT")))
    assert checked(desk, "slippage_complete").summary == (
        "0 of 0 orders have a benchmark; 2 are of sessions not due yet"
    )

    desk.now += timedelta(hours=9)
    assert [row.reason for row in checked(desk, "slippage_complete").rows.itertuples()] == 2 * [
        "it is not measured yet"
    ]

    put_bar(desk.connection, "AAPL", DAY, 10.4)
    desk.measure()
    result = checked(desk, "slippage_complete")

    assert list(result.rows["order_id"]) == ["o2"]
    assert "close: session 2026-01-20 is not stored" in result.rows["reason"][0]
    assert (result.summary, result.measured) == ("1 of 2 orders have a benchmark", 0.5)


def test_a_gap_since_the_close_before_is_no_outlier_and_a_cost_beyond_the_limit_is(desk: Books) -> None:
    put_bar(desk.connection, "AAPL", "2026-01-16", 5.0)
    put_bar(desk.connection, "AAPL", DAY, 10.0)
    put_bar(desk.connection, "MSFT", DAY, 10.0)
    desk.take("a.jsonl", as_jsonl(execution(price=10.49), execution("o2", symbol="MSFT", side="sell", price=10.51)))
    desk.measure()

    result = checked(desk, "slippage_outliers")

    assert [(row.order_id, row.close_bp) for row in result.rows.itertuples()] == [("o2", pytest.approx(-510.0))]
