"""Amending a stored bar and undoing it: refused whole or done whole, in the raw store, the database and the audit."""

from __future__ import annotations

import json
import threading
from datetime import date, timedelta
from typing import Any

import pytest

from market_data.errors import MarketDataError, SymbolError, WarehouseError, WarehouseLocked
from market_data.ingest.amend import Amended, adopt_amendments, amend, undo
from market_data.ingest.lock import sole_ingest
from market_data.ingest.verify import verify
from market_data.warehouse.amendments import Amendment, AmendmentError, Change, parse_amendment, read_amendments
from market_data.warehouse.holdings import audit_lines
from market_data_tests.bars import naive
from market_data_tests.stored import BAR, NOW, PULLED, UNIVERSE, Store

DAY = date(2021, 1, 20)
AT = NOW.replace(tzinfo=None)
BEFORE = naive()
STATE = (
    "SELECT open, high, low, close, volume, vwap, known_at, amendment_id FROM price_history_daily "
    "WHERE symbol = 'AAPL' AND date = '2021-01-20'"
)


@pytest.fixture
def store() -> Store:
    return Store("AAPL", "MSFT")


def amended(store: Store, hours: int = 0, **given: Any) -> Amended:
    values = {"symbol": "aapl", "day": DAY, "values": {"close": 10.75}, "reason": "a typing error", "author": "ann"}
    values |= given
    return amend(store.settings, UNIVERSE, synthetic=True, clock=lambda: NOW + timedelta(hours=hours), **values)


def undone(store: Store, amendment_id: str | None, hours: int = 1, **given: Any) -> Amended:
    assert amendment_id is not None
    clock = NOW + timedelta(hours=hours)
    given = {"reason": "it was right", "author": "bob"} | given
    return undo(store.settings, amendment_id=amendment_id, synthetic=True, clock=lambda: clock, **given)


def everything(store: Store) -> tuple[Any, ...]:
    tables = ("price_history_daily", "revisions", "amendments", "ingestion_jobs", "ingestion_audit", "coverage")
    return store.files(), [sorted(store.rows(f"SELECT * FROM {table}"), key=str) for table in tables]


def test_an_amendment_changes_the_bar_and_keeps_what_it_was(store: Store):
    done = amended(store)
    assert (done.before, done.after["close"]) == (BAR, 10.75)
    assert store.rows(STATE) == [(10, 11, 9, 10.75, 1000, None, AT, done.amendment_id)]
    [stored] = [item for item in store.raw_store.stored() if item.provider == "amendment"]
    assert (stored.request_id, stored.request.feed, stored.status) == (done.amendment_id, "amendments", 200)
    assert (stored.request.symbol, stored.request.start, stored.request.end) == ("AAPL", DAY, DAY)
    assert json.loads(store.raw_store.get(stored.sha256)) == {
        "symbol": "AAPL", "date": "2021-01-20", "changes": [{"field": "close", "old": 10.5, "new": 10.75}],
        "reason": "a typing error", "author": "ann", "at": NOW.isoformat(), "undo_of": None,
    }  # fmt: skip
    assert store.rows(
        "SELECT symbol, date, close, known_at, raw_hash, amendment_id, replaced_at, replaced_by, reason FROM revisions"
    ) == [("AAPL", DAY, 10.5, BEFORE, store.payloads["AAPL"].sha256, None, AT, stored.sha256, "amendment")]
    assert store.rows("SELECT * FROM amendments") == [
        (f"{done.amendment_id}.close", "AAPL", DAY, "close", 10.5, 10.75, "a typing error", "ann", stored.sha256, AT,
         None, None),
    ]  # fmt: skip
    assert store.rows("SELECT count(*) FROM price_history_daily WHERE amendment_id IS NULL") == [(9,)]
    assert verify(store.settings, synthetic=True).findings == ()


