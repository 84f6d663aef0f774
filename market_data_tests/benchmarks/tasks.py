"""One benchmark task in a process of its own: `python -m market_data_tests.benchmarks.tasks NAME ARCHIVE FOLDER`.

Prints a line of JSON: seconds of the work alone, rows, and the peak memory of the process.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import duckdb

# What DuckDB can do with the same files: into a keyed table of the same prices, with nothing checked or kept.
BULK_LOAD = """
INSERT INTO price_history_daily
SELECT replace(ticker, '.US', ''), strptime(day, '%Y%m%d')::DATE, open, high, low, close, volume
FROM read_csv(?, header = false, skip = 1, auto_detect = false, delim = ',', columns = {
    'ticker': 'VARCHAR', 'per': 'VARCHAR', 'day': 'VARCHAR', 'time': 'VARCHAR', 'open': 'DOUBLE', 'high': 'DOUBLE',
    'low': 'DOUBLE', 'close': 'DOUBLE', 'volume': 'DOUBLE', 'open_interest': 'DOUBLE'
})
"""


def bulk_load(archive: Path, folder: Path) -> tuple[float, int]:
    """Plain DuckDB: one INSERT over all files."""
    started = time.perf_counter()
    with duckdb.connect(str(folder / "bulk.duckdb")) as connection:
        connection.execute(
            "CREATE TABLE price_history_daily (symbol VARCHAR, date DATE, open DOUBLE, high DOUBLE, low DOUBLE, "
            "close DOUBLE, volume DOUBLE, PRIMARY KEY (symbol, date))"
        )
        connection.execute(BULK_LOAD, [str(archive / "**" / "*.txt")])
        (rows,) = connection.execute("SELECT count(*) FROM price_history_daily").fetchone() or (0,)
    return time.perf_counter() - started, rows


def _backfill(archive: Path, folder: Path) -> tuple[float, int]:
    # Imports are not timed, nor are those of the bulk load.
    import exchange_calendars  # noqa: F401

    from market_data.ingest.backfill import Backfill, BackfillRequest
    from market_data.ingest.sources import open_source
    from market_data.instruments import load_universe
    from market_data.settings import load_settings

    settings = load_settings(archive=archive, runtime=folder / "runtime")
    universe = load_universe()
    started = time.perf_counter()
    with open_source("stooq_bulk", settings, universe) as source:
        work = Backfill(
            settings=settings,
            universe=universe,
            selector=source.selector,
            synthetic=False,
            provider_label="stooq_bulk",
        )
        summary = work.run(BackfillRequest(source.served, settings.window_start, settings.window_end, "bench"))
    seconds = time.perf_counter() - started
    if not summary.is_good:
        raise SystemExit("the backfill of a clean archive was not good")
    return seconds, sum(record.rows_received for record in summary.records)


TASKS: dict[str, Callable[[Path, Path], tuple[float, int]]] = {
    "bulk": bulk_load,
    "backfill": _backfill,
    "again": _backfill,
}


def main() -> None:
    """Run the named task."""
    name, archive, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    seconds, rows = TASKS[name](archive, folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "rows": rows, "peak_mib": peak}))


if __name__ == "__main__":
    main()
