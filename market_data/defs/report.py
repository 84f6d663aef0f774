"""The validation report, as an asset whose plots over time are the store's own figures, and its schedule.

Annotations are not postponed here: Dagster reads those of an asset when it defines it.
"""

from typing import Any

import dagster as dg
from pydantic import Field

from market_data.defs import show
from market_data.defs.assets import ASKS_NOBODY, OWNERS
from market_data.defs.failing import told_plainly
from market_data.defs.resources import MarketDataResource
from market_data.report.validation.collect import collect, span_of_text
from market_data.report.validation.concerns import concerns
from market_data.report.validation.document import ReportDocument
from market_data.report.validation.markdown import summary
from market_data.report.validation.publish import STANDING, publish
from market_data.settings import Settings

__all__ = ["ReportConfig", "parts"]

GROUP = "reports"
READ = ("daily_prices", "quality_log", "provider_health")
"""Assets whose tables the report reads."""
REPORT_AT = "45 0 * * *"


class ReportConfig(dg.Config):
    """What the report is of."""

    start: str = Field(default="", description="first date, as in 2024-01-02; empty: the window's start")
    end: str = Field(default="", description="last date, as in 2024-12-31; empty: the last session that is due")
    symbols: str = Field(default="all", description="all, a list as in AAPL,MSFT, or @FILE")


def parts(settings: Settings, sessions: dg.DailyPartitionsDefinition) -> dg.Definitions:
    """The asset, its job, and the schedule of it."""
    job = dg.define_asset_job(
        "validation_report_job",
        selection=["validation_report"],
        description="What the store holds, how good it is, and where to look: one HTML file and one JSON document.",
    )
    return dg.Definitions(assets=[_validation_report()], jobs=[job], schedules=[_schedule()])


def _validation_report() -> dg.AssetsDefinition:
    @dg.asset(
        deps=READ,
        group_name=GROUP,
        owners=OWNERS,
        tags=ASKS_NOBODY,
        kinds={"python", "duckdb", "html"},
    )
    @told_plainly
    def validation_report(
        context: dg.AssetExecutionContext, config: ReportConfig, market_data: MarketDataResource
    ) -> dg.MaterializeResult[None]:
        """What the store holds and how good it is: one HTML file for people, one JSON document for programs.

        Coverage, scores, findings by rule, gaps with their reasons, providers, restatements, corporate actions,
        comparisons of vendors, checks, and a page with prices for each symbol. `validation_report.html` and `.json` in
        the folder of reports are replaced each time; with a span or symbols in the config, files named by the span are
        written instead. The plots show the figures of the headline over time.

        **From** the canonical database alone, and the ledger of calls for what is left of quotas. It asks no provider.

        **When something is to be looked at**, the run succeeds all the same: `look at` and the run's log say what. To
        mend one session, materialize its partition of `raw_bars`, `daily_prices` and `quality_log` anew.

        **When it fails**, the config names a date or symbol that cannot be, or the database could not be used: the
        error says which. What was written before stands.
        """
        settings, clock = market_data.settings(), market_data.clock()
        start, end = span_of_text(config.start, config.end, settings, clock)
        is_all = config.symbols.strip() == "all"
        document = collect(
            settings,
            synthetic=market_data.is_synthetic(),
            start=start,
            end=end,
            symbols=None if is_all else market_data.universe().select(config.symbols),
            series=True,
            clock=clock,
        )
        is_standing = is_all and not config.start and not config.end
        html, json = publish(settings, document, name=STANDING if is_standing else None)
        found = concerns(document, least_score=settings.min_data_quality)
        for concern in found:
            context.log.warning(f"look at {concern}")
        files = {"report": dg.MetadataValue.path(html.absolute()), "document": dg.MetadataValue.path(json.absolute())}
        metadata = files | report_metadata(document, found) | show.source(market_data)
        return dg.MaterializeResult(metadata=metadata)

    return validation_report


def report_metadata(document: ReportDocument, found: tuple[str, ...]) -> dict[str, Any]:
    """A summary, and the numbers of the headline; one that is not known is left out.

    Args:
        found: what needs a person.
    """
    head = document.headline
    numbers = {
        "rows": head.rows,
        "coverage": head.coverage,
        "mean score": head.mean_score,
        "symbols": head.symbols,
        "sessions": head.sessions,
        "rejected": head.rejected,
        "missing": head.missing,
        "flagged": head.flagged,
        "open gaps": head.open_gaps,
        "known gaps": head.known_gaps,
        "findings": sum(rule.findings for rule in document.rules),
        "failing checks": sum(not check.passed for check in document.checks),
    }
    return {
        "span": f"{document.start} to {document.end}",
        "summary": dg.MetadataValue.md(summary(document)),
        "look at": "; ".join(found) or "nothing",
        **{name: value for name, value in numbers.items() if value is not None},
    }


def _schedule() -> dg.ScheduleDefinition:
    @dg.schedule(
        name="validation_report_schedule",
        job_name="validation_report_job",
        cron_schedule=REPORT_AT,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="00:45 UTC: the validation report, half an hour after the sync begins; skips while there is no "
        "database.",
    )
    def validation_report_schedule(market_data: MarketDataResource) -> dg.RunRequest | dg.SkipReason:
        live = market_data.settings().database_for(synthetic=market_data.is_synthetic())
        return dg.RunRequest() if live.exists() else dg.SkipReason(f"{live}: no database yet")

    return validation_report_schedule
