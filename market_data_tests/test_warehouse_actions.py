"""What providers tell of corporate actions, kept in the database with its past."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime

import duckdb
import numpy as np
import pandas as pd
import pytest

from market_data.corporate_actions import Told
from market_data.schemas import CorporateActions
from market_data.warehouse.actions import read_actions, read_told, record_actions, record_actions_for_all
from market_data.warehouse.store import transaction
from market_data_tests.bars import actions, at, naive, new_database, payload, rows

SPLITS = Told("split", date(2021, 1, 19), date(2026, 1, 16))
DIVIDENDS = Told("dividend", date(2021, 1, 19), date(2026, 1, 16))
LISTED = (
    "SELECT date::VARCHAR, kind, value, source_provider, also_told_by, known_at FROM corporate_actions ORDER BY ALL"
)
PAST = "SELECT date::VARCHAR, kind, value, known_at, replaced_at FROM corporate_action_revisions ORDER BY ALL"


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with new_database().writing() as opened:
        yield opened


def record(
    connection: duckdb.DuckDBPyConnection,
    provider: str,
    day: str,
    *told_of: tuple[str, str, float],
    told: tuple[Told, ...] = (SPLITS,),
    as_of: datetime | None = None,
    symbol: str = "AAPL",
) -> bool:
    stored = payload(symbol, provider=provider, fetched=at(day=day), feed="splits")
    with transaction(connection):
        return record_actions(connection, symbol, stored, actions(*told_of), told, adjusted_as_of=as_of)


def test_an_action_is_kept_once_with_who_tells_it_and_since_when(connection):
    assert record(connection, "yahoo", "2026-01-20", ("2024-06-10", "split", 10.0))
    assert record(connection, "polygon", "2026-01-22", ("2024-06-10", "split", 10.0))
    assert rows(connection, LISTED) == [
        ("2024-06-10", "split", 10.0, "polygon", "yahoo", naive(day="2026-01-20")),
    ]
    assert rows(connection, PAST) == []
    before = rows(connection, "SELECT * FROM corporate_actions")
    assert not record(connection, "polygon", "2026-01-22", ("2024-06-10", "split", 10.0)), "read again"
    assert rows(connection, "SELECT * FROM corporate_actions") == before


def test_a_changed_action_leaves_what_was_known_before(connection):
    record(connection, "yahoo", "2026-01-20", ("2024-06-10", "split", 9.0))
    record(connection, "polygon", "2026-01-22", ("2024-06-10", "split", 10.0))
    assert rows(connection, LISTED) == [("2024-06-10", "split", 10.0, "polygon", "", naive(day="2026-01-22"))]
    assert rows(connection, PAST) == [
        ("2024-06-10", "split", 9.0, naive(day="2026-01-20"), naive(day="2026-01-22")),
    ]
    assert rows(connection, "SELECT other_provider, other_value FROM action_conflicts") == [("yahoo", 9.0)]
    for day, values in (("2026-01-19", []), ("2026-01-21", [9.0]), ("2026-01-22", [10.0])):
        known = read_actions(connection, ["AAPL"], at=at(day=day))["AAPL"]
        assert known["value"].tolist() == values


def test_what_a_vendor_tells_no_more_is_withdrawn_within_its_span_only(connection):
    record(connection, "polygon", "2026-01-20", ("2019-02-01", "split", 3.0), ("2024-06-10", "split", 10.0))
    assert record(connection, "polygon", "2026-01-22")
    assert [row[0] for row in rows(connection, LISTED)] == ["2019-02-01"]
    assert rows(connection, PAST) == [
        ("2024-06-10", "split", 10.0, naive(day="2026-01-20"), naive(day="2026-01-22")),
    ]
    assert record(connection, "polygon", "2026-01-24", ("2024-06-10", "split", 10.0))
    assert rows(connection, LISTED)[-1][-1] == naive(day="2026-01-24")
    spans = [read_actions(connection, ["AAPL"], at=at(day=f"2026-01-{day}"))["AAPL"] for day in (21, 23, 25)]
    assert [len(known) for known in spans] == [2, 1, 2]


def test_a_dividend_is_not_withdrawn_by_an_answer_about_splits(connection):
    record(connection, "yahoo", "2026-01-20", ("2024-05-10", "dividend", 0.25), told=(SPLITS, DIVIDENDS))
    assert record(connection, "yahoo", "2026-01-22", told=(SPLITS,))
    assert [row[1] for row in rows(connection, LISTED)] == ["dividend"]


def test_an_older_answer_changes_nothing_of_what_a_newer_one_told(connection):
    record(connection, "polygon", "2026-01-22", ("2024-06-10", "split", 10.0))
    held = rows(connection, LISTED)
    record(connection, "polygon", "2026-01-20", ("2024-06-10", "split", 4.0), ("2022-06-06", "split", 20.0))
    assert rows(connection, LISTED) == held
    record(connection, "polygon", "2026-01-21")
    assert rows(connection, LISTED) == held


def test_a_yahoo_dividend_is_listed_as_declared_and_again_after_the_next_split(connection):
    both = (SPLITS, DIVIDENDS)
    record(connection, "yahoo", "2024-06-01", ("2024-05-10", "dividend", 1.25), told=both, as_of=at(day="2024-06-01"))
    later = (("2024-05-10", "dividend", 0.125), ("2024-06-10", "split", 10.0))
    record(connection, "yahoo", "2024-06-12", *later, told=both, as_of=at(day="2024-06-12"))
    assert [row[:3] for row in rows(connection, LISTED)] == [
        ("2024-05-10", "dividend", 1.25),
        ("2024-06-10", "split", 10.0),
    ]
    assert rows(connection, PAST) == []
    sent = rows(connection, "SELECT value, adjusted_as_of FROM reported_actions ORDER BY date")
    assert sent == [(0.125, naive(day="2024-06-12")), (10.0, None)]


def test_a_spinoff_among_splits_is_kept_as_one(connection):
    record(connection, "alpha_vantage", "2026-01-20", ("2021-11-04", "split", 1.046))
    assert [row[:3] for row in rows(connection, LISTED)] == [("2021-11-04", "spinoff", 1.046)]


def test_a_row_of_an_import_without_a_value_withdraws_one(connection):
    record(connection, "import", "2026-01-20", ("2024-06-10", "split", 10.0), told=())
    assert record(connection, "import", "2026-01-21", ("2024-06-10", "split", np.nan), told=())
    assert rows(connection, LISTED) == []
    assert len(rows(connection, PAST)) == 1


def test_an_answer_for_all_withdraws_conflicts_and_is_told_of_every_symbol(connection):
    record(connection, "yahoo", "2026-01-19", ("2022-06-06", "split", 20.0), symbol="AMZN")
    every = payload("*", provider="polygon", fetched=at(day="2026-01-20"), feed="splits")
    later = payload("*", provider="polygon", fetched=at(day="2026-01-22"), feed="splits")
    with transaction(connection):
        of = {"AAPL": actions(("2024-06-10", "split", 10.0))}
        assert record_actions_for_all(connection, every, of, [SPLITS]) == ["AAPL"]
    assert rows(connection, "SELECT symbol, message FROM action_conflicts") == [
        ("AMZN", "yahoo tells of a split of 20 on 2022-06-06, polygon tells of none")
    ]
    told = read_told(connection, ["AAPL", "AMZN"])
    assert told["AAPL"][["kind", "source_provider"]].values.tolist() == [["split", "polygon"]]
    assert told["AMZN"]["source_provider"].tolist() == ["yahoo", "polygon"]
    with transaction(connection):
        assert record_actions_for_all(connection, later, {}, [SPLITS]) == ["AAPL"]
        assert record_actions_for_all(connection, later, {}, [SPLITS]) == []
    assert rows(connection, "SELECT symbol FROM corporate_actions") == [("AMZN",)]


def test_read_frames_are_of_the_models_also_for_symbols_without_actions(connection):
    record(connection, "polygon", "2026-01-20", ("2024-06-10", "split", 10.0))
    for frame in read_actions(connection, ["AAPL", "MSFT"]).values():
        CorporateActions.validate(frame[["date", "kind", "value"]])
        assert frame["known_at"].dtype == np.dtype("datetime64[us]")
    assert read_actions(connection, ["MSFT"])["MSFT"].empty
    empty = read_told(connection, ["MSFT"])["MSFT"]
    assert list(empty) == ["kind", "source_provider", "first_date", "last_date", "pulled_at"]
    assert isinstance(empty, pd.DataFrame)
    assert empty.empty
