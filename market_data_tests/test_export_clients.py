"""zipline and qlib read what is exported for them, and give back the same numbers."""

from __future__ import annotations

import pytest

from market_data_tests.comparisons import print_table
from market_data_tests.comparisons.clients import agreements_of_qlib, agreements_of_zipline, dump_bin, python_of
from market_data_tests.exporting import build

pytestmark = pytest.mark.clients


def test_zipline_ingests_an_export_and_gives_back_the_same_closes(tmp_path, capsys):
    found = list(agreements_of_zipline(python_of("zipline"), build(tmp_path / "store"), tmp_path))
    assert print_table(found) == 0, capsys.readouterr().out
    assert len(found) == 3


def test_qlib_dumps_an_export_and_gives_back_the_same_closes(tmp_path, capsys):
    script = dump_bin()
    if script is None:
        pytest.skip("qlib's dump_bin.py cannot be fetched; QLIB_DUMP_BIN names a copy of it")
    found = list(agreements_of_qlib(python_of("qlib"), script, build(tmp_path / "store"), tmp_path))
    assert print_table(found) == 0, capsys.readouterr().out
    assert len(found) == 3
