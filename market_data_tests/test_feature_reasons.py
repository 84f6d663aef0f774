"""The text that says why features are null."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from market_data.errors import MarketDataError
from market_data.features.compute import compute
from market_data.features.reasons import reason_for
from market_data.features.usable import PanelError, usable_bars
from market_data_tests.feature_panels import cut, explained, panel_of, random_panel, with_volume, without

PANEL = random_panel(560, 3, seed=7)


def day(row: int) -> str:
    return str(PANEL.sessions[row])


def text_of(panel, row: int, column: int = 0) -> str | None:
    computed = compute(panel)
    explained(computed, [row])
    return computed.reasons[row, column]


def test_a_row_with_every_feature_has_no_reason():
    assert text_of(PANEL, 400) is None


def test_rows_that_warm_up_say_how_many_sessions_are_held():
    assert text_of(PANEL, 119) == "lookbacks of 121 and more: warm-up, 120 sessions held"
    assert text_of(PANEL, 0) == "lookbacks of 2 and more: warm-up, 1 sessions held"
    assert text_of(PANEL, 251) == "lookbacks of 253 and more: warm-up, 252 sessions held"
    assert text_of(PANEL, 252) is None


def test_the_sessions_own_bar_makes_all_null():
    panel = without(PANEL, 300, 0)
    computed = compute(panel)
    assert computed.reasons[300, 0] == f"all: {day(300)} flagged: log_return"
    assert all(np.isnan(value[300, 0]) for value in computed.values.values())
    assert computed.reasons[300, 1] is None


def test_a_bar_in_the_window_is_named_with_the_windows_that_reach_it():
    panel = without(PANEL, 300, 0, "rejected")
    assert text_of(panel, 310) == f"windows of 11 and more: {day(300)} rejected"
    assert text_of(panel, 552) == (
        f"windows of 253 and more: {day(300)} rejected; "
        f"log_return_252, simple_return_252, momentum_12_1: {day(300)} rejected"
    )
    assert text_of(panel, 553) is None


def test_returns_ask_their_endpoints_alone():
    panel = without(PANEL, 300, 0)
    values = compute(panel).values
    assert text_of(panel, 305) == (
        f"windows of 6 and more: {day(300)} flagged: log_return; "
        f"log_return_5, simple_return_5: {day(300)} flagged: log_return"
    )
    for row, null in ((301, 1), (305, 5), (321, 21), (363, 63), (552, 252)):
        for horizon in (1, 5, 21, 63, 252):
            assert np.isnan(values[f"log_return_{horizon}"][row, 0]) == (horizon == null)
    momentum_null = [row for row in range(253, 560) if np.isnan(values["momentum_12_1"][row, 0])]
    assert momentum_null == [300, 321, 552]


def test_of_several_bars_the_latest_is_told_for_windows_and_each_for_its_endpoint():
    panel = without(without(PANEL, 300, 0, "rejected"), 316, 0, "no bar")
    assert text_of(panel, 321) == (
        f"windows of 6 and more: {day(316)} no bar; log_return_5, simple_return_5: {day(316)} no bar; "
        f"log_return_21, simple_return_21, momentum_12_1: {day(300)} rejected"
    )


def test_an_instrument_listed_later_says_so_for_as_long_as_it_matters():
    panel = PANEL
    for row in range(280):
        panel = without(panel, row, 2, "not listed")
    assert text_of(panel, 279, 2) == f"all: {day(279)} not listed"
    assert text_of(panel, 291, 2) == (
        f"windows of 13 and more: {day(279)} not listed; "
        f"log_return_21, simple_return_21, momentum_12_1: {day(270)} not listed; "
        f"log_return_63, simple_return_63: {day(228)} not listed; "
        f"log_return_252, simple_return_252, momentum_12_1: {day(39)} not listed"
    )
    assert text_of(panel, 279 + 253, 2) is None


def test_a_missing_volume_makes_what_needs_it_null_for_21_sessions():
    panel = with_volume(PANEL, 300, 0, np.nan)
    assert text_of(panel, 300) == (
        f"dollar_volume, dollar_volume_21, amihud_21, turnover_rank: {day(300)} no usable volume"
    )
    assert text_of(panel, 320) == f"dollar_volume_21, amihud_21, turnover_rank: {day(300)} no usable volume"
    assert text_of(panel, 321) is None


def test_a_volume_of_zero_makes_illiquidity_null_and_nothing_else():
    panel = with_volume(PANEL, 300, 0, 0)
    assert text_of(panel, 300) == text_of(panel, 320) == f"amihud_21: {day(300)} volume 0"
    assert text_of(panel, 321) is None
    assert compute(panel).values["dollar_volume"][300, 0] == 0


def test_volumes_that_no_feature_needs_any_more_are_not_told_beside_other_reasons():
    panel = without(with_volume(with_volume(PANEL, 300, 0, 0), 299, 0, np.nan), 310, 0)
    assert text_of(panel, 319) == (
        f"windows of 10 and more: {day(310)} flagged: log_return; "
        f"dollar_volume_21, amihud_21, turnover_rank: {day(299)} no usable volume; amihud_21: {day(300)} volume 0"
    )
    assert text_of(panel, 322) == f"windows of 13 and more: {day(310)} flagged: log_return"


def test_one_instrument_alone_has_no_standing_and_a_beta_of_one():
    computed = compute(cut_columns(PANEL, 1))
    explained(computed, [0, 300, 559])
    assert computed.values["beta_252"][300, 0] == pytest.approx(1)
    assert reason_for("log_return_1_rank", computed.reasons[300, 0]) == "no other instrument has one"
    assert reason_for("turnover_rank", computed.reasons[300, 0]) == "no other instrument has one"


def cut_columns(panel, count: int):
    matrices = ("open", "high", "low", "close", "raw_close", "raw_volume", "usable", "reasons")
    return replace(panel, symbols=panel.symbols[:count], **{name: getattr(panel, name)[:, :count] for name in matrices})


def test_what_never_moves_says_so():
    text = text_of(panel_of(close=np.full((260, 2), 20.0)), 259)
    assert reason_for("bollinger_z_20", text) == "the closes of 20 sessions did not move"
    assert reason_for("beta_252", text) == "the market of 252 sessions did not move"
    assert reason_for("momentum_12_1_z", text) == "no two instruments differ"
    assert reason_for("momentum_12_1_rank", text) is None


def test_rows_alike_share_one_text():
    reasons = compute(PANEL).reasons
    assert reasons[100, 0] is reasons[100, 2]


def test_a_reason_with_a_semicolon_stays_one_clause():
    text = text_of(without(PANEL, 300, 0, "flagged: log_return; ohlc"), 310)
    assert reason_for("rsi_14", text) == f"{day(300)} flagged: log_return, ohlc"


@pytest.mark.parametrize(("name", "value", "reason"), [
    ("close", 0.0, "no price"),
    ("raw_close", np.nan, "no price"),
    ("low", -1.0, "no price"),
    ("high", 0.5, "open, high, low and close contradict each other"),
])  # fmt: skip
def test_a_bar_said_to_be_usable_that_cannot_be_is_not_used(name, value, reason):
    changed = getattr(PANEL, name).copy()
    changed[300, 0] = value
    panel = replace(PANEL, **{name: changed})
    assert usable_bars(panel).reasons[300, 0] == reason
    assert text_of(panel, 300) == f"all: {day(300)} {reason}"


def test_prices_of_a_bar_that_is_not_usable_are_not_looked_at():
    panel = without(PANEL, 300, 0)
    close = panel.close.copy()
    close[300, 0] = 1e9
    with_price = compute(replace(panel, close=close))
    for name, values in compute(panel).values.items():
        np.testing.assert_array_equal(with_price.values[name], values, err_msg=name)


def test_matrices_that_do_not_fit_are_refused_by_name():
    with pytest.raises(
        PanelError, match=r"panel\.raw_volume has shape \(560, 2\), sessions and symbols make \(560, 3\)"
    ):
        compute(replace(PANEL, raw_volume=PANEL.raw_volume[:, :2]))
    sessions = PANEL.sessions.copy()
    sessions[10] = sessions[9]
    with pytest.raises(PanelError, match=f"not ascending at {day(9)}"):
        compute(replace(PANEL, sessions=sessions))
    with pytest.raises(MarketDataError, match="first is 561"):
        compute(PANEL, first=561)


def test_an_empty_panel_and_an_empty_stretch_have_no_rows():
    for panel, first in ((cut(PANEL, 0, 0), 0), (PANEL, 560)):
        computed = compute(panel, first=first)
        assert computed.reasons.shape == (0, 3)
        assert {value.shape for value in computed.values.values()} == {(0, 3)}
    assert compute(cut_columns(PANEL, 0)).reasons.shape == (560, 0)
