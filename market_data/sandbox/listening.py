"""The server beneath the application: loopback only, silent, and every response labelled."""

from __future__ import annotations

import ipaddress
import os
import socket
import threading

import uvicorn
from starlette.applications import Starlette

from market_data.errors import MarketDataError

__all__ = ["HEADER", "Server", "is_loopback", "listen"]

HEADER = ("X-Market-Data", "synthetic")
"""Header of every response."""


class Server(uvicorn.Server):
    """uvicorn that tells when it accepts requests, logs nothing and, in a thread, handles no signals."""

    def __init__(self, application: Starlette) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                loop="asyncio",
                http="h11",  # one that is always there, so that broken answers break the same way everywhere
                lifespan="off",
                ws="none",
                log_config=None,
                log_level="critical",
                access_log=False,
                server_header=False,
                headers=[HEADER],
                timeout_graceful_shutdown=1,
            )
        )
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.ready.set()


def is_loopback(host: str) -> bool:
    """Whether an address is one of the machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        MarketDataError: the port is taken, or may not be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's delay (40 ms a response) off only where the protocol is named.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere this option would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise MarketDataError(f"the sandbox cannot use port {port} on {host}: {error.strerror}") from None
    return listener
