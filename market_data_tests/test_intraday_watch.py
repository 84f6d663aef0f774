from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest

from market_data.ingest.intraday.watch import decide, is_polled_to_its_end
from market_data.settings import Settings
from market_data_tests.bars import in_memory
from market_data_tests.live_minutes import SESSION

POLLED = Settings(intraday_symbols="AAPL")


def at(hour: int, minute: int = 0, second: int = 0, day: int = 20) -> datetime:
    return datetime(2026, 1, day, hour, minute, second, tzinfo=UTC)


def decided(now, *, settings=POLLED, cursor=None, alive=False, ended=False):
    return decide(settings, now, cursor=cursor, alive=alive, has_ended=lambda session: ended)


@pytest.mark.parametrize(
    ("now", "more", "reason"),
    [
        (at(15), {"settings": Settings()}, "no symbols are configured; set MARKET_DATA_INTRADAY_SYMBOLS"),
        (at(15, day=19), {}, "today is no session; the next one opens at 2026-01-20 14:30 UTC"),
        (at(15, day=24), {}, "today is no session; the next one opens at 2026-01-26 14:30 UTC"),
        (at(14, 29, 59), {}, "2026-01-20 opens at 14:30 UTC"),
        (at(15), {"alive": True}, "a poller of 2026-01-20 is running"),
        (at(21, 15), {"ended": True}, "2026-01-20 is polled to its end; the next one opens at 2026-01-21 14:30 UTC"),
        (at(2, day=21), {"ended": True}, "2026-01-20 is polled to its end; the next one opens at 2026-01-21 14:30 UTC"),
    ],
)
def test_no_poller_is_started_without_reason_and_the_reason_is_told(now, more, reason):
    found = decided(now, **more)
    assert found.session is None
    assert found.reason.startswith(reason)


@pytest.mark.parametrize("now", [at(14, 30), at(18), at(21, 14, 59)])
def test_from_the_open_until_the_grace_is_over_one_is_started_where_none_is_alive(now):
    found = decided(now, ended=True)
    assert (found.session, found.starts.count, found.starts.after_the_end) == (SESSION, 1, 0)


def test_one_that_died_is_started_again_within_a_minute_and_one_that_just_started_is_given_time():
    first = decided(at(15))
    cursor = first.starts.cursor()
    assert "was just now; the next is due at 15:00:45 UTC" in decided(at(15, 0, 30), cursor=cursor).reason
    again = decided(at(15, 1), cursor=cursor)
    assert (again.session, again.starts.count) == (SESSION, 2)


def test_one_that_cannot_live_is_started_ever_more_rarely():
    now, cursor, starts = at(14, 30), None, []
    while now < at(21):
        found = decided(now, cursor=cursor)
        if found.session:
            starts.append(now)
            cursor = found.starts.cursor()
        now += timedelta(seconds=30)
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert max(gaps[:3]) <= timedelta(minutes=2)
    assert gaps[-1] == timedelta(minutes=15)
    assert len(starts) < 40


def test_after_the_end_one_is_started_once_more_where_the_session_was_not_polled_to_it():
    first = decided(at(21, 20))
    assert (first.session, first.starts.after_the_end) == (SESSION, 1)
    later = decided(at(21, 40), cursor=first.starts.cursor())
    assert (later.session, later.reason) == (
        None,
        "2026-01-20 was not polled to its end, and a start after it did not help; see that run",
    )


@pytest.mark.parametrize("cursor", ["", "no JSON", '{"session": "2026-01-16", "count": 9}', '{"other": 1}'])
def test_a_cursor_of_another_day_or_of_none_counts_nothing(cursor):
    assert decided(at(15), cursor=cursor).starts.count == 1


def test_a_session_is_polled_to_its_end_once_a_job_of_it_finished():
    insert = "INSERT INTO ingestion_jobs VALUES (?, ?, ?, ?, '[]', 'vendors', false, '2026-01-20', ?)"
    with in_memory() as connection:
        connection.execute(insert, ["a", "intraday", SESSION, SESSION, None])
        connection.execute(insert, ["b", "backfill", SESSION, SESSION, "2026-01-20"])
        assert not is_polled_to_its_end(connection, SESSION)
        connection.execute(insert, ["c", "intraday", SESSION, SESSION, "2026-01-20"])
        assert is_polled_to_its_end(connection, SESSION)
        assert not is_polled_to_its_end(connection, date(2026, 1, 21))
