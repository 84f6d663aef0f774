"""`market_data.load` never mixes bases: what is refused, in what words, and what is served all the same."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from market_data import load
from market_data.instruments import load_universe
from market_data.reading import BasisError
from market_data_tests.bars import naive, new_database
from market_data_tests.stored_prices import put_action, put_bar, put_bars, put_told

SPAN = ("2021-01-19", "2021-01-22")
AS_OF = naive(22, day="2021-01-22")
ADJUSTED = {"basis": "split_dividend", "adjusted_as_of": AS_OF}


@pytest.fixture
def store() -> Iterator[duckdb.DuckDBPyConnection]:
    with new_database().writing() as connection:
        yield connection


def read(store: duckdb.DuckDBPyConnection, symbols: list[str], basis: str) -> dict[str, list[float]]:
    """The closes by symbol; ends the writing."""
    store.close()
    return {name: column.tolist() for name, column in load(symbols, *SPAN, basis, database="store.duckdb").items()}


def refused(store: duckdb.DuckDBPyConnection, symbols: list[str], basis: str) -> str:
    with pytest.raises(BasisError) as caught:
        read(store, symbols, basis)
    return str(caught.value)


@pytest.mark.parametrize("basis", ["raw", "split"])
def test_bars_that_cannot_be_had_in_the_basis_are_refused_with_their_sessions_and_the_mend(store, basis):
    put_bar(store, "AAPL", "2021-01-19", 9.0)
    put_bars(store, "MSFT", {"2021-01-20": 9.0, "2021-01-22": 9.0}, **ADJUSTED)

    text = refused(store, ["AAPL", "MSFT"], basis)

    assert text.startswith(f"not to be had in basis {basis}: MSFT, 2 sessions 2021-01-20..2021-01-22: its prices are")
    assert "as of 2021-01-22" in text
    assert "`market-data actions fetch`" in text
    assert "AAPL" not in text


def test_all_symbols_are_named_together_up_to_ten(store):
    symbols = list(load_universe())[:13]
    for symbol in symbols:
        put_bar(store, symbol, "2021-01-19", 9.0, **ADJUSTED)
    text = refused(store, symbols, "raw")
    assert [symbol for symbol in symbols if f" {symbol}, 1 sessions" in text] == symbols[:10]
    assert "; and 3 more. " in text


def test_a_series_of_one_basis_adjusted_for_dividends_is_served_for_total_return_as_it_is(store):
    put_bars(store, "AAPL", {"2021-01-19": 9.0, "2021-01-20": 9.5}, **ADJUSTED)
    put_action(store, "AAPL", "2021-01-20", "dividend", 1.0)  # Applied by the vendor already.
    store.close()
    found = load(["AAPL"], *SPAN, database="store.duckdb")
    assert found["AAPL"].dropna().tolist() == [9.0, 9.5]
    assert found.attrs["untold"] == []


MIXED = [
    ({"2021-01-19": ADJUSTED, "2021-01-20": {}}, "total_return"),
    ({"2021-01-19": ADJUSTED, "2021-01-20": ADJUSTED | {"adjusted_as_of": naive(day="2021-01-21")}}, "total_return"),
    ({"2021-01-19": {"basis": "split", "adjusted_as_of": naive(day="2021-01-20")}, "2021-01-20": {}}, "split"),
]


@pytest.mark.parametrize(("bars", "basis"), MIXED, ids=["with-raw", "of-two-dates", "split-with-raw"])
@pytest.mark.parametrize("told", [None, ("2021-01-01", "2021-01-20"), ("2021-01-22", "2021-01-22")])
def test_a_series_of_several_bases_is_refused_unless_every_action_between_was_told(store, bars, basis, told):
    for day, fields in bars.items():
        put_bar(store, "AAPL", day, 9.0, **fields)
    put_bar(store, "AAPL", "2021-01-22", 9.0)
    if told:
        put_told(store, "AAPL", *told)

    text = refused(store, ["AAPL"], basis)

    assert "AAPL, 3 sessions 2021-01-19..2021-01-22: its bars stand in several bases, and not every split" in text
    assert "`market-data actions fetch`" in text


@pytest.mark.parametrize(("bars", "basis"), MIXED, ids=["with-raw", "of-two-dates", "split-with-raw"])
def test_a_series_of_several_bases_becomes_one_when_the_actions_were_told_by_spans_that_touch(store, bars, basis):
    for day, fields in bars.items():
        put_bar(store, "AAPL", day, 9.0, **fields)
    put_bar(store, "AAPL", "2021-01-22", 4.5)
    put_told(store, "*", "2021-01-19", "2021-01-20")
    put_told(store, "AAPL", "2021-01-21", "2021-01-22")
    if basis == "split":
        put_action(store, "AAPL", "2021-01-22", "split", 2.0)
        assert read(store, ["AAPL"], basis)["AAPL"][:2] == [4.5, 4.5]
    else:
        assert read(store, ["AAPL"], basis)["AAPL"][:2] == [9.0, 9.0]


@pytest.mark.parametrize("told_until", ["2021-02-09", "2021-02-10"])
def test_raw_bars_beside_adjusted_ones_need_the_actions_up_to_what_those_are_adjusted_for(store, told_until):
    put_bar(store, "AAPL", "2021-01-19", 9.0, basis="split_dividend", adjusted_as_of=naive(22, day="2021-02-10"))
    put_bar(store, "AAPL", "2021-01-20", 10.0)
    put_action(store, "AAPL", "2021-02-10", "dividend", 1.0)
    put_told(store, "AAPL", "2021-01-01", told_until)
    if told_until == "2021-02-10":
        assert read(store, ["AAPL"], "total_return")["AAPL"][:2] == [9.0, 9.0]
    else:
        assert "not every split between 2021-01-20 and 2021-02-10 was told" in refused(store, ["AAPL"], "total_return")


def test_a_dividend_whose_close_before_is_not_known_raw_is_refused_by_name(store):
    put_bar(store, "AAPL", "2021-01-19", 9.0)
    put_bar(store, "AAPL", "2021-01-20", 9.0, **ADJUSTED)
    put_action(store, "AAPL", "2021-01-21", "dividend", 0.5)
    put_told(store, "AAPL", "2021-01-19", "2021-01-22")
    text = refused(store, ["AAPL"], "total_return")
    assert "AAPL, 1 sessions 2021-01-19..2021-01-19: the raw close before the dividend of 2021-01-21" in text
