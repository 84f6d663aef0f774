"""`market_data.load`: shapes, what was known when, where it reads from, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import market_data
from market_data import load
from market_data.errors import SettingsError, SymbolError, WarehouseError, WarehouseLocked
from market_data.reading import BasisError
from market_data.records import Basis
from market_data.settings import Settings
from market_data.warehouse.connection import Database
from market_data_tests.bars import naive, new_database, python, rows
from market_data_tests.stored_prices import KNOWN, put_action, put_bar, put_bars, put_told

SPAN = ("2021-01-19", "2021-01-22")
DATES = ["2021-01-19", "2021-01-20", "2021-01-21", "2021-01-22"]


@pytest.fixture
def store() -> Database:
    """AAPL with a dividend and without a bar on the 21st, MSFT with a split; of the rest nothing."""
    database = new_database()
    with database.writing() as connection:
        connection.execute("INSERT INTO store_kind VALUES (FALSE)")
        put_bars(connection, "AAPL", {"2021-01-19": 100.0, "2021-01-20": 110.0, "2021-01-22": 120.0})
        put_bars(connection, "MSFT", dict(zip(DATES, (40.0, 42.0, 22.0, 21.0), strict=True)))
        put_action(connection, "AAPL", "2021-01-21", "dividend", 11.0)
        put_action(connection, "MSFT", "2021-01-21", "split", 2.0)
        put_told(connection, "*", "2021-01-01", "2021-02-28", ["split"])
        put_told(connection, "AAPL", "2021-01-01", "2021-02-28", ["dividend"])
    return database


def test_one_field_gives_a_row_a_session_and_a_column_a_symbol_in_the_order_asked(store):
    closes = load(["MSFT", "AAPL", "IBM"], *SPAN, database=store.path, allow_untold=True)

    expected = pd.DataFrame(
        {"MSFT": [20.0, 21.0, 22.0, 21.0], "AAPL": [90.0, 99.0, np.nan, 120.0], "IBM": [np.nan] * 4},
        index=pd.DatetimeIndex(np.array(DATES, dtype="datetime64[s]"), name="date"),
    )
    pd.testing.assert_frame_equal(closes, expected.rename_axis(columns="symbol"))
    assert closes.attrs == {
        "basis": "total_return",
        "as_of": None,
        "until": datetime.now(UTC).date().isoformat(),
        "database": "store.duckdb",
        "synthetic": False,
        "missing": ["IBM"],
        "untold": ["MSFT"],
    }


def test_a_series_of_which_an_action_may_lack_is_refused_unless_that_is_allowed(store):
    with pytest.raises(BasisError) as refused:
        load(["MSFT", "AAPL"], *SPAN, database=store.path)

    said = "MSFT, 4 sessions 2021-01-19..2021-01-22: not every dividend between 2021-01-19 and 2021-01-22 was told"
    assert said in str(refused.value)
    assert "AAPL" not in str(refused.value)
    assert "`market-data actions fetch`" in str(refused.value)
    assert load(["MSFT"], *SPAN, "split", database=store.path).attrs["untold"] == []


def test_several_fields_stand_side_by_side_under_field_and_symbol(store):
    found = load(["AAPL", "MSFT"], *SPAN, "split", fields=("volume", "close"), database=store.path)

    assert found.columns.names == ["field", "symbol"]
    assert list(found.columns) == [("volume", "AAPL"), ("volume", "MSFT"), ("close", "AAPL"), ("close", "MSFT")]
    assert found["volume"]["MSFT"].tolist() == [2000.0, 2000.0, 1000.0, 1000.0]
    assert found["close"]["MSFT"].tolist() == [20.0, 21.0, 22.0, 21.0]
    assert found.attrs["untold"] == []


def test_the_long_form_has_a_row_a_bar_with_where_it_comes_from(store):
    found = load("MSFT,AAPL", *SPAN, "raw", fields=["close", "source_provider", "known_at"], layout="long",
                 database=store.path)  # fmt: skip

    assert list(found.columns) == ["symbol", "date", "close", "source_provider", "known_at", "basis"]
    assert found["symbol"].tolist() == ["MSFT"] * 4 + ["AAPL"] * 3
    assert found["close"].tolist() == [40.0, 42.0, 22.0, 21.0, 100.0, 110.0, 120.0]
    assert (found["date"].dtype, found["known_at"].dtype) == ("datetime64[s]", "datetime64[us, UTC]")
    assert set(found["known_at"]) == {pd.Timestamp(KNOWN, tz="UTC")}
    assert set(found["basis"]) == {"raw"}
    assert found.attrs["basis"] == "raw"


def test_the_arrow_form_holds_the_same_and_tells_of_itself_in_the_metadata(store):
    table = load(["AAPL"], *SPAN, layout="arrow", database=store.path)
    assert table.to_pydict() == {
        "symbol": ["AAPL"] * 3,
        "date": [date(2021, 1, 19), date(2021, 1, 20), date(2021, 1, 22)],
        "close": [90.0, 99.0, 120.0],
        "basis": ["total_return"] * 3,
    }
    assert json.loads(table.schema.metadata[b"market_data"])["basis"] == "total_return"


def test_a_span_without_any_bar_is_all_nan_and_has_no_rows_in_the_long_form(store):
    wide = load(["AAPL"], "2022-01-03", "2022-01-04", database=store.path)
    assert wide["AAPL"].isna().tolist() == [True, True]
    assert wide.attrs["missing"] == ["AAPL"]
    assert len(load(["AAPL"], "2022-01-03", "2022-01-04", layout="long", database=store.path)) == 0
    assert load(["AAPL"], "2021-01-23", "2021-01-24", database=store.path).shape == (0, 1)


def test_as_of_gives_what_was_known_then_adjusted_for_ex_dates_up_to_then(store):
    changed = naive(9, day="2021-06-01")
    with store.writing() as connection:
        put_bar(connection, "AAPL", "2021-01-19", 80.0, replaced_at=changed, known_at=naive(8, day="2021-03-01"))
        connection.execute("UPDATE price_history_daily SET known_at = ? WHERE date = '2021-01-19'", [changed])
        put_action(connection, "AAPL", "2021-06-02", "split", 10.0)

    def first_close(as_of: date | datetime, basis: Basis = Basis.SPLIT) -> float:
        found = load(["AAPL"], *SPAN, basis, as_of, database=store.path)
        return float(found["AAPL"].iloc[0])

    assert np.isnan(first_close(datetime(2021, 3, 1, 7, 59, tzinfo=UTC)))
    assert first_close(datetime(2021, 3, 1, 8, tzinfo=UTC)) == 80.0
    assert first_close(date(2021, 5, 31)) == 80.0
    assert first_close(date(2021, 6, 1)) == 100.0
    assert first_close(date(2021, 6, 2)) == 10.0
    assert first_close(date(2021, 6, 2), Basis.SPLIT_DIVIDEND) == pytest.approx(9.0)
    attrs = load(["AAPL"], *SPAN, as_of=date(2021, 6, 1), database=store.path).attrs
    assert (attrs["as_of"], attrs["until"]) == ("2021-06-01T23:59:59.999999+00:00", "2021-06-01")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"start": "2021-02-01"}, "start 2021-02-01 is after end 2021-01-22"),
        ({"start": "19.1.2021"}, "start '19.1.2021' is not a date"),
        ({"end": "2999-01-01"}, "outside the sessions the store knows, 1990-01-02 to"),
        ({"basis": "adjusted"}, "give raw, split or total_return"),
        ({"layout": "tall"}, "give wide, long or arrow"),
        ({"fields": ["adj_close"]}, "not fields of the wide layout: 'adj_close'; there are open, high, low, close"),
        ({"fields": "raw_hash"}, "not fields of the wide layout: 'raw_hash'"),
        ({"fields": []}, "no field is asked for"),
        ({"as_of": datetime.fromisoformat("2021-01-19T10:00")}, "has no time zone"),
    ],
)
def test_an_argument_that_is_not_allowed_is_named_with_what_is(store, arguments, told):
    given = {"symbols": ["AAPL"], "start": SPAN[0], "end": SPAN[1], "database": store.path} | arguments
    with pytest.raises(SettingsError, match=told):
        load(**given)


def test_every_unknown_symbol_is_named_and_an_old_name_tells_the_new_one(store):
    with pytest.raises(SymbolError, match=r"FB is now META.*ZZZZQ is not in the universe"):
        load(["AAPL", "FB", "ZZZZQ"], *SPAN, database=store.path)


def test_the_real_store_is_the_default_and_a_synthetic_one_has_to_be_named(store):
    settings = Settings(runtime=Path())
    with pytest.raises(WarehouseError, match=r"market_data\.duckdb: no database yet"):
        load(["AAPL"], *SPAN, settings=settings)
    with store.writing() as connection:
        connection.execute("UPDATE store_kind SET synthetic = TRUE")
    store.path.rename("synthetic.duckdb")
    with pytest.raises(WarehouseError, match=r"database='synthetic.duckdb' or MARKET_DATA_DATABASE=synthetic.duckdb"):
        load(["AAPL"], *SPAN, settings=settings)
    named = Settings(database=Path("synthetic.duckdb"))
    assert load(["AAPL"], *SPAN, settings=named).attrs["synthetic"] is True


def test_a_store_of_an_older_version_is_refused_with_the_mend(store):
    with store.writing() as connection:
        connection.execute("DROP MACRO TABLE total_return")
    with pytest.raises(WarehouseError, match=r"store.duckdb: lacks .*`market-data backfill` brings"):
        load(["AAPL"], *SPAN, database=store.path)


WRITER = """
import sys, time, duckdb
connection = duckdb.connect(sys.argv[1])
print("held", flush=True)
time.sleep(float(sys.argv[2]))
connection.execute("UPDATE price_history_daily SET close = 130 WHERE symbol = 'AAPL' AND date = '2021-01-22'")
"""


def test_reading_waits_for_a_writer_and_gives_what_it_wrote(store):
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(store.path), "0.3"], stdout=subprocess.PIPE, text=True)
    with writer:
        assert writer.stdout.readline() == "held\n"
        with pytest.raises(WarehouseLocked, match=f"locked by process {writer.pid}"):
            load(["AAPL"], *SPAN, database=store.path, settings=Settings(lock_patience=0))
        assert load(["AAPL"], *SPAN, database=store.path)["AAPL"].iloc[-1] == 130.0
    assert writer.returncode == 0


def test_importing_the_package_loads_neither_pandas_nor_duckdb_until_prices_are_asked_for():
    done = python(
        "import sys, market_data; print(sorted({'pandas', 'duckdb', 'pyarrow'} & set(sys.modules))); "
        "print(market_data.load.__module__, 'exchange_calendars' in sys.modules)"
    )
    assert (done.stdout, done.stderr) == ("[]\nmarket_data.reading False\n", "")
    with pytest.raises(AttributeError, match="no attribute 'loads'"):
        market_data.loads  # noqa: B018


def test_reading_leaves_the_file_as_it_was(store):
    before = store.path.read_bytes()
    load("all", *SPAN, "split", database=store.path)
    assert store.path.read_bytes() == before
    assert [path.name for path in Path().iterdir()] == ["store.duckdb"]
    with store.reading() as connection:
        assert rows(connection, "SELECT count(*) FROM price_history_daily") == [(7,)]
