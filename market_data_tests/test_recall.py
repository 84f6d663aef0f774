from __future__ import annotations

import math

import pandas as pd
import pytest

from market_data.report.recall import Recall, compare, read_findings, read_providers, shown_by
from market_data.warehouse.batch import write_batch
from market_data.warehouse.store import record_coverage
from market_data_tests.bars import DAYS, at, batch, counts, findings, naive, new_database, payload, rows

COLUMNS = ["symbol", "date", "rule", "severity", "message"]


def planted(*faults: tuple[str, str | None, str]) -> list[dict]:
    return [{"symbol": symbol, "date": day, "rule": rule, "kind": "ignored"} for symbol, day, rule in faults]


def found(*rows: tuple[str, str | None, str]) -> pd.DataFrame:
    frame = pd.DataFrame([(*row, "warning", "a message") for row in rows], columns=COLUMNS)
    return frame.astype({"date": "datetime64[us]"})


def by_rule(recall: Recall) -> dict[str, tuple]:
    assert list(recall.by_rule) == ["rule", "planted", "found", "recall", "extra", "beside", "alarms"]
    return {
        row[0]: tuple(None if math.isnan(value) else value for value in row[1:])
        for row in recall.by_rule.itertuples(index=False)
    }


def keys(frame: pd.DataFrame) -> list[tuple]:
    return [
        (symbol, None if day is None else str(day), rule)
        for symbol, day, rule in frame[COLUMNS[:3]].itertuples(index=False)
    ]


def test_faults_are_counted_by_rule_as_found_or_missed_and_findings_as_beside_or_alarms():
    recall = compare(
        planted(
            ("AAA", "2021-03-01", "spike"),
            ("AAA", "2021-06-01", "spike"),
            ("BBB", "2021-03-01", "spike"),
            ("BBB", "2021-03-01", "stale"),
            ("CCC", "2021-03-01", "gap"),
        ),
        found(
            ("AAA", "2021-03-01", "spike"),
            ("AAA", "2021-03-02", "spike"),
            ("AAA", "2021-03-08", "stale"),
            ("AAA", "2021-03-09", "stale"),
            ("AAA", "2021-02-22", "spike"),
            ("BBB", "2021-03-01", "spike"),
            ("BBB", "2021-03-02", "other"),
            ("DDD", "2021-03-01", "gap"),
        ),
    )
    assert by_rule(recall) == {
        "gap": (1, 0, 0.0, 1, 0, 1),
        "other": (0, 0, None, 1, 1, 0),
        "spike": (3, 2, pytest.approx(2 / 3), 2, 2, 0),
        "stale": (1, 0, 0.0, 2, 1, 1),
    }
    assert keys(recall.missed) == [
        ("AAA", "2021-06-01", "spike"),
        ("BBB", "2021-03-01", "stale"),
        ("CCC", "2021-03-01", "gap"),
    ]
    assert keys(recall.alarms) == [("AAA", "2021-03-09", "stale"), ("DDD", "2021-03-01", "gap")]
    assert list(recall.alarms) == COLUMNS
    assert recall.value == pytest.approx(2 / 5)


def test_faults_of_a_whole_batch_have_no_date_and_match_findings_without_one():
    recall = compare(
        planted(("AAA", None, "cut"), ("BBB", None, "cut"), ("CCC", "2021-03-01", "spike")),
        found(("AAA", None, "cut"), ("AAA", "2024-01-02", "spike"), ("CCC", None, "cut"), ("DDD", None, "cut")),
    )
    assert by_rule(recall) == {"cut": (2, 1, 0.5, 2, 1, 1), "spike": (1, 0, 0.0, 1, 1, 0)}
    assert keys(recall.missed) == [("BBB", None, "cut"), ("CCC", "2021-03-01", "spike")]
    assert keys(recall.alarms) == [("DDD", None, "cut")]


def test_findings_that_all_lack_a_date_are_matched_too():
    recall = compare(planted(("AAA", None, "cut")), found(("AAA", None, "cut")))
    assert (recall.value, len(recall.alarms), len(recall.missed)) == (1.0, 0, 0)


def test_a_fault_planted_twice_is_one():
    recall = compare(planted(*[("AAA", "2021-03-01", "spike")] * 2), found(("AAA", "2021-03-01", "spike")))
    assert by_rule(recall) == {"spike": (1, 1, 1.0, 0, 0, 0)}


def test_where_nothing_was_planted_every_finding_is_an_alarm():
    recall = compare([], found(("AAA", "2021-03-01", "spike"), ("AAA", None, "cut")))
    assert by_rule(recall) == {"cut": (0, 0, None, 1, 0, 1), "spike": (0, 0, None, 1, 0, 1)}
    assert recall.value == 1.0
    assert len(recall.missed) == 0


