"""Random walks with known splits and dividends, into which the tests of proposals plant errors; clean they are here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from market_data.records import Basis
from market_data.schemas import empty_actions
from market_data.sessions import sessions_between
from market_data.validation.dividend_repairs import dividend_units, misdated_dividends
from market_data.validation.frames import Bars, Found
from market_data.validation.repairs import moves, splits, unit_errors
from market_data_tests.test_validation_builders import START

SIZE = 300
SESSIONS = sessions_between(START, pd.Timestamp(START).date().replace(year=2024, month=6))[:SIZE]
PRICES = ["open", "high", "low", "close"]

Floats = npt.NDArray[np.float64]
seeds = st.integers(0, 10**6)


@dataclass(frozen=True, slots=True)
class Series:
    """Bars of a market where `splits` and `dividends` (position -> value) took place, in raw or adjusted prices."""

    bars: pd.DataFrame
    actions: pd.DataFrame
    basis: Basis


def actions(rows: list[tuple[int, str, float]]) -> pd.DataFrame:
    if not rows:
        return empty_actions()
    frame = pd.DataFrame(rows, columns=["date", "kind", "value"]).astype({"kind": "str", "value": "float64"})
    return frame.assign(date=SESSIONS[frame["date"]].astype("datetime64[s]"))


def series(
    seed: int,
    *,
    basis: Basis = Basis.RAW,
    ratios: dict[int, float] | None = None,
    dividends: dict[int, float] | None = None,
    daily: float = 0.012,
    crash: tuple[int, float] | None = None,
) -> Series:
    """A market of 300 sessions from 80 dollars; a dividend is a share of the price before it.

    A crash (position, price left of one) comes with what crashes come with: a wide day and volume that fades out.
    """
    draw = np.random.default_rng(seed)
    moved = draw.normal(0, daily, SIZE)
    shares = draw.lognormal(14, 0.35, SIZE)
    wide = np.full(SIZE, 0.3)
    if crash:
        moved[crash[0]] += np.log(crash[1])
        shares[crash[0] :] *= 1 + 11 * np.exp(-np.arange(SIZE - crash[0]) / 4)
        wide[crash[0] : crash[0] + 3] = 3
    paid = np.zeros(SIZE)
    for at, share in (dividends or {}).items():
        paid[at] = np.log1p(-share)
    close = 80 * np.exp(np.cumsum(moved + paid))
    previous = np.append(80.0, close[:-1])
    opening = previous * np.exp(moved * draw.uniform(0.3, 1.0, SIZE) + paid)
    reach = np.abs(draw.normal(0, daily, (2, SIZE))) * wide
    bars = pd.DataFrame(
        {
            "date": SESSIONS,
            "open": opening,
            "high": np.maximum(opening, close) * (1 + reach[0]),
            "low": np.minimum(opening, close) * (1 - reach[1]),
            "close": close,
            "volume": shares,
            "vwap": (opening + close) / 2,
            "trade_count": np.nan,
        }
    )
    rows = [(at, "dividend", share * previous[at]) for at, share in (dividends or {}).items()]
    if basis is Basis.RAW:
        rows = _untouched(bars, rows, ratios or {})
    rows += [(at, "split", ratio) for at, ratio in (ratios or {}).items()]
    return Series(bars, actions(rows), basis)


def _untouched(
    bars: pd.DataFrame, rows: list[tuple[int, str, float]], ratios: dict[int, float]
) -> list[tuple[int, str, float]]:
    for at, ratio in ratios.items():
        scale(bars, slice(0, at), ratio)
        rows = [(day, kind, value * (ratio if day < at else 1.0)) for day, kind, value in rows]
    return rows


def scale(bars: pd.DataFrame, rows: slice, ratio: float) -> None:
    """Turn bars to another share count: prices times `ratio`, volume divided by it."""
    at = bars.index[rows]
    bars.loc[at, [*PRICES, "vwap"]] = bars.loc[at, [*PRICES, "vwap"]] * ratio
    bars.loc[at, "volume"] = bars.loc[at, "volume"] / ratio


def near(value: float) -> Any:
    """Equal to `value` but for rounding."""
    return pytest.approx(value)


def proposals(bars: pd.DataFrame, told: pd.DataFrame, basis: Basis) -> list[tuple[int, str, str, float]]:
    """(position, rule, field, proposed) of each, in order."""
    found = moves(Bars.of(bars), told, basis)
    blocks = [unit_errors(found), *splits(found), misdated_dividends(found), dividend_units(found)]
    return sorted(row for block in blocks for row in _rows(block))


def _rows(block: Found) -> list[tuple[int, str, str, float]]:
    places = SESSIONS.get_indexer(pd.DatetimeIndex(block.date))
    assert all(len(text) > 20 for text in block.message)
    return list(zip(places.tolist(), [block.rule] * len(block), block.field, block.proposed.tolist(), strict=True))


@examples(max_examples=60)
@given(seeds, st.sampled_from([Basis.RAW, Basis.SPLIT]), st.sampled_from([2.0, 3.0, 20.0, 0.1, 1.5]))
def test_clean_walks_with_splits_and_dividends_give_no_proposal(seed: int, basis: Basis, ratio: float) -> None:
    payers = {30: 0.006, 93: 0.006, 156: 0.08, 219: 0.007, 282: 0.0065}
    clean = series(seed, basis=basis, ratios={120: ratio}, dividends=payers)
    assert proposals(clean.bars, clean.actions, clean.basis) == []


@examples(max_examples=60)
@given(seeds, st.sampled_from(Basis), st.floats(0.05, 0.8), st.integers(25, 290))
def test_a_crash_is_no_split(seed: int, basis: Basis, left: float, at: int) -> None:
    crashed = series(seed, basis=basis, crash=(at, left))
    assert proposals(crashed.bars, crashed.actions, basis) == []


@examples(max_examples=40)
@given(seeds, st.floats(1.3, 6.0), st.integers(25, 290))
def test_a_leap_on_news_is_no_reverse_split(seed: int, left: float, at: int) -> None:
    leapt = series(seed, crash=(at, left))
    assert proposals(leapt.bars, leapt.actions, Basis.RAW) == []
