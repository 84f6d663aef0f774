from __future__ import annotations

import time
from datetime import date

import numpy as np
import pandas as pd
import pytest

from market_data.adjustments import (
    AdjustmentError,
    adjust,
    declared_dividends,
    dividend_factors,
    dividends_applied_until,
    split_factors,
    to_raw,
    to_tick,
)
from market_data.records import Basis
from market_data.schemas import RawBars, empty_actions, empty_bars

DAYS = ["2021-01-19", "2021-01-20", "2021-01-21", "2021-01-22", "2021-01-25"]
LATER = date(2021, 2, 1)


def actions(*rows: tuple[str, str, float]) -> pd.DataFrame:
    dates, kinds, values = zip(*rows, strict=True)
    return pd.DataFrame(
        {
            "date": pd.Series(pd.to_datetime(list(dates)).astype("datetime64[s]")),
            "kind": pd.Series(kinds, dtype="str"),
            "value": pd.Series(values, dtype="float64"),
        }
    )


def bars(closes, volumes=None, days=DAYS) -> pd.DataFrame:
    close = np.array(closes, dtype=float)
    volume = np.full(len(close), 1000.0) if volumes is None else np.array(volumes, dtype=float)
    return pd.DataFrame(
        {
            "date": pd.to_datetime(days[: len(close)]).astype("datetime64[s]"),
            "open": close,
            "high": close,
            "low": close,
            "close": close,
            "volume": volume,
            "vwap": close,
            "trade_count": np.full(len(close), 7.0),
        }
    )


def days_of(frame: pd.DataFrame) -> np.ndarray:
    return frame["date"].to_numpy()


def test_a_split_divides_prices_before_its_ex_date_and_multiplies_volumes():
    adjusted = adjust(bars([400, 404, 101, 102, 103]), actions(("2021-01-21", "split", 4.0)), Basis.SPLIT)
    assert adjusted["close"].tolist() == [100, 101, 101, 102, 103]
    assert adjusted["vwap"].tolist() == adjusted["open"].tolist() == adjusted["close"].tolist()
    assert adjusted["volume"].tolist() == [4000, 4000, 1000, 1000, 1000]
    assert adjusted["trade_count"].tolist() == [7] * 5
    RawBars.validate(adjusted)


def test_a_reverse_split_multiplies_prices():
    adjusted = adjust(bars([1, 1.1, 11, 12, 12]), actions(("2021-01-21", "split", 0.1)), Basis.SPLIT)
    np.testing.assert_allclose(adjusted["close"], [10, 11, 11, 12, 12], rtol=1e-15)
    assert adjusted["volume"].tolist() == [100, 100, 1000, 1000, 1000]


def test_a_spin_off_moves_prices_and_not_volumes():
    adjusted = adjust(bars([104.6, 104.6, 100, 101, 102]), actions(("2021-01-21", "spinoff", 1.046)), Basis.SPLIT)
    np.testing.assert_allclose(adjusted["close"], [100, 100, 100, 101, 102], rtol=1e-15)
    assert adjusted["volume"].tolist() == [1000] * 5


def test_a_dividend_scales_by_the_close_before_its_ex_date():
    paid = actions(("2021-01-21", "dividend", 2.0))
    factors = dividend_factors(days_of(bars([80, 100, 99, 98, 97])), [80, 100, 99, 98, 97], paid)
    assert factors.tolist() == [0.98, 0.98, 1, 1, 1]
    adjusted = adjust(bars([80, 100, 99, 98, 97]), paid, Basis.SPLIT_DIVIDEND)
    np.testing.assert_allclose(adjusted["close"], [78.4, 98, 99, 98, 97], rtol=1e-15)
    assert adjusted["volume"].tolist() == [1000] * 5


def test_a_dividend_on_the_day_of_a_split_is_per_new_share():
    both = actions(("2021-01-21", "dividend", 1.0), ("2021-01-21", "split", 2.0))
    raw = bars([200, 200, 99, 98, 97])
    assert dividend_factors(days_of(raw), raw["close"], both).tolist() == [0.99, 0.99, 1, 1, 1]
    np.testing.assert_allclose(adjust(raw, both, Basis.SPLIT_DIVIDEND)["close"], [99, 99, 99, 98, 97], rtol=1e-15)


