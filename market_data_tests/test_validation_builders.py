"""Clean bars and their context, from which the tests of validation plant faults; here, that clean they are."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from market_data.records import Basis, ParsedBars
from market_data.schemas import DailyPrices, QualityLog, RawBars, empty_actions
from market_data.sessions import sessions_between
from market_data.validation import FINDING_COLUMNS, BatchContext, BatchVerdict, Thresholds, validate

START, END = date(2023, 1, 3), date(2023, 3, 31)
SESSIONS = sessions_between(START, END)


def clean_bars(sessions: pd.DatetimeIndex = SESSIONS) -> pd.DataFrame:
    """A random walk from 100 dollars without a fault, the same each time."""
    draw = np.random.default_rng(7)
    size = len(sessions)
    close = (100 * np.exp(np.cumsum(draw.normal(0, 0.01, size)))).round(4)
    opening = (close * (1 + draw.normal(0, 0.003, size))).round(4)
    return pd.DataFrame(
        {
            "date": sessions,
            "open": opening,
            "high": np.maximum(opening, close) + 0.5,
            "low": np.minimum(opening, close) - 0.5,
            "close": close,
            "volume": draw.lognormal(14, 0.3, size).round(),
            "vwap": np.nan,
            "trade_count": np.nan,
        }
    )


def context(**changes: Any) -> BatchContext:
    """All sessions of `START..END` due."""
    values: dict[str, Any] = {
        "symbol": "XYZ",
        "expected": SESSIONS,
        "start": START,
        "end": END,
        "start_is_known": True,
        "listed_from": None,
        "complete_until": END,
        "thresholds": Thresholds(),
    }
    return BatchContext(**values | changes)


def judged(
    bars: pd.DataFrame, *, actions: pd.DataFrame | None = None, basis: Basis = Basis.SPLIT, **changes: Any
) -> BatchVerdict:
    """The verdict on `bars`, all of its frames checked against their schemas."""
    RawBars.validate(bars)
    parsed = ParsedBars(bars, empty_actions() if actions is None else actions, basis)
    verdict = validate(parsed, context(**changes))
    DailyPrices.validate(verdict.bars)
    QualityLog.validate(verdict.quality)
    assert list(verdict.findings.columns) == list(FINDING_COLUMNS)
    return verdict


def day(position: int) -> str:
    """The session at a position of `SESSIONS`, as text."""
    return str(SESSIONS[position].date())


def told(verdict: BatchVerdict) -> list[tuple[str, str, str, float]]:
    """Each finding as (date, rule, field, value), the value to four digits."""
    found = verdict.findings
    dates = ["" if pd.isna(item) else str(item.date()) for item in found["date"]]
    return list(zip(dates, found["rule"], found["field"], found["value"].round(4).tolist(), strict=True))


def noted(verdict: BatchVerdict) -> dict[str, tuple[str, float, str]]:
    """Sessions that are not plainly accepted: date -> (verdict, score, rules)."""
    log = verdict.quality
    odd = log[(log["verdict"] != "accepted") | (log["score"] != 1.0) | (log["rules"] != "")]
    rows = zip(odd["verdict"], odd["score"].tolist(), odd["rules"], strict=True)
    return dict(zip([str(item.date()) for item in odd["date"]], rows, strict=True))


def test_clean_bars_are_stored_as_they_came_without_a_finding() -> None:
    bars = clean_bars()
    verdict = judged(bars)
    pd.testing.assert_frame_equal(verdict.bars, bars)
    assert told(verdict) == []
    assert noted(verdict) == {}
    assert verdict.quality["date"].tolist() == SESSIONS.tolist()
    assert (verdict.score, verdict.null_share, verdict.sessions_missing) == (1.0, 0.0, 0)
    assert verdict.rows_received == len(SESSIONS) == 62
    assert verdict.rejection is None


def test_findings_have_the_same_types_whether_there_are_any_or_none() -> None:
    some = judged(clean_bars().drop(index=5)).findings
    none = judged(clean_bars()).findings
    assert len(some) == 1
    assert len(none) == 0
    assert some.dtypes.to_dict() == none.dtypes.to_dict()
