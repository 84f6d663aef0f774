"""The unit of work for intraday bars: one symbol, one window of sessions after the other, from payload to verdict.

Nothing here needs the database; `market_data.ingest.minutes.commit` writes what an attempt came to. As with daily
bars, a payload is in the raw store before anything is made of it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

import pandas as pd

from market_data.clock import Clock
from market_data.errors import MarketDataError, ProviderError, RawStoreError, UnknownSymbol
from market_data.ingest.raw_store import RawStore
from market_data.ingest.unit import not_covered, parse_payload
from market_data.instruments import Instrument
from market_data.providers.base import Provider
from market_data.records import FetchRequest, ParsedBars, StoredPayload
from market_data.selection.choice import Choice, Considered, Outcome, Selector, Wanted
from market_data.sessions import closes
from market_data.validation.batch import Thresholds
from market_data.validation.minutes import MinuteVerdict, validate_minutes
from market_data.warehouse.holdings import HeldAnswer
from market_data.warehouse.intraday import INTERVALS

__all__ = ["SETTLED", "MinuteAttempt", "MinuteTask", "MinuteWork", "MinuteWorker", "judged", "settled_sessions"]

SETTLED = timedelta(hours=1)
"""After the close from which on a session's bars are final: Yahoo gives the last ones for final an hour late."""

SURELY_EMPTY = timedelta(hours=24)
"""After the close from which on a session without bars has none: some plans serve a session at the end of its day."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MinuteTask:
    """What is due for one symbol.

    Attributes:
        expected: sessions asked for that the instrument should have, ascending.
        due: those of them that need an answer, ascending.
        unjudged: stored answers that nothing was made of yet, oldest first.
        answered: spans that providers have answered for without usable bars, by provider.
        rejected: whether one of these answers was refused.
        held: sessions that have final bars.
        actions, told: the corporate actions known, as `read_actions` and `read_told` give them.
    """

    instrument: Instrument
    start: date
    end: date
    interval: str
    expected: pd.DatetimeIndex
    due: pd.DatetimeIndex
    actions: pd.DataFrame
    told: pd.DataFrame
    unjudged: tuple[HeldAnswer, ...] = ()
    answered: tuple[tuple[str, FetchRequest], ...] = ()
    rejected: bool = False
    held: frozenset[date] = frozenset()


@dataclass(frozen=True, slots=True)
class MinuteAttempt:
    """What came of one payload, stored before or fetched now, or of trying to get one.

    Attributes:
        asked: what the provider was asked for, before it narrowed that.
        is_new: whether the ledger does not know of the payload yet.
        calls: requests sent for it now.
    """

    provider: str
    synthetic: bool
    asked: FetchRequest
    considered: tuple[Considered, ...] = ()
    calls: int = 0
    stored: StoredPayload | None = None
    is_new: bool = False
    parsed: ParsedBars | None = None
    verdict: MinuteVerdict | None = None
    error: ProviderError | None = None

    @property
    def accepted(self) -> bool:
        """Whether its bars may be stored."""
        return self.verdict is not None and self.verdict.rejection is None and len(self.verdict.bars) > 0

    @property
    def answer(self) -> str | None:
        """What validation made of it, as the ledger keeps it: accepted, rejected, no_data; None where nothing did."""
        if self.verdict is not None:
            return "accepted" if self.accepted else "rejected" if self.verdict.rejection else "no_data"
        return "no_data" if self.stored is not None and isinstance(self.error, UnknownSymbol) else None

    def without_bars(self) -> MinuteAttempt:
        """The attempt once its bars are written, without them, but for one row if there were any."""
        verdict = self.verdict and replace(self.verdict, bars=self.verdict.bars.iloc[:1].copy())
        return replace(self, parsed=None, verdict=verdict)

    def told(self) -> dict[str, Any]:
        """The attempt as an entry of the audit's `decision`."""
        answer: str | None = self.answer
        if self.error is not None:
            answer = f"{type(self.error).__name__}: {self.error}"
        elif self.verdict is not None and self.verdict.rejection is not None:
            answer = f"rejected: {self.verdict.rejection.reason}"
        request = self.stored.request if self.stored else self.asked
        told: dict[str, Any] = {"provider": self.provider, "calls": self.calls, "answer": answer}
        told |= {"start": request.start.isoformat(), "end": request.end.isoformat()}
        if self.verdict is not None:
            told |= {"off_session": self.verdict.off_session, "nulls": self.verdict.nulls}
            told |= {"duplicates": self.verdict.duplicates}
        if not self.calls and self.stored is not None:
            told["stored"] = self.stored.request_id
        return told | ({"considered": [item.told() for item in self.considered]} if self.considered else {})


