"""What features are made from, read from the canonical database alone: bars, what may be used of them, price steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from market_data.errors import WarehouseError
from market_data.features.catalogue import MAX_LOOKBACK
from market_data.features.chain import Mask, Steps, break_at_levels, untold_steps, with_actions
from market_data.features.doubts import Doubt, doubts_of
from market_data.features.panel import Floats
from market_data.warehouse.features import read_actions, read_bars, read_sessions, read_span, read_told

__all__ = ["REACH", "Inputs", "free", "read_inputs"]

REACH = MAX_LOOKBACK - 1
"""Sessions that a feature looks back beyond its own."""

_PRICES = ("open", "high", "low", "close")
_OF_VERDICT = {"rejected": "rejected", "missing": "no bar", "unanswered": "not answered"}
Objects = npt.NDArray[np.object_]


@dataclass(frozen=True, slots=True)
class Inputs:
    """Bars of T consecutive sessions and N instruments, as traded, and what of them features may use.

    Attributes:
        sessions: datetime64[D], (T,), ascending, without a session left out.
        symbols: N canonical symbols, sorted.
        expected: whether there is a verdict or a bar, bool (T, N); features have a row for each such cell.
        prices: open, high, low and close, dollars a share, float64 (T, N) each; NaN where not usable.
        volume: shares, (T, N); NaN where not usable, not known, or in doubt itself.
        reasons: object (T, N): None where the bar is usable, else why not.
        steps: from session to session.
    """

    sessions: npt.NDArray[np.datetime64]
    symbols: tuple[str, ...]
    expected: Mask
    prices: dict[str, Floats]
    volume: Floats
    reasons: Objects
    steps: Steps

    @property
    def usable(self) -> Mask:
        """Bars without a reason against them, (T, N)."""
        return free(self.reasons)


def free(reasons: Objects) -> Mask:
    """Where nothing is said against a bar."""
    return np.asarray(np.equal(reasons, np.array(None, dtype=object)), dtype=bool)


def read_inputs(
    connection: duckdb.DuckDBPyConnection, start: date | None = None, end: date | None = None
) -> Inputs | None:
    """What the features of the sessions from `start` to `end` are made from; None where the store holds nothing.

    By default of every session. More sessions come before `start`, so that each from there on has all it looks back to,
    with the same content whichever span is read.
    """
    held = read_span(connection)
    if held is None:
        return None
    first, last = held[0], held[1] if end is None else min(end, held[1])
    sessions = _days(read_sessions(connection, first, last)["session"])
    if start is not None:
        # A step depends on a bar up to REACH before it, and a feature on steps up to REACH before that.
        at = int(np.searchsorted(sessions, np.datetime64(start, "D")))
        sessions = sessions[max(0, at - 2 * REACH) :]
    if not len(sessions):
        return None
    return _inputs(connection, sessions)


def _inputs(connection: duckdb.DuckDBPyConnection, sessions: npt.NDArray[np.datetime64]) -> Inputs:
    first, last = sessions[0].item(), sessions[-1].item()
    bars = _Bars(read_bars(connection, first, last), sessions)
    before = sessions[0] - np.timedelta64(1, "D")
    told = read_told(connection, first, last)
    untold = untold_steps(sessions, bars.symbols, told, bars.has_bar, before=before, reach=REACH)
    reasons, rules = bars.reasons(), bars.rules()
    prices = bars.prices()
    steps = with_actions(
        sessions,
        bars.symbols,
        prices["close"],
        free(reasons),
        read_actions(connection, first, last),
        reach=REACH,
    )
    for cell, found in rules.items():
        if found.step:
            steps.broken[cell] = ", ".join(found.step)
    levels = {cell: ", ".join(found.level) for cell, found in rules.items() if found.level}
    break_at_levels(steps, prices["close"], free(reasons), levels, reach=REACH)
    _refuse_untold(reasons, steps, untold, bars.has_bar)
    usable = free(reasons)
    for values in prices.values():
        values[~usable] = np.nan
    volume = bars.matrix("volume")
    for cell, found in rules.items():
        if found.volume:
            volume[cell] = np.nan
    volume[~usable] = np.nan
    return Inputs(sessions, bars.symbols, bars.expected, prices, volume, reasons, steps)


def _refuse_untold(reasons: Objects, steps: Steps, untold: dict[str, Mask], had_bar: Mask) -> None:
    """A bar after an untold step is not used, since its own return is not known, and nothing reaches across it.

    The break is noted at the first session after them whose step is told: the bars of the others are not used anyway.
    """
    split, dividend = untold["split"], untold["dividend"]
    why = np.select([split & dividend, split, dividend], [1, 2, 3], 0)
    texts = np.array([None, "splits or dividends not told", "splits not told", "dividends not told"], dtype=object)
    refused = (why > 0) & had_bar & free(reasons)
    reasons[refused] = texts[why[refused]]
    after = (why[1:] == 0) & (why[:-1] > 0)
    for row, column in zip(*(places.tolist() for places in np.nonzero(after)), strict=True):
        steps.broken.setdefault((row + 1, column), texts[why[row, column]])


class _Bars:
    """The rows of `read_bars`, and their places in matrices of sessions and symbols."""

    def __init__(self, table: pa.Table, sessions: npt.NDArray[np.datetime64]) -> None:
        names = table["symbol"].combine_chunks().dictionary_encode()
        given = names.dictionary.to_pylist()
        self.symbols = tuple(sorted(given))
        order = np.argsort(np.argsort(np.array(given, dtype=object)))
        self._shape = len(sessions), len(given)
        days = _days(table["date"])
        row = np.searchsorted(sessions, days)
        strange = sessions[np.minimum(row, len(sessions) - 1)] != days
        if strange.any():
            raise WarehouseError(f"the store holds a bar on {days[strange][0]}, which is no session; restore a backup")
        self._cells = row * len(given) + order[names.indices.to_numpy()]
        self._table = table
        self.expected = self._flags(np.ones(table.num_rows, dtype=bool))
        self._stored = table["basis"].is_valid().to_numpy()
        self.has_bar = self._flags(self._stored)

    def matrix(self, name: str) -> Floats:
        """A column of numbers, (T, N)."""
        values = np.full(self._shape, np.nan)
        values.reshape(-1)[self._cells] = self._table[name].to_numpy()
        return values

    def prices(self) -> dict[str, Floats]:
        """Open, high, low and close as traded, (T, N) each, of bars that may not be used as well."""
        return {name: self.matrix(name) for name in _PRICES}

    def rules(self) -> dict[tuple[int, int], Doubt]:
        """What the rules found put in doubt, by (row, column)."""
        return {
            divmod(int(self._cells[at]), self._shape[1]): doubts_of(rules) for at, rules in self._where("rules", bool)
        }

    def reasons(self) -> Objects:
        """Why a bar may not be used, object (T, N); None where it may."""
        reasons = np.full(self._shape, "not listed", dtype=object)
        flat = reasons.reshape(-1)
        flat[self._cells] = None
        absent = np.any([self._table[name].is_null().to_numpy() for name in _PRICES], axis=0)
        flat[self._cells[absent & self._stored]] = "flagged: null"
        self._say(flat, "rules", lambda rules: "flagged: " + ", ".join(doubts_of(rules).price), _doubts_price)
        self._say(flat, "basis", lambda basis: f"adjusted: {basis}", lambda basis: basis != "raw")
        flat[self._cells[~self._stored]] = "no bar"
        flat[self._cells[self._table["verdict"].is_null().to_numpy()]] = "no verdict"
        self._say(flat, "verdict", lambda verdict: _OF_VERDICT[verdict], lambda verdict: verdict in _OF_VERDICT)
        return reasons

    def _flags(self, where: npt.NDArray[np.bool_]) -> Mask:
        flags = np.zeros(self._shape, dtype=bool)
        flags.reshape(-1)[self._cells[where]] = True
        return flags

    def _say(self, flat: Objects, name: str, reason: Callable[[str], str], wanted: Callable[[str], bool]) -> None:
        """Put a reason at the cells whose text of a column is wanted."""
        known, codes, chosen = self._coded(name, wanted)
        reasons = np.array([reason(text) if wanted(text) else None for text in known] + [None], dtype=object)
        flat[self._cells[chosen]] = reasons[codes[chosen]]

    def _where(self, name: str, wanted: Callable[[str], bool]) -> list[tuple[int, str]]:
        """Rows of the table whose text is wanted, with it."""
        known, codes, chosen = self._coded(name, wanted)
        return [(int(at), known[codes[at]]) for at in np.flatnonzero(chosen)]

    def _coded(
        self, name: str, wanted: Callable[[str], bool]
    ) -> tuple[list[str], npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
        """The different texts of a column, which are few; which one each row has; whether it is wanted."""
        texts = self._table[name].combine_chunks().dictionary_encode()
        known: list[str] = texts.dictionary.to_pylist()
        codes = texts.indices.fill_null(len(known)).to_numpy()
        return known, codes, np.array([wanted(text) for text in known] + [False])[codes]


def _doubts_price(rules: str) -> bool:
    return bool(doubts_of(rules).price)


def _days(column: pa.ChunkedArray) -> npt.NDArray[np.datetime64]:
    return np.asarray(column.to_numpy().astype("datetime64[D]"))
