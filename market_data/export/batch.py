"""Reading the prices of some symbols, with those that cannot be had set apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from market_data.export.manifest import FORMAT, Pinned
from market_data.export.request import Plan
from market_data.reading import BasisError, BasisName, load, open_store
from market_data.settings import Settings
from market_data.warehouse.actions import read_actions
from market_data.warehouse.batch import naive_utc

__all__ = ["Batch", "Reader", "by_symbol"]

_DIGESTS = """
SELECT symbol, CAST(sum(digest) AS VARCHAR), count(*) FROM (
    SELECT symbol, hash(
        date, open, high, low, close, volume, vwap, trade_count, basis, adjusted_as_of, source_provider, raw_hash,
        known_at
    ) AS digest
    FROM bars_as_of(CAST($known AS TIMESTAMP)) WHERE symbol IN (SELECT unnest($symbols))
    UNION ALL
    SELECT symbol, hash(date, kind, value) FROM actions_as_of(CAST($known AS TIMESTAMP))
    WHERE date <= $until AND symbol IN (SELECT unnest($symbols))
    UNION ALL
    SELECT symbol, hash(kind, first_date, last_date) FROM actions_told
    WHERE pulled_at <= $known AND (symbol = '*' OR symbol IN (SELECT unnest($symbols)))
)
GROUP BY symbol ORDER BY symbol
"""


@dataclass(frozen=True, slots=True)
class Batch:
    """What was read of some symbols.

    Attributes:
        symbols: those that can be had, ascending.
        prices: the arrow layout of `market_data.load`, by symbol and date, in the basis of the plan; empty, without
            columns, where every symbol is refused.
        beside: the same bars as the format has them read beside.
        actions: by symbol, as `read_actions` gives them, where the format needs them.
        sessions: of the span, datetime64[D], ascending, where the format needs them.
        missing, untold: as in `reading.Read`.
        refused: why a symbol cannot be had, by symbol.
    """

    plan: Plan
    pinned: Pinned
    symbols: tuple[str, ...]
    prices: pa.Table
    beside: tuple[pa.Table, ...]
    actions: dict[str, pd.DataFrame] | None
    sessions: npt.NDArray[np.datetime64] | None
    missing: tuple[str, ...]
    untold: tuple[str, ...]
    refused: dict[str, str]


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads a store for one export; opens it briefly each time.

    Attributes:
        database: the store's file.
        others: what is read beside the plan's own, as for `ExportFormat`.
        with_actions: whether actions and sessions are needed.
    """

    settings: Settings
    database: Path
    plan: Plan
    pinned: Pinned
    others: tuple[tuple[BasisName, tuple[str, ...]], ...] = ()
    with_actions: bool = False

    def inputs(self, symbols: Sequence[str]) -> str:
        """A digest of all that the files of some symbols follow from, which costs less than to read them.

        DuckDB's `hash` differs between its versions; then what is there already is written anew.
        """
        known = naive_utc(self.pinned.as_of)
        values = {"known": known, "until": known.date(), "symbols": list(symbols)}
        with open_store(self.settings, self.database) as (connection, _):
            rows = connection.execute(_DIGESTS, values).fetchall()
        told = [FORMAT, duckdb.__version__, pa.__version__, self.plan.identity(), self.pinned.as_dict(), rows]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    def read(self, symbols: Sequence[str]) -> Batch:
        """The symbols' prices, with those that are refused left out and named.

        Raises:
            WarehouseError: the store cannot be read.
        """
        refused: dict[str, str] = {}
        found = self._found(list(symbols), refused)
        tables = [pa.concat_tables(tables) for tables in zip(*found, strict=True)]
        reads = [json.loads(table.schema.metadata[b"market_data"]) for group in found for table in group]
        untold = {name for read in reads for name in read["untold"]}
        missing = {name for read in reads for name in read["missing"]}
        actions, sessions = self._actions_and_sessions(symbols) if self.with_actions else (None, None)
        return Batch(
            plan=self.plan,
            pinned=self.pinned,
            symbols=tuple(name for name in symbols if name not in refused),
            prices=tables[0] if tables else pa.table({}),
            beside=tuple(tables[1:]),
            actions=actions,
            sessions=sessions,
            missing=tuple(name for name in symbols if name in missing),
            untold=tuple(name for name in symbols if name in untold),
            refused=refused,
        )

    def _found(self, symbols: list[str], refused: dict[str, str]) -> list[tuple[pa.Table, ...]]:
        """A table for each basis; halves of the symbols by themselves where one of them is refused."""
        try:
            own = self._load(symbols, self.plan.basis, self.plan.fields)
            return [(own, *(self._load(symbols, basis, fields) for basis, fields in self.others))]
        except BasisError as error:
            if len(symbols) == 1:
                refused[symbols[0]] = str(error)
                return []
        middle = len(symbols) // 2
        return self._found(symbols[:middle], refused) + self._found(symbols[middle:], refused)

    def _load(self, symbols: list[str], basis: BasisName, fields: Sequence[str]) -> pa.Table:
        return load(
            symbols,
            self.pinned.start,
            self.pinned.end,
            basis,
            self.pinned.as_of,
            fields,
            layout="arrow",
            allow_untold=self.plan.allow_untold,
            database=self.database,
            settings=self.settings,
        )

    def _actions_and_sessions(self, symbols: Sequence[str]) -> tuple[dict[str, pd.DataFrame], Any]:
        # The store's own list: building the calendar anew takes seconds.
        with open_store(self.settings, self.database) as (connection, _):
            actions = read_actions(connection, symbols, at=self.pinned.as_of)
            sessions = connection.execute(
                "SELECT session FROM sessions WHERE session BETWEEN ? AND ? ORDER BY session",
                [self.pinned.start, self.pinned.end],
            ).fetchnumpy()["session"]
        return actions, np.asarray(sessions, dtype="datetime64[D]")


def by_symbol(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Each symbol's rows of a table that is in order of its symbols."""
    codes = np.asarray(table["symbol"].combine_chunks().dictionary_encode().indices)
    edges = [0, *(np.flatnonzero(np.diff(codes)) + 1), len(codes)]
    for start, stop in pairwise(edges):
        if stop > start:
            rows = table.slice(start, stop - start)
            yield rows["symbol"][0].as_py(), rows
