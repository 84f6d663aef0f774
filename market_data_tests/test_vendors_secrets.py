"""A key is in the environment and on the wire, and nowhere else: not in Dagster's records, files, logs or reports."""

from __future__ import annotations

import json
from pathlib import Path

import dagster as dg
import pytest

from market_data_tests.forked import market_data
from market_data_tests.test_dagster_checks import DAYS, SYMBOLS, Project
from market_data_tests.test_vendors_backfill import everything_written
from market_data_tests.vendors import VENDORS, Vendors, symbols

pytestmark = pytest.mark.filterwarnings("ignore:Parameter .backfill_policy.:dagster.BetaWarning")

KEYS = {
    "POLYGON_API_KEY": "POLYGONsecret0123456789abcdef",
    "ALPHA_VANTAGE_API_KEY": "ALPHAVANTAGEsecret01",
    "STOOQ_API_KEY": "STOOQsecret0123456789",
}


def providers_file(folder: Path, url: str) -> Path:
    """A providers file of real vendors, each at an address on loopback."""
    wanted = dict(zip(("polygon", "alpha_vantage", "stooq"), KEYS, strict=True))
    lines = []
    for priority, vendor in enumerate(VENDORS, start=1):
        variable = f"  key_variable: {wanted[vendor]}\n" if vendor in wanted else ""
        lines.append(
            f"{vendor}:\n  priority: {priority}\n  tier: free\n  base_url: {url}/{vendor}\n{variable}  basis: raw\n"
            "  tiers: {free: {}}\n"
        )
    file = folder / "providers.yaml"
    file.write_text("".join(lines), encoding="utf-8")
    return file


def test_keys_are_sent_and_found_in_nothing_a_dagster_run_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    keys = {"polygon": [KEYS["POLYGON_API_KEY"]], "stooq": [KEYS["STOOQ_API_KEY"]]}
    with Vendors(tmp_path / "unused", SYMBOLS, keys=keys) as vendors:
        providers = providers_file(tmp_path, vendors.sandbox.url)
        with Project(tmp_path, archive="", source="vendors", providers=str(providers), retry_wait="0") as project:
            result = project.run(DAYS[0], assets=["raw_bars"])

            # What says that it is synthetic is not taken for real, whoever asked for it.
            assert not result.success
            assert vendors.sandbox.calls.total() > 0
            assert ("polygon", "unauthorized") not in vendors.sandbox.answered
            events = [dg.serialize_value(entry) for entry in project.instance.all_logs(result.run_id)]
    assert any("real and synthetic" in event for event in events)
    left = "\n".join(events) + "".join(capfd.readouterr())
    written = everything_written(tmp_path)
    for key in KEYS.values():
        assert key not in left
        assert [name for name, content in written.items() if key.encode() in content] == []


def test_commands_show_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MARKET_DATA_WINDOW_START", "2024-01-02")
    monkeypatch.setenv("MARKET_DATA_WINDOW_END", "2024-01-12")
    with Vendors(tmp_path / "unused", symbols(2)) as vendors:
        monkeypatch.setenv("MARKET_DATA_PROVIDERS", str(providers_file(tmp_path, vendors.sandbox.url)))
        monkeypatch.setenv("MARKET_DATA_RETRY_WAIT", "0")
        for arguments in (
            ["backfill", "--provider", "vendors", "--symbols", "AAPL", "--json"],
            ["quota", "--json"],
            ["explain", "AAPL", "2024-01-03", "--json"],
        ):
            done = market_data(*arguments)
            assert done.stdout, done.stderr
            json.loads(done.stdout)
            for key in KEYS.values():
                assert key not in done.stdout + done.stderr
