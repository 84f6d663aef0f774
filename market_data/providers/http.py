"""The one HTTP layer: timeouts, a size limit, redaction, and retries of what can pass.

Only transport errors and the statuses 408, 429 and 5xx are tried again, 5 attempts in all, with exponential backoff and
jitter, or after the time the vendor's Retry-After asks for. Any other answer would be the same the next time.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx
import stamina

from market_data.errors import BadPayload, NotEntitled, ProviderError, RateLimited, Transient, UnknownSymbol

__all__ = ["MAX_ATTEMPTS", "HttpAnswer", "HttpSource", "redact"]

MAX_ATTEMPTS = 5
MAX_BODY = 64 * 1024 * 1024
LONGEST_WAIT = 60.0
_SECRET = re.compile(r"(?i)\b(api_?key|(?:\w+_)?token|(?:\w+_)?secret)=[^&\s\"']+")


def redact(text: str) -> str:
    """The text with the values of key-like query parameters replaced."""
    return _SECRET.sub(r"\1=REDACTED", text)


class _Redacting(logging.Filter):
    """httpx logs whole URLs at INFO; a key must not get into a log either."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), None
        return True


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A complete answer: decoded body, status, redacted URL, and what it took to get it."""

    body: bytes
    status: int
    content_type: str | None
    url: str
    attempts: int
    elapsed_ms: float


class HttpSource:
    """GET requests against one base URL; safe to share between threads.

    Args:
        base_url: scheme, host and path prefix of the vendor.
        transport: another httpx transport, for tests.
        wait: seconds before the second attempt; doubled for each further one, with jitter.
    """

    def __init__(
        self,
        base_url: str,
        *,
        user_agent: str = "market-data",
        transport: httpx.BaseTransport | None = None,
        wait: float = 0.5,
        max_body: int = MAX_BODY,
    ) -> None:
        stamina.instrumentation.set_on_retry_hooks([stamina.instrumentation.LoggingOnRetryHook])
        logger = logging.getLogger("httpx")
        if not any(isinstance(item, _Redacting) for item in logger.filters):
            logger.addFilter(_Redacting())
        self._wait = wait
        self._max_body = max_body
        self._client = httpx.Client(
            base_url=base_url.rstrip("/"),
            headers={"User-Agent": user_agent},
            timeout=httpx.Timeout(30.0, connect=10.0),
            follow_redirects=False,
            transport=transport,
            trust_env=False,
        )

    def get(self, path: str, query: Mapping[str, str]) -> HttpAnswer:
        """One answer with status 200.

        Raises:
            Transient, RateLimited: still failing after 5 attempts.
            NotEntitled, UnknownSymbol, BadPayload: the answer is final (401 and 403, 404, anything else).
        """
        started = time.monotonic()
        calls = 0
        retrying = stamina.retry_context(
            on=_worth_another_try,
            attempts=MAX_ATTEMPTS,
            timeout=None,
            wait_initial=self._wait,
            wait_max=max(8.0, self._wait),
            wait_jitter=self._wait,
        )
        try:
            for attempt in retrying:
                with attempt:
                    calls = attempt.num
                    response, body = self._send(path, query)
        except ProviderError as error:
            error.attempts = calls
            raise
        return HttpAnswer(
            body=body,
            status=response.status_code,
            content_type=response.headers.get("content-type"),
            url=redact(str(response.url)),
            attempts=calls,
            elapsed_ms=(time.monotonic() - started) * 1000,
        )

    def _send(self, path: str, query: Mapping[str, str]) -> tuple[httpx.Response, bytes]:
        try:
            with self._client.stream("GET", path, params=dict(query)) as response:
                _raise_for_status(response)
                return response, self._body(response)
        except httpx.HTTPError as error:
            raise Transient(f"{redact(str(error)) or type(error).__name__} at {path}") from None

    def _body(self, response: httpx.Response) -> bytes:
        parts: list[bytes] = []
        size = 0
        for part in response.iter_bytes():
            size += len(part)
            if size > self._max_body:
                raise BadPayload(f"{response.url.path}: the body is larger than {self._max_body:,} bytes")
            parts.append(part)
        return b"".join(parts)

    def close(self) -> None:
        """Close the connection pool."""
        self._client.close()


def _raise_for_status(response: httpx.Response) -> None:
    status, where = response.status_code, f"HTTP {response.status_code} at {response.url.path}"
    if status == 200:
        return
    if status == 429:
        raise RateLimited(where, retry_after=_retry_after(response.headers.get("retry-after")))
    if status == 408 or status >= 500:
        raise Transient(where, retry_after=_retry_after(response.headers.get("retry-after")))
    if status in (401, 403):
        raise NotEntitled(f"{where}: the key or the plan does not allow it")
    if status == 404:
        raise UnknownSymbol(where)
    raise BadPayload(f"{where}: not an answer to use")


def _retry_after(header: str | None) -> float | None:
    """Seconds of a Retry-After header, in either form of RFC 9110 section 10.2.3."""
    if header is None:
        return None
    if re.fullmatch(r"\s*[0-9]+\s*", header):
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _worth_another_try(error: Exception) -> bool | timedelta:
    if not isinstance(error, ProviderError) or not error.retryable:
        return False
    if isinstance(error, RateLimited | Transient) and error.retry_after is not None:
        return timedelta(seconds=min(error.retry_after, LONGEST_WAIT))
    return True
