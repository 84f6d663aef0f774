from __future__ import annotations

import copy
import csv
import json
import math
from collections import Counter
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from market_data.errors import ProviderError
from market_data.providers.bodies import Answer
from market_data.providers.polygon import actions_by_ticker, parse
from market_data.records import ParsedBars
from market_data.schemas import CorporateActions, RawBars, RawIntradayBars

NEW_YORK = ZoneInfo("America/New_York")
NAMES = {"open": "o", "high": "h", "low": "l", "close": "c", "volume": "v", "vwap": "vw", "trade_count": "n"}
LONG = {name: name for name in ("open", "high", "low", "close", "volume")}


def bar(t: int, **other: object) -> dict[str, object]:
    return {"v": 1000.5, "vw": 10.25, "o": 10, "c": 11.5, "h": 12, "l": 9.75, "t": t, "n": 7} | other


ENVELOPE = {"status": "OK", "queryCount": 2, "resultsCount": 2, "adjusted": False, "request_id": "1"}
RANGE = ENVELOPE | {"ticker": "AAPL", "results": [bar(1731906000000), bar(1731992400000, o=11, c=12.5)]}
GROUPED = ENVELOPE | {"results": [bar(1731963600000, T="AAPL"), bar(1731963600000, T="MSFT", o=400)]}
MINUTES = ENVELOPE | {"ticker": "AAPL", "results": [bar(1731940200000), bar(1731940260000, o=11)]}
DAY = {
    "status": "OK",
    "from": "2024-11-18",
    "symbol": "AAPL",
    "open": 10,
    "high": 12,
    "low": 9,
    "close": 11,
    "volume": 5,
}
SPLITS = {
    "status": "OK",
    "results": [
        {"execution_date": "2020-08-31", "split_from": 1, "split_to": 4, "ticker": "AAPL"},
        {"execution_date": "2024-06-10", "split_from": 1, "split_to": 10, "ticker": "NVDA"},
    ],
    "next_url": "https://api.polygon.io/v3/reference/splits?cursor=a",
}
DIVIDENDS = {
    "status": "OK",
    "results": [
        {
            "cash_amount": 0.25,
            "currency": "USD",
            "dividend_type": "CD",
            "ex_dividend_date": "2024-11-08",
            "ticker": "AAPL",
        },
        {"ticker": "AAPL", "exDate": "2020-02-07", "paymentDate": "2020-02-13", "amount": 0.77},
        {"ticker": "AAPL", "exDate": "2014-06-09", "ratio": 0.125},
    ],
}
VALID = [(RANGE, "1d"), (GROUPED, "1d"), (MINUTES, "1m"), (DAY, "1d"), (SPLITS, "1d"), (DIVIDENDS, "1d")]
FETCHED = datetime(2024, 11, 25, 3, tzinfo=UTC)


def parsed_or_refused(body: bytes, interval: str) -> ParsedBars | None:
    """What the parser gives, held to its schemas; any error that is not a provider's fails the test."""
    try:
        parsed = parse(body, Answer("AAPL", "AAPL", interval, fetched_at=FETCHED))
    except ProviderError:
        return None
    (RawBars if interval == "1d" else RawIntradayBars).validate(parsed.bars)
    CorporateActions.validate(parsed.actions)
    return parsed


def key_of(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


def rows_in(document: dict) -> Counter:
    """Every bar that the document holds, by the time it has there, as Python's own decoder sees it."""
    rows = document.get("results") or []
    found = Counter()
    for row in rows:
        if "t" in row:
            local = datetime.fromtimestamp(row["t"] / 1000, tz=NEW_YORK)
            found[(local, *(key_of(row.get(name)) for name in NAMES.values()))] += 1
    if not rows and "from" in document:
        local = datetime.fromisoformat(document["from"][:10]).replace(tzinfo=NEW_YORK)
        found[(local, *(key_of(document.get(LONG.get(name, ""))) for name in NAMES))] += 1
    return found


def assert_rows_are_in(parsed: ParsedBars, document: dict, interval: str) -> None:
    known = rows_in(document)
    if interval == "1d":
        known = Counter({(key[0].date(), *key[1:]): count for key, count in known.items()})
    for moment, *numbers in parsed.bars.itertuples(index=False):
        when = moment.date() if interval == "1d" else moment.to_pydatetime()
        key = (when, *(key_of(number) for number in numbers))
        assert known[key] > 0, key
        known[key] -= 1
    happened = [happened_in(row) for row in document.get("results") or []]
    for day, kind, value in parsed.actions.itertuples(index=False):
        assert (str(day.date()), kind, value) in happened


def happened_in(row: dict) -> tuple[str, str, float] | None:
    if "execution_date" in row:
        return row["execution_date"][:10], "split", row["split_to"] / row["split_from"]
    if "exDate" in row:
        kind, value = ("split", 1 / row["ratio"]) if "ratio" in row else ("dividend", row["amount"])
        return row["exDate"][:10], kind, value
    return (row["ex_dividend_date"][:10], "dividend", row["cash_amount"]) if "ex_dividend_date" in row else None


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "AAPL", "OK", "ERROR", "2024-11-18", "1e5", "\u0130", "https://api.polygon.io/"])
    | st.text(max_size=6)
)
USED = {key for document, _ in VALID for key in document} | {key for row in DIVIDENDS["results"] for key in row}
KEYS = st.sampled_from(
    sorted(USED | set(RANGE["results"][0]) | set(SPLITS["results"][0]) | {"T", "error", "count", "x"})
)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=8), max_leaves=24
)
OBJECTS = st.dictionaries(KEYS, JSON, max_size=8)
OKAY = st.fixed_dictionaries(
    {"status": st.just("OK"), "results": st.lists(OBJECTS, max_size=4)}, optional={"ticker": LEAVES}
)
INTERVALS = st.sampled_from(["1d", "1m", "1h"])


