"""Amendments: fields of stored bars that a person changed, on record, and undone in the same way.

An amendment is a payload first: a JSON body in the raw store, of provider `amendment` and feed `amendments`, with the
keys symbol, date, changes (a list of field, old, new), reason, author, at (UTC) and undo_of. So a rebuild from the raw
store finds it, and `apply_amendment` does the same then as it did when it was made. Values are in the basis the bar is
stored in.

The bar's `amendment_id` is the request id of the latest amendment that stands on it; `amendments` has a row for each
field, whose id is that request id, a dot, and the field.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd

from market_data.errors import BadPayload, MarketDataError
from market_data.records import StoredPayload
from market_data.warehouse.batch import naive_utc

__all__ = [
    "AMENDABLE",
    "FEED",
    "PRICES",
    "PROVIDER",
    "AmendedField",
    "Amendment",
    "AmendmentError",
    "Change",
    "Standing",
    "StoredBar",
    "apply_amendment",
    "end_amendments",
    "is_same",
    "kept",
    "parse_amendment",
    "read_amendments",
    "require_old",
    "standing",
    "stored_bar",
]

PROVIDER = "amendment"
FEED = "amendments"
PRICES = ("open", "high", "low", "close", "vwap")
AMENDABLE = ("open", "high", "low", "close", "volume", "vwap", "trade_count")
"""Fields of a bar that can be amended."""

_RELATIVE = 1e-9
_PREDECESSOR = (
    "symbol", "date", *AMENDABLE, "basis", "adjusted_as_of", "source_provider", "raw_hash", "pulled_at", "sent_basis",
    "sent_as_of", "price_factor", "volume_factor", "known_at", "amendment_id",
)  # fmt: skip


class AmendmentError(MarketDataError):
    """A bar cannot be amended as asked; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Change:
    """A field of a bar before and after; None is null."""

    field: str
    old: float | None
    new: float | None

    def __str__(self) -> str:
        return f"{self.field} {_shown(self.old)} to {_shown(self.new)}"


@dataclass(frozen=True, slots=True)
class Amendment:
    """Changes of one stored bar.

    Attributes:
        at: instant (UTC) since when the values are known.
        undo_of: request id of the amendment whose fields are restored; None for one that changes them.
    """

    symbol: str
    date: date
    changes: tuple[Change, ...]
    reason: str
    author: str
    at: datetime
    undo_of: str | None = None

    @property
    def body(self) -> bytes:
        """The amendment as it is kept in the raw store."""
        document = asdict(self) | {"date": self.date.isoformat(), "at": self.at.astimezone(UTC).isoformat()}
        return json.dumps(document, ensure_ascii=False).encode()

    def __str__(self) -> str:
        what = ", ".join(map(str, self.changes))
        return (
            f"{what}, by {self.author}" if self.undo_of is None else f"{self.undo_of} undone: {what}, by {self.author}"
        )


@dataclass(frozen=True, slots=True)
class StoredBar:
    """A bar as it is stored: its `AMENDABLE` values, what its prices were multiplied by, since when it is known."""

    values: dict[str, float | None]
    price_factor: float
    known_at: datetime
    amendment_id: str | None


@dataclass(frozen=True, slots=True)
class AmendedField:
    """A row of `amendments`; instants are UTC, `ended_by` is undo or the SHA-256 of a payload with another value."""

    amendment_id: str
    symbol: str
    date: date
    field: str
    old_value: float | None
    new_value: float | None
    reason: str
    author: str
    raw_hash: str
    amended_at: datetime
    ended_at: datetime | None
    ended_by: str | None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {name: value.isoformat() if isinstance(value, date) else value for name, value in asdict(self).items()}


class Standing(NamedTuple):
    """An amended field: what the provider has, what stands in its place, and the id of the row in `amendments`."""

    old_value: float | None
    new_value: float | None
    amendment_id: str


