"""One list of corporate actions, made of what several providers tell."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data.corporate_actions import Told, as_reported, is_told, kind_of, resolve, spans_told
from market_data.schemas import CorporateActions
from market_data_tests.bars import actions, at, payload

REPORT = ("date", "kind", "value", "source_provider", "adjusted_as_of", "raw_hash", "pulled_at")
TOLD = ("kind", "source_provider", "first_date", "last_date")


def reports(*rows: tuple) -> pd.DataFrame:
    """Reports of (date, kind, value, provider[, adjusted as of[, day it came]])."""
    whole = [(*row, *(None, "2026-01-20")[len(row) - 4 :])[:6] for row in rows]
    return pd.DataFrame([(*row[:5], f"hash of {row[3]}", pd.Timestamp(row[5])) for row in whole], columns=list(REPORT))


def told(*rows: tuple[str, str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(TOLD))


def listed(resolved) -> list[tuple]:
    CorporateActions.validate(resolved.actions[["date", "kind", "value"]])
    names = ["date", "kind", "value", "source_provider", "also_told_by"]
    return [(str(day.date()), *row) for day, *row in resolved.actions[names].itertuples(index=False)]


def messages(resolved) -> list[str]:
    return resolved.conflicts["message"].tolist()


def test_the_same_split_of_two_vendors_a_session_apart_is_one_of_the_date_of_the_one_believed():
    # 2020-08-28 is a Friday, 2020-08-31 the Monday after it.
    found = resolve(
        reports(("2020-08-28", "split", 4.0000001, "yahoo"), ("2020-08-31", "split", 4.0, "polygon")), told()
    )
    assert listed(found) == [("2020-08-31", "split", 4.0, "polygon", "yahoo")]
    assert messages(found) == []
    apart = resolve(reports(("2020-08-27", "split", 4.0, "yahoo"), ("2020-08-31", "split", 4.0, "polygon")), told())
    assert [row[0] for row in listed(apart)] == ["2020-08-27", "2020-08-31"]


def test_another_value_is_a_conflict_and_never_averaged():
    found = resolve(
        reports(
            ("2024-06-10", "split", 9.0, "yahoo"),
            ("2024-06-10", "split", 10.0, "alpha_vantage"),
            ("2024-06-10", "split", 10.0, "polygon"),
        ),
        told(),
    )
    assert listed(found) == [("2024-06-10", "split", 10.0, "polygon", "alpha_vantage")]
    conflict = found.conflicts.iloc[0]
    assert (conflict.source_provider, conflict.value, conflict.other_provider, conflict.other_value) == (
        "polygon",
        10.0,
        "yahoo",
        9.0,
    )
    assert conflict.message == (
        "polygon tells of a split of 10 on 2024-06-10, yahoo of a split of 9 on 2024-06-10; polygon is believed"
    )


def test_an_import_is_believed_before_every_vendor():
    found = resolve(
        reports(("2024-05-10", "dividend", 0.25, "polygon"), ("2024-05-10", "dividend", 0.26, "import")), told()
    )
    assert listed(found) == [("2024-05-10", "dividend", 0.26, "import", "")]
    assert len(found.conflicts) == 1


@pytest.mark.parametrize(
    ("first", "last", "is_conflict"),
    [
        ("2024-06-07", "2024-06-11", True),
        ("2024-01-02", "2024-12-31", True),
        ("2024-06-10", "2024-06-30", False),
        ("2024-06-01", "2024-06-10", False),
        ("2024-07-01", "2024-07-31", False),
    ],
)
def test_an_action_that_a_vendor_should_know_and_does_not_tell_is_kept_with_a_conflict(first, last, is_conflict):
    found = resolve(reports(("2024-06-10", "split", 10.0, "yahoo")), told(("split", "polygon", first, last)))
    assert listed(found) == [("2024-06-10", "split", 10.0, "yahoo", "")]
    expected = ["yahoo tells of a split of 10 on 2024-06-10, polygon tells of none"] if is_conflict else []
    assert messages(found) == expected
    assert found.conflicts["other_value"].isna().all()


def test_a_dividend_adjusted_for_later_splits_is_turned_to_what_was_declared():
    # AAPL: 0.108929 after splits 7 and 4 for 1 was declared as 3.05.
    found = resolve(
        reports(
            ("2014-05-08", "dividend", 0.108929, "yahoo", pd.Timestamp("2024-02-01")),
            ("2014-05-08", "dividend", 3.05, "alpha_vantage"),
            ("2014-06-09", "split", 7.0, "yahoo"),
            ("2020-08-31", "split", 4.0, "polygon"),
        ),
        told(),
    )
    assert listed(found)[0] == ("2014-05-08", "dividend", 3.05, "alpha_vantage", "yahoo")
    assert messages(found) == []


def test_a_vendor_has_not_adjusted_for_a_split_that_it_knows_nothing_of():
    rows = (
        ("2024-05-10", "dividend", 0.25, "yahoo", pd.Timestamp("2024-12-01")),
        ("2024-06-10", "split", 10.0, "polygon"),
    )
    span = ("split", "yahoo", "2024-01-02", "2024-12-01")
    assert listed(resolve(reports(*rows), told(span)))[0][2] == 0.25
    assert listed(resolve(reports(*rows), told()))[0][2] == 2.5
    before = ("2024-05-10", "dividend", 0.25, "yahoo", pd.Timestamp("2024-06-01"))
    assert listed(resolve(reports(before, rows[1]), told()))[0][2] == 0.25


def test_what_rounding_of_the_sent_amount_allows_is_no_conflict():
    rows = (
        ("2014-05-08", "dividend", 3.05, "polygon"),
        ("2014-05-08", "dividend", 0.108932, "yahoo", pd.Timestamp("2024-02-01")),
        ("2020-08-31", "split", 28.0, "polygon"),
    )
    assert len(resolve(reports(*rows), told()).conflicts) == 1, "0.108932 * 28 is 3.0501, more than rounding explains"
    rows = (rows[0], ("2014-05-08", "dividend", 0.108929, "yahoo", pd.Timestamp("2024-02-01")), rows[2])
    assert len(resolve(reports(*rows), told()).conflicts) == 0


def test_a_split_and_a_spinoff_of_about_one_value_are_one_action_with_a_conflict_on_the_kind():
    found = resolve(
        reports(("2021-11-04", "spinoff", 1.046, "alpha_vantage"), ("2021-11-04", "split", 1.05, "yahoo")), told()
    )
    assert listed(found) == [("2021-11-04", "spinoff", 1.046, "alpha_vantage", "")]
    assert "yahoo of a split of 1.05" in messages(found)[0]
    both = resolve(
        reports(("2021-11-04", "spinoff", 1.046, "alpha_vantage"), ("2021-11-04", "split", 2.0, "yahoo")), told()
    )
    assert [row[1] for row in listed(both)] == ["spinoff", "split"]


@pytest.mark.parametrize("ratio", [2.0, 4.0, 20.0, 1.5, 0.1, 1 / 150, 1.05, 1.025, 1.25, 7.000007, 0.125, 4 / 3])
def test_small_whole_numbers_are_splits(ratio):
    assert kind_of(ratio) == "split"


@pytest.mark.parametrize("ratio", [1.046, 1.281, 1.253, 1.1739, 3.9876])
def test_ratios_of_prices_are_spinoffs(ratio):
    assert kind_of(ratio) == "spinoff"


def test_reports_of_a_vendor_have_spinoffs_told_apart_and_dividends_of_a_date_added_up():
    sent = actions(
        ("2021-11-04", "split", 1.046),
        ("2021-11-04", "dividend", 0.5),
        ("2021-11-04", "dividend", 0.25),
        ("2022-01-03", "split", 2.0),
        ("2022-01-03", "split", 2.0),
    )
    found = as_reported(sent, "yahoo")
    CorporateActions.validate(found)
    assert [(kind, value) for _, kind, value in found.itertuples(index=False)] == [
        ("dividend", 0.75),
        ("spinoff", 1.046),
        ("split", 2.0),
    ]
    assert as_reported(sent, "import") is sent


def test_known_since_the_first_report_of_exactly_this():
    found = resolve(
        reports(
            ("2024-06-10", "split", 10.0, "yahoo", None, "2024-06-11"),
            ("2024-06-10", "split", 10.0, "polygon", None, "2024-06-20"),
        ),
        told(),
    )
    assert found.actions["known_at"].tolist() == [pd.Timestamp("2024-06-11")]
    assert found.actions["raw_hash"].tolist() == ["hash of polygon"]


DATES = st.sampled_from(pd.bdate_range("2024-05-29", "2024-06-14").strftime("%Y-%m-%d").tolist())
ROWS = st.lists(
    st.tuples(
        DATES,
        st.sampled_from(["split", "spinoff", "dividend"]),
        st.sampled_from([1.046, 2.0, 2.0000001, 4.0]),
        st.sampled_from(["import", "polygon", "alpha_vantage", "yahoo", "sandbox"]),
        st.sampled_from([None, pd.Timestamp("2024-06-12")]),
        st.sampled_from(["2024-06-20", "2024-06-21"]),
    ),
    unique_by=lambda row: (row[0], row[1], row[3]),
    max_size=14,
)
SPANS = st.lists(
    st.tuples(st.sampled_from(["split", "dividend"]), st.sampled_from(["polygon", "yahoo"]), DATES, DATES), max_size=4
)


@settings(max_examples=40)
@given(ROWS, SPANS, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter_and_each_date_and_kind_stands_once(rows, spans, random):
    one = resolve(reports(*rows), told(*spans))
    random.shuffle(rows)
    random.shuffle(spans)
    other = resolve(reports(*rows), told(*spans))
    pd.testing.assert_frame_equal(one.actions, other.actions)
    pd.testing.assert_frame_equal(one.conflicts, other.conflicts)
    assert not one.actions.duplicated(["date", "kind"]).any()
    told_of = zip(one.actions["date"].astype(str), one.actions["source_provider"], strict=True)
    assert set(told_of) <= {(row[0], row[3]) for row in rows}


def test_a_span_is_told_by_several_answers_together_with_no_session_between_them():
    spans = told(
        ("split", "polygon", "2021-01-19", "2024-03-28"),
        ("split", "yahoo", "2024-04-01", "2024-06-10"),
        ("dividend", "polygon", "2021-01-19", "2021-01-19"),
    )
    first = date(2021, 1, 19)
    assert is_told(spans, "split", first, date(2024, 6, 10)), "2024-03-29 is Good Friday"
    assert is_told(spans, "spinoff", first, date(2024, 6, 10))
    assert not is_told(spans, "split", first, date(2024, 6, 11))
    assert not is_told(spans, "split", date(2021, 1, 15), date(2024, 6, 10))
    assert not is_told(spans, "dividend", first, date(2021, 1, 20))
    assert is_told(told(), "split", date(2024, 6, 8), date(2024, 6, 9)), "a weekend has no session to be told of"


def test_what_a_payload_tells_follows_from_its_feed_and_ends_with_the_download():
    span = {"start": "2021-01-19", "fetched": at(15, day="2024-06-11")}
    first, fetched = date(2021, 1, 19), date(2024, 6, 11)
    feed = payload(provider="polygon", feed="dividends", end="2026-01-19", **span)
    assert spans_told(feed) == (Told("dividend", first, fetched),)
    assert spans_told(payload(provider="alpha_vantage", feed="splits", end="2024-05-01", **span)) == (
        Told("split", first, date(2024, 5, 1)),
    )
    end = int(datetime(2024, 6, 8, 4, tzinfo=UTC).timestamp())
    url = f"https://example.test/v8/finance/chart/A?period1=1&period2={end}"
    chart = payload(provider="yahoo", end="2023-12-29", url=url, **span)
    assert spans_told(chart) == tuple(Told(kind, first, date(2024, 6, 7)) for kind in ("split", "dividend"))
    assert spans_told(payload(provider="yahoo", end="2023-12-29", **span))[0].last == date(2023, 12, 29)
    assert spans_told(chart, date(2023, 1, 3))[0].last == date(2023, 1, 3)
    for nothing in (
        payload(provider="polygon", **span),
        payload(provider="stooq", **span),
        payload(provider="yahoo", status=404, **span),
    ):
        assert spans_told(nothing) == ()
