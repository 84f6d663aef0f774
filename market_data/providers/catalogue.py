"""The catalogue of providers: `providers.yaml` read into one `ProviderConfig` a vendor, checked as a whole.

The packaged files say in their comments what each key means. A file is plain YAML: a mapping of providers, without
anchors, aliases and tags, so that its size bounds what reading it costs, and every value stands where it is used.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import yaml

from market_data.errors import SettingsError
from market_data.providers.config import ProviderConfig, Quota, Rate
from market_data.records import Basis

__all__ = ["KNOWN", "PROVIDERS_FILE", "SANDBOX_FILE", "keys_from_environment", "load_catalogue"]

KNOWN = ("polygon", "alpha_vantage", "stooq", "yahoo")
"""Every provider there is a client for."""

_PACKAGE = Path(__file__).resolve().parents[1]
PROVIDERS_FILE = _PACKAGE / "providers.yaml"
"""The vendors themselves."""
SANDBOX_FILE = _PACKAGE / "providers.sandbox.yaml"
"""The same vendors as the sandbox plays them; to be loaded with its `base_url`."""

SANDBOX = "{sandbox}"
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
_LARGEST_FILE = 256 * 1024
_DEEPEST = 6
_MOST_PROBLEMS = 50
_REQUIRED = ("priority", "tier", "base_url", "basis", "tiers")

_WHOLE = re.compile(r"0|[1-9][0-9]*(_[0-9]+)*")
_DECIMAL = re.compile(r"[0-9]+(\.[0-9]+)?")
_TIER = re.compile(r"[a-z][a-z0-9_-]*")
# A key itself can be all capitals and digits, as Alpha Vantage's are; the underscore tells a name from one.
_VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")
_HOST = r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*|\[::1\]"
_URL = re.compile(rf"(?P<scheme>https?)://(?P<host>{_HOST})(?::(?P<port>[0-9]{{1,5}}))?(?:/[A-Za-z0-9._~-]*)*")
_HEADER = re.compile(r"[ -~]{0,300}")
_KEY = re.compile(r"[!-~]+")

Reader = Callable[[yaml.ScalarNode], Any]


class _Refused(ValueError):
    """A value is not allowed; the text says why and what is."""


class _PlainLoader(yaml.SafeLoader):
    """YAML into nodes, which know their lines; what could make a small file large is refused."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None or event.tag is not None:
            raise yaml.MarkedYAMLError(
                problem="anchors, aliases and tags are not allowed; write the value out", problem_mark=event.start_mark
            )
        if self._depth >= _DEEPEST:
            raise yaml.MarkedYAMLError(problem="it is nested too deeply", problem_mark=event.start_mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Problems:
    """Everything that is wrong with a file, each thing with its line."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._found: list[tuple[int, str]] = []

    def add(self, line: int, text: str) -> None:
        self._found.append((line, text))
        if len(self._found) >= _MOST_PROBLEMS:
            self.raise_any()

    def raise_any(self) -> None:
        if self._found:
            lines = [f"{self._file}: line {line}: {text}" for line, text in sorted(self._found, key=lambda it: it[0])]
            raise SettingsError("\n".join(lines))


@dataclass(frozen=True, slots=True)
class _Entry:
    """A key of a mapping: its line, and the node of its value."""

    line: int
    node: yaml.Node


@dataclass(slots=True)
class _Provider:
    """What a file says of one provider: the lines of its keys, its allowed values, the limits of the tier in use."""

    name: str
    lines: dict[str, int]
    values: dict[str, Any]
    limits: dict[str, Any] = field(default_factory=dict)

    @property
    def enabled(self) -> bool:
        return self.values.get("enabled", True) is True


def load_catalogue(path: Path | None = None, *, base_url: str | None = None) -> dict[str, ProviderConfig]:
    """The providers in use, by name, the preferred one first.

    Args:
        path: the file to read; None for the packaged `providers.yaml`.
        base_url: address of a running sandbox, which stands in for `{sandbox}` in each provider's own.

    Raises:
        SettingsError: the file cannot be used; one line for each problem, with file, line, key and value.
    """
    file = path or PROVIDERS_FILE
    problems = _Problems(file)
    root = _root(file, problems)
    readers = _PROVIDER_KEYS | {"base_url": _url(base_url)}
    found = []
    for name, entry in _entries(root, "", problems).items():
        if name not in KNOWN:
            problems.add(entry.line, f"{_printable(name)} is not a provider; {_meant(name, KNOWN)}")
        elif isinstance(entry.node, yaml.MappingNode):
            found.append(_provider(name, entry.line, entry.node, readers, problems))
        else:
            problems.add(entry.line, f"{name}: its keys are due here, such as priority and tier")
    enabled = [provider for provider in found if provider.enabled]
    _require_unique("priority", enabled, problems)
    _require_unique("key_variable", enabled, problems)
    if not enabled:
        problems.add(_line(root), f"no provider is in use; give and enable at least one of {', '.join(KNOWN)}")
    problems.raise_any()
    configs = sorted((_config(provider) for provider in enabled), key=lambda config: config.priority)
    return {config.name: config for config in configs}


def keys_from_environment(
    catalogue: Mapping[str, ProviderConfig], environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The providers' keys, by provider, without surrounding blanks; one whose variable is unset or blank is left out.

    Raises:
        SettingsError: a value cannot be a key; its variable is named, the value is not.
    """
    keys = {}
    for name, config in catalogue.items():
        key = environ.get(config.key_variable, "").strip() if config.key_variable else ""
        if key and not _KEY.fullmatch(key):
            raise SettingsError(
                f"{config.key_variable}: the key of {name} holds a blank, a line break or another character that "
                "no key has; set it to the key alone"
            )
        if key:
            keys[name] = key
    return keys


def _root(file: Path, problems: _Problems) -> yaml.MappingNode:
    text = _text(file, problems)
    root: Any = None
    line, loader = 1, None
    try:
        loader = _PlainLoader(text)
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        problems.add(*_yaml_problem(error))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problems.add(line, "cannot be read as YAML: it holds a control character")
    except (ValueError, OverflowError):
        problems.add(loader.line + 1 if loader else 1, "cannot be read as YAML: an escape stands for no character")
    problems.raise_any()
    if root is None or (isinstance(root, yaml.ScalarNode) and not root.value):
        problems.add(1, f"the file is empty; give at least one of {', '.join(KNOWN)}")
    elif not isinstance(root, yaml.MappingNode):
        problems.add(_line(root), f"providers are due here, at least one of {', '.join(KNOWN)}")
    problems.raise_any()
    assert isinstance(root, yaml.MappingNode)
    return root


def _yaml_problem(error: yaml.MarkedYAMLError) -> tuple[int, str]:
    mark, context = error.problem_mark or error.context_mark, error.context_mark
    line = mark.line + 1 if mark else 1
    begun = f", in what begins on line {context.line + 1}" if context and context.line + 1 != line else ""
    return line, f"cannot be read as YAML: {_printable(str(error.problem))}{begun}"


def _text(file: Path, problems: _Problems) -> str:
    try:
        with file.open("rb") as stream:
            body = stream.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror or error}") from None
    if len(body) > _LARGEST_FILE:
        raise SettingsError(f"{file}: longer than {_LARGEST_FILE:,} bytes, so it is not a catalogue of providers")
    try:
        return body.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        problems.add(body.count(b"\n", 0, error.start) + 1, "not UTF-8; save the file in that encoding")
    problems.raise_any()
    raise AssertionError


