from __future__ import annotations

import zipfile
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from market_data.errors import RawStoreError
from market_data.ingest.intraday.packs import Asked, Poll, PollPacks
from market_data.providers.base import sha256_hex
from market_data.records import FetchRequest, RawPayload

SESSION = date(2026, 1, 20)
AT = datetime(2026, 1, 20, 15, 0, 30, tzinfo=UTC)


def asked(symbol: str, body: bytes = b"{}", **changed) -> Asked:
    request = FetchRequest(symbol, SESSION, SESSION, "1m", since=AT)
    payload = RawPayload(
        provider="polygon",
        request=request,
        body=body,
        sha256=sha256_hex(body),
        url=f"https://live.test/{symbol}",
        status=200,
        content_type="application/json",
        fetched_at=AT,
        attempts=2,
        elapsed_ms=12.5,
    )
    return Asked("polygon", request, payload, 2, **changed)


def poll(*requests: Asked, at: datetime = AT) -> Poll:
    return Poll(SESSION, at, "job", requests, {"ZZZ": "no vendor"}, skipped=3)


def test_a_poll_is_read_back_as_it_was_kept():
    failed = Asked("yahoo", FetchRequest("CCC", SESSION, SESSION, "1m"), None, 1, "Transient", "no answer")
    kept = poll(asked("AAA", b"one"), asked("BBB", b"one"), asked("DDD", b"two", error="RateLimited"), failed)
    packs = PollPacks(Path("raw"))
    name = packs.put(kept)
    assert name == "2026-01-20/20260120T150030.000000Z_job.zip"
    assert packs.get(name) == kept
    assert sorted(packs.hashes()) == sorted({sha256_hex(b"one"), sha256_hex(b"two")})


def test_packs_of_a_session_come_oldest_first_and_leave_no_part_behind():
    packs = PollPacks(Path("raw"))
    names = [packs.put(poll(asked("AAA"), at=AT.replace(minute=minute))) for minute in (2, 0, 1)]
    assert packs.names(SESSION) == sorted(names)
    assert packs.names(date(2026, 1, 21)) == []
    assert packs.sessions() == [SESSION]
    assert {path.suffix for path in Path("raw").rglob("*") if path.is_file()} == {".zip"}


def altered(file: Path) -> None:
    with zipfile.ZipFile(file) as pack:
        members = {name: pack.read(name) for name in pack.namelist()}
    with zipfile.ZipFile(file, "w") as pack:
        for name, content in members.items():
            pack.writestr(name, content.replace(b"one", b"two"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (Path.unlink, "is missing"),
        (altered, "was altered: its bytes hash to"),
        (lambda file: file.write_bytes(file.read_bytes()[:-30]), "cannot be read"),
        (lambda file: file.write_bytes(b"no zip"), "cannot be read"),
    ],
    ids=["gone", "altered", "cut", "another"],
)
def test_a_pack_that_is_not_whole_is_named(damage, message):
    packs = PollPacks(Path("raw"))
    name = packs.put(poll(asked("AAA", b"one")))
    damage(packs.folder / name)
    sound = packs.put(poll(asked("BBB", b"other"), at=AT.replace(minute=5)))
    with pytest.raises(RawStoreError, match=message) as error:
        packs.get(name)
    assert name in str(error.value)
    hashes, damaged = packs.checked()
    assert hashes == {sha256_hex(b"other")}
    assert damaged == ({} if message == "is missing" else {name: str(error.value)})
    assert packs.names(SESSION)[-1] == sound
