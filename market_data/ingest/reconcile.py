"""Stored bars of a sample of symbols compared with what other vendors, who have calls to spare, tell of them.

What is asked for it goes to the raw store and the ledger as the feed `overlap`, so that it never serves as an answer
for bars. Nothing stored is changed by a comparison: it says which vendor stands alone, and the bandit learns of that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import duckdb
import pandas as pd

from market_data.adjustments import AdjustmentError
from market_data.errors import SettingsError
from market_data.ingest.backfill import check_span
from market_data.ingest.convert import as_raw
from market_data.ingest.lock import sole_ingest
from market_data.ingest.orphans import adopt_orphans
from market_data.ingest.overlap import Answer, Overlaps, read_answer, why_not_asked
from market_data.ingest.raw_store import RawStore
from market_data.ingest.sources import Source
from market_data.ingest.writer import Writer
from market_data.instruments import Instrument, Universe
from market_data.providers.base import Clock, utc_now
from market_data.records import FetchRequest, StoredPayload
from market_data.selection.bandit import random_of
from market_data.selection.vendors import Arm
from market_data.sessions import last_completed_session
from market_data.settings import Settings
from market_data.validation.reconcile import DIFFERING, Tolerance, compare, odd_ones, price_error
from market_data.warehouse.actions import read_actions, read_told
from market_data.warehouse.connection import Database
from market_data.warehouse.provider_metrics import days_of_calls, refresh_provider_metrics
from market_data.warehouse.reconciliations import (
    overlap_symbols,
    overlaps_of,
    raw_symbols,
    read_held,
    refresh_odd_answers,
    write_reconciliations,
)
from market_data.warehouse.store import claim_kind, transaction

__all__ = ["Reconciled", "Skipped", "compare_stored", "reconcile"]

HISTORY = timedelta(days=30)
"""How far back the metrics of providers are derived anew."""
_COLUMNS = ["date", "verdict", "field", "value", "other_value", "tolerance", "provider", "raw_hash", "odd_one"]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A vendor that a symbol was not compared with, and why; without a vendor, a symbol without raw bars."""

    symbol: str
    provider: str
    reason: str


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What came of a reconciliation.

    Attributes:
        symbols: those compared, ascending or as given.
        calls: requests sent for it.
        rows: symbol, date, provider, other_provider, verdict, field, value, other_value, tolerance, odd_one; a row for
            each session of each pair, as in the table `reconciliations`.
    """

    job_id: str
    symbols: list[str]
    calls: int
    rows: pd.DataFrame
    skipped: list[Skipped]

    @property
    def is_good(self) -> bool:
        """Whether nothing that could be compared differs."""
        return not self.rows["verdict"].isin(DIFFERING).any()


def reconcile(
    settings: Settings,
    universe: Universe,
    source: Source,
    *,
    symbols: Sequence[str] | None = None,
    start: date,
    end: date,
    job_id: str,
    share: float | None = None,
    clock: Clock = utc_now,
) -> Reconciled:
    """Compare stored raw bars of `start..end` (inclusive) with those of other vendors.

    Stored answers that cover the span are read; others are asked for where more than half of every quota of the vendor
    is left and its rate allows a call at once.

    Args:
        symbols: all of these; None for a sample, the same on the same UTC date.
        share: of the symbols with raw bars, at least one; by default the setting.

    Raises:
        SettingsError: a span that ends before it starts; a source without vendors.
        WarehouseError: the database can't be used.
    """
    check_span(start, end)
    if not source.arms:
        raise SettingsError(f"{source.name} has no vendors to compare with; give vendors or sandbox")
    end = min(end, last_completed_session(clock()))
    database = Database(settings.database_for(synthetic=source.synthetic), patience=settings.lock_patience)
    if database.exists():
        database.prepare()
    with sole_ingest(settings), Writer(database) as writer:
        claim_kind(writer.connection, synthetic=source.synthetic)
        raw_store = RawStore(settings.raw_folder(synthetic=source.synthetic))
        adopt_orphans(writer.connection, raw_store, universe, now=clock())
        held = [symbol for symbol in raw_symbols(writer.connection, start, end) if symbol in universe]
        skipped = [Skipped(name, "", "no raw bars are stored") for name in symbols or () if name not in held]
        if symbols is None:
            chosen = _sample(held, share or settings.reconcile_share, settings.selection_seed, clock().date())
        else:
            chosen = [symbol for symbol in symbols if symbol in held]
        overlaps = Overlaps(raw_store, source.selector, clock)
        work = _Work(settings, universe, source.arms, overlaps=overlaps, writer=writer)
        rows = [work.compare(symbol, start, end, job_id=job_id, now=clock()) for symbol in chosen]
        with writer.transaction():
            _refresh_metrics(writer.connection, clock().date() - HISTORY)
    return Reconciled(job_id, chosen, overlaps.calls, _together(rows), [*skipped, *work.skipped])


def compare_stored(
    connection: duckdb.DuckDBPyConnection, raw_store: RawStore, universe: Universe, settings: Settings, *, now: datetime
) -> int:
    """Compare again with every stored answer there is to compare with, over its whole span; asks nobody.

    Returns:
        The number of symbols compared.
    """
    tolerance = Tolerance(settings.reconcile_ticks, settings.reconcile_volume_share)
    symbols = [symbol for symbol in overlap_symbols(connection) if symbol in universe]
    for symbol in symbols:
        actions, told = read_actions(connection, [symbol])[symbol], read_told(connection, [symbol])[symbol]
        latest: dict[str, _Other] = {}
        for stored in reversed(overlaps_of(connection, symbol)):
            answer = read_answer(raw_store, stored, universe[symbol])
            span = (stored.request.start, stored.request.end)
            other = _other(universe[symbol], answer, span, actions, told) if answer else None
            if other is None:
                continue
            latest[stored.provider] = other
            first, last = min(o.span[0] for o in latest.values()), max(o.span[1] for o in latest.values())
            held = read_held(connection, symbol, first, last)
            compared = _compared(held, list(latest.values()), tolerance)
            with transaction(connection):
                for one, rows in zip(latest.values(), compared, strict=True):
                    write_reconciliations(connection, symbol, one.stored, one.span, rows, now=now)
    with transaction(connection):
        _refresh_metrics(connection, now.date() - HISTORY)
    return len(symbols)


def _sample(symbols: list[str], share: float, seed: int, day: date) -> list[str]:
    if not symbols:
        return []
    size = max(1, math.ceil(share * len(symbols)))
    drawn = random_of(seed, "reconcile", day.isoformat()).choice(len(symbols), size=size, replace=False)
    return [symbols[number] for number in sorted(drawn)]


def _refresh_metrics(connection: duckdb.DuckDBPyConnection, since: date) -> None:
    for day in days_of_calls(connection, since):
        refresh_provider_metrics(connection, day)
        refresh_odd_answers(connection, day)


def _together(rows: Sequence[pd.DataFrame]) -> pd.DataFrame:
    some = [frame for frame in rows if len(frame)]
    if some:
        return pd.concat(some, ignore_index=True)
    return pd.DataFrame(columns=["symbol", "other_provider", *_COLUMNS])


@dataclass(frozen=True, slots=True)
class _Other:
    """A vendor's answer to compare with: raw bars with their error, one a session; None where they can't be raw."""

    stored: StoredPayload
    span: tuple[date, date]
    bars: pd.DataFrame | None
    why_not: str = ""


class _Work:
    """One reconciliation under way."""

    def __init__(
        self, settings: Settings, universe: Universe, arms: Sequence[Arm], *, overlaps: Overlaps, writer: Writer
    ) -> None:
        self.skipped: list[Skipped] = []
        self._settings = settings
        self._universe = universe
        self._arms = arms
        self._overlaps = overlaps
        self._writer = writer
        self._tolerance = Tolerance(settings.reconcile_ticks, settings.reconcile_volume_share)

    def compare(self, symbol: str, start: date, end: date, *, job_id: str, now: datetime) -> pd.DataFrame:
        """Compare one symbol, and write what came of it in one transaction."""
        held = read_held(self._writer.connection, symbol, start, end)
        own = _vendor(held.loc[held["raw_hash"].notna(), "provider"].mode()[0])
        answers = list(self._answers(self._universe[symbol], own, (start, end), now))
        connection = self._writer.connection
        actions, told = read_actions(connection, [symbol])[symbol], read_told(connection, [symbol])[symbol]
        found = (_other(self._universe[symbol], answer, (start, end), actions, told) for answer in answers)
        others = [other for other in found if other is not None]
        for other in others:
            if other.bars is None:
                self._skip(self._universe[symbol], other.stored.provider, f"not comparable: {other.why_not}")
        compared = _compared(held, others, self._tolerance)
        with transaction(connection):
            for answer in answers:
                self._overlaps.record(connection, answer, job_id)
            for other, rows in zip(others, compared, strict=True):
                write_reconciliations(connection, symbol, other.stored, other.span, rows, now=now)
        return _together(
            [
                rows.assign(symbol=symbol, other_provider=other.stored.provider)
                for other, rows in zip(others, compared, strict=True)
            ]
        )

    def _answers(self, instrument: Instrument, own: str, span: tuple[date, date], now: datetime) -> Iterator[Answer]:
        """Answers of the vendors to compare with, by priority; among them those that were asked in vain."""
        found = 0
        for arm in self._arms:
            if found == self._settings.reconcile_vendors:
                return
            if arm.config.name == own:
                continue
            reach = arm.config.first_reachable(last_completed_session(now))
            answer = self._answer(arm, instrument, max(span[0], reach or span[0]), span[1])
            if isinstance(answer, str):
                self._skip(instrument, arm.config.name, answer)
                continue
            if answer.error is not None:
                self._skip(instrument, arm.config.name, str(answer.error))
            found += answer.parsed is not None
            yield answer

    def _answer(self, arm: Arm, instrument: Instrument, first: date, last: date) -> Answer | str:
        """A stored answer, or one asked for now; else why there is none."""
        if first > last:
            return f"reaches back to {first} alone"
        stored = self._overlaps.stored(self._writer.connection, arm.config.name, instrument, first, last)
        if stored is not None:
            return stored
        why_not = why_not_asked(arm, instrument)
        if why_not is not None:
            return why_not
        self._writer.release()
        return self._overlaps.asked(arm, instrument, FetchRequest(instrument.symbol, first, last))

    def _skip(self, instrument: Instrument, provider: str, reason: str) -> None:
        self.skipped.append(Skipped(instrument.symbol, provider, reason))


def _other(
    instrument: Instrument, answer: Answer, span: tuple[date, date], actions: pd.DataFrame, told: pd.DataFrame
) -> _Other | None:
    """What of an answer lies in the span, turned to raw; None where nothing does."""
    stored, parsed = answer.stored, answer.parsed
    if stored is None or parsed is None:
        return None
    first = max(stored.request.start, span[0])
    last = min(stored.request.end, span[1], last_completed_session(stored.fetched_at))
    if first > last:
        return None
    bars = parsed.bars[parsed.bars["date"].isin(instrument.expected_sessions(first, last))]
    bars = bars.drop_duplicates("date", keep="last").reset_index(drop=True)
    try:
        raw = as_raw(bars, parsed, stored, actions, told)
    except AdjustmentError as error:
        return _Other(stored, (first, last), None, str(error))
    if raw is None:
        return _Other(stored, (first, last), None, "its bars are adjusted, and not every action since is known")
    return _Other(stored, (first, last), raw.bars.assign(price_error=price_error(raw.bars, raw.price_factor)))


def _vendor(provider: str) -> str:
    """The vendor behind a provider: an archive is its publisher's word too."""
    return provider.removesuffix("_bulk")


