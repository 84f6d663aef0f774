"""The values of a providers file: how each key's value is read, and what is said of one that is not allowed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import yaml

from market_data.records import Basis

__all__ = [
    "LIMIT_KEYS",
    "PROVIDER_KEYS",
    "SANDBOX",
    "TIER_NAME",
    "Reader",
    "Refused",
    "is_plain",
    "printable",
    "shown_node",
    "suggestion",
    "url_reader",
]

SANDBOX = "{sandbox}"
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
_WHOLE = re.compile(r"0|[1-9][0-9]*(_[0-9]+)*")
_DECIMAL = re.compile(r"[0-9]+(\.[0-9]+)?")
TIER_NAME = re.compile(r"[a-z][a-z0-9_-]*")
# A key itself can be all capitals and digits, as Alpha Vantage's are; the underscore tells a name from one.
_VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")
_HOST = r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*|\[::1\]"
_URL = re.compile(rf"(?P<scheme>https?)://(?P<host>{_HOST})(?::(?P<port>[0-9]{{1,5}}))?(?:/[A-Za-z0-9._~-]*)*")
_HEADER = re.compile(r"[ -~]{0,300}")
Reader = Callable[[yaml.ScalarNode], Any]


class Refused(ValueError):
    """A value is not allowed; the text says why and what is."""


def _whole(least: int, most: int) -> Reader:
    def read(node: yaml.ScalarNode) -> int:
        if not is_plain(node) or not _WHOLE.fullmatch(node.value):
            raise Refused(f"{shown_node(node)} is not a whole number of at least {least}")
        number = int(node.value) if len(node.value) < 20 else most + 1
        if number < least:
            raise Refused(f"{shown_node(node)} is not a whole number of at least {least}")
        if number > most:
            raise Refused(f"{shown_node(node)} is more than {most}, the most that is allowed")
        return number

    return read


def _seconds(node: yaml.ScalarNode) -> float:
    if not is_plain(node) or not _DECIMAL.fullmatch(node.value) or float(node.value) > 86_400:
        raise Refused(f"{shown_node(node)} is not a number of seconds from 0 to 86400")
    return float(node.value)


def _flag(node: yaml.ScalarNode) -> bool:
    if not is_plain(node) or node.value.lower() not in ("true", "false"):
        raise Refused(f"{shown_node(node)} is neither true nor false")
    return bool(node.value.lower() == "true")


def _basis(node: yaml.ScalarNode) -> Basis:
    if node.value not in list(Basis):
        raise Refused(f"{shown_node(node)} is not a price basis; known are {', '.join(Basis)}")
    return Basis(node.value)


def _zone(node: yaml.ScalarNode) -> str:
    try:
        return ZoneInfo(node.value).key
    except (OSError, ValueError, LookupError):
        meant = suggestion(node.value, available_timezones(), otherwise="write one such as America/New_York or UTC")
        raise Refused(f"{shown_node(node)} is not a time zone; {meant}") from None


def _variable(node: yaml.ScalarNode) -> str:
    # What stands here instead may be the key itself, so it is not shown.
    if not _VARIABLE.fullmatch(node.value):
        raise Refused(
            "not the name of an environment variable such as POLYGON_API_KEY, in capitals with an underscore; "
            "the key itself is given in that variable, never in this file"
        )
    return str(node.value)


def _agent(node: yaml.ScalarNode) -> str:
    if not _HEADER.fullmatch(node.value):
        raise Refused(f"{shown_node(node)} is not one line of at most 300 ASCII characters")
    return str(node.value).strip()


def _tier(node: yaml.ScalarNode) -> str:
    if not TIER_NAME.fullmatch(node.value):
        raise Refused(f"{shown_node(node)} is not the name of a tier, such as free")
    return str(node.value)


def url_reader(sandbox: str | None) -> Reader:
    """Reads a base URL; `{sandbox}` stands for the address given."""

    def read(node: yaml.ScalarNode) -> str:
        text: str = node.value
        if text.startswith(SANDBOX):
            if sandbox is None:
                raise Refused(
                    f"{SANDBOX} stands for a running sandbox, and none was given; start one, or write an https address"
                )
            text = sandbox.rstrip("/") + text.removeprefix(SANDBOX)
        elif sandbox is not None:
            raise Refused(f'a sandbox was given, so "{SANDBOX}/..." is due: real vendors are not mixed with it')
        return _checked_url(text)

    return read


def _checked_url(text: str) -> str:
    # A password or key may stand in these, so they are not shown.
    if "@" in text:
        raise Refused("a user or password has no place in an address; give a key in the variable of key_variable")
    if "?" in text or "#" in text:
        raise Refused("an address ends before its query; give a key in the variable of key_variable")
    match = _URL.fullmatch(text)
    if match is None or not 0 < int(match["port"] or 443) < 65_536:
        raise Refused(f"{printable(text)} is not an address such as https://api.example.com")
    if match["scheme"] == "http" and match["host"].lower() not in _LOOPBACK:
        raise Refused(f"{text}: http is for loopback alone; write https")
    return text.rstrip("/")


def _or_none(reader: Reader) -> Reader:
    def read(node: yaml.ScalarNode) -> Any:
        is_none = is_plain(node) and node.value.lower() in ("null", "~")
        return None if is_none else reader(node)

    return read


_CALLS = _or_none(_whole(1, 1_000_000_000))
LIMIT_KEYS: dict[str, Reader] = {
    "monthly_limit": _CALLS,
    "daily_limit": _CALLS,
    "per_minute": _or_none(_whole(1, 1_000_000)),
    "per_second": _or_none(_whole(1, 100_000)),
    "reach_days": _or_none(_whole(1, 36_500)),
    # The calendar of sessions begins in 1990, and the reach is looked up in twice as many days.
    "reach_sessions": _or_none(_whole(1, 2_500)),
    "intraday_reach_days": _or_none(_whole(0, 36_500)),
    "concurrency": _whole(1, 64),
    "grouped": _flag,
    "cooldown_seconds": _seconds,
}
PROVIDER_KEYS: dict[str, Reader] = LIMIT_KEYS | {
    "enabled": _flag,
    "priority": _whole(1, 1_000),
    "tier": _tier,
    "base_url": url_reader(None),
    "basis": _basis,
    "key_variable": _or_none(_variable),
    "needs_key": _flag,
    "point_in_time_tickers": _flag,
    "reset_zone": _zone,
    "user_agent": _agent,
    "tiers": _tier,  # read apart; it is here to be found when misspelt
}


def is_plain(node: yaml.ScalarNode) -> bool:
    """Whether the value stands without quotes."""
    return node.style is None


def shown_node(node: yaml.Node) -> str:
    """The value as a message shows it."""
    if isinstance(node, yaml.ScalarNode):
        text = printable(node.value)
        return text if is_plain(node) else f'"{text}"'
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"


def printable(text: str) -> str:
    """The text, cut, without what a terminal would not show."""
    text = text if len(text) <= 60 else f"{text[:60]}..."
    return text if text.isascii() and text.isprintable() else ascii(text)[1:-1]


def suggestion(word: str, known: Iterable[str], *, otherwise: str = "") -> str:
    """What may have been meant by a misspelt word; `otherwise` where nothing is close."""
    known = list(known)
    if not otherwise and re.search(r"key|token|secret|password", word, re.IGNORECASE) and "key_variable" in known:
        return "a key is given in the environment variable that key_variable names"
    close = difflib.get_close_matches(word[:60], known, n=1)
    return f"did you mean {close[0]}?" if close else otherwise or f"known are {', '.join(known)}"
