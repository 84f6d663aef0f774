"""One ingest at a time over a runtime folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from market_data.errors import SettingsError, WarehouseLocked
from market_data.settings import Settings

__all__ = ["sole_ingest"]


@contextmanager
def sole_ingest(settings: Settings) -> Iterator[None]:
    """Hold the folder's lock: two ingests at once would ask a vendor for the same things.

    Raises:
        WarehouseLocked: another one held it for longer than the configured patience.
        SettingsError: the folder cannot be made.
    """
    file = settings.runtime / "ingest.lock"
    lock = FileLock(_made(file), timeout=settings.lock_patience)
    try:
        lock.acquire()
    except Timeout:
        raise WarehouseLocked(
            f"{file}: another ingest has been running for longer than {settings.lock_patience:g} s; "
            "wait for it or end it, or set MARKET_DATA_LOCK_PATIENCE higher"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _made(file: Path) -> Path:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"MARKET_DATA_RUNTIME: {file.parent} cannot be made: {error.strerror}") from None
    return file
