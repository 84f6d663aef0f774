from __future__ import annotations

from dataclasses import replace
from datetime import date

import duckdb
import pytest
from pandas.testing import assert_frame_equal

from market_data.errors import OutOfWindow, QuotaExhausted, Transient, UnknownSymbol, WarehouseError
from market_data.records import EVERY, Basis, FetchRequest, Outcome
from market_data.selection.bandit import DayOfAnswers
from market_data.warehouse.actions import record_actions
from market_data.warehouse.batch import write_batch
from market_data.warehouse.holdings import (
    HeldAnswer,
    Holdings,
    asked_symbols,
    job_progress,
    read_holdings,
    restatable_dates,
    settled_dates,
)
from market_data.warehouse.provider_metrics import provider_history, refresh_provider_metrics
from market_data.warehouse.store import (
    claim_kind,
    finish_job,
    forget_audit,
    record_audit,
    record_coverage,
    record_failure,
    record_verdict,
    start_job,
)
from market_data_tests.bars import (
    DAYS,
    actions,
    at,
    audit,
    batch,
    counts,
    findings,
    naive,
    new_database,
    payload,
    prices,
    rows,
    verdicts,
)

FIRST, LATER = (payload(fetched=at(day=day)) for day in ("2026-01-21", "2026-01-22"))
START, END = date(2021, 1, 19), date(2026, 1, 19)
WEIRD = "x'); DROP TABLE coverage; -- \"\u2028\x00ŁÓDŹ"


def start(connection, symbols=("AAPL",), **fields) -> None:
    given = {"job_id": "job", "kind": "backfill", "start": START, "end": END, "provider": "sandbox", "synthetic": True}
    start_job(connection, **(given | {"symbols": symbols, "now": at(1)} | fields))


def failed(connection, symbol="AAPL", *, day="2026-01-22", job_id="job", stored=None, error=None, request_id="f1"):
    record_failure(
        connection,
        request_id=request_id,
        request=FetchRequest(symbol, START, END),
        provider="sandbox",
        error=error or Transient("HTTP 503"),
        stored=stored,
        job_id=job_id,
        now=at(day=day),
    )


def test_real_and_synthetic_data_are_never_mixed():
    for synthetic, words in ((True, "holds synthetic data and does not take real"), (False, "holds real data and")):
        with new_database().writing() as connection:
            claim_kind(connection, synthetic=synthetic)
            claim_kind(connection, synthetic=synthetic)
            with pytest.raises(WarehouseError, match=words) as caught:
                claim_kind(connection, synthetic=not synthetic)
            assert "MARKET_DATA_DATABASE" in str(caught.value)
            assert rows(connection, "SELECT synthetic FROM store_kind") == [(synthetic,)]


def test_a_job_taken_up_again_keeps_its_start_and_takes_the_wider_list_of_symbols():
    with new_database().writing() as connection:
        start(connection, ["MSFT", "AAPL"])
        finish_job(connection, "job", at(2))
        assert rows(connection, "SELECT finished_at FROM ingestion_jobs") == [(naive(2),)]
        start(connection, ["BRK.B", "AAPL"], now=at(3))
        assert rows(connection, "SELECT * FROM ingestion_jobs") == [
            ("job", "backfill", START, END, '["MSFT", "AAPL", "BRK.B"]', "sandbox", True, naive(1), None)
        ]


@pytest.mark.parametrize(
    "other", [{"start": date(2021, 1, 20)}, {"end": date(2026, 1, 16)}, {"kind": "daily"}], ids=["start", "end", "kind"]
)
def test_a_job_id_is_not_taken_for_another_span(other):
    with new_database().writing() as connection:
        start(connection)
        before = rows(connection, "SELECT * FROM ingestion_jobs")
        with pytest.raises(WarehouseError, match="job job is a backfill of 2021-01-19 to 2026-01-19, not a") as caught:
            start(connection, ["MSFT"], **other)
        assert "another job id" in str(caught.value)
        assert rows(connection, "SELECT * FROM ingestion_jobs") == before


