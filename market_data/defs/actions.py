"""The corporate actions as an asset: one list for all instruments, not partitioned, upstream of the daily prices."""

from collections.abc import Sequence

import dagster as dg
from pydantic import Field

from market_data.defs import daily_metadata, show
from market_data.defs.assets import ASKS_VENDORS, OWNERS, POOL
from market_data.defs.failing import failure, told_plainly
from market_data.defs.resources import MarketDataResource
from market_data.ingest.actions import ActionsFetched, fetch_actions
from market_data.records import EVERY
from market_data.schemas import CorporateActions

__all__ = ["ActionsConfig", "corporate_actions_asset"]


class ActionsConfig(dg.Config):
    """Whose actions are asked for."""

    symbols: str = Field(default="all", description="whose: all, a list as in AAPL,MSFT, or @FILE with one a line")
    dividends: bool = Field(
        default=True, description="false: splits alone, a few calls for all symbols; dividends cost a call a symbol"
    )


def corporate_actions_asset() -> dg.AssetsDefinition:
    """The asset."""

    @dg.asset(
        pool=POOL,
        group_name="reference",
        owners=OWNERS,
        tags=ASKS_VENDORS,
        kinds={"python", "duckdb"},
        metadata={
            "dagster/table_name": "corporate_actions",
            "dagster/column_schema": show.column_schema(CorporateActions, symbol=True),
        },
    )
    @told_plainly
    def corporate_actions(
        context: dg.AssetExecutionContext, config: ActionsConfig, market_data: MarketDataResource
    ) -> dg.MaterializeResult[None]:
        """Splits, cash dividends and spin-offs, each once.

        `corporate_actions`: what prices are turned to raw by, and adjusted by when they are read. Whoever tells of an
        action, it stands once; where vendors differ, the one first in priority is believed and the conflict is kept in
        `action_conflicts`. Bars that depend on what is new are turned anew.

        **From** the vendors that feed them, asked for what no stored payload tells.

        **When it fails**, no vendor that feeds actions is in use, as with the Stooq archive alone, or none of them
        answered: an empty list would pass for "there were none". Give a file with `market-data actions import`, or
        set a vendor's key and materialize it again. The prices can be materialized without it, by their group; the
        check `basis` then names the bars that are not raw.
        """
        universe = market_data.universe()
        with market_data.opened() as source:
            symbols = universe.select(config.symbols) if config.symbols != "all" else source.served
            fetched = fetch_actions(
                market_data.settings(),
                universe,
                source,
                symbols=symbols,
                job_id=context.run.run_id,
                dividends=config.dividends,
                clock=market_data.clock(),
            )
        with market_data.reading() as connection:
            metadata = daily_metadata.actions(connection, fetched)
        if _is_in_vain(fetched, symbols, config):
            step = (
                "read `failures`; set the key of a vendor that feeds actions, or import a file with "
                "`market-data actions import`; then materialize it again"
            )
            raise failure("no corporate actions could be had", step, metadata)
        return dg.MaterializeResult(metadata=metadata | show.source(market_data))

    return corporate_actions


def _is_in_vain(fetched: ActionsFetched, symbols: Sequence[str], config: ActionsConfig) -> bool:
    """Whether nothing could be had of any symbol asked for, nor, where splits alone are asked for, of all at once."""
    failed = fetched.failed.keys()
    return bool(failed) and (failed >= set(symbols) or (EVERY in failed and not config.dividends))
