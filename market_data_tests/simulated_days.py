"""Days played through by the sandbox's clock: real schedule and sensor functions, their runs carried out at once.

A run is carried out by the functions its assets call, without the event log, so that months pass in seconds. The tests
of the Dagster layer hold the assets to calling them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from market_data.clock import SandboxClock
from market_data.definitions import build_definitions
from market_data.defs.assets import instant
from market_data.ingest.gaps.run import fill_due_gaps
from market_data.ingest.intraday.poller import poll_session
from market_data.ingest.partitions import complete
from market_data.ingest.sources import Source, open_source
from market_data.ingest.sync.plan import SyncSpan
from market_data.ingest.sync.steps import fetch_due, load_received, recheck
from market_data.instruments import Universe, load_universe
from market_data.sandbox.server import Sandbox
from market_data.settings import Settings, load_settings
from market_data.warehouse.connection import Database

__all__ = ["SimulatedDays", "Tick"]

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@dataclass(frozen=True, slots=True)
class Tick:
    """What a schedule or a sensor answered: the run it asked for, or why it skipped."""

    at: datetime
    name: str
    request: dg.RunRequest | None
    skipped: str


@dataclass(slots=True)
class SimulatedDays:
    """A synthetic store, the sandbox it is filled from, and the daemon that ticks.

    Attributes:
        ticks: every answer of a schedule or sensor so far.
        cursors: of the sensors.
    """

    folder: Path
    symbols: tuple[str, ...]
    window: tuple[date, date]
    more: dict[str, str] = field(default_factory=dict)
    ticks: list[Tick] = field(default_factory=list)
    cursors: dict[str, str | None] = field(default_factory=dict)
    sandbox: Sandbox = field(init=False)
    clock: SandboxClock = field(init=False)
    settings: Settings = field(init=False)
    universe: Universe = field(init=False)
    definitions: dg.Definitions = field(init=False)
    instance: dg.DagsterInstance = field(init=False)
    _runs: set[str] = field(default_factory=set)

    @contextmanager
    def running(self) -> Iterator[SimulatedDays]:
        """The sandbox up, and the settings in the environment that point at it."""
        universe = self.folder / "universe.csv"
        universe.write_text("symbol,listed_by\n" + "".join(f"{symbol},2020-01-02\n" for symbol in self.symbols))
        given = {
            "RUNTIME": str(self.folder / "runtime"), "UNIVERSE": str(universe), "SOURCE": "sandbox",
            "WINDOW_START": str(self.window[0]), "WINDOW_END": str(self.window[1]), "RETRY_WAIT": "0",
        }  # fmt: skip
        self.universe = load_universe(universe)
        self.clock = SandboxClock(self.folder / "runtime" / "sandbox_clock.json")
        self.at(self.window[1] + timedelta(days=1), time(0, 15))
        start, end = self.window
        self.sandbox = Sandbox(self.universe, start=start, end=end, seed=5, clock=self.clock)
        self.instance = dg.DagsterInstance.ephemeral(str(self.folder / "dagster"))
        with self.sandbox, pytest.MonkeyPatch.context() as patch:
            for name, value in {**given, **self.more, "SANDBOX_URL": self.sandbox.url}.items():
                patch.setenv(f"MARKET_DATA_{name}", value)
            self.settings = load_settings()
            self.definitions = build_definitions()
            with Database(self.settings.database_for(synthetic=True)).kept_open():
                yield self
        self.instance.dispose()

    def at(self, day: date, moment: time) -> None:
        """Let it be that time, UTC, and stay so."""
        self.clock.set(datetime.combine(day, moment, UTC), rate=0)

    def schedule(self, name: str) -> Tick:
        """Let a schedule tick, and carry out the run it asks for."""
        definition = self.definitions.resolve_schedule_def(name)
        with dg.build_schedule_context(
            self.instance, resources=self._resources(), scheduled_execution_time=self.clock()
        ) as context:
            answer = definition.evaluate_tick(context)
        return self._answered(name, answer.run_requests or [], answer.skip_message)

    def sensor(self, name: str) -> Tick:
        """Let a sensor tick, and carry out the run it asks for."""
        definition = self.definitions.resolve_sensor_def(name)
        with dg.build_sensor_context(
            self.instance,
            cursor=self.cursors.get(name),
            resources=self._resources(),
            sensor_name=name,
            definitions=self.definitions,
        ) as context:
            answer = definition.evaluate_tick(context)
        self.cursors[name] = answer.cursor
        return self._answered(name, answer.run_requests or [], answer.skip_message)

    def _resources(self) -> dict[str, Any]:
        return {"market_data": self.definitions.resources["market_data"]}

    def _answered(self, name: str, requests: list[dg.RunRequest], skipped: str | None) -> Tick:
        assert len(requests) <= 1, f"{name} asked for {len(requests)} runs at once"
        request = requests[0] if requests else None
        tick = Tick(self.clock(), name, request, skipped or "")
        self.ticks.append(tick)
        if request is not None and (request.run_key is None or request.run_key not in self._runs):
            self._runs.add(request.run_key or "")
            getattr(self, f"_run_{name}")(request)
        return tick

    @contextmanager
    def source(self) -> Iterator[Source]:
        """The vendors, opened."""
        with open_source("sandbox", self.settings, self.universe) as source:
            yield source

    def _of_run(self) -> dict[str, Any]:
        return {"job_id": f"run-{len(self.ticks)}", "clock": self.clock}

    def _run_daily_sync(self, request: dg.RunRequest) -> None:
        since = request.run_config["ops"]["raw_bars"]["config"]["since"]
        start, end = (date.fromisoformat(request.tags[name]) for name in (RANGE_START, RANGE_END))
        span, of_run, store = SyncSpan(start, end, instant(since)), self._of_run(), (self.settings, self.universe)
        with self.source() as source:
            fetch_due(*store, source, span, symbols=source.served, **of_run)
        load_received(*store, span, label="sandbox", synthetic=True, **of_run)
        recheck(*store, span, label="sandbox", synthetic=True, **of_run)
        complete(*store, symbols=list(self.universe), synthetic=True, start=start, end=end, clock=self.clock)

    def _run_gap_filler(self, request: dg.RunRequest) -> None:
        with self.source() as source:
            fill_due_gaps(self.settings, self.universe, source, symbols=list(self.universe), **self._of_run())

    def _run_intraday_session(self, request: dg.RunRequest) -> None:
        session = date.fromisoformat(request.partition_key or "")
        symbols = self.universe.select(self.settings.intraday_symbols)
        with self.source() as source:
            poll_session(self.settings, self.universe, source, session, symbols, sleep=self._sleep, **self._of_run())

    def _sleep(self, seconds: float) -> None:
        self.clock.advance(timedelta(seconds=seconds))

    def counted(self, name: str) -> Counter[str]:
        """Ticks of a schedule or sensor: runs and skips."""
        return Counter("run" if tick.request else "skip" for tick in self.ticks if tick.name == name)

    def rows(self, query: str, values: list[Any] | None = None) -> list[tuple[Any, ...]]:
        """What a query of the database gives."""
        with Database(self.settings.database_for(synthetic=True)).reading() as connection:
            return connection.execute(query, values or []).fetchall()
