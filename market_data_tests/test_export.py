"""`market_data.export`: what the files say, in each format."""

from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from market_data.errors import SettingsError, SymbolError, WarehouseError
from market_data.export import ExportError, ExportRequest, export
from market_data.export.file_names import file_name
from market_data.export.formats import encoded
from market_data.export.sheet import Sheet
from market_data.reading import load
from market_data_tests.exporting import MISSING, NOW, SESSIONS, build, clock

TOLD = ("A", "AAPL", "BRK.B", "CON", "GAP", "LATE")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return build(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def made(store, tmp_path_factory):
    """Each format in its own basis, in parts of three symbols."""
    folder = tmp_path_factory.mktemp("exports")
    formats = ("parquet", "csv", "zipline", "qlib")
    return {name: export(store, ExportRequest(name, folder / name, at_once=3), clock) for name in formats}


def loaded(store, basis: str, **more) -> pd.DataFrame:
    given = {"fields": ("open", "high", "low", "close", "volume"), "layout": "long"} | more
    path = store.database_for(synthetic=False)
    return load(TOLD, "2023-11-01", "2024-02-01", basis, NOW, settings=store, database=path, **given)


def read_csv(file: Path) -> pd.DataFrame:
    return pd.read_csv(file, parse_dates=["date"])


def test_parquet_is_what_load_gives_when_duckdb_reads_its_years(store, made):
    folder = made["parquet"].folder / "prices"
    rows = duckdb.sql(
        f"SELECT symbol, date, open, high, low, close, volume, basis, year FROM read_parquet('{folder}/*/*.parquet')"
    ).df()
    expected = loaded(store, "total_return")
    assert (rows.pop("year") == rows["date"].dt.year).all()
    rows = rows.sort_values(["symbol", "date"], ignore_index=True).astype({"date": "datetime64[s]"})
    pd.testing.assert_frame_equal(rows, expected, check_exact=True, check_dtype=False)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet"))
    assert names == [f"year={year}/part-000{part}.parquet" for year in (2023, 2024) for part in (0, 1)]


def test_parquet_is_read_whole_by_pandas_and_tells_of_itself(store, made):
    folder = made["parquet"].folder / "prices"
    frame = pd.read_parquet(folder)
    assert len(frame) == len(loaded(store, "total_return"))
    assert set(frame["year"].astype(int)) == {2023, 2024}
    file = parquet.ParquetFile(folder / "year=2023/part-0000.parquet")
    assert json.loads(file.schema_arrow.metadata[b"market_data"]) == {
        "basis": "total_return",
        "until": "2024-02-01",
        "synthetic": False,
        "as_of": "2024-02-01T12:00:00+00:00",
        "start": "2023-11-01",
        "end": "2024-02-01",
    }
    assert file.metadata.row_group(0).column(2).compression == "ZSTD"
    assert (file.schema_arrow.field("date").type, file.schema_arrow.field("close").type) == (pa.date32(), pa.float64())
    rows = file.read().to_pandas()
    pd.testing.assert_frame_equal(rows, rows.sort_values(["symbol", "date"], ignore_index=True))


def test_csv_has_a_file_a_symbol_whose_numbers_read_back_the_same(store, made):
    folder = made["csv"].folder / "prices"
    assert sorted(path.name for path in folder.iterdir()) == [
        "A.csv", "AAPL.csv", "BRK.B.csv", "CON_.csv", "GAP.csv", "LATE.csv",
    ]  # fmt: skip
    expected = loaded(store, "total_return")
    for symbol in TOLD:
        found = read_csv(folder / f"{file_name(symbol)}.csv")
        of_symbol = expected[expected["symbol"] == symbol].reset_index(drop=True)
        pd.testing.assert_frame_equal(found, of_symbol, check_exact=True, check_dtype=False)
    head = (folder / "A.csv").read_text().splitlines()
    assert head[0] == "symbol,date,open,high,low,close,volume,basis"
    assert head[4].split(",")[:2] == ["A", SESSIONS[3]]
    assert head[4].split(",")[5] == ""


def test_other_fields_are_exported_when_asked_for(store, tmp_path):
    done = export(store, ExportRequest("csv", tmp_path / "out", "AAPL", basis="raw",
                                       fields=["close", "source_provider", "known_at"]), clock)  # fmt: skip
    lines = (done.folder / "prices/AAPL.csv").read_text().splitlines()
    assert lines[0] == "symbol,date,close,source_provider,known_at,basis"
    assert lines[1].split(",")[3:] == ["sandbox", "2024-02-01 00:00:00.000000Z", "raw"]


def test_zipline_gets_prices_as_traded_with_splits_and_dividends_on_their_days(store, made):
    found = read_csv(made["zipline"].folder / "daily/AAPL.csv").set_index("date")
    raw = loaded(store, "raw")
    raw = raw[raw["symbol"] == "AAPL"].set_index("date")
    assert list(found.columns) == ["open", "high", "low", "close", "volume", "dividend", "split"]
    pd.testing.assert_series_equal(found["close"], raw["close"], check_index_type=False)
    acting = found[(found["split"] != 1) | (found["dividend"] != 0)][["dividend", "split"]]
    assert acting.to_dict("index") == {
        pd.Timestamp(SESSIONS[5]): {"dividend": 0.24, "split": 1.0},
        pd.Timestamp(SESSIONS[30]): {"dividend": 0.0, "split": 4.0},
        pd.Timestamp(SESSIONS[50]): {"dividend": 0.07, "split": 1.0},
    }


@pytest.mark.parametrize("symbol", ["AAPL", "BRK.B", "CON", "LATE"])
def test_zipline_comes_to_our_total_return_by_its_own_formula(store, made, symbol):
    found = read_csv(made["zipline"].folder / f"daily/{file_name(symbol).replace('.', '-')}.csv")
    ratio = (1 / found["split"]) * (1 - found["dividend"] / found["close"].shift(1)).fillna(1)
    later = ratio[::-1].cumprod()[::-1].shift(-1).fillna(1)
    expected = loaded(store, "total_return")
    expected = expected[expected["symbol"] == symbol]["close"].to_numpy()
    np.testing.assert_allclose((found["close"] * later).to_numpy(), expected, rtol=1e-12)


def test_zipline_gets_a_row_without_prices_for_a_session_without_a_bar(made):
    found = read_csv(made["zipline"].folder / "daily/GAP.csv").set_index("date")
    assert [f"{day:%Y-%m-%d}" for day in found.index] == SESSIONS
    empty = found[found["open"].isna()]
    assert [f"{day:%Y-%m-%d}" for day in empty.index] == sorted(MISSING)
    assert empty[["close", "volume"]].isna().all().all()
    assert found.loc[SESSIONS[19], "split"] == 2
    assert found[["dividend", "split"]].notna().all().all()
    unknown = "follows a session without a close, and lowers no earlier price in zipline"
    assert made["zipline"].manifest.named("cautions") == [
        f"A: the dividend of {SESSIONS[4]} {unknown}",
        f"GAP: 3 sessions without a bar are rows without prices, first {MISSING[0]}",
        f"GAP: the dividend of {SESSIONS[10]} {unknown}",
    ]


def test_zipline_has_no_dots_in_names_and_starts_where_a_symbol_does(made):
    folder = made["zipline"].folder / "daily"
    assert sorted(path.name for path in folder.iterdir()) == [
        "A.csv", "AAPL.csv", "BRK-B.csv", "CON_.csv", "GAP.csv", "LATE.csv",
    ]  # fmt: skip
    assert read_csv(folder / "LATE.csv")["date"].iloc[0] == pd.Timestamp(SESSIONS[15])
    assert {file.path: file.symbol for file in made["zipline"].manifest.files}["daily/BRK-B.csv"] == "BRK.B"


def test_zipline_in_an_adjusted_basis_is_left_nothing_to_adjust(store, tmp_path):
    done = export(store, ExportRequest("zipline", tmp_path / "out", "AAPL", basis="split"), clock)
    found = read_csv(done.folder / "daily/AAPL.csv")
    assert (set(found["split"]), set(found["dividend"])) == ({1}, {0})
    split = loaded(store, "split")
    assert found["close"].tolist() == split[split["symbol"] == "AAPL"]["close"].tolist()


def test_zipline_is_told_of_numbers_it_cannot_keep(tmp_path):
    settings = build(tmp_path / "store")
    with duckdb.connect(settings.database_for(synthetic=False)) as connection:
        connection.execute("UPDATE price_history_daily SET volume = 5e9 WHERE symbol = 'A' AND date = ?", [SESSIONS[1]])
        connection.execute("UPDATE price_history_daily SET high = 5e6 WHERE symbol = 'A' AND date = ?", [SESSIONS[1]])
    done = export(settings, ExportRequest("zipline", tmp_path / "out", "A"), clock)
    assert done.manifest.named("cautions")[:2] == [
        "A: volumes above 4,294,967,295 become 0 in zipline",
        "A: prices above 4,294,967.295 are wrong in zipline",
    ]


def test_qlib_gets_adjusted_prices_with_the_factor_back_to_what_was_traded(store, made):
    folder = made["qlib"].folder / "csv"
    assert sorted(path.name for path in folder.iterdir()) == [
        "A.csv", "AAPL.csv", "BRK.B.csv", "GAP.csv", "LATE.csv", "_qlib_CON.csv",
    ]  # fmt: skip
    found, raw, total = read_csv(folder / "AAPL.csv"), loaded(store, "raw"), loaded(store, "total_return")
    raw, total = (frame[frame["symbol"] == "AAPL"] for frame in (raw, total))
    assert list(found.columns) == ["date", "open", "high", "low", "close", "volume", "factor"]
    assert found["close"].tolist() == total["close"].tolist()
    np.testing.assert_allclose(found["close"] / found["factor"], raw["close"], rtol=1e-14)
    np.testing.assert_allclose(found["volume"] * found["factor"], raw["volume"], rtol=1e-14)
    assert found["factor"].iloc[-1] == 1
    assert read_csv(folder / "A.csv")["factor"].notna().all()


def test_what_cannot_be_had_is_left_out_and_named_and_what_has_no_bar_as_well(store, made):
    for done in made.values():
        assert list(done.manifest.refused) == ["RUMOR"]
        assert "not every dividend between 2023-11-01 and 2024-01-31 was told" in done.manifest.refused["RUMOR"]
        assert done.manifest.named("missing") == ["NIL"]
        assert done.as_dict()["symbols"] == 6
        assert not done.is_good


def test_what_nobody_told_all_of_is_exported_where_that_is_allowed_and_named(store, tmp_path):
    done = export(store, ExportRequest("qlib", tmp_path / "out", "RUMOR,AAPL", allow_untold=True), clock)
    assert (done.manifest.refused, done.manifest.named("untold"), done.is_good) == ({}, ["RUMOR"], True)
    assert (done.folder / "csv/RUMOR.csv").exists()


def test_it_is_as_known_at_the_instant_that_is_asked_for(tmp_path):
    settings = build(tmp_path / "store")
    with duckdb.connect(settings.database_for(synthetic=False)) as connection:
        connection.execute(
            "UPDATE price_history_daily SET known_at = TIMESTAMP '2024-06-01' WHERE symbol = 'A' AND date > ?",
            [SESSIONS[9]],
        )
    day = date(2024, 5, 1)
    done = export(settings, ExportRequest("csv", tmp_path / "out", "A,AAPL", as_of=day), clock)
    assert [file.rows for file in done.manifest.files] == [10, len(SESSIONS)]
    assert done.manifest.pinned.as_of == datetime(2024, 5, 1, 23, 59, 59, 999999, tzinfo=UTC)
    split = read_csv(done.folder / "prices/AAPL.csv")["close"]
    assert split.iloc[-1] < loaded(settings, "total_return").groupby("symbol")["close"].last()["AAPL"]


def test_synthetic_prices_are_marked_as_such_beside_and_within_the_files(tmp_path):
    settings = build(tmp_path / "store", synthetic=True)
    done = export(settings, ExportRequest("parquet", tmp_path / "out", "A", basis="raw", synthetic=True), clock)
    assert "SYNTHETIC" in (done.folder / "SYNTHETIC.txt").read_text()
    assert json.loads((done.folder / "manifest.json").read_text())["synthetic"] is True
    file = parquet.ParquetFile(next(done.folder.rglob("*.parquet")))
    assert json.loads(file.schema_arrow.metadata[b"market_data"])["synthetic"] is True


def test_a_store_of_the_other_kind_is_refused_before_anything_is_written(tmp_path):
    settings = build(tmp_path / "store")
    out = tmp_path / "out"
    with pytest.raises(WarehouseError, match=r"give --real for that"):
        export(settings, ExportRequest("csv", out, synthetic=True), clock)
    named = settings.model_copy(update={"database": settings.database_for(synthetic=False)})
    with pytest.raises(ExportError, match=r"holds real data, and synthetic was meant; give --real"):
        export(named, ExportRequest("csv", out, synthetic=True), clock)
    assert not out.exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"format": "excel"}, "format 'excel' is not known; give parquet, csv, zipline, qlib"),
        ({"basis": "adjusted"}, "basis 'adjusted' is not known; give raw, split, total_return"),
        ({"start": date(2024, 1, 2), "end": date(2024, 1, 1)}, "start must not be later"),
        ({"start": date(2025, 1, 2)}, "the last date as of 2024-02-01"),
        ({"as_of": datetime(2024, 1, 2)}, "has no time zone"),  # noqa: DTZ001 - that is the point
        ({"fields": ["close", "clothes"]}, "not fields: 'clothes'"),
        ({"fields": []}, "no field is asked for"),
        ({"format": "zipline", "fields": ["close"]}, "the columns of zipline are given by what reads it"),
        ({"at_once": 0}, "give 1 or more"),
    ],
)
def test_a_request_that_is_not_allowed_is_refused_before_anything_is_written(store, tmp_path, given, said):
    with pytest.raises(SettingsError) as refused:
        export(store, ExportRequest(**({"format": "csv", "out": tmp_path / "out"} | given)), clock)
    assert said in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_an_unknown_symbol_is_refused(store, tmp_path):
    with pytest.raises(SymbolError, match="ZZZZ is not in the universe"):
        export(store, ExportRequest("csv", tmp_path / "out", "AAPL,ZZZZ"), clock)


