"""The daily assets: raw bars, validated daily prices, and the quality log, one partition a session.

Annotations are not postponed here: Dagster reads those of an asset when it defines it.
"""

from datetime import datetime
from typing import Any

import dagster as dg
from pydantic import Field

from market_data.defs import daily_metadata, lineage, show
from market_data.defs.automation import follows
from market_data.defs.failing import failure, told_plainly
from market_data.defs.partitions import span_of
from market_data.defs.resources import MarketDataResource
from market_data.errors import SettingsError
from market_data.ingest import partitions as steps
from market_data.ingest.asking_again import MOST_SESSIONS, ask_again
from market_data.ingest.sync.plan import SyncSpan
from market_data.ingest.sync.steps import fetch_due, load_received, recheck
from market_data.records import Outcome
from market_data.report.answers import answers_by_session
from market_data.schemas import DailyPrices, QualityLog, RawBars
from market_data.warehouse.holdings import asked_symbols
from market_data.warehouse.quality import quality_by_session, worst_symbols

__all__ = ["ASKS_NOBODY", "ASKS_VENDORS", "DailyPricesConfig", "RawBarsConfig", "daily_assets", "instant"]

POOL = "duckdb"
GROUP = "daily_prices"
OWNERS = ["team:market-data"]
ASKS_VENDORS = {"market_data/asks": "vendors"}
"""Of an asset whose run may cost calls of the vendors' quotas."""
ASKS_NOBODY = {"market_data/asks": "nobody"}
"""Of an asset made from what is stored; to run it again costs no call."""


class RawBarsConfig(dg.Config):
    """What to ask the vendors for. As it stands, what is not held; nothing is asked for twice."""

    symbols: str = Field(default="all", description="whose bars: all, a list as in AAPL,MSFT, or @FILE with one a line")
    retry_rejected: bool = Field(
        default=False, description="true: ask anew for symbols whose batch validation refused before"
    )
    ask_again: bool = Field(
        default=False,
        description="true: ask for the sessions of this run although they are held, as when a stored bar is in doubt; "
        f"the newer answer wins. A call a symbol, so name the symbols; at most {MOST_SESSIONS} sessions",
    )
    since: str = Field(
        default="",
        description="set by the nightly sync, leave it empty: an instant such as 2026-01-21T00:00:00Z; asks for what "
        "is missing or not settled, but for what answers received since then cover",
    )


class DailyPricesConfig(dg.Config):
    """Which stored answers to read."""

    since: str = Field(
        default="",
        description="set by the nightly sync, leave it empty: only answers received since this instant, such as "
        "2026-01-21T00:00:00Z; empty: all",
    )


