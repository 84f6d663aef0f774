"""Bringing `features_daily` up to date: only what is absent, or was made from something else, is computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from market_data.clock import Clock, utc_now
from market_data.errors import SettingsError
from market_data.features.causes import by_cause
from market_data.features.compute import compute
from market_data.features.fingerprints import FORMULA_VERSION
from market_data.features.inputs import read_inputs
from market_data.features.lineage import Standing, standing_of
from market_data.features.sessions_made import Formulas, MadeSessions, computed_sessions
from market_data.settings import Settings
from market_data.warehouse.batch import naive_utc
from market_data.warehouse.connection import SCHEMA_VERSION, Database
from market_data.warehouse.features import FeatureRows, remove_features, store_identity, write_features
from market_data.warehouse.store import transaction

Tell = Callable[[int, "int | None"], None]

__all__ = ["FeaturesUpdated", "update"]


@dataclass(frozen=True, slots=True)
class FeaturesUpdated:
    """What an update did.

    Attributes:
        made: sessions of the span that were computed, ascending.
        healed: sessions outside of the span that were computed, since what they are made from had changed.
        unchanged: sessions of the span that were up to date.
        stale: sessions outside of the span that are not up to date, and were left so.
        rows: what became of the rows of the sessions computed.
        nulls: values of these rows that are null.
        by_cause: rows with a null, by the cause that tells why; a row with two counts for both. Most frequent first.
        by_session: rows and nulls of each session computed.
    """

    made: tuple[date, ...] = ()
    healed: tuple[date, ...] = ()
    unchanged: int = 0
    stale: tuple[date, ...] = ()
    rows: FeatureRows = field(default_factory=FeatureRows)
    nulls: int = 0
    by_cause: dict[str, int] = field(default_factory=dict)
    by_session: dict[date, tuple[int, int]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "made": [day.isoformat() for day in self.made],
            "healed": [day.isoformat() for day in self.healed],
            "unchanged": self.unchanged,
            "stale": [day.isoformat() for day in self.stale],
            "rows_inserted": self.rows.inserted,
            "rows_updated": self.rows.updated,
            "rows_unchanged": self.rows.unchanged,
            "rows_removed": self.rows.removed,
            "nulls": self.nulls,
            "rows_with_nulls_by_cause": self.by_cause,
        }


@dataclass
class _Tally:
    rows: FeatureRows = field(default_factory=FeatureRows)
    by_reason: Counter[str] = field(default_factory=Counter)
    by_session: dict[date, tuple[int, int]] = field(default_factory=dict)

    def add(self, made: MadeSessions, counts: FeatureRows) -> None:
        self.rows += counts
        self.by_reason.update(reason for reason in made.reasons.tolist() if reason is not None)
        self.by_session |= {
            day: (rows, nulls)
            for day, rows, nulls in zip(made.days, made.rows.tolist(), made.nulls.tolist(), strict=True)
        }


def update(
    settings: Settings,
    *,
    synthetic: bool,
    start: date | None = None,
    end: date | None = None,
    clock: Clock = utc_now,
    force: bool = False,
    heal: bool = False,
    formulas: Formulas = compute,
    tell: Tell = lambda done, total: None,
) -> FeaturesUpdated:
    """Compute the sessions from `start` to `end` whose features are absent or stale, and write what differs.

    Everything is read once, in one short connection; nothing but the database is opened. Each transaction of writing
    takes well under a second, and a session's rows and the record of what they were made from stand or fall together:
    an update that is cut off goes on where it was.

    Args:
        synthetic: which store.
        start, end: by default everything that the store holds.
        force: compute what is up to date as well.
        heal: compute as well every session outside of the span that was made before and is stale now: a revised bar
            or a new split reaches the `MAX_LOOKBACK` - 1 sessions after it.
        formulas: `compute`, or another in its place.
        tell: takes how many sessions are written, of how many.

    Raises:
        SettingsError: `start` is after `end`.
        WarehouseError: no database, or one that cannot be used.
    """
    if start is not None and end is not None and start > end:
        raise SettingsError(f"start {start} is after end {end}; start must not be later")
    database = Database(settings.database_for(synthetic=synthetic), patience=settings.lock_patience)
    if database.exists():
        database.prepare()
    with database.reading() as connection:
        inputs = read_inputs(connection)
        standing = standing_of(connection, inputs)
        store = store_identity(connection)
    span = _Span(start, end)
    wanted = [day for day in standing.hashes if _is_wanted(day, standing, span, force=force, heal=heal)]
    gone = [day for day in standing.gone if heal or span.holds(day)]
    tally, record = _Tally(), _Record(standing.hashes, store, naive_utc(clock()))
    if inputs is not None:
        for made in computed_sessions(inputs, wanted, formulas):
            with database.writing() as connection, transaction(connection):
                tally.add(made, write_features(connection, made.table(record.made_at), record.of(made)))
            tell(len(tally.by_session), len(wanted))
    if gone:
        with database.writing() as connection, transaction(connection):
            tally.rows += remove_features(connection, gone)
    return _outcome(standing, span, wanted, gone, tally)


@dataclass(frozen=True, slots=True)
class _Span:
    start: date | None
    end: date | None

    def holds(self, day: date) -> bool:
        return (self.start is None or self.start <= day) and (self.end is None or day <= self.end)


def _is_wanted(day: date, standing: Standing, span: _Span, *, force: bool, heal: bool) -> bool:
    if span.holds(day):
        return force or day in standing.outdated
    return heal and day in standing.stale


@dataclass(frozen=True, slots=True)
class _Record:
    """What `feature_partitions` is told of sessions."""

    hashes: dict[date, str]
    store: str
    made_at: datetime

    def of(self, made: MadeSessions) -> pa.Table:
        size = len(made.days)
        return pa.table(
            {
                "date": pa.array(made.days, pa.date32()),
                "inputs_hash": [self.hashes[day] for day in made.days],
                "rows": pa.array(made.rows, pa.int32()),
                "nulls": pa.array(made.nulls, pa.int64()),
                "formula_version": pa.array([FORMULA_VERSION] * size, pa.int32()),
                "schema_version": pa.array([SCHEMA_VERSION] * size, pa.int32()),
                "store": [self.store] * size,
                "made_at": pa.array([self.made_at] * size, pa.timestamp("us")),
            }
        )


def _outcome(
    standing: Standing, span: _Span, wanted: Sequence[date], gone: Sequence[date], tally: _Tally
) -> FeaturesUpdated:
    made = tuple(day for day in wanted if span.holds(day))
    held = sum(span.holds(day) for day in standing.hashes)
    done = {*wanted, *gone}
    return FeaturesUpdated(
        made=made,
        healed=tuple(day for day in wanted if not span.holds(day)),
        unchanged=held - len(made),
        stale=tuple(day for day in (*standing.stale, *standing.gone) if day not in done),
        rows=tally.rows,
        nulls=sum(nulls for _, nulls in tally.by_session.values()),
        by_cause=by_cause(tally.by_reason),
        by_session=tally.by_session,
    )
