from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from market_data.records import Basis
from market_data.validation import Thresholds
from market_data_tests.test_validation_builders import SESSIONS, clean_bars, day, judged, noted, told

PRICES = ["open", "high", "low", "close"]


def planted(position: int, **values: float) -> pd.DataFrame:
    bars = clean_bars()
    for name, value in values.items():
        bars.loc[position, name] = value
    return bars


def stepped(position: int, factor: float, *, until: int | None = None) -> pd.DataFrame:
    bars = clean_bars()
    rows = bars.index[position:until]
    bars.loc[rows, PRICES] = bars.loc[rows, PRICES] * factor
    return bars


def actions(*rows: tuple[str, str, float]) -> pd.DataFrame:
    dates, kinds, values = zip(*rows, strict=True)
    return pd.DataFrame(
        {"date": pd.DatetimeIndex(dates).astype("datetime64[s]"), "kind": pd.array(kinds, dtype="str"), "value": values}
    )


def log_return(bars: pd.DataFrame, position: int) -> float:
    close = bars["close"].to_numpy()
    return round(float(np.log(close[position] / close[position - 1])), 4)


def test_null_names_the_fields_and_keeps_the_bar() -> None:
    bars = planted(10, high=np.nan, volume=np.nan)
    verdict = judged(bars)
    assert told(verdict) == [(day(10), "null", "high,volume", 2.0)]
    assert noted(verdict) == {day(10): ("flagged", 0.7, "null")}
    assert verdict.null_share == pytest.approx(1 / 62)
    pd.testing.assert_frame_equal(verdict.bars, bars)


def test_a_bar_without_any_value_is_not_stored_and_found_by_null_alone() -> None:
    verdict = judged(planted(10, **dict.fromkeys([*PRICES, "volume"], np.nan)))
    assert told(verdict) == [(day(10), "null", "open,high,low,close,volume", 5.0)]
    assert noted(verdict) == {day(10): ("missing", 0.0, "null")}
    assert SESSIONS[10] not in verdict.bars["date"].tolist()
    assert (len(verdict.bars), verdict.sessions_missing) == (61, 1)


def test_a_null_vwap_is_no_finding() -> None:
    bars = clean_bars().assign(vwap=lambda frame: frame["close"])
    bars.loc[3, "vwap"] = np.nan
    assert told(judged(bars)) == []


def test_zero_price_withholds_the_bar_and_the_return_is_taken_across_it() -> None:
    verdict = judged(planted(10, **dict.fromkeys(PRICES, 0.0)))
    assert told(verdict) == [(day(10), "zero_price", "open,high,low,close", 0.0)]
    assert noted(verdict) == {day(10): ("missing", 0.0, "zero_price")}
    assert verdict.findings["severity"].tolist() == ["error"]
    assert verdict.rejection is None
    assert len(verdict.bars) == 61


@pytest.mark.parametrize("field", [*PRICES, "vwap"])
def test_one_price_of_zero_is_enough(field: str) -> None:
    assert told(judged(planted(10, **{field: 0.0}))) == [(day(10), "zero_price", field, 0.0)]


def test_a_withheld_bar_is_not_judged_beside_others() -> None:
    bars = planted(10, open=0.0, high=1.0, low=2.0, close=900.0, volume=0.0)
    assert told(judged(bars)) == [(day(10), "zero_price", "open", 0.0)]


def test_ohlc_measures_the_larger_excess_and_names_the_field() -> None:
    bars = planted(10, open=100.0, high=101.0, low=99.0, close=104.0)
    bars.loc[20, ["open", "high", "low", "close"]] = [100.0, 98.0, 101.0, 100.0]
    verdict = judged(bars)
    assert told(verdict) == [
        (day(10), "ohlc", "high", round(3 / 104, 4)),
        (day(20), "ohlc", "high,low", round(3 / 101, 4)),
    ]
    assert noted(verdict) == {day(10): ("flagged", 0.7, "ohlc"), day(20): ("flagged", 0.7, "ohlc")}
    assert len(verdict.bars) == 62


def test_ohlc_ignores_rounding_to_six_digits_and_no_more() -> None:
    rounded = planted(10, open=100.0, high=100.0, low=99.0, close=100.0009)
    beyond = planted(10, open=100.0, high=100.0, low=99.0, close=100.0011)
    assert told(judged(rounded)) == []
    assert told(judged(beyond)) == [(day(10), "ohlc", "high", 0.0)]
    assert judged(beyond).findings["value"].iloc[0] == pytest.approx(1.1e-5, rel=1e-3)


