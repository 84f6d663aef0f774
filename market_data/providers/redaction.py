"""No key anywhere: what is given to an HTTP source as a secret is kept out of URLs, bodies, errors and logs."""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

from market_data.errors import SettingsError

__all__ = ["REDACTED", "SECRETS", "Secrets", "redact", "redact_logs"]

REDACTED = "REDACTED"

_NAMED_SECRET = re.compile(r"(?i)\b(api_?key|(?:\w+_)?token|(?:\w+_)?secret)=[^&\s\"']+")
# A shorter value can't be told from data: a body that holds it is kept as it came.
_SHORTEST_IN_BODY = 6

_LOGGERS = (
    "httpx",
    "httpcore",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
    "httpcore.socks",
    "hpack",
    "hpack.hpack",
    "hpack.table",
    "h2",
    "stamina",
)


class Secrets:
    """Every value that must not be shown, in each spelling it can be met in; one for the process, as loggers are."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: set[str] = set()
        self._text: re.Pattern[str] | None = None
        self._body: re.Pattern[bytes] | None = None

    def add(self, values: Iterable[str]) -> None:
        """Hide these too, from now on.

        Raises:
            SettingsError: one can't be sent in a header; it is not shown.
        """
        values = [value for value in values if value]
        if not all(re.fullmatch("[!-~]+", value) for value in values):
            # As it is most often: a line break copied along. In a header it would fail, and be shown, at each call.
            raise SettingsError("a key holds a blank, a line break or a letter beyond ASCII; set it again without")
        with self._lock:
            self._known.update(values)
            self._text = _any_of(_spellings(self._known))
            lengthy = {value for value in self._known if len(value) >= _SHORTEST_IN_BODY}
            body = _any_of(_spellings(lengthy))
            self._body = re.compile(body.pattern.encode()) if body else None

    def hide(self, text: str) -> str:
        """The text without them."""
        return self._text.sub(REDACTED, text) if self._text else text

    def hide_in_body(self, body: bytes) -> bytes:
        """The body without those that can be told from data."""
        return self._body.sub(REDACTED.encode(), body) if self._body else body


def _spellings(values: Iterable[str]) -> set[str]:
    spelled: set[str] = set()
    for value in values:
        quoted = {quote(value, safe=""), quote(value), quote_plus(value)}
        lower = {re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), item) for item in quoted}
        escaped = {json.dumps(value)[1:-1], json.dumps(value)[1:-1].replace("/", "\\/"), repr(value)[1:-1]}
        spelled |= {value} | quoted | lower | escaped
    return spelled


def _any_of(spelled: set[str]) -> re.Pattern[str] | None:
    # The longest first: a key that begins with another one must not leave its rest.
    return re.compile("|".join(re.escape(item) for item in sorted(spelled, key=len, reverse=True))) if spelled else None


SECRETS = Secrets()
"""Those of this process."""


def redact(text: str) -> str:
    """The text without the values of key-like query parameters and without any secret given to an `HttpSource`."""
    return SECRETS.hide(_NAMED_SECRET.sub(rf"\1={REDACTED}", text))


class _Redacting(logging.Filter):
    """Rewrites records of the HTTP libraries: httpx logs whole URLs at INFO, httpcore headers at DEBUG."""

    def filter(self, record: logging.LogRecord) -> bool:
        # hpack logs encoded header blocks as well, and a key can be read back from Huffman's code.
        if record.name.startswith("hpack") and record.levelno < logging.WARNING:
            return False
        record.msg, record.args = redact(record.getMessage()), None
        if record.exc_info:
            record.exc_text = redact(logging.Formatter().formatException(record.exc_info))
            record.exc_info = None
        for name, value in vars(record).items():
            if isinstance(value, str):
                setattr(record, name, redact(value))
        return True


_REDACTING = _Redacting()


def redact_logs() -> None:
    """Have the loggers of the HTTP libraries redacted from now on."""
    # A filter sees what is logged by its own logger, not what comes up from the loggers below it.
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_REDACTING)
