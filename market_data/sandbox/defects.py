"""Known faults planted in the series as served, and the manifest that tells where each stands.

At most one kind stands in a symbol, so that no fault hides another, and never one in the symbols of `PROTECTED`.
Planted sessions keep 10 sessions from the ends of the series and from each other, and stay clear of ex-dates. What is
planted depends on seed and universe; in a market of more than 1,040 sessions it no longer moves as the market grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from market_data.sandbox.market import PRICES, SyntheticMarket, significant, stream
from market_data.sandbox.vendors import VENDORS

__all__ = ["KINDS", "PROTECTED", "Defect", "Kind", "Manifest", "apply", "plant"]

PROTECTED = frozenset({"AAPL", "MSFT", "NVDA", "AMZN"})
"""Symbols that are always served without faults."""

_DISTANCE = 10
_TRIES = 2000
_RUN = 6  # sessions of a stale run
_FLOOD_STEP = 12  # a bar in 12 is 8 %
_NULL_SHARE = 0.03


@dataclass(frozen=True, slots=True)
class Defect:
    """One planted fault.

    Attributes:
        date: the session or day where it shows; None where it is one of the whole series.
        rule: name of the validation rule that is expected to find it.
        kind: name of its `Kind`.
        note: what was done, for people.
        variant: which form of the kind; what `apply` goes by.
        vendors: those whose answers show it when asked for the date.
    """

    symbol: str
    date: date | None
    rule: str
    kind: str
    note: str
    variant: str = ""
    vendors: tuple[str, ...] = VENDORS


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything planted in a market, by symbol in order of the universe, then by date.

    Attributes:
        until: last day of the market it was planted in; what comes after that is clean. None for no end.
    """

    defects: list[Defect] = field(default_factory=list)
    until: date | None = field(default=None, compare=False)

    def of(self, symbol: str) -> list[Defect]:
        """The faults planted in one symbol, by date; empty for a clean one."""
        return [defect for defect in self.defects if defect.symbol == symbol]

    def as_json(self) -> list[dict[str, Any]]:
        """The defects with plain JSON types, dates in ISO 8601."""
        return [
            asdict(defect) | {"date": defect.date.isoformat() if defect.date else None, "vendors": list(defect.vendors)}
            for defect in self.defects
        ]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault, and the name of the validation rule that is expected to find it.

    Attributes:
        variants: its forms and what each does; taken in turn.
        places: how often it is planted in a symbol.
        span: sessions it covers.
        horizon: position in the series before which it begins.
        rejects: whether the whole series is to be refused; such a kind stands in one symbol only.
        hidden_by: vendors whose wire format cannot say it.
    """

    name: str
    rule: str
    variants: dict[str, str]
    places: int
    span: int = 1
    horizon: int = 1020
    rejects: bool = False
    hidden_by: tuple[str, ...] = ()

    @property
    def vendors(self) -> tuple[str, ...]:
        """The vendors whose answers show it."""
        return tuple(vendor for vendor in VENDORS if vendor not in self.hidden_by)


KINDS = (
    Kind("missing_session", "missing_session", {"": "session dropped"}, 4),
    Kind("off_session", "off_session", {"weekend": "bar on a weekend day", "holiday": "bar on a holiday"}, 2),
    Kind("null", "null", {"close": "no close", "open,high,low,close": "no prices", "volume": "no volume"}, 3),
    Kind("ohlc", "ohlc", {"high": "high below close", "low": "low above open"}, 2),
    Kind("spike_100x", "log_return", {"100": "prices x100", "0.01": "prices / 100"}, 2),
    Kind("missed_split", "log_return", {"": "prices / 4 from here on, without a split"}, 1),
    Kind("stale_run", "stale_run", {"": "close of the session before repeated"}, 2, span=_RUN + 1),
    Kind("volume_outlier", "volume_outlier", {"": "volume x5000"}, 3),
    Kind(
        "duplicate",
        "duplicate",
        {"identical": "row twice", "conflicting": "row twice, with another close"},
        2,
        # A JSON object holds a date once: the later row is sent. As CSV it shows there too.
        hidden_by=("alpha_vantage",),
    ),
    Kind("cut_window", "cut_window", {"": "all earlier sessions silently absent"}, 1, horizon=300),
    Kind("zero_price", "zero_price", {"": "all prices zero"}, 2),
    Kind("negative_price", "negative_price", {"": "negative low"}, 1, rejects=True),
    Kind("negative_volume", "negative_volume", {"": "negative volume"}, 1, rejects=True),
    Kind("null_flood", "null", {"": "close absent in 8 % of the bars"}, 1, rejects=True),
)
"""The kinds in the order of planting; those that reject a series come last."""


def plant(market: SyntheticMarket) -> Manifest:
    """Choose symbols and dates: 3 to 6 symbols for each kind, one for each kind that rejects a series.

    A universe of fewer than about 40 gets as many as there are symbols for.
    """
    free = _candidates(market)
    symbols_a_kind = min(6, max(3, len(free) // 18))
    order = [kind for kind in KINDS if not kind.rejects] * symbols_a_kind + [kind for kind in KINDS if kind.rejects]
    planted: dict[str, list[Defect]] = {}
    unfit: set[str] = set()
    for kind in order:
        tries = ((symbol, _defects(market, symbol, kind)) for symbol in free if kind.name not in unfit)
        symbol, defects = next((found for found in tries if found[1]), ("", []))
        if defects:
            planted[symbol] = defects
            free.remove(symbol)
        else:
            unfit.add(kind.name)
    return Manifest([defect for symbol in market.universe for defect in planted.get(symbol, [])], until=market.end)


def apply(frame: pd.DataFrame, defects: Iterable[Defect], *, until: date | None = None) -> pd.DataFrame:
    """A symbol's bars with its defects in them.

    Args:
        frame: the whole series on any basis, as `SyntheticMarket` gives it; it is left as it is.
        defects: those of the symbol, by date.
        until: a fault of the whole series ends there; prices of a missed split stay divided, as no jump back is due.

    Returns:
        The same columns and dtypes, ascending; rows may be absent, doubled or off the sessions.
    """
    for defect in defects:
        frame = _flood(frame, until) if defect.date is None else _APPLY[defect.kind](frame, defect)
    return frame


def _candidates(market: SyntheticMarket) -> list[str]:
    """Symbols in a drawn order, those that trade through the whole market first."""

    def rank(symbol: str) -> tuple[bool, float]:
        is_partial = _is_late(market, symbol) or market.universe[symbol].delisted_on is not None
        return is_partial, stream(market.seed, f"order:{symbol}").random()

    return sorted((symbol for symbol in market.universe if symbol not in PROTECTED), key=rank)


def _defects(market: SyntheticMarket, symbol: str, kind: Kind) -> list[Defect]:
    """The kind's defects in a symbol; none where it does not fit."""
    bars = market.adjusted_bars(symbol)
    defect = partial(Defect, symbol, rule=kind.rule, kind=kind.name, vendors=kind.vendors)
    if kind.name == "null_flood":
        return [defect(date=None, note=kind.variants[""])] if len(bars) > 5 * _FLOOD_STEP else []
    # An absent beginning is a finding only where bars are surely due from the market's start.
    is_due = market.universe[symbol].start_is_known(market.start) and not _is_late(market, symbol)
    if kind.name == "cut_window" and not is_due:
        return []
    found = [
        defect(date=day, note=kind.variants[variant], variant=variant)
        for place, variant in _places(market, symbol, kind, bars)
        for day in _dates(kind, bars, place)
    ]
    return sorted(found, key=lambda one: one.date or date.min)


