"""What was tried to fill gaps: who answered, what comes of a try, and which of them nobody can fill."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime

import duckdb
import pandas as pd
import pyarrow as pa

from market_data.records import EVERY
from market_data.warehouse.batch import naive_utc
from market_data.warehouse.gaps import one_number, query, registered

__all__ = [
    "answers_for_gaps",
    "calls_for_gaps",
    "calls_of_jobs",
    "give_up",
    "note_tries",
    "postpone",
    "take_for_known",
    "try_again",
]

Sessions = Mapping[str, Sequence[date]]
"""Sessions by symbol."""


def answers_for_gaps(
    connection: duckdb.DuckDBPyConnection, symbols: Sequence[str], providers: Sequence[str]
) -> pd.DataFrame:
    """Open gaps of the symbols, and which providers answered for them.

    Args:
        providers: at most 60; the n-th one is bit n of the masks.

    Returns:
        symbol, date, kind, tries, next_try_at (UTC, naive), is_held (whether anything of the symbol was ever judged),
        answered and refused (masks of the providers with a stored answer, and with one whose batch was refused),
        ascending by symbol and date.
    """
    named = pa.table(
        {
            "provider": pa.array(list(providers), pa.string()),
            "bit": pa.array([1 << place for place in range(len(providers))], pa.int64()),
        }
    )
    asked = pa.table({"symbol": pa.array(list(symbols), pa.string())})
    answers: pd.DataFrame = query(connection, _ANSWERS, {"every": EVERY}, providers=named, asked=asked).to_pandas()
    return answers


_ANSWERS = """
WITH opened AS (FROM gaps SEMI JOIN asked USING (symbol) WHERE state = 'open'),
told AS (
    SELECT c.symbol, c.first_date, c.last_date, c.fetched_at, p.bit, c.verdict = 'rejected' AS is_refused
    FROM coverage AS c JOIN providers AS p USING (provider)
    WHERE c.outcome = 'answered' AND c.feed = 'bars' AND c.interval = '1d'
), answers AS (
    SELECT g.symbol, g.date, t.bit, t.is_refused, t.fetched_at >= coalesce(g.asked_since, t.fetched_at) AS counts
    FROM opened AS g JOIN told AS t ON t.symbol = g.symbol AND g.date BETWEEN t.first_date AND t.last_date
    UNION ALL
    SELECT g.symbol, g.date, t.bit, t.is_refused, t.fetched_at >= coalesce(g.asked_since, t.fetched_at)
    FROM opened AS g JOIN told AS t ON t.symbol = $every AND t.first_date = g.date
), masks AS (
    SELECT symbol, date, bit_or(bit) AS answered, bit_or(bit) FILTER (is_refused) AS refused
    FROM answers WHERE counts GROUP BY symbol, date
), judged AS (SELECT DISTINCT symbol FROM data_quality_log WHERE verdict <> 'unanswered')
SELECT
    g.symbol, g.date::TIMESTAMP AS date, g.kind, g.tries, g.next_try_at, j.symbol IS NOT NULL AS is_held,
    coalesce(m.answered, 0) AS answered, coalesce(m.refused, 0) AS refused
FROM opened AS g
LEFT JOIN masks AS m ON m.symbol = g.symbol AND m.date = g.date
LEFT JOIN judged AS j ON j.symbol = g.symbol
ORDER BY g.symbol, g.date
"""


def calls_for_gaps(connection: duckdb.DuckDBPyConnection, since: datetime) -> int:
    """Calls that filling of gaps sent from an instant on, by the ledger."""
    return one_number(
        connection,
        "SELECT coalesce(sum(attempts), 0)::BIGINT FROM coverage WHERE fetched_at >= ? "
        "AND job_id IN (SELECT job_id FROM ingestion_jobs WHERE kind = 'gaps')",
        [naive_utc(since)],
    )


def calls_of_jobs(connection: duckdb.DuckDBPyConnection, job_ids: Sequence[str]) -> int:
    """Calls that jobs sent, those that answer for every symbol at once included."""
    return one_number(
        connection,
        "SELECT coalesce(sum(attempts), 0)::BIGINT FROM coverage WHERE job_id IN (SELECT unnest(?))",
        [list(job_ids)],
    )


def note_tries(
    connection: duckdb.DuckDBPyConnection,
    tried: Sessions,
    reasons: Mapping[str, str],
    *,
    now: datetime,
    answered_first: Collection[str] = (),
) -> int:
    """Count a try in vain of those that are open still; returns how many. Call it inside `transaction`.

    The next try comes after 1, 6, 24 and 72 hours, and after twice as long each time from then on.

    Args:
        reasons: what came of it, by symbol.
        answered_first: symbols that had no answer before and now have one: where that says that there is no bar, it
            is not counted, just as the answer of a backfill is not.
    """
    with registered(connection, tried=_table(tried, reasons, answered_first)):
        return one_number(connection, _NOTE, {"now": naive_utc(now)})


_NOTE = """
UPDATE gaps SET
    tries = tries + CASE WHEN tried.is_first AND kind <> 'unanswered' THEN 0 ELSE 1 END,
    tried_at = $now, reason = tried.reason,
    next_try_at = $now + to_hours(
        CASE WHEN tries < 4 THEN [1, 6, 24, 72][tries + 1] ELSE 72 * (1 << least(tries - 3, 8)) END
    )
