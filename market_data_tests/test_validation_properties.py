from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from market_data.records import Basis
from market_data.sessions import sessions_between
from market_data.validation import RULES
from market_data_tests.test_validation_builders import SESSIONS, START, clean_bars, judged

FIELDS = ["open", "high", "low", "close", "volume", "vwap", "trade_count"]
DAYS = 40
EXPECTED = sessions_between(START, START + timedelta(days=DAYS - 1))

ORDINARY = st.sampled_from([99.0, 100.0, 100.0, 100.0, 101.0, 400.0, 10_000.0])
ODD = st.sampled_from([np.nan, 0.0, -0.0, -1.0, 5e-324, 1.7e308, -1.7e308])
SOUND = st.one_of(ORDINARY, ORDINARY, ORDINARY, st.floats(0.01, 1e9))
ANY = st.one_of(SOUND, SOUND, ODD, st.floats(allow_nan=True, allow_infinity=False))


@st.composite
def raw_bars(draw: st.DrawFn, values: st.SearchStrategy[float]) -> pd.DataFrame:
    offsets = sorted(draw(st.lists(st.integers(-3, DAYS + 3), max_size=60)))
    rows = draw(st.lists(st.tuples(*[values] * 7), min_size=len(offsets), max_size=len(offsets)))
    dates = [np.datetime64(START + timedelta(days=offset), "s") for offset in offsets]
    frame = pd.DataFrame(np.array(rows, dtype=float).reshape(-1, 7), columns=FIELDS)
    frame.insert(0, "date", np.array(dates, dtype="datetime64[s]"))
    return frame


@st.composite
def corporate_actions(draw: st.DrawFn) -> pd.DataFrame:
    row = st.tuples(st.integers(0, DAYS), st.sampled_from(["split", "dividend"]), st.floats(0.01, 100))
    rows = draw(st.lists(row, max_size=4))
    return pd.DataFrame(
        {
            "date": np.array([START + timedelta(days=item[0]) for item in rows], dtype="datetime64[s]"),
            "kind": pd.array([item[1] for item in rows], dtype="str"),
            "value": np.array([item[2] for item in rows], dtype=float),
        }
    )


@st.composite
def contexts(draw: st.DrawFn) -> dict[str, Any]:
    first, last = sorted(draw(st.tuples(st.integers(0, len(EXPECTED)), st.integers(0, len(EXPECTED)))))
    sometimes = st.integers(-5, DAYS).map(lambda offset: START + timedelta(days=offset))
    return {
        "expected": EXPECTED[first:last],
        "start": START,
        "end": START + timedelta(days=DAYS - 1),
        "start_is_known": draw(st.booleans()),
        "listed_from": draw(st.none() | sometimes),
        "complete_until": draw(sometimes | st.just(date(2023, 3, 31))),
    }


def check(bars: pd.DataFrame, context: dict[str, Any], **others: Any) -> None:
    verdict = judged(bars, **context, **others)
    expected = context["expected"]
    assert verdict.bars["date"].isin(expected).all()
    assert verdict.bars["date"].is_monotonic_increasing
    stored = verdict.quality.loc[verdict.quality["verdict"].isin(["accepted", "flagged"]), "date"]
    assert verdict.bars["date"].tolist() == stored.tolist()
    assert set(verdict.quality["date"]) <= set(expected)
    assert 0 <= verdict.score <= 1
    assert 0 <= verdict.null_share <= 1
    assert set(verdict.findings["rule"]) <= set(RULES)
    assert np.isfinite(verdict.findings[["value", "limit"]].to_numpy()).all()
    assert (verdict.findings["message"] != "").all()
    if verdict.rejection is not None:
        assert len(verdict.bars) == 0
    came = {tuple(row) for row in bars.fillna(-7.0).itertuples(index=False)}
    assert {tuple(row) for row in verdict.bars.fillna(-7.0).itertuples(index=False)} <= came


@examples(max_examples=40)
@given(raw_bars(ANY), corporate_actions(), contexts(), st.sampled_from(Basis))
def test_whatever_comes_the_verdict_keeps_its_promises(
    bars: pd.DataFrame, actions: pd.DataFrame, context: dict[str, Any], basis: Basis
) -> None:
    check(bars, context, actions=actions, basis=basis)


@examples(max_examples=40)
@given(raw_bars(SOUND), corporate_actions(), contexts(), st.sampled_from(Basis))
def test_bars_without_negatives_and_nulls_keep_them_too(
    bars: pd.DataFrame, actions: pd.DataFrame, context: dict[str, Any], basis: Basis
) -> None:
    check(bars, context, actions=actions, basis=basis)


@examples(max_examples=30)
@given(st.sets(st.integers(0, 61), max_size=61), st.booleans())
def test_every_session_is_stored_missing_or_before_the_span(absent: set[int], start_is_known: bool) -> None:
    verdict = judged(clean_bars().drop(index=list(absent)), start_is_known=start_is_known)
    assert verdict.bars["date"].tolist() == [SESSIONS[at] for at in range(62) if at not in absent]
    found = verdict.findings.groupby("rule")["value"].sum().to_dict()
    assert sum(found.values()) == len(absent)
    assert verdict.sessions_missing == len(absent) - found.get("span_from_first_bar", 0)
