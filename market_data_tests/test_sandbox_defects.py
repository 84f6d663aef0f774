"""What is planted, where, and how it shows in the bars as served."""

from collections import Counter
from datetime import date

import numpy as np
import pandas as pd
import pytest

from market_data.instruments import Instrument, Universe
from market_data.records import Basis
from market_data.sandbox.defects import KINDS, PROTECTED, Manifest, apply, plant
from market_data.sandbox.market import PRICES, SyntheticMarket
from market_data.sessions import is_session

START, END, SEED = date(2021, 1, 19), date(2026, 1, 19), 7
RULES = {
    "missing_session", "off_session", "null", "ohlc", "log_return", "stale_run", "volume_outlier", "duplicate",
    "cut_window", "zero_price", "negative_price", "negative_volume",
}  # fmt: skip


def universe_of(count: int) -> Universe:
    invented = [f"S{a}{b}" for a in "ABCDEFGHIJ" for b in "KLMNOPQRST"]
    names = [*sorted(PROTECTED), *invented][:count]
    return Universe([Instrument(name, listed_by=START) for name in names])


def market_of(count: int, *, end: date = END, seed: int = SEED) -> SyntheticMarket:
    return SyntheticMarket(universe_of(count), start=START, end=end, seed=seed)


@pytest.fixture(scope="module")
def market() -> SyntheticMarket:
    return market_of(60)


@pytest.fixture(scope="module")
def manifest(market) -> Manifest:
    return plant(market)


def symbols_a_kind(manifest: Manifest) -> Counter[str]:
    return Counter(kind for kind, _ in {(defect.kind, defect.symbol) for defect in manifest.defects})


def position(market: SyntheticMarket, symbol: str, day: date) -> int:
    return int(np.searchsorted(market.raw_bars(symbol)["date"].to_numpy(), np.datetime64(day)))


@pytest.mark.parametrize(("count", "expected"), [(40, 3), (100, 5)])
def test_every_kind_is_planted(count, expected):
    planted = symbols_a_kind(plant(market_of(count)))
    assert planted == {kind.name: 1 if kind.rejects else expected for kind in KINDS}


def test_the_usual_universe_has_three_symbols_a_kind(manifest):
    assert symbols_a_kind(manifest) == {kind.name: 1 if kind.rejects else 3 for kind in KINDS}


def test_rules_are_those_of_validation(manifest):
    assert {defect.rule for defect in manifest.defects} == RULES
    assert all(defect.note for defect in manifest.defects)


def test_planting_is_decided_by_the_seed(manifest):
    assert plant(market_of(60)) == manifest
    assert plant(market_of(60, seed=SEED + 1)) != manifest


def test_planting_stays_as_the_market_grows(manifest):
    assert plant(market_of(60, end=date(2025, 6, 2))) == manifest


def test_a_symbol_has_one_kind_and_the_protected_have_none(manifest):
    kinds: dict[str, set[str]] = {}
    for defect in manifest.defects:
        kinds.setdefault(defect.symbol, set()).add(defect.kind)
    assert all(len(found) == 1 for found in kinds.values())
    assert not PROTECTED & set(kinds)


def test_planted_sessions_keep_their_distance():
    market = market_of(100)
    manifest = plant(market)
    for symbol in {defect.symbol for defect in manifest.defects}:
        dated = [defect for defect in manifest.of(symbol) if defect.date]
        places = [position(market, symbol, defect.date) for defect in dated]
        assert all(10 <= place <= 1256 - 1 - 10 for place in places)
        gaps = np.diff(places)
        assert all(gap >= 10 or (dated[0].kind == "stale_run" and gap == 1) for gap in gaps)
        ex_places = {position(market, symbol, day.date()) for day in market.actions(symbol)["date"]}
        following = set() if dated and dated[0].kind == "off_session" else {place + 1 for place in places}
        assert not ex_places & {*places, *following}, symbol


@pytest.mark.parametrize("count", [1, 5, 12])
def test_a_small_universe_gets_what_fits_and_rejections_last(count):
    planted = symbols_a_kind(plant(market_of(count)))
    assert planted.total() == max(0, count - len(PROTECTED))
    assert not {"negative_price", "negative_volume", "null_flood"} & set(planted)


def test_a_short_market_gets_what_fits():
    short = market_of(30, end=date(2021, 3, 31))
    assert {"missing_session", "zero_price", "stale_run"} <= set(symbols_a_kind(plant(short)))
    assert plant(market_of(20, end=date(2021, 2, 2))).defects == []


def test_a_window_is_cut_only_where_bars_are_surely_due():
    unknown = Universe([Instrument(f"S{a}{b}") for a in "ABCD" for b in "KLMNOPQRST"])
    planted = symbols_a_kind(plant(SyntheticMarket(unknown, start=START, end=END, seed=SEED)))
    assert "cut_window" not in planted
    assert planted["zero_price"] == 3


def test_late_listings_are_left_clean_while_others_suffice():
    late = [Instrument(f"L{name}", listed_from=date(2024, 1, 2)) for name in "ABCDEF"]
    universe = Universe([*late, *universe_of(60).values()])
    planted = plant(SyntheticMarket(universe, start=START, end=END, seed=SEED))
    assert not {item.symbol for item in late} & {defect.symbol for defect in planted.defects}


