"""The unit of work: one symbol over one window, from a provider's bytes, or stored ones, to a verdict.

Nothing here needs the database; `market_data.ingest.commit` writes the outcome. Between the two nothing is lost by a
crash: the payload is in the raw store before anything is made of it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd

from market_data.errors import BadPayload, MarketDataError, ProviderError, RawStoreError, UnknownSymbol
from market_data.ingest.raw_store import RawStore
from market_data.instruments import Instrument
from market_data.providers import PARSERS, POINT_IN_TIME_TICKERS, parse
from market_data.providers.base import Clock, Provider
from market_data.records import EVERY, Basis, FetchRequest, ParsedBars, StoredPayload
from market_data.selection.choice import Choice, Considered, Outcome, Selector, Wanted
from market_data.sessions import last_completed_session
from market_data.validation import BatchContext, BatchVerdict, Thresholds, validate
from market_data.warehouse.holdings import HeldAnswer, Holdings

_LOG = logging.getLogger(__name__)
_ERROR_SIZE = 4096

__all__ = ["Attempt", "Prepared", "Task", "Worker", "expected_sessions", "not_covered", "parse_payload"]


@dataclass(frozen=True, slots=True)
class Task:
    """What is due for one symbol.

    Attributes:
        expected: sessions asked for that the instrument should have, ascending.
        due: those of them that need an answer, ascending.
        window: the widest span worth asking for, which contains the asked one.
        may_fetch: whether providers may be called; otherwise only stored payloads are read.
        again: whether payloads that were rejected before are passed over and asked for anew.
        since: answers received from this instant on are read before all others; None for no such preference.
        narrow: whether the window holds what is due and its context alone.
    """

    instrument: Instrument
    start: date
    end: date
    expected: pd.DatetimeIndex
    due: pd.DatetimeIndex
    window: tuple[date, date]
    holdings: Holdings
    may_fetch: bool = True
    again: bool = False
    since: datetime | None = None
    narrow: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of trying one provider: a payload (stored before, or fetched now), its verdict, or an error.

    Attributes:
        calls: requests sent for it in this job.
        stored: the payload, an error's body included where one came.
        is_fetched: whether the provider was asked now.
        asked: what the provider was asked for now, before it narrowed that; None for a stored payload.
        is_new: whether the payload came now, so that the ledger does not know of it yet.
        is_told: whether the selector knows what came of it.
        is_judged: whether the ledger knows already what validation makes of it.
        body: the payload's bytes as long as they are at hand and not parsed.
        considered: what the choice of the provider was made from.
    """

    provider: str
    synthetic: bool
    calls: int = 0
    stored: StoredPayload | None = None
    is_fetched: bool = False
    asked: FetchRequest | None = None
    is_new: bool = False
    is_told: bool = False
    is_judged: bool = False
    body: bytes | None = None
    parsed: ParsedBars | None = None
    verdict: BatchVerdict | None = None
    error: ProviderError | None = None
    considered: tuple[Considered, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether its bars may be stored."""
        return self.verdict is not None and self.verdict.rejection is None and len(self.verdict.bars) > 0

    @property
    def answer(self) -> str | None:
        """What validation made of it, as the ledger keeps it: accepted, rejected, no_data; None where nothing did."""
        if self.accepted:
            return "accepted"
        if self.verdict is not None:
            return "rejected" if self.verdict.rejection is not None else "no_data"
        return "no_data" if self.stored is not None and isinstance(self.error, UnknownSymbol) else None

    def told(self) -> dict[str, Any]:
        """The attempt as an entry of the audit's `decision`."""
        answer = "accepted" if self.accepted else "no bars"
        if self.error is not None:
            answer = f"{type(self.error).__name__}: {self.error}"
        elif self.verdict is not None and self.verdict.rejection is not None:
            answer = f"rejected: {self.verdict.rejection.reason}"
        told: dict[str, Any] = {"provider": self.provider, "calls": self.calls, "answer": answer}
        if not self.is_fetched and self.stored is not None:
            told["stored"] = self.stored.request_id
        if self.stored is not None and self.stored.request.symbol == EVERY:
            told["for_all"] = self.stored.request.start.isoformat()
        return told | ({"considered": [item.told() for item in self.considered]} if self.considered else {})


@dataclass(slots=True)
class Prepared:
    """A task under way.

    Attributes:
        left: due sessions that no accepted answer covers yet.
        attempts: those made so far, the latest one last.
        refused: the providers considered when none was left that may be asked.
    """

    task: Task
    started_at: datetime
    left: pd.DatetimeIndex
    attempts: list[Attempt] = field(default_factory=list)
    refused: tuple[Considered, ...] = ()

    def add(self, attempt: Attempt) -> None:
        """Note an attempt; what an accepted one answers is no longer left."""
        self.attempts.append(attempt)
        if attempt.accepted and attempt.stored is not None:
            self.left = not_covered(self.left, [attempt.stored.request])

    def tried(self) -> tuple[str, ...]:
        """Providers that need not be asked for what is left: asked before, or stored answers of theirs cover it."""
        providers = dict.fromkeys(attempt.provider for attempt in self.attempts)
        return tuple(provider for provider in providers if not len(self.not_asked(provider)))

    def not_asked(self, provider: str) -> pd.DatetimeIndex:
        """Sessions left for which the provider was not asked, nor looked at a stored answer of it."""
        own = [attempt for attempt in self.attempts if attempt.provider == provider]
        asked = [attempt.asked for attempt in own if attempt.asked is not None]
        return not_covered(self.left, [*asked, *(attempt.stored.request for attempt in own if attempt.stored)])

    def known_actions(self) -> pd.DataFrame:
        """The corporate actions known so far: those stored, and splits that earlier attempts told of."""
        told = [attempt.parsed.actions for attempt in self.attempts if attempt.parsed is not None]
        splits = [actions[actions["kind"] == "split"] for actions in told if len(actions)]
        if not splits:
            return self.task.holdings.actions
        known = self.task.holdings.actions[["date", "kind", "value"]]
        return pd.concat([known, *splits]).drop_duplicates(["date", "kind"])


class Worker:
    """Carries tasks out, up to what is to be written. `fetch` may run in many threads, the rest is quick.

    Args:
        job_id: the job the calls are made for.
        thresholds: limits of validation.
        synthetic: whether the store's data is made up.
    """

    def __init__(
        self,
        *,
        selector: Selector,
        raw_store: RawStore,
        thresholds: Thresholds,
        job_id: str,
        synthetic: bool,
        clock: Clock,
    ) -> None:
        self._selector = selector
        self._raw_store = raw_store
        self._thresholds = thresholds
        self._job_id = job_id
        self._synthetic = synthetic
        self._clock = clock

    def begin(self, task: Task) -> Prepared:
        """A task of which nothing is done yet."""
        return Prepared(task, self._clock(), task.due)

    def fetch(self, prepared: Prepared) -> Attempt | None:
        """A stored payload not looked at yet, else one (or an error) from a provider; None when none may be asked."""
        held = _best_held(prepared)
        if held is not None:
            return self._held(held)
        if not prepared.task.may_fetch:
            return None if prepared.attempts else self._nothing_stored(prepared.task)
        first, last = prepared.left[0].date(), prepared.left[-1].date()
        choice = self._selector.choose(Wanted(prepared.task.instrument, first, last, prepared.tried()))
        if choice.provider is None:
            prepared.refused = choice.considered
            return None
        return self._fetched(prepared, choice.provider, choice)

    def fetch_for_all(self, provider: Provider, session: date) -> Attempt:
        """A payload that answers for every symbol at once for one session, or an error; the selector is told of it."""
        every = Instrument(EVERY)
        attempt = Attempt(provider.name, provider.synthetic)
        attempt = self._read(every, self._asked(provider, every, FetchRequest(EVERY, session, session), attempt))
        if isinstance(attempt.error, UnknownSymbol):
            attempt = replace(attempt, error=None)  # no row of it is for "every symbol", of course
        return self._told(attempt, accepted=attempt.error is None)

    def judge(self, prepared: Prepared, attempt: Attempt) -> Attempt:
        """The attempt with its payload parsed and validated; the selector is told what came of it."""
        return self._told(self._judged(prepared, attempt))

    def _held(self, held: HeldAnswer) -> Attempt:
        stored = held.stored
        calls = stored.attempts if held.job_id == self._job_id and stored.request.symbol != EVERY else 0
        is_judged = held.verdict is not None or stored.request.symbol == EVERY
        return Attempt(stored.provider, self._synthetic, calls=calls, stored=stored, is_judged=is_judged)

    def _nothing_stored(self, task: Task) -> Attempt:
        return Attempt("", self._synthetic, error=_why_not_stored(task), calls=_calls_that_failed(task, self._job_id))

    def _fetched(self, prepared: Prepared, provider: Provider, choice: Choice) -> Attempt:
        task, request = prepared.task, self._widest(prepared.task)
        if choice.point_in_time_tickers:
            request = _under_one_name(request, task.instrument, prepared.not_asked(provider.name)[0].date())
        attempt = Attempt(provider.name, provider.synthetic, considered=choice.considered)
        attempt = self._asked(provider, task.instrument, request, attempt)
        if attempt.stored is not None and (attempt.stored.status != 200 or attempt.stored.size < _ERROR_SIZE):
            # What is likely an error is read at once, so that the next symbol does not run into it as well.
            attempt = self._read(task.instrument, attempt)
        attempt = attempt if attempt.error is None else self._told(attempt)
        # An archive gives the same answer again while it is not replaced.
        known = {held.stored.request_id for held in task.holdings.answers}
        return replace(attempt, is_new=attempt.stored is not None and attempt.stored.request_id not in known)

    def _asked(self, provider: Provider, instrument: Instrument, request: FetchRequest, attempt: Attempt) -> Attempt:
        attempt = replace(attempt, is_fetched=True, asked=request)
        try:
            payload = provider.fetch(instrument, request)
            stored = self._raw_store.put(payload)
        except ProviderError as error:
            kept = self._raw_store.put(error.payload) if error.payload else None
            return replace(attempt, error=error, calls=error.attempts, stored=kept, is_new=kept is not None)
        except MarketDataError as error:
            return replace(attempt, error=ProviderError(str(error)))
        # One symbol's mishap, whatever it is, must not end the work on the others.
        except Exception as error:
            return replace(attempt, error=_unexpected(error))
        return replace(attempt, stored=stored, body=payload.body, calls=payload.attempts, is_new=True)

    def _judged(self, prepared: Prepared, attempt: Attempt) -> Attempt:
        attempt = self._read(prepared.task.instrument, attempt)
        if attempt.stored is None or attempt.parsed is None:
            return attempt
        try:
            parsed = _with_known(attempt.parsed, prepared.known_actions())
            return replace(attempt, verdict=self._verdict(prepared.task, attempt.stored, parsed))
        # As in `_asked`.
        except Exception as error:
            return replace(attempt, parsed=None, error=_unexpected(error))

    def _read(self, instrument: Instrument, attempt: Attempt) -> Attempt:
        stored, body = attempt.stored, attempt.body
        if stored is None or attempt.error is not None or attempt.parsed is not None:
            return attempt
        try:
            body = self._raw_store.get(stored.sha256) if body is None else body
            parsed = parse_payload(stored, body, instrument)
        except ProviderError as error:
            return replace(attempt, body=None, error=error)
        except RawStoreError as error:
            return replace(attempt, body=None, error=ProviderError(str(error)))
        return replace(attempt, body=None, parsed=parsed)

    def _told(self, attempt: Attempt, *, accepted: bool | None = None) -> Attempt:
        """The attempt, of which the selector is told once; of one that sent no call there is nothing to tell."""
        if not attempt.is_fetched or not attempt.calls or attempt.is_told:
            return attempt
        accepted = attempt.accepted if accepted is None else accepted
        stored = attempt.stored
        latency, first = (stored.elapsed_ms, stored.request.start) if stored else (None, None)
        self._selector.tell(Outcome(attempt.provider, accepted, attempt.error, latency, first))
        return replace(attempt, is_told=True)

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
            listed_by=task.instrument.listed_by,
            complete_until=complete_until,
            thresholds=self._thresholds,
        )
        return validate(parsed, context)

    def _widest(self, task: Task) -> FetchRequest:
        last = min(max(task.window[1], task.end), last_completed_session(self._clock()))
        return FetchRequest(task.instrument.symbol, start=min(task.window[0], task.start), end=last)