def test_a_dividend_after_a_split_takes_the_close_between_them():
    steps = actions(("2021-01-20", "split", 2.0), ("2021-01-22", "dividend", 1.0))
    raw = bars([200, 100, 50, 49, 48])
    assert dividend_factors(days_of(raw), raw["close"], steps).tolist() == [0.98, 0.98, 0.98, 1, 1]


def test_a_close_that_is_null_is_passed_over_across_a_split():
    steps = actions(("2021-01-20", "split", 2.0), ("2021-01-21", "dividend", 1.0))
    raw = bars([200, np.nan, 99, 98, 97])
    assert dividend_factors(days_of(raw), raw["close"], steps).tolist() == [0.99, 0.99, 1, 1, 1]


def test_a_close_of_zero_is_passed_over_too():
    paid = actions(("2021-01-21", "dividend", 1.0))
    factors = dividend_factors(days_of(bars([100, 0, 99])), [100, 0, 99], paid)
    assert factors.tolist() == [0.99, 0.99, 1]


def test_dividends_without_a_close_between_them_count_as_their_sum():
    paid = actions(("2021-01-20", "dividend", 1.0), ("2021-01-21", "dividend", 2.0))
    raw = bars([100, np.nan, 97, 97, 97])
    factors = dividend_factors(days_of(raw), raw["close"], paid)
    np.testing.assert_allclose(factors, [0.97, 0.98, 1, 1, 1], rtol=1e-15)
    sent = adjust(raw, paid, Basis.SPLIT_DIVIDEND)
    back = to_raw(sent, paid, Basis.SPLIT_DIVIDEND, as_of=LATER, volume_basis=Basis.SPLIT)
    pd.testing.assert_frame_equal(back.bars, raw, check_exact=True)


def test_a_dividend_without_a_close_before_it_leaves_no_factor_instead_of_a_wrong_one():
    paid = actions(("2021-01-20", "dividend", 1.0))
    factors = dividend_factors(days_of(bars([1, 2])), [np.nan, 100], paid)
    np.testing.assert_array_equal(factors, [np.nan, 1])


def test_actions_before_the_first_bar_or_on_it_change_nothing():
    old = actions(("2020-08-31", "split", 4.0), ("2021-01-19", "dividend", 5000.0))
    raw = bars([100, 101, 102, 103, 104])
    pd.testing.assert_frame_equal(adjust(raw, old, Basis.SPLIT_DIVIDEND), raw, check_exact=True)


def test_actions_in_any_order_and_dividends_in_parts_give_the_same():
    raw = bars([200, 200, 99, 98, 97])
    whole = actions(("2021-01-20", "split", 2.0), ("2021-01-21", "dividend", 1.5), ("2021-01-25", "dividend", 1.0))
    parts = actions(
        ("2021-01-25", "dividend", 1.0),
        ("2021-01-21", "dividend", 0.5),
        ("2021-01-20", "split", 2.0),
        ("2021-01-21", "dividend", 1.0),
    )
    for basis in (Basis.SPLIT, Basis.SPLIT_DIVIDEND):
        pd.testing.assert_frame_equal(adjust(raw, parts, basis), adjust(raw, whole, basis), check_exact=True)


def test_raw_bars_are_given_back_as_they_are():
    raw = bars([1, 2, 3])
    assert adjust(raw, actions(("2021-01-20", "split", 2.0)), Basis.RAW) is raw
    split = actions(("2021-01-20", "split", 2.0))
    back = to_raw(raw, split, Basis.RAW, as_of=LATER, volume_basis=Basis.RAW)
    pd.testing.assert_frame_equal(back.bars, raw, check_exact=True)
    assert back.price_factor.tolist() == back.volume_factor.tolist() == [1, 1, 1]


def test_a_vendors_bars_come_back_with_the_factors_that_were_applied():
    known = actions(("2021-01-21", "split", 4.0), ("2021-02-01", "split", 3.0), ("2021-02-02", "split", 9.0))
    sent = bars([33.3333, 33.4167, 33.6667, 34.0, 34.3333], [12000, 12012, 3003, 3000, 3000])
    back = to_raw(sent, known, Basis.SPLIT, as_of=LATER, volume_basis=Basis.SPLIT)
    assert back.bars["close"].tolist() == [400, 401, 101, 102, 103]
    assert back.bars["volume"].tolist() == [1000, 1001, 1001, 1000, 1000]
    assert back.price_factor.tolist() == [12, 12, 3, 3, 3]
    np.testing.assert_allclose(back.volume_factor, [1 / 12, 1 / 12, 1 / 3, 1 / 3, 1 / 3], rtol=1e-15)