@settings(max_examples=200)
@given(st.binary(max_size=80) | st.text('{}[]",:0123456789.eE-+tTocn \n', max_size=60).map(str.encode), INTERVALS)
@example(b'{"a":' * 500, "1d")
@example(b'{"status":"OK","results":[{"t":NaN}]}', "1d")
@example(b't,o,c\n"', "1d")
def test_any_bytes_give_bars_or_a_provider_error(body, interval):
    parsed_or_refused(body, interval)


@settings(max_examples=150)
@given(JSON | OBJECTS | OKAY, INTERVALS)
def test_any_json_gives_what_it_holds_or_a_provider_error(document, interval):
    parsed = parsed_or_refused(json.dumps(document).encode(), interval)
    if parsed is not None:
        assert_rows_are_in(parsed, document, interval)


@pytest.mark.parametrize(("document", "interval"), VALID)
def test_the_bodies_that_are_damaged_below_are_sound(document, interval):
    parsed = parsed_or_refused(json.dumps(document).encode(), interval)
    assert len(parsed.bars) + len(parsed.actions) == {id(RANGE): 2, id(MINUTES): 2, id(DIVIDENDS): 3}.get(
        id(document), 1
    )
    assert_rows_are_in(parsed, document, interval)


@pytest.mark.parametrize(("document", "interval"), VALID)
def test_a_body_cut_at_any_place_is_refused(document, interval):
    body = json.dumps(document).encode()
    assert all(parsed_or_refused(body[:place], interval) is None for place in range(len(body)))


def paths_of(value: object, path: tuple = ()) -> list[tuple]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, inner in items for found in [(*path, key), *paths_of(inner, (*path, key))]]


def changed(document: dict, path: tuple, *value: object) -> dict:
    """The document with the value at the path replaced, or dropped where none is given."""
    altered = copy.deepcopy(document)
    place = altered
    for key in path[:-1]:
        place = place[key]
    if value:
        place[path[-1]] = value[0]
    else:
        del place[path[-1]]
    return altered


@pytest.mark.parametrize(("document", "interval"), VALID)
def test_a_body_with_any_key_dropped_is_refused_or_read_as_what_it_says(document, interval):
    for path in paths_of(document):
        altered = changed(document, path)
        parsed = parsed_or_refused(json.dumps(altered).encode(), interval)
        if parsed is not None:
            assert_rows_are_in(parsed, altered, interval)


@settings(max_examples=200)
@given(st.sampled_from(VALID), st.data(), JSON)
def test_a_body_with_a_value_of_another_kind_is_refused_or_read_as_what_it_says(valid, data, value):
    document, interval = valid
    altered = changed(document, data.draw(st.sampled_from(paths_of(document))), value)
    parsed = parsed_or_refused(json.dumps(altered).encode(), interval)
    if parsed is not None:
        assert_rows_are_in(parsed, altered, interval)


@settings(max_examples=150)
@given(st.sampled_from([SPLITS, DIVIDENDS]), st.data(), JSON)
def test_actions_of_all_tickers_never_fail_otherwise(document, data, value):
    altered = changed(document, data.draw(st.sampled_from(paths_of(document))), value)
    try:
        found = actions_by_ticker(json.dumps(altered).encode(), Answer("*", "*"))
    except ProviderError:
        return
    for frame in found.values():
        CorporateActions.validate(frame)
    assert set(found) <= {str(row["ticker"]).upper() for row in altered["results"]} | {
        row["ticker"] for row in altered["results"]
    }


CSV = b"t,o,h,l,c,v,vw,n\n1731906000000,10,12,9.75,11.5,1000.5,10.25,7\n1731992400000,11,12,9.75,12.5,1e3,,7\n"


@settings(max_examples=200)
@given(
    st.integers(0, len(CSV)),
    st.integers(0, 30),
    st.sampled_from([b"", b",", b"\n", b".", b"7", b"e", b'"', b"x", b"\0"]),
)
def test_a_damaged_csv_is_refused_or_read_as_what_it_says(place, removed, inserted):
    body = CSV[:place] + inserted + CSV[place + removed :]
    parsed = parsed_or_refused(body, "1d")
    if parsed is None:
        return
    lines = list(csv.DictReader(body.decode().splitlines()))
    rows = [
        {name: float(cell) for name, cell in line.items() if cell and name in {*NAMES.values(), "t"}} for line in lines
    ]
    assert_rows_are_in(parsed, {"results": rows}, "1d")
