from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data.adjustments import (
    adjust,
    declared_dividends,
    dividend_factors,
    split_factors,
    to_raw,
    to_tick,
)
from market_data.records import Basis

RATIOS = (2.0, 3.0, 4.0, 7.0, 20.0, 1.5, 1.25, 1.05, 0.1, 0.125, 1 / 3, 0.04)
MODERATE = (2.0, 3.0, 4.0, 1.5, 1.25, 0.5, 0.1)
SPIN_OFFS = (1.046, 1.2003, 1.0131)
PRICES = ["open", "high", "low", "close", "vwap"]
DAYS = pd.bdate_range("2021-01-04", periods=24).to_numpy().astype("datetime64[s]")


@dataclass(frozen=True)
class Case:
    """Raw bars, actions, and a date in their midst or after them."""

    bars: pd.DataFrame
    actions: pd.DataFrame
    as_of: date


@st.composite
def cases(draw, *, unit=0.01, ratios=RATIOS, largest=0.49, most=4, always=()):
    """Prices of 2 to 900 dollars in whole `unit`s; dividends below `largest` of the close before them."""
    count = draw(st.integers(2, 14))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    prices = np.round(random.integers(round(2 / unit), round(900 / unit), (count, 5)) * unit, 4)
    volumes = random.integers(0, 2 * 10**9, count).astype(float)
    bars = pd.DataFrame({"date": DAYS[:count], **{name: prices[:, i] for i, name in enumerate(PRICES[:4])}})
    bars = bars.assign(volume=volumes, vwap=prices[:, 4], trade_count=np.nan)
    rows = [(DAYS[count - 1] if at is None else at, kind, value) for at, kind, value in always]
    places = st.sets(st.integers(1, count - 1), max_size=most)
    free = sorted(draw(places) - ({count - 1} if always else set()))
    rows += [(DAYS[at], "split", draw(st.sampled_from(ratios))) for at in free]
    rows += [(DAYS[at], "spinoff", draw(st.sampled_from(SPIN_OFFS))) for at in sorted(draw(places)) if at in free]
    for at in sorted(draw(places)):
        per_share = np.prod([value for day, kind, value in rows if day == DAYS[at] and kind != "dividend"])
        share = draw(st.floats(0.0005, largest))
        rows.append((DAYS[at], "dividend", share * bars["close"][at - 1] / per_share))
    rows = draw(st.permutations(rows))
    actions = pd.DataFrame(rows, columns=["date", "kind", "value"])
    actions = actions.astype({"date": "datetime64[s]", "kind": "str", "value": "float64"})
    as_of = DAYS[draw(st.integers(0, count))].astype("datetime64[D]").item()
    return Case(bars, actions, as_of)


