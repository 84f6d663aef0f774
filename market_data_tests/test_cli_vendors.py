"""`market-data quota`, `explain` and `actions`: what a person at the command line is told of vendors and decisions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from market_data.ingest.actions import fetch_actions
from market_data.sandbox.faults import Fault
from market_data.selection.quota import Closure, QuotaLedger
from market_data_tests.forked import market_data
from market_data_tests.vendors import END, START, VENDORS, Vendors, symbols

pytestmark = pytest.mark.long


def told(*arguments: str) -> dict:
    done = market_data(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def vendors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vendors]:
    """A running sandbox that the commands are pointed at; polygon's batches are refused."""
    names = symbols(30)
    lines = "".join(f"{name},2020-01-02\n" for name in names)
    (tmp_path / "universe.csv").write_text(f"symbol,listed_by\n{lines}", encoding="utf-8")
    with Vendors(tmp_path / "runtime", names, faults=[Fault("polygon", "server_error", last=5)]) as running:
        for name, value in {
            "UNIVERSE": "universe.csv",
            "WINDOW_START": START.isoformat(),
            "WINDOW_END": END.isoformat(),
            "SANDBOX_URL": running.sandbox.url,
            "RETRY_WAIT": "0",
        }.items():
            monkeypatch.setenv(f"MARKET_DATA_{name}", value)
        yield running


def test_quota_tells_what_was_sent_and_what_is_left_of_each_vendor(vendors: Vendors) -> None:
    done = market_data("backfill")
    assert done.returncode == 0
    assert "retry" not in done.stderr

    document = told("quota", "--provider", "sandbox")

    assert document["synthetic"] is True
    used = {item["provider"]: item["quotas"][0]["used"] for item in document["vendors"]}
    assert used == vendors.by_vendor()
    for item in document["vendors"]:
        (state,) = item["quotas"]
        assert state["left"] == state["limit"] - state["used"]
        assert datetime.fromisoformat(state["resets_at"]) > datetime.now(UTC)
        assert datetime.fromisoformat(item["next_call_at"])
    table = market_data("quota", "--provider", "sandbox").stdout
    assert "SYNTHETIC" in table
    assert all(vendor in table for vendor in VENDORS)
    assert told("quota")["vendors"][0]["quotas"][0]["used"] == 0


