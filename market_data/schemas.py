"""pandera models of the frames: what a parser promises, what the canonical store takes.

Every model is strict: a frame with another column, dtype or order of columns is refused. Dates are naive midnights,
`datetime64[s]`; instants are UTC. Prices are in US dollars a share, volumes in shares (fractional for some vendors).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Annotated

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.typing import Series

__all__ = [
    "BAR_FIELDS",
    "CorporateActions",
    "DailyPrices",
    "Executions",
    "IntradayBars",
    "QualityLog",
    "RawBars",
    "RawIntradayBars",
    "empty_actions",
    "empty_bars",
]

if TYPE_CHECKING:
    Day = pd.Timestamp
    Instant = pd.Timestamp
else:
    Day = np.dtype("datetime64[s]")
    Instant = Annotated[pd.DatetimeTZDtype, "us", "UTC"]

BAR_FIELDS = ("open", "high", "low", "close", "volume")
"""The fields a complete bar has."""


class _Strict(pa.DataFrameModel):
    class Config:
        strict = True
        ordered = True
        coerce = False


class RawBars(_Strict):
    """Bars as a vendor sent them, parsed and ascending, not yet judged: nulls, negatives and duplicates are kept."""

    date: Series[Day] = pa.Field(description="Date the vendor gives the bar, exchange's zone")
    open: Series[float] = pa.Field(nullable=True, description="First price, dollars a share")
    high: Series[float] = pa.Field(nullable=True, description="Highest price, dollars a share")
    low: Series[float] = pa.Field(nullable=True, description="Lowest price, dollars a share")
    close: Series[float] = pa.Field(nullable=True, description="Last price, dollars a share")
    volume: Series[float] = pa.Field(nullable=True, description="Shares traded; may be fractional")
    vwap: Series[float] = pa.Field(nullable=True, description="Volume-weighted average price, where sent")
    trade_count: Series[float] = pa.Field(nullable=True, description="Number of trades, where sent")

    @pa.dataframe_check(description="numbers are finite or null")
    @classmethod
    def finite(cls, frame: pd.DataFrame) -> bool:
        """No infinity among the numbers."""
        return not np.isinf(frame.iloc[:, 1:].to_numpy(dtype=float)).any()

    @pa.dataframe_check(description="dates ascend")
    @classmethod
    def ascending(cls, frame: pd.DataFrame) -> bool:
        """Dates never go back; equal dates are a finding of validation, not of the schema."""
        return bool(frame["date"].is_monotonic_increasing)


class RawIntradayBars(_Strict):
    """Intraday bars as a vendor sent them, parsed and ascending, not yet judged; `datetime` starts the interval."""

    datetime: Series[Instant] = pa.Field(description="Start of the interval, UTC")
    open: Series[float] = pa.Field(nullable=True, description="First price, dollars a share")
    high: Series[float] = pa.Field(nullable=True, description="Highest price, dollars a share")
    low: Series[float] = pa.Field(nullable=True, description="Lowest price, dollars a share")
    close: Series[float] = pa.Field(nullable=True, description="Last price, dollars a share")
    volume: Series[float] = pa.Field(nullable=True, description="Shares traded; may be fractional")
    vwap: Series[float] = pa.Field(nullable=True, description="Volume-weighted average price, where sent")
    trade_count: Series[float] = pa.Field(nullable=True, description="Number of trades, where sent")

    @pa.dataframe_check(description="numbers are finite or null")
    @classmethod
    def finite(cls, frame: pd.DataFrame) -> bool:
        """No infinity among the numbers."""
        return not np.isinf(frame.iloc[:, 1:].to_numpy(dtype=float)).any()

    @pa.dataframe_check(description="instants ascend")
    @classmethod
    def ascending(cls, frame: pd.DataFrame) -> bool:
        """Instants never go back."""
        return bool(frame["datetime"].is_monotonic_increasing)


class DailyPrices(_Strict):
    """Bars that validation accepted, at most one for a session, ready for `price_history_daily`."""

    date: Series[Day] = pa.Field(unique=True, description="XNYS session")
    open: Series[float] = pa.Field(gt=0, nullable=True, description="First price, dollars a share")
    high: Series[float] = pa.Field(gt=0, nullable=True, description="Highest price, dollars a share")
    low: Series[float] = pa.Field(gt=0, nullable=True, description="Lowest price, dollars a share")
    close: Series[float] = pa.Field(gt=0, nullable=True, description="Last price, dollars a share")
    volume: Series[float] = pa.Field(ge=0, nullable=True, description="Shares traded; may be fractional")
    vwap: Series[float] = pa.Field(gt=0, nullable=True, description="Volume-weighted average price, where sent")
    trade_count: Series[float] = pa.Field(ge=0, nullable=True, description="Number of trades, where sent")


class IntradayBars(_Strict):
    """Bars of a session, `datetime` being the start of the interval in UTC."""

    datetime: Series[Instant] = pa.Field(unique=True, description="Start of the interval, UTC")
    open: Series[float] = pa.Field(gt=0, nullable=True, description="First price, dollars a share")
    high: Series[float] = pa.Field(gt=0, nullable=True, description="Highest price, dollars a share")
    low: Series[float] = pa.Field(gt=0, nullable=True, description="Lowest price, dollars a share")
    close: Series[float] = pa.Field(gt=0, nullable=True, description="Last price, dollars a share")
    volume: Series[float] = pa.Field(ge=0, nullable=True, description="Shares traded; may be fractional")
    vwap: Series[float] = pa.Field(gt=0, nullable=True, description="Volume-weighted average price, where sent")
    trade_count: Series[float] = pa.Field(ge=0, nullable=True, description="Number of trades, where sent")


class QualityLog(_Strict):
    """A verdict for each expected session of an instrument."""

    date: Series[Day] = pa.Field(unique=True, description="XNYS session")
    verdict: Series[str] = pa.Field(
        isin=["accepted", "flagged", "missing", "rejected", "unanswered"],
        description="accepted: clean; flagged: stored with findings; missing: no usable bar; rejected: batch refused; "
        "unanswered: nobody was asked or answered",
    )
    score: Series[float] = pa.Field(ge=0, le=1, description="1 minus the penalties of the session's rules")
    rules: Series[str] = pa.Field(description="Rules found at the session, comma-separated, ascending; empty if none")


class CorporateActions(_Strict):
    """Splits, spin-offs and cash dividends by ex-date."""

    date: Series[Day] = pa.Field(description="Ex-date, an XNYS session")
    kind: Series[str] = pa.Field(isin=["split", "dividend", "spinoff"], description="What happened")
    value: Series[float] = pa.Field(
        gt=0,
        description="Split: new shares for an old one; dividend: dollars a share; "
        "spinoff: price before for price after, which vendors list as a split",
    )


def empty_actions() -> pd.DataFrame:
    """A `CorporateActions` frame without rows."""
    return _no_actions().copy()


@cache
def _no_actions() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "date": pd.Series(dtype="datetime64[s]"),
            "kind": pd.Series(dtype="str"),
            "value": pd.Series(dtype="float64"),
        }
    )


def empty_bars(interval: str = "1d") -> pd.DataFrame:
    """A `RawBars` frame without rows; for an interval shorter than a day a `RawIntradayBars` frame."""
    return _no_bars(interval).copy()


@cache
def _no_bars(interval: str) -> pd.DataFrame:
    key = ("date", "datetime64[s]") if interval == "1d" else ("datetime", "datetime64[us, UTC]")
    numbers = [*BAR_FIELDS, "vwap", "trade_count"]
    return pd.DataFrame({key[0]: pd.Series(dtype=key[1]), **{name: pd.Series(dtype="float64") for name in numbers}})


class Executions(_Strict):
    """Executions of a file that could be read, one a row; the index is the line of the file."""

    order_id: Series[str] = pa.Field(str_length={"min_value": 1, "max_value": 128}, description="Key of the order")
    symbol: Series[str] = pa.Field(str_matches=r"^[A-Z]{1,5}(\.[A-Z]{1,2})?$", description="Canonical symbol")
    side: Series[str] = pa.Field(isin=["buy", "sell"], description="What was done")
    quantity: Series[float] = pa.Field(gt=0, lt=1e12, description="Shares executed")
    price: Series[float] = pa.Field(gt=0, lt=1e7, description="Average price, dollars a share, as traded")
    decision_price: Series[float] = pa.Field(
        gt=0, lt=1e7, nullable=True, description="Price when the order was decided, dollars a share"
    )
    decided_at: Series[Instant] = pa.Field(nullable=True, description="Instant of the decision, UTC")
    arrived_at: Series[Instant] = pa.Field(nullable=True, description="Instant the order reached the market, UTC")
    executed_at: Series[Instant] = pa.Field(description="Instant the execution was complete, UTC")
    session_date: Series[Day] = pa.Field(description="XNYS session of the execution")
    venue: Series[str] = pa.Field(nullable=True, description="Where it was executed, as told")
    fees: Series[float] = pa.Field(
        gt=-1e9, lt=1e9, nullable=True, description="Dollars for the order; below 0 for a rebate"
    )
    reported_at: Series[Instant] = pa.Field(nullable=True, description="Instant of the report, UTC")
    version: Series[pd.Int64Dtype] = pa.Field(ge=0, nullable=True, description="Number of the report")

    @pa.dataframe_check(error="executed_at is before decided_at")
    @classmethod
    def executed_after_decision(cls, frame: pd.DataFrame) -> pd.Series:
        """No order is executed before it is decided."""
        return ~(frame["executed_at"] < frame["decided_at"])

    @pa.dataframe_check(error="executed_at is before arrived_at")
    @classmethod
    def executed_after_arrival(cls, frame: pd.DataFrame) -> pd.Series:
        """No order is executed before it reaches the market."""
        return ~(frame["executed_at"] < frame["arrived_at"])
