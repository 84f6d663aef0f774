from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, date, datetime, timedelta

import httpx
import pytest

from market_data.errors import SettingsError, WarehouseLocked
from market_data.ingest.intraday.packs import PollPacks
from market_data.ingest.intraday.poller import poller_is_alive, sole_poller
from market_data.providers.config import Quota
from market_data.records import Outcome
from market_data.sessions import session_hours
from market_data_tests.live_minutes import HALF_DAY, MINUTE, SESSION, LiveStore, bar

HOLD = """
import sys, duckdb
sys.stdin.readline()
connection = duckdb.connect(sys.argv[1], config={"threads": 1, "checkpoint_threshold": "512MB",
    "autoinstall_known_extensions": False})
print("held", flush=True)
sys.stdin.readline()
connection.close()
"""
OPEN = datetime(2026, 1, 20, 14, 30, tzinfo=UTC)


def sqlite_rows(file, query):
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(query).fetchall()


def at(hour: int, minute: int = 0, second: int = 0) -> datetime:
    return datetime(2026, 1, 20, hour, minute, second, tzinfo=UTC)


def test_a_whole_session_is_polled_on_the_grid_and_every_minute_ends_final():
    store = LiveStore(["AAA", "BBB"], intraday_poll=3600)
    result = store.polled()
    assert (result.polls, result.skipped, result.missing, result.is_good) == (7, 0, 0, True)
    bars = store.bars()
    assert len(bars) == 2 * 390
    assert all((close, live) == (bar(*key)["c"], False) for key, (close, live) in bars.items())
    assert store.rows("SELECT count(*) FROM intraday_revisions") == [(0,)]
    polls = [row[0] for row in store.rows("SELECT DISTINCT polled_at FROM intraday_polls ORDER BY 1")]
    first, closing = at(15, 30).replace(tzinfo=None), at(21, 15).replace(tzinfo=None)
    assert polls == [*(first + k * timedelta(hours=1) for k in range(6)), closing]


def test_each_poll_asks_from_the_first_minute_that_is_not_final_alone():
    store = LiveStore(["AAA"], start=at(14, 32, 10))
    store.polled_until(14, 35)
    assert [moment.strftime("%H:%M") for moment in store.market.asked_from["AAA"]] == [
        "14:30",  # 14:32:30: of 14:30 and 14:31, which are over, the later has not settled
        "14:31",
        "14:32",
        "14:32",
        "14:33",
    ]
    assert max(map(len, store.market.bodies)) < 500


def test_a_minute_is_provisional_until_it_has_settled_and_then_final_with_what_came_last():
    store = LiveStore(["AAA"], start=at(14, 30, 50))
    store.market.changed["AAA", OPEN] = 777.0
    store.polled_until(14, 31, 30)
    assert store.bars()["AAA", OPEN] == (777.0, True)
    assert store.bars()["AAA", OPEN + MINUTE] == (bar("AAA", OPEN + MINUTE)["l"], True)
    store.market.changed.clear()
    store.polled_until(14, 32, 30)
    assert store.bars()["AAA", OPEN] == (bar("AAA", OPEN)["c"], False)
    assert store.rows("SELECT count(*) FROM intraday_revisions") == [(0,)]


def test_half_a_day_has_210_minutes():
    store = LiveStore(["AAA"], session=HALF_DAY, intraday_poll=3600)
    result = store.polled()
    (record,) = result.records
    assert record.decision[0]["minutes_expected"] == record.decision[0]["minutes_held"] == 210
    assert store.rows("SELECT min(datetime), max(datetime) FROM price_history_intraday") == [
        (datetime(2025, 11, 28, 14, 30), datetime(2025, 11, 28, 17, 59))  # noqa: DTZ001
    ]


@pytest.mark.parametrize(("session", "hour"), [(date(2026, 3, 6), 14), (date(2026, 3, 9), 13)])
def test_the_session_follows_the_clocks_of_new_york(session, hour):
    store = LiveStore(["AAA"], session=session, start=session_hours(session)[1] - 10 * MINUTE, intraday_poll=3600)
    assert store.polled().missing == 0
    first, count = store.rows("SELECT min(datetime), count(*) FROM price_history_intraday")[0]
    assert (first.hour, first.minute, count) == (hour, 30, 390)


