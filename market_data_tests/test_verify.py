"""Whether a store is whole: each way of not being so is planted, found alone, named by its place, and told to mend."""

from __future__ import annotations

import json
import os
import threading
import time
from datetime import timedelta

import pytest

from market_data.errors import MarketDataError, Transient, WarehouseError, WarehouseLocked
from market_data.ingest.audit_file import AuditFile
from market_data.ingest.lock import sole_ingest
from market_data.ingest.verify import Finding, verify
from market_data.warehouse.store import record_audit, record_coverage, record_failure
from market_data_tests.bars import at, audit, hashed
from market_data_tests.stored import NOW, Store


@pytest.fixture
def store() -> Store:
    return Store("AAPL", "MSFT")


def found(store: Store) -> list[Finding]:
    verified = verify(store.settings, synthetic=store.synthetic)
    assert verified.is_sound is not bool(verified.findings)
    return list(verified.findings)


def kinds(store: Store) -> list[str]:
    return [finding.kind for finding in found(store)]


@pytest.mark.parametrize("synthetic", [True, False])
def test_a_whole_store_is_sound_and_what_was_looked_at_is_counted(synthetic: bool):
    store = Store("AAPL", "MSFT", synthetic=synthetic)
    again = store.keep("AAPL", b"bars of AAPL", fetched=NOW)
    with store.database.writing() as connection:
        record_coverage(connection, again, job_id="job")
    held = store.files()
    verified = verify(store.settings, synthetic=synthetic)
    assert verified.as_dict() == {
        "payloads": 2, "requests": 3, "bytes": 24, "audit_records": 2, "findings": [], "sound": True, "kinds": {},
    }  # fmt: skip
    assert store.files() == held


def test_verifying_touches_no_file_but_the_lock(store: Store):
    with sole_ingest(store.settings):
        pass
    lock = store.settings.runtime / "ingest.lock"
    paths = [store.settings.runtime, *store.settings.runtime.rglob("*")]
    modified = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in paths if path != lock}
    assert kinds(store) == []
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in modified} == modified


@pytest.mark.parametrize("planted", ["bytes of another", "not compressed", "cut off"])
def test_altered_bytes_are_found(store: Store, planted: str):
    file = store.bytes_file("AAPL")
    content = {
        "bytes of another": store.bytes_file("MSFT").read_bytes(),
        "not compressed": b"bars of AAPL",
        "cut off": file.read_bytes()[:-3],
    }[planted]
    file.write_bytes(content)
    [finding] = found(store)
    assert (finding.kind, finding.place) == ("altered_bytes", str(file))
    assert "bring it back from a backup" in finding.message
    assert (hashed("bars of MSFT") in finding.message) == (planted == "bytes of another")


def test_missing_bytes_are_found_with_all_that_was_read_from_them(store: Store):
    store.bytes_file("AAPL").unlink()
    sha256, request_id = store.payloads["AAPL"].sha256, store.payloads["AAPL"].request_id
    assert [(finding.kind, finding.place) for finding in found(store)] == [
        ("missing_bytes", f"{sha256}.{request_id}.json"),
        ("coverage_without_payload", f"coverage {request_id}"),
        ("row_without_payload", f"price_history_daily.raw_hash {sha256}"),
        ("row_without_payload", f"ingestion_audit.raw_hash {sha256}"),
    ]
    assert found(store)[2].message.startswith("5 rows name a payload that is not in the raw store")


def test_bytes_without_a_request_and_requests_that_cannot_be_read_are_found(store: Store):
    store.request_file("AAPL").write_text("{", encoding="utf-8")
    with store.database.writing() as connection:
        for number in range(5):
            record_coverage(connection, store.keep("AAPL", f"{number}".encode()), job_id="job")
    unreadable, orphan = found(store)
    assert (unreadable.kind, unreadable.place) == ("unreadable_request", store.payloads["AAPL"].request_id)
    assert str(store.request_file("AAPL")) in unreadable.message
    assert (orphan.kind, orphan.place) == ("orphan_bytes", str(store.bytes_file("AAPL")))
    store.request_file("AAPL").unlink()
    assert found(store) == [orphan]


def test_a_payload_no_table_knows_is_found_and_an_error_that_the_ledger_knows_is_not(store: Store):
    kept = store.keep("AAPL", b"HTTP 503", status=503)
    [finding] = found(store)
    assert (finding.kind, finding.place) == ("orphan_payload", f"{kept.sha256}.{kept.request_id}.json")
    assert "of sandbox for AAPL is in no table; the next `market-data backfill` notes it" in finding.message
    with store.database.writing() as connection:
        record_failure(
            connection, request_id="f", request=kept.request, provider="sandbox", error=Transient("HTTP 503"),
            stored=kept, job_id="job", now=at(),
        )  # fmt: skip
    assert found(store) == []


KNOWN_BY = (
    "INSERT INTO reported_actions VALUES ('AAPL', '2021-01-20', 'split', 2, NULL, 'import', ?, '2026-01-20')",
    "INSERT INTO actions_told VALUES ('*', 'split', 'import', '2021-01-20', '2021-01-20', ?, '2026-01-20')",
    "INSERT INTO amendments SELECT 'a.close', 'AAPL', '2021-01-20', 'close', 1, 2, 'why', 'ann', ?, '2026-01-20', "
    "NULL, NULL",
    "INSERT INTO reconciliations SELECT 'AAPL', '2021-01-20', 'a', 'b', 'agree', '', 1, 1, 0, NULL, NULL, ?, "
    "'2026-01-20'",
)


