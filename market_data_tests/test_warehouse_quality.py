"""What the schema promises and holds back, and the quality log as a whole."""

from __future__ import annotations

import json

import duckdb
import pandas as pd
import pytest

from market_data.warehouse.batch import write_batch
from market_data.warehouse.quality import complete_quality_log, quality_by_session, worst_symbols
from market_data.warehouse.store import record_coverage
from market_data_tests.bars import DAYS, TABLES, at, batch, counts, naive, new_database, payload, prices, rows, verdicts

BAR = "open? DOUBLE, high? DOUBLE, low? DOUBLE, close? DOUBLE, volume? DOUBLE, vwap? DOUBLE, trade_count? DOUBLE"
SOURCE = "basis VARCHAR, adjusted_as_of? TIMESTAMP, source_provider VARCHAR, raw_hash VARCHAR, pulled_at TIMESTAMP"
TURNED = (
    "sent_basis? VARCHAR, sent_as_of? TIMESTAMP, price_factor? DOUBLE, volume_factor? DOUBLE, known_at? TIMESTAMP, "
    "amendment_id? VARCHAR"
)
SCHEMA = {
    "price_history_daily": ("symbol, date", f"symbol VARCHAR, date DATE, {BAR}, {SOURCE}, {TURNED}"),
    "price_history_intraday": (
        "symbol, datetime",
        "symbol VARCHAR, datetime TIMESTAMP, session_date DATE, interval VARCHAR, "
        f"{BAR}, provisional BOOLEAN, {SOURCE}",
    ),
    "execution_feedback": (
        "order_id",
        "order_id VARCHAR, symbol VARCHAR, side VARCHAR, quantity DOUBLE, price DOUBLE, decision_price? "
        "DOUBLE, decided_at? TIMESTAMP, arrived_at? TIMESTAMP, executed_at TIMESTAMP, session_date DATE, "
        "venue? VARCHAR, fees? DOUBLE, reported_at? TIMESTAMP, version? BIGINT, received_at TIMESTAMP, "
        "source_file VARCHAR, line INTEGER, raw_hash VARCHAR",
    ),
    "execution_revisions": (
        "",
        "order_id VARCHAR, symbol VARCHAR, side VARCHAR, quantity DOUBLE, price DOUBLE, decision_price? "
        "DOUBLE, decided_at? TIMESTAMP, arrived_at? TIMESTAMP, executed_at TIMESTAMP, session_date DATE, "
        "venue? VARCHAR, fees? DOUBLE, reported_at? TIMESTAMP, version? BIGINT, received_at TIMESTAMP, "
        "source_file VARCHAR, line INTEGER, raw_hash VARCHAR, replaced_at TIMESTAMP, replaced_by VARCHAR",
    ),
    "execution_files": (
        "raw_hash",
        "raw_hash VARCHAR, name VARCHAR, bytes BIGINT, taken_at TIMESTAMP, refused? VARCHAR, lines INTEGER, "
        "inserted INTEGER, updated INTEGER, unchanged INTEGER, superseded INTEGER, duplicates INTEGER, "
        "rejected INTEGER",
    ),
    "execution_rejects": (
        "raw_hash, line",
        "raw_hash VARCHAR, line INTEGER, order_id? VARCHAR, source_file VARCHAR, text VARCHAR, reason "
        "VARCHAR, rejected_at TIMESTAMP",
    ),
    "execution_slippage": (
        "order_id",
        "order_id VARCHAR, symbol VARCHAR, session_date DATE, side VARCHAR, quantity DOUBLE, price DOUBLE, "
        "notional DOUBLE, fees? DOUBLE, fees_bp? DOUBLE, decision_price? DOUBLE, decision_bp? DOUBLE, "
        "decision_dollars? DOUBLE, decision_all_in_bp? DOUBLE, decision_all_in_dollars? DOUBLE, "
        "arrival_price? DOUBLE, arrival_bp? DOUBLE, arrival_dollars? DOUBLE, arrival_all_in_bp? DOUBLE, "
        "arrival_all_in_dollars? DOUBLE, previous_close_price? DOUBLE, previous_close_bp? DOUBLE, "
        "previous_close_dollars? DOUBLE, previous_close_all_in_bp? DOUBLE, previous_close_all_in_dollars? "
        "DOUBLE, close_price? DOUBLE, close_bp? DOUBLE, close_dollars? DOUBLE, close_all_in_bp? DOUBLE, "
        "close_all_in_dollars? DOUBLE, interval_vwap_price? DOUBLE, interval_vwap_bp? DOUBLE, "
        "interval_vwap_dollars? DOUBLE, interval_vwap_all_in_bp? DOUBLE, interval_vwap_all_in_dollars? "
        "DOUBLE, day_vwap_price? DOUBLE, day_vwap_bp? DOUBLE, day_vwap_dollars? DOUBLE, day_vwap_all_in_bp? "
        "DOUBLE, day_vwap_all_in_dollars? DOUBLE, arrival_minute? TIMESTAMP, interval_minutes INTEGER, "
        "day_vwap_kind? VARCHAR, benchmarks INTEGER, reason VARCHAR, computed_at TIMESTAMP",
    ),
    "features_daily": (
        "symbol, date",
        "symbol VARCHAR, date DATE, log_return_1? DOUBLE, log_return_5? DOUBLE, log_return_21? DOUBLE, "
        "log_return_63? DOUBLE, log_return_252? DOUBLE, simple_return_1? DOUBLE, simple_return_5? DOUBLE, "
        "simple_return_21? DOUBLE, simple_return_63? DOUBLE, simple_return_252? DOUBLE, volatility_close_21? "
        "DOUBLE, volatility_close_63? DOUBLE, volatility_parkinson_21? DOUBLE, volatility_garman_klass_21? "
        "DOUBLE, volatility_yang_zhang_21? DOUBLE, atr_14? DOUBLE, atr_14_share? DOUBLE, rsi_14? DOUBLE, "
        "macd? DOUBLE, macd_signal? DOUBLE, macd_histogram? DOUBLE, bollinger_z_20? DOUBLE, momentum_12_1? "
        "DOUBLE, drawdown_252? DOUBLE, dollar_volume? DOUBLE, dollar_volume_21? DOUBLE, amihud_21? DOUBLE, "
        "turnover_rank? DOUBLE, market_return_1? DOUBLE, beta_252? DOUBLE, log_return_1_z? DOUBLE, "
        "log_return_1_rank? DOUBLE, log_return_21_z? DOUBLE, log_return_21_rank? DOUBLE, momentum_12_1_z? "
        "DOUBLE, momentum_12_1_rank? DOUBLE, volatility_close_21_z? DOUBLE, volatility_close_21_rank? DOUBLE, "
        "reason? VARCHAR, made_at TIMESTAMP",
    ),
    "feature_partitions": (
        "date",
        "date DATE, inputs_hash VARCHAR, rows INTEGER, nulls BIGINT, formula_version INTEGER, schema_version INTEGER, "
        "store VARCHAR, made_at TIMESTAMP",
    ),
    "provider_metrics": (
        "provider_name, date",
        "provider_name VARCHAR, date DATE, calls BIGINT, accepted BIGINT, rejected BIGINT, no_data BIGINT, "
        "failed BIGINT, bytes BIGINT, latency_p50_ms? DOUBLE, latency_p95_ms? DOUBLE, not_served? BIGINT, "
        "compared? BIGINT, odd? BIGINT, answered? BIGINT, errors? VARCHAR, intraday_calls? BIGINT, "
        "intraday_answered? BIGINT, intraday_empty? BIGINT, intraday_rejected? BIGINT, intraday_failed? BIGINT, "
        "intraday_not_served? BIGINT",
    ),
    "provider_quotas": (
        "provider_name, date, period",
        "provider_name VARCHAR, date DATE, period VARCHAR, calls_limit BIGINT, calls_used BIGINT, calls_left BIGINT, "
        "resets_at TIMESTAMP, noted_at TIMESTAMP",
    ),
    "data_quality_log": (
        "symbol, date",
        "symbol VARCHAR, date DATE, verdict VARCHAR, score DOUBLE, rules VARCHAR, source_provider? VARCHAR, "
        "checked_at TIMESTAMP",
    ),
    "quality_findings": (
        "",
        "symbol VARCHAR, date? DATE, rule VARCHAR, severity VARCHAR, field VARCHAR, value? DOUBLE, "
        "limit_value? DOUBLE, message VARCHAR, source_provider VARCHAR, raw_hash VARCHAR, job_id VARCHAR, "
        "found_at TIMESTAMP, proposed? DOUBLE",
    ),
    "ingestion_jobs": (
        "job_id",
        "job_id VARCHAR, kind VARCHAR, start_date DATE, end_date DATE, symbols VARCHAR, provider VARCHAR, "
        "synthetic BOOLEAN, started_at TIMESTAMP, finished_at? TIMESTAMP",
    ),
    "ingestion_audit": (
        "job_id, symbol",
        "job_id VARCHAR, symbol VARCHAR, kind VARCHAR, outcome VARCHAR, provider? VARCHAR, start_date DATE, "
        "end_date DATE, reason? VARCHAR, rule? VARCHAR, calls INTEGER, attempts INTEGER, sessions_expected INTEGER, "
        "sessions_missing INTEGER, rows_received INTEGER, rows_inserted INTEGER, rows_updated INTEGER, "
        "rows_unchanged INTEGER, null_share? DOUBLE, score? DOUBLE, findings INTEGER, raw_hash? VARCHAR, "
        "url? VARCHAR, http_status? INTEGER, bytes BIGINT, latency_ms? DOUBLE, synthetic BOOLEAN, decision VARCHAR, "
        "started_at TIMESTAMP, finished_at TIMESTAMP",
    ),
    "corporate_actions": (
        "symbol, date, kind",
        "symbol VARCHAR, date DATE, kind VARCHAR, value DOUBLE, source_provider VARCHAR, also_told_by VARCHAR, "
        "raw_hash VARCHAR, known_at TIMESTAMP",
    ),
    "reported_actions": (
        "symbol, date, kind, source_provider",
        "symbol VARCHAR, date DATE, kind VARCHAR, value DOUBLE, adjusted_as_of? TIMESTAMP, source_provider VARCHAR, "
        "raw_hash VARCHAR, pulled_at TIMESTAMP",
    ),
    "corporate_action_revisions": (
        "",
        "symbol VARCHAR, date DATE, kind VARCHAR, value DOUBLE, source_provider VARCHAR, also_told_by VARCHAR, "
        "raw_hash VARCHAR, known_at TIMESTAMP, replaced_at TIMESTAMP",
    ),
    "action_conflicts": (
        "",
        "symbol VARCHAR, date DATE, kind VARCHAR, value DOUBLE, source_provider VARCHAR, other_date? DATE, "
        "other_value? DOUBLE, other_provider VARCHAR, message VARCHAR",
    ),
    "actions_told": (
        "symbol, kind, source_provider, raw_hash",
        "symbol VARCHAR, kind VARCHAR, source_provider VARCHAR, first_date DATE, last_date DATE, raw_hash VARCHAR, "
        "pulled_at TIMESTAMP",
    ),
    "amendments": (
        "amendment_id",
        "amendment_id VARCHAR, symbol VARCHAR, date DATE, field VARCHAR, old_value? DOUBLE, new_value? DOUBLE, "
        "reason VARCHAR, author VARCHAR, raw_hash VARCHAR, amended_at TIMESTAMP, ended_at? TIMESTAMP, "
        "ended_by? VARCHAR",
    ),
    "reconciliations": (
        "symbol, date, provider, other_provider",
        "symbol VARCHAR, date DATE, provider VARCHAR, other_provider VARCHAR, verdict VARCHAR, field VARCHAR, "
        "value? DOUBLE, other_value? DOUBLE, tolerance? DOUBLE, odd_one? VARCHAR, raw_hash? VARCHAR, "
        "other_raw_hash VARCHAR, compared_at TIMESTAMP",
    ),
    "coverage": (
        "request_id",
        "request_id VARCHAR, symbol VARCHAR, interval VARCHAR, provider VARCHAR, first_date DATE, last_date DATE, "
        "outcome VARCHAR, raw_hash? VARCHAR, fetched_at TIMESTAMP, url? VARCHAR, http_status? INTEGER, "
        "content_type? VARCHAR, bytes BIGINT, attempts INTEGER, latency_ms? DOUBLE, error? VARCHAR, "
        "message? VARCHAR, job_id? VARCHAR, feed? VARCHAR, verdict? VARCHAR, "
        "considered? VARCHAR",
    ),
    "gaps": (
        "symbol, date",
        "symbol VARCHAR, date DATE, kind VARCHAR, state VARCHAR, reason VARCHAR, tries INTEGER, found_at "
        "TIMESTAMP, tried_at? TIMESTAMP, next_try_at? TIMESTAMP, closed_at? TIMESTAMP, asked_since? "
        "TIMESTAMP, fingerprint VARCHAR",
    ),
    "intraday_polls": (
        "session_date, polled_at, job_id, provider",
        "session_date DATE, polled_at TIMESTAMP, provider VARCHAR, job_id VARCHAR, pack VARCHAR, calls "
        "INTEGER, answered INTEGER, empty INTEGER, failed INTEGER, errors VARCHAR, bytes BIGINT, latencies "
        "DOUBLE[], rows_inserted INTEGER, rows_updated INTEGER, refused_rows INTEGER, refused VARCHAR, "
        "skipped INTEGER, own_ms DOUBLE",
    ),
    "intraday_revisions": (
        "",
        "symbol VARCHAR, datetime TIMESTAMP, session_date DATE, interval VARCHAR, open? DOUBLE, high? DOUBLE, "
        "low? DOUBLE, close? DOUBLE, volume? DOUBLE, vwap? DOUBLE, trade_count? DOUBLE, provisional BOOLEAN, "
        "basis VARCHAR, adjusted_as_of? TIMESTAMP, source_provider VARCHAR, raw_hash VARCHAR, pulled_at "
        "TIMESTAMP, replaced_at TIMESTAMP, replaced_by VARCHAR, reason VARCHAR",
    ),
    "known_instruments": (
        "symbol",
        "symbol VARCHAR, fingerprint VARCHAR, known_since TIMESTAMP, dropped_at? TIMESTAMP",
    ),
    "revisions": (
        "",
        f"symbol VARCHAR, date DATE, {BAR}, {SOURCE}, replaced_at TIMESTAMP, replaced_by VARCHAR, {TURNED}, "
        "reason? VARCHAR",
    ),
    "store_kind": ("", "synthetic BOOLEAN"),
    "sessions": ("session", "session DATE, closes_at TIMESTAMP"),
    "schema_version": ("version", "version INTEGER, name VARCHAR, applied_at TIMESTAMP"),
}
"""Primary key and columns of each table; a question mark where a column may be NULL."""

