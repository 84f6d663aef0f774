"""The market as time goes by: what of it exists at the instant its clock shows.

Without a clock, and while a `SandboxClock` is not set, the whole market exists, as of the second after its last close.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from market_data.clock import Clock, SandboxClock
from market_data.instruments import Universe
from market_data.sandbox.market import SyntheticMarket
from market_data.sandbox.wire.stamps import eastern_date
from market_data.sessions import last_known_date

if TYPE_CHECKING:
    from market_data.sandbox.defects import Manifest
    from market_data.sandbox.served import ServedMarket

__all__ = ["BEFORE", "Extent", "Timeline", "first_market"]

BEFORE = np.datetime64("1900-01-01", "s")
"""Stands for the last session where there was none."""

_SETTLING = 20 * 3600  # seconds after the close in which a session's volume is not yet whole
_AHEAD, _GROWN_BY = timedelta(days=14), timedelta(days=183)


@dataclass(frozen=True, slots=True)
class Extent:
    """What of a market exists, but for a session under way; it changes three times a day.

    Attributes:
        today: date in New York; actions with a later ex-date are not known yet.
        closed: the last session that closed, `datetime64[s]`; before the first one `BEFORE`.
        settled: the last one whose volume is whole.
    """

    today: date
    closed: np.datetime64
    settled: np.datetime64

    @classmethod
    def whole(cls, market: SyntheticMarket) -> Extent:
        """All of a market."""
        last = market.sessions.to_numpy()[-1] if len(market.sessions) else BEFORE
        return cls(market.end, last, last)

    @classmethod
    def at(cls, market: SyntheticMarket, now: datetime) -> Extent:
        """What exists at an instant."""
        seconds = int(now.timestamp())
        return cls(eastern_date(seconds), _last_closed(market, seconds), _last_closed(market, seconds - _SETTLING))


def _last_closed(market: SyntheticMarket, seconds: int) -> np.datetime64:
    place = int(market.close_seconds.searchsorted(seconds, side="right"))
    last: np.datetime64 = market.sessions.to_numpy()[place - 1] if place else BEFORE
    return last


class Timeline:
    """Gives the market as it is served now; for one thread.

    The market grows with its clock: what is planted in it stands within its first span, and sessions after it are
    clean.

    Args:
        market, manifest: the first span, and what is planted in it.
        clock: what time it is; None for a market that stands still.
    """

    def __init__(self, market: SyntheticMarket, manifest: Manifest, clock: Clock | None = None) -> None:
        self._planted = market
        self._market = market.longer or market
        self._manifest = manifest
        self._clock = clock
        self._served: ServedMarket | None = None

    @property
    def now(self) -> datetime | None:
        """What its clock shows, in whole seconds; None for a market that stands still.

        Raises:
            SettingsError: the clock's file cannot be read.
        """
        return _shown(self._clock)

    @property
    def rate(self) -> float | None:
        """Seconds of its clock for a second of the wall clock, where that is known."""
        return self._clock.rate if isinstance(self._clock, SandboxClock) and self._clock.is_set else None

    def current(self) -> tuple[ServedMarket, int]:
        """The market as served now, and the epoch second it is.

        Raises:
            SettingsError: the clock's file cannot be read.
        """
        now = self.now
        if now is None:
            after = int(self._planted.close_seconds[-1]) + 1 if len(self._planted.sessions) else 0
            return self._as_served(self._planted, Extent.whole(self._planted)), after
        market = self._grown_to(now)
        return self._as_served(market, Extent.at(market, now)), int(now.timestamp())

    def _as_served(self, market: SyntheticMarket, extent: Extent) -> ServedMarket:
        from market_data.sandbox.served import ServedMarket

        held = self._served
        if held is None or held.market is not market or held.extent != extent:
            self._served = held = ServedMarket(market, self._manifest, extent)
        return held

    def _grown_to(self, now: datetime) -> SyntheticMarket:
        if _is_due(now, self._market.end):
            planted = self._planted
            self._market = _grown(planted.universe, start=planted.start, seed=planted.seed, now=now)
        return self._market


def first_market(universe: Universe, *, start: date, end: date, seed: int, clock: Clock | None) -> SyntheticMarket:
    """The market of a span; where its clock is beyond that already, cut from one that reaches further.

    Raises:
        MarketDataError: `start` is after `end`.
        SettingsError: a date is outside the known calendar, or the clock's file cannot be read.
    """
    now = _shown(clock)
    is_beyond = now is not None and start <= end and _is_due(now, end)
    longer = _grown(universe, start=start, seed=seed, now=now) if now is not None and is_beyond else None
    return SyntheticMarket(universe, start=start, end=end, seed=seed, longer=longer)


def _shown(clock: Clock | None) -> datetime | None:
    if clock is None or (isinstance(clock, SandboxClock) and not clock.is_set):
        return None
    return clock().astimezone(UTC).replace(microsecond=0)


def _is_due(now: datetime, end: date) -> bool:
    """Whether a market that ends there is too short: the session to come is to be known as well."""
    return min(now.date() + _AHEAD, last_known_date()) > end


def _grown(universe: Universe, *, start: date, seed: int, now: datetime) -> SyntheticMarket:
    end = min(now.date() + _GROWN_BY, last_known_date())
    return SyntheticMarket(universe, start=start, end=end, seed=seed)
