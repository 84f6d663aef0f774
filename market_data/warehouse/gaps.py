"""Gaps of the canonical database: expected sessions without a good bar, kept with what was tried to fill them.

A gap is *open* while it may be filled, *known* once nobody can, *closed* when it is filled. What is found is derived
from the quality log alone; the table `gaps` keeps what the log does not say: tries, reasons, when to try again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa

from market_data.instruments import Universe
from market_data.settings import Settings
from market_data.warehouse.batch import naive_utc

__all__ = [
    "STATES",
    "GapChanges",
    "changed_gaps",
    "count_gaps",
    "filled_gaps",
    "find_gaps",
    "keep_gaps",
    "next_gap_try",
    "one_number",
    "query",
    "read_gaps",
    "registered",
    "store_mark",
]

STATES = ("open", "known", "closed")
"""What a gap can be."""

_EMPTY: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GapChanges:
    """Gaps that were opened (for the first time or again) and closed."""

    opened: int = 0
    closed: int = 0


def find_gaps(
    connection: duckdb.DuckDBPyConnection, universe: Universe, settings: Settings, *, until: date
) -> pa.Table:
    """Every expected session from the window's start to `until` that has no good bar.

    Expected are the sessions within the listing; the first bar bounds them where the listing is not known.

    Returns:
        symbol, date, kind (as in the table `gaps`), score (of a stored bar, else null), rules (found at the session),
        ascending by symbol and date.
    """
    start = settings.window_start
    instruments = [
        (
            symbol,
            max(start, instrument.listed_from or start),
            min(until, instrument.delisted_on - timedelta(days=1)) if instrument.delisted_on else until,
            instrument.start_is_known(start),
        )
        for symbol, instrument in universe.items()
    ]
    names = ("symbol", "first", "last", "is_known")
    kinds = (pa.string(), pa.date32(), pa.date32(), pa.bool_())
    columns = list(zip(*instruments, strict=True)) or [_EMPTY] * len(names)
    given = pa.table({name: pa.array(column, kind) for name, column, kind in zip(names, columns, kinds, strict=True)})
    return query(connection, _FIND, {"least": settings.min_data_quality}, instruments=given)


_FIND = """
WITH first_bars AS (
    SELECT symbol, min(date) AS date FROM quality_findings WHERE rule = 'span_from_first_bar' GROUP BY symbol
), expected AS (
    SELECT i.symbol, s.session AS date
    FROM instruments AS i
    LEFT JOIN first_bars AS f ON f.symbol = i.symbol AND NOT i.is_known
    JOIN sessions AS s ON s.session BETWEEN greatest(i.first, coalesce(f.date, i.first)) AND i.last
)
SELECT
    e.symbol, e.date,
    CASE WHEN q.verdict IS NULL THEN 'unanswered' WHEN q.verdict IN ('accepted', 'flagged') THEN 'low_score'
        ELSE q.verdict END AS kind,
    CASE WHEN q.verdict IN ('accepted', 'flagged') THEN q.score END AS score,
    coalesce(q.rules, '') AS rules