def test_ohlc_judges_what_is_there_when_a_price_is_null() -> None:
    bars = planted(10, open=np.nan, high=101.0, low=99.0, close=104.0)
    assert told(judged(bars)) == [
        (day(10), "null", "open", 1.0),
        (day(10), "ohlc", "high", round(3 / 104, 4)),
    ]


def test_an_unapplied_split_is_found_at_its_date_with_a_hint() -> None:
    bars = stepped(30, 1 / 4)
    verdict = judged(bars)
    assert told(verdict) == [(day(30), "log_return", "close", log_return(bars, 30))]
    assert verdict.findings["message"].iloc[0].endswith("; looks like an unapplied 4:1 split")
    assert noted(verdict) == {day(30): ("flagged", 0.6, "log_return")}


@pytest.mark.parametrize(
    ("factor", "hint"),
    [
        (1 / 20, "; looks like an unapplied 20:1 split"),
        (8.0, "; looks like an unapplied 1:8 reverse split"),
        (1.5, "; looks like an unapplied 2:3 reverse split"),
        (100.0, "; looks like an unapplied 1:100 reverse split or a 100x unit error"),
        (2.3, ""),
    ],
)
def test_the_hint_tells_the_ratio(factor: float, hint: str) -> None:
    bars = clean_bars().assign(open=100.0, high=100.0, low=100.0)
    bars["close"] = np.where(np.arange(len(bars)) < 30, 100.0, 100.0 * factor) + np.arange(len(bars)) % 2 / 100
    found = judged(bars, thresholds=Thresholds(log_return_limit=0.3)).findings
    message = found.loc[found["rule"] == "log_return", "message"].tolist()
    assert len(message) == 1
    assert message[0].partition(";")[1:] == ((";", hint[1:]) if hint else ("", ""))


def test_a_spike_is_found_once() -> None:
    bars = stepped(30, 100, until=31)
    verdict = judged(bars)
    assert told(verdict)[0] == (day(30), "log_return", "close", log_return(bars, 30))
    assert verdict.findings["rule"].tolist() == ["log_return", *["unit_error"] * 4]
    assert verdict.findings["message"].iloc[0].endswith("; looks like a 100x unit error")


def test_spikes_one_after_another_are_each_found_once() -> None:
    bars = clean_bars()
    bars.loc[[30, 32, 34], PRICES] = bars.loc[[30, 32, 34], PRICES] / 100
    found = [item[:2] for item in told(judged(bars)) if item[1] != "unit_error"]
    assert found == [(day(at), "log_return") for at in (30, 32, 34)]


def test_a_spike_that_lasts_two_sessions_is_found_on_its_way_back_too() -> None:
    bars = stepped(30, 3, until=32)
    assert [item[:2] for item in told(judged(bars))] == [(day(30), "log_return"), (day(32), "log_return")]


def test_the_previous_close_is_the_one_before_a_null() -> None:
    bars = stepped(30, 1 / 4)
    bars.loc[29, "close"] = np.nan
    found = told(judged(bars))
    assert found == [
        (day(29), "null", "close", 1.0),
        (day(30), "log_return", "close", round(float(np.log(bars["close"][30] / bars["close"][28])), 4)),
    ]


def test_a_known_split_explains_the_step_of_raw_prices() -> None:
    bars = stepped(30, 1 / 4)
    known = actions((day(30), "split", 4.0), (day(40), "dividend", 0.05))
    assert told(judged(bars, actions=known, basis=Basis.RAW)) == []


def test_a_split_told_twice_counts_once_and_a_missing_ex_date_is_bridged() -> None:
    bars = stepped(30, 1 / 4).drop(index=30)
    known = actions((day(30), "split", 4.0), (day(30), "split", 4.0))
    assert told(judged(bars, actions=known, basis=Basis.RAW)) == [(day(30), "missing_session", "", 1.0)]


def test_a_reverse_split_and_two_splits_are_divided_out() -> None:
    bars = stepped(30, 10)
    bars.loc[50:, PRICES] = bars.loc[50:, PRICES] / 2
    known = actions((day(30), "split", 0.1), (day(50), "split", 2.0))
    assert told(judged(bars, actions=known, basis=Basis.RAW)) == []


def test_known_splits_excuse_nothing_in_adjusted_prices() -> None:
    bars = stepped(30, 1 / 4)
    known = actions((day(30), "split", 4.0))
    for basis in (Basis.SPLIT, Basis.SPLIT_DIVIDEND):
        found = [item[:2] for item in told(judged(bars, actions=known, basis=basis))]
        assert found == [(day(30), "log_return"), (day(30), "missed_split")]


