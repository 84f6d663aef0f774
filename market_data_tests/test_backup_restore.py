"""A backup put back: what is in place afterwards, what is set aside, and what a process that dies on the way leaves."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import duckdb
import pytest

from market_data.errors import WarehouseLocked
from market_data.ingest.lock import sole_ingest
from market_data.ingest.verify import verify
from market_data.keeping.backup import Backup, create_backup
from market_data.keeping.manifest import BackupError, hashed
from market_data.keeping.restore import Restored, restore_backup
from market_data.settings import Settings
from market_data.warehouse.connection import SCHEMA_VERSION, Database
from market_data.warehouse.contents import schema_version
from market_data_tests.stored import NOW, Store
from market_data_tests.test_backup import backed_up, both_kinds, contents
from market_data_tests.vendors import Vendors, symbols

# Processes that die are forked, which Python 3.12 warns of where threads of a library are about.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

RESTORED = datetime(2026, 2, 2, 9, 30, tzinfo=UTC)
KEPT = "synthetic.before-restore-20260202T093000Z.duckdb"


@pytest.fixture
def store() -> Store:
    return Store("AAPL", "MSFT")


def restored(store: Store, backup: Backup, on_step: Callable[[str], None] = lambda _: None) -> Restored:
    return restore_backup(store.settings, backup.name, clock=lambda: RESTORED, on_step=on_step)


def alter(store: Store) -> None:
    store.execute("DELETE FROM price_history_daily WHERE symbol = 'AAPL'")


def aside(store: Store) -> Path:
    return store.database.path.with_name(KEPT)


def remember_file(file: Path, content: bytes) -> None:
    file.write_bytes(content)


HARMS: dict[str, Callable[[Store], None]] = {
    "altered": alter,
    "deleted": lambda store: store.database.path.unlink(),
    "garbage": lambda store: remember_file(store.database.path, b"no database" * 1000),
}


@pytest.mark.parametrize("harm", HARMS)
def test_whatever_became_of_the_database_it_is_what_it_was(store: Store, harm: str):
    held, backup = contents(store.database.path), backed_up(store)
    HARMS[harm](store)
    before = store.database.path.read_bytes() if store.database.exists() else None
    done = restored(store, backup)
    assert contents(store.database.path) == held
    assert verify(store.settings, synthetic=True).findings == ()
    assert done.rows["price_history_daily"] == 10
    if before is None:
        assert done.kept is None
        assert not aside(store).exists()
    else:
        assert done.kept == aside(store)
        assert aside(store).read_bytes() == before
    names = {path.name for path in store.settings.runtime.iterdir()}
    assert names - {KEPT} == {"raw", "audit", "backups", "ingest.lock", "synthetic.duckdb"}


def test_what_was_only_in_the_log_of_the_database_is_set_aside_with_it(store: Store):
    backup, wal = backed_up(store), store.database.path.with_name("synthetic.duckdb.wal")
    process = multiprocessing.get_context("fork").Process(target=write_and_die, args=(store.database.path,))
    process.start()
    process.join()
    assert wal.exists()
    restored(store, backup)
    assert not wal.exists()
    with duckdb.connect(str(aside(store)), read_only=True) as connection:
        assert connection.execute("SELECT DISTINCT close FROM price_history_daily").fetchall() == [(12.25,)]
    with duckdb.connect(str(store.database.path)) as connection:
        assert connection.execute("SELECT DISTINCT close FROM price_history_daily").fetchall() == [(10.5,)]


def write_and_die(database: Path) -> None:
    connection = duckdb.connect(str(database))
    connection.execute("UPDATE price_history_daily SET close = 12.25")
    os._exit(9)


@pytest.mark.parametrize("harm", ["deleted", "garbage"])
def test_the_log_of_a_database_that_cannot_be_read_is_not_taken_for_the_new_ones(store: Store, harm: str):
    held, backup = contents(store.database.path), backed_up(store)
    wal = store.database.path.with_name("synthetic.duckdb.wal")
    HARMS[harm](store)
    wal.write_bytes(b"a log of something else")
    restored(store, backup)
    assert contents(store.database.path) == held
    assert aside(store).with_name(f"{KEPT}.wal").read_bytes() == b"a log of something else"


@pytest.mark.long
def test_what_came_since_is_told_and_is_taken_up_again_without_a_call(tmp_path: Path):
    names = symbols(4)
    with Vendors(tmp_path / "runtime", names) as vendors:
        vendors.run("first", names[:2])
        backup = create_backup(vendors.settings, synthetic=True).backup
        vendors.run("second", names[2:])
        prices, calls = vendors.prices(), vendors.calls
        requests = vendors.rows("SELECT count(*) FROM coverage WHERE job_id = 'second'")
        done = restore_backup(vendors.settings, backup.name)
        assert vendors.rows("SELECT DISTINCT symbol FROM price_history_daily ORDER BY 1") == [
            (name,) for name in names[:2] if name not in vendors.refused
        ]
        assert [(done.newer,)] == requests
        assert done.missing == ()
        assert verify(vendors.settings, synthetic=True).as_dict()["kinds"] == {"orphan_payload": done.newer}
        vendors.run("third")
        assert (vendors.prices(), vendors.calls) == (prices, calls)
        assert verify(vendors.settings, synthetic=True).is_sound


def test_payloads_the_database_names_and_the_raw_store_lacks_are_told_or_put_back(store: Store):
    listed, taken = backed_up(store), backed_up(store, minutes=1, raw=True)
    for file in (store.bytes_file("AAPL"), store.request_file("AAPL")):
        file.unlink()
    assert restored(store, listed).missing == (store.payloads["AAPL"].sha256,)
    alter(store)
    done = restore_backup(store.settings, taken.name, clock=lambda: NOW)
    assert (done.payloads, done.missing) == (2, ())
    assert verify(store.settings, synthetic=True).findings == ()


def test_counts_of_calls_are_put_back_only_where_there_are_none(store: Store):
    calls, rates = store.settings.calls_file(synthetic=True), store.settings.rates_file(synthetic=True)
    for file in (calls, rates):
        with closing(sqlite3.connect(file)) as ledger:
            ledger.execute("CREATE TABLE usage AS SELECT 41 AS used")
    backup = backed_up(store)
    with closing(sqlite3.connect(calls, isolation_level=None)) as ledger:
        ledger.execute("UPDATE usage SET used = 42")
    rates.unlink()
    assert restored(store, backup).ledgers == ("rates_synthetic.sqlite",)
    for file, used in ((calls, 42), (rates, 41)):
        with closing(sqlite3.connect(file)) as ledger:
            assert ledger.execute("SELECT used FROM usage").fetchall() == [(used,)]


def test_audit_files_go_with_the_database_and_those_of_the_other_kind_stay(store: Store):
    folder, backup = store.settings.audit_folder, backed_up(store)
    (folder / "backfill_later.jsonl").write_text('{"synthetic":true}\n', encoding="utf-8")
    (folder / "backfill_real.jsonl").write_text('{"synthetic":false}\n', encoding="utf-8")
    held = store.audit_file.path.read_bytes()
    store.audit_file.path.write_bytes(held + held)
    assert restored(store, backup).audit == 1
    assert {path.name for path in folder.glob("*.jsonl")} == {"backfill_job.jsonl", "backfill_real.jsonl"}
    assert store.audit_file.path.read_bytes() == held
    kept = folder / "before-restore-20260202T093000Z"
    assert {path.name: path.stat().st_size for path in kept.iterdir()} == {
        "backfill_job.jsonl": 2 * len(held),
        "backfill_later.jsonl": 19,
    }


def test_a_backup_that_is_not_whole_or_of_a_newer_schema_changes_nothing(store: Store):
    backup = backed_up(store)
    manifest, database = backup.folder / "manifest.json", backup.folder / "database.duckdb"
    with duckdb.connect(str(database)) as connection:
        connection.execute("INSERT INTO schema_version VALUES (99, '0099_future.sql', now()::TIMESTAMP)")
    held = store.database.path.read_bytes(), store.files()
    with pytest.raises(BackupError, match=r"is not whole and was not restored.*database\.duckdb: was altered"):
        restored(store, backup)
    document = json.loads(manifest.read_text())
    altered = hashed(database)
    document["files"][0] = {"path": "database.duckdb", "bytes": altered.bytes, "sha256": altered.sha256}
    document["rows"]["schema_version"] += 1
    document["schema_version"] = 99
    manifest.write_text(json.dumps(document))
    with pytest.raises(BackupError, match=f"has schema version 99, newer than {SCHEMA_VERSION}"):
        restored(store, backup)
    assert store.database.path.read_bytes() == held[0]
    assert {path: content for path, content in store.files().items() if "/backups/" not in path} == {
        path: content for path, content in held[1].items() if "/backups/" not in path
    }


def test_a_backup_of_an_older_schema_is_brought_forward(tmp_path: Path):
    settings = Settings(runtime=tmp_path / "runtime", lock_patience=1)
    live = settings.database_for(synthetic=True)
    live.parent.mkdir()
    script = files("market_data.warehouse").joinpath("migrations", "0001_initial.sql").read_text(encoding="utf-8")
    with duckdb.connect(str(live)) as connection:
        connection.execute(script)
        connection.execute("CREATE TABLE schema_version (version INTEGER, name VARCHAR, applied_at TIMESTAMP)")
        connection.execute("INSERT INTO schema_version VALUES (1, '0001_initial.sql', now()::TIMESTAMP)")
        connection.execute("INSERT INTO store_kind VALUES (true)")
    backup = create_backup(settings, synthetic=True)
    assert backup.manifest.schema_version == 1
    live.unlink()
    restore_backup(settings, backup.backup.name)
    with Database(live).reading() as connection:
        assert schema_version(connection) == SCHEMA_VERSION
        assert connection.execute("SELECT synthetic FROM store_kind").fetchall() == [(True,)]


def test_an_unknown_name_is_told_with_those_there_are(store: Store):
    backup = backed_up(store)
    for name in ("latest", "../backups", ""):
        with pytest.raises(BackupError, match=f"'{name}' is no backup in .*there are: {backup.name}"):
            restore_backup(store.settings, name)


def test_the_other_kinds_database_is_not_replaced():
    real, synthetic = both_kinds()
    backup, held = backed_up(synthetic), real.database.path.read_bytes()
    settings = real.settings.model_copy(update={"database": real.database.path})
    with pytest.raises(BackupError, match=r"market_data\.duckdb holds real data, .*_synthetic synthetic; name another"):
        restore_backup(settings, backup.name)
    assert real.database.path.read_bytes() == held


def test_an_ingest_under_way_is_not_disturbed(store: Store):
    backup = backed_up(store)
    alter(store)
    with sole_ingest(store.settings), pytest.raises(WarehouseLocked, match="another ingest"):
        restored(store, backup)
    assert store.rows("SELECT count(*) FROM price_history_daily") == [(5,)]


def restore_and_die(settings: Settings, name: str, step: str) -> None:
    def die(done: str) -> None:
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    restore_backup(settings, name, clock=lambda: RESTORED, on_step=die)


@pytest.mark.parametrize(
    ("step", "harm", "is_new"),
    [("set_aside", "altered", 0), ("set_aside", "garbage", 0), ("in_place", "altered", 1)],
)
def test_killed_after_any_step_it_leaves_the_old_one_or_the_new_one_and_can_be_done_again(
    store: Store, step: str, harm: str, is_new: int
):
    held, backup = contents(store.database.path), backed_up(store)
    HARMS[harm](store)
    old = store.database.path.read_bytes()
    context = multiprocessing.get_context("fork")
    process = context.Process(target=restore_and_die, args=(store.settings, backup.name, step))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    if is_new:
        assert contents(store.database.path) == held
        assert aside(store).read_bytes() == old
    else:
        assert store.database.path.read_bytes() == old
    done = restore_backup(store.settings, backup.name, clock=lambda: NOW)
    assert contents(store.database.path) == held
    assert done.kept is not None
    assert verify(store.settings, synthetic=True).findings == ()
    assert list(store.settings.runtime.rglob("*.part")) == []
