"""Backups and what is not kept for ever, as two assets whose plots show how the store grows, and their schedules.

Annotations are not postponed here: Dagster reads those of an asset when it defines it.
"""

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from market_data.clock import utc_now
from market_data.defs.assets import ASKS_NOBODY, OWNERS, POOL
from market_data.defs.failing import told_plainly
from market_data.defs.history import purge
from market_data.defs.resources import MarketDataResource
from market_data.keeping.backup import Created, create_backup, list_backups
from market_data.keeping.retention import Freed, Tidied, tidy, tidy_state
from market_data.settings import Settings

__all__ = ["parts", "tidy_everything", "tidy_here"]

GROUP = "operations"
BACKUP_AT, HOUSEKEEPING_AT = "0 4 * * *", "0 5 * * 0"

_ABOUT = {
    "runs": "finished runs of Dagster, once nothing newest is theirs",
    "run_logs": "what older runs logged; what they materialized, checked and failed at stays",
    "history": "Dagster's SQLite files, written anew",
    "compute_logs": "what runs, schedules and sensors printed",
    "error_bodies": "answers that say nothing but that a request failed",
    "poll_packs": "answers of polls of sessions whose minutes are final",
    "part_files": "temporary files of processes that died",
    "ledgers": "ledgers of calls, written anew",
}


class BackupConfig(dg.Config):
    """What a backup takes."""

    raw: bool = Field(
        default=False, description="true: take the raw payloads as well, as links, or as copies on another disk"
    )


class HousekeepingConfig(dg.Config):
    """What housekeeping does."""

    dry_run: bool = Field(default=False, description="true: tell what would be removed, and change nothing")


def parts(settings: Settings, sessions: dg.DailyPartitionsDefinition) -> dg.Definitions:
    """The assets, a job for each, and their schedules."""
    jobs = [
        dg.define_asset_job(
            "backup_job",
            selection=["backup"],
            description="A backup of the store, read back whole.",
            tags={"market_data/kind": "backup"},
        ),
        dg.define_asset_job(
            "housekeeping_job",
            selection=["housekeeping"],
            description="Removes what is not kept for ever; with `dry_run: true` it only tells.",
            tags={"market_data/kind": "housekeeping"},
        ),
    ]
    schedules = [_backup_schedule(), _housekeeping_schedule()]
    return dg.Definitions(assets=[_backup(), _housekeeping()], jobs=jobs, schedules=schedules)


def _backup() -> dg.AssetsDefinition:
    @dg.asset(pool=POOL, group_name=GROUP, owners=OWNERS, tags=ASKS_NOBODY, kinds={"python", "duckdb"})
    @told_plainly
    def backup(config: BackupConfig, market_data: MarketDataResource) -> dg.MaterializeResult[None]:
        """A backup of the store, read back whole.

        The database, checkpointed and copied, the ledgers of calls, the audit files, and the list of the raw store's
        files; the payloads themselves with `raw: true`. `MARKET_DATA_BACKUPS` names the folder,
        `MARKET_DATA_KEEP_BACKUPS` how many good ones are kept.

        **From** the store as it stands when its turn comes. **To put one back**: `market-data backup restore NAME`.

        **When it fails**, nothing bears the backup's name, and the earlier ones are as they were. Make room on the disk
        that the error names, or run `market-data verify` where the store itself is at fault; then materialize it again.
        """
        settings = market_data.settings()
        created = create_backup(settings, synthetic=market_data.is_synthetic(), raw=config.raw)
        return dg.MaterializeResult(metadata=_backup_metadata(settings, created))

    return backup


def _backup_metadata(settings: Settings, created: Created) -> dict[str, Any]:
    manifest = created.manifest
    kept = [item for item in list_backups(settings) if item.synthetic is manifest.synthetic]
    rows = [dg.TableRecord({"table": name, "rows": count}) for name, count in manifest.rows.items()]
    return {
        "folder": dg.MetadataValue.path(str(created.backup.folder.absolute())),
        "bytes": sum(file.bytes for file in manifest.files),
        "rows": sum(manifest.rows.values()),
        "raw_files": manifest.raw_files,
        "raw_bytes": manifest.raw_bytes,
        "raw_included": manifest.raw_included,
        "backups_kept": len(kept),
        "removed": ", ".join(created.removed) or "none",
        "tables": dg.MetadataValue.table(rows),
    }


