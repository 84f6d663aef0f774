"""What an amendment must satisfy before anything of it is written: the values, the bar after it, who and why."""

from __future__ import annotations

import getpass
import math
from collections.abc import Collection, Mapping
from datetime import date, datetime

import duckdb

from market_data.sessions import is_session
from market_data.warehouse.amendments import (
    AMENDABLE,
    PRICES,
    Amendment,
    AmendmentError,
    Change,
    StoredBar,
    is_same,
    read_amendments,
    require_old,
    standing,
    stored_bar,
)

__all__ = [
    "after",
    "checked_amendment",
    "checked_author",
    "checked_reason",
    "checked_undo",
    "held_bar",
    "proposed_values",
]

_ROUNDING = 1e-5
_PRICE_RULES = ("unit_error",)
"""Rules whose `proposed` is a price; that of others is a ratio or a dividend."""
_TICK_DECIMALS = 4
_SENT_DECIMALS = 6


def checked_amendment(
    connection: duckdb.DuckDBPyConnection,
    symbol: str,
    day: date,
    values: Mapping[str, float | None],
    *,
    reason: str,
    author: str,
    at: datetime,
) -> Amendment:
    """The amendment that gives fields of a stored bar new values.

    Raises:
        AmendmentError: no such bar; a field or value that is not allowed, or is held already; a field that is amended
            already; a high or low that would no longer bound the others.
    """
    bar = held_bar(connection, symbol, day)
    amendment = Amendment(symbol, day, _changes(bar, values, f"{symbol} {day}"), reason, author, at)
    _require_free(connection, amendment)
    _require_sound(after(bar, amendment), amendment)
    _require_later(bar, amendment)
    return amendment


def checked_undo(
    connection: duckdb.DuckDBPyConnection, amendment_id: str, *, reason: str, author: str, at: datetime
) -> Amendment:
    """The amendment that takes back those fields of an earlier one that still stand.

    Raises:
        AmendmentError: there is none, it has ended, or beside other amendments of the bar high or low would no longer
            bound the others.
    """
    rows = read_amendments(connection, amendment_id=amendment_id)
    if not rows:
        raise AmendmentError(f"there is no amendment {amendment_id}; `market-data amend --list` tells them")
    due = [row for row in rows if row.ended_at is None]
    if not due:
        raise AmendmentError(f"amendment {amendment_id} ended on {rows[0].ended_at} by {rows[0].ended_by}")
    changes = tuple(Change(row.field, row.new_value, row.old_value) for row in due)
    undone = due[0].amendment_id.partition(".")[0]
    amendment = Amendment(due[0].symbol, due[0].date, changes, reason, author, at, undone)
    bar = held_bar(connection, amendment.symbol, amendment.date)
    require_old(amendment, bar)
    # What the provider sent may always come back, unsound as it may be.
    if _others_stand(connection, amendment):
        _require_sound(after(bar, amendment), amendment)
    _require_later(bar, amendment)
    return amendment


def held_bar(connection: duckdb.DuckDBPyConnection, symbol: str, day: date) -> StoredBar:
    """The stored bar.

    Raises:
        AmendmentError: there is none.
    """
    bar = stored_bar(connection, symbol, day)
    if bar is None:
        off = "" if is_session(day) else f"; {day} is no session"
        raise AmendmentError(f"{symbol} {day}: no bar is stored, so there is nothing to amend{off}")
    return bar


def _changes(bar: StoredBar, values: Mapping[str, float | None], place: str) -> tuple[Change, ...]:
    if not values:
        raise AmendmentError(f"{place}: nothing to change; name a field and its value")
    for field, value in values.items():
        if field not in AMENDABLE:
            raise AmendmentError(f"{field!r} is not a field that can be amended; they are {', '.join(AMENDABLE)}")
        if value is not None and (not math.isfinite(value) or value < 0 or (value == 0 and field in PRICES)):
            least = "above zero" if field in PRICES else "of zero or more"
            raise AmendmentError(f"{place}: {field} {value:g} is not allowed; give a number {least}, or null")
        if is_same(bar.values[field], value):
            raise AmendmentError(f"{place}: {field} is {'null' if value is None else f'{value:g}'} already")
    return tuple(Change(field, bar.values[field], values[field]) for field in AMENDABLE if field in values)


def after(bar: StoredBar, amendment: Amendment) -> dict[str, float | None]:
    """The bar's values once it is amended."""
    return bar.values | {change.field: change.new for change in amendment.changes}


