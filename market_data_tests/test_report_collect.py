"""What a validation report collects from a store with known rows, and from one with none."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import pytest

from market_data.clock import SandboxClock
from market_data.errors import MarketDataError, SettingsError, WarehouseError
from market_data.ingest.sources import vendor_catalogue
from market_data.instruments import load_universe
from market_data.report.validation.collect import MOST_ROWS, default_span, span_of_text
from market_data.report.validation.concerns import concerns
from market_data.report.validation.coverage import (
    SCORE_BINS,
)
from market_data.report.validation.document import Finding, Headline, ReportDocument, ScoreBin
from market_data.report.validation.findings import EXAMPLES, meaning_of, rule_rows
from market_data.selection.quota import QuotaLedger
from market_data.settings import Settings
from market_data_tests.bars import DAYS, naive
from market_data_tests.reported import (
    CAME,
    DATES,
    FIRST,
    LAST,
    NOW,
    changed,
    clock,
    collected,
    known_report,
    known_store,
    new_store,
)
from market_data_tests.stored_prices import put_action


@pytest.fixture
def store() -> Settings:
    return known_store()


@pytest.fixture
def document() -> ReportDocument:
    return known_report()


def test_the_headline_counts_every_expected_session_of_what_was_asked_for(document):
    head = document.headline
    assert (head.symbols, head.sessions, head.expected, head.rows) == (5, 5, 23, 9)
    assert head.coverage == 9 / 23
    assert head.mean_score == pytest.approx((5 + 3.7) / 23)
    assert (head.flagged, head.missing, head.rejected, head.unanswered) == (1, 1, 5, 8)
    assert (head.rejected_symbols, head.open_gaps, head.known_gaps) == (1, 13, 1)
    assert head.last_session == LAST
    assert head.last_sync == datetime(2021, 1, 26, tzinfo=UTC)
    assert (document.generated_at, document.months) == (NOW, ("2021-01",))
    assert (document.synthetic, document.truncated) == (True, {})


def test_each_symbol_has_its_coverage_providers_and_why_it_was_refused(document):
    rows = {row.symbol: row for row in document.symbols}
    assert list(rows) == ["AAPL", "IBM", "KO", "LATE", "MSFT"]
    aapl = rows["AAPL"]
    assert (aapl.name, aapl.exchange, aapl.first, aapl.last) == ("Apple Inc.", "XNAS", FIRST, LAST)
    assert (aapl.coverage, aapl.mean_score, aapl.months, aapl.findings) == (1.0, 1.0, (1.0,), 0)
    assert (aapl.providers, aapl.reason) == ({"polygon": 5}, None)
    msft = rows["MSFT"]
    assert (msft.rows, msft.flagged, msft.missing, msft.least_score, msft.findings) == (4, 1, 1, 0.0, 2)
    assert (msft.last, msft.months, msft.providers) == (DATES[3], (0.8,), {"yahoo": 4})
    ibm = rows["IBM"]
    assert (ibm.rows, ibm.rejected, ibm.first, ibm.coverage, ibm.mean_score) == (0, 5, None, 0.0, 0.0)
    assert ibm.reason.startswith("1 bar with a negative price")
    assert (rows["KO"].expected, rows["KO"].unanswered) == (5, 5)
    assert (rows["LATE"].expected, rows["LATE"].unanswered) == (3, 3)  # nothing is due before its listing


def test_each_session_and_each_score_is_counted(document):
    assert [row.session for row in document.sessions] == list(DATES)
    last = document.sessions[4]
    assert (last.expected, last.rows, last.missing, last.rejected, last.unanswered) == (5, 1, 1, 1, 2)
    assert last.mean_score == 0.2
    assert [row.expected for row in document.sessions] == [4, 4, 5, 5, 5]
    assert len(document.scores) == SCORE_BINS
    counted = [row for row in document.scores if row.count]
    assert counted == [ScoreBin(0.0, 0.05, 14), ScoreBin(0.7, 0.75, 1), ScoreBin(0.95, 1.0, 8)]


def test_findings_are_told_once_by_rule_with_examples_and_only_of_the_span(document):
    rules = {(row.rule, row.severity): row for row in document.rules}
    assert list(rules) == [("negative_price", "error"), ("missing_session", "warning"), ("stale_run", "warning")]
    negative = rules["negative_price", "error"]
    # Of each provider one for the batch and one for the bar, though one provider was asked twice.
    assert (negative.findings, negative.symbols, len(negative.examples)) == (4, 1, 4)
    assert negative.meaning == "Price below zero; the batch is rejected"
    assert negative.examples[0].date == FIRST
    [stale] = rules["stale_run", "warning"].examples
    assert (stale.symbol, stale.date, stale.value, stale.limit, stale.provider) == ("MSFT", DATES[3], 5.0, 5.0, "yahoo")
    assert [(item.symbol, item.date) for item in document.findings[:3]] == [
        ("IBM", None),
        ("IBM", None),
        ("IBM", FIRST),
    ]


def test_examples_are_the_newest_of_as_many_symbols_as_there_are():
    found = [
        Finding(symbol, date(2021, 1, day), "ohlc", "warning", "high", 1.0, 0.0, "m", "yahoo")
        for symbol in ("A", "B", "C")
        for day in range(4, 9)
    ]
    [row] = rule_rows(found)
    assert (row.findings, row.symbols, len(row.examples)) == (15, 3, EXAMPLES)
    assert [item.symbol for item in row.examples[:3]] == ["A", "B", "C"]
    assert {item.date.day for item in row.examples[:3]} == {8}
    assert meaning_of("intraday_ohlc") == "High or low that does not bound the other prices (minutes)"
    assert meaning_of("of_another_version") == ""


def test_providers_have_their_bars_and_what_they_were_asked_since_the_start(document):
    rows = {row.provider: row for row in document.providers}
    polygon, yahoo = rows["polygon"], rows["yahoo"]
    assert (polygon.bars, polygon.share, polygon.calls) == (5, 5 / 9, 5)
    assert (polygon.accepted, polygon.rejected, polygon.no_data, polygon.failed) == (1, 2, 2, 0)
    assert (yahoo.bars, yahoo.calls, yahoo.accepted, yahoo.rejected) == (4, 2, 1, 1)
    assert (polygon.latency_p50_ms, polygon.quota_left) == (40, None)


def test_restatements_actions_and_comparisons_are_those_of_the_span(document):
    [restated] = document.restatements
    assert (restated.symbol, restated.date, restated.old_close, restated.new_close) == ("AAPL", DATES[1], 10.0, 10.5)
    assert (restated.old_provider, restated.new_provider, restated.replaced_at) == ("yahoo", "polygon", CAME)
    assert restated.relative_change == pytest.approx(0.05)
    [split] = document.actions
    assert (split.symbol, split.date, split.kind, split.value, split.also_told_by) == (
        "AAPL",
        DATES[3],
        "split",
        2.0,
        "yahoo",
    )
    [pair] = document.pairs
    assert (pair.provider, pair.other, pair.sessions, pair.differing, pair.symbols) == (
        "polygon",
        "yahoo",
        3,
        2,
        ("AAPL",),
    )
    assert pair.largest == pytest.approx(0.1 / 10.5)


def test_gaps_are_spans_with_what_is_known_of_them_and_those_nobody_noted_yet_are_open(document):
    rows = {(row.symbol, row.first): row for row in document.gaps}
    known = rows["MSFT", LAST]
    assert (known.state, known.reason, known.tries, known.sessions) == ("known", "nobody has it", 3, 1)
    tried = rows["IBM", FIRST]
    assert (tried.state, tried.sessions, tried.tries) == ("open", 1, 1)
    assert tried.next_try == datetime(2021, 1, 26, 6, tzinfo=UTC)
    fresh = rows["IBM", DATES[1]]
    assert (fresh.last, fresh.sessions, fresh.tries, fresh.next_try) == (LAST, 4, 0, None)
    assert fresh.reason == "the batch was refused"
    assert rows["LATE", DATES[2]].reason == "nothing was judged for it yet"
    assert len(rows) == 5


def test_a_bar_under_the_least_score_is_a_gap(store):
    strict = store.model_copy(update={"min_data_quality": 0.8})
    [row] = [row for row in collected(strict, symbols=["MSFT"]).gaps if row.first == DATES[3]]
    assert (row.state, row.reason) == ("open", "stored with a score of 0.7")


def test_every_check_is_told_with_what_it_found(document):
    rows = {row.name: row for row in document.checks}
    assert [name for name, row in rows.items() if row.blocking] == ["schema", "nulls", "positivity", "provenance"]
    assert all(row.passed for row in rows.values() if row.blocking)
    assert (rows["completeness"].passed, rows["completeness"].failing) == (False, 6)
    assert rows["completeness"].summary == "9 of 15 expected bars (60.00%)"
    assert (rows["reconciliation"].passed, rows["reconciliation"].failing) == (False, 2)


def test_series_have_closes_as_traded_and_as_total_return_and_the_findings(document):
    by_symbol = {item.symbol: item for item in document.series}
    assert list(by_symbol) == [row.symbol for row in document.symbols]
    aapl = by_symbol["AAPL"]
    assert aapl.sessions.tolist() == [0, 1, 2, 3, 4]
    assert aapl.sessions.dtype == np.int32
    np.testing.assert_allclose(aapl.raw, [10.5, 10.5, 10.5, 5.25, 5.25])
    np.testing.assert_allclose(aapl.adjusted, 5.25)
    np.testing.assert_allclose(aapl.volume, 1000)
    assert aapl.refusal is None
    msft = by_symbol["MSFT"]
    assert (msft.sessions.tolist(), len(msft.findings)) == ([0, 1, 2, 3], 2)
    assert np.isnan(msft.adjusted).all()
    assert "not every split and dividend" in msft.refusal
    ibm = by_symbol["IBM"]
    assert (len(ibm.sessions), len(ibm.raw), len(ibm.findings), ibm.refusal) == (0, 0, 4, None)


def test_a_symbol_whose_prices_cannot_be_had_is_refused_in_words_and_the_others_are_served(store, tmp_path):
    with changed(store, tmp_path) as (settings, connection):
        connection.execute(
            "UPDATE price_history_daily SET basis = 'split_dividend', adjusted_as_of = '2021-01-26' "
            "WHERE symbol = 'MSFT' AND date >= ?",
            [DAYS[2]],
        )
        put_action(connection, "AAPL", DAYS[0], "dividend", 0.5)  # no bar before it that it could be divided by
    aapl, msft = collected(settings, symbols=["AAPL", "MSFT"], series=True).series
    assert "MSFT" in msft.refusal
    assert "its bars stand in several bases" in msft.refusal
    np.testing.assert_allclose(msft.raw, [10.5, 10.5, np.nan, np.nan])
    assert aapl.refusal is None
    np.testing.assert_allclose(aapl.adjusted, 5.25)


def test_a_dividend_without_a_close_before_it_refuses_the_bars_before(store, tmp_path):
    with changed(store, tmp_path) as (settings, connection):
        put_action(connection, "AAPL", DAYS[2], "dividend", 99.0)
    [aapl] = collected(settings, symbols=["AAPL"], series=True).series
    assert aapl.refusal == f"the raw close before the dividend of {DAYS[2]} is not known, or not above it"
    assert np.isnan(aapl.adjusted).all()
    assert not np.isnan(aapl.raw).any()


def test_chosen_symbols_bound_everything_but_the_checks_and_one_never_asked_for_is_unanswered(store):
    document = collected(store, symbols=["NEVER", "AAPL"])
    assert [row.symbol for row in document.symbols] == ["NEVER", "AAPL"]
    assert (document.headline.expected, document.headline.rows, document.headline.unanswered) == (10, 5, 5)
    assert (document.rules, document.findings, document.series) == ((), (), ())
    assert [row.bars for row in document.providers if row.provider == "yahoo"] == [0]
    assert {check.name: check for check in document.checks}["completeness"].failing == 6


def test_a_shorter_span_counts_only_its_own(store):
    document = collected(store, DATES[3], DATES[3])
    assert (document.headline.sessions, document.headline.expected, document.headline.rows) == (1, 5, 2)
    assert (document.restatements, len(document.actions), document.pairs) == ((), 1, ())
    assert [row.sessions for row in document.gaps] == [1, 1, 1]
    assert document.headline.known_gaps == 0


def test_sessions_that_are_not_due_yet_are_not_expected(store):
    document = collected(store, end=date(2021, 2, 26))
    assert (document.headline.sessions, document.headline.expected) == (5, 23)
    assert document.end == date(2021, 2, 26)


def test_an_expected_bar_that_is_gone_is_not_covered(store, tmp_path):
    with changed(store, tmp_path) as (settings, connection):
        connection.execute("DELETE FROM price_history_daily WHERE symbol = 'AAPL' AND date = ?", [DAYS[0]])
    document = collected(settings, symbols=["AAPL"])
    assert (document.headline.rows, document.headline.expected, document.symbols[0].first) == (4, 5, DATES[1])


def test_a_blocking_check_that_fails_and_a_low_mean_score_need_a_person(store, document, tmp_path):
    assert concerns(document, least_score=0.2) == ()
    [low] = concerns(document, least_score=0.6)
    assert low == "the mean score is 0.3783, under 0.6 (MARKET_DATA_MIN_DATA_QUALITY)"
    with changed(store, tmp_path) as (settings, connection):
        connection.execute("UPDATE price_history_daily SET raw_hash = 'unknown' WHERE symbol = 'MSFT'")
    [blocked] = concerns(collected(settings), least_score=0.2)
    assert blocked == "the blocking check provenance fails: 4 bars without a raw payload"


def test_a_store_or_a_span_without_data_gives_a_report_with_zeros(store, tmp_path):
    empty = collected(new_store(tmp_path), series=True)
    assert empty.headline == Headline(0, 5, 0, 0, None, None, 0, 0, 0, 0, 0, 0, 0, None, None)
    assert (empty.symbols, empty.rules, empty.gaps, empty.scores, empty.series) == ((), (), (), (), ())
    assert [row.expected for row in empty.sessions] == [0] * 5
    assert concerns(empty, least_score=0.6) == ()
    weekend = collected(store, date(2021, 1, 23), date(2021, 1, 24), series=True)
    assert (weekend.sessions, weekend.months, weekend.checks, weekend.headline.expected) == ((), (), (), 0)
    assert [len(item.raw) for item in weekend.series] == [0] * len(weekend.symbols)


def test_a_long_list_is_cut_and_says_how_many_there_are(store):
    document = collected(store, most_rows=MOST_ROWS | {"gaps": 2})
    assert (len(document.gaps), document.truncated) == (2, {"gaps": 5})
    assert document.headline.open_gaps == 13


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (LAST, FIRST, "start 2021-01-25 is after end 2021-01-19; start must not be later"),
        (date(1980, 1, 2), LAST, "1980-01-02 to 2021-01-25 is outside the sessions the store knows, 1990-01-02 to"),
    ],
)
def test_a_span_that_cannot_be_is_refused(store, start, end, message):
    with pytest.raises(SettingsError, match=message):
        collected(store, start, end)


def test_without_a_store_or_with_the_other_kind_it_is_said_what_to_do(store, tmp_path):
    with pytest.raises(WarehouseError, match="no database yet; run `market-data backfill` first"):
        collected(store, synthetic=False)
    mixed = store.model_copy(update={"database": store.database_for(synthetic=True)})
    with pytest.raises(MarketDataError, match="holds synthetic data, and real was meant; give --synthetic"):
        collected(mixed, synthetic=False)


def test_the_store_is_not_changed_and_no_file_is_made(store):
    before = {path: path.stat().st_mtime_ns for path in store.runtime.rglob("*")}
    collected(store, series=True)
    assert {path: path.stat().st_mtime_ns for path in store.runtime.rglob("*")} == before


def test_the_span_is_that_of_the_window_up_to_the_last_session_due_unless_it_is_given(store):
    due = SandboxClock(store.sandbox_clock_file)
    assert default_span(store, due) == (FIRST, LAST)
    assert span_of_text("", "2021-01-21 ", store, due) == (FIRST, date(2021, 1, 21))
    with pytest.raises(SettingsError, match=r"start: '21\.1\.2021' is not a date as in 2024-01-02"):
        span_of_text("21.1.2021", "", store, due)


def test_the_universe_of_these_tests_is_a_valid_one(store):
    assert len(load_universe(store.universe)) == 6


def test_a_symbol_that_is_not_listed_in_the_span_is_left_out_unless_it_is_asked_for(store):
    before = collected(store, FIRST, DATES[1])
    assert [row.symbol for row in before.symbols] == ["AAPL", "IBM", "KO", "MSFT"]
    [late] = collected(store, FIRST, DATES[1], symbols=["LATE"]).symbols
    assert (late.expected, late.coverage, late.mean_score, late.months) == (0, None, None, (None,))


def test_a_symbol_that_came_with_a_call_for_all_is_expected_in_every_span(store, tmp_path):
    with changed(store, tmp_path) as (settings, connection):
        connection.execute("DELETE FROM coverage WHERE symbol = 'KO'")
        connection.execute(
            "INSERT INTO data_quality_log VALUES ('KO', '2021-01-25', 'accepted', 1, '', 'polygon', ?)", [naive()]
        )
    document = collected(settings, FIRST, FIRST)
    assert [row.symbol for row in document.symbols] == ["AAPL", "IBM", "KO", "MSFT"]
    assert document.symbols[2].unanswered == 1


def test_what_is_left_of_the_tightest_quota_comes_from_the_ledger_of_calls(tmp_path):
    settings = new_store(tmp_path)
    config = vendor_catalogue(settings, sandbox_url="http://127.0.0.1")["polygon"]
    ledger = QuotaLedger(settings.calls_file(synthetic=True), clock=clock)
    for _ in range(3):
        ledger.take(config)
    [row] = collected(settings).providers
    limit = min(quota.limit for quota in config.quotas)
    assert (row.provider, row.bars, row.share, row.calls) == ("polygon", 0, None, 0)
    assert (row.quota_limit, row.quota_left, row.quota_period) == (limit, limit - 3, "month")
    assert row.resets > NOW
