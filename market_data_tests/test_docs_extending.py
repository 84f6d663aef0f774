"""The worked examples of docs/extending.md, applied to a copy of the package and run as they stand there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import duckdb
import pytest

from market_data.sessions import sessions_between
from market_data_tests.doc_pages import DOCS, PROJECT, Block, applied, blocks

PAGE = DOCS / "extending.md"
KEY = "a-made-up-key"
ODD_DAY, ODD_PRICE, ODD_VOLUME = "2025-03-05", 401.02, 23_433_100

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(shutil.which("sh") is None, reason="the page's commands are for a shell"),
]


class Tidewater(ThreadingHTTPServer):
    """The made-up vendor of the page, which keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.asked: list[tuple[str, str | None]] = []


class _Answers(BaseHTTPRequestHandler):
    server: Tidewater

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.server.asked.append((self.path, self.headers["X-Api-Key"]))
        ticker, query = url.path.rsplit("/", 1)[1], parse_qs(url.query)
        sessions = sessions_between(date.fromisoformat(query["from"][0]), date.fromisoformat(query["to"][0]))
        rows = [_bar(ticker, f"{day:%Y-%m-%d}", place) for place, day in enumerate(sessions)]
        body = json.dumps({"ticker": ticker, "bars": rows}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


def _bar(ticker: str, day: str, place: int) -> list[object]:
    if (ticker, day) == ("MSFT", ODD_DAY):
        return [day, ODD_PRICE, ODD_PRICE, ODD_PRICE, ODD_PRICE, ODD_VOLUME]
    close = 400 + place % 5
    return [day, close - 1, close + 2, close - 3, close, 20_000_000 + 1_000 * place]


@pytest.fixture(scope="module")
def vendor() -> Iterator[Tidewater]:
    server = Tidewater()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory, vendor: Tidewater) -> Path:
    """A folder with the package as the page makes it, and `.venv/bin` with the page's commands."""
    folder = tmp_path_factory.mktemp("extended")
    shutil.copytree(PROJECT / "market_data", folder / "market_data", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(DOCS, folder / "docs", ignore=shutil.ignore_patterns("images"))
    for block in blocks(PAGE):
        _apply(block, folder)
    providers = folder / "providers.yaml"
    address = f"http://127.0.0.1:{vendor.server_address[1]}"
    providers.write_text(providers.read_text().replace("https://api.tidewater.example", address))
    bin_folder = folder / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    _script(bin_folder / "market-data", f'exec {sys.executable} -c "from market_data.cli import main; main()" "$@"')
    _script(bin_folder / "python", f'exec {sys.executable} "$@"')
    return folder


def _apply(block: Block, folder: Path) -> None:
    if (name := block.words.get("append")) is not None:
        file = folder / name
        file.write_text(f"{file.read_text()}\n\n{block.text}")
    elif (name := block.words.get("file")) is not None:
        file = folder / name
        assert file.exists() == (block.language == "diff"), f"{name}: a new file is given whole, another as a diff"
        file.write_text(applied(file.read_text(), block.text) if block.language == "diff" else block.text)


def _script(file: Path, line: str) -> None:
    file.write_text(f"#!/bin/sh\n{line}\n")
    file.chmod(0o755)


def run(copy: Path, name: str) -> str:
    """What the block `run=name` of the page prints."""
    (block,) = (block for block in blocks(PAGE) if block.words.get("run") == name)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MARKET_DATA_")} | {
        "PYTHONPATH": str(copy),
        "TIDEWATER_API_KEY": KEY,
        "MARKET_DATA_PROVIDERS": str(copy / "providers.yaml"),
    }
    done = subprocess.run(
        ["sh", "-e", "-c", block.text],
        check=False,
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rows(copy: Path, query: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(copy / "runtime" / "market_data.duckdb"), read_only=True) as connection:
        return connection.execute(query).fetchall()


def test_a_provider_is_added_as_the_page_says_and_its_bars_are_in_the_database(copy, vendor):
    run(copy, "provider")
    assert [key for _, key in vendor.asked] == [KEY]
    assert vendor.asked[0][0].startswith("/v1/daily/AAPL?from=")
    held = "SELECT count(*), min(source_provider), min(basis) FROM price_history_daily WHERE symbol = 'AAPL' AND date"
    assert rows(copy, f"{held} BETWEEN '2025-03-03' AND '2025-03-14'") == [(10, "tidewater", "raw")]
    assert not [file for file in (copy / "runtime").rglob("*.json*") if KEY in file.read_text()]


def test_a_rule_is_added_as_the_page_says_and_takes_from_the_score(copy):
    told = run(copy, "rule")
    (output,) = (block.text for block in blocks(PAGE) if block.words.get("output") == "rule")
    assert told.endswith(output)
    assert rows(copy, "SELECT DISTINCT symbol, rules FROM data_quality_log WHERE verdict = 'flagged'") == [
        ("MSFT", "one_price")
    ]


def test_the_rule_stands_in_order_wherever_rules_are_listed(copy):
    program = (
        "from market_data.validation import RULES; from market_data.features.doubts import DOUBTS;"
        "assert list(RULES) == sorted(RULES); assert DOUBTS.keys() == RULES.keys()"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    listed = re.findall(r"^\| `(\w+)` \|", (copy / "docs" / "validation.md").read_text(), re.MULTILINE)
    assert listed == sorted(listed)
    assert "one_price" in listed


def test_the_code_of_the_page_passes_the_linter(copy):
    ruff = Path(sys.executable).with_name("ruff")
    if not ruff.exists():
        pytest.skip("ruff is not installed")
    names = ("providers/tidewater.py", "providers/__init__.py", "providers/registry.py", "validation/rules.py")
    command = [ruff, "check", "--no-cache", "--config", PROJECT / "pyproject.toml"]
    command += [f"market_data/{name}" for name in names]
    done = subprocess.run(command, check=False, cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