def _entries(node: yaml.MappingNode, where: str, problems: _Problems) -> dict[str, _Entry]:
    entries: dict[str, _Entry] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            problems.add(_line(key), f"{where or 'the file'}: a key is a word, not {_shown(key)}")
        elif key.value in entries:
            first = entries[key.value].line
            name = f"{where}.{key.value}".lstrip(".")
            problems.add(
                _line(key), f"{_printable(name)} is given twice, on lines {first} and {_line(key)}; keep one of them"
            )
        else:
            entries[key.value] = _Entry(_line(key), value)
    return entries


def _provider(
    name: str, line: int, node: yaml.MappingNode, readers: Mapping[str, Reader], problems: _Problems
) -> _Provider:
    entries = _entries(node, name, problems)
    for key in _REQUIRED:
        if key not in entries:
            problems.add(line, f"{name}.{key} is missing; add it")
    tiers = entries.pop("tiers", None)
    lines = {key: entry.line for key, entry in entries.items()}
    provider = _Provider(name, lines, _values(entries, name, readers, problems))
    asked = provider.values.get("needs_key") is True
    if asked and ("key_variable" not in lines or provider.values.get("key_variable", "") is None):
        problems.add(lines["needs_key"], f"{name}.needs_key: true without key_variable; name the key's variable there")
    if tiers is not None:
        _read_tiers(provider, tiers, problems)
    return provider


