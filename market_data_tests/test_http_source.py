"""What is asked again and what is not, and what comes of it. The servers here are used by the other tests of HTTP."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
import stamina

from market_data.errors import BadPayload, ProviderError, QuotaExhausted, RateLimited, Transient
from market_data.providers.http import LONGEST_WAIT, MAX_ATTEMPTS, HttpSource, answer_of

QUERY = {"s": "aapl.us", "apikey": "S3CRET"}

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nDate,Open"


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
    answer = vendor.source(user_agent="tests").get("/q/d/l/", QUERY, {"Authorization": "Bearer S3CRET"})
    assert (answer.body, answer.status, answer.content_type) == (b"Date,Open\r\n", 200, "text/csv")
    assert (answer.attempts, answer.elapsed_ms >= 0, answer.synthetic) == (1, True, False)
    assert vendor.asked[0].headers["user-agent"] == "tests"
    assert vendor.asked[0].headers["authorization"] == "Bearer S3CRET"
    assert str(vendor.asked[0].url) == "http://vendor.test/stooq/q/d/l/?s=aapl.us&apikey=S3CRET"


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (status(500), Transient, "HTTP 500 at /stooq/q/d/l/"),
        (status(503), Transient, "HTTP 503 at /stooq/q/d/l/"),
        (status(599), Transient, "HTTP 599 at /stooq/q/d/l/"),
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


@pytest.mark.parametrize("code", [200, 204, 206, 400, 401, 403, 404, 407, 418, 422, 451, 600])
def test_what_would_be_the_same_again_is_asked_once_and_given_as_it_is(code):
    vendor = Vendor(status(code, b"what the vendor says"))
    answer = vendor.source().get("/q/d/l/", QUERY)
    assert (answer.status, answer.body) == (code, b"what the vendor says")
    assert (answer.attempts, len(vendor.asked)) == (1, 1)


@pytest.mark.parametrize(
    ("location", "place"),
    [
        ("http://elsewhere.test/path?apikey=S3CRET", "elsewhere.test"),
        ("http://user:S3CRET@elsewhere.test:8080/", "elsewhere.test"),
        ("/login?apikey=S3CRET", "no other host"),
    ],
)
@pytest.mark.parametrize("code", [300, 301, 302, 307, 308])
def test_a_redirect_is_not_followed_and_its_host_alone_is_named(code, location, place):
    vendor = Vendor(status(code, location=location), status(200, b"stolen"))
    caught = failure(vendor)
    message = f"HTTP {code} at /stooq/q/d/l/: a redirect to {place}, not followed"
    assert (type(caught), str(caught), caught.attempts) == (BadPayload, message, 1)
    assert [request.url.host for request in vendor.asked] == ["vendor.test"]


@pytest.mark.parametrize("answer", [status(304), status(300, location="http://a:b/")], ids=["304", "nonsense"])
def test_a_redirect_to_nowhere_is_no_answer_either(answer):
    caught = failure(Vendor(answer))
    assert (type(caught), "a redirect to no other host, not followed" in str(caught)) == (BadPayload, True)


@pytest.mark.parametrize("path", ["http://elsewhere.test/v2", "https://vendor.test/v2", "/v2\n", "/v2/\u017c"])
def test_a_path_that_is_not_one_is_never_asked(path):
    vendor = Vendor(status(200))
    with pytest.raises(BadPayload, match=r"is not a path below http://vendor\.test/stooq$") as caught:
        vendor.source().get(path, {}, {"Authorization": "Bearer S3CRET"})
    assert (vendor.asked, caught.value.attempts) == ([], 0)


def test_attempts_count_every_call_up_to_the_one_that_succeeded():
    vendor = Vendor(status(500), httpx.ConnectError("no"), status(429), status(408), status(200, b"at last"))
    answer = vendor.source().get("/", {})
    assert (answer.body, answer.attempts, len(vendor.asked)) == (b"at last", 5, 5)


def test_a_final_answer_after_a_passing_one_ends_the_attempts():
    vendor = Vendor(status(500), status(403, b"no"))
    answer = vendor.source().get("/", {})
    assert (answer.status, answer.body, answer.attempts, len(vendor.asked)) == (403, b"no", 2, 2)


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
        (b" 60 ", 60.0),
        (b"0", 0.0),
        (b"Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        (b"soon", None),
        (b"-5", None),
        (b"", None),
        (b"\xb2", None),
        (b"9" * 400, None),
        (b"Wed, 99 Oct 2015 07:28:00 GMT", None),
        (b"Wed, 99999999999999999999 Oct 2015 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_read_in_both_forms_and_nonsense_is_passed_over(header, seconds):
    vendor = Vendor(lambda: httpx.Response(429, headers=[(b"Retry-After", header)]))
    with stamina.set_testing(True, attempts=MAX_ATTEMPTS):
        caught = failure(vendor)
    assert (type(caught), caught.retry_after, caught.attempts) == (RateLimited, seconds, 5)


@pytest.mark.parametrize("code", [408, 429, 503])
def test_a_wait_too_long_to_sleep_through_is_told_at_once(code):
    vendor = Vendor(status(500), status(code, b"come back", retry_after="61"))
    caught = failure(vendor)
    message = f"HTTP {code} at /stooq/q/d/l/: asks for a wait of 61 s"
    assert (type(caught), str(caught), caught.retry_after) == (RateLimited, message, 61.0)
    assert (caught.attempts, len(vendor.asked), LONGEST_WAIT) == (2, 2, 60.0)
    assert answer_of(caught).body == b"come back"


def test_retry_after_as_a_date_counts_from_now():
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    caught = failure(Vendor(status(429, retry_after=later)))
    assert 80 < caught.retry_after <= 90


def test_trying_again_is_logged_and_writes_nothing_to_standard_output(capsys, caplog):
    caplog.set_level(logging.INFO)
    Vendor(status(500), status(200)).source().get("/", {})
    assert capsys.readouterr().out == ""
    retries = [record for record in caplog.records if record.name == "market_data.providers.http"]
    assert [(record.levelno, record.getMessage()) for record in retries] == [
        (logging.INFO, "attempt 2 of 5 in 0.0 s, after: HTTP 500 at /stooq/")
    ]


def test_hooks_on_retries_that_were_set_later_stay(capsys):
    seen = []
    Vendor(status(200)).source()
    before = stamina.instrumentation.get_on_retry_hooks()
    stamina.instrumentation.set_on_retry_hooks([lambda details: seen.append(details.retry_num)])
    try:
        Vendor(status(500), status(200)).source().get("/", {})
    finally:
        stamina.instrumentation.set_on_retry_hooks(before)
    assert seen == [1]


def test_a_permit_is_asked_before_each_call_that_is_sent():
    events = []
    answers = iter([503, 429, 200])

    def answer(request):
        events.append("send")
        return httpx.Response(next(answers))

    transport = httpx.MockTransport(answer)
    source = HttpSource("http://vendor.test", transport=transport, wait=0, permit=lambda: events.append("permit"))
    assert source.get("/", {}).attempts == 3
    assert events == ["permit", "send"] * 3


@pytest.mark.parametrize("refusal", [QuotaExhausted("spent"), RateLimited("closed"), ProviderError("left alone")])
def test_what_a_permit_raises_ends_the_attempts_and_goes_through_unchanged(refusal):
    vendor, permits = Vendor(status(503, b"busy")), iter([None, None, refusal])

    def permit():
        raised = next(permits)
        if raised is not None:
            raise raised

    with pytest.raises(ProviderError) as caught:
        vendor.source(permit=permit).get("/", {})
    assert caught.value is refusal
    assert (refusal.attempts, len(vendor.asked), answer_of(refusal).attempts) == (2, 2, 2)


def test_a_first_permit_refused_sends_nothing_and_frees_the_connection():
    vendor, refusals = Vendor(status(200, b"fine")), [KeyError("broken"), QuotaExhausted("spent")]
    source = vendor.source(permit=lambda: (_ for _ in ()).throw(refusals.pop(0)) if refusals else None, concurrency=1)
    with pytest.raises(KeyError):
        source.get("/", {})
    with pytest.raises(QuotaExhausted) as caught:
        source.get("/", {})
    assert (caught.value.attempts, answer_of(caught.value), vendor.asked) == (0, None, [])
    assert source.get("/", {}).body == b"fine"
