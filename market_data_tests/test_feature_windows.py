from __future__ import annotations

import numpy as np
import pytest

from market_data.features.smoothing import exponential_weights, line_weights, signal_weights, wilder_weights
from market_data.features.windows import comoment, earlier, weighted_sum, window_max, window_mean, window_sum

VALUES = np.random.default_rng(5).normal(3, 1, (90, 3))
LENGTHS = [1, 2, 3, 14, 20, 21, 63, 90]


def windows(values: np.ndarray, length: int) -> np.ndarray:
    """Shape (windows, instruments, length)."""
    return np.lib.stride_tricks.sliding_window_view(values, length, axis=0)


@pytest.mark.parametrize("length", LENGTHS)
def test_sum_mean_and_maximum_are_those_of_every_window(length):
    every = windows(VALUES, length)
    for made, expected in (
        (window_sum(VALUES, length), every.sum(axis=2)),
        (window_mean(VALUES, length), every.mean(axis=2)),
        (window_max(VALUES, length), every.max(axis=2)),
    ):
        np.testing.assert_allclose(made[length - 1 :], expected, rtol=1e-14)
        assert np.isnan(made[: length - 1]).all()


@pytest.mark.parametrize("length", LENGTHS[1:])
def test_comoments_are_those_of_every_window(length):
    other = VALUES[:, :1] ** 2
    made, mean = comoment(VALUES, other, length)
    left, right = windows(VALUES, length), windows(other, length)
    away = (left - left.mean(axis=2, keepdims=True)) * (right - right.mean(axis=2, keepdims=True))
    np.testing.assert_allclose(made[length - 1 :], away.sum(axis=2), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(mean[length - 1 :], left.mean(axis=2), rtol=1e-14)


def test_equal_values_deviate_by_exactly_nothing_however_large():
    values = np.full((30, 1), 0.1)
    for length in range(2, 31):
        assert comoment(values, values, length)[0][-1, 0] == 0


def test_a_small_deviation_beside_a_large_mean_keeps_its_digits():
    values = 1e9 + np.array([[0.0], [1.0], [2.0], [3.0]])
    assert comoment(values, values, 4)[0][-1, 0] == 5.0


@pytest.mark.parametrize("made", [
    lambda values: window_sum(values, 21),
    lambda values: window_max(values, 21),
    lambda values: comoment(values, values, 21)[0],
    lambda values: weighted_sum(values, np.linspace(1, 2, 21)),
])  # fmt: skip
def test_a_missing_value_makes_null_its_windows_and_no_other_and_no_other_bit_changes(made):
    gap = VALUES.copy()
    gap[40, 1] = np.nan
    whole, broken = made(VALUES), made(gap)
    assert np.isnan(broken[40:61, 1]).all()
    assert not np.isnan(broken[61:, 1]).any()
    broken[40:61, 1] = whole[40:61, 1]
    np.testing.assert_array_equal(broken, whole)
    np.testing.assert_array_equal(made(VALUES[69:]), np.vstack([np.full((20, 3), np.nan), whole[89:]]))


def test_a_window_longer_than_the_matrix_is_null():
    for made in (window_sum(VALUES, 91), weighted_sum(VALUES, np.ones(91)), earlier(VALUES, 100)):
        assert made.shape == VALUES.shape
        assert np.isnan(made).all()


def recursive(values: list[float], share: float, seed: int) -> float:
    average = sum(values[:seed]) / seed
    for value in values[seed:]:
        average += (value - average) * share
    return average


def test_smoothing_weights_give_what_the_recursion_gives():
    window = VALUES[:60, :1]
    newest_first = window[::-1, 0]
    listed = window[:, 0].tolist()
    assert newest_first @ wilder_weights(60, 14) == pytest.approx(recursive(listed, 1 / 14, 14), rel=1e-13)
    assert newest_first @ exponential_weights(60, 9) == pytest.approx(recursive(listed, 2 / 10, 9), rel=1e-13)


def test_macd_weights_give_what_the_recursions_give():
    listed = VALUES[:60, 0].tolist()
    lines = [
        recursive(listed[14 : last + 1], 2 / 13, 12) - recursive(listed[: last + 1], 2 / 27, 26)
        for last in range(25, 60)
    ]
    newest_first = np.array(listed[::-1])
    assert newest_first @ line_weights(60, 12, 26) == pytest.approx(lines[-1], rel=1e-12)
    assert newest_first @ signal_weights(60, 12, 26, 9) == pytest.approx(recursive(lines, 2 / 10, 9), rel=1e-12)


def test_what_the_window_leaves_out_weighs_less_than_one_in_ten_thousand():
    assert (13 / 14) ** (149 - 14) < 1e-4
    assert (25 / 27) ** (150 - 26) < 1e-4
    assert wilder_weights(149, 14).sum() == pytest.approx(1)
    assert line_weights(150, 12, 26).sum() == pytest.approx(0, abs=1e-15)
