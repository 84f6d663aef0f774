"""A backup put back in the place of the store it is of; what is there now is set aside, never deleted.

The database changes in one rename: a process that dies on the way leaves the old one or the new one. Ledgers of calls
are put back only where there are none, since an older count would let a vendor's quota be overspent. Payloads received
since the backup stay in the raw store; the next backfill or sync notes them, and asks for none of them again.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from market_data.clock import Clock, utc_now
from market_data.errors import WarehouseError, WarehouseLocked
from market_data.ingest.lock import sole_ingest
from market_data.keeping.backup import Backup, find_backup
from market_data.keeping.backup_check import verify_backup
from market_data.keeping.manifest import (
    AUDIT,
    DATABASE,
    LEDGERS,
    RAW,
    BackupError,
    Manifest,
    copied,
    hashed,
    synced_folder,
)
from market_data.keeping.store_files import audit_files, ledgers, raw_files
from market_data.settings import Settings
from market_data.warehouse.connection import SCHEMA_VERSION, Database
from market_data.warehouse.references import payload_references

__all__ = ["Restored", "restore_backup"]

OnStep = Callable[[str], None]
"""Told each step once it is done: copied, set_aside, in_place, whole."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did.

    Attributes:
        backup: its name.
        database: the database that was put in place.
        kept: where the one before is; None where there was none.
        rows: rows by table, as the backup's manifest has them.
        payloads: files put back into the raw store.
        ledgers: ledgers of calls put back, for want of any.
        audit: audit files put back.
        newer: requests in the raw store that the database does not know of; the next backfill or sync notes them.
        newer_packs: packs of polls of which the same is true.
        missing: SHA-256 of payloads the database names and the raw store has not.
    """

    backup: str
    database: Path
    kept: Path | None
    rows: dict[str, int]
    payloads: int
    ledgers: tuple[str, ...]
    audit: int
    newer: int
    newer_packs: int
    missing: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self) | {"database": str(self.database), "kept": str(self.kept) if self.kept else None}


def restore_backup(
    settings: Settings, name: str, *, clock: Clock = utc_now, on_step: OnStep = lambda _: None
) -> Restored:
    """Put a backup in the store's place, under the ingest's lock, and say what the raw store has beside it.

    Args:
        clock: the wall clock; it names what is set aside.
        on_step: told each step once it is done.

    Raises:
        BackupError: there is no such backup, it is not whole, its schema is newer than this market_data knows, the
            database in its place holds the other kind of data, or the disk refuses; the store is as it was.
        WarehouseLocked: the database, or the ingest's lock, was held for longer than the configured patience.
    """
    backup = find_backup(settings, name)
    if problems := verify_backup(backup.folder):
        raise BackupError(f"{name} is not whole and was not restored; take another one: {'; '.join(problems)}")
    manifest = Manifest.read(backup.folder)
    if manifest.schema_version > SCHEMA_VERSION:
        raise BackupError(
            f"{name} has schema version {manifest.schema_version}, newer than {SCHEMA_VERSION}, the newest this "
            "market_data knows; upgrade market_data"
        )
    live = settings.database_for(synthetic=backup.synthetic)
    stamp = _unused_stamp(live, clock())
    with sole_ingest(settings), _explained(live):
        _refuse_other_kind(live, backup, patience=settings.lock_patience)
        part = _copy(live, backup.folder / DATABASE, manifest)
        on_step("copied")
        kept = _put_in_place(live, part, stamp, patience=settings.lock_patience, on_step=on_step)
        payloads = _restore_raw(settings.raw_folder(synthetic=backup.synthetic), backup.folder / RAW)
        returned = tuple(_restore_ledgers(settings, backup))
        audit = _restore_audit(settings.audit_folder, backup, manifest, stamp)
        on_step("whole")
    newer, packs, missing = _beside(settings, live, synthetic=backup.synthetic)
    rows = dict(manifest.rows)
    return Restored(name, live, kept, rows, payloads, returned, audit, newer, packs, missing)


def _refuse_other_kind(live: Path, backup: Backup, *, patience: float) -> None:
    if not live.exists():
        return
    row = None
    try:
        with Database(live, patience=patience).reading() as connection:
            row = connection.execute("SELECT synthetic FROM store_kind").fetchone()
    except WarehouseLocked:
        raise
    except (WarehouseError, duckdb.Error):
        return  # it cannot be read: what is to be replaced for that very reason
    if row is not None and bool(row[0]) is not backup.synthetic:
        held, asked = ("synthetic", "real") if row[0] else ("real", "synthetic")
        raise BackupError(f"{live} holds {held} data, {backup.name} {asked}; name another file in MARKET_DATA_DATABASE")


def _copy(live: Path, source: Path, manifest: Manifest) -> Path:
    """The backup's database beside the live one, brought to the schema of today."""
    part = live.with_name(f"{live.name}.restoring.part")
    for leftover in (part, _wal(part)):
        leftover.unlink(missing_ok=True)
    try:
        with source.open("rb") as stream:
            copy = copied(stream, part)
        [wanted] = [item for item in manifest.files if item.path == DATABASE]
        if copy.sha256 != wanted.sha256:
            raise BackupError(f"{source}: was altered while it was copied")
        Database(part).prepare()
    except BaseException:
        part.unlink(missing_ok=True)
        _wal(part).unlink(missing_ok=True)
        raise
    return part


