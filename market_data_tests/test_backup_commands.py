"""`market-data backup` and `market-data tidy`: what they print, and their exit codes."""

from __future__ import annotations

import json
import os

import pytest
import typer
from typer.testing import CliRunner, Result

from market_data.cli.backup import backup
from market_data.cli.housekeeping import tidy
from market_data.errors import SettingsError
from market_data.keeping.manifest import BackupError
from market_data_tests.stored import Store

TIDY = typer.Typer()
TIDY.command()(tidy)


@pytest.fixture
def store() -> Store:
    return Store("AAPL", "MSFT")


def run(*arguments: str, app: typer.Typer = backup, **more) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200", "DAGSTER_HOME": ""}, **more)


def created() -> str:
    done = run("create", "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)["name"]


def test_a_backup_is_made_listed_verified_and_put_back(store: Store):
    made = run("create")
    assert made.exit_code == 0
    assert "read back whole" in made.stdout
    assert "4 raw files" in made.stdout
    [told] = json.loads(run("list", "--json").stdout)
    name = told["name"]
    assert (told["synthetic"], told["rows"]["price_history_daily"], told["problem"]) == (True, 10, None)
    listed = run("list").stdout
    assert name in listed
    assert "SYNTHETIC" in listed
    assert run("verify", name).stdout == f"{name} is whole\n"
    store.execute("DELETE FROM price_history_daily")

    back = run("restore", name, "--yes")

    assert back.exit_code == 0
    assert "restored from" in back.stdout
    assert store.rows("SELECT count(*) FROM price_history_daily") == [(10,)]


def test_a_restore_asks_first_and_no_leaves_everything(store: Store):
    name = created()
    store.execute("DELETE FROM price_history_daily")
    refused = run("restore", name, input="n\n")
    assert refused.exit_code == 1
    assert f"Put {name} in the place of runtime/synthetic.duckdb" in refused.stderr
    assert store.rows("SELECT count(*) FROM price_history_daily") == [(0,)]
    assert run("restore", name, input="y\n").exit_code == 0
    assert store.rows("SELECT count(*) FROM price_history_daily") == [(10,)]
    assert isinstance(run("restore", name, "--json").exception, SettingsError)


def test_lost_payloads_are_told_by_the_exit_code(store: Store):
    name = created()
    store.bytes_file("AAPL").unlink()
    back = run("restore", name, "--yes")
    assert back.exit_code == 1
    assert f"the raw store lacks 1 payloads that the database names, as {store.payloads['AAPL'].sha256}" in back.stdout
    document = json.loads(run("restore", name, "--yes", "--json").stdout)
    assert document["missing"] == [store.payloads["AAPL"].sha256]


def test_a_damaged_backup_gives_one_and_an_unknown_name_an_error(store: Store):
    name = created()
    (store.settings.backups_folder / name / "database.duckdb").write_bytes(b"")
    checked = run("verify", name, "--json")
    assert checked.exit_code == 1
    assert "was altered: 0 bytes" in json.loads(checked.stdout)["problems"][0]
    assert isinstance(run("verify", "nothing").exception, BackupError)
    assert isinstance(run("restore", name, "--yes").exception, BackupError)


def test_a_listing_without_backups_says_so(store: Store):
    assert run("list").stdout == "no backups yet\n"
    assert json.loads(run("list", "--json").stdout) == []


def test_tidy_tells_what_goes_and_a_dry_run_leaves_it(store: Store):
    part = store.raw_store.folder / "x.part"
    part.write_bytes(b"12345")
    os.utime(part, (0, 0))
    told = run("--dry-run", app=TIDY)
    assert told.exit_code == 0
    assert "To be removed - SYNTHETIC data" in told.stdout
    assert "dry run, nothing is changed" in told.stdout
    assert "DAGSTER_HOME is not set" in told.stdout
    assert part.exists()
    document = json.loads(run("--json", app=TIDY).stdout)
    assert (document["bytes"], document["dry_run"], document["synthetic"], document["history"]) == (
        5,
        False,
        True,
        False,
    )
    assert {"kind": "part_files", "files": 1, "bytes": 5} in document["freed"]
    assert not part.exists()
