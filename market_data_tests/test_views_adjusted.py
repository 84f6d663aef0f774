"""Views and macros of adjusted prices and of what was known: against hand-made figures and against `adjustments`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

from market_data import load
from market_data.adjustments import adjust
from market_data.records import Basis
from market_data.sessions import sessions_between
from market_data.settings import Settings
from market_data_tests.bars import naive, new_database, rows
from market_data_tests.stored_prices import KNOWN, put_action, put_bar, put_bars, put_told

LATER = naive(day="2021-06-01")


@pytest.fixture
def store() -> Iterator[duckdb.DuckDBPyConnection]:
    with new_database().writing() as connection:
        yield connection


def adjusted(store: duckdb.DuckDBPyConnection, view: str, columns: str = "close") -> list[tuple]:
    return rows(store, f"SELECT {columns} FROM {view} ORDER BY symbol, date")


def test_a_split_a_spinoff_and_a_dividend_give_the_figures_worked_out_by_hand(store):
    put_bars(store, "AAPL", {"2021-01-19": 100.0, "2021-01-20": 120.0, "2021-01-21": 60.0, "2021-01-22": 50.0})
    put_action(store, "AAPL", "2021-01-21", "split", 2.0)
    put_action(store, "AAPL", "2021-01-21", "dividend", 3.0)
    put_action(store, "AAPL", "2021-01-22", "spinoff", 1.25)

    assert adjusted(store, "price_history_daily_split_adjusted", "close, volume, split_factor, dividend_factor") == [
        (pytest.approx(40.0), 2000.0, 2.5, 1.0),
        (pytest.approx(48.0), 2000.0, 2.5, 1.0),
        (pytest.approx(48.0), 1000.0, 1.25, 1.0),
        (50.0, 1000.0, 1.0, 1.0),
    ]
    # The dividend of 3 dollars a new share is 6 on the close of 120 before it.
    assert adjusted(store, "price_history_daily_total_return", "close, vwap, volume, trade_count, dividend_factor") == [
        (pytest.approx(38.0), pytest.approx(38.0), 2000.0, 7.0, pytest.approx(0.95)),
        (pytest.approx(45.6), pytest.approx(45.6), 2000.0, 7.0, pytest.approx(0.95)),
        (pytest.approx(48.0), pytest.approx(48.0), 1000.0, 7.0, 1.0),
        (50.0, 50.0, 1000.0, 7.0, 1.0),
    ]


def test_the_views_have_the_same_columns_and_work_for_any_client_that_opens_the_file():
    database = new_database()
    with database.writing() as connection:
        put_bar(connection, "AAPL", "2021-01-19", 10.0)
    expected = "symbol date open high low close volume vwap trade_count split_factor dividend_factor basis refusal"
    with duckdb.connect(str(database.path), read_only=True) as plain:
        for source in (
            "price_history_daily_split_adjusted",
            "price_history_daily_total_return",
            "split_adjusted_as_of(TIMESTAMP '2021-12-31')",
            "total_return_as_of(TIMESTAMP '2021-12-31')",
        ):
            relation = plain.execute(f"FROM {source}")
            assert [column[0] for column in relation.description] == expected.split()
            assert relation.fetchall()[0][:6] == ("AAPL", date(2021, 1, 19), 10.0, 10.0, 10.0, 10.0)
        held = [column[0] for column in plain.execute("FROM price_history_daily").description]
        assert [column[0] for column in plain.execute("FROM bars_as_of(now()::TIMESTAMP)").description] == held


def test_an_action_counts_from_its_ex_date_on_and_not_before(store):
    put_bar(store, "AAPL", "2021-01-19", 100.0)
    put_action(store, "AAPL", "2021-07-01", "split", 4.0)
    put_action(store, "AAPL", "2999-01-04", "split", 10.0)

    for day, close in (("2021-06-30", 100.0), ("2021-07-01", 25.0)):
        assert adjusted(store, f"split_adjusted_as_of(TIMESTAMP '{day} 23:59:59')") == [(close,)]
        assert adjusted(store, f"total_return_as_of(TIMESTAMP '{day} 23:59:59')") == [(close,)]
    assert adjusted(store, "price_history_daily_total_return") == [(25.0,)]


def test_what_was_adjusted_already_is_adjusted_only_for_what_came_after(store):
    as_of = naive(0, 15, day="2021-03-02")  # Still the first of March in New York.
    put_bar(store, "AAPL", "2021-01-19", 50.0, basis="split", adjusted_as_of=as_of)
    put_bar(store, "MSFT", "2021-01-19", 49.0, basis="split_dividend", adjusted_as_of=as_of)
    for symbol in ("AAPL", "MSFT"):
        put_bar(store, symbol, "2021-03-04", 40.0)
        put_action(store, symbol, "2021-02-01", "split", 2.0)
        put_action(store, symbol, "2021-02-02", "dividend", 1.0)
        put_action(store, symbol, "2021-03-02", "split", 5.0)
        put_action(store, symbol, "2021-03-05", "dividend", 4.0)

    split, _, none, _ = adjusted(store, "price_history_daily_split_adjusted", "close, basis, refusal")
    assert split == (10.0, "split", None)
    assert none[:2] == (None, "split_dividend")
    assert "adjusted for dividends too, as of 2021-03-01" in none[2]
    # AAPL's dividend of a dollar, before the split by 5 but after the one by 2, on its raw close of 100: as 2 to 100.
    assert adjusted(store, "price_history_daily_total_return", "symbol, close, basis") == [
        ("AAPL", pytest.approx(50 / 5 * (1 - 1 * 2 / 100) * (1 - 4 / 40)), "split"),
        ("AAPL", pytest.approx(36.0), "raw"),
        ("MSFT", pytest.approx(49 / 5 * (1 - 4 / 40)), "split_dividend"),
        ("MSFT", pytest.approx(36.0), "raw"),
    ]


def test_a_dividend_whose_close_before_cannot_be_had_raw_is_named_and_gives_no_price(store):
    put_bar(store, "AAPL", "2021-01-19", 100.0)
    put_bar(store, "AAPL", "2021-01-20", 90.0, basis="split_dividend", adjusted_as_of=naive(22, day="2021-02-26"))
    put_action(store, "AAPL", "2021-01-21", "dividend", 1.0)
    put_bar(store, "MSFT", "2021-01-19", 10.0)
    put_action(store, "MSFT", "2021-01-20", "dividend", 10.0)

    found = adjusted(store, "price_history_daily_total_return", "close, volume, refusal")
    assert [row[:2] for row in found] == [(None, None), (90.0, 1000.0), (None, None)]
    assert "dividend of 2021-01-21 is not known" in found[0][2]
    assert found[1][2] is None
    assert "dividend of 2021-01-20" in found[2][2]


def test_bars_and_actions_are_told_as_they_were_known_at_each_instant(store):
    put_bar(store, "AAPL", "2021-01-19", 9.0, replaced_at=LATER)
    put_bar(store, "AAPL", "2021-01-19", 10.0, known_at=LATER)
    put_bar(store, "AAPL", "2021-01-20", 11.0, known_at=LATER)
    put_action(store, "AAPL", "2021-01-20", "split", 3.0, replaced_at=LATER)
    put_action(store, "AAPL", "2021-01-20", "split", 2.0, known_at=LATER)
    put_action(store, "AAPL", "2021-01-21", "dividend", 1.0, replaced_at=LATER)

    def known(instant: str) -> list[tuple]:
        return [
            *rows(store, f"SELECT close FROM bars_as_of(TIMESTAMP '{instant}') ORDER BY date"),
            *rows(store, f"SELECT kind, value FROM actions_as_of(TIMESTAMP '{instant}') ORDER BY date"),
        ]

    assert known("2021-03-01 11:59:59") == []
    assert known("2021-03-01 12:00:00") == [(9.0,), ("split", 3.0), ("dividend", 1.0)]
    assert known("2021-05-31 23:59:59") == [(9.0,), ("split", 3.0), ("dividend", 1.0)]
    assert known("2021-06-01 00:00:00") == [(10.0,), (11.0,), ("split", 2.0)]
    assert adjusted(store, "total_return_as_of(TIMESTAMP '2021-05-31')") == [(pytest.approx(9 / 3 * (1 - 1 * 3 / 9)),)]
    assert adjusted(store, "price_history_daily_total_return") == [(5.0,), (11.0,)]


def test_a_predecessor_whose_end_was_noted_late_does_not_stand_beside_its_successor(store):
    put_bar(store, "AAPL", "2021-01-19", 8.0, replaced_at=naive(day="2021-03-05"))
    put_bar(store, "AAPL", "2021-01-19", 9.0, known_at=naive(day="2021-03-04"), replaced_at=naive(day="2021-03-12"))
    put_bar(store, "AAPL", "2021-01-19", 10.0, known_at=naive(day="2021-03-10"))
    put_action(store, "AAPL", "2021-01-20", "split", 2.0, replaced_at=naive(day="2021-03-12"))
    put_action(store, "AAPL", "2021-01-20", "split", 2.0, known_at=KNOWN, source_provider="polygon")

    closes = [rows(store, f"SELECT close FROM bars_as_of(TIMESTAMP '2021-03-{day} 12:00')") for day in ("04", "11")]
    assert closes == [[(9.0,)], [(10.0,)]]
    assert adjusted(store, "split_adjusted_as_of(TIMESTAMP '2021-03-11')") == [(5.0,)]


def test_restatements_set_each_replaced_bar_beside_its_successor(store):
    put_bar(store, "AAPL", "2021-01-19", 8.0, replaced_at=naive(day="2021-03-05"))
    put_bar(store, "AAPL", "2021-01-19", 10.0, known_at=naive(day="2021-03-05"), replaced_at=LATER, reason="amendment")
    put_bar(store, "AAPL", "2021-01-19", 9.0, known_at=LATER, source_provider="yahoo")
    put_bar(store, "MSFT", "2021-01-19", 9.0)

    assert rows(
        store,
        "SELECT symbol, date, old_close, new_close, relative_change, new_provider, replaced_at, reason "
        "FROM restatements ORDER BY replaced_at",
    ) == [
        ("AAPL", date(2021, 1, 19), 8.0, 10.0, 0.25, "sandbox", naive(day="2021-03-05"), "payload"),
        ("AAPL", date(2021, 1, 19), 10.0, 9.0, pytest.approx(-0.1), "yahoo", LATER, "amendment"),
    ]


def test_bars_that_are_not_raw_are_counted_by_what_they_are_adjusted_for(store):
    as_of = naive(day="2021-03-01")
    put_bars(store, "AAPL", {"2021-01-19": 9.0, "2021-01-20": 9.0}, basis="split", adjusted_as_of=as_of)
    put_bar(store, "AAPL", "2021-01-21", 9.0)
    assert rows(store, "FROM bars_not_raw") == [("AAPL", "split", as_of, 2, date(2021, 1, 19), date(2021, 1, 20))]
    assert rows(store, "SELECT symbol, bases FROM mixed_basis") == [("AAPL", 2)]


def made_up(seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A series with gaps and without some closes, and actions that often fall on one date or follow at once."""
    random = np.random.default_rng(seed)
    days = sessions_between(date(2021, 1, 19), date(2021, 12, 31)).to_numpy()
    days = days[np.sort(random.choice(len(days), 200, replace=False))]
    close = np.round(np.exp(random.normal(4, 0.3, 200)), 2)
    bars = pd.DataFrame({"date": days, **dict.fromkeys(("open", "high", "low", "close", "vwap"), close)})
    bars["volume"], bars["trade_count"] = 1000.0, 7.0
    bars.loc[random.choice(np.arange(1, 200), 20, replace=False), "close"] = np.nan
    dates = sessions_between(date(2021, 1, 20), date(2022, 1, 7)).to_numpy()
    actions = pd.concat(
        pd.DataFrame(
            {
                "date": random.choice(dates, count, replace=False),
                "kind": kind,
                "value": np.round(random.uniform(*span, count), 4),
            }
        )
        for kind, count, span in (("split", 6, (0.4, 3)), ("spinoff", 3, (1.01, 1.3)), ("dividend", 120, (0.01, 0.5)))
    )
    return bars, actions.reset_index(drop=True)