FROM expected AS e
LEFT JOIN data_quality_log AS q ON q.symbol = e.symbol AND q.date = e.date
WHERE q.verdict IS NULL OR q.verdict NOT IN ('accepted', 'flagged') OR q.score < $least
ORDER BY e.symbol, e.date
"""


def keep_gaps(
    connection: duckdb.DuckDBPyConnection,
    found: pa.Table,
    fingerprints: Mapping[str, str],
    *,
    start: date,
    until: date,
    now: datetime,
) -> GapChanges:
    """Bring the table up to what was found; call it inside `transaction`.

    New ones are opened, and known ones again where their fingerprint is another; those not found any more are closed.
    Symbols without a fingerprint are left as they are: they are not in the universe any more.

    Args:
        found: as `find_gaps` gives it for `start..until`.
        fingerprints: two hashes with a dash between, by symbol. Where the first one is another, what was answered
            before does not count any more; where the second one is, only the tries begin anew.
    """
    moment = naive_utc(now)
    with registered(connection, found=found, prints=_prints(fingerprints)):
        before = _count_open(connection)
        connection.execute(_MERGE, {"now": moment})
        opened = _count_open(connection) - before
        [(closed,)] = connection.execute(_CLOSE, {"now": moment, "start": start, "until": until}).fetchall()
    return GapChanges(opened, int(closed))


_REASON = """CASE found.kind
    WHEN 'missing' THEN 'answered without a usable bar'
    WHEN 'rejected' THEN 'the batch was refused'
    WHEN 'low_score' THEN 'stored with a score of ' || round(found.score, 3) || ' (' || found.rules || ')'
    ELSE 'nothing was judged for it yet' END"""
_MERGE = f"""
MERGE INTO gaps AS held
USING (SELECT found.*, prints.fingerprint, {_REASON} AS reason FROM found JOIN prints USING (symbol)) AS found
ON held.symbol = found.symbol AND held.date = found.date
WHEN MATCHED AND (held.state = 'closed' OR held.fingerprint <> found.fingerprint) THEN UPDATE SET
    kind = found.kind, state = 'open', reason = found.reason, tries = 0,
    found_at = CASE held.state WHEN 'open' THEN held.found_at ELSE $now END, next_try_at = $now, closed_at = NULL,
    asked_since = CASE
        WHEN held.state = 'closed' THEN NULL
        WHEN split_part(held.fingerprint, '-', 1) = split_part(found.fingerprint, '-', 1) THEN held.asked_since
        ELSE $now END,
    fingerprint = found.fingerprint
WHEN MATCHED AND held.kind <> found.kind THEN UPDATE SET kind = found.kind
WHEN NOT MATCHED THEN INSERT (symbol, date, kind, state, reason, tries, found_at, next_try_at, fingerprint)
    VALUES (found.symbol, found.date, found.kind, 'open', found.reason, 0, $now, $now, found.fingerprint)
"""
_CLOSE = """
UPDATE gaps SET
    state = 'closed', closed_at = $now, next_try_at = NULL,
    reason = CASE WHEN EXISTS (
        SELECT 1 FROM data_quality_log AS q
        WHERE q.symbol = gaps.symbol AND q.date = gaps.date AND q.verdict IN ('accepted', 'flagged')
    ) THEN 'filled' ELSE 'not expected any more' END
WHERE state <> 'closed' AND date BETWEEN $start AND $until AND symbol IN (SELECT symbol FROM prints)
    AND NOT EXISTS (SELECT 1 FROM found WHERE found.symbol = gaps.symbol AND found.date = gaps.date)
"""


def changed_gaps(
    connection: duckdb.DuckDBPyConnection,
    found: pa.Table,
    fingerprints: Mapping[str, str],
    *,
    start: date,
    until: date,
) -> int:
    """How many gaps `keep_gaps` would open or close; changes nothing."""
    with registered(connection, found=found, prints=_prints(fingerprints)):
        return one_number(connection, _CHANGED, {"start": start, "until": until})


_CHANGED = """
SELECT (
    SELECT count(*) FROM found JOIN prints USING (symbol)
    LEFT JOIN gaps AS g ON g.symbol = found.symbol AND g.date = found.date
    WHERE g.symbol IS NULL OR g.state = 'closed' OR g.fingerprint <> prints.fingerprint
) + (
    SELECT count(*) FROM gaps SEMI JOIN prints USING (symbol) ANTI JOIN found USING (symbol, date)
    WHERE state <> 'closed' AND date BETWEEN $start AND $until
)
"""


def count_gaps(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Number of gaps in each of `STATES`."""
    rows = dict(connection.execute("SELECT state, count(*) FROM gaps GROUP BY state").fetchall())
    return {state: rows.get(state, 0) for state in STATES}


def read_gaps(
    connection: duckdb.DuckDBPyConnection,
    *,
    state: str | None = None,
    symbols: Sequence[str] | None = None,
    found_before: datetime | None = None,
    limit: int | None = None,
) -> pd.DataFrame:
    """Gaps, sessions in a row that share state and reason as one, the newest first.

    Returns:
        symbol, first_date, last_date, sessions, kind, state, reason, tries, found_at, tried_at, next_try_at (UTC).
    """
    return connection.execute(
        _READ + ("" if limit is None else " LIMIT $limit"),
        {
            "state": state,
            "symbols": None if symbols is None else list(symbols),
            "before": None if found_before is None else naive_utc(found_before),
        }
        | ({} if limit is None else {"limit": limit}),
    ).df()


