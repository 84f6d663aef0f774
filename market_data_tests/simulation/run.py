"""One run: a policy, a scenario and a seed, day by day."""

from __future__ import annotations

import statistics
import tempfile
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

from market_data.errors import QuotaExhausted
from market_data.instruments import Instrument
from market_data.selection.bandit import DayOfAnswers
from market_data.selection.choice import Outcome, Selector, Wanted
from market_data.selection.closing import is_of_the_request
from market_data.selection.meter import Meter
from market_data.selection.quota import QuotaLedger
from market_data.selection.vendors import Arm
from market_data_tests.simulation.policies import opened
from market_data_tests.simulation.scenario import Scenario, Window
from market_data_tests.simulation.vendors import SimulatedClock, SimulatedLimiter, SimulatedVendor, SwiftLedger

__all__ = ["Result", "simulate"]

SYNC_AT = time(0, 15)
HISTORY = 30
"""Days of answers a job is told of, as in a real one."""


@dataclass(slots=True)
class Result:
    """What a run came to.

    Attributes:
        due: symbol-windows by day of the simulation on which they fell due.
        accepted: by the day on which they were accepted.
        single_due: those of symbols that one vendor alone serves.
        single_accepted: those of them that were accepted.
        calls: sent, by vendor and day.
        wasted: those of them that brought no accepted batch.
        late: days from due to accepted, summed over the sessions and backfill windows.
        items: how many of these there were.
        exceeded: calls beyond a quota, as the vendors counted them.
        minutes: simulated time used, by day.
    """

    policy: str
    scenario: str
    seed: int
    due: list[int] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)
    single_due: int = 0
    single_accepted: int = 0
    calls: dict[str, list[int]] = field(default_factory=dict)
    wasted: int = 0
    late: int = 0
    items: int = 0
    exceeded: int = 0
    minutes: list[float] = field(default_factory=list)


class _History:
    """Answers of each vendor by date, as `provider_metrics` keeps them."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, int, bool]] = Counter()
        self._latencies: dict[tuple[str, int], list[float]] = defaultdict(list)

    def note(self, day: int, outcome: Outcome) -> None:
        """Count an answer; what was beyond a vendor's reach or quota says nothing of it."""
        error = outcome.error
        if error is not None and (is_of_the_request(error) or isinstance(error, QuotaExhausted)):
            return
        self._counts[outcome.provider, day, outcome.accepted] += 1
        if outcome.latency_ms is not None:
            self._latencies[outcome.provider, day].append(outcome.latency_ms)

    def days(self, scenario: Scenario, today: int) -> list[DayOfAnswers]:
        """The days up to today, for jobs to learn from."""
        known = sorted({(provider, day) for provider, day, _ in self._counts if day >= today - HISTORY})
        return [self._day(scenario, provider, day) for provider, day in known]

    def _day(self, scenario: Scenario, provider: str, day: int) -> DayOfAnswers:
        latencies = self._latencies.get((provider, day))
        return DayOfAnswers(
            provider,
            scenario.date_of(day),
            accepted=self._counts[provider, day, True],
            rejected=self._counts[provider, day, False],
            latency_ms=statistics.median(latencies) if latencies else None,
        )


