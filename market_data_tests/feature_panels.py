"""Panels of made-up bars for the tests of feature formulas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from market_data.features.catalogue import BY_NAME
from market_data.features.compute import Computed
from market_data.features.panel import Floats, Panel
from market_data.features.reasons import reason_for

PRICES = ("open", "high", "low", "close")


def random_panel(sessions: int, instruments: int, *, seed: int = 1) -> Panel:
    """Whole bars of a random walk, in cents; raw closes are total-return ones times a constant a symbol."""
    rng = np.random.default_rng(seed)
    shape = (sessions, instruments)
    close = np.maximum(np.round(100 * np.exp(np.cumsum(rng.normal(0, 0.02, shape), axis=0)), 2), 0.05)
    opened = np.maximum(np.round(close * np.exp(rng.normal(0, 0.01, shape)), 2), 0.05)
    high = np.round(np.maximum(opened, close) * np.exp(np.abs(rng.normal(0, 0.01, shape))), 2)
    low = np.maximum(np.round(np.minimum(opened, close) * np.exp(-np.abs(rng.normal(0, 0.01, shape))), 2), 0.01)
    return panel_of(
        opened=np.maximum(opened, low),
        high=np.maximum.reduce([high, opened, close]),
        low=np.minimum.reduce([low, opened, close]),
        close=close,
        raw_close=close * rng.uniform(1, 4, instruments),
        volume=rng.integers(100_000, 10_000_000, shape).astype(np.float64),
    )


def panel_of(
    *,
    close: Floats,
    opened: Floats | None = None,
    high: Floats | None = None,
    low: Floats | None = None,
    raw_close: Floats | None = None,
    volume: Floats | None = None,
) -> Panel:
    """A panel of usable bars; what is not given is the close, a million shares."""
    shape = close.shape
    return Panel(
        sessions=np.busday_offset("2021-01-19", np.arange(shape[0]), roll="forward").astype("datetime64[D]"),
        symbols=tuple(f"S{number:03d}" for number in range(shape[1])),
        open=close if opened is None else opened,
        high=close if high is None else high,
        low=close if low is None else low,
        close=close,
        raw_close=close if raw_close is None else raw_close,
        raw_volume=np.full(shape, 1e6) if volume is None else volume,
        usable=np.full(shape, True),
        reasons=np.full(shape, None, dtype=object),
    )


def without(panel: Panel, row: int, column: int, reason: str = "flagged: log_return") -> Panel:
    """The panel with one bar that may not be used."""
    matrices = {name: getattr(panel, name).copy() for name in (*PRICES, "raw_close", "raw_volume")}
    for matrix in matrices.values():
        matrix[row, column] = np.nan
    usable, reasons = panel.usable.copy(), panel.reasons.copy()
    usable[row, column] = False
    reasons[row, column] = reason
    return replace(panel, **matrices, usable=usable, reasons=reasons)


def with_volume(panel: Panel, row: int, column: int, volume: float) -> Panel:
    """The panel with another volume of one bar."""
    volumes = panel.raw_volume.copy()
    volumes[row, column] = volume
    return replace(panel, raw_volume=volumes)


def cut(panel: Panel, start: int, stop: int) -> Panel:
    """The panel of these rows alone."""
    rows = {name: getattr(panel, name)[start:stop] for name in (*PRICES, "raw_close", "raw_volume")}
    return replace(
        panel,
        sessions=panel.sessions[start:stop],
        usable=panel.usable[start:stop],
        reasons=panel.reasons[start:stop],
        **rows,
    )


def explained(computed: Computed, rows: Sequence[int]) -> None:
    """Assert that the reasons of these rows tell of each feature whether it is null."""
    for row in rows:
        for column, text in enumerate(computed.reasons[row]):
            null = {name for name in BY_NAME if np.isnan(computed.values[name][row, column])}
            told = {name for name in BY_NAME if reason_for(name, text) is not None}
            assert told == null, (row, column, text)
            assert (text is None) == (not null)
