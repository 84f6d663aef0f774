"""Files of executions, CSV or JSON lines: read line by line, so that a bad one does not cost the others.

Columns (keys) are `order_id`, `symbol`, `side`, `quantity`, `price` and `executed_at`, and, where told,
`decision_price`, `decided_at`, `arrived_at`, `venue`, `fees`, `currency`, `reported_at` and `version`; others are
ignored. Instants are ISO 8601 with their zone. A line is one execution: a quoted line break in CSV is not taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from market_data.errors import MarketDataError, SettingsError, SymbolError
from market_data.ingest.executions.lines import REQUIRED, TOLD, FeedbackFileError, Record, read_records, shown
from market_data.instruments import Universe
from market_data.sessions import is_session
from market_data.warehouse.executions import FEEDBACK_COLUMNS, Reject

__all__ = ["FeedbackFileError", "ParsedExecutions", "parse_executions"]

_INSTANTS = ("decided_at", "arrived_at", "executed_at", "reported_at")
_NUMBERS = ("quantity", "price", "decision_price", "fees")
_DTYPES = (
    dict.fromkeys(("order_id", "symbol", "side", "venue"), "str")
    | dict.fromkeys(_NUMBERS, "float64")
    | dict.fromkeys(_INSTANTS, "datetime64[us, UTC]")
    | {"session_date": "datetime64[s]", "version": "Int64"}
)
_SIDES = {"buy": "buy", "b": "buy", "sell": "sell", "s": "sell"}
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{0,40})?([eE][+-]?[0-9]{1,3})?", re.ASCII)
_DUE = {
    "order_id": "give 1 to 128 characters",
    "quantity": "give shares above 0; the side tells which way",
    "price": "give dollars a share above 0",
    "decision_price": "give dollars a share above 0, or leave it empty",
    "fees": "give dollars for the order",
    "version": "give a whole number from 0 on",
}
_MOST_TEXT = 4096
_NEW_YORK = ZoneInfo("America/New_York")


@dataclass(frozen=True, slots=True)
class ParsedExecutions:
    """What a file says.

    Attributes:
        executions: an `Executions` frame, its index the lines, in the file's order.
        bad: lines that cannot be used, ascending.
        lines: number of lines with an execution, good, bad or told twice.
        duplicates: lines left out since an earlier one says the same, each with that one.
        ignored: columns that mean nothing here.
        texts: every line's text, cut where it is very long.
    """

    executions: pd.DataFrame
    bad: tuple[Reject, ...] = ()
    lines: int = 0
    duplicates: dict[int, int] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    texts: Mapping[int, str] = field(default_factory=dict)


def parse_executions(body: bytes, *, universe: Universe, now: datetime, name: str = "feedback") -> ParsedExecutions:
    """The executions of a file.

    Args:
        universe: what its symbols are resolved by.
        now: what nothing in it may be later than (timezone-aware).
        name: what the file is called in messages.

    Raises:
        FeedbackFileError: nothing of it can be used: not text, empty, or a required column is missing.
    """
    records, ignored = read_records(body, name)
    reader = _Reader(universe, now)
    rows = {record.line: reader.row(record) for record in records}
    executions = _frame({line: row for line, row in rows.items() if row.values})
    texts = {record.line: record.text[:_MOST_TEXT] for record in records}
    problems = {line: list(row.problems.values()) for line, row in rows.items() if row.problems}
    for line, told in _broken_rules(executions, {line: set(row.problems) for line, row in rows.items()}).items():
        problems.setdefault(line, []).extend(told)
    duplicates, ambiguous = _told_twice(executions.drop(index=list(problems), errors="ignore"))
    problems |= {line: [reason] for line, reason in ambiguous.items()}
    bad = [Reject(line, texts[line], "; ".join(problems[line]), rows[line].order_id) for line in sorted(problems)]
    good = executions.drop(index=[*problems, *duplicates], errors="ignore")
    return ParsedExecutions(good, tuple(bad), len(records), duplicates, ignored, texts)


@dataclass(frozen=True, slots=True)
class _Row:
    """A line's values by column, and what is wrong by column; no values where it could not be read at all."""

    values: Mapping[str, Any]
    problems: Mapping[str, str]
    order_id: str | None = None


