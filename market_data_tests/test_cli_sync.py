"""`market-data sync`: what it prints, how it ends, and that a second one of the day has nothing to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from typer.testing import CliRunner, Result

from market_data.cli import app
from market_data.clock import SandboxClock
from market_data.instruments import load_universe
from market_data.sandbox.server import Sandbox
from market_data.settings import load_settings

SYMBOLS = ("AAPL", "MSFT")


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A market whose clock stands at 00:20 UTC after the session of 2024-03-20, and the settings that name it."""
    universe = tmp_path / "universe.csv"
    universe.write_text("symbol,listed_by\n" + "".join(f"{symbol},2020-01-02\n" for symbol in SYMBOLS))
    given = {
        "RUNTIME": tmp_path / "runtime", "UNIVERSE": universe, "SOURCE": "sandbox", "RETRY_WAIT": "0.01",
        "WINDOW_START": "2024-03-01", "WINDOW_END": "2024-03-15",
    }  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(f"MARKET_DATA_{name}", str(value))
    settings = load_settings()
    clock = SandboxClock(settings.sandbox_clock_file)
    clock.set(datetime(2024, 3, 21, 0, 20, tzinfo=UTC), rate=0)
    market = Sandbox(load_universe(universe), start=settings.window_start, end=settings.window_end, seed=7, clock=clock)
    with market:
        monkeypatch.setenv("MARKET_DATA_SANDBOX_URL", market.url)
        yield market


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["sync", *arguments])


def told(*arguments: str) -> dict[str, Any]:
    return json.loads(run(*arguments, "--json").stdout)


def bars() -> list[tuple]:
    path = load_settings().database_for(synthetic=True)
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(
            "SELECT date::VARCHAR, count(*) FROM price_history_daily GROUP BY 1 ORDER BY 1"
        ).fetchall()


def test_it_brings_the_latest_days_and_a_second_one_finds_nothing_due(sandbox: Sandbox) -> None:
    first = run()

    assert first.exit_code == 0, first.output
    assert "SYNTHETIC" in first.output
    assert "2024-03-14 to 2024-03-20: 10 bars of 2 symbols are missing" in first.output
    assert bars() == [(f"2024-03-{day}", 2) for day in (14, 15, 18, 19, 20)]
    calls = sandbox.calls.total()
    second = told()
    assert second["idle"].startswith("every bar up to 2024-03-20 is held")
    assert (second["good"], second["symbols"], sandbox.calls.total()) == (True, [], calls)


def test_one_symbol_over_a_span_leaves_the_others_alone(sandbox: Sandbox) -> None:
    document = told("--symbol", "aapl", "--start", "2024-03-05", "--end", "2024-03-08")

    assert document["missing"] == 4
    assert [(record["symbol"], record["outcome"], record["rows_inserted"]) for record in document["symbols"]] == [
        ("AAPL", "accepted", 4)
    ]
    assert {symbol for (_, symbol) in sandbox.calls} <= {"AAPL", "*"}
    assert bars() == [(f"2024-03-0{day}", 1) for day in (5, 6, 7, 8)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--end", "2024-03-21"), "the last session that is over is 2024-03-20"),
        (("--symbol", "NOPE"), "NOPE"),
    ],
)
def test_bad_input_is_named_and_nothing_is_asked(sandbox: Sandbox, arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments)

    assert said in str(result.exception)
    assert sandbox.calls.total() == 0
