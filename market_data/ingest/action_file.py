"""Files of corporate actions that a person imports: CSV or JSON lines, read as a whole or refused.

A CSV file has the header `symbol,date,kind,value` and, if wanted, `note`; JSON lines have these keys. `date` is the
ex-date, `kind` split, dividend or spinoff, `value` as in `CorporateActions`; an empty value (null) withdraws what was
imported before. A first line `# complete: split,dividend 2021-01-19..2026-01-16` claims that the file has every action
of these kinds and dates for the symbols in it.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterator, Sequence
from datetime import date

import pandas as pd

from market_data.corporate_actions import Told
from market_data.errors import MarketDataError, SettingsError, SymbolError
from market_data.instruments import Universe, normalise_symbol
from market_data.sessions import is_session

__all__ = ["ActionFileError", "parse_import"]

_COLUMNS = ("symbol", "date", "kind", "value")
_KINDS = ("split", "dividend", "spinoff")
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,12})?", re.ASCII)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_COMPLETE = re.compile(r"#\s*complete:\s*([a-z, ]+?)\s+(\S+)\.\.(\S+)\s*", re.ASCII)
_MOST_BYTES = 16 * 1024 * 1024
_SHOWN = 20
_DTYPES = {"symbol": "str", "date": "datetime64[s]", "kind": "str", "value": "float64"}


class ActionFileError(MarketDataError):
    """An import file cannot be used; nothing of it was written."""


def parse_import(
    body: bytes, *, universe: Universe | None = None, name: str = "import"
) -> tuple[pd.DataFrame, tuple[Told, ...]]:
    """The actions of an import file and the spans it claims to be complete of, for every symbol in it.

    Args:
        universe: where given, every symbol must be in it.
        name: what the file is called in messages.

    Returns:
        A frame of symbol (canonical), date (`datetime64[s]`), kind and value, NaN to withdraw, in the file's order.

    Raises:
        ActionFileError: names file, line, column, value and mend of everything that is wrong.
    """
    if len(body) > _MOST_BYTES:
        raise ActionFileError(f"{name}: has {len(body):,} bytes, more than {_MOST_BYTES:,}; split it")
    try:
        lines = body.decode("utf-8-sig").splitlines(keepends=True)
    except UnicodeDecodeError as error:
        raise ActionFileError(f"{name}: is not UTF-8 ({error}); save it as UTF-8") from None
    told = _told(lines[0], name) if lines and lines[0].startswith("#") else ()
    first = 1 if lines and lines[0].startswith("#") else 0
    rows: list[tuple[str, date, str, float]] = []
    places: dict[tuple[str, date, str], int] = {}
    problems: list[str] = []
    for line, fields in _records(lines, first, name):
        try:
            row = _row(fields, universe)
        except ActionFileError as error:
            problems.append(f"{name}: line {line}: {error}")
            continue
        before = places.setdefault(row[:3], line)
        if before != line:
            problems.append(
                f"{name}: line {line}: column date: {row[0]} has a {row[2]} of {row[1]} in line {before} already; "
                "keep one, of two dividends their sum"
            )
        rows.append(row)
    _require_none(problems)
    if not rows:
        raise ActionFileError(f"{name}: holds no action; a line under the header is due")
    return pd.DataFrame(rows, columns=list(_DTYPES), dtype="object").astype(_DTYPES), told


def _require_none(problems: Sequence[str]) -> None:
    if problems:
        more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise ActionFileError("\n".join([*problems[:_SHOWN], *more]))


def _told(line: str, name: str) -> tuple[Told, ...]:
    found = _COMPLETE.fullmatch(line.rstrip("\r\n"))
    kinds = [kind.strip() for kind in found[1].split(",")] if found else []
    try:
        if not found or not kinds or not set(kinds) <= {"split", "dividend"}:
            raise ValueError
        first, last = (_iso(text) for text in found.groups()[1:])
        if first > last:
            raise ValueError
    except ValueError:
        raise ActionFileError(
            f"{name}: line 1: {line.strip()[:80]!r} is not as in '# complete: split,dividend 2021-01-19..2026-01-16'"
        ) from None
    return tuple(Told(kind, first, last) for kind in dict.fromkeys(kinds))


def _iso(text: str) -> date:
    if not _DAY.fullmatch(text):
        raise ValueError(text)
    return date.fromisoformat(text)


def _records(lines: Sequence[str], first: int, name: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and fields of each record, as text."""
    start = next((line.strip() for line in lines[first:] if line.strip()), "")
    return (_of_json if start.startswith("{") else _of_csv)(lines, first, name)


