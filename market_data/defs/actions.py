"""The corporate actions as an asset: one list for all instruments, not partitioned, upstream of the daily prices."""

from collections.abc import Sequence

import dagster as dg
from pydantic import Field

from market_data.defs import show
from market_data.defs.assets import OWNERS, POOL
from market_data.defs.resources import MarketDataResource
from market_data.ingest.actions import ActionsFetched, fetch_actions
from market_data.records import EVERY
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

        Fails where no vendor that feeds actions is in use, as with the Stooq archive alone, or none of them answered:
        an empty list would pass for "there were none". The prices can be materialized without it, by their group;
        the check `basis` then names the bars that are not raw. `market-data actions import` takes a file instead.
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
            metadata = show.actions(connection, fetched)
        if _is_in_vain(fetched, symbols, config):
            raise dg.Failure("no corporate actions could be had", metadata=metadata, allow_retries=False)
        return dg.MaterializeResult(metadata=metadata | show.source(market_data))

    return corporate_actions


def _is_in_vain(fetched: ActionsFetched, symbols: Sequence[str], config: ActionsConfig) -> bool:
    """Whether nothing could be had of any symbol asked for, nor, where splits alone are asked for, of all at once."""
    failed = fetched.failed.keys()
    return bool(failed) and (failed >= set(symbols) or (EVERY in failed and not config.dividends))
