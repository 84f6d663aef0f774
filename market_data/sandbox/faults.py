"""Failures the sandbox can be told to show, and limits it can be told to keep."""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from market_data.errors import MarketDataError
from market_data.records import EVERY
from market_data.sandbox.vendors import VENDORS

__all__ = [
    "FAULT_KINDS",
    "Fault",
    "FaultKind",
    "FaultPlan",
    "Limit",
    "fault_from_json",
    "parse_fault",
    "parse_limit",
]


@dataclass(frozen=True, slots=True)
class FaultKind:
    """What a kind of fault does, what its value means, and which vendors can show it.

    Attributes:
        replaces: whether it is answered instead of the data.
    """

    name: str
    does: str
    value: str = ""
    vendors: tuple[str, ...] = VENDORS
    replaces: bool = False
    needs_value: bool = False


FAULT_KINDS = {
    kind.name: kind
    for kind in (
        FaultKind("rate_limit", "the vendor's answer to too many calls", "Retry-After, seconds", replaces=True),
        FaultKind("quota", "the vendor's answer to a spent quota", "calls that pass before it", replaces=True),
        FaultKind("server_error", "HTTP 503", "another status from 500 on", replaces=True),
        FaultKind("unauthorized", "the vendor's refusal of the key or plan", "another status, 401", replaces=True),
        FaultKind("outage", "the connection is closed without an answer", replaces=True),
        FaultKind("html", "a page in HTML where data is due", replaces=True),
        FaultKind("access_check", "the browser check page", vendors=("stooq",), replaces=True),
        FaultKind("bomb", "a compressed body that inflates to more than 100 MB", replaces=True),
        FaultKind("redirect", "HTTP 302 to another host", replaces=True),
        FaultKind("slow", "nothing for a while, then the answer", "seconds, by default 1"),
        FaultKind("cut_response", "the connection is closed within the body", "share sent, by default 0.5"),
        FaultKind("wrong_content_type", "the right body under a wrong header"),
        FaultKind("cut_window", "silently the last sessions of the answer alone", "sessions", needs_value=True),
        FaultKind(
            "wrong_split",
            "a split applied to prices of before it that have it applied already, or must not have it",
            "ratio for a symbol without a split, by default 2",
        ),
        FaultKind("hundredfold", "prices times 100", "one session in so many, by default each"),
        FaultKind("next_url_elsewhere", "a next page on another host", vendors=("polygon",)),
    )
}
"""The kinds by name."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A failure and the calls of a vendor it falls on.

    Attributes:
        vendor: one of `VENDORS`.
        kind: one of `FAULT_KINDS`.
        symbols: canonical symbols, `*` for calls that are for all of them; None for any.
        first, last: numbers of the vendor's calls, counted from 1, both inclusive; None for no end.
        share: of those calls, chosen by a hash of seed, vendor, kind, symbol and the symbol's own call number.
        value: what it means is the kind's.

    Raises:
        MarketDataError: a vendor, kind or number that cannot be.
    """

    vendor: str
    kind: str
    symbols: frozenset[str] | None = None
    first: int = 1
    last: int | None = None
    share: float = 1.0
    value: float | None = None

    def __post_init__(self) -> None:
        _require_vendor(self.vendor)
        if self.kind not in FAULT_KINDS:
            raise MarketDataError(f"fault {self.kind!r} is unknown; known are {', '.join(FAULT_KINDS)}")
        kind, place = FAULT_KINDS[self.kind], f"fault {self.vendor}:{self.kind}"
        if self.vendor not in kind.vendors:
            raise MarketDataError(f"{place}: only {', '.join(kind.vendors)} can show it")
        if self.symbols is not None and not self.symbols:
            raise MarketDataError(f"{place}: symbols names none; leave it out for all of them")
        if self.first < 1 or (self.last is not None and self.last < self.first):
            raise MarketDataError(
                f"{place}: calls {self.first} to {self.last}: first is at least 1, last at least that"
            )
        if not 0 < self.share <= 1:
            raise MarketDataError(f"{place}: share {self.share} is not above 0 and at most 1")
        self._check_value(kind, place)

    def _check_value(self, kind: FaultKind, place: str) -> None:
        if self.value is None:
            if kind.needs_value:
                raise MarketDataError(f"{place}: needs a value: {kind.value}")
            return
        if not kind.value:
            raise MarketDataError(f"{place}: takes no value, not {self.value}")
        if not math.isfinite(self.value) or self.value < 0:
            raise MarketDataError(f"{place}: value {self.value} is not a number from 0 on ({kind.value})")
        statuses = {"server_error": range(500, 600), "unauthorized": (401, 403)}.get(self.kind)
        if statuses is not None and self.value not in statuses:
            raise MarketDataError(f"{place}: value {self.value:g} is not a status it can have")
        least = {"cut_window": 1, "hundredfold": 1}.get(self.kind, 0)
        if self.value < least or (self.kind == "cut_response" and self.value >= 1):
            raise MarketDataError(f"{place}: value {self.value:g} cannot be ({kind.value})")

    def as_json(self) -> dict[str, Any]:
        """Plain JSON types; `fault_from_json` reads them."""
        return asdict(self) | {"symbols": sorted(self.symbols) if self.symbols is not None else None}

    def falls_on(self, seed: int, symbol: str, number: int, own_number: int) -> bool:
        """Whether it falls on a call: the `number`-th of the vendor, the `own_number`-th for the symbol."""
        passed = self.value or 0 if self.kind == "quota" else 0
        if number < self.first or number <= passed or (self.last is not None and number > self.last):
            return False
        if self.symbols is not None and symbol not in self.symbols:
            return False
        return self.share == 1 or self._draw(seed, symbol, own_number) < self.share

    def _draw(self, seed: int, symbol: str, own_number: int) -> float:
        told = f"{seed}:{self.vendor}:{self.kind}:{symbol}:{own_number}".encode()
        return int.from_bytes(hashlib.sha256(told).digest()[:8]) / 2**64


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `calls` of a vendor within any `seconds`; more get its answer to too many calls.

    Raises:
        MarketDataError: an unknown vendor, or a number that cannot be.
    """

    vendor: str
    calls: int
    seconds: float

    def __post_init__(self) -> None:
        _require_vendor(self.vendor)
        if self.calls < 0 or not 0 < self.seconds < math.inf:
            raise MarketDataError(f"limit {self.vendor}: {self.calls} calls in {self.seconds} s cannot be")


class FaultPlan:
    """Which faults fall on which call, and which call breaks a limit; safe to share between threads.

    Args:
        known: symbols that faults may name.
        clock: seconds, never going back.
    """

    def __init__(
        self,
        seed: int,
        known: Iterable[str],
        *,
        faults: Iterable[Fault] = (),
        limits: Iterable[Limit] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seed = seed
        self._known = frozenset(known) | {EVERY}
        self._clock = clock
        self._lock = threading.Lock()
        self._passed: dict[Limit, deque[float]] = {limit: deque() for limit in limits}
        self._faults: tuple[Fault, ...] = ()
        self.replace(faults)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Those in force, in order."""
        return self._faults

    def replace(self, faults: Iterable[Fault]) -> None:
        """Put others in their place.

        Raises:
            MarketDataError: one names a symbol that is not in the universe; nothing changes then.
        """
        faults = tuple(faults)
        unknown = sorted({name for fault in faults for name in fault.symbols or ()} - self._known)
        if unknown:
            raise MarketDataError(f"faults name {', '.join(unknown)}, not in the universe; * is for calls for all")
        self._faults = faults

    def falling_on(self, vendor: str, symbol: str, number: int, own_number: int) -> tuple[Fault, ...]:
        """The faults of one call, in the order they were given."""
        return tuple(
            fault
            for fault in self._faults
            if fault.vendor == vendor and fault.falls_on(self._seed, symbol, number, own_number)
        )

    def allows(self, vendor: str) -> bool:
        """Count a call against the vendor's limits; False, and nothing counted, where one is reached."""
        now = self._clock()
        with self._lock:
            windows = [(limit, passed) for limit, passed in self._passed.items() if limit.vendor == vendor]
            for limit, passed in windows:
                while passed and passed[0] <= now - limit.seconds:
                    passed.popleft()
            if any(len(passed) >= limit.calls for limit, passed in windows):
                return False
            for _, passed in windows:
                passed.append(now)
            return True

    def forget_calls(self) -> None:
        """Begin counting against the limits anew."""
        with self._lock:
            for passed in self._passed.values():
                passed.clear()


