"""The corporate actions as an asset: one list for all instruments, not partitioned, upstream of the daily prices."""

import dagster as dg
from pydantic import Field

from market_data.defs import show
from market_data.defs.assets import OWNERS, POOL
from market_data.defs.resources import MarketDataResource
from market_data.ingest.actions import fetch_actions
from market_data.schemas import CorporateActions

__all__ = ["ActionsConfig", "corporate_actions_asset"]


class ActionsConfig(dg.Config):
    """Whose actions are asked for."""

    symbols: str = Field(default="all", description="all, a list as in AAPL,MSFT, or @FILE")
    dividends: bool = Field(default=True, description="ask for dividends too, a call a symbol; splits take a few calls")


def corporate_actions_asset() -> dg.AssetsDefinition:
    """The asset."""

    @dg.asset(
        pool=POOL,
        group_name="reference",
        owners=OWNERS,
        kinds={"python", "duckdb"},
        metadata={
            "dagster/table_name": "corporate_actions",
            "dagster/column_schema": show.column_schema(CorporateActions, symbol=True),
        },
    )
    def corporate_actions(
        context: dg.AssetExecutionContext, config: ActionsConfig, market_data: MarketDataResource
    ) -> dg.MaterializeResult[None]:
        """**Splits, cash dividends and spin-offs**, `corporate_actions`, each once whoever tells of it.

        What prices are turned to raw by, and adjusted by when they are read. Asks the vendors that feed them for what
        no stored payload tells; where they differ, the one first in priority is believed and the conflict is kept in
        `action_conflicts`. Bars that depend on what is new are turned anew.
        """
        universe = market_data.universe()
        with market_data.opened() as source:
            fetched = fetch_actions(
                market_data.settings(),
                universe,
                source,
                symbols=universe.select(config.symbols) if config.symbols != "all" else source.served,
                job_id=context.run.run_id,
                dividends=config.dividends,
            )
        with market_data.reading() as connection:
            metadata = show.actions(connection, fetched)
        return dg.MaterializeResult(metadata=metadata | show.source(market_data))

    return corporate_actions
