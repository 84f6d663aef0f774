from __future__ import annotations

import re
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from market_data.errors import SettingsError
from market_data.providers.catalogue import (
    SANDBOX_FILE,
    load_catalogue,
)
from market_data.providers.config import ProviderConfig, Quota, Rate
from market_data.records import Basis

FILE = Path("providers.yaml")
SECRET = "q7Zk-secret-91"
VALID = """\
polygon:
  priority: 1
  tier: free
  base_url: https://api.example.com/v1/
  key_variable: POLYGON_API_KEY
  needs_key: true
  basis: raw
  monthly_limit: 50000
  reset_zone: America/New_York
  cooldown_seconds: 2.5
  tiers:
    free: {per_minute: 5, reach_days: 730}
    starter: {monthly_limit: null, daily_limit: 10_000, per_second: 9, per_minute: 60, grouped: true}
yahoo:
  priority: 2
  tier: free
  base_url: http://127.0.0.1:8000
  basis: split
  user_agent: Mozilla/5.0
  tiers:
    free: {}
"""


def load(text: str | bytes = VALID, **given) -> dict[str, ProviderConfig]:
    FILE.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_catalogue(FILE, **given)


def refused(text: str | bytes, **given) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(text, **given)
    return str(caught.value).split("\n")


def replaced(old: str, new: str) -> str:
    assert VALID.count(old) >= 1
    return VALID.replace(old, new, 1)


def test_every_key_is_read_and_those_of_the_tier_win():
    polygon, yahoo = load(replaced("tier: free", "tier: starter")).values()
    assert polygon == ProviderConfig(
        name="polygon",
        priority=1,
        tier="starter",
        base_url="https://api.example.com/v1",
        basis=Basis.RAW,
        key_variable="POLYGON_API_KEY",
        needs_key=True,
        quotas=(Quota("day", 10_000),),
        rates=(Rate(9, 1.0), Rate(60, 60.0)),
        reset_zone="America/New_York",
        cooldown=2.5,
        grouped=True,
    )
    assert (yahoo.base_url, yahoo.user_agent, yahoo.quotas, yahoo.cooldown) == (
        "http://127.0.0.1:8000",
        "Mozilla/5.0",
        (),
        60.0,
    )


def test_providers_come_by_priority_whatever_their_place_and_a_disabled_one_is_left_out():
    assert list(load(replaced("priority: 1", "priority: 7"))) == ["yahoo", "polygon"]
    assert list(load(replaced("priority: 1", "priority: 2\n  enabled: false"))) == ["yahoo"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("per_second: 10, per_minute: 5", [Rate(5, 60.0)]),
        ("per_second: 1, per_minute: 61", [Rate(1, 1.0)]),
        ("per_second: 1, per_minute: 60", [Rate(1, 1.0), Rate(60, 60.0)]),
        ("per_second: null, per_minute: ~", []),
    ],
)
def test_a_rate_that_another_implies_is_left_out_since_limiters_refuse_both(given, kept):
    assert list(load(replaced("per_minute: 5", given))["polygon"].rates) == kept


