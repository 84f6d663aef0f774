"""One connection with a deadline: no wait of a socket outlasts what is left of the attempt under way."""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import Iterable, Iterator

import httpcore
import httpx

__all__ = ["Connection", "Deadline"]


class Deadline:
    """When the attempt under way must have ended; of one slot, so of one attempt at a time."""

    def __init__(self) -> None:
        self._seconds = self._at = math.inf

    def start(self, seconds: float) -> None:
        """An attempt begins that may take so long."""
        self._seconds, self._at = seconds, time.monotonic() + seconds

    def within(self, timeout: float | None) -> float:
        """The timeout, cut to what is left."""
        left = self._at - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout(f"no whole answer within {self._seconds:g} s")
        return left if timeout is None else min(timeout, left)


class _Socket(httpcore.NetworkStream):
    """A socket none of whose waits outlasts the deadline. A timeout bounds one read: a header or a body that comes a
    byte at a time would never meet it."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.within(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.within(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, self._deadline.within(timeout))
        return _Socket(stream, self._deadline)

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)


class _Network(httpcore.SyncBackend):
    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        timeout = self._deadline.within(timeout)
        return _Socket(super().connect_tcp(host, port, timeout, local_address, socket_options), self._deadline)


class _Stream(httpx.SyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        return self._response.iter_stream()

    def close(self) -> None:
        self._response.close()


class Connection(httpx.BaseTransport):
    """One connection, kept alive, of HTTP/2 where the server offers it: httpx's own transport takes no network."""

    def __init__(self, deadline: Deadline, tls: ssl.SSLContext) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=tls, max_connections=1, keepalive_expiry=30.0, http2=True, network_backend=_Network(deadline)
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request over the connection."""
        url = request.url
        response = self._pool.handle_request(
            httpcore.Request(
                request.method,
                httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(
            response.status, headers=response.headers, stream=_Stream(response), extensions=response.extensions
        )

    def drop(self) -> None:
        """Close the connection; the next request opens another one."""
        self._pool.close()

    def close(self) -> None:
        """Close the connection for good."""
        self._pool.close()
