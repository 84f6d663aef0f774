"""Many threads over one source: how many requests are in flight, and what is held while one waits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from market_data.errors import BadPayload
from market_data.providers.http import HttpSource
from market_data_tests.test_http_source import Vendor, status

TOGETHER = 4


class Counting(ThreadingHTTPServer):
    """Answers no request before as many are there as may be in flight; counts those, and the connections."""

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.lock = threading.Lock()
        self.barrier = threading.Barrier(TOGETHER, timeout=10)
        self.pause = threading.Event()
        self.in_flight = self.most = self.answered = self.connections = 0

    def process_request(self, request, client_address) -> None:
        self.connections += 1
        super().process_request(request, client_address)


class Answering(BaseHTTPRequestHandler):
    server: Counting
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.in_flight += 1
            self.server.most = max(self.server.most, self.server.in_flight)
        try:
            self.server.barrier.wait()
            # Whoever should not be in flight has the time to show up.
            self.server.pause.wait(0.05)
            code = 200
        except threading.BrokenBarrierError:
            code = 400
        with self.server.lock:
            self.server.in_flight -= 1
            self.server.answered += 1
        body = self.path.encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Counting]:
    with Counting() as counting:
        thread = threading.Thread(target=counting.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield counting
        counting.shutdown()
        thread.join()


def test_as_many_requests_as_allowed_are_in_flight_and_never_more(server):
    url = f"http://127.0.0.1:{server.server_port}"
    with closing(HttpSource(url, wait=0, concurrency=TOGETHER)) as source, ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda n: source.get(f"/{n}", {}), range(24)))
    # Had fewer than these been in flight at once, the barrier would have broken.
    assert [(answer.status, answer.attempts) for answer in answers] == [(200, 1)] * 24
    assert [answer.body.decode() for answer in answers] == [f"/{n}" for n in range(24)]
    assert (server.most, server.answered) == (TOGETHER, 24)
    assert server.connections == TOGETHER


def test_threads_that_share_a_source_count_their_own_attempts():
    vendor = Vendor(lambda: httpx.Response(200, content=b"fine"))
    source = vendor.source()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: source.get(f"/{n}", {}), range(40)))
    assert [answer.attempts for answer in answers] == [1] * 40
    assert [answer.url for answer in answers] == [f"http://vendor.test/stooq/{n}" for n in range(40)]


def test_a_request_that_waits_for_another_attempt_lets_others_go_first():
    asked: list[str] = []
    failed = threading.Event()

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        first = len(asked) == 1
        failed.set()
        return httpx.Response(503 if first else 200)

    source = HttpSource("http://vendor.test", transport=httpx.MockTransport(answer), wait=0.2, concurrency=1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(source.get, "/waits", {})
        assert failed.wait(5)
        assert source.get("/passes", {}).attempts == 1
        assert waiting.result(5).attempts == 2
    assert asked == ["/waits", "/passes", "/waits"]


def test_no_permit_is_taken_that_can_not_be_used_at_once():
    lock, go = threading.Lock(), threading.Event()
    permits = sent = 0
    ahead: list[int] = []

    def permit() -> None:
        nonlocal permits
        with lock:
            permits += 1
            ahead.append(permits - sent)

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal sent
        go.wait(5)
        with lock:
            sent += 1
        return httpx.Response(200)

    transport = httpx.MockTransport(answer)
    source = HttpSource("http://vendor.test", transport=transport, concurrency=2, permit=permit)
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(source.get, "/", {}) for _ in range(16)]
        go.wait(0.1)
        go.set()
        assert [item.result(5).status for item in answers] == [200] * 16
    assert (permits, sent, max(ahead)) == (16, 16, 2)


def test_a_request_that_fails_gives_its_place_back():
    source = Vendor(status(302), status(302), status(302), status(200)).source(concurrency=1)
    for _ in range(3):
        with pytest.raises(BadPayload):
            source.get("/", {})
    assert source.get("/", {}).status == 200
