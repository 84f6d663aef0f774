"""`market-data backfill` as people and scripts use it: options, tables, JSON, exit codes, kills and Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from market_data_tests.archives import END, SESSIONS, START, bars, put_file, write_archive
from market_data_tests.forked import market_data, started

UNIVERSE = "symbol,listed_by,previous_symbols\n" + "".join(f"{name},2020-01-02,\n" for name in ("AAA", "BBB", "CCC"))
MAIN = [sys.executable, "-c", "from market_data.cli import main; main()"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with an archive and settings for the small window."""
    (tmp_path / "universe.csv").write_text(UNIVERSE, encoding="utf-8")
    write_archive(tmp_path / "archive", ["AAA", "BBB"])
    monkeypatch.setenv("MARKET_DATA_UNIVERSE", "universe.csv")
    monkeypatch.setenv("MARKET_DATA_WINDOW_START", START.isoformat())
    monkeypatch.setenv("MARKET_DATA_WINDOW_END", END.isoformat())
    return tmp_path


def bars_held(folder: Path) -> dict[str, int]:
    with duckdb.connect(str(folder / "runtime" / "market_data.duckdb"), read_only=True) as connection:
        return dict(connection.execute("SELECT symbol, count(*) FROM price_history_daily GROUP BY symbol").fetchall())


def test_an_archive_is_loaded_and_what_it_lacks_is_named_once(folder: Path) -> None:
    done = market_data("backfill", "--archive", "archive", "--job-id", "first")

    assert done.returncode == 0, done.stderr
    assert bars_held(folder) == {"AAA": SESSIONS, "BBB": SESSIONS}
    assert done.stderr.count("CCC") == 1
    assert "not in the archive, left out: CCC" in done.stderr
    assert "accepted" in done.stdout
    assert f"{2 * SESSIONS:,}" in done.stdout
    assert (folder / "runtime" / "audit" / "backfill_first.jsonl").read_text(encoding="utf-8").count("\n") == 2


def test_json_is_one_document_and_status_reads_the_audit(folder: Path) -> None:
    done = market_data("backfill", "--archive", "archive", "--job-id", "first", "--json")

    document = json.loads(done.stdout)
    assert document["outcomes"] == {"accepted": 2}
    assert document["rows"] == 2 * SESSIONS
    assert document["lacking"] == ["CCC"]
    assert [record["symbol"] for record in sorted(document["symbols"], key=lambda item: item["symbol"])] == [
        "AAA",
        "BBB",
    ]
    status = json.loads(market_data("backfill", "--status", "--job_id", "first", "--json").stdout)
    assert (status["planned"], status["done"], status["left"], status["failed"]) == (2, 2, [], [])
    assert status["finished_at"] is not None


def test_status_of_an_unknown_job_says_where_it_looked(folder: Path) -> None:
    done = market_data("backfill", "--status", "--job-id", "nope")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "error: no job nope in runtime/market_data.duckdb or runtime/synthetic.duckdb; files in"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--symbols", "AAA,../x,A;DROP"], "'../x' is not a US ticker"),
        (["--symbols", "ZZZ"], "ZZZ is not in the universe"),
        (["--symbols", ""], "'' is not a US ticker"),
        (["--start", "2024-06-28", "--end", "2024-01-02"], "start 2024-06-28 is after end 2024-01-02"),
        (["--provider", "nasdaq"], "provider 'nasdaq' is unknown; known are stooq_bulk, vendors, sandbox, polygon"),
        (["--job-id", "../up"], "job id '../up' is not allowed"),
        (["--start", "yesterday"], "yesterday"),
    ],
)
def test_bad_input_is_refused_with_exit_code_2_before_any_work(folder: Path, arguments: list[str], said: str) -> None:
    done = market_data("backfill", "--archive", "archive", *arguments)

    assert done.returncode == 2
    assert said in done.stderr
    assert not (folder / "runtime" / "market_data.duckdb").exists()
    assert not (folder / "runtime" / "audit").exists()


def test_a_bad_setting_is_told_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKET_DATA_NULL_THRESHOLD", "5")
    done = market_data("backfill", "--archive", "archive")
    assert done.returncode == 2
    assert "MARKET_DATA_NULL_THRESHOLD" in done.stderr
    assert "'5'" in done.stderr
    assert not (folder / "runtime").exists()


def test_a_missing_archive_is_told_with_its_path(folder: Path) -> None:
    done = market_data("backfill", "--archive", "nowhere.zip")
    assert done.returncode == 2
    assert done.stderr.startswith("error: nowhere.zip: no such archive")


