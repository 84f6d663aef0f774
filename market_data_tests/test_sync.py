"""The sync, night by night, against the vendors the sandbox plays: what it asks for, what it stores, what it skips."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

import market_data
from market_data.errors import MarketDataError
from market_data.ingest.actions import fetch_actions
from market_data.ingest.rebuild import rebuild_database
from market_data.ingest.sync.plan import plan_sync
from market_data.ingest.sync.steps import Synced, fetch_due, load_received, sync
from market_data.instruments import Instrument, Universe
from market_data.reading import load
from market_data.records import Outcome
from market_data.sandbox.faults import Fault
from market_data.settings import Settings
from market_data.warehouse.comparison import compare_databases
from market_data.warehouse.connection import Database
from market_data_tests.archives import NOW as ARCHIVED
from market_data_tests.archives import Run, bars, put_file, write_archive
from market_data_tests.vendors import Vendors, symbols

NAMES = symbols(4)[1:]
BACKFILLED = date(2024, 3, 19)
PACKAGE = Path(market_data.__file__).parent


def night(day: int, month: int = 3) -> datetime:
    """00:15 UTC of a day in 2024."""
    return datetime(2024, month, day, 0, 15, tzinfo=UTC)


class Nights(Vendors):
    """A store that was backfilled up to a Tuesday, and the nights after."""

    def __init__(self, runtime: Path, **more: Any) -> None:
        super().__init__(runtime, NAMES, **more)
        self.now = night(20)

    def sync(self, *, names: list[str] | None = None, job_id: str = "", **span: Any) -> Synced:
        with self.source() as source:
            return sync(
                self.settings,
                self.universe,
                source,
                symbols=names or self.names,
                job_id=job_id or f"sync-{self.now:%m%d}-{self.calls}",
                clock=lambda: self.now,
                **span,
            )

    def held(self, since: str = "2024-03-18") -> dict[str, int]:
        """Number of bars by session."""
        query = "SELECT date::VARCHAR, count(*) FROM price_history_daily WHERE date >= ? GROUP BY 1 ORDER BY 1"
        return dict(self.rows(query, [since]))

    def answers(self, session: str) -> int:
        """Stored answers about daily bars of one symbol that cover a session."""
        query = (
            "SELECT count(*) FROM coverage WHERE symbol IN (?, '*') AND feed = 'bars' AND outcome = 'answered' "
            "AND ? BETWEEN first_date AND last_date"
        )
        return self.rows(query, [NAMES[0], session])[0][0]


class Ticking(Nights):
    """A store whose clock shows a second more whenever it is read, so that answers have an order."""

    _now = night(20)

    @property
    def now(self) -> datetime:  # type: ignore[override]
        self._now += timedelta(seconds=1)
        return self._now

    @now.setter
    def now(self, value: datetime) -> None:
        self._now = value


def alone(folder: Path) -> Path:
    """A providers file with Polygon alone, which answers for all symbols of a session at once."""
    catalogue = yaml.safe_load((PACKAGE / "providers.sandbox.yaml").read_text())
    file = folder / "polygon.yaml"
    file.write_text(yaml.safe_dump({"polygon": catalogue["polygon"]}))
    return file


@pytest.fixture(scope="module")
def backfilled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runtime folder as the backfill left it."""
    with Nights(tmp_path_factory.mktemp("backfilled") / "runtime") as nights:
        assert nights.run(end=BACKFILLED).is_good
        return nights.settings.runtime


@pytest.fixture
def nights(tmp_path: Path, backfilled: Path) -> Iterator[Nights]:
    with Nights(shutil.copytree(backfilled, tmp_path / "runtime")) as nights:
        yield nights


def test_a_night_brings_yesterday_and_a_second_sync_of_the_day_sends_nothing(nights: Nights) -> None:
    nights.now = night(21)
    before = nights.calls

    first = nights.sync()
    sent = nights.calls - before
    second = nights.sync()

    assert {symbol: len(days) for symbol, days in first.plan.missing.items()} == dict.fromkeys(NAMES, 1)
    assert first.summary is not None
    assert [record.outcome for record in first.summary.records] == [Outcome.ACCEPTED] * 3
    assert nights.held() == {"2024-03-18": 3, "2024-03-19": 3, "2024-03-20": 3}
    assert sent <= len(NAMES) + 2  # one call a symbol at most, and one each for the splits and dividends of all
    assert nights.calls == before + sent
    assert second.plan.idle is not None
    assert second.summary is None


