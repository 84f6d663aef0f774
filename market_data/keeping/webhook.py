"""Posting JSON to a webhook whose URL is a secret, and which may fail, hang or refuse: no harm comes of that."""

from __future__ import annotations

import logging
import re
import ssl
import time
from collections.abc import Callable
from functools import cache
from threading import Thread
from typing import Any

import httpx
from pydantic import SecretStr

from market_data.providers.redaction import SECRETS, redact_logs

__all__ = ["PAUSE", "TIMEOUT", "post"]

TIMEOUT = 3.0
"""Seconds that connecting, sending and the answer may each take."""

PAUSE = 0.5
"""Seconds before the second try."""

TRIES = 2
_PRINTABLE = "[!-~]+"
_LONGEST_GUESSABLE = 16  # a path no longer than this is nobody's secret, and could be part of other texts
_LOG = logging.getLogger("market_data.alerts")


def post(url: SecretStr, body: dict[str, Any], *, timeout: float = TIMEOUT, pause: float = PAUSE) -> str:
    """Post once, and once more where it may help: after a failure of the transport, 429 or 5xx.

    Redirects are not followed. No part of the URL gets into a log, an error or what is returned.

    Args:
        timeout: seconds that connecting, sending and the answer of a try may each take; all of it together is given
            up after twice that for each try.
        pause: seconds before the second try.

    Returns:
        Why it was not taken, as in `ConnectError` or `HTTP 500`; empty when it was.
    """
    target = _target(url.get_secret_value())
    if target is None:
        reason = "not an http or https URL"
    else:
        _hide(target)
        reason = _within(2 * timeout * TRIES + pause, lambda: _tried(target, body, timeout, pause))
    if reason:
        _LOG.warning("an alert could not be posted to MARKET_DATA_ALERT_WEBHOOK: %s", reason)
    return reason


def _target(text: str) -> httpx.URL | None:
    try:
        target = httpx.URL(text.strip())
    except httpx.InvalidURL:
        return None
    usable = target.scheme in ("http", "https") and target.host and re.fullmatch(_PRINTABLE, str(target))
    return target if usable else None


def _hide(target: httpx.URL) -> None:
    """Have the URL taken out of what the HTTP libraries log: they name it whole."""
    path = target.raw_path.decode("ascii")
    bare = target.copy_with(userinfo=b"")
    shown = (str(target), str(bare), path if len(path) > _LONGEST_GUESSABLE else "", target.password)
    SECRETS.add(text for text in shown if re.fullmatch(_PRINTABLE, text))
    redact_logs()


def _tried(target: httpx.URL, body: dict[str, Any], timeout: float, pause: float) -> str:
    reason, may_help = _once(target, body, timeout)
    for _ in range(TRIES - 1):
        if not reason or not may_help:
            break
        time.sleep(pause)
        reason, may_help = _once(target, body, timeout)
    return reason


def _once(target: httpx.URL, body: dict[str, Any], timeout: float) -> tuple[str, bool]:
    """One try: why it was not taken, and whether another one may help."""
    try:
        with (
            httpx.Client(timeout=timeout, follow_redirects=False, verify=_trust()) as client,
            client.stream("POST", target, json=body) as answer,
        ):
            status = answer.status_code
    except httpx.TransportError as error:
        return type(error).__name__, True
    except Exception as error:  # the text of any error could name the URL
        return type(error).__name__, False
    return ("", False) if answer.is_success else (f"HTTP {status}", status == 429 or status >= 500)


@cache
def _trust() -> ssl.SSLContext:
    """The certificates trusted, read once: that takes longer than a post."""
    return httpx.create_ssl_context()


def _within(seconds: float, call: Callable[[], str]) -> str:
    """What the call gives, or that it took too long: httpx bounds each read, not the whole of an answer."""
    outcome: list[str] = []
    thread = Thread(target=lambda: outcome.append(call()), daemon=True, name="alert webhook")
    thread.start()
    thread.join(seconds)
    return outcome[0] if outcome else f"no answer within {seconds:g} s"
