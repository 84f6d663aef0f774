"""`market-data sandbox`: it says where it serves, serves, and ends with Ctrl-C."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from market_data.clock import SandboxClock
from market_data_tests.forked import market_data

MAIN = [sys.executable, "-c", "from market_data.cli.sandbox import sandbox; sandbox()"]
OPTIONS = ["--port", "0", "--seed", "11", "--start", "2025-01-02", "--end", "2025-03-31"]


@pytest.fixture(autouse=True)
def _universe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "universe.csv").write_text("symbol\nAAA\nBRK.B\n", encoding="utf-8")
    monkeypatch.setenv("MARKET_DATA_UNIVERSE", "universe.csv")


@pytest.fixture
def running() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command, and all it printed before it was ready."""
    faults = ["--fault", "stooq:html:symbols=AAA", "--fault", "yahoo:outage:last=1", "--limit", "polygon:5/60"]
    with subprocess.Popen(
        [*MAIN, *OPTIONS, *faults], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    ) as process:
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if "Ctrl-C" in line:
                break
        yield process, "".join(lines)
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_tells_where_it_serves_and_ends_when_told_to(running, number):
    process, told = running
    url = re.search(r"MARKET_DATA_SANDBOX_URL=(http://127\.0\.0\.1:\d+)", told)
    assert url is not None, told
    for vendor in ("polygon", "alpha_vantage", "yahoo", "stooq"):
        assert f"{url[1]}/{vendor}\n" in told
    assert "SYNTHETIC" in told
    assert "2 symbols, 2025-01-02 to 2025-03-31, seed 11" in told
    assert "fails: stooq:html:symbols=AAA" in told
    with httpx.Client(base_url=url[1], trust_env=False) as client:
        assert client.get("/manifest").json()["seed"] == 11
        assert len(client.get("/faults").json()) == 2
        assert client.get("/stooq/q/d/l/?s=brk-b.us").text.startswith("Date,Open")
        assert "<html>" in client.get("/stooq/q/d/l/?s=aaa.us").text
        assert client.get("/clock").json()["last_completed_session"] == "2025-03-31"
        SandboxClock(Path("runtime/sandbox_clock.json")).set(datetime(2025, 4, 3, tzinfo=UTC), rate=0)
        assert client.get("/clock").json()["last_completed_session"] == "2025-04-02"
        assert "2025-04-02," in client.get("/stooq/q/d/l/?s=brk-b.us").text
    process.send_signal(number)
    assert process.wait(timeout=10) == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--fault", "nobody:html"], "vendor 'nobody' is unknown; known are polygon"),
        (["--fault", "stooq:html:symbols=ZZZ"], "faults name ZZZ, not in the universe"),
        (["--limit", "polygon"], "not vendor:calls/seconds"),
        (["--port", "70000"], "port 70000"),
        (["--start", "2026-01-02"], "window_start 2026-01-02 is after window_end 2025-03-31"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_served(options, told):
    done = market_data("sandbox", *OPTIONS, *options)
    assert done.returncode != 0
    assert told in re.sub(r"\s+", " ", done.stderr)
    assert "Ctrl-C" not in done.stdout
