"""What a backup says of itself: `manifest.json`, written last, and read before anything is made of the rest."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from market_data.errors import MarketDataError

__all__ = [
    "AUDIT",
    "DATABASE",
    "LEDGERS",
    "RAW",
    "RAW_LIST",
    "BackupError",
    "BackupFile",
    "Manifest",
    "copied",
    "hashed",
    "synced_folder",
    "written",
]

DATABASE = "database.duckdb"
LEDGERS = "ledgers"
AUDIT = "audit"
RAW = "raw"
RAW_LIST = "raw.tsv"
"""Names in the folder of a backup: the copy of the database, folders, and the list of the raw store's files."""

NAME = "manifest.json"
FORMAT = 1
_CHUNK = 1 << 20


class BackupError(MarketDataError):
    """A backup cannot be made, is not whole, or cannot be restored; the store is as it was."""


@dataclass(frozen=True, slots=True)
class BackupFile:
    """A file of a backup: its path below the backup's folder, its size in bytes, and its SHA-256."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds.

    Attributes:
        taken_at: instant, UTC.
        synthetic: whether the store is one of the sandbox.
        source: the database that was copied.
        market_data, duckdb: versions of what wrote it.
        schema_version: of the database.
        rows: rows by table.
        files: every file but the manifest and the payloads.
        raw_files, raw_bytes: number and size of the raw store's files when it was taken, each listed in `raw.tsv`.
        raw_included: whether they are in the backup.
    """

    taken_at: datetime
    synthetic: bool
    source: str
    market_data: str
    duckdb: str
    schema_version: int
    rows: Mapping[str, int]
    files: tuple[BackupFile, ...]
    raw_files: int
    raw_bytes: int
    raw_included: bool

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"format": FORMAT, **asdict(self), "taken_at": self.taken_at.isoformat()}

    def write(self, folder: Path) -> None:
        """Write it into the backup's folder, durably."""
        written(folder / NAME, json.dumps(self.as_dict(), indent=1).encode())

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of a backup.

        Raises:
            BackupError: there is none, or it cannot be read.
        """
        file = folder / NAME
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
            version = document.pop("format")
            if version != FORMAT:
                raise BackupError(
                    f"{file}: format {version}, this market_data knows {FORMAT}; use the one that wrote it"
                )
            taken_at = datetime.fromisoformat(document.pop("taken_at"))
            files = tuple(_file(item) for item in document.pop("files"))
            return cls(taken_at=taken_at, files=files, **document)
        except OSError as error:
            raise BackupError(f"{file}: cannot be read: {error.strerror}; it is no whole backup") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BackupError(f"{file}: cannot be read: {error}; it is no whole backup") from None


def _file(item: Mapping[str, Any]) -> BackupFile:
    file = BackupFile(**item)
    if Path(file.path).is_absolute() or ".." in Path(file.path).parts:
        raise ValueError(f"{file.path} leads out of the backup")
    return file


def copied(source: BinaryIO, target: Path) -> BackupFile:
    """Copy an open file, durably; returns size and hash of what was read, under the target's name alone."""
    digest, size = hashlib.sha256(), 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as stream:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            stream.write(chunk)
            size += len(chunk)
        stream.flush()
        os.fsync(stream.fileno())
    return BackupFile(target.name, size, digest.hexdigest())


def hashed(file: Path) -> BackupFile:
    """Size and hash of a file, under its name alone."""
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
        return BackupFile(file.name, stream.tell(), digest.hexdigest())


def written(file: Path, content: bytes) -> None:
    """Write a file that is not there yet, durably."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def synced_folder(*folders: Path) -> None:
    """Make what was made, renamed or removed in folders last."""
    for folder in folders:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
