"""Whether a backup is whole: every file is hashed, every row of its database read, every payload it holds as well."""

from __future__ import annotations

from pathlib import Path

import duckdb

from market_data.errors import MarketDataError, RawStoreError
from market_data.ingest.raw_store import RawStore
from market_data.keeping.manifest import DATABASE, RAW, RAW_LIST, BackupError, Manifest, hashed
from market_data.warehouse.connection import Database
from market_data.warehouse.contents import read_through, schema_version

__all__ = ["file_problems", "verify_backup"]


def verify_backup(folder: Path) -> list[str]:
    """What is wrong with a backup: every file is hashed, every row read, and every payload that it holds."""
    try:
        manifest = Manifest.read(folder)
    except BackupError as error:
        return [str(error)]
    problems = file_problems(folder, manifest)
    if problems:
        return problems
    if manifest.raw_included:
        problems = _raw_problems(folder)
    return [*_database_problems(folder, manifest), *problems]


def file_problems(folder: Path, manifest: Manifest) -> list[str]:
    """Files of a backup, but for payloads, that are not there or not what they were."""
    paths = {item.path for item in manifest.files}
    problems = [f"{folder / path} is not in the manifest" for path in (DATABASE, RAW_LIST) if path not in paths]
    for item in manifest.files:
        file = folder / item.path
        try:
            found = hashed(file)
        except OSError as error:
            problems.append(f"{file}: {error.strerror}")
            continue
        if (found.bytes, found.sha256) != (item.bytes, item.sha256):
            problems.append(f"{file}: was altered: {found.bytes:,} bytes, SHA-256 {found.sha256}")
    return problems


def _database_problems(folder: Path, manifest: Manifest) -> list[str]:
    try:
        with Database(folder / DATABASE, patience=1).reading() as connection:
            held, version = read_through(connection), schema_version(connection)
    except (MarketDataError, duckdb.Error) as error:
        return [f"{folder / DATABASE}: cannot be read through: {error}"]
    problems = [
        f"{folder / DATABASE}: table {name} has {held.get(name)} rows, the manifest says {rows}"
        for name, rows in manifest.rows.items()
        if held.get(name) != rows
    ]
    if version != manifest.schema_version:
        problems.append(f"{folder / DATABASE}: schema version {version}, the manifest says {manifest.schema_version}")
    return problems


def _raw_problems(folder: Path) -> list[str]:
    store, problems = RawStore(folder / RAW), []
    for line in (folder / RAW_LIST).read_text(encoding="utf-8").splitlines():
        name, size = line.split("\t")
        file = folder / RAW / name
        try:
            if file.stat().st_size != int(size):
                problems.append(f"{file}: {file.stat().st_size:,} bytes, {int(size):,} are listed")
            elif file.suffix == ".zst":
                store.get(file.stem)
        except OSError as error:
            problems.append(f"{file}: {error.strerror}")
        except RawStoreError as error:
            problems.append(str(error))
    return problems
