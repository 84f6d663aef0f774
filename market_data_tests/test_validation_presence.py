from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd
import pytest

from market_data_tests.test_validation_builders import END, SESSIONS, START, clean_bars, day, judged, noted, told

PRICES = ["open", "high", "low", "close"]


def with_rows(bars: pd.DataFrame, *rows: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([bars, *rows]).sort_values("date", kind="stable", ignore_index=True)


def copy_of(bars: pd.DataFrame, position: int, **values: object) -> pd.DataFrame:
    return bars.iloc[[position]].assign(**values)


def dated(bars: pd.DataFrame, text: str) -> pd.DataFrame:
    return copy_of(bars, 0, date=pd.DatetimeIndex([text]).astype("datetime64[s]"))


def lost(*positions: int, rule: str = "missing_session") -> dict[str, tuple[str, float, str]]:
    return {day(at): ("missing", 0.0, rule) for at in positions}


def test_bars_on_a_weekend_and_a_holiday_are_found_and_not_stored() -> None:
    bars = clean_bars()
    verdict = judged(with_rows(bars, dated(bars, "2023-01-07"), dated(bars, "2023-01-16")))
    assert told(verdict) == [("2023-01-07", "off_session", "", 1.0), ("2023-01-16", "off_session", "", 1.0)]
    assert noted(verdict) == {}
    assert verdict.rows_received == 64
    pd.testing.assert_frame_equal(verdict.bars, bars)


def test_bars_outside_of_the_span_are_dropped_without_a_word() -> None:
    bars = clean_bars()
    verdict = judged(with_rows(dated(bars, "2022-12-30"), bars, dated(bars, "2023-04-01"), dated(bars, "2023-04-03")))
    assert told(verdict) == []
    assert verdict.rows_received == 62
    pd.testing.assert_frame_equal(verdict.bars, bars)


def test_the_bar_of_a_session_still_open_at_the_fetch_is_live() -> None:
    verdict = judged(clean_bars(), expected=SESSIONS[:-1], complete_until=SESSIONS[-2].date())
    assert told(verdict) == [(day(-1), "live_bar", "", 1.0)]
    assert verdict.findings["severity"].tolist() == ["info"]
    assert verdict.bars["date"].iloc[-1] == SESSIONS[-2]
    assert (verdict.score, len(verdict.quality)) == (1.0, 61)


def test_bars_outside_of_the_listing_are_found_and_not_stored() -> None:
    verdict = judged(clean_bars(), expected=SESSIONS[2:-3], listed_from=SESSIONS[2].date())
    assert told(verdict) == [
        (day(0), "before_listing", "", 1.0),
        (day(1), "before_listing", "", 1.0),
        (day(-3), "after_delisting", "", 1.0),
        (day(-2), "after_delisting", "", 1.0),
        (day(-1), "after_delisting", "", 1.0),
    ]
    assert verdict.bars["date"].tolist() == SESSIONS[2:-3].tolist()
    assert noted(verdict) == {}


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"listed_from": date(2024, 1, 2)}, "before_listing"),
        ({"listed_from": None}, "after_delisting"),
        ({"complete_until": date(2022, 12, 30)}, "live_bar"),
    ],
)
def test_where_no_session_is_due_every_bar_is_out_of_place(changes: dict[str, object], rule: str) -> None:
    verdict = judged(clean_bars(), **({"expected": SESSIONS[:0]} | changes))
    assert told(verdict) == [(day(at), rule, "", 1.0) for at in range(62)]
    assert (len(verdict.bars), len(verdict.quality), verdict.score, verdict.rejection) == (0, 0, 0.0, None)


def test_of_equal_copies_the_last_is_kept() -> None:
    bars = clean_bars()
    close = bars["close"][10] + 0.01
    verdict = judged(with_rows(bars, copy_of(bars, 10, close=close), copy_of(bars, 20), copy_of(bars, 20)))
    assert told(verdict) == [(day(10), "duplicate", "", 2.0), (day(20), "duplicate", "", 3.0)]
    first, second = verdict.findings["message"]
    assert first.startswith("2 bars, conflicting;")
    assert second.startswith("3 bars, identical;")
    assert noted(verdict) == {day(at): ("flagged", 0.9, "duplicate") for at in (10, 20)}
    assert verdict.bars["close"][10] == close
    assert (len(verdict.bars), verdict.rows_received) == (62, 65)


def test_a_more_complete_copy_is_kept_before_a_later_one() -> None:
    bars = clean_bars()
    verdict = judged(with_rows(bars, copy_of(bars, 10, volume=np.nan), copy_of(bars, 0).iloc[:0]))
    assert told(verdict) == [(day(10), "duplicate", "", 2.0)]
    assert verdict.findings["message"].str.startswith("2 bars, conflicting").all()
    pd.testing.assert_frame_equal(verdict.bars, bars)


def test_copies_that_share_a_null_are_identical() -> None:
    bars = clean_bars()
    bars.loc[10, "open"] = np.nan
    verdict = judged(with_rows(bars, copy_of(bars, 10)))
    assert told(verdict) == [(day(10), "duplicate", "", 2.0), (day(10), "null", "open", 1.0)]
    assert verdict.findings["message"].iloc[0].startswith("2 bars, identical")
    assert noted(verdict) == {day(10): ("flagged", 0.6, "duplicate,null")}
    assert verdict.null_share == pytest.approx(1 / 62)


