from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
import typer
from click.testing import Result
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from typer.testing import CliRunner

from market_data.cli.intraday_backfill import intraday
from market_data.corporate_actions import Told
from market_data.errors import SettingsError
from market_data.ingest.minutes.backfill import IntradayBackfill, IntradayRequest
from market_data.ingest.minutes.basis import minutes_as_stored
from market_data.ingest.minutes.due import minute_tasks
from market_data.ingest.minutes.replay import replay_minutes
from market_data.ingest.minutes.sources import intraday_archive
from market_data.ingest.minutes.unit import settled_sessions
from market_data.ingest.raw_store import RawStore
from market_data.ingest.sources import Source
from market_data.instruments import Instrument, Universe
from market_data.providers.catalogue import SANDBOX_FILE
from market_data.records import Basis, FetchRequest, Outcome, ParsedBars, StoredPayload
from market_data.sandbox.faults import Fault
from market_data.sandbox.market import SyntheticMarket
from market_data.sessions import session_hours, sessions_between
from market_data.settings import Settings
from market_data.validation import Thresholds
from market_data.validation.frames import FINDING_COLUMNS
from market_data.validation.minutes import INTRADAY_RULES, validate_minutes
from market_data.warehouse.actions import record_actions
from market_data.warehouse.comparison import compare_databases
from market_data.warehouse.connection import Database
from market_data.warehouse.store import transaction
from market_data_tests.test_renamed_backfill import Renamed
from market_data_tests.test_stooq_intraday import ascii_lines, longer, minutes, write_intraday
from market_data_tests.vendors import END, Vendors, symbols, universe

MARCH = date(2024, 3, 18)
SESSIONS, BARS = 9, 9 * 390
LATE = date(2024, 3, 27)
SUMMER = (date(2024, 7, 1), date(2024, 7, 5))
LIMITS = Thresholds()


def run(vendors: Vendors, job_id: str = "job", start: date = MARCH, end: date = END, **more):
    with vendors.source() as source:
        return over(vendors, source).run(IntradayRequest(vendors.names, start, end, job_id, **more))


def over(vendors: Vendors, source: Source) -> IntradayBackfill:
    return IntradayBackfill(settings=vendors.settings, universe=vendors.universe, source=source, stop=vendors.stop)


def stored(vendors: Vendors) -> list[tuple]:
    return vendors.rows(
        "SELECT symbol, datetime, open, high, low, close, volume FROM price_history_intraday ORDER BY symbol, datetime"
    )


def providers_file(path: Path, **changes: str) -> Path:
    """The sandbox's vendors, with other plans: of those named here alone."""
    text = SANDBOX_FILE.read_text(encoding="utf-8")
    blocks = {block.split(":")[0]: block for block in text.split("\n\n") if not block.startswith("#")}
    kept = [blocks[name].split("    sandbox: {")[0] + f"    sandbox: {{{plan}}}\n" for name, plan in changes.items()]
    path.write_text("\n".join(kept), encoding="utf-8")
    return path


@pytest.fixture
def vendors(tmp_path: Path) -> Iterator[Vendors]:
    with Vendors(tmp_path / "runtime", symbols(2)) as running:
        yield running


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendors]:
    """A store with two symbols' minutes of nine sessions, brought in by one run."""
    with Vendors(tmp_path_factory.mktemp("filled") / "runtime", symbols(2)) as running:
        run(running)
        yield running


def test_nine_sessions_are_one_call_a_symbol_and_lie_in_regular_hours_as_the_market_had_them(filled):
    assert filled.rows("SELECT symbol, outcome, calls FROM ingestion_audit WHERE job_id = 'job' ORDER BY 1") == [
        ("QAA", "accepted", 1),
        ("QAB", "accepted", 1),
    ]
    due = pd.concat(filled.sandbox.market.minute_bars("QAA", day.date()) for day in sessions_between(MARCH, END))
    held = [row[1:] for row in stored(filled) if row[0] == "QAA"]
    assert [row[0] for row in held] == due["datetime"].dt.tz_localize(None).dt.to_pydatetime().tolist()
    assert [row[4] for row in held] == due["close"].tolist()
    assert filled.rows("SELECT DISTINCT interval, basis, provisional FROM price_history_intraday") == [
        ("1m", "raw", False)
    ]