@pytest.mark.parametrize(
    ("symbol", "name"),
    [("AAPL", "AAPL"), ("BRK.B", "BRK.B"), ("CON", "CON_"), ("CON.A", "CON_.A"), ("NUL", "NUL_"), ("CONN", "CONN")],
)
def test_a_file_is_named_so_that_every_system_takes_it(symbol, name):
    assert file_name(symbol) == name


@pytest.mark.parametrize("symbol", ["", "aapl", "../A", "A/B", "=A1", "A.B.C", "TOOLONG", "A\n"])
def test_what_is_no_symbol_names_no_file(symbol):
    with pytest.raises(SymbolError):
        file_name(symbol)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.none(), min_size=1, max_size=20))
@settings(max_examples=40)
def test_a_number_is_written_so_that_it_reads_back_the_same(numbers):
    column = pa.array(numbers, pa.float64())
    table = pa.table({"symbol": ["A"] * len(numbers), "close": column})
    text = encoded(Sheet("prices/A.csv", "A", table), {})
    read = pd.read_csv(io.BytesIO(text), dtype={"close": "float64"})
    np.testing.assert_array_equal(read["close"], [np.nan if value is None else value for value in numbers])
    whole = encoded(Sheet("prices/part.parquet", None, table), {})
    assert parquet.read_table(io.BytesIO(whole))["close"].combine_chunks().equals(column)
