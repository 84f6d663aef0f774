"""The step of each instrument's price level into each session, from its corporate actions, and where it is not known.

The step into session u is by what a price from before u is multiplied to be comparable with one of u: for splits and
spin-offs 1 / value, for dividends 1 - D / P, P being the raw close of the last usable bar before the ex-date, and D
what is paid on the shares of that bar; as `market_data.adjustments` has it. The factors of total-return prices are
products of steps. An action after a session is in no step up to it, so it changes no feature of that session.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

from market_data.features.panel import Floats

__all__ = ["EVERY", "LAG", "Action", "Steps", "break_at_levels", "untold_steps", "with_actions"]

EVERY = "*"
"""Symbol of an answer that tells of every instrument's actions at once."""

Action = tuple[str, date, str, float]
"""Symbol, ex-date, kind, value."""

LAG = {"split": 0, "dividend": 7}
"""Days after a span that was told for which no action of a kind is taken to mean that there is none.

Dividends cost a call a symbol, and are asked for once a week; until then a dividend of these days may lack, and what it
bears on is made anew once it is told. The splits of all symbols are asked for each night, and a split that lacks is no
small error.
"""

Mask = npt.NDArray[np.bool_]
Dates = npt.NDArray[np.datetime64]


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps into T sessions of N instruments.

    Attributes:
        values: shape (T, N), 1 where no action takes effect; of no meaning where `broken` names the cell.
        broken: why a step is not known, by (row, column).
    """

    values: Floats
    broken: dict[tuple[int, int], str]


@dataclass(frozen=True, slots=True)
class _Closes:
    """Raw closes, (T, N), and the row of the last usable bar at or before each row, -1 without one."""

    sessions: Dates
    close: Floats
    last_usable: npt.NDArray[np.intp]

    def before(self, row: int, column: int, reach: int) -> int:
        """Row of the last usable bar before `row`, no more than `reach` sessions back; -1 for none."""
        found = int(self.last_usable[row - 1, column])
        return found if found >= row - reach else -1


def with_actions(
    sessions: Dates, symbols: tuple[str, ...], close: Floats, usable: Mask, actions: Iterable[Action], *, reach: int
) -> Steps:
    """The steps that known actions make.

    Args:
        sessions: datetime64[D], shape (T,), ascending.
        close: raw closes, dollars a share, (T, N).
        usable: bars whose close can be relied on, (T, N).
        actions: by symbol and ex-date, ascending.
        reach: sessions that a feature looks back; a step without a usable bar so far back is of no use, and is 1.
    """
    rows = np.arange(len(sessions))[:, None]
    closes = _Closes(sessions, close, np.maximum.accumulate(np.where(usable, rows, -1), axis=0))
    columns = {symbol: column for column, symbol in enumerate(symbols)}
    steps = Steps(np.ones(close.shape), {})
    ratios: dict[int, list[tuple[np.datetime64, float]]] = {}
    dividends: list[tuple[int, int, np.datetime64, float]] = []
    for symbol, day, kind, value in actions:
        column, ex_date = columns.get(symbol), np.datetime64(day, "D")
        row = int(np.searchsorted(sessions, ex_date))
        if column is None or not 0 < row < len(sessions) or closes.before(row, column, reach) < 0:
            continue
        if kind == "dividend":
            dividends.append((column, row, ex_date, value))
        else:
            steps.values[row, column] /= value
            ratios.setdefault(column, []).append((ex_date, value))
    _pay(steps, closes, ratios, dividends, reach)
    return steps


def break_at_levels(
    steps: Steps, close: Floats, usable: Mask, doubted: Mapping[tuple[int, int], str], *, reach: int
) -> None:
    """Break the step into the first usable bar after one whose level is in doubt, unless that is back where it was.

    It is back where it is nearer, in logs and over the steps known, to the last usable close before the bar in doubt
    than to the close of that bar. So a bar that is wrong by itself breaks nothing; a split that nobody told of does.
    The break lies at the session that comes after, so that what is known of an earlier one does not change by it.

    Args:
        close: raw closes, of bars that may not be used as well, dollars a share, (T, N).
        usable: bars whose close can be relied on, (T, N).
        doubted: what puts the level of a bar in doubt, by (row, column).
        reach: sessions that a feature looks back.
    """
    level = np.log(np.where(close > 0, close, np.nan)) - np.cumsum(np.log(steps.values), axis=0)
    for (row, column), why in doubted.items():
        rows = np.flatnonzero(usable[:, column])
        at = int(np.searchsorted(rows, row))
        if at == 0 or at == len(rows) or rows[at] - rows[at - 1] > reach:
            continue
        before, after = rows[at - 1], rows[at]
        is_back = abs(level[after, column] - level[before, column]) < abs(level[after, column] - level[row, column])
        if not is_back:
            steps.broken.setdefault((int(after), column), why)


def _pay(
    steps: Steps,
    closes: _Closes,
    ratios: dict[int, list[tuple[np.datetime64, float]]],
    dividends: list[tuple[int, int, np.datetime64, float]],
    reach: int,
) -> None:
    """Put the dividends into the steps; those without a usable bar between them count as one, of their sum."""
    owed: dict[tuple[int, int], float] = {}
    for column, row, ex_date, value in dividends:
        bar = closes.before(row, column, reach)
        day, before = closes.sessions[bar], float(closes.close[bar, column])
        paid = value * math.prod(ratio for split_on, ratio in ratios.get(column, ()) if day < split_on <= ex_date)
        already = owed.get((bar, column), 0.0)
        owed[bar, column] = already + paid
        if already + paid < before:
            steps.values[row, column] *= (before - already - paid) / (before - already)
        else:
            steps.broken[row, column] = f"the dividend of {ex_date} is not below the close of {day}"


def untold_steps(
    sessions: Dates,
    symbols: tuple[str, ...],
    told: Iterable[tuple[str, str, date, date]],
    had_bar: Mask,
    *,
    before: np.datetime64,
    reach: int,
) -> dict[str, Mask]:
    """Steps with a day of which no provider told every split, or every dividend but for `LAG`: by kind, shape (T, N).

    Args:
        told: symbol or `EVERY`, kind, first and last date, all from the day after `before` on.
        had_bar: whether there is a bar, (T, N); a step without one in the `reach` sessions before is of no use.
        before: the session before the first.
        reach: sessions that a feature looks back.
    """
    days = (sessions - before).astype(np.int64)
    columns = {symbol: slice(column, column + 1) for column, symbol in enumerate(symbols)} | {EVERY: slice(None)}
    edges = {kind: np.zeros((int(days[-1]) + 2, len(symbols)), dtype=np.int32) for kind in LAG}
    for symbol, kind, first, last in told:
        if symbol in columns:
            edges[kind][int((np.datetime64(first, "D") - before).astype(np.int64)), columns[symbol]] += 1
            until = int((np.datetime64(last, "D") - before).astype(np.int64)) + LAG[kind]
            edges[kind][min(until, int(days[-1])) + 1, columns[symbol]] -= 1
    matters = _any_before(had_bar, reach)
    lengths = np.diff(days, prepend=0)[:, None]
    untold = {}
    for kind, edge in edges.items():
        known = np.cumsum(np.cumsum(edge, axis=0) > 0, axis=0)
        within = np.diff(known[days], axis=0, prepend=known[:1])
        untold[kind] = (within < lengths) & matters
    return untold


def _any_before(had_bar: Mask, reach: int) -> Mask:
    """Whether one of the `reach` sessions before each has a bar."""
    counts = np.cumsum(np.concatenate([np.zeros((1, had_bar.shape[1]), dtype=np.int64), had_bar]), axis=0)
    rows = np.arange(len(had_bar))
    found: Mask = counts[rows] > counts[np.maximum(rows - reach, 0)]
    return found