def test_each_symbol_ends_with_one_record_in_the_table_and_the_same_line_in_the_file(filled):
    file = filled.settings.audit_folder / "intraday_job.jsonl"
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert sorted(line["symbol"] for line in lines) == filled.names
    assert {line["symbol"]: line["rows_inserted"] for line in lines} == dict.fromkeys(filled.names, BARS)
    assert [line["decision"][0]["off_session"] for line in lines] == [0, 0]
    assert (
        filled.rows(
            "SELECT kind, outcome, sessions_expected, sessions_missing FROM ingestion_audit WHERE job_id = 'job'"
        )
        == [("intraday", "accepted", SESSIONS, 0)] * 2
    )
    assert filled.rows("SELECT finished_at IS NOT NULL FROM ingestion_jobs WHERE job_id = 'job'") == [(True,)]


def test_what_is_held_is_not_asked_for_again_and_a_wider_span_asks_for_the_rest_alone(filled):
    before = filled.calls
    again = run(filled, "again")
    assert ({record.outcome for record in again.records}, filled.calls) == ({Outcome.HELD}, before)
    run(filled, "wider", start=date(2024, 3, 13))
    spans = filled.rows("SELECT first_date, last_date FROM coverage WHERE job_id = 'wider' AND outcome = 'answered'")
    assert set(spans) == {(date(2024, 3, 13), date(2024, 3, 15))}


@pytest.mark.parametrize(
    ("vendor", "plan", "start", "windows"),
    [
        ("polygon", "", "2024-02-01", ["2024-02-01 2024-03-21", "2024-03-22 2024-03-28"]),
        ("alpha_vantage", "", "2024-02-27", ["2024-02-27 2024-02-29", "2024-03-01 2024-03-28"]),
        ("yahoo", "intraday_reach_days: 15", "2024-03-01", ["2024-03-18 2024-03-25", "2024-03-26 2024-03-28"]),
    ],
)
def test_windows_are_as_wide_as_each_vendor_takes(tmp_path, vendor, plan, start, windows):
    file = providers_file(tmp_path / "p.yaml", **{vendor: plan})
    with Vendors(tmp_path / "runtime", symbols(1), sandbox_providers=file) as alone:
        (record,) = run(alone, start=date.fromisoformat(start)).records
        assert record.outcome == Outcome.ACCEPTED, record.reason
        spans = alone.rows("SELECT first_date, last_date FROM coverage ORDER BY first_date")
        assert [f"{first} {last}" for first, last in spans] == windows
        assert alone.calls == len(windows)


def test_a_vendor_of_tickers_of_the_time_is_asked_for_each_name_by_itself(tmp_path):
    with Renamed(tmp_path / "runtime") as vendors:
        vendors.names = ["META"]
        (record,) = run(vendors, start=date(2024, 2, 1), end=date(2024, 2, 6)).records
        assert (record.outcome, record.calls, record.rows_inserted) == (Outcome.ACCEPTED, 2, 4 * 390)
        assert vendors.rows("SELECT first_date, last_date FROM coverage ORDER BY 1") == [
            (date(2024, 2, 1), date(2024, 2, 4)),
            (date(2024, 2, 5), date(2024, 2, 6)),
        ]
        assert [row[5] for row in stored(vendors)][:390] == (
            vendors.sandbox.market.minute_bars("META", date(2024, 2, 1))["close"].tolist()
        )


def test_sessions_beyond_every_reach_are_named_with_the_reason_and_the_rest_is_brought_in(tmp_path):
    file = providers_file(tmp_path / "p.yaml", polygon="intraday_reach_days: 5", stooq="intraday_reach_days: 0")
    with Vendors(tmp_path / "runtime", symbols(1), sandbox_providers=file) as vendors:
        (record,) = run(vendors).records
        assert (record.outcome, record.sessions_missing) == (Outcome.ACCEPTED, 5)
        assert record.reason == (
            "5 sessions (2024-03-18 to 2024-03-22) not answered: polygon reaches back to 2024-03-23; 2024-03-18 is "
            "wanted; stooq serves no minutes in tier sandbox"
        )
        assert vendors.calls == 1


def test_where_one_vendor_fails_the_next_is_asked_and_the_record_tells_both(tmp_path):
    faults = [Fault("polygon", "server_error"), Fault("yahoo", "html")]
    with Vendors(tmp_path / "runtime", symbols(1), faults=faults) as vendors:
        (record,) = run(vendors, start=LATE).records
        assert (record.outcome, record.provider) == (Outcome.ACCEPTED, "alpha_vantage")
        told = {step["provider"]: step["answer"].split(":")[0] for step in record.decision}
        assert told["alpha_vantage"] == "accepted"
        assert set(told) <= {"polygon", "yahoo", "alpha_vantage"}
        assert len(stored(vendors)) == 2 * 390


