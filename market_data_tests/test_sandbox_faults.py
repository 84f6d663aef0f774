"""Faults and limits as values: what they fall on, how they are written, and what is refused."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_data.errors import MarketDataError
from market_data.sandbox.faults import (
    FAULT_KINDS,
    Fault,
    FaultPlan,
    Limit,
    fault_from_json,
    parse_fault,
    parse_limit,
)
from market_data.sandbox.vendors import VENDORS


def value_for(kind: str) -> float | None:
    return {"cut_window": 5.0, "unauthorized": 403.0, "server_error": 502.0}.get(kind)


@st.composite
def faults(draw: st.DrawFn) -> Fault:
    kind = draw(st.sampled_from(sorted(FAULT_KINDS)))
    first = draw(st.integers(1, 500))
    return Fault(
        draw(st.sampled_from(FAULT_KINDS[kind].vendors)),
        kind,
        symbols=draw(st.none() | st.frozensets(st.sampled_from(["AAPL", "BRK.B", "*"]), min_size=1)),
        first=first,
        last=draw(st.none() | st.integers(first, 1000)),
        share=draw(st.floats(0.01, 1.0)),
        value=value_for(kind),
    )


def as_text(fault: Fault) -> str:
    options = {"first": fault.first, "last": fault.last, "share": fault.share, "value": fault.value}
    options["symbols"] = ",".join(sorted(fault.symbols)) if fault.symbols else None
    told = [f"{name}={value}" for name, value in options.items() if value is not None]
    return ":".join([fault.vendor, fault.kind, *told])


@given(faults())
def test_a_fault_survives_json_and_text(fault):
    assert fault_from_json(json.loads(json.dumps(fault.as_json()))) == fault
    assert parse_fault(as_text(fault)) == fault
    assert fault_from_json(as_text(fault)) == fault


def test_the_compact_text_of_the_documentation():
    assert parse_fault("polygon:rate_limit:first=1:last=40:value=1") == Fault(
        "polygon", "rate_limit", None, 1, 40, 1, 1
    )
    assert parse_fault(" yahoo:outage:symbols=aapl, brk.b ").symbols == {"AAPL", "BRK.B"}
    assert parse_limit("polygon:5/60") == Limit("polygon", 5, 60.0)
    assert parse_limit("alpha_vantage:1") == Limit("alpha_vantage", 1, 1.0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("bloomberg:outage", "vendor 'bloomberg' is unknown; known are polygon, alpha_vantage, yahoo, stooq"),
        ("polygon", "fault '' is unknown; known are rate_limit, quota, "),
        ("polygon:rate-limit", "fault 'rate-limit' is unknown; known are rate_limit, "),
        ("polygon:outage:from=3", "'from=3' is not one of symbols=, first=, last=, share=, value= given once"),
        ("polygon:outage:first=1:first=2", "'first=2' is not one of"),
        ("polygon:outage:first", "'first' is not one of"),
        ("polygon:outage:first=one", "first=one is not a number"),
        ("polygon:outage:first=0", "calls 0 to None: first is at least 1"),
        ("polygon:outage:first=5:last=4", "calls 5 to 4"),
        ("polygon:outage:share=0", "share 0.0 is not above 0"),
        ("polygon:outage:share=1.5", "share 1.5"),
        ("polygon:outage:share=nan", "share nan"),
        ("polygon:outage:value=1", "fault polygon:outage: takes no value, not 1.0"),
        ("polygon:outage:symbols=", "symbols names none"),
        ("polygon:slow:value=-1", "value -1.0 is not a number from 0 on (seconds, by default 1)"),
        ("polygon:slow:value=inf", "value inf"),
        ("polygon:cut_window", "needs a value: sessions"),
        ("polygon:cut_window:value=0", "value 0 cannot be (sessions)"),
        ("polygon:cut_response:value=1", "value 1 cannot be"),
        ("polygon:hundredfold:value=0", "value 0 cannot be"),
        ("polygon:server_error:value=404", "value 404 is not a status it can have"),
        ("polygon:unauthorized:value=500", "value 500 is not a status"),
        ("polygon:access_check", "fault polygon:access_check: only stooq can show it"),
        ("yahoo:next_url_elsewhere", "only polygon can show it"),
    ],
)
def test_what_cannot_be_is_refused_by_name(text, told):
    with pytest.raises(MarketDataError) as refused:
        parse_fault(text)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (5, "a fault is an object or a text, not 5"),
        ({"vendor": "polygon"}, "kind is missing"),
        ({"vendor": "polygon", "kind": 5}, "kind is missing or no text"),
        ({"vendor": "polygon", "kind": "outage", "until": 5}, "until is unknown; fields are vendor, kind, symbols"),
        ({"vendor": "polygon", "kind": "outage", "first": 1.5}, "first cannot be 1.5"),
        ({"vendor": "polygon", "kind": "outage", "first": True}, "first cannot be True"),
        ({"vendor": "polygon", "kind": "outage", "symbols": "AAPL"}, "symbols cannot be 'AAPL'"),
        ({"vendor": "polygon", "kind": "slow", "value": "1"}, "value cannot be '1'"),
    ],
)
def test_json_that_is_no_fault_is_refused(given, told):
    with pytest.raises(MarketDataError) as refused:
        fault_from_json(given)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    "text", ["polygon", "polygon:", "polygon:x/60", "polygon:5/0", "polygon:-1/60", "polygon:5/inf", "nobody:5/60"]
)
def test_a_text_that_is_no_limit_is_refused(text):
    with pytest.raises(MarketDataError, match=r"limit|vendor"):
        parse_limit(text)


def hits(fault: Fault, seed: int = 7, symbol: str = "AAPL", count: int = 100) -> list[int]:
    return [number for number in range(1, count + 1) if fault.falls_on(seed, symbol, number, number)]


def test_a_fault_falls_on_its_calls_alone():
    assert hits(Fault("polygon", "outage", first=3, last=5)) == [3, 4, 5]
    assert hits(Fault("polygon", "outage", first=98)) == [98, 99, 100]
    assert hits(Fault("polygon", "quota", value=97)) == [98, 99, 100]
    assert hits(Fault("polygon", "outage", symbols=frozenset({"MSFT"}))) == []


def test_a_share_is_drawn_by_seed_symbol_and_call():
    fault = Fault("polygon", "outage", share=0.3)
    drawn = hits(fault, count=1000)
    assert 250 < len(drawn) < 350
    assert hits(fault, count=1000) == drawn
    for other in (
        hits(fault, seed=8, count=1000),
        hits(fault, symbol="MSFT", count=1000),
        hits(replace(fault, vendor="yahoo"), count=1000),
    ):
        assert other != drawn
    # The symbol's own number counts, so that others' calls in between change nothing.
    assert fault.falls_on(7, "AAPL", 900, drawn[0])


def test_faults_of_a_call_keep_their_order_and_name_known_symbols():
    first, second = Fault("yahoo", "slow", value=0), Fault("yahoo", "html", symbols=frozenset({"*", "AAPL"}))
    plan = FaultPlan(7, ["AAPL"], faults=[first, second, Fault("stooq", "html")])
    assert plan.falling_on("yahoo", "AAPL", 1, 1) == (first, second)
    assert plan.falling_on("polygon", "AAPL", 1, 1) == ()
    with pytest.raises(MarketDataError, match="faults name ZZZ, not in the universe"):
        plan.replace([Fault("yahoo", "html", symbols=frozenset({"ZZZ"}))])
    assert len(plan.faults) == 3


def test_a_limit_slides_and_refused_calls_do_not_count():
    now = 0.0
    plan = FaultPlan(7, [], limits=[Limit("polygon", 2, 60), Limit("polygon", 3, 1000)], clock=lambda: now)
    assert [plan.allows("polygon"), plan.allows("polygon"), plan.allows("polygon")] == [True, True, False]
    assert all(plan.allows("yahoo") for _ in range(10))
    now = 59.9
    assert not plan.allows("polygon")
    now = 60.0
    assert [plan.allows("polygon"), plan.allows("polygon")] == [True, False]
    now = 500.0
    assert not plan.allows("polygon")
    plan.forget_calls()
    assert plan.allows("polygon")


def test_every_kind_says_what_it_does():
    for name, kind in FAULT_KINDS.items():
        assert (kind.name, bool(kind.does)) == (name, True)
        assert set(kind.vendors) <= set(VENDORS)