def _is_late(market: SyntheticMarket, symbol: str) -> bool:
    listed_from = market.universe[symbol].listed_from
    return listed_from is not None and listed_from > market.start


def _dates(kind: Kind, bars: pd.DataFrame, place: int) -> list[date]:
    days = [day.date() for day in bars["date"].iloc[place : place + _RUN]]
    if kind.name == "stale_run":
        return days[1:]
    return [days[1] - timedelta(days=1) if kind.name == "off_session" else days[0]]


def _places(market: SyntheticMarket, symbol: str, kind: Kind, bars: pd.DataFrame) -> Iterator[tuple[int, str]]:
    """Positions where the kind may begin, with the variant to plant there, at most `kind.places` of them."""
    ex_dates = set(np.searchsorted(bars["date"].to_numpy(), market.actions(symbol)["date"].to_numpy()).tolist())
    wanted = min(kind.places, int(len(bars) * _NULL_SHARE)) if kind.name == "null" else kind.places
    variants = list(kind.variants)
    taken: list[int] = []
    # A fixed number of tries over a fixed horizon: a longer series changes none of them.
    tries = stream(market.seed, f"places:{symbol}").integers(_DISTANCE, kind.horizon, size=_TRIES)
    for place in tries[tries + kind.span <= len(bars) - _DISTANCE].tolist():
        if len(taken) >= wanted:
            return
        variant = variants[len(taken) % len(variants)]
        near = any(abs(place - other) < _DISTANCE + kind.span for other in taken)
        # The session after is kept clear too: there the return back from a changed close shows.
        paid = ex_dates.intersection(range(place, place + kind.span + 1))
        if not near and not paid and _suits(kind, variant, bars, place):
            taken.append(place)
            yield place, variant


