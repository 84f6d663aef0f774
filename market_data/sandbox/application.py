"""The HTTP application: every request is counted, may meet a fault, a limit or a lack of a key, and is answered."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from urllib.parse import unquote

from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from market_data.instruments import Universe
from market_data.sandbox.call import Answer, Call
from market_data.sandbox.calls import CallLog
from market_data.sandbox.endpoints import ENDPOINTS, Endpoint
from market_data.sandbox.faults import FAULT_KINDS, Fault, FaultPlan
from market_data.sandbox.refusals import key_refusal, refusal
from market_data.sandbox.timeline import Timeline
from market_data.sandbox.vendors import KEY_PARAMETERS, VENDORS

__all__ = ["Desk", "vendor_routes"]

Disconnect = Callable[[object], None]

_BEARER = re.compile(r"(?i)bearer\s+(\S+)")


@dataclass(frozen=True, slots=True)
class Desk:
    """What all endpoints share.

    Attributes:
        url: base URL of the sandbox, without a final slash.
        disconnect: closes the connection of a client (the scope's `client`) at once.
    """

    url: str
    universe: Universe
    timeline: Timeline
    plan: FaultPlan
    log: CallLog
    valid_keys: Mapping[str, Collection[str]]
    disconnect: Disconnect
    symbols: Mapping[str, Mapping[str, str]] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "symbols", {vendor: _symbols(self.universe, vendor) for vendor in VENDORS})


def vendor_routes(desk: Desk) -> Sequence[Route]:
    """A route for each endpoint of each vendor."""
    return [
        Route(f"/{item.vendor}{item.path}", endpoint=_VendorEndpoint(item, desk), methods=["GET"]) for item in ENDPOINTS
    ]


class _VendorEndpoint:
    """ASGI application of one endpoint; one thread runs it, and a series is computed once without a lock."""

    def __init__(self, endpoint: Endpoint, desk: Desk) -> None:
        self._endpoint = endpoint
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = self._call(Request(scope, receive))
        outcome = "error"
        numbers = self._desk.log.begin(call.vendor, call.counted_as)
        try:
            # Whatever has arrived by now is counted before this one is answered.
            await asyncio.sleep(0)
            faults = self._desk.plan.falling_on(call.vendor, call.counted_as, *numbers)
            answer = await self._answer(replace(call, faults=faults))
            outcome = _outcome(answer, faults)
        finally:
            # Before it is sent: who has the answer finds it counted, and may ask again without being two.
            self._desk.log.end(call.vendor, outcome)
        if answer is None:
            await self._hang_up(scope, receive)
        else:
            await _send(answer, send)

    def _call(self, request: Request) -> Call:
        vendor = self._endpoint.vendor
        parts = {name: unquote(str(value)) for name, value in request.path_params.items()}
        query = dict(request.query_params)
        key = query.pop(KEY_PARAMETERS.get(vendor, ""), "").strip()
        bearer = _BEARER.fullmatch(request.headers.get("authorization", "").strip())
        if vendor == "polygon" and bearer:
            key = bearer.group(1)
        ticker = self._endpoint.ticker(parts, query)
        return Call(
            vendor=vendor,
            base_url=f"{self._desk.url}/{vendor}",
            path=request.url.path.removeprefix(f"/{vendor}"),
            parts=parts,
            query=query,
            key=key,
            ticker=ticker,
            symbol=self._desk.symbols[vendor].get(_spelled(vendor, ticker)),
        )

    async def _answer(self, call: Call) -> Answer | None:
        """The answer; None where the connection is to be closed without one."""
        for fault in call.faults:
            if fault.kind == "slow":
                await asyncio.sleep(1.0 if fault.value is None else fault.value)
        if not self._desk.plan.allows(call.vendor):
            return replace(refusal(call, "rate_limit"), outcome="rate_limit")
        for fault in call.faults:
            if fault.kind == "outage":
                return None
            if FAULT_KINDS[fault.kind].replaces:
                return refusal(call, fault.kind, fault.value)
        refused = key_refusal(call, self._desk.valid_keys)
        if refused:
            return refused
        served, now = self._desk.timeline.current()
        return _spoilt(self._endpoint.answer(served, replace(call, now=now)), call.faults)

    async def _hang_up(self, scope: Scope, receive: Receive) -> None:
        self._desk.disconnect(scope["client"])
        while (await receive())["type"] != "http.disconnect":
            pass


async def _send(answer: Answer, send: Send) -> None:
    length = len(answer.body) if answer.promised is None else answer.promised
    headers = [("content-length", str(length)), ("content-type", answer.content_type), *answer.headers]
    encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
    # A body that is not complete when the application returns has its connection closed.
    await send({"type": "http.response.body", "body": answer.body, "more_body": length > len(answer.body)})


def _spoilt(answer: Answer, faults: Sequence[Fault]) -> Answer:
    """The answer with the faults of its transport."""
    for fault in faults:
        if fault.kind == "wrong_content_type":
            answer = replace(answer, content_type="application/octet-stream")
        elif fault.kind == "cut_response":
            sent = int(len(answer.body) * (0.5 if fault.value is None else fault.value))
            answer = replace(answer, body=answer.body[:sent], promised=len(answer.body))
    return answer


def _outcome(answer: Answer | None, faults: Sequence[Fault]) -> str:
    if answer is not None and answer.outcome:
        return answer.outcome
    replacing = [fault.kind for fault in faults if FAULT_KINDS[fault.kind].replaces]
    others = [fault.kind for fault in faults if not FAULT_KINDS[fault.kind].replaces]
    if replacing:
        return replacing[0]
    return "error" if answer is None or answer.is_error else (others or ["ok"])[0]


def _symbols(universe: Universe, vendor: str) -> dict[str, str]:
    """Symbols by ticker; Polygon's old ones too, where no other instrument has that ticker now."""
    found = {_spelled(vendor, item.ticker(vendor)): symbol for symbol, item in universe.items()}
    for symbol, item in universe.items() if vendor == "polygon" else ():
        for _, renamed in item.previous_symbols:
            old = item.ticker(vendor, renamed - timedelta(days=1), point_in_time=True)
            found.setdefault(old, symbol)
    return found


def _spelled(vendor: str, ticker: str | None) -> str:
    """A ticker the way it is looked up: only Polygon tells capitals from small letters."""
    if ticker is None or vendor == "polygon":
        return ticker or ""
    return ticker.upper()
