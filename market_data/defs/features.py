"""Features of daily prices as an asset, one partition a session, with its checks.

Annotations are not postponed here: Dagster reads those of an asset when it defines it.
"""

import time
from datetime import date
from typing import Any

import dagster as dg
from pydantic import Field

from market_data.defs import show
from market_data.defs.assets import ASKS_NOBODY, OWNERS, POOL
from market_data.defs.automation import follows
from market_data.defs.checks import span_checks
from market_data.defs.failing import told_plainly
from market_data.defs.partitions import span_of
from market_data.defs.resources import MarketDataResource
from market_data.features.catalogue import FEATURES, Feature
from market_data.features.update import FeaturesUpdated, update
from market_data.report.feature_checks import FEATURE_CHECKS, RANGES
from market_data.settings import Settings
from market_data.warehouse.features import SessionNumbers, read_numbers

__all__ = ["parts"]

GROUP = "features"
ASSET = "features_daily"
JOB = "features_job"


class FeaturesConfig(dg.Config):
    """What to compute. As it stands, what is absent or no longer of the prices as they are."""

    force: bool = Field(
        default=False, description="true: compute the sessions of this run although they are up to date"
    )


def parts(settings: Settings, sessions: dg.DailyPartitionsDefinition) -> dg.Definitions:
    """The asset with its checks, and a job of both."""
    asset = _features_daily(sessions)
    job = dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.assets(asset),
        description="Features of a session or a range of them, with their checks; asks no vendor.",
    )
    return dg.Definitions(
        assets=[asset], asset_checks=[span_checks("feature_checks", ASSET, FEATURE_CHECKS)], jobs=[job]
    )


def _features_daily(sessions: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        deps=["daily_prices", "quality_log", "corporate_actions"],
        # A new action reaches sessions that nobody can name beforehand: the next run finds them by their hashes.
        automation_condition=follows(but=dg.AssetSelection.assets("corporate_actions")),
        partitions_def=sessions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=POOL,
        group_name=GROUP,
        owners=OWNERS,
        tags=ASKS_NOBODY,
        kinds={"python", "duckdb", "numpy"},
        metadata={
            "dagster/column_schema": _schema(),
            "dagster/column_lineage": _lineage(),
            "dagster/table_name": "features_daily",
        },
    )
    @told_plainly
    def features_daily(
        context: dg.AssetExecutionContext, config: FeaturesConfig, market_data: MarketDataResource
    ) -> dg.MaterializeResult[None]:
        """Returns, volatility, trend, liquidity and standing of every instrument.

        `features_daily`, a row an expected (symbol, session). No value looks ahead. What is not known is null, and
        `reason` says why: warm-up, no bar, a price that was rejected or flagged.

        **From** the canonical database alone: bars with their verdict, and corporate actions. With each session a
        SHA-256 of all that went into it is kept, and only a session whose hash has changed is computed again. A
        revised bar or a new split reaches up to 252 sessions after it: a run also makes those anew that are stale
        elsewhere, and names them in `made elsewhere`.

        **When it fails**, the database could not be read or written: the error says who holds it. When it was
        skipped, a blocking check of `daily_prices` failed.

        **To mend a value**, mend its price: materialize `raw_bars`, `daily_prices` and `quality_log` of the session
        named in `reason`; the features follow by themselves.
        """
        start, end = span_of(context.partition_keys)
        began = time.perf_counter()
        updated = update(
            market_data.settings(),
            synthetic=market_data.is_synthetic(),
            start=start,
            end=end,
            clock=market_data.clock(),
            force=config.force,
            heal=True,
        )
        seconds = time.perf_counter() - began
        with market_data.reading() as connection:
            numbers = read_numbers(connection, start, end)
        show.attach(context, {str(day): _of_session(one) for day, one in numbers.items()}, _of_run(updated, seconds))
        return dg.MaterializeResult(metadata=show.source(market_data))

    return features_daily


def _of_session(numbers: SessionNumbers) -> show.Metadata:
    """Numbers of a partition; one that is not known is left out."""
    values = numbers.rows * len(FEATURES)
    metadata: show.Metadata = {
        "dagster/partition_row_count": numbers.rows,
        "nulls": numbers.nulls,
        "share null": numbers.nulls / values if values else 0.0,
    }
    told = {"market return": numbers.market_return, "median volatility": numbers.volatility}
    return metadata | {name: value for name, value in told.items() if value is not None}


def _of_run(updated: FeaturesUpdated, seconds: float) -> show.Metadata:
    rows = updated.rows
    metadata: show.Metadata = {
        "sessions made": len(updated.made),
        "sessions up to date": updated.unchanged,
        "rows_inserted": rows.inserted,
        "rows_updated": rows.updated,
        "rows_unchanged": rows.unchanged,
        "rows_removed": rows.removed,
        "seconds": round(seconds, 3),
    }
    if updated.healed:
        metadata["made elsewhere"] = _spans(updated.healed)
    if updated.by_cause:
        causes = [{"cause": cause, "rows": count} for cause, count in updated.by_cause.items()]
        metadata["rows with a null"] = show.table(causes[: show.SHOWN])
    return metadata


def _spans(days: tuple[date, ...]) -> str:
    return f"{len(days):,} stale sessions outside of the run, {days[0]} to {days[-1]}"


def _schema() -> dg.TableSchema:
    required = dg.TableColumnConstraints(nullable=False)
    return dg.TableSchema(
        [
            dg.TableColumn("symbol", "str", description="Canonical symbol", constraints=required),
            dg.TableColumn("date", "date", description="XNYS session", constraints=required),
            *(_column(one) for one in FEATURES),
            dg.TableColumn("reason", "str", description="Why features of the row are null; null where none is"),
            dg.TableColumn("made_at", "datetime", description="Instant (UTC) since when the row is as it stands"),
        ]
    )


def _column(one: Feature) -> dg.TableColumn:
    limits = RANGES.get(one.name)
    sessions = "1 session" if one.lookback == 1 else f"{one.lookback} sessions"
    return dg.TableColumn(
        one.name,
        "float64",
        description=f"{one.meaning} Unit: {one.unit}. Made from {sessions}.",
        constraints=dg.TableColumnConstraints(other=[f"{limits[0]:g} to {limits[1]:g}"] if limits else []),
    )


_BARS: dict[str, tuple[str, ...]] = {
    "volatility_parkinson_21": ("high", "low"),
    "volatility_garman_klass_21": ("open", "high", "low", "close"),
    "volatility_yang_zhang_21": ("open", "high", "low", "close"),
    "atr_14": ("high", "low", "close"),
    "atr_14_share": ("high", "low", "close"),
}
_AS_TRADED = {"dollar_volume", "dollar_volume_21", "turnover_rank"}
"""Features without a return in them, so that no corporate action bears on them."""


def _lineage() -> dg.TableColumnLineage:
    columns: dict[str, Any] = {"symbol": ["daily_prices.symbol"], "date": ["daily_prices.date"]}
    for one in FEATURES:
        fields = _BARS.get(one.name, ("close", "volume") if one.volume else ("close",))
        actions = () if one.name in _AS_TRADED else ("date", "kind", "value")
        columns[one.name] = [
            *(f"daily_prices.{name}" for name in fields),
            *(f"corporate_actions.{name}" for name in actions),
            *("quality_log.verdict", "quality_log.rules"),
        ]
    columns["reason"] = ["daily_prices.close", "daily_prices.volume", "quality_log.verdict", "quality_log.rules"]
    return show.lineage(columns)
