"""Gaps in the database: what is found, how it is kept, how long a try in vain is waited for, when to look at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from market_data.ingest.gaps.answers import fingerprints
from market_data.ingest.gaps.run import last_day_of_gaps, refresh_gaps
from market_data.ingest.gaps.watch import GapLook, look_for_gaps
from market_data.ingest.unit import expected_sessions
from market_data.instruments import Instrument, Universe
from market_data.sessions import sessions_between
from market_data.settings import Settings
from market_data.warehouse.connection import Database
from market_data.warehouse.gap_tries import give_up, note_tries, try_again
from market_data.warehouse.gaps import changed_gaps, count_gaps, find_gaps, keep_gaps, read_gaps
from market_data.warehouse.holdings import Holdings
from market_data_tests.fake_vendors import SettableClock

START, UNTIL = date(2024, 1, 2), date(2024, 1, 31)
DAYS = [day.date() for day in sessions_between(START, UNTIL)]
NOW = datetime(2024, 2, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
UNIVERSE = Universe([Instrument("AAA", listed_by=date(2020, 1, 2)), Instrument("BBB", listed_by=date(2020, 1, 2))])
PRINTS = {"AAA": "a-v", "BBB": "b-v"}


class Store:
    """An empty database and what is put in it."""

    def __init__(self, folder: Path, empty: Path) -> None:
        self.settings = Settings(runtime=folder, window_start=START, window_end=UNTIL, keep_current=False)
        self.database = Database(self.settings.database_for(synthetic=True))
        shutil.copy(empty, self.database.path)
        self.connection = duckdb.connect(str(self.database.path))

    def judge(self, symbol: str, verdict: str, *days: date, score: float = 1.0) -> None:
        score = score if verdict in ("accepted", "flagged") else 0
        self.connection.execute(
            "INSERT OR REPLACE INTO data_quality_log "
            "SELECT ?, unnest(?::DATE[]), ?, ?, 'null', 'polygon', '2024-02-01'::TIMESTAMP",
            [symbol, list(days), verdict, score],
        )

    def found(self, universe: Universe = UNIVERSE) -> list[tuple[str, date, str]]:
        table = find_gaps(self.connection, universe, self.settings, until=UNTIL)
        return list(zip(*(table[name].to_pylist() for name in ("symbol", "date", "kind")), strict=True))

    def keep(self, prints: dict[str, str] | None = None, *, now: datetime = NOW) -> tuple[int, int]:
        table = find_gaps(self.connection, UNIVERSE, self.settings, until=UNTIL)
        changes = keep_gaps(self.connection, table, prints or PRINTS, start=START, until=UNTIL, now=now)
        return changes.opened, changes.closed

    def gap(self, symbol: str = "AAA", day: date = DAYS[3]) -> dict[str, Any]:
        rows = self.connection.execute("SELECT * FROM gaps WHERE symbol = ? AND date = ?", [symbol, day]).df()
        return rows.iloc[0].to_dict()


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without rows, made once."""
    path = tmp_path_factory.mktemp("empty") / "empty.duckdb"
    Database(path).prepare()
    return path


@pytest.fixture
def store(tmp_path: Path, empty: Path) -> Iterator[Store]:
    store = Store(tmp_path, empty)
    yield store
    store.connection.close()


@pytest.fixture
def holed(store: Store) -> Store:
    """All is held but for one session of AAA."""
    store.judge("AAA", "accepted", *DAYS)
    store.judge("BBB", "flagged", *DAYS)
    store.judge("AAA", "missing", DAYS[3])
    return store


def test_every_verdict_without_a_good_bar_is_a_gap_of_its_kind(store: Store) -> None:
    store.judge("AAA", "accepted", *DAYS[5:])
    store.judge("AAA", "missing", DAYS[0])
    store.judge("AAA", "rejected", DAYS[1])
    store.judge("AAA", "unanswered", DAYS[2])
    store.judge("AAA", "flagged", DAYS[4], score=0.59)
    store.judge("BBB", "accepted", *DAYS[:-1], score=0.6)

    kinds = ["missing", "rejected", "unanswered", "unanswered", "low_score"]
    assert store.found() == [
        *(("AAA", day, kind) for day, kind in zip(DAYS, kinds, strict=False)),
        ("BBB", DAYS[-1], "unanswered"),
    ]


