"""The UI takes no request that a page of another site sends."""

from __future__ import annotations

import asyncio

import pytest

from market_data.defs.same_site import LOOPBACK, SameSite, guard, refusal

UI = "127.0.0.1:3000"


def scope(path: str = "/graphql", *, method: str = "POST", kind: str = "http", **headers: str) -> dict:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = [(name.encode(), value.encode()) for name, value in ({"host": UI} | named).items()]
    return {"type": kind, "path": path, "headers": sent} | ({"method": method} if kind == "http" else {})


def answer(request: dict, **given) -> list[dict]:
    """What the middleware sends before an application that would say "passed"."""
    sent: list[dict] = []

    async def application(*_: object) -> None:
        sent.append({"type": "passed"})

    async def send(message: dict) -> None:
        sent.append(message)

    asyncio.run(SameSite(application, **given)(request, None, send))
    return sent


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_the_ui_itself_and_programs_are_let_through(kind):
    own = {"origin": f"http://{UI}", "sec_fetch_site": "same-origin"}
    assert refusal(scope(kind=kind, **own), LOOPBACK) is None
    assert refusal(scope(kind=kind), LOOPBACK) is None
    assert refusal(scope(kind=kind, host="localhost:3000", origin="http://localhost:3000"), LOOPBACK) is None
    assert refusal(scope(kind=kind, host="[::1]:3000"), LOOPBACK) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
@pytest.mark.parametrize(
    ("path", "method"), [("/graphql", "GET"), ("/graphql", "POST"), ("/report_asset_check/x", "POST")]
)
def test_what_a_page_of_another_site_sends_is_refused(path, method, headers):
    start, body = answer(scope(path, method=method, **headers))
    assert start["status"] == 403
    assert body["body"] == b"a page of another site may not send requests to this UI"


def test_a_websocket_of_another_site_is_closed_before_it_opens():
    assert [message["type"] for message in answer(scope(kind="websocket", origin="https://evil.example"))] == [
        "websocket.close"
    ]


def test_a_link_from_elsewhere_leads_to_a_page():
    assert answer(scope("/runs/1", method="GET", sec_fetch_site="cross-site")) == [{"type": "passed"}]


@pytest.mark.parametrize("host", ["evil.example:3000", "", "127.0.0.1.evil.example", "[", "192.168.0.7:3000"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_name_that_the_ui_is_not_served_as_is_refused_with_the_mend(host, method):
    start, body = answer(scope("/", method=method, host=host))
    assert start["status"] == 403
    assert b"set MARKET_DATA_UI_URL to its address" in body["body"]


def test_a_name_that_was_given_is_let_through():
    request = scope(host="dagster.example", origin="https://dagster.example", sec_fetch_site="same-origin")
    assert answer(request, hosts=LOOPBACK | {"dagster.example"}) == [{"type": "passed"}]


def test_the_start_and_end_of_the_server_are_none_of_its_business():
    assert answer({"type": "lifespan"}) == [{"type": "passed"}]


def test_the_webserver_gets_it_before_its_own_middleware():
    class Webserver:
        def build_middleware(self) -> list[str]:
            return ["its own"]

    guard(Webserver, lambda: ["dagster.example"])
    first, *others = Webserver().build_middleware()
    assert (first.cls, first.kwargs, others) == (SameSite, {"hosts": LOOPBACK | {"dagster.example"}}, ["its own"])
