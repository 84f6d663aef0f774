"""How a command ends that cannot do what was asked: a line for people, with --json one document for programs."""

from __future__ import annotations

import json
import sys

__all__ = ["INTERRUPTED", "tell_end"]

INTERRUPTED = "interrupted; nothing is left half written, run it again to go on"


def tell_end(message: str, *, kind: str, code: int, as_json: bool) -> None:
    """Print a line on standard error; with --json also `{"error", "kind", "exit_code"}` on standard output."""
    print(message if kind == "Interrupted" else f"error: {message}", file=sys.stderr)
    if as_json:
        print(json.dumps({"error": message, "kind": kind, "exit_code": code}), flush=True)
