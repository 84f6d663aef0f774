"""`market-data export`: what it prints, and its exit codes."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner, Result

from market_data.cli.export import export
from market_data.errors import SettingsError
from market_data.settings import Settings
from market_data_tests.exporting import build

APP = typer.Typer()
APP.command()(export)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Settings:
    return build(tmp_path_factory.mktemp("store"), synthetic=True)


@pytest.fixture
def run(store):
    surroundings = {
        "COLUMNS": "200",
        "MARKET_DATA_RUNTIME": str(store.runtime),
        "MARKET_DATA_UNIVERSE": str(store.universe),
        "MARKET_DATA_WINDOW_START": "2023-11-01",
        "MARKET_DATA_WINDOW_END": "2024-01-31",
    }

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(APP, list(arguments), env=surroundings)

    return run


def test_an_export_is_made_told_of_and_verified(run, tmp_path):
    done = run("--format", "zipline", "--out", "bundle", "--symbols", "AAPL,GAP")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("SYNTHETIC data")
    assert "bundle: 2 symbols, 124 rows in 2 files" in done.stdout
    assert "look at GAP: 3 sessions without a bar" in done.stdout
    checked = run("--verify", "bundle")
    assert (checked.exit_code, checked.stdout) == (0, "bundle is whole: 2 files, 124 rows\n")
    (tmp_path / "bundle/daily/AAPL.csv").unlink()
    checked = run("--verify", "bundle", "--json")
    assert checked.exit_code == 1
    assert json.loads(checked.stdout) == {
        "folder": "bundle",
        "whole": False,
        "problems": ["daily/AAPL.csv: missing"],
        "files": 2,
        "rows": 124,
    }


def test_a_symbol_that_is_refused_is_named_and_the_exit_code_is_1(run):
    done = run("--format", "csv", "--out", "out", "--symbols", "AAPL,RUMOR")
    assert done.exit_code == 1
    assert "left out RUMOR: not to be had in basis total_return" in done.stdout
    document = json.loads(run("--format", "csv", "--out", "out", "--symbols", "AAPL,RUMOR", "--json").stdout)
    assert list(document["refused"]) == ["RUMOR"]
    assert (document["good"], document["files"], document["synthetic"]) == (False, 1, True)
    assert run("--format", "csv", "--out", "more", "--symbols", "AAPL,RUMOR", "--allow_untold").exit_code == 0


def test_span_basis_fields_and_instant_are_taken(run):
    done = run(
        "--format", "parquet", "--out", "out", "--symbols", "AAPL", "--basis", "raw", "--fields", "close, volume",
        "--start", "2023-12-01", "--end", "2023-12-29", "--as-of", "2024-06-28T20:00Z", "--json",
    )  # fmt: skip
    document = json.loads(done.stdout)
    assert (document["start"], document["end"], document["as_of"]) == (
        "2023-12-01", "2023-12-29", "2024-06-28T20:00:00+00:00",
    )  # fmt: skip
    assert (document["rows"], document["request"]["fields"]) == (20, ["close", "volume"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give --format and --out FOLDER, or --verify FOLDER"),
        (("--format", "excel", "--out", "out"), "format 'excel' is not known"),
        (("--format", "csv", "--out", "out", "--as-of", "yesterday"), "--as-of yesterday: give a date"),
    ],
)
def test_bad_input_is_refused(run, arguments, said):
    done = run(*arguments)
    assert isinstance(done.exception, SettingsError)
    assert said in str(done.exception)
