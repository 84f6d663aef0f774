"""Asking for the newest minutes of many symbols, side by side, in the time one poll has."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, datetime
from statistics import median

from market_data.errors import MarketDataError, ProviderError
from market_data.ingest.intraday.packs import Asked, Poll
from market_data.ingest.intraday.reading import ANSWERED, EMPTY, INTERVAL, ReadPoll, read_answer
from market_data.ingest.sources import Source
from market_data.instruments import Universe
from market_data.providers.base import Clock, Provider
from market_data.records import FetchRequest
from market_data.selection.choice import Choice, Outcome, Wanted

__all__ = ["Asker"]

_LOG = logging.getLogger(__name__)
_TOLD = 3  # errors that a poll tells the selector of a vendor at most, once it is over: so many close a vendor


class Asker:
    """Asks a source's vendors for minutes of one session.

    Args:
        stop: once set, nothing new is asked for.
    """

    def __init__(
        self, source: Source, universe: Universe, session: date, *, job_id: str, clock: Clock, stop: threading.Event
    ) -> None:
        self._source = source
        self._universe = universe
        self._session = session
        self._job_id = job_id
        self._clock = clock
        self._stop = stop
        self._turn: Counter[str] = Counter()
        self._polls = 0
        self._troubled: set[str] = set()
        self._lock = threading.Lock()

    def ask(self, due: Mapping[str, datetime], *, until: datetime | None, skipped: int) -> Poll:
        """Ask for each symbol's minutes from an instant on.

        Who was not asked for longest comes first. What cannot be asked for before `until` is left out, so that a poll
        ends in time, whatever the vendors' rates.

        Args:
            due: by symbol, the instant to ask from.
            until: no request begins after it; None for no bound.
        """
        polled_at, started = self._clock(), time.perf_counter()
        self._polls += 1
        queues, providers, left_out = self._chosen(sorted(due, key=self._turn.__getitem__))
        own = time.perf_counter() - started
        asked: list[Asked] = []
        workers = [name for name in queues for _ in range(self._concurrency(name, len(queues[name])))]
        if workers:
            with ThreadPoolExecutor(len(workers), "poll") as pool:
                loops = [pool.submit(self._work, providers[name], queues[name], due, until, asked) for name in workers]
                for loop in loops:
                    loop.result()
        for name, queue in queues.items():
            why = "interrupted" if self._stop.is_set() else f"not reached in time at the rate of {name}"
            left_out |= dict.fromkeys(queue, why)
        places = {symbol: place for place, symbol in enumerate(due)}
        return Poll(
            session=self._session,
            polled_at=polled_at,
            job_id=self._job_id,
            asked=tuple(sorted(asked, key=lambda one: places[one.symbol])),
            left_out=left_out,
            skipped=skipped,
            own_ms=own * 1000,
        )

    def tell(self, read: ReadPoll, *, is_overdue: bool) -> None:
        """Tell the selector what the answers were worth, once a vendor.

        Args:
            is_overdue: whether minutes are wanted that a vendor of live ones has by now, so that one which answers
                nobody is no such vendor.
        """
        for name in dict.fromkeys(asked.provider for asked in read.poll.asked):
            found = read.by_outcome(name)
            own = [asked.payload for asked in read.poll.asked if asked.provider == name and asked.payload is not None]
            if found[ANSWERED] + found[EMPTY]:
                worth = found[ANSWERED] > 0 or not is_overdue
                latency = median(payload.elapsed_ms for payload in own) if own else None
                self._source.selector.tell(Outcome(name, worth, latency_ms=latency, first=self._session))
            for error in self._late_errors(read, name)[:_TOLD]:
                self._source.selector.tell(Outcome(name, accepted=False, error=error, first=self._session))

    def _late_errors(self, read: ReadPoll, name: str) -> list[ProviderError]:
        """Errors that came with status 200, so that nobody knew of them before the answers were read."""
        return [
            error
            for asked, outcome, error in zip(read.poll.asked, read.outcomes, read.errors, strict=True)
            if asked.provider == name and error is not None and outcome != EMPTY
            and asked.payload is not None and asked.payload.status == 200
        ]  # fmt: skip

    def _chosen(self, symbols: list[str]) -> tuple[dict[str, deque[str]], dict[str, Provider], dict[str, str]]:
        """The symbols to ask each vendor for, the vendors by name, and why nobody may be asked for the others."""
        wanted = [
            Wanted(self._universe[symbol], self._session, self._session, interval=INTERVAL, is_live=True)
            for symbol in symbols
        ]
        queues: dict[str, deque[str]] = {}
        providers: dict[str, Provider] = {}
        left_out: dict[str, str] = {}
        for symbol, choice in zip(symbols, self._source.selector.choose_each(wanted), strict=True):
            if choice.provider is None:
                left_out[symbol] = _why(choice)
                continue
            providers[choice.provider.name] = choice.provider
            queues.setdefault(choice.provider.name, deque()).append(symbol)
        return queues, providers, left_out

    def _concurrency(self, name: str, symbols: int) -> int:
        own = [arm.config.concurrency for arm in self._source.arms if arm.config.name == name]
        return min(symbols, own[0] if own else self._source.concurrency)

    def _work(
        self,
        provider: Provider,
        queue: deque[str],
        due: Mapping[str, datetime],
        until: datetime | None,
        asked: list[Asked],
    ) -> None:
        while not self._stop.is_set() and (until is None or self._clock() < until):
            try:
                symbol = queue.popleft()
            except IndexError:
                return
            self._turn[symbol] = self._polls
            asked.append(self._asked(provider, symbol, due[symbol]))

    def _asked(self, provider: Provider, symbol: str, since: datetime) -> Asked:
        request = FetchRequest(symbol, self._session, self._session, INTERVAL, since=since)
        asked = Asked(provider.name, request)
        try:
            payload = provider.fetch(self._universe[symbol], request)
        except ProviderError as error:
            self._failed(provider.name, error, error.attempts)
            return replace(
                asked, payload=error.payload, calls=error.attempts, error=type(error).__name__, message=str(error)
            )
        except MarketDataError as error:
            return replace(asked, error=type(error).__name__, message=str(error))
        # One symbol's mishap, whatever it is, must not end the work on the others.
        except Exception as error:
            _LOG.exception("unexpected error", exc_info=error)
            return replace(asked, error=type(error).__name__, message="unexpected")
        asked = replace(asked, payload=payload, calls=payload.attempts)
        self._answered(asked, payload.status)
        return asked

    def _answered(self, asked: Asked, status: int) -> None:
        """What is surely an error is told at once, so that the next symbol does not run into it as well."""
        if status != 200:
            try:
                read_answer(asked, self._universe, self._session)
            except ProviderError as error:
                self._failed(asked.provider, error, asked.calls)
            # What else can be wrong with it is told when the poll is read.
            except Exception as error:
                _LOG.exception("unexpected error", exc_info=error)
            return
        with self._lock:
            was_troubled = asked.provider in self._troubled
            self._troubled.discard(asked.provider)
        if was_troubled:  # failures in a row end with an answer
            self._source.selector.tell(Outcome(asked.provider, accepted=True, first=self._session))

    def _failed(self, provider: str, error: ProviderError, calls: int) -> None:
        if calls:
            with self._lock:
                self._troubled.add(provider)
            self._source.selector.tell(Outcome(provider, accepted=False, error=error, first=self._session))


def _why(choice: Choice) -> str:
    """Why nobody may be asked."""
    masks = [f"{item.provider}: {item.masked}" for item in choice.considered if item.masked]
    return "; ".join(masks) or "no vendor"
