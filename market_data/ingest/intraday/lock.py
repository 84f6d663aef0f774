"""One poller at a time over a runtime folder, and whether there is one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from market_data.errors import SettingsError, WarehouseLocked
from market_data.settings import Settings

__all__ = ["poller_is_alive", "sole_poller"]

_LOCK_WAIT = 1.0  # seconds: who only looks whether a poller is alive holds the lock for a moment


@contextmanager
def sole_poller(settings: Settings) -> Iterator[None]:
    """Hold the lock of pollers for a session; the system frees it when the process dies.

    Raises:
        WarehouseLocked: a poller is running already.
        SettingsError: the folder cannot be made.
    """
    lock = _lock(settings, timeout=_LOCK_WAIT)
    try:
        lock.acquire()
    except Timeout:
        raise WarehouseLocked(
            f"{lock.lock_file}: a poller of intraday minutes is running already; wait for it, or end it"
        ) from None
    try:
        yield
    finally:
        lock.release()


def poller_is_alive(settings: Settings) -> bool:
    """Whether a process is polling a session over this runtime folder."""
    lock = _lock(settings, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return True
    lock.release()
    return False


def _lock(settings: Settings, *, timeout: float) -> FileLock:
    file = settings.runtime / "intraday.lock"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"MARKET_DATA_RUNTIME: {file.parent} cannot be made: {error.strerror}") from None
    return FileLock(file, timeout=timeout)
