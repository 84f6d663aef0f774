"""`load_features`: stored features for research, refused where they are not of the prices as they stand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from market_data.errors import SettingsError, WarehouseError
from market_data.features.catalogue import BY_NAME, FEATURES
from market_data.features.lineage import Standing, read_standing
from market_data.instruments import load_universe
from market_data.reading import Layout, open_store
from market_data.settings import Settings, load_settings
from market_data.warehouse.features import read_features, read_sessions

__all__ = ["FeaturesRead", "StaleFeatures", "load_features"]

_NAMED = 5


class StaleFeatures(WarehouseError):
    """Features asked for were never made, or from something else than what the store holds now."""


@dataclass(frozen=True, slots=True)
class FeaturesRead:
    """What a result was read from; the `attrs` of a pandas result, the metadata `market_data` (JSON) of an Arrow one.

    Attributes:
        synthetic: whether the store holds made-up prices.
        missing: symbols asked for without a row in the span.
        stale: ISO dates of sessions whose features are absent or not up to date; only with `allow_stale`.
    """

    database: str
    synthetic: bool
    missing: list[str]
    stale: list[str]


@overload
def load_features(
    symbols: Sequence[str] | str,
    start: date | str,
    end: date | str,
    names: Sequence[str] | str | None = ...,
    *,
    layout: Literal["wide", "long"] = ...,
    allow_stale: bool = ...,
    database: Path | str | None = ...,
    settings: Settings | None = ...,
) -> pd.DataFrame: ...
@overload
def load_features(
    symbols: Sequence[str] | str,
    start: date | str,
    end: date | str,
    names: Sequence[str] | str | None = ...,
    *,
    layout: Literal["arrow"],
    allow_stale: bool = ...,
    database: Path | str | None = ...,
    settings: Settings | None = ...,
) -> pa.Table: ...
def load_features(
    symbols: Sequence[str] | str,
    start: date | str,
    end: date | str,
    names: Sequence[str] | str | None = None,
    *,
    layout: Layout = "long",
    allow_stale: bool = False,
    database: Path | str | None = None,
    settings: Settings | None = None,
) -> pd.DataFrame | pa.Table:
    """Stored features of `symbols` from `start` to `end`, both inclusive.

    Args:
        symbols: canonical symbols, or "all" of the universe; duplicates are dropped.
        start, end: dates, or ISO text.
        names: features of the catalogue; by default all.
        layout: "long": a row for each (symbol, session) that was expected, by symbol in the order asked and date:
            symbol, date, the features, and `reason`, which tells why some are null.
            "wide": a row for each XNYS session of the span (index `date`, datetime64[s]), a column for each symbol, or
            (feature, symbol) for several features; NaN where there is none.
            "arrow": the long form as a `pyarrow.Table`.
        allow_stale: serve features too that no longer are of the prices as they stand, and leave out those never
            made; these sessions are then named in `stale`.
        database: a DuckDB file; by default the one of `settings`, which is the real store.
        settings: by default those of the environment.

    Returns:
        The features; `attrs` (Arrow: the schema's metadata `market_data`, JSON) tell what they were read from:
        `FeaturesRead`.

    Raises:
        StaleFeatures: sessions of the span were never made, or are not up to date.
        SymbolError: a symbol is unknown or an old name.
        SettingsError: another argument is not allowed.
        WarehouseError: no store, or one that cannot be used.

    Examples:
        >>> import market_data
        >>> market_data.load_features(["AAPL", "MSFT"], "2025-01-02", "2025-12-31", ["rsi_14", "beta_252"])
        >>> market_data.load_features("all", "2025-12-31", "2025-12-31", "momentum_12_1_rank", layout="wide")
    """
    settings = settings or load_settings()
    chosen = _names(names)
    first, last = _day("start", start), _day("end", end)
    if layout not in ("wide", "long", "arrow"):
        raise SettingsError(f"layout {layout!r} is not known; give wide, long or arrow")
    if first > last:
        raise SettingsError(f"start {first} is after end {last}; start must not be later")
    asked = load_universe(settings.universe).select(symbols if isinstance(symbols, str) else ",".join(symbols))
    with open_store(settings, database) as (connection, store):
        standing = read_standing(connection, first, last)
        if not allow_stale:
            _require_fresh(standing)
        rows = read_features(connection, asked, first, last, chosen)
        sessions = read_sessions(connection, first, last)["session"].to_numpy() if layout == "wide" else None
        kinds = connection.execute("SELECT synthetic FROM store_kind").fetchall()
    present = set(pc.unique(rows["position"]).to_pylist())
    read = FeaturesRead(
        database=str(store.path),
        synthetic=bool(kinds and kinds[0][0]),
        missing=[symbol for position, symbol in enumerate(asked) if position not in present],
        stale=[day.isoformat() for day in sorted(standing.outdated | standing.gone.keys())],
    )
    if sessions is not None:
        return _wide(rows, asked, chosen, sessions, read)
    table = _long(rows, asked, read)
    return table if layout == "arrow" else _frame(table, read)


def _names(names: Sequence[str] | str | None) -> list[str]:
    if names is None:
        return [feature.name for feature in FEATURES]
    chosen = list(dict.fromkeys([names] if isinstance(names, str) else names))
    unknown = [repr(name) for name in chosen if name not in BY_NAME]
    if unknown or not chosen:
        wrong = f"not features: {', '.join(unknown)}" if unknown else "no feature is asked for"
        raise SettingsError(f"{wrong}; `market-data features list` tells them all")
    return chosen


def _day(name: str, value: date | str) -> date:
    try:
        return date.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        raise SettingsError(f"{name} {value!r} is not a date as in 2021-01-19") from None


def _require_fresh(standing: Standing) -> None:
    told = [f"{day}: {why}" for day, why in (standing.stale | standing.gone).items()]
    told += [f"{day}: never made" for day in standing.absent]
    if told:
        more = f"; and {len(told) - _NAMED} more" if len(told) > _NAMED else ""
        raise StaleFeatures(
            f"features are not up to date for {len(told)} of the sessions: {'; '.join(sorted(told)[:_NAMED])}{more}. "
            "Run `market-data features update`, or give allow_stale=True"
        )


def _wide(
    rows: pa.Table, symbols: list[str], names: list[str], sessions: np.ndarray[Any, Any], read: FeaturesRead
) -> pd.DataFrame:
    values = np.full((len(names), len(symbols), len(sessions)), np.nan)
    days = sessions.astype("datetime64[D]")
    places = np.searchsorted(days, rows["date"].to_numpy().astype("datetime64[D]"))
    positions = rows["position"].to_numpy().astype(np.intp)
    for number, name in enumerate(names):
        values[number, positions, places] = rows[name].to_numpy()
    columns = pd.Index(symbols, name="symbol")
    frame = pd.DataFrame(
        values.reshape(len(names) * len(symbols), len(days)).T,
        index=pd.DatetimeIndex(days.astype("datetime64[s]"), name="date"),
        columns=columns
        if len(names) == 1
        else pd.MultiIndex.from_product([names, symbols], names=["feature", "symbol"]),
        copy=False,
    )
    frame.attrs.update(asdict(read))
    return frame


def _long(rows: pa.Table, symbols: list[str], read: FeaturesRead) -> pa.Table:
    positions = pa.array(rows["position"].to_numpy().astype(np.int32))
    names = pa.DictionaryArray.from_arrays(positions, pa.array(symbols, pa.string())).cast(pa.string())
    table = rows.drop_columns("position").add_column(0, "symbol", names)
    return table.replace_schema_metadata({"market_data": json.dumps(asdict(read))})


def _frame(table: pa.Table, read: FeaturesRead) -> pd.DataFrame:
    place = table.column_names.index("date")
    plain = table.set_column(place, "date", table["date"].cast(pa.timestamp("s"))).replace_schema_metadata(None)
    frame: pd.DataFrame = plain.to_pandas()
    frame.attrs.update(asdict(read))
    return frame