def test_a_vendor_may_take_a_spin_off_for_a_split_of_volume():
    known = actions(("2021-01-21", "spinoff", 1.25))
    sent = bars([80, 80, 80], [1250, 1250, 1000])
    told = {"as_of": LATER, "volume_basis": Basis.SPLIT}
    as_split = to_raw(sent, known, Basis.SPLIT, **told, spinoffs_move_volume=True).bars
    assert (as_split["close"].tolist(), as_split["volume"].tolist()) == ([100, 100, 80], [1000, 1000, 1000])
    assert to_raw(sent, known, Basis.SPLIT, **told).bars["volume"].tolist() == [1250, 1250, 1000]


def test_volumes_sent_whole_become_whole_and_fractions_that_are_none_of_rounding_stay():
    known = actions(("2021-01-22", "split", 4.0))
    told = {"as_of": LATER, "volume_basis": Basis.SPLIT}
    whole = to_raw(bars([25, 25, 25], [400, 403, 0]), known, Basis.SPLIT, **told).bars
    assert whole["volume"].tolist() == [100, 101, 0]
    parts = to_raw(bars([25, 25, 25], [400.04, 403.0, 402.5]), known, Basis.SPLIT, **told).bars
    assert parts["volume"].tolist() == [100.01, 100.75, 100.625]


def test_volumes_divided_by_the_dividend_factor_as_stooq_sends_them_become_whole_shares():
    known = actions(("2021-01-21", "dividend", 0.26))
    sent = bars([275.652, 277.86, 274.62], [53027013, 50500624, 44623396])
    back = to_raw(sent, known, Basis.SPLIT_DIVIDEND, as_of=LATER, volume_basis=Basis.SPLIT_DIVIDEND)
    assert back.bars["close"].tolist() == [275.91, 278.12, 274.62]
    assert back.bars["volume"].tolist() == [52977441, 50453414, 44623396]
    np.testing.assert_allclose(back.price_factor * back.volume_factor, 1, rtol=1e-15)


def test_dividends_a_vendor_has_not_applied_yet_are_left_out_and_its_splits_are_not():
    known = actions(("2021-01-20", "dividend", 4.0), ("2021-01-22", "dividend", 1.0), ("2021-01-25", "split", 2.0))
    sent = bars([98, 98, 99, 100, 50])
    sent.loc[:3, ["open", "high", "low", "close", "vwap"]] /= 2
    told = {"as_of": LATER, "volume_basis": Basis.RAW}
    back = to_raw(sent, known, Basis.SPLIT_DIVIDEND, **told, dividends_as_of=date(2021, 1, 21))
    assert back.bars["close"].tolist() == [102, 98, 99, 100, 50]


def test_how_far_a_vendor_got_with_dividends_shows_in_its_cents():
    days = pd.bdate_range("2021-01-19", periods=40).strftime("%Y-%m-%d").tolist()
    raw = bars(np.arange(40) * 0.37 + 100.01, days=days)
    paid = actions((days[10], "dividend", 0.3), (days[20], "dividend", 0.31), (days[30], "dividend", 0.32))
    split = actions((days[25], "split", 4.0))
    known = pd.concat([split, paid], ignore_index=True)
    for got, expected in [(40, LATER), (29, date(2021, 3, 1)), (19, date(2021, 2, 15)), (9, date(2021, 2, 1))]:
        until = LATER.replace(month=4) if got == 40 else pd.Timestamp(days[got]).date()
        total = adjust(raw, known[(known["kind"] == "split") | (known["date"] <= pd.Timestamp(until))],
                       Basis.SPLIT_DIVIDEND)  # fmt: skip
        sent = total.assign(close=[float(f"{value:.6g}") for value in total["close"]])
        found = dividends_applied_until(sent, known, as_of=date(2021, 4, 1))
        assert found == (date(2021, 4, 1) if got == 40 else expected)


def test_too_few_closes_tell_nothing_of_dividends():
    known = actions(("2021-01-22", "dividend", 1.0))
    assert dividends_applied_until(bars([100, 101, 102, 103, 104]), known, as_of=LATER) == LATER
    assert dividends_applied_until(empty_bars(), known, as_of=LATER) == LATER