_READ = """
WITH numbered AS (SELECT session, row_number() OVER (ORDER BY session) AS place FROM sessions),
chosen AS (
    SELECT g.*, n.place - row_number() OVER (
        PARTITION BY g.symbol, g.kind, g.state, g.reason, g.tries, g.next_try_at ORDER BY g.date
    ) AS span
    FROM gaps AS g JOIN numbered AS n ON n.session = g.date
    WHERE ($state::VARCHAR IS NULL OR g.state = $state)
        AND ($symbols::VARCHAR[] IS NULL OR list_contains($symbols::VARCHAR[], g.symbol))
        AND ($before::TIMESTAMP IS NULL OR g.found_at < $before)
)
SELECT
    symbol, min(date) AS first_date, max(date) AS last_date, count(*) AS sessions, kind, state, reason, tries,
    min(found_at) AS found_at, max(tried_at) AS tried_at, next_try_at
FROM chosen
GROUP BY symbol, kind, state, reason, tries, next_try_at, span
ORDER BY last_date DESC, symbol, first_date
"""


def filled_gaps(connection: duckdb.DuckDBPyConnection, at: datetime) -> pd.DataFrame:
    """Gaps that were found filled at an instant: symbol, date, provider of the bar, the newest first."""
    return connection.execute(
        "SELECT g.symbol, g.date, p.source_provider AS provider FROM gaps AS g "
        "JOIN price_history_daily AS p USING (symbol, date) "
        "WHERE g.state = 'closed' AND g.reason = 'filled' AND g.closed_at = ? ORDER BY g.date DESC, g.symbol",
        [naive_utc(at)],
    ).df()


def next_gap_try(connection: duckdb.DuckDBPyConnection, symbols: Sequence[str]) -> datetime | None:
    """The earliest instant from which an open gap of the symbols is asked for; None when none is open."""
    [(instant,)] = connection.execute(
        "SELECT min(next_try_at) FROM gaps WHERE state = 'open' AND symbol IN (SELECT unnest(?))", [list(symbols)]
    ).fetchall()
    return None if instant is None else instant.replace(tzinfo=UTC)


def store_mark(connection: duckdb.DuckDBPyConnection) -> str:
    """What differs as soon as a gap may have been filled, torn or tried since."""
    [row] = connection.execute(
        "SELECT (SELECT (count(*), max(checked_at), sum(score)) FROM data_quality_log), "
        "(SELECT (count(*), max(finished_at)) FROM ingestion_jobs WHERE kind <> 'gaps'), "
        "(SELECT (count(*), sum(tries), max(found_at), max(closed_at)) FROM gaps), "
        "(SELECT count(*) FROM quality_findings WHERE rule = 'span_from_first_bar')"
    ).fetchall()
    return str(row)


def query(
    connection: duckdb.DuckDBPyConnection, statement: str, values: dict[str, Any], **tables: pa.Table
) -> pa.Table:
    """What a statement of this package gives, with tables that it reads by their names."""
    with registered(connection, **tables):
        return connection.execute(statement, values).to_arrow_reader().read_all()


@contextmanager
def registered(connection: duckdb.DuckDBPyConnection, **tables: pa.Table) -> Iterator[None]:
    """Have tables readable by their names for a while."""
    for name, table in tables.items():
        connection.register(name, table)
    try:
        yield
    finally:
        for name in tables:
            connection.unregister(name)


def one_number(connection: duckdb.DuckDBPyConnection, statement: str, values: list[Any] | dict[str, Any]) -> int:
    """The one number that a statement gives."""
    [(value,)] = connection.execute(statement, values).fetchall()
    return int(value)


def _prints(fingerprints: Mapping[str, str]) -> pa.Table:
    return pa.table(
        {
            "symbol": pa.array(list(fingerprints), pa.string()),
            "fingerprint": pa.array(list(fingerprints.values()), pa.string()),
        }
    )


def _count_open(connection: duckdb.DuckDBPyConnection) -> int:
    return one_number(connection, "SELECT count(*) FROM gaps WHERE state = 'open'", [])
