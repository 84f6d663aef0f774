"""Proposals: what a vendor's values most likely should have been, where prices are a hundredfold or miss a split.

Nothing is changed. A finding tells what was sent and what is proposed instead. Since a wrong proposal does more harm
than a missed one, each needs the price, and for a split that nobody tells of also the volume, to agree with it. The
patterns are those that yfinance repairs (its pages "Price repair" and `yfinance/scrapers/history.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from market_data.records import Basis
from market_data.validation.frames import Bars, Dates, Floats, Found, day_text

__all__ = ["Moves", "moves", "splits", "unit_errors"]

_FIELDS = ("open", "high", "low", "close", "vwap")
_UNIT = float(np.log(100))
_UNIT_TOLERANCE = 0.35  # of a log return: what a price may have moved besides
_LASTING = 5  # sessions after which a change of unit is one of the vendor's, and the newer unit the right one

_LARGE = 0.3
_LEAST_RATIO = float(np.log(1.4))
_RATIOS = np.log([2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 30, 50])
_WINDOW = 20
_LEAST_AFTER = 5
_SURGE = float(np.log(2.2))  # volume of a day above this many times the usual is news, not a split
_MAD_TO_SIGMA = 1.4826
_LEAST_NOISE = 0.002
_LATE = np.timedelta64(7, "D")


@dataclass(frozen=True, slots=True)
class Moves:
    """How the closes of a batch move, and how known actions should have moved them; all of shape (n,).

    Attributes:
        bars: those with a close above zero, n of them.
        basis: what their prices were adjusted for.
        logs: ln of open, high, low, close and vwap, shape (n, 5); NaN where there is none above zero.
        change: ln(close / previous close), 0 for the first bar.
        gap: ln(open / previous close); the change where there is no open.
        split: sum of ln(value) of the splits that take effect at the bar.
        factor: the same of splits and spin-offs.
        dividend: dollars a share that go ex at the bar. In split-adjusted prices only those after the last split are
            kept: whether the earlier ones were adjusted with the prices is not told.
        loss: share of the previous close that goes with the dividend, D r / P_prev with r of `factor` in raw prices.
        expected: the change that the actions alone would make in prices of this basis.
        noise: robust standard deviation of `change`, 1.4826 times its median size, at least 0.002.
    """

    bars: Bars
    basis: Basis
    logs: Floats
    change: Floats
    gap: Floats
    split: Floats
    factor: Floats
    dividend: Floats
    loss: Floats
    expected: Floats
    noise: float

    @property
    def dates(self) -> Dates:
        """Dates of the bars."""
        return self.bars.date

    @property
    def excess(self) -> Floats:
        """What the actions do not explain of `change`."""
        return self.change - self.expected


def moves(bars: Bars, actions: pd.DataFrame, basis: Basis) -> Moves:
    """The moves of a batch.

    Args:
        bars: one a session, in order.
        actions: of kinds split, spinoff and dividend; a dividend is per share of the prices it is told with.
    """
    priced = bars.take(bars.column("close") > 0)
    prices = priced.columns(_FIELDS)
    logs = np.log(np.where(prices > 0, prices, np.nan))
    close, opening = logs[:, 3], logs[:, 0]
    change = np.diff(close, prepend=close[:1])
    gap = opening - np.append(close[:1], close[:-1])
    split, spinoff, dividend = _known(priced.date, actions, basis)
    factor = split + spinoff
    loss = _loss(priced, dividend, factor, basis)
    noise = _MAD_TO_SIGMA * float(np.median(np.abs(change))) if len(change) else 0.0
    return Moves(
        bars=priced,
        basis=basis,
        logs=logs,
        change=change,
        gap=np.where(np.isnan(gap), change, gap),
        split=split,
        factor=factor,
        dividend=dividend,
        loss=loss,
        expected=_expected(factor, loss, basis),
        noise=max(noise, _LEAST_NOISE),
    )


def unit_errors(found: Moves) -> Found:
    """Prices a hundred times too high or low; value is the price as sent, `proposed` that in the unit of the others.

    The newest unit is right if it has lasted five sessions and a tenth of the bars; else that of most prices is. A
    change that comes with an opposite one of the volume is a split, and none of units.
    """
    spread = np.abs(found.logs - found.logs[:, 3:4])
    steps = np.where(np.abs(np.abs(found.excess) - _UNIT) < _UNIT_TOLERANCE, np.sign(found.excess), 0.0)
    odd = np.abs(spread - _UNIT) < _UNIT_TOLERANCE
    if not (steps.any() or odd.any()):
        return _nothing("unit_error")
    for at in np.flatnonzero(steps):
        if -steps[at] * _volume_shift(found, int(at)) > np.log(10):
            steps[at] = 0.0
    of_close = np.cumsum(steps)
    units = of_close[:, None] + np.where(odd, np.sign(found.logs - found.logs[:, 3:4]), 0.0)
    wrong = units - _right_unit(of_close, units)
    rows, columns = np.nonzero((np.abs(wrong) == 1) & ~np.isnan(found.logs))
    sent = found.bars.columns(_FIELDS)[rows, columns]
    above = wrong[rows, columns] > 0
    with np.errstate(over="ignore"):
        proposed = np.where(above, sent / 100, sent * 100)
    fields = [_FIELDS[column] for column in columns]
    messages = [
        f"{name} {price:g} on {day} looks like 100x too {'high' if high else 'low'}, a unit error: "
        f"{better:g} is in line with the prices around"
        for name, price, day, high, better in zip(
            fields, sent, day_text(found.dates[rows]), above, proposed, strict=True
        )
    ]
    return Found.at("unit_error", found.dates[rows], sent, 100, messages=messages, fields=fields, proposed=proposed)


def splits(found: Moves) -> list[Found]:
    """`missed_split` and `doubled_split`.

    The value is the close as a multiple of the one before, the limit what the known actions make of it, `proposed` the
    split ratio (new shares for an old one) that the price lacks, or was given twice.
    """
    large = np.flatnonzero(np.abs(found.excess) > _LARGE)
    told: list[tuple[int, str, float, str]] = []
    for at in large:
        told += _known_split(found, int(at)) if found.split[at] else _untold_split(found, int(at))
    if found.basis is not Basis.RAW:
        for start, stop in pairwise(large):
            told += _split_run(found, int(start), int(stop))
    return [_split_findings(found, rule, told) for rule in ("missed_split", "doubled_split")]


def _nothing(rule: str) -> Found:
    return Found.at(rule, np.array([], dtype="datetime64[s]"), 0, 0)


def _known(dates: Dates, actions: pd.DataFrame, basis: Basis) -> tuple[Floats, Floats, Floats]:
    """Logs of splits, logs of spin-offs, and dividends, each at the bar where it takes effect."""
    split, spinoff, dividend = (np.zeros(len(dates)) for _ in range(3))
    if not len(actions) or not len(dates):
        return split, spinoff, dividend
    day, kind, value = (actions[name].to_numpy() for name in ("date", "kind", "value"))
    once = np.zeros(len(day), dtype=bool)
    once[list({item: place for place, item in enumerate(zip(day.tolist(), kind, value, strict=True))}.values())] = True
    at = np.minimum(np.searchsorted(dates, day), len(dates) - 1)
    once &= (at > 0) & (dates[at] >= day) & (dates[at] - day <= _LATE)
    for name, sums, amounts in (("split", split, np.log(value)), ("spinoff", spinoff, np.log(value))):
        chosen = once & (kind == name)
        np.add.at(sums, at[chosen], amounts[chosen])
    chosen = once & (kind == "dividend")
    np.add.at(dividend, at[chosen], value[chosen])
    later = np.flatnonzero(split)
    if basis is Basis.SPLIT and len(later):
        dividend[: later[-1]] = 0.0
    return split, spinoff, dividend


def _loss(bars: Bars, dividend: Floats, factor: Floats, basis: Basis) -> Floats:
    at = np.flatnonzero(dividend)
    loss = np.zeros(len(dividend))
    scale = np.exp(factor[at]) if basis is Basis.RAW else 1.0
    with np.errstate(over="ignore"):  # of a price near the smallest float: a share beyond all measure
        loss[at] = dividend[at] * scale / bars.column("close")[at - 1]
    return loss


def _expected(factor: Floats, loss: Floats, basis: Basis) -> Floats:
    expected = np.zeros(len(loss))
    if basis is Basis.SPLIT_DIVIDEND:
        return expected
    at = np.flatnonzero((loss > 0) & (loss < 1))
    expected[at] = np.log1p(-loss[at])
    return expected - factor if basis is Basis.RAW else expected


def _right_unit(of_close: Floats, units: Floats) -> float:
    """The unit taken for right: the newest if it lasted, else that of most prices; NaN where two are as many."""
    lasting = of_close[-max(_LASTING, len(of_close) // 10) :]
    if len(of_close) > _LASTING and (lasting == lasting[0]).all():
        return float(lasting[0])
    values, counts = np.unique(units, return_counts=True)
    most = counts == counts.max()
    return float(values[most.argmax()]) if most.sum() == 1 else np.nan


def _volume_shift(found: Moves, at: int) -> float:
    """ln of the median volume of up to 20 sessions from `at` on, over that of those before; 0 when not known."""
    volume = found.bars.column("volume")
    before, after = volume[max(at - _WINDOW, 0) : at], volume[at : at + _WINDOW]
    before, after = before[before > 0], after[after > 0]
    if min(len(before), len(after)) < _LEAST_AFTER:
        return 0.0
    return float(np.log(np.median(after)) - np.log(np.median(before)))


def _known_split(found: Moves, at: int) -> list[tuple[int, str, float, str]]:
    """What the price makes of a split that the actions tell of."""
    size, sign = abs(found.split[at]), np.sign(found.split[at])
    if size < max(_LEAST_RATIO, 6 * found.noise):
        return []
    tolerance = min(size / 3, max(4 * found.noise, 0.03))
    day, ratio = day_text(found.dates[at : at + 1])[0], float(np.exp(found.split[at]))
    lacks = f"the actions tell of a split of {ratio:g} on {day}"
    raw = found.basis is Basis.RAW
    cases = [
        (1 if raw else -1, "missed_split", "that the close does not show" if raw else "that is not applied before it"),
        (-1 if raw else 1, "doubled_split", "that the prices hold twice"),
        (2 if raw else -2, "doubled_split", "that the prices before it hold twice the wrong way"),
    ]
    for times, rule, text in cases:
        target = times * size
        near = (abs(sign * (move - found.expected[at]) - target) for move in (found.change[at], found.gap[at]))
        if max(near) <= tolerance:
            return [(at, rule, ratio, f"{lacks} {text}")]
    return []


def _split_run(found: Moves, start: int, stop: int) -> list[tuple[int, str, float, str]]:
    """Adjusted bars between two opposite steps, the size of a split that comes after them."""
    there, back = found.excess[start], found.excess[stop]
    for at in np.flatnonzero(found.split[stop + 1 :]) + (stop + 1):
        size = abs(found.split[at])
        tolerance = min(size / 4, max(6 * found.noise, 0.05))
        if size < _LEAST_RATIO or max(abs(abs(there) - size), abs(abs(back) - size), abs(there + back)) > tolerance:
            continue
        first, last, ex_date = day_text(found.dates[np.array([start, stop - 1, at])])
        rule, text = ("missed_split", "lack") if there * found.split[at] > 0 else ("doubled_split", "hold twice")
        ratio = float(np.exp(found.split[at]))
        return [(start, rule, ratio, f"bars {first} to {last} {text} the split of {ratio:g} on {ex_date}")]
    return []


def _untold_split(found: Moves, at: int) -> list[tuple[int, str, float, str]]:
    """A step in price that looks in all respects like a split of which the actions tell nothing."""
    excess = found.excess[at]
    place = np.abs(_RATIOS - abs(excess)).argmin()
    size, falls = float(_RATIOS[place]), excess < 0
    ratio = float(np.exp(size if falls else -size))
    if not (at >= _WINDOW and len(found.change) - at >= _LEAST_AFTER and _steps_calmly(found, at, size, bool(falls))):
        return []
    day = day_text(found.dates[at : at + 1])[0]
    kind = f"{np.exp(size):.0f}:1 split" if falls else f"1:{np.exp(size):.0f} reverse split"
    return [(at, "missed_split", ratio, f"price and volume step on {day} as at a {kind} of which no action tells")]


def _steps_calmly(found: Moves, at: int, size: float, falls: bool) -> bool:
    """Whether the price steps overnight by a split's ratio, stays, and volume answers it, without a day of news."""
    way = 1.0 if falls else -1.0
    tolerance = min(max(3 * found.noise, 0.01), 0.03)
    jumps = abs(found.gap[at] - found.expected[at] + way * size) <= tolerance
    closes = abs(found.excess[at] + way * size) <= 2 * tolerance
    ranges = found.logs[:, 1] - found.logs[:, 2]
    calm = ranges[at] <= 3 * np.nanmedian(ranges[at - _WINDOW : at]) + 0.01
    after = found.logs[at : at + _WINDOW, 3]
    stays = abs(np.median(after) - after[0]) <= max(6 * found.noise, 0.05)
    volume = found.bars.column("volume")
    shift = _volume_shift(found, at)
    answers = abs(shift - way * size) < size / 2
    usual = volume[at - _WINDOW : at]
    usual = usual[usual > 0]
    if not (jumps and closes and calm and stays and answers and len(usual)):
        return False
    return bool(volume[at] > 0 and np.log(volume[at]) - np.log(np.median(usual)) - way * size < _SURGE)


def _split_findings(found: Moves, rule: str, told: list[tuple[int, str, float, str]]) -> Found:
    mine = [item for item in told if item[1] == rule]
    if not mine:
        return _nothing(rule)
    at = np.array([item[0] for item in mine], dtype=np.int64)
    ratios = [item[2] for item in mine]
    value, limit = np.exp(found.change[at]), np.exp(found.expected[at])
    messages = [
        f"{text}: close {step:.4g} times the one before, {due:.4g} expected; proposed is a split ratio of {ratio:g}"
        for (_, _, ratio, text), step, due in zip(mine, value, limit, strict=True)
    ]
    return Found.at(rule, found.dates[at], value, limit, messages=messages, fields="close", proposed=ratios)