@pytest.mark.long
def test_a_session_is_pulled_once_more_two_dates_later_and_then_left_alone(nights: Nights) -> None:
    counted = {}
    for day in (21, 22, 23, 26):
        nights.now = night(day)
        plan = nights.sync().plan
        counted[day] = [f"{day:%m-%d}" for day in plan.unsettled.get(NAMES[0], [])]

    assert counted == {21: ["03-19"], 22: ["03-20"], 23: ["03-21"], 26: ["03-22"]}
    assert set(nights.held("2024-03-20").values()) == {3}


def test_a_second_pull_that_brings_other_bars_leaves_the_first_ones_as_revisions(nights: Nights) -> None:
    nights.now = night(21)
    nights.sync()
    with Database(nights.settings.database_for(synthetic=True)).writing() as connection:
        # As if the first night had brought what the vendor has restated since.
        connection.execute("UPDATE price_history_daily SET volume = 0.9 * volume WHERE date = '2024-03-20'")
    nights.now = night(22)

    nights.sync()

    replaced = nights.rows("SELECT DISTINCT symbol FROM revisions WHERE date = '2024-03-20' ORDER BY 1")
    assert replaced == [(name,) for name in NAMES]


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (night(24), "2024-03-23 (Saturday) was no session; every bar up to 2024-03-22 is held"),
        (night(25), "2024-03-24 (Sunday) was no session; every bar up to 2024-03-22 is held"),
        (night(30), "2024-03-29 (Friday) was no session; every bar up to 2024-03-28 is held"),
    ],
    ids=["Saturday", "Sunday", "Good Friday"],
)
def test_after_a_day_without_a_session_it_is_idle_and_says_why(nights: Nights, now: datetime, said: str) -> None:
    nights.now = now.replace(day=23 if now.day < 26 else 29)
    nights.sync()
    nights.now = now
    before = nights.calls

    idle = nights.sync().plan.idle

    assert idle is not None
    assert idle.startswith(said)
    assert nights.calls == before


@pytest.mark.long
def test_what_a_session_lacks_is_asked_for_on_a_weekend_as_well(nights: Nights) -> None:
    nights.now = night(23)
    nights.sandbox.replace_faults(
        [Fault(vendor, "outage") for vendor in ("polygon", "alpha_vantage", "stooq", "yahoo")]
    )
    failed = nights.sync()
    nights.sandbox.replace_faults(())
    nights.now = night(24).replace(hour=9)  # the vendors were left alone for a while

    assert failed.fetched is not None
    assert set(failed.fetched.failed) >= set(NAMES)
    assert nights.sync().plan.missing.keys() == set(NAMES)
    assert nights.held("2024-03-20") == {"2024-03-20": 3, "2024-03-21": 3, "2024-03-22": 3}


def test_after_days_of_downtime_one_request_a_symbol_catches_up(nights: Nights) -> None:
    nights.now = night(28)
    before = nights.calls

    done = nights.sync()

    assert (done.plan.start, done.plan.end) == (date(2024, 3, 20), date(2024, 3, 27))
    assert nights.calls - before <= len(NAMES) + 1 + 6  # at most a call a session where one answers for all
    assert nights.held("2024-03-20") == dict.fromkeys(
        ["2024-03-20", "2024-03-21", "2024-03-22", "2024-03-25", "2024-03-26", "2024-03-27"], 3
    )


def test_a_store_left_behind_for_longer_than_the_lookback_is_brought_forward_from_where_it_stood(
    nights: Nights,
) -> None:
    with Database(nights.settings.database_for(synthetic=True)).writing() as connection:
        for table in ("price_history_daily", "data_quality_log"):
            connection.execute(f"DELETE FROM {table} WHERE date > '2024-02-16'")
    nights.now = night(21)

    plan = nights.sync().plan

    assert plan.start == date(2024, 2, 20)
    assert nights.rows("SELECT count(DISTINCT date) FROM price_history_daily WHERE date > '2024-02-16'") == [(22,)]


