"""Packs: every answer of one poll as it came, in one zip file, kept before anything is made of it.

`polls/<session>/<UTC stamp>_<job id>.zip` below the raw store's folder holds each body under its SHA-256, `poll.json`
about the poll, and `requests.jsonl` with a line for each request: what `RawStore` keeps of one, with `since`, and the
error where no usable answer came. A file for each body would make 390,000 files of a session of 249 symbols; here one
is fsynced a poll. It is written to a temporary file, fsynced and renamed, so that a pack is whole or not there.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from market_data.errors import RawStoreError
from market_data.providers.base import sha256_hex
from market_data.records import FetchRequest, RawPayload

__all__ = ["Asked", "Poll", "PollPacks"]

FOLDER = "polls"
_ABOUT, _REQUESTS = "poll.json", "requests.jsonl"
_LEVEL = 1  # of deflate: bodies are small, and higher ones take longer than they spare


@dataclass(frozen=True, slots=True)
class Asked:
    """What one request of a poll came to.

    Attributes:
        payload: the answer, an error's body included; None where none came.
        calls: requests sent, retries included; 0 where the vendor was not asked after all.
        error: kind of the error that came in place of an answer, empty where one came.
        message: the error's text.
    """

    provider: str
    request: FetchRequest
    payload: RawPayload | None = None
    calls: int = 0
    error: str = ""
    message: str = ""

    @property
    def symbol(self) -> str:
        """The symbol asked for."""
        return self.request.symbol


@dataclass(frozen=True, slots=True)
class Poll:
    """One poll of a session: who was asked for what, and what came.

    Attributes:
        polled_at: instant (UTC) it began.
        left_out: by symbol, why nobody was asked.
        skipped: polls due before it that were left out, since the one before took too long.
        own_ms: time it took but for the wait for answers; what comes after the pack is added later.
    """

    session: date
    polled_at: datetime
    job_id: str
    asked: tuple[Asked, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    skipped: int = 0
    own_ms: float = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether no request was sent."""
        return not any(asked.calls for asked in self.asked)


class PollPacks:
    """The packs below a raw store's folder.

    Args:
        folder: of the raw store.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER

    def put(self, poll: Poll) -> str:
        """Keep a poll, durably; returns the pack's name, its path below the folder."""
        day = self.folder / poll.session.isoformat()
        day.mkdir(parents=True, exist_ok=True)
        file = day / f"{poll.polled_at.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}_{poll.job_id}.zip"
        part = file.with_name(f"{file.name}.{os.getpid()}.part")
        with part.open("wb") as stream:
            _write(stream, poll)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(file)
        _sync_folder(day)
        return self.name(file)

    def get(self, name: str) -> Poll:
        """A poll as it was kept, its bodies checked against their hashes.

        Raises:
            RawStoreError: the pack is missing, or its bytes were altered.
        """
        file = self.folder / name
        try:
            with zipfile.ZipFile(file) as pack:
                about = json.loads(pack.read(_ABOUT))
                asked = tuple(_asked(json.loads(line), pack, file) for line in pack.read(_REQUESTS).splitlines())
                return Poll(
                    session=date.fromisoformat(about["session"]),
                    polled_at=datetime.fromisoformat(about["polled_at"]),
                    job_id=about["job_id"],
                    asked=asked,
                    left_out=about["left_out"],
                    skipped=about["skipped"],
                )
        except FileNotFoundError:
            raise RawStoreError(f"raw store: the pack {file} is missing") from None
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise RawStoreError(f"raw store: the pack {file} cannot be read: {error}") from None

    def names(self, session: date) -> list[str]:
        """The packs of a session, oldest first."""
        return sorted(self.name(file) for file in (self.folder / session.isoformat()).glob("*.zip"))

    def sessions(self) -> list[date]:
        """Sessions that have packs, ascending."""
        return sorted(date.fromisoformat(path.name) for path in self.folder.glob("????-??-??") if path.is_dir())

    def hashes(self) -> Iterator[str]:
        """SHA-256 of every body kept in a pack, by the names of the packs' members; reads no body.

        Raises:
            RawStoreError: a pack is damaged.
        """
        for file in sorted(self.folder.glob("????-??-??/*.zip")):
            try:
                with zipfile.ZipFile(file) as pack:
                    yield from (name for name in pack.namelist() if name not in (_ABOUT, _REQUESTS))
            except (OSError, zipfile.BadZipFile) as error:
                raise RawStoreError(f"raw store: the pack {file} cannot be read: {error}") from None

    def checked(self) -> tuple[set[str], dict[str, str]]:
        """Read every pack: the SHA-256 of the bodies in sound ones, and by name what is wrong with the others."""
        hashes: set[str] = set()
        damaged: dict[str, str] = {}
        for name in (name for session in self.sessions() for name in self.names(session)):
            try:
                hashes |= {asked.payload.sha256 for asked in self.get(name).asked if asked.payload is not None}
            except RawStoreError as error:
                damaged[name] = str(error)
        return hashes, damaged

    def name(self, file: Path) -> str:
        """A pack's path below the folder, as the table of polls has it."""
        return file.relative_to(self.folder).as_posix()


