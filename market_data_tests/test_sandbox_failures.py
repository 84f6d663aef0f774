"""Each kind of failure as a plain client meets it at the wire."""

import threading
import time
import zlib
from datetime import date

import httpx
import pytest

from market_data.instruments import Instrument, Universe
from market_data.sandbox.faults import Fault, Limit
from market_data.sandbox.refusals import BOMB_SIZE
from market_data.sandbox.server import Sandbox
from market_data.sandbox.vendors import VENDORS
from market_data_tests.test_sandbox_wrong_data import closes

START, END, SEED = date(2021, 1, 19), date(2022, 6, 30), 7
UNIVERSE = Universe([*(Instrument(f"S{a}{b}") for a in "AB" for b in "KLMNOPQRST"), Instrument("AAPL")])
TINY = Universe([Instrument("AAPL")])
KEY = "QQQ-SECRET-1"
PATHS = {
    "polygon": f"/polygon/v2/aggs/ticker/AAPL/range/1/day/2022-01-03/2022-03-31?adjusted=false&apiKey={KEY}",
    "alpha_vantage": f"/alpha_vantage/query?function=TIME_SERIES_DAILY&symbol=AAPL&outputsize=full&apikey={KEY}",
    "yahoo": "/yahoo/v8/finance/chart/AAPL?period1=1641168000&period2=1648771200&interval=1d",
    "stooq": "/stooq/q/d/l/?s=aapl.us&d1=20220103&d2=20220331&i=d",
}


@pytest.fixture(scope="module")
def running():
    with Sandbox(UNIVERSE, start=START, end=END, seed=SEED) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running):
    running.replace_faults(())
    running.reset()
    return running


@pytest.fixture
def client(sandbox):
    with httpx.Client(base_url=sandbox.url, trust_env=False) as opened:
        yield opened


@pytest.mark.parametrize(
    ("vendor", "head", "told"),
    [
        ("polygon", (429, "3"), "maximum requests per minute"),
        ("yahoo", (429, "3"), "Edge: Too Many Requests"),
        ("alpha_vantage", (200, None), "Burst pattern detected"),
        ("stooq", (200, None), "Exceeded the daily hits limit"),
    ],
)
def test_a_storm_of_rate_limits_passes(sandbox, client, vendor, head, told):
    sandbox.replace_faults([Fault(vendor, "rate_limit", first=2, last=3, value=3)])
    answers = [client.get(PATHS[vendor]) for _ in range(4)]
    for answer in answers[1:3]:
        assert (answer.status_code, answer.headers.get("retry-after")) == head
        assert told in answer.text
    assert closes(vendor, answers[0]) == closes(vendor, answers[3])


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("server_error", (503, "text/plain", "Service Unavailable")),
        ("html", (200, "text/html", "<!DOCTYPE html>")),
        ("redirect", (302, "text/html", "")),
    ],
)
def test_what_is_answered_instead_of_data(sandbox, client, vendor, kind, expected):
    status, content_type, told = expected
    sandbox.replace_faults([Fault(vendor, kind)])
    answer = client.get(PATHS[vendor])
    assert (answer.status_code, answer.headers["content-type"]) == (status, content_type)
    assert answer.text.startswith(told)
    if kind == "redirect":
        assert answer.headers["location"].startswith("http://elsewhere.invalid/")
        assert KEY not in answer.headers["location"]


@pytest.mark.parametrize(
    ("fault", "status", "told"),
    [
        (Fault("polygon", "unauthorized"), 403, "NOT_AUTHORIZED"),
        (Fault("polygon", "unauthorized", value=401), 401, "Unknown API Key"),
        (Fault("yahoo", "unauthorized"), 401, "Unauthorized"),
        (Fault("alpha_vantage", "unauthorized"), 200, "premium endpoint"),
        (Fault("stooq", "unauthorized"), 200, "Get your apikey"),
    ],
)
def test_each_vendor_refuses_access_in_its_own_words(sandbox, client, fault, status, told):
    sandbox.replace_faults([fault])
    answer = client.get(PATHS[fault.vendor])
    assert answer.status_code == status
    assert told in answer.text


