"""A quarter, and after weeks of downtime the next DST change, played through by the real schedules and sensors."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, time, timedelta

import pytest

from market_data.ingest.sync.plan import plan_sync
from market_data.sandbox.faults import Fault
from market_data.sessions import sessions_between
from market_data_tests.simulated_days import SimulatedDays

WINDOW = date(2025, 9, 2), date(2025, 10, 31)
FIRST, LAST = date(2025, 11, 1), date(2026, 3, 13)  # clocks change on 2025-11-02 and 2026-03-08
SYMBOLS = ("AAPL", "MSFT")
A_WEEK_DOWN = [date(2025, 12, 8) + timedelta(days=number) for number in range(7)]
WEEKS_DOWN = [date(2026, 1, 24) + timedelta(days=number) for number in range(38)]
DOWN = {*A_WEEK_DOWN, *WEEKS_DOWN}
SOME_OUT = [date(2025, 11, 11), date(2025, 11, 12), date(2025, 11, 13)]
ALL_OUT = [date(2026, 1, 14)]
POLLED = {date(2025, 11, 3): 390, date(2025, 11, 28): 210, date(2026, 3, 9): 390}
"""Minutes of the sessions that are polled: after each change of the clocks, and a half day."""
VENDORS = ("polygon", "alpha_vantage", "stooq", "yahoo")

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore:Parameter .(backfill_policy|include_sources).:dagster.BetaWarning"),
]


@pytest.fixture(scope="module")
def quarter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedDays]:
    """The store after the last night."""
    days = SimulatedDays(
        tmp_path_factory.mktemp("quarter"),
        SYMBOLS,
        WINDOW,
        {"INTRADAY_SYMBOLS": "AAPL", "INTRADAY_POLL": "1800"},
    )
    with days.running():
        days.at(FIRST, time(0, 20))
        days.schedule("daily_sync")
        days.sensor("gap_filler")  # the store is empty: the window before the last week is a gap
        day = FIRST + timedelta(days=1)
        while day <= LAST:
            if day not in DOWN:
                _night(days, day)
            day += timedelta(days=1)
        yield days


def _night(days: SimulatedDays, day: date) -> None:
    out = VENDORS if day in ALL_OUT else VENDORS[:2] if day in SOME_OUT else ()
    days.sandbox.replace_faults([Fault(vendor, "outage") for vendor in out])
    days.at(day, time(0, 15))
    days.schedule("daily_sync")
    if day.day == 3:
        days.at(day, time(12))
        days.sensor("gap_filler")
    if day in POLLED:
        days.at(day, time(13, 0))
        days.sensor("intraday_session")  # before the open
        days.at(day, time(14, 31))
        days.sensor("intraday_session")  # polls until some minutes after the close
        days.sensor("intraday_session")  # nothing is left to do


def test_every_bar_of_every_session_is_there_once_and_good(quarter: SimulatedDays) -> None:
    sessions = [day.date() for day in sessions_between(WINDOW[0], LAST - timedelta(days=1))]
    held = quarter.rows("SELECT date, count(*), count(DISTINCT symbol) FROM price_history_daily GROUP BY 1 ORDER BY 1")

    assert held == [(day, 2, 2) for day in sessions]
    assert quarter.rows("SELECT count(*) FROM data_quality_log WHERE verdict NOT IN ('accepted', 'flagged')") == [(0,)]


def test_the_store_ends_current_and_settled(quarter: SimulatedDays) -> None:
    plan = plan_sync(quarter.settings, quarter.universe, SYMBOLS, synthetic=True, clock=quarter.clock)

    assert plan.idle is not None
    assert plan.end == date(2026, 3, 12)


def test_a_run_a_session_night_and_a_reason_for_every_other(quarter: SimulatedDays) -> None:
    nights = {tick.at.date(): tick for tick in quarter.ticks if tick.name == "daily_sync"}
    sessions = {day.date() for day in sessions_between(FIRST, LAST)}

    for day, tick in nights.items():
        yesterday = day - timedelta(days=1)
        if yesterday in sessions:
            assert tick.request is not None, f"{day}: {tick.skipped}"
        elif tick.request is None:
            assert f"{yesterday} ({yesterday:%A}) was no session" in tick.skipped
    skipped = [day for day, tick in nights.items() if tick.request is None]
    assert {date(2025, 11, 28), date(2025, 12, 26), date(2026, 1, 2), date(2026, 1, 20)} <= {*skipped}
    assert len(nights) == (LAST - FIRST).days + 1 - len(DOWN)
    assert len(skipped) < len(nights) / 2


@pytest.mark.parametrize(
    ("night", "first", "last"),
    [(date(2025, 12, 15), "2025-12-08", "2025-12-12"), (date(2026, 3, 3), "2026-01-23", "2026-03-02")],
    ids=["a week", "weeks"],
)
def test_downtime_was_caught_up_by_one_run(quarter: SimulatedDays, night: date, first: str, last: str) -> None:
    ticks = [tick for tick in quarter.ticks if tick.name == "daily_sync" and tick.request is not None]
    [tick] = [tick for tick in ticks if tick.at.date() == night]

    assert tick.request.tags["dagster/asset_partition_range_start"] == first
    assert tick.request.tags["dagster/asset_partition_range_end"] == last


def test_calls_stay_near_one_a_symbol_and_night(quarter: SimulatedDays) -> None:
    nights = quarter.counted("daily_sync")["run"]

    assert quarter.sandbox.calls.total() < nights * (len(SYMBOLS) + 3) + 60


def test_the_minutes_of_a_session_are_polled_from_its_open_to_its_close_in_summer_and_winter_time(
    quarter: SimulatedDays,
) -> None:
    found = quarter.rows(
        "SELECT session_date, count(*), min(datetime)::TIME::VARCHAR, bool_or(provisional) "
        "FROM price_history_intraday GROUP BY 1 ORDER BY 1"
    )
    answers = [tick for tick in quarter.ticks if tick.name == "intraday_session"]

    opens = ["14:30:00", "14:30:00", "13:30:00"]
    assert found == [(day, POLLED[day], opened, False) for day, opened in zip(POLLED, opens, strict=True)]
    assert [bool(tick.request) for tick in answers] == [False, True, False] * 3