@pytest.mark.parametrize(
    ("old", "new", "line", "problem"),
    [
        ("per_minute: 5", "per_minute: -5", 12, "tiers.free.per_minute: -5 is not a whole number of at least 1"),
        ("per_minute: 5", "per_minute: 5.5", 12, "tiers.free.per_minute: 5.5 is not a whole number of at least 1"),
        ("per_minute: 5", "per_minute: 010", 12, "tiers.free.per_minute: 010 is not a whole number of at least 1"),
        ("per_minute: 5", "per_minut: 5", 12, "tiers.free.per_minut: not a key here; did you mean per_minute?"),
        ("per_minute: 5", "per_minute: [5]", 12, "tiers.free.per_minute: one value is due, not a list"),
        ("per_minute: 5", "per_minute: ", 12, "tiers.free.per_minute: it has no value; give one, or remove the key"),
        ("per_minute: 5", 'per_minute: "5"', 12, 'tiers.free.per_minute: "5" is not a whole number of at least 1'),
        ("50000", "50,000", 8, "monthly_limit: 50,000 is not a whole number of at least 1"),
        ("50000", "9" * 5000, 8, f"monthly_limit: {'9' * 60}... is more than 1000000000, the most that is allowed"),
        ("priority: 1", "priority: 0", 2, "priority: 0 is not a whole number of at least 1"),
        ("priority", "priorty", 2, "priorty: not a key here; did you mean priority?"),
        ("tier: free", "tier: gold", 3, "tier: gold is not among its tiers, which are free, starter"),
        ("tier: free", "tier: Free!", 3, "tier: Free! is not the name of a tier, such as free"),
        ("basis: raw", "basis: adjusted", 7, "basis: adjusted is not a price basis; known are raw, split, split_div"),
        ("needs_key: true", "needs_key: yes", 6, "needs_key: yes is neither true nor false"),
        ("needs_key: true", 'needs_key: "true"', 6, 'needs_key: "true" is neither true nor false'),
        ("New_York", "New_Yrok", 9, "reset_zone: America/New_Yrok is not a time zone; did you mean America/New_York?"),
        ("America/New_York", "../etc", 9, "reset_zone: ../etc is not a time zone; write one such as America/New_York"),
        ("2.5", "-1", 10, "cooldown_seconds: -1 is not a number of seconds from 0 to 86400"),
        ("2.5", ".nan", 10, "cooldown_seconds: .nan is not a number of seconds from 0 to 86400"),
        ("  key_variable: POLYGON_API_KEY\n", "", 5, "needs_key: true without key_variable; name the key's variable"),
        ("https://", "http://", 4, "base_url: http://api.example.com/v1/: http is for loopback alone; write https"),
        ("https://", "ftp://", 4, "base_url: ftp://api.example.com/v1/ is not an address such as https://"),
        ("example.com", "example.com:99999", 4, "base_url: https://api.example.com:99999/v1/ is not an address"),
        ("free: {per", "fr ee: {per", 12, "tiers: 'fr ee' is not a name such as free or premium_75"),
    ],
)
def test_a_bad_value_is_refused_with_file_line_key_and_mend(old, new, line, problem):
    place = f"providers.yaml: line {line}: polygon.{problem}"
    assert any(text.startswith(place) for text in refused(replaced(old, new)))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (replaced("https://", f"https://me:{SECRET}@"), 4),
        (replaced("/v1/", f"/v1?apikey={SECRET}"), 4),
        (replaced("POLYGON_API_KEY", SECRET), 5),
        (replaced("POLYGON_API_KEY", "QX7ZK91SECRETKEY"), 5),
        (replaced("key_variable: POLYGON_API_KEY", f"api_key: {SECRET}"), 5),
    ],
)
def test_a_secret_that_was_written_into_the_file_is_refused_and_not_repeated(text, line):
    message = "\n".join(refused(text))
    assert f"providers.yaml: line {line}: polygon." in message
    assert "key_variable" in message or "POLYGON_API_KEY" in message
    assert "secret" not in message.lower()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the file is empty; give at least one of polygon, alpha_vantage, stooq, yahoo"),
        ("# nothing\n---\n", "line 1: the file is empty"),
        ("- polygon\n", "line 1: providers are due here, at least one of polygon"),
        ("{}", "line 1: no provider is in use; give and enable at least one of polygon"),
        (VALID + "bloomberg: {}\n", "line 22: bloomberg is not a provider; known are polygon, alpha_vantage, stooq, y"),
        (VALID + "stoq: {}\n", "line 22: stoq is not a provider; did you mean stooq?"),
        (VALID + "stooq: 3\n", "line 22: stooq: its keys are due here"),
        (VALID + "polygon: {}\n", "line 22: polygon is given twice, on lines 1 and 22; keep one of them"),
        (replaced("  needs", "  tier: free\n  needs"), "line 6: polygon.tier is given twice, on lines 3 and 6; keep"),
        (replaced("priority: 2", "priority: 1"), "line 15: yahoo.priority: 1 is that of polygon (line 2) too"),
        (
            replaced("basis: split", "basis: split\n  key_variable: POLYGON_API_KEY"),
            "line 19: yahoo.key_variable: POLYGON_API_KEY is that of polygon (line 5) too",
        ),
        (replaced("  basis: raw\n", ""), "line 1: polygon.basis is missing; add it"),
        (
            replaced("tier: free", "tier: {"),
            "line 5: cannot be read as YAML: expected ',' or '}', but got ':', in what begins on line 3",
        ),
        (replaced("tier: free", "\ttier: free"), "line 3: cannot be read as YAML: "),
        (replaced("tier: free", 'tier: "\\UFFFFFFFF"'), "line 3: cannot be read as YAML: an escape stands for no"),
        (replaced("tier: free", "tier: fr\x07ee"), "line 3: cannot be read as YAML: it holds a control character"),
        (replaced("free", "café").encode("latin-1"), "line 3: not UTF-8"),
        (VALID + "---\n" + VALID, "line 22: cannot be read as YAML: "),
        (replaced("free: {", "free: &a {"), "line 12: cannot be read as YAML: anchors, aliases and tags are not"),
        (replaced("tier: free", "tier: !!str free"), "line 3: cannot be read as YAML: anchors, aliases and tags"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n", "line 1: cannot be read as YAML: anchors, aliases"),
        ("[" * 5000, "line 1: cannot be read as YAML: it is nested too deeply"),
        ("polygon: {? [a] : 1}", "line 1: polygon: a key is a word, not a list"),
    ],
)
def test_a_file_that_is_no_catalogue_is_refused_with_its_line(text, message):
    assert any(line.startswith(f"providers.yaml: {message}") for line in refused(text))


