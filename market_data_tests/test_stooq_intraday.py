from __future__ import annotations

from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data.errors import ArchiveError, BadPayload, OutOfWindow, UnknownSymbol
from market_data.instruments import Instrument, Universe
from market_data.providers import parse
from market_data.providers.bodies import Answer
from market_data.providers.stooq import ASCII_HEADER, parse_bulk
from market_data.providers.stooq_bulk import StooqArchive, StooqBulk
from market_data.providers.stooq_clock import ZONES, bar_starts
from market_data.records import Basis, FetchRequest
from market_data.sandbox.market import SyntheticMarket
from market_data.schemas import RawIntradayBars
from market_data_tests.archives import bars as daily_bars
from market_data_tests.archives import put_file

FIELDS = ["open", "high", "low", "close", "volume"]
PERIODS = {"5m": ("5", 5, "5 min"), "1h": ("60", 60, "hourly")}
# New York changes its clocks on 10 March 2024, Warsaw on 31 March; on 3 July the session ends at 13:00.
SPRING = (date(2024, 3, 7), date(2024, 4, 2))
SUMMER = (date(2024, 7, 1), date(2024, 7, 5))


def minutes(start: date, end: date, symbol: str = "AAA") -> pd.DataFrame:
    market = SyntheticMarket(Universe([Instrument(symbol, listed_by=date(2020, 1, 2))]), start=start, end=end, seed=7)
    return pd.concat([market.minute_bars(symbol, day.date()) for day in market.sessions], ignore_index=True)


def longer(frame: pd.DataFrame, interval: str) -> pd.DataFrame:
    """Minutes put together by the clock, `datetime` being the start of each interval."""
    starts = frame["datetime"].dt.floor(f"{PERIODS[interval][1]}min")
    whole = frame.groupby(starts).agg(
        open=("open", "first"),
        high=("high", "max"),
        low=("low", "min"),
        close=("close", "last"),
        volume=("volume", "sum"),
    )
    return whole.reset_index()


def ascii_lines(
    frame: pd.DataFrame,
    interval: str,
    *,
    zone: str = "Europe/Warsaw",
    at_end: bool | None = None,
    ticker: str = "AAA.US",
) -> bytes:
    """A bulk file; stamped as Stooq does unless told otherwise: 5-minute bars at their start, hourly at their end."""
    period, length, _ = PERIODS[interval]
    at_end = interval == "1h" if at_end is None else at_end
    stamps = (frame["datetime"] + pd.Timedelta(minutes=length if at_end else 0)).dt.tz_convert(zone)
    keys = stamps.dt.strftime("%Y%m%d,%H%M%S")
    rows = [
        f"{ticker},{period},{key},{','.join(repr(float(value)) for value in values)},0"
        for key, values in zip(keys, frame[FIELDS].to_numpy(), strict=True)
    ]
    return "\r\n".join([ASCII_HEADER.decode(), *rows, ""]).encode()


def write_intraday(folder: Path, symbol: str, interval: str, body: bytes) -> Path:
    ticker = Instrument(symbol).ticker("stooq")
    file = folder / "data" / PERIODS[interval][2] / "us" / "nyse stocks" / "1" / f"{ticker}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(body)
    return file


def parsed(body: bytes, interval: str, symbol: str = "AAA") -> pd.DataFrame:
    return parse_bulk(body, Answer(symbol, Instrument(symbol).ticker("stooq"), interval)).bars


SPRING_MINUTES = minutes(*SPRING)
SUMMER_MINUTES = minutes(*SUMMER)
INTERVALS = pytest.mark.parametrize("interval", list(PERIODS))


@INTERVALS
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("at_end", [False, True])
def test_the_zone_and_the_end_that_is_stamped_are_told_from_the_data_over_both_changes_of_clocks(
    interval, zone, at_end
):
    due = longer(SPRING_MINUTES, interval)
    read = parsed(ascii_lines(due, interval, zone=zone, at_end=at_end), interval)
    assert read["datetime"].tolist() == due["datetime"].tolist()
    np.testing.assert_array_equal(read[FIELDS].to_numpy(), due[FIELDS].to_numpy())
    RawIntradayBars.validate(read)


def test_the_opening_stands_an_hour_earlier_in_the_weeks_between_the_changes_of_clocks():
    body = ascii_lines(longer(SPRING_MINUTES, "5m"), "5m").decode()
    assert "AAA.US,5,20240308,153000," in body
    assert "AAA.US,5,20240311,143000," in body
    assert "AAA.US,5,20240401,153000," in body
    assert "20240311,153000" in body
    assert "20240308,143000" not in body
    starts = parsed(body.encode(), "5m")["datetime"].dt.tz_convert("America/New_York")
    assert set(starts.groupby(starts.dt.date).min().dt.strftime("%H:%M")) == {"09:30"}
    assert set(starts.groupby(starts.dt.date).max().dt.strftime("%H:%M")) == {"15:55"}