def test_a_spent_quota_echoes_the_callers_key_as_alpha_vantage_does(sandbox, client):
    sandbox.replace_faults([Fault("alpha_vantage", "quota", value=2)])
    answers = [client.get(PATHS["alpha_vantage"]) for _ in range(4)]
    assert [KEY in answer.text for answer in answers] == [False, False, True, True]
    assert answers[2].json()["Information"].startswith(f"We have detected your API key as {KEY} and our standard API")


def test_stooq_may_ask_for_a_browser(sandbox, client):
    sandbox.replace_faults([Fault("stooq", "access_check")])
    assert "requires JavaScript to verify your browser" in client.get(PATHS["stooq"]).text


@pytest.mark.parametrize("vendor", VENDORS)
def test_an_outage_is_a_connection_closed_without_an_answer(sandbox, client, vendor):
    sandbox.replace_faults([Fault(vendor, "outage", last=2)])
    for _ in range(2):
        with pytest.raises(httpx.TransportError):
            client.get(PATHS[vendor])
    assert len(closes(vendor, client.get(PATHS[vendor]))) > 60
    assert sandbox.answered == {(vendor, "outage"): 2, (vendor, "ok"): 1}


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_cut_response_promises_more_than_it_sends(sandbox, client, vendor):
    whole = client.get(PATHS[vendor])
    sandbox.replace_faults([Fault(vendor, "cut_response", value=0.25)])
    got: list[bytes] = []
    with client.stream("GET", PATHS[vendor]) as answer:
        assert answer.headers["content-length"] == str(len(whole.content))
        with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
            got.extend(answer.iter_bytes())
    assert b"".join(got) == whole.content[: len(whole.content) // 4]


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_wrong_content_type_leaves_the_body(sandbox, client, vendor):
    whole = client.get(PATHS[vendor])
    sandbox.replace_faults([Fault(vendor, "wrong_content_type")])
    answer = client.get(PATHS[vendor])
    assert answer.content == whole.content
    assert answer.headers["content-type"] == "application/octet-stream" != whole.headers["content-type"]


def test_a_bomb_inflates_to_more_than_a_hundred_megabytes(sandbox, client):
    sandbox.replace_faults([Fault("yahoo", "bomb")])
    with client.stream("GET", PATHS["yahoo"]) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        sent = b"".join(answer.iter_raw())
    assert len(sent) < 1_000_000
    inflate = zlib.decompressobj(wbits=31)
    size = len(inflate.decompress(sent, 1))
    while inflate.unconsumed_tail:
        size += len(inflate.decompress(inflate.unconsumed_tail, 16 * 1024 * 1024))
    assert size == BOMB_SIZE > 100_000_000


def test_a_next_page_may_be_on_another_host(sandbox, client):
    sandbox.replace_faults([Fault("polygon", "next_url_elsewhere")])
    for path in (PATHS["polygon"], f"/polygon/v3/reference/splits?apiKey={KEY}"):
        following = client.get(path).json()["next_url"]
        assert httpx.URL(following).host == "elsewhere.invalid"
        assert KEY not in following


def test_slow_answers_hold_nobody_else_up(sandbox, client):
    client.get(PATHS["yahoo"])
    sandbox.replace_faults([Fault("polygon", "slow", value=0.2)])
    began = time.monotonic()
    took: list[float] = []

    def ask() -> None:
        assert len(closes("polygon", client.get(PATHS["polygon"]))) > 60
        took.append(time.monotonic() - began)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    client.get(PATHS["yahoo"])
    others = time.monotonic() - began
    for thread in threads:
        thread.join()
    assert min(took) >= 0.2 > others
    assert max(took) < 6 * 0.2
    assert sandbox.most_concurrent["polygon"] == 6
    assert sandbox.answered["polygon", "slow"] == 6


def test_a_sandbox_is_left_at_once_although_a_slow_answer_is_due():
    faults = [Fault("stooq", "slow", value=60)]
    with Sandbox(TINY, start=START, end=END, seed=SEED, faults=faults) as sandbox:
        url = sandbox.url + PATHS["stooq"]
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(url, trust_env=False, timeout=0.1)
        began = time.monotonic()
    assert time.monotonic() - began < 4


def test_faults_add_up_and_fall_on_their_symbols(sandbox, client):
    sandbox.replace_faults([
        Fault("stooq", "cut_window", symbols=frozenset({"AAPL"}), value=3),
        Fault("stooq", "wrong_content_type"),
    ])  # fmt: skip
    answer, other = client.get(PATHS["stooq"]), client.get(PATHS["stooq"].replace("aapl", "sak"))
    assert (len(closes("stooq", answer)), len(other.text.splitlines()) > 50) == (3, True)
    assert {answer.headers["content-type"], other.headers["content-type"]} == {"application/octet-stream"}


@pytest.mark.parametrize(
    ("vendor", "status", "told"),
    [
        ("polygon", 429, "exceeded"),
        ("yahoo", 429, "Too Many"),
        ("alpha_vantage", 200, "rate limit"),
        ("stooq", 200, "Exceeded"),
    ],
)
def test_a_limit_is_kept(vendor, status, told):
    with Sandbox(TINY, start=START, end=END, seed=SEED, limits=[Limit(vendor, 2, 60)]) as sandbox:
        client = httpx.Client(base_url=sandbox.url, trust_env=False)
        answers = [client.get(PATHS[vendor]) for _ in range(3)]
        assert sandbox.answered == {(vendor, "ok"): 2, (vendor, "rate_limit"): 1}
        assert len(closes(vendor, answers[1])) > 60
        assert (answers[2].status_code, told in answers[2].text) == (status, True)
        sandbox.reset()
        assert len(closes(vendor, client.get(PATHS[vendor]))) > 60
        client.close()


def test_faults_are_told_over_http(sandbox, client):
    given = [{"vendor": "stooq", "kind": "html", "symbols": ["AAPL"], "last": 1}, "yahoo:outage:share=0.5"]
    told = client.post("/faults", json=given)
    assert told.json() == client.get("/faults").json() == [fault.as_json() for fault in sandbox.faults]
    assert sandbox.faults == (
        Fault("stooq", "html", frozenset({"AAPL"}), last=1), Fault("yahoo", "outage", share=0.5)
    )  # fmt: skip
    assert "<html>" in client.get(PATHS["stooq"]).text
    assert client.delete("/faults").json() == []
    assert sandbox.faults == ()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ('[{"vendor": "stooq", "kind": "flood"}]', "known are rate_limit"),
        ('[{"vendor": "nobody", "kind": "html"}]', "known are polygon"),
        ('[{"vendor": "stooq", "kind": "html", "symbols": ["ZZZ"]}]', "ZZZ, not in the universe"),
        ("{}", "a list of faults is due"),
        ("[", "not JSON"),
    ],
)
def test_faults_that_cannot_be_are_refused_and_nothing_changes(sandbox, client, body, told):
    sandbox.replace_faults([Fault("stooq", "html")])
    refused = client.post("/faults", content=body)
    assert refused.status_code == 400
    assert told in refused.json()["error"]
    assert sandbox.faults == (Fault("stooq", "html"),)


def test_the_same_seed_fails_at_the_same_calls(sandbox, client):
    sandbox.replace_faults([Fault("stooq", "html", share=0.4)])
    runs = []
    for _ in range(2):
        sandbox.reset()
        runs.append(["html" in client.get(PATHS["stooq"]).text for _ in range(30)])
    assert runs[0] == runs[1]
    assert 5 < sum(runs[0]) < 20
