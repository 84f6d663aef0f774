"""`market-data rebuild` and `market-data plot`: what they print and write, and their exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
import typer
from typer.testing import CliRunner

from market_data.cli.plot import plot
from market_data.cli.rebuild import rebuild
from market_data.errors import MarketDataError, SettingsError, WarehouseLocked
from market_data_tests.reconciling import filled
from market_data_tests.vendors import Vendors, symbols

REBUILD, PLOT = typer.Typer(), typer.Typer()
REBUILD.command()(rebuild)
PLOT.command()(plot)
NAMES = symbols(2)
COUNT = "SELECT count(*) FROM price_history_daily"


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A synthetic store of two symbols, to which the settings point."""
    universe = tmp_path / "universe.csv"
    universe.write_text("symbol,listed_by\n" + "".join(f"{name},2020-01-02\n" for name in NAMES))
    monkeypatch.setenv("MARKET_DATA_UNIVERSE", str(universe))
    monkeypatch.setenv("MARKET_DATA_RUNTIME", str(tmp_path / "runtime"))
    monkeypatch.setenv("MARKET_DATA_LOCK_PATIENCE", "1")
    with Vendors(tmp_path / "runtime", NAMES) as vendors:
        filled(vendors)
        return vendors.settings.database_for(synthetic=True)


def change(database: Path, statement: str) -> None:
    with duckdb.connect(str(database)) as connection:
        connection.execute(statement)


def rows(database: Path, query: str) -> list[tuple]:
    with duckdb.connect(str(database), read_only=True) as connection:
        return connection.execute(query).fetchall()


def databases(live: Path) -> list[str]:
    return sorted(path.name.split("-")[0] for path in live.parent.glob("*.duckdb"))


def test_an_identical_store_gives_zero_and_one_that_differs_one_with_the_rows(live):
    done = CliRunner().invoke(REBUILD, ["--from-raw"], env={"COLUMNS": "200"})
    assert (done.exit_code, done.exception) == (0, None) or str(done.exception) == "0"
    assert "SYNTHETIC" in done.stdout
    assert "2 payloads read, 0 without bars or actions: identical" in done.stdout
    change(live, "UPDATE price_history_daily SET close = 12.5 WHERE symbol = 'QAA' AND date = '2024-01-03'")
    done = CliRunner().invoke(REBUILD, ["--from-raw", "--json"])
    document = json.loads(done.stdout)
    assert (done.exit_code, document["identical"], document["swapped"]) == (1, False, False)
    [prices] = [item for item in document["tables"] if item["table"] == "price_history_daily"]
    assert (prices["only_live"], prices["only_other"]) == (1, 1)
    assert prices["examples"][0]["close"] == 12.5
    assert databases(live) == ["synthetic.duckdb"]


def test_put_in_place_the_bars_are_as_the_payloads_say_and_the_old_database_is_kept(live):
    audit = rows(live, "SELECT symbol, outcome FROM ingestion_audit ORDER BY symbol")
    [(count,)] = rows(live, COUNT)
    change(live, "DELETE FROM price_history_daily WHERE symbol = 'QAA'")
    done = CliRunner().invoke(REBUILD, ["--from-raw", "--swap"], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    assert rows(live, COUNT) == [(count,)]
    assert rows(live, "SELECT symbol, outcome FROM ingestion_audit ORDER BY symbol") == audit
    assert databases(live) == ["synthetic.before", "synthetic.duckdb"]
    [kept] = live.parent.glob("synthetic.before-*.duckdb")
    assert rows(kept, COUNT) < [(count,)]


def test_a_database_that_cannot_be_read_is_replaced_with_the_audit_from_its_files(live):
    audit = rows(live, "SELECT symbol, outcome, calls FROM ingestion_audit ORDER BY symbol")
    live.write_bytes(b"no database at all")
    done = CliRunner().invoke(REBUILD, ["--from-raw", "--swap"], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    assert "nothing to compare with" in done.stdout
    assert rows(live, "SELECT symbol, outcome, calls FROM ingestion_audit ORDER BY symbol") == audit
    [kept] = live.parent.glob("synthetic.before-*.duckdb")
    assert kept.read_bytes() == b"no database at all"


def test_it_has_to_be_said_what_to_rebuild_from(live):
    done = CliRunner().invoke(REBUILD, [])
    assert isinstance(done.exception, SettingsError)
    assert "--from-raw" in str(done.exception)


def test_an_empty_raw_store_is_refused_rather_than_rebuilt_to_an_empty_database(live):
    before = live.read_bytes()
    done = CliRunner().invoke(REBUILD, ["--from-raw", "--swap", "--real"])
    assert isinstance(done.exception, MarketDataError)
    assert "holds no payload of real prices" in str(done.exception)
    assert "--synthetic names the other store" in str(done.exception)
    assert (live.read_bytes(), list(live.parent.glob("*.duckdb"))) == (before, [live])


def test_the_new_database_can_be_kept_but_not_over_another_file(live, tmp_path):
    assert CliRunner().invoke(REBUILD, ["--from-raw", "--keep", str(tmp_path / "kept.duckdb")]).exit_code == 0
    assert rows(tmp_path / "kept.duckdb", COUNT) == rows(live, COUNT)
    done = CliRunner().invoke(REBUILD, ["--from-raw", "--keep", str(tmp_path / "kept.duckdb")])
    assert isinstance(done.exception, MarketDataError)
    assert rows(tmp_path / "kept.duckdb", COUNT) == rows(live, COUNT)


def test_a_rebuild_that_is_refused_deletes_nothing_and_a_locked_database_is_not_taken_for_a_broken_one(live, tmp_path):
    done = CliRunner().invoke(REBUILD, ["--from-raw", "--swap", "--keep", str(tmp_path / "kept.duckdb")])
    assert "exclude each other" in str(done.exception)
    before = live.read_bytes()
    holder = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", holder, str(live)], stdin=-1, stdout=-1) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        done = CliRunner().invoke(REBUILD, ["--from-raw", "--swap"])
        process.communicate()
    assert isinstance(done.exception, WarehouseLocked)
    assert live.read_bytes() == before
    assert databases(live) == ["synthetic.duckdb"]


def test_a_plot_is_a_picture_and_refuses_what_it_cannot_draw(live, tmp_path):
    change(live, "INSERT INTO actions_told SELECT '*', kind, 'polygon', '2023-01-01', '2024-12-31', 'x', '2024-01-01' "
                 "FROM (VALUES ('split'), ('dividend')) AS kinds(kind)")  # fmt: skip
    out = tmp_path / "qaa.png"
    done = CliRunner().invoke(PLOT, ["qaa", "--out", str(out), "--start", "2024-01-02", "--end", "2024-03-28"])
    assert done.exit_code == 0, done.exception
    assert out.read_bytes().startswith(b"\x89PNG")
    assert "QAA, 2024-01-02 to 2024-03-28, 61 sessions" in " ".join(done.stdout.split())
    wrong = CliRunner().invoke(PLOT, ["QAA", "--out", str(tmp_path / "qaa.pdf")])
    assert "give a file that ends in .png or .svg" in str(wrong.exception)
