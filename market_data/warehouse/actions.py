"""Corporate actions in the canonical database: what each provider tells, the one list made of it, and its past.

Every identifier in the statements is a constant of this module; every value is bound or comes in as an Arrow table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from math import isnan
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from market_data.corporate_actions import KINDS_TOLD, Told, as_reported, resolve
from market_data.records import EVERY, StoredPayload
from market_data.schemas import empty_actions
from market_data.warehouse.batch import naive_utc

__all__ = ["read_actions", "read_told", "record_actions", "record_actions_for_all", "record_told_for_all"]

_Key = tuple[date, str]


def record_actions(
    connection: duckdb.DuckDBPyConnection,
    symbol: str,
    stored: StoredPayload,
    actions: pd.DataFrame,
    told: Sequence[Told],
    *,
    adjusted_as_of: datetime | None,
) -> bool:
    """Note what a payload tells of a symbol, and make its list of actions anew; call it inside `transaction`.

    A newer payload of the same provider wins; an action that its spans cover and that it does not tell is withdrawn.
    Where a newer payload told already, an older one changes nothing. An action that changes or goes leaves its
    predecessor in `corporate_action_revisions`.

    Args:
        actions: a `CorporateActions` frame; an import may have rows without a value, which withdraw.
        told: spans the payload tells every action of the symbol of; they are kept as the symbol's own, so an answer
            for every symbol goes to `record_actions_for_all`.
        adjusted_as_of: instant the dividends are adjusted for later splits up to; None for amounts as declared.

    Returns:
        Whether date, kind or value of an action of the symbol, or the spans told of it alone, changed.
    """
    is_new_span = _write_told(connection, symbol, stored, told)
    is_changed = _record(
        connection, symbol, stored, actions, told, adjusted_as_of=adjusted_as_of, is_new_span=is_new_span
    )
    return is_changed or is_new_span


def record_actions_for_all(
    connection: duckdb.DuckDBPyConnection,
    stored: StoredPayload,
    actions: Mapping[str, pd.DataFrame],
    told: Sequence[Told],
) -> list[str]:
    """Note what a payload that answers for every symbol tells; call it inside `transaction`.

    Args:
        actions: by symbol, a `CorporateActions` frame as declared; none for symbols without.

    Returns:
        The symbols whose actions changed, ascending.
    """
    held = connection.execute(
        "SELECT DISTINCT symbol FROM reported_actions WHERE source_provider = ?", [stored.provider]
    ).fetchall()
    symbols = sorted({*actions, *(row[0] for row in held)})
    changed = []
    for symbol in symbols:
        own = actions.get(symbol, empty_actions())
        if _record(connection, symbol, stored, own, told):
            changed.append(symbol)
    record_told_for_all(connection, stored, told)
    return changed


def record_told_for_all(connection: duckdb.DuckDBPyConnection, stored: StoredPayload, told: Sequence[Told]) -> bool:
    """Note the spans of which an answer for every symbol tells every action; call it inside `transaction`.

    Returns:
        Whether they are new. What other providers tell of these spans may be in conflict with it then.
    """
    if not _write_told(connection, EVERY, stored, told):
        return False
    rows = connection.execute(
        "SELECT DISTINCT symbol FROM reported_actions WHERE source_provider <> ? ORDER BY symbol", [stored.provider]
    ).fetchall()
    for (symbol,) in rows:
        _resolve_anew(connection, symbol, stored)
    return True


def read_actions(
    connection: duckdb.DuckDBPyConnection, symbols: Iterable[str], *, at: datetime | None = None
) -> dict[str, pd.DataFrame]:
    """The corporate actions of each symbol, ascending by ex-date.

    Args:
        at: as they were known at this instant; None for now.

    Returns:
        By symbol, a `CorporateActions` frame with `known_at` (naive UTC, `datetime64[us]`) behind its columns.
    """
    query, values = "SELECT symbol, date, kind, value, known_at FROM corporate_actions WHERE true", []
    if at is not None:
        query = (
            f"{query} AND known_at <= $at UNION ALL SELECT symbol, date, kind, value, known_at "
            "FROM corporate_action_revisions WHERE known_at <= $at AND replaced_at > $at"
        )
        values = [naive_utc(at)]
    names = list(symbols)
    rows = connection.execute(
        f"SELECT * FROM ({query}) WHERE symbol IN (SELECT unnest($symbols)) ORDER BY symbol, date, kind",
        {"symbols": names} | ({"at": values[0]} if values else {}),
    ).fetchall()
    dtypes = {"date": "datetime64[s]", "kind": "str", "value": "float64", "known_at": "datetime64[us]"}
    return _by_symbol(rows, names, dtypes)


def read_told(connection: duckdb.DuckDBPyConnection, symbols: Iterable[str]) -> dict[str, pd.DataFrame]:
    """The spans told of each symbol, those of every symbol among them.

    Returns:
        By symbol: kind, source_provider, first_date, last_date (`datetime64[s]`), pulled_at (naive UTC).
    """
    names = list(symbols)
    rows = connection.execute(
        "SELECT symbol, kind, source_provider, first_date, last_date, pulled_at FROM actions_told "
        "WHERE symbol = $every OR symbol IN (SELECT unnest($symbols)) ORDER BY ALL",
        {"every": EVERY, "symbols": names},
    ).fetchall()
    of_all = [row for row in rows if row[0] == EVERY]
    own = [row for row in rows if row[0] != EVERY]
    dtypes = {
        "kind": "str",
        "source_provider": "str",
        "first_date": "datetime64[s]",
        "last_date": "datetime64[s]",
        "pulled_at": "datetime64[us]",
    }
    return _by_symbol([*own, *((name, *row[1:]) for name in dict.fromkeys(names) for row in of_all)], names, dtypes)


def _record(
    connection: duckdb.DuckDBPyConnection,
    symbol: str,
    stored: StoredPayload,
    actions: pd.DataFrame,
    told: Sequence[Told],
    *,
    adjusted_as_of: datetime | None = None,
    is_new_span: bool = False,
) -> bool:
    """Note the reports of a payload; whether date, kind or value of an action changed by them."""
    reports = _changes(connection, symbol, stored, as_reported(actions, stored.provider), told)
    if not reports and not is_new_span:
        return False
    _write_reports(connection, symbol, stored, reports, adjusted_as_of)
    return _resolve_anew(connection, symbol, stored)


def _by_symbol(
    rows: Sequence[tuple[Any, ...]], symbols: Sequence[str], dtypes: Mapping[str, str]
) -> dict[str, pd.DataFrame]:
    found: dict[str, list[tuple[Any, ...]]] = {symbol: [] for symbol in symbols}
    for symbol, *row in rows:
        found[symbol].append(tuple(row))
    return {symbol: _frame(own, dtypes) for symbol, own in found.items()}


def _frame(rows: Sequence[tuple[Any, ...]], dtypes: Mapping[str, str]) -> pd.DataFrame:
    values = zip(*rows, strict=True) if rows else ((),) * len(dtypes)
    return pd.DataFrame({name: _array(column, dtypes[name]) for name, column in zip(dtypes, values, strict=True)})


def _array(column: Sequence[Any], dtype: str) -> Any:
    return pd.array(list(column), dtype="str") if dtype == "str" else np.array(column, dtype=dtype)


@dataclass(slots=True)
class _Changes:
    """What a payload changes of a provider's reports: values to write, and keys to withdraw."""

    values: dict[_Key, float] = field(default_factory=dict)
    withdrawn: list[_Key] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.values or self.withdrawn)


