"""Gaps asked for: who is asked for what and when, counted at the wire; what is filled, given up, and tried again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from market_data.ingest.gaps.run import GapsFilled, fill_due_gaps, open_again
from market_data.ingest.rebuild import rebuild_database
from market_data.ingest.sources import Source
from market_data.instruments import Universe
from market_data.providers.stooq_bulk import StooqArchive, StooqBulk
from market_data.sandbox.faults import Fault
from market_data.sandbox.server import Sandbox
from market_data.selection.choice import GivenOrder
from market_data.warehouse.comparison import compare_databases
from market_data.warehouse.connection import Database
from market_data_tests import archives
from market_data_tests.archives import bars, put_file, write_archive
from market_data_tests.vendors import END, SESSIONS, START, VENDORS, Vendors, symbols, universe

HOUR = timedelta(hours=1)
HELD = date(2024, 3, 1)
PROVIDER = """
{name}:
  priority: {priority}
  tier: {tier}
  base_url: "{{sandbox}}/{name}"
  basis: {basis}
  tiers: {{free: {{}}, old: {{reach_days: 30}}}}
"""


def providers(folder: Path, *names: str, tier: str = "free") -> Path:
    """A providers file of some vendors."""
    basis = {"polygon": "raw\n  grouped: true", "yahoo": "split"}
    file = folder / "providers.yaml"
    parts = [PROVIDER.format(name=name, priority=at, tier=tier, basis=basis[name]) for at, name in enumerate(names, 1)]
    file.write_text("".join(parts), encoding="utf-8")
    return file


NAMES = symbols(6)
HOLES = 3
"""Sessions that one of them lacks, whoever answers."""


class Gaps(Vendors):
    """Vendors over a window that ended long ago, so that all of it is looked at; time goes on by itself."""

    def __init__(self, runtime: Path, *, sandbox: Sandbox | None = None, **more) -> None:
        url = {"url": sandbox.url} if sandbox else {}
        super().__init__(runtime, NAMES, **url, **{"keep_current": False, "source": "sandbox"} | more)
        if sandbox:
            self.sandbox = sandbox
            self._asked = sandbox.calls
        self.now = datetime(2024, 5, 1, 12, tzinfo=UTC)
        self.looks = 0

    @property
    def now(self) -> datetime:
        self._now += timedelta(milliseconds=1)
        return self._now

    @now.setter
    def now(self, moment: datetime) -> None:
        self._now = moment

    def fill(self, *names: str) -> GapsFilled:
        """One look after the gaps, of these symbols alone if any are given."""
        self.looks += 1
        with self.source() as source:
            return fill_due_gaps(
                self.settings,
                self.universe,
                source,
                job_id=f"gaps-{self.looks}",
                symbols=names or None,
                clock=lambda: self.now,
            )

    def asked(self) -> list[tuple[str, str]]:
        """Vendor and symbol of the calls at the wire since this was asked last."""
        before, self._asked = self._asked, self.sandbox.calls
        return sorted((self._asked - before).elements())

    def states(self, symbol: str) -> list[tuple]:
        """State, number, tries and reason of a symbol's gaps."""
        return self.rows(
            "SELECT state, count(*), tries, reason FROM gaps WHERE symbol = ? GROUP BY ALL ORDER BY ALL", [symbol]
        )

    def set(self, **more) -> None:
        """Change settings."""
        self._given |= more


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gaps, Path]]:
    """A running sandbox, and the folder of a store that holds one symbol, which no vendor has some sessions of."""
    folder = tmp_path_factory.mktemp("loaded") / "runtime"
    with Gaps(folder) as vendors:
        planted = [one for one in vendors.sandbox.manifest.defects if one.kind == "missing_session"]
        assert [one.symbol for one in planted] == [planted[0].symbol] * HOLES
        vendors.run(names=[planted[0].symbol])
        yield vendors, folder


