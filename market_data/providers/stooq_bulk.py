"""Stooq's bulk ASCII archive: a folder or a zip of any nesting, found once, indexed, and read one file at a time.

Files named `<ticker>.us.txt` below a folder `daily`, as in the archive Stooq serves, are taken by their names; any
other text file is taken when its first lines say that it is one. Its hourly and 5-minute files lie below `hourly` and
`5 min`. What the index learned is kept, so that a later run opens nothing but the files it needs.
"""

from __future__ import annotations

import io
import json
import os
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from market_data.errors import ArchiveError, BadPayload, OutOfWindow, ProviderError, UnknownSymbol
from market_data.instruments import Instrument
from market_data.providers.base import Clock, sha256_hex, utc_now
from market_data.providers.bodies import Answer
from market_data.providers.stooq import ASCII_HEADER, parse_bulk
from market_data.providers.stooq_clock import MINUTES
from market_data.records import FetchRequest, RawPayload
from market_data.sessions import is_session, session_hours

__all__ = ["Member", "StooqArchive", "StooqBulk"]

MAX_MEMBER = 64 * 1024 * 1024
SUFFIXES = (".txt", ".csv", ".asc")
_SNIFF = 512
_PERIODS = {"daily": "D", "hourly": "60", "5 min": "5"}
_INTERVALS = {"1d": ("D", "daily"), "5m": ("5", "5-minute"), "1h": ("60", "hourly")}


@dataclass(frozen=True, slots=True)
class Member:
    """A file of the archive: its path inside, size in bytes, modification stamp, ticker (upper case) and period.

    The ticker is empty for a file that is not Stooq ASCII.
    """

    path: str
    size: int
    stamp: int
    ticker: str = ""
    period: str = ""


class StooqArchive:
    """An opened archive. Reading is safe from several threads.

    Args:
        path: folder or zip.
        index_folder: where what the index learned is kept; None keeps nothing.
        interval: of the bars it is opened for, 1d, 5m or 1h: it must hold some, and these are counted and looked up.

    Raises:
        ArchiveError: names the path, what is wrong with it, and what would do.
    """

    def __init__(self, path: Path, *, index_folder: Path | None = None, interval: str = "1d") -> None:
        self.path = path
        self.interval = interval
        self.reads = 0
        self._lock = threading.Lock()
        self._zip = _open_zip(path) if path.is_file() else None
        if self._zip is None and not path.is_dir():
            raise ArchiveError(f"{path}: no such archive; give a folder or zip of Stooq's bulk ASCII files")
        members = self._index(index_folder)
        self._held: dict[tuple[str, str], list[Member]] = {}
        for member in members:
            if member.period and member.ticker:
                self._held.setdefault((member.ticker, member.period), []).append(member)
        period, name = _INTERVALS[interval]
        self._tickers = {ticker for ticker, held in self._held if held == period}
        if not self._tickers:
            raise ArchiveError(
                f"{path}: none of its {len(members)} files is a {name} Stooq ASCII file "
                f"(first line {ASCII_HEADER.decode()})"
            )

    def __len__(self) -> int:
        """Number of instruments with bars of its interval."""
        return len(self._tickers)

    def __contains__(self, ticker: str) -> bool:
        return ticker.upper() in self._tickers

    def read(self, ticker: str, interval: str | None = None) -> tuple[str, bytes]:
        """Path inside the archive and whole content of a ticker's file; by default that of the archive's interval.

        Raises:
            UnknownSymbol: the archive holds no such file.
            BadPayload: two files for the ticker, one too large, or one that cannot be read.
        """
        period, name = _INTERVALS[interval or self.interval]
        members = self._held.get((ticker.upper(), period), [])
        if not members:
            raise UnknownSymbol(f"{self.path.name} holds no {name} file of {ticker}")
        if len(members) > 1:
            paths = ", ".join(sorted(member.path for member in members))
            raise BadPayload(f"{self.path.name} holds {len(members)} {name} files of {ticker}: {paths}; keep one")
        if members[0].size > MAX_MEMBER:
            raise BadPayload(f"{members[0].path}: {members[0].size:,} bytes is more than {MAX_MEMBER:,}")
        return members[0].path, self._content(members[0].path, MAX_MEMBER)

    def close(self) -> None:
        """Close the zip."""
        if self._zip is not None:
            self._zip.close()

    def _content(self, path: str, limit: int) -> bytes:
        try:
            if self._zip is None:
                with (self.path / path).open("rb") as stream:
                    content = stream.read(limit)
            else:
                with self._lock, self._zip.open(path) as stream:
                    content = stream.read(limit)
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
            raise BadPayload(f"{self.path.name}: cannot read {path}: {error}") from None
        with self._lock:
            self.reads += 1
        return content

    def _index(self, folder: Path | None) -> list[Member]:
        kept = _kept_index(folder, self.path)
        members = []
        for found in self._files():
            known = kept.get(found.path)
            same = known is not None and (known.size, known.stamp) == (found.size, found.stamp)
            members.append(known if known is not None and same else _identify(found, self._content))
        if folder is not None and {member.path: member for member in members} != kept:
            _keep_index(folder, self.path, members)
        return members

    def _files(self) -> Iterator[Member]:
        if self._zip is not None:
            for info in sorted(self._zip.infolist(), key=lambda item: item.filename):
                if not info.is_dir() and info.filename.lower().endswith(SUFFIXES):
                    yield Member(info.filename, info.file_size, info.CRC)
            return
        for base, folders, names in os.walk(self.path):
            folders.sort()
            for name in sorted(names):
                if name.lower().endswith(SUFFIXES):
                    file = Path(base, name)
                    status = file.stat()
                    yield Member(file.relative_to(self.path).as_posix(), status.st_size, status.st_mtime_ns)