def parse_payload(stored: StoredPayload, body: bytes, instrument: Instrument) -> ParsedBars:
    """Parse a stored payload; what it says depends on nothing but its bytes and its request.

    Raises:
        ProviderError: it carries no bars, is of a provider there is no parser for, or was asked for under one ticker
            for dates on which that was another security's.
    """
    if stored.provider not in PARSERS:
        raise ProviderError(f"{instrument.symbol}: no parser reads what {stored.provider!r} sent")
    return parse(
        stored.provider,
        body,
        symbol=instrument.symbol,
        interval=stored.request.interval,
        status=stored.status,
        content_type=stored.content_type,
        url=stored.url,
        fetched_at=stored.fetched_at,
        ticker=_ticker_asked(stored, instrument),
    )


def _ticker_asked(stored: StoredPayload, instrument: Instrument) -> str:
    request = stored.request
    if stored.provider not in POINT_IN_TIME_TICKERS or request.feed != "bars":
        return instrument.ticker(stored.provider)
    names = [name for name, _, _ in instrument.names_between(request.start, request.end)]
    if len(names) > 1:
        raise BadPayload(
            f"{instrument.symbol}: one answer of {stored.provider} for {request.start} to {request.end}, in which it "
            f"was {', then '.join(names)}: its bars are of several securities; they are asked for again by name"
        )
    return instrument.ticker(stored.provider, request.start, point_in_time=True)


