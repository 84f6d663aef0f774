"""Every formula against TA-Lib, pandas, or numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import talib

from market_data.features import cross_section, liquidity, market, returns, technical, volatility
from market_data.features.compute import compute
from market_data.features.usable import usable_bars
from market_data_tests.feature_panels import cut, panel_of, random_panel

PANEL = random_panel(420, 3, seed=11)
BARS = usable_bars(PANEL)
FEATURES = compute(PANEL).values
ROWS = [149, 150, 200, 333, 419]


def column(values: list[float]) -> np.ndarray:
    return np.array(values, dtype=np.float64)[:, None]


def frame(values: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(values)


def test_returns_by_hand():
    close = column([100, 110, 99])
    assert returns.simple_return(close, 1)[1:, 0] == pytest.approx([0.10, -0.10])
    assert returns.log_return(close, 1)[1:, 0] == pytest.approx([0.0953101798043249, -0.1053605156578263])
    assert returns.simple_return(close, 2)[2, 0] == pytest.approx(-0.01)
    assert np.isnan(returns.simple_return(close, 2)[:2]).all()


@pytest.mark.parametrize("horizon", [1, 5, 21, 63, 252])
def test_returns_are_those_of_ta_lib(horizon):
    for symbol in range(3):
        rate = talib.ROCP(PANEL.close[:, symbol], horizon)
        np.testing.assert_allclose(FEATURES[f"simple_return_{horizon}"][:, symbol], rate, rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(FEATURES[f"log_return_{horizon}"][:, symbol], np.log1p(rate), rtol=1e-11, atol=1e-15)


def test_momentum_by_hand_leaves_the_last_month_out():
    close = np.full((253, 1), 50.0)
    close[0], close[231], close[252] = 40, 60, 1000
    assert returns.momentum(close)[252, 0] == pytest.approx(0.5)
    assert FEATURES["momentum_12_1"][300, 0] == pytest.approx(PANEL.close[279, 0] / PANEL.close[48, 0] - 1)


def test_drawdown_is_from_the_highest_close_of_the_window():
    assert returns.drawdown(column([80, 100, 90, 95]), 3)[2:, 0] == pytest.approx([-0.10, -0.05])
    for symbol in range(3):
        close = PANEL.close[:, symbol]
        np.testing.assert_allclose(FEATURES["drawdown_252"][:, symbol], close / talib.MAX(close, 252) - 1, atol=1e-15)


def test_close_volatility_by_hand():
    close = column([100, 100 * math.exp(0.01), 100 * math.exp(-0.01), 100 * math.exp(0.02)])
    # Log returns 0.01, -0.02 and 0.03: mean 0.02/3, squared deviations 0.0012666..., over 2.
    assert volatility.close_to_close(close, 3)[3, 0] == pytest.approx(math.sqrt(252 * 0.000633333333333333))


@pytest.mark.parametrize("sessions", [21, 63])
def test_close_volatility_is_that_of_pandas(sessions):
    expected = frame(np.log(PANEL.close)).diff().rolling(sessions).std() * math.sqrt(252)
    np.testing.assert_allclose(FEATURES[f"volatility_close_{sessions}"], expected, rtol=1e-9)


def test_parkinson_by_hand():
    panel = panel_of(close=column([100, 100]), high=column([102, 103]), low=column([100, 99]))
    # ln(1.02)^2 = 0.000392144..., ln(103/99)^2 = 0.001568883...; mean over 4 ln 2 = 2.772588...
    expected = math.sqrt(252 * (0.00039214405 + 0.00156888282) / 2 / 2.7725887222)
    assert volatility.parkinson(usable_bars(panel), 2)[1, 0] == pytest.approx(expected, rel=1e-6)


def test_garman_klass_by_hand():
    panel = panel_of(
        opened=column([100, 101]), high=column([102, 103]), low=column([100, 99]), close=column([101, 100])
    )
    # Halves of the squares above, less 0.386294 times ln(1.01)^2 = 0.00009900905 in both sessions.
    each = [0.000196072025 - 0.3862943611 * 0.00009900905, 0.00078444141 - 0.3862943611 * 0.00009900905]
    assert volatility.garman_klass(usable_bars(panel), 2)[1, 0] == pytest.approx(
        math.sqrt(252 * sum(each) / 2), rel=1e-6
    )


def test_yang_zhang_by_hand():
    panel = panel_of(
        opened=column([100, 101, 102]),
        high=column([102, 103, 104]),
        low=column([99, 100, 100]),
        close=column([101, 100, 103]),
    )
    nights = [math.log(101 / 101), math.log(102 / 100)]
    days = [math.log(100 / 101), math.log(103 / 102)]
    # Of two values the sample variance is half the square of their difference.
    night, day = (nights[0] - nights[1]) ** 2 / 2, (days[0] - days[1]) ** 2 / 2
    rogers = [
        math.log(103 / 100) * math.log(103 / 101) + math.log(100 / 100) * math.log(100 / 101),
        math.log(104 / 103) * math.log(104 / 102) + math.log(100 / 103) * math.log(100 / 102),
    ]
    k = 0.34 / (1.34 + 3)
    expected = math.sqrt(252 * (night + k * day + (1 - k) * sum(rogers) / 2))
    assert volatility.yang_zhang(usable_bars(panel), 2)[2, 0] == pytest.approx(expected, rel=1e-12)
    assert expected == pytest.approx(0.4586, abs=5e-5)


def test_ranged_volatilities_are_those_of_pandas():
    opened, high, low, close = (frame(np.log(getattr(PANEL, name))) for name in ("open", "high", "low", "close"))
    parkinson = ((high - low) ** 2 / (4 * np.log(2))).rolling(21).mean()
    garman = (0.5 * (high - low) ** 2 - (2 * np.log(2) - 1) * (close - opened) ** 2).rolling(21).mean()
    rogers = ((high - close) * (high - opened) + (low - close) * (low - opened)).rolling(21).mean()
    k = 0.34 / (1.34 + 22 / 20)
    night = (opened - close.shift()).rolling(21).var()
    yang = night + k * (close - opened).rolling(21).var() + (1 - k) * rogers
    for name, variance in (("parkinson", parkinson), ("garman_klass", garman), ("yang_zhang", yang)):
        np.testing.assert_allclose(FEATURES[f"volatility_{name}_21"], np.sqrt(252 * variance), rtol=1e-8)


def test_a_series_that_never_moves_has_no_volatility_and_no_bollinger_z():
    values = compute(panel_of(close=np.full((260, 2), 33.1))).values
    for name in values:
        if name.startswith("volatility") and not name.endswith(("_z", "_rank")):
            assert values[name][-1, 0] == 0, name
    for name in ("macd", "macd_signal", "macd_histogram", "atr_14", "atr_14_share", "rsi_14", "amihud_21"):
        assert values[name][-1, 0] == 0, name
    for name in ("bollinger_z_20", "beta_252", "log_return_1_z"):
        assert np.isnan(values[name][-1, 0]), name
    assert values["log_return_1_rank"][-1].tolist() == [0.5, 0.5]


def test_true_range_by_hand_and_by_ta_lib():
    panel = panel_of(close=column([100, 95]), high=column([101, 97]), low=column([99, 94]))
    assert technical.true_range(usable_bars(panel))[1, 0] == 6
    for symbol in range(3):
        expected = talib.TRANGE(PANEL.high[:, symbol], PANEL.low[:, symbol], PANEL.close[:, symbol])
        np.testing.assert_allclose(technical.true_range(BARS)[:, symbol], expected, rtol=1e-12)


@pytest.mark.parametrize("row", ROWS)
def test_smoothed_features_are_those_of_ta_lib_fed_the_window_alone(row):
    window = cut(PANEL, row - 149, row + 1)
    for symbol in range(3):
        high, low, close = (getattr(window, name)[:, symbol].copy() for name in ("high", "low", "close"))
        dollars = PANEL.raw_close[row, symbol] / PANEL.close[row, symbol]
        line, signal, histogram = (series[-1] * dollars for series in talib.MACD(close))
        expected = {
            "rsi_14": talib.RSI(close)[-1],
            "atr_14": talib.ATR(high, low, close)[-1] * dollars,
            "atr_14_share": talib.ATR(high, low, close)[-1] / close[-1],
            "macd": line,
            "macd_signal": signal,
            "macd_histogram": histogram,
        }
        for name, value in expected.items():
            assert FEATURES[name][row, symbol] == pytest.approx(value, rel=1e-9, abs=1e-11), name


def test_smoothed_features_differ_from_a_longer_memory_by_less_than_the_weight_left_out():
    close, high, low = PANEL.close[:, 0], PANEL.high[:, 0], PANEL.low[:, 0]
    dollars = PANEL.raw_close[:, 0] / close
    line, signal, _ = talib.MACD(close)
    for name, whole, scale in (
        ("rsi_14", talib.RSI(close), 100),
        ("atr_14_share", talib.ATR(high, low, close) / close, 1),
        ("macd", line * dollars, PANEL.raw_close[:, 0]),
        ("macd_signal", signal * dollars, PANEL.raw_close[:, 0]),
    ):
        difference = np.abs(FEATURES[name][149:, 0] - whole[149:]) / np.broadcast_to(scale, close.shape)[149:]
        assert 0 < difference.max() < 1e-4, name


def test_relative_strength_is_100_without_a_fall_and_0_without_a_move_as_ta_lib_has_it():
    rising, falling, still = np.linspace(50, 90, 150), np.linspace(90, 50, 150), np.full(150, 70.0)
    made = technical.relative_strength(np.column_stack([rising, falling, still]))[-1]
    assert made.tolist() == [100, 0, 0]
    assert made.tolist() == [talib.RSI(series)[-1] for series in (rising, falling, still)]


def test_bollinger_z_by_hand_and_by_ta_lib():
    # Mean 3, squared deviations 4 + 1 + 0 + 1 + 4 = 10 over 5.
    assert technical.bollinger_z(column([1, 2, 3, 4, 5]), 5)[4, 0] == pytest.approx(2 / math.sqrt(2))
    for symbol in range(3):
        close = PANEL.close[:, symbol]
        upper, middle, _ = talib.BBANDS(close, 20, 2, 2)
        np.testing.assert_allclose(
            FEATURES["bollinger_z_20"][:, symbol], 2 * (close - middle) / (upper - middle), rtol=1e-7, atol=1e-10
        )


def test_dollar_volume_and_amihud_by_hand():
    panel = panel_of(close=column([100, 110, 99]), volume=column([1e4, 2e4, 5e4]))
    bars = usable_bars(panel)
    assert liquidity.dollar_volume(bars)[:, 0].tolist() == [1_000_000, 2_200_000, 4_950_000]
    # (0.10 / 2.2 + 0.10 / 4.95) / 2 for a million dollars.
    assert liquidity.amihud(bars, 2)[2, 0] == pytest.approx(0.0328282828)


def test_dollar_volume_and_amihud_are_those_of_pandas():
    dollars = frame(PANEL.raw_close * PANEL.raw_volume)
    np.testing.assert_allclose(FEATURES["dollar_volume_21"], dollars.rolling(21).mean(), rtol=1e-11)
    expected = (frame(PANEL.close).pct_change(fill_method=None).abs() / dollars * 1e6).rolling(21).mean()
    np.testing.assert_allclose(FEATURES["amihud_21"], expected, rtol=1e-9)


def test_dollar_features_are_in_dollars_as_traded_at_the_session():
    other = compute(panel_of(
        opened=PANEL.open, high=PANEL.high, low=PANEL.low, close=PANEL.close, raw_close=PANEL.raw_close * 8,
        volume=PANEL.raw_volume,
    )).values  # fmt: skip
    for name in ("atr_14", "macd", "macd_signal", "macd_histogram", "dollar_volume", "dollar_volume_21"):
        np.testing.assert_allclose(other[name], FEATURES[name] * 8, rtol=1e-12)
    for name in ("atr_14_share", "rsi_14", "beta_252", "volatility_yang_zhang_21"):
        np.testing.assert_array_equal(other[name], FEATURES[name])


def test_market_return_by_hand_leaves_out_who_has_none():
    made = market.market_return(np.array([[0.01, np.nan, 0.03], [np.nan, np.nan, np.nan]]))
    assert made[0, 0] == pytest.approx(0.02)
    assert np.isnan(made[1, 0])


def test_beta_by_hand():
    index = column([0.01, -0.02, 0.03])
    assert market.beta(2 * index + 0.005, index, 3)[2, 0] == pytest.approx(2)
    # Deviations 0, 0.01, -0.01 and 1/300, -8/300, 7/300: sum of products -0.0005, of squares 114/90000.
    assert market.beta(column([0.02, 0.03, 0.01]), index, 3)[2, 0] == pytest.approx(-0.39473684)


def test_beta_is_that_of_ta_lib_on_an_index_of_the_market():
    index = np.concatenate([[100.0], 100 * np.cumprod(1 + FEATURES["market_return_1"][1:, 0])])
    for symbol in range(3):
        expected = talib.BETA(index, PANEL.close[:, symbol], 252)
        np.testing.assert_allclose(FEATURES["beta_252"][:, symbol], expected, rtol=1e-8)


def test_betas_of_instruments_that_are_always_there_average_one():
    np.testing.assert_allclose(FEATURES["beta_252"][252:].mean(axis=1), 1, rtol=1e-10)


def test_ranks_by_hand_share_ties_and_need_two():
    made = cross_section.rank(np.array([[5, 1, 3, 3, np.nan], [7, np.nan, np.nan, np.nan, np.nan]]))
    assert made[0, :4] == pytest.approx([1, 0, 0.5, 0.5])
    assert np.isnan(made[0, 4])
    assert np.isnan(made[1]).all()


def test_z_scores_by_hand_need_two_that_differ():
    made = cross_section.z_score(np.array([[1, 2, 3, np.nan], [4, 4, 4, 4], [4, np.nan, np.nan, np.nan]]))
    # Mean 2, deviation sqrt(2/3).
    assert made[0, :3] == pytest.approx([-1.2247448714, 0, 1.2247448714])
    assert np.isnan(made[0, 3])
    assert np.isnan(made[1:]).all()


def test_what_differs_by_rounding_ties():
    row = np.array([[0.1 + 0.2, 0.3, 0.5]])
    assert cross_section.rank(row)[0].tolist() == [0.25, 0.25, 1]
    assert np.isnan(cross_section.z_score(row[:, :2])).all()


@pytest.mark.parametrize("name", ["log_return_1", "log_return_21", "momentum_12_1", "volatility_close_21"])
def test_standings_are_those_of_pandas(name):
    values = frame(FEATURES[name])
    away = values.sub(values.mean(axis=1), axis=0).div(values.std(axis=1, ddof=0), axis=0)
    np.testing.assert_allclose(FEATURES[f"{name}_z"], away, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(FEATURES[f"{name}_rank"], (values.rank(axis=1) - 1) / 2)
    volumes = frame(FEATURES["dollar_volume_21"])
    np.testing.assert_allclose(FEATURES["turnover_rank"], (volumes.rank(axis=1) - 1) / 2)
