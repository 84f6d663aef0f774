"""The rules: their names, severities and weights, and those that judge what a bar says.

Each rule is a pure function from `Bars` to what it `Found`. Those about which sessions have a bar at all stand in
`market_data.validation.presence`. `docs/validation.md` explains them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
import pandas as pd

from market_data.records import Basis
from market_data.schemas import BAR_FIELDS
from market_data.validation.frames import Bars, Dates, Floats, Found, Mask, day_text

__all__ = [
    "OHLC_TOLERANCE",
    "RULES",
    "Rule",
    "log_return",
    "negative_price",
    "negative_volume",
    "null",
    "ohlc",
    "stale_run",
    "usable",
    "volume_outlier",
    "zero_price",
]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of validation.

    Attributes:
        severity: "error" (the bar or the batch is not stored), "warning" or "info".
        weight: penalty it takes from the score of a session, 0 to 1; 0 leaves the session accepted.
        description: what it finds, a sentence without a full stop.
    """

    severity: str
    weight: float
    description: str


RULES: dict[str, Rule] = {
    "adjusted_basis": Rule("info", 0.0, "Adjusted by the vendor; not turned to raw, since not every action is known"),
    "after_delisting": Rule("warning", 0.0, "Bar on a session after the last of the instrument; not stored"),
    "before_listing": Rule("warning", 0.0, "Bar on a session before the first of the instrument; not stored"),
    "cut_window": Rule("warning", 1.0, "Five or more sessions absent at one end of the answer"),
    "dividend_adjustment": Rule("warning", 0.0, "Adjusted close that does not step by the dividend"),
    "dividend_unit": Rule("warning", 0.0, "Dividend in another unit than the price and the other dividends"),
    "doubled_split": Rule("warning", 0.0, "Known split that the vendor applied twice"),
    "duplicate": Rule("warning", 0.1, "More than one bar for a session; the most complete, then the last, is kept"),
    "late_first_bar": Rule("warning", 1.0, "First bar later than the first session of the instrument"),
    "live_bar": Rule("info", 0.0, "Bar of a session that was not complete when it was fetched; not stored"),
    "log_return": Rule("warning", 0.4, "Close further from the close before it than the limit, in logs"),
    "misdated_dividend": Rule("warning", 0.0, "Dividend whose drop in price is seen on another session"),
    "missed_split": Rule("warning", 0.0, "Split that prices or actions show and the others lack"),
    "missing_session": Rule("warning", 1.0, "Expected session without a bar"),
    "negative_price": Rule("error", 1.0, "Price below zero; the batch is rejected"),
    "negative_volume": Rule("error", 1.0, "Volume or trade count below zero; the batch is rejected"),
    "no_data": Rule("warning", 1.0, "No bar for any expected session"),
    "null": Rule("warning", 0.3, "Fields without a value; a bar with none of the five is not stored"),
    "off_session": Rule("warning", 0.0, "Bar dated on no XNYS session; not stored"),
    "ohlc": Rule("warning", 0.3, "High or low that does not bound the other prices"),
    "span_from_first_bar": Rule("info", 0.0, "Listing date not known: the first bar defines the span"),
    "stale_run": Rule("warning", 0.3, "The same close over too many sessions"),
    "ticker_reuse": Rule("warning", 0.0, "Bar before a long gap, of another security that had the symbol; not stored"),
    "unit_error": Rule("warning", 0.0, "Price a hundred times too high or too low"),
    "volume_outlier": Rule("info", 0.1, "Volume far from that of the sessions around, or none in spite of a price"),
    "zero_price": Rule("error", 1.0, "Price of zero; the bar is not stored"),
}
"""Every rule by name."""

OHLC_TOLERANCE = 1e-5
"""Relative excess that `ohlc` lets pass: rounding two prices to six significant digits moves each by up to 5e-6."""

_PRICES = ("open", "high", "low", "close", "vwap")
_ALL_FIELDS = ",".join(BAR_FIELDS)
_AMOUNTS = ("volume", "trade_count")

_RATIOS = np.array([2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 30, 50, 100, 3 / 2, 5 / 4])
_RATIO_NAMES = [(f"{ratio:g}", "1") for ratio in _RATIOS[:-2]] + [("3", "2"), ("5", "4")]
_RATIO_TOLERANCE = 0.03
_UNIT_ERROR = 100  # cents for dollars, or dollars for cents

_VOLUME_WINDOW = 63  # a quarter of sessions
_VOLUME_LEAST = 20
_VOLUME_FLOOR = 0.05
_MAD_TO_SIGMA = 1.4826


def usable(bars: Bars) -> Mask:
    """Bars that can be stored: at least one of the five fields has a value, and no price is zero."""
    empty = np.isnan(bars.columns(BAR_FIELDS)).all(axis=1)
    free: Mask = (bars.columns(_PRICES) == 0).any(axis=1)
    return ~(empty | free)


