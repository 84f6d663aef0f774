"""What holds of every feature, whatever the bars."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data.features.catalogue import BY_NAME, FEATURES, MAX_LOOKBACK
from market_data.features.compute import Computed, compute
from market_data.features.panel import Panel
from market_data_tests.feature_panels import PRICES, cut, explained, random_panel, with_volume, without

SESSIONS, INSTRUMENTS = 280, 4
AGAINST_OTHERS = {feature.name for feature in FEATURES if feature.cross_sectional}

rows = st.integers(0, SESSIONS - 1)
columns = st.integers(0, INSTRUMENTS - 1)
faults = st.lists(
    st.tuples(rows, columns, st.sampled_from(["unusable", "untraded", "uncounted"])), max_size=5
)  # fmt: skip


@st.composite
def panels(draw: st.DrawFn) -> Panel:
    panel = random_panel(SESSIONS, INSTRUMENTS, seed=draw(st.integers(0, 10_000)))
    for row, column, fault in draw(faults):
        panel = damaged(panel, row, column, fault)
    return panel


def damaged(panel: Panel, row: int, column: int, fault: str) -> Panel:
    if fault == "unusable":
        return without(panel, row, column)
    return with_volume(panel, row, column, 0 if fault == "untraded" else np.nan)


def revised(panel: Panel, row: int, column: int, factor: float) -> Panel:
    """The panel with other prices and another volume in one bar."""
    changed = {}
    for name in (*PRICES, "raw_close", "raw_volume"):
        changed[name] = getattr(panel, name).copy()
        changed[name][row, column] *= factor
    return replace(panel, **changed)


def assert_same(made: Computed, expected: Computed, where: np.ndarray | slice, names: set[str]) -> None:
    """Bit for bit."""
    for name in names:
        assert np.array_equal(made.values[name][where], expected.values[name][where], equal_nan=True), name


@settings(max_examples=20)
@given(panel=panels(), last=rows, future=st.lists(st.tuples(rows, columns, st.floats(0.2, 5)), min_size=1, max_size=4))
def test_nothing_that_comes_later_changes_a_feature(panel, last, future):
    changed = panel
    for row, column, factor in future:
        if row > last:
            changed = revised(without(changed, row, (column + 1) % INSTRUMENTS), row, column, factor)
    now = slice(0, last + 1)
    made, expected = compute(changed), compute(panel)
    assert_same(made, expected, now, set(BY_NAME))
    assert made.reasons[now].tolist() == expected.reasons[now].tolist()


@settings(max_examples=20)
@given(
    panel=panels(),
    row=rows,
    column=columns,
    change=st.one_of(st.floats(0.2, 5), st.sampled_from(["unusable", "untraded", "uncounted"])),
)
def test_a_bar_changes_what_looks_back_to_it_and_other_instruments_only_where_they_are_compared(
    panel, row, column, change
):
    changed = revised(panel, row, column, change) if isinstance(change, float) else damaged(panel, row, column, change)
    made, expected = compute(changed), compute(panel)
    for feature in FEATURES:
        reach = np.zeros((SESSIONS, INSTRUMENTS), dtype=bool)
        reach[row : row + feature.lookback, slice(None) if feature.cross_sectional else column] = True
        assert_same(made, expected, ~reach, {feature.name})


@settings(max_examples=20)
@given(panel=panels(), factors=st.tuples(*[st.floats(0.001, 1000)] * INSTRUMENTS))
def test_the_scale_of_total_return_prices_changes_nothing(panel, factors):
    scaled = replace(panel, **{name: getattr(panel, name) * np.array(factors) for name in PRICES})
    made, expected = compute(scaled), compute(panel)
    for name, values in expected.values.items():
        scale = panel.raw_close if BY_NAME[name].unit.startswith("dollars a share") else 1
        np.testing.assert_allclose(made.values[name] / scale, values / scale, rtol=1e-9, atol=1e-9, err_msg=name)
    assert made.reasons.tolist() == expected.reasons.tolist()


@settings(max_examples=20)
@given(panel=panels())
def test_every_null_has_its_reason_and_nothing_else_has_one(panel):
    explained(compute(panel), [0, 1, 20, 149, *range(180, SESSIONS, 7), SESSIONS - 1])


@settings(max_examples=20)
@given(panel=panels())
def test_values_lie_where_their_units_say(panel):
    values = compute(panel).values
    for name, value in values.items():
        known = value[np.isfinite(value)]
        assert not np.isinf(value).any(), name
        if name.endswith("_rank"):
            assert ((known >= 0) & (known <= 1)).all(), name
        if name.startswith(("volatility", "atr", "amihud", "dollar")) and not name.endswith("_z"):
            assert (known >= 0).all(), name
    rsi, drawdown = values["rsi_14"], values["drawdown_252"]
    assert ((rsi[~np.isnan(rsi)] >= 0) & (rsi[~np.isnan(rsi)] <= 100)).all()
    assert (drawdown[~np.isnan(drawdown)] <= 0).all()


@pytest.mark.parametrize("first", [0, 1, 100, 251, 252, 253, 400, 519])
def test_one_session_alone_gives_the_bits_of_the_whole_history(first):
    panel = random_panel(520, 5, seed=3)
    for row, column, fault in ((130, 0, "unusable"), (390, 1, "untraded"), (399, 2, "uncounted"), (147, 3, "unusable")):
        panel = damaged(panel, row, column, fault)
    whole = compute(panel)
    start = max(first - MAX_LOOKBACK + 1, 0)
    alone = compute(cut(panel, start, first + 1), first=first - start)
    for name, values in whole.values.items():
        np.testing.assert_array_equal(alone.values[name], values[first : first + 1], err_msg=name)
    assert alone.reasons.tolist() == whole.reasons[first : first + 1].tolist()


def test_a_stretch_gives_the_bits_of_the_whole_history_on_fortran_and_sliced_matrices_as_well():
    panel = random_panel(400, 7, seed=4)
    whole = compute(panel)
    odd = replace(panel, **{name: np.asfortranarray(getattr(panel, name)) for name in (*PRICES, "raw_close")})
    part = compute(cut(odd, 20, 390), first=MAX_LOOKBACK - 1)
    for name, values in whole.values.items():
        np.testing.assert_array_equal(part.values[name], values[20 + MAX_LOOKBACK - 1 : 390], err_msg=name)


def test_instruments_without_a_bar_change_no_bit_of_the_others():
    panel = random_panel(SESSIONS, 40, seed=6)
    gone = [0, 3, 4, 5, 17, 38]
    padded = panel
    for column in gone:
        for row in range(SESSIONS):
            padded = without(padded, row, column, "not listed")
    rest = np.setdiff1d(np.arange(40), gone)
    names = (*PRICES, "raw_close", "raw_volume", "usable", "reasons")
    alone = compute(
        replace(
            panel,
            symbols=tuple(panel.symbols[at] for at in rest),
            **{name: getattr(panel, name)[:, rest] for name in names},
        )
    )
    for name, values in compute(padded).values.items():
        assert np.array_equal(values[:, rest], alone.values[name], equal_nan=True), name
    assert np.array_equal(alone.reasons, compute(padded).reasons[:, rest])


def test_market_features_depend_on_the_others_and_the_rest_does_not():
    panel = random_panel(SESSIONS, INSTRUMENTS)
    changed = compute(revised(panel, SESSIONS - 1, 0, 3.0))
    expected = compute(panel)
    moved = {
        name for name in BY_NAME if not np.array_equal(changed.values[name][-1, 1:], expected.values[name][-1, 1:])
    }
    assert moved <= AGAINST_OTHERS
    assert {"market_return_1", "beta_252", "log_return_1_z"} <= moved
