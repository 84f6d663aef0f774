from __future__ import annotations

import hashlib
import json
import os
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data.errors import RawStoreError
from market_data.ingest.raw_store import RawStore
from market_data.records import FetchRequest, RawPayload, StoredPayload

BODY = b"Date,Open,High,Low,Close,Volume\r\n" + b"2021-01-19,127.78,128.71,126.938,127.83,90757329\r\n" * 40


def payload(body: bytes = BODY, symbol: str = "AAPL", **changes) -> RawPayload:
    made = RawPayload(
        provider="stooq",
        request=FetchRequest(symbol, date(2021, 1, 19), date(2026, 1, 16)),
        body=body,
        sha256=hashlib.sha256(body).hexdigest(),
        url="https://stooq.com/q/d/l/?s=aapl.us",
        status=200,
        content_type="text/csv",
        fetched_at=datetime(2026, 2, 3, 22, 15, 0, 123456, tzinfo=UTC),
        attempts=2,
        elapsed_ms=12.34567,
    )
    return replace(made, **changes)


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def store(tmp_path) -> RawStore:
    return RawStore(tmp_path / "raw")


def test_the_bytes_come_back_as_they_were(store):
    stored = store.put(payload())
    assert store.get(stored.sha256) == BODY


def test_what_is_kept_about_a_request_is_what_the_payload_said(store):
    made = payload()
    stored = store.put(made)
    assert stored == StoredPayload(
        request_id=stored.request_id,
        provider="stooq",
        request=made.request,
        sha256=made.sha256,
        url=made.url,
        status=200,
        content_type="text/csv",
        fetched_at=made.fetched_at,
        attempts=2,
        elapsed_ms=12.346,
        size=len(BODY),
    )
    assert len(stored.request_id) == 16
    assert set(stored.request_id) <= set("0123456789abcdef")
    assert list(store.stored()) == [stored]


def test_bytes_and_request_lie_where_the_hash_says(store):
    stored = store.put(payload())
    start = f"{stored.sha256[:2]}/{stored.sha256}"
    assert files(store.folder) == [f"{start}.{stored.request_id}.json", f"{start}.zst"]
    document = json.loads((store.folder / f"{start}.{stored.request_id}.json").read_text())
    assert (document["symbol"], document["start"], document["end"]) == ("AAPL", "2021-01-19", "2026-01-16")
    assert document["fetched_at"] == "2026-02-03T22:15:00.123456+00:00"


def test_the_bytes_are_kept_compressed(store):
    stored = store.put(payload())
    assert next(store.folder.glob("*/*.zst")).stat().st_size < stored.size / 5


def test_a_payload_put_twice_is_kept_once_and_left_alone(store):
    first = store.put(payload())
    for path in store.folder.glob("*/*"):
        os.utime(path, (1, 1))
    assert store.put(payload()) == first
    assert [path.stat().st_mtime for path in store.folder.glob("*/*")] == [1.0, 1.0]


def test_one_body_for_two_requests_is_kept_once_with_a_request_file_each(store):
    stored = [store.put(payload(b"No data", symbol)) for symbol in ("AAPL", "MSFT")]
    assert stored[0].sha256 == stored[1].sha256
    assert len({item.request_id for item in stored}) == 2
    assert [name.rsplit(".", 1)[1] for name in files(store.folder)] == ["json", "json", "zst"]
    assert {item.request.symbol for item in store.stored()} == {"AAPL", "MSFT"}


@pytest.mark.parametrize(
    "changes",
    [
        {"provider": "sandbox"},
        {"request": FetchRequest("AAPL", date(2021, 1, 20), date(2026, 1, 16))},
        {"request": FetchRequest("AAPL", date(2021, 1, 19), date(2026, 1, 15))},
        {"request": FetchRequest("AAPL", date(2021, 1, 19), date(2026, 1, 16), "1m")},
        {"fetched_at": datetime(2026, 2, 4, tzinfo=UTC)},
    ],
)
def test_another_question_or_another_time_is_another_request(store, changes):
    assert store.put(payload()).request_id != store.put(payload(**changes)).request_id
    assert len(store.request_ids()) == 2


def test_requests_already_known_are_passed_over_without_being_read(store):
    known, other = store.put(payload(symbol="AAPL")), store.put(payload(symbol="MSFT"))
    next(store.folder.glob(f"*/*.{known.request_id}.json")).write_text("garbage")
    assert list(store.stored(skip={known.request_id})) == [other]
    assert store.request_ids() == {known.request_id, other.request_id}


def test_an_empty_store_holds_nothing_and_makes_no_folder(store):
    assert (list(store.stored()), store.request_ids(), store.folder.exists()) == ([], set(), False)


def test_a_missing_payload_is_told_with_its_hash_and_file(store):
    stored = store.put(payload())
    file = next(store.folder.glob("*/*.zst"))
    file.unlink()
    with pytest.raises(RawStoreError) as caught:
        store.get(stored.sha256)
    assert str(caught.value) == f"raw store: payload {stored.sha256} is missing ({file})"


