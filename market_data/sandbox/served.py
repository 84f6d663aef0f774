"""The market as vendors serve it at an instant: on each basis, with the planted defects, as far as it exists.

Vendors restate volume after the close: until 20 hours after it a session's daily volume is served 1 to 3 % short.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date

import numpy as np
import pandas as pd

from market_data.instruments import Instrument
from market_data.records import Basis
from market_data.sandbox.adjusting import PRICES, Floats
from market_data.sandbox.defects import Manifest, apply
from market_data.sandbox.market import SyntheticMarket, stream
from market_data.sandbox.minutes import Bar, day_so_far, minute_frame, minute_so_far, scaled_minutes
from market_data.sandbox.timeline import Extent

__all__ = ["Action", "Bearer", "ServedMarket", "between"]


_YEAR = 252
_SHORT = (0.01, 0.03)  # of its volume, least and most, by which a session is served short at first


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


@dataclass(frozen=True, slots=True)
class Figures:
    """The latest bar of a symbol, of a session that is open or the last one, and the highest and lowest of a year."""

    last: Bar
    high: float
    low: float


class ServedMarket:
    """Frames that are computed once and shared; none of them may be changed.

    Planted defects stand in the daily bars of sessions that closed; minutes, and the bar of a session under way, are
    always clean. What is adjusted, is as of today.

    Args:
        market: at least as much as exists.
        manifest: what is planted.
        extent: what exists; methods that take `now`, an epoch second, add the session under way.
    """

    def __init__(self, market: SyntheticMarket, manifest: Manifest, extent: Extent) -> None:
        self.market = market
        self.extent = extent
        self._manifest = manifest
        self._clean: dict[tuple[str, Basis], pd.DataFrame] = {}
        self._bars: dict[tuple[str, Basis], pd.DataFrame] = {}
        self._every: dict[Basis, pd.DataFrame] = {}
        self._actions: dict[str, list[Action]] = {}
        self._traded: dict[str, list[date]] = {}
        self._latest_table: tuple[tuple[str, date, int], Floats] | None = None
        self._figures: dict[str, Figures] = {}
        self._factors: dict[tuple[str, Basis], tuple[Floats, Floats]] = {}
        self._bearers = _bearers(market, "polygon")
        self._renamed = {item.ticker("polygon"): item.symbol for item in market.universe.values() if _is_renamed(item)}
        self._strangers: dict[tuple[str, Basis], pd.DataFrame] = {}

    def clean(self, symbol: str, basis: Basis) -> pd.DataFrame:
        """Daily bars of the sessions that closed, without defects, ascending."""
        if (symbol, basis) not in self._clean:
            frame = self.market.adjusted_bars(symbol, basis, as_of=self.extent.today)
            self._clean[symbol, basis] = self._so_far(frame, symbol)
        return self._clean[symbol, basis]

    def bars(self, symbol: str, basis: Basis) -> pd.DataFrame:
        """The same with its defects."""
        if (symbol, basis) not in self._bars:
            defects = [
                defect
                for defect in self._manifest.of(symbol)
                if defect.date is None or np.datetime64(defect.date, "s") <= self.extent.closed
            ]
            self._bars[symbol, basis] = apply(self.clean(symbol, basis), defects, until=self._manifest.until)
        return self._bars[symbol, basis]

    def with_running(self, bars: pd.DataFrame, symbol: str, now: int) -> pd.DataFrame:
        """Daily bars of a symbol and, while a session is open, that of it so far; its basis makes no difference."""
        session, running = self.open_session(now), self.running(symbol, now)
        if running is None:
            return bars
        row = pd.DataFrame([asdict(running)])
        row.insert(0, "date", np.array([session], dtype="datetime64[s]"))
        return pd.concat([bars, row], ignore_index=True) if len(bars) else row

    def running(self, symbol: str, now: int) -> Bar | None:
        """The bar so far of the session that is open; None where there is none, or no trade in it yet."""
        session = self.open_session(now)
        table = None if session is None else self._table(symbol, session, now)
        return None if table is None or not len(table) else day_so_far(table)

    def figures(self, symbol: str, now: int) -> Figures:
        """The latest bar and the year's range, raw and without defects.

        Raises:
            LookupError: the symbol has no bars yet.
        """
        if symbol not in self._figures and len(year := self.clean(symbol, Basis.RAW).iloc[-_YEAR:]):
            last = Bar(*(float(year[name].iloc[-1]) for name in (*PRICES, "volume")))
            self._figures[symbol] = Figures(last, float(year["high"].max()), float(year["low"].min()))
        running, closed = self.running(symbol, now), self._figures.get(symbol)
        if running is None and closed is not None:
            return closed
        if running is None:
            raise LookupError(f"{symbol} has no bars yet")
        if closed is None:
            return Figures(running, running.high, running.low)
        return Figures(running, max(closed.high, running.high), min(closed.low, running.low))

    def open_session(self, now: int) -> date | None:
        """The session of the market that is open."""
        place = int(self.market.open_seconds.searchsorted(now, side="right")) - 1
        if place < 0 or now >= self.market.close_seconds[place]:
            return None
        return self.market.sessions[place].date()

    def quoted_at(self, now: int) -> int:
        """Epoch second of the market's latest trade: now while it is open, else the second after the last close."""
        if self.open_session(now) is not None:
            return now
        place = int(self.market.close_seconds.searchsorted(now, side="right"))
        return int(self.market.close_seconds[max(place - 1, 0)]) + 1

    def traded(self, symbol: str, now: int) -> list[date]:
        """Sessions of a symbol that have minutes, ascending."""
        if symbol not in self._traded:
            days = self.clean(symbol, Basis.RAW)["date"].to_numpy()
            self._traded[symbol] = days.astype("datetime64[D]").tolist()
        session = self.open_session(now)
        if session is None or not len(self._table(symbol, session, now)):
            return self._traded[symbol]
        return [*self._traded[symbol], session]

    def _so_far(self, frame: pd.DataFrame, name: str) -> pd.DataFrame:
        """The rows of sessions that closed, with less volume where that is not settled."""
        days = frame["date"].to_numpy()
        frame = frame.iloc[: int(days.searchsorted(self.extent.closed, side="right"))]
        unsettled = int(days.searchsorted(self.extent.settled, side="right"))
        if unsettled >= len(frame):
            return frame
        volume = frame["volume"].to_numpy().copy()
        for place in range(unsettled, len(frame)):
            random = stream(self.market.seed, f"settling:{name}:{days[place].astype('datetime64[D]')}")
            volume[place] = np.rint(volume[place] * (1 - random.uniform(*_SHORT)))
        return frame.assign(volume=volume)

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
            frame = self.market.stranger_bars(self._renamed[ticker], basis, as_of=self.extent.today)
            frame = self._so_far(frame, f"stranger:{ticker}")
            days, free = frame["date"].to_numpy(), np.ones(len(frame), dtype=bool)
            for each in self.bearers(ticker):
                free &= (days < np.datetime64(each.first, "s")) | (days > np.datetime64(each.last, "s"))
            self._strangers[ticker, basis] = frame[free].reset_index(drop=True)
        return self._strangers[ticker, basis]

    @property
    def _span(self) -> tuple[date, date]:
        return self.market.start, self.market.end

    def minutes(self, symbol: str, session: date, basis: Basis, now: int) -> pd.DataFrame:
        """Minutes of a session as far as they exist, with its date in a column date; the last may be under way."""
        table = self._table(symbol, session, now)
        if basis is not Basis.RAW and len(table):
            place = self.market.place(symbol, session)
            prices, volumes = self._factors_of(symbol, basis)
            table = scaled_minutes(table, float(prices[place]), float(volumes[place]))
        return minute_frame(table, self.market.opened(session) if len(table) else 0, session)

    def _table(self, symbol: str, session: date, now: int) -> Floats:
        """Raw minutes so far; one answer asks for the same ones several times."""
        key = (symbol, session, now)
        if self._latest_table is None or self._latest_table[0] != key:
            self._latest_table = (key, self._table_so_far(symbol, session, now))
        return self._latest_table[1]

    def _table_so_far(self, symbol: str, session: date, now: int) -> Floats:
        whole = self.market.minute_table(symbol, session)
        if not len(whole):
            return whole
        minutes, seconds = divmod(max(now - self.market.opened(session), 0), 60)
        if minutes >= len(whole):
            return whole
        started = stream(self.market.seed, f"within:{symbol}:{session}:{minutes}")
        running = minute_so_far(whole[minutes], seconds, started)
        return whole[:minutes] if running is None else np.vstack([whole[:minutes], running])

    def _factors_of(self, symbol: str, basis: Basis) -> tuple[Floats, Floats]:
        if (symbol, basis) not in self._factors:
            self._factors[symbol, basis] = self.market.factors(symbol, basis, as_of=self.extent.today)
        return self._factors[symbol, basis]

    def actions(self, symbol: str) -> list[Action]:
        """Splits and dividends of a symbol with an ex-date up to today, ascending."""
        if symbol not in self._actions:
            found = self.market.actions(symbol)
            found = found[found["date"].to_numpy() <= np.datetime64(self.extent.today, "s")]
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
