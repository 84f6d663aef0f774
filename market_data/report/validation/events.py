"""What happened to the stored bars of the span: restatements, corporate actions, comparisons of providers, and gaps."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import duckdb
import pyarrow as pa

from market_data.report.reconciliation import pair_counts
from market_data.report.validation.document import ActionRow, GapRow, PairRow, RestatementRow
from market_data.validation.reconcile import DIFFERING
from market_data.warehouse.gaps import registered

__all__ = ["gap_counts", "read_action_rows", "read_gap_rows", "read_pair_rows", "read_restatement_rows"]

_WITHIN = "SEMI JOIN scope USING (symbol) WHERE date BETWEEN $start AND $end"


def read_restatement_rows(
    connection: duckdb.DuckDBPyConnection, symbols: Sequence[str], start: date, end: date
) -> tuple[RestatementRow, ...]:
    """Bars of the span that were replaced, the last replaced first; also where only their basis changed."""
    rows = _rows(
        connection,
        "SELECT symbol, date, old_close, new_close, relative_change, old_provider, new_provider, replaced_at, reason "
        f"FROM restatements {_WITHIN} ORDER BY replaced_at DESC, abs(relative_change) DESC NULLS LAST, symbol, date",
        symbols,
        start,
        end,
    )
    return tuple(RestatementRow(*_zoned(row, 7)) for row in rows)


def read_action_rows(
    connection: duckdb.DuckDBPyConnection, symbols: Sequence[str], start: date, end: date
) -> tuple[ActionRow, ...]:
    """Corporate actions with an ex-date in the span, the newest first."""
    rows = _rows(
        connection,
        f"SELECT symbol, date, kind, value, source_provider, also_told_by FROM corporate_actions {_WITHIN} "
        "ORDER BY date DESC, symbol, kind",
        symbols,
        start,
        end,
    )
    return tuple(ActionRow(*row) for row in rows)


def read_pair_rows(
    connection: duckdb.DuckDBPyConnection, symbols: Sequence[str], start: date, end: date
) -> tuple[PairRow, ...]:
    """Providers whose bars of the span were compared; `symbols` are those that differ."""
    with registered(connection, scope=_scope(symbols)):
        frame = connection.execute(
            "SELECT symbol, provider, other_provider, verdict, field, value, other_value "
            f"FROM reconciliations {_WITHIN} ORDER BY symbol",
            {"start": start, "end": end},
        ).df()
    differing = frame[frame["verdict"].isin(DIFFERING)]
    rows = []
    for pair in pair_counts(frame):
        own = differing[(differing["provider"] == pair.provider) & (differing["other_provider"] == pair.other_provider)]
        count = pair.price_differs + pair.volume_differs + pair.one_missing
        sessions = pair.compared + pair.one_missing
        largest = pair.largest if pair.compared else None
        names = tuple(str(name) for name in dict.fromkeys(own["symbol"]))
        rows.append(PairRow(pair.provider, pair.other_provider, sessions, count, largest, names))
    return tuple(rows)


def read_gap_rows(connection: duckdb.DuckDBPyConnection, least: float) -> tuple[GapRow, ...]:
    """Sessions of `report_pairs` without a good bar, those in a row that share state and reason as one, newest first.

    What is known of a gap is that of the table `gaps`; one that it does not hold, or holds as closed, is open.

    Args:
        least: score below which a stored bar is not a good one.
    """
    rows = connection.execute(_GAPS, {"least": least}).fetchall()
    return tuple(GapRow(*_zoned(row, 7)) for row in rows)


_GAPS = """
WITH numbered AS (SELECT session, row_number() OVER (ORDER BY session) AS place FROM sessions),
lacking AS (
    SELECT p.symbol, p.date, coalesce(g.state, 'open') AS state, coalesce(g.tries, 0) AS tries, g.next_try_at,
        coalesce(g.reason, CASE p.verdict
            WHEN 'missing' THEN 'answered without a usable bar'
            WHEN 'rejected' THEN 'the batch was refused'
            WHEN 'unanswered' THEN 'nothing was judged for it yet'
            ELSE 'stored with a score of ' || round(p.score, 3) END) AS reason
    FROM report_pairs AS p
    LEFT JOIN gaps AS g ON g.symbol = p.symbol AND g.date = p.date AND g.state <> 'closed'
    WHERE p.verdict NOT IN ('accepted', 'flagged') OR p.score < $least
), spans AS (
    SELECT l.*, n.place - row_number() OVER (
        PARTITION BY l.symbol, l.state, l.reason, l.tries, l.next_try_at ORDER BY l.date
    ) AS span
    FROM lacking AS l JOIN numbered AS n ON n.session = l.date
)
SELECT symbol, min(date) AS first, max(date) AS last, count(*) AS sessions, state, reason, tries, next_try_at
FROM spans
GROUP BY symbol, state, reason, tries, next_try_at, span
ORDER BY last DESC, symbol, first
"""


def gap_counts(gaps: Sequence[GapRow]) -> tuple[int, int]:
    """Sessions in open gaps, and in known ones."""
    by_state = [sum(gap.sessions for gap in gaps if gap.state == state) for state in ("open", "known")]
    return by_state[0], by_state[1]


def _rows(
    connection: duckdb.DuckDBPyConnection, statement: str, symbols: Sequence[str], start: date, end: date
) -> list[Any]:
    with registered(connection, scope=_scope(symbols)):
        return connection.execute(statement, {"start": start, "end": end}).fetchall()


def _scope(symbols: Sequence[str]) -> pa.Table:
    return pa.table({"symbol": pa.array(list(symbols), pa.string())})


def _zoned(row: Sequence[Any], place: int) -> list[Any]:
    """The row with the naive instant at `place`, if there is one, as UTC."""
    values = list(row)
    instant: datetime | None = values[place]
    values[place] = None if instant is None else instant.replace(tzinfo=UTC)
    return values