def _write(stream: Any, poll: Poll) -> None:
    moment = poll.polled_at.astimezone(UTC).timetuple()[:6]
    about = {
        "session": poll.session.isoformat(),
        "polled_at": poll.polled_at.isoformat(),
        "job_id": poll.job_id,
        "skipped": poll.skipped,
        "left_out": dict(poll.left_out),
    }
    bodies = {asked.payload.sha256: asked.payload.body for asked in poll.asked if asked.payload is not None}
    lines = "".join(json.dumps(_line(asked), separators=(",", ":")) + "\n" for asked in poll.asked)
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as pack:
        for name, content in [(_ABOUT, json.dumps(about).encode()), (_REQUESTS, lines.encode()), *bodies.items()]:
            entry = zipfile.ZipInfo(name, moment)
            entry.compress_type = zipfile.ZIP_DEFLATED
            pack.writestr(entry, content, compresslevel=_LEVEL)


def _line(asked: Asked) -> dict[str, Any]:
    request, payload = asked.request, asked.payload
    line: dict[str, Any] = {
        "provider": asked.provider,
        "symbol": request.symbol,
        "interval": request.interval,
        "start": request.start.isoformat(),
        "end": request.end.isoformat(),
        "since": request.since.isoformat() if request.since else None,
        "calls": asked.calls,
    }
    if asked.error:
        line |= {"error": asked.error, "message": asked.message}
    if payload is not None:
        line |= {
            "sha256": payload.sha256,
            "url": payload.url,
            "status": payload.status,
            "content_type": payload.content_type,
            "fetched_at": payload.fetched_at.isoformat(),
            "attempts": payload.attempts,
            "elapsed_ms": round(payload.elapsed_ms, 3),
            "size": len(payload.body),
        }
    return line


def _asked(line: dict[str, Any], pack: zipfile.ZipFile, file: Path) -> Asked:
    since = line["since"]
    request = FetchRequest(
        line["symbol"],
        date.fromisoformat(line["start"]),
        date.fromisoformat(line["end"]),
        line["interval"],
        since=datetime.fromisoformat(since) if since else None,
    )
    payload = _payload(line, request, pack, file) if "sha256" in line else None
    return Asked(line["provider"], request, payload, line["calls"], line.get("error", ""), line.get("message", ""))


def _payload(line: dict[str, Any], request: FetchRequest, pack: zipfile.ZipFile, file: Path) -> RawPayload:
    sha256 = line["sha256"]
    body = pack.read(sha256)
    if sha256_hex(body) != sha256:
        raise RawStoreError(f"raw store: payload {sha256} in {file} was altered: its bytes hash to {sha256_hex(body)}")
    return RawPayload(
        provider=line["provider"],
        request=request,
        body=body,
        sha256=sha256,
        url=line["url"],
        status=line["status"],
        content_type=line["content_type"],
        fetched_at=datetime.fromisoformat(line["fetched_at"]),
        attempts=line["attempts"],
        elapsed_ms=line["elapsed_ms"],
    )


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
