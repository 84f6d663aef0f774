"""The arrays validation works on, and the frame its findings become.

Rules take `Bars`, plain numpy columns, since a pandas operation costs more than the arithmetic of a whole batch.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import pandas as pd

from market_data.schemas import BAR_FIELDS

__all__ = ["FINDING_COLUMNS", "Bars", "Dates", "Floats", "Found", "Mask", "counted", "day_text", "findings_frame"]

FINDING_COLUMNS = ("date", "rule", "severity", "field", "value", "limit", "proposed", "message")
"""Columns of the findings of a batch, in order."""

Dates = npt.NDArray[np.datetime64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_COLUMNS = [*BAR_FIELDS, "vwap", "trade_count"]


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars of one symbol in date order.

    Attributes:
        row: position of each bar in the frame it came from, shape (n,).
        date: `datetime64[s]`, shape (n,).
        values: open, high, low, close, volume, vwap, trade_count; null is NaN; shape (n, 7).
    """

    row: npt.NDArray[np.int64]
    date: Dates
    values: Floats

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Bars:
        """The columns of a `RawBars` frame."""
        values = np.column_stack([frame[name].to_numpy(dtype=np.float64) for name in _COLUMNS])
        return cls(np.arange(len(frame)), frame["date"].to_numpy(), values)

    def __len__(self) -> int:
        return len(self.date)

    def take(self, chosen: Mask | npt.NDArray[np.int64]) -> Bars:
        """The bars a mask or an index chooses."""
        return Bars(self.row[chosen], self.date[chosen], self.values[chosen])

    def within(self, start: datetime.date, end: datetime.date) -> Bars:
        """The bars dated `start` to `end`, both inclusive."""
        low, high = np.array([start, end], dtype="datetime64[s]")
        span = slice(np.searchsorted(self.date, low, "left"), np.searchsorted(self.date, high, "right"))
        return Bars(self.row[span], self.date[span], self.values[span])

    def column(self, name: str) -> Floats:
        """One field, shape (n,)."""
        values: Floats = self.values[:, _COLUMNS.index(name)]
        return values

    def columns(self, names: Sequence[str]) -> Floats:
        """Some fields, shape (n, len(names))."""
        values: Floats = self.values[:, [_COLUMNS.index(name) for name in names]]
        return values


@dataclass(frozen=True, slots=True)
class Found:
    """What one rule found, a row for each finding.

    Attributes:
        date: `datetime64[s]`, shape (k,); NaT for a finding about the whole batch.
        value, limit: what was measured and what it broke, shape (k,).
        proposed: what to put in place of the value, shape (k,); NaN where nothing is proposed.
        field: comma-separated fields the finding is about; empty when it is about the bar or the batch.
    """

    rule: str
    date: Dates
    value: Floats
    limit: Floats
    message: Sequence[str]
    field: Sequence[str]
    proposed: Floats

    @classmethod
    def at(
        cls,
        rule: str,
        date: Dates,
        value: npt.ArrayLike,
        limit: npt.ArrayLike,
        *,
        messages: Sequence[str] = (),
        fields: Sequence[str] | str = "",
        proposed: npt.ArrayLike = np.nan,
    ) -> Found:
        """Findings at `date`; a single value, limit, proposal or field stands for all of them."""
        size = len(date)
        names = [fields] * size if isinstance(fields, str) else fields
        numbers = [np.full(size, item, dtype=np.float64) for item in (value, limit, proposed)]
        return cls(rule, date, numbers[0], numbers[1], messages, names, numbers[2])

    def __len__(self) -> int:
        return len(self.date)


def findings_frame(blocks: Sequence[Found], severities: dict[str, str]) -> pd.DataFrame:
    """All findings in one frame, sorted by date (those without one last), rule and field.

    Returns:
        `FINDING_COLUMNS`: date `datetime64[s]`, value, limit and proposed float64, the others `str`.
    """
    found = [block for block in blocks if len(block)]
    if not found:
        return _no_findings().copy()
    texts = {
        "rule": [block.rule for block in found for _ in block.field],
        "severity": [severities[block.rule] for block in found for _ in block.field],
        "field": [field for block in found for field in block.field],
        "message": [message for block in found for message in block.message],
    }
    data: dict[str, object] = {name: pd.array(text, dtype="str") for name, text in texts.items()}
    data["date"] = np.concatenate([block.date for block in found])
    for name in ("value", "limit", "proposed"):
        data[name] = np.concatenate([getattr(block, name) for block in found])
    frame = pd.DataFrame({name: data[name] for name in FINDING_COLUMNS})
    return frame.sort_values(["date", "rule", "field"], ignore_index=True)


@cache
def _no_findings() -> pd.DataFrame:
    types = {"date": "datetime64[s]", **dict.fromkeys(("value", "limit", "proposed"), "float64")}
    return pd.DataFrame({name: pd.Series(dtype=types.get(name, "str")) for name in FINDING_COLUMNS})


def day_text(dates: Dates) -> list[str]:
    """Dates as in 2021-01-19."""
    return [str(day) for day in dates.astype("datetime64[D]")]


def counted(number: int, noun: str) -> str:
    """`1 bar`, `2 bars`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
