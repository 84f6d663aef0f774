"""Upserting intraday bars: many symbols in one statement, with what they replace kept.

A bar's key is its symbol and the instant its interval starts. Every identifier in the statements is a constant of this
module; every value is bound or comes in as an Arrow table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from market_data.errors import WarehouseError
from market_data.warehouse.batch import RowCounts

__all__ = ["INTERVALS", "MINUTE_COLUMNS", "IntradayWrite", "refusals", "write_minutes"]

INTERVALS: Mapping[str, int] = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60}
"""Lengths of stored intervals, in minutes."""

_PRICES = ("open", "high", "low", "close")
_FIELDS = (*_PRICES, "volume", "vwap", "trade_count")
MINUTE_COLUMNS = (
    "symbol",
    "datetime",
    "session_date",
    "interval",
    *_FIELDS,
    "provisional",
    "basis",
    "adjusted_as_of",
    "source_provider",
    "raw_hash",
    "pulled_at",
)
"""Columns of `price_history_intraday`; `intraday_revisions` has them too."""


@dataclass(frozen=True, slots=True)
class IntradayWrite:
    """Bars of one payload, or of many.

    Attributes:
        bars: a frame with the columns symbol, datetime (start of the interval, UTC, aware, `us`), open, high, low,
            close, volume, vwap, trade_count, session_date (`datetime64[s]`), provisional (bool), basis (text),
            adjusted_as_of (naive UTC, `us`, or NaT), source_provider, raw_hash, pulled_at (naive UTC, `us`). Any order;
            of bars with the same key the final one counts, and the newest of these.
        interval: of all the bars, one of `INTERVALS`.
    """

    bars: pd.DataFrame
    interval: str


def refusals(bars: pd.DataFrame) -> npt.NDArray[np.object_]:
    """Why each bar cannot be stored, shape (bars,); empty text for one that can.

    A bar needs its four prices, above zero, and a volume of zero or more.
    """
    reasons = np.full(len(bars), "", dtype=object)
    for name in (*_PRICES, "volume"):
        values = bars[name].to_numpy(dtype=float)
        with np.errstate(invalid="ignore"):
            wrong = (values < 0) if name == "volume" else (values <= 0)
        for mask, text in ((wrong, f"{name} cannot be"), (~np.isfinite(values), f"{name} is null")):
            reasons[mask & (reasons == "")] = text
    return reasons


def write_minutes(connection: duckdb.DuckDBPyConnection, write: IntradayWrite) -> RowCounts:
    """Upsert intraday bars of any number of symbols and sessions; call it inside `transaction`.

    An identical bar changes nothing, except that a provisional one becomes final. A newer answer replaces an older
    one's bar, never the other way round; a provisional bar never replaces a final one, nor an adjusted one a raw one. A
    final bar that is replaced goes to `intraday_revisions`. Bars of a shorter interval take the place of
    all longer ones of their symbol's session, which go there as well; longer ones are not written where shorter ones
    are held. Bars that `refusals` names are left out.

    Returns:
        Bars inserted, updated (made final included), and left as they were.

    Raises:
        WarehouseError: an interval that is not stored.
    """
    if write.interval not in INTERVALS:
        raise WarehouseError(f"interval {write.interval!r} is not stored; known are {', '.join(INTERVALS)}")
    bars = write.bars[refusals(write.bars) == ""]
    if not len(bars):
        return RowCounts()
    span = [bars["session_date"].min().to_pydatetime().date(), bars["session_date"].max().to_pydatetime().date()]
    connection.register("incoming_minutes", _table(bars, write.interval))
    try:
        incoming = _one(connection, _TAKE_IN, span)
        _make_way(connection, span)
        updated = _one(connection, _COUNT_CHANGED, span)
        connection.execute(_KEEP_CHANGED, span)
        written = _one(connection, _MERGE, span)
        connection.execute("DROP TABLE taken_minutes")
    finally:
        connection.unregister("incoming_minutes")
    dropped = len(bars) - incoming
    return RowCounts(inserted=written - updated, updated=updated, unchanged=incoming - written + dropped)


_COLUMNS = ", ".join(MINUTE_COLUMNS)
_LENGTH = "CASE {}.interval " + " ".join(f"WHEN '{name}' THEN {size}" for name, size in INTERVALS.items()) + " END"
_HELD = "price_history_intraday AS held"
_IN_SPAN = "held.session_date BETWEEN ? AND ?"
# The span is said again where it follows from the join: only so are blocks of other sessions not read.
_SAME_KEY = f"held.symbol = incoming.symbol AND held.datetime = incoming.datetime AND {_IN_SPAN}"
_SAME_SESSION = "held.symbol = incoming.symbol AND held.session_date = incoming.session_date"
_COARSER = f"{_LENGTH.format('held')} > {_LENGTH.format('incoming')}"
_FINER = f"{_LENGTH.format('held')} < {_LENGTH.format('incoming')}"

_TAKE_IN = (
    f"CREATE OR REPLACE TEMP TABLE taken_minutes AS SELECT {_COLUMNS} FROM incoming_minutes AS incoming "
    f"WHERE NOT EXISTS (SELECT 1 FROM {_HELD} WHERE {_SAME_SESSION} AND {_IN_SPAN} AND {_FINER}) "
    "QUALIFY row_number() OVER (PARTITION BY symbol, datetime ORDER BY provisional, pulled_at DESC, raw_hash) = 1"
)
_FINER_COMES = (
    f"FROM {_HELD} JOIN (SELECT symbol, session_date, any_value(interval) AS interval, min(pulled_at) AS pulled_at, "
    "arg_min(raw_hash, pulled_at) AS raw_hash FROM taken_minutes GROUP BY symbol, session_date) AS incoming "
    f"ON {_SAME_SESSION} AND {_IN_SPAN} AND {_COARSER}"
)


def _incoming(name: str) -> str:
    """A field as it comes; one that another provider just does not have is no news."""
    if name not in ("vwap", "trade_count"):
        return f"incoming.{name}"
    known = f"coalesce(incoming.{name}, held.{name})"
    return f"CASE WHEN held.source_provider = incoming.source_provider THEN incoming.{name} ELSE {known} END"


_DIFFERS = "({}) IS DISTINCT FROM ({})".format(
    ", ".join(f"held.{name}" for name in (*_FIELDS, "basis")),
    ", ".join(_incoming(name) for name in (*_FIELDS, "basis")),
)
_CHANGED = (
    "held.pulled_at <= incoming.pulled_at AND NOT (incoming.provisional AND NOT held.provisional) "
    "AND NOT (held.basis = 'raw' AND incoming.basis <> 'raw') "
    f"AND (held.provisional <> incoming.provisional OR {_DIFFERS})"
)
_TOUCHED = f"(({_CHANGED}) OR held.interval <> incoming.interval)"
_COUNT_CHANGED = f"SELECT count(*) FROM {_HELD} JOIN taken_minutes AS incoming ON {_SAME_KEY} WHERE {_TOUCHED}"
_TO_REVISIONS = (
    f"INSERT INTO intraday_revisions ({_COLUMNS}, replaced_at, replaced_by, reason) "
    f"SELECT {', '.join(f'held.{name}' for name in MINUTE_COLUMNS)}, incoming.pulled_at, incoming.raw_hash, "
)
_KEEP_CHANGED = (
    f"{_TO_REVISIONS} 'payload' FROM {_HELD} JOIN taken_minutes AS incoming ON {_SAME_KEY} "
    f"WHERE NOT held.provisional AND held.interval = incoming.interval AND ({_CHANGED})"
)
_MERGE = (
    f"MERGE INTO {_HELD} USING taken_minutes AS incoming ON {_SAME_KEY} "
    f"WHEN MATCHED AND {_TOUCHED} THEN UPDATE SET "
    + ", ".join(f"{name} = {_incoming(name)}" for name in MINUTE_COLUMNS[2:])
    + f" WHEN NOT MATCHED THEN INSERT ({_COLUMNS}) "
    + f"VALUES ({', '.join(f'incoming.{name}' for name in MINUTE_COLUMNS)})"
)


def _make_way(connection: duckdb.DuckDBPyConnection, span: list[Any]) -> None:
    """Move longer bars out of the way of shorter ones; those with a key that comes again are overwritten later."""
    moved = _one(connection, f"{_TO_REVISIONS} 'finer' {_FINER_COMES}", span)
    if moved:
        connection.execute(
            f"DELETE FROM {_HELD} WHERE {_IN_SPAN} "
            f"AND EXISTS (SELECT 1 FROM taken_minutes AS incoming WHERE {_SAME_SESSION} AND {_COARSER}) "
            "AND NOT EXISTS (SELECT 1 FROM taken_minutes AS incoming "
            "WHERE held.symbol = incoming.symbol AND held.datetime = incoming.datetime)",
            span,
        )


def _table(bars: pd.DataFrame, interval: str) -> pa.Table:
    columns: dict[str, Any] = {
        "symbol": pa.array(bars["symbol"], pa.string()),
        "datetime": _instants(bars["datetime"].dt.tz_convert("UTC").dt.tz_localize(None)),
        "session_date": pa.array(bars["session_date"].to_numpy().astype("datetime64[D]"), pa.date32()),
        "interval": pa.repeat(pa.scalar(interval), len(bars)),
        "provisional": pa.array(bars["provisional"].to_numpy(dtype=bool)),
        "basis": pa.array(bars["basis"], pa.string()),
        "adjusted_as_of": _instants(bars["adjusted_as_of"]),
        "source_provider": pa.array(bars["source_provider"], pa.string()),
        "raw_hash": pa.array(bars["raw_hash"], pa.string()),
        "pulled_at": _instants(bars["pulled_at"]),
    }
    for name in _FIELDS:
        columns[name] = pa.array(_as_stored(name, bars[name].to_numpy(dtype=float)), from_pandas=True)
    return pa.table({name: columns[name] for name in MINUTE_COLUMNS})


def _as_stored(name: str, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """An average price or a number of trades that cannot be is none; such a bar has its prices all the same."""
    if name == "vwap":
        return np.where(values > 0, values, np.nan)
    return np.where(values >= 0, values, np.nan) if name == "trade_count" else values


def _instants(column: pd.Series) -> pa.Array:
    return pa.array(column.to_numpy().astype("datetime64[us]"), pa.timestamp("us"), from_pandas=True)


def _one(connection: duckdb.DuckDBPyConnection, query: str, values: list[Any]) -> int:
    rows = connection.execute(query, values).fetchall()
    return int(rows[0][0]) if rows else 0
