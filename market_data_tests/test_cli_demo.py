"""`market-data demo`: the synthetic market is loaded, its planted faults are found, and everything says what it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from market_data_tests.archives import END, START, write_archive

SYMBOLS = [f"Q{first}{second}" for first in "ABCDEFGHIJ" for second in "ABCDEF"]
MAIN = [sys.executable, "-c", "from market_data.cli import main; main()", "demo"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    lines = "".join(f"{symbol},2020-01-02\n" for symbol in [*SYMBOLS, "AAA", "BBB"])
    (tmp_path / "universe.csv").write_text(f"symbol,listed_by\n{lines}", encoding="utf-8")
    monkeypatch.setenv("MARKET_DATA_UNIVERSE", "universe.csv")
    monkeypatch.setenv("MARKET_DATA_WINDOW_START", START.isoformat())
    monkeypatch.setenv("MARKET_DATA_WINDOW_END", END.isoformat())
    return tmp_path


@pytest.mark.long
def test_every_planted_fault_is_found_without_a_false_alarm_and_all_is_labelled_synthetic(folder: Path) -> None:
    done = subprocess.run(MAIN, capture_output=True, text=True, check=False, timeout=120)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "recall 1.000" in done.stdout
    assert " 0 false alarms" in done.stdout.replace("\n", " ")
    assert done.stdout.count("SYNTHETIC") >= 3
    report = json.loads((folder / "runtime" / "reports" / "recall_synthetic.json").read_text(encoding="utf-8"))
    assert (report["synthetic"], report["recall"], report["missed"], report["false_alarms"]) == (True, 1.0, [], [])
    assert sum(row["planted"] for row in report["by_rule"]) > 50
    with duckdb.connect(str(folder / "runtime" / "synthetic.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT synthetic FROM store_kind").fetchall() == [(True,)]
        outcomes = dict(connection.execute("SELECT outcome, count(*) FROM ingestion_audit GROUP BY 1").fetchall())
        providers = connection.execute("SELECT DISTINCT source_provider FROM price_history_daily").fetchall()
    assert outcomes == {"accepted": len(SYMBOLS) + 2 - 3, "rejected": 3}
    assert {name for (name,) in providers} <= {"polygon", "alpha_vantage", "stooq", "yahoo"}
    assert len(providers) >= 3
    assert not (folder / "runtime" / "market_data.duckdb").exists()

    again = subprocess.run(MAIN, capture_output=True, text=True, check=False, timeout=120)
    assert again.returncode == 0
    assert "recall 1.000" in again.stdout


@pytest.mark.long
def test_a_real_archive_is_loaded_without_a_word_of_synthetic_data(folder: Path) -> None:
    write_archive(folder / "archive", ["AAA", "BBB"])

    done = subprocess.run([*MAIN, "--archive", "archive"], capture_output=True, text=True, check=False, timeout=120)

    assert done.returncode == 0
    assert "SYNTHETIC" not in done.stdout + done.stderr
    assert "held now: 248 bars, 2 symbols, 124 sessions" in done.stdout
    assert not (folder / "runtime" / "synthetic.duckdb").exists()
