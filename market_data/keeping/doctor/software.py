"""Python, and the packages beside the ranges the project declares and the lock it was tested with."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from market_data.keeping.doctor.check import Check, failed, ok, warned

__all__ = ["PROJECT", "is_within", "packages", "pinned", "python"]

PROJECT = Path(__file__).resolve().parents[3]
"""Where the project lies, when it runs from its folder."""

_OLDEST, _NEWEST = (3, 11), (3, 13)
_INSTALL = "make venv installs the tested ones; or pip install --require-hashes -r requirements.lock"


def python(running: tuple[int, int, int] | None = None) -> Iterator[Check]:
    """The interpreter, by default the one that runs."""
    found = running or sys.version_info[:3]
    told = f"Python {'.'.join(map(str, found))}"
    if _OLDEST <= found[:2] <= _NEWEST:
        yield ok("python", told)
    else:
        yield failed("python", f"{told}; 3.11 to 3.13 is needed", "make PYTHON=python3.12 venv")


def packages(declared: list[str] | None = None, lock: Path = PROJECT / "requirements.lock") -> Iterator[Check]:
    """Installed packages beside the declared ranges, then beside the lock.

    Args:
        declared: requirements as in `duckdb>=1.5.5`; by default those of the installed project.
        lock: the pinned requirements; not looked at where it does not exist.
    """
    try:
        wanted = declared if declared is not None else requires("market-data") or []
    except PackageNotFoundError:
        yield warned("packages", "market-data itself is not installed, so its ranges are not known", _INSTALL)
        return
    outside = [text for text in map(_outside, wanted) if text]
    if outside:
        yield failed("packages", "; ".join(outside), _INSTALL)
        return
    pins = pinned(lock)
    others = [f"{name} {has} (lock {pins[name]})" for name, has in _installed(pins) if has != pins[name]]
    told = f"{len(wanted)} packages are within their ranges"
    if others:
        yield warned("packages", f"{told}, but not as locked and tested: {', '.join(others)}", _INSTALL)
    else:
        yield ok("packages", told + (f"; {len(pins)} as locked" if pins else ""))


def pinned(lock: Path) -> dict[str, str]:
    """Versions a lock pins, by package; without those that are for other systems or Pythons."""
    if not lock.is_file():
        return {}
    lines = lock.read_text(encoding="utf-8").splitlines()
    found = (re.match(r"([A-Za-z0-9._-]+)==([^ ;\\]+)\s*(;?)", line) for line in lines)
    return {match[1].lower(): match[2] for match in found if match and not match[3]}


def is_within(found: str, specifiers: str) -> bool:
    """Whether a version satisfies all of `>=1.2,<2` and the like; of a specifier it does not know nothing is said."""
    for specifier in filter(None, (part.strip() for part in specifiers.split(","))):
        match = re.fullmatch(r"(>=|<=|==|!=|>|<)\s*([0-9][0-9.]*)", specifier)
        if match and not _holds(_numbers(found), match[1], _numbers(match[2])):
            return False
    return True


def _outside(requirement: str) -> str | None:
    """What is wrong with an installed package; None where nothing is, or the requirement is for another system."""
    text, _, marker = requirement.partition(";")
    match = re.match(r"\s*([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*\(?([^)]*)", text)
    if marker.strip() or match is None:
        return None
    name, specifiers = match[1], match[2].strip()
    try:
        found = version(name)
    except PackageNotFoundError:
        return f"{name} is not installed"
    return None if is_within(found, specifiers) else f"{name} {found} is not within {specifiers}"


def _installed(pins: dict[str, str]) -> Iterator[tuple[str, str]]:
    for name in pins:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue


def _numbers(text: str) -> tuple[int, ...]:
    """The numbers that lead a version, without trailing zeros: 1.13.0rc1 is (1, 13)."""
    leading = re.match(r"\d+(\.\d+)*", text)
    numbers = [int(part) for part in leading[0].split(".")] if leading else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _holds(found: tuple[int, ...], operator: str, limit: tuple[int, ...]) -> bool:
    return {
        ">=": found >= limit,
        "<=": found <= limit,
        "==": found == limit,
        "!=": found != limit,
        ">": found > limit,
        "<": found < limit,
    }[operator]
