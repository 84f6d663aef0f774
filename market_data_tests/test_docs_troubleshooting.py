"""docs/troubleshooting.md quotes messages that the code has, so that it cannot go stale."""

from __future__ import annotations

import ast
import errno
import os
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from market_data_tests.doc_pages import DOCS, PROJECT

PAGE = DOCS / "troubleshooting.md"
GAP = "…"
OF_DAGSTER = ("dagster._core.instance.factory", "dagster._cli.asset")
"""Where Dagster's own messages stand."""


def quoted() -> list[tuple[str, str]]:
    """`(section, message)` of the first cells of the page's tables."""
    found, section = [], ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        elif line.startswith("| `"):
            cell = line.split(" | ")[0]
            found += [(section, message) for message in re.findall(r"`([^`]+)`", cell)]
    return found


def messages(file: Path) -> Iterator[str]:
    """The texts of a module, what is put in being a gap."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if id(node) in documentation:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else GAP for part in node.values)


@pytest.fixture(scope="module")
def told() -> str:
    """Every text of the package, one a line, and those of the Makefile."""
    files = [file for file in (PROJECT / "market_data").rglob("*.py") if "sandbox" not in file.parts]
    return "\n".join(flat(text) for file in files for text in messages(file)) + (PROJECT / "Makefile").read_text()


@pytest.fixture(scope="module")
def told_by_dagster() -> str:
    origins = [spec.origin for name in OF_DAGSTER if (spec := find_spec(name)) and spec.origin]
    texts = [flat(text) for origin in origins for text in messages(Path(origin))]
    return "\n".join([*texts, os.strerror(errno.EADDRINUSE).lower(), "market_data.errors.SettingsError"])


def flat(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def pattern(message: str) -> re.Pattern[str]:
    """Matches a line that has the parts of a message in their order."""
    return re.compile("[^\n]*".join(re.escape(part.strip()) for part in message.split(GAP)))


@pytest.mark.parametrize(("section", "message"), quoted(), ids=lambda text: text[:40])
def test_every_message_of_the_page_is_in_the_code(section, message, told, told_by_dagster):
    assert len(re.sub(r"\W", "", message)) >= 6, "too short to be found by"
    assert pattern(message).search(told_by_dagster if section == "Dagster" else told), message


def test_every_section_is_in_the_list_at_the_top():
    text = PAGE.read_text(encoding="utf-8")
    listed = re.findall(r"\]\(#([a-z-]+)\)", text)
    assert listed == [
        title.lower().replace(",", "").replace(" ", "-") for title in re.findall(r"^## (.+)$", text, re.M)
    ]
