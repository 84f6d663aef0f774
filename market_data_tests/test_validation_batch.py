from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from market_data.settings import Settings
from market_data.validation import RULES, Thresholds, batch_score, session_score
from market_data_tests.test_validation_builders import SESSIONS, clean_bars, day, judged, noted, told

PRICES = ["open", "high", "low", "close"]
PAGE = Path(__file__).resolve().parents[1] / "docs" / "validation.md"


def negative_price(bars: pd.DataFrame) -> None:
    bars.loc[[20, 22], "low"] = -4.2


def negative_volume(bars: pd.DataFrame) -> None:
    bars.loc[25, "volume"] = -100.0


def null_flood(bars: pd.DataFrame) -> None:
    bars.loc[[30, 34, 38, 42], "volume"] = np.nan


def low_score(bars: pd.DataFrame) -> None:
    bars.loc[:, "high"] = bars["low"] - 1.0
    bars.loc[:, "close"] = 100.0


FAULTS = {
    "negative_price": negative_price,
    "negative_volume": negative_volume,
    "null": null_flood,
    "score": low_score,
}
REASONS = {
    "negative_price": ("2 bars with a negative price (first 2023-02-01, low -4.2); none is allowed", 2.0, 0.0),
    "negative_volume": (
        "1 bar with a negative volume or trade count (first 2023-02-08, volume -100); none is allowed",
        1.0,
        0.0,
    ),
    "null": (
        "4 of 62 bars (6.5%) with null fields, more than the 5.0% allowed (first 2023-02-15, volume)",
        4 / 62,
        0.05,
    ),
    "score": (
        "score 0.405 is below 0.6: ohlc 62, stale_run 61 (first 2023-01-03)",
        (61 * 0.4 + 0.7) / 62,
        0.6,
    ),
}


@pytest.mark.parametrize("rule", FAULTS)
def test_each_fault_of_a_whole_batch_rejects_it_with_its_reason(rule: str) -> None:
    bars = clean_bars()
    FAULTS[rule](bars)
    verdict = judged(bars)
    reason, value, limit = REASONS[rule]
    assert verdict.rejection is not None
    assert (verdict.rejection.rule, verdict.rejection.reason) == (rule, reason)
    assert (verdict.rejection.value, verdict.rejection.limit) == (pytest.approx(value), limit)
    assert len(verdict.bars) == 0
    assert verdict.bars.dtypes.tolist() == bars.dtypes.tolist()
    assert set(verdict.quality["verdict"]) == {"rejected"}


@pytest.mark.parametrize("first", range(4))
def test_the_gravest_fault_names_the_rejection_and_the_others_are_still_found(first: int) -> None:
    rules = list(FAULTS)[first:]
    bars = clean_bars()
    for rule in reversed(rules):
        FAULTS[rule](bars)
    verdict = judged(bars)
    assert verdict.rejection is not None
    assert verdict.rejection.rule == rules[0]
    assert verdict.score < 0.6
    assert set(rules) - {"score"} <= set(verdict.findings["rule"])


def test_a_rejected_batch_keeps_its_score_and_its_sessions_are_worth_nothing() -> None:
    bars = clean_bars().drop(index=[10])
    negative_price(bars)
    verdict = judged(bars)
    log = verdict.quality.set_index("date")
    assert log.loc[SESSIONS[10]].tolist() == ["missing", 0.0, "missing_session"]
    assert log.loc[SESSIONS[20]].tolist() == ["rejected", 0.0, "negative_price"]
    assert log.loc[SESSIONS[21]].tolist() == ["rejected", 0.0, ""]
    assert told(verdict) == [
        (day(10), "missing_session", "", 1.0),
        (day(20), "negative_price", "low", -4.2),
        (day(22), "negative_price", "low", -4.2),
    ]
    assert verdict.score == pytest.approx(59 / 62)
    assert verdict.sessions_missing == 1


def test_a_negative_vwap_or_trade_count_is_no_better() -> None:
    for field, rule in (("vwap", "negative_price"), ("trade_count", "negative_volume")):
        bars = clean_bars()
        bars.loc[7, field] = -1.0
        verdict = judged(bars)
        assert told(verdict) == [(day(7), rule, field, -1.0)]
        assert verdict.rejection is not None
        assert verdict.rejection.rule == rule


def test_as_many_nulls_as_allowed_are_accepted() -> None:
    bars = clean_bars()
    null_flood(bars)
    verdict = judged(bars, thresholds=Thresholds(null_threshold=4 / 62))
    assert verdict.rejection is None
    assert verdict.null_share == 4 / 62
    assert len(verdict.bars) == 62


def test_a_score_at_the_limit_is_accepted() -> None:
    bars = clean_bars()
    low_score(bars)
    score = judged(bars).score
    assert judged(bars, thresholds=Thresholds(min_data_quality=score)).rejection is None