GOOD_BAR = [
    "'A'",
    "'2021-01-19'",
    *"1111111",
    "'raw'",
    "NULL",
    "'p'",
    "'h'",
    "'2026-01-20'",
    "'raw'",
    "NULL",
    "1",
    "1",
    "NULL",
    "NULL",
]
BAD_VALUES = {2: "0", 3: "-1", 4: "0", 5: "-1", 6: "-1", 7: "0", 8: "-1", 9: "'guess'"}
BAD_ROWS = [
    *(
        f"price_history_daily VALUES ({', '.join([*GOOD_BAR[:place], value, *GOOD_BAR[place + 1 :]])})"
        for place, value in BAD_VALUES.items()
    ),
    *(
        f"execution_feedback VALUES ('o', 'A', {values}, 1, NULL, NULL, '2026-01-20', '2026-01-20', "
        "NULL, NULL, NULL, NULL, '2026-01-20', 'f', 1, 'h')"
        for values in ("'hold', 1, 1", "'buy', 0, 1", "'sell', 1, 0")
    ),
    "data_quality_log VALUES ('A', '2021-01-19', 'good', 1, '', NULL, '2026-01-20')",
    "data_quality_log VALUES ('A', '2021-01-19', 'accepted', 1.01, '', NULL, '2026-01-20')",
    "quality_findings VALUES ('A', NULL, 'r', 'fatal', '', 1, 1, 'm', 'p', 'h', 'j', '2026-01-20', NULL)",
    *(
        f"{table} VALUES ('A', '2021-01-19', {values}, 'h', '2026-01-20')"
        for values in ("'merger', 1, {}", "'split', 0, {}")
        for table, values in (
            ("corporate_actions", values.format("'p', ''")),
            ("reported_actions", values.format("NULL, 'p'")),
        )
    ),
    "actions_told VALUES ('A', 'spinoff', 'p', '2021-01-19', '2021-01-20', 'h', '2026-01-20')",
    "reconciliations VALUES ('A', '2021-01-19', 'p', 'q', 'unsure', '', 1, 1, 0, NULL, 'h', 'i', '2026-01-20')",
]