class StooqBulk:
    """The provider `stooq_bulk` over an archive: no network, no quota."""

    name = "stooq_bulk"
    synthetic = False

    def __init__(self, archive: StooqArchive, *, clock: Clock = utc_now) -> None:
        self.archive = archive
        self._clock = clock

    def serves(self, instrument: Instrument) -> bool:
        """Whether the archive holds the instrument."""
        return instrument.ticker("stooq") in self.archive

    def fetch(self, instrument: Instrument, request: FetchRequest) -> RawPayload:
        """The instrument's whole file; its request is narrowed to what that answers.

        Daily bars answer for the window as far as the last of them reaches. Intraday ones answer from the first session
        they hold to the last one they hold up to its close.

        Raises:
            UnknownSymbol, BadPayload: as `StooqArchive.read`.
            OutOfWindow: an intraday file holds no session of the window whole.
        """
        path, body = self.archive.read(instrument.ticker("stooq"), request.interval)
        return RawPayload(
            provider=self.name,
            request=_narrowed(request, body, instrument),
            body=body,
            sha256=sha256_hex(body),
            url=f"{self.archive.path.name}!{path}",
            status=200,
            content_type="text/plain",
            fetched_at=self._clock(),
        )

    def close(self) -> None:
        """Close the archive."""
        self.archive.close()


def _narrowed(request: FetchRequest, body: bytes, instrument: Instrument) -> FetchRequest:
    if request.interval == "1d":
        last = _last_date(body)
        return replace(request, end=min(request.end, last)) if last else request
    try:
        parsed = parse_bulk(body, Answer(request.symbol, instrument.ticker("stooq"), request.interval))
    except ProviderError:
        return request  # the parser says what it is when the payload is read
    first, last = _whole_sessions(parsed.bars["datetime"], request.interval)
    if last < request.start or first > request.end:
        raise OutOfWindow(
            f"{request.symbol}: the archive holds {request.interval} bars of {first} to {last}, none of "
            f"{request.start} to {request.end}; download a newer archive, or ask another provider"
        )
    return replace(request, start=max(request.start, first), end=min(request.end, last))


def _whole_sessions(starts: pd.Series, interval: str) -> tuple[date, date]:
    """First date that bars begin on, and the last one of which they reach the close; the latter may lie before."""
    days = starts.dt.tz_convert("America/New_York").dt.date
    first, last = days.iloc[0], days.iloc[-1]
    until = starts.iloc[-1] + timedelta(minutes=MINUTES[interval])
    if is_session(last) and until < session_hours(last)[1]:
        earlier = days[days < last]
        last = earlier.iloc[-1] if len(earlier) else last - timedelta(days=1)
    return first, last


def _last_date(body: bytes) -> date | None:
    dates = []
    for line in body[-_SNIFF:].rstrip().splitlines()[-1:] + body[: 2 * _SNIFF].splitlines()[1:2]:
        try:
            dates.append(datetime.strptime(line.split(b",")[2].decode("ascii"), "%Y%m%d").date())  # noqa: DTZ007
        except (IndexError, ValueError):
            return None
    return max(dates, default=None)


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, NotImplementedError, zipfile.BadZipFile) as error:
        raise ArchiveError(f"{path}: cannot be opened as a zip: {error}") from None


def _identify(found: Member, content: Callable[[str, int], bytes]) -> Member:
    """The member with ticker and period, from its path when that is Stooq's own, else from its first lines."""
    path = PurePosixPath(found.path.lower())
    period = next((_PERIODS[part] for part in path.parts[:-1] if part in _PERIODS), "")
    if period and path.suffix == ".txt":
        return Member(found.path, found.size, found.stamp, path.stem.upper(), period)
    try:
        head = content(found.path, _SNIFF)
    except BadPayload:
        return found
    lines = io.BytesIO(head.removeprefix(b"\xef\xbb\xbf")).readlines()
    if len(lines) < 2 or lines[0].strip() != ASCII_HEADER:
        return found
    fields = lines[1].decode("ascii", "replace").split(",")
    return Member(found.path, found.size, found.stamp, fields[0].upper(), fields[1].upper() if len(fields) > 1 else "")


def _index_file(folder: Path, archive: Path) -> Path:
    return folder / f"{sha256_hex(str(archive.resolve()).encode())[:16]}.json"


def _kept_index(folder: Path | None, archive: Path) -> dict[str, Member]:
    if folder is None:
        return {}
    try:
        rows: list[list[Any]] = json.loads(_index_file(folder, archive).read_text(encoding="utf-8"))
        return {row[0]: Member(*row) for row in rows}
    except (OSError, ValueError, TypeError, LookupError):
        return {}


def _keep_index(folder: Path, archive: Path, members: list[Member]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    file = _index_file(folder, archive)
    rows = [[item.path, item.size, item.stamp, item.ticker, item.period] for item in members]
    part = file.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps(rows), encoding="utf-8")
    part.replace(file)
