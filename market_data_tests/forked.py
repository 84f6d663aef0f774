"""`market-data` in a process of its own, forked from one that has imported it: that takes longer than most commands."""

from __future__ import annotations

import io
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from datetime import date
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from market_data.sessions import sessions_between

__all__ = ["fork_server", "market_data", "started"]

CALENDAR = sessions_between(date(2021, 1, 19), date(2021, 1, 20))
"""Read when the module is imported, so that the process which others are forked from has the calendar at hand."""

PROJECT = Path(__file__).resolve().parents[1]


def fork_server() -> ForkServerContext:
    """Where processes are forked from; it knows nothing of the test's environment and working directory."""
    # What is preloaded is imported by the path alone.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])])
    context = multiprocessing.get_context("forkserver")
    heavy = ["market_data.ingest.backfill", "market_data.ingest.sync.steps", "market_data.ingest.minutes.backfill"]
    more = ["market_data.keeping.restore", "market_data.report.health_store", "market_data.report.decisions"]
    own = ["market_data.cli", "market_data_tests.forked", "market_data_tests.vendors"]
    context.set_forkserver_preload([*own, *heavy, *more])
    return context


def started(*arguments: str) -> ForkServerProcess:
    """A command under way, with the environment and the working directory of the test; what it prints is lost."""
    null = Path(os.devnull)
    process = fork_server().Process(target=_run, args=(arguments, dict(os.environ), Path.cwd(), null, null))
    process.start()
    return process


def market_data(*arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a command with the environment and the working directory of the test."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = fork_server().Process(target=_run, args=(arguments, dict(os.environ), Path.cwd(), out, err))
        process.start()
        process.join(timeout)
        if process.is_alive():
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(arguments, timeout)
        code = process.exitcode
        assert code is not None
        return subprocess.CompletedProcess(arguments, code, out.read_text("utf-8"), err.read_text("utf-8"))


def _run(arguments: tuple[str, ...], environment: Mapping[str, str], folder: Path, out: Path, err: Path) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for number, file in ((1, out), (2, err)):
        with file.open("wb") as stream:
            os.dup2(stream.fileno(), number)
    sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), encoding="utf-8", line_buffering=True)
    sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", closefd=False), encoding="utf-8", line_buffering=True)
    sys.argv = ["market-data", *arguments]
    from market_data.cli import main

    main()
