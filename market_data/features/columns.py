"""Inputs as a panel of total-return prices, and features of a panel back in the shape of the inputs.

An instrument whose price steps are not all known has several columns in the panel, one for each stretch between steps
that are not: bars of other stretches are unusable there, so that no feature reaches across. At any session one column
at most has a usable bar, so the instrument counts once among the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from market_data.features.inputs import Inputs, free
from market_data.features.panel import Floats, Panel

_Value = TypeVar("_Value", np.float64, np.object_)

__all__ = ["Columns", "columns_of"]


@dataclass(frozen=True, slots=True)
class Columns:
    """A panel, and where each instrument of the inputs stands in it.

    Attributes:
        panel: T sessions; at least as many columns as there are instruments.
        place: column of the panel that holds a session of an instrument, int (T, N); None where both are the same.
    """

    panel: Panel
    place: npt.NDArray[np.intp] | None

    def back(self, values: npt.NDArray[_Value], rows: slice) -> npt.NDArray[_Value]:
        """Values of the panel's sessions `rows`, (rows, columns), in the shape of the inputs, (rows, N)."""
        return values if self.place is None else np.take_along_axis(values, self.place[rows], axis=1)


def columns_of(inputs: Inputs) -> Columns:
    """The panel of all sessions of the inputs.

    Its prices are raw prices times the product of 1 / step from the first session on, so that a session added later
    changes no price of an earlier one, not to the last bit.
    """
    panel = _plain(inputs)
    stretches = _stretches(inputs)
    if not stretches:
        return Columns(panel, None)
    names, parts, place, column = [], [], np.empty(inputs.expected.shape, dtype=np.intp), 0
    for number, symbol in enumerate(inputs.symbols):
        starts = stretches.get(number, [0])
        names += [symbol] * len(starts)
        parts += [(number, start) for start in starts]
        place[:, number] = column + np.searchsorted(starts, np.arange(len(inputs.sessions)), "right") - 1
        column += len(starts)
    return Columns(_split(inputs, panel, tuple(names), parts, place), place)


def _plain(inputs: Inputs) -> Panel:
    steps = inputs.steps.values.copy()
    for cell in inputs.steps.broken:
        steps[cell] = 1.0
    level = np.cumprod(1.0 / steps, axis=0)
    adjusted = {name: values * level for name, values in inputs.prices.items()}
    return Panel(
        sessions=inputs.sessions,
        symbols=inputs.symbols,
        **adjusted,
        raw_close=inputs.prices["close"],
        raw_volume=inputs.volume,
        usable=inputs.usable,
        reasons=inputs.reasons,
    )


def _stretches(inputs: Inputs) -> dict[int, list[int]]:
    """First rows of the stretches of instruments that have more than one with a usable bar, the first at row 0."""
    cuts: dict[int, list[int]] = {}
    for row, column in sorted(inputs.steps.broken):
        if row:
            cuts.setdefault(column, [0]).append(row)
    usable, stretches = inputs.usable, {}
    for column, rows in cuts.items():
        # A stretch without a usable bar may lie in any column, so it goes to the one after it.
        ends = [*rows[1:], len(usable)]
        kept = [start for start, end in zip(rows, ends, strict=True) if usable[start:end, column].any()]
        if len(kept) > 1:
            stretches[column] = [0, *kept[1:]]
    return stretches


def _split(
    inputs: Inputs, panel: Panel, names: tuple[str, ...], parts: list[tuple[int, int]], place: npt.NDArray[np.intp]
) -> Panel:
    numbers = [number for number, _ in parts]
    own = place[:, numbers] == np.arange(len(parts))
    reasons = panel.reasons[:, numbers]
    for column, (number, start) in enumerate(parts):
        if start:
            before = reasons[:start, column]
            text = f"before {inputs.sessions[start]}: {inputs.steps.broken[start, number]}"
            before[free(before)] = text
        after = reasons[start:, column]
        after[~own[start:, column] & free(after)] = "of a later stretch"
    usable = free(reasons)
    fields = ("open", "high", "low", "close", "raw_close", "raw_volume")
    values: dict[str, Floats] = {name: np.where(usable, getattr(panel, name)[:, numbers], np.nan) for name in fields}
    return Panel(sessions=panel.sessions, symbols=names, **values, usable=usable, reasons=reasons)
