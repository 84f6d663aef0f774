"""What an export is asked for, checked before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, Literal, get_args

from market_data.clock import Clock
from market_data.errors import SettingsError
from market_data.export.manifest import Pinned
from market_data.instruments import load_universe
from market_data.reading import LONG_FIELDS, BasisName
from market_data.settings import Settings

__all__ = ["BARS", "FORMATS", "ExportRequest", "Format", "Plan", "pinned_at", "planned"]

Format = Literal["parquet", "csv", "zipline", "qlib"]
FORMATS: tuple[Format, ...] = get_args(Format)

BARS = ("open", "high", "low", "close", "volume")
_BASES: tuple[BasisName, ...] = get_args(BasisName)
_DEFAULT_BASIS: dict[Format, BasisName] = {
    "parquet": "total_return",
    "csv": "total_return",
    "zipline": "raw",
    "qlib": "total_return",
}
_WITH_FIELDS: tuple[Format, ...] = ("parquet", "csv")


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to export, and where to.

    Attributes:
        format: one of `FORMATS`.
        out: folder of the export; made where it is not there.
        symbols: canonical symbols, or text as in "AAPL,MSFT", "all" or "@FILE".
        start, end: dates, both inclusive; None for the start of the window, and for the last date as of `as_of`.
        basis: None for the format's own: raw for zipline, which adjusts by itself, total_return for the others.
        as_of: what counts as known, as in `market_data.load`; None for the instant the export begins.
        fields: of `reading.LONG_FIELDS`, for parquet and csv; None for open, high, low, close and volume.
        synthetic: which store.
        allow_untold: export series too of which an action may lack that no provider told.
        overwrite: take the place of an export of another request in the folder.
        at_once: symbols that are read and written together, a row of which takes some 100 bytes of memory; None for
            the format's own number.
    """

    format: Format
    out: Path
    symbols: Sequence[str] | str = "all"
    start: date | None = None
    end: date | None = None
    basis: BasisName | None = None
    as_of: date | datetime | None = None
    fields: Sequence[str] | None = None
    synthetic: bool = False
    allow_untold: bool = False
    overwrite: bool = False
    at_once: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A request whose every value is known to be allowed; symbols ascend."""

    format: Format
    symbols: tuple[str, ...]
    start: date | None
    end: date | None
    basis: BasisName
    as_of: datetime | None
    fields: tuple[str, ...]
    synthetic: bool
    allow_untold: bool
    at_once: int | None

    def identity(self) -> dict[str, Any]:
        """Plain JSON types; two exports with the same one are the same export, at perhaps another instant."""
        return {
            "format": self.format,
            "symbols": list(self.symbols),
            "start": self.start.isoformat() if self.start else None,
            "end": self.end.isoformat() if self.end else None,
            "basis": self.basis,
            "as_of": self.as_of.isoformat() if self.as_of else None,
            "fields": list(self.fields),
            "synthetic": self.synthetic,
            "allow_untold": self.allow_untold,
            "at_once": self.at_once,
        }


def planned(settings: Settings, request: ExportRequest) -> Plan:
    """The request in canonical form.

    Raises:
        SettingsError: a value that is not allowed.
        SymbolError: a symbol is unknown or an old name.
    """
    if request.format not in FORMATS:
        raise SettingsError(f"format {request.format!r} is not known; give {', '.join(FORMATS)}")
    basis = _DEFAULT_BASIS[request.format] if request.basis is None else request.basis
    if basis not in _BASES:
        raise SettingsError(f"basis {basis!r} is not known; give {', '.join(_BASES)}")
    if request.start and request.end and request.start > request.end:
        raise SettingsError(f"start {request.start} is after end {request.end}; start must not be later")
    if request.at_once is not None and request.at_once < 1:
        raise SettingsError(f"at_once {request.at_once} is no number of symbols; give 1 or more")
    text = request.symbols if isinstance(request.symbols, str) else ",".join(request.symbols)
    return Plan(
        format=request.format,
        symbols=tuple(sorted(load_universe(settings.universe).select(text))),
        start=request.start,
        end=request.end,
        basis=basis,
        as_of=_instant(request.as_of),
        fields=_fields(request),
        synthetic=request.synthetic,
        allow_untold=request.allow_untold,
        at_once=request.at_once,
    )


def pinned_at(plan: Plan, settings: Settings, clock: Clock) -> Pinned:
    """The instant and the span that stay the same for as long as an export takes, and when it is taken up again.

    Raises:
        SettingsError: the span is empty.
    """
    as_of = plan.as_of or clock().astimezone(UTC)
    start, end = plan.start or settings.window_start, plan.end or as_of.date()
    if start > end:
        raise SettingsError(f"start {start} is after {end}, the last date as of {as_of:%Y-%m-%d}; start earlier")
    return Pinned(as_of=as_of, start=start, end=end)


def _instant(as_of: date | datetime | None) -> datetime | None:
    """The end of a date, UTC, or a zoned instant in UTC."""
    if as_of is None or isinstance(as_of, datetime):
        if as_of is not None and as_of.tzinfo is None:
            raise SettingsError(f"as_of {as_of} has no time zone; give a date, or an instant as in {as_of}+00:00")
        return as_of.astimezone(UTC) if as_of else None
    return datetime.combine(as_of, time.max, UTC)


def _fields(request: ExportRequest) -> tuple[str, ...]:
    if request.format not in _WITH_FIELDS:
        if request.fields is not None:
            raise SettingsError(f"the columns of {request.format} are given by what reads it; leave fields out")
        return BARS
    if request.fields is None:
        return BARS
    names = tuple(dict.fromkeys(request.fields))
    unknown = [repr(name) for name in names if name not in LONG_FIELDS]
    if unknown or not names:
        wrong = f"not fields: {', '.join(unknown)}" if unknown else "no field is asked for"
        raise SettingsError(f"{wrong}; there are {', '.join(LONG_FIELDS)}")
    return names
