"""One symbol's daily bars and corporate actions, from the random numbers that are its own.

Prices follow a common factor and noise of their own around a slowly rising level, so that they stay in the tens and
hundreds of dollars however long the market grows.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import pandas as pd

from market_data.sandbox.adjusting import Floats
from market_data.schemas import empty_actions

__all__ = ["FACTOR_VOLATILITY", "Series", "simulate", "stream"]

FACTOR_VOLATILITY = 0.008
"""Of the common factor, a session."""

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
class Series:
    """Bars as traded and corporate actions of one symbol, ascending."""

    raw: pd.DataFrame
    actions: pd.DataFrame


def stream(seed: int, name: str) -> np.random.Generator:
    """The random numbers that belong to a name, independent of those of any other."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest))


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


def simulate(random: np.random.Generator, sessions: pd.DatetimeIndex, factor: Floats) -> Series:
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
    return Series(raw, _actions(traits, raw, pays, splits))


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
