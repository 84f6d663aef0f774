"""The drop folder: when a file is whole, where it goes, and what is left alone."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from market_data.errors import SettingsError
from market_data.ingest.executions.file import FeedbackFileError
from market_data.ingest.executions.folder import next_batch, take_folder
from market_data.ingest.executions.taking import take_feedback
from market_data_tests.executions import UNIVERSE, Desk, as_csv, execution

FOLDER = Path("runtime/feedback")


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    FOLDER.mkdir()
    return desk


def drop(name: str, body: bytes, changed: int = 1_000) -> Path:
    """A file in the folder, changed so many seconds after the epoch."""
    path = FOLDER / name
    path.write_bytes(body)
    os.utime(path, (changed, changed))
    return path


def take(desk: Desk, *names: str) -> Any:
    return take_folder(
        desk.settings, UNIVERSE, synthetic=False, names=names, clock=lambda: desk.now, sleep=lambda _: None
    )


def names_in(folder: str) -> list[str]:
    return sorted(path.name for path in (FOLDER / folder).iterdir())


GOOD = as_csv(execution())


def test_a_file_is_whole_once_two_looks_find_it_alike(desk: Desk) -> None:
    drop("a.csv", GOOD[:-1])
    first = next_batch(FOLDER, None)
    drop("a.csv", GOOD, changed=1_001)
    second = next_batch(FOLDER, first.cursor)
    third = next_batch(FOLDER, second.cursor)

    assert [batch.names for batch in (first, second, third)] == [(), (), ("a.csv",)]
    assert first.reason == second.reason == "a.csv: is new or still changes"
    assert next_batch(FOLDER, third.cursor).key == third.key


def test_a_file_that_ends_in_the_midst_of_a_line_waits_for_its_end_or_for_a_mark_beside_it(desk: Desk) -> None:
    drop("a.csv", GOOD[:-1])
    drop("empty.jsonl", b"")
    batch = next_batch(FOLDER, next_batch(FOLDER, None).cursor)
    assert batch.names == ()
    assert (
        "a.csv: ends without a line break, so it may be cut off; add one, or put a.csv.done beside it" in batch.reason
    )

    drop("a.csv.done", b"")
    assert next_batch(FOLDER, batch.cursor).names == ("a.csv",)


def test_the_same_content_under_the_same_name_has_a_key_of_its_own_each_time_it_is_dropped(desk: Desk) -> None:
    def key() -> str:
        return next_batch(FOLDER, next_batch(FOLDER, None).cursor).key

    drop("a.csv", GOOD)
    first = key()
    assert key() == first
    drop("a.csv", GOOD, changed=2_000)
    assert key() != first


@pytest.mark.parametrize("cursor", ["", "{", "[]", '{"a.csv": 1}', '{"a.csv": [1, 2, 3]}', "null"])
def test_a_cursor_that_means_nothing_is_a_first_look(desk: Desk, cursor: str) -> None:
    drop("a.csv", GOOD)

    assert next_batch(FOLDER, cursor).names == ()
    assert next_batch(FOLDER, next_batch(FOLDER, cursor).cursor).names == ("a.csv",)


def test_hidden_unfinished_and_odd_entries_are_left_alone_and_odd_ones_told(desk: Desk, tmp_path: Path) -> None:
    outside = tmp_path / "secret.csv"
    outside.write_bytes(GOOD)
    for name in (".a.csv", "b.csv.part", "c.tmp", "d.csv.rejected.jsonl", "e.csv.done", "notes.txt", "f\n.csv"):
        drop(name, GOOD)
    (FOLDER / "link.csv").symlink_to(outside)
    (FOLDER / "folder.csv").mkdir()
    os.mkfifo(FOLDER / "pipe.csv")

    batch = next_batch(FOLDER, next_batch(FOLDER, None).cursor)

    assert batch.names == ()
    assert batch.waiting == {
        "f\\n.csv": "its name has odd characters or more than 150; rename it",
        "link.csv": "no plain file; put the file itself here",
        "notes.txt": "does not end in .csv, .jsonl, .ndjson; rename it",
        "pipe.csv": "no plain file; put the file itself here",
    }
    assert take(desk).files == ()
    assert outside.exists()


def test_files_are_taken_in_the_order_they_were_changed_and_moved_away(desk: Desk) -> None:
    drop("a.csv", as_csv(execution(price=10.6)), changed=2_000)
    drop("b.csv", as_csv(execution(price=10.4)), changed=1_000)
    drop("b.csv.done", b"")

    taken = take(desk)

    assert [one.file.name for one in taken.files] == ["b.csv", "a.csv"]
    assert desk.rows("SELECT price, source_file FROM execution_feedback") == [(10.6, "a.csv")]
    assert names_in("taken") == ["a.csv", "b.csv", "b.csv.done"]
    assert [path.name for path in FOLDER.iterdir()] == ["taken"]


def test_rejected_lines_lie_beside_the_file_and_an_unusable_file_with_its_reason(desk: Desk) -> None:
    drop("a.csv", as_csv(execution(), execution("o2", price=-1)))
    drop("b.csv", b"no such columns\n")

    take(desk)

    assert names_in("taken") == ["a.csv", "a.csv.rejected.jsonl"]
    assert names_in("rejected") == ["b.csv", "b.csv.reason.json"]
    assert "has no column" in json.loads((FOLDER / "rejected/b.csv.reason.json").read_text())["reason"]
    assert desk.rows("SELECT order_id FROM execution_feedback") == [("o1",)]


def test_a_name_that_was_taken_before_keeps_both_files(desk: Desk) -> None:
    for price in (10.4, 10.6):
        drop("a.csv", as_csv(execution(price=price)))
        take(desk)

    first, second = names_in("taken")
    assert (first, second[:2], second[-4:]) == ("a.csv", "a.", ".csv") or second == "a.csv"
    assert len({(FOLDER / "taken" / name).read_bytes() for name in (first, second)}) == 2


def test_a_file_that_grows_while_it_is_read_stays_and_is_taken_again(desk: Desk) -> None:
    path = drop("a.csv", GOOD)
    grown: list[bytes] = []

    def clock() -> Any:
        if not grown:  # the file has been read by the first time it is asked what time it is
            grown.append(path.read_bytes())
            drop("a.csv", as_csv(execution(), execution("o2")), changed=1_001)
        return desk.now

    take_folder(desk.settings, UNIVERSE, synthetic=False, names=["a.csv"], clock=clock, sleep=lambda _: None)
    assert path.exists()
    assert desk.rows("SELECT order_id FROM execution_feedback") == [("o1",)]

    take(desk, "a.csv")
    assert not path.exists()
    assert len(desk.rows("FROM execution_feedback")) == 2


def test_a_named_file_that_another_run_took_is_passed_over_and_a_path_is_refused(desk: Desk) -> None:
    drop("a.csv", GOOD)

    assert [one.file.name for one in take(desk, "gone.csv", "a.csv").files] == ["a.csv"]
    for name in ("../a.csv", "/etc/passwd", "..", ""):
        with pytest.raises(FeedbackFileError, match="is no name of a file"):
            take(desk, name)


def test_a_folder_that_is_not_there_holds_nothing_and_one_that_is_none_is_told(desk: Desk) -> None:
    FOLDER.rmdir()
    assert next_batch(FOLDER, None).reason == "no file was dropped"
    assert take(desk).files == ()

    FOLDER.write_text("")
    with pytest.raises(SettingsError, match=r"MARKET_DATA_FEEDBACK: .* cannot be read: Not a directory"):
        next_batch(FOLDER, None)


def test_a_file_that_a_died_process_had_taken_and_not_moved_changes_nothing_and_is_moved(desk: Desk) -> None:
    path = drop("a.csv", as_csv(execution(), execution("o2", price=-1)))

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take_feedback(desk.settings, UNIVERSE, [path], synthetic=False, clock=lambda: desk.now, on_taken=dies)
    tables = ("execution_feedback", "execution_rejects", "execution_files", "coverage")
    before = [desk.rows(f"FROM {table}") for table in tables]

    [taken] = take(desk).files

    assert [len(rows) for rows in before] == [1, 1, 1, 1]
    assert [desk.rows(f"FROM {table}") for table in tables][0:2] == before[:2]
    assert (taken.is_known, taken.file.rejected) == (True, 1)
    assert names_in("taken") == ["a.csv", "a.csv.rejected.jsonl"]


def test_a_folder_that_cannot_be_written_is_told_once_the_file_is_taken(desk: Desk) -> None:
    path = drop("a.csv", GOOD)
    (FOLDER / "taken").write_text("in the way")

    with pytest.raises(
        FeedbackFileError, match=r"a\.csv: is taken, and cannot be moved away: .*; check the permissions"
    ):
        take(desk)

    assert path.exists()
    assert len(desk.rows("FROM execution_feedback")) == 1


def test_a_file_that_another_run_takes_meanwhile_is_passed_over(desk: Desk) -> None:
    drop("a.csv", GOOD)
    other = drop("b.csv", as_csv(execution("o2")), changed=2_000)

    def clock() -> Any:  # asked first when a.csv is read
        other.unlink(missing_ok=True)
        return desk.now

    taken = take_folder(desk.settings, UNIVERSE, synthetic=False, clock=clock, sleep=lambda _: None)

    assert [one.file.name for one in taken.files] == ["a.csv"]
