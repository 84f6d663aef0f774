"""Exports that are interrupted, taken up, made again and verified, and what they leave alone."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from threading import Event

import duckdb
import pytest
from filelock import FileLock

from market_data.export import Exported, ExportError, ExportRequest, export, verify_export
from market_data.settings import Settings
from market_data_tests.exporting import SESSIONS, build, clock, later


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Settings:
    return build(tmp_path_factory.mktemp("store"))


@pytest.fixture
def request_(tmp_path) -> ExportRequest:
    """Three parts of two symbols."""
    return ExportRequest("csv", tmp_path / "out", "A,AAPL,BRK.B,CON,GAP,LATE", basis="raw", at_once=2)


def stopped_after(parts: int, settings: Settings, request: ExportRequest, now=clock) -> Exported:
    stop, left = Event(), [parts]

    def advance(part) -> None:
        left[0] -= 1
        if not left[0]:
            stop.set()

    return export(settings, request, now, stop=stop, advance=advance)


def identities(folder: Path) -> dict[str, int]:
    """The inode of every data file: another one where it was written anew."""
    return {path.name: path.stat().st_ino for path in (folder / "prices").rglob("*.csv")}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_interrupted_export_has_no_manifest_and_is_taken_up_as_of_the_instant_it_began(store, request_):
    begun = stopped_after(1, store, request_)
    assert (begun.interrupted, begun.written, begun.is_good) == (True, 2, False)
    assert not (request_.out / "manifest.json").exists()
    with pytest.raises(ExportError, match="not finished"):
        verify_export(request_.out)
    before = identities(request_.out)

    done = export(store, request_, later(30))

    assert (done.written, done.reused, done.interrupted) == (4, 2, False)
    assert before.items() <= identities(request_.out).items()
    assert done.manifest.pinned == begun.manifest.pinned
    assert verify_export(request_.out) == (done.manifest, [])
    assert sorted(path.name for path in request_.out.iterdir()) == ["manifest.json", "prices"]


def test_an_export_taken_up_is_the_same_as_one_at_a_stretch(store, request_, tmp_path):
    stopped_after(2, store, request_)
    taken_up = export(store, request_, clock)
    at_a_stretch = export(store, replace(request_, out=tmp_path / "other"), clock)
    assert contents(taken_up.folder) == contents(at_a_stretch.folder)


def test_a_file_that_was_being_written_when_the_process_died_is_known_as_its_own_and_written_again(store, request_):
    stopped_after(2, store, request_)
    journal = request_.out / "manifest.part.jsonl"
    whole = journal.read_text()
    last = whole.splitlines()[-1]
    assert '"part"' in last
    journal.write_text(whole.removesuffix(f"{last}\n") + last[:40])
    (request_.out / ".part").mkdir(exist_ok=True)
    (request_.out / ".part" / "file").write_text("half a li")

    done = export(store, request_, clock)

    assert (done.written, done.reused) == (4, 2)
    assert verify_export(request_.out)[1] == []
    assert not (request_.out / ".part").exists()


def test_what_was_altered_since_is_written_again(store, request_):
    stopped_after(2, store, request_)
    (request_.out / "prices/A.csv").write_text("symbol,date\n")
    done = export(store, request_, clock)
    assert (done.written, done.reused) == (4, 2)
    assert verify_export(request_.out)[1] == []


def test_what_the_files_follow_from_is_looked_at_again(tmp_path, request_):
    settings = build(tmp_path / "store")
    stopped_after(2, settings, request_)
    with duckdb.connect(settings.database_for(synthetic=False)) as connection:
        connection.execute("UPDATE price_history_daily SET close = 77 WHERE symbol = 'A' AND date = ?", [SESSIONS[9]])
    done = export(settings, request_, clock)
    assert (done.written, done.reused) == (4, 2)
    assert f"A,{SESSIONS[9]}" in (request_.out / "prices/A.csv").read_text()
    assert ",77," in (request_.out / "prices/A.csv").read_text()


def test_an_export_as_of_an_instant_is_made_again_without_writing_anything(store, request_):
    request = replace(request_, as_of=date(2024, 2, 1))
    export(store, request, clock)
    before = identities(request.out)
    done = export(store, request, later(30))
    assert (done.written, done.reused) == (0, 6)
    assert identities(request.out) == before


def test_an_export_of_now_is_brought_up_to_now_and_what_is_no_more_goes(tmp_path, request_):
    settings = build(tmp_path / "store")
    export(settings, request_, clock)
    with duckdb.connect(settings.database_for(synthetic=False)) as connection:
        connection.execute("DELETE FROM price_history_daily WHERE symbol = 'GAP'")
    done = export(settings, request_, later(30))
    assert (done.written, done.reused) == (5, 0)
    assert done.manifest.named("missing") == ["GAP"]
    assert not (request_.out / "prices/GAP.csv").exists()
    assert verify_export(request_.out)[1] == []


def test_an_export_of_another_request_is_refused_and_left_as_it_is(store, request_):
    export(store, request_, clock)
    before = contents(request_.out)
    other = replace(request_, basis="split", symbols="A")
    with pytest.raises(ExportError, match="holds an export of another request, with other symbols, basis"):
        export(store, other, clock)
    assert contents(request_.out) == before


def test_overwrite_replaces_another_export_and_nothing_else(store, request_):
    export(store, request_, clock)
    (request_.out / "notes.txt").write_text("mine")
    done = export(store, replace(request_, format="qlib", symbols="A", overwrite=True), clock)
    names = sorted(contents(request_.out))
    assert names == ["csv/A.csv", "manifest.json", "notes.txt"]
    assert (request_.out / "notes.txt").read_text() == "mine"
    assert [file.path for file in done.manifest.files] == ["csv/A.csv"]
    assert verify_export(request_.out)[1] == []


def test_a_folder_with_files_of_others_is_refused_unless_overwrite_allows_them_beside(store, request_):
    request_.out.mkdir()
    (request_.out / "thesis.tex").write_text("years of work")
    with pytest.raises(ExportError, match=r"holds thesis\.tex, which no export wrote"):
        export(store, request_, clock)
    assert list(contents(request_.out)) == ["thesis.tex"]
    assert export(store, replace(request_, overwrite=True), clock).written == 6
    assert (request_.out / "thesis.tex").read_text() == "years of work"


def test_a_file_among_the_data_that_no_export_wrote_is_refused_whatever_is_asked(store, request_):
    (request_.out / "prices").mkdir(parents=True)
    (request_.out / "prices/A.csv").write_text("mine")
    with pytest.raises(ExportError, match=r"prices/A.csv is not of an export, and would be read as prices"):
        export(store, replace(request_, overwrite=True), clock)
    assert contents(request_.out) == {"prices/A.csv": b"mine"}


def test_a_manifest_of_something_else_is_left_alone(store, request_):
    request_.out.mkdir()
    (request_.out / "manifest.json").write_text('{"name": "an app"}')
    with pytest.raises(ExportError, match="move the folder away"):
        export(store, replace(request_, overwrite=True), clock)
    assert contents(request_.out) == {"manifest.json": b'{"name": "an app"}'}


@pytest.mark.parametrize(
    "path", ["../../thesis.tex", "/etc/passwd", "prices/../../thesis.tex", "C:/x/y", "manifest.json"]
)
def test_a_journal_whose_paths_lead_elsewhere_is_refused(store, request_, path):
    stopped_after(1, store, request_)
    journal = request_.out / "manifest.part.jsonl"
    journal.write_text(journal.read_text() + json.dumps({"intends": [path]}) + "\n")
    with pytest.raises(ExportError, match="is no path of an export's file"):
        export(store, request_, clock)


def test_two_exports_do_not_write_into_one_folder(store, request_):
    request_.out.mkdir()
    with FileLock(request_.out / ".lock"), pytest.raises(ExportError, match="another export is writing there"):
        export(store, request_, clock)


def test_a_folder_that_cannot_be_made_is_told(store, request_):
    request_.out.write_text("a file")
    with pytest.raises(ExportError, match="cannot be written"):
        export(store, request_, clock)


def test_verify_tells_of_what_is_missing_altered_or_foreign(store, request_):
    export(store, request_, clock)
    (request_.out / "prices/A.csv").unlink()
    with (request_.out / "prices/AAPL.csv").open("a") as stream:
        stream.write("AAPL,2024-02-01,1,1,1,1,1,raw\n")
    (request_.out / "prices/ZZZ.csv").write_text("more")
    (request_.out / "README.txt").write_text("beside the data, so of no harm")
    assert verify_export(request_.out)[1] == [
        "prices/A.csv: missing",
        "prices/AAPL.csv: altered, its SHA-256 is another",
        "prices/ZZZ.csv: not of the export",
    ]


def test_a_folder_without_a_manifest_is_no_export(tmp_path):
    with pytest.raises(ExportError, match=r"has no manifest.json"):
        verify_export(tmp_path)


def test_the_manifest_names_each_file_with_its_rows_and_hash(store, request_):
    done = export(store, request_, clock)
    document = json.loads((request_.out / "manifest.json").read_text())
    assert document["request"]["symbols"] == ["A", "AAPL", "BRK.B", "CON", "GAP", "LATE"]
    assert (document["basis"], document["as_of"]) == ("raw", "2024-02-01T12:00:00+00:00")
    assert document["store"]["database"] == "market_data.duckdb"
    assert str(store.runtime) not in json.dumps(document)
    files = {file["path"]: file for part in document["parts"] for file in part["files"]}
    assert (files["prices/GAP.csv"]["rows"], files["prices/GAP.csv"]["symbol"]) == (len(SESSIONS) - 3, "GAP")
    assert document["rows"] == sum(file["rows"] for file in files.values()) == done.manifest.rows