class _Run:
    def __init__(self, scenario: Scenario, policy: str, seed: int, ledger: QuotaLedger, clock: SimulatedClock) -> None:
        self.scenario, self.seed, self.clock = scenario, seed, clock
        self.result = Result(policy, scenario.name, seed)
        self.history = _History()
        self.synced = scenario.synced(seed)
        self.backlog: deque[Window] = deque()
        self.only: dict[str, str] = {item.symbol: vendor for item, vendor in self.synced if vendor}
        self.open_since = {item.symbol: 0 for item, _ in self.synced}
        self.arms, self.vendors = [], []
        for config in scenario.configs:
            meter = Meter(config, ledger, SimulatedLimiter(config.rates, clock), clock=clock.seconds)
            vendor = SimulatedVendor(config, scenario.behaviours[config.name], meter.permit, clock, seed)
            self.arms.append(Arm(config, vendor, meter))
            self.vendors.append(vendor)

    def day(self, selector: Selector, day: int) -> None:
        """The sync of all symbols, then what is open of the backfills, until the day's time is over."""
        scenario, result = self.scenario, self.result
        today = scenario.date_of(day)
        begins = datetime.combine(today, SYNC_AT, tzinfo=UTC)
        self.clock.now = begins
        deadline = begins + timedelta(minutes=scenario.minutes)
        fresh = scenario.backfilled(day, self.seed)
        self.backlog.extend(fresh)
        self.only |= {window.instrument.symbol: window.only for window in fresh if window.only}
        for vendor in self.vendors:
            vendor.begin(scenario, day, self.only, [item.symbol for item, _ in self.synced])
        sync = [self._sync_window(i, item, only, day) for i, (item, only) in enumerate(self.synced)]
        result.due.append(len(sync) + len(fresh))
        result.accepted.append(0)
        result.single_due += sum(window.only is not None for window in [*sync, *fresh])
        self._job(selector, f"sync-{today}", sync, day, deadline)
        if self.backlog:
            left = self._job(selector, f"backfill-{today}", list(self.backlog), day, deadline)
            self.backlog = deque(left)
        result.minutes.append((self.clock.now - begins).total_seconds() / 60)

    def _sync_window(self, number: int, instrument: Instrument, only: str | None, day: int) -> Window:
        first = self.scenario.date_of(self.open_since[instrument.symbol])
        return Window(number, instrument, only, day, first, self.scenario.date_of(day))

    def _job(
        self, selector: Selector, job_id: str, windows: Sequence[Window], day: int, deadline: datetime
    ) -> list[Window]:
        """Carry windows out; returns those that stay open."""
        left = []
        selector.begin(job_id, len(windows), self.history.days(self.scenario, day))
        for window in windows:
            if self.clock.now < deadline and self._is_accepted(selector, window, day, deadline):
                self._note_accepted(window, day)
            else:
                left.append(window)
        return left

    def _is_accepted(self, selector: Selector, window: Window, day: int, deadline: datetime) -> bool:
        tried: tuple[str, ...] = ()
        while self.clock.now < deadline:
            vendor = selector.choose(Wanted(window.instrument, window.first, window.last, tried)).provider
            if vendor is None:
                return False
            answer = vendor.answer(window)
            tried = (*tried, vendor.name)
            self.result.wasted += answer.calls - answer.accepted
            if answer.calls:
                outcome = Outcome(vendor.name, answer.accepted, answer.error, answer.latency_ms)
                selector.tell(outcome)
                self.history.note(day, outcome)
            if answer.accepted:
                return True
        return False

    def _note_accepted(self, window: Window, day: int) -> None:
        result, symbol = self.result, window.instrument.symbol
        result.accepted[-1] += 1
        result.single_accepted += window.only is not None
        if symbol in self.open_since:
            waited = range(day - self.open_since[symbol] + 1)
            self.open_since[symbol] = day + 1
        else:
            waited = range(day - window.due, day - window.due + 1)
        result.late += sum(waited)
        result.items += len(waited)

    def end(self) -> Result:
        """The result; what is still open counts as late up to now."""
        result, days = self.result, self.scenario.days
        for since in self.open_since.values():
            result.late += sum(range(1, days - since + 1))
            result.items += days - since
        result.late += sum(days - window.due for window in self.backlog)
        result.items += len(self.backlog)
        result.exceeded = sum(vendor.exceeded() for vendor in self.vendors)
        result.calls = {v.name: [v.calls_by_day[day] for day in range(days)] for v in self.vendors}
        return result


def simulate(
    scenario: Scenario, policy: str, seed: int, *, ledger_of: Callable[..., QuotaLedger] = SwiftLedger
) -> Result:
    """Run a policy through a scenario.

    Args:
        ledger_of: makes the ledger from a file and `clock`.
    """
    clock = SimulatedClock(datetime.combine(scenario.start, SYNC_AT, tzinfo=UTC))
    with tempfile.TemporaryDirectory(prefix="market-data-simulation-") as folder:
        ledger = ledger_of(Path(folder) / "calls.db", clock=clock)
        try:
            run = _Run(scenario, policy, seed, ledger, clock)
            with opened(policy, run.arms, ledger, seed=seed, clock=clock) as selector:
                for day in range(scenario.days):
                    run.day(selector, day)
            return run.end()
        finally:
            if isinstance(ledger, SwiftLedger):
                ledger.close_file()
