"""The instruments of the universe: a symbol names an instrument during a span.

`universe.csv` has the columns `symbol, name, exchange, listed_from, listed_by, delisted_on, previous_symbols,
tickers`. `listed_from` is the first session, where certain; `listed_by` a date on which it surely traded already.
Where both are empty the first bar received defines the span, and a finding says so.

`previous_symbols` lists `OLD:first session under the next symbol`, oldest first: `FB:2022-06-09` for META, and
`FISV:2023-06-07;FI:2025-11-11` for FISV, which was FI in between. Some vendors know an instrument by its name of the
day, others map its history to the name it has now; `Instrument.ticker` gives either.

`tickers` has spellings that do not follow a vendor's rule. `polygon=XYZ.A` is how Polygon spells the symbol of this
row, in every span the instrument bears it; an old name of a renamed instrument keeps following the rule, since a
spelling of today asked for in its time could be another security's. `polygon@OLD=...` spells that old name.
"""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import pandas as pd

from market_data.errors import SettingsError, SymbolError, UniverseError
from market_data.sessions import is_session, sessions_between

__all__ = ["Instrument", "Universe", "load_universe", "normalise_symbol"]

SYMBOL = re.compile(r"[A-Z]{1,5}(\.[A-Z]{1,2})?")
COLUMNS = (
    "symbol",
    "name",
    "exchange",
    "listed_from",
    "listed_by",
    "delisted_on",
    "previous_symbols",
    "tickers",
)


def _spelling(symbol: str, provider: str) -> str:
    if provider in ("alpha_vantage", "yahoo"):
        return symbol.replace(".", "-")
    return f"{symbol.replace('.', '-').lower()}.us" if provider == "stooq" else symbol


@dataclass(frozen=True, slots=True)
class Instrument:
    """One listed security.

    Attributes:
        symbol: canonical spelling, classes with a dot (`BRK.B`).
        exchange: MIC of the primary listing, empty where not certain.
        listed_from: first session, when certain.
        listed_by: a date on which it was surely trading already.
        delisted_on: first session on which it no longer traded.
        previous_symbols: `(old symbol, first date under the next one)`, oldest first.
        tickers: vendors' spellings that do not follow the rule, by `vendor`, or `vendor@OLD` for an old symbol.
    """

    symbol: str
    name: str = ""
    exchange: str = ""
    listed_from: date | None = None
    listed_by: date | None = None
    delisted_on: date | None = None
    previous_symbols: tuple[tuple[str, date], ...] = ()
    tickers: Mapping[str, str] = field(default_factory=dict)

    def ticker(self, provider: str, on: date | None = None, *, point_in_time: bool = False) -> str:
        """The spelling `provider` (polygon, alpha_vantage, yahoo, stooq or its bulk archive) uses.

        Args:
            on: the date asked about; only a vendor of tickers of the time needs it.
            point_in_time: whether the vendor knows the instrument by its name of that date, not by that of now.
        """
        vendor = provider.removesuffix("_bulk")
        name = self._name_on(on)[0] if point_in_time and on is not None else self.symbol
        own = self.tickers.get(f"{vendor}@{name}")
        if own is None and name == self.symbol:
            own = self.tickers.get(vendor)
        return own or _spelling(name, vendor)

    def names_between(self, start: date, end: date) -> tuple[tuple[str, date, date], ...]:
        """`(symbol as then named, first date, last date)` over `start..end`, both inclusive, oldest first.

        The spans follow each other without a gap; there is none when `end` is before `start`.
        """
        spans = [(name, first or start, last or end) for name, first, last in self._names()]
        clipped = [(name, max(first, start), min(last, end)) for name, first, last in spans]
        return tuple((name, first, last) for name, first, last in clipped if first <= last)

    def span_of_name(self, on: date) -> tuple[date | None, date | None]:
        """The first and the last date of the symbol it bears on `on`; None for an end that no rename bounds."""
        return self._name_on(on)[1:]

    def _names(self) -> list[tuple[str, date | None, date | None]]:
        names = [*(old for old, _ in self.previous_symbols), self.symbol]
        days = [day for _, day in self.previous_symbols]
        return list(zip(names, [None, *days], [*(day - timedelta(days=1) for day in days), None], strict=True))

    def _name_on(self, on: date) -> tuple[str, date | None, date | None]:
        return next(span for span in self._names() if span[2] is None or on <= span[2])

    def expected_sessions(self, start: date, end: date) -> pd.DatetimeIndex:
        """Sessions of `start..end` within the listing span, as far as the span is known."""
        first = max(start, self.listed_from) if self.listed_from else start
        sessions = sessions_between(start, end)
        keep = sessions >= pd.Timestamp(first)
        if self.delisted_on:
            keep &= sessions < pd.Timestamp(self.delisted_on)
        return sessions[keep]

    def start_is_known(self, start: date) -> bool:
        """Whether bars are surely due from `start` on, or from `listed_from` when that is later."""
        return self.listed_from is not None or (self.listed_by is not None and self.listed_by <= start)


