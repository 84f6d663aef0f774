"""Somebody who knows only the UI: backfills a month, sees which check fails and why, mends the session, sees it pass.

A real `dagster dev` with its daemon over the sandbox's vendors, and Chromium. Where UI_SHOTS names a folder, each step
leaves a picture in it.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import pytest

from market_data.sandbox.faults import Fault
from market_data.sandbox.vendors import VENDORS
from market_data_tests.ui_driving import CHROMIUM, Project, browsing, serving

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no {CHROMIUM}"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="playwright is not installed"),
]

SHOTS = os.environ.get("UI_SHOTS", "")
SYMBOLS = ("AAPL", "MSFT", "NVDA")
WINDOW = (date(2024, 2, 1), date(2024, 3, 28))
MONTH, SESSIONS = "[2024-02-01...2024-02-29]", 20
WRONG = "2024-02-14"
"""The session of which every vendor sends MSFT a hundredfold, until it mends that."""
GROUP = ("raw_bars", "daily_prices", "quality_log")
CLOSE = "SELECT round(close, 2), source_provider FROM price_history_daily WHERE symbol = 'MSFT' AND date = ?"


class Ui:
    """What a person does, by what the page calls things."""

    def __init__(self, page: Any) -> None:
        from playwright.sync_api import expect

        self.page, self.expect = page, expect
        self._shots = 0
        self._seen: list[str] = []

    def shot(self, name: str) -> None:
        self._shots += 1
        if SHOTS:
            Path(SHOTS).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=str(Path(SHOTS) / f"{self._shots:02}-{name}.png"))

    def go(self, place: str) -> None:
        """By the navigation at the left."""
        self.page.get_by_role("link").filter(has_text=re.compile(f"^{place}$")).first.click()

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name).first.click()

    def sees(self, text: str | re.Pattern[str], seconds: float = 60) -> None:
        self.expect(self.page.get_by_text(text).first).to_be_visible(timeout=seconds * 1000)

    def open_asset(self, name: str) -> None:
        self.go("Catalog")
        self.page.get_by_role("link", name=name).first.click()
        self.expect(self.page).to_have_url(re.compile(f"/assets/{name}"))

    def open_check(self, asset: str, check: str, status: str) -> None:
        """Opens the check, whose line in the list must come to tell the status."""
        self.open_asset(asset)
        self.page.get_by_role("tab", name="Checks").click()
        # A name that may be cut short is there twice.
        line = self.page.locator("a, div").filter(has_text=re.compile(rf"^({check})+\s*{status}$", re.IGNORECASE)).last
        self.expect(line).to_be_visible(timeout=60_000)
        line.click()

    def open_launched(self) -> None:
        """From the message that something was launched to its page; messages of before may stand there still."""
        new = "".join(f":not([href='{seen}'])" for seen in self._seen)
        link = self.page.locator(f"a[href^='/runs/']{new}").filter(has_text=re.compile("^View$")).first
        self._seen.append(str(link.get_attribute("href")))
        link.click()

    def sees_success(self) -> None:
        self.expect(self.page.get_by_text("Success", exact=True).first).to_be_visible(timeout=150_000)

    def choose_sessions(self, sessions: str) -> None:
        """In the dialog that asks for partitions."""
        field = self.page.get_by_placeholder("ex: 2024-02-01")
        field.fill(sessions)
        field.press("Enter")


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    wrong = tuple(Fault(vendor, "hundredfold", symbols=frozenset({"MSFT"}), value=33) for vendor in VENDORS)
    with serving(tmp_path, symbols=SYMBOLS, window=WINDOW, faults=wrong) as project:
        yield project


def test_a_person_backfills_a_month_finds_what_is_wrong_mends_the_session_and_sees_the_check_pass(
    project: Project,
) -> None:
    with browsing(project.url) as page:
        ui = Ui(page)
        page.goto("/")
        pages_of_other_sites_are_refused(project)
        switches_automation_off(ui)
        materializes_the_corporate_actions(ui, project)
        backfills_the_month(ui, project)
        sees_which_check_fails_and_why(ui, project)
        project.sandbox.replace_faults(())  # the vendors mend their answer
        mends_the_session(ui, project)
        sees_the_check_pass(ui, project)


def pages_of_other_sites_are_refused(project: Project) -> None:
    asked = f"{project.url}/graphql?query={{version}}"
    assert httpx.get(asked).json()["data"]["version"]
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://elsewhere.example"}, {"Host": "a.example"}):
        assert httpx.get(asked, headers=headers).status_code == 403


def switches_automation_off(ui: Ui) -> None:
    """So that all that happens is the person's doing."""
    ui.go("Automation")
    ui.sees("daily_sync")
    ui.page.get_by_text("Select all").click()
    ui.press("Actions")
    ui.page.get_by_role("menuitem", name="Stop").click()
    ui.page.get_by_role("dialog").get_by_role("button", name=re.compile("^Stop")).click()
    ui.expect(ui.page.get_by_role("dialog").get_by_role("button", name="Done")).to_be_visible()
    ui.shot("automation-off")
    ui.press("Done")


