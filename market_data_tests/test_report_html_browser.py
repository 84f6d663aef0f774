"""The report in a real browser: what a person does with it. A page per test, one browser for all."""

from __future__ import annotations

from pathlib import Path

import pytest

from market_data.report.validation.html import write_html
from market_data_tests.report_documents import DAYS, HOSTILE, document, empty_document, many_symbols

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}"),
]


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return write_html(many_symbols(60), tmp_path_factory.mktemp("reports") / "many.html")


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    return write_html(document(), tmp_path_factory.mktemp("reports") / "few.html")


@pytest.fixture
def visit(browser):
    """Opens a file in a context of its own; at the end nothing was asked for and nothing complained."""
    told, contexts = [], []

    def opened(file, width=1280, **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        address = file.as_uri()
        page.on("console", lambda message: told.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: told.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (told.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda asked: asked.url.split("#")[0] == address or told.append(f"request: {asked.url}"))
        page.goto(address)
        page.wait_for_selector("html[data-ready]", state="attached")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert told == []


def column(page, name, number=1):
    cells = page.locator(f"#table-{name} tbody tr > :nth-child({number})")
    return cells.all_inner_texts()


def settled(page, expression):
    """Whether the expression becomes true; the page's policy forbids playwright's own way to wait for one."""
    for _ in range(200):
        if page.evaluate(expression):
            return True
        page.wait_for_timeout(25)
    return False


def test_opening_draws_every_plot_and_marks_when_it_could_be_read(visit, many):
    page = visit(many)
    page.wait_for_selector("html[data-drawn]", state="attached")
    assert page.locator(".canvas .main-svg").count() >= 3
    ready, drawn = page.evaluate("['ready', 'drawn'].map((name) => performance.getEntriesByName(name)[0].startTime)")
    assert 0 < ready < drawn
    assert page.locator("#plot-scores .bars .point").count() == 2


def test_a_report_of_nothing_opens_as_well(visit, tmp_path):
    page = visit(write_html(empty_document(), tmp_path / "empty.html"))
    page.wait_for_selector("html[data-drawn]", state="attached")
    assert "so there is nothing to judge" in page.inner_text("#overview")


def test_a_page_without_series_says_so(visit, tmp_path):
    page = visit(write_html(document(series=()), tmp_path / "bare.html"))
    page.evaluate("location.hash = '#BBB'")
    page.wait_for_selector("#symbol-page[data-drawn]")
    assert "The series of prices were left out of this report." in page.inner_text("#symbol-page")
    assert "no provider has it yet" in page.inner_text("#symbol-page")


def test_a_list_is_filtered_and_says_how_many_match(visit, many):
    page = visit(many)
    assert page.inner_text("#actions-shown") == "Showing 200 of 1,234 corporate actions."
    page.fill("[data-filter=actions]", "s007 dividend")
    assert set(column(page, "actions")) == {"S007"}
    assert page.inner_text("#actions-shown") == "Showing 8 of 8 that match, of 1,234 corporate actions in all."
    page.fill("[data-filter=actions]", "nothing like it")
    assert column(page, "actions") == []
    page.fill("[data-filter=actions]", "")
    page.click("[data-more=actions]")
    assert len(column(page, "actions")) == 450
    assert page.is_hidden("[data-more=actions]")


def test_a_list_is_sorted_by_any_column_with_the_keyboard(visit, many):
    page = visit(many)
    head = page.locator("#table-symbols thead th", has_text="missing")
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert column(page, "symbols", 12)[:4] == ["15", "15", "15", "14"]
    page.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "ascending"
    assert column(page, "symbols")[:4] == ["S000", "S016", "S032", "S048"]
    page.locator("#table-symbols thead th button", has_text="symbol").click()
    assert head.get_attribute("aria-sort") == "none"
    assert column(page, "symbols") == sorted(column(page, "symbols"))


def test_the_heatmap_is_filtered_and_sorted(visit, many):
    page = visit(many)
    rows = page.locator("#heatmap tr[data-symbol]:visible th")
    assert rows.first.inner_text() == "S015"
    page.select_option("#heat-sort", "symbol")
    assert rows.first.inner_text() == "S000"
    page.fill("#heat-filter", "05")
    assert rows.all_inner_texts() == ["S005", *[f"S05{n}" for n in range(10)]]
    page.check("#heat-short")
    assert "S048" not in rows.all_inner_texts()
    assert page.inner_text("#heat-shown") == "Showing 11 of 60 symbols."


def test_a_symbol_opens_from_the_heatmap_and_back_returns_to_the_same_place(visit, many):
    page = visit(many)
    row = page.locator("#heatmap tr[data-symbol=S010]")
    row.scroll_into_view_if_needed()
    before = page.evaluate("scrollY")
    row.locator("svg").click()
    page.wait_for_selector("#symbol-page[data-drawn]")
    assert page.evaluate("location.hash") == "#S010"
    assert page.is_hidden("#overview")
    assert page.inner_text("#symbol-page h2") == "S010, S010 Inc."
    assert page.evaluate("document.activeElement.id") == "symbol-title"
    assert page.title().startswith("S010, Validation report")
    assert page.locator("#plot-symbol .scatterlayer .trace").count() >= 2
    page.go_back()
    page.wait_for_selector("#overview", state="visible")
    assert page.is_hidden("#symbol-page")
    assert abs(page.evaluate("scrollY") - before) < 2
    assert page.evaluate("document.activeElement.textContent") == "S010"


def test_the_page_of_a_symbol_has_its_numbers_findings_actions_gaps_and_restatements(visit, few):
    page = visit(few)
    page.evaluate("location.hash = '#BBB'")
    page.wait_for_selector("#symbol-page[data-drawn]")
    words = page.get_attribute("#plot-symbol", "aria-label")
    assert f"55 bars from {DAYS[10]} to {DAYS[-1]}; last close 164.00 dollars; 1 finding, 1 corporate action." in words
    ends = "({ name, x, y }) => [name, x.length, y[0], y.at(-1)]"
    traces = page.evaluate(f"document.getElementById('plot-symbol').data.map({ends})")
    assert traces == [
        ["close as traded", 55, 110, 164],
        ["close, total return", 55, 55, 164],
        ["warning (1)", 1, 120, 120],
        ["volume", 55, 1010, 1064],
        ["dividend (1)", 1, 0, 0],
    ]
    told = page.inner_text("#symbol-page")
    assert "close moved too far on 2024-01-29" in told
    assert "no provider has it yet" in told
    assert "0.30 dollars" in told
    assert "a newer answer" in told
    page.click("#symbol-page summary:has-text('The numbers')")
    assert "2024-03\t21\t164.00\t164.00\t22,134" in page.inner_text("#symbol-page details table")
    page.click("text=Logarithmic prices")
    assert settled(page, "document.getElementById('plot-symbol').layout.yaxis.type === 'log'")


def test_the_next_symbol_is_a_key_away_and_the_report_is_reached_from_its_page(visit, many):
    page = visit(many)
    page.fill("#jump", "s010")
    page.press("#jump", "Enter")
    page.wait_for_selector("#symbol-page[data-drawn]")
    page.focus("a[rel=next]")
    page.keyboard.press("Enter")
    page.wait_for_selector("h2:has-text('S011')")
    page.click("nav#sections a:has-text('Gaps')")
    page.wait_for_selector("#overview", state="visible")
    assert page.evaluate("document.getElementById('section-gaps').getBoundingClientRect().top < innerHeight")


def test_an_address_with_a_symbol_opens_its_page_at_once(visit, many):
    page = visit(many)
    page.goto(many.as_uri() + "#S003")
    page.reload()
    page.wait_for_selector("#symbol-page[data-drawn]")
    assert page.inner_text("#symbol-page h2").startswith("S003")


def test_a_hostile_name_is_text_wherever_it_is_shown(visit, few):
    page = visit(few)
    page.locator("#table-symbols a", has_text="onerror").click()
    page.wait_for_selector("#symbol-page[data-drawn]")
    assert page.inner_text("#symbol-page h2") == HOSTILE
    assert HOSTILE in page.inner_text("#symbol-page table:has-text('severity')")
    page.locator("#table-symbols thead button", has_text="name").evaluate("(button) => button.click()")
    page.hover("#plot-symbol .nsewdrag")
    assert page.locator("img").count() == 0


def test_the_theme_follows_the_system_until_it_is_chosen_and_the_choice_is_kept(visit, few):
    page = visit(few, color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) == "rgb(20, 24, 29)"
    page.click("#theme")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    assert page.inner_text("#theme") == "Dark theme"
    page.reload()
    page.wait_for_selector("html[data-ready]", state="attached")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_never_wider_than_the_screen(visit, many, width):
    page = visit(many, width=width)
    across = "document.documentElement.scrollWidth"
    assert page.evaluate(across) == width
    page.locator("details summary").first.click()
    page.evaluate("location.hash = '#S010'")
    page.wait_for_selector("#symbol-page[data-drawn]")
    assert page.evaluate(across) == width


def test_on_paper_everything_is_light_and_open_and_no_control_is_left(visit, few):
    page = visit(few, color_scheme="dark")
    page.wait_for_selector("html[data-drawn]", state="attached")
    page.evaluate("""addEventListener("beforeprint", () => {
        const closed = document.querySelectorAll("details:not([open])").length;
        const ground = getComputedStyle(document.body).backgroundColor;
        const control = document.querySelector("#theme").offsetParent === null;
        document.title = [closed, ground, control].join("; ");
    })""")
    page.emulate_media(media="print")
    assert page.pdf(print_background=True).startswith(b"%PDF")
    assert page.title() == "0; rgb(255, 255, 255); true"
    page.emulate_media(media="screen")
    assert page.locator("details[open]").count() == 0