def _compared(held: pd.DataFrame, others: Sequence[_Other], tolerance: Tolerance) -> list[pd.DataFrame]:
    """For each of the others a row a session; see `write_reconciliations` for the columns."""
    held = held.assign(price_error=price_error(held, held["price_factor"].to_numpy(dtype=float)))
    pairs, has_bar = [], held["raw_hash"].notna()
    frames = {str(provider): part for provider, part in held[has_bar].groupby("provider")}
    for other in others:
        name = other.stored.provider
        within = held["date"].between(pd.Timestamp(other.span[0]), pd.Timestamp(other.span[1]))
        ours = held[within & (held["provider"].map(_vendor) != name)]
        if other.bars is None:
            pairs.append(_not_comparable(ours[ours["raw_hash"].notna()]))
            continue
        theirs = other.bars[other.bars["date"].isin(ours["date"])]
        ours = ours[ours["raw_hash"].notna() | ours["date"].isin(theirs["date"])]
        frames[name] = pd.concat([frames[name], theirs]) if name in frames else theirs
        pairs.append(compare(ours, theirs, tolerance).merge(ours[["date", "provider", "raw_hash"]], on="date"))
    odd = odd_ones(frames, tolerance)
    return [rows.assign(odd_one=rows["date"].map(odd).astype(object))[_COLUMNS] for rows in pairs]


def _not_comparable(held: pd.DataFrame) -> pd.DataFrame:
    rows = held[["date", "provider", "raw_hash"]].assign(verdict="not_comparable", field="")
    return rows.assign(value=math.nan, other_value=math.nan, tolerance=math.nan)
