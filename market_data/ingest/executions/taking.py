"""Taking files of executions: their bytes to the raw store, then all that they say in one transaction a file.

A file is known by its content: what was taken once does nothing a second time, under whatever name, but for lines that
could not be used then. Those are put beside the file, in `<file>.rejected.jsonl`, and into `execution_rejects`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb

from market_data.clock import Clock, utc_now
from market_data.ingest.executions.file import FeedbackFileError, ParsedExecutions, parse_executions
from market_data.ingest.executions.rejects import write_rejects
from market_data.ingest.lock import sole_ingest
from market_data.ingest.raw_store import RawStore
from market_data.ingest.writer import Writer
from market_data.instruments import Universe
from market_data.providers.base import sha256_hex
from market_data.records import EVERY, FetchRequest, RawPayload, StoredPayload
from market_data.settings import Settings
from market_data.warehouse.connection import Database
from market_data.warehouse.executions import (
    FileTaken,
    Reject,
    known_file,
    prices_out_of_range,
    record_file,
    record_rejects,
    rejected_lines,
    write_executions,
)
from market_data.warehouse.store import claim_kind, record_coverage, transaction

__all__ = [
    "FEED",
    "PROVIDER",
    "FeedbackTaken",
    "TakenFile",
    "apply_feedback",
    "read_file",
    "request_at",
    "take_feedback",
]

PROVIDER, FEED = "feedback", "executions"
"""How the raw store and the ledger of requests name files of executions."""

_NEW_YORK = ZoneInfo("America/New_York")


@dataclass(frozen=True, slots=True)
class TakenFile:
    """What became of a file now.

    Attributes:
        file: the counts of this time; `refused` is why nothing of it could be used.
        is_known: whether the same content was taken before, so that only what was rejected then was read again.
        rejects: lines that could not be used.
        duplicates: lines that repeat an earlier one, each with that one.
        ignored: columns that mean nothing.
        findings: what is odd of lines that were taken all the same: prices beyond their session's range.
    """

    file: FileTaken
    is_known: bool = False
    rejects: tuple[Reject, ...] = ()
    duplicates: dict[int, int] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self.file) | {
            "taken_at": self.file.taken_at.isoformat(),
            "known": self.is_known,
            "rejects": [asdict(reject) for reject in self.rejects],
            "repeated_lines": {str(line): first for line, first in self.duplicates.items()},
            "ignored_columns": list(self.ignored),
            "findings": list(self.findings),
        }


@dataclass(frozen=True, slots=True)
class FeedbackTaken:
    """What became of several files, in the order they were taken."""

    files: tuple[TakenFile, ...] = ()

    def total(self, name: str) -> int:
        """The sum of one of the counts: lines, inserted, updated, unchanged, superseded, duplicates, rejected."""
        return sum(getattr(taken.file, name) for taken in self.files)

    @property
    def is_good(self) -> bool:
        """Whether every line of every file could be used."""
        return not any(taken.file.refused or taken.rejects for taken in self.files)


def take_feedback(
    settings: Settings,
    universe: Universe,
    paths: Sequence[Path],
    *,
    synthetic: bool,
    clock: Clock = utc_now,
    read: Callable[[Path], bytes | None] | None = None,
    on_taken: Callable[[Path, TakenFile], None] | None = None,
) -> FeedbackTaken:
    """Take files of executions, one after the other; nothing of a bad line or an unusable file is written.

    Args:
        read: how the bytes of a file are got, None for one to pass over; by default `read_file`.
        on_taken: called with each file once it is in the database; by default its rejects are put beside it.

    Raises:
        FeedbackFileError: one of them cannot be read; those before it are taken.
        WarehouseError: the database holds the other kind of data, or cannot be used.
        WarehouseLocked: it, or the ingest's lock, was held for longer than the configured patience.
    """
    read = read or read_file
    database = Database(settings.database_for(synthetic=synthetic), patience=settings.lock_patience)
    raw_store = RawStore(settings.raw_folder(synthetic=synthetic))
    done = []
    with sole_ingest(settings), Writer(database) as writer:
        database.prepare()
        claim_kind(writer.connection, synthetic=synthetic)
        for path in paths:
            body = read(path)
            if body is None:
                continue
            connection = writer.connection
            stored = _kept(connection, raw_store, path, body, clock())
            with transaction(connection):
                taken = apply_feedback(connection, universe, stored, body, now=clock())
            if on_taken is not None:
                on_taken(path, taken)
            else:
                write_rejects(path, taken.rejects, taken.file.raw_hash)
            done.append(taken)
    return FeedbackTaken(tuple(done))


def apply_feedback(
    connection: duckdb.DuckDBPyConnection,
    universe: Universe,
    stored: StoredPayload,
    body: bytes,
    *,
    now: datetime | None = None,
) -> TakenFile:
    """Write what a stored file of executions says; call it inside `transaction`.

    A rebuild does the same with the same file. Content taken before changes nothing, but for its rejected lines.

    Args:
        now: instant of the taking (timezone-aware); by default that at which the file was stored.
    """
    before = known_file(connection, stored.sha256)
    taken_at = stored.fetched_at if before is None or now is None else now
    file = FileTaken(stored.sha256, stored.url, stored.size, taken_at)
    only = rejected_lines(connection, stored.sha256) if before and before.refused is None else None
    if only is not None and not only:
        return TakenFile(file, is_known=True)
    try:
        parsed = parse_executions(body, universe=universe, now=taken_at, name=stored.url)
    except FeedbackFileError as error:
        taken = TakenFile(replace(file, refused=str(error)), is_known=before is not None)
    else:
        taken = _written(connection, parsed, file, only)
    if before is None:
        record_file(connection, taken.file)
    elif taken.file.refused is None:
        record_file(connection, _summed(before, taken.file))
    _note(connection, stored, "rejected" if taken.file.refused else "accepted")
    return taken


def _written(
    connection: duckdb.DuckDBPyConnection, parsed: ParsedExecutions, file: FileTaken, only: set[int] | None
) -> TakenFile:
    """Write the lines of a file, or of one taken before only those that could not be used then."""
    executions, bad, duplicates = parsed.executions, parsed.bad, parsed.duplicates
    if only is not None:
        executions = executions[executions.index.isin(only)]
        bad = tuple(reject for reject in bad if reject.line in only)
        duplicates = {line: first for line, first in duplicates.items() if line in only}
    counts, conflicts = write_executions(
        connection, executions, source_file=file.name, raw_hash=file.raw_hash, received_at=file.taken_at
    )
    stuck = [Reject(item.line, parsed.texts[item.line], item.reason, item.order_id) for item in conflicts]
    rejects = tuple(sorted([*bad, *stuck], key=lambda reject: reject.line))
    record_rejects(connection, rejects, source_file=file.name, raw_hash=file.raw_hash, rejected_at=file.taken_at)
    file = replace(
        file,
        lines=parsed.lines if only is None else len(only),
        duplicates=len(duplicates),
        rejected=len(rejects),
        **asdict(counts),
    )
    return TakenFile(file, only is not None, rejects, duplicates, parsed.ignored, _findings(connection, file))


def _findings(connection: duckdb.DuckDBPyConnection, file: FileTaken) -> tuple[str, ...]:
    odd = prices_out_of_range(connection, file.raw_hash)
    return tuple(
        f"order {row.order_id}: {row.price:g} is beyond what {row.symbol} traded at on {row.session_date:%Y-%m-%d}, "
        f"{row.low:g} to {row.high:g}"
        for row in odd.itertuples(index=False)
    )


def _summed(before: FileTaken, again: FileTaken) -> FileTaken:
    """What became of a file over all times it was taken."""
    added = ("inserted", "updated", "unchanged", "superseded", "duplicates")
    sums = {name: getattr(before, name) + getattr(again, name) for name in added}
    lines = again.lines if before.refused else before.lines
    taken_at = before.taken_at.replace(tzinfo=again.taken_at.tzinfo)
    return replace(before, taken_at=taken_at, refused=None, lines=lines, rejected=again.rejected, **sums)


def _kept(
    connection: duckdb.DuckDBPyConnection, raw_store: RawStore, path: Path, body: bytes, now: datetime
) -> StoredPayload:
    """The file in the raw store; one that a process kept and died before it wrote is taken for this one."""
    sha256 = sha256_hex(body)
    if raw_store.has(sha256):
        noted = {
            row[0]
            for row in connection.execute(
                "SELECT request_id FROM coverage WHERE provider <> ? OR raw_hash <> ?", [PROVIDER, sha256]
            ).fetchall()
        }
        same = [item for item in raw_store.stored(skip=noted) if (item.provider, item.sha256) == (PROVIDER, sha256)]
        if same:
            return min(same, key=lambda item: item.fetched_at)
    payload = RawPayload(PROVIDER, request_at(now), body, sha256, path.name, 200, "text/plain", now, attempts=0)
    return raw_store.put(payload)


def request_at(now: datetime) -> FetchRequest:
    """What the ledger of requests says was asked for by a file that is taken at an instant."""
    day = now.astimezone(_NEW_YORK).date()
    return FetchRequest(EVERY, day, day, feed=FEED)


def _note(connection: duckdb.DuckDBPyConnection, stored: StoredPayload, verdict: str) -> None:
    known = connection.execute("SELECT 1 FROM coverage WHERE request_id = ?", [stored.request_id]).fetchall()
    if not known:
        record_coverage(connection, stored, job_id=None, verdict=verdict)


def read_file(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        FeedbackFileError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise FeedbackFileError(f"{path}: cannot be read: {error.strerror}; name a CSV or JSON lines file") from None