def test_where_every_vendor_fails_nothing_is_stored_and_the_same_job_tries_again(tmp_path):
    faults = [Fault(name, "server_error") for name in ("polygon", "yahoo", "alpha_vantage")]
    with Vendors(tmp_path / "runtime", symbols(1), faults=faults) as vendors:
        (record,) = run(vendors, start=LATE).records
        assert (record.outcome, record.outcome.is_good) == (Outcome.FAILED, False)
        assert (stored(vendors), vendors.rows("SELECT DISTINCT outcome FROM coverage")) == ([], [("failed",)])
        vendors.sandbox.replace_faults([])
        vendors.now += timedelta(days=1)
        (record,) = run(vendors, start=LATE).records
        assert record.outcome == Outcome.ACCEPTED
        assert vendors.rows("SELECT outcome FROM ingestion_audit") == [("accepted",)]


def test_an_answer_that_a_died_process_left_in_the_raw_store_is_read_without_a_call(vendors):
    vendors.names = vendors.names[:1]
    instrument = vendors.universe["QAA"]
    with vendors.source() as source:
        provider = next(arm.provider for arm in source.arms if arm.config.name == "polygon")
        payload = provider.fetch(instrument, FetchRequest("QAA", LATE, END, "1m"))
    RawStore(vendors.settings.raw_folder(synthetic=True)).put(payload)
    assert vendors.calls == 1
    (record,) = run(vendors, start=LATE).records
    assert (record.outcome, record.calls, vendors.calls) == (Outcome.ACCEPTED, 0, 1)
    assert record.decision[0]["stored"]
    assert len(stored(vendors)) == 2 * 390
    assert vendors.rows("SELECT verdict FROM coverage") == [("accepted",)]


def test_an_interrupted_run_ends_with_the_windows_in_flight_and_is_taken_up_without_a_second_call(vendors):
    with vendors.source() as source:
        request = IntradayRequest(vendors.names, LATE, END, "job")
        over(vendors, source).run(request, on_record=lambda record: vendors.stop.set())
    done = len(vendors.rows("SELECT symbol FROM ingestion_audit"))
    vendors.stop.clear()
    summary = run(vendors, start=LATE)
    assert len(summary.records) == len(vendors.names) - done
    assert (vendors.calls, len(stored(vendors))) == (2, 2 * 2 * 390)
    assert Counter(row[0] for row in vendors.rows("SELECT symbol FROM ingestion_audit")) == Counter(vendors.names)


def test_answers_with_minutes_are_never_taken_for_daily_bars_nor_these_for_minutes(filled):
    before = filled.calls
    daily = filled.run("daily")
    assert {record.outcome for record in daily.records} == {Outcome.ACCEPTED}
    assert filled.calls - before >= 2
    assert all("stored" not in step for record in daily.records for step in record.decision)
    assert filled.rows(
        "SELECT count(DISTINCT symbol) FROM coverage WHERE interval = '1d' AND verdict = 'accepted'"
    ) == [(2,)]
    run(filled, "earlier", start=date(2024, 3, 12))
    assert filled.rows("SELECT count(*) FROM price_history_intraday WHERE session_date = '2024-03-12'") == [(780,)]


def test_a_session_that_has_just_ended_is_left_for_later(filled):
    close = session_hours(END)[1]
    for minutes_later, due in [(59, 3), (60, 4)]:
        now = close + timedelta(minutes=minutes_later)
        tasks = minute_tasks(None, filled.universe, ["QAA"], (date(2024, 3, 25), END), "1m", now=now)
        assert [len(task.due) for task in tasks] == [due]


def test_a_session_without_bars_counts_as_answered_only_a_day_after_its_close():
    sessions = sessions_between(date(2024, 3, 27), END)
    request, close = FetchRequest("QAA", date(2024, 3, 27), END, "1m"), session_hours(END)[1]
    for hours, with_bars, final in [
        (0.9, {END}, ["2024-03-27"]),
        (1.0, {END}, ["2024-03-27", "2024-03-28"]),
        (23.9, set(), ["2024-03-27"]),
        (24.0, set(), ["2024-03-27", "2024-03-28"]),
    ]:
        answer = StoredPayload(
            request_id="1", provider="polygon", request=request, sha256="1", url="", status=200, content_type=None,
            fetched_at=close + timedelta(hours=hours), attempts=1, elapsed_ms=0.0, size=0,
        )  # fmt: skip
        assert settled_sessions(sessions, answer, with_bars).strftime("%Y-%m-%d").tolist() == final


