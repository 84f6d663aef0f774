from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from market_data.records import Basis
from market_data_tests.comparisons.repairs import KNOWN, main, on_ascii, on_export
from market_data_tests.test_repairs_series import PRICES, SIZE, actions, near, proposals, scale, seeds, series
from market_data_tests.test_validation_builders import clean_bars, day, judged, noted

FIELDS = sorted([*PRICES, "vwap"])
ADJUSTED = st.sampled_from([Basis.SPLIT, Basis.SPLIT_DIVIDEND])


@examples(max_examples=40)
@given(seeds, st.sampled_from(Basis), st.integers(0, SIZE - 1), st.integers(1, 20), st.booleans())
def test_bars_in_another_unit_are_found_with_the_price_they_should_have(
    seed: int, basis: Basis, start: int, length: int, pence: bool
) -> None:
    clean = series(seed, basis=basis)
    bars, factor = clean.bars.copy(), 100.0 if pence else 0.01
    at = bars.index[start : start + length]
    bars.loc[at, FIELDS] = bars.loc[at, FIELDS] * factor
    found = proposals(bars, clean.actions, basis)
    assert [item[:3] for item in found] == [(row, "unit_error", name) for row in at for name in FIELDS]
    assert np.allclose([item[3] for item in found], clean.bars.loc[at, FIELDS].to_numpy().ravel())


@examples(max_examples=30)
@given(seeds, st.sampled_from([["close"], ["open", "low"], ["high"], ["close", "vwap"]]), st.integers(0, SIZE - 1))
def test_single_fields_in_another_unit_are_found(seed: int, names: list[str], at: int) -> None:
    clean = series(seed)
    bars = clean.bars.copy()
    bars.loc[at, names] = bars.loc[at, names] / 100
    found = proposals(bars, clean.actions, Basis.RAW)
    assert [item[:3] for item in found] == [(at, "unit_error", name) for name in sorted(names)]
    assert [item[3] for item in found] == pytest.approx([clean.bars.loc[at, name] for name in sorted(names)])


def test_of_a_lasting_change_of_unit_the_newer_one_is_right() -> None:
    clean = series(5)
    bars = clean.bars.copy()
    bars.loc[:199, FIELDS] = bars.loc[:199, FIELDS] * 100
    found = proposals(bars, clean.actions, Basis.RAW)
    assert {item[0] for item in found} == set(range(200))
    assert found[0][3] == pytest.approx(clean.bars.loc[0, FIELDS[0]])


def test_a_hundredfold_reverse_split_that_nobody_tells_of_is_no_unit_error() -> None:
    bars = series(5).bars
    scale(bars, slice(0, 150), 0.01)
    assert proposals(bars, actions([]), Basis.RAW) == []


@examples(max_examples=40)
@given(seeds, st.sampled_from(Basis), st.sampled_from([2.0, 3.0, 4.0, 10.0, 0.1, 0.05]), st.integers(25, SIZE - 10))
def test_a_split_without_an_action_is_rarely_missed_and_never_mistaken(
    seed: int, basis: Basis, ratio: float, at: int
) -> None:
    bars = series(seed, basis=basis).bars
    scale(bars, slice(0, at), ratio)
    found = proposals(bars, actions([]), basis)
    assert found == [] or found == [(at, "missed_split", "close", near(ratio))]


def test_most_splits_without_an_action_are_found() -> None:
    found = 0
    for seed in range(100):
        bars = series(seed).bars
        scale(bars, slice(0, 150), 4.0)
        found += proposals(bars, actions([]), Basis.RAW) != []
    assert found >= 85


@examples(max_examples=40)
@given(seeds, ADJUSTED, st.sampled_from([2.0, 4.0, 20.0, 0.1]), st.integers(1, SIZE - 1), st.booleans())
def test_a_known_split_not_applied_or_applied_twice_is_found(
    seed: int, basis: Basis, ratio: float, at: int, twice: bool
) -> None:
    clean = series(seed, basis=basis, ratios={at: ratio})
    bars = clean.bars.copy()
    scale(bars, slice(0, at), 1 / ratio if twice else ratio)
    rule = "doubled_split" if twice else "missed_split"
    assert proposals(bars, clean.actions, basis) == [(at, rule, "close", near(ratio))]


