"""The assets, run as the UI runs them: what is stored, what is asked for, and what each materialization says."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest

from market_data.ingest.raw_store import RawStore
from market_data.warehouse.connection import Database
from market_data_tests.archives import bars
from market_data_tests.test_dagster_checks import ASSETS, DAYS, FIRST, LAST, SYMBOLS, Project, metadata_of, without

pytestmark = pytest.mark.filterwarnings("ignore:Parameter .backfill_policy.:dagster.BetaWarning")

SPAN = DAYS[0], DAYS[-1]
GAP = "2024-01-05"
PRICES = "SELECT symbol, date, open, high, low, close, volume FROM price_history_daily"


@pytest.fixture(scope="module")
def ranged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, dg.ExecuteInProcessResult]]:
    """A project after one run over its nine sessions; BBB lacks one of them."""
    with Project(tmp_path_factory.mktemp("ranged")) as project:
        project.put("BBB", without("BBB", GAP))
        result = project.run(*SPAN)
        assert result.success
        yield project, result


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project(tmp_path) as project:
        yield project


def negative(symbol: str, day: str) -> pd.DataFrame:
    frame = bars(symbol)
    frame.loc[frame["date"] == day, ["low", "close"]] = -3.0
    return frame


def end_early(project: Project, symbols: tuple[str, ...]) -> None:
    """Let the archive's files end two sessions before the window does."""
    for symbol in symbols:
        project.put(symbol, bars(symbol)[lambda frame: frame["date"] <= DAYS[-3]])


def sent(*days: str) -> list[tuple]:
    """The archive's rows of the days, as `PRICES` gives them."""
    return [
        (symbol, row.date.date(), row.open, row.high, row.low, row.close, row.volume)
        for symbol in SYMBOLS
        for row in bars(symbol).itertuples()
        if f"{row.date:%Y-%m-%d}" in days
    ]


def calls(project: Project, result: dg.ExecuteInProcessResult) -> dict[str, int]:
    return dict(project.rows("SELECT symbol, calls FROM ingestion_audit WHERE job_id = ?", [result.run_id]))


def failure(result: dg.ExecuteInProcessResult, step: str) -> str:
    """What the failed step says, causes and metadata included."""
    assert not result.success
    [event] = [event for event in result.all_events if event.is_step_failure and event.step_key == step]
    data = event.step_failure_data
    return f"{data.error_display_string} {data.user_failure_data and data.user_failure_data.metadata}"


def test_a_range_run_stores_every_bar_of_the_archive(ranged) -> None:
    project, _ = ranged

    gap = date.fromisoformat(GAP)
    stored = project.rows(f"{PRICES} ORDER BY symbol, date")
    assert stored == [row for row in sent(*DAYS) if row[:2] != ("BBB", gap)]
    assert len(stored) == 26
    lost = project.rows("SELECT symbol, date, verdict FROM data_quality_log WHERE verdict <> 'accepted'")
    assert lost == [("BBB", gap, "missing")]


def test_a_range_run_materializes_each_session_once_with_numbers_of_its_own(ranged) -> None:
    _, result = ranged

    assert {asset: list(metadata_of(result, asset)) for asset in ASSETS} == {asset: list(DAYS) for asset in ASSETS}
    prices, quality = metadata_of(result, "daily_prices"), metadata_of(result, "quality_log")
    for day in DAYS:
        held = 2 if day == GAP else 3
        assert prices[day]["dagster/partition_row_count"] == held
        assert (prices[day]["symbols"], prices[day]["missing"], prices[day]["rejected"]) == (3, 3 - held, 0)
        assert prices[day]["score"] == quality[day]["score"] == pytest.approx(held / 3)
        assert quality[day]["least_score"] == held - 2
        assert quality[day]["dagster/partition_row_count"] == 3
        assert quality[day]["flagged"] == 0


def test_what_is_about_the_whole_run_stands_at_its_last_session_alone(ranged) -> None:
    project, result = ranged
    raw, prices, quality = (metadata_of(result, asset) for asset in ASSETS)
    own = {"source", "database", "payloads", "providers", "p95_latency_ms"}

    assert all(set(raw[day]) == own for day in DAYS[:-1])
    assert not {"outcomes", "rows_inserted"} & {name for day in DAYS[:-1] for name in prices[day]}
    assert not {"range_expected", "scores and bars"} & {name for day in DAYS[:-1] for name in quality[day]}
    last = raw[DAYS[-1]]
    assert last["database"] == str(project.runtime / "market_data.duckdb")
    size = sum(file.stat().st_size for file in project.archive.rglob("*.txt"))
    assert {name: value for name, value in last.items() if name not in own} == {
        "symbols": 3, "calls": 3, "bytes": size, "failed": 0, "lacking": 0,
        "asked": "stooq_bulk 3",
    }  # fmt: skip
    last = prices[DAYS[-1]]
    assert (last["dagster/row_count"], last["rows_inserted"], last["rows_updated"]) == (26, 26, 0)
    assert last["outcomes"] == [{"outcome": "accepted", "symbols": 3}]
    last = quality[DAYS[-1]]
    names = ("range_expected", "range_held", "range_missing", "range_rejected", "range_unanswered")
    assert [last[name] for name in names] == [27, 26, 1, 0, 0]
    assert last["range_score"] == pytest.approx(26 / 27)
    assert [row["symbol"] for row in last["worst symbols"]] == ["BBB"]
    image = str(last["scores and bars"]).split("base64,")[1].rstrip(")")
    assert base64.b64decode(image).startswith(b"\x89PNG")