def _suits(kind: Kind, variant: str, bars: pd.DataFrame, place: int) -> bool:
    if kind.name == "off_session":
        day, following = bars["date"].iloc[place].date(), bars["date"].iloc[place + 1].date()
        last_off = following - timedelta(days=1)
        return bool(last_off > day) and (last_off.weekday() < 5) == (variant == "holiday")
    if kind.name == "stale_run":
        # Equal neighbours would lengthen the run beyond the dates of the manifest.
        before, held, after = bars["close"].iloc[[place - 1, place, place + _RUN]]
        return bool(before != held != after)
    return True


def _day(defect: Defect) -> np.datetime64:
    return np.datetime64(defect.date, "s")


def _at(frame: pd.DataFrame, defect: Defect) -> npt.NDArray[np.bool_]:
    return np.asarray(frame["date"].to_numpy() == _day(defect))


def _scaled(columns: list[str], factor: float, frame: pd.DataFrame, defect: Defect) -> pd.DataFrame:
    return frame.assign(**{name: frame[name].mask(_at(frame, defect), frame[name] * factor) for name in columns})


def _repriced(frame: pd.DataFrame, rows: npt.NDArray[np.bool_], factor: float) -> pd.DataFrame:
    prices = significant(frame[PRICES].to_numpy() * factor)
    return frame.assign(**{name: frame[name].mask(rows, prices[:, at]) for at, name in enumerate(PRICES)})


def _spike(frame: pd.DataFrame, defect: Defect) -> pd.DataFrame:
    return _repriced(frame, _at(frame, defect), float(defect.variant))


def _unsplit(frame: pd.DataFrame, defect: Defect) -> pd.DataFrame:
    return _repriced(frame, np.asarray(frame["date"].to_numpy() >= _day(defect)), 1 / 4)


def _nulls(frame: pd.DataFrame, defect: Defect) -> pd.DataFrame:
    return _scaled(defect.variant.split(","), np.nan, frame, defect)


def _flood(frame: pd.DataFrame, until: date | None) -> pd.DataFrame:
    rows = np.arange(len(frame)) % _FLOOD_STEP == _DISTANCE
    if until is not None:
        rows &= frame["date"].to_numpy() <= np.datetime64(until, "s")
    return frame.assign(close=frame["close"].mask(rows))


def _crossed(frame: pd.DataFrame, defect: Defect) -> pd.DataFrame:
    base, factor = ("close", 0.98) if defect.variant == "high" else ("open", 1.02)
    beyond = significant(frame[base].to_numpy() * factor)
    return frame.assign(**{defect.variant: frame[defect.variant].mask(_at(frame, defect), beyond)})


def _stale(frame: pd.DataFrame, defect: Defect) -> pd.DataFrame:
    close = frame["close"].mask(_at(frame, defect), frame["close"].shift())
    high, low = np.maximum(frame["high"], close), np.minimum(frame["low"], close)
    return frame.assign(high=high, low=low, close=close)


def _doubled(frame: pd.DataFrame, defect: Defect) -> pd.DataFrame:
    row = frame.loc[_at(frame, defect)]
    if defect.variant == "conflicting":
        # Half way to the farther end of the bar differs from the close, and stays within the bar.
        end = row["high"].where(row["high"] - row["close"] > row["close"] - row["low"], row["low"])
        row = row.assign(close=significant((row["close"] + end).to_numpy() / 2))
    return pd.concat([frame, row]).sort_values("date", kind="stable", ignore_index=True)


def _off_session(frame: pd.DataFrame, defect: Defect) -> pd.DataFrame:
    row = frame.loc[frame["date"].to_numpy() < _day(defect)].tail(1)
    row = _repriced(row, np.array([True]), 1.001).assign(date=_day(defect))
    return pd.concat([frame, row]).sort_values("date", kind="stable", ignore_index=True)


def _dropped(frame: pd.DataFrame, defect: Defect) -> pd.DataFrame:
    return frame.loc[~_at(frame, defect)].reset_index(drop=True)


def _cut(frame: pd.DataFrame, defect: Defect) -> pd.DataFrame:
    return frame.loc[frame["date"].to_numpy() >= _day(defect)].reset_index(drop=True)


_APPLY: dict[str, Callable[[pd.DataFrame, Defect], pd.DataFrame]] = {
    "missing_session": _dropped,
    "off_session": _off_session,
    "null": _nulls,
    "ohlc": _crossed,
    "spike_100x": _spike,
    "missed_split": _unsplit,
    "stale_run": _stale,
    "volume_outlier": partial(_scaled, ["volume"], 5000.0),
    "duplicate": _doubled,
    "cut_window": _cut,
    "zero_price": partial(_scaled, PRICES, 0.0),
    "negative_price": partial(_scaled, ["low"], -1.0),
    "negative_volume": partial(_scaled, ["volume"], -1.0),
}
