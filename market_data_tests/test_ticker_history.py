"""Renames: the name of an instrument at a time, files that contradict themselves, and how Polygon serves it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_data.errors import SettingsError, UniverseError
from market_data.instruments import Instrument, Universe, load_universe
from market_data.providers.catalogue import PROVIDERS_FILE, SANDBOX_FILE, load_catalogue
from market_data.sandbox.server import Sandbox
from market_data.sandbox.wire.stamps import eastern_day

START, END, RENAMED = date(2024, 1, 2), date(2024, 3, 28), date(2024, 2, 5)
# With these beside them and this seed, no defect is planted in the renamed ones.
OTHERS, SEED = [f"S{first}{second}" for first in "ABCD" for second in "KLMNOPQRST"], 27
UNIVERSE = Universe(
    [
        Instrument("AAPL"),
        Instrument("META", previous_symbols=(("FB", RENAMED),)),
        Instrument("FISV", previous_symbols=(("FISV", date(2024, 1, 16)), ("FI", date(2024, 3, 1)))),
        Instrument("EARLY", previous_symbols=(("LATE", date(2024, 6, 3)),)),
        *map(Instrument, OTHERS),
    ]
)
Days = dict[str, float]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(UNIVERSE, start=START, end=END, seed=SEED) as running:
        yield running


def days(frame: pd.DataFrame, start: date = START, end: date = END) -> Days:
    return {
        str(day): close for day, close in zip(frame["date"].dt.date, frame["close"], strict=True) if start <= day <= end
    }


def ask(sandbox: Sandbox, path: str) -> list[dict[str, Any]]:
    with httpx.Client(trust_env=False, headers={"Authorization": "Bearer k"}) as client:
        document: dict[str, list[dict[str, Any]]] = client.get(f"{sandbox.url}/polygon{path}").json()
    return document.get("results", [])


def served(sandbox: Sandbox, ticker: str, adjusted: str = "false") -> Days:
    rows = ask(sandbox, f"/v2/aggs/ticker/{ticker}/range/1/day/{START}/{END}?limit=500&adjusted={adjusted}")
    return {str(eastern_day(int(row["t"]) // 1000).astype("datetime64[D]")): row["c"] for row in rows}


def truth(sandbox: Sandbox, symbol: str, start: date = START, end: date = END) -> Days:
    assert not sandbox.manifest.of(symbol)
    return days(sandbox.market.raw_bars(symbol), start, end)


META = Instrument("META", previous_symbols=(("FB", date(2022, 6, 9)),), tickers={"polygon": "META.X"})
FISV = Instrument("FISV", previous_symbols=(("FISV", date(2023, 6, 7)), ("FI", date(2025, 11, 11))))


def test_the_names_over_a_span_follow_each_other_by_day() -> None:
    assert FISV.names_between(date(2023, 6, 6), date(2025, 11, 11)) == (
        ("FISV", date(2023, 6, 6), date(2023, 6, 6)),
        ("FI", date(2023, 6, 7), date(2025, 11, 10)),
        ("FISV", date(2025, 11, 11), date(2025, 11, 11)),
    )
    assert META.names_between(date(2022, 6, 9), date(2030, 1, 2)) == (("META", date(2022, 6, 9), date(2030, 1, 2)),)
    assert META.names_between(date(2022, 6, 8), date(2022, 6, 8)) == (("FB", date(2022, 6, 8), date(2022, 6, 8)),)
    assert META.names_between(date(2022, 6, 9), date(2022, 6, 8)) == ()


@pytest.mark.parametrize(
    ("on", "name", "span"),
    [
        ("1999-01-04", "FISV", (None, date(2023, 6, 6))),
        ("2023-06-06", "FISV", (None, date(2023, 6, 6))),
        ("2023-06-07", "FI", (date(2023, 6, 7), date(2025, 11, 10))),
        ("2025-11-10", "FI", (date(2023, 6, 7), date(2025, 11, 10))),
        ("2025-11-11", "FISV", (date(2025, 11, 11), None)),
    ],
)
def test_a_vendor_of_tickers_of_the_time_gets_the_name_of_the_day(
    on: str, name: str, span: tuple[date | None, date | None]
) -> None:
    day = date.fromisoformat(on)
    assert FISV.span_of_name(day) == span
    assert FISV.ticker("polygon", day, point_in_time=True) == name
    assert FISV.ticker("stooq", day, point_in_time=True) == f"{name.lower()}.us"
    assert FISV.ticker("polygon", day) == FISV.ticker("polygon") == "FISV"
    assert FISV.ticker("polygon", point_in_time=True) == "FISV"


def test_an_instrument_never_renamed_has_one_name_for_ever() -> None:
    assert Instrument("BRK.B").span_of_name(date(2021, 1, 19)) == (None, None)
    assert Instrument("BRK.B").ticker("yahoo", date(2021, 1, 19), point_in_time=True) == "BRK-B"


def test_an_old_share_class_is_spelt_by_the_rule_too() -> None:
    renamed = Instrument("NEW.B", previous_symbols=(("OLD.B", date(2022, 6, 9)),))
    spelt = [renamed.ticker(name, date(2022, 6, 8), point_in_time=True) for name in ("polygon", "yahoo", "stooq_bulk")]
    assert spelt == ["OLD.B", "OLD-B", "old-b.us"]


def test_a_spelling_out_of_the_rule_is_of_the_symbol_it_has_now_unless_it_says_of_which() -> None:
    old, new = date(2022, 6, 8), date(2022, 6, 9)
    assert META.ticker("polygon", new, point_in_time=True) == META.ticker("polygon") == "META.X"
    assert META.ticker("polygon", old, point_in_time=True) == "FB"
    both = replace(META, tickers={"polygon@FB": "FB.X", "polygon@META": "META.Y", "polygon": "META.X"})
    assert both.ticker("polygon", old, point_in_time=True) == "FB.X"
    assert both.ticker("polygon", new, point_in_time=True) == "META.Y"


@given(
    st.lists(st.dates(date(2000, 1, 1), date(2010, 1, 1)), max_size=5, unique=True),
    st.dates(date(1999, 1, 1), date(2011, 1, 1)),
    st.integers(0, 5000),
)
def test_every_day_of_a_span_has_the_one_name_of_its_time(renames: list[date], start: date, length: int) -> None:
    pairs = tuple((f"N{'ABCDE'[place]}", day) for place, day in enumerate(sorted(renames)))
    item, end = Instrument("LAST", previous_symbols=pairs), start + timedelta(days=length)
    spans = item.names_between(start, end)
    assert (spans[0][1], spans[-1][2]) == (start, end)
    assert all(first[2] + timedelta(days=1) == second[1] for first, second in pairwise(spans))
    for name, first, last in spans:
        for day in (first, last):
            low, high = item.span_of_name(day)
            assert item.ticker("polygon", day, point_in_time=True) == name
            assert (max(low or start, start), min(high or end, end)) == (first, last)


def test_polygon_has_the_bars_of_a_renamed_instrument_under_the_name_of_the_day(sandbox: Sandbox) -> None:
    before, after = RENAMED - timedelta(days=1), RENAMED
    assert served(sandbox, "FB") == truth(sandbox, "META", end=before)
    under_meta = served(sandbox, "META")
    assert {day: close for day, close in under_meta.items() if day >= str(after)} == truth(sandbox, "META", start=after)


@pytest.mark.parametrize("adjusted", ["false", "true"])
def test_polygon_has_another_securitys_bars_under_a_name_before_its_time(sandbox: Sandbox, adjusted: str) -> None:
    earlier = {day: close for day, close in served(sandbox, "META", adjusted).items() if day < str(RENAMED)}
    own = truth(sandbox, "META", end=RENAMED - timedelta(days=1))
    assert earlier.keys() == own.keys()
    assert sum(earlier[day] == own[day] for day in own) == 0
    assert earlier == {day: close for day, close in served(sandbox, "META", adjusted).items() if day < str(RENAMED)}


def test_a_name_given_back_names_the_instrument_in_both_of_its_spans(sandbox: Sandbox) -> None:
    own = truth(sandbox, "FISV")
    assert served(sandbox, "FI") == {day: own[day] for day in own if "2024-01-16" <= day < "2024-03-01"}
    under_fisv = served(sandbox, "FISV")
    alike = {day for day in own if under_fisv[day] == own[day]}
    assert alike == {day for day in own if not "2024-01-16" <= day < "2024-03-01"}


def test_before_the_rename_only_the_old_name_is_the_instruments(sandbox: Sandbox) -> None:
    own = truth(sandbox, "EARLY")
    assert served(sandbox, "LATE") == own
    assert not {day for day, close in served(sandbox, "EARLY").items() if close == own[day]}


def test_a_ticker_nobody_bears_has_no_bars_and_one_never_renamed_has_all(sandbox: Sandbox) -> None:
    assert served(sandbox, "NOBDY") == {}
    assert served(sandbox, "AAPL") == truth(sandbox, "AAPL")


@pytest.mark.parametrize(
    ("day", "tickers"),
    [
        ("2024-01-03", {"AAPL", "FB", "META", "FISV", "LATE", "EARLY"}),
        ("2024-02-02", {"AAPL", "FB", "META", "FI", "FISV", "LATE", "EARLY"}),
        ("2024-02-05", {"AAPL", "META", "FI", "FISV", "LATE", "EARLY"}),
        ("2024-03-01", {"AAPL", "META", "FISV", "LATE", "EARLY"}),
    ],
)
def test_a_grouped_answer_names_each_instrument_as_it_was_named_that_day(
    sandbox: Sandbox, day: str, tickers: set[str]
) -> None:
    rows = ask(sandbox, f"/v2/aggs/grouped/locale/us/market/stocks/{day}?adjusted=false")
    rows = [row for row in rows if row["T"] not in OTHERS]
    closes = {str(row["T"]): row["c"] for row in rows}
    assert len(rows) == len(closes)
    assert closes.keys() == tickers
    renamed = [item for item in UNIVERSE.values() if item.symbol not in OTHERS]
    own = {item.symbol: truth(sandbox, item.symbol)[day] for item in renamed}
    named = {item.ticker("polygon", date.fromisoformat(day), point_in_time=True): item.symbol for item in renamed}
    assert {ticker for ticker in tickers if ticker in named and closes[ticker] == own[named[ticker]]} == named.keys()
    assert {ticker for ticker in tickers - named.keys() if closes[ticker] == own[ticker]} == set()


def test_minutes_are_under_the_name_of_the_day_too(sandbox: Sandbox) -> None:
    path = "/v2/aggs/ticker/{}/range/1/minute/2024-02-02/2024-02-02?adjusted=false&limit=500"
    rows = ask(sandbox, path.format("FB"))
    assert (len(rows), rows[-1]["c"]) == (390, truth(sandbox, "META")["2024-02-02"])
    assert ask(sandbox, path.format("META")) == []


def test_the_other_vendors_have_the_whole_history_under_the_name_of_today(sandbox: Sandbox) -> None:
    with httpx.Client(trust_env=False) as client:
        url = f"{sandbox.url}/yahoo/v8/finance/chart/META?period1=1704067200&period2=1711929600&interval=1d"
        quotes = client.get(url).json()["chart"]["result"][0]["indicators"]["quote"][0]
        old = client.get(url.replace("META", "FB"))
    assert len(quotes["close"]) == len(truth(sandbox, "META"))
    assert old.status_code == 404


def test_only_polygon_has_tickers_of_the_time_in_both_packaged_catalogues() -> None:
    for catalogue in (load_catalogue(), load_catalogue(SANDBOX_FILE, base_url="http://127.0.0.1:8000")):
        assert [name for name, config in catalogue.items() if config.point_in_time_tickers] == ["polygon"]


@pytest.mark.parametrize("value", ["yes", "1", '"true"'])
def test_tickers_of_the_time_are_true_or_false(value: str) -> None:
    copy = Path("providers.yaml")
    copy.write_text(PROVIDERS_FILE.read_text().replace("tickers: true", f"tickers: {value}"))
    with pytest.raises(SettingsError, match=r"polygon\.point_in_time_tickers: .* is neither true nor false"):
        load_catalogue(copy)


PLACE = "mine.csv: line 2: column previous_symbols: "


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["META,,,fb:2022-06-09"], f"{PLACE}'fb' is not a canonical US ticker"),
        (["META,,,META:2022-06-09"], f"{PLACE}META is renamed to itself on 2022-06-09; remove it"),
        (["XYZ,,,SQ:2025-01-20"], f"{PLACE}SQ:2025-01-20 is no known XNYS session; give the first one under XYZ"),
        (
            ["FISV,,,FISV:2023-06-07;FI:2023-06-07"],
            f"{PLACE}FI:2023-06-07 is not after the rename before it, 2023-06-07; list the renames with ascending ",
        ),
        (
            ["META,2022-06-09,,FB:2022-06-09"],
            f"{PLACE}FB:2022-06-09 is not after the listing, 2022-06-09; list the renames with ascending dates",
        ),
        (["META,,2022-06-09,FB:2022-06-09"], f"{PLACE}FB:2022-06-09 is not before the delisting, 2022-06-09"),
        (
            ["META,,,FB:1022-06-09"],
            f"{PLACE}FB:1022-06-09 is no known XNYS session; give the first one under META",
        ),
        (
            ["META,,,FB:2022-06-09", "FB,2022-06-08,,"],
            f"{PLACE}FB would name both META and FB (line 3) on 2022-06-08; "
            "mend the dates of the renames, or give listed_from and delisted_on",
        ),
        (["META,,,FB:2022-06-09", "FB,,,"], f"{PLACE}FB would name both META and FB (line 3) on 2022-06-08; "),
        (
            ["META,,,FB:2022-06-09", "MVRS,,,FB:2023-06-09"],
            f"{PLACE}FB would name both META and MVRS (line 3) on 2022-06-08; ",
        ),
    ],
)
def test_renames_that_cannot_be_are_refused_with_file_line_and_column(rows: list[str], message: str) -> None:
    Path("mine.csv").write_text("\n".join(["symbol,listed_from,delisted_on,previous_symbols", *rows, ""]))
    with pytest.raises(UniverseError) as caught:
        load_universe(Path("mine.csv"))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "rows",
    [
        ["META,,,FB:2022-06-09", "FB,2022-06-09,,"],  # the symbol is listed anew from the very day
        ["DOC,,,PEAK:2024-03-04", "PEAK,2024-03-04,,"],
        ["FISV,,,FISV:2023-06-07;FI:2025-11-11"],
        ["XPRO,,,FI:2021-10-04", "FISV,,,FISV:2023-06-07;FI:2025-11-11"],
        ["NEW,,,ABC:2023-08-30", "LAST,2023-08-30,,ABC:2024-01-16"],
    ],
)
def test_a_symbol_may_name_one_instrument_after_another(rows: list[str]) -> None:
    Path("mine.csv").write_text("\n".join(["symbol,listed_from,delisted_on,previous_symbols", *rows, ""]))
    assert len(load_universe(Path("mine.csv"))) == len(rows)