class _Reader:
    """Turns the fields of lines into values; what it looked up once it knows."""

    def __init__(self, universe: Universe, now: datetime) -> None:
        self._universe = universe
        self._now = now
        self._symbols: dict[str, str | SymbolError] = {}
        self._sessions: dict[date, str] = {}

    def row(self, record: Record) -> _Row:
        if record.problem:
            return _Row({}, {"": record.problem})
        values: dict[str, Any] = dict.fromkeys(FEEDBACK_COLUMNS)
        problems: dict[str, str] = {}
        for column, text in record.fields.items():
            if column in TOLD and text:
                try:
                    values[column] = self._value(column, text)
                except _BadField as error:
                    problems[column] = f"{column}: {error}"
        values.pop("currency", None)
        for column in REQUIRED:
            if not record.fields.get(column):
                problems[column] = f"{column}: is missing"
        executed = values["executed_at"]
        if executed is not None:
            values["session_date"] = executed.astimezone(_NEW_YORK).date()
            if closed := self._closed(values["session_date"]):
                problems["session_date"] = f"executed_at: {closed}"
        return _Row(values, problems, values["order_id"])

    def _value(self, column: str, text: str) -> Any:
        if column in _NUMBERS:
            return _number(text)
        if column in _INSTANTS:
            return self._instant(text)
        others: dict[str, Callable[[str], Any]] = {
            "order_id": lambda text: _text(text, 128),
            "venue": lambda text: _text(text, 64),
            "symbol": self._symbol,
            "side": _side,
            "currency": _currency,
            "version": _version,
        }
        return others[column](text)

    def _symbol(self, text: str) -> str:
        if text not in self._symbols:
            try:
                self._symbols[text] = self._universe.resolve(text)
            except SymbolError as error:
                self._symbols[text] = error
        known = self._symbols[text]
        if isinstance(known, SymbolError):
            raise _BadField(str(known))
        return known

    def _instant(self, text: str) -> datetime:
        example = "write it as in 2026-01-20T14:30:05Z or 2026-01-20T09:30:05-05:00"
        try:
            instant = datetime.fromisoformat(text)
        except ValueError:
            raise _BadField(f"{shown(text)} is no instant; {example}") from None
        if instant.tzinfo is None:
            raise _BadField(f"{shown(text)} has no time zone; {example}")
        try:
            instant = instant.astimezone(UTC)
            instant.astimezone(_NEW_YORK)
        except OverflowError:
            raise _BadField(f"{shown(text)} is out of range; {example}") from None
        if instant > self._now:
            raise _BadField(f"{shown(text)} is later than now, {self._now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}")
        return instant

    def _closed(self, day: date) -> str:
        """Why nothing can be executed on a date in New York; empty for a session."""
        if day not in self._sessions:
            try:
                why = "" if is_session(day) else f"{day}, a {day:%A} in New York, is no XNYS session"
            except SettingsError:
                why = f"{day} is outside of the known calendar"
            self._sessions[day] = why
        return self._sessions[day]


class _BadField(MarketDataError):
    """A field has a value that cannot be used."""


def _number(text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise _BadField(f"{shown(text)} is no plain number; write it as in 1234.5")
    return float(text)


def _version(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text, re.ASCII):
        raise _BadField(f"{shown(text)} is no whole number from 0 on")
    return int(text)


def _text(text: str, most: int) -> str:
    if not text.isprintable():
        raise _BadField(f"{shown(text)} holds characters that cannot be shown")
    if len(text) > most:
        raise _BadField(f"{shown(text)} is longer than {most} characters")
    return text


def _side(text: str) -> str:
    try:
        return _SIDES[text.lower()]
    except KeyError:
        raise _BadField(f"{shown(text)} is not buy or sell") from None


def _currency(text: str) -> str:
    if text.upper() != "USD":
        raise _BadField(f"{shown(text)} is not USD; prices of the store are dollars, give these")
    return text


def _frame(rows: Mapping[int, _Row]) -> pd.DataFrame:
    records = [[row.values[name] for name in FEEDBACK_COLUMNS] for row in rows.values()]
    frame = pd.DataFrame(records, columns=list(FEEDBACK_COLUMNS), dtype="object")
    frame.index = pd.Index(list(rows), dtype="int64", name="line")
    for name in _INSTANTS:
        frame[name] = pd.to_datetime(frame[name], utc=True)
    return frame.astype(_DTYPES)


def _broken_rules(executions: pd.DataFrame, known: Mapping[int, set[str]]) -> dict[int, list[str]]:
    """By line, what breaks the model `Executions` but for the columns that are known to be wrong."""
    from pandera.errors import SchemaErrors

    from market_data.schemas import Executions

    try:
        Executions.validate(executions, lazy=True)
    except SchemaErrors as error:
        told: dict[int, list[str]] = {}
        for case in error.failure_cases.to_dict("records"):
            line, column = int(case["index"]), str(case["column"])
            if case["schema_context"] == "DataFrameSchema":
                reason = str(case["check"])
            elif column in known[line] or (column == "session_date" and "executed_at" in known[line]):
                continue
            else:
                value = case["failure_case"]
                told_value = f"{value:g}" if isinstance(value, float) else shown(str(value))
                reason = f"{column}: {told_value} is not allowed; {_DUE.get(column, case['check'])}"
            if reason not in told.setdefault(line, []):
                told[line].append(reason)
        return told
    return {}


def _told_twice(executions: pd.DataFrame) -> tuple[dict[int, int], dict[int, str]]:
    """Lines that repeat an earlier one, and lines whose order stands twice with nothing to tell which is right."""
    duplicates: dict[int, int] = {}
    ambiguous: dict[int, str] = {}
    repeated = executions[executions.duplicated("order_id", keep=False)]
    for order_id, group in repeated.groupby("order_id", sort=False):
        first_with: dict[tuple[Any, ...], int] = {}
        by_rank: dict[tuple[Any, ...], list[int]] = {}
        for line, content in zip(group.index, _contents(group), strict=True):
            if first_with.setdefault(content, line) != line:
                duplicates[line] = first_with[content]
            else:
                by_rank.setdefault(content[-2:], []).append(line)
        for lines in by_rank.values():
            for line in lines if len(lines) > 1 else []:
                others = ", ".join(str(other) for other in lines if other != line)
                ambiguous[line] = (
                    f"order {order_id} has other values in line {others}; give one line an order, with its whole "
                    "quantity and average price, or a version"
                )
    return duplicates, ambiguous


def _contents(group: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """What each line says, comparable; reported_at and version last."""
    for row in group[list(FEEDBACK_COLUMNS)].itertuples(index=False):
        yield tuple(None if pd.isna(value) else value for value in row)