def test_a_run_writes_one_line_a_symbol_to_the_audit_file_of_its_id(ranged) -> None:
    project, result = ranged

    [file] = (project.runtime / "audit").iterdir()

    assert file.name == f"materialize_{result.run_id}.jsonl"
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    told = sorted((line["symbol"], line["outcome"], line["calls"]) for line in lines)
    assert told == [(symbol, "accepted", 1) for symbol in SYMBOLS]
    assert {line["job_id"] for line in lines} == {result.run_id}
    assert project.rows("SELECT job_id, finished_at IS NOT NULL FROM ingestion_jobs") == [(result.run_id, True)]


def test_a_single_session_stores_its_bars_alone_and_asks_for_the_whole_window_once(project: Project) -> None:
    first = project.run("2024-01-08")

    assert project.rows(f"{PRICES} ORDER BY symbol") == sent("2024-01-08")
    assert {asset: list(metadata_of(first, asset)) for asset in ASSETS} == {asset: ["2024-01-08"] for asset in ASSETS}
    assert "scores and bars" not in metadata_of(first, "quality_log")["2024-01-08"]
    asked = project.rows("SELECT symbol, first_date, last_date, attempts FROM coverage ORDER BY symbol")
    assert asked == [(symbol, FIRST, LAST, 1) for symbol in SYMBOLS]
    assert calls(project, first) == dict.fromkeys(SYMBOLS, 1)

    for symbol in SYMBOLS:
        project.put(symbol, bars(symbol, seed=8))  # other prices, which nobody is to see
    second = project.run("2024-01-09")

    assert metadata_of(second, "raw_bars")["2024-01-09"]["calls"] == 0
    assert calls(project, second) == dict.fromkeys(SYMBOLS, 0)
    assert len(project.rows("FROM coverage")) == 3
    assert project.rows(f"{PRICES} ORDER BY symbol, date") == sent("2024-01-08", "2024-01-09")
    assert project.rows("FROM revisions") == []


def test_raw_bars_alone_keeps_the_payloads_and_writes_no_price(project: Project) -> None:
    result = project.run(*SPAN, assets=["raw_bars"])

    assert result.success
    store = RawStore(project.runtime / "raw")
    hashes = project.rows("SELECT raw_hash FROM coverage WHERE outcome = 'answered' ORDER BY symbol")
    files = sorted(project.archive.rglob("*.txt"))
    assert [store.get(sha256) for (sha256,) in hashes] == [file.read_bytes() for file in files]
    for table in ("price_history_daily", "data_quality_log", "ingestion_audit", "ingestion_jobs"):
        assert project.rows(f"FROM {table}") == []


def test_the_prices_need_no_archive_and_a_second_run_of_them_changes_nothing(project: Project) -> None:
    project.run(*SPAN, assets=["raw_bars"])
    shutil.rmtree(project.archive)

    first = project.run(*SPAN, assets=["daily_prices"])
    before = project.rows("FROM price_history_daily ORDER BY symbol, date")
    second = project.run(*SPAN, assets=["daily_prices"])

    assert [first.success, second.success, len(before)] == [True, True, 27]
    assert project.rows("FROM price_history_daily ORDER BY symbol, date") == before
    told = [metadata_of(result, "daily_prices")[DAYS[-1]] for result in (first, second)]
    assert [(one["rows_inserted"], one["rows_unchanged"]) for one in told] == [(27, 0), (0, 27)]
    assert [one["dagster/row_count"] for one in told] == [27, 27]
    assert calls(project, second) == dict.fromkeys(SYMBOLS, 0)
    assert project.rows("FROM revisions") == []


@pytest.mark.parametrize("is_there", [False, True], ids=["no database", "an empty database"])
def test_prices_before_raw_bars_fail_and_say_what_to_materialize(project: Project, is_there: bool) -> None:
    if is_there:
        Database(project.runtime / "market_data.duckdb", patience=1).prepare()

    result = project.run("2024-01-08", assets=["daily_prices", "quality_log"])

    assert "materialize raw_bars for these partitions first" in failure(result, "daily_prices")
    assert result.get_asset_materialization_events() == []


