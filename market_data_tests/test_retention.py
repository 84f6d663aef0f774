"""What tidying removes and what it leaves: nothing that a stored row, an answered request or a rebuild needs."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from market_data.errors import BadPayload, MarketDataError, ProviderError, RateLimited, Transient, WarehouseLocked
from market_data.ingest.intraday.packs import Asked, Poll, PollPacks
from market_data.ingest.lock import sole_ingest
from market_data.ingest.verify import verify
from market_data.keeping.retention import Freed, Tidied, compacted, tidy, tidy_state
from market_data.providers.base import sha256_hex
from market_data.records import FetchRequest, RawPayload, StoredPayload
from market_data.warehouse.store import record_failure
from market_data_tests.stored import PULLED, Store

WALL = datetime(2026, 6, 1, 5, tzinfo=UTC)
SESSION = date(2026, 4, 1)


@pytest.fixture
def store() -> Store:
    return Store("AAPL", "MSFT")


def tidied(store: Store, **more) -> Tidied:
    given = {"synthetic": store.synthetic, "clock": lambda: WALL, "wall": lambda: WALL} | more
    return tidy(store.settings, **given)


def freed(done: Tidied) -> dict[str, tuple[int, int]]:
    return {item.kind: (item.files, item.bytes) for item in done.freed if item.files}


def failed(store: Store, body: bytes, error: ProviderError, *, at: datetime = PULLED) -> StoredPayload:
    """A request that failed, its answer kept and its failure noted."""
    kept = store.keep("AAPL", body, fetched=at, status=503)
    with store.database.writing() as connection:
        record_failure(
            connection, request_id="", request=kept.request, provider="sandbox", error=error, stored=kept,
            job_id="job", now=at,
        )  # fmt: skip
    return kept


def files_of(store: Store, kept: StoredPayload) -> list[Path]:
    folder = store.raw_store.folder / kept.sha256[:2]
    return [folder / f"{kept.sha256}.zst", folder / f"{kept.sha256}.{kept.request_id}.json"]


def aged(path: Path, days: float, content: bytes = b"12345") -> Path:
    """A file that was written days ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return as_old(path, days)


def as_old(path: Path, days: float) -> Path:
    stamp = (WALL - timedelta(days=days)).timestamp()
    os.utime(path, (stamp, stamp))
    return path


def test_a_store_with_nothing_to_tidy_is_left_byte_for_byte(store: Store):
    held = store.files()
    assert freed(tidied(store)) == {}
    assert store.files() == held


def test_bodies_of_old_failures_go_and_the_ledger_still_tells_of_them(store: Store):
    old = failed(store, b"HTTP 503", Transient("HTTP 503"))
    size = sum(path.stat().st_size for path in files_of(store, old))
    query = "SELECT outcome, error, message, url, http_status, bytes, attempts FROM coverage WHERE request_id = ?"
    told = store.rows(query, old.request_id)
    assert freed(tidied(store)) == {"error_bodies": (2, size)}
    assert [path.exists() for path in files_of(store, old)] == [False, False]
    assert store.rows(query, old.request_id) == told
    assert store.rows("SELECT raw_hash FROM coverage WHERE outcome = 'failed'") == [(None,)]
    assert verify(store.settings, synthetic=True).is_sound
    assert freed(tidied(store)) == {}


def test_newer_failures_and_bodies_that_a_better_parser_may_read_stay(store: Store):
    limit = WALL - timedelta(days=store.settings.keep_logs)
    newer = failed(store, b"HTTP 429", RateLimited("HTTP 429"), at=limit + timedelta(seconds=1))
    unreadable = failed(store, b"bars in a new format", BadPayload("no bars"))
    assert freed(tidied(store)) == {}
    assert all(path.exists() for kept in (newer, unreadable) for path in files_of(store, kept))


def test_bytes_that_another_request_was_answered_with_stay(store: Store):
    again = failed(store, b"bars of AAPL", Transient("HTTP 503"), at=PULLED + timedelta(hours=1))
    later = failed(store, b"slow down", RateLimited("HTTP 429"), at=WALL)
    first = failed(store, b"slow down", RateLimited("HTTP 429"))
    assert first.sha256 == later.sha256
    assert freed(tidied(store))["error_bodies"][0] == 1
    assert [path.exists() for path in files_of(store, first)] == [True, False]
    assert all(path.exists() for kept in (again, later) for path in files_of(store, kept))
    assert verify(store.settings, synthetic=True).is_sound


