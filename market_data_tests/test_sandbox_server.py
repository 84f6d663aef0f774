"""The sandbox over real HTTP on loopback."""

import csv
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from datetime import date

import httpx
import numpy as np
import pytest

from market_data.errors import MarketDataError
from market_data.instruments import Instrument, Universe
from market_data.sandbox.defects import KINDS, PROTECTED, Defect
from market_data.sandbox.server import Sandbox
from market_data.sandbox.wire import stooq_csv

START, END, SEED = date(2021, 1, 19), date(2026, 1, 19), 7
INVENTED = [Instrument(f"S{a}{b}", listed_by=START) for a in "ABCD" for b in "KLMNOPQRST"]
UNIVERSE = Universe(
    [*(Instrument(name, listed_by=START) for name in sorted(PROTECTED)), *INVENTED, Instrument("BRK.B")]
)
TINY = Universe([Instrument("SAK")])
HEADER = ["Date", "Open", "High", "Low", "Close", "Volume"]

Row = dict[str, str]
Rows = dict[str, list[Row]]


def tiny_sandbox(**options) -> Sandbox:
    return Sandbox(TINY, start=date(2025, 1, 2), end=date(2025, 2, 3), seed=SEED, **options)


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(UNIVERSE, start=START, end=END, seed=SEED) as running:
        yield running


@pytest.fixture(scope="module")
def client(sandbox):
    with httpx.Client(base_url=sandbox.url, trust_env=False) as opened:
        yield opened


def ask(client: httpx.Client, ticker: str, **query: str) -> httpx.Response:
    answer = client.get("/stooq/q/d/l/", params={"s": ticker, "i": "d"} | query)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/csv")
    return answer


def by_date(answer: httpx.Response) -> Rows:
    reader = csv.DictReader(answer.text.splitlines())
    assert reader.fieldnames == HEADER
    rows: Rows = {}
    for row in reader:
        rows.setdefault(row["Date"], []).append(row)
    return rows


def prices(row: Row) -> list[float]:
    return [float(row[name]) for name in HEADER[1:5]]


def null_shows(defect: Defect, clean: Rows, served: Rows) -> bool:
    (row,) = served[str(defect.date)]
    return {name.lower() for name in HEADER if row[name] == ""} == set(defect.variant.split(","))


def spike_shows(defect: Defect, clean: Rows, served: Rows) -> bool:
    (before,), (after,) = clean[str(defect.date)], served[str(defect.date)]
    expected = [price * float(defect.variant) for price in prices(before)]
    return prices(after) == pytest.approx(expected, rel=1e-5) and after["Volume"] == before["Volume"]


def split_shows(defect: Defect, clean: Rows, served: Rows) -> bool:
    divisors = {day: 4 if day >= str(defect.date) else 1 for day in clean}
    expected = [price / divisors[day] for day, (row,) in clean.items() for price in prices(row)]
    got = [price for (row,) in served.values() for price in prices(row)]
    return set(divisors.values()) == {1, 4} and bool(np.allclose(got, expected, rtol=1e-5, atol=0))


def ohlc_shows(defect: Defect, clean: Rows, served: Rows) -> bool:
    opened, high, low, close = prices(served[str(defect.date)][0])
    return high < close if defect.variant == "high" else low > opened


def stale_shows(defect: Defect, clean: Rows, served: Rows) -> bool:
    days = sorted(served)
    before = days[days.index(str(defect.date)) - 1]
    return served[before][0]["Close"] == served[str(defect.date)][0]["Close"]


def duplicate_shows(defect: Defect, clean: Rows, served: Rows) -> bool:
    first, second = served[str(defect.date)]
    close, other = float(first["Close"]), float(second["Close"])
    if defect.variant == "identical":
        return first == second
    return 0 < abs(close - other) < 0.1 * close and float(second["Low"]) <= other <= float(second["High"])


def volume_shows(factor: int) -> Callable[[Defect, Rows, Rows], bool]:
    def shows(defect: Defect, clean: Rows, served: Rows) -> bool:
        (before,), (after,) = clean[str(defect.date)], served[str(defect.date)]
        return int(after["Volume"]) == factor * int(before["Volume"])

    return shows


SHOWS: dict[str, Callable[[Defect, Rows, Rows], bool]] = {
    "missing_session": lambda defect, clean, served: str(defect.date) in clean.keys() - served.keys(),
    "off_session": lambda defect, clean, served: str(defect.date) in served.keys() - clean.keys(),
    "null": null_shows,
    "ohlc": ohlc_shows,
    "spike_100x": spike_shows,
    "missed_split": split_shows,
    "stale_run": stale_shows,
    "volume_outlier": volume_shows(5000),
    "duplicate": duplicate_shows,
    "cut_window": lambda defect, clean, served: min(served) == str(defect.date) > min(clean),
    "zero_price": lambda defect, clean, served: (
        [served[str(defect.date)][0][name] for name in HEADER[1:5]] == ["0"] * 4
    ),
    "negative_price": lambda defect, clean, served: float(served[str(defect.date)][0]["Low"]) < 0,
    "negative_volume": volume_shows(-1),
    "null_flood": lambda defect, clean, served: 100 < sum(rows[0]["Close"] == "" for rows in served.values()) < 110,
}


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS])
def test_each_planted_defect_shows_on_the_wire(sandbox, client, kind):
    planted = [defect for defect in sandbox.manifest.defects if defect.kind == kind]
    assert planted
    for symbol in {defect.symbol for defect in planted}:
        clean = by_date(httpx.Response(200, content=stooq_csv(sandbox.market.adjusted_bars(symbol))))
        served = by_date(ask(client, UNIVERSE[symbol].ticker("stooq")))
        for defect in sandbox.manifest.of(symbol):
            assert SHOWS[kind](defect, clean, served), defect


