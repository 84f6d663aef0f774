"""Reading daily prices in one basis, as known at an instant: the statements behind `market_data.load`.

The conversions themselves are the table macros of `views.sql`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any, Literal

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from market_data.errors import MarketDataError, SettingsError

__all__ = [
    "BasisError",
    "BasisName",
    "Knowledge",
    "PriceQuery",
    "read_known",
    "read_rows",
    "read_sessions",
    "read_untold",
]

BasisName = Literal["raw", "split", "total_return"]

_KNOWN = "CAST($known AS TIMESTAMP)"
_SOURCES = {
    "raw": "(SELECT *, CASE WHEN basis <> 'raw' THEN 'its prices are adjusted as of ' || "
    "CAST(exchange_date(adjusted_as_of) AS VARCHAR) || ', and the actions to undo that are not known' END AS refusal "
    f"FROM bars_as_of({_KNOWN}))",
    "split": f"split_adjusted({_KNOWN}, $until)",
    "total_return": f"total_return({_KNOWN}, $until)",
}
_NAMED = 10


class BasisError(MarketDataError):
    """Bars cannot be had in the basis asked for, or only by mixing bases."""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What counts as known: rows known by `instant`, and actions with ex-dates up to `until`.

    Attributes:
        instant: naive UTC; None for everything known by now.
    """

    instant: datetime | None
    until: date

    @classmethod
    def at(cls, as_of: date | datetime | None) -> Knowledge:
        """Of the end of a date (UTC), of a zoned instant, or of now.

        Raises:
            SettingsError: a datetime without a zone.
        """
        if as_of is None:
            return cls(None, datetime.now(UTC).date())
        if not isinstance(as_of, datetime):
            return cls(datetime.combine(as_of, time.max), as_of)
        if as_of.tzinfo is None:
            raise SettingsError(f"as_of {as_of} has no time zone; give a date, or an instant as in {as_of}+00:00")
        instant = as_of.astimezone(UTC).replace(tzinfo=None)
        return cls(instant, instant.date())

    @property
    def text(self) -> str:
        """The instant as DuckDB reads it."""
        return "infinity" if self.instant is None else self.instant.isoformat()


@dataclass(frozen=True, slots=True)
class PriceQuery:
    """Bars of `symbols` from `start` to `end`, both inclusive; `fields` are columns of `price_history_daily`.

    Attributes:
        allow_untold: whether raw series are served of which an action may lack that nobody told.
    """

    symbols: list[str]
    start: date
    end: date
    basis: BasisName
    fields: tuple[str, ...]
    knowledge: Knowledge
    allow_untold: bool = False

    def values(self) -> dict[str, Any]:
        """All that the statements name, but for `until`."""
        named = {f"s{number}": symbol for number, symbol in enumerate(self.symbols)}
        return named | {"known": self.knowledge.text, "start": self.start, "end": self.end}

    @property
    def marks(self) -> str:
        return ", ".join(f"$s{number}" for number in range(len(self.symbols)))

    @property
    def condition(self) -> str:
        # DuckDB carries an equality, not an IN, into the windows over the actions: ten times as fast for one symbol.
        symbols = "b.symbol = $s0" if len(self.symbols) == 1 else f"b.symbol IN ({self.marks})"
        return f"{symbols} AND b.date BETWEEN $start AND $end"

    @property
    def positions(self) -> str:
        return f"(SELECT unnest([{self.marks}]) AS symbol, generate_subscripts([{self.marks}], 1) - 1 AS position)"


def read_rows(connection: duckdb.DuckDBPyConnection, query: PriceQuery, *, in_order: bool) -> pa.Table:
    """Each bar's position of its symbol in the query, date, the fields, and `refusal`, which is null.

    Raises:
        BasisError: some cannot be had in the basis.
    """
    order = " ORDER BY position, date" if in_order else ""
    columns = ", ".join(f"b.{name}" for name in query.fields)
    rows = _arrow(
        connection,
        f"SELECT position, b.date, {columns}, refusal FROM {_SOURCES[query.basis]} AS b "
        f"JOIN {query.positions} AS a ON a.symbol = b.symbol WHERE {query.condition}{order}",
        query.values() | ({} if query.basis == "raw" else {"until": query.knowledge.until}),
    )
    refused = rows.filter(rows["refusal"].is_valid())
    if refused.num_rows:
        reasons = refused.group_by(["position", "refusal"]).aggregate(
            [("date", "min"), ("date", "max"), ("date", "count")]
        )
        _refuse(
            query,
            [
                f"{query.symbols[item['position']]}, {item['date_count']} sessions {item['date_min']}.."
                f"{item['date_max']}: {item['refusal']}"
                for item in sorted(reasons.to_pylist(), key=lambda item: (item["position"], item["date_min"]))
            ],
        )
    return rows