@examples(max_examples=30)
@given(seeds, st.sampled_from([2.0, 4.0, 20.0, 0.1]), st.integers(1, SIZE - 1), st.booleans())
def test_raw_prices_that_lack_a_known_split_or_step_by_it_twice_are_found(
    seed: int, ratio: float, at: int, twice: bool
) -> None:
    clean = series(seed, ratios={at: ratio})
    bars = clean.bars.copy()
    scale(bars, slice(0, at), ratio if twice else 1 / ratio)
    rule = "doubled_split" if twice else "missed_split"
    assert proposals(bars, clean.actions, Basis.RAW) == [(at, rule, "close", near(ratio))]


@examples(max_examples=30)
@given(seeds, st.integers(30, 200), st.integers(1, 8), st.booleans())
def test_a_run_that_lacks_a_later_split_is_found_at_its_start(seed: int, at: int, length: int, twice: bool) -> None:
    clean = series(seed, basis=Basis.SPLIT, ratios={220: 3.0})
    bars = clean.bars.copy()
    scale(bars, slice(at, at + length), 1 / 3 if twice else 3.0)
    rule = "doubled_split" if twice else "missed_split"
    assert proposals(bars, clean.actions, Basis.SPLIT) == [(at, rule, "close", near(3.0))]


@pytest.mark.parametrize("value", [1.5, 2.0])
def test_a_known_spin_off_moves_the_price_and_is_no_error(value: float) -> None:
    bars = series(3).bars
    bars.loc[:149, FIELDS] = bars.loc[:149, FIELDS] * value
    assert proposals(bars, actions([(150, "spinoff", value)]), Basis.RAW) == []


def test_validation_tells_what_is_proposed_and_stores_the_bars_as_sent() -> None:
    bars = clean_bars()
    right = float(bars["low"][30])
    bars.loc[30, "low"] = right / 100
    verdict = judged(bars)
    pd.testing.assert_frame_equal(verdict.bars, bars)
    found = verdict.findings
    assert found["rule"].tolist() == ["unit_error"]
    assert (found["severity"][0], found["field"][0]) == ("warning", "low")
    assert found["proposed"][0] == pytest.approx(right)
    assert found["message"][0].startswith(f"low {right / 100:g} on {day(30)} looks like 100x too low")
    assert noted(verdict) == {day(30): ("accepted", 1.0, "unit_error")}


def test_a_finding_that_proposes_nothing_has_no_number_for_it() -> None:
    found = judged(clean_bars().drop(index=5)).findings
    assert found["proposed"].isna().tolist() == [True]
    assert found["proposed"].dtype == np.float64


@pytest.mark.parametrize("name", list(KNOWN))
def test_recorded_errors_are_found_with_what_corrected_files_hold(payloads: Path, name: str) -> None:
    found = on_export(payloads / "history" / f"yfinance_{name}.csv")
    assert {rule for _, rule, _, _ in found} == set(KNOWN[name])
    for rule, expected in KNOWN[name].items():
        mine = {day: value for day, found_rule, field, value in found if found_rule == rule and field != "high"}
        assert min(mine) == expected[0][0]
    if name.startswith("SSW"):
        assert len(found) == 22 * 4  # every bar before the change to rand


def test_recorded_clean_series_give_no_proposal_and_the_comparison_passes(
    payloads: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history = payloads / "history"
    assert [on_export(file) for file in history.glob("yfinance_*-1d-no-bad-divs.csv")] == [[], [], []]
    assert [on_ascii(file) for file in history.glob("*_stooq-ascii_*.csv")] == [[]] * 17
    assert main(payloads) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("PASS") for line in lines) == 27
    assert not any(line.startswith("FAIL") for line in lines)
