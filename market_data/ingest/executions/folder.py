"""The folder that files of executions are dropped in: what is whole there, and where it goes once it is taken.

A file is whole when its size and time of change are those of the look before, and it ends with a line break or has a
`<name>.done` beside it. Taken ones go to `taken/`, unusable ones to `rejected/` with their reason; nothing is deleted.
Names that start with a dot or end in .part, .tmp, .done or .rejected.jsonl are no files to take.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from market_data.clock import Clock, utc_now
from market_data.errors import SettingsError
from market_data.ingest.executions.file import FeedbackFileError
from market_data.ingest.executions.rejects import write_rejects
from market_data.ingest.executions.taking import FeedbackTaken, TakenFile, take_feedback
from market_data.instruments import Universe
from market_data.providers.base import sha256_hex
from market_data.settings import Settings

__all__ = ["Batch", "Dropped", "look", "next_batch", "take_folder", "whole"]

_SUFFIXES = (".csv", ".jsonl", ".ndjson")
_NOT_YET = (".part", ".tmp", ".done", ".rejected.jsonl")
_SETTLED = 0.5
_LONGEST_NAME = 150
_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Dropped:
    """A file in the folder as a look finds it: bytes, and time of change in nanoseconds."""

    size: int
    changed: int


@dataclass(frozen=True, slots=True)
class Batch:
    """What to take next.

    Attributes:
        names: files that are whole, the ones changed first in front; empty when there is nothing to take.
        key: the same for the same content under the same names, and for nothing else.
        cursor: what the next look compares with.
        waiting: files that are there and not taken, each with why.
    """

    names: tuple[str, ...]
    key: str
    cursor: str
    waiting: dict[str, str] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """Why there is nothing to take."""
        told = [f"{name}: {why}" for name, why in sorted(self.waiting.items())]
        return "; ".join(told[:10]) or "no file was dropped"


def look(folder: Path) -> tuple[dict[str, Dropped], dict[str, str]]:
    """The files in the folder that may be taken, and those that are not, each with why; a missing folder has none.

    Raises:
        SettingsError: the folder cannot be read.
    """
    dropped, left = {}, {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith(".") or name.lower().endswith(_NOT_YET) or entry.is_dir(follow_symlinks=False):
                    continue
                if why := _unfit(name, entry):
                    left[ascii(name)[1:-1][:_LONGEST_NAME]] = why
                    continue
                status = entry.stat(follow_symlinks=False)
                dropped[name] = Dropped(status.st_size, status.st_mtime_ns)
    except FileNotFoundError:
        return {}, {}
    except OSError as error:
        raise SettingsError(f"MARKET_DATA_FEEDBACK: {folder} cannot be read: {error.strerror}") from None
    return dropped, left


def _unfit(name: str, entry: os.DirEntry[str]) -> str:
    if not entry.is_file(follow_symlinks=False):
        return "no plain file; put the file itself here"
    if not name.isprintable() or "\\" in name or len(name) > _LONGEST_NAME:
        return f"its name has odd characters or more than {_LONGEST_NAME}; rename it"
    return "" if name.lower().endswith(_SUFFIXES) else f"does not end in {', '.join(_SUFFIXES)}; rename it"


def whole(
    folder: Path, dropped: Mapping[str, Dropped], before: Mapping[str, Dropped]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Names of the files that are whole, the ones changed first in front, and why the others are not.

    Args:
        before: the files at the look before.
    """
    ready, waiting = [], {}
    for name, found in sorted(dropped.items(), key=lambda item: (item[1].changed, item[0])):
        if before.get(name) != found:
            waiting[name] = "is new or still changes"
        elif not _is_ended(folder, name):
            waiting[name] = f"ends without a line break, so it may be cut off; add one, or put {name}.done beside it"
        else:
            ready.append(name)
    return tuple(ready), waiting


def _is_ended(folder: Path, name: str) -> bool:
    if (folder / f"{name}.done").exists():
        return True
    try:
        with (folder / name).open("rb") as stream:
            if stream.seek(0, os.SEEK_END) == 0:
                return False
            stream.seek(-1, os.SEEK_END)
            return stream.read(1) == b"\n"
    except OSError:
        return False


