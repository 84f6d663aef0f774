"""Stooq's files against one another, and raw prices recovered from them against Lean's unadjusted ones.

What they show: prices have 6 significant digits, and total-return prices their dividends applied in place, rounded
anew each time; price times volume is the same in every snapshot, so that volumes are divided by T_t; and dividends are
applied late or never, which `dividends_applied_until` finds out.
"""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from market_data.adjustments import dividends_applied_until, to_raw
from market_data.providers import parse
from market_data.records import Basis
from market_data_tests.comparisons import Agreement, lean, print_table

__all__ = ["agreements", "apple_actions", "main", "read_bars", "recovered"]

APPLE = {
    "archive": ("history/AAPL_stooq-ascii_2019-2026.csv", date(2026, 2, 20)),
    "February": ("stooq/aapl_us_d_asof-2026-02-03.csv", date(2026, 2, 3)),
    "June": ("stooq/aapl_us_d_asof-2026-06-26.csv", date(2026, 6, 26)),
    "2024": ("stooq/polish_aapl_us_d_2020-2024.csv", date(2024, 3, 13)),
}
"""The recorded snapshots of AAPL, and the date of each."""

_OF_NO_PAYLOAD = {"2024-11-08": 0.25, "2025-02-10": 0.25, "2025-11-10": 0.26, "2026-02-09": 0.26}
"""Apple's dividends by ex-date that no recorded payload holds, as the company declared them."""

_IN_CENTS_SINCE = pd.Timestamp("2022-05-06")
"""Before it, Stooq's own closes are off by up to 2 cents, in every snapshot alike."""


def read_bars(payloads: Path, name: str, symbol: str) -> pd.DataFrame:
    """Bars of a recorded file as sent, since 2019."""
    provider = "stooq_bulk" if "ascii" in name else "stooq"
    body = (payloads / name).read_bytes()
    bars = parse(provider, body, symbol=symbol, ticker=f"{symbol.lower()}.us").bars
    return bars[bars["date"] >= pd.Timestamp("2019-01-01")].reset_index(drop=True)


def apple_actions(payloads: Path) -> pd.DataFrame:
    """AAPL's splits and dividends 2010-2026: Lean's, Yahoo's since 2021-04 (no split followed), and four more."""
    bars = lean.read_bars(payloads, "AAPL")
    known = lean.actions_of(bars, lean.read_factors(payloads, "AAPL"))
    paid = dict(_OF_NO_PAYLOAD)
    for name in ("AAPL_dividends_scheb.json", "AAPL_1d_range_yfinance-rs.json"):
        result = json.loads((payloads / "yahoo" / name).read_bytes())["chart"]["result"][0]
        for event in result["events"]["dividends"].values():
            stamp = pd.Timestamp(event["date"], unit="s", tz="UTC").tz_convert("America/New_York")
            paid[f"{stamp:%Y-%m-%d}"] = event["amount"]
    later = {day: value for day, value in sorted(paid.items()) if day > "2021-04-01"}
    dates = pd.to_datetime(list(later)).astype("datetime64[s]")
    more = pd.DataFrame({"date": dates, "kind": "dividend", "value": list(later.values())})
    return pd.concat([known, more], ignore_index=True)


def recovered(payloads: Path, snapshot: str) -> pd.DataFrame:
    """AAPL's bars of a snapshot, raw."""
    name, as_of = APPLE[snapshot]
    sent, actions = read_bars(payloads, name, "AAPL"), apple_actions(payloads)
    until = dividends_applied_until(sent, actions, as_of=as_of)
    told = {"as_of": as_of, "dividends_as_of": until, "volume_basis": Basis.SPLIT_DIVIDEND}
    return to_raw(sent, actions, Basis.SPLIT_DIVIDEND, **told).bars


def agreements(payloads: Path) -> list[Agreement]:
    """Snapshots before and after a dividend, and a split; raw closes of AAPL across snapshots and against Lean's."""
    return [*_one_dividend(payloads), *_one_split(payloads), *_across(payloads), *_against_lean(payloads)]


def main(payloads: Path) -> int:
    """Print the figures and how far each snapshot of AAPL got with dividends; 0 when all pass."""
    actions = apple_actions(payloads)
    for snapshot, (name, as_of) in APPLE.items():
        until = dividends_applied_until(read_bars(payloads, name, "AAPL"), actions, as_of=as_of)
        print(f"     AAPL {snapshot}, of {as_of}: dividends applied until {until}")
    return print_table(agreements(payloads))


def _one_dividend(payloads: Path) -> list[Agreement]:
    """Every row before 2026-02-09 is smaller by 1 - 0.26 / 278.12; its volume larger by as much."""
    pair = read_bars(payloads, APPLE["February"][0], "AAPL").merge(
        read_bars(payloads, APPLE["June"][0], "AAPL"), on="date"
    )
    factor = 1 - 0.26 / 278.12
    dates = pair["date"].to_numpy()
    price = np.abs(pair["close_y"].to_numpy() / (pair["close_x"].to_numpy() * factor) - 1)
    volume = np.abs(pair["volume_y"].to_numpy() * factor / pair["volume_x"].to_numpy() - 1)
    return [
        Agreement("AAPL a dividend later, close", dates, price, 1e-5),
        Agreement("AAPL a dividend later, volume", dates, volume, 1e-7),
    ]


def _one_split(payloads: Path) -> list[Agreement]:
    before = read_bars(payloads, "stooq/polish_amzn_us_d_asof-2022-01_before-split.csv", "AMZN")
    split = pd.DataFrame({"date": [pd.Timestamp("2022-06-06")], "kind": ["split"], "value": [20.0]})
    archive = read_bars(payloads, "history/AMZN_stooq-ascii_2019-2026.csv", "AMZN")
    told = {"as_of": date(2026, 2, 20), "volume_basis": Basis.SPLIT_DIVIDEND}
    pair = before.merge(to_raw(archive, split, Basis.SPLIT_DIVIDEND, **told).bars, on="date")
    dates = pair["date"].to_numpy()
    price = np.abs(pair["close_y"].to_numpy() - pair["close_x"].to_numpy())
    volume = np.abs(pair["volume_y"].to_numpy() - pair["volume_x"].to_numpy())
    return [
        # 6 digits of 156.870 are good to 0.0005, times 20.
        Agreement("AMZN raw before and after a split of 20, dollars", dates, price, 0.0101),
        Agreement("AMZN volume before and after a split of 20, shares", dates, volume, 0.0),
    ]


def _across(payloads: Path) -> list[Agreement]:
    archive = recovered(payloads, "archive")
    found = []
    for other in ("February", "June", "2024"):
        pair = archive.merge(recovered(payloads, other), on="date")
        pair = pair[pair["date"] >= _IN_CENTS_SINCE]
        apart = np.abs(pair["close_x"].to_numpy() - pair["close_y"].to_numpy())
        found.append(Agreement(f"AAPL raw, archive and {other}, dollars", pair["date"].to_numpy(), apart, 0.005001))
    return found


def _against_lean(payloads: Path) -> list[Agreement]:
    pair = lean.read_bars(payloads, "AAPL").merge(recovered(payloads, "archive"), on="date")
    apart = np.abs(pair["close_x"].to_numpy() - pair["close_y"].to_numpy())
    dates = pair["date"].to_numpy()
    return [
        Agreement("AAPL raw and Lean's, same to the cent", dates, apart, 1e-9, share=0.5),
        Agreement("AAPL raw and Lean's, within a cent", dates, apart, 0.010001, share=0.95),
        Agreement("AAPL raw and Lean's, relative", dates, apart / pair["close_x"].to_numpy(), 2e-4),
    ]