def _housekeeping() -> dg.AssetsDefinition:
    @dg.asset(pool=POOL, group_name=GROUP, owners=OWNERS, tags=ASKS_NOBODY, kinds={"python", "sqlite"})
    @told_plainly
    def housekeeping(
        context: dg.AssetExecutionContext, config: HousekeepingConfig, market_data: MarketDataResource
    ) -> dg.MaterializeResult[None]:
        """What is not kept for ever, removed.

        Old runs and logs of Dagster, bodies of errors, answers of polls, what died processes left. Nothing goes that a
        stored row, an answered request or a rebuild needs, and no partition turns missing. The plots show what was
        freed, and how large the store and Dagster's history are now.

        **From** the store and Dagster's own history. With `dry_run: true` it tells what it would remove.

        **When it fails**, another process holds the database or the ingest; what was not removed is removed the next
        time. Re-execute from failure.
        """
        settings = market_data.settings()
        done = tidy_everything(settings, context.instance, synthetic=market_data.is_synthetic(), dry_run=config.dry_run)
        return dg.MaterializeResult(metadata=_tidied_metadata(settings, context.instance, market_data, done))

    return housekeeping


def tidy_everything(
    settings: Settings, instance: dg.DagsterInstance, *, synthetic: bool, dry_run: bool = False
) -> Tidied:
    """Tidy the store, then Dagster's history and logs.

    Raises:
        WarehouseError: the database holds the other kind of data, or can't be read.
        WarehouseLocked: it, or the ingest's lock, was held for longer than the configured patience.
    """
    now = utc_now()
    store = tidy(settings, synthetic=synthetic, dry_run=dry_run)
    history = purge(
        instance,
        runs_before=now - timedelta(days=settings.keep_events),
        logs_before=now - timedelta(days=settings.keep_logs),
        dry_run=dry_run,
    )
    logs = tidy_state(settings, Path(instance.root_directory), dry_run=dry_run)
    return Tidied((*store.freed, *history, logs), store.set_aside, dry_run)


def tidy_here(settings: Settings, *, synthetic: bool, dry_run: bool = False) -> Tidied:
    """The same with the instance of DAGSTER_HOME. Errors as `tidy_everything`."""
    with dg.DagsterInstance.get() as instance:
        return tidy_everything(settings, instance, synthetic=synthetic, dry_run=dry_run)


def _tidied_metadata(
    settings: Settings, instance: dg.DagsterInstance, market_data: MarketDataResource, done: Tidied
) -> dict[str, Any]:
    synthetic = market_data.is_synthetic()
    live, raw = settings.database_for(synthetic=synthetic), settings.raw_folder(synthetic=synthetic)
    aside = ", ".join(str(path) for path in done.set_aside) or "none"
    return {
        "bytes_freed": done.bytes,
        "freed": dg.MetadataValue.table([_record(item) for item in done.freed]),
        **{f"bytes_of_{item.kind}": item.bytes for item in done.freed},
        "database_bytes": _size([live]),
        "raw_bytes": _size(raw.rglob("*")),
        "history_bytes": _size(Path(instance.root_directory).rglob("*")),
        "databases_set_aside": f"{aside} (nobody but you removes them)" if done.set_aside else aside,
        "dry_run": done.dry_run,
    }


def _record(item: Freed) -> dg.TableRecord:
    about = _ABOUT.get(item.kind, "")
    return dg.TableRecord({"kind": item.kind, "files": item.files, "bytes": item.bytes, "what": about})


def _size(paths: Iterable[Path]) -> int:
    total = 0
    for path in paths:
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # a temporary file that was renamed meanwhile
            continue
    return total


def _backup_schedule() -> dg.ScheduleDefinition:
    @dg.schedule(
        name="backup_schedule",
        job_name="backup_job",
        cron_schedule=BACKUP_AT,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="04:00 UTC: a backup, once the nightly sync is done; skips while there is no database.",
    )
    def backup_schedule(market_data: MarketDataResource) -> dg.RunRequest | dg.SkipReason:
        live = market_data.settings().database_for(synthetic=market_data.is_synthetic())
        return dg.RunRequest() if live.exists() else dg.SkipReason(f"{live}: no database yet")

    return backup_schedule


def _housekeeping_schedule() -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(
        name="housekeeping_schedule",
        job_name="housekeeping_job",
        cron_schedule=HOUSEKEEPING_AT,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Sundays 05:00 UTC: removes what is not kept for ever, see docs/operations.md.",
    )
