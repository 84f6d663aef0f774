from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data.errors import ProviderError
from market_data.providers.yahoo import parse
from market_data.schemas import CorporateActions, RawBars, RawIntradayBars
from market_data_tests.test_yahoo_chart import FIELDS, answer, chart, epoch, period

NEW_YORK = ZoneInfo("America/New_York")
EVENTS = {
    "dividends": {"1": {"amount": 0.2, "date": epoch("2021-03-10T09:30")}},
    "splits": {"2": {"date": epoch("2021-03-12T09:30"), "numerator": 4, "denominator": 1}},
}
DAILY = chart(
    {epoch(f"2021-03-{day:02d}T09:30"): (day, day + 0.5, day - 0.25, day + 0.125, 1000 * day) for day in range(8, 17)},
    EVENTS,
    regularMarketTime=epoch("2021-03-16T15:59:00"),
    currentTradingPeriod={"regular": period("2021-03-16")},
)
MINUTES = chart(
    {epoch(f"2021-03-15T15:{minute}"): (minute, minute, minute, minute, minute) for minute in range(50, 60)},
    dataGranularity="1m",
    regularMarketTime=epoch("2021-03-15T15:59:30"),
    tradingPeriods=[[period("2021-03-15")]],
)
FETCHED = st.none() | st.datetimes(datetime(2021, 3, 14), datetime(2021, 3, 18)).map(lambda at: at.replace(tzinfo=UTC))  # noqa: DTZ001
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**10), 10**10)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([10**40, -(10**400), 0, -1, 1e308, 5e-324])
    | st.sampled_from(["", "x", "AAPL", "1d", "1m", "UTC", "Asia/Tokyo", "Not Found", "2021-03-10"])
    | st.text(max_size=8)
)
KEYS = st.sampled_from(["chart", "result", "error", "meta", "timestamp", "indicators", "quote", "close", "events"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=3), inner),
    max_leaves=9,
)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of everything below a node."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [step for key, value in items for step in [(*path, key), *places(value, (*path, key))]]


def at(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


def damaged(document: dict[str, Any], changes: list[tuple[int, str, Any]]) -> dict[str, Any]:
    """A copy with something dropped, put in another's place, or repeated, once for each change."""
    document = copy.deepcopy(document)
    for number, how, value in changes:
        paths = places(document)
        if not paths:
            break
        *parent, key = paths[number % len(paths)]
        holder = at(document, tuple(parent))
        if how == "drop":
            del holder[key]
        elif how == "repeat" and isinstance(holder, list):
            holder.insert(key, holder[key])
        else:
            holder[key] = value
    return document


CHANGES = st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(["drop", "put", "repeat"]), VALUES), max_size=3)


def assert_says_what_was_sent(frame: pd.DataFrame, result: dict[str, Any], interval: str) -> None:
    """Every bar is one of the body's rows, each at most once, prices apart from the noise of 32 bits."""
    zone, key = ZoneInfo(result["meta"]["exchangeTimezoneName"]), frame.columns[0]
    quotes = result["indicators"]["quote"][0]
    sent = []
    for place, stamp in enumerate(result["timestamp"]):
        instant = datetime.fromtimestamp(stamp, zone if interval == "1d" else UTC)
        day = pd.Timestamp(instant.date()) if interval == "1d" else pd.Timestamp(instant)
        numbers = [quotes[name][place] if name in quotes else None for name in FIELDS]
        sent.append((day, np.array([np.nan if number is None else number for number in numbers], dtype=float)))
    for day, *numbers in frame[[key, *FIELDS]].itertuples(index=False):
        found = [row for row in sent if row[0] == day and np.allclose(row[1], numbers, rtol=1e-7, equal_nan=True)]
        assert found, (day, numbers)
        sent = [row for row in sent if row is not found[0]]


def assert_sound(body: bytes, interval: str, fetched: datetime | None) -> None:
    try:
        parsed = parse(body, answer(interval, fetched_at=fetched))
    except ProviderError:
        return
    (RawBars if interval == "1d" else RawIntradayBars).validate(parsed.bars)
    CorporateActions.validate(parsed.actions)
    assert_says_what_was_sent(parsed.bars, json.loads(body)["chart"]["result"][0], interval)


@settings(max_examples=150)
@given(st.sampled_from(["1d", "1m"]), CHANGES, FETCHED)
def test_a_damaged_chart_is_refused_or_read_as_what_it_says(interval, changes, fetched):
    document = damaged(DAILY if interval == "1d" else MINUTES, changes)
    assert_sound(json.dumps(document).encode(), interval, fetched)


@given(st.sampled_from(["1d", "1m"]), st.integers(0, 2000), FETCHED)
def test_a_cut_chart_is_refused(interval, removed, fetched):
    body = json.dumps(DAILY if interval == "1d" else MINUTES).encode()
    assert_sound(body, interval, fetched)
    try:
        parse(body[: -removed - 1], answer(interval, fetched_at=fetched))
    except ProviderError:
        return
    raise AssertionError(f"{removed + 1} bytes less were read")


@given(st.binary(max_size=80) | st.text(max_size=80).map(str.encode), st.integers(100, 999))
def test_any_bytes_at_any_status_become_an_error_of_the_provider(body, status):
    assert_sound(body, "1d", None)
    try:
        parse(body, answer(status=status))
    except ProviderError:
        return
    raise AssertionError(f"{body!r} was read")


@given(VALUES, st.sampled_from(["document", "chart", "result", "item"]))
def test_any_json_is_refused(value, depth):
    wraps = {"document": lambda x: x, "chart": lambda x: {"chart": x}, "result": lambda x: {"chart": {"result": x}}}
    wrap = wraps.get(depth, lambda x: {"chart": {"result": [x]}})
    assert_sound(json.dumps(wrap(value)).encode(), "1d", None)


PRICES = st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False)
DAYS = st.dictionaries(st.dates(datetime(1962, 1, 2).date(), datetime(2024, 1, 1).date()), st.tuples(*[PRICES] * 5))  # noqa: DTZ001


@given(DAYS.filter(bool))
def test_a_chart_of_closed_sessions_is_read_back_whole(days):
    bars = {int(datetime(day.year, day.month, day.day, 9, 30, tzinfo=NEW_YORK).timestamp()): days[day] for day in days}
    frame = parse(json.dumps(chart(bars)).encode(), answer()).bars
    assert frame["date"].dt.date.tolist() == sorted(days)
    expected = np.array([days[day] for day in sorted(days)], dtype=np.float32)
    np.testing.assert_array_equal(frame[list(FIELDS)].to_numpy().astype(np.float32), expected)
