"""No key anywhere: not in URLs, bodies, errors, tracebacks or logs, by the name of its parameter or by its value."""

from __future__ import annotations

import json
import logging
import socket
import traceback
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from urllib.parse import quote, quote_plus

import httpx
import pytest

from market_data.errors import BadPayload, ProviderError, QuotaExhausted, SettingsError, Transient
from market_data.providers.base import sha256_hex
from market_data.providers.http import HttpSource, answer_of, redact
from market_data.records import FetchRequest
from market_data_tests.test_http_source import QUERY, WHOLE, Vendor, failure, loopback, status

KEY = "pk'9/Zq+%7=\"\\x&Kv"
SPELLINGS = {KEY, quote(KEY, safe=""), quote_plus(KEY), quote(KEY), repr(KEY)[1:-1], json.dumps(KEY)[1:-1]}
PARTS = ("connection", "http11", "http2", "proxy", "socks")
LOUD = ("httpx", "stamina", "h2", "hpack", "hpack.hpack", "hpack.table", "httpcore", *(f"httpcore.{p}" for p in PARTS))
REQUEST = FetchRequest("AAPL", date(2021, 1, 19), date(2026, 1, 16))


class Everything(logging.Handler):
    """Keeps each record with all that can be seen of it, formatted and not."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.names.add(record.name)
        self.seen += [self.format(record), repr(vars(record)), record.getMessage(), repr(record.exc_info)]


@contextmanager
def everything_logged() -> Iterator[Everything]:
    handler, root = Everything(), logging.getLogger()
    before = {name: logging.getLogger(name).level for name in LOUD}
    for name in LOUD:
        logging.getLogger(name).setLevel(logging.DEBUG)
    root.addHandler(handler)
    try:
        yield handler
    finally:
        root.removeHandler(handler)
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


@pytest.fixture
def log() -> Iterator[Everything]:
    with everything_logged() as handler:
        yield handler


def chain(error: BaseException | None) -> list[BaseException]:
    """The error and all that it leads to, suppressed or not."""
    met: list[BaseException] = []
    waiting = [error]
    while waiting:
        item = waiting.pop()
        if item is not None and item not in met:
            met.append(item)
            waiting += [item.__cause__, item.__context__]
    return met


def shown(error: ProviderError) -> str:
    errors = chain(error)
    assert not [item for item in errors if hasattr(item, "request") or hasattr(item, "_request")]
    texts = [f"{item!s} {item!r} {vars(item)!r}" for item in errors]
    return "\n".join([*traceback.format_exception(error), *texts, repr(answer_of(error))])


def leaks(text: str) -> list[str]:
    return [spelling for spelling in SPELLINGS if spelling.lower() in text.lower()]


def ask(url: str, **options) -> ProviderError | None:
    query, headers = {"s": "aapl.us", "auth": KEY}, {"Authorization": f"Bearer {KEY}", "X-Key": KEY}
    with closing(HttpSource(url, secrets=[KEY], wait=0, **options)) as source:
        try:
            source.get("/q", query, headers)
        except ProviderError as error:
            return error
    return None


ECHO = KEY.encode()
FAILURES = {
    "refused": None,
    "nothing": b"",
    "cut": b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + ECHO,
    "busy": b"HTTP/1.1 503 " + ECHO + b"\r\nContent-Length: 17\r\nX-Echo: " + ECHO + b"\r\n\r\n" + ECHO[:17],
    "redirect": b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: http://a.test/?k=" + ECHO + b"\r\n\r\n",
    "nonsense": b"HTTP/1.1 200 OK\r\n" + ECHO + b"\r\n\r\n",
    "coding": b"HTTP/1.1 200 OK\r\nContent-Encoding: " + ECHO + b"\r\n\r\n",
    "large": b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n",
}


@pytest.mark.parametrize("sent", FAILURES.values(), ids=FAILURES)
def test_a_key_is_in_no_error_traceback_or_log_of_a_request_that_fails(sent, log):
    if sent is None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        caught = ask(url)
    else:
        with loopback(sent) as (url, asked):
            caught = ask(url, max_body=1000)
        assert KEY.encode() in asked[0]
    assert caught is not None
    assert not leaks(shown(caught))
    assert {"httpcore.connection"} <= log.names
    assert not leaks("\n".join(log.seen))
    assert len(log.seen) > 4


def test_a_key_is_in_no_log_of_a_request_that_succeeds(log):
    with loopback(WHOLE) as (url, asked):
        assert ask(url) is None
    assert KEY.encode() in asked[0]
    assert {"httpx", "httpcore.http11", "httpcore.connection"} <= log.names
    assert not leaks("\n".join(log.seen))
    assert "REDACTED" in "\n".join(log.seen)


def test_a_key_that_the_server_sends_back_in_its_headers_is_in_no_log(log):
    with loopback(WHOLE.replace(b"\r\n\r\n", b"\r\nX-Echo: " + ECHO + b"\r\n\r\n")) as (url, _):
        assert ask(url) is None
    text = "\n".join(log.seen)
    assert "X-Echo" in text
    assert not leaks(text)


def test_an_exception_given_to_a_log_is_redacted_as_well(log):
    Vendor(status(200)).source(secrets=[KEY])
    for name in ("httpx", "httpcore.http2", "hpack.table", "stamina"):
        logger = logging.getLogger(name)
        try:
            raise ValueError(f"cannot send {KEY}")
        except ValueError:
            logger.exception("failed with %s", KEY, extra={"stamina.caused_by": KEY})
    text = "\n".join(log.seen)
    assert text.count("ValueError: cannot send REDACTED") >= 4
    assert "failed with REDACTED" in text
    assert not leaks(text)


def test_a_key_that_a_vendor_echoes_is_out_of_the_body_before_it_is_hashed():
    said = f'{{"Information": "your key {KEY} and in a URL {quote(KEY, safe="")}", "json": {json.dumps(KEY)}}}'
    vendor = Vendor(status(503, said.encode()), status(200, said.encode()))
    payload = vendor.source(secrets=[KEY]).fetch("stooq", REQUEST, "/q", {"auth": KEY})
    clean = b'{"Information": "your key REDACTED and in a URL REDACTED", "json": "REDACTED"}'
    assert (payload.body, payload.sha256) == (clean, sha256_hex(clean))
    assert payload.url == "http://vendor.test/stooq/q?auth=REDACTED"
    failing = Vendor(status(429, said.encode()))
    with pytest.raises(ProviderError) as caught:
        failing.source(secrets=[KEY]).fetch("stooq", REQUEST, "/q", {"auth": KEY})
    assert caught.value.payload.body == clean


def test_a_body_without_the_key_is_not_touched():
    body = bytes(range(256)) * 10
    assert Vendor(status(200, body)).source(secrets=[KEY]).get("/", {}).body == body


def test_a_value_too_short_to_be_told_from_data_leaves_bodies_alone():
    source = Vendor(status(200, b"2021-01-19,~9!Q,100.5")).source(secrets=["~9!Q"])
    assert source.get("/", {}).body == b"2021-01-19,~9!Q,100.5"
    assert redact("a key of ~9!Q") == "a key of REDACTED"


def test_a_key_of_one_source_is_hidden_by_every_other():
    Vendor(status(200)).source(secrets=["first-of-two-keys"])
    caught = failure(Vendor(httpx.ConnectError("no way for first-of-two-keys")))
    assert str(caught) == "no way for REDACTED at /q/d/l/"


def test_a_key_that_begins_with_another_one_leaves_no_rest():
    Vendor(status(200)).source(secrets=["shortkey", "shortkey-and-more", ""])
    assert redact("a shortkey-and-more b shortkey") == "a REDACTED b REDACTED"


def test_a_key_in_the_path_is_hidden():
    caught = failure(Vendor(status(503)), secrets=["in-the-path"])
    assert type(caught) is Transient
    with pytest.raises(Transient, match=r"^HTTP 503 at /stooq/v1/REDACTED/q$"):
        Vendor(status(503)).source().get("/v1/in-the-path/q", {})
    with pytest.raises(BadPayload, match=r"^'http://a.test/REDACTED' is not a path below"):
        Vendor(status(503)).source().get("http://a.test/in-the-path", {})


@pytest.mark.parametrize("key", ["S3CRET\n", " S3CRET", "S3 CRET", "S3CRET\u00e9", "\x7fS3CRET"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(key):
    with pytest.raises(SettingsError) as caught:
        Vendor(status(200)).source(secrets=[key])
    assert str(caught.value) == "a key holds a blank, a line break or a letter beyond ASCII; set it again without"
    assert "S3" not in "".join(traceback.format_exception(caught.value))


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


def test_what_a_permit_raises_leads_to_no_request():
    raised = iter([None, QuotaExhausted("spent")])

    def permit() -> None:
        error = next(raised)
        if error is not None:
            raise error

    caught = failure(Vendor(httpx.ConnectError("no")), permit=permit, secrets=[KEY])
    assert type(caught) is QuotaExhausted
    assert not leaks(shown(caught))


@pytest.mark.parametrize("name", ["apikey", "apiKey", "api_key", "APIKEY", "token", "access_token", "secret"])
def test_values_of_key_like_parameters_are_redacted_and_others_kept(name):
    assert redact(f"GET /q?s=a&{name}=S3CRET&i=d") == f"GET /q?s=a&{name}=REDACTED&i=d"


def test_loggers_are_given_one_filter_however_many_sources_are_made():
    Vendor(status(200)).source()
    before = [len(logging.getLogger(name).filters) for name in LOUD]
    Vendor(status(200)).source()
    assert [len(logging.getLogger(name).filters) for name in LOUD] == before
    assert min(before) >= 1


def test_a_payload_that_was_received_knows_when():
    before = datetime.now(UTC)
    answer = Vendor(status(200)).source().get("/", {})
    assert before <= answer.received_at <= datetime.now(UTC)