def test_a_lost_bar_is_asked_for_each_night_of_a_week_unless_nobody_is_known_to_have_it(nights: Nights) -> None:
    nights.now = night(21)
    with Database(nights.settings.database_for(synthetic=True)).writing() as connection:
        connection.execute("DELETE FROM price_history_daily WHERE symbol = ? AND date = '2024-03-15'", [NAMES[0]])
        connection.execute(
            "UPDATE data_quality_log SET verdict = 'missing', score = 0 WHERE symbol = ? AND date = '2024-03-15'",
            [NAMES[0]],
        )

    def asked_for() -> list[str]:
        plan = plan_sync(nights.settings, nights.universe, NAMES, synthetic=True, clock=lambda: nights.now)
        return [f"{day:%m-%d}" for day in plan.missing.get(NAMES[0], [])]

    assert asked_for() == ["03-15", "03-20"]
    with Database(nights.settings.database_for(synthetic=True)).writing() as connection:
        connection.execute(
            "INSERT INTO gaps (symbol, date, kind, state, reason, tries, found_at, fingerprint) "
            "VALUES (?, '2024-03-15', 'missing', 'known', 'halted', 3, TIMESTAMP '2024-03-16', 'f')",
            [NAMES[0]],
        )
    assert asked_for() == ["03-20"]


def test_a_run_that_died_between_asking_and_storing_goes_on_without_a_call(nights: Nights) -> None:
    nights.now = night(21)
    plan = plan_sync(nights.settings, nights.universe, NAMES, synthetic=True, clock=lambda: nights.now)
    given = {"job_id": "died", "clock": lambda: nights.now}
    with nights.source() as source:
        fetched = fetch_due(nights.settings, nights.universe, source, plan.span, symbols=NAMES, **given)
        before = nights.calls
        again = fetch_due(nights.settings, nights.universe, source, plan.span, symbols=NAMES, **given)
    summary = load_received(nights.settings, nights.universe, plan.span, label="x", synthetic=True, **given)

    assert fetched.failed == again.failed == {}
    assert nights.calls == before
    assert {record.symbol for record in summary.records} == set(NAMES)
    assert nights.held("2024-03-20") == {"2024-03-20": 3}


def test_last_nights_prices_are_to_be_had_as_total_returns_since_a_call_tells_the_dividends_of_all(
    nights: Nights,
) -> None:
    with nights.source() as source:
        given = {"symbols": NAMES, "job_id": "actions", "clock": lambda: nights.now}
        assert fetch_actions(nights.settings, nights.universe, source, **given).failed == {}
    nights.now = night(28)

    nights.sync()

    asked = (
        "SELECT symbol, first_date::VARCHAR, last_date::VARCHAR FROM coverage WHERE feed = 'dividends' AND symbol = '*'"
    )
    assert nights.rows(asked) == [("*", "2024-02-25", "2024-03-27")]
    database = nights.settings.database_for(synthetic=True)
    universe = nights.settings.runtime / "universe.csv"
    universe.write_text("symbol,name,exchange\n" + "".join(f"{name},{name},XNYS\n" for name in NAMES))
    closes = load(NAMES, "2024-03-01", "2024-03-27", database=database, settings=Settings(universe=universe))
    assert closes.loc["2024-03-27"].notna().all()
    nights.now = night(29)
    nights.sync()
    assert nights.rows(asked)[1:] == [("*", "2024-03-28", "2024-03-28")]


def test_an_answer_for_all_that_a_dead_run_left_unread_is_stored_the_night_after(
    tmp_path: Path, backfilled: Path
) -> None:
    with Nights(shutil.copytree(backfilled, tmp_path / "runtime"), sandbox_providers=alone(tmp_path)) as nights:
        nights.now = night(21)
        nights.sync()
        with Database(nights.settings.database_for(synthetic=True)).writing() as connection:
            # As if the first night had brought what the vendor has restated since.
            connection.execute("UPDATE price_history_daily SET volume = 0.9 * volume WHERE date = '2024-03-20'")
        nights.now = night(22)
        plan = plan_sync(nights.settings, nights.universe, NAMES, synthetic=True, clock=lambda: nights.now)
        given = {"symbols": NAMES, "job_id": "died", "clock": lambda: nights.now}
        with nights.source() as source:
            fetch_due(nights.settings, nights.universe, source, plan.span, **given)
        left = (
            "SELECT DISTINCT symbol FROM coverage WHERE job_id = 'died' AND feed = 'bars' AND last_date = '2024-03-20'"
        )
        assert nights.rows(left) == [("*",)]

        nights.now = night(23)
        following = nights.sync()

        assert "2024-03-20" not in {f"{day.date()}" for days in following.plan.due.values() for day in days}
        replaced = "SELECT symbol, reason FROM revisions WHERE date = '2024-03-20' ORDER BY 1"
        assert nights.rows(replaced) == [(name, "payload") for name in NAMES]


