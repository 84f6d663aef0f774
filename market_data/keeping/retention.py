"""What is not kept for ever: error bodies, the answers of polls, logs of computation, what died processes left.

No payload goes that a stored row, an answered request or a rebuild needs. Files are removed first and the database told
of it after, so that a process that dies between the two is made up for the next time. Ages of files go by the wall
clock, which stamped them; ages of requests and sessions by the store's.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from market_data.clock import Clock, clock_of, utc_now
from market_data.errors import MarketDataError
from market_data.ingest.amend import require_kind
from market_data.ingest.intraday.packs import PollPacks
from market_data.ingest.lock import sole_ingest
from market_data.keeping.store_files import ledgers
from market_data.settings import Settings
from market_data.warehouse.batch import naive_utc
from market_data.warehouse.connection import Database
from market_data.warehouse.references import payload_references
from market_data.warehouse.store import transaction

__all__ = ["Freed", "Tidied", "compacted", "tidy", "tidy_state"]

LEFTOVERS_AFTER = timedelta(days=1)
"""Age from which a temporary file is one that a died process left; the slowest writer takes minutes."""

NOTHING_IN_IT = ("Transient", "RateLimited", "QuotaExhausted", "NotEntitled")
"""Errors whose bodies say nothing but that. Those of a `BadPayload` stay: a mended parser may read bars from them."""

_WORTH = 0.1
"""Share of a SQLite file that must be free for it to be written anew."""

_LOGS = (".out", ".err", ".complete")


@dataclass(frozen=True, slots=True)
class Freed:
    """Files of one kind that were removed, or in a dry run would be, and their bytes."""

    kind: str
    files: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Tidied:
    """What a tidying did.

    Attributes:
        freed: by kind.
        set_aside: databases that a restore or a rebuild set aside; nobody but you removes them.
        dry_run: whether nothing was changed.
    """

    freed: tuple[Freed, ...]
    set_aside: tuple[Path, ...]
    dry_run: bool

    @property
    def bytes(self) -> int:
        """All bytes freed."""
        return sum(item.bytes for item in self.freed)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        aside = [{"path": str(path), "bytes": path.stat().st_size} for path in self.set_aside]
        return asdict(self) | {"bytes": self.bytes, "set_aside": aside}


def tidy(
    settings: Settings,
    *,
    synthetic: bool,
    clock: Clock | None = None,
    wall: Clock = utc_now,
    dry_run: bool = False,
) -> Tidied:
    """Remove what is older than the settings keep it for, below the runtime folder and the folder of backups.

    Args:
        clock: the store's; None: the one `clock_of` gives.
        wall: the wall clock.
        dry_run: tell what would be removed, and change nothing.

    Raises:
        WarehouseError: the database holds the other kind of data, or can't be read.
        WarehouseLocked: it, or the ingest's lock, was held for longer than the configured patience.
    """
    clock = clock or clock_of(settings, synthetic=synthetic)
    live = settings.database_for(synthetic=synthetic)
    database, folder = Database(live, patience=settings.lock_patience), settings.raw_folder(synthetic=synthetic)
    freed = []
    with sole_ingest(settings):
        if database.exists():
            _check(database, synthetic=synthetic, dry_run=dry_run)
            until = clock() - timedelta(days=settings.keep_logs)
            freed.append(_error_bodies(database, folder, until, dry_run=dry_run))
            until = clock() - timedelta(days=settings.keep_polls)
            freed.append(_poll_packs(database, PollPacks(folder), until, dry_run=dry_run))
        freed.append(_freed("part_files", _leftovers(settings, wall() - LEFTOVERS_AFTER), dry_run=dry_run))
        freed.append(compacted("ledgers", ledgers(settings, synthetic=synthetic), dry_run=dry_run))
    aside = tuple(sorted(path for path in live.parent.glob(f"{live.stem}.before-*") if path.is_file()))
    return Tidied(tuple(freed), aside, dry_run)


def _check(database: Database, *, synthetic: bool, dry_run: bool) -> None:
    """Refuse a database of the other kind; bring one of an older schema forward."""
    with database.reading() as connection:
        require_kind(connection, database.path, synthetic=synthetic)
    if not dry_run:
        database.prepare()


def tidy_state(settings: Settings, state: Path, *, wall: Clock = utc_now, dry_run: bool = False) -> Freed:
    """Remove old logs of computation, of schedules and of sensors from the folder of Dagster's state."""
    until = wall() - timedelta(days=settings.keep_logs)
    old = [
        path for path in state.glob("storage/**/*") if path.suffix in _LOGS and path.is_file() and _is_old(path, until)
    ]
    freed = _freed("compute_logs", old, dry_run=dry_run)
    if not dry_run:
        _remove_empty(state / "storage", {path.parent for path in old})
    return freed


def compacted(kind: str, files: Iterable[Path], *, dry_run: bool, patience: float = 5.0) -> Freed:
    """Write SQLite files anew whose free pages are worth it, and fold in their write-ahead logs.

    One that another process holds for longer than `patience`, in seconds, is left for the next time.
    """
    count = size = 0
    for file in files:
        with suppress(sqlite3.OperationalError):
            spared = _compact(file, dry_run=dry_run, patience=patience) if file.exists() else 0
            count += spared > 0
            size += spared
    return Freed(kind, count, size)