def parse_fault(text: str) -> Fault:
    """A fault from compact text, such as `polygon:rate_limit:first=1:last=40:value=1:symbols=AAPL,MSFT:share=0.5`.

    Raises:
        MarketDataError: names what cannot be, and what can.
    """
    vendor, _, rest = text.strip().partition(":")
    kind, *options = rest.split(":")
    given: dict[str, Any] = {"vendor": vendor, "kind": kind}
    for option in options:
        name, equals, value = (part.strip() for part in option.partition("="))
        if not equals or name not in _READERS or name in given:
            raise MarketDataError(
                f"fault {text!r}: {option!r} is not one of {', '.join(f'{known}=' for known in _READERS)} given once"
            )
        given[name] = _read(text, name, value)
    return Fault(**given)


def parse_limit(text: str) -> Limit:
    """A limit from compact text: `polygon:5/60` for 5 calls in 60 seconds.

    Raises:
        MarketDataError: the text is not one.
    """
    vendor, _, rate = text.strip().partition(":")
    calls, slash, seconds = rate.partition("/")
    try:
        return Limit(vendor, int(calls), float(seconds) if slash else 1.0)
    except ValueError:
        raise MarketDataError(f"limit {text!r} is not vendor:calls/seconds, as in polygon:5/60") from None


