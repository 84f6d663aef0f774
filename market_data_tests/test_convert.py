"""Bars that came adjusted turned to raw by the actions that are known, and again when more are."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from market_data.adjustments import adjust
from market_data.corporate_actions import Told
from market_data.ingest.convert import as_stored, earliest_change, reconvert
from market_data.instruments import Instrument
from market_data.providers.base import Provider
from market_data.records import Basis, FetchRequest, ParsedBars, RawPayload
from market_data.report.checks import CHECKS
from market_data.schemas import empty_actions
from market_data.sessions import sessions_between
from market_data.warehouse.actions import record_actions
from market_data.warehouse.connection import Database
from market_data.warehouse.store import transaction
from market_data_tests.archives import END, NOW, START, Run, put_file
from market_data_tests.bars import actions, payload

PRICES = ["open", "high", "low", "close"]
SPLIT, DIVIDENDS = ("2024-04-10", "split", 4.0), (("2024-02-15", "dividend", 0.25), ("2024-05-20", "dividend", 0.11))
EVENTS = (SPLIT, *DIVIDENDS)
BOTH = (Told("split", START, END), Told("dividend", START, END))
TURNED = "SELECT date, open, high, low, close, volume FROM price_history_daily ORDER BY date"


def traded(end: date = END) -> pd.DataFrame:
    """Bars as traded, in whole cents: about 100 dollars, and a quarter of it from the split on."""
    days = sessions_between(START, END).to_numpy()
    step = np.arange(len(days))
    close = 100 + 7 * np.sin(step / 9)
    close[days >= np.datetime64(SPLIT[0])] /= 4
    bars = pd.DataFrame(
        {"date": days, "open": close * 0.997, "high": close * 1.011, "low": close * 0.991, "close": close}
    )
    bars[PRICES] = bars[PRICES].round(2)
    bars["volume"] = 1_000_000.0 + 997 * step
    return bars[bars["date"] <= pd.Timestamp(end)]


def as_stooq_sends(raw: pd.DataFrame, *events: tuple[str, str, float]) -> pd.DataFrame:
    """Adjusted as of the last bar: prices to 6 significant digits, volumes divided by the dividends' factors too."""
    known = actions(*events)
    last = raw["date"].max().date()
    sent = adjust(raw, known, Basis.SPLIT_DIVIDEND, as_of=last)
    split = adjust(raw, known, Basis.SPLIT, as_of=last)
    volume = (sent["volume"] * split["close"] / sent["close"]).round()
    rounded = {name: [float(f"{value:.6g}") for value in sent[name]] for name in PRICES}
    return sent.assign(**rounded, volume=volume)


def archive_of(folder: Path, raw: pd.DataFrame, *events: tuple[str, str, float]) -> pd.DataFrame:
    sent = as_stooq_sends(raw, *(events or EVENTS))
    put_file(folder, "AAA", sent)
    return sent


def store_of(run: Run) -> Database:
    database = Database(run.settings.database_for(synthetic=False))
    database.prepare()
    return database


def tell(run: Run, *events: tuple[str, str, float], told: tuple[Told, ...] = BOTH, fetched: datetime = NOW) -> str:
    """Note that a provider tells of these actions; gives the SHA-256 of its payload."""
    stored = payload("AAA", provider="polygon", fetched=fetched, feed="splits")
    with store_of(run).writing() as connection, transaction(connection):
        record_actions(connection, "AAA", stored, actions(*events), list(told), adjusted_as_of=None)
    return stored.sha256


def turn_anew(run: Run, since: date | None = None) -> int:
    with store_of(run).writing() as connection, transaction(connection):
        return reconvert(connection, run.backfill().raw_store, run.universe, "AAA", now=NOW, since=since)


def frame(bars: pd.DataFrame) -> list[tuple[object, ...]]:
    return [(row.date.date(), *row[2:]) for row in bars[["date", *PRICES, "volume"]].itertuples()]


def basis_check(run: Run) -> tuple[bool, list[tuple[object, ...]]]:
    [check] = [check for check in CHECKS if check.name == "basis"]
    with store_of(run).reading() as connection:
        result = check.function(connection, START, END, run.settings)
    columns = ["symbol", "basis", "bars"]
    spans = result.rows[["first_date", "last_date"]].apply(lambda days: days.dt.strftime("%Y-%m-%d"))
    return result.passed, [(*a, *b) for a, b in zip(result.rows[columns].to_numpy(), spans.to_numpy(), strict=True)]


class _Later:
    """An archive whose payloads were fetched some hours later."""

    name, synthetic = "stooq_bulk", False

    def __init__(self, provider: Provider, hours: int = 1) -> None:
        self._provider, self._hours = provider, hours

    def serves(self, instrument: Instrument) -> bool:
        return True

    def fetch(self, instrument: Instrument, request: FetchRequest) -> RawPayload:
        return replace(self._provider.fetch(instrument, request), fetched_at=NOW + timedelta(hours=self._hours))

    def close(self) -> None:
        pass