def test_a_database_made_anew_from_the_payloads_has_the_same_minutes_findings_and_ledger(archived, five, tmp_path):
    frame = five.copy()
    frame.loc[3, "close"] = np.nan
    write_intraday(archived.folder, "AAA", "5m", ascii_lines(frame, "5m").replace(b"nan", b""))
    archived.run("partly")
    archived.put(five)
    archived.now += timedelta(days=1)
    archived.run("wider", span=(date(2024, 6, 28), SUMMER[1]))
    raw_store, live = RawStore(archived.settings.raw_folder(synthetic=False)), Database(archived.database)
    anew = Database(tmp_path / "anew.duckdb")
    anew.prepare()
    with anew.writing() as connection:
        for stored in sorted(raw_store.stored(), key=lambda item: item.fetched_at):
            replay_minutes(
                connection, raw_store, archived.universe, stored, thresholds=LIMITS, synthetic=False, job_id="rebuild"
            )
    differences = {item.table: item for item in compare_databases(live, anew.path)}
    for table in ("price_history_intraday", "quality_findings", "coverage"):
        assert differences[table].rows
        assert differences[table].is_none, differences[table].examples


# An archive ----------------------------------------------------------------------------------------------------------


class Archived:
    """A real store in a folder, filled from an archive of intraday files."""

    def __init__(self, folder: Path, names: tuple[str, ...] = ("AAA",)) -> None:
        self.folder = folder / "archive"
        self.settings = Settings(runtime=folder / "runtime", archive=self.folder, lock_patience=10)
        self.names = list(names)
        self.universe = Universe(Instrument(name, listed_by=date(2020, 1, 2)) for name in names)
        self.now = datetime(2024, 7, 9, tzinfo=UTC)

    def put(self, frame: pd.DataFrame, interval: str = "5m", symbol: str = "AAA") -> None:
        write_intraday(self.folder, symbol, interval, ascii_lines(frame, interval, ticker=f"{symbol}.US"))

    @contextmanager
    def source(self, interval: str = "5m") -> Iterator[Source]:
        with intraday_archive(self.settings, self.universe, interval, clock=lambda: self.now) as source:
            yield source

    def run(self, job_id: str = "job", interval: str = "5m", span: tuple[date, date] = SUMMER, **more):
        with self.source(interval) as source:
            work = IntradayBackfill(settings=self.settings, universe=self.universe, source=source)
            return work.run(IntradayRequest(self.names, *span, job_id, interval=interval, **more))

    @property
    def database(self) -> Path:
        return self.settings.database_for(synthetic=False)

    def rows(self, query: str) -> list[tuple]:
        with duckdb.connect(str(self.database), read_only=True) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture
def archived(tmp_path: Path) -> Archived:
    return Archived(tmp_path)


@pytest.fixture(scope="module")
def five() -> pd.DataFrame:
    return longer(minutes(*SUMMER), "5m")


def test_five_minute_bars_of_an_archive_without_daily_files_are_brought_in(archived, five):
    archived.put(five)
    (record,) = archived.run().records
    assert (record.outcome, record.sessions_missing) == (Outcome.ACCEPTED, 0)
    rows = archived.rows(
        "SELECT session_date, count(*), min(datetime), max(datetime) FROM price_history_intraday GROUP BY 1 ORDER BY 1"
    )
    assert [row[1] for row in rows] == [78, 78, 42, 78]
    assert rows[2][2:] == (datetime(2024, 7, 3, 13, 30), datetime(2024, 7, 3, 16, 55))  # noqa: DTZ001
    assert archived.rows("SELECT DISTINCT interval, basis, source_provider FROM price_history_intraday") == [
        ("5m", "split_dividend", "stooq_bulk")
    ]
    assert archived.rows("SELECT rule, severity FROM quality_findings") == [("intraday_adjusted_basis", "info")]


