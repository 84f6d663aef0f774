"""The rules about which sessions have a bar: bars that should not be there, and bars that should.

Positions are those of sessions in the expected ones, ascending.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from market_data.sessions import sessions_between
from market_data.validation.frames import Bars, Dates, Found, Mask, counted, day_text

__all__ = ["CUT_SESSIONS", "REUSE_SESSIONS", "Gap", "Span", "gaps", "of_one_security", "one_a_session", "unexpected"]

CUT_SESSIONS = 5
"""Sessions absent at one end of an answer from which it counts as cut short."""

REUSE_SESSIONS = 20
"""Sessions without trading after which a symbol of unknown listing is taken to name another security."""


@dataclass(frozen=True, slots=True)
class Span:
    """What was asked of a vendor, and what can be due of it.

    Attributes:
        start, end: the span asked for, both inclusive.
        expected: the instrument's complete sessions in it, ascending `datetime64[s]`, none left out between.
        start_is_known: whether bars are surely due from the first expected session on.
        listed_from: the instrument's first session, when certain.
        listed_by: a date on which it surely was listed already.
        complete_until: the last session that was complete when the bars were fetched.
    """

    start: date
    end: date
    expected: Dates
    start_is_known: bool
    listed_from: date | None
    complete_until: date
    listed_by: date | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """Sessions without a bar, and what is found about them.

    Attributes:
        sessions: mask over the expected sessions.
        is_due: whether bars were expected there after all.
    """

    found: Found
    sessions: Mask
    is_due: bool = True


def unexpected(dates: Dates, span: Span) -> list[Found]:
    """What to say of bars dated on none of the expected sessions; `value` is the number of bars on the date."""
    days, counts = np.unique(dates, return_counts=True)
    if not len(days):
        return []
    sessions = sessions_between(days[0].item().date(), days[-1].item().date()).to_numpy()
    is_session = np.isin(days, sessions)
    live = is_session & (days > np.datetime64(span.complete_until, "s"))
    early = is_session & ~live & (days < _first_session(span))
    kinds = (
        ("off_session", ~is_session, "is no XNYS session"),
        ("live_bar", live, f"is later than {span.complete_until}, the last complete session at the fetch"),
        ("before_listing", early, "is before the first session of the instrument"),
        ("after_delisting", is_session & ~live & ~early, "is after the last session of the instrument"),
    )
    return [
        Found.at(rule, days[chosen], counts[chosen], 0, messages=[f"{day} {what}" for day in day_text(days[chosen])])
        for rule, chosen, what in kinds
    ]


def one_a_session(bars: Bars) -> tuple[Bars, Found]:
    """The bar with the fewest nulls of each date, the last among equals; and `duplicate` where there were more.

    The value is the number of bars for the date, the limit 1.
    """
    is_first = np.append(np.ones(min(len(bars), 1), dtype=bool), bars.date[1:] != bars.date[:-1])
    if is_first.all():
        return bars, Found.at("duplicate", bars.date[:0], 0, 1)
    group = np.cumsum(is_first) - 1
    count = np.bincount(group)
    nulls = np.isnan(bars.values[:, :5]).sum(axis=1)
    order = np.lexsort((-np.arange(len(bars)), nulls, group))
    kept = order[np.flatnonzero(is_first)]
    same = bars.values == bars.values[kept][group]
    same |= np.isnan(bars.values) & np.isnan(bars.values[kept][group])
    conflicts = np.bincount(group, weights=~same.all(axis=1)) > 0
    doubled = np.flatnonzero(count > 1)
    messages = [
        f"{number} bars, {'conflicting' if differ else 'identical'}; kept is the most complete, the last among equals"
        for number, differ in zip(count[doubled], conflicts[doubled], strict=True)
    ]
    one = bars.take(kept)
    return one, Found.at("duplicate", one.date[doubled], count[doubled], 1, messages=messages)


def of_one_security(bars: Bars, span: Span) -> tuple[Bars, Found]:
    """The bars from the last long gap on, where the first bar defines the span; and `ticker_reuse` where one is left.

    A symbol that was given up is given to another company after months or years: the bars before a gap of
    `REUSE_SESSIONS` are then of a security that had it earlier. A bar without a price is no trading. Where bars are
    surely due from the first expected session on, and after `listed_by`, a gap is one of the vendor's, and nothing
    is left out. The value is the number of sessions of the gap, the date that of the last bar before it.

    Args:
        bars: on expected sessions, in date order; several may be of one session.
    """
    traded = np.flatnonzero(~np.isnan(bars.values[:, :4]).all(axis=1))
    at = np.searchsorted(span.expected, bars.date[traded])
    lengths = np.diff(at) - 1
    long = lengths >= REUSE_SESSIONS
    if span.listed_by is not None:
        long &= bars.date[traded[:-1]] < np.datetime64(span.listed_by, "s")
    if span.start_is_known or not long.any():
        return bars, Found.at("ticker_reuse", bars.date[:0], 0, REUSE_SESSIONS)
    place = int(np.flatnonzero(long)[-1])
    day, number, after = bars.date[traded[place]], int(lengths[place]), bars.date[traded[place + 1]]
    message = (
        f"nothing traded for {counted(number, 'session')} after it, and the listing date is not known: the bars up to "
        f"it are of another security that had the symbol; the span begins on {day_text(np.array([after]))[0]}"
    )
    return bars.take(bars.date >= after), _single("ticker_reuse", day, number, REUSE_SESSIONS, message)


def gaps(span: Span, had_bar: Mask, stored: Mask) -> list[Gap]:
    """What the expected sessions without a bar amount to.

    Args:
        had_bar: sessions for which a bar came, whether it can be stored or not.
        stored: sessions with a bar that can be stored.
    """
    absent = ~had_bar
    if not had_bar.any():
        return [_no_data(absent)] if len(absent) else []
    if absent.sum() == 0 and stored.all():
        return []
    at = np.flatnonzero(stored)
    if not len(at):
        return _missing(span.expected, absent)
    position = np.arange(len(stored))
    head = _head(span, absent & (position < at[0]), int(at[0]))
    tail = _cut(span.expected[at[-1]], absent & (position > at[-1]), "after the last bar")
    ends = [*head, *tail]
    settled = np.logical_or.reduce([gap.sessions for gap in ends] or [np.zeros_like(absent)])
    return [*ends, *_missing(span.expected, absent & ~settled)]


def _head(span: Span, lost: Mask, first: int) -> list[Gap]:
    """What is said of the sessions before the first bar, at position `first`."""
    day = span.expected[first]
    number = int(lost.sum())
    if span.listed_from is not None and span.start <= span.listed_from <= span.end:
        return _late(day, lost, span.listed_from) if number else []
    if span.start_is_known:
        return _cut(day, lost, "before the first bar")
    if not first:
        return []
    message = f"listing date not known: the first bar defines the span; {counted(first, 'session')} before it not due"
    found = _single("span_from_first_bar", day, first, 0, message)
    return [Gap(found, np.arange(len(lost)) < first, is_due=False)]


def _late(day: np.datetime64, lost: Mask, listed_from: date) -> list[Gap]:
    number = int(lost.sum())
    message = f"first bar {counted(number, 'session')} after {listed_from}, the first session of the instrument"
    return [Gap(_single("late_first_bar", day, number, 0, message), lost)]


def _cut(day: np.datetime64, lost: Mask, where: str) -> list[Gap]:
    number = int(lost.sum())
    if number < CUT_SESSIONS:
        return []
    found = _single("cut_window", day, number, CUT_SESSIONS, f"{number:,} expected sessions absent {where}")
    return [Gap(found, lost)]


def _missing(expected: Dates, lost: Mask) -> list[Gap]:
    days = expected[lost]
    found = Found.at("missing_session", days, 1, 0, messages=["no bar for the session"] * len(days))
    return [Gap(found, lost)]


def _no_data(lost: Mask) -> Gap:
    message = f"no bar for any of {counted(len(lost), 'expected session')}"
    return Gap(_single("no_data", np.datetime64("NaT", "s"), len(lost), 0, message), lost)


def _single(rule: str, day: np.datetime64, value: float, limit: float, message: str) -> Found:
    return Found.at(rule, np.array([day], dtype="datetime64[s]"), value, limit, messages=[message])


def _first_session(span: Span) -> np.datetime64:
    if len(span.expected):
        return np.datetime64(span.expected[0], "s")
    return np.datetime64(span.listed_from or date.min, "s")
