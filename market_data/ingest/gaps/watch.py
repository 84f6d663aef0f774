"""Whether it is time to fill gaps: a look that costs little, and that scans only when something changed."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timedelta

import duckdb

from market_data.ingest.gaps.answers import fingerprints
from market_data.ingest.gaps.filling import calls_left
from market_data.ingest.gaps.run import last_day_of_gaps
from market_data.ingest.sources import is_synthetic
from market_data.instruments import Universe
from market_data.providers.base import Clock, sha256_hex, utc_now
from market_data.settings import Settings
from market_data.warehouse.connection import SCHEMA_VERSION, Database
from market_data.warehouse.gaps import changed_gaps, count_gaps, find_gaps, next_gap_try, store_mark

__all__ = ["GapLook", "look_for_gaps"]

PATIENCE = timedelta(hours=1)
"""How long to wait before a run is asked for again where one did not change anything."""


@dataclass(frozen=True, slots=True)
class _Cursor:
    """What the look before knew: its number and instant, a mark of the store, and the last run that was asked for."""

    number: int = 0
    looked_at: str = ""
    mark: str = ""
    asked_at: str = ""
    asked_mark: str = ""


@dataclass(frozen=True, slots=True)
class GapLook:
    """What a look found.

    Attributes:
        is_due: whether a run should be started.
        reason: why, or why not.
        cursor: what the next look is to be given.
    """

    is_due: bool
    reason: str
    cursor: str


def look_for_gaps(
    settings: Settings,
    universe: Universe,
    source_name: str,
    *,
    cursor: str | None = None,
    with_key: Collection[str] | None = None,
    clock: Clock = utc_now,
) -> GapLook:
    """Whether gaps are to be filled now; opens no source and changes nothing.

    Args:
        cursor: what the look before gave.
        with_key: see `fingerprints`.

    Raises:
        WarehouseError: the database can't be used.
        SettingsError: the providers file or the archive can't be used.
    """
    now = clock()
    before = _read(cursor)
    after = replace(before, number=before.number + 1, looked_at=now.isoformat())
    database = Database(settings.database_for(synthetic=is_synthetic(source_name)), patience=settings.lock_patience)
    if not database.exists():
        return _told(after, False, "there is no database yet, so nothing is missing of it")
    prints, until = fingerprints(settings, universe, source_name, with_key=with_key), last_day_of_gaps(settings, clock)
    with database.reading() as connection:
        if not _is_current(connection):
            return _told(after, True, "the database is of an older version, without a look at its gaps")
        after = replace(after, mark=_mark(connection, settings, prints, until))
        due_at = next_gap_try(connection, list(prints))
        is_due = due_at is not None and due_at <= now
        is_same = after.mark == before.mark
        # A run that was asked for and changed nothing has left its work undone.
        is_idle = is_same and not is_due and after.mark != before.asked_mark
        changes = 0 if is_idle else _changes(connection, universe, settings, prints, until)
        spent = source_name != "stooq_bulk" and not calls_left(connection, settings, now)
        counts = count_gaps(connection)
    if not changes and not is_due:
        told = f"nothing changed since {before.looked_at}" if is_same else "nothing is due"
        known = f"{counts['open']} open and {counts['known']} known gaps"
        return _told(after, False, f"{told}: {known}; {_next(due_at)}")
    if spent and not changes:
        return _told(after, False, f"the {settings.gap_calls} calls a day for gaps are spent; more after midnight UTC")
    if before.asked_mark == after.mark and now < datetime.fromisoformat(before.asked_at) + PATIENCE:
        return _told(after, False, f"the run asked for at {before.asked_at} changed nothing; another one an hour later")
    after = replace(after, asked_at=now.isoformat(), asked_mark=after.mark)
    return _told(after, True, f"{changes} gaps to open or close" if changes else "gaps are due to be asked for again")


def _changes(
    connection: duckdb.DuckDBPyConnection,
    universe: Universe,
    settings: Settings,
    prints: Mapping[str, str],
    until: date,
) -> int:
    if until < settings.window_start:
        return 0
    found = find_gaps(connection, universe, settings, until=until)
    return changed_gaps(connection, found, prints, start=settings.window_start, until=until)


def _mark(connection: duckdb.DuckDBPyConnection, settings: Settings, prints: Mapping[str, str], until: date) -> str:
    told = (store_mark(connection), sorted(prints.items()), settings.window_start, until, settings.min_data_quality)
    return sha256_hex(repr(told).encode())[:16]


def _is_current(connection: duckdb.DuckDBPyConnection) -> bool:
    [(version,)] = connection.execute("SELECT max(version) FROM schema_version").fetchall()
    return bool(version >= SCHEMA_VERSION)


def _next(due_at: datetime | None) -> str:
    return "no gap is open" if due_at is None else f"the next try is due at {due_at:%Y-%m-%d %H:%M} UTC"


def _told(cursor: _Cursor, is_due: bool, reason: str) -> GapLook:
    return GapLook(is_due, reason, json.dumps(asdict(cursor)))


def _read(cursor: str | None) -> _Cursor:
    """The cursor; one of another version of this code begins anew."""
    try:
        return _Cursor(**json.loads(cursor)) if cursor else _Cursor()
    except (ValueError, TypeError):
        return _Cursor()
