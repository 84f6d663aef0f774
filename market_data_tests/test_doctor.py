"""`market-data doctor`: what each check says of a store that is well, and of one that is not."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from filelock import FileLock
from typer.testing import CliRunner

from market_data.cli import app
from market_data.clock import SandboxClock
from market_data.keeping.doctor import orchestration, software, store
from market_data.keeping.doctor.check import Check
from market_data.keeping.doctor.examine import examine
from market_data.selection.quota import Closure, QuotaLedger
from market_data.settings import Settings, load_settings
from market_data.warehouse.connection import SCHEMA_VERSION
from market_data_tests.conftest import PROJECT
from market_data_tests.stored import Store


def one(look: Callable[..., Iterator[Check]], *arguments: object) -> Check:
    [check] = look(*arguments)
    return check


def told(name: str, environ: dict[str, str] | None = None) -> Check:
    """The check of a name, among all of them."""
    [check] = [check for check in examine(environ or {}) if check.name == name]
    return check


def test_an_empty_folder_is_fit_to_begin_with(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["doctor", "--json"])

    document = json.loads(done.stdout)
    by_name = {check["name"]: check for check in document["checks"]}
    assert (done.exit_code, document["good"]) == (0, True)
    assert by_name["database"]["status"] == "warn"
    assert by_name["database"]["mend"] == "market-data demo, backfill or sync makes it"
    assert by_name["universe"]["told"] == "270 instruments"
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_well_is_told_line_by_line() -> None:
    Store("AAPL")
    done = CliRunner().invoke(app, ["doctor"], env={"DAGSTER_HOME": str(PROJECT)})

    assert done.exit_code == 0, done.stdout
    assert f"ok    database synthetic.duckdb  schema {SCHEMA_VERSION}, 5 bars, the last of 2021-01-25" in done.stdout
    assert "SYNTHETIC" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("0 failed")


def test_a_broken_settings_file_is_told_and_what_needs_no_settings_is_looked_at() -> None:
    Path("market_data.toml").write_text("runtime = [", encoding="utf-8")
    done = CliRunner().invoke(app, ["doctor", "--json"])

    document = json.loads(done.stdout)
    assert (done.exit_code, document["good"]) == (1, False)
    statuses = {check["name"]: check["status"] for check in document["checks"]}
    assert statuses["settings"] == "fail"
    assert {"python", "packages", "DAGSTER_HOME"} < set(statuses)
    [settings] = [check for check in document["checks"] if check["name"] == "settings"]
    assert settings["told"].startswith("market_data.toml: not valid TOML")
    assert "market-data init --force" in settings["mend"]


def test_a_wrong_providers_file_and_a_wrong_universe_are_told_with_their_lines(monkeypatch) -> None:
    Path("p.yaml").write_text("polygon:\n  tier: [\n", encoding="utf-8")
    Path("u.csv").write_text("symbol\nnot a symbol\n", encoding="utf-8")
    monkeypatch.setenv("MARKET_DATA_PROVIDERS", "p.yaml")
    monkeypatch.setenv("MARKET_DATA_UNIVERSE", "u.csv")
    assert told("providers").status == told("universe").status == told("keys").status == "fail"
    assert "p.yaml: line" in told("providers").told
    assert "u.csv" in told("universe").told


class TestDatabase:
    """What may be wrong with the database."""

    def test_a_corrupt_file_is_left_as_it_is_and_the_mend_is_named(self) -> None:
        path = Path("runtime/synthetic.duckdb")
        path.parent.mkdir()
        path.write_bytes(b"not a database at all" * 1000)
        check = told("database synthetic.duckdb")
        assert check.status == "fail"
        assert "not a usable DuckDB database" in check.told
        assert "rebuild --from-raw --swap" in check.mend
        assert path.read_bytes().startswith(b"not a database")

    def test_a_database_of_something_else_is_told(self) -> None:
        Path("runtime").mkdir()
        with duckdb.connect("runtime/synthetic.duckdb") as connection:
            connection.execute("CREATE TABLE songs (title VARCHAR)")
        check = told("database synthetic.duckdb")
        assert (check.status, check.told.split(":")[0]) == ("fail", "not a database of market_data")

    def test_a_newer_schema_wants_an_upgrade_and_an_older_one_a_backup_first(self) -> None:
        made = Store("AAPL")
        made.execute(f"INSERT INTO schema_version VALUES ({SCHEMA_VERSION + 1}, 'x', now()::TIMESTAMP)")
        check = told("database synthetic.duckdb")
        assert (check.status, check.mend) == ("fail", "upgrade market_data")
        made.execute("DELETE FROM schema_version WHERE version > 6")
        check = told("database synthetic.duckdb")
        assert check.status == "warn"
        assert check.told.startswith("schema 6, 5 bars, the last of 2021-01-25; ")
        assert f"the next command that writes brings it to {SCHEMA_VERSION}" in check.told

    def test_who_holds_it_is_named(self) -> None:
        Store("AAPL")
        code = "import duckdb, sys\nc = duckdb.connect('runtime/synthetic.duckdb')\nprint('open', flush=True)\ninput()"
        holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            assert holder.stdout is not None
            holder.stdout.readline()
            check = told("database synthetic.duckdb")
        finally:
            holder.communicate(b"\n", timeout=30)
        assert (check.status, f"process {holder.pid}" in check.told) == ("warn", True)


def test_an_ingest_under_way_is_told_with_its_process() -> None:
    settings = Settings(runtime=Path("runtime"))
    assert one(store.ingest_lock, settings).told == "free"
    settings.runtime.mkdir()
    with FileLock("runtime/ingest.lock"):
        check = one(store.ingest_lock, settings)
    assert check.status == "warn"
    assert check.told.startswith("an ingest is under way")
    assert f"process {os.getpid()}" in check.told or not Path("/proc/locks").exists()
    assert one(store.ingest_lock, settings).status == "ok"


class TestKeys:
    """Keys are told of by their variables, never by their values."""

    def test_those_that_are_set_and_those_that_are_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MARKET_DATA_SOURCE", "vendors")
        check = told("keys", {"POLYGON_API_KEY": "KEYOFPOLYGON1"})
        assert (check.status, check.told) == (
            "warn",
            "polygon is set; not set: ALPHA_VANTAGE_API_KEY (alpha_vantage)",
        )
        both = {"POLYGON_API_KEY": "KEYOFPOLYGON1", "ALPHA_VANTAGE_API_KEY": "K2"}
        assert told("keys", both).status == "ok"
        assert all("KEYOFPOLYGON1" not in check.told + check.mend for check in examine(both))

    def test_a_source_that_cannot_be_asked_without_its_key_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MARKET_DATA_SOURCE", "polygon")
        check = told("keys")
        assert check.status == "fail"
        assert "polygon cannot be asked without POLYGON_API_KEY" in check.told

    def test_a_malformed_key_is_told_without_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MARKET_DATA_SOURCE", "vendors")
        check = told("keys", {"POLYGON_API_KEY": "SECRET WITH BLANK"})
        assert check.status == "fail"
        assert "SECRET" not in check.told
        assert "POLYGON_API_KEY" in check.told

    def test_the_sandbox_needs_none(self) -> None:
        assert told("keys").status == "ok"


def test_a_vendor_that_is_left_alone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKET_DATA_SOURCE", "vendors")
    until = datetime(2040, 1, 2, 3, tzinfo=UTC)
    QuotaLedger(Path("runtime/calls.sqlite")).close("stooq", Closure(until, "NotEntitled", "a browser check"))
    check = told("quotas")
    assert check.status == "warn"
    assert "stooq is left alone until 2040-01-02 03:00:00 UTC: NotEntitled: a browser check" in check.told


def test_an_archive_that_is_not_there_and_one_that_is_wanted_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKET_DATA_SOURCE", "stooq_bulk")
    assert told("archive").told == "the source is stooq_bulk and no archive is set"
    monkeypatch.setenv("MARKET_DATA_ARCHIVE", "d_us_txt.zip")
    assert (told("archive").status, told("archive").told) == (
        "fail",
        "d_us_txt.zip: there is no such folder or zip",
    )


def test_a_clock_before_what_is_stored_fails() -> None:
    Store("AAPL")  # received on 2026-01-20
    settings = load_settings()
    assert one(store.clock, settings).status == "ok"
    SandboxClock(settings.sandbox_clock_file).set(datetime(2026, 1, 18, tzinfo=UTC), rate=0)
    check = one(store.clock, settings)
    assert check.status == "fail"
    assert "the sandbox's shows 2026-01-18 00:00, before 2026-01-20" in check.told


def test_little_room_is_a_warning_and_none_a_failure() -> None:
    settings = Settings(runtime=Path("runtime"))
    assert [one(store.disk, settings, free).status for free in (10**10, 5 * 10**8, 10**8)] == ["ok", "warn", "fail"]
    assert one(store.disk, settings, 5 * 10**8).told == "0.5 GB free, 1.0 GB wanted"


def test_a_runtime_folder_that_cannot_be_written_fails() -> None:
    Path("file").write_text("")
    check = one(store.runtime, Settings(runtime=Path("file")))
    assert (check.status, "cannot be written: Not a directory" in check.told) == ("fail", True)


def test_temporary_files_of_dead_processes_are_counted_once_they_are_a_day_old() -> None:
    settings = Settings(runtime=Path("runtime"))
    for place in ("raw/ab", "dagster/storage"):
        file = settings.runtime / place / "x.part"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"12345")
    assert one(store.leftovers, settings).status == "ok"
    check = one(store.leftovers, settings, lambda: datetime.now(UTC) + timedelta(days=2))
    assert (check.status, check.told) == ("warn", "1 temporary files of dead processes, 5 bytes")
    assert check.mend == "market-data tidy"


class TestDagster:
    """DAGSTER_HOME, the daemon and the port of its UI."""

    def test_home_must_be_the_folder_of_the_projects_dagster_yaml(self, tmp_path: Path) -> None:
        def status(folder: str) -> str:
            return one(orchestration.home, {"DAGSTER_HOME": folder}).status

        assert (status(""), status(str(tmp_path)), status(".")) == ("warn", "fail", "fail")
        (tmp_path / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
        assert status(str(tmp_path)) == "warn"
        assert status(str(PROJECT)) == "ok"

    def test_the_daemons_last_sign_of_life_is_read_from_its_own_file(self, tmp_path: Path) -> None:
        settings, environ = Settings(runtime=Path("runtime")), {"DAGSTER_HOME": str(tmp_path)}
        now = datetime(2026, 1, 20, 12, tzinfo=UTC)
        assert one(orchestration.daemon, settings, environ).told == "has not run here so far"
        file = tmp_path / "runtime/dagster/history/runs.db"
        file.parent.mkdir(parents=True)
        with sqlite3.connect(file) as connection:
            connection.execute("CREATE TABLE daemon_heartbeats (daemon_type TEXT, timestamp TIMESTAMP)")
            connection.execute("INSERT INTO daemon_heartbeats VALUES ('SENSOR', '2026-01-20 11:58:00.000000')")
        connection.close()
        assert one(orchestration.daemon, settings, environ, lambda: now).told == "alive, at 2026-01-20 11:58 UTC"
        later = one(orchestration.daemon, settings, environ, lambda: now + timedelta(hours=1))
        assert (later.status, later.told) == ("warn", "gave its last sign of life at 2026-01-20 11:58 UTC")

    def test_a_taken_port_is_told(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            number = server.getsockname()[1]
            settings = Settings(ui_url=f"http://127.0.0.1:{number}")
            assert one(orchestration.port, settings).status == "warn"
        assert one(orchestration.port, settings).told == f"{number} is free"
        assert one(orchestration.port, Settings(ui_url="https://dagster.example/")).status == "ok"


class TestSoftware:
    """Python and the packages."""

    @pytest.mark.parametrize(
        ("version", "status"), [((3, 10, 9), "fail"), ((3, 11, 0), "ok"), ((3, 13, 2), "ok"), ((3, 14, 0), "fail")]
    )
    def test_pythons(self, version: tuple[int, int, int], status: str) -> None:
        assert one(software.python, version).status == status

    @pytest.mark.parametrize(
        ("found", "specifiers", "expected"),
        [
            ("1.13.28", ">=1.13.27,<1.14", True),
            ("1.14.0", ">=1.13.27,<1.14", False),
            ("1.14", "<1.14.0", False),
            ("2.0", ">=2", True),
            ("0.9.9", ">=0.10", False),
            ("3.0.0rc1", ">=3.0,!=3.1", True),
            ("1.0", "~=1.0", True),
        ],
    )
    def test_versions_within_ranges(self, found: str, specifiers: str, expected: bool) -> None:
        assert software.is_within(found, specifiers) is expected

    def test_what_is_absent_or_outside_its_range_fails(self, tmp_path: Path) -> None:
        declared = ["duckdb>=999", "nothing-of-this-name>=1", "httpx[http2]>=0.1", 'tzdata>=1; sys_platform == "win32"']
        check = one(software.packages, declared, tmp_path / "none.lock")
        assert check.status == "fail"
        assert "nothing-of-this-name is not installed" in check.told
        assert "is not within >=999" in check.told
        assert "httpx" not in check.told
        assert "make venv" in check.mend

    def test_another_version_than_the_locked_one_is_a_warning(self, tmp_path: Path) -> None:
        lock = tmp_path / "requirements.lock"
        lock.write_text(
            "duckdb==0.0.1 \\\n    --hash=sha256:0\nnot-here==1\ncolorama==0.4.6 ; sys_platform == 'win32' \\\n"
        )
        check = one(software.packages, ["duckdb>=0"], lock)
        assert software.pinned(lock) == {"duckdb": "0.0.1", "not-here": "1"}
        assert check.status == "warn"
        assert f"duckdb {duckdb.__version__} (lock 0.0.1)" in check.told

    def test_the_projects_own_lock_can_be_read(self) -> None:
        pins = software.pinned(PROJECT / "requirements.lock")
        assert {"dagster", "duckdb", "pandas", "typer"} <= set(pins)
