from __future__ import annotations

import os
import re
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from market_data.errors import ArchiveError, BadPayload, UnknownSymbol
from market_data.instruments import Instrument
from market_data.providers import parse
from market_data.providers.base import sha256_hex
from market_data.providers.stooq import ASCII_HEADER
from market_data.providers.stooq_bulk import StooqArchive, StooqBulk
from market_data.records import FetchRequest

NASDAQ = "data/daily/us/nasdaq stocks/1"
NYSE = "data/daily/us/nyse stocks/2"
REQUEST = FetchRequest("AAPL", date(2021, 1, 19), date(2026, 1, 16))


def ascii_file(ticker: str = "AAPL.US", *days: str, per: str = "D") -> bytes:
    rows = [f"{ticker},{per},{day},000000,1,2,0.5,1.5,1000,0".encode() for day in days or ("20210119", "20210120")]
    return b"\r\n".join([ASCII_HEADER, *rows, b""])


STOOQS_OWN = {
    f"{NASDAQ}/aapl.us.txt": ascii_file("AAPL.US"),
    f"{NYSE}/brk-b.us.txt": ascii_file("BRK-B.US"),
    f"{NYSE}/empty.us.txt": b"",
    "data/hourly/us/nasdaq stocks/1/aapl.us.txt": ascii_file("AAPL.US", per="60"),
    "data/5 min/us/nasdaq stocks/1/aapl.us.txt": ascii_file("AAPL.US", per="5"),
}
ODD = {
    "export/Microsoft.CSV": b"\xef\xbb\xbf" + ascii_file("MSFT.US"),
    "tesla.asc": ascii_file("tsla.us"),
    "hour.txt": ascii_file("NVDA.US", per="60"),
    "readme.txt": b"Prices of Stooq.\n",
    "zero.txt": b"",
    "picture.png": ascii_file("PNG.US"),
}


def make(kind: str, files: dict[str, bytes], name: str = "stooq") -> Path:
    if kind == "zip":
        path = Path(f"{name}.zip")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in files.items():
                archive.writestr(member, content)
        return path
    for member, content in files.items():
        file = Path(name, member)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return Path(name)


@pytest.fixture
def opened():
    archives = []

    def open_archive(path: Path, index_folder: Path | None = None) -> StooqArchive:
        archives.append(StooqArchive(path, index_folder=index_folder))
        return archives[-1]

    yield open_archive
    for archive in archives:
        archive.close()


KINDS = pytest.mark.parametrize("kind", ["folder", "zip"])


@KINDS
def test_stooqs_own_layout_is_known_by_its_names_without_reading(opened, kind):
    archive = opened(make(kind, STOOQS_OWN))
    assert (len(archive), archive.reads) == (3, 0)
    assert [ticker in archive for ticker in ("aapl.us", "BRK-B.US", "empty.us", "msft.us")] == [True, True, True, False]


@KINDS
def test_of_the_same_name_only_the_daily_file_is_read(opened, kind):
    archive = opened(make(kind, STOOQS_OWN))
    with pytest.raises(UnknownSymbol, match="holds no daily file of msft"):
        archive.read("msft.us")
    assert archive.read("aapl.us") == (f"{NASDAQ}/aapl.us.txt", ascii_file("AAPL.US"))
    assert archive.reads == 1


@KINDS
def test_oddly_named_files_are_found_by_their_content(opened, kind):
    archive = opened(make(kind, ODD))
    assert len(archive) == 2
    assert archive.read("msft.us") == ("export/Microsoft.CSV", ODD["export/Microsoft.CSV"])
    assert archive.read("TSLA.US") == ("tesla.asc", ODD["tesla.asc"])
    assert ("nvda.us" in archive, "png.us" in archive) == (False, False)


@KINDS
def test_a_second_opening_with_an_index_reads_nothing(opened, kind):
    path, index = make(kind, {**STOOQS_OWN, **ODD}), Path("index")
    assert opened(path, index).reads == 5
    again = opened(path, index)
    assert (again.reads, len(again)) == (0, 5)
    assert again.read("msft.us")[1] == ODD["export/Microsoft.CSV"]
    assert [file.suffix for file in index.iterdir()] == [".json"]


def test_a_changed_file_alone_is_read_again_and_a_removed_one_is_gone(opened):
    path, index = make("folder", ODD), Path("index")
    opened(path, index)
    (path / "tesla.asc").write_bytes(ascii_file("AMZN.US"))
    (path / "export/Microsoft.CSV").unlink()
    archive = opened(path, index)
    assert archive.reads == 1
    assert [ticker in archive for ticker in ("amzn.us", "tsla.us", "msft.us")] == [True, False, False]


