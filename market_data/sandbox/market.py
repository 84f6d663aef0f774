"""The synthetic market: daily bars and corporate actions of a whole universe, from a seed.

A symbol's numbers depend on (seed, symbol) and the market's start, never on its end: a market that ends later begins
with the same bars. Prices follow a common factor and noise of their own around a slowly rising level, so that they
stay in the tens and hundreds of dollars however long the market grows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import pandas as pd

from market_data.errors import MarketDataError
from market_data.instruments import Universe
from market_data.records import Basis
from market_data.sandbox.minutes import Bar, minutes_of
from market_data.schemas import empty_actions
from market_data.sessions import closes, sessions_between

__all__ = ["PRICES", "SyntheticMarket", "significant", "stream"]

PRICES = ["open", "high", "low", "close"]
"""Price columns of a frame of bars, in order."""

Floats = npt.NDArray[np.float64]

_FACTOR_VOLATILITY = 0.008
_LARGEST_SHOCK = 0.2  # leaves room below 0.25 for the pull to the level, the drift, a dividend and rounding
_PULL = 0.006
_SESSIONS_A_YEAR = 252
_SESSIONS_A_QUARTER = 63
_LARGEST_VOLUME_DEVIATION = 1.2  # of ln(volume) from its base; the median lies within 0.3 of that base
_SPLIT_SHARE = 0.1
_PAYER_SHARE = 0.6

# Ratio and the range of the first price: wide enough apart that the price is plausible on both sides of the split.
_SPLITS = ((2.0, 80, 300), (3.0, 100, 300), (4.0, 120, 350), (10.0, 300, 450), (0.1, 25, 45))
_NO_SPLIT = (1.0, 30, 300)

_ADJUSTED_FOR = {
    Basis.RAW: (),
    Basis.SPLIT: ("split",),
    Basis.SPLIT_DIVIDEND: ("split", "dividend"),
}
"""Kinds of corporate actions a basis is adjusted for."""

_OPENS_AFTER = np.timedelta64(9 * 60 + 30, "m")  # from midnight to the open, New York


@dataclass(frozen=True, slots=True)
class _Traits:
    """What a symbol is like; drawn once, before any session.

    `pays_from` and `splits_on` are positions in the symbol's own sessions, -1 for never.
    """

    beta: float
    volatility: float
    drift: float
    price: float
    volume: float
    pays_from: int
    dividend_yield: float
    splits_on: int
    ratio: float


@dataclass(frozen=True, slots=True)
class _Series:
    raw: pd.DataFrame
    actions: pd.DataFrame


class SyntheticMarket:
    """Bars and corporate actions of every instrument of a universe.

    Args:
        start, end: span of the market, both inclusive. An instrument trades on the XNYS sessions of it within its
            listing span; one of unknown listing trades from `start`.
        seed: the same seed and start give the same numbers, everywhere.

    Raises:
        MarketDataError: `start` is after `end`.
        SettingsError: a date is outside the known calendar.
    """

    def __init__(self, universe: Universe, *, start: date, end: date, seed: int) -> None:
        if start > end:
            raise MarketDataError(f"the synthetic market cannot start on {start}, after its end {end}")
        self.universe = universe
        self.start = start
        self.end = end
        self.seed = seed
        self._sessions = sessions_between(start, end)
        self._factor = stream(seed, "market").standard_normal(len(self._sessions)) * _FACTOR_VOLATILITY
        self._closes = closes(self._sessions)
        self._series: dict[str, _Series] = {}

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

    def adjusted_bars(self, symbol: str, basis: Basis = Basis.SPLIT_DIVIDEND) -> pd.DataFrame:
        """Bars adjusted as of the market's last session; by default for splits and dividends, as Stooq sends them.

        A price is the raw one times the product, over the actions with a later ex-date, of `1 / ratio` for a split
        and `1 - D / P` for a dividend, D being dollars a share and P the raw close of the session before the ex-date
        (CRSP's backward factors). Volume is the raw one over that product, as in Stooq's files.

        Returns:
            The columns of `raw_bars`; prices rounded to 6 significant digits, volume to whole shares. `Basis.RAW`
            gives those very bars.

        Raises:
            SymbolError: not in the universe.
        """
        return _adjusted(self._of(symbol), basis)

    def stranger_bars(self, symbol: str, basis: Basis = Basis.RAW) -> pd.DataFrame:
        """Bars of another security that bears the symbol whenever its instrument does not, on all sessions.

        They depend on (seed, symbol) and have nothing in common with those of the instrument.

        Returns:
            The columns of `raw_bars`.
        """
        random = stream(self.seed, f"stranger:{symbol}")
        return _adjusted(_simulate(random, self._sessions, self._factor), basis)

    def minute_bars(self, symbol: str, session: date, basis: Basis = Basis.RAW) -> pd.DataFrame:
        """The session minute by minute: 390 bars, 210 on a half day, none where the instrument does not trade.

        The raw ones agree with the raw daily bar exactly: first open, highest high, lowest low, last close and the
        sum of the volumes. They depend on (seed, symbol, session) and that bar alone.

        Returns:
            datetime `datetime64[us, UTC]`, the start of the minute; open, high, low, close, volume `float64`.

        Raises:
            SymbolError: not in the universe.
        """
        series = self._of(symbol)
        place = int(series.raw["date"].searchsorted(pd.Timestamp(session)))
        traded = place < len(series.raw) and series.raw["date"].iloc[place].date() == session
        rows = series.raw.iloc[place : place + 1] if traded else series.raw.iloc[:0]
        opened, count = self._hours(session) if traded else (np.datetime64(session, "us"), 0)
        table = _minute_table(rows, count, stream(self.seed, f"minutes:{symbol}:{session}"))
        if basis is not Basis.RAW and traded:
            prices, volumes = _backward_factors(series, _ADJUSTED_FOR[basis])
            table[:, :4] = significant(table[:, :4] * prices[place])
            table[:, 4] = np.round(table[:, 4] * volumes[place])
        frame = pd.DataFrame(table, columns=[*PRICES, "volume"])
        starts = pd.Series(opened + np.arange(count) * np.timedelta64(60_000_000, "us"))
        frame.insert(0, "datetime", starts.dt.tz_localize("UTC"))
        return frame

    @property
    def sessions(self) -> pd.DatetimeIndex:
        """The market's sessions, ascending naive midnights."""
        return self._sessions

    @property
    def closes(self) -> pd.DatetimeIndex:
        """Closing instants of `sessions`, UTC; half days close early."""
        return self._closes

    def _hours(self, session: date) -> tuple[np.datetime64, int]:
        """The opening instant (UTC, naive) and the number of minutes traded."""
        midnight = np.datetime64(session, "us")
        opened = pd.Timestamp(midnight + _OPENS_AFTER).tz_localize("America/New_York")
        close = self._closes[int(self._sessions.searchsorted(pd.Timestamp(session)))]
        return opened.tz_convert("UTC").tz_localize(None).to_datetime64().astype("datetime64[us]"), int(
            (close - opened).total_seconds() // 60
        )

    def _of(self, symbol: str) -> _Series:
        if symbol not in self._series:
            instrument = self.universe[self.universe.resolve(symbol)]
            sessions = instrument.expected_sessions(self.start, self.end)
            factor = self._factor[self._sessions.isin(sessions)]
            self._series[symbol] = _simulate(stream(self.seed, symbol), sessions, factor)
        return self._series[symbol]


def stream(seed: int, name: str) -> np.random.Generator:
    """The random numbers that belong to a name, independent of those of any other."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest))


def significant(values: Floats) -> Floats:
    """`values` (of any shape) rounded to 6 significant digits; zeros and nulls stay."""
    size = np.abs(values)
    known = np.isfinite(size) & (size > 0)
    exponent = np.floor(np.log10(np.where(known, size, 1.0)))
    # Multiplying and dividing by an exact power of ten leaves the double nearest to the decimal number.
    up, down = 10.0 ** np.maximum(5 - exponent, 0), 10.0 ** np.maximum(exponent - 5, 0)
    return np.asarray(np.rint(values * up / down) * down / up, dtype=np.float64)


def _traits(random: np.random.Generator) -> _Traits:
    draw = random.random(12).tolist()
    splits = draw[0] < _SPLIT_SHARE
    ratio, low, high = _SPLITS[int(draw[1] * len(_SPLITS))] if splits else _NO_SPLIT
    pays_from = 1 + int(draw[2] * _SESSIONS_A_QUARTER) if draw[3] < _PAYER_SHARE else -1
    splits_on = 30 + int(draw[4] * 1000) if splits else -1
    if splits and pays_from >= 0 and (splits_on - pays_from) % _SESSIONS_A_QUARTER == 0:
        splits_on += 1
    return _Traits(
        beta=0.6 + 0.8 * draw[5],
        volatility=0.008 + 0.013 * draw[6],
        drift=0.08 * draw[7] / _SESSIONS_A_YEAR,
        price=low * (high / low) ** draw[8],
        volume=2e5 * 100 ** draw[9],
        pays_from=pays_from,
        dividend_yield=0.002 + 0.006 * draw[10],
        splits_on=splits_on,
        ratio=ratio,
    )


def _simulate(random: np.random.Generator, sessions: pd.DatetimeIndex, factor: Floats) -> _Series:
    """One symbol's bars and actions; a row of draws a session, so that earlier rows never depend on later ones."""
    traits = _traits(random)
    count = len(sessions)
    noise = random.standard_normal((count, 5))
    pays = np.arange(traits.pays_from, count, _SESSIONS_A_QUARTER) if traits.pays_from > 0 else np.arange(0)
    splits = np.array([traits.splits_on] if 0 < traits.splits_on < count else [], dtype=np.int64)
    drops = np.zeros(count)
    drops[pays] += np.log1p(-traits.dividend_yield)
    drops[splits] -= np.log(traits.ratio)
    raw = _prices(traits, noise, factor, drops)
    activity = 0.35 * noise[:, 3] + 0.15 * (np.abs(noise[:, 0]) - 0.8)
    volume = np.exp(np.clip(activity, -_LARGEST_VOLUME_DEVIATION, _LARGEST_VOLUME_DEVIATION)) * traits.volume
    volume[splits[0] if len(splits) else count :] *= traits.ratio
    raw["volume"] = np.rint(volume)
    raw.insert(0, "date", np.asarray(sessions))
    return _Series(raw, _actions(traits, raw, pays, splits))


def _prices(traits: _Traits, noise: Floats, factor: Floats, drops: Floats) -> pd.DataFrame:
    # The cubic term gives returns the fat tails that prices have; 1.255 brings its variance back to one.
    own = traits.volatility * (noise[:, 0] + 0.08 * noise[:, 0] ** 3) / 1.255
    shocks = np.clip(traits.beta * factor + own, -_LARGEST_SHOCK, _LARGEST_SHOCK)
    level = np.fromiter(accumulate(shocks.tolist(), lambda held, shock: held * (1 - _PULL) + shock), dtype=np.float64)
    log_close = np.log(traits.price) + traits.drift * np.arange(len(level)) + level + np.cumsum(drops)
    before = np.concatenate([[np.log(traits.price)], log_close[:-1]])[: len(level)] + drops
    log_open = before + 0.5 * (log_close - before) + 0.3 * traits.volatility * noise[:, 4]
    reach = 0.5 * traits.volatility * np.abs(noise[:, 1:3])
    close = _without_long_runs(np.round(np.exp(log_close), 2))
    opened = np.round(np.exp(log_open), 2)
    high = np.round(np.exp(np.maximum(log_open, log_close) + reach[:, 0]), 2)
    low = np.round(np.exp(np.minimum(log_open, log_close) - reach[:, 1]), 2)
    high, low = np.maximum(high, close), np.minimum(low, close)
    return pd.DataFrame({"open": opened, "high": high, "low": low, "close": close})


def _without_long_runs(closes: Floats) -> Floats:
    """`closes` with a cent added wherever a fourth equal one in a row would stand."""
    values = closes.tolist()
    for place in range(3, len(values)):
        if values[place] == values[place - 1] == values[place - 2] == values[place - 3]:
            values[place] = round(values[place] + 0.01, 2)
    return np.array(values, dtype=np.float64)


def _actions(
    traits: _Traits, raw: pd.DataFrame, pays: npt.NDArray[np.int64], splits: npt.NDArray[np.int64]
) -> pd.DataFrame:
    if len(pays) + len(splits) == 0:
        return empty_actions()
    paid = np.maximum(np.round(raw["close"].to_numpy()[pays - 1] * traits.dividend_yield, 2), 0.01)
    places = np.concatenate([pays, splits])
    found = pd.DataFrame(
        {
            "date": raw["date"].to_numpy()[places],
            "kind": pd.Series(["dividend"] * len(pays) + ["split"] * len(splits), dtype="str"),
            "value": np.concatenate([paid, np.full(len(splits), traits.ratio)]),
        }
    )
    return found.sort_values("date", ignore_index=True)


def _minute_table(rows: pd.DataFrame, count: int, random: np.random.Generator) -> Floats:
    """Open, high, low, close and volume of each minute of the one session in `rows`; no rows for none."""
    for values in rows[[*PRICES, "volume"]].to_numpy().tolist():
        return minutes_of(Bar(*values), count, random)
    return np.empty((0, 5))


def _adjusted(series: _Series, basis: Basis) -> pd.DataFrame:
    bars = series.raw.copy()
    if basis is Basis.RAW:
        return bars
    prices, volumes = _backward_factors(series, _ADJUSTED_FOR[basis])
    bars[PRICES] = significant(bars[PRICES].to_numpy() * prices[:, None])
    bars["volume"] = np.round(bars["volume"].to_numpy() * volumes)
    return bars


def _backward_factors(series: _Series, kinds: Collection[str]) -> tuple[Floats, Floats]:
    """What the raw prices and volumes of each session are multiplied by, for the actions of these kinds."""
    raw = series.raw
    actions = series.actions[series.actions["kind"].isin(kinds)]
    prices, volumes = np.ones(len(raw)), np.ones(len(raw))
    before = raw["close"].to_numpy()
    places = np.searchsorted(raw["date"].to_numpy(), actions["date"].to_numpy())
    for place, kind, value in zip(places, actions["kind"], actions["value"], strict=True):
        if kind == "split":
            prices[:place] /= value
            volumes[:place] *= value
        else:
            # Stooq's files adjust volumes by the dividend factor as well, so that price * volume stays as it was.
            prices[:place] *= 1 - value / before[place - 1]
            volumes[:place] /= 1 - value / before[place - 1]
    return prices, volumes
