"""Backups of a store: what is in one, that it is whole before it counts, and which of them are kept."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from market_data.errors import MarketDataError, WarehouseError, WarehouseLocked
from market_data.ingest.lock import sole_ingest
from market_data.keeping.backup import Backup, create_backup, find_backup, list_backups
from market_data.keeping.backup_check import verify_backup
from market_data.keeping.manifest import BackupError, Manifest
from market_data.settings import Settings
from market_data.warehouse.connection import SCHEMA_VERSION, Database
from market_data.warehouse.contents import row_counts
from market_data_tests.stored import Store

# Processes that die are forked, which Python 3.12 warns of where threads of a library are about.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

TAKEN = datetime(2026, 2, 1, 4, tzinfo=UTC)
SCHEMA = (
    "SELECT table_name, constraint_type, constraint_text FROM duckdb_constraints() ORDER BY ALL",
    "SELECT view_name, sql FROM duckdb_views() WHERE NOT internal ORDER BY ALL",
    "SELECT function_name, macro_definition FROM duckdb_functions() WHERE NOT internal ORDER BY ALL",
    "SELECT table_name, column_name, data_type, column_default, comment FROM duckdb_columns() WHERE NOT internal "
    "ORDER BY ALL",
)


@pytest.fixture
def store() -> Store:
    return Store("AAPL", "MSFT")


def backed_up(store: Store, *, minutes: int = 0, raw: bool = False, settings: Settings | None = None) -> Backup:
    taken = TAKEN + timedelta(minutes=minutes)
    settings = settings or store.settings
    return create_backup(settings, synthetic=store.synthetic, raw=raw, clock=lambda: taken).backup


def both_kinds() -> tuple[Store, Store]:
    """A real store and a synthetic one over the same folder; their one audit file is the real one's."""
    with pytest.MonkeyPatch.context() as patch:
        Path("elsewhere").mkdir()
        patch.chdir("elsewhere")
        Store("AAPL", synthetic=False)
    synthetic = Store("AAPL")
    return Store("AAPL", synthetic=False), synthetic


def contents(file: Path) -> list[list[tuple]]:
    """Every table's rows, and what the schema is."""
    with duckdb.connect(str(file), read_only=True) as connection:
        names = row_counts(connection)
        return [connection.execute(f'SELECT * FROM "{name}" ORDER BY ALL').fetchall() for name in names] + [
            connection.execute(query).fetchall() for query in SCHEMA
        ]


@pytest.mark.parametrize("synthetic", [True, False])
def test_a_backup_holds_every_row_and_the_whole_schema_and_says_so(synthetic: bool):
    store = Store("AAPL", "MSFT", synthetic=synthetic)
    backup = backed_up(store)
    manifest = Manifest.read(backup.folder)
    assert backup.name == f"20260201T040000Z_{'synthetic' if synthetic else 'real'}"
    assert contents(backup.folder / "database.duckdb") == contents(store.database.path)
    with store.database.reading() as connection:
        assert manifest.rows == row_counts(connection)
    assert manifest.rows["price_history_daily"] == 10
    assert (manifest.taken_at, manifest.synthetic, manifest.schema_version) == (TAKEN, synthetic, SCHEMA_VERSION)
    assert manifest.source == str(store.database.path)
    assert [file.path for file in manifest.files] == ["database.duckdb", "audit/backfill_job.jsonl", "raw.tsv"]
    assert (backup.folder / "audit" / "backfill_job.jsonl").read_bytes() == store.audit_file.path.read_bytes()
    assert verify_backup(backup.folder) == []
    assert [path.name for path in store.settings.backups_folder.iterdir()] == [backup.name]


