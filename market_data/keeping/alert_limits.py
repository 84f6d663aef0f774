"""How many alerts are sent: so many an hour at most, and none of the same thing again within some hours.

What was sent, told and held back is in a small file beside the alerts, so that several processes count together. The
caller holds its lock.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from market_data.keeping.alert_record import Alert, Kind

__all__ = ["HOUR", "REPEATED_AFTER", "AlertLimits", "Decision", "Held"]

HOUR = timedelta(hours=1)
REPEATED_AFTER = timedelta(hours=6)
"""How long the same finding is not told again."""

UNDER_WAY = timedelta(minutes=1)
"""How long a post is taken to be under way when nothing is heard of it: its process may have died."""

SKEW = timedelta(minutes=10)
"""How far ahead of an alert another process's may be; what is further ahead is of a clock that was set back."""


@dataclass(frozen=True, slots=True)
class Held:
    """Alerts that nobody was sent since the last one that was.

    Attributes:
        count: all of them.
        repeats: those among them that said what had been told already.
        undelivered: those among them that the webhook did not take.
        since: instant of the first.
    """

    count: int = 0
    repeats: int = 0
    undelivered: int = 0
    since: datetime | None = None

    def more(self, at: datetime, *, repeats: int = 0, undelivered: int = 0) -> Held:
        """With one more."""
        return Held(self.count + 1, self.repeats + repeats, self.undelivered + undelivered, min(self.since or at, at))

    def plus(self, other: Held) -> Held:
        """Both together."""
        instants = [instant for instant in (self.since, other.since) if instant is not None]
        return Held(
            self.count + other.count,
            self.repeats + other.repeats,
            self.undelivered + other.undelivered,
            min(instants, default=None),
        )

    def told(self, now: datetime) -> str:
        """`12 more were held back since 10:00 UTC (9 repeats)`; empty where there was none."""
        if not self.count or self.since is None:
            return ""
        since = self.since.astimezone(UTC)
        day = "" if since.date() == now.astimezone(UTC).date() else f"{since:%Y-%m-%d} "
        numbers = [(self.repeats, "repeats"), (self.undelivered, "could not be delivered")]
        why = ", ".join(f"{number} {what}" for number, what in numbers if number)
        verb = "was" if self.count == 1 else "were"
        return f"{self.count} more {verb} held back since {day}{since:%H:%M} UTC" + (f" ({why})" if why else "")


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of an alert.

    Attributes:
        alert: what is sent of it, without the findings told before; None when it is held back.
        why_held: `rate` or `repeat`; empty for one that is sent.
        held: those held back before it, which it tells of.
    """

    alert: Alert | None
    why_held: str = ""
    held: Held = field(default_factory=Held)


class AlertLimits:
    """The file, read by `load` and written by `save`."""

    def __init__(self, file: Path, *, an_hour: int) -> None:
        self.file = file
        self.an_hour = an_hour
        self.sent: list[datetime] = []
        self.told: dict[str, datetime] = {}
        self.under_way: dict[str, datetime] = {}
        self.held = Held()

    def load(self, now: datetime) -> None:
        """Read it; instants too old to count, or of a time to come since a clock was set back, are left out.

        A file that cannot be parsed counts as none: at worst a few alerts more are sent.
        """
        try:
            document = json.loads(self.file.read_text(encoding="utf-8"))
            sent = [_instant(text) for text in document["sent"]]
            told, under_way = (
                {key: _instant(text) for key, text in document[name].items()} for name in ("told", "under_way")
            )
            held = Held(**document["held"] | {"since": _instant(document["held"]["since"], optional=True)})
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            sent, told, under_way, held = [], {}, {}, Held()
        latest = now + SKEW
        self.sent = [at for at in sent if now - HOUR < at <= latest]
        self.told = {key: at for key, at in told.items() if now - REPEATED_AFTER < at <= latest}
        self.under_way = {key: at for key, at in under_way.items() if now - UNDER_WAY < at <= latest}
        self.held = held if held.since is None or held.since <= now else replace(held, since=now)

    def save(self) -> None:
        """Write it whole, or leave the old one."""
        held = {name: getattr(self.held, name) for name in ("count", "repeats", "undelivered")}
        document: dict[str, Any] = {
            "sent": [at.isoformat() for at in self.sent],
            "told": {key: at.isoformat() for key, at in self.told.items()},
            "under_way": {key: at.isoformat() for key, at in self.under_way.items()},
            "held": held | {"since": self.held.since.isoformat() if self.held.since else None},
        }
        part = self.file.with_name(f"{self.file.name}.{os.getpid()}.part")
        part.write_text(json.dumps(document), encoding="utf-8")
        part.replace(self.file)

    def decide(self, alert: Alert) -> Decision:
        """Count an alert as about to be sent, which `settle` ends, or as held back."""
        known = self.told.keys() | self.under_way.keys()
        is_test = alert.kind is Kind.TEST
        fresh = tuple(found for found in alert.findings if is_test or alert.key(found) not in known)
        if not fresh:
            self.held = self.held.more(alert.at, repeats=1)
            return Decision(None, "repeat")
        if len(self.sent) >= self.an_hour:
            self.held = self.held.more(alert.at)
            return Decision(None, "rate")
        self.sent.append(alert.at)
        self.under_way |= {alert.key(found): alert.at for found in fresh}
        decision = Decision(replace(alert, findings=fresh), held=self.held)
        self.held = Held()
        return decision

    def settle(self, decision: Decision, *, is_sent: bool) -> None:
        """Note whether what was to be sent was taken; if not, it is no repeat the next time, but counts as held."""
        alert = decision.alert
        assert alert is not None
        keys = [alert.key(finding) for finding in alert.findings]
        for key in keys:
            self.under_way.pop(key, None)
        if is_sent:
            self.told |= dict.fromkeys(keys, alert.at)
        else:
            self.held = self.held.plus(decision.held.more(alert.at, undelivered=1))


def _instant(text: Any, *, optional: bool = False) -> Any:
    if optional and text is None:
        return None
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return instant
