"""Minutes of the synthetic market: they are decided by the seed and add up to the session's bar."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from market_data.errors import SymbolError
from market_data.instruments import Instrument, Universe
from market_data.records import Basis
from market_data.sandbox.market import PRICES, SyntheticMarket
from market_data.sandbox.minutes import Bar, minutes_of

START, END, SEED = date(2021, 1, 19), date(2025, 1, 31), 7
UNIVERSE = Universe(
    [*(Instrument(f"S{a}{b}") for a in "ABCD" for b in "KLMNOPQRST"), Instrument("LATE", listed_from=END)]
)
HALF_DAY, SUMMER_DAY, WINTER_DAY = date(2024, 11, 29), date(2024, 7, 9), date(2024, 12, 16)


def market_of(**changes) -> SyntheticMarket:
    return SyntheticMarket(UNIVERSE, **{"start": START, "end": END, "seed": SEED} | changes)


@pytest.fixture(scope="module")
def market() -> SyntheticMarket:
    return market_of()


def daily_bar(market: SyntheticMarket, symbol: str, day: date) -> pd.Series:
    bars = market.raw_bars(symbol)
    return bars[bars["date"] == pd.Timestamp(day)].iloc[0]


def test_minutes_add_up_to_the_raw_bar_exactly(market):
    for symbol in list(UNIVERSE)[:-1]:
        for day in market.raw_bars(symbol)["date"].iloc[::97]:
            minutes, bar = market.minute_bars(symbol, day.date()), daily_bar(market, symbol, day.date())
            assert minutes["open"].iloc[0] == bar["open"]
            assert minutes["close"].iloc[-1] == bar["close"]
            assert minutes["high"].max() == bar["high"]
            assert minutes["low"].min() == bar["low"]
            assert minutes["volume"].sum() == bar["volume"]


def test_every_minute_is_consistent_and_in_whole_cents_and_shares(market):
    minutes = pd.concat(market.minute_bars(symbol, SUMMER_DAY) for symbol in list(UNIVERSE)[:-1])
    assert (minutes["low"] <= minutes[["open", "close"]].min(axis=1)).all()
    assert (minutes["high"] >= minutes[["open", "close"]].max(axis=1)).all()
    assert (minutes[PRICES] == minutes[PRICES].round(2)).all(axis=None)
    assert (minutes["volume"] % 1 == 0).all()
    assert (minutes["volume"] >= 0).all()


@pytest.mark.parametrize(
    ("day", "first", "last", "count"),
    [
        (SUMMER_DAY, "2024-07-09T13:30Z", "2024-07-09T19:59Z", 390),
        (WINTER_DAY, "2024-12-16T14:30Z", "2024-12-16T20:59Z", 390),
        (HALF_DAY, "2024-11-29T14:30Z", "2024-11-29T17:59Z", 210),
    ],
)
def test_minutes_begin_at_the_open_in_new_york_and_end_at_the_close(market, day, first, last, count):
    instants = market.minute_bars("SAK", day)["datetime"]
    assert str(instants.dtype) == "datetime64[us, UTC]"
    assert (instants.iloc[0], instants.iloc[-1], len(instants)) == (pd.Timestamp(first), pd.Timestamp(last), count)
    assert (instants.diff().dropna() == pd.Timedelta(minutes=1)).all()


def test_minutes_are_decided_by_seed_symbol_and_session(market):
    minutes = market.minute_bars("SAK", SUMMER_DAY)
    pd.testing.assert_frame_equal(market_of().minute_bars("SAK", SUMMER_DAY), minutes, check_exact=True)
    pd.testing.assert_frame_equal(market_of(end=date(2024, 8, 1)).minute_bars("SAK", SUMMER_DAY), minutes)
    for other in (
        market_of(seed=8).minute_bars("SAK", SUMMER_DAY),
        market.minute_bars("SAL", SUMMER_DAY),
        market.minute_bars("SAK", WINTER_DAY),
    ):
        assert not other[PRICES].equals(minutes[PRICES])


def test_minutes_move_through_the_bar(market):
    closes = market.minute_bars("SAK", SUMMER_DAY)["close"]
    assert closes.nunique() > 20
    assert np.sign(closes.diff()).value_counts().loc[[-1.0, 1.0]].min() > 50


@pytest.mark.parametrize("day", [date(2024, 7, 6), date(2024, 7, 4), date(2020, 12, 30), date(2026, 1, 5)])
def test_there_are_no_minutes_without_a_session(market, day):
    minutes = market.minute_bars("SAK", day)
    assert minutes.empty
    assert minutes.dtypes.equals(market.minute_bars("SAK", SUMMER_DAY).dtypes)
    assert market.minute_bars("LATE", SUMMER_DAY).empty


def test_adjusted_minutes_carry_the_factor_of_their_session(market):
    symbol = next(symbol for symbol in UNIVERSE if (market.actions(symbol)["kind"] == "split").any())
    split = market.actions(symbol).query("kind == 'split'").iloc[0]
    before = market.raw_bars(symbol).query("date < @split.date")["date"].iloc[-1].date()
    for day, ratio in ((before, split["value"]), (split["date"].date(), 1.0)):
        raw, adjusted = market.minute_bars(symbol, day), market.minute_bars(symbol, day, Basis.SPLIT)
        np.testing.assert_allclose(adjusted[PRICES] * ratio, raw[PRICES], rtol=1e-5)
        np.testing.assert_allclose(adjusted["volume"], raw["volume"] * ratio, atol=0.5)


def test_an_unknown_symbol_is_refused(market):
    with pytest.raises(SymbolError, match="NONE"):
        market.minute_bars("NONE", SUMMER_DAY)


@pytest.mark.parametrize("bar", [Bar(5, 5, 5, 5, 0), Bar(5, 5.01, 5, 5.01, 3), Bar(10, 10.5, 9.5, 9.5, 1e9)])
def test_a_bar_of_no_range_or_few_shares_is_taken_apart_too(bar):
    table = minutes_of(bar, 210, np.random.default_rng(1))
    assert table.shape == (210, 5)
    assert [table[0, 0], table[:, 1].max(), table[:, 2].min(), table[-1, 3]] == [bar.open, bar.high, bar.low, bar.close]
    assert table[:, 4].sum() == bar.volume
    assert (table[:, 4] >= 0).all()
