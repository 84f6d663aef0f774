from __future__ import annotations

import base64
import gzip
import json
import struct
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data.report.validation.document import PriceSeries
from market_data.report.validation.html import html
from market_data.report.validation.html_heatmap import STEPS, step_of, strips, year_marks
from market_data.report.validation.html_plots import months_of, plots
from market_data.report.validation.html_series import pack
from market_data.report.validation.html_tables import symbols_table, worst_symbols
from market_data.report.validation.html_text import (
    UNKNOWN,
    change,
    count,
    duration,
    instant,
    percent,
    plain,
    price,
    score,
)
from market_data_tests.report_documents import (
    HOSTILE,
    MONTHS,
    Page,
    document,
    finding,
    series,
    symbol_row,
)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (percent(1.0), "100 %"), (percent(0.99999), "99.99 %"), (percent(0.9856), "98.56 %"), (percent(0.0), "0 %"),
        (percent(0.00001), "< 0.01 %"), (percent(None), UNKNOWN), (percent(float("nan")), UNKNOWN),
        (percent(0.29), "29.00 %"),
        (percent(12.5), "1,250.00 %"), (score(1.0), "1"), (score(0.99999), "0.9999"), (score(0.7), "0.7000"),
        (score(0.0), "0"), (count(1234567), "1,234,567"), (count(None), UNKNOWN), (price(12.3456), "12.35"),
        (price(0.3), "0.30"), (price(0.1234), "0.1234"), (price(1234.5), "1,234.50"), (price(None), UNKNOWN),
        (plain(-4857400.0), "-4,857,400"), (plain(0.0828025478), "0.0828025"), (plain(float("inf")), UNKNOWN),
        (change(0.0125), "+1.25 %"),
        (change(-0.5), "-50.00 %"), (duration(4.26), "4.3 ms"), (duration(340.2), "340 ms"),
        (duration(1900.0), "1.9 s"), (instant(datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)), "2024-01-02 03:04 UTC"),
    ],
)  # fmt: skip
def test_numbers_are_written_for_people_and_never_as_more_than_they_are(written, expected):
    assert written == expected


@given(st.floats(0, 1))
def test_a_share_reads_as_whole_or_as_nothing_only_when_it_is(share):
    assert (percent(share) == "100 %") == (share == 1)
    assert (percent(share) == "0 %") == (share == 0)
    assert (score(share) == "1") == (share == 1)


def unpacked(packed):
    """What `pack` documents, read back without its code."""
    data = gzip.decompress(base64.b64decode(packed))
    [length] = struct.unpack("<I", data[:4])
    told = json.loads(data[4 : 4 + length])
    bars = told["bars"]
    planes = np.frombuffer(data[4 + length :], np.uint8).reshape(4, 4, bars)
    kinds = ("<i4", "<f4", "<f4", "<f4")
    columns = [np.ascontiguousarray(plane.T).view(kind).ravel() for plane, kind in zip(planes, kinds, strict=True)]
    return told, np.cumsum(columns[0]), columns[1], columns[2], columns[3]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 1500),
            st.one_of(st.just(np.nan), st.floats(0.01, 1e6)),
            st.one_of(st.just(np.nan), st.floats(0.01, 1e6)),
            st.one_of(st.just(np.nan), st.integers(0, 10**12).map(float)),
        ),
        unique_by=lambda row: row[0],
        max_size=30,
    )
)
@settings(max_examples=40)
def test_packed_bars_read_back_to_seven_digits(rows):
    rows.sort()
    places = np.array([row[0] for row in rows], dtype=np.int32)
    raw, adjusted, volume = (np.array([row[column] for row in rows], dtype=float) for column in (1, 2, 3))
    told, back, raw_back, ratio, volume_back = unpacked(
        pack(PriceSeries("AAA", places, raw, adjusted, volume, None, ()))
    )
    assert told == {"bars": len(rows), "refusal": None, "findings": []}
    np.testing.assert_array_equal(back, places)
    np.testing.assert_allclose(raw_back, raw, rtol=1e-6)
    np.testing.assert_allclose(ratio * np.where(raw > 0, raw, 1), adjusted, rtol=1e-6)
    np.testing.assert_allclose(volume_back, volume, rtol=1e-6)


def test_findings_travel_with_the_bars_and_values_that_are_no_numbers_as_unknown():
    odd = replace(finding("AAA", 3), value=float("nan"), limit=float("inf"), date=None, message=HOSTILE)
    told = unpacked(pack(series("AAA", findings=(finding("AAA", 3), odd), refusal="no action is known")))[0]
    assert told["refusal"] == "no action is known"
    assert told["findings"][0][:6] == ["2024-01-04", "log_return", "warning", "close", 0.75, 0.5]
    assert told["findings"][1][0] is None
    assert told["findings"][1][4:7] == [None, None, HOSTILE]


