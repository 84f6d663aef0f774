"""Corporate actions of the universe: from the vendors that feed them, from stored answers, and from a person's file.

Splits of every symbol, and dividends of the latest weeks, come from Polygon in a few calls; all dividends, and splits
where Polygon is not in use, by one call a symbol. What stored payloads tell is not asked for again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb

from market_data.corporate_actions import PRIORITY, is_told
from market_data.errors import MarketDataError, ProviderError, RawStoreError
from market_data.ingest.action_file import ActionFileError, parse_import
from market_data.ingest.apply_actions import apply_import, apply_payload, read_for_all
from market_data.ingest.commit import record_answer_for_all
from market_data.ingest.lock import sole_ingest
from market_data.ingest.metrics import refresh_metrics
from market_data.ingest.raw_store import RawStore
from market_data.ingest.sources import Source
from market_data.ingest.sync.known import changed_instruments
from market_data.ingest.unit import Attempt, parse_payload
from market_data.ingest.writer import Writer
from market_data.instruments import Instrument, Universe
from market_data.providers.base import Clock, Provider, sha256_hex, utc_now
from market_data.records import EVERY, FetchRequest, RawPayload, StoredPayload
from market_data.sessions import last_completed_session
from market_data.settings import Settings
from market_data.warehouse.actions import read_told
from market_data.warehouse.connection import Database
from market_data.warehouse.store import claim_kind, transaction

__all__ = ["ActionsFetched", "apply_import", "apply_payload", "fetch_actions", "import_actions", "parse_import"]

MAX_AGE = timedelta(days=3)
"""How far what is told of a symbol may lag behind the last completed session before it is asked for again."""

RECENT = timedelta(days=31)
"""How far back dividends of every symbol are asked for at once; those of years would be dozens of calls."""

_FOR_ALL = "polygon"
_FEEDS = {"split": "splits", "dividend": "dividends"}
_NEW_YORK = ZoneInfo("America/New_York")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ActionsFetched:
    """What came of it.

    Attributes:
        calls: requests sent now.
        splits, dividends, spinoffs: how many are known of the symbols asked for.
        symbols: those of which something new was learned, ascending.
        conflicts: number of the symbols' conflicts between providers.
        failed: by symbol (`*` for all at once), why nothing could be had, or bars not be turned.
    """

    calls: int = 0
    splits: int = 0
    dividends: int = 0
    spinoffs: int = 0
    symbols: list[str] = field(default_factory=list)
    conflicts: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def fetch_actions(
    settings: Settings,
    universe: Universe,
    source: Source,
    *,
    symbols: Sequence[str],
    job_id: str,
    dividends: bool = True,
    recent_dividends: bool = False,
    until: date | None = None,
    clock: Clock = utc_now,
) -> ActionsFetched:
    """Ask for the splits and dividends, from the window's start on, that no stored payload tells of; keep and use them.

    Dividends, and splits by symbol, are asked of the first vendor of `PRIORITY` that answers. Bars that depend on what
    is new are turned anew.

    Args:
        dividends: whether those of `symbols` are asked for.
        recent_dividends: whether those of every symbol, of the days `RECENT`, are, where a vendor tells them at once.
        until: last date asked for; by default today, since prices are adjusted up to then.

    Raises:
        MarketDataError: no vendor that feeds actions is in use.
    """
    providers = _providers(source)
    if not providers:
        why = "; ".join(arm.unusable for arm in source.arms if arm.unusable) or f"{source.name} feeds none"
        raise MarketDataError(
            f"corporate actions come from {', '.join(PRIORITY[1:])}, of which none is in use: {why}; use the vendors "
            "(--provider vendors, or MARKET_DATA_SOURCE), or a file: market-data actions import"
        )
    database = Database(settings.database_for(synthetic=source.synthetic), patience=settings.lock_patience)
    with sole_ingest(settings), Writer(database) as writer:
        database.prepare()
        claim_kind(writer.connection, synthetic=source.synthetic)
        raw_store = RawStore(settings.raw_folder(synthetic=source.synthetic))
        work = _Fetching(settings, universe, raw_store, writer, providers, job_id, clock)
        work.until = until or clock().astimezone(_NEW_YORK).date()
        work.concurrency = source.concurrency
        work.take_up_stored()
        if _FOR_ALL in providers:
            work.fetch_of_all("split", settings.window_start)
            if recent_dividends:
                work.fetch_of_all("dividend", max(settings.window_start, work.until - RECENT))
        else:
            work.fetch_each("split", symbols)
        if dividends:
            work.fetch_each("dividend", symbols)
        with writer.transaction():
            refresh_metrics(writer.connection, settings, synthetic=source.synthetic, clock=clock)
        return work.summed(writer.connection, symbols)


def import_actions(
    settings: Settings,
    universe: Universe,
    path: Path,
    *,
    synthetic: bool,
    job_id: str,
    clock: Clock = utc_now,
) -> ActionsFetched:
    """Take a person's file of actions, see `market_data.ingest.action_file`, all of it or nothing.

    The file is kept in the raw store, so that a rebuild finds it.

    Raises:
        ActionFileError: the file cannot be read, or something in it is wrong.
    """
    try:
        body = path.read_bytes()
    except OSError as error:
        raise ActionFileError(f"{path}: cannot be read: {error.strerror}; name a CSV or JSON lines file") from None
    actions, _ = parse_import(body, universe=universe, name=path.name)
    now = clock()
    request = FetchRequest(EVERY, actions["date"].min().date(), actions["date"].max().date(), feed="actions")
    payload = RawPayload("import", request, body, sha256_hex(body), path.name, 200, "text/plain", now, attempts=0)
    database = Database(settings.database_for(synthetic=synthetic), patience=settings.lock_patience)
    with sole_ingest(settings), Writer(database) as writer:
        database.prepare()
        claim_kind(writer.connection, synthetic=synthetic)
        raw_store = RawStore(settings.raw_folder(synthetic=synthetic))
        stored = raw_store.put(payload)
        with writer.transaction():
            applied = apply_import(writer.connection, raw_store, universe, stored, job_id=job_id)
        symbols = sorted(set(actions["symbol"]))
        return _summed(writer.connection, symbols, 0, sorted(applied.changed), applied.failed)


def _providers(source: Source) -> dict[str, Provider]:
    """The vendors that feed actions and can be asked, the most believed first."""
    usable = {arm.config.name: arm.provider for arm in source.arms if arm.provider is not None}
    return {name: usable[name] for name in PRIORITY if name in usable}


def _summed(
    connection: duckdb.DuckDBPyConnection, symbols: Sequence[str], calls: int, news: list[str], failed: dict[str, str]
) -> ActionsFetched:
    kinds = dict(
        connection.execute(
            "SELECT kind, count(*) FROM corporate_actions WHERE symbol IN (SELECT unnest(?)) GROUP BY kind",
            [list(symbols)],
        ).fetchall()
    )
    row = connection.execute(
        "SELECT count(*) FROM action_conflicts WHERE symbol IN (SELECT unnest(?))", [list(symbols)]
    ).fetchone()
    return ActionsFetched(
        calls=calls,
        splits=kinds.get("split", 0),
        dividends=kinds.get("dividend", 0),
        spinoffs=kinds.get("spinoff", 0),
        symbols=news,
        conflicts=row[0] if row else 0,
        failed=failed,
    )


@dataclass(slots=True)
class _Fetching:
    """One run of `fetch_actions`."""

    settings: Settings
    universe: Universe
    raw_store: RawStore
    writer: Writer
    providers: Mapping[str, Provider]
    job_id: str
    clock: Clock
    until: date = date.max
    concurrency: int = 1
    calls: int = 0
    news: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)

    def take_up_stored(self) -> None:
        """Write what stored answers tell: a process may have died before it did."""
        stored = [item for item in self.raw_store.stored() if item.request.feed in _FEEDS.values()]
        rows = self.writer.connection.execute("SELECT DISTINCT symbol, source_provider, raw_hash FROM actions_told")
        written = set(rows.fetchall())
        changed = changed_instruments(self.writer.connection, self.universe)
        is_wider = bool(changed.added or changed.renamed)
        for item in sorted(stored, key=lambda item: (item.fetched_at, item.request_id)):
            # One for all may tell of symbols that are new in the universe.
            again = is_wider and item.request.symbol == EVERY
            if again or (item.request.symbol, item.provider, item.sha256) not in written:
                with suppress(ProviderError, RawStoreError):  # an error's body, or a damaged one: asked for again
                    self._apply(item)

    def fetch_of_all(self, kind: str, start: date) -> None:
        """Ask, by as many calls as pages are needed, for the actions of every symbol that are not told yet."""
        while (start := self._first_untold(kind, start)) <= self.until:
            self.writer.release()
            request = FetchRequest(EVERY, start, self.until, feed=_FEEDS[kind])
            attempt = self._ask(self.providers[_FOR_ALL], Instrument(EVERY), request)
            if not self._keep([attempt], EVERY, request) or attempt.stored is None:
                return
            start = attempt.stored.request.end + timedelta(days=1)

    def _first_untold(self, kind: str, start: date) -> date:
        """The first date from `start` on that no span told for every symbol covers."""
        told = read_told(self.writer.connection, [EVERY])[EVERY]
        told = told[told["kind"] == kind]
        for first, last in sorted(zip(told["first_date"], told["last_date"], strict=True)):
            if first.date() <= start <= last.date():
                start = last.date() + timedelta(days=1)
        return start

    def fetch_each(self, kind: str, symbols: Sequence[str]) -> None:
        """Ask for the actions of one kind of each symbol where they are not told, many side by side."""
        due = self._due(kind, symbols)
        with ThreadPoolExecutor(max(1, self.concurrency), "actions") as pool:
            waiting = {pool.submit(self._first_answer, symbol, self._request(symbol, kind)): symbol for symbol in due}
            try:
                for future in self._as_they_end(set(waiting)):
                    symbol = waiting[future]
                    self._keep(future.result(), symbol, self._request(symbol, kind))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _as_they_end(self, left: set[Future[list[Attempt]]]) -> Iterator[Future[list[Attempt]]]:
        while left:
            done, left = wait(left, timeout=0, return_when=FIRST_COMPLETED)
            if not done:
                self.writer.release()
                done, left = wait(left, return_when=FIRST_COMPLETED)
            yield from done

    def _due(self, kind: str, symbols: Sequence[str]) -> list[str]:
        connection = self.writer.connection
        told = read_told(connection, symbols)
        fresh = last_completed_session(self.clock()) - MAX_AGE
        adjusted = dict(
            connection.execute(
                "SELECT symbol, max(sent_as_of)::DATE FROM price_history_daily "
                "WHERE sent_basis <> 'raw' AND sent_as_of IS NOT NULL GROUP BY symbol"
            ).fetchall()
        )
        lasts = {symbol: min(max(fresh, adjusted.get(symbol, fresh)), self.until) for symbol in symbols}
        start = self.settings.window_start
        return [symbol for symbol in symbols if not is_told(told[symbol], kind, start, lasts[symbol])]

    def _request(self, symbol: str, kind: str) -> FetchRequest:
        return FetchRequest(symbol, self.settings.window_start, self.until, feed=_FEEDS[kind])

    def _first_answer(self, symbol: str, request: FetchRequest) -> list[Attempt]:
        """Ask one vendor after another until one answers."""
        attempts: list[Attempt] = []
        for provider in self.providers.values():
            attempts.append(self._ask(provider, self.universe[symbol], request))
            if attempts[-1].error is None:
                break
        return attempts

    def _ask(self, provider: Provider, instrument: Instrument, request: FetchRequest) -> Attempt:
        attempt = Attempt(provider.name, provider.synthetic, is_fetched=True)
        try:
            payload = provider.fetch(instrument, request)
            stored = self.raw_store.put(payload)
            attempt = replace(attempt, stored=stored, calls=payload.attempts, is_new=True)
            if instrument.symbol == EVERY:
                read_for_all(self.raw_store, stored)
            else:
                parse_payload(stored, payload.body, instrument)
        except ProviderError as error:
            kept = self.raw_store.put(error.payload) if error.payload else attempt.stored
            calls = attempt.calls or error.attempts
            return replace(attempt, error=error, calls=calls, stored=kept, is_new=kept is not None)
        # One symbol's mishap, whatever it is, must not end the work on the others.
        except Exception as error:
            _LOG.exception("unexpected error", exc_info=error)
            return replace(attempt, error=ProviderError(f"unexpected {type(error).__name__}: {error}"))
        return attempt

    def _keep(self, attempts: Sequence[Attempt], symbol: str, request: FetchRequest) -> bool:
        """Write what came of asking; whether there was an answer."""
        connection = self.writer.connection
        self.calls += sum(attempt.calls for attempt in attempts)
        for attempt in attempts:
            if attempt.error is not None:
                record_answer_for_all(connection, attempt, request, job_id=self.job_id, now=self.clock())
            elif attempt.stored is not None:
                self._apply(attempt.stored)
                return True
        reasons = [f"{attempt.provider}: {type(attempt.error).__name__}: {attempt.error}" for attempt in attempts]
        self.failed[symbol] = "; ".join(reasons)
        return False

    def _apply(self, stored: StoredPayload) -> None:
        connection = self.writer.connection
        with transaction(connection):
            applied = apply_payload(connection, self.raw_store, self.universe, stored, job_id=self.job_id)
        self.news |= set(applied.changed)
        self.failed |= applied.failed

    def summed(self, connection: duckdb.DuckDBPyConnection, symbols: Sequence[str]) -> ActionsFetched:
        """What came of it all."""
        return _summed(connection, symbols, self.calls, sorted(self.news), self.failed)