def _read_tiers(provider: _Provider, tiers: _Entry, problems: _Problems) -> None:
    where = f"{provider.name}.tiers"
    if not isinstance(tiers.node, yaml.MappingNode):
        problems.add(tiers.line, f"{where}: tiers are due here, such as free: {{per_minute: 5}}")
        return
    entries = _entries(tiers.node, where, problems)
    limits = {}
    for tier, entry in entries.items():
        if not _TIER.fullmatch(tier):
            problems.add(entry.line, f"{where}: {_printable(tier)!r} is not a name such as free or premium_75")
        elif not isinstance(entry.node, yaml.MappingNode):
            problems.add(entry.line, f"{where}.{tier}: its limits are due here, or {{}} for none of its own")
        else:
            keys = _entries(entry.node, f"{where}.{tier}", problems)
            limits[tier] = _values(keys, f"{where}.{tier}", _LIMIT_KEYS, problems)
    chosen = provider.values.get("tier", "")
    if chosen and chosen not in entries:
        known = ", ".join(map(_printable, entries)) or "none"
        line = provider.lines["tier"]
        problems.add(line, f"{provider.name}.tier: {chosen} is not among its tiers, which are {known}")
    provider.limits = limits.get(chosen, {})


def _values(
    entries: Mapping[str, _Entry], where: str, readers: Mapping[str, Reader], problems: _Problems
) -> dict[str, Any]:
    values = {}
    for name, entry in entries.items():
        try:
            if name not in readers:
                raise _Refused(f"not a key here; {_meant(name, readers)}")
            if not isinstance(entry.node, yaml.ScalarNode):
                raise _Refused(f"one value is due, not {_shown(entry.node)}")
            if not entry.node.value and _is_plain(entry.node):
                raise _Refused("it has no value; give one, or remove the key")
            values[name] = readers[name](entry.node)
        except _Refused as refused:
            problems.add(entry.line, f"{where}.{_printable(name)}: {refused}")
    return values


def _require_unique(key: str, providers: Iterable[_Provider], problems: _Problems) -> None:
    first: dict[Any, _Provider] = {}
    for provider in providers:
        value = provider.values.get(key)
        if value is None:
            continue
        other = first.setdefault(value, provider)
        if other is not provider:
            problems.add(
                provider.lines[key],
                f"{provider.name}.{key}: {value} is that of {other.name} (line {other.lines[key]}) too; "
                "give each its own",
            )


def _config(provider: _Provider) -> ProviderConfig:
    values = provider.values | provider.limits
    daily, monthly = values.pop("daily_limit", None), values.pop("monthly_limit", None)
    quotas = (Quota("day", daily) if daily else None, Quota("month", monthly) if monthly else None)
    values["quotas"] = tuple(quota for quota in quotas if quota)
    values["rates"] = _rates(values.pop("per_second", None), values.pop("per_minute", None))
    if "cooldown_seconds" in values:
        values["cooldown"] = values.pop("cooldown_seconds")
    values.pop("enabled", None)
    return ProviderConfig(name=provider.name, **values)


def _rates(per_second: int | None, per_minute: int | None) -> tuple[Rate, ...]:
    """The rates, without one that the other implies: limiters refuse such a list."""
    if per_second is not None and per_minute is not None:
        if per_minute <= per_second:
            per_second = None
        elif per_minute > 60 * per_second:
            per_minute = None
    rates = (Rate(per_second, 1.0) if per_second else None, Rate(per_minute, 60.0) if per_minute else None)
    return tuple(rate for rate in rates if rate)


def _whole(least: int, most: int) -> Reader:
    def read(node: yaml.ScalarNode) -> int:
        if not _is_plain(node) or not _WHOLE.fullmatch(node.value):
            raise _Refused(f"{_shown(node)} is not a whole number of at least {least}")
        number = int(node.value) if len(node.value) < 20 else most + 1
        if number < least:
            raise _Refused(f"{_shown(node)} is not a whole number of at least {least}")
        if number > most:
            raise _Refused(f"{_shown(node)} is more than {most}, the most that is allowed")
        return number

    return read


def _seconds(node: yaml.ScalarNode) -> float:
    if not _is_plain(node) or not _DECIMAL.fullmatch(node.value) or float(node.value) > 86_400:
        raise _Refused(f"{_shown(node)} is not a number of seconds from 0 to 86400")
    return float(node.value)