@st.composite
def instruments(draw: st.DrawFn) -> tuple[Instrument, date | None]:
    """An instrument, and where its first bar was found to be, if anywhere."""
    days = st.dates(date(2023, 12, 20), date(2024, 2, 10))
    listed_from, delisted_on = draw(st.none() | days), draw(st.none() | days)
    if listed_from and delisted_on and delisted_on <= listed_from:
        delisted_on = None
    listed_by = draw(st.sampled_from([None, date(2020, 1, 2), date(2024, 1, 10)]))
    instrument = Instrument("AAA", listed_from=listed_from, listed_by=listed_by, delisted_on=delisted_on)
    return instrument, draw(st.none() | st.sampled_from(DAYS))


@examples(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(known=instruments(), held=st.sets(st.sampled_from(DAYS)))
def test_gaps_are_the_expected_sessions_of_a_backfill_without_those_held(
    store: Store, known: tuple[Instrument, date | None], held: set[date]
) -> None:
    instrument, first_bar = known
    store.connection.execute("DELETE FROM data_quality_log; DELETE FROM quality_findings")
    store.judge("AAA", "accepted", *held)
    if first_bar:
        store.connection.execute(
            "INSERT INTO quality_findings BY NAME SELECT 'AAA' AS symbol, ?::DATE AS date, "
            "'span_from_first_bar' AS rule, 'info' AS severity, '' AS field, "
            "'' AS message, 'polygon' AS source_provider, '' AS raw_hash, "
            "'job' AS job_id, now()::TIMESTAMP AS found_at",
            [first_bar],
        )

    expected = expected_sessions(instrument, Holdings(first_bar=first_bar), START, UNTIL)

    wanted = [("AAA", day.date(), "unanswered") for day in expected if day.date() not in held]
    assert store.found(Universe([instrument])) == wanted


def test_a_gap_is_opened_once_and_closed_once_it_is_filled(holed: Store) -> None:
    assert holed.keep() == (1, 0)
    assert holed.keep(now=NOW + HOUR) == (0, 0)
    gap = holed.gap()
    assert (gap["state"], gap["kind"], gap["tries"]) == ("open", "missing", 0)
    assert gap["found_at"] == gap["next_try_at"] == NOW.replace(tzinfo=None)

    holed.judge("AAA", "accepted", DAYS[3])

    assert holed.keep(now=NOW + 2 * HOUR) == (0, 1)
    gap = holed.gap()
    assert (gap["state"], gap["reason"], gap["closed_at"]) == (
        "closed",
        "filled",
        (NOW + 2 * HOUR).replace(tzinfo=None),
    )
    assert gap["next_try_at"] is None or str(gap["next_try_at"]) == "NaT"


ROUNDS = st.lists(st.tuples(st.sets(st.sampled_from(DAYS[:6])), st.sampled_from(["a-v", "b-v", "a-w"])), max_size=4)


@examples(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rounds=ROUNDS)
def test_whatever_came_before_what_is_found_is_open_or_known_and_the_rest_is_closed(
    store: Store, rounds: list[tuple[set[date], str]]
) -> None:
    store.connection.execute("DELETE FROM gaps; DELETE FROM data_quality_log")
    store.judge("AAA", "accepted", *DAYS[6:])
    store.judge("BBB", "accepted", *DAYS)
    was_open: set[date] = set()
    for number, (held, fingerprint) in enumerate(rounds):
        store.judge("AAA", "accepted", *held)
        store.judge("AAA", "missing", *(set(DAYS[:6]) - held))

        opened, closed = store.keep(PRINTS | {"AAA": fingerprint}, now=NOW + number * HOUR)

        rows = store.connection.execute("SELECT date, state, next_try_at IS NULL FROM gaps").fetchall()
        found = {day for day, state, _ in rows if state != "closed"}
        assert found == set(DAYS[:6]) - held
        assert all(is_null == (state != "open") for _, state, is_null in rows)
        assert closed == len(was_open & held)
        assert opened >= len(found - was_open)
        was_open = found
        if number % 2:
            note_tries(store.connection, {"AAA": DAYS[:3]}, {}, now=NOW)
            give_up(store.connection, 1)


def test_a_try_in_vain_is_waited_for_longer_each_time(holed: Store) -> None:
    holed.keep()
    now, waits = NOW, []
    for _ in range(6):
        note_tries(holed.connection, {"AAA": [DAYS[3]], "BBB": [DAYS[3]]}, {"AAA": "yahoo had none"}, now=now)
        waits.append((holed.gap()["next_try_at"] - now.replace(tzinfo=None)) / HOUR)
        now += HOUR

    assert waits == [1, 6, 24, 72, 144, 288]
    assert holed.gap()["reason"] == "yahoo had none"
    assert give_up(holed.connection, 7) == 0
    assert give_up(holed.connection, 6) == 1
    gap = holed.gap()
    assert (gap["state"], gap["reason"]) == ("known", "asked 6 times in vain; yahoo had none")


@pytest.mark.parametrize(
    ("fingerprint", "forgets"), [("other-v", True), ("a-other", False)], ids=["instrument", "vendors"]
)
def test_a_known_gap_is_opened_again_by_another_fingerprint_and_by_nothing_else(
    holed: Store, fingerprint: str, forgets: bool
) -> None:
    holed.keep()
    note_tries(holed.connection, {"AAA": [DAYS[3]]}, {}, now=NOW)
    give_up(holed.connection, 1)
    assert holed.keep(now=NOW + 100 * HOUR) == (0, 0)
    assert holed.gap()["state"] == "known"

    assert holed.keep(PRINTS | {"AAA": fingerprint}, now=NOW + 200 * HOUR) == (1, 0)

    gap, opened = holed.gap(), (NOW + 200 * HOUR).replace(tzinfo=None)
    assert (gap["state"], gap["tries"], gap["found_at"], gap["next_try_at"]) == ("open", 0, opened, opened)
    assert (gap["asked_since"] == opened) is forgets


def test_a_known_gap_can_be_asked_for_again_by_hand(holed: Store) -> None:
    holed.keep()
    note_tries(holed.connection, {"AAA": [DAYS[3]]}, {}, now=NOW)
    give_up(holed.connection, 1)

    assert try_again(holed.connection, ["BBB"], now=NOW + HOUR) == 0
    assert try_again(holed.connection, ["AAA"], now=NOW + HOUR) == 1

    gap = holed.gap()
    assert (gap["state"], gap["tries"]) == ("open", 0)
    assert gap["asked_since"] == gap["next_try_at"] == (NOW + HOUR).replace(tzinfo=None)


def test_the_gaps_of_a_symbol_that_left_the_universe_stay_as_they_are(holed: Store) -> None:
    holed.keep()
    holed.judge("AAA", "accepted", DAYS[3])

    assert holed.keep({"BBB": "b-v"}) == (0, 0)

    assert holed.gap()["state"] == "open"


def test_a_session_that_is_not_expected_any_more_is_closed_with_that_reason(store: Store) -> None:
    store.keep()
    delisted = Universe([UNIVERSE["AAA"], replace(UNIVERSE["BBB"], delisted_on=DAYS[10])])
    table = find_gaps(store.connection, delisted, store.settings, until=UNTIL)

    assert changed_gaps(store.connection, table, PRINTS, start=START, until=UNTIL) == len(DAYS) - 10
    changes = keep_gaps(store.connection, table, PRINTS, start=START, until=UNTIL, now=NOW)

    assert (changes.opened, changes.closed) == (0, len(DAYS) - 10)
    assert store.gap("BBB", DAYS[10])["reason"] == "not expected any more"
    assert count_gaps(store.connection) == {"open": len(DAYS) + 10, "known": 0, "closed": len(DAYS) - 10}


def test_sessions_in_a_row_are_told_as_one_span(store: Store) -> None:
    store.judge("AAA", "accepted", DAYS[5])
    store.judge("BBB", "accepted", *DAYS[:-1])
    store.keep()

    rows = read_gaps(store.connection, state="open")

    spans = [(row.symbol, row.first_date.date(), row.last_date.date(), row.sessions) for row in rows.itertuples()]
    assert spans == [
        ("AAA", DAYS[6], DAYS[-1], len(DAYS) - 6),
        ("BBB", DAYS[-1], DAYS[-1], 1),
        ("AAA", DAYS[0], DAYS[4], 5),
    ]
    assert len(read_gaps(store.connection, state="known")) == 0
    assert set(read_gaps(store.connection, symbols=["BBB"])["symbol"]) == {"BBB"}
    assert len(read_gaps(store.connection, found_before=NOW)) == 0


def test_the_latest_days_are_left_to_the_sync_and_the_window_bounds_a_store_that_does_not_go_on() -> None:
    clock = SettableClock(NOW)
    given = {"window_start": START, "window_end": date(2024, 1, 20), "sync_days": 7}
    assert last_day_of_gaps(Settings(**given), clock) == date(2024, 2, 2)
    assert last_day_of_gaps(Settings(**given, keep_current=False), clock) == date(2024, 1, 20)


def test_a_fingerprint_is_of_the_instrument_and_of_the_vendors_and_holds_no_key(tmp_path: Path) -> None:
    given = Settings(runtime=tmp_path)
    first = fingerprints(given, UNIVERSE, "vendors", with_key=["polygon"])

    renamed = Universe([replace(UNIVERSE["AAA"], tickers={"yahoo": "AAA.X"}), UNIVERSE["BBB"]])
    second = fingerprints(given, renamed, "vendors", with_key=["polygon"])
    assert first["BBB"] == second["BBB"]
    assert first["AAA"].split("-")[1] == second["AAA"].split("-")[1]
    assert first["AAA"].split("-")[0] != second["AAA"].split("-")[0]

    third = fingerprints(given, UNIVERSE, "vendors", with_key=[])
    assert third["AAA"].split("-")[0] == first["AAA"].split("-")[0]
    assert third["AAA"].split("-")[1] != first["AAA"].split("-")[1]


class Watch:
    """Looks at a store, one after the other."""

    def __init__(self, store: Store) -> None:
        store.connection.close()
        self.store, self.clock, self.cursor = store, SettableClock(NOW), ""

    def look(self) -> GapLook:
        look = look_for_gaps(
            self.store.settings, UNIVERSE, "sandbox", cursor=self.cursor, with_key=["polygon"], clock=self.clock
        )
        self.cursor = look.cursor
        return look

    def change(self, *statements: str) -> None:
        with self.store.database.writing() as connection:
            for statement in statements:
                connection.execute(statement)

    def refresh(self) -> None:
        prints = fingerprints(self.store.settings, UNIVERSE, "sandbox", with_key=["polygon"])
        with self.store.database.writing() as connection:
            refresh_gaps(connection, UNIVERSE, self.store.settings, prints, until=UNTIL, now=self.clock())


def test_a_run_is_asked_for_when_a_gap_is_new_due_again_or_filled_and_at_no_other_time(holed: Store) -> None:
    watch = Watch(holed)

    assert watch.look().reason == "1 gaps to open or close"
    watch.refresh()
    watch.change("UPDATE gaps SET tries = 1, next_try_at = '2024-02-10 13:00'")
    quiet = watch.look()
    assert not quiet.is_due
    assert quiet.reason == "nothing is due: 1 open and 0 known gaps; the next try is due at 2024-02-10 13:00 UTC"
    assert watch.look().reason.startswith("nothing changed since 2024-02-10T12:00:00+00:00: 1 open")
    watch.clock.now += HOUR
    assert watch.look().is_due
    watch.change("UPDATE gaps SET tries = 2, next_try_at = '2024-02-10 19:00'")
    assert not watch.look().is_due
    watch.change("UPDATE data_quality_log SET verdict = 'accepted', score = 1 WHERE verdict = 'missing'")
    assert watch.look().reason == "1 gaps to open or close"
    assert json.loads(watch.cursor)["number"] == 6


def test_a_run_that_changed_nothing_is_asked_for_again_an_hour_later_at_the_earliest(holed: Store) -> None:
    watch = Watch(holed)

    assert watch.look().is_due
    watch.clock.now += HOUR / 2
    again = watch.look()
    assert (again.is_due, again.reason) == (
        False,
        "the run asked for at 2024-02-10T12:00:00+00:00 changed nothing; another one an hour later",
    )
    watch.clock.now += HOUR / 2
    assert watch.look().is_due


def test_a_look_tells_of_no_database_of_a_spent_budget_and_reads_any_cursor(holed: Store, tmp_path: Path) -> None:
    watch = Watch(holed)
    watch.cursor = '{"made": "by another version"}'
    watch.refresh()
    watch.change(
        "INSERT INTO ingestion_jobs "
        "VALUES ('g', 'gaps', '2024-01-02', '2024-01-02', '[]', 'sandbox', true, '2024-02-10', NULL)",
        "INSERT INTO coverage (request_id, symbol, interval, provider, first_date, last_date, outcome, fetched_at, "
        "bytes, attempts, job_id) VALUES ('r', 'AAA', '1d', 'polygon', '2024-01-02', '2024-01-02', 'failed', "
        "'2024-02-10 00:00:01', 0, 200, 'g')",
    )

    assert watch.look().reason == "the 200 calls a day for gaps are spent; more after midnight UTC"
    watch.clock.now = datetime(2024, 2, 11, tzinfo=UTC)
    assert watch.look().is_due
    elsewhere = Settings(runtime=tmp_path / "none", window_start=START, window_end=UNTIL)
    assert look_for_gaps(elsewhere, UNIVERSE, "sandbox", clock=watch.clock).reason.startswith(
        "there is no database yet"
    )
