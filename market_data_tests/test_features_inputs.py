"""What features are made from: which bars may be used, the price steps, and the hash that follows from both."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data.errors import WarehouseError
from market_data.features.catalogue import MAX_LOOKBACK
from market_data.features.causes import by_cause
from market_data.features.columns import columns_of
from market_data.features.compute import compute
from market_data.features.doubts import DOUBTS, Doubt, doubts_of
from market_data.features.fingerprints import fingerprints
from market_data.features.inputs import Inputs, read_inputs
from market_data.validation.rules import RULES
from market_data_tests.bars import new_database
from market_data_tests.featured import days_of, fill
from market_data_tests.stored_prices import put_action, put_bar, put_told


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty store."""
    with new_database().writing() as connection:
        connection.execute("INSERT INTO store_kind VALUES (TRUE)")
        yield connection


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty store, to be filled in transactions that are taken back."""
    with new_database(tmp_path_factory.mktemp("empty") / "store.duckdb").writing() as connection:
        yield connection


def put(
    connection: duckdb.DuckDBPyConnection, symbol: str, closes: list[float | None], *, told: bool = True
) -> list[str]:
    """Accepted bars on the first sessions of the window; None for a session without one."""
    days = [str(day) for day in days_of(connection, len(closes))]
    for day, close in zip(days, closes, strict=True):
        verdict(connection, symbol, day, "missing" if close is None else "accepted")
        if close is not None:
            put_bar(connection, symbol, day, close)
    if told:
        put_told(connection, symbol, "2021-01-01", "2022-12-31")
    return days


def verdict(connection: duckdb.DuckDBPyConnection, symbol: str, day: str, said: str, rules: str = "") -> None:
    connection.execute(
        "INSERT OR REPLACE INTO data_quality_log VALUES (?, ?, ?, 1, ?, 'sandbox', TIMESTAMP '2022-01-01')",
        [symbol, day, said, rules],
    )


def read(connection: duckdb.DuckDBPyConnection, start: date | None = None, end: date | None = None) -> Inputs:
    inputs = read_inputs(connection, start, end)
    assert inputs is not None
    return inputs


def reasons(inputs: Inputs, symbol: str) -> list[str | None]:
    found: list[str | None] = inputs.reasons[:, inputs.symbols.index(symbol)].tolist()
    return found


def test_it_is_decided_of_every_rule_what_it_puts_in_doubt():
    assert DOUBTS.keys() == RULES.keys()
    assert {kind for kind, _ in DOUBTS.values()} == {"price", "level", "step", "volume", "none"}
    assert all(why for _, why in DOUBTS.values())


def test_rules_put_price_step_or_volume_in_doubt_and_one_that_is_not_known_the_price():
    assert doubts_of("") == Doubt()
    assert doubts_of("log_return,missed_split,unit_error,volume_outlier,null") == Doubt(
        ("log_return", "unit_error"), ("log_return",), ("missed_split",), ("volume_outlier",)
    )
    assert doubts_of("a_new_rule") == Doubt(price=("a_new_rule",))


def test_every_bar_that_may_not_be_used_has_its_reason(connection):
    days = put(connection, "AAPL", [10.0, 11.0, 12.0, 13.0, None, 15.0, 16.0])
    put(connection, "MSFT", [10.0] * 7)
    verdict(connection, "AAPL", days[0], "flagged", "stale_run,ohlc")
    verdict(connection, "AAPL", days[1], "flagged", "null")
    connection.execute("UPDATE price_history_daily SET low = NULL WHERE symbol = 'AAPL' AND date = ?", [days[1]])
    connection.execute(
        "UPDATE price_history_daily SET basis = 'split', adjusted_as_of = '2021-06-01' "
        "WHERE symbol = 'AAPL' AND date = ?",
        [days[2]],
    )
    connection.execute("DELETE FROM data_quality_log WHERE symbol = 'AAPL' AND date = ?", [days[3]])
    connection.execute("DELETE FROM price_history_daily WHERE symbol = 'AAPL' AND date = ?", [days[5]])
    verdict(connection, "AAPL", days[5], "rejected", "negative_price")
    connection.execute("DELETE FROM data_quality_log WHERE symbol = 'MSFT' AND date = ?", [days[0]])
    connection.execute("DELETE FROM price_history_daily WHERE symbol = 'MSFT' AND date = ?", [days[0]])
    verdict(connection, "MSFT", days[6], "unanswered")
    connection.execute("DELETE FROM price_history_daily WHERE symbol = 'MSFT' AND date = ?", [days[6]])
    inputs = read(connection)
    assert reasons(inputs, "AAPL") == [
        "flagged: stale_run, ohlc", "flagged: null", "adjusted: split", "no verdict", "no bar", "rejected", None,
    ]  # fmt: skip
    assert reasons(inputs, "MSFT") == ["not listed", *[None] * 5, "not answered"]
    assert inputs.expected.all(axis=0).tolist() == [True, False]
    assert np.isnan(inputs.prices["close"][:, 0]).tolist() == [True] * 6 + [False]


def test_a_bar_adjusted_up_to_its_own_session_is_as_traded(connection):
    days = put(connection, "AAPL", [10.0, 11.0])
    connection.execute(
        "UPDATE price_history_daily SET basis = 'split_dividend', adjusted_as_of = ? WHERE date = ?",
        [datetime.fromisoformat(f"{days[1]} 23:00"), days[1]],
    )
    assert reasons(read(connection), "AAPL") == [None, None]


def test_a_volume_in_doubt_is_not_used_and_its_price_is(connection):
    days = put(connection, "AAPL", [10.0, 11.0, 12.0])
    verdict(connection, "AAPL", days[1], "flagged", "volume_outlier")
    connection.execute("UPDATE price_history_daily SET volume = NULL WHERE date = ?", [days[2]])
    inputs = read(connection)
    assert reasons(inputs, "AAPL") == [None] * 3
    np.testing.assert_array_equal(inputs.volume[:, 0], [1000.0, np.nan, np.nan])


def test_the_panel_has_the_ratios_of_the_total_return_prices(connection):
    closes = [100.0, 101.0, 50.0, None, 52.0, 20.0, 21.0, 22.0]
    days = put(connection, "AAPL", [*closes])
    put_action(connection, "AAPL", days[2], "split", 2.0)
    put_action(connection, "AAPL", days[4], "dividend", 0.75)
    put_action(connection, "AAPL", days[4], "spinoff", 1.25)
    put_action(connection, "AAPL", days[3], "dividend", 0.5)
    put_action(connection, "AAPL", days[7], "dividend", 1.0)
    told = connection.execute(
        "SELECT date, close FROM total_return(TIMESTAMP 'infinity', DATE '2030-01-01') ORDER BY date"
    ).fetchnumpy()["close"]
    close = columns_of(read(connection)).panel.close[:, 0]
    held = close[~np.isnan(close)]
    np.testing.assert_allclose(held / held[0], np.asarray(told) / told[0], rtol=1e-14)


ACTIONS = st.lists(
    st.one_of(
        st.tuples(
            st.integers(0, 13), st.sampled_from(["split", "spinoff"]), st.sampled_from([0.1, 0.5, 1.25, 3.0, 7.0])
        ),
        st.tuples(st.integers(0, 13), st.just("dividend"), st.floats(0.01, 5.0)),
    ),
    max_size=8,
    unique_by=lambda action: action[:2],
)


@settings(max_examples=15)
@given(st.lists(st.one_of(st.none(), st.floats(50, 150)), min_size=2, max_size=12), ACTIONS)
def test_whatever_the_actions_the_panel_agrees_with_the_table_macro(empty, closes, actions):
    empty.execute("BEGIN TRANSACTION")
    try:
        put(empty, "AAPL", closes)
        for offset, kind, value in actions:
            put_action(empty, "AAPL", str(date(2021, 1, 18) + timedelta(days=offset)), kind, value)
        last = max(days_of(empty, len(closes)))
        told = empty.execute(
            "SELECT close FROM total_return(TIMESTAMP 'infinity', $last) WHERE refusal IS NULL ORDER BY date",
            {"last": last},
        ).fetchnumpy()["close"]
        inputs = read_inputs(empty)
        refused = empty.execute(
            "SELECT count(*) FROM total_return(TIMESTAMP 'infinity', $last) WHERE refusal IS NOT NULL", {"last": last}
        ).fetchall()[0][0]
    finally:
        empty.execute("ROLLBACK")
    assert inputs is not None
    if refused or not len(told):
        return
    close = columns_of(inputs).panel.close[:, 0]
    held = close[~np.isnan(close)]
    np.testing.assert_allclose(held / held[0], np.asarray(told) / told[0], rtol=1e-12)


def test_a_dividend_is_set_against_the_last_close_that_can_be_relied_on(connection):
    days = put(connection, "AAPL", [100.0, 9900.0, 100.0])
    verdict(connection, "AAPL", days[1], "flagged", "log_return,unit_error")
    put_action(connection, "AAPL", days[2], "dividend", 1.0)
    assert read(connection).steps.values[:, 0].tolist() == [1.0, 1.0, 0.99]


def test_a_session_added_later_changes_no_price_of_the_panel(connection):
    days = put(connection, "AAPL", [100.0, 101.0, 34.0, 35.0])
    put_action(connection, "AAPL", days[2], "split", 3.0)
    put_action(connection, "AAPL", days[3], "dividend", 0.7)
    until, whole = read(connection, end=date.fromisoformat(days[2])), read(connection)
    np.testing.assert_array_equal(columns_of(until).panel.close, columns_of(whole).panel.close[:3])


@pytest.mark.parametrize(
    ("rule", "value"), [("missed_split", None), ("dividend_unit", None), ("", 500.0)], ids=["split", "unit", "excess"]
)
def test_no_feature_reaches_across_a_step_that_is_not_known(connection, rule, value):
    days = put(connection, "AAPL", [100.0 + day for day in range(12)])
    put(connection, "MSFT", [50.0 + day for day in range(12)])
    if rule:
        verdict(connection, "AAPL", days[6], "accepted", rule)
    else:
        put_action(connection, "AAPL", days[6], "dividend", value)
    inputs = read(connection)
    assert reasons(inputs, "AAPL") == [None] * 12
    columns = columns_of(inputs)
    assert columns.panel.symbols == ("AAPL", "AAPL", "MSFT")
    made = compute(columns.panel)
    returns = {name: columns.back(made.values[name], slice(0, 12)) for name in ("log_return_1", "log_return_5")}
    known = {name: np.flatnonzero(~np.isnan(values[:, 0])).tolist() for name, values in returns.items()}
    assert known == {"log_return_1": [1, 2, 3, 4, 5, 7, 8, 9, 10, 11], "log_return_5": [5, 11]}
    assert np.flatnonzero(~np.isnan(returns["log_return_1"][:, 1])).tolist() == list(range(1, 12))
    why = columns.back(made.reasons, slice(0, 12))[6, 0]
    assert f"before {days[6]}: {rule or 'the dividend of'}" in why
    rank = columns.back(made.values["log_return_1_rank"], slice(0, 12))
    assert np.isnan(rank[6]).tolist() == [True, True]
    assert np.isnan(rank[7]).tolist() == [False, False]


@pytest.mark.parametrize(
    ("closes", "split", "reaches"),
    [
        ([100.0, 101, 102, 25.5, 25.6, 25.4, 25.5, 25.7, 25.9], None, False),
        ([100.0, 101, 102, 10200, 103, 102, 101, 102, 103], None, True),
        ([100.0, 101, 102, 25.5, 51.5, 51, 51, 51, 52], 4, True),
        ([100.0, 101, 102, None, 25.6, 25.4, 25.5, 25.7, 25.9], None, False),
    ],
    ids=["a split nobody told of", "a hundredfold price", "one wrong bar on the day of a split", "no close"],
)
def test_no_feature_reaches_across_a_return_that_nothing_explains_unless_the_price_comes_back(
    connection, closes, split, reaches
):
    days = put(connection, "AAPL", [value or 1.0 for value in closes])
    if closes[3] is None:
        connection.execute("UPDATE price_history_daily SET close = NULL WHERE date = ?", [days[3]])
    if split:
        put_action(connection, "AAPL", days[4], "split", 2.0)
    verdict(connection, "AAPL", days[3], "flagged", "log_return")
    whole = read(connection)
    columns = columns_of(whole)
    returns = columns.back(compute(columns.panel).values["log_return_5"], slice(0, 9))[:, 0]
    assert np.flatnonzero(~np.isnan(returns)).tolist() == ([5, 6, 7] if reaches else [])
    assert whole.steps.broken == ({} if reaches else {(4, 0): "log_return"})
    until = fingerprints(read(connection, end=date.fromisoformat(days[3])))
    assert fingerprints(whole)[date.fromisoformat(days[3])] == until[date.fromisoformat(days[3])]


def test_bars_after_days_of_which_nobody_told_the_actions_are_not_used_nor_reached_across(connection):
    days = put(connection, "AAPL", [100.0 + day for day in range(14)], told=False)
    put_told(connection, "AAPL", "2021-01-01", days[3], ["dividend"])  # and the next seven days, Friday the 29th
    put_told(connection, "AAPL", "2021-02-03", "2021-12-31", ["dividend"])
    put_told(connection, "AAPL", "2021-01-01", "2021-12-31", ["split"])
    inputs = read(connection)
    assert days[9:11] == ["2021-02-01", "2021-02-02"]
    assert reasons(inputs, "AAPL") == [None] * 9 + ["dividends not told"] * 2 + [None] * 3
    made = compute(columns_of(inputs).panel)
    assert columns_of(inputs).panel.symbols == ("AAPL", "AAPL")
    returns = columns_of(inputs).back(made.values["log_return_5"], slice(0, 14))[:, 0]
    assert np.flatnonzero(~np.isnan(returns)).tolist() == [5, 6, 7, 8]
    assert reasons(read(connection, end=date.fromisoformat(days[9])), "AAPL") == [None] * 9 + ["dividends not told"]


def test_a_split_that_was_not_told_of_for_a_day_is_no_split_that_was_not(connection):
    days = put(connection, "AAPL", [100.0, 101.0, 102.0], told=False)
    put_told(connection, "AAPL", "2021-01-01", days[1])
    assert reasons(read(connection), "AAPL") == [None, None, "splits not told"]


def test_an_answer_for_all_instruments_tells_of_each(connection):
    put(connection, "AAPL", [10.0, 11.0, 12.0], told=False)
    put_told(connection, "*", "2021-01-01", "2021-12-31", ["split"])
    assert reasons(read(connection), "AAPL") == [None, "dividends not told", "dividends not told"]
    put_told(connection, "AAPL", "2021-01-20", "2021-12-31", ["dividend"])
    assert reasons(read(connection), "AAPL") == [None] * 3


def test_a_symbol_that_cannot_be_used_leaves_the_others_as_they_are(connection):
    put(connection, "AAPL", [10.0, 11.0, 12.0], told=False)
    put(connection, "MSFT", [20.0, 21.0, 22.0])
    inputs = read(connection)
    assert reasons(inputs, "AAPL") == [None, "splits or dividends not told", "splits or dividends not told"]
    assert reasons(inputs, "MSFT") == [None] * 3


def test_a_span_in_which_the_store_holds_nothing_has_no_expected_bar(connection):
    put(connection, "AAPL", [10.0])
    put_bar(connection, "AAPL", "2025-01-02", 11.0)
    inputs = read(connection, date(2023, 6, 1), date(2023, 6, 2))
    assert (inputs.symbols, inputs.expected.any(), fingerprints(inputs)) == ((), False, {})
    assert list(fingerprints(read(connection))) == [date(2021, 1, 19), date(2025, 1, 2)]


def test_a_bar_on_no_session_is_an_error_that_names_the_date(connection):
    put(connection, "AAPL", [10.0, 11.0])
    put_bar(connection, "AAPL", "2021-01-18", 11.0)
    put_bar(connection, "AAPL", "2021-01-15", 11.0)
    with pytest.raises(WarehouseError, match="a bar on 2021-01-18, which is no session"):
        read(connection)


def test_a_store_without_bars_has_no_inputs(connection):
    assert read_inputs(connection) is None


@pytest.fixture(scope="module")
def walks(tmp_path_factory) -> Iterator[tuple[duckdb.DuckDBPyConnection, dict[date, str]]]:
    """Three instruments over 600 sessions, and the hash of each session."""
    with new_database(tmp_path_factory.mktemp("walks") / "store.duckdb").writing() as connection:
        fill(connection, sessions=600)
        yield connection, fingerprints(read(connection))


def test_the_hash_of_a_session_is_the_same_whichever_span_is_read(walks):
    connection, whole = walks
    days = list(whole)
    assert len(set(whole.values())) == 600
    for start, end in ((599, 599), (520, 550), (300, 420), (0, 10)):
        part = fingerprints(read(connection, days[start], days[end]))
        assert [part[day] for day in days[start : end + 1]] == [whole[day] for day in days[start : end + 1]]


CHANGES = {
    "bar": "UPDATE price_history_daily SET close = close + 0.01 WHERE symbol = $symbol AND date = $day",
    "volume": "UPDATE price_history_daily SET volume = volume + 1 WHERE symbol = $symbol AND date = $day",
    "verdict": "UPDATE data_quality_log SET verdict = 'flagged', rules = 'ohlc' WHERE symbol = $symbol AND date = $day",
    "gone": "DELETE FROM data_quality_log WHERE symbol = $symbol AND date = $day",
    "split": "INSERT INTO corporate_actions VALUES ($symbol, $day, 'split', 2, 'x', '', 'x', '2022-01-01')",
    "step": "UPDATE data_quality_log SET rules = 'missed_split' WHERE symbol = $symbol AND date = $day",
    "told": "UPDATE actions_told SET last_date = $day WHERE symbol = $symbol",
}


@settings(max_examples=14)
@given(st.sampled_from(sorted(CHANGES)), st.sampled_from(["AAPL", "MSFT", "NKE"]), st.integers(1, 599))
def test_a_change_at_a_session_changes_the_hashes_of_those_that_look_back_to_it_and_of_no_other(
    walks, change, symbol, place
):
    connection, before = walks
    days = list(before)
    connection.execute("BEGIN TRANSACTION")
    try:
        connection.execute(CHANGES[change], {"symbol": symbol, "day": days[place]})
        after = fingerprints(read(connection))
    finally:
        connection.execute("ROLLBACK")
    changed = [at for at, day in enumerate(days) if after[day] != before[day]]
    if change == "told":
        assert changed == list(range(place + 1, 600))
    else:
        reach = MAX_LOOKBACK - (change in ("split", "step"))
        assert changed == list(range(place, min(600, place + reach)))


def test_causes_of_nulls_are_counted_without_their_dates_and_numbers():
    assert by_cause(
        {
            "all: 2021-03-03 flagged: log_return": 2,
            "windows of 3 and more: 2021-03-01 flagged: log_return; lookbacks of 9 and more: warm-up, 8 sessions "
            "held": 3,
            "all: 2021-03-04 before 2021-03-05: missed_split": 1,
        }
    ) == {"flagged: log_return": 5, "warm-up": 3, "before missed_split": 1}
