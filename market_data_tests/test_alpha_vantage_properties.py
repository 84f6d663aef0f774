from __future__ import annotations

import csv
import io
import json
from collections import Counter
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data.errors import BadPayload, ProviderError
from market_data.providers.alpha_vantage import parse
from market_data.providers.bodies import Answer
from market_data.records import ParsedBars
from market_data.schemas import CorporateActions, RawBars, RawIntradayBars
from market_data_tests.test_alpha_vantage_bodies import ADJUSTED_ROW, HEADER, META, ROW, daily

DAYS = [f"2021-02-{day:02}" for day in range(12, 0, -1)]
MINUTES = [f"2021-02-01 09:{minute:02}:00" for minute in range(41, 29, -1)]


def priced(row: dict[str, str], place: int) -> dict[str, str]:
    """The row with numbers of its own, so that a swapped or lost one shows."""
    shifted = {key: f"{100 + place}.{number}5" for number, key in enumerate(row)}
    return shifted | {key: row[key] for key in row if key.startswith(("7.", "8."))}


def intraday(rows: dict[str, Any]) -> bytes:
    meta = {key: META[key] for key in list(META)[:4]} | {"4. Interval": "1min", "6. Time Zone": "US/Eastern"}
    return json.dumps({"Meta Data": meta, "Time Series (1min)": rows}).encode()


def table(stamps: list[str]) -> bytes:
    rows = [[stamp, *priced(ROW, place).values()] for place, stamp in enumerate(stamps)]
    return HEADER + b"".join(",".join(row).encode() + b"\r\n" for row in rows)


VALID = {
    "daily json": ("1d", daily({day: priced(ROW, place) for place, day in enumerate(DAYS)})),
    "adjusted json": ("1d", daily({day: priced(ADJUSTED_ROW, place) for place, day in enumerate(DAYS)})),
    "intraday json": ("1m", intraday({stamp: priced(ROW, place) for place, stamp in enumerate(MINUTES)})),
    "daily csv": ("1d", table(DAYS)),
    "intraday csv": ("1m", table(MINUTES)),
}


def read(body: bytes, interval: str = "1d") -> ParsedBars | None:
    """What the body holds, held to the models; None where it was refused."""
    try:
        parsed = parse(body, Answer("AAPL", "AAPL", interval))
    except ProviderError:
        return None
    (RawBars if interval == "1d" else RawIntradayBars).validate(parsed.bars)
    CorporateActions.validate(parsed.actions)
    return parsed


def key_of(stamp: str, values: dict[str, Any]) -> tuple[Any, ...]:
    texts = [values.get(name) for name in ("open", "high", "low", "close", "volume")]
    return (stamp, *(None if text in (None, "") else float(text) for text in texts))


def rows_in(body: bytes) -> Counter[tuple[Any, ...]]:
    """Every row the body holds, doubled keys included, by the standard library."""
    text = body.decode("utf-8-sig")
    if not text.lstrip().startswith("{"):
        return Counter(key_of(row["timestamp"], row) for row in csv.DictReader(io.StringIO(text, newline="")))
    pairs = dict(json.loads(text, object_pairs_hook=list))
    if "Global Quote" in pairs or "data" in pairs:
        return Counter()
    series = next(value for name, value in pairs.items() if name.startswith("Time Series"))
    return Counter(key_of(stamp, {name.split(". ")[-1]: value for name, value in row}) for stamp, row in series)


def rows_of(parsed: ParsedBars) -> Counter[tuple[Any, ...]]:
    bars = parsed.bars
    if "date" in bars:
        stamps = bars["date"].dt.strftime("%Y-%m-%d")
    else:
        stamps = bars["datetime"].dt.tz_convert("America/New_York").dt.strftime("%Y-%m-%d %H:%M:%S")
    numbers = bars[["open", "high", "low", "close", "volume"]].itertuples(index=False)
    return Counter(
        (stamp, *(None if np.isnan(x) else x for x in row)) for stamp, row in zip(stamps, numbers, strict=True)
    )


def assert_refused_or_really_there(body: bytes, interval: str) -> None:
    parsed = read(body, interval)
    if parsed is not None:
        assert rows_of(parsed) == rows_in(body)


@pytest.mark.parametrize("kind", VALID)
def test_the_bodies_that_are_damaged_below_are_read_whole(kind):
    interval, body = VALID[kind]
    parsed = read(body, interval)
    assert parsed is not None
    assert len(parsed.bars) == 12
    assert rows_of(parsed) == rows_in(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["1.5", *DAYS]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.sampled_from([*ROW, *DAYS]), inner)
    ),
    max_leaves=12,
)
TOPS = [
    "Meta Data",
    "Time Series (Daily)",
    "Time Series (1min)",
    "Time Series FX (Daily)",
    "Global Quote",
    "data",
    "symbol",
]


@settings(max_examples=150)
@given(st.binary(max_size=60) | st.text('{}[]",:0123456789.-eE \r\n\0timesapolcvw\u0130', max_size=80).map(str.encode))
def test_any_bytes_are_refused_or_read(body):
    for interval in ("1d", "1m"):
        for start in (b"", HEADER):
            read(start + body, interval)


