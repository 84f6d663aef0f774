"""How the stored features stand to what they were made from: up to date, absent, stale, or of foreign input."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

import duckdb

from market_data.features.fingerprints import FORMULA_VERSION, fingerprints
from market_data.features.inputs import Inputs, read_inputs
from market_data.warehouse.connection import SCHEMA_VERSION
from market_data.warehouse.features import (
    StoredPartition,
    read_foreign,
    read_partitions,
    read_row_counts,
    store_identity,
)

__all__ = ["Standing", "read_standing", "standing_of"]


@dataclass(frozen=True, slots=True)
class Standing:
    """The sessions of `features_daily` beside the canonical tables as they are now; every mapping ascends.

    Attributes:
        hashes: of each session that has expected bars, the hash of what its features are made from.
        absent: sessions of `hashes` that were never computed.
        stale: sessions of `hashes` that were made from something else than what is there now, with why.
        gone: sessions with features that have no expected bar, so that their input is not of this store, with why.
        made: number of sessions on record.
    """

    hashes: dict[date, str] = field(default_factory=dict)
    absent: tuple[date, ...] = ()
    stale: dict[date, str] = field(default_factory=dict)
    gone: dict[date, str] = field(default_factory=dict)
    made: int = 0

    @property
    def outdated(self) -> set[date]:
        """Sessions to be computed, that were never or are stale."""
        return {*self.absent, *self.stale}

    def within(self, start: date | None, end: date | None) -> Standing:
        """The sessions from `start` to `end` alone."""
        first, last = start or date.min, end or date.max
        hashes, stale, gone = (
            {day: text for day, text in texts.items() if first <= day <= last}
            for texts in (self.hashes, self.stale, self.gone)
        )
        return Standing(hashes, tuple(day for day in self.absent if first <= day <= last), stale, gone, self.made)


def read_standing(
    connection: duckdb.DuckDBPyConnection, start: date | None = None, end: date | None = None
) -> Standing:
    """How the sessions from `start` to `end` stand; by default all."""
    return standing_of(connection, read_inputs(connection, start, end)).within(start, end)


def standing_of(connection: duckdb.DuckDBPyConnection, inputs: Inputs | None) -> Standing:
    """How the sessions stand that `inputs` holds in full, and all that have no input at all."""
    hashes = {} if inputs is None else fingerprints(inputs)
    store, held, partitions = store_identity(connection), read_row_counts(connection), read_partitions(connection)
    foreign = {day: (rows, symbol) for day, rows, symbol in read_foreign(connection)}
    stale = {
        day: why
        for day in sorted(hashes.keys() & (partitions.keys() | held.keys()))
        if (why := _why_stale(partitions.get(day), hashes[day], store, held.get(day, 0), foreign.get(day)))
    }
    absent = tuple(day for day in hashes if day not in partitions and day not in held)
    gone = {day: "a record of a session of which the store expects no bar" for day in partitions if day not in hashes}
    gone |= {
        day: f"{rows} {_rows(rows)}, as of {symbol}, of a session of which the store expects no bar"
        for day, (rows, symbol) in foreign.items()
        if day not in hashes
    }
    return Standing(hashes, absent, stale, dict(sorted(gone.items())), len(partitions))


def _why_stale(  # noqa: PLR0911 - one reason a line
    told: StoredPartition | None, expected: str, store: str, held: int, foreign: tuple[int, str] | None
) -> str | None:
    """Why a session is to be computed anew; None where it is up to date."""
    if told is None:
        return f"{held} {_rows(held)} without a record of what they were made from"
    if told.store != store:
        return f"made from another database, the {told.store}"
    if told.schema_version != SCHEMA_VERSION:
        return f"made by schema version {told.schema_version}, which is {SCHEMA_VERSION} now"
    if told.formula_version != FORMULA_VERSION:
        return f"made by version {told.formula_version} of the formulas, which is {FORMULA_VERSION} now"
    if foreign:
        return f"{foreign[0]} {_rows(foreign[0])} of no expected session, as of {foreign[1]}"
    if told.inputs_hash != expected:
        return "bars, verdicts or actions that it was made from have changed"
    if held != told.rows:
        return f"holds {held} {_rows(held)} and was made with {told.rows}"
    return None


def _rows(count: int) -> str:
    return "row" if count == 1 else "rows"
