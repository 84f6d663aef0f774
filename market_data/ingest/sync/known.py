"""Which instruments the store knows: what a sync compares the universe and the splits with, to see what changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import duckdb

from market_data.instruments import Instrument, Universe
from market_data.providers.base import sha256_hex
from market_data.warehouse.current import known_instruments, note_instruments, splits_of
from market_data.warehouse.store import transaction

__all__ = ["ChangedInstruments", "changed_instruments", "note_known"]


@dataclass(frozen=True, slots=True)
class ChangedInstruments:
    """What is not as the last sync saw it.

    Attributes:
        added: not known so far; they are filled as any gap is.
        renamed: listing, names or tickers differ.
        split: the splits and spin-offs known differ.
        dropped: gone from the universe; nothing more is asked for, nothing is deleted.
    """

    added: frozenset[str]
    renamed: frozenset[str]
    split: frozenset[str]
    dropped: frozenset[str]

    @property
    def is_nothing(self) -> bool:
        """Whether all is as it was."""
        return not (self.added or self.renamed or self.split or self.dropped)


def changed_instruments(connection: duckdb.DuckDBPyConnection, universe: Universe) -> ChangedInstruments:
    """The universe, and the splits known, compared with what the last sync saw."""
    known, marks = known_instruments(connection), _marks(connection, universe)
    seen = {symbol: known[symbol][0].split(":") for symbol in marks if symbol in known}
    now = {symbol: mark.split(":") for symbol, mark in marks.items()}
    back = {symbol for symbol in seen if known[symbol][1] is not None}
    return ChangedInstruments(
        added=frozenset(symbol for symbol in marks if symbol not in known) | frozenset(back),
        renamed=frozenset(symbol for symbol, mark in seen.items() if mark[0] != now[symbol][0]),
        split=frozenset(symbol for symbol, mark in seen.items() if mark[1] != now[symbol][1]),
        dropped=frozenset(symbol for symbol, (_, gone) in known.items() if symbol not in universe and gone is None),
    )


def note_known(connection: duckdb.DuckDBPyConnection, universe: Universe, *, now: datetime) -> None:
    """Note instruments and splits as they are."""
    marks = _marks(connection, universe)
    gone = [symbol for symbol in known_instruments(connection) if symbol not in universe]
    with transaction(connection):
        note_instruments(connection, marks, dropped=gone, now=now)


def _marks(connection: duckdb.DuckDBPyConnection, universe: Universe) -> dict[str, str]:
    splits = splits_of(connection)
    return {
        symbol: f"{_identity(instrument)}:{sha256_hex(splits.get(symbol, '').encode())[:16]}"
        for symbol, instrument in universe.items()
    }


def _identity(instrument: Instrument) -> str:
    """What the expected sessions and the tickers asked for follow from."""
    told = (
        instrument.symbol,
        instrument.listed_from,
        instrument.listed_by,
        instrument.delisted_on,
        instrument.previous_symbols,
        tuple(sorted(instrument.tickers.items())),
    )
    return sha256_hex(repr(told).encode())[:16]
