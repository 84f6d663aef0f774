"""Taking files of executions: what is stored, what a correction replaces, what is quarantined and what is told."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data.errors import WarehouseError, WarehouseLocked
from market_data.ingest.executions.file import FeedbackFileError, parse_executions
from market_data.ingest.executions.taking import apply_feedback, take_feedback
from market_data.ingest.lock import sole_ingest
from market_data.ingest.raw_store import RawStore
from market_data.instruments import Instrument, Universe
from market_data.providers.base import sha256_hex
from market_data.records import FetchRequest, RawPayload
from market_data.warehouse.executions import FEEDBACK_COLUMNS, write_executions
from market_data.warehouse.store import transaction
from market_data_tests.bars import new_database
from market_data_tests.executions import DAY, NOW, UNIVERSE, Books, Desk, as_csv, as_jsonl, execution, opened_books
from market_data_tests.stored_prices import put_bar

HELD = "SELECT order_id, quantity, price, version FROM execution_feedback ORDER BY order_id"
PAST = "SELECT order_id, price, version, hour(replaced_at), replaced_by FROM execution_revisions ORDER BY ALL"


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def books() -> Iterator[Books]:
    with opened_books() as books:
        yield books


def counts(taken: Any) -> dict[str, int]:
    names = ("inserted", "updated", "unchanged", "superseded", "duplicates", "rejected")
    return {name: taken.total(name) for name in names if taken.total(name)}


def test_each_row_names_its_file_line_and_payload_whose_bytes_are_kept(desk: Desk) -> None:
    body = as_csv(execution(), execution("o2", venue="XNAS", fees=1.25))

    taken = desk.take("fills.csv", body)

    assert counts(taken) == {"inserted": 2}
    assert taken.is_good
    rows = desk.rows("SELECT order_id, venue, fees, source_file, line, raw_hash, received_at FROM execution_feedback")
    sha256, received = sha256_hex(body), NOW.replace(tzinfo=None)
    assert sorted(rows) == [
        ("o1", None, None, "fills.csv", 2, sha256, received),
        ("o2", "XNAS", 1.25, "fills.csv", 3, sha256, received),
    ]
    assert RawStore(desk.settings.raw_folder(synthetic=False)).get(sha256) == body
    assert desk.rows("SELECT feed, provider, verdict, raw_hash, attempts FROM coverage") == [
        ("executions", "feedback", "accepted", sha256, 0)
    ]
    assert list(Path().glob("*.rejected.jsonl")) == []


def test_an_identical_report_changes_nothing_not_even_when_it_was_received(books: Books) -> None:
    books.take("a.csv", as_csv(execution()))
    before = books.rows("FROM execution_feedback")
    books.now += timedelta(hours=1)

    assert counts(books.take("b.jsonl", as_jsonl(execution()))) == {"unchanged": 1}
    assert books.rows("FROM execution_feedback") == before
    assert books.rows(PAST) == []


def test_a_later_file_corrects_an_order_and_what_stood_before_is_kept(books: Books) -> None:
    books.take("a.csv", as_csv(execution()))
    books.now += timedelta(hours=1)
    body = as_csv(execution(price=10.6))

    assert counts(books.take("b.csv", body)) == {"updated": 1}
    assert books.rows(HELD) == [("o1", 100.0, 10.6, None)]
    assert books.rows(PAST) == [("o1", 10.5, None, 2, sha256_hex(body))]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"version": 1}, {"version": 2}),
        ({"reported_at": f"{DAY}T20:00:00Z"}, {"reported_at": f"{DAY}T15:00:01-05:00"}),
        ({"version": 1, "reported_at": f"{DAY}T21:00:00Z"}, {"version": 2, "reported_at": f"{DAY}T20:00:00Z"}),
        ({"version": 1, "reported_at": f"{DAY}T20:00:00Z"}, {"version": 1, "reported_at": f"{DAY}T21:00:00Z"}),
    ],
    ids=["version", "reported_at", "version before reported_at", "reported_at under one version"],
)
def test_an_older_report_that_comes_late_does_not_replace_a_newer_one_and_is_kept(
    books: Books, old: dict[str, Any], new: dict[str, Any]
) -> None:
    books.take("new.jsonl", as_jsonl(execution(price=11.0, **new)))
    late = as_jsonl(execution(price=9.0, **old))

    assert counts(books.take("late.jsonl", late)) == {"superseded": 1}
    assert [row[2] for row in books.rows(HELD)] == [11.0]
    assert [row[1] for row in books.rows(PAST)] == [9.0]

    books.take("late too.jsonl", late + as_jsonl(execution("o2")))
    assert len(books.rows(PAST)) == 1, "the same report is kept once"


def test_two_versions_in_one_file_leave_the_higher_whatever_their_lines(books: Books) -> None:
    body = as_jsonl(execution(version=2, price=11.0), execution(version=1, price=9.0), execution(version=3, price=12.0))

    assert counts(books.take("a.jsonl", body)) == {"inserted": 1, "updated": 1, "superseded": 1}
    assert books.rows(HELD) == [("o1", 100.0, 12.0, 3)]
    assert [row[:3] for row in books.rows(PAST)] == [("o1", 9.0, 1), ("o1", 11.0, 2)]


def test_other_values_under_the_same_version_are_quarantined_and_what_is_held_stays(books: Books) -> None:
    books.take("a.jsonl", as_jsonl(execution(version=1)))

    taken = books.take("b.jsonl", as_jsonl(execution("o2"), execution(version=1, price=12.0)))

    assert counts(taken) == {"inserted": 1, "rejected": 1}
    [reject] = taken.files[0].rejects
    assert (reject.line, reject.order_id) == (2, "o1")
    assert "held with other values under the same version or reported_at (100 at 10.5, line 1 of a.jsonl)" in (
        reject.reason
    )
    assert books.rows("SELECT price FROM execution_feedback WHERE order_id = 'o1'") == [(10.5,)]


def test_bad_lines_are_quarantined_beside_the_file_and_in_the_store_and_good_ones_are_taken(desk: Desk) -> None:
    body = as_jsonl(execution(), execution("o2", side="hold"), execution("o3")) + b"{oops\n"

    taken = desk.take("a.jsonl", body)

    assert counts(taken) == {"inserted": 2, "rejected": 2}
    assert not taken.is_good
    lines = [json.loads(line) for line in Path("a.jsonl.rejected.jsonl").read_text().splitlines()]
    assert [(line["line"], line["order_id"], line["reason"].split(":")[0]) for line in lines] == [
        (2, "o2", "side"),
        (4, None, "not JSON"),
    ]
    assert lines[1]["text"] == "{oops"
    stored = desk.rows("SELECT line, order_id, text, reason, raw_hash FROM execution_rejects ORDER BY line")
    names = ("line", "order_id", "text", "reason", "raw_hash")
    assert stored == [tuple(line[name] for name in names) for line in lines]


def test_the_same_content_does_nothing_under_another_name_even_after_a_correction(books: Books) -> None:
    body = as_csv(execution(), execution("o2"))
    books.take("a.csv", body)
    books.now += timedelta(hours=1)
    books.take("b.csv", as_csv(execution(price=10.6)))
    before = books.rows("FROM execution_feedback"), books.rows("FROM execution_files")
    books.now += timedelta(hours=1)

    taken = books.take("copy of a.csv", body)

    assert (taken.files[0].is_known, counts(taken)) == (True, {})
    assert (books.rows("FROM execution_feedback"), books.rows("FROM execution_files")) == before
    assert books.rows("SELECT count(*) FROM coverage") == [(2,)]


def test_lines_that_were_rejected_are_read_again_with_the_file_and_nothing_else_of_it(desk: Desk) -> None:
    body = as_jsonl(execution(price=10.0), execution("o2", symbol="NVDA"), execution("o3", symbol="ZZZZ"))
    desk.take("a.jsonl", body)
    desk.take("b.jsonl", as_jsonl(execution(price=10.6)))
    grown = Universe([*UNIVERSE.values(), Instrument("NVDA")])
    desk.now += timedelta(hours=1)

    taken = take_feedback(desk.settings, grown, [Path("a.jsonl")], synthetic=False, clock=lambda: desk.now)

    assert counts(taken) == {"inserted": 1, "rejected": 1}
    assert desk.rows(HELD) == [("o1", 100.0, 10.6, None), ("o2", 100.0, 10.5, None)]
    assert desk.rows("SELECT line FROM execution_rejects") == [(3,)]
    assert len(Path("a.jsonl.rejected.jsonl").read_text().splitlines()) == 1
    assert desk.rows("SELECT lines, inserted, rejected FROM execution_files WHERE name = 'a.jsonl'") == [(3, 2, 1)]
    again = take_feedback(
        desk.settings, Universe([*grown.values(), Instrument("ZZZZ")]), [Path("a.jsonl")], synthetic=False,
        clock=lambda: desk.now,
    )  # fmt: skip
    assert counts(again) == {"inserted": 1}
    assert not Path("a.jsonl.rejected.jsonl").exists()


def test_a_file_of_which_nothing_can_be_used_leaves_its_reason_and_no_row(desk: Desk) -> None:
    taken = desk.take("notes.csv", b"dear all,\nplease find attached\n")

    assert not taken.is_good
    assert "notes.csv: has no column order_id, symbol, side" in (taken.files[0].file.refused or "")
    assert desk.rows("SELECT count(*) FROM execution_feedback") == [(0,)]
    assert desk.rows("SELECT name, refused, lines FROM execution_files") == [
        ("notes.csv", taken.files[0].file.refused, 0)
    ]
    assert desk.rows("SELECT verdict FROM coverage") == [("rejected",)]


def test_a_dry_run_tells_the_same_and_changes_nothing(desk: Desk) -> None:
    desk.take("a.jsonl", as_jsonl(execution(version=1)))
    tables = ("execution_feedback", "execution_revisions", "execution_files", "execution_rejects", "coverage")
    before = [desk.rows(f"FROM {table}") for table in tables]
    body = as_jsonl(execution(version=2, price=9), execution("o2"), execution("o3", price=-1))

    tried = desk.take("b.jsonl", body, dry_run=True)

    assert [desk.rows(f"FROM {table}") for table in tables] == before
    assert not Path("b.jsonl.rejected.jsonl").exists()
    assert not RawStore(desk.settings.raw_folder(synthetic=False)).has(sha256_hex(body))
    done = desk.take("b.jsonl", body)
    assert counts(tried) == counts(done) == {"inserted": 1, "updated": 1, "rejected": 1}


def test_a_dry_run_needs_no_database_and_makes_none(desk: Desk) -> None:
    desk.database.path.unlink()

    assert counts(desk.take("a.jsonl", as_jsonl(execution()), dry_run=True)) == {"inserted": 1}
    assert not desk.database.exists()


def test_a_price_beyond_the_range_of_its_session_is_taken_and_told(desk: Desk) -> None:
    with desk.writing() as connection:
        put_bar(connection, "AAPL", DAY, 10.0, high=11.0, low=9.0)
    within, beyond = execution(price=11.2), execution("o2", price=11.3)

    taken = desk.take("a.jsonl", as_jsonl(within, beyond, execution("o3", symbol="MSFT", price=999)))

    assert counts(taken) == {"inserted": 3}
    assert taken.files[0].findings == ("order o2: 11.3 is beyond what AAPL traded at on 2026-01-20, 9 to 11",)
    assert taken.is_good


def test_a_file_that_is_not_there_is_told_and_nothing_before_it_is_lost(desk: Desk) -> None:
    first = desk.put("a.jsonl", as_jsonl(execution()))

    with pytest.raises(FeedbackFileError, match=r"nowhere\.csv: cannot be read: No such file"):
        take_feedback(desk.settings, UNIVERSE, [first, Path("nowhere.csv")], synthetic=False, clock=lambda: desk.now)

    assert len(desk.rows(HELD)) == 1


def test_it_waits_for_another_ingest_and_refuses_a_store_of_the_other_kind(desk: Desk) -> None:
    with sole_ingest(desk.settings), pytest.raises(WarehouseLocked, match="another ingest"):
        desk.take("a.jsonl", as_jsonl(execution()))

    desk.change("INSERT INTO store_kind VALUES (TRUE)")
    with pytest.raises(WarehouseError, match="holds synthetic data"):
        desk.take("a.jsonl", as_jsonl(execution()))
    assert desk.rows(HELD) == []


def test_a_file_that_a_died_process_had_kept_is_not_kept_twice(desk: Desk) -> None:
    body = as_jsonl(execution())
    store = RawStore(desk.settings.raw_folder(synthetic=False))
    request = FetchRequest("*", NOW.date(), NOW.date(), feed="executions")
    died = NOW - timedelta(minutes=5)
    kept = store.put(RawPayload("feedback", request, body, sha256_hex(body), "a.jsonl", 200, None, died, attempts=0))

    desk.take("a.jsonl", body)

    assert store.request_ids() == {kept.request_id}
    assert desk.rows("SELECT request_id FROM coverage") == [(kept.request_id,)]
    assert desk.rows("SELECT received_at FROM execution_feedback") == [(died.replace(tzinfo=None),)]


def test_the_stored_files_alone_make_the_tables_anew(desk: Desk) -> None:
    for body in (
        as_jsonl(execution(version=2), execution("o2"), execution("o3", side="x")),
        as_csv(execution(version=1, price=9), execution("o2", price=10.6)),
        b"nothing\n",
    ):
        desk.take("a.jsonl", body)
        desk.now += timedelta(hours=1)
    store = RawStore(desk.settings.raw_folder(synthetic=False))
    tables = ("execution_feedback", "execution_revisions", "execution_files", "execution_rejects")

    with new_database(Path("rebuilt.duckdb")).writing() as connection:
        for stored in sorted(store.stored(), key=lambda stored: stored.fetched_at):
            with transaction(connection):
                apply_feedback(connection, UNIVERSE, stored, store.get(stored.sha256))
        rebuilt = [connection.execute(f"FROM {table} ORDER BY ALL").fetchall() for table in tables]

    assert rebuilt == [desk.rows(f"FROM {table} ORDER BY ALL") for table in tables]
    assert [len(rows) for rows in rebuilt] == [2, 2, 3, 1]


REPORTS = st.lists(st.tuples(st.sampled_from(["o1", "o2"]), st.integers(1, 4)), min_size=1, max_size=6, unique=True)


def state(files: Sequence[pd.DataFrame], connection: duckdb.DuckDBPyConnection) -> list[Any]:
    """What the tables say of the orders once the files were taken one after the other."""
    for table in ("execution_feedback", "execution_revisions"):
        connection.execute(f"DELETE FROM {table}")
    for number, frame in enumerate([*files, files[0]]):  # the first once more, which changes nothing
        received = NOW + timedelta(minutes=number)
        write_executions(connection, frame, source_file="a", raw_hash=str(number), received_at=received)
    columns = ", ".join(FEEDBACK_COLUMNS)
    return [
        connection.execute(f"SELECT {columns} FROM {table} ORDER BY ALL").fetchall()
        for table in ("execution_feedback", "execution_revisions")
    ]


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with new_database(tmp_path_factory.mktemp("order") / "x.duckdb").writing() as opened:
        yield opened


@settings(max_examples=12)
@given(REPORTS, st.data())
def test_the_order_of_files_does_not_matter_where_reports_have_versions_and_taking_twice_changes_nothing(
    connection: duckdb.DuckDBPyConnection, reports: list[tuple[str, int]], data: st.DataObject
) -> None:
    records = [execution(order, version=version, price=10 + version) for order, version in reports]
    frame = parse_executions(as_jsonl(*records), universe=UNIVERSE, now=NOW).executions
    cuts = sorted(data.draw(st.lists(st.integers(0, len(records)), max_size=2)))
    files = [frame.iloc[a:b] for a, b in itertools.pairwise([0, *cuts, len(records)]) if a < b]
    shuffled = [file.iloc[::-1] for file in data.draw(st.permutations(files))]

    with transaction(connection):
        first, other = state(files, connection), state(shuffled, connection)

    assert first == other
    assert {row[0]: row[-1] for row in first[0]} == {
        order: max(version for name, version in reports if name == order) for order, _ in reports
    }
    assert len(first[0]) + len(first[1]) == len(reports)