def test_quota_names_the_variable_of_a_missing_key_and_writes_nothing(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("POLYGON_API_KEY", "")
    monkeypatch.setenv("ALPHA_VANTAGE_API_KEY", "AKEYOFALPHA1")
    document = told("quota")
    keys = {item["provider"]: (item["key"], item["next_call_at"] is None) for item in document["vendors"]}
    assert keys == {
        "polygon": ("missing", True),
        "alpha_vantage": ("set", False),
        "stooq": ("not needed", False),
        "yahoo": ("not needed", False),
    }
    assert "polygon has no key: set POLYGON_API_KEY" in market_data("quota").stdout
    assert list(tmp_path.iterdir()) == []


def test_a_closed_vendor_is_shown_with_its_reason_and_can_be_reopened(tmp_path: Path) -> None:
    until = datetime(2040, 1, 2, 3, tzinfo=UTC)
    QuotaLedger(Path("runtime/calls.sqlite")).close("stooq", Closure(until, "NotEntitled", "a browser check"))
    stooq = told("quota")["vendors"][2]
    assert (stooq["closed_until"], stooq["closed_because"]) == (until.isoformat(), "NotEntitled: a browser check")
    assert stooq["next_call_at"] == until.isoformat()
    shown = market_data("quota").stdout.replace("\n", " ")
    assert "stooq is left alone until 2040-01-02 03:00:00 UTC: NotEntitled: a browser check" in shown
    assert told("quota", "--reopen", "stooq")["vendors"][2]["closed_until"] is None
    refused = market_data("quota", "--reopen", "bloomberg")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "'bloomberg' is not a vendor in use; they are polygon, alpha_vantage, stooq, yahoo" in refused.stderr


def test_explain_tells_who_was_masked_and_why_who_was_drawn_and_what_it_answered(vendors: Vendors) -> None:
    market_data("backfill", "--symbols", ",".join(vendors.names[:12]))
    asked_twice = next(
        symbol
        for symbol in vendors.names[:12]
        if ("polygon", symbol) in vendors.sandbox.calls and symbol not in vendors.refused
    )
    document = told("explain", asked_twice.lower(), "2024-02-01")

    assert (document["symbol"], document["date"], document["synthetic"]) == (asked_twice, "2024-02-01", True)
    [record] = document["decisions"]
    last = record["decision"][-1]
    assert (record["outcome"], last["answer"]) == ("accepted", "accepted")
    assert document["bar"]["source_provider"] == last["provider"]
    considered = {item["provider"]: item for item in record["decision"][0]["considered"]}
    assert set(considered) == set(VENDORS)
    assert all({"alpha", "beta", "draw", "value"} <= set(item) for item in considered.values())
    [answered] = [row for row in document["requests"] if row["verdict"] == "accepted"]
    assert answered["raw_hash"] == document["bar"]["raw_hash"]
    failed = market_data("explain", asked_twice, "2024-02-01").stdout
    assert "SYNTHETIC" in failed
    assert f"{last['provider']}, {last['calls']} call" in failed
    assert "  >  " in failed


def test_explain_says_so_where_nothing_is_known(vendors: Vendors) -> None:
    nowhere = market_data("explain", "QAA", "2024-02-01")
    assert (nowhere.returncode, nowhere.stdout) == (2, "")
    assert "nothing is known of QAA on 2024-02-01 in any database, for there is none yet" in nowhere.stderr
    market_data("backfill", "--symbols", "QAA")
    weekend = market_data("explain", "QAB", "2024-02-03")
    assert (
        "nothing is known of QAB on 2024-02-03 in runtime/synthetic.duckdb; 2024-02-03 is no session" in weekend.stderr
    )
    assert "ZZZZ is not in the universe" in market_data("explain", "ZZZZ", "2024-02-01").stderr


def test_a_known_split_is_no_finding_in_raw_bars(tmp_path: Path) -> None:
    names = symbols(600)
    with Vendors(tmp_path / "runtime", names) as vendors:
        actions = {name: vendors.sandbox.market.actions(name) for name in names}
        split = [name for name in names if (actions[name]["kind"] == "split").any()]
        down = [Fault(vendor, "server_error", value=501) for vendor in ("alpha_vantage", "stooq", "yahoo")]
        vendors.sandbox.replace_faults(down)
        vendors.run("unknown", names=split)
        found = "SELECT DISTINCT symbol FROM quality_findings WHERE rule = 'log_return'"
        planted = {defect.symbol for defect in vendors.sandbox.manifest.defects if defect.rule == "log_return"}
        assert {name for (name,) in vendors.rows(found)} >= set(split) - planted
    with Vendors(tmp_path / "other", names) as vendors, vendors.source() as source:
        vendors.sandbox.replace_faults(down)
        fetch_actions(
            vendors.settings,
            vendors.universe,
            source,
            symbols=split,
            job_id="splits",
            dividends=False,
            clock=lambda: vendors.now,
        )
        vendors.run("known", names=split)
        assert {name for (name,) in vendors.rows(found)} <= planted


def test_actions_are_fetched_by_the_command_and_refused_where_nobody_feeds_them(vendors: Vendors) -> None:
    vendors.sandbox.replace_faults([])
    document = told("actions", "fetch", "--no-dividends")
    assert (document["calls"], document["synthetic"], document["failed"]) == (1, True, {})
    assert told("splits")["calls"] == 0
    document = told("actions", "fetch", "--symbols", "QAA,QAB")
    assert (document["calls"], document["failed"]) == (2, {})
    assert vendors.by_vendor()["polygon"] == vendors.calls == 3
    refused = market_data("actions", "fetch", "--provider", "stooq")
    assert refused.returncode == 2
    assert "corporate actions come from polygon, alpha_vantage, yahoo, of which none is in use" in refused.stderr