FROM tried
WHERE gaps.state = 'open' AND gaps.symbol = tried.symbol AND gaps.date = tried.date
"""


def postpone(
    connection: duckdb.DuckDBPyConnection, spared: Sessions, reasons: Mapping[str, str], *, until: datetime
) -> int:
    """Leave open ones alone until an instant, without counting a try; returns how many."""
    with registered(connection, tried=_table(spared, reasons)):
        return one_number(
            connection,
            "UPDATE gaps SET next_try_at = $until, reason = tried.reason FROM tried "
            "WHERE gaps.state = 'open' AND gaps.symbol = tried.symbol AND gaps.date = tried.date",
            {"until": naive_utc(until)},
        )


def take_for_known(connection: duckdb.DuckDBPyConnection, known: pd.DataFrame) -> int:
    """Ask no more for gaps that nobody can fill; returns how many.

    Args:
        known: symbol, date, reason.
    """
    if not len(known):
        return 0
    told = pa.table(
        {
            "symbol": pa.array(known["symbol"].tolist(), pa.string()),
            "date": pa.array(pd.to_datetime(known["date"]).dt.date.tolist(), pa.date32()),
            "reason": pa.array(known["reason"].tolist(), pa.string()),
        }
    )
    with registered(connection, told=told):
        return one_number(
            connection,
            "UPDATE gaps SET state = 'known', next_try_at = NULL, reason = told.reason FROM told "
            "WHERE gaps.state = 'open' AND gaps.symbol = told.symbol AND gaps.date = told.date",
            {},
        )


def give_up(connection: duckdb.DuckDBPyConnection, tries: int) -> int:
    """Take those that were asked for so often in vain for known; returns how many."""
    return one_number(
        connection,
        "UPDATE gaps SET state = 'known', next_try_at = NULL, "
        "reason = 'asked ' || CASE tries WHEN 1 THEN 'once' ELSE tries || ' times' END || ' in vain; ' || reason "
        "WHERE state = 'open' AND tries >= ?",
        [tries],
    )


def try_again(connection: duckdb.DuckDBPyConnection, symbols: Sequence[str], *, now: datetime) -> int:
    """Open known gaps of the symbols again, and have open ones asked for at once; returns how many.

    What was answered before does not count any more.
    """
    return one_number(
        connection,
        "UPDATE gaps SET state = 'open', tries = 0, next_try_at = $now, asked_since = $now, "
        "found_at = CASE state WHEN 'open' THEN found_at ELSE $now END "
        "WHERE state <> 'closed' AND symbol IN (SELECT unnest($symbols))",
        {"now": naive_utc(now), "symbols": list(symbols)},
    )


def _table(sessions: Sessions, reasons: Mapping[str, str], first: Collection[str] = ()) -> pa.Table:
    rows = [
        (symbol, day, reasons.get(symbol, ""), symbol in first) for symbol, days in sessions.items() for day in days
    ]
    names, days, texts, firsts = zip(*rows, strict=True) if rows else ((), (), (), ())
    return pa.table(
        {
            "symbol": pa.array(names, pa.string()),
            "date": pa.array(days, pa.date32()),
            "reason": pa.array(texts, pa.string()),
            "is_first": pa.array(firsts, pa.bool_()),
        }
    )
