"""Writing the corporate actions that a stored payload tells, and turning the bars that depend on them anew.

Ingest, a run taken up after a crash and a rebuild do the same with the same payload.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import duckdb
import pandas as pd

from market_data.corporate_actions import spans_told
from market_data.errors import ProviderError, RawStoreError
from market_data.ingest.action_file import parse_import
from market_data.ingest.convert import earliest_change, reconvert
from market_data.ingest.minutes.reconvert import reconvert_minutes
from market_data.ingest.raw_store import RawStore
from market_data.ingest.unit import parse_payload
from market_data.instruments import Universe
from market_data.providers.bodies import Answer
from market_data.providers.polygon import actions_by_ticker
from market_data.records import EVERY, StoredPayload
from market_data.warehouse.actions import read_actions, record_actions, record_actions_for_all
from market_data.warehouse.store import record_coverage

__all__ = ["Applied", "apply_import", "apply_payload", "read_for_all"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Applied:
    """What a payload changed: symbols with news, and why the bars of some could not be turned by them."""

    changed: list[str]
    failed: dict[str, str]


def apply_payload(
    connection: duckdb.DuckDBPyConnection,
    raw_store: RawStore,
    universe: Universe,
    stored: StoredPayload,
    *,
    job_id: str | None = None,
) -> Applied:
    """Write the actions a stored vendor's payload tells, and turn the bars that depend on them anew.

    Call it inside `transaction`; a payload read before changes nothing.

    Raises:
        ProviderError, RawStoreError: it tells nothing, cannot be read, or its symbol is not in the universe.
    """
    symbol = stored.request.symbol
    told = spans_told(stored)
    if symbol == EVERY:
        actions = _of_universe(read_for_all(raw_store, stored), universe)
        before = read_actions(connection, universe)
        is_new = not _is_noted(connection, stored)
        changed = record_actions_for_all(connection, stored, actions, told)
        # That there is no split is news too, for bars that waited to be turned.
        waiting = _not_raw(connection) if is_new else []
        symbols = [name for name in dict.fromkeys([*changed, *waiting]) if name in universe]
    else:
        if symbol not in universe:
            raise ProviderError(f"{symbol} is not in the universe")
        parsed = parse_payload(stored, raw_store.get(stored.sha256), universe[symbol])
        before = read_actions(connection, [symbol])
        as_of = parsed.adjusted_as_of
        is_changed = record_actions(connection, symbol, stored, parsed.actions, told, adjusted_as_of=as_of)
        changed = symbols = [symbol] if is_changed else []
    _note(connection, stored, job_id)
    return Applied(changed, _turned(connection, raw_store, universe, before, symbols, now=stored.fetched_at))


def apply_import(
    connection: duckdb.DuckDBPyConnection,
    raw_store: RawStore,
    universe: Universe,
    stored: StoredPayload,
    *,
    job_id: str | None = None,
) -> Applied:
    """Write the actions of a stored import, and turn the bars that depend on them anew; call it inside `transaction`.

    Symbols that are not in the universe any more are passed over.

    Raises:
        ActionFileError, RawStoreError: the file is not what it was when it was imported.
    """
    actions, told = parse_import(raw_store.get(stored.sha256), name=stored.url)
    known = [symbol for symbol in dict.fromkeys(actions["symbol"]) if symbol in universe]
    before = read_actions(connection, known)
    changed = []
    for symbol in known:
        own = actions.loc[actions["symbol"] == symbol, ["date", "kind", "value"]]
        if record_actions(connection, symbol, stored, own, told, adjusted_as_of=None):
            changed.append(symbol)
    _note(connection, stored, job_id)
    return Applied(changed, _turned(connection, raw_store, universe, before, changed, now=stored.fetched_at))


def _turned(
    connection: duckdb.DuckDBPyConnection,
    raw_store: RawStore,
    universe: Universe,
    before: Mapping[str, pd.DataFrame],
    symbols: Iterable[str],
    *,
    now: datetime,
) -> dict[str, str]:
    """Turn the symbols' bars by their actions; returns why that failed, by symbol."""
    failed = {}
    for symbol in symbols:
        since = earliest_change(before[symbol], read_actions(connection, [symbol])[symbol])
        try:
            reconvert(connection, raw_store, universe, symbol, now=now, since=since or now.date())
            reconvert_minutes(connection, raw_store, universe, [symbol])
        except (ProviderError, RawStoreError) as error:
            _LOG.warning("%s: its bars stay as they are, though actions changed: %s", symbol, error)
            failed[symbol] = f"bars were not turned: {type(error).__name__}: {error}"
    return failed


def _note(connection: duckdb.DuckDBPyConnection, stored: StoredPayload, job_id: str | None) -> None:
    if not _is_noted(connection, stored):
        record_coverage(connection, stored, job_id=job_id, verdict="accepted")


def _is_noted(connection: duckdb.DuckDBPyConnection, stored: StoredPayload) -> bool:
    query = "SELECT 1 FROM coverage WHERE request_id = ?"
    return connection.execute(query, [stored.request_id]).fetchone() is not None


def _not_raw(connection: duckdb.DuckDBPyConnection) -> list[str]:
    query = (
        "SELECT symbol FROM price_history_daily WHERE basis <> 'raw' "
        "UNION SELECT symbol FROM price_history_intraday WHERE basis <> 'raw' ORDER BY symbol"
    )
    return [row[0] for row in connection.execute(query).fetchall()]


def _of_universe(by_ticker: Mapping[str, pd.DataFrame], universe: Universe) -> dict[str, pd.DataFrame]:
    tickers = {instrument.ticker("polygon").upper(): symbol for symbol, instrument in universe.items()}
    return {tickers[ticker]: actions for ticker, actions in by_ticker.items() if ticker in tickers}


def read_for_all(raw_store: RawStore, stored: StoredPayload) -> dict[str, pd.DataFrame]:
    """The actions of every ticker that a stored payload of Polygon's tells, by ticker in upper case.

    Raises:
        ProviderError, RawStoreError: it tells none, or cannot be read.
    """
    answer = Answer(
        symbol=EVERY,
        ticker=EVERY,
        status=stored.status,
        content_type=stored.content_type,
        url=stored.url,
        fetched_at=stored.fetched_at,
    )
    return actions_by_ticker(raw_store.get(stored.sha256), answer)
