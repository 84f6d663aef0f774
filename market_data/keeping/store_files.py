"""Which files a store has beside its database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from market_data.settings import Settings

__all__ = ["audit_files", "ledgers", "raw_files"]


def raw_files(folder: Path) -> Iterator[Path]:
    """Files of a raw store: payloads, their requests and the packs of polls; those of the other kind are not its."""
    yield from (path for path in folder.glob("[0-9a-f][0-9a-f]/*") if path.suffix in (".zst", ".json"))
    yield from folder.glob("polls/*/*.zip")


def ledgers(settings: Settings, *, synthetic: bool) -> list[Path]:
    """The SQLite files that count a store's calls."""
    return [settings.calls_file(synthetic=synthetic), settings.rates_file(synthetic=synthetic)]


def audit_files(folder: Path, *, synthetic: bool) -> list[Path]:
    """The audit files of one kind of store; one that says of no kind is of both."""
    return [path for path in sorted(folder.glob("*.jsonl")) if _is_of(path, synthetic=synthetic)]


def _is_of(file: Path, *, synthetic: bool) -> bool:
    with file.open("rb") as stream:
        try:
            return bool(json.loads(stream.readline())["synthetic"] is synthetic)
        except (ValueError, KeyError, TypeError):
            return True
