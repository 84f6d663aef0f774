"""Opening the canonical database: waiting for its lock, forward migrations, and clear errors when it can't be used.

DuckDB lets one process write at a time, and nobody read meanwhile. So connections are short, and opening one waits,
with patience, until the other process is done.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from importlib.resources import files
from pathlib import Path

import duckdb
import pyarrow as pa

from market_data.errors import WarehouseError, WarehouseLocked
from market_data.sessions import FIRST_DATE, closes, sessions_between

__all__ = ["POLL", "SCHEMA_VERSION", "Database"]

POLL = 0.05
_ANOTHER = "name another file in MARKET_DATA_DATABASE"
_ON_DISK = re.compile(r"IO Error|Corrupt|checksum|invalidated|No space|commit")
# One thread: batches are small, and more threads only wait for each other. The threshold: a checkpoint comes with
# the close of a connection, not in the middle of a burst of transactions.
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "threads": 1,
    "checkpoint_threshold": "512MB",
    "autoinstall_known_extensions": False,
}


def _migrations() -> list[tuple[int, str, str]]:
    folder = files("market_data.warehouse").joinpath("migrations")
    names = sorted(item.name for item in folder.iterdir() if item.name.endswith(".sql"))
    return [(int(name[:4]), name, folder.joinpath(name).read_text(encoding="utf-8")) for name in names]


SCHEMA_VERSION = 8
"""Schema version this code writes; a database of a newer one is left alone."""


_KEPT: dict[Path, duckdb.DuckDBPyConnection] = {}
"""Databases that this process keeps open."""


class Database:
    """One DuckDB file, opened anew for each short piece of work.

    Args:
        path: the file; made, with its folder, by `prepare`.
        patience: seconds to wait for a lock that another process holds.
    """

    def __init__(self, path: Path, *, patience: float = 30.0) -> None:
        self.path = path
        self.patience = patience

    def exists(self) -> bool:
        """Whether there is a database file."""
        try:
            return self.path.exists()
        except OSError as error:
            raise WarehouseError(f"{self.path}: {error.strerror}; {_ANOTHER}") from None

    @contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A read-only connection.

        Raises:
            WarehouseError: no database there, or one that can't be used.
            WarehouseLocked: it stayed locked for longer than `patience`.
        """
        self._must_exist()
        with self._opened(read_only=True) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The one writing connection; keep it short. Errors as `reading`."""
        self._must_exist()
        with self._opened(read_only=False) as connection:
            yield connection

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """Let this process, which is alone with the database, open it once instead of for each piece of work.

        Nobody else can use it meanwhile. For playing months through; a process beside others opens it briefly.
        """
        self.prepare()
        with self._opened(read_only=False) as connection:
            _KEPT[self.path.absolute()] = connection
            try:
                yield
            finally:
                del _KEPT[self.path.absolute()]

    def prepare(self) -> None:
        """Make the database, or bring an older one forward; an up-to-date one is not written to.

        Raises:
            WarehouseError: a newer schema, a corrupt file, a disk that can't be written; nothing was changed.
        """
        if self.exists():
            with self.reading() as connection:
                version = _version(connection, self.path)
                complete = version == SCHEMA_VERSION and _knows_todays_sessions(connection)
            if version > SCHEMA_VERSION:
                raise WarehouseError(
                    f"{self.path} has schema version {version}, newer than {SCHEMA_VERSION}, the newest this "
                    "market_data knows; upgrade market_data, or name another database in MARKET_DATA_DATABASE"
                )
            if complete:
                return
        self._make_folder()
        is_new = not self.exists()
        try:
            with self._opened(read_only=False) as connection:
                _migrate(connection, self.path)
        except WarehouseLocked:
            raise
        except WarehouseError:
            if is_new:
                self.path.unlink(missing_ok=True)
                self.path.with_name(f"{self.path.name}.wal").unlink(missing_ok=True)
            raise

    def _must_exist(self) -> None:
        if not self.exists():
            raise WarehouseError(f"{self.path}: no database yet; run `market-data backfill` first")

    @contextmanager
    def _opened(self, *, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
        connection = self._open(read_only=read_only)
        try:
            yield connection
        except duckdb.Error as error:
            if _ON_DISK.search(str(error)):
                raise _explained(self.path, error) from None
            raise
        finally:
            connection.close()

    def _make_folder(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WarehouseError(f"{self.path.parent}: cannot be made: {error.strerror}; {_ANOTHER}") from None

    def _open(self, *, read_only: bool) -> duckdb.DuckDBPyConnection:
        kept = _KEPT.get(self.path.absolute())
        if kept is not None:
            return kept.cursor()
        deadline = time.monotonic() + self.patience
        while True:
            try:
                return duckdb.connect(str(self.path.absolute()), read_only=read_only, config=dict(_CONFIG))
            except duckdb.Error as error:
                if "lock on file" not in str(error):
                    raise _explained(self.path, error) from None
                if time.monotonic() >= deadline:
                    raise WarehouseLocked(_lock_message(self.path, self.patience, str(error))) from None
            time.sleep(POLL)


def _lock_message(path: Path, patience: float, error: str) -> str:
    holder = re.search(r"PID (\d+)", error)
    who = f"process {holder[1]}" if holder else "another process"
    return (
        f"{path}: locked by {who} for longer than {patience:g} s; "
        "wait for it or end it, or set MARKET_DATA_LOCK_PATIENCE higher"
    )


def _explained(path: Path, error: duckdb.Error) -> WarehouseError:
    text = str(error).splitlines()[0]
    if re.search(
        r"not a valid DuckDB|Corrupt|checksum|Serialization|deserialize|read enough bytes|^IO Error: Extension",
        text,
        re.IGNORECASE,
    ):
        return WarehouseError(f"{path}: not a usable DuckDB database, it was left as it is; restore a backup: {text}")
    if re.search(r"newer|storage version|version number", text, re.IGNORECASE):
        return WarehouseError(f"{path}: written by a newer DuckDB; install that version: {text}")
    if re.search(r"Permission denied|Read-only file system|read-only", text, re.IGNORECASE):
        return WarehouseError(f"{path}: cannot be written; check the permissions of the file and its folder: {text}")
    return WarehouseError(f"{path}: cannot be used; free some room, or {_ANOTHER}: {text}")


def _version(connection: duckdb.DuckDBPyConnection, path: Path) -> int:
    tables = {
        row[0]
        for row in connection.execute(
            "SELECT table_name FROM duckdb_tables() UNION ALL SELECT view_name FROM duckdb_views() WHERE NOT internal"
        ).fetchall()
    }
    if not tables:
        return 0
    if not {"schema_version", "price_history_daily"} <= tables:
        raise WarehouseError(
            f"{path}: a DuckDB database of something else (it has not the tables of market_data); "
            "name another file in MARKET_DATA_DATABASE"
        )
    row = connection.execute("SELECT max(version) FROM schema_version").fetchone()
    return int(row[0]) if row and row[0] is not None else 0


def _migrate(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    version = _version(connection, path)
    connection.execute("BEGIN TRANSACTION")
    try:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_version "
            "(version INTEGER PRIMARY KEY, name VARCHAR NOT NULL, applied_at TIMESTAMP NOT NULL)"
        )
        for number, name, script in _migrations():
            if number > version:
                connection.execute(script)
                connection.execute("INSERT INTO schema_version VALUES (?, ?, ?)", [number, name, _utc_naive()])
        connection.execute(files("market_data.warehouse").joinpath("views.sql").read_text(encoding="utf-8"))
        _fill_sessions(connection)
        connection.execute("COMMIT")
    except BaseException:
        with suppress(duckdb.Error):  # a commit that failed has rolled back already
            connection.execute("ROLLBACK")
        raise


def _knows_todays_sessions(connection: duckdb.DuckDBPyConnection) -> bool:
    row = connection.execute("SELECT max(session) FROM sessions").fetchone()
    return bool(row and row[0] and row[0] >= _utc_naive().date())


def _utc_naive() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _fill_sessions(connection: duckdb.DuckDBPyConnection) -> None:
    sessions = sessions_between(FIRST_DATE, date(_utc_naive().year + 1, 1, 1))
    table = pa.table(
        {
            "session": pa.array(sessions.to_numpy().astype("datetime64[D]")),
            "closes_at": pa.array(closes(sessions).tz_localize(None).to_numpy().astype("datetime64[us]")),
        }
    )
    connection.register("known_sessions", table)
    connection.execute("INSERT INTO sessions SELECT * FROM known_sessions ON CONFLICT DO NOTHING")
    connection.unregister("known_sessions")
