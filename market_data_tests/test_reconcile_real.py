"""Recorded bodies of two vendors compared: what real vendors differ by, and that the tolerances fit it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from market_data.adjustments import to_raw
from market_data.providers import parse
from market_data.records import Basis
from market_data.validation.reconcile import Tolerance, compare, price_error


def raw_bars(payloads: Path, symbol: str) -> pd.DataFrame:
    """Alpha Vantage's 100 sessions to 2025-01-17, as traded."""
    body = (payloads / f"alphavantage/{symbol}_TIME_SERIES_DAILY_compact_2025-01-21.json").read_bytes()
    return parse(
        "alpha_vantage",
        body,
        symbol=symbol,
        interval="1d",
        status=200,
        content_type="application/json",
        url="",
        fetched_at=datetime(2025, 1, 22, tzinfo=UTC),
        ticker=symbol,
    ).bars


def archive_bars(payloads: Path, symbol: str, like: pd.DataFrame) -> pd.DataFrame:
    """Stooq's rows of the same span, as they stand in the archive's file."""
    rows = pd.read_csv(payloads / f"history/{symbol}_stooq-ascii_2019-2026.csv")
    names = {"<OPEN>": "open", "<HIGH>": "high", "<LOW>": "low", "<CLOSE>": "close", "<VOL>": "volume"}
    bars = rows[list(names)].rename(columns=names).astype(float)
    bars.insert(0, "date", pd.to_datetime(rows["<DATE>"].astype(str)).astype("datetime64[s]"))
    bars = bars[bars["date"].between(like["date"].iloc[0], like["date"].iloc[-1])].reset_index(drop=True)
    return bars.assign(vwap=np.nan, trade_count=np.nan)


def test_two_real_vendors_tell_the_same_but_for_one_opening_price(payloads):
    tesla = raw_bars(payloads, "TSLA")
    assert compare(tesla, archive_bars(payloads, "TSLA", tesla), Tolerance())["verdict"].tolist() == ["agree"] * 100
    amazon = raw_bars(payloads, "AMZN")
    rows = compare(amazon, archive_bars(payloads, "AMZN", amazon), Tolerance())
    differing = rows[rows["verdict"] != "agree"].iloc[0]
    assert (rows["verdict"] != "agree").sum() == 1
    assert (f"{differing['date']:%Y-%m-%d}", differing["field"]) == ("2024-11-01", "open")
    assert (differing["value"], differing["other_value"]) == (199.0, 198.86)


def test_volumes_of_two_real_vendors_lie_well_within_the_share_allowed(payloads):
    amazon = raw_bars(payloads, "AMZN")
    rows = compare(amazon, archive_bars(payloads, "AMZN", amazon), Tolerance(ticks=100, volume_share=0.025))
    assert set(rows["verdict"]) == {"agree"}
    strict = compare(amazon, archive_bars(payloads, "AMZN", amazon), Tolerance(ticks=100, volume_share=0.001))
    assert 0 < (strict["verdict"] == "volume_differs").sum() < 10


def test_adjusted_prices_of_a_real_vendor_agree_once_they_are_raw(payloads):
    microsoft = raw_bars(payloads, "MSFT")
    sent = archive_bars(payloads, "MSFT", microsoft)
    assert (compare(microsoft, sent, Tolerance())["verdict"] == "price_differs").sum() == 61
    day = pd.Series(["2024-11-21"]).astype("datetime64[s]")
    dividend = pd.DataFrame({"date": day, "kind": pd.Series(["dividend"], dtype="str"), "value": [0.83]})
    volume_basis = Basis.SPLIT_DIVIDEND
    raw = to_raw(sent, dividend, Basis.SPLIT_DIVIDEND, as_of=date(2025, 1, 21), volume_basis=volume_basis)
    bars = raw.bars.assign(price_error=price_error(raw.bars, raw.price_factor))
    rows = compare(microsoft, bars, Tolerance())
    assert rows["verdict"].tolist() == ["agree"] * 100
