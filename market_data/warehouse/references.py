"""Where tables name raw payloads, to tell whether each that is named is kept, and each that is kept is known."""

from __future__ import annotations

import duckdb

__all__ = ["payload_references"]

_COLUMNS = (
    ("price_history_daily", "raw_hash"),
    ("price_history_intraday", "raw_hash"),
    ("revisions", "raw_hash"),
    ("revisions", "replaced_by"),
    ("reported_actions", "raw_hash"),
    ("corporate_actions", "raw_hash"),
    ("corporate_action_revisions", "raw_hash"),
    ("actions_told", "raw_hash"),
    ("amendments", "raw_hash"),
    ("quality_findings", "raw_hash"),
    ("reconciliations", "raw_hash"),
    ("reconciliations", "other_raw_hash"),
    ("ingestion_audit", "raw_hash"),
    ("execution_feedback", "raw_hash"),
    ("execution_revisions", "raw_hash"),
    ("execution_revisions", "replaced_by"),
    ("execution_files", "raw_hash"),
    ("execution_rejects", "raw_hash"),
)

_KEPT = {
    "price_history_intraday": "session_date NOT IN "
    "(SELECT session_date FROM intraday_polls WHERE pack = '' AND calls > 0)"
}
"""Of which rows the payloads are kept: not of sessions whose polls were given up after their time."""


def payload_references(connection: duckdb.DuckDBPyConnection) -> dict[tuple[str, str], dict[str, int]]:
    """By table and column, the SHA-256 of the payloads named there, each with the number of rows that name it.

    The ledger of requests, `coverage`, is not among them: it names requests, of which several may have one payload.
    """
    return {
        (table, column): dict(
            connection.execute(
                f"SELECT {column}, count(*) FROM {table} WHERE {column} IS NOT NULL AND {_KEPT.get(table, 'true')} "
                f"GROUP BY {column} ORDER BY {column}"
            ).fetchall()
        )
        for table, column in _COLUMNS
    }