def parse_amendment(body: bytes) -> Amendment:
    """Read an amendment's body.

    Raises:
        BadPayload: it is not one.
    """
    try:
        document = json.loads(body)
        changes = tuple(
            Change(item["field"], _number(item["old"]), _number(item["new"])) for item in document["changes"]
        )
        amendment = Amendment(
            symbol=str(document["symbol"]),
            date=date.fromisoformat(document["date"]),
            changes=changes,
            reason=str(document["reason"]),
            author=str(document["author"]),
            at=datetime.fromisoformat(document["at"]),
            undo_of=document["undo_of"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise BadPayload(f"not the body of an amendment: {type(error).__name__}: {error}") from None
    unknown = sorted({change.field for change in changes} - set(AMENDABLE))
    if unknown or not changes or amendment.at.tzinfo is None:
        raise BadPayload(f"not the body of an amendment: {unknown or 'no changes, or an instant without a zone'}")
    return amendment


def stored_bar(connection: duckdb.DuckDBPyConnection, symbol: str, day: date) -> StoredBar | None:
    """The bar of a session as it is stored; None when there is none."""
    row = connection.execute(
        f"SELECT {', '.join(AMENDABLE)}, coalesce(price_factor, 1), coalesce(known_at, pulled_at), amendment_id "
        "FROM price_history_daily WHERE symbol = ? AND date = ?",
        [symbol, day],
    ).fetchone()
    if row is None:
        return None
    values = dict(zip(AMENDABLE, row, strict=False))
    return StoredBar(values, row[-3], _utc(row[-2]), row[-1])


def apply_amendment(connection: duckdb.DuckDBPyConnection, stored: StoredPayload, amendment: Amendment) -> None:
    """Change the stored bar, its predecessor going to `revisions`; call it inside `transaction`.

    Raises:
        AmendmentError: there is no such bar, it has other values than the amendment is about, or what is to be undone
            does not stand.
    """
    bar = stored_bar(connection, amendment.symbol, amendment.date)
    require_old(amendment, bar)
    at, place = naive_utc(amendment.at), [amendment.symbol, amendment.date]
    reason = "amendment" if amendment.undo_of is None else "undo"
    connection.execute(
        f"INSERT INTO revisions ({', '.join(_PREDECESSOR)}, replaced_at, replaced_by, reason) "
        f"SELECT {', '.join(_PREDECESSOR)}, ?, ?, ? FROM price_history_daily WHERE symbol = ? AND date = ?",
        [at, stored.sha256, reason, *place],
    )
    if amendment.undo_of is None:
        _note(connection, stored, amendment)
    else:
        _end_undone(connection, amendment, amendment.undo_of)
    connection.execute(
        f"UPDATE price_history_daily SET {', '.join(f'{change.field} = ?' for change in amendment.changes)}, "
        "known_at = ?, amendment_id = (SELECT split_part(amendment_id, '.', 1) FROM amendments "
        "WHERE symbol = ? AND date = ? AND ended_at IS NULL ORDER BY amended_at DESC, amendment_id LIMIT 1) "
        "WHERE symbol = ? AND date = ?",
        [*(change.new for change in amendment.changes), at, *place, *place],
    )


def standing(connection: duckdb.DuckDBPyConnection, symbol: str) -> dict[tuple[date, str], Standing]:
    """A symbol's amendments that stand, by session and field, the earliest first."""
    rows = connection.execute(
        "SELECT date, field, old_value, new_value, amendment_id FROM amendments "
        "WHERE symbol = ? AND ended_at IS NULL ORDER BY amended_at, amendment_id",
        [symbol],
    ).fetchall()
    return {(day, field): Standing(*values) for day, field, *values in rows}


def kept(
    incoming: pd.DataFrame,
    stands: Mapping[tuple[date, str], Standing],
    *,
    price_within: npt.ArrayLike = 0.0,
    volume_within: float = 0.0,
) -> tuple[pd.DataFrame, list[str]]:
    """What is to be stored of a provider's bars beside amendments: an amended value stays while the old one is sent.

    Args:
        incoming: bars that are about to replace the stored ones, in the basis they are stored in: `date`
            (datetime64) and the `AMENDABLE` fields (float64), null where not sent.
        stands: as `standing` gives it.
        price_within: dollars, one for all bars or one each, within which a price counts as the old one; for prices
            turned to raw, whose rounding differs with what they are turned by. 0 leaves 1e-9 relative.
        volume_within: the same for a volume, relative.

    Returns:
        The bars with amended values in place of the old ones, and a further column `amendment_id` for the bar (None
        where none stands); and the ids of amendments that have ended, since another value than the old one is sent.
    """
    values = {name: incoming[name].to_numpy(dtype=float, copy=True) for name in AMENDABLE} if stands else {}
    ids: list[str | None] = [None] * len(incoming)
    places = {day: place for place, day in enumerate(incoming["date"].dt.date)} if stands else {}
    within = np.broadcast_to(np.asarray(price_within, dtype=float), len(incoming))
    ended = []
    for (day, field), amended in stands.items():
        place = places.get(day)
        if place is None:
            continue
        sent = _value(values[field][place])
        rounding = within[place] if field in PRICES else volume_within * abs(amended.old_value or 0.0)
        if is_same(sent, amended.old_value, within=float(rounding)):
            values[field][place] = math.nan if amended.new_value is None else amended.new_value
            ids[place] = amended.amendment_id.partition(".")[0]
        else:
            ended.append(amended.amendment_id)
    told = pd.Series(ids, dtype=object, index=incoming.index)
    return incoming.assign(**values, amendment_id=told), ended


def end_amendments(connection: duckdb.DuckDBPyConnection, ended: Sequence[str], raw_hash: str, at: datetime) -> None:
    """Note that the amendments do not stand any more, as a payload (its SHA-256 given) has other values."""
    connection.execute(
        "UPDATE amendments SET ended_at = ?, ended_by = ? "
        "WHERE amendment_id IN (SELECT unnest(?)) AND ended_at IS NULL",
        [naive_utc(at), raw_hash, list(ended)],
    )


def read_amendments(
    connection: duckdb.DuckDBPyConnection, *, symbol: str | None = None, amendment_id: str | None = None
) -> list[AmendedField]:
    """Amended fields, the earliest first: all, a symbol's, or one amendment's (by the id of a field or the whole)."""
    rows = connection.execute(
        "SELECT amendment_id, symbol, date, field, old_value, new_value, reason, author, raw_hash, amended_at, "
        "ended_at, ended_by FROM amendments WHERE symbol = coalesce(?, symbol) "
        "AND coalesce(? IN (amendment_id, split_part(amendment_id, '.', 1)), true) ORDER BY amended_at, amendment_id",
        [symbol, amendment_id],
    ).fetchall()
    return [_amended_field([_utc(value) if isinstance(value, datetime) else value for value in row]) for row in rows]


def _amended_field(row: list[Any]) -> AmendedField:
    return AmendedField(*row)


def is_same(one: float | None, other: float | None, *, within: float = 0.0) -> bool:
    """Whether two values are the same but for float noise (1e-9 relative) or for `within`, or both null."""
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=_RELATIVE, abs_tol=within)


def require_old(amendment: Amendment, bar: StoredBar | None) -> None:
    """Refuse an amendment of another value than the stored one.

    Raises:
        AmendmentError: names the value that is stored by now, or that there is no bar.
    """
    place = f"{amendment.symbol} {amendment.date}"
    if bar is None:
        raise AmendmentError(f"{place}: no bar is stored; load it with `market-data backfill` first")
    for change in amendment.changes:
        held = bar.values[change.field]
        if not is_same(held, change.old):
            raise AmendmentError(
                f"{place}: {change.field} is {_shown(held)} by now, and the amendment is about {_shown(change.old)}; "
                "amend the bar as it is now"
            )


def _note(connection: duckdb.DuckDBPyConnection, stored: StoredPayload, amendment: Amendment) -> None:
    connection.executemany(
        "INSERT INTO amendments (amendment_id, symbol, date, field, old_value, new_value, reason, author, raw_hash, "
        "amended_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            [
                f"{stored.request_id}.{change.field}", amendment.symbol, amendment.date, change.field, change.old,
                change.new, amendment.reason, amendment.author, stored.sha256, naive_utc(amendment.at),
            ]
            for change in amendment.changes
        ],
    )  # fmt: skip


def _end_undone(connection: duckdb.DuckDBPyConnection, amendment: Amendment, undo_of: str) -> None:
    ids = [f"{undo_of}.{change.field}" for change in amendment.changes]
    row = connection.execute(
        "UPDATE amendments SET ended_at = ?, ended_by = 'undo' "
        "WHERE amendment_id IN (SELECT unnest(?)) AND ended_at IS NULL",
        [naive_utc(amendment.at), ids],
    ).fetchone()
    if row is None or row[0] != len(ids):
        raise AmendmentError(
            f"{amendment.symbol} {amendment.date}: amendment {undo_of} does not stand; nothing to undo"
        )


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC)


def _value(number: float) -> float | None:
    return None if math.isnan(number) else float(number)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _shown(value: float | None) -> str:
    return "null" if value is None else f"{value:g}" if value == float(f"{value:g}") else repr(value)
