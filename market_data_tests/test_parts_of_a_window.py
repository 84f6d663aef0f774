"""A window that no one provider answers whole: each part is kept, and only what is left is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from market_data.errors import OutOfWindow
from market_data.instruments import Instrument
from market_data.providers.base import sha256_hex
from market_data.providers.stooq_bulk import StooqBulk
from market_data.records import FetchRequest, Outcome, RawPayload
from market_data.sandbox.faults import Fault
from market_data.sessions import sessions_between
from market_data_tests.archives import END, NOW, SESSIONS, START, Run, write_archive
from market_data_tests.vendors import VENDORS, Vendors, symbols

pytestmark = pytest.mark.long

CUT = date(2024, 3, 28)


class Part:
    """An archive's provider that answers for a part of the window alone, and keeps what it was asked."""

    synthetic = False

    def __init__(self, inner: object, name: str, first: date, last: date) -> None:
        self.name, self._inner, self._first, self._last = name, inner, first, last
        self.asked: list[FetchRequest] = []

    def serves(self, instrument: Instrument) -> bool:
        return True

    def fetch(self, instrument: Instrument, request: FetchRequest) -> RawPayload:
        self.asked.append(request)
        start, end = max(request.start, self._first), min(request.end, self._last)
        if start > end:
            raise OutOfWindow(f"{request.symbol}: {self.name} ends on {self._last}")
        payload = self._inner.fetch(instrument, request)
        lines = payload.body.splitlines(keepends=True)
        kept = [
            line for line in lines[1:] if self._first <= date.fromisoformat(line.split(b",")[2].decode()) <= self._last
        ]
        body = b"".join([lines[0], *kept])
        asked = replace(request, start=start, end=end)
        return replace(payload, provider="stooq_bulk", request=asked, body=body, sha256=sha256_hex(body))

    def close(self) -> None:
        pass


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "runtime", write_archive(tmp_path / "archive", ["AAA"]))


def parts(run: Run, *spans: tuple[date, date]) -> list[Part]:
    whole = StooqBulk(run.archive, clock=lambda: NOW)
    return [Part(whole, f"part{number}", *span) for number, span in enumerate(spans)]


def dates(run: Run) -> Iterable[date]:
    return [day for (day,) in run.rows("SELECT date FROM price_history_daily ORDER BY date")]


def test_two_providers_that_answer_a_part_each_fill_the_window_together(run: Run) -> None:
    early, late = parts(run, (START, CUT), (date(2024, 4, 1), END))
    run.providers = [early, late]

    (record,) = run.run(symbols=["AAA"]).records

    assert (record.outcome, record.calls, record.reason) == (Outcome.ACCEPTED, 2, None)
    assert (record.rows_inserted, record.sessions_expected, record.sessions_missing) == (SESSIONS, SESSIONS, 0)
    assert [step["answer"] for step in record.decision] == ["accepted", "accepted"]
    assert dates(run) == [day.date() for day in sessions_between(START, END)]
    assert run.rows("SELECT count(DISTINCT raw_hash) FROM price_history_daily") == [(2,)]
    assert run.rows("SELECT first_date, last_date, verdict FROM coverage ORDER BY 1") == [
        (START, CUT, "accepted"),
        (date(2024, 4, 1), END, "accepted"),
    ]


def test_what_nobody_answers_is_left_unanswered_and_the_symbol_is_accepted_with_what_came(run: Run) -> None:
    run.providers = parts(run, (START, CUT))

    (record,) = run.run("first", symbols=["AAA"]).records

    due = len(sessions_between(START, CUT))
    assert (record.outcome, record.rows_inserted) == (Outcome.ACCEPTED, due)
    assert (record.sessions_expected, record.sessions_missing) == (SESSIONS, SESSIONS - due)

    late = parts(run, (date(2024, 4, 1), END))
    run.providers = late
    (second,) = run.run("second", symbols=["AAA"]).records
    assert (second.outcome, second.rows_inserted, second.sessions_missing) == (Outcome.ACCEPTED, SESSIONS - due, 0)
    assert len(late[0].asked) == 1
    assert run.run("third", symbols=["AAA"]).records[0].outcome is Outcome.HELD


def test_stored_parts_are_read_before_anybody_is_asked(run: Run) -> None:
    run.providers = parts(run, (START, CUT))
    run.run("first", symbols=["AAA"], end=CUT)
    late = parts(run, (date(2024, 4, 1), END))
    run.providers = late

    (record,) = run.run("again", symbols=["AAA"], reread=True).records

    assert [("stored" in step, step["answer"]) for step in record.decision] == [(True, "accepted"), (False, "accepted")]
    assert (record.calls, record.rows_inserted + record.rows_unchanged) == (1, SESSIONS)


REACH = """
polygon: {{priority: 1, tier: t, base_url: "{{sandbox}}/polygon", basis: raw, tiers: {{t: {{reach_sessions: 20}}}}}}
yahoo: {{priority: 4, tier: t, base_url: "{{sandbox}}/yahoo", basis: split, tiers: {{t: {{}}}}}}
"""


def test_a_vendor_is_not_asked_beyond_its_reach_and_is_for_what_it_reaches(tmp_path: Path) -> None:
    file = tmp_path / "providers.yaml"
    file.write_text(REACH.format(), encoding="utf-8")
    with Vendors(tmp_path / "runtime", symbols(8), sandbox_providers=file) as vendors:
        assert vendors.run("whole").is_good
        assert vendors.by_vendor()["polygon"] == 0
        masks = {
            item["masked"]
            for record in vendors.run("again", retry_rejected=True).records
            for step in record.decision
            for item in step["considered"]
            if item.get("masked")
        }
        assert masks == set()
    with Vendors(tmp_path / "other", symbols(8), sandbox_providers=file) as vendors:
        vendors.sandbox.replace_faults([Fault("yahoo", "outage")])
        recent = vendors.run("recent", start=date(2024, 3, 18))
        assert recent.is_good
        assert vendors.by_vendor()["polygon"] == 8
        assert vendors.rows("SELECT min(first_date), max(last_date) FROM coverage WHERE outcome = 'answered'") == [
            (date(2024, 3, 1), date(2024, 3, 28))
        ]
        whole = vendors.run("whole")
        # What the stored answers hold of the rest is taken; of what is before them, nobody can be asked.
        assert whole.is_good
        left = len(sessions_between(START, date(2024, 2, 29)))
        (reason,) = {str(record.reason).split(" not answered: ")[0] for record in whole.records}
        assert reason == f"{left} sessions (2024-01-02 to 2024-02-29)"
        assert all("polygon reaches back to 2024-03-01; 2024-01-02 is wanted" in str(r.reason) for r in whole.records)
        assert vendors.rows("SELECT min(date) FROM price_history_daily") == [(date(2024, 3, 1),)]


def test_calls_overlap_up_to_each_vendors_limit(tmp_path: Path) -> None:
    slow = [Fault(vendor, "slow", value=0.05) for vendor in VENDORS]
    with Vendors(tmp_path / "runtime", symbols(60), faults=slow, concurrency=16) as vendors:
        vendors.run()
        most = vendors.sandbox.most_concurrent
        assert max(most.values()) > 1
        assert all(2 <= most[vendor] <= 4 for vendor in VENDORS if vendors.by_vendor()[vendor] > 12)
