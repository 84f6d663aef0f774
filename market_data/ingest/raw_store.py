"""The raw store: every answer as it came, addressed by its SHA-256.

`raw/<2 hex>/<sha256>.zst` holds the bytes, zstd-compressed; beside it, one `<sha256>.<request id>.json` for each
request that was answered with them says who was asked for what, when. Both are written to a temporary file, fsynced
and renamed, bytes first: a request file therefore always has its bytes. What is sound is never overwritten.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Collection, Iterator
from datetime import date, datetime
from pathlib import Path

import zstandard

from market_data.errors import RawStoreError
from market_data.providers.base import sha256_hex
from market_data.records import FetchRequest, RawPayload, StoredPayload

__all__ = ["RawStore"]

MAX_BODY = 1 << 30


class RawStore:
    """Payloads below one folder; safe to use from several threads and processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._compressor = threading.local()

    def put(self, payload: RawPayload) -> StoredPayload:
        """Keep a payload, durably, before anything is made of it; bytes that were damaged since are mended by it."""
        stored = _described(payload)
        bytes_file = self._bytes_file(payload.sha256)
        if not bytes_file.exists() or not self._is_sound(payload.sha256):
            bytes_file.parent.mkdir(parents=True, exist_ok=True)
            _write_synced(bytes_file, self._compress(payload.body))
        meta_file = bytes_file.with_name(f"{payload.sha256}.{stored.request_id}.json")
        if not meta_file.exists():
            _write_synced(meta_file, _as_json(stored))
            _sync_folder(meta_file.parent)
        return stored

    def get(self, sha256: str) -> bytes:
        """The bytes of a payload, checked against their hash.

        Raises:
            RawStoreError: there are none, or they were altered.
        """
        file = self._bytes_file(sha256)
        try:
            body = zstandard.ZstdDecompressor().decompress(file.read_bytes(), max_output_size=MAX_BODY)
        except FileNotFoundError:
            raise RawStoreError(f"raw store: payload {sha256} is missing ({file})") from None
        except (OSError, MemoryError, zstandard.ZstdError) as error:
            raise RawStoreError(f"raw store: payload {sha256} cannot be read ({file}): {error}") from None
        if sha256_hex(body) != sha256:
            raise RawStoreError(f"raw store: payload {sha256} was altered: its bytes hash to {sha256_hex(body)}")
        return body

    def has(self, sha256: str) -> bool:
        """Whether the bytes of a payload are kept; does not read them."""
        return self._bytes_file(sha256).is_file()

    def request_ids(self) -> set[str]:
        """Ids of every request kept; reads names only."""
        return {name.split(".")[1] for name in (path.name for path in self._meta_files())}

    def stored(self, *, skip: Collection[str] = ()) -> Iterator[StoredPayload]:
        """What is kept, but for the request ids in `skip`, in no given order.

        Raises:
            RawStoreError: a request file cannot be read.
        """
        for path in self._meta_files():
            if path.name.split(".")[1] not in skip:
                yield _from_json(path)

    def _is_sound(self, sha256: str) -> bool:
        try:
            self.get(sha256)
        except RawStoreError:
            return False
        return True

    def _meta_files(self) -> Iterator[Path]:
        return self.folder.glob("[0-9a-f][0-9a-f]/*.json")

    def _bytes_file(self, sha256: str) -> Path:
        return self.folder / sha256[:2] / f"{sha256}.zst"

    def _compress(self, body: bytes) -> bytes:
        if not hasattr(self._compressor, "zstd"):
            self._compressor.zstd = zstandard.ZstdCompressor(level=1)
        compressed: bytes = self._compressor.zstd.compress(body)
        return compressed


def _described(payload: RawPayload) -> StoredPayload:
    request = payload.request
    identity = "|".join(
        (
            payload.provider,
            request.symbol,
            request.interval,
            *([] if request.feed == "bars" else [request.feed]),
            request.start.isoformat(),
            request.end.isoformat(),
            payload.fetched_at.isoformat(),
            payload.sha256,
        )
    )
    return StoredPayload(
        request_id=sha256_hex(identity.encode())[:16],
        provider=payload.provider,
        request=request,
        sha256=payload.sha256,
        url=payload.url,
        status=payload.status,
        content_type=payload.content_type,
        fetched_at=payload.fetched_at,
        attempts=payload.attempts,
        elapsed_ms=round(payload.elapsed_ms, 3),
        size=len(payload.body),
    )


def _as_json(stored: StoredPayload) -> bytes:
    request = stored.request
    document = {
        "request_id": stored.request_id,
        "provider": stored.provider,
        "symbol": request.symbol,
        "interval": request.interval,
        "feed": request.feed,
        "start": request.start.isoformat(),
        "end": request.end.isoformat(),
        "sha256": stored.sha256,
        "url": stored.url,
        "status": stored.status,
        "content_type": stored.content_type,
        "fetched_at": stored.fetched_at.isoformat(),
        "attempts": stored.attempts,
        "elapsed_ms": stored.elapsed_ms,
        "size": stored.size,
    }
    return json.dumps(document, indent=1).encode()


def _from_json(path: Path) -> StoredPayload:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        request = FetchRequest(
            symbol=document.pop("symbol"),
            start=date.fromisoformat(document.pop("start")),
            end=date.fromisoformat(document.pop("end")),
            interval=document.pop("interval"),
            feed=document.pop("feed", "bars"),
        )
        fetched_at = datetime.fromisoformat(document.pop("fetched_at"))
        return StoredPayload(request=request, fetched_at=fetched_at, **document)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RawStoreError(f"raw store: {path} cannot be read: {error}") from None


def _write_synced(file: Path, content: bytes) -> None:
    part = file.with_name(f"{file.name}.{os.getpid()}.{threading.get_ident()}.part")
    with part.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(file)


def _sync_folder(folder: Path) -> None:
    """Make the renames in a folder last, in the order they were made."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