@pytest.fixture
def run(tmp_path: Path) -> Run:
    archive_of(tmp_path / "archive", traded())
    return Run(tmp_path / "runtime", tmp_path / "archive")


def test_adjusted_bars_whose_actions_are_told_are_stored_as_traded_to_the_cent(run: Run) -> None:
    tell(run, *EVENTS)
    run.run(symbols=["AAA"])

    assert run.rows(TURNED) == frame(traded())
    assert run.rows(
        "SELECT DISTINCT basis, adjusted_as_of, sent_basis, CAST(sent_as_of AS DATE), known_at = pulled_at "
        "FROM price_history_daily"
    ) == [("raw", None, "split_dividend", END, True)]
    sent = as_stooq_sends(traded(), *EVENTS)
    told = pd.DataFrame(
        run.rows("SELECT close, price_factor, volume, volume_factor FROM price_history_daily ORDER BY date")
    )
    assert np.abs(sent["close"].to_numpy() * told[1] - told[0]).max() < 0.005
    assert (np.rint(sent["volume"].to_numpy() * told[3]) == told[2]).all()
    assert told[1].iloc[0] == pytest.approx(4 / ((1 - 0.25 / 101) * (1 - 0.11 / 25)), rel=0.002)
    assert (told[1].iloc[-1], told[3].iloc[-1]) == (1.0, 1.0)
    assert run.rows("SELECT count(*) FROM quality_findings WHERE rule = 'adjusted_basis'") == [(0,)]
    assert basis_check(run) == (True, [])


def test_an_action_on_the_date_of_the_last_bar_is_undone_as_well(tmp_path: Path) -> None:
    raw = traded()
    raw.loc[raw["date"] == pd.Timestamp(END), PRICES] = [12.5, 12.75, 12.25, 12.5]
    events = (*EVENTS, (END.isoformat(), "split", 2.0))
    archive_of(tmp_path / "archive", raw, *events)
    run = Run(tmp_path / "runtime", tmp_path / "archive")
    tell(run, *events)
    run.run(symbols=["AAA"])
    assert run.rows(TURNED) == frame(raw)


MISSING = (Told("split", START, END), Told("dividend", START, date(2024, 4, 30)))


def test_bars_whose_dividends_are_not_all_told_keep_their_basis_and_the_reason_is_found(run: Run) -> None:
    tell(run, SPLIT, DIVIDENDS[0], told=MISSING)
    run.run(symbols=["AAA"])

    assert run.rows(TURNED) == frame(as_stooq_sends(traded(), *EVENTS))
    assert run.rows("SELECT DISTINCT basis, sent_basis, price_factor, volume_factor FROM price_history_daily") == [
        ("split_dividend", "split_dividend", 1.0, 1.0)
    ]
    [(day, severity, message)] = run.rows(
        "SELECT date, severity, message FROM quality_findings WHERE rule = 'adjusted_basis'"
    )
    assert (day, severity) == (None, "info")
    assert "not every one of the dividends of 2024-01-03 to 2024-06-28 is known" in str(message)
    assert "splits and" not in str(message)
    assert basis_check(run) == (False, [("AAA", "split_dividend", 124, START.isoformat(), END.isoformat())])


def test_missing_actions_that_come_turn_the_bars_and_keep_what_they_were(run: Run) -> None:
    tell(run, SPLIT, DIVIDENDS[0], told=MISSING)
    run.run(symbols=["AAA"])
    before = run.rows(TURNED)
    came = NOW + timedelta(days=1)
    sha256 = tell(run, *EVENTS, fetched=came)

    assert turn_anew(run) == 124
    after = run.fingerprint()
    assert run.rows(TURNED) == frame(traded())
    assert run.rows("SELECT date, open, high, low, close, volume FROM revisions ORDER BY date") == before
    moment = came.replace(tzinfo=None)
    assert run.rows(
        "SELECT DISTINCT basis, reason, replaced_at, replaced_by, known_at < ? FROM revisions", [moment]
    ) == [("split_dividend", "actions", moment, sha256, True)]
    assert run.rows("SELECT DISTINCT basis, known_at FROM price_history_daily") == [("raw", moment)]
    assert run.rows("SELECT count(*) FROM quality_findings WHERE rule = 'adjusted_basis'") == [(0,)]
    assert basis_check(run) == (True, [])

    assert turn_anew(run) == 0
    assert turn_anew(run, date(2024, 5, 20)) == 0
    assert run.fingerprint() == after
    assert run.rows("SELECT count(*) FROM revisions") == [(124,)]


