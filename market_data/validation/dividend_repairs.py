"""Proposals about dividends: a wrong ex-date, a wrong unit, an adjusted close that does not follow them.

A dividend is judged by the overnight gap of the price at its ex-date, and by the others of its series. Both vary, so
only what stands far out of the noise is told.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from market_data.records import Basis
from market_data.validation.frames import Bars, Floats, Found, day_text
from market_data.validation.repairs import Moves, moves

__all__ = ["dividend_adjustments", "dividend_units", "misdated_dividends"]

_UNIT = 100.0
_NEIGHBOURS = 10  # sessions from its ex-date within which a dividend's drop is looked for
_REPEAT = 3  # sessions within which the same dividend is not paid twice
_OFTEN = 7  # sessions between the dividends of a weekly payer
_LEAST_LOSS = 0.02
_LEAST_WRONG = 0.05
_CLEARLY = 6  # standard deviations
_ALIKE = float(np.log(3))
_SAME = 0.2
_TIGHT = 1.5
_LEAST_OTHERS = 4


@dataclass(frozen=True, slots=True)
class _Paid:
    """A dividend: its position, its amount on the last share count, its share of the price, the gap, the others."""

    at: int
    amount: float
    loss: float
    gap: float
    others: Floats


def misdated_dividends(found: Moves) -> Found:
    """Dividends whose drop is seen 1 to 10 sessions from the ex-date; value and `proposed` are the dividend.

    The drop must be the only one of its size around, and none be seen at the ex-date. The same dividend told twice
    within three sessions is found too, at the one of them where the price drops less.
    """
    gaps, drops = _gaps(found), _drops(found)
    texts: dict[int, str] = _told_twice(found, gaps)
    large = drops > max(5 * found.noise, _LEAST_LOSS)
    for at in np.flatnonzero(large & (gaps > -drops / 2)):
        seen = _seen_at(found, gaps, int(at), float(drops[at]))
        if seen is not None:
            day = day_text(found.dates[seen : seen + 1])[0]
            texts.setdefault(int(at), f"no drop at its ex-date, but one of its size on {day}: proposed is {day}")
    return _findings(found, "misdated_dividend", {at: (found.dividend[at], text) for at, text in texts.items()})


def dividend_units(found: Moves) -> Found:
    """Dividends a hundred times too large or small, or not divided by a split of the same ex-date.

    The value is the dividend as told, `proposed` the one in line with the price and with the others of the series.
    """
    better: dict[int, tuple[float, str]] = {}
    for paid in _worth_a_look(found):
        for factor, text in _factors(found, paid.at):
            if _fits(found, paid, factor):
                better[paid.at] = (float(found.dividend[paid.at]) * factor, text)
                break
    return _findings(found, "dividend_unit", better)


def dividend_adjustments(bars: Bars, actions: pd.DataFrame, adjusted_close: Floats) -> Found:
    """Split-adjusted bars whose adjusted close does not step by the dividend, as 1 - D / previous close.

    Args:
        bars: split-adjusted, as of the instant of `adjusted_close`.
        adjusted_close: adjusted for splits and dividends, shape (n,), a value for each of `bars`.

    Returns:
        `dividend_adjustment`; the value is the dividend that the adjusted close applies, `proposed` the one told.
    """
    found = moves(bars, actions, Basis.SPLIT)
    ratio = adjusted_close[bars.column("close") > 0] / found.bars.column("close")
    previous = np.append(np.nan, found.bars.column("close")[:-1])
    applied = previous * (1 - np.append(np.nan, ratio[:-1]) / ratio)
    loss = found.loss
    wrong = np.abs(applied - found.dividend) > np.maximum(0.1 * loss, 1e-3) * previous
    at = np.flatnonzero((found.dividend > 0) & wrong)
    messages = [
        f"the adjusted close applies a dividend of {used:.4g} on {day}, the actions tell of {told:g}"
        for used, day, told in zip(applied[at], day_text(found.dates[at]), found.dividend[at], strict=True)
    ]
    return Found.at(
        "dividend_adjustment",
        found.dates[at],
        applied[at],
        found.dividend[at],
        messages=messages,
        fields="adjusted_close",
        proposed=found.dividend[at],
    )


def _gaps(found: Moves) -> Floats:
    """Overnight gaps less what splits and spin-offs make of them."""
    return found.gap + found.factor if found.basis is Basis.RAW else found.gap


def _drops(found: Moves) -> Floats:
    """The fall of the log price that each dividend makes; 0 without one, and where it is worth the whole price."""
    loss = found.loss
    drops: Floats = -np.log1p(-np.where(loss < 1, loss, 0.0))
    return drops


def _on_last_shares(found: Moves) -> Floats:
    """The dividends on the share count of the last bar, so that they compare."""
    if found.basis is not Basis.RAW:
        return found.dividend
    later = np.cumsum(found.split[::-1])[::-1] - found.split
    on_last: Floats = found.dividend / np.exp(later)
    return on_last


def _told_twice(found: Moves, gaps: Floats) -> dict[int, str]:
    at = np.flatnonzero(found.dividend)
    between = np.diff(at)
    if (between <= _OFTEN).sum() != 1:
        return {}
    place = int(between.argmin())
    one, other = int(at[place]), int(at[place + 1])
    if other - one > _REPEAT or not np.isclose(found.dividend[one], found.dividend[other], rtol=1e-6):
        return {}
    wrong, right = (one, other) if gaps[one] > gaps[other] else (other, one)
    day = day_text(found.dates[right : right + 1])[0]
    return {wrong: f"told again for {day}, where the price drops more: proposed is {day} alone"}


def _seen_at(found: Moves, gaps: Floats, at: int, drop: float) -> int | None:
    """The only session around `at` where the price falls as by its dividend, with nothing else to explain it."""
    around = np.arange(max(at - _NEIGHBOURS, 1), min(at + _NEIGHBOURS + 1, len(gaps)))
    falls = around[(gaps[around] < -drop / 2) & (around != at)]
    if len(falls) != 1 or found.factor[around].any():
        return None
    seen = int(falls[0])
    loss = found.dividend[at] / found.bars.column("close")[seen - 1]
    if found.dividend[seen] or loss >= 1:
        return None
    there = -np.log1p(-loss)
    exact = abs(gaps[seen] + there) <= min(there / 3, 3 * found.noise)
    return seen if exact and found.change[seen] < -there / 2 else None


def _worth_a_look(found: Moves) -> list[_Paid]:
    """Dividends that are far from the usual one, worth much of the price, or paid at a split."""
    at = np.flatnonzero(found.dividend)
    if not len(at):
        return []
    amounts, loss = _on_last_shares(found)[at], found.loss[at]
    far = np.abs(np.log(amounts / np.median(amounts))) > 1.0
    much = loss > max(_CLEARLY * found.noise, _LEAST_WRONG)
    gaps = _gaps(found)
    return [
        _Paid(int(at[i]), float(amounts[i]), float(loss[i]), float(gaps[at[i]]), np.delete(amounts, i))
        for i in np.flatnonzero(far | much | (found.split[at] != 0))
    ]


def _factors(found: Moves, at: int) -> list[tuple[float, str]]:
    factors = [(1 / _UNIT, "looks 100x too large"), (_UNIT, "looks 100x too small")]
    if abs(found.split[at]) > 0.3:
        split = float(np.exp(found.split[at]))
        factors.append((1 / split, f"looks not divided by the split of {split:g} on the same date"))
    return factors


def _fits(found: Moves, paid: _Paid, factor: float) -> bool:
    """Whether the dividend times `factor` is what the price and the other dividends say it was."""
    other_loss = paid.loss * factor
    if other_loss >= 0.5:
        return False
    drop = -np.log1p(-other_loss)
    sent = -np.log1p(-paid.loss) if paid.loss < 1 else np.inf
    apart = abs(paid.gap + drop)
    if apart >= abs(paid.gap + sent) and max(drop, sent) > found.noise:
        return False  # the price speaks for what was sent
    others = paid.others
    distance = abs(np.log(paid.amount * factor / np.median(others))) if len(others) else np.inf
    known_cause = factor not in (_UNIT, 1 / _UNIT)
    if distance < _SAME and _is_regular(others, 2 if known_cause else _LEAST_OTHERS):
        return True
    clear = max(_CLEARLY * found.noise, _LEAST_WRONG)
    alike = len(others) >= 2 and distance < _ALIKE
    if factor == _UNIT:
        return bool(alike and drop > clear and apart < drop / 4)
    shown = sent > clear and apart < min(4 * found.noise, sent / 3)
    elsewhere = paid.loss < 1 and _seen_at(found, _gaps(found), paid.at, sent) is not None
    return bool(factor == 1 / _UNIT and shown and not elsewhere and (alike or (len(others) < 2 and paid.loss > 0.25)))


def _is_regular(others: Floats, least: int) -> bool:
    return len(others) >= least and bool(others.max() <= _TIGHT * others.min())


def _findings(found: Moves, rule: str, proposed: dict[int, tuple[float, str]]) -> Found:
    if not proposed:
        return Found.at(rule, found.dates[:0], 0, 0)
    at = np.array(sorted(proposed), dtype=np.int64)
    told = found.dividend[at]
    values = [proposed[place][0] for place in at]
    messages = [
        f"dividend of {value:g} on {day}: {proposed[place][1]}"
        + (f"; proposed is {better:g}" if better != value else "")
        for place, value, day, better in zip(at, told, day_text(found.dates[at]), values, strict=True)
    ]
    return Found.at(rule, found.dates[at], told, 0, messages=messages, fields="dividend", proposed=values)
