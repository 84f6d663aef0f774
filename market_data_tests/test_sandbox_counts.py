"""What the sandbox tells of the calls it received, and that it tells no key."""

import logging
import threading
from datetime import date

import httpx
import pytest

from market_data.errors import MarketDataError
from market_data.instruments import Instrument, Universe
from market_data.sandbox.calls import CallLog
from market_data.sandbox.faults import Fault
from market_data.sandbox.server import Sandbox

START, END, SEED = date(2025, 1, 2), date(2025, 3, 31), 7
UNIVERSE = Universe([Instrument("AAPL"), Instrument("MSFT"), Instrument("BRK.B")])
KEY = "SECRET-0123456789"
CALLS = [
    f"/polygon/v2/aggs/ticker/BRK.B/range/1/day/2025-01-02/2025-03-31?apiKey={KEY}",
    f"/polygon/v2/aggs/ticker/AAPL/range/1/minute/2025-01-02/2025-01-02?apiKey={KEY}",
    f"/polygon/v2/aggs/grouped/locale/us/market/stocks/2025-01-03?apiKey={KEY}",
    f"/polygon/v3/reference/splits?apiKey={KEY}",
    f"/polygon/v3/reference/dividends?ticker=AAPL&apiKey={KEY}",
    f"/alpha_vantage/query?function=TIME_SERIES_DAILY&symbol=BRK-B&apikey={KEY}",
    "/yahoo/v8/finance/chart/brk-b?period1=1735707600&period2=1743479999",
    "/yahoo/v8/finance/chart/NOSUCHTHINGATALLINANYMARKET?period1=1&period2=2",
    f"/stooq/q/d/l/?s=brk-b.us&apikey={KEY}",
]
COUNTED = {
    ("polygon", "BRK.B"): 1,
    ("polygon", "AAPL"): 2,
    ("polygon", "*"): 2,
    ("alpha_vantage", "BRK.B"): 1,
    ("yahoo", "BRK.B"): 1,
    ("yahoo", "NOSUCHTHINGATALLINAN"): 1,
    ("stooq", "BRK.B"): 1,
}


@pytest.fixture
def sandbox():
    with Sandbox(UNIVERSE, start=START, end=END, seed=SEED) as running:
        yield running


@pytest.fixture
def client(sandbox):
    with httpx.Client(base_url=sandbox.url, trust_env=False) as opened:
        yield opened


def test_calls_are_counted_by_vendor_and_symbol(sandbox, client):
    statuses = [client.get(call).status_code for call in CALLS]
    assert statuses == [200] * 7 + [404, 200]
    assert sandbox.calls == COUNTED
    shown = client.get("/calls").json()
    assert shown["synthetic"] is True
    assert {(vendor, symbol): n for vendor, of in shown["calls"].items() for symbol, n in of.items()} == COUNTED
    assert (shown["total"], shown["totals"]) == (9, {"alpha_vantage": 1, "polygon": 5, "stooq": 1, "yahoo": 2})
    assert shown["answered"]["yahoo"] == {"error": 1, "ok": 1}
    assert shown["most_concurrent"] == dict.fromkeys(("alpha_vantage", "polygon", "stooq", "yahoo"), 1)


def test_answers_are_counted_by_what_they_were(sandbox, client):
    sandbox.replace_faults([
        Fault("stooq", "html", first=1, last=1),
        Fault("stooq", "cut_window", first=2, last=2, value=1),
        Fault("polygon", "slow", value=0),
    ])  # fmt: skip
    for _ in range(3):
        client.get(CALLS[8])
    client.get(CALLS[0])
    client.get("/polygon/v3/reference/splits")
    assert sandbox.answered == {
        ("stooq", "html"): 1,
        ("stooq", "cut_window"): 1,
        ("stooq", "ok"): 1,
        ("polygon", "slow"): 1,
        ("polygon", "error"): 1,
    }


def test_a_reset_begins_anew(sandbox, client):
    sandbox.replace_faults([Fault("stooq", "html", last=1)])
    assert ["html" in client.get(CALLS[8]).text for _ in range(2)] == [True, False]
    assert client.post("/reset").json()["total"] == 0
    assert (sandbox.calls, sandbox.answered, sandbox.most_concurrent) == ({}, {}, {})
    assert "html" in client.get(CALLS[8]).text
    assert len(sandbox.faults) == 1


