"""The runtime folder: room and rights, the database and who holds it, the ingest's lock, the clock, what died left."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from filelock import FileLock, Timeout

from market_data.clock import Clock, clock_of, utc_now
from market_data.errors import WarehouseError, WarehouseLocked
from market_data.ingest.sources import is_synthetic
from market_data.keeping.doctor.check import Check, failed, ok, warned
from market_data.keeping.retention import LEFTOVERS_AFTER
from market_data.settings import Settings
from market_data.warehouse.connection import SCHEMA_VERSION, Database

__all__ = ["clock", "databases", "disk", "ingest_lock", "leftovers", "runtime"]

_LEAST_FREE = 200_000_000
_NEW_STORE_NEEDS = 1_000_000_000
_FUTURE = timedelta(minutes=5)


def runtime(settings: Settings) -> Iterator[Check]:
    """Whether the runtime folder can be written."""
    folder = _standing(settings.runtime)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        yield failed(
            "runtime", f"{folder}: cannot be written: {error.strerror}", "set MARKET_DATA_RUNTIME, or its rights"
        )
        return
    made = "" if settings.runtime.is_dir() else "; it is made when it is needed"
    yield ok("runtime", f"{settings.runtime.absolute()} can be written{made}")


def disk(settings: Settings, free: int | None = None) -> Iterator[Check]:
    """Free bytes, by default those of the disk, beside what is needed: twice the store, for rebuilds and backups."""
    free = shutil.disk_usage(_standing(settings.runtime)).free if free is None else free
    need = max(_NEW_STORE_NEEDS, 2 * _size(settings.runtime))
    told = f"{free / 1e9:,.1f} GB free, {need / 1e9:,.1f} GB wanted"
    if free < _LEAST_FREE:
        yield failed(
            "disk", told, "make room, or move the runtime folder: MARKET_DATA_RUNTIME; market-data tidy frees some"
        )
    elif free < need:
        yield warned("disk", told, "make room before a rebuild or a backup; market-data tidy frees some")
    else:
        yield ok("disk", told)


def databases(settings: Settings) -> Iterator[Check]:
    """The databases there are: whether they open, their schema, and who holds them."""
    chosen = settings.database_for(synthetic=is_synthetic(settings.default_source))
    found = [settings.database_for(synthetic=synthetic) for synthetic in (False, True)]
    for path in dict.fromkeys((chosen, *found)):
        if Database(path).exists():
            yield _database(path)
        elif path == chosen:
            yield warned("database", f"{path}: none yet", "market-data demo, backfill or sync makes it")


def _database(path: Path) -> Check:
    name = f"database {path.name}"
    try:
        with Database(path, patience=0).reading() as connection:
            [[version]] = connection.execute("SELECT max(version) FROM schema_version").fetchall()
            [[bars, last]] = connection.execute("SELECT count(*), max(date) FROM price_history_daily").fetchall()
    except WarehouseLocked as error:
        holder = re.search(r"process \d+", str(error))
        return warned(
            name, f"held by {holder[0] if holder else 'another process'}", "wait for it; commands wait as well"
        )
    except WarehouseError as error:
        return failed(name, str(error), "market-data rebuild --from-raw --swap, or backup restore NAME")
    except Exception as error:  # a database of something else has none of these tables
        return failed(name, f"not a database of market_data: {error}".splitlines()[0], "set MARKET_DATA_DATABASE")
    told = f"schema {version}, {bars:,} bars" + (f", the last of {last}" if last else "")
    if version > SCHEMA_VERSION:
        return failed(name, f"{told}; newer than {SCHEMA_VERSION}, which this version knows", "upgrade market_data")
    if version < SCHEMA_VERSION:
        return warned(name, f"{told}; the next command that writes brings it to {SCHEMA_VERSION}", "back it up first")
    return ok(name, f"{told}; nobody writes")


def ingest_lock(settings: Settings) -> Iterator[Check]:
    """Whether an ingest is under way, and whose."""
    file = settings.runtime / "ingest.lock"
    if not file.exists():
        yield ok("ingest lock", "free")
        return
    lock = FileLock(file, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        holder = _holder(file)
        yield warned("ingest lock", f"an ingest is under way{f', process {holder}' if holder else ''}", "wait for it")
        return
    lock.release()
    yield ok("ingest lock", "free")


def clock(settings: Settings, wall: Clock = utc_now) -> Iterator[Check]:
    """Time zone data, and that no clock shows an instant before the newest one stored."""
    try:
        ZoneInfo("America/New_York")
    except ZoneInfoNotFoundError:
        yield failed("clock", "there is no time zone data", "install the system's tzdata, or pip install tzdata")
        return
    synthetic = is_synthetic(settings.default_source)
    now, newest = clock_of(settings, synthetic=synthetic)(), _newest(settings, synthetic=synthetic)
    told = f"{wall():%Y-%m-%d %H:%M} UTC" + (f"; the sandbox's shows {now:%Y-%m-%d %H:%M}" if synthetic else "")
    if newest is not None and newest > now + _FUTURE:
        mend = "market-data sandbox clock --set" if synthetic else "set the system's clock (NTP)"
        yield failed("clock", f"{told}, before {newest:%Y-%m-%d %H:%M}, when the store last received something", mend)
    else:
        yield ok("clock", f"{told}; not before anything stored")


def leftovers(settings: Settings, wall: Clock = utc_now) -> Iterator[Check]:
    """Temporary files of processes that died, which `market-data tidy` removes."""
    until, dagster = (wall() - LEFTOVERS_AFTER).timestamp(), settings.runtime / "dagster"
    files = [path for path in settings.runtime.rglob("*.part") if dagster not in path.parents and path.is_file()]
    old = [path for path in files if path.stat().st_mtime < until]
    if old:
        size = sum(path.stat().st_size for path in old)
        yield warned("leftovers", f"{len(old):,} temporary files of dead processes, {size:,} bytes", "market-data tidy")
    else:
        yield ok("leftovers", "none")


def _standing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    folder = folder.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0


def _newest(settings: Settings, *, synthetic: bool) -> datetime | None:
    database = Database(settings.database_for(synthetic=synthetic), patience=0)
    try:
        with database.reading() as connection:
            [[newest]] = connection.execute("SELECT max(fetched_at) FROM coverage").fetchall()
    except Exception:  # the check of the database tells why
        return None
    return None if newest is None else newest.replace(tzinfo=UTC)


def _holder(file: Path) -> str:
    """The process that holds a file's lock, where the system tells."""
    try:
        inode, lines = file.stat().st_ino, Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    fields = (line.split() for line in lines)
    return next((parts[4] for parts in fields if len(parts) > 5 and parts[5].endswith(f":{inode}")), "")
