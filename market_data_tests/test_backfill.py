"""The backfill over a real archive: rows, audit, resuming, what is asked for and what is not."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from market_data.errors import BadPayload, SettingsError, WarehouseError, WarehouseLocked
from market_data.ingest.backfill import BackfillRequest
from market_data.ingest.lock import sole_ingest
from market_data.instruments import Instrument, Universe
from market_data.providers.stooq_bulk import StooqArchive
from market_data.records import FetchRequest, Outcome, RawPayload
from market_data.sessions import sessions_between
from market_data_tests.archives import END, NOW, SESSIONS, START, SYMBOLS, Run, bars, put_file, write_archive


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "runtime", write_archive(tmp_path / "archive"))


def audit(run: Run, job_id: str = "job", kind: str = "backfill") -> list[dict[str, object]]:
    text = (run.settings.audit_folder / f"{kind}_{job_id}.jsonl").read_text(encoding="utf-8")
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def test_every_bar_of_the_archive_is_stored_with_its_payload_and_basis(run: Run) -> None:
    summary = run.run()

    assert summary.is_good
    assert summary.rows == SESSIONS * len(SYMBOLS)
    stored = run.rows("SELECT date, open, high, low, close, volume FROM price_history_daily WHERE symbol = 'BRK.B'")
    sent = bars("BRK.B")
    assert stored == [
        (row.date.date(), row.open, row.high, row.low, row.close, row.volume) for row in sent.itertuples()
    ]
    hashes = run.rows(
        "SELECT DISTINCT symbol, raw_hash, basis, source_provider FROM price_history_daily ORDER BY symbol"
    )
    assert [row[0] for row in hashes] == sorted(SYMBOLS)
    assert {row[2:] for row in hashes} == {("split_dividend", "stooq_bulk")}
    for _, sha256, *_ in hashes:
        assert run.backfill().raw_store.get(str(sha256))


def test_the_jsonl_file_says_the_same_as_the_audit_table(run: Run) -> None:
    run.run()

    lines = audit(run)
    assert sorted(str(line["symbol"]) for line in lines) == sorted(SYMBOLS)
    assert {line["outcome"] for line in lines} == {"accepted"}
    table = run.rows("SELECT symbol, rows_inserted, calls, score, raw_hash FROM ingestion_audit ORDER BY symbol")
    told = sorted((ln["symbol"], ln["rows_inserted"], ln["calls"], ln["score"], ln["raw_hash"]) for ln in lines)
    assert table == told


def test_a_second_run_reads_no_file_and_changes_nothing(run: Run) -> None:
    run.run("first")
    before, reads = run.fingerprint(), run.archive.reads

    summary = run.run("second")

    assert run.archive.reads == reads
    assert run.fingerprint() == before
    assert summary.is_good
    assert {record.outcome for record in summary.records} == {Outcome.HELD}
    assert sum(int(str(line["calls"])) for line in audit(run, "second")) == 0
    assert run.rows("SELECT count(*) FROM revisions") == [(0,)]


@pytest.mark.long
def test_single_sessions_in_random_order_cost_the_same_reads_and_give_the_same_rows_as_one_range(
    run: Run, tmp_path: Path
) -> None:
    run.run()
    single = Run(tmp_path / "single", tmp_path / "archive")
    days = [day.date() for day in sessions_between(START, END)]
    random.Random(1).shuffle(days)

    for number, day in enumerate(days[:10]):
        single.run(f"day-{number}", start=day, end=day)

    assert single.archive.reads == len(SYMBOLS)
    chosen = {day.isoformat() for day in days[:10]}
    assert single.fingerprint() == [row for row in run.fingerprint() if row[1].isoformat() in chosen]
    single.run("rest")
    assert single.archive.reads == len(SYMBOLS)
    assert single.fingerprint() == run.fingerprint()


def test_a_stopped_run_is_taken_up_where_it_was(run: Run) -> None:
    seen: list[str] = []

    def stop_after_two(record: object) -> None:
        seen.append(str(record))
        if len(seen) == 2:
            run.stop.set()

    first = run.backfill().run(BackfillRequest(list(SYMBOLS), START, END, "job"), on_record=stop_after_two)
    done = {record.symbol for record in first.records}
    assert first.interrupted
    assert 2 <= len(done) <= len(SYMBOLS)
    assert run.rows("SELECT finished_at FROM ingestion_jobs") == [(None,)]

    run.stop.clear()
    second = run.run("job")

    assert {record.symbol for record in second.records} == set(SYMBOLS) - done
    assert run.archive.reads == len(SYMBOLS)
    assert sorted(str(line["symbol"]) for line in audit(run)) == sorted(SYMBOLS)
    assert run.rows("SELECT count(*) FROM ingestion_audit") == [(len(SYMBOLS),)]


def test_a_payload_stored_before_a_crash_is_used_and_not_asked_for_again(run: Run) -> None:
    provider = run.providers[0]
    request = FetchRequest("AAA", START, END)
    run.backfill().raw_store.put(provider.fetch(run.universe["AAA"], request))
    reads = run.archive.reads

    run.run(symbols=["AAA"])

    assert run.archive.reads == reads
    assert run.rows("SELECT count(*) FROM price_history_daily") == [(SESSIONS,)]
    assert [line["calls"] for line in audit(run)] == [0]


def test_a_batch_with_a_negative_price_is_rejected_whole_and_explained(run: Run, tmp_path: Path) -> None:
    broken = bars("CCC")
    broken.loc[50, "low"] = -broken.loc[50, "low"]
    put_file(tmp_path / "archive", "CCC", broken)

    summary = run.run()

    assert not summary.is_good
    assert run.rows("SELECT count(*) FROM price_history_daily WHERE symbol = 'CCC'") == [(0,)]
    record = next(record for record in summary.records if record.symbol == "CCC")
    assert (record.outcome, record.rule, record.rows_inserted) == (Outcome.REJECTED, "negative_price", 0)
    day = broken.loc[50, "date"].date()
    assert day.isoformat() in str(record.reason)
    assert run.rows("SELECT date, verdict FROM data_quality_log WHERE symbol = 'CCC' AND date = ?", [day]) == [
        (day, "rejected")
    ]
    whole = run.rows("SELECT rule, message FROM quality_findings WHERE symbol = 'CCC' AND date IS NULL")
    assert whole == [("negative_price", record.reason)]


def test_what_was_rejected_is_asked_for_again_only_on_demand(run: Run, tmp_path: Path) -> None:
    broken = bars("CCC")
    broken.loc[50, "volume"] = -1.0
    put_file(tmp_path / "archive", "CCC", broken)
    run.run("first")
    reads = run.archive.reads

    again = run.run("second")
    assert run.archive.reads == reads
    assert {record.symbol for record in again.records if record.outcome is Outcome.REJECTED} == {"CCC"}

    put_file(tmp_path / "archive", "CCC", bars("CCC"))
    run.archive = StooqArchive(tmp_path / "archive")
    mended = Run(run.settings.runtime, tmp_path / "archive")
    summary = mended.run("third", retry_rejected=True)
    assert summary.is_good
    assert mended.rows("SELECT count(*) FROM price_history_daily WHERE symbol = 'CCC'") == [(SESSIONS,)]
    assert mended.rows("SELECT DISTINCT verdict FROM data_quality_log WHERE symbol = 'CCC'") == [("accepted",)]


def test_a_newer_archive_restates_the_whole_adjusted_series_and_keeps_what_was_known(tmp_path: Path) -> None:
    early = date(2024, 3, 28)
    first = Run(tmp_path / "runtime", write_archive(tmp_path / "old", ["AAA"], end=early))
    first.run("first", symbols=["AAA"], end=early)
    held = first.fingerprint()
    restated = bars("AAA")
    restated[["open", "high", "low", "close"]] = (restated[["open", "high", "low", "close"]] * 0.99).round(4)
    put_file(tmp_path / "new", "AAA", restated)

    second = Run(tmp_path / "runtime", tmp_path / "new")
    second.providers = [_Later(second.providers[0])]
    second.run("second", symbols=["AAA"])

    stored = second.rows("SELECT close FROM price_history_daily ORDER BY date")
    assert [row[0] for row in stored] == list(restated["close"])
    old = second.rows("SELECT date, close FROM revisions ORDER BY date")
    assert old == [(row[1], row[5]) for row in held]
    assert second.rows("SELECT count(*) FROM mixed_basis") == [(0,)]


class _Later:
    """A provider whose payloads were fetched an hour later."""

    name, synthetic = "stooq_bulk", False

    def __init__(self, provider: object) -> None:
        self._provider = provider

    def serves(self, instrument: Instrument) -> bool:
        return True

    def fetch(self, instrument: Instrument, request: FetchRequest) -> RawPayload:
        payload = self._provider.fetch(instrument, request)
        return replace(payload, fetched_at=NOW.replace(hour=13))

    def close(self) -> None:
        pass


class _Broken(_Later):
    """A provider that always fails."""

    name = "broken"

    def __init__(self) -> None:
        self.calls = 0

    def fetch(self, instrument: Instrument, request: FetchRequest) -> RawPayload:
        self.calls += 1
        error = BadPayload(f"{request.symbol}: nonsense")
        error.attempts = 1
        raise error


def test_the_next_provider_is_tried_and_the_decision_tells_both(run: Run) -> None:
    broken = _Broken()
    run.providers = [broken, *run.providers]

    summary = run.run(symbols=["AAA"])

    assert summary.is_good
    (line,) = audit(run)
    assert line["provider"] == "stooq_bulk"
    assert line["calls"] == 2
    assert line["decision"] == [
        {"provider": "broken", "calls": 1, "answer": "BadPayload: AAA: nonsense"},
        {"provider": "stooq_bulk", "calls": 1, "answer": "accepted"},
    ]
    failed = run.rows("SELECT provider, error, message, raw_hash FROM coverage WHERE outcome = 'failed'")
    assert failed == [("broken", "BadPayload", "AAA: nonsense", None)]


def test_a_failed_symbol_is_tried_again_when_the_job_is_taken_up_and_ends_with_one_record(run: Run) -> None:
    good, broken = run.providers, _Broken()
    run.providers = [broken]
    first = run.run(symbols=["AAA", "BBB"])
    assert {record.outcome for record in first.records} == {Outcome.FAILED}
    assert not first.is_good

    run.providers = good
    run.run(symbols=["AAA", "BBB"])

    assert [(line["symbol"], line["outcome"]) for line in sorted(audit(run), key=str)] == [
        ("AAA", "accepted"),
        ("BBB", "accepted"),
    ]


def test_an_instrument_not_listed_in_the_span_is_explained_without_a_call(run: Run) -> None:
    run.universe = Universe([Instrument("AAA", listed_from=date(2025, 1, 2))])
    summary = run.run(symbols=["AAA"])

    assert summary.is_good
    assert [record.outcome for record in summary.records] == [Outcome.NOT_LISTED]
    assert run.archive.reads == 0


def test_a_listing_in_mid_window_expects_no_earlier_sessions(run: Run, tmp_path: Path) -> None:
    listed = date(2024, 4, 1)
    run.universe = Universe([Instrument("AAA", listed_from=listed)])
    frame = bars("AAA")
    put_file(tmp_path / "archive", "AAA", frame[frame["date"] >= "2024-04-01"])

    (record,) = run.run(symbols=["AAA"]).records

    due = len(sessions_between(listed, END))
    assert (record.outcome, record.sessions_expected, record.sessions_missing) == (Outcome.ACCEPTED, due, 0)
    assert run.rows("SELECT count(*), min(date) FROM data_quality_log") == [(due, listed)]


def test_an_unknown_listing_date_is_taken_from_the_first_bar_and_said(run: Run, tmp_path: Path) -> None:
    run.universe = Universe([Instrument("AAA")])
    frame = bars("AAA")
    put_file(tmp_path / "archive", "AAA", frame[frame["date"] >= "2024-04-01"])

    run.run("first", symbols=["AAA"])
    found = run.rows("SELECT rule, date FROM quality_findings WHERE rule <> 'adjusted_basis'")
    assert found == [("span_from_first_bar", date(2024, 4, 1))]
    (record,) = run.run("second", symbols=["AAA"]).records
    assert record.outcome is Outcome.HELD


def test_a_span_that_ends_before_it_starts_is_refused_before_anything_is_written(run: Run) -> None:
    with pytest.raises(SettingsError, match="start 2024-06-28 is after end 2024-01-02"):
        run.run(start=END, end=START)
    assert not run.settings.database_for(synthetic=False).exists()


def test_a_job_id_of_another_span_is_refused(run: Run) -> None:
    run.run("job")
    with pytest.raises(WarehouseError, match="job job is a backfill of 2024-01-02 to 2024-06-28"):
        run.run("job", end=date(2024, 5, 31))


def test_a_second_ingest_waits_and_then_says_what_to_do(run: Run) -> None:
    run.settings = run.settings.model_copy(update={"lock_patience": 0.1})
    with sole_ingest(run.settings), pytest.raises(WarehouseLocked, match="another ingest"):
        run.run()


def test_a_dry_run_changes_nothing(run: Run) -> None:
    plan = run.backfill().plan(BackfillRequest(list(SYMBOLS), START, END, "dry"))

    assert [task.instrument.symbol for task in plan.tasks] == list(SYMBOLS)
    assert sum(len(task.expected) for task in plan.tasks) == SESSIONS * len(SYMBOLS)
    assert not run.settings.database_for(synthetic=False).exists()
    assert not run.settings.audit_folder.exists()


def test_a_payload_that_was_damaged_is_mended_when_the_same_bytes_come_again(run: Run) -> None:
    run.run(symbols=["AAA"])
    ((sha256,),) = run.rows("SELECT DISTINCT raw_hash FROM price_history_daily")
    file = run.settings.raw_folder(synthetic=False) / str(sha256)[:2] / f"{sha256}.zst"
    file.write_bytes(b"damaged")

    request = FetchRequest("AAA", START, END)
    run.backfill().raw_store.put(run.providers[0].fetch(run.universe["AAA"], request))

    assert run.backfill().raw_store.get(str(sha256)).startswith(b"<TICKER>")


def test_an_archive_that_ends_early_is_read_again_for_more_and_noted_once(tmp_path: Path) -> None:
    early = date(2024, 3, 28)
    run = Run(tmp_path / "runtime", write_archive(tmp_path / "archive", ["AAA"], end=early))

    (first,) = run.run("first", symbols=["AAA"]).records
    (second,) = run.run("second", symbols=["AAA"]).records

    due = len(sessions_between(START, early))
    assert (first.rows_inserted, first.sessions_expected, first.sessions_missing) == (due, SESSIONS, SESSIONS - due)
    assert (second.rows_inserted, second.rows_unchanged) == (0, due)
    assert run.rows("SELECT count(*), max(last_date) FROM coverage") == [(1, early)]
    put_file(tmp_path / "archive", "AAA", bars("AAA"))
    (third,) = Run(tmp_path / "runtime", tmp_path / "archive").run("third", symbols=["AAA"]).records
    assert (third.rows_inserted, third.sessions_missing) == (SESSIONS - due, 0)


class _Stumbling(_Later):
    """A provider whose code breaks on one symbol."""

    def fetch(self, instrument: Instrument, request: FetchRequest) -> RawPayload:
        if instrument.symbol == "BBB":
            raise ZeroDivisionError("a mistake in the code")
        return super().fetch(instrument, request)


def test_a_mishap_with_one_symbol_is_its_failure_and_not_the_others(run: Run) -> None:
    run.providers = [_Stumbling(run.providers[0])]

    summary = run.run(symbols=["AAA", "BBB", "CCC"])

    assert {record.symbol: record.outcome for record in summary.records} == {
        "AAA": Outcome.ACCEPTED,
        "BBB": Outcome.FAILED,
        "CCC": Outcome.ACCEPTED,
    }
    (reason,) = [line["reason"] for line in audit(run) if line["symbol"] == "BBB"]
    assert reason == "ProviderError: unexpected ZeroDivisionError: a mistake in the code"
