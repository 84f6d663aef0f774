"""Corporate actions of one instrument as several vendors tell them, made one list.

A vendor's reports are believed in the order of `PRIORITY`; values are never averaged. Reports of two vendors are of the
same action when they are of one kind and their ex-dates are at most one XNYS session apart; what they differ in, and
what a vendor that should know of an action does not tell, becomes a conflict.

Vendors list spin-offs among their splits, by the ratio that prices fall by: Alpha Vantage's SPLITS of IBM has
2021-11-04 1.046 (Kyndryl), Yahoo's chart 1046:1000. `kind_of` tells them apart. Yahoo divides its dividends by every
ratio of a later date that it lists, those of spin-offs too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from math import isclose, prod
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from market_data.adjustments import declared_dividends
from market_data.records import StoredPayload
from market_data.sessions import FIRST_DATE, sessions_between

__all__ = ["PRIORITY", "Resolved", "Told", "as_reported", "is_told", "kind_of", "resolve", "spans_told"]

PRIORITY = ("import", "polygon", "alpha_vantage", "yahoo")
"""Who is believed, the first one most; a provider that is not among them is believed least."""

KINDS_TOLD = {"split": "split", "spinoff": "split", "dividend": "dividend"}
"""The kind of `Told` that each kind of action is told by."""

_SAME_VALUE = 1e-6
_ABOUT_THE_SAME = 1e-2  # a ratio that one vendor has as a split, another as a spin-off, and one of them rounded
_ROUNDED = 0.5e-6  # vendors send dividends with 6 decimals
_MOST_SHARES = 100
_NEW_YORK = ZoneInfo("America/New_York")
_CONFLICTS = {
    "date": "datetime64[s]",
    "kind": "str",
    "value": "float64",
    "source_provider": "str",
    "other_date": "datetime64[s]",
    "other_value": "float64",
    "other_provider": "str",
    "message": "str",
}
_ACTION = {"date": "datetime64[s]", "kind": "str", "value": "float64"}
_ACTIONS = _ACTION | {
    "source_provider": "str",
    "also_told_by": "str",
    "raw_hash": "str",
    "known_at": "datetime64[us]",
}


@dataclass(frozen=True, slots=True)
class Told:
    """A span, both ends included, of which a payload tells every action of a kind.

    Attributes:
        kind: "split", which covers spin-offs, or "dividend".
    """

    kind: str
    first: date
    last: date


@dataclass(frozen=True, slots=True)
class Resolved:
    """One list of actions, and where the reports differ.

    Attributes:
        actions: date (ex-date), kind, value (a dividend's as declared), source_provider, also_told_by
            (comma-separated), raw_hash, known_at (naive UTC, `datetime64[us]`); each date and kind once, ascending.
            `known_at` is when the first report of exactly this came.
        conflicts: date, kind, value, source_provider, other_date, other_value, other_provider, message. The other date
            and value are null where the other provider tells of no such action.
    """

    actions: pd.DataFrame
    conflicts: pd.DataFrame


def spans_told(stored: StoredPayload, parsed_actions_until: date | None = None) -> tuple[Told, ...]:
    """The spans of which a payload, which a parser has read, tells every action; none for an error's.

    Polygon and Alpha Vantage have a feed for each kind. Yahoo's daily chart tells both kinds up to its `period2`, which
    the payload's URL has, or to the request's end. Nothing is told beyond the date of the download.

    Args:
        parsed_actions_until: where the body's actions end, if that is known from elsewhere than the URL.
    """
    request = stored.request
    if stored.status != 200:
        return ()
    kinds: tuple[str, ...] = ()
    last = request.end
    if stored.provider in ("polygon", "alpha_vantage") and request.feed in ("splits", "dividends"):
        kinds = (request.feed.removesuffix("s"),)
    elif stored.provider == "yahoo" and request.interval == "1d":
        kinds = ("split", "dividend")
        last = max(last, _period_end(stored.url) or last)
    last = min(parsed_actions_until or last, stored.fetched_at.astimezone(_NEW_YORK).date())
    return tuple(Told(kind, request.start, last) for kind in kinds if request.start <= last)


def _period_end(url: str) -> date | None:
    """The last date that began before the `period2` of a chart's URL."""
    sent = parse_qs(urlsplit(url).query).get("period2", [""])[0]
    if not sent.isascii() or not sent.isdigit() or len(sent) > 10:
        return None
    return datetime.fromtimestamp(int(sent) - 1, UTC).astimezone(_NEW_YORK).date()


def is_told(told: pd.DataFrame, kind: str, first: date, last: date) -> bool:
    """Whether every session of `first..last` lies in a span of which some provider tells every action of a kind.

    Args:
        told: columns kind, first_date, last_date (dates or midnights), the spans for every symbol included.
        kind: "split", "spinoff" or "dividend".
    """
    of_kind = told[told["kind"] == KINDS_TOLD[kind]] if len(told) else told
    return _covers(list(zip(_dates(of_kind["first_date"]), _dates(of_kind["last_date"]), strict=True)), first, last)


_LONGEST_CLOSURE = timedelta(days=10)


def _covers(spans: Sequence[tuple[date, date]], first: date, last: date) -> bool:
    # The usual cases, without the calendar.
    if any(start <= first and last <= end for start, end in spans):
        return True
    if not spans and last - first > _LONGEST_CLOSURE:
        return False
    sessions = sessions_between(first, last).to_numpy() if first <= last else np.array([], dtype="datetime64[s]")
    left = np.ones(len(sessions), dtype=bool)
    for start, end in spans:
        low = sessions.searchsorted(np.datetime64(start), side="left")
        left[low : sessions.searchsorted(np.datetime64(end), side="right")] = False
    return not left.any()


def kind_of(ratio: float) -> str:
    """Whether a ratio among a vendor's splits is of a "split" or a "spinoff".

    Shares are split by small whole numbers (3 for 2, 1 for 150, 41 for 40), while a spin-off's ratio is one of prices,
    above 1 and written with several decimals (1.046).
    """
    nearest = Fraction(ratio).limit_denominator(_MOST_SHARES)
    is_of_shares = ratio < 1 or isclose(ratio, float(nearest), rel_tol=2 * _SAME_VALUE)
    return "split" if is_of_shares else "spinoff"


def as_reported(actions: pd.DataFrame, provider: str) -> pd.DataFrame:
    """A provider's `CorporateActions` with spin-offs told apart, and each date and kind once.

    Dividends of one date (a regular and a special one) add up, ratios of one date are multiplied. Of an import the
    kinds are as written, and a row without a value stays, as what is withdrawn.
    """
    if provider == "import" or not len(actions):
        return actions
    found: dict[tuple[pd.Timestamp, str], list[float]] = {}
    for day, sent, value in zip(actions["date"], actions["kind"], actions["value"], strict=True):
        kind = kind_of(value) if sent == "split" else sent
        values = found.setdefault((day, kind), [])
        if kind == "dividend" or not any(isclose(value, other, rel_tol=_SAME_VALUE) for other in values):
            values.append(value)
    rows = [
        (day, kind, sum(values) if kind == "dividend" else prod(values))
        for (day, kind), values in sorted(found.items())
    ]
    return _frame(rows, _ACTION)


def resolve(reports: pd.DataFrame, told: pd.DataFrame) -> Resolved:
    """Make one list of what providers report of an instrument; depends on nothing else, nor on the order of rows.

    Args:
        reports: date, kind, value, adjusted_as_of (naive UTC; null for what is as declared), source_provider, raw_hash,
            pulled_at (naive UTC); each provider, date and kind once.
        told: kind, source_provider, first_date, last_date; the spans for every symbol included.
    """
    spans = _spans(told)
    by_kind: dict[str, list[_Report]] = {"split": [], "dividend": []}
    for report in _reports(reports):
        by_kind[KINDS_TOLD[report.kind]].append(report)
    splits = _grouped(by_kind["split"])
    dividends = _grouped(_declared(by_kind["dividend"], splits, spans))
    groups = sorted([*splits, *dividends], key=lambda group: (group.first.day, group.first.kind))
    conflicts = [row for group in groups for row in _conflicts(group, spans)]
    return Resolved(_frame([_row(group) for group in groups], _ACTIONS), _frame(conflicts, _CONFLICTS))


_Spans = dict[tuple[str, str], list[tuple[date, date]]]
"""Spans told, by provider and kind of `Told`."""


@dataclass(frozen=True, slots=True)
class _Report:
    """One provider's word; `tolerance` is how far its value may be off for having been rounded."""

    day: date
    kind: str
    value: float
    adjusted_as_of: date | None
    provider: str
    raw_hash: str
    pulled_at: datetime
    tolerance: float = 0.0

    @property
    def rank(self) -> tuple[int, str]:
        return (PRIORITY.index(self.provider) if self.provider in PRIORITY else len(PRIORITY), self.provider)

    def has_value_of(self, other: _Report) -> bool:
        slack = self.tolerance + other.tolerance + 1e-12
        return isclose(self.value, other.value, rel_tol=_SAME_VALUE, abs_tol=slack)

    def agrees_with(self, other: _Report) -> bool:
        return self.kind == other.kind and self.has_value_of(other)


@dataclass(slots=True)
class _Group:
    """Reports of one action; the first is believed."""

    first: _Report
    others: list[_Report] = field(default_factory=list)

    @property
    def all(self) -> list[_Report]:
        return [self.first, *self.others]

    def of(self, provider: str) -> _Report | None:
        return next((report for report in self.all if report.provider == provider), None)


def _reports(frame: pd.DataFrame) -> Iterator[_Report]:
    names = ("date", "kind", "value", "adjusted_as_of", "source_provider", "raw_hash", "pulled_at")
    for day, kind, value, as_of, provider, raw_hash, pulled_at in zip(*(frame[name] for name in names), strict=True):
        is_adjusted = kind == "dividend" and not pd.isna(as_of)
        yield _Report(
            day=pd.Timestamp(day).date(),
            kind=kind,
            value=float(value),
            adjusted_as_of=_new_york_date(as_of) if is_adjusted else None,
            provider=provider,
            raw_hash=raw_hash,
            pulled_at=pd.Timestamp(pulled_at).to_pydatetime(),
            tolerance=_ROUNDED if kind == "dividend" else 0.0,
        )


def _grouped(reports: Sequence[_Report]) -> list[_Group]:
    """The reports by action, provider after provider; two of one provider are never of one action."""
    groups: list[_Group] = []
    for rank in sorted({report.rank for report in reports}):
        own = sorted(
            (report for report in reports if report.rank == rank), key=lambda report: (report.day, report.kind)
        )
        pairs = [(cost, at, of) for at, report in enumerate(own) for of, cost in _candidates(report, groups)]
        placed: dict[int, int] = {}
        for _, at, of in sorted(pairs):
            if at not in placed and of not in placed.values():
                placed[at] = of
        for at, report in enumerate(own):
            if at in placed:
                groups[placed[at]].others.append(report)
            else:
                groups.append(_Group(report))
    return groups


def _candidates(report: _Report, groups: Sequence[_Group]) -> Iterator[tuple[int, tuple[int, bool, bool]]]:
    """Places of the groups a report may be of, each with how unlike its first report it is."""
    for place, group in enumerate(groups):
        first = group.first
        is_alike = first.kind == report.kind or isclose(first.value, report.value, rel_tol=_ABOUT_THE_SAME)
        if is_alike and (apart := _sessions_apart(first.day, report.day)) <= 1:
            yield place, (apart, first.kind != report.kind, not first.has_value_of(report))


def _declared(dividends: Sequence[_Report], splits: Sequence[_Group], spans: _Spans) -> list[_Report]:
    """The dividends on the share counts of their ex-dates."""
    declared = [item for item in dividends if item.adjusted_as_of is None]
    for provider, as_of in sorted({(item.provider, item.adjusted_as_of) for item in dividends if item.adjusted_as_of}):
        own = [item for item in dividends if (item.provider, item.adjusted_as_of) == (provider, as_of)]
        rows = [(item.day, item.kind, item.value) for item in (*_applied_by(provider, splits, spans), *own)]
        values = declared_dividends(_frame(rows, _ACTION), as_of=as_of)["value"].to_numpy()[len(rows) - len(own) :]
        for item, value in zip(own, values.tolist(), strict=True):
            declared.append(replace(item, value=value, tolerance=item.tolerance * value / item.value))
    return declared


def _applied_by(provider: str, splits: Sequence[_Group], spans: _Spans) -> Iterator[_Report]:
    """The ratios a provider has applied: its own, and others' of dates it does not claim to know."""
    for group in splits:
        report = group.of(provider)
        if report is not None:
            yield report
        elif not _knows(provider, group.first, spans):
            yield group.first


def _row(group: _Group) -> tuple[object, ...]:
    first = group.first
    exactly = [item for item in group.all if (item.day, item.kind, item.value) == (first.day, first.kind, first.value)]
    also = ",".join(item.provider for item in group.others if item.agrees_with(first))
    known_at = min(item.pulled_at for item in exactly)
    return (first.day, first.kind, first.value, first.provider, also, first.raw_hash, known_at)


def _conflicts(group: _Group, spans: _Spans) -> Iterator[tuple[object, ...]]:
    first = group.first
    head = (first.day, first.kind, first.value, first.provider)
    told = f"{first.provider} tells of a {first.kind} of {first.value:.10g} on {first.day}"
    for other in group.others:
        if not other.agrees_with(first):
            text = f"{told}, {other.provider} of a {other.kind} of {other.value:.10g} on {other.day}"
            yield (*head, other.day, other.value, other.provider, f"{text}; {first.provider} is believed")
    for provider in sorted({name for name, _ in spans}):
        if group.of(provider) is None and _knows(provider, first, spans):
            yield (*head, None, None, provider, f"{told}, {provider} tells of none")


def _knows(provider: str, report: _Report, spans: _Spans) -> bool:
    """Whether a provider tells every action of the kind from the session before the date to the one after."""
    own = spans.get((provider, KINDS_TOLD[report.kind]), [])
    if not own or not min(own)[0] < report.day < max(last for _, last in own):
        return False
    around = sessions_between(*_fortnight(report.day))
    before, after = around[around < pd.Timestamp(report.day)], around[around > pd.Timestamp(report.day)]
    return _covers(own, before[-1].date(), after[0].date())


def _fortnight(day: date) -> tuple[date, date]:
    return day - timedelta(days=7), day + timedelta(days=7)


def _sessions_apart(one: date, other: date) -> int:
    """Sessions after the earlier date, up to and including the later one."""
    first, last = min(one, other), max(one, other)
    if last - first > timedelta(days=7):
        return 7  # no two sessions are further apart than that
    if first < FIRST_DATE:
        return int(np.busday_count(first, last))
    return len(sessions_between(first + timedelta(days=1), last)) if first < last else 0


def _new_york_date(moment: datetime) -> date:
    return pd.Timestamp(moment).tz_localize("UTC").tz_convert(_NEW_YORK).date()


def _frame(rows: Sequence[tuple[object, ...]], columns: dict[str, str]) -> pd.DataFrame:
    values = zip(*rows, strict=True) if rows else ((),) * len(columns)
    return pd.DataFrame({name: _array(column, columns[name]) for name, column in zip(columns, values, strict=True)})


def _array(column: Sequence[Any], dtype: str) -> Any:
    return pd.array(list(column), dtype="str") if dtype == "str" else np.array(column, dtype=dtype)


def _spans(told: pd.DataFrame) -> _Spans:
    spans: _Spans = {}
    columns = (told["source_provider"], told["kind"], _dates(told["first_date"]), _dates(told["last_date"]))
    for provider, kind, first, last in zip(*columns, strict=True):
        spans.setdefault((provider, kind), []).append((first, last))
    return spans


def _dates(column: pd.Series) -> list[date]:
    return [pd.Timestamp(day).date() for day in column]