def assert_same(back: pd.DataFrame, raw: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(back, raw, check_exact=True)


def as_vendor(case: Case, basis: Basis, rounded) -> pd.DataFrame:
    sent = adjust(case.bars, case.actions, basis, as_of=case.as_of)
    moved = split_factors(DAYS[: len(sent)], case.actions, as_of=case.as_of) != 1
    if basis is Basis.SPLIT_DIVIDEND:
        moved |= dividend_factors(sent["date"], case.bars["close"], case.actions, as_of=case.as_of) != 1
    for name in PRICES:
        sent[name] = np.where(moved, rounded(sent[name].to_numpy()), sent[name])
    return sent


def six_digits(values: np.ndarray) -> np.ndarray:
    return np.array([float(f"{value:.6g}") for value in values])


def back_to_raw(sent: pd.DataFrame, case: Case, basis: Basis, volume_basis: Basis = Basis.SPLIT) -> pd.DataFrame:
    return to_raw(sent, case.actions, basis, as_of=case.as_of, volume_basis=volume_basis).bars


BOTH = st.sampled_from([Basis.SPLIT, Basis.SPLIT_DIVIDEND])
few = settings(max_examples=15)


@few
@given(cases(), BOTH)
def test_bars_in_cents_come_back_exactly_from_any_basis(case, basis):
    sent = adjust(case.bars, case.actions, basis, as_of=case.as_of)
    assert_same(back_to_raw(sent, case, basis), case.bars)


@few
@given(cases(unit=0.0001, ratios=MODERATE, always=[(None, "spinoff", 1.0461)]), BOTH)
def test_bars_in_tenths_of_a_mil_come_back_exactly_from_any_basis(case, basis):
    sent = adjust(case.bars, case.actions, basis, as_of=case.as_of)
    assert_same(back_to_raw(sent, case, basis), case.bars)


@few
@given(cases(ratios=MODERATE, largest=0.05, most=2), BOTH)
def test_bars_sent_with_four_decimals_come_back_to_the_cent(case, basis):
    sent = as_vendor(case, basis, lambda values: np.round(values, 4))
    assert_same(back_to_raw(sent, case, basis), case.bars)


@few
@given(cases(largest=0.05, most=2), BOTH)
def test_bars_sent_with_six_significant_digits_come_back_to_the_cent(case, basis):
    assert_same(back_to_raw(as_vendor(case, basis, six_digits), case, basis), case.bars)


@few
@given(cases(largest=0.2))
def test_volumes_adjusted_for_dividends_come_back_whole(case):
    days, closes = case.bars["date"], case.bars["close"]
    sent = adjust(case.bars, case.actions, Basis.SPLIT_DIVIDEND, as_of=case.as_of)
    sent["volume"] /= dividend_factors(days, closes, case.actions, as_of=case.as_of)
    assert_same(back_to_raw(sent, case, Basis.SPLIT_DIVIDEND, Basis.SPLIT_DIVIDEND), case.bars)


@few
@given(cases())
def test_from_split_adjusted_to_total_return_and_back_is_the_dividend_factor(case):
    split = adjust(case.bars, case.actions, Basis.SPLIT, as_of=case.as_of)
    total = adjust(case.bars, case.actions, Basis.SPLIT_DIVIDEND, as_of=case.as_of)
    paid = dividend_factors(case.bars["date"], case.bars["close"], case.actions, as_of=case.as_of)
    for name in PRICES:
        np.testing.assert_allclose(total[name] / paid, split[name], rtol=1e-12)
    np.testing.assert_array_equal(total["volume"], split["volume"])
    assert ((paid > 0) & (paid <= 1)).all()
    assert (np.diff(paid) >= 0).all()


@few
@given(cases(largest=0.2))
def test_a_total_return_is_what_holders_had_who_put_each_dividend_into_the_share(case):
    """Independent of the formula: the value of a share and of what it paid, bar by bar."""
    total = adjust(case.bars, case.actions, Basis.SPLIT_DIVIDEND)["close"].to_numpy()
    closes = case.bars["close"].to_numpy()
    for at in range(1, len(closes)):
        here = case.actions[case.actions["date"] == case.bars["date"][at]]
        shares = here.loc[here["kind"] != "dividend", "value"].prod()
        paid = here.loc[here["kind"] == "dividend", "value"].sum()
        # A dividend is put in at the close before, less the dividend: CRSP's and Yahoo's convention.
        expected = closes[at] * shares / (closes[at - 1] - paid * shares)
        np.testing.assert_allclose(total[at] / total[at - 1], expected, rtol=1e-11)


@few
@given(cases(), st.integers(0, 14))
def test_factors_multiply_over_time(case, place):
    days, later = case.bars["date"], case.as_of
    earlier = min(later, DAYS[place].astype("datetime64[D]").item())
    of_both = split_factors(days, case.actions, as_of=later)
    between = case.actions[case.actions["date"] > pd.Timestamp(earlier)]
    since = split_factors(np.maximum(days.to_numpy(), np.datetime64(earlier, "s")), between, as_of=later)
    np.testing.assert_allclose(split_factors(days, case.actions, as_of=earlier) * since, of_both, rtol=1e-12)
    apart = [split_factors(days, case.actions, as_of=later, kinds=(kind,)) for kind in ("split", "spinoff")]
    np.testing.assert_allclose(apart[0] * apart[1], of_both, rtol=1e-12)


@few
@given(cases(), BOTH, st.floats(-5, 5))
def test_actions_after_the_date_change_nothing_whatever_they_are(case, basis, value):
    changed = case.actions.copy()
    later = changed["date"] > pd.Timestamp(case.as_of)
    changed.loc[later, "value"] = value
    known = adjust(case.bars, case.actions, basis, as_of=case.as_of)
    pd.testing.assert_frame_equal(adjust(case.bars, changed, basis, as_of=case.as_of), known, check_exact=True)
    pd.testing.assert_frame_equal(adjust(case.bars, case.actions[~later], basis), known, check_exact=True)


@few
@given(cases(), st.data())
def test_a_null_bar_stays_null_and_leaves_the_others_exact(case, data):
    bars = case.bars.copy()
    place = data.draw(st.integers(1, len(bars) - 1))
    bars.loc[place, [*PRICES, "volume"]] = np.nan
    paid = case.actions["kind"] == "dividend"
    case = Case(bars, case.actions[~(paid & (case.actions["date"] == bars["date"].shift(-1)[place]))], case.as_of)
    for basis in (Basis.SPLIT, Basis.SPLIT_DIVIDEND):
        sent = adjust(bars, case.actions, basis, as_of=case.as_of)
        assert_same(back_to_raw(sent, case, basis), bars)


@few
@given(cases(ratios=MODERATE), st.data())
def test_declared_dividends_come_back_from_split_adjusted_ones(case, data):
    paid = (case.actions["kind"] == "dividend").to_numpy()
    cents = [data.draw(st.integers(1, 500)) / 100 for _ in range(paid.sum())]
    declared = case.actions.copy()
    declared.loc[paid, "value"] = cents
    order = np.argsort(declared["date"].to_numpy(), kind="stable")
    later = np.empty(len(declared))
    later[order] = split_factors(declared["date"].to_numpy()[order], declared, as_of=case.as_of)
    sent = declared.assign(value=np.where(paid, np.round(declared["value"] / later, 6), declared["value"]))
    pd.testing.assert_frame_equal(declared_dividends(sent, as_of=case.as_of), declared, check_exact=True)


@settings(max_examples=150)
@given(st.floats(0.01, 100_000), st.floats(0, 0.01))
def test_a_tick_is_near_and_stays(price, error):
    tick = to_tick(price, error=error)
    assert abs(tick - price) <= max(error, 0.00005) + 1e-9
    assert to_tick(tick, error=0) == tick
    assert round(float(tick) * 10_000, 4) == round(float(tick) * 10_000)
