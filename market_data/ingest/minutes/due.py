"""Which sessions of which symbols need intraday bars: those neither held complete nor answered by a stored payload."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from functools import cache

import duckdb
import numpy as np
import pandas as pd

from market_data.ingest.minutes.unit import SETTLED, MinuteTask, settled_sessions
from market_data.ingest.unit import expected_sessions, not_covered
from market_data.instruments import Instrument, Universe
from market_data.records import FetchRequest
from market_data.sessions import last_completed_session, session_hours
from market_data.warehouse.holdings import HeldAnswer, Holdings, read_holdings
from market_data.warehouse.minutes_held import MinutesHeld, read_minutes_held

__all__ = ["minute_tasks"]


_NOTHING_TOLD = pd.DataFrame({name: [] for name in ("kind", "first_date", "last_date")})


def minute_tasks(
    connection: duckdb.DuckDBPyConnection | None,
    universe: Universe,
    symbols: Sequence[str],
    span: tuple[date, date],
    interval: str,
    *,
    now: datetime,
    retry_rejected: bool = False,
) -> list[MinuteTask]:
    """A task for each symbol, with nothing due where nothing needs an answer.

    Args:
        connection: to the database; None before there is one.
        span: first and last date, both inclusive; sessions that ended less than `SETTLED` ago are left out.
        retry_rejected: whether those whose batch was rejected may be asked for of the same provider anew.
    """
    start, end = span[0], min(span[1], last_completed_session(now - SETTLED))
    held, minutes = dict[str, Holdings](), dict[str, MinutesHeld]()
    if connection is not None:
        held = read_holdings(connection, symbols, *span)
        minutes = read_minutes_held(connection, symbols, *span, interval)
    return [
        _task(
            universe[symbol],
            held.get(symbol, Holdings(is_new=True)),
            minutes.get(symbol, MinutesHeld()),
            (start, end),
            interval,
            retry_rejected=retry_rejected,
        )
        for symbol in symbols
    ]


def _task(
    instrument: Instrument,
    held: Holdings,
    minutes: MinutesHeld,
    span: tuple[date, date],
    interval: str,
    *,
    retry_rejected: bool,
) -> MinuteTask:
    expected = expected_sessions(instrument, held, *span)
    complete = [day for day, length in minutes.minutes.items() if length >= _length(day)]
    due = expected[~expected.isin(_sessions(complete))]
    for answer in minutes.answers:
        if answer.verdict == "accepted" and len(due):
            due = due[~due.isin(settled_sessions(due, answer.stored, minutes.minutes))]
    refused = [
        answer
        for answer in minutes.answers
        if answer.verdict == "no_data" or (answer.verdict == "rejected" and not retry_rejected)
    ]
    answered = tuple((answer.stored.provider, request) for answer in refused if (request := _final(answer, expected)))
    return MinuteTask(
        instrument=instrument,
        start=span[0],
        end=span[1],
        interval=interval,
        expected=expected,
        due=due,
        actions=held.actions,
        told=_NOTHING_TOLD if held.told is None else held.told,
        unjudged=tuple(answer for answer in minutes.answers if _is_unjudged(answer, due)),
        answered=answered,
        rejected=any(answer.verdict == "rejected" for answer in refused),
        held=frozenset(minutes.minutes),
    )


def _is_unjudged(answer: HeldAnswer, due: pd.DatetimeIndex) -> bool:
    return answer.verdict is None and len(not_covered(due, [answer.stored.request])) < len(due)


def _final(answer: HeldAnswer, expected: pd.DatetimeIndex) -> FetchRequest | None:
    """The part of a request that an answer without usable bars is the provider's last word on."""
    request = answer.stored.request
    final = settled_sessions(expected, answer.stored, ())
    return FetchRequest(request.symbol, request.start, final[-1].date(), request.interval) if len(final) else None


@cache
def _length(session: date) -> int:
    """Minutes of a session."""
    opening, close = session_hours(session)
    return int((close - opening).total_seconds() // 60)


def _sessions(days: Iterable[date]) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(np.array(sorted(days), dtype="datetime64[s]"))
