"""Comparisons of the project's results with real series that others made.

`python -m market_data_tests.comparisons NAME` prints the figures of the module NAME. The recorded payloads are looked
for in the folder that PAYLOADS names, else in ../shared/payloads beside the project.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Agreement", "print_table"]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far a series of ours is from another's.

    Attributes:
        dates: of the sessions compared, datetime64, shape (n,).
        differences: absolute, shape (n,); relative ones where nothing else is said.
        limit: largest difference that passes.
        share: of the sessions that has to be within the limit.
    """

    name: str
    dates: npt.NDArray[np.datetime64]
    differences: npt.NDArray[np.float64]
    limit: float
    share: float = 1.0

    @property
    def passes(self) -> bool:
        """Whether there is something to compare, and enough of it is within the limit."""
        return len(self.dates) > 0 and float((self.differences <= self.limit).mean()) >= self.share

    @property
    def line(self) -> str:
        """The figures in words: sessions, largest and median difference, dates of the three worst, verdict."""
        if not len(self.dates):
            return f"FAIL {self.name}: nothing to compare"
        worst = self.dates[np.argsort(self.differences)[::-1][:3]].astype("datetime64[D]")
        within = int((self.differences <= self.limit).sum())
        return (
            f"{'PASS' if self.passes else 'FAIL'} {self.name}: {len(self.dates):,} sessions, "
            f"max {self.differences.max():.2g}, median {np.median(self.differences):.2g}, "
            f"{within:,} within {self.limit:g} (needed {self.share:.0%}); worst {', '.join(map(str, worst))}"
        )


def print_table(agreements: Iterable[Agreement]) -> int:
    """Print a line for each; 0 when all pass."""
    found = list(agreements)
    for agreement in found:
        print(agreement.line)
    return 0 if found and all(agreement.passes for agreement in found) else 1
