"""Lines of a file of executions that could not be used, beside that file."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from market_data.warehouse.executions import Reject

__all__ = ["rejects_file", "write_rejects"]


def rejects_file(path: Path) -> Path:
    """Where the lines of a file that could not be used are put."""
    return path.with_name(f"{path.name}.rejected.jsonl")


def write_rejects(path: Path, rejects: Sequence[Reject], raw_hash: str) -> None:
    """Put the lines that could not be used beside the file, one JSON object a line; none leaves no file there.

    Args:
        raw_hash: SHA-256 of the file.
    """
    target = rejects_file(path)
    if not rejects:
        target.unlink(missing_ok=True)
        return
    lines = [{"file": path.name, "raw_hash": raw_hash} | asdict(reject) for reject in rejects]
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    part.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    part.replace(target)
