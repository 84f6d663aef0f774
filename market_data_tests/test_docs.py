"""README and docs/ speak of what there is: links, commands and their options, targets, settings, tables, modules."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import duckdb
import pytest
from typer.main import get_command

import market_data
from market_data.cli import app
from market_data.instruments import load_universe
from market_data.sandbox.faults import FAULT_KINDS
from market_data.settings import FILE_VARIABLE, PREFIX, Settings
from market_data.validation import RULES
from market_data.warehouse.connection import Database
from market_data_tests.doc_pages import (
    DOCS,
    PROJECT,
    README,
    anchors,
    blocks,
    calls,
    inline_code,
    links,
    pages,
    shell_lines,
)

PAGES = pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
MAKEFILE = PROJECT / "Makefile"
TOP: Any = get_command(app)


@PAGES
def test_every_link_and_picture_of_a_page_is_there(page):
    for target in links(page):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.is_relative_to(PROJECT), f"{target} leads out of the project"
        assert file.exists(), f"{target}: no such file"
        assert not anchor or anchor in anchors(file), f"{target}: no such heading"


@PAGES
def test_every_command_in_the_prose_of_a_page_is_one_and_takes_the_options_shown(page):
    for words in calls(inline_code(page)):
        for name in words[0].split("|"):
            command, rest = _command([name, *words[1:]])
            options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
            given = {option for word in rest if word.startswith("--") for option in word.split("=")[0].split("|")}
            dashed = {"--" + option.removeprefix("--").replace("_", "-") for option in given}
            assert dashed <= options | {"--help"}, f"market-data {' '.join(words)}"


@PAGES
def test_every_command_that_a_page_shows_for_a_shell_would_be_run(page):
    for words in calls(shell_lines(page)):
        command, rest = _command(words)
        if "..." in rest or "--help" in rest:
            continue
        try:
            command.make_context(words[0], rest)
        except Exception as error:
            raise AssertionError(f"market-data {' '.join(words)}: {error}") from error


def _command(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words name, and what is left of them."""
    name, rest = words[0].replace("_", "-"), words[1:]
    assert name in TOP.commands, f"market-data {' '.join(words)}: no such command"
    command = TOP.load(name)
    while rest and (subcommands := getattr(command, "commands", None)) and re.fullmatch(r"[a-z][a-z_|-]*", rest[0]):
        names = [name.replace("_", "-") for name in rest[0].split("|")]
        assert set(names) <= set(subcommands), f"market-data {' '.join(words)}: no such command"
        command, rest = subcommands[names[0]], rest[1:]
    return command, rest


@PAGES
def test_every_target_of_make_that_a_page_names_is_in_the_makefile(page):
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE.read_text(), re.MULTILINE))
    shown = [*shell_lines(page), *inline_code(page)]
    named = {name for line in shown for name in re.findall(r"(?:^|&& |; )make +([a-z-]+)", line.strip())}
    assert named <= targets


@PAGES
def test_every_setting_that_a_page_names_is_one(page):
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {FILE_VARIABLE}
    named = set(re.findall(rf"{PREFIX}[A-Z][A-Z_]*[A-Z]", page.read_text(encoding="utf-8")))
    assert named <= known


@PAGES
def test_every_file_and_module_that_a_page_names_is_there(page):
    text = [*shell_lines(page), *inline_code(page)]
    made_up = {block.words.get("file") for block in blocks(page)}
    for line in text:
        for name in re.findall(
            r"(?:^|\s)((?:market_data|market_data_tests|docs|scripts|tools)/[\w./*-]*(?:\.\w+|/))", line
        ):
            assert name in made_up or list(PROJECT.glob(name.rstrip("/."))), f"{name}: no such file"
        for name in re.findall(r"python -m (market_data[\w.]*)", line):
            assert importlib.util.find_spec(name), f"{name}: no such module"


@PAGES
def test_python_that_a_page_shows_compiles_and_names_what_the_package_gives(page):
    for block in blocks(page):
        if block.language == "python" and "...)" not in block.text:
            compile(block.text, page.name, "exec")
            for name in re.findall(r"\bmarket_data\.(\w+)\(", block.text):
                assert hasattr(market_data, name), f"market_data.{name} is not there"


def test_the_page_of_settings_lists_every_one():
    named: list[str] = []
    for row in (DOCS / "settings.md").read_text().splitlines():
        if row.startswith(f"| `{PREFIX}"):
            first, *others = re.findall(r"`([A-Z_]+)`", row.split("|")[1])
            named += [first, *(PREFIX + other.removeprefix("_") for other in others)]
    assert sorted(named) == sorted(PREFIX + name.upper() for name in Settings.model_fields)


def test_the_page_of_the_data_lists_every_table(tmp_path: Path):
    Database(tmp_path / "new.duckdb").prepare()
    with duckdb.connect(str(tmp_path / "new.duckdb"), read_only=True) as connection:
        rows = connection.execute("SELECT table_name FROM duckdb_tables() WHERE NOT internal").fetchall()
    text = (DOCS / "data.md").read_text()
    listed = set(re.findall(r"`(\w+)`", text[text.index("## Tables") : text.index("## Limits")]))
    assert {name for (name,) in rows} - listed - {"schema_version", "store_kind"} == set()


def test_the_front_page_stays_one():
    assert len(README.read_text().splitlines()) <= 250


def test_the_numbers_that_pages_give_are_those_of_the_code():
    assert f"[{len(RULES)} rules](docs/validation.md)" in README.read_text()
    assert f"has {len(load_universe())} members of the S&P 500" in README.read_text()
    assert f"It can fail in {len(FAULT_KINDS)} ways" in (DOCS / "sandbox.md").read_text()


def test_the_front_page_leads_to_every_other_one():
    linked = {target.partition("#")[0] for target in links(README)}
    assert {f"docs/{page.name}" for page in DOCS.glob("*.md")} <= linked