@pytest.mark.long
def test_a_rejected_symbol_is_told_of_and_not_stored_until_it_is_asked_for_anew(project: Project) -> None:
    project.put("BBB", negative("BBB", "2024-01-08"))

    first = project.run(*SPAN, assets=["raw_bars", "daily_prices"])

    assert first.success
    assert project.rows("SELECT DISTINCT symbol FROM price_history_daily ORDER BY symbol") == [("AAA",), ("CCC",)]
    assert project.rows("SELECT DISTINCT verdict FROM data_quality_log WHERE symbol = 'BBB'") == [("rejected",)]
    told = metadata_of(first, "daily_prices")
    assert {told[day]["rejected"] for day in DAYS} == {1}
    counts = {row["outcome"]: row["symbols"] for row in told[DAYS[-1]]["outcomes"]}
    assert counts == {"accepted": 2, "rejected": 1}
    [row] = told[DAYS[-1]]["not accepted"]
    assert (row["symbol"], row["outcome"]) == ("BBB", "rejected")
    assert "negative price (first 2024-01-08" in row["reason"]

    project.put("BBB", bars("BBB"))  # the vendor mends it
    again = project.run(*SPAN, assets=["raw_bars", "daily_prices"])

    assert calls(project, again) == dict.fromkeys(SYMBOLS, 0)
    assert project.rows("FROM price_history_daily WHERE symbol = 'BBB'") == []

    anew = project.run(*SPAN, assets=["raw_bars", "daily_prices"], retry_rejected=True)

    assert calls(project, anew) == {"AAA": 0, "BBB": 1, "CCC": 0}
    assert project.rows(f"{PRICES} ORDER BY symbol, date") == sent(*DAYS)


def test_a_run_whose_symbols_are_all_rejected_fails_and_names_each_reason(project: Project) -> None:
    for symbol in SYMBOLS:
        project.put(symbol, negative(symbol, "2024-01-08"))

    result = project.run(*SPAN)

    told = failure(result, "daily_prices")
    assert all(part in told for part in ("no symbol was accepted", "negative price", *SYMBOLS))
    assert {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()} == {"raw_bars"}
    assert project.rows("FROM price_history_daily") == []
    assert project.rows("SELECT DISTINCT outcome FROM ingestion_audit") == [("rejected",)]


def test_an_unreadable_symbol_is_told_of_and_unanswered_and_when_all_are_the_run_fails(project: Project) -> None:
    files = list(project.archive.rglob("*.txt"))
    double = project.archive / "data" / "daily" / "us" / "nasdaq stocks"
    double.mkdir()
    for file in files:
        shutil.copy(file, double)

    failed = project.run(*SPAN)

    told = failure(failed, "raw_bars")
    assert "no symbol was answered" in told
    assert "keep one" in told
    assert failed.get_asset_materialization_events() == []

    for name in ("aaa", "ccc"):
        (double / f"{name}.us.txt").unlink()
    result = project.run(*SPAN)

    assert result.success
    told = metadata_of(result, "raw_bars")[DAYS[-1]]
    assert (told["symbols"], told["failed"]) == (2, 1)
    assert [row["symbol"] for row in told["failures"]] == ["BBB"]
    [row] = metadata_of(result, "daily_prices")[DAYS[-1]]["not accepted"]
    assert (row["symbol"], row["outcome"]) == ("BBB", "failed")
    found = project.rows("SELECT symbol, verdict, count(*), sum(score) FROM data_quality_log GROUP BY ALL ORDER BY 1")
    assert found == [("AAA", "accepted", 9, 9.0), ("BBB", "unanswered", 9, 0.0), ("CCC", "accepted", 9, 9.0)]
    assert metadata_of(result, "quality_log")[DAYS[-1]]["newly_unanswered"] == 9


@pytest.mark.parametrize("symbols", [("BBB",), SYMBOLS], ids=["of one symbol", "of the whole archive"])
def test_bars_up_to_the_last_one_are_stored_and_sessions_beyond_it_are_unanswered(
    project: Project, symbols: tuple[str, ...]
) -> None:
    end_early(project, symbols)

    result = project.run(*SPAN)

    assert result.success, failure(result, "daily_prices")
    beyond = [row for row in sent(*DAYS[-2:]) if row[0] in symbols]
    assert project.rows(f"{PRICES} ORDER BY symbol, date") == [row for row in sent(*DAYS) if row not in beyond]
    unanswered = project.rows("SELECT symbol, date FROM data_quality_log WHERE verdict = 'unanswered' ORDER BY ALL")
    assert unanswered == [row[:2] for row in beyond]
    assert metadata_of(result, "quality_log")[DAYS[-1]]["newly_unanswered"] == len(beyond)


def test_a_session_beyond_the_archive_is_unanswered_also_when_it_is_materialized_alone(project: Project) -> None:
    end_early(project, SYMBOLS)
    project.run(DAYS[-1])

    result = project.run(DAYS[-1], assets=["quality_log"])

    assert result.success
    verdicts = project.rows("SELECT symbol, date, verdict FROM data_quality_log ORDER BY symbol")
    assert verdicts == [(symbol, LAST, "unanswered") for symbol in SYMBOLS]
