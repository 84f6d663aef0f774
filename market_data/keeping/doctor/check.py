"""One thing that was looked at, how it stands, and what to do about it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from market_data.errors import MarketDataError

__all__ = ["Check", "Status", "failed", "guarded", "ok", "warned"]

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what was looked at.
        status: `fail` where commands will not work, `warn` where a person should know.
        told: how it stands.
        mend: what to do; empty where all is well.
    """

    name: str
    status: Status
    told: str
    mend: str = ""


def ok(name: str, told: str) -> Check:
    """All is well."""
    return Check(name, "ok", told)


def warned(name: str, told: str, mend: str) -> Check:
    """A person should know."""
    return Check(name, "warn", told, mend)


def failed(name: str, told: str, mend: str) -> Check:
    """Commands will not work."""
    return Check(name, "fail", told, mend)


def guarded(name: str, look: Callable[[], Iterator[Check]]) -> list[Check]:
    """The checks of a function; what it cannot look at for an error is a failed check, and the others go on."""
    checks: list[Check] = []
    try:
        checks.extend(look())
    except MarketDataError as error:
        checks.append(failed(name, str(error), "mend what the message names"))
    except (OSError, sqlite3.Error, UnicodeDecodeError) as error:
        checks.append(failed(name, f"cannot be looked at: {error}", "check the file and its permissions"))
    return checks