def test_all_problems_are_told_at_once_in_the_order_of_their_lines():
    text = replaced("priority: 1", "priority: one").replace("basis: split", "basis: none")
    found = refused(text + "bloomberg: {}\n")
    assert [line.split(": ")[1:3] for line in found] == [
        ["line 2", "polygon.priority"],
        ["line 18", "yahoo.basis"],
        ["line 22", "bloomberg is not a provider; known are polygon, alpha_vantage, stooq, yahoo"],
    ]
    assert len(refused("\n".join(f"x{number}: 1" for number in range(9_000)))) == 50


def test_a_file_that_cannot_be_opened_or_is_far_too_long_is_refused_by_name():
    with pytest.raises(SettingsError, match=r"^missing\.yaml: cannot be read: No such file"):
        load_catalogue(Path("missing.yaml"))
    assert refused("#" * 300_000)[0].startswith("providers.yaml: longer than 262,144 bytes")


def test_the_placeholder_needs_a_sandbox_and_a_sandbox_needs_the_placeholder():
    text = replaced("https://api.example.com", '"{sandbox}/polygon"#').replace('"#/v1/', '"')
    assert refused(text)[0].endswith("none was given; start one, or write an https address")
    assert "line 17: yahoo.base_url: a sandbox was given" in refused(text, base_url="http://127.0.0.1:1")[0]
    with pytest.raises(SettingsError, match=r"line 10: polygon\.base_url: http://example\.com/polygon: http is for"):
        load_catalogue(SANDBOX_FILE, base_url="http://example.com")


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.dates(), st.text(max_size=8), st.binary(max_size=4)
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=2), st.dictionaries(st.text(max_size=4), SCALARS, max_size=2))


def assert_read_or_refused(text: str) -> None:
    try:
        catalogue = load(text)
    except SettingsError as error:
        for line in str(error).split("\n"):
            assert re.match(r"providers\.yaml: line [1-9][0-9]*: .", line), line
        return
    assert catalogue
    for config in catalogue.values():
        assert isinstance(config, ProviderConfig)
        config.first_reachable(date(2026, 1, 16))
        limits = [(rate.limit, rate.limit / rate.seconds) for rate in config.rates]
        assert all(a[0] < b[0] and a[1] >= b[1] for a, b in pairwise(limits))


@settings(max_examples=150)
@given(st.data())
def test_a_changed_document_gives_configs_or_an_error_with_a_line_and_never_another_exception(data):
    document = yaml.safe_load(VALID)
    for _ in range(data.draw(st.integers(1, 3))):
        keys = document
        while True:
            name = data.draw(st.sampled_from(sorted(keys))) if keys else ""
            if not (isinstance(keys.get(name), dict) and keys[name] and data.draw(st.booleans())):
                break
            keys = keys[name]
        old = keys.pop(name, None)
        change = data.draw(st.sampled_from(["drop", "rename", "value", "number"]))
        if change == "rename":
            keys[data.draw(st.text(max_size=6))] = old
        elif change != "drop":
            keys[name] = data.draw(VALUES if change == "value" else st.integers(0, 3000))
    assert_read_or_refused(yaml.safe_dump(document, sort_keys=False))


@settings(max_examples=150)
@given(st.integers(0, len(VALID)), st.integers(0, 4), st.text("{}[]&*!|>'\"%@`#,:?- \n\t\\x0\x85\u2028é", max_size=3))
def test_a_text_cut_or_overwritten_anywhere_does_the_same(place, length, new):
    assert_read_or_refused(VALID[:place] + new + VALID[place + length :])