@pytest.fixture
def vendors(loaded: tuple[Gaps, Path], tmp_path: Path) -> Iterator[Gaps]:
    """A copy of that store, an hour later."""
    first, folder = loaded
    shutil.copytree(folder, tmp_path / "runtime")
    copy = Gaps(tmp_path / "runtime", sandbox=first.sandbox)
    copy.now += HOUR
    yield copy
    first.sandbox.replace_faults([])


@pytest.fixture
def holed(vendors: Gaps) -> str:
    """The symbol that is loaded."""
    return vendors.rows("SELECT DISTINCT symbol FROM price_history_daily")[0][0]


def others(holed: str) -> list[str]:
    """The symbols that are not."""
    return [name for name in NAMES if name != holed]


@pytest.mark.long
def test_a_hole_is_asked_of_one_more_vendor_at_a_time_and_known_once_all_of_them_lack_it(
    vendors: Gaps, holed: str, tmp_path: Path
) -> None:
    [(asked_first,)] = vendors.rows("SELECT provider FROM coverage WHERE verdict = 'accepted'")
    asked, waits = {asked_first}, []
    for tries in (1, 2, 3):
        done = vendors.fill(holed)
        [(vendor, symbol)] = vendors.asked()
        assert (symbol, vendor in asked) == (holed, False)
        assert (done.calls, done.asked, len(done.filled)) == (1, 1, 0)
        asked.add(vendor)
        if tries < 3:
            assert vendors.states(holed) == [("open", HOLES, tries, f"{vendor} answered without a usable bar")]
            waits += vendors.rows("SELECT DISTINCT next_try_at - tried_at FROM gaps WHERE symbol = ?", [holed])
        if tries == 2:
            vendors.now += 5.9 * HOUR
            assert (vendors.fill(holed).asked, vendors.asked()) == (0, [])
        vendors.now += HOUR

    assert asked == set(VENDORS)
    assert waits == [(HOUR,), (6 * HOUR,)]
    assert vendors.states(holed) == [
        ("known", HOLES, 3, "polygon, alpha_vantage, stooq, yahoo answered without a usable bar")
    ]
    vendors.now += timedelta(days=30)
    assert open_again(vendors.settings, [holed], synthetic=True, clock=lambda: vendors.now) == HOLES
    assert vendors.fill(holed).calls == 1

    # What was stored on the way follows from the payloads.
    path = tmp_path / "rebuilt.duckdb"
    rebuild_database(vendors.settings, vendors.universe, path, synthetic=True, clock=lambda: vendors.now)
    live = Database(vendors.settings.database_for(synthetic=True))
    assert [item for item in compare_databases(live, path) if not item.is_none] == []


def test_an_instrument_added_to_the_universe_is_brought_in_by_one_call_and_a_dropped_one_is_left_alone(
    vendors: Gaps, holed: str
) -> None:
    added = others(holed)[0]
    vendors.universe = universe([added])
    before = vendors.prices()

    done = vendors.fill()

    assert [symbol for _, symbol in vendors.asked()] == [added]
    assert vendors.rows("SELECT first_date, last_date FROM coverage WHERE symbol = ?", [added]) == [(START, END)]
    held = vendors.rows("SELECT count(*) FROM price_history_daily WHERE symbol = ?", [added])
    assert held == [(len(done.filled),)]
    assert len(done.filled) >= 55
    assert [row for row in vendors.prices() if row[0] == holed] == before
    assert vendors.states(holed) == []


def test_no_more_calls_are_sent_than_the_day_allows_and_what_nothing_is_known_of_comes_first(
    vendors: Gaps, holed: str
) -> None:
    vendors.set(gap_calls=2)
    first = vendors.fill()

    asked = {symbol for _, symbol in vendors.asked()}
    assert (len(asked), first.asked, first.left_for_budget) == (2, 2, 4)
    vendors.now += HOUR
    assert (vendors.fill().asked, vendors.asked()) == (0, [])
    vendors.now += timedelta(days=1)
    assert vendors.fill().asked == 2
    later = {symbol for _, symbol in vendors.asked()}
    assert len(asked | later) == 4
    assert holed not in asked | later


