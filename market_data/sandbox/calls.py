"""Who was asked for what: the sandbox's counters."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

__all__ = ["CallLog"]


class CallLog:
    """Counts calls as they arrive and as they are answered; safe to share between threads. It never sees a key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: Counter[tuple[str, str]] = Counter()
        self._totals: Counter[str] = Counter()
        self._answered: Counter[tuple[str, str]] = Counter()
        self._under_way: Counter[str] = Counter()
        self._most: Counter[str] = Counter()

    @property
    def calls(self) -> Counter[tuple[str, str]]:
        """Calls by (vendor, symbol), a copy."""
        with self._lock:
            return self._calls.copy()

    @property
    def answered(self) -> Counter[tuple[str, str]]:
        """Answers by (vendor, "ok", "error" or a kind of fault), a copy."""
        with self._lock:
            return self._answered.copy()

    @property
    def most_concurrent(self) -> Counter[str]:
        """The greatest number of calls under way at once, by vendor, a copy."""
        with self._lock:
            return self._most.copy()

    def begin(self, vendor: str, symbol: str) -> tuple[int, int]:
        """Count a call; its number among the vendor's, and among the vendor's for the symbol, from 1."""
        with self._lock:
            self._calls[vendor, symbol] += 1
            self._under_way[vendor] += 1
            self._most[vendor] = max(self._most[vendor], self._under_way[vendor])
            self._totals[vendor] += 1
            return self._totals[vendor], self._calls[vendor, symbol]

    def end(self, vendor: str, outcome: str) -> None:
        """Count its answer."""
        with self._lock:
            self._under_way[vendor] -= 1
            self._answered[vendor, outcome] += 1

    def reset(self) -> None:
        """Set every count to zero; calls under way stay under way."""
        with self._lock:
            self._calls.clear()
            self._totals.clear()
            self._answered.clear()
            self._most = Counter(+self._under_way)

    def as_json(self) -> dict[str, Any]:
        """All counts with plain JSON types, ascending by name."""
        with self._lock:
            calls, totals = self._calls.copy(), self._totals.copy()
        return {
            "total": totals.total(),
            "totals": dict(sorted(totals.items())),
            "calls": _nested(calls),
            "answered": _nested(self.answered),
            "most_concurrent": dict(sorted(self.most_concurrent.items())),
        }


def _nested(counts: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    nested: dict[str, dict[str, int]] = {}
    for (vendor, name), count in sorted(counts.items()):
        nested.setdefault(vendor, {})[name] = count
    return nested
