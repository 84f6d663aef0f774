"""Declarative automation: what follows by itself when what it is made from was materialized."""

from __future__ import annotations

import dagster as dg

from market_data.settings import Settings

__all__ = ["follows", "parts"]


def follows(*, but: dg.AssetSelection | None = None) -> dg.AutomationCondition[dg.AssetKey]:
    """A partition is materialized after those it depends on were, unless a blocking check of these failed.

    Not the latest session alone, so that a backfill is followed as well. What is materialized in the same run, as all
    of a nightly sync is, needs no second one.

    Args:
        but: upstream assets that it does not follow.
    """
    condition = dg.AutomationCondition.eager().without(dg.AutomationCondition.in_latest_time_window())
    condition &= dg.AutomationCondition.all_deps_blocking_checks_passed()
    return condition.ignore(but) if but is not None else condition


def parts(settings: Settings, sessions: dg.DailyPartitionsDefinition) -> dg.Definitions:
    """The sensor that looks at the conditions."""
    sensor = dg.AutomationConditionSensorDefinition(
        "automation",
        target=dg.AssetSelection.all(),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        description="Materializes what follows by itself: assets whose inputs are newer and passed their checks.",
    )
    return dg.Definitions(sensors=[sensor])