def test_an_answer_is_one_row_of_the_ledger_and_is_noted_once():
    with new_database().writing() as connection:
        record_coverage(connection, FIRST, job_id="job")
        with pytest.raises(duckdb.ConstraintException, match="Duplicate key"):
            record_coverage(connection, FIRST, job_id="other")
        assert rows(connection, "SELECT * FROM coverage") == [
            (
                *(FIRST.request_id, "AAPL", "1d", "sandbox", START, END, "answered", FIRST.sha256),
                *(
                    naive(day="2026-01-21"),
                    FIRST.url,
                    200,
                    "text/csv",
                    4096,
                    1,
                    12.5,
                    None,
                    None,
                    "job",
                    "bars",
                    None,
                    None,
                ),
            )
        ]
        record_verdict(connection, FIRST.request_id, "rejected")
        record_verdict(connection, FIRST.request_id, "accepted")
        assert rows(connection, "SELECT verdict FROM coverage") == [("rejected",)]


def test_a_failure_is_noted_with_its_error_and_the_body_that_came():
    with new_database().writing() as connection:
        error = QuotaExhausted(WEIRD)
        error.attempts = 3
        failed(connection, error=error)
        failed(connection, error=error)
        failed(connection, stored=LATER, request_id="unused", job_id=None)
        assert rows(connection, "SELECT * FROM coverage ORDER BY bytes") == [
            (
                *("f1", "AAPL", "1d", "sandbox", START, END, "failed", None, naive(day="2026-01-22")),
                *(None, None, None, 0, 3, None, "QuotaExhausted", WEIRD, "job", "bars", None, None),
            ),
            (
                *(LATER.request_id, "AAPL", "1d", "sandbox", START, END, "failed", LATER.sha256),
                *(naive(day="2026-01-22"), LATER.url, 200, "text/csv", 4096, 1, 12.5),
                *("Transient", "HTTP 503", None, "bars", None, None),
            ),
        ]


def test_only_answers_cover_sessions_and_every_session_of_their_span():
    week = payload(start="2021-01-15", end="2021-01-20")
    with new_database().writing() as connection:
        record_coverage(connection, week, job_id="job")
        failed(connection, "MSFT")
        assert rows(connection, "SELECT symbol, session::VARCHAR, raw_hash FROM coverage_sessions ORDER BY 2") == [
            ("AAPL", day, week.sha256) for day in ("2021-01-15", *DAYS[:2])
        ]
        record_coverage(connection, LATER, job_id="job")
        assert rows(connection, "SELECT count(*), count(DISTINCT session) FROM coverage_sessions") == [(1259, 1257)]


def test_holdings_count_verdicts_within_the_span_and_list_payloads_oldest_first():
    kinds = ("accepted", "flagged", "missing", "rejected", "accepted")
    first_bar = (DAYS[2], "span_from_first_bar", "info", "", None, None, "starts later")
    with new_database().writing() as connection:
        quality = verdicts(*((day, kind, 0.5, "") for day, kind in zip(DAYS, kinds, strict=True)))
        write_batch(connection, batch(stored=LATER, quality=quality, found=findings(first_bar)))
        record_coverage(connection, LATER, job_id=None, verdict="accepted")
        record_coverage(connection, FIRST, job_id="job")
        record_coverage(connection, payload("AAPL", feed="splits"), job_id="job")
        for_all = payload(EVERY, start="2021-01-20", end="2021-01-20", fetched=at(day="2026-01-23"))
        record_coverage(connection, for_all, job_id="job")
        split = actions((DAYS[1], "split", 2.0))
        record_actions(connection, "AAPL", payload(feed="splits"), split, [], adjusted_as_of=None)
        held = read_holdings(connection, iter(["AAPL", "MSFT"]), START, date(2021, 1, 22))
        known = ["date", "kind", "value"]
        assert_frame_equal(held["AAPL"].actions[known], split)
        assert_frame_equal(held["MSFT"].actions[known], actions())
        assert [len(held[symbol].told) for symbol in ("AAPL", "MSFT")] == [0, 0]
        nothing = Holdings().actions
        assert {symbol: replace(holdings, actions=nothing, told=None) for symbol, holdings in held.items()} == {
            "AAPL": Holdings(
                answered=3,
                rejected=1,
                is_new=False,
                first_bar=date(2021, 1, 21),
                answers=(
                    HeldAnswer(FIRST, "job"),
                    HeldAnswer(LATER, None, "accepted"),
                    HeldAnswer(for_all, "job"),
                ),
                actions=nothing,
                failure=None,
            ),
            "MSFT": Holdings(answers=(HeldAnswer(for_all, "job"),), actions=nothing),
        }
        assert read_holdings(connection, ["AAPL"], date(2022, 1, 3), END)["AAPL"].is_new is False