def test_what_was_committed_and_not_checkpointed_is_in_the_backup(store: Store):
    # The connection that leaves its log behind belongs to a process that is killed.
    statement = "UPDATE price_history_daily SET close = 12.25 WHERE symbol = 'AAPL'"
    script = (
        f"import duckdb, os; c = duckdb.connect({str(store.database.path)!r}); c.execute({statement!r}); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script], check=False)
    assert store.database.path.with_name(f"{store.database.path.name}.wal").exists()
    backup = backed_up(store)
    with duckdb.connect(str(backup.folder / "database.duckdb"), read_only=True) as connection:
        closes = connection.execute("SELECT DISTINCT close FROM price_history_daily WHERE symbol = 'AAPL'").fetchall()
    assert closes == [(12.25,)]


def test_the_ledgers_of_calls_are_taken_even_while_they_are_written_to(store: Store):
    with closing(sqlite3.connect(store.settings.calls_file(synthetic=True), isolation_level=None)) as ledger:
        ledger.execute("PRAGMA journal_mode = WAL")
        ledger.execute("CREATE TABLE usage (used INTEGER)")
        ledger.execute("INSERT INTO usage VALUES (41)")
        ledger.execute("BEGIN IMMEDIATE")
        ledger.execute("UPDATE usage SET used = 42")
        backup = backed_up(store)
    copy = backup.folder / "ledgers" / "calls_synthetic.sqlite"
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]
    with closing(sqlite3.connect(copy)) as ledger:
        assert ledger.execute("SELECT used FROM usage").fetchall() == [(41,)]
    assert verify_backup(backup.folder) == []


def test_audit_files_of_the_other_kind_of_store_are_left_out(store: Store):
    (store.settings.audit_folder / "backfill_real.jsonl").write_text('{"synthetic":false}\n', encoding="utf-8")
    backup = backed_up(store)
    assert [path.name for path in (backup.folder / "audit").iterdir()] == ["backfill_job.jsonl"]


def test_payloads_are_listed_and_taken_only_when_asked_for(store: Store):
    files = sorted(path for path in store.raw_store.folder.rglob("*") if path.is_file())
    listed, taken = backed_up(store), backed_up(store, minutes=1, raw=True)
    lines = [f"{path.relative_to(store.raw_store.folder).as_posix()}\t{path.stat().st_size}\n" for path in files]
    for backup in (listed, taken):
        assert (backup.folder / "raw.tsv").read_text() == "".join(lines)
        assert backup.manifest is not None
        assert (backup.manifest.raw_files, backup.manifest.raw_bytes) == (4, sum(p.stat().st_size for p in files))
    assert not (listed.folder / "raw").exists()
    held = [taken.folder / "raw" / path.relative_to(store.raw_store.folder) for path in files]
    assert [path.stat().st_ino for path in held] == [path.stat().st_ino for path in files]


def test_a_real_store_does_not_take_the_payloads_of_the_synthetic_one_that_lie_below_it():
    real, synthetic = both_kinds()
    assert synthetic.raw_store.folder.is_relative_to(real.raw_store.folder)
    backup = backed_up(real, raw=True)
    assert len((backup.folder / "raw.tsv").read_text().splitlines()) == 2
    assert not (backup.folder / "raw" / "synthetic").exists()


