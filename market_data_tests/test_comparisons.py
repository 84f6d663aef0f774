from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from market_data.adjustments import dividends_applied_until
from market_data_tests.comparisons import Agreement, lean, print_table, stooq, yahoo
from market_data_tests.comparisons.__main__ import main

DATES = np.array(["2021-01-19", "2021-01-20", "2021-01-21"], dtype="datetime64[s]")


@pytest.mark.parametrize(("comparison", "count"), [(lean, 4), (yahoo, 9), (stooq, 10)])
def test_our_prices_agree_with_those_of_others_as_far_as_stated(payloads, comparison, count, capsys):
    assert comparison.main(payloads) == 0, capsys.readouterr().out
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("PASS")]
    assert len(lines) == count


def test_total_return_is_yahoos_to_the_precision_of_its_floats(payloads):
    found = yahoo.agreements(payloads)
    assert sum(len(agreement.dates) for agreement in found) == 3187
    assert max(agreement.differences.max() for agreement in found) < 5e-7


@pytest.mark.parametrize(
    ("snapshot", "until"),
    [("archive", "2026-02-08"), ("February", "2026-02-03"), ("June", "2026-06-26"), ("2024", "2023-02-09")],
)
def test_a_snapshot_of_stooq_tells_how_far_it_got_with_dividends(payloads, snapshot, until):
    name, as_of = stooq.APPLE[snapshot]
    bars = stooq.read_bars(payloads, name, "AAPL")
    found = dividends_applied_until(bars, stooq.apple_actions(payloads), as_of=as_of)
    assert found == date.fromisoformat(until)


def test_raw_closes_recovered_from_stooq_are_those_of_the_tape(payloads):
    closes = stooq.recovered(payloads, "archive").set_index("date")["close"]
    days = ["2022-05-05", "2022-11-03", "2023-02-09", "2024-08-09", "2025-05-09", "2025-11-07"]
    assert [closes[day] for day in days] == [156.77, 138.88, 150.87, 216.24, 198.53, 268.47]


def test_a_difference_above_the_limit_fails_and_names_the_date(capsys):
    apart = Agreement("made up", DATES, np.array([0.0, 0.3, 0.1]), 0.2)
    assert not apart.passes
    assert print_table([apart]) == 1
    shown = capsys.readouterr().out
    assert shown.startswith(
        "FAIL made up: 3 sessions, max 0.3, median 0.1, 2 within 0.2 (needed 100%); worst 2021-01-20"
    )
    assert Agreement("made up", DATES, np.array([0.0, 0.3, 0.1]), 0.2, share=0.6).passes


def test_nothing_to_compare_fails():
    assert not Agreement("made up", DATES[:0], np.array([]), 1.0).passes
    assert print_table([]) == 1


def test_an_unknown_comparison_is_refused_with_the_known_ones(capsys):
    assert main(["nobody"]) == 2
    shown = capsys.readouterr().err
    assert all(name in shown for name in ("lean", "stooq", "yahoo"))


def test_without_payloads_a_comparison_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PAYLOADS", str(tmp_path / "nowhere"))
    assert main(["lean"]) == 0
    assert capsys.readouterr().out.startswith("skipped: no recorded payloads")
