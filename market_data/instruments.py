"""The instruments of the universe: a symbol names an instrument during a span.

`universe.csv` has the columns `symbol, name, exchange, listed_from, listed_by, delisted_on, previous_symbols,
tickers`. `listed_from` is the first session, where certain; `listed_by` a date on which it surely traded already.
Where both are empty the first bar received defines the span, and a finding says so.
"""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from importlib.resources import files
from pathlib import Path

import pandas as pd

from market_data.errors import SymbolError, UniverseError
from market_data.sessions import sessions_between

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
        tickers: vendors' spellings that do not follow the rule.
    """

    symbol: str
    name: str = ""
    exchange: str = ""
    listed_from: date | None = None
    listed_by: date | None = None
    delisted_on: date | None = None
    previous_symbols: tuple[tuple[str, date], ...] = ()
    tickers: Mapping[str, str] = field(default_factory=dict)

    def ticker(self, provider: str) -> str:
        """The spelling `provider` (polygon, alpha_vantage, yahoo, stooq or its bulk archive) uses."""
        vendor = provider.removesuffix("_bulk")
        return self.tickers.get(vendor) or _spelling(self.symbol, vendor)

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
        raise SymbolError(f"{symbol} is not in the universe ({self.source or 'universe'}){hint}")


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
    try:
        for row in reader:
            place = f"{name}: line {reader.line_num}"
            if None in row:
                raise UniverseError(f"{place}: has more fields than the header; quote a value that holds a comma")
            instrument = _instrument(row, place)
            if instrument.symbol in instruments:
                raise UniverseError(f"{place}: symbol {instrument.symbol} stands twice")
            instruments[instrument.symbol] = instrument
    except csv.Error as error:
        raise UniverseError(f"{name}: line {reader.line_num}: {error}") from None
    if not instruments:
        raise UniverseError(f"{name}: holds no instrument")
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
