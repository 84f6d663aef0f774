"""Asking again for what is held: what is asked, what the newer answer changes, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pytest

from market_data.clock import clock_of
from market_data.errors import SettingsError
from market_data.ingest import partitions as steps
from market_data.ingest.asking_again import MOST_SESSIONS, ask_again
from market_data.ingest.partitions import Fetched
from market_data.ingest.sources import open_source
from market_data.instruments import Universe, load_universe
from market_data.sandbox.faults import Fault
from market_data.sandbox.server import Sandbox
from market_data.sandbox.vendors import VENDORS
from market_data.settings import Settings
from market_data.warehouse.connection import Database

START, END = date(2024, 2, 1), date(2024, 2, 29)
WRONG = date(2024, 2, 14)
CLOSE = "SELECT symbol, round(close, 2) FROM price_history_daily WHERE date = '2024-02-14' ORDER BY symbol"


@dataclass(frozen=True, slots=True)
class Store:
    """A month of two symbols, MSFT a hundredfold on one session, over vendors that have mended that since."""

    settings: Settings
    universe: Universe
    sandbox: Sandbox

    def fetch(self, job: str, symbols: list[str], start: date, end: date, *, again: bool) -> Fetched:
        clock = clock_of(self.settings, synthetic=True)
        with open_source("sandbox", self.settings, self.universe, clock=clock) as source:
            asked = ask_again if again else steps.fetch
            return asked(
                self.settings, self.universe, source, symbols=symbols, start=start, end=end, job_id=job, clock=clock
            )

    def load(self, job: str, start: date, end: date) -> None:
        steps.load(
            self.settings, self.universe, label="sandbox", synthetic=True, start=start, end=end, job_id=job,
            clock=clock_of(self.settings, synthetic=True),
        )  # fmt: skip

    def rows(self, query: str) -> list[tuple]:
        with Database(self.settings.database_for(synthetic=True)).reading() as connection:
            return connection.execute(query).fetchall()

    def calls(self) -> int:
        return sum(self.sandbox.calls.values())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    file = tmp_path / "universe.csv"
    file.write_text("symbol,listed_by\nAAPL,2020-01-02\nMSFT,2020-01-02\n")
    universe = load_universe(file)
    settings = Settings(
        runtime=tmp_path / "runtime", universe=file, window_start=START, window_end=END, keep_current=False,
        retry_wait=0.01,
    )  # fmt: skip
    wrong = [Fault(vendor, "hundredfold", symbols=frozenset({"MSFT"}), value=33) for vendor in VENDORS]
    with Sandbox(universe, start=START, end=END, seed=settings.sandbox_seed, faults=wrong) as sandbox:
        store = Store(replace_url(settings, sandbox.url), universe, sandbox)
        store.fetch("first", list(universe), START, END, again=False)
        store.load("first", START, END)
        sandbox.replace_faults(())
        yield store


def replace_url(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"sandbox_url": url})


def test_the_newer_answer_replaces_the_wrong_bar_alone_and_leaves_it_in_the_revisions(store: Store) -> None:
    [(_, other), (_, wrong)] = store.rows(CLOSE)
    before = store.calls()

    fetched = store.fetch("second", ["MSFT"], WRONG, WRONG, again=True)
    store.load("second", WRONG, WRONG)

    assert store.calls() - before == fetched.calls == 1
    assert fetched.answered == ["MSFT"]
    assert store.rows(CLOSE) == [("AAPL", other), ("MSFT", pytest.approx(wrong / 100))]
    assert store.rows("SELECT symbol, date, round(close, 2) FROM revisions") == [("MSFT", WRONG, wrong)]
    quality = "SELECT verdict, rules FROM data_quality_log WHERE symbol = 'MSFT' AND date = '2024-02-14'"
    assert store.rows(quality) == [("accepted", "")]
    [(first, last)] = store.rows("SELECT first_date, last_date FROM coverage WHERE job_id = 'second' AND feed = 'bars'")
    assert first < WRONG - timedelta(days=5)
    assert last == WRONG


def test_fetching_as_usual_asks_nobody_for_what_is_held(store: Store) -> None:
    before = store.calls()

    store.fetch("second", ["MSFT"], WRONG, WRONG, again=False)

    assert store.calls() == before


def test_asking_again_for_a_symbol_that_was_never_asked_for_asks_once(tmp_path: Path, store: Store) -> None:
    new = Store(store.settings.model_copy(update={"runtime": tmp_path / "other"}), store.universe, store.sandbox)
    before = new.calls()

    fetched = new.fetch("only", ["AAPL"], WRONG, WRONG, again=True)

    assert (fetched.answered, new.calls() - before) == (["AAPL"], 1)


def test_a_span_of_more_than_a_quarter_is_refused_before_anybody_is_asked(store: Store) -> None:
    before = store.calls()

    with pytest.raises(SettingsError, match=f"2023-10-02 to 2024-02-29 are 104 sessions, more than {MOST_SESSIONS}"):
        store.fetch("second", ["MSFT"], date(2023, 10, 2), END, again=True)

    assert store.calls() == before