@pytest.mark.long
def test_views_and_load_agree_with_the_adjustments_to_twelve_digits():
    database, made = new_database(), {f"A{letter}": made_up(seed) for seed, letter in enumerate("ABC")}
    Path("universe.csv").write_text("symbol\n" + "\n".join(made), encoding="utf-8")
    with database.writing() as connection:
        connection.execute("BEGIN")
        for symbol, (bars, actions) in made.items():
            put_told(connection, symbol, "2021-01-19", "2022-01-31")
            for bar in bars.replace(np.nan, None).to_dict("records"):
                put_bar(connection, symbol, str(bar.pop("date"))[:10], None, **bar)
            for action in actions.to_dict("records"):
                put_action(connection, symbol, str(action["date"])[:10], action["kind"], action["value"])
        connection.execute("COMMIT")
    settings = Settings(universe=Path("universe.csv"))
    fields = ["open", "high", "low", "close", "vwap", "volume", "trade_count"]
    for name, macro, basis in (
        ("split", "split_adjusted_as_of", Basis.SPLIT),
        ("total_return", "total_return_as_of", Basis.SPLIT_DIVIDEND),
    ):
        for until in (date(2021, 8, 2), date(2022, 1, 31)):
            expected = pd.concat(adjust(bars, acts, basis, as_of=until) for bars, acts in made.values())
            loaded = load(
                "all", "2021-01-19", "2021-12-31", name, until, fields,
                layout="long", database=database.path, settings=settings,
            )  # fmt: skip
            with database.reading() as connection:
                viewed = connection.execute(
                    f"FROM {macro}(CAST(? AS TIMESTAMP)) ORDER BY symbol, date", [f"{until} 23:59:59"]
                ).df()
            for found in (loaded, viewed):
                np.testing.assert_allclose(found[fields].to_numpy(), expected[fields].to_numpy(), rtol=1e-12)
