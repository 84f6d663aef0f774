"""How the HTML report writes numbers, shares, dates and instants for people."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime

__all__ = [
    "UNKNOWN",
    "change",
    "count",
    "day",
    "duration",
    "instant",
    "known",
    "percent",
    "plain",
    "plural",
    "price",
    "score",
]

UNKNOWN = "–"  # noqa: RUF001 (a dash that is read as one)
"""What stands for a value that is not known."""

_SECOND = 1000.0


def known(value: float | None) -> float | None:
    """The value where it is a finite number; None stands for every other."""
    return None if value is None or not math.isfinite(value) else value


def count(value: float | None) -> str:
    """A whole number with its thousands apart: `1,234`."""
    told = known(value)
    return UNKNOWN if told is None else f"{told:,.0f}"


def plural(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun: `1 symbol`, `1,234 symbols`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _cut(value: float, digits: int) -> float:
    """Rounded towards zero, since 0.99996 of the sessions is not all of them."""
    scale = 10.0**digits
    return math.floor(round(value * scale, 6)) / scale


def percent(share: float | None) -> str:
    """A share as per cent, cut and not rounded: only what is whole reads `100 %`, only what is nothing `0 %`."""
    told = known(share)
    if told is None:
        return UNKNOWN
    if told in (0.0, 1.0):
        return f"{100 * told:.0f} %"
    value = _cut(100 * told, 2)
    return "< 0.01 %" if told > 0 and value <= 0 else f"{min(value, 99.99) if told < 1 else value:,.2f} %"


def score(value: float | None) -> str:
    """A score from 0 to 1 to four digits, cut and not rounded."""
    told = known(value)
    if told is None:
        return UNKNOWN
    return f"{min(_cut(told, 4), 0.9999) if told < 1 else told:.4f}".removesuffix(".0000")


def plain(value: float | None) -> str:
    """A measured value to six significant digits, without an exponent where it can be read without."""
    told = known(value)
    if told is None:
        return UNKNOWN
    return f"{told:,.0f}" if told == int(told) and abs(told) < 1e15 else f"{told:,.6g}"


def price(value: float | None) -> str:
    """Dollars a share: cents, and further digits below ten dollars where there are any."""
    told = known(value)
    if told is None:
        return UNKNOWN
    exact = f"{told:,.4f}"
    return f"{told:,.2f}" if exact.endswith("00") or abs(told) >= 10 else exact


def change(relative: float | None) -> str:
    """A relative change with its sign: `+1.25 %`."""
    told = known(relative)
    return UNKNOWN if told is None else f"{100 * told:+,.2f} %"


def duration(milliseconds: float | None) -> str:
    """A latency: `340 ms`, `1.2 s`."""
    told = known(milliseconds)
    if told is None:
        return UNKNOWN
    if told < 10:
        return f"{told:.1f} ms"
    return f"{told:,.0f} ms" if told < _SECOND else f"{told / _SECOND:,.1f} s"


def day(value: date | None) -> str:
    """An ISO date."""
    return UNKNOWN if value is None else value.isoformat()


def instant(value: datetime | None) -> str:
    """An aware instant in UTC, to the minute."""
    return UNKNOWN if value is None else f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