@settings(max_examples=150)
@given(JSON, st.sampled_from(TOPS), st.booleans())
def test_any_json_is_refused_or_read(value, top, known):
    document = {top: value, "symbol": "AAPL"} if top == "data" else {"Meta Data": META if known else value, top: value}
    for body in (json.dumps(value).encode(), json.dumps(document).encode()):
        for interval in ("1d", "1m"):
            read(body, interval)


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.sampled_from([*DAYS, "2021-02-30", "x"]), st.dictionaries(st.sampled_from([*ROW, *ADJUSTED_ROW]), JSON)
    )
)
def test_any_rows_are_refused_or_really_there(rows):
    assert_refused_or_really_there(daily(rows), "1d")


@pytest.mark.parametrize("kind", VALID)
def test_a_body_cut_anywhere_is_refused_or_ends_with_a_whole_line(kind):
    interval, body = VALID[kind]
    for place in range(len(body)):
        parsed = read(body[:place], interval)
        if parsed is not None:
            assert kind.endswith("csv")
            assert body[:place].endswith(b"\r\n")
            assert rows_of(parsed) == rows_in(body[:place])


PIECES = st.sampled_from(
    [b"", b",", b"\n", b"\r\n", b".", b"-", b"7", b"e1", b"null", b'"', b" ", b"\0", b"{", b"}", b"nan"]
)


@settings(max_examples=150)
@given(st.sampled_from(sorted(VALID)), st.integers(0, 2000), st.integers(0, 60), PIECES)
def test_a_body_with_a_piece_replaced_is_refused_or_read_as_what_it_says(kind, place, removed, inserted):
    interval, body = VALID[kind]
    place %= len(body)
    assert_refused_or_really_there(body[:place] + inserted + body[place + removed :], interval)


@settings(max_examples=120)
@given(
    st.sampled_from(["daily json", "adjusted json", "intraday json"]), st.integers(0, 11), st.integers(0, 7), st.data()
)
def test_a_row_with_a_field_dropped_or_replaced_is_refused_or_read_as_it_stands(kind, row, field, data):
    interval, body = VALID[kind]
    document = json.loads(body)
    series = next(value for name, value in document.items() if name.startswith("Time Series"))
    target = series[list(series)[row]]
    name = list(target)[field % len(target)]
    if data.draw(st.booleans()):
        del target[name]
        with pytest.raises(BadPayload):
            parse(json.dumps(document).encode(), Answer("AAPL", "AAPL", interval))
    else:
        target[name] = data.draw(st.none() | st.sampled_from(["", "None", ".", "1e3", "-1", "9" * 400]) | JSON)
        assert_refused_or_really_there(json.dumps(document).encode(), interval)


@pytest.mark.parametrize("name", ["1. open", "2. high", "3. low", "4. close"])
def test_a_price_missing_from_every_row_is_refused(name):
    rows = {day: {key: value for key, value in ROW.items() if key != name} for day in DAYS}
    with pytest.raises(BadPayload, match=f"the rows have no {name[3:]}"):
        parse(daily(rows), Answer("AAPL", "AAPL"))


@settings(max_examples=60)
@given(st.permutations(HEADER.decode().strip().split(",")))
def test_a_csv_whose_columns_are_named_in_another_order_is_refused(names):
    header = ",".join(names).encode() + b"\r\n"
    parsed = read(VALID["daily csv"][1].replace(HEADER, header))
    assert (parsed is not None) == (header == HEADER)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 11), max_size=14), st.sampled_from(["daily csv", "intraday csv"]))
def test_lines_of_a_csv_left_out_doubled_or_turned_are_read_as_they_stand(order, kind):
    interval, body = VALID[kind]
    lines = body.split(b"\r\n")[1:]
    assert_refused_or_really_there(HEADER + b"".join(lines[place] + b"\r\n" for place in order), interval)


@settings(max_examples=60)
@given(st.dates(date(2000, 1, 1), date(2030, 1, 1)), st.times())
def test_a_local_time_and_its_instant_are_the_same_moment_or_it_is_refused(day, clock):
    assert_refused_or_really_there(intraday({f"{day} {clock:%H:%M:%S}": ROW}), "1m")


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.dates(date(1900, 1, 1), date(2100, 1, 1)),
        st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), min_size=5, max_size=5),
        max_size=8,
    )
)
def test_a_series_written_as_json_is_read_back_exactly(rows):
    texts = {
        str(day): dict(zip(ROW, (x if x is None else repr(x) for x in row), strict=True)) for day, row in rows.items()
    }
    parsed = read(daily(texts))
    assert parsed is not None
    assert parsed.bars["date"].dt.date.tolist() == sorted(rows)
    expected = np.array([rows[day] for day in sorted(rows)], dtype=float).reshape(-1, 5)
    np.testing.assert_array_equal(parsed.bars[["open", "high", "low", "close", "volume"]].to_numpy(), expected)


@pytest.mark.parametrize("shift", [timedelta(0), timedelta(days=1)])
def test_a_date_given_twice_is_refused_however_the_rows_differ(shift):
    day = date(2021, 2, 1) + shift
    text = daily({"2021-02-01": priced(ROW, 0), "2021-02-03": priced(ROW, 1)}).decode()
    body = text.replace("2021-02-03", str(day)).encode()
    assert (read(body) is None) == (shift == timedelta(0))