def next_batch(folder: Path, cursor: str | None) -> Batch:
    """What a look at the folder finds to take, by what the look before noted in its cursor.

    Raises:
        SettingsError: the folder cannot be read.
    """
    dropped, left = look(folder)
    ready, waiting = whole(folder, dropped, _noted(cursor))
    ready = ready[:_AT_ONCE]
    noted = json.dumps({name: [found.size, found.changed] for name, found in sorted(dropped.items())})
    parts = []
    for name in ready:
        try:
            body = _read(folder / name)
        except FeedbackFileError as error:
            waiting[name] = str(error)
            continue
        if body is None:
            waiting[name] = "is gone"
        else:
            parts.append(f"{name}:{dropped[name].changed}:{sha256_hex(body)}")
    names = tuple(name for name in ready if name not in waiting)
    return Batch(names, sha256_hex("\n".join(parts).encode())[:32], noted, left | waiting)


def _noted(cursor: str | None) -> dict[str, Dropped]:
    try:
        return {name: Dropped(*found) for name, found in json.loads(cursor or "{}").items()}
    except (ValueError, TypeError, AttributeError):
        return {}


def take_folder(
    settings: Settings,
    universe: Universe,
    *,
    synthetic: bool,
    names: Sequence[str] = (),
    clock: Clock = utc_now,
    sleep: Callable[[float], None] = time.sleep,
) -> FeedbackTaken:
    """Take the named files of the drop folder, or all that are whole, and move each to where it belongs.

    A named file that is not there any more was taken by another run and is passed over; one that changes while it is
    read stays, to be taken again.

    Raises:
        FeedbackFileError: a name is not one of a file in the folder.
        MarketDataError: as `take_feedback`.
    """
    folder = settings.feedback_folder
    dropped, _ = look(folder)
    if names:
        chosen = [name for name in names if _checked(name, folder) in dropped]
    else:
        sleep(_SETTLED)
        again, _ = look(folder)
        chosen = list(whole(folder, again, dropped)[0])
        dropped = again
    return take_feedback(
        settings,
        universe,
        [folder / name for name in chosen],
        synthetic=synthetic,
        clock=clock,
        read=_read,
        on_taken=lambda path, taken: _put_away(path, taken, dropped[path.name]),
    )


def _checked(name: str, folder: Path) -> str:
    if name in ("", ".", "..") or Path(name).name != name:
        raise FeedbackFileError(f"{name!r} is no name of a file in {folder}; give the name alone")
    return name


def _read(path: Path) -> bytes | None:
    """The bytes of a plain file, None where it is gone; a link put in its place is not followed."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as stream:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise FeedbackFileError(f"{path}: is no plain file; put the file itself there")
            return stream.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FeedbackFileError(f"{path}: cannot be read: {error.strerror}; check its permissions") from None


def _put_away(path: Path, taken: TakenFile, seen: Dropped) -> None:
    try:
        status = path.lstat()
        if Dropped(status.st_size, status.st_mtime_ns) == seen:
            _move(path, taken)
    except OSError as error:
        raise FeedbackFileError(
            f"{path}: is taken, and cannot be moved away: {error.strerror}; check the permissions of {path.parent}"
        ) from None


def _move(path: Path, taken: TakenFile) -> None:
    target = _free(path.parent / ("rejected" if taken.file.refused else "taken"), path.name, taken.file.raw_hash)
    if taken.file.refused:
        reason = {"file": path.name, "reason": taken.file.refused, "raw_hash": taken.file.raw_hash}
        target.with_name(f"{target.name}.reason.json").write_text(json.dumps(reason) + "\n", encoding="utf-8")
    else:
        write_rejects(target, taken.rejects, taken.file.raw_hash)
    path.replace(target)
    done = path.with_name(f"{path.name}.done")
    if done.exists():
        done.replace(target.with_name(f"{target.name}.done"))


def _free(folder: Path, name: str, raw_hash: str) -> Path:
    """A path in the folder that holds nothing, or the same content."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    return path if not path.exists() else folder / f"{path.stem}.{raw_hash[:12]}{path.suffix}"
