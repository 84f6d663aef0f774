"""Requests that a page of another site sends to the Dagster UI are refused.

Dagster's webserver has no login, takes GraphQL mutations from plain GET requests, and looks at neither `Origin` nor
`Host`. Any page that is open in a browser on the same machine could launch runs. What is told apart here: browsers say
in `Sec-Fetch-Site` and `Origin` which site a request comes from (W3C Fetch Metadata, RFC 6454), and a page that had
its own name resolve to 127.0.0.1 betrays itself by `Host`. Programs send neither of the first two, and are let through.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

__all__ = ["LOOPBACK", "SameSite", "guard", "refusal"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
"""Names under which a UI on this machine is opened."""

_READS = ("GET", "HEAD")
_OWN = ("same-origin", "none")


def refusal(scope: Message, hosts: frozenset[str]) -> str | None:
    """Why a request is refused; None for one that is let through.

    Args:
        scope: the ASGI scope of an HTTP or websocket request.
        hosts: names, without a port, under which the UI is served.
    """
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope.get("headers", ())}
    host = headers.get("host", "")
    if _name(host) not in hosts:
        return f"the UI is not served as {host[:100]!r}; where it is meant to be, set MARKET_DATA_UI_URL to its address"
    is_page = scope["type"] == "http" and scope["method"] in _READS and "/graphql" not in scope["path"]
    if is_page:  # a link from elsewhere may lead here
        return None
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
    if site not in _OWN or (origin is not None and urlsplit(origin).netloc != host):
        return "a page of another site may not send requests to this UI"
    return None


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


class SameSite:
    """ASGI middleware that answers 403 to what `refusal` refuses; a websocket is closed before it opens."""

    def __init__(self, app: Application, hosts: frozenset[str] = LOOPBACK) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        reason = refusal(scope, self._hosts) if scope["type"] in ("http", "websocket") else None
        if reason is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": reason[:120]})
        else:
            headers = [(b"content-type", b"text/plain; charset=utf-8")]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": reason.encode()})


def guard(webserver: Any, hosts: Callable[[], Iterable[str]]) -> None:
    """Put the middleware before everything else of Dagster's webserver.

    Args:
        webserver: its class `DagsterWebserver`, which has no other place for one.
        hosts: names besides loopback's, asked for once the server starts.
    """
    from starlette.middleware import Middleware

    build = webserver.build_middleware

    def build_middleware(self: Any) -> list[Middleware]:
        return [Middleware(SameSite, hosts=LOOPBACK | frozenset(hosts())), *build(self)]

    webserver.build_middleware = build_middleware