@pytest.mark.parametrize("early", [date(2024, 4, 5), date(2024, 5, 10)], ids=["a split after", "a dividend after"])
def test_a_newer_payload_adjusted_for_more_gives_the_same_bars_and_no_revision(tmp_path: Path, early: date) -> None:
    known = [event for event in EVENTS if event[0] <= early.isoformat()]
    archive_of(tmp_path / "old", traded(early), *known)
    archive_of(tmp_path / "new", traded())
    first = Run(tmp_path / "runtime", tmp_path / "old")
    tell(first, *EVENTS)
    first.run("first", symbols=["AAA"], end=early)
    held = first.fingerprint()
    assert len(held) == len(traded(early))

    second = Run(tmp_path / "runtime", tmp_path / "new")
    second.providers = [_Later(second.providers[0])]
    (record,) = second.run("second", symbols=["AAA"]).records

    assert (record.rows_inserted, record.rows_updated) == (124 - len(held), 0)
    assert second.rows("SELECT count(*) FROM revisions") == [(0,)]
    assert second.fingerprint()[: len(held)] == held
    assert second.rows(TURNED) == frame(traded())


def test_a_price_the_vendor_really_changed_is_one_revision(tmp_path: Path) -> None:
    early = date(2024, 4, 5)
    archive_of(tmp_path / "old", traded(early), DIVIDENDS[0])
    changed = traded()
    changed.loc[10, "close"] += 0.37
    archive_of(tmp_path / "new", changed)
    first = Run(tmp_path / "runtime", tmp_path / "old")
    tell(first, *EVENTS)
    first.run("first", symbols=["AAA"], end=early)
    second = Run(tmp_path / "runtime", tmp_path / "new")
    second.providers = [_Later(second.providers[0])]
    second.run("second", symbols=["AAA"])
    old = traded().loc[10]
    assert second.rows("SELECT date, close, reason, replaced_at FROM revisions") == [
        (old["date"].date(), old["close"], "payload", NOW.replace(hour=13, tzinfo=None))
    ]
    assert second.rows(TURNED) == frame(changed)


@pytest.mark.long
def test_sessions_stored_one_by_one_in_any_order_are_those_of_the_range(run: Run, tmp_path: Path) -> None:
    tell(run, *EVENTS)
    run.run(symbols=["AAA"])
    single = Run(tmp_path / "single", tmp_path / "archive")
    tell(single, *EVENTS)
    days = [day.date() for day in sessions_between(START, END)]
    chosen = random.Random(5).sample(days, 10)
    for number, day in enumerate(chosen):
        single.run(f"day-{number}", symbols=["AAA"], start=day, end=day)
    assert single.fingerprint() == [row for row in run.fingerprint() if row[1] in chosen]
    single.run("rest", symbols=["AAA"])
    assert single.fingerprint() == run.fingerprint()


def test_actions_that_do_not_fit_leave_the_bars_as_sent_and_say_why() -> None:
    sent = as_stooq_sends(traded(), *EVENTS).assign(vwap=np.nan, trade_count=np.nan)
    parsed = ParsedBars(sent, empty_actions(), Basis.SPLIT_DIVIDEND, datetime(2024, 9, 3, 15, tzinfo=UTC))
    stored = payload(
        "AAA", provider="stooq", start=START.isoformat(), end=END.isoformat(), fetched=parsed.adjusted_as_of
    )
    told = pd.DataFrame(
        [(kind, pd.Timestamp(START), pd.Timestamp(2024, 9, 3)) for kind in ("split", "dividend")],
        columns=["kind", "first_date", "last_date"],
    )
    ex_date = DIVIDENDS[0][0]
    mistold = [(day, kind, 500.0 if day == ex_date else value) for day, kind, value in EVENTS]
    known = actions(*mistold).assign(known_at=pd.Timestamp(2024, 1, 2))

    stays = as_stored(sent, parsed, stored, known, told)

    assert (stays.factors, stays.known_at) == (None, None)
    assert_frame_equal(stays.bars, sent)
    assert stays.why_not is not None
    assert stays.why_not.startswith(
        f"adjusted for actions that do not fit them (the dividend of {ex_date}, 500 a share"
    )
    assert "more than half of the close before it" in stays.why_not


def test_the_earliest_change_is_the_first_date_at_which_two_lists_differ() -> None:
    one = actions(*EVENTS)
    assert earliest_change(one, one) is None
    assert earliest_change(actions(), one) == date(2024, 2, 15)
    assert earliest_change(one, actions(SPLIT, DIVIDENDS[0], ("2024-05-20", "dividend", 0.12))) == date(2024, 5, 20)
    assert earliest_change(one, actions(*DIVIDENDS)) == date(2024, 4, 10)
