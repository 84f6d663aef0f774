"""Stored bars reconciled with other vendors': real HTTP on loopback, calls counted at the wire, rows in DuckDB."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from market_data.errors import SettingsError, WarehouseError
from market_data.ingest.raw_store import RawStore
from market_data.ingest.reconcile import compare_stored
from market_data.report.reconciliation import reconciliation
from market_data.sandbox.faults import Fault
from market_data.warehouse.connection import Database
from market_data.warehouse.store import transaction
from market_data_tests.reconciling import filled, know_actions, reconciled
from market_data_tests.vendors import END, SESSIONS, START, Vendors, symbols

NAMES = symbols(6)
CHECKED = "SELECT other_provider, verdict, odd_one, count(*) FROM reconciliations GROUP BY ALL ORDER BY ALL"
METRICS = "SELECT provider_name, compared, odd FROM provider_metrics ORDER BY 1"
PROVIDERS = """
polygon: {priority: 1, tier: t, base_url: "{sandbox}/polygon", basis: raw, tiers: {t: {}}}
alpha_vantage: {priority: 2, tier: t, base_url: "{sandbox}/alpha_vantage", basis: raw, tiers: {t: {monthly_limit: 3}}}
yahoo: {priority: 4, tier: t, base_url: "{sandbox}/yahoo", basis: split, tiers: {t: {per_minute: 1}}}
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A running sandbox, and a store filled from its polygon, to be copied."""
    with Vendors(tmp_path_factory.mktemp("template") / "runtime", NAMES) as vendors:
        filled(vendors)
        know_actions(vendors)
        yield vendors


@pytest.fixture
def store(template, tmp_path):
    """Makes copies of the filled store; the sandbox counts calls anew, and has the faults given."""

    def copied(names: int = 1, faults: tuple[Fault, ...] = (), **more: Any) -> Vendors:
        shutil.copytree(template.settings.runtime, tmp_path / "runtime")
        template.sandbox.reset()
        template.sandbox.replace_faults(faults)
        vendors = Vendors(tmp_path / "runtime", NAMES[:names], url=template.sandbox.url, **more)
        vendors.universe, vendors.sandbox = template.universe, template.sandbox
        return vendors

    return copied


def bars(vendors: Vendors) -> int:
    """Stored bars of the symbols of a test."""
    return sum(row[0] in vendors.names for row in vendors.prices())


def check(vendors: Vendors):
    with Database(vendors.settings.database_for(synthetic=True)).reading() as connection:
        return reconciliation(connection, START, END, vendors.settings)


def test_vendors_that_tell_the_same_agree_on_whatever_basis_they_send_it(store):
    vendors = store(names=3, reconcile_vendors=3)
    done = reconciled(vendors)
    assert done.is_good
    assert (done.symbols, done.calls, done.skipped) == (vendors.names, 9, [])
    assert vendors.by_vendor() == {"polygon": 0, "alpha_vantage": 3, "stooq": 3, "yahoo": 3}
    held = bars(vendors)
    assert held > 2 * SESSIONS
    agreeing = [(name, "agree", None, held) for name in ("alpha_vantage", "stooq", "yahoo")]
    assert vendors.rows(CHECKED) == agreeing
    assert vendors.rows(METRICS) == [(name, 3, 0) for name in ("alpha_vantage", "polygon", "stooq", "yahoo")]
    told = check(vendors)
    assert told.passed
    assert f"polygon and stooq: {held} of {held} sessions agree" in told.summary


def test_what_is_asked_for_a_comparison_never_serves_as_bars_and_is_not_asked_for_again(store):
    vendors = store()
    prices = vendors.prices()
    first = reconciled(vendors)
    calls = vendors.calls
    assert first.calls == 2
    again = reconciled(vendors, job_id="again")
    assert (again.calls, vendors.calls) == (0, calls)
    assert again.rows.equals(first.rows)
    assert vendors.prices() == prices
    ledger = vendors.rows("SELECT provider, outcome, verdict, job_id FROM coverage WHERE feed = 'overlap'")
    assert sorted(ledger) == [(name, "answered", None, "rec") for name in ("alpha_vantage", "stooq")]
    raw_store = RawStore(vendors.settings.raw_folder(synthetic=True))
    feeds = [stored.request.feed for stored in raw_store.stored() if stored.provider != "polygon"]
    assert feeds == ["overlap", "overlap"]


def test_an_answer_whose_process_died_before_it_was_noted_is_not_asked_for_again(store):
    vendors = store()
    first = reconciled(vendors)
    with Database(vendors.settings.database_for(synthetic=True)).writing() as connection:
        connection.execute("DELETE FROM coverage WHERE feed = 'overlap'")
        connection.execute("DELETE FROM reconciliations")
    again = reconciled(vendors, job_id="again")
    assert again.calls == 0
    assert again.rows.equals(first.rows)
    assert vendors.rows("SELECT count(*) FROM reconciliations") == [(len(first.rows),)]


def test_the_vendor_with_wrong_prices_is_the_odd_one_and_is_believed_less(store):
    fault = Fault("alpha_vantage", "hundredfold", value=5)
    vendors = store(faults=(fault,))
    done = reconciled(vendors)
    assert not done.is_good
    wrong = done.rows[done.rows["verdict"] == "price_differs"]
    assert 5 < len(wrong) < 25
    assert set(wrong["other_provider"]) == {"alpha_vantage"}
    assert set(wrong["odd_one"]) == {"alpha_vantage"}
    assert (wrong["other_value"] / wrong["value"]).round(2).eq(100).all()
    rows = vendors.rows("SELECT other_provider, count(*) FROM reconciliations WHERE odd_one IS NOT NULL GROUP BY 1")
    assert sorted(rows) == [("alpha_vantage", len(wrong)), ("stooq", len(wrong))]
    assert vendors.rows(METRICS) == [("alpha_vantage", 1, 1), ("polygon", 1, 0), ("stooq", 1, 0)]
    told = check(vendors)
    assert not told.passed
    assert told.failing == len(wrong)
    assert f"alpha_vantage stands alone in {len(wrong)} of {bars(vendors)}" in told.summary
    assert "by 9900.000% at most" in told.summary


def test_a_stored_bar_that_stands_alone_is_told_too(store):
    vendors = store()
    with Database(vendors.settings.database_for(synthetic=True)).writing() as connection, transaction(connection):
        connection.execute("UPDATE price_history_daily SET high = high * 1.2 WHERE day(date) < 9")
        connection.execute("DELETE FROM price_history_daily WHERE date = ?", [END])
    done = reconciled(vendors)
    odd = done.rows[done.rows["odd_one"] == "polygon"]
    assert set(odd["verdict"]) == {"price_differs"}
    assert set(odd["field"]) == {"high"}
    assert len(odd) == 2 * len({day for day in done.rows["date"] if day.day < 9})
    assert vendors.rows(METRICS) == [("alpha_vantage", 1, 0), ("polygon", 1, 1), ("stooq", 1, 0)]
    assert END not in {day.date() for day in done.rows["date"]}  # never asked for is not missing


def test_a_session_that_was_answered_without_a_bar_is_missing_from_one(store):
    vendors = store()
    with Database(vendors.settings.database_for(synthetic=True)).writing() as connection:
        connection.execute("DELETE FROM price_history_daily WHERE date = ?", [END])
        connection.execute("UPDATE data_quality_log SET verdict = 'missing' WHERE date = ?", [END])
    done = reconciled(vendors)
    missing = done.rows[done.rows["verdict"] == "one_missing"]
    assert missing[["provider", "other_provider", "field"]].to_numpy().tolist() == [
        ["polygon", "alpha_vantage", "close"],
        ["polygon", "stooq", "close"],
    ]
    assert missing["value"].isna().all()
    assert missing["other_value"].notna().all()
    assert set(missing["date"].dt.date) == {END}


def test_adjusted_bars_are_not_comparable_until_the_actions_are_known(store):
    vendors = store()
    with Database(vendors.settings.database_for(synthetic=True)).writing() as connection:
        connection.execute("DELETE FROM actions_told")
    done = reconciled(vendors)
    assert done.is_good
    assert vendors.rows(CHECKED) == [
        ("alpha_vantage", "agree", None, bars(vendors)),
        ("stooq", "not_comparable", None, bars(vendors)),
    ]
    assert [skipped.provider for skipped in done.skipped] == ["stooq"]
    assert "not every action since is known" in done.skipped[0].reason
    assert vendors.rows(METRICS)[1] == ("polygon", 0, 0)
    with Database(vendors.settings.database_for(synthetic=True)).writing() as connection:
        connection.execute("DELETE FROM corporate_actions")
    know_actions(vendors)
    again = reconciled(vendors, job_id="again")
    assert (again.calls, again.skipped) == (0, [])
    assert vendors.rows(CHECKED)[1] == ("stooq", "agree", None, bars(vendors))


def test_a_vendor_is_asked_only_while_it_has_calls_to_spare(store, tmp_path):
    file = tmp_path / "providers.yaml"
    file.write_text(PROVIDERS, encoding="utf-8")
    vendors = store(names=3, sandbox_providers=file)
    done = reconciled(vendors)
    asked = vendors.by_vendor()
    assert (asked["alpha_vantage"], asked["yahoo"]) == (2, 1)
    reasons = {(skipped.symbol, skipped.provider): skipped.reason for skipped in done.skipped}
    assert set(reasons) == {("QAC", "alpha_vantage"), ("QAB", "yahoo"), ("QAC", "yahoo")}
    assert reasons["QAC", "alpha_vantage"] == "only 1 of the 3 calls of the month are left"
    assert all(reasons[symbol, "yahoo"].startswith("its rate allows the next call in") for symbol in ("QAB", "QAC"))


def test_a_vendor_that_fails_is_noted_and_the_next_one_is_asked(store):
    vendors = store(faults=(Fault("alpha_vantage", "server_error"),))
    done = reconciled(vendors)
    assert {row[0] for row in vendors.rows(CHECKED)} == {"stooq", "yahoo"}
    assert [(skipped.provider, "503" in skipped.reason) for skipped in done.skipped] == [("alpha_vantage", True)]
    failed = vendors.rows("SELECT provider, feed, error, job_id FROM coverage WHERE outcome = 'failed'")
    assert failed == [("alpha_vantage", "overlap", "Transient", "rec")]


def test_the_sample_of_a_day_is_the_same_again_and_other_days_have_others(store):
    vendors = store(reconcile_vendors=1)
    first = reconciled(vendors, symbols=None, share=0.2)
    assert len(first.symbols) == 2
    again = reconciled(vendors, symbols=None, share=0.2)
    assert (again.symbols, again.calls) == (first.symbols, 0)
    vendors.now += timedelta(days=1)
    other = reconciled(vendors, symbols=None, share=0.001).symbols
    assert len(other) == 1
    vendors.now += timedelta(days=1)
    assert reconciled(vendors, symbols=None, share=0.001).symbols != other


def test_what_was_compared_can_be_derived_again_from_the_stored_answers_alone(store):
    everything = "SELECT * EXCLUDE (compared_at) FROM reconciliations ORDER BY ALL"
    vendors = store(faults=(Fault("alpha_vantage", "hundredfold", value=5),))
    reconciled(vendors)
    before, calls = vendors.rows(everything), vendors.calls
    database = Database(vendors.settings.database_for(synthetic=True))
    raw_store = RawStore(vendors.settings.raw_folder(synthetic=True))
    with database.writing() as connection:
        connection.execute("DELETE FROM reconciliations")
        assert compare_stored(connection, raw_store, vendors.universe, vendors.settings, now=vendors.now) == 1
    assert len(before) == 2 * bars(vendors)
    assert vendors.rows(everything) == before
    assert vendors.calls == calls


def test_no_store_no_raw_bars_and_a_source_without_vendors_are_told(store, template, tmp_path):
    vendors = Vendors(tmp_path / "empty", NAMES[:1], url=template.sandbox.url)
    with pytest.raises(WarehouseError, match="no database yet"):
        reconciled(vendors)
    vendors = store()
    none = reconciled(vendors, start=date(2024, 1, 6), end=date(2024, 1, 7))
    assert (none.symbols, none.is_good) == ([], True)
    assert none.skipped[0].reason == "no raw bars are stored"
    assert check(vendors).summary == "nothing compared"
    with vendors.source() as source, pytest.raises(SettingsError, match="has no vendors to compare with"):
        reconciled(vendors, replace(source, arms=()))
    with pytest.raises(SettingsError, match="start 2024-03-28 is after end 2024-01-02"):
        reconciled(vendors, start=END, end=START)
