"""What time it is: the one clock everything takes, so that days can be played through in seconds.

A real store goes by the wall clock, always. The sandbox has a time of its own once it was set: a small file beside the
synthetic store says what instant it was at which instant of the wall clock, and how fast it runs. Every process that
works on the synthetic store reads that file, so that market, vendors, schedules and sensors agree.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from market_data.errors import SettingsError
from market_data.settings import Settings

__all__ = ["Clock", "SandboxClock", "clock_of", "market_end", "utc_now"]

Clock = Callable[[], datetime]
"""Gives the current instant, timezone-aware."""


def utc_now() -> datetime:
    """The current instant by the wall clock, UTC; the one default of every injected clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class _Setting:
    instant: datetime
    set_at: datetime
    rate: float

    def at(self, wall: datetime) -> datetime:
        """What it shows; a clock that runs faster than the wall's never passes it."""
        try:
            return min(self.instant + (wall - self.set_at) * self.rate, wall)
        except OverflowError:
            return wall


class SandboxClock:
    """The sandbox's time: the wall clock's until it is set, then that of its file, and never later than the wall's.

    The file is read anew each time, which takes some 20 microseconds: its times alone would not tell of two changes
    within one tick of the file system.

    Args:
        file: where the setting is kept.
        wall: the wall clock.
    """

    def __init__(self, file: Path, *, wall: Clock = utc_now) -> None:
        self.file = file
        self._wall = wall
        self._read: tuple[str, _Setting] | None = None

    def __call__(self) -> datetime:
        """The current instant of the sandbox, UTC.

        Raises:
            SettingsError: the file cannot be read.
        """
        setting = self._current()
        return self._wall() if setting is None else setting.at(self._wall())

    @property
    def is_set(self) -> bool:
        """Whether the sandbox has a time of its own."""
        return self._current() is not None

    @property
    def rate(self) -> float:
        """Its seconds for a second of the wall clock; 0 for a clock that stands."""
        setting = self._current()
        return 1.0 if setting is None else setting.rate

    def set(self, instant: datetime, *, rate: float = 1.0) -> None:
        """Set it; every process sees that at once.

        Raises:
            SettingsError: an instant without zone, one later than the wall clock's, or a rate that cannot be.
        """
        wall = self._wall()
        if instant.tzinfo is None:
            raise SettingsError(f"{instant} has no time zone; write it as in 2026-01-21T00:10Z")
        if instant > wall:
            raise SettingsError(f"{instant:%Y-%m-%d %H:%M %Z} is later than now; the sandbox has no future")
        if not 0 <= rate < math.inf:
            raise SettingsError(
                f"rate {rate:g} is not a number from 0 on; 0 stops the clock, 1 lets it run as the wall's"
            )
        document = {"instant": instant.astimezone(UTC).isoformat(), "set_at": wall.isoformat(), "rate": rate}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        part = self.file.with_name(f"{self.file.name}.{os.getpid()}.part")
        part.write_text(json.dumps(document), encoding="utf-8")
        part.replace(self.file)

    def advance(self, by: timedelta) -> datetime:
        """Move it on, keeping its rate; returns the new instant. Errors as `set`."""
        instant = self() + by
        self.set(instant, rate=self.rate)
        return instant

    def reset(self) -> None:
        """Let it be the wall clock again."""
        self.file.unlink(missing_ok=True)

    def _current(self) -> _Setting | None:
        try:
            text = self.file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise _damaged(self.file, error) from None
        read = self._read
        if read is None or read[0] != text:
            self._read = read = (text, _parsed(text, self.file))
        return read[1]


def _parsed(text: str, file: Path) -> _Setting:
    try:
        document = json.loads(text)
        instant, set_at = (_instant(document[name]) for name in ("instant", "set_at"))
        rate = float(document["rate"])
        if not 0 <= rate < math.inf:
            raise ValueError(f"rate {rate:g} is not a number from 0 on")
        return _Setting(instant, set_at, rate)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise _damaged(file, error) from None


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return instant.astimezone(UTC)


def _damaged(file: Path, error: Exception) -> SettingsError:
    return SettingsError(f"{file}: not a setting of the sandbox's clock: {error}; delete it or set it anew")


def clock_of(settings: Settings, *, synthetic: bool) -> Clock:
    """The clock of a store: the wall clock for a real one, the sandbox's for a synthetic one."""
    return SandboxClock(settings.sandbox_clock_file) if synthetic else utc_now


def market_end(settings: Settings, clock: Clock) -> date:
    """Last date of the synthetic market: that of the window, or the day its clock shows, once that was set."""
    if isinstance(clock, SandboxClock) and clock.is_set:
        return max(settings.window_end, clock().date())
    return settings.window_end