def test_where_nothing_was_found_every_fault_is_missed():
    recall = compare(planted(("AAA", "2021-03-01", "spike"), ("AAA", None, "cut")), found())
    assert by_rule(recall) == {"cut": (1, 0, 0.0, 0, 0, 0), "spike": (1, 0, 0.0, 0, 0, 0)}
    assert (recall.value, len(recall.missed), len(recall.alarms)) == (0.0, 2, 0)


def test_where_nothing_was_planted_and_nothing_found_the_table_is_empty():
    recall = compare([], found())
    assert (by_rule(recall), recall.value) == ({}, 1.0)


FOUND = (
    (DAYS[0], "large_move", "warning", "close", 0.6, 0.5, 'moved; it\'s "odd"'),
    (DAYS[0], "large_move", "warning", "open", None, 0.5, "moved"),
    (DAYS[1], "large_move", "warning", "close", 0.7, 0.5, "moved"),
    (None, "null_share", "error", "", 0.25, 0.05, "too many"),
)


def test_findings_are_stored_once_however_often_their_payload_is_read():
    first, second = (payload(fetched=at(day=day)) for day in ("2026-01-21", "2026-01-22"))
    with new_database().writing() as connection:
        for hour in (2, 3):
            write_batch(connection, batch(stored=first, found=findings(*FOUND), now=at(hour), job_id=f"job {hour}"))
        assert rows(
            connection,
            "SELECT date::VARCHAR, rule, severity, field, value, limit_value, message FROM quality_findings "
            "ORDER BY date NULLS LAST, field DESC",
        ) == [FOUND[1], FOUND[0], FOUND[2], FOUND[3]]
        assert rows(
            connection,
            "SELECT DISTINCT symbol, source_provider, raw_hash, job_id, found_at FROM quality_findings",
        ) == [("AAPL", "sandbox", first.sha256, "job 2", naive(2))]
        write_batch(connection, batch(stored=second, found=findings(*FOUND[:1])))
        assert counts(connection) == {"quality_findings": 5}


def test_findings_are_read_from_the_store_by_symbol_each_once():
    spike = (DAYS[1], "spike", "warning", "close", 0.6, 0.5, "moved")
    cut = (None, "cut", "error", "", 0.1, 0.0, "cut off")
    with new_database().writing() as connection:
        write_batch(connection, batch(stored=payload("BBB"), found=findings(cut, spike)))
        write_batch(connection, batch(stored=payload("BBB", provider="other"), found=findings(spike)))
        write_batch(connection, batch(stored=payload("AAA"), found=findings(spike)))
        write_batch(connection, batch(stored=payload("CCC"), found=findings(spike)))
        table = read_findings(connection, iter(["BBB", "AAA"]))
        assert len(read_findings(connection, [])) == 0
    assert list(table) == COLUMNS
    recall = compare(planted(("AAA", DAYS[1], "spike"), ("BBB", DAYS[1], "spike"), ("BBB", None, "cut")), table)
    assert by_rule(recall) == {"cut": (1, 1, 1.0, 0, 0, 0), "spike": (2, 2, 1.0, 0, 0, 0)}
    assert len(table) == 3


def test_a_fault_that_no_provider_of_its_symbol_can_show_is_not_due():
    shown = [
        {"symbol": "AAA", "date": "2021-03-01", "rule": "duplicate", "vendors": ["polygon", "stooq"]},
        {"symbol": "BBB", "date": "2021-03-01", "rule": "duplicate", "vendors": ["polygon", "stooq"]},
        {"symbol": "CCC", "date": "2021-03-01", "rule": "null", "vendors": ["stooq"]},
    ]
    providers = {"AAA": {"stooq"}, "BBB": {"alpha_vantage"}}
    assert shown_by(shown, providers) == shown[:1]


def test_the_providers_of_a_symbol_are_those_whose_answers_were_judged():
    with new_database().writing() as connection:
        record_coverage(connection, payload("AAA", provider="stooq"), job_id=None, verdict="rejected")
        record_coverage(connection, payload("AAA", provider="yahoo"), job_id=None, verdict="accepted")
        record_coverage(connection, payload("AAA", provider="polygon"), job_id=None)
        record_coverage(
            connection, payload("AAA", provider="alpha_vantage", feed="splits"), job_id=None, verdict="accepted"
        )
        assert read_providers(connection) == {"AAA": {"stooq", "yahoo"}}
