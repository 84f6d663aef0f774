"""What people and programs get of a report: the terminal, JSON, CSV, Markdown, and whole files."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from market_data.errors import SettingsError
from market_data.report.validation.document import Finding, ReportDocument, RuleRow
from market_data.report.validation.markdown import plain_text, summary
from market_data.report.validation.plain import as_json, as_plain
from market_data.report.validation.tables import TABLES, symbols_csv, table_csv, write_tables
from market_data.report.validation.terminal import print_report
from market_data.report.validation.written import write_text
from market_data_tests.reported import DATES, NOW, collected, known_report, known_store, new_store


@pytest.fixture
def document() -> ReportDocument:
    return known_report()


def printed(document: ReportDocument, width: int = 80) -> str:
    """What the terminal shows of it."""
    text = io.StringIO()
    print_report(Console(file=text, width=width, highlight=False, color_system=None), document)
    return text.getvalue()


def words(line: str) -> list[str]:
    return line.split()


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_terminal_fits_eighty_columns_and_says_the_figures_and_where_to_look(document):
    text = printed(document)
    assert max(map(len, text.splitlines())) <= 80
    lines = [words(line) for line in text.splitlines()]
    assert words("Validation report, 2021-01-19 to 2021-01-25 SYNTHETIC data") in lines
    assert words("coverage 39.13%: 9 bars of 23 expected") in lines
    assert words("gaps 13 sessions open, 1 known to be nowhere") in lines
    assert words("2021 39.1") in lines
    assert words("polygon 5 55.56% 5 0 40 -") in lines
    assert words("IBM 2021-01-20 2021-01-25 4 open the batch was refused") in lines
    assert words("1 corporate actions: 1 splits") in lines
    assert words("polygon and yahoo: 2 of 3 compared sessions differ") in lines
    assert words("completeness no 9 of 15 expected bars (60.00%)") in lines
    flat = " ".join(text.split())
    assert "Lowest scores, 4 of 4 symbols below 1" in flat
    assert "stale_run warning 1 1 MSFT 2021-01-22: close" in flat
    assert "1 bars were replaced, the last AAPL 2021-01-20 (payload)" in flat


def test_what_is_not_whole_is_not_rounded_to_all(document):
    almost = replace(document.headline, coverage=0.99999, mean_score=0.99999)
    text = printed(replace(document, headline=almost))
    assert "99.99%" in text
    assert "mean score  0.9999" in text


def test_a_report_of_nothing_says_so_and_what_loads_it(tmp_path):
    empty = collected(new_store(tmp_path))
    told = " ".join(printed(empty).split())
    assert "nothing is expected of this span: no symbol was asked for yet" in told
    assert "`market-data backfill` loads it" in told
    weekend = collected(known_store(), date(2021, 1, 23), date(2021, 1, 24))
    assert "no session lies in this span, or none of it is due yet" in printed(weekend)
    assert summary(empty) == "Nothing is expected from 2021-01-19 to 2021-01-25 yet."
    assert read(symbols_csv(empty)) == []


def nasty(text: str, document: ReportDocument) -> ReportDocument:
    """The report with a text in every place that data fills."""
    finding = Finding("MSFT", DATES[0], text, "warning", text, 1.0, 0.0, text, text)
    rule = RuleRow(text, "warning", "", 1, 1, (finding,))
    return replace(
        document,
        findings=(finding,),
        rules=(rule,),
        symbols=tuple(replace(row, name=text, reason=text) for row in document.symbols),
        gaps=tuple(replace(row, reason=text) for row in document.gaps),
        checks=tuple(replace(row, summary=text) for row in document.checks),
    )


def test_markup_and_control_sequences_of_data_reach_neither_terminal_nor_markdown(document):
    text = "[red]x[/red] \x1b[2J\x07 | <script>alert(1)</script> `code`\n# head"
    shown = printed(nasty(text, document), width=200)
    assert "[red]x[/red]" in shown
    assert "\x1b" not in shown
    assert "\x07" not in shown
    told = summary(nasty(text, document))
    assert "<script>" not in told
    assert r"\<script\>" in told
    assert "\n# head" not in told
    assert [line.count(" | ") for line in told.splitlines() if line.startswith("| IBM")] == [3]


@given(st.text(st.characters(codec="utf-8"), max_size=30))
@settings(max_examples=50)
def test_markdown_of_any_text_is_one_line_without_a_bare_special(text):
    told = plain_text(text)
    assert "\n" not in told
    bare = told.replace("\\\\", "")
    assert all(bare[place - 1] == "\\" for place, letter in enumerate(bare) if letter in "|<>`*[")


def test_the_json_document_has_every_figure_in_plain_types_and_null_for_what_is_not_known(document):
    broken = replace(
        document,
        symbols=(replace(document.symbols[0], mean_score=float("nan"), coverage=float("inf")),),
        series=(replace(document.series[0], adjusted=np.full(5, np.nan)),),
    )
    told = json.loads(as_json(broken, concerns=["a"]), parse_constant=pytest.fail)
    assert (told["headline"]["rows"], told["start"], told["concerns"]) == (9, "2021-01-19", ["a"])
    assert told["generated_at"] == NOW.isoformat()
    [symbol] = told["symbols"]
    assert (symbol["mean_score"], symbol["coverage"], symbol["providers"]) == (None, None, {"polygon": 5})
    [series] = told["series"]
    assert (series["sessions"], series["adjusted"], series["raw"][4]) == ([0, 1, 2, 3, 4], [None] * 5, 5.25)
    assert [told["gaps"][0][name] for name in ("symbol", "first", "last")] == ["IBM", "2021-01-20", "2021-01-25"]
    assert {"rule", "severity", "findings", "examples"} <= set(told["rules"][0])
    assert "series" not in as_plain(replace(document, series=()))


def test_the_csv_has_a_row_a_symbol(document):
    rows = {row["symbol"]: row for row in read(symbols_csv(document))}
    assert list(rows) == ["AAPL", "IBM", "KO", "LATE", "MSFT"]
    assert (rows["MSFT"]["coverage"], rows["MSFT"]["mean_score"], rows["MSFT"]["providers"]) == (
        "0.8",
        "0.74",
        "yahoo 4",
    )
    assert (rows["IBM"]["first"], rows["IBM"]["rejected"]) == ("", "5")
    assert rows["IBM"]["reason"].startswith("1 bar with a negative price")


def test_text_that_a_spreadsheet_would_run_gets_an_apostrophe_and_numbers_do_not(document):
    rows = {row["symbol"]: row for row in read(symbols_csv(document))}
    assert rows["LATE"]["name"] == '\'=HYPERLINK("http://x.test")'
    [negative] = [row for row in read(table_csv(document, "findings")) if row["date"] and row["provider"] == "polygon"]
    assert (negative["value"], negative["message"]) == ("-3", "low below zero, lowest -3")


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=20))
@settings(max_examples=50)
def test_no_text_cell_of_any_table_begins_as_a_formula(text):
    base = Finding("MSFT", date(2021, 1, 19), text, "warning", "close", -1.0, None, text, text)
    told = table_csv(_only(base), "findings")
    [row] = list(csv.DictReader(io.StringIO(told, newline="")))
    assert row["value"] == "-1"
    for name in ("rule", "message", "provider"):
        assert not row[name].startswith(("=", "+", "-", "@", "\t"))
        assert row[name] in (text, f"'{text}")


def _only(finding: Finding) -> ReportDocument:
    """A document of which only the findings are looked at."""
    return replace(_EMPTY, findings=(finding,))


_EMPTY = ReportDocument(
    NOW, DATES[0], DATES[4], True, "", "", None, (), (), (), (), (), (), (), (), (), (), (), (), {},
)  # fmt: skip


def test_a_folder_gets_every_table(document, tmp_path):
    files = write_tables(document, tmp_path / "tables")
    assert [file.stem for file in files] == list(TABLES)
    tables = {file.stem: read(file.read_text("utf-8")) for file in files}
    assert [row["session"] for row in tables["sessions"]] == [str(day) for day in DATES]
    assert tables["months"][0] == {"symbol": "AAPL", "month": "2021-01", "coverage": "1"}
    assert tables["actions"][0]["value"] == "2"
    assert (tables["gaps"][0]["state"], tables["gaps"][0]["next_try"]) == ("open", "")
    assert tables["reconciliation"][0]["symbols"] == "AAPL"
    assert tables["restatements"][0]["replaced_at"] == "2021-01-26T01:00:00+00:00"
    assert [row["passed"] for row in tables["checks"]][:2] == ["true", "false"]
    assert tables["providers"][0]["provider"] in {"polygon", "yahoo"}


def test_a_file_is_replaced_whole_and_one_that_cannot_be_written_is_named(tmp_path):
    file = tmp_path / "new" / "report.txt"
    assert write_text(file, "one") == file
    write_text(file, "two")
    assert (file.read_text(), [path.name for path in file.parent.iterdir()]) == ("two", ["report.txt"])
    (tmp_path / "plain").write_text("")
    with pytest.raises(SettingsError, match=r"plain/report\.txt: cannot be written: "):
        write_text(tmp_path / "plain" / "report.txt", "three")


def test_the_summary_has_the_headline_the_lowest_scores_and_the_failing_checks(document):
    told = summary(document)
    assert "| coverage | 39.13%: 9 bars of 23 |" in told
    assert "| MSFT | 0.7400 | 80.00% | stale\\_run 1, missing\\_session 1 |" in told
    assert "| IBM | 0.0000 | 0.00% | 1 bar with a negative price" in told
    assert "| completeness | no | 9 of 15 expected bars (60.00%) |" in told
