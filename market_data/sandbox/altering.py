"""Bars as the faults of a call make them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from market_data.sandbox.adjusting import PRICES, significant
from market_data.sandbox.faults import Fault
from market_data.sandbox.served import ServedMarket

__all__ = ["altered"]


@dataclass(frozen=True, slots=True)
class _Split:
    day: np.datetime64
    ratio: float


def altered(
    frame: pd.DataFrame, faults: Iterable[Fault], served: ServedMarket, symbol: str | None = None
) -> pd.DataFrame:
    """Bars as the faults of a call make them; the frame itself is left as it is.

    Args:
        frame: with the columns date, the prices and volume, and symbol where it is of all symbols.
        symbol: the one the frame is of.
    """
    for fault in faults:
        if fault.kind == "cut_window":
            frame = _cut(frame, int(fault.value or 1))
        elif fault.kind == "hundredfold":
            frame = _times_hundred(frame, int(fault.value or 1), f"{served.market.seed}:{symbol}")
        elif fault.kind == "wrong_split":
            names = [symbol] if symbol is not None else frame["symbol"].unique().tolist()
            for name in names:
                rows = np.ones(len(frame), dtype=bool) if symbol is not None else (frame["symbol"] == name).to_numpy()
                frame = _split_again(frame, rows, _split_of(served, name, fault.value or 2.0))
    return frame


def _cut(frame: pd.DataFrame, sessions: int) -> pd.DataFrame:
    days = np.unique(frame["date"].to_numpy())
    return frame[frame["date"].to_numpy() >= days[-sessions:][0]] if len(days) else frame


def _times_hundred(frame: pd.DataFrame, one_in: int, name: str) -> pd.DataFrame:
    offset = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4])
    days = frame["date"].to_numpy().astype("datetime64[D]").astype(np.int64)
    return _scaled(frame, (days * 2654435761 + offset) % 4294967291 % one_in == 0, 100.0, 1.0)


def _split_of(served: ServedMarket, symbol: str, ratio: float) -> _Split:
    """The symbol's last split; where it has none, one of `ratio` in the middle of the market so far."""
    splits = [action for action in served.actions(symbol) if action.kind == "split"]
    if splits:
        return _Split(np.datetime64(splits[-1].day, "s"), splits[-1].value)
    days = served.market.sessions.to_numpy()
    days = days[days <= served.extent.closed] if days[0] <= served.extent.closed else days
    return _Split(days[len(days) // 2], ratio)


def _split_again(frame: pd.DataFrame, rows: npt.NDArray[np.bool_], split: _Split) -> pd.DataFrame:
    return _scaled(frame, rows & (frame["date"].to_numpy() < split.day), 1 / split.ratio, split.ratio)


def _scaled(frame: pd.DataFrame, rows: npt.NDArray[np.bool_], price: float, volume: float) -> pd.DataFrame:
    changed = frame.copy()
    prices = changed[PRICES].to_numpy()
    changed[PRICES] = np.where(rows[:, None], significant(prices * price), prices)
    changed["volume"] = np.where(rows, np.round(changed["volume"].to_numpy() * volume), changed["volume"].to_numpy())
    return changed
