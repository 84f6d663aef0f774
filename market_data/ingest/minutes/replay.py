"""A stored answer with intraday bars read again into a database that is made anew."""

from __future__ import annotations

import duckdb

from market_data.errors import ProviderError
from market_data.ingest.minutes.commit import write_minute_attempt
from market_data.ingest.minutes.unit import MinuteAttempt, MinuteTask, judged
from market_data.ingest.raw_store import RawStore
from market_data.instruments import Universe
from market_data.records import StoredPayload
from market_data.sessions import sessions_between
from market_data.validation import Thresholds
from market_data.warehouse.actions import read_actions, read_told
from market_data.warehouse.store import transaction

__all__ = ["replay_minutes"]


def replay_minutes(
    connection: duckdb.DuckDBPyConnection,
    raw_store: RawStore,
    universe: Universe,
    stored: StoredPayload,
    *,
    thresholds: Thresholds,
    synthetic: bool,
    job_id: str,
) -> None:
    """Write what a payload of the bars feed with an interval shorter than a day says, in a transaction of its own.

    Raises:
        ProviderError: it carries no bars, cannot be read, or is of a symbol that is not in the universe.
    """
    symbol, request = stored.request.symbol, stored.request
    if symbol not in universe:
        raise ProviderError(f"{symbol} is not in the universe")
    nothing = sessions_between(request.start, request.end)[:0]
    task = MinuteTask(
        instrument=universe[symbol],
        start=request.start,
        end=request.end,
        interval=request.interval,
        expected=nothing,
        due=nothing,
        actions=read_actions(connection, [symbol])[symbol],
        told=read_told(connection, [symbol])[symbol],
    )
    attempt = MinuteAttempt(stored.provider, synthetic, request, stored=stored, is_new=True)
    attempt = judged(attempt, task.instrument, raw_store, thresholds)
    if attempt.error is not None and attempt.answer is None:
        raise attempt.error
    with transaction(connection):
        write_minute_attempt(connection, task, attempt, job_id=job_id, now=stored.fetched_at)