def test_the_schema_has_exactly_these_tables_keys_and_columns():
    assert {*TABLES, "sessions", "schema_version"} == set(SCHEMA)
    with new_database().reading() as connection:
        found: dict[str, list[str]] = {}
        for table, column, kind, nullable in rows(
            connection,
            "SELECT table_name, column_name, data_type, is_nullable FROM duckdb_columns() "
            "WHERE NOT internal AND table_name IN (SELECT table_name FROM duckdb_tables()) "
            "ORDER BY table_name, column_index",
        ):
            found.setdefault(table, []).append(f"{column}{'?' if nullable else ''} {kind}")
        keys = dict(
            rows(
                connection,
                "SELECT table_name, array_to_string(constraint_column_names, ', ') FROM duckdb_constraints() "
                "WHERE constraint_type = 'PRIMARY KEY'",
            )
        )
    assert {table: (keys.get(table, ""), ", ".join(columns)) for table, columns in found.items()} == SCHEMA


def test_a_row_out_of_range_is_held_back_by_the_table_itself():
    with new_database().writing() as connection:
        for row in BAD_ROWS:
            with pytest.raises(duckdb.ConstraintException, match="CHECK constraint failed"):
                connection.execute(f"INSERT INTO {row}")
        assert counts(connection) == {}


