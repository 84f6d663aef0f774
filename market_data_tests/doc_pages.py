"""The project's Markdown pages, taken apart: code blocks, links, anchors, tables."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
README = PROJECT / "README.md"
DOCS = PROJECT / "docs"

_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the `name=value` words after it, its text."""

    language: str
    words: dict[str, str]
    text: str


def pages() -> list[Path]:
    """README and every page of docs/."""
    return [README, *sorted(DOCS.glob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    found = []
    for info, text in _FENCE.findall(page.read_text(encoding="utf-8")):
        language, *words = info.split() or [""]
        found.append(Block(language, dict(word.split("=", 1) for word in words), text))
    return found


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> Iterator[str]:
    """Targets of the links and pictures of a page."""
    yield from _LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """The anchors its headings get on GitHub."""
    titles = _HEADING.findall(prose(page))
    return {re.sub(r"[^\w\- ]", "", _LINK.sub("", title).lower()).replace(" ", "-") for title in titles}


def applied(source: str, diff: str) -> str:
    """The source with the hunks of a diff applied, parted by `@@`, without line numbers.

    Raises:
        AssertionError: what a hunk expects is not there exactly once.
    """
    for hunk in re.split(r"^@@\n", diff, flags=re.MULTILINE):
        lines = hunk.splitlines(keepends=True)
        assert all(line[0] in " -+" for line in lines), f"a line of a hunk begins with a blank, - or +:\n{hunk}"
        before = "".join(line[1:] for line in lines if line[0] != "+")
        after = "".join(line[1:] for line in lines if line[0] != "-")
        assert source.count(before) == 1, f"there {source.count(before)} times, once is due:\n{before}"
        source = source.replace(before, after)
    return source


_INLINE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
_CALL = re.compile(r"(?:^|[\s/(])market-data +([a-z].*)")
_SHELL = ("sh", "bash", "console", "text", "")


def inline_code(page: Path) -> list[str]:
    """What stands in backticks in the prose of a page, a line break in it being a blank."""
    return [re.sub(r"\s+", " ", code) for code in _INLINE.findall(prose(page))]


def shell_lines(page: Path) -> list[str]:
    """The lines of commands of a page, without comments, those that go on in the next line joined."""
    texts = [block.text for block in blocks(page) if block.language in _SHELL]
    lines = "\n".join(texts).replace("\\\n", " ").splitlines()
    return [re.sub(r"(^|\s)#.*", "", line) for line in lines]


def calls(lines: Iterable[str]) -> list[list[str]]:
    """The calls of `market-data` in lines of a shell or in inline code, as words after that name."""
    found = []
    for text in lines:
        for part in re.split(r"&&|;|\s{4,}|\s\d?[|>]|\$\(", text):
            if (match := _CALL.search(part)) and not match[1].startswith(("--", "...")):
                found.append(_words(match[1]))
    return found


def _words(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        return list(lexer)
    except ValueError:  # a quote that another line closes
        return text.split()