def _changes(
    connection: duckdb.DuckDBPyConnection,
    symbol: str,
    stored: StoredPayload,
    actions: pd.DataFrame,
    told: Sequence[Told],
) -> _Changes:
    fetched = naive_utc(stored.fetched_at)
    held = {
        (row[0], row[1]): (row[2], row[3])
        for row in connection.execute(
            "SELECT date, kind, value, pulled_at FROM reported_actions WHERE symbol = ? AND source_provider = ?",
            [symbol, stored.provider],
        ).fetchall()
    }
    newer = _newer_spans(connection, symbol, stored)
    changes, said = _Changes(), set()
    for day, kind, value in zip(actions["date"], actions["kind"], actions["value"], strict=True):
        key = (day.date(), kind)
        said.add(key)
        before = held.get(key)
        if _is_covered(key, newer) or (before is not None and not _replaces(before, value, fetched)):
            continue
        if not isnan(value):
            changes.values[key] = value
        elif before is not None:
            changes.withdrawn.append(key)
    gone = [key for key, (_, pulled_at) in held.items() if key not in said and pulled_at <= fetched]
    changes.withdrawn += [key for key in gone if _is_covered(key, told) and not _is_covered(key, newer)]
    return changes


def _replaces(before: tuple[float, datetime], value: float, fetched: datetime) -> bool:
    """Whether a value is news beside what the provider told before: another one since, or the same one earlier."""
    held, pulled_at = before
    return fetched < pulled_at if value == held else fetched >= pulled_at


