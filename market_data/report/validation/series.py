"""The daily closes of each instrument, as traded and as total return, in bulk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from market_data.report.validation.document import Finding, PriceSeries
from market_data.warehouse.gaps import query
from market_data.warehouse.prices import BasisError, Knowledge, PriceQuery, read_untold

__all__ = ["read_series"]


@dataclass(frozen=True, slots=True)
class _Rows:
    """Bars of one symbol after the other, by date; `ends[k]` is where those of the k-th symbol end."""

    ends: npt.NDArray[np.int64]
    sessions: npt.NDArray[np.int32]
    raw: npt.NDArray[np.float64]
    adjusted: npt.NDArray[np.float64]
    volume: npt.NDArray[np.float64]
    refused: Mapping[int, str]


def read_series(
    connection: duckdb.DuckDBPyConnection,
    symbols: Sequence[str],
    sessions: Sequence[date],
    findings: Sequence[Finding],
    *,
    today: date,
) -> tuple[PriceSeries, ...]:
    """One series for each of `symbols`, in their order; bars of other dates than `sessions` are left out.

    Raw closes are those that stand as traded: NaN where the vendor's adjustment could not be undone. Total return is
    the one of `market_data.load`, with actions up to `today`; where that refuses a symbol, so does this, in words.
    """
    if not symbols or not sessions:
        return tuple(_empty(symbol) for symbol in symbols)
    rows = _bars(connection, symbols, sessions, today)
    untold = _untold(connection, symbols, sessions[0], sessions[-1], today)
    by_symbol: dict[str, list[Finding]] = {}
    for finding in findings:
        by_symbol.setdefault(finding.symbol, []).append(finding)
    series, begin = [], 0
    for place, symbol in enumerate(symbols):
        end = int(rows.ends[place])
        part = slice(begin, end)
        refusal = rows.refused.get(place) or untold.get(symbol)
        adjusted = rows.adjusted[part] if refusal is None else np.full(end - begin, np.nan)
        found = tuple(by_symbol.get(symbol, ()))
        series.append(
            PriceSeries(symbol, rows.sessions[part], rows.raw[part], adjusted, rows.volume[part], refusal, found)
        )
        begin = end
    return tuple(series)


def _bars(
    connection: duckdb.DuckDBPyConnection, symbols: Sequence[str], sessions: Sequence[date], today: date
) -> _Rows:
    scope = pa.table({"symbol": pa.array(list(symbols)), "position": pa.array(range(len(symbols)), pa.int32())})
    places = pa.array(range(len(sessions)), pa.int32())
    days = pa.table({"date": pa.array(list(sessions), pa.date32()), "place": places})
    table = query(connection, _BARS, {"until": today}, scope=scope, days=days)
    positions = table["position"].to_numpy()
    return _Rows(
        ends=np.searchsorted(positions, np.arange(len(symbols)), side="right"),
        sessions=np.asarray(table["place"].to_numpy(), dtype=np.int32),
        raw=_floats(table["raw"]),
        adjusted=_floats(table["adjusted"]),
        volume=_floats(table["volume"]),
        refused=_refused(table),
    )


_BARS = """
SELECT s.position, d.place, CASE b.basis WHEN 'raw' THEN b.close END AS raw, t.close AS adjusted,
    CASE b.basis WHEN 'raw' THEN b.volume END AS volume, t.refusal
FROM price_history_daily AS b
JOIN scope AS s USING (symbol)
JOIN days AS d USING (date)
JOIN total_return(TIMESTAMP 'infinity', $until) AS t ON t.symbol = b.symbol AND t.date = b.date
ORDER BY s.position, d.place
"""


def _refused(table: pa.Table) -> dict[int, str]:
    """By position of the symbol, the first reason why one of its bars has no total return."""
    refused = table.filter(table["refusal"].is_valid())
    found: dict[int, str] = {}
    for position, reason in zip(refused["position"].to_pylist(), refused["refusal"].to_pylist(), strict=True):
        found.setdefault(position, reason)
    return found


def _untold(
    connection: duckdb.DuckDBPyConnection, symbols: Sequence[str], start: date, end: date, today: date
) -> dict[str, str]:
    """By symbol, why an action that total return needs may not be known, or why its bars cannot be made one series."""
    rows = connection.execute("SELECT symbol FROM mixed_basis").fetchall()
    mixed = {row[0] for row in rows}
    plain = [symbol for symbol in symbols if symbol not in mixed]
    knowledge = Knowledge(None, today)
    found = {}
    if plain:
        asked = PriceQuery(plain, start, end, "total_return", ("close",), knowledge, allow_untold=True)
        found = dict.fromkeys(read_untold(connection, asked), _UNTOLD)
    for symbol in (symbol for symbol in symbols if symbol in mixed):
        try:
            read_untold(connection, PriceQuery([symbol], start, end, "total_return", ("close",), knowledge))
        except BasisError as error:
            found[symbol] = str(error)
    return found


_UNTOLD = (
    "not every split and dividend since its first session was told by a provider; `market-data actions fetch` asks "
    "for them"
)


def _empty(symbol: str) -> PriceSeries:
    none = np.empty(0)
    return PriceSeries(symbol, np.empty(0, np.int32), none, none, none, None, ())


def _floats(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    return np.asarray(column.to_numpy(), dtype=np.float64)
