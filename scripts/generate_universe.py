"""Write `market_data/universe.csv` from an index list and the curated facts of `scripts/listings.csv`.

Run it from the repository, in an environment of its own; nothing is read from the network:

    python -m venv /tmp/universe
    /tmp/universe/bin/pip install pytickersymbols==1.17.10
    /tmp/universe/bin/python scripts/generate_universe.py

Which symbols: members of the S&P 500, as pytickersymbols 1.17.10 (lists of early 2026) has them, less the rows of
`listings.csv` whose column `excluded` gives a reason (what is known to have changed by August 2026; members that
joined since the package's lists are not added). Of these, in this order:

1. members of the S&P 100, NASDAQ 100 or Dow Jones too;
2. every member with a listing event (column `event`: IPO, spin-off, rename, ... of recent years) in `listings.csv`;
3. share-class symbols (a dot in the symbol);
4. the rest alphabetically, up to `TARGET` symbols.

Which facts: `listings.csv` gives `listed_from` (first regular-way session) and `previous_symbols`
(`OLD:first session under the next symbol`) only where certain. An instrument without `listed_from` was trading by
the curated `listed_by`, else by `WINDOW_START`. The exchange is what the package tells of the company, unless curated.
The same package and the same `listings.csv` give the identical file.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

PACKAGE_VERSION = "1.17.10"
ROOT = Path(__file__).resolve().parents[1]
LISTINGS = ROOT / "scripts" / "listings.csv"
UNIVERSE = ROOT / "market_data" / "universe.csv"

TARGET = 270
LEAST = 250
WINDOW_START = "2021-01-19"
CORE_INDICES = ("S&P 100", "NASDAQ 100", "DOW JONES")
EXCHANGES = {"NYSE": "XNYS", "Nasdaq": "XNAS", "CBOE": "BATS"}
SYMBOL = re.compile(r"[A-Z]{1,5}(\.[A-Z])?")
TRADED_AS = re.compile(r"(NYSE|Nasdaq|CBOE)\s*:\s*([A-Z.]+)")
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

Row = dict[str, str]
Facts = Mapping[str, Row]


def main() -> int:
    """Generate, check and write the file; problems go to stderr and leave it as it was."""
    facts = read_listings(LISTINGS)
    members, core = read_indices()
    rows = [universe_row(members[symbol], facts.get(symbol, {})) for symbol in select(members, core, facts)]
    problems = validate(rows) + unused_facts(members, facts)
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 1
    write(rows, UNIVERSE)
    print(f"{UNIVERSE.relative_to(ROOT)}: {len(rows)} symbols")
    return 0


def read_listings(path: Path) -> dict[str, Row]:
    """The curated rows by symbol."""
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    facts = {row["symbol"]: {name: value.strip() for name, value in row.items()} for row in rows}
    if len(facts) != len(rows):
        raise SystemExit(f"{path.name}: a symbol stands twice")
    return facts


def read_indices() -> tuple[dict[str, dict[str, Any]], set[str]]:
    """The S&P 500 members by symbol, and the symbols of the core indices."""
    from importlib.metadata import version

    from pytickersymbols import PyTickerSymbols

    if version("pytickersymbols") != PACKAGE_VERSION:
        raise SystemExit(f"pytickersymbols {version('pytickersymbols')} is installed, not {PACKAGE_VERSION}")
    lists = PyTickerSymbols()
    members = {stock["symbol"]: stock for stock in lists.get_stocks_by_index("S&P 500")}
    core = {stock["symbol"] for index in CORE_INDICES for stock in lists.get_stocks_by_index(index)}
    return members, core


def select(members: Mapping[str, Any], core: set[str], facts: Facts) -> list[str]:
    """The sorted symbols of the universe (the rule stands in the module's docstring)."""
    eligible = sorted(symbol for symbol in members if not facts.get(symbol, {}).get("excluded"))
    chosen = {symbol for symbol in eligible if symbol in core or facts.get(symbol, {}).get("event") or "." in symbol}
    rest = [symbol for symbol in eligible if symbol not in chosen]
    return sorted(chosen | set(rest[: max(0, TARGET - len(chosen))]))


def universe_row(stock: Mapping[str, Any], fact: Row) -> Row:
    """One row of the file: the package's name and exchange, with the curated facts over them."""
    listed_from = fact.get("listed_from", "")
    return {
        "symbol": stock["symbol"],
        "name": " ".join((fact.get("name") or stock["name"]).split()),
        "exchange": fact.get("exchange") or exchange_of(stock),
        "listed_from": listed_from,
        "listed_by": "" if listed_from else fact.get("listed_by") or WINDOW_START,
        "delisted_on": "",
        "previous_symbols": fact.get("previous_symbols", ""),
        "tickers": "",
    }


def exchange_of(stock: Mapping[str, Any]) -> str:
    """The MIC of the first exchange the package names for this very symbol, empty where it names none."""
    text = stock.get("metadata", {}).get("traded_as", "")
    named = [EXCHANGES[exchange] for exchange, symbol in TRADED_AS.findall(text) if symbol == stock["symbol"]]
    return named[0] if named else ""


def validate(rows: list[Row]) -> list[str]:
    """What is wrong with the rows, one sentence each."""
    symbols = [row["symbol"] for row in rows]
    problems = [f"{symbol}: stands twice" for symbol in sorted(set(symbols)) if symbols.count(symbol) > 1]
    if len(rows) < LEAST:
        problems.append(f"{len(rows)} symbols, fewer than {LEAST}")
    for row in rows:
        problems += [f"{row['symbol']}: {problem}" for problem in row_problems(row)]
    return problems


def row_problems(row: Row) -> list[str]:
    """What is wrong with one row."""
    problems = []
    if not SYMBOL.fullmatch(row["symbol"]):
        problems.append("not a canonical symbol")
    if not row["name"]:
        problems.append("no name")
    if row["exchange"] not in {*EXCHANGES.values(), ""}:
        problems.append(f"exchange {row['exchange']!r} is unknown")
    renames = [item.partition(":") for item in row["previous_symbols"].split(";") if item]
    problems += [f"previous symbol {old!r} is malformed" for old, _, _ in renames if not SYMBOL.fullmatch(old)]
    dates = [row["listed_from"], row["listed_by"]]
    problems += [f"date {day!r} is wrong" for day in dates if day and not is_past_date(day)]
    days = [day for _, _, day in renames]
    if days != sorted(set(days)) or any(not is_past_date(day) or day < WINDOW_START for day in days):
        problems.append("renames are not past, ascending dates of the window")
    return problems


def is_past_date(text: str) -> bool:
    """Whether the text is an ISO date, and not one of the future."""
    try:
        return date.fromisoformat(text) <= datetime.now(UTC).date()
    except ValueError:
        return False


def unused_facts(members: Mapping[str, Any], facts: Facts) -> list[str]:
    """Curated symbols the index does not have: a slip of the pen, or a row to delete."""
    return [f"{symbol}: in {LISTINGS.name} but not in the index" for symbol in facts if symbol not in members]


def write(rows: list[Row], path: Path) -> None:
    """Write the rows, UTF-8 with LF line ends."""
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    raise SystemExit(main())
