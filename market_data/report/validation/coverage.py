"""Coverage and scores of the span: by symbol and month, by session, and as a distribution; from `report_pairs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from itertools import pairwise

import duckdb

from market_data.instruments import Universe
from market_data.report.validation.document import Headline, ScoreBin, SessionRow, SymbolRow

__all__ = ["SCORE_BINS", "headline", "months_of", "refusals", "score_bins", "session_rows", "symbol_rows"]

SCORE_BINS = 20
"""Bins of the distribution of scores, each 0.05 wide."""

_COUNTS = """
    count(*) AS expected, count(*) FILTER (is_held) AS rows, count(*) FILTER (verdict = 'flagged') AS flagged,
    count(*) FILTER (verdict = 'missing') AS missing, count(*) FILTER (verdict = 'rejected') AS rejected,
    count(*) FILTER (verdict = 'unanswered') AS unanswered, avg(score) AS mean_score"""


def months_of(sessions: Sequence[date]) -> tuple[str, ...]:
    """The months the sessions lie in, as in 2021-01, in order."""
    return tuple(dict.fromkeys(f"{session:%Y-%m}" for session in sessions))


def symbol_rows(
    connection: duckdb.DuckDBPyConnection,
    universe: Universe,
    symbols: Sequence[str],
    months: Sequence[str],
    findings: Mapping[str, int],
) -> tuple[SymbolRow, ...]:
    """One row for each of `symbols`, in their order.

    Args:
        findings: how many there are of each symbol.
    """
    rows = connection.execute(
        f"SELECT symbol, {_COUNTS}, min(score) AS least_score, min(date) FILTER (is_held) AS first, "
        "max(date) FILTER (is_held) AS last FROM report_pairs GROUP BY symbol"
    ).fetchall()
    counted = {row[0]: row[1:] for row in rows}
    by_month = _by_month(connection)
    providers = _providers(connection)
    reasons = refusals(connection)
    found = []
    for symbol in symbols:
        counts = counted.get(symbol, (0, 0, 0, 0, 0, 0, None, None, None, None))
        expected, held, flagged, missing, rejected, unanswered, mean_score, least_score, first, last = counts
        instrument = universe.get(symbol)
        found.append(
            SymbolRow(
                symbol=symbol,
                name=instrument.name if instrument else "",
                exchange=instrument.exchange if instrument else "",
                first=first,
                last=last,
                expected=expected,
                rows=held,
                coverage=_share(held, expected),
                mean_score=mean_score,
                least_score=least_score,
                flagged=flagged,
                missing=missing,
                rejected=rejected,
                unanswered=unanswered,
                findings=findings.get(symbol, 0),
                months=tuple(by_month.get((symbol, month)) for month in months),
                providers=providers.get(symbol, {}),
                reason=reasons.get(symbol),
            )
        )
    return tuple(found)


def _by_month(connection: duckdb.DuckDBPyConnection) -> dict[tuple[str, str], float]:
    rows = connection.execute(
        "SELECT symbol, strftime(date_trunc('month', date), '%Y-%m') AS month, avg(is_held::INTEGER) "
        "FROM report_pairs GROUP BY ALL"
    ).fetchall()
    return {(symbol, month): share for symbol, month, share in rows}


def _providers(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, int]]:
    rows = connection.execute(
        "SELECT symbol, provider, count(*) AS bars FROM report_pairs WHERE is_held GROUP BY ALL "
        "ORDER BY symbol, bars DESC, provider"
    ).fetchall()
    found: dict[str, dict[str, int]] = {}
    for symbol, provider, bars in rows:
        found.setdefault(symbol, {})[provider] = bars
    return found


def refusals(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Why the newest batch of a symbol was refused, by symbol with a rejected session in `report_pairs`."""
    rows = connection.execute(
        """
        WITH rejected AS (SELECT DISTINCT symbol FROM report_pairs WHERE verdict = 'rejected'), told AS (
            SELECT symbol, reason, finished_at AS told_at FROM ingestion_audit
            WHERE outcome = 'rejected' AND reason IS NOT NULL
            UNION ALL
            SELECT symbol, message, found_at FROM quality_findings WHERE date IS NULL AND severity = 'error'
        )
        SELECT symbol, arg_max(reason, told_at) FROM rejected JOIN told USING (symbol) GROUP BY symbol
        """
    ).fetchall()
    return dict(rows)


def session_rows(connection: duckdb.DuckDBPyConnection, sessions: Sequence[date]) -> tuple[SessionRow, ...]:
    """One row for each of `sessions`."""
    rows = connection.execute(f"SELECT date, {_COUNTS} FROM report_pairs GROUP BY date").fetchall()
    counted = {row[0]: row[1:] for row in rows}
    return tuple(SessionRow(session, *counted.get(session, (0, 0, 0, 0, 0, 0, None))) for session in sessions)


def score_bins(connection: duckdb.DuckDBPyConnection) -> tuple[ScoreBin, ...]:
    """How many pairs have which score; empty where there is no pair."""
    rows = connection.execute(
        # A score such as 0.7 lies a hair below its bin in binary.
        "SELECT least(floor(score * $bins + 1e-6), $bins - 1)::INTEGER, count(*) FROM report_pairs GROUP BY 1",
        {"bins": SCORE_BINS},
    ).fetchall()
    counted = dict(rows)
    if not counted:
        return ()
    edges = [round(number / SCORE_BINS, 9) for number in range(SCORE_BINS + 1)]
    return tuple(ScoreBin(low, high, counted.get(number, 0)) for number, (low, high) in enumerate(pairwise(edges)))


def headline(
    connection: duckdb.DuckDBPyConnection, sessions: Sequence[date], open_gaps: int, known_gaps: int
) -> Headline:
    """The figures on top."""
    [row] = connection.execute(
        f"SELECT {_COUNTS}, count(DISTINCT symbol) AS symbols, "
        "count(DISTINCT symbol) FILTER (verdict = 'rejected') AS rejected_symbols, "
        "max(date) FILTER (is_held) AS last_session FROM report_pairs"
    ).fetchall()
    expected, held, flagged, missing, rejected, unanswered, mean_score, symbols, rejected_symbols, last_session = row
    return Headline(
        symbols=symbols,
        sessions=len(sessions),
        expected=expected,
        rows=held,
        coverage=_share(held, expected),
        mean_score=mean_score,
        flagged=flagged,
        missing=missing,
        rejected=rejected,
        unanswered=unanswered,
        rejected_symbols=rejected_symbols,
        open_gaps=open_gaps,
        known_gaps=known_gaps,
        last_session=last_session,
        last_sync=_last_sync(connection),
    )


def _last_sync(connection: duckdb.DuckDBPyConnection) -> datetime | None:
    """When the newest job over daily bars ended."""
    [(instant,)] = connection.execute(
        "SELECT max(finished_at) FROM ingestion_jobs WHERE kind NOT IN ('amend', 'intraday', 'reconcile')"
    ).fetchall()
    return None if instant is None else instant.replace(tzinfo=UTC)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
