"""`load`: prices for research out of the canonical database, every series in one basis, as known at any instant.

The conversions themselves are the table macros of `warehouse/views.sql`, which any DuckDB client can use as well. Here
is what surrounds them: which store, which symbols, what was known when, the shape of the result, and the refusal of
whatever would mix bases. Nothing is filled in: a session without a bar is NaN.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal, overload

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from market_data.errors import SettingsError, WarehouseError
from market_data.instruments import load_universe
from market_data.records import Basis
from market_data.settings import Settings, load_settings
from market_data.warehouse.connection import Database
from market_data.warehouse.prices import (
    BasisError,
    BasisName,
    Knowledge,
    PriceQuery,
    read_rows,
    read_sessions,
    read_untold,
)

__all__ = ["LONG_FIELDS", "WIDE_FIELDS", "BasisError", "BasisName", "Layout", "Read", "load", "open_store"]

Layout = Literal["wide", "long", "arrow"]

WIDE_FIELDS = ("open", "high", "low", "close", "volume", "vwap", "trade_count")
"""Fields of any layout: dollars a share, shares, and a number of trades."""

LONG_FIELDS = (*WIDE_FIELDS, "source_provider", "raw_hash", "known_at")
"""Fields of the long and arrow layouts: also where a bar comes from and since when it is known (UTC)."""

_BASES: dict[str, BasisName] = {
    "raw": "raw",
    "split": "split",
    "total_return": "total_return",
    Basis.SPLIT_DIVIDEND: "total_return",
}


@dataclass(frozen=True, slots=True)
class Read:
    """What a result was read from; the `attrs` of a pandas result, the metadata `market_data` (JSON) of an Arrow one.

    Attributes:
        as_of: ISO instant (UTC) of knowledge; None for everything known when it was read.
        until: ISO date of the last ex-date that counts.
        synthetic: whether the store holds made-up prices.
        missing: symbols asked for without a bar in the span.
        untold: symbols of which no provider has told all actions that the basis needs, so that one may lack.
    """

    basis: BasisName
    as_of: str | None
    until: str
    database: str
    synthetic: bool
    missing: list[str]
    untold: list[str]


@overload
def load(
    symbols: Sequence[str] | str,
    start: date | str,
    end: date | str,
    basis: BasisName | Basis = ...,
    as_of: date | datetime | None = ...,
    fields: Sequence[str] | str = ...,
    *,
    layout: Literal["wide", "long"] = ...,
    allow_untold: bool = ...,
    database: Path | str | None = ...,
    settings: Settings | None = ...,
) -> pd.DataFrame: ...
@overload
def load(
    symbols: Sequence[str] | str,
    start: date | str,
    end: date | str,
    basis: BasisName | Basis = ...,
    as_of: date | datetime | None = ...,
    fields: Sequence[str] | str = ...,
    *,
    layout: Literal["arrow"],
    allow_untold: bool = ...,
    database: Path | str | None = ...,
    settings: Settings | None = ...,
) -> pa.Table: ...
def load(  # noqa: PLR0917 - all of what is asked for may be given in order
    symbols: Sequence[str] | str,
    start: date | str,
    end: date | str,
    basis: BasisName | Basis = "total_return",
    as_of: date | datetime | None = None,
    fields: Sequence[str] | str = ("close",),
    *,
    layout: Layout = "wide",
    allow_untold: bool = False,
    database: Path | str | None = None,
    settings: Settings | None = None,
) -> pd.DataFrame | pa.Table:
    """Daily prices of `symbols` from `start` to `end`, both inclusive, in one basis.

    Args:
        symbols: canonical symbols, or "all" of the universe; duplicates are dropped.
        start, end: dates, or ISO text.
        basis: "raw" (as traded), "split" (raw / S; volume * S of splits alone), or "total_return" (raw / S * T; volume
            as for "split"), S and T being the products of the factors of the actions after the session up to `as_of`.
        as_of: bars and actions as they were known at the end of this date (UTC) or at this zoned instant, with
            ex-dates up to then; None for everything known, with ex-dates up to today (UTC).
        fields: of `WIDE_FIELDS`, for the long and arrow layouts of `LONG_FIELDS`.
        layout: "wide": a row for each XNYS session of the span (index `date`, datetime64[s]), a float column for each
            symbol in the order asked, or (field, symbol) for several fields; NaN where there is no bar.
            "long": a row for each bar, by symbol in the order asked and date: symbol, date, the fields, basis.
            "arrow": the long form as a `pyarrow.Table`.
        allow_untold: serve series too of which an action between two of their sessions may lack, since no provider
            told all of them; these are then named in `untold`. A total return without its dividends is none.
        database: a DuckDB file; by default the one of `settings`, which is the real store.
        settings: by default those of the environment.

    Returns:
        The prices; `attrs` (Arrow: the schema's metadata `market_data`, JSON) tell what they were read from: `Read`.
        A known symbol without a bar in the span is a column of NaN (no rows in the other layouts), named in `missing`.

    Raises:
        BasisError: bars of a symbol cannot be had in the basis, would mix bases, or may lack an action.
        SymbolError: a symbol is unknown or an old name.
        SettingsError: another argument is not allowed.
        WarehouseError: no store, or one that cannot be used; `WarehouseLocked` when a writer held it for too long.

    Examples:
        >>> import market_data
        >>> closes = market_data.load(["AAPL", "MSFT"], "2021-01-19", "2026-01-16")
        >>> closes.pct_change(fill_method=None)
        >>> traded = market_data.load("all", "2024-01-02", "2024-12-31", "raw", fields=("close", "volume"))
        >>> traded["volume"]["AAPL"]
        >>> market_data.load(["AAPL"], "2024-01-02", "2024-06-28", as_of=date(2024, 6, 28), layout="long")
    """
    settings = settings or load_settings()
    _require_known(basis, fields, layout)
    query = PriceQuery(
        symbols=load_universe(settings.universe).select(symbols if isinstance(symbols, str) else ",".join(symbols)),
        start=_day("start", start),
        end=_day("end", end),
        basis=_BASES[basis],
        fields=_names(fields),
        knowledge=Knowledge.at(as_of),
        allow_untold=allow_untold,
    )
    if query.start > query.end:
        raise SettingsError(f"start {query.start} is after end {query.end}; start must not be later")
    with open_store(settings, database) as (connection, store):
        rows = read_rows(connection, query, in_order=layout != "wide")
        read = _read(connection, query, rows, store.path)
        sessions = read_sessions(connection, query) if layout == "wide" else None
    if sessions is not None:
        return _wide(rows, query, sessions, read)
    table = _long(rows, query, read)
    return table if layout == "arrow" else _frame(table, read)


@contextmanager
def open_store(
    settings: Settings, database: Path | str | None = None
) -> Iterator[tuple[duckdb.DuckDBPyConnection, Database]]:
    """A brief read-only connection to `database`, or else to the real store.

    Raises:
        WarehouseError: there is none, though perhaps a synthetic one, or its schema is not of this version.
    """
    path = _real_store(settings) if database is None else Path(database)
    store = Database(path, patience=settings.lock_patience)
    with store.reading() as connection:
        try:
            yield connection, store
        except duckdb.CatalogException as error:
            raise WarehouseError(
                f"{path}: lacks tables or macros of this version of market_data; `market-data backfill` brings an "
                f"older store forward: {str(error).splitlines()[0]}"
            ) from None


def _real_store(settings: Settings) -> Path:
    real, synthetic = (settings.database_for(synthetic=kind) for kind in (False, True))
    if real != synthetic and not Database(real).exists() and Database(synthetic).exists():
        raise WarehouseError(
            f"{real}: no real store yet; there is a synthetic one: to read it, give database={str(synthetic)!r} or "
            f"MARKET_DATA_DATABASE={synthetic}"
        )
    return real


def _require_known(basis: str, fields: Sequence[str] | str, layout: str) -> None:
    if layout not in ("wide", "long", "arrow"):
        raise SettingsError(f"layout {layout!r} is not known; give wide, long or arrow")
    if basis not in _BASES:
        raise SettingsError(f"basis {str(basis)!r} is not known; give raw, split or total_return")
    allowed = WIDE_FIELDS if layout == "wide" else LONG_FIELDS
    unknown = [repr(name) for name in _names(fields) if name not in allowed]
    if unknown or not _names(fields):
        wrong = f"not fields of the {layout} layout: {', '.join(unknown)}" if unknown else "no field is asked for"
        raise SettingsError(f"{wrong}; there are {', '.join(allowed)}")


def _names(fields: Sequence[str] | str) -> tuple[str, ...]:
    return tuple(dict.fromkeys([fields] if isinstance(fields, str) else fields))


def _day(name: str, value: date | str) -> date:
    try:
        day = date.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        raise SettingsError(f"{name} {value!r} is not a date as in 2021-01-19") from None
    return day.date() if isinstance(day, datetime) else day


def _read(connection: duckdb.DuckDBPyConnection, query: PriceQuery, rows: pa.Table, path: Path) -> Read:
    present = set(pc.unique(rows["position"]).to_pylist())
    row = connection.execute("SELECT synthetic FROM store_kind").fetchone()
    instant = query.knowledge.instant
    return Read(
        basis=query.basis,
        as_of=None if instant is None else f"{instant.isoformat()}+00:00",
        until=query.knowledge.until.isoformat(),
        database=str(path),
        synthetic=bool(row and row[0]),
        missing=[symbol for position, symbol in enumerate(query.symbols) if position not in present],
        untold=read_untold(connection, query),
    )


def _wide(rows: pa.Table, query: PriceQuery, sessions: npt.NDArray[np.datetime64], read: Read) -> pd.DataFrame:
    places = _places(rows["date"], sessions)
    if (places < 0).any():
        day = rows["date"][int(np.argmin(places))]
        raise WarehouseError(f"{read.database}: holds a bar on {day}, which is no session; restore a backup")
    positions = _numbers(rows["position"]).astype(np.intp)
    values = np.full((len(query.fields), len(query.symbols), len(sessions)), np.nan)
    for number, name in enumerate(query.fields):
        values[number, positions, places] = _numbers(rows[name])
    symbols = pd.Index(query.symbols, name="symbol")
    is_one = len(query.fields) == 1
    frame = pd.DataFrame(
        values.reshape(len(query.fields) * len(query.symbols), len(sessions)).T,
        index=pd.DatetimeIndex(sessions, name="date"),
        columns=symbols if is_one else pd.MultiIndex.from_product([query.fields, symbols], names=["field", "symbol"]),
        copy=False,
    )
    frame.attrs.update(asdict(read))
    return frame


def _places(dates: pa.ChunkedArray, sessions: npt.NDArray[np.datetime64]) -> npt.NDArray[np.intp]:
    """Row of each date among the sessions, -1 for none; by a table of every day, which is faster than searching."""
    days = dates.cast(pa.int32()).to_numpy()
    known = sessions.astype("datetime64[D]").astype(np.int64)
    if not len(known) or not len(days):
        return np.full(len(days), -1, dtype=np.intp)
    first = min(known[0], days.min())
    rows = np.full(max(known[-1], days.max()) - first + 1, -1, dtype=np.intp)
    rows[known - first] = np.arange(len(known))
    return np.asarray(rows[days - first])


def _long(rows: pa.Table, query: PriceQuery, read: Read) -> pa.Table:
    symbols = pa.DictionaryArray.from_arrays(_numbers(rows["position"]).astype(np.int32), query.symbols)
    columns: dict[str, Any] = {"symbol": symbols.cast(pa.string()), "date": rows["date"]}
    columns |= {name: rows[name] for name in query.fields}
    if "known_at" in columns:
        columns["known_at"] = columns["known_at"].cast(pa.timestamp("us", tz="UTC"))
    columns["basis"] = pa.repeat(query.basis, rows.num_rows)
    return pa.table(columns).replace_schema_metadata({"market_data": json.dumps(asdict(read))})


def _frame(table: pa.Table, read: Read) -> pd.DataFrame:
    """The long form in pandas: dates as naive midnights, missing numbers as NaN."""
    place = table.column_names.index("date")
    frame: pd.DataFrame = (
        table.set_column(place, "date", table["date"].cast(pa.timestamp("s"))).replace_schema_metadata(None).to_pandas()
    )
    frame.attrs.update(asdict(read))
    return frame


def _numbers(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    return np.asarray(column.to_numpy(), dtype=np.float64)
