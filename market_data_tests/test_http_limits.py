"""Limits of size and time, and answers that are damaged: none of them is given, and none is another kind of error."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
import tracemalloc
import zlib
from contextlib import closing

import httpx
import pytest
import stamina
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data.errors import BadPayload, ProviderError, RateLimited, Transient
from market_data.providers.http import HttpSource
from market_data_tests.test_http_source import QUERY, WHOLE, Vendor, failure, loopback, status

CUT = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nDate,Open",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nDate,Open\r\n",
    "gzip": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"Date,Open", mtime=0)[:-3],
    "nothing": b"",
}


class Chunks(httpx.SyncByteStream):
    def __init__(self, *chunks: bytes) -> None:
        self.left = list(chunks)

    def __iter__(self):
        while self.left:
            yield self.left.pop(0)


def answered(chunks: Chunks, **headers: str) -> Vendor:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Vendor(lambda: httpx.Response(200, stream=chunks, headers=named))


def in_chunks(body: bytes, size: int) -> list[bytes]:
    return [body[at : at + size] for at in range(0, len(body), size)]


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(("size", "fits"), [(1000, True), (1001, False)])
def test_a_body_larger_than_the_limit_is_refused_and_not_asked_again(size, fits, compress):
    body = b"x" * size
    packed, headers = (gzip.compress(body, mtime=0), {"content_encoding": "gzip"}) if compress else (body, {})
    vendor = answered(Chunks(*in_chunks(packed, 7)), **headers)
    if fits:
        assert vendor.source(max_body=1000).get("/", {}).body == body
    else:
        caught = failure(vendor, max_body=1000)
        assert str(caught) == "/stooq/q/d/l/: the body is larger than 1,000 bytes"
        assert (type(caught), caught.attempts, len(vendor.asked)) == (BadPayload, 1, 1)


def test_a_length_announced_beyond_the_limit_is_refused_before_a_byte_is_read():
    body = Chunks(b"x" * 400, b"x" * 601)
    caught = failure(answered(body, content_length="1001"), max_body=1000)
    assert str(caught) == "/stooq/q/d/l/: the body is larger than 1,000 bytes: 1,001 are announced"
    assert len(body.left) == 2


def test_reading_stops_where_the_limit_is_passed():
    body = Chunks(*[b"x" * 400] * 10)
    assert "larger than 1,000 bytes" in str(failure(answered(body), max_body=1000))
    assert len(body.left) == 7


def test_a_bomb_of_two_hundred_million_bytes_is_refused_without_ever_being_held():
    packer = zlib.compressobj(9, wbits=31)
    million = bytes(1_000_000)
    bomb = b"".join([packer.compress(million) for _ in range(200)]) + packer.flush()
    vendor = answered(Chunks(bomb), content_encoding="gzip")
    source = vendor.source(max_body=1_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(BadPayload, match=r"larger than 1,000,000 bytes"):
            source.get("/", {})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(bomb) < 250_000
    assert peak < 8_000_000


def test_members_without_content_do_not_go_on_for_ever():
    endless = Chunks(*[gzip.compress(b"", mtime=0) * 10] * 100)
    assert "the compressed body is larger than 1,000 bytes" in str(
        failure(answered(endless, content_encoding="gzip"), max_body=1000)
    )
    assert len(endless.left) > 90


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_compressed_body_is_given_as_it_was_before_compression(size):
    body = gzip.compress(b"bars" * 100, mtime=0) + gzip.compress(b"more", mtime=0)
    vendor = answered(Chunks(*in_chunks(body, size)), content_encoding="GZIP")
    assert vendor.source().get("/", {}).body == b"bars" * 100 + b"more"
    assert vendor.asked[0].headers["accept-encoding"] == "gzip"


def test_an_empty_body_may_call_itself_compressed():
    assert Vendor(status(404, content_encoding="gzip")).source().get("/", {}).body == b""


@pytest.mark.parametrize("coding", ["br", "zstd", "deflate", "gzip, gzip"])
def test_a_compression_that_was_not_asked_for_is_refused(coding):
    caught = failure(Vendor(lambda: httpx.Response(200, stream=Chunks(b"x"), headers={"Content-Encoding": coding})))
    assert (type(caught), str(caught)) == (
        BadPayload,
        f"/stooq/q/d/l/: content-encoding {coding!r} was not asked for",
    )


@pytest.mark.parametrize(
    "body", [b"no gzip", gzip.compress(b"bars", mtime=0)[:-8] + bytes(8), gzip.compress(b"bars", mtime=0) + b"rest"]
)
def test_a_compressed_body_that_is_damaged_is_tried_again(body):
    vendor = Vendor(lambda: httpx.Response(200, stream=Chunks(body), headers={"Content-Encoding": "gzip"}))
    caught = failure(vendor)
    assert (type(caught), len(vendor.asked)) == (Transient, 5)


@pytest.mark.parametrize("cut", CUT.values(), ids=CUT)
def test_a_body_cut_on_the_wire_is_tried_again_and_never_given(cut):
    with loopback(cut) as (url, asked), closing(HttpSource(url, wait=0)) as source:
        with pytest.raises(Transient) as caught:
            source.get("/q/d/l/", QUERY)
        assert (caught.value.attempts, len(asked)) == (5, 5)
    with loopback(cut, WHOLE) as (url, asked), closing(HttpSource(url, wait=0)) as source:
        answer = source.get("/q/d/l/", QUERY)
        assert (answer.body, answer.attempts, len(asked)) == (b"Date,Open", 2, 2)


@pytest.mark.parametrize(
    "start",
    [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"],
    ids=["header", "body", "length"],
)
def test_a_server_that_drips_holds_nobody_beyond_the_deadline(dripping, start):
    url = dripping(start)
    with closing(HttpSource(url, wait=0, deadline=0.2)) as source, stamina.set_testing(True, attempts=2):
        started = time.monotonic()
        with pytest.raises(Transient, match=r"^no whole answer within 0.2 s at /q$|^timed out at /q$") as caught:
            source.get("/q", {})
    assert caught.value.attempts == 2
    assert 0.4 <= time.monotonic() - started < 5


@pytest.fixture
def dripping():
    """Servers that send a start at once and then a byte every 10 ms."""
    stopped = threading.Event()
    opened = []

    def drip(connection: socket.socket, start: bytes) -> None:
        with connection:
            connection.recv(65536)
            try:
                connection.sendall(start)
                while not stopped.wait(0.01):
                    connection.sendall(b"x")
            except OSError:
                return

    def serve(listener: socket.socket, start: bytes) -> None:
        while True:
            connection, _ = listener.accept()
            if stopped.is_set():
                connection.close()
                return
            thread = threading.Thread(target=drip, args=(connection, start))
            thread.start()
            opened.append(thread)

    listeners = []

    def begin(start: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=serve, args=(listener, start))
        thread.start()
        listeners.append((listener, thread))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield begin
    stopped.set()
    for listener, thread in listeners:
        socket.create_connection(listener.getsockname()).close()
        thread.join()
        listener.close()
    for thread in opened:
        thread.join()


def test_the_deadline_holds_over_any_transport():
    class Slow(Chunks):
        def __iter__(self):
            for chunk in super().__iter__():
                time.sleep(0.03)
                yield chunk

    slow = Slow(*[b"x"] * 100)
    with stamina.set_testing(True, attempts=1):
        caught = failure(answered(slow), deadline=0.1)
    assert (type(caught), str(caught)) == (Transient, "no whole answer within 0.1 s at /q/d/l/")
    assert len(slow.left) > 80


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        HEAD + b"no colon\r\n\r\n{}",
        HEAD + b"Content-Length: 3\r\n\r\n{}",
        HEAD + b"X: " + b"x" * 200_000 + b"\r\n\r\n{}",
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://a:b/\r\n\r\n",
    ],
    ids=["ssh", "status", "header", "lengths", "huge", "location"],
)
def test_an_answer_that_is_no_http_is_transient(sent):
    with loopback(sent) as (url, _), closing(HttpSource(url, wait=0)) as source, pytest.raises(Transient) as caught:
        source.get("/q", {})
    assert caught.value.attempts == 5
    assert len(str(caught.value)) < 400


ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/csv\r\nSet-Cookie: a=b; Path=/\r\n\r\n{}",
    b"HTTP/1.1 429 No\r\nContent-Length: 0\r\nRetry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n\r\n",
    b"HTTP/1.1 302 No\r\nContent-Length: 0\r\nLocation: https://u:p@host.test:80/a?b=c#d\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"{}" * 100, mtime=0),
]


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    answer = draw(st.sampled_from(ANSWERS))
    at = draw(st.integers(0, len(answer)))
    put = draw(st.binary(max_size=4) | st.sampled_from([b"\r\n", b":", b"[", b"%zz", b"://", b"9" * 20]))
    return answer[:at] + put + answer[at + draw(st.integers(0, 6)) :]


class Wire:
    """A server for one connection, which it answers with the bytes given."""

    def __init__(self, sent: bytes) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, args=(sent,)).start()

    def _serve(self, sent: bytes) -> None:
        with self._listener, self._listener.accept()[0] as connection:
            connection.recv(65536)
            connection.sendall(sent)


TLS = ssl.create_default_context()


@settings(max_examples=200)
@given(broken())
def test_no_answer_however_broken_raises_anything_but_the_errors_of_a_provider(sent):
    url = Wire(sent).url
    with closing(HttpSource(url, wait=0, concurrency=1, tls=TLS)) as source, stamina.set_testing(True, attempts=1):
        try:
            came = source.get("/q", {}).status
        except ProviderError as error:
            came = type(error)
    assert came in (Transient, BadPayload, RateLimited) or came >= 200


def test_a_cookie_that_is_malformed_does_not_spoil_what_is_asked_later():
    cookie = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\nSet-Cookie: a=\xffb; Path=/\r\n\r\n{}"
    with loopback(cookie) as (url, asked), closing(HttpSource(url, wait=0)) as source:
        assert [source.get("/q", {}).attempts for _ in range(2)] == [1, 1]
    assert not any(b"cookie" in request.lower() for request in asked)