def test_raw_prices_that_do_not_show_a_known_split_are_found() -> None:
    verdict = judged(clean_bars(), actions=actions((day(30), "split", 4.0)), basis=Basis.RAW)
    expected = round(log_return(clean_bars(), 30) + float(np.log(4)), 3)
    assert told(verdict)[0][:3] == (day(30), "log_return", "close")
    assert verdict.findings["value"].iloc[0] == pytest.approx(expected, abs=1e-3)
    assert "a split that the close does not show" in verdict.findings["message"].iloc[0]


def test_a_split_that_the_actions_lack_is_told_as_such() -> None:
    verdict = judged(stepped(30, 1 / 4), basis=Basis.RAW)
    assert verdict.findings["message"].iloc[0].endswith("; looks like a 4:1 split missing from the corporate actions")


def test_a_stale_run_is_found_from_its_second_session_on() -> None:
    bars = clean_bars()
    bars.loc[20:24, "close"] = bars.loc[20, "close"]
    bars.loc[20:24, "high"], bars.loc[20:24, "low"] = 200.0, 50.0
    verdict = judged(bars)
    assert told(verdict) == [(day(at), "stale_run", "close", 5.0) for at in (21, 22, 23, 24)]
    assert verdict.findings["limit"].tolist() == [5.0] * 4
    assert noted(verdict) == {day(at): ("flagged", 0.7, "stale_run") for at in (21, 22, 23, 24)}


def test_a_shorter_run_and_one_broken_by_a_null_are_not_stale() -> None:
    bars = clean_bars().assign(high=200.0, low=50.0)
    bars.loc[20:23, "close"] = bars.loc[20, "close"]
    bars.loc[40:46, "close"] = bars.loc[40, "close"]
    bars.loc[43, "close"] = np.nan
    assert told(judged(bars)) == [(day(43), "null", "close", 1.0)]


def test_a_run_goes_on_across_a_missing_session() -> None:
    bars = clean_bars().assign(high=200.0, low=50.0)
    bars.loc[20:25, "close"] = bars.loc[20, "close"]
    found = told(judged(bars.drop(index=22)))
    assert [item[:2] for item in found] == [
        (day(21), "stale_run"),
        (day(22), "missing_session"),
        *((day(at), "stale_run") for at in (23, 24, 25)),
    ]


def test_volume_outliers_are_measured_against_the_sessions_around() -> None:
    bars = clean_bars()
    bars["volume"] = np.exp(10 + 0.1 * (np.arange(62) % 3 - 1))
    bars.loc[30, "volume"] = np.exp(10) * 5000
    verdict = judged(bars)
    # Residuals are -0.1, 0 and 0.1 by turns, so their MAD is 0.1.
    assert told(verdict) == [(day(30), "volume_outlier", "volume", round(float(np.log(5000) / 0.14826), 4))]
    assert noted(verdict) == {day(30): ("flagged", 0.9, "volume_outlier")}
    assert "5e+03 times the median" in verdict.findings["message"].iloc[0]


def test_the_first_volume_is_compared_with_those_after_it() -> None:
    bars = clean_bars().assign(volume=1000.0)
    bars.loc[0, "volume"] = 1e6
    assert told(judged(bars)) == [(day(0), "volume_outlier", "volume", round(float(np.log(1000) / 0.05), 4))]


def test_the_scale_of_volumes_has_a_floor() -> None:
    bars = clean_bars().assign(volume=1000.0)
    bars.loc[30, "volume"] = 1000 * np.exp(0.59)
    bars.loc[40, "volume"] = 1000 * np.exp(-0.61)
    assert told(judged(bars)) == [(day(40), "volume_outlier", "volume", 12.2)]


def test_few_volumes_give_no_outlier() -> None:
    bars = clean_bars().assign(volume=1000.0)
    bars.loc[5, "volume"] = 1e9
    few = {"expected": SESSIONS[:19], "end": SESSIONS[18].date()}
    enough = {"expected": SESSIONS[:20], "end": SESSIONS[19].date()}
    assert told(judged(bars, **few)) == []
    assert [item[:2] for item in told(judged(bars, **enough))] == [(day(5), "volume_outlier")]


def test_no_volume_beside_a_price_is_found_with_a_finite_value() -> None:
    verdict = judged(planted(10, volume=0.0))
    assert told(verdict) == [(day(10), "volume_outlier", "volume", 0.0)]
    assert verdict.findings[["limit", "message"]].iloc[0].tolist() == [
        0.0,
        "no shares traded, though the session has a price",
    ]
