"""Two providers' bars compared: what agrees, what differs by how much, and who stands alone."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data.schemas import BAR_FIELDS
from market_data.validation.reconcile import Tolerance, compare, odd_one, odd_ones, price_error

DAYS = pd.DatetimeIndex(["2024-01-02", "2024-01-03", "2024-01-04"]).astype("datetime64[s]")


def bars(closes: list[float], volumes: list[float] | None = None, days: pd.DatetimeIndex = DAYS) -> pd.DataFrame:
    close = np.array(closes, dtype=float)
    return pd.DataFrame(
        {
            "date": days[: len(close)],
            "open": close,
            "high": close + 1,
            "low": close - 1,
            "close": close,
            "volume": np.array(volumes if volumes is not None else [1e6] * len(close), dtype=float),
        }
    )


def verdicts(held: pd.DataFrame, other: pd.DataFrame, **tolerance: float) -> list[str]:
    return compare(held, other, Tolerance(**tolerance))["verdict"].tolist()


def test_a_cent_is_allowed_and_two_are_not():
    held = bars([10.0, 10.0, 10.0])
    assert verdicts(held, bars([10.01, 9.99, 10.02])) == ["agree", "agree", "price_differs"]
    assert verdicts(held, bars([10.01, 9.99, 10.02]), ticks=2) == ["agree"] * 3


def test_the_field_that_differs_most_is_told_with_both_values_and_the_tolerance():
    other = bars([10.0])
    other.loc[0, ["high", "low"]] = [11.05, 8.5]
    row = compare(bars([10.0]), other, Tolerance()).iloc[0]
    assert row["field"] == "low"
    assert (row["value"], row["other_value"], row["tolerance"]) == (9.0, 8.5, pytest.approx(0.01))
    agreeing = compare(bars([10.0]), bars([10.0]), Tolerance()).iloc[0]
    assert agreeing["field"] == ""
    assert np.isnan(agreeing["value"])


def test_volumes_may_differ_by_a_share_of_the_larger_one_or_by_a_round_lot():
    held = bars([10.0] * 3, [1e6, 1e6, 500.0])
    other = bars([10.0] * 3, [960_000.0, 940_000.0, 410.0])
    assert verdicts(held, other) == ["agree", "volume_differs", "agree"]
    row = compare(held, other, Tolerance()).iloc[1]
    assert (row["field"], row["value"], row["other_value"], row["tolerance"]) == ("volume", 1e6, 940_000.0, 50_000.0)


def test_a_price_that_differs_goes_before_a_volume_that_does():
    assert verdicts(bars([10.0], [1e6]), bars([11.0], [2e6])) == ["price_differs"]


def test_a_session_one_side_lacks_is_missing_and_a_field_it_lacks_is_not_compared():
    held = bars([10.0, 10.0, 10.0])
    other = bars([10.0, 10.0])
    other.loc[0, "volume"] = np.nan
    other.loc[1, list(BAR_FIELDS)] = np.nan
    assert verdicts(held, other) == ["agree", "one_missing", "one_missing"]
    row = compare(held, other, Tolerance()).iloc[2]
    assert (row["field"], row["value"]) == ("close", 10.0)
    assert np.isnan(row["other_value"])
    assert np.isnan(row["tolerance"])


def test_a_price_of_few_digits_is_compared_as_closely_as_its_digits_allow():
    held = bars([4000.0, 4000.0])
    error = price_error(held, np.array([1.0, 40.0]))
    assert error.tolist() == [0.0, pytest.approx(0.5 * 0.001 * 40)]  # 4001 / 40 = 100.025 has three decimals of six
    other = bars([4000.015, 4000.015]).assign(price_error=error)
    assert verdicts(held, other) == ["price_differs", "agree"]


def test_nothing_compared_with_nothing_has_no_rows():
    empty = bars([])
    assert len(compare(empty, empty, Tolerance())) == 0
    assert verdicts(bars([1.5]), empty) == ["one_missing"]


numbers = st.none() | st.integers(1, 3000).map(lambda cents: cents / 100)
frames = st.lists(st.tuples(st.sampled_from(range(12)), numbers, numbers), unique_by=lambda row: row[0]).map(
    lambda rows: pd.DataFrame(
        {
            "date": pd.Series([np.datetime64("2024-01-02", "s") + np.timedelta64(d, "D") for d, _, _ in rows]).astype(
                "datetime64[s]"
            ),
            **{name: pd.Series([p for _, p, _ in rows], dtype=float) for name in BAR_FIELDS[:4]},
            "volume": pd.Series([v and v * 1000 for _, _, v in rows], dtype=float),
        }
    )
)


@settings(max_examples=25)
@given(frames)
def test_bars_agree_with_themselves(frame):
    assert set(compare(frame, frame, Tolerance())["verdict"]) <= {"agree"}


@settings(max_examples=25)
@given(frames, frames)
def test_comparing_is_symmetric(one, other):
    there, back = compare(one, other, Tolerance()), compare(other, one, Tolerance())
    swapped = back.rename(columns={"value": "other_value", "other_value": "value"})[list(there)]
    pd.testing.assert_frame_equal(there, swapped)


@settings(max_examples=25)
@given(frames, frames, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(one, other, random):
    order = list(range(len(one)))
    random.shuffle(order)
    shuffled = one.iloc[order].reset_index(drop=True)
    pd.testing.assert_frame_equal(compare(one, other, Tolerance()), compare(shuffled, other, Tolerance()))


def pairs(*names: str) -> set[frozenset[str]]:
    return {frozenset(pair.split("-")) for pair in names}


def test_one_stands_alone_only_against_two_or_more_that_agree():
    assert odd_one(["a", "b", "c"], pairs("a-b", "b-c")) == "b"
    assert odd_one(["a", "b", "c", "d"], pairs("d-a", "d-b", "d-c")) == "d"
    assert odd_one(["a", "b"], pairs("a-b")) is None
    assert odd_one(["a", "b", "c"], pairs("a-b", "b-c", "a-c")) is None
    assert odd_one(["a", "b", "c"], pairs("a-b")) is None
    assert odd_one(["a", "b", "c"], pairs()) is None
    assert odd_one(["a", "b", "c", "d"], pairs("a-c", "a-d", "b-c", "b-d")) is None


@given(st.permutations("abcde"), st.sets(st.sampled_from(list(combinations("abcde", 2)))))
def test_who_stands_alone_does_not_depend_on_the_order(order, differing):
    found = {frozenset(pair) for pair in differing}
    alone = odd_one(order, found)
    assert alone == odd_one("abcde", found)
    if alone is not None:
        assert found == {frozenset((alone, other)) for other in "abcde" if other != alone}


def test_odd_ones_are_told_by_session_from_prices_alone():
    frames = {
        "a": bars([10.0, 10.0, 10.0]),
        "b": bars([10.0, 12.0, 10.0], [1e6, 1e6, 9e6]),
        "c": bars([10.01, 10.0]),
    }
    assert odd_ones(frames, Tolerance()) == {DAYS[1]: "b"}
    assert odd_ones(dict(reversed(frames.items())), Tolerance()) == {DAYS[1]: "b"}
    assert odd_ones({name: frames[name] for name in "ab"}, Tolerance()) == {}
