"""`market-data reconcile` as people and scripts use it: options, tables, JSON, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from market_data.cli.reconcile import reconcile
from market_data.errors import SettingsError
from market_data.sandbox.faults import Fault
from market_data.warehouse.connection import Database
from market_data_tests.reconciling import filled, know_actions
from market_data_tests.vendors import END, START, Vendors, symbols

NAMES = symbols(2)


@pytest.fixture(scope="module")
def vendors(tmp_path_factory):
    with Vendors(tmp_path_factory.mktemp("cli") / "runtime", NAMES, reconcile_vendors=2) as made:
        filled(made)
        know_actions(made)
        with Database(made.settings.database_for(synthetic=True)).writing() as connection:
            connection.execute("UPDATE actions_told SET last_date = DATE '2100-01-01'")
        yield made


@pytest.fixture(autouse=True)
def _surroundings(vendors: Vendors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["symbol,listed_by", *(f"{name},2020-01-02" for name in NAMES)]
    (tmp_path / "universe.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    monkeypatch.setenv("MARKET_DATA_UNIVERSE", "universe.csv")
    monkeypatch.setenv("MARKET_DATA_RUNTIME", str(vendors.settings.runtime))
    monkeypatch.setenv("MARKET_DATA_SANDBOX_URL", vendors.sandbox.url)
    monkeypatch.setenv("MARKET_DATA_WINDOW_START", START.isoformat())
    monkeypatch.setenv("MARKET_DATA_WINDOW_END", END.isoformat())
    monkeypatch.setenv("COLUMNS", "200")


def market_data_reconcile(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(reconcile)
    return CliRunner().invoke(app, arguments)


def test_a_sample_that_agrees_is_told_by_pair_with_exit_code_0():
    done = market_data_reconcile("--sample", "0.5", "--end", "2024-02-15")
    assert done.exit_code == 0, done.output
    assert "1 symbols compared, by 2 calls" in done.stdout
    assert "SYNTHETIC" in done.stdout
    assert [name for name in ("polygon", "alpha_vantage", "stooq") if name not in done.stdout] == []
    assert "stands alone in" not in done.stdout


def test_differences_are_told_with_exit_code_1_by_vendor_and_row(vendors):
    with Database(vendors.settings.database_for(synthetic=True)).writing() as connection:
        connection.execute(
            "UPDATE price_history_daily SET volume = volume * 2 WHERE symbol = ? AND day(date) = 2", ["QAB"]
        )
    vendors.sandbox.replace_faults([Fault("alpha_vantage", "hundredfold", value=5, symbols=frozenset({"QAA"}))])
    done = market_data_reconcile("--symbols", "QAA,QAB", "--json", "--provider", "sandbox")
    assert done.exit_code == 1, done.output
    told = json.loads(done.stdout)
    assert (told["symbols"], told["synthetic"], told["good"], told["skipped"]) == (NAMES, True, False, [])
    pairs = {pair["other_provider"]: pair for pair in told["pairs"]}
    assert pairs["alpha_vantage"]["price_differs"] == told["odd"]["alpha_vantage"]["odd"] > 3
    assert pairs["alpha_vantage"]["largest"] == pytest.approx(99, rel=0.01)
    assert pairs["stooq"]["price_differs"] == told["odd"]["stooq"]["odd"] == 0
    assert pairs["stooq"]["volume_differs"] == pairs["alpha_vantage"]["volume_differs"] > 0
    assert len(told["differing"]) == 10
    first = told["differing"][0]
    assert (first["symbol"], first["verdict"], first["odd_one"]) == ("QAA", "price_differs", "alpha_vantage")
    assert first["date"].startswith("2024-")
    assert first["other_value"] == pytest.approx(100 * first["value"], rel=0.001)
    shown = market_data_reconcile("--symbols", "QAA,QAB")
    assert shown.exit_code == 1
    assert "by 0 calls" in shown.stdout
    assert "alpha_vantage stands alone in" in shown.stdout
    assert "The largest 10 of" in shown.stdout


def test_what_was_left_out_for_want_of_spare_calls_is_told(vendors, tmp_path, monkeypatch):
    text = "alpha_vantage: {priority: 2, tier: t, base_url: '{sandbox}/alpha_vantage', basis: raw, tiers: {t: LIMIT}}"
    (tmp_path / "providers.yaml").write_text(text.replace("LIMIT", "{daily_limit: 1}"), encoding="utf-8")
    monkeypatch.setenv("MARKET_DATA_SANDBOX_PROVIDERS", "providers.yaml")
    vendors.sandbox.replace_faults(())
    done = market_data_reconcile("--symbols", "all", "--start", "2023-12-15")
    assert "by 1 calls" in done.stdout
    assert "QAB: alpha_vantage: only 0 of the 1 calls of the day are left" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sample", "2"], "reconcile_share"),
        (["--start", "2024-03-01", "--end", "2024-02-01"], "start must not be later"),
    ],
)
def test_bad_input_is_refused(arguments, said):
    done = market_data_reconcile(*arguments)
    assert isinstance(done.exception, SettingsError)
    assert said in str(done.exception)