def test_an_overrun_leaves_out_the_polls_it_missed_and_counts_them():
    store = LiveStore(["AAA"], start=at(14, 31))
    store.market.took = 70
    result = store.polled_until(14, 36)
    polls = store.rows("SELECT polled_at, skipped FROM intraday_polls ORDER BY polled_at")
    assert [(moment.strftime("%H:%M:%S"), skipped) for moment, skipped in polls] == [
        ("14:31:00", 0),
        ("14:32:30", 2),
        ("14:34:00", 2),
        ("14:35:30", 2),
    ]
    assert result.skipped == 8


def test_who_is_not_reached_in_time_is_left_out_and_comes_first_the_next_time():
    store = LiveStore(["AAA", "BBB", "CCC"], start=at(14, 31))
    store.market.took = 16
    store.polled_until(14, 33)
    packs = PollPacks(store.settings.raw_folder(synthetic=False))
    polls = [packs.get(name) for name in packs.names(SESSION)]
    assert [sorted(asked.symbol for asked in poll.asked) for poll in polls] == [["AAA", "BBB"], ["AAA", "CCC"]]
    assert [dict(poll.left_out) for poll in polls] == [
        {"CCC": "not reached in time at the rate of polygon"},
        {"BBB": "not reached in time at the rate of polygon"},
    ]
    told = store.rows("SELECT provider, answered, failed FROM intraday_polls ORDER BY polled_at, provider")
    assert told == 2 * [("", 0, 1), ("polygon", 2, 0)]


def test_a_minute_without_a_trade_is_asked_for_no_longer_until_the_close():
    store = LiveStore(["AAA"], start=at(14, 36), intraday_poll=120)
    hole = OPEN + 2 * MINUTE
    store.market.untraded.add(("AAA", hole))
    store.polled_until(14, 42)
    asked = [moment.strftime("%H:%M") for moment in store.market.asked_from["AAA"]]
    assert asked == ["14:30", "14:32", "14:37"]


def test_after_the_close_what_is_missing_is_asked_for_once_more_from_the_open():
    store = LiveStore(["AAA", "BBB"], start=at(20, 50), intraday_poll=600)
    hole = ("BBB", at(20, 55))
    store.market.untraded.add(hole)
    seen = []

    def appears(vendor, request):
        seen.append(request.url.path)
        if store.clock.now >= at(21, 15):
            store.market.untraded.discard(hole)

    store.market.handler = appears
    result = store.polled()
    assert result.missing == 0
    assert [path.split("/")[4] for path in seen if f"/{int(OPEN.timestamp() * 1000)}/" in path][-1:] == ["BBB"]
    assert store.market.asked_from["AAA"][-1] != OPEN


def test_where_a_vendor_fails_in_the_midst_the_other_is_asked_and_no_minute_is_lacking():
    store = LiveStore(["AAA", "BBB"], start=at(14, 31), intraday_poll=60)
    asked = []

    def fails(vendor, request):
        asked.append(vendor)
        return httpx.Response(503) if vendor == asked[0] and store.clock.now >= at(14, 33) else None

    store.market.handler = fails
    store.polled("polygon", "yahoo", sleep=store.until(14, 36), stop=store.stop)
    held = store.rows("SELECT symbol, count(*) FROM price_history_intraday WHERE NOT provisional GROUP BY 1 ORDER BY 1")
    assert held == [("AAA", 4), ("BBB", 4)]
    last = store.rows("SELECT provider, answered, failed FROM intraday_polls ORDER BY polled_at DESC LIMIT 1")
    assert last == [(({"polygon", "yahoo"} - {asked[0]}).pop(), 2, 0)]


