"""A rebuilt database put in the live one's place, with what no payload tells: jobs, audit, failures."""

from __future__ import annotations

import json
import os
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb

from market_data.errors import MarketDataError, WarehouseError, WarehouseLocked
from market_data.warehouse.connection import Database
from market_data.warehouse.provider_metrics import days_of_calls, refresh_provider_metrics
from market_data.warehouse.store import transaction

__all__ = ["carry_over", "restore_audit", "swap"]

_GIVEN_UP = "session_date IN (SELECT session_date FROM live.intraday_polls WHERE pack = '' AND answered > 0)"
"""Sessions whose polls were removed after their time, so that no payload tells their minutes any more."""

_CARRIED = {
    "ingestion_jobs": "",
    "ingestion_audit": "",
    "execution_slippage": "",
    "feature_partitions": "",
    "gaps": "",
    "known_instruments": "",
    "provider_quotas": "",
    "coverage": "outcome = 'failed'",
    "data_quality_log": "verdict = 'unanswered'",
    "price_history_intraday": _GIVEN_UP,
    "intraday_revisions": _GIVEN_UP,
    "intraday_polls": "",
}
"""Tables, and which of their rows, that do not follow from payloads."""


_KEYLESS = frozenset({"intraday_revisions"})
"""Of these a rebuild makes no rows of the kind that is carried over."""

_EVER = date(1970, 1, 1)


def carry_over(live: Path, rebuilt: Path) -> dict[str, int]:
    """Copy what no payload tells from the live database; returns the number of rows by table.

    Raises:
        WarehouseError: the live database cannot be read.
    """
    counts = {}
    with Database(rebuilt).writing() as connection:
        path = str(live.absolute()).replace("'", "''")  # ATTACH takes no parameter
        try:
            connection.execute(f"ATTACH '{path}' AS live (READ_ONLY)")
        except duckdb.Error as error:
            raise WarehouseError(f"{live}: cannot be read: {str(error).splitlines()[0]}") from None
        with transaction(connection):
            for table, condition in _CARRIED.items():
                where = f" WHERE {condition}" if condition else ""
                twice = "" if table in _KEYLESS else " ON CONFLICT DO NOTHING"
                row = connection.execute(
                    f"INSERT INTO {table} BY NAME SELECT * FROM live.{table}{where}{twice}"
                ).fetchone()
                counts[table] = int(row[0]) if row else 0
            connection.execute(
                "UPDATE coverage SET job_id = old.job_id, considered = old.considered "
                "FROM live.coverage AS old WHERE coverage.request_id = old.request_id"
            )
            _refresh(connection)
        connection.execute("DETACH live")
    return counts


def restore_audit(folder: Path, rebuilt: Path, *, synthetic: bool) -> int:
    """Fill the audit from the JSONL files of a folder, for want of a live database; returns the number of records.

    Raises:
        MarketDataError: a file cannot be read, or a line is no audit record.
    """
    lines = [line for file in sorted(folder.glob("*.jsonl")) for line in _lines(file)]
    records = [line for line in lines if bool(line.get("synthetic")) == synthetic]
    with Database(rebuilt).writing() as connection, transaction(connection):
        for record in records:
            values = {name: json.dumps(value) if name == "decision" else value for name, value in record.items()}
            known = {row[0] for row in connection.execute("DESCRIBE ingestion_audit").fetchall()}
            if not values.keys() <= known:
                raise MarketDataError(f"an audit line has fields that are not known: {sorted(values.keys() - known)}")
            columns, marks = ", ".join(values), ", ".join("?" for _ in values)
            connection.execute(
                f"INSERT INTO ingestion_audit ({columns}) VALUES ({marks}) ON CONFLICT DO NOTHING",
                list(values.values()),
            )
        _refresh(connection)
    return len(records)


def swap(live: Path, rebuilt: Path, *, patience: float, now: datetime) -> Path | None:
    """Put the rebuilt database in the live one's place, in one rename; returns where the old one is kept, if any.

    A process that has the old one open goes on reading that. Call it under the ingest lock.

    Raises:
        WarehouseLocked: another process writes to the live database.
    """
    kept = None
    if live.exists():
        kept = live.with_name(f"{live.stem}.before-{now:%Y%m%dT%H%M%SZ}{live.suffix}")
        try:
            with Database(live, patience=patience).writing() as connection:
                connection.execute("CHECKPOINT")
        except WarehouseLocked:
            raise
        except WarehouseError:
            pass  # it cannot be read: what is to be replaced for that very reason
        os.link(live, kept)
        wal = live.with_name(f"{live.name}.wal")
        if wal.exists():
            wal.replace(kept.with_name(f"{kept.name}.wal"))
    rebuilt.replace(live)
    return kept


def _refresh(connection: duckdb.DuckDBPyConnection) -> None:
    days = days_of_calls(connection, _EVER)
    if days:
        refresh_provider_metrics(connection, days[0], days[-1])


def _lines(file: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]
    except (OSError, ValueError) as error:
        raise MarketDataError(f"{file}: cannot be read: {error}; move it away to go on without it") from None
