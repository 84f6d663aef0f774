"""How the providers do, as an asset with its own checks, run anew after something was asked of them.

Annotations are not postponed here: Dagster reads those of an asset when it defines it.
"""

import base64
import math
from collections.abc import Mapping
from typing import Any

import dagster as dg

from market_data.defs import show
from market_data.defs.assets import ASKS_NOBODY, OWNERS
from market_data.defs.checks import check_result, check_spec
from market_data.defs.failing import told_plainly
from market_data.defs.resources import MarketDataResource
from market_data.ingest.sources import is_synthetic
from market_data.report.health import Health, ProviderHealth
from market_data.report.health_checks import FAILED_SHARE, LEAST_REQUESTS, USED_SHARE, errors_check, quota_check
from market_data.report.health_store import refreshed_health
from market_data.settings import Settings
from market_data.warehouse.provider_metrics import metrics_columns

__all__ = ["parts"]

GROUP = "operations"
ASKING = ("raw_bars", "corporate_actions", "intraday_prices")
"""Assets that ask providers."""

CHECKS = {
    "provider_errors": (
        errors_check,
        f"No provider failed at more than {FAILED_SHARE:.0%} of at least {LEAST_REQUESTS} requests "
        "of the last 24 hours.",
    ),
    "provider_quota": (quota_check, f"No provider's tightest quota is used to more than {USED_SHARE:.0%}."),
}


def parts(settings: Settings, sessions: dg.DailyPartitionsDefinition) -> dg.Definitions:
    """The asset with its checks."""
    return dg.Definitions(assets=[_provider_health(synthetic=is_synthetic(settings.default_source))])


def _when(*, synthetic: bool) -> dg.AutomationCondition[dg.AssetKey]:
    """At a quarter to each hour if an asset that asks was updated since; daily once there was something to tell.

    A night on which nobody answered updates nothing, and must be seen all the same. In the sandbox days pass in
    minutes.
    """
    condition = dg.AutomationCondition
    now_and_then = condition.cron_tick_passed("*/5 * * * *" if synthetic else "45 * * * *")
    after_asking = now_and_then & condition.any_deps_updated().since_last_handled()
    each_day = condition.cron_tick_passed("45 1 * * *") & ~condition.missing()
    return ((after_asking | each_day) & ~condition.in_progress()).with_label("after providers were asked")


def _provider_health(*, synthetic: bool) -> dg.AssetsDefinition:
    @dg.asset(
        deps=ASKING,
        group_name=GROUP,
        owners=OWNERS,
        tags=ASKS_NOBODY,
        kinds={"python", "duckdb"},
        automation_condition=_when(synthetic=synthetic),
        metadata={"dagster/table_name": "provider_metrics"},
        check_specs=[
            check_spec("provider_health", name, description, severe=False) for name, (_, description) in CHECKS.items()
        ],
    )
    @told_plainly
    # With checks of its own, Dagster knows the annotation only bare.
    def provider_health(market_data: MarketDataResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
        """What each provider was asked, and how it answered.

        `provider_metrics`, by UTC date: outcomes, kinds of errors, latency, bytes; and how its quotas stood,
        `provider_quotas`. The numbers are those of the last 24 hours, so that their plots tell how a provider changes;
        the table and the picture are of the last 30 days.

        **From** the ledgers of calls and answers, derived anew. It asks no provider.

        **When it fails**, the database could not be used: the error says who holds it. When a **check** warns, a vendor
        fails or its quota is near its end: the row names it, and `market-data quota` when the next call is possible.
        """
        health = refreshed_health(
            market_data.settings(), synthetic=market_data.is_synthetic(), clock=market_data.clock()
        )
        with market_data.reading() as connection:
            columns = [dg.TableColumn(*column) for column in metrics_columns(connection)]
        return dg.MaterializeResult(
            metadata={"dagster/column_schema": dg.TableSchema(columns)}
            | health_metadata(health)
            | show.source(market_data),
            check_results=[
                check_result("provider_health", name, check(health), severe=False)
                for name, (check, _) in CHECKS.items()
            ],
        )

    return provider_health


def health_metadata(health: Health) -> dict[str, Any]:
    """A table, a picture, and numbers of the last 24 hours; a number that is not known is left out."""
    metadata: dict[str, Any] = {"span": f"{health.first} to {health.last}, UTC dates"}
    if not health.providers:
        return metadata | {"providers": "none was asked"}
    metadata["providers"] = _table(health)
    metadata["picture"] = dg.MetadataValue.md(_picture(health))
    for provider in health.providers:
        metadata |= {
            f"{provider.provider} {name}": value
            for name, value in _numbers(provider).items()
            if value is not None and math.isfinite(value)
        }
    return metadata


def _numbers(provider: ProviderHealth) -> dict[str, float | int | None]:
    day = provider.last_day
    return {
        "calls": day.calls,
        "failed": day.failed,
        "accepted share": day.accepted_share,
        "p50 ms": day.latency_p50_ms,
        "p95 ms": day.latency_p95_ms,
        "quota left": provider.quota.left if provider.quota else None,
    }


def _table(health: Health) -> dg.TableMetadataValue:
    rows: list[Mapping[str, str | int | float | None]] = [
        {
            "provider": item.provider,
            "calls": item.span.calls,
            "accepted share": _rounded(item.span.accepted_share, 4),
            "failed": item.span.failed,
            "errors": ", ".join(f"{kind} {count:,}" for kind, count in item.span.errors.items()),
            "p95 ms": _rounded(item.span.latency_p95_ms, 1),
            "quota left": item.quota.left if item.quota else None,
            "of": f"{item.quota.limit:,} a {item.quota.period}" if item.quota else "",
        }
        for item in health.providers
    ]
    return show.table(rows)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _picture(health: Health) -> str:
    from market_data.report.health_plot import png

    encoded = base64.b64encode(png(health)).decode()
    return f"![requests, accepted share, latency and quota left of each provider](data:image/png;base64,{encoded})"
