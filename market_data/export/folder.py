"""The folder of an export: which files are its own, writing them whole, and leaving alone what is not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from market_data.export.manifest import ExportError, ExportFile, Journal, Manifest, Part
from market_data.export.request import Plan

__all__ = ["JOURNAL", "MANIFEST", "NOTE", "ExportFolder", "hash_of"]

MANIFEST = "manifest.json"
JOURNAL = "manifest.part.jsonl"
NOTE = "SYNTHETIC.txt"
_WORK = ".part"
_LOCK = ".lock"
_OWN = (MANIFEST, JOURNAL, NOTE, _LOCK)
_SYNTHETIC = (
    "The prices in this folder are SYNTHETIC: made up by market-data's sandbox, of no use for any decision.\n"
    "manifest.json says so as well.\n"
)
_NAMED = 5


class ExportFolder:
    """The folder of one export.

    Args:
        path: made by `held`, where it is not there.
        data: the folder below it that holds the data, and nothing else, since clients read whatever is in it.
    """

    def __init__(self, path: Path, data: str) -> None:
        self.path = path
        self.data = data

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be the only export that writes here.

        Raises:
            ExportError: another one is writing, or the folder cannot be made or written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / _LOCK, timeout=0)
            lock.acquire()
        except Timeout:
            raise ExportError(f"{self.path}: another export is writing there; wait for it or end it") from None
        except OSError as error:
            raise ExportError(f"{self.path}: cannot be written: {error.strerror}; give another --out") from None
        try:
            yield
        except OSError as error:
            raise ExportError(
                f"{error.filename or self.path}: cannot be written: {error.strerror}; mend that and run the same "
                "command, which takes the export up where it was"
            ) from None
        finally:
            with suppress(OSError):  # Windows keeps the file of a lock that is held
                (self.path / _LOCK).unlink(missing_ok=True)
            lock.release()

    def begun(self) -> Journal | None:
        """What an earlier export left here, interrupted or whole.

        Raises:
            ExportError: its journal or manifest cannot be read.
        """
        if (self.path / JOURNAL).exists():
            return Journal.read(self.path / JOURNAL)
        if not (self.path / MANIFEST).exists():
            return None
        manifest = Manifest.read(self.path / MANIFEST)
        parts = {part.symbols: part for part in manifest.parts}
        return Journal(manifest.request, manifest.pinned, parts, frozenset(file.path for file in manifest.files))

    @property
    def is_whole(self) -> bool:
        """Whether what is here was finished."""
        return (self.path / MANIFEST).exists() and not (self.path / JOURNAL).exists()

    def require_own(self, plan: Plan, begun: Journal | None, *, overwrite: bool) -> None:
        """Refuse what is not this export's.

        Raises:
            ExportError: an export of another request, or files of others, which in the data's own folder not even
                `overwrite` allows: clients would read them.
        """
        if begun is not None and begun.request != plan.identity() and not overwrite:
            changed = [name for name, value in plan.identity().items() if begun.request.get(name) != value]
            raise ExportError(
                f"{self.path}: holds an export of another request, with other {', '.join(changed)}; give another "
                "--out, or --overwrite to replace it"
            )
        foreign = self.foreign(begun.owned if begun else ())
        within = [name for name in foreign if name.partition("/")[0] == self.data]
        if within:
            raise ExportError(
                f"{self.path}: {_listed(within)} {'is' if len(within) == 1 else 'are'} not of an export, and would be "
                "read as prices; move it away or give another --out"
            )
        if foreign and not overwrite:
            raise ExportError(
                f"{self.path}: holds {_listed(foreign)}, which no export wrote; give an empty folder, or --overwrite "
                "to write beside it"
            )

    def foreign(self, owned: Iterable[str]) -> list[str]:
        """Paths of files here that are not among `owned`, nor the export's own, ascending."""
        known = {*owned, *_OWN}
        return [name for name in self._files() if name not in known and name.partition("/")[0] != _WORK]

    def begin(self, journal: Journal, *, synthetic: bool) -> None:
        """Note what is about to be done; from here on the folder has no manifest."""
        if synthetic:
            self._put(NOTE, _SYNTHETIC.encode())
        self._put(JOURNAL, "".join(f"{line}\n" for line in journal.lines()).encode())
        (self.path / MANIFEST).unlink(missing_ok=True)

    def note(self, line: str) -> None:
        """Add a line to the journal."""
        with (self.path / JOURNAL).open("a", encoding="utf-8", newline="\n") as stream:
            stream.write(f"{line}\n")

    def put(self, name: str, content: bytes, *, rows: int, symbol: str | None) -> ExportFile:
        """Write a data file, whole or not at all."""
        self._put(name, content)
        return ExportFile(name, rows, len(content), hashlib.sha256(content).hexdigest(), symbol)

    def holds(self, part: Part) -> bool:
        """Whether every file of a part is there as it was written."""
        return all(hash_of(self.path / file.path) == file.sha256 for file in part.files)

    def remove(self, names: Iterable[str]) -> None:
        """Delete files that an export wrote, and the folders that are empty then."""
        for name in names:
            file = self.path / name
            file.unlink(missing_ok=True)
            for folder in list(file.parents)[: len(Path(name).parts) - 1]:
                with suppress(OSError):  # not empty
                    folder.rmdir()

    def finish(self, manifest: Manifest, stale: Iterable[str]) -> None:
        """Remove what an earlier run wrote and this one did not, and write the manifest."""
        self.remove(stale)
        if not manifest.synthetic:
            (self.path / NOTE).unlink(missing_ok=True)
        self._put(MANIFEST, manifest.text().encode())
        (self.path / JOURNAL).unlink(missing_ok=True)
        with suppress(OSError):
            (self.path / _WORK).rmdir()

    def _put(self, name: str, content: bytes) -> None:
        # Under another name in a folder beside the data, since clients take every file among the data for prices.
        work = self.path / _WORK / "file"
        work.parent.mkdir(exist_ok=True)
        work.write_bytes(content)
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        work.replace(target)

    def _files(self) -> list[str]:
        paths = (path for path in self.path.rglob("*") if not path.is_dir() or path.is_symlink())
        return sorted(path.relative_to(self.path).as_posix() for path in paths)


def hash_of(file: Path) -> str | None:
    """SHA-256 of a file; None where there is none."""
    if not file.is_file():
        return None
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
