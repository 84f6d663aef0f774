"""Answers of other vendors to compare stored bars with: those stored, and those a vendor can spare a call for."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from datetime import date

import duckdb

from market_data.errors import ProviderError, RawStoreError, UnknownSymbol
from market_data.ingest.raw_store import RawStore
from market_data.ingest.unit import parse_payload
from market_data.instruments import Instrument
from market_data.providers.base import Clock
from market_data.records import FetchRequest, ParsedBars, RawPayload, StoredPayload
from market_data.selection.choice import Outcome, Selector
from market_data.selection.quota import shown
from market_data.selection.vendors import Arm
from market_data.warehouse.reconciliations import OVERLAP, overlaps_of
from market_data.warehouse.store import record_coverage, record_failure

__all__ = ["Answer", "Overlaps", "read_answer", "why_not_asked"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a vendor told of a symbol, or why it told nothing.

    Attributes:
        is_new: whether it was asked for now, so that the ledger does not know of it yet.
    """

    provider: str
    request: FetchRequest
    stored: StoredPayload | None = None
    parsed: ParsedBars | None = None
    error: ProviderError | None = None
    is_new: bool = False


class Overlaps:
    """Finds answers, asks for them, and notes them.

    Attributes:
        calls: requests sent so far.
    """

    def __init__(self, raw_store: RawStore, selector: Selector, clock: Clock) -> None:
        self.calls = 0
        self._raw_store = raw_store
        self._selector = selector
        self._clock = clock

    def stored(
        self, connection: duckdb.DuckDBPyConnection, provider: str, instrument: Instrument, first: date, last: date
    ) -> Answer | None:
        """The newest sound answer in the store; one that knows no such symbol is an answer too."""
        for stored in overlaps_of(connection, instrument.symbol):
            request = stored.request
            if stored.provider == provider and request.start <= first and last <= request.end:
                answer = read_answer(self._raw_store, stored, instrument)
                if answer is not None:
                    return answer
        return None

    def asked(self, arm: Arm, instrument: Instrument, request: FetchRequest) -> Answer:
        """What the vendor answers now; in the raw store before anything is made of it. The selector is told."""
        assert arm.provider is not None
        answer = Answer(arm.config.name, replace(request, feed=OVERLAP), is_new=True)
        calls = 0
        try:
            payload = arm.provider.fetch(instrument, request)
            calls = payload.attempts
            stored = self._raw_store.put(_as_overlap(payload))
            answer = replace(answer, stored=stored)
            answer = replace(answer, parsed=parse_payload(stored, payload.body, instrument))
        except ProviderError as error:
            kept = self._raw_store.put(_as_overlap(error.payload)) if error.payload else answer.stored
            calls = calls or error.attempts
            answer = replace(answer, stored=kept, error=error)
        self.calls += calls
        if calls:
            latency = answer.stored.elapsed_ms if answer.stored else None
            accepted = answer.error is None
            self._selector.tell(Outcome(answer.provider, accepted, answer.error, latency, request.start))
        return answer

    def record(self, connection: duckdb.DuckDBPyConnection, answer: Answer, job_id: str) -> None:
        """Note a new answer in the ledger; call it inside `transaction`."""
        if not answer.is_new:
            return
        if answer.stored is not None and (answer.error is None or isinstance(answer.error, UnknownSymbol)):
            record_coverage(connection, answer.stored, job_id=job_id)
        elif answer.error is not None:
            record_failure(
                connection,
                request_id=uuid.uuid4().hex[:16],
                request=answer.request,
                provider=answer.provider,
                error=answer.error,
                stored=answer.stored,
                job_id=job_id,
                now=self._clock(),
            )


def read_answer(raw_store: RawStore, stored: StoredPayload, instrument: Instrument) -> Answer | None:
    """A stored answer, one that knows no such symbol included; None where it is damaged."""
    try:
        parsed = parse_payload(stored, raw_store.get(stored.sha256), instrument)
    except UnknownSymbol as error:
        return Answer(stored.provider, stored.request, stored, error=error)
    except (ProviderError, RawStoreError):
        return None
    return Answer(stored.provider, stored.request, stored, parsed)


def why_not_asked(arm: Arm, instrument: Instrument) -> str | None:
    """Why a vendor is not asked for a comparison.

    It may be with more than half of every quota left and a rate that allows a call at once, whose permit is then taken
    for this thread; None is returned.
    """
    if arm.provider is None:
        return arm.unusable or "it cannot be asked"
    if not arm.provider.serves(instrument):
        return "does not serve this instrument"
    standing = arm.meter.ledger.standing(arm.config)[arm.config.name]
    if standing.closure is not None:
        return f"left alone until {shown(standing.closure.until)}: {standing.closure.reason}"
    for state in standing.quotas:
        if 2 * state.left <= state.quota.limit:
            return f"only {state.left:,} of the {state.quota.limit:,} calls of the {state.quota.period} are left"
    if not arm.meter.reserve():
        return f"its rate allows the next call in {arm.meter.limiter.ready_in():.1f} s"
    return None


def _as_overlap(payload: RawPayload) -> RawPayload:
    return replace(payload, request=replace(payload.request, feed=OVERLAP))
