"""The catalogue of providers: `providers.yaml` read into one `ProviderConfig` a vendor, checked as a whole.

The packaged files say in their comments what each key means. A file is plain YAML: a mapping of providers, without
anchors, aliases and tags, so that its size bounds what reading it costs, and every value stands where it is used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from market_data.errors import SettingsError
from market_data.providers.catalogue_values import (
    LIMIT_KEYS,
    PROVIDER_KEYS,
    TIER_NAME,
    Reader,
    Refused,
    is_plain,
    printable,
    shown_node,
    suggestion,
    url_reader,
)
from market_data.providers.config import ProviderConfig, Quota, Rate
from market_data.providers.registry import VENDORS

__all__ = ["KNOWN", "PROVIDERS_FILE", "SANDBOX_FILE", "keys_from_environment", "load_catalogue"]

KNOWN = tuple(VENDORS)
"""Every provider there is a client for."""

_PACKAGE = Path(__file__).resolve().parents[1]
PROVIDERS_FILE = _PACKAGE / "providers.yaml"
"""The vendors themselves."""
SANDBOX_FILE = _PACKAGE / "providers.sandbox.yaml"
"""The same vendors as the sandbox plays them; to be loaded with its `base_url`."""

_LARGEST_FILE = 256 * 1024
_DEEPEST = 6
_MOST_PROBLEMS = 50
_REQUIRED = ("priority", "tier", "base_url", "basis", "tiers")

_KEY = re.compile(r"[!-~]+")


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
    readers = PROVIDER_KEYS | {"base_url": url_reader(base_url)}
    found = []
    for name, entry in _entries(root, "", problems).items():
        if name not in KNOWN:
            problems.add(entry.line, f"{printable(name)} is not a provider; {suggestion(name, KNOWN)}")
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
    return line, f"cannot be read as YAML: {printable(str(error.problem))}{begun}"


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
            problems.add(_line(key), f"{where or 'the file'}: a key is a word, not {shown_node(key)}")
        elif key.value in entries:
            first = entries[key.value].line
            name = f"{where}.{key.value}".lstrip(".")
            problems.add(
                _line(key), f"{printable(name)} is given twice, on lines {first} and {_line(key)}; keep one of them"
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
        if not TIER_NAME.fullmatch(tier):
            problems.add(entry.line, f"{where}: {printable(tier)!r} is not a name such as free or premium_75")
        elif not isinstance(entry.node, yaml.MappingNode):
            problems.add(entry.line, f"{where}.{tier}: its limits are due here, or {{}} for none of its own")
        else:
            keys = _entries(entry.node, f"{where}.{tier}", problems)
            limits[tier] = _values(keys, f"{where}.{tier}", LIMIT_KEYS, problems)
    chosen = provider.values.get("tier", "")
    if chosen and chosen not in entries:
        known = ", ".join(map(printable, entries)) or "none"
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
                raise Refused(f"not a key here; {suggestion(name, readers)}")
            if not isinstance(entry.node, yaml.ScalarNode):
                raise Refused(f"one value is due, not {shown_node(entry.node)}")
            if not entry.node.value and is_plain(entry.node):
                raise Refused("it has no value; give one, or remove the key")
            values[name] = readers[name](entry.node)
        except Refused as refused:
            problems.add(entry.line, f"{where}.{printable(name)}: {refused}")
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


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