@pytest.mark.parametrize("harm", ["flipped", "cut off", "gone", "manifest", "not listed", "leads out"])
def test_a_backup_that_is_not_whole_is_told_apart(store: Store, harm: str):
    backup = backed_up(store)
    database, manifest = backup.folder / "database.duckdb", backup.folder / "manifest.json"
    content = bytearray(database.read_bytes())
    document = json.loads(manifest.read_text())
    if harm == "flipped":
        content[len(content) // 2] ^= 1
        database.write_bytes(content)
    elif harm == "cut off":
        database.write_bytes(content[:-4096])
    elif harm == "gone":
        database.unlink()
    elif harm == "manifest":
        manifest.write_text(manifest.read_text()[:-20])
    elif harm == "not listed":
        manifest.write_text(json.dumps(document | {"files": document["files"][1:]}))
    else:
        document["files"][0]["path"] = "../../market_data.toml"
        manifest.write_text(json.dumps(document))
    [problem] = verify_backup(backup.folder)
    assert str(manifest if harm in ("manifest", "leads out") else database) in problem
    [found] = list_backups(store.settings)
    assert (found.problem is None) == (harm not in ("manifest", "leads out"))


def test_rows_that_the_manifest_does_not_speak_of_are_told(store: Store):
    backup = backed_up(store)
    manifest = backup.folder / "manifest.json"
    document = json.loads(manifest.read_text())
    document["rows"]["price_history_daily"] = 11
    manifest.write_text(json.dumps(document))
    [problem] = verify_backup(backup.folder)
    assert "table price_history_daily has 10 rows, the manifest says 11" in problem


def test_an_altered_payload_that_a_backup_holds_is_told(store: Store):
    backup = backed_up(store, raw=True)
    files = sorted((backup.folder / "raw").rglob("*.zst"))
    other = files[1].read_bytes()
    for file in files:
        file.unlink()  # a hard link: the store's own would be altered too
    files[0].write_bytes(other)
    problems = verify_backup(backup.folder)
    assert len(problems) == 2
    assert "was altered" in problems[0]
    assert str(files[1]) in problems[1]


def test_only_the_newest_good_backups_are_kept_and_a_damaged_one_does_not_count(store: Store):
    settings = store.settings.model_copy(update={"keep_backups": 2})
    first, second, third = (backed_up(store, minutes=minute, settings=settings) for minute in range(3))
    assert not first.folder.exists()
    (third.folder / "database.duckdb").write_bytes(b"damaged")
    fourth = create_backup(settings, synthetic=True, clock=lambda: TAKEN + timedelta(minutes=3))
    assert fourth.removed == ()
    assert [backup.name for backup in list_backups(settings)] == [fourth.backup.name, third.name, second.name]
    fifth = create_backup(settings, synthetic=True, clock=lambda: TAKEN + timedelta(minutes=4))
    assert fifth.removed == (third.name, second.name)
    assert [backup.name for backup in list_backups(settings)] == [fifth.backup.name, fourth.backup.name]


def test_backups_of_one_kind_are_not_removed_for_those_of_the_other():
    real, synthetic = both_kinds()
    settings = real.settings.model_copy(update={"keep_backups": 1})
    kept = backed_up(real, settings=settings)
    newer = backed_up(synthetic, minutes=1, settings=settings)
    assert [backup.name for backup in list_backups(settings)] == [newer.name, kept.name]


def test_a_half_written_backup_is_none(store: Store):
    whole = backed_up(store)
    shutil.copytree(whole.folder, whole.folder.with_name("20260301T040000Z_synthetic.part"))
    assert [backup.name for backup in list_backups(store.settings)] == [whole.name]
    with pytest.raises(BackupError, match=f"is no backup in runtime/backups; there are: {whole.name}"):
        find_backup(store.settings, "20260301T040000Z_synthetic.part")


WRITER = """
import duckdb, sys
for number in range(1, 100_000):
    try:
        with duckdb.connect(sys.argv[1]) as connection:
            connection.execute("BEGIN")
            connection.execute("UPDATE price_history_daily SET close = ?", [number])
            connection.execute("UPDATE data_copies SET number = ?, filler = repeat(?::VARCHAR, 50)", [number, number])
            connection.execute("COMMIT")
    except duckdb.IOException:
        continue
    print(number, flush=True)
"""


@pytest.mark.long
def test_what_another_process_writes_meanwhile_is_in_the_backup_whole_or_not_at_all(store: Store):
    with store.database.writing() as connection:
        connection.execute("CREATE TABLE data_copies AS SELECT 0 AS number, '' AS filler, range FROM range(2000)")
    settings = store.settings.model_copy(update={"lock_patience": 10})
    command = [sys.executable, "-c", WRITER, str(store.database.path)]
    seen = set()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for minutes in range(2):
            before = int(writer.stdout.readline())
            backup = backed_up(store, minutes=minutes, settings=settings)
            with duckdb.connect(str(backup.folder / "database.duckdb"), read_only=True) as connection:
                query = "SELECT DISTINCT close FROM price_history_daily UNION SELECT DISTINCT number FROM data_copies"
                [(number,)] = connection.execute(query).fetchall()
            assert number >= before
            seen.add(number)
        writer.kill()
    assert len(seen) > 1


def test_a_backup_waits_for_a_writer_and_for_an_ingest_no_longer_than_its_patience(store: Store):
    script = f"import duckdb\nc = duckdb.connect({str(store.database.path)!r})\nprint(1, flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=-1, stdout=-1) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(WarehouseLocked, match=rf"synthetic\.duckdb: locked by process {writer.pid}"):
            backed_up(store)
        writer.kill()
    with sole_ingest(store.settings), pytest.raises(WarehouseLocked, match="another ingest"):
        backed_up(store)
    assert list(store.settings.backups_folder.iterdir()) == []


def attempt(settings: Settings, sender, limit: int) -> None:
    """Back up where no file may grow beyond a size, as on a disk that is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        create_backup(settings, synthetic=True, clock=lambda: TAKEN)
        sender.send(None)
    except MarketDataError as error:
        sender.send(error)
    os._exit(0)


def back_up(settings: Settings) -> None:
    create_backup(settings, synthetic=True, clock=lambda: TAKEN)


def test_a_process_that_is_killed_on_the_way_leaves_no_backup_and_hinders_none(store: Store):
    half = store.settings.backups_folder / "20260201T040000Z_synthetic.part"
    with closing(sqlite3.connect(store.settings.calls_file(synthetic=True), isolation_level=None)) as ledger:
        ledger.execute("CREATE TABLE usage (used INTEGER)")
        ledger.execute("BEGIN EXCLUSIVE")  # the backup waits for it with the database copied
        with pytest.raises(BackupError, match=r"cannot be copied: .*calls_synthetic\.sqlite was locked"):
            backed_up(store)
        patient = store.settings.model_copy(update={"lock_patience": 60})
        process = multiprocessing.get_context("fork").Process(target=back_up, args=(patient,))
        process.start()
        while not (half / "ledgers").exists():
            time.sleep(0.01)
            assert process.is_alive()
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    assert (half / "database.duckdb").exists()
    assert list_backups(store.settings) == []
    whole = backed_up(store, minutes=1)
    assert [backup.name for backup in list_backups(store.settings)] == [whole.name]


def test_a_disk_that_takes_no_more_ends_it_with_nothing_left(store: Store):
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=attempt, args=(store.settings, sender, store.database.path.stat().st_size - 1))
    process.start()
    error = receiver.recv()
    process.join()
    assert isinstance(error, BackupError)
    assert "cannot be written: File too large; free some room, or name another folder in MARKET_DATA_BACKUPS" in str(
        error
    )
    assert list(store.settings.backups_folder.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(store: Store):
    Path("taken").write_text("", encoding="utf-8")
    settings = store.settings.model_copy(update={"backups": Path("taken") / "backups"})
    with pytest.raises(BackupError, match=r"taken.*cannot be written: Not a directory.*MARKET_DATA_BACKUPS"):
        backed_up(store, settings=settings)


def test_a_store_that_is_not_there_or_of_the_other_kind_is_not_backed_up(store: Store):
    with pytest.raises(WarehouseError, match="nothing to back up"):
        create_backup(store.settings, synthetic=False, clock=lambda: TAKEN)
    settings = store.settings.model_copy(update={"database": store.database.path})
    with pytest.raises(MarketDataError, match="holds synthetic data, and real was meant"):
        create_backup(settings, synthetic=False, clock=lambda: TAKEN)
    assert list(store.settings.backups_folder.iterdir()) == []


def test_a_database_with_a_damaged_block_is_not_taken_for_a_backup(store: Store):
    with store.database.writing() as connection:
        connection.execute(
            "CREATE TABLE wide AS SELECT range AS number, hash(range)::VARCHAR AS text FROM range(200000)"
        )
    content = bytearray(store.database.path.read_bytes())
    for place in range(len(content) // 2, len(content) - 1, 4096):
        content[place] ^= 255
    store.database.path.write_bytes(content)
    with pytest.raises(MarketDataError, match=r"database.duckdb|synthetic.duckdb"):
        backed_up(store)
    assert list(store.settings.backups_folder.glob("*")) == []


def test_a_second_backup_of_the_same_second_is_refused(store: Store):
    backup = backed_up(store)
    with pytest.raises(BackupError, match="exists already"):
        backed_up(store)
    assert verify_backup(backup.folder) == []
    assert Database(backup.folder / "database.duckdb").exists()
