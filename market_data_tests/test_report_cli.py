"""`market-data report`: its formats, where they go, exit codes, and what is said of bad input."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest
import typer

from market_data.cli.report import report
from market_data.errors import MarketDataError
from market_data.settings import Settings
from market_data_tests.reported import DAYS, known_store, new_store

PROGRAM = typer.Typer()
PROGRAM.command()(report)


def asked_of(*arguments: str) -> int:
    """Run the command; gives its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["report", *arguments])
        patch.setenv("COLUMNS", "80")
        try:
            PROGRAM()
        except SystemExit as ended:
            return int(ended.code or 0)
    return 0


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The environment of the known store; its mean score is above the least."""
    filled = known_store()
    monkeypatch.setenv("MARKET_DATA_RUNTIME", str(filled.runtime))
    monkeypatch.setenv("MARKET_DATA_UNIVERSE", str(filled.universe))
    monkeypatch.setenv("MARKET_DATA_MIN_DATA_QUALITY", "0.2")
    return filled


def test_without_options_it_tells_the_whole_window_up_to_the_last_session_due(known, capsys):
    assert asked_of() == 0
    printed = capsys.readouterr()
    assert "Validation report, 2021-01-19 to 2021-01-25  SYNTHETIC data" in printed.out
    assert "39.13%: 9 bars of 23 expected" in printed.out
    assert "look at" not in printed.err
    assert max(map(len, printed.out.splitlines()[2:])) <= 80


def test_a_low_mean_score_ends_with_1_and_the_report_is_there_all_the_same(known, capsys, monkeypatch):
    monkeypatch.setenv("MARKET_DATA_MIN_DATA_QUALITY", "0.6")
    assert asked_of("--json") == 1
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert document["headline"]["rows"] == 9
    assert document["concerns"] == ["the mean score is 0.3783, under 0.6 (MARKET_DATA_MIN_DATA_QUALITY)"]
    assert "look at the mean score is 0.3783" in " ".join(printed.err.split())


def test_json_is_one_document_with_series_where_they_are_asked_for(known, capsys):
    assert asked_of("--format", "json", "--symbol", "aapl,MSFT", "--end", DAYS[2], "--series") == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["symbol"] for row in document["symbols"]] == ["AAPL", "MSFT"]
    assert [item["raw"] for item in document["series"]] == [[10.5] * 3, [10.5] * 3]
    assert asked_of("--json", "--out", "deep/report.json") == 0
    told = json.loads(Path("deep/report.json").read_text("utf-8"))
    assert (told["headline"]["symbols"], "series" in told) == (5, False)
    assert "deep/report.json: 2021-01-19 to 2021-01-25, 5 symbols, 9 bars" in capsys.readouterr().out


def test_csv_is_a_row_a_symbol_and_of_a_folder_every_table(known, capsys):
    assert asked_of("--format", "csv") == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["symbol"] for row in rows] == ["AAPL", "IBM", "KO", "LATE", "MSFT"]
    assert asked_of("--format", "csv", "--out", "one.csv") == 0
    assert len(Path("one.csv").read_text().splitlines()) == 6
    assert asked_of("--format", "csv", "--out", "tables") == 0
    assert {"symbols.csv", "sessions.csv", "findings.csv", "gaps.csv"} <= {
        path.name for path in Path("tables").iterdir()
    }


def test_the_terminals_report_goes_to_a_file_too(known):
    assert asked_of("--out", "report.txt") == 0
    text = Path("report.txt").read_text("utf-8")
    assert "Validation report, 2021-01-19 to 2021-01-25" in text
    assert "\x1b" not in text


def test_html_goes_to_the_folder_of_reports_by_name_of_its_span(known, capsys):
    assert asked_of("--format", "html", "--start", DAYS[1]) == 0
    file = known.reports_folder / f"validation_{DAYS[1]}_{DAYS[4]}.html"
    assert str(file) in capsys.readouterr().out
    text = file.read_text("utf-8")
    assert text.lower().startswith("<!doctype html>")
    assert "negative price" in text
    assert asked_of("--format", "html", "--out", "my.html") == 0
    assert Path("my.html").is_file()
    assert [path.name for path in Path().glob(".*")] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--start", "2021-01-25", "--end", "2021-01-19"], "start 2021-01-25 is after end 2021-01-19"),
        (["--end", "2099-01-19"], "outside the sessions the store knows"),
        (["--symbols", "AAPL,NOBOD"], "NOBOD is not in the universe"),
        (["--real"], r"market_data\.duckdb: no database yet; run `market-data backfill` first"),
        (["--json", "--format", "html"], "--json and --format html are two formats; give one of them"),
        (["--format", "html", "--out", "."], r"--out \. is a folder; give a file"),
        (["--json", "--out", "."], r"--out \. is a folder; give a file"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(known, arguments, message):
    before = sorted(known.runtime.rglob("*"))
    with pytest.raises(MarketDataError, match=message):
        asked_of(*arguments)
    assert sorted(known.runtime.rglob("*")) == before
    assert list(Path().iterdir()) == []


def test_a_folder_is_not_made_in_place_of_a_file(known):
    Path("taken").write_text("mine")
    with pytest.raises(MarketDataError, match=r"--out taken is a file; give one that ends in \.csv"):
        asked_of("--format", "csv", "--out", "taken")
    assert Path("taken").read_text() == "mine"


def test_an_unknown_format_ends_with_2(known, capsys):
    assert asked_of("--format", "pdf") == 2
    assert "pdf" in capsys.readouterr().err


def test_an_empty_store_is_told_and_nothing_is_wrong(tmp_path, monkeypatch, capsys):
    empty = new_store(tmp_path)
    monkeypatch.setenv("MARKET_DATA_RUNTIME", str(empty.runtime))
    assert asked_of() == 0
    assert "nothing is expected of this span" in capsys.readouterr().out