def null(bars: Bars) -> Found:
    """Bars with null fields among open, high, low, close and volume; value is how many, the limit 0."""
    absent = np.isnan(bars.columns(BAR_FIELDS))
    count = absent.sum(axis=1)
    at = np.flatnonzero(count)
    fields = _named(BAR_FIELDS, absent[at])
    messages = [f"no {'bar: all fields are null' if field == _ALL_FIELDS else field}" for field in fields]
    return Found.at("null", bars.date[at], count[at], 0, messages=messages, fields=fields)


def negative_price(bars: Bars) -> Found:
    """Bars with a price below zero, the volume-weighted one included; value is the lowest of them, the limit 0."""
    return _below_zero("negative_price", bars, _PRICES)


def negative_volume(bars: Bars) -> Found:
    """Bars with a volume or a trade count below zero; value is the lowest of them, the limit 0."""
    return _below_zero("negative_volume", bars, _AMOUNTS)


def zero_price(bars: Bars) -> Found:
    """Bars with a price of zero, the volume-weighted one included; value and limit are 0."""
    zero = bars.columns(_PRICES) == 0
    at = np.flatnonzero(zero.any(axis=1))
    fields = _named(_PRICES, zero[at])
    messages = [f"{field} is zero" for field in fields]
    return Found.at("zero_price", bars.date[at], 0, 0, messages=messages, fields=fields)


def ohlc(bars: Bars) -> Found:
    """Bars whose high is below, or whose low is above, another of open, high, low and close.

    Prices that are null or not above zero are left out. The value is the larger relative excess,
    (max(open, low, close) - high) / max(open, low, close) or (low - min(open, high, close)) / low, each at most 1;
    the limit is `OHLC_TOLERANCE`.
    """
    opening, high, low, close = np.where(bars.values[:, :4] > 0, bars.values[:, :4], np.nan).T
    top = np.fmax(np.fmax(opening, low), close)
    bottom = np.fmin(np.fmin(opening, high), close)
    excess = np.stack([np.fmax(top - high, 0) / top, np.fmax(low - bottom, 0) / low], axis=1)
    broken = excess > OHLC_TOLERANCE
    at = np.flatnonzero(broken.any(axis=1))
    fields = _named(("high", "low"), broken[at])
    texts = {"high": "high below another price", "low": "low above another price"}
    messages = [" and ".join(texts[name] for name in field.split(",")) for field in fields]
    return Found.at(
        "ohlc", bars.date[at], np.fmax.reduce(excess[at], axis=1), OHLC_TOLERANCE, messages=messages, fields=fields
    )


def log_return(bars: Bars, actions: pd.DataFrame, basis: Basis, limit: float) -> Found:
    """Sessions with |ln(close / previous close)| above `limit`; value is the log return.

    The previous close is that of the bar before that has one. In raw prices the splits and spin-offs of `actions`
    (a `CorporateActions` frame) are divided out first. A spike of one session is found once: its way back is not a
    finding when the close after it lies within `limit` of the close before it.
    """
    at = np.flatnonzero(bars.column("close") > 0)
    dates, close = bars.date[at], bars.column("close")[at]
    plain = np.log(close)
    level = plain + _split_levels(dates, actions) if basis is Basis.RAW else plain
    returns = np.diff(level, prepend=level[:1])
    large = np.abs(returns) > limit
    if not large.any():
        return Found.at("log_return", dates[:0], 0, limit)
    way_back = _way_back(level, large, limit)
    found = np.flatnonzero(large & ~way_back)
    spike = np.append(way_back, False)[found + 1]
    unshown = np.abs(plain[found] - plain[found - 1]) <= limit
    hints = _hints(returns[found], spike, unshown, basis)
    before = day_text(dates[found - 1])
    messages = [
        f"close {new:g} after {old:g} on {day}: log return {value:+.3f}{hint}"
        for new, old, day, value, hint in zip(
            close[found], close[found - 1], before, returns[found], hints, strict=True
        )
    ]
    return Found.at("log_return", dates[found], returns[found], limit, messages=messages, fields="close")


def stale_run(bars: Bars, sessions: int) -> Found:
    """Sessions that repeat the close before them, in runs of at least `sessions`; value is the length of the run."""
    close = bars.column("close")
    repeats = np.append(np.zeros(min(len(close), 1), dtype=bool), close[1:] == close[:-1])
    run = np.cumsum(~repeats) - 1
    length = np.bincount(run)[run] if len(run) else run
    at = np.flatnonzero(repeats & (length >= sessions))
    messages = [
        f"close {value:g} on {size} sessions running" for value, size in zip(close[at], length[at], strict=True)
    ]
    return Found.at("stale_run", bars.date[at], length[at], sessions, messages=messages, fields="close")


