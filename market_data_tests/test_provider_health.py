"""What is told of providers: metrics from the two ledgers, quotas as last noted, and what should have somebody look."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib.resources import files
from itertools import count
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data.errors import MarketDataError, SettingsError, WarehouseError
from market_data.ingest.metrics import refresh_metrics
from market_data.providers.config import Quota
from market_data.report.health import OUTCOMES, Health
from market_data.report.health_checks import errors_check, quota_check
from market_data.report.health_store import read_health, refreshed_health, stored_health
from market_data.sandbox.faults import Fault
from market_data.selection.bandit import DayOfAnswers
from market_data.selection.quota import QuotaLedger, QuotaState, Standing
from market_data.settings import Settings
from market_data.warehouse.connection import Database
from market_data.warehouse.provider_metrics import (
    days_of_calls,
    note_quotas,
    provider_history,
    provider_totals,
    quota_days,
    refresh_provider_metrics,
)
from market_data_tests.bars import at, in_memory, naive, new_database, rows
from market_data_tests.vendors import START, Vendors, symbols

DAY, NEXT = date(2026, 1, 20), date(2026, 1, 21)
NUMBERS = count()
NOT_SERVED = ("OutOfWindow", "UnknownSymbol", "QuotaExhausted", "LeftAlone")


def ask(
    connection: duckdb.DuckDBPyConnection,
    provider: str = "polygon",
    came: datetime | None = None,
    *,
    verdict: str | None = "accepted",
    error: str | None = None,
    latency: float | None = 10.0,
    times: int = 1,
    **fields: object,
) -> None:
    """Put requests in the ledger, each of one symbol; with an error they failed."""
    given = {
        "symbol": "AAPL",
        "interval": "1d",
        "provider": provider,
        "first_date": DAY,
        "last_date": DAY,
        "outcome": "failed" if error else "answered",
        "fetched_at": came or naive(1),
        "bytes": 100,
        "attempts": 1,
        "latency_ms": None if error else latency,
        "error": error,
        "verdict": None if error else verdict,
    } | fields
    columns, marks = ", ".join(given), ", ".join("?" for _ in given)
    for _ in range(times):
        values = [f"r{next(NUMBERS)}", *given.values()]
        connection.execute(f"INSERT INTO coverage (request_id, {columns}) VALUES (?, {marks})", values)


def poll(
    connection: duckdb.DuckDBPyConnection,
    provider: str = "polygon",
    came: datetime | None = None,
    *,
    answered: int = 3,
    empty: int = 0,
    errors: dict[str, int] | None = None,
    latencies: tuple[float, ...] = (10.0,),
) -> None:
    """Put one poll of one provider in the ledger."""
    row = {
        "session_date": DAY,
        "polled_at": came or naive(15),
        "provider": provider,
        "job_id": "job",
        "pack": "",
        "calls": len(latencies),
        "answered": answered,
        "empty": empty,
        "failed": sum((errors or {}).values()),
        "errors": json.dumps(errors or {}),
        "bytes": 1000,
        "latencies": list(latencies),
        "rows_inserted": 0,
        "rows_updated": 0,
        "refused_rows": 0,
        "refused": "[]",
        "skipped": 0,
        "own_ms": 1.0,
    }
    marks = ", ".join("?" for _ in row)
    connection.execute(f"INSERT INTO intraday_polls ({', '.join(row)}) VALUES ({marks})", list(row.values()))


def standing(used: int, limit: int = 100, period: str = "month") -> Standing:
    """One quota, used so far."""
    return Standing((QuotaState(Quota(period, limit), used, at(day="2026-02-01")),))  # type: ignore[arg-type]


def told(connection: duckdb.DuckDBPyConnection, standings: dict[str, Standing] | None = None, **more: object) -> Health:
    """The health of one UTC date, after the metrics were refreshed."""
    refresh_provider_metrics(connection, DAY)
    given = {"synthetic": True, "now": at(23, day="2026-01-20"), "days": 1} | more
    return read_health(connection, standings or {}, **given)  # type: ignore[arg-type]


COLUMNS = (
    "provider_name, calls, accepted, rejected, no_data, answered, failed, not_served, errors, bytes, "
    "intraday_calls, intraday_answered, intraday_empty, intraday_failed, intraday_not_served"
)


def test_metrics_of_a_date_come_from_both_ledgers_and_keep_minutes_apart_from_daily_bars():
    with new_database().writing() as connection:
        ask(connection, attempts=4)
        ask(connection, verdict="rejected")
        ask(connection, verdict="no_data")
        ask(connection, feed="dividends")
        ask(connection, error="RateLimited", times=2)
        ask(connection, error="OutOfWindow")
        ask(connection, came=naive(0, 0, "2026-01-21"))
        ask(connection, attempts=0)
        poll(connection, answered=5, empty=2, errors={"RateLimited": 3, "QuotaExhausted": 1}, latencies=(1.0, 2.0))
        poll(connection, came=naive(15, 1), answered=6)
        poll(connection, came=naive(0, 30, "2026-01-21"))
        poll(connection, "", errors={"LeftAlone": 9}, latencies=())
        poll(connection, "yahoo", answered=1)
        refresh_provider_metrics(connection, DAY)
        errors = '{"OutOfWindow":1,"QuotaExhausted":1,"RateLimited":5}'
        expected = [
            ("polygon", 10, 1, 1, 1, 4, 2, 1, errors, 700 + 2000, 3, 11, 2, 3, 1),
            ("yahoo", 0, 0, 0, 0, 0, 0, 0, "{}", 1000, 1, 1, 0, 0, 0),
        ]
        assert rows(connection, f"SELECT {COLUMNS} FROM provider_metrics ORDER BY ALL") == expected
        refresh_provider_metrics(connection, DAY, NEXT)
        assert rows(connection, f"SELECT {COLUMNS} FROM provider_metrics WHERE date = ? ORDER BY ALL", DAY) == expected
        assert rows(connection, "SELECT calls, intraday_calls FROM provider_metrics WHERE date = ?", NEXT) == [(1, 1)]
        assert days_of_calls(connection, DAY) == [DAY, NEXT]
        assert days_of_calls(connection, date(2026, 1, 22)) == []


def test_a_verdict_that_comes_later_changes_the_date_the_answer_came_on():
    with new_database().writing() as connection:
        ask(connection, verdict=None)
        ask(connection, came=naive(1, day="2026-01-21"))
        refresh_provider_metrics(connection, DAY, NEXT)
        connection.execute("UPDATE provider_metrics SET latency_p50_ms = -1")
        connection.execute("UPDATE coverage SET verdict = 'rejected' WHERE verdict IS NULL")
        refresh_provider_metrics(connection, DAY, NEXT)
        query = "SELECT date, answered, rejected, latency_p50_ms FROM provider_metrics ORDER BY date"
        assert rows(connection, query) == [(DAY, 1, 1, 10.0), (NEXT, 1, 0, -1.0)]


def test_minutes_of_past_sessions_count_as_minutes_with_what_validation_made_of_them():
    with new_database().writing() as connection:
        ask(connection)
        for fields in (
            {"verdict": "accepted", "attempts": 2},
            {"verdict": None},
            {"verdict": "rejected"},
            {"verdict": "no_data"},
            {"error": "Transient"},
            {"error": "OutOfWindow"},
        ):
            ask(connection, interval="1m", **fields)
        poll(connection, answered=4)
        refresh_provider_metrics(connection, DAY)
        names = "calls, accepted, rejected, no_data, answered, failed, not_served, intraday_rejected"
        assert rows(connection, f"SELECT {names} FROM provider_metrics") == [(1, 1, 0, 0, 1, 0, 0, 1)]
        names = "calls, answered, empty, rejected, failed, not_served"
        [found] = rows(connection, f"SELECT intraday_{names.replace(', ', ', intraday_')} FROM provider_metrics")
        assert found == (8, 6, 1, 1, 1, 1)
        assert provider_history(connection, DAY) == [DayOfAnswers("polygon", DAY, 1, 0, 10.0)]
        assert rows(connection, "SELECT errors FROM provider_metrics") == [('{"OutOfWindow":1,"Transient":1}',)]
        [provider] = told(connection).providers
        assert (provider.span.minutes, provider.span.rejected, provider.span.requests) == (6, 1, 11)


def test_minutes_say_nothing_to_the_choice_of_a_vendor_for_daily_bars():
    with new_database().writing() as connection:
        ask(connection, times=3)
        ask(connection, error="Transient")
        poll(connection, answered=500, errors={"Transient": 500})
        refresh_provider_metrics(connection, DAY)
        assert provider_history(connection, DAY) == [DayOfAnswers("polygon", DAY, 3, 1, 10.0)]


def test_what_was_compared_stays_when_metrics_are_derived_anew():
    with new_database().writing() as connection:
        ask(connection)
        refresh_provider_metrics(connection, DAY)
        connection.execute("UPDATE provider_metrics SET compared = 7, odd = 2")
        ask(connection)
        refresh_provider_metrics(connection, DAY)
        assert rows(connection, "SELECT calls, compared, odd FROM provider_metrics") == [(2, 7, 2)]


MOMENTS = st.integers(0, 2 * 24 * 60 - 1).map(lambda minutes: naive() + timedelta(minutes=minutes))
LATENCIES = st.floats(0, 60_000, allow_subnormal=False)
KINDS = st.sampled_from(("Transient", "RateLimited", *NOT_SERVED))
PROVIDERS = st.sampled_from(("polygon", "yahoo"))
REQUESTS = st.tuples(PROVIDERS, MOMENTS, st.none() | KINDS, LATENCIES)
POLLS = st.tuples(PROVIDERS, MOMENTS, st.dictionaries(KINDS, st.integers(0, 9)), st.lists(LATENCIES, max_size=5))


@cache
def empty() -> duckdb.DuckDBPyConnection:
    return in_memory()


@given(st.lists(REQUESTS, max_size=8), st.lists(POLLS, max_size=4, unique_by=lambda poll: poll[:2]))
@settings(max_examples=25)
def test_days_add_up_to_the_whole_and_percentiles_are_those_of_every_single_answer(requests, polls):
    connection = empty()
    connection.execute("BEGIN")
    for provider, came, error, latency in requests:
        ask(connection, provider, came, error=error, latency=latency)
    for provider, came, errors, latencies in polls:
        poll(connection, provider, came, errors=errors, latencies=tuple(latencies))
    refresh_provider_metrics(connection, DAY, NEXT)
    asked = {item[0] for item in (*requests, *polls)}
    days = rows(connection, f"SELECT {COLUMNS}, date, latency_p50_ms, latency_p95_ms FROM provider_metrics")
    whole = provider_totals(connection, at(day="2026-01-20"), at(day="2026-01-22")).set_index("provider_name")
    connection.execute("ROLLBACK")
    assert {row[0] for row in days} == set(whole.index) == asked
    for provider in asked:
        kinds: Counter[str] = Counter(item[2] for item in requests if item[0] == provider and item[2])
        for item in polls:
            kinds.update(item[2] if item[0] == provider else {})
        total = whole.loc[provider]
        assert json.loads(total["errors"]) == {kind: count for kind, count in sorted(kinds.items()) if count}
        assert total["not_served"] + total["intraday_not_served"] == sum(kinds[kind] for kind in NOT_SERVED)
        for name in ("calls", "answered", "failed", "bytes", "intraday_calls", "intraday_failed"):
            place = COLUMNS.split(", ").index(name)
            assert total[name] == sum(row[place] for row in days if row[0] == provider)
        answers = [(came.date(), item) for name, came, error, item in requests if name == provider and not error]
        answers += [(came.date(), item) for name, came, _, several in polls if name == provider for item in several]
        spans = [([value for _, value in answers], total["latency_p50_ms"], total["latency_p95_ms"])]
        spans += [
            ([value for day, value in answers if day == row[-3]], *row[-2:]) for row in days if row[0] == provider
        ]
        for values, *percentiles in spans:
            if values:
                assert percentiles == pytest.approx([*np.percentile(values, (50, 95))], rel=1e-9, abs=1e-9)
            else:
                assert all(found is None or np.isnan(found) for found in percentiles)


def test_the_last_note_of_a_quota_on_a_date_stays_and_one_of_which_nothing_is_used_is_not_noted():
    several = Standing((*standing(30).quotas, *standing(24, 25, "day").quotas))
    with new_database().writing() as connection:
        note_quotas(connection, {"polygon": standing(10), "yahoo": standing(0), "none": Standing()}, at(12))
        note_quotas(connection, {"polygon": several}, at(14))
        note_quotas(connection, {"polygon": standing(20)}, at(13))
        note_quotas(connection, {"polygon": standing(31)}, at(1, day="2026-01-21"))
        note_quotas(connection, {}, at(2, day="2026-01-21"))
        query = "SELECT provider_name, date, period, calls_used, calls_left, noted_at FROM provider_quotas ORDER BY ALL"
        assert rows(connection, query) == [
            ("polygon", DAY, "day", 24, 1, naive(14)),
            ("polygon", DAY, "month", 30, 70, naive(14)),
            ("polygon", NEXT, "month", 31, 69, naive(1, day="2026-01-21")),
        ]
        tightest = quota_days(connection, DAY, NEXT)
    assert tightest[["period", "calls_left", "calls_limit"]].to_numpy().tolist() == [["day", 1, 25], ["month", 69, 100]]


def test_a_store_of_the_version_before_learns_of_answers_and_errors_from_its_ledger():
    folder = files("market_data.warehouse").joinpath("migrations")
    with duckdb.connect("old.duckdb") as connection:
        connection.execute(
            "CREATE TABLE schema_version (version INTEGER PRIMARY KEY, name VARCHAR, applied_at TIMESTAMP)"
        )
        for script in sorted(folder.iterdir(), key=lambda script: script.name)[:6]:
            connection.execute(script.read_text("utf-8"))
            noted = [int(script.name[:4]), script.name]
            connection.execute("INSERT INTO schema_version VALUES (?, ?, '2026-01-01')", noted)
        ask(connection, times=2)
        ask(connection, error="Transient")
        ask(connection, "yahoo", error="RateLimited", times=3)
        metrics = (
            "INSERT INTO provider_metrics (provider_name, date, calls, accepted, rejected, no_data, failed, bytes)"
        )
        for provider, accepted, failed in (("polygon", 2, 1), ("yahoo", 0, 3), ("stooq", 1, 0)):
            connection.execute(f"{metrics} VALUES (?, ?, 3, ?, 0, 0, ?, 0)", [provider, DAY, accepted, failed])
    database = Database(Path("old.duckdb"))
    database.prepare()
    with database.reading() as connection:
        query = "SELECT provider_name, answered, errors, intraday_calls FROM provider_metrics ORDER BY ALL"
        assert rows(connection, query) == [
            ("polygon", 2, '{"Transient":1}', 0),
            ("stooq", 0, "{}", 0),
            ("yahoo", 0, '{"RateLimited":3}', 0),
        ]


def test_each_request_is_one_outcome_and_shares_count_as_the_choice_of_a_vendor_does():
    with new_database().writing() as connection:
        ask(connection, times=4)
        ask(connection, verdict="rejected")
        ask(connection, verdict="no_data", times=5)
        ask(connection, verdict=None)
        ask(connection, feed="splits")
        ask(connection, error="Transient", times=2)
        ask(connection, error="QuotaExhausted", times=3)
        poll(connection, answered=7, empty=2, errors={"Transient": 1, "OutOfWindow": 1})
        [provider] = told(connection).providers
    asked = provider.span
    assert provider.last_day == asked
    assert {name: getattr(asked, name) for name in OUTCOMES} == {
        "accepted": 4,
        "other": 2,
        "minutes": 7,
        "no_data": 7,
        "not_served": 4,
        "rejected": 1,
        "failed": 3,
    }
    assert (asked.requests, asked.calls) == (28, 18)
    assert asked.accepted_share == 13 / 17
    assert asked.failed_share == 3 / 28


def test_a_day_without_calls_is_a_gap_and_a_quota_may_be_known_of_it():
    with new_database().writing() as connection:
        ask(connection)
        note_quotas(connection, {"polygon": standing(1)}, at(12))
        note_quotas(connection, {"polygon": standing(40)}, at(12, day="2026-01-22"))
        found = told(connection, now=at(23, day="2026-01-22"), days=3)
    days = found.days.set_index("date")
    assert [f"{day:%d}" for day in days.index] == ["20", "22"]
    assert days["accepted"].isna().tolist() == [False, True]
    assert days["quota_left"].tolist() == [99.0, 60.0]
    document = found.as_dict()
    assert (document["first"], document["last"]) == ("2026-01-20", "2026-01-22")
    assert document["days"][1]["latency_p50_ms"] is None
    assert document["providers"][0]["last_day"]["requests"] == 0
    assert json.loads(json.dumps(document)) == document


@pytest.mark.parametrize(
    ("failed", "answered", "passed"), [(3, 7, False), (2, 8, True), (9, 0, True), (10, 0, False), (0, 0, True)]
)
def test_a_provider_that_fails_at_more_than_a_fifth_of_ten_requests_is_told_of(failed, answered, passed):
    with new_database().writing() as connection:
        ask(connection, times=answered)
        ask(connection, error="RateLimited", times=failed)
        ask(connection, "yahoo", times=20)
        result = errors_check(told(connection))
    assert result.passed is passed
    assert result.failing == len(result.rows) == (not passed)
    if not passed:
        assert result.rows.to_dict("records") == [
            {
                "provider": "polygon",
                "failed": failed,
                "requests": 10,
                "share": failed / 10,
                "kinds": f"RateLimited {failed}",
            }
        ]
        assert f"polygon {failed} of 10 (RateLimited {failed})" in result.summary
        assert result.measured == failed / 10


def test_failures_of_the_day_before_yesterday_and_requests_not_served_are_no_news():
    with new_database().writing() as connection:
        ask(connection, error="Transient", came=naive(22, 59, "2026-01-19"), times=50)
        ask(connection, error="QuotaExhausted", times=50)
        ask(connection)
        found = told(connection, days=7)
    assert errors_check(found).passed
    assert found.providers[0].span.failed == 50
    assert found.providers[0].last_day.failed == 0


def test_a_quota_used_to_more_than_nine_tenths_is_told_of_and_the_tightest_counts():
    both = Standing((*standing(10).quotas, *standing(24, 25, "day").quotas))
    with new_database().writing() as connection:
        ask(connection)
        found = told(connection, {"polygon": both, "yahoo": standing(90), "stooq": Standing(), "unused": standing(0)})
    assert [item.provider for item in found.providers] == ["polygon", "yahoo"]
    result = quota_check(found)
    assert not result.passed
    assert result.summary == "calls left: polygon has 1 of 25 a day"
    assert result.rows["provider"].tolist() == ["polygon"]
    assert result.measured == 0.96
    assert quota_check(found.only("yahoo")).passed


def test_a_store_that_asked_nobody_is_told_of_as_such():
    with new_database().writing() as connection:
        found = told(connection)
    assert found.providers == ()
    assert errors_check(found).passed
    assert quota_check(found).passed
    assert found.as_dict()["days"] == []
    with pytest.raises(SettingsError, match="provider 'polygon' was not asked from 2026-01-20 to 2026-01-20; nobody"):
        found.only("polygon")


@pytest.mark.long
def test_simulated_days_of_the_sandbox_are_told_of_as_they_were_counted_at_the_wire(tmp_path: Path) -> None:
    with Vendors(tmp_path / "runtime", symbols(6), faults=[Fault("polygon", "server_error", last=6)]) as vendors:
        for number in range(3):
            vendors.now = vendors.now.replace(day=1 + number)
            vendors.run(f"job-{number}", names=vendors.names[2 * number : 2 * number + 2])
        clock = lambda: vendors.now  # noqa: E731
        found = refreshed_health(vendors.settings, synthetic=True, clock=clock, days=5)
        at_the_wire = {vendor: calls for vendor, calls in vendors.by_vendor().items() if calls}
        assert {item.provider: item.span.calls for item in found.providers} == at_the_wire
        assert found.synthetic
        for item in found.providers:
            assert item.quota is not None
            assert item.quota.limit - item.quota.left == at_the_wire[item.provider]
            assert item.span.latency_p50_ms is not None
            assert 0 < item.span.latency_p50_ms <= item.span.latency_p95_ms
        [polygon] = found.only("polygon").providers
        assert polygon.span.errors == {"Transient": polygon.span.failed}
        assert polygon.span.failed >= 1
        noted = vendors.rows("SELECT provider_name, calls_used FROM provider_quotas WHERE date = '2024-04-03'")
        assert dict(noted) == at_the_wire
        assert set(found.days["date"].dt.day) <= {1, 2, 3}
        with pytest.raises(SettingsError, match="provider 'bloomberg' was not asked from 2024-03-30 to 2024-04-03"):
            found.only("bloomberg")
        assert stored_health(vendors.settings, synthetic=True, clock=clock, days=5).as_dict() == found.as_dict()


def test_what_is_wrong_is_named_before_anything_is_written(tmp_path: Path) -> None:
    given = Settings(runtime=tmp_path / "runtime", window_start=START)
    clock = lambda: datetime(2026, 1, 20, tzinfo=UTC)  # noqa: E731
    for call in (refreshed_health, stored_health):
        with pytest.raises(WarehouseError, match=r"market_data\.duckdb: no database yet"):
            call(given, synthetic=False, clock=clock)
    assert not given.runtime.exists()
    given.runtime.mkdir()
    database = new_database(given.database_for(synthetic=False))
    with database.writing() as connection:
        connection.execute("INSERT INTO store_kind VALUES (TRUE)")
    for call in (refreshed_health, stored_health):
        with pytest.raises(MarketDataError, match="holds synthetic data, and real was meant"):
            call(given, synthetic=False, clock=clock)
    for days in (0, -1, 3661):
        with pytest.raises(
            SettingsError, match=f"days {days:,}".replace(",", "") + " is not possible; give 1 to 3,660"
        ):
            stored_health(given, synthetic=False, clock=clock, days=days)


def test_metrics_are_refreshed_without_a_ledger_of_calls_as_with_an_archive_alone(tmp_path: Path) -> None:
    given = Settings(runtime=tmp_path / "runtime")
    with new_database().writing() as connection:
        ask(connection, "stooq_bulk")
        refresh_metrics(connection, given, synthetic=False, clock=lambda: at(23))
        assert rows(connection, "SELECT provider_name, calls FROM provider_metrics") == [("stooq_bulk", 1)]
        assert rows(connection, "FROM provider_quotas") == []
    assert not given.runtime.exists()
    assert QuotaLedger(given.calls_file(synthetic=False)).standing() == {}