def _flag(node: yaml.ScalarNode) -> bool:
    if not _is_plain(node) or node.value.lower() not in ("true", "false"):
        raise _Refused(f"{_shown(node)} is neither true nor false")
    return bool(node.value.lower() == "true")


def _basis(node: yaml.ScalarNode) -> Basis:
    if node.value not in list(Basis):
        raise _Refused(f"{_shown(node)} is not a price basis; known are {', '.join(Basis)}")
    return Basis(node.value)


def _zone(node: yaml.ScalarNode) -> str:
    try:
        return ZoneInfo(node.value).key
    except (OSError, ValueError, LookupError):
        meant = _meant(node.value, available_timezones(), otherwise="write one such as America/New_York or UTC")
        raise _Refused(f"{_shown(node)} is not a time zone; {meant}") from None


def _variable(node: yaml.ScalarNode) -> str:
    # What stands here instead may be the key itself, so it is not shown.
    if not _VARIABLE.fullmatch(node.value):
        raise _Refused(
            "not the name of an environment variable such as POLYGON_API_KEY, in capitals with an underscore; "
            "the key itself is given in that variable, never in this file"
        )
    return str(node.value)


def _agent(node: yaml.ScalarNode) -> str:
    if not _HEADER.fullmatch(node.value):
        raise _Refused(f"{_shown(node)} is not one line of at most 300 ASCII characters")
    return str(node.value).strip()


def _tier(node: yaml.ScalarNode) -> str:
    if not _TIER.fullmatch(node.value):
        raise _Refused(f"{_shown(node)} is not the name of a tier, such as free")
    return str(node.value)


def _url(sandbox: str | None) -> Reader:
    def read(node: yaml.ScalarNode) -> str:
        text: str = node.value
        if text.startswith(SANDBOX):
            if sandbox is None:
                raise _Refused(
                    f"{SANDBOX} stands for a running sandbox, and none was given; start one, or write an https address"
                )
            text = sandbox.rstrip("/") + text.removeprefix(SANDBOX)
        elif sandbox is not None:
            raise _Refused(f'a sandbox was given, so "{SANDBOX}/..." is due: real vendors are not mixed with it')
        return _checked_url(text)

    return read


def _checked_url(text: str) -> str:
    # A password or key may stand in these, so they are not shown.
    if "@" in text:
        raise _Refused("a user or password has no place in an address; give a key in the variable of key_variable")
    if "?" in text or "#" in text:
        raise _Refused("an address ends before its query; give a key in the variable of key_variable")
    match = _URL.fullmatch(text)
    if match is None or not 0 < int(match["port"] or 443) < 65_536:
        raise _Refused(f"{_printable(text)} is not an address such as https://api.example.com")
    if match["scheme"] == "http" and match["host"].lower() not in _LOOPBACK:
        raise _Refused(f"{text}: http is for loopback alone; write https")
    return text.rstrip("/")


def _or_none(reader: Reader) -> Reader:
    def read(node: yaml.ScalarNode) -> Any:
        is_none = _is_plain(node) and node.value.lower() in ("null", "~")
        return None if is_none else reader(node)

    return read


_CALLS = _or_none(_whole(1, 1_000_000_000))
_LIMIT_KEYS: dict[str, Reader] = {
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
_PROVIDER_KEYS: dict[str, Reader] = _LIMIT_KEYS | {
    "enabled": _flag,
    "priority": _whole(1, 1_000),
    "tier": _tier,
    "base_url": _url(None),
    "basis": _basis,
    "key_variable": _or_none(_variable),
    "needs_key": _flag,
    "reset_zone": _zone,
    "user_agent": _agent,
    "tiers": _tier,  # read apart; it is here to be found when misspelt
}


def _meant(word: str, known: Iterable[str], *, otherwise: str = "") -> str:
    known = list(known)
    if not otherwise and re.search(r"key|token|secret|password", word, re.IGNORECASE) and "key_variable" in known:
        return "a key is given in the environment variable that key_variable names"
    close = difflib.get_close_matches(word[:60], known, n=1)
    return f"did you mean {close[0]}?" if close else otherwise or f"known are {', '.join(known)}"


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _is_plain(node: yaml.ScalarNode) -> bool:
    return node.style is None


def _shown(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        text = _printable(node.value)
        return text if _is_plain(node) else f'"{text}"'
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"


def _printable(text: str) -> str:
    text = text if len(text) <= 60 else f"{text[:60]}..."
    return text if text.isascii() and text.isprintable() else ascii(text)[1:-1]