def test_a_vendor_that_fails_three_times_in_a_row_is_left_alone_and_polling_goes_on_without_it():
    store = LiveStore(["AAA", "BBB", "CCC"], start=at(14, 31), intraday_poll=60)
    store.market.handler = lambda vendor, request: httpx.Response(403)
    store.polled_until(14, 33)
    rows = store.rows("SELECT provider, calls, failed, errors FROM intraday_polls ORDER BY polled_at")
    assert rows[0][:3] == ("polygon", 1, 3)
    assert json.loads(rows[0][3]) == {"NotEntitled": 1, "LeftAlone": 2}
    assert (rows[1][:3], "polygon: left alone until" in rows[1][3]) == (("", 0, 3), True)


def test_a_vendor_that_has_no_minutes_of_today_is_given_up_for_one_that_has():
    store = LiveStore(["AAA"], start=at(14, 55), intraday_poll=60)
    asked = []

    def answers_nothing(vendor, request):
        asked.append(vendor)
        return store.market.sent(vendor, "AAA", []) if vendor == asked[0] else None

    store.market.handler = answers_nothing
    store.polled("polygon", "yahoo", sleep=store.until(15, 1), stop=store.stop)
    assert asked[-1] != asked[0]
    empty = store.rows("SELECT DISTINCT provider, answered FROM intraday_polls WHERE empty = 1")
    assert empty == [(asked[0], 0)]
    assert len(store.bars()) > 30


def test_a_start_after_the_end_brings_in_what_is_missing_at_once():
    store = LiveStore(["AAA"], start=at(23))
    result = store.polled()
    assert (result.polls, result.missing, result.is_good) == (1, 0, True)
    assert store.clock.naps == []


def test_where_nobody_may_be_asked_the_poll_ends_well_and_says_why():
    store = LiveStore(["AAA", "BBB"], start=at(14, 31))
    store.polled_until(14, 32, limits={"intraday_reach_days": 0})
    rows = store.rows("SELECT provider, calls, failed, errors, pack FROM intraday_polls")
    assert rows[0][:3] == ("", 0, 2)
    assert json.loads(rows[0][3]) == {"polygon: serves no minutes in tier live": 2}
    assert rows[0][4] == ""
    assert store.market.seen == {}


def test_a_spent_quota_leaves_symbols_out_and_ends_nothing():
    store = LiveStore(["AAA", "BBB", "CCC"], start=at(14, 31))
    store.polled_until(14, 33, limits={"quotas": (Quota("day", 4),)})
    assert store.market.seen.total() == 4
    told = store.rows("SELECT provider, answered, failed, errors FROM intraday_polls ORDER BY polled_at")
    assert told[0] == ("polygon", 3, 0, "{}")
    assert (told[1][1], told[1][2], json.loads(told[1][3])) == (1, 2, {"QuotaExhausted": 2})
    assert all(row[0] == "" and "spent" in row[3] for row in told[2:])


def test_a_bar_that_cannot_be_is_left_out_and_told_and_ends_no_poll():
    store = LiveStore(["AAA"], start=at(14, 31))
    store.market.changed["AAA", OPEN] = -5.0
    store.market.changed["AAA", OPEN + MINUTE] = None
    store.polled_until(14, 33)
    assert [key[1] for key in store.bars()] == [OPEN + 2 * MINUTE]
    refused = store.rows("SELECT refused_rows, refused FROM intraday_polls ORDER BY polled_at DESC LIMIT 1")[0]
    assert refused[0] == 2
    assert [item["why"] for item in json.loads(refused[1])] == ["close cannot be", "close is null"]


def test_every_symbol_ends_with_one_audit_record_in_table_and_file():
    store = LiveStore(["AAA", "BBB"], start=at(20), intraday_poll=3600)
    store.market.handler = lambda vendor, request: (
        httpx.Response(404, json={"status": "NOT_FOUND"}) if "/BBB/" in request.url.path else None
    )
    result = store.polled(job_id="night")
    outcomes = {record.symbol: record.outcome for record in result.records}
    assert outcomes == {"AAA": Outcome.ACCEPTED, "BBB": Outcome.FAILED}
    lines = (store.settings.audit_folder / "intraday_night.jsonl").read_text().splitlines()
    told = {item["symbol"]: item for item in map(json.loads, lines)}
    assert told["AAA"]["rows_inserted"] == 390
    assert told["AAA"]["calls"] == store.market.seen["polygon", "AAA"]
    assert told["AAA"]["decision"][0]["providers"]["polygon"] > 0
    assert told["BBB"]["decision"][0]["minutes_missing"] == 390
    assert "UnknownSymbol" in told["BBB"]["reason"] or "404" in told["BBB"]["reason"]
    assert store.rows("SELECT kind, finished_at IS NOT NULL FROM ingestion_jobs") == [("intraday", True)]


