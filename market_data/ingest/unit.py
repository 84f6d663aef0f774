"""The unit of work: one symbol over one window, from a provider's bytes, or stored ones, to a verdict.

Nothing here needs the database; `market_data.ingest.commit` writes the outcome. Between the two nothing is lost by a
crash: the payload is in the raw store before anything is made of it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

import pandas as pd

from market_data.errors import ProviderError, RawStoreError
from market_data.ingest.raw_store import RawStore
from market_data.instruments import Instrument
from market_data.providers import parse
from market_data.providers.base import Clock, Provider
from market_data.records import FetchRequest, ParsedBars, StoredPayload
from market_data.selection.order import Candidate, Selector
from market_data.sessions import last_completed_session
from market_data.validation import BatchContext, BatchVerdict, Thresholds, validate
from market_data.warehouse.holdings import Holdings

_LOG = logging.getLogger(__name__)

__all__ = ["Attempt", "Prepared", "Task", "Worker", "expected_sessions", "parse_payload"]


@dataclass(frozen=True, slots=True)
class Task:
    """What is due for one symbol.

    Attributes:
        expected: sessions asked for that the instrument should have, ascending.
        window: the widest span worth asking for, which contains the asked one.
        may_fetch: whether providers may be called; otherwise only stored payloads are read.
        again: whether payloads that were rejected before are passed over and asked for anew.
    """

    instrument: Instrument
    start: date
    end: date
    expected: pd.DatetimeIndex
    window: tuple[date, date]
    holdings: Holdings
    may_fetch: bool = True
    again: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of trying one provider: a payload (stored before, or fetched now), its verdict, or an error.

    Attributes:
        calls: requests sent in this job.
        is_new: whether the payload was fetched now, so that its coverage is not noted yet.
        body: the payload's bytes as long as they are at hand and not parsed.
        masked: why the provider was passed over.
    """

    provider: str
    synthetic: bool
    calls: int = 0
    stored: StoredPayload | None = None
    is_new: bool = False
    body: bytes | None = None
    parsed: ParsedBars | None = None
    verdict: BatchVerdict | None = None
    error: ProviderError | None = None
    masked: str | None = None

    @property
    def accepted(self) -> bool:
        """Whether its bars may be stored."""
        return self.verdict is not None and self.verdict.rejection is None and len(self.verdict.bars) > 0

    def told(self) -> dict[str, Any]:
        """The attempt as an entry of the audit's `decision`."""
        if self.masked:
            return {"provider": self.provider, "masked": self.masked}
        answer = "accepted" if self.accepted else "no bars"
        if self.error is not None:
            answer = f"{type(self.error).__name__}: {self.error}"
        elif self.verdict is not None and self.verdict.rejection is not None:
            answer = f"rejected: {self.verdict.rejection.reason}"
        return {"provider": self.provider, "calls": self.calls, "answer": answer}


@dataclass(slots=True)
class Prepared:
    """A task under way, with the attempts made for it so far, the decisive one last.

    Attributes:
        candidates: the providers that are left to try.
    """

    task: Task
    started_at: datetime
    candidates: Iterator[Candidate]
    attempts: list[Attempt] = field(default_factory=list)


