"""The four vendors as the sandbox plays them, and backfills over them: real HTTP on loopback, counted at the wire."""

from __future__ import annotations

import string
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from itertools import product
from pathlib import Path
from typing import Any

import duckdb

from market_data.ingest.backfill import Backfill, BackfillRequest, Summary
from market_data.ingest.sources import Source, open_source
from market_data.instruments import Instrument, Universe
from market_data.sandbox.faults import Fault, Limit
from market_data.sandbox.server import Sandbox
from market_data.settings import Settings

START, END = date(2024, 1, 2), date(2024, 3, 28)
SESSIONS = 61
NOW = datetime(2024, 4, 1, 12, tzinfo=UTC)
VENDORS = ("polygon", "alpha_vantage", "stooq", "yahoo")
SEED = 11


def symbols(count: int) -> list[str]:
    """Made-up symbols: QAA, QAB, ..."""
    return ["Q" + "".join(letters) for letters in product(string.ascii_uppercase, repeat=2)][:count]


def universe(names: Iterable[str]) -> Universe:
    """Instruments that were surely listed before the window."""
    return Universe(Instrument(name, listed_by=date(2020, 1, 2)) for name in names)


class Vendors:
    """A store in a folder, and a running sandbox to fill it from.

    Args:
        faults, limits: what the sandbox fails at.
        url: of a sandbox that runs elsewhere; then none is made here.
        more: further settings.
    """

    def __init__(
        self,
        runtime: Path,
        names: Sequence[str],
        *,
        faults: Sequence[Fault] = (),
        limits: Sequence[Limit] = (),
        end: date = END,
        url: str = "",
        **more: Any,
    ) -> None:
        self.names = list(names)
        self.universe = universe(names)
        self._url = url
        keys = more.pop("keys", None)
        if not url:
            self.sandbox = Sandbox(
                self.universe, start=START, end=END, seed=SEED, faults=faults, limits=limits, valid_keys=keys
            )
        self.now = NOW
        self.stop = threading.Event()
        self._given: dict[str, Any] = {
            "runtime": runtime,
            "window_start": START,
            "window_end": end,
            "lock_patience": 10,
        }
        self._given |= {"retry_wait": 0.01} | more

    def __enter__(self) -> Vendors:
        self.sandbox.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.sandbox.__exit__(*error)

    @property
    def settings(self) -> Settings:
        """Settings that point at the sandbox."""
        return Settings(sandbox_url=self._url or self.sandbox.url, **self._given)

    @contextmanager
    def source(self) -> Iterator[Source]:
        """The vendors, opened."""
        with open_source("sandbox", self.settings, self.universe, clock=lambda: self.now) as source:
            yield source

    def backfill(self, source: Source) -> Backfill:
        """A fresh backfill over the store."""
        return Backfill(
            settings=self.settings,
            universe=self.universe,
            selector=source.selector,
            synthetic=True,
            provider_label="sandbox",
            concurrency=source.concurrency,
            clock=lambda: self.now,
            stop=self.stop,
        )

    def run(self, job_id: str = "job", names: Iterable[str] | None = None, **more: Any) -> Summary:
        """One backfill over the window."""
        given = {"start": START, "end": END} | more
        with self.source() as source:
            return self.backfill(source).run(
                BackfillRequest(self.names if names is None else list(names), job_id=job_id, **given)
            )

    @property
    def refused(self) -> set[str]:
        """Symbols in which a fault is planted for which every vendor's batch must be refused."""
        kinds = {"negative_price", "negative_volume", "null_flood"}
        return {defect.symbol for defect in self.sandbox.manifest.defects if defect.kind in kinds}

    @property
    def calls(self) -> int:
        """Calls at the wire so far."""
        return self.sandbox.calls.total()

    def by_vendor(self) -> dict[str, int]:
        """Calls at the wire by vendor."""
        return {vendor: sum(n for (name, _), n in self.sandbox.calls.items() if name == vendor) for vendor in VENDORS}

    def rows(self, query: str, values: list[Any] | None = None) -> list[tuple[Any, ...]]:
        """What a query of the database gives."""
        with duckdb.connect(str(self.settings.database_for(synthetic=True)), read_only=True) as connection:
            return connection.execute(query, values or []).fetchall()

    def prices(self) -> list[tuple[Any, ...]]:
        """The price table but for when each row was pulled."""
        return self.rows(
            "SELECT symbol, date, open, high, low, close, volume, basis, source_provider FROM price_history_daily "
            "ORDER BY symbol, date"
        )
