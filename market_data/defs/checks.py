"""Asset checks: what all of them have in common, and the checks of the daily prices over the partitions of a run.

Annotations are not postponed here: Dagster reads those of a check when it defines it.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Protocol, TypeVar

import dagster as dg

from market_data.defs import show
from market_data.defs.advice import ADVICE, described
from market_data.defs.assets import POOL
from market_data.defs.failing import NEXT_STEP, plainly
from market_data.defs.partitions import span_of
from market_data.defs.resources import MarketDataResource
from market_data.report.catalogue import CHECKS
from market_data.report.checks import Check, CheckResult
from market_data.settings import Settings

__all__ = ["check_result", "check_spec", "checks_in_one_step", "daily_price_checks", "span_checks"]


class _Named(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def blocking(self) -> bool: ...


C = TypeVar("C", bound=_Named)
Found = tuple[list[CheckResult], show.Metadata]
"""A result for each check, in order, and metadata that they have in common."""


def check_spec(asset: str, name: str, says: str, *, severe: bool, blocking: bool = False) -> dg.AssetCheckSpec:
    """A check with its description: what it says, why, and what to do when it does not pass."""
    return dg.AssetCheckSpec(
        name,
        asset=asset,
        description=described(asset, name, says),
        blocking=blocking,
        metadata={"severity": _severity(severe=severe).value},
    )


def check_result(
    asset: str, name: str, result: CheckResult, *, severe: bool, more: show.Metadata | None = None
) -> dg.AssetCheckResult:
    """An evaluation with its failing rows, and with what to do next where it did not pass."""
    advice = ADVICE.get((asset, name))
    step = {} if result.passed or advice is None else {NEXT_STEP: dg.MetadataValue.md(advice.step)}
    return dg.AssetCheckResult(
        check_name=name,
        asset_key=asset,
        passed=result.passed,
        severity=_severity(severe=severe),
        description=result.summary,
        metadata=step | show.check_metadata(result) | (more or {}),
    )


def checks_in_one_step(
    name: str,
    asset: str,
    checks: Sequence[C],
    evaluate: Callable[[dg.AssetCheckExecutionContext, MarketDataResource, Sequence[C]], Found],
    *,
    pool: str | None = POOL,
) -> dg.AssetChecksDefinition:
    """Checks of an asset in one step, since a step costs more than a check; the UI may still execute one alone.

    Args:
        evaluate: gives the results of the checks it is handed.
    """

    @dg.multi_asset_check(
        name=name,
        description=f"Evaluates {', '.join(check.name for check in checks)}.",
        specs=[
            check_spec(asset, check.name, check.description, severe=check.blocking, blocking=check.blocking)
            for check in checks
        ],
        can_subset=True,
        pool=pool,
    )
    def evaluated(
        context: dg.AssetCheckExecutionContext, market_data: MarketDataResource
    ) -> Iterator[dg.AssetCheckResult]:
        selected = {key.name for key in context.selected_asset_check_keys}
        wanted = [check for check in checks if check.name in selected]
        with plainly():
            results, common = evaluate(context, market_data, wanted)
            more = common | show.source(market_data)
        for check, result in zip(wanted, results, strict=True):
            yield check_result(asset, check.name, result, severe=check.blocking, more=more)

    return evaluated


def span_checks(
    name: str, asset: str, checks: Sequence[Check], *, pool: str | None = POOL, last: date | None = None
) -> dg.AssetChecksDefinition:
    """Checks over the sessions of a run; of all since the window's start for a run of checks alone.

    Args:
        last: where all sessions end; by default with the window.
    """

    def evaluate(
        context: dg.AssetCheckExecutionContext, market_data: MarketDataResource, wanted: Sequence[Check]
    ) -> Found:
        settings = market_data.settings()
        start, end = _span(context, settings, last)
        with market_data.reading() as connection:
            results = [check.function(connection, start, end, settings) for check in wanted]
        return results, {"span": f"{start} to {end}"}

    return checks_in_one_step(name, asset, checks, evaluate, pool=pool)


def daily_price_checks() -> dg.AssetChecksDefinition:
    """All checks of daily_prices."""
    return span_checks("daily_price_checks", "daily_prices", CHECKS)


def _span(context: dg.AssetCheckExecutionContext, settings: Settings, last: date | None) -> tuple[date, date]:
    """The run's sessions; all for a run of checks alone, to which Dagster gives no partitions."""
    if context.has_partition_key or context.has_partition_key_range:
        return span_of(context.partition_keys)
    return settings.window_start, last or settings.window_end


def _severity(*, severe: bool) -> dg.AssetCheckSeverity:
    return dg.AssetCheckSeverity.ERROR if severe else dg.AssetCheckSeverity.WARN