@pytest.mark.long
def test_a_night_of_one_answer_for_all_and_one_of_a_symbol_alone_is_rebuilt_identically(
    tmp_path: Path, backfilled: Path
) -> None:
    runtime = shutil.copytree(backfilled, tmp_path / "runtime")
    with Ticking(runtime, sandbox_providers=alone(tmp_path), settle_sessions=0) as nights:
        live = Database(nights.settings.database_for(synthetic=True))
        with live.writing() as connection:
            for table in ("price_history_daily", "data_quality_log"):
                connection.execute(f"DELETE FROM {table} WHERE symbol = ? AND date = '2024-03-18'", [NAMES[1]])
        nights.now = night(21)

        nights.sync(job_id="night")

        asked = "SELECT symbol FROM coverage WHERE job_id = 'night' AND feed = 'bars' ORDER BY symbol"
        assert nights.rows(asked) == [("*",), (NAMES[1],)]
        rebuilt = runtime / "anew.duckdb"
        rebuild_database(nights.settings, nights.universe, rebuilt, synthetic=True, clock=lambda: nights.now)
        of_the_night = [
            example
            for found in compare_databases(live, rebuilt)
            for example in found.examples
            if example.get("date") == date(2024, 3, 20)
        ]
        assert of_the_night == []


def test_of_a_span_that_is_given_what_is_missing_is_asked_for(nights: Nights) -> None:
    with Database(nights.settings.database_for(synthetic=True)).writing() as connection:
        for table in ("price_history_daily", "data_quality_log"):
            connection.execute(
                f"DELETE FROM {table} WHERE symbol = ? AND date BETWEEN '2024-02-05' AND '2024-02-07'", [NAMES[1]]
            )
    nights.now = night(21)

    done = nights.sync(names=[NAMES[1]], start=date(2024, 2, 1), end=date(2024, 2, 29))

    assert {symbol: len(days) for symbol, days in done.plan.missing.items()} == {NAMES[1]: 3}
    assert nights.rows(
        "SELECT count(*) FROM price_history_daily WHERE symbol = ? AND date < '2024-03-01'", [NAMES[1]]
    ) == [(41,)]


@pytest.mark.parametrize(
    ("span", "said"),
    [
        ({"end": date(2024, 3, 21)}, "--end 2024-03-21: the last session that is over is 2024-03-20"),
        ({"start": date(2024, 3, 9), "end": date(2024, 3, 8)}, "--start 2024-03-09 is after the end 2024-03-08"),
        ({"start": date(2023, 12, 29)}, "--start 2023-12-29 is before the store's window, which begins on 2024-01-02"),
    ],
)
def test_a_span_that_cannot_be_had_is_refused_before_anyone_is_asked(
    nights: Nights, span: dict[str, date], said: str
) -> None:
    nights.now = night(21)
    before = nights.calls
    with pytest.raises(MarketDataError, match=said):
        nights.sync(**span)
    assert nights.calls == before


def test_an_empty_store_gets_the_latest_days_by_one_request_a_symbol_for_the_whole_window(tmp_path: Path) -> None:
    with Nights(tmp_path) as nights:
        nights.now = night(21)
        done = nights.sync()

        assert done.plan.start == date(2024, 3, 14)
        assert nights.held("2024-01-01") == dict.fromkeys([f"2024-03-{day}" for day in (14, 15, 18, 19, 20)], 3)
        assert nights.rows("SELECT min(first_date) FROM coverage WHERE symbol <> '*' AND feed = 'bars'") == [
            (date(2024, 1, 2),)
        ]


