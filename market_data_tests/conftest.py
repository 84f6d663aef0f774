"""What every test gets: an environment without settings, a working directory of its own, the recorded payloads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

PROJECT = Path(__file__).resolve().parents[1]
PAYLOADS = Path(os.environ.get("PAYLOADS") or PROJECT / "../shared/payloads").resolve()

KEYS = ("POLYGON_API_KEY", "ALPHA_VANTAGE_API_KEY", "STOOQ_API_KEY")

# The same examples on every run: a suite that fails only now and then helps nobody.
settings.register_profile("suite", derandomize=True, deadline=None, database=None, max_examples=40)
settings.load_profile("suite")


def pytest_configure(config: pytest.Config) -> None:
    # exchange_calendars 4.13 reads `Series.values` of zoned columns, which pandas 3.1 warns of.
    config.addinivalue_line("filterwarnings", "ignore:Series.values returning an ndarray:DeprecationWarning")


LONG = ("vendors_backfill", "rebuild_identical", "cli_backfill", "cli_vendors", "sync")
"""Files that take long though they have few tests."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long ones, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: item.path.stem.removeprefix("test_") not in LONG)


@pytest.fixture(autouse=True)
def _clean_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.upper().startswith("MARKET_DATA_")]:
        monkeypatch.delenv(name)
    for name in KEYS:
        monkeypatch.setenv(name, "")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def payloads() -> Path:
    """Folder of the recorded payloads; tests that need it are skipped where there is none."""
    if not PAYLOADS.is_dir():
        pytest.skip(f"no recorded payloads at {PAYLOADS}; set PAYLOADS to their folder")
    return PAYLOADS
