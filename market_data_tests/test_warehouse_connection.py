from __future__ import annotations

import hashlib
import re
import signal
import sqlite3
from datetime import date
from importlib.resources import files
from pathlib import Path

import duckdb
import pytest

from market_data.errors import WarehouseError
from market_data.warehouse.connection import SCHEMA_VERSION, Database
from market_data_tests.bars import TABLES, naive, new_database, python, rows

MEND = re.compile(
    r"restore|install|upgrade|name another|check the permissions|MARKET_DATA_(DATABASE|RUNTIME|LOCK_PATIENCE)"
)


def refused(database: Database) -> str:
    """The text of the refusal, which names the path and a mend, and left the bytes of the file as they were."""
    before = database.path.read_bytes() if database.path.is_file() else None
    with pytest.raises(WarehouseError) as caught:
        database.prepare()
    assert (database.path.read_bytes() if database.path.is_file() else None) == before
    text = str(caught.value)
    assert database.path.name in text
    assert MEND.search(text), f"no mend in: {text}"
    return text


def made_by(script: str, name: str = "foreign.duckdb") -> Path:
    with duckdb.connect(name) as connection:
        connection.execute(script)
    return Path(name)


def test_preparing_makes_the_folder_and_the_file_and_fills_the_sessions_of_the_window():
    database = Database(Path("a/b/store.duckdb"))
    assert not database.exists()
    database.prepare()
    with database.reading() as connection:
        [(count, first, last)] = rows(
            connection,
            "SELECT count(*), min(session), max(session) FROM sessions "
            "WHERE session BETWEEN DATE '2021-01-19' AND DATE '2026-01-19'",
        )
        assert (count, first, last) == (1256, date(2021, 1, 19), date(2026, 1, 16))
        assert rows(
            connection,
            "SELECT closes_at FROM sessions WHERE session IN ('2024-07-03', '2024-07-05', '2025-01-08', '2025-01-09') "
            "ORDER BY session",
        ) == [(naive(17, day="2024-07-03"),), (naive(20, day="2024-07-05"),), (naive(21, day="2025-01-08"),)]


def test_preparing_a_second_time_does_not_write():
    database = new_database()
    before = hashlib.sha256(database.path.read_bytes()).hexdigest(), database.path.stat().st_mtime_ns
    database.prepare()
    assert (hashlib.sha256(database.path.read_bytes()).hexdigest(), database.path.stat().st_mtime_ns) == before
    assert [path.name for path in Path().iterdir()] == ["store.duckdb"]


def test_an_empty_duckdb_file_is_brought_forward():
    database = Database(made_by("SELECT 1", "store.duckdb"))
    database.prepare()
    with database.reading() as connection:
        assert rows(connection, "SELECT version, name FROM schema_version") == [
            (1, "0001_initial.sql"),
            (2, "0002_vendors.sql"),
            (3, "0003_basis.sql"),
            (4, "0004_current.sql"),
            (5, "0005_intraday.sql"),
            (6, "0006_feedback.sql"),
            (7, "0007_health.sql"),
            (8, "0008_features.sql"),
        ]
        assert rows(connection, "SELECT count(*) FROM price_history_daily") == [(0,)]


def test_sessions_missing_from_an_older_database_are_added_by_preparing_it():
    database = new_database()
    with database.writing() as connection:
        connection.execute("DELETE FROM sessions WHERE session > DATE '2025-12-31'")
    database.prepare()
    with database.reading() as connection:
        assert rows(connection, "SELECT max(session) >= current_date - 7 FROM sessions") == [(True,)]


def test_a_database_of_a_newer_schema_is_left_alone():
    database = new_database()
    with database.writing() as connection:
        connection.execute("INSERT INTO schema_version VALUES (9, '0009_later.sql', TIMESTAMP '2027-01-01')")
    text = refused(database)
    assert "schema version 9" in text
    assert "upgrade market_data" in text


@pytest.mark.parametrize(
    "script",
    [
        "CREATE TABLE orders (id INTEGER)",
        "CREATE SCHEMA other; CREATE TABLE other.orders (id INTEGER)",
        "CREATE VIEW orders AS SELECT 1 AS id",
        "CREATE TABLE schema_version (version INTEGER); INSERT INTO schema_version VALUES (1)",
        "CREATE TABLE schema_version (version VARCHAR); INSERT INTO schema_version VALUES ('1.2.3')",
        "CREATE TABLE schema_version (installed_rank INTEGER)",
    ],
    ids=["table", "other-schema", "view", "same-version", "text-version", "no-version"],
)
def test_a_duckdb_database_of_something_else_is_refused_and_not_changed(script: str):
    text = refused(Database(made_by(script)))
    assert "something else" in text
    assert "MARKET_DATA_DATABASE" in text


@pytest.mark.parametrize(
    "content", [b"", b"date,close\n2021-01-19,10.5\n", bytes(20_000)], ids=["empty", "csv", "zeros"]
)
def test_a_file_that_is_no_database_is_refused_and_not_changed(content: bytes):
    Path("store.duckdb").write_bytes(content)
    assert "not a usable DuckDB database" in refused(Database(Path("store.duckdb")))


