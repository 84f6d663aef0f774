"""Backups of a store: a copy of its database, its ledgers of calls and its audit files, and what its raw store held.

A backup is a folder, `<UTC stamp>_<real|synthetic>`, with a manifest. It is written under another name, synced, read
back whole, and only then renamed: what bears the name of a backup was one. The raw store is large and its files never
change, so by default they are only listed; `raw=True` links them, or copies them where the backup lies on another disk.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import duckdb

import market_data
from market_data.clock import Clock, utc_now
from market_data.errors import WarehouseError
from market_data.ingest.amend import require_kind
from market_data.ingest.lock import sole_ingest
from market_data.keeping.backup_check import file_problems, verify_backup
from market_data.keeping.manifest import (
    AUDIT,
    DATABASE,
    LEDGERS,
    RAW,
    RAW_LIST,
    BackupError,
    BackupFile,
    Manifest,
    copied,
    hashed,
    synced_folder,
    written,
)
from market_data.keeping.store_files import audit_files, ledgers, raw_files
from market_data.settings import Settings
from market_data.warehouse.connection import Database
from market_data.warehouse.contents import row_counts, schema_version

__all__ = [
    "Backup",
    "Created",
    "create_backup",
    "find_backup",
    "list_backups",
]

_NAME = re.compile(r"(\d{8}T\d{6}Z)_(real|synthetic)")
_ROOM = 16 << 20
"""Bytes that must be left on the disk beside the copy."""


@dataclass(frozen=True, slots=True)
class Backup:
    """A folder with the name of a backup; `manifest` is None where it cannot be read, and `problem` says why."""

    name: str
    folder: Path
    synthetic: bool
    manifest: Manifest | None
    problem: str | None = None

    @property
    def size(self) -> int:
        """Bytes of its files, payloads included."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


@dataclass(frozen=True, slots=True)
class Created:
    """A backup that was made and read back, and the names of older ones that were removed for it."""

    backup: Backup
    manifest: Manifest
    removed: tuple[str, ...]