@pytest.mark.long
def test_a_split_that_is_found_has_the_whole_series_of_the_symbol_judged_anew(nights: Nights) -> None:
    symbol, path = NAMES[0], nights.settings.database_for(synthetic=True)
    nights.now = night(21)
    nights.sync()
    with Database(path).writing() as connection:
        connection.execute(
            "UPDATE data_quality_log SET verdict = 'flagged', score = 0.7, rules = 'log_return' "
            "WHERE symbol = ? AND date = '2024-02-01'",
            [symbol],
        )
        connection.execute(
            "INSERT INTO corporate_actions "
            "VALUES (?, '2024-02-01', 'split', 1.1, 'import', '', 'h', TIMESTAMP '2024-03-21')",
            [symbol],
        )
    nights.now = night(22)

    done = nights.sync()

    assert done.rechecked == [symbol]
    verdict = nights.rows(
        "SELECT verdict, score, rules FROM data_quality_log WHERE symbol = ? AND date = '2024-02-01'", [symbol]
    )
    assert verdict == [("accepted", 1.0, "")]
    assert nights.rows("SELECT kind, count(*) FROM ingestion_audit WHERE kind = 'recheck' GROUP BY 1") == [
        ("recheck", 1)
    ]
    nights.now = night(23)
    assert nights.sync().rechecked == []


@pytest.mark.long
def test_a_renamed_instrument_is_asked_for_by_its_names_and_judged_anew(nights: Nights) -> None:
    nights.now = night(21)
    nights.sync()
    renamed = Instrument(NAMES[0], listed_by=date(2020, 1, 2), tickers={"stooq": "other.us"})
    nights.universe = Universe([renamed, *(nights.universe[name] for name in NAMES[1:])])
    nights.now = night(22)

    done = nights.sync()

    assert done.rechecked == [NAMES[0]]
    assert nights.rows(
        "SELECT count(*) FROM coverage WHERE symbol = ? AND feed = 'bars' AND first_date = '2024-01-02' "
        "AND fetched_at::DATE = '2024-03-22'",
        [NAMES[0]],
    ) == [(1,)]


@pytest.mark.long
def test_what_nights_of_syncs_made_is_rebuilt_identically_from_the_answers(nights: Nights) -> None:
    for day in (21, 22):
        nights.now = night(day)
        nights.sync()
    rebuilt = nights.settings.runtime / "anew.duckdb"

    rebuild_database(nights.settings, nights.universe, rebuilt, synthetic=True, clock=lambda: nights.now)

    live = Database(nights.settings.database_for(synthetic=True))
    assert [found for found in compare_databases(live, rebuilt) if not found.is_none] == []


def test_a_symbol_that_is_gone_from_the_universe_is_not_asked_for_and_keeps_its_bars(nights: Nights) -> None:
    nights.now = night(21)
    nights.sync()
    nights.universe = Universe([nights.universe[name] for name in NAMES[1:]])
    nights.names = NAMES[1:]
    nights.now = night(22)

    nights.sync()

    assert nights.held("2024-03-20") == {"2024-03-20": 3, "2024-03-21": 2}
    assert nights.rows("SELECT symbol, dropped_at IS NOT NULL FROM known_instruments ORDER BY 1") == [
        (NAMES[0], True), (NAMES[1], False), (NAMES[2], False),
    ]  # fmt: skip


def test_an_archive_is_read_again_only_once_it_is_a_newer_one(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "archive", ("AAA", "BBB"), end=date(2024, 6, 25))
    written(archive, datetime(2024, 6, 26, tzinfo=UTC))
    run = Run(tmp_path / "runtime", archive)
    run.settings = run.settings.model_copy(update={"archive": archive})
    run.run(symbols=("AAA", "BBB"))

    def due() -> dict[str, list[str]]:
        plan = plan_sync(
            run.settings, run.universe, ["AAA", "BBB"], synthetic=False, asks_vendors=False, clock=lambda: ARCHIVED
        )
        return {symbol: [f"{day:%m-%d}" for day in days] for symbol, days in plan.due.items()}

    assert due() == {}
    written(put_file(archive, "AAA", bars("AAA")).parent, datetime(2024, 7, 2, tzinfo=UTC))
    assert due() == {name: ["06-26", "06-27", "06-28"] for name in ("AAA", "BBB")}


def written(folder: Path, at: datetime) -> None:
    """Let every file of a folder be as old as that."""
    for file in folder.rglob("*.txt"):
        os.utime(file, (at.timestamp(), at.timestamp()))