def _newer_spans(connection: duckdb.DuckDBPyConnection, symbol: str, stored: StoredPayload) -> list[Told]:
    rows = connection.execute(
        "SELECT kind, first_date, last_date FROM actions_told "
        "WHERE symbol IN (?, ?) AND source_provider = ? AND pulled_at > ?",
        [symbol, EVERY, stored.provider, naive_utc(stored.fetched_at)],
    ).fetchall()
    return [Told(*row) for row in rows]


def _is_covered(key: _Key, spans: Iterable[Told]) -> bool:
    day, kind = key
    return any(span.kind == KINDS_TOLD[kind] and span.first <= day <= span.last for span in spans)


def _write_reports(
    connection: duckdb.DuckDBPyConnection,
    symbol: str,
    stored: StoredPayload,
    changes: _Changes,
    adjusted_as_of: datetime | None,
) -> None:
    if changes.withdrawn:
        connection.executemany(
            "DELETE FROM reported_actions WHERE symbol = ? AND source_provider = ? AND date = ? AND kind = ?",
            [[symbol, stored.provider, *key] for key in changes.withdrawn],
        )
    if changes.values:
        as_of = None if adjusted_as_of is None else naive_utc(adjusted_as_of)
        rows = [
            (symbol, day, kind, value, as_of if kind == "dividend" else None, stored.provider, stored.sha256)
            for (day, kind), value in changes.values.items()
        ]
        columns = ("symbol", "date", "kind", "value", "adjusted_as_of", "source_provider", "raw_hash")
        _present(connection, rows, columns)
        connection.execute(
            f"INSERT INTO reported_actions ({', '.join(columns)}, pulled_at) SELECT *, ? FROM incoming "
            "ON CONFLICT DO UPDATE SET value = excluded.value, adjusted_as_of = excluded.adjusted_as_of, "
            "raw_hash = excluded.raw_hash, pulled_at = excluded.pulled_at",
            [naive_utc(stored.fetched_at)],
        )


def _write_told(
    connection: duckdb.DuckDBPyConnection, symbol: str, stored: StoredPayload, told: Sequence[Told]
) -> bool:
    """Keep spans told; the same bytes answering for a further span, as an empty list does, widen it."""
    is_new = False
    for span in told:
        rows = connection.execute(
            "INSERT INTO actions_told VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "first_date = least(first_date, excluded.first_date), last_date = greatest(last_date, excluded.last_date), "
            "pulled_at = greatest(pulled_at, excluded.pulled_at) "
            "WHERE excluded.first_date < first_date OR excluded.last_date > last_date "
            "OR excluded.pulled_at > pulled_at RETURNING kind",
            [
                symbol,
                span.kind,
                stored.provider,
                span.first,
                span.last,
                stored.sha256,
                naive_utc(stored.fetched_at),
            ],
        ).fetchall()
        is_new = is_new or bool(rows)
    return is_new


