"""A backfill over a vendor of tickers of the time: a call a name, and never a bar of another security."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from market_data.errors import BadPayload
from market_data.ingest.raw_store import RawStore
from market_data.ingest.unit import parse_payload
from market_data.instruments import Instrument, Universe
from market_data.providers import POINT_IN_TIME_TICKERS
from market_data.providers.catalogue import load_catalogue
from market_data.providers.http import HttpSource
from market_data.providers.polygon import PolygonClient
from market_data.records import EVERY, FetchRequest
from market_data.sandbox.faults import Fault
from market_data.sandbox.server import Sandbox
from market_data_tests.test_ticker_history import END, RENAMED, SEED, START, UNIVERSE
from market_data_tests.test_validation_builders import SESSIONS, clean_bars, day, judged, told
from market_data_tests.vendors import Vendors

META = UNIVERSE["META"]
POLYGON = """
polygon:
  priority: 1
  tier: whole
  base_url: "{sandbox}/polygon"
  basis: raw
  point_in_time_tickers: true
  tiers: {whole: {}}
"""
YAHOO = """
yahoo:
  priority: 2
  tier: whole
  base_url: "{sandbox}/yahoo"
  basis: split
  tiers: {whole: {}}
"""


class Renamed(Vendors):
    """The universe of the renamed instruments, from the vendors of a catalogue."""

    def __init__(self, runtime: Path, catalogue: str = POLYGON, *, faults: tuple[Fault, ...] = (), **more: Any) -> None:
        file = runtime / "mine.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(catalogue)
        super().__init__(runtime, ["AAPL", "META", "FISV", "EARLY"], sandbox_providers=file, **more)
        self.universe = Universe(
            [*(replace(item, listed_by=date(2020, 1, 2)) for item in UNIVERSE.values()), Instrument("UNUSED")]
        )
        self.sandbox = Sandbox(Universe(UNIVERSE.values()), start=START, end=END, seed=SEED, faults=faults)

    def closes(self) -> dict[str, list[tuple[date, float]]]:
        rows = self.rows("SELECT symbol, date, close FROM price_history_daily ORDER BY symbol, date")
        return {symbol: [(day, close) for name, day, close in rows if name == symbol] for symbol, _, _ in rows}

    def truth(self) -> dict[str, list[tuple[date, float]]]:
        frames = {symbol: self.sandbox.market.raw_bars(symbol) for symbol in sorted(self.names)}
        return {
            symbol: [(day.date(), close) for day, close in zip(frame["date"], frame["close"], strict=True)]
            for symbol, frame in frames.items()
        }


def test_a_renamed_instrument_costs_a_call_a_name_and_has_its_own_bars_throughout(tmp_path: Path) -> None:
    with Renamed(tmp_path) as vendors:
        assert vendors.run().is_good
        assert vendors.closes() == vendors.truth()
        assert vendors.sandbox.calls == {
            ("polygon", "AAPL"): 1,
            ("polygon", "META"): 2,
            ("polygon", "FISV"): 3,
            ("polygon", "EARLY"): 1,
        }
        vendors.run("again")
        assert vendors.calls == 7
        stored = RawStore(vendors.settings.raw_folder(synthetic=True)).stored()
        asked = sorted((item.request.start, item.request.end) for item in stored if item.request.symbol == "META")
        assert asked == [(START, date(2024, 2, 4)), (RENAMED, END)]


def test_where_one_name_fails_another_vendor_serves_its_span_and_the_other_name_is_still_asked(tmp_path: Path) -> None:
    with Renamed(tmp_path, POLYGON + YAHOO, faults=(Fault("polygon", "html", last=1),)) as vendors:
        assert vendors.run(names=["META"]).is_good
        assert [day for day, _ in vendors.closes()["META"]] == [day for day, _ in vendors.truth()["META"]]


def test_where_one_name_fails_for_good_the_bars_of_the_other_are_still_stored(tmp_path: Path) -> None:
    with Renamed(tmp_path, faults=(Fault("polygon", "html", last=1),)) as vendors:
        vendors.run(names=["META"])
        assert vendors.closes()["META"] == [row for row in vendors.truth()["META"] if row[0] >= RENAMED]
        assert vendors.calls == 2


def test_all_symbols_at_once_are_read_by_their_names_of_the_day(tmp_path: Path) -> None:
    day, catalogue = date(2024, 2, 2), POLYGON.replace("{whole: {}}", "{whole: {grouped: true}}")
    with Renamed(tmp_path, catalogue, window_start=day, end=day) as vendors:
        vendors.run(names=vendors.names, start=day, end=day)
        assert vendors.sandbox.calls == {("polygon", EVERY): 1}
        own = {symbol: [row for row in rows if row[0] == day] for symbol, rows in vendors.truth().items()}
        assert {symbol: [row for row in rows if row[0] == day] for symbol, rows in vendors.closes().items()} == own


def client(asked: list[httpx.URL], document: dict[str, object]) -> PolygonClient:
    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        return httpx.Response(200, json=document)

    config = replace(load_catalogue()["polygon"], reach_days=None)
    http = HttpSource(config.base_url, transport=httpx.MockTransport(answer), wait=0)
    return PolygonClient(config, http, key="key-of-this-test", clock=lambda: datetime(2024, 4, 1, 12, tzinfo=UTC))


def test_the_client_refuses_a_request_across_a_rename_before_it_sends_anything() -> None:
    asked: list[httpx.URL] = []
    with pytest.raises(
        ValueError, match=r"^META: 2024-02-02 to 2024-02-05 spans a rename \(FB to 2024-02-04, then META"
    ):
        client(asked, {}).fetch(META, FetchRequest("META", date(2024, 2, 2), date(2024, 2, 5)))
    assert asked == []


@pytest.mark.parametrize(("first", "last", "ticker"), [(START, date(2024, 2, 4), "FB"), (RENAMED, END, "META")])
def test_the_client_asks_with_the_name_of_the_span(first: date, last: date, ticker: str) -> None:
    asked: list[httpx.URL] = []
    client(asked, {"status": "OK", "ticker": ticker}).fetch(META, FetchRequest("META", first, last))
    assert [url.path for url in asked] == [f"/v2/aggs/ticker/{ticker}/range/1/day/{first}/{last}"]


def test_splits_and_dividends_are_asked_for_under_the_name_of_now() -> None:
    asked: list[httpx.URL] = []
    client(asked, {"status": "OK", "results": []}).fetch(META, FetchRequest("META", START, END, feed="splits"))
    client(asked, {"status": "OK", "results": []}).fetch(
        Instrument(EVERY), FetchRequest(EVERY, date(2024, 2, 2), date(2024, 2, 2))
    )
    assert [url.params.get("ticker") for url in asked] == ["META", None]


def test_an_answer_stored_under_one_name_for_the_time_of_two_is_refused(tmp_path: Path) -> None:
    document = {"status": "OK", "ticker": "META", "adjusted": False, "results": [{"t": 1706850000000, "o": 1, "c": 2}]}
    body = json.dumps(document).encode()
    request = FetchRequest("META", date(2024, 2, 5), date(2024, 2, 6))
    store = RawStore(tmp_path / "raw")
    stored = store.put(client([], document).fetch(META, request))
    spanning = replace(stored, request=replace(request, start=START))
    with pytest.raises(BadPayload, match=r"it was FB, then META: its bars are of several securities"):
        parse_payload(spanning, body, META)
    with pytest.raises(BadPayload, match="the answer is of 'META' where 'FB' was due"):
        parse_payload(replace(stored, request=replace(request, start=START, end=date(2024, 2, 2))), body, META)


def test_the_parsers_and_the_catalogue_agree_on_who_has_tickers_of_the_time() -> None:
    assert {name for name, config in load_catalogue().items() if config.point_in_time_tickers} == POINT_IN_TIME_TICKERS


def test_validation_stores_nothing_of_a_ticker_reused() -> None:
    verdict = judged(clean_bars().drop(index=range(3, 30)), start_is_known=False)
    assert told(verdict) == [(day(2), "ticker_reuse", "", 27.0), (day(30), "span_from_first_bar", "", 30.0)]
    assert verdict.findings["severity"].tolist() == ["warning", "info"]
    assert verdict.bars["date"].tolist() == verdict.quality["date"].tolist() == SESSIONS[30:].tolist()
    assert (verdict.score, verdict.sessions_missing, verdict.rows_received) == (1.0, 0, 35)


def test_validation_takes_a_long_gap_for_the_vendors_where_the_listing_is_known() -> None:
    verdict = judged(clean_bars().drop(index=range(3, 30)), start_is_known=False, listed_by=SESSIONS[0].date())
    assert {rule for _, rule, _, _ in told(verdict)} == {"missing_session"}
