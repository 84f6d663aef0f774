"""Total return against QuantConnect's Lean: unadjusted prices and the factor files that belong to them.

A row of a factor file holds date, price factor, split factor and the unadjusted close of that date, and applies up to
and including it: adjusted = price * price factor * split factor. Its factors have 7 decimals. Dividends and splits are
read out of consecutive rows; a dividend so read is good to 0.0005 dollars, which is the limit's reason.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from market_data.adjustments import adjust, to_raw
from market_data.records import Basis
from market_data_tests.comparisons import Agreement, print_table

__all__ = ["actions_of", "agreements", "main", "read_bars", "read_factors"]

_SYMBOLS = ("AAPL", "SPY")
_LIMIT = 5e-6


def read_bars(payloads: Path, symbol: str) -> pd.DataFrame:
    """Unadjusted bars, a `RawBars` frame, in dollars."""
    file = payloads / f"history/{symbol}_lean_unadjusted_deci-cents_2010-2021.csv"
    table = pd.read_csv(file, header=None, names=["date", "open", "high", "low", "close", "volume"])
    prices = table[["open", "high", "low", "close"]] / 10_000
    dates = pd.to_datetime(table["date"].str[:8]).astype("datetime64[s]")
    volume = table["volume"].astype(float)
    return prices.assign(volume=volume, vwap=np.nan, trade_count=np.nan).pipe(
        lambda frame: pd.concat([dates, frame], axis=1)
    )


def read_factors(payloads: Path, symbol: str) -> pd.DataFrame:
    """Columns date, price_factor, split_factor, reference; ascending."""
    file = payloads / f"history/{symbol}_lean_factor_file.csv"
    table = pd.read_csv(file, header=None, names=["date", "price_factor", "split_factor", "reference"])
    return table.assign(date=pd.to_datetime(table["date"].astype(str)).astype("datetime64[s]"))


def actions_of(bars: pd.DataFrame, factors: pd.DataFrame) -> pd.DataFrame:
    """A `CorporateActions` frame of the changes between consecutive factors, within the bars."""
    paid = ((1 - factors["price_factor"] / factors["price_factor"].shift(-1)) * factors["reference"]).round(3)
    split = (factors["split_factor"].shift(-1) / factors["split_factor"]).round()
    dates = bars["date"].to_numpy()
    rows = []
    for last, dividend, ratio in zip(factors["date"].to_numpy(), paid, split, strict=True):
        if not dates[0] <= last < dates[-1]:
            continue
        ex_date = dates[np.searchsorted(dates, last, side="right")]
        rows += [(ex_date, "dividend", dividend)] if dividend > 0 else []
        rows += [(ex_date, "split", ratio)] if ratio != 1 else []
    return pd.DataFrame(rows, columns=["date", "kind", "value"]).astype({"date": "datetime64[s]"})


def agreements(payloads: Path) -> list[Agreement]:
    """Adjusted closes by our factors and by Lean's; and raw bars from adjusted ones, to be the same to the bit."""
    found = []
    for symbol in _SYMBOLS:
        bars, factors = read_bars(payloads, symbol), read_factors(payloads, symbol)
        dates, actions = bars["date"].to_numpy(), actions_of(bars, factors)
        total = adjust(bars, actions, Basis.SPLIT_DIVIDEND)
        theirs = factors.iloc[np.searchsorted(factors["date"].to_numpy(), dates, side="left")]
        expected = bars["close"].to_numpy() * theirs["price_factor"].to_numpy() * theirs["split_factor"].to_numpy()
        found.append(
            Agreement(f"{symbol} total return", dates, np.abs(total["close"].to_numpy() / expected - 1), _LIMIT)
        )
        told = {"as_of": bars["date"].iloc[-1].date(), "volume_basis": Basis.SPLIT}
        back = to_raw(total, actions, Basis.SPLIT_DIVIDEND, **told).bars
        numbers = ["open", "high", "low", "close", "volume"]
        apart = np.abs(back[numbers].to_numpy() - bars[numbers].to_numpy()).max(axis=1)
        found.append(Agreement(f"{symbol} raw again, dollars or shares", dates, apart, 0.0))
    return found


def main(payloads: Path) -> int:
    """Print the figures; 0 when all pass."""
    return print_table(agreements(payloads))