def test_a_month_without_an_expected_session_is_no_step_of_the_scale():
    values = (None, 0.0, 0.2, 0.5, 0.95, 0.999, 1.0)
    assert [step_of(value) for value in values] == [None, "none", "few", "part", "some", "near", "full"]
    assert [name for name, _ in STEPS] == ["full", "near", "some", "part", "few", "none"]


def test_the_heatmap_has_all_symbols_together_first_and_then_the_lowest_coverage():
    late = replace(symbol_row("LATE"), months=(None, None, 1.0))
    told = strips(document((symbol_row("AAA"), symbol_row("BBB", lacking=10), late)))
    assert [strip.symbol for strip in told] == [None, "BBB", "AAA", "LATE"]
    assert [(run.start, run.length, run.step) for run in told[1].runs] == [(0, 1, "part"), (1, 2, "full")]
    assert told[1].runs[0].title == "2024-01: 56.52 %"
    assert told[1].summary == "2 of 3 months full; 2024-01 56.52 %"
    assert [(run.start, run.length) for run in told[3].runs] == [(2, 1)]
    assert told[2].summary == "all 3 months full"


def test_the_axis_of_months_is_marked_by_year_where_the_span_is_long():
    long = tuple(f"{year}-{month:02d}" for year in range(2021, 2026) for month in range(1, 13))
    assert [(mark.label, mark.left) for mark in year_marks(long)][:2] == [("2021", 0.0), ("2022", 20.0)]
    assert [mark.label for mark in year_marks(MONTHS)] == ["2024-01"]


def test_a_value_that_is_no_number_reads_as_unknown_and_breaks_nothing():
    odd, nan = document(), float("nan")
    sessions = tuple(replace(row, mean_score=nan) for row in odd.sessions)
    providers = tuple(replace(row, share=nan, latency_p50_ms=nan, latency_p95_ms=nan) for row in odd.providers)
    row = replace(odd.symbols[0], coverage=nan, mean_score=nan, months=(nan, 0.5, nan))
    restated = replace(odd.restatements[0], relative_change=float("inf"), old_close=nan)
    told = replace(odd, sessions=sessions, providers=providers, symbols=(row,), restatements=(restated,))
    page = Page(html(told))
    [cells] = [rows[1] for caption, rows in page.tables().items() if caption.startswith("Every instrument")]
    assert cells[7:9] == [UNKNOWN, UNKNOWN]
    assert [(run.start, run.length, run.step) for run in strips(told)[1].runs] == [(1, 1, "part")]
    assert json.loads(page.text_of("data"))["plots"]["sessions"]["data"][-1]["y"][0] is None


def test_the_worst_list_leaves_out_what_is_whole():
    rows = (symbol_row("GOOD"), symbol_row("BAD", lacking=20), symbol_row("POOR", lacking=5))
    assert [row.symbol for row in worst_symbols(document(rows))] == ["BAD", "POOR"]
    assert "Every instrument has the full score." in html(document((symbol_row("GOOD"),), rules=(), gaps=()))


def test_the_months_beside_the_plot_add_up_to_the_sessions():
    newest, *_, oldest = months_of(document())
    assert (newest.month, newest.coverage, newest.mean_score) == ("2024-03", 1.0, 1.0)
    assert (oldest.month, oldest.sessions, oldest.expected, oldest.rows, oldest.missing) == ("2024-01", 23, 69, 59, 10)


def test_a_figure_carries_the_numbers_of_the_document():
    made = plots(document())
    lines = {trace["name"]: trace for trace in made["sessions"].figure["data"]}
    assert lines["bars held"]["y"][:11] == [2] * 10 + [3]
    assert lines["missing"]["y"].count(1) == 10
    assert lines["unanswered"]["visible"] == "legendonly"
    assert made["scores"].figure["data"][0]["y"] == [10, 185]
    assert made["providers"].figure["data"][0]["y"] == ["polygon"]
    latencies = made["providers"].figure["layout"]["xaxis2"]["tickvals"]
    assert latencies == [100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0, 20000.0, 50000.0]


def test_unknown_values_have_no_key_to_be_sorted_by():
    row = replace(symbol_row("AAA"), mean_score=None, first=None, reason=None)
    cells = dict(
        zip(
            [c.title for c in symbols_table(document((row,))).columns],
            symbols_table(document((row,))).rows[0],
            strict=True,
        )
    )
    assert (cells["mean score"].text, cells["mean score"].key) == (UNKNOWN, None)
    assert (cells["first session"].text, cells["first session"].key) == (UNKNOWN, None)
    assert (cells["refused because"].text, cells["refused because"].key) == ("", None)
