"""The HTTP server of the synthetic market; it listens on loopback only and labels every response as synthetic.

Below `/polygon`, `/alpha_vantage`, `/yahoo` and `/stooq` it speaks as those vendors do. Besides: `/` (what this is),
`/manifest` (what was planted), `/calls` (who was asked for what and how it was answered), `/faults` (GET, POST, DELETE:
what it is told to fail at), `/reset` (POST: the counters), `/clock` (what time it is).
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, date, datetime
from types import TracebackType
from typing import Self

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from market_data.clock import Clock
from market_data.errors import MarketDataError
from market_data.instruments import Universe
from market_data.sandbox.application import Desk, vendor_routes
from market_data.sandbox.calls import CallLog
from market_data.sandbox.defects import Manifest, plant
from market_data.sandbox.faults import Fault, FaultPlan, Limit, fault_from_json
from market_data.sandbox.listening import HEADER, Server, is_loopback, listen
from market_data.sandbox.timeline import BEFORE, Timeline, first_market
from market_data.sandbox.vendors import KEY_PARAMETERS, VENDORS

__all__ = ["HEADER", "Sandbox"]

_ABOUT = "A synthetic market: seeded random numbers with planted defects, none of it market data. See /manifest.\n"
_PATIENCE = 10.0  # seconds to start or to stop


class Sandbox:
    """A synthetic market on HTTP while the context is entered.

    Args:
        universe, start, end, seed: see `SyntheticMarket`.
        host: a loopback address.
        port: 0 for any that is free.
        faults: what to fail at; see `replace_faults`.
        limits: calls each vendor allows within a time.
        valid_keys: by vendor, the keys it takes; without an entry Polygon and Alpha Vantage take any that is not
            empty, and Stooq needs none.
        clock: what time it is in the market, which then goes on after `end`; a `SandboxClock` counts once it is set.
            Without one all of the market exists, and nothing changes.

    Attributes:
        market: the numbers before planting, from start to end.
        manifest: the defects in what is served.

    Raises:
        MarketDataError: the host is not loopback, the port is no port, a fault names an unknown symbol, keys are given
            for a vendor that has none, or (on entering) the port is taken.
    """

    def __init__(
        self,
        universe: Universe,
        *,
        start: date,
        end: date,
        seed: int,
        host: str = "127.0.0.1",
        port: int = 0,
        faults: Iterable[Fault] = (),
        limits: Iterable[Limit] = (),
        valid_keys: Mapping[str, Collection[str]] | None = None,
        clock: Clock | None = None,
    ) -> None:
        if not is_loopback(host):
            raise MarketDataError(f"the sandbox serves loopback only: give 127.0.0.1 or ::1, not {host!r}")
        if not 0 <= port <= 65535:
            raise MarketDataError(f"port {port} is not between 0 and 65535")
        keyless = sorted(set(valid_keys or {}) - set(KEY_PARAMETERS))
        if keyless:
            raise MarketDataError(f"{', '.join(keyless)} has no keys; those with keys are {', '.join(KEY_PARAMETERS)}")
        self.market = first_market(universe, start=start, end=end, seed=seed, clock=clock)
        self.manifest: Manifest = plant(self.market)
        self._host = host
        self._port = port
        self._valid_keys = {vendor: frozenset(keys) for vendor, keys in (valid_keys or {}).items()}
        self._plan = FaultPlan(seed, universe, faults=faults, limits=limits)
        self._timeline = Timeline(self.market, self.manifest, clock)
        self._log = CallLog()
        self._url = ""
        self._server: Server | None = None
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
        """Requests so far by (vendor, symbol), a copy.

        For an unknown instrument the ticker as it was asked for, for all of them `*`.
        """
        return self._log.calls

    @property
    def answered(self) -> Counter[tuple[str, str]]:
        """Answers so far by (vendor, how), a copy: "ok", "error" (the vendor's own refusal), or a kind of fault.

        A call over a limit counts as "rate_limit".
        """
        return self._log.answered

    @property
    def most_concurrent(self) -> Counter[str]:
        """The greatest number of requests under way at once, by vendor, a copy."""
        return self._log.most_concurrent

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What it is told to fail at."""
        return self._plan.faults

    def replace_faults(self, faults: Iterable[Fault]) -> None:
        """Fail at these from now on; calls keep their numbers (see `reset`).

        Of several faults on one call, those that delay or change the data add up, and the first one that replaces it
        is answered.

        Raises:
            MarketDataError: one names a symbol that is not in the universe.
        """
        self._plan.replace(faults)

    def reset(self) -> None:
        """Set the counters to zero, so that the next call of each vendor is its first again."""
        self._log.reset()
        self._plan.forget_calls()

    def __enter__(self) -> Self:
        listener = listen(self._host, self._port)
        shown = f"[{self._host}]" if ":" in self._host else self._host
        self._url = f"http://{shown}:{listener.getsockname()[1]}"
        self._server = Server(self._application())
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
        desk = Desk(
            url=self._url,
            universe=self.market.universe,
            timeline=self._timeline,
            plan=self._plan,
            log=self._log,
            valid_keys=self._valid_keys,
            disconnect=self._disconnect,
        )
        return Starlette(
            routes=[
                Route("/", self._about),
                Route("/manifest", self._show_manifest),
                Route("/calls", self._show_calls),
                Route("/faults", self._show_faults),
                Route("/faults", self._take_faults, methods=["POST"]),
                Route("/faults", self._drop_faults, methods=["DELETE"]),
                Route("/reset", self._reset, methods=["POST"]),
                Route("/clock", self._show_clock),
                *vendor_routes(desk),
            ]
        )

    def _disconnect(self, client: object) -> None:
        assert self._server is not None
        for connection in list(self._server.server_state.connections):
            if getattr(connection, "client", None) == client and connection.transport is not None:
                connection.transport.abort()

    async def _about(self, request: Request) -> Response:
        vendors = "".join(f"{vendor:<15}{self.url}/{vendor}\n" for vendor in VENDORS)
        now = self._timeline.now
        clock = "" if now is None else f"\nclock: {now:%Y-%m-%d %H:%M:%S} UTC\n"
        return PlainTextResponse(f"{_ABOUT}\n{vendors}{clock}")

    async def _show_manifest(self, request: Request) -> Response:
        market = self.market
        return JSONResponse(
            {
                "synthetic": True,
                "seed": market.seed,
                "start": market.start.isoformat(),
                "end": market.end.isoformat(),
                "defects": self.manifest.as_json(),
                **({} if self._timeline.now is None else {"clock": self._clock_json()}),
            }
        )

    async def _show_clock(self, request: Request) -> Response:
        try:
            return JSONResponse({"synthetic": True, **self._clock_json()})
        except MarketDataError as error:
            return JSONResponse({"error": str(error)}, status_code=500)

    def _clock_json(self) -> dict[str, object]:
        now = self._timeline.now
        served, second = self._timeline.current()
        session, closed = served.open_session(second), served.extent.closed
        return {
            "set": now is not None,
            "instant": datetime.fromtimestamp(second, UTC).isoformat(),
            "rate": self._timeline.rate,
            "open_session": None if session is None else session.isoformat(),
            "last_completed_session": None if closed == BEFORE else str(closed.astype("datetime64[D]")),
        }

    async def _show_calls(self, request: Request) -> Response:
        return JSONResponse({"synthetic": True, **self._log.as_json()})

    async def _show_faults(self, request: Request) -> Response:
        return JSONResponse([fault.as_json() for fault in self.faults])

    async def _take_faults(self, request: Request) -> Response:
        try:
            given = await request.json()
        except (ValueError, RecursionError):
            return JSONResponse({"error": "the body is not JSON"}, status_code=400)
        if not isinstance(given, list):
            return JSONResponse({"error": "a list of faults is due"}, status_code=400)
        try:
            self.replace_faults([fault_from_json(item) for item in given])
        except MarketDataError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        return await self._show_faults(request)

    async def _drop_faults(self, request: Request) -> Response:
        self.replace_faults(())
        return await self._show_faults(request)

    async def _reset(self, request: Request) -> Response:
        self.reset()
        return await self._show_calls(request)
