"""The daily assets: raw bars, validated daily prices, and the quality log, one partition a session.

Annotations are not postponed here: Dagster reads those of an asset when it defines it.
"""

from datetime import datetime
from typing import Any

import dagster as dg
from pydantic import Field

from market_data.defs import show
from market_data.defs.automation import follows
from market_data.defs.partitions import span_of
from market_data.defs.resources import MarketDataResource
from market_data.errors import SettingsError
from market_data.ingest import partitions as steps
from market_data.ingest.sync.plan import SyncSpan
from market_data.ingest.sync.steps import fetch_due, load_received, recheck
from market_data.records import Outcome
from market_data.schemas import DailyPrices, QualityLog, RawBars
from market_data.warehouse.holdings import asked_symbols
from market_data.warehouse.quality import quality_by_session, worst_symbols

__all__ = ["DailyPricesConfig", "RawBarsConfig", "daily_assets", "instant"]

POOL = "duckdb"
GROUP = "daily_prices"
OWNERS = ["team:market-data"]


class RawBarsConfig(dg.Config):
    """What to ask the provider for."""

    symbols: str = Field(default="all", description="all, a list as in AAPL,MSFT, or @FILE")
    retry_rejected: bool = Field(default=False, description="ask anew for symbols whose batch was rejected before")
    since: str = Field(
        default="",
        description="of a sync: an instant such as 2026-01-21T00:00:00Z; asks for what is missing or not settled, "
        "but for what answers received since then cover",
    )


class DailyPricesConfig(dg.Config):
    """Which answers to read."""

    since: str = Field(
        default="", description="of a sync: only answers received since this instant, 2026-01-21T00:00:00Z; empty: all"
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

    @dg.asset(
        partitions_def=sessions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=POOL,
        group_name=GROUP,
        owners=OWNERS,
        kinds={"python"},
        metadata={"dagster/column_schema": show.column_schema(RawBars)},
    )
    def raw_bars(
        context: dg.AssetExecutionContext, config: RawBarsConfig, market_data: MarketDataResource
    ) -> dg.MaterializeResult[None]:
        """Every answer of the provider as it came, in the **raw store** with its SHA-256, and the **coverage** ledger.

        One request a symbol, for the whole window, to the vendor that is chosen for it; the next one where an answer
        is not usable. What is stored already is not asked for again, however the partitions are launched. Writes no
        price.
        """
        start, end = span_of(context.partition_keys)
        universe = market_data.universe()
        of_run: Any = {"job_id": context.run.run_id, "clock": market_data.clock()}
        with market_data.opened() as source:
            of_run["symbols"] = universe.select(config.symbols) if config.symbols != "all" else source.served
            if config.since:
                span = SyncSpan(start, end, instant(config.since))
                fetched = fetch_due(market_data.settings(), universe, source, span, **of_run)
            else:
                again = config.retry_rejected
                fetched = steps.fetch(
                    market_data.settings(), universe, source, start=start, end=end, retry_rejected=again, **of_run
                )
        if not fetched.answered:
            raise dg.Failure("no symbol was answered", metadata=show.fetched(fetched), allow_retries=False)
        show.attach(context, {}, show.fetched(fetched))
        return dg.MaterializeResult(metadata=show.source(market_data))

    @dg.asset(
        deps=[raw_bars, "corporate_actions"],
        automation_condition=follows(but=dg.AssetSelection.assets("corporate_actions")),
        freshness_policy=freshness,
        partitions_def=sessions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=POOL,
        group_name=GROUP,
        owners=OWNERS,
        kinds={"python", "duckdb", "pandera"},
        metadata={
            "dagster/column_schema": show.column_schema(DailyPrices, symbol=True),
            "dagster/table_name": "price_history_daily",
        },
    )
    def daily_prices(
        context: dg.AssetExecutionContext, config: DailyPricesConfig, market_data: MarketDataResource
    ) -> dg.MaterializeResult[None]:
        """**Validated daily prices**, `price_history_daily`, upserted by (symbol, date) from stored payloads alone.

        Raw, as traded: what came adjusted is turned back by the `corporate_actions` known, or flagged.
        A rejected batch writes no price; a changed price leaves its predecessor in `revisions`. Running it again asks
        no provider and changes nothing.
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
        if summary.records and not any(record.outcome is Outcome.ACCEPTED for record in summary.records):
            raise dg.Failure("no symbol was accepted", metadata=show.summary(summary), allow_retries=False)
        with market_data.reading() as connection:
            by_session = quality_by_session(connection, start, end)
        told = show.summary(summary) | ({"rechecked symbols": ", ".join(rechecked)} if rechecked else {})
        show.attach(context, show.bars_by_session(by_session), told)
        return dg.MaterializeResult(metadata=show.source(market_data))

    @dg.asset(
        deps=[daily_prices],
        automation_condition=follows(),
        partitions_def=sessions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=POOL,
        group_name=GROUP,
        owners=OWNERS,
        kinds={"python", "duckdb"},
        metadata={
            "dagster/column_schema": show.column_schema(QualityLog, symbol=True),
            "dagster/table_name": "data_quality_log",
        },
    )
    def quality_log(context: dg.AssetExecutionContext, market_data: MarketDataResource) -> dg.MaterializeResult[None]:
        """A **verdict and score** for every expected (symbol, session), `data_quality_log`.

        Completes it for sessions nobody answered, and shows the scores and the worst symbols.
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
        show.attach(context, show.scores_by_session(by_session), show.quality(by_session, worst, unanswered))
        return dg.MaterializeResult(metadata=show.source(market_data))

    return [raw_bars, daily_prices, quality_log]
