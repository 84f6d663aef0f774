"""What a database holds, table by table, to tell whether a copy of it is whole."""

from __future__ import annotations

import duckdb

__all__ = ["read_through", "row_counts", "schema_version"]


def row_counts(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Rows by table, in the order of the tables' names."""
    return {name: _count(connection, f'SELECT count(*) FROM "{name}"') for name in _tables(connection)}


def read_through(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Rows by table, as `row_counts`, but every value of them is read.

    Raises:
        duckdb.Error: a block of the file is damaged; DuckDB checks the sum of each that it reads.
    """
    query = 'SELECT count(*) FROM (SELECT hash(held) AS digest FROM "{}" AS held) WHERE digest IS NOT NULL'
    return {name: _count(connection, query.format(name)) for name in _tables(connection)}


def schema_version(connection: duckdb.DuckDBPyConnection) -> int:
    """Version of the schema the database was last brought to."""
    return _count(connection, "SELECT coalesce(max(version), 0) FROM schema_version")


def _tables(connection: duckdb.DuckDBPyConnection) -> list[str]:
    rows = connection.execute(
        "SELECT table_name FROM duckdb_tables() WHERE NOT internal AND database_name = current_database() ORDER BY 1"
    )
    return [row[0] for row in rows.fetchall()]


def _count(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0