def test_a_second_bar_for_a_symbol_and_session_is_held_back():
    with new_database().writing() as connection:
        insert = f"INSERT INTO price_history_daily VALUES ({', '.join(GOOD_BAR)})"
        connection.execute(insert)
        with pytest.raises(duckdb.ConstraintException, match="Duplicate key"):
            connection.execute(insert)


def test_series_that_mix_bases_are_listed_and_no_others():
    frame = prices(DAYS[:1])
    with new_database().writing() as connection:
        for symbol, day, basis in (
            ("ONE", DAYS[0], "raw"),
            ("ONE", DAYS[1], "raw"),
            ("TWO", DAYS[0], "raw"),
            ("TWO", DAYS[2], "split"),
        ):
            bars = frame.assign(date=pd.Series([day], dtype="datetime64[s]"))
            write_batch(connection, batch(bars, stored=payload(symbol), basis=basis))
        listed = rows(connection, "SELECT symbol, bases, first_date::VARCHAR, last_date::VARCHAR FROM mixed_basis")
    assert listed == [("TWO", 2, DAYS[0], DAYS[2])]


def log(connection: duckdb.DuckDBPyConnection) -> list[tuple]:
    return rows(connection, "SELECT symbol, date::VARCHAR, verdict, score, rules FROM data_quality_log ORDER BY 1, 2")