def test_a_batch_of_withheld_bars_only_is_rejected_by_its_score() -> None:
    bars = clean_bars().iloc[:10].copy()
    bars[PRICES] = 0.0
    verdict = judged(bars, expected=SESSIONS[:10])
    assert verdict.rejection is not None
    assert verdict.rejection.rule == "score"
    assert verdict.rejection.reason == "score 0.000 is below 0.6: zero_price 10 (first 2023-01-03)"
    assert set(verdict.quality["verdict"]) == {"rejected"}
    assert (verdict.score, verdict.sessions_missing) == (0.0, 10)


def test_several_faults_of_one_session_add_up_and_never_go_below_zero() -> None:
    bars = clean_bars()
    bars.loc[30:, PRICES] = bars.loc[30:, PRICES] / 4
    bars.loc[30, "high"] = bars.loc[30, "low"]
    bars.loc[30, "volume"] = np.nan
    bars = pd.concat([bars, bars.iloc[[30]]]).sort_values("date", kind="stable", ignore_index=True)
    verdict = judged(bars)
    assert noted(verdict) == {day(30): ("flagged", 0.0, "duplicate,log_return,null,ohlc")}
    assert verdict.score == pytest.approx(61 / 62)


def test_stored_bars_hold_the_values_that_came() -> None:
    bars = clean_bars().assign(vwap=123.456789012345, trade_count=17.0)
    bars.loc[5, "close"] = 100.00000000000001
    bars.loc[6, "volume"] = 1234.5678901234567
    bars.loc[9, "open"] = np.nan
    pd.testing.assert_frame_equal(judged(bars).bars, bars, check_exact=True)


def test_judging_changes_nothing_it_is_given_and_says_the_same_again() -> None:
    bars = clean_bars()
    low_score(bars)
    before = bars.copy()
    first, second = judged(bars), judged(bars)
    pd.testing.assert_frame_equal(bars, before)
    pd.testing.assert_frame_equal(first.findings, second.findings)
    pd.testing.assert_frame_equal(first.quality, second.quality)


def test_findings_are_sorted_by_date_rule_and_field() -> None:
    bars = clean_bars()
    low_score(bars)
    null_flood(bars)
    found = judged(bars.drop(index=[1])).findings
    keys = list(zip(found["date"], found["rule"], found["field"], strict=True))
    assert keys == sorted(keys)
    assert len(keys) > 100


def test_the_worked_example_of_the_page_holds() -> None:
    bars = clean_bars(SESSIONS[:12]).iloc[5:].drop(index=8)
    bars.loc[6, "high"] = bars.loc[6, "low"]
    bars.loc[10:, PRICES] = bars.loc[10:, PRICES] / 4
    bars.loc[10, "volume"] = 0.0
    verdict = judged(bars, expected=SESSIONS[:12], end=SESSIONS[11].date())
    assert noted(verdict) == {
        **{day(at): ("missing", 0.0, "cut_window") for at in range(5)},
        day(6): ("flagged", 0.7, "ohlc"),
        day(8): ("missing", 0.0, "missing_session"),
        day(10): ("flagged", 0.5, "log_return,volume_outlier"),
    }
    assert round(verdict.score, 3) == 0.743
    assert verdict.rejection is None
    assert "(1 + 0.7 + 1 + 0 + 1 + 0.5 + 1) / 7 = 0.743" in PAGE.read_text(encoding="utf-8")


def test_scores() -> None:
    assert session_score([]) == 1.0
    assert session_score(["log_return", "volume_outlier", "log_return"]) == 0.5
    assert session_score(["log_return", "ohlc", "null"]) == 0.0
    assert session_score(["negative_price", "null"]) == 0.0
    scores, stored = np.array([0.0, 1.0, 0.0, 0.5, 0.0]), np.array([False, True, False, True, False])
    assert batch_score(scores, stored) == 0.5
    assert batch_score(scores, np.zeros(5, dtype=bool)) == 0.0
    assert batch_score(np.empty(0), np.empty(0, dtype=bool)) == 0.0


def test_the_page_lists_every_rule_as_it_is() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    listed = {cells[1].strip(" `"): (cells[2].strip(), float(cells[3])) for cells in (row.split("|") for row in rows)}
    assert listed == {name: (rule.severity, rule.weight) for name, rule in RULES.items()}


def test_the_rules_are_well_formed() -> None:
    assert list(RULES) == sorted(RULES)
    assert {rule.severity for rule in RULES.values()} == {"error", "warning", "info"}
    assert all(0 <= rule.weight <= 1 and rule.description for rule in RULES.values())


def test_thresholds_come_from_the_settings() -> None:
    assert Thresholds.of(Settings()) == Thresholds()
    changed = Settings(
        min_data_quality=0.7, null_threshold=0.1, log_return_limit=0.4, stale_sessions=7, volume_outlier_limit=9.0
    )
    assert Thresholds.of(changed) == Thresholds(0.7, 0.1, 0.4, 7, 9.0)
