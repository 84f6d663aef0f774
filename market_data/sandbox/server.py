"""The HTTP server of the synthetic market; it listens on loopback only and labels every response as synthetic.

Endpoints: `/stooq/q/d/l/` (Stooq's daily CSV), `/manifest` (what was planted), `/calls` (who was asked for what), `/`.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import threading
from collections import Counter
from datetime import date
from types import TracebackType
from typing import Self

import numpy as np
import pandas as pd
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from market_data.errors import MarketDataError
from market_data.instruments import Universe
from market_data.sandbox.defects import Manifest, apply, plant
from market_data.sandbox.market import SyntheticMarket
from market_data.sandbox.wire import NO_DATA, stooq_csv

__all__ = ["HEADER", "Sandbox"]

HEADER = ("X-Market-Data", "synthetic")
"""Header of every response."""

_ABOUT = "A synthetic market: seeded random numbers with planted defects, none of it market data. See /manifest.\n"
_PATIENCE = 10.0  # seconds to start or to stop
_STOOQ_DATE = re.compile(r"\d{8}", re.ASCII)


class Sandbox:
    """A synthetic market on HTTP while the context is entered.

    Args:
        universe, start, end, seed: see `SyntheticMarket`.
        host: a loopback address.
        port: 0 for any that is free.

    Attributes:
        market: the numbers before planting.
        manifest: the defects in what is served.

    Raises:
        MarketDataError: the host is not loopback, the port is no port, or (on entering) it is taken.
    """

    def __init__(
        self, universe: Universe, *, start: date, end: date, seed: int, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        if not _is_loopback(host):
            raise MarketDataError(f"the sandbox serves loopback only: give 127.0.0.1 or ::1, not {host!r}")
        if not 0 <= port <= 65535:
            raise MarketDataError(f"port {port} is not between 0 and 65535")
        self.market = SyntheticMarket(universe, start=start, end=end, seed=seed)
        self.manifest: Manifest = plant(self.market)
        self._host = host
        self._port = port
        self._stooq_symbols = {item.ticker("stooq").lower(): symbol for symbol, item in universe.items()}
        self._served: dict[str, pd.DataFrame] = {}
        self._calls: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._url = ""
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Base URL without a final slash, such as `http://127.0.0.1:54321`.

        Raises:
            MarketDataError: the sandbox was never entered.
        """
        if not self._url:
            raise MarketDataError("the sandbox is not running: enter it with `with` first")
        return self._url

    @property
    def calls(self) -> Counter[tuple[str, str]]:
        """Requests so far by (vendor, symbol), a copy; for an unknown instrument the ticker as it was asked for."""
        with self._lock:
            return self._calls.copy()

    def __enter__(self) -> Self:
        listener = _listen(self._host, self._port)
        shown = f"[{self._host}]" if ":" in self._host else self._host
        self._url = f"http://{shown}:{listener.getsockname()[1]}"
        self._server = _Server(self._application())
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name="market-data-sandbox", daemon=True
        )
        self._thread.start()
        if not self._server.ready.wait(_PATIENCE):
            self._stop()
            listener.close()
            raise MarketDataError(f"the sandbox did not start on {self._url} within {_PATIENCE:.0f} s")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def serve_forever(self) -> None:
        """Keep an entered sandbox up until Ctrl-C, or until another thread leaves its context.

        Raises:
            MarketDataError: the sandbox was never entered.
        """
        if self._thread is None:
            raise MarketDataError("the sandbox is not running: enter it with `with` first")
        try:
            # Joining for a while at a time lets Ctrl-C through on every platform.
            while self._thread.is_alive():
                self._thread.join(0.5)
        except KeyboardInterrupt:
            return

    def _stop(self) -> None:
        if self._server and self._thread:
            self._server.should_exit = True
            self._thread.join(_PATIENCE)

    def _application(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/", self._about),
                Route("/manifest", self._show_manifest),
                Route("/calls", self._show_calls),
                Route("/stooq/q/d/l/", self._stooq),
            ]
        )

    # The handlers are coroutines that never wait: one thread serves, and a series is computed once without a lock.

    async def _about(self, request: Request) -> Response:
        return PlainTextResponse(_ABOUT)

    async def _show_manifest(self, request: Request) -> Response:
        market = self.market
        return JSONResponse(
            {
                "synthetic": True,
                "seed": market.seed,
                "start": market.start.isoformat(),
                "end": market.end.isoformat(),
                "defects": self.manifest.as_json(),
            }
        )

    async def _show_calls(self, request: Request) -> Response:
        calls = self.calls
        vendors: dict[str, dict[str, int]] = {}
        for (vendor, symbol), count in sorted(calls.items()):
            vendors.setdefault(vendor, {})[symbol] = count
        return JSONResponse({"synthetic": True, "total": calls.total(), "calls": vendors})

    async def _stooq(self, request: Request) -> Response:
        query = request.query_params
        ticker = query.get("s", "").strip().lower()
        symbol = self._stooq_symbols.get(ticker)
        with self._lock:
            self._calls["stooq", symbol or ticker] += 1
        window = _stooq_window(query.get("d1", ""), query.get("d2", ""))
        if symbol is None or window is None or query.get("i", "d") != "d":
            return Response(NO_DATA, media_type="text/csv")
        return Response(stooq_csv(_between(self._series(symbol), *window)), media_type="text/csv")

    def _series(self, symbol: str) -> pd.DataFrame:
        if symbol not in self._served:
            self._served[symbol] = apply(self.market.adjusted_bars(symbol), self.manifest.of(symbol))
        return self._served[symbol]


class _Server(uvicorn.Server):
    """uvicorn that tells when it accepts requests, logs nothing and, in a thread, handles no signals."""

    def __init__(self, application: Starlette) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                loop="asyncio",
                lifespan="off",
                ws="none",
                log_config=None,
                log_level="critical",
                access_log=False,
                server_header=False,
                headers=[HEADER],
                timeout_graceful_shutdown=2,
            )
        )
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.ready.set()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
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


def _stooq_window(first: str, last: str) -> tuple[date | None, date | None] | None:
    """The dates asked for, None for an open end; None altogether when either is malformed."""
    try:
        return _stooq_date(first), _stooq_date(last)
    except ValueError:
        return None


def _stooq_date(text: str) -> date | None:
    if not text:
        return None
    if not _STOOQ_DATE.fullmatch(text):
        raise ValueError(f"not a date as in 20210119: {text!r}")
    return date.fromisoformat(text)


def _between(bars: pd.DataFrame, first: date | None, last: date | None) -> pd.DataFrame:
    days = bars["date"].to_numpy()
    low = np.searchsorted(days, np.datetime64(first, "s"), side="left") if first else 0
    high = np.searchsorted(days, np.datetime64(last, "s"), side="right") if last else len(days)
    return bars.iloc[low:high]
