"""The one HTTP layer: retries of what can pass, limits of time and size, redaction. A final answer is given as it is.

Only transport errors and the statuses 408, 429 and 5xx are tried again, 5 attempts in all, with exponential backoff and
jitter, or after the time the vendor's Retry-After asks for. Any other answer would be the same the next time, and is
returned whatever its status: what a body says is for the vendor's parser to judge.
"""

from __future__ import annotations

import logging
import queue
import re
import ssl
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy

import h2.exceptions
import httpcore
import httpx
import stamina

from market_data.errors import BadPayload, ProviderError, RateLimited, Transient
from market_data.providers.base import Clock, Permit, sha256_hex, utc_now
from market_data.providers.connection import Connection, Deadline
from market_data.providers.redaction import REDACTED, SECRETS, redact, redact_logs
from market_data.records import FetchRequest, RawPayload

__all__ = [
    "LONGEST_WAIT",
    "MAX_ATTEMPTS",
    "MAX_BODY",
    "REDACTED",
    "HttpAnswer",
    "HttpSource",
    "answer_of",
    "redact",
]

_LOG = logging.getLogger(__name__)

MAX_ATTEMPTS = 5
MAX_BODY = 64 * 1024 * 1024
LONGEST_WAIT = 60.0


_TIMEOUT = httpx.Timeout(30.0, connect=10.0, pool=None)
_PIECE = 256 * 1024

# What comes out of the libraries when a peer or the network misbehaves. httpcore has no common base, and lets through
# what h2 raises within a body, and ValueError and KeyError for a status or a stream that make no sense.
_FAILURES = (
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.StreamError,
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.UnsupportedProtocol,
    httpcore.ConnectionNotAvailable,
    h2.exceptions.H2Error,
    zlib.error,
    OSError,
    EOFError,
    ValueError,
    KeyError,
)


@cache
def _log_retries() -> None:
    """Stamina's own hooks print each retry where logging is not set up, without its cause."""
    stamina.instrumentation.set_on_retry_hooks([_log_retry])


