from __future__ import annotations

import json
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from market_data.errors import BadPayload, OutOfWindow, ProviderError, RateLimited, UnknownSymbol
from market_data.providers.bodies import Answer
from market_data.providers.yahoo import parse
from market_data.records import ParsedBars
from market_data.schemas import CorporateActions, RawBars, RawIntradayBars
from market_data.sessions import sessions_between

FIELDS = ["open", "high", "low", "close", "volume"]
R = "_reserialised_200.json"
DAILY = [
    (f"0P000071W8.TO_1d_2020-01-02{R}", 1, "2020-01-02", "2020-01-02", 73.72),
    ("0P0000XTS7_1d_2024-09-12_200.json", 2, "2024-09-12", "2024-09-13", np.nan),
    (f"AAPL_1d_2020-01-02{R}", 1, "2020-01-02", "2020-01-02", 75.0875),
    (f"AAPL_1d_2020-08-31{R}", 49, "2020-08-31", "2020-11-06", 118.69),
    (f"AAPL_1d_2022-02-22{R}", 1, "2022-02-22", "2022-02-22", 164.32),
    ("AAPL_1d_2024-10_scheb.json", 10, "2024-09-30", "2024-10-11", 227.55),
    ("AAPL_1d_range_yfinance-rs.json", 126, "2025-04-30", "2025-10-28", 269.0),
    (f"ABBV_1d_2020-01-02{R}", 253, "2020-01-02", "2020-12-31", 107.15),
    (f"ADH_1d_2020-01-02{R}", 1, "2020-01-02", "2020-01-02", 10.38),
    (f"AFRAF_1d_2020-01-02{R}", 253, "2020-01-02", "2020-12-31", 6.1),
    ("ALL.AX_1d_2021-10-13_es_portfolio.json", 63, "2021-10-13", "2022-01-12", 44.15),
    (f"AMZN_1d_2020-01-02{R}", 253, "2020-01-02", "2020-12-31", 3256.93),
    (f"AZT.OL_1d_2020-01-02{R}", 1, "2020-01-02", "2020-01-02", 4.99),
    (f"BABA_1d_2020-01-02{R}", 253, "2020-01-02", "2020-12-31", 232.73),
    (f"BRKS_1d_2020-01-02{R}", 1, "2020-01-02", "2020-01-02", 42.9),
    (f"BTC-USD_1d_2020-01-01{R}", 3, "2020-01-01", "2020-01-03", 7344.8843),
    (f"CRON_1d_2020-01-02{R}", 253, "2020-01-02", "2020-12-31", 6.94),
    (f"EPAC_1d_2020-01-02{R}", 253, "2020-01-02", "2020-12-31", 22.61),
    (f"EURUSD_X_1d_2020-01-01{R}", 3, "2020-01-01", "2020-01-03", 1.1171438),
    (f"GC_F_1d_2020-01-02{R}", 1, "2020-01-02", "2020-01-02", 1524.5),
    (f"GOOG_1d_2020-01-02{R}", 253, "2020-01-02", "2020-12-31", 1751.88),
    ("GS2C.DE_1d_range_yfinance-rs.json", 4, "2025-10-23", "2025-10-28", 20.08),
    ("IBM_1d_long_partial.json", 10, "1962-01-02", "2021-01-08", 122.87763),
    ("INR_X_1d_with-null_partial.json", 4, "2017-07-10", "2017-07-13", 64.365),
    ("MSFT_1d_2021-02-01_200.json", 252, "2021-02-01", "2022-01-28", 308.26),
    ("MUV2.DE_1d_2017-11-27_01_portfolio.json", 124, "2017-11-27", "2018-05-25", 188.3),
    ("MUV2.DE_1d_2017-11-27_02_portfolio.json", 124, "2017-11-27", "2018-05-25", 188.3),
    (f"OCDO.L_1d_2020-01-02{R}", 1, "2020-01-02", "2020-01-02", 1259.5),
    (f"ORSTED.CO_1d_2020-01-02{R}", 1, "2020-01-02", "2020-01-02", 681.0),
    (f"QQQ_1d_2020-01-02{R}", 253, "2020-01-02", "2020-12-31", 313.74),
    (f"SIMP_1d_2020-01-02{R}", 1, "2020-01-02", "2020-01-02", 0.76),
    (f"SIX_1d_2020-01-02{R}", 1, "2020-01-02", "2020-01-02", 45.06),
    (f"SI_1d_2020-01-02{R}", 1, "2020-01-02", "2020-01-02", 15.93),
    (f"SPOT_1d_2020-01-02{R}", 253, "2020-01-02", "2020-12-31", 314.66),
    ("TSLA_1d_2010-06-29_200.json", 3303, "2010-06-29", "2023-08-11", 242.65),
    ("TSLA_1d_2021-01_pricehist.json", 5, "2021-01-04", "2021-01-08", 293.34),
    (f"UNIR.MI_1d_2020-01-02{R}", 1, "2020-01-02", "2020-01-02", 13.46),
    (f"WSKT.JK_1d_2020-01-02{R}", 1, "2020-01-02", "2020-01-02", 1505.0),
    ("WSU.DE_1d_2023-08-04_200.json", 3, "2023-08-04", "2023-08-08", 33.2),
    ("aapl_chart_5d_cl_adjcl_bradjacobs.json", 5, "2021-04-19", "2021-04-23", 134.32),
    ("aapl_chart_5d_cl_bradjacobs.json", 5, "2021-04-19", "2021-04-23", 134.32),
    ("aapl_chart_5d_formatted_bradjacobs.json", 5, "2021-04-19", "2021-04-23", 134.32),
]
OTHERS = [
    ("AAPL_1m_2024-10-02T0930_200.json", "1m", 390, "2024-10-02T13:30", "2024-10-02T19:59", 226.81),
    ("AAPL_dividends_scheb.json", "1mo", 60, "2019-11-01T04:00", "2024-10-01T04:00", 227.55),
    ("AAPL_splits_1mo_scheb.json", "1mo", 60, "2019-11-01T04:00", "2024-10-01T04:00", 227.55),
    ("VFINX_3mo_range-max_yfinance-rs.json", "3mo", 164, "1985-01-01T05:00", "2025-10-01T04:00", 636.41),
]
EMPTY = [f"APS.AX_1d_2020-01-01{R}", f"_VXAPL_1d_2020-01-01{R}"]
EMPTY_HOURS = [f"TSLA_1h_2021-11-23{R}", "aapl_chart_no_results_bradjacobs.json"]
REFUSALS = [
    ("BEKE_1d_2020-01-01_reserialised_400.json", 400, OutOfWindow, "Data doesn't exist for startDate"),
    ("legacy_v7_download_BEKE_400.txt", 400, OutOfWindow, "Data doesn't exist for startDate"),
    ("MDLY_1d_2020-01-01_reserialised_404.json", 404, UnknownSymbol, "symbol may be delisted"),
    ("SIX_1d_2020-01-01_404.json", 404, UnknownSymbol, "symbol may be delisted"),
    ("SI_1d_2020-01-01_404.json", 404, UnknownSymbol, "symbol may be delisted"),
    ("error_1m_range_422.json", 422, OutOfWindow, "Only 8 days worth of 1m granularity"),
    ("error_429_edge_too_many_requests.txt", 429, RateLimited, "Too Many Requests"),
]


