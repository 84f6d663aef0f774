"""A symbol that named another security before, or names one after: its bars are not stored."""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_data.instruments import Instrument, Universe
from market_data.sessions import sessions_between
from market_data.validation.frames import Bars, Found
from market_data.validation.presence import REUSE_SESSIONS, Gap, Span, gaps, of_one_security, one_a_session
from market_data_tests.archives import END as ARCHIVE_END
from market_data_tests.archives import SYMBOLS, Run, bars, write_archive
from market_data_tests.test_validation_builders import END, SESSIONS, START, clean_bars, day, judged, noted, told


def span(**changes: Any) -> Span:
    values: dict[str, Any] = {"start": START, "end": END, "expected": SESSIONS.to_numpy(), "complete_until": END}
    return Span(**values | {"start_is_known": False, "listed_from": None} | changes)


def at(*positions: int) -> Bars:
    """Bars on the sessions at these positions."""
    return Bars.of(clean_bars().iloc[list(positions)])


def kept(own: Bars) -> list[int]:
    """Positions of the sessions the bars are of."""
    positions: list[int] = np.searchsorted(SESSIONS.to_numpy(), own.date).tolist()
    return positions


def findings(found: Found) -> list[tuple[str, str, float, float]]:
    rows = zip(found.date, found.value, found.limit, strict=True)
    return [(found.rule, str(day.astype("datetime64[D]")), float(value), float(limit)) for day, value, limit in rows]


def told_of(own: Bars, asked: Span) -> list[Gap]:
    had_bar = np.isin(SESSIONS.to_numpy(), own.date)
    return gaps(asked, had_bar, had_bar)


def test_bars_before_a_gap_of_20_sessions_are_another_securitys_where_the_listing_is_not_known() -> None:
    own, found = of_one_security(at(0, 1, 2, *range(23, 62)), span())
    assert kept(own) == list(range(23, 62))
    assert findings(found) == [("ticker_reuse", day(2), 20.0, 20.0)]
    assert found.message == [
        "nothing traded for 20 sessions after it, and the listing date is not known: the bars up to it are of another "
        f"security that had the symbol; the span begins on {day(23)}"
    ]
    assert [
        (gap.found.rule, gap.is_due, int(gap.sessions.sum())) for gap in told_of(own, span()) if len(gap.found)
    ] == [("span_from_first_bar", False, 23)]


def test_a_gap_of_19_sessions_is_one_of_the_vendor() -> None:
    own, found = of_one_security(at(0, 1, 2, *range(22, 62)), span())
    assert (len(own), len(found)) == (43, 0)
    missing = [gap.found for gap in told_of(own, span()) if len(gap.found)]
    assert [(found.rule, len(found)) for found in missing] == [("missing_session", 19)]


@pytest.mark.parametrize(
    "changes",
    [
        {"start_is_known": True},
        {"start_is_known": True, "listed_from": date(2020, 1, 2)},
        {"listed_by": SESSIONS[1].date()},  # it surely traded before the gap
    ],
)
def test_a_gap_after_a_known_listing_is_one_of_the_vendor_however_long(changes: dict[str, Any]) -> None:
    own, found = of_one_security(at(0, 1, 2, *range(50, 62)), span(**changes))
    assert (kept(own), len(found)) == ([0, 1, 2, *range(50, 62)], 0)
    missing = [gap.found for gap in told_of(own, span(**changes)) if gap.found.rule == "missing_session"]
    assert [len(found) for found in missing] == [47]


def test_a_listing_known_by_a_date_after_the_gap_leaves_the_bars_before_it_out() -> None:
    own, found = of_one_security(at(0, 1, 2, *range(30, 62)), span(listed_by=SESSIONS[40].date()))
    assert (kept(own)[0], findings(found)) == (30, [("ticker_reuse", day(2), 27.0, 20.0)])


def test_of_several_gaps_the_last_one_counts() -> None:
    own, found = of_one_security(at(0, 1, 22, 23, 50, 51, 55), span())
    assert (kept(own), findings(found)) == ([50, 51, 55], [("ticker_reuse", day(23), 26.0, 20.0)])