def fault_from_json(given: object) -> Fault:
    """A fault from an object with the fields of `Fault`, or from the compact text.

    Raises:
        MarketDataError: not one.
    """
    if isinstance(given, str):
        return parse_fault(given)
    if not isinstance(given, Mapping):
        raise MarketDataError(f"a fault is an object or a text, not {given!r:.60}")
    names = [item.name for item in fields(Fault)]
    unknown = sorted(str(name) for name in given if name not in names)
    missing = [name for name in names[:2] if not isinstance(given.get(name), str)]
    if unknown or missing:
        told = f"{', '.join(unknown)} is unknown" if unknown else f"{', '.join(missing)} is missing or no text"
        raise MarketDataError(f"fault {dict(given)!r:.80}: {told}; fields are {', '.join(names)}")
    options = {name: value for name, value in given.items() if value is not None}
    return Fault(**{name: _checked(name, value) for name, value in options.items()})


def _require_vendor(vendor: str) -> None:
    if vendor not in VENDORS:
        raise MarketDataError(f"vendor {vendor!r} is unknown; known are {', '.join(VENDORS)}")


def _symbols(text: str) -> frozenset[str]:
    return frozenset(name.strip().upper() for name in text.split(",") if name.strip())


_READERS: dict[str, Callable[[str], Any]] = {
    "symbols": _symbols,
    "first": int,
    "last": int,
    "share": float,
    "value": float,
}


def _read(text: str, name: str, value: str) -> Any:
    try:
        return _READERS[name](value)
    except ValueError:
        raise MarketDataError(f"fault {text!r}: {name}={value} is not a number") from None


def _checked(name: str, value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool)
    fits = {
        "symbols": isinstance(value, list | tuple | set | frozenset) and all(isinstance(item, str) for item in value),
        "first": whole,
        "last": whole,
        "share": whole or isinstance(value, float),
        "value": whole or isinstance(value, float),
    }
    if not fits.get(name, True):
        raise MarketDataError(f"fault: {name} cannot be {value!r:.60}")
    return _symbols(",".join(value)) if name == "symbols" else value
