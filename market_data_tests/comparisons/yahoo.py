"""Total return against Yahoo's own `adjclose`: recorded chart bodies, and exports of yfinance.

Closes and dividends of a body are both split-adjusted as of its download, so that no split is left to apply. Where
dividends followed the window, every `adjclose` carries their factor: the last session's is divided out.
"""

from __future__ import annotations

import json
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from market_data.adjustments import dividend_factors
from market_data.providers import parse
from market_data_tests.comparisons import Agreement, print_table

__all__ = ["agreements", "main"]

_LIMIT = 1e-6


def agreements(payloads: Path) -> list[Agreement]:
    """One for each recorded daily series with a dividend in its window; cut-up bodies (`_partial`) are left out."""
    bodies = [file for file in sorted((payloads / "yahoo").glob("*_1d_*.json")) if "_partial" not in file.stem]
    found = [_of_body(file) for file in bodies]
    found += [_of_export(file) for file in sorted((payloads / "history").glob("yfinance_*-1d-no-bad-divs.csv"))]
    return [agreement for agreement in found if agreement is not None]


def main(payloads: Path) -> int:
    """Print the figures; 0 when all pass."""
    return print_table(agreements(payloads))


def _of_body(file: Path) -> Agreement | None:
    body = file.read_bytes()
    result = (json.loads(body)["chart"]["result"] or [{}])[0]
    if not result.get("events", {}).get("dividends") or result["meta"]["dataGranularity"] != "1d":
        return None
    symbol = result["meta"]["symbol"]
    parsed = parse("yahoo", body, symbol=symbol, ticker=symbol)
    stamps = pd.to_datetime(result["timestamp"], unit="s", utc=True)
    local = stamps.tz_convert(ZoneInfo(result["meta"]["exchangeTimezoneName"])).tz_localize(None).normalize()
    adjusted = pd.Series(result["indicators"]["adjclose"][0]["adjclose"], index=local.astype("datetime64[s]"))
    dividends = parsed.actions[parsed.actions["kind"] == "dividend"]
    return _compare(file.stem, parsed.bars, dividends, adjusted.reindex(parsed.bars["date"]).to_numpy(dtype=float))


def _of_export(file: Path) -> Agreement:
    table = pd.read_csv(file)
    table = table.assign(date=pd.to_datetime(table["Datetime"].str[:10]).astype("datetime64[s]"), kind="dividend")
    paid = table.rename(columns={"Dividends": "value"})[["date", "kind", "value"]]
    bars = table.rename(columns={"Close": "close"})
    return _compare(file.stem, bars, paid[paid["value"] > 0], table["Adj Close"].to_numpy(dtype=float))


def _compare(name: str, bars: pd.DataFrame, dividends: pd.DataFrame, adjusted: np.ndarray) -> Agreement:
    ours = bars["close"].to_numpy() * dividend_factors(bars["date"], bars["close"], dividends)
    later = adjusted[-1] / ours[-1]
    return Agreement(f"{name}, {len(dividends)} dividends", bars["date"].to_numpy(),
                     np.abs(ours * later / adjusted - 1), _LIMIT)  # fmt: skip
