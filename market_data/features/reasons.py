"""Why features are null: a short text a row, from which the reason of each null feature can be told.

A text is clauses parted by "; ", each "scope: cause". The scopes:

* `all`: the session's own bar is not usable; no feature has a value.
* `windows of N and more`: a bar in the window is not usable. Every feature that needs all bars of its lookback and
  looks back N sessions or more is null; the date is that of the latest such bar.
* `lookbacks of N and more`: fewer sessions are held. Every feature that looks back so far is null.
* names of features parted by ", ": these are null, and their z and rank with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from market_data.features.catalogue import BY_NAME, FEATURES, MAX_LOOKBACK
from market_data.features.panel import Floats
from market_data.features.usable import Bars

__all__ = ["reason_for", "reasons_of_nulls"]

Codes = npt.NDArray[np.int64]

ENDPOINTS = tuple(sorted({back for feature in FEATURES for back in feature.endpoints if back}))
VOLUMES = 21
"""Sessions whose volume a feature takes, where it takes more than the session's own."""

ALL, WINDOWS, LOOKBACKS = "all", "windows of", "lookbacks of"
_FROM = re.compile(rf"({WINDOWS}|{LOOKBACKS}) (\d+) and more")

_OWN_CAUSES = {
    "bollinger_z_20": "the closes of 20 sessions did not move",
    "market_return_1": "no instrument has a return",
    "beta_252": "the market of 252 sessions did not move",
    **{feature.name: "no other instrument has one" for feature in FEATURES if feature.base},
    **{
        feature.name: "no two instruments differ"
        for feature in FEATURES
        if feature.name.endswith("_z") and feature.base
    },
}
"""What makes a feature null where its bars and volumes are there."""

_MADE_FROM = {
    back: ", ".join(feature.name for feature in FEATURES if back in feature.endpoints and not feature.base)
    for back in ENDPOINTS
}
"""Features that need the bar of so many sessions back, by itself."""


def reason_for(name: str, text: str | None) -> str | None:
    """The cause for which a feature of a row is null, None where it is not.

    Args:
        name: a feature of the catalogue.
        text: the row's reason.
    """
    feature = BY_NAME[name]
    for clause in (text or "").split("; "):
        scope, _, cause = clause.partition(": ")
        since = _FROM.fullmatch(scope)
        if since:
            reached = feature.lookback >= int(since[2]) and (since[1] == LOOKBACKS or not feature.endpoints)
        else:
            named = scope.split(", ")
            reached = scope == ALL or name in named or feature.base in named
        if reached:
            return cause
    return None


def reasons_of_nulls(
    sessions: npt.NDArray[np.datetime64], bars: Bars, values: dict[str, Floats], *, first: int
) -> npt.NDArray[np.object_]:
    """The text of every row from `first` on, None where no feature is null.

    Rows with the same causes share one string: few are made, however many rows have one.

    Args:
        sessions: dates of all rows, shape (T,).
        bars: usable bars and the reasons of the others, (T, N).
        values: features by name, (T - first, N).
        first: first row wanted.
    """
    causes = _Causes.of(sessions, bars)
    made = _Texts.of(causes, bars, values, first)
    return made.written()


@dataclass(frozen=True, slots=True)
class _Causes:
    """Reasons of unusable bars as numbers, 0 where usable, and the latest row up to each that has something wrong."""

    dates: list[str]
    names: list[str]
    codes: Codes
    last_unusable: Codes
    last_uncounted: Codes
    last_untraded: Codes

    @classmethod
    def of(cls, sessions: npt.NDArray[np.datetime64], bars: Bars) -> _Causes:
        codes, names = pd.factorize(bars.reasons.ravel())
        uncounted = bars.usable & np.isnan(bars.volume)
        return cls(
            dates=[str(day) for day in sessions.astype("datetime64[D]")],
            names=["", *(str(name).replace(";", ",") for name in names)],
            codes=(codes + 1).reshape(bars.reasons.shape).astype(np.int64),
            last_unusable=_latest(~bars.usable),
            last_uncounted=_latest(uncounted),
            last_untraded=_latest(bars.usable & (bars.volume == 0)),
        )