def sessions(*days: str) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(days, dtype="datetime64[s]")


def test_sessions_nobody_answered_get_a_verdict_of_their_own_and_only_once():
    expected = {"AAPL": sessions(*DAYS[:3]), "MSFT": sessions(DAYS[0]), "NEW": sessions()}
    with new_database().writing() as connection:
        write_batch(connection, batch(quality=verdicts((DAYS[1], "missing", 0.0, "missing_session"))))
        assert complete_quality_log(connection, expected, now=at(5)) == 3
        assert complete_quality_log(connection, expected, now=at(6)) == 0
        assert log(connection) == [
            ("AAPL", DAYS[0], "unanswered", 0.0, "unanswered"),
            ("AAPL", DAYS[1], "missing", 0.0, "missing_session"),
            ("AAPL", DAYS[2], "unanswered", 0.0, "unanswered"),
            ("MSFT", DAYS[0], "unanswered", 0.0, "unanswered"),
        ]
        assert rows(
            connection,
            "SELECT DISTINCT source_provider, checked_at FROM data_quality_log WHERE verdict = 'unanswered'",
        ) == [(None, naive(5))]


@pytest.mark.parametrize("expected", [{}, {"AAPL": sessions()}])
def test_where_no_session_is_expected_the_log_stays_as_it_is(expected):
    with new_database().writing() as connection:
        assert complete_quality_log(connection, expected, now=at()) == 0
        assert log(connection) == []