def _resolve_anew(connection: duckdb.DuckDBPyConnection, symbol: str, stored: StoredPayload) -> bool:
    """Make the symbol's list of all reports; whether a date, kind or value of it changed."""
    reports = connection.execute(
        "SELECT date, kind, value, adjusted_as_of, source_provider, raw_hash, pulled_at FROM reported_actions "
        "WHERE symbol = ?",
        [symbol],
    ).df()
    resolved = resolve(reports, read_told(connection, [symbol])[symbol])
    _write_conflicts(connection, symbol, resolved.conflicts)
    return _write_actions(connection, symbol, stored, resolved.actions)


_ACTION_COLUMNS = ("symbol", "date", "kind", "value", "source_provider", "also_told_by", "raw_hash", "known_at")


def _write_actions(
    connection: duckdb.DuckDBPyConnection, symbol: str, stored: StoredPayload, actions: pd.DataFrame
) -> bool:
    fetched = naive_utc(stored.fetched_at)
    held = {
        (row[1], row[2]): row
        for row in connection.execute(
            f"SELECT {', '.join(_ACTION_COLUMNS)} FROM corporate_actions WHERE symbol = ?", [symbol]
        ).fetchall()
    }
    due: dict[_Key, tuple[Any, ...]] = {}
    for day, kind, *row, known_at in actions.itertuples(index=False, name=None):
        before = held.get((day.date(), kind))
        # A list changes when a payload changes it, whenever the reports that now prevail came.
        since = fetched if before is None or before[3] != row[0] else min(before[-1], max(known_at, fetched))
        due[day.date(), kind] = (symbol, day.date(), kind, *row, since)
    replaced = [row for key, row in held.items() if key not in due or due[key][3] != row[3]]
    if replaced:
        connection.executemany(
            "INSERT INTO corporate_action_revisions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [[*row, fetched] for row in replaced],
        )
    gone = [key for key in held if key not in due]
    if gone:
        connection.executemany(
            "DELETE FROM corporate_actions WHERE symbol = ? AND date = ? AND kind = ?", [[symbol, *key] for key in gone]
        )
    news = [row for key, row in due.items() if held.get(key) != row]
    if news:
        _present(connection, news, _ACTION_COLUMNS)
        connection.execute(
            "INSERT INTO corporate_actions SELECT * FROM incoming ON CONFLICT DO UPDATE SET value = excluded.value, "
            "source_provider = excluded.source_provider, also_told_by = excluded.also_told_by, "
            "raw_hash = excluded.raw_hash, known_at = excluded.known_at"
        )
    return bool(replaced) or any(key not in held for key in due)


def _write_conflicts(connection: duckdb.DuckDBPyConnection, symbol: str, conflicts: pd.DataFrame) -> None:
    if connection.execute("SELECT symbol FROM action_conflicts WHERE symbol = ?", [symbol]).fetchall():
        connection.execute("DELETE FROM action_conflicts WHERE symbol = ?", [symbol])
    if len(conflicts):
        connection.register("incoming", pa.Table.from_pandas(conflicts, preserve_index=False))
        connection.execute("INSERT INTO action_conflicts SELECT ?, * FROM incoming", [symbol])


def _present(connection: duckdb.DuckDBPyConnection, rows: Sequence[tuple[Any, ...]], columns: Sequence[str]) -> None:
    """Make the rows readable as `incoming`, in place of those before."""
    typed = {"adjusted_as_of": pa.timestamp("us"), "known_at": pa.timestamp("us"), "date": pa.date32()}
    values = zip(*rows, strict=True)
    arrays = {name: pa.array(column, typed.get(name)) for name, column in zip(columns, values, strict=True)}
    connection.register("incoming", pa.table(arrays))