def test_a_file_changed_to_the_same_size_is_noticed_by_its_time(opened):
    path, index = make("folder", {"a.txt": ascii_file("AAPL.US")}), Path("index")
    opened(path, index)
    (path / "a.txt").write_bytes(ascii_file("MSFT.US"))
    os.utime(path / "a.txt", (1, 1))
    assert "msft.us" in opened(path, index)


def test_a_changed_member_of_a_zip_is_noticed_and_it_alone_is_read(opened):
    index = Path("index")
    opened(make("zip", ODD), index).close()
    archive = opened(make("zip", ODD | {"tesla.asc": ascii_file("AMZN.US")}), index)
    assert archive.reads == 1
    assert ("amzn.us" in archive, "tsla.us" in archive) == (True, False)


def test_two_archives_share_an_index_folder_without_mixing(opened):
    index = Path("index")
    first, second = (make("folder", {"a.txt": ascii_file(name)}, name) for name in ("AAPL.US", "MSFT.US"))
    for _ in range(2):
        assert ("aapl.us" in opened(first, index), "aapl.us" in opened(second, index)) == (True, False)


GARBAGE = [b"", b"\xff\xfe", *b'{ {} null 5 "x" {"a":1} [5] [[]] [[1]] [{}] [["a",1]]'.split()]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_an_index_file_of_garbage_is_ignored_and_written_anew(opened, garbage):
    path, index = make("folder", ODD), Path("index")
    opened(path, index)
    (kept,) = index.iterdir()
    good = kept.read_bytes()
    kept.write_bytes(garbage)
    assert (len(opened(path, index)), kept.read_bytes()) == (2, good)


def test_a_zip_of_3000_files_is_neither_read_nor_unpacked_to_be_opened(opened, tmp_path):
    files = {f"data/daily/us/nyse stocks/{n % 9}/x{n}.us.txt": ascii_file(f"X{n}.US") for n in range(3000)}
    path = make("zip", files)
    before = set(tmp_path.rglob("*"))
    archive = opened(path)
    assert (len(archive), archive.reads) == (3000, 0)
    assert archive.read("x2999.us")[1] == ascii_file("X2999.US")
    assert archive.reads == 1
    assert set(tmp_path.rglob("*")) == before


@KINDS
def test_reads_from_several_threads_give_each_its_own_file(opened, kind):
    files = {f"{NYSE}/x{n}.us.txt": ascii_file(f"X{n}.US") for n in range(60)}
    archive = opened(make(kind, files))
    with ThreadPoolExecutor(8) as pool:
        bodies = list(pool.map(lambda n: archive.read(f"x{n}.us")[1], range(60)))
    assert bodies == list(files.values())
    assert archive.reads == 60


@KINDS
def test_two_daily_files_of_one_ticker_are_refused_with_both_names(opened, kind):
    archive = opened(make(kind, STOOQS_OWN | {"old/apple.txt": ascii_file("AAPL.US")}))
    with pytest.raises(
        BadPayload, match=r"holds 2 daily files of aapl\.us: data/daily/.*txt, old/apple\.txt; keep one$"
    ):
        archive.read("aapl.us")
    assert archive.read("brk-b.us")[0] == f"{NYSE}/brk-b.us.txt"


@KINDS
def test_a_file_of_no_bytes_is_served_and_read_as_no_such_instrument(opened, kind):
    bulk = StooqBulk(opened(make(kind, STOOQS_OWN)))
    assert bulk.serves(Instrument("EMPTY"))
    payload = bulk.fetch(Instrument("EMPTY"), REQUEST)
    assert (payload.body, payload.request) == (b"", REQUEST)
    with pytest.raises(UnknownSymbol):
        parse(payload.provider, payload.body, symbol="EMPTY")


def test_a_share_class_is_looked_up_with_a_dash_and_its_own_spelling_wins(opened):
    bulk = StooqBulk(opened(make("zip", STOOQS_OWN)))
    assert (bulk.name, bulk.synthetic) == ("stooq_bulk", False)
    assert bulk.serves(Instrument("BRK.B"))
    assert not bulk.serves(Instrument("MSFT"))
    assert bulk.serves(Instrument("XYZ", tickers={"stooq": "aapl.us"}))
    assert bulk.fetch(Instrument("BRK.B"), REQUEST).body == ascii_file("BRK-B.US")


