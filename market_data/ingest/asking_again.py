"""A second answer for sessions that are held: what a person asks for who distrusts the first one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from market_data.clock import Clock, utc_now
from market_data.errors import SettingsError
from market_data.ingest.backfill import BackfillRequest
from market_data.ingest.partitions import Fetched, asking
from market_data.ingest.sources import Source
from market_data.ingest.unit import expected_sessions
from market_data.instruments import Universe
from market_data.sessions import sessions_between
from market_data.settings import Settings
from market_data.warehouse.connection import Database
from market_data.warehouse.holdings import Holdings, read_holdings

__all__ = ["MOST_SESSIONS", "ask_again"]

MOST_SESSIONS = 66
"""Sessions that may be asked for again at once, about a quarter: each symbol costs a call, whatever is held."""


def ask_again(
    settings: Settings,
    universe: Universe,
    source: Source,
    *,
    symbols: Sequence[str],
    start: date,
    end: date,
    job_id: str,
    clock: Clock = utc_now,
) -> Fetched:
    """Ask for the span (inclusive) as if nothing of it were held, with the sessions before it that a return needs.

    The newer answer wins when the stored payloads are read next: `partitions.load`. A price that it changes leaves its
    predecessor in `revisions`.

    Raises:
        SettingsError: the span has more than `MOST_SESSIONS` sessions; nothing was asked.
        WarehouseError: the database can't be used; nothing was asked.
    """
    number = len(sessions_between(start, end))
    if number > MOST_SESSIONS:
        raise SettingsError(
            f"ask_again: {start} to {end} are {number} sessions, more than {MOST_SESSIONS}; name the sessions that are "
            "in doubt, or several shorter spans"
        )
    database = Database(settings.database_for(synthetic=source.synthetic), patience=settings.lock_patience)
    holdings: dict[str, Holdings] = {}
    if database.exists():
        with database.reading() as connection:
            holdings = read_holdings(connection, symbols, start, end)
    due = {
        symbol: expected_sessions(universe[symbol], holdings.get(symbol, Holdings()), start, end) for symbol in symbols
    }
    request = BackfillRequest(symbols, start, end, job_id, due=due, since=clock(), narrow=True)
    return Fetched.of(symbols, asking(settings, universe, source, clock).acquire(request), source)