@dataclass(slots=True)
class MinuteWork:
    """A task under way.

    Attributes:
        left: due sessions that no answer covers yet and that somebody may still be asked for.
        given_up: due sessions that nobody may be asked for.
        refused: the providers considered when there was nobody.
        tried: spans each provider need not be asked for again.
        waiting: stored answers not judged yet.
        with_bars: sessions of accepted bars.
    """

    task: MinuteTask
    started_at: datetime
    left: pd.DatetimeIndex
    waiting: list[HeldAnswer]
    tried: list[tuple[str, FetchRequest]]
    given_up: list[pd.Timestamp] = field(default_factory=list)
    refused: tuple[Considered, ...] = ()
    attempts: list[MinuteAttempt] = field(default_factory=list)
    with_bars: set[date] = field(default_factory=set)

    @classmethod
    def begin(cls, task: MinuteTask, now: datetime) -> MinuteWork:
        """A task of which nothing is done yet."""
        return cls(task, now, task.due, list(task.unjudged), list(task.answered))

    def add(self, attempt: MinuteAttempt) -> None:
        """Note an attempt; what an accepted one answers is no longer left."""
        span, stored = attempt.asked, attempt.stored
        if stored is not None:
            span = replace(span, start=min(span.start, stored.request.start), end=stored.request.end)
        self.tried.append((attempt.provider, span))
        if attempt.accepted and stored is not None and attempt.verdict is not None:
            held = {day.date() for day in attempt.verdict.bars["session_date"].unique()}
            self.with_bars |= held
            settled = settled_sessions(self.left, stored, held)
            self.left = self.left[~self.left.isin(settled)]
        self.attempts.append(attempt)

    def tried_for(self, session: pd.Timestamp) -> tuple[str, ...]:
        """Providers that need not be asked for a session."""
        day = session.date()
        return tuple(dict.fromkeys(name for name, span in self.tried if span.start <= day <= span.end))

    def give_up(self, considered: tuple[Considered, ...], later: Iterable[date]) -> None:
        """Nobody may be asked for the first session left: go on with the first for which that may be otherwise.

        Args:
            later: dates from which on providers reach.
        """
        first = self.left[0].date()
        edges = [*later, *(span.end + timedelta(days=1) for _, span in self.tried)]
        until = min((edge for edge in edges if edge > first), default=None)
        passed = len(self.left) if until is None else int(self.left.searchsorted(pd.Timestamp(until)))
        self.given_up += list(self.left[:passed])
        self.left = self.left[passed:]
        self.refused = considered


