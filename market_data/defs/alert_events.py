"""What Dagster's events say, as alerts: failed runs with their steps, and evaluations of checks that did not pass."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import dagster as dg
from dagster._core.events.log import EventLogEntry

from market_data.keeping.alert_record import Alert, Finding, Kind, Severity, checks_link, run_link

__all__ = ["MOST_EVENTS", "MOST_RUNS", "alert_of_run", "alerts_of_checks", "failing_since", "newest_event"]

MOST_EVENTS = 200
"""Evaluations a tick looks at."""

MOST_RUNS = 4
"""Runs a tick alerts of: each may wait for a slow webhook, and a tick must end within a minute."""

PARTITION = "dagster/partition"
RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
_SEVERITIES = {dg.AssetCheckSeverity.WARN: Severity.WARNING, dg.AssetCheckSeverity.ERROR: Severity.ERROR}
_MODULE = re.compile(r"^(?:\w+\.)+(?=\w+(: |$))")


def newest_event(instance: dg.DagsterInstance) -> int:
    """Id of the newest event in the log that spans runs; 0 when there is none."""
    return instance.event_log_storage.get_maximum_record_id() or 0


def failing_since(instance: dg.DagsterInstance, cursor: int) -> tuple[int, list[EventLogEntry]]:
    """The evaluations after an event that did not pass, and the id of the last event that was looked at.

    This query alone uses the index by type and id of the log that spans runs; with SQLite `get_event_records` would
    open the log of every run. It ends before the first event of a run too many, which is the next tick's.
    """
    records = instance.event_log_storage.get_logs_for_all_runs_by_log_id(
        after_cursor=cursor, dagster_event_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION, limit=MOST_EVENTS
    )
    failing: list[EventLogEntry] = []
    for event_id, entry in sorted(records.items()):
        if not _evaluation(entry).passed:
            runs = {one.run_id for one in failing}
            if entry.run_id not in runs and len(runs) == MOST_RUNS:
                break
            failing.append(entry)
        cursor = event_id
    return cursor, failing


def alerts_of_checks(
    instance: dg.DagsterInstance, failing: Sequence[EventLogEntry], *, ui_url: str, at: datetime, synthetic: bool
) -> list[Alert]:
    """One alert a run, in the order of their events."""
    by_run: dict[str, list[dg.AssetCheckEvaluation]] = {}
    for entry in failing:
        by_run.setdefault(entry.run_id, []).append(_evaluation(entry))
    alerts = []
    for run_id, evaluations in by_run.items():
        run = instance.get_run_by_id(run_id) if run_id else None
        sessions = _sessions(run.tags) if run else ""
        findings = tuple(_of_evaluation(one, sessions, ui_url) for one in evaluations)
        link = run_link(ui_url, run_id) if run_id else findings[0].link
        alerts.append(Alert(Kind.CHECK_FAILURE, at, findings, run_id or None, link, synthetic))
    return alerts


def alert_of_run(
    run: dg.DagsterRun,
    failure: dg.DagsterEvent,
    steps: Sequence[dg.DagsterEvent],
    *,
    ui_url: str,
    at: datetime,
    synthetic: bool,
) -> Alert:
    """The failed steps, or what Dagster says of a run that ended without one, as where its process died."""
    sessions = _sessions(run.tags)
    findings = tuple(_of_step(step, run, sessions) for step in steps)
    if not findings:
        findings = (Finding(_subject(run), failure.message or "the run failed", sessions=sessions),)
    return Alert(Kind.RUN_FAILURE, at, findings, run.run_id, run_link(ui_url, run.run_id), synthetic)


def _evaluation(entry: EventLogEntry) -> dg.AssetCheckEvaluation:
    event = entry.dagster_event
    assert event is not None
    assert isinstance(event.event_specific_data, dg.AssetCheckEvaluation)
    return event.event_specific_data


def _of_evaluation(evaluation: dg.AssetCheckEvaluation, sessions: str, ui_url: str) -> Finding:
    """The sessions are those the check itself names, else its partition's, else the run's."""
    metadata = evaluation.metadata
    own = evaluation.partition or _text(metadata, "session") or _text(metadata, "span")
    rows = metadata.get("failing_rows")
    return Finding(
        evaluation.asset_key.to_user_string(),
        evaluation.description or "it did not pass",
        severity=_SEVERITIES[evaluation.severity],
        check=evaluation.check_name,
        sessions=own or sessions,
        symbols=_symbols(metadata.values()),
        rows=int(rows.value) if isinstance(rows, dg.IntMetadataValue) and rows.value is not None else None,
        link=checks_link(ui_url, evaluation.asset_key.path, evaluation.check_name),
    )


def _of_step(event: dg.DagsterEvent, run: dg.DagsterRun, sessions: str) -> Finding:
    data = event.step_failure_data
    own = data.user_failure_data
    metadata = own.metadata if own else {}
    reason = (own.description if own else None) or _cause(data.error) or event.message or "the step failed"
    names = {key.to_python_identifier(): key.to_user_string() for key in run.asset_selection or ()}
    step = event.step_key or _subject(run)
    return Finding(names.get(step, step), reason, sessions=sessions, symbols=_symbols(metadata.values()))


def _cause(error: object) -> str:
    """The innermost error as `WarehouseError: text`, without its module and traceback."""
    while getattr(error, "cause", None) is not None:
        error = error.cause  # type: ignore[attr-defined]
    return _MODULE.sub("", str(getattr(error, "message", "") or "").strip())


def _subject(run: dg.DagsterRun) -> str:
    """What a run is about: its assets, else its job."""
    assets = sorted(key.to_user_string() for key in run.asset_selection or ())
    return ", ".join(assets) or run.job_name


def _sessions(tags: Mapping[str, str]) -> str:
    first, last = (tags.get(name, "") for name in RANGE)
    if first and last:
        return first if first == last else f"{first} to {last}"
    return tags.get(PARTITION, "")


def _symbols(values: Iterable[dg.MetadataValue[Any]]) -> tuple[str, ...]:
    """The symbols that the tables of the metadata name, each once."""
    tables = (value for value in values if isinstance(value, dg.TableMetadataValue))
    found = (record.data.get("symbol") for table in tables for record in table.records)
    return tuple(dict.fromkeys(str(symbol) for symbol in found if symbol))


def _text(metadata: Mapping[str, dg.MetadataValue[Any]], name: str) -> str:
    value = metadata.get(name)
    return str(value.value) if isinstance(value, dg.TextMetadataValue) else ""
