"""A webhook on loopback, for tests of what posts to one."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = "T0SECRETTEAM/B0SECRETBOT/xoxsecretxoxsecret"
"""End of its URL, which must be shown nowhere."""


class Webhook:
    """A server on loopback that keeps what is posted and answers as it is told."""

    def __init__(self) -> None:
        self.status = 200
        self.pause = 0.0
        self.trickle = 0
        self.location = ""
        self.bodies: list[dict] = []
        self.types: list[str] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["Content-Length"])
                hook.bodies.append(json.loads(self.rfile.read(size)))
                hook.types.append(self.headers["Content-Type"])
                time.sleep(hook.pause)
                if hook.trickle:
                    self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                for _ in range(hook.trickle):
                    self.wfile.write(b"x: y\r\n")
                    time.sleep(0.05)
                self.send_response(hook.status)
                if hook.location:
                    self.send_header("Location", hook.location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass  # the other side may hang up early

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/services/{SECRET}"


@contextmanager
def running() -> Iterator[Webhook]:
    """One that serves until the end of the block."""
    hook = Webhook()
    thread = threading.Thread(target=hook.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hook
    finally:
        hook.server.shutdown()
        hook.server.server_close()
        thread.join(5)