def test_a_body_that_the_audit_names_stays(store: Store):
    named = failed(store, b"HTTP 503", Transient("HTTP 503"))
    store.execute("UPDATE ingestion_audit SET raw_hash = ? WHERE symbol = 'AAPL'", named.sha256)
    assert freed(tidied(store)) == {}
    assert all(path.exists() for path in files_of(store, named))


def test_a_tidying_that_died_before_it_noted_what_it_removed_is_made_up_for(store: Store):
    old = failed(store, b"HTTP 503", Transient("HTTP 503"))
    for path in files_of(store, old):
        path.unlink()
    assert verify(store.settings, synthetic=True).as_dict()["kinds"] == {"coverage_without_payload": 1}
    tidied(store)
    assert verify(store.settings, synthetic=True).is_sound


def pack(store: Store, session: date, *, provisional: bool = False, noted: bool = True) -> Path:
    """A poll of a session with one minute."""
    body = f"minutes of {session}".encode()
    moment = datetime(session.year, session.month, session.day, 15, tzinfo=UTC)
    request = FetchRequest("AAPL", session, session, "1m")
    payload = RawPayload(
        provider="sandbox", request=request, body=body, sha256=sha256_hex(body), url="https://example.test",
        status=200, content_type=None, fetched_at=moment,
    )  # fmt: skip
    packs = PollPacks(store.raw_store.folder)
    name = packs.put(Poll(session, moment, "poll", (Asked("sandbox", request, payload, calls=1),)))
    if noted:
        columns = [row[0] for row in store.rows("DESCRIBE intraday_polls")]
        values = dict.fromkeys(columns, 0) | {"session_date": session, "polled_at": moment.replace(tzinfo=None)}
        values |= {"provider": "sandbox", "job_id": "poll", "pack": name, "errors": "{}", "refused": "[]"}
        values |= {"latencies": [1.0]}
        store.execute(f"INSERT INTO intraday_polls VALUES ({', '.join('?' * len(values))})", *values.values())
    store.execute(
        "INSERT INTO price_history_intraday BY NAME SELECT 'AAPL' AS symbol, ?::TIMESTAMP AS datetime, "
        "?::DATE AS session_date, '1m' AS interval, 10 AS close, ? AS provisional, 'raw' AS basis, "
        "'sandbox' AS source_provider, ? AS raw_hash, ?::TIMESTAMP AS pulled_at",
        moment.replace(tzinfo=None), session, provisional, payload.sha256, moment.replace(tzinfo=None),
    )  # fmt: skip
    return packs.folder / name


def test_packs_of_old_sessions_go_once_their_minutes_are_final_and_noted(store: Store):
    gone = pack(store, SESSION)
    size = gone.stat().st_size
    kept = [
        pack(store, SESSION + timedelta(days=1), provisional=True),
        pack(store, SESSION + timedelta(days=2), noted=False),
        pack(store, (WALL - timedelta(days=store.settings.keep_polls)).date()),
    ]
    assert freed(tidied(store)) == {"poll_packs": (1, size)}
    assert not gone.parent.exists()
    assert all(path.exists() for path in kept)
    names = store.rows("SELECT session_date, pack = '' FROM intraday_polls ORDER BY 1")
    assert [is_gone for _, is_gone in names] == [True, False, False]
    assert store.rows("SELECT count(*) FROM price_history_intraday") == [(4,)]
    assert freed(tidied(store)) == {}


def test_only_old_leftovers_of_died_processes_go(store: Store):
    runtime, backups = store.settings.runtime, store.settings.backups_folder
    old = [
        aged(store.raw_store.folder / "ab" / "abcd.zst.77.88.part", 2),
        aged(runtime / "audit" / "backfill_job.part", 1.1),
        aged(runtime / "synthetic.duckdb.restoring.part.wal", 3),
    ]
    half = aged(backups / "20260501T040000Z_synthetic.part" / "database.duckdb", 9).parent
    aged(half / "raw.part", 9)
    as_old(half, 9)
    kept = [
        aged(store.raw_store.folder / "ab" / "abce.zst.77.88.part", 0.9),
        aged(runtime / "dagster" / "something.part", 9),
        aged(runtime / "notes.partial", 9),
    ]
    assert freed(tidied(store)) == {"part_files": (5, 25)}
    assert [path for path in (*old, half) if path.exists()] == []
    assert all(path.exists() for path in kept)