def test_hourly_bars_are_stamped_with_their_end_by_the_clock():
    body = ascii_lines(longer(SUMMER_MINUTES, "1h"), "1h").decode()
    assert "AAA.US,60,20240701,160000," in body
    assert "AAA.US,60,20240701,220000," in body
    starts = parsed(body.encode(), "1h")["datetime"].dt.tz_convert("America/New_York")
    of_day = starts[starts.dt.date == date(2024, 7, 1)].dt.strftime("%H:%M")
    assert of_day.tolist() == ["09:00", "10:00", "11:00", "12:00", "13:00", "14:00", "15:00"]


@INTERVALS
def test_the_closing_auction_after_the_close_of_a_half_day_does_not_shift_the_reading(interval):
    due = longer(SUMMER_MINUTES, interval)
    half = due[due["datetime"].dt.date == date(2024, 7, 3)].iloc[-1:]
    auction = half.assign(datetime=half["datetime"] + pd.Timedelta(minutes=PERIODS[interval][1]))
    due = pd.concat([due, auction]).sort_values("datetime", ignore_index=True)
    assert parsed(ascii_lines(due, interval), interval)["datetime"].tolist() == due["datetime"].tolist()


def test_a_share_that_seldom_trades_is_read_in_warsaw_time():
    due = longer(SUMMER_MINUTES, "5m").iloc[40::78].reset_index(drop=True)
    assert parsed(ascii_lines(due, "5m"), "5m")["datetime"].tolist() == due["datetime"].tolist()


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "Asia/Kolkata"])
def test_times_of_no_zone_that_could_be_are_refused(zone):
    body = ascii_lines(longer(SUMMER_MINUTES, "5m"), "5m", zone=zone)
    with pytest.raises(
        BadPayload, match=r"^AAA: the times of its 5m bars fit neither Europe/Warsaw, America/New_York nor"
    ):
        parsed(body, "5m")


def test_a_time_that_the_change_of_clocks_skips_is_no_warsaw_time():
    skipped = np.array(["2024-03-31T02:30:00", "2024-03-31T02:35:00"], dtype="datetime64[s]")
    with pytest.raises(BadPayload, match=r"0\.0% lie in the regular hours"):
        bar_starts(skipped, "5m", "AAA")


def row(time: str = "153000", *, per: str = "5", ticker: str = "AAA.US", numbers: str = "1,2,0.5,1.5,1000") -> bytes:
    return b"\r\n".join([ASCII_HEADER, f"{ticker},{per},20240701,{time},{numbers},0".encode(), b""])


@pytest.mark.parametrize("time", ["246000", "156000", "153099", "", "15:30", "1530000", "-15300"])
def test_a_time_that_is_none_is_refused_as_it_stands(time):
    with pytest.raises(BadPayload, match="is not a time as in 153000") as caught:
        parsed(row(time), "5m")
    assert time.lstrip("0") in str(caught.value)


def test_rows_of_another_period_or_ticker_are_refused():
    with pytest.raises(BadPayload, match="<PER> is '60' where 5 was due"):
        parsed(row(per="60"), "5m")
    with pytest.raises(BadPayload, match="<PER> is 'D' where 60 was due"):
        parsed(row(per="D"), "1h")
    with pytest.raises(BadPayload, match=r"<TICKER> is 'BBB\.US' where AAA\.US was due"):
        parsed(row(ticker="BBB.US"), "5m")
    with pytest.raises(ValueError, match=r"^interval '1m' is not in stooq's bulk archive; it has 1d, 5m, 1h$"):
        parsed(row(), "1m")


def test_a_file_of_a_header_alone_is_of_an_unknown_instrument():
    with pytest.raises(UnknownSymbol):
        parsed(ASCII_HEADER + b"\r\n", "5m")


def test_prices_are_adjusted_up_to_the_date_of_the_last_bar():
    body = ascii_lines(longer(SUMMER_MINUTES, "5m"), "5m")
    told = parse("stooq_bulk", body, symbol="AAA", interval="5m")
    assert (told.basis, told.adjusted_as_of, len(told.actions)) == (
        Basis.SPLIT_DIVIDEND, datetime(2024, 7, 5, tzinfo=UTC), 0,
    )  # fmt: skip


NUMBERS = st.one_of(st.floats(0.0001, 1e6), st.integers(0, 10**9).map(float))


