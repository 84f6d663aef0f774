from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_data.errors import SymbolError
from market_data.instruments import Instrument, Universe, normalise_symbol

CANONICAL = re.compile(r"[A-Z]{1,5}(\.[A-Z]{1,2})?")
UNIVERSE = Universe(
    [
        Instrument("AAPL"),
        Instrument("BRK.B"),
        Instrument("META", previous_symbols=(("FB", date(2022, 6, 9)),)),
        Instrument("MSFT"),
        Instrument("ALL", name="Allstate"),
    ],
    source="five.csv",
)


def refused(text: str) -> str:
    with pytest.raises(SymbolError) as caught:
        UNIVERSE.select(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("written", "symbol"),
    [
        ("aapl", "AAPL"),
        (" AAPL\t", "AAPL"),
        ("brk-b", "BRK.B"),
        ("BRK/B", "BRK.B"),
        ("Brk.b", "BRK.B"),
        ("bf/b", "BF.B"),
        ("t", "T"),
        ("googl", "GOOGL"),
        ("CON", "CON"),
    ],
)
def test_a_symbol_is_brought_to_its_canonical_spelling(written, symbol):
    assert normalise_symbol(written) == symbol


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "../x",
        "A;DROP",
        "A B",
        "AB\nC",
        "A.",
        ".B",
        "A..B",
        "A/B/C",
        "A-BCD",
        "ABCDEF",
        "BRK_B",
        "1234",
        "AAPL\0",
    ],
)
def test_what_cannot_be_a_us_ticker_is_refused_with_what_one_looks_like(text):
    with pytest.raises(SymbolError) as caught:
        normalise_symbol(text)
    assert str(caught.value) == (
        f"{text!r} is not a US ticker: 1 to 5 letters and, for a share class, a dot and 1 or 2 letters, as in BRK.B"
    )


def test_300_letters_are_refused_and_shown_shortened():
    with pytest.raises(SymbolError) as caught:
        normalise_symbol("x" * 300)
    assert str(caught.value).startswith(f"'{'x' * 37}...' is not a US ticker")


@pytest.mark.parametrize("text", ["\u00df", "\ufb01", "\u0131", "\u017f", "\uff21", "\u0410APL", "\u00e9a"])
def test_letters_that_only_look_or_grow_into_latin_ones_are_refused(text):
    with pytest.raises(SymbolError, match="is not a US ticker"):
        normalise_symbol(text)


@given(st.text(max_size=12) | st.text("abzABZ.-/ 1\u00df\u0131\ufb01\n", max_size=8))
def test_any_text_is_either_refused_or_becomes_a_symbol_that_stays_as_it_is(text):
    try:
        symbol = normalise_symbol(text)
    except SymbolError:
        return
    assert CANONICAL.fullmatch(symbol)
    assert text.strip().isascii()
    assert normalise_symbol(symbol) == symbol
    assert re.sub("[-/]", ".", text.strip()).upper() == symbol


@given(st.from_regex(CANONICAL, fullmatch=True), st.sampled_from([".", "-", "/"]), st.booleans())
def test_every_way_to_write_a_symbol_means_the_same(symbol, separator, lower):
    written = symbol.replace(".", separator)
    assert normalise_symbol(f" {written.lower() if lower else written} ") == symbol


def test_all_means_every_symbol_in_file_order():
    assert UNIVERSE.select(" all ") == ["AAPL", "BRK.B", "META", "MSFT", "ALL"]


def test_the_symbol_all_in_capitals_is_allstate_alone():
    assert UNIVERSE.select("ALL") == ["ALL"]


def test_a_list_keeps_its_order_and_drops_duplicates():
    assert UNIVERSE.select("msft, brk-b,AAPL,BRK.B,aapl") == ["MSFT", "BRK.B", "AAPL"]


def test_every_problem_of_a_list_is_named_at_once():
    problems = refused("AAPL,../x,CON,FB,A;DROP").split("; ")
    form = "is not a US ticker: 1 to 5 letters and, for a share class, a dot and 1 or 2 letters, as in BRK.B"
    assert problems[0] == f"'../x' {form}"
    assert problems[1].startswith("CON is not in the universe (five.csv)")
    assert problems[-3:] == ["FB is now META", "ask for that", f"'A;DROP' {form}"]


@pytest.mark.parametrize("name", ["CON", "NUL", "nul"])
def test_a_well_formed_symbol_outside_the_universe_is_unknown(name):
    assert refused(name).startswith(f"{name.upper()} is not in the universe (five.csv)")


def test_an_unknown_symbol_is_refused_with_those_that_are_close():
    assert refused("APPL") == "APPL is not in the universe (five.csv); close: AAPL"
    assert refused("ZZZZZ") == (
        "ZZZZZ is not in the universe (five.csv); add it there, or name another file in MARKET_DATA_UNIVERSE"
    )


def test_the_old_name_of_a_renamed_instrument_is_told_its_new_one():
    assert refused("fb") == "FB is now META; ask for that"


