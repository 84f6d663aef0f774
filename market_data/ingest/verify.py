"""Whether what is kept is whole: raw payloads, the database's references to them, and the audit files.

Nothing is changed. Each thing that is wrong is a `Finding` with its mend.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb

from market_data.errors import RawStoreError
from market_data.ingest.amend import JOB_KIND, require_kind
from market_data.ingest.intraday.packs import PollPacks
from market_data.ingest.lock import sole_ingest
from market_data.ingest.raw_store import RawStore
from market_data.records import StoredPayload
from market_data.settings import Settings
from market_data.warehouse.connection import Database
from market_data.warehouse.holdings import audit_lines
from market_data.warehouse.intraday_polls import hashes_let_go
from market_data.warehouse.references import payload_references

__all__ = ["Finding", "Verified", "verify"]

_THREADS = 4
_RESTORE = "bring it back from a backup; without it, what was read from it cannot be rebuilt"
_REMOVE = "was left by a process that died while it wrote; remove it"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: its kind, the file or the table's key, and what it is with its mend."""

    kind: str
    place: str
    message: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What was looked at, and what is wrong; sizes are of the payloads as received, in bytes."""

    payloads: int
    requests: int
    bytes: int
    audit_records: int
    findings: tuple[Finding, ...]

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types, with the number of findings of each kind."""
        return asdict(self) | {
            "sound": self.is_sound,
            "kinds": dict(sorted(Counter(finding.kind for finding in self.findings).items())),
            "findings": [asdict(finding) for finding in self.findings],
        }


@dataclass(frozen=True, slots=True)
class _Kept:
    """The raw store as it is: sizes by SHA-256 of sound bytes, hashes with any bytes, requests."""

    sizes: dict[str, int]
    hashes: set[str]
    requests: list[StoredPayload]
    findings: list[Finding]


def verify(settings: Settings, *, synthetic: bool) -> Verified:
    """Look over the raw store, the database and the audit files; waits for an ingest that is under way.

    Raises:
        WarehouseError: there is no database, it holds the other kind of data, or it can't be read.
        WarehouseLocked: it, or the ingest's lock, was held for longer than the configured patience.
    """
    database = Database(settings.database_for(synthetic=synthetic), patience=settings.lock_patience)
    with ExitStack() as stack:
        _wait_for_ingest(settings, stack)
        kept = _raw_store(RawStore(settings.raw_folder(synthetic=synthetic)))
        packed, damaged = PollPacks(settings.raw_folder(synthetic=synthetic)).checked()
        with database.reading() as connection:
            require_kind(connection, database.path, synthetic=synthetic)
            kept.hashes.update(packed, hashes_let_go(connection))
            findings = [*kept.findings, *_database(connection, kept)]
            lines, audit_findings = _audit(connection, settings.audit_folder, synthetic=synthetic)
    findings += audit_findings
    findings += [Finding("altered_pack", name, f"{told}; {_RESTORE}") for name, told in damaged.items()]
    return Verified(len(kept.sizes), len(kept.requests), sum(kept.sizes.values()), lines, tuple(findings))


def _wait_for_ingest(settings: Settings, stack: ExitStack) -> None:
    """Hold the ingest's lock where there ever was one: what is just being written would look unfinished."""
    lock = settings.runtime / "ingest.lock"
    if lock.exists() and os.access(lock, os.W_OK):
        stack.enter_context(sole_ingest(settings))


def _raw_store(raw_store: RawStore) -> _Kept:
    files = sorted(path for path in raw_store.folder.glob("[0-9a-f][0-9a-f]/*") if path.is_file())
    bytes_files = {path.stem: path for path in files if path.suffix == ".zst"}
    findings = [Finding("part_file", str(path), _REMOVE) for path in files if path.suffix == ".part"]
    with ThreadPoolExecutor(_THREADS) as pool:
        read = dict(zip(bytes_files, pool.map(lambda sha256: _read(raw_store, sha256), bytes_files), strict=True))
    findings += [
        Finding("altered_bytes", str(bytes_files[sha256]), f"{told}; {_RESTORE}")
        for sha256, told in read.items()
        if isinstance(told, str)
    ]
    requests, unreadable = _requests(raw_store, sorted(raw_store.request_ids()))
    asked = {stored.sha256 for stored in requests}
    findings += unreadable
    findings += [
        Finding("orphan_bytes", str(path), "no request file tells what it answers; remove it, or restore that file")
        for sha256, path in bytes_files.items()
        if sha256 not in asked
    ]
    findings += [
        Finding("missing_bytes", _key(stored), f"the bytes of payload {stored.sha256} are missing; {_RESTORE}")
        for stored in requests
        if stored.sha256 not in bytes_files
    ]
    sizes = {sha256: size for sha256, size in read.items() if isinstance(size, int)}
    return _Kept(sizes, set(bytes_files), requests, findings)


def _read(raw_store: RawStore, sha256: str) -> int | str:
    """Size of a payload, or what is wrong with it."""
    try:
        return len(raw_store.get(sha256))
    except RawStoreError as error:
        return str(error)