def filled(connection: duckdb.DuckDBPyConnection) -> None:
    for symbol, *quality in (
        (
            "AAA",
            (DAYS[0], "accepted", 1.0, ""),
            (DAYS[1], "flagged", 0.8, "large_move"),
            (DAYS[3], "accepted", 1.0, ""),
        ),
        ("BBB", (DAYS[0], "missing", 0.0, "missing_session"), (DAYS[1], "flagged", 0.6, "large_move,stale_run")),
        ("CCC", (DAYS[0], "rejected", 0.0, "null_share"), (DAYS[1], "accepted", 1.0, "")),
        ("DDD", (DAYS[0], "accepted", 1.0, ""), (DAYS[1], "accepted", 1.0, "")),
    ):
        write_batch(connection, batch(stored=payload(symbol), quality=verdicts(*quality)))
    complete_quality_log(connection, {"EEE": sessions(DAYS[0])}, now=at())


def test_the_quality_log_is_summed_up_by_session_within_the_span():
    with new_database().writing() as connection:
        filled(connection)
        table = quality_by_session(connection, pd.Timestamp(DAYS[0]).date(), pd.Timestamp(DAYS[2]).date())
    assert table["date"].dt.strftime("%Y-%m-%d").tolist() == [DAYS[0], DAYS[1]]
    assert json.loads(table.drop(columns="date").round(6).to_json(orient="records")) == [
        {
            "expected": 5,
            "held": 2,
            "flagged": 0,
            "missing": 1,
            "rejected": 1,
            "unanswered": 1,
            "mean_score": 0.4,
            "least_score": 0.0,
        },
        {
            "expected": 4,
            "held": 4,
            "flagged": 2,
            "missing": 0,
            "rejected": 0,
            "unanswered": 0,
            "mean_score": 0.85,
            "least_score": 0.6,
        },
    ]


