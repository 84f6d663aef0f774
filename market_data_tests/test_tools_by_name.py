"""The scripts in `tools/`: each is the command it stands for, with the same options."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from market_data_tests.archives import END, SESSIONS, START, write_archive
from market_data_tests.conftest import PROJECT

SPAN = ("--start", START.isoformat(), "--end", END.isoformat())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "universe.csv").write_text("symbol,listed_by\nAAA,2020-01-02\nBBB,2020-01-02\n", encoding="utf-8")
    write_archive(tmp_path / "archive", ["AAA", "BBB"])
    for name, value in {
        "UNIVERSE": "universe.csv",
        "ARCHIVE": "archive",
        "WINDOW_START": SPAN[1],
        "WINDOW_END": SPAN[3],
        "KEEP_CURRENT": "false",
    }.items():
        monkeypatch.setenv(f"MARKET_DATA_{name}", value)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], script: str, *arguments: str) -> dict[str, Any]:
    """The document that a script prints; it ends with 0."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [script, *arguments, "--json"])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(PROJECT / "tools" / script), run_name="__main__")
    out, err = capsys.readouterr()
    assert ended.value.code == 0, err
    return json.loads(out)


def test_the_three_scripts_backfill_sync_and_report_one_store(folder: Path, capsys) -> None:
    loaded = run(capsys, "backfill_5y.py", *SPAN, "--symbols", "all", "--job_id", "first")
    assert loaded["rows"] == 2 * SESSIONS
    status = run(capsys, "backfill_5y.py", "--status", "--job_id", "first")
    assert (status["planned"], status["done"]) == (2, 2)
    assert run(capsys, "data_sync.py", "--symbol", "AAA", *SPAN)["missing"] == 0
    report = run(capsys, "validation_report.py", *SPAN, "--symbols", "all")
    assert str(2 * SESSIONS) in json.dumps(report)


def test_a_script_is_a_program_of_its_own(folder: Path) -> None:
    command = [sys.executable, str(PROJECT / "tools" / "data_sync.py"), "--help"]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Bring the store up to date" in done.stdout


def test_a_python_without_the_package_is_told_which_one_to_use(tmp_path: Path) -> None:
    script = tmp_path / "tools" / "data_sync.py"
    script.parent.mkdir()
    script.write_bytes((PROJECT / "tools" / "data_sync.py").read_bytes())
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # Without site-packages, as the system's own Python is.
    command = [sys.executable, "-S", "-E", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert "use the project's own Python: .venv/bin/python tools/data_sync.py" in done.stderr
    assert "Traceback" not in done.stderr
