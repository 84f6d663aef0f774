"""`market-data feedback` and `market-data slippage`: what they print, and their exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from market_data.cli.feedback import feedback, slippage
from market_data.warehouse.connection import Database
from market_data_tests.executions import DAY, as_csv, as_jsonl, execution
from market_data_tests.stored_prices import put_bar

app = typer.Typer()
app.command()(feedback)
app.command()(slippage)


@pytest.fixture(autouse=True)
def _real_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "universe.csv").write_text("symbol\nAAPL\n")
    for name, value in {"UNIVERSE": "universe.csv", "SOURCE": "stooq_bulk"}.items():
        monkeypatch.setenv(f"MARKET_DATA_{name}", value)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_a_file_is_taken_and_a_bad_line_is_told_by_text_document_and_exit_code() -> None:
    Path("a.csv").write_bytes(as_csv(execution(algo="vwap"), execution("o2", side="hold")))
    tried = run("feedback", "a.csv", "--dry-run")
    assert not Path("runtime/market_data.duckdb").exists()
    done = run("feedback", "a.csv")
    again = run("feedback", "a.csv", "--json")

    assert (tried.exit_code, done.exit_code, again.exit_code) == (1, 1, 1)
    assert "dry run, nothing is changed" in tried.stdout
    assert "a.csv: line 3: side: hold is not buy or sell" in tried.stdout
    assert "rejected lines are in a.csv.rejected.jsonl" in done.stdout
    assert "a.csv: ignored columns: algo" in done.stdout
    document = json.loads(again.stdout)
    [told] = document["files"]
    assert (document["synthetic"], document["dry_run"], told["known"], told["rejected"]) == (False, False, True, 1)
    assert told["rejects"][0]["line"] == 3


def test_good_files_end_with_0_and_one_taken_before_says_so() -> None:
    Path("a.jsonl").write_bytes(as_jsonl(execution()))

    assert run("feedback", "a.jsonl").exit_code == 0
    again = run("feedback", "a.jsonl")

    assert again.exit_code == 0
    assert "a.jsonl: was taken before; nothing is new" in again.stdout


def test_the_cost_is_told_by_session() -> None:
    Path("a.jsonl").write_bytes(as_jsonl(execution()))
    run("feedback", "a.jsonl")
    with Database(Path("runtime/market_data.duckdb")).writing() as connection:
        put_bar(connection, "AAPL", DAY, 10.0)

    text, document = run("slippage"), json.loads(run("slippage", "--json").stdout)

    assert (text.exit_code, "500.0" in text.stdout) == (0, True)
    assert document["sessions"][0] | {"decision_bp": None} == document["sessions"][0]
    assert (document["sessions"][0]["session"], document["sessions"][0]["close_bp"]) == (DAY, 500.0)
    assert (document["orders"], document["rows"]) == (1, {"inserted": 0, "updated": 0, "unchanged": 1})
