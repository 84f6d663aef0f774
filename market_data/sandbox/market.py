"""The synthetic market: daily bars and corporate actions of a whole universe, from a seed.

A symbol's numbers depend on (seed, symbol) and the market's start, never on its end: a market that ends later begins
with the same bars.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd

from market_data.errors import MarketDataError
from market_data.instruments import Universe
from market_data.records import Basis
from market_data.sandbox.adjusting import PRICES, Floats, adjusted, backward_factors, significant
from market_data.sandbox.minutes import Bar, minute_frame, minutes_of, scaled_minutes
from market_data.sandbox.simulation import FACTOR_VOLATILITY, Series, simulate, stream
from market_data.sessions import closes, sessions_between

__all__ = ["PRICES", "SyntheticMarket", "significant", "stream"]

_OPENS_AFTER = np.timedelta64(9 * 60 + 30, "m")  # from midnight to the open, New York
_TABLES_KEPT = 3000  # of minutes; 16 KB each


class SyntheticMarket:
    """Bars and corporate actions of every instrument of a universe.

    Args:
        start, end: span of the market, both inclusive. An instrument trades on the XNYS sessions of it within its
            listing span; one of unknown listing trades from `start`.
        seed: the same seed and start give the same numbers, everywhere.
        longer: a market that differs in its later end alone, whose numbers are taken rather than made anew.

    Attributes:
        open_seconds, close_seconds: epoch seconds of the openings and closes of `sessions`, `int64`.

    Raises:
        MarketDataError: `start` is after `end`.
        SettingsError: a date is outside the known calendar.
    """

    def __init__(
        self, universe: Universe, *, start: date, end: date, seed: int, longer: SyntheticMarket | None = None
    ) -> None:
        if start > end:
            raise MarketDataError(f"the synthetic market cannot start on {start}, after its end {end}")
        self.universe = universe
        self.start = start
        self.end = end
        self.seed = seed
        self.longer = longer
        self._sessions = sessions_between(start, end)
        self._factor = stream(seed, "market").standard_normal(len(self._sessions)) * FACTOR_VOLATILITY
        self._closes = closes(self._sessions)
        opens = pd.DatetimeIndex(self._sessions + _OPENS_AFTER).tz_localize("America/New_York").tz_convert("UTC")
        self.open_seconds, self.close_seconds = _seconds(opens), _seconds(self._closes)
        self._series: dict[str, Series] = {}
        self._tables: OrderedDict[tuple[str, date], Floats] = OrderedDict()

    def raw_bars(self, symbol: str) -> pd.DataFrame:
        """Bars as traded, one a session, ascending.

        Without planted defects: low <= open, close <= high; |ln(close / previous close)| <= 0.25 but for splits; at
        most 3 sessions in a row with the same close; |ln(volume) - median| <= 1.6 between splits.

        Returns:
            date `datetime64[s]`; open, high, low, close `float64`, dollars a share in whole cents; volume `float64`,
            whole shares. No rows when the instrument is not listed in the span.

        Raises:
            SymbolError: not in the universe.
        """
        return self._of(symbol).raw.copy()

    def actions(self, symbol: str) -> pd.DataFrame:
        """Splits and cash dividends up to the end of the market, ascending (a `CorporateActions` frame).

        Returns:
            date `datetime64[s]`, the ex-date, always a session after the instrument's first; kind "split" or
            "dividend"; value `float64`: new shares for an old one, or dollars a share as paid at the time.

        Raises:
            SymbolError: not in the universe.
        """
        return self._of(symbol).actions.copy()

    def adjusted_bars(
        self, symbol: str, basis: Basis = Basis.SPLIT_DIVIDEND, *, as_of: date | None = None
    ) -> pd.DataFrame:
        """Bars adjusted as of a day, or the market's last session; by default for splits and dividends, as Stooq does.

        A price is the raw one times the product, over the actions with a later ex-date, of `1 / ratio` for a split
        and `1 - D / P` for a dividend, D being dollars a share and P the raw close of the session before the ex-date
        (CRSP's backward factors). Volume is the raw one over that product, as in Stooq's files.

        Args:
            as_of: actions with an ex-date after it are not applied.

        Returns:
            The columns of `raw_bars`; prices rounded to 6 significant digits, volume to whole shares. `Basis.RAW`
            gives those very bars.

        Raises:
            SymbolError: not in the universe.
        """
        series = self._of(symbol)
        return adjusted(series.raw, _until(series.actions, as_of), basis)

    def factors(self, symbol: str, basis: Basis, *, as_of: date | None = None) -> tuple[Floats, Floats]:
        """What raw prices and volumes of each of the symbol's sessions are multiplied by; see `adjusted_bars`.

        Raises:
            SymbolError: not in the universe.
        """
        series = self._of(symbol)
        return backward_factors(series.raw, _until(series.actions, as_of), basis)

    def stranger_bars(self, symbol: str, basis: Basis = Basis.RAW, *, as_of: date | None = None) -> pd.DataFrame:
        """Bars of another security that bears the symbol whenever its instrument does not, on all sessions.

        They depend on (seed, symbol) and have nothing in common with those of the instrument.

        Returns:
            The columns of `raw_bars`.
        """
        series = simulate(stream(self.seed, f"stranger:{symbol}"), self._sessions, self._factor)
        return adjusted(series.raw, _until(series.actions, as_of), basis)

    def minute_bars(self, symbol: str, session: date, basis: Basis = Basis.RAW) -> pd.DataFrame:
        """The session minute by minute: 390 bars, 210 on a half day, none where the instrument does not trade.

        The raw ones agree with the raw daily bar exactly: first open, highest high, lowest low, last close and the
        sum of the volumes. They depend on (seed, symbol, session) and that bar alone.

        Returns:
            datetime `datetime64[us, UTC]`, the start of the minute; open, high, low, close, volume `float64`.

        Raises:
            SymbolError: not in the universe.
        """
        table = self.minute_table(symbol, session)
        if basis is not Basis.RAW and len(table):
            prices, volumes = self.factors(symbol, basis)
            place = self.place(symbol, session)
            table = scaled_minutes(table, float(prices[place]), float(volumes[place]))
        return minute_frame(table, self.opened(session) if len(table) else 0)

    def minute_table(self, symbol: str, session: date) -> Floats:
        """The raw minutes of `minute_bars`, a row each: open, high, low, close, volume. It must not be changed.

        Raises:
            SymbolError: not in the universe.
        """
        key = (symbol, session)
        if key in self._tables:
            self._tables.move_to_end(key)
            return self._tables[key]
        place = self.place(symbol, session)
        if place < 0:
            return np.empty((0, 5))
        row = self._of(symbol).raw.iloc[place]
        at = self._at(session)
        count = int(self.close_seconds[at] - self.open_seconds[at]) // 60
        bar = Bar(*(float(row[name]) for name in (*PRICES, "volume")))
        table = minutes_of(bar, count, stream(self.seed, f"minutes:{symbol}:{session}"))
        self._tables[key] = table
        if len(self._tables) > _TABLES_KEPT:
            self._tables.popitem(last=False)
        return table

    def place(self, symbol: str, session: date) -> int:
        """Position of a session in the symbol's bars; -1 where it does not trade.

        Raises:
            SymbolError: not in the universe.
        """
        days = self._of(symbol).raw["date"].to_numpy()
        day = np.datetime64(session, "s")
        place = int(days.searchsorted(day))
        return place if place < len(days) and days[place] == day else -1

    def opened(self, session: date) -> int:
        """Epoch second at which a session of the market opens."""
        return int(self.open_seconds[self._at(session)])

    def closed(self, session: date) -> int:
        """Epoch second at which it closes."""
        return int(self.close_seconds[self._at(session)])

    @property
    def sessions(self) -> pd.DatetimeIndex:
        """The market's sessions, ascending naive midnights."""
        return self._sessions

    @property
    def closes(self) -> pd.DatetimeIndex:
        """Closing instants of `sessions`, UTC; half days close early."""
        return self._closes

    def _at(self, session: date) -> int:
        return int(self._sessions.to_numpy().searchsorted(np.datetime64(session, "s")))

    def _of(self, symbol: str) -> Series:
        if symbol not in self._series:
            self._series[symbol] = (
                self._made(symbol) if self.longer is None else _cut(self.longer._of(symbol), self.end)
            )
        return self._series[symbol]

    def _made(self, symbol: str) -> Series:
        instrument = self.universe[self.universe.resolve(symbol)]
        sessions = instrument.expected_sessions(self.start, self.end)
        factor = self._factor[self._sessions.isin(sessions)]
        return simulate(stream(self.seed, symbol), sessions, factor)


def _cut(series: Series, end: date) -> Series:
    days = series.raw["date"].to_numpy()
    actions = _until(series.actions, end).reset_index(drop=True)
    return Series(series.raw.iloc[: days.searchsorted(np.datetime64(end, "s"), side="right")], actions)


def _seconds(instants: pd.DatetimeIndex) -> npt.NDArray[np.int64]:
    """Epoch seconds of zoned instants."""
    naive = instants.tz_convert("UTC").tz_localize(None).to_numpy()
    return np.asarray(naive.astype("datetime64[s]").astype(np.int64))


def _until(actions: pd.DataFrame, day: date | None) -> pd.DataFrame:
    return actions if day is None else actions[actions["date"].to_numpy() <= np.datetime64(day, "s")]