def test_clean_symbols_are_served_unchanged_and_no_input_is_touched(market, manifest):
    for symbol in market.universe:
        bars = market.adjusted_bars(symbol)
        kept = bars.copy()
        served = apply(bars, manifest.of(symbol))
        pd.testing.assert_frame_equal(bars, kept)
        assert served.equals(bars) == (not manifest.of(symbol)), symbol


def test_served_frames_keep_types_and_order(market, manifest):
    for symbol in {defect.symbol for defect in manifest.defects}:
        served = apply(market.adjusted_bars(symbol), manifest.of(symbol))
        assert [str(dtype) for dtype in served.dtypes] == ["datetime64[s]", *["float64"] * 5], symbol
        assert served["date"].is_monotonic_increasing


def test_a_defect_changes_nothing_beside_it(market, manifest):
    everywhere = {"missed_split", "cut_window", "null_flood"}
    for symbol in {defect.symbol for defect in manifest.defects if defect.kind not in everywhere}:
        planted = [pd.Timestamp(defect.date) for defect in manifest.of(symbol)]
        clean = market.adjusted_bars(symbol)
        served = apply(clean, manifest.of(symbol))
        beside = [frame[~frame["date"].isin(planted)].reset_index(drop=True) for frame in (clean, served)]
        pd.testing.assert_frame_equal(*beside)


def test_a_stale_run_has_six_sessions_and_consistent_bars(market, manifest):
    symbols = {defect.symbol for defect in manifest.defects if defect.kind == "stale_run"}
    for symbol in symbols:
        served = apply(market.adjusted_bars(symbol), manifest.of(symbol))
        run = (served["close"] != served["close"].shift()).cumsum()
        length = run.map(run.value_counts())
        second_on = served[(length == 6) & (run == run.shift())]
        assert [day.date() for day in second_on["date"]] == [defect.date for defect in manifest.of(symbol)]
        assert not (length > 6).any()
        assert (served["low"] <= served[PRICES].min(axis=1)).all()
        assert (served["high"] >= served[PRICES].max(axis=1)).all()


def test_off_session_bars_stand_on_a_weekend_and_on_a_holiday(manifest):
    days = [defect.date for defect in manifest.defects if defect.kind == "off_session"]
    assert not any(is_session(day) for day in days)
    assert {day.weekday() >= 5 for day in days} == {True, False}


def test_few_nulls_pass_and_the_flood_does_not(market, manifest):
    for kind, low, high in (("null", 0.0, 0.03), ("null_flood", 0.075, 0.085)):
        symbol = next(defect.symbol for defect in manifest.defects if defect.kind == kind)
        served = apply(market.adjusted_bars(symbol), manifest.of(symbol))
        assert low < served.isna().any(axis=1).mean() <= high


def test_json_is_plain(manifest):
    first = manifest.as_json()[0]
    assert first["date"] == manifest.defects[0].date.isoformat()
    assert set(first) == {"symbol", "date", "rule", "kind", "note", "variant", "vendors"}
    flood = next(item for item in manifest.as_json() if item["kind"] == "null_flood")
    assert flood["date"] is None


def test_the_manifest_names_the_vendors_that_show_a_defect(manifest):
    for defect in manifest.as_json():
        hidden = set() if defect["kind"] != "duplicate" else {"alpha_vantage"}
        assert {"polygon", "alpha_vantage", "yahoo", "stooq"} - set(defect["vendors"]) == hidden


@pytest.mark.parametrize("basis", [Basis.RAW, Basis.SPLIT])
def test_a_defect_is_the_same_on_every_basis(market, manifest, basis):
    """What is changed, by which factor and on which rows does not depend on what the prices are adjusted for."""
    for symbol in {defect.symbol for defect in manifest.defects}:
        usual, other = (
            (clean, apply(clean, manifest.of(symbol)))
            for clean in (market.adjusted_bars(symbol), market.adjusted_bars(symbol, basis))
        )
        assert other[1]["date"].tolist() == usual[1]["date"].tolist()
        changes = []
        for clean, served in (usual, other):
            before = clean.groupby("date").last().reindex(served["date"], method="ffill")
            changes.append(served[[*PRICES, "volume"]].to_numpy() / before[[*PRICES, "volume"]].to_numpy())
        np.testing.assert_allclose(changes[1], changes[0], rtol=2e-4, err_msg=f"{symbol} {manifest.of(symbol)[0].kind}")


def test_no_defect_stands_beside_a_split_of_the_raw_series():
    market = market_of(100)
    manifest = plant(market)
    splitting = [symbol for symbol in market.universe if (market.actions(symbol)["kind"] == "split").any()]
    planted = {defect.symbol for defect in manifest.defects} & set(splitting)
    assert planted
    for symbol in planted:
        raw = market.raw_bars(symbol)
        served = apply(raw, manifest.of(symbol))
        for day in market.actions(symbol).query("kind == 'split'")["date"]:
            around = [frame[(frame["date"] - day).abs() <= pd.Timedelta(days=1)] for frame in (raw, served)]
            if manifest.of(symbol)[0].kind in ("missed_split", "cut_window", "null_flood"):
                continue
            pd.testing.assert_frame_equal(*(frame.reset_index(drop=True) for frame in around))