def _of_csv(lines: Sequence[str], first: int, name: str) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.reader(io.StringIO("".join(lines[first:]), newline=""), strict=True)
    try:
        header = [column.strip() for column in next(reader, [])]
        _require_columns(header, f"{name}: line {first + 1}")
        for row in reader:
            line = first + reader.line_num
            if any(field.strip() for field in row):
                if len(row) > len(header):
                    raise ActionFileError(
                        f"{name}: line {line}: has {len(row)} fields beside {len(header)} columns; "
                        "quote a value that holds a comma"
                    )
                yield line, dict(zip(header, (field.strip() for field in row), strict=False))
    except csv.Error as error:
        raise ActionFileError(f"{name}: line {first + reader.line_num}: {error}; mend the line") from None


def _of_json(lines: Sequence[str], first: int, name: str) -> Iterator[tuple[int, dict[str, str]]]:
    for line, text in enumerate(lines[first:], start=first + 1):
        if not text.strip():
            continue
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ActionFileError(f"{name}: line {line}: not JSON ({error}); one object a line is due") from None
        if not isinstance(record, dict):
            raise ActionFileError(f"{name}: line {line}: {text.strip()[:40]!r} is no JSON object")
        _require_columns(list(record), f"{name}: line {line}")
        yield line, {key: "" if value is None else str(value).strip() for key, value in record.items()}


def _require_columns(columns: Sequence[str], place: str) -> None:
    wrong = [column for column in columns if column not in (*_COLUMNS, "note")]
    missing = [column for column in _COLUMNS if column not in columns]
    if wrong or missing or len(set(columns)) < len(columns):
        raise ActionFileError(
            f"{place}: columns are {', '.join(columns)[:120] or 'none'}; due are {','.join(_COLUMNS)} and, if wanted, "
            "note"
        )


def _row(fields: dict[str, str], universe: Universe | None) -> tuple[str, date, str, float]:
    symbol, day, kind, value = (fields.get(name, "") for name in _COLUMNS)
    try:
        canonical = normalise_symbol(symbol) if universe is None else universe.resolve(symbol)
    except SymbolError as error:
        raise ActionFileError(f"column symbol: {error}") from None
    if kind not in _KINDS:
        raise ActionFileError(f"column kind: {kind[:40]!r} is not one of {', '.join(_KINDS)}")
    return canonical, _ex_date(day), kind, _value(value, kind)


def _ex_date(text: str) -> date:
    try:
        day = _iso(text)
    except ValueError:
        raise ActionFileError(f"column date: {text[:40]!r} is not a date as in 2021-01-19") from None
    try:
        traded = is_session(day)
    except SettingsError as error:
        raise ActionFileError(f"column date: {error}") from None
    if not traded:
        raise ActionFileError(f"column date: {text}, a {day:%A}, is no XNYS session; give the ex-date")
    return day


def _value(text: str, kind: str) -> float:
    if not text:
        return math.nan
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not value > 0:
        due = {
            "split": "new shares for an old one, as in 4 or 0.1",
            "dividend": "dollars a share, as in 0.82",
            "spinoff": "the price before divided by the price after, as in 1.046",
        }
        raise ActionFileError(f"column value: {text[:40]!r} is no plain number above 0; give {due[kind]}")
    if value == 1 and kind != "dividend":
        raise ActionFileError(f"column value: a {kind} of 1 changes nothing; leave the value empty to withdraw one")
    return value
