"""What of Dagster's own history is not kept: the chatter of old runs first, then the runs themselves.

Dagster's `delete_run` takes a run's materializations with it, and a partition whose newest one goes is shown as
missing. So a run stays for as long as something newest is its: a materialization, an observation or a plan of a
partition, or a result of a check. It is thinned instead: what it materialized, checked and failed at stays, what
it logged goes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.event_log import SqlEventLogStorage, SqlEventLogStorageTable, SqliteEventLogStorage
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.storage.runs.schema import RunTagsTable

from market_data.keeping.retention import Freed, compacted

__all__ = ["purge"]

_OF_PARTITIONS = (
    "ASSET_MATERIALIZATION",
    "ASSET_MATERIALIZATION_PLANNED",
    "ASSET_FAILED_TO_MATERIALIZE",
    "ASSET_OBSERVATION",
)
_CHATTER = (
    "ASSET_CHECK_EVALUATION_PLANNED",
    "ENGINE_EVENT",
    "HANDLED_OUTPUT",
    "LOADED_INPUT",
    "LOGS_CAPTURED",
    "RESOURCE_INIT_STARTED",
    "RESOURCE_INIT_SUCCESS",
    "STEP_INPUT",
    "STEP_OUTPUT",
    "STEP_WORKER_STARTED",
    "STEP_WORKER_STARTING",
)
"""Events of a run that nobody asks for once it is over. A plan of a check holds the whole partitions' definition."""

_PLAN = "ASSET_CHECK_EVALUATION_PLANNED"
_AT_ONCE = 500  # bound values of a statement; older SQLite takes 999


def purge(
    instance: dg.DagsterInstance, *, runs_before: datetime, logs_before: datetime, dry_run: bool = False
) -> list[Freed]:
    """Remove finished runs that ended before `runs_before`, and the chatter of those that ended before `logs_before`.

    Returns:
        What was freed of `runs`, of `run_logs` and, by writing Dagster's SQLite files anew, of `history`.
    """
    finished = dg.RunsFilter(statuses=FINISHED_STATUSES, updated_before=max(runs_before, logs_before))
    records = instance.get_run_records(finished)
    newest = _runs_of_something_newest(instance)
    gone = [
        record.dagster_run.run_id
        for record in records
        if record.update_timestamp < runs_before and record.dagster_run.run_id not in newest
    ]
    thinned = [
        record.dagster_run.run_id
        for record in records
        if record.update_timestamp < logs_before and record.dagster_run.run_id not in set(gone)
    ]
    freed = [_delete(instance, gone, dry_run=dry_run), _thin(instance, thinned, dry_run=dry_run)]
    files = [file for file in _index_files(instance) if file.exists()]
    return [*freed, compacted("history", files, dry_run=dry_run)]


def _runs_of_something_newest(instance: dg.DagsterInstance) -> set[str]:
    events, checks = SqlEventLogStorageTable.c, AssetCheckExecutionsTable.c
    of_partitions = (
        sa.select(sa.func.max(events.id))
        .where(events.dagster_event_type.in_(_OF_PARTITIONS), events.asset_key.is_not(None))
        .group_by(events.asset_key, events.partition, events.dagster_event_type)
    )
    of_checks = sa.select(sa.func.max(checks.id)).group_by(
        checks.asset_key, checks.check_name, checks.partition, checks.execution_status
    )
    with _event_log(instance).index_connection() as connection:
        found = connection.execute(
            sa.union(
                sa.select(events.run_id).where(events.id.in_(of_partitions)),
                sa.select(checks.run_id).where(checks.id.in_(of_checks)),
            )
        )
        return {row[0] for row in found}


def _delete(instance: dg.DagsterInstance, runs: Sequence[str], *, dry_run: bool) -> Freed:
    files = [file for run in runs for file in _shard_files(instance, run)]
    size = sum(file.stat().st_size for file in files)
    if not dry_run:
        for run in runs:
            instance.delete_run(run)
            # `delete_run` empties the run's own file and leaves it, and leaves the tags and the checks.
            for file in _shard_files(instance, run):
                file.unlink(missing_ok=True)
        with _event_log(instance).index_connection() as connection:
            _delete_rows(connection, AssetCheckExecutionsTable, runs)
        with _run_storage(instance).connect() as connection:
            _delete_rows(connection, RunTagsTable, runs)
    return Freed("runs", len(runs), size)


def _delete_rows(connection: Any, table: sa.Table, runs: Sequence[str], *conditions: sa.ColumnElement[bool]) -> None:
    for first in range(0, len(runs), _AT_ONCE):
        connection.execute(table.delete().where(table.c.run_id.in_(runs[first : first + _AT_ONCE]), *conditions))


def _thin(instance: dg.DagsterInstance, runs: Sequence[str], *, dry_run: bool) -> Freed:
    count = size = 0
    for run in runs:
        spared = sum(_thin_file(file, dry_run=dry_run) for file in _shard_files(instance, run) if file.suffix == ".db")
        count += spared > 0
        size += spared
    if not dry_run:
        with _event_log(instance).index_connection() as connection:
            is_plan = SqlEventLogStorageTable.c.dagster_event_type == _PLAN
            _delete_rows(connection, SqlEventLogStorageTable, runs, is_plan)
    return Freed("run_logs", count, size)


def _thin_file(file: Path, *, dry_run: bool) -> int:
    """Delete a run's chatter from its own file; returns the bytes that spares."""
    marks = ", ".join("?" * len(_CHATTER))
    chatter = f"FROM event_logs WHERE dagster_event_type IS NULL OR dagster_event_type IN ({marks})"
    before = file.stat().st_size
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        [(rows, size)] = connection.execute(f"SELECT count(*), total(length(event)) {chatter}", _CHATTER).fetchall()
        if dry_run or not rows:
            return int(size)
        connection.execute(f"DELETE {chatter}", _CHATTER)
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return before - file.stat().st_size


def _shard_files(instance: dg.DagsterInstance, run: str) -> list[Path]:
    """Files of a run's own log, where each run has one."""
    storage = instance.event_log_storage
    if not isinstance(storage, SqliteEventLogStorage):
        return []
    path = Path(storage.path_for_shard(run))
    return [
        file for file in (path, *(path.with_name(f"{path.name}{end}") for end in ("-wal", "-shm"))) if file.exists()
    ]


def _index_files(instance: dg.DagsterInstance) -> Iterable[Path]:
    """The SQLite files that all runs and ticks have in common."""
    storage = instance.event_log_storage
    if isinstance(storage, SqliteEventLogStorage):
        index = Path(storage.path_for_shard("index"))
        state = index.parents[2]
        yield from (index, state / "history" / "runs.db", state / "schedules" / "schedules.db")


def _event_log(instance: dg.DagsterInstance) -> SqlEventLogStorage:
    storage = instance.event_log_storage
    assert isinstance(storage, SqlEventLogStorage), f"{type(storage).__name__} is no event log over SQL"
    return storage


def _run_storage(instance: dg.DagsterInstance) -> SqlRunStorage:
    storage = instance.run_storage
    assert isinstance(storage, SqlRunStorage), f"{type(storage).__name__} is no storage of runs over SQL"
    return storage