@pytest.fixture
def folder(payloads) -> Path:
    return payloads / "yahoo"


def recorded(path: Path, interval: str = "1d") -> ParsedBars:
    body = path.read_bytes()
    symbol = json.loads(body)["chart"]["result"][0]["meta"]["symbol"]
    return parse(body, Answer(symbol, symbol, interval=interval))


def as_sent(path: Path) -> dict[int, list[float | None]]:
    """Rows of a body by epoch, as Python's own decoder reads them."""
    result = json.loads(path.read_bytes())["chart"]["result"][0]
    quotes = result["indicators"]["quote"][0]
    nothing = [None] * len(result["timestamp"])
    rows = zip(*(quotes.get(name, nothing) for name in FIELDS), strict=True)
    return dict(zip(result["timestamp"], rows, strict=True))


def assert_as_sent(frame: pd.DataFrame, sent: list[list[float | None]]) -> None:
    numbers = np.array(sent, dtype=float).reshape(-1, 5)
    got = frame[FIELDS].to_numpy()
    np.testing.assert_array_equal(got[:, 4], numbers[:, 4])
    np.testing.assert_array_equal(got.astype(np.float32), numbers.astype(np.float32))


@pytest.mark.parametrize("row", DAILY, ids=[row[0] for row in DAILY])
def test_a_recorded_body_is_read_bar_for_bar(folder, row):
    name, count, first, last, close = row
    parsed = recorded(folder / name)
    frame = RawBars.validate(parsed.bars)
    assert (len(frame), str(frame["date"].iloc[0].date()), str(frame["date"].iloc[-1].date())) == (count, first, last)
    np.testing.assert_equal(frame["close"].iloc[-1], close)
    assert_as_sent(frame, list(as_sent(folder / name).values())[:count])
    zone = ZoneInfo(json.loads((folder / name).read_bytes())["chart"]["result"][0]["meta"]["exchangeTimezoneName"])
    expected = [datetime.fromtimestamp(stamp, zone).date() for stamp in as_sent(folder / name)][:count]
    assert frame["date"].dt.date.tolist() == expected
    CorporateActions.validate(parsed.actions)


