"""Why values are null, counted: the texts of rows brought to a few causes, without their dates and numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

__all__ = ["by_cause"]

_DATES = re.compile(r"\b\d{4}-\d\d-\d\d\b:? ?")
_HELD = re.compile(r", \d+ sessions held$")


def by_cause(reasons: Mapping[str, int]) -> dict[str, int]:
    """Rows by each cause that their reason names, most frequent first; a row with two causes counts for both.

    Args:
        reasons: rows by text of `features_daily.reason`.
    """
    counts: dict[str, int] = {}
    for reason, rows in reasons.items():
        for cause in {_cause(clause) for clause in reason.split("; ")}:
            counts[cause] = counts.get(cause, 0) + rows
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


@lru_cache(maxsize=4096)
def _cause(clause: str) -> str:
    cause = clause.partition(": ")[2] or clause
    return _HELD.sub("", _DATES.sub("", cause)).strip()
