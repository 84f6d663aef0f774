"""Dagster's SQLite event log, storing a batch of events in one transaction a database.

The built-in storage opens several connections for every event (~10 ms each). A range run over all
sessions emits thousands at once; Dagster hands them over in batches when asked to, and this storage
takes a batch whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.events import ASSET_EVENTS
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log import SqlEventLogStorageTable, SqliteEventLogStorage
from dagster._serdes import ConfigurableClassData

__all__ = ["BatchedSqliteEventLogStorage"]


class BatchedSqliteEventLogStorage(SqliteEventLogStorage):
    """`event_log_storage` of dagster.yaml."""

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> BatchedSqliteEventLogStorage:
        return cls(inst_data=inst_data, **config_value)

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        for (of_asset, run_id), group in groupby(events, lambda e: (_is_of_asset(e), e.run_id)):
            if of_asset:
                self._store_asset_events(run_id, list(group))
            else:
                for event in group:
                    self.store_event(event)

    def _store_asset_events(self, run_id: str, events: Sequence[EventLogEntry]) -> None:
        """What `store_event` does for an asset's event, for many of one run."""
        rows = [self._event_to_row(event) for event in events]
        with self.run_connection(run_id) as conn:
            conn.execute(SqlEventLogStorageTable.insert(), rows)
        insert = SqlEventLogStorageTable.insert().returning(SqlEventLogStorageTable.c.id, sort_by_parameter_order=True)
        with self.index_transaction() as conn:
            ids = [int(event_id) for event_id in conn.execute(insert, rows).scalars()]
            self._store_asset_event_tags(conn, events, ids)
            # An asset's own row keeps what its last event of each type says.
            last = {
                (event.get_dagster_event().asset_key, event.dagster_event_type): (event, event_id)
                for event, event_id in zip(events, ids, strict=True)
            }
            for event, event_id in last.values():
                self._store_asset_event(conn, event, event_id)

    def _store_asset_check_evaluation_planned(self, event: EventLogEntry, event_id: int | None) -> None:
        """One planned row a check, not one a partition: checks here look at a run's whole range.

        Dagster stores the result without a partition, so the rows of partitions would stay planned for
        ever, each with a copy of the event (0.5 GB for 8 checks of 1,256 sessions).
        """
        dagster_event = event.get_dagster_event()
        planned = dagster_event.asset_check_planned_data
        unpartitioned = AssetCheckEvaluationPlanned(asset_key=planned.asset_key, check_name=planned.check_name)
        dagster_event = dagster_event._replace(event_specific_data=unpartitioned)
        super()._store_asset_check_evaluation_planned(event._replace(dagster_event=dagster_event), event_id)


def _is_of_asset(event: EventLogEntry) -> bool:
    return event.is_dagster_event and event.dagster_event_type in ASSET_EVENTS
