"""What a job holds while it runs: its JSONL file, and the lock of the database that others wait for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import numpy as np
import pytest

from market_data.corporate_actions import Told
from market_data.errors import MarketDataError, WarehouseLocked
from market_data.ingest.audit_file import AuditFile
from market_data.ingest.writer import Writer
from market_data.records import AuditRecord, Outcome
from market_data.warehouse.actions import record_actions
from market_data.warehouse.batch import write_batch
from market_data.warehouse.connection import Database
from market_data.warehouse.holdings import audit_lines
from market_data.warehouse.store import record_audit, record_coverage, transaction
from market_data_tests.bars import (
    DAYS,
    actions,
    at,
    audit,
    batch,
    counts,
    findings,
    held_elsewhere,
    new_database,
    payload,
    prices,
    python,
    rows,
    verdicts,
)

SYMBOLS = ["AAPL", "BRK.B", "MSFT"]
WEIRD = 'it\'s "quoted"\r\n\t\\ \x00 \u2028 ŁÓDŹ 😀; DROP TABLE coverage; --'


def audit_file() -> AuditFile:
    return AuditFile(Path("audit"), "backfill", "job")


def records():
    return [audit(symbol, finished_at=at(3, minute)) for minute, symbol in enumerate(SYMBOLS)]


def lines(file: AuditFile) -> list[dict]:
    content = file.path.read_bytes()
    assert content.endswith(b"\n")
    return [json.loads(line) for line in content.split(b"\n")[:-1]]


def test_each_record_is_one_line_of_the_file_named_after_kind_and_job():
    file = audit_file()
    for record in records():
        file.append([record])
    assert file.path == Path("audit/backfill_job.jsonl")
    assert lines(file) == [record.as_dict() for record in records()]
    assert [list(line) for line in lines(file)] == [list(record.as_dict()) for record in records()]


def test_text_of_any_kind_stays_within_its_line():
    file = audit_file()
    file.append([audit("AAPL", reason=WEIRD), audit("MSFT", decision=[{"provider": WEIRD, "masked": None}])])
    first, second = lines(file)
    assert first["reason"] == WEIRD
    assert second["decision"] == [{"provider": WEIRD, "masked": None}]


def test_a_file_that_says_what_the_table_says_is_not_touched():
    file = audit_file()
    done = [*records(), audit("ODD", reason=WEIRD, null_share=np.float64(0.1) + 0.2, score=None, latency_ms=1e-7)]
    with new_database().writing() as connection:
        record_audit(connection, done)
        table = audit_lines(connection, "job")
    file.append(reversed(done))
    before = file.path.stat()
    file.reconcile(table)
    assert (file.path.stat().st_ino, file.path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert [line["symbol"] for line in lines(file)] == ["ODD", *reversed(SYMBOLS)]


def test_a_file_cut_off_anywhere_in_its_last_line_is_repaired():
    file = audit_file()
    file.append(records())
    whole = file.path.read_bytes()
    last_line = whole[:-1].rindex(b"\n") + 1
    for cut in (*range(last_line, len(whole), 50), len(whole) - 2, len(whole) - 1):
        file.path.write_bytes(whole[:cut])
        file.reconcile([record.as_dict() for record in records()])
        assert file.path.read_bytes() == whole
    assert [path.name for path in Path("audit").iterdir()] == ["backfill_job.jsonl"]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda whole: [],
        lambda whole: whole[:1],
        lambda whole: [*whole, whole[-1]],
        lambda whole: [*whole, b'{"symbol":"GHOST"}\n'],
        lambda whole: [whole[0].replace(b"accepted", b"rejected"), *whole[1:]],
        lambda whole: [*whole, b"\n"],
    ],
    ids=["empty", "missing", "doubled", "foreign", "altered", "blank"],
)
def test_lines_that_are_not_those_of_the_table_are_made_anew(wrong):
    file = audit_file()
    file.append(records())
    whole = file.path.read_bytes()
    file.path.write_bytes(b"".join(wrong(whole.splitlines(keepends=True))))
    file.reconcile([record.as_dict() for record in records()])
    assert file.path.read_bytes() == whole


def test_a_file_that_is_gone_is_made_anew_and_one_of_a_job_without_records_is_emptied():
    file = audit_file()
    file.reconcile([record.as_dict() for record in records()])
    assert [line["symbol"] for line in lines(file)] == SYMBOLS
    file.reconcile([])
    assert file.path.read_bytes() == b""


@pytest.mark.parametrize(
    "job_id",
    ["", "../x", "a/b", "a\\b", "n" * 101, "n" * 300, ".", "..", ".hidden", "a b", "a\n", "a\0", "ü", "a'; --"],
)
def test_a_job_id_that_is_no_plain_file_name_is_refused(job_id: str):
    with pytest.raises(MarketDataError, match=r"job id .* is not allowed; use 1 to 100 letters") as caught:
        AuditFile(Path("audit"), "backfill", job_id)
    assert len(str(caught.value)) < 220
    assert not Path("audit").exists()


@pytest.mark.parametrize("job_id", ["a", "n" * 100, "2026-01-20T00.15_nightly", "a..b", "-"])
def test_a_job_id_of_allowed_characters_is_a_file_in_the_folder(job_id: str):
    file = AuditFile(Path("audit"), "backfill", job_id)
    file.append([audit(job_id=job_id)])
    file.reconcile([audit(job_id=job_id).as_dict(), audit("MSFT", job_id=job_id).as_dict()])
    assert [path.name for path in Path("audit").iterdir()] == [f"backfill_{job_id}.jsonl"]
    assert [line["symbol"] for line in lines(file)] == ["AAPL", "MSFT"]


def test_a_folder_that_cannot_be_made_is_told_of_as_an_error_of_ours():
    Path("audit").write_text("a file")
    for work in (lambda: audit_file().append(records()), lambda: audit_file().reconcile([audit().as_dict()])):
        with pytest.raises(MarketDataError, match="audit"):
            work()


def test_audit_lines_are_the_records_field_by_field_and_key_by_key():
    bare = AuditRecord(
        job_id="job", symbol="BARE", kind="daily", outcome=Outcome.HELD,
        start_date=date(2021, 1, 19), end_date=date(2026, 1, 19),
        started_at=datetime(2026, 1, 20, tzinfo=UTC), finished_at=datetime(2026, 1, 20, 3, tzinfo=UTC),
    )  # fmt: skip
    weird = audit(WEIRD, reason=WEIRD, decision=[{"provider": WEIRD, "masked": "ü"}], finished_at=at(1))
    numbers = audit("NUM", null_share=np.float64(1) / 3, score=1e-9, bytes=2**40, latency_ms=0.1 + 0.2)
    with new_database().writing() as connection:
        record_audit(connection, [bare, audit(), weird, numbers])
        record_audit(connection, [audit("MSFT", job_id=WEIRD)])
        lines = audit_lines(connection, "job")
        assert lines == [record.as_dict() for record in (weird, audit(), numbers, bare)]
        for line in lines:
            assert list(line) == list(AuditRecord.__dataclass_fields__)
            assert json.loads(json.dumps(line)) == line
        assert [line["job_id"] for line in audit_lines(connection, WEIRD)] == [WEIRD]


def test_a_symbol_has_one_audit_record_in_a_job():
    with new_database().writing() as connection:
        record_audit(connection, [audit(), audit(job_id="other")])
        with pytest.raises(duckdb.ConstraintException, match="Duplicate key"):
            record_audit(connection, [audit(outcome=Outcome.FAILED)])
        assert [line["outcome"] for line in audit_lines(connection, "job")] == ["accepted"]


def test_nothing_of_a_transaction_that_fails_stays_in_any_table():
    later = payload(fetched=at(day="2026-01-21"))
    everything = batch(
        prices(close=10.75),
        stored=later,
        quality=verdicts((DAYS[0], "flagged", 0.9, "large_move")),
        found=findings((DAYS[0], "large_move", "warning", "close", 0.6, 0.5, "moved")),
    )
    split = actions((DAYS[2], "split", 4.0))
    told = [Told("split", date.fromisoformat(DAYS[0]), date.fromisoformat(DAYS[4]))]
    with new_database().writing() as connection:
        write_batch(connection, batch(prices(DAYS[:2]), stored=payload()))
        before = rows(connection, "SELECT * FROM price_history_daily ORDER BY date")
        with suppress(KeyboardInterrupt), transaction(connection):
            write_batch(connection, everything)
            record_actions(connection, "AAPL", later, split, told, adjusted_as_of=None)
            record_coverage(connection, later, job_id="job")
            record_audit(connection, [audit()])
            assert set(counts(connection)) == {
                *("price_history_daily", "revisions", "data_quality_log", "quality_findings"),
                *("corporate_actions", "reported_actions", "actions_told", "coverage", "ingestion_audit"),
            }
            raise KeyboardInterrupt
        assert counts(connection) == {"price_history_daily": 2}
        assert rows(connection, "SELECT * FROM price_history_daily ORDER BY date") == before


def test_a_database_that_stays_locked_is_given_up_after_the_patience_and_the_holder_is_named():
    database = new_database(patience=0.15)
    with held_elsewhere(database.path) as holder:
        for use in (database.reading, database.writing):
            began = time.monotonic()
            with pytest.raises(WarehouseLocked) as caught, use():
                pass
            assert 0.15 <= time.monotonic() - began < 3
            text = str(caught.value)
            assert text.startswith(f"store.duckdb: locked by process {holder} for longer than 0.15 s")
            assert "MARKET_DATA_LOCK_PATIENCE" in text
        with pytest.raises(WarehouseLocked):
            database.prepare()
    database.prepare()


def test_a_lock_released_in_time_is_waited_for():
    database = new_database(patience=20)
    with held_elsewhere(database.path) as holder:
        threading.Timer(0.25, os.kill, (holder, signal.SIGTERM)).start()
        began = time.monotonic()
        with database.writing() as connection:
            connection.execute("INSERT INTO store_kind VALUES (true)")
        assert 0.1 < time.monotonic() - began < 10


def test_readers_of_two_processes_get_along_and_keep_the_writer_out():
    database = new_database(patience=0.2)
    with held_elsewhere(database.path, "reading") as holder:
        with database.reading() as connection:
            assert rows(connection, "SELECT count(*) FROM store_kind") == [(0,)]
        with pytest.raises(WarehouseLocked, match=f"process {holder} "), database.writing():
            pass


def test_a_writer_keeps_its_connection_for_a_while_and_then_takes_a_new_one():
    with Writer(new_database(), hold=0.1) as writer:
        first = writer.connection
        assert writer.connection is first
        time.sleep(0.12)
        assert writer.connection is not first
        with pytest.raises(duckdb.ConnectionException):
            first.execute("SELECT 1")


def test_a_writer_that_released_its_connection_lets_another_process_write():
    database = new_database()
    code = "import duckdb; duckdb.connect('store.duckdb').execute('INSERT INTO store_kind VALUES (true)')"
    with Writer(database, hold=60) as writer:
        writer.connection.execute("SELECT 1")
        assert "lock" in python(code).stderr.lower()
        writer.release()
        assert python(code).returncode == 0
        assert rows(writer.connection, "SELECT * FROM store_kind") == [(True,)]
    with held_elsewhere(database.path):
        pass


@pytest.mark.long
def test_a_writer_without_a_pause_gives_a_waiting_reader_its_turn_when_its_hold_is_over():
    hold, readings = 0.2, 5
    database = new_database()
    code = """
