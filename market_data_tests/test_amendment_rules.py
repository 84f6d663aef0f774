"""What may be amended and undone, and what findings propose, decided from what is stored before anything is written."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest

from market_data.ingest.amend import amend_as_proposed
from market_data.ingest.amendment_rules import checked_amendment, checked_undo
from market_data.records import FetchRequest
from market_data.warehouse.amendments import Amendment, AmendmentError, apply_amendment
from market_data.warehouse.store import transaction
from market_data_tests.bars import DAYS, naive
from market_data_tests.stored import NOW, UNIVERSE, Store

DAY = date.fromisoformat(DAYS[1])


@pytest.fixture
def store() -> Iterator[Store]:
    with Store("AAPL", "MSFT").held_open() as store:
        yield store


def applied(store: Store, item: Amendment) -> str:
    request = FetchRequest(item.symbol, item.date, item.date, feed="amendments")
    stored = store.keep(item.symbol, item.body, fetched=item.at, provider="amendment", request=request)
    with store.writing() as connection, transaction(connection):
        apply_amendment(connection, stored, item)
    return stored.request_id


REFUSED: list[tuple[dict[str, float | None], str]] = [
    ({"price": 1.0}, "'price' is not a field that can be amended; they are open, high"),
    ({"symbol = 'X' --": 1.0}, "is not a field"),
    ({}, "AAPL 2021-01-20: nothing to change"),
    ({"close": 0.0}, "close 0 is not allowed; give a number above zero, or null"),
    ({"low": -1.0}, "low -1 is not allowed"),
    ({"volume": -1.0}, "volume -1 is not allowed; give a number of zero or more"),
    ({"close": float("nan")}, "close nan is not allowed"),
    ({"vwap": float("inf")}, "vwap inf is not allowed"),
    ({"close": 10.5}, "close is 10.5 already"),
    ({"vwap": None}, "vwap is null already"),
    ({"close": 11.5}, r"its close above high \(open 10, high 11, low 9, close 11.5\)"),
    ({"low": 10.2}, "its open below low"),
    ({"high": 8.0}, "above high"),
]


def test_values_that_are_not_right_are_refused(store: Store):
    with store.writing() as connection:
        for values, message in REFUSED:
            with pytest.raises(AmendmentError, match=message):
                checked_amendment(connection, "AAPL", DAY, values, reason="why", author="ann", at=NOW)


def changed(store: Store, hours: int = 0, **values: float | None) -> str:
    """Amend as `checked_amendment` allows; gives the id."""
    at = NOW + timedelta(hours=hours)
    with store.writing() as connection:
        return applied(store, checked_amendment(connection, "AAPL", DAY, values, reason="why", author="ann", at=at))


def taken_back(store: Store, amendment_id: str, hours: int) -> None:
    at = NOW + timedelta(hours=hours)
    with store.writing() as connection:
        applied(store, checked_undo(connection, amendment_id, reason="why", author="bob", at=at))


def bar(store: Store, *names: str) -> tuple[Any, ...]:
    [row] = store.rows(f"SELECT {', '.join(names)} FROM price_history_daily WHERE symbol = 'AAPL' AND date = ?", DAY)
    return row


def test_fields_that_are_wrong_only_apart_are_amended_together(store: Store):
    changed(store, close=11.5, high=11.6)
    assert bar(store, "open", "high", "low", "close") == (10, 11.6, 9, 11.5)


def test_one_field_can_be_undone_and_the_bar_keeps_the_amendment_of_the_others(store: Store):
    first = changed(store, close=10.75, volume=900)
    second = changed(store, 1, vwap=10.2)
    taken_back(store, f"{first}.close", 2)
    names = ("close", "volume", "vwap", "known_at", "amendment_id")
    assert bar(store, *names) == (10.5, 900, 10.2, naive(14, day="2026-02-01"), second)
    taken_back(store, second, 3)
    assert bar(store, *names) == (10.5, 900, None, naive(15, day="2026-02-01"), first)


def test_an_undo_is_refused_where_another_amendment_needs_it_and_possible_for_what_a_provider_sent(store: Store):
    store.execute("UPDATE price_history_daily SET high = 1100, close = 1050")
    first = changed(store, high=11.0, close=10.5)
    second = changed(store, 1, open=10.9)
    with pytest.raises(AmendmentError, match="the bar would have its close above high"):
        taken_back(store, f"{first}.close", 2)
    taken_back(store, second, 2)
    store.execute("UPDATE price_history_daily SET low = 5000")
    taken_back(store, first, 3)
    assert bar(store, "open", "high", "low", "close") == (10, 1100, 5000, 1050)


def test_nulls_are_values_too(store: Store):
    store.execute("UPDATE price_history_daily SET close = NULL")
    first = changed(store, close=10.25, high=None)
    assert bar(store, "high", "close") == (None, 10.25)
    taken_back(store, first, 1)
    assert bar(store, "high", "close") == (11, None)


def propose(store: Store, *rows: tuple[str, str, float | None, float | None]) -> None:
    """Findings of (rule, field, value, proposed) at the day."""
    with store.writing() as connection:
        for rule, field, value, proposed in rows:
            connection.execute(
                "INSERT INTO quality_findings (symbol, date, rule, severity, field, value, message, source_provider, "
                "raw_hash, job_id, found_at, proposed) VALUES ('AAPL', ?, ?, 'warning', ?, ?, ?, 'sandbox', 'x', "
                "'job', ?, ?)",
                [DAY, rule, field, value, f"{field} {value} is 100x", naive(), proposed],
            )


def proposed(store: Store, *fields: str, **given: Any) -> dict[str, tuple[float | None, float | None]]:
    done = amend_as_proposed(
        store.settings, UNIVERSE, symbol="AAPL", day=DAY, fields=fields, synthetic=True, clock=lambda: NOW,
        author="ann", **given,
    )  # fmt: skip
    assert done.amendment.reason
    return {change.field: (change.old, change.new) for change in done.amendment.changes}


def test_what_findings_propose_is_taken_for_the_prices_as_they_are_stored():
    store = Store()
    store.execute("UPDATE price_history_daily SET open = 1000, high = 1100, low = 900, close = 1050, price_factor = 1")
    held = (("open", 1000.0), ("high", 1100.0), ("low", 900.0), ("close", 1050.0))
    due = [("unit_error", field, value, value / 100) for field, value in held]
    propose(store, *due, ("unit_error", "close", 77.0, 0.77), ("missed_split", "close", 1050.0, 2.0))
    with pytest.raises(AmendmentError, match="no finding proposes a value for vwap as it is stored"):
        proposed(store, "vwap")
    with pytest.raises(AmendmentError, match="its open above high"):
        proposed(store, "high", dry_run=True)
    assert proposed(store) == {"open": (1000, 10), "high": (1100, 11), "low": (900, 9), "close": (1050, 10.5)}
    assert store.rows("SELECT DISTINCT reason FROM amendments") == [
        ("close 1050.0 is 100x; high 1100.0 is 100x; low 900.0 is 100x; open 1000.0 is 100x",)
    ]


def test_a_proposal_about_adjusted_prices_is_turned_to_the_basis_of_the_bar():
    store = Store()
    store.execute("UPDATE price_history_daily SET price_factor = 4, close = 0.1064, low = NULL")
    propose(store, ("unit_error", "close", 0.0266, 2.66))
    assert proposed(store, "close", reason="told") == {"close": (0.1064, 10.64)}


def test_two_proposals_that_differ_are_not_chosen_from():
    store = Store()
    propose(store, ("unit_error", "close", 10.5, 0.105), ("unit_error", "close", 10.5, 1050.0))
    with pytest.raises(AmendmentError, match=r"0\.105 and 1050 are proposed for close; give --value"):
        proposed(store)
