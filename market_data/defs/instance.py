"""The Dagster instance of this project: SQLite in `dagster/` of the runtime folder, from whatever folder it is used.

A relative runtime folder lies beside dagster.yaml. A relative `base_dir` in dagster.yaml would instead mean another
history in each folder that a command is run from.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dagster import DagsterInstance
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData

from market_data.defs.event_storage import BatchedSqliteEventLogStorage
from market_data.defs.same_site import guard
from market_data.settings import load_settings

__all__ = ["ProjectInstance", "ProjectStorage"]

# Every process of Dagster imports this module when it opens the instance, before it stores an event.
os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", "2000")
os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "yes")  # else it makes empty log folders in DAGSTER_HOME

# The webserver opens the instance before it makes its application, and has no place of its own for middleware.
if (_webserver := sys.modules.get("dagster_webserver.webserver")) is not None:
    guard(_webserver.DagsterWebserver, lambda: filter(None, [urlsplit(load_settings().ui_url).hostname]))


class ProjectStorage(DagsterSqliteStorage):
    """Dagster's SQLite storage with an event log that takes batches."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        self._event_log_storage = BatchedSqliteEventLogStorage(str(Path(base_dir) / "history" / "runs"))

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> ProjectStorage:
        return cls.from_local(inst_data=inst_data, **config_value)


class ProjectInstance(DagsterInstance):
    """`instance_class` of dagster.yaml: what it does not name lies in a folder of DAGSTER_HOME, not in it."""

    @staticmethod
    def config_schema() -> Mapping[str, Any]:
        return {}

    @staticmethod
    def config_defaults(base_dir: str) -> Mapping[str, ConfigurableClassData | None]:
        state = Path(base_dir) / load_settings().runtime / "dagster"
        return {
            **InstanceRef.config_defaults(str(state)),
            "storage": ConfigurableClassData(__name__, "ProjectStorage", f"base_dir: {str(state)!r}\n"),
        }
