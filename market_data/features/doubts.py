"""Which findings of validation put a stored bar in doubt, and what of it: price, level, step to it, or volume.

A bar whose price is in doubt is not used, so that features which need it are null with that reason. Where the *step*
from the session before is in doubt, the bars on either side are good, but no feature may reach across. Where the
*level* is in doubt as well as the price, none may either, unless the prices after it are back where those before were.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

__all__ = ["DOUBTS", "Doubt", "doubts_of"]

PRICE, LEVEL, STEP, VOLUME, NONE = "price", "level", "step", "volume", "none"

DOUBTS: dict[str, tuple[str, str]] = {
    "duplicate": (PRICE, "the bars for the session differed, and one of them was kept"),
    "log_return": (LEVEL, "the close is further from the one before than prices move, and nothing explains it"),
    "misdated_dividend": (PRICE, "the drop is seen on another session, so that the return of this one is wrong"),
    "negative_price": (PRICE, "no price is below zero"),
    "ohlc": (PRICE, "high or low does not bound the other prices, so that one of them is wrong"),
    "stale_run": (PRICE, "the close repeats those before, as where the vendor had none"),
    "unit_error": (PRICE, "the price is likely a hundredfold"),
    "zero_price": (PRICE, "a price of zero is none"),
    "dividend_adjustment": (STEP, "the vendor's own adjustment does not fit the dividend"),
    "dividend_unit": (STEP, "the dividend is likely in another unit"),
    "doubled_split": (STEP, "the bars before were likely divided by the split twice"),
    "missed_split": (STEP, "the bars before likely need a split that is not known"),
    "negative_volume": (VOLUME, "no volume is below zero"),
    "volume_outlier": (VOLUME, "the volume is far from those around; the prices are not in question"),
    "adjusted_basis": (NONE, "the basis of the bar tells it"),
    "after_delisting": (NONE, "that bar is not stored"),
    "before_listing": (NONE, "that bar is not stored"),
    "cut_window": (NONE, "about sessions without a bar"),
    "late_first_bar": (NONE, "about sessions without a bar"),
    "live_bar": (NONE, "that bar is not stored"),
    "missing_session": (NONE, "about sessions without a bar"),
    "no_data": (NONE, "about sessions without a bar"),
    "null": (NONE, "the fields themselves tell it: without a price the bar is not used, without a volume its price is"),
    "off_session": (NONE, "that bar has another date, and is not stored"),
    "span_from_first_bar": (NONE, "about sessions without a bar"),
    "ticker_reuse": (NONE, "those bars are not stored"),
}
"""Of each rule of validation what it puts in doubt, and why."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """What the rules found at a session put in doubt, by the rules that do; empty where none does."""

    price: tuple[str, ...] = ()
    level: tuple[str, ...] = ()
    step: tuple[str, ...] = ()
    volume: tuple[str, ...] = ()


@cache
def doubts_of(rules: str) -> Doubt:
    """The doubts of a comma-separated list of rules; a rule that is not known puts the price in doubt."""
    by_kind: dict[str, list[str]] = {PRICE: [], LEVEL: [], STEP: [], VOLUME: [], NONE: []}
    for rule in filter(None, rules.split(",")):
        kind = DOUBTS.get(rule, (PRICE, ""))[0]
        by_kind[kind].append(rule)
        if kind == LEVEL:
            by_kind[PRICE].append(rule)
    return Doubt(*(tuple(by_kind[kind]) for kind in (PRICE, LEVEL, STEP, VOLUME)))