@pytest.mark.parametrize("row", OTHERS, ids=[row[0] for row in OTHERS])
def test_a_recorded_body_of_other_intervals_is_read_bar_for_bar(folder, row):
    name, interval, count, first, last, close = row
    frame = RawIntradayBars.validate(recorded(folder / name, interval).bars)
    stamps = frame["datetime"].dt.strftime("%Y-%m-%dT%H:%M")
    assert (len(frame), stamps.iloc[0], stamps.iloc[-1], frame["close"].iloc[-1]) == (count, first, last, close)
    assert_as_sent(frame, list(as_sent(folder / name).values())[:count])
    with pytest.raises(BadPayload, match=f"the bars are of '{interval}' each where 1d was asked for"):
        recorded(folder / name)


@pytest.mark.parametrize("name", [*EMPTY, *EMPTY_HOURS])
def test_a_recorded_body_without_bars_says_so(folder, name):
    with pytest.raises(UnknownSymbol, match=r"yahoo has no bars for it in the window$"):
        recorded(folder / name, "1h" if name in EMPTY_HOURS else "1d")


@pytest.mark.parametrize(("name", "status", "error", "words"), REFUSALS)
def test_a_recorded_refusal_becomes_its_error(folder, name, status, error, words):
    with pytest.raises(ProviderError, match=words) as caught:
        parse((folder / name).read_bytes(), Answer("BEKE", "BEKE", status=status))
    assert type(caught.value) is error
    assert str(caught.value).startswith("BEKE: ")


def test_every_recorded_body_is_among_those_above(folder):
    known = {row[0] for row in [*DAILY, *OTHERS, *REFUSALS]} | {*EMPTY, *EMPTY_HOURS}
    assert {path.name for path in folder.iterdir()} == known


@pytest.mark.parametrize(
    ("name", "start", "end"),
    [
        ("TSLA_1d_2010-06-29_200.json", date(2010, 6, 29), date(2023, 8, 11)),
        ("MSFT_1d_2021-02-01_200.json", date(2021, 2, 1), date(2022, 1, 28)),
        (f"QQQ_1d_2020-01-02{R}", date(2020, 1, 2), date(2020, 12, 31)),
        ("AAPL_1d_range_yfinance-rs.json", date(2025, 4, 30), date(2025, 10, 28)),
    ],
)
def test_a_recorded_history_has_exactly_the_sessions_of_its_span(folder, name, start, end):
    assert recorded(folder / name).bars["date"].tolist() == sessions_between(start, end).tolist()


@pytest.mark.parametrize(
    ("one", "other", "count"),
    [
        ("TSLA_1d_2010-06-29_200.json", "TSLA_1d_2021-01_pricehist.json", 5),
        ("MUV2.DE_1d_2017-11-27_01_portfolio.json", "MUV2.DE_1d_2017-11-27_02_portfolio.json", 123),
        ("aapl_chart_5d_cl_bradjacobs.json", "aapl_chart_5d_formatted_bradjacobs.json", 5),
    ],
)
def test_two_recordings_agree_on_the_closes_they_share(folder, one, other, count):
    closes = [recorded(folder / name).bars.set_index("date")["close"] for name in (one, other)]
    both = pd.concat(closes, axis="columns", join="inner").dropna()
    assert len(both) == count
    assert both.iloc[:, 0].tolist() == both.iloc[:, 1].tolist()


def test_prices_before_a_split_are_those_after_it_in_scale(folder):
    before, after = (recorded(folder / f"AAPL_1d_{day}{R}") for day in ("2020-01-02", "2020-08-31"))
    assert before.bars["close"].tolist() == [75.0875]
    assert after.bars.iloc[0, 1:6].tolist() == [127.58, 131.0, 126.0, 129.04, 225702700.0]
    assert after.actions.to_numpy().tolist() == [
        [pd.Timestamp(2020, 8, 31), "split", 4.0],
        [pd.Timestamp(2020, 11, 6), "dividend", 0.205],
    ]
    tesla = recorded(folder / "TSLA_1d_2010-06-29_200.json").bars.set_index("date")["close"]
    assert [tesla["2010-06-29"], tesla["2020-08-31"]] == [1.592667, 166.10667]


def test_events_keep_their_ex_dates_in_bodies_of_longer_bars_and_before_1970(folder):
    dividends = recorded(folder / "AAPL_dividends_scheb.json", "1mo").actions
    splits = recorded(folder / "AAPL_splits_1mo_scheb.json", "1mo").actions
    assert dividends.iloc[[0, -1], [0, 2]].to_numpy().tolist() == [
        [pd.Timestamp(2019, 11, 7), 0.1925],
        [pd.Timestamp(2024, 8, 12), 0.25],
    ]
    assert splits.to_numpy().tolist() == [[pd.Timestamp(2020, 8, 31), "split", 4.0]]
    ibm = recorded(folder / "IBM_1d_long_partial.json").actions
    assert ibm.iloc[0].tolist() == [pd.Timestamp(1962, 2, 6), "dividend", 0.000956]
    assert ibm.loc[ibm["kind"] == "split", "value"].tolist() == [1.25, 1.5, 2.0, 1.25, 4.0, 2.0, 2.0]