def test_a_symbol_that_is_asked_for_and_lacking_is_not_success(folder: Path) -> None:
    done = market_data("backfill", "--archive", "archive", "--symbols", "aaa,CCC", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["outcomes"] == {"accepted": 1, "no_data": 1}


def test_a_rejected_symbol_gives_exit_code_1_and_its_reason(folder: Path) -> None:
    broken = bars("BBB")
    broken.loc[9, "close"] = -1.0
    put_file(folder / "archive", "BBB", broken)
    done = market_data("backfill", "--archive", "archive")
    assert done.returncode == 1
    assert "BBB rejected:" in done.stdout
    assert bars_held(folder) == {"AAA": SESSIONS}


def test_a_dry_run_tells_and_writes_nothing(folder: Path) -> None:
    done = market_data("backfill", "--archive", "archive", "--dry-run", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["to_do"] == ["AAA", "BBB"]
    assert not (folder / "runtime").exists()


def test_real_data_does_not_go_into_a_synthetic_database(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKET_DATA_DATABASE", "one.duckdb")
    assert market_data("backfill", "--provider", "sandbox", "--symbols", "AAA").returncode == 0
    done = market_data("backfill", "--archive", "archive", "--symbols", "AAA")
    assert done.returncode == 2
    assert "holds synthetic data and does not take real data" in done.stderr


def test_a_run_on_the_sandbox_is_labelled_synthetic(folder: Path) -> None:
    done = market_data("backfill", "--symbols", "AAA")
    assert done.returncode == 0
    assert "SYNTHETIC" in done.stderr
    assert "SYNTHETIC" in done.stdout
    assert (folder / "runtime" / "synthetic.duckdb").exists()
    assert not (folder / "runtime" / "market_data.duckdb").exists()


def _big(folder: Path) -> list[str]:
    names = [f"Q{first}{second}" for first in "ABCDEFGHIJ" for second in "ABCDEF"]
    (folder / "universe.csv").write_text(
        "symbol,listed_by\n" + "".join(f"{name},2020-01-02\n" for name in names), encoding="utf-8"
    )
    frame = bars("AAA")
    for name in names:
        put_file(folder / "big", name, frame)
    return names


@pytest.mark.long
def test_killed_again_and_again_a_backfill_loses_nothing_and_ends_complete(folder: Path) -> None:
    names = _big(folder)
    audit = folder / "runtime" / "audit" / "backfill_job.jsonl"
    kills = 0
    for wanted in (1, 8, 20, 37):
        process = started("backfill", "--archive", "big", "--job-id", "job", "--json")
        while process.is_alive() and (audit.read_bytes().count(b"\n") if audit.exists() else 0) < wanted:
            time.sleep(0.002)
        if process.is_alive():
            process.kill()
            kills += 1
        process.join()
        lines = audit.read_bytes().split(b"\n")
        complete = [json.loads(line) for line in lines[:-1]]
        held = bars_held(folder)
        assert {line["symbol"] for line in complete} <= set(held)
        assert set(held.values()) == {SESSIONS}

    done = market_data("backfill", "--archive", "big", "--job-id", "job", "--json")

    assert kills >= 2
    assert done.returncode == 0
    assert bars_held(folder) == dict.fromkeys(names, SESSIONS)
    records = [json.loads(line) for line in audit.read_text(encoding="utf-8").splitlines()]
    assert sorted(record["symbol"] for record in records) == sorted(names)
    with duckdb.connect(str(folder / "runtime" / "market_data.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM coverage").fetchall() == [(len(names),)]
        assert connection.execute("SELECT count(*) FROM revisions").fetchall() == [(0,)]


@pytest.mark.long
def test_ctrl_c_ends_a_run_cleanly_and_a_second_run_takes_it_up(folder: Path) -> None:
    names = _big(folder)
    audit = folder / "runtime" / "audit" / "backfill_job.jsonl"
    process = subprocess.Popen(
        [*MAIN, "backfill", "--archive", "big", "--job-id", "job"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not (audit.exists() and audit.stat().st_size):
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "take it up with --job-id job" in out
    done = {json.loads(line)["symbol"] for line in audit.read_text(encoding="utf-8").splitlines()}
    assert 0 < len(done) < len(names)
    status = json.loads(market_data("backfill", "--status", "--job-id", "job", "--json").stdout)
    assert set(status["left"]) == set(names) - done
    assert status["finished_at"] is None
    assert market_data("backfill", "--archive", "big", "--job-id", "job", "--json").returncode == 0
    assert bars_held(folder) == dict.fromkeys(names, SESSIONS)