def materializes_the_corporate_actions(ui: Ui, project: Project) -> None:
    ui.open_asset("corporate_actions")
    ui.sees("Splits, cash dividends and spin-offs, each once.")
    ui.press("Materialize")
    ui.open_launched()
    ui.sees_success()
    ui.shot("corporate-actions")
    assert project.rows("SELECT count(DISTINCT kind) FROM actions_told") == [(2,)]


def backfills_the_month(ui: Ui, project: Project) -> None:
    ui.go("Catalog")
    ui.sees("Validated daily prices, raw as traded.")
    for asset in GROUP:
        ui.page.get_by_test_id(f"checkbox-{asset}").locator("xpath=..").click()
    ui.shot("catalog")
    ui.press("Materialize selected")
    ui.choose_sessions(MONTH)
    ui.sees(f"{SESSIONS} partitions")
    ui.shot("range")
    ui.press("Launch backfill")
    ui.open_launched()
    ui.page.get_by_role("tab", name="Runs").click()
    ui.sees_success()
    ui.shot("month-done")
    held = "SELECT symbol, count(*) FROM price_history_daily WHERE date <= '2024-02-29' GROUP BY symbol ORDER BY symbol"
    assert project.rows(held) == [(symbol, SESSIONS) for symbol in SYMBOLS]


def sees_which_check_fails_and_why(ui: Ui, project: Project) -> None:
    ui.open_check("daily_prices", "continuity", "Failed")
    ui.sees("2 closes that move more than 0.5 in log")
    rows = ui.page.get_by_role("row").filter(has_text=WRONG)
    ui.expect(rows.filter(has_text="MSFT").first).to_be_visible()
    ui.sees("what to do next")
    ui.sees(re.compile("by the job ask_again_job"))
    ui.shot("check-fails")
    [(close, _)] = project.rows(CLOSE, WRONG)
    [(before, _)] = project.rows(CLOSE, "2024-02-13")
    assert close > 90 * before


def mends_the_session(ui: Ui, project: Project) -> None:
    ui.go("Jobs")
    ui.page.get_by_role("link", name="ask_again_job").first.click()
    ui.sees("Mends a session whose stored bars are in doubt")
    ui.shot("job")
    ui.press("Materialize all")
    ui.choose_sessions(WRONG)
    ui.shot("one-session")
    ui.press("Launch 1 run")
    ui.open_launched()
    ui.sees_success()
    ui.shot("session-mended")
    [(close, _)] = project.rows(CLOSE, WRONG)
    [(before, _)] = project.rows(CLOSE, "2024-02-13")
    assert close < 1.2 * before
    revised = "SELECT symbol, date::VARCHAR, round(close / ?) FROM revisions"
    assert project.rows(revised, close) == [("MSFT", WRONG, 100.0)]
    verdict = "SELECT verdict, rules FROM data_quality_log WHERE symbol = 'MSFT' AND date = ?"
    assert project.rows(verdict, WRONG) == [("accepted", "")]


def sees_the_check_pass(ui: Ui, project: Project) -> None:
    ui.open_check("daily_prices", "continuity", "Succeeded")
    ui.sees(f"{WRONG} to {WRONG}")
    ui.press("Execute all")  # over all sessions, since nothing names one
    ui.sees(f"{WINDOW[0]} to {WINDOW[1]}", seconds=150)
    ui.sees("no closes that move more than 0.5 in log")
    ui.shot("check-passes")
