"""The market as vendors serve it: on each basis, with the planted defects, and altered by the faults of a call."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd

from market_data.instruments import Instrument
from market_data.records import Basis
from market_data.sandbox.defects import Manifest, apply
from market_data.sandbox.faults import Fault
from market_data.sandbox.market import PRICES, SyntheticMarket, significant

__all__ = ["Action", "Bearer", "ServedMarket", "altered", "between"]


@dataclass(frozen=True, slots=True)
class _Split:
    day: np.datetime64
    ratio: float


@dataclass(frozen=True, slots=True)
class Bearer:
    """A symbol that a ticker names from `first` to `last`, both inclusive."""

    symbol: str
    first: date
    last: date


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
        self._bearers = _bearers(market, "polygon")
        self._renamed = {item.ticker("polygon"): item.symbol for item in market.universe.values() if _is_renamed(item)}
        self._strangers: dict[tuple[str, Basis], pd.DataFrame] = {}

    def bars(self, symbol: str, basis: Basis) -> pd.DataFrame:
        """Daily bars of a symbol with its defects, ascending."""
        if (symbol, basis) not in self._bars:
            clean = self.market.adjusted_bars(symbol, basis)
            self._bars[symbol, basis] = apply(clean, self._manifest.of(symbol))
        return self._bars[symbol, basis]

    def bearers(self, ticker: str) -> Sequence[Bearer]:
        """What a ticker of the time names, and when, ascending; nothing for one that is never borne in the market."""
        return self._bearers.get(ticker, ())

    def bars_under(self, ticker: str, basis: Basis) -> pd.DataFrame:
        """Daily bars under a ticker as Polygon serves them, each day's of the security that had it then, ascending.

        `FB` has those of Meta Platforms until the day before its rename, and `META` those from then on; earlier ones
        under `META` are of another security, which has no defects.
        """
        bearers = self.bearers(ticker)
        if ticker not in self._renamed and [(each.first, each.last) for each in bearers] == [self._span]:
            return self.bars(bearers[0].symbol, basis)
        frames = [
            between(self.bars(each.symbol, basis), np.datetime64(each.first, "s"), np.datetime64(each.last, "s"))
            for each in bearers
        ]
        if ticker in self._renamed:
            frames.append(self._stranger(ticker, basis))
        if not frames:
            return self.market.stranger_bars(ticker).iloc[:0]
        return pd.concat(frames, ignore_index=True).sort_values("date", kind="stable", ignore_index=True)

    def strangers_on(self, day: date, basis: Basis) -> pd.DataFrame:
        """The day's bars of the other securities, each under the ticker of an instrument that goes by another then.

        Returns:
            The columns of `bars` and `ticker`.
        """
        at = np.datetime64(day, "s")
        frames = [between(self._stranger(each, basis), at, at).assign(ticker=each) for each in self._renamed]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["ticker"])

    def _stranger(self, ticker: str, basis: Basis) -> pd.DataFrame:
        if (ticker, basis) not in self._strangers:
            frame = self.market.stranger_bars(self._renamed[ticker], basis)
            days, free = frame["date"].to_numpy(), np.ones(len(frame), dtype=bool)
            for each in self.bearers(ticker):
                free &= (days < np.datetime64(each.first, "s")) | (days > np.datetime64(each.last, "s"))
            self._strangers[ticker, basis] = frame[free].reset_index(drop=True)
        return self._strangers[ticker, basis]

    @property
    def _span(self) -> tuple[date, date]:
        return self.market.start, self.market.end

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


def _is_renamed(instrument: Instrument) -> bool:
    return len(instrument.previous_symbols) > 0


def _bearers(market: SyntheticMarket, vendor: str) -> dict[str, list[Bearer]]:
    found: dict[str, list[Bearer]] = {}
    for symbol, instrument in market.universe.items():
        for _, first, last in instrument.names_between(market.start, market.end):
            ticker = instrument.ticker(vendor, first, point_in_time=True)
            found.setdefault(ticker, []).append(Bearer(symbol, first, last))
    return {ticker: sorted(bearers, key=lambda bearer: bearer.first) for ticker, bearers in found.items()}


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