@settings(max_examples=25)
@given(
    chosen=st.lists(st.integers(0, 77), min_size=1, max_size=10, unique=True),
    values=st.lists(st.lists(NUMBERS, min_size=5, max_size=5), min_size=10, max_size=10),
    line_end=st.sampled_from([b"\r\n", b"\n"]),
    mark=st.sampled_from([b"", b"\xef\xbb\xbf"]),
)
def test_whatever_bars_are_written_are_read_back_the_same(chosen, values, line_end, mark):
    due = longer(SUMMER_MINUTES, "5m").iloc[sorted(chosen)].reset_index(drop=True)
    due[FIELDS] = np.array(values[: len(due)])
    body = mark + ascii_lines(due, "5m").replace(b"\r\n", line_end)
    read = parsed(body, "5m")
    assert read["datetime"].tolist() == due["datetime"].tolist()
    np.testing.assert_array_equal(read[FIELDS].to_numpy(), due[FIELDS].to_numpy())


@settings(max_examples=25)
@given(st.binary(max_size=200), st.integers(0, 5000), st.integers(0, 4))
def test_a_damaged_file_is_read_or_refused_by_name_and_nothing_else(junk, place, length):
    whole = ascii_lines(longer(SUMMER_MINUTES, "1h"), "1h")
    body = whole[: place % len(whole)] + junk + whole[place % len(whole) + length :]
    try:
        told = RawIntradayBars.validate(parsed(body, "1h")).columns[0]
    except (BadPayload, UnknownSymbol) as error:
        told = str(error)
    assert told.startswith(("AAA: ", "datetime"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for interval in PERIODS:
        body = ascii_lines(longer(SUMMER_MINUTES, interval), interval)
        write_intraday(tmp_path / "archive", "AAA", interval, body)
    return tmp_path / "archive"


@INTERVALS
def test_an_archive_without_daily_files_serves_its_intraday_ones(folder, interval):
    with closing(StooqArchive(folder, interval=interval)) as archive:
        assert (len(archive), "aaa.us" in archive, "bbb.us" in archive) == (1, True, False)
        path, body = archive.read("aaa.us")
    assert path == f"data/{PERIODS[interval][2]}/us/nyse stocks/1/aaa.us.txt"
    assert body.split(b"\r\n")[1].startswith(f"AAA.US,{PERIODS[interval][0]},".encode())


def test_daily_bars_are_not_to_be_had_of_it(folder):
    with pytest.raises(ArchiveError, match=r"none of its 2 files is a daily Stooq ASCII file"):
        StooqArchive(folder)
    with (
        closing(StooqArchive(folder, interval="5m")) as archive,
        pytest.raises(UnknownSymbol, match="no daily file of aaa"),
    ):
        archive.read("aaa.us", "1d")


def test_an_archive_of_both_gives_daily_bars_as_without_the_others(folder, tmp_path):
    put_file(folder, "AAA", daily_bars("AAA"))
    put_file(tmp_path / "alone", "AAA", daily_bars("AAA"))
    request = FetchRequest("AAA", date(2024, 1, 2), date(2024, 6, 28))
    payloads = []
    for path in (folder, tmp_path / "alone"):
        with closing(StooqBulk(StooqArchive(path))) as bulk:
            payloads.append(bulk.fetch(Instrument("AAA"), request))
    assert payloads[0].body == payloads[1].body
    assert payloads[0].request == payloads[1].request == request


def test_what_an_intraday_file_answers_ends_with_the_last_session_that_reaches_its_close(folder):
    frame = longer(SUMMER_MINUTES, "5m")
    write_intraday(folder, "AAA", "5m", ascii_lines(frame.iloc[:-1], "5m"))
    with closing(StooqBulk(StooqArchive(folder, interval="5m"))) as bulk:
        payload = bulk.fetch(Instrument("AAA"), FetchRequest("AAA", date(2024, 6, 3), date(2024, 8, 1), "5m"))
    assert payload.request == FetchRequest("AAA", date(2024, 7, 1), date(2024, 7, 3), "5m")


def test_a_half_day_at_its_end_is_whole(folder):
    frame = longer(SUMMER_MINUTES, "5m")
    until = frame[frame["datetime"].dt.date <= date(2024, 7, 3)]
    write_intraday(folder, "AAA", "5m", ascii_lines(until, "5m"))
    with closing(StooqBulk(StooqArchive(folder, interval="5m"))) as bulk:
        payload = bulk.fetch(Instrument("AAA"), FetchRequest("AAA", date(2024, 7, 2), date(2024, 8, 1), "5m"))
    assert payload.request == FetchRequest("AAA", date(2024, 7, 2), date(2024, 7, 3), "5m")


def test_sessions_an_intraday_file_does_not_hold_are_out_of_its_window(folder):
    with closing(StooqBulk(StooqArchive(folder, interval="1h"))) as bulk:
        for start, end in (("2024-06-03", "2024-06-28"), ("2024-07-08", "2024-08-01")):
            request = FetchRequest("AAA", date.fromisoformat(start), date.fromisoformat(end), "1h")
            with pytest.raises(
                OutOfWindow, match=r"^AAA: the archive holds 1h bars of 2024-07-01 to 2024-07-05, none of"
            ):
                bulk.fetch(Instrument("AAA"), request)