def _log_retry(details: stamina.instrumentation.RetryDetails) -> None:
    _LOG.info(
        "attempt %d of %d in %.1f s, after: %s",
        details.retry_num + 1,
        MAX_ATTEMPTS,
        details.wait_for,
        redact(str(details.caused_by)),
    )


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A complete answer, whatever its status, and what it took to get it. Body and URL hold no secret any more.

    Attributes:
        body: decoded, no content encoding.
        attempts: calls sent up to this answer.
        elapsed_ms: from the first call to the complete body, waits between the attempts included.
        synthetic: whether the server says that its data is made up.
        received_at: instant (UTC) the body was complete.
    """

    body: bytes
    status: int
    content_type: str | None
    url: str
    attempts: int
    elapsed_ms: float
    synthetic: bool = False
    received_at: datetime = field(default_factory=utc_now)

    def as_payload(self, provider: str, request: FetchRequest, fetched_at: datetime | None = None) -> RawPayload:
        """The answer as what `provider` sent for `request`; fetched when it was received, unless told otherwise."""
        return RawPayload(
            provider=provider,
            request=request,
            body=self.body,
            sha256=sha256_hex(self.body),
            url=self.url,
            status=self.status,
            content_type=self.content_type,
            fetched_at=fetched_at or self.received_at,
            attempts=self.attempts,
            elapsed_ms=self.elapsed_ms,
        )


def answer_of(error: ProviderError) -> HttpAnswer | None:
    """The last complete answer before the attempts were given up, where one came."""
    answer = vars(error).get("answer")
    return answer if isinstance(answer, HttpAnswer) else None


@dataclass(frozen=True, slots=True)
class _Slot:
    """What one request in flight needs, for itself alone.

    httpcore's HTTP/2 connection is not safe to share between threads: stream numbers and header tables are touched
    without a lock, and concurrent requests end in protocol errors or, rarely, in one another's bodies. So nothing is
    multiplexed.
    """

    client: httpx.Client
    deadline: Deadline
    connection: Connection | None

    def drop(self) -> None:
        # What is left of an answer given up would go on arriving on an HTTP/2 connection, and fill its window.
        if self.connection is not None:
            self.connection.drop()


@cache
def _verifying() -> ssl.SSLContext:
    """The context that all sources share: reading the certificates takes longer than a request does."""
    return httpx.create_ssl_context(trust_env=False)


class HttpSource:
    """GET requests against one base URL; safe to share between threads.

    Args:
        base_url: scheme, host and path prefix of the vendor.
        secrets: values that must appear nowhere: not in a URL, a log, an error, or a stored body.
        transport: another httpx transport, for tests.
        wait: seconds before the second attempt; doubled for each further one, with jitter.
        max_body: bytes of a decoded body, at most.
        concurrency: requests in flight, at most, whatever number of threads ask.
        permit: called before each request that is sent, retries included.
        synthetic: whether the server must say that its data is made up, or must not; None for no check.
        deadline: seconds for one attempt, at most, from connecting to the end of the body.
        tls: another TLS context, for tests; by default certificates are verified against certifi's.

    Raises:
        SettingsError: a secret can't be sent in a header.
    """

    def __init__(
        self,
        base_url: str,
        *,
        user_agent: str = "market-data",
        secrets: Sequence[str] = (),
        transport: httpx.BaseTransport | None = None,
        wait: float = 0.5,
        max_body: int = MAX_BODY,
        concurrency: int = 4,
        permit: Permit | None = None,
        synthetic: bool | None = None,
        deadline: float = 120.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        SECRETS.add(secrets)
        redact_logs()
        _log_retries()
        self._base_url = base_url.rstrip("/")
        self._user_agent = user_agent
        self._wait = wait
        self._max_body = max_body
        self._permit = permit
        self._synthetic = synthetic
        self._deadline = deadline
        tls = tls or _verifying()
        self._slots = [self._open(transport, tls) for _ in range(concurrency)]
        # The last used comes first, whose connection is the likeliest to be still open.
        self._idle: queue.LifoQueue[_Slot] = queue.LifoQueue()
        for slot in self._slots:
            self._idle.put(slot)

    def get(
        self,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
        *,
        clock: Clock = utc_now,
    ) -> HttpAnswer:
        """The final answer, whatever its status.

        A slot is taken before the permit, and given back before the wait for another attempt. So a permit is for a
        request that leaves at once: the other way round, permits taken in time could pile up before busy connections
        and then leave together, faster than the rate allows. It costs nothing: who waits in a slot for a permit is
        ahead of all who would want the slot only to wait for the next permit.

        Raises:
            Transient, RateLimited: still failing after 5 attempts; `answer_of` the error gives the last answer.
            RateLimited: at once, where the vendor asks for a wait longer than `LONGEST_WAIT`.
            BadPayload: a redirect, a body beyond the limit, synthetic data where real is due or the reverse.
            Exception: what the permit raises, unchanged but for its `attempts`.
        """
        started = time.monotonic()
        calls = 0
        last: HttpAnswer | None = None
        try:
            self._require_path(path)
            for attempt in self._attempts():
                with self._slot() as slot:
                    if self._permit is not None:
                        self._permit()
                    calls += 1
                    with attempt:
                        answer, response_headers = self._send(slot, path, query, headers)
                        self._require_same_kind(answer, path)
                        elapsed_ms = (time.monotonic() - started) * 1000
                        last = replace(answer, attempts=calls, elapsed_ms=elapsed_ms, received_at=clock())
                        _raise_for_status(last, response_headers)
        except ProviderError as error:
            error.attempts = calls
            vars(error)["answer"] = last
            raise
        assert last is not None
        return last

    def fetch(
        self,
        provider: str,
        request: FetchRequest,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
        *,
        clock: Clock = utc_now,
    ) -> RawPayload:
        """`get` as the payload of `request`.

        Raises:
            ProviderError: as `get`; its `payload` is the last answer, where one came.
        """
        try:
            return self.get(path, query, headers, clock=clock).as_payload(provider, request)
        except ProviderError as error:
            answer = answer_of(error)
            if answer is not None:
                error.payload = answer.as_payload(provider, request)
            raise

    def close(self) -> None:
        """Close the connections."""
        for slot in self._slots:
            slot.client.close()

    def _open(self, transport: httpx.BaseTransport | None, tls: ssl.SSLContext) -> _Slot:
        deadline = Deadline()
        connection = None if transport else Connection(deadline, tls)
        client = httpx.Client(
            base_url=self._base_url,
            # Only what is decoded here, within bounds, is asked for.
            headers={"User-Agent": self._user_agent, "Accept-Encoding": "gzip"},
            # A cookie kept would change later requests; one that is malformed would make each of them fail.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            timeout=_TIMEOUT,
            follow_redirects=False,
            transport=transport or connection,
            trust_env=False,
        )
        return _Slot(client, deadline, connection)

    @contextmanager
    def _slot(self) -> Iterator[_Slot]:
        slot = self._idle.get()
        try:
            yield slot
        finally:
            self._idle.put(slot)

    def _attempts(self) -> Iterator[stamina.Attempt]:
        return iter(
            stamina.retry_context(
                on=_worth_another_try,
                attempts=MAX_ATTEMPTS,
                timeout=None,
                wait_initial=self._wait,
                wait_max=max(8.0, self._wait),
                wait_jitter=self._wait,
            )
        )

    def _send(
        self, slot: _Slot, path: str, query: Mapping[str, str], headers: Mapping[str, str] | None
    ) -> tuple[HttpAnswer, httpx.Headers]:
        slot.deadline.start(self._deadline)
        whole = False
        try:
            with slot.client.stream("GET", path, params=dict(query), headers=headers) as response:
                body = self._body(response, slot.deadline)
                whole = True
        except _FAILURES as error:
            failure = Transient(f"{redact(str(error))[:300] or type(error).__name__} at {redact(path)}")
        else:
            return _answer(response, body), response.headers
        finally:
            if not whole:
                slot.drop()
        # Raised out here, so that nothing leads from it to httpx's error, which holds the request with its headers.
        raise failure

    def _body(self, response: httpx.Response, deadline: Deadline) -> bytes:
        where = redact(response.url.path)
        too_large = f"{where}: the body is larger than {self._max_body:,} bytes"
        announced = response.headers.get("content-length", "")
        if re.fullmatch("[0-9]{1,18}", announced) and int(announced) > self._max_body:
            raise BadPayload(f"{too_large}: {int(announced):,} are announced")
        parts: list[bytes] = []
        size = 0
        for part in _decoded(response, where, self._max_body):
            deadline.within(None)
            size += len(part)
            if size > self._max_body:
                raise BadPayload(too_large)
            parts.append(part)
        return b"".join(parts)

    def _require_path(self, path: str) -> None:
        # With an absolute URL, httpx would take the key's header to whatever host it names.
        if not re.fullmatch("[ -~]*", path) or "://" in path:
            raise BadPayload(f"{redact(path)[:200]!r} is not a path below {redact(self._base_url)}")

    def _require_same_kind(self, answer: HttpAnswer, path: str) -> None:
        if self._synthetic is None or answer.synthetic == self._synthetic:
            return
        said = "says its data is synthetic" if answer.synthetic else "does not say that its data is synthetic"
        raise BadPayload(f"HTTP {answer.status} at {redact(path)}: the server {said}; real and synthetic never mix")


def _decoded(response: httpx.Response, where: str, limit: int) -> Iterator[bytes]:
    """The body in pieces of a bounded size, whatever the server made of it."""
    assert isinstance(response.stream, httpx.SyncByteStream)
    coding = response.headers.get("content-encoding", "").strip()
    if coding.lower() in ("identity", ""):
        return iter(response.stream)
    if coding.lower() in ("gzip", "x-gzip"):
        return _inflated(response.stream, f"{where}: the compressed body is larger than {limit:,} bytes", limit)
    raise BadPayload(f"{where}: content-encoding {redact(coding)[:40]!r} was not asked for")


def _inflated(parts: Iterable[bytes], too_large: str, limit: int) -> Iterator[bytes]:
    """A gzip body (RFC 1952) inflated piece by piece: httpx would hold at once what a chunk grows into, a thousandfold.

    Raises:
        zlib.error, EOFError: damaged, or cut short.
    """
    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    size = 0
    for part in parts:
        size += len(part)
        if size > limit:
            raise BadPayload(too_large)
        left = part
        while left:
            if stream.eof:
                stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
            yield stream.decompress(left, _PIECE)
            left = stream.unconsumed_tail or stream.unused_data
    if size and not stream.eof:
        raise EOFError("the compressed body is cut short")


def _answer(response: httpx.Response, body: bytes) -> HttpAnswer:
    return HttpAnswer(
        # A vendor may echo the key in an error; bodies are stored and shown, so it is out before they are hashed.
        body=SECRETS.hide_in_body(body),
        status=response.status_code,
        content_type=response.headers.get("content-type"),
        url=redact(str(response.url)),
        attempts=0,
        elapsed_ms=0.0,
        synthetic=response.headers.get("x-market-data", "").strip().lower() == "synthetic",
    )


def _raise_for_status(answer: HttpAnswer, headers: httpx.Headers) -> None:
    status, where = answer.status, f"HTTP {answer.status} at {httpx.URL(answer.url).path}"
    retry_after = _retry_after(headers.get("retry-after"))
    if status in (408, 429) or 500 <= status < 600:
        if retry_after is not None and retry_after > LONGEST_WAIT:
            raise RateLimited(f"{where}: asks for a wait of {retry_after:,.0f} s", retry_after=retry_after)
        raise (RateLimited if status == 429 else Transient)(where, retry_after=retry_after)
    if 300 <= status < 400:
        raise BadPayload(f"{where}: a redirect to {_host(headers.get('location', ''))}, not followed")


def _host(location: str) -> str:
    """Where a redirect leads; the host alone, since the query may hold the key as well."""
    try:
        host = httpx.URL(location).host
    except httpx.InvalidURL:
        host = ""
    return redact(host)[:100] or "no other host"


def _retry_after(header: str | None) -> float | None:
    """Seconds of a Retry-After header, in either form of RFC 9110 section 10.2.3."""
    if header is None:
        return None
    if re.fullmatch(r"\s*[0-9]{1,9}\s*", header):
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
        return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError):
        return None


def _worth_another_try(error: Exception) -> bool | timedelta:
    if not isinstance(error, RateLimited | Transient):
        return False
    if error.retry_after is None:
        return True
    return timedelta(seconds=error.retry_after) if error.retry_after <= LONGEST_WAIT else False
