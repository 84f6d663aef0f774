"""`market-data health` and the picture: what a person sees of providers, by table, document and drawing."""

from __future__ import annotations

import json
import sys
from datetime import UTC, date, timedelta
from pathlib import Path

import numpy as np
import pytest
import typer
from matplotlib.figure import Figure

from market_data.cli.health import health
from market_data.errors import MarketDataError
from market_data.report.health import Health
from market_data.report.health_plot import health_figure, png
from market_data.selection.quota import Closure, QuotaLedger
from market_data.warehouse.provider_metrics import note_quotas, refresh_provider_metrics
from market_data_tests.bars import at, naive, new_database
from market_data_tests.test_provider_health import DAY, ask, poll, standing, told

PROGRAM = typer.Typer()
PROGRAM.command()(health)


def asked_of(*arguments: str) -> int:
    """Run the command; gives its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["health", *arguments])
        patch.setenv("COLUMNS", "80")
        try:
            PROGRAM()
        except SystemExit as ended:
            return int(ended.code or 0)
    return 0


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A synthetic store whose clock stands at the end of a day on which two vendors were asked."""
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    with new_database(runtime / "synthetic.duckdb").writing() as connection:
        connection.execute("INSERT INTO store_kind VALUES (TRUE)")
        ask(connection, times=11, latency=120.0)
        ask(connection, error="RateLimited", times=4)
        ask(connection, verdict="rejected")
        ask(connection, "yahoo", times=3, latency=80.0)
        poll(connection, "yahoo", answered=6)
        ask(connection, "yahoo", came=naive(day="2026-01-17"))
        refresh_provider_metrics(connection, date(2026, 1, 17), DAY)
    clock = {"instant": at(23).isoformat(), "set_at": at(23).isoformat(), "rate": 0}
    (runtime / "sandbox_clock.json").write_text(json.dumps(clock))
    monkeypatch.setenv("MARKET_DATA_RUNTIME", str(runtime))
    return runtime


def test_the_table_tells_numbers_errors_and_what_to_look_at_and_says_that_it_is_synthetic(store, capsys):
    assert asked_of() == 1
    printed = capsys.readouterr().out
    assert "Providers, 2025-12-22 to 2026-01-20 (UTC) - the SYNTHETIC sandbox's" in " ".join(printed.split())
    assert ["polygon", "16", "68.8%", "4", "120", "no", "quota"] in [line.split() for line in printed.splitlines()]
    assert ["yahoo", "5", "100.0%", "0", "80", "no", "quota"] in [line.split() for line in printed.splitlines()]
    assert "polygon: rejected 1, RateLimited 4" in printed
    assert "look at requests that failed over the last 24 hours: polygon 4 of 16" in printed


def test_the_document_has_the_same_by_provider_and_by_day(store, capsys):
    assert asked_of("--json", "--days", "7", "--provider", "yahoo") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["synthetic"], document["warnings"]) == (True, [])
    [yahoo] = document["providers"]
    assert (yahoo["accepted"], yahoo["minutes"], yahoo["calls"], yahoo["accepted_share"]) == (4, 6, 5, 1.0)
    assert (yahoo["last_day"]["accepted"], yahoo["last_day"]["requests"]) == (3, 9)
    assert [(day["date"], day["accepted"]) for day in document["days"]] == [("2026-01-17", 1.0), ("2026-01-20", 3.0)]


def test_what_the_ledger_of_calls_tells_of_now_is_told_as_well(store, capsys):
    ledger = QuotaLedger(store / "calls_synthetic.sqlite")
    ledger.close("yahoo", Closure(at(day="2040-01-01"), "RateLimited", "a cooldown [of its own]"))
    assert asked_of("--provider", "yahoo") == 0
    printed = capsys.readouterr().out
    assert "200,000 of 200,000/month" in printed
    closed = "yahoo is left alone until 2040-01-01 00:00:00 UTC: RateLimited: a cooldown [of its own]"
    assert closed in " ".join(printed.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--days", "0"], "days 0 is not possible; give 1 to 3,660"),
        (
            ["--provider", "bloomberg"],
            "provider 'bloomberg' was not asked from 2025-12-22 to 2026-01-20; those that were",
        ),
        (["--plot", "health.jpg"], "--plot health.jpg: give a file that ends in .png or .svg"),
        (["--real"], "market_data.duckdb: no database yet"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(store, arguments, message):
    before = sorted(store.rglob("*"))
    with pytest.raises(MarketDataError, match=message):
        asked_of(*arguments)
    assert sorted(store.rglob("*")) == before
    assert not Path("health.jpg").exists()


def test_a_span_in_which_nobody_was_asked_is_told_in_words(store, capsys):
    clock = {"instant": at(day="2026-03-20").isoformat(), "set_at": at(23).isoformat(), "rate": 0}
    (store / "sandbox_clock.json").write_text(json.dumps(clock))
    assert asked_of("--plot", "none.svg") == 0
    assert "no provider was asked from 2026-02-19 to 2026-03-20" in capsys.readouterr().out
    assert "<svg" in Path("none.svg").read_text()


def three_days() -> Health:
    """Two providers over four days, asked on the first, second and fourth."""
    with new_database().writing() as connection:
        for offset in (0, 1, 3):
            came = naive(1) - timedelta(days=3 - offset)
            ask(connection, came=came, times=3)
            ask(connection, "yahoo", came=came, latency=900.0)
            ask(connection, "yahoo", came=came, error="Transient")
            note_quotas(connection, {"polygon": standing(10 * offset + 1)}, came.replace(tzinfo=UTC))
        refresh_provider_metrics(connection, DAY - timedelta(days=3), DAY)
        return told(connection, days=4)


def panels(figure: Figure) -> dict[tuple[str, str], list]:
    """The lines of each panel, by provider and title."""
    grid = np.array(figure.axes).reshape(-1, 4)
    titles = [axes.get_title() for axes in grid[0]]
    return {
        (row[0].get_ylabel(), title): [line.get_ydata() for line in axes.get_lines()]
        for row in grid
        for axes, title in zip(row, titles, strict=True)
    }


def test_the_picture_has_a_gap_for_the_day_without_calls_and_titles_for_every_panel():
    figure = health_figure(three_days())
    drawn = panels(figure)
    titles = ("requests a day, by outcome", "accepted share", "latency, milliseconds", "quota left")
    assert list(drawn) == [(name, title) for name in ("polygon", "yahoo") for title in titles]
    np.testing.assert_array_equal(drawn["polygon", "accepted share"], [[100, 100, np.nan, 100]])
    np.testing.assert_array_equal(drawn["yahoo", "accepted share"], [[50, 50, np.nan, 50]])
    np.testing.assert_array_equal(drawn["polygon", "quota left"], [[99, 89, np.nan, 69]])
    np.testing.assert_array_equal(drawn["yahoo", "latency, milliseconds"], [[900, 900, np.nan, 900]] * 2)
    assert drawn["yahoo", "quota left"] == []
    assert "none noted" in [text.get_text() for text in figure.axes[7].texts]
    bars = [len(outcome.get_paths()) for outcome in figure.axes[4].collections]
    assert bars == [3, 0, 0, 0, 0, 0, 3]
    assert "SYNTHETIC" in figure.get_suptitle()


def test_the_picture_is_small_enough_for_an_event_log_that_keeps_many_of_them():
    image = png(three_days().only("yahoo"))
    assert image.startswith(b"\x89PNG")
    assert len(image) < 40_000