def test_a_session_that_all_of_them_lack_takes_one_call(vendors: Gaps, holed: str, tmp_path: Path) -> None:
    shutil.rmtree(vendors.settings.runtime)
    last = date(2024, 3, 27)
    vendors.set(window_end=last, sandbox_providers=providers(tmp_path, "polygon"))
    vendors.run("first", end=last)
    vendors.set(window_end=END)
    vendors.asked()

    done = vendors.fill(*others(holed))

    assert vendors.asked() == [("polygon", "*")]
    assert done.calls == 1
    assert {(row.symbol, row.date.date()) for row in done.filled.itertuples()} >= {
        (symbol, END) for symbol in others(holed) if symbol not in vendors.refused
    }


def test_a_session_whose_stored_answer_was_not_read_yet_costs_no_call(vendors: Gaps, holed: str) -> None:
    shutil.rmtree(vendors.settings.runtime)
    names = [holed, others(holed)[0]]
    vendors.run(names=names, start=HELD, end=HELD)
    vendors.asked()
    vendors.set(gap_calls=0)

    done = vendors.fill(*names)

    assert (vendors.asked(), done.calls, done.asked) == ([], 0, 2)
    held = vendors.rows("SELECT symbol, count(*) FROM data_quality_log GROUP BY ALL")
    assert dict(held) == dict.fromkeys(names, SESSIONS)
    assert len(done.filled) == done.closed > SESSIONS
    query = "SELECT DISTINCT tries, next_try_at - tried_at FROM gaps WHERE state = 'open' AND tried_at IS NOT NULL"
    assert vendors.rows(query) == [(0, HOUR)]


def test_a_gap_is_given_up_after_so_many_tries_in_vain_and_a_vendor_left_alone_is_no_try(
    vendors: Gaps, holed: str, tmp_path: Path
) -> None:
    added = others(holed)[0]
    vendors.set(sandbox_providers=providers(tmp_path, "polygon"), gap_tries=2)
    vendors.sandbox.replace_faults([Fault("polygon", "unauthorized", value=401)])

    first = vendors.fill(added)

    assert (first.calls, first.is_good) == (1, False)
    [(state, count, tries, reason)] = vendors.states(added)
    assert (state, count, tries) == ("open", SESSIONS, 1)
    assert reason.startswith("failed: NotEntitled")
    vendors.now += 2 * HOUR  # a vendor that refused the key is left alone for six
    second = vendors.fill(added)
    assert (second.asked, second.calls) == (1, 0)
    [(state, _, tries, reason)] = vendors.states(added)
    assert (state, tries) == ("open", 1)
    assert "left alone until" in reason
    vendors.now += 6 * HOUR
    third = vendors.fill(added)
    assert (third.calls, third.became_known) == (1, SESSIONS)
    [(state, _, tries, reason)] = vendors.states(added)
    assert (state, tries) == ("known", 2)
    assert reason.startswith("asked 2 times in vain; failed: NotEntitled")


def test_another_providers_file_opens_what_nobody_could_fill_and_the_new_vendor_fills_it(
    vendors: Gaps, holed: str, tmp_path: Path
) -> None:
    vendors.set(sandbox_providers=providers(tmp_path, "polygon"))
    added = others(holed)[0]
    vendors.sandbox.replace_faults([Fault("polygon", "cut_window", symbols=frozenset([added]), value=20)])
    vendors.run(names=[added])
    vendors.asked()
    vendors.fill(added)
    assert vendors.asked() == []
    [known] = vendors.states(added)
    assert (known[0], known[2:]) == ("known", (0, "polygon answered without a usable bar"))

    vendors.set(sandbox_providers=providers(tmp_path, "polygon", "yahoo"))
    done = vendors.fill(added)

    assert vendors.asked() == [("yahoo", added)]
    assert set(done.filled["provider"]) == {"yahoo"}
    assert ("closed", len(done.filled), 0, "filled") in vendors.states(added)
    assert len(done.filled) >= known[1] - 4  # but for what is planted in the symbol, whoever answers


