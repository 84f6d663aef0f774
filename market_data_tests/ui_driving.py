"""A project of its own with the real UI and daemon over a synthetic market, and a browser that drives them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import httpx

from market_data.instruments import load_universe
from market_data.sandbox.faults import Fault
from market_data.sandbox.server import Sandbox
from market_data.settings import Settings

__all__ = ["CHROMIUM", "Project", "browsing", "serving"]

PROJECT = Path(__file__).resolve().parents[1]
CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
             "--disable-background-networking", "--disable-component-update"]  # fmt: skip
STARTING = 120.0
"""Seconds until the UI must answer; a loaded machine takes long to import."""


@dataclass(slots=True)
class Project:
    """A folder with settings of its own, filled from a sandbox that runs in this process.

    Attributes:
        url: of the UI, once it is served.
    """

    folder: Path
    symbols: tuple[str, ...]
    window: tuple[date, date]
    sandbox: Sandbox
    url: str = ""

    @property
    def runtime(self) -> Path:
        return self.folder / "runtime"

    @property
    def environment(self) -> dict[str, str]:
        """What Dagster's processes get: nothing of this one's settings."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MARKET_DATA_", "DAGSTER_"))}
        settings = {
            "RUNTIME": self.runtime, "UNIVERSE": self.folder / "universe.csv", "SOURCE": "sandbox",
            "SANDBOX_URL": self.sandbox.url, "WINDOW_START": self.window[0], "WINDOW_END": self.window[1],
            "KEEP_CURRENT": "false", "RETRY_WAIT": "0.01", "UI_URL": self.url,
        }  # fmt: skip
        given = {f"MARKET_DATA_{name}": str(value) for name, value in settings.items()}
        return kept | given | {"DAGSTER_HOME": str(self.folder), "PYTHONUNBUFFERED": "1"}

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What a query of the store gives; waits while a run writes."""
        for _ in range(100):
            path = str(self.runtime / "synthetic.duckdb")
            with suppress(duckdb.IOException), duckdb.connect(path, read_only=True) as connection:
                return connection.execute(query, list(values)).fetchall()
            time.sleep(0.2)
        raise AssertionError("the database stayed locked")


@contextmanager
def serving(
    folder: Path, *, symbols: tuple[str, ...], window: tuple[date, date], faults: tuple[Fault, ...] = ()
) -> Iterator[Project]:
    """A project whose UI and daemon run until the context is left, whatever happens in it."""
    universe = folder / "universe.csv"
    universe.write_text("symbol,listed_by\n" + "".join(f"{symbol},2020-01-02\n" for symbol in symbols))
    (folder / "dagster.yaml").write_bytes((PROJECT / "dagster.yaml").read_bytes())
    seed = Settings.model_fields["sandbox_seed"].default
    sandbox = Sandbox(load_universe(universe), start=window[0], end=window[1], seed=seed, faults=faults)
    with sandbox:
        project = Project(folder, symbols, window, sandbox, url=f"http://127.0.0.1:{_free_port()}")
        log = folder / "dagster-dev.log"
        command = [sys.executable, "-m", "dagster", "dev", "-w", str(PROJECT / "workspace.yaml")]
        command += ["--host", "127.0.0.1", "--port", project.url.rpartition(":")[2]]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=project.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            _wait_for(project.url, process, log)
            yield project
        finally:
            _stop(process)


@contextmanager
def browsing(url: str, *, width: int = 1280, height: int = 900, timeout: float = 60.0) -> Iterator[Any]:
    """A page of Chromium with nothing remembered; what it waits for may take `timeout` seconds."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        try:
            page = browser.new_page(viewport={"width": width, "height": height}, base_url=url)
            page.set_default_timeout(timeout * 1000)
            yield page
        finally:
            browser.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    ends = time.monotonic() + STARTING
    while time.monotonic() < ends:
        assert process.poll() is None, f"dagster dev ended:\n{log.read_text(errors='replace')[-4000:]}"
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/server_info", trust_env=False).status_code == 200:
                return
        time.sleep(0.5)
    raise AssertionError(f"the UI did not answer within {STARTING:g} s:\n{log.read_text(errors='replace')[-4000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End dagster dev with all it started, which are the processes of its own session."""
    for which, patience in ((signal.SIGTERM, 15), (signal.SIGKILL, 15)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, which)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
