"""A backfill over four vendors with faults: everything accepted or explained, no quota exceeded, no call too many."""

from __future__ import annotations

import json
import logging
from collections import Counter
from pathlib import Path

import duckdb
import pytest
import zstandard

from market_data.ingest.backfill import Summary
from market_data.records import Outcome
from market_data.sandbox.faults import Fault, Limit
from market_data.selection.quota import QuotaLedger
from market_data_tests.vendors import SESSIONS, VENDORS, Vendors, symbols

FAULTS = (
    Fault("polygon", "rate_limit", first=5, last=12, value=0),
    Fault("polygon", "server_error", share=0.05),
    Fault("polygon", "cut_window", share=0.04, value=20),
    Fault("alpha_vantage", "quota", value=25),
    Fault("alpha_vantage", "hundredfold", share=0.1, value=9),
    Fault("stooq", "html", share=0.06),
    Fault("stooq", "cut_response", share=0.04),
    Fault("stooq", "access_check", first=60),
    Fault("yahoo", "outage", first=20, last=40),
    Fault("yahoo", "wrong_content_type", share=0.1),
    Fault("yahoo", "slow", share=0.05, value=0.02),
)
PROVIDERS = """
polygon:
  priority: 1
  tier: small
  base_url: "{sandbox}/polygon"
  key_variable: TEST_POLYGON_KEY
  needs_key: true
  basis: raw
  cooldown_seconds: 1
  tiers: {small: {monthly_limit: 120}}
alpha_vantage:
  priority: 2
  tier: small
  base_url: "{sandbox}/alpha_vantage"
  key_variable: TEST_ALPHA_KEY
  needs_key: true
  basis: raw
  tiers: {small: {daily_limit: 40, monthly_limit: 25000}}
stooq:
  priority: 3
  tier: small
  base_url: "{sandbox}/stooq"
  key_variable: TEST_STOOQ_KEY
  basis: split_dividend
  tiers: {small: {daily_limit: 90}}
yahoo:
  priority: 4
  tier: small
  base_url: "{sandbox}/yahoo"
  basis: split
  cooldown_seconds: 1
  tiers: {small: {monthly_limit: 200000}}
"""
KEYS = {
    "polygon": "POLYGONsecret0123456789abcdef",
    "alpha_vantage": "ALPHAVANTAGEsecret01",
    "stooq": "STOOQsecret0123456789",
}
VARIABLES = {"polygon": "TEST_POLYGON_KEY", "alpha_vantage": "TEST_ALPHA_KEY", "stooq": "TEST_STOOQ_KEY"}