def test_a_bar_of_a_low_score_is_asked_of_another_vendor(vendors: Gaps, holed: str, tmp_path: Path) -> None:
    vendors.set(sandbox_providers=providers(tmp_path, "polygon"), min_data_quality=0.85)
    chosen = others(holed)[-1]
    vendors.sandbox.replace_faults([Fault("polygon", "hundredfold", symbols=frozenset([chosen]), value=30)])
    vendors.run(names=[chosen])
    low = vendors.rows("SELECT date FROM data_quality_log WHERE symbol = ? AND score < 0.85 AND score > 0", [chosen])
    planted = {defect.date for defect in vendors.sandbox.manifest.of(chosen)}
    vendors.set(sandbox_providers=providers(tmp_path, "polygon", "yahoo"))

    done = vendors.fill(chosen)

    mended = {day for (day,) in low} - planted
    assert len(mended) > 1
    assert {day.date() for day in done.filled["date"]} >= mended
    assert ("yahoo", chosen) in vendors.asked()


def test_what_no_plan_reaches_is_known_at_once_with_the_reach_of_each(
    vendors: Gaps, holed: str, tmp_path: Path
) -> None:
    added = others(holed)[0]
    vendors.set(sandbox_providers=providers(tmp_path, "polygon", tier="old"))

    done = vendors.fill(added)

    assert (vendors.asked(), done.asked) == ([], 0)
    assert vendors.states(added) == [("known", SESSIONS, 0, "polygon: reaches back to 2024-03-31")]


class ArchiveRun(archives.Run):
    """An archive, read by the filling of gaps at the instants given."""

    now = datetime(2024, 7, 20, 12, tzinfo=UTC)

    def look(self, job_id: str) -> GapsFilled:
        archive = StooqArchive(self.settings.archive or Path())
        provider = StooqBulk(archive, clock=lambda: self.now)
        source = Source(
            name="stooq_bulk",
            label="stooq_bulk",
            selector=GivenOrder([provider]),
            synthetic=False,
            served=[symbol for symbol, one in self.universe.items() if provider.serves(one)],
            lacking=[symbol for symbol, one in self.universe.items() if not provider.serves(one)],
        )
        self.reads = archive.reads
        done = fill_due_gaps(self.settings, self.universe, source, job_id=job_id, clock=lambda: self.now)
        self.reads = archive.reads - self.reads
        self.now += HOUR
        return done


def test_what_an_archive_lacks_is_known_at_once_and_another_archive_fills_it(tmp_path: Path) -> None:
    folder = write_archive(tmp_path / "archive", ["AAA", "BBB"])
    day = date(2024, 3, 6)
    put_file(folder, "AAA", bars("AAA")[lambda frame: frame["date"].dt.date != day])
    run = ArchiveRun(tmp_path / "runtime", folder)
    run.settings = archives.settings(tmp_path / "runtime", archive=folder, keep_current=False)
    run.universe = Universe(list(archives.universe(["AAA", "BBB", "CCC"]).values()))
    run.run(symbols=["AAA", "BBB"])
    query = "SELECT symbol, state, count(*), reason FROM gaps GROUP BY ALL ORDER BY ALL"

    first = run.look("one")

    lacking = ("CCC", "known", archives.SESSIONS, "stooq_bulk does not have it")
    assert (run.reads, first.asked, first.became_known) == (0, 0, archives.SESSIONS + 1)
    assert run.rows(query) == [("AAA", "known", 1, "stooq_bulk answered without a usable bar"), lacking]
    run.look("two")
    assert run.reads == 0

    put_file(folder, "AAA", bars("AAA"))
    done = run.look("three")

    assert (run.reads, done.calls) == (1, 1)
    assert [(row.symbol, row.date.date()) for row in done.filled.itertuples()] == [("AAA", day)]
    assert run.rows(query) == [("AAA", "closed", 1, "filled"), lacking]
