"""`export`: part by part, each read briefly, written whole and noted, until the manifest says that all is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path
from threading import Event
from typing import Any

import duckdb
import pyarrow as pa

import market_data
from market_data.clock import Clock, utc_now
from market_data.errors import WarehouseError
from market_data.export.batch import Reader
from market_data.export.folder import ExportFolder
from market_data.export.formats import ExportFormat, encoded, format_of
from market_data.export.manifest import ExportError, Journal, Manifest, Part, Pinned
from market_data.export.request import ExportRequest, Plan, pinned_at, planned
from market_data.reading import open_store
from market_data.settings import Settings
from market_data.warehouse.connection import Database
from market_data.warehouse.contents import schema_version

__all__ = ["Exported", "export"]

Advance = Callable[[Part], None]


@dataclass(frozen=True, slots=True)
class Exported:
    """What became of an export.

    Attributes:
        manifest: as it was written; of an interrupted export, what it would be with the parts so far.
        written, reused: number of files.
        interrupted: whether it was stopped; the same request takes it up.
    """

    folder: Path
    manifest: Manifest
    written: int
    reused: int
    interrupted: bool = False

    @property
    def is_good(self) -> bool:
        """Whether it is whole, some rows came, and no symbol was refused."""
        return not self.interrupted and not self.manifest.refused and self.manifest.rows > 0

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return self.manifest.summary() | {
            "folder": str(self.folder),
            "files": len(self.manifest.files),
            "bytes": sum(file.bytes for file in self.manifest.files),
            "written": self.written,
            "reused": self.reused,
            "interrupted": self.interrupted,
            "good": self.is_good,
        }


def export(
    settings: Settings,
    request: ExportRequest,
    clock: Clock = utc_now,
    *,
    stop: Event | None = None,
    advance: Advance | None = None,
) -> Exported:
    """Write the prices a request asks for, with a manifest of hashes.

    All of it is as known at one instant: that of `as_of`, or else of its beginning, which is kept when it is taken up
    again. What an earlier run of the same request wrote stays where neither its hash nor what it follows from changed.
    A symbol that cannot be had in the basis is left out and named.

    Args:
        clock: the store's own, `clock_of`.
        stop: once set, no further part is begun.
        advance: called with each part that is done.

    Raises:
        SettingsError, SymbolError: the request is not allowed; nothing was written.
        ExportError: the folder is not this export's, or cannot be written.
        WarehouseError: there is no store, or it cannot be read.
    """
    plan = planned(settings, request)
    database = settings.database_for(synthetic=plan.synthetic)
    store = _store(settings, database, plan)
    layout = format_of(plan)
    folder = ExportFolder(request.out, layout.folder)
    pinned = pinned_at(plan, settings, clock)
    folder.require_own(plan, folder.begun(), overwrite=request.overwrite)
    with folder.held():
        journal = _taken_up(folder, plan, pinned, overwrite=request.overwrite)
        folder.begin(journal, synthetic=plan.synthetic)
        reader = Reader(settings, database, plan, journal.pinned, layout.others, layout.with_actions)
        work = _Work(folder, reader, layout, journal)
        parts, interrupted = [], False
        for number, symbols in enumerate(_parts(plan, layout)):
            if stop is not None and stop.is_set():
                interrupted = True
                break
            parts.append(work.part(number, symbols))
            if advance is not None:
                advance(parts[-1])
        manifest = Manifest(
            request=plan.identity(),
            pinned=journal.pinned,
            synthetic=plan.synthetic,
            store=store,
            written_by=_versions(),
            written_at=clock().astimezone(UTC),
            parts=tuple(parts),
        )
        if not interrupted:
            folder.finish(manifest, (journal.owned | work.owned) - {file.path for file in manifest.files})
    return Exported(request.out, manifest, work.written, work.reused, interrupted)


@dataclass(slots=True)
class _Work:
    """Carries parts out, and counts their files."""

    folder: ExportFolder
    reader: Reader
    layout: ExportFormat
    journal: Journal
    written: int = 0
    reused: int = 0
    owned: frozenset[str] = frozenset()

    def part(self, number: int, symbols: tuple[str, ...]) -> Part:
        """The part as it stands already, or else read and written."""
        inputs = self.reader.inputs(symbols)
        held = self.journal.parts.get(symbols)
        if held is not None and held.inputs == inputs and self.folder.holds(held):
            self.reused += len(held.files)
            return held
        batch = self.reader.read(symbols)
        sheets = list(self.layout.sheets(batch, number)) if batch.symbols else []
        self.folder.note(self.journal.intention(sheet.path for sheet in sheets))
        about = _about(self.reader.plan, self.reader.pinned)
        files = tuple(
            self.folder.put(sheet.path, encoded(sheet, about), rows=sheet.table.num_rows, symbol=sheet.symbol)
            for sheet in sheets
        )
        part = Part(
            symbols=symbols,
            inputs=inputs,
            files=files,
            missing=batch.missing,
            untold=batch.untold,
            refused=batch.refused,
            cautions=tuple(caution for sheet in sheets for caution in sheet.cautions),
        )
        self.folder.note(self.journal.entry(part))
        self.written += len(files)
        self.owned |= {file.path for file in files}
        return part


def _store(settings: Settings, database: Path, plan: Plan) -> dict[str, Any]:
    """What the store is, once it is known to be of the kind that was asked for."""
    if not Database(database).exists():
        other = settings.database_for(synthetic=not plan.synthetic)
        hint = ""
        if other != database and Database(other).exists():
            hint = f"; there is {other}: give --{'real' if plan.synthetic else 'synthetic'} for that"
        raise WarehouseError(f"{database}: no database yet; run `market-data backfill` first{hint}")
    with open_store(settings, database) as (connection, _):
        row = connection.execute("SELECT synthetic FROM store_kind").fetchone()
        version = schema_version(connection)
    if row is not None and bool(row[0]) != plan.synthetic:
        held, asked = ("synthetic", "real") if row[0] else ("real", "synthetic")
        raise ExportError(f"{database} holds {held} data, and {asked} was meant; give --{held}")
    return {"database": database.name, "schema_version": version}


def _taken_up(folder: ExportFolder, plan: Plan, pinned: Pinned, *, overwrite: bool) -> Journal:
    """Where to go on from: an earlier export of the request, or nothing."""
    begun = folder.begun()
    folder.require_own(plan, begun, overwrite=overwrite)
    if begun is None:
        return Journal(plan.identity(), pinned, {}, frozenset())
    if begun.request != plan.identity():
        # Known as ours until it is gone: whoever is interrupted in between finds no files of unknown origin.
        folder.begin(replace(begun, parts={}), synthetic=plan.synthetic)
        folder.remove(begun.owned)
        return Journal(plan.identity(), pinned, {}, frozenset())
    return replace(begun, pinned=pinned) if folder.is_whole else begun


def _parts(plan: Plan, layout: ExportFormat) -> Iterator[tuple[str, ...]]:
    step = plan.at_once or layout.symbols
    for first in range(0, len(plan.symbols), step):
        yield plan.symbols[first : first + step]


def _about(plan: Plan, pinned: Pinned) -> dict[str, Any]:
    """What a file tells of itself."""
    told = {"basis": plan.basis, "until": pinned.as_of.date().isoformat(), "synthetic": plan.synthetic}
    return told | pinned.as_dict()


def _versions() -> dict[str, str]:
    return {"market_data": market_data.__version__, "duckdb": duckdb.__version__, "pyarrow": pa.__version__}