def normalise_symbol(text: str) -> str:
    """Canonical spelling of a symbol as people write it: `aapl` -> `AAPL`, `brk-b` or `BRK/B` -> `BRK.B`.

    Raises:
        SymbolError: the text cannot be a US ticker.
    """
    symbol = re.sub(r"(?<=[A-Z])[-/](?=[A-Z]{1,2}$)", ".", text.strip().upper())
    if not text.isascii() or not SYMBOL.fullmatch(symbol):
        shown = repr(text if len(text) <= 40 else text[:37] + "...")
        raise SymbolError(
            f"{shown} is not a US ticker: 1 to 5 letters and, for a share class, a dot and 1 or 2 letters, as in BRK.B"
        )
    return symbol


class Universe(Mapping[str, Instrument]):
    """The instruments by symbol, in file order."""

    def __init__(self, instruments: Iterable[Instrument], *, source: str = "") -> None:
        self._by_symbol = {instrument.symbol: instrument for instrument in instruments}
        self._renamed = {old: item.symbol for item in self.values() for old, _ in item.previous_symbols}
        self.source = source

    def __getitem__(self, symbol: str) -> Instrument:
        return self._by_symbol[symbol]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_symbol)

    def __len__(self) -> int:
        return len(self._by_symbol)

    def select(self, text: str) -> list[str]:
        """Symbols meant by `all`, a comma-separated list, or `@file` (one or more a line, `#` comments).

        Duplicates are dropped, order is kept.

        Raises:
            SymbolError: names every symbol that is malformed or unknown; nothing is selected then.
        """
        if text.strip() == "all":
            return list(self)
        names = _names_in_file(Path(text.strip()[1:])) if text.strip().startswith("@") else text.split(",")
        found: dict[str, None] = {}
        problems: list[str] = []
        for name in names:
            try:
                found[self.resolve(name)] = None
            except SymbolError as error:
                problems.append(str(error))
        if not problems and not found:
            problems.append(f"{text!r} names no symbol")
        if problems:
            raise SymbolError("; ".join(problems))
        return list(found)

    def resolve(self, name: str) -> str:
        """The canonical symbol of one name.

        Raises:
            SymbolError: malformed, unknown, or the old name of a renamed instrument (which is then told).
        """
        symbol = normalise_symbol(name)
        if symbol in self._by_symbol:
            return symbol
        if symbol in self._renamed:
            raise SymbolError(f"{symbol} is now {self._renamed[symbol]}; ask for that")
        close = difflib.get_close_matches(symbol, self._by_symbol, n=3, cutoff=0.6)
        hint = f"; close: {', '.join(close)}" if close else ""
        mend = "" if hint else "; add it there, or name another file in MARKET_DATA_UNIVERSE"
        raise SymbolError(f"{symbol} is not in the universe ({self.source or 'universe'}){hint}{mend}")