def test_databases_that_were_set_aside_are_told_and_stay(store: Store):
    kept = aged(store.settings.runtime / "synthetic.before-restore-20250101T000000Z.duckdb", 500)
    document = tidied(store).as_dict()
    assert document["set_aside"] == [{"path": str(kept), "bytes": 5}]
    assert kept.exists()
    json.dumps(document)


def test_old_logs_of_computation_go_with_the_folders_they_leave_empty(store: Store):
    state = store.settings.runtime / "dagster"
    old = aged(state / "storage" / "run" / "compute_logs" / "abc.out", 31, b"printed")
    aged(old.with_suffix(".err"), 31, b"")
    newer = aged(state / "storage" / "newer" / "compute_logs" / "abc.err", 29)
    other = aged(state / "storage" / "asset", 400)
    expected = Freed("compute_logs", 2, 7)
    assert tidy_state(store.settings, state, wall=lambda: WALL, dry_run=True) == expected
    assert old.exists()
    assert tidy_state(store.settings, state, wall=lambda: WALL) == expected
    assert {path.name for path in (state / "storage").iterdir()} == {"newer", "asset"}
    assert newer.exists()
    assert other.exists()


def grown(file: Path, rows: int = 2000) -> Path:
    """A SQLite file whose rows were deleted."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE usage (used TEXT)")
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO usage VALUES (?)", [["x" * 400]] * rows)
        connection.execute("COMMIT")
        connection.execute("DELETE FROM usage WHERE rowid > 5")
    return file


def test_sqlite_files_are_written_anew_where_that_frees_something(store: Store):
    file, whole = grown(store.settings.calls_file(synthetic=True)), store.settings.rates_file(synthetic=True)
    with closing(sqlite3.connect(whole)) as connection:
        connection.execute("CREATE TABLE usage (used TEXT)")
    size, told = file.stat().st_size, tidied(store, dry_run=True)
    assert file.stat().st_size == size
    done = tidied(store)
    assert freed(done) == {"ledgers": (1, size - file.stat().st_size)}
    assert freed(told)["ledgers"][1] == pytest.approx(freed(done)["ledgers"][1], rel=0.05)
    assert file.stat().st_size < 20_000
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM usage").fetchall() == [(5,)]


def test_a_sqlite_file_that_is_held_is_left_for_the_next_time(tmp_path: Path):
    file = grown(tmp_path / "held.sqlite")
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        assert compacted("ledgers", [file, tmp_path / "absent"], dry_run=False, patience=0.05) == Freed("ledgers")


def test_a_dry_run_tells_the_same_and_changes_nothing(store: Store):
    failed(store, b"HTTP 503", Transient("HTTP 503"))
    pack(store, SESSION)
    aged(store.settings.runtime / "raw" / "x.part", 9)
    held, database = store.files(), store.database.path.read_bytes()
    told = tidied(store, dry_run=True)
    assert (store.files(), store.database.path.read_bytes()) == (held, database)
    done = tidied(store)
    assert (told.freed, told.dry_run, done.dry_run) == (done.freed, True, False)
    assert {item.kind for item in done.freed if item.files} == {"error_bodies", "poll_packs", "part_files"}
    assert done.bytes == sum(item.bytes for item in done.freed) > 0


def test_the_stores_own_clock_tells_how_old_a_failure_is(store: Store):
    failed(store, b"HTTP 503", Transient("HTTP 503"))
    assert freed(tidied(store, clock=lambda: PULLED + timedelta(days=29))) == {}
    assert "error_bodies" in freed(tidied(store, clock=lambda: PULLED + timedelta(days=31)))


def test_it_waits_for_an_ingest_and_refuses_the_other_kind_before_anything_is_removed(store: Store):
    part = aged(store.settings.runtime / "raw" / "x.part", 9)
    with sole_ingest(store.settings), pytest.raises(WarehouseLocked, match="another ingest"):
        tidied(store)
    settings = store.settings.model_copy(update={"database": store.database.path})
    with pytest.raises(MarketDataError, match="holds synthetic data, and real was meant"):
        tidy(settings, synthetic=False, clock=lambda: WALL, wall=lambda: WALL)
    assert part.exists()


def test_a_runtime_folder_without_a_store_can_be_tidied(tmp_path: Path):
    store = Store("AAPL")
    settings = store.settings.model_copy(update={"runtime": tmp_path / "new"})
    done = tidy(settings, synthetic=True, clock=lambda: WALL, wall=lambda: WALL)
    assert (freed(done), done.set_aside) == ({}, ())
