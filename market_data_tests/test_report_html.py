from __future__ import annotations

import base64
import gzip
import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data.report.validation.document import GapRow
from market_data.report.validation.html import html, script_json, write_html
from market_data.report.validation.html_text import (
    UNKNOWN,
)
from market_data_tests.report_documents import (
    DAYS,
    END,
    HOSTILE,
    START,
    Page,
    document,
    empty_document,
)

SECTIONS = [
    "headline", "coverage", "sessions", "scores", "worst", "findings", "checks", "providers", "restatements",
    "actions", "reconciliation", "gaps", "symbols",
]  # fmt: skip


@pytest.fixture(scope="module")
def text():
    return html(document())


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


@pytest.fixture(scope="module")
def nothing():
    return Page(html(empty_document()))


def test_the_sections_come_in_the_order_a_reader_needs_them(page):
    assert [attrs["id"] for attrs, _ in page.all("h2")] == [f"section-{name}" for name in SECTIONS]


def test_every_element_that_is_opened_is_closed(page, nothing):
    assert (page.open, nothing.open) == ([], [])


def test_the_top_says_what_span_when_and_that_the_data_is_synthetic(page, nothing):
    assert page.all("h1") == [({}, "Validation report")]
    assert page.all("p", **{"class": "span"})[0][1] == f"Sessions from {START} to {END}"
    assert (
        page.all("p", **{"class": "made"})[0][1]
        == "Made 2024-04-01 00:45 UTC by market_data 0.1.0 from synthetic.duckdb."
    )
    assert page.all("p", **{"class": "synthetic"})[0][1].startswith("SYNTHETIC data.")
    assert nothing.all("p", **{"class": "synthetic"}) == []
    assert page.all("title")[0][1].endswith("(synthetic data)")


def test_the_place_of_the_database_on_the_disk_is_not_told(text):
    assert "/somewhere/private" not in text


def test_the_cards_give_the_headline_in_figures_for_people(page):
    cards = [told for _, told in page.all("dd")]
    assert cards[:5] == ["3", f"{len(DAYS)}", "185", "of 195 expected", "94.87 %"]
    assert "0.9876" in cards
    assert "1,234" in cards
    assert "sessions; 5 more that nobody can fill" in cards


def test_a_store_that_holds_nothing_gives_a_report_that_says_so_everywhere(nothing):
    said = [told for _, told in nothing.all("p", **{"class": "empty"})]
    assert "No session is expected in the span, so there is nothing to judge." in said
    assert "No restatements in the span." in said
    assert "No corporate actions in the span." in said
    assert "No findings in the span." in said
    assert "No two providers were compared over the span." in said
    assert "No gaps in the span: every expected session has a good bar." in said
    assert nothing.all("table") == []


def test_rules_are_told_with_their_meaning_severity_and_examples(page):
    told = [text for _, text in page.all("article")]
    assert told[0].startswith("log_return ▲ warning 12 findings in 2 symbols Close too far from the one before.")
    assert told[1] == "zero_price ✕ error 1 finding in 1 symbol Price of zero."
    assert page.tables()["Newest findings of log_return, warning"][1] == [
        "BBB", "2024-01-29", "close", "0.75", "0.5", "polygon", "close moved too far on 2024-01-29",
    ]  # fmt: skip


def test_checks_come_with_the_failing_ones_first_and_say_whether_they_block(page):
    rows = page.tables()["Checks of the stored tables over the span"]
    assert [row[:3] for row in rows[1:]] == [["completeness", "✕ fails, blocking", "10"], ["positive", "✓ passed", "0"]]


def test_providers_come_with_share_latency_quota_and_errors(page):
    rows = page.tables()["Bars of the span by provider, and what each was asked"]
    assert rows[1] == [
        "polygon", "185", "100 %", "9", "6", "1", "1", "1", "120 ms", "1.9 s", "49,991 of 50,000 a month",
        "2024-04-01 00:45 UTC", "RateLimited 1",
    ]  # fmt: skip
    assert rows[2][-3:] == ["no quota", UNKNOWN, "none"]