def test_hourly_bars_are_stored_from_the_opening_on(archived, five):
    archived.put(longer(minutes(*SUMMER), "1h"), "1h")
    assert archived.run(interval="1h").records[0].outcome == Outcome.ACCEPTED
    rows = archived.rows("SELECT datetime FROM price_history_intraday WHERE session_date = '2024-07-01' ORDER BY 1")
    assert [row[0].strftime("%H:%M") for row in rows] == ["13:30", "14:00", "15:00", "16:00", "17:00", "18:00", "19:00"]


def test_a_file_is_read_once_and_a_longer_one_for_what_is_new_alone(archived, five):
    early = five[five["datetime"].dt.date <= date(2024, 7, 2)]
    archived.put(early)
    first = archived.run("first").records[0]
    assert (first.rows_inserted, first.sessions_missing) == (156, 2)
    archived.put(five)
    archived.now += timedelta(days=1)
    (second,) = archived.run("second").records
    assert (second.outcome, second.rows_inserted, second.sessions_missing) == (Outcome.ACCEPTED, 120, 0)
    assert archived.run("third").records[0].outcome == Outcome.HELD


def test_bars_outside_of_regular_hours_and_few_nulls_are_left_out_and_counted(archived, five):
    early = five.iloc[:3].assign(datetime=five["datetime"].iloc[:3] - pd.Timedelta(hours=1))
    frame = five.copy()
    frame.loc[3, "close"] = np.nan
    body = ascii_lines(pd.concat([early, frame]), "5m").replace(b"nan", b"")
    write_intraday(archived.folder, "AAA", "5m", body)
    (record,) = archived.run().records
    assert (record.outcome, record.rows_received, record.rows_inserted) == (Outcome.ACCEPTED, 279, 275)
    assert (record.decision[0]["off_session"], record.decision[0]["nulls"]) == (3, 1)
    assert record.null_share == pytest.approx(1 / 276)
    assert archived.rows("SELECT rule, date, value FROM quality_findings WHERE value > 0 ORDER BY rule") == [
        ("intraday_null", date(2024, 7, 1), 1.0),
        ("intraday_off_session", date(2024, 7, 1), 3.0),
    ]


@pytest.mark.parametrize(
    ("field", "bad", "rule"),
    [("low", [-1.0], "intraday_negative"), ("close", [np.nan] * 17, "intraday_null")],
)
def test_a_batch_with_a_negative_value_or_too_many_nulls_is_refused_whole_and_not_read_again(
    archived, five, field, bad, rule
):
    frame = five.copy()
    frame.loc[: len(bad) - 1, field] = bad
    body = ascii_lines(frame, "5m").replace(b"nan", b"")
    write_intraday(archived.folder, "AAA", "5m", body)
    (record,) = archived.run().records
    assert (record.outcome, record.rule, record.rows_inserted) == (Outcome.REJECTED, rule, 0)
    assert "first 2024-07-01" in record.reason
    assert archived.rows("SELECT count(*) FROM price_history_intraday") == [(0,)]
    assert archived.rows("SELECT date, message FROM quality_findings WHERE rule = 'intraday_rejected'") == [
        (date(2024, 7, 1), record.reason)
    ]
    if rule == "intraday_null":
        return
    again = archived.run("again").records[0]
    assert (again.outcome, again.calls, again.reason) == (
        Outcome.REJECTED,
        0,
        "rejected before; --retry-rejected asks for it anew",
    )
    archived.put(five)
    archived.now += timedelta(days=1)
    assert archived.run("mended", retry_rejected=True).records[0].outcome == Outcome.ACCEPTED


def test_sessions_the_archive_lacks_fail_with_what_it_holds(archived, five):
    archived.put(five)
    assert archived.run("some", span=(date(2024, 6, 27), SUMMER[1])).records[0].reason == (
        "2 sessions (2024-06-27 to 2024-06-28) not answered: no provider has them"
    )
    (record,) = archived.run(span=(date(2024, 6, 3), date(2024, 6, 28))).records
    assert record.outcome == Outcome.FAILED
    assert record.reason == (
        "OutOfWindow: AAA: the archive holds 5m bars of 2024-07-01 to 2024-07-05, none of 2024-06-03 to 2024-06-28; "
        "download a newer archive, or ask another provider"
    )