def volume_outlier(bars: Bars, limit: float) -> Found:
    """Sessions with an unusual volume; value is a robust z-score of ln(volume).

    z = |r| / max(1.4826 MAD(r), 0.05), r being ln(volume) less its centred median over 63 sessions; the factor makes
    the median absolute deviation an estimate of a normal standard deviation (Rousseeuw and Croux, 1993). Batches of
    fewer than 20 positive volumes have no z. A volume of zero beside a price is found too, with value and limit 0.
    """
    volume = bars.column("volume")
    priced = (bars.values[:, :4] > 0).any(axis=1)
    idle = np.flatnonzero((volume == 0) & priced)
    trading = np.flatnonzero(volume > 0)
    residual, scale = _volume_residuals(volume[trading])
    odd = np.flatnonzero(np.abs(residual) > limit * scale)
    with np.errstate(over="ignore"):  # a ratio beyond all floats is infinite, and only told
        times = np.exp(residual[odd])
    at = np.append(idle, trading[odd])
    messages = ["no shares traded, though the session has a price"] * len(idle) + [
        f"{shares:,.0f} shares, {ratio:.3g} times the median of the sessions around"
        for shares, ratio in zip(volume[trading[odd]], times, strict=True)
    ]
    values = np.append(np.zeros(len(idle)), np.abs(residual[odd]) / scale)
    limits = np.repeat([0.0, limit], [len(idle), len(odd)])
    return Found.at("volume_outlier", bars.date[at], values, limits, messages=messages, fields="volume")


def _named(names: Sequence[str], chosen: Mask) -> list[str]:
    return [",".join(compress(names, row)) for row in chosen]


def _below_zero(rule: str, bars: Bars, names: Sequence[str]) -> Found:
    values = bars.columns(names)
    below = values < 0
    at = np.flatnonzero(below.any(axis=1))
    fields, lowest = _named(names, below[at]), np.fmin.reduce(values[at], axis=1)
    messages = [f"{field} below zero, lowest {value:g}" for field, value in zip(fields, lowest, strict=True)]
    return Found.at(rule, bars.date[at], lowest, 0, messages=messages, fields=fields)


def _split_levels(dates: Dates, actions: pd.DataFrame) -> Floats:
    """What to add to ln(close) of each date so that known splits make no step: the sum of ln(ratio) up to it."""
    if not len(actions):
        return np.zeros(len(dates))
    factors = actions.loc[actions["kind"].isin(["split", "spinoff"])]
    splits = factors.drop_duplicates(["date", "kind", "value"]).sort_values("date")
    steps = np.append(0.0, np.cumsum(np.log(splits["value"].to_numpy(dtype=np.float64))))
    levels: Floats = steps[np.searchsorted(splits["date"].to_numpy(), dates, side="right")]
    return levels


def _way_back(level: Floats, large: Mask, limit: float) -> Mask:
    """Sessions whose large return only undoes the one before, where that one is not such a way back itself."""
    near = np.zeros(len(level), dtype=bool)
    near[2:] = np.abs(level[2:] - level[:-2]) <= limit
    near[1:] &= large[1:] & large[:-1]
    position = np.arange(len(level))
    rank = position - np.maximum.accumulate(np.where(near, -1, position))
    back: Mask = rank % 2 == 1
    return back


def _hints(returns: Floats, spike: Mask, unshown: Mask, basis: Basis) -> list[str]:
    distance = np.abs(np.abs(returns)[:, None] - np.log(_RATIOS))
    nearest = distance.argmin(axis=1)
    fits = distance.min(axis=1) <= np.log1p(_RATIO_TOLERANCE)
    return [
        _hint(int(ratio) if fit else None, value > 0, one, known, basis)
        for ratio, fit, value, one, known in zip(nearest, fits, returns, spike, unshown, strict=True)
    ]


def _hint(ratio: int | None, rise: bool, spike: bool, unshown: bool, basis: Basis) -> str:
    if unshown:
        return "; the corporate actions tell of a split that the close does not show"
    unit = ratio is not None and _RATIOS[ratio] == _UNIT_ERROR
    if spike:
        return f"; looks like a {_UNIT_ERROR}x unit error" if unit else "; one session only"
    if ratio is None:
        return ""
    new, old = _RATIO_NAMES[ratio]
    split = f"{old}:{new} reverse split" if rise else f"{new}:{old} split"
    missed = f"a {split} missing from the corporate actions" if basis is Basis.RAW else f"an unapplied {split}"
    return f"; looks like {missed}" + (f" or a {_UNIT_ERROR}x unit error" if unit else "")


def _volume_residuals(volume: Floats) -> tuple[Floats, float]:
    """ln(volume) less its centred median, and the scale of these residuals; zeros where there are too few."""
    if len(volume) < _VOLUME_LEAST:
        return np.zeros(len(volume)), 1.0
    logs = np.log(volume)
    residual = logs - pd.Series(logs).rolling(_VOLUME_WINDOW, center=True, min_periods=1).median().to_numpy()
    deviation = float(np.median(np.abs(residual - np.median(residual))))
    return residual, max(_MAD_TO_SIGMA * deviation, _VOLUME_FLOOR)
