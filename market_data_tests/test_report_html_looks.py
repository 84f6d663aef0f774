from __future__ import annotations

import re
from itertools import pairwise

import pytest

from market_data.report.validation.html import html
from market_data.report.validation.html_heatmap import STEPS
from market_data_tests.report_documents import (
    Page,
    document,
)


@pytest.fixture(scope="module")
def page():
    return Page(html(document()))


def test_headings_go_down_by_one_level_at_a_time(page):
    levels = [int(tag[1]) for tag, _, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(below - above <= 1 for above, below in pairwise(levels))


def test_the_page_can_be_used_without_a_mouse_and_without_eyes(page):
    assert page.all("html")[0][0]["lang"] == "en"
    assert [len(page.all(tag)) for tag in ("header", "nav", "main", "footer")] == [1, 1, 1, 1]
    first = next(attrs for tag, attrs, _ in page.elements if tag == "a")
    assert first == {"class": "skip", "href": "#content"}
    assert len(page.tables()) == len(page.all("table"))
    assert all("scope" in attrs for attrs, _ in page.all("th"))
    assert all(attrs.get("type") == "button" for attrs, _ in page.all("button"))
    named = {attrs["aria-labelledby"] for attrs, _ in page.all("section")}
    assert named == {attrs["id"] for attrs, _ in page.all("h2")}
    regions = [attrs for attrs, _ in page.all("div", role="region")]
    assert all(attrs["aria-label"] and attrs["tabindex"] == "0" for attrs in regions)
    assert len(regions) == len(page.all("table"))


def test_a_plot_has_a_title_and_says_in_words_what_it_shows(page):
    canvases = page.all("div", role="img")
    assert len(canvases) == len(page.all("figcaption")) == 3
    assert "The fewest of the bars expected are held of 2024-01-01: 2 of 3." in canvases[0][0]["aria-label"]
    assert "lowest on 2024-01-01, 0.7000, and highest 1." in canvases[0][0]["aria-label"]
    assert "195 pairs. 94.87 % of them score 0.5 or more; 10 score below 0.5." in canvases[1][0]["aria-label"]
    assert "95 % of its calls took 1.9 s or less." in canvases[2][0]["aria-label"]


def test_no_identity_is_used_twice(page):
    identities = [attrs["id"] for _, attrs, _ in page.elements if "id" in attrs]
    assert len(identities) == len(set(identities))


def luminance(colour):
    """Relative luminance by WCAG 2.2."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.fixture(scope="module", params=["light", "dark"])
def colours(request, page):
    """The variables of the style sheet in one theme."""
    style = page.all("style")[0][1]
    found = re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", style)
    assert len(found) > 20
    return {name: values[request.param == "dark"] for name, *values in found}


@pytest.mark.parametrize(
    ("ink", "ground"),
    [
        *((ink, ground) for ink in ("ink", "soft", "link") for ground in ("paper", "raised")),
        *((name, f"{name}-ground") for name in ("error", "warning", "info", "good")),
        ("synthetic-ink", "synthetic"),
        ("paper", "ink"),
    ],
)
def test_text_stands_out_from_its_ground(colours, ink, ground):
    assert contrast(colours[ink], colours[ground]) >= 4.5


def test_what_is_focused_and_what_is_plotted_stands_out_from_the_page(colours):
    assert contrast(colours["focus"], colours["paper"]) >= 3
    for trace in ("#0072B2", "#D55E00", "#009E73"):
        assert contrast(trace, colours["paper"]) >= 3


def test_steps_of_the_heatmap_differ_in_lightness_so_that_no_colour_need_be_told_apart(colours):
    steps = [luminance(colours[f"step-{name}"]) for name, _ in STEPS]
    assert steps == sorted(steps, reverse=steps[0] > steps[-1])
    names = [f"step-{name}" for name, _ in STEPS]
    assert all(contrast(colours[one], colours[other]) >= 1.35 for one, other in pairwise(names))
