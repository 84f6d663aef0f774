"""`market-data gaps`: what a person is told of gaps, and what asking for them ends with."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from market_data.cli.gaps import gaps
from market_data.errors import SettingsError, SymbolError, WarehouseError
from market_data_tests import archives
from market_data_tests.archives import bars, put_file, write_archive

DAY = date(2024, 3, 6)
APP = typer.Typer(pretty_exceptions_enable=False)
APP.command()(gaps)


@pytest.fixture
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings of a small store, and the folder it lies in."""
    (tmp_path / "universe.csv").write_text("symbol,listed_by\nAAA,2020-01-02\nBBB,2020-01-02\n", encoding="utf-8")
    for name, value in {
        "RUNTIME": tmp_path / "runtime",
        "ARCHIVE": tmp_path / "archive",
        "UNIVERSE": "universe.csv",
        "WINDOW_START": archives.START,
        "WINDOW_END": archives.END,
        "KEEP_CURRENT": "false",
    }.items():
        monkeypatch.setenv(f"MARKET_DATA_{name}", str(value))
    return tmp_path


@pytest.fixture
def archive(surroundings: Path) -> Path:
    """An archive that lacks a session of AAA, loaded."""
    folder = write_archive(surroundings / "archive", ["AAA", "BBB"])
    put_file(folder, "AAA", bars("AAA")[lambda frame: frame["date"].dt.date != DAY])
    archives.Run(surroundings / "runtime", folder).run(symbols=["AAA", "BBB"])
    return folder


def told(*arguments: str, code: int = 0) -> dict:
    result = CliRunner().invoke(APP, [*arguments, "--json"])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_gaps_are_told_asked_for_given_up_and_asked_for_again(archive: Path) -> None:
    first = told()
    assert (first["open"], first["known"], first["synthetic"], first["run"]) == (1, 0, False, None)
    [gap] = first["gaps"]
    assert (gap["symbol"], gap["first_date"], gap["last_date"], gap["state"]) == ("AAA", f"{DAY}", f"{DAY}", "open")

    second = told("--fill", code=1)
    assert (second["open"], second["known"], second["run"]["became_known"]) == (0, 1, 1)
    assert second["gaps"][0]["reason"] == "stooq_bulk answered without a usable bar"
    assert told("--fill")["run"]["asked"] == 0

    put_file(archive, "AAA", bars("AAA"))
    third = told("--retry", "--fill", "--symbol", "aaa")
    assert third["opened_again"] == 1
    assert third["run"]["filled"] == [{"symbol": "AAA", "date": f"{DAY}", "provider": "stooq_bulk"}]
    assert (third["open"], third["known"], third["closed"], third["gaps"]) == (0, 0, 1, [])
    assert [row["reason"] for row in told("--state", "closed")["gaps"]] == ["filled"]


def test_without_a_database_the_mend_is_named(surroundings: Path) -> None:
    (surroundings / "archive").mkdir()
    with pytest.raises(WarehouseError, match="no database yet; run `market-data backfill` first"):
        CliRunner().invoke(APP, [], catch_exceptions=False)
    assert not (surroundings / "runtime").exists()


def test_the_table_names_each_span_with_its_reason(archive: Path) -> None:
    result = CliRunner().invoke(APP, ["--state", "open"], env={"COLUMNS": "200"})

    assert result.exit_code == 0
    assert "AAA" in result.stdout
    assert f"{DAY}" in result.stdout
    assert "answered without a usable bar" in result.stdout
    assert result.stdout.splitlines()[-1] == "1 open, 0 known, 0 closed"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["--state", "lost"], SettingsError, "--state 'lost' is not one of open, known, closed"),
        (["--provider", "nobody"], SettingsError, "--provider 'nobody' is unknown"),
        (["--symbol", "ZZZ"], SymbolError, "ZZZ is not in the universe"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(
    surroundings: Path, arguments: list[str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message.split(" (", maxsplit=1)[0]):
        CliRunner().invoke(APP, arguments, catch_exceptions=False)
