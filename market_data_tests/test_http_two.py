"""HTTP/2 where the server offers it, with certificates verified, and without a connection shared by threads."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import httpx
import pytest

from market_data.errors import BadPayload, Transient
from market_data.providers.http import HttpSource
from market_data_tests.test_http_secrets import KEY, ask, everything_logged, leaks, shown

Answer = Callable[[h2.connection.H2Connection, int, str], None]


def plain(connection: h2.connection.H2Connection, stream: int, path: str) -> None:
    connection.send_headers(stream, [(":status", "200"), ("content-type", "text/plain")])
    connection.send_data(stream, path.encode() * 20, end_stream=True)


class Http2Server:
    """Speaks HTTP/2 with each connection in a thread of its own; keeps the headers it was sent."""

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.answer, self.tls = answer, tls
        self.asked: list[dict[bytes, bytes]] = []
        self.connections = self.most_streams = 0
        self.threads = [threading.Thread(target=self.accept)]
        self.threads[0].start()
        self.stopped = False

    def accept(self) -> None:
        while True:
            accepted, _ = self.listener.accept()
            if self.stopped:
                accepted.close()
                return
            self.threads.append(threading.Thread(target=self.serve, args=(accepted,)))
            self.threads[-1].start()

    def serve(self, accepted: socket.socket) -> None:
        with accepted:
            try:
                stream = self.tls.wrap_socket(accepted, server_side=True) if self.tls else accepted
                with stream:
                    self.converse(stream)
            except (OSError, h2.exceptions.ProtocolError):
                return

    def converse(self, stream: socket.socket) -> None:
        self.connections += 1
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        stream.sendall(connection.data_to_send())
        while data := stream.recv(65536):
            requests = [e for e in connection.receive_data(data) if isinstance(e, h2.events.RequestReceived)]
            self.most_streams = max(self.most_streams, connection.open_inbound_streams)
            for request in requests:
                headers = dict(request.headers)
                self.asked.append(headers)
                self.answer(connection, request.stream_id, headers[b":path"].decode())
            stream.sendall(connection.data_to_send())

    def stop(self) -> None:
        self.stopped = True
        socket.create_connection(("127.0.0.1", self.port)).close()
        for thread in list(self.threads):
            thread.join()
        self.listener.close()


@contextmanager
def serving(answer: Answer = plain, tls: ssl.SSLContext | None = None) -> Iterator[Http2Server]:
    server = Http2Server(answer, tls)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificate and key of 127.0.0.1 in one file, signed by itself."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed; it makes the certificate of the test's server")
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    made = [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key", "-out", "certificate"]
    subprocess.run(made, cwd=folder, check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_bytes((folder / "key").read_bytes() + (folder / "certificate").read_bytes())
    return both


def server_tls(certificate: Path, *protocols: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.set_alpn_protocols(list(protocols))
    return context


def test_http_2_is_spoken_where_it_is_offered_and_no_connection_is_shared(certificate):
    switching = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with serving(tls=server_tls(certificate, "h2")) as server, ThreadPoolExecutor(8) as pool:
            trusting = ssl.create_default_context(cafile=str(certificate))
            with closing(HttpSource(f"https://127.0.0.1:{server.port}", wait=0, concurrency=4, tls=trusting)) as source:
                answers = list(pool.map(lambda n: source.get(f"/{n}", {"n": str(n)}), range(200)))
    finally:
        sys.setswitchinterval(switching)
    assert [answer.body.decode() for answer in answers] == [f"/{n}?n={n}" * 20 for n in range(200)]
    assert {answer.attempts for answer in answers} == {1}
    assert (len(server.asked), server.most_streams) == (200, 1)
    assert 1 <= server.connections <= 4


def test_a_certificate_that_nobody_vouches_for_is_refused(certificate):
    with (
        serving(tls=server_tls(certificate, "h2")) as server,
        closing(HttpSource(f"https://127.0.0.1:{server.port}", wait=0)) as source,
        pytest.raises(Transient) as caught,
    ):
        source.get("/q", {})
    assert "certificate verify failed" in str(caught.value)
    assert server.asked == []


def lying(connection: h2.connection.H2Connection, stream: int, path: str) -> None:
    # In several TLS records, so that the lie shows only after the headers were read.
    connection.send_headers(stream, [(":status", "200"), ("content-length", "48001")])
    for rest in (2, 1, 0):
        connection.send_data(stream, b"x" * 16000, end_stream=not rest)


def resetting(connection: h2.connection.H2Connection, stream: int, path: str) -> None:
    connection.send_headers(stream, [(":status", "200")])
    connection.send_data(stream, b"Date,Open")
    connection.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)


def leaving(connection: h2.connection.H2Connection, stream: int, path: str) -> None:
    connection.close_connection(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)


def babbling(connection: h2.connection.H2Connection, stream: int, path: str) -> None:
    connection.send_headers(stream, [(":status", "two hundred")], end_stream=True)


@pytest.mark.parametrize("answer", [lying, resetting, leaving, babbling])
def test_an_answer_cut_short_is_tried_again_and_never_given(certificate, answer):
    trusting = ssl.create_default_context(cafile=str(certificate))
    with serving(answer, server_tls(certificate, "h2")) as server:
        url = f"https://127.0.0.1:{server.port}"
        with closing(HttpSource(url, wait=0, tls=trusting)) as source, pytest.raises(Transient) as caught:
            source.get("/q", {})
    assert (caught.value.attempts, len(server.asked)) == (5, 5)


def test_a_connection_whose_answer_was_given_up_is_not_used_again(certificate):
    def large(connection: h2.connection.H2Connection, stream: int, path: str) -> None:
        if path == "/small":
            plain(connection, stream, path)
            return
        connection.send_headers(stream, [(":status", "200")])
        connection.send_data(stream, b"x" * 10_000)

    trusting = ssl.create_default_context(cafile=str(certificate))
    with serving(large, server_tls(certificate, "h2")) as server:
        url = f"https://127.0.0.1:{server.port}"
        with closing(HttpSource(url, wait=0, tls=trusting, max_body=5000, concurrency=1)) as source:
            with pytest.raises(BadPayload):
                source.get("/large", {})
            assert source.get("/small", {}).body == b"/small" * 20
            assert source.get("/small", {}).attempts == 1
    assert server.connections == 2


@pytest.mark.parametrize("answer", [plain, resetting, leaving])
def test_a_key_is_in_no_log_of_http_2_either(answer):
    # Over plain HTTP nothing tells a server which protocol is meant, unless it is known before.
    transport = httpx.HTTPTransport(http1=False, http2=True)
    with everything_logged() as log, serving(answer) as server:
        caught = ask(f"http://127.0.0.1:{server.port}", transport=transport)
    assert (caught is None) == (answer is plain)
    assert caught is None or not leaks(shown(caught))
    assert server.asked[0][b"authorization"] == f"Bearer {KEY}".encode()
    assert "httpcore.http2" in log.names
    assert not leaks("\n".join(log.seen))
    # Its records show encoded headers as well, from which a key can be read back.
    assert not [name for name in log.names if name.startswith("hpack")]