def create_backup(settings: Settings, *, synthetic: bool, raw: bool = False, clock: Clock = utc_now) -> Created:
    """Back a store up, read the backup back, then remove the oldest so that `settings.keep_backups` good ones are left.

    Holds the ingest's lock, and the database while that is copied.

    Args:
        raw: take the payloads as well.
        clock: the wall clock; it names the backup.

    Raises:
        BackupError: it cannot be written, or what was written is not what was read; nothing is left of it.
        WarehouseError: there is no database, or it cannot be read.
        WarehouseLocked: it, or the ingest's lock, was held for longer than the configured patience.
    """
    taken_at = clock()
    name = f"{taken_at:%Y%m%dT%H%M%SZ}_{_kind(synthetic)}"
    folder, part = settings.backups_folder, settings.backups_folder / f"{name}.part"
    with _explained(folder):
        if (folder / name).exists():
            raise BackupError(f"{folder / name}: exists already; a second backup needs another second")
        part.mkdir(parents=True)
        try:
            with sole_ingest(settings):
                manifest = _written(settings, part, taken_at=taken_at, synthetic=synthetic, raw=raw)
            synced_folder(*(path for path in part.rglob("*") if path.is_dir()), part)
            if problems := verify_backup(part):
                raise BackupError(f"the backup was not what the store is, and was removed: {'; '.join(problems)}")
            part.rename(folder / name)
            synced_folder(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        backup = Backup(name, folder / name, synthetic, manifest)
        return Created(backup, manifest, tuple(_prune(settings, synthetic=synthetic)))


def list_backups(settings: Settings) -> list[Backup]:
    """Every backup, of real and synthetic stores, newest first; an unreadable one has its problem."""
    folder = settings.backups_folder
    names = sorted((path.name for path in folder.glob("*") if _NAME.fullmatch(path.name)), reverse=True)
    return [_found(folder / name) for name in names]


def find_backup(settings: Settings, name: str) -> Backup:
    """The backup of a name.

    Raises:
        BackupError: there is none, with those there are.
    """
    backups = list_backups(settings)
    for backup in backups:
        if backup.name == name:
            return backup
    there = ", ".join(backup.name for backup in backups[:5]) or "none"
    raise BackupError(f"{name!r} is no backup in {settings.backups_folder}; there are: {there}")


def _kind(synthetic: bool) -> str:
    return "synthetic" if synthetic else "real"


def _written(settings: Settings, part: Path, *, taken_at: datetime, synthetic: bool, raw: bool) -> Manifest:
    """Fill the folder of a backup, the manifest last."""
    database = Database(settings.database_for(synthetic=synthetic), patience=settings.lock_patience)
    manifest = _copied_database(database, part, taken_at=taken_at, synthetic=synthetic)
    files = [*manifest.files]
    for file in ledgers(settings, synthetic=synthetic):
        if file.exists():
            files.append(_copied_ledger(file, part / LEDGERS / file.name, patience=settings.lock_patience))
    for file in audit_files(settings.audit_folder, synthetic=synthetic):
        with file.open("rb") as stream:
            files.append(_below(AUDIT, copied(stream, part / AUDIT / file.name)))
    listed, size = _list_raw(settings.raw_folder(synthetic=synthetic), part, taken=raw)
    files.append(hashed(part / RAW_LIST))
    manifest = replace(manifest, files=tuple(files), raw_files=listed, raw_bytes=size, raw_included=raw)
    manifest.write(part)
    return manifest


def _copied_database(database: Database, part: Path, *, taken_at: datetime, synthetic: bool) -> Manifest:
    if not database.exists():
        raise WarehouseError(f"{database.path}: no database yet, so there is nothing to back up")
    # Opened before DuckDB locks it and closed after: a process gives up its locks on a file as it closes any
    # descriptor of it (POSIX), and another one could write to the database while it is copied.
    with database.path.open("rb") as stream, database.writing() as connection:
        require_kind(connection, database.path, synthetic=synthetic)
        connection.execute("CHECKPOINT")
        _need_room(part, os.fstat(stream.fileno()).st_size)
        return Manifest(
            taken_at=taken_at,
            synthetic=synthetic,
            source=str(database.path),
            market_data=market_data.__version__,
            duckdb=duckdb.__version__,
            schema_version=schema_version(connection),
            rows=row_counts(connection),
            files=(copied(stream, part / DATABASE),),
            raw_files=0,
            raw_bytes=0,
            raw_included=False,
        )


def _need_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size + _ROOM:
        raise OSError(errno.ENOSPC, f"{size / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} MB are free")


def _copied_ledger(file: Path, target: Path, *, patience: float) -> BackupFile:
    target.parent.mkdir(exist_ok=True)
    end = time.monotonic() + patience

    def give_up(status: int, remaining: int, total: int) -> None:
        if status == sqlite3.SQLITE_BUSY and time.monotonic() > end:  # left to itself, it would wait for ever
            raise sqlite3.OperationalError(f"{file} was locked for longer than {patience:g} s")

    with closing(sqlite3.connect(file, timeout=0.05)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy, progress=give_up, sleep=0.05)
        copy.execute("PRAGMA journal_mode = DELETE")
    with target.open("rb") as stream:
        os.fsync(stream.fileno())
    return _below(LEDGERS, hashed(target))


def _below(folder: str, file: BackupFile) -> BackupFile:
    return replace(file, path=f"{folder}/{file.path}")


def _list_raw(folder: Path, part: Path, *, taken: bool) -> tuple[int, int]:
    """List the raw store's files and, if they are taken, link or copy them; returns their number and bytes."""
    lines, total = [], 0
    for file in sorted(raw_files(folder)):
        name, size = file.relative_to(folder).as_posix(), file.stat().st_size
        lines.append(f"{name}\t{size}\n")
        total += size
        if taken:
            _link_or_copy(file, part / RAW / name)
    written(part / RAW_LIST, "".join(lines).encode())
    return len(lines), total


def _link_or_copy(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        with file.open("rb") as stream:
            copied(stream, target)


def _found(folder: Path) -> Backup:
    synthetic = folder.name.endswith("_synthetic")
    try:
        manifest = Manifest.read(folder)
    except BackupError as error:
        return Backup(folder.name, folder, synthetic, None, str(error))
    return Backup(folder.name, folder, synthetic, manifest)


def _prune(settings: Settings, *, synthetic: bool) -> Iterator[str]:
    """Remove what is older than the good backups that are kept; yields the names."""
    good = 0
    for backup in list_backups(settings):
        if backup.synthetic is not synthetic:
            continue
        if good >= settings.keep_backups:
            gone = backup.folder.with_name(f"{backup.name}.removed.part")  # half of it would look like a whole one
            backup.folder.rename(gone)
            shutil.rmtree(gone)
            yield backup.name
        elif backup.manifest is not None and not file_problems(backup.folder, backup.manifest):
            good += 1


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Name the folder and the mend where the disk, or SQLite, refuses."""
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        raise BackupError(
            f"{where}: the backup cannot be written: {error.strerror}; free some room, or name another folder in "
            "MARKET_DATA_BACKUPS"
        ) from None
    except sqlite3.Error as error:
        raise BackupError(f"a ledger of calls cannot be copied: {error}; end what else uses it") from None