def test_dividends_sent_split_adjusted_become_what_was_declared():
    sent = actions(
        ("2013-08-08", "dividend", 0.108929),
        ("2014-06-09", "split", 7.0),
        ("2020-08-07", "dividend", 0.205),
        ("2020-08-31", "split", 4.0),
        ("2020-11-06", "dividend", 0.205),
    )
    declared = declared_dividends(sent, as_of=date(2021, 1, 1))
    assert declared["value"].tolist() == [3.05, 7, 0.82, 4, 0.205]
    assert declared[["date", "kind"]].equals(sent[["date", "kind"]])
    before_the_split = declared_dividends(sent, as_of=date(2020, 8, 30))
    assert before_the_split["value"].tolist() == [pytest.approx(0.7625, abs=1e-5), 7, 0.205, 4, 0.205]


def test_a_tick_is_a_cent_where_the_error_allows_it():
    prices = to_tick([12.3412, 12.3412, np.nan, 0.03249], error=[0.001, 0.002, 1, 0.0001])
    np.testing.assert_array_equal(prices, [12.3412, 12.34, np.nan, 0.0325])


def test_empty_frames_give_empty_frames():
    for basis in Basis:
        RawBars.validate(adjust(empty_bars(), actions(("2021-01-20", "dividend", 2.0)), basis))
        back = to_raw(empty_bars(), empty_actions(), basis, as_of=LATER, volume_basis=Basis.RAW)
        RawBars.validate(back.bars)
        assert back.price_factor.shape == back.volume_factor.shape == (0,)
    assert split_factors(days_of(bars([1, 2])), empty_actions()).tolist() == [1, 1]
    assert len(declared_dividends(empty_actions(), as_of=LATER)) == 0


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("2021-01-21", "split", 0.0)], r"'split' of 2021-01-21 has value 0.0: .* above 0; correct or remove it"),
        ([("2021-01-21", "dividend", -1.0)], "'dividend' of 2021-01-21 has value -1.0"),
        ([("2021-01-21", "dividend", np.nan)], "'dividend' of 2021-01-21 has value nan"),
        ([("2021-01-21", "split", np.inf)], "'split' of 2021-01-21 has value inf"),
        ([("2021-01-21", "rename", 1.0)], "'rename' of 2021-01-21"),
        ([("2021-01-21", "split", 2.0), ("2021-01-21", "split", 2.0)], "more than one split on 2021-01-21"),
        ([("2021-01-21", "spinoff", 2.0), ("2021-01-21", "spinoff", 1.5)], "more than one spinoff on 2021-01-21"),
        ([("2021-01-21", "dividend", 101.0)], "2021-01-21, 101 a share, is not below the close before it, 101 on"),
        ([("2021-03-01", "dividend", 1.0)], "the bars end on 2021-01-25, .* dividend of 2021-03-01"),
    ],
)
def test_what_gives_no_factor_is_an_error_that_names_the_action(rows, words):
    with pytest.raises(AdjustmentError, match=words):
        adjust(bars([100, 101, 102, 103, 104]), actions(*rows), Basis.SPLIT_DIVIDEND)


def test_bars_that_do_not_ascend_are_refused():
    with pytest.raises(AdjustmentError, match="do not ascend"):
        adjust(bars([1, 2, 3]).iloc[::-1], empty_actions(), Basis.SPLIT)


def test_volumes_cannot_be_adjusted_for_dividends_alone():
    with pytest.raises(AdjustmentError, match="volumes of basis split_dividend need prices of that basis, not split"):
        to_raw(bars([1, 2]), empty_actions(), Basis.SPLIT, as_of=LATER, volume_basis=Basis.SPLIT_DIVIDEND)


def test_five_years_with_25_actions_take_a_moment_only():
    days = pd.bdate_range("2021-01-19", periods=1256).strftime("%Y-%m-%d").tolist()
    raw = bars(np.arange(1256) % 97 + 100.01, days=days)
    known = actions(*[(day, "dividend", 0.5) for day in days[40::50]], (days[500], "split", 4.0))
    assert len(known) == 26
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        sent = adjust(raw, known, Basis.SPLIT_DIVIDEND)
        to_raw(sent, known, Basis.SPLIT_DIVIDEND, as_of=date(2026, 1, 16), volume_basis=Basis.SPLIT)
        taken.append(time.perf_counter() - start)
    assert min(taken) < 0.015  # 3 ms on an idle core