def test_a_payload_replaced_by_another_is_told_as_altered(store):
    first, second = store.put(payload()), store.put(payload(b"No data"))
    one, other = (store.folder / item.sha256[:2] / f"{item.sha256}.zst" for item in (first, second))
    one.write_bytes(other.read_bytes())
    with pytest.raises(RawStoreError) as caught:
        store.get(first.sha256)
    assert str(caught.value) == (f"raw store: payload {first.sha256} was altered: its bytes hash to {second.sha256}")


@pytest.mark.parametrize("flipped", [0x01, 0x80, 0xFF])
def test_no_altered_byte_goes_unnoticed(store, flipped):
    stored = store.put(payload())
    file = next(store.folder.glob("*/*.zst"))
    whole = file.read_bytes()
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ flipped]) + whole[place + 1 :])
        try:
            body = store.get(stored.sha256)
        except RawStoreError as error:
            body = stored.sha256 in str(error) and BODY
        assert body == BODY, place


def test_a_payload_cut_anywhere_is_told(store):
    stored = store.put(payload())
    file = next(store.folder.glob("*/*.zst"))
    whole = file.read_bytes()
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        with pytest.raises(RawStoreError, match=f"payload {stored.sha256} cannot be read"):
            store.get(stored.sha256)


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", "5", "null", '"x"', '{"symbol": 1, "start": 2}'])
def test_a_request_file_that_cannot_be_read_is_told_by_name(store, content):
    store.put(payload())
    file = next(store.folder.glob("*/*.json"))
    file.write_text(content)
    with pytest.raises(RawStoreError, match=f"^raw store: {file} cannot be read: "):
        list(store.stored())


def test_leftovers_of_an_interrupted_put_are_not_taken_for_payloads(store):
    stored = store.put(payload())
    folder = store.folder / stored.sha256[:2]
    (folder / f"{stored.sha256}.zst.1.2.part").write_bytes(b"half")
    (folder / f"{stored.sha256}.0123456789abcdef.json.1.2.part").write_bytes(b"half")
    assert list(store.stored()) == [stored]
    assert store.request_ids() == {stored.request_id}
    assert store.get(stored.sha256) == BODY


def test_a_put_that_stopped_after_the_bytes_is_finished_by_the_next_one(store):
    stored = store.put(payload())
    next(store.folder.glob("*/*.json")).unlink()
    assert list(store.stored()) == []
    assert store.put(payload()) == stored
    assert list(store.stored()) == [stored]


def test_synthetic_payloads_in_the_folder_below_are_not_taken_for_real_ones(store):
    RawStore(store.folder / "synthetic").put(payload(provider="sandbox"))
    assert list(store.stored()) == []
    real = store.put(payload())
    assert list(store.stored()) == [real]


def test_puts_from_many_threads_keep_every_request_and_every_body(store):
    bodies = [b"No data", BODY, b"", b"x" * 100_000]
    made = [payload(bodies[n % 4], f"X{n // 2}") for n in range(64)]
    with ThreadPoolExecutor(8) as pool:
        stored = list(pool.map(store.put, made))
    assert sorted(store.stored(), key=lambda item: item.request_id) == sorted(
        {item.request_id: item for item in stored}.values(), key=lambda item: item.request_id
    )
    assert [store.get(item.sha256) for item in stored] == [item.body for item in made]
    assert len([name for name in files(store.folder) if name.endswith(".zst")]) == 4
    assert not [name for name in files(store.folder) if name.endswith(".part")]


def test_the_same_payload_put_by_threads_at_the_same_moment_is_kept_once_and_whole(store):
    for n in range(8):
        together = threading.Barrier(8)
        made = payload(hashlib.shake_256(b"%d" % n).digest(1_000_000))

        def put(together=together, made=made):
            together.wait()
            return store.put(made)

        with ThreadPoolExecutor(8) as pool:
            stored = {future.result() for future in [pool.submit(put) for _ in range(8)]}
        assert [store.get(item.sha256) for item in stored] == [made.body]
    assert len(files(store.folder)) == 16


INSTANTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds


@settings(max_examples=40)
@given(
    st.binary(max_size=3000) | st.binary(max_size=20).map(lambda part: part * 2000),
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.none() | st.text(st.characters(codec="utf-8"), max_size=12),
    INSTANTS,
    st.integers(0, 10**6),
)
def test_whatever_is_put_comes_back_from_another_store_over_the_folder(body, text, content_type, fetched_at, number):
    with tempfile.TemporaryDirectory() as folder:
        request = FetchRequest(text, fetched_at.date(), fetched_at.date() + timedelta(days=3), "1d")
        made = payload(
            body,
            request=request,
            url=text,
            content_type=content_type,
            fetched_at=fetched_at,
            attempts=number,
            elapsed_ms=number / 7,
        )
        stored = RawStore(Path(folder)).put(made)
        again = RawStore(Path(folder))
        assert list(again.stored()) == [stored]
        assert again.get(stored.sha256) == body
        assert (stored.request, stored.fetched_at, stored.size) == (request, fetched_at, len(body))