class MinuteWorker:
    """Gets the next payload of a task and judges it; safe to be used from many threads.

    Args:
        reaches: dates from which on providers serve bars of the interval.
    """

    def __init__(
        self,
        *,
        selector: Selector,
        raw_store: RawStore,
        thresholds: Thresholds,
        reaches: Sequence[date],
        synthetic: bool,
        clock: Clock,
    ) -> None:
        self._selector = selector
        self._raw_store = raw_store
        self._thresholds = thresholds
        self._reaches = tuple(reaches)
        self._synthetic = synthetic
        self._clock = clock

    def step(self, work: MinuteWork) -> MinuteAttempt | None:
        """The next attempt: a stored answer not judged yet, else a provider's; None when nothing is left to try."""
        task = work.task
        if work.waiting:
            held = work.waiting.pop(0)
            attempt = MinuteAttempt(held.stored.provider, self._synthetic, held.stored.request, stored=held.stored)
            return self._judged(task, attempt, None)
        while len(work.left):
            first, last = work.left[0].date(), work.left[-1].date()
            wanted = Wanted(task.instrument, first, last, work.tried_for(work.left[0]), interval=task.interval)
            choice = self._selector.choose(wanted)
            if choice.provider is not None:
                return self._fetched(task, choice.provider, choice, first, last)
            work.give_up(choice.considered, self._reaches)
        return None

    def _fetched(self, task: MinuteTask, provider: Provider, choice: Choice, first: date, last: date) -> MinuteAttempt:
        if choice.point_in_time_tickers:
            last = min(last, task.instrument.span_of_name(first)[1] or last)
        request = FetchRequest(task.instrument.symbol, first, last, task.interval)
        attempt = MinuteAttempt(provider.name, provider.synthetic, request, choice.considered)
        try:
            payload = provider.fetch(task.instrument, request)
            stored = self._raw_store.put(payload)
        except ProviderError as error:
            kept = self._raw_store.put(error.payload) if error.payload else None
            return self._told(replace(attempt, error=error, calls=error.attempts, stored=kept, is_new=kept is not None))
        except MarketDataError as error:
            return replace(attempt, error=ProviderError(str(error)))
        # One symbol's mishap, whatever it is, must not end the work on the others.
        except Exception as error:
            return replace(attempt, error=_unexpected(error))
        attempt = replace(attempt, stored=stored, calls=payload.attempts, is_new=True)
        return self._told(self._judged(task, attempt, payload.body))

    def _judged(self, task: MinuteTask, attempt: MinuteAttempt, body: bytes | None) -> MinuteAttempt:
        return judged(attempt, task.instrument, self._raw_store, self._thresholds, body=body)

    def _told(self, attempt: MinuteAttempt) -> MinuteAttempt:
        """The attempt, of which the selector is told where a call was sent."""
        if attempt.calls:
            latency = attempt.stored.elapsed_ms if attempt.stored else None
            outcome = Outcome(attempt.provider, attempt.accepted, attempt.error, latency, attempt.asked.start)
            self._selector.tell(outcome)
        return attempt


def judged(
    attempt: MinuteAttempt,
    instrument: Instrument,
    raw_store: RawStore,
    thresholds: Thresholds,
    *,
    body: bytes | None = None,
) -> MinuteAttempt:
    """An attempt with its payload parsed and validated, over all of what that answers.

    Args:
        body: the payload's bytes, where they are at hand.
    """
    stored = attempt.stored
    assert stored is not None
    request = stored.request
    try:
        parsed = parse_payload(stored, raw_store.get(stored.sha256) if body is None else body, instrument)
        verdict = validate_minutes(parsed.bars, request.start, request.end, INTERVALS[request.interval], thresholds)
    except ProviderError as error:
        return replace(attempt, error=error)
    except RawStoreError as error:
        return replace(attempt, error=ProviderError(str(error)))
    # One payload's mishap, whatever it is, must not end the work on the others.
    except Exception as error:
        return replace(attempt, error=_unexpected(error))
    return replace(attempt, parsed=parsed, verdict=verdict)


def settled_sessions(
    sessions: pd.DatetimeIndex, stored: StoredPayload, with_bars: Iterable[date], *, grace: timedelta = SETTLED
) -> pd.DatetimeIndex:
    """The sessions a stored answer says the last word on: over when it came, and with bars or surely without any."""
    request = stored.request
    spanned = sessions[~sessions.isin(not_covered(sessions, [request]))]
    if not len(spanned):
        return spanned
    ended = closes(spanned)
    has_bars = spanned.isin(pd.DatetimeIndex(sorted(with_bars)))
    received = pd.Timestamp(stored.fetched_at)
    return spanned[((ended + grace <= received) & has_bars) | (ended + SURELY_EMPTY <= received)]


def _unexpected(error: Exception) -> ProviderError:
    _LOG.exception("unexpected error", exc_info=error)
    return ProviderError(f"unexpected {type(error).__name__}: {error}")