def test_nothing_traded_after_the_last_bar_is_no_reuse() -> None:
    own, found = of_one_security(at(0, 1, 2), span())
    assert (kept(own), len(found)) == ([0, 1, 2], 0)
    own, found = of_one_security(at(), span())
    assert (kept(own), len(found)) == ([], 0)


def test_rows_without_a_price_do_not_bridge_a_gap() -> None:
    sent = at(*range(62))
    sent.values[3:30, :4] = np.nan
    own, found = of_one_security(sent, span())
    assert (kept(own)[0], findings(found)) == (30, [("ticker_reuse", day(2), 27.0, 20.0)])


def test_two_bars_of_a_session_beside_the_gap_both_fall_on_their_side() -> None:
    own, found = of_one_security(at(0, 2, 2, 40, 40, 41), span())
    assert (kept(own), findings(found)) == ([40, 40, 41], [("ticker_reuse", day(2), 37.0, 20.0)])
    assert kept(one_a_session(own)[0]) == [40, 41]


@given(st.sets(st.integers(0, 61), max_size=30), st.booleans())
def test_what_is_kept_holds_no_long_gap_and_all_that_follows_one(positions: set[int], known: bool) -> None:
    own, found = of_one_security(at(*sorted(positions)), span(start_is_known=known))
    left = kept(own)
    assert left == sorted(positions)[len(positions) - len(left) :]
    if known:
        assert len(left) == len(positions)
        return
    assert all(later - earlier <= REUSE_SESSIONS for earlier, later in pairwise(left))
    assert len(found) == (len(left) < len(positions))
    if len(found):
        before = sorted(positions)[-len(left) - 1]
        assert findings(found) == [("ticker_reuse", day(before), float(left[0] - before - 1), 20.0)]


def test_a_delisting_in_the_window_ends_what_is_expected_and_what_is_stored() -> None:
    gone = Instrument("GONE", listed_by=date(2020, 1, 2), delisted_on=SESSIONS[30].date())
    verdict = judged(clean_bars(), expected=gone.expected_sessions(START, END))
    assert told(verdict) == [(day(position), "after_delisting", "", 1.0) for position in range(30, 62)]
    assert verdict.bars["date"].tolist() == SESSIONS[:30].tolist()
    assert (noted(verdict), verdict.sessions_missing, verdict.score) == ({}, 0, 1.0)


@pytest.mark.parametrize("gap", [0, 25])
def test_bars_of_the_next_bearer_of_a_delisted_symbol_reach_no_table(tmp_path: Path, gap: int) -> None:
    gone_on, new_from = date(2024, 3, 1), sessions_between(date(2024, 3, 1), ARCHIVE_END)[gap].date()
    run = Run(tmp_path / "runtime", write_archive(tmp_path / "archive", SYMBOLS[:1]))
    drop_days(tmp_path / "archive", gone_on, new_from)
    run.universe = Universe([Instrument("AAA", listed_by=date(2020, 1, 2), delisted_on=gone_on)])

    assert run.run(symbols=["AAA"]).is_good

    sent = bars("AAA")
    own = [(item.date(),) for item in sent["date"] if item.date() < gone_on]
    assert run.rows("SELECT date FROM price_history_daily ORDER BY date") == own
    later = [(item.date(),) for item in sent["date"] if item.date() >= new_from]
    found = run.rows("SELECT date FROM quality_findings WHERE rule = 'after_delisting' ORDER BY date")
    assert found == later != []
    assert run.rows("SELECT date FROM data_quality_log ORDER BY date") == own


def drop_days(archive: Path, first: date, until: date) -> None:
    """Take the days from `first` to the one before `until` out of the one file of an archive."""
    (file,) = archive.rglob("*.txt")
    lines = file.read_text().splitlines(keepends=True)
    days = [line.split(",")[2] for line in lines]
    low, high = first.strftime("%Y%m%d"), until.strftime("%Y%m%d")
    file.write_text("".join(line for line, day in zip(lines, days, strict=True) if not low <= day < high))