class Worker:
    """Carries tasks out, up to what is to be written. `fetch` may run in many threads, the rest is quick.

    Args:
        job_id: the job the calls are made for.
        thresholds: limits of validation.
    """

    def __init__(
        self, *, selector: Selector, raw_store: RawStore, thresholds: Thresholds, job_id: str, clock: Clock
    ) -> None:
        self._selector = selector
        self._raw_store = raw_store
        self._thresholds = thresholds
        self._job_id = job_id
        self._clock = clock

    def begin(self, task: Task) -> Prepared:
        """A task of which nothing is done yet."""
        return Prepared(task, self._clock(), iter(self._selector.candidates(task.instrument, self._widest(task))))

    def fetch(self, prepared: Prepared) -> Attempt | None:
        """A payload, or an error, from the next provider that may be asked; None when none is left."""
        for candidate in prepared.candidates:
            provider = candidate.provider
            attempt = Attempt(provider.name, provider.synthetic)
            if candidate.masked is None:
                try:
                    return self._payload(prepared.task, provider, attempt)
                # One symbol's mishap, whatever it is, must not end the work on the others.
                except Exception as error:
                    return replace(attempt, error=_unexpected(error))
            prepared.attempts.append(replace(attempt, masked=candidate.masked))
        return None

    def read(self, prepared: Prepared, attempt: Attempt) -> Attempt:
        """The attempt with its payload parsed."""
        stored, body = attempt.stored, attempt.body
        if stored is None or attempt.error is not None:
            return attempt
        try:
            body = self._raw_store.get(stored.sha256) if body is None else body
            parsed = parse_payload(stored, body, prepared.task.instrument)
        except ProviderError as error:
            return replace(attempt, body=None, error=error)
        except RawStoreError as error:
            return replace(attempt, body=None, error=ProviderError(str(error)))
        return replace(attempt, body=None, parsed=parsed)

    def judge(self, prepared: Prepared, attempt: Attempt) -> Attempt:
        """The attempt with its payload parsed and validated."""
        attempt = self.read(prepared, attempt)
        if attempt.stored is None or attempt.parsed is None:
            return attempt
        try:
            return replace(attempt, verdict=self._verdict(prepared.task, attempt.stored, attempt.parsed))
        # As in `fetch`.
        except Exception as error:
            return replace(attempt, parsed=None, error=_unexpected(error))

    def _verdict(self, task: Task, stored: StoredPayload, parsed: ParsedBars) -> BatchVerdict:
        request = stored.request
        complete_until = last_completed_session(stored.fetched_at)
        context = BatchContext(
            symbol=task.instrument.symbol,
            expected=sessions_due(task.instrument, request.start, min(request.end, complete_until)),
            start=request.start,
            end=request.end,
            start_is_known=task.instrument.start_is_known(request.start),
            listed_from=task.instrument.listed_from,
            complete_until=complete_until,
            thresholds=self._thresholds,
        )
        return validate(parsed, context)

    def _widest(self, task: Task) -> FetchRequest:
        last = min(max(task.window[1], task.end), last_completed_session(self._clock()))
        return FetchRequest(task.instrument.symbol, start=min(task.window[0], task.start), end=last)

    def _payload(self, task: Task, provider: Provider, attempt: Attempt) -> Attempt:
        held = _newest_that_answers(task, provider.name)
        if held is not None:
            stored, job_id = held
            return replace(attempt, stored=stored, calls=stored.attempts if job_id == self._job_id else 0)
        if not task.may_fetch:
            return replace(attempt, error=_why_not_stored(task), calls=_calls_that_failed(task, self._job_id))
        try:
            payload = provider.fetch(task.instrument, self._widest(task))
        except ProviderError as error:
            return replace(attempt, error=error, calls=error.attempts)
        stored = self._raw_store.put(payload)
        is_new = all(stored.request_id != known.request_id for known, _ in task.holdings.payloads)
        return replace(attempt, stored=stored, body=payload.body, calls=payload.attempts, is_new=is_new)


def parse_payload(stored: StoredPayload, body: bytes, instrument: Instrument) -> ParsedBars:
    """Parse a stored payload; what it says depends on nothing but its bytes and its request.

    Raises:
        ProviderError: it carries no bars.
    """
    return parse(
        stored.provider,
        body,
        symbol=stored.request.symbol,
        interval=stored.request.interval,
        status=stored.status,
        content_type=stored.content_type,
        url=stored.url,
        fetched_at=stored.fetched_at,
        ticker=instrument.ticker("stooq"),
    )


def _unexpected(error: Exception) -> ProviderError:
    _LOG.exception("unexpected error", exc_info=error)
    return ProviderError(f"unexpected {type(error).__name__}: {error}")


def _newest_that_answers(task: Task, provider: str) -> tuple[StoredPayload, str | None] | None:
    """The newest stored payload that answers for every due session; for some of them, where no call may be made."""
    if task.again or not len(task.expected):
        return None
    first, last = task.expected[0].date(), task.expected[-1].date()
    partial = None
    for stored, job_id in reversed(task.holdings.payloads):
        request = stored.request
        if stored.provider != provider or request.interval != "1d":
            continue
        if request.start <= first and last <= request.end:
            return stored, job_id
        if partial is None and request.start <= last and first <= request.end:
            partial = stored, job_id
    return None if task.may_fetch else partial


def _why_not_stored(task: Task) -> ProviderError:
    if task.holdings.failure is not None:
        error, message = task.holdings.failure[:2]
        return ProviderError(f"{error}: {message}")
    symbol = task.instrument.symbol
    if task.holdings.payloads:
        last = max(stored.request.end for stored, _ in task.holdings.payloads)
        return ProviderError(f"{symbol}: what is stored answers up to {last}, nothing of {task.start} to {task.end}")
    return ProviderError(f"{symbol}: no stored payload answers {task.start} to {task.end}; fetch first")


def _calls_that_failed(task: Task, job_id: str) -> int:
    failure = task.holdings.failure
    return failure[2] if failure is not None and failure[3] == job_id else 0


def sessions_due(instrument: Instrument, start: date, end: date) -> pd.DatetimeIndex:
    """Sessions of `start..end` within the listing; none when the span ends before it starts."""
    if end < start:
        return pd.DatetimeIndex([], dtype="datetime64[s]")
    return instrument.expected_sessions(start, end)


def expected_sessions(instrument: Instrument, held: Holdings, start: date, end: date) -> pd.DatetimeIndex:
    """Sessions of `start..end` the instrument should have; its first bar bounds them where the listing is not known."""
    sessions = sessions_due(instrument, start, end)
    if held.first_bar and not instrument.start_is_known(start):
        sessions = sessions[sessions >= pd.Timestamp(held.first_bar)]
    return sessions