def _under_one_name(request: FetchRequest, instrument: Instrument, on: date) -> FetchRequest:
    """The part of the request in which the instrument bears the symbol it has on `on`."""
    first, last = instrument.span_of_name(on)
    return replace(request, start=max(request.start, first or request.start), end=min(request.end, last or request.end))


def _with_known(parsed: ParsedBars, actions: pd.DataFrame) -> ParsedBars:
    """The bars beside every action that is known, so that validation does not take one for an error.

    Bars that came adjusted come with the actions they are adjusted for, or with none.
    """
    if not len(actions) or (parsed.basis is not Basis.RAW and len(parsed.actions)):
        return parsed
    known = actions[["date", "kind", "value"]]
    both = pd.concat([parsed.actions, known]).drop_duplicates(["date", "kind"]) if len(parsed.actions) else known
    return replace(parsed, actions=both)


def not_covered(sessions: pd.DatetimeIndex, requests: Sequence[FetchRequest]) -> pd.DatetimeIndex:
    """The sessions (ascending) outside of what the requests span."""
    if not len(sessions):
        return sessions
    dates = sessions.to_numpy()
    left = np.ones(len(dates), dtype=bool)
    for request in requests:
        low, high = (
            dates.searchsorted(np.datetime64(request.start)),
            dates.searchsorted(np.datetime64(request.end), side="right"),
        )
        left[low:high] = False
    return sessions if left.all() else sessions[left]


