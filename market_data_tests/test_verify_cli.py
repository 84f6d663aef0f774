"""`market-data verify`: what is printed, and the exit code."""

from __future__ import annotations

import json

import typer
from typer.testing import CliRunner

from market_data.cli.verify import verify
from market_data.errors import WarehouseError
from market_data_tests.stored import Store

APP = typer.Typer()
APP.command()(verify)


def test_a_whole_store_gives_zero_and_a_broken_one_one_and_the_findings():
    store = Store("AAPL", "MSFT")
    done = CliRunner().invoke(APP, [], env={"COLUMNS": "200"})
    assert (done.exit_code, "SYNTHETIC" in done.stdout) == (0, True)
    store.bytes_file("AAPL").write_bytes(b"")
    done = CliRunner().invoke(APP, ["--synthetic"], env={"COLUMNS": "80"})
    assert done.exit_code == 1
    assert "altered_bytes: 1" in done.stdout
    assert f"  {store.bytes_file('AAPL')}: raw store: payload {store.payloads['AAPL'].sha256}" in done.stdout
    done = CliRunner().invoke(APP, ["--json"])
    document = json.loads(done.stdout)
    assert (done.exit_code, document["sound"], document["kinds"]) == (1, False, {"altered_bytes": 1})
    assert (document["synthetic"], document["payloads"], len(document["findings"])) == (True, 1, 1)


def test_many_findings_of_a_kind_are_cut_short_on_the_screen_and_not_in_json():
    store = Store()
    for number in range(13):
        store.keep("AAPL", f"{number}".encode())
    shown = CliRunner().invoke(APP, []).stdout
    assert (shown.count("is in no table"), "and 3 more; --json tells them all" in shown) == (10, True)
    assert len(json.loads(CliRunner().invoke(APP, ["--json"]).stdout)["findings"]) == 13


def test_a_store_that_is_not_there_cannot_be_verified():
    assert isinstance(CliRunner().invoke(APP, []).exception, WarehouseError)
