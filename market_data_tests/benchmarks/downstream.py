"""What is made of the store, at full size: features, the validation report, exports; 249 symbols of 1,256 sessions.

`python -m market_data_tests.benchmarks.downstream [--repeats N]` makes a synthetic store in a temporary folder for each
repeat and prints the median seconds of each step, the work alone. Targets: all features in under 10 s, one session of
them in under 1 s.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from market_data.export import ExportRequest, export
from market_data.features.update import update
from market_data.instruments import load_universe
from market_data.report.validation.collect import collect
from market_data.report.validation.html import write_html
from market_data.settings import Settings
from market_data.warehouse.connection import Database
from market_data_tests.benchmarks.reading import END, START, whole_window, write_store

LAST = date(2026, 1, 16)
REVISED = date(2023, 3, 1)


def now() -> datetime:
    """After the last session."""
    return datetime(2026, 1, 20, 6, tzinfo=UTC)


def with_verdicts(path: Path) -> None:
    """Every bar of the store accepted."""
    with Database(path).writing() as connection:
        connection.execute(
            "INSERT INTO data_quality_log BY NAME SELECT symbol, date, 'accepted' AS verdict, 1.0 AS score, "
            "'' AS rules, source_provider, known_at AS checked_at FROM price_history_daily"
        )


def revised(path: Path, symbol: str) -> None:
    """One close changed by a cent."""
    with Database(path).writing() as connection:
        connection.execute(
            "UPDATE price_history_daily SET close = close + 0.01 WHERE symbol = ? AND date = ?", [symbol, REVISED]
        )


def steps(settings: Settings, symbols: list[str], folder: Path) -> dict[str, Callable[[], Any]]:
    """What is timed, in this order."""
    of_store: dict[str, Any] = {"synthetic": True, "clock": now}
    span: dict[str, Any] = {"start": START, "end": END}

    def written(form: str) -> None:
        request = ExportRequest(format=form, out=folder / form, symbols=",".join(symbols), **span, synthetic=True)
        assert export(settings, request, now).is_good

    def page() -> None:
        document = collect(settings, **of_store, **span, series=True)
        write_html(document, folder / "report.html")

    return {
        "features, all": lambda: update(settings, **of_store),
        "features, nothing to do": lambda: update(settings, **of_store),
        "features, one session anew": lambda: update(settings, **of_store, start=LAST, end=LAST, force=True),
        "features, after a revision": lambda: (
            revised(settings.database_for(synthetic=True), symbols[0]),
            update(settings, **of_store),
        ),
        "report, collected": lambda: collect(settings, **of_store, **span),
        "report, as HTML": page,
        "export, parquet": lambda: written("parquet"),
        "export, zipline": lambda: written("zipline"),
    }


def main() -> None:
    """Measure each step in turn and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    symbols = whole_window(load_universe())
    seconds: dict[str, list[float]] = {}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(prefix="market-data-downstream-") as name:
            settings = Settings(runtime=Path(name) / "runtime")
            path = settings.database_for(synthetic=True)
            write_store(path, symbols)
            with_verdicts(path)
            for step, work in steps(settings, symbols, Path(name)).items():
                started = time.perf_counter()
                work()
                seconds.setdefault(step, []).append(time.perf_counter() - started)
    print(f"{len(symbols)} symbols x 1,256 sessions\n{'':<30}{'median s':>10}{'least':>9}{'most':>9}")
    for step, taken in seconds.items():
        print(f"{step:<30}{statistics.median(taken):>10.2f}{min(taken):>9.2f}{max(taken):>9.2f}")


if __name__ == "__main__":
    main()