def test_intervals_and_spans_that_cannot_be_are_refused_before_anything_is_written(archived, five, vendors):
    archived.put(five)
    with archived.source() as source, pytest.raises(SettingsError, match=r"^start 2024-07-05 is after end 2024-07-01"):
        IntradayBackfill(settings=archived.settings, universe=archived.universe, source=source).run(
            IntradayRequest(["AAA"], SUMMER[1], SUMMER[0], "job", interval="5m")
        )
    for interval in ("1m", "7m"):
        with pytest.raises(SettingsError, match=f"interval '{interval}' is not to be had from stooq_bulk; 5m, 1h are"):
            archived.run(interval=interval)
    with pytest.raises(SettingsError, match=r"interval '1h' is not to be had from sandbox; 1m, 5m, 15m, 30m are"):
        run(vendors, interval="1h")
    with pytest.raises(SettingsError, match="is outside the known XNYS calendar"):
        archived.run(span=(date(1980, 1, 2), SUMMER[1]))
    assert not archived.database.exists()


def known(actions: pd.DataFrame) -> pd.DataFrame:
    """Actions as the warehouse gives them, known before the answer came."""
    return actions.assign(known_at=pd.Series(pd.Timestamp(2024, 1, 1), index=actions.index, dtype="datetime64[us]"))


# Basis ---------------------------------------------------------------------------------------------------------------

ADJUSTED = [  # seed, symbol, dates around an action: a dividend, a split, both after the first of them
    (1, "QBE", Basis.SPLIT, "2024-04-03", "2024-04-10"),
    (3, "QAS", Basis.SPLIT, "2024-02-20", "2024-02-27"),
    (3, "QAS", Basis.SPLIT_DIVIDEND, "2024-02-20", "2024-03-06"),
]


def answer(market: SyntheticMarket, symbol: str, basis: Basis, start: date, end: date) -> tuple:
    """Raw minutes of a span, and an answer that sends them adjusted up to its end."""
    days = [day.date() for day in sessions_between(start, end)]
    frames = [pd.concat([market.minute_bars(symbol, day, kind) for day in days]) for kind in (Basis.RAW, basis)]
    raw, sent = (frame.assign(vwap=np.nan, trade_count=np.nan).reset_index(drop=True) for frame in frames)
    sessions = sent["datetime"].dt.tz_convert("America/New_York").dt.normalize().dt.tz_localize(None)
    sent["session_date"] = sessions.astype("datetime64[s]")
    as_of = datetime.combine(end, datetime.min.time(), UTC)
    told = ParsedBars(sent.drop(columns="session_date"), market.actions(symbol).iloc[:0], basis, as_of)
    kept = StoredPayload(
        request_id="0", provider="stooq_bulk" if basis is Basis.SPLIT_DIVIDEND else "yahoo", sha256="0", url="",
        request=FetchRequest(symbol, start, end, "1m"), status=200, content_type=None, fetched_at=as_of, attempts=1,
        elapsed_ms=0.0, size=0,
    )  # fmt: skip
    return raw, sent, told, kept


@pytest.mark.parametrize(("seed", "symbol", "basis", "start", "end"), ADJUSTED)
def test_adjusted_minutes_become_those_that_were_traded_where_the_actions_are_told(seed, symbol, basis, start, end):
    first, last = date.fromisoformat(start), date.fromisoformat(end)
    market = SyntheticMarket(universe(symbols(40)), start=date(2024, 1, 2), end=last, seed=seed)
    raw, sent, told, kept = answer(market, symbol, basis, first, last)
    actions = market.actions(symbol)
    assert len(actions[actions["date"].between(pd.Timestamp(first), pd.Timestamp(last))])
    spans = pd.DataFrame({"kind": ["split", "dividend"], "first_date": [date(2020, 1, 1)] * 2, "last_date": [last] * 2})
    stays = minutes_as_stored(sent, told, kept, known(actions), spans)
    assert (stays.basis, stays.adjusted_as_of, stays.why_not) == (Basis.RAW, None, None)
    for name in ("open", "high", "low", "close"):
        # Six significant digits were sent; of a price below 100 dollars that is less than a cent.
        np.testing.assert_allclose(stays.bars[name], raw[name], atol=0.005, rtol=2e-5)
    np.testing.assert_allclose(stays.bars["volume"], raw["volume"], atol=12, rtol=2e-3)
    unmoved = (sent["close"] == raw["close"]).to_numpy()
    assert unmoved.any()
    assert not unmoved.all()


