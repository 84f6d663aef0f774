"""However a window is launched, it costs the same calls; and one call serves all symbols where that is cheaper."""

from __future__ import annotations

import random
from collections import Counter
from datetime import date
from pathlib import Path

import pytest

from market_data.ingest import partitions
from market_data.instruments import Instrument, Universe
from market_data.records import EVERY, Outcome
from market_data.sandbox.faults import Fault
from market_data.sessions import sessions_between
from market_data_tests.test_dagster_checks import DAYS, SYMBOLS, Project
from market_data_tests.vendors import END, NOW, SESSIONS, START, Vendors, symbols, universe

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore:Parameter .backfill_policy.:dagster.BetaWarning")]


def fetch(vendors: Vendors, first: date, last: date, job_id: str) -> partitions.Fetched:
    """The first step of the asset graph."""
    with vendors.source() as source:
        return partitions.fetch(
            vendors.settings,
            vendors.universe,
            source,
            symbols=vendors.names,
            start=first,
            end=last,
            job_id=job_id,
            clock=lambda: vendors.now,
        )


@pytest.mark.long
def test_249_symbols_cost_the_same_calls_session_by_session_in_random_order_as_in_one_range(tmp_path: Path) -> None:
    names, days = symbols(249), [day.date() for day in sessions_between(START, END)]
    assert len(days) == SESSIONS
    days = random.Random(3).sample(days, 4)
    with Vendors(tmp_path / "range", names) as vendors:
        ranged = fetch(vendors, START, END, "range")
        refused = vendors.refused
        in_one_range = vendors.calls
    with Vendors(tmp_path / "single", names) as vendors:
        fetched = [fetch(vendors, day, day, f"run-{day}") for day in days]
        single = vendors.sandbox.calls

    # A symbol whose batch every vendor's answer must be refused for is asked of all four.
    assert in_one_range == ranged.calls == 249 + 3 * len(refused)
    assert single.total() == in_one_range
    assert {symbol: len(asked) for symbol, asked in by_symbol(single).items()} == {
        name: 4 if name in refused else 1 for name in names
    }
    assert [result.calls for result in fetched[1:]] == [0] * (len(days) - 1)
    assert all(result.answered == names and not result.failed for result in fetched)


