"""Intraday bars that are stored as they were sent, turned to raw once the corporate actions are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb

from market_data.ingest.minutes.basis import minutes_as_stored
from market_data.ingest.minutes.commit import stored_rows, upsert_minutes
from market_data.ingest.minutes.unit import MinuteAttempt, judged
from market_data.ingest.raw_store import RawStore
from market_data.instruments import Instrument
from market_data.records import Basis
from market_data.validation import Thresholds
from market_data.warehouse.actions import read_actions, read_told
from market_data.warehouse.minutes_held import adjusted_minute_payloads, forget_adjusted

__all__ = ["reconvert_minutes"]

_ACCEPTED = Thresholds(null_threshold=1.0)
"""The bars were accepted once; whether they would be today does not matter."""


def reconvert_minutes(
    connection: duckdb.DuckDBPyConnection,
    raw_store: RawStore,
    instruments: Mapping[str, Instrument],
    symbols: Sequence[str],
) -> int:
    """Turn intraday bars that are not raw to raw where the actions known now allow it; call it inside `transaction`.

    The payloads are read from the raw store; those of polls, which are not there, are left as they are.

    Returns:
        The number of bars that changed.
    """
    payloads = adjusted_minute_payloads(connection, symbols)
    if not payloads:
        return 0
    named = sorted({stored.request.symbol for stored, _ in payloads})
    actions, told = read_actions(connection, named), read_told(connection, named)
    changed = 0
    for stored, sessions in payloads:
        symbol = stored.request.symbol
        if symbol not in instruments or not len(told[symbol]):
            continue
        attempt = MinuteAttempt(stored.provider, False, stored.request, stored=stored)
        attempt = judged(attempt, instruments[symbol], raw_store, _ACCEPTED)
        if attempt.parsed is None or attempt.verdict is None:
            continue
        stays = minutes_as_stored(attempt.verdict.bars, attempt.parsed, stored, actions[symbol], told[symbol])
        rows = stored_rows(stays, stored)
        if stays.basis is not Basis.RAW or not len(rows):
            continue
        kept = rows[rows["session_date"].isin(sessions)]
        changed += upsert_minutes(connection, kept, stored.request.interval).updated
        forget_adjusted(connection, symbol, stored.sha256)
    return changed