def test_minutes_whose_actions_nobody_told_of_stay_as_they_were_sent_with_the_reason():
    market = SyntheticMarket(universe(symbols(40)), start=date(2024, 1, 2), end=date(2024, 2, 27), seed=3)
    _, sent, told, kept = answer(market, "QAS", Basis.SPLIT, date(2024, 2, 20), date(2024, 2, 27))
    nothing = pd.DataFrame({"kind": [], "first_date": [], "last_date": []})
    stays = minutes_as_stored(sent, told, kept, known(market.actions("QAS").iloc[:0]), nothing)
    assert (stays.basis, stays.adjusted_as_of) == (Basis.SPLIT, told.adjusted_as_of)
    assert "not every one of the splits of 2024-02-21 to 2024-02-27 is known" in str(stays.why_not)
    pd.testing.assert_frame_equal(stays.bars, sent)


def test_minutes_stored_as_sent_are_turned_to_raw_by_the_next_run_once_the_actions_are_told(archived, five):
    archived.put(five)
    archived.run()
    feed = StoredPayload(
        request_id="1", provider="polygon", sha256="1", url="", status=200, content_type=None, fetched_at=archived.now,
        request=FetchRequest("AAA", date(2020, 1, 1), SUMMER[1], feed="splits"), attempts=1, elapsed_ms=0.0, size=0,
    )  # fmt: skip
    told = [Told(kind, date(2020, 1, 1), SUMMER[1]) for kind in ("split", "dividend")]
    halved = pd.DataFrame({"date": [pd.Timestamp(2024, 7, 3)], "kind": ["split"], "value": [2.0]})
    with Database(archived.database).writing() as connection, transaction(connection):
        record_actions(
            connection, "AAA", feed, halved.astype({"date": "datetime64[s]", "kind": "str"}), told, adjusted_as_of=None
        )
    assert archived.run("again").records[0].outcome == Outcome.HELD
    assert archived.rows("SELECT DISTINCT basis FROM price_history_intraday") == [("raw",)]
    closes = [
        row[0] for row in archived.rows("SELECT last(close ORDER BY datetime) FROM price_history_intraday GROUP BY "
        "session_date ORDER BY session_date")
    ]  # fmt: skip
    sent = five.groupby(five["datetime"].dt.date)["close"].last().to_numpy()
    assert closes == pytest.approx((sent * np.array([2, 2, 1, 1])).tolist())
    assert archived.rows("SELECT rule FROM quality_findings") == []
    assert archived.rows("SELECT count(*), any_value(basis) FROM intraday_revisions") == [(276, "split_dividend")]


# The command ---------------------------------------------------------------------------------------------------------


def command(*arguments: str) -> Result:
    app = typer.Typer()
    app.add_typer(intraday, name="intraday")
    return CliRunner().invoke(app, ["intraday", "backfill", *arguments])