def test_stopping_ends_after_the_poll_under_way_and_starting_again_goes_on_where_it_was():
    store = LiveStore(["AAA"], start=at(18), intraday_poll=3600)
    first = store.polled_until(19, 10, job_id="one")
    assert (first.interrupted, first.records) == (True, ())
    asked = store.market.seen.total()
    second = store.polled(job_id="two")
    assert (second.missing, second.is_good) == (0, True)
    assert store.market.asked_from["AAA"][asked] == at(18, 29)
    assert len(store.bars()) == 390


def test_a_second_poller_ends_at_once_and_the_lock_tells_whether_one_is_alive():
    store = LiveStore(["AAA"])
    assert not poller_is_alive(store.settings)
    with sole_poller(store.settings):
        assert poller_is_alive(store.settings)
        with pytest.raises(WarehouseLocked, match="a poller of intraday minutes is running already"):
            store.polled()
    assert not poller_is_alive(store.settings)
    assert store.market.seen == {}


def test_a_busy_database_holds_up_no_poll_and_what_waited_is_written_with_the_next():
    store = LiveStore(["AAA"], start=at(14, 31), lock_patience=0)
    store.polled_until(14, 31, 30, job_id="before")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(store.settings.database_for(synthetic=False))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    until = store.until(14, 34)

    def sleep(seconds: float) -> None:
        until(seconds)
        if store.clock.now == at(14, 32, 30):
            holder.stdin.write(b"hold\n"), holder.stdin.flush(), holder.stdout.readline()
        if store.clock.now == at(14, 33, 30):
            holder.communicate(b"end\n")

    store.stop.clear()
    store.polled(sleep=sleep, stop=store.stop, job_id="after")
    polls = store.rows("SELECT polled_at FROM intraday_polls WHERE job_id = 'after' ORDER BY 1")
    assert [moment.strftime("%H:%M:%S") for (moment,) in polls] == [
        "14:31:30", "14:32:00", "14:32:30", "14:33:00", "14:33:30",
    ]  # fmt: skip
    assert len(store.bars()) == 4


@pytest.mark.parametrize(
    ("start", "session", "message"),
    [
        (at(15), date(2026, 1, 19), "2026-01-19 is not an XNYS session"),
        (at(15) + timedelta(days=1), SESSION, "2026-01-20 can be polled on its day alone"),
    ],
)
def test_what_cannot_be_polled_is_refused_before_anything_is_written(start, session, message):
    store = LiveStore(["AAA"], start=start)
    store.session = session
    with pytest.raises(SettingsError, match=message):
        store.polled(prepared=False)
    assert not store.settings.database_for(synthetic=False).exists()


def test_every_answer_is_in_a_pack_errors_included():
    store = LiveStore(["AAA", "BBB"], start=at(14, 31))
    store.market.handler = lambda vendor, request: (
        httpx.Response(404, json={"status": "NOT_FOUND"}) if "/BBB/" in request.url.path else None
    )
    store.polled_until(14, 32)
    packs = PollPacks(store.settings.raw_folder(synthetic=False))
    polls = [packs.get(name) for name in packs.names(SESSION)]
    assert [name for (name,) in store.rows("SELECT DISTINCT pack FROM intraday_polls ORDER BY 1")] == packs.names(
        SESSION
    )
    kept = [asked for poll in polls for asked in poll.asked]
    assert [asked.payload.body for asked in kept if asked.symbol == "AAA"] == store.market.bodies
    assert {asked.payload.status for asked in kept if asked.symbol == "BBB"} == {404}
    hashes = {sha for (sha,) in store.rows("SELECT DISTINCT raw_hash FROM price_history_intraday")}
    assert hashes <= set(packs.hashes())
