"""Corporate actions fetched from vendors on loopback, counted at the wire, and taken up from stored answers."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from market_data.errors import MarketDataError
from market_data.ingest.actions import ActionsFetched, fetch_actions
from market_data.ingest.sources import open_source
from market_data.sandbox.faults import Fault
from market_data_tests.vendors import Vendors, symbols

HELD = "SELECT symbol, date, kind, round(value, 6) FROM corporate_actions ORDER BY ALL"


def fetched(vendors: Vendors, names: list[str] | None = None, **more) -> ActionsFetched:
    with vendors.source() as source:
        given = {"symbols": vendors.names if names is None else names, "job_id": "job"} | more
        return fetch_actions(vendors.settings, vendors.universe, source, clock=lambda: vendors.now, **given)


def due(vendors: Vendors, *kinds: str) -> list[tuple]:
    return sorted(
        (name, day.date(), kind, round(value, 6))
        for name in vendors.names
        for day, kind, value in vendors.sandbox.market.actions(name).itertuples(index=False)
        if kind in kinds
    )


@pytest.mark.long
def test_splits_of_all_symbols_take_one_call_and_are_not_asked_for_again(tmp_path: Path) -> None:
    with Vendors(tmp_path / "runtime", symbols(600)) as vendors:
        first = fetched(vendors, dividends=False)
        expected = due(vendors, "split")
        assert expected
        assert (first.calls, first.splits, first.dividends) == (1, len(expected), 0)
        assert first.symbols == sorted({name for name, *_ in expected})
        assert vendors.rows(HELD) == expected
        assert vendors.rows("SELECT symbol, kind, source_provider FROM actions_told") == [("*", "split", "polygon")]
        again = fetched(vendors, dividends=False)
        assert (again.calls, again.splits, again.symbols, vendors.calls) == (0, len(expected), [], 1)


def test_answers_that_a_dead_process_did_not_write_are_written_without_a_call(tmp_path: Path) -> None:
    with Vendors(tmp_path / "runtime", symbols(8)) as vendors:
        whole = fetched(vendors)
        held = vendors.rows(HELD)
        assert held
        assert whole.failed == {}
        with duckdb.connect(str(vendors.settings.database_for(synthetic=True))) as connection:
            for table in ("corporate_actions", "reported_actions", "actions_told", "coverage"):
                connection.execute(f"DELETE FROM {table}")
        again = fetched(vendors)
        assert (again.calls, vendors.rows(HELD)) == (0, held)


@pytest.mark.long
def test_dividends_take_a_call_a_symbol_once_in_a_week(tmp_path: Path) -> None:
    with Vendors(tmp_path / "runtime", symbols(4)) as vendors:
        first = fetched(vendors)
        assert first.calls == vendors.calls == 5
        assert vendors.by_vendor()["polygon"] == 5
        assert vendors.rows(HELD) == due(vendors, "split", "dividend")
        vendors.now += timedelta(days=3)
        assert fetched(vendors).calls == 1, "the splits of the new days only"
        vendors.now += timedelta(days=14)
        assert fetched(vendors).calls == 5


def test_the_next_vendor_is_asked_where_one_fails(tmp_path: Path) -> None:
    with Vendors(tmp_path / "runtime", symbols(6)) as vendors:
        fetched(vendors, dividends=False)
        vendors.sandbox.replace_faults([Fault("polygon", "server_error", value=501)])
        got = fetched(vendors)
        assert got.failed == {}
        tellers = vendors.rows("SELECT DISTINCT source_provider FROM actions_told WHERE kind = 'dividend'")
        assert tellers == [("alpha_vantage",)]
        assert vendors.rows(HELD) == due(vendors, "split", "dividend")


def test_symbols_that_nobody_answers_for_are_named_and_do_not_end_the_others(tmp_path: Path) -> None:
    names = symbols(4)
    with Vendors(tmp_path / "runtime", names) as vendors:
        down = [
            Fault(vendor, "server_error", value=501, symbols=[names[1]])
            for vendor in ("polygon", "alpha_vantage", "yahoo")
        ]
        vendors.sandbox.replace_faults(down)
        got = fetched(vendors)
        assert list(got.failed) == [names[1]]
        assert all(vendor in got.failed[names[1]] for vendor in ("polygon", "alpha_vantage", "yahoo"))
        told = vendors.rows("SELECT DISTINCT symbol FROM actions_told WHERE kind = 'dividend' ORDER BY symbol")
        assert told == [(name,) for name in names if name != names[1]]


def test_without_polygon_both_kinds_come_from_one_chart_a_symbol(tmp_path: Path) -> None:
    with Vendors(tmp_path / "runtime", symbols(5)) as vendors, vendors.source() as source:
        alone = [arm for arm in source.arms if arm.config.name == "yahoo"]
        got = fetch_actions(
            vendors.settings,
            vendors.universe,
            replace(source, arms=tuple(alone)),
            symbols=vendors.names,
            job_id="job",
            clock=lambda: vendors.now,
        )
        assert (got.calls, got.failed) == (5, {})
        assert vendors.rows("SELECT kind, count(*) FROM actions_told GROUP BY kind ORDER BY kind") == [
            ("dividend", 5),
            ("split", 5),
        ]
        assert vendors.rows(HELD) == due(vendors, "split", "dividend")


def test_a_source_that_feeds_no_actions_is_refused(tmp_path: Path) -> None:
    with (
        Vendors(tmp_path / "runtime", symbols(1)) as vendors,
        open_source("stooq", vendors.settings, vendors.universe, keys={"stooq": "key-of-this-test"}) as source,
        pytest.raises(MarketDataError, match="of which none is in use: stooq feeds none"),
    ):
        fetch_actions(vendors.settings, vendors.universe, source, symbols=[], job_id="job")