def _names_in_file(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise SymbolError(f"@{path}: cannot read symbols from it: {error}") from None
    bare = (line.split("#", 1)[0] for line in lines)
    return [name for line in bare for name in re.split(r"[,\s]+", line) if name]


def load_universe(path: Path | None = None) -> Universe:
    """Read the instruments from `path`, or from the packaged `universe.csv`.

    Raises:
        UniverseError: names file, line and column of what is wrong.
    """
    source = path or files("market_data").joinpath("universe.csv")
    try:
        text = source.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UniverseError(f"{source}: cannot read the universe: {error}") from None
    reader = csv.DictReader(text.splitlines())
    missing = [name for name in COLUMNS[:1] if name not in (reader.fieldnames or [])]
    unknown = [name for name in reader.fieldnames or [] if name not in COLUMNS]
    if missing or unknown:
        raise UniverseError(f"{source}: line 1: columns must be among {', '.join(COLUMNS)}, with symbol")
    name = "universe.csv" if path is None else str(path)
    instruments: dict[str, Instrument] = {}
    lines: dict[str, int] = {}
    try:
        for row in reader:
            place = f"{name}: line {reader.line_num}"
            if None in row:
                raise UniverseError(f"{place}: has more fields than the header; quote a value that holds a comma")
            instrument = _instrument(row, place)
            if instrument.symbol in instruments:
                raise UniverseError(f"{place}: symbol {instrument.symbol} stands twice")
            _require_valid_renames(instrument, place)
            instruments[instrument.symbol], lines[instrument.symbol] = instrument, reader.line_num
    except csv.Error as error:
        raise UniverseError(f"{name}: line {reader.line_num}: {error}") from None
    if not instruments:
        raise UniverseError(f"{name}: holds no instrument")
    _require_one_bearer(instruments.values(), lines, name)
    return Universe(instruments.values(), source=name)


def _instrument(row: dict[str, str | None], place: str) -> Instrument:
    text = {name: (row.get(name) or "").strip() for name in COLUMNS}
    if not SYMBOL.fullmatch(text["symbol"]):
        raise UniverseError(f"{place}: column symbol: {text['symbol']!r} is not a canonical US ticker")
    return Instrument(
        symbol=text["symbol"],
        name=text["name"],
        exchange=text["exchange"],
        listed_from=_date(text["listed_from"], place, "listed_from"),
        listed_by=_date(text["listed_by"], place, "listed_by"),
        delisted_on=_date(text["delisted_on"], place, "delisted_on"),
        previous_symbols=_renames(text["previous_symbols"], place),
        tickers=dict(_pairs(text["tickers"], "=", place, "tickers")),
    )


def _date(text: str, place: str, column: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise UniverseError(f"{place}: column {column}: {text!r} is not a date as in 2021-01-19") from None


def _pairs(text: str, separator: str, place: str, column: str) -> list[tuple[str, str]]:
    pairs = [tuple(item.strip().split(separator)) for item in text.split(";") if item.strip()]
    if any(len(pair) != 2 or not all(pair) for pair in pairs):
        raise UniverseError(f"{place}: column {column}: {text!r} is not a list of a{separator}b;c{separator}d")
    return [(pair[0], pair[1]) for pair in pairs]


def _renames(text: str, place: str) -> tuple[tuple[str, date], ...]:
    pairs = _pairs(text, ":", place, "previous_symbols")
    dated = [(old, _date(day, place, "previous_symbols")) for old, day in pairs]
    return tuple((old, day) for old, day in dated if day is not None)


def _require_valid_renames(instrument: Instrument, place: str) -> None:
    """Old symbols are tickers and differ from the next; their dates ascend, are sessions, and lie in the listing."""
    following = [*(old for old, _ in instrument.previous_symbols), instrument.symbol][1:]
    before: date | None = instrument.listed_from
    for (old, day), new in zip(instrument.previous_symbols, following, strict=True):
        problem = ""
        if not SYMBOL.fullmatch(old):
            problem = f"{old!r} is not a canonical US ticker"
        elif old == new:
            problem = f"{old} is renamed to itself on {day}; remove it"
        elif before is not None and day <= before:
            listed = "the listing" if before == instrument.listed_from else "the rename before it"
            problem = f"{old}:{day} is not after {listed}, {before}; list the renames with ascending dates"
        elif instrument.delisted_on is not None and day >= instrument.delisted_on:
            problem = f"{old}:{day} is not before the delisting, {instrument.delisted_on}"
        elif not _trades_on(day):
            problem = f"{old}:{day} is no known XNYS session; give the first one under {new}"
        if problem:
            raise UniverseError(f"{place}: column previous_symbols: {problem}")
        before = day


def _trades_on(day: date) -> bool:
    try:
        return is_session(day)
    except SettingsError:  # outside of the calendar
        return False


def _require_one_bearer(instruments: Iterable[Instrument], lines: Mapping[str, int], name: str) -> None:
    """No symbol is borne by two instruments at a time, as far as the listings are known."""
    borne: dict[str, list[tuple[date, date, Instrument]]] = {}
    for instrument in instruments:
        first, last = _known_span(instrument)
        for symbol, low, high in instrument.names_between(first, last):
            borne.setdefault(symbol, []).append((low, high, instrument))
    for symbol, spans in borne.items():
        for (_, ends, one), (begins, last, other) in pairwise(sorted(spans, key=lambda span: span[:2])):
            if begins <= ends:
                renamed, bearer = (one, other) if one.symbol != symbol else (other, one)
                day = min(ends, last) if begins == date.min else begins
                raise UniverseError(
                    f"{name}: line {lines[renamed.symbol]}: column previous_symbols: {symbol} would name both "
                    f"{renamed.symbol} and {bearer.symbol} (line {lines[bearer.symbol]}) on {day}; "
                    "mend the dates of the renames, or give listed_from and delisted_on"
                )


def _known_span(instrument: Instrument) -> tuple[date, date]:
    """The dates on which it may be listed; where the listing is not known, from when it surely was."""
    first = instrument.listed_from or instrument.listed_by or date.min
    renames = [day for _, day in instrument.previous_symbols]
    if instrument.listed_from is None and renames and first >= renames[0]:
        first = date.min
    return first, instrument.delisted_on - timedelta(days=1) if instrument.delisted_on else date.max
