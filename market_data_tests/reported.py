"""A store whose validation report is known row by row, and the report of it."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from functools import cache
from pathlib import Path

import duckdb

from market_data.clock import SandboxClock
from market_data.ingest.raw_store import RawStore
from market_data.providers.base import sha256_hex
from market_data.records import FetchRequest, Outcome, RawPayload, StoredPayload
from market_data.report.validation.collect import collect
from market_data.report.validation.document import ReportDocument
from market_data.settings import Settings
from market_data.warehouse.batch import write_batch
from market_data.warehouse.connection import Database
from market_data.warehouse.store import record_audit, record_coverage
from market_data_tests.bars import DAYS, at, audit, batch, findings, naive, new_database, prices, verdicts
from market_data_tests.stored_prices import put_action, put_bar, put_told

FIRST, LAST = date(2021, 1, 19), date(2021, 1, 25)
DATES = tuple(date.fromisoformat(day) for day in DAYS)
NOW = at(2, day="2021-01-26")
CAME = at(1, day="2021-01-26")

UNIVERSE = """symbol,name,exchange,listed_from,listed_by,delisted_on
AAPL,Apple Inc.,XNAS,1980-12-12,,
IBM,International Business Machines,XNYS,1962-01-02,,
KO,Coca-Cola,XNYS,1962-01-02,,
LATE,"=HYPERLINK(""http://x.test"")",XNYS,2021-01-21,,
MSFT,Microsoft,XNAS,1986-03-13,,
NEVER,Nobody asked for it,XNYS,2000-01-03,,
"""


def sent(settings: Settings, symbol: str, provider: str, came: datetime = CAME) -> StoredPayload:
    """An answer whose bytes are in the raw store."""
    body = f"{symbol} {provider} {came}".encode()
    request = FetchRequest(symbol, FIRST, LAST)
    raw = RawPayload(provider, request, body, sha256_hex(body), "https://example.test", 200, None, came, elapsed_ms=40)
    return RawStore(settings.raw_folder(synthetic=True)).put(raw)


def fill(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    """AAPL whole, with a split and one bar restated; MSFT flagged and missing; IBM rejected; KO and LATE unanswered."""
    connection.execute("INSERT INTO store_kind VALUES (true)")
    _put_aapl(connection, settings)
    answer = sent(settings, "MSFT", "yahoo")
    record_coverage(connection, answer, job_id="job", verdict="accepted")
    quality = verdicts(
        *((day, "accepted", 1.0, "") for day in DAYS[:3]),
        (DAYS[3], "flagged", 0.7, "stale_run"),
        (DAYS[4], "missing", 0.0, "missing_session"),
    )
    found = findings(
        (DAYS[3], "stale_run", "warning", "close", 5.0, 5.0, "close 10.5 on 5 sessions [running]"),
        (DAYS[4], "missing_session", "warning", "", None, None, "no bar for the session"),
        ("2020-12-31", "stale_run", "warning", "close", 5.0, 5.0, "before the span"),
    )
    write_batch(connection, batch(prices(DAYS[:4]), stored=answer, quality=quality, found=found, now=CAME))
    _put_ibm(connection, settings)
    for symbol in ("KO", "LATE"):
        record_coverage(connection, sent(settings, symbol, "polygon"), job_id="job", verdict="no_data")
    connection.execute(
        "INSERT INTO gaps VALUES ('MSFT', ?, 'missing', 'known', 'nobody has it', 3, ?, ?, NULL, NULL, NULL, 'a-b')",
        [DAYS[4], naive(), naive()],
    )
    connection.execute(
        "INSERT INTO gaps VALUES ('IBM', ?, 'rejected', 'open', 'the batch was refused', 1, ?, ?, ?, NULL, NULL, "
        "'a-b')",
        [DAYS[0], naive(), naive(), naive(6, day="2021-01-26")],
    )
    for job, kind, ended in (("j1", "backfill", naive(day="2021-01-26")), ("j2", "amend", naive(day="2021-02-01"))):
        connection.execute(
            "INSERT INTO ingestion_jobs VALUES (?, ?, ?, ?, '[]', 'vendors', true, ?, ?)",
            [job, kind, FIRST, LAST, naive(), ended],
        )


def _put_aapl(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    answer = sent(settings, "AAPL", "polygon")
    record_coverage(connection, answer, job_id="job", verdict="accepted")
    quality = verdicts(*((day, "accepted", 1.0, "") for day in DAYS))
    closes = [10.5, 10.5, 10.5, 5.25, 5.25]
    write_batch(connection, batch(prices(close=closes, low=5.0), stored=answer, quality=quality, now=CAME))
    known = naive(1, day="2021-01-26")
    put_bar(
        connection, "AAPL", DAYS[1], 10.0, source_provider="yahoo", known_at=naive(day="2021-01-25"), replaced_at=known
    )
    put_action(connection, "AAPL", DAYS[3], "split", 2.0, source_provider="polygon", also_told_by="yahoo")
    put_action(connection, "AAPL", "2021-02-05", "dividend", 0.2)
    put_told(connection, "AAPL", "2021-01-01", "2021-01-31", pulled_at=known)
    for day, verdict, other in zip(
        DAYS[:3], ("agree", "price_differs", "one_missing"), (10.5, 10.4, None), strict=True
    ):
        connection.execute(
            "INSERT INTO reconciliations VALUES ('AAPL', ?, 'polygon', 'yahoo', ?, 'close', 10.5, ?, 0.01, NULL, 'a', "
            "'b', ?)",
            [day, verdict, other, known],
        )


def _put_ibm(connection: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    refused = "1 bar with a negative price (first 2021-01-19, low -3); none is allowed"
    for number, provider in enumerate(("polygon", "polygon", "yahoo")):
        answer = sent(settings, "IBM", provider, CAME.replace(minute=number))
        record_coverage(connection, answer, job_id="job", verdict="rejected")
        found = findings(
            (None, "negative_price", "error", "low", -3.0, 0.0, refused),
            (DAYS[0], "negative_price", "error", "low", -3.0, 0.0, "low below zero, lowest -3"),
        )
        quality = verdicts(*((day, "rejected", 0.0, "negative_price") for day in DAYS))
        write_batch(connection, batch(prices(()), stored=answer, quality=quality, found=found, now=answer.fetched_at))
    record_audit(
        connection, [audit("IBM", outcome=Outcome.REJECTED, reason=refused, rule="negative_price", finished_at=CAME)]
    )


def new_store(folder: Path) -> Settings:
    """Settings of an empty synthetic store whose clock stands in the night after the span."""
    universe = folder / "universe.csv"
    universe.write_text(UNIVERSE)
    settings = Settings(runtime=folder / "runtime", universe=universe, source="sandbox")
    settings.runtime.mkdir()
    new_database(settings.database_for(synthetic=True))
    SandboxClock(settings.sandbox_clock_file).set(NOW, rate=0)
    return settings


def clock() -> datetime:
    return NOW


@cache
def known_store() -> Settings:
    """The known store, made once for every test of reports; nothing changes its database."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    settings = new_store(folder)
    with Database(settings.database_for(synthetic=True)).writing() as connection:
        fill(connection, settings)
    return settings


@cache
def known_report() -> ReportDocument:
    """The report of it, with series."""
    return collected(known_store(), series=True)


def collected(settings: Settings, start: date = FIRST, end: date = LAST, **more) -> ReportDocument:
    given = {"synthetic": True, "start": start, "end": end, "clock": clock} | more
    return collect(settings, **given)


@contextmanager
def changed(store: Settings, tmp_path: Path) -> Iterator[tuple[Settings, duckdb.DuckDBPyConnection]]:
    """A copy of the store to write to; its raw payloads are those of the first."""
    settings = store.model_copy(update={"database": tmp_path / "copy.duckdb"})
    settings.database.write_bytes(store.database_for(synthetic=True).read_bytes())
    with Database(settings.database).writing() as connection:
        yield settings, connection
