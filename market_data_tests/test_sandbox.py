"""The synthetic market: its numbers, and that a seed alone decides them."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from market_data.errors import MarketDataError, SymbolError
from market_data.instruments import Instrument, Universe
from market_data.sandbox.market import PRICES, SyntheticMarket, significant
from market_data.sandbox.simulation import _without_long_runs
from market_data.sandbox.wire import stooq_ascii, stooq_csv
from market_data.schemas import CorporateActions

START, END, SEED = date(2021, 1, 19), date(2026, 1, 19), 7
LATE = Instrument("LATE", listed_from=date(2023, 5, 4))
GONE = Instrument("GONE", listed_by=START, delisted_on=date(2022, 3, 1))
UNIVERSE = Universe([*(Instrument(f"S{a}{b}", listed_by=START) for a in "ABCD" for b in "KLMNOPQRST"), LATE, GONE])


def market_until(end: date = END, seed: int = SEED) -> SyntheticMarket:
    return SyntheticMarket(UNIVERSE, start=START, end=end, seed=seed)


@pytest.fixture(scope="module")
def market() -> SyntheticMarket:
    return market_until()


def log_returns(bars: pd.DataFrame) -> np.ndarray:
    return np.diff(np.log(bars["close"].to_numpy()))


def symbol_with(market: SyntheticMarket, kind: str) -> str:
    return next(symbol for symbol in market.universe if (market.actions(symbol)["kind"] == kind).any())


def test_the_same_seed_gives_the_same_market(market):
    again = market_until()
    for symbol in ("SAK", "LATE"):
        pd.testing.assert_frame_equal(again.raw_bars(symbol), market.raw_bars(symbol), check_exact=True)
        pd.testing.assert_frame_equal(again.actions(symbol), market.actions(symbol), check_exact=True)


def test_another_seed_or_symbol_gives_other_numbers(market):
    bars = market.raw_bars("SAK")
    assert not bars.equals(market_until(seed=SEED + 1).raw_bars("SAK"))
    assert not bars.equals(market.raw_bars("SAL"))


def test_a_symbol_does_not_depend_on_the_rest_of_the_universe(market):
    alone = SyntheticMarket(Universe([Instrument("SAM")]), start=START, end=END, seed=SEED)
    pd.testing.assert_frame_equal(alone.raw_bars("SAM"), market.raw_bars("SAM"))


@pytest.mark.parametrize("end", [date(2023, 6, 30), date(2021, 3, 2)])
def test_a_market_that_ends_earlier_is_a_prefix(market, end):
    shorter = market_until(end)
    for symbol in [*list(UNIVERSE)[::3], "LATE", "GONE"]:
        for whole, part in (
            (market.raw_bars(symbol), shorter.raw_bars(symbol)),
            (market.actions(symbol), shorter.actions(symbol)),
        ):
            expected = whole[whole["date"] <= pd.Timestamp(end)].reset_index(drop=True)
            pd.testing.assert_frame_equal(part, expected, check_exact=True)


def test_bars_stand_on_the_sessions_of_the_listing_span(market):
    for symbol, instrument in UNIVERSE.items():
        expected = instrument.expected_sessions(START, END)
        assert market.raw_bars(symbol)["date"].tolist() == expected.tolist()
    assert market.raw_bars("LATE")["date"].iloc[0] == pd.Timestamp("2023-05-04")
    assert len(market.raw_bars("SAK")) == 1256


def test_an_instrument_listed_after_the_end_has_no_bars():
    market = market_until(date(2022, 1, 3))
    assert market.raw_bars("LATE").empty
    assert market.adjusted_bars("LATE").dtypes.equals(market.adjusted_bars("SAK").dtypes)
    assert market.actions("LATE").empty


def test_frames_have_the_promised_types(market):
    for bars in (market.raw_bars("SAK"), market.adjusted_bars("SAK")):
        assert list(bars.columns) == ["date", *PRICES, "volume"]
        assert [str(dtype) for dtype in bars.dtypes] == ["datetime64[s]", *["float64"] * 5]
    for symbol in UNIVERSE:
        CorporateActions.validate(market.actions(symbol))


def test_raw_prices_are_whole_cents_and_volumes_whole_shares(market):
    for symbol in UNIVERSE:
        bars = market.raw_bars(symbol)
        prices = bars[PRICES].to_numpy()
        assert (prices == np.round(prices, 2)).all()
        assert (bars["volume"] % 1 == 0).all()
        assert (bars["volume"] > 0).all()


def test_every_bar_is_consistent(market):
    for symbol in UNIVERSE:
        for bars in (market.raw_bars(symbol), market.adjusted_bars(symbol)):
            assert (bars["low"] > 0).all()
            assert (bars["low"] <= bars[["open", "close"]].min(axis=1)).all()
            assert (bars["high"] >= bars[["open", "close"]].max(axis=1)).all()


def test_nothing_natural_looks_like_a_defect(market):
    for symbol in UNIVERSE:
        bars = market.adjusted_bars(symbol)
        assert np.abs(log_returns(bars)).max() < 0.25
        runs = (bars["close"] != bars["close"].shift()).cumsum()
        assert runs.value_counts().max() < 4
        log_volume = np.log(bars["volume"])
        assert np.abs(log_volume - log_volume.median()).max() < 1.6


def test_a_fourth_equal_close_is_moved_by_a_cent():
    closes = np.array([5.0, 5.0, 5.0, 5.0, 5.0, 5.01, 6.0])
    assert _without_long_runs(closes).tolist() == [5.0, 5.0, 5.0, 5.01, 5.0, 5.01, 6.0]
    assert _without_long_runs(np.full(9, 7.1)).tolist() == [7.1, 7.1, 7.1, 7.11, 7.1, 7.1, 7.1, 7.11, 7.1]


def test_volatility_is_that_of_stocks(market):
    daily = np.array([log_returns(market.adjusted_bars(symbol)).std() for symbol in UNIVERSE])
    assert daily.min() > 0.009
    assert daily.max() < 0.027
    assert daily.max() - daily.min() > 0.005


def test_stocks_move_together(market):
    first, second = (log_returns(market.adjusted_bars(symbol)) for symbol in ("SAK", "SAL"))
    assert np.corrcoef(first, second)[0, 1] > 0.1


def test_some_symbols_split_and_most_pay(market):
    with_kind = {
        kind: sum((market.actions(symbol)["kind"] == kind).any() for symbol in UNIVERSE)
        for kind in ("split", "dividend")
    }
    assert 1 <= with_kind["split"] <= 10
    assert 15 <= with_kind["dividend"] <= 35


def test_raw_bars_fall_at_a_split_and_adjusted_bars_do_not(market):
    symbol = symbol_with(market, "split")
    split = market.actions(symbol).query("kind == 'split'").iloc[0]
    raw, adjusted = market.raw_bars(symbol), market.adjusted_bars(symbol)
    place = int(np.flatnonzero(raw["date"] == split["date"])[0])
    jump = log_returns(raw)[place - 1] + np.log(split["value"])
    assert abs(jump) < 0.25
    assert log_returns(adjusted)[place - 1] == pytest.approx(jump, abs=1e-4)
    typical = raw["volume"].iloc[place:].median() / raw["volume"].iloc[:place].median()
    assert typical == pytest.approx(split["value"], rel=0.2)
    before = adjusted["volume"].iloc[:place] / raw["volume"].iloc[:place]
    assert before.to_numpy() == pytest.approx(split["value"], rel=1e-3)


def test_adjustment_follows_the_backward_factors(market):
    symbol = symbol_with(market, "dividend")
    paid = market.actions(symbol).query("kind == 'dividend'").iloc[-1]
    raw, adjusted = market.raw_bars(symbol), market.adjusted_bars(symbol)
    place = int(np.flatnonzero(raw["date"] == paid["date"])[0])
    factor = 1 - paid["value"] / raw["close"].iloc[place - 1]
    assert 0.99 < factor < 0.999
    ratio = adjusted["close"] / raw["close"]
    assert ratio.iloc[place:].to_numpy() == pytest.approx(1.0, abs=1e-9)
    assert ratio.iloc[place - 1] == pytest.approx(factor, rel=1e-5)


def test_the_last_adjusted_bar_is_as_traded(market):
    for symbol in UNIVERSE:
        raw, adjusted = market.raw_bars(symbol).iloc[-1], market.adjusted_bars(symbol).iloc[-1]
        assert adjusted["close"] == raw["close"]
        assert adjusted["volume"] == raw["volume"]


def test_callers_cannot_change_the_market(market):
    mine = market.raw_bars("SAK")
    mine.loc[:, "close"] = 0.0
    assert (market.raw_bars("SAK")["close"] > 0).all()


def test_an_unknown_symbol_and_a_backward_span_are_refused(market):
    with pytest.raises(SymbolError, match="NONE"):
        market.raw_bars("NONE")
    with pytest.raises(MarketDataError, match="after its end"):
        SyntheticMarket(UNIVERSE, start=END, end=START, seed=SEED)


def test_six_significant_digits():
    values = np.array([123456.789, 1234567.8, 0.00123456789, 0.1 + 0.2, -98.76544, 0.0, np.nan])
    expected = [123457.0, 1234570.0, 0.00123457, 0.3, -98.7654, 0.0, np.nan]
    np.testing.assert_array_equal(significant(values), expected)


def bars_of(rows: list[tuple[str, float, float, float, float, float]]) -> pd.DataFrame:
    bars = pd.DataFrame(rows, columns=["date", *PRICES, "volume"])
    return bars.assign(date=bars["date"].astype("datetime64[s]"))


ROWS = [
    ("2024-01-02", 100.0, 101.15 * 100, 0.1 + 0.2, 99.5, 12345678.0),
    ("2024-01-03", np.nan, 0.00001, 1e11, -1.5, np.nan),
    ("2024-01-04", 0.0, -0.0, 0.123456, 1.0, 6e16),
]


def test_stooq_csv_is_plain_and_short():
    assert stooq_csv(bars_of(ROWS)) == (
        b"Date,Open,High,Low,Close,Volume\r\n"
        b"2024-01-02,100,10115,0.3,99.5,12345678\r\n"
        b"2024-01-03,,0.00001,100000000000,-1.5,\r\n"
        b"2024-01-04,0,0,0.123456,1,60000000000000000\r\n"
    )


def test_stooq_csv_of_nothing_says_no_data():
    assert stooq_csv(bars_of([])) == b"No data"


def test_stooq_ascii_has_the_bulk_layout():
    assert stooq_ascii("brk-b.us", bars_of(ROWS[:1])) == (
        b"<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\r\n"
        b"BRK-B.US,D,20240102,000000,100,10115,0.3,99.5,12345678,0\r\n"
    )