def _arrow(connection: duckdb.DuckDBPyConnection, statement: str, values: dict[str, Any]) -> pa.Table:
    with warnings.catch_warnings():
        # DuckDB 2 recommends con.sql(), which copies row by row in 1.5 when values are bound: ten times as slow.
        warnings.filterwarnings("ignore", "Arrow output on a DB-API result", UserWarning)
        return connection.execute(statement, values).to_arrow_reader().read_all()


def _refuse(query: PriceQuery, reasons: list[str]) -> None:
    more = f"; and {len(reasons) - _NAMED} more" if len(reasons) > _NAMED else ""
    others = " or ".join(name for name in ("raw", "split", "total_return") if name != query.basis)
    raise BasisError(
        f"not to be had in basis {query.basis}: {'; '.join(reasons[:_NAMED])}{more}. Let `market-data actions fetch` "
        f"learn the actions, or ask for basis {others}"
    )


# Of each symbol: whether its bars stand in more than one basis, and whether every action between the earliest and the
# latest date that one of them is adjusted up to was told, by spans that touch each other, of the symbol or of all.
_UNTOLD = """
WITH bars AS (
    SELECT symbol, date, basis, adjusted_as_of, greatest(date, exchange_date(adjusted_as_of)) AS adjusted_from,
        CASE basis WHEN 'split_dividend' THEN greatest(date, exchange_date(adjusted_as_of)) ELSE date END AS paid_from
    FROM bars_as_of({known}) AS b WHERE {condition}
),
needed AS (
    SELECT symbol, min(adjusted_from) AS split_since, max(adjusted_from) AS split_last,
        min(paid_from) AS dividend_since, max(paid_from) AS dividend_last,
        min(date) AS first, max(date) AS final, count(*) AS sessions,
        min(basis) <> max(basis) OR min(adjusted_as_of) IS DISTINCT FROM max(adjusted_as_of) AS is_mixed
    FROM bars GROUP BY symbol
),
told AS (
    SELECT n.symbol, t.kind, t.first_date, t.last_date, max(t.last_date) OVER (
        PARTITION BY n.symbol, t.kind ORDER BY t.first_date, t.last_date
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS reached
    FROM needed AS n JOIN actions_told AS t ON t.symbol IN (n.symbol, '*') WHERE t.pulled_at <= {known}
),
runs AS (
    SELECT *, count(*) FILTER (first_date > reached + 1) OVER (
        PARTITION BY symbol, kind ORDER BY first_date, last_date ROWS UNBOUNDED PRECEDING
    ) AS run
    FROM told
),
spans AS (SELECT symbol, kind, min(first_date) AS first, max(last_date) AS last FROM runs GROUP BY symbol, kind, run),
due AS (
    SELECT *, CASE kind WHEN 'split' THEN split_since ELSE dividend_since END AS since,
        CASE kind WHEN 'split' THEN split_last ELSE dividend_last END AS last
    FROM needed CROSS JOIN (SELECT unnest($kinds) AS kind)
)
SELECT n.symbol, n.is_mixed, n.kind, n.since, n.last, n.first, n.final, n.sessions
FROM due AS n
WHERE n.since < n.last AND NOT EXISTS (
    SELECT 1 FROM spans AS s
    WHERE s.symbol = n.symbol AND s.kind = n.kind AND s.first <= n.since + 1 AND s.last >= n.last
)
ORDER BY n.symbol, n.kind DESC
"""