def test_a_key_is_shown_nowhere(sandbox, client, caplog, capfd):
    logging.getLogger("httpx").setLevel(logging.WARNING)
    caplog.set_level(logging.DEBUG, logger="uvicorn")
    sandbox.replace_faults([Fault("polygon", "cut_response", first=6), Fault("yahoo", "outage")])
    for call in CALLS:
        if call.startswith("/yahoo"):
            with pytest.raises(httpx.TransportError):
                client.get(call)
            continue
        answer = client.get(call, headers={"Authorization": f"Bearer {KEY}"})
        assert KEY not in answer.text + str(answer.headers)
    for page in ("/", "/calls", "/faults", "/manifest"):
        assert KEY not in client.get(page).text
    told = capfd.readouterr()
    assert KEY not in caplog.text + told.out + told.err


def test_a_sequence_of_calls_is_never_two_at_once(sandbox, client):
    for _ in range(50):
        client.get(CALLS[8])
    assert sandbox.most_concurrent == {"stooq": 1}


def test_the_log_counts_from_many_threads():
    log = CallLog()
    numbers: list[tuple[int, int]] = []

    def call(symbol: str) -> None:
        for _ in range(200):
            numbers.append(log.begin("yahoo", symbol))
            log.end("yahoo", "ok")

    threads = [threading.Thread(target=call, args=(symbol,)) for symbol in ("A", "B", "C", "D")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(number for number, _ in numbers) == list(range(1, 801))
    assert sorted(own for _, own in numbers) == sorted(list(range(1, 201)) * 4)
    assert log.answered == {("yahoo", "ok"): 800}
    assert 1 <= log.most_concurrent["yahoo"] <= 4


POLYGON, ALPHA_VANTAGE, STOOQ = (
    "/polygon/v3/reference/splits",
    "/alpha_vantage/query?function=SPLITS&symbol=AAPL",
    CALLS[8],
)


def test_a_key_is_wanted_and_any_is_taken(client):
    assert client.get(POLYGON).json()["error"] == "API Key was not provided"
    assert client.get(POLYGON).status_code == 401
    for headers in ({"Authorization": "Bearer x"}, {"authorization": "bearer  x"}):
        assert client.get(POLYGON, headers=headers).status_code == 200
    for headers in ({"Authorization": "Basic x"}, {"Authorization": "Bearer"}):
        assert client.get(POLYGON, headers=headers).status_code == 401
    assert client.get(f"{POLYGON}?apiKey=").status_code == 401
    assert "apikey is invalid or missing" in client.get(ALPHA_VANTAGE).json()["Error Message"]
    assert client.get(f"{ALPHA_VANTAGE}&apikey=x").json()["symbol"] == "AAPL"


def test_only_the_keys_it_was_told_are_taken():
    keys = {"polygon": ["good"], "alpha_vantage": ["good"], "stooq": ["good"]}
    with (
        Sandbox(UNIVERSE, start=START, end=END, seed=SEED, valid_keys=keys) as sandbox,
        httpx.Client(base_url=sandbox.url, trust_env=False) as client,
    ):
        answers = [[client.get(f"{path}{key}") for key in ("bad", "good")] for path in (
            f"{POLYGON}?apiKey=", f"{ALPHA_VANTAGE}&apikey=", "/stooq/q/d/l/?s=aapl.us&apikey="
        )]  # fmt: skip
        assert [[answer.status_code for answer in pair] for pair in answers] == [[401, 200], [200, 200], [200, 200]]
        assert answers[0][0].json()["error"] == "Unknown API Key"
        assert "invalid or missing" in answers[1][0].text
        assert answers[2][0].text.startswith("Get your apikey")
        assert answers[2][1].text.startswith("Date,Open")
        assert client.get("/stooq/q/d/l/?s=aapl.us").text.startswith("Get your apikey")
        assert sandbox.answered["polygon", "error"] == 1


def test_keys_for_a_vendor_without_keys_are_refused():
    with pytest.raises(MarketDataError, match="yahoo has no keys; those with keys are polygon, alpha_vantage, stooq"):
        Sandbox(UNIVERSE, start=START, end=END, seed=SEED, valid_keys={"yahoo": ["x"]})
    with pytest.raises(MarketDataError, match="faults name ZZZ"):
        Sandbox(UNIVERSE, start=START, end=END, seed=SEED, faults=[Fault("yahoo", "html", frozenset({"ZZZ"}))])