@dataclass(frozen=True, slots=True)
class _Texts:
    """The rows that have a null, as columns of numbers from which their texts follow.

    Attributes:
        shape: (T - first, N).
        cells: flat index of each such row.
        row: its session, as a row of the panel.
        numbers: by what they say, a number a row; 0 says nothing.
    """

    causes: _Causes
    shape: tuple[int, int]
    cells: Codes
    row: Codes
    numbers: dict[str, Codes] = field(default_factory=dict)

    @classmethod
    def of(cls, causes: _Causes, bars: Bars, values: dict[str, Floats], first: int) -> _Texts:
        null = np.logical_or.reduce([np.isnan(value) for value in values.values()])
        cells = np.flatnonzero(null).astype(np.int64)
        row, column = np.divmod(cells, max(null.shape[1], 1))
        row += first
        made = cls(causes, (null.shape[0], null.shape[1]), cells, row)
        made._say(column, {name: np.isnan(value).ravel()[cells] for name, value in values.items()})
        return made

    def _say(self, column: Codes, null: dict[str, npt.NDArray[np.bool_]]) -> None:
        causes, row = self.causes, self.row
        own = causes.codes[row, column]
        self.numbers["own"] = own
        usable = own == 0
        last = causes.last_unusable[row, column]
        near = usable & (last >= 0) & (row - last < MAX_LOOKBACK)
        self.numbers["window"] = np.where(near, last + 1, 0)
        self.numbers["window_cause"] = np.where(near, causes.codes[last, column], 0)
        for back in ENDPOINTS:
            held = usable & (row >= back)
            self.numbers[f"end_{back}"] = np.where(held, causes.codes[np.maximum(row - back, 0), column], 0)
        for kind, latest in (("uncounted", causes.last_uncounted), ("untraded", causes.last_untraded)):
            seen = latest[row, column]
            self.numbers[kind] = np.where(usable & (seen >= 0) & (row - seen < VOLUMES), seen + 1, 0)
        unexplained = [self._unexplained(name, null) & usable for name in _OWN_CAUSES]
        bits = sum(flag.astype(np.int64) << bit for bit, flag in enumerate(unexplained))
        self.numbers["own_causes"] = np.asarray(bits, dtype=np.int64)

    def _unexplained(self, name: str, null: dict[str, npt.NDArray[np.bool_]]) -> npt.NDArray[np.bool_]:
        """Where a feature is null though bars, volumes and the feature it ranks are there."""
        feature = BY_NAME[name]
        if feature.base:
            return null[name] & ~null[feature.base]
        warming = self.row + 1 < feature.lookback
        window = self.numbers["window"]
        broken = (window > 0) & (self.row - window + 1 < feature.lookback) & (not feature.endpoints)
        return null[name] & ~warming & ~broken

    def written(self) -> npt.NDArray[np.object_]:
        """The texts in the shape of the features."""
        texts = np.full(self.shape[0] * self.shape[1], None, dtype=object)
        if self.cells.size:
            groups, representatives = _grouped([self.row, *self.numbers.values()])
            columns = [numbers[representatives].tolist() for numbers in (self.row, *self.numbers.values())]
            said = [dict(zip(self.numbers, numbers, strict=True)) for numbers in zip(*columns[1:], strict=True)]
            lines = [self._text(row, numbers) for row, numbers in zip(columns[0], said, strict=True)]
            texts[self.cells] = np.array(lines, dtype=object)[groups]
        return texts.reshape(self.shape)

    def _text(self, row: int, said: dict[str, int]) -> str:
        return "; ".join([f"{scope}: {cause}" for scope, cause in self._clauses(row, said)])

    def _clauses(self, row: int, said: dict[str, int]) -> Iterator[tuple[str, str]]:
        causes = self.causes
        if said["own"]:
            yield ALL, self._at(row, said["own"])
            return
        if said["window"]:
            bad = said["window"] - 1
            yield f"{WINDOWS} {row - bad + 1} and more", self._at(bad, said["window_cause"])
        for back in ENDPOINTS:
            if said[f"end_{back}"]:
                yield _MADE_FROM[back], self._at(row - back, said[f"end_{back}"])
        if row + 1 < MAX_LOOKBACK:
            yield f"{LOOKBACKS} {row + 2} and more", f"warm-up, {row + 1} sessions held"
        if said["uncounted"]:
            bad = said["uncounted"] - 1
            yield ", ".join(_of_volume(row - bad)), f"{causes.dates[bad]} no usable volume"
        if said["untraded"]:
            yield "amihud_21", f"{causes.dates[said['untraded'] - 1]} volume 0"
        if said["own_causes"]:
            flags = enumerate(_OWN_CAUSES.items())
            yield from (clause for bit, clause in flags if said["own_causes"] >> bit & 1)

    def _at(self, row: int, cause: int) -> str:
        return f"{self.causes.dates[row]} {self.causes.names[cause]}"


def _of_volume(age: int) -> list[str]:
    """Features that need the volume of so many sessions back."""
    return [feature.name for feature in FEATURES if feature.volume and min(feature.lookback, VOLUMES) > age]


def _latest(marked: npt.NDArray[np.bool_]) -> Codes:
    """Row of the latest mark up to each row, -1 before the first."""
    rows = np.arange(len(marked), dtype=np.int64)[:, None]
    return np.maximum.accumulate(np.where(marked, rows, -1), axis=0)


def _grouped(columns: list[Codes]) -> tuple[Codes, Codes]:
    """A group for each row, equal where all columns are, and one row of each group."""
    groups = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        groups = pd.factorize(groups * (int(column.max()) + 1) + column)[0].astype(np.int64)
    _, representatives = np.unique(groups, return_index=True)
    return groups, representatives
