from __future__ import annotations

import csv
import importlib.util
from datetime import date
from pathlib import Path

import pytest

from market_data.errors import UniverseError
from market_data.instruments import load_universe
from market_data.sessions import is_session

PROJECT = Path(__file__).resolve().parents[1]
HEADER = "symbol,name,exchange,listed_from,listed_by,delisted_on,previous_symbols,tickers\n"


def load(text: str | bytes):
    path = Path("mine.csv")
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_universe(path)


def refused(text: str | bytes) -> str:
    with pytest.raises(UniverseError) as caught:
        load(text)
    return str(caught.value)


@pytest.fixture(scope="module")
def packaged():
    return load_universe()


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location("generate_universe", PROJECT / "scripts" / "generate_universe.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_packaged_universe_holds_at_least_250_symbols_once_each(packaged):
    assert len(packaged) == 270
    assert list(packaged) == sorted(packaged)
    assert packaged.source == "universe.csv"


def test_the_packaged_universe_holds_what_any_reader_looks_for(packaged):
    names = {"AAPL", "ABNB", "BF.B", "BRK.B", "CEG", "GEHC", "GOOGL", "JPM", "KVUE", "META", "MSFT", "TSLA", "VLTO"}
    assert names <= set(packaged)
    assert packaged["AAPL"].name == "Apple Inc."
    assert packaged["BRK.B"].ticker("stooq") == "brk-b.us"
    assert "FB" not in packaged


def test_meta_was_fb_until_2022_06_09(packaged):
    assert packaged["META"].previous_symbols == (("FB", date(2022, 6, 9)),)


@pytest.mark.parametrize(
    ("symbol", "listed_from", "listed_by"),
    [
        ("ABNB", date(2020, 12, 10), None),
        ("CEG", date(2022, 2, 2), None),
        ("GEHC", date(2023, 1, 4), None),
        ("KVUE", date(2023, 5, 4), None),
        ("VLTO", None, date(2023, 10, 4)),
        ("AAPL", None, date(2021, 1, 19)),
    ],
)
def test_listings_of_recent_years_are_told(packaged, symbol, listed_from, listed_by):
    assert (packaged[symbol].listed_from, packaged[symbol].listed_by) == (listed_from, listed_by)


def test_every_date_of_the_packaged_universe_is_a_session(packaged):
    dates = {
        (item.symbol, day)
        for item in packaged.values()
        for day in (item.listed_from, item.listed_by, item.delisted_on, *(day for _, day in item.previous_symbols))
        if day is not None
    }
    assert {(symbol, day) for symbol, day in dates if not is_session(day)} == set()


def test_every_exchange_of_the_packaged_universe_is_a_known_one_and_none_is_missing(packaged):
    assert {item.exchange for item in packaged.values()} == {"XNYS", "XNAS", "BATS"}
    assert (packaged["AAPL"].exchange, packaged["JPM"].exchange, packaged["CBOE"].exchange) == ("XNAS", "XNYS", "BATS")


def test_every_instrument_of_the_packaged_universe_has_a_name_and_a_known_start(packaged):
    assert [item.symbol for item in packaged.values() if not item.name] == []
    late = {item.symbol for item in packaged.values() if not item.start_is_known(date(2021, 1, 19))}
    assert all(packaged[symbol].listed_by > date(2021, 1, 19) for symbol in late)


def test_the_packaged_universe_passes_its_generators_own_checks(generator):
    with (PROJECT / "market_data" / "universe.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert generator.validate(rows) == []
    assert tuple(rows[0]) == generator.COLUMNS


def test_the_packaged_universe_says_what_the_curated_listings_say(generator, packaged):
    facts = generator.read_listings(PROJECT / "scripts" / "listings.csv")
    curated = {symbol: fact for symbol, fact in facts.items() if symbol in packaged}
    assert {symbol for symbol, fact in curated.items() if fact["excluded"]} == set()
    for symbol, fact in curated.items():
        told = packaged[symbol].listed_from
        assert (told.isoformat() if told else "") == fact["listed_from"]
        renames = ";".join(f"{old}:{day}" for old, day in packaged[symbol].previous_symbols)
        assert renames == fact["previous_symbols"]


def test_the_generator_names_each_problem_of_a_row(generator):
    row = dict.fromkeys(generator.COLUMNS, "") | {
        "symbol": "aapl",
        "exchange": "XLON",
        "listed_from": "2021-02-30",
        "previous_symbols": "FB:2020-01-01",
    }
    assert generator.validate([row, row])[:2] == ["aapl: stands twice", "2 symbols, fewer than 250"]
    assert generator.row_problems(row) == [
        "not a canonical symbol",
        "no name",
        "exchange 'XLON' is unknown",
        "date '2021-02-30' is wrong",
        "renames are not past, ascending dates of the window",
    ]


def test_a_file_of_symbols_alone_is_enough():
    universe = load("symbol\nMSFT\nAAPL\n")
    assert list(universe) == ["MSFT", "AAPL"]
    assert universe["AAPL"].listed_from is None
    assert universe.source == "mine.csv"


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_every_column_is_read(line_end):
    row = "XYZ,Block,XNYS,2015-11-19,2021-01-19,2025-06-02,S:2020-01-02;SQ:2025-01-21,stooq=sq.us;yahoo=SQ\n"
    instrument = load(("\ufeff" + HEADER + row).replace("\n", line_end))["XYZ"]
    assert (instrument.name, instrument.exchange) == ("Block", "XNYS")
    assert instrument.listed_from == date(2015, 11, 19)
    assert instrument.listed_by == date(2021, 1, 19)
    assert instrument.delisted_on == date(2025, 6, 2)
    assert instrument.previous_symbols == (("S", date(2020, 1, 2)), ("SQ", date(2025, 1, 21)))
    assert (instrument.ticker("stooq"), instrument.ticker("yahoo")) == ("sq.us", "SQ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("symbol\nAAPL\naapl\n", "mine.csv: line 3: column symbol: 'aapl' is not a canonical US ticker"),
        ("symbol,name\nBRK-B,x\n", "mine.csv: line 2: column symbol: 'BRK-B' is not a canonical US ticker"),
        ("symbol,name\n,x\n", "mine.csv: line 2: column symbol: '' is not a canonical US ticker"),
        ("symbol\nMSFT\nAAPL\nMSFT\n", "mine.csv: line 4: symbol MSFT stands twice"),
        ("symbol\n", "mine.csv: holds no instrument"),
        (
            "symbol,listed_from\nA,2021-13-01\n",
            "mine.csv: line 2: column listed_from: '2021-13-01' is not a date as in 2021-01-19",
        ),
        (
            "symbol,listed_by\nA,soon\n",
            "mine.csv: line 2: column listed_by: 'soon' is not a date as in 2021-01-19",
        ),
        (
            "symbol,delisted_on\nA,\nB,1/2/2021\n",
            "mine.csv: line 3: column delisted_on: '1/2/2021' is not a date as in 2021-01-19",
        ),
        (
            "symbol,previous_symbols\nMETA,FB\n",
            "mine.csv: line 2: column previous_symbols: 'FB' is not a list of a:b;c:d",
        ),
        (
            "symbol,previous_symbols\nMETA,FB:then\n",
            "mine.csv: line 2: column previous_symbols: 'then' is not a date as in 2021-01-19",
        ),
        ("symbol,tickers\nA,stooq\n", "mine.csv: line 2: column tickers: 'stooq' is not a list of a=b;c=d"),
    ],
)
def test_what_is_wrong_is_told_with_file_line_and_column(text, message):
    assert refused(text) == message


@pytest.mark.parametrize("text", ["", "AAPL\nMSFT\n", "ticker,name\nAAPL,x\n", "symbol,sector\nAAPL,x\n"])
def test_columns_that_are_not_those_of_a_universe_are_refused(text):
    assert refused(text) == (
        "mine.csv: line 1: columns must be among symbol, name, exchange, listed_from, listed_by, delisted_on, "
        "previous_symbols, tickers, with symbol"
    )


def test_the_line_told_is_the_one_an_editor_shows_blank_lines_included():
    assert refused("symbol\n\nAAPL\n\nbad1\n").startswith("mine.csv: line 5: column symbol: 'bad1'")


def test_a_row_with_more_fields_than_the_header_is_refused():
    assert refused("symbol,name\nBDX,Becton, Dickinson\n").startswith("mine.csv: line 2: ")


def test_a_rename_without_its_date_is_refused():
    assert refused("symbol,previous_symbols\nMETA,FB:\n").startswith("mine.csv: line 2: column previous_symbols: ")


def test_a_field_beyond_all_bounds_is_refused():
    assert refused(f"symbol,name\nAAPL,{'x' * 200_000}\n").startswith("mine.csv: ")


def test_a_file_that_is_not_utf_8_is_refused_by_name():
    assert refused(b"symbol,name\nA,caf\xe9\n").startswith("mine.csv: cannot read the universe: ")


def test_a_file_that_is_not_there_is_refused_by_name():
    with pytest.raises(UniverseError, match=r"^missing\.csv: cannot read the universe: "):
        load_universe(Path("missing.csv"))
