"""The audit of a job as JSONL: one complete line a symbol, the same as `ingestion_audit`.

A line is written after its transaction, in one write. When a process died between the two, or within the write, the
file is made anew from the table the next time the job is taken up.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from market_data.errors import MarketDataError
from market_data.records import AuditRecord

__all__ = ["AuditFile"]

_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


class AuditFile:
    """`<folder>/<kind>_<job id>.jsonl`."""

    def __init__(self, folder: Path, kind: str, job_id: str) -> None:
        if not job_id or len(job_id) > 100 or not set(job_id) <= _NAME_CHARACTERS or job_id.startswith("."):
            raise MarketDataError(
                f"job id {job_id[:100]!r} is not allowed; use 1 to 100 letters, digits, '-', '_' or '.', no '.' first"
            )
        self.path = folder / f"{kind}_{job_id}.jsonl"

    def append(self, records: Iterable[AuditRecord]) -> None:
        """Add the lines of records that are committed."""
        text = "".join(_line(record.as_dict()) for record in records)
        with self._usable(), self.path.open("ab", buffering=0) as stream:
            stream.write(text.encode())

    def reconcile(self, lines: list[dict[str, Any]]) -> None:
        """Make the file say what the table says, if it does not already."""
        due = "".join(map(_line, lines)).encode()
        with self._usable():
            self._bring_to(due)

    def _bring_to(self, due: bytes) -> None:
        held = self.path.read_bytes() if self.path.exists() else b""
        if sorted(held.splitlines()) == sorted(due.splitlines()) and held.endswith(b"\n") == due.endswith(b"\n"):
            return
        part = self.path.with_suffix(".part")
        with part.open("wb") as stream:
            stream.write(due)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(self.path)

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            yield
        except OSError as error:
            raise MarketDataError(
                f"{self.path}: cannot be written: {error.strerror}; name another place in MARKET_DATA_RUNTIME"
            ) from None


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n"