def test_clean_symbols_are_served_as_the_market_has_them(sandbox, client):
    clean = [symbol for symbol in UNIVERSE if not sandbox.manifest.of(symbol)]
    assert set(clean) > PROTECTED
    for symbol in clean:
        answer = ask(client, UNIVERSE[symbol].ticker("stooq"))
        assert answer.content == stooq_csv(sandbox.market.adjusted_bars(symbol))


def test_the_window_asked_for_is_inclusive_at_both_ends(client):
    rows = by_date(ask(client, "aapl.us", d1="20250106", d2="20250110", apikey="whatever"))
    assert list(rows) == ["2025-01-06", "2025-01-07", "2025-01-08", "2025-01-10"]
    whole = by_date(ask(client, "AAPL.US"))
    assert len(whole) == 1256
    assert list(by_date(ask(client, "aapl.us", d1="20260114"))) == ["2026-01-14", "2026-01-15", "2026-01-16"]
    assert list(by_date(ask(client, "aapl.us", d2="20210120"))) == ["2021-01-19", "2021-01-20"]


@pytest.mark.parametrize(
    ("ticker", "query"),
    [
        ("zzz.us", {}),
        ("aapl", {}),
        ("", {}),
        ("aapl.us", {"i": "w"}),
        ("aapl.us", {"d1": "2025-01-06"}),
        ("aapl.us", {"d2": "20251399"}),
        ("aapl.us", {"d1": "20250110", "d2": "20250106"}),
        ("aapl.us", {"d1": "20250111", "d2": "20250112"}),
    ],
)
def test_there_is_no_data_for_what_stooq_would_not_know(client, ticker, query):
    assert ask(client, ticker, **query).content == b"No data"


def test_calls_are_counted_at_the_wire(sandbox, client):
    before = sandbox.calls
    for ticker in ("msft.us", "MSFT.US", "brk-b.us", "nosuch.us"):
        ask(client, ticker)
    ask(client, "msft.us", d1="malformed")
    client.get("/manifest")
    assert sandbox.calls - before == {("stooq", "MSFT"): 3, ("stooq", "BRK.B"): 1, ("stooq", "nosuch.us"): 1}
    shown = client.get("/calls").json()
    assert shown["total"] == sandbox.calls.total()
    assert shown["calls"]["stooq"]["MSFT"] == sandbox.calls["stooq", "MSFT"]


def test_the_copy_of_the_counts_is_the_callers(sandbox):
    sandbox.calls["stooq", "AAPL"] += 1000
    assert sandbox.calls["stooq", "AAPL"] < 1000


def test_concurrent_calls_are_all_counted_and_agree(sandbox, client):
    before = sandbox.calls["stooq", "NVDA"]
    bodies: list[bytes] = []
    threads = [threading.Thread(target=lambda: bodies.append(ask(client, "nvda.us").content)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sandbox.calls["stooq", "NVDA"] == before + 8
    assert len(set(bodies)) == 1


def test_the_manifest_says_what_is_served(sandbox, client):
    shown = client.get("/manifest").json()
    assert shown.pop("defects") == sandbox.manifest.as_json()
    assert shown == {"synthetic": True, "seed": SEED, "start": "2021-01-19", "end": "2026-01-19"}


@pytest.mark.parametrize("path", ["/", "/manifest", "/calls", "/stooq/q/d/l/?s=aapl.us", "/nowhere"])
def test_every_response_is_labelled_synthetic(client, path):
    assert client.get(path).headers["x-market-data"] == "synthetic"


def test_the_front_page_says_it_is_synthetic(client):
    answer = client.get("/")
    assert "synthetic market" in answer.text
    assert answer.headers["content-type"].startswith("text/plain")


def test_only_loopback_is_listened_on(sandbox):
    assert sandbox.url.startswith("http://127.0.0.1:")
    port = int(sandbox.url.rsplit(":", 1)[1])
    with socket.socket() as other:
        # Another loopback address is free only if the server did not take all of them.
        other.bind(("127.0.0.2", port))
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.com", ""):
        with pytest.raises(MarketDataError, match="loopback only"):
            tiny_sandbox(host=host)


def test_a_taken_port_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(MarketDataError, match=f"port {port} on 127.0.0.1"), tiny_sandbox(port=port):
            pass
    with pytest.raises(MarketDataError, match="port 70000"):
        tiny_sandbox(port=70000)


def test_leaving_ends_the_thread_and_frees_the_port_at_once():
    sandbox = tiny_sandbox()
    threads = threading.enumerate()
    with pytest.raises(MarketDataError, match="not running"):
        _ = sandbox.url
    with sandbox, httpx.Client(trust_env=False) as client:
        first = sandbox.url
        assert client.get(first).status_code == 200
    assert threading.enumerate() == threads
    with pytest.raises(httpx.ConnectError):
        httpx.get(first, trust_env=False)
    with tiny_sandbox(port=int(first.rsplit(":", 1)[1])) as second:
        assert second.url == first
        assert httpx.get(first, trust_env=False).status_code == 200


def test_entering_leaves_signal_handlers_alone():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with tiny_sandbox():
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_serving_forever_ends_with_an_interrupt():
    with tiny_sandbox() as sandbox:
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        began = time.monotonic()
        sandbox.serve_forever()
        assert 0.05 < time.monotonic() - began < 5
        timer.join()
        assert httpx.get(sandbox.url, trust_env=False).status_code == 200


def test_serving_forever_needs_a_running_sandbox():
    with pytest.raises(MarketDataError, match="not running"):
        tiny_sandbox().serve_forever()