def _unexpected(error: Exception) -> ProviderError:
    _LOG.exception("unexpected error", exc_info=error)
    return ProviderError(f"unexpected {type(error).__name__}: {error}")


def _best_held(prepared: Prepared) -> HeldAnswer | None:
    """The stored answer to look at next; None when none of them covers anything of what is left.

    First those that were never judged, and those for all symbols that came since `Task.since`, oldest first: so what is
    stored follows the order in which they came, as a rebuild does, even where a process died in between. Then the one
    that covers most of what is left, the newest of equal ones; those since `Task.since` before the others.
    """
    task, looked_at = prepared.task, {a.stored.request_id for a in prepared.attempts if a.stored is not None}
    for held in task.holdings.answers:
        if held.stored.request_id not in looked_at and _is_next_in_order(held, task):
            return held
    best, most = None, (False, 0)
    for held in reversed(task.holdings.answers):
        request = held.stored.request
        if (
            request.interval != "1d"
            or held.stored.request_id in looked_at
            or (task.again and held.verdict != "accepted")
        ):
            continue
        covered = len(prepared.left) - len(not_covered(prepared.left, [request]))
        is_recent = task.since is not None and held.stored.fetched_at >= task.since
        if covered and (is_recent, covered) > most:
            best, most = held, (is_recent, covered)
    return best


def _is_next_in_order(held: HeldAnswer, task: Task) -> bool:
    request = held.stored.request
    if request.symbol == EVERY:
        is_wanted = task.since is not None and held.stored.fetched_at >= task.since
    else:
        is_wanted = held.verdict is None
    return is_wanted and request.interval == "1d" and len(not_covered(task.due, [request])) < len(task.due)


def _why_not_stored(task: Task) -> ProviderError:
    if task.holdings.failure is not None:
        error, message = task.holdings.failure[:2]
        return ProviderError(f"{error}: {message}")
    symbol = task.instrument.symbol
    if task.holdings.answers:
        last = max(held.stored.request.end for held in task.holdings.answers)
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