def by_symbol(calls: Counter[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for (vendor, symbol), count in calls.items():
        found.setdefault(symbol, []).extend([vendor] * count)
    return found


@pytest.mark.long
def test_single_partitions_through_dagster_in_random_order_cost_one_call_a_symbol(tmp_path: Path) -> None:
    days = list(DAYS)
    random.Random(1).shuffle(days)
    with Vendors(tmp_path / "unused", SYMBOLS) as vendors:
        with Project(tmp_path, archive="", sandbox_url=vendors.sandbox.url) as project:
            assert all(project.run(day).success for day in days)
            project.runtime.joinpath("synthetic.duckdb").rename(project.runtime / "market_data.duckdb")
            held = project.rows("SELECT symbol, count(*) FROM price_history_daily GROUP BY symbol ORDER BY symbol")
            [(considered,)] = set(project.rows("SELECT considered IS NOT NULL FROM coverage"))
        assert held == [(symbol, len(DAYS)) for symbol in SYMBOLS]
        assert considered is True  # so that the choices of the first step can be explained
        assert {symbol: len(asked) for symbol, asked in by_symbol(vendors.sandbox.calls).items()} == dict.fromkeys(
            SYMBOLS, 1
        )


YESTERDAY = date(2024, 3, 27)


@pytest.fixture
def filled(tmp_path: Path):
    """A store that holds everything but the last two sessions of the market."""
    with Vendors(tmp_path / "runtime", symbols(20)) as vendors:
        vendors.now = NOW.replace(month=3, day=27)
        assert vendors.run("first").is_good
        vendors.sandbox.reset()
        yield vendors


def test_last_nights_session_of_every_symbol_costs_one_call(filled: Vendors) -> None:
    filled.now = NOW.replace(month=3, day=28)

    summary = filled.run("night", start=YESTERDAY, end=YESTERDAY)

    assert filled.sandbox.calls == {("polygon", EVERY): 1}
    assert {record.outcome for record in summary.records} == {Outcome.ACCEPTED}
    sources = "SELECT source_provider, basis, count(*) FROM price_history_daily WHERE date = ? GROUP BY ALL"
    assert filled.rows(sources, [YESTERDAY]) == [("polygon", "raw", 20)]
    raw = {name: filled.sandbox.market.raw_bars(name).set_index("date")["close"] for name in filled.names}
    stored = dict(filled.rows("SELECT symbol, close FROM price_history_daily WHERE date = ?", [YESTERDAY]))
    clean = {
        name
        for name in filled.names
        if all(fault.date != YESTERDAY and fault.kind != "missed_split" for fault in filled.sandbox.manifest.of(name))
    }
    assert len(clean) > 10
    assert {name: stored[name] for name in clean} == {name: raw[name][str(YESTERDAY)] for name in clean}
    assert filled.rows("SELECT symbol, calls FROM ingestion_audit WHERE job_id = 'night' AND calls > 0") == []
    assert filled.rows("SELECT symbol, first_date, last_date, attempts FROM coverage WHERE symbol = '*'") == [
        (EVERY, YESTERDAY, YESTERDAY, 1)
    ]
    assert filled.run("again", start=YESTERDAY, end=YESTERDAY).count(Outcome.HELD) == 20
    assert filled.calls == 1


def test_two_open_sessions_of_the_window_cost_two_calls_whichever_is_asked_for(filled: Vendors) -> None:
    filled.now = NOW

    assert filled.run("night", start=END, end=END).is_good

    assert filled.sandbox.calls == {("polygon", EVERY): 2}
    assert filled.rows("SELECT count(DISTINCT date) FROM price_history_daily WHERE date > '2024-03-26'") == [(1,)]


def test_a_symbol_that_lacks_everything_is_asked_for_by_itself_beside_the_one_call(filled: Vendors) -> None:
    filled.now = NOW.replace(month=3, day=28)
    filled.universe = universe([*filled.names, "QZZ"])  # which the market does not know

    summary = filled.run("night", names=[*filled.names, "QZZ"], start=YESTERDAY, end=YESTERDAY)

    assert filled.sandbox.calls["polygon", EVERY] == 1
    assert {record.symbol: record.outcome for record in summary.records if not record.outcome.is_good} == {
        "QZZ": Outcome.NO_DATA
    }
    assert {symbol.upper().removesuffix(".US") for _, symbol in filled.sandbox.calls} == {EVERY, "QZZ"}


def test_where_the_one_call_fails_each_symbol_is_asked_for(filled: Vendors) -> None:
    filled.now = NOW.replace(month=3, day=28)
    filled.sandbox.replace_faults([Fault("polygon", "unauthorized", value=401)])

    assert filled.run("night", start=YESTERDAY, end=YESTERDAY).is_good

    assert filled.sandbox.calls["polygon", EVERY] == 1
    assert sum(count for (_, symbol), count in filled.sandbox.calls.items() if symbol != EVERY) == 20
    assert filled.rows("SELECT provider, error FROM coverage WHERE symbol = '*'") == [("polygon", "NotEntitled")]
    assert filled.by_vendor()["polygon"] == 1


def test_a_killed_night_finds_its_one_answer_again(filled: Vendors) -> None:
    filled.now = NOW.replace(month=3, day=28)
    with filled.source() as source:
        worker = filled.backfill(source)._worker("killed")
        source.selector.begin("killed", 20, [])
        choice = source.selector.choose_for_all([YESTERDAY], 20)
        assert worker.fetch_for_all(choice.provider, YESTERDAY).error is None

    assert filled.run("night", start=YESTERDAY, end=YESTERDAY).is_good
    assert filled.sandbox.calls == {("polygon", EVERY): 1}


def test_a_symbol_the_one_answer_lacks_is_asked_for_by_itself_also_in_the_asset_graph(filled: Vendors) -> None:
    filled.now = NOW.replace(month=3, day=28)
    elsewhere = Instrument("QAA", listed_by=date(2020, 1, 2), tickers={"polygon": "QXX"})
    filled.universe = Universe([elsewhere, *(filled.universe[name] for name in filled.names if name != "QAA")])

    fetched = fetch(filled, YESTERDAY, YESTERDAY, "night")

    assert fetched.failed == {}
    assert filled.sandbox.calls["polygon", EVERY] == 1
    own = {(vendor, symbol) for vendor, symbol in filled.sandbox.calls if symbol != EVERY}
    assert {symbol for vendor, symbol in own if vendor != "polygon"} == {"QAA"}
    summary = partitions.load(
        filled.settings,
        filled.universe,
        label="sandbox",
        synthetic=True,
        start=YESTERDAY,
        end=YESTERDAY,
        job_id="night",
        clock=lambda: filled.now,
    )
    assert {record.outcome for record in summary.records} == {Outcome.ACCEPTED}
    assert all(record.synthetic for record in summary.records)
    assert fetch(filled, YESTERDAY, YESTERDAY, "again").calls == 0