def test_the_worst_symbols_come_first_and_those_without_fault_not_at_all():
    start, end = pd.Timestamp(DAYS[0]).date(), pd.Timestamp(DAYS[4]).date()
    with new_database().writing() as connection:
        filled(connection)
        worst = worst_symbols(connection, start, end)
        assert worst_symbols(connection, start, end, limit=2)["symbol"].tolist() == ["EEE", "BBB"]
    assert [tuple(row) for row in worst.round(6).itertuples(index=False)] == [
        ("EEE", 1, 1, 0.0, "unanswered"),
        ("BBB", 2, 1, 0.3, "large_move,stale_run; missing_session"),
        ("CCC", 2, 1, 0.5, "null_share"),
        ("AAA", 3, 0, 0.933333, "large_move"),
    ]


DAY_1, DAY_2 = (payload(fetched=at(day=day)) for day in ("2026-01-21", "2026-01-22"))


def verdict(connection: duckdb.DuckDBPyConnection) -> tuple:
    [row] = rows(connection, "SELECT verdict, score, rules, source_provider, checked_at FROM data_quality_log")
    return row


@pytest.mark.parametrize("stored_verdict", ["accepted", "flagged"])
@pytest.mark.parametrize("later", ["missing", "rejected"])
def test_no_verdict_without_a_bar_replaces_the_verdict_on_a_stored_bar(stored_verdict: str, later: str):
    with new_database().writing() as connection:
        write_batch(connection, batch(stored=DAY_1, quality=verdicts((DAYS[0], stored_verdict, 0.9, "r")), now=at(2)))
        write_batch(connection, batch(stored=DAY_2, quality=verdicts((DAYS[0], later, 0.0, later)), now=at(3)))
        assert verdict(connection) == (stored_verdict, 0.9, "r", "sandbox", naive(2))


@pytest.mark.parametrize(
    ("earlier", "later"),
    [("missing", "accepted"), ("rejected", "flagged"), ("missing", "rejected"), ("accepted", "flagged")],
)
def test_a_verdict_is_replaced_by_a_later_one_that_knows_more(earlier: str, later: str):
    with new_database().writing() as connection:
        write_batch(connection, batch(stored=DAY_1, quality=verdicts((DAYS[0], earlier, 0.1, "r")), now=at(2)))
        other = payload(fetched=at(day="2026-01-22"), provider="other")
        write_batch(connection, batch(stored=other, quality=verdicts((DAYS[0], later, 0.2, "s")), now=at(3)))
        assert verdict(connection) == (later, 0.2, "s", "other", naive(3))


@pytest.mark.parametrize("later", ["accepted", "flagged", "missing", "rejected"])
def test_any_verdict_replaces_that_nobody_answered(later: str):
    with new_database().writing() as connection:
        connection.execute(
            "INSERT INTO data_quality_log VALUES ('AAPL', ?, 'unanswered', 0, 'unanswered', NULL, ?)",
            [DAYS[0], naive()],
        )
        write_batch(connection, batch(stored=DAY_1, quality=verdicts((DAYS[0], later, 0.5, "r"))))
        assert verdict(connection) == (later, 0.5, "r", "sandbox", naive(1))


def test_the_same_verdict_again_changes_nothing():
    with new_database().writing() as connection:
        for stored, hour in ((DAY_1, 2), (DAY_2, 3)):
            write_batch(
                connection, batch(stored=stored, quality=verdicts((DAYS[0], "flagged", 0.9, "r")), now=at(hour))
            )
        assert verdict(connection) == ("flagged", 0.9, "r", "sandbox", naive(2))


def test_an_older_payload_that_replaces_no_bar_does_not_replace_the_verdict_on_it():
    with new_database().writing() as connection:
        for stored, close, kind, rules, hour in ((DAY_2, 10.75, "accepted", "", 2), (DAY_1, 10.5, "flagged", "odd", 3)):
            quality = verdicts((DAYS[0], kind, 0.9, rules))
            record_coverage(connection, stored, job_id="job")
            write_batch(connection, batch(prices(DAYS[:1], close=close), stored=stored, quality=quality, now=at(hour)))
        assert rows(connection, "SELECT close FROM price_history_daily") == [(10.75,)]
        assert verdict(connection) == ("accepted", 0.9, "", "sandbox", naive(2))
