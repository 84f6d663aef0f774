"""Validation of recorded histories: clean ones stay clean, known errors are found."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from market_data.records import Basis
from market_data.sessions import sessions_between
from market_data.validation import BatchVerdict
from market_data_tests.test_validation_builders import judged, told

START, END, LAST = date(2021, 1, 19), date(2026, 1, 19), date(2026, 1, 16)


def bars_of(table: pd.DataFrame, dates: pd.DatetimeIndex) -> pd.DataFrame:
    names = ["open", "high", "low", "close", "volume"]
    frame = table[names].astype(float).assign(vwap=np.nan, trade_count=np.nan)
    frame.insert(0, "date", dates.astype("datetime64[s]"))
    return frame


def verdict_on_ascii(file: Path) -> BatchVerdict:
    table = pd.read_csv(file).rename(columns=lambda name: name.strip("<>").lower()).rename(columns={"vol": "volume"})
    bars = bars_of(table, pd.DatetimeIndex(pd.to_datetime(table["date"].astype(str))))
    return judged(
        bars,
        basis=Basis.SPLIT_DIVIDEND,
        expected=sessions_between(START, END),
        start=START,
        end=END,
        complete_until=LAST,
    )


def verdict_on_export(file: Path) -> BatchVerdict:
    """The sessions that the foreign exchange shares with XNYS, as if it were a US instrument."""
    table = pd.read_csv(file).rename(columns=str.lower).sort_values("date", ignore_index=True)
    bars = bars_of(table, pd.DatetimeIndex(pd.to_datetime(table["date"].str[:10])))
    start, end = bars["date"].iloc[0].date(), bars["date"].iloc[-1].date()
    expected = sessions_between(start, end)
    shared = bars[bars["date"].isin(expected)]
    return judged(
        shared, expected=pd.DatetimeIndex(shared["date"]), start=start, end=end, complete_until=end, basis=Basis.SPLIT
    )


def test_clean_histories_are_accepted_without_a_finding(payloads: Path) -> None:
    files = sorted((payloads / "history").glob("*_stooq-ascii_*.csv"))
    assert len(files) == 17
    for file in files:
        verdict = verdict_on_ascii(file)
        assert (file.name, told(verdict)) == (file.name, [])
        assert (verdict.rejection, verdict.score, verdict.sessions_missing) == (None, 1.0, 0)
        assert len(verdict.bars) == verdict.rows_received == 1256


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("yfinance_AET-L-1d-100x-error.csv", ["2022-05-09", "2022-05-20"]),
        ("yfinance_SSW-JO-1d-100x-error.csv", ["2023-06-01"]),
    ],
)
def test_hundredfold_errors_are_found_where_they_begin_and_end(payloads: Path, name: str, steps: list[str]) -> None:
    verdict = verdict_on_export(payloads / "history" / name)
    found = verdict.findings[verdict.findings["rule"] == "log_return"]
    assert [str(item.date()) for item in found["date"]] == steps
    assert found["message"].str.endswith("or a 100x unit error").all()
    assert np.allclose(np.abs(found["value"]), np.log(100), atol=0.02)
