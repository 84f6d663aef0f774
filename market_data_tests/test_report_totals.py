"""Whatever verdicts there are, the figures of a report add up."""

from __future__ import annotations

from datetime import date
from functools import cache

import duckdb
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from market_data.instruments import Universe
from market_data.report.validation.coverage import (
    headline,
    months_of,
    score_bins,
    session_rows,
    symbol_rows,
)
from market_data.report.validation.pairs import lay_out
from market_data.settings import load_settings
from market_data_tests.bars import DAYS, in_memory
from market_data_tests.reported import DATES, FIRST, NOW
from market_data_tests.stored_prices import put_bar

SYMBOLS = ("A", "B", "C")
VERDICTS = ("accepted", "flagged", "missing", "rejected", "unanswered")
JUDGED = st.dictionaries(
    st.tuples(st.sampled_from(SYMBOLS), st.sampled_from((*DAYS, "2021-02-01", "2021-02-02"))),
    st.tuples(st.sampled_from(VERDICTS), st.integers(0, 20), st.booleans()),
    max_size=21,
)


@cache
def _memory() -> duckdb.DuckDBPyConnection:
    return in_memory()


@given(JUDGED)
@hypothesis_settings(max_examples=25)
def test_symbols_sessions_months_scores_and_the_headline_add_up(judged):
    connection, end = _memory(), date(2021, 2, 2)
    connection.execute("DELETE FROM data_quality_log")
    connection.execute("DELETE FROM price_history_daily")
    for (symbol, day), (verdict, score, is_held) in judged.items():
        connection.execute(
            "INSERT INTO data_quality_log VALUES (?, ?, ?, ?, '', 'yahoo', ?)", [symbol, day, verdict, score / 20, NOW]
        )
        if is_held:
            put_bar(connection, symbol, day, 10.0)
    universe = Universe(())
    lay_out(connection, universe, load_settings(), symbols=SYMBOLS, start=FIRST, end=end, until=None)
    dates = [*DATES, date(2021, 2, 1), end]
    head = headline(connection, dates, 0, 0)
    by_symbol = symbol_rows(connection, universe, SYMBOLS, months_of(dates), {})
    by_session = session_rows(connection, dates)
    held = sum(is_held for _, _, is_held in judged.values())
    assert (head.expected, head.rows) == (len(judged), held)
    for name in ("expected", "rows", "flagged", "missing", "rejected", "unanswered"):
        assert sum(getattr(row, name) for row in by_symbol) == getattr(head, name)
        assert sum(getattr(row, name) for row in by_session) == getattr(head, name)
    assert sum(row.count for row in score_bins(connection)) == len(judged)
    for low, count in ((row.low, row.count) for row in score_bins(connection)):
        inside = [score for _, score, _ in judged.values() if min(score, 19) == round(low * 20)]
        assert count == len(inside)
    for row in by_symbol:
        for month, share in zip(("2021-01", "2021-02"), row.months, strict=True):
            bars = [
                is_held for (name, day), (_, _, is_held) in judged.items() if (name, day[:7]) == (row.symbol, month)
            ]
            assert share == (sum(bars) / len(bars) if bars else None)
    if judged:
        assert head.mean_score == pytest.approx(sum(score / 20 for _, score, _ in judged.values()) / len(judged))