def _put_in_place(live: Path, part: Path, stamp: str, *, patience: float, on_step: OnStep) -> Path | None:
    """Rename the copy to the live database's name; returns where that one is now."""
    kept = _kept(live, stamp)
    with ExitStack() as stack:
        stack.callback(part.unlink, missing_ok=True)
        if live.exists():
            # Held until the rename, so that nobody writes to what is set aside; empties its write-ahead log.
            with suppress(duckdb.Error), _unless_locked():
                connection = stack.enter_context(Database(live, patience=patience).writing())
                connection.execute("CHECKPOINT")
            os.link(live, kept)
        on_step("set_aside")
        # The log of a database that is gone or cannot be read would be taken for the new one's.
        if _wal(live).exists():
            _wal(live).replace(_wal(kept))
        part.replace(live)
        synced_folder(live.parent)
    on_step("in_place")
    return kept if kept.exists() else None


def _kept(live: Path, stamp: str) -> Path:
    return live.with_name(f"{live.stem}.before-restore-{stamp}{live.suffix}")


def _unused_stamp(live: Path, now: datetime) -> str:
    """Now, to the second, or the first second after it that nothing set aside bears."""
    while _kept(live, stamp := f"{now:%Y%m%dT%H%M%SZ}").exists():
        now += timedelta(seconds=1)
    return stamp


@contextmanager
def _unless_locked() -> Iterator[None]:
    try:
        yield
    except WarehouseLocked:
        raise
    except WarehouseError:
        pass  # it cannot be read: what is to be replaced for that very reason


def _wal(database: Path) -> Path:
    return database.with_name(f"{database.name}.wal")


def _restore_raw(folder: Path, kept: Path) -> int:
    """Put back the payloads a backup holds and the raw store has not, bytes before requests."""
    count = 0
    for file in sorted(raw_files(kept), key=lambda path: path.suffix == ".json"):
        count += _put_back(file, folder / file.relative_to(kept))
    return count


def _restore_ledgers(settings: Settings, backup: Backup) -> Iterator[str]:
    for file in ledgers(settings, synthetic=backup.synthetic):
        held = backup.folder / LEDGERS / file.name
        if held.exists() and _put_back(held, file):
            yield file.name


def _restore_audit(folder: Path, backup: Backup, manifest: Manifest, stamp: str) -> int:
    """Bring the audit files of the store to what the backup holds; those that differ are set aside."""
    names = [item for item in manifest.files if item.path.startswith(f"{AUDIT}/")]
    wanted = {Path(item.path).name: item.sha256 for item in names}
    aside = folder / f"before-restore-{stamp}"
    for file in audit_files(folder, synthetic=backup.synthetic):
        if wanted.get(file.name) != hashed(file).sha256:
            aside.mkdir(exist_ok=True)
            file.rename(aside / file.name)
    return sum(_put_back(backup.folder / AUDIT / name, folder / name) for name in wanted)


def _put_back(held: Path, file: Path) -> bool:
    """Copy a file to where there is none, durably; returns whether there was none."""
    if file.exists():
        return False
    part = file.with_name(f"{file.name}.restoring.part")
    part.unlink(missing_ok=True)
    with held.open("rb") as stream:
        copied(stream, part)
    part.replace(file)
    return True


def _beside(settings: Settings, live: Path, *, synthetic: bool) -> tuple[int, int, tuple[str, ...]]:
    """Requests and packs of the raw store that the database does not know of, and payloads that it lacks."""
    folder = settings.raw_folder(synthetic=synthetic)
    with Database(live, patience=settings.lock_patience).reading() as connection:
        # Minutes name payloads of packs, which are not kept for as long as the minutes are.
        named = {
            sha256
            for (table, _), hashes in payload_references(connection).items()
            if "intraday" not in table
            for sha256 in hashes
        }
        asked = dict(connection.execute("SELECT request_id, raw_hash FROM coverage").fetchall())
        packs = {Path(row[0]).name for row in connection.execute("SELECT DISTINCT pack FROM intraday_polls").fetchall()}
    named |= {sha256 for sha256 in asked.values() if sha256 is not None}
    files = list(raw_files(folder))
    requests = [path.name.split(".")[:2] for path in files if path.suffix == ".json"]
    newer = sum(request_id not in asked and sha256 not in named for sha256, request_id in requests)
    held = {path.stem for path in files if path.suffix == ".zst"}
    unread = sum(path.suffix == ".zip" and path.name not in packs for path in files)
    return newer, unread, tuple(sorted(named - held))


@contextmanager
def _explained(live: Path) -> Iterator[None]:
    """Name the file and the mend where the disk refuses."""
    try:
        yield
    except OSError as error:
        mend = "free some room" if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT) else "mend that"
        raise BackupError(
            f"{error.filename or live}: the restore came to a halt: {error.strerror}; {mend} and restore again"
        ) from None
