from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from market_data.records import Basis
from market_data.validation.dividend_repairs import dividend_adjustments
from market_data.validation.frames import Bars
from market_data_tests.test_repairs_series import SESSIONS, Series, near, proposals, seeds, series

QUARTERS = {20: 0.006, 83: 0.006, 146: 0.006, 209: 0.006, 272: 0.006}
PRICED = st.sampled_from([Basis.RAW, Basis.SPLIT])


def changed(told: pd.DataFrame, at: int, factor: float) -> tuple[pd.DataFrame, float]:
    """The actions with the dividend at a position multiplied, and what it was."""
    actions = told.copy()
    row = actions.index[actions["date"] == SESSIONS[at]][0]
    value = float(actions.loc[row, "value"])
    actions.loc[row, "value"] = value * factor
    return actions, value


def moved(told: Series, at: int, to: int) -> pd.DataFrame:
    actions = told.actions.copy()
    actions.loc[actions["date"] == SESSIONS[at], "date"] = SESSIONS[to].to_datetime64().astype("datetime64[s]")
    return actions


@examples(max_examples=40)
@given(seeds, PRICED, st.sampled_from(list(QUARTERS)))
def test_a_dividend_in_cents_is_found_with_its_value_in_dollars(seed: int, basis: Basis, at: int) -> None:
    clean = series(seed, basis=basis, dividends=QUARTERS, daily=0.008)
    actions, value = changed(clean.actions, at, 100)
    assert proposals(clean.bars, actions, basis) == [(at, "dividend_unit", "dividend", near(value))]


@examples(max_examples=30)
@given(seeds, PRICED)
def test_a_dividend_of_a_large_yield_told_a_hundred_times_too_small_is_found(seed: int, basis: Basis) -> None:
    clean = series(seed, basis=basis, dividends=dict.fromkeys(QUARTERS, 0.1), daily=0.008)
    actions, value = changed(clean.actions, 146, 0.01)
    assert proposals(clean.bars, actions, basis) == [(146, "dividend_unit", "dividend", near(value))]


def test_a_single_dividend_worth_more_than_the_price_is_found() -> None:
    clean = series(4, dividends={100: 0.012})
    actions, value = changed(clean.actions, 100, 100)
    assert proposals(clean.bars, actions, Basis.RAW) == [(100, "dividend_unit", "dividend", near(value))]


def test_a_dividend_not_divided_by_the_split_of_its_date_is_found() -> None:
    clean = series(4, basis=Basis.SPLIT, dividends={**QUARTERS, 146: 0.007}, ratios={146: 5.0})
    actions = clean.actions.copy()
    row = actions.index[(actions["date"] == SESSIONS[146]) & (actions["kind"] == "dividend")][0]
    value = actions.loc[row, "value"]
    actions.loc[row, "value"] = value * 5
    assert proposals(clean.bars, actions, Basis.SPLIT) == [(146, "dividend_unit", "dividend", near(value))]


@examples(max_examples=40)
@given(seeds, st.sampled_from([0.2, 0.4, 0.6]), st.sampled_from([0.002, 0.005]))
def test_a_special_dividend_that_the_price_shows_is_no_error(seed: int, special: float, usual: float) -> None:
    clean = series(seed, dividends={**dict.fromkeys(QUARTERS, usual), 180: special})
    assert proposals(clean.bars, clean.actions, Basis.RAW) == []


@examples(max_examples=30)
@given(seeds, st.floats(0.0001, 0.002))
def test_a_small_dividend_among_irregular_ones_is_no_error(seed: int, small: float) -> None:
    clean = series(seed, dividends={20: 0.012, 83: 0.03, 146: small, 209: 0.008, 272: 0.02})
    assert proposals(clean.bars, clean.actions, Basis.RAW) == []


@examples(max_examples=40)
@given(seeds, PRICED, st.integers(1, 10), st.booleans())
def test_a_dividend_told_on_another_date_is_never_taken_for_something_else(
    seed: int, basis: Basis, away: int, later: bool
) -> None:
    clean = series(seed, basis=basis, dividends={100: 0.12}, daily=0.008)
    to = 100 + away if later else 100 - away
    found = proposals(clean.bars, moved(clean, 100, to), basis)
    assert [item[:3] for item in found] == [(to, "misdated_dividend", "dividend")]
    assert found[0][3] == pytest.approx(float(clean.actions["value"].iloc[0]))


def test_a_drop_further_away_is_not_taken_for_the_dividend() -> None:
    clean = series(8, dividends={100: 0.12}, daily=0.008)
    assert proposals(clean.bars, moved(clean, 100, 111), Basis.RAW) == []


def test_a_dividend_told_on_two_dates_is_found_where_the_price_falls_less() -> None:
    clean = series(8, dividends={**QUARTERS, 146: 0.07}, daily=0.008)
    again = clean.actions[clean.actions["date"] == SESSIONS[146]].assign(
        date=SESSIONS[145].to_datetime64().astype("datetime64[s]")
    )
    found = proposals(clean.bars, pd.concat([clean.actions, again]), Basis.RAW)
    assert [item[:3] for item in found] == [(145, "misdated_dividend", "dividend")]


def test_dividends_every_week_are_not_taken_for_repeats() -> None:
    clean = series(8, basis=Basis.SPLIT, dividends=dict.fromkeys(range(20, 200, 5), 0.002))
    actions = clean.actions.assign(value=0.16)
    assert proposals(clean.bars, actions, Basis.SPLIT) == []


def test_an_adjusted_close_that_lacks_a_dividend_or_holds_it_twice_is_found() -> None:
    clean = series(8, basis=Basis.SPLIT, dividends={50: 0.02, 150: 0.03, 250: 0.01})
    close = clean.bars["close"].to_numpy()
    factor = np.ones(len(close))
    for at, share in ((50, 0.02), (150, 0.03 * 2)):  # the second one twice, the third one not at all
        factor[:at] *= 1 - share
    found = dividend_adjustments(Bars.of(clean.bars), clean.actions, close * factor)
    assert SESSIONS.get_indexer(pd.DatetimeIndex(found.date)).tolist() == [150, 250]
    told = clean.actions["value"].tolist()
    assert found.value.tolist() == pytest.approx([2 * told[1], 0.0], abs=1e-9)
    assert found.proposed.tolist() == pytest.approx(told[1:])
    assert "the actions tell of" in found.message[0]