def read_untold(connection: duckdb.DuckDBPyConnection, query: PriceQuery) -> list[str]:
    """Symbols of which an action that the basis needs may not be known.

    Raises:
        BasisError: there are some, and the query does not allow them; or a symbol's bars stand in several bases, and
            the actions to make them one were not all told.
    """
    if query.basis == "raw":
        return []
    kinds = ["split"] if query.basis == "split" else ["split", "dividend"]
    found = connection.execute(
        _UNTOLD.format(known=_KNOWN, condition=query.condition), query.values() | {"kinds": kinds}
    ).fetchall()
    refused = [
        f"{symbol}, {sessions} sessions {first}..{final}: {'its bars stand in several bases, and ' if is_mixed else ''}"
        f"not every {kind} between {since} and {last} was told"
        for symbol, is_mixed, kind, since, last, first, final, sessions in found
        if is_mixed or not query.allow_untold
    ]
    if refused:
        _refuse(query, refused)
    untold = {row[0] for row in found}
    return [symbol for symbol in query.symbols if symbol in untold]


def read_sessions(connection: duckdb.DuckDBPyConnection, query: PriceQuery) -> npt.NDArray[np.datetime64]:
    """The sessions of the span, from the store's own list: building the calendar anew takes seconds."""
    first, last = connection.execute("SELECT min(session), max(session) FROM sessions").fetchone() or (None, None)
    if first is None or not first <= query.start <= query.end <= last:
        raise SettingsError(f"{query.start} to {query.end} is outside the sessions the store knows, {first} to {last}")
    days = connection.execute(
        "SELECT session FROM sessions WHERE session BETWEEN ? AND ? ORDER BY session", [query.start, query.end]
    ).fetchnumpy()["session"]
    return np.asarray(days, dtype="datetime64[s]")


_BAR = ("open", "high", "low", "close", "volume")
_KNOWN_COLUMNS = (
    "date",
    *_BAR,
    "basis",
    "source_provider",
    "known_at",
    "refusal",
    "replaced_at",
    "reason",
    *(f"now_{name}" for name in (*_BAR, "basis", "source_provider", "known_at")),
)
_STORED = f"(SELECT *, NULL AS refusal FROM bars_as_of({_KNOWN}))"


def read_known(
    connection: duckdb.DuckDBPyConnection,
    symbol: str,
    *,
    start: date | None,
    end: date,
    basis: BasisName,
    knowledge: Knowledge,
    sessions: int = 10,
) -> list[dict[str, Any]]:
    """What was known of each session of a symbol at an instant, and what is stored of it now.

    Args:
        start: first session; None for the last `sessions` up to `end`.
        basis: of the prices; "raw" leaves bars that could not be turned to raw as they were stored.

    Returns:
        A dict a session, ascending: date; open to volume in the basis; basis, source_provider and known_at of the bar
        as it was stored, all None where none was known; refusal, why it cannot be had in the basis; replaced_at and
        reason of its first change since, or None; `now_...`, the same of the bar as it is stored now.
    """
    source = _STORED if basis == "raw" else _SOURCES[basis]
    until = {} if basis == "raw" else {"until": knowledge.until}
    columns = ", ".join(
        f"s.session AS {name}"
        if name == "date"
        else f"p.{name[4:]} AS {name}"
        if name.startswith("now_")
        else f"r.{name}"
        if name in ("replaced_at", "reason")
        else f"b.{name}"
        for name in _KNOWN_COLUMNS
    )
    rows = connection.execute(
        f"SELECT {columns} FROM sessions AS s "
        f"LEFT JOIN (SELECT * FROM {source} AS a WHERE a.symbol = $symbol) AS b ON b.date = s.session "
        "LEFT JOIN (SELECT * FROM revisions WHERE symbol = $symbol QUALIFY row_number() OVER ("
        "PARTITION BY date, known_at ORDER BY replaced_at DESC) = 1) AS r "
        f"ON r.date = b.date AND r.known_at = b.known_at AND r.replaced_at > {_KNOWN} "
        "LEFT JOIN price_history_daily AS p ON p.symbol = $symbol AND p.date = s.session "
        "WHERE s.session <= $end AND s.session >= coalesce($start, DATE '1900-01-01') "
        "ORDER BY s.session DESC LIMIT $most",
        {
            "symbol": symbol,
            "known": knowledge.text,
            "start": start,
            "end": end,
            "most": sessions if start is None else None,
        }
        | until,
    ).fetchall()
    return [dict(zip(_KNOWN_COLUMNS, row, strict=True)) for row in reversed(rows)]