def test_a_payload_another_table_knows_is_no_orphan_and_its_loss_is_found_there(store: Store):
    kept = [store.keep("AAPL", f"{number}".encode(), provider="import") for number in range(len(KNOWN_BY))]
    with store.held_open():
        for statement, stored in zip(KNOWN_BY, kept, strict=True):
            store.execute(statement, stored.sha256)
    assert kinds(store) == []
    with store.held_open():
        for table in ("reported_actions", "actions_told", "amendments"):
            store.execute(f"UPDATE {table} SET raw_hash = 'lost'")
        store.execute("UPDATE reconciliations SET other_raw_hash = 'lost'")
    assert sorted(finding.place for finding in found(store) if finding.kind == "row_without_payload") == [
        "actions_told.raw_hash lost", "amendments.raw_hash lost", "reconciliations.other_raw_hash lost",
        "reported_actions.raw_hash lost",
    ]  # fmt: skip
    assert kinds(store).count("orphan_payload") == 4


def test_rows_of_prices_revisions_and_findings_without_a_payload_are_found_by_payload(store: Store):
    store.execute(
        "UPDATE price_history_daily SET raw_hash = 'p' WHERE date <= '2021-01-20';"
        "INSERT INTO revisions (symbol, date, basis, source_provider, raw_hash, pulled_at, replaced_at, replaced_by) "
        "SELECT symbol, date, basis, source_provider, raw_hash, pulled_at, pulled_at, 'r' FROM price_history_daily;"
        "INSERT INTO quality_findings (symbol, rule, severity, field, message, source_provider, raw_hash, job_id, "
        "found_at) VALUES ('AAPL', 'rule', 'info', '', '', 'sandbox', 'q', 'job', '2026-01-20')"
    )
    assert [(finding.place, finding.message.split(" ")[0]) for finding in found(store)] == [
        ("price_history_daily.raw_hash p", "4"),
        ("revisions.raw_hash p", "4"),
        ("revisions.replaced_by r", "10"),
        ("quality_findings.raw_hash q", "1"),
    ]


def test_part_files_of_a_process_that_died_are_found(store: Store):
    left = store.bytes_file("AAPL").with_name("0.zst.17.4.part"), store.settings.audit_folder / "backfill_job.part"
    for file in left:
        file.write_bytes(b"")
    assert [(finding.kind, finding.place) for finding in found(store)] == [("part_file", str(file)) for file in left]


def test_audit_lines_and_rows_that_differ_are_found_at_their_line(store: Store):
    file = store.audit_file.path
    first, second = file.read_bytes().splitlines(keepends=True)
    changed = json.dumps(json.loads(second) | {"rows_inserted": 7}).encode() + b"\n"
    unknown = json.dumps(json.loads(first) | {"symbol": "ZZZZ"}).encode() + b"\n"
    for lines, due in (
        ([second, first], []),
        ([first, changed], [("audit_line_differs", f"{file}:2")]),
        ([first, first, second], [("audit_line_differs", f"{file}:2")]),
        ([first, second, unknown], [("audit_line_without_row", f"{file}:3")]),
        ([first, second, first[:9]], [("audit_line_unreadable", f"{file}:3")]),
        ([first, second[:-1]], [("audit_line_unreadable", f"{file}:2"), ("audit_row_without_line", str(file))]),
        ([], [("audit_row_without_line", str(file))] * 2),
    ):
        file.write_bytes(b"".join(lines))
        assert [(finding.kind, finding.place) for finding in found(store)] == due
    assert "take the job up again with --job-id job" in found(store)[0].message
    assert [("of AAPL;" in finding.message, "of MSFT;" in finding.message) for finding in found(store)] == [
        (True, False),
        (False, True),
    ]


def test_records_of_other_jobs_are_compared_and_those_of_the_other_kind_of_store_passed_over(store: Store):
    finished = NOW + timedelta(microseconds=1)
    more = [audit(job_id="other", kind="demo", null_share=float("nan"), raw_hash=None, finished_at=finished)]
    with store.database.writing() as connection:
        record_audit(connection, more)
    assert kinds(store) == ["audit_row_without_line"]
    AuditFile(store.settings.audit_folder, "demo", "other").append(more)
    AuditFile(store.settings.audit_folder, "backfill", "real").append([audit(job_id="real", synthetic=False)])
    assert kinds(store) == []


def test_what_cannot_be_verified_is_said(store: Store):
    with pytest.raises(WarehouseError, match="no database yet"):
        verify(store.settings, synthetic=False)
    with pytest.raises(MarketDataError, match="holds synthetic data, and real was meant"):
        verify(store.settings.model_copy(update={"database": store.database.path}), synthetic=False)
    store.database.path.write_bytes(b"something else")
    with pytest.raises(WarehouseError, match="not a usable DuckDB database"):
        verify(store.settings, synthetic=True)


def test_an_ingest_under_way_is_waited_for(store: Store):
    held, release = threading.Event(), threading.Event()

    def ingest() -> None:
        with sole_ingest(store.settings):
            held.set()
            release.wait(10)

    other = threading.Thread(target=ingest)
    other.start()
    try:
        assert held.wait(5)
        with pytest.raises(WarehouseLocked):
            verify(store.settings, synthetic=True)
    finally:
        release.set()
        other.join()
    assert kinds(store) == []


def test_fifty_payloads_take_less_than_half_a_second_of_computing():
    store = Store()
    body = os.urandom(50_000).hex().encode()
    with store.database.writing() as connection:
        for number in range(50):
            record_coverage(connection, store.keep("AAPL", b"%d" % number + body), job_id="job")
    started = time.process_time()
    verified = verify(store.settings, synthetic=True)
    assert time.process_time() - started < 0.5
    assert (verified.payloads, verified.is_sound) == (51, True)
    assert verified.bytes > 5_000_000