@pytest.fixture
def tight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A providers file with tight quotas, and the keys it wants in the environment."""
    for vendor, variable in VARIABLES.items():
        monkeypatch.setenv(variable, KEYS[vendor])
    file = tmp_path / "providers.yaml"
    file.write_text(PROVIDERS, encoding="utf-8")
    return file


def everything_written(folder: Path) -> dict[str, bytes]:
    """Every file below a folder; payloads as they were before compression."""
    written = {}
    for file in folder.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            if file.suffix == ".zst":
                content += zstandard.ZstdDecompressor().decompress(content, max_output_size=1 << 27)
            written[str(file.relative_to(folder))] = content
    return written


def not_accepted(summary: Summary) -> set[str]:
    return {record.symbol for record in summary.records if record.outcome is not Outcome.ACCEPTED}


@pytest.mark.long
def test_249_symbols_with_faults_on_are_accepted_or_explained_within_every_quota_and_without_a_secret(
    tmp_path: Path, tight: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    names = symbols(249)
    keys = {vendor: [key] for vendor, key in KEYS.items()}
    with Vendors(tmp_path / "runtime", names, faults=FAULTS, sandbox_providers=tight, keys=keys) as vendors:
        summary = vendors.run()

        outcomes = Counter(record.outcome for record in summary.records)
        assert sorted(record.symbol for record in summary.records) == names
        explained = {
            record.symbol: record.reason for record in summary.records if record.outcome is not Outcome.ACCEPTED
        }
        assert all(explained.values())
        assert set(explained) == vendors.refused

        # Nothing is sent but the first call for each symbol, and those after a call that was of no use.
        ((useless,),) = vendors.rows(
            "SELECT sum(attempts) - count(*) FILTER (verdict = 'accepted') FROM coverage WHERE feed = 'bars'"
        )
        assert vendors.calls == outcomes[Outcome.ACCEPTED] + useless
        assert max(vendors.sandbox.calls.values()) <= 5
        sent = vendors.by_vendor()
        assert all(sent.values())
        assert sent["polygon"] <= 120
        assert sent["alpha_vantage"] <= 40
        assert sent["stooq"] <= 90

        # What is counted is what was sent, vendor by vendor.
        with vendors.source() as source:
            ledger = QuotaLedger(vendors.settings.calls_file(synthetic=True), clock=lambda: vendors.now)
            standing = ledger.standing(*(arm.config for arm in source.arms))
        for vendor in VENDORS:
            assert {state.used for state in standing[vendor].quotas} == {sent[vendor]}

        # Each row has its payload, and the ledger its answers.
        assert vendors.rows(
            "SELECT count(*), count(DISTINCT raw_hash) FROM ingestion_audit WHERE outcome = 'accepted'"
        ) == [(outcomes[Outcome.ACCEPTED], outcomes[Outcome.ACCEPTED])]
        assert vendors.rows("SELECT count(*) FROM price_history_daily ANTI JOIN coverage USING (raw_hash)") == [(0,)]

    written = everything_written(tmp_path / "runtime")
    assert len([name for name in written if name.endswith(".zst")]) > 249
    logged = caplog.text + repr([vars(record) for record in caplog.records]) + "".join(capfd.readouterr())
    for key in KEYS.values():
        assert key not in logged
        assert [name for name, content in written.items() if key.encode() in content] == []
    assert "REDACTED" in logged + repr(written)


def test_a_second_run_asks_only_for_what_was_not_accepted(tmp_path: Path, tight: Path) -> None:
    faults = [Fault("polygon", "outage"), Fault("yahoo", "server_error"), Fault("stooq", "html", share=0.5)]
    with Vendors(tmp_path / "runtime", symbols(20), faults=faults, sandbox_providers=tight) as vendors:
        first = vendors.run("first")
        accepted = {record.symbol for record in first.records if record.outcome is Outcome.ACCEPTED}
        assert accepted
        vendors.sandbox.replace_faults([])
        vendors.sandbox.reset()
        vendors.now = vendors.now.replace(day=2)
        second = vendors.run("second")

        assert second.is_good
        assert {symbol for _, symbol in vendors.sandbox.calls} == set(vendors.names) - accepted
        assert vendors.rows("SELECT count(*) FROM price_history_daily")[0][0] >= 19 * SESSIONS


def test_a_batch_that_is_refused_is_asked_of_the_next_vendor_and_the_decision_tells_both(tmp_path: Path) -> None:
    wrong = Fault("polygon", "hundredfold", value=3)
    with Vendors(tmp_path / "runtime", symbols(12), faults=[wrong], min_data_quality=0.95) as vendors:
        summary = vendors.run()

        assert summary.is_good
        assert vendors.rows("SELECT count(*) FROM price_history_daily WHERE source_provider = 'polygon'") == [(0,)]
        refused = vendors.rows("SELECT symbol, provider FROM coverage WHERE verdict = 'rejected'")
        assert refused
        for symbol, provider in refused:
            ((decision, calls),) = vendors.rows(
                "SELECT decision, calls FROM ingestion_audit WHERE symbol = ?", [symbol]
            )
            steps = json.loads(decision)
            assert (steps[0]["provider"], provider, calls) == ("polygon", "polygon", 2)
            assert steps[0]["answer"].startswith("rejected: ")
            assert steps[1]["answer"] == "accepted"
            drawn = {item["provider"]: item for item in steps[1]["considered"]}
            assert drawn["polygon"]["masked"] == "tried before"
            free = [item for item in drawn.values() if "value" in item and "masked" not in item]
            best = max(free, key=lambda item: item["value"])
            assert best["provider"] == steps[1]["provider"]


@pytest.mark.long
def test_a_vendor_that_is_down_is_left_alone_after_a_few_symbols(tmp_path: Path) -> None:
    down = [Fault(vendor, "server_error") for vendor in ("polygon", "alpha_vantage", "stooq")]
    with Vendors(tmp_path / "runtime", symbols(60), faults=down, concurrency=2) as vendors:
        summary = vendors.run()

        assert not_accepted(summary) == vendors.refused
        sent = vendors.by_vendor()
        assert sent["yahoo"] == 60
        # 3 failures in a row of 5 calls each open the circuit; one more symbol may be under way then.
        assert all(5 <= sent[vendor] <= 20 for vendor in ("polygon", "alpha_vantage", "stooq"))


@pytest.mark.long
def test_an_answer_of_a_spent_quota_closes_the_vendor_until_its_next_day(tmp_path: Path) -> None:
    spent = [
        Fault("alpha_vantage", "quota", value=3),
        *(Fault(name, "outage") for name in ("polygon", "stooq", "yahoo")),
    ]
    with Vendors(tmp_path / "runtime", symbols(12), faults=spent, concurrency=1) as vendors:
        first = vendors.run("first")

        assert Counter(record.outcome for record in first.records)[Outcome.ACCEPTED] == 3
        assert vendors.by_vendor()["alpha_vantage"] == 4
        reasons = {record.reason for record in first.records if record.outcome is Outcome.FAILED}
        assert any("alpha_vantage left alone until 2024-04-02 04:00:00 UTC" in str(reason) for reason in reasons)
        vendors.sandbox.replace_faults([])
        vendors.now = vendors.now.replace(day=2, hour=4)
        assert vendors.run("second").is_good
        assert vendors.by_vendor()["alpha_vantage"] > 4


@pytest.mark.long
def test_a_vendors_own_rate_limit_is_not_hammered(tmp_path: Path) -> None:
    limits = [Limit("polygon", 10, 60.0)]
    with Vendors(tmp_path / "runtime", symbols(60), limits=limits, concurrency=2) as vendors:
        assert not_accepted(vendors.run()) == vendors.refused
        assert vendors.by_vendor()["polygon"] <= 10 + 2 * 5
        assert vendors.calls <= 60 + 3 * len(vendors.refused) + 2 * 5


def test_calls_of_a_process_that_died_are_in_the_metrics_the_next_job_begins_with(tmp_path: Path) -> None:
    with Vendors(tmp_path / "runtime", symbols(6)) as vendors:
        vendors.run("first", names=vendors.names[:4])
        with duckdb.connect(str(vendors.settings.database_for(synthetic=True))) as connection:
            told = connection.execute("FROM provider_metrics ORDER BY ALL").fetchall()
            connection.execute("DELETE FROM provider_metrics")
        vendors.now = vendors.now.replace(day=3)
        vendors.run("second", names=vendors.names[4:])
        assert [row for row in vendors.rows("FROM provider_metrics ORDER BY ALL") if row in told] == told
