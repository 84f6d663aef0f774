"""`load_features`, and `market-data features`: what is served, in which shape, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from market_data.cli.features import features
from market_data.errors import MarketDataError, SettingsError, SymbolError, WarehouseError
from market_data.features.catalogue import FEATURES
from market_data.reading_features import StaleFeatures, load_features
from market_data_tests.featured import FILE, FeatureStore

WIDE = {"COLUMNS": "200"}


@pytest.fixture
def store() -> FeatureStore:
    return FeatureStore()


def test_the_long_layout_has_a_row_for_each_expected_session_by_symbol_in_the_order_asked(store):
    first, last = store.days[252], store.days[255]
    frame = load_features(["NKE", "AAPL", "NKE"], first, str(last), ["rsi_14", "log_return_1"], database=FILE)
    assert list(frame.columns) == ["symbol", "date", "rsi_14", "log_return_1", "reason"]
    assert frame["symbol"].tolist() == ["NKE"] * 4 + ["AAPL"] * 4
    assert frame["date"].tolist() == [pd.Timestamp(day) for day in store.days[252:256]] * 2
    assert frame["rsi_14"].tolist() == [
        store.feature(s, d, "rsi_14") for s in ("NKE", "AAPL") for d in store.days[252:256]
    ]
    assert frame.attrs == {"database": str(FILE), "synthetic": True, "missing": [], "stale": []}


def test_all_features_are_served_by_default_and_nulls_are_nan_with_their_reason(store):
    frame = load_features("AAPL", store.days[0], store.days[0], database=FILE)
    assert list(frame.columns) == ["symbol", "date", *(one.name for one in FEATURES), "reason"]
    assert np.isnan(frame["log_return_1"][0])
    assert "warm-up" in frame["reason"][0]


def test_the_wide_layout_has_a_row_for_each_session_and_a_column_for_each_symbol(store):
    span = (store.days[252], store.days[255])
    one = load_features(["NKE", "AAPL"], *span, "beta_252", layout="wide", database=FILE)
    assert (list(one.columns), one.columns.name, one.index.name) == (["NKE", "AAPL"], "symbol", "date")
    assert one["AAPL"].tolist() == [store.feature("AAPL", day, "beta_252") for day in store.days[252:256]]
    two = load_features(["NKE", "KO"], *span, ["beta_252", "macd"], layout="wide", database=FILE)
    assert two.columns.tolist() == [("beta_252", "NKE"), ("beta_252", "KO"), ("macd", "NKE"), ("macd", "KO")]
    assert two["macd"]["NKE"].tolist() == [store.feature("NKE", day, "macd") for day in store.days[252:256]]
    assert two["macd"]["KO"].isna().all()
    assert two.attrs["missing"] == ["KO"]


def test_the_arrow_layout_is_the_long_one_and_tells_what_it_was_read_from(store):
    table = load_features(["MSFT"], store.days[1], store.days[2], ["log_return_1"], layout="arrow", database=FILE)
    assert isinstance(table, pa.Table)
    assert table.column_names == ["symbol", "date", "log_return_1", "reason"]
    assert table["date"].to_pylist() == store.days[1:3]
    assert json.loads(table.schema.metadata[b"market_data"])["synthetic"] is True


def test_features_that_are_not_of_the_prices_as_they_stand_are_refused_unless_asked_for(store):
    store.revise("MSFT", store.days[290], close=90.0)
    store.execute("DELETE FROM feature_partitions WHERE date = ?", store.days[280])
    store.execute("DELETE FROM features_daily WHERE date = ?", store.days[280])
    assert len(load_features("AAPL", store.days[281], store.days[289], database=FILE)) == 9
    with pytest.raises(StaleFeatures) as refused:
        load_features("AAPL", store.days[270], store.days[299], database=FILE)
    text = str(refused.value)
    assert f"11 of the sessions: {store.days[280]}: never made; {store.days[290]}: bars, verdicts or actions" in text
    assert "and 6 more. Run `market-data features update`, or give allow_stale=True" in text
    frame = load_features("AAPL", store.days[270], store.days[299], allow_stale=True, database=FILE)
    assert len(frame) == 29
    assert frame.attrs["stale"] == [str(day) for day in (store.days[280], *store.days[290:])]


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"names": "close"}, SettingsError, "not features: 'close'"),
        ({"names": []}, SettingsError, "no feature is asked for"),
        ({"start": "2021-13-01"}, SettingsError, "start '2021-13-01' is not a date"),
        ({"start": "2022-01-01"}, SettingsError, "is after end"),
        ({"layout": "tall"}, SettingsError, "layout 'tall' is not known"),
        ({"symbols": "NOSUCH"}, SymbolError, "NOSUCH"),
        ({"database": "other.duckdb"}, WarehouseError, "no database yet"),
    ],
)
def test_arguments_that_are_not_allowed_are_named(store, given, error, text):
    asked = {"symbols": "AAPL", "start": "2021-02-01", "end": "2021-02-05", "database": FILE} | given
    with pytest.raises(error, match=text):
        load_features(asked.pop("symbols"), asked.pop("start"), asked.pop("end"), **asked)


def test_update_makes_what_is_due_and_tells_it():
    store = FeatureStore(made=False)
    done = CliRunner().invoke(features, ["update", "--end", "2021-02-10"], env=WIDE)
    assert done.exit_code == 0, done.output
    assert "17 sessions made, 0 up to date - SYNTHETIC data" in done.stdout
    assert "rows: 51 new, 0 changed, 0 the same, 0 removed" in done.stdout
    assert "warm-up" in done.stdout
    store.revise("MSFT", store.days[3], close=90.0)
    done = CliRunner().invoke(features, ["update", "--start", "2021-02-10", "--end", "2021-02-10", "--json"])
    document = json.loads(done.stdout)
    assert (done.exit_code, document["made"], len(document["stale"]), document["synthetic"]) == (
        1, ["2021-02-10"], 13, True,
    )  # fmt: skip
    assert store.rows("SELECT count(DISTINCT date) FROM features_daily") == [(17,)]


def test_show_tells_each_value_its_unit_and_why_one_is_null(store):
    day = store.days[100]
    done = CliRunner().invoke(features, ["show", "AAPL", "--session", str(day)], env=WIDE)
    assert done.exit_code == 0, done.output
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert f"{store.feature('AAPL', day, 'log_return_21'):.5g}" in lines["log_return_21"]
    assert "log return" in lines["log_return_21"]
    assert "warm-up, 101 sessions held" in lines["beta_252"]
    assert "Slope of 252 daily simple returns" in lines["beta_252"]
    document = json.loads(CliRunner().invoke(features, ["show", "AAPL", "--json"]).stdout)
    assert (document["session"], document["stale"]) == (str(store.days[-1]), None)
    assert document["features"]["rsi_14"] == {
        "value": store.feature("AAPL", store.days[-1], "rsi_14"),
        "reason": None,
        "unit": "0 to 100",
        "meaning": "Wilder's relative strength index of 14.",
    }
    assert document["features"].keys() == {one.name for one in FEATURES}


def test_show_says_when_the_session_is_stale_or_not_there(store):
    store.revise("MSFT", store.days[-1], close=90.0)
    done = CliRunner().invoke(features, ["show", "AAPL"], env=WIDE)
    assert "not up to date: bars, verdicts or actions" in done.stdout
    done = CliRunner().invoke(features, ["show", "AAPL", "--session", "2030-01-02"])
    assert isinstance(done.exception, MarketDataError)
    assert "no features of AAPL on 2030-01-02" in str(done.exception)


def test_list_tells_every_feature():
    done = CliRunner().invoke(features, ["list"], env=WIDE)
    assert all(one.name in done.stdout for one in FEATURES)
    document = json.loads(CliRunner().invoke(features, ["list", "--json"]).stdout)
    assert [one["name"] for one in document] == [one.name for one in FEATURES]
    assert document[0]["lookback"] == 2


def test_a_span_that_is_none_is_bad_input():
    FeatureStore()
    done = CliRunner().invoke(features, ["update", "--start", "2022-01-01", "--end", "2021-01-01"])
    assert isinstance(done.exception, SettingsError)
