"""The book of alerts: a line of JSON for each, and a post to the webhook for those that are not held back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from market_data.clock import Clock, utc_now
from market_data.errors import MarketDataError
from market_data.keeping.alert_limits import AlertLimits, Decision
from market_data.keeping.alert_record import Alert, Finding, Kind, Severity
from market_data.keeping.alert_text import message
from market_data.keeping.webhook import PAUSE, TIMEOUT, post
from market_data.settings import Settings

__all__ = ["AlertBook", "Delivery", "trial"]

NOT_SET = "not set"
SENT = "sent"
_PATIENCE = 20.0
_TAIL = 512 * 1024


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of an alert.

    Attributes:
        webhook: as its line says: `sent`, `not set`, `held: rate`, `held: repeat`, or `failed:` and why.
        held: what was told of alerts held back before.
    """

    webhook: str
    held: str = ""

    @property
    def is_sent(self) -> bool:
        """Whether the webhook took it."""
        return self.webhook == SENT


class AlertBook:
    """`alerts.jsonl` of the runtime folder, and the webhook of the settings.

    After the webhook failed once, an object of this class leaves it alone, so that a caller with many alerts waits
    once; open another one for the next round.

    Args:
        settings: where the file lies, the webhook, and how many alerts an hour it gets.
        timeout, pause: seconds, as `webhook.post` takes them.
    """

    def __init__(self, settings: Settings, *, timeout: float = TIMEOUT, pause: float = PAUSE) -> None:
        self.file = settings.runtime / "alerts.jsonl"
        self._webhook = settings.alert_webhook
        self._limits = AlertLimits(settings.runtime / "alerts_state.json", an_hour=settings.alerts_an_hour)
        self._timeout, self._pause = timeout, pause
        self._failure = ""

    def send(self, alert: Alert) -> Delivery:
        """Post the alert unless it is held back, and write its line whatever became of that.

        A webhook that fails, hangs or refuses is noted in the line and harms nothing. A finding told within the last
        6 hours is left out, and an alert without another one, or beyond the number an hour, is held back: counted, and
        told with the next one that is sent. What time it is, the alert itself says.

        Raises:
            MarketDataError: the files cannot be written; the alert is to be sent anew.
        """
        if self._webhook is None:
            with self._held():
                return self._noted(alert, Delivery(NOT_SET))
        with self._counted(alert.at):
            decision = self._limits.decide(alert)
        if decision.alert is None:
            with self._held():
                return self._noted(alert, Delivery(f"held: {decision.why_held}"))
        delivery = self._posted(decision)
        with self._counted(alert.at):
            self._limits.settle(decision, is_sent=delivery.is_sent)
            return self._noted(alert, delivery)

    def recent(self, number: int) -> list[dict[str, Any]]:
        """The newest lines, oldest first; one that is torn is passed over."""
        try:
            with self.file.open("rb") as stream:
                start = max(0, stream.seek(0, os.SEEK_END) - _TAIL)
                stream.seek(start)
                lines = stream.read().splitlines()
        except FileNotFoundError:
            return []
        found = [_parsed(line) for line in (lines[1:] if start else lines)]
        return [line for line in found if line is not None][-number:] if number > 0 else []

    def forget(self, before: datetime) -> int:
        """Drop the lines of alerts told before an instant; returns how many. Errors as `send`."""
        if not self.file.exists():
            return 0
        with self._held():
            lines = self.file.read_bytes().splitlines(keepends=True)
            kept = [line for line in lines if _is_since(line, before)]
            if len(kept) < len(lines):
                part = self.file.with_name(f"{self.file.name}.part")
                part.write_bytes(b"".join(kept))
                part.replace(self.file)
            return len(lines) - len(kept)

    def _posted(self, decision: Decision) -> Delivery:
        assert self._webhook is not None
        assert decision.alert is not None
        held = decision.held.told(decision.alert.at)
        if not self._failure:
            body = message(decision.alert, held=held)
            self._failure = post(self._webhook, body, timeout=self._timeout, pause=self._pause)
            return Delivery(f"failed: {self._failure}" if self._failure else SENT, held)
        return Delivery(f"failed: left alone after {self._failure}", held)

    def _noted(self, alert: Alert, delivery: Delivery) -> Delivery:
        """Append the line, in one write; the lock is held."""
        line = alert.as_dict() | {"webhook": delivery.webhook}
        if delivery.held and delivery.is_sent:
            line["told_of_held"] = delivery.held
        _append(self.file, json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode())
        return delivery

    @contextmanager
    def _counted(self, now: datetime) -> Iterator[None]:
        """The limits as they stand, written back afterwards."""
        with self._held():
            self._limits.load(now)
            yield
            self._limits.save()

    @contextmanager
    def _held(self) -> Iterator[None]:
        """The lock of the files; their errors name them."""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.file.with_suffix(".lock"), timeout=_PATIENCE):
                yield
        except Timeout:
            raise MarketDataError(
                f"{self.file}: held by another process for longer than {_PATIENCE:g} s; end it and try again"
            ) from None
        except OSError as error:
            raise MarketDataError(
                f"{self.file}: alerts cannot be kept: {error.strerror or error}; free some room, or name another "
                "place in MARKET_DATA_RUNTIME"
            ) from None


def trial(clock: Clock = utc_now, *, link: str = "", synthetic: bool = False) -> Alert:
    """An alert that only tries the way alerts go."""
    finding = Finding("market_data", "a test: nothing is wrong", severity=Severity.INFO)
    return Alert(Kind.TEST, clock(), (finding,), link=link, synthetic=synthetic)


def _append(file: Path, line: bytes) -> None:
    descriptor = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.lseek(descriptor, 0, os.SEEK_END)
        # A line that a full disk cut short must not take the next one with it.
        is_torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        content = (b"\n" if is_torn else b"") + line + b"\n"
        if os.write(descriptor, content) != len(content):
            raise OSError(28, "No space left on device")
    finally:
        os.close(descriptor)


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _is_since(line: bytes, instant: datetime) -> bool:
    try:
        return datetime.fromisoformat(json.loads(line)["at"]) >= instant
    except (ValueError, KeyError, TypeError):
        return False