def test_a_failure_counts_while_nothing_newer_was_answered():
    with new_database().writing() as connection:
        record_coverage(connection, FIRST, job_id="job")
        failed(connection, day="2026-01-20", request_id="older")
        assert read_holdings(connection, ["AAPL"], START, END)["AAPL"].failure is None
        failed(connection, day="2026-01-23", error=QuotaExhausted("spent"))
        assert read_holdings(connection, ["AAPL"], START, END)["AAPL"].failure == ("QuotaExhausted", "spent", 0, "job")


def test_the_failure_of_an_unknown_job_is_not_given_to_an_earlier_job():
    with new_database().writing() as connection:
        record_coverage(connection, FIRST, job_id="earlier")
        failed(connection, day="2026-01-23", job_id=None)
        assert read_holdings(connection, ["AAPL"], START, END)["AAPL"].failure == ("Transient", "HTTP 503", 0, None)


def test_adjusted_bars_of_an_older_payload_of_the_same_basis_are_to_be_restated():
    with new_database().writing() as connection:
        split, both = Basis.SPLIT, Basis.SPLIT_DIVIDEND
        write_batch(connection, batch(prices(DAYS[:2]), stored=FIRST, basis=both))
        write_batch(connection, batch(prices(DAYS[2:3]), stored=LATER, basis=both))
        write_batch(connection, batch(prices(DAYS[3:4]), stored=FIRST, basis=split))
        write_batch(connection, batch(prices(DAYS[4:]), stored=FIRST))
        write_batch(connection, batch(prices(), stored=payload("MSFT"), basis=both))

        def dates(basis: str, stored) -> list[str]:
            found = restatable_dates(connection, "AAPL", basis, stored.fetched_at, stored.sha256)
            assert found.dtype == "datetime64[s]"
            return found.strftime("%Y-%m-%d").tolist()

        newest = payload(fetched=at(day="2026-01-23"))
        assert dates("split_dividend", newest) == [*DAYS[:3]]
        assert dates("split_dividend", LATER) == [*DAYS[:2]]
        assert dates("split_dividend", FIRST) == []
        assert dates("raw", newest) == []


def test_symbols_are_those_any_provider_was_ever_asked_for():
    with new_database().writing() as connection:
        record_coverage(connection, payload("OLD", end="2021-01-29"), job_id="job")
        record_coverage(connection, payload("OTHER", provider="other"), job_id="job")
        record_coverage(connection, payload("ZZZ"), job_id="job")
        failed(connection, "AAA")
        record_coverage(connection, payload(EVERY), job_id="job")
        assert asked_symbols(connection) == ["AAA", "OLD", "OTHER", "ZZZ"]


def test_progress_tells_what_is_left_in_the_planned_order():
    with new_database().writing() as connection:
        assert job_progress(connection, "job") is None
        start(connection, ["MSFT", "AAPL", "BRK.B", "T"])
        record_audit(connection, [audit("BRK.B"), audit("AAPL"), audit("MSFT", job_id="other")])
        record_audit(connection, [audit("T", outcome=Outcome.FAILED)])
        progress = job_progress(connection, "job")
        assert progress is not None
        assert progress.left == ["MSFT"]
        assert progress.outcomes == {"accepted": ["AAPL", "BRK.B"], "failed": ["T"]}
        assert (progress.started_at, progress.finished_at, progress.start) == (at(1), None, START)
        finish_job(connection, "job", at(4))
        assert job_progress(connection, "job").finished_at == at(4)
        forget_audit(connection, "job", [])
        forget_audit(connection, "job", ["T", "MSFT"])
        assert job_progress(connection, "job").left == ["MSFT", "T"]
        assert counts(connection)["ingestion_audit"] == 3


