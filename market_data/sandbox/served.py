"""The market as vendors serve it: on each basis, with the planted defects, and altered by the faults of a call."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd

from market_data.records import Basis
from market_data.sandbox.defects import Manifest, apply
from market_data.sandbox.faults import Fault
from market_data.sandbox.market import PRICES, SyntheticMarket, significant

__all__ = ["Action", "ServedMarket", "altered", "between"]


@dataclass(frozen=True, slots=True)
class _Split:
    day: np.datetime64
    ratio: float


@dataclass(frozen=True, slots=True)
class Action:
    """A split (new shares for an old one) or dividend (dollars a share as paid at the time), by ex-date."""

    day: date
    kind: str
    value: float


class ServedMarket:
    """Frames that are computed once and shared; none of them may be changed.

    Planted defects stand in the daily bars; minutes are always clean.
    """

    def __init__(self, market: SyntheticMarket, manifest: Manifest) -> None:
        self.market = market
        self._manifest = manifest
        self._bars: dict[tuple[str, Basis], pd.DataFrame] = {}
        self._every: dict[Basis, pd.DataFrame] = {}
        self._actions: dict[str, list[Action]] = {}

    def bars(self, symbol: str, basis: Basis) -> pd.DataFrame:
        """Daily bars of a symbol with its defects, ascending."""
        if (symbol, basis) not in self._bars:
            clean = self.market.adjusted_bars(symbol, basis)
            self._bars[symbol, basis] = apply(clean, self._manifest.of(symbol))
        return self._bars[symbol, basis]

    def minutes(self, symbol: str, session: date, basis: Basis) -> pd.DataFrame:
        """Minutes of a session, with its date in a column date."""
        frame = self.market.minute_bars(symbol, session, basis)
        return frame.assign(date=np.full(len(frame), np.datetime64(session, "s")))

    def actions(self, symbol: str) -> list[Action]:
        """Splits and dividends of a symbol, ascending."""
        if symbol not in self._actions:
            found = self.market.actions(symbol)
            days = [day.date() for day in found["date"]]
            self._actions[symbol] = list(map(Action, days, found["kind"].tolist(), found["value"].tolist()))
        return self._actions[symbol]

    def every(self, basis: Basis) -> pd.DataFrame:
        """Daily bars of all symbols, ascending by date, with a column symbol."""
        if basis not in self._every:
            frames = [self.bars(symbol, basis).assign(symbol=symbol) for symbol in self.market.universe]
            together = pd.concat(frames, ignore_index=True)
            self._every[basis] = together.sort_values("date", kind="stable", ignore_index=True)
        return self._every[basis]


def between(frame: pd.DataFrame, first: np.datetime64 | None, last: np.datetime64 | None) -> pd.DataFrame:
    """The rows of the days from `first` to `last`, both inclusive; None for an open end."""
    days = frame["date"].to_numpy()
    low = np.searchsorted(days, first, side="left") if first is not None else 0
    high = np.searchsorted(days, last, side="right") if last is not None else len(days)
    return frame.iloc[low:high]


def altered(
    frame: pd.DataFrame, faults: Iterable[Fault], market: SyntheticMarket, symbol: str | None = None
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
            frame = _times_hundred(frame, int(fault.value or 1), f"{market.seed}:{symbol}")
        elif fault.kind == "wrong_split":
            names = [symbol] if symbol is not None else frame["symbol"].unique().tolist()
            for name in names:
                rows = np.ones(len(frame), dtype=bool) if symbol is not None else (frame["symbol"] == name).to_numpy()
                frame = _split_again(frame, rows, _split_of(market, name, fault.value or 2.0))
    return frame


def _cut(frame: pd.DataFrame, sessions: int) -> pd.DataFrame:
    days = np.unique(frame["date"].to_numpy())
    return frame[frame["date"].to_numpy() >= days[-sessions:][0]] if len(days) else frame


def _times_hundred(frame: pd.DataFrame, one_in: int, name: str) -> pd.DataFrame:
    offset = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4])
    days = frame["date"].to_numpy().astype("datetime64[D]").astype(np.int64)
    return _scaled(frame, (days * 2654435761 + offset) % 4294967291 % one_in == 0, 100.0, 1.0)


def _split_of(market: SyntheticMarket, symbol: str, ratio: float) -> _Split:
    """The symbol's last split; where it has none, one of `ratio` in the middle of the market."""
    actions = market.actions(symbol)
    splits = actions[actions["kind"] == "split"]
    if len(splits):
        return _Split(splits["date"].to_numpy()[-1], float(splits["value"].iloc[-1]))
    return _Split(market.sessions.to_numpy()[len(market.sessions) // 2], ratio)


def _split_again(frame: pd.DataFrame, rows: npt.NDArray[np.bool_], split: _Split) -> pd.DataFrame:
    return _scaled(frame, rows & (frame["date"].to_numpy() < split.day), 1 / split.ratio, split.ratio)


def _scaled(frame: pd.DataFrame, rows: npt.NDArray[np.bool_], price: float, volume: float) -> pd.DataFrame:
    changed = frame.copy()
    prices = changed[PRICES].to_numpy()
    changed[PRICES] = np.where(rows[:, None], significant(prices * price), prices)
    changed["volume"] = np.where(rows, np.round(changed["volume"].to_numpy() * volume), changed["volume"].to_numpy())
    return changed
