"""What the shell is offered for a word under way: symbols of the universe, sources, vendors.

Whatever is wrong, nothing is offered; the command itself tells.
"""

from __future__ import annotations

import csv
from importlib.resources import files
from typing import get_args

from market_data.errors import MarketDataError
from market_data.settings import SourceName, load_settings

__all__ = ["sources", "symbol", "symbols", "vendors"]

_VENDORS = ("polygon", "alpha_vantage", "stooq", "yahoo")


def symbol(incomplete: str) -> list[str]:
    """Symbols of the universe that begin with what was typed."""
    return [name for name in _universe() if name.startswith(incomplete)]


def symbols(incomplete: str) -> list[str]:
    """The same behind the last comma of a list; `all` as well."""
    before, comma, last = incomplete.rpartition(",")
    found = [f"{before}{comma}{name}" for name in symbol(last)]
    return [word for word in ("all",) if not comma and word.startswith(incomplete)] + found


def sources(incomplete: str) -> list[str]:
    """Where bars can come from."""
    return [name for name in get_args(SourceName) if name.startswith(incomplete)]


def vendors(incomplete: str) -> list[str]:
    """The vendors."""
    return [name for name in _VENDORS if name.startswith(incomplete)]


def _universe() -> list[str]:
    """Symbols, read without the checks of `load_universe`, which take longer than a person waits for a completion."""
    try:
        file = load_settings().universe
        text = (file or files("market_data").joinpath("universe.csv")).read_text(encoding="utf-8")
    except (MarketDataError, OSError, UnicodeDecodeError):
        return []
    return [row["symbol"] for row in csv.DictReader(text.splitlines()) if row.get("symbol")]