def _requests(raw_store: RawStore, ids: Sequence[str]) -> tuple[list[StoredPayload], list[Finding]]:
    """The requests of the given ids, and a finding for each file that can't be read, found by halving."""
    every = raw_store.request_ids()
    try:
        return list(raw_store.stored(skip=every.difference(ids))), []
    except RawStoreError as error:
        if len(ids) == 1:
            told = f"{error}; restore it from a backup, for its bytes alone do not tell what they answer"
            return [], [Finding("unreadable_request", ids[0], told)]
    middle = len(ids) // 2
    halves = [_requests(raw_store, ids[:middle]), _requests(raw_store, ids[middle:])]
    return [item for found, _ in halves for item in found], [item for _, found in halves for item in found]


def _database(connection: duckdb.DuckDBPyConnection, kept: _Kept) -> Iterator[Finding]:
    named = payload_references(connection)
    ledger = connection.execute("SELECT request_id, symbol, provider, raw_hash FROM coverage ORDER BY ALL").fetchall()
    ids, hashes = {row[0] for row in ledger}, set().union(*named.values())
    for stored in kept.requests:
        if stored.request_id not in ids and stored.sha256 not in hashes:
            yield Finding(
                "orphan_payload",
                _key(stored),
                f"payload {stored.sha256} of {stored.provider} for {stored.request.symbol} is in no table; the next "
                "`market-data backfill` notes it where the symbol is in the universe, the next `market-data amend` an "
                "amendment",
            )
    for request_id, symbol, provider, sha256 in ledger:
        if sha256 is not None and sha256 not in kept.hashes:
            yield Finding(
                "coverage_without_payload",
                f"coverage {request_id}",
                f"{symbol} of {provider}: payload {sha256} is not in the raw store; {_RESTORE}",
            )
    for (table, column), counts in named.items():
        for sha256, count in counts.items():
            if sha256 not in kept.hashes:
                yield Finding(
                    "row_without_payload",
                    f"{table}.{column} {sha256}",
                    f"{count:,} rows name a payload that is not in the raw store; {_RESTORE}",
                )


def _audit(connection: duckdb.DuckDBPyConnection, folder: Path, *, synthetic: bool) -> tuple[int, list[Finding]]:
    """Records in the table, and where the files say another thing; lines of the other kind of store are passed over."""
    findings = [Finding("part_file", str(path), _REMOVE) for path in sorted(folder.glob("*.part"))]
    jobs = connection.execute("SELECT DISTINCT job_id FROM ingestion_audit ORDER BY job_id").fetchall()
    rows = {(row["kind"], row["job_id"], row["symbol"]): row for (job,) in jobs for row in audit_lines(connection, job)}
    seen = set()
    for path, number, line in _lines(folder):
        place = f"{path}:{number}"
        key = None if line is None else (line.get("kind"), line.get("job_id"), line.get("symbol"))
        if line is None or key is None:
            findings.append(Finding("audit_line_unreadable", place, f"is no complete line; {_again(path.stem)}"))
        elif line.get("synthetic") is not synthetic:
            continue
        elif key not in rows:
            told = f"the table has no record of {key[2]} in job {key[1]}; restore the database it is of, or rebuild it"
            findings.append(Finding("audit_line_without_row", place, told))
        elif key in seen or _canonical(line) != _canonical(rows[key]):
            what = "is there a second time" if key in seen else "says another thing than the table"
            findings.append(Finding("audit_line_differs", place, f"{what}; {_again(path.stem)}"))
        seen.add(key)
    for kind, job, symbol in sorted(rows.keys() - seen):
        file = folder / f"{kind}_{job}.jsonl"
        told = f"the file lacks the record of {symbol}; {_again(file.stem)}"
        findings.append(Finding("audit_row_without_line", str(file), told))
    return len(rows), findings


def _lines(folder: Path) -> Iterator[tuple[Path, int, dict[str, Any] | None]]:
    """Every line of the audit files with its place; None for one that is cut off or no JSON object."""
    for path in sorted(folder.glob("*.jsonl")):
        for number, text in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
            yield path, number, _parsed(text)


def _parsed(text: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) and text.endswith(b"\n") else None


def _canonical(record: dict[str, Any]) -> str:
    return json.dumps(record, sort_keys=True)


def _again(job: str) -> str:
    """How an audit file is made anew: `job` is kind_id."""
    kind, _, job_id = job.partition("_")
    mends = {
        "intraday": f"; take the job up again with `market-data intraday backfill --job-id {job_id}`",
        "backfill": f"; take the job up again with --job-id {job_id}, and the file is made anew",
        JOB_KIND: "; remove the file, and the next `market-data amend` makes it anew",
    }
    return f"the table ingestion_audit is right{mends.get(kind, '')}"


def _key(stored: StoredPayload) -> str:
    return f"{stored.sha256}.{stored.request_id}.json"