def test_provider_metrics_are_derived_from_the_ledger_of_a_utc_date():
    with new_database().writing() as connection:
        asked = [
            ("A", at(0, 0), "accepted", {"attempts": 1, "size": 10, "elapsed_ms": 100.0}),
            ("B", at(1, 0), "accepted", {"attempts": 4, "size": 20, "elapsed_ms": 200.0}),
            ("C", at(23, 59), "rejected", {"attempts": 1, "size": 100, "elapsed_ms": 300.0}),
            ("D", at(0, 0, "2026-01-21"), "accepted", {}),
            ("E", at(1, 0), "accepted", {"attempts": 0}),
            ("F", at(2, 0), "no_data", {"provider": "other", "attempts": 1, "size": 0, "elapsed_ms": 7.0}),
        ]
        for symbol, fetched, verdict, fields in asked:
            record_coverage(
                connection, replace(payload(symbol, fetched=fetched), **fields), job_id=None, verdict=verdict
            )
        for request_id, kind in (("g", Transient), ("h", QuotaExhausted), ("i", UnknownSymbol), ("j", OutOfWindow)):
            error = kind("why")
            error.attempts = 5 if kind is Transient else 1
            failed(connection, day="2026-01-20", request_id=request_id, error=error)
        expected = [
            ("other", 1, 0, 0, 1, 0, 0, 0, 7.0),
            ("sandbox", 14, 2, 1, 0, 1, 3, 130, 200.0),
        ]
        for _ in range(2):
            refresh_provider_metrics(connection, date(2026, 1, 20))
            columns = "provider_name, calls, accepted, rejected, no_data, failed, not_served, bytes, latency_p50_ms"
            assert rows(connection, f"SELECT {columns} FROM provider_metrics ORDER BY 1") == expected
        assert rows(connection, "SELECT DISTINCT date FROM provider_metrics") == [(date(2026, 1, 20),)]
        assert provider_history(connection, date(2026, 1, 20)) == [
            DayOfAnswers("other", date(2026, 1, 20), 0, 0, 7.0),
            DayOfAnswers("sandbox", date(2026, 1, 20), 2, 2, 200.0),
        ]
        assert provider_history(connection, date(2026, 1, 21)) == []


def test_settled_dates_are_those_that_need_no_further_call():
    kinds = ("accepted", "flagged", "missing", "rejected", "unanswered")
    with new_database().writing() as connection:
        quality = verdicts(*((day, kind, 0.5, "") for day, kind in zip(DAYS, kinds, strict=True)))
        write_batch(connection, batch(quality=quality))
        last = date.fromisoformat(DAYS[4])
        for rejected, settled in ((False, DAYS[:3]), (True, DAYS[:4])):
            found = settled_dates(connection, ["AAPL", "MSFT"], START, last, rejected=rejected)
            assert {symbol: [str(day.date()) for day in days] for symbol, days in found.items()} == {"AAPL": [*settled]}


def test_text_that_looks_like_sql_is_stored_as_text():
    with new_database().writing() as connection:
        start(connection, [WEIRD], job_id=WEIRD, provider=WEIRD)
        finish_job(connection, WEIRD, at(2))
        odd = payload(WEIRD, provider=WEIRD, url=WEIRD, content_type=WEIRD)
        record_coverage(connection, odd, job_id=WEIRD)
        write_batch(connection, batch(prices(DAYS[:1]), stored=odd, job_id=WEIRD))
        assert job_progress(connection, WEIRD).planned == [WEIRD]
        assert read_holdings(connection, [WEIRD], START, END)[WEIRD].answers == (HeldAnswer(odd, WEIRD),)
        assert rows(connection, "SELECT symbol, source_provider FROM price_history_daily") == [(WEIRD, WEIRD)]
        assert counts(connection) == {"ingestion_jobs": 1, "coverage": 1, "price_history_daily": 1}