def test_the_audit_tells_of_an_amendment_in_the_table_and_in_its_file(store: Store):
    done = amended(store)
    [(job_id, kind, start, end, symbols, provider, synthetic, finished)] = store.rows(
        "SELECT job_id, kind, start_date, end_date, symbols, provider, synthetic, finished_at FROM ingestion_jobs"
    )
    assert (kind, start, end, symbols, provider, synthetic) == ("amend", DAY, DAY, '["AAPL"]', "amendment", True)
    assert (job_id, finished) == (f"20260201T120000Z-{done.amendment_id}", AT)
    with store.database.reading() as connection:
        [record] = audit_lines(connection, job_id)
    lines = (store.settings.audit_folder / f"amend_{job_id}.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [record]
    assert (record["outcome"], record["reason"], record["rows_updated"]) == ("accepted", "a typing error", 1)
    [decision] = record["decision"]
    assert decision["answer"] == "close 10.5 to 10.75, by ann"
    assert decision["changes"] == [{"field": "close", "old": 10.5, "new": 10.75}]


def test_an_undo_gives_back_the_value_and_stays_on_record(store: Store):
    first = amended(store, values={"close": 10.75, "vwap": 10.1, "volume": None})
    second = undone(store, first.amendment_id)
    later = AT + timedelta(hours=1)
    assert store.rows(STATE) == [(10, 11, 9, 10.5, 1000, None, later, None)]
    assert (second.before["close"], second.after) == (10.75, BAR)
    assert store.rows("SELECT field, ended_at, ended_by FROM amendments ORDER BY field") == [
        (field, later, "undo") for field in ("close", "volume", "vwap")
    ]
    assert store.rows("SELECT close, volume, vwap, known_at, replaced_at, reason FROM revisions ORDER BY known_at") == [
        (10.5, 1000, None, BEFORE, AT, "amendment"),
        (10.75, None, 10.1, AT, later, "undo"),
    ]
    assert store.rows("SELECT count(*) FROM ingestion_audit WHERE kind = 'amend'") == [(2,)]
    assert verify(store.settings, synthetic=True).is_sound
    with pytest.raises(AmendmentError, match=f"amendment {first.amendment_id} ended on 2026-02-01 13:00"):
        undone(store, first.amendment_id, 2)


def test_what_is_refused_leaves_nothing_behind(store: Store):
    held = everything(store)
    for given, message in (
        ({"symbol": "ZZZZ"}, "ZZZZ is not in the universe"),
        ({"day": date(2021, 2, 1)}, "AAPL 2021-02-01: no bar is stored, so there is nothing to amend$"),
        ({"day": date(2021, 1, 23)}, "no bar is stored, .*; 2021-01-23 is no session"),
        ({"values": {"close": 11.5}}, "its close above high"),
        ({"reason": "  "}, "needs a reason"),
    ):
        with pytest.raises(MarketDataError, match=message):
            amended(store, **given)
    with pytest.raises(AmendmentError, match="later than the clock's"):
        amend(
            store.settings, UNIVERSE, symbol="AAPL", day=DAY, values={"close": 10.75}, reason="why", synthetic=True,
            clock=lambda: PULLED,
        )  # fmt: skip
    assert everything(store) == held


def test_a_field_is_amended_once_and_that_of_another_bar_freely(store: Store):
    first = amended(store)
    with pytest.raises(AmendmentError, match=f"close is amended already, by {first.amendment_id}.close; undo that"):
        amended(store, 1, values={"close": 10.8})
    amended(store, 2, symbol="MSFT")
    undone(store, first.amendment_id, 3)
    amended(store, 4, values={"close": 10.8})
    assert store.rows("SELECT symbol, date, close FROM price_history_daily WHERE close <> 10.5 ORDER BY ALL") == [
        ("AAPL", DAY, 10.8), ("MSFT", DAY, 10.75),
    ]  # fmt: skip


def test_a_dry_run_tells_before_and_after_and_changes_nothing(store: Store):
    held = everything(store)
    done = amended(store, dry_run=True)
    assert (done.before, done.after, done.amendment_id) == (BAR, BAR | {"close": 10.75}, None)
    with pytest.raises(AmendmentError, match="there is no amendment 0123"):
        undone(store, "0123", dry_run=True)
    assert everything(store) == held


def test_the_other_kind_of_store_is_not_amended(store: Store, monkeypatch: pytest.MonkeyPatch):
    given = {"symbol": "AAPL", "day": DAY, "values": {"close": 10.75}, "reason": "why"}
    with pytest.raises(WarehouseError, match="no database yet"):
        amend(store.settings, UNIVERSE, synthetic=False, **given)
    settings = store.settings.model_copy(update={"database": store.database.path})
    with pytest.raises(AmendmentError, match="holds synthetic data, and real was meant; give --synthetic"):
        amend(settings, UNIVERSE, synthetic=False, **given)
    with pytest.raises(SymbolError):
        amend(settings, UNIVERSE, synthetic=True, **given | {"symbol": "a b"})


def test_an_amendment_waits_for_an_ingest_and_says_so(store: Store):
    held, release = threading.Event(), threading.Event()

    def ingest() -> None:
        with sole_ingest(store.settings):
            held.set()
            release.wait(10)

    other = threading.Thread(target=ingest)
    other.start()
    try:
        assert held.wait(5)
        with pytest.raises(WarehouseLocked, match="another ingest"):
            amended(store)
    finally:
        release.set()
        other.join()
    amended(store)


def test_an_amendment_of_a_process_that_died_before_it_wrote_is_applied_by_the_next(store: Store):
    change = Amendment("AAPL", DAY, (Change("close", 10.5, 10.6),), "lost", "ann", NOW)
    useless = Amendment("MSFT", DAY, (Change("close", 99.0, 10.6),), "about another value", "ann", NOW)
    for item in (change, useless):
        store.keep(item.symbol, item.body, fetched=NOW, provider="amendment")
    amended(store, 1, values={"vwap": 10.1})
    assert store.rows(STATE)[0][3:6] == (10.6, 1000, 10.1)
    assert store.rows("SELECT symbol, field, reason FROM amendments ORDER BY ALL") == [
        ("AAPL", "close", "lost"),
        ("AAPL", "vwap", "a typing error"),
    ]
    [finding] = verify(store.settings, synthetic=True).findings
    assert (finding.kind, "of amendment for MSFT" in finding.message) == ("orphan_payload", True)
    with store.database.writing() as connection:
        assert adopt_amendments(connection, store.settings, synthetic=True) == 0


def test_a_line_lost_by_a_process_that_died_is_written_by_the_next(store: Store):
    first = amended(store)
    [file] = store.settings.audit_folder.glob("amend_*.jsonl")
    line = file.read_bytes()
    file.unlink()
    undone(store, first.amendment_id)
    assert file.read_bytes() == line


def test_what_was_amended_is_read_back_by_symbol_and_by_id(store: Store):
    first = amended(store, values={"close": 10.75, "volume": 900.0})
    other = amended(store, 1, symbol="MSFT")
    with store.database.reading() as connection:
        everyone = read_amendments(connection)
        assert [(row.symbol, row.field, row.new_value) for row in everyone] == [
            ("AAPL", "close", 10.75), ("AAPL", "volume", 900), ("MSFT", "close", 10.75),
        ]  # fmt: skip
        assert (everyone[0].amended_at, everyone[0].ended_at) == (NOW, None)
        assert read_amendments(connection, symbol="MSFT") == everyone[2:]
        assert read_amendments(connection, amendment_id=first.amendment_id) == everyone[:2]
        assert read_amendments(connection, amendment_id=f"{first.amendment_id}.volume") == everyone[1:2]
        assert read_amendments(connection, symbol="AAPL", amendment_id=other.amendment_id) == []
    body = store.raw_store.get(everyone[0].raw_hash)
    assert parse_amendment(body) == first.amendment
