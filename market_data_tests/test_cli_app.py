"""The command line as a whole: its list, its help, JSON everywhere, misuse, completion, colours, widths and Ctrl-C."""

from __future__ import annotations

import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from market_data import __version__
from market_data.cli import app, main, show
from market_data.cli.catalogue import COMMANDS, PANELS
from market_data.cli.ending import INTERRUPTED
from market_data.cli.progress import LogLines, working
from market_data_tests.conftest import PROJECT
from market_data_tests.stored import Store

SERVERS = {"sandbox"}
"""Commands that run until they are ended, and print what a person needs meanwhile."""

MAIN = [sys.executable, "-c", "from market_data.cli import main; main()"]


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env=environment)


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command that does something, by its words; a group that does something by itself as well."""
    subcommands = getattr(command, "commands", None)
    if subcommands is None or getattr(command, "invoke_without_command", False):
        yield " ".join(path), command
    for name, found in (subcommands or {}).items():
        yield from leaves(found, (*path, name))


@pytest.fixture(scope="module")
def tree() -> dict[str, Any]:
    group = get_command(app)
    return dict(pair for item in COMMANDS for pair in leaves(group.load(item.name), (item.name,)))


def test_every_command_that_is_listed_can_be_loaded_and_stands_under_a_heading(tree: dict[str, Any]) -> None:
    assert {item.name for item in COMMANDS} <= {words.split()[0] for words in tree}
    assert {item.panel for item in COMMANDS} == set(PANELS)
    assert len({item.name for item in COMMANDS}) == len(COMMANDS)
    assert [item.name for item in COMMANDS if len(item.summary) > 66] == []


def test_every_command_takes_json_but_for_servers(tree: dict[str, Any]) -> None:
    without = {
        words for words, command in tree.items() if not any("--json" in parameter.opts for parameter in command.params)
    }
    assert without == SERVERS


def test_every_command_has_an_example_in_its_help(tree: dict[str, Any]) -> None:
    assert [words for words, command in tree.items() if "Example: market-data" not in command.help] == ["splits"]


def test_every_parameter_has_a_help_that_is_shown_whole(tree: dict[str, Any]) -> None:
    swallowed = re.compile(r"(?<!\\)\[[a-z#/@]")
    found = [
        f"{words} {parameter.name}"
        for words, command in tree.items()
        for parameter in command.params
        if not parameter.help or swallowed.search(parameter.help)
    ]
    assert found == []


def test_the_help_has_the_headings_the_exit_codes_and_where_settings_come_from() -> None:
    done = run("-h", COLUMNS="100")

    assert done.exit_code == 0
    places = [done.stdout.index(f"─ {panel} ─") for panel in PANELS]
    assert places == sorted(places)
    for said in ("Exit codes: 0 done;", "130 interrupted", "MARKET_DATA_", "market_data.toml", "--install-completion"):
        assert said in done.stdout
    assert "splits" not in done.stdout.split("─ Load")[1].split("actions")[0]


def test_no_arguments_give_the_help() -> None:
    assert "Load and keep current" in run().output


def test_the_list_of_commands_needs_neither_pandas_nor_duckdb_and_has_no_escape_codes_in_a_pipe(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom market_data.cli import main\n"
        "try:\n    main(['--help'])\nfinally:\n"
        "    print(sorted({'pandas', 'duckdb', 'pyarrow', 'httpx', 'pydantic'} & set(sys.modules)), file=sys.stderr)"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("GITHUB_ACTIONS", "FORCE_COLOR")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)

    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_the_version_is_told() -> None:
    assert run("--version").stdout == f"market-data {__version__}\n"


def test_underscores_are_as_good_as_dashes() -> None:
    span = ("--start", "2024-01-02", "--end", "2024-01-03")
    done = run("intraday", "backfill", "--job_id", "x", "--dry_run", *span)
    assert "no symbols; give --symbols" in str(done.exception)


def test_a_mistyped_command_is_told_the_nearest() -> None:
    done = run("backfil")
    assert done.exit_code == 2
    assert "Did you mean 'backfill'" in done.output


def ended(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    out, err = capsys.readouterr()
    return int(caught.value.code or 0), out, err


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        (("gaps", "--state", "lost"), "SettingsError", "--state 'lost' is not one of open, known, closed"),
        (("gaps", "--stat", "open"), "UsageError", "No such option: --stat"),
        (("nonsense",), "UsageError", "No such command 'nonsense'"),
        (("explain", "AAPL"), "UsageError", "Missing"),
        (("backup", "verify", "x"), "BackupError", "x"),
    ],
)
def test_with_json_an_error_is_one_document_too(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], kind: str, said: str
) -> None:
    code, out, err = ended(capsys, *arguments, "--json")

    document = json.loads(out)
    assert (code, document["exit_code"], document["kind"]) == (2, 2, kind)
    assert said in document["error"]
    assert err == f"error: {document['error']}\n"


def test_without_json_an_error_is_a_line_on_standard_error_alone(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = ended(capsys, "gaps", "--state", "lost")
    assert (code, out) == (2, "")
    assert err == "error: --state 'lost' is not one of open, known, closed\n"


def test_a_file_that_cannot_be_written_is_told_with_its_path_and_what_to_do(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MARKET_DATA_RUNTIME", "file/below")
    code, out, err = ended(capsys, "sandbox", "clock", "--set", "2024-01-02T00:00Z", "--json")
    assert code == 1
    assert json.loads(out)["error"].startswith("file/below: Not a directory; check the path")
    assert "Traceback" not in err


def test_a_good_end_with_json_has_the_exit_code_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = ended(capsys, "alerts", "test", "--json")
    assert (code, json.loads(out)["sent"]) == (1, False)
    code, out, _ = ended(capsys, "alerts", "--json")
    assert (code, len(json.loads(out)["alerts"])) == (0, 1)


class TestCompletion:
    """What Tab offers, asked for as the shells ask."""

    def offered(self, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
        monkeypatch.setenv("COMP_WORDS", f"market-data {words}")
        monkeypatch.setenv("COMP_CWORD", str(len(words.split()) + words.endswith(" ")))
        monkeypatch.setenv("_MARKET_DATA_COMPLETE", "complete_bash")
        _, out, _ = ended(capsys)
        return out.split()

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            ("ba", ["backfill", "backup"]),
            ("backup ", ["create", "list", "verify", "restore"]),
            ("plot NKE", ["NKE"]),
            ("backfill --symbols AAPL,NK", ["AAPL,NKE"]),
            ("backfill --symbols al", ["all"]),
            ("sync --provider stoo", ["stooq_bulk", "stooq"]),
            ("health --provider a", ["alpha_vantage"]),
            ("gaps --re", ["--retry"]),
        ],
    )
    def test_commands_options_symbols_and_vendors(
        self, words: str, expected: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.offered(words, monkeypatch, capsys) == expected

    def test_symbols_are_those_of_the_configured_universe_and_none_where_settings_are_wrong(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "universe.csv").write_text("symbol\nZZA\nZZB\n")
        monkeypatch.setenv("MARKET_DATA_UNIVERSE", "universe.csv")
        assert self.offered("plot Z", monkeypatch, capsys) == ["ZZA", "ZZB"]
        monkeypatch.setenv("MARKET_DATA_NONSENSE", "1")
        assert self.offered("plot Z", monkeypatch, capsys) == []

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_a_script_for_each_shell(self, shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
        script = CliRunner().invoke(app, ["--show-completion", shell], prog_name="market-data").stdout
        assert "_MARKET_DATA_COMPLETE" in script


def test_results_in_a_pipe_have_no_colours_and_are_not_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    show.out().print("[bold red]x[/]" + "y" * 300)
    assert capsys.readouterr().out == "x" + "y" * 300 + "\n"
    monkeypatch.setenv("COLUMNS", "50")
    assert show.out().width == 50


def test_force_color_gives_colours_in_a_pipe_and_no_color_takes_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("FORCE_COLOR", "1")
    show.out().print("[red]x[/]")
    assert "\x1b[31m" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    show.out().print("[red]x[/]")
    assert capsys.readouterr().out == "x\n"


def test_a_log_gets_a_line_now_and_then_with_rate_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    lines = LogLines("rebuild, payloads", every=30, clock=lambda: now[0])
    for now[0], done in ((10.0, 100), (30.0, 300), (45.0, 450), (61.0, 610)):
        lines.tell(done, 1000)
    assert capsys.readouterr() == (
        "",
        "rebuild, payloads: 300 of 1,000, 10.0 a second, about 70 s left\n"
        "rebuild, payloads: 610 of 1,000, 10.0 a second, about 39 s left\n",
    )


def test_work_that_is_over_soon_says_nothing_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with working("verify") as tell:
        tell(1, 2)
    assert capsys.readouterr() == ("", "")


@pytest.fixture
def silent_vendor(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A sandbox that answers nothing until the test is over; the event is set once it was asked."""
    asked, over = threading.Event(), threading.Event()

    class Silent(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.set()
            over.wait(60)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("MARKET_DATA_SANDBOX_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("MARKET_DATA_RETRY_WAIT", "0")
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    yield asked
    over.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    "arguments",
    [
        ("sync", "--symbol", "AAPL,MSFT"),
        pytest.param(("actions", "fetch", "--symbols", "AAPL", "--json"), marks=pytest.mark.long),
    ],
)
def test_ctrl_c_ends_a_command_with_one_line_and_130(
    silent_vendor: threading.Event, arguments: tuple[str, ...]
) -> None:
    process = subprocess.Popen([*MAIN, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert silent_vendor.wait(60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert (process.returncode, err) == (130, f"{INTERRUPTED}\n")
    if "--json" in arguments:
        assert json.loads(out) == {"error": INTERRUPTED, "kind": "Interrupted", "exit_code": 130}
    else:
        assert out == ""


def test_the_page_of_commands_lists_those_there_are(tree: dict[str, Any]) -> None:
    page = (PROJECT / "docs" / "commands.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `market-data ([a-z -]+)`", page, re.MULTILINE)
    hidden = {item.name for item in COMMANDS if item.hidden}
    assert listed == [words for words in tree if words not in hidden]


def test_a_picture_without_a_file_lies_among_the_reports_and_the_path_is_told() -> None:
    Store("AAPL").execute(
        "INSERT INTO actions_told SELECT '*', kind, 'polygon', '2020-01-01', '2026-01-19', 'x', '2021-01-01' "
        "FROM (VALUES ('split'), ('dividend')) AS kinds(kind)"
    )
    done = run("plot", "AAPL")
    assert done.exit_code == 0, done.exception
    assert done.stdout.startswith("runtime/reports/AAPL.png: AAPL, 2021-01-19 to 2026-01-19, 5 sessions  SYNTHETIC")
    assert Path("runtime/reports/AAPL.png").read_bytes().startswith(b"\x89PNG")
    told = json.loads(run("plot", "AAPL", "--json", "--out", "a.svg").stdout)
    assert (told["file"], told["sessions"], told["synthetic"]) == ("a.svg", 5, True)


def test_a_flag_is_shown_without_a_value() -> None:
    for arguments in (("-h",), ("backup", "create", "-h"), ("gaps", "-h")):
        assert "<bool>" not in run(*arguments).stdout