def test_a_name_that_is_in_use_again_is_no_old_name():
    universe = Universe([Instrument("FISV", previous_symbols=(("FISV", date(2023, 6, 7)), ("FI", date(2025, 11, 11))))])
    assert universe.resolve("FISV") == "FISV"
    with pytest.raises(SymbolError, match=r"^FI is now FISV; ask for that$"):
        universe.resolve("FI")


@pytest.mark.parametrize("text", ["", ",", "AAPL,,MSFT"])
def test_an_empty_name_is_refused(text):
    assert "'' is not a US ticker" in refused(text)


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_a_file_of_symbols_may_have_comments_commas_blank_lines_and_a_byte_order_mark(start):
    text = b"# the large ones\r\nmsft # Microsoft\r\n\r\nAAPL, brk-b\tmeta\r\n#MSFT\r\naapl\r\n"
    Path("names.txt").write_bytes(start + text)
    assert UNIVERSE.select("@names.txt") == ["MSFT", "AAPL", "BRK.B", "META"]


def test_every_problem_of_a_file_is_named_at_once():
    Path("names.txt").write_text("AAPL\nFB\n../x\n")
    message = refused("@names.txt")
    assert "FB is now META" in message
    assert "'../x' is not a US ticker" in message


def test_a_file_that_names_no_symbol_is_refused():
    Path("names.txt").write_text("# nothing yet\n\n")
    assert refused("@names.txt") == "'@names.txt' names no symbol"


def test_a_file_that_is_not_there_is_refused_by_name():
    assert refused("@missing.txt").startswith("@missing.txt: cannot read symbols from it: ")


def test_a_file_that_is_no_text_is_refused_by_name():
    Path("names.txt").write_bytes(b"AAPL\n\xff\xfe")
    assert refused("@names.txt").startswith("@names.txt: cannot read symbols from it: ")


@pytest.mark.parametrize("name", ["", ".", "a\0b", "x" * 5000])
def test_what_cannot_be_a_files_name_is_refused_without_a_traceback(name):
    assert "cannot read symbols from it: " in refused(f"@{name}")


@pytest.mark.parametrize(
    ("provider", "ticker"),
    [("stooq", "brk-b.us"), ("yahoo", "BRK-B"), ("alpha_vantage", "BRK-B"), ("polygon", "BRK.B")],
)
def test_each_vendor_has_its_own_spelling_of_a_share_class(provider, ticker):
    assert Instrument("BRK.B").ticker(provider) == ticker


def test_a_spelling_out_of_the_rule_wins_for_its_vendor_only():
    instrument = Instrument("XYZ", tickers={"stooq": "xyz_1.us"})
    assert (instrument.ticker("stooq"), instrument.ticker("yahoo")) == ("xyz_1.us", "XYZ")


def test_an_instrument_of_unknown_listing_is_expected_in_every_session():
    assert len(Instrument("AAPL").expected_sessions(date(2021, 1, 19), date(2026, 1, 19))) == 1256


def test_no_session_is_expected_before_the_first_one():
    sessions = Instrument("KVUE", listed_from=date(2023, 5, 4)).expected_sessions(date(2021, 1, 19), date(2023, 5, 8))
    assert [day.date() for day in sessions] == [date(2023, 5, 4), date(2023, 5, 5), date(2023, 5, 8)]


def test_no_session_is_expected_from_the_delisting_on():
    gone = Instrument("TWTR", listed_from=date(2013, 11, 7), delisted_on=date(2022, 10, 28))
    sessions = gone.expected_sessions(date(2022, 10, 26), date(2023, 1, 31))
    assert [day.date() for day in sessions] == [date(2022, 10, 26), date(2022, 10, 27)]
    assert len(gone.expected_sessions(date(2022, 10, 28), date(2023, 1, 31))) == 0


def test_a_date_it_surely_traded_by_bounds_no_session():
    instrument = Instrument("VLTO", listed_by=date(2023, 10, 4))
    assert len(instrument.expected_sessions(date(2023, 10, 2), date(2023, 10, 4))) == 3


def test_a_span_before_the_listing_expects_nothing():
    listed = Instrument("KVUE", listed_from=date(2023, 5, 4))
    assert len(listed.expected_sessions(date(2021, 1, 19), date(2023, 5, 3))) == 0


@pytest.mark.parametrize(
    ("listed_from", "listed_by", "known"),
    [
        (None, None, False),
        (date(2023, 5, 4), None, True),
        (None, date(2021, 1, 19), True),
        (None, date(2021, 1, 20), False),
    ],
)
def test_the_start_is_known_only_from_a_listing_or_a_date_traded_by(listed_from, listed_by, known):
    instrument = Instrument("AAPL", listed_from=listed_from, listed_by=listed_by)
    assert instrument.start_is_known(date(2021, 1, 19)) is known


def test_a_universe_is_a_mapping_in_the_order_given():
    assert list(UNIVERSE) == ["AAPL", "BRK.B", "META", "MSFT", "ALL"]
    assert len(UNIVERSE) == 5
    assert UNIVERSE["META"].previous_symbols == (("FB", date(2022, 6, 9)),)
    assert "FB" not in UNIVERSE