@pytest.fixture
def at_hand(archived: Archived, five: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> Archived:
    """An archive that the command is pointed at, with one of two symbols."""
    archived.put(five)
    Path("universe.csv").write_text("symbol,listed_by\nAAA,2020-01-02\nBBB,2020-01-02\n", encoding="utf-8")
    monkeypatch.setenv("MARKET_DATA_UNIVERSE", "universe.csv")
    monkeypatch.setenv("MARKET_DATA_RUNTIME", str(archived.settings.runtime))
    return archived


SPAN = ("--start", "2024-07-01", "--end", "2024-07-05", "--interval", "5m")


def test_the_command_tells_one_document_and_its_exit_code_says_whether_all_is_well(at_hand):
    done = command(*SPAN, "--archive", str(at_hand.folder), "--symbols", "all", "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert {name: document[name] for name in ("provider", "interval", "rows", "outcomes", "lacking")} == {
        "provider": "stooq_bulk",
        "interval": "5m",
        "rows": 276,
        "outcomes": {"accepted": 1},
        "lacking": ["BBB"],
    }
    lacking = command(*SPAN, "--archive", str(at_hand.folder), "--symbols", "AAA,BBB")
    assert lacking.exit_code == 1
    assert "BBB no_data: stooq_bulk does not serve this instrument" in lacking.stdout


def test_a_dry_run_of_the_command_changes_nothing(at_hand):
    done = command(*SPAN, "--archive", str(at_hand.folder), "--symbols", "AAA", "--dry-run", "--json")
    document = json.loads(done.stdout)
    assert (done.exit_code, document["to_do"], document["sessions"]) == (0, {"AAA": 4}, 4)
    assert not at_hand.settings.runtime.exists()


def test_the_command_wants_symbols_and_an_interval_that_is_there(at_hand):
    for arguments, told in [
        (("--archive", str(at_hand.folder)), "no symbols; give --symbols all"),
        (("--archive", str(at_hand.folder), "--symbols", "all", "--interval", "1m"), "5m, 1h are"),
    ]:
        done = command(*SPAN, *arguments)
        assert isinstance(done.exception, SettingsError)
        assert told in str(done.exception)


# Validation ----------------------------------------------------------------------------------------------------------


def bars_at(instants: list[datetime], **columns: float) -> pd.DataFrame:
    values = {"open": 10.0, "high": 11.0, "low": 9.0, "close": 10.0, "volume": 100.0, "vwap": np.nan}
    values |= {"trade_count": np.nan} | columns
    frame = pd.DataFrame({"datetime": pd.Series(instants, dtype="datetime64[us, UTC]")})
    return frame.assign(**values)


OPENING = datetime(2024, 7, 1, 13, 30, tzinfo=UTC)


def judged(bars: pd.DataFrame, minutes: int = 1):
    return validate_minutes(bars, date(2024, 7, 1), date(2024, 7, 5), minutes, LIMITS)


def test_of_an_instant_given_twice_the_last_is_stored():
    bars = pd.concat([bars_at([OPENING]), bars_at([OPENING], close=10.5)], ignore_index=True)
    verdict = judged(bars)
    assert (verdict.bars["close"].tolist(), verdict.duplicates) == ([10.5], 1)
    assert verdict.findings["rule"].tolist() == ["intraday_duplicate"]


def test_a_jump_within_a_session_is_found_and_one_from_session_to_session_is_not():
    instants = [OPENING, OPENING + timedelta(minutes=1), OPENING + timedelta(days=1)]
    bars = bars_at(instants, high=100.0, low=1.0).assign(close=[10.0, 20.0, 60.0])
    verdict = judged(bars)
    (found,) = verdict.findings.to_dict("records")
    assert (found["rule"], found["date"], found["limit"]) == ("intraday_log_return", pd.Timestamp(2024, 7, 1), 0.5)
    assert found["value"] == pytest.approx(np.log(2))
    assert len(verdict.bars) == 3


def test_the_minutes_of_a_half_day_end_with_its_close():
    late = datetime(2024, 7, 3, 17, tzinfo=UTC)
    verdict = judged(bars_at([late - timedelta(minutes=1), late]))
    assert (verdict.bars["datetime"].tolist(), verdict.off_session) == ([late - timedelta(minutes=1)], 1)


def test_bars_of_no_session_are_off_session_and_those_of_other_dates_are_no_matter():
    verdict = judged(bars_at([datetime(2024, 6, 28, 15, tzinfo=UTC), datetime(2024, 7, 4, 15, tzinfo=UTC)]))
    assert (verdict.rows_received, verdict.off_session, len(verdict.bars), verdict.rejection) == (1, 1, 0, None)


def test_nothing_received_is_nothing_to_refuse():
    verdict = judged(bars_at([]))
    assert (verdict.rejection, verdict.null_share, list(verdict.findings.columns)) == (None, 0.0, list(FINDING_COLUMNS))


VALUES = st.one_of(st.none(), st.sampled_from([-1.0, 0.0]), st.floats(0.01, 1e5))


@examples(max_examples=25)
@given(
    st.lists(st.tuples(st.integers(-3000, 9000), VALUES, VALUES, VALUES), min_size=1, max_size=40),
    st.sampled_from([1, 5, 60]),
)
def test_whatever_comes_what_is_stored_lies_in_regular_hours_once_and_has_prices(rows, length):
    bars = bars_at([OPENING + timedelta(minutes=row[0]) for row in rows])
    for place, name in enumerate(("open", "close", "volume"), start=1):
        bars[name] = np.array([np.nan if row[place] is None else row[place] for row in rows])
    verdict = judged(bars.sort_values("datetime", ignore_index=True), length)
    kept = verdict.bars
    assert not kept["datetime"].duplicated().any()
    assert (kept[["open", "high", "low", "close"]] > 0).all().all()
    assert kept["volume"].ge(0).all()
    for instant, session in zip(kept["datetime"], kept["session_date"], strict=True):
        opening, close = session_hours(session.date())
        assert opening <= instant < close
    assert set(verdict.findings["rule"]) <= set(INTRADAY_RULES)
    assert (verdict.rejection is None) or not len(kept)
    has_negative = (bars[["open", "close", "volume"]] < 0).any().any()
    assert has_negative or verdict.rejection is None or verdict.rejection.rule == "intraday_null"
