"""Polling a session's minutes: from the open until some minutes after the close, one poll at a time.

Each poll asks for what is not held as final yet, keeps every answer in a pack (`poll_packs`), and only then writes the
minutes and a row about the poll, in one transaction. A process may die anywhere: before the pack, the answers of one
poll are lost and asked for again; after it, the next start finds the pack and applies it first.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from market_data.errors import SettingsError, WarehouseLocked
from market_data.ingest.intraday.applying import apply_left_packs, apply_polls
from market_data.ingest.intraday.asking import Asker
from market_data.ingest.intraday.audit import SessionAudit
from market_data.ingest.intraday.due import MinutesDue
from market_data.ingest.intraday.lock import poller_is_alive, sole_poller
from market_data.ingest.intraday.packs import Poll, PollPacks
from market_data.ingest.intraday.reading import ReadPoll, read_poll
from market_data.ingest.intraday.span import PollingSpan, can_be_polled, polling_span
from market_data.ingest.sources import Source
from market_data.instruments import Universe
from market_data.providers.base import Clock, utc_now
from market_data.records import AuditRecord
from market_data.settings import Settings
from market_data.warehouse.connection import Database
from market_data.warehouse.intraday_polls import PollRow, held_minutes
from market_data.warehouse.provider_metrics import provider_history
from market_data.warehouse.store import claim_kind, finish_job, start_job, transaction

__all__ = [
    "OnPoll",
    "Poller",
    "PollingSpan",
    "SessionPolled",
    "apply_left_packs",
    "poll_session",
    "poller_is_alive",
    "polling_span",
    "sole_poller",
]

_LOG = logging.getLogger(__name__)
_NEW_YORK = ZoneInfo("America/New_York")
_HISTORY = timedelta(days=30)
_NAP = 1.0
_OVERDUE = timedelta(minutes=20)
"""Time after the open from which a vendor that serves minutes live, or 15 minutes late as many plans do, has some."""

OnPoll = Callable[[Poll, Sequence[PollRow]], None]


@dataclass(frozen=True, slots=True)
class SessionPolled:
    """What became of polling a session.

    Attributes:
        polls: polls of this run in which somebody was asked.
        skipped: polls left out, since the one before took too long.
        records: an audit record for each symbol; none when it was interrupted.
        missing: minutes without a bar, over all symbols.
        interrupted: whether it was stopped before the end.
    """

    session: date
    job_id: str
    polls: int
    skipped: int
    calls: int
    records: tuple[AuditRecord, ...]
    missing: int
    interrupted: bool

    @property
    def is_good(self) -> bool:
        """Whether nothing needs a person: the session was polled to its end, and every symbol has bars."""
        return not self.interrupted and all(record.outcome.is_good for record in self.records)


def poll_session(
    settings: Settings,
    universe: Universe,
    source: Source,
    session: date,
    symbols: Sequence[str],
    *,
    job_id: str,
    clock: Clock = utc_now,
    sleep: Callable[[float], None] | None = None,
    stop: threading.Event | None = None,
    on_poll: OnPoll | None = None,
) -> SessionPolled:
    """Poll a session of today to its end, and leave an audit record for each symbol.

    Args:
        sleep: waits so many seconds of the clock; by default it returns early once `stop` is set.
        stop: set it to end after the poll under way.
        on_poll: called after each poll with what came of it.

    Raises:
        SettingsError: not a session, not one of today in New York, or a source without live minutes.
        WarehouseLocked: another poller runs, or the database stayed locked.
    """
    poller = Poller(
        settings,
        universe,
        source,
        session,
        symbols,
        job_id=job_id,
        clock=clock,
        sleep=sleep,
        stop=stop,
        on_poll=on_poll,
    )
    with sole_poller(settings):
        return poller.run()


class Poller:
    """Polls one session; `poll_session` says what the arguments are."""

    def __init__(
        self,
        settings: Settings,
        universe: Universe,
        source: Source,
        session: date,
        symbols: Sequence[str],
        *,
        job_id: str,
        clock: Clock = utc_now,
        sleep: Callable[[float], None] | None = None,
        stop: threading.Event | None = None,
        on_poll: OnPoll | None = None,
    ) -> None:
        self.span = polling_span(settings, session)
        if not source.arms:
            raise SettingsError(
                f"{source.name} has no minutes of a session under way; set MARKET_DATA_SOURCE to vendors or sandbox"
            )
        self._settings = settings
        self._universe = universe
        self._source = source
        self._session = session
        self._job_id = job_id
        self._clock = clock
        self._stop = stop or threading.Event()
        self._sleep = sleep or self._nap
        self._on_poll = on_poll
        self._database = Database(settings.database_for(synthetic=source.synthetic), patience=settings.lock_patience)
        self._packs = PollPacks(settings.raw_folder(synthetic=source.synthetic))
        self._asker = Asker(source, universe, session, job_id=job_id, clock=clock, stop=self._stop)
        self._listed = [s for s in symbols if len(universe[s].expected_sessions(session, session))]
        self._audit = SessionAudit(settings, session, symbols, self._listed, job_id=job_id, source=source)
        self._waiting: list[tuple[ReadPoll, str, float]] = []
        self._polls = self._skipped = self._calls = 0

    def run(self) -> SessionPolled:
        """Poll to the end; hold `sole_poller` meanwhile. Errors as `poll_session`."""
        now = self._clock()
        if not can_be_polled(self._session, now):
            raise SettingsError(
                f"it is {now.astimezone(_NEW_YORK):%Y-%m-%d %H:%M} in New York, and {self._session} can be polled on "
                "its day alone; fill a session of before with `market-data intraday backfill`"
            )
        due = self._begin()
        self._audit.begin(due, now)
        self._follow_the_grid(due)
        if not self._stop.is_set():
            self._poll(due, due.unfinished(), until=None, skipped=0)
        self._write_waiting(patient=True)
        records = self._end(due)
        return SessionPolled(
            session=self._session,
            job_id=self._job_id,
            polls=self._polls,
            skipped=self._skipped,
            calls=self._calls,
            records=tuple(records),
            missing=sum(len(due.missing(symbol)) for symbol in self._listed),
            interrupted=self._stop.is_set(),
        )

    def _begin(self) -> MinutesDue:
        apply_left_packs(self._settings, self._universe, self._session, synthetic=self._source.synthetic)
        self._database.prepare()
        now = self._clock()
        with self._database.writing() as connection, transaction(connection):
            claim_kind(connection, synthetic=self._source.synthetic)
            start_job(
                connection,
                job_id=self._job_id,
                kind="intraday",
                start=self._session,
                end=self._session,
                symbols=self._audit.symbols,
                provider=self._source.name,
                synthetic=self._source.synthetic,
                now=now,
            )
            history = provider_history(connection, now.date() - _HISTORY)
            held = held_minutes(connection, self._session)
        polls = max(1, (self.span.ends - max(now, self.span.opens)) // self.span.interval)
        self._source.selector.begin(self._job_id, len(self._listed) * polls, history)
        return MinutesDue(self._session, self._listed, held)

    def _follow_the_grid(self, due: MinutesDue) -> None:
        """A poll at each point of the grid; points that pass while one is under way are left out, and counted."""
        place, skipped = self.span.place(self._clock()), 0
        while self._wait_until(min(self.span.at(place), self.span.ends)) and self.span.at(place) < self.span.ends:
            until = min(self.span.at(place + 1), self.span.ends)
            if self._poll(due, due.since(self._clock()), until=until, skipped=skipped):
                skipped = 0
            following = max(place + 1, self.span.place(self._clock()))
            skipped += following - place - 1
            self._skipped += following - place - 1
            place = following

    def _poll(self, due: MinutesDue, since: dict[str, datetime], *, until: datetime | None, skipped: int) -> bool:
        """One poll; returns whether it is recorded. Nobody is asked where nothing is due."""
        if not since:
            return False
        poll = self._asker.ask(since, until=until, skipped=skipped)
        started = time.perf_counter()
        pack = "" if poll.is_empty else self._packs.put(poll)
        read = read_poll(poll, self._universe, settle=self._settings.intraday_settle)
        due.note(read)
        self._asker.tell(read, is_overdue=poll.polled_at > self.span.opens + _OVERDUE)
        self._audit.note(read)
        self._polls += not poll.is_empty
        self._calls += sum(asked.calls for asked in poll.asked)
        self._waiting.append((read, pack, poll.own_ms + (time.perf_counter() - started) * 1000))
        self._write_waiting(patient=False)
        return True

    def _write_waiting(self, *, patient: bool) -> None:
        """Write the polls that are not written yet; while another process writes they wait, their packs being kept."""
        if not self._waiting:
            return
        try:
            with self._database.writing() as connection, transaction(connection):
                written = [
                    (read.poll, apply_polls(connection, read, pack=pack, own_ms=own))
                    for read, pack, own in self._waiting
                ]
        except WarehouseLocked:
            if patient:
                raise
            _LOG.warning("the database is in use; %d polls wait to be written", len(self._waiting))
            return
        self._waiting.clear()
        for poll, rows in written:
            if self._on_poll is not None:
                self._on_poll(poll, rows)

    def _end(self, due: MinutesDue) -> list[AuditRecord]:
        if self._stop.is_set():
            return []
        now = self._clock()
        records = self._audit.records(due, now)
        with self._database.writing() as connection:
            with transaction(connection):
                self._audit.write(connection, records)
                finish_job(connection, self._job_id, now)
            self._audit.write_file(connection)
        return records

    def _wait_until(self, moment: datetime) -> bool:
        """Wait; returns whether to go on."""
        while not self._stop.is_set():
            left = (moment - self._clock()).total_seconds()
            if left <= 0:
                return True
            self._sleep(left)
        return False

    def _nap(self, seconds: float) -> None:
        """Part of a wait: the clock may be set, or run faster than the wall clock, as the sandbox's can."""
        rate = max(1.0, float(getattr(self._clock, "rate", 1.0)))
        self._stop.wait(min(seconds / rate, _NAP))
