"""File names made of symbols, which work wherever the files are taken to.

Symbols are capital letters, classes with a dot, so that no two of them differ by case alone. Left are the names of
devices, which Windows does not let a file have, whatever ends it has
(https://learn.microsoft.com/windows/win32/fileio/naming-a-file).
"""

from __future__ import annotations

from market_data.errors import SymbolError
from market_data.instruments import SYMBOL

__all__ = ["file_name", "is_device"]

_DEVICES = frozenset(
    {"CON", "PRN", "AUX", "NUL"} | {f"{name}{digit}" for name in ("COM", "LPT") for digit in range(10)}
)


def is_device(stem: str) -> bool:
    """Whether Windows takes a file of this name, up to the first dot, for a device."""
    return stem.partition(".")[0].upper() in _DEVICES


def file_name(symbol: str) -> str:
    """The symbol, with an underscore behind a device's name: BRK.B, CON_, CON_.A; without the file's own ending.

    Raises:
        SymbolError: it is no canonical symbol.
    """
    if not SYMBOL.fullmatch(symbol):
        raise SymbolError(f"{symbol!r} is not a canonical US ticker, and names no file")
    if not is_device(symbol):
        return symbol
    company, dot, share_class = symbol.partition(".")
    return f"{company}_{dot}{share_class}"
