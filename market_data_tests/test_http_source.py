from __future__ import annotations

import gzip
import logging
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
import stamina

from market_data.errors import BadPayload, NotEntitled, ProviderError, RateLimited, Transient, UnknownSymbol
from market_data.instruments import Instrument
from market_data.providers.base import sha256_hex
from market_data.providers.http import MAX_ATTEMPTS, HttpSource, redact
from market_data.providers.stooq import StooqClient
from market_data.records import FetchRequest

QUERY = {"s": "aapl.us", "apikey": "S3CRET"}


class Vendor:
    """Answers with the given responses in turn, the last one for good; keeps what it was asked."""

    def __init__(self, *answers: httpx.Response | Exception | Callable[[], httpx.Response]) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer() if callable(answer) else answer

    def source(self, **options) -> HttpSource:
        return HttpSource("http://vendor.test/stooq/", transport=httpx.MockTransport(self), wait=0, **options)


def status(code: int, body: bytes = b"", **headers: str) -> Callable[[], httpx.Response]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda: httpx.Response(code, content=body, headers=named)


def failure(vendor: Vendor, **options) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        vendor.source(**options).get("/q/d/l/", QUERY)
    return caught.value


@contextmanager
def loopback(*answers: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A real server that sends the given bytes, one connection each, the last for good; with what it was asked."""
    asked: list[bytes] = []
    left = list(answers)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                request = connection.recv(65536)
                if request == b"stop":
                    return
                asked.append(request)
                connection.sendall(left.pop(0) if len(left) > 1 else left[0])

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
    finally:
        with socket.create_connection(listener.getsockname()) as last:
            last.sendall(b"stop")
        thread.join()
        listener.close()


def test_an_answer_carries_its_body_status_type_and_what_it_took():
    vendor = Vendor(status(200, b"Date,Open\r\n", content_type="text/csv"))
    answer = vendor.source(user_agent="tests").get("/q/d/l/", QUERY)
    assert (answer.body, answer.status, answer.content_type) == (b"Date,Open\r\n", 200, "text/csv")
    assert (answer.attempts, answer.elapsed_ms >= 0) == (1, True)
    assert vendor.asked[0].headers["user-agent"] == "tests"
    assert str(vendor.asked[0].url) == "http://vendor.test/stooq/q/d/l/?s=aapl.us&apikey=S3CRET"


def test_a_compressed_body_is_given_as_it_was_before_compression():
    answer = Vendor(status(200, gzip.compress(b"bars" * 100), content_encoding="gzip")).source().get("/", {})
    assert answer.body == b"bars" * 100


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (status(500), Transient, "HTTP 500 at /stooq/q/d/l/"),
        (status(503), Transient, "HTTP 503 at /stooq/q/d/l/"),
        (status(408), Transient, "HTTP 408 at /stooq/q/d/l/"),
        (status(429), RateLimited, "HTTP 429 at /stooq/q/d/l/"),
        (httpx.ConnectError("refused"), Transient, "refused at /q/d/l/"),
        (httpx.ReadTimeout(""), Transient, "ReadTimeout at /q/d/l/"),
        (httpx.RemoteProtocolError("peer closed"), Transient, "peer closed at /q/d/l/"),
    ],
)
def test_what_can_pass_is_tried_five_times_in_all(answer, error, message):
    vendor = Vendor(answer)
    caught = failure(vendor)
    assert (type(caught), str(caught), caught.retryable) == (error, message, True)
    assert (len(vendor.asked), caught.attempts) == (5, 5)
    assert MAX_ATTEMPTS == 5


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        (400, BadPayload, "HTTP 400 at /stooq/q/d/l/: not an answer to use"),
        (401, NotEntitled, "HTTP 401 at /stooq/q/d/l/: the key or the plan does not allow it"),
        (403, NotEntitled, "HTTP 403 at /stooq/q/d/l/: the key or the plan does not allow it"),
        (404, UnknownSymbol, "HTTP 404 at /stooq/q/d/l/"),
        (204, BadPayload, "HTTP 204 at /stooq/q/d/l/: not an answer to use"),
        (206, BadPayload, "HTTP 206 at /stooq/q/d/l/: not an answer to use"),
        (418, BadPayload, "HTTP 418 at /stooq/q/d/l/: not an answer to use"),
    ],
)
def test_what_would_be_the_same_again_is_asked_once(code, error, words):
    vendor = Vendor(status(code))
    caught = failure(vendor)
    assert (type(caught), str(caught), caught.retryable) == (error, words, False)
    assert (len(vendor.asked), caught.attempts) == (1, 1)


@pytest.mark.parametrize("code", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(code):
    vendor = Vendor(status(code, location="http://elsewhere.test/"), status(200, b"stolen"))
    assert type(failure(vendor)) is BadPayload
    assert [request.url.host for request in vendor.asked] == ["vendor.test"]


def test_attempts_count_every_call_up_to_the_one_that_succeeded():
    vendor = Vendor(status(500), httpx.ConnectError("no"), status(429), status(408), status(200, b"at last"))
    answer = vendor.source().get("/", {})
    assert (answer.body, answer.attempts, len(vendor.asked)) == (b"at last", 5, 5)


def test_a_final_answer_after_a_passing_one_ends_the_attempts():
    vendor = Vendor(status(500), status(403))
    caught = failure(vendor)
    assert (type(caught), caught.attempts, len(vendor.asked)) == (NotEntitled, 2, 2)


def test_threads_that_share_a_source_count_their_own_attempts():
    vendor = Vendor(lambda: httpx.Response(200, content=b"fine"))
    source = vendor.source()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: source.get(f"/{n}", {}), range(40)))
    assert [answer.attempts for answer in answers] == [1] * 40
    assert [answer.url for answer in answers] == [f"http://vendor.test/stooq/{n}" for n in range(40)]


@pytest.mark.parametrize(("size", "fits"), [(1000, True), (1001, False)])
def test_a_body_larger_than_the_limit_is_refused_and_not_asked_again(size, fits):
    vendor = Vendor(status(200, b"x" * size))
    if fits:
        assert len(vendor.source(max_body=1000).get("/", {}).body) == size
    else:
        caught = failure(vendor, max_body=1000)
        assert str(caught) == "/stooq/q/d/l/: the body is larger than 1,000 bytes"
        assert (type(caught), caught.attempts, len(vendor.asked)) == (BadPayload, 1, 1)


def test_the_limit_holds_for_what_a_small_compressed_body_grows_into():
    vendor = Vendor(status(200, gzip.compress(bytes(10_000_000)), content_encoding="gzip"))
    assert "the body is larger than 1,000 bytes" in str(failure(vendor, max_body=1000))


def test_a_compressed_body_that_is_damaged_is_tried_again():
    vendor = Vendor(status(200, b"no gzip", content_encoding="gzip"))
    caught = failure(vendor)
    assert (type(caught), len(vendor.asked)) == (Transient, 5)


CUT = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nDate,Open",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nDate,Open\r\n",
]
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nDate,Open"


@pytest.mark.parametrize("cut", [*CUT, b""], ids=["length", "chunked", "nothing"])
def test_a_body_cut_on_the_wire_is_tried_again_and_never_given(cut):
    with loopback(cut) as (url, asked), closing(HttpSource(url, wait=0)) as source:
        with pytest.raises(Transient) as caught:
            source.get("/q/d/l/", QUERY)
        assert (caught.value.attempts, len(asked)) == (5, 5)
    with loopback(cut, WHOLE) as (url, asked), closing(HttpSource(url, wait=0)) as source:
        answer = source.get("/q/d/l/", QUERY)
        assert (answer.body, answer.attempts, len(asked)) == (b"Date,Open", 2, 2)


def test_a_server_that_is_not_there_is_tried_five_times():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with closing(HttpSource(url, wait=0)) as source, pytest.raises(Transient) as caught:
        source.get("/", {})
    assert caught.value.attempts == 5


def test_proxies_of_the_environment_are_not_used(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with loopback(WHOLE) as (url, _), closing(HttpSource(url, wait=0)) as source:
        assert source.get("/", {}).attempts == 1


@pytest.mark.parametrize("code", [429, 503])
def test_the_wait_that_the_vendor_asks_for_is_kept(code):
    vendor = Vendor(status(code, retry_after="1"), status(200, b"fine"))
    started = time.monotonic()
    assert vendor.source().get("/", {}).attempts == 2
    assert 0.9 <= time.monotonic() - started < 3.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (b"7", 7.0),
        (b" 120 ", 120.0),
        (b"0", 0.0),
        (b"Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        (b"soon", None),
        (b"-5", None),
        (b"", None),
        (b"\xb2", None),
        (b"Wed, 99 Oct 2015 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_read_in_both_forms_and_nonsense_is_passed_over(header, seconds):
    vendor = Vendor(lambda: httpx.Response(429, headers=[(b"Retry-After", header)]))
    with stamina.set_testing(True, attempts=MAX_ATTEMPTS):
        caught = failure(vendor)
    assert (type(caught), caught.retry_after, caught.attempts) == (RateLimited, seconds, 5)


def test_retry_after_as_a_date_counts_from_now():
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    with stamina.set_testing(True, attempts=MAX_ATTEMPTS):
        caught = failure(Vendor(status(429, retry_after=later)))
    assert 80 < caught.retry_after <= 90


def test_a_key_appears_neither_in_the_url_nor_in_the_log(caplog):
    caplog.set_level(logging.INFO, logger="httpx")
    answer = Vendor(status(200, b"fine")).source().get("/q/d/l/", QUERY)
    assert answer.url == "http://vendor.test/stooq/q/d/l/?s=aapl.us&apikey=REDACTED"
    assert "apikey=REDACTED" in caplog.text
    assert "S3CRET" not in caplog.text


def test_a_key_appears_in_no_error_and_no_traceback():
    url = "http://vendor.test/?apikey=S3CRET&s=aapl.us"
    caught = failure(Vendor(httpx.ConnectError(f"cannot reach {url}")))
    assert str(caught) == "cannot reach http://vendor.test/?apikey=REDACTED&s=aapl.us at /q/d/l/"
    assert "S3CRET" not in "".join(traceback.format_exception(caught))


@pytest.mark.parametrize("name", ["apikey", "apiKey", "api_key", "APIKEY", "token", "access_token", "secret"])
def test_values_of_key_like_parameters_are_redacted_and_others_kept(name):
    assert redact(f"GET /q?s=a&{name}=S3CRET&i=d") == f"GET /q?s=a&{name}=REDACTED&i=d"


def test_trying_again_writes_nothing_to_standard_output(capsys):
    Vendor(status(500), status(200)).source().get("/", {})
    assert capsys.readouterr().out == ""


def test_the_stooq_client_asks_for_its_spelling_and_the_window():
    now = datetime(2026, 2, 3, 22, tzinfo=UTC)
    vendor = Vendor(status(500), status(200, b"No data", content_type="text/plain"))
    client = StooqClient("stooq", vendor.source(), synthetic=False, clock=lambda: now)
    request = FetchRequest("BRK.B", date(2021, 1, 19), date(2026, 1, 16))
    payload = client.fetch(Instrument("BRK.B"), request)
    assert str(vendor.asked[-1].url) == "http://vendor.test/stooq/q/d/l/?s=brk-b.us&d1=20210119&d2=20260116&i=d"
    assert (payload.provider, payload.request, payload.fetched_at) == ("stooq", request, now)
    assert (payload.body, payload.sha256) == (b"No data", sha256_hex(b"No data"))
    assert (payload.status, payload.content_type, payload.attempts) == (200, "text/plain", 2)
    assert client.serves(Instrument("ZZZZ"))
