"""The lines of a file of executions, CSV or JSON, as fields of text: a line that cannot be read spoils no other."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from market_data.errors import MarketDataError

__all__ = ["REQUIRED", "TOLD", "FeedbackFileError", "Record", "read_records", "shown"]

REQUIRED = ("order_id", "symbol", "side", "quantity", "price", "executed_at")
"""Columns without which a file is of no use."""

TOLD = {
    *REQUIRED,
    *("decision_price", "decided_at", "arrived_at", "venue", "fees", "currency", "reported_at", "version"),
}
"""Every column that means something."""

_MOST_BYTES = 64 * 1024 * 1024


class FeedbackFileError(MarketDataError):
    """Nothing of a file of executions can be used; nothing of it was written."""


@dataclass(frozen=True, slots=True)
class Record:
    """A line with its fields as text, or with why it has none."""

    line: int
    text: str
    fields: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""


def read_records(body: bytes, name: str) -> tuple[list[Record], tuple[str, ...]]:
    """The records of a file, one a line, and its columns that mean nothing.

    A header of CSV is no record. Names of columns are in lower case; a null is an empty text, a number is as written.

    Raises:
        FeedbackFileError: it is too large, not text, empty, or has not every required column.
    """
    lines = _lines(body, name)
    first = lines[0][1].lstrip()
    if first.startswith("["):
        raise FeedbackFileError(f"{name}: line {lines[0][0]}: is a JSON list; write one object a line, without a list")
    if first.startswith("{"):
        records = [_of_json(number, text) for number, text in lines]
        columns = list(dict.fromkeys(column for record in records for column in record.fields))
        if not columns:
            raise FeedbackFileError(f"{name}: no line is a JSON object ({records[0].problem}); mend the file")
    else:
        header = _header(lines[0], name)
        records = [_of_csv(number, text, header) for number, text in lines[1:]]
        columns = header
    missing = [column for column in REQUIRED if column not in columns]
    if missing:
        raise FeedbackFileError(
            f"{name}: has no column {', '.join(missing)}; its columns are {', '.join(map(shown, columns))[:200]}, due "
            f"are {', '.join(REQUIRED)}"
        )
    return records, tuple(shown(column) for column in columns if column not in TOLD and column)


def _header(line: tuple[int, str], name: str) -> list[str]:
    try:
        header = [_key(column) for column in next(csv.reader([line[1]], strict=True), [])]
    except csv.Error as error:
        raise FeedbackFileError(f"{name}: line {line[0]}: the header cannot be read: {error}") from None
    twice = sorted({shown(column) for column in header if column and header.count(column) > 1})
    if twice:
        raise FeedbackFileError(f"{name}: line {line[0]}: column {', '.join(twice)} stands twice; keep one")
    return header


def _of_csv(line: int, text: str, header: Sequence[str]) -> Record:
    try:
        fields = next(csv.reader([text], strict=True))
    except csv.Error as error:
        return Record(line, text, problem=f"not a line of CSV: {error}")
    if len(fields) != len(header):
        mend = "quote a value that holds a comma" if len(fields) > len(header) else "the line may be cut off"
        return Record(line, text, problem=f"has {len(fields)} fields beside {len(header)} columns; {mend}")
    return Record(line, text, {column: value.strip() for column, value in zip(header, fields, strict=True)})


def _of_json(line: int, text: str) -> Record:
    try:
        # Numbers stay as they are written: a float would lose digits, and a huge one end the reading.
        pairs = json.loads(text, object_pairs_hook=list, parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError) as error:
        return Record(line, text, problem=f"not JSON: {error}")
    if not isinstance(pairs, list) or not all(isinstance(pair, tuple) for pair in pairs):
        return Record(line, text, problem="not a JSON object; one a line is due")
    fields: dict[str, str] = {}
    for key, value in pairs:
        if _key(key) in fields:
            return Record(line, text, problem=f"key {shown(key)} stands twice; keep one")
        if isinstance(value, (bool, list)) and _key(key) in TOLD:
            return Record(line, text, problem=f"{_key(key)}: {value!r:.60} is neither text nor a number")
        fields[_key(key)] = "" if value is None else str(value).strip()
    return Record(line, text, fields)


def _key(column: str) -> str:
    return column.strip().lower()


def shown(text: str) -> str:
    """A value as messages show it: short, without characters that cannot be shown."""
    return text if text.isprintable() and len(text) <= 40 else ascii(text)[:60]


def _lines(body: bytes, name: str) -> list[tuple[int, str]]:
    """Number and text of each line that is not blank."""
    if len(body) > _MOST_BYTES:
        raise FeedbackFileError(f"{name}: has {len(body):,} bytes, more than {_MOST_BYTES:,}; split it")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FeedbackFileError(f"{name}: is not UTF-8 ({error}); save it as UTF-8") from None
    lines = [(number, line.rstrip("\r")) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not lines:
        raise FeedbackFileError(f"{name}: is empty; a header and lines of CSV, or JSON lines, are due")
    return lines