def _compact(file: Path, *, dry_run: bool, patience: float) -> int:
    before = _size(file)
    with closing(sqlite3.connect(file, timeout=patience, isolation_level=None)) as connection:
        [[free]] = connection.execute("PRAGMA freelist_count").fetchall()
        [[page]] = connection.execute("PRAGMA page_size").fetchall()
        is_worth_it = free * page > _WORTH * before
        if dry_run:
            return int(free * page) if is_worth_it else 0
        if is_worth_it:
            connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return max(0, before - _size(file))


def _size(file: Path) -> int:
    wal = file.with_name(f"{file.name}-wal")
    return sum(path.stat().st_size for path in (file, wal) if path.exists())


def _leftovers(settings: Settings, until: datetime) -> list[Path]:
    """Temporary files and folders of processes that died, but for those of Dagster."""
    places = {settings.backups_folder, *(settings.database_for(synthetic=kind).parent for kind in (True, False))}
    found = {*settings.runtime.rglob("*.part*"), *(path for place in places for path in place.glob("*.part*"))}
    old = {path for path in found if path.name.endswith((".part", ".part.wal")) and _is_old(path, until)}
    return sorted(
        path for path in old if old.isdisjoint(path.parents) and settings.runtime / "dagster" not in path.parents
    )


def _is_old(path: Path, until: datetime) -> bool:
    try:
        return path.stat().st_mtime < until.timestamp()
    except FileNotFoundError:  # what wrote it has renamed it
        return False


def _freed(kind: str, paths: Iterable[Path], *, dry_run: bool) -> Freed:
    files = size = 0
    for path in list(paths):
        inside = [item for item in path.rglob("*") if item.is_file()] if path.is_dir() else [path]
        files += len(inside)
        size += sum(item.stat().st_size for item in inside)
        if not dry_run:
            _remove(path)
    return Freed(kind, files, size)


def _remove(path: Path) -> None:
    try:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    except OSError as error:
        raise MarketDataError(
            f"{path}: cannot be removed: {error.strerror}; check the permissions of its folder"
        ) from None


def _remove_empty(root: Path, folders: Iterable[Path]) -> None:
    """Remove folders that became empty, and those above them, up to `root`."""
    for folder in folders:
        while folder != root and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent  # noqa: PLW2901


def _error_bodies(database: Database, folder: Path, until: datetime, *, dry_run: bool) -> Freed:
    """Bodies of failed requests that say nothing but that they failed; the ledger keeps the request and the error."""
    with database.reading() as connection:
        old = connection.execute(
            "SELECT request_id, raw_hash FROM coverage WHERE outcome = 'failed' AND raw_hash IS NOT NULL "
            "AND fetched_at < ? AND error IN (SELECT unnest(?)) ORDER BY ALL",
            [naive_utc(until), list(NOTHING_IN_IT)],
        ).fetchall()
        named = set().union(*payload_references(connection).values()) if old else set()
    old = [(request_id, sha256) for request_id, sha256 in old if sha256 not in named]
    paths = _files_of(folder, old)
    freed = _freed("error_bodies", paths, dry_run=dry_run)
    if old and not dry_run:
        with database.writing() as connection, transaction(connection):
            connection.execute(
                "UPDATE coverage SET raw_hash = NULL WHERE outcome = 'failed' AND request_id IN (SELECT unnest(?))",
                [[request_id for request_id, _ in old]],
            )
    return freed


def _files_of(folder: Path, requests: list[tuple[str, str]]) -> list[Path]:
    """Request files, then the bytes that no other request was answered with, so that bytes outlive their requests."""
    metas, bodies = [], []
    going = {f"{sha256}.{request_id}.json" for request_id, sha256 in requests}
    for sha256 in dict.fromkeys(sha256 for _, sha256 in requests):
        place = folder / sha256[:2]
        answered = sorted(place.glob(f"{sha256}.*.json"))
        metas += [path for path in answered if path.name in going]
        body = place / f"{sha256}.zst"
        if body.exists() and all(path.name in going for path in answered):
            bodies.append(body)
    return metas + bodies


def _poll_packs(database: Database, packs: PollPacks, until: datetime, *, dry_run: bool) -> Freed:
    """Packs of sessions whose minutes are final, once the database has what they brought."""
    with database.reading() as connection:
        names = _packs_to_go(connection, until)
    present = [path for path in (packs.folder / name for name in names) if path.is_file()]
    freed = _freed("poll_packs", present, dry_run=dry_run)
    if names and not dry_run:
        _remove_empty(packs.folder, {path.parent for path in present})
        with database.writing() as connection, transaction(connection):
            connection.execute("UPDATE intraday_polls SET pack = '' WHERE pack IN (SELECT unnest(?))", [names])
    return freed


def _packs_to_go(connection: duckdb.DuckDBPyConnection, until: datetime) -> list[str]:
    known = connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'intraday_polls'").fetchall()
    if not known:
        return []  # an older schema, which a dry run leaves as it is
    rows = connection.execute(
        "SELECT DISTINCT pack FROM intraday_polls WHERE pack <> '' AND session_date < ? AND session_date NOT IN "
        "(SELECT session_date FROM price_history_intraday WHERE provisional AND session_date IS NOT NULL) ORDER BY 1",
        [naive_utc(until).date()],
    )
    return [row[0] for row in rows.fetchall()]
