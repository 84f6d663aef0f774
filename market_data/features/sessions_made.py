"""Sessions computed, as rows of `features_daily`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from market_data.features.catalogue import MAX_LOOKBACK
from market_data.features.columns import columns_of
from market_data.features.compute import Computed
from market_data.features.inputs import REACH, Inputs
from market_data.features.panel import Floats, Panel

__all__ = ["Formulas", "MadeSessions", "computed_sessions"]

Formulas = Callable[..., Computed]
"""`market_data.features.compute.compute`, or what takes a panel and `first` as it does."""

_AT_ONCE = 256
"""Sessions that are written in one transaction: some 70,000 rows."""


@dataclass(frozen=True, slots=True)
class MadeSessions:
    """Features of some sessions, a row for each expected (symbol, session), by session and symbol.

    Attributes:
        days: the sessions.
        rows, nulls: rows of each, and how many of their values are null; int64, (sessions,).
        symbols: index of each row into `names`, (rows,).
        names: canonical symbols.
        values: by feature, float64 (rows,); NaN for null.
        reasons: object (rows,): None, or why features of the row are null.
    """

    days: list[date]
    rows: npt.NDArray[np.int64]
    nulls: npt.NDArray[np.int64]
    symbols: npt.NDArray[np.intp]
    names: tuple[str, ...]
    values: dict[str, Floats]
    reasons: npt.NDArray[np.object_]

    def table(self, made_at: datetime) -> pa.Table:
        """The rows with all columns of `features_daily`."""
        symbols = pa.DictionaryArray.from_arrays(self.symbols.astype(np.int32), pa.array(self.names, pa.string()))
        return pa.table(
            {
                "symbol": symbols.cast(pa.string()),
                "date": pa.array(np.repeat(np.array(self.days, dtype="datetime64[D]"), self.rows)),
                **{name: pa.array(values, from_pandas=True) for name, values in self.values.items()},
                "reason": pa.array(self.reasons, pa.string()),
                "made_at": pa.repeat(pa.scalar(made_at, pa.timestamp("us")), len(self.symbols)),
            }
        )


def computed_sessions(inputs: Inputs, days: Sequence[date], formulas: Formulas) -> Iterator[MadeSessions]:
    """The sessions `days` of the inputs, ascending, some hundred at a time."""
    if not days:
        return
    columns = columns_of(inputs)
    wanted = np.searchsorted(inputs.sessions, np.array(days, dtype="datetime64[D]"))
    for rows in _stretches(wanted):
        first, last = int(rows[0]), int(rows[-1])
        start = max(0, first - REACH)
        computed = formulas(_cut(columns.panel, slice(start, last + 1)), first=first - start)
        for at in range(0, len(rows), _AT_ONCE):
            part = rows[at : at + _AT_ONCE]
            span = slice(int(part[0]), int(part[-1]) + 1)
            own = slice(span.start - first, span.stop - first)
            values = {name: columns.back(value[own], span) for name, value in computed.values.items()}
            yield _made(inputs, part, span, values, columns.back(computed.reasons[own], span))


def _stretches(rows: npt.NDArray[np.intp]) -> list[npt.NDArray[np.intp]]:
    """Rows in groups to be computed together: what lies between two is no more than what both would look back to."""
    return np.split(rows, np.flatnonzero(np.diff(rows) > MAX_LOOKBACK) + 1)


def _cut(panel: Panel, rows: slice) -> Panel:
    parts = {field.name: getattr(panel, field.name) for field in fields(panel)}
    return Panel(**{name: part if name == "symbols" else part[rows] for name, part in parts.items()})


def _made(
    inputs: Inputs,
    rows: npt.NDArray[np.intp],
    span: slice,
    values: dict[str, npt.NDArray[np.float64]],
    reasons: npt.NDArray[np.object_],
) -> MadeSessions:
    """The expected cells of `rows`; values and reasons are of all rows of `span`."""
    wanted = np.zeros(span.stop - span.start, dtype=bool)
    wanted[rows - span.start] = True
    cells = inputs.expected[span] & wanted[:, None]
    chosen = {name: np.asarray(value[cells], dtype=np.float64) for name, value in values.items()}
    nulls = np.zeros(cells.sum(), dtype=np.int64)
    for value in chosen.values():
        nulls += np.isnan(value)
    counts = cells.sum(axis=1)[wanted].astype(np.int64)
    ends = np.concatenate([[0], np.cumsum(counts)])
    sums = np.concatenate([[0], np.cumsum(nulls)])
    return MadeSessions(
        days=[inputs.sessions[row].item() for row in rows.tolist()],
        rows=counts,
        nulls=(sums[ends[1:]] - sums[ends[:-1]]).astype(np.int64),
        symbols=np.nonzero(cells)[1],
        names=inputs.symbols,
        values=chosen,
        reasons=reasons[cells],
    )
