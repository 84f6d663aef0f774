"""The quota-aware selector: hard masks first, then Thompson sampling over the vendors that are left."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from market_data.errors import LeftAlone, OutOfWindow, QuotaExhausted
from market_data.instruments import Instrument
from market_data.providers.base import Clock, Provider, utc_now
from market_data.providers.config import ProviderConfig
from market_data.records import EVERY
from market_data.selection.bandit import Belief, DayOfAnswers, learned, prior_of, random_of, sampled
from market_data.selection.choice import Choice, Considered, Outcome, Wanted
from market_data.selection.closing import FAILURES, is_of_the_request, note_error
from market_data.selection.meter import Meter
from market_data.selection.quota import QuotaLedger, Standing, shown, spent_text
from market_data.sessions import last_completed_session

__all__ = ["Arm", "QuotaAwareSelector"]

_EVERYONE = Instrument(EVERY)
_KEPT = "its calls are scarce, and none of them is spent to spare the wait for another"
_PLENTY = 1e9  # stands for no limit, so that weights can be compared


@dataclass(slots=True)
class Arm:
    """A vendor to choose from.

    Attributes:
        provider: its client; None where it can't be asked at all.
        meter: its permits.
        unusable: why it can't be asked at all, such as a missing key.
        beyond: starts of the windows it called out of its reach since it last gave one.
    """

    config: ProviderConfig
    provider: Provider | None
    meter: Meter
    unusable: str | None = None
    belief: Belief = field(init=False)
    beyond: list[date] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.belief = prior_of(self.config.priority)


class QuotaAwareSelector:
    """Chooses for each symbol among the vendors that may be asked.

    Args:
        arms: the vendors, by priority.
        seed: with job, symbol, number of vendors tried before and vendor it gives each draw, so that a decision can be
            redone from its audit record.
    """

    def __init__(self, arms: Sequence[Arm], ledger: QuotaLedger, *, seed: int = 0, clock: Clock = utc_now) -> None:
        self._arms = tuple(arms)
        self._ledger = ledger
        self._seed = seed
        self._clock = clock
        self._lock = threading.Lock()
        self._job_id = ""
        self._open = 1

    def begin(self, job_id: str, symbols: int, history: Sequence[DayOfAnswers]) -> None:
        """Forget what was believed, and believe the history."""
        today = self._clock().date()
        with self._lock:
            self._job_id, self._open = job_id, max(1, symbols)
            for arm in self._arms:
                days = [day for day in history if day.provider == arm.config.name]
                arm.belief = learned(prior_of(arm.config.priority), days, today)
                arm.beyond.clear()

    def choose(self, wanted: Wanted) -> Choice:
        """The vendor of the best value among those that may be asked at once; else the one that may be soonest.

        While a vendor of better value that has calls to spare is only cooling, one that has none is not asked instead.
        """
        with self._lock:
            now, standings = self._clock(), self._ledger.standing(*(arm.config for arm in self._arms))
            best_first, considered = self._valued(wanted, standings, now)
            return self._reserved(best_first, considered)

    def choose_each(self, wanted: Sequence[Wanted]) -> list[Choice]:
        """The vendor of the best value for each of many, whatever the rates; the quotas are looked at once."""
        with self._lock:
            now, standings = self._clock(), self._ledger.standing(*(arm.config for arm in self._arms))
            choices = []
            for one in wanted:
                best_first, considered = self._valued(one, standings, now)
                best = best_first[0] if best_first else None
                point_in_time = best is not None and best.config.point_in_time_tickers
                choices.append(Choice(best.provider if best else None, tuple(considered.values()), point_in_time))
            return choices

    def choose_for_all(self, sessions: Sequence[date], symbols: int) -> Choice:
        """A vendor that answers for every symbol at once, where its calls weigh less than a call a symbol does.

        A call weighs its share of what a vendor can spare; a call a symbol that of all vendors together.
        """
        if not sessions:
            return Choice(None)
        everyone = Wanted(_EVERYONE, min(sessions), max(sessions))
        with self._lock:
            now, standings = self._clock(), self._ledger.standing(*(arm.config for arm in self._arms))
            budgets = {
                arm.config.name: standings[arm.config.name].budget(now)
                for arm in self._arms
                if _mask(arm, everyone, standings[arm.config.name], now) is None
            }
            for arm in self._arms:
                own = budgets.get(arm.config.name, 0.0) if arm.config.grouped else 0.0
                if len(sessions) <= own and _weight(len(sessions), own) < _weight(symbols, sum(budgets.values())):
                    return Choice(arm.provider, (Considered(arm.config.name),))
        return Choice(None)

    def tell(self, outcome: Outcome) -> None:
        """Learn from an answer, and leave the vendor alone where it calls for that."""
        with self._lock:
            arm = next((arm for arm in self._arms if arm.config.name == outcome.provider), None)
            if arm is None:
                return
            self._open = max(1, self._open - outcome.accepted)
            if outcome.error is None:
                self._ledger.forget_failures(arm.config.name)
                arm.beyond.clear()
            else:
                note_error(self._ledger, arm.config, outcome.error, self._clock())
            if isinstance(outcome.error, OutOfWindow) and outcome.first is not None:
                arm.beyond.append(outcome.first)
            if not _says_nothing_of_quality(outcome):
                arm.belief = arm.belief.told(accepted=outcome.accepted, latency_ms=outcome.latency_ms)

    def _valued(
        self, wanted: Wanted, standings: Mapping[str, Standing], now: datetime
    ) -> tuple[list[Arm], dict[str, Considered]]:
        """The vendors that may be asked, that of the best value first, and what each was considered with."""
        tried = sum(arm.config.name in wanted.tried for arm in self._arms)
        considered: dict[str, Considered] = {}
        free: list[tuple[float, Arm]] = []
        for arm in self._arms:
            name = arm.config.name
            masked = _mask(arm, wanted, standings[name], now)
            draw = None
            if masked is None:
                scarcity = min(1.0, self._open / max(1.0, standings[name].budget(now)))
                random = random_of(self._seed, self._job_id, wanted.instrument.symbol, tried, name)
                draw = sampled(arm.belief, random, scarcity=scarcity)
                free.append((draw.value, arm))
            considered[name] = Considered(name, masked, draw)
        return [arm for _, arm in sorted(free, key=_value, reverse=True)], considered

    def _reserved(self, best_first: list[Arm], considered: dict[str, Considered]) -> Choice:
        cooling: list[Arm] = []
        spares_a_wait = True
        for arm in best_first:
            known = considered[arm.config.name]
            # A call that may be missed later does not go to save the wait for one that won't be.
            if _is_scarce(known) and not spares_a_wait:
                considered[arm.config.name] = Considered(known.provider, _KEPT, known.draw)
                continue
            if arm.meter.reserve():
                return Choice(arm.provider, tuple(considered.values()), arm.config.point_in_time_tickers)
            masked = f"its rate allows the next call in {arm.meter.limiter.ready_in():.1f} s"
            considered[arm.config.name] = Considered(known.provider, masked, known.draw)
            cooling.append(arm)
            spares_a_wait = spares_a_wait and _is_scarce(known)
        soonest = min(cooling, key=lambda arm: arm.meter.limiter.ready_in(), default=None)
        if soonest is None:
            return Choice(None, tuple(considered.values()))
        name = soonest.config.name
        considered[name] = Considered(name, draw=considered[name].draw)  # it is asked, and waited for
        return Choice(soonest.provider, tuple(considered.values()), soonest.config.point_in_time_tickers)


def _mask(arm: Arm, wanted: Wanted, standing: Standing, now: datetime) -> str | None:
    """Why a vendor must not be asked; None when it may."""
    if arm.config.name in wanted.tried:
        return "tried before"
    if arm.unusable or arm.provider is None:
        return arm.unusable or "it cannot be asked"
    if standing.closure is not None:
        return f"left alone until {shown(standing.closure.until)}: {standing.closure.reason}"
    spent = standing.spent()
    if spent is not None:
        return spent_text(arm.config.name, spent)
    if not arm.provider.serves(wanted.instrument):
        return "does not serve this instrument"
    return _beyond_reach(arm, wanted, now)


def _beyond_reach(arm: Arm, wanted: Wanted, now: datetime) -> str | None:
    last = last_completed_session(now)
    reach = arm.config.first_reachable(last)
    if wanted.interval != "1d":
        days = arm.config.intraday_reach_days
        if days == 0:
            return f"serves no minutes in tier {arm.config.tier}"
        if wanted.is_live and not getattr(arm.provider, "asks_since", False):
            return "cannot be asked for the newest minutes alone"
        reach = None if days is None else last - timedelta(days=days)
    if reach is not None and wanted.first < reach:
        return f"reaches back to {reach}; {wanted.first} is wanted"
    # One symbol may lack its early years; a plan that does not reach them says so of every symbol.
    if len(arm.beyond) >= FAILURES and wanted.first <= max(arm.beyond):
        return f"said {len(arm.beyond)} times in a row that {max(arm.beyond)} is out of its reach"
    return None


def _is_scarce(known: Considered) -> bool:
    """Whether what is still open would take all the calls the vendor can spare."""
    return known.draw is not None and known.draw.scarcity >= 1


def _weight(calls: int, budget: float) -> float:
    return calls / min(budget, _PLENTY)


def _value(item: tuple[float, Arm]) -> float:
    return item[0]


def _says_nothing_of_quality(outcome: Outcome) -> bool:
    error = outcome.error
    return error is not None and (isinstance(error, QuotaExhausted | LeftAlone) or is_of_the_request(error))