import sys, time
from pathlib import Path
from market_data.errors import WarehouseLocked
from market_data.warehouse.connection import Database
print("ready", flush=True)
for _ in range(int(sys.argv[2])):
    time.sleep(0.06)
    began = time.monotonic()
    try:
        with Database(Path(sys.argv[1]), patience=1).reading():
            print(time.monotonic() - began, flush=True)
    except WarehouseLocked:
        print("inf", flush=True)
"""
    reader = [sys.executable, "-c", code, str(database.path), str(readings)]
    with Writer(database, hold=hold) as writer, subprocess.Popen(reader, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        while process.poll() is None:
            rows(writer.connection, "SELECT count(*) FROM sessions")
        waits = [float(line) for line in process.stdout]
    assert len(waits) == readings
    late = [wait for wait in waits if wait > hold + 0.15]
    assert len(late) <= 1, f"waits of {waits} s while each hold is {hold} s"


def test_within_a_transaction_a_writer_keeps_its_connection_however_long_it_was_open(tmp_path):
    database = Database(tmp_path / "store.duckdb")
    database.prepare()
    with Writer(database, hold=0.0) as writer:
        with writer.transaction() as connection:
            writer.connection.execute("INSERT INTO store_kind VALUES (TRUE)")
            assert writer.connection is connection
        assert writer.connection is not connection
        assert writer.connection.execute("SELECT synthetic FROM store_kind").fetchall() == [(True,)]