def test_restatements_actions_pairs_and_gaps_are_listed(page):
    tables = page.tables()
    assert tables["Stored bars that were replaced by another close or volume, in dollars a share"][1][:5] == [
        "BBB", "2024-01-17", "112.00", "113.40", "+1.25 %",
    ]  # fmt: skip
    actions = tables["Splits, dividends and spin-offs with an ex-date in the span"]
    assert [row[2:4] for row in actions[1:]] == [["split", "2 for 1"], ["dividend", "0.30 dollars"]]
    assert tables["Providers compared with each other, session by session"][1][2:] == [
        "1,200",
        "3",
        "0.25 %",
        "1.23 %",
        "BBB",
    ]
    [gaps] = [rows for caption, rows in tables.items() if caption.startswith("Sessions without a good bar")]
    assert gaps[1] == [
        "BBB",
        "2024-01-01",
        "2024-01-12",
        "10",
        "open",
        "no provider has it yet",
        "2",
        "2024-04-01 06:45 UTC",
    ]


def test_every_symbol_has_a_row_and_a_link_to_its_page(page):
    rows = page.tables()["Every instrument with an expected session in the span"]
    assert [row[0] for row in rows[1:]] == ["AAA", "BBB", HOSTILE]
    assert rows[2][5:9] == ["65", "55", "84.61 %", "0.8451"]
    links = {attrs["href"] for attrs, _ in page.all("a")}
    assert {"#AAA", "#BBB", "#%3C/script%3E%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E"} <= links


def test_a_list_that_is_cut_says_how_much_of_how_much_is_shown():
    gaps = tuple(GapRow("AAA", DAYS[0], DAYS[0], 1, "open", "none", n, None) for n in range(300))
    cut = Page(html(document(gaps=gaps, truncated={"gaps": 1234}, series=())))
    assert cut.text_of("gaps-shown") == "Showing 200 of 1,234 gaps."
    [rows] = [rows for caption, rows in cut.tables().items() if caption.startswith("Sessions without a good bar")]
    assert len(rows) == 1 + 200
    assert len(json.loads(cut.text_of("data"))["tables"]["gaps"]["rows"]) == 300


def test_text_of_the_data_is_never_markup(text, page):
    assert page.all("img") == []
    assert HOSTILE not in text
    assert [told for _, told in page.all("th", **{"class": "symbol"})].count(HOSTILE) >= 3
    assert json.loads(page.text_of("data"))["symbols"][2] == HOSTILE
    assert len(page.all("script")) == 3 + len(document().series)
    assert not [name for _, attrs, _ in page.elements for name in attrs if name.startswith("on")]


@given(st.recursive(st.text() | st.sampled_from([HOSTILE, "<!--", "]]>", "\u2028\u2029&amp;"]), st.lists))
@settings(max_examples=50)
def test_json_inside_a_script_reads_back_and_has_no_character_that_could_end_it(value):
    written = str(script_json(value))
    assert json.loads(written) == value
    assert not set("<>&\u2028\u2029") & set(written)


def test_the_file_asks_for_nothing(text, page):
    assert "://" not in text
    assert not [attrs for _, attrs, _ in page.elements if {"src", "srcset", "action", "data-src"} & attrs.keys()]
    assert all(attrs["href"].startswith("#") for _, attrs, _ in page.elements if "href" in attrs)
    style = page.all("style")[0][1]
    assert "url(" not in style
    assert "@import" not in style


def test_the_policy_forbids_every_request_and_allows_only_the_two_scripts_of_the_file(page):
    [policy] = [attrs["content"] for attrs, _ in page.all("meta", **{"http-equiv": "Content-Security-Policy"})]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]
    own = "".join(next(text for tag, attrs, text in page.elements if tag == "script" and not attrs))
    plotly = gzip.decompress(base64.b64decode(page.text_of("plotly"))).decode()
    assert "plotly.js" in plotly[:100]
    for script in (own, plotly):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy


def test_the_same_document_gives_the_same_file(text):
    assert html(document()) == text


def test_writing_makes_the_folder_and_leaves_nothing_but_the_file(tmp_path, text):
    file = tmp_path / "reports" / "validation.html"
    file.parent.mkdir()
    file.write_text("an older one")
    assert write_html(document(), file) == file
    assert file.read_text(encoding="utf-8") == text
    assert list(file.parent.iterdir()) == [file]


def test_a_report_without_series_still_has_a_page_for_each_symbol():
    page = Page(html(document(series=())))
    data = json.loads(page.text_of("data"))
    assert (data["symbols"][:2], data["series"]) == (["AAA", "BBB"], {})
    assert not [attrs for attrs, _ in page.all("script") if attrs.get("id", "").startswith("series-")]
