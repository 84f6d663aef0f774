"""A hash of all that went into a session's features, to tell without computing them whether they are up to date."""

from __future__ import annotations

import hashlib
from datetime import date

import numpy as np

from market_data.features.catalogue import FEATURES, MAX_LOOKBACK
from market_data.features.doubts import DOUBTS
from market_data.features.inputs import Inputs

__all__ = ["FORMULA_VERSION", "fingerprints"]

FORMULA_VERSION = 1
"""Version of the formulas and of how their inputs are read: raise it with any change that may change a value."""


def fingerprints(inputs: Inputs) -> dict[date, str]:
    """SHA-256 by session that has rows, of what its features are made from.

    These are: the instruments, their bars as traded with what may not be used and why, of the session and the
    `MAX_LOOKBACK` - 1 before it; the price steps between these; the version and the lookbacks of the formulas; and what
    of the rules of validation counts as doubt. So a bar that changes at session d changes the hash of d and of the
    `MAX_LOOKBACK` - 1 sessions after it, a step into d that of one fewer of them, and nothing else does.
    """
    bars, steps = _bars(inputs), _steps(inputs)
    head = repr((FORMULA_VERSION, [(one.name, one.lookback) for one in FEATURES], sorted(DOUBTS.items()))).encode()
    found = {}
    for row in np.flatnonzero(inputs.expected.any(axis=1)).tolist():
        first = max(0, row - MAX_LOOKBACK + 1)
        digest = hashlib.sha256(head)
        digest.update(b"".join(bars[first : row + 1]) + b"|" + b"".join(steps[first + 1 : row + 1]))
        found[inputs.sessions[row].item()] = digest.hexdigest()
    return found


def _bars(inputs: Inputs) -> list[bytes]:
    """A digest for each session of its bars; empty for one without an expected bar."""
    names = np.array(inputs.symbols, dtype=object)
    values = np.stack([*inputs.prices.values(), inputs.volume], axis=2)
    digests = []
    for row, expected in enumerate(inputs.expected):
        if not expected.any():
            digests.append(b"")
            continue
        reasons = ["" if reason is None else reason for reason in inputs.reasons[row, expected].tolist()]
        text = "\n".join([str(inputs.sessions[row]), *names[expected].tolist(), *reasons])
        digests.append(hashlib.sha256(text.encode() + b"\0" + values[row, expected].tobytes()).digest())
    return digests


def _steps(inputs: Inputs) -> list[bytes]:
    """A digest for each session of the steps into it; empty for one with none but 1."""
    told: dict[int, list[str]] = {}
    for row, column in zip(*(places.tolist() for places in np.nonzero(inputs.steps.values != 1)), strict=True):
        if (row, column) not in inputs.steps.broken:
            told.setdefault(row, []).append(f"{inputs.symbols[column]} {float(inputs.steps.values[row, column])!r}")
    for (row, column), why in inputs.steps.broken.items():
        told.setdefault(row, []).append(f"{inputs.symbols[column]} {why}")
    return [
        hashlib.sha256("\n".join([str(day), *sorted(told[row])]).encode()).digest() if row in told else b""
        for row, day in enumerate(inputs.sessions)
    ]
