"""What an export says of itself: `manifest.json`, written last; and the journal it has until then.

The journal is JSON lines: the head (request, what is pinned), then for each part the paths it is about to write, and
the part itself once they are written. So an export that died knows which files are its own, and which are whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from market_data.errors import MarketDataError

__all__ = ["FORMAT", "ExportError", "ExportFile", "Journal", "Manifest", "Part", "Pinned"]

FORMAT = 1


class ExportError(MarketDataError):
    """An export cannot be made as asked, or is not whole; no file of others was touched."""


@dataclass(frozen=True, slots=True)
class Pinned:
    """What an export holds on to from its first part to its last.

    Attributes:
        as_of: instant of knowledge, UTC; actions count with ex-dates up to its date.
        start, end: dates, both inclusive.
    """

    as_of: datetime
    start: date
    end: date

    def as_dict(self) -> dict[str, str]:
        """Plain JSON types."""
        return {"as_of": self.as_of.isoformat(), "start": self.start.isoformat(), "end": self.end.isoformat()}

    @classmethod
    def read(cls, document: Mapping[str, str]) -> Pinned:
        """What `as_dict` gave."""
        return cls(
            as_of=datetime.fromisoformat(document["as_of"]),
            start=date.fromisoformat(document["start"]),
            end=date.fromisoformat(document["end"]),
        )


@dataclass(frozen=True, slots=True)
class ExportFile:
    """A file of an export.

    Attributes:
        path: below the export's folder, with forward slashes.
        rows: without a header.
        bytes: its size.
        sha256: of its bytes.
        symbol: the one it holds; None for several.
    """

    path: str
    rows: int
    bytes: int
    sha256: str
    symbol: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """Symbols that were read and written together.

    Attributes:
        inputs: a digest of all that the files follow from.
        missing: symbols without a bar in the span.
        untold: exported though an action may lack that no provider told.
        refused: why a symbol could not be had in the basis, by symbol.
        cautions: what whoever reads the files should know.
    """

    symbols: tuple[str, ...]
    inputs: str
    files: tuple[ExportFile, ...] = ()
    missing: tuple[str, ...] = ()
    untold: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    cautions: tuple[str, ...] = ()

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Part:
        """What `asdict` gave, with its paths checked."""
        files = tuple(_file(item) for item in document["files"])
        lists = {name: tuple(document[name]) for name in ("symbols", "missing", "untold", "cautions")}
        return cls(inputs=document["inputs"], files=files, refused=dict(document["refused"]), **lists)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an export holds.

    Attributes:
        request: as it was asked, `Plan.identity`.
        synthetic: whether the prices are made up.
        store: name of the database's file, version of its schema.
        written_by: versions of what wrote it.
        written_at: instant, UTC.
    """

    request: Mapping[str, Any]
    pinned: Pinned
    synthetic: bool
    store: Mapping[str, Any]
    written_by: Mapping[str, str]
    written_at: datetime
    parts: tuple[Part, ...]

    @property
    def files(self) -> list[ExportFile]:
        """Of every part, but for the manifest and the note on synthetic data."""
        return [file for part in self.parts for file in part.files]

    @property
    def rows(self) -> int:
        """Of all files."""
        return sum(file.rows for file in self.files)

    @property
    def refused(self) -> dict[str, str]:
        """Why a symbol was left out, by symbol."""
        return {symbol: why for part in self.parts for symbol, why in part.refused.items()}

    def named(self, kind: str) -> list[str]:
        """The entries of `missing`, `untold` or `cautions` of every part."""
        return [name for part in self.parts for name in getattr(part, kind)]

    def summary(self) -> dict[str, Any]:
        """All but the parts, plain JSON types."""
        exported = sum(len(part.symbols) - len(part.missing) - len(part.refused) for part in self.parts)
        return {
            "format": FORMAT,
            "request": dict(self.request),
            **self.pinned.as_dict(),
            "until": self.pinned.as_of.date().isoformat(),
            "basis": self.request["basis"],
            "synthetic": self.synthetic,
            "store": dict(self.store),
            "written_by": dict(self.written_by),
            "written_at": self.written_at.isoformat(),
            "symbols": exported,
            "rows": self.rows,
            "missing": self.named("missing"),
            "untold": self.named("untold"),
            "refused": self.refused,
            "cautions": self.named("cautions"),
        }

    def text(self) -> str:
        """As it is written."""
        return json.dumps(self.summary() | {"parts": [asdict(part) for part in self.parts]}, indent=1) + "\n"

    @classmethod
    def read(cls, file: Path) -> Manifest:
        """The manifest in a file.

        Raises:
            ExportError: it cannot be read.
        """
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
            _require_format(document)
            return cls(
                request=document["request"],
                pinned=Pinned.read(document),
                synthetic=bool(document["synthetic"]),
                store=document["store"],
                written_by=document["written_by"],
                written_at=datetime.fromisoformat(document["written_at"]),
                parts=tuple(Part.read(part) for part in document["parts"]),
            )
        except OSError as error:
            raise ExportError(f"{file}: cannot be read: {error.strerror}; it is no whole export") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(file, error) from None


@dataclass(frozen=True, slots=True)
class Journal:
    """How far an export got that has no manifest yet.

    Attributes:
        parts: by symbols, each as it was last written.
        owned: every path it ever was about to write.
    """

    request: Mapping[str, Any]
    pinned: Pinned
    parts: Mapping[tuple[str, ...], Part]
    owned: frozenset[str]

    @classmethod
    def read(cls, file: Path) -> Journal:
        """The journal in a file; a last line that was cut off counts for nothing.

        Raises:
            ExportError: it cannot be read.
        """
        try:
            whole = file.read_text(encoding="utf-8").rpartition("\n")[0]
            head, *lines = [json.loads(line) for line in whole.splitlines()] or [{}]
            _require_format(head)
            parts, owned = {}, set()
            for line in lines:
                owned |= {_checked(path) for path in line.get("intends", ())}
                if "part" in line:
                    part = Part.read(line["part"])
                    parts[part.symbols] = part
                    owned |= {item.path for item in part.files}
            return cls(head["request"], Pinned.read(head), parts, frozenset(owned))
        except OSError as error:
            raise ExportError(f"{file}: cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(file, error) from None

    def lines(self) -> list[str]:
        """As they are written, the head first."""
        return [
            json.dumps({"format": FORMAT, "request": dict(self.request), **self.pinned.as_dict()}),
            self.intention(sorted(self.owned)),
            *(self.entry(part) for part in self.parts.values()),
        ]

    @staticmethod
    def intention(paths: Iterable[str]) -> str:
        """The line that says what is about to be written."""
        return json.dumps({"intends": list(paths)})

    @staticmethod
    def entry(part: Part) -> str:
        """The line of a part whose files are written."""
        return json.dumps({"part": asdict(part)})


def _require_format(document: Mapping[str, Any]) -> None:
    if document["format"] != FORMAT:
        raise ValueError(f"format {document['format']}, this market_data knows {FORMAT}")


def _file(document: Mapping[str, Any]) -> ExportFile:
    file = ExportFile(**document)
    _checked(file.path)
    return file


def _checked(path: str) -> str:
    parts = PurePosixPath(path).parts
    if len(parts) < 2 or PurePosixPath(path).is_absolute() or ".." in parts or "\\" in path or ":" in path:
        raise ValueError(f"{path} is no path of an export's file")
    return path


def _damaged(file: Path, error: Exception) -> ExportError:
    return ExportError(f"{file}: cannot be read: {error}; move the folder away and export anew")