def instant(text: str) -> datetime:
    """An instant as a config gives it.

    Raises:
        SettingsError: it is none, or has no time zone.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise SettingsError(f"since: {text!r} is no instant with a time zone; write it as 2026-01-21T00:00:00+00:00")
    return moment


def daily_assets(
    sessions: dg.DailyPartitionsDefinition, *, freshness: dg.FreshnessPolicy | None = None
) -> list[dg.AssetsDefinition]:
    """The three assets over the given partitions."""
    raw_bars = _raw_bars(sessions)
    daily_prices = _daily_prices(sessions, freshness)
    return [raw_bars, daily_prices, _quality_log(sessions)]


def _raw_bars(sessions: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        partitions_def=sessions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=POOL,
        group_name=GROUP,
        owners=OWNERS,
        tags=ASKS_VENDORS,
        kinds={"python"},
        metadata={"dagster/column_schema": show.column_schema(RawBars)},
    )
    @told_plainly
    def raw_bars(
        context: dg.AssetExecutionContext, config: RawBarsConfig, market_data: MarketDataResource
    ) -> dg.MaterializeResult[None]:
        """Vendors' answers as they came, kept whole.

        Each is in the **raw store** under its SHA-256, and noted in the **coverage** ledger. One request a symbol
        serves the whole window, to the vendor that is chosen for it; the next one where an answer is not usable. What
        is stored already is not asked for again, however the partitions are launched. Writes no price.

        **From** the vendors, or the archive of `MARKET_DATA_ARCHIVE`; in the demo from the synthetic sandbox.

        **When it fails**, nobody answered for any symbol: the reasons stand in `failures`, the vendors' standing in
        `provider_health`. Re-execute from failure once they answer; what was answered is kept. A few symbols that
        failed do not fail the run; they are `unanswered` in `quality_log`, and `gap_filling` asks for them again.

        **To distrust a stored bar**, launch its session by the job `ask_again_job`.
        """
        start, end = span_of(context.partition_keys)
        universe, settings = market_data.universe(), market_data.settings()
        of_run: Any = {"job_id": context.run.run_id, "clock": market_data.clock()}
        with market_data.opened() as source:
            of_run["symbols"] = universe.select(config.symbols) if config.symbols != "all" else source.served
            if config.since:
                fetched = fetch_due(settings, universe, source, SyncSpan(start, end, instant(config.since)), **of_run)
            elif config.ask_again:
                fetched = ask_again(settings, universe, source, start=start, end=end, **of_run)
            else:
                of_run["retry_rejected"] = config.retry_rejected
                fetched = steps.fetch(settings, universe, source, start=start, end=end, **of_run)
        told = daily_metadata.fetched(fetched)
        if not fetched.answered:
            step = "read `failures` and the asset provider_health; once a vendor answers, Re-execute from failure"
            raise failure("no symbol was answered", step, told)
        with market_data.reading() as connection:
            answers = answers_by_session(connection, start, end)
        show.attach(context, daily_metadata.answers_told(answers), told)
        return dg.MaterializeResult(metadata=show.source(market_data))

    return raw_bars


def _daily_prices(sessions: dg.DailyPartitionsDefinition, freshness: dg.FreshnessPolicy | None) -> dg.AssetsDefinition:
    @dg.asset(
        deps=["raw_bars", "corporate_actions"],
        automation_condition=follows(but=dg.AssetSelection.assets("corporate_actions")),
        freshness_policy=freshness,
        partitions_def=sessions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=POOL,
        group_name=GROUP,
        owners=OWNERS,
        tags=ASKS_NOBODY,
        kinds={"python", "duckdb", "pandera"},
        metadata={
            "dagster/column_schema": show.column_schema(DailyPrices, symbol=True),
            "dagster/column_lineage": lineage.DAILY_PRICES,
            "dagster/table_name": "price_history_daily",
        },
    )
    @told_plainly
    def daily_prices(
        context: dg.AssetExecutionContext, config: DailyPricesConfig, market_data: MarketDataResource
    ) -> dg.MaterializeResult[None]:
        """Validated daily prices, raw as traded.

        `price_history_daily`, upserted by (symbol, date). What came adjusted is turned back by the corporate actions
        known, or flagged. A rejected batch writes no price; a changed price leaves its predecessor in `revisions`.

        **From** stored payloads (`raw_bars`) and `corporate_actions` alone. Running it again asks no vendor, and
        changes nothing unless a newer answer came.

        **When it fails**, no symbol was accepted: the table `not accepted` says why of each. If `raw_bars` was never
        materialized for these sessions, do that first. When a **blocking check** fails, `quality_log` is not made;
        the check's page names the rows, and what to do next.

        **To mend a session**, materialize `raw_bars`, `daily_prices` and `quality_log` for it; where the stored answer
        itself is in doubt, by the job `ask_again_job`.
        """
        start, end = span_of(context.partition_keys)
        store = (market_data.settings(), market_data.universe())
        of_run: Any = {"job_id": context.run.run_id, "clock": market_data.clock()}
        of_run |= {"label": market_data.source_name(), "synthetic": market_data.is_synthetic()}
        rechecked: list[str] = []
        if config.since:
            span = SyncSpan(start, end, instant(config.since))
            summary = load_received(*store, span, **of_run)
            rechecked = recheck(*store, span, **of_run)
        else:
            summary = steps.load(*store, start=start, end=end, **of_run)
        told = daily_metadata.summary(summary)
        if summary.records and not any(record.outcome is Outcome.ACCEPTED for record in summary.records):
            step = "read `not accepted`; then launch raw_bars with `retry_rejected: true` from the Launchpad"
            raise failure("no symbol was accepted", step, told)
        with market_data.reading() as connection:
            by_session = quality_by_session(connection, start, end)
        told |= {"rechecked symbols": ", ".join(rechecked)} if rechecked else {}
        show.attach(context, daily_metadata.bars_by_session(by_session), told)
        return dg.MaterializeResult(metadata=show.source(market_data))

    return daily_prices


def _quality_log(sessions: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        deps=["daily_prices"],
        automation_condition=follows(),
        partitions_def=sessions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=POOL,
        group_name=GROUP,
        owners=OWNERS,
        tags=ASKS_NOBODY,
        kinds={"python", "duckdb"},
        metadata={
            "dagster/column_schema": show.column_schema(QualityLog, symbol=True),
            "dagster/column_lineage": lineage.QUALITY_LOG,
            "dagster/table_name": "data_quality_log",
        },
    )
    @told_plainly
    def quality_log(context: dg.AssetExecutionContext, market_data: MarketDataResource) -> dg.MaterializeResult[None]:
        """Verdict and score of every expected session.

        `data_quality_log`, a row a (symbol, session): `accepted`, `flagged`, `missing`, `rejected` or `unanswered`,
        with the rules that were found. Loading judges what was answered; this completes it for sessions nobody
        answered, and shows the scores and the worst symbols.

        **From** `daily_prices` and the listing spans of the universe.

        **When it fails**, the database could not be written: the error says who holds it. When it was skipped, a
        blocking check of `daily_prices` failed; see its Checks tab.
        """
        start, end = span_of(context.partition_keys)
        with market_data.reading() as connection:
            symbols = asked_symbols(connection)
        universe = market_data.universe()
        unanswered = steps.complete(
            market_data.settings(),
            universe,
            symbols=[symbol for symbol in symbols if symbol in universe],
            synthetic=market_data.is_synthetic(),
            start=start,
            end=end,
            clock=market_data.clock(),
        )
        with market_data.reading() as connection:
            by_session = quality_by_session(connection, start, end)
            worst = worst_symbols(connection, start, end)
        told = daily_metadata.quality(by_session, worst, unanswered)
        show.attach(context, daily_metadata.scores_by_session(by_session), told)
        return dg.MaterializeResult(metadata=show.source(market_data))

    return quality_log