@pytest.mark.parametrize("days", [("20210119", "20210120", "20210121"), ("20210121", "20210120", "20210119")])
def test_a_fetch_answers_as_far_as_the_last_bar_reaches(opened, days):
    body = ascii_file("AAPL.US", *days)
    now = datetime(2026, 2, 1, 12, tzinfo=UTC)
    bulk = StooqBulk(opened(make("zip", {f"{NASDAQ}/aapl.us.txt": body})), clock=lambda: now)
    payload = bulk.fetch(Instrument("AAPL"), REQUEST)
    assert (payload.request.start, payload.request.end) == (REQUEST.start, date(2021, 1, 21))
    assert (payload.body, payload.sha256, payload.fetched_at) == (body, sha256_hex(body), now)
    assert (payload.url, payload.status) == (f"stooq.zip!{NASDAQ}/aapl.us.txt", 200)
    assert len(parse(payload.provider, payload.body, symbol="AAPL").bars) == 3


def test_a_fetch_never_answers_for_more_than_was_asked(opened):
    archive = opened(make("folder", {f"{NASDAQ}/aapl.us.txt": ascii_file("AAPL.US", "20260220")}))
    assert StooqBulk(archive).fetch(Instrument("AAPL"), REQUEST).request == REQUEST


def test_a_member_that_points_outside_is_read_and_written_nowhere(opened, tmp_path):
    (tmp_path / "inner").mkdir()
    os.chdir(tmp_path / "inner")
    path = make("zip", {"../../evil.txt": ascii_file("EVIL.US"), "/abs.txt": ascii_file("ABS.US")})
    before = set(tmp_path.parent.rglob("*"))
    archive = opened(path, Path("index"))
    assert archive.read("evil.us")[1] == ascii_file("EVIL.US")
    assert archive.read("abs.us")[1] == ascii_file("ABS.US")
    made = {file.relative_to(tmp_path).parts[:2] for file in set(tmp_path.parent.rglob("*")) - before}
    assert made == {("inner", "index")}


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04", ascii_file()])
def test_a_file_that_is_no_zip_is_refused_by_name(content):
    Path("stooq.zip").write_bytes(content)
    with pytest.raises(ArchiveError, match=r"^stooq\.zip: cannot be opened as a zip: "):
        StooqArchive(Path("stooq.zip"))


def test_a_path_that_is_not_there_is_refused_with_what_would_do():
    with pytest.raises(
        ArchiveError, match=r"^missing\.zip: no such archive; give a folder or zip of Stooq's bulk ASCII"
    ):
        StooqArchive(Path("missing.zip"))


@KINDS
def test_an_archive_without_a_daily_file_is_refused_with_what_was_looked_for(kind):
    path = make(kind, {"hour.txt": ascii_file(per="60"), "readme.txt": b"hi", "a.png": b""})
    with pytest.raises(ArchiveError, match=r"none of its 2 files is a daily Stooq ASCII file \(first line <TICKER>,"):
        StooqArchive(path)


def test_a_zip_cut_anywhere_is_refused():
    whole = make("zip", STOOQS_OWN).read_bytes()
    for size in range(0, len(whole), 7):
        Path("cut.zip").write_bytes(whole[:size])
        with pytest.raises(ArchiveError, match=r"^cut\.zip: cannot be opened as a zip: "):
            StooqArchive(Path("cut.zip"))


def test_any_altered_byte_of_a_zip_gives_the_right_bytes_or_an_error_with_a_name():
    path = make("zip", files := {f"{NASDAQ}/aapl.us.txt": ascii_file("AAPL.US"), "tesla.asc": ascii_file("TSLA.US")})
    whole, outcomes = path.read_bytes(), []
    for place in range(len(whole)):
        flipped = whole[place] ^ (0x44 if place % 2 else 0x01)
        path.write_bytes(whole[:place] + bytes([flipped]) + whole[place + 1 :])
        try:
            with closing(StooqArchive(path)) as archive:
                read = [archive.read(ticker)[1] for ticker in ("aapl.us", "tsla.us")]
                outcomes.append(read == list(files.values()))
        except (ArchiveError, BadPayload, UnknownSymbol) as error:
            outcomes.append(type(error))
    assert set(outcomes) == {True, ArchiveError, BadPayload, UnknownSymbol}


def test_an_encrypted_member_is_refused_by_name_and_spares_the_others(opened):
    path = make("zip", STOOQS_OWN)
    content = bytearray(path.read_bytes())
    content[6] |= 1  # the first member's flags, in its own header and in the directory
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    archive = opened(path)
    with pytest.raises(BadPayload, match=re.escape(f"stooq.zip: cannot read {NASDAQ}/aapl.us.txt: ") + ".*encrypted"):
        archive.read("aapl.us")
    assert archive.read("brk-b.us")[1] == ascii_file("BRK-B.US")


def test_a_file_that_vanished_since_is_refused_by_name(opened):
    archive = opened(path := make("folder", STOOQS_OWN))
    (path / NASDAQ / "aapl.us.txt").unlink()
    with pytest.raises(BadPayload, match=rf"^stooq: cannot read {NASDAQ}/aapl\.us\.txt: "):
        archive.read("aapl.us")