def _require_free(connection: duckdb.DuckDBPyConnection, amendment: Amendment) -> None:
    stands = standing(connection, amendment.symbol)
    for change in amendment.changes:
        other = stands.get((amendment.date, change.field))
        if other is not None:
            raise AmendmentError(
                f"{amendment.symbol} {amendment.date}: {change.field} is amended already, by {other.amendment_id}; "
                f"undo that first: market-data amend --undo {other.amendment_id} --reason ..."
            )


def _others_stand(connection: duckdb.DuckDBPyConnection, amendment: Amendment) -> bool:
    fields = {change.field for change in amendment.changes}
    stands = standing(connection, amendment.symbol)
    return any(day == amendment.date and field not in fields for day, field in stands)


def _require_sound(values: Mapping[str, float | None], amendment: Amendment) -> None:
    """High and low bound the others where a price was changed; what a provider sent otherwise is not judged here."""
    if not {change.field for change in amendment.changes} & {"open", "high", "low", "close"}:
        return
    prices = {name: values[name] for name in ("open", "high", "low", "close")}
    held = {name: value for name, value in prices.items() if value is not None}
    high, low = held.get("high"), held.get("low")
    beyond = [name for name, value in held.items() if high is not None and value > high * (1 + _ROUNDING)]
    below = [name for name, value in held.items() if low is not None and value < low * (1 - _ROUNDING)]
    if beyond or below:
        what = f"{beyond[0]} above high" if beyond else f"{below[0]} below low"
        told = ", ".join(f"{name} {value:g}" for name, value in held.items())
        raise AmendmentError(
            f"{amendment.symbol} {amendment.date}: the bar would have its {what} ({told}); "
            "amend every field that is wrong at once"
        )


def _require_later(bar: StoredBar, amendment: Amendment) -> None:
    if amendment.at <= bar.known_at:
        raise AmendmentError(
            f"{amendment.symbol} {amendment.date}: the bar is known since {bar.known_at}, later than the clock's "
            f"{amendment.at}; set the clock right"
        )


def proposed_values(
    connection: duckdb.DuckDBPyConnection, symbol: str, day: date, fields: Collection[str]
) -> tuple[dict[str, float | None], list[str]]:
    """Prices that findings propose, in the basis of the stored bar, and what they say; `fields` empty for all.

    Only findings about the values that are stored now count.

    Raises:
        AmendmentError: nothing is proposed, or different values for one field.
    """
    bar = held_bar(connection, symbol, day)
    rows = connection.execute(
        "SELECT field, value, proposed, message FROM quality_findings WHERE symbol = ? AND date = ? "
        "AND proposed IS NOT NULL AND rule IN (SELECT unnest(?)) AND field IN (SELECT unnest(?)) "
        "ORDER BY found_at, field, proposed",
        [symbol, day, list(_PRICE_RULES), list(PRICES)],
    ).fetchall()
    values: dict[str, float | None] = {}
    messages = []
    for field, found, proposed, message in rows:
        value = _in_basis_of_bar(bar, field, found, proposed)
        if value is not None and (not fields or field in fields):
            if not is_same(values.setdefault(field, value), value):
                raise AmendmentError(
                    f"{symbol} {day}: {values[field]:g} and {value:g} are proposed for {field}; give --value"
                )
            messages.append(message)
    lacking = [field for field in fields if field not in values]
    if lacking or not values:
        what = ", ".join(lacking) or "any price"
        raise AmendmentError(
            f"{symbol} {day}: no finding proposes a value for {what} as it is stored now; give --value"
        )
    return values, list(dict.fromkeys(messages))


def _in_basis_of_bar(bar: StoredBar, field: str, found: float | None, proposed: float) -> float | None:
    held = bar.values[field]
    if held is None or found is None:
        return None
    for factor in (1.0, bar.price_factor):
        if math.isclose(found * factor, held, rel_tol=1e-6, abs_tol=10**-_TICK_DECIMALS):
            # Beyond its decimals as sent, a proposal has float noise, as of a price times 100.
            return round(proposed, _SENT_DECIMALS) if factor == 1 else round(proposed * factor, _TICK_DECIMALS)
    return None


def checked_reason(text: str) -> str:
    """The reason.

    Raises:
        AmendmentError: it is empty.
    """
    if not text.strip():
        raise AmendmentError("an amendment needs a reason; give --reason with what is wrong and how that is known")
    return text.strip()


def checked_author(given: str | None) -> str:
    """Who amends: the name given, else the user of the operating system.

    Raises:
        AmendmentError: there is no such name.
    """
    if given is not None and given.strip():
        return given.strip()
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        raise AmendmentError("it cannot be told who amends; give --by NAME") from None
