"""The canonical database made anew from the raw store alone, by what its payloads say, in the order they came."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import duckdb

from market_data.errors import MarketDataError, ProviderError, RawStoreError
from market_data.ingest.action_file import ActionFileError
from market_data.ingest.actions import apply_import, apply_payload
from market_data.ingest.amend import apply_amendment, parse_amendment
from market_data.ingest.commit import record_answer_for_all, write_attempt
from market_data.ingest.executions.taking import PROVIDER as FEEDBACK
from market_data.ingest.executions.taking import apply_feedback
from market_data.ingest.intraday.applying import replay_packs
from market_data.ingest.intraday.packs import PollPacks
from market_data.ingest.minutes.replay import replay_minutes
from market_data.ingest.raw_store import RawStore
from market_data.ingest.reconcile import compare_stored
from market_data.ingest.unit import Attempt, Task, Worker, sessions_due
from market_data.instruments import Instrument, Universe
from market_data.providers.base import Clock, utc_now
from market_data.records import EVERY, StoredPayload
from market_data.selection.choice import GivenOrder
from market_data.settings import Settings
from market_data.validation import Thresholds
from market_data.warehouse.actions import read_actions
from market_data.warehouse.amendments import AmendmentError
from market_data.warehouse.connection import Database
from market_data.warehouse.holdings import Holdings
from market_data.warehouse.reconciliations import OVERLAP
from market_data.warehouse.store import claim_kind, record_coverage, transaction

__all__ = ["Rebuilt", "rebuild_database"]

JOB = "rebuild"


@dataclass(slots=True)
class Rebuilt:
    """What a rebuild came to.

    Attributes:
        path: the new database.
        payloads: payloads read.
        left_out: request id and reason of payloads that say nothing: errors' bodies, damaged ones, unknown symbols.
    """

    path: Path
    payloads: int = 0
    left_out: dict[str, str] = field(default_factory=dict)


def rebuild_database(
    settings: Settings,
    universe: Universe,
    path: Path,
    *,
    synthetic: bool,
    clock: Clock = utc_now,
    on_payload: Callable[[int, int], None] | None = None,
) -> Rebuilt:
    """Make the database `path`, which must not exist, from every payload of the raw store.

    Args:
        on_payload: told how many payloads of how many are read.

    Raises:
        MarketDataError: the path exists, or cannot be written; the raw store is empty.
        RawStoreError: a request file of the raw store cannot be read.
    """
    if path.exists():
        raise MarketDataError(f"{path}: exists already; move it away, a rebuild never overwrites")
    raw_store = RawStore(settings.raw_folder(synthetic=synthetic))
    payloads = sorted(raw_store.stored(), key=lambda stored: (stored.fetched_at, stored.request_id))
    if not payloads and not PollPacks(settings.raw_folder(synthetic=synthetic)).sessions():
        kind, other = ("synthetic", "--real") if synthetic else ("real", "--synthetic")
        raise MarketDataError(
            f"{settings.raw_folder(synthetic=synthetic)}: holds no payload of {kind} prices, so there is nothing to "
            f"rebuild from; {other} names the other store, MARKET_DATA_RUNTIME another folder"
        )
    database = Database(path, patience=settings.lock_patience)
    database.prepare()
    rebuilt = Rebuilt(path)
    with database.writing() as connection:
        claim_kind(connection, synthetic=synthetic)
        replay = _Replay(settings, universe, raw_store, connection, synthetic=synthetic, clock=clock)
        replay.asked = {
            stored.request.symbol
            for stored in payloads
            if stored.request.feed == "bars" and stored.request.interval == "1d"
        }
        for number, stored in enumerate(payloads, start=1):
            try:
                replay.read(stored)
            except (ProviderError, RawStoreError, AmendmentError, ActionFileError) as error:
                rebuilt.left_out[stored.request_id] = f"{type(error).__name__}: {error}"
            rebuilt.payloads = number
            if on_payload is not None:
                on_payload(number, len(payloads))
        rebuilt.left_out.update(replay_packs(connection, settings, universe, synthetic=synthetic))
        compare_stored(connection, raw_store, universe, settings, now=clock())
    return rebuilt


class _Replay:
    """Reads payloads one by one, each in a transaction of its own."""

    def __init__(
        self,
        settings: Settings,
        universe: Universe,
        raw_store: RawStore,
        connection: duckdb.DuckDBPyConnection,
        *,
        synthetic: bool,
        clock: Clock,
    ) -> None:
        self._universe = universe
        self._raw_store = raw_store
        self._connection = connection
        self._synthetic = synthetic
        self._thresholds = Thresholds.of(settings)
        self._begun: set[str] = set()
        self.asked: set[str] = set()
        self._worker = Worker(
            selector=GivenOrder([]),
            raw_store=raw_store,
            thresholds=self._thresholds,
            job_id=JOB,
            synthetic=synthetic,
            clock=clock,
        )

    def read(self, stored: StoredPayload) -> None:
        """Write what a payload says.

        Raises:
            ProviderError, RawStoreError, AmendmentError, ActionFileError: it says nothing, does not fit what is stored,
                or cannot be read.
        """
        request = stored.request
        if stored.provider == "amendment":
            with transaction(self._connection):
                apply_amendment(self._connection, stored, parse_amendment(self._raw_store.get(stored.sha256)))
        elif stored.provider == "import":
            with transaction(self._connection):
                apply_import(self._connection, self._raw_store, self._universe, stored)
        elif stored.provider == FEEDBACK:
            with transaction(self._connection):
                apply_feedback(self._connection, self._universe, stored, self._raw_store.get(stored.sha256))
        elif request.feed == OVERLAP:
            record_coverage(self._connection, stored, job_id=None)  # compared at the end
        elif request.feed != "bars":
            with transaction(self._connection):
                apply_payload(self._connection, self._raw_store, self._universe, stored)
        elif request.interval != "1d":
            replay_minutes(
                self._connection,
                self._raw_store,
                self._universe,
                stored,
                thresholds=self._thresholds,
                synthetic=self._synthetic,
                job_id=JOB,
            )
        elif request.symbol == EVERY:
            self._read_for_all(stored)
        elif request.symbol in self._universe:
            self._read_bars(self._universe[request.symbol], stored)
        else:
            raise ProviderError(f"{request.symbol} is not in the universe")

    def _read_for_all(self, stored: StoredPayload) -> None:
        attempt = Attempt(stored.provider, self._synthetic, stored=stored, is_new=True)
        now = stored.fetched_at
        record_answer_for_all(self._connection, attempt, stored.request, job_id=JOB, now=now)
        for symbol in sorted(self.asked & set(self._universe)):
            self._read_bars(self._universe[symbol], stored)

    def _read_bars(self, instrument: Instrument, stored: StoredPayload) -> None:
        symbol, request = instrument.symbol, stored.request
        known = read_actions(self._connection, [symbol])[symbol]
        due = sessions_due(instrument, request.start, request.end)
        if request.symbol == EVERY and not len(due):
            return
        task = Task(
            instrument=instrument,
            start=request.start,
            end=request.end,
            expected=due,
            due=due,
            window=(request.start, request.end),
            holdings=Holdings(is_new=symbol not in self._begun, actions=known),
            may_fetch=False,
        )
        attempt = Attempt(stored.provider, self._synthetic, stored=stored, is_new=request.symbol != EVERY)
        attempt = self._worker.judge(self._worker.begin(task), replace(attempt, is_judged=not attempt.is_new))
        if attempt.error is not None and attempt.answer is None:
            raise attempt.error
        with transaction(self._connection):
            write_attempt(
                self._connection,
                self._raw_store,
                task,
                attempt,
                job_id=JOB,
                now=stored.fetched_at,
                is_first=task.holdings.is_new,
            )
        if attempt.verdict is not None:
            self._begun.add(symbol)