def test_missing_sessions_are_found_one_by_one() -> None:
    verdict = judged(clean_bars().drop(index=[10, 11, 40]))
    assert told(verdict) == [(day(at), "missing_session", "", 1.0) for at in (10, 11, 40)]
    assert noted(verdict) == lost(10, 11, 40)
    assert verdict.sessions_missing == 3
    assert verdict.score == pytest.approx(59 / 62)


def test_a_few_sessions_at_the_ends_are_missing_but_do_not_count_in_the_score() -> None:
    verdict = judged(clean_bars().iloc[4:-4])
    ends = (0, 1, 2, 3, 58, 59, 60, 61)
    assert told(verdict) == [(day(at), "missing_session", "", 1.0) for at in ends]
    assert noted(verdict) == lost(*ends)
    assert (verdict.sessions_missing, verdict.score) == (8, 1.0)


def test_a_window_cut_at_both_ends_is_found_once_each() -> None:
    verdict = judged(clean_bars().iloc[5:-7])
    assert told(verdict) == [(day(5), "cut_window", "", 5.0), (day(54), "cut_window", "", 7.0)]
    assert noted(verdict) == lost(*range(5), *range(55, 62), rule="cut_window")
    assert (verdict.sessions_missing, verdict.score, verdict.rejection) == (12, 1.0, None)


def test_a_withheld_bar_before_the_first_good_one_is_no_part_of_the_cut() -> None:
    bars = clean_bars().drop(index=range(1, 6))
    bars.loc[0, PRICES] = 0.0
    verdict = judged(bars)
    assert told(verdict) == [
        (day(0), "zero_price", "open,high,low,close", 0.0),
        (day(6), "cut_window", "", 5.0),
    ]
    assert noted(verdict) == lost(0, rule="zero_price") | lost(1, 2, 3, 4, 5, rule="cut_window")


@pytest.mark.parametrize("first", [0, 2])
@pytest.mark.parametrize("late", [1, 5])
def test_a_first_bar_later_than_the_listing_is_found_as_such(first: int, late: int) -> None:
    bars = clean_bars().iloc[first + late :]
    verdict = judged(bars, expected=SESSIONS[first:], listed_from=SESSIONS[first].date())
    assert told(verdict) == [(day(first + late), "late_first_bar", "", float(late))]
    assert noted(verdict) == lost(*range(first, first + late), rule="late_first_bar")


def test_a_listing_before_the_span_makes_a_late_first_bar_a_cut() -> None:
    verdict = judged(clean_bars().iloc[5:], listed_from=date(2022, 12, 30))
    assert told(verdict) == [(day(5), "cut_window", "", 5.0)]


def test_the_first_bar_defines_the_span_where_the_listing_is_not_known() -> None:
    verdict = judged(clean_bars().iloc[20:], start_is_known=False)
    assert told(verdict) == [(day(20), "span_from_first_bar", "", 20.0)]
    assert verdict.findings["severity"].tolist() == ["info"]
    assert verdict.quality["date"].tolist() == SESSIONS[20:].tolist()
    assert noted(verdict) == {}
    assert (verdict.sessions_missing, verdict.score) == (0, 1.0)


def test_a_first_bar_on_the_first_session_leaves_nothing_to_say() -> None:
    assert told(judged(clean_bars(), start_is_known=False)) == []


def test_the_end_is_due_even_where_the_listing_is_not_known() -> None:
    verdict = judged(clean_bars().iloc[20:-5], start_is_known=False)
    assert told(verdict) == [(day(20), "span_from_first_bar", "", 20.0), (day(56), "cut_window", "", 5.0)]
    assert noted(verdict) == lost(*range(57, 62), rule="cut_window")


@pytest.mark.parametrize("rows", [clean_bars().iloc[:0], dated(clean_bars(), "2022-12-30")])
def test_no_bar_at_all_is_no_rejection(rows: pd.DataFrame) -> None:
    verdict = judged(rows)
    assert told(verdict) == [("", "no_data", "", 62.0)]
    assert noted(verdict) == lost(*range(62), rule="no_data")
    assert (len(verdict.bars), verdict.score, verdict.sessions_missing) == (0, 0.0, 62)
    assert (verdict.rejection, verdict.rows_received, verdict.null_share) == (None, 0, 0.0)


def test_bars_on_no_session_only_are_no_data_too_and_the_batch_comes_last() -> None:
    verdict = judged(dated(clean_bars(), "2023-01-07"))
    assert told(verdict) == [("2023-01-07", "off_session", "", 1.0), ("", "no_data", "", 62.0)]
    assert (verdict.rejection, verdict.rows_received) == (None, 1)


def test_a_single_session_can_be_judged() -> None:
    one = {"expected": SESSIONS[10:11], "start": SESSIONS[10].date(), "end": SESSIONS[10].date()}
    verdict = judged(clean_bars(), **one)
    assert told(verdict) == []
    assert (len(verdict.bars), verdict.score, verdict.rows_received) == (1, 1.0, 1)


def test_the_index_of_the_frame_does_not_matter() -> None:
    bars = clean_bars()
    verdict = judged(bars.set_index(np.arange(62) * -3))
    pd.testing.assert_frame_equal(verdict.bars, bars)
    assert SESSIONS[0].date() == START
    assert SESSIONS[-1].date() == END