@pytest.mark.parametrize("keep", [4096, 9000], ids=["first-header", "two-headers"])
def test_a_database_cut_off_in_its_headers_is_refused_and_not_changed(keep: int):
    database = new_database()
    database.path.write_bytes(database.path.read_bytes()[:keep])
    assert "not a usable DuckDB database" in refused(database)


def test_a_database_with_altered_headers_is_refused_and_not_changed():
    database = new_database()
    content = bytearray(database.path.read_bytes())
    content[4096:12288] = bytes(byte ^ 255 for byte in content[4096:12288])
    database.path.write_bytes(content)
    assert "not a usable DuckDB database" in refused(database)


def test_bars_that_were_altered_on_disk_are_told_of_as_a_warehouse_error():
    database = new_database()
    with database.writing() as connection:
        connection.execute(
            "INSERT INTO price_history_daily SELECT 'S' || n, DATE '2021-01-19', n + random(), n + random(), "
            "n + random(), n + random(), random(), NULL, NULL, 'raw', NULL, 'p', 'h', TIMESTAMP '2026-01-20', "
            "'raw', NULL, 1, 1, TIMESTAMP '2026-01-20', NULL "
            "FROM range(1, 30001) AS numbers(n)"
        )
    content = bytearray(database.path.read_bytes())
    middle = slice(len(content) * 3 // 8, len(content) * 5 // 8)
    content[middle] = bytes(byte ^ 255 for byte in content[middle])
    database.path.write_bytes(content)
    with (
        pytest.raises(WarehouseError, match=r"store\.duckdb: not a usable DuckDB database"),
        database.reading() as opened,
    ):
        rows(opened, "SELECT sum(open), sum(high), sum(low), sum(close), sum(volume) FROM price_history_daily")
    assert database.path.read_bytes() == content


def test_a_sqlite_file_is_refused_without_a_download():
    with sqlite3.connect("store.duckdb") as connection:
        connection.execute("CREATE TABLE orders (id INTEGER)")
    connection.close()
    assert "download" not in refused(Database(Path("store.duckdb")))


def test_a_folder_in_the_place_of_the_file_is_refused():
    Path("store.duckdb").mkdir()
    refused(Database(Path("store.duckdb")))
    assert list(Path("store.duckdb").iterdir()) == []


@pytest.mark.parametrize("path", ["taken/store.duckdb", "taken/deeper/store.duckdb"])
def test_a_folder_that_cannot_be_made_is_named_with_a_mend(path: str):
    Path("taken").write_text("a file")
    with pytest.raises(WarehouseError, match="taken") as caught:
        Database(Path(path)).prepare()
    assert MEND.search(str(caught.value)), f"no mend in: {caught.value}"
    assert Path("taken").read_text() == "a file"


def test_a_file_system_that_takes_no_files_is_named_with_a_mend():
    text = refused(Database(Path("/sys/store.duckdb")))
    assert text.startswith("/sys/store.duckdb: cannot be written")


def test_a_name_that_is_too_long_is_refused():
    with pytest.raises(WarehouseError, match="nnn: "):
        Database(Path("n" * 300)).prepare()


def test_a_file_named_as_duckdb_names_its_memory_is_a_file():
    database = Database(Path(":memory:"))
    database.prepare()
    assert database.exists()


@pytest.mark.parametrize("limit", [5_000, 100_000])
def test_a_disk_that_is_full_is_told_of_and_can_be_prepared_once_there_is_room(limit: int):
    code = """
import resource, sys
from pathlib import Path
from market_data.errors import WarehouseError
from market_data.warehouse.connection import SCHEMA_VERSION, Database
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
try:
    Database(Path("store.duckdb")).prepare()
except WarehouseError as error:
    print(error)
"""
    told = python(code, limit)
    assert (told.returncode, told.stderr) == (0, "")
    assert "store.duckdb" in told.stdout
    Database(Path("store.duckdb")).prepare()
    with Database(Path("store.duckdb")).reading() as connection:
        assert rows(connection, "SELECT max(version) FROM schema_version") == [(SCHEMA_VERSION,)]


def test_reading_what_is_not_there_says_how_to_make_it():
    with pytest.raises(WarehouseError, match="market-data backfill"), Database(Path("none.duckdb")).reading():
        pass
    assert not Path("none.duckdb").exists()


def test_writing_to_what_was_never_prepared_is_refused_and_makes_no_file():
    with pytest.raises(WarehouseError), Database(Path("none.duckdb")).writing():
        pass
    assert not Path("none.duckdb").exists()


def test_a_reading_connection_cannot_write():
    with new_database().reading() as connection, pytest.raises(duckdb.InvalidInputException, match="read-only"):
        connection.execute("INSERT INTO store_kind VALUES (true)")


def test_connections_are_closed_when_their_work_raises():
    database = new_database()
    for opened in (database.reading, database.writing):
        with pytest.raises(ZeroDivisionError), opened() as connection:
            raise ZeroDivisionError
        with pytest.raises(duckdb.ConnectionException):
            connection.execute("SELECT 1")


def test_what_was_committed_before_a_kill_is_read_and_nothing_of_what_was_not():
    database = new_database()
    code = """
import os, signal, duckdb
connection = duckdb.connect("store.duckdb")
connection.execute("INSERT INTO store_kind VALUES (true)")
connection.execute("BEGIN TRANSACTION")
connection.execute("INSERT INTO store_kind VALUES (false)")
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert python(code).returncode == -signal.SIGKILL
    for opened in (database.reading, database.writing):
        with opened() as connection:
            assert rows(connection, "SELECT synthetic FROM store_kind") == [(True,)]


def test_every_table_says_what_it_holds_and_the_less_plain_columns_too():
    with new_database().reading() as connection:
        tables = dict(rows(connection, "SELECT table_name, comment FROM duckdb_tables()"))
        columns = rows(connection, "SELECT table_name || '.' || column_name, comment FROM duckdb_columns()")
    assert [table for table, comment in tables.items() if not comment] == ["schema_version"]
    assert tables["revisions"] == "Each daily bar that was replaced, as it stood before"
    comments = {name: comment for name, comment in columns if comment}
    assert comments["price_history_daily.pulled_at"] == "Instant (UTC) the payload was received"
    assert comments["corporate_actions.date"] == "Ex-date"
    assert {name.split(".")[0] for name in comments} >= set(TABLES) - {"store_kind"}


def test_a_database_of_the_version_before_is_brought_forward_with_its_rows():
    scripts = files("market_data.warehouse").joinpath("migrations")
    first = scripts.joinpath("0001_initial.sql").read_text(encoding="utf-8")
    path = made_by(first, "store.duckdb")
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE schema_version (version INTEGER, name VARCHAR, applied_at TIMESTAMP)")
        connection.execute("INSERT INTO schema_version VALUES (1, '0001_initial.sql', now()::TIMESTAMP)")
        connection.execute(
            "INSERT INTO coverage VALUES ('r', 'AAPL', '1d', 'stooq_bulk', '2021-01-19', '2021-01-20', 'answered', "
            "'h', '2026-01-20', 'u', 200, 't', 1, 1, 1.0, NULL, NULL, 'job')"
        )
        connection.execute("INSERT INTO provider_metrics VALUES ('stooq_bulk', '2026-01-20', 1, 1, 0, 0, 0, 1, 1, 1)")
        bar = (
            "'AAPL', '2021-01-19', 10, 11, 9, 10.5, 1000, NULL, NULL, 'split', '2026-01-19', 'yahoo', 'h', '2026-01-20'"
        )
        connection.execute(f"INSERT INTO price_history_daily VALUES ({bar})")
        connection.execute(f"INSERT INTO revisions VALUES ({bar}, '2026-01-21', 'i')")
        for kind in ("split", "dividend"):
            action = f"'AAPL', '2021-01-20', '{kind}', 2, 'yahoo', 'h', '2026-01-20'"
            connection.execute(f"INSERT INTO corporate_actions VALUES ({action})")
    database = Database(path)
    database.prepare()
    with database.reading() as connection:
        assert rows(connection, "SELECT request_id, feed, verdict FROM coverage") == [("r", "bars", None)]
        assert rows(connection, "SELECT provider_name, accepted, not_served FROM provider_metrics") == [
            ("stooq_bulk", 1, 0)
        ]
        turned = "close, basis, sent_basis, sent_as_of, price_factor, volume_factor, known_at, amendment_id"
        for table in ("price_history_daily", "revisions"):
            assert rows(connection, f"SELECT {turned} FROM {table}") == [
                (10.5, "split", "split", naive(day="2026-01-19"), 1.0, 1.0, naive(day="2026-01-20"), None)
            ]
        assert rows(connection, "SELECT reason FROM revisions") == [("payload",)]
        assert rows(connection, "SELECT kind, value, adjusted_as_of, raw_hash FROM reported_actions ORDER BY kind") == [
            ("dividend", 2.0, naive(day="2026-01-20"), "h"),
            ("split", 2.0, None, "h"),
        ]
        assert rows(connection, "SELECT version FROM schema_version ORDER BY 1") == [
            (number,) for number in range(1, SCHEMA_VERSION + 1)
        ]


def test_the_newest_migration_is_the_schema_version_and_is_noted_as_applied():
    names = sorted(item.name for item in files("market_data.warehouse").joinpath("migrations").iterdir())
    scripts = [name for name in names if name.endswith(".sql")]
    assert [int(name[:4]) for name in scripts] == list(range(1, SCHEMA_VERSION + 1))
    with new_database().reading() as connection:
        noted = rows(connection, "SELECT version, name, applied_at <= now()::TIMESTAMP FROM schema_version")
    assert noted == [(number, name, True) for number, name in enumerate(scripts, start=1)]
